/* Packing, unpacking, tables of contents, ranges: against gzip, igzip, zstd, python3 and sha256sum.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "image/image.h"
#include "layer_fixture.h"

#define BIG_FILE 2500000u

static struct sb big; /* a tar over several blocks */

static int make_big(void **state)
{
        static char p1[] = "noise", p2[] = "zeros", p3[] = "small", p4[] = "dir";
        const struct ly_entry v[] = {
                {.path = p4, .type = LY_DIR, .mode = 0755},
                {.path = p1, .type = LY_FILE, .mode = 0644, .size = BIG_FILE},
                {.path = p2, .type = LY_FILE, .mode = 0644, .size = BIG_FILE},
                {.path = p3, .type = LY_FILE, .mode = 0644, .size = 10},
        };
        unsigned char *buf = malloc(BIG_FILE);
        struct ly_sink sink = lf_sink(&big);
        struct bld_err err = BLD_ERR_INIT;
        struct ly_writer *w;

        (void)state;
        sb_init(&big, LF_MAX);
        assert_non_null(buf);
        assert_int_equal(ly_writer_new(&sink, NULL, &w, &err), 0);
        for (size_t i = 0; i < ARRAY_LEN(v); i++) {
                lf_noise(buf, BIG_FILE, i);
                if (i == 2)
                        memset(buf, 0, BIG_FILE);
                assert_int_equal(ly_writer_entry(w, &v[i], &err), 0);
                assert_int_equal(ly_writer_data(w, buf, v[i].size, &err), 0);
        }
        assert_int_equal(ly_writer_end(w, &err), 0);
        ly_writer_free(w);
        free(buf);
        return 0;
}

static int free_big(void **state)
{
        (void)state;
        sb_done(&big);
        return 0;
}

static void pack(const struct ly_pack_opts *o, const void *p, size_t n, size_t step, struct sb *out,
                 struct ly_packed *ret, struct ly_toc **ret_toc)
{
        const unsigned char *at = p;
        struct ly_sink sink = lf_sink(out);
        struct bld_err err = BLD_ERR_INIT;
        struct ly_pack *pk = NULL;

        if (ly_pack_new(&sink, o, &pk, &err) < 0)
                fail_msg("%s", err.msg);
        while (n) {
                size_t k = MIN(n, step);

                assert_int_equal(ly_pack_write(pk, at, k, &err), 0);
                at += k;
                n -= k;
        }
        if (ly_pack_end(pk, ret, ret_toc, &err) < 0)
                fail_msg("%s", err.msg);
        ly_pack_free(pk);
}

static const struct {
        const char *name;
        struct ly_pack_opts o;
        const char *mt, *check; /* a script that turns the blob on stdin into the tar */
} codecs[] = {
        {"plain", {.codec = LY_CODEC_NONE}, MT_OCI_LAYER, "cat"},
        {"gzip", {.codec = LY_CODEC_GZIP}, MT_OCI_LAYER_GZIP, "gzip -dc"},
        {"gzip, igzip", {.codec = LY_CODEC_GZIP}, MT_OCI_LAYER_GZIP, "igzip -dc"},
        {"gzip, python",
         {.codec = LY_CODEC_GZIP, .reproducible = true},
         MT_OCI_LAYER_GZIP,
         "python3 -c 'import gzip,sys;"
         "sys.stdout.buffer.write(gzip.decompress(sys.stdin.buffer.read()))'"},
        {"gzip 1", {.codec = LY_CODEC_GZIP, .level = 1}, MT_OCI_LAYER_GZIP, "gzip -dc"},
        {"gzip 12", {.codec = LY_CODEC_GZIP, .level = 12}, MT_OCI_LAYER_GZIP, "gzip -dc"},
        {"zstd", {.codec = LY_CODEC_ZSTD}, MT_OCI_LAYER_ZSTD, "zstd -dc"},
        {"zstd 1", {.codec = LY_CODEC_ZSTD, .level = 1}, MT_OCI_LAYER_ZSTD, "zstd -dc"},
};

