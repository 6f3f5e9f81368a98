/* Values of secrets taken out of what a step prints, before it reaches a log or a screen. Best
 * effort against slips, not against a step that means to print its secret in another shape. */
#ifndef BUILDER_REDACT_PRIV_H
#define BUILDER_REDACT_PRIV_H

#include "base/sb.h"
#include "builder/source/secrets_priv.h"

struct redactor {
        const struct secrets *secrets; /* borrowed; NULL: nothing to do */
        struct sb held;                /* an end that may be the beginning of a value */
};

void redactor_init(struct redactor *x, const struct secrets *s);
/* p with every value replaced by "****", appended to out. Bytes that may begin a value are held
 * back until what follows tells. */
int redactor_add(struct redactor *x, const void *p, size_t n, struct sb *out,
                 struct bld_err *err) MUST_CHECK;
/* What was held back, at the end of the stream. */
int redactor_end(struct redactor *x, struct sb *out, struct bld_err *err) MUST_CHECK;
void redactor_done(struct redactor *x); /* wipes */

#endif
