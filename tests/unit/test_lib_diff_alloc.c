/* Trees and comparisons when memory runs out: every allocation fails once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "alloc_seam.h"

#include "bld/diff.h"
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
        const struct CMUnitTest tests[] = {cmocka_unit_test(each)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
