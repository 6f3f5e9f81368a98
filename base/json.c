#include "base/json.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "base/err.h"

/* A struct js is a json_t under another name; the casts live here only. */
static json_t *in(struct js *j)
{
        return (json_t *)j;
}

static const json_t *cin(const struct js *j)
{
        return (const json_t *)j;
}

static struct js *out(json_t *j)
{
        return (struct js *)j;
}

/* No deeper than anything sensible is, so that whoever walks a document may recurse. */
static bool too_deep(const char *text, size_t len)
{
        unsigned depth = 0;
        bool quoted = false;

        for (size_t i = 0; i < len; i++) {
                if (quoted && text[i] == '\\')
                        i++;
                else if (text[i] == '"')
                        quoted = !quoted;
                else if (!quoted && (text[i] == '[' || text[i] == '{') && ++depth > JS_DEPTH_MAX)
                        return true;
                else if (!quoted && (text[i] == ']' || text[i] == '}') && depth > 0)
                        depth--;
        }
        return false;
}

static int parse(const char *text, size_t len, size_t flags, struct js **ret, struct bld_err *err)
{
        json_error_t e;
        json_t *j;

        if (too_deep(text, len))
                return err_set(err, BLD_E_INVALID, "not valid JSON: nested deeper than %d",
                               JS_DEPTH_MAX);
        /* Of all the ways in which memory can end, jansson tells one. */
        errno = 0;
        j = json_loadb(text, len, flags | JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);
        if (!j && errno == ENOMEM)
                return err_nomem(err, "JSON");
        if (!j)
                return err_set(err, BLD_E_INVALID, "not valid JSON: line %d column %d: %.200s",
                               e.line, e.column, e.text);
        *ret = out(j);
        return 0;
}

int js_parse(const char *text, size_t len, struct js **ret, struct bld_err *err)
{
        return parse(text, len, 0, ret, err);
}

int js_parse_any_number(const char *text, size_t len, struct js **ret, struct bld_err *err)
{
        int r = parse(text, len, 0, ret, err);

        if (r != BLD_E_INVALID)
                return r;
        err_clear(err);
        return parse(text, len, JSON_DECODE_INT_AS_REAL, ret, err);
}

void js_free(struct js *j)
{
        json_decref(in(j));
}

struct js *js_ref(const struct js *j)
{
        /* Counting a reference does not change the value. */
        union {
                const struct js *c;
                struct js *m;
        } u = {.c = j};

        return out(json_incref(in(u.m)));
}

bool js_is_obj(const struct js *j)
{
        return json_is_object(cin(j));
}

bool js_is_arr(const struct js *j)
{
        return json_is_array(cin(j));
}

bool js_is_str(const struct js *j)
{
        return json_is_string(cin(j));
}

bool js_is_int(const struct js *j)
{
        return json_is_integer(cin(j));
}

bool js_is_bool(const struct js *j)
{
        return json_is_boolean(cin(j));
}

bool js_is_null(const struct js *j)
{
        return !j || json_is_null(cin(j));
}

struct js *js_get(const struct js *obj, const char *key)
{
        return out(json_object_get(cin(obj), key));
}

const char *js_str(const struct js *j)
{
        return json_string_value(cin(j));
}

const char *js_get_str(const struct js *obj, const char *key)
{
        return js_str(js_get(obj, key));
}

bool js_get_i64(const struct js *obj, const char *key, int64_t *ret)
{
        const struct js *j = js_get(obj, key);

        if (!js_is_int(j))
                return false;
        *ret = json_integer_value(cin(j));
        return true;
}

bool js_is_true(const struct js *j)
{
        return json_is_true(cin(j));
}

bool js_get_bool(const struct js *obj, const char *key, bool fallback)
{
        const struct js *j = js_get(obj, key);

        return js_is_bool(j) ? json_is_true(cin(j)) : fallback;
}

int64_t js_i64(const struct js *j, int64_t fallback)
{
        return js_is_int(j) ? json_integer_value(cin(j)) : fallback;
}

size_t js_len(const struct js *j)
{
        return js_is_arr(j) ? json_array_size(cin(j)) : json_object_size(cin(j));
}

