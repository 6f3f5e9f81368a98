/* The public layer API: what is made is read, compared and unpacked by it alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/sb.h"
#include "bld/diff.h"
#include "layer_fixture.h"
#include "layer_text.h"

static int make_layer(const char *dir, enum bld_layer_codec codec, struct bld_layer_created *ret)
{
        const struct bld_layer_create_opts o = {.size = sizeof(o), .codec = codec};
        struct bld_err err = BLD_ERR_INIT;
        int fd = memfd_create("layer", MFD_CLOEXEC), from = lf_open_dir(dir);

        if (bld_layer_create(from, fd, &o, ret, &err) < 0)
                fail_msg("%s", err.msg);
        close(from);
        return fd;
}

static void fill(const char *dir)
{
        lf_sh("umask 022; cd $1 && mkdir -p d/e && echo hello >d/f && ln d/f d/hard && ln -s ../x "
              "d/s &&"
              "head -c 3000000 /dev/urandom >big && mkfifo p && chmod 640 d/f && "
              "find . -exec touch -h -d @1600000000 {} +",
              dir, NULL, 0, NULL);
}

static int collect(void *user, const void *p, size_t n)
{
        struct sb *b = user;

        sb_add(b, p, n);
        return b->failed;
}

static int refuse(void *user, const void *p, size_t n)
{
        (void)user;
        (void)p;
        (void)n;
        return 1;
}

static void test_read(void **state)
{
        static const enum bld_layer_codec codecs[] = {BLD_LAYER_TAR, BLD_LAYER_GZIP,
                                                      BLD_LAYER_ZSTD};
        char *dir = lf_tmpdir();

        (void)state;
        fill(dir);
        for (size_t i = 0; i < ARRAY_LEN(codecs); i++) {
                struct bld_layer_created made = {.size = sizeof(made)};
                const struct bld_layer_entry *e;
                struct bld_err err = BLD_ERR_INIT;
                struct sb b = SB_INIT(LF_MAX);
                struct bld_layer *l = NULL;
                int fd = make_layer(dir, codecs[i], &made);

                if (bld_layer_open(fd, NULL, &l, &err) < 0)
                        fail_msg("%s", err.msg);
                close(fd);
                assert_string_equal(bld_layer_diff_id(l), made.diff_id);
                assert_string_equal(bld_layer_digest(l), made.digest);
                assert_string_equal(bld_layer_media_type(l), made.media_type);
                assert_int_equal(bld_layer_tar_size(l), made.tar_size);
                assert_int_equal(bld_layer_count(l), 7);
                assert_string_equal(bld_layer_entry(l, 0)->path, "big");
                assert_null(bld_layer_entry(l, 7));
                e = bld_layer_find(l, "/d/f");
                assert_non_null(e);
                assert_int_equal(e->type, BLD_LAYER_FILE);
                assert_int_equal(e->mode, 0640);
                assert_int_equal(bld_layer_read(l, e->index, collect, &b, &err), 0);
                assert_string_equal(sb_text(&b), "hello\n");
                assert_string_equal(bld_layer_find(l, "d/hard")->link, "d/f");
                assert_null(bld_layer_find(l, "no"));
                assert_int_equal(bld_layer_read(l, 0, refuse, NULL, &err), BLD_E_CANCELLED);
                assert_int_equal(bld_layer_read(l, 99, collect, &b, NULL), BLD_E_NOT_FOUND);
                assert_int_equal(bld_layer_read(l, 1, collect, &b, NULL), BLD_E_INVALID);
                bld_layer_close(l);
                sb_done(&b);
        }
        lf_rmdir(dir);
}

static struct bld_layer *open_tree(const char *dir)
{
        struct bld_err err = BLD_ERR_INIT;
        struct bld_layer *l = NULL;
        int fd = lf_open_dir(dir);

        if (bld_layer_open_dir(fd, &l, &err) < 0)
                fail_msg("%s", err.msg);
        close(fd);
        return l;
}

/* Paths that differ, owners apart. */
static size_t differ(struct bld_layer *a, struct bld_layer *b)
{
        const struct bld_diff_opts o = {.size = sizeof(o), .ignore = BLD_DIFF_UID | BLD_DIFF_GID};
        struct bld_err err = BLD_ERR_INIT;
        struct bld_image *x = NULL, *y = NULL;
        struct bld_diff *d = NULL;
        size_t n;

        assert_int_equal(bld_image_of_layers(&a, 1, &x, NULL), 0);
        assert_int_equal(bld_image_of_layers(&b, 1, &y, NULL), 0);
        if (bld_diff(x, y, &o, &d, &err) < 0)
                fail_msg("%s", err.msg);
        n = bld_diff_count(d);
        bld_diff_free(d);
        bld_image_close(x);
        bld_image_close(y);
        return n;
}

