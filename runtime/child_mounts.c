/* The mounts of RUN --mount. Targets are the user's and lead through the image's links: they are
 * found inside the root. Sources are the store's, and what is selected in them is found inside
 * them. */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/owner.h"
#include "base/path.h"
#include "base/sys.h"
#include "runtime/runtime_priv.h"

#define NSD (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)

static int open_source(const char *source, int *ret_fd, struct bld_err *err)
{
        struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
                               .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
        int fd = sys_openat2(AT_FDCWD, source, &how);

        if (fd < 0)
                return err_sys(err, errno, "open \"%s\" in the store", source);
        *ret_fd = fd;
        return 0;
}

static bool takes_writes(const struct rt_mount *m)
{
        return !m->readonly || m->nlowers == 1; /* the kernel wants two folders */
}

/* Its own overlay, below the scratch folder: of one folder that is to take writes and forget them,
 * or of a chain of snapshots. A chain is never bound as it is, be it a single folder: a step that
 * may mount could make the bind writable, and whiteouts of what is not there would be seen. */
static int overlay_source(struct init *in, const struct rt_mount *m, size_t i, int *ret_fd,
                          struct bld_err *err)
{
        const char *one[1] = {m->source};
        struct ovl_opts o = {.lowers = m->nlowers ? m->lowers : one,
                             .nlowers = m->nlowers ? m->nlowers : 1,
                             .user_xattr = in->c->env.user_xattr};
        char name[3][4200];
        static const char *const parts[] = {"root", "upper", "work"};
        int r;

        for (size_t k = 0; k < 3; k++) {
                (void)snprintf(name[k], sizeof(name[k]), "%s/bind-%zu-%s", in->step.scratch, i,
                               parts[k]);
                if (k > 0 && !takes_writes(m))
                        break;
                if (sys_mkdirat(AT_FDCWD, name[k], 0755) < 0)
                        return err_sys(err, errno, "make %s", name[k]);
        }
        if (takes_writes(m)) {
                o.upper = name[1];
                o.work = name[2];
        }
        r = ovl_attach(&o, name[0], err);
        return r < 0 ? r : open_source(name[0], ret_fd, err);
}

static int bind_mount(struct init *in, const struct rt_mount *m, size_t i, struct bld_err *err)
{
        AUTO_FD int src = -1;
        AUTO_FD int sel = -1;
        AUTO_FD int fd = -1;
        AUTO_FD int at = -1;
        uint64_t attrs = MOUNT_ATTR_NODEV | (m->kind == RT_MOUNT_CACHE ? MOUNT_ATTR_NOSUID : 0) |
                         (m->readonly ? MOUNT_ATTR_RDONLY : 0);
        struct stat st;
        int r;

        if (!in->c->env.native && (m->kind == RT_MOUNT_BIND && (m->nlowers || !m->readonly)))
                r = overlay_source(in, m, i, &src, err);
        else
                r = open_source(m->source, &src, err);
        if (r == 0 && in->c->env.native)
                return tree_mount(in, m, src, i, err);
        if (r < 0)
                return r;
        r = root_find(src, m->selector && *m->selector ? m->selector : "/", O_PATH, &sel, err);
        if (r == 0)
                return err_set(err, BLD_E_NOT_FOUND, "no \"%s\" in the source of the mount",
                               m->selector);
        if (r < 0)
                return r;
        if (fstat(sel, &st) < 0)
                return err_sys(err, errno, "look at the source of the mount");
        r = mnt_clone(sel, "", false, &fd, err);
        if (r == 0)
                r = mnt_attr(fd, false, attrs, err);
        if (r == 0)
                r = root_ensure(&in->root, m->target, S_ISDIR(st.st_mode) ? ROOT_DIR : ROOT_FILE,
                                &at, err);
        return r < 0 ? r : mnt_attach(fd, at, m->target, err);
}

