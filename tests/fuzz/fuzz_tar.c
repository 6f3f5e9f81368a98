/* A layer stream of any codec: read, unpacked, tabled. What the two ways through it say must agree.
 */
#include <stdlib.h>

#include "layer/layer.h"
#include "tests/fuzz/memory.h"

#define STEP 777u /* no block ends where a read does */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const struct ly_limits lim = {.bytes = 16 << 20, .entries = 10000};
        struct memory m = {.p = data, .n = size, .step = STEP};
        struct ly_source in = memory_source(&m);
        struct ly_reader *r = NULL;
        const struct ly_entry *e;
        struct ly_toc *toc = NULL;
        struct ly_view *v = NULL;
        struct digest d;
        uint64_t tar_size;
        size_t n = 0, shown = 0;
        char buf[4096];
        int res;

        res = ly_unpack_stream(&in, NULL, &lim, &d, &tar_size, &toc, NULL);
        if (!res && ly_codec_sniff(data, size) == LY_CODEC_NONE) {
                m.pos = 0;
                if (ly_reader_new(&in, &lim, &r, NULL) < 0)
                        abort();
                while ((res = ly_reader_next(r, &e, NULL)) == 1) {
                        uint64_t got = 0;
                        ssize_t k = 0;

                        if (n >= toc->n || !str_eq(e->path, toc->v[n].e.path) ||
                            e->type != toc->v[n].e.type)
                                abort();
                        if (n++ % 2 == 0)
                                while ((k = ly_reader_data(r, buf, sizeof(buf), NULL)) > 0)
                                        got += (uint64_t)k;
                        if (k < 0 || (n % 2 && got != e->size))
                                abort();
                }
                shown = toc->n;
                if (res || n != shown)
                        abort();
        }
        ly_reader_free(r);
        if (toc && !ly_view_new((const struct ly_toc *const *)&toc, 1, &v, NULL)) {
                for (size_t i = 0; i < MIN(toc->n, 50); i++) {
                        char *path = NULL;

                        if (!ly_view_resolve(v, toc->v[i].e.path, true, NULL, &path, NULL))
                                free(path);
                }
        }
        ly_view_free(v);
        ly_toc_free(toc);
        return 0;
}
