/* Layer streams: constant memory, early ends, digests, damage, and callers that fail or stop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/num.h"
#include "base/sb.h"
#include "bld/layer.h"
#include "layer_fixture.h"

static const enum bld_layer_codec codecs[] = {BLD_LAYER_TAR, BLD_LAYER_GZIP, BLD_LAYER_ZSTD};

/* A layer of many files, some MB. */
static void make(enum bld_layer_codec codec, struct sb *out, struct bld_layer_created *ret)
{
        const struct bld_layer_create_opts o = {.size = sizeof(o), .codec = codec, .threads = 1};
        AUTO_FD int fd = memfd_create("layer", MFD_CLOEXEC);
        const struct bld_output to = {.size = sizeof(to), .fd = fd};
        static unsigned char noise[40000];
        struct bld_layer_writer *w;

        assert_int_equal(bld_layer_writer_open(&to, &o, &w, NULL), 0);
        for (unsigned i = 0; i < 200; i++) {
                char name[16];
                const struct bld_layer_entry e = {.size = sizeof(e),
                                                  .path = name,
                                                  .type = BLD_LAYER_FILE,
                                                  .mode = 0644,
                                                  .file_size = sizeof(noise)};

                lf_noise(noise, sizeof(noise), i);
                (void)snprintf(name, sizeof(name), "f%u", i);
                assert_int_equal(bld_layer_writer_entry(w, &e, NULL, NULL), 0);
                assert_int_equal(bld_layer_writer_data(w, noise, sizeof(noise), NULL), 0);
        }
        ret->size = sizeof(*ret);
        assert_int_equal(bld_layer_writer_end(w, ret, NULL), 0);
        bld_layer_writer_close(w);
        *out = SB_INIT(LF_MAX);
        assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
        assert_int_equal(fd_read_all(fd, out, "layer", NULL), 0);
}

struct from {
        const char *p;
        size_t n, given, step;
        size_t fail_after; /* 0: never; an errno comes after so many bytes */
        int fail_with;
};

static int64_t pull(void *user, void *p, size_t n)
{
        struct from *f = user;

        if (f->fail_after && f->given >= f->fail_after)
                return -f->fail_with;
        n = MIN(MIN(n, f->n - f->given), f->step);
        memcpy(p, f->p + f->given, n);
        f->given += n;
        return (int64_t)n;
}

static struct bld_layer_stream *stream(struct from *f, const struct bld_layer_stream_opts *o)
{
        const struct bld_input in = {.size = sizeof(in), .fd = -1, .read = pull, .user = f};
        struct bld_layer_stream *s = NULL;

        assert_int_equal(bld_layer_stream_open(&in, o, &s, NULL), 0);
        return s;
}

/* Who wants one entry reads little more than that. */
static void early_end(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(codecs); i++) {
                struct bld_layer_created made;
                const struct bld_layer_entry *e;
                struct bld_layer_stream *s;
                struct from f = {.step = 1u << 20};
                struct sb b;
                char byte;

                make(codecs[i], &b, &made);
                assert_true(b.len > 3u << 20);
                f.p = sb_text(&b);
                f.n = b.len;
                s = stream(&f, NULL);
                assert_int_equal(bld_layer_stream_next(s, &e, NULL), 1);
                assert_int_equal(bld_layer_stream_read(s, &byte, 1, NULL), 1);
                bld_layer_stream_close(s);
                assert_true(f.given <= 256u << 10);
                sb_done(&b);
        }
}

