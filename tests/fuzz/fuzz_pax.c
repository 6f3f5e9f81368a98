/* Extended headers: the bytes are the body of one, before an entry with data and a second entry.
 * What is read keeps what layer.h promises, and what can be written again reads the same.
 *
 * The first byte is the kind of header (0x80: global) and the entry's type. */
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "layer/tar_priv.h"
#include "tests/fuzz/memory.h"

#define STEP 777u /* no block ends where a read does */
#define GLOBAL 0x80
#define TAR_MAX (4u << 20)
#define MTIME 1000000
#define SECOND "after"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A file's data: a map of GNU's form 1.0 with one extent, and that extent. */
static const char file_map[] = "1\n512\n512\n";
#define DATA_LEN (2 * TAR_BLOCK)

static void fail(const char *what, const char *path)
{
        (void)fprintf(stderr, "pax: %s: \"%s\"\n", what, path);
        abort();
}

/* ---- the tar ---- */

static void put_header(struct sb *tar, char type, const char *name, size_t n)
{
        char h[TAR_BLOCK] = {0};
        unsigned sum = 0;

        (void)snprintf(h, 100, "%s", name);
        (void)snprintf(h + 100, 8, "%07o", 0644u);
        (void)snprintf(h + 108, 8, "%07o", 5u);
        (void)snprintf(h + 116, 8, "%07o", 6u);
        (void)snprintf(h + 124, 12, "%011zo", n);
        (void)snprintf(h + 136, 12, "%011o", (unsigned)MTIME);
        h[156] = type;
        (void)snprintf(h + 157, 100, "%s", type == '1' || type == '2' ? "dir/link" : "");
        memcpy(h + 257, "ustar\00000", 8);
        (void)snprintf(h + 329, 8, "%07o", 1u);
        (void)snprintf(h + 337, 8, "%07o", 3u);
        memset(h + 148, ' ', 8);
        for (size_t i = 0; i < sizeof(h); i++)
                sum += (unsigned char)h[i];
        (void)snprintf(h + 148, 8, "%06o", sum);
        sb_add(tar, h, sizeof(h));
}

static void put_body(struct sb *tar, const void *p, size_t n)
{
        static const char zeros[TAR_BLOCK];

        sb_add(tar, p, n);
        sb_add(tar, zeros, (TAR_BLOCK - n % TAR_BLOCK) % TAR_BLOCK);
}

static void make_tar(struct sb *tar, uint8_t choice, const uint8_t *body, size_t n)
{
        static const char types[] = {'0', '5', '2', '1', '3', '4', '6', 0};
        char type = types[choice % ARRAY_LEN(types)];
        bool file = type == '0' || !type;
        char data[DATA_LEN] = {0};

        put_header(tar, choice & GLOBAL ? 'g' : 'x', "pax", n);
        put_body(tar, body, n);
        put_header(tar, type, "dir/name", file ? sizeof(data) : 0);
        memcpy(data, file_map, sizeof(file_map) - 1);
        memset(data + TAR_BLOCK, 'd', TAR_BLOCK);
        if (file)
                put_body(tar, data, sizeof(data));
        put_header(tar, '0', SECOND, 0);
        memset(data, 0, sizeof(data));
        sb_add(tar, data, sizeof(data));
        if (sb_check(tar, "tar", NULL) < 0)
                abort();
}

/* ---- what every entry keeps ---- */

static void check_path(const char *what, const char *path)
{
        if (strlen(path) > LY_PATH_MAX)
                fail("too long", what);
        for (const char *p = path; *p;) {
                size_t n = strcspn(p, "/");

                if (!n || n > LY_NAME_MAX || (n == 1 && *p == '.') ||
                    (n == 2 && p[0] == '.' && p[1] == '.') || (p[n] && !p[n + 1]))
                        fail("not clean", what);
                p += n + (p[n] == '/');
        }
}

static void check_xattrs(const struct ly_entry *e, size_t body)
{
        size_t sum = 0;

        for (size_t i = 0; i < e->nxattrs; i++) {
                sum += strlen("5 SCHILY.xattr.=\n") + strlen(e->xattrs[i].name) + e->xattrs[i].len;
                if (!*e->xattrs[i].name)
                        fail("an attribute without a name", e->path);
                for (size_t k = 0; k < i; k++)
                        if (str_eq(e->xattrs[i].name, e->xattrs[k].name))
                                fail("an attribute twice", e->path);
        }
        if (sum > body || e->nxattrs > LY_XATTRS_MAX)
                fail("more attributes than the header holds", e->path);
}

static void check_entry(const struct ly_entry *e, size_t body)
{
        check_path(e->path, e->path);
        if (e->type > LY_OPAQUE || e->mode > 07777)
                fail("type or mode", e->path);
        if (!*e->path && e->type != LY_DIR && e->type != LY_OPAQUE)
                fail("no name", e->path);
        if (e->size > TAR_MAX / 2 || (e->size && e->type != LY_FILE))
                fail("size", e->path);
        if ((e->type == LY_SYMLINK || e->type == LY_HARDLINK) && (!e->link || !*e->link))
                fail("no target", e->path);
        if (e->type == LY_HARDLINK)
                check_path(e->path, e->link);
        check_xattrs(e, body);
}

/* Nothing of the extended header stays for the entry after. */
static void check_second(const struct ly_entry *e)
{
        if (!str_eq(e->path, SECOND) || e->type != LY_FILE || e->size || e->nxattrs ||
            e->uid != 5 || e->gid != 6 || e->mtime_ns != (int64_t)MTIME * 1000000000)
                fail("not what its own header says", e->path);
}

/* ---- written again ---- */

