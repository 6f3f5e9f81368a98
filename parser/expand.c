#include "parser/expand.h"

#include <string.h>

#include "base/err.h"
#include "base/sb.h"
#include "parser/expand_priv.h"
#include "parser/parser.h"
#include "parser/text_priv.h"

#define WORD_MAX ((size_t)1 << 20)
#define HEREDOC_MAX ((size_t)64 << 20)
#define DEPTH_MAX 100 /* of ${a:-${b:-...}}; the recursion is on the stack */
#define NO_STOP (-1)

/* State of one run over the text. */
struct lex {
        const char *p, *end;
        const struct expand_opts *o;
        bool raw_escapes;
        bool modified; /* a ${NAME<modifier>...} was read */
        unsigned depth;
        struct bld_err *err;
};

/* The words of a split result. A word that is empty when it ends is not kept. */
struct splitter {
        struct strv *words;
        struct sb word;
        bool in_word;
        size_t total, max; /* bytes in all words */
        int failed;
};

static int bad(struct lex *x, const char *what)
{
        return err_set(x->err, BLD_E_INVALID, "%s", what);
}

static size_t next_char(const struct lex *x, uint32_t *ret)
{
        return u8_decode(x->p, (size_t)(x->end - x->p), ret);
}

/* ---- splitting ---- */

static void split_raw(struct splitter *w, const char *s, size_t n)
{
        sb_add(&w->word, s, n);
        w->in_word = true;
}

static void split_end(struct splitter *w)
{
        if (w->word.failed && !w->failed)
                w->failed = w->word.failed;
        if (w->word.len == 0)
                return;
        w->total += w->word.len;
        if (!w->failed && w->total > w->max)
                w->failed = BLD_E_LIMIT;
        if (!w->failed)
                w->failed = strv_addn(w->words, w->word.buf, w->word.len);
        sb_reset(&w->word);
        w->in_word = false;
}

/* Text in which white space ends words. */
static void split_text(struct splitter *w, const char *s, size_t n)
{
        for (size_t i = 0; i < n;) {
                uint32_t c;
                size_t k = u8_decode(s + i, n - i, &c);

                if (!uc_is_space(c))
                        split_raw(w, s + i, k);
                else if (w->in_word)
                        split_end(w);
                i += k;
        }
}

/* A quirk of BuildKit's that its users' files may rely on: a modifier makes it forget what came
 * before in the same word, so EXPOSE 100${UNSET:-1} exposes 1. from: what to keep of the word. */
static void split_forget(struct splitter *w, size_t from)
{
        if (from && from < w->word.len)
                memmove(w->word.buf, w->word.buf + from, w->word.len - from);
        sb_cut(&w->word, w->word.len - MIN(from, w->word.len));
}

/* ---- names and values ---- */

static bool is_special_param(uint32_t c)
{
        return c != 0 && c < 0x80 && strchr("@*#?-$!0", (int)c) != NULL;
}

/* NAME, a number, or one special character; may be empty. */
static struct text read_name(struct lex *x)
{
        const char *start = x->p;
        bool number = false;

        while (x->p < x->end) {
                uint32_t c;
                size_t k = next_char(x, &c);

                if (x->p == start) {
                        number = uc_is_digit(c);
                        if (!number && is_special_param(c)) {
                                x->p += k;
                                break;
                        }
                }
                if (!uc_is_digit(c) && (number || (c != '_' && !uc_is_letter(c))))
                        break;
                x->p += k;
        }
        return (struct text){start, (size_t)(x->p - start)};
}

/* 1 and the value (borrowed until the next look-up), 0 unset, or NOMEM. */
static int get_value(struct lex *x, struct text name, struct text *ret)
{
        const struct df_env *env = x->o->env;
        AUTO_FREE char *key = NULL;
        const char *value = NULL;

        *ret = (struct text){"", 0};
        if (!env)
                return 0;
        key = mem_strndup(name.s, name.n);
        if (!key)
                return err_nomem(x->err, "variable name");
        if (env->get)
                value = env->get(env->user, key);
        if (!value && env->unset)
                env->unset(env->user, key);
        if (!value)
                return 0;
        *ret = (struct text){value, strlen(value)};
        return 1;
}

