/* WWW-Authenticate (RFC 9110, 11.6.1): any number of challenges in any number of lines. */
#ifndef REGISTRY_CHALLENGE_PRIV_H
#define REGISTRY_CHALLENGE_PRIV_H

#include "base/base.h"
#include "base/vec.h"

struct reg_chal {
        char *scheme;             /* lower case */
        char *token68;            /* NULL unless this form was used */
        struct strv keys, values; /* keys in lower case; the first of duplicates only */
};
VEC_DEFINE(reg_chals, struct reg_chal);

/* Append the challenges of one header line. Garbage is skipped to the next comma, never an error;
 * NOMEM and LIMIT (more than 32 challenges or 64 parameters) are. */
int reg_chal_parse(const char *s, size_t len, struct reg_chals *out,
                   struct bld_err *err) MUST_CHECK;
void reg_chals_free(struct reg_chals *a);
#define AUTO_CHALS AUTO(reg_chals_free)

const char *reg_chal_get(const struct reg_chal *c, const char *key); /* NULL when absent */
/* First challenge of a scheme, or NULL. */
const struct reg_chal *reg_chal_find(const struct reg_chals *a, const char *scheme);

#endif
