/* A disk that fails, and one that is watched: preloaded into bld by tests/e2e/faults.sh. Only what
 * lies under FAULT_ROOT (an absolute path without links) counts.
 *
 *   FAULT_COUNT=FILE     the number of calls that could fail is written there at the end
 *   FAULT_AT=N           call N fails, with FAULT_ERRNO (ENOSPC); those after it, too, if they need
 *                        room and FAULT_STICKY is set
 *   FAULT_LOG=DIR        every change is a line of DIR/log, the content of a synced file is
 * DIR/<line> */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static char root[4096], log_dir[4096];
static size_t root_len;
static atomic_long calls;
static long fail_at;
static int fail_errno = ENOSPC;
static bool sticky, on;
static int log_fd = -1;
static long lines;
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER; /* guards lines, and their order */

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static void start(void)
{
        const char *s = getenv("FAULT_ROOT"), *e = getenv("FAULT_ERRNO");
        char path[5000];

        if (on || !s)
                return;
        on = true;
        root_len = strlen(s);
        memcpy(root, s, root_len + 1);
        if ((s = getenv("FAULT_AT")))
                fail_at = atol(s);
        if (e && strcmp(e, "EIO") == 0)
                fail_errno = EIO;
        sticky = getenv("FAULT_STICKY") != NULL;
        if ((s = getenv("FAULT_LOG"))) {
                (void)snprintf(log_dir, sizeof(log_dir), "%s", s);
                (void)snprintf(path, sizeof(path), "%s/log", s);
                log_fd = REAL(openat)(AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC,
                                      0644);
        }
}

__attribute__((constructor)) static void constructor(void)
{
        start();
}

__attribute__((destructor)) static void destructor(void)
{
        const char *s = getenv("FAULT_COUNT");
        FILE *f = s ? fopen(s, "w") : NULL;

        if (f) {
                (void)fprintf(f, "%ld\n", atomic_load(&calls));
                (void)fclose(f);
        }
}

/* The path below the root, or NULL. */
static const char *below(const char *path)
{
        if (strncmp(path, root, root_len) != 0 || (path[root_len] != '/' && path[root_len]))
                return NULL;
        return path[root_len] ? path + root_len + 1 : ".";
}

