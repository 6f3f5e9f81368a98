/* The part of the SQLite 3 file format that one table needs (sqlite.org/fileformat2.html): B-trees
 * of rows, their records, overflow pages. All numbers are big endian.
 *
 * Read here and not by SQLite, because the file is whatever somebody put into an image: its schema
 * is SQL that SQLite would compile, and a library that has to be installed where bld runs would be
 * one thing more that is missing there. The format is promised to stay as it is. */
#include <string.h>

#include "base/err.h"
#include "image/packages/pkg_rpm_priv.h"

#define HEADER 100u  /* of the file, on page 1 */
#define DEPTH_MAX 20 /* SQLite's own */

enum { PAGE_INTERIOR = 5, PAGE_LEAF = 13 };

struct db;
typedef int (*row_fn)(struct db *d, const unsigned char *record, size_t n);

struct db {
        const unsigned char *p;
        uint32_t page, usable, npages;
        uint32_t left; /* pages: each belongs to one place of one tree */
        uint32_t root; /* of the table looked for; 0: not yet found */
        struct pkg_scratch scratch;
        struct pkg_list *to;
        struct bld_err *err;
};

bool pkg_is_sqlite(const unsigned char *p, size_t n)
{
        return n >= HEADER && memcmp(p, "SQLite format 3", 16) == 0;
}

/* Bytes it took, 0 when it does not end in time. */
static size_t get_varint(const unsigned char *p, size_t n, uint64_t *ret)
{
        uint64_t v = 0;

        for (size_t i = 0; i < MIN(n, 8); i++) {
                v = v << 7 | (p[i] & 0x7f);
                if (p[i] < 0x80) {
                        *ret = v;
                        return i + 1;
                }
        }
        if (n < 9)
                return 0;
        *ret = v << 8 | p[8];
        return 9;
}

/* ---- records ---- */

struct column {
        uint64_t type; /* of the format: even from 12 bytes, odd from 13 text, below that numbers */
        const unsigned char *p;
        size_t n;
};

static uint64_t column_size(uint64_t type)
{
        static const unsigned char sizes[12] = {0, 1, 2, 3, 4, 6, 8, 8};

        return type < 12 ? sizes[type] : (type - 12) / 2;
}

/* The first n columns of a record. */
static bool get_columns(const unsigned char *p, size_t size, struct column *v, size_t n)
{
        uint64_t head, body;
        size_t at = get_varint(p, size, &head);

        if (at == 0 || head < at || head > size)
                return false;
        body = head;
        for (size_t i = 0; i < n; i++) {
                size_t took = get_varint(p + at, (size_t)head - at, &v[i].type);
                uint64_t len = column_size(v[i].type);

                if (took == 0 || len > size - body)
                        return false;
                v[i].p = p + body;
                v[i].n = (size_t)len;
                at += took;
                body += len;
        }
        return true;
}

static bool column_is(const struct column *c, const char *text)
{
        return c->type >= 13 && c->type % 2 && c->n == strlen(text) &&
               memcmp(c->p, text, c->n) == 0;
}

/* sqlite_schema: type, name, tbl_name, rootpage, sql */
static int schema_row(struct db *d, const unsigned char *record, size_t n)
{
        struct column c[4];
        uint64_t root = 0;

        if (!get_columns(record, n, c, 4))
                return pkg_rpm_damaged(d->err, "a bad record in its schema");
        if (!column_is(&c[0], "table") || !column_is(&c[1], "Packages"))
                return 0;
        for (size_t i = 0; c[3].type < 7 && i < c[3].n; i++)
                root = root << 8 | c[3].p[i];
        if (c[3].type == 9)
                root = 1;
        if (root < 2 || root > d->npages)
                return pkg_rpm_damaged(d->err, "the table Packages is not in the file");
        d->root = (uint32_t)root;
        return 0;
}

/* Packages: hnum (the row's number, and NULL in the record), blob */
static int package_row(struct db *d, const unsigned char *record, size_t n)
{
        struct column c[2];

        if (!get_columns(record, n, c, 2) || c[1].type < 12 || c[1].type % 2)
                return pkg_rpm_damaged(d->err, "a bad record in the table Packages");
        return pkg_rpm_header(c[1].p, c[1].n, d->to, d->err);
}

/* ---- trees ---- */

static const unsigned char *take_page(struct db *d, uint32_t no)
{
        if (no == 0 || no > d->npages || d->left == 0) {
                (void)pkg_rpm_damaged(d->err, "page %u is not in the file, or in two places", no);
                return NULL;
        }
        d->left--;
        return d->p + (size_t)(no - 1) * d->page;
}

