/* Leases, collection and disk use. */
#include "tests/unit/cas_fixture.h"

#include <signal.h>

#define ID "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static struct cas_prune_result prune(struct fixture *f, struct cas_prune_opts o)
{
        struct cas_prune_result res;

        OK(cas_prune(f->c, &o, &res, err));
        return res;
}

/* A blob of `size` bytes that begins with the text. */
static struct digest put_big(struct fixture *f, const char *text, size_t size)
{
        char *p = calloc(1, size);
        struct digest d;

        assert_non_null(p);
        memcpy(p, text, strlen(text));
        OK(cas_blob_put(f->c, p, size, &d, err));
        free(p);
        return d;
}

/* A result of one blob, last used at a second of our choice. */
static void put_result(struct fixture *f, const char *key, const struct digest *blob, time_t used)
{
        const struct timespec t[2] = {{.tv_sec = used}, {.tv_sec = used}};
        struct digest k = key_of(key);
        char hex[DIGEST_HEX_MAX], path[200];

        OK(cas_result_put(f->c, &k, "step", key, strlen(key), blob, 1, err));
        digest_hex(&k, hex);
        (void)snprintf(path, sizeof(path), "results/%.2s/%s", hex, hex);
        assert_int_equal(utimensat(cas_root_fd(f->c), path, t, 0), 0);
}

static bool has_result(struct fixture *f, const char *key)
{
        struct digest k = key_of(key);
        int64_t sec;

        return cas_result_time(f->c, &k, &sec) == 1;
}

static void publish(struct fixture *f, const char *id)
{
        struct cas_tmp *t;
        char path[100];

        OK(cas_view_prepare(f->c, "root", err));
        OK(cas_tmp_new(f->c, &t, err));
        (void)snprintf(path, sizeof(path), "%s/fs", cas_tmp_path(t));
        assert_int_equal(mkdirat(cas_root_fd(f->c), path, 0755), 0);
        OK(cas_snapshot_publish(f->c, cas_tmp_path(t), "root", id, 8192, 1, err));
        cas_tmp_free(t);
}

static void test_what_stays(void **state)
{
        struct fixture *f = *state;
        struct digest loose = put_text(f->c, "loose"), cached = put_text(f->c, "cached"), layer;
        struct cas_prune_result res;
        struct img_desc d;

        OK(make_image(f->c, "layer", &d, &layer, err));
        OK(cas_ref_set(f->c, "a.io/b:c", &d, err));
        put_result(f, "k", &cached, 1000);
        publish(f, ID);

        res = prune(f,
                    (struct cas_prune_opts){.all = true}); /* this process has published it all */
        assert_int_equal(res.blobs, 0);
        reopen(f);
        put_result(f, "k", &cached, 1000);
        res = prune(f, (struct cas_prune_opts){.dry_run = true});
        assert_int_equal(res.blobs, 1);
        assert_true(has_blob(f->c, &loose));
        res = prune(f, (struct cas_prune_opts){.keep_bytes = 0});
        assert_int_equal(res.blobs, 1);
        assert_int_equal(res.results, 0);
        assert_false(has_blob(f->c, &loose));
        assert_true(has_blob(f->c, &cached));
        assert_int_equal(cas_snapshot_has(f->c, "root", ID, NULL), 1);

        res = prune(f, (struct cas_prune_opts){.all = true});
        assert_int_equal(res.blobs, 1);
        assert_int_equal(res.results, 1);
        assert_int_equal(res.snapshots, 1);
        assert_false(has_blob(f->c, &cached));
        assert_false(has_result(f, "k"));
        assert_true(has_blob(f->c, &layer));
        assert_int_equal(cas_blob_verify(f->c, &d.digest, NULL), 0);

        OK(cas_ref_remove(f->c, "a.io/b:c", err));
        res = prune(f, (struct cas_prune_opts){.keep_bytes = 0});
        assert_int_equal(res.blobs, 3);
        assert_false(has_blob(f->c, &layer));
        img_desc_done(&d);
}

