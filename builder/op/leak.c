#include "builder/op/leak_priv.h"

#include <string.h>

#include "base/err.h"

#define VALUE_MIN 6u /* shorter ones stand in large layers by chance */
#define WINDOW (256u << 10)

struct pattern {
        char *text;
        size_t len, secret;
        const char *form;
};
VEC_DEFINE(patterns, struct pattern);

struct leak_scan {
        const struct secrets *secrets;
        struct patterns patterns;
        size_t longest;
        char *held; /* WINDOW and the longest pattern */
        size_t len;
        uint64_t off; /* of held in the stream */
        struct leak_hits hits;
};

void leak_free(struct leak_scan *x)
{
        if (!x)
                return;
        for (size_t i = 0; i < x->patterns.n; i++) {
                explicit_bzero(x->patterns.v[i].text, x->patterns.v[i].len);
                free(x->patterns.v[i].text);
        }
        patterns_done(&x->patterns);
        if (x->held)
                explicit_bzero(x->held, WINDOW + x->longest);
        free(x->held);
        leak_hits_done(&x->hits);
        free(x);
}

static int add(struct leak_scan *x, size_t secret, const char *form, const char *text, size_t len,
               struct bld_err *err)
{
        AUTO_FREE char *copy = mem_dup(text, len);
        struct pattern *p = copy ? patterns_push(&x->patterns) : NULL;

        if (!p)
                return err_nomem(err, "search for secrets");
        *p = (struct pattern){TAKE_PTR(&copy), len, secret, form};
        x->longest = MAX(x->longest, len);
        return 0;
}

static unsigned byte_at(const char *v, size_t n, size_t shift, size_t i)
{
        return i >= shift && i - shift < n ? (unsigned char)v[i - shift] : 0;
}

/* The characters that depend on nothing but the value when `shift` bytes stand before it. */
static int add_base64(struct leak_scan *x, size_t secret, const char *v, size_t n, size_t shift,
                      struct bld_err *err)
{
        static const char digits[] =
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        size_t from = (shift * 8 + 5) / 6, to = (shift + n) * 8 / 6;
        AUTO_FREE char *out = mem_alloc(to - from + 1);
        int r;

        if (!out)
                return err_nomem(err, "search for secrets");
        for (size_t i = from; i < to; i++) {
                size_t at = i * 6 / 8;
                unsigned two = byte_at(v, n, shift, at) << 8 | byte_at(v, n, shift, at + 1);

                out[i - from] = digits[two >> (10 - i * 6 % 8) & 63];
        }
        r = add(x, secret, "in base64", out, to - from, err);
        explicit_bzero(out, to - from);
        return r;
}

static int add_escaped(struct leak_scan *x, size_t secret, const char *v, size_t n,
                       struct bld_err *err)
{
        static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                    "0123456789-._~";
        AUTO_FREE char *out = mem_alloc(3 * n);
        size_t len = 0;
        int r;

        if (!out)
                return err_nomem(err, "search for secrets");
        for (size_t i = 0; i < n; i++) {
                if (v[i] && strchr(plain, v[i])) {
                        out[len++] = v[i];
                        continue;
                }
                out[len++] = '%';
                out[len++] = "0123456789ABCDEF"[(unsigned char)v[i] >> 4];
                out[len++] = "0123456789ABCDEF"[(unsigned char)v[i] & 15];
        }
        r = len == n ? 0 : add(x, secret, "percent-encoded", out, len, err);
        explicit_bzero(out, len);
        return r;
}

static int add_secret(struct leak_scan *x, size_t i, struct bld_err *err)
{
        const void *value;
        const char *v;
        size_t n;
        int r;

        if (!secrets_at(x->secrets, i, &value, &n))
                return 0;
        v = value;
        while (n && (v[n - 1] == '\n' || v[n - 1] == '\r'))
                n--;
        if (n < VALUE_MIN)
                return 0;
        r = add(x, i, "as it is", v, n, err);
        for (size_t shift = 0; shift < 3 && r == 0; shift++)
                r = add_base64(x, i, v, n, shift, err);
        return r < 0 ? r : add_escaped(x, i, v, n, err);
}

int leak_new(const struct secrets *s, struct leak_scan **ret, struct bld_err *err)
{
        AUTO(leak_free_p) struct leak_scan *x = mem_zalloc(1, sizeof(*x));
        int r = x ? 0 : err_nomem(err, "search for secrets");

        *ret = NULL;
        if (r < 0)
                return r;
        x->secrets = s;
        for (size_t i = 0; i < secrets_count(s) && r == 0; i++)
                r = add_secret(x, i, err);
        if (r < 0 || !x->patterns.n)
                return r;
        x->held = mem_alloc(WINDOW + x->longest);
        if (!x->held)
                return err_nomem(err, "search for secrets");
        *ret = TAKE_PTR(&x);
        return 0;
}

static bool found_already(const struct leak_scan *x, const char *id)
{
        for (size_t i = 0; i < x->hits.n; i++)
                if (strcmp(x->hits.v[i].id, id) == 0)
                        return true;
        return false;
}

/* What is held is searched; its end may be the beginning of a value, and stays. */
static int search(struct leak_scan *x, struct bld_err *err)
{
        size_t keep = MIN(x->len, x->longest - 1);

        for (size_t i = 0; i < x->patterns.n; i++) {
                const struct pattern *p = &x->patterns.v[i];
                const char *id = secrets_id(x->secrets, p->secret);
                const char *at =
                        found_already(x, id) ? NULL : memmem(x->held, x->len, p->text, p->len);
                struct leak_hit *hit = at ? leak_hits_push(&x->hits) : NULL;

                if (at && !hit)
                        return err_nomem(err, "search for secrets");
                if (hit)
                        *hit = (struct leak_hit){id, p->form, x->off + (uint64_t)(at - x->held)};
        }
        memmove(x->held, x->held + x->len - keep, keep);
        x->off += x->len - keep;
        x->len = keep;
        return 0;
}

int leak_add(struct leak_scan *x, const void *p, size_t n, struct bld_err *err)
{
        const char *at = p;
        int r = 0;

        while (n && r == 0) {
                size_t k = MIN(n, WINDOW + x->longest - x->len);

                memcpy(x->held + x->len, at, k);
                x->len += k;
                at += k;
                n -= k;
                if (x->len == WINDOW + x->longest)
                        r = search(x, err);
        }
        return r;
}

int leak_end(struct leak_scan *x, const struct leak_hits **ret, struct bld_err *err)
{
        *ret = &x->hits;
        return search(x, err);
}