/* Independent of the number of threads and of how the tar comes in pieces; read by others. */
static void test_codecs(void **state)
{
        static const unsigned threads[] = {1, 2, 3, 8};
        static const size_t steps[] = {SIZE_MAX, 4096, 1048576, 777777};

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(codecs); i++) {
                struct sb first = SB_INIT(LF_MAX), back = SB_INIT(LF_MAX);
                struct digest want;

                print_message("%s\n", codecs[i].name);
                for (size_t t = 0; t < ARRAY_LEN(threads); t++) {
                        struct ly_pack_opts o = codecs[i].o;
                        struct sb out = SB_INIT(LF_MAX);
                        struct ly_packed res;

                        o.threads = threads[t];
                        pack(&o, big.buf, big.len, steps[t], &out, &res, NULL);
                        assert_string_equal(res.media_type, codecs[i].mt);
                        digest_of(big.buf, big.len, &want);
                        assert_true(digest_eq(&res.diff_id, &want));
                        digest_of(out.buf, out.len, &want);
                        assert_true(digest_eq(&res.digest, &want));
                        assert_int_equal(res.size, out.len);
                        assert_int_equal(res.tar_size, big.len);
                        if (!t)
                                sb_add(&first, out.buf, out.len);
                        assert_int_equal(out.len, first.len);
                        assert_memory_equal(out.buf, first.buf, out.len);
                        sb_done(&out);
                }
                lf_sh(codecs[i].check, "", first.buf, first.len, &back);
                assert_int_equal(back.len, big.len);
                assert_memory_equal(back.buf, big.buf, big.len);
                sb_done(&first);
                sb_done(&back);
        }
}

static void test_engines(void **state)
{
        static const struct {
                struct ly_pack_opts o;
                const char *engine;
        } rows[] = {
                {{.codec = LY_CODEC_GZIP, .reproducible = true}, "libdeflate-6"},
                {{.codec = LY_CODEC_GZIP, .level = 9}, "libdeflate-9"},
                {{.codec = LY_CODEC_ZSTD}, "zstd-3"},
                {{.codec = LY_CODEC_NONE}, "none"},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct sb out = SB_INIT(LF_MAX);
                struct ly_packed res;

                print_message("%s\n", rows[i].engine);
                pack(&rows[i].o, NULL, 0, 1, &out, &res, NULL);
                assert_string_equal(res.engine, rows[i].engine);
                sb_done(&out);
        }
        for (int level = -1; level < 40; level += 14) {
                struct ly_pack_opts o = {.codec = LY_CODEC_GZIP, .level = level};
                struct sb out = SB_INIT(LF_MAX);
                struct ly_sink sink = lf_sink(&out);
                struct ly_pack *p = NULL;

                assert_int_equal(ly_pack_new(&sink, &o, &p, NULL), BLD_E_INVALID);
                assert_null(p);
        }
}

/* What reproducibility promises across machines: these bytes, whatever the CPU. */
static void test_golden(void **state)
{
        static const struct {
                const char *name;
                struct ly_pack_opts o;
                const char *digest;
        } rows[] = {
                {"empty, plain",
                 {.codec = LY_CODEC_NONE},
                 "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"},
                {"big, libdeflate",
                 {.codec = LY_CODEC_GZIP, .reproducible = true},
                 "sha256:502e7f26fefd582deac98055cea005e505add95a69d2571fb0041cc45639fddb"},
                {"big, zstd",
                 {.codec = LY_CODEC_ZSTD},
                 "sha256:6e1ab18d115696f1d17ae2aae690d27b55a01a8c997d42db088961e80ad47966"},
#if defined(__x86_64__)
                /* The default: the same on every CPU with SSE4.2. */
                {"big, ISA-L",
                 {.codec = LY_CODEC_GZIP},
                 "sha256:35e65f33f8265d017c2a86d4e325f6a6f87e93c8af62bc267c13c9ec2648a707"},
#endif
        };
        struct sb empty = SB_INIT(LF_MAX);

        (void)state;
        lf_tar(NULL, 0, &empty);
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                const struct sb *in = i ? &big : &empty;
                struct sb out = SB_INIT(LF_MAX);
                char text[DIGEST_STR_MAX];
                struct ly_packed res;

                print_message("%s\n", rows[i].name);
                pack(&rows[i].o, in->buf, in->len, 100000, &out, &res, NULL);
                digest_format(&res.digest, text);
                assert_string_equal(text, rows[i].digest);
                sb_done(&out);
        }
        sb_done(&empty);
}

