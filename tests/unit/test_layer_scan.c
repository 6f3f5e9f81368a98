/* Sums of the files of a layer, made in one pass. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/digest.h"
#include "layer_fixture.h"

static struct ly_toc *scan(const struct sb *blob, const struct ly_scan_opts *o, size_t step,
                           struct digest *ret_diff_id)
{
        struct lf_mem m = {.p = (const unsigned char *)blob->buf, .n = blob->len, .step = step};
        struct ly_source in = lf_source(&m);
        struct bld_err err = BLD_ERR_INIT;
        struct ly_toc *t = NULL;

        if (ly_scan(&in, o, &t, ret_diff_id, &err) < 0)
                fail_msg("%s", err.msg);
        return t;
}

/* "path hex" of every file, as sha256sum has it. */
static void list(const struct ly_toc *t, struct sb *out)
{
        for (size_t i = 0; i < t->n; i++) {
                const struct ly_sum *s;

                if (t->v[i].e.type != LY_FILE)
                        continue;
                s = ly_toc_sum(t, &t->v[i]);
                assert_non_null(s);
                for (unsigned k = 0; k < sizeof(s->b); k++)
                        sb_fmt(out, "%02x", s->b[k]);
                sb_fmt(out, "  ./%s\n", t->v[i].e.path);
        }
}

/* GNU tar and sha256sum say what is right; sparse files come in all forms it can write. */
static void test_oracle(void **state)
{
        static const char *const tars[] = {
                "tar --sort=name -cf - .",
                "tar --sort=name -czf - .",
                "tar --sort=name -cf - . | zstd -q",
                "tar --sort=name --format=gnu -Scf - .",
                "tar --sort=name --format=posix --sparse-version=0.0 -Scf - .",
                "tar --sort=name --format=posix --sparse-version=0.1 -Scf - .",
                "tar --sort=name --format=posix --sparse-version=1.0 -Scf - .",
        };
        static const size_t steps[] = {0, 1, 511, 4097};
        const struct ly_scan_opts o = {.content = true};
        char *dir = lf_tmpdir();
        struct sb want = SB_INIT(LF_MAX);

        (void)state;
        lf_sh("cd $1 && mkdir d && : >empty && echo one >d/one && head -c 512 /dev/urandom "
              ">d/block "
              "&& head -c 1300000 /dev/urandom >d/large && ln -s one d/link && mkfifo p && "
              "truncate -s 3M holes && "
              "truncate -s 1M middle && dd if=/dev/urandom of=middle bs=4096 count=3 seek=100 "
              "conv=notrunc status=none && truncate -s 2M many && for i in 0 7 50 300 511; do dd "
              "if=/dev/urandom of=many bs=4096 count=1 seek=$i conv=notrunc status=none; done",
              dir, NULL, 0, NULL);
        lf_sh("cd $1 && find . -type f | LC_ALL=C sort | xargs sha256sum", dir, NULL, 0, &want);
        for (size_t i = 0; i < ARRAY_LEN(tars); i++) {
                struct sb script = SB_INIT(4096), blob = SB_INIT(LF_MAX);

                print_message("%s\n", tars[i]);
                sb_fmt(&script, "cd $1 && %s", tars[i]);
                lf_sh(sb_text(&script), dir, NULL, 0, &blob);
                for (size_t k = 0; k < ARRAY_LEN(steps); k++) {
                        struct sb have = SB_INIT(LF_MAX), sorted = SB_INIT(LF_MAX);
                        struct ly_toc *t = steps[k] == 1 && blob.len > (1u << 20)
                                                   ? scan(&blob, &o, 100, NULL)
                                                   : scan(&blob, &o, steps[k], NULL);

                        list(t, &have);
                        lf_sh("LC_ALL=C sort -k2", NULL, sb_text(&have), have.len, &sorted);
                        assert_string_equal(sb_text(&sorted), sb_text(&want));
                        ly_toc_free(t);
                        sb_done(&have);
                        sb_done(&sorted);
                }
                sb_done(&script);
                sb_done(&blob);
        }
        sb_done(&want);
        lf_rmdir(dir);
}

