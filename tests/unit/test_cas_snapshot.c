/* Snapshots and index files: published whole, trusted within their boot or after a sync. */
#include "base/map.h"
#include "tests/unit/cas_fixture.h"

#define ID "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define ID2 "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define META "snapshots/root/" ID "/meta"

static void publish(struct fixture *f, const char *id, const char *content)
{
        struct cas_tmp *t;

        OK(cas_view_prepare(f->c, "root", err));
        OK(cas_tmp_new(f->c, &t, err));
        assert_int_equal(mkdirat(cas_tmp_dirfd(t), "fs", 0755), 0);
        OK(file_write(cas_tmp_dirfd(t), "fs/file", content, strlen(content), 0644, 0, err));
        OK(cas_snapshot_publish(f->c, cas_tmp_path(t), "root", id, 8192, 2, err));
        cas_tmp_free(t);
}

static void assert_content(struct fixture *f, const char *want)
{
        struct sb b = SB_INIT(100);

        OK(file_read(cas_root_fd(f->c), "snapshots/root/" ID "/fs/file", &b, err));
        assert_string_equal(sb_text(&b), want);
        sb_done(&b);
}

static void test_publish(void **state)
{
        struct fixture *f = *state;
        char *path = cas_snapshot_path("root", ID);

        assert_string_equal(path, "snapshots/root/" ID);
        free(path);
        assert_int_equal(cas_snapshot_has(f->c, "root", ID, NULL), 0);
        publish(f, ID, "one");
        assert_int_equal(cas_snapshot_has(f->c, "root", ID, NULL), 1);
        publish(f, ID, "two"); /* the first one stays */
        assert_content(f, "one");
        assert_int_equal(cas_snapshot_has(f->c, "root", ID2, NULL), 0);
        assert_int_equal(cas_snapshot_has(f->c, "map-0123", ID, NULL), 0);
}

static void test_names(void **state)
{
        static const struct {
                const char *view, *id;
        } bad[] = {{"..", ID},
                   {"a/b", ID},
                   {"", ID},
                   {"root", ".."},
                   {"root", "abc"},
                   {"root", ""},
                   {"root", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}};
        struct fixture *f = *state;
        int fd;

        for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
                assert_int_equal(cas_snapshot_has(f->c, bad[i].view, bad[i].id, NULL),
                                 BLD_E_INVALID);
                assert_int_equal(
                        cas_snapshot_publish(f->c, "tmp/x", bad[i].view, bad[i].id, 0, 0, NULL),
                        BLD_E_INVALID);
        }
        assert_int_equal(cas_snapshot_publish(f->c, "blobs", "root", ID, 0, 0, NULL),
                         BLD_E_INVALID);
        assert_int_equal(cas_snapshot_publish(f->c, "tmp/../blobs", "root", ID, 0, 0, NULL),
                         BLD_E_INVALID);
        assert_int_equal(cas_view_prepare(f->c, "../x", NULL), BLD_E_INVALID);
        assert_int_equal(cas_index_open(f->c, "../x", &fd, NULL), BLD_E_INVALID);
        assert_int_equal(cas_index_put(f->c, "a@b", "x", 1, NULL), BLD_E_INVALID);
}

/* As if it had been written before the machine went down: another boot id, a right checksum. */
static void age(struct fixture *f)
{
        struct sb b = SB_INIT(100);
        uint64_t sum;

        OK(file_read(cas_root_fd(f->c), META, &b, err));
        assert_int_equal(b.len, 48);
        b.buf[8] = (char)(b.buf[8] ^ 1);
        sum = hash64(b.buf, 40);
        memcpy(b.buf + 40, &sum, 8);
        OK(file_write(cas_root_fd(f->c), META, b.buf, b.len, 0644, 0, err));
        sb_done(&b);
}

static void test_other_boot(void **state)
{
        struct fixture *f = *state;

        publish(f, ID, "old");
        age(f);
        assert_int_equal(cas_snapshot_has(f->c, "root", ID, NULL), 0);
        publish(f, ID, "new"); /* takes the place of the stale one */
        assert_int_equal(cas_snapshot_has(f->c, "root", ID, NULL), 1);
        assert_content(f, "new");
        OK(cas_disposable_sync(f->c, err));
        age(f);
        assert_int_equal(cas_snapshot_has(f->c, "root", ID, NULL), 1);
}

