#include "base/sb.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"

void sb_init(struct sb *b, size_t max)
{
        *b = SB_INIT(max);
}

void sb_done(struct sb *b)
{
        free(b->buf);
        *b = SB_INIT(b->max);
}

void sb_reset(struct sb *b)
{
        b->len = 0;
        b->failed = 0;
        if (b->buf)
                b->buf[0] = '\0';
}

/* Room for n more bytes and the NUL. */
static bool reserve(struct sb *b, size_t n)
{
        size_t want, cap = b->cap ? b->cap : 64;
        char *p;

        if (b->failed)
                return false;
        if (ADD_OVERFLOWS(b->len, n, &want) || want > b->max) {
                b->failed = BLD_E_LIMIT;
                return false;
        }
        want++;
        if (want <= b->cap)
                return true;
        while (cap < want)
                cap = cap > SIZE_MAX / 2 ? want : cap * 2;
        p = mem_realloc(b->buf, cap);
        if (!p) {
                b->failed = BLD_E_NOMEM;
                return false;
        }
        b->buf = p;
        b->cap = cap;
        return true;
}

void sb_add(struct sb *b, const void *p, size_t n)
{
        if (!reserve(b, n))
                return;
        if (n)
                memcpy(b->buf + b->len, p, n);
        b->len += n;
        b->buf[b->len] = '\0';
}

void sb_str(struct sb *b, const char *s)
{
        sb_add(b, s, strlen(s));
}

void sb_char(struct sb *b, char c)
{
        sb_add(b, &c, 1);
}

void sb_vfmt(struct sb *b, const char *fmt, va_list ap)
{
        va_list again;
        int n;

        va_copy(again, ap);
        n = vsnprintf(NULL, 0, fmt, again);
        va_end(again);
        if (n < 0 || !reserve(b, (size_t)n))
                return;
        (void)vsnprintf(b->buf + b->len, (size_t)n + 1, fmt, ap);
        b->len += (size_t)n;
}

void sb_fmt(struct sb *b, const char *fmt, ...)
{
        va_list ap;

        va_start(ap, fmt);
        sb_vfmt(b, fmt, ap);
        va_end(ap);
}

void sb_cut(struct sb *b, size_t len)
{
        if (len >= b->len)
                return;
        b->len = len;
        b->buf[len] = '\0';
}

/* Length of the valid UTF-8 sequence at s, 0 when it is not one or encodes a C1 control. */
static size_t utf8_len(const unsigned char *s, size_t n)
{
        size_t k = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;

        if (s[0] < 0xc2 || s[0] > 0xf4 || k > n)
                return 0;
        for (size_t i = 1; i < k; i++)
                if ((s[i] & 0xc0) != 0x80)
                        return 0;
        if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
            (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f) ||
            (s[0] == 0xc2 && s[1] < 0xa0))
                return 0;
        return k;
}

void sb_escaped(struct sb *b, const char *s, size_t n)
{
        const unsigned char *u = (const unsigned char *)s;

        for (size_t i = 0; i < n;) {
                size_t k = u[i] >= 0x80 ? utf8_len(u + i, n - i) : 0;

                if (k) {
                        sb_add(b, u + i, k);
                        i += k;
                        continue;
                }
                if (u[i] == '\n')
                        sb_str(b, "\\n");
                else if (u[i] == '\t')
                        sb_str(b, "\\t");
                else if (u[i] == '"' || u[i] == '\\')
                        sb_fmt(b, "\\%c", u[i]);
                else if (u[i] < 0x20 || u[i] >= 0x7f)
                        sb_fmt(b, "\\x%02x", u[i]);
                else
                        sb_char(b, (char)u[i]);
                i++;
        }
}

int sb_check(const struct sb *b, const char *what, struct bld_err *err)
{
        if (b->failed == BLD_E_LIMIT)
                return err_set(err, BLD_E_LIMIT, "%s is larger than %zu bytes", what, b->max);
        if (b->failed)
                return err_nomem(err, what);
        return 0;
}

const char *sb_text(const struct sb *b)
{
        return b->buf ? b->buf : "";
}

char *sb_take(struct sb *b)
{
        char *p;

        if (b->failed || (!b->buf && !reserve(b, 0)))
                return NULL;
        b->buf[b->len] = '\0';
        p = b->buf;
        b->buf = NULL;
        b->len = b->cap = 0;
        return p;
}
