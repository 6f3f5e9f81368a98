/* The databases of dpkg, apk and rpm: what is read out of them, and what is refused. The sound ones
 * of rpm are the seeds of its fuzz target: headers of packages rpm built, cut down to their names,
 * in files that SQLite and Berkeley DB wrote. tests/e2e/packages.sh has whole ones. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "alloc_seam.h"

#include "base/err.h"
#include "base/fd.h"
#include "base/sb.h"
#include "image/packages/packages.h"

/* ---- bytes and lists ---- */

/* The parser sees a copy of exactly n bytes: a sanitizer notices one beyond. */
static int parse(const char *manager, const void *p, size_t n, struct pkg_list *l,
                 struct bld_err *err)
{
        void *copy = real_mem_dup(p, n);
        int r;

        assert_non_null(copy);
        if (str_eq(manager, "dpkg"))
                r = pkg_parse_dpkg(copy, n, l, err);
        else if (str_eq(manager, "apk"))
                r = pkg_parse_apk(copy, n, l, err);
        else
                r = pkg_parse_rpm(copy, n, l, err);
        free(copy);
        return r;
}

/* "name version arch source source-version bytes;" of each, sorted, or "code: message". */
static const char *shown(const char *manager, const void *p, size_t n)
{
        static struct sb b;
        struct pkg_list l = {0};
        struct bld_err err = BLD_ERR_INIT;
        int r = parse(manager, p, n, &l, &err);

        b = (struct sb){.buf = b.buf, .cap = b.cap, .max = 1 << 20};
        sb_reset(&b);
        if (r < 0) {
                assert_int_equal(r, err.code);
                sb_fmt(&b, "%s: %s", r == BLD_E_CORRUPT ? "corrupt" : "other", err.msg);
        }
        pkg_list_sort(&l);
        for (size_t i = 0; r == 0 && i < l.n; i++) {
                const struct pkg *k = l.v[i];

                assert_string_equal(k->manager, manager);
                assert_int_equal(k->index, i);
                sb_fmt(&b, "%s %s %s %s %s %llu;", k->name, k->version, k->arch ? k->arch : "-",
                       k->source ? k->source : "-", k->source_version ? k->source_version : "-",
                       (unsigned long long)k->installed);
        }
        pkg_list_done(&l);
        return sb_text(&b);
}

static void assert_shows(const char *name, const char *have, const char *want)
{
        bool exact = !str_has_prefix(want, "corrupt: ");

        if (exact ? !str_eq(have, want) : !strstr(have, want + strlen("corrupt: ")))
                fail_msg("%s: \"%s\", not \"%s\"", name, have, want);
        if (!exact && !str_has_prefix(have, "corrupt: "))
                fail_msg("%s: \"%s\" is another code", name, have);
}

/* ---- dpkg and apk ---- */

