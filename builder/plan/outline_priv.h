/* What a target can be given: arguments, secrets, agents, caches (--call=outline); and the stages
 * of a file (--call=targets). Threads: MT-Object. */
#ifndef BUILDER_OUTLINE_PRIV_H
#define BUILDER_OUTLINE_PRIV_H

#include "base/base.h"
#include "base/json.h"
#include "base/vec.h"
#include "parser/parser.h"

enum outline_kind { OUTLINE_ARG, OUTLINE_SECRET, OUTLINE_SSH, OUTLINE_CACHE, OUTLINE_KINDS };

struct outline_item {
        enum outline_kind kind;
        char *name;
        char *value;       /* ARG; NULL: none */
        char *description; /* from the comment above; NULL: none */
        unsigned line, end_line;
        bool used, required;
        struct strv deps; /* global arguments its default uses */
};
VEC_DEFINE(outline_items, struct outline_item);

struct outline {
        struct outline_items items;
        int failed; /* an item was lost: NOMEM */
};
void outline_done(struct outline *o);

/* The plan calls these; o may be NULL. */

/* An ARG before the first FROM; deps: names its default refers to. */
void outline_global(struct outline *o, const struct df_instr *in, const char *name,
                    const char *value, const struct strv *deps);
/* Global arguments that a FROM line of a wanted stage uses. */
void outline_use(struct outline *o, const struct strv *names);
/* An ARG of a wanted stage. inherited: value and description are those of the global one. */
void outline_arg(struct outline *o, const struct df_instr *in, const char *name, const char *value,
                 bool inherited);
void outline_mount(struct outline *o, unsigned line, enum outline_kind kind, const char *id,
                   bool required);

/* The documents. target: NULL is the last stage. */
int outline_json(struct outline *o, const struct df_file *f, const char *target, struct sb *out,
                 struct bld_err *err) MUST_CHECK;
int outline_targets_json(const struct df_file *f, struct sb *out, struct bld_err *err) MUST_CHECK;

/* Text as a value; what is not UTF-8 is escaped. NULL when memory is out. */
struct js *outline_text(const char *s);
/* {"ranges":[{"start":{"line":N},"end":{"line":N}}]}, or NULL when memory is out. */
struct js *outline_location(unsigned line, unsigned end_line);

#endif
