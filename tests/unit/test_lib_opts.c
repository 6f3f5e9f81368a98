/* Programs and library may know the same struct in different sizes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "bld/bld.h"
#include "lib/opts_priv.h"

/* A struct as of three releases. */
struct v1 {
        size_t size;
        uint64_t a;
};
struct v2 {
        size_t size;
        uint64_t a, b;
};
struct v3 {
        size_t size;
        uint64_t a, b, c;
};

static void options(void **state)
{
        const struct v1 old = {sizeof(old), 1};
        const struct v2 same = {sizeof(same), 1, 2};
        const struct v3 newer = {sizeof(newer), 1, 2, 0}, wants = {sizeof(wants), 1, 2, 3};
        const struct v2 unset = {0, 1, 2}, garbage = {SIZE_MAX / 2, 1, 2};
        static const struct {
                const char *name;
                size_t which;
                int want;
                uint64_t a, b;
        } rows[] = {
                {"none", 0, 0, 0, 0},
                {"older", 1, 0, 1, 0},
                {"same", 2, 0, 1, 2},
                {"newer, nothing new is set", 3, 0, 1, 2},
                {"newer, and asks for it", 4, BLD_E_UNSUPPORTED, 0, 0},
                {"size not set", 5, BLD_E_USAGE, 0, 0},
                {"size is garbage", 6, BLD_E_USAGE, 0, 0},
        };
        const void *given[] = {NULL, &old, &same, &newer, &wants, &unset, &garbage};

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct v2 ours = {9, 9, 9};
                struct bld_err err = BLD_ERR_INIT;

                print_message("%s\n", rows[i].name);
                assert_int_equal(
                        lib_opts_copy(&ours, sizeof(ours), given[rows[i].which], "x", &err),
                        rows[i].want);
                assert_int_equal(err.code, rows[i].want);
                assert_int_equal(ours.a, rows[i].a);
                assert_int_equal(ours.b, rows[i].b);
        }
}

static void results(void **state)
{
        const struct v2 ours = {0, 1, 2};
        struct {
                struct v1 r;
                uint64_t after;
        } old = {{sizeof(old.r), 9}, 9};
        struct v3 newer = {sizeof(newer), 9, 9, 9};
        struct v2 unset = {0, 9, 9};
        struct bld_err err = BLD_ERR_INIT;

        (void)state;
        assert_int_equal(lib_ret_check(NULL, "x", &err), 0);
        assert_int_equal(lib_ret_check(&old, "x", &err), 0);
        assert_int_equal(lib_ret_check(&unset, "x", &err), BLD_E_USAGE);
        lib_ret_put(NULL, &ours, sizeof(ours));
        lib_ret_put(&old, &ours, sizeof(ours));
        assert_int_equal(old.r.size, sizeof(old.r));
        assert_int_equal(old.r.a, 1);
        assert_int_equal(old.after, 9); /* not ours to write */
        lib_ret_put(&newer, &ours, sizeof(ours));
        assert_int_equal(newer.size, sizeof(newer));
        assert_int_equal(newer.b, 2);
        assert_int_equal(newer.c, 0);
}

/* The same through the interface: what is wrong is told before anything is done. */
static void calls(void **state)
{
        const struct bld_watch no_size = {.size = 0};
        struct {
                struct bld_layer_create_opts o;
                uint64_t later;
        } newer = {{.size = sizeof(newer)}, 1};
        struct {
                struct bld_watch w;
                uint64_t later;
        } watch = {{.size = sizeof(watch)}, 1};
        const struct bld_layer_create_opts watched = {.size = sizeof(watched), .watch = &watch.w};
        const struct bld_file_opts read[] = {{.size = sizeof(*read), .watch = &no_size},
                                             {.size = sizeof(*read), .watch = &watch.w}};
        const struct bld_opts session = {.temporary = true};
        const struct bld_image_open_opts open = {.size = sizeof(open), .watch = &no_size};
        const struct bld_layer_create_opts create = {.size = sizeof(create), .watch = &no_size};
        const struct bld_output out = {.size = sizeof(out), .fd = -1}, unset = {.fd = 1};
        struct bld_layer_created made = {.tar_size = 9};
        struct bld_layer_writer *w;
        struct bld_image *im;
        struct bld_err err = BLD_ERR_INIT;
        struct bld *b;
        int dir = openat(AT_FDCWD, "/", O_PATH | O_DIRECTORY | O_CLOEXEC);

        (void)state;
        assert_int_equal(bld_open(&session, &b, &err), BLD_E_USAGE);
        assert_int_equal(bld_image_open_dir(dir, &open, &im, NULL), BLD_E_USAGE);
        assert_int_equal(bld_layer_create(dir, -1, &create, NULL, NULL), BLD_E_USAGE);
        assert_int_equal(bld_layer_create(dir, -1, NULL, &made, NULL), BLD_E_USAGE);
        assert_int_equal(made.tar_size, 9);
        assert_int_equal(bld_layer_create(dir, -1, &newer.o, NULL, NULL), BLD_E_UNSUPPORTED);
        assert_int_equal(bld_layer_create(dir, -1, &watched, NULL, NULL), BLD_E_UNSUPPORTED);
        assert_int_equal(bld_image_of_layers(NULL, 0, &im, NULL), 0);
        assert_int_equal(bld_file_read(im, "f", &read[0], NULL, NULL, NULL, NULL), BLD_E_USAGE);
        assert_int_equal(bld_file_read(im, "f", &read[1], NULL, NULL, NULL, NULL),
                         BLD_E_UNSUPPORTED);
        assert_int_equal(bld_tree_read_many(NULL, NULL, 0, NULL, NULL, &watch.w, NULL),
                         BLD_E_UNSUPPORTED);
        bld_image_close(im);
        assert_int_equal(bld_layer_writer_open(&out, &create, &w, NULL), BLD_E_USAGE);
        assert_int_equal(bld_layer_writer_open(&unset, NULL, &w, NULL), BLD_E_USAGE);
        close(dir);
}