static void test_leases(void **state)
{
        struct fixture *f = *state;
        struct digest held = put_text(f->c, "held"), loose = put_text(f->c, "loose");
        struct cas_build *b;
        struct cas *other;

        publish(f, ID);
        OK(cas_index_put(f->c, "toc-" ID, "x", 1, err));
        reopen(f);
        OK(cas_open(f->root, &other, err));
        OK(cas_build_begin(other, &b, err));
        assert_int_equal(strlen(cas_build_id(b)), 8);
        assert_int_equal(cas_lease_blob(b, &held, NULL), 1);
        assert_int_equal(cas_lease_blob(b, &(struct digest){.algo = DIGEST_SHA256}, NULL), 0);
        assert_int_equal(cas_lease_snapshot(b, "root", ID, NULL), 1);
        (void)prune(f, (struct cas_prune_opts){.all = true});
        assert_true(has_blob(f->c, &held));
        assert_false(has_blob(f->c, &loose));
        assert_int_equal(cas_snapshot_has(f->c, "root", ID, NULL), 1);
        int fd = -1;
        assert_int_equal(cas_index_open(f->c, "toc-" ID, &fd, NULL), 1);
        (void)close(fd);
        char path[40];
        (void)snprintf(path, sizeof(path), "builds/%s", cas_build_id(b));
        assert_true(exists(f, path));
        cas_build_end(b, true);
        assert_true(exists(f, path));
        (void)prune(f, (struct cas_prune_opts){.all = true});
        assert_false(has_blob(f->c, &held));
        assert_false(exists(f, path));
        assert_int_equal(cas_snapshot_has(f->c, "root", ID, NULL), 0);
        assert_int_equal(cas_index_open(f->c, "toc-" ID, &fd, NULL), 0);
        OK(cas_build_begin(other, &b, err));
        (void)snprintf(path, sizeof(path), "builds/%s", cas_build_id(b));
        cas_build_end(b, false);
        assert_false(exists(f, path));
        cas_close(other);
}

/* Found by its name and kept, though this process has not written it. */
static void test_keep(void **state)
{
        struct fixture *f = *state;
        struct digest kept = put_text(f->c, "kept"), seen = put_text(f->c, "seen"), none;
        uint64_t size = 0;

        reopen(f);
        digest_of("none", 4, &none);
        assert_int_equal(cas_blob_keep(f->c, &kept, &size, NULL), 1);
        assert_int_equal(size, 4);
        assert_int_equal(cas_blob_stat(f->c, &seen, &size, NULL), 1);
        assert_int_equal(cas_blob_keep(f->c, &none, &size, NULL), 0);
        (void)prune(f, (struct cas_prune_opts){.all = true});
        assert_true(has_blob(f->c, &kept));
        assert_false(has_blob(f->c, &seen));
        reopen(f);
        (void)prune(f, (struct cas_prune_opts){.all = true});
        assert_false(has_blob(f->c, &kept));
}

/* Only what the caller names; all else stays, loose blobs included. */
static bool is_old_result(void *user, const struct cas_item *it)
{
        ++*(int *)user;
        return it->kind == CAS_ITEM_RESULT && it->last_use_ns < (int64_t)2000 * 1000000000;
}

static void test_match(void **state)
{
        struct fixture *f = *state;
        struct digest old = put_text(f->c, "old"), new = put_text(f->c, "new"),
                      loose = put_text(f->c, "loose");
        struct cas_prune_result res;
        int asked = 0;

        put_result(f, "old", &old, 1000);
        put_result(f, "new", &new, 3000);
        publish(f, ID);
        OK(cas_index_put(f->c, "toc-" ID, "x", 1, err));
        reopen(f);
        res = prune(f,
                    (struct cas_prune_opts){.all = true, .match = is_old_result, .user = &asked});
        assert_true(asked >= 4);
        assert_int_equal(res.results, 1);
        assert_int_equal(res.snapshots + res.other + res.images, 0);
        assert_false(has_result(f, "old"));
        assert_false(has_blob(f->c, &old)); /* nobody else needed it */
        assert_true(has_result(f, "new"));
        assert_true(has_blob(f->c, &new));
        assert_true(has_blob(f->c, &loose));
        assert_int_equal(cas_snapshot_has(f->c, "root", ID, NULL), 1);
}

/* An image nobody named goes by its age, entry and blobs; with a name it stays. */
static void test_untagged(void **state)
{
        struct fixture *f = *state;
        struct cas_refs refs = {NULL, 0, 0};
        struct cas_prune_result res;
        struct img_desc d;
        struct digest layer;

        OK(make_image(f->c, "layer", &d, &layer, err));
        OK(cas_ref_set(f->c, NULL, &d, err));
        reopen(f);
        res = prune(f, (struct cas_prune_opts){.keep_bytes = 0}); /* it is no waste */
        assert_int_equal(res.images, 0);
        assert_true(has_blob(f->c, &layer));
        res = prune(f, (struct cas_prune_opts){.all = true, .until_sec = 1000});
        assert_int_equal(res.images, 0);
        res = prune(f, (struct cas_prune_opts){.all = true, .dry_run = true});
        assert_int_equal(res.images, 1);
        assert_int_equal(res.blobs, 3);
        OK(cas_ref_list(f->c, &refs, err));
        assert_int_equal(refs.n, 1);
        cas_refs_free(&refs);
        res = prune(f, (struct cas_prune_opts){.all = true});
        assert_int_equal(res.images, 1);
        assert_int_equal(res.blobs, 3);
        assert_false(has_blob(f->c, &layer));
        refs = (struct cas_refs){NULL, 0, 0};
        OK(cas_ref_list(f->c, &refs, err));
        assert_int_equal(refs.n, 0);
        cas_refs_free(&refs);
        img_desc_done(&d);
}

