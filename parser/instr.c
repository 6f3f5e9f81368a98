/* One logical line -> one typed node: word, flags, and the arguments in the shape of the
 * instruction (section 1.1 to 1.3 and 5). Nothing is judged here but syntax. */
#include <string.h>

#include "base/err.h"
#include "parser/lex_priv.h"

#define ONBUILD_DEPTH_MAX 8

VEC_DEFINE(arg_vec, struct df_arg);
VEC_DEFINE(span_vec, struct df_span);

/* The instruction while it is taken apart. Offsets count from text[0]. */
struct line {
        const struct df_parse *p;
        const char *text; /* in->original */
        size_t len;
        size_t rest; /* offset of the arguments */
};

int df_nomem(const struct df_parse *p)
{
        return err_nomem(p->err, "instruction");
}

struct df_pos df_pos_of(const struct df_parse *p, struct df_span s)
{
        const struct df_seg *v = p->logical->segs;
        size_t off = p->base + s.off, lo = 0, hi = p->logical->nsegs;

        /* The last segment that starts at or before off. */
        while (hi - lo > 1) {
                size_t mid = lo + (hi - lo) / 2;

                if (v[mid].off <= off)
                        lo = mid;
                else
                        hi = mid;
        }
        return (struct df_pos){.line = v[lo].line,
                               .col = v[lo].col + (unsigned)(off - v[lo].off),
                               .len = (unsigned)s.len};
}

static int fail_at(const struct line *l, struct df_span s, const char *what)
{
        if (l->p->pos)
                l->p->pos->pos = df_pos_of(l->p, s);
        return err_set(l->p->err, BLD_E_INVALID, "%s", what);
}

/* ---- words ---- */

static const struct {
        const char *name;
        enum df_kind kind;
} kinds[] = {
        {"FROM", DF_FROM},
        {"RUN", DF_RUN},
        {"CMD", DF_CMD},
        {"ENTRYPOINT", DF_ENTRYPOINT},
        {"SHELL", DF_SHELL},
        {"COPY", DF_COPY},
        {"ADD", DF_ADD},
        {"ENV", DF_ENV},
        {"LABEL", DF_LABEL},
        {"ARG", DF_ARG},
        {"WORKDIR", DF_WORKDIR},
        {"USER", DF_USER},
        {"VOLUME", DF_VOLUME},
        {"EXPOSE", DF_EXPOSE},
        {"STOPSIGNAL", DF_STOPSIGNAL},
        {"HEALTHCHECK", DF_HEALTHCHECK},
        {"MAINTAINER", DF_MAINTAINER},
        {"ONBUILD", DF_ONBUILD},
};

enum df_kind df_kind_of(const char *word, size_t n)
{
        for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
                if (text_eq_fold(word, n, kinds[i].name))
                        return kinds[i].kind;
        return DF_UNKNOWN;
}

const char *df_kind_name(enum df_kind k)
{
        for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
                if (kinds[i].kind == k)
                        return kinds[i].name;
        return "UNKNOWN";
}

static int put_arg(const struct line *l, struct df_arg *arg, struct df_span s)
{
        arg->text = df_arena_str(l->p->a, l->text + s.off, s.len);
        arg->pos = df_pos_of(l->p, s);
        return arg->text ? 0 : df_nomem(l->p);
}

static int put_args(const struct line *l, const struct span_vec *spans, struct df_instr *in)
{
        in->args = df_arena_alloc(l->p->a, spans->n, sizeof(*in->args));
        if (!in->args)
                return df_nomem(l->p);
        for (; in->nargs < spans->n; in->nargs++) {
                int r = put_arg(l, &in->args[in->nargs], spans->v[in->nargs]);

                if (r < 0)
                        return r;
        }
        return 0;
}

/* ---- flags ---- */

/* One flag word from `at`: quotes group and go, the escape character makes the next byte literal.
 * out has room for the rest of the line. Returns the offset behind the word. */
static size_t flag_word(const struct line *l, size_t at, char *out, size_t *ret_n)
{
        char quote = '\0';
        size_t n = 0;

        while (at < l->len) {
                char c = l->text[at];
                uint32_t u;

                if (c == l->p->escape) {
                        if (++at < l->len)
                                out[n++] = l->text[at++];
                } else if (quote) {
                        if (c == quote)
                                quote = '\0';
                        else
                                out[n++] = c;
                        at++;
                } else if (c == '\'' || c == '"') {
                        quote = c;
                        at++;
                } else {
                        size_t k = u8_decode(l->text + at, l->len - at, &u);

                        if (uc_is_space(u))
                                break;
                        memcpy(out + n, l->text + at, k);
                        n += k;
                        at += k;
                }
        }
        out[n] = '\0';
        *ret_n = n;
        return at;
}