/* Holes are free to claim: beyond a GiB they need a thousandth of themselves in the layer. Stored
 * zeros, however well they compress, are no holes. */
static void test_holes(void **state)
{
        static const struct {
                const char *tar;
                bool fine;
        } rows[] = {
                {"truncate -s 1G f && tar -Scf - f", true},
                {"truncate -s 1025M f && tar -Scf - f", false},
                {"truncate -s 1025M f && tar --format=posix -Scf - f | gzip", false},
                {"truncate -s 600M f && truncate -s 600M g && tar -Scf - f g", false},
                {"truncate -s 1025M f && head -c 2M /dev/urandom >a && tar -Scf - a f", true},
                {"truncate -s 1023M f && head -c 2M /dev/urandom >>f && tar -Scf - f", true},
                {"truncate -s 100M f && tar -cf - f | gzip", true},
        };
        struct fpr_key key;

        (void)state;
        assert_int_equal(fpr_key_make(&key, NULL), 0);
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                const struct ly_scan_opts with = {.content = true, .key = &key}, without = {0};
                struct sb script = SB_INIT(4096), blob = SB_INIT(LF_MAX);
                char *dir = lf_tmpdir();
                struct bld_err err = BLD_ERR_INIT;
                struct ly_toc *t = NULL;
                struct ly_source in;
                struct lf_mem m;
                int r;

                print_message("%s\n", rows[i].tar);
                sb_fmt(&script, "cd $1 && %s", rows[i].tar);
                lf_sh(sb_text(&script), dir, NULL, 0, &blob);
                m = (struct lf_mem){.p = (const unsigned char *)blob.buf, .n = blob.len};
                in = lf_source(&m);
                r = ly_scan(&in, &with, &t, NULL, &err);
                assert_int_equal(r, rows[i].fine ? 0 : BLD_E_LIMIT);
                if (r < 0)
                        assert_non_null(strstr(err.msg, "1000-fold"));
                ly_toc_free(t);
                t = scan(&blob, &without, 0, NULL); /* names and sizes can be read */
                ly_toc_free(t);
                sb_done(&script);
                sb_done(&blob);
                lf_rmdir(dir);
        }
}

static void make_tar(struct sb *out)
{
        static char a[] = "a", b[] = "b", c[] = "c", d[] = "d", e[] = "e";
        const struct ly_entry v[] = {{.path = a, .type = LY_FILE, .size = 5},
                                     {.path = b, .type = LY_FILE},
                                     {.path = c, .type = LY_FILE, .size = 5},
                                     {.path = d, .type = LY_HARDLINK, .link = a},
                                     {.path = e, .type = LY_FILE, .size = 6}};

        *out = SB_INIT(LF_MAX);
        lf_tar(v, ARRAY_LEN(v), out);
}

static void test_keyed(void **state)
{
        struct fpr_key key, other;
        const struct ly_scan_opts with = {.content = true, .key = &key};
        const struct ly_scan_opts again = {.content = true, .key = &other};
        struct ly_toc *t, *u;
        struct sb tar;

        (void)state;
        make_tar(&tar);
        assert_int_equal(fpr_key_make(&key, NULL), 0);
        assert_int_equal(fpr_key_make(&other, NULL), 0);
        t = scan(&tar, &with, 7, NULL);
        u = scan(&tar, &again, 0, NULL);
        assert_true(t->keyed);
        assert_int_equal(t->nsums, 3);
        assert_memory_equal(&t->sums[0], &t->sums[1], sizeof(t->sums[0]));
        assert_memory_not_equal(&t->sums[0], &t->sums[2], sizeof(t->sums[0]));
        assert_memory_not_equal(&t->sums[0], &u->sums[0], sizeof(t->sums[0]));
        ly_toc_free(u);
        u = scan(&tar, &with, 0, NULL);
        assert_memory_equal(t->sums, u->sums, 3 * sizeof(*t->sums));
        ly_toc_free(t);
        ly_toc_free(u);
        sb_done(&tar);
}

