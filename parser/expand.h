/* Word expansion (section 6 of the language): quotes, escapes, $NAME, ${NAME...} with all
 * modifiers. Sans-I/O. */
#ifndef PARSER_EXPAND_H
#define PARSER_EXPAND_H

#include "base/base.h"
#include "base/map.h"
#include "base/vec.h"

struct df_heredoc;

/* Look a variable up: its value, borrowed until the next call, or NULL when unset. */
typedef const char *(*df_getenv_fn)(void *user, const char *name);

struct df_env {
        df_getenv_fn get;
        void *user;
        /* When set: called for every name referenced that is unset (check UndefinedVar). */
        void (*unset)(void *user, const char *name);
};

/* One word -> one string, quotes removed, blanks kept. escape is the file's. Output is bounded by
 * 1 MiB (LIMIT). Errors carry `failed to process "SOURCE": REASON`. Caller frees. */
int df_expand_word(const char *word, char escape, const struct df_env *env, char **ret,
                   struct bld_err *err) MUST_CHECK;
/* The same with splitting at unquoted white space; appended to out. */
int df_expand_words(const char *word, char escape, const struct df_env *env, struct strv *out,
                    struct bld_err *err) MUST_CHECK;
/* Body of a COPY/ADD heredoc: variables only, quotes ordinary, "\c" -> c. Also chomps if asked. */
int df_expand_heredoc(const struct df_heredoc *h, const struct df_env *env, char **ret,
                      size_t *ret_len, struct bld_err *err) MUST_CHECK;

/* "K=V" strings as an environment: user is a `const struct strv *`. */
const char *df_env_strv(void *user, const char *name);

/* Leading tabs of every line removed (<<-). Caller frees. */
char *df_heredoc_chomp(const char *content, size_t len, size_t *ret_len);

#endif
