#undef BLD_ANALYZER /* here is what its macros stand for */
#include "base/err.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

int err_vset(struct bld_err *err, int code, const char *fmt, va_list ap)
{
        assert(code < 0);
        if (!err)
                return code;
        err->code = code;
        err->sys = 0;
        (void)vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
        return code;
}

int err_set(struct bld_err *err, int code, const char *fmt, ...)
{
        va_list ap;

        va_start(ap, fmt);
        (void)err_vset(err, code, fmt, ap);
        va_end(ap);
        return code;
}

int err_sys(struct bld_err *err, int errnum, const char *fmt, ...)
{
        int code = errnum == ENOMEM ? BLD_E_NOMEM : BLD_E_SYS;
        char reason[128];
        va_list ap;
        size_t n;

        va_start(ap, fmt);
        (void)err_vset(err, code, fmt, ap);
        va_end(ap);
        if (!err)
                return code;
        err->sys = errnum;
        n = strlen(err->msg);
        (void)snprintf(err->msg + n, sizeof(err->msg) - n, ": %s",
                       strerror_r(errnum, reason, sizeof(reason)));
        return code;
}

int err_wrap(struct bld_err *err, int r, const char *fmt, ...)
{
        char head[512];
        va_list ap;
        int n;

        if (!err || r >= 0)
                return r;
        va_start(ap, fmt);
        n = vsnprintf(head, sizeof(head) - 2, fmt, ap);
        va_end(ap);
        if (n < 0)
                return r;
        if ((size_t)n > sizeof(head) - 3)
                n = (int)sizeof(head) - 3;
        head[n++] = ':';
        head[n++] = ' ';

        size_t room = sizeof(err->msg) - 1, have = strnlen(err->msg, room);
        if ((size_t)n + have > room)
                have = room - (size_t)n;
        memmove(err->msg + n, err->msg, have);
        memcpy(err->msg, head, (size_t)n);
        err->msg[(size_t)n + have] = '\0';
        return r;
}

PRINTF(3, 0)
static void add_line(struct bld_err *err, const char *label, const char *fmt, va_list ap)
{
        size_t n, room;
        int k, m;

        if (!err)
                return;
        n = strlen(err->msg);
        room = sizeof(err->msg) - n;
        k = snprintf(err->msg + n, room, "\n%s: ", label);
        if (k < 0 || (size_t)k >= room) {
                err->msg[n] = '\0';
                return;
        }
        m = vsnprintf(err->msg + n + k, room - (size_t)k, fmt, ap);
        if (m < 0 || (size_t)m >= room - (size_t)k)
                err->msg[n] = '\0';
}

#define DEFINE_LINE(fn, label)                                   \
        int fn(struct bld_err *err, int r, const char *fmt, ...) \
        {                                                        \
                va_list ap;                                      \
                va_start(ap, fmt);                               \
                add_line(err, label, fmt, ap);                   \
                va_end(ap);                                      \
                return r;                                        \
        }                                                        \
        struct bld_swallow_semicolon

DEFINE_LINE(err_why, "why");
DEFINE_LINE(err_try, "try");
DEFINE_LINE(err_note, "note");

int err_recode(struct bld_err *err, int code)
{
        if (err)
                err->code = code;
        return code;
}

void err_clear(struct bld_err *err)
{
        if (err)
                memset(err, 0, sizeof(*err));
}

void err_copy(struct bld_err *dst, const struct bld_err *src)
{
        if (dst)
                *dst = *src;
}

int err_nomem(struct bld_err *err, const char *what)
{
        return err_set(err, BLD_E_NOMEM, "out of memory: %s", what);
}
