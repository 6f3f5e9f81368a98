/* What stands behind an image opened for reading, whatever place it came from. */
#ifndef LIB_OPEN_PRIV_H
#define LIB_OPEN_PRIV_H

#include <stdatomic.h>

#include "bld/open.h"
#include "image/image.h"
#include "layer/layer.h"

struct bld;

/* What is known of a layer besides its public part. */
struct lib_layer_ref {
        struct bld_layer_info info; /* its texts are the image's */
        bool has_diff_id, has_digest;
        struct digest diff_id, digest;
        struct bld_layer
                *layer; /* bld_image_of_layers(): the caller's; a folder: ours; else NULL */
};

/* The layer without its bytes: from the store's indexes, or a bld_layer's. 1 found, 0 not known.
 * Its restart points are those of this blob; where the table was made from another there are none.
 */
int lib_image_toc(struct bld_image *im, size_t i, const struct ly_toc **ret, struct bld_err *err);

/* ---- a layer's blob, compressed as it is ---- */

struct lib_blob;
/* Nothing is fetched before the first read. */
int lib_blob_open(struct bld_image *im, size_t i, struct lib_blob **ret,
                  struct bld_err *err) MUST_CHECK;
void lib_blob_close(struct lib_blob *b);
DEFINE_AUTO_PTR(struct lib_blob, lib_blob_close);
/* Asks and tells this watch instead of the image's. */
void lib_blob_watch(struct lib_blob *b, const struct bld_watch *w);
/* Set from any thread: a read that waits ends, with CANCELLED. */
atomic_bool *lib_blob_cut(struct lib_blob *b);
/* From the first byte on. At its end the digest was checked where there is one: CORRUPT instead of
 * the last bytes. Asks the image's watch. */
struct ly_source lib_blob_source(struct lib_blob *b);
/* 1 and where its bytes are, which costs no download; 0: they only come as a stream. *ret_fd is the
 * blob's. */
int lib_blob_part(struct lib_blob *b, int *ret_fd, uint64_t *ret_off, uint64_t *ret_len);
/* Bytes at off, unverified, as of struct ly_random; a registry is asked for them and no others. Not
 * after lib_blob_source(). */
ssize_t lib_blob_pread(void *user, void *p, size_t n, uint64_t off, struct bld_err *err);

/* CORRUPT becomes MALFORMED where the image is a file of the caller's. Returns the code. */
int lib_image_fault(const struct bld_image *im, int r, struct bld_err *err);
const struct ly_limits *lib_image_limits(const struct bld_image *im); /* of a layer */
size_t lib_image_layers(const struct bld_image *im);
const struct lib_layer_ref *lib_image_layer(const struct bld_image *im, size_t i);
/* The session it came from, or NULL. */
struct bld *lib_image_session(const struct bld_image *im);
/* CANCELLED when the image's watch says stop, or its session does. */
int lib_image_check(const struct bld_image *im, struct bld_err *err) MUST_CHECK;

#endif