static int tmpfs_mount(struct init *in, const struct rt_mount *m, struct bld_err *err)
{
        char size[40];
        const char *opts[] = {"mode=1777", m->size_bytes ? size : NULL, NULL};
        AUTO_FD int fd = -1;
        AUTO_FD int at = -1;
        int r;

        (void)snprintf(size, sizeof(size), "size=%llu", (unsigned long long)m->size_bytes);
        r = mnt_new("tmpfs", opts, NSD | (m->readonly ? MOUNT_ATTR_RDONLY : 0), &fd, err);
        if (r == 0)
                r = root_ensure(&in->root, m->target, ROOT_DIR, &at, err);
        return r < 0 ? r : mnt_attach(fd, at, m->target, err);
}

/* Noted; a tmpfs that takes no attributes (before 6.6) shows it as root's, and all can read it that
 * the step may become. */
static int own_solo(struct init *in, const char *name, const struct rt_mount *m,
                    struct bld_err *err)
{
        const struct owner o = {.uid = m->uid, .gid = m->gid};
        char path[400];

        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", in->files_fd, name);
        if (owner_xattr_set(path, false, &o) < 0 && errno != ENOTSUP)
                return err_sys(err, errno, "note the owner of a file for the step");
        if (in->sup)
                sup_owners(in->sup)->attrs++; /* there is something to find */
        return 0;
}

static int own(struct init *in, const char *name, const struct rt_mount *m, struct bld_err *err)
{
        if (in->c->env.level == RT_SOLO && (m->uid || m->gid))
                return own_solo(in, name, m, err);
        if (fchownat(in->files_fd, name, m->uid, m->gid, AT_SYMLINK_NOFOLLOW) == 0)
                return 0;
        if (errno == EINVAL)
                return err_set(err, BLD_E_INVALID, "owner %u:%u is not in the map of this level",
                               m->uid, m->gid);
        return err_sys(err, errno, "set the owner of a file for the step");
}

static int file_mount(struct init *in, const struct rt_mount *m, size_t i, struct bld_err *err)
{
        uint64_t attrs = NSD | (m->readonly ? MOUNT_ATTR_RDONLY : 0) |
                         (m->mode & 0111 ? 0 : MOUNT_ATTR_NOEXEC);
        char top[32], name[320];
        int r;

        (void)snprintf(top, sizeof(top), "file-%zu", i);
        (void)str_copy(name, sizeof(name), top);
        if (m->is_dir) {
                if (!m->selector || strchr(m->selector, '/') || strlen(m->selector) > 255)
                        return err_set(err, BLD_E_BUG, "not a file name: \"%s\"",
                                       m->selector ? m->selector : "");
                if (sys_mkdirat(in->files_fd, top, 0755) < 0)
                        return err_sys(err, errno, "make a folder for the step");
                (void)snprintf(name, sizeof(name), "%s/%s", top, m->selector);
        }
        r = files_put(in, name, m->data, m->data_len, m->mode, err);
        if (r == 0)
                r = own(in, name, m, err);
        return r < 0 ? r : files_bind(in, top, m->target, attrs, err);
}

int run_mounts(struct init *in, struct bld_err *err)
{
        for (size_t i = 0; i < in->step.nmounts; i++) {
                const struct rt_mount *m = &in->step.mounts[i];
                int r = 0;

                if (m->target[0] != '/')
                        return err_set(err, BLD_E_BUG, "mount target \"%s\" is not absolute",
                                       m->target);
                switch (m->kind) {
                case RT_MOUNT_BIND:
                case RT_MOUNT_CACHE:
                        r = bind_mount(in, m, i, err);
                        break;
                case RT_MOUNT_TMPFS:
                        r = in->c->env.native ? tree_mount(in, m, -1, i, err)
                                              : tmpfs_mount(in, m, err);
                        break;
                case RT_MOUNT_FILE:
                        r = file_mount(in, m, i, err);
                        break;
                }
                if (r < 0)
                        return err_wrap(err, r, "mount %s", m->target);
        }
        return 0;
}
