/* What the fuzz targets of compressed layers share: a stream goes through the decoder in pieces,
 * and through ly_unpack_stream(); both must say what another decoder says. */
#ifndef TESTS_FUZZ_CODEC_H
#define TESTS_FUZZ_CODEC_H

#include "layer/layer.h"

#define CODEC_OUT_MAX (2u << 20)

enum codec_end {
        CODEC_WHOLE,
        CODEC_DAMAGED,
        CODEC_LONG /* more than CODEC_OUT_MAX; nothing is said of the rest */
};
struct codec_out {
        enum codec_end end;
        struct sb bytes;
};
#define CODEC_OUT_INIT ((struct codec_out){.bytes = SB_INIT(CODEC_OUT_MAX + 1)})

/* Of the sizes in which a stream is read, one. */
size_t codec_step(uint8_t choice);
/* More output; false when it has become too long. */
bool codec_add(struct codec_out *o, const void *p, size_t n);
/* Aborts unless the stream is what `want`, another decoder's answer, says. strict: a whole stream
 * with a good tar must be taken; else it may be refused. */
void codec_check(const uint8_t *p, size_t n, size_t step, const struct codec_out *want,
                 bool strict);
/* Says what is wrong, and aborts. */
_Noreturn void codec_fail(const char *what);

#endif
