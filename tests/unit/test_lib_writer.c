/* The layer writer: what it makes is what readers read, and what no layer can hold is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/sb.h"
#include "bld/layer.h"
#include "layer_fixture.h"

struct sunk {
        struct sb b;
        size_t calls;
        size_t fail_at; /* 0: never; else the call that fails with EDQUOT */
};

static int sink(void *user, const void *p, size_t n)
{
        struct sunk *s = user;

        if (++s->calls == s->fail_at)
                return EDQUOT;
        sb_add(&s->b, p, n);
        return s->b.failed ? ENOMEM : 0;
}

static struct bld_layer_writer *open_writer(struct sunk *s, enum bld_layer_codec codec)
{
        const struct bld_layer_create_opts o = {
                .size = sizeof(o), .codec = codec, .all_xattrs = true, .threads = 1};
        const struct bld_output out = {.size = sizeof(out), .fd = -1, .write = sink, .user = s};
        struct bld_layer_writer *w = NULL;
        struct bld_err err = BLD_ERR_INIT;

        s->b = SB_INIT(LF_MAX);
        if (bld_layer_writer_open(&out, &o, &w, &err) < 0)
                fail_msg("%s", err.msg);
        return w;
}

#define E(t, p, ...)                                                                          \
        {                                                                                     \
                .size = sizeof(struct bld_layer_entry), .path = (p), .type = (t), __VA_ARGS__ \
        }

static const struct bld_layer_entry good[] = {
        E(BLD_LAYER_DIR, "", .mode = 0755),
        E(BLD_LAYER_DIR, "d", .mode = 01777, .uid = 4000000000u, .gid = 5,
          .mtime_ns = 1700000000000000000),
        E(BLD_LAYER_OPAQUE, "d"),
        E(BLD_LAYER_FILE, "d/f", .mode = 04755, .file_size = 5, .mtime_ns = -1000000000),
        E(BLD_LAYER_HARDLINK, "d/g", .mode = 0644, .link = "d/f"),
        E(BLD_LAYER_SYMLINK, "d/s", .mode = 0777, .link = "../x y\n"),
        E(BLD_LAYER_HARDLINK, "d/t", .link = "d/s"),
        E(BLD_LAYER_CHAR, "c", .mode = 0600, .dev_major = 1, .dev_minor = 3),
        E(BLD_LAYER_BLOCK, "b", .mode = 0600, .dev_major = 2097151, .dev_minor = 2097151),
        E(BLD_LAYER_FIFO, "p", .mode = 0644),
        E(BLD_LAYER_WHITEOUT, "gone"),
        E(BLD_LAYER_FILE, "\xc3\xa4/\xff\x01", .mode = 0600),
        E(BLD_LAYER_WHITEOUT, "\xc3\xa4/old"),
};
static const struct bld_layer_xattr attrs[] = {{"user.z", "1\0=\n2", 5}, {"user.a", "", 0}};

static void write_good(struct bld_layer_writer *w)
{
        struct bld_err err = BLD_ERR_INIT;

        for (size_t i = 0; i < ARRAY_LEN(good); i++) {
                struct bld_layer_entry e = good[i];

                e.nxattrs = strcmp(e.path, "d/f") == 0 ? 2 : 0;
                if (bld_layer_writer_entry(w, &e, e.nxattrs ? attrs : NULL, &err) < 0)
                        fail_msg("%s: %s", e.path, err.msg);
                if (e.file_size == 0)
                        continue;
                assert_int_equal(bld_layer_writer_data(w, "he", 2, NULL), 0);
                assert_int_equal(bld_layer_writer_data(w, "", 0, NULL), 0);
                assert_int_equal(bld_layer_writer_data(w, "llo", 3, NULL), 0);
        }
}

static void check_entry(const struct bld_layer_entry *have, const struct bld_layer_entry *want)
{
        bool wh = want->type >= BLD_LAYER_WHITEOUT;

        assert_string_equal(have->path, want->path);
        assert_int_equal(have->type, want->type);
        assert_int_equal(have->file_size, want->file_size);
        if (wh)
                return;
        assert_int_equal(have->mode, want->mode);
        assert_int_equal(have->uid, want->uid);
        assert_int_equal(have->gid, want->gid);
        assert_int_equal(have->mtime_ns, want->mtime_ns);
        assert_int_equal(have->dev_major, want->dev_major);
        assert_int_equal(have->dev_minor, want->dev_minor);
        if (want->link)
                assert_string_equal(have->link, want->link);
        else
                assert_null(have->link);
}

