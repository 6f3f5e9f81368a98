/* bld_diff(): what differs between two trees, exactly. */
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

/* ---- helpers ---- */

static struct bld_image *open_tree(const char *dir)
{
        struct bld_err err = BLD_ERR_INIT;
        struct bld_image *im = NULL;
        int fd = lf_open_dir(dir);

        if (bld_image_open_dir(fd, NULL, &im, &err) < 0)
                fail_msg("%s", err.msg);
        close(fd);
        return im;
}

/* One change a line: kind letter, path, and what differs or under what name the file was. */
static void show(struct bld_diff *d, struct sb *out)
{
        static const char *const bits[] = {"type", "content", "size",  "link",   "device", "mode",
                                           "uid",  "gid",     "mtime", "xattrs", "links"};

        for (size_t i = 0; i < bld_diff_count(d); i++) {
                const struct bld_change *c = bld_diff_change(d, i);

                sb_fmt(out, "%c%s %s", "?ADMTm"[c->kind], c -> unsure ? "?" : "", c->path);
                for (unsigned k = 0; k < ARRAY_LEN(bits); k++)
                        if (c->what & 1u << k)
                                sb_fmt(out, " %s", bits[k]);
                if (c->renamed != BLD_NO_NODE)
                        sb_fmt(out, " =%s", bld_diff_change(d, c->renamed)->path);
                sb_char(out, '\n');
        }
}

static void compare(struct bld_image *a, struct bld_image *b, const struct bld_diff_opts *o,
                    const char *want)
{
        struct sb out = SB_INIT(LF_MAX);
        struct bld_err err = BLD_ERR_INIT;
        struct bld_diff *d = NULL;

        if (bld_diff(a, b, o, &d, &err) < 0)
                fail_msg("%s", err.msg);
        show(d, &out);
        assert_string_equal(sb_text(&out), want);
        bld_diff_free(d);
        sb_done(&out);
}

/* ---- folders ---- */

static const struct {
        const char *change; /* made in the copy */
        unsigned ignore;
        const char *want;
} rows[] = {
        {"true", 0, ""},
        {"echo n >d/n", BLD_DIFF_MTIME, "A d/n\n"},
        {"rm d/hard", BLD_DIFF_MTIME, "m d/f links\nD d/hard\n"},
        {"chmod 600 big", 0, "m big mode\n"},
        {"touch -d @1 big", 0, "m big mtime\n"},
        {"touch -d @1600000000.9 big", 0, ""},
        {"echo HELLO >d/f; touch -d @1600000000 d/f", 0, "M d/f content\nM d/hard content\n"},
        {"echo HELLO >d/f; touch -d @1600000000 d/f", BLD_DIFF_CONTENT, ""},
        {"echo longer >d/f; touch -d @1600000000 d/f", 0,
         "M d/f content size\nM d/hard content size\n"},
        {"echo longer >d/f; touch -d @1600000000 d/f", BLD_DIFF_CONTENT,
         "M d/f size\nM d/hard size\n"},
        {"ln -sfn y d/s", BLD_DIFF_MTIME, "M d/s link\n"},
        {"rm p; mkdir p; touch p/x", BLD_DIFF_MTIME, "T p type\nA p/x\n"},
        {"rm -r d/e; echo x >d/e", BLD_DIFF_MTIME, "T d/e type\nD d/e/x\n"},
        {"rm -r d", 0, "D d\nD d/e\nD d/e/x\nD d/f\nD d/hard\nD d/s\n"},
        {"mv big large", BLD_DIFF_MTIME, "D big =large\nA large =big\n"},
        {"mv d d2", BLD_DIFF_MTIME,
         "D d\nD d/e\nD d/e/x\nD d/f =d2/f\nD d/hard =d2/hard\nD d/s\n"
         "A d2\nA d2/e\nA d2/e/x\nA d2/f =d/f\nA d2/hard =d/hard\nA d2/s\n"},
        {"cp d/f d/g; rm d/hard; ln d/f d/hard", BLD_DIFF_MTIME, "A d/g\n"},
        {"cp -p d/f x; mv x d/hard", BLD_DIFF_MTIME, "m d/f links\nm d/hard links\n"},
        {"ln big d/z", BLD_DIFF_MTIME, "m big links\nA d/z\n"},
        {"ln big d/z", BLD_DIFF_MTIME | BLD_DIFF_LINKS, "A d/z\n"},
        {"chown 7:0 big", 0, "m big uid\n"},
        {"chown -h 0:9 d/s", 0, "m d/s gid\n"},
        {"rm p; mknod p c 1 3; chmod 644 p; touch -d @1600000000 p", BLD_DIFF_MTIME, "T p type\n"},
};