static const struct {
        const char *name, *manager, *in, *want;
} texts[] = {
        {"nothing", "dpkg", "", ""},
        {"empty lines", "dpkg", "\n\n \n\t\n", ""},
        {"a package", "dpkg",
         "Package: a\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n",
         "a 1 all a 1 0;"},
        {"no last newline", "dpkg", "Package: a\nVersion: 1", "a 1 - a 1 0;"},
        {"carriage returns", "dpkg", "Package: a\r\nVersion: 1\r\n", "a 1 - a 1 0;"},
        {"case of fields", "dpkg", "PACKAGE:a\nversion:\t1 \n", "a 1 - a 1 0;"},
        {"source", "dpkg", "Package: a\nVersion: 1\nSource: s\n", "a 1 - s 1 0;"},
        {"source with version", "dpkg", "Package: a\nVersion: 1+b1\nSource: s (1)\n",
         "a 1+b1 - s 1 0;"},
        {"source without its end", "dpkg", "Package: a\nVersion: 1+b1\nSource: s (1\n",
         "a 1+b1 - s 1 0;"},
        {"size", "dpkg", "Package: a\nVersion: 1\nInstalled-Size: 3\n", "a 1 - a 1 3072;"},
        {"sorted", "dpkg",
         "Package: b\nVersion: 1\n\nPackage: a\nVersion: 1\nArchitecture: i386\n\n\nPackage: a\n"
         "Version: 1\nArchitecture: amd64\n\n",
         "a 1 amd64 a 1 0;a 1 i386 a 1 0;b 1 - b 1 0;"},
        {"a description", "dpkg",
         "Package: a\nDescription: x\n Package: b\n .\n\tVersion: 2\nVersion: 1\n", "a 1 - a 1 0;"},
        {"a line of blanks goes on", "dpkg", "Package: a\nDescription: x\n \n y\nVersion: 1\n",
         "a 1 - a 1 0;"},
        {"states", "dpkg",
         "Package: a\nStatus: install ok unpacked\nVersion: 1\n\n"
         "Package: b\nStatus: install ok half-configured\nVersion: 1\n\n"
         "Package: c\nStatus: install ok triggers-awaited\nVersion: 1\n\n"
         "Package: d\nStatus: install ok triggers-pending\nVersion: 1\n\n"
         "Package: e\nStatus: hold ok installed\nVersion: 1\n\n"
         "Package: f\nStatus: install reinstreq half-installed\nVersion: 1\n\n"
         "Package: g\nStatus: deinstall ok config-files\nVersion: 1\n\n"
         "Package: h\nStatus: unknown ok not-installed\n\n",
         "a 1 - a 1 0;b 1 - b 1 0;c 1 - c 1 0;d 1 - d 1 0;e 1 - e 1 0;"},
        {"UTF-8", "dpkg", "Package: \xc3\xa4\nVersion: 1\n", "\xc3\xa4 1 - \xc3\xa4 1 0;"},
        {"no name", "dpkg", "\nVersion: 1\n", "corrupt: line 2: a package without a name"},
        {"no version", "dpkg", "Package: a\n", "corrupt: a package without a version"},
        {"another state", "dpkg", "Package: a\nStatus: install ok gone\nVersion: 1\n",
         "corrupt: line 1: a status dpkg does not have"},
        {"no field", "dpkg", "Package: a\nVersion\n", "corrupt: line 2: no field"},
        {"twice", "dpkg", "Package: a\nVersion: 1\nPackage: b\n", "corrupt: line 3: a field that"},
        {"nothing goes on", "dpkg", "Package: a\nVersion: 1\n\n x\n", "corrupt: line 4: a contin"},
        {"no size", "dpkg", "Package: a\nVersion: 1\nInstalled-Size: 1k\n", "corrupt: a size"},
        {"a negative size", "dpkg", "Package: a\nVersion: 1\nInstalled-Size: -1\n",
         "corrupt: a size"},
        {"a size beyond 64 bits", "dpkg",
         "Package: a\nVersion: 1\nInstalled-Size: 18014398509481984\n", "corrupt: a size"},
        {"a control byte", "dpkg", "Package: a\x1b[2J\nVersion: 1\n", "corrupt: a control byte"},
        {"not UTF-8", "dpkg", "Package: a\xff\nVersion: 1\n", "corrupt: not UTF-8"},
        {"a program", "dpkg",
         "\x7f"
         "ELF\x02\x01\x01\n",
         "corrupt: line 1"},

        {"nothing", "apk", "", ""},
        {"a package", "apk", "C:Q1x=\nP:a\nV:1-r0\nA:x86_64\nI:4096\no:src\n\n",
         "a 1-r0 x86_64 src 1-r0 4096;"},
        {"files", "apk", "P:a\nV:1\nF:usr\nR:P:b\na:0:0:755\nZ:Q1x=\n\nP:b\nV:2\n",
         "a 1 - a 1 0;b 2 - b 2 0;"},
        {"no end", "apk", "P:a\nV:1", "a 1 - a 1 0;"},
        {"no name", "apk", "V:1\n", "corrupt: without a name"},
        {"no version", "apk", "P:a\n\n", "corrupt: without a version"},
        {"no letter", "apk", "P:a\nV:1\nhello\n", "corrupt: line 3: no letter"},
        {"no size", "apk", "P:a\nV:1\nI:x\n", "corrupt: line 3: a size"},
        {"a control byte", "apk", "P:a\nV:1\x01\n", "corrupt: a control byte"},
};

static void test_texts(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
                print_message("%s: %s\n", texts[i].manager, texts[i].name);
                assert_shows(texts[i].name,
                             shown(texts[i].manager, texts[i].in, strlen(texts[i].in)),
                             texts[i].want);
        }
        assert_shows("a zero byte", shown("dpkg", "Package: a\0b\nVersion: 1", 23),
                     "corrupt: a control byte");
}