static int unpack(const void *p, size_t n, size_t step, const struct ly_limits *lim, struct sb *out,
                  struct digest *d, struct ly_toc **toc, struct bld_err *err)
{
        struct lf_mem m = {.p = p, .n = n, .step = step};
        struct ly_source in = lf_source(&m);
        struct ly_sink sink = lf_sink(out);
        uint64_t size;

        return ly_unpack_stream(&in, &sink, lim, d, &size, toc, err);
}

static void test_unpack_ours(void **state)
{
        static const size_t steps[] = {0, 100003};

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(codecs); i++) {
                struct sb blob = SB_INIT(LF_MAX);
                struct ly_packed res;

                print_message("%s\n", codecs[i].name);
                pack(&codecs[i].o, big.buf, big.len, SIZE_MAX, &blob, &res, NULL);
                for (size_t s = 0; s < ARRAY_LEN(steps); s++) {
                        struct sb out = SB_INIT(LF_MAX);
                        struct bld_err err = BLD_ERR_INIT;
                        struct digest d;
                        struct ly_toc *toc = NULL;

                        if (unpack(blob.buf, blob.len, steps[s], NULL, &out, &d, &toc, &err) < 0)
                                fail_msg("%s", err.msg);
                        assert_true(digest_eq(&d, &res.diff_id));
                        assert_true(digest_eq(&toc->blob, &res.digest));
                        assert_int_equal(out.len, big.len);
                        assert_memory_equal(out.buf, big.buf, big.len);
                        assert_int_equal(toc->n, 4);
                        assert_int_equal(toc->codec, codecs[i].o.codec);
                        ly_toc_free(toc);
                        sb_done(&out);
                }
                sb_done(&blob);
        }
}

/* Streams made by others, whole and in the forms the formats allow. $1 unused. */
static void test_unpack_foreign(void **state)
{
        static const struct {
                const char *name, *script;
        } rows[] = {
                {"gzip", "gzip -c"},
                {"gzip with a name", "cat >$1; gzip -Nc $1"},
                {"igzip", "igzip -c"},
                {"two members",
                 "cat >$1; head -c 1000000 $1 | gzip -c; tail -c +1000001 $1 | gzip -9c"},
                {"many members", "cat >$1; split -b 100000 --filter='gzip -1c' $1"},
                {"empty member first", "printf '' | gzip -c; gzip -c"},
                {"empty member last", "gzip -c; printf '' | gzip -c"},
                {"zstd", "zstd -qc"},
                {"zstd frames", "cat >$1; split -b 1000000 --filter='zstd -qc' $1"},
                {"zstd long", "zstd -qc --long=27"},
                {"zstd skippable first",
                 "printf '\\120\\052\\115\\030\\003\\0\\0\\0abc'; zstd -qc"},
                {"zstd skippable last", "zstd -qc; printf '\\137\\052\\115\\030\\0\\0\\0\\0'"},
                {"plain", "cat"},
        };
        struct digest want;

        (void)state;
        digest_of(big.buf, big.len, &want);
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                static const size_t steps[] = {0, 997};
                char *dir = lf_tmpdir();
                struct sb path = SB_INIT(4096), blob = SB_INIT(LF_MAX);

                print_message("%s\n", rows[i].name);
                sb_fmt(&path, "%s/f", dir);
                lf_sh(rows[i].script, sb_text(&path), big.buf, big.len, &blob);
                for (size_t s = 0; s < ARRAY_LEN(steps); s++) {
                        struct sb out = SB_INIT(LF_MAX);
                        struct bld_err err = BLD_ERR_INIT;
                        struct digest d;

                        if (unpack(blob.buf, blob.len, steps[s], NULL, &out, &d, NULL, &err) < 0)
                                fail_msg("step %zu: %s", steps[s], err.msg);
                        assert_true(digest_eq(&d, &want));
                        assert_int_equal(out.len, big.len);
                        sb_done(&out);
                }
                sb_done(&blob);
                sb_done(&path);
                lf_rmdir(dir);
        }
}