/* A program has one record for all its calls, and may never have set it; and what is refused before
 * anything was opened closes nothing. */
static void refused(void **state)
{
        const struct bld_layer_open_opts unset = {.size = 0};
        struct bld_layer *l;
        struct bld_err err;
        int in = dup(0);

        (void)state;
        assert_true(in >= 0);
        assert_int_equal(dup2(in, 0), 0);
        memset(&err, 0x5a, sizeof(err));
        for (unsigned i = 0; i < 2; i++) {
                assert_int_equal(bld_layer_open(in, &unset, &l, &err), BLD_E_USAGE);
                assert_int_equal(err.code, BLD_E_USAGE);
                assert_int_equal(err.sys, 0);
                assert_int_equal(bld_layer_open(-1, NULL, &l, &err), BLD_E_SYS);
                assert_int_equal(err.code, BLD_E_SYS);
                assert_int_equal(err.sys, EBADF);
        }
        assert_true(fcntl(0, F_GETFD) >= 0);
        close(in);
}

/* Values that no header has are not taken for the first one. */
static void unknown_values(void **state)
{
        const struct bld_opts session = {.size = sizeof(session), .temporary = true};
        const struct bld_layer_create_opts create = {.size = sizeof(create), .codec = 77};
        const struct bld_layer_apply_opts apply = {.size = sizeof(apply), .form = 77};
        const struct bld_diff_opts shared = {.size = sizeof(shared), .shared = 77};
        const struct bld_diff_opts ignore = {.size = sizeof(ignore), .ignore = 1u << 30};
        const struct bld_build_opts build = {.size = sizeof(build), .pull = 77};
        const struct bld_output out = {.size = sizeof(out), .fd = 1};
        struct bld_build_result built = {.size = sizeof(built)};
        struct bld_config_diff *cd = NULL;
        struct bld_layer_writer *w = NULL;
        struct bld_image *im = NULL;
        struct bld_diff *d = NULL;
        struct bld *b = NULL;
        char *json = NULL;

        (void)state;
        assert_int_equal(bld_open(&session, &b, NULL), 0);
        assert_int_equal(bld_image_of_layers(NULL, 0, &im, NULL), 0);
        assert_int_equal(bld_layer_create(-1, -1, &create, NULL, NULL), BLD_E_UNSUPPORTED);
        assert_int_equal(bld_layer_writer_open(&out, &create, &w, NULL), BLD_E_UNSUPPORTED);
        assert_int_equal(bld_layer_apply(-1, -1, &apply, NULL, NULL), BLD_E_UNSUPPORTED);
        assert_int_equal(bld_diff(im, im, &shared, &d, NULL), BLD_E_UNSUPPORTED);
        assert_int_equal(bld_diff(im, im, &ignore, &d, NULL), BLD_E_UNSUPPORTED);
        assert_int_equal(bld_config_diff(im, im, 1u << 30, &cd, NULL), BLD_E_UNSUPPORTED);
        assert_int_equal(bld_build(b, &build, &built, NULL), BLD_E_UNSUPPORTED);
        assert_int_equal(bld_inspect(b, "x", 77, NULL, &json, NULL), BLD_E_UNSUPPORTED);
        bld_image_close(im);
        bld_close(b);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(options),        cmocka_unit_test(results),
                cmocka_unit_test(calls),          cmocka_unit_test(refused),
                cmocka_unit_test(unknown_values),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
