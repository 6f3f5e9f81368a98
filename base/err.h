/* Filling and wrapping the error record of bld/err.h. All functions return the code, so that
 * `return err_set(...)` reads as one step. err may be NULL everywhere.
 * Threads: MT-Object. Fork-Safe. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdarg.h>

#include "base/base.h"

/* Set code and message. What the record held before does not matter: it may be what an earlier call
 * of a library user left in it, or was never set. */
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

/* The analyzer (make check-static) sees one file at a time: all it needs to know of these is that
 * what they return is negative, or what they were given. */
#ifdef BLD_ANALYZER
static inline int err_negative(int r)
{
        if (r >= 0)
                __builtin_unreachable();
        return r;
}
#define err_set(...) err_negative(err_set(__VA_ARGS__))
#define err_vset(...) err_negative(err_vset(__VA_ARGS__))
#define err_sys(...) err_negative(err_sys(__VA_ARGS__))
#define err_nomem(...) err_negative(err_nomem(__VA_ARGS__))
#define err_recode(...) err_negative(err_recode(__VA_ARGS__))
#define ERR_SAME(call, err, r, ...)               \
        __extension__({                           \
                int r_ = (r);                     \
                (void)call(err, r_, __VA_ARGS__); \
                r_;                               \
        })
#define err_wrap(...) ERR_SAME(err_wrap, __VA_ARGS__)
#define err_why(...) ERR_SAME(err_why, __VA_ARGS__)
#define err_try(...) ERR_SAME(err_try, __VA_ARGS__)
#define err_note(...) ERR_SAME(err_note, __VA_ARGS__)
#endif

#endif
