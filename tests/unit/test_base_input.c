/* Reading what the user names: pipes that are silent, late, endless. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/input.h"

static void test_append(void **state UNUSED)
{
        static const struct {
                const char *name;
                size_t limit, n;
                int code;
                const char *got;
        } rows[] = {
                {"all", 100, SIZE_MAX, 0, "0123456789"},
                {"some", 100, 4, 0, "0123"},
                {"none", 100, 0, 0, ""},
                {"too much", 5, SIZE_MAX, BLD_E_LIMIT, NULL},
        };

        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                AUTO_SB struct sb b = SB_INIT(rows[i].limit);
                struct bld_err err = BLD_ERR_INIT;
                int p[2];

                print_message("# %s\n", rows[i].name);
                assert_int_equal(pipe2(p, O_CLOEXEC), 0);
                assert_int_equal(write(p[1], "0123456789", 10), 10);
                (void)close(p[1]);
                assert_int_equal(input_append(p[0], &b, rows[i].n, "a pipe", NULL, &err),
                                 rows[i].code);
                if (rows[i].got)
                        assert_string_equal(sb_text(&b), rows[i].got);
                else
                        assert_non_null(strstr(err.msg, "a pipe"));
                (void)close(p[0]);
        }
}

static void *fire(void *c)
{
        (void)usleep(20000);
        cancel_fire(c, 1);
        return NULL;
}

/* Nobody has opened the other end; somebody has and says nothing. */
static void test_silent(void **state UNUSED)
{
        char dir[] = "/tmp/bld-input-XXXXXX", path[64];

        assert_non_null(mkdtemp(dir));
        (void)snprintf(path, sizeof(path), "%s/p", dir);
        assert_int_equal(mkfifo(path, 0600), 0);
        for (int writer = 0; writer < 2; writer++) {
                AUTO_SB struct sb b = SB_INIT(100);
                struct bld_err err = BLD_ERR_INIT;
                struct cancel c;
                pthread_t t;
                int fd = input_open(path), to = writer ? open(path, O_WRONLY | O_CLOEXEC) : -1;

                assert_true(fd >= 0);
                assert_int_equal(cancel_init(&c, &err), 0);
                assert_int_equal(pthread_create(&t, NULL, fire, &c), 0);
                assert_int_equal(input_append(fd, &b, SIZE_MAX, path, &c, &err), BLD_E_CANCELLED);
                assert_int_equal(pthread_join(t, NULL), 0);
                cancel_done(&c);
                (void)close(fd);
                if (to >= 0)
                        (void)close(to);
        }
        (void)unlink(path);
        assert_int_equal(input_open(path), -1);
        assert_int_equal(errno, ENOENT);
        (void)rmdir(dir);
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_append),
                                           cmocka_unit_test(test_silent)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