static void test_long(void **state)
{
        for (size_t n = PKG_FIELD_MAX; n <= PKG_FIELD_MAX + 1; n++) {
                AUTO_SB struct sb b = SB_INIT(1 << 16);
                struct pkg_list l = {0};

                (void)state;
                sb_fmt(&b, "P:a\nV:%0*d\n", (int)n, 1);
                assert_int_equal(parse("apk", sb_text(&b), b.len, &l, NULL),
                                 n == PKG_FIELD_MAX ? 0 : BLD_E_CORRUPT);
                pkg_list_done(&l);
        }
}

static void test_large(void **state)
{
        struct pkg_list l = {0};

        (void)state;
        assert_int_equal(pkg_parse_rpm("", PKG_BYTES_MAX + 1, &l, NULL), BLD_E_LIMIT);
}

static void test_too_many(void **state)
{
        static const char one[] = "P:a\nV:1\n\n";
        struct sb b = SB_INIT((size_t)16 << 20);
        struct pkg_list l = {0};
        struct bld_err err = BLD_ERR_INIT;

        (void)state;
        for (size_t i = 0; i <= PKG_LIST_MAX; i++)
                sb_str(&b, one);
        assert_false(b.failed);
        assert_int_equal(parse("apk", sb_text(&b), b.len, &l, &err), BLD_E_LIMIT);
        pkg_list_done(&l);
        err_clear(&err);
        assert_int_equal(parse("apk", sb_text(&b), b.len - sizeof(one) + 1, &l, &err), 0);
        assert_int_equal(l.n, PKG_LIST_MAX);
        pkg_list_sort(&l);
        pkg_list_done(&l);
        sb_done(&b);
}

/* ---- a package of rpm ---- */

#define STR 6
#define I32 4
#define I64 5

static void put_be32(struct sb *b, uint32_t v)
{
        const unsigned char p[4] = {(unsigned char)(v >> 24), (unsigned char)(v >> 16),
                                    (unsigned char)(v >> 8), (unsigned char)v};

        sb_add(b, p, 4);
}

static void put_le32(struct sb *b, uint32_t v)
{
        const unsigned char p[4] = {(unsigned char)v, (unsigned char)(v >> 8),
                                    (unsigned char)(v >> 16), (unsigned char)(v >> 24)};

        sb_add(b, p, 4);
}

/* A database of ndb with one package in it. */
static void make_ndb(struct sb *b, const char *header, size_t n)
{
        size_t pad = (16 - (16 + n + 12) % 16) % 16;

        sb_add(b, "RpmP", 4);
        put_le32(b, 0);
        put_le32(b, 1);
        put_le32(b, 1);
        put_le32(b, 2);
        sb_add(b, "\0\0\0\0\0\0\0\0\0\0\0", 12);
        for (int i = 2; i < 256; i++) {
                sb_add(b, "Slot", 4);
                put_le32(b, i == 7 ? 1 : 0);
                put_le32(b, i == 7 ? 256 : 0);
                put_le32(b, i == 7 ? (uint32_t)((16 + n + pad + 12) / 16) : 0);
        }
        sb_add(b, "BlbS", 4);
        put_le32(b, 1);
        put_le32(b, 1);
        put_le32(b, (uint32_t)n);
        sb_add(b, header, n);
        for (; pad; pad--)
                sb_char(b, '\0');
        put_le32(b, 0);
        put_le32(b, (uint32_t)n);
        sb_add(b, "BlbE", 4);
        assert_false(b->failed);
}

struct entry {
        uint32_t tag, type, off, count;
};
static const char data[] = "n\0v\0r\0arch\0s.src.rpm\0gpg-pubkey\0\0\0\1\0\0\0\2\0\0\0\3no end";
#define N                       \
        {                       \
                1000, STR, 0, 1 \
        }
#define V                       \
        {                       \
                1001, STR, 2, 1 \
        }
#define R                       \
        {                       \
                1002, STR, 4, 1 \
        }

