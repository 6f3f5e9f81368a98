/* JSON members as the documents of image-spec use them: strict on types, lenient on null. */
#include "image/image_priv.h"

#include <string.h>

#include "base/err.h"

int img_doc_parse(const char *text, size_t len, size_t max, const char *what, struct js **ret,
                  struct bld_err *err)
{
        AUTO_JS struct js *j = NULL;
        int r;

        if (len > max)
                return err_set(err, BLD_E_LIMIT, "%s has %zu bytes, more than %zu", what, len, max);
        r = js_parse(text, len, &j, err);
        if (r == BLD_E_INVALID)
                return err_wrap(err, err_recode(err, BLD_E_CORRUPT), "%s", what);
        if (r < 0)
                return err_wrap(err, r, "%s", what);
        if (!js_is_obj(j))
                return err_set(err, BLD_E_CORRUPT, "%s is not a JSON object", what);
        *ret = TAKE_PTR(&j);
        return 0;
}

static int wrong_type(struct bld_err *err, const char *key, const char *want)
{
        return err_set(err, BLD_E_CORRUPT, "\"%s\" is not %s", key, want);
}

int img_js_text(const struct js *obj, const char *key, char **ret, struct bld_err *err)
{
        const struct js *j = js_get(obj, key);
        char *s;

        if (js_is_null(j))
                return 0;
        if (!js_is_str(j))
                return wrong_type(err, key, "a string");
        s = mem_strdup(js_str(j));
        if (!s)
                return err_nomem(err, key);
        free(*ret);
        *ret = s;
        return 0;
}

int img_js_fixed(const struct js *obj, const char *key, char *ret, size_t size, struct bld_err *err)
{
        const struct js *j = js_get(obj, key);

        if (js_is_null(j))
                return 0;
        if (!js_is_str(j))
                return wrong_type(err, key, "a string");
        if (strlen(js_str(j)) >= size)
                return err_set(err, BLD_E_CORRUPT, "\"%s\" is longer than %zu bytes", key,
                               size - 1);
        (void)str_copy(ret, size, js_str(j));
        return 0;
}

int img_js_array(const struct js *obj, const char *key, struct js **ret, struct bld_err *err)
{
        struct js *j = js_get(obj, key);

        *ret = NULL;
        if (js_is_null(j))
                return 0;
        if (!js_is_arr(j))
                return wrong_type(err, key, "a list");
        *ret = j;
        return 0;
}

int img_js_strv(const struct js *obj, const char *key, struct strv *ret, struct bld_err *err)
{
        struct js *j;
        int r = img_js_array(obj, key, &j, err);

        if (r < 0 || !j)
                return r;
        r = js_to_strv(j, ret, err);
        if (r == BLD_E_INVALID)
                r = err_recode(err, BLD_E_CORRUPT);
        return err_wrap(err, r, "\"%s\"", key);
}

int img_js_kvs(const struct js *obj, const char *key, struct img_kvs *ret, struct bld_err *err)
{
        const struct js *j = js_get(obj, key);

        if (js_is_null(j))
                return 0;
        if (!js_is_obj(j))
                return wrong_type(err, key, "an object");
        for (void *it = js_iter(j); it; it = js_iter_next(j, it)) {
                const struct js *v = js_iter_value(it);
                struct img_kv *kv;

                if (!js_is_null(v) && !js_is_str(v))
                        return err_set(err, BLD_E_CORRUPT, "a value in \"%s\" is not a string",
                                       key);
                kv = img_kvs_push(ret); /* names are unique: the parser refuses the others */
                if (!kv)
                        return err_nomem(err, key);
                kv->key = mem_strdup(js_iter_key(it));
                kv->value = mem_strdup(js_is_null(v) ? "" : js_str(v));
                if (!kv->key || !kv->value)
                        return err_nomem(err, key);
        }
        return 0;
}

int img_js_set_names(const struct js *obj, const char *key, struct strv *ret, struct bld_err *err)
{
        const struct js *j = js_get(obj, key);

        if (js_is_null(j))
                return 0;
        if (!js_is_obj(j))
                return wrong_type(err, key, "an object");
        for (void *it = js_iter(j); it; it = js_iter_next(j, it))
                if (strv_add(ret, js_iter_key(it)) < 0)
                        return err_nomem(err, key);
        return 0;
}

/* ---- encoding ---- */

