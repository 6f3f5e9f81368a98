/* JSON over jansson, whose types stay inside base/. A `struct js` is a reference to a value;
 * getters borrow, builders own. Objects keep insertion order when written. */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include "base/base.h"
#include "base/sb.h"
#include "base/vec.h"

struct js;

#define JS_DEPTH_MAX 64

/* Parse bytes. Duplicate names, trailing text, bad UTF-8, NUL and what is nested deeper than
 * JS_DEPTH_MAX are refused. Caller: js_free. INVALID with line and column in the message. */
int js_parse(const char *text, size_t len, struct js **ret, struct bld_err *err) MUST_CHECK;
/* The same, for texts in which an integer beyond 64 bits is no reason to refuse the rest: where
 * there is one, no number of the document reads as an integer. */
int js_parse_any_number(const char *text, size_t len, struct js **ret,
                        struct bld_err *err) MUST_CHECK;
void js_free(struct js *j); /* drops one reference; NULL is fine */
DEFINE_AUTO_PTR(struct js, js_free);
#define AUTO_JS AUTO(js_free_p)
struct js *js_ref(const struct js *j);

/* Types and values. All accept NULL and the wrong type and then answer "absent". */
bool js_is_obj(const struct js *j);
bool js_is_arr(const struct js *j);
bool js_is_str(const struct js *j);
bool js_is_int(const struct js *j);
bool js_is_bool(const struct js *j);
bool js_is_null(const struct js *j); /* NULL or JSON null */
bool js_is_true(const struct js *j);
struct js *js_get(const struct js *obj, const char *key);      /* borrowed or NULL */
const char *js_str(const struct js *j);                        /* text or NULL */
const char *js_get_str(const struct js *obj, const char *key); /* text or NULL */
bool js_get_i64(const struct js *obj, const char *key, int64_t *ret);
bool js_get_bool(const struct js *obj, const char *key, bool fallback);
int64_t js_i64(const struct js *j, int64_t fallback);
size_t js_len(const struct js *j); /* elements or members */
struct js *js_at(const struct js *arr, size_t i);
/* Iterate members: for (void *it = js_iter(o); it; it = js_iter_next(o, it)) */
void *js_iter(const struct js *obj);
void *js_iter_next(const struct js *obj, void *it);
const char *js_iter_key(void *it);
struct js *js_iter_value(void *it);
/* Append every string of an array; INVALID when one is not a string. */
int js_to_strv(const struct js *arr, struct strv *out, struct bld_err *err) MUST_CHECK;

/* Building. The js_set_* and js_push_* functions steal `v` where they take one, accept NULL (as out
 * of memory) and return 0 or BLD_E_NOMEM/BLD_E_INVALID (not UTF-8). */
struct js *js_obj(void);
struct js *js_arr(void);
struct js *js_new_str(const char *s);
struct js *js_new_i64(int64_t v);
struct js *js_new_bool(bool v);
struct js *js_new_null(void);
struct js *js_from_strv(const struct strv *a);
struct js *js_copy(const struct js *j); /* deep */
int js_set(struct js *obj, const char *key, struct js *v);
int js_set_str(struct js *obj, const char *key, const char *s);
int js_set_i64(struct js *obj, const char *key, int64_t v);
int js_set_bool(struct js *obj, const char *key, bool v);
int js_del(struct js *obj, const char *key);
int js_push(struct js *arr, struct js *v);
int js_push_str(struct js *arr, const char *s);

/* JS_SHORT: fractions with 15 digits, for people; else with all that they have. */
enum js_flags { JS_COMPACT = 0, JS_INDENT = 1, JS_SORT = 2, JS_SHORT = 4 };
int js_write(const struct js *j, unsigned flags, struct sb *out, struct bld_err *err) MUST_CHECK;

#endif
