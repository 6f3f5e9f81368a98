/* Mounts as file descriptors: new instances, clones, overlay. Nothing here has a place in the tree
 * until mnt_attach(). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/sys.h"
#include "runtime/runtime_priv.h"

/* The last line the kernel left on the context, for the error. */
static int fs_error(int ctx, int errnum, const char *what, struct bld_err *err)
{
        char msg[512] = "";
        ssize_t n;
        int r = err_sys(err, errnum, "mount %s", what);

        while ((n = read(ctx, msg, sizeof(msg) - 1)) > 0) {
                msg[n] = '\0';
                if (n > 2 && msg[1] == ' ')
                        err_why(err, r, "kernel: %.*s", (int)strcspn(msg + 2, "\n"), msg + 2);
        }
        return r;
}

static int set_option(int ctx, const char *opt)
{
        char key[64];
        const char *eq = strchr(opt, '=');

        if (!eq)
                return fsconfig(ctx, FSCONFIG_SET_FLAG, opt, NULL, 0);
        if ((size_t)(eq - opt) >= sizeof(key)) {
                errno = EINVAL;
                return -1;
        }
        memcpy(key, opt, (size_t)(eq - opt));
        key[eq - opt] = '\0';
        return fsconfig(ctx, FSCONFIG_SET_STRING, key, eq + 1, 0);
}

int mnt_new(const char *fstype, const char *const *opts, unsigned attrs, int *ret_fd,
            struct bld_err *err)
{
        AUTO_FD int ctx = fsopen(fstype, FSOPEN_CLOEXEC);
        int fd;