/* A record of n bytes, of which the first `local` are at p, followed by the number of the first
 * overflow page. */
static int overflow_row(struct db *d, const unsigned char *p, size_t local, uint64_t n, row_fn row)
{
        uint32_t no = get_be32(p + local);
        int r = pkg_scratch_start(&d->scratch, (size_t)n, d->err);

        if (r < 0)
                return r;
        pkg_scratch_add(&d->scratch, p, local);
        while (d->scratch.n < n) {
                const unsigned char *page = take_page(d, no);

                if (!page)
                        return BLD_E_CORRUPT;
                pkg_scratch_add(&d->scratch, page + 4,
                                MIN((size_t)n - d->scratch.n, d->usable - 4));
                no = get_be32(page);
        }
        return row(d, d->scratch.p, d->scratch.n);
}

/* Bytes of a record of n that lie on the leaf itself. */
static size_t local_size(const struct db *d, uint64_t n)
{
        uint64_t most = d->usable - 35, least = (d->usable - 12) * 32 / 255 - 23, fit;

        if (n <= most)
                return (size_t)n;
        fit = least + (n - least) % (d->usable - 4);
        return (size_t)(fit <= most ? fit : least);
}

/* The row whose cell begins at `at` of a leaf. *room: bytes of the page that no row has had. */
static int read_cell(struct db *d, const unsigned char *page, uint32_t at, uint32_t *room,
                     row_fn row)
{
        uint64_t n, rowid;
        size_t took = get_varint(page + at, d->usable - at, &n), more, local, size;

        more = took ? get_varint(page + at + took, d->usable - at - took, &rowid) : 0;
        if (more == 0 || n > (uint64_t)d->npages * d->page)
                return pkg_rpm_damaged(d->err, "a row that is no row");
        took += more;
        local = local_size(d, n);
        size = took + local + (local < n ? 4 : 0);
        if (size > d->usable - at || size > *room)
                return pkg_rpm_damaged(d->err, "rows that overlap");
        *room -= (uint32_t)size;
        if (local < n)
                return overflow_row(d, page + at + took, local, n, row);
        return row(d, page + at + took, local);
}

static int walk(struct db *d, uint32_t no, int depth, row_fn row)
{
        const unsigned char *page = take_page(d, no);
        uint32_t head = no == 1 ? HEADER : 0, cells, array, room = d->usable;
        bool leaf;
        int r = 0;

        if (!page)
                return BLD_E_CORRUPT;
        leaf = page[head] == PAGE_LEAF;
        cells = get_be16(page + head + 3);
        array = head + (leaf ? 8 : 12);
        if ((!leaf && page[head] != PAGE_INTERIOR) || depth == DEPTH_MAX ||
            array + 2 * cells > d->usable)
                return pkg_rpm_damaged(d->err, "page %u is no part of a table", no);
        for (uint32_t i = 0; i < cells && r == 0; i++) {
                uint32_t at = get_be16(page + array + 2 * (size_t)i);

                if (at + 4 > d->usable)
                        return pkg_rpm_damaged(d->err, "page %u has a row beyond its end", no);
                r = leaf ? read_cell(d, page, at, &room, row)
                         : walk(d, get_be32(page + at), depth + 1, row);
        }
        if (!leaf && r == 0)
                r = walk(d, get_be32(page + head + 8), depth + 1, row);
        return r;
}

static int read_file(struct db *d, size_t n)
{
        uint32_t size = get_be16(d->p + 16);
        int r;

        d->page = size == 1 ? 65536 : size;
        if (d->page < 512 || (d->page & (d->page - 1)))
                return pkg_rpm_damaged(d->err, "pages of %u bytes", d->page);
        d->usable = d->page - d->p[20];
        if (d->usable < 480)
                return pkg_rpm_damaged(d->err, "pages of which %u bytes are used", d->usable);
        if (get_be32(d->p + 56) > 1)
                return pkg_rpm_damaged(d->err, "its text is not UTF-8");
        d->npages = (uint32_t)(n / d->page);
        d->left = d->npages;
        r = walk(d, 1, 0, schema_row);
        if (r < 0)
                return r;
        if (d->root == 0)
                return pkg_rpm_damaged(d->err, "it has no table Packages");
        return walk(d, d->root, 0, package_row);
}

int pkg_rpm_sqlite(const unsigned char *p, size_t n, struct pkg_list *to, struct bld_err *err)
{
        struct db d = {.p = p, .to = to, .err = err};
        int r = read_file(&d, n);

        pkg_scratch_done(&d.scratch);
        return r;
}
