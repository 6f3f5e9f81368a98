/* Fingerprints: what SHA-256 is too slow for where bytes are only to be compared with each other.
 *
 * The universal hash of AES-GCM (GHASH, NIST SP 800-38D) under a random key. For two texts of at
 * most n bytes that differ, whoever chose them, the chance of equal fingerprints is below n/16 + 2
 * in 2^128 as long as he does not know the key, so keys and fingerprints stay in the process. */
#ifndef BASE_FPR_H
#define BASE_FPR_H

#include "base/base.h"

#define FPR_LEN 16

struct fpr_key {
        unsigned char b[16];
};
int fpr_key_make(struct fpr_key *ret, struct bld_err *err) MUST_CHECK;

/* One text after the other; MT-Object. */
struct fpr;
int fpr_new(const struct fpr_key *key, struct fpr **ret, struct bld_err *err) MUST_CHECK;
void fpr_free(struct fpr *f);
void fpr_add(struct fpr *f, const void *p, size_t n);
/* And ready for the next. */
void fpr_end(struct fpr *f, unsigned char out[FPR_LEN]);

#endif