static void test_folders(void **state)
{
        char *dir = lf_tmpdir();

        (void)state;
        lf_sh("umask 022; cd $1 && mkdir -p d/e && echo hello >d/f && ln d/f d/hard && ln -s ../x "
              "d/s && touch d/e/x && head -c 3000000 /dev/urandom >big && mkfifo p && chmod 640 "
              "d/f && find . -exec touch -h -d @1600000000 {} +",
              dir, NULL, 0, NULL);
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                const struct bld_diff_opts o = {.size = sizeof(o), .ignore = rows[i].ignore};
                struct sb script = SB_INIT(8192);
                struct bld_image *a = open_tree(dir), *b;
                char *copy = lf_tmpdir();

                print_message("%s\n", rows[i].change);
                sb_fmt(&script, "umask 022; cp -a %s/. $1/ && cd $1 && %s", dir, rows[i].change);
                if (lf_is_root() ||
                    (!strstr(rows[i].change, "chown") && !strstr(rows[i].change, "mknod"))) {
                        lf_sh(sb_text(&script), copy, NULL, 0, NULL);
                        b = open_tree(copy);
                        compare(a, b, &o, rows[i].want);
                        bld_image_close(b);
                }
                bld_image_close(a);
                sb_done(&script);
                lf_rmdir(copy);
        }
        lf_rmdir(dir);
}

/* ---- chains of layers ---- */

static const struct {
        const char *name;
        const char *a[LT_LAYERS + 1], *b[LT_LAYERS + 1];
        struct bld_diff_opts o;
        const char *want;
} chains[] = {
        {"both empty", {NULL}, {NULL}, {0}, ""},
        {"an empty layer", {"", "f a x"}, {"", "f b x"}, {0}, "D a =b\nA b =a\n"},
        {"from nothing", {NULL}, {"d a\nf a/b x"}, {0}, "A a\nA a/b\n"},
        {"whiteouts",
         {"d d\nf d/f x"},
         {"d d\nf d/f x", "d d 0700\nw d/f\nf d/g y"},
         {0},
         "m d mode\nD d/f\nA d/g\n"},
        {"layers do not count, trees do", {"f a x", "f b y"}, {"f b y\nf a x"}, {0}, ""},
        {"implied equals implied", {"f a/b x"}, {"f a/b x\nf c"}, {0}, "A c\n"},
        {"implied equals named, 0755 and root's", {"f a/b x"}, {"d a\nf a/b x"}, {0}, ""},
        {"implied is not 0700", {"f a/b x"}, {"d a 0700\nf a/b x"}, {0}, "m a mode\n"},
        {"implied is no file", {"f a/b x"}, {"f a x"}, {0}, "T a type\nD a/b\n"},
        {"content",
         {"f a one\nf b one\nf c one"},
         {"f a one\nf b two\nf c three"},
         {0},
         "M b content\nM c content size\n"},
        {"a device", {"c a 3"}, {"c a 4"}, {0}, "M a device\n"},
        {"attributes", {"f a x\nx user.k v"}, {"f a x\nx user.k w"}, {0}, "m a xattrs\n"},
        {"attributes, ignored", {"f a x\nx user.k v"}, {"f a x"}, {.ignore = BLD_DIFF_XATTRS}, ""},
        {"hard links over layers",
         {"f a x", "l b a"},
         {"f a x\nf b x"},
         {0},
         "m a links\nm b links\n"},
        {"the same names linked", {"f a x\nl b a\nl c a"}, {"f c x\nl a c\nl b c"}, {0}, ""},
        {"renamed",
         {"f a one\nf b two"},
         {"f y two\nf x one"},
         {0},
         "D a =x\nD b =y\nA x =a\nA y =b\n"},
        {"the same name is the better match",
         {"d d\nf d/n one"},
         {"d d\nf a one\nd z\nf z/n one"},
         {0},
         "A a\nD d/n =z/n\nA z\nA z/n =d/n\n"},
        {"empty files are not renamed", {"f a"}, {"f b"}, {0}, "D a\nA b\n"},
        {"no renames", {"f a one"}, {"f b one"}, {.no_renames = true}, "D a\nA b\n"},
        {"only",
         {"f a x\nd d\nf d/e x"},
         {"f a y\nd d\nf d/e y"},
         {.only = {(const char *const[]){"d"}, 1}},
         "M d/e content\n"},
        {"exclude",
         {"f a x\nd d\nf d/e x"},
         {"f a y\nd d\nf d/e y"},
         {.exclude = {(const char *const[]){"**/e"}, 1}},
         "M a content\n"},
        {"shared layers are read where they are at hand",
         {"f a x\nf b y", "f c"},
         {"f a x\nf b y", "f b z"},
         {0},
         "M b content\nD c\n"},
        {"shared, whose files come back",
         {"f a one", "w a"},
         {"f a one", "f b one"},
         {0},
         "A a\nA b\n"},
        {"shared, renamed", {"f a one"}, {"f a one", "w a\nf b one"}, {0}, "D a =b\nA b =a\n"},
        {"in both, not at the bottom", {"f z", "f a x"}, {"f y", "f a x"}, {0}, "A y\nD z\n"},
        /* What the first layer has is not looked at. */
        {"skipped: exact where both say",
         {"f a x", "f b 1\nf c 1"},
         {"f a x", "f b 1\nf c 2"},
         {.shared = BLD_DIFF_SHARED_SKIP},
         "M c content\n"},
        {"skipped: one says",
         {"f a x", "f b 1"},
         {"f a x", "f c 1"},
         {.shared = BLD_DIFF_SHARED_SKIP},
         "D? b =c\nA? c =b\n"},
        {"skipped: a whiteout makes it sure",
         {"f a x", "f b 1"},
         {"f a x", "w b"},
         {.shared = BLD_DIFF_SHARED_SKIP},
         "D b\n"},
        {"skipped: so does a folder that is hidden",
         {"f a x", "d d\nf d/b 1"},
         {"f a x", "d d\no d"},
         {.shared = BLD_DIFF_SHARED_SKIP},
         "m? d\nD d/b\n"},
        {"skipped: or one that is no folder",
         {"f a x", "f d 2"},
         {"f a x", "d d\nf d/b 1"},
         {.shared = BLD_DIFF_SHARED_SKIP},
         "T d type\nA d/b\n"},
        {"skipped: hidden by one",
         {"f a x", "w a\nw k\nw k"},
         {"f a x", "w b\nw k"},
         {.shared = BLD_DIFF_SHARED_SKIP},
         "A? a\nD? b\n"},
        {"skipped: implied folders",
         {"f a x", "f d/b 1"},
         {"f a x", "d d 0700\nf d/b 1"},
         {.shared = BLD_DIFF_SHARED_SKIP},
         "m? d mode\n"},
        {"skipped: hard links to what is below",
         {"f a x", "l b a\nl c a"},
         {"f a x", "l b a\nl c z"},
         {.shared = BLD_DIFF_SHARED_SKIP},
         "M? c link\n"},
        {"skipped: only what is wanted",
         {"f a x", "w a\nw b"},
         {"f a x", "f c"},
         {.shared = BLD_DIFF_SHARED_SKIP, .exclude = {(const char *const[]){"b", "c"}, 2}},
         "A? a\n"},
};

