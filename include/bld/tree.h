/* What a chain of layers amounts to: every path with its attributes, the layer it came from, and
 * its content. */
#ifndef BLD_TREE_H
#define BLD_TREE_H

#include "bld/layer.h"
#include "bld/open.h"
#include "bld/session.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Threads: calls that take a const tree from any thread; bld_tree_read*() one at a time. */
struct bld_tree;

struct bld_tree_opts {
        size_t size;
        /* Compute the SHA-256 of every file in the same pass (else when something asks). */
        bool content;
        const struct bld_watch *watch; /* borrowed for the call; asked whether to stop, as below */
};
/* Reads the layers of an image once, several at a time; what the store knows of a layer is not read
 * again. im must outlive the tree. o may be NULL. */
BLD_API int bld_tree_open(struct bld_image *im, const struct bld_tree_opts *o,
                          struct bld_tree **ret, struct bld_err *err);
BLD_API void bld_tree_close(struct bld_tree *t); /* NULL is fine */

/* Filled by the call, whose caller sets size; pointers live as long as the tree. */
struct bld_tree_node {
        size_t size;
        const char *path;         /* relative, clean; never the root */
        enum bld_layer_type type; /* never a whiteout; a hard link is the file (or other) it names,
                                     where that was read (bld_diff_opts.shared) */
        unsigned mode;
        uint32_t uid, gid;
        uint64_t file_size;
        int64_t mtime_ns;
        const char *link; /* target of a symlink, else NULL */
        uint32_t dev_major, dev_minor;
        size_t nxattrs;
        unsigned layer; /* of the image: where this name comes from */
        bool implied;   /* a folder no layer names: its attributes are made up */
        /* Of a file with several names: the first of them in this order; NULL for that one. */
        const char *first_name;
        const unsigned char *sha256; /* 32 bytes; NULL: not a file, or not computed */
};
#define BLD_NO_NODE ((size_t)-1)
/* Nodes in the order of a sorted walk: a folder before what is in it, names of one folder by their
 * bytes. */
BLD_API size_t bld_tree_count(const struct bld_tree *t);
/* 0; NOT_FOUND beyond the last. */
BLD_API int bld_tree_node(const struct bld_tree *t, size_t i, struct bld_tree_node *ret,
                          struct bld_err *err);
BLD_API int bld_tree_xattr(const struct bld_tree *t, size_t i, size_t k, const char **ret_name,
                           const void **ret_value, size_t *ret_len, struct bld_err *err);
/* 1 and its index, 0 when absent. follow: symbolic links, inside the tree, the last one too; else
 * the exact path. Leading slashes do not count. The root itself is not a node: BLD_NO_NODE and 1.
 */
BLD_API int bld_tree_find(const struct bld_tree *t, const char *path, bool follow,
                          size_t *ret_index, struct bld_err *err);
/* One beyond the last node below node i: i + 1 for anything but a folder with content. */
BLD_API size_t bld_tree_end(const struct bld_tree *t, size_t i);

/* The content of file i. */
BLD_API int bld_tree_read(struct bld_tree *t, size_t i, bld_layer_write_fn write, void *user,
                          struct bld_err *err);
/* The contents of several files with one pass over each layer that has some of them, in the order
 * of those layers: each file's bytes come together, n 0 ends it (an empty file has only that). What
 * comes once and is wanted under several names waits in memory or an unlinked file in $TMPDIR.
 * watch is only asked whether to stop: what is read is told to the watch of the image.
 * Anything but 0 from the callback stops: 1 is returned. */
typedef int (*bld_tree_read_fn)(void *user, size_t i, const void *p, size_t n);
BLD_API int bld_tree_read_many(struct bld_tree *t, const size_t *v, size_t n, bld_tree_read_fn each,
                               void *user, const struct bld_watch *watch, struct bld_err *err);

#ifdef __cplusplus
}
#endif

#endif
