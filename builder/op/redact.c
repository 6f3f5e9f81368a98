#include "builder/op/redact_priv.h"

#include <string.h>

#include "base/err.h"

#define VALUE_MIN 4 /* shorter ones stand everywhere by chance */
#define HELD_MAX (1u << 20)

void redactor_init(struct redactor *x, const struct secrets *s)
{
        *x = (struct redactor){.secrets = s, .held = SB_INIT(HELD_MAX)};
}

void redactor_done(struct redactor *x)
{
        if (x->held.buf)
                explicit_bzero(x->held.buf, x->held.cap);
        sb_done(&x->held);
}

/* The value without the line end that files end with; false when it is too short to look for. */
static bool value_at(const struct secrets *s, size_t i, const char **ret, size_t *ret_len)
{
        const void *v;
        size_t n;

        if (!secrets_at(s, i, &v, &n))
                return false;
        *ret = v;
        while (n && ((*ret)[n - 1] == '\n' || (*ret)[n - 1] == '\r'))
                n--;
        *ret_len = n;
        return n >= VALUE_MIN;
}

/* Length of the longest value that stands at p, 0 for none. */
static size_t match(const struct secrets *s, const char *p, size_t n)
{
        size_t best = 0, len;
        const char *v;

        for (size_t i = 0; i < secrets_count(s); i++)
                if (value_at(s, i, &v, &len) && len <= n && len > best && memcmp(p, v, len) == 0)
                        best = len;
        return best;
}

/* Is all of p the beginning of a longer value? */
static bool may_begin(const struct secrets *s, const char *p, size_t n)
{
        size_t len;
        const char *v;

        for (size_t i = 0; i < secrets_count(s); i++)
                if (value_at(s, i, &v, &len) && len > n && memcmp(p, v, n) == 0)
                        return true;
        return false;
}

/* First bytes of the values, so that most bytes cost one look. */
static void first_bytes(const struct secrets *s, bool first[256])
{
        size_t len;
        const char *v;

        memset(first, 0, 256 * sizeof(first[0]));
        for (size_t i = 0; i < secrets_count(s); i++)
                if (value_at(s, i, &v, &len))
                        first[(unsigned char)v[0]] = true;
}

static int scan(struct redactor *x, bool at_end, struct sb *out, struct bld_err *err)
{
        size_t n = x->held.len, i = 0;
        const char *p = sb_text(&x->held);
        bool first[256];

        first_bytes(x->secrets, first);
        while (i < n) {
                size_t from = i, len;

                while (i < n && !first[(unsigned char)p[i]])
                        i++;
                sb_add(out, p + from, i - from);
                if (i == n)
                        break;
                len = match(x->secrets, p + i, n - i);
                if (len) {
                        sb_str(out, "****");
                        i += len;
                        continue;
                }
                if (!at_end && may_begin(x->secrets, p + i, n - i))
                        break;
                sb_char(out, p[i++]);
        }
        if (x->held.buf && i < n)
                memmove(x->held.buf, x->held.buf + i, n - i);
        sb_cut(&x->held, n - i);
        return sb_check(out, "output of a step", err);
}

int redactor_add(struct redactor *x, const void *p, size_t n, struct sb *out, struct bld_err *err)
{
        int r;

        if (!x->secrets || secrets_count(x->secrets) == 0) {
                sb_add(out, p, n);
                return sb_check(out, "output of a step", err);
        }
        sb_add(&x->held, p, n);
        r = sb_check(&x->held, "output of a step", err);
        return r < 0 ? r : scan(x, false, out, err);
}

int redactor_end(struct redactor *x, struct sb *out, struct bld_err *err)
{
        return x->held.len ? scan(x, true, out, err) : 0;
}
