#include "base/strv_index.h"

#include <stdio.h>
#include <string.h>

#define SMALL 16 /* such a list is walked faster than hashed */

static size_t walk(const struct strv_index *x, const struct strv *a, const char *key, size_t len)
{
        for (size_t i = a->n; i-- > 0;)
                if (strncmp(a->v[i], key, len) == 0 &&
                    (!a->v[i][len] || (a->v[i][len] == '=' && !x->whole)))
                        return i;
        return SIZE_MAX;
}

/* What was added since. */
static bool catch_up(struct strv_index *x, const struct strv *a)
{
        for (; x->n < a->n; x->n++) {
                const char *s = a->v[x->n];

                if (map_setn(&x->map, s, x->whole ? strlen(s) : strcspn(s, "="),
                             (void *)(uintptr_t)(x->n + 1)) < 0)
                        return false;
        }
        return true;
}

size_t strv_index_find(struct strv_index *x, const struct strv *a, const char *key)
{
        size_t len = strlen(key);
        uintptr_t at;

        if (a->n < SMALL || !catch_up(x, a))
                return walk(x, a, key, len);
        at = (uintptr_t)map_getn(&x->map, key, len);
        return at ? at - 1 : SIZE_MAX;
}

const char *strv_index_get(struct strv_index *x, const struct strv *a, const char *key)
{
        size_t i = strv_index_find(x, a, key);
        const char *eq;

        if (i == SIZE_MAX)
                return NULL;
        eq = strchr(a->v[i], '=');
        return eq ? eq + 1 : "";
}

int strv_index_set(struct strv_index *x, struct strv *a, const char *key, const char *value)
{
        size_t i = strv_index_find(x, a, key);
        char *s;

        if (i == SIZE_MAX)
                return strv_addf(a, "%s=%s", key, value);
        if (asprintf(&s, "%s=%s", key, value) < 0)
                return BLD_E_NOMEM;
        free(a->v[i]);
        a->v[i] = s;
        return 0;
}

int strv_index_add(struct strv_index *x, struct strv *a, const char *key)
{
        return strv_index_find(x, a, key) == SIZE_MAX ? strv_add(a, key) : 0;
}

void strv_index_done(struct strv_index *x)
{
        map_done(&x->map);
        x->n = 0;
}
