/* Paths as text, and folders made and removed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/path.h"

struct fixture {
        char dir[64];
        int fd;
};

static int setup(void **state)
{
        static struct fixture f;
        const char *tmp = getenv("TMPDIR");

        (void)snprintf(f.dir, sizeof(f.dir), "%.40s/bld-path-XXXXXX", tmp && *tmp ? tmp : "/tmp");
        if (!mkdtemp(f.dir))
                return -1;
        f.fd = open(f.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        *state = &f;
        return f.fd < 0 ? -1 : 0;
}

static int teardown(void **state)
{
        struct fixture *f = *state;

        (void)close(f->fd);
        return path_remove_tree(AT_FDCWD, f->dir, NULL);
}

static void clean(void **state)
{
        static const char *const rows[][2] = {
                {"", "."},
                {".", "."},
                {"/", "/"},
                {"//", "/"},
                {"a", "a"},
                {"a/", "a"},
                {"a//b", "a/b"},
                {"a/./b", "a/b"},
                {"a/../b", "b"},
                {"a/..", "."},
                {"..", ".."},
                {"../a", "../a"},
                {"../../a", "../../a"},
                {"a/../../b", "../b"},
                {"/..", "/"},
                {"/../a", "/a"},
                {"/a/b/../..", "/"},
                {"./a", "a"},
                {"a/b/../../..", ".."},
                {"...", "..."},
                {"..a/..b", "..a/..b"},
                {"/a/./././b/", "/a/b"},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                char *have = path_clean(rows[i][0]), *again;

                print_message("\"%s\"\n", rows[i][0]);
                assert_string_equal(have, rows[i][1]);
                again = path_clean(have);
                assert_string_equal(again, have);
                free(again);
                free(have);
        }
}

static void join_and_parts(void **state)
{
        static const char *const rows[][3] = {
                {"a", "b", "a/b"},  {"", "b", "b"},   {"a", "", "a"},     {"a", "/b", "/b"},
                {"a", "../b", "b"}, {"/", "b", "/b"}, {"a/", "b", "a/b"}, {"", "", "."},
        };
        static const char *const parts[][3] = {
                {"a/b", "a", "b"}, {"a", ".", "a"},       {"/a", "/", "a"},
                {"/", "/", ""},    {"a/b/c", "a/b", "c"},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                char *have = path_join(rows[i][0], rows[i][1]);

                assert_string_equal(have, rows[i][2]);
                free(have);
        }
        for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
                char *dir = path_dir(parts[i][0]);

                assert_string_equal(dir, parts[i][1]);
                assert_string_equal(path_base(parts[i][0]), parts[i][2]);
                free(dir);
        }
}

static void make_folders(void **state)
{
        struct fixture *f = *state;
        struct bld_err err = BLD_ERR_INIT;
        struct stat st;

        assert_int_equal(path_mkdirs(f->fd, "a/b/c", 0755, NULL), 0);
        assert_int_equal(path_mkdirs(f->fd, "a/b/c", 0755, NULL), 0);
        assert_int_equal(path_mkdirs(f->fd, "a/b/d/", 0755, NULL), 0);
        assert_int_equal(fstatat(f->fd, "a/b/d", &st, 0), 0);
        assert_true(S_ISDIR(st.st_mode));
        assert_int_equal(file_write(f->fd, "a/file", "x", 1, 0644, 0, NULL), 0);
        assert_int_equal(path_mkdirs(f->fd, "a/file/sub", 0755, &err), BLD_E_SYS);
        assert_int_equal(err.code, BLD_E_SYS);
}

static void remove_trees(void **state)
{
        struct fixture *f = *state;
        struct stat st;

        assert_int_equal(path_mkdirs(f->fd, "t/deep/er", 0755, NULL), 0);
        assert_int_equal(path_mkdirs(f->fd, "keep", 0755, NULL), 0);
        assert_int_equal(file_write(f->fd, "keep/me", "x", 1, 0644, 0, NULL), 0);
        assert_int_equal(file_write(f->fd, "t/deep/file", "x", 1, 0400, 0, NULL), 0);
        assert_int_equal(symlinkat("../keep", f->fd, "t/link"), 0);
        assert_int_equal(symlinkat("nowhere", f->fd, "t/deep/dangling"), 0);
        assert_int_equal(mkfifoat(f->fd, "t/fifo", 0600), 0);
        assert_int_equal(fchmodat(f->fd, "t/deep/er", 0000, 0), 0);
        assert_int_equal(fchmodat(f->fd, "t/deep", 0500, 0), 0);
        assert_int_equal(path_remove_tree(f->fd, "t", NULL), 0);
        assert_int_equal(fstatat(f->fd, "t", &st, AT_SYMLINK_NOFOLLOW), -1);
        assert_int_equal(fstatat(f->fd, "keep/me", &st, 0), 0); /* not through the link */
        assert_int_equal(path_remove_tree(f->fd, "t", NULL), 0);
        assert_int_equal(symlinkat("keep", f->fd, "l"), 0);
        assert_int_equal(path_remove_tree(f->fd, "l", NULL), 0);
        assert_int_equal(fstatat(f->fd, "keep/me", &st, 0), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(clean),
                cmocka_unit_test(join_and_parts),
                cmocka_unit_test_setup_teardown(make_folders, setup, teardown),
                cmocka_unit_test_setup_teardown(remove_trees, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
