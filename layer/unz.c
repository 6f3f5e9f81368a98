#include "layer/unz_priv.h"

#include <zstd.h>

#include "base/err.h"
#include "image/image.h"
#include "layer/gz_priv.h"

#define ZSTD_WINDOW_READ 27 /* 128 MiB: what a hostile frame can make us keep */

struct unz {
        enum ly_codec codec;
        struct gz_stream *gz;
        ZSTD_DCtx *zstd;
        bool between;
};

enum ly_codec ly_codec_sniff(const void *p, size_t n)
{
        const unsigned char *b = p;

        if (n >= 2 && b[0] == 0x1f && b[1] == 0x8b)
                return LY_CODEC_GZIP;
        if (n >= 4 && !memcmp(b, "\x28\xb5\x2f\xfd", 4))
                return LY_CODEC_ZSTD;
        /* Skippable frames may come first (RFC 8878, 3.1.2). */
        if (n >= 4 && (b[0] & 0xf0) == 0x50 && !memcmp(b + 1, "\x2a\x4d\x18", 3))
                return LY_CODEC_ZSTD;
        return LY_CODEC_NONE;
}

const char *ly_codec_media_type(enum ly_codec c)
{
        switch (c) {
        case LY_CODEC_NONE:
                break;
        case LY_CODEC_GZIP:
                return MT_OCI_LAYER_GZIP;
        case LY_CODEC_ZSTD:
                return MT_OCI_LAYER_ZSTD;
        }
        return MT_OCI_LAYER;
}

int unz_new(enum ly_codec codec, struct unz **ret, struct bld_err *err)
{
        AUTO(unz_free_p) struct unz *u = mem_zalloc(1, sizeof(*u));

        if (!u)
                return err_nomem(err, "decompressor");
        u->codec = codec;
        u->between = true;
        if (codec == LY_CODEC_GZIP) {
                int r = gz_stream_new(&u->gz, err);

                if (r < 0)
                        return r;
        }
        if (codec == LY_CODEC_ZSTD) {
                u->zstd = ZSTD_createDCtx();
                if (!u->zstd || ZSTD_isError(ZSTD_DCtx_setParameter(u->zstd, ZSTD_d_windowLogMax,
                                                                    ZSTD_WINDOW_READ)))
                        return err_nomem(err, "zstd decompressor");
        }
        *ret = TAKE_PTR(&u);
        return 0;
}

void unz_free(struct unz *u)
{
        if (!u)
                return;
        gz_stream_free(u->gz);
        ZSTD_freeDCtx(u->zstd);
        free(u);
}

bool unz_between(const struct unz *u)
{
        return u->between;
}

static int run_zstd(struct unz *u, const unsigned char **in, size_t *n_in, unsigned char **out,
                    size_t *n_out, struct bld_err *err)
{
        ZSTD_inBuffer i = {.src = *in, .size = *n_in};
        ZSTD_outBuffer o = {.dst = *out, .size = *n_out};
        size_t r;

        /* A frame that is all there, and tells its size, takes a way with fewer checks (window,
         * size of blocks). Its first byte alone keeps every frame off it: what we take must not
         * depend on how reads cut the stream. */
        if (u->between)
                i.size = MIN(i.size, 1);
        r = ZSTD_decompressStream(u->zstd, &o, &i);
        if (ZSTD_isError(r))
                return err_set(err, BLD_E_CORRUPT, "damaged zstd data (%s)", ZSTD_getErrorName(r));
        *in += i.pos;
        *n_in -= i.pos;
        *out += o.pos;
        *n_out -= o.pos;
        u->between = r == 0;
        return 0;
}

int unz_run(struct unz *u, const unsigned char **in, size_t *n_in, unsigned char **out,
            size_t *n_out, struct bld_err *err)
{
        size_t n = MIN(*n_in, *n_out);
        int r;

        switch (u->codec) {
        case LY_CODEC_GZIP:
                r = gz_stream_run(u->gz, in, n_in, out, n_out, err);
                u->between = r == 1;
                return MIN(r, 0);
        case LY_CODEC_ZSTD:
                return run_zstd(u, in, n_in, out, n_out, err);
        case LY_CODEC_NONE:
                memcpy(*out, *in, n);
                *in += n;
                *n_in -= n;
                *out += n;
                *n_out -= n;
                return 0;
        }
        return err_set(err, BLD_E_BUG, "unknown codec");
}
