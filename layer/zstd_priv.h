/* zstd's compressor, opened at first use. Debian's static archive is built without threads, and
 * with no worker zstd cuts its blocks elsewhere, so the shared library is the one that compresses;
 * the archive decompresses. */
#ifndef LAYER_ZSTD_PRIV_H
#define LAYER_ZSTD_PRIV_H

#include <zstd.h>

#include "base/base.h"

struct zstd {
        ZSTD_CCtx *(*create)(void);
        size_t (*free_ctx)(ZSTD_CCtx *c);
        size_t (*set)(ZSTD_CCtx *c, ZSTD_cParameter name, int value);
        size_t (*compress)(ZSTD_CCtx *c, ZSTD_outBuffer *out, ZSTD_inBuffer *in,
                           ZSTD_EndDirective op);
};

/* NULL and UNSUPPORTED with what to install when it cannot be opened. MT-Safe. */
const struct zstd *zstd_get(struct bld_err *err);

#endif