        if (ctx < 0)
                return err_sys(err, errno, "mount %s", fstype);
        /* Only for /proc/mounts; not every type takes it. */
        (void)fsconfig(ctx, FSCONFIG_SET_STRING, "source", fstype, 0);
        for (size_t i = 0; opts && opts[i]; i++)
                if (set_option(ctx, opts[i]) < 0)
                        return fs_error(ctx, errno, fstype, err);
        if (fsconfig(ctx, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
                return fs_error(ctx, errno, fstype, err);
        fd = fsmount(ctx, FSMOUNT_CLOEXEC, attrs);
        if (fd < 0)
                return fs_error(ctx, errno, fstype, err);
        *ret_fd = fd;
        return 0;
}

int mnt_clone(int dirfd, const char *path, bool recursive, int *ret_fd, struct bld_err *err)
{
        unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW |
                         (recursive ? AT_RECURSIVE : 0);
        int fd = open_tree(dirfd, path, flags);

        if (fd < 0)
                return err_sys(err, errno, "clone the mount of \"%s\"", path);
        *ret_fd = fd;
        return 0;
}

int mnt_attr(int fd, bool recursive, uint64_t set, struct bld_err *err)
{
        struct mount_attr a = {.attr_set = set};
        unsigned flags = AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0);

        if (mount_setattr(fd, "", flags, &a, sizeof(a)) < 0)
                return err_sys(err, errno, "set attributes of a mount");
        return 0;
}

int mnt_attach(int mnt_fd, int target_fd, const char *what, struct bld_err *err)
{
        if (move_mount(mnt_fd, "", target_fd, "",
                       MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
                return err_sys(err, errno, "attach the mount of %s", what);
        return 0;
}

/* Set explicitly what the diff relies on: kernel and module defaults differ. `volatile`: the layer
 * is read before anything could be lost, and a crash throws the upper folder away. userxattr brings
 * redirect_dir=nofollow along and refuses any other value. */
static const char *const trusted_opts[] = {"index=off", "metacopy=off", "xino=off",
                                           "redirect_dir=off", NULL};
static const char *const user_opts[] = {"index=off", "metacopy=off", "xino=off", "userxattr", NULL};

static int ovl_config(int ctx, const struct ovl_opts *o, struct bld_err *err)
{
        static const char what[] = "overlay";
        const char *const *opts = o->user_xattr ? user_opts : trusted_opts;

        (void)fsconfig(ctx, FSCONFIG_SET_STRING, "source", what, 0);
        for (size_t i = 0; opts[i]; i++)
                if (set_option(ctx, opts[i]) < 0)
                        return fs_error(ctx, errno, what, err);
        for (size_t i = o->nlowers; i > 0; i--) /* top layer first */
                if (fsconfig(ctx, FSCONFIG_SET_STRING, "lowerdir+", o->lowers[i - 1], 0) < 0)
                        return fs_error(ctx, errno, what, err);
        if (!o->upper)
                return 0;
        if (fsconfig(ctx, FSCONFIG_SET_STRING, "upperdir", o->upper, 0) < 0 ||
            fsconfig(ctx, FSCONFIG_SET_STRING, "workdir", o->work, 0) < 0)
                return fs_error(ctx, errno, what, err);
        if (fsconfig(ctx, FSCONFIG_SET_FLAG, "volatile", NULL, 0) < 0)
                return fs_error(ctx, errno, what, err);
        return 0;
}

int ovl_mount(const struct ovl_opts *o, int *ret_fd, struct bld_err *err)
{
        AUTO_FD int ctx = fsopen("overlay", FSOPEN_CLOEXEC);
        int fd, r;

        if (ctx < 0)
                return err_sys(err, errno, "mount overlay");
        r = ovl_config(ctx, o, err);
        if (r < 0)
                return r;
        if (fsconfig(ctx, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
                return fs_error(ctx, errno, "overlay", err);
        /* nodev: a step may hold CAP_MKNOD, and a block node it made would be the host's disk. */
        fd = fsmount(ctx, FSMOUNT_CLOEXEC, MOUNT_ATTR_NODEV);
        if (fd < 0)
                return fs_error(ctx, errno, "overlay", err);
        *ret_fd = fd;
        return 0;
}

/* Open each folder and name it by its number below /proc/self/fd: mount(2) takes one page of
 * options, which 500 numbers fit and 50 paths do not, and ':' or ',' in a path cannot hurt. */
static int ovl_old_options(const struct ovl_opts *o, struct sb *b, struct bld_err *err)
{
        const char *const *opts = o->user_xattr ? user_opts : trusted_opts;

        for (size_t i = o->nlowers; i > 0; i--) {
                int fd =
                        sys_openat(AT_FDCWD, o->lowers[i - 1], O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
                if (fd < 0)
                        return err_sys(err, errno, "open layer %s", o->lowers[i - 1]);
                sb_fmt(b, "%s%d", i == o->nlowers ? "lowerdir=" : ":", fd);
        }
        if (o->upper) {
                int up = sys_openat(AT_FDCWD, o->upper, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
                int work = sys_openat(AT_FDCWD, o->work, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
                if (up < 0 || work < 0)
                        return err_sys(err, errno, "open the upper folder %s", o->upper);
                sb_fmt(b, ",upperdir=%d,workdir=%d,volatile", up, work);
        }
        for (size_t i = 0; opts[i]; i++)
                sb_fmt(b, ",%s", opts[i]);
        return sb_check(b, "the options of the overlay mount", err);
}

int ovl_mount_old(const struct ovl_opts *o, int target_fd, struct bld_err *err)
{
        AUTO_SB struct sb b = SB_INIT(4095);
        AUTO_FD int back = sys_openat(AT_FDCWD, ".", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
        char target[32];
        int r;

        if (back < 0)
                return err_sys(err, errno, "open the working folder");
        r = ovl_old_options(o, &b, err);
        if (r < 0)
                return r;
        if (chdir("/proc/self/fd") < 0)
                return err_sys(err, errno, "enter /proc/self/fd");
        (void)snprintf(target, sizeof(target), "%d", target_fd);
        if (mount("overlay", target, "overlay", MS_NODEV, sb_text(&b)) < 0)
                r = err_sys(err, errno, "mount overlay");
        if (fchdir(back) < 0 && r == 0)
                r = err_sys(err, errno, "leave /proc/self/fd");
        return r;
}

int ovl_attach(const struct ovl_opts *o, const char *target, struct bld_err *err)
{
        struct bld_err new_err = BLD_ERR_INIT;
        struct bld_err old_err = BLD_ERR_INIT;
        AUTO_FD int target_fd = sys_openat(AT_FDCWD, target, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
        AUTO_FD int mfd = -1;
        int r;

        if (target_fd < 0)
                return err_sys(err, errno, "open the mount point %s", target);
        r = ovl_mount(o, &mfd, &new_err);
        if (r == 0)
                return mnt_attach(mfd, target_fd, "overlay", err);
        /* EINVAL: lowerdir+ is unknown; ENOSYS: a profile older than the call. */
        if ((new_err.sys == EINVAL || new_err.sys == ENOSYS) &&
            ovl_mount_old(o, target_fd, &old_err) == 0)
                return 0;
        if (err)
                err_copy(err, &new_err);
        return r;
}
