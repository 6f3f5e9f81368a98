/* Small macros shared by everything: ownership, attributes, arithmetic. */
#ifndef BASE_BASE_H
#define BASE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "bld/err.h"

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

#define PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define MUST_CHECK __attribute__((warn_unused_result))
#define UNUSED __attribute__((unused))

/* AUTO(fn) var: fn(&var) runs when var goes out of scope. Declare with a value that fn accepts. */
#define AUTO(fn) __attribute__((cleanup(fn)))

/* Define the cleanup form of a `void free_fn(T *)`: AUTO(free_fn_p) T *x = NULL; */
#define DEFINE_AUTO_PTR(type, free_fn)           \
        static inline void free_fn##_p(type **p) \
        {                                        \
                free_fn(*p);                     \
        }                                        \
        struct bld_swallow_semicolon

static inline void free_p(void *p)
{
        free(*(void **)p);
}
#define AUTO_FREE AUTO(free_p)

/* Move ownership out of a variable that has a cleanup; keeps the type. */
#define TAKE_PTR(p)                                \
        __extension__({                            \
                __typeof__(*(p)) take_ptr_ = *(p); \
                *(p) = NULL;                       \
                take_ptr_;                         \
        })

/* Checked arithmetic: true when the result does not fit. */
#define ADD_OVERFLOWS(a, b, ret) __builtin_add_overflow((a), (b), (ret))
#define MUL_OVERFLOWS(a, b, ret) __builtin_mul_overflow((a), (b), (ret))

/* Allocation seam: tests make the n-th call fail. All return NULL when memory is out. */
void *mem_alloc(size_t size);
void *mem_zalloc(size_t n, size_t size);
void *mem_realloc(void *p, size_t size);
char *mem_strdup(const char *s);
char *mem_strndup(const char *s, size_t n);
void *mem_dup(const void *p, size_t n);

/* Copy at most size-1 bytes and always terminate; returns false when src was cut. */
bool str_copy(char *dst, size_t size, const char *src);
bool str_has_prefix(const char *s, const char *prefix);
bool str_has_suffix(const char *s, const char *suffix);
bool str_eq(const char *a, const char *b); /* NULL equals NULL only */

#endif
