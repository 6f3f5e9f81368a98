/* Every allocation fails once. Included by one test program, before anything else of ours: the
 * program then has its own allocation seam. */
#ifndef TESTS_UNIT_ALLOC_SEAM_H
#define TESTS_UNIT_ALLOC_SEAM_H

/* The allocation seam under other names, behind which this program puts its own: the linker then
 * has no need for the original. */
#define mem_alloc real_mem_alloc
#define mem_zalloc real_mem_zalloc
#define mem_realloc real_mem_realloc
#define mem_strdup real_mem_strdup
#define mem_strndup real_mem_strndup
#define mem_dup real_mem_dup
#include "base/mem.c"
#undef mem_alloc
#undef mem_zalloc
#undef mem_realloc
#undef mem_strdup
#undef mem_strndup
#undef mem_dup

void *mem_alloc(size_t size);
void *mem_zalloc(size_t n, size_t size);
void *mem_realloc(void *p, size_t size);
char *mem_strdup(const char *s);
char *mem_strndup(const char *s, size_t n);
void *mem_dup(const void *p, size_t n);

#include <stdatomic.h>

#include "base/err.h"

static atomic_long left = -1; /* calls until one fails; negative: never */
static atomic_bool failed;
static atomic_size_t asked; /* bytes, freed ones included */

static bool fails(size_t size)
{
        asked += size;
        if (left < 0 || left-- > 0)
                return false;
        failed = true;
        return true;
}

void *mem_alloc(size_t size)
{
        return fails(size) ? NULL : real_mem_alloc(size);
}

void *mem_zalloc(size_t n, size_t size)
{
        return fails(n * size) ? NULL : real_mem_zalloc(n, size);
}

void *mem_realloc(void *p, size_t size)
{
        return fails(size) ? NULL : real_mem_realloc(p, size);
}

char *mem_strdup(const char *s)
{
        return fails(strlen(s)) ? NULL : real_mem_strdup(s);
}

char *mem_strndup(const char *s, size_t n)
{
        return fails(n) ? NULL : real_mem_strndup(s, n);
}

void *mem_dup(const void *p, size_t n)
{
        return fails(n) ? NULL : real_mem_dup(p, n);
}

/* run() with its first, second, ... allocation failing, until none does. Which one that is may
 * differ between runs where run() starts threads. */
static inline void fail_each(int (*run)(struct bld_err *))
{
        for (long n = 0;; n++) {
                struct bld_err err = BLD_ERR_INIT;
                int r;

                failed = false;
                left = n;
                r = run(&err);
                left = -1;
                if (!failed) {
                        assert_int_equal(r, 0);
                        assert_true(n > 10);
                        return;
                }
                if (r != BLD_E_NOMEM)
                        fail_msg("allocation %ld: %d %s", n, r, err.msg);
        }
}

#endif
