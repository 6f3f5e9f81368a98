/* The merged tree of layers, through the public interface. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/digest.h"
#include "base/sb.h"
#include "bld/tree.h"
#include "layer_fixture.h"
#include "layer_text.h"

static struct bld_tree *open_tree(struct lt_image *x, bool content)
{
        const struct bld_tree_opts o = {.size = sizeof(o), .content = content};
        struct bld_err err = BLD_ERR_INIT;
        struct bld_tree *t = NULL;

        if (bld_tree_open(x->im, &o, &t, &err) < 0)
                fail_msg("%s", err.msg);
        return t;
}

static struct bld_tree_node node(const struct bld_tree *t, size_t i)
{
        struct bld_tree_node n = {.size = sizeof(n)};

        assert_int_equal(bld_tree_node(t, i, &n, NULL), 0);
        return n;
}

/* "type path:layer" of every node, "?" for an implied folder, " =first" for a hard link. */
static void show(const struct bld_tree *t, struct sb *out)
{
        for (size_t i = 0; i < bld_tree_count(t); i++) {
                struct bld_tree_node n = node(t, i);

                sb_fmt(out, "%c %s%s%u", "fdslcbpwo"[n.type], n.path, n.implied ? "?" : ":",
                       n.layer);
                if (n.link)
                        sb_fmt(out, " ->%s", n.link);
                if (n.first_name)
                        sb_fmt(out, " =%s", n.first_name);
                sb_char(out, '\n');
                assert_true(bld_tree_end(t, i) > i && bld_tree_end(t, i) <= bld_tree_count(t));
        }
}

static const struct {
        const char *name;
        const char *layers[LT_LAYERS + 1];
        const char *want;
} rows[] = {
        {"nothing", {NULL}, ""},
        {"every type",
         {"d d\nf d/f text\ns l d\nl h d/f\np p\nc c 3\nb b 4"},
         "b b:0\nc c:0\nd d:0\nf d/f:0\nf h:0 =d/f\ns l:0 ->d\np p:0\n"},
        {"folder before what follows it",
         {"d a\nf a/x\nf a.b\nf a-b\nf a0"},
         "d a:0\nf a/x:0\nf a-b:0\nf a.b:0\nf a0:0\n"},
        {"implied folders", {"f a/b/c"}, "d a?0\nd a/b?0\nf a/b/c:0\n"},
        {"implied, then named", {"f a/b", "d a 0700"}, "d a:1\nf a/b:0\n"},
        {"whiteout", {"f a\nf b", "w a"}, "f b:0\n"},
        {"whiteout of a tree", {"d a\nd a/b\nf a/b/c", "w a\nf d"}, "f d:1\n"},
        {"opaque", {"d a\nf a/x\nf a/y", "d a\no a\nf a/z"}, "d a:1\nf a/z:1\n"},
        {"type changes", {"f a", "d a\nf a/b", "s a b"}, "s a:2 ->b\n"},
        {"through a link",
         {"d usr\nd usr/lib\ns lib usr/lib", "f lib/x"},
         "s lib:0 ->usr/lib\nd usr:0\nd usr/lib:0\nf usr/lib/x:1\n"},
        {"hard link over layers", {"f a text", "l b a", "l c b"}, "f a:0\nf b:1 =a\nf c:2 =a\n"},
        {"its first name goes", {"f a text\nl b a\nl c a", "w a"}, "f b:0\nf c:0 =b\n"},
        {"its first name is replaced", {"f a text\nl b a", "f a other"}, "f a:1\nf b:0\n"},
        {"hard links to what is no file",
         {"s s x\nl t s\np p\nl q p\nc c 1\nl d c"},
         "c c:0\nc d:0 =c\np p:0\np q:0 =p\ns s:0 ->x\ns t:0 ->x =s\n"},
};

