/* Trees and comparisons when memory runs out: every allocation fails once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "alloc_seam.h"

#include "bld/diff.h"
#include "bld/file.h"
#include "bld/packages.h"
#include "layer_fixture.h"
#include "layer_text.h"

static struct lt_image a, b;

static int compare(enum bld_diff_shared shared, struct bld_err *err)
{
        const struct bld_diff_opts o = {.size = sizeof(o),
                                        .shared = shared,
                                        .exclude = {(const char *const[]){"**/skip"}, 1}};
        struct bld_diff *d = NULL;
        int r = bld_diff(a.im, b.im, &o, &d, err);

        bld_diff_free(d);
        return r;
}

static int diff_all(struct bld_err *err)
{
        return compare(BLD_DIFF_SHARED_READ, err);
}

static int diff_upper(struct bld_err *err)
{
        return compare(BLD_DIFF_SHARED_SKIP, err);
}

static int swallow(void *user, size_t i, const void *p, size_t n)
{
        (void)user;
        (void)i;
        (void)p;
        (void)n;
        return 0;
}

static int read_tree(struct bld_err *err)
{
        const struct bld_tree_opts o = {.size = sizeof(o), .content = true};
        struct bld_tree *t = NULL;
        size_t v[2] = {0};
        int r = bld_tree_open(a.im, &o, &t, err);

        if (!r)
                r = bld_tree_find(t, "l/f", true, &v[0], err);
        if (r == 1)
                r = bld_tree_find(t, "h", false, &v[1], err);
        if (r == 1)
                r = bld_tree_read_many(t, v, 2, swallow, NULL, NULL, err);
        bld_tree_close(t);
        return r;
}

struct got {
        char text[16];
        size_t n;
};

static int take(void *user, const void *p, size_t n)
{
        struct got *g = user;

        assert_true(n < sizeof(g->text) - g->n);
        memcpy(g->text + g->n, p, n);
        g->n += n;
        return 0;
}

/* A path that was lost on the way would lead to another file. */
static int read_file(struct bld_err *err)
{
        struct got got = {.n = 0};
        int r = bld_file_read(a.im, "l/deep/../deep/f", NULL, take, &got, NULL, err);

        if (r == 0)
                assert_string_equal(got.text, "right");
        return r;
}

/* A database that was not found for want of memory is no image without packages. */
static int read_packages(struct bld_err *err)
{
        struct bld_packages *p = NULL;
        struct bld_tree *t = NULL;
        int r = bld_tree_open(a.im, NULL, &t, err);

        if (!r)
                r = bld_packages_read(t, &p, err);
        if (!r)
                assert_int_equal(bld_packages_count(p), 1);
        bld_packages_free(p);
        bld_tree_close(t);
        return r;
}

static void one_file(void **state)
{
        static const char *const layers[] = {
                "d d\nd d/deep\nf d/deep/f right\nf l2 x",
                "d loooooooooooooooong\ns l loooooooooooooooong/../d\nf deep wrong\nf f wrong",
                NULL};

        (void)state;
        lt_open(&a, layers);
        fail_each(read_file);
        lt_close(&a);
}

static void packages(void **state)
{
        struct sb out = SB_INIT(64);
        char *dir = lf_tmpdir();
        int fd = lf_open_dir(dir);

        (void)state;
        lf_sh("cd \"$1\" && mkdir -p usr/lib/apk/db && ln -s usr/lib lib &&"
              "printf 'P:a\\nV:1\\n\\n' > lib/apk/db/installed",
              dir, NULL, 0, &out);
        assert_int_equal(bld_image_open_dir(fd, NULL, &a.im, NULL), 0);
        fail_each(read_packages);
        bld_image_close(a.im);
        close(fd);
        lf_rmdir(dir);
        sb_done(&out);
}

static void each(void **state)
{
        static const char *const lower[] = {"d d\nf d/f text\nf d/old one\ns l d\nl h d/f",
                                            "f d/g same\nf i/j/k x\nw d/none", NULL};
        static const char *const upper[] = {"d d\nf d/f text\nf d/old one\ns l d\nl h d/f",
                                            "w d/old\nf d/new one\nf d/g diff\no i\nx user.a b",
                                            NULL};

        (void)state;
        lt_open(&a, lower);
        lt_open(&b, upper);
        fail_each(diff_all);
        fail_each(diff_upper);
        fail_each(read_tree);
        lt_close(&b);
        lt_close(&a);
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(each), cmocka_unit_test(one_file),
                                           cmocka_unit_test(packages)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