struct from {
        const char *p;
        size_t n, step;
};

static int64_t pull(void *user, void *p, size_t n)
{
        struct from *f = user;

        n = MIN(MIN(n, f->n), f->step);
        memcpy(p, f->p, n);
        f->p += n;
        f->n -= n;
        return (int64_t)n;
}

static void check_stream(const struct sb *layer, const struct bld_layer_created *made)
{
        struct from f = {sb_text(layer), layer->len, 1000};
        const struct bld_input in = {.size = sizeof(in), .fd = -1, .read = pull, .user = &f};
        const struct bld_layer_stream_opts o = {
                .size = sizeof(o), .digest = made->digest, .diff_id = made->diff_id};
        struct bld_layer_created got = {.size = sizeof(got)};
        struct bld_layer_stream *s = NULL;
        const struct bld_layer_entry *e = NULL;
        struct bld_err err = BLD_ERR_INIT;
        char buf[8] = "";
        size_t i = 0;
        int r;

        assert_int_equal(bld_layer_stream_open(&in, &o, &s, &err), 0);
        while ((r = bld_layer_stream_next(s, &e, &err)) > 0) {
                const char *name;
                const void *v;
                size_t n;

                check_entry(e, &good[i]);
                assert_int_equal(e->index, i++);
                if (strcmp(e->path, "d/f") != 0)
                        continue;
                assert_int_equal(e->nxattrs, 2);
                assert_int_equal(bld_layer_stream_xattr(s, 1, &name, &v, &n, NULL), 0);
                assert_string_equal(name, "user.z");
                assert_int_equal(n, 5);
                assert_memory_equal(v, "1\0=\n2", 5);
                assert_int_equal(bld_layer_stream_xattr(s, 2, &name, &v, &n, NULL),
                                 BLD_E_NOT_FOUND);
                assert_int_equal(bld_layer_stream_read(s, buf, 3, &err), 3);
                assert_memory_equal(buf, "hel", 3); /* the rest is skipped */
        }
        if (r < 0)
                fail_msg("%s", err.msg);
        assert_int_equal(i, ARRAY_LEN(good));
        assert_int_equal(bld_layer_stream_end(s, &got, &err), 0);
        assert_string_equal(got.digest, made->digest);
        assert_string_equal(got.diff_id, made->diff_id);
        assert_string_equal(got.media_type, made->media_type);
        assert_int_equal(got.tar_size, made->tar_size);
        assert_int_equal(got.file_size, layer->len);
        bld_layer_stream_close(s);
}

static void round_trip(void **state)
{
        static const enum bld_layer_codec codecs[] = {BLD_LAYER_TAR, BLD_LAYER_GZIP,
                                                      BLD_LAYER_ZSTD};

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(codecs); i++) {
                struct bld_layer_created made = {.size = sizeof(made)}, again = made;
                struct sunk a = {.calls = 0}, b = {.calls = 0};
                struct bld_layer_writer *w = open_writer(&a, codecs[i]);

                write_good(w);
                assert_int_equal(bld_layer_writer_end(w, &made, NULL), 0);
                assert_int_equal(bld_layer_writer_end(w, &made, NULL), BLD_E_USAGE);
                bld_layer_writer_close(w);
                check_stream(&a.b, &made);
                w = open_writer(&b, codecs[i]);
                write_good(w);
                assert_int_equal(bld_layer_writer_end(w, &again, NULL), 0);
                bld_layer_writer_close(w);
                assert_string_equal(made.digest, again.digest);
                assert_int_equal(a.b.len, b.b.len);
                assert_memory_equal(sb_text(&a.b), sb_text(&b.b), a.b.len);
                sb_done(&a.b);
                sb_done(&b.b);
        }
}

/* GNU tar, which did not write it, lists the same names. */
static void oracle(void **state)
{
        struct sunk s = {.calls = 0};
        struct bld_layer_writer *w = open_writer(&s, BLD_LAYER_TAR);
        const struct bld_layer_entry e = E(BLD_LAYER_FILE, "a/long", .mode = 0640, .uid = 12,
                                           .gid = 13, .file_size = 3, .mtime_ns = 1000000000);
        struct sb out = SB_INIT(LF_MAX);

        (void)state;
        assert_int_equal(bld_layer_writer_entry(w, &e, NULL, NULL), 0);
        assert_int_equal(bld_layer_writer_data(w, "abc", 3, NULL), 0);
        assert_int_equal(bld_layer_writer_end(w, NULL, NULL), 0);
        bld_layer_writer_close(w);
        lf_sh("TZ=UTC tar --numeric-owner -tvf - | tr -s ' '", "", sb_text(&s.b), s.b.len, &out);
        assert_string_equal(sb_text(&out), "-rw-r----- 12/13 3 1970-01-01 00:00 a/long\n");
        sb_done(&out);
        sb_done(&s.b);
}