static const char *path_of_fd(int fd, char buf[4096])
{
        char link[64];
        ssize_t n;

        (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        n = readlink(link, buf, 4095);
        if (n <= 0)
                return NULL;
        buf[n] = '\0';
        return below(buf);
}

static const char *path_at(int dirfd, const char *name, char buf[4096])
{
        char dir[4096];
        const char *d;

        if (*name == '/' || dirfd == AT_FDCWD) {
                (void)snprintf(buf, 4096, "%s", name);
                return *name == '/' ? below(buf) : NULL;
        }
        d = path_of_fd(dirfd, dir);
        if (!d)
                return NULL;
        if (strcmp(d, ".") == 0)
                (void)snprintf(buf, 4096, "%s", name);
        else
                (void)snprintf(buf, 4096, "%s/%s", d, name);
        return buf;
}

/* True: this call is to fail. */
static bool fails(bool needs_room)
{
        long n = atomic_fetch_add(&calls, 1) + 1;

        if (!fail_at || n < fail_at || (n > fail_at && !(sticky && needs_room)))
                return false;
        errno = fail_errno;
        return true;
}

/* ---- the log: "OP INODE PATH [PATH]", a line per change, in the order they happened ---- */

static void note(const char *op, unsigned long ino, const char *a, const char *b)
{
        char line[9000];
        int n = snprintf(line, sizeof(line), "%s\t%lu\t%s\t%s\n", op, ino, a, b);

        if (n > 0)
                (void)!REAL(write)(log_fd, line, (size_t)n);
        lines++;
}

static void keep_content(int fd)
{
        char path[5000], buf[65536], self[64];
        int in, out;
        ssize_t n;

        (void)snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
        (void)snprintf(path, sizeof(path), "%s/%ld", log_dir, lines);
        in = REAL(openat)(AT_FDCWD, self, O_RDONLY | O_CLOEXEC);
        out = REAL(openat)(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        while (in >= 0 && out >= 0 && (n = read(in, buf, sizeof(buf))) > 0)
                (void)!REAL(write)(out, buf, (size_t)n);
        (void)close(in);
        (void)close(out);
}

static unsigned long ino_at(int dirfd, const char *name)
{
        struct stat st;

        return fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 ? st.st_ino : 0;
}

#define LOGGED(cond, call, ...)                        \
        do {                                           \
                if (log_fd < 0 || !(cond))             \
                        return call;                   \
                (void)pthread_mutex_lock(&log_lock);   \
                int r_ = call, e_ = errno;             \
                if (r_ >= 0)                           \
                        __VA_ARGS__;                   \
                (void)pthread_mutex_unlock(&log_lock); \
                errno = e_;                            \
                return r_;                             \
        } while (0)

/* ---- the calls ---- */

int openat(int dirfd, const char *path, int flags, ...)
{
        char buf[4096];
        const char *p = NULL;
        bool is_new;
        mode_t mode = 0;
        va_list ap;

        va_start(ap, flags);
        if (flags & (O_CREAT | __O_TMPFILE))
                mode = va_arg(ap, mode_t);
        va_end(ap);
        start();
        if (on && (flags & (O_CREAT | __O_TMPFILE)))
                p = path_at(dirfd, path, buf);
        if (p && fails(true))
                return -1;
        is_new = p && !(flags & __O_TMPFILE) && log_fd >= 0 && ino_at(dirfd, path) == 0;
        LOGGED(is_new, REAL(openat)(dirfd, path, flags, mode),
               note("create", ino_at(dirfd, path), p, ""));
}

/* The names of a program that is built with 64-bit offsets. */
int openat64(int dirfd, const char *path, int flags, ...) __attribute__((alias("openat")));

int mkdirat(int dirfd, const char *path, mode_t mode)
{
        char buf[4096];
        const char *p = on ? path_at(dirfd, path, buf) : NULL;

        if (p && fails(true))
                return -1;
        LOGGED(p, REAL(mkdirat)(dirfd, path, mode), note("mkdir", ino_at(dirfd, path), p, ""));
}

int renameat(int olddir, const char *old, int newdir, const char *new_name)
{
        char a[4096], b[4096];
        const char *p = on ? path_at(olddir, old, a) : NULL;
        const char *q = on ? path_at(newdir, new_name, b) : NULL;

        if (q && fails(true))
                return -1;
        LOGGED(p && q, REAL(renameat)(olddir, old, newdir, new_name),
               note("rename", ino_at(newdir, new_name), p, q));
}

int linkat(int olddir, const char *old, int newdir, const char *new_name, int flags)
{
        char b[4096];
        const char *q = on ? path_at(newdir, new_name, b) : NULL;

        if (q && fails(true))
                return -1;
        LOGGED(q, REAL(linkat)(olddir, old, newdir, new_name, flags),
               note("create", ino_at(newdir, new_name), q, ""));
}

int unlinkat(int dirfd, const char *path, int flags)
{
        char buf[4096];
        const char *p = on && log_fd >= 0 ? path_at(dirfd, path, buf) : NULL;

        LOGGED(p, REAL(unlinkat)(dirfd, path, flags), note("unlink", 0, p, ""));
}

static bool is_ours(int fd)
{
        char buf[4096];
        struct stat st;

        return on && fstat(fd, &st) == 0 && (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)) &&
               path_of_fd(fd, buf) != NULL;
}

ssize_t write(int fd, const void *p, size_t n)
{
        if (is_ours(fd) && fails(true))
                return -1;
        return REAL(write)(fd, p, n);
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t off)
{
        if (is_ours(fd) && fails(true))
                return -1;
        return REAL(pwrite)(fd, p, n, off);
}

ssize_t pwrite64(int fd, const void *p, size_t n, off64_t off) __attribute__((alias("pwrite")));

ssize_t writev(int fd, const struct iovec *v, int n)
{
        if (is_ours(fd) && fails(true))
                return -1;
        return REAL(writev)(fd, v, n);
}

static int synced(int fd)
{
        char buf[4096];
        struct stat st;
        const char *p = on ? path_of_fd(fd, buf) : NULL;

        if (!p || log_fd < 0 || fstat(fd, &st) < 0)
                return 0;
        (void)pthread_mutex_lock(&log_lock);
        if (S_ISREG(st.st_mode))
                keep_content(fd);
        note(S_ISREG(st.st_mode) ? "fsync" : "syncdir", st.st_ino, p, "");
        (void)pthread_mutex_unlock(&log_lock);
        return 0;
}

int fsync(int fd)
{
        int r;

        if (is_ours(fd) && fails(false))
                return -1;
        r = REAL(fsync)(fd);
        return r < 0 ? r : synced(fd);
}

int fdatasync(int fd)
{
        return fsync(fd);
}

int syncfs(int fd)
{
        if (on && fails(false))
                return -1;
        return REAL(syncfs)(fd);
}