static void test_sync_does_not_bless_the_stale(void **state)
{
        struct fixture *f = *state;

        publish(f, ID, "old");
        age(f);
        OK(cas_disposable_sync(f->c, err));
        assert_int_equal(cas_snapshot_has(f->c, "root", ID, NULL), 0);
}

static void test_damaged_meta(void **state)
{
        struct fixture *f = *state;
        struct sb b = SB_INIT(100);

        publish(f, ID, "one");
        OK(file_read(cas_root_fd(f->c), META, &b, err));
        for (size_t i = 0; i < b.len; i++) {
                b.buf[i] = (char)(b.buf[i] ^ 4);
                OK(file_write(cas_root_fd(f->c), META, b.buf, b.len, 0644, 0, err));
                if (cas_snapshot_has(f->c, "root", ID, NULL) != 0)
                        fail_msg("byte %zu changed and nobody noticed", i);
                b.buf[i] = (char)(b.buf[i] ^ 4);
        }
        assert_int_equal(unlinkat(cas_root_fd(f->c), META, 0), 0);
        assert_int_equal(cas_snapshot_has(f->c, "root", ID, NULL), 0);
        sb_done(&b);
}

/* Many publish the same: one wins, all are content, and nothing is left in tmp. */
static void test_publishers_together(void **state)
{
        struct fixture *f = *state;
        pid_t pids[6];

        OK(cas_view_prepare(f->c, "root", err));
        for (size_t i = 0; i < ARRAY_LEN(pids); i++) {
                pids[i] = fork();
                assert_true(pids[i] >= 0);
                if (pids[i] > 0)
                        continue;
                struct cas *c;
                struct cas_tmp *t;
                int r = cas_open(f->root, &c, NULL);

                for (int k = 0; r == 0 && k < 10; k++) {
                        char id[65];

                        (void)snprintf(id, sizeof(id), "%064d", k);
                        r = cas_tmp_new(c, &t, NULL);
                        if (r == 0 && mkdirat(cas_tmp_dirfd(t), "fs", 0755) < 0)
                                r = -1;
                        if (r == 0)
                                r = cas_snapshot_publish(c, cas_tmp_path(t), "root", id, 4096, 1,
                                                         NULL);
                        cas_tmp_free(t);
                        if (r == 0 && cas_snapshot_has(c, "root", id, NULL) != 1)
                                r = -1;
                }
                cas_close(c);
                _exit(r < 0 ? 1 : 0);
        }
        for (size_t i = 0; i < ARRAY_LEN(pids); i++)
                reap(pids[i]);
        reopen(f);
        assert_int_equal(unlinkat(cas_root_fd(f->c), "tmp", AT_REMOVEDIR), 0);
}

static void test_index_files(void **state)
{
        struct fixture *f = *state;
        char buf[16] = "";
        int fd = -1;

        assert_int_equal(cas_index_open(f->c, "toc-" ID, &fd, NULL), 0);
        OK(cas_index_put(f->c, "toc-" ID, "first", 5, err));
        OK(cas_index_put(f->c, "toc-" ID, "second", 6, err));
        assert_int_equal(cas_index_open(f->c, "toc-" ID, &fd, NULL), 1);
        assert_int_equal(read(fd, buf, sizeof(buf)), 6);
        assert_memory_equal(buf, "second", 6);
        (void)close(fd);
        OK(cas_disposable_sync(f->c, err));
        assert_int_equal(cas_index_open(f->c, "toc-" ID, &fd, NULL), 1);
        (void)close(fd);
        assert_true(exists(f, "index/toc-" ID "@synced"));
        OK(cas_index_put(f->c, "toc-" ID, "3", 1, err));
        assert_int_equal(cas_index_open(f->c, "toc-" ID, &fd, NULL), 1);
        assert_int_equal(read(fd, buf, sizeof(buf)), 1);
        (void)close(fd);
        OK(file_write(cas_root_fd(f->c), "index/ctx-1@00112233445566778899aabbccddeeff", "x", 1,
                      0644, 0, err));
        assert_int_equal(cas_index_open(f->c, "ctx-1", &fd, NULL), 0); /* of another boot */
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, fixture_up, fixture_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                T(test_publish),      T(test_names),
                T(test_other_boot),   T(test_sync_does_not_bless_the_stale),
                T(test_damaged_meta), T(test_publishers_together),
                T(test_index_files),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
