/* The word processor behind expand.h, and its pattern operators. */
#ifndef PARSER_EXPAND_PRIV_H
#define PARSER_EXPAND_PRIV_H

#include "base/base.h"
#include "base/sb.h"
#include "base/vec.h"
#include "parser/text_priv.h"

struct df_env;

enum expand_flags {
        EXPAND_RAW_QUOTES = 1,  /* quote characters stay in the output */
        EXPAND_RAW_ESCAPES = 2, /* escape characters stay in the output */
        EXPAND_SKIP_QUOTES = 4, /* quotes are ordinary characters */
        EXPAND_SKIP_UNSET = 8,  /* references to unset variables stay as written */
};

struct expand_opts {
        char escape;
        unsigned flags;
        const struct df_env *env; /* NULL: nothing is set */
        size_t max;               /* bytes of output */
};

/* Without words: the result goes to out. With words: it is split at unquoted white space, out is
 * scratch space. Errors come without the `failed to process` prefix. */
int expand_run(const char *s, size_t n, const struct expand_opts *o, struct sb *out,
               struct strv *words, struct bld_err *err) MUST_CHECK;

enum trim_flags { TRIM_SUFFIX = 1, TRIM_LONGEST = 2 };

/* ${value#pat} ${value##pat} ${value%pat} ${value%%pat} */
int expand_trim(struct sb *out, struct text value, struct text pat, unsigned flags,
                struct bld_err *err) MUST_CHECK;
/* ${value/pat/rep}, ${value//pat/rep} */
int expand_replace(struct sb *out, struct text value, struct text pat, struct text rep, bool all,
                   struct bld_err *err) MUST_CHECK;

#endif
