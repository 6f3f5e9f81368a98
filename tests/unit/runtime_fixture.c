#include "runtime_fixture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/path.h"

size_t rtf_levels(enum rt_level out[2])
{
        if (geteuid() != 0) {
                out[0] = RT_USERNS;
                return 1;
        }
        out[0] = RT_ROOT;
        out[1] = RT_USERNS;
        return 2;
}

void rtf_mkdir(struct rtf *f, const char *path)
{
        struct bld_err err = BLD_ERR_INIT;

        if (path_mkdirs(f->store_fd, path, 0755, &err) < 0)
                fail_msg("%s", err.msg);
}

void rtf_file(struct rtf *f, const char *path, const char *content)
{
        struct bld_err err = BLD_ERR_INIT;

        if (file_write(f->store_fd, path, content, strlen(content), 0644, 0, &err) < 0)
                fail_msg("%s", err.msg);
}

static void copy_busybox(struct rtf *f)
{
        char buf[65536];
        int in = open("/bin/busybox", O_RDONLY | O_CLOEXEC);
        int out = openat(f->store_fd, "snapshots/base/fs/bin/busybox",
                         O_CREAT | O_WRONLY | O_CLOEXEC, 0755);
        ssize_t n;

        if (in < 0 || out < 0)
                fail_msg("/bin/busybox: %s (apt-get install busybox-static)", strerror(errno));
        while ((n = read(in, buf, sizeof(buf))) > 0)
                assert_int_equal(write(out, buf, (size_t)n), n);
        close(in);
        close(out);
}

static void make_base(struct rtf *f)
{
        static const char *const applets[] = {
                "sh",     "ls",    "cat",    "id",   "mount",    "umount", "unshare", "mknod",
                "true",   "sleep", "grep",   "rm",   "mkdir",    "touch",  "ln",      "env",
                "ip",     "stat",  "test",   "wc",   "readlink", "dd",     "kill",    "hostname",
                "chmod",  "chown", "head",   "sort", "echo",     "tr",     "cut",     "find",
                "setsid", "ps",    "chroot", "pwd"};
        char path[128];

        rtf_mkdir(f, "snapshots/base/fs/bin");
        rtf_mkdir(f, "snapshots/base/fs/etc");
        rtf_mkdir(f, "snapshots/base/fs/tmp");
        copy_busybox(f);
        for (size_t i = 0; i < ARRAY_LEN(applets); i++) {
                (void)snprintf(path, sizeof(path), "snapshots/base/fs/bin/%s", applets[i]);
                assert_int_equal(symlinkat("busybox", f->store_fd, path), 0);
        }
        rtf_file(f, "snapshots/base/fs/etc/passwd",
                 "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n");
        rtf_file(f, "snapshots/base/fs/etc/group", "root:x:0:\nadm:x:4:root,app\napp:x:1000:\n");
        assert_int_equal(fchmodat(f->store_fd, "snapshots/base/fs/tmp", 01777, 0), 0);
}

void rtf_open(struct rtf *f, enum rt_level level)
{
        struct bld_err err = BLD_ERR_INIT;
        const char *tmp = getenv("TMPDIR");

        memset(f, 0, sizeof(*f));
        f->level = level;
        (void)snprintf(f->dir, sizeof(f->dir), "%s/bld-rt-XXXXXX", tmp && *tmp ? tmp : "/tmp");
        assert_non_null(mkdtemp(f->dir));
        assert_int_equal(chmod(f->dir, 0755), 0);
        f->store_fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(f->store_fd >= 0);
        make_base(f);
        const struct rt_keeper_opts o = {.store_fd = f->store_fd, .level = level};
        int r = rt_keeper_start(&o, &f->k, &err);
        if (r == BLD_E_UNSUPPORTED) {
                print_message("skipped: %s\n", err.msg);
                skip();
        }
        if (r < 0)
                fail_msg("%s", err.msg);
}

void rtf_close(struct rtf *f)
{
        struct bld_err err = BLD_ERR_INIT;

        if (f->k) {
                if (rt_remove_tree(f->k, "tmp", &err) < 0)
                        print_message("%s\n", err.msg);
                rt_keeper_stop(f->k);
        }
        if (f->store_fd > 0)
                close(f->store_fd);
        (void)path_remove_tree(AT_FDCWD, f->dir, NULL);
}

void rtf_step_init(struct rtf *f, struct rtf_step *st, const char *script)
{
        static const char *const env[] = {"FOO=bar", NULL};

        memset(st, 0, sizeof(*st));
        (void)snprintf(st->scratch, sizeof(st->scratch), "tmp/step-%d-%u", (int)getpid(),
                       f->steps++);
        rtf_mkdir(f, st->scratch);
        st->argv[0] = "/bin/sh";
        st->argv[1] = "-c";
        st->argv[2] = script;
        st->lowers[0] = "snapshots/base/fs";
        st->s.lowers = st->lowers;
        st->s.nlowers = 1;
        st->s.scratch = st->scratch;
        st->s.argv = st->argv;
        st->s.envp = env;
        st->s.cwd = "/";
        st->s.network = RT_NET_NONE;
}

int rtf_run(struct rtf *f, struct rtf_step *st, const struct cancel *cancel, struct sb *out,
            struct rt_result *res, struct bld_err *err)
{
        int fd = memfd_create("output", MFD_CLOEXEC);
        int app = -1;
        char path[64];
        int r;

        assert_true(fd >= 0);
        /* Appending, as a pipe would: two descriptors of one offset-less file overwrite. */
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        app = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
        assert_true(app >= 0);
        r = rt_step_run(f->k, &st->s, app, app, cancel, res, err);
        assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
        if (out) {
                sb_init(out, 1 << 20);
                assert_int_equal(fd_read_all(fd, out, "output", NULL), 0);
        }
        close(app);
        close(fd);
        return r;
}

static bool cmdline_has(const char *pid, const char *text, size_t len)
{
        char path[64], buf[8192];
        ssize_t n;
        int fd;

        (void)snprintf(path, sizeof(path), "/proc/%s/cmdline", pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return false;
        n = read(fd, buf, sizeof(buf));
        close(fd);
        return n > 0 && memmem(buf, (size_t)n, text, len);
}

size_t rtf_count_procs(const char *text)
{
        DIR *d = opendir("/proc");
        struct dirent *e;
        size_t n = 0;

        assert_non_null(d);
        while ((e = readdir(d)))
                if (e->d_name[0] >= '1' && e->d_name[0] <= '9' &&
                    cmdline_has(e->d_name, text, strlen(text)))
                        n++;
        closedir(d);
        return n;
}

bool rtf_wait_procs(const char *text, size_t want, int ms)
{
        const struct timespec nap = {.tv_nsec = 10 * 1000000};

        for (int i = 0; i <= ms / 10; i++) {
                if (rtf_count_procs(text) == want)
                        return true;
                (void)nanosleep(&nap, NULL);
        }
        return false;
}

bool rtf_mounted(const char *text)
{
        struct sb b = SB_INIT(4 << 20);
        bool found;

        assert_int_equal(file_read(AT_FDCWD, "/proc/self/mountinfo", &b, NULL), 0);
        found = strstr(sb_text(&b), text) != NULL;
        sb_done(&b);
        return found;
}
