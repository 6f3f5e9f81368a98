/* kill -9 at any moment: the layout stays whole, nothing stays behind, the next process goes on. */
#include "tests/unit/cas_fixture.h"

#include <dirent.h>
#include <signal.h>
#include <time.h>

#define ROUNDS 40

/* One of everything, again and again, until killed. */
static int work(struct cas *c, unsigned seed, unsigned i)
{
        const char *const tags[] = {"a.io/app:v1", "a.io/app:v2", "b.io/web:v1"};
        AUTO(img_desc_done) struct img_desc d = {.size = 0};
        struct cas_build *b = NULL;
        struct cas_tmp *t = NULL;
        struct cas_lock *l = NULL;
        struct cas_prune_result pruned;
        const struct cas_prune_opts o = {.all = i % 2 == 0};
        struct digest layer, key;
        char text[64], hex[DIGEST_HEX_MAX];
        int r;

        (void)snprintf(text, sizeof(text), "content %u %u", seed, i);
        key = key_of(text);
        digest_hex(&key, hex);
        r = cas_build_begin(c, &b, NULL);
        if (r == 0)
                r = cas_key_lock(c, &key, cas_build_id(b), true, NULL, &l, NULL, NULL);
        if (r == 0)
                r = make_image(c, text, &d, &layer, NULL);
        if (r == 0 && cas_lease_blob(b, &layer, NULL) != 1)
                r = -1;
        if (r == 0)
                r = cas_result_put(c, &key, "step", text, strlen(text), &layer, 1, NULL);
        if (r == 0)
                r = cas_tmp_new(c, &t, NULL);
        if (r == 0 && mkdirat(cas_tmp_dirfd(t), "fs", 0755) < 0)
                r = -1;
        if (r == 0)
                r = cas_snapshot_publish(c, cas_tmp_path(t), "root", hex, 4096, 1, NULL);
        if (r == 0)
                r = cas_ref_set(c, i % 7 ? tags[i % 3] : NULL, &d, NULL);
        if (r == 0 && i % 5 == 4)
                r = cas_prune(c, &o, &pruned, NULL);
        cas_tmp_free(t);
        cas_key_unlock(l);
        cas_build_end(b, i % 3 == 0);
        return r;
}

static void child(const char *root, unsigned seed)
{
        for (unsigned i = 0;; i++) {
                struct cas *c = NULL;

                if (cas_open(root, &c, NULL) < 0 || cas_view_prepare(c, "root", NULL) < 0)
                        _exit(3);
                for (unsigned k = 0; k < 8; k++)
                        if (work(c, seed, i * 8 + k) < 0)
                                _exit(4);
                cas_close(c);
        }
}

static int need_all(struct cas *c, const struct img_desc *d)
{
        AUTO(img_manifest_done) struct img_manifest m = {.media_type = NULL};
        AUTO_SB struct sb text = SB_INIT(IMG_MANIFEST_MAX);
        int r = cas_blob_read(c, &d->digest, IMG_MANIFEST_MAX, &text, NULL);

        if (r == 0)
                r = img_manifest_decode(sb_text(&text), text.len, d->media_type, &m, NULL);
        if (r == 0)
                r = cas_blob_verify(c, &m.config.digest, NULL);
        for (size_t i = 0; r == 0 && i < m.layers.n; i++)
                r = cas_blob_verify(c, &m.layers.v[i].digest, NULL);
        return r;
}

static size_t names_in(struct cas *c, const char *dir, struct strv *ret)
{
        int fd = openat(cas_root_fd(c), dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        const struct dirent *e;
        DIR *d;

        assert_true(fd >= 0);
        d = fdopendir(fd);
        assert_non_null(d);
        while ((e = readdir(d)) != NULL)
                if (e->d_name[0] != '.')
                        assert_int_equal(strv_add(ret, e->d_name), 0);
        (void)closedir(d);
        return ret->n;
}

/* Whole: every name reaches verified blobs, and every blob is what its name says. */
static void check_store(struct fixture *f, bool alone)
{
        AUTO(cas_refs_free) struct cas_refs refs = {NULL, 0, 0};
        AUTO_STRV struct strv blobs = {NULL, 0, 0}, left = {NULL, 0, 0};
        AUTO_SB struct sb layout = SB_INIT(100);

        OK(file_read(cas_root_fd(f->c), "oci-layout", &layout, err));
        assert_string_equal(sb_text(&layout), "{\"imageLayoutVersion\":\"1.0.0\"}");
        if (!alone)
                return; /* what is listed may be collected before it is looked at */
        OK(cas_ref_list(f->c, &refs, err));
        for (size_t i = 0; i < refs.n; i++)
                if (need_all(f->c, &refs.v[i].desc) < 0)
                        fail_msg("image %s is not whole",
                                 refs.v[i].name ? refs.v[i].name : "(untagged)");
        (void)names_in(f->c, "blobs/sha256", &blobs);
        for (size_t i = 0; i < blobs.n; i++) {
                struct digest d;

                assert_true(digest_from_hex(blobs.v[i], &d));
                OK(cas_blob_verify(f->c, &d, err));
        }
        if (names_in(f->c, "tmp", &left) != 0)
                fail_msg("tmp/%s is left", left.v[0]);
}

static void pause_us(long us)
{
        const struct timespec t = {.tv_nsec = us * 1000};

        (void)nanosleep(&t, NULL);
}

static pid_t start(const struct fixture *f, unsigned seed)
{
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid == 0)
                child(f->root, seed);
        return pid;
}

static void kill_and_reap(pid_t pid)
{
        int status = 0;

        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (!WIFSIGNALED(status))
                fail_msg("the writer failed by itself: status %#x", (unsigned)status);
}

static void test_one_writer(void **state)
{
        struct fixture *f = *state;
        unsigned dice = 12345;

        for (unsigned i = 0; i < ROUNDS; i++) {
                pid_t pid = start(f, i);

                dice = dice * 1103515245u + 12345u;
                pause_us(500 + (long)(dice >> 16) % 30000);
                kill_and_reap(pid);
                reopen(f);
                check_store(f, true);
        }
        assert_int_equal(work(f->c, 999, 1), 0);
}

/* One is killed while others go on. */
static void test_several_writers(void **state)
{
        struct fixture *f = *state;
        unsigned dice = 54321;
        pid_t steady = start(f, 1000);

        for (unsigned i = 0; i < ROUNDS / 2; i++) {
                pid_t pid = start(f, i);

                dice = dice * 1103515245u + 12345u;
                pause_us(500 + (long)(dice >> 16) % 20000);
                kill_and_reap(pid);
                reopen(f);
                check_store(f, false);
        }
        kill_and_reap(steady);
        reopen(f);
        check_store(f, true);
}

/* Killed while the store is made for the first time. */
static void test_creation(void **state)
{
        struct fixture *f = *state;

        for (unsigned i = 0; i < ROUNDS; i++) {
                struct cas *c;
                char root[300];
                pid_t pid;

                (void)snprintf(root, sizeof(root), "%s/new%u", f->dir, i);
                pid = fork();
                assert_true(pid >= 0);
                if (pid == 0)
                        child(root, i);
                pause_us(100 + 150 * (long)i);
                kill_and_reap(pid);
                OK(cas_open(root, &c, err));
                OK(cas_view_prepare(c, "root", err));
                assert_int_equal(work(c, i, 1), 0);
                cas_close(c);
        }
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, fixture_up, fixture_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                T(test_one_writer),
                T(test_several_writers),
                T(test_creation),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