static const struct {
        const char *name;
        struct entry v[9];
        const char *want;
} headers[] = {
        {"the least", {N, V, R}, "n v-r - - - 0;"},
        {"all",
         {N, V, R, {1003, I32, 32, 1}, {1009, I32, 36, 1}, {1022, STR, 6, 1}, {1044, STR, 11, 1}},
         "n 256:v-r arch s.src.rpm - 512;"},
        {"a long size",
         {N, V, R, {1009, I32, 32, 1}, {5009, I64, 32, 1}},
         "n v-r - - - 1099511628288;"},
        {"the first of two", {N, V, R, {1000, STR, 6, 1}}, "n v-r - - - 0;"},
        {"others", {{63, 7, 0, 16}, N, V, R, {1004, 9, 99999, 1}}, "n v-r - - - 0;"},
        {"a key", {{1000, STR, 21, 1}, V, R}, ""},
        {"no name", {V, R}, "corrupt: without a name"},
        {"no version", {N, R}, "corrupt: without a version"},
        {"no release", {N, V}, "corrupt: without a version"},
        {"an empty name", {{1000, STR, 1, 1}, V, R}, "corrupt: without a name"},
        {"a name of no type", {{1000, 7, 0, 1}, V, R}, "corrupt: a bad tag 1000"},
        {"a name of no count", {{1000, STR, 0, 0}, V, R}, "corrupt: a bad tag 1000"},
        {"a name beyond", {{1000, STR, sizeof(data), 1}, V, R}, "corrupt: a bad tag 1000"},
        {"a name far beyond", {{1000, STR, 0xffffffff, 1}, V, R}, "corrupt: a bad tag 1000"},
        {"a name without an end", {{1000, STR, 44, 1}, V, R}, "corrupt: a bad tag 1000"},
        {"a size without an end",
         {N, V, R, {1009, I32, sizeof(data) - 4, 1}},
         "corrupt: a bad tag 1009"},
        {"a long size without an end",
         {N, V, R, {5009, I64, sizeof(data) - 8, 1}},
         "corrupt: a bad tag 5009"},
        {"a short epoch", {N, V, R, {1003, 3, 32, 1}}, "corrupt: a bad tag 1003"},
};

static void make_header(struct sb *b, const struct entry *v)
{
        uint32_t n = 0;

        while (v[n].tag)
                n++;
        put_be32(b, n);
        put_be32(b, sizeof(data) - 1);
        for (uint32_t i = 0; i < n; i++) {
                put_be32(b, v[i].tag);
                put_be32(b, v[i].type);
                put_be32(b, v[i].off);
                put_be32(b, v[i].count);
        }
        sb_add(b, data, sizeof(data) - 1);
}

static void test_headers(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(headers); i++) {
                AUTO_SB struct sb h = SB_INIT(1 << 20), db = SB_INIT(1 << 20);

                print_message("%s\n", headers[i].name);
                make_header(&h, headers[i].v);
                make_ndb(&db, sb_text(&h), h.len);
                assert_shows(headers[i].name, shown("rpm", sb_text(&db), db.len), headers[i].want);
        }
}

static void test_header_sizes(void **state)
{
        static const struct {
                const char *name;
                uint32_t il, dl;
        } rows[] = {
                {"no entries", 0, sizeof(data) - 1},
                {"more entries", 4, sizeof(data) - 1},
                {"fewer entries", 2, sizeof(data) - 1},
                {"too many entries", 65536, sizeof(data) - 1},
                {"entries that wrap", 0x10000003, sizeof(data) - 1},
                {"less data", 3, sizeof(data) - 2},
                {"more data", 3, sizeof(data)},
                {"data that wraps", 3, 0xffffffff},
        };
        static const struct entry least[] = {N, V, R, {0}};

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                AUTO_SB struct sb h = SB_INIT(1 << 20), db = SB_INIT(1 << 20), top = SB_INIT(64);

                print_message("%s\n", rows[i].name);
                make_header(&h, least);
                put_be32(&top, rows[i].il);
                put_be32(&top, rows[i].dl);
                memcpy(h.buf, top.buf, 8);
                make_ndb(&db, sb_text(&h), h.len);
                assert_shows(rows[i].name, shown("rpm", sb_text(&db), db.len),
                             "corrupt: a package of");
        }
}

/* ---- rpm's containers ---- */

static void load(const char *name, struct sb *b)
{
        char path[100];
        struct bld_err err = BLD_ERR_INIT;

        (void)snprintf(path, sizeof(path), "testdata/fuzz/rpm/%s", name);
        if (file_read(AT_FDCWD, path, b, &err) < 0)
                fail_msg("%s", err.msg);
}