static void digests(void **state)
{
        static const char wrong[] =
                "sha256:0000000000000000000000000000000000000000000000000000000000000000";
        static const char other[] =
                "sha512:0000000000000000000000000000000000000000000000000000000000000000"
                "0000000000000000000000000000000000000000000000000000000000000000";

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(codecs); i++) {
                struct bld_layer_created made;
                struct bld_layer_stream_opts o = {.size = sizeof(o)};
                struct bld_layer_stream *s;
                struct bld_err err = BLD_ERR_INIT;
                struct sb b;
                struct from f, g;

                make(codecs[i], &b, &made);
                f = g = (struct from){.p = sb_text(&b), .n = b.len, .step = 1111};
                o.digest = made.digest;
                o.diff_id = made.diff_id;
                s = stream(&f, &o);
                assert_int_equal(bld_layer_stream_end(s, NULL, NULL), 0);
                assert_int_equal(f.given, b.len);
                bld_layer_stream_close(s);
                o.diff_id = wrong;
                f = g;
                s = stream(&f, &o);
                assert_int_equal(bld_layer_stream_end(s, NULL, &err), BLD_E_CORRUPT);
                assert_non_null(strstr(err.msg, "diff ID"));
                bld_layer_stream_close(s);
                o.digest = wrong;
                o.diff_id = NULL;
                f = g;
                s = stream(&f, &o);
                assert_int_equal(bld_layer_stream_end(s, NULL, NULL), BLD_E_CORRUPT);
                assert_int_equal(bld_layer_stream_end(s, NULL, NULL), BLD_E_CORRUPT);
                bld_layer_stream_close(s);
                o.digest = other; /* which nobody computed: it may well be right */
                f = g;
                s = stream(&f, &o);
                assert_int_equal(bld_layer_stream_end(s, NULL, NULL), BLD_E_UNSUPPORTED);
                bld_layer_stream_close(s);
                sb_done(&b);
        }
}

/* Wherever a layer is cut or a bit is turned: an end with an error, or (a bit that means nothing)
 * the same diff ID, but never another tree that passes. */
static void damage(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(codecs); i++) {
                struct bld_layer_created made;
                struct bld_layer_stream_opts o = {.size = sizeof(o)};
                struct sb b;

                make(codecs[i], &b, &made);
                o.diff_id = made.diff_id;
                for (size_t k = 0; k < 13; k++) {
                        struct from f = {.p = sb_text(&b), .n = b.len * k / 13, .step = 1u << 20};
                        struct bld_layer_stream *s = stream(&f, &o);
                        int r = bld_layer_stream_end(s, NULL, NULL);

                        assert_int_equal(r, BLD_E_CORRUPT);
                        bld_layer_stream_close(s);
                        f.n = b.len;
                        f.given = 0;
                        b.buf[b.len * k / 13] ^= 0x10;
                        s = stream(&f, &o);
                        r = bld_layer_stream_end(s, NULL, NULL);
                        assert_true(r == 0 || r == BLD_E_CORRUPT || r == BLD_E_LIMIT);
                        bld_layer_stream_close(s);
                        b.buf[b.len * k / 13] ^= 0x10;
                }
                sb_done(&b);
        }
}

static void limits(void **state)
{
        struct bld_layer_created made;
        struct bld_layer_stream_opts o = {.size = sizeof(o), .max_bytes = 1u << 20};
        struct bld_layer_stream *s;
        struct sb b;
        struct from f;

        (void)state;
        make(BLD_LAYER_GZIP, &b, &made);
        f = (struct from){.p = sb_text(&b), .n = b.len, .step = 4096};
        s = stream(&f, &o);
        assert_int_equal(bld_layer_stream_end(s, NULL, NULL), BLD_E_LIMIT);
        assert_true(f.given < b.len / 2);
        bld_layer_stream_close(s);
        o = (struct bld_layer_stream_opts){.size = sizeof(o), .max_entries = 3};
        f.given = 0;
        s = stream(&f, &o);
        assert_int_equal(bld_layer_stream_end(s, NULL, NULL), BLD_E_LIMIT);
        bld_layer_stream_close(s);
        sb_done(&b);
}

static void failing_input(void **state)
{
        struct bld_layer_created made;
        const struct bld_input none = {.size = sizeof(none), .fd = -1}, sizeless = {.fd = 0};
        const struct bld_layer_entry *e;
        struct bld_layer_stream *s = NULL;
        struct bld_err err = BLD_ERR_INIT;
        struct sb b;
        struct from f;
        int r;

        (void)state;
        make(BLD_LAYER_ZSTD, &b, &made);
        f = (struct from){.p = sb_text(&b),
                          .n = b.len,
                          .step = 999,
                          .fail_after = b.len / 2,
                          .fail_with = ENODEV};
        s = stream(&f, NULL);
        while ((r = bld_layer_stream_next(s, &e, &err)) > 0)
                ;
        assert_int_equal(r, BLD_E_SYS);
        assert_int_equal(err.sys, ENODEV);
        assert_int_equal(bld_layer_stream_next(s, &e, NULL), BLD_E_SYS);
        assert_int_equal(bld_layer_stream_read(s, &r, 1, NULL), BLD_E_SYS);
        assert_int_equal(bld_layer_stream_end(s, NULL, NULL), BLD_E_SYS);
        bld_layer_stream_close(s);
        assert_int_equal(bld_layer_stream_open(&none, NULL, &s, NULL), BLD_E_USAGE);
        assert_int_equal(bld_layer_stream_open(NULL, NULL, &s, NULL), BLD_E_USAGE);
        assert_int_equal(bld_layer_stream_open(&sizeless, NULL, &s, NULL), BLD_E_USAGE);
        sb_done(&b);
}

