/* Stored tables of contents. The checksum is put right, so that the decoder behind it is reached;
 * what decodes must encode to something that decodes to the same. */
#include <stdlib.h>

#include "base/map.h"
#include "layer/layer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct ly_toc *t = NULL, *back = NULL;
        struct sb out = SB_INIT(16 << 20);
        uint8_t *copy = malloc(size + 8);
        uint64_t h;

        if (!copy)
                abort();
        if (size)
                memcpy(copy, data, size);
        h = hash64(copy, size);
        for (unsigned i = 0; i < 8; i++)
                copy[size + i] = (uint8_t)(h >> 8 * i);
        if (!ly_toc_decode(copy, size + 8, &t, NULL)) {
                if (ly_toc_encode(t, &out, NULL) < 0 ||
                    ly_toc_decode(out.buf, out.len, &back, NULL) < 0 || back->n != t->n)
                        abort();
        }
        ly_toc_free(t);
        ly_toc_free(back);
        sb_done(&out);
        free(copy);
        return 0;
}
