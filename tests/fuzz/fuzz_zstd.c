/* Framing of zstd layers: frames, skippable ones among them, windows, checksums, cut anywhere. What
 * comes out in pieces must be what whole frames decode to.
 *
 * The first byte is how the stream is read. */
#include <stdlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "tests/fuzz/codec.h"

#define WINDOW_LOG 27 /* docs/layers.md */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Frame by frame, each at once. */
static void decode_all(const uint8_t *p, size_t n, struct codec_out *ret)
{
        size_t cap = CODEC_OUT_MAX, frame, got;
        ZSTD_DCtx *z = ZSTD_createDCtx();
        uint8_t *out = malloc(cap);

        if (!z || !out)
                abort();
        for (; n && ret->end == CODEC_WHOLE; p += frame, n -= frame) {
                frame = ZSTD_findFrameCompressedSize(p, n);
                got = ZSTD_isError(frame) ? frame : ZSTD_decompressDCtx(z, out, cap, p, frame);
                if (!ZSTD_isError(got))
                        (void)codec_add(ret, out, got);
                else if (ZSTD_getErrorCode(got) == ZSTD_error_dstSize_tooSmall)
                        ret->end = CODEC_LONG;
                else
                        ret->end = CODEC_DAMAGED;
        }
        ZSTD_freeDCtx(z);
        free(out);
}

/* Byte by byte: whole frames may have wider windows and larger blocks. */
static bool streams(const uint8_t *p, size_t n)
{
        ZSTD_DCtx *z = ZSTD_createDCtx();
        uint8_t *out = malloc(CODEC_OUT_MAX);
        size_t r = 0;

        if (!z || !out || ZSTD_isError(ZSTD_DCtx_setParameter(z, ZSTD_d_windowLogMax, WINDOW_LOG)))
                abort();
        for (size_t i = 0; i < n && !ZSTD_isError(r); i++) {
                ZSTD_inBuffer in = {.src = p + i, .size = 1};

                while (in.pos < in.size && !ZSTD_isError(r)) {
                        ZSTD_outBuffer o = {.dst = out, .size = CODEC_OUT_MAX};

                        r = ZSTD_decompressStream(z, &o, &in);
                }
        }
        ZSTD_freeDCtx(z);
        free(out);
        return !r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct codec_out want = CODEC_OUT_INIT;

        if (size < 5 || ly_codec_sniff(data + 1, size - 1) != LY_CODEC_ZSTD)
                return 0;
        decode_all(data + 1, size - 1, &want);
        if (want.end == CODEC_WHOLE && !streams(data + 1, size - 1))
                want.end = CODEC_DAMAGED;
        codec_check(data + 1, size - 1, codec_step(*data), &want, true);
        sb_done(&want.bytes);
        return 0;
}