static void test_merge(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct sb out = SB_INIT(LF_MAX);
                struct bld_tree *t;
                struct lt_image x;

                print_message("%s\n", rows[i].name);
                lt_open(&x, rows[i].layers);
                t = open_tree(&x, false);
                show(t, &out);
                assert_string_equal(sb_text(&out), rows[i].want);
                bld_tree_close(t);
                lt_close(&x);
                sb_done(&out);
        }
}

static const char *const layers[] = {"d usr\nd usr/lib\nf usr/lib/a one\ns lib usr/lib\nf e\n"
                                     "s abs /usr/lib/a\ns loop loop\ns gone nowhere\nl hard "
                                     "usr/lib/a",
                                     "f usr/lib/b twotwo\nf usr/lib/b.c three\nx user.k value",
                                     NULL};

static void test_find(void **state)
{
        static const struct {
                const char *path;
                bool follow;
                const char *want; /* NULL: absent; "": the root */
        } paths[] = {
                {"usr/lib/a", false, "usr/lib/a"},
                {"///usr/lib/a", false, "usr/lib/a"},
                {"lib/a", false, NULL},
                {"lib/a", true, "usr/lib/a"},
                {"lib", false, "lib"},
                {"lib", true, "usr/lib"},
                {"abs", true, "usr/lib/a"},
                {"gone", true, NULL},
                {"gone", false, "gone"},
                {"usr/../lib/./b", true, "usr/lib/b"},
                {"../../usr", true, "usr"},
                {"", false, ""},
                {"/", true, ""},
                {"usr/lib/a/x", true, NULL},
                {"usr/li", false, NULL},
        };
        struct bld_tree *t;
        struct lt_image x;
        size_t i;

        (void)state;
        lt_open(&x, layers);
        t = open_tree(&x, false);
        for (size_t k = 0; k < ARRAY_LEN(paths); k++) {
                int r = bld_tree_find(t, paths[k].path, paths[k].follow, &i, NULL);

                print_message("%s\n", paths[k].path);
                assert_int_equal(r, paths[k].want != NULL);
                if (r && !*paths[k].want)
                        assert_true(i == BLD_NO_NODE);
                else if (r)
                        assert_string_equal(node(t, i).path, paths[k].want);
        }
        assert_int_equal(bld_tree_find(t, "loop", true, &i, NULL), BLD_E_INVALID);
        bld_tree_close(t);
        lt_close(&x);
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

static int collect_many(void *user, size_t i, const void *p, size_t n)
{
        struct sb *b = user;

        if (n)
                sb_add(b, p, n);
        else
                sb_fmt(b, "<%zu>", i);
        return 0;
}

static int stop_at_end(void *user, size_t i, const void *p, size_t n)
{
        (void)i;
        (void)p;
        *(size_t *)user += n;
        return n == 0;
}

static size_t find(const struct bld_tree *t, const char *path)
{
        size_t i = BLD_NO_NODE;

        assert_int_equal(bld_tree_find(t, path, false, &i, NULL), 1);
        return i;
}

static void test_read(void **state)
{
        struct sb out = SB_INIT(LF_MAX), want = SB_INIT(LF_MAX);
        struct bld_tree *t;
        struct lt_image x;
        size_t v[5], got = 0;

        (void)state;
        lt_open(&x, layers);
        t = open_tree(&x, false);
        assert_int_equal(bld_tree_read(t, find(t, "usr/lib/b"), collect, &out, NULL), 0);
        assert_string_equal(sb_text(&out), "twotwo");
        sb_reset(&out);
        assert_int_equal(bld_tree_read(t, find(t, "e"), collect, &out, NULL), 0);
        assert_int_equal(out.len, 0);
        assert_int_equal(bld_tree_read(t, find(t, "usr"), collect, &out, NULL), BLD_E_INVALID);
        assert_int_equal(bld_tree_read(t, 999, collect, &out, NULL), BLD_E_NOT_FOUND);
        assert_int_equal(bld_tree_read(t, find(t, "usr/lib/a"), refuse, NULL, NULL),
                         BLD_E_CANCELLED);
        /* By layer and place there, whatever the order they are asked for; a file's second name
         * has its bytes as well. */
        v[0] = find(t, "usr/lib/b.c");
        v[1] = find(t, "usr/lib/b");
        v[2] = find(t, "hard");
        v[3] = find(t, "usr/lib/a");
        v[4] = find(t, "e");
        assert_int_equal(bld_tree_read_many(t, v, 5, collect_many, &out, NULL, NULL), 0);
        sb_fmt(&want, "one<%zu>one<%zu><%zu>twotwo<%zu>three<%zu>", v[2], v[3], v[4], v[1], v[0]);
        assert_string_equal(sb_text(&out), sb_text(&want));
        assert_int_equal(bld_tree_read_many(t, v, 5, stop_at_end, &got, NULL, NULL), 1);
        assert_int_equal(got, 3);
        assert_int_equal(bld_tree_read_many(t, v, 0, collect_many, &out, NULL, NULL), 0);
        bld_tree_close(t);
        lt_close(&x);
        sb_done(&out);
        sb_done(&want);
}

static void test_content(void **state)
{
        struct bld_tree *t, *plain;
        struct lt_image x;
        struct digest d;
        const char *name;
        const void *value;
        size_t len;

        (void)state;
        lt_open(&x, layers);
        t = open_tree(&x, true);
        plain = open_tree(&x, false);
        digest_of("one", 3, &d);
        assert_memory_equal(node(t, find(t, "usr/lib/a")).sha256, d.b, 32);
        assert_memory_equal(node(t, find(t, "hard")).sha256, d.b, 32);
        digest_of("", 0, &d);
        assert_memory_equal(node(t, find(t, "e")).sha256, d.b, 32);
        assert_null(node(t, find(t, "usr")).sha256);
        assert_null(node(plain, find(t, "usr/lib/a")).sha256);
        assert_int_equal(node(t, find(t, "usr/lib/b.c")).nxattrs, 1);
        assert_int_equal(bld_tree_xattr(t, find(t, "usr/lib/b.c"), 0, &name, &value, &len, NULL),
                         0);
        assert_string_equal(name, "user.k");
        assert_int_equal(len, 5);
        assert_memory_equal(value, "value", 5);
        assert_int_equal(bld_tree_xattr(t, find(t, "e"), 0, &name, &value, &len, NULL),
                         BLD_E_NOT_FOUND);
        bld_tree_close(plain);
        bld_tree_close(t);
        lt_close(&x);
}

static bool stop(void *user)
{
        (void)user;
        return true;
}

static void test_refused(void **state)
{
        const struct bld_watch w = {.size = sizeof(w), .stop = stop};
        const struct bld_tree_opts o = {.size = sizeof(o), .content = true, .watch = &w};
        static const char *const bad[] = {"l a nothing", NULL};
        struct bld_tree_node n = {.size = 0};
        struct bld_err err = BLD_ERR_INIT;
        struct bld_tree *t = NULL;
        struct lt_image x;

        (void)state;
        lt_open(&x, bad);
        assert_int_equal(bld_tree_open(x.im, NULL, &t, &err), BLD_E_CORRUPT);
        assert_null(t);
        lt_close(&x);
        lt_open(&x, layers);
        assert_int_equal(bld_tree_open(x.im, &o, &t, NULL), BLD_E_CANCELLED);
        assert_null(t);
        t = open_tree(&x, false);
        assert_int_equal(bld_tree_node(t, 0, &n, NULL), BLD_E_USAGE);
        n.size = sizeof(n);
        assert_int_equal(bld_tree_node(t, bld_tree_count(t), &n, NULL), BLD_E_NOT_FOUND);
        bld_tree_close(t);
        lt_close(&x);
        bld_tree_close(NULL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_merge),   cmocka_unit_test(test_find),
                cmocka_unit_test(test_read),    cmocka_unit_test(test_content),
                cmocka_unit_test(test_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
