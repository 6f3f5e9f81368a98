#include "base/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RETRY(expr)                               \
        __extension__({                           \
                __typeof__(expr) r_;              \
                do                                \
                        r_ = (expr);              \
                while (r_ < 0 && errno == EINTR); \
                r_;                               \
        })

int sys_openat(int dirfd, const char *path, int flags, mode_t mode)
{
        return RETRY(openat(dirfd, path, flags, mode));
}

int sys_openat2(int dirfd, const char *path, const struct open_how *how)
{
        int fd;

        /* EAGAIN: a rename raced with RESOLVE_IN_ROOT; the manual says to try again. */
        for (int i = 0; i < 32; i++) {
                fd = (int)RETRY(syscall(SYS_openat2, dirfd, path, how, sizeof(*how)));
                if (fd >= 0 || errno != EAGAIN)
                        return fd;
        }
        return -1;
}

ssize_t sys_read(int fd, void *buf, size_t n)
{
        return RETRY(read(fd, buf, n));
}

ssize_t sys_write(int fd, const void *buf, size_t n)
{
        return RETRY(write(fd, buf, n));
}

ssize_t sys_pread(int fd, void *buf, size_t n, int64_t off)
{
        return RETRY(pread(fd, buf, n, off));
}

int sys_fsync(int fd)
{
        return RETRY(fsync(fd));
}

int sys_rename(int olddir, const char *old, int newdir, const char *new_name)
{
        return renameat(olddir, old, newdir, new_name);
}

int sys_unlinkat(int dirfd, const char *path, int flags)
{
        return unlinkat(dirfd, path, flags);
}

int sys_mkdirat(int dirfd, const char *path, mode_t mode)
{
        return mkdirat(dirfd, path, mode);
}

int sys_linkat(int olddir, const char *old, int newdir, const char *new_name, int flags)
{
        return linkat(olddir, old, newdir, new_name, flags);
}

int sys_ftruncate(int fd, int64_t size)
{
        return RETRY(ftruncate(fd, size));
}
