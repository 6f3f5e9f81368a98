/* Structs that callers and library may know in different sizes: each begins with `size_t size`. */
#ifndef LIB_OPTS_PRIV_H
#define LIB_OPTS_PRIV_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/* Copy an option struct of the caller's size into ours of size n, the rest zero; theirs may be
 * NULL. USAGE when its size is not set, UNSUPPORTED when it sets what we do not know. */
int lib_opts_copy(void *ours, size_t n, const void *theirs, const char *what,
                  struct bld_err *err) MUST_CHECK;

/* A value of an enum, or bits of one, named what: UNSUPPORTED where we do not know it. */
int lib_known(bool known, unsigned value, const char *what, struct bld_err *err) MUST_CHECK;

/* A result struct, before the work: USAGE when its size is not set. theirs may be NULL. */
int lib_ret_check(const void *theirs, const char *what, struct bld_err *err) MUST_CHECK;
/* And after it: as much of ours, n bytes, as the caller knows; the rest zero. */
void lib_ret_put(void *theirs, const void *ours, size_t n);

#endif
