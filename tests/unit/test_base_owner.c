/* Owners in an attribute and a table. */
#include "base/owner.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"

static void codec(void **state)
{
        static const struct {
                struct owner o;
                bool good;
        } rows[] = {{{0, 0, 0, 0, 0, 0}, true},
                    {{33, 34, 0, 0, 0, OWNER_MODE | 04755}, true},
                    {{4294967294u, 1000650000, S_IFCHR, 1, 3, OWNER_MODE}, true},
                    {{0, 0, S_IFBLK, 259, 1048575, 0}, true},
                    {{0, 0, S_IFDIR, 0, 0, 0}, false},
                    {{0, 0, 0, 0, 0, 0644}, false},
                    {{0, 0, 0, 0, 0, OWNER_MODE | 0100644}, false}};
        unsigned char b[OWNER_LEN];
        struct owner got;

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                owner_encode(&rows[i].o, b);
                assert_int_equal(owner_decode(b, sizeof(b), &got), rows[i].good);
                if (rows[i].good)
                        assert_memory_equal(&got, &rows[i].o, sizeof(got));
                assert_false(owner_decode(b, sizeof(b) - 1, &got));
                b[0]++;
                assert_false(owner_decode(b, sizeof(b), &got));
        }
}

static void device_shown(void **state)
{
        const struct owner o = {
                .uid = 1, .gid = 2, .type = S_IFBLK, .dev_major = 8, .dev_minor = 1};
        struct stat st = {.st_mode = S_IFREG | 0640, .st_size = 5};
        struct stat link = {.st_mode = S_IFLNK | 0777};

        (void)state;
        owner_apply(&o, &st);
        assert_int_equal(st.st_mode, S_IFBLK | 0640);
        assert_int_equal(st.st_rdev, makedev(8, 1));
        assert_int_equal(st.st_uid, 1);
        owner_apply(&o, &link); /* only what can be a noted device becomes one */
        assert_int_equal(link.st_mode, S_IFLNK | 0777);
}

/* Of a note only what the disk says it is about. */
static void beyond_the_map(void **state)
{
        static const struct {
                uint32_t uid, gid, want_uid, want_gid;
        } rows[] = {{OWNER_BEYOND, OWNER_BEYOND, 1000650000, 70000},
                    {OWNER_BEYOND, 33, 1000650000, 33},
                    {7, OWNER_BEYOND, 7, 70000},
                    {7, 33, 7, 33}};

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                const struct stat st = {.st_mode = S_IFREG | 0644,
                                        .st_uid = rows[i].uid,
                                        .st_gid = rows[i].gid,
                                        .st_size = 1};
                struct owner o = {.uid = 1000650000, .gid = 70000};

                owner_beyond(&o, &st);
                assert_int_equal(o.uid, rows[i].want_uid);
                assert_int_equal(o.gid, rows[i].want_gid);
                assert_int_equal(owner_may_be_noted(&st), i < 3);
        }
}

static void table_on_disk(void **state)
{
        AUTO(owner_table_done) struct owner_table t;
        AUTO(owner_table_done) struct owner_table back;
        AUTO(owner_table_done) struct owner_table bad;
        struct bld_err err = BLD_ERR_INIT;
        const struct owner_key k = {7, 123456789}, other = {7, 5};
        const struct owner o = {.uid = 14, .gid = 15};
        char name[] = "/tmp/bld-owner-XXXXXX";
        int fd = mkstemp(name);
        struct owner got;

        (void)state;
        assert_true(fd >= 0);
        owner_table_init(&t);
        owner_table_init(&back);
        owner_table_init(&bad);
        assert_true(owner_table_empty(&t));
        assert_int_equal(owner_table_set(&t, &k, &o), 0);
        t.attrs = 3;
        assert_int_equal(owner_table_write(&t, fd, &err), 0);
        assert_int_equal(owner_table_load(&back, AT_FDCWD, name, &err), 0);
        assert_true(owner_table_get(&back, &k, &got));
        assert_memory_equal(&got, &o, sizeof(got));
        assert_false(owner_table_get(&back, &other, &got)); /* the number came back to another */
        assert_int_equal(back.attrs, 3);
        /* Cut short, or gone: then nobody may conclude that there is nothing. */
        assert_int_equal(ftruncate(fd, 20), 0);
        assert_int_equal(owner_table_load(&bad, AT_FDCWD, name, &err), 0);
        assert_false(owner_table_empty(&bad));
        assert_int_equal(unlink(name), 0);
        assert_int_equal(owner_table_load(&bad, AT_FDCWD, name, &err), 0);
        assert_int_equal(bad.attrs, 2);
        close(fd);
}

static void files(void **state)
{
        AUTO(owner_table_done) struct owner_table t;
        const struct owner o = {.uid = 5, .gid = 6}, none = {0};
        char dir[] = "/tmp/bld-owner-XXXXXX";
        static const char *const names[] = {"file", "link", "pipe", "dir"};
        struct owner got;
        struct stat st;
        int fd;

        (void)state;
        owner_table_init(&t);
        assert_non_null(mkdtemp(dir));
        fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(fd >= 0);
        close(openat(fd, "file", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
        assert_int_equal(symlinkat("x", fd, "link"), 0);
        assert_int_equal(mkfifoat(fd, "pipe", 0600), 0);
        assert_int_equal(mkdirat(fd, "dir", 0700), 0);
        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
                assert_int_equal(fstatat(fd, names[i], &st, AT_SYMLINK_NOFOLLOW), 0);
                assert_int_equal(owner_find(&t, fd, names[i], &st, &got), 0);
                assert_int_equal(owner_note(&t, fd, names[i], &st, &o), 0);
                assert_int_equal(owner_find(&t, fd, names[i], &st, &got), 1);
                assert_memory_equal(&got, &o, sizeof(o));
                assert_int_equal(owner_note(&t, fd, names[i], &st, &none), 0);
                if (owner_find(&t, fd, names[i], &st, &got))
                        assert_memory_equal(&got, &none, sizeof(none));
                assert_int_equal(unlinkat(fd, names[i], S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0), 0);
        }
        close(fd);
        assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(codec),          cmocka_unit_test(device_shown),
                cmocka_unit_test(beyond_the_map), cmocka_unit_test(table_on_disk),
                cmocka_unit_test(files),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
