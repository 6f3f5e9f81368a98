/* The installed file of apk. */
#include "image/packages/packages.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int differs(void *user, const struct pkg *before, const struct pkg *after)
{
        (void)user;
        (void)before;
        (void)after;
        abort(); /* a list differs from itself */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        AUTO_PKG_LIST struct pkg_list l = {0};

        if (pkg_parse_apk((const char *)data, size, &l, NULL) < 0)
                return 0;
        pkg_list_sort(&l);
        if (pkg_list_compare(&l, &l, differs, NULL))
                abort();
        return 0;
}