static bool keeps_unset(const struct lex *x, int set)
{
        return !set && (x->o->flags & EXPAND_SKIP_UNSET);
}

/* ---- the forms ---- */

static int lex_until(struct lex *x, int stop, struct sb *out, struct splitter *w);

/* The word of a modifier, up to `stop`. */
static int read_operand(struct lex *x, char stop, bool raw_escapes, const char *missing,
                        struct sb *out)
{
        bool saved = x->raw_escapes;
        int r;

        if (x->depth >= DEPTH_MAX)
                return err_set(x->err, BLD_E_LIMIT, "variable references nested more than %d deep",
                               DEPTH_MAX);
        x->depth++;
        x->raw_escapes = raw_escapes;
        r = lex_until(x, (unsigned char)stop, out, NULL);
        x->raw_escapes = saved;
        x->depth--;
        if (r == BLD_E_INVALID && x->p == x->end) {
                if (x->err)
                        err_clear(x->err);
                return bad(x, missing);
        }
        return r < 0 ? r : sb_check(out, "expanded word", x->err);
}

static int put_default(struct lex *x, struct text name, const char *mods, const struct sb *word,
                       struct sb *out)
{
        struct text value;
        int set = get_value(x, name, &value);
        bool absent;

        if (set < 0)
                return set;
        if (keeps_unset(x, set)) {
                sb_str(out, "${");
                sb_add(out, name.s, name.n);
                sb_str(out, mods);
                sb_add(out, sb_text(word), word->len);
                sb_char(out, '}');
                return 0;
        }
        absent = !set || (mods[0] == ':' && value.n == 0);
        switch (mods[mods[0] == ':']) {
        case '-':
                if (absent)
                        sb_add(out, sb_text(word), word->len);
                else
                        sb_add(out, value.s, value.n);
                return 0;
        case '+':
                if (!absent)
                        sb_add(out, sb_text(word), word->len);
                return 0;
        default: /* ? */
                if (!absent) {
                        sb_add(out, value.s, value.n);
                        return 0;
                }
                return err_set(x->err, BLD_E_INVALID, "%.*s: %s", (int)MIN(name.n, 128), name.s,
                               word->len ? sb_text(word)
                               : set     ? "is not allowed to be empty"
                                         : "is not allowed to be unset");
        }
}

static int put_trimmed(struct lex *x, struct text name, char op, const struct sb *word,
                       struct sb *out)
{
        struct text pat = {sb_text(word), word->len}, value;
        unsigned flags = op == '%' ? TRIM_SUFFIX : 0;
        int set = get_value(x, name, &value);

        if (set < 0)
                return set;
        if (keeps_unset(x, set)) {
                sb_str(out, "${");
                sb_add(out, name.s, name.n);
                sb_char(out, op);
                sb_add(out, pat.s, pat.n);
                sb_char(out, '}');
                return 0;
        }
        if (pat.n > 0 && pat.s[0] == op) {
                flags |= TRIM_LONGEST;
                pat.s++;
                pat.n--;
        }
        return expand_trim(out, value, pat, flags, x->err);
}

static int put_replaced(struct lex *x, struct text name, struct sb *out)
{
        AUTO_SB struct sb pat = SB_INIT(x->o->max), rep = SB_INIT(x->o->max);
        bool all = x->p < x->end && *x->p == '/';
        struct text value;
        int r;

        if (all)
                x->p++;
        r = read_operand(x, '/', true, "syntax error: missing '/' in ${}", &pat);
        if (r == 0)
                r = read_operand(x, '}', true, "syntax error: missing '}'", &rep);
        if (r < 0)
                return r;
        r = get_value(x, name, &value);
        if (r < 0)
                return r;
        if (keeps_unset(x, r)) {
                sb_str(out, "${");
                sb_add(out, name.s, name.n);
                sb_str(out, all ? "//" : "/");
                sb_add(out, sb_text(&pat), pat.len);
                sb_char(out, '/');
                sb_add(out, sb_text(&rep), rep.len);
                sb_char(out, '}');
                return 0;
        }
        return expand_replace(out, value, (struct text){sb_text(&pat), pat.len},
                              (struct text){sb_text(&rep), rep.len}, all, x->err);
}

