/* Merged views: whiteouts, replacement, links; the TOCs come from tars written for each case. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/err.h"
#include "layer_fixture.h"
#include "layer_text.h"

static void dump(const struct ly_view *v, const struct ly_node *n, const char *prefix,
                 struct sb *out)
{
        size_t nkids;
        const struct ly_node *const *kids = ly_view_children(v, n, &nkids);

        for (size_t i = 0; i < nkids; i++) {
                struct sb path = SB_INIT(8192);

                sb_fmt(&path, "%s%s", prefix, kids[i]->name);
                sb_fmt(out, "%s%s%u ", sb_text(&path), kids[i]->e ? ":" : "?", kids[i]->layer);
                assert_ptr_equal(kids[i]->parent, n);
                assert_ptr_equal(ly_view_get(v, sb_text(&path)), kids[i]);
                sb_char(&path, '/');
                dump(v, kids[i], sb_text(&path), out);
                sb_done(&path);
        }
}

static const struct {
        const char *name;
        const char *layers[LT_LAYERS];
        const char *want; /* path:layer, "?" for a folder nobody names */
} rows[] = {
        {"no layer", {NULL}, ""},
        {"one", {"d a\nf a/b\nf c"}, "a:0 a/b:0 c:0 "},
        {"sorted", {"f b\nf a\nf ab\nf a.b"}, "a:0 a.b:0 ab:0 b:0 "},
        {"merge", {"d a\nf a/x\nf a/y", "d a\nf a/y\nf a/z"}, "a:1 a/x:0 a/y:1 a/z:1 "},
        {"whiteout", {"d a\nf a/x\nf a/y", "d a\nw a/x"}, "a:1 a/y:0 "},
        {"whiteout of a folder", {"d a\nd a/d\nf a/d/f", "d a\nw a/d"}, "a:1 "},
        {"whiteout of nothing", {"d a", "d a\nw a/x\nw b/c"}, "a:1 "},
        {"whiteout spares its own layer", {"f x", "f x\nw x"}, "x:1 "},
        {"whiteout first", {"f x", "w x\nf x"}, "x:1 "},
        {"deleted and made again", {"d a\nf a/old", "w a\nd a\nf a/new"}, "a:1 a/new:1 "},
        {"opaque", {"d a\nf a/old", "d a\nf a/new\no a"}, "a:1 a/new:1 "},
        {"opaque root", {"d a\nf a/old", "o \nf b"}, "b:1 "},
        {"file over folder", {"d a\nf a/x", "f a"}, "a:1 "},
        {"folder over file", {"f a", "d a\nf a/x"}, "a:1 a/x:1 "},
        {"missing parents", {"f a/b/c"}, "a?0 a/b?0 a/b/c:0 "},
        {"through a symlink",
         {"d usr\nd usr/bin\ns bin usr/bin", "f bin/sh"},
         "bin:0 usr:0 usr/bin:0 usr/bin/sh:1 "},
        {"through a symlink to nothing",
         {"s out far/away\nf out/x\nf out/y\nd b\nf b/z\nf out/w"},
         "b:0 b/z:0 far?0 far/away?0 far/away/w:0 far/away/x:0 far/away/y:0 out:0 "},
        {"whiteout through a symlink",
         {"d usr\nd usr/bin\nf usr/bin/sh\ns bin usr/bin", "w bin/sh"},
         "bin:0 usr:0 usr/bin:0 "},
        {"folder replaces a symlink",
         {"d usr\ns bin usr", "d bin\nf bin/x"},
         "bin:1 bin/x:1 usr:0 "},
        {"twice in one layer", {"f a\nf a"}, "a:0 "},
        {"four layers", {"f a", "w a", "f a", "d b"}, "a:2 b:3 "},
};

static void test_merge(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct lt_chain c = lt_chain(rows[i].layers);
                struct sb out = SB_INIT(LF_MAX);
                struct bld_err err = BLD_ERR_INIT;
                struct ly_view *v = NULL;

                print_message("%s\n", rows[i].name);
                if (ly_view_new(lt_tocs(&c), c.n, &v, &err) < 0)
                        fail_msg("%s", err.msg);
                dump(v, ly_view_root(v), "", &out);
                assert_string_equal(sb_text(&out), rows[i].want);
                ly_view_free(v);
                lt_chain_done(&c);
                sb_done(&out);
        }
}

/* What unpacking refuses. */
static void test_below_a_file(void **state)
{
        struct lt_chain c = lt_chain((const char *const[]){"f a", "f a/b", NULL});
        struct bld_err err = BLD_ERR_INIT;
        struct ly_view *v = NULL;

        (void)state;
        assert_int_equal(ly_view_new(lt_tocs(&c), c.n, &v, &err), BLD_E_CORRUPT);
        assert_non_null(strstr(err.msg, "\"a\" is no folder"));
        lt_chain_done(&c);
}

