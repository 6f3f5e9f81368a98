/* The least a RUN step can cost: floor_run COUNT BASE SCRATCH COMMAND...
 *
 * COUNT times: clone3 into new mount, pid, ipc, uts and cgroup namespaces, mount an overlay of BASE
 * and of all upper folders so far through the new mount API, pivot into it, execute COMMAND, wait.
 * No /proc, no capabilities, no seccomp, nothing packed, nothing synced. Needs root. */
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATH_ROOM 4096

static _Noreturn void die(const char *what)
{
        fprintf(stderr, "floor_run: %s: %s\n", what, strerror(errno));
        _exit(111);
}

static void set(int fs, const char *key, const char *value)
{
        if (syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, key, value, 0) < 0)
                die(key);
}

static const char *path(char *buf, const char *scratch, const char *kind, int i)
{
        snprintf(buf, PATH_ROOM, "%s/%s%d", scratch, kind, i);
        return buf;
}

/* Before Linux 6.5 there is no "lowerdir+", and a lowerdir string of fsconfig ends at 256 bytes. */
static void mount_old(const char *base, const char *scratch, int i)
{
        static char opts[64 * 1024];
        char buf[PATH_ROOM];
        size_t n = (size_t)snprintf(opts, sizeof(opts), "lowerdir=");

        for (int lower = i - 1; lower >= 0; lower--)
                n += (size_t)snprintf(opts + n, sizeof(opts) - n,
                                      "%s:", path(buf, scratch, "upper", lower));
        n += (size_t)snprintf(opts + n, sizeof(opts) - n, "%s,upperdir=%s", base,
                              path(buf, scratch, "upper", i));
        snprintf(opts + n, sizeof(opts) - n, ",workdir=%s", path(buf, scratch, "work", i));
        if (mount("overlay", path(buf, scratch, "root", 0), "overlay", 0, opts) < 0)
                die("mount overlay");
}

static void mount_new(const char *base, const char *scratch, int i)
{
        char buf[PATH_ROOM];
        int fs, mnt;

        fs = (int)syscall(SYS_fsopen, "overlay", FSOPEN_CLOEXEC);
        if (fs < 0)
                die("fsopen overlay");
        for (int lower = i; lower >= 0; lower--) {
                const char *dir = lower > 0 ? path(buf, scratch, "upper", lower - 1) : base;

                if (syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "lowerdir+", dir, 0) == 0)
                        continue;
                close(fs);
                mount_old(base, scratch, i);
                return;
        }
        set(fs, "upperdir", path(buf, scratch, "upper", i));
        set(fs, "workdir", path(buf, scratch, "work", i));
        if (syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
                die("create overlay");
        mnt = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, 0);
        if (mnt < 0)
                die("fsmount");
        if (syscall(SYS_move_mount, mnt, "", AT_FDCWD, path(buf, scratch, "root", 0),
                    MOVE_MOUNT_F_EMPTY_PATH) < 0)
                die("move_mount");
}

static void enter_root(const char *base, const char *scratch, int i)
{
        char buf[PATH_ROOM];

        if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
                die("make mounts private");
        mount_new(base, scratch, i);
        if (chdir(path(buf, scratch, "root", 0)) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 ||
            umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
                die("pivot_root");
}

static void step(const char *base, const char *scratch, int i, char *const argv[])
{
        struct clone_args args = {
                .flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP,
                .exit_signal = SIGCHLD,
        };
        char buf[PATH_ROOM];
        int status;
        pid_t pid;

        if (mkdir(path(buf, scratch, "upper", i), 0755) < 0 ||
            mkdir(path(buf, scratch, "work", i), 0755) < 0)
                die(buf);
        pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
        if (pid < 0)
                die("clone3");
        if (pid == 0) {
                enter_root(base, scratch, i);
                execv(argv[0], argv);
                die(argv[0]);
        }
        if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
                fprintf(stderr, "floor_run: step %d: status %x\n", i, (unsigned)status);
                exit(1);
        }
}

int main(int argc, char **argv)
{
        char buf[PATH_ROOM];
        int count;

        if (argc < 5 || (count = atoi(argv[1])) <= 0) {
                fprintf(stderr, "usage: floor_run COUNT BASE SCRATCH COMMAND...\n");
                return 2;
        }
        if (mkdir(path(buf, argv[3], "root", 0), 0755) < 0 && errno != EEXIST)
                die(buf);
        for (int i = 0; i < count; i++)
                step(argv[2], argv[3], i, argv + 4);
        return 0;
}
