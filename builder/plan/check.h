/* A Dockerfile looked at, not built. Front header of build.c and check.c for lib/. */
#ifndef BUILDER_CHECK_H
#define BUILDER_CHECK_H

#include "base/sb.h"
#include "bld/check.h"
#include "builder/builder.h"

enum bd_call { BD_CALL_CHECK, BD_CALL_OUTLINE, BD_CALL_TARGETS };

struct bd_check {
        enum bd_call call;
        const struct bld_build_opts *build;
        uint32_t never, experimental; /* rules, by bd_check_rules() */
        bool opened;                  /* the Dockerfile was read: what comes now is about it */
        struct bld_check_result *ret; /* CHECK: filled; else only place */
        struct sb doc;                /* OUTLINE, TARGETS */
};

/* Which rules the caller wants. USAGE for a name that is no rule. */
int bd_check_rules(struct bd_check *c, const struct bld_list *skip, const struct bld_list *only,
                   bool experimental, struct bld_err *err) MUST_CHECK;
int bd_check(struct bd_ctx *c, struct bd_check *check, struct bld_err *err) MUST_CHECK;
const struct bld_rule *bd_rules(size_t *ret_n);
/* The document of a check. */
int bd_check_json(const struct bld_check_result *r, struct sb *out, struct bld_err *err) MUST_CHECK;

/* For build.c: hand the findings to the result. */
struct lint;
int bd_check_take(struct bd_check *c, struct lint *l, const char *file, const struct sb *source,
                  struct bld_err *err) MUST_CHECK;

#endif
