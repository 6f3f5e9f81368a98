/* The installed file of apk. */
#include "image/packages/packages.h"
#include "tests/fuzz/packages.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        AUTO_PKG_LIST struct pkg_list l = {0};

        if (pkg_parse_apk((const char *)data, size, &l, NULL) == 0)
                packages_check(&l);
        return 0;
}
