/* Between the files that ready the mounts of a RUN. */
#ifndef BUILDER_OP_RUN_MOUNTS_PRIV_H
#define BUILDER_OP_RUN_MOUNTS_PRIV_H

#include "builder/op/op_priv.h"

/* One more mount, zeroed; NULL without memory. Good until the next push. */
struct rt_mount *mounts_push(struct run_mounts *m);
/* What source= names in it. INVALID when it is not there. */
int mounts_find_source(struct fs *fs, const struct vx_mount *d, struct fs_node **ret,
                       struct bld_err *err) MUST_CHECK;
/* A copy of a node, for as long as the mounts live: it is called MOUNTS_COPY_NAME in the folder
 * *ret (relative to the store, borrowed). */
#define MOUNTS_COPY_NAME "src"
int mounts_copy(struct build *b, struct run_mounts *m, struct fs *fs, struct fs_node *node,
                const char **ret, struct bld_err *err) MUST_CHECK;

/* All cache mounts of a step: m->caches gets the folder of each (relative to the store), by number
 * of the mount ("" for other kinds). They exist, and are locked until the mounts are done. */
int caches_claim(struct build *b, struct vertex *v, struct run_mounts *m,
                 struct bld_err *err) MUST_CHECK;

#endif