struct watched {
        uint64_t done;
        unsigned asked, stop_at;
};

static void told(void *user, const char *what, uint64_t done, uint64_t total)
{
        struct watched *w = user;

        (void)what;
        (void)total;
        assert_true(done > w->done);
        w->done = done;
}

static bool asked(void *user)
{
        struct watched *w = user;

        return ++w->asked >= w->stop_at;
}

/* A pipe that nobody writes to keeps nobody who says stop. */
static void watched_input(void **state)
{
        struct watched see = {.stop_at = UINT32_MAX};
        const struct bld_watch watch = {
                .size = sizeof(watch), .progress = told, .stop = asked, .user = &see};
        const struct bld_layer_stream_opts o = {.size = sizeof(o), .watch = &watch};
        struct bld_layer_created made;
        struct bld_layer_stream *s = NULL;
        struct bld_input in = {.size = sizeof(in)};
        struct sb b;
        struct from f;
        int p[2];

        (void)state;
        make(BLD_LAYER_GZIP, &b, &made);
        f = (struct from){.p = sb_text(&b), .n = b.len, .step = 50000};
        s = stream(&f, &o);
        assert_int_equal(bld_layer_stream_end(s, NULL, NULL), 0);
        bld_layer_stream_close(s);
        assert_int_equal(see.done, b.len);
        see = (struct watched){.stop_at = 3};
        f.given = 0;
        s = stream(&f, &o);
        assert_int_equal(bld_layer_stream_end(s, NULL, NULL), BLD_E_CANCELLED);
        bld_layer_stream_close(s);
        assert_int_equal(pipe2(p, O_CLOEXEC), 0);
        assert_int_equal(write(p[1], sb_text(&b), 1000), 1000);
        see = (struct watched){.stop_at = 5};
        in.fd = p[0];
        assert_int_equal(bld_layer_stream_open(&in, &o, &s, NULL), 0);
        assert_int_equal(bld_layer_stream_end(s, NULL, NULL), BLD_E_CANCELLED);
        bld_layer_stream_close(s);
        close(p[0]);
        close(p[1]);
        sb_done(&b);
}

/* 512 MB of zeros in one file, behind half a MB of gzip: the memory is that of the buffers. */
static void constant_memory(void **state)
{
        struct sb b = SB_INIT(LF_MAX);
        struct bld_layer_stream *s;
        const struct bld_layer_entry *e;
        static char buf[1 << 16];
        struct rusage before, after;
        struct from f = {.step = 65536};
        uint64_t sum = 0;
        int64_t n;

        (void)state;
        lf_sh("d=$(mktemp -d) && truncate -s 512M $d/z && "
              "tar -C $d -cf - z | gzip -1; rm -r $d",
              "", NULL, 0, &b);
        f.p = sb_text(&b);
        f.n = b.len;
        assert_int_equal(getrusage(RUSAGE_SELF, &before), 0);
        s = stream(&f, NULL);
        assert_int_equal(bld_layer_stream_next(s, &e, NULL), 1);
        assert_int_equal(e->file_size, 512u << 20);
        while ((n = bld_layer_stream_read(s, buf, sizeof(buf), NULL)) > 0)
                sum += (uint64_t)n;
        assert_int_equal(n, 0);
        assert_int_equal(sum, 512u << 20);
        assert_int_equal(bld_layer_stream_end(s, NULL, NULL), 0);
        bld_layer_stream_close(s);
        assert_int_equal(getrusage(RUSAGE_SELF, &after), 0);
        assert_true(after.ru_maxrss - before.ru_maxrss < 8 << 10); /* KiB */
        sb_done(&b);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(early_end),       cmocka_unit_test(digests),
                cmocka_unit_test(damage),          cmocka_unit_test(limits),
                cmocka_unit_test(failing_input),   cmocka_unit_test(watched_input),
                cmocka_unit_test(constant_memory),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