#define ALPHA "alpha 1.0-1 x86_64 alpha-1.0-1.src.rpm - 4;"
#define KERN1 "kern 5.1-1 x86_64 kern-5.1-1.src.rpm - 2;"
#define SIX                                                                 \
        ALPHA "beta 4:2.5~rc1-3.el9 noarch beta-2.5~rc1-3.el9.src.rpm - 2;" \
              "big 7-1 noarch big-7-1.src.rpm - 2292;" KERN1                \
              "kern 5.2-1 x86_64 kern-5.2-1.src.rpm - 2;"                   \
              "zero 0:1-1 noarch zero-1-1.src.rpm - 2;"

static const struct {
        const char *file, *want;
} sound[] = {
        {"nothing", ""},
        {"ndb", SIX},
        {"bdb", ALPHA ALPHA KERN1}, /* one of the two alphas in overflow pages */
        {"bdb-one-page", ALPHA KERN1},
        {"bdb-big-endian", SIX},
        {"sqlite", ALPHA ALPHA KERN1},
        {"short", "corrupt: none of the formats"},
};

static void test_containers(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(sound); i++) {
                AUTO_SB struct sb b = SB_INIT(1 << 20);

                print_message("%s\n", sound[i].file);
                load(sound[i].file, &b);
                assert_shows(sound[i].file, shown("rpm", sb_text(&b), b.len), sound[i].want);
        }
}

/* One place of a sound file made unsound: w bytes at off get the value, in the file's order. */
static const struct {
        const char *name, *file;
        size_t off, w;
        uint32_t value;
        bool big;
        const char *want;
} patches[] = {
        {"ndb of another version", "ndb", 4, 4, 1, false, "corrupt: version 1"},
        {"no slots", "ndb", 12, 4, 0, false, "corrupt: within its slots"},
        {"slots beyond the end", "ndb", 12, 4, 2, false, "corrupt: within its slots"},
        {"slots that wrap", "ndb", 12, 4, 0x00100000, false, "corrupt: within its slots"},
        {"no slot", "ndb", 32, 4, 0, false, "corrupt: no slot at 32"},
        {"another number", "ndb", 36, 4, 77, false, "corrupt: package 77 is not where"},
        {"blocks among the slots", "ndb", 40, 4, 3, false, "corrupt: not in the file"},
        {"blocks beyond the end", "ndb", 40, 4, 0xffffffff, false, "corrupt: not in the file"},
        {"no blocks", "ndb", 44, 4, 0, false, "corrupt: is not where"},
        {"fewer blocks", "ndb", 44, 4, 3, false, "corrupt: cut short"},
        {"blocks without an end", "ndb", 44, 4, 0xffffffff, false, "corrupt: not in the file"},
        {"no head", "ndb", 4096, 4, 0, false, "corrupt: is not where"},
        {"an absurd length", "ndb", 4096 + 12, 4, 0xfffffff0, false, "corrupt: cut short"},

        {"small pages", "bdb", 20, 4, 256, false, "corrupt: pages of 256"},
        {"crooked pages", "bdb", 20, 4, 513, false, "corrupt: pages of 513"},
        {"large pages", "bdb", 20, 4, 0x80000000, false, "corrupt: pages of"},
        {"pages beyond the end", "bdb", 32, 4, 9, false, "corrupt: it has 9 of 10 pages"},
        {"pages that wrap", "bdb", 32, 4, 0xffffffff, false, "corrupt: it has 9"},
        {"items without a value", "bdb-one-page", 4096 + 20, 2, 1, false, "corrupt: has 1 items"},
        {"an absurd count", "bdb-one-page", 4096 + 20, 2, 0xfffe, false, "corrupt: 65534 items"},
        {"an item in the head", "bdb-one-page", 4096 + 26, 2, 20, false, "corrupt: overlap"},
        {"an item beyond the page", "bdb-one-page", 4096 + 26, 2, 4097, false, "corrupt: overlap"},

        {"small pages", "sqlite", 16, 2, 256, true, "corrupt: pages of 256"},
        {"no pages", "sqlite", 16, 2, 0, true, "corrupt: pages of 0"},
        {"larger pages", "sqlite", 16, 2, 1, true, "corrupt: page 1 is not in the file"},
        {"nothing left of a page", "sqlite", 20, 1, 200, true, "corrupt: pages of which 312"},
        {"UTF-16", "sqlite", 56, 4, 2, true, "corrupt: UTF-8"},
        {"no tree", "sqlite", 100, 1, 2, true, "corrupt: page 1 is no part"},
        {"an absurd count", "sqlite", 103, 2, 0xffff, true, "corrupt: page 1 is no part"},
        {"no rows", "sqlite", 103, 2, 0, true, "corrupt: no table Packages"},
        {"a row beyond the page", "sqlite", 108, 2, 511, true, "corrupt: beyond its end"},
        {"a row of the head", "sqlite", 108, 2, 16, true, "corrupt: "},
};