/* The same a byte at a time, as a slow network gives it. */
static void test_unpack_trickle(void **state)
{
        static const char *const scripts[] = {"gzip -c", "gzip -c; printf '' | gzip -c", "zstd -qc",
                                              "igzip -c; cat /dev/null | gzip -9c", "cat"};
        static char name[] = "file";
        const struct ly_entry v[] = {{.path = name, .type = LY_FILE, .mode = 0644, .size = 3000}};
        struct sb tar = SB_INIT(LF_MAX);

        (void)state;
        lf_tar(v, 1, &tar);
        for (size_t i = 0; i < ARRAY_LEN(scripts); i++) {
                struct sb blob = SB_INIT(LF_MAX), out = SB_INIT(LF_MAX);
                struct bld_err err = BLD_ERR_INIT;
                struct digest d;

                print_message("%s\n", scripts[i]);
                lf_sh(scripts[i], "", tar.buf, tar.len, &blob);
                if (unpack(blob.buf, blob.len, 1, NULL, &out, &d, NULL, &err) < 0)
                        fail_msg("%s", err.msg);
                assert_int_equal(out.len, tar.len);
                assert_memory_equal(out.buf, tar.buf, tar.len);
                sb_done(&blob);
                sb_done(&out);
        }
        sb_done(&tar);
}

/* Damage of every kind is CORRUPT, never less data. */
static void test_unpack_bad(void **state)
{
        static const struct {
                const char *name, *script;
        } rows[] = {
                {"garbage after gzip", "gzip -c; printf garbage"},
                {"zeros after gzip", "gzip -c; head -c 512 /dev/zero"},
                {"one byte after gzip", "gzip -c; printf '\\037'"},
                {"gzip cut", "gzip -c | head -c -1"},
                {"gzip cut in the middle", "gzip -c | head -c 100000"},
                {"gzip head only", "gzip -c | head -c 5"},
                {"garbage after zstd", "zstd -qc; printf garbage"},
                {"zstd cut", "zstd -qc | head -c -1"},
                {"zstd magic only", "zstd -qc | head -c 4"},
                {"zlib", "python3 -c 'import sys,zlib;"
                         "sys.stdout.buffer.write(zlib.compress(sys.stdin.buffer.read()))'"},
                {"bzip2", "bzip2 -c"},
                {"no tar", "head -c 3000 | tr '\\0' x"},
                {"no tar in gzip", "head -c 3000 | tr '\\0' x | gzip -c"},
                {"tar cut", "head -c 1000000"},
                {"tar cut in gzip", "head -c 1000000 | gzip -c"},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct sb blob = SB_INIT(LF_MAX), out = SB_INIT(LF_MAX);
                struct bld_err err = BLD_ERR_INIT;
                struct digest d;

                print_message("%s\n", rows[i].name);
                lf_sh(rows[i].script, "", big.buf, big.len, &blob);
                assert_int_equal(unpack(blob.buf, blob.len, 0, NULL, &out, &d, NULL, &err),
                                 BLD_E_CORRUPT);
                sb_done(&blob);
                sb_done(&out);
        }
}

/* Every flipped byte of one of our own blobs is noticed, or harmless (header fields nobody uses).
 */
static void test_flips(void **state)
{
        static const struct ly_pack_opts o = {.codec = LY_CODEC_GZIP, .reproducible = true};
        struct sb blob = SB_INIT(LF_MAX);
        struct ly_packed res;

        (void)state;
        pack(&o, big.buf, big.len, SIZE_MAX, &blob, &res, NULL);
        for (size_t at = 0; at < blob.len; at += at < 64 ? 1 : blob.len / 40) {
                struct sb out = SB_INIT(LF_MAX);
                struct digest d;
                int r;

                blob.buf[at] ^= 0x20;
                r = unpack(blob.buf, blob.len, 0, NULL, &out, &d, NULL, NULL);
                blob.buf[at] ^= 0x20;
                if (!r)
                        assert_true(digest_eq(&d, &res.diff_id));
                else
                        assert_true(r == BLD_E_CORRUPT || r == BLD_E_LIMIT);
                sb_done(&out);
        }
        sb_done(&blob);
}

