/* What the user names to be read: a file, or a pipe whose writer may come late or stay silent.
 * Neither opening nor reading one keeps anybody from cancelling. */
#ifndef BASE_INPUT_H
#define BASE_INPUT_H

#include "base/base.h"
#include "base/cancel.h"
#include "base/sb.h"

/* Open a path for reading, a folder as well: a descriptor, or -1 and errno. A named pipe is open at
 * once, and its first byte is waited for in input_read(). */
int input_open(const char *path);
/* > 0 bytes, 0 at the end, or a negative code: CANCELLED, or SYS with "read" and why. c may be
 * NULL.
 */
ssize_t input_read(int fd, void *p, size_t n, const struct cancel *c, struct bld_err *err);
/* Append to b until it has n bytes more or the input ends, within b's limit (LIMIT beyond it). */
int input_append(int fd, struct sb *b, size_t n, const char *what, const struct cancel *c,
                 struct bld_err *err) MUST_CHECK;

#endif
