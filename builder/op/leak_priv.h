/* Values of secrets looked for in what goes into an image: as they are, in base64 at each of its
 * three alignments, and percent-encoded. For slips, not against a step that hides its secret. */
#ifndef BUILDER_LEAK_PRIV_H
#define BUILDER_LEAK_PRIV_H

#include "base/sb.h"
#include "base/vec.h"
#include "builder/source/secrets_priv.h"

enum scan_mode { SCAN_WARN, SCAN_OFF, SCAN_ERROR };

struct leak_hit {
        const char *id;   /* of the secret, borrowed from the secrets */
        const char *form; /* static */
        uint64_t off;     /* in the stream; of its first occurrence in this form */
};
VEC_DEFINE(leak_hits, struct leak_hit);

/* A stream being searched; each secret is reported once. MT-Object. *ret is NULL when there is
 * nothing to look for. */
struct leak_scan;
int leak_new(const struct secrets *s, struct leak_scan **ret, struct bld_err *err) MUST_CHECK;
int leak_add(struct leak_scan *x, const void *p, size_t n, struct bld_err *err) MUST_CHECK;
/* After the last byte; borrowed from x. */
int leak_end(struct leak_scan *x, const struct leak_hits **ret, struct bld_err *err) MUST_CHECK;
void leak_free(struct leak_scan *x); /* wipes */
DEFINE_AUTO_PTR(struct leak_scan, leak_free);

#endif
