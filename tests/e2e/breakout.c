/* A hostile step: every way out that is known. Says "ESCAPED ..." where one leads out, and at the
 * end "tried all". breakout OUTSIDE MARK SOCKET VICTIM OUTSIDE: a file of the host that holds MARK;
 * SOCKET: the name of an abstract socket somebody listens at; VICTIM: a process of the host with
 * the step's own id. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *outside, *mark;

static void escaped(const char *how)
{
        printf("ESCAPED %s (uid %d)\n", how, (int)getuid());
        fflush(stdout);
}

/* Does what fd gives hold the mark? */
static int holds(int fd)
{
        static char buf[1 << 16];
        ssize_t n, at = 0;

        while (fd >= 0 && at < (ssize_t)sizeof(buf) &&
               (n = read(fd, buf + at, sizeof(buf) - (size_t)at)) > 0)
                at += n;
        if (fd >= 0)
                close(fd);
        return at > 0 && memmem(buf, (size_t)at, mark, strlen(mark)) != NULL;
}

static void look(const char *path, const char *how)
{
        if (holds(open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)))
                escaped(how);
}

/* ---- by folders ---- */

static void climb(const char *from, const char *how)
{
        char path[4200] = "";
        int fd = open(from, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        struct stat st;

        if (fd < 0)
                return;
        for (int i = 0; i < 24; i++)
                strcat(path, "../");
        strcat(path, outside + 1);
        if (holds(openat(fd, path, O_RDONLY)) || fchmodat(fd, path, 0644, 0) == 0 ||
            fchownat(fd, path, 0, 0, 0) == 0 || fchownat(fd, path, 1000650000, 0, 0) == 0 ||
            fstatat(fd, path, &st, 0) == 0)
                escaped(how);
        if (fchdir(fd) == 0) {
                look(path, how);
                if (chmod(path, 0644) == 0 || chown(path, 1000650000, 0) == 0 ||
                    stat(path, &st) == 0)
                        escaped(how);
        }
        /* A node beside it: seen by whoever looks there. */
        strcat(path, "-node");
        if (mknodat(fd, path, S_IFCHR | 0666, makedev(1, 3)) == 0)
                escaped("a node made outside");
        close(fd);
        (void)!chdir("/");
}

static void folders(void)
{
        static const char *const from[] = {
                "/",         "/proc",       "/proc/self",  "/proc/self/fd",  "/proc/self/task",
                "/sys",      "/dev",        "/dev/fd",     "/proc/self/cwd", "/proc/self/root",
                "/proc/net", "/proc/1/cwd", "/proc/1/root"};

        for (size_t i = 0; i < sizeof(from) / sizeof(*from); i++)
                climb(from[i], from[i]);
}

static void second_chroot(void)
{
        int up = open("/", O_RDONLY | O_DIRECTORY);

        (void)mkdir("/jail", 0755);
        if (chroot("/jail") == 0) {
                (void)!fchdir(up);
                for (int i = 0; i < 64; i++)
                        (void)!chdir("..");
                (void)!chroot(".");
                look(outside, "a second chroot");
        }
        close(up);
}

/* ---- by processes ---- */

static void one_process(pid_t pid)
{
        static const char *const files[] = {"environ", "mem", "maps"};
        char path[4200], buf[4096];
        struct iovec here = {buf, sizeof(buf)}, there = {(void *)0x400000, sizeof(buf)};
        int fd, status;

        snprintf(path, sizeof(path), "/proc/%d/root%s", pid, outside);
        look(path, "/proc/PID/root");
        snprintf(path, sizeof(path), "/proc/%d/cwd/../../../../../../../../..%s", pid, outside);
        look(path, "/proc/PID/cwd");
        for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
                snprintf(path, sizeof(path), "/proc/%d/%s", pid, files[i]);
                fd = open(path, O_RDONLY);
                if (fd >= 0)
                        escaped(files[i]);
                close(fd);
        }
        for (int n = 0; n < 16; n++) {
                snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, n);
                fd = open(path, O_RDONLY | O_NONBLOCK);
                if (fd >= 0)
                        escaped("a descriptor of another process");
                close(fd);
        }
        if (process_vm_readv(pid, &here, 1, &there, 1, 0) > 0 || errno == EFAULT)
                escaped("process_vm_readv");
        if (ptrace(PTRACE_SEIZE, pid, 0, 0) == 0 || ptrace(PTRACE_ATTACH, pid, 0, 0) == 0) {
                escaped("ptrace");
                (void)waitpid(pid, &status, __WALL);
        }
        fd = (int)syscall(SYS_pidfd_open, pid, 0);
        if (fd >= 0) {
                if (syscall(SYS_pidfd_getfd, fd, 0, 0) >= 0)
                        escaped("pidfd_getfd");
                if (pid != 1)
                        (void)syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0);
                close(fd);
        }
        if (pid == 1)
                return; /* whose is it? */
        (void)kill(pid, SIGKILL);
        (void)syscall(SYS_tkill, pid, SIGKILL);
}

