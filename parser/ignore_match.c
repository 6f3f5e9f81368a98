/* The matcher of ignore patterns. Patterns without real wildcards are compared as strings. The rest
 * runs as a set of positions in the path that is moved over the tokens: no pattern, however many
 * stars it has, costs more than tokens x length. */
#include "parser/ignore_priv.h"

#include <string.h>

#include "parser/glob_priv.h"
#include "parser/text_priv.h"

/* ---- compiling ---- */

struct compiler {
        struct ignore_pattern *p;
        const char *s;
        size_t n, i;
        bool first; /* at the first token */
};

static struct ignore_tok *add_tok(struct compiler *c, enum ignore_tok_kind kind)
{
        struct ignore_tok *t = &c->p->toks[c->p->ntoks++];

        *t = (struct ignore_tok){.kind = kind, .off = c->p->len};
        return t;
}

static void add_text(struct compiler *c, char ch)
{
        size_t n = c->p->ntoks;
        struct ignore_tok *t =
                n > 0 && c->p->toks[n - 1].kind == TOK_TEXT ? &c->p->toks[n - 1] : NULL;

        if (!t)
                t = add_tok(c, TOK_TEXT);
        c->p->texts[c->p->len++] = ch;
        t->len++;
}

/* Two stars, at c->i. */
static void add_double_star(struct compiler *c)
{
        c->i += 2;
        if (c->i < c->n && c->s[c->i] == '/')
                c->i++;
        if (c->i < c->n) {
                (void)add_tok(c, TOK_DIRS);
                c->p->kind = IGNORE_TOKENS;
        } else {
                (void)add_tok(c, TOK_REST);
                c->p->kind = c->p->kind == IGNORE_EXACT ? IGNORE_PREFIX : IGNORE_TOKENS;
        }
        if (c->first)
                c->p->kind = IGNORE_SUFFIX;
}

/* The next token; the kind becomes TOKENS with the first real wildcard. */
static void add_next(struct compiler *c)
{
        char ch = c->s[c->i];

        if (ch == '*' && c->i + 1 < c->n && c->s[c->i + 1] == '*') {
                add_double_star(c);
                return;
        }
        c->i++;
        if (ch == '*' || ch == '?') {
                (void)add_tok(c, ch == '*' ? TOK_STAR : TOK_ANY);
        } else if (ch == '[') {
                size_t len = glob_class_len(c->s + c->i, c->n - c->i);
                struct ignore_tok *t = add_tok(c, TOK_CLASS);

                memcpy(c->p->texts + c->p->len, c->s + c->i, len);
                c->p->len += len;
                t->len = len;
                c->i += len;
        } else {
                bool escaped = ch == '\\' && c->i < c->n;

                add_text(c, escaped ? c->s[c->i++] : ch);
                if (!escaped)
                        return;
        }
        c->p->kind = IGNORE_TOKENS;
}

static void find_landmarks(struct ignore_pattern *p)
{
        const struct ignore_tok *last = &p->toks[p->ntoks - 1];

        if (last->kind == TOK_TEXT) {
                p->tail_off = last->off;
                p->tail_len = last->len;
        }
        /* The first and the last token are tested anyway. */
        for (size_t i = 1; i + 1 < p->ntoks; i++) {
                if (p->toks[i].kind == TOK_TEXT && p->toks[i].len > p->need_len) {
                        p->need_off = p->toks[i].off;
                        p->need_len = p->toks[i].len;
                }
        }
}

int ignore_pattern_compile(struct ignore_pattern *p, const char *clean)
{
        struct compiler c = {.p = p, .s = clean, .n = strlen(clean), .first = true};

        if (!glob_is_valid(clean, c.n))
                return BLD_E_INVALID;
        p->texts = mem_alloc(c.n + 1);
        p->toks = mem_zalloc(c.n + 1, sizeof(*p->toks));
        if (!p->texts || !p->toks)
                return BLD_E_NOMEM;
        for (; c.i < c.n; c.first = false)
                add_next(&c);
        if (p->kind == IGNORE_TOKENS) {
                find_landmarks(p);
                return 0;
        }
        /* No wildcard but one double star at an end: the text without it. */
        memcpy(p->texts, clean, c.n + 1);
        p->len = c.n;
        if (p->kind == IGNORE_PREFIX)
                p->len -= 2;
        if (p->kind == IGNORE_SUFFIX) {
                p->len -= 2;
                memmove(p->texts, p->texts + 2, p->len);
        }
        return 0;
}

void ignore_pattern_done(struct ignore_pattern *p)
{
        free(p->raw);
        free(p->texts);
        free(p->toks);
        *p = (struct ignore_pattern){0};
}

/* ---- matching ---- */

void ignore_subject_init(struct ignore_subject *s, const char *path)
{
        size_t i;

        s->s = path;
        s->nends = 0;
        for (i = 0; path[i] && i < IGNORE_PATH_MAX && s->nends + 1 < IGNORE_ENDS_MAX; i++)
                if (path[i] == '/' && i > 0)
                        s->ends[s->nends++] = i;
        if (!path[i])
                s->ends[s->nends++] = i;
        s->n = s->nends ? s->ends[s->nends - 1] : 0;
}

/* Does one of the parent folders, or the path, end in the text? */
static bool ends_in(const struct ignore_subject *s, const char *text, size_t len)
{
        for (size_t i = 0; i < s->nends; i++)
                if (s->ends[i] >= len && memcmp(s->s + s->ends[i] - len, text, len) == 0)
                        return true;
        return false;
}

static bool is_end(const struct ignore_subject *s, size_t at)
{
        return at == s->n || (at > 0 && at < s->n && s->s[at] == '/');
}

