/* Opening, streaming, writing and applying when memory runs out: every allocation fails once, and
 * each failure is told, leaks nothing and leaves no descriptor open. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "alloc_seam.h"

#include <dirent.h>
#include <stdio.h>

#include "bld/bld.h"
#include "lib_layout.h"

static struct bld *b;
static struct layout lay;
static char ref[400], tree[400];

static size_t descriptors(void)
{
        DIR *d = opendir("/proc/self/fd");
        size_t n = 0;

        while (readdir(d))
                n++;
        closedir(d);
        return n;
}

static void image_close_p(struct bld_image **im)
{
        bld_image_close(*im);
}

static void stream_close_p(struct bld_layer_stream **s)
{
        bld_layer_stream_close(*s);
}

static void writer_close_p(struct bld_layer_writer **w)
{
        bld_layer_writer_close(*w);
}

static int open_it(const char *what, struct bld_image **ret, struct bld_err *err)
{
        const struct bld_image_open_opts o = {.size = sizeof(o), .platform = "linux/amd64"};

        return bld_image_open(b, what, &o, ret, err);
}

static int stream_it(struct bld_err *err)
{
        __attribute__((cleanup(image_close_p))) struct bld_image *im = NULL;
        __attribute__((cleanup(stream_close_p))) struct bld_layer_stream *s = NULL;
        int r = open_it(ref, &im, err);

        if (r == 0)
                r = bld_image_stream(im, 1, &s, err);
        return r == 0 ? bld_layer_stream_end(s, NULL, err) : r;
}

static int by_number(struct bld_err *err)
{
        __attribute__((cleanup(image_close_p))) struct bld_image *im = NULL;
        char text[420];

        (void)snprintf(text, sizeof(text), "%s#-1", lay.dir);
        return open_it(text, &im, err);
}

static int folder(struct bld_err *err)
{
        __attribute__((cleanup(image_close_p))) struct bld_image *im = NULL;
        char text[420];

        (void)snprintf(text, sizeof(text), "dir:%s", lay.dir);
        return open_it(text, &im, err);
}

static int swallow(void *user, const void *p, size_t n)
{
        (void)user;
        (void)p;
        (void)n;
        return 0;
}

static int write_it(struct bld_err *err)
{
        const struct bld_layer_create_opts o = {.size = sizeof(o), .threads = 1};
        const struct bld_output out = {.size = sizeof(out), .fd = -1, .write = swallow};
        const struct bld_layer_entry v[] = {
                {.size = sizeof(v[0]), .path = "a/b/c", .type = BLD_LAYER_FILE, .file_size = 3},
                {.size = sizeof(v[0]), .path = "a/d", .type = BLD_LAYER_HARDLINK, .link = "a/b/c"}};
        __attribute__((cleanup(writer_close_p))) struct bld_layer_writer *w = NULL;
        int r = bld_layer_writer_open(&out, &o, &w, err);

        for (size_t i = 0; r == 0 && i < 2; i++) {
                r = bld_layer_writer_entry(w, &v[i], NULL, err);
                if (r == 0)
                        r = bld_layer_writer_data(w, "abc", v[i].file_size, err);
        }
        return r == 0 ? bld_layer_writer_end(w, NULL, err) : r;
}

static int apply_it(struct bld_err *err)
{
        __attribute__((cleanup(image_close_p))) struct bld_image *im = NULL;
        const struct bld_layer_apply_opts o = {.size = sizeof(o), .record_owner = true};
        AUTO_FD int fd = open(tree, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int r = open_it(ref, &im, err);

        return r == 0 ? bld_image_apply(im, fd, &o, NULL, err) : r;
}

static int session(struct bld_err *err)
{
        const struct bld_opts o = {.size = sizeof(o), .temporary = true, .creds = "a:b"};
        struct bld *s = NULL;
        int r = bld_open(&o, &s, err);

        bld_close(s);
        return r;
}

/* What can do without the memory may go on: the digests say that nothing is
 * wrong with what comes out. */
static void fail_or_not(int (*run)(struct bld_err *))
{
        long n = 0;

        do {
                struct bld_err err = BLD_ERR_INIT;
                int r;

                failed = false;
                left = n++;
                r = run(&err);
                left = -1;
                if (r != 0 && r != BLD_E_NOMEM)
                        fail_msg("allocation %ld: %d %s", n - 1, r, err.msg);
        } while (failed);
        assert_true(n > 5);
}

static void each(void **state)
{
        static int (*const runs[])(struct bld_err *) = {stream_it, by_number, folder,
                                                        write_it,  apply_it,  session};
        const struct bld_opts o = {.size = sizeof(o), .temporary = true};
        char *dir = lf_tmpdir();
        size_t before;

        (void)state;
        lay_up(&lay);
        (void)snprintf(ref, sizeof(ref), "oci:%s:v1", lay.dir);
        (void)snprintf(tree, sizeof(tree), "%s", dir);
        assert_int_equal(bld_open(&o, &b, NULL), 0);
        for (size_t i = 0; i < ARRAY_LEN(runs); i++) {
                struct bld_err err = BLD_ERR_INIT;

                assert_int_equal(runs[i](&err), 0); /* what is made once is there */
                before = descriptors();
                fail_or_not(runs[i]);
                assert_int_equal(descriptors(), before);
        }
        bld_close(b);
        lay_down(&lay);
        lf_rmdir(dir);
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(each)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
