/* SQLite's write-ahead log (fileformat2.html, section 4): a header of 32 bytes, then frames, each a
 * header of 24 bytes and the new content of a page. A frame counts when its salts are those of the
 * log and the checksum that runs through all frames holds; a frame that ends a transaction says how
 * many pages the database has then. What comes after the last of those never happened. */
#include <string.h>

#include "base/err.h"
#include "image/packages/pkg_rpm_priv.h"

#define HEAD 32u
#define FRAME_HEAD 24u
#define MAGIC 0x377f0682u /* the lowest bit: checksums of big-endian words */
#define VERSION 3007000u

struct wal {
        const unsigned char *p;
        size_t frames; /* whole ones */
        uint32_t page;
        bool big;
        uint32_t sum[2];
};

static void add_sum(struct wal *w, const unsigned char *p, size_t n)
{
        for (size_t i = 0; i + 8 <= n; i += 8) {
                uint32_t a = w->big ? get_be32(p + i) : get_le32(p + i);
                uint32_t b = w->big ? get_be32(p + i + 4) : get_le32(p + i + 4);

                w->sum[0] += a + w->sum[1];
                w->sum[1] += b + w->sum[0];
        }
}

static bool sum_is(const struct wal *w, const unsigned char *p)
{
        return get_be32(p) == w->sum[0] && get_be32(p + 4) == w->sum[1];
}

static bool begin(struct wal *w, const unsigned char *p, size_t n)
{
        uint32_t magic = n >= HEAD ? get_be32(p) : 0;

        *w = (struct wal){.p = p, .big = magic & 1};
        if ((magic & ~1u) != MAGIC || get_be32(p + 4) != VERSION)
                return false;
        w->page = get_be32(p + 8);
        if (w->page < 512 || w->page > 65536 || (w->page & (w->page - 1)))
                return false;
        add_sum(w, p, 24);
        w->frames = (n - HEAD) / (FRAME_HEAD + w->page);
        return sum_is(w, p + 24);
}

static const unsigned char *frame(const struct wal *w, size_t i)
{
        return w->p + HEAD + i * (FRAME_HEAD + (size_t)w->page);
}

/* Frames up to the end of the last transaction, and the pages there are then. */
static size_t committed(struct wal *w, uint32_t *ret_pages)
{
        size_t n = 0;

        for (size_t i = 0; i < w->frames; i++) {
                const unsigned char *f = frame(w, i);

                add_sum(w, f, 8);
                add_sum(w, f + FRAME_HEAD, w->page);
                if (memcmp(f + 8, w->p + 16, 8) != 0 || !sum_is(w, f + 16) || get_be32(f) == 0)
                        break;
                if (get_be32(f + 4) == 0)
                        continue;
                *ret_pages = get_be32(f + 4);
                n = i + 1;
        }
        return n;
}

int pkg_sqlite_replay(unsigned char **p, size_t *n, const void *wal, size_t nwal,
                      struct bld_err *err)
{
        struct wal w;
        uint32_t pages = 0;
        size_t count, size;
        unsigned char *grown;

        if (!begin(&w, wal, nwal))
                return 0;
        count = committed(&w, &pages);
        if (count == 0)
                return 0;
        if ((uint64_t)pages * w.page > PKG_BYTES_MAX)
                return err_set(err, BLD_E_LIMIT, "the rpm database is larger than %llu MiB",
                               PKG_BYTES_MAX >> 20);
        size = (size_t)pages * w.page;
        grown = mem_realloc(*p, MAX(size, *n));
        if (!grown)
                return err_nomem(err, "database of rpm");
        *p = grown;
        if (size > *n)
                memset(grown + *n, 0, size - *n);
        *n = size;
        for (size_t i = 0; i < count; i++) {
                const unsigned char *f = frame(&w, i);

                if (get_be32(f) <= pages)
                        memcpy(grown + (size_t)(get_be32(f) - 1) * w.page, f + FRAME_HEAD, w.page);
        }
        return 0;
}
