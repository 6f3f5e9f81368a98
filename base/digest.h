/* Content digests, "<algorithm>:<lower-case hex>" (OCI image-spec, descriptor). */
#ifndef BASE_DIGEST_H
#define BASE_DIGEST_H

#include "base/base.h"

enum digest_algo { DIGEST_NONE = 0, DIGEST_SHA256, DIGEST_SHA512 };

#define DIGEST_BYTES_MAX 64
#define DIGEST_STR_MAX (7 + 2 * DIGEST_BYTES_MAX + 1) /* with the NUL */
#define DIGEST_HEX_MAX (2 * DIGEST_BYTES_MAX + 1)

struct digest {
        enum digest_algo algo;
        unsigned char b[DIGEST_BYTES_MAX]; /* unused tail is zero, so memcmp works */
};

bool digest_eq(const struct digest *a, const struct digest *b);
bool digest_is_set(const struct digest *d);
size_t digest_len(enum digest_algo algo); /* bytes */
const char *digest_algo_name(enum digest_algo algo);

void digest_format(const struct digest *d, char out[DIGEST_STR_MAX]); /* "sha256:..." or "" */
void digest_hex(const struct digest *d, char out[DIGEST_HEX_MAX]);
/* Exactly a supported algorithm with the right number of lower-case digits, else INVALID
 * (UNSUPPORTED for a well-formed digest of another algorithm). */
int digest_parse(const char *s, struct digest *ret, struct bld_err *err) MUST_CHECK;
bool digest_from_hex(const char *hex, struct digest *ret); /* 64 digits: sha256 */

/* Streaming SHA-2. Plain storage; no destructor needed; copyable. */
struct hasher {
        enum digest_algo algo;
        union {
                unsigned char space[256];
                uint64_t align;
        } u;
};
void hasher_init(struct hasher *h, enum digest_algo algo);
void hasher_add(struct hasher *h, const void *p, size_t n);
void hasher_end(struct hasher *h, struct digest *ret); /* h must be initialised again */

void digest_of(const void *p, size_t n, struct digest *ret); /* SHA-256 of bytes */

/* Length-framed input for keys: appends an 8-byte little-endian length, then the bytes, so that no
 * two different sequences of fields give the same stream. */
void hasher_field(struct hasher *h, const void *p, size_t n);
void hasher_field_str(struct hasher *h, const char *s); /* NULL is distinct from "" */
void hasher_field_u64(struct hasher *h, uint64_t v);

#endif