/* The machine's first process, the one that made this, and one that has nothing to do with it. */
static void processes(pid_t victim)
{
        one_process(1);
        one_process(getppid());
        one_process(victim);
}

/* ---- by sockets ---- */

static void sockets(const char *name)
{
        struct sockaddr_un a = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);

        memcpy(a.sun_path + 1, name, strlen(name));
        if (fd >= 0 &&
            connect(fd, (struct sockaddr *)&a,
                    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name))) == 0)
                escaped("an abstract socket");
        close(fd);
}

/* ---- by racing whoever reads our arguments ---- */

static char name[256];
static const char *other;
static volatile int racing = 1;

static void *flip(void *arg)
{
        (void)arg;
        while (racing) {
                memcpy(name, "/proc/self/comm\0", 16);
                memcpy(name, other, strlen(other) + 1);
        }
        return NULL;
}

static void race(const char *with)
{
        pthread_t t;
        struct stat st;
        int dir = open("/proc", O_RDONLY | O_DIRECTORY);

        other = with;
        racing = 1;
        if (pthread_create(&t, NULL, flip, NULL))
                return;
        for (int i = 0; i < 1500; i++) {
                if (holds(open(name, O_RDONLY | O_NONBLOCK)) || holds(openat(dir, name, O_RDONLY)))
                        escaped("a race for the name");
                if (!stat(name, &st) && strcmp(with, outside) == 0 && st.st_size == 4242)
                        escaped("a race for stat's name");
                (void)!chown(name, 1000650000, (gid_t)-1);
                (void)!access(name, R_OK);
        }
        racing = 0;
        pthread_join(t, NULL);
        close(dir);
}

/* ---- by devices ---- */

static void devices(void)
{
        char c;
        int fd;

        for (int major = 7; major <= 259; major += major == 8 ? 245 : major == 7 ? 1 : 6) {
                unlink("/disk");
                if (mknod("/disk", S_IFBLK | 0600, makedev(major, 0)) < 0)
                        continue;
                fd = open("/disk", O_RDONLY);
                if (fd >= 0 && read(fd, &c, 1) == 1)
                        escaped("a block device");
                close(fd);
        }
        unlink("/disk");
        if (mknod("/memory", S_IFCHR | 0600, makedev(1, 1)) == 0) {
                fd = open("/memory", O_RDONLY);
                if (fd >= 0 && read(fd, &c, 1) == 1)
                        escaped("the machine's memory");
                close(fd);
        }
        unlink("/memory");
}

int main(int argc, char **argv)
{
        if (argc != 5)
                return 2;
        outside = argv[1];
        mark = argv[2];
        folders();
        processes(atoi(argv[4]));
        sockets(argv[3]);
        race(outside);
        race("/proc/1/environ");
        devices();
        second_chroot();
        puts("tried all");
        return 0;
}
