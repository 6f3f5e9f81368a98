/* rpm's databases in their three containers, told by content; behind a database of SQLite may come
 * its write-ahead log. */
#include <string.h>

#include "image/packages/packages.h"
#include "tests/fuzz/packages.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void list(const uint8_t *data, size_t size)
{
        AUTO_PKG_LIST struct pkg_list l = {0};

        if (pkg_parse_rpm(data, size, &l, NULL) == 0)
                packages_check(&l);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const uint8_t *wal = memmem(data, size, "\x37\x7f\x06", 3);
        size_t n = wal ? (size_t)(wal - data) : size;
        unsigned char *p;

        list(data, size);
        p = wal ? mem_dup(data, n) : NULL;
        if (p && !pkg_sqlite_replay(&p, &n, wal, size - (size_t)(wal - data), NULL))
                list(p, n);
        free(p);
        return 0;
}
