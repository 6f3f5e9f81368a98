/* References and platforms: what is accepted must be written in a form that is accepted again and
 * means the same. */
#include <string.h>

#include "image/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_reference(const char *s)
{
        struct img_ref r, again;
        char *full;

        if (img_ref_parse(s, &r, NULL) < 0)
                return;
        full = img_ref_format(&r, 0);
        if (!full)
                abort();
        if (img_ref_parse(full, &again, NULL) < 0 || !str_eq(r.domain, again.domain) ||
            !str_eq(r.path, again.path) || !str_eq(r.tag, again.tag) ||
            !digest_eq(&r.digest, &again.digest))
                abort();
        img_ref_done(&again);
        free(full);
        full = img_ref_familiar(&r, IMG_REF_DEFAULT_TAG);
        if (!full)
                abort();
        free(full);
        img_ref_done(&r);
}

static void check_platform(const char *s)
{
        struct img_platform p, again;
        char text[128];

        if (img_platform_parse(s, &p, NULL) < 0)
                return;
        if (img_platform_score(&p, &p) <= 0)
                abort();
        img_platform_format(&p, text);
        if (img_platform_parse(text, &again, NULL) < 0)
                abort();
        (void)memcpy(again.os_version, p.os_version, sizeof(p.os_version));
        if (img_platform_score(&p, &again) != img_platform_score(&p, &p))
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        char *s = mem_strndup((const char *)data, size);

        if (!s)
                return 0;
        check_reference(s);
        check_platform(s);
        free(s);
        return 0;
}
