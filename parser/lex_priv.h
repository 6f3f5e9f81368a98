/* Between the lexer (physical to logical lines) and the instruction parsers. */
#ifndef PARSER_LEX_PRIV_H
#define PARSER_LEX_PRIV_H

#include "base/base.h"
#include "parser/parser.h"
#include "parser/text_priv.h"

/* Where a piece of a logical line came from. */
struct df_seg {
        size_t off; /* in the logical line */
        unsigned line, col;
};

struct df_logical {
        const char *text;
        size_t len;
        const struct df_seg *segs; /* ascending by off, the first at 0 */
        size_t nsegs;
};

/* What the parsers of one instruction need. */
struct df_parse {
        struct df_arena *a;
        const struct df_logical *logical;
        size_t base; /* offset in the logical line of the instruction's first byte */
        char escape;
        unsigned depth; /* of ONBUILD */
        struct df_err_pos *pos;
        struct bld_err *err;
};

struct df_span {
        size_t off, len; /* relative to the instruction's first byte */
};

struct df_pos df_pos_of(const struct df_parse *p, struct df_span s);
int df_nomem(const struct df_parse *p);

/* One instruction from text (trimmed or not), which starts at p->base of the logical line.
 * Comments, lines and heredocs are set by the caller. */
int df_instr_parse(const struct df_parse *p, const char *text, size_t len,
                   struct df_instr *in) MUST_CHECK;
enum df_kind df_kind_of(const char *word, size_t n);

/* Parser directives (section 3). */
struct df_directive {
        struct text name, value;
};
/* Is this line (without terminator) "<prefix> name = value"? */
bool df_directive_scan(const char *s, size_t n, const char *prefix, struct df_directive *ret);
bool df_directive_known(const struct df_directive *d);
/* The tolerant look-up of `syntax` and `check`; NULL in *ret when absent. */
int df_directive_find(struct df_arena *a, const char *text, size_t len, const char *name,
                      bool any_format, char **ret, struct bld_err *err) MUST_CHECK;

/* Heredoc words of a logical line, bodies not yet read. */
int df_heredocs_scan(struct df_arena *a, const char *line, size_t len, struct df_heredoc **ret,
                     size_t *ret_n, struct bld_err *err) MUST_CHECK;

/* JSON array of strings (exec form): 1 and the elements; 0 when the text is not JSON; INVALID when
 * it is an array that holds something else than strings. */
struct df_json_elem {
        char *text;
        size_t off, len; /* in the source, quotes included */
};
int df_json_array(struct df_arena *a, const char *s, size_t n, struct df_json_elem **ret,
                  size_t *ret_n, struct bld_err *err) MUST_CHECK;

#endif