/* A damaged blob of the right size is replaced by the bytes that come in again. */
static void test_replaced(void **state)
{
        struct fixture *f = *state;
        struct digest d = put_text(f->c, "precious"), have;
        char hex[DIGEST_HEX_MAX], path[200];

        digest_hex(&d, hex);
        (void)snprintf(path, sizeof(path), "blobs/sha256/%s", hex);
        for (int i = 0; i < 2; i++) {
                struct cas_writer *w;

                OK(file_write(cas_root_fd(f->c), path, "preciouS", 8, 0644, 0, err));
                if (i == 0) {
                        OK(cas_blob_put(f->c, "precious", 8, &have, err));
                } else {
                        OK(cas_writer_open(f->c, &w, err));
                        OK(cas_writer_add(w, "precious", 8, err));
                        OK(cas_writer_commit(w, &d, 8, &have, err));
                        cas_writer_free(w);
                }
                assert_true(digest_eq(&d, &have));
                OK(cas_blob_verify(f->c, &d, err));
        }
}

/* Three results of 100 KiB, oldest use first: how many does each limit take? */
static void test_limits(void **state)
{
        static const struct {
                const char *name;
                uint64_t keep_kib, max_kib;
                int64_t until;
                bool all, min_free;
                int left;
        } rows[] = {
                {"no limit", 0, 0, 0, false, false, 3},
                {"all", 0, 0, 0, true, false, 0},
                {"all down to", 250, 0, 0, true, false, 2},
                {"ceiling", 0, 250, 0, false, false, 2},
                {"low ceiling", 0, 150, 0, false, false, 1},
                {"high ceiling", 0, 1000, 0, false, false, 3},
                {"floor over ceiling", 250, 10, 0, false, false, 2},
                {"all until", 0, 0, 2500, true, false, 1},
                {"ceiling until", 0, 10, 1500, false, false, 2},
                {"disk never free enough", 0, 0, 0, false, true, 0},
        };
        struct fixture *f = *state;
        static const char *const keys[] = {"oldest", "middle", "newest"};

        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                int left = 0;
                struct cas_prune_opts o = {.all = rows[i].all,
                                           .keep_bytes = rows[i].keep_kib << 10,
                                           .max_used_bytes = rows[i].max_kib << 10,
                                           .min_free_bytes = rows[i].min_free ? UINT64_MAX : 0,
                                           .until_sec = rows[i].until};
                struct digest d[3];
                bool gap = false;

                for (size_t k = 0; k < 3; k++) {
                        char hex[DIGEST_HEX_MAX], path[200];
                        const struct timespec t[2] = {{.tv_sec = 1}, {.tv_sec = 1}};

                        d[k] = put_big(f, keys[k], 100 << 10);
                        put_result(f, keys[k], &d[k], (time_t)(1000 * (k + 1)));
                        digest_hex(&d[k], hex);
                        (void)snprintf(path, sizeof(path), "blobs/sha256/%s", hex);
                        assert_int_equal(utimensat(cas_root_fd(f->c), path, t, 0), 0);
                }
                reopen(f);
                (void)prune(f, o);
                for (size_t k = 0; k < 3; k++) {
                        bool there = has_result(f, keys[k]);

                        if (there != has_blob(f->c, &d[k]))
                                fail_msg("%s: %s lost half", rows[i].name, keys[k]);
                        if (left && !there)
                                gap = true; /* a newer one went before an older one */
                        left += there;
                }
                if (left != rows[i].left || gap)
                        fail_msg("%s: %d results left, not %d", rows[i].name, left, rows[i].left);
        }
}

