/* Filling and wrapping the error record of bld/err.h. All functions return the code, so that
 * `return err_set(...)` reads as one step. err may be NULL everywhere.
 * Threads: MT-Object. Fork-Safe. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdarg.h>

#include "base/base.h"

/* Set code and message. Filling an already filled record is a bug (assert). */
int err_set(struct bld_err *err, int code, const char *fmt, ...) PRINTF(3, 4);
int err_vset(struct bld_err *err, int code, const char *fmt, va_list ap) PRINTF(3, 0);

/* A failed system call: BLD_E_SYS, message "<fmt>: <strerror>". ENOMEM gives BLD_E_NOMEM. */
int err_sys(struct bld_err *err, int errnum, const char *fmt, ...) PRINTF(3, 4);

/* Put "<fmt>: " before the first line; code stays as it is in the record. Returns r. */
int err_wrap(struct bld_err *err, int r, const char *fmt, ...) PRINTF(3, 4);

/* Append a line with the evidence, or with the next step a user can take. Nothing is appended when
 * it does not fit whole. Return r. */
int err_why(struct bld_err *err, int r, const char *fmt, ...) PRINTF(3, 4);
int err_try(struct bld_err *err, int r, const char *fmt, ...) PRINTF(3, 4);
int err_note(struct bld_err *err, int r, const char *fmt, ...) PRINTF(3, 4);

/* Change the code, for example CORRUPT of a user's own archive to INVALID. Returns code. */
int err_recode(struct bld_err *err, int code);

void err_clear(struct bld_err *err);
void err_copy(struct bld_err *dst, const struct bld_err *src);

/* Out of memory while doing WHAT. */
int err_nomem(struct bld_err *err, const char *what);

#endif