static int put_flag(const struct line *l, const char *word, size_t n, struct df_span s,
                    struct df_flag *f)
{
        const char *eq = memchr(word, '=', n);

        f->name = df_arena_str(l->p->a, word + 2, eq ? (size_t)(eq - word) - 2 : n - 2);
        f->pos = df_pos_of(l->p, s);
        if (!f->name)
                return df_nomem(l->p);
        if (eq) {
                f->value = df_arena_str(l->p->a, eq + 1, n - (size_t)(eq - word) - 1);
                if (!f->value)
                        return df_nomem(l->p);
        }
        return 0;
}

VEC_DEFINE(flag_vec, struct df_flag);

/* Words that begin with "--"; moves l->rest behind them. */
static int read_flags(struct line *l, struct df_instr *in)
{
        AUTO(flag_vec_done) struct flag_vec flags = {0};
        AUTO_FREE char *word = NULL;
        size_t at = l->rest;
        bool open = true;

        while (open) {
                size_t start, n;
                struct df_flag *f;
                int r;

                at += text_skip_space(l->text + at, l->len - at);
                l->rest = at;
                if (l->len - at < 2 || l->text[at] != '-' || l->text[at + 1] != '-')
                        break;
                if (!word)
                        word = mem_alloc(l->len - at + 1);
                if (!word)
                        return df_nomem(l->p);
                start = at;
                at = flag_word(l, at, word, &n);
                open = !(n == 2);
                if (!open) {
                        l->rest = at + text_skip_space(l->text + at, l->len - at);
                        break;
                }
                f = flag_vec_push(&flags);
                if (!f)
                        return df_nomem(l->p);
                r = put_flag(l, word, n, (struct df_span){start, at - start}, f);
                if (r < 0)
                        return r;
        }
        if (flags.n == 0)
                return 0;
        in->flags = df_arena_alloc(l->p->a, flags.n, sizeof(*in->flags));
        if (!in->flags)
                return df_nomem(l->p);
        memcpy(in->flags, flags.v, flags.n * sizeof(*in->flags));
        in->nflags = flags.n;
        return 0;
}

/* ---- argument shapes ---- */

static int one_string(struct line *l, struct df_instr *in)
{
        const struct df_span whole = {l->rest, l->len - l->rest};

        if (whole.len == 0)
                return 0;
        in->args = df_arena_alloc(l->p->a, 1, sizeof(*in->args));
        if (!in->args)
                return df_nomem(l->p);
        in->nargs = 1;
        return put_arg(l, &in->args[0], whole);
}

static int blank_list(struct line *l, struct df_instr *in)
{
        AUTO(span_vec_done) struct span_vec spans = {0};
        size_t at = l->rest;

        while (at < l->len) {
                size_t start = at;
                struct df_span *s;

                while (at < l->len && !is_blank_byte(l->text[at]))
                        at++;
                s = span_vec_push(&spans);
                if (!s)
                        return df_nomem(l->p);
                *s = (struct df_span){start, at - start};
                while (at < l->len && is_blank_byte(l->text[at]))
                        at++;
        }
        return spans.n ? put_args(l, &spans, in) : 0;
}

static int json_or_list(struct line *l, struct df_instr *in)
{
        struct df_json_elem *v;
        size_t n;
        int r;

        r = df_json_array(l->p->a, l->text + l->rest, l->len - l->rest, &v, &n, l->p->err);
        if (r < 0)
                return r;
        if (r == 0)
                return blank_list(l, in);
        in->args_json = true;
        in->args = df_arena_alloc(l->p->a, n, sizeof(*in->args));
        if (!in->args)
                return df_nomem(l->p);
        for (size_t i = 0; i < n; i++)
                in->args[i] = (struct df_arg){
                        .text = v[i].text,
                        .pos = df_pos_of(l->p, (struct df_span){l->rest + v[i].off, v[i].len})};
        in->nargs = n;
        return 0;
}

static int json_or_string(struct line *l, size_t at, struct df_instr *in)
{
        struct df_json_elem *v;
        size_t n = 1;
        int r;

        if (at == l->len)
                return 0;
        r = df_json_array(l->p->a, l->text + at, l->len - at, &v, &n, l->p->err);
        if (r < 0)
                return r;
        in->cmd.json = r == 1;
        in->cmd.argv.v = df_arena_alloc(l->p->a, n, sizeof(char *));
        if (!in->cmd.argv.v)
                return df_nomem(l->p);
        in->cmd.argv.n = in->cmd.argv.cap = n;
        if (r == 0)
                /* Shared with `original`: the text is a tail of it. */
                in->cmd.argv.v[0] = in->original + at;
        for (size_t i = 0; r == 1 && i < n; i++)
                in->cmd.argv.v[i] = v[i].text;
        return 0;
}