static int unsupported(struct lex *x, const char *mods, size_t n)
{
        return err_set(x->err, BLD_E_INVALID, "unsupported modifier (%.*s) in substitution",
                       n ? (int)n : 3, n ? mods : "\xef\xbf\xbd");
}

/* After `${NAME`: the closing brace or a modifier. */
static int lex_modifier(struct lex *x, struct text name, struct sb *out)
{
        AUTO_SB struct sb word = SB_INIT(x->o->max);
        const char *mods = x->p;
        char text[3] = {0};
        size_t n = 0;
        bool trims;
        uint32_t c;
        int r;

        if (x->p < x->end && *x->p == ':')
                n = 1;
        if (x->p + n < x->end)
                n += u8_decode(x->p + n, (size_t)(x->end - x->p) - n, &c);
        else
                return unsupported(x, mods, n);
        x->p += n;
        x->modified = true;
        if (n == 1 && c == '/')
                return put_replaced(x, name, out);
        trims = c == '#' || c == '%';
        if ((trims && n > 1) || !(trims || c == '-' || c == '+' || c == '?'))
                return unsupported(x, mods, n);
        r = read_operand(x, '}', trims, "syntax error: missing '}'", &word);
        if (r < 0)
                return r;
        if (trims)
                return put_trimmed(x, name, (char)c, &word, out);
        memcpy(text, mods, n);
        return put_default(x, name, text, &word, out);
}

static int lex_braces(struct lex *x, struct sb *out)
{
        struct text name, value;
        int set;

        x->p++;
        if (x->p == x->end)
                return bad(x, "syntax error: missing '}'");
        if (*x->p == '{' || *x->p == '}' || *x->p == ':')
                return bad(x, "syntax error: bad substitution");
        name = read_name(x);
        if (x->p == x->end || *x->p != '}')
                return lex_modifier(x, name, out);
        x->p++;
        set = get_value(x, name, &value);
        if (set < 0)
                return set;
        if (keeps_unset(x, set))
                sb_add(out, name.s - 2, name.n + 3);
        else
                sb_add(out, value.s, value.n);
        return 0;
}

static int lex_dollar(struct lex *x, struct sb *out)
{
        struct text name, value;
        int set;

        x->p++;
        if (x->p < x->end && *x->p == '{')
                return lex_braces(x, out);
        name = read_name(x);
        if (name.n == 0) {
                sb_char(out, '$');
                return 0;
        }
        set = get_value(x, name, &value);
        if (set < 0)
                return set;
        if (keeps_unset(x, set))
                sb_add(out, name.s - 1, name.n + 1);
        else
                sb_add(out, value.s, value.n);
        return 0;
}

static int lex_single_quote(struct lex *x, struct sb *out)
{
        bool raw = x->o->flags & EXPAND_RAW_QUOTES;
        const char *start = x->p + 1;
        const char *close = memchr(start, '\'', (size_t)(x->end - start));

        if (!close) {
                x->p = x->end;
                return bad(x, "unexpected end of statement while looking for matching "
                              "single-quote");
        }
        sb_add(out, raw ? start - 1 : start, (size_t)(close - start) + (raw ? 2 : 0));
        x->p = close + 1;
        return 0;
}

