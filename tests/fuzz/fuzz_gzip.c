/* Framing of gzip layers: members, headers, trailers, cut anywhere. Both engines that inflate,
 * ISA-L and zlib with libdeflate, must say what zlib says.
 *
 * The first byte is how the stream is read, and whether its trailers are made right first, so that
 * a changed member gets beyond its checksum. */
#include <stdlib.h>
#include <zlib.h>

#include "layer/gz_priv.h"
#include "tests/fuzz/codec.h"

#define MEND 0x80

/* Who asks whether ISA-L is there gets our answer, so that one program has both engines. */
#define isal_expected cpu_expects_isal
#include "layer/isal.c"
#undef isal_expected

#if LY_HAVE_ISAL
static bool use_isal;
bool isal_expected(void);
bool isal_expected(void)
{
        return use_isal && cpu_expects_isal();
}
#endif

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* One member from z's input on; true when it ended. */
static bool one_member(z_stream *z, bool check, uint32_t *ret_crc, struct codec_out *o)
{
        unsigned char buf[4096];
        int r = Z_OK;

        *ret_crc = 0;
        if (inflateReset2(z, 15 + 16) != Z_OK || inflateValidate(z, check) != Z_OK)
                abort();
        while (r == Z_OK) {
                z->next_out = buf;
                z->avail_out = sizeof(buf);
                r = inflate(z, Z_NO_FLUSH);
                *ret_crc = (uint32_t)crc32(*ret_crc, buf, sizeof(buf) - z->avail_out);
                if (!codec_add(o, buf, sizeof(buf) - z->avail_out))
                        return false;
        }
        return r == Z_STREAM_END;
}

static void put32(uint8_t *p, uint32_t v)
{
        for (unsigned i = 0; i < 4; i++)
                p[i] = (uint8_t)(v >> 8 * i);
}

/* The whole stream; mend: trailers of members that end are made right. */
static void inflate_all(uint8_t *p, size_t n, bool mend, struct codec_out *ret)
{
        z_stream z = {.next_in = p, .avail_in = (uInt)n};
        uint32_t crc;

        if (inflateInit2(&z, 15 + 16) != Z_OK)
                abort();
        ret->end = CODEC_DAMAGED;
        while (z.avail_in && one_member(&z, !mend, &crc, ret)) {
                if (mend) {
                        put32(p + (n - z.avail_in) - 8, crc);
                        put32(p + (n - z.avail_in) - 4, (uint32_t)z.total_out);
                }
                if (!z.avail_in)
                        ret->end = CODEC_WHOLE;
        }
        inflateEnd(&z);
}

/* Does a header of bld's stand anywhere? What it says of its member's length may be wrong, and
 * only we look. */
static bool has_own(const uint8_t *p, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (gz_member_len(p + i, n - i))
                        return true;
        return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct codec_out want = CODEC_OUT_INIT;
        uint8_t *p;
        size_t n;

        if (size < 3 || ly_codec_sniff(data + 1, size - 1) != LY_CODEC_GZIP)
                return 0;
        n = size - 1;
        p = malloc(n);
        if (!p)
                abort();
        memcpy(p, data + 1, n);
        if (*data & MEND) {
                inflate_all(p, n, true, &want);
                sb_done(&want.bytes);
                want = CODEC_OUT_INIT;
        }
        inflate_all(p, n, false, &want);
        for (unsigned i = 0; i < 1 + LY_HAVE_ISAL; i++) {
#if LY_HAVE_ISAL
                use_isal = i;
#endif
                codec_check(p, n, codec_step(*data), &want, !has_own(p, n));
        }
        sb_done(&want.bytes);
        free(p);
        return 0;
}