/* Any change of one bit, or of the length, shows. */
static void test_fingerprint(void **state)
{
        unsigned char text[300] = {0}, first[FPR_LEN], x[FPR_LEN];
        struct fpr_key key;
        struct fpr *f;

        (void)state;
        assert_int_equal(fpr_key_make(&key, NULL), 0);
        assert_int_equal(fpr_new(&key, &f, NULL), 0);
        for (size_t n = 0; n <= sizeof(text); n += 33) {
                fpr_add(f, text, n);
                fpr_end(f, first);
                for (size_t bit = 0; bit < 8 * n; bit += 5) {
                        text[bit / 8] ^= (unsigned char)(1u << bit % 8);
                        fpr_add(f, text, n / 2);
                        fpr_add(f, text + n / 2, n - n / 2);
                        fpr_end(f, x);
                        assert_memory_not_equal(x, first, FPR_LEN);
                        text[bit / 8] ^= (unsigned char)(1u << bit % 8);
                }
                fpr_add(f, text, n + 1 > sizeof(text) ? n - 1 : n + 1);
                fpr_end(f, x);
                assert_memory_not_equal(x, first, FPR_LEN);
        }
        fpr_free(f);
        fpr_free(NULL);
}

static void test_what_is_asked(void **state)
{
        const struct ly_scan_opts none = {.content = false},
                                  all = {.content = true, .digest = true};
        struct digest id, want;
        struct ly_toc *t;
        struct sb tar;

        (void)state;
        make_tar(&tar);
        t = scan(&tar, &none, 0, NULL);
        assert_null(t->sums);
        assert_null(ly_toc_sum(t, &t->v[0]));
        assert_non_null(ly_toc_sum(t, &t->v[1])); /* empty */
        assert_false(digest_is_set(&t->blob));
        ly_toc_free(t);
        t = scan(&tar, &all, 0, &id);
        digest_of(tar.buf, tar.len, &want);
        assert_true(digest_eq(&id, &want));
        assert_true(digest_eq(&t->blob, &want));
        ly_toc_free(t);
        sb_done(&tar);
}

static void test_stored(void **state)
{
        const struct ly_scan_opts o = {.content = true}, none = {.content = false};
        struct sb tar, sums = SB_INIT(LF_MAX);
        struct ly_toc *t, *u;

        (void)state;
        make_tar(&tar);
        t = scan(&tar, &o, 0, NULL);
        u = scan(&tar, &none, 0, NULL);
        assert_int_equal(ly_sums_encode(t, &sums, NULL), 0);
        for (size_t n = 0; n < sums.len; n++)
                assert_int_equal(ly_sums_decode(sums.buf, n, u, NULL), BLD_E_CORRUPT);
        for (size_t i = 0; i < sums.len; i++) {
                sums.buf[i] = (char)(sums.buf[i] ^ 4);
                assert_int_equal(ly_sums_decode(sums.buf, sums.len, u, NULL), BLD_E_CORRUPT);
                sums.buf[i] = (char)(sums.buf[i] ^ 4);
        }
        assert_null(u->sums);
        assert_int_equal(ly_sums_decode(sums.buf, sums.len, u, NULL), 0);
        assert_memory_equal(t->sums, u->sums, t->nsums * sizeof(*t->sums));
        ly_toc_free(t);
        ly_toc_free(u);
        sb_done(&tar);
        sb_done(&sums);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_oracle),        cmocka_unit_test(test_holes),
                cmocka_unit_test(test_keyed),         cmocka_unit_test(test_fingerprint),
                cmocka_unit_test(test_what_is_asked), cmocka_unit_test(test_stored),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