static void test_limits(void **state)
{
        static const struct ly_pack_opts o = {.codec = LY_CODEC_GZIP};
        struct ly_limits bytes = {.bytes = 3000000}, entries = {.entries = 3};
        struct sb blob = SB_INIT(LF_MAX), out = SB_INIT(LF_MAX);
        struct bld_err err = BLD_ERR_INIT;
        struct ly_packed res;
        struct digest d;

        (void)state;
        pack(&o, big.buf, big.len, SIZE_MAX, &blob, &res, NULL);
        assert_int_equal(unpack(blob.buf, blob.len, 0, &bytes, &out, &d, NULL, &err), BLD_E_LIMIT);
        err_clear(&err);
        assert_int_equal(unpack(blob.buf, blob.len, 0, &entries, &out, &d, NULL, &err),
                         BLD_E_LIMIT);
        sb_done(&blob);
        sb_done(&out);
}

/* Much more than a GiB out of little: a header promising a file of 1.5 GiB, and zeros. */
static void test_bomb(void **state)
{
        static const char *const scripts[] = {
                "(tar -cf - --sparse -C $1 f 2>/dev/null || true) | zstd -qc",
                "(tar -cf - -C $1 f | head -c 1400000000) | zstd -qc",
        };
        struct bld_err err = BLD_ERR_INIT;

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(scripts); i++) {
                char *dir = lf_tmpdir();
                struct sb blob = SB_INIT(LF_MAX);
                struct lf_mem m;
                struct ly_source in;
                struct digest d;
                struct ly_limits lim = {.bytes = 1 << 30};

                lf_sh("truncate -s 1500000000 $1/f", dir, NULL, 0, NULL);
                lf_sh(scripts[i], dir, NULL, 0, &blob);
                m = (struct lf_mem){.p = (unsigned char *)blob.buf, .n = blob.len};
                in = lf_source(&m);
                assert_int_equal(ly_unpack_stream(&in, NULL, &lim, &d, NULL, NULL, &err),
                                 BLD_E_LIMIT);
                err_clear(&err);
                sb_done(&blob);
                lf_rmdir(dir);
        }
}

struct failing {
        size_t left;
};

static int failing_write(void *user, const void *p, size_t n, struct bld_err *err)
{
        struct failing *f = user;

        (void)p;
        if (n > f->left)
                return err_set(err, BLD_E_CANCELLED, "enough");
        f->left -= n;
        return 0;
}

/* A sink that fails at any point stops everything with its own error, joined and freed. */
static void test_sink_fails(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(codecs); i++) {
                for (size_t left = 0; left < 2000000; left += 600000) {
                        struct failing f = {left};
                        struct ly_sink sink = {.write = failing_write, .user = &f};
                        struct bld_err err = BLD_ERR_INIT;
                        struct ly_pack *p = NULL;
                        struct ly_packed res;
                        struct lf_mem m = {.p = (unsigned char *)big.buf, .n = big.len};
                        struct ly_source in = lf_source(&m);
                        struct digest d;
                        int r;

                        assert_int_equal(ly_pack_new(&sink, &codecs[i].o, &p, &err), 0);
                        r = ly_pack_write(p, big.buf, big.len, &err);
                        if (!r)
                                r = ly_pack_end(p, &res, NULL, &err);
                        assert_int_equal(r, BLD_E_CANCELLED);
                        assert_string_equal(err.msg, "enough");
                        ly_pack_free(p);

                        f.left = left;
                        err_clear(&err);
                        assert_int_equal(ly_unpack_stream(&in, &sink, NULL, &d, NULL, NULL, &err),
                                         BLD_E_CANCELLED);
                }
        }
        for (unsigned k = 0; k < 3; k++) { /* given up half-way */
                struct failing f = {SIZE_MAX};
                struct ly_sink sink = {.write = failing_write, .user = &f};
                struct ly_pack *p = NULL;

                assert_int_equal(ly_pack_new(&sink, &codecs[1].o, &p, NULL), 0);
                assert_int_equal(ly_pack_write(p, big.buf, big.len / 2, NULL), 0);
                ly_pack_free(p);
        }
}