static int lex_double_quote(struct lex *x, struct sb *out)
{
        bool raw = x->o->flags & EXPAND_RAW_QUOTES;

        if (raw)
                sb_char(out, '"');
        x->p++;
        while (x->p < x->end) {
                char c = *x->p;
                int r;

                if (c == '"') {
                        if (raw)
                                sb_char(out, '"');
                        x->p++;
                        return 0;
                }
                if (c == '$') {
                        r = lex_dollar(x, out);
                        if (r < 0)
                                return r;
                        continue;
                }
                x->p++;
                if (c == x->o->escape) {
                        if (x->raw_escapes)
                                sb_char(out, c);
                        if (x->p == x->end)
                                break;
                        /* Before anything else the escape character is itself. */
                        if (*x->p == '"' || *x->p == '$' || *x->p == x->o->escape)
                                c = *x->p++;
                }
                sb_char(out, c);
        }
        return bad(x, "unexpected end of statement while looking for matching double-quote");
}

/* Escape character and the one behind it, outside quotes. */
static void lex_escape(struct lex *x, struct sb *out)
{
        uint32_t c;
        size_t k;

        if (x->raw_escapes)
                sb_char(out, *x->p);
        x->p++;
        if (x->p == x->end)
                return;
        k = next_char(x, &c);
        sb_add(out, x->p, k);
        x->p += k;
}

/* `<<` keeps the blanks behind it, so that `<< EOF` stays one word. */
static void lex_angle(struct lex *x, struct splitter *w)
{
        const char *start = x->p++;

        if (x->p < x->end && *x->p == '<') {
                x->p++;
                while (x->p < x->end && (*x->p == ' ' || *x->p == '\t' || *x->p == '\r'))
                        x->p++;
        }
        split_raw(w, start, (size_t)(x->p - start));
}

static bool is_special(const struct lex *x, char c, int stop)
{
        if (c == '$' || c == x->o->escape || (stop != NO_STOP && c == (char)stop))
                return true;
        return (c == '\'' || c == '"') && !(x->o->flags & EXPAND_SKIP_QUOTES);
}

static int lex_special(struct lex *x, struct sb *out, struct splitter *w)
{
        size_t before;
        char c = *x->p;
        int r = 0;

        if (w && c == '$')
                sb_reset(out);
        else if (w)
                out = &w->word;
        before = out->len;
        x->modified = false;
        if (c == '$')
                r = lex_dollar(x, out);
        else if (c == x->o->escape)
                lex_escape(x, out);
        else if (c == '\'')
                r = lex_single_quote(x, out);
        else
                r = lex_double_quote(x, out);
        if (r < 0)
                return r;
        if (w && out->failed && !w->failed)
                w->failed = out->failed;
        if (w && x->modified)
                split_forget(w, c == '$' ? w->word.len : before);
        if (w && c == '$')
                split_text(w, sb_text(out), out->len);
        else if (w && (c != x->o->escape || out->len > before))
                w->in_word = true;
        return 0;
}

/* Asked after every reference: the rest could name a large value many times more. */
static int too_long(const struct lex *x, const struct sb *out, const struct splitter *w)
{
        int failed = !w ? 0 : w->failed ? w->failed : w->word.failed;

        if (failed == BLD_E_NOMEM)
                return err_nomem(x->err, "expanded words");
        if (failed)
                return err_set(x->err, failed, "expanded words are larger than %zu bytes",
                               x->o->max);
        return sb_check(out, "expanded word", x->err);
}

static int lex_until(struct lex *x, int stop, struct sb *out, struct splitter *w)
{
        while (x->p < x->end) {
                const char *run = x->p;
                int r;

                while (x->p < x->end && !is_special(x, *x->p, stop) && !(w && *x->p == '<'))
                        x->p++;
                if (w)
                        split_text(w, run, (size_t)(x->p - run));
                else
                        sb_add(out, run, (size_t)(x->p - run));
                if (x->p == x->end)
                        break;
                if (stop != NO_STOP && *x->p == (char)stop) {
                        x->p++;
                        return 0;
                }
                if (w && *x->p == '<') {
                        lex_angle(x, w);
                        continue;
                }
                r = lex_special(x, out, w);
                if (r == 0)
                        r = too_long(x, out, w);
                if (r < 0)
                        return r;
        }
        if (stop != NO_STOP)
                return err_set(x->err, BLD_E_INVALID,
                               "unexpected end of statement while looking for matching %c", stop);
        return 0;
}