#define LONG256                                                            \
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" \
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" \
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" \
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

/* Each after "d" (folder), "d/f" (file), "i/x" (file; "i" is implied), "w" (whiteout). */
static const struct bld_layer_entry bad[] = {
        {.size = 0, .path = "x", .type = BLD_LAYER_DIR},
        E(BLD_LAYER_FILE, NULL),
        E(BLD_LAYER_FILE, ""),
        E(BLD_LAYER_WHITEOUT, ""),
        E(BLD_LAYER_FILE, "/abs"),
        E(BLD_LAYER_FILE, "a/"),
        E(BLD_LAYER_FILE, "a//b"),
        E(BLD_LAYER_FILE, "./a"),
        E(BLD_LAYER_FILE, "a/."),
        E(BLD_LAYER_FILE, ".."),
        E(BLD_LAYER_FILE, "../a"),
        E(BLD_LAYER_FILE, "a/../b"),
        E(BLD_LAYER_FILE, ".wh.a"),
        E(BLD_LAYER_DIR, "a/.wh..wh..opq"),
        E(BLD_LAYER_FILE, ".wh.d/x"),
        E(BLD_LAYER_WHITEOUT, ".wh.x"),
        E(BLD_LAYER_FILE, LONG256),
        E(BLD_LAYER_WHITEOUT, LONG256),
        E(BLD_LAYER_FILE, "d/f"),
        E(BLD_LAYER_DIR, "d"),
        E(BLD_LAYER_WHITEOUT, "d"),
        E(BLD_LAYER_FILE, "w"),
        E(BLD_LAYER_DIR, "i"),
        E(BLD_LAYER_FILE, "i"),
        E(BLD_LAYER_DIR, ""), /* after what is in it */
        E(BLD_LAYER_FILE, "d/f/x"),
        E(BLD_LAYER_FILE, "d/f/y/z"),
        E(BLD_LAYER_FILE, "w/x"),
        E(BLD_LAYER_OPAQUE, "d/f"),
        E(BLD_LAYER_HARDLINK, "h"),
        E(BLD_LAYER_HARDLINK, "h", .link = ""),
        E(BLD_LAYER_HARDLINK, "h", .link = "nothing"),
        E(BLD_LAYER_HARDLINK, "h", .link = "d"),
        E(BLD_LAYER_HARDLINK, "h", .link = "w"),
        E(BLD_LAYER_HARDLINK, "h", .link = "h"),
        E(BLD_LAYER_HARDLINK, "h", .link = "/d/f"),
        E(BLD_LAYER_SYMLINK, "s"),
        E(BLD_LAYER_SYMLINK, "s", .link = ""),
        E(BLD_LAYER_FILE, "f", .link = "x"),
        E(BLD_LAYER_DIR, "f", .file_size = 1),
        E(BLD_LAYER_FILE, "f", .file_size = UINT64_MAX),
        E(BLD_LAYER_FILE, "f", .mode = 0100644),
        E(BLD_LAYER_FILE, "f", .dev_major = 1),
        E(BLD_LAYER_CHAR, "f", .dev_major = 0xffffffff),
        E(BLD_LAYER_FILE, "f", .nxattrs = 1), /* without any */
        E(BLD_LAYER_FILE, "f", .nxattrs = 100000),
        {.size = sizeof(struct bld_layer_entry), .path = "f", .type = (enum bld_layer_type)99},
};

static void start(struct bld_layer_writer *w)
{
        static const struct bld_layer_entry v[] = {
                E(BLD_LAYER_DIR, "d", .mode = 0755), E(BLD_LAYER_FILE, "d/f", .mode = 0644),
                E(BLD_LAYER_FILE, "i/x", .mode = 0644), E(BLD_LAYER_WHITEOUT, "w")};

        for (size_t i = 0; i < ARRAY_LEN(v); i++)
                assert_int_equal(bld_layer_writer_entry(w, &v[i], NULL, NULL), 0);
}

