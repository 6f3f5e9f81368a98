/* An index: decoded, a platform chosen, written again and read as the same. */
#include <stdint.h>
#include <string.h>

#include "base/sb.h"
#include "image/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void again(const struct img_index *ix)
{
        AUTO_SB struct sb text = SB_INIT(64u << 20);
        struct img_index copy = {0};

        if (img_index_encode(ix, &text, NULL) < 0)
                return;
        if (img_index_decode(sb_text(&text), text.len, ix->media_type, &copy, NULL) < 0 ||
            copy.manifests.n != ix->manifests.n)
                abort();
        for (size_t i = 0; i < copy.manifests.n; i++)
                if (!digest_eq(&copy.manifests.v[i].digest, &ix->manifests.v[i].digest) ||
                    copy.manifests.v[i].size != ix->manifests.v[i].size)
                        abort();
        img_index_done(&copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const struct img_platform want = {.os = "linux", .arch = "arm64", .variant = "v8"};
        static const char *const types[] = {NULL, MT_OCI_INDEX, MT_DOCKER_LIST};

        for (size_t i = 0; i < ARRAY_LEN(types); i++) {
                struct img_index ix = {0};
                size_t at = 0;

                if (img_index_decode((const char *)data, size, types[i], &ix, NULL) < 0)
                        continue;
                if (img_index_choose(&ix, &want, &at, NULL) == 0 && at >= ix.manifests.n)
                        abort();
                again(&ix);
                img_index_done(&ix);
        }
        (void)img_guess_media_type((const char *)data, size);
        return 0;
}
