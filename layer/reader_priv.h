#ifndef LAYER_READER_PRIV_H
#define LAYER_READER_PRIV_H

#include "layer/tar_priv.h"

/* in_free, when given, is called with in->user by ly_reader_free() (not when this fails). */
int reader_new(const struct ly_source *in, void (*in_free)(void *user), enum tar_flavour flavour,
               const struct ly_limits *lim, struct ly_reader **ret, struct bld_err *err) MUST_CHECK;
/* Like ly_reader_data() without a copy; not for sparse files. 0 at the end of the file. */
ssize_t reader_peek(struct ly_reader *r, const void **ret, struct bld_err *err);
/* The map of the current file, or NULL when it is not sparse. */
const struct ly_extents *reader_sparse(const struct ly_reader *r);

#endif
