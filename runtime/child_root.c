/* The step's root while it is being furnished: find and make mount points inside it, note what was
 * made, and change over to it. The image decides what every name in it leads to, so each look-up is
 * an openat2() that cannot leave the root. */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/num.h"
#include "base/path.h"
#include "base/sys.h"
#include "runtime/runtime_priv.h"

#define LINKS_MAX 40

static int open_in(int root_fd, const char *path, int flags)
{
        struct open_how how = {.flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
                               .resolve = RESOLVE_IN_ROOT};
        int fd;

        while ((fd = sys_openat2(root_fd, path, &how)) < 0 && (errno == EAGAIN || errno == EINTR))
                ; /* EAGAIN: a rename raced with ".."; the kernel asks to try again */
        return fd;
}

int root_find(int root_fd, const char *path, int flags, int *ret_fd, struct bld_err *err)
{
        int fd = open_in(root_fd, path, flags);

        if (fd < 0 && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP))
                return 0;
        if (fd < 0)
                return err_sys(err, errno, "open \"%s\" in the root of the step", path);
        *ret_fd = fd;
        return 1;
}

static int fd_path(int fd, char *out, size_t size)
{
        char link[32];
        ssize_t n;

        (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        n = readlink(link, out, size - 1);
        if (n < 0)
                return -1;
        out[n] = '\0';
        return 0;
}

static int mnt_id(int fd, uint64_t *ret)
{
        struct statx sx;

        if (statx(fd, "", AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, STATX_MNT_ID, &sx) < 0)
                return -1;
        *ret = sx.stx_mnt_id;
        return 0;
}

int root_open(struct root *r, const char *path, struct bld_err *err)
{
        r->fd = sys_openat(AT_FDCWD, path, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
        if (r->fd < 0 || fd_path(r->fd, r->base, sizeof(r->base)) < 0 ||
            mnt_id(r->fd, &r->mnt_id) < 0)
                return err_sys(err, errno, "open the root of the step");
        return 0;
}

void root_done(struct root *r)
{
        fd_close(&r->fd);
        fd_close(&r->upper_fd);
        for (size_t i = 0; i < r->stubs.n; i++)
                free(r->stubs.v[i].path);
        stubv_done(&r->stubs);
}

/* Path of a folder handle relative to the root; NULL when it is not on the root's own file system
 * (then what is made in it is not in the upper folder and no stub). */
static const char *inside(const struct root *r, int dir_fd, char *buf, size_t size)
{
        uint64_t id;
        size_t n = strlen(r->base);

        if (mnt_id(dir_fd, &id) < 0 || id != r->mnt_id || fd_path(dir_fd, buf, size) < 0)
                return NULL;
        if (strncmp(buf, r->base, n) != 0 || (buf[n] && buf[n] != '/'))
                return NULL;
        return buf[n] == '/' ? buf + n + 1 : buf + n;
}

/* The first change of a folder is what its time must be put back to. */
static int64_t original_mtime(const struct root *r, const char *dir, int64_t now_ns)
{
        size_t n = strlen(dir);

        for (size_t i = 0; i < r->stubs.n; i++) {
                const char *p = r->stubs.v[i].path;
                const char *slash = strrchr(p, '/');
                size_t len = slash ? (size_t)(slash - p) : 0;
                if (len == n && strncmp(p, dir, n) == 0)
                        return r->stubs.v[i].parent_mtime_ns;
        }
        return now_ns;
}

static int note_stub(struct root *r, const char *dir, const char *leaf, unsigned flags,
                     int64_t mtime_ns, struct bld_err *err)
{
        AUTO_FREE char *path = *dir ? path_join(dir, leaf) : mem_strdup(leaf);
        struct rt_stub *s;
        struct stat st;

        if (!path)
                return err_nomem(err, "note a mount point");
        if (fstatat(r->upper_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return err_sys(err, errno, "look at the mount point \"%s\"", path);
        mtime_ns = original_mtime(r, dir, mtime_ns);
        s = stubv_push(&r->stubs);
        if (!s)
                return err_nomem(err, "note a mount point");
        s->ino = st.st_ino;
        s->is_dir = flags & ROOT_DIR;
        s->keep = flags & ROOT_KEEP;
        s->parent_mtime_ns = mtime_ns;
        s->path = TAKE_PTR(&path);
        return 0;
}

static int make_leaf(struct root *r, int dir_fd, const char *leaf, unsigned flags,
                     struct bld_err *err)
{
        char buf[4096];
        const char *dir = flags & ROOT_NO_STUB ? NULL : inside(r, dir_fd, buf, sizeof(buf));
        struct stat st;
        int fd;

        if (fstat(dir_fd, &st) < 0)
                return -1;
        if (flags & ROOT_DIR) {
                if (sys_mkdirat(dir_fd, leaf, 0755) < 0)
                        return -1;
        } else {
                fd = sys_openat(dir_fd, leaf, O_CREAT | O_EXCL | O_NOFOLLOW | O_WRONLY | O_CLOEXEC,
                                0644);
                if (fd < 0)
                        return -1;
                close(fd);
        }
        return dir ? note_stub(r, dir, leaf, flags, timespec_ns(st.st_mtim), err) : 0;
}

static int ensure(struct root *r, const char *path, unsigned flags, int *links, int *ret_fd,
                  struct bld_err *err);

/* leaf exists but its end does not: a dangling link. What it names is made, inside the root. */
static int through_link(struct root *r, int dir_fd, const char *dir, const char *leaf,
                        unsigned flags, int *links, int *ret_fd, struct bld_err *err)
{
        AUTO_SB struct sb next = SB_INIT(2 * 4096);
        char target[4096];
        ssize_t n = readlinkat(dir_fd, leaf, target, sizeof(target) - 1);

        if (n < 0)
                return err_sys(err, errno, "make the mount point \"%s/%s\"", dir, leaf);
        target[n] = '\0';
        if (++*links > LINKS_MAX)
                return err_set(err, BLD_E_INVALID, "too many symbolic links at \"%s/%s\"", dir,
                               leaf);
        /* As text: the kernel walks "..", and it stops at the root. */
        if (target[0] == '/')
                sb_str(&next, target);
        else
                sb_fmt(&next, "%s/%s", dir, target);
        int rc = sb_check(&next, "a mount point", err);
        return rc < 0 ? rc : ensure(r, sb_text(&next), flags, links, ret_fd, err);
}

static int make(struct root *r, const char *path, unsigned flags, int *links, int *ret_fd,
                struct bld_err *err)
{
        AUTO_FREE char *dir = mem_strdup(path);
        AUTO_FD int dir_fd = -1;
        char *leaf;
        int rc;

        if (!dir)
                return err_nomem(err, "make a mount point");
        leaf = strrchr(dir, '/');
        while (leaf && leaf > dir && leaf[1] == '\0') { /* trailing slashes */
                *leaf = '\0';
                leaf = strrchr(dir, '/');
        }
        if (!leaf || leaf[1] == '\0')
                return err_set(err, BLD_E_INVALID, "not a place for a mount: \"%s\"", path);
        *leaf++ = '\0';
        if (++*links > 10 * LINKS_MAX) /* depth of the recursion */
                return err_set(err, BLD_E_INVALID, "mount point too deep: \"%s\"", path);
        rc = ensure(r, *dir ? dir : "/", (flags & ROOT_NO_STUB) | ROOT_DIR, links, &dir_fd, err);
        if (rc < 0)
                return rc;
        if (!str_eq(leaf, ".") && !str_eq(leaf, "..")) {
                rc = make_leaf(r, dir_fd, leaf, flags, err);
                if (rc == -1 && err->code == 0 && errno == EEXIST)
                        return through_link(r, dir_fd, dir, leaf, flags, links, ret_fd, err);
                if (rc == -1 && err->code == 0)
                        rc = err_sys(err, errno, "make the mount point \"%s\"", path);
                if (rc < 0)
                        return rc;
        }
        rc = root_find(r->fd, path, O_PATH, ret_fd, err);
        if (rc == 0)
                return err_set(err, BLD_E_INVALID, "mount point \"%s\" cannot be made", path);
        return rc < 0 ? rc : 0;
}

static int ensure(struct root *r, const char *path, unsigned flags, int *links, int *ret_fd,
                  struct bld_err *err)
{
        struct stat st;
        int fd = open_in(r->fd, path, O_PATH);

        if (fd < 0 && errno == ENOENT)
                return make(r, path, flags, links, ret_fd, err);
        if (fd < 0)
                return err_sys(err, errno, "open the mount point \"%s\"", path);
        if (fstat(fd, &st) < 0) {
                close(fd);
                return err_sys(err, errno, "look at the mount point \"%s\"", path);
        }
        if (!!(flags & ROOT_DIR) != S_ISDIR(st.st_mode)) {
                close(fd);
                return err_set(err, BLD_E_INVALID, "mount point \"%s\" is %s", path,
                               flags & ROOT_DIR ? "not a folder" : "a folder");
        }
        *ret_fd = fd;
        return 0;
}

int root_ensure(struct root *r, const char *path, unsigned flags, int *ret_fd, struct bld_err *err)
{
        struct bld_err mine = BLD_ERR_INIT;
        int links = 0;
        int rc = ensure(r, path, flags, &links, ret_fd, &mine);

        if (rc < 0 && err)
                err_copy(err, &mine);
        return rc;
}

/* "pivot_root(2), notes": old and new root may be the same folder; the old one ends up on top and
 * is taken away. */
int root_pivot(struct root *r, struct bld_err *err)
{
        if (fchdir(r->fd) < 0)
                return err_sys(err, errno, "enter the root of the step");
        if (syscall(SYS_pivot_root, ".", ".") == 0) {
                if (umount2(".", MNT_DETACH) < 0)
                        return err_sys(err, errno, "take the old root away");
        } else if (errno == EPERM || errno == ENOSYS || errno == EINVAL) {
                /* Moby's seccomp profile has no pivot_root; EINVAL: on an initramfs. The rest of
                 * the old tree stays mounted below, where no path leads. */
                if (mount(".", "/", NULL, MS_MOVE, NULL) < 0)
                        return err_sys(err, errno, "move the root of the step to /");
                if (chroot(".") < 0)
                        return err_sys(err, errno, "change to the root of the step");
        } else {
                return err_sys(err, errno, "change to the root of the step");
        }
        if (chdir("/") < 0)
                return err_sys(err, errno, "enter the root of the step");
        fd_close(&r->fd);
        r->fd = sys_openat(AT_FDCWD, "/", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
        return r->fd < 0 ? err_sys(err, errno, "open the root of the step") : 0;
}
