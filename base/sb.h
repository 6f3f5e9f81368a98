/* String builder. Invariants: buf is NULL (and len 0) or NUL-terminated at buf[len]; len never
 * exceeds max; after the first failure (`failed`) every append is a no-op, so callers check once,
 * at the end, with sb_check(). */
#ifndef BASE_SB_H
#define BASE_SB_H

#include <stdarg.h>

#include "base/base.h"

struct sb {
        char *buf;
        size_t len, cap, max;
        int failed; /* 0, BLD_E_NOMEM or BLD_E_LIMIT */
};

#define SB_INIT(limit) ((struct sb){.max = (limit)})
#define AUTO_SB AUTO(sb_done)

void sb_init(struct sb *b, size_t max);
void sb_done(struct sb *b);
void sb_reset(struct sb *b); /* empty, keeps the memory and clears `failed` */

void sb_add(struct sb *b, const void *p, size_t n);
void sb_str(struct sb *b, const char *s);
void sb_char(struct sb *b, char c);
void sb_fmt(struct sb *b, const char *fmt, ...) PRINTF(2, 3);
void sb_vfmt(struct sb *b, const char *fmt, va_list ap) PRINTF(2, 0);
void sb_cut(struct sb *b, size_t len); /* shorten to len */

/* Append s with control bytes, quotes and bad UTF-8 escaped, for messages and terminals. */
void sb_escaped(struct sb *b, const char *s, size_t n);

/* 0, or the failure with WHAT in the message. */
int sb_check(const struct sb *b, const char *what, struct bld_err *err) MUST_CHECK;

/* The text, never NULL; owned by the builder. */
const char *sb_text(const struct sb *b);
/* Hand the buffer to the caller, who frees it; the builder is empty afterwards. NULL only when the
 * builder failed or memory is out. */
char *sb_take(struct sb *b);

#endif
