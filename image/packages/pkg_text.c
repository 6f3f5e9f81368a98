#include "image/packages/pkg_priv.h"

#include <string.h>

#include "base/num.h"

struct pkg_text pkg_trim(const char *p, size_t n)
{
        for (; n > 0 && (p[0] == ' ' || p[0] == '\t'); p++)
                n--;
        while (n > 0 && (p[n - 1] == ' ' || p[n - 1] == '\t' || p[n - 1] == '\r'))
                n--;
        return (struct pkg_text){.p = p, .n = n};
}

bool pkg_text_is(struct pkg_text t, const char *s)
{
        return t.n == strlen(s) && memcmp(t.p, s, t.n) == 0;
}

bool pkg_number(struct pkg_text t, uint64_t *ret)
{
        char text[24];

        if (t.n == 0 || t.n >= sizeof(text) || t.p[0] < '0' || t.p[0] > '9')
                return false;
        memcpy(text, t.p, t.n);
        text[t.n] = '\0';
        return parse_u64(text, 0, UINT64_MAX, ret);
}

bool pkg_line(const char *p, size_t n, size_t *at, struct pkg_text *ret)
{
        const char *end;

        if (*at >= n)
                return false;
        ret->p = p + *at;
        end = memchr(ret->p, '\n', n - *at);
        ret->n = end ? (size_t)(end - ret->p) : n - *at;
        *at += ret->n + 1;
        return true;
}
