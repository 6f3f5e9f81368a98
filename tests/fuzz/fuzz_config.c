/* Image configs: what is read and written again reads the same. */
#include <string.h>

#include "base/sb.h"
#include "image/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct img_config c, copy, again;
        struct sb one = SB_INIT(64u << 20), two = SB_INIT(64u << 20);
        struct digest chain;

        if (img_config_decode((const char *)data, size, &c, NULL) < 0)
                return 0;
        if (img_config_copy(&c, &copy, NULL) < 0 || img_config_encode(&copy, &one, NULL) < 0)
                abort();
        if (one.len <= IMG_CONFIG_MAX) {
                if (img_config_decode(sb_text(&one), one.len, &again, NULL) < 0 ||
                    img_config_encode(&again, &two, NULL) < 0 ||
                    strcmp(sb_text(&one), sb_text(&two)) != 0)
                        abort();
                img_config_done(&again);
        }
        img_chain_id(c.diff_ids, c.ndiff_ids, &chain);
        sb_done(&one);
        sb_done(&two);
        img_config_done(&c);
        img_config_done(&copy);
        return 0;
}
