/* bld_diff_patch(): what is in a patch, in which order, and what becomes of failures. That it makes
 * B of A is held against an oracle by tests/e2e/oracle.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#include "alloc_seam.h"

#include <errno.h>
#include <unistd.h>

#include "base/sb.h"
#include "bld/diff.h"
#include "layer_fixture.h"

/* ---- images of folders ---- */

struct world {
        char *dir; /* with the folders a, b and perhaps b2, an upper layer of B */
        struct bld_layer *layers[3];
        struct bld_image *a, *b;
        struct bld_diff *d;
};

static struct bld_layer *open_layer(const char *dir, const char *name)
{
        struct sb path = SB_INIT(4096);
        struct bld_err err = BLD_ERR_INIT;
        struct bld_layer *l = NULL;
        int fd;

        sb_fmt(&path, "%s/%s", dir, name);
        fd = lf_open_dir(sb_text(&path));
        if (bld_layer_open_dir(fd, &l, &err) < 0)
                fail_msg("%s", err.msg);
        close(fd);
        sb_done(&path);
        return l;
}

static void world_open(struct world *w, const char *script, const struct bld_diff_opts *o)
{
        static const char frame[] = "umask 022; cd $1 && mkdir a b b2 && { %s\n} && "
                                    "find . -exec touch -h -d @1600000000 {} +";
        struct sb text = SB_INIT(65536);
        struct bld_err err = BLD_ERR_INIT;

        w->dir = lf_tmpdir();
        sb_fmt(&text, frame, script);
        lf_sh(sb_text(&text), w->dir, NULL, 0, NULL);
        sb_done(&text);
        w->layers[0] = open_layer(w->dir, "a");
        w->layers[1] = open_layer(w->dir, "b");
        w->layers[2] = open_layer(w->dir, "b2");
        assert_int_equal(bld_image_of_layers(&w->layers[0], 1, &w->a, &err), 0);
        assert_int_equal(bld_image_of_layers(&w->layers[1], 2, &w->b, &err), 0);
        if (bld_diff(w->a, w->b, o, &w->d, &err) < 0)
                fail_msg("%s", err.msg);
}

static void world_done(struct world *w)
{
        bld_diff_free(w->d);
        bld_image_close(w->a);
        bld_image_close(w->b);
        for (size_t i = 0; i < 3; i++)
                bld_layer_close(w->layers[i]);
        lf_rmdir(w->dir);
}

static int collect(void *user, const void *p, size_t n)
{
        struct sb *b = user;

        sb_add(b, p, n);
        return b->failed ? ENOMEM : 0;
}

static int patch(struct world *w, enum bld_layer_codec codec, struct sb *out,
                 struct bld_layer_created *made, struct bld_err *err)
{
        const struct bld_layer_create_opts o = {
                .size = sizeof(o), .codec = codec, .threads = 1 /* a second may fail to start */};
        const struct bld_output to = {.size = sizeof(to), .write = collect, .user = out};

        return bld_diff_patch(w->d, &to, &o, made, err);
}

/* ---- what is in it ---- */