static void check_range(struct ly_blob_reader *r, uint64_t off, uint64_t len)
{
        struct sb out = SB_INIT(LF_MAX);
        struct ly_sink sink = lf_sink(&out);
        struct bld_err err = BLD_ERR_INIT;

        if (ly_blob_reader_range(r, off, len, &sink, &err) < 0)
                fail_msg("%s", err.msg);
        assert_int_equal(out.len, len);
        if (len)
                assert_memory_equal(out.buf, big.buf + off, len);
        sb_done(&out);
}

static int mem_fd(const struct sb *b)
{
        int fd = memfd_create("blob", MFD_CLOEXEC);

        assert_true(fd >= 0);
        assert_int_equal(fd_write_all(fd, b->buf, b->len, NULL), 0);
        return fd;
}

static void test_ranges(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(codecs); i++) {
                struct sb blob = SB_INIT(LF_MAX), out = SB_INIT(LF_MAX);
                struct ly_sink sink = lf_sink(&out);
                struct ly_blob_reader *r = NULL;
                struct bld_err err = BLD_ERR_INIT;
                struct ly_toc *toc = NULL;
                struct ly_packed res;
                uint64_t x = 1;
                int fd;

                print_message("%s\n", codecs[i].name);
                pack(&codecs[i].o, big.buf, big.len, SIZE_MAX, &blob, &res, &toc);
                fd = mem_fd(&blob);
                assert_int_equal(ly_blob_reader_new(fd, toc, &r, &err), 0);
                check_range(r, 0, big.len);
                check_range(r, 0, 0);
                check_range(r, big.len - 1, 1);
                check_range(r, 1048575, 2);
                for (unsigned k = 0; k < 60; k++) {
                        uint64_t off, len;

                        x = x * UINT64_C(6364136223846793005) + 1442695040888963407u;
                        off = (x >> 20) % big.len;
                        len = (x >> 7) % (k % 2 ? 1000 : 3000000);
                        check_range(r, off, MIN(len, big.len - off));
                }
                assert_int_equal(ly_blob_reader_range(r, big.len, 1, &sink, &err), BLD_E_CORRUPT);
                for (size_t k = 0; k < toc->n; k++)
                        if (toc->v[k].e.type == LY_FILE) {
                                sb_reset(&out);
                                assert_int_equal(ly_blob_reader_file(r, &toc->v[k], &sink, NULL),
                                                 0);
                                assert_int_equal(out.len, toc->v[k].e.size);
                                assert_memory_equal(out.buf, big.buf + toc->v[k].data_off, out.len);
                        }
                ly_blob_reader_free(r);
                ly_toc_free(toc);
                close(fd);
                sb_done(&blob);
                sb_done(&out);
        }
}

/* A reader that met damage neither goes on behind it nor is lost: the next read begins anew. */
static void test_damaged_ranges(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(codecs); i++) {
                struct sb blob = SB_INIT(LF_MAX), out = SB_INIT(LF_MAX);
                struct ly_sink sink = lf_sink(&out);
                struct ly_blob_reader *r = NULL;
                struct ly_toc *toc = NULL;
                struct ly_packed res;
                unsigned char bad;
                uint64_t off;
                int fd;

                if (codecs[i].o.codec != LY_CODEC_GZIP)
                        continue;
                print_message("%s\n", codecs[i].name);
                pack(&codecs[i].o, big.buf, big.len, SIZE_MAX, &blob, &res, &toc);
                assert_true(toc->nseeks > 3);
                off = (toc->seeks[1].blob_off + toc->seeks[2].blob_off) / 2;
                bad = (unsigned char)(blob.buf[off] ^ 0x55);
                fd = mem_fd(&blob);
                assert_int_equal(pwrite(fd, &bad, 1, (off_t)off), 1);
                assert_int_equal(ly_blob_reader_new(fd, toc, &r, NULL), 0);
                for (unsigned k = 0; k < 3; k++) {
                        assert_int_equal(ly_blob_reader_range(r, toc->seeks[1].tar_off + 5, 100,
                                                              &sink, NULL),
                                         BLD_E_CORRUPT);
                        assert_int_equal(out.len, 0);
                        if (k == 1)
                                check_range(r, toc->seeks[2].tar_off, 100);
                }
                check_range(r, 0, 100);
                assert_int_equal(pwrite(fd, &blob.buf[off], 1, (off_t)off), 1);
                check_range(r, toc->seeks[1].tar_off + 5, 100);
                ly_blob_reader_free(r);
                ly_toc_free(toc);
                close(fd);
                sb_done(&blob);
                sb_done(&out);
        }
}