static void test_shared_blob(void **state)
{
        struct fixture *f = *state;
        struct digest d = put_text(f->c, "shared");

        put_result(f, "old", &d, 1000);
        put_result(f, "new", &d, 5000);
        reopen(f);
        (void)prune(f, (struct cas_prune_opts){.all = true, .until_sec = 2000});
        assert_false(has_result(f, "old"));
        assert_true(has_result(f, "new"));
        assert_true(has_blob(f->c, &d));
}

/* A result that names an image by its manifest keeps config and layers. */
static void test_result_of_an_image(void **state)
{
        struct fixture *f = *state;
        struct cas_prune_result res;
        struct img_desc d;
        struct digest layer;

        OK(make_image(f->c, "layer", &d, &layer, err));
        put_result(f, "image", &d.digest, 1000);
        reopen(f);
        res = prune(f, (struct cas_prune_opts){.keep_bytes = 0});
        assert_int_equal(res.blobs, 0);
        assert_true(has_blob(f->c, &layer));
        res = prune(f, (struct cas_prune_opts){.all = true});
        assert_int_equal(res.blobs, 3);
        assert_false(has_blob(f->c, &layer));
        img_desc_done(&d);
}

static void test_waste(void **state)
{
        static const char *const waste[] = {"results/ab/junk",
                                            "index/ctx-1@00112233445566778899aabbccddeeff",
                                            "tmp/corrupt.x", "snapshots/root/" ID "/fs/file"};
        struct fixture *f = *state;

        const struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};

        OK(path_mkdirs(cas_root_fd(f->c), "results/ab", 0755, err));
        OK(path_mkdirs(cas_root_fd(f->c), "tmp/old-thing", 0755, err));
        OK(path_mkdirs(cas_root_fd(f->c), "tmp/new-thing", 0755, err));
        assert_int_equal(utimensat(cas_root_fd(f->c), "tmp/old-thing", old, 0), 0);
        OK(path_mkdirs(cas_root_fd(f->c), "snapshots/root/" ID "/fs", 0755, err));
        for (size_t i = 0; i < ARRAY_LEN(waste); i++)
                OK(file_write(cas_root_fd(f->c), waste[i], "x", 1, 0644, 0, err));
        (void)prune(f, (struct cas_prune_opts){.keep_bytes = 0});
        for (size_t i = 0; i < ARRAY_LEN(waste); i++)
                if (exists(f, waste[i]))
                        fail_msg("%s is still there", waste[i]);
        assert_false(exists(f, "tmp/old-thing"));
        assert_true(exists(f, "tmp/new-thing"));
}

static void test_mounts(void **state)
{
        struct fixture *f = *state;
        struct cas_build *b;

        OK(cas_view_prepare(f->c, "root", err));
        OK(path_mkdirs(cas_root_fd(f->c), "mounts/root/npm", 0755, err));
        (void)prune(f, (struct cas_prune_opts){.max_used_bytes = 1});
        assert_true(exists(f, "mounts/root/npm"));
        OK(cas_build_begin(f->c, &b, err));
        (void)prune(f, (struct cas_prune_opts){.all = true});
        assert_true(exists(f, "mounts/root/npm")); /* perhaps it is mounted */
        cas_build_end(b, false);
        (void)prune(f, (struct cas_prune_opts){.all = true, .keep_mounts = true});
        assert_true(exists(f, "mounts/root/npm"));
        (void)prune(f, (struct cas_prune_opts){.all = true});
        assert_false(exists(f, "mounts/root/npm"));
}

static void test_damaged_index_stops(void **state)
{
        struct fixture *f = *state;
        struct cas_prune_opts o = {.all = true};
        struct cas_prune_result res;
        struct digest d = put_text(f->c, "x");

        reopen(f);
        OK(file_write(cas_root_fd(f->c), "index.json", "{", 1, 0644, 0, err));
        assert_int_equal(cas_prune(f->c, &o, &res, NULL), BLD_E_CORRUPT);
        assert_true(has_blob(f->c, &d));
}

/* A lease that was granted holds, whatever collectors run meanwhile. */
static void lease_and_look(const char *root, unsigned seed)
{
        for (unsigned i = 0; i < 150; i++) {
                struct cas *c, *writer;
                struct cas_build *b;
                struct digest d;
                char text[40];

                (void)snprintf(text, sizeof(text), "loose %u %u", seed, i);
                if (cas_open(root, &c, NULL) < 0 || cas_open(root, &writer, NULL) < 0 ||
                    cas_build_begin(c, &b, NULL) < 0 ||
                    cas_blob_put(writer, text, strlen(text), &d, NULL) < 0)
                        _exit(1);
                cas_close(writer); /* from here on nobody protects it */
                if (cas_lease_blob(b, &d, NULL) == 1)
                        for (int k = 0; k < 5; k++) {
                                (void)usleep(100);
                                if (!has_blob(c, &d))
                                        _exit(2);
                        }
                cas_build_end(b, false);
                cas_close(c);
        }
        _exit(0);
}

