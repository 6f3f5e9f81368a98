/* Link, Content-Range, Range, Retry-After, and references resolved against a URL. */
#include <stdint.h>
#include <string.h>

#include "registry/header_priv.h"
#include "registry/url_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void resolve(const char *ref)
{
        AUTO_URL struct reg_url base = {0}, u = {0}, again = {0};
        AUTO_SB struct sb text = SB_INIT(1u << 20);

        if (reg_url_parse("https://r.example:5000/v2/a/b?c=d", &base, NULL) < 0 ||
            reg_url_resolve(&base, ref, &u, NULL) < 0)
                return;
        /* what is written must be read back as the same origin, or two parsers could disagree */
        reg_url_add(&u, &text);
        if (!text.failed && strlen(sb_text(&text)) < REG_URL_MAX &&
            (reg_url_parse(sb_text(&text), &again, NULL) < 0 || !reg_url_same_origin(&u, &again)))
                abort();
        (void)reg_addr_class(u.host);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        AUTO_FREE char *text = mem_strndup((const char *)data, size);
        AUTO_FREE char *target = NULL;
        uint64_t first, last, total;
        int64_t ms;

        if (!text)
                return 0;
        if (reg_link_next((const char *)data, size, &target, NULL) == 1)
                resolve(target);
        resolve(text);
        if (reg_content_range(text, &first, &last, &total) && (last < first || last >= total))
                abort();
        (void)reg_upload_range(text, &first);
        if (reg_retry_after(text, 784111740, &ms) && ms < 0)
                abort();
        return 0;
}