/* What is refused leaves no trace: the bytes are those of a layer nobody tried anything with. */
static void refused(void **state)
{
        const struct bld_layer_xattr wrong[] = {{"", "", 0},      {"user.a=b", "", 0},
                                                {NULL, "", 0},    {"user.a", NULL, 1},
                                                {LONG256, "", 0}, {"user.a", "", (size_t)-1}};
        const struct bld_layer_xattr twice[] = {{"user.a", "", 0}, {"user.a", "", 0}};
        struct bld_layer_entry e = E(BLD_LAYER_FILE, "x", .mode = 0644, .nxattrs = 1);
        struct sunk clean = {.calls = 0}, tried = {.calls = 0};
        struct bld_layer_writer *w = open_writer(&clean, BLD_LAYER_TAR);

        (void)state;
        start(w);
        e = (struct bld_layer_entry)E(BLD_LAYER_FILE, "last", .mode = 0644, .file_size = 4);
        assert_int_equal(bld_layer_writer_entry(w, &e, NULL, NULL), 0);
        assert_int_equal(bld_layer_writer_data(w, "data", 4, NULL), 0);
        assert_int_equal(bld_layer_writer_end(w, NULL, NULL), 0);
        bld_layer_writer_close(w);

        w = open_writer(&tried, BLD_LAYER_TAR);
        start(w);
        for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
                struct bld_err err = BLD_ERR_INIT;
                int r = bld_layer_writer_entry(w, &bad[i], NULL, &err);

                if (r != (bad[i].size ? BLD_E_INVALID : BLD_E_USAGE) || !err.msg[0])
                        fail_msg("%zu \"%s\": %d %s", i, bad[i].path ? bad[i].path : "(null)", r,
                                 err.msg);
        }
        e = (struct bld_layer_entry)E(BLD_LAYER_FILE, "x", .mode = 0644, .nxattrs = 1);
        for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
                assert_int_equal(bld_layer_writer_entry(w, &e, &wrong[i], NULL), BLD_E_INVALID);
        e.nxattrs = 2;
        assert_int_equal(bld_layer_writer_entry(w, &e, twice, NULL), BLD_E_INVALID);
        e = (struct bld_layer_entry)E(BLD_LAYER_SYMLINK, "sl", .link = "x", .file_size = 1);
        assert_int_equal(bld_layer_writer_entry(w, &e, NULL, NULL), BLD_E_INVALID);
        assert_int_equal(bld_layer_writer_data(w, "x", 1, NULL), BLD_E_INVALID); /* of what? */
        e = (struct bld_layer_entry)E(BLD_LAYER_FILE, "last", .mode = 0644, .file_size = 4);
        assert_int_equal(bld_layer_writer_entry(w, &e, NULL, NULL), 0);
        assert_int_equal(bld_layer_writer_data(w, "dat", 3, NULL), 0);
        assert_int_equal(bld_layer_writer_data(w, "a+", 2, NULL), BLD_E_INVALID);
        assert_int_equal(bld_layer_writer_entry(w, &good[3], NULL, NULL), BLD_E_INVALID);
        assert_int_equal(bld_layer_writer_end(w, NULL, NULL), BLD_E_INVALID);
        assert_int_equal(bld_layer_writer_data(w, "a", 1, NULL), 0);
        assert_int_equal(bld_layer_writer_end(w, NULL, NULL), 0);
        assert_int_equal(bld_layer_writer_entry(w, &e, NULL, NULL), BLD_E_USAGE);
        bld_layer_writer_close(w);
        assert_int_equal(clean.b.len, tried.b.len);
        assert_memory_equal(sb_text(&clean.b), sb_text(&tried.b), clean.b.len);
        sb_done(&clean.b);
        sb_done(&tried.b);
}

/* The longest names that are taken can be read again. */
static void longest(void **state)
{
        struct bld_layer_entry e = E(BLD_LAYER_WHITEOUT, LONG256 + 1);
        char path[4097];
        struct sunk s = {.calls = 0};
        struct bld_layer_writer *w = open_writer(&s, BLD_LAYER_GZIP);
        struct bld_err err = BLD_ERR_INIT;
        struct bld_layer *l = NULL;
        int fd = memfd_create("layer", 0);

        (void)state;
        assert_int_equal(bld_layer_writer_entry(w, &e, NULL, NULL), 0);
        memset(path, 'x', sizeof(path));
        for (size_t i = 255; i < sizeof(path); i += 256)
                path[i] = '/';
        path[4096] = '\0';
        path[4095] = 'x';
        path[3839] = 'y'; /* one name too long now */
        e = (struct bld_layer_entry)E(BLD_LAYER_FILE, path, .mode = 0644);
        assert_int_equal(bld_layer_writer_entry(w, &e, NULL, NULL), BLD_E_INVALID);
        path[3839] = '/';
        path[4000] = '/';
        if (bld_layer_writer_entry(w, &e, NULL, &err) < 0)
                fail_msg("%s", err.msg);
        assert_int_equal(bld_layer_writer_end(w, NULL, NULL), 0);
        bld_layer_writer_close(w);
        assert_int_equal(write(fd, sb_text(&s.b), s.b.len), s.b.len);
        if (bld_layer_open(fd, NULL, &l, &err) < 0)
                fail_msg("%s", err.msg);
        assert_non_null(bld_layer_find(l, path));
        assert_int_equal(bld_layer_find(l, LONG256 + 1)->type, BLD_LAYER_WHITEOUT);
        bld_layer_close(l);
        close(fd);
        sb_done(&s.b);
}

