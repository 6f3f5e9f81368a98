#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/err.h"
#include "base/path.h"
#include "base/sys.h"

void fd_close(int *fd)
{
        int saved = errno;

        if (*fd >= 0)
                (void)close(*fd);
        *fd = -1;
        errno = saved;
}

int take_fd(int *fd)
{
        int f = *fd;

        *fd = -1;
        return f;
}

int fd_write_all(int fd, const void *p, size_t n, struct bld_err *err)
{
        const char *s = p;

        while (n > 0) {
                ssize_t k = sys_write(fd, s, n);

                if (k < 0)
                        return err_sys(err, errno, "write");
                s += k;
                n -= (size_t)k;
        }
        return 0;
}

static bool all_zero(const unsigned char *p, size_t n)
{
        return !n || (!p[0] && !memcmp(p, p + 1, n - 1));
}

int fd_write_sparse(int fd, const void *p, size_t n, struct bld_err *err)
{
        if (!all_zero(p, n))
                return fd_write_all(fd, p, n, err);
        return lseek(fd, (off_t)n, SEEK_CUR) < 0 ? err_sys(err, errno, "seek") : 0;
}

int fd_read_full(int fd, void *p, size_t n, size_t *ret_n, struct bld_err *err)
{
        size_t done = 0;

        while (done < n) {
                ssize_t k = sys_read(fd, (char *)p + done, n - done);

                if (k < 0)
                        return err_sys(err, errno, "read");
                if (k == 0)
                        break;
                done += (size_t)k;
        }
        *ret_n = done;
        return 0;
}

int fd_read_all(int fd, struct sb *b, const char *what, struct bld_err *err)
{
        char buf[16384];

        for (;;) {
                ssize_t k = sys_read(fd, buf, sizeof(buf));

                if (k < 0)
                        return err_sys(err, errno, "read %s", what);
                if (k == 0)
                        return sb_check(b, what, err);
                sb_add(b, buf, (size_t)k);
                if (b->failed)
                        return sb_check(b, what, err);
        }
}

int file_read(int dirfd, const char *path, struct sb *b, struct bld_err *err)
{
        AUTO_FD int fd = sys_openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY, 0);

        if (fd < 0 && errno == ENOENT)
                return err_set(err, BLD_E_NOT_FOUND, "%s does not exist", path);
        if (fd < 0)
                return err_sys(err, errno, "open %s", path);
        return fd_read_all(fd, b, path, err);
}

int file_read_regular(int dirfd, const char *path, struct sb *b, struct bld_err *err)
{
        AUTO_FD int fd = sys_openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0);
        struct stat st;

        if (fd < 0 && errno == ENOENT)
                return err_set(err, BLD_E_NOT_FOUND, "%s does not exist", path);
        if (fd < 0 || fstat(fd, &st) < 0)
                return err_sys(err, errno, "open %s", path);
        if (!S_ISREG(st.st_mode))
                return err_set(err, BLD_E_INVALID, "%s is not a file", path);
        return fd_read_all(fd, b, path, err);
}

static int write_in_place(int dirfd, const char *path, const void *p, size_t n, struct bld_err *err)
{
        AUTO_FD int fd = sys_openat(dirfd, path, O_WRONLY | O_CLOEXEC | O_NOCTTY, 0);
        int r;

        if (fd < 0)
                return err_sys(err, errno, "open %s", path);
        r = fd_write_all(fd, p, n, err);
        return err_wrap(err, r, "%s", path);
}

static int sync_folder(int dirfd, const char *path, struct bld_err *err)
{
        AUTO_FREE char *dir = path_dir(path);
        AUTO_FD int fd = -1;

        if (!dir)
                return err_nomem(err, path);
        fd = sys_openat(dirfd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
        if (fd < 0 || sys_fsync(fd) < 0)
                return err_sys(err, errno, "sync folder of %s", path);
        return 0;
}

static int write_and_rename(int dirfd, const char *tmp, const char *path, const void *p, size_t n,
                            mode_t mode, unsigned flags, struct bld_err *err)
{
        AUTO_FD int fd = -1;
        int r;

        fd = sys_openat(dirfd, tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
        if (fd < 0)
                return err_sys(err, errno, "create %s", tmp);
        r = fd_write_all(fd, p, n, err);
        if (r < 0)
                return err_wrap(err, r, "%s", path);
        if ((flags & FILE_SYNC) && sys_fsync(fd) < 0)
                return err_sys(err, errno, "sync %s", path);
        if (close(take_fd(&fd)) < 0)
                return err_sys(err, errno, "close %s", path);
        if (sys_rename(dirfd, tmp, dirfd, path) < 0)
                return err_sys(err, errno, "rename to %s", path);
        return 0;
}

int file_write(int dirfd, const char *path, const void *p, size_t n, mode_t mode, unsigned flags,
               struct bld_err *err)
{
        AUTO_FREE char *tmp = NULL;
        struct stat st;
        uint64_t tag = 0;
        int r;

        if ((flags & FILE_IN_PLACE) && fstatat(dirfd, path, &st, 0) == 0 && !S_ISREG(st.st_mode))
                return write_in_place(dirfd, path, p, n, err);
        if (getrandom(&tag, sizeof(tag), 0) != (ssize_t)sizeof(tag))
                return err_sys(err, errno, "getrandom");
        if (asprintf(&tmp, "%s.%016llx.tmp", path, (unsigned long long)tag) < 0) {
                tmp = NULL;
                return err_nomem(err, path);
        }
        r = write_and_rename(dirfd, tmp, path, p, n, mode, flags, err);
        if (r < 0) {
                (void)sys_unlinkat(dirfd, tmp, 0); /* ours, or never made */
                return r;
        }
        return flags & FILE_SYNC ? sync_folder(dirfd, path, err) : 0;
}

int fd_lock(int fd, int flock_op, struct bld_err *err)
{
        int r;

        do
                r = flock(fd, flock_op);
        while (r < 0 && errno == EINTR && !(flock_op & LOCK_NB));
        if (r == 0)
                return 0;
        if (errno == EWOULDBLOCK)
                return 1;
        return err_sys(err, errno, "flock");
}

int fd_set_cloexec(int fd, bool on)
{
        int f = fcntl(fd, F_GETFD);

        if (f < 0)
                return -1;
        return fcntl(fd, F_SETFD, on ? f | FD_CLOEXEC : f & ~FD_CLOEXEC);
}
