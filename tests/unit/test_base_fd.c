/* Files written whole or not at all, locks, other programs, cancellation. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/num.h"
#include "base/path.h"
#include "base/proc.h"

struct fixture {
        char dir[64];
        int fd;
};

static int setup(void **state)
{
        static struct fixture f;
        const char *tmp = getenv("TMPDIR");

        (void)snprintf(f.dir, sizeof(f.dir), "%.40s/bld-fd-XXXXXX", tmp && *tmp ? tmp : "/tmp");
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

static void assert_content(const struct fixture *f, const char *name, const char *want)
{
        struct sb b = SB_INIT(1 << 16);

        assert_int_equal(file_read(f->fd, name, &b, NULL), 0);
        assert_string_equal(sb_text(&b), want);
        sb_done(&b);
}

static void ownership(void **state)
{
        int fd = dup(1), other;

        (void)state;
        errno = ENOENT;
        other = take_fd(&fd);
        assert_int_equal(fd, -1);
        fd_close(&fd);
        fd = other;
        fd_close(&fd);
        assert_int_equal(fd, -1);
        assert_int_equal(errno, ENOENT);
        assert_int_equal(fcntl(other, F_GETFD), -1);
}

static void files(void **state)
{
        const struct fixture *f = *state;
        struct bld_err err = BLD_ERR_INIT;
        struct sb small = SB_INIT(3);
        struct stat st;

        assert_int_equal(file_write(f->fd, "a", "one", 3, 0640, FILE_SYNC, NULL), 0);
        assert_content(f, "a", "one");
        assert_int_equal(fstatat(f->fd, "a", &st, 0), 0);
        assert_int_equal(st.st_mode & 0777 & ~0027U, 0640 & ~0027U);
        assert_int_equal(file_write(f->fd, "a", "two!", 4, 0640, 0, NULL), 0);
        assert_content(f, "a", "two!");
        assert_int_equal(file_read(f->fd, "a", &small, &err), BLD_E_LIMIT);
        sb_done(&small);
        err_clear(&err);
        assert_int_equal(file_read(f->fd, "none", &small, &err), BLD_E_NOT_FOUND);
        sb_done(&small);
        err_clear(&err);
        assert_int_equal(file_write(f->fd, "no/such/folder", "x", 1, 0644, 0, &err), BLD_E_SYS);
}

/* A failed write leaves neither a part nor a temporary file. */
static void failed_write(void **state)
{
        const struct fixture *f = *state;
        struct bld_err err = BLD_ERR_INIT;

        assert_int_equal(path_mkdirs(f->fd, "d/target/full", 0755, NULL), 0);
        assert_true(file_write(f->fd, "d/target", "x", 1, 0644, 0, &err) < 0); /* a folder */
        assert_int_equal(path_remove_tree(f->fd, "d/target", NULL), 0);
        assert_int_equal(unlinkat(f->fd, "d", AT_REMOVEDIR), 0); /* nothing else was in it */
}

