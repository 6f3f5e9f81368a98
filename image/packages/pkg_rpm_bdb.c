/* Berkeley DB's hash files, as rpm's "Packages" is one up to release 4.16: pages of one size and of
 * either byte order. Page 0 describes the file. Pages of a bucket hold keys and values in turn, an
 * array of offsets in front, the items from the end of the page downwards; what does not fit lies
 * in a chain of overflow pages. Every bucket is read, in the order of the file: nothing is looked
 * up, so the hash function does not matter. */
#include <string.h>

#include "base/err.h"
#include "image/packages/pkg_rpm_priv.h"

#define MAGIC 0x061561u
#define PAGE_HEAD 26u /* before the offsets, and before the data of an overflow page */

enum page_type { PAGE_HASH_UNSORTED = 2, PAGE_OVERFLOW = 7, PAGE_HASH = 13 };
enum item_type { ITEM_INLINE = 1, ITEM_OVERFLOW = 3 };

struct bdb {
        const unsigned char *p;
        bool big;
        uint32_t page, npages;
        uint32_t left; /* overflow pages: each belongs to one value */
        struct pkg_scratch scratch;
        struct pkg_list *to;
        struct bld_err *err;
};

static uint32_t get16(const struct bdb *b, const unsigned char *p)
{
        return b->big ? get_be16(p) : get_le16(p);
}

static uint32_t get32(const struct bdb *b, const unsigned char *p)
{
        return b->big ? get_be32(p) : get_le32(p);
}

bool pkg_is_bdb(const unsigned char *p, size_t n)
{
        return n >= 512 && (get_le32(p + 12) == MAGIC || get_be32(p + 12) == MAGIC);
}

static int read_overflow(struct bdb *b, uint32_t no, uint32_t len)
{
        int r;

        if (len > (uint64_t)b->page * b->left)
                return pkg_rpm_damaged(b->err, "a package of %u bytes, more than there are", len);
        r = pkg_scratch_start(&b->scratch, len, b->err);
        while (r == 0 && b->scratch.n < len) {
                const unsigned char *page;
                uint32_t n;

                if (no == 0 || no >= b->npages || b->left == 0)
                        return pkg_rpm_damaged(b->err, "page %u is not in the file", no);
                b->left--;
                page = b->p + (size_t)no * b->page;
                n = get16(b, page + 22);
                if (page[25] != PAGE_OVERFLOW || n == 0 || n > b->page - PAGE_HEAD ||
                    n > len - b->scratch.n)
                        return pkg_rpm_damaged(b->err, "page %u is no part of a package", no);
                pkg_scratch_add(&b->scratch, page + PAGE_HEAD, n);
                no = get32(b, page + 16);
        }
        return r < 0 ? r : pkg_rpm_header(b->scratch.p, b->scratch.n, b->to, b->err);
}

/* Key 0 holds the next number to give; all others are packages. */
static bool is_package(const unsigned char *key, uint32_t n)
{
        static const unsigned char zero[5] = {ITEM_INLINE};

        return n != sizeof(zero) || memcmp(key, zero, n) != 0;
}

static int read_pair(struct bdb *b, uint32_t no, const unsigned char *key, uint32_t nkey,
                     const unsigned char *value, uint32_t n)
{
        if (nkey == 0 || n == 0)
                return pkg_rpm_damaged(b->err, "page %u has an empty item", no);
        if (!is_package(key, nkey))
                return 0;
        if (value[0] == ITEM_INLINE)
                return pkg_rpm_header(value + 1, n - 1, b->to, b->err);
        if (value[0] == ITEM_OVERFLOW && n >= 12)
                return read_overflow(b, get32(b, value + 4), get32(b, value + 8));
        return pkg_rpm_damaged(b->err, "page %u has an item of kind %u", no, value[0]);
}

static int read_page(struct bdb *b, uint32_t no)
{
        const unsigned char *page = b->p + (size_t)no * b->page;
        uint32_t items = get16(b, page + 20), end = b->page, key = 0, nkey = 0;

        if (items % 2 || PAGE_HEAD + 2 * items > b->page)
                return pkg_rpm_damaged(b->err, "page %u has %u items", no, items);
        for (uint32_t i = 0; i < items; i++) {
                uint32_t at = get16(b, page + PAGE_HEAD + 2 * (size_t)i);
                int r = 0;

                if (at < PAGE_HEAD + 2 * items || at > end)
                        return pkg_rpm_damaged(b->err, "page %u has items that overlap", no);
                if (i % 2)
                        r = read_pair(b, no, page + key, nkey, page + at, end - at);
                key = at;
                nkey = end - at;
                end = at;
                if (r < 0)
                        return r;
        }
        return 0;
}

static int read_file(struct bdb *b, size_t n)
{
        uint32_t last = get32(b, b->p + 32);

        b->page = get32(b, b->p + 20);
        if (b->page < 512 || b->page > 65536 || (b->page & (b->page - 1)))
                return pkg_rpm_damaged(b->err, "pages of %u bytes", b->page);
        if (b->p[24] != 0)
                return err_set(b->err, BLD_E_UNSUPPORTED, "the rpm database is encrypted");
        if (((uint64_t)last + 1) * b->page > n)
                return pkg_rpm_damaged(b->err, "it has %zu of %u pages", n / b->page, last + 1);
        b->npages = last + 1;
        b->left = last;
        for (uint32_t no = 1; no < b->npages; no++) {
                unsigned char type = b->p[(size_t)no * b->page + 25];
                int r = 0;

                if (type == PAGE_HASH || type == PAGE_HASH_UNSORTED)
                        r = read_page(b, no);
                if (r < 0)
                        return r;
        }
        return 0;
}

int pkg_rpm_bdb(const unsigned char *p, size_t n, struct pkg_list *to, struct bld_err *err)
{
        struct bdb b = {.p = p, .big = get_be32(p + 12) == MAGIC, .to = to, .err = err};
        int r = read_file(&b, n);

        pkg_scratch_done(&b.scratch);
        return r;
}
