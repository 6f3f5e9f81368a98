/* Manifests and indexes: no document is both, and what is read and written again reads the same. */
#include <string.h>

#include "base/sb.h"
#include "image/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Encode twice with a decode between: the bytes must settle. */
static bool check_manifest(const char *text, size_t len)
{
        struct img_manifest m, again;
        struct sb one = SB_INIT(64u << 20), two = SB_INIT(64u << 20);

        if (img_manifest_decode(text, len, NULL, &m, NULL) < 0)
                return false;
        if (img_manifest_encode(&m, &one, NULL) < 0)
                abort();
        if (one.len <= IMG_MANIFEST_MAX) {
                if (img_manifest_decode(sb_text(&one), one.len, m.media_type, &again, NULL) < 0 ||
                    img_manifest_encode(&again, &two, NULL) < 0 ||
                    strcmp(sb_text(&one), sb_text(&two)) != 0)
                        abort();
                img_manifest_done(&again);
        }
        sb_done(&one);
        sb_done(&two);
        img_manifest_done(&m);
        return true;
}

static bool check_index(const char *text, size_t len)
{
        const struct img_platform want = {.os = "linux", .arch = "amd64"};
        struct img_index ix, again;
        struct sb one = SB_INIT(64u << 20), two = SB_INIT(64u << 20);
        size_t at;

        if (img_index_decode(text, len, NULL, &ix, NULL) < 0)
                return false;
        if (img_index_choose(&ix, &want, &at, NULL) == 0 && at >= ix.manifests.n)
                abort();
        if (img_index_encode(&ix, &one, NULL) < 0)
                abort();
        if (one.len <= IMG_MANIFEST_MAX) {
                if (img_index_decode(sb_text(&one), one.len, ix.media_type, &again, NULL) < 0 ||
                    img_index_encode(&again, &two, NULL) < 0 ||
                    strcmp(sb_text(&one), sb_text(&two)) != 0)
                        abort();
                img_index_done(&again);
        }
        sb_done(&one);
        sb_done(&two);
        img_index_done(&ix);
        return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const char *text = (const char *)data;
        bool is_manifest = check_manifest(text, size);
        bool is_index = check_index(text, size);

        if (is_manifest && is_index)
                abort();
        (void)img_guess_media_type(text, size);
        return 0;
}