static bool starts_with(const struct ignore_subject *s, const char *text, size_t len)
{
        return len <= s->n && memcmp(s->s, text, len) == 0;
}

/* A set of positions 0..n. */
#define SET_WORDS (IGNORE_PATH_MAX / 64 + 1)

struct positions {
        uint64_t w[SET_WORDS];
        size_t nw;
};

static void set_clear(struct positions *s, size_t nw)
{
        s->nw = nw;
        memset(s->w, 0, nw * sizeof(s->w[0]));
}

static void set_add(struct positions *s, size_t i)
{
        s->w[i / 64] |= (uint64_t)1 << i % 64;
}

static bool set_has(const struct positions *s, size_t i)
{
        return s->w[i / 64] >> i % 64 & 1;
}

/* The first member at or after i, or SIZE_MAX. */
static size_t set_next(const struct positions *s, size_t i)
{
        size_t k = i / 64;
        uint64_t w;

        if (k >= s->nw)
                return SIZE_MAX;
        w = s->w[k] & ~(uint64_t)0 << i % 64;
        while (w == 0) {
                if (++k >= s->nw)
                        return SIZE_MAX;
                w = s->w[k];
        }
        return k * 64 + (size_t)__builtin_ctzll(w);
}

/* Tokens of variable length only add positions. */
static void stretch(const struct ignore_subject *s, enum ignore_tok_kind kind,
                    struct positions *set, size_t first)
{
        bool run = false;

        for (size_t i = first; i <= s->n; i++) {
                if (kind == TOK_STAR) {
                        run = run || set_has(set, i);
                        if (run)
                                set_add(set, i);
                        if (i < s->n && s->s[i] == '/')
                                run = false;
                } else if (kind == TOK_REST || (i > first && s->s[i - 1] == '/')) {
                        set_add(set, i);
                }
        }
}

/* Length of the token at position `at`, 0 when it does not match there. */
static size_t step(const struct ignore_pattern *p, const struct ignore_tok *t,
                   const struct ignore_subject *s, size_t at)
{
        const char *text = p->texts + t->off;
        uint32_t c;
        size_t k;

        if (t->kind == TOK_TEXT)
                return t->len <= s->n - at && memcmp(s->s + at, text, t->len) == 0 ? t->len : 0;
        if (at == s->n)
                return 0;
        if (t->kind == TOK_ANY && s->s[at] == '/')
                return 0;
        k = u8_decode(s->s + at, s->n - at, &c);
        if (t->kind == TOK_CLASS && !glob_class_has(text, t->len, c))
                return 0;
        return k;
}

/* Does a match end at the path's or a parent folder's end? With `open_end` the path is the
 * beginning of something longer: true as soon as a token could take characters behind it. */
static bool run_tokens(const struct ignore_pattern *p, const struct ignore_subject *s,
                       bool open_end)
{
        struct positions a, b, *now = &a, *next = &b, *swap;
        size_t nw = s->n / 64 + 1, first;

        set_clear(now, nw);
        set_add(now, 0);
        for (size_t i = 0; i < p->ntoks; i++) {
                const struct ignore_tok *t = &p->toks[i];

                first = set_next(now, 0);
                if (first == SIZE_MAX)
                        return false;
                if (open_end && set_has(now, s->n))
                        return true;
                if (t->kind == TOK_STAR || t->kind == TOK_DIRS || t->kind == TOK_REST) {
                        if (open_end && t->kind != TOK_STAR)
                                return true;
                        stretch(s, t->kind, now, first);
                        continue;
                }
                set_clear(next, nw);
                for (size_t at = first; at != SIZE_MAX; at = set_next(now, at + 1)) {
                        size_t k = step(p, t, s, at), rest = s->n - at;

                        if (k > 0)
                                set_add(next, at + k);
                        else if (open_end && t->kind == TOK_TEXT && rest < t->len &&
                                 memcmp(p->texts + t->off, s->s + at, rest) == 0)
                                return true;
                }
                swap = now;
                now = next;
                next = swap;
        }
        for (size_t at = set_next(now, 0); at != SIZE_MAX; at = set_next(now, at + 1))
                if (is_end(s, at))
                        return true;
        return false;
}

bool ignore_pattern_match(const struct ignore_pattern *p, const struct ignore_subject *s)
{
        const char *text = p->texts;

        switch (p->kind) {
        case IGNORE_EXACT:
                return starts_with(s, text, p->len) && is_end(s, p->len);
        case IGNORE_PREFIX:
                return starts_with(s, text, p->len);
        case IGNORE_SUFFIX:
                if (ends_in(s, text, p->len))
                        return true;
                /* The text of "<star><star>/x" is "/x", which also hits "x" itself. */
                return text[0] == '/' && starts_with(s, text + 1, p->len - 1) &&
                       is_end(s, p->len - 1);
        case IGNORE_TOKENS:
                break;
        }
        if (p->tail_len && !ends_in(s, text + p->tail_off, p->tail_len))
                return false;
        if (p->need_len && !memmem(s->s, s->n, text + p->need_off, p->need_len))
                return false;
        return run_tokens(p, s, false);
}

bool ignore_pattern_may_match_below(const struct ignore_pattern *p,
                                    const struct ignore_subject *dir)
{
        switch (p->kind) {
        case IGNORE_SUFFIX:
                return true;
        case IGNORE_EXACT:
                return p->len > dir->n && memcmp(p->texts, dir->s, dir->n) == 0;
        case IGNORE_PREFIX:
                return memcmp(p->texts, dir->s, MIN(p->len, dir->n)) == 0;
        case IGNORE_TOKENS:
                break;
        }
        return run_tokens(p, dir, true);
}
