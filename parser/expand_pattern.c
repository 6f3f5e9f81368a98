/* The patterns of ${x#p} and ${x/p/r}: `*` any run of characters but newline, `?` any one.
 *
 * Matching goes piece by piece: between two stars stands a piece of fixed length, and taking the
 * leftmost place where it fits is never wrong, because the star after it can stretch. Text and
 * pattern are arrays of characters, so a suffix is a prefix of the reversed arrays. The work is
 * counted: both come from a Dockerfile that may be hostile. */
#include "parser/expand_priv.h"

#include <string.h>

#include "base/err.h"
#include "parser/text_priv.h"

#define TOK_STAR 0xfffffffeu
#define TOK_ANY 0xffffffffu
#define WORK_MAX ((size_t)1 << 28)
#define NO_MATCH SIZE_MAX

struct chars {
        uint32_t *v;
        size_t n;
};

static void chars_done(struct chars *c)
{
        free(c->v);
}

static int chars_new(struct chars *ret, struct text t, struct bld_err *err)
{
        ret->v = mem_zalloc(t.n, sizeof(*ret->v));
        if (!ret->v)
                return err_nomem(err, "variable substitution");
        for (size_t i = 0; i < t.n; ret->n++)
                i += u8_decode(t.s + i, t.n - i, &ret->v[ret->n]);
        return 0;
}

static void chars_reverse(struct chars *c)
{
        for (size_t i = 0, j = c->n; i + 1 < j; i++) {
                uint32_t x = c->v[i];

                c->v[i] = c->v[--j];
                c->v[j] = x;
        }
}

static void chars_add(struct sb *out, const struct chars *c, size_t from, size_t to)
{
        char b[4];

        for (size_t i = from; i < to; i++)
                sb_add(out, b, u8_encode(c->v[i], b));
}

/* Pattern text to tokens, in place. */
static int compile(struct chars *p, struct text src, struct bld_err *err)
{
        size_t n = 0;

        for (size_t i = 0; i < p->n; i++) {
                uint32_t c = p->v[i];

                if (c == '*') {
                        if (n && p->v[n - 1] == TOK_STAR)
                                continue;
                        c = TOK_STAR;
                } else if (c == '?') {
                        c = TOK_ANY;
                } else if (c == '\\') {
                        char bad[5] = {0};

                        c = ++i < p->n ? p->v[i] : 0;
                        if (c != 0 && c < 0x80 && strchr("*?\\}/", (int)c)) {
                                p->v[n++] = c;
                                continue;
                        }
                        if (i < p->n)
                                (void)u8_encode(c, bad);
                        return err_set(err, BLD_E_INVALID,
                                       "invalid pattern (%.*s) in substitution: invalid escape "
                                       "'\\%s'",
                                       (int)MIN(src.n, 200), src.s, bad);
                }
                p->v[n++] = c;
        }
        p->n = n;
        return 0;
}

struct search {
        const struct chars *p, *t;
        bool longest;
        size_t work;
};

static bool piece_at(struct search *s, size_t from, size_t len, size_t at)
{
        s->work++;
        if (len > s->t->n - at)
                return false;
        for (size_t i = 0; i < len; i++) {
                uint32_t c = s->p->v[from + i];

                if (c != TOK_ANY && c != s->t->v[at + i]) {
                        s->work += i;
                        return false;
                }
        }
        s->work += len;
        return true;
}

/* Where the piece may stand after a star that starts at `at`. */
static size_t piece_after_star(struct search *s, size_t from, size_t len, size_t at)
{
        bool last = from + len == s->p->n;
        size_t limit = at;

        if (!last || !s->longest) {
                for (;; at++) {
                        if (s->work > WORK_MAX)
                                return NO_MATCH;
                        if (piece_at(s, from, len, at))
                                return at;
                        if (at == s->t->n || s->t->v[at] == '\n')
                                return NO_MATCH;
                }
        }
        while (limit < s->t->n && s->t->v[limit] != '\n')
                limit++;
        s->work += limit - at;
        for (;; limit--) {
                if (s->work > WORK_MAX)
                        return NO_MATCH;
                if (piece_at(s, from, len, limit))
                        return limit;
                if (limit == at)
                        return NO_MATCH;
        }
}

/* Match the whole pattern from `at`; the end of the match, or NO_MATCH. */
static size_t match_at(struct search *s, size_t at)
{
        const struct chars *p = s->p;
        size_t i = 0;
        bool star = false;

        for (;;) {
                size_t len = 0;

                while (i + len < p->n && p->v[i + len] != TOK_STAR)
                        len++;
                if (star)
                        at = piece_after_star(s, i, len, at);
                else if (!piece_at(s, i, len, at))
                        at = NO_MATCH;
                if (at == NO_MATCH)
                        return NO_MATCH;
                at += len;
                i += len;
                if (i == p->n)
                        return at;
                i++;
                star = true;
        }
}

static int too_much_work(struct bld_err *err)
{
        return err_set(err, BLD_E_LIMIT, "pattern in substitution takes too long to match");
}

int expand_trim(struct sb *out, struct text value, struct text pat, unsigned flags,
                struct bld_err *err)
{
        AUTO(chars_done) struct chars t = {0}, p = {0};
        struct search s = {.p = &p, .t = &t, .longest = flags & TRIM_LONGEST};
        size_t end;
        int r;

        r = chars_new(&p, pat, err);
        if (r == 0)
                r = compile(&p, pat, err);
        if (r == 0)
                r = chars_new(&t, value, err);
        if (r < 0)
                return r;
        if (flags & TRIM_SUFFIX) {
                chars_reverse(&p);
                chars_reverse(&t);
        }
        end = match_at(&s, 0);
        if (s.work > WORK_MAX)
                return too_much_work(err);
        if (end == NO_MATCH)
                end = 0;
        if (flags & TRIM_SUFFIX) {
                chars_reverse(&t);
                chars_add(out, &t, 0, t.n - end);
        } else {
                chars_add(out, &t, end, t.n);
        }
        return 0;
}

int expand_replace(struct sb *out, struct text value, struct text pat, struct text rep, bool all,
                   struct bld_err *err)
{
        AUTO(chars_done) struct chars t = {0}, p = {0};
        struct search s = {.p = &p, .t = &t, .longest = true};
        size_t done = 0, at = 0, prev_end = NO_MATCH;
        int r;

        r = chars_new(&p, pat, err);
        if (r == 0)
                r = compile(&p, pat, err);
        if (r == 0)
                r = chars_new(&t, value, err);
        if (r < 0)
                return r;
        while (at <= t.n) {
                size_t end = match_at(&s, at);

                if (s.work > WORK_MAX)
                        return too_much_work(err);
                /* An empty match right behind a match does not count. */
                if (end == NO_MATCH || (end == at && at == prev_end)) {
                        at++;
                        continue;
                }
                chars_add(out, &t, done, at);
                sb_add(out, rep.s, rep.n);
                done = prev_end = end;
                at = end > at ? end : at + 1;
                if (!all)
                        break;
        }
        chars_add(out, &t, done, t.n);
        return 0;
}