static void write_in_place(void **state)
{
        const struct fixture *f = *state;
        char got[8] = "";
        int fd;

        assert_int_equal(mkfifoat(f->fd, "fifo", 0600), 0);
        fd = openat(f->fd, "fifo", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(file_write(f->fd, "fifo", "abc", 3, 0644, FILE_IN_PLACE, NULL), 0);
        assert_int_equal(read(fd, got, sizeof(got)), 3);
        assert_string_equal(got, "abc");
        (void)close(fd);
        assert_int_equal(file_write(AT_FDCWD, "/dev/null", "abc", 3, 0644, FILE_IN_PLACE, NULL), 0);
}

static void locks(void **state)
{
        const struct fixture *f = *state;
        int a = openat(f->fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        int b = openat(f->fd, "lock", O_RDWR | O_CLOEXEC);

        assert_int_equal(fd_lock(a, LOCK_EX, NULL), 0);
        assert_int_equal(fd_lock(b, LOCK_EX | LOCK_NB, NULL), 1);
        fd_close(&a);
        assert_int_equal(fd_lock(b, LOCK_EX | LOCK_NB, NULL), 0);
        fd_close(&b);
        assert_true(fd_lock(-1, LOCK_EX, NULL) < 0);
}

static void programs(void **state)
{
        static const struct {
                const char *name, *script, *input, *out;
                int status;
        } rows[] = {
                {"output", "echo hi", NULL, "hi\n", 0},
                {"input", "cat", "fed", "fed", 0},
                {"status", "exit 3", NULL, "", 3},
                {"input is not read", "exit 0", "ignored", "", 0},
                {"mask and SIGPIPE are reset", "yes | head -n1; echo ${PIPESTATUS[0]}", NULL,
                 "y\n141\n", 0},
        };

        (void)state;
        (void)signal(SIGPIPE, SIG_IGN);
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                char *argv[] = {(char[]){"bash"}, (char[]){"-c"}, mem_strdup(rows[i].script), NULL};
                struct sb out = SB_INIT(1 << 16);
                struct bld_err err = BLD_ERR_INIT;
                int status = -1;

                print_message("%s\n", rows[i].name);
                if (proc_run("bash", argv, rows[i].input, rows[i].input ? strlen(rows[i].input) : 0,
                             &out, NULL, 20000, NULL, &status, &err) < 0)
                        fail_msg("%s", err.msg);
                assert_true(WIFEXITED(status));
                assert_int_equal(WEXITSTATUS(status), rows[i].status);
                assert_string_equal(sb_text(&out), rows[i].out);
                sb_done(&out);
                free(argv[2]);
        }
        (void)signal(SIGPIPE, SIG_DFL);
}

/* A daemon it left behind holds the pipes; what it said counts, and nobody waits for the daemon. */
static void test_run_leaves_daemon(void **state UNUSED)
{
        char sh[] = "sh", opt[] = "-c", cmd[] = "exec 3>&2; sleep 20 & echo $!; echo said";
        char *argv[] = {sh, opt, cmd, NULL};
        AUTO_SB struct sb out = SB_INIT(4096);
        struct bld_err err = BLD_ERR_INIT;
        uint64_t daemon;
        int status = -1;

        assert_int_equal(proc_run(sh, argv, NULL, 0, &out, NULL, 15000, NULL, &status, &err), 0);
        assert_int_equal(status, 0);
        assert_non_null(strstr(sb_text(&out), "said"));
        sb_cut(&out, strcspn(sb_text(&out), "\n"));
        assert_true(parse_u64(sb_text(&out), 2, INT32_MAX, &daemon));
        assert_int_equal(kill((pid_t)daemon, SIGKILL), 0);
}

static void program_failures(void **state)
{
        char *none[] = {(char[]){"/no/such/program"}, NULL};
        char *sleeper[] = {(char[]){"sleep"}, (char[]){"100"}, NULL};
        char *talker[] = {(char[]){"yes"}, NULL};
        struct sb out = SB_INIT(1000);
        struct bld_err err = BLD_ERR_INIT;
        struct cancel c;
        int status;

        (void)state;
        assert_true(proc_run(none[0], none, NULL, 0, NULL, NULL, 0, NULL, &status, &err) < 0);
        err_clear(&err);
        assert_int_equal(proc_run("sleep", sleeper, NULL, 0, NULL, NULL, 50, NULL, &status, &err),
                         BLD_E_TIMEOUT);
        err_clear(&err);
        /* What is beyond the limit is dropped, so that the program is never stuck on us. */
        assert_int_equal(proc_run("yes", talker, NULL, 0, &out, NULL, 300, NULL, &status, &err),
                         BLD_E_TIMEOUT);
        assert_int_equal(out.len, 1000);
        sb_done(&out);
        err_clear(&err);
        assert_int_equal(cancel_init(&c, NULL), 0);
        cancel_fire(&c, 1);
        assert_int_equal(proc_run("sleep", sleeper, NULL, 0, NULL, NULL, 0, &c, &status, &err),
                         BLD_E_CANCELLED);
        cancel_done(&c);
}

static void cancellation(void **state)
{
        struct bld_err err = BLD_ERR_INIT;
        struct cancel c;
        struct pollfd p;

        (void)state;
        assert_int_equal(cancel_level(NULL), 0);
        assert_int_equal(cancel_fd(NULL), -1);
        assert_int_equal(cancel_check(NULL, &err), 0);
        assert_int_equal(cancel_init(&c, NULL), 0);
        p = (struct pollfd){.fd = cancel_fd(&c), .events = POLLIN};
        assert_int_equal(poll(&p, 1, 0), 0);
        assert_int_equal(cancel_check(&c, &err), 0);
        cancel_fire(&c, 2);
        cancel_fire(&c, 1); /* never back */
        assert_int_equal(cancel_level(&c), 2);
        assert_int_equal(poll(&p, 1, 0), 1);
        assert_int_equal(cancel_check(&c, &err), BLD_E_CANCELLED);
        cancel_done(&c);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(ownership),
                cmocka_unit_test_setup_teardown(files, setup, teardown),
                cmocka_unit_test_setup_teardown(failed_write, setup, teardown),
                cmocka_unit_test_setup_teardown(write_in_place, setup, teardown),
                cmocka_unit_test_setup_teardown(locks, setup, teardown),
                cmocka_unit_test(programs),
                cmocka_unit_test(program_failures),
                cmocka_unit_test(test_run_leaves_daemon),
                cmocka_unit_test(cancellation),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
