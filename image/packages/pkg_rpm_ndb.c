/* rpm's own "ndb" (Packages.db), little endian. The file begins with a header of 32 bytes and an
 * array of slots of 16 bytes, pages of 4096 bytes long: "Slot", number of the package, first block,
 * count of blocks of 16 bytes. A package's blocks hold "BlbS", its number, a generation, the length
 * n, the n bytes, padding, a checksum, n again, "BlbE". */
#include <string.h>

#include "base/err.h"
#include "image/packages/pkg_rpm_priv.h"

#define PAGE 4096u
#define UNIT 16u /* of slots and blocks */
#define HEAD 16u /* of a package */
#define TAIL 12u

bool pkg_is_ndb(const unsigned char *p, size_t n)
{
        return n >= 32 && memcmp(p, "RpmP", 4) == 0;
}

static int read_blob(const unsigned char *p, size_t n, uint32_t number, struct pkg_list *to,
                     struct bld_err *err)
{
        uint32_t len;

        if (n < HEAD + TAIL || memcmp(p, "BlbS", 4) != 0 || get_le32(p + 4) != number)
                return pkg_rpm_damaged(err, "package %u is not where its slot says", number);
        len = get_le32(p + 12);
        if (len > n - HEAD - TAIL || n - HEAD - TAIL - len >= UNIT || get_le32(p + n - 8) != len ||
            memcmp(p + n - 4, "BlbE", 4) != 0)
                return pkg_rpm_damaged(err, "package %u is cut short", number);
        return pkg_rpm_header(p + HEAD, len, to, err);
}

int pkg_rpm_ndb(const unsigned char *p, size_t n, struct pkg_list *to, struct bld_err *err)
{
        uint64_t slots = (uint64_t)get_le32(p + 12) * PAGE, left = n;

        if (get_le32(p + 4) != 0)
                return pkg_rpm_damaged(err, "version %u of ndb", get_le32(p + 4));
        if (slots == 0 || slots > n)
                return pkg_rpm_damaged(err, "it ends within its slots");
        for (size_t at = 2 * UNIT; at < slots; at += UNIT) {
                uint32_t number = get_le32(p + at + 4);
                uint64_t off = (uint64_t)get_le32(p + at + 8) * UNIT;
                uint64_t len = (uint64_t)get_le32(p + at + 12) * UNIT;
                int r;

                if (memcmp(p + at, "Slot", 4) != 0)
                        return pkg_rpm_damaged(err, "no slot at %zu", at);
                if (off == 0)
                        continue;
                if (off < slots || off > n || len > n - off)
                        return pkg_rpm_damaged(err, "package %u is not in the file", number);
                if (len > left)
                        return pkg_rpm_damaged(err, "packages that overlap");
                left -= len;
                r = read_blob(p + off, (size_t)len, number, to, err);
                if (r < 0)
                        return r;
        }
        return 0;
}