static const struct {
        const char *name, *script;
        unsigned ignore;
        const char *only, *want; /* "T MODE PATH[ -> LINK]" a line; w: whiteout, l: hard link */
} rows[] = {
        {"nothing", "echo x | tee a/f >b/f", 0, NULL, ""},
        {"folders come with what is in them",
         "mkdir -p a/d/e b/d/e; chmod 700 a/d b/d; echo >b/d/e/f", 0, NULL,
         "d 0700 d\nd 0755 d/e\nf 0644 d/e/f\n"},
        {"whiteouts first, the topmost only",
         "mkdir -p a/d/x/y a/d/z b/d; touch a/d/x/y/f a/d/m; echo >b/d/a", 0, NULL,
         "d 0755 d\nw 0000 d/m\nw 0000 d/x\nw 0000 d/z\nf 0644 d/a\n"},
        {"names by bytes, a folder before its neighbours", "mkdir b/a; touch b/a/x b/a-b b/a.c b/B",
         0, NULL, "f 0644 B\nd 0755 a\nf 0644 a/x\nf 0644 a-b\nf 0644 a.c\n"},
        {"a folder becomes a file", "mkdir -p a/d/e; touch a/d/f; touch b/d", 0, NULL,
         "f 0644 d\n"},
        {"a file becomes a folder", "touch a/d; mkdir b/d; touch b/d/f", 0, NULL,
         "d 0755 d\nf 0644 d/f\n"},
        {"a link becomes a folder", "mkdir a/t b/t b/d; ln -s t a/d; touch b/d/f", 0, NULL,
         "d 0755 d\nf 0644 d/f\n"},
        {"all names of a file", "echo x >a/p; ln a/p a/q; echo x >b/p; ln b/p b/q; ln b/p b/r", 0,
         NULL, "f 0644 p\nl 0644 q -> p\nl 0644 r -> p\n"},
        {"names no longer one file", "echo x >a/p; ln a/p a/q; echo x >b/p; echo x >b/q", 0, NULL,
         "f 0644 p\nf 0644 q\n"},
        {"links left out stay", "echo x >a/p; ln a/p a/q; echo y >b/p; ln b/p b/q", 0, "q",
         "f 0644 q\n"},
        {"links of links", "ln -s t b/p; ln b/p b/q; mkfifo b/x; ln b/x b/y", 0, NULL,
         "s 0777 p -> t\nl 0777 q -> p\np 0644 x\nl 0644 y -> x\n"},
        {"only one path, below folders that do not change",
         "mkdir -p a/d/e b/d/e; chmod 700 b/d; touch b/d/e/f b/g", 0, "d/e",
         "d 0755 d\nd 0755 d/e\nf 0644 d/e/f\n"},
        {"only one path, below a folder that is not there",
         "mkdir -p b/d/e; chmod 700 b/d; touch b/d/e/f b/g", 0, "d/e",
         "d 0700 d\nd 0755 d/e\nf 0644 d/e/f\n"},
        {"what is ignored alone is no change", "touch a/f b/f; chmod 600 b/f", BLD_DIFF_MODE, NULL,
         ""},
        {"with another it is B's", "echo x >a/f; echo y >b/f; chmod 600 b/f", BLD_DIFF_MODE, NULL,
         "f 0600 f\n"},
        {"folders keep what is ignored", "mkdir a/d b/d; chmod 700 b/d; touch b/d/f", BLD_DIFF_MODE,
         NULL, "d 0755 d\nf 0644 d/f\n"},
        {"upper layers first by name",
         "echo z >b/z; echo y >b/y; echo a >b2/a; echo m >b2/y; touch b2/n", 0, NULL,
         "f 0644 a\nf 0644 n\nf 0644 y\nf 0644 z\n"},
};

static void show(const struct sb *tar, struct sb *out)
{
        struct sb lines = SB_INIT(LF_MAX);
        struct bld_err err = BLD_ERR_INIT;
        char *save = NULL, *text;

        if (lf_list(tar->buf, tar->len, 0, &lines, &err) < 0)
                fail_msg("%s", err.msg);
        text = lines.buf;
        for (char *l = text ? strtok_r(text, "\n", &save) : NULL; l;
             l = strtok_r(NULL, "\n", &save)) {
                char type, owner[64];
                unsigned mode;
                unsigned long long size, mtime;
                int at = 0;

                assert_int_equal(sscanf(l, "%c %o %63s %llu %llu %n", &type, &mode, owner, &size,
                                        &mtime, &at),
                                 5);
                assert_int_equal(mtime / 1000000000, type == 'w' ? 0 : 1600000000);
                sb_fmt(out, "%c %04o %s\n", type, mode, l + at);
        }
        sb_done(&lines);
}

static void test_content(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                const struct bld_diff_opts o = {
                        .size = sizeof(o),
                        .ignore = rows[i].ignore,
                        .only = {.v = &rows[i].only, .n = rows[i].only != NULL}};
                struct sb tar = SB_INIT(LF_MAX), out = SB_INIT(LF_MAX);
                struct bld_err err = BLD_ERR_INIT;
                struct world w = {0};

                print_message("%s\n", rows[i].name);
                world_open(&w, rows[i].script, &o);
                if (patch(&w, BLD_LAYER_TAR, &tar, NULL, &err) < 0)
                        fail_msg("%s", err.msg);
                show(&tar, &out);
                assert_string_equal(sb_text(&out), rows[i].want);
                world_done(&w);
                sb_done(&tar);
                sb_done(&out);
        }
}

/* Large files whose layers come in another order than their names. */
static const char mixed[] =
        "head -c 300000 /dev/urandom >b/z; head -c 700000 /dev/zero >b/m; echo q >b/q;"
        "head -c 500000 /dev/urandom >b2/a; head -c 100 /dev/urandom >b2/n; ln b2/n b2/o";

