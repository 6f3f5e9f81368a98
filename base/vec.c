#include "base/vec.h"

#include <stdarg.h>
#include <stdio.h>

bool vec_grow(void **v, size_t *cap, size_t want, size_t size)
{
        size_t n = *cap ? *cap : 8, bytes;
        void *p;

        while (n < want)
                if (MUL_OVERFLOWS(n, (size_t)2, &n))
                        return false;
        if (MUL_OVERFLOWS(n, size, &bytes))
                return false;
        p = mem_realloc(*v, bytes);
        if (!p)
                return false;
        *v = p;
        *cap = n;
        return true;
}

/* Takes s, also when it fails. */
static int add_owned(struct strv *a, char *s)
{
        void *v = a->v;

        if (!s)
                return BLD_E_NOMEM;
        if (a->n == a->cap && !vec_grow(&v, &a->cap, a->n + 1, sizeof(*a->v))) {
                free(s);
                return BLD_E_NOMEM;
        }
        a->v = v;
        a->v[a->n++] = s;
        return 0;
}

int strv_addn(struct strv *a, const char *s, size_t n)
{
        return add_owned(a, mem_strndup(s, n));
}

int strv_add(struct strv *a, const char *s)
{
        return strv_addn(a, s, strlen(s));
}

int strv_addf(struct strv *a, const char *fmt, ...)
{
        char *s = NULL;
        va_list ap;
        int n;

        va_start(ap, fmt);
        n = vasprintf(&s, fmt, ap);
        va_end(ap);
        return add_owned(a, n < 0 ? NULL : s);
}

int strv_copy(struct strv *dst, const struct strv *src)
{
        for (size_t i = 0; i < src->n; i++)
                if (strv_add(dst, src->v[i]) < 0)
                        return BLD_E_NOMEM;
        return 0;
}

void strv_done(struct strv *a)
{
        for (size_t i = 0; i < a->n; i++)
                free(a->v[i]);
        free(a->v);
        *a = (struct strv){0};
}

static int cmp(const void *x, const void *y)
{
        return strcmp(*(char *const *)x, *(char *const *)y);
}

void strv_sort(struct strv *a)
{
        if (a->n > 1)
                qsort(a->v, a->n, sizeof(*a->v), cmp);
}

bool strv_has(const struct strv *a, const char *s)
{
        for (size_t i = 0; i < a->n; i++)
                if (strcmp(a->v[i], s) == 0)
                        return true;
        return false;
}

static size_t env_find(const struct strv *a, const char *key)
{
        size_t k = strlen(key);

        for (size_t i = a->n; i-- > 0;)
                if (strncmp(a->v[i], key, k) == 0 && (a->v[i][k] == '=' || a->v[i][k] == '\0'))
                        return i;
        return SIZE_MAX;
}

const char *strv_env_get(const struct strv *a, const char *key)
{
        size_t i = env_find(a, key);
        const char *eq;

        if (i == SIZE_MAX)
                return NULL;
        eq = strchr(a->v[i], '=');
        return eq ? eq + 1 : "";
}

int strv_env_set(struct strv *a, const char *key, const char *value)
{
        size_t i = env_find(a, key);
        char *s = NULL;

        if (i == SIZE_MAX)
                return strv_addf(a, "%s=%s", key, value);
        if (asprintf(&s, "%s=%s", key, value) < 0)
                return BLD_E_NOMEM;
        free(a->v[i]);
        a->v[i] = s;
        return 0;
}
