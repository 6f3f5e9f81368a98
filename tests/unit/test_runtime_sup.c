/* The supervisor's emulations, each against real system calls of a child. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime/runtime_priv.h"

static char dir[64]; /* where the children work */

#define CHECK(x)                                                                                  \
        do {                                                                                      \
                if (!(x)) {                                                                       \
                        (void)!dprintf(2, "# line %d: %s (%s)\n", __LINE__, #x, strerror(errno)); \
                        _exit(1);                                                                 \
                }                                                                                 \
        } while (0)

/* In the place of init: serve until the child ends. */
_Noreturn static void supervise(unsigned modules, void (*child)(void))
{
        uint32_t none = 0;
        const struct ident root = {.groups = &none};
        struct bld_err err = BLD_ERR_INIT;
        struct sup *s = NULL;
        int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int pair[2], listener = -1, status = 0;
        char byte = 0;
        pid_t pid;

        CHECK(proc >= 0 && sup_new(modules, false, proc, -1, &root, &s, &err) == 0);
        CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
        pid = fork();
        if (pid == 0) {
                int fd = -1;
                CHECK(sup_install(s, &fd, &err) == 0);
                CHECK(rt_send(pair[1], &byte, 1, &fd, 1, NULL) == 0);
                close(fd);
                child();
                _exit(0);
        }
        CHECK(rt_recv(pair[0], &byte, 1, &listener, 1, NULL, NULL) > 0);
        sup_listen(s, listener);
        for (;;) {
                struct pollfd p = {.fd = listener, .events = POLLIN};
                if (poll(&p, 1, 10) > 0 && (p.revents & POLLIN))
                        sup_serve(s);
                if (waitpid(pid, &status, WNOHANG) == pid)
                        break;
        }
        sup_free(s);
        _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 99);
}

static void run(unsigned modules, void (*child)(void))
{
        int status = 0;

        if (geteuid() != 0)
                skip(); /* the supervisor is root of its namespace */

        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid == 0)
                supervise(modules, child);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
}

/* ---- ids ---- */

static void in_fork(void (*fn)(void))
{
        int status = 0;
        pid_t pid = fork();

        if (pid == 0) {
                fn();
                _exit(0);
        }
        CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
}

static void still_33(void)
{
        CHECK(getuid() == 33 && geteuid() == 33 && getgid() == 34);
}

static void forks_again(void)
{
        still_33();
        in_fork(still_33);
}

static void ids(void)
{
        gid_t groups[3] = {9, 7, 8}, got[8];
        uid_t r, e, s;

        CHECK(getuid() == 0 && getgroups(0, NULL) == 0);
        CHECK(setgroups(3, groups) == 0 && getgroups(8, got) == 3);
        CHECK(got[0] == 7 && got[2] == 9); /* sorted, as the kernel has them */
        CHECK(getgroups(2, got) == -1 && errno == EINVAL);
        CHECK(seteuid(44) == 0 && geteuid() == 44 && getuid() == 0);
        CHECK(setgroups(0, NULL) == -1 && errno == EPERM);
        CHECK(seteuid(0) == 0);
        CHECK(setresuid(1, 2, 3) == 0 && getresuid(&r, &e, &s) == 0 && r == 1 && e == 2 && s == 3);
        CHECK(setuid(0) == -1 && errno == EPERM);
        CHECK(seteuid(3) == 0 && setresuid(1, 1, 1) == 0);
        CHECK(seteuid(2) == -1 && errno == EPERM);
}

static void inherited(void)
{
        CHECK(setgid(34) == 0 && setuid(33) == 0);
        in_fork(forks_again);
        CHECK(setuid(0) == -1 && errno == EPERM);
        CHECK(setfsuid(5) == 33 && setfsuid(5) == 33);
}

static void test_ids(void **state)
{
        (void)state;
        run(SUP_CRED, ids);
        run(SUP_CRED, inherited);
}

/* ---- owners ---- */

