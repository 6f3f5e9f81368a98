/* Decompression of a layer stream of any codec, piece by piece, no I/O. */
#ifndef LAYER_UNZ_PRIV_H
#define LAYER_UNZ_PRIV_H

#include "layer/layer.h"

struct unz;
int unz_new(enum ly_codec codec, struct unz **ret, struct bld_err *err) MUST_CHECK;
void unz_free(struct unz *u);
DEFINE_AUTO_PTR(struct unz, unz_free);
/* Moves *in and *out along; stops after each gzip member or zstd frame. */
int unz_run(struct unz *u, const unsigned char **in, size_t *n_in, unsigned char **out,
            size_t *n_out, struct bld_err *err) MUST_CHECK;
/* Between two members: the stream may end, or restart, here. */
bool unz_between(const struct unz *u);

#endif
