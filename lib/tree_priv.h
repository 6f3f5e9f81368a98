/* The merged tree of an image, and what it is made of: layers that were read once. */
#ifndef LIB_TREE_PRIV_H
#define LIB_TREE_PRIV_H

#include "bld/tree.h"
#include "layer/layer.h"
#include "lib/open_priv.h"

/* ---- scan.c: a layer's table of contents and sums, shared by the trees that have the layer ----
 */

struct lib_scan {
        unsigned refs;
        struct bld_image *im; /* where it is read from: layer i of that image */
        size_t i;
        bool want_toc, want_sums;
        const struct fpr_key *key; /* of the sums, borrowed; NULL: SHA-256 */
        struct ly_toc *own;
        struct ly_toc toc; /* borrows from own, or from what the image knows; the sums are ours */
};
int lib_scan_new(struct bld_image *im, size_t i, struct lib_scan **ret,
                 struct bld_err *err) MUST_CHECK;
struct lib_scan *lib_scan_ref(struct lib_scan *s);
void lib_scan_unref(struct lib_scan *s);
DEFINE_AUTO_PTR(struct lib_scan, lib_scan_unref);
/* Read what the scans want and do not have, several at a time. A scan may be named twice. */
int lib_scan_run(struct lib_scan *const *v, size_t n, const struct bld_watch *watch,
                 struct bld_err *err) MUST_CHECK;
/* Is the layer in the store, which then keeps what is learnt of it? 1/0. */
int lib_scan_is_stored(const struct lib_scan *s, struct bld_err *err);
/* Can the layer's bytes be had without a download? 1/0. */
int lib_scan_has_blob(struct bld_image *im, size_t i, struct bld_err *err);
/* 1 and what the store knows of a layer; 0 and NULL. By the mere word of the image's config only
 * where the bytes would have to be downloaded, or with `read`: they are read in any case, and held
 * against the diff ID. */
int lib_scan_table(struct bld_image *im, size_t i, bool read, const struct ly_toc **ret,
                   struct bld_err *err);
/* Or at least its table? 1/0. */
int lib_scan_has_toc(struct bld_image *im, size_t i, struct bld_err *err);

/* A blob's source that asks a second watch, the one of a call. */
struct lib_watched {
        struct ly_source in;
        const struct bld_watch *watch;
};
struct ly_source lib_watched_source(struct lib_watched *w);

/* ---- tree.c ---- */

struct bld_tree {
        struct bld_image *im;
        size_t below;            /* layers of the image that were left out, at the bottom */
        struct lib_scan **scans; /* of layers below + i */
        const struct ly_toc **tocs;
        size_t n;
        struct ly_view *view;
        struct ly_flat *flat;
        /* The layer that was read last. */
        struct lib_blob *blob;
        struct ly_blob_reader *reader;
        size_t reading;
};
/* Over scans that have their tables; takes references. */
int lib_tree_new(struct bld_image *im, struct lib_scan *const *scans, size_t n, size_t below,
                 struct bld_tree **ret, struct bld_err *err) MUST_CHECK;
struct ly_side lib_tree_side(const struct bld_tree *t);

/* ---- tree_read.c ---- */

void lib_tree_read_done(struct bld_tree *t);

#endif