static const struct ly_xattr *find_xattr(const struct ly_entry *e, const char *name)
{
        for (size_t i = 0; i < e->nxattrs; i++)
                if (str_eq(e->xattrs[i].name, name))
                        return &e->xattrs[i];
        return NULL;
}

/* As it is written: some are left out, capabilities have one form. */
static void same_xattrs(const struct ly_entry *a, const struct ly_entry *b)
{
        size_t n = 0;

        for (size_t i = 0; i < a->nxattrs && a->type != LY_HARDLINK; i++) {
                const struct ly_xattr *x = &a->xattrs[i], *y = find_xattr(b, x->name);
                const unsigned char *want = x->value;
                unsigned char cap[20];
                size_t len = x->len;

                if (!ly_xattr_wanted(x->name, true))
                        continue;
                if (str_eq(x->name, "security.capability")) {
                        if (!ly_cap_v2(x->value, x->len, cap))
                                continue;
                        want = cap;
                        len = sizeof(cap);
                }
                n++;
                if (!y || y->len != len || memcmp(y->value, want, len) != 0)
                        fail("another attribute", x->name);
        }
        if (n != b->nxattrs)
                fail("other attributes", a->path);
}

static int64_t whole_seconds(int64_t ns)
{
        return ns / 1000000000 - (ns % 1000000000 < 0);
}

static void same_entry(const struct ly_entry *a, const struct ly_entry *b)
{
        if (!str_eq(a->path, b->path) || a->type != b->type || a->size != b->size)
                fail("another name, type or size", a->path);
        if (a->type == LY_WHITEOUT || a->type == LY_OPAQUE)
                return; /* their attributes are normalised */
        if ((a->link != NULL) != (b->link != NULL) || (a->link && !str_eq(a->link, b->link)))
                fail("another target", a->path);
        if (a->mode != b->mode || a->uid != b->uid || a->gid != b->gid)
                fail("another owner or mode", a->path);
        if (whole_seconds(a->mtime_ns) != whole_seconds(b->mtime_ns))
                fail("another time", a->path);
        if ((a->type == LY_CHAR || a->type == LY_BLOCK) &&
            (a->dev_major != b->dev_major || a->dev_minor != b->dev_minor))
                fail("another device", a->path);
        same_xattrs(a, b);
}

/* false when the tar ends first, which is an error with a message. */
static bool read_file(struct ly_reader *r, const struct ly_entry *e, struct sb *ret,
                      struct bld_err *err)
{
        char buf[1000];
        ssize_t n;

        sb_reset(ret);
        while ((n = ly_reader_data(r, buf, sizeof(buf), err)) > 0)
                sb_add(ret, buf, (size_t)n);
        if (n < 0 ? ret->len > e->size || !*err->msg : ret->len != e->size)
                fail("other data than its size says", e->path);
        return n == 0;
}

static void check_again(const struct ly_entry *e, const struct sb *data)
{
        const struct ly_writer_opts wo = {.all_xattrs = true};
        const struct ly_limits lim = {.bytes = TAR_MAX};
        AUTO_SB struct sb tar = SB_INIT(TAR_MAX), again = SB_INIT(TAR_MAX);
        struct ly_sink out = memory_sink(&tar);
        struct memory m = {.n = 0};
        struct ly_source in = memory_source(&m);
        AUTO(ly_writer_free_p) struct ly_writer *w = NULL;
        AUTO(ly_reader_free_p) struct ly_reader *r = NULL;
        struct bld_err err = BLD_ERR_INIT;
        const struct ly_entry *e2;
        int code;

        if (ly_writer_new(&out, &wo, &w, NULL) < 0 || ly_reader_new(&in, &lim, &r, NULL) < 0)
                abort();
        code = ly_writer_entry(w, e, &err);
        if (code == BLD_E_INVALID || code == BLD_E_LIMIT)
                return; /* what bld puts into no layer */
        if (code < 0 || ly_writer_data(w, sb_text(data), data->len, &err) < 0 ||
            ly_writer_end(w, &err) < 0)
                fail("not written", err.msg);
        m = memory_of(&tar, STEP);
        if (ly_reader_next(r, &e2, &err) != 1)
                fail("not read again", err.msg);
        same_entry(e, e2);
        if (!read_file(r, e2, &again, &err) ||
            memcmp(sb_text(&again), sb_text(data), data->len) != 0)
                fail("other data", e->path);
        if (ly_reader_next(r, &e2, &err) != 0)
                fail("no end", e->path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const struct ly_limits lim = {.bytes = TAR_MAX / 2, .entries = 10};
        AUTO_SB struct sb tar = SB_INIT(TAR_MAX), content = SB_INIT(TAR_MAX);
        struct memory m = {.n = 0};
        struct ly_source in = memory_source(&m);
        AUTO(ly_reader_free_p) struct ly_reader *r = NULL;
        struct bld_err err = BLD_ERR_INIT;
        const struct ly_entry *e;
        size_t shown = 0;
        int code;

        if (size < 1 || size > TAR_MAX / 4)
                return 0;
        make_tar(&tar, *data, data + 1, size - 1);
        m = memory_of(&tar, STEP);
        if (ly_reader_new(&in, &lim, &r, NULL) < 0)
                abort();
        while ((code = ly_reader_next(r, &e, &err)) == 1) {
                if (++shown == 2)
                        check_second(e);
                check_entry(e, size - 1);
                if (!read_file(r, e, &content, &err))
                        return 0;
                check_again(e, &content);
        }
        if (shown > 2 || (code < 0 && !*err.msg))
                fail("too many entries, or no message", "");
        if ((*data & GLOBAL) && size - 1 <= LY_PAX_MAX && (code || shown != 2))
                fail("a global header counts", err.msg);
        return 0;
}