static void test_apply(void **state)
{
        struct bld_layer_apply_opts o = {.size = sizeof(o)};
        struct bld_layer_created made = {.size = sizeof(made)};
        struct bld_layer_applied st = {.size = sizeof(st)};
        struct bld_err err = BLD_ERR_INIT;
        char *dir = lf_tmpdir(), *copy = lf_tmpdir();
        struct bld_layer *a, *b;
        struct sb out = SB_INIT(LF_MAX);
        int fd, to = lf_open_dir(copy);

        (void)state;
        fill(dir);
        fd = make_layer(dir, BLD_LAYER_GZIP, &made);
        assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
        o.diff_id = made.diff_id;
        if (bld_layer_apply(fd, to, &o, &st, &err) < 0)
                fail_msg("%s", err.msg);
        assert_int_equal(st.entries, 7);
        assert_int_equal(st.bytes, 3000006);
        a = open_tree(dir);
        b = open_tree(copy);
        assert_int_equal(differ(a, b), 0);
        bld_layer_close(a);
        bld_layer_close(b);
        /* Another layer than was promised. */
        o.diff_id = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";
        assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
        assert_int_equal(bld_layer_apply(fd, to, &o, NULL, &err), BLD_E_CORRUPT);
        /* A failure half-way: the decompressing thread is stopped and joined. */
        o.max_entries = 1;
        err = (struct bld_err)BLD_ERR_INIT;
        assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
        assert_int_equal(bld_layer_apply(fd, to, &o, NULL, &err), BLD_E_LIMIT);
        close(fd);
        close(to);
        sb_done(&out);
        lf_rmdir(dir);
        lf_rmdir(copy);
}

static void test_refused(void **state)
{
        struct bld_layer *l = NULL;
        int fd = memfd_create("x", MFD_CLOEXEC);

        (void)state;
        assert_int_equal(fd_write_all(fd, "no layer at all", 15, NULL), 0);
        assert_int_equal(bld_layer_open(fd, NULL, &l, NULL), BLD_E_CORRUPT);
        assert_null(l);
        close(fd);
        assert_int_equal(bld_layer_open(-1, NULL, &l, NULL), BLD_E_SYS);
        bld_layer_close(NULL);
}

/* Every name is found, the last entry of it, whatever their order. */
static void find(void **state)
{
        struct bld_layer *l = lt_layer("f z 1\nd m\nf m/b 22\nf a\nf m.b\nf m/a\nf z 333\nf m/b 4");
        static const struct {
                const char *path;
                size_t index;
        } rows[] = {{"a", 3}, {"m", 1}, {"m.b", 4}, {"m/a", 5}, {"/m/b", 7}, {"z", 6}};
        static const char *const none[] = {"", "/", "b", "m/", "m/b/", "zz", "m/c"};

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++)
                assert_ptr_equal(bld_layer_find(l, rows[i].path),
                                 bld_layer_entry(l, rows[i].index));
        for (size_t i = 0; i < ARRAY_LEN(none); i++)
                assert_null(bld_layer_find(l, none[i]));
        bld_layer_close(l);
        l = lt_layer("");
        assert_null(bld_layer_find(l, "a"));
        bld_layer_close(l);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_read),
                cmocka_unit_test(test_apply),
                cmocka_unit_test(find),
                cmocka_unit_test(test_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