static void test_patches(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(patches); i++) {
                AUTO_SB struct sb b = SB_INIT(1 << 20);

                print_message("%s: %s\n", patches[i].file, patches[i].name);
                load(patches[i].file, &b);
                for (size_t k = 0; k < patches[i].w; k++) {
                        size_t shift = patches[i].big ? patches[i].w - 1 - k : k;

                        b.buf[patches[i].off + k] = (char)(patches[i].value >> 8 * shift);
                }
                assert_shows(patches[i].name, shown("rpm", b.buf, b.len), patches[i].want);
        }
}

/* Points every page of a file that points to a next one elsewhere: to itself (to 0), or to page
 * `to`. first: number of the file's first page. */
static void bend(struct sb *b, const char *kind, size_t at, unsigned char to, unsigned char first)
{
        size_t bent = 0;

        for (size_t page = 512; page < b->len; page += 512) {
                unsigned char *p = (unsigned char *)b->buf + page, self;
                bool is;

                self = (unsigned char)(page / 512 + first);
                if (str_eq(kind, "bdb"))
                        is = p[25] == 7;
                else if (str_eq(kind, "interior"))
                        is = p[0] == 5;
                else /* an overflow page of SQLite: it says nothing but the next one's number */
                        is = !p[0] && !p[1] && !p[2] && p[3] <= b->len / 512;
                if (!is || p[at] == 0)
                        continue;
                p[at] = to ? to : self;
                bent++;
        }
        assert_true(bent > 0);
}

static void test_cycles(void **state)
{
        static const struct {
                const char *file, *kind;
                size_t at;
                unsigned char first;
        } rows[] = {
                {"bdb", "bdb", 16, 0},
                {"sqlite", "overflow", 3, 1},
                {"sqlite-deep", "interior", 11, 1},
        };
        static const unsigned char to[] = {0, 1, 255};

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows) * ARRAY_LEN(to); i++) {
                AUTO_SB struct sb b = SB_INIT(1 << 20);
                size_t k = i / ARRAY_LEN(to);

                print_message("%s, %u\n", rows[k].file, to[i % ARRAY_LEN(to)]);
                load(rows[k].file, &b);
                bend(&b, rows[k].kind, rows[k].at, to[i % ARRAY_LEN(to)], rows[k].first);
                assert_shows(rows[k].file, shown("rpm", b.buf, b.len), "corrupt: ");
        }
}

/* Cut anywhere, or one byte changed: a shorter list or CORRUPT, nothing else. */
static void test_damage(void **state)
{
        static const char *const files[] = {"ndb", "bdb", "bdb-big-endian", "sqlite",
                                            "sqlite-deep"};

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(files); i++) {
                AUTO_SB struct sb b = SB_INIT(1 << 20);
                size_t corrupt = 0;

                load(files[i], &b);
                for (size_t k = 0; k < 2 * b.len; k++) {
                        struct pkg_list l = {0};
                        struct bld_err err = BLD_ERR_INIT;
                        size_t at = k / 2;
                        int r;

                        if (k % 2)
                                b.buf[at] ^= (char)0xff;
                        r = parse("rpm", b.buf, k % 2 ? b.len : at, &l, &err);
                        if (r != 0 && r != BLD_E_CORRUPT && r != BLD_E_UNSUPPORTED)
                                fail_msg("%s, byte %zu: %d %s", files[i], at, r, err.msg);
                        corrupt += r == BLD_E_CORRUPT;
                        assert_true(l.n <= 40);
                        pkg_list_done(&l);
                        if (k % 2)
                                b.buf[at] ^= (char)0xff;
                }
                assert_true(corrupt > b.len);
        }
}

/* ---- the write-ahead log ---- */

