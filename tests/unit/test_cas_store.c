/* Opening and creating a store, and the space for what is in flight. */
#include "tests/unit/cas_fixture.h"

#include <signal.h>
#include <sys/file.h>

static void write_file(int dirfd, const char *name, const char *text)
{
        OK(file_write(dirfd, name, text, strlen(text), 0644, 0, err));
}

static void test_layout(void **state)
{
        static const char *const names[] = {"oci-layout", "index.json", "format", "blobs/sha256",
                                            "results",    "snapshots",  "mounts", "builds",
                                            "tmp",        "lock",       "index"};
        struct fixture *f = *state;
        struct sb b = SB_INIT(1000);
        struct stat st;

        for (size_t i = 0; i < ARRAY_LEN(names); i++)
                if (!exists(f, names[i]))
                        fail_msg("%s is missing", names[i]);
        OK(file_read(cas_root_fd(f->c), "format", &b, err));
        assert_string_equal(sb_text(&b), "bld-store 1\n");
        sb_reset(&b);
        OK(file_read(cas_root_fd(f->c), "oci-layout", &b, err));
        assert_string_equal(sb_text(&b), "{\"imageLayoutVersion\":\"1.0.0\"}");
        sb_done(&b);
        assert_int_equal(fstat(cas_root_fd(f->c), &st), 0);
        assert_int_equal(st.st_mode & 0777, 0700);
        assert_string_equal(cas_root(f->c), f->root);
}

static void test_format(void **state)
{
        static const struct {
                const char *name, *text;
                int code;
        } rows[] = {
                {"newer", "bld-store 2\n", BLD_E_UNSUPPORTED},
                {"much newer", "bld-store 4000000000\n", BLD_E_UNSUPPORTED},
                {"other", "something\n", BLD_E_CORRUPT},
                {"empty", "", BLD_E_CORRUPT},
                {"zero", "bld-store 0\n", BLD_E_CORRUPT},
                {"ours without line end", "bld-store 1", 0},
                {"ours", "bld-store 1\n", 0},
        };
        struct fixture *f = *state;

        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct cas *c = NULL;
                int r;

                write_file(cas_root_fd(f->c), "format", rows[i].text);
                r = cas_open(f->root, &c, NULL);
                if (r != rows[i].code)
                        fail_msg("%s: %d", rows[i].name, r);
                cas_close(c);
        }
}

static void test_foreign_folder(void **state)
{
        struct fixture *f = *state;
        struct bld_err why = BLD_ERR_INIT;
        struct cas *c;
        char path[300];

        (void)snprintf(path, sizeof(path), "%s/home", f->dir);
        assert_int_equal(mkdir(path, 0755), 0);
        (void)snprintf(path, sizeof(path), "%s/home/letter.txt", f->dir);
        write_file(AT_FDCWD, path, "dear");
        (void)snprintf(path, sizeof(path), "%s/home", f->dir);
        assert_int_equal(cas_open(path, &c, &why), BLD_E_INVALID);
        assert_non_null(strstr(why.msg, "letter.txt"));

        /* what an interrupted creation leaves is taken up again */
        (void)snprintf(path, sizeof(path), "%s/half/blobs", f->dir);
        OK(path_mkdirs(AT_FDCWD, path, 0755, err));
        (void)snprintf(path, sizeof(path), "%s/half", f->dir);
        OK(cas_open(path, &c, err));
        cas_close(c);
        OK(cas_open(path, &c, err));
        cas_close(c);
}

static void test_deep_root(void **state)
{
        struct fixture *f = *state;
        struct cas *c;
        char path[300];

        (void)snprintf(path, sizeof(path), "%s/a/b/c", f->dir);
        OK(cas_open(path, &c, err));
        cas_close(c);
}

/* Eight processes create one store at once. */
static void test_create_together(void **state)
{
        struct fixture *f = *state;
        char path[300];
        pid_t pids[8];

        (void)snprintf(path, sizeof(path), "%s/together", f->dir);
        for (size_t i = 0; i < ARRAY_LEN(pids); i++) {
                pids[i] = fork();
                assert_true(pids[i] >= 0);
                if (pids[i] == 0) {
                        struct cas *c = NULL;
                        struct digest d;
                        int r = cas_open(path, &c, NULL);

                        if (r == 0)
                                r = cas_blob_put(c, "x", 1, &d, NULL);
                        cas_close(c);
                        _exit(r < 0 ? 1 : 0);
                }
        }
        for (size_t i = 0; i < ARRAY_LEN(pids); i++)
                reap(pids[i]);
}