static bool stop_now(void *user)
{
        (void)user;
        return true;
}

static void failing(void **state)
{
        const struct bld_watch watch = {.size = sizeof(watch), .stop = stop_now};
        const struct bld_layer_create_opts o = {.size = sizeof(o), .watch = &watch};
        const struct bld_layer_entry e =
                E(BLD_LAYER_FILE, "big", .mode = 0644, .file_size = 8u << 20);
        struct bld_output out = {.size = sizeof(out), .fd = -1};
        struct bld_err err = BLD_ERR_INIT;
        struct bld_layer_writer *w;
        static char mb[1 << 20];
        struct sunk s = {.fail_at = 2};
        int r = 0;

        (void)state;
        assert_int_equal(bld_layer_writer_open(&out, NULL, &w, NULL), BLD_E_USAGE);
        assert_int_equal(bld_layer_writer_open(NULL, NULL, &w, NULL), BLD_E_USAGE);
        w = open_writer(&s, BLD_LAYER_TAR);
        r = bld_layer_writer_entry(w, &e, NULL, &err);
        for (int i = 0; r == 0 && i < 8; i++)
                r = bld_layer_writer_data(w, mb, sizeof(mb), &err);
        if (r == 0)
                r = bld_layer_writer_end(w, NULL, &err);
        assert_int_equal(r, BLD_E_SYS);
        assert_int_equal(err.sys, EDQUOT);
        assert_int_equal(bld_layer_writer_end(w, NULL, NULL), BLD_E_SYS); /* and stays so */
        bld_layer_writer_close(w);
        sb_done(&s.b);

        s = (struct sunk){.b = SB_INIT(LF_MAX)};
        out = (struct bld_output){.size = sizeof(out), .fd = -1, .write = sink, .user = &s};
        assert_int_equal(bld_layer_writer_open(&out, &o, &w, NULL), 0);
        assert_int_equal(bld_layer_writer_entry(w, &e, NULL, NULL), BLD_E_CANCELLED);
        bld_layer_writer_close(w); /* in the middle */
        sb_done(&s.b);
}

static void clamped(void **state)
{
        const struct bld_layer_create_opts o = {
                .size = sizeof(o), .codec = BLD_LAYER_TAR, .clamp = true, .clamp_sec = 100};
        const struct bld_layer_entry v[] = {
                E(BLD_LAYER_DIR, "new", .mtime_ns = 200500000000),
                E(BLD_LAYER_DIR, "old", .mtime_ns = 50500000000),
        };
        int fd = memfd_create("layer", 0);
        const struct bld_output out = {.size = sizeof(out), .fd = fd};
        struct bld_layer_writer *w;
        struct bld_layer *l;

        (void)state;
        assert_int_equal(bld_layer_writer_open(&out, &o, &w, NULL), 0);
        for (size_t i = 0; i < ARRAY_LEN(v); i++)
                assert_int_equal(bld_layer_writer_entry(w, &v[i], NULL, NULL), 0);
        assert_int_equal(bld_layer_writer_end(w, NULL, NULL), 0);
        bld_layer_writer_close(w);
        assert_int_equal(bld_layer_open(fd, NULL, &l, NULL), 0);
        assert_int_equal(bld_layer_entry(l, 0)->mtime_ns, 100000000000);
        assert_int_equal(bld_layer_entry(l, 1)->mtime_ns, 50000000000);
        bld_layer_close(l);
        close(fd);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(round_trip), cmocka_unit_test(oracle),  cmocka_unit_test(refused),
                cmocka_unit_test(longest),    cmocka_unit_test(failing), cmocka_unit_test(clamped),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