#define WAL_DB 2048u /* bytes of the database in "sqlite-wal", what follows is the log */
#define FRAME (24u + 512u)
#define KERN2 "kern 5.2-1 x86_64 kern-5.2-1.src.rpm - 2;"
#define WAL_FIRST ALPHA KERN1 KERN2
#define WAL_ALL WAL_FIRST "zero 0:1-1 noarch zero-1-1.src.rpm - 2;"

static const char *replayed(const char *db, size_t n, const char *wal, size_t nwal)
{
        unsigned char *p = real_mem_dup(db, n);
        const char *out;
        struct bld_err err = BLD_ERR_INIT;

        assert_non_null(p);
        if (pkg_sqlite_replay(&p, &n, wal, nwal, &err) < 0)
                out = err.code == BLD_E_LIMIT ? "limit" : "other";
        else
                out = shown("rpm", p, n);
        free(p);
        return out;
}

static void test_wal(void **state)
{
        AUTO_SB struct sb b = SB_INIT(1 << 20);
        char *wal;
        size_t n;

        (void)state;
        load("sqlite-wal", &b);
        wal = b.buf + WAL_DB;
        n = b.len - WAL_DB;
        assert_int_equal((n - 32) % FRAME, 0);
        assert_string_equal(shown("rpm", b.buf, WAL_DB), ALPHA KERN1);
        assert_string_equal(replayed(b.buf, WAL_DB, wal, n), WAL_ALL);
        /* without its last frame, the last transaction never happened */
        assert_string_equal(replayed(b.buf, WAL_DB, wal, n - 1), WAL_FIRST);
        assert_string_equal(replayed(b.buf, WAL_DB, wal, 32 + FRAME - 1), ALPHA KERN1);
        for (size_t i = 0; i < 32; i++) { /* a log with another head is none */
                wal[i] ^= 0x10;
                assert_string_equal(replayed(b.buf, WAL_DB, wal, n), ALPHA KERN1);
                wal[i] ^= 0x10;
        }
        wal[n - 1] ^= 1; /* the checksum of the last frame */
        assert_string_equal(replayed(b.buf, WAL_DB, wal, n), WAL_FIRST);
        wal[n - 1] ^= 1;
        assert_string_equal(replayed(b.buf, WAL_DB, wal, 0), ALPHA KERN1);
}

/* ---- comparing ---- */

/* "name[@arch]=version ..." */
static void make_list(const char *text, struct pkg_list *l)
{
        AUTO_SB struct sb b = SB_INIT(1 << 16);

        while (*text) {
                size_t name = strcspn(text, "@="), n = strcspn(text, " ");
                const char *eq = text + strcspn(text, "=");

                sb_fmt(&b, "P:%.*s\nV:%.*s\n", (int)name, text, (int)(text + n - eq - 1), eq + 1);
                if (text[name] == '@')
                        sb_fmt(&b, "A:%.*s\n", (int)(eq - text - (long)name - 1), text + name + 1);
                sb_char(&b, '\n');
                text += n + (text[n] == ' ');
        }
        assert_int_equal(parse("apk", sb_text(&b), b.len, l, NULL), 0);
        pkg_list_sort(l);
}

struct told {
        struct sb b;
        size_t stop;
};

static void tell_one(struct sb *b, const struct pkg *p)
{
        if (!p)
                sb_char(b, '-');
        else
                sb_fmt(b, "%s%s%s=%s", p->name, p->arch ? "@" : "", p->arch ? p->arch : "",
                       p->version);
}

static int tell(void *user, const struct pkg *before, const struct pkg *after)
{
        struct told *t = user;

        assert_true(before || after);
        tell_one(&t->b, before);
        sb_char(&t->b, '>');
        tell_one(&t->b, after);
        sb_char(&t->b, ' ');
        return t->stop && --t->stop == 0 ? 7 : 0;
}