/* Stored form: back as it was; anything else refused. */
static void test_toc_bytes(void **state)
{
        static const struct ly_pack_opts o = {.codec = LY_CODEC_GZIP};
        struct sb blob = SB_INIT(LF_MAX), enc = SB_INIT(LF_MAX), again = SB_INIT(LF_MAX);
        struct ly_toc *toc = NULL, *back = NULL;
        struct bld_err err = BLD_ERR_INIT;
        struct ly_packed res;

        (void)state;
        pack(&o, big.buf, big.len, SIZE_MAX, &blob, &res, &toc);
        assert_int_equal(toc->nseeks, (big.len + (1 << 20) - 1) >> 20);
        assert_int_equal(ly_toc_encode(toc, &enc, &err), 0);
        assert_int_equal(ly_toc_decode(enc.buf, enc.len, &back, &err), 0);
        assert_int_equal(ly_toc_encode(back, &again, &err), 0);
        assert_int_equal(enc.len, again.len);
        assert_memory_equal(enc.buf, again.buf, enc.len);
        assert_int_equal(back->n, toc->n);
        assert_string_equal(back->v[1].e.path, "noise");
        assert_true(digest_eq(&back->blob, &res.digest));
        for (size_t i = 0; i < enc.len; i++) {
                struct ly_toc *bad = NULL;

                assert_int_equal(ly_toc_decode(enc.buf, i, &bad, NULL), BLD_E_CORRUPT);
                enc.buf[i] ^= 1;
                assert_int_equal(ly_toc_decode(enc.buf, enc.len, &bad, NULL), BLD_E_CORRUPT);
                enc.buf[i] ^= 1;
                assert_null(bad);
        }
        ly_toc_free(toc);
        ly_toc_free(back);
        sb_done(&blob);
        sb_done(&enc);
        sb_done(&again);
}

static void test_missing_parents(void **state)
{
        static char d[] = "d", f[] = "d/f", x[] = "x/y/z";
        const struct ly_entry whole[] = {{.path = d, .type = LY_DIR, .mode = 0755},
                                         {.path = f, .type = LY_FILE}};
        const struct ly_entry gap[] = {{.path = d, .type = LY_DIR, .mode = 0755},
                                       {.path = x, .type = LY_WHITEOUT}};
        struct sb b = SB_INIT(LF_MAX);
        struct ly_toc *t;

        (void)state;
        lf_tar(whole, 2, &b);
        t = lf_toc(b.buf, b.len);
        assert_false(t->missing_parents);
        ly_toc_free(t);
        sb_reset(&b);
        lf_tar(gap, 2, &b);
        t = lf_toc(b.buf, b.len);
        assert_true(t->missing_parents);
        ly_toc_free(t);
        sb_done(&b);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_codecs),          cmocka_unit_test(test_engines),
                cmocka_unit_test(test_golden),          cmocka_unit_test(test_unpack_ours),
                cmocka_unit_test(test_unpack_foreign),  cmocka_unit_test(test_unpack_trickle),
                cmocka_unit_test(test_unpack_bad),      cmocka_unit_test(test_flips),
                cmocka_unit_test(test_limits),          cmocka_unit_test(test_bomb),
                cmocka_unit_test(test_sink_fails),      cmocka_unit_test(test_ranges),
                cmocka_unit_test(test_damaged_ranges),  cmocka_unit_test(test_toc_bytes),
                cmocka_unit_test(test_missing_parents),
        };

        return cmocka_run_group_tests(tests, make_big, free_big);
}
