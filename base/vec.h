/* Typed growing arrays.
 *   VEC_DEFINE(name, type) makes `struct name { type *v; size_t n, cap; }` with
 *   type *name_push(struct name *)   room for one more, zeroed; NULL when memory is out;
 *   void name_done(struct name *)    frees the array, not what its elements own. */
#ifndef BASE_VEC_H
#define BASE_VEC_H

#include <string.h>

#include "base/base.h"

/* Grow *v (elements of size bytes) to hold at least want; false when memory is out. */
bool vec_grow(void **v, size_t *cap, size_t want, size_t size);

#define VEC_DEFINE(name, type)                                                         \
        struct name {                                                                  \
                type *v;                                                               \
                size_t n, cap;                                                         \
        };                                                                             \
        static inline UNUSED type *name##_push(struct name *a)                         \
        {                                                                              \
                void *v_ = a->v;                                                       \
                if (a->n == a->cap && !vec_grow(&v_, &a->cap, a->n + 1, sizeof(type))) \
                        return NULL;                                                   \
                a->v = v_;                                                             \
                memset(&a->v[a->n], 0, sizeof(type));                                  \
                return &a->v[a->n++];                                                  \
        }                                                                              \
        static inline UNUSED void name##_done(struct name *a)                          \
        {                                                                              \
                free(a->v);                                                            \
                a->v = NULL;                                                           \
                a->n = a->cap = 0;                                                     \
        }                                                                              \
        struct bld_swallow_semicolon

/* Strings, each owned by the vector. */
struct strv {
        char **v;
        size_t n, cap;
};
#define AUTO_STRV AUTO(strv_done)
int strv_add(struct strv *a, const char *s) MUST_CHECK; /* copies; 0 or BLD_E_NOMEM */
int strv_addn(struct strv *a, const char *s, size_t n) MUST_CHECK;
int strv_addf(struct strv *a, const char *fmt, ...) PRINTF(2, 3) MUST_CHECK;
int strv_copy(struct strv *dst, const struct strv *src) MUST_CHECK; /* appends all of src */
void strv_done(struct strv *a);
void strv_sort(struct strv *a); /* bytewise */
bool strv_has(const struct strv *a, const char *s);
/* "K=V" lists: the value of K (borrowed), or NULL; and set, replacing in place. */
const char *strv_env_get(const struct strv *a, const char *key);
int strv_env_set(struct strv *a, const char *key, const char *value) MUST_CHECK;

#endif