static const struct {
        const char *name, *a, *b, *want;
} pairs[] = {
        {"nothing", "", "", ""},
        {"the same", "a=1 b=2", "b=2 a=1", ""},
        {"added", "", "a=1", "->a=1 "},
        {"removed", "a=1 b=1", "b=1", "a=1>- "},
        {"another version", "a=1 b=1 c=1", "a=1 b=2 c=1", "b=1>b=2 "},
        {"in order", "a=1 d=1", "b=1 d=2", "a=1>- ->b=1 d=1>d=2 "},
        {"architectures apart", "a@x=1 a@y=1", "a@y=2 a@x=3", "a@x=1>a@x=3 a@y=1>a@y=2 "},
        {"one architecture more", "a@x=1", "a@x=1 a@y=1", "->a@y=1 "},
        {"another architecture", "a@x=1 b@x=2", "a@y=1 b@y=3", "a@x=1>a@y=1 b@x=2>b@y=3 "},
        {"all to one", "a@all=1", "a@x=2", "a@all=1>a@x=2 "},
        {"kernels", "k=1 k=2", "k=2 k=3", "k=1>k=3 "},
        {"one kernel more", "k=1 k=2", "k=1 k=2 k=3", "->k=3 "},
        {"kernels all new", "k=1 k=2", "k=3 k=4", "k=1>k=3 k=2>k=4 "},
        {"two for one", "k=1 k=2 k=3", "k=4", "k=1>k=4 k=2>- k=3>- "},
        {"the same twice", "k=1 k=1", "k=1", "k=1>- "},
        {"left of one, of another", "k@x=1 k@x=2 k@y=1", "k@x=3 k@z=1",
         "k@x=1>k@x=3 k@x=2>k@z=1 k@y=1>- "},
};

static void test_compare(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
                AUTO_PKG_LIST struct pkg_list a = {0}, b = {0};
                struct told t = {.b = SB_INIT(1 << 16)};

                print_message("%s\n", pairs[i].name);
                make_list(pairs[i].a, &a);
                make_list(pairs[i].b, &b);
                assert_int_equal(pkg_list_compare(&a, &b, tell, &t), 0);
                assert_string_equal(sb_text(&t.b), pairs[i].want);
                sb_reset(&t.b);
                t.stop = 1;
                assert_int_equal(pkg_list_compare(&a, &b, tell, &t), *pairs[i].want ? 7 : 0);
                sb_done(&t.b);
        }
}

/* ---- memory ---- */

static const struct {
        const char *manager, *file;
} seeds[] = {
        {"dpkg", "../dpkg/status"}, {"apk", "../apk/installed"}, {"rpm", "ndb"}, {"rpm", "bdb"},
        {"rpm", "sqlite"},
};
static struct sb seed_bytes[ARRAY_LEN(seeds)];

static int parse_seeds(struct bld_err *err)
{
        AUTO_PKG_LIST struct pkg_list l = {0};
        int r = 0;

        for (size_t i = 0; r == 0 && i < ARRAY_LEN(seeds); i++)
                r = parse(seeds[i].manager, sb_text(&seed_bytes[i]), seed_bytes[i].len, &l, err);
        return r;
}

static void test_alloc(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(seeds); i++) {
                sb_init(&seed_bytes[i], 1 << 20);
                load(seeds[i].file, &seed_bytes[i]);
        }
        fail_each(parse_seeds);
        for (size_t i = 0; i < ARRAY_LEN(seeds); i++)
                sb_done(&seed_bytes[i]);
}

static void test_alloc_wal(void **state)
{
        AUTO_SB struct sb b = SB_INIT(1 << 20);
        unsigned char *p;
        size_t n = WAL_DB;

        (void)state;
        load("sqlite-wal", &b);
        p = mem_dup(b.buf, n);
        assert_non_null(p);
        left = 0;
        assert_int_equal(pkg_sqlite_replay(&p, &n, b.buf + WAL_DB, b.len - WAL_DB, NULL),
                         BLD_E_NOMEM);
        left = -1;
        assert_int_equal(n, WAL_DB);
        assert_memory_equal(p, b.buf, n);
        free(p);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_texts),      cmocka_unit_test(test_too_many),
                cmocka_unit_test(test_long),       cmocka_unit_test(test_large),
                cmocka_unit_test(test_headers),    cmocka_unit_test(test_header_sizes),
                cmocka_unit_test(test_containers), cmocka_unit_test(test_patches),
                cmocka_unit_test(test_cycles),     cmocka_unit_test(test_damage),
                cmocka_unit_test(test_wal),        cmocka_unit_test(test_compare),
                cmocka_unit_test(test_alloc),      cmocka_unit_test(test_alloc_wal),
        };

        return cmocka_run_group_tests_name("image_packages", tests, NULL, NULL);
}