static int healthcheck(struct line *l, struct df_instr *in)
{
        size_t at = l->rest;
        struct df_span type;
        int r;

        while (at < l->len) {
                uint32_t c;
                size_t k = u8_decode(l->text + at, l->len - at, &c);

                if (uc_is_space(c))
                        break;
                at += k;
        }
        if (at == l->rest)
                return 0;
        type = (struct df_span){l->rest, at - l->rest};
        in->args = df_arena_alloc(l->p->a, 1, sizeof(*in->args));
        if (!in->args)
                return df_nomem(l->p);
        r = put_arg(l, &in->args[0], type);
        if (r < 0)
                return r;
        in->nargs = 1;
        if (text_eq_fold(l->text + type.off, type.len, "NONE"))
                in->health = DF_HEALTH_NONE;
        return json_or_string(l, at + text_skip_space(l->text + at, l->len - at), in);
}

/* The end of the word at `at` (section 1.2). Quotes and escapes stay in it; *ret_len leaves out an
 * escape character that ends the text. */
static size_t quoted_word(const struct line *l, size_t at, size_t *ret_len)
{
        size_t start = at;
        char quote = '\0';

        while (at < l->len) {
                char c = l->text[at];
                uint32_t u;
                size_t k = u8_decode(l->text + at, l->len - at, &u);

                if (!quote && uc_is_space(u))
                        break;
                if (c == l->p->escape && quote != '\'') {
                        if (at + 1 == l->len) {
                                *ret_len = at - start;
                                return l->len;
                        }
                        at++;
                        at += u8_decode(l->text + at, l->len - at, &u);
                        continue;
                }
                if (quote && c == quote)
                        quote = '\0';
                else if (!quote && (c == '\'' || c == '"'))
                        quote = c;
                at += k;
        }
        *ret_len = at - start;
        return at;
}

static int read_words(const struct line *l, struct span_vec *out)
{
        size_t at = l->rest;

        while (at < l->len) {
                size_t start, n;
                struct df_span *s;

                at += text_skip_space(l->text + at, l->len - at);
                if (at == l->len)
                        break;
                start = at;
                at = quoted_word(l, at, &n);
                if (n == 0)
                        continue;
                s = span_vec_push(out);
                if (!s)
                        return df_nomem(l->p);
                *s = (struct df_span){start, n};
        }
        return 0;
}

static int put_pair(const struct line *l, struct df_span word, struct df_pair *pair)
{
        const char *s = l->text + word.off;
        const char *eq = memchr(s, '=', word.len);
        size_t key = eq ? (size_t)(eq - s) : word.len;

        pair->pos = df_pos_of(l->p, word);
        pair->key = df_arena_str(l->p->a, s, key);
        if (eq)
                pair->value = df_arena_str(l->p->a, eq + 1, word.len - key - 1);
        return pair->key && (pair->value || !eq) ? 0 : df_nomem(l->p);
}

static int put_pairs(const struct line *l, const struct span_vec *words, struct df_instr *in)
{
        in->pairs = df_arena_alloc(l->p->a, words->n, sizeof(*in->pairs));
        if (!in->pairs)
                return df_nomem(l->p);
        for (; in->npairs < words->n; in->npairs++) {
                int r = put_pair(l, words->v[in->npairs], &in->pairs[in->npairs]);

                if (r < 0)
                        return r;
        }
        return 0;
}

/* "key value with blanks" */
static int legacy_pair(struct line *l, struct df_instr *in)
{
        const struct df_span whole = {l->rest, l->len - l->rest};
        size_t key = l->rest, value;
        struct df_pair *pair;

        while (key < l->len && !is_blank_byte(l->text[key]))
                key++;
        for (value = key; value < l->len && is_blank_byte(l->text[value]); value++)
                ;
        if (value == key)
                return fail_at(l, whole,
                               in->kind == DF_ENV ? "ENV must have two arguments"
                                                  : "LABEL must have two arguments");
        pair = df_arena_alloc(l->p->a, 1, sizeof(*pair));
        if (!pair)
                return df_nomem(l->p);
        pair->pos = df_pos_of(l->p, whole);
        pair->key = df_arena_str(l->p->a, l->text + l->rest, key - l->rest);
        pair->value = df_arena_str(l->p->a, l->text + value, l->len - value);
        if (!pair->key || !pair->value)
                return df_nomem(l->p);
        in->pairs = pair;
        in->npairs = 1;
        in->legacy_pair = true;
        return 0;
}