/* Length of the UTF-8 sequence at s (RFC 3629: no overlong forms, no surrogates), 0 when bad. */
static size_t utf8_len(const unsigned char *s)
{
        if (s[0] < 0x80)
                return 1;
        if (s[0] >= 0xc2 && s[0] <= 0xdf)
                return (s[1] & 0xc0) == 0x80 ? 2 : 0;
        if ((s[0] & 0xf0) == 0xe0) {
                if ((s[1] & 0xc0) != 0x80 || (s[2] & 0xc0) != 0x80)
                        return 0;
                if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f))
                        return 0;
                return 3;
        }
        if (s[0] >= 0xf0 && s[0] <= 0xf4) {
                if ((s[1] & 0xc0) != 0x80 || (s[2] & 0xc0) != 0x80 || (s[3] & 0xc0) != 0x80)
                        return 0;
                if ((s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
                        return 0;
                return 4;
        }
        return 0;
}

bool img_is_utf8(const char *s)
{
        for (const unsigned char *p = (const unsigned char *)s; *p;) {
                size_t n = utf8_len(p);

                if (n == 0)
                        return false;
                p += n;
        }
        return true;
}

static struct js *new_text(const char *s)
{
        AUTO_SB struct sb b = SB_INIT(SIZE_MAX / 4);

        if (img_is_utf8(s))
                return js_new_str(s);
        for (const unsigned char *p = (const unsigned char *)s; *p;) {
                size_t n = utf8_len(p);

                if (n == 0)
                        sb_str(&b, "\xef\xbf\xbd");
                else
                        sb_add(&b, p, n);
                p += n ? n : 1;
        }
        return b.failed ? NULL : js_new_str(sb_text(&b));
}

void img_put(int *r, struct js *obj, const char *key, struct js *v)
{
        if (*r < 0) {
                js_free(v);
                return;
        }
        if (!img_is_utf8(key)) {
                js_free(v);
                *r = BLD_E_INVALID;
                return;
        }
        *r = js_set(obj, key, v);
}

void img_put_str(int *r, struct js *obj, const char *key, const char *s)
{
        img_put(r, obj, key, new_text(s ? s : ""));
}

void img_put_str_opt(int *r, struct js *obj, const char *key, const char *s)
{
        if (s && *s)
                img_put_str(r, obj, key, s);
}

void img_put_strv(int *r, struct js *obj, const char *key, const struct strv *a)
{
        AUTO_JS struct js *arr = js_arr();

        for (size_t i = 0; arr && *r == 0 && i < a->n; i++)
                *r = js_push(arr, new_text(a->v[i]));
        img_put(r, obj, key, TAKE_PTR(&arr));
}

void img_put_strv_opt(int *r, struct js *obj, const char *key, const struct strv *a)
{
        if (a->n)
                img_put_strv(r, obj, key, a);
}

static int cmp_kv(const void *a, const void *b)
{
        const struct img_kv *const *x = a;
        const struct img_kv *const *y = b;

        return strcmp((*x)->key, (*y)->key);
}

void img_put_kvs_opt(int *r, struct js *obj, const char *key, const struct img_kvs *a)
{
        AUTO_FREE const struct img_kv **sorted = NULL;
        AUTO_JS struct js *map = NULL;

        if (a->n == 0 || *r < 0)
                return;
        sorted = mem_zalloc(a->n, sizeof(*sorted));
        map = js_obj();
        if (!sorted || !map) {
                *r = BLD_E_NOMEM;
                return;
        }
        for (size_t i = 0; i < a->n; i++)
                sorted[i] = &a->v[i];
        qsort(sorted, a->n, sizeof(*sorted), cmp_kv);
        for (size_t i = 0; i < a->n; i++)
                img_put_str(r, map, sorted[i]->key, sorted[i]->value);
        img_put(r, obj, key, TAKE_PTR(&map));
}

void img_put_set_opt(int *r, struct js *obj, const char *key, const struct strv *a)
{
        AUTO_STRV struct strv sorted = {NULL, 0, 0};
        AUTO_JS struct js *map = NULL;

        if (a->n == 0 || *r < 0)
                return;
        map = js_obj();
        if (!map || strv_copy(&sorted, a) < 0) {
                *r = BLD_E_NOMEM;
                return;
        }
        strv_sort(&sorted);
        for (size_t i = 0; i < sorted.n; i++)
                img_put(r, map, sorted.v[i], js_obj());
        img_put(r, obj, key, TAKE_PTR(&map));
}
