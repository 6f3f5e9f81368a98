/* Two texts compared line by line, told as `diff -u` does. Time and memory are bounded by the size
 * of the texts: where finding the shortest answer would cost too much, a longer one is given that
 * is as true. Threads: MT-Safe. */
#ifndef CLI_UDIFF_H
#define CLI_UDIFF_H

#include "base/sb.h"

/* Append the hunks that turn a into b, `context` equal lines around each; nothing when they are
 * equal. The texts may hold any bytes; a missing newline at the end is told as diff does. NOMEM;
 * LIMIT when `out` is full or a text has 2^29 lines. */
int udiff(const char *a, size_t na, const char *b, size_t nb, size_t context, struct sb *out,
          struct bld_err *err) MUST_CHECK;

#endif