static void test_chains(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(chains); i++) {
                struct bld_diff_opts o = chains[i].o;
                struct lt_image a, b;

                print_message("%s\n", chains[i].name);
                o.size = sizeof(o);
                lt_open(&a, chains[i].a);
                lt_open(&b, chains[i].b);
                compare(a.im, b.im, &o, chains[i].want);
                /* A layer that is the very same in both. */
                compare(a.im, a.im, &o, "");
                lt_close(&b);
                lt_close(&a);
        }
}

static bool stop(void *user UNUSED)
{
        return true;
}

static void test_refused(void **state)
{
        static const char *const a[] = {"f a x", NULL}, *const b[] = {"f a y", NULL};
        static const char *const c[] = {"f a x", "o \nf b", NULL}, *const e[] = {"f a x", "f b",
                                                                                 NULL};
        const struct bld_watch w = {.size = sizeof(w), .stop = stop};
        struct bld_diff_opts o = {.size = sizeof(o), .watch = &w};
        struct bld_diff *d = NULL;
        struct lt_image x, y;

        (void)state;
        lt_open(&x, a);
        lt_open(&y, b);
        assert_int_equal(bld_diff(x.im, y.im, &o, &d, NULL), BLD_E_CANCELLED);
        o.size = 0;
        assert_int_equal(bld_diff(x.im, y.im, &o, &d, NULL), BLD_E_USAGE);
        assert_null(d);
        lt_close(&x);
        lt_close(&y);
        lt_open(&x, c);
        lt_open(&y, e);
        o = (struct bld_diff_opts){.size = sizeof(o), .shared = BLD_DIFF_SHARED_SKIP};
        assert_int_equal(bld_diff(x.im, y.im, &o, &d, NULL), BLD_E_UNSUPPORTED);
        o.shared = BLD_DIFF_SHARED_READ;
        assert_int_equal(bld_diff(x.im, y.im, &o, &d, NULL), 0);
        assert_int_equal(bld_diff_count(d), 1);
        assert_null(bld_diff_change(d, 1));
        bld_diff_free(d);
        bld_diff_free(NULL);
        lt_close(&x);
        lt_close(&y);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_folders),
                cmocka_unit_test(test_chains),
                cmocka_unit_test(test_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
