/* Which changes are one line for people, and what kind of file has which first bytes. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/path.h"
#include "cli/diff.h"
#include "cli/magic.h"

#define ROWS_MAX 12

struct world {
        char dir[64];
        int a_fd, b_fd;
        struct bld_image *a, *b;
        struct bld_diff *d;
};

static int setup(void **state)
{
        struct world *w = mem_zalloc(1, sizeof(*w));

        assert_non_null(w);
        (void)snprintf(w->dir, sizeof(w->dir), "/tmp/bld-test-diff.XXXXXX");
        assert_non_null(mkdtemp(w->dir));
        *state = w;
        return 0;
}

static void forget(struct world *w)
{
        bld_diff_free(w->d);
        bld_image_close(w->a);
        bld_image_close(w->b);
        fd_close(&w->a_fd);
        fd_close(&w->b_fd);
        assert_int_equal(path_remove_tree(AT_FDCWD, w->dir, NULL), 0);
        w->d = NULL;
        w->a = w->b = NULL;
}

static int teardown(void **state)
{
        free(*state);
        return 0;
}

/* "dir/", or "file" with its own name as content; all of one time unless it ends in "!". */
static void fill(int top, const char *const *paths)
{
        for (size_t i = 0; paths[i]; i++) {
                char path[128];
                size_t n = strlen(paths[i]);
                bool newer = paths[i][n - 1] == '!';

                (void)snprintf(path, sizeof(path), "%.*s", (int)(n - newer), paths[i]);
                if (str_has_suffix(path, "/"))
                        assert_int_equal(path_mkdirs(top, path, 0755, NULL), 0);
                else
                        assert_int_equal(file_write(top, path, path, strlen(path), 0644, 0, NULL),
                                         0);
        }
        for (size_t i = 0; paths[i]; i++) {
                char path[128];
                size_t n = strlen(paths[i]);
                bool newer = paths[i][n - 1] == '!';
                struct timespec t[2] = {{1000 + newer, 0}, {1000 + newer, 0}};

                (void)snprintf(path, sizeof(path), "%.*s", (int)(n - newer), paths[i]);
                assert_int_equal(utimensat(top, path, t, 0), 0);
        }
}

static int make_side(struct world *w, const char *name, const char *const *paths)
{
        char dir[128];
        int fd;

        (void)snprintf(dir, sizeof(dir), "%s/%s", w->dir, name);
        assert_int_equal(path_mkdirs(AT_FDCWD, dir, 0755, NULL), 0);
        fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(fd >= 0);
        fill(fd, paths);
        return fd;
}

static void groups(void **state)
{
        static const struct {
                const char *name;
                const char *a[ROWS_MAX], *b[ROWS_MAX];
                const char *want; /* PATH[:FILES:BYTES] of each line; ~ for a quiet one */
        } rows[] = {
                {"a file", {NULL}, {"f", NULL}, "f"},
                {"a new folder", {NULL}, {"d/", "d/a", "d/b", "d/e/", "d/e/c", NULL}, "d:3:11"},
                {"gone, and beside it one with a longer name",
                 {"d/", "d/a", "d/b", "d-x", NULL},
                 {NULL},
                 "d:2:6 d-x"},
                {"an empty folder", {NULL}, {"d/", NULL}, "d"},
                {"one thing in folders", {NULL}, {"d/", "d/e/", "d/e/f", NULL}, "d/e/f"},
                {"nothing in folders", {NULL}, {"d/", "d/e/", NULL}, "d/e"},
                {"a folder of empty folders", {NULL}, {"d/", "d/e/", "d/f/", NULL}, "d:0:0"},
                {"new in an old folder",
                 {"d/", NULL},
                 {"d/", "d/a", "d/n/", "d/n/x", "d/n/y", NULL},
                 "d/a d/n:2:10"},
                {"a time that follows from a change", {"d/", NULL}, {"d/!", "d/a", NULL}, "~d d/a"},
                {"a time alone", {"d/", "d/a", NULL}, {"d/!", "d/a", NULL}, "d"},
                {"a time, and a change next to it", {"d/", NULL}, {"d/!", "e", NULL}, "d e"},
        };
        struct world *w = *state;

        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct bld_diff_opts o = {.size = sizeof(o), .no_renames = true};
                AUTO_SB struct sb got = SB_INIT(4096);
                struct diff_group g;

                print_message("%s\n", rows[i].name);
                w->a_fd = make_side(w, "a", rows[i].a);
                w->b_fd = make_side(w, "b", rows[i].b);
                assert_int_equal(bld_image_open_dir(w->a_fd, NULL, &w->a, NULL), 0);
                assert_int_equal(bld_image_open_dir(w->b_fd, NULL, &w->b, NULL), 0);
                assert_int_equal(bld_diff(w->a, w->b, &o, &w->d, NULL), 0);
                for (size_t k = 0; k < bld_diff_count(w->d); k += g.n) {
                        assert_int_equal(diff_group_at(w->d, k, &g, NULL), 0);
                        sb_fmt(&got, "%s%s%s", got.len ? " " : "", g.quiet ? "~" : "",
                               bld_diff_change(w->d, g.shown)->path);
                        if (g.n > 1 && g.shown == g.first)
                                sb_fmt(&got, ":%llu:%llu", (unsigned long long)g.files,
                                       (unsigned long long)g.bytes);
                }
                assert_string_equal(sb_text(&got), rows[i].want);
                forget(w);
        }
}

static void magic(void **state)
{
        static const struct {
                const char *bytes;
                size_t n;
                const char *want;
        } rows[] = {
                {"", 0, "data"},
                {"\177ELF", 4, "data"},
                {"\177ELF\002\001\001\0\0\0\0\0\0\0\0\0\003\0\076\0", 20, "ELF 64-bit x86-64"},
                {"\177ELF\001\002\001\0\0\0\0\0\0\0\0\0\0\003\0\010", 20, "ELF 32-bit mips"},
                {"\037\213\010", 3, "gzip"},
                {"\037", 1, "data"},
                {"SQLite format 3\0", 16, "SQLite database"},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                char got[48];

                magic_name((const unsigned char *)rows[i].bytes, rows[i].n, got);
                assert_string_equal(got, rows[i].want);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(groups, setup, teardown),
                cmocka_unit_test(magic),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
