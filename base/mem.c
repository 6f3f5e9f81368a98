#include "base/base.h"

#include <stdlib.h>
#include <string.h>

void *mem_alloc(size_t size)
{
        return malloc(size ? size : 1);
}

void *mem_zalloc(size_t n, size_t size)
{
        return calloc(n ? n : 1, size ? size : 1);
}

void *mem_realloc(void *p, size_t size)
{
        return realloc(p, size ? size : 1);
}

void *mem_dup(const void *p, size_t n)
{
        void *d = mem_alloc(n);

        if (d && n)
                memcpy(d, p, n);
        return d;
}

char *mem_strndup(const char *s, size_t n)
{
        char *d = mem_alloc(n + 1);

        if (!d)
                return NULL;
        if (n)
                memcpy(d, s, n);
        d[n] = '\0';
        return d;
}

char *mem_strdup(const char *s)
{
        return mem_strndup(s, strlen(s));
}

bool str_copy(char *dst, size_t size, const char *src)
{
        size_t n = strlen(src);
        bool fits = n < size;

        if (size == 0)
                return false;
        if (!fits)
                n = size - 1;
        memcpy(dst, src, n);
        dst[n] = '\0';
        return fits;
}

bool str_has_prefix(const char *s, const char *prefix)
{
        return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool str_has_suffix(const char *s, const char *suffix)
{
        size_t n = strlen(s), m = strlen(suffix);

        return n >= m && memcmp(s + n - m, suffix, m) == 0;
}

bool str_eq(const char *a, const char *b)
{
        if (!a || !b)
                return a == b;
        return strcmp(a, b) == 0;
}
