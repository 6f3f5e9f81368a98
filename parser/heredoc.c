/* Recognition of heredoc words (section 2); the bodies are read by the lexer. */
#include <limits.h>
#include <string.h>

#include "base/err.h"
#include "parser/expand_priv.h"
#include "parser/lex_priv.h"

#define HEREDOCS_MAX 1000 /* looked up one by one by their users */

struct heredoc_word {
        unsigned fd;
        bool chomp, expand;
        const char *rest; /* delimiter as written */
        size_t rest_len;
};

/* [digits]<<[-][white space]delimiter, the delimiter without '<'. */
static bool split_word(const char *s, size_t n, struct heredoc_word *ret)
{
        size_t i = 0;

        *ret = (struct heredoc_word){0};
        for (; i < n && s[i] >= '0' && s[i] <= '9'; i++) {
                unsigned d = (unsigned)(s[i] - '0');

                ret->fd = ret->fd > (UINT_MAX - d) / 10 ? UINT_MAX : ret->fd * 10 + d;
        }
        if (n - i < 2 || s[i] != '<' || s[i + 1] != '<')
                return false;
        i += 2;
        if (i < n && s[i] == '-') {
                ret->chomp = true;
                i++;
        }
        while (i < n && (s[i] == ' ' || (s[i] >= '\t' && s[i] <= '\r' && s[i] != '\v')))
                i++;
        ret->rest = s + i;
        ret->rest_len = n - i;
        return ret->rest_len > 0 && !memchr(ret->rest, '<', ret->rest_len);
}

static void count_quotes(const char *s, size_t ret[2])
{
        ret[0] = ret[1] = 0;
        for (; *s; s++) {
                ret[0] += *s == '\'';
                ret[1] += *s == '"';
        }
}

/* The delimiter as one word under flags: 1 and *ret, 0 when it is not one, or NOMEM. */
static int one_word(const struct heredoc_word *w, unsigned flags, char **ret)
{
        const struct expand_opts o = {
                .escape = '\\', .flags = flags | EXPAND_SKIP_UNSET, .max = 2 * w->rest_len + 16};
        AUTO_SB struct sb scratch = SB_INIT(o.max);
        AUTO(strv_done) struct strv words = {0};
        int r;

        r = expand_run(w->rest, w->rest_len, &o, &scratch, &words, NULL);
        if (r == BLD_E_NOMEM)
                return r;
        if (r < 0 || words.n != 1)
                return 0;
        *ret = TAKE_PTR(&words.v[0]);
        words.n = 0;
        return 1;
}

/* 1 and the name (caller frees) when the word is a heredoc, 0, or NOMEM. The body is expanded iff
 * no part of the delimiter was quoted: then removing quotes removes none. */
static int parse_word(const char *s, size_t n, struct heredoc_word *w, char **ret_name)
{
        AUTO_FREE char *name = NULL, *raw = NULL;
        size_t q[2], raw_q[2];
        int r;

        if (!split_word(s, n, w))
                return 0;
        r = one_word(w, 0, &name);
        if (r == 1)
                r = one_word(w, EXPAND_RAW_QUOTES | EXPAND_RAW_ESCAPES, &raw);
        if (r != 1)
                return r;
        count_quotes(name, q);
        count_quotes(raw, raw_q);
        w->expand = q[0] == raw_q[0] && q[1] == raw_q[1];
        *ret_name = TAKE_PTR(&name);
        return 1;
}

static int add_word(struct df_arena *a, const char *word, struct df_heredoc *h)
{
        AUTO_FREE char *name = NULL;
        struct heredoc_word w;
        int r;

        r = parse_word(word, strlen(word), &w, &name);
        if (r != 1)
                return r;
        h->name = df_arena_str(a, name, strlen(name));
        h->word = df_arena_str(a, word, strlen(word));
        if (!h->name || !h->word)
                return BLD_E_NOMEM;
        h->fd = w.fd;
        h->chomp = w.chomp;
        h->expand = w.expand;
        return 1;
}

int df_heredocs_scan(struct df_arena *a, const char *line, size_t len, struct df_heredoc **ret,
                     size_t *ret_n, struct bld_err *err)
{
        const struct expand_opts o = {.escape = '\\',
                                      .flags = EXPAND_RAW_QUOTES | EXPAND_RAW_ESCAPES |
                                               EXPAND_SKIP_UNSET,
                                      .max = 2 * len + 16};
        AUTO_SB struct sb scratch = SB_INIT(o.max);
        AUTO(strv_done) struct strv words = {0};
        struct df_heredoc *v = NULL;
        size_t n = 0, room = 0;
        int r;

        *ret = NULL;
        *ret_n = 0;
        if (!memmem(line, len, "<<", 2))
                return 0;
        r = expand_run(line, len, &o, &scratch, &words, NULL);
        if (r == BLD_E_NOMEM)
                return err_nomem(err, "heredoc");
        if (r < 0)
                return 0; /* an unbalanced quote: then nothing in the line is a heredoc */
        for (size_t i = 0; i < words.n; i++)
                room += strstr(words.v[i], "<<") != NULL;
        if (room > HEREDOCS_MAX)
                return err_set(err, BLD_E_LIMIT, "more than %d heredocs in one instruction",
                               HEREDOCS_MAX);
        v = df_arena_alloc(a, room, sizeof(*v));
        if (!v)
                return err_nomem(err, "heredoc");
        for (size_t i = 0; i < words.n && n < room; i++) {
                r = add_word(a, words.v[i], &v[n]);
                if (r < 0)
                        return err_nomem(err, "heredoc");
                n += r == 1;
        }
        *ret = v;
        *ret_n = n;
        return 0;
}

int df_heredoc_find(const struct df_instr *in, const char *word, const struct df_heredoc **ret,
                    struct bld_err *err)
{
        AUTO_FREE char *name = NULL;
        struct heredoc_word w;
        int r;

        if (in->nheredocs == 0 || !strstr(word, "<<"))
                return 0;
        r = parse_word(word, strlen(word), &w, &name);
        if (r < 0)
                return err_nomem(err, "heredoc");
        for (size_t i = in->nheredocs; r == 1 && i-- > 0;) {
                if (strcmp(in->heredocs[i].name, name) == 0) {
                        *ret = &in->heredocs[i];
                        return 1;
                }
        }
        return 0;
}