static void test_tmp_folder(void **state)
{
        struct fixture *f = *state;
        struct cas_tmp *t;
        char path[100];

        OK(cas_tmp_new(f->c, &t, err));
        (void)snprintf(path, sizeof(path), "%s", cas_tmp_path(t));
        assert_true(str_has_prefix(path, "tmp/"));
        write_file(cas_tmp_dirfd(t), "file", "x");
        assert_int_equal(mkdirat(cas_tmp_dirfd(t), "closed", 0), 0);

        /* another handle leaves alone what lives */
        struct cas *other;
        OK(cas_open(f->root, &other, err));
        assert_true(exists(f, path));
        cas_close(other);
        cas_tmp_free(t);
        assert_false(exists(f, path));
}

/* A killed process's entries, locks and leases go at the next start; a living one's stay. */
static void test_sweep(void **state)
{
        struct fixture *f = *state;
        struct digest key = key_of("k");
        struct strv names = {NULL, 0, 0};
        int ready[2];
        char b;
        pid_t pid;

        assert_int_equal(pipe(ready), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                struct cas *c;
                struct cas_tmp *t;
                struct cas_writer *w;
                struct cas_lock *l;

                if (cas_open(f->root, &c, NULL) < 0 || cas_tmp_new(c, &t, NULL) < 0 ||
                    mkdirat(cas_tmp_dirfd(t), "fs", 0755) < 0 || cas_writer_open(c, &w, NULL) < 0 ||
                    cas_writer_add(w, "abc", 3, NULL) < 0 ||
                    cas_key_lock(c, &key, "me", false, NULL, &l, NULL, NULL) != 0)
                        _exit(1);
                (void)!write(ready[1], "x", 1);
                (void)pause();
                _exit(1);
        }
        assert_int_equal(read(ready[0], &b, 1), 1);
        reopen(f);
        OK(cas_tmp_orphans(f->c, &names, err));
        assert_int_equal(names.n, 0);
        assert_int_equal(
                cas_key_lock(f->c, &key, "us", false, NULL, &(struct cas_lock *){NULL}, NULL, NULL),
                1);
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        reopen(f);

        int fd = openat(cas_root_fd(f->c), "tmp", O_RDONLY | O_DIRECTORY);
        assert_true(fd >= 0);
        assert_int_equal(unlinkat(cas_root_fd(f->c), "tmp", AT_REMOVEDIR), 0); /* it is empty */
        (void)close(fd);
        (void)close(ready[0]);
        (void)close(ready[1]);
        strv_done(&names);
}

/* What this user may not delete is put aside for somebody who may. */
static void test_orphans(void **state)
{
        struct fixture *f = *state;
        struct strv names = {NULL, 0, 0};
        struct cas_tmp *t;
        pid_t pid;

        if (geteuid() != 0) {
                print_message("needs root: an ordinary user cannot make files he may not delete\n");
                skip();
        }
        OK(cas_tmp_new(f->c, &t, err));
        assert_int_equal(mkdirat(cas_tmp_dirfd(t), "fs", 0755), 0);
        write_file(cas_tmp_dirfd(t), "fs/file", "x");
        assert_int_equal(chmod(f->dir, 0755), 0);
        pid = fork(); /* as another user, to whom store and entry belong, but not fs/ */
        assert_true(pid >= 0);
        if (pid == 0) {
                if (fchown(cas_root_fd(f->c), 4711, 4711) < 0 ||
                    fchownat(cas_root_fd(f->c), "tmp", 4711, 4711, 0) < 0 ||
                    fchownat(cas_root_fd(f->c), cas_tmp_path(t), 4711, 4711, 0) < 0 ||
                    setgid(4711) < 0 || setuid(4711) < 0)
                        _exit(1);
                cas_tmp_free(t);
                _exit(0);
        }
        reap(pid);
        OK(cas_tmp_orphans(f->c, &names, err));
        assert_int_equal(names.n, 1);
        assert_true(str_has_prefix(names.v[0], "tmp/orphan."));
        OK(path_remove_tree(cas_root_fd(f->c), names.v[0], err));
        strv_done(&names);
        cas_tmp_free(t);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, fixture_up, fixture_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                T(test_layout),    T(test_format),          T(test_foreign_folder),
                T(test_deep_root), T(test_create_together), T(test_tmp_folder),
                T(test_sweep),     T(test_orphans),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