static void test_bytes(void **state)
{
        static const enum bld_layer_codec codecs[] = {BLD_LAYER_TAR, BLD_LAYER_GZIP,
                                                      BLD_LAYER_ZSTD};
        struct bld_layer_created made = {.size = sizeof(made)}, first = {.size = sizeof(first)};
        struct world w = {0};

        (void)state;
        world_open(&w, mixed, NULL);
        for (size_t i = 0; i < ARRAY_LEN(codecs); i++) {
                struct sb out = SB_INIT(LF_MAX), again = SB_INIT(LF_MAX);
                struct bld_err err = BLD_ERR_INIT;

                if (patch(&w, codecs[i], &out, &made, &err) < 0 ||
                    patch(&w, codecs[i], &again, NULL, &err) < 0)
                        fail_msg("%s", err.msg);
                assert_int_equal(out.len, made.file_size);
                assert_int_equal(out.len, again.len);
                assert_memory_equal(out.buf, again.buf, out.len);
                if (!i)
                        first = made;
                assert_string_equal(made.diff_id, first.diff_id);
                lf_sh("mkdir -p $1/out && cat >$1/t && tar -xf $1/t -C $1/out && for f in z m q a "
                      "n o; do "
                      "cmp $1/out/$f $1/b/$f 2>/dev/null || cmp $1/out/$f $1/b2/$f; done",
                      w.dir, out.buf, out.len, NULL);
                sb_done(&out);
                sb_done(&again);
        }
        world_done(&w);
}

/* ---- failures ---- */

static int refuse(void *user, const void *p, size_t n)
{
        (void)user;
        (void)p;
        (void)n;
        return ENOSPC;
}

static bool stop(void *user)
{
        int *rest = user;

        return (*rest)-- <= 0;
}

static void test_failures(void **state)
{
        const struct bld_output bad = {.size = sizeof(bad), .write = refuse};
        struct sb out = SB_INIT(LF_MAX);
        const struct bld_output good = {.size = sizeof(good), .write = collect, .user = &out};
        struct bld_layer_created made = {.size = 0};
        struct bld_layer_create_opts o = {.size = 0};
        struct world w = {0};
        int calls;

        (void)state;
        world_open(&w, mixed, NULL);
        assert_int_equal(bld_diff_patch(w.d, &bad, NULL, NULL, NULL), BLD_E_SYS);
        assert_int_equal(bld_diff_patch(w.d, &good, &o, NULL, NULL), BLD_E_USAGE);
        assert_int_equal(bld_diff_patch(w.d, &good, NULL, &made, NULL), BLD_E_USAGE);
        assert_int_equal(out.len, 0);
        o.size = sizeof(o);
        for (calls = 0; calls < 3; calls++) {
                int rest = calls;
                const struct bld_watch watch = {.size = sizeof(watch), .stop = stop, .user = &rest};

                o.watch = &watch;
                assert_int_equal(bld_diff_patch(w.d, &good, &o, NULL, NULL), BLD_E_CANCELLED);
        }
        sb_done(&out);
        world_done(&w);
}

static void test_no_room(void **state)
{
        struct sb out = SB_INIT(LF_MAX);
        struct bld_err err = BLD_ERR_INIT;
        struct world w = {0};

        (void)state;
        world_open(&w, mixed, NULL);
        assert_int_equal(setenv("TMPDIR", "/nonexistent", 1), 0);
        assert_int_equal(patch(&w, BLD_LAYER_TAR, &out, NULL, &err), BLD_E_SYS);
        assert_non_null(strstr(err.msg, "temporary file"));
        unsetenv("TMPDIR");
        world_done(&w);
        sb_done(&out);
}

static struct world memory_world;

static int run_patch(struct bld_err *err)
{
        struct sb out = SB_INIT(LF_MAX);
        int r;

        /* the output is the test's own */
        if (!vec_grow((void **)&out.buf, &out.cap, 4 << 20, 1))
                return err_nomem(err, "output");
        r = patch(&memory_world, BLD_LAYER_TAR, &out, NULL, err);
        sb_done(&out);
        return r;
}

static void test_memory(void **state)
{
        (void)state;
        world_open(&memory_world, mixed, NULL);
        fail_each(run_patch);
        world_done(&memory_world);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_content),  cmocka_unit_test(test_bytes),
                cmocka_unit_test(test_failures), cmocka_unit_test(test_no_room),
                cmocka_unit_test(test_memory),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