static void test_hard_links(void **state)
{
        struct lt_chain c =
                lt_chain((const char *const[]){"f a\nd d\nl d/b a", "w a\nl c d/b", NULL});
        struct lt_chain bad = lt_chain((const char *const[]){"l a nothing", NULL});
        struct bld_err err = BLD_ERR_INIT;
        struct ly_view *v = NULL;
        const struct ly_node *n;

        (void)state;
        assert_int_equal(ly_view_new(lt_tocs(&c), c.n, &v, &err), 0);
        assert_null(ly_view_get(v, "a"));
        n = ly_view_get(v, "d/b");
        assert_int_equal(n->e->type, LY_HARDLINK);
        assert_int_equal(n->t->e.type, LY_FILE);
        assert_string_equal(n->t->e.path, "a");
        n = ly_view_get(v, "c");
        assert_string_equal(n->t->e.path, "a");
        assert_int_equal(n->layer, 0); /* where the data is */
        ly_view_free(v);
        v = NULL;
        assert_int_equal(ly_view_new(lt_tocs(&bad), bad.n, &v, &err), BLD_E_CORRUPT);
        assert_null(v);
        lt_chain_done(&c);
        lt_chain_done(&bad);
}

static void test_resolve(void **state)
{
        static const struct {
                const char *path;
                bool last;
                const char *want;
                bool found;
                int code;
        } r[] = {
                {"", true, "", true, 0},
                {"/", true, "", true, 0},
                {"usr/bin/sh", true, "usr/bin/sh", true, 0},
                {"/bin/sh", true, "usr/bin/sh", true, 0},
                {"bin", false, "bin", true, 0},
                {"bin", true, "usr/bin", true, 0},
                {"abs/sh", true, "usr/bin/sh", true, 0},
                {"up", true, "", true, 0},
                {"up/usr", true, "usr", true, 0},
                {"usr/../etc/./x", true, "etc/x", false, 0},
                {"../../usr", true, "usr", true, 0},
                {"dangling", true, "no/where", false, 0},
                {"dangling/x", true, "no/where/x", false, 0},
                {"bin/../lib", true, "usr/lib", false, 0},
                {"usr/bin/sh/x", true, "usr/bin/sh/x", false, 0},
                {"loop", false, "loop", true, 0},
                {"loop", true, NULL, false, BLD_E_INVALID},
                {"loop/x", false, NULL, false, BLD_E_INVALID},
        };
        struct ly_toc *t = lt_toc("d usr\nd usr/bin\nf usr/bin/sh\ns bin usr/bin\ns abs /usr/bin\n"
                                  "s up ../../..\ns dangling no/where\ns loop loop2\ns loop2 loop");
        struct bld_err err = BLD_ERR_INIT;
        struct ly_view *v = NULL;

        (void)state;
        assert_int_equal(ly_view_new((const struct ly_toc *const *)&t, 1, &v, &err), 0);
        for (size_t i = 0; i < ARRAY_LEN(r); i++) {
                const struct ly_node *n = NULL;
                char *path = NULL;

                print_message("%s\n", r[i].path);
                assert_int_equal(ly_view_resolve(v, r[i].path, r[i].last, &n, &path, NULL),
                                 r[i].code);
                if (r[i].code)
                        continue;
                assert_string_equal(path, r[i].want);
                assert_int_equal(n != NULL, r[i].found);
                free(path);
        }
        ly_view_free(v);
        ly_toc_free(t);
}

/* A path may name thousands of folders that no entry makes; layers full of such paths are refused
 * before they fill the memory. */
static void test_implied(void **state)
{
        enum { PATHS = 500, DEPTH = 2040 };
        static char paths[PATHS][8 + 2 * DEPTH];
        static struct ly_entry v[PATHS];
        struct bld_err err = BLD_ERR_INIT;
        struct sb tar = SB_INIT(LF_MAX);
        struct ly_view *view = NULL;
        struct ly_flat *flat = NULL;
        const struct ly_toc *t;
        struct ly_toc *own;

        (void)state;
        for (size_t i = 0; i < PATHS; i++) {
                int n = snprintf(paths[i], 8, "%03zu", i);

                for (size_t k = 0; k < DEPTH; k++)
                        memcpy(paths[i] + (size_t)n + 2 * k, "/a", 3);
                v[i] = (struct ly_entry){.path = paths[i], .type = LY_FILE};
        }
        lf_tar(v, PATHS, &tar);
        t = own = lf_toc(tar.buf, tar.len);
        assert_int_equal(ly_view_new(&t, 1, &view, &err), BLD_E_LIMIT);
        assert_null(view);
        ly_toc_free(own);
        sb_reset(&tar);
        lf_tar(v, PATHS / 4, &tar);
        t = own = lf_toc(tar.buf, tar.len);
        assert_int_equal(ly_view_new(&t, 1, &view, NULL), 0);
        assert_int_equal(ly_flat_new(view, &flat, NULL), BLD_E_LIMIT);
        ly_view_free(view);
        ly_toc_free(own);
        sb_done(&tar);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_merge),      cmocka_unit_test(test_below_a_file),
                cmocka_unit_test(test_hard_links), cmocka_unit_test(test_resolve),
                cmocka_unit_test(test_implied),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