static void collect_forever(const char *root)
{
        for (;;) {
                struct cas_prune_opts o = {.all = true};
                struct cas_prune_result res;
                struct cas *c;

                if (cas_open(root, &c, NULL) < 0 || cas_prune(c, &o, &res, NULL) < 0)
                        _exit(3);
                cas_close(c);
        }
}

static void test_leases_hold(void **state)
{
        struct fixture *f = *state;
        pid_t workers[3], collector = fork();

        assert_true(collector >= 0);
        if (collector == 0)
                collect_forever(f->root);
        for (unsigned i = 0; i < ARRAY_LEN(workers); i++) {
                workers[i] = fork();
                assert_true(workers[i] >= 0);
                if (workers[i] == 0)
                        lease_and_look(f->root, i);
        }
        for (size_t i = 0; i < ARRAY_LEN(workers); i++)
                reap(workers[i]);
        assert_int_equal(kill(collector, SIGKILL), 0);
        assert_int_equal(waitpid(collector, NULL, 0), collector);
}

static uint64_t du_of(const char *path)
{
        char text[100] = "";
        unsigned long long n = 0;
        int out[2];
        pid_t pid;

        assert_int_equal(pipe(out), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                (void)dup2(out[1], 1);
                (void)execlp("du", "du", "-s", "-B1", path, (char *)NULL);
                _exit(127);
        }
        (void)close(out[1]);
        assert_true(read(out[0], text, sizeof(text) - 1) > 0);
        (void)close(out[0]);
        reap(pid);
        n = strtoull(text, NULL, 10);
        return n;
}

/* Deep folders, hard links within and across, holes, links: the total is that of du(1). */
static void test_usage_agrees_with_du(void **state)
{
        struct fixture *f = *state;
        struct cas_usage u;
        struct digest d = put_big(f, "big", 300000);
        int fd;

        put_result(f, "k", &d, 1000);
        publish(f, ID);
        OK(path_mkdirs(cas_root_fd(f->c), "snapshots/root/" ID "/fs/a/b/c", 0755, err));
        OK(file_write(cas_root_fd(f->c), "snapshots/root/" ID "/fs/a/file", "x", 1, 0644, 0, err));
        assert_int_equal(linkat(cas_root_fd(f->c), "snapshots/root/" ID "/fs/a/file",
                                cas_root_fd(f->c), "snapshots/root/" ID "/fs/a/b/link", 0),
                         0);
        assert_int_equal(symlinkat("/nowhere", cas_root_fd(f->c), "snapshots/root/" ID "/fs/ln"),
                         0);
        OK(path_mkdirs(cas_root_fd(f->c), "mounts/root/cache", 0755, err));
        assert_int_equal(linkat(cas_root_fd(f->c), "snapshots/root/" ID "/fs/a/file",
                                cas_root_fd(f->c), "mounts/root/cache/link", 0),
                         0);
        fd = openat(cas_root_fd(f->c), "mounts/root/cache/hole", O_WRONLY | O_CREAT, 0644);
        assert_true(fd >= 0 && ftruncate(fd, 1 << 30) == 0);
        (void)close(fd);
        OK(cas_usage(f->c, &u, err));
        assert_int_equal(u.total_bytes, du_of(f->root));
        assert_int_equal(u.count[CAS_SPACE_BLOBS], 1);
        assert_int_equal(u.count[CAS_SPACE_SNAPSHOTS], 1);
        assert_int_equal(u.count[CAS_SPACE_MOUNTS], 1);
        assert_true(u.bytes[CAS_SPACE_BLOBS] >= 300000);
        assert_true(u.reclaimable_bytes < 300000); /* this process still leases it */
        reopen(f);
        OK(cas_usage(f->c, &u, err));
        assert_true(u.reclaimable_bytes >= 300000);
        assert_int_equal(u.total_bytes, du_of(f->root));
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, fixture_up, fixture_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                T(test_what_stays),
                T(test_leases),
                T(test_keep),
                T(test_match),
                T(test_untagged),
                T(test_replaced),
                T(test_limits),
                T(test_shared_blob),
                T(test_result_of_an_image),
                T(test_waste),
                T(test_mounts),
                T(test_damaged_index_stops),
                T(test_leases_hold),
                T(test_usage_agrees_with_du),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
