/* Distinct objects in several threads at once, and one session in all of them: for the thread
 * sanitizer to look at (make MODE=tsan), and by itself that each thread gets its own results. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bld/bld.h"
#include "layer_fixture.h"

#define THREADS 4
#define ROUNDS 3
#define FILES 40

struct worker {
        pthread_t thread;
        pthread_barrier_t *start;
        struct bld *b; /* everybody's */
        const char *dir;
        unsigned id;
        struct bld_err err;
        char what[200]; /* what went wrong, or "" */
};

/* cmocka's assertions jump, which a thread cannot. */
static int check(struct worker *w, bool ok, const char *what)
{
        if (!ok && !w->what[0])
                snprintf(w->what, sizeof(w->what), "%s: %.120s", what, w->err.msg);
        return ok ? 0 : -1;
}
#define CHECK(x)                           \
        do {                               \
                if (check(w, (x), #x) < 0) \
                        return -1;         \
        } while (0)

static int write_fd(void *user, const void *p, size_t n)
{
        return write(*(int *)user, p, n) == (ssize_t)n ? 0 : EIO;
}

static int64_t read_fd(void *user, void *p, size_t n)
{
        ssize_t k = read(*(int *)user, p, n);

        return k < 0 ? -errno : k;
}

/* A layer of FILES files, whose content names thread and version; version 1 lacks the last. */
static int make(struct worker *w, unsigned version, int fd, struct bld_layer_created *ret)
{
        static const enum bld_layer_codec codecs[] = {BLD_LAYER_GZIP, BLD_LAYER_ZSTD,
                                                      BLD_LAYER_TAR};
        const struct bld_layer_create_opts o = {.size = sizeof(o),
                                                .codec = codecs[(w->id + version) % 3]};
        const struct bld_output out = {
                .size = sizeof(out), .fd = -1, .write = write_fd, .user = &fd};
        struct bld_layer_writer *lw;
        int r = 0;

        CHECK(bld_layer_writer_open(&out, &o, &lw, &w->err) == 0);
        for (unsigned i = 0; r == 0 && i < FILES - version; i++) {
                char path[32], text[64];
                struct bld_layer_entry e = {
                        .size = sizeof(e), .path = path, .type = BLD_LAYER_FILE, .mode = 0644};

                snprintf(path, sizeof(path), "f%02u", i);
                /* the even ones change */
                e.file_size = (uint64_t)snprintf(text, sizeof(text), "%u %u %u\n", w->id, i,
                                                 i % 2 ? 0 : version);
                r = bld_layer_writer_entry(lw, &e, NULL, &w->err);
                if (r == 0)
                        r = bld_layer_writer_data(lw, text, e.file_size, &w->err);
        }
        if (r == 0)
                r = bld_layer_writer_end(lw, ret, &w->err);
        bld_layer_writer_close(lw);
        CHECK(r == 0);
        return 0;
}

static int stream(struct worker *w, struct bld_layer_stream *s)
{
        struct bld_layer_created seen = {.size = sizeof(seen)};
        const struct bld_layer_entry *e;
        size_t n = 0;
        char buf[64];
        int r;

        while ((r = bld_layer_stream_next(s, &e, &w->err)) > 0) {
                int64_t k = bld_layer_stream_read(s, buf, sizeof(buf) - 1, &w->err);

                CHECK(k > 0 && (unsigned)buf[0] == '0' + w->id);
                n++;
        }
        CHECK(r == 0 && n == FILES);
        CHECK(bld_layer_stream_end(s, &seen, &w->err) == 0 && seen.tar_size > 0);
        return 0;
}

/* By callbacks, and as an image of the session that all threads use. */
static int streams(struct worker *w, int fd, const struct bld_layer_created *made)
{
        const struct bld_layer_stream_opts o = {
                .size = sizeof(o), .digest = made->digest, .diff_id = made->diff_id};
        const struct bld_input in = {.size = sizeof(in), .read = read_fd, .user = &fd};
        struct bld_layer_stream *s;
        struct bld_image *im;
        char path[200];
        int r;

        CHECK(lseek(fd, 0, SEEK_SET) == 0);
        CHECK(bld_layer_stream_open(&in, &o, &s, &w->err) == 0);
        r = stream(w, s);
        bld_layer_stream_close(s);
        CHECK(r == 0);
        snprintf(path, sizeof(path), "%s/%u", w->dir, w->id);
        CHECK(bld_image_open(w->b, path, NULL, &im, &w->err) == 0);
        r = check(w, bld_image_stream(im, 0, &s, &w->err) == 0, "bld_image_stream");
        if (r == 0) {
                r = stream(w, s);
                bld_layer_stream_close(s);
        }
        bld_image_close(im);
        CHECK(r == 0);
        return 0;
}

static int compare(struct worker *w, struct bld_layer *const *v)
{
        struct bld_pull_cost cost = {.size = sizeof(cost)};
        struct bld_image *a = NULL, *b = NULL;
        struct bld_diff *d = NULL;
        int r = check(w,
                      bld_image_of_layers(&v[0], 1, &a, &w->err) == 0 &&
                              bld_image_of_layers(&v[1], 1, &b, &w->err) == 0 &&
                              bld_diff(a, b, NULL, &d, &w->err) == 0 &&
                              bld_pull_cost(a, b, &cost, &w->err) == 0,
                      "compare");

        if (r == 0)
                r = check(w, bld_diff_count(d) == FILES / 2 + 1, "number of changes");
        if (r == 0)
                r = check(w, cost.changed == 1 && cost.bytes == cost.total, "pull cost");
        bld_diff_free(d);
        bld_image_close(b);
        bld_image_close(a);
        return r;
}

static int unpack(struct worker *w, int fd, const struct bld_layer_created *made)
{
        const struct bld_layer_apply_opts o = {.size = sizeof(o), .diff_id = made->diff_id};
        struct bld_layer_applied done = {.size = sizeof(done)};
        struct bld_layer *again = NULL;
        char *dir = lf_tmpdir();
        int to = lf_open_dir(dir), r;

        r = check(w, lseek(fd, 0, SEEK_SET) == 0, "seek");
        if (r == 0)
                r = check(w, bld_layer_apply(fd, to, &o, &done, &w->err) == 0, "bld_layer_apply");
        if (r == 0)
                r = check(w, done.entries == FILES, "number of entries");
        if (r == 0)
                r = check(w, bld_layer_open_dir(to, &again, &w->err) == 0, "bld_layer_open_dir");
        if (r == 0)
                r = check(w, bld_layer_count(again) == FILES, "entries of the folder");
        bld_layer_close(again);
        close(to);
        lf_rmdir(dir);
        return r;
}

static int packages(struct worker *w)
{
        static const char status[] =
                "Package: a\nStatus: install ok installed\nVersion: 1\nArchitecture: amd64\n\n";
        struct bld_packages *p;
        size_t n;

        CHECK(bld_packages_parse("dpkg", status, sizeof(status) - 1, &p, &w->err) == 0);
        n = bld_packages_count(p);
        bld_packages_free(p);
        CHECK(n == 1);
        return 0;
}

static int round_trip(struct worker *w)
{
        struct bld_layer_created made[2] = {{.size = sizeof(made[0])}, {.size = sizeof(made[1])}};
        struct bld_layer *v[2] = {NULL, NULL};
        char path[200];
        int fd[2], r = 0;

        snprintf(path, sizeof(path), "%s/%u", w->dir, w->id);
        fd[0] = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        fd[1] = memfd_create("layer", MFD_CLOEXEC);
        for (unsigned k = 0; k < 2 && r == 0; k++) {
                r = make(w, k, fd[k], &made[k]);
                if (r == 0)
                        r = check(w, bld_layer_open(fd[k], NULL, &v[k], &w->err) == 0, "open");
        }
        if (r == 0)
                r = compare(w, v);
        if (r == 0)
                r = streams(w, fd[0], &made[0]);
        if (r == 0)
                r = unpack(w, fd[0], &made[0]);
        if (r == 0)
                r = packages(w);
        for (unsigned k = 0; k < 2; k++) {
                bld_layer_close(v[k]);
                close(fd[k]);
        }
        return r;
}

static void *work(void *user)
{
        struct worker *w = user;

        (void)pthread_barrier_wait(w->start);
        for (unsigned i = 0; i < ROUNDS; i++)
                if (round_trip(w) < 0)
                        break;
        return NULL;
}

static void at_once(void **state)
{
        const struct bld_opts o = {.size = sizeof(o), .temporary = true, .offline = true};
        struct worker w[THREADS];
        pthread_barrier_t start;
        struct bld_err err = BLD_ERR_INIT;
        char *dir = lf_tmpdir();
        struct bld *b;

        (void)state;
        if (bld_open(&o, &b, &err) < 0)
                fail_msg("%s", err.msg);
        assert_int_equal(pthread_barrier_init(&start, NULL, THREADS), 0);
        for (unsigned i = 0; i < THREADS; i++) {
                w[i] = (struct worker){.start = &start, .b = b, .dir = dir, .id = i};
                assert_int_equal(pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
        }
        for (unsigned i = 0; i < THREADS; i++)
                assert_int_equal(pthread_join(w[i].thread, NULL), 0);
        pthread_barrier_destroy(&start);
        bld_close(b);
        lf_rmdir(dir);
        for (unsigned i = 0; i < THREADS; i++)
                if (w[i].what[0])
                        fail_msg("thread %u: %s", i, w[i].what);
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(at_once)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