static int env_pairs(struct line *l, struct df_instr *in)
{
        AUTO(span_vec_done) struct span_vec words = {0};
        char q[TEXT_EXCERPT_MAX];
        int r;

        r = read_words(l, &words);
        if (r < 0 || words.n == 0)
                return r;
        if (!memchr(l->text + words.v[0].off, '=', words.v[0].len))
                return legacy_pair(l, in);
        for (size_t i = 0; i < words.n; i++) {
                const char *s = l->text + words.v[i].off;

                if (memchr(s, '=', words.v[i].len))
                        continue;
                if (l->p->pos)
                        l->p->pos->pos = df_pos_of(l->p, words.v[i]);
                return err_set(l->p->err, BLD_E_INVALID,
                               "Syntax error - can't find = in %s. Must be of the form: name=value",
                               text_excerpt(s, words.v[i].len, q));
        }
        return put_pairs(l, &words, in);
}

static int arg_names(struct line *l, struct df_instr *in)
{
        AUTO(span_vec_done) struct span_vec words = {0};
        int r;

        r = read_words(l, &words);
        if (r < 0 || words.n == 0)
                return r;
        return put_pairs(l, &words, in);
}

static int onbuild(struct line *l, struct df_instr *in)
{
        struct df_parse p = *l->p;
        struct df_instr *sub;

        if (l->rest == l->len)
                return 0;
        if (p.depth == ONBUILD_DEPTH_MAX)
                return err_set(p.err, BLD_E_LIMIT, "ONBUILD nested more than %d deep",
                               ONBUILD_DEPTH_MAX);
        sub = df_arena_alloc(p.a, 1, sizeof(*sub));
        if (!sub)
                return df_nomem(&p);
        sub->line = in->line;
        p.base += l->rest;
        p.depth++;
        in->sub = sub;
        return df_instr_parse(&p, l->text + l->rest, l->len - l->rest, sub);
}

static int read_from(struct line *l, struct df_instr *in)
{
        const char *name;
        int r;

        r = blank_list(l, in);
        if (r < 0 || in->nargs != 3 ||
            !text_eq_fold(in->args[1].text, strlen(in->args[1].text), "AS"))
                return r;
        name = in->args[2].text;
        in->as_raw = df_arena_str(l->p->a, name, strlen(name));
        in->as_name = df_arena_str(l->p->a, name, strlen(name));
        if (!in->as_raw || !in->as_name)
                return df_nomem(l->p);
        text_lower(in->as_name);
        return 0;
}

static int read_args(struct line *l, struct df_instr *in)
{
        switch (in->kind) {
        case DF_MAINTAINER:
        case DF_STOPSIGNAL:
        case DF_USER:
        case DF_WORKDIR:
                return one_string(l, in);
        case DF_FROM:
                return read_from(l, in);
        case DF_EXPOSE:
                return blank_list(l, in);
        case DF_ADD:
        case DF_COPY:
        case DF_VOLUME:
                return json_or_list(l, in);
        case DF_RUN:
        case DF_CMD:
        case DF_ENTRYPOINT:
        case DF_SHELL:
                return json_or_string(l, l->rest, in);
        case DF_HEALTHCHECK:
                return healthcheck(l, in);
        case DF_ARG:
                return arg_names(l, in);
        case DF_ENV:
        case DF_LABEL:
                return env_pairs(l, in);
        case DF_ONBUILD:
                return onbuild(l, in);
        case DF_UNKNOWN:
                break;
        }
        return 0;
}

int df_instr_parse(const struct df_parse *parse, const char *text, size_t len, struct df_instr *in)
{
        struct df_parse p = *parse;
        size_t skip = text_skip_space(text, len), word = 0;
        struct line l;
        int r;

        text += skip;
        len -= skip;
        len -= text_space_tail(text, len);
        p.base += skip;
        in->original = df_arena_str(p.a, text, len);
        if (!in->original)
                return df_nomem(&p);
        while (word < len && !is_blank_byte(text[word]))
                word++;
        in->word = df_arena_str(p.a, text, word);
        if (!in->word)
                return df_nomem(&p);
        in->kind = df_kind_of(text, word);
        l = (struct line){.p = &p, .text = in->original, .len = len, .rest = word};
        r = read_flags(&l, in);
        if (r < 0)
                return r;
        in->rest = in->original + l.rest;
        return read_args(&l, in);
}