static void owners(void)
{
        char list[256];
        struct stat st;
        ssize_t n;
        int fd;

        CHECK(chdir(dir) == 0);
        fd = open("f", O_CREAT | O_WRONLY | O_CLOEXEC, 04755);
        CHECK(fd >= 0 && chown("f", 33, 34) == 0 && stat("f", &st) == 0);
        CHECK(st.st_uid == 33 && st.st_gid == 34 && !(st.st_mode & S_ISUID));
        CHECK(fchown(fd, (uid_t)-1, 8) == 0 && fstat(fd, &st) == 0);
        CHECK(st.st_uid == 33 && st.st_gid == 8);
        n = listxattr("f", list, sizeof(list));
        CHECK(n == 0);
        CHECK(symlink("f", "l") == 0 && lchown("l", 5, 6) == 0);
        CHECK(lstat("l", &st) == 0 && st.st_uid == 5 && S_ISLNK(st.st_mode));
        CHECK(stat("l", &st) == 0 && st.st_uid == 33);
        CHECK(mknod("d", S_IFCHR | 0666, makedev(1, 3)) == 0 && stat("d", &st) == 0);
        CHECK(S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3));
        CHECK(chown("none", 1, 1) == -1 && errno == ENOENT);
        CHECK(chown("/proc/self/fd/1", 1, 1) == 0 || errno == EPERM || errno == EINVAL);
}

static void others_files(void)
{
        struct stat st;
        int fd;

        CHECK(chdir(dir) == 0 && mkdir("open", 0777) == 0 && chmod("open", 02777) == 0);
        CHECK(chown("open", 0, 77) == 0 && setgid(34) == 0 && setuid(33) == 0);
        (void)umask(027);
        fd = open("open/f", O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0666);
        CHECK(fd >= 0 && write(fd, "x", 1) == 1 && fstat(fd, &st) == 0);
        CHECK(st.st_uid == 33 && st.st_gid == 77 && (st.st_mode & 0777) == 0640);
        CHECK(open("open/f", O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0666) == -1 && errno == EEXIST);
        CHECK(mkdir("open/d", 0777) == 0 && stat("open/d", &st) == 0);
        CHECK(st.st_uid == 33 && (st.st_mode & 07777) == 02750);
        CHECK(mkfifo("open/p", 0600) == 0 && lstat("open/p", &st) == 0 && st.st_uid == 33);
        CHECK(chown("open/f", 1, 1) == -1 && errno == EPERM);
        CHECK(chown("open/f", 33, 34) == 0);
        CHECK(mknod("open/b", S_IFBLK, makedev(8, 0)) == -1 && errno == EPERM);
}

static void test_owners(void **state)
{
        (void)state;
        run(SUP_OWN | SUP_CRED | SUP_CREATE | SUP_STAT, owners);
        run(SUP_OWN | SUP_CRED | SUP_CREATE | SUP_STAT, others_files);
}

/* ---- signals ---- */

static void signals(void)
{
        pid_t pid = fork();

        if (pid == 0)
                for (;;)
                        (void)pause();
        CHECK(kill(getppid(), 0) == -1 && errno == EPERM);
        CHECK(kill(1, 0) == -1 && errno == EPERM);
        CHECK(kill(-1, 0) == -1 && errno == EPERM);
        CHECK(kill(pid, 0) == 0);
        CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid);
}

static void test_signals(void **state)
{
        (void)state;
        run(SUP_KILL, signals);
}

static int set_up(void **state)
{
        (void)state;
        (void)snprintf(dir, sizeof(dir), "/tmp/bld-sup-XXXXXX");
        return mkdtemp(dir) ? 0 : -1;
}

static int tear_down(void **state)
{
        static const char *const names[] = {"f", "l", "d", "open/f", "open/p", "open/d", "open"};
        char path[128];

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
                (void)snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
                (void)remove(path);
        }
        return rmdir(dir);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_ids),
                cmocka_unit_test(test_owners),
                cmocka_unit_test(test_signals),
        };

        return cmocka_run_group_tests(tests, set_up, tear_down);
}
