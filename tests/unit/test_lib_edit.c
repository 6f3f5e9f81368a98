/* Images made from images, through the API: stopped at every point, and while nothing comes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <stdatomic.h>

#include "bld/bld.h"
#include "lib_layout.h"
#include "mock_http.h"

#define ASKS_MAX 5000u

static struct bld *session(void)
{
        const struct bld_opts o = {.size = sizeof(o), .temporary = true, .no_retry = true};
        struct bld_err err = BLD_ERR_INIT;
        struct bld *b;

        if (bld_open(&o, &b, &err) < 0)
                fail_msg("%s", err.msg);
        return b;
}

/* Asked from several threads: the k-th question is answered with yes, and only that one. */
struct asked {
        atomic_uint n;
        unsigned k;
};

static bool stop_at(void *user)
{
        struct asked *a = user;

        return atomic_fetch_add(&a->n, 1) + 1 == a->k;
}

static size_t open_files(void)
{
        DIR *d = opendir("/proc/self/fd");
        size_t n = 0;

        assert_non_null(d);
        while (readdir(d))
                n++;
        closedir(d);
        return n;
}

/* ---- every call, stopped at every question ---- */

enum call { MUTATE, APPEND, FLATTEN, REBASE, CALLS };

struct job {
        struct bld *b;
        char src[200], base[400], file[400];
};

static int run(const struct job *j, enum call c, const char *dst, const struct bld_watch *w,
               struct bld_err *err)
{
        const struct bld_edit_opts o = {
                .size = sizeof(o), .platform = "linux/amd64", .dst = dst, .watch = w, .in_fd = -1};
        const char *label = "a=b", *files[] = {j->file};
        const struct bld_mutate_opts m = {
                .size = sizeof(m), .edit = &o, .labels = {.v = &label, .n = 1}};
        const struct bld_append_opts a = {.size = sizeof(a), .edit = &o};
        const struct bld_list layers = {.v = files, .n = 1};
        char *json = NULL;
        int r = c == MUTATE    ? bld_mutate(j->b, j->src, &m, &json, err)
                : c == APPEND  ? bld_append(j->b, j->src, &layers, &a, &json, err)
                : c == FLATTEN ? bld_flatten(j->b, j->src, 0, &o, &json, err)
                               : bld_rebase(j->b, j->src, j->base, j->base, &o, &json, err);

        assert_int_equal(json != NULL, r == 0);
        bld_free(json);
        return r;
}

static bool exists(struct bld *b, const char *place)
{
        struct bld_image *im = NULL;
        int r = bld_image_open(b, place, NULL, &im, NULL);

        assert_true(r == 0 || r == BLD_E_NOT_FOUND);
        bld_image_close(im);
        return r == 0;
}

/* Until a call comes to its end before it is asked that often. */
static unsigned stop_everywhere(const struct job *j, enum call c, const char *dst)
{
        for (unsigned k = 1; k < ASKS_MAX; k++) {
                struct asked a = {.k = k};
                const struct bld_watch w = {.size = sizeof(w), .stop = stop_at, .user = &a};
                struct bld_err err = BLD_ERR_INIT;
                size_t before = open_files();
                int r = run(j, c, dst, &w, &err);

                assert_int_equal(open_files(), before);
                assert_int_equal(exists(j->b, dst), r == 0);
                if (r == 0)
                        return k;
                if (r != BLD_E_CANCELLED)
                        fail_msg("call %d, question %u: %d %s", (int)c, k, r, err.msg);
        }
        fail_msg("call %d does not end", (int)c);
        return 0;
}

static void every_question(void **state)
{
        struct job j = {.b = session()};
        struct layout l;

        (void)state;
        lay_up(&l);
        (void)snprintf(j.src, sizeof(j.src), "oci:%s:v1", l.dir);
        (void)snprintf(j.base, sizeof(j.base), "oci:%s@%s", l.dir, l.manifest.digest);
        (void)snprintf(j.file, sizeof(j.file), "%s/blobs/sha256/%.64s", l.dir,
                       l.layer[0].digest + 7);
        for (enum call c = 0; c < CALLS; c++) {
                char dst[200];

                (void)snprintf(dst, sizeof(dst), "oci:%s:new%d", l.dir, (int)c);
                assert_true(stop_everywhere(&j, c, dst) > 2);
                (void)snprintf(dst, sizeof(dst), "store:localhost/new:%d", (int)c);
                assert_true(stop_everywhere(&j, c, dst) > 2);
        }
        lay_down(&l);
        bld_close(j.b);
}

/* ---- a registry that falls silent ---- */

static struct mock *registry(const struct layout *l, struct job *j)
{
        struct mock *m = mock_start();
        char head[400], manifest[200], config[200];
        const char *content = "Content-Type: application/vnd.oci.image.manifest.v1+json\r\n";

        (void)setenv("HOME", "/nonexistent", 1);
        (void)snprintf(j->src, sizeof(j->src), "docker://%s/a/b:v1", mock_host(m));
        (void)snprintf(head, sizeof(head), "Docker-Content-Digest: %s\r\nContent-Length: %zu\r\n%s",
                       l->manifest.digest, l->manifest.text.len, content);
        (void)snprintf(manifest, sizeof(manifest), "GET /v2/a/b/manifests/%s", l->manifest.digest);
        (void)snprintf(config, sizeof(config), "GET /v2/a/b/blobs/%s", l->config.digest);
        {
                const struct mock_step steps[] = {{.request = "HEAD /v2/a/b/manifests/v1",
                                                   .status = 200,
                                                   .headers = head,
                                                   .no_length = true},
                                                  {.request = "GET /v2/a/b/manifests/*",
                                                   .status = 200,
                                                   .headers = content,
                                                   .body = sb_text(&l->manifest.text)},
                                                  {.request = config, .how = MOCK_SILENT},
                                                  {.request = NULL}};

                mock_script(m, steps);
        }
        return m;
}

/* It has taken the last of the script's requests, which it never answers. */
struct silence {
        struct mock *m;
        struct bld *b;
        bool session_ends;
};

static bool is_silent(void *user)
{
        const struct silence *s = user;

        if (mock_requests(s->m) < 3)
                return false;
        if (s->session_ends)
                bld_cancel(s->b, 1);
        return !s->session_ends;
}

static void silence(bool session_ends)
{
        struct job j = {.b = session()};
        struct silence s = {.b = j.b, .session_ends = session_ends};
        const struct bld_watch w = {.size = sizeof(w), .stop = is_silent, .user = &s};
        struct layout l;
        char *wrong;

        lay_up(&l);
        s.m = registry(&l, &j);
        assert_int_equal(run(&j, FLATTEN, "store:localhost/new:1", &w, NULL), BLD_E_CANCELLED);
        wrong = mock_stop(s.m);
        if (wrong)
                fail_msg("%s", wrong);
        /* what else the session does is not stopped with the call */
        (void)snprintf(j.src, sizeof(j.src), "oci:%s:v1", l.dir);
        assert_int_equal(run(&j, FLATTEN, "store:localhost/new:1", NULL, NULL),
                         session_ends ? BLD_E_CANCELLED : 0);
        lay_down(&l);
        bld_close(j.b);
}

static void stopped_in_silence(void **state)
{
        (void)state;
        silence(false);
}

/* A call with a watch of its own ends with its session all the same. */
static void session_ends(void **state)
{
        (void)state;
        silence(true);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_question),
                cmocka_unit_test(stopped_in_silence),
                cmocka_unit_test(session_ends),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