struct js *js_at(const struct js *arr, size_t i)
{
        return out(json_array_get(cin(arr), i));
}

void *js_iter(const struct js *obj)
{
        union {
                const struct js *c;
                struct js *m;
        } u = {.c = obj};

        return json_object_iter(in(u.m));
}

void *js_iter_next(const struct js *obj, void *it)
{
        union {
                const struct js *c;
                struct js *m;
        } u = {.c = obj};

        return json_object_iter_next(in(u.m), it);
}

const char *js_iter_key(void *it)
{
        return json_object_iter_key(it);
}

struct js *js_iter_value(void *it)
{
        return out(json_object_iter_value(it));
}

int js_to_strv(const struct js *arr, struct strv *to, struct bld_err *err)
{
        if (!js_is_null(arr) && !js_is_arr(arr))
                return err_set(err, BLD_E_INVALID, "not a list of strings");
        for (size_t i = 0; i < js_len(arr); i++) {
                const char *s = js_str(js_at(arr, i));

                if (!s)
                        return err_set(err, BLD_E_INVALID, "element %zu is not a string", i);
                if (strv_add(to, s) < 0)
                        return err_nomem(err, "list of strings");
        }
        return 0;
}

struct js *js_obj(void)
{
        return out(json_object());
}

struct js *js_arr(void)
{
        return out(json_array());
}

struct js *js_new_str(const char *s)
{
        return out(json_string(s));
}

struct js *js_new_i64(int64_t v)
{
        return out(json_integer(v));
}

struct js *js_new_bool(bool v)
{
        return out(json_boolean(v));
}

struct js *js_new_null(void)
{
        return out(json_null());
}

struct js *js_from_strv(const struct strv *a)
{
        struct js *arr = js_arr();

        for (size_t i = 0; arr && i < a->n; i++)
                if (js_push_str(arr, a->v[i]) < 0) {
                        js_free(arr);
                        return NULL;
                }
        return arr;
}

struct js *js_copy(const struct js *j)
{
        return out(json_deep_copy(cin(j)));
}

int js_set(struct js *obj, const char *key, struct js *v)
{
        if (!v)
                return BLD_E_NOMEM;
        return json_object_set_new(in(obj), key, in(v)) < 0 ? BLD_E_INVALID : 0;
}

int js_set_str(struct js *obj, const char *key, const char *s)
{
        return js_set(obj, key, js_new_str(s));
}

int js_set_i64(struct js *obj, const char *key, int64_t v)
{
        return js_set(obj, key, js_new_i64(v));
}

int js_set_bool(struct js *obj, const char *key, bool v)
{
        return js_set(obj, key, js_new_bool(v));
}

int js_del(struct js *obj, const char *key)
{
        return json_object_del(in(obj), key) < 0 ? BLD_E_NOT_FOUND : 0;
}

int js_push(struct js *arr, struct js *v)
{
        if (!v)
                return BLD_E_NOMEM;
        return json_array_append_new(in(arr), in(v)) < 0 ? BLD_E_INVALID : 0;
}

int js_push_str(struct js *arr, const char *s)
{
        return js_push(arr, js_new_str(s));
}

static int dump(const char *buffer, size_t size, void *data)
{
        struct sb *b = data;

        sb_add(b, buffer, size);
        return b->failed ? -1 : 0;
}

int js_write(const struct js *j, unsigned flags, struct sb *to, struct bld_err *err)
{
        size_t f = JSON_ENCODE_ANY;

        f |= flags & JS_INDENT ? JSON_INDENT(2) : JSON_COMPACT;
        if (flags & JS_SORT)
                f |= JSON_SORT_KEYS;
        if (flags & JS_SHORT)
                f |= JSON_REAL_PRECISION(15);
        if (!j)
                return err_nomem(err, "JSON document");
        if (json_dump_callback(cin(j), dump, to, f) < 0 && !to->failed)
                return err_set(err, BLD_E_INVALID, "text that is not UTF-8 cannot go into JSON");
        return sb_check(to, "JSON document", err);
}