int expand_run(const char *s, size_t n, const struct expand_opts *o, struct sb *out,
               struct strv *words, struct bld_err *err)
{
        struct lex x = {.p = s,
                        .end = s + n,
                        .o = o,
                        .raw_escapes = o->flags & EXPAND_RAW_ESCAPES,
                        .err = err};
        struct splitter w = {.words = words, .word = SB_INIT(o->max), .max = o->max};
        int r;

        r = lex_until(&x, NO_STOP, out, words ? &w : NULL);
        if (r == 0 && words)
                split_end(&w);
        if (r == 0)
                r = too_long(&x, out, &w);
        sb_done(&w.word);
        return r;
}

/* ---- the front ---- */

static int wrap(struct bld_err *err, int r, const char *s, size_t n)
{
        char q[TEXT_EXCERPT_MAX];

        return err_wrap(err, r, "failed to process %s", text_excerpt(s, n, q));
}

int df_expand_word(const char *word, char escape, const struct df_env *env, char **ret,
                   struct bld_err *err)
{
        const struct expand_opts o = {.escape = escape, .env = env, .max = WORD_MAX};
        AUTO_SB struct sb out = SB_INIT(WORD_MAX);
        size_t n = strlen(word);
        char *text;
        int r;

        r = expand_run(word, n, &o, &out, NULL, err);
        if (r < 0)
                return wrap(err, r, word, n);
        text = sb_take(&out);
        if (!text)
                return err_nomem(err, "expanded word");
        *ret = text;
        return 0;
}

int df_expand_words(const char *word, char escape, const struct df_env *env, struct strv *out,
                    struct bld_err *err)
{
        const struct expand_opts o = {.escape = escape, .env = env, .max = WORD_MAX};
        AUTO_SB struct sb scratch = SB_INIT(WORD_MAX);
        size_t n = strlen(word);
        int r;

        r = expand_run(word, n, &o, &scratch, out, err);
        return r < 0 ? wrap(err, r, word, n) : 0;
}

int df_expand_heredoc(const struct df_heredoc *h, const struct df_env *env, char **ret,
                      size_t *ret_len, struct bld_err *err)
{
        const struct expand_opts o = {
                .escape = '\\', .flags = EXPAND_SKIP_QUOTES, .env = env, .max = HEREDOC_MAX};
        AUTO_SB struct sb out = SB_INIT(HEREDOC_MAX);
        AUTO_FREE char *body = NULL;
        size_t len = h->content_len;
        int r;

        body = h->chomp ? df_heredoc_chomp(h->content, len, &len) : mem_strndup(h->content, len);
        if (!body)
                return err_nomem(err, "heredoc");
        if (h->expand) {
                r = expand_run(body, len, &o, &out, NULL, err);
                if (r < 0)
                        return wrap(err, r, body, len);
                free(body);
                len = out.len;
                body = sb_take(&out);
                if (!body)
                        return err_nomem(err, "heredoc");
        }
        *ret_len = len;
        *ret = TAKE_PTR(&body);
        return 0;
}

char *df_heredoc_chomp(const char *content, size_t len, size_t *ret_len)
{
        char *out = mem_alloc(len + 1);
        size_t n = 0;

        if (!out)
                return NULL;
        for (size_t i = 0; i < len;) {
                const char *nl;
                size_t end;

                while (i < len && content[i] == '\t')
                        i++;
                nl = memchr(content + i, '\n', len - i);
                end = nl ? (size_t)(nl - content) + 1 : len;
                if (end > i)
                        memcpy(out + n, content + i, end - i);
                n += end - i;
                i = end;
        }
        out[n] = '\0';
        *ret_len = n;
        return out;
}

const char *df_env_strv(void *user, const char *name)
{
        return strv_env_get(user, name);
}
