/* The view an overlay had of its lower folders, asked one name at a time, and the handles that
 * takes. Names only ever reach the kernel as single components of folders we hold, or through
 * openat2 without links: a hostile step may have left any link anywhere. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/sys.h"
#include "layer/diff_priv.h"

#define DIR_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

const char *diff_xattr(const struct differ *d, const char *what, char buf[64])
{
        (void)snprintf(buf, 64, "%s.overlay.%s",
                       d->o->form == LY_TREE_OVERLAY_USER ? "user" : "trusted", what);
        return buf;
}

bool diff_is_whiteout(const struct stat *st)
{
        return S_ISCHR(st->st_mode) && st->st_rdev == makedev(0, 0);
}

static int by_name(const void *a, const void *b)
{
        const struct dname *x = a, *y = b;

        return strcmp(x->name, y->name);
}

void diff_names_done(struct dnames *a)
{
        for (size_t i = 0; i < a->n; i++)
                free(a->v[i].name);
        dnames_done(a);
}

/* fstatat(2), with the owner the image knows. */
static int look(const struct differ *d, int fd, const char *name, struct stat *ret)
{
        struct owner o;

        if (fstatat(fd, name, ret, AT_SYMLINK_NOFOLLOW) < 0)
                return -1;
        if (!d->o->owners || diff_is_whiteout(ret))
                return 0;
        /* Whoever it belongs to on disk: in the image it is root's, unless noted. */
        if (!d->o->owners->beyond)
                ret->st_uid = ret->st_gid = 0;
        if (owner_find(d->o->owners, fd, name, ret, &o) > 0)
                owner_apply(&o, ret);
        return 0;
}

static int list_one(const struct differ *d, int fd, const char *name, struct dnames *ret,
                    struct bld_err *err)
{
        struct dname *n = dnames_push(ret);

        if (!n)
                return err_nomem(err, "list of a folder");
        n->name = mem_strdup(name);
        if (!n->name)
                return err_nomem(err, "list of a folder");
        if (look(d, fd, name, &n->st) < 0)
                return err_sys(err, errno, "stat \"%s\"", name);
        return 0;
}

int diff_list(const struct differ *d, int fd, struct dnames *ret, struct bld_err *err)
{
        int own = sys_openat(fd, ".", DIR_FLAGS, 0), r = 0;
        DIR *dir = own < 0 ? NULL : fdopendir(own);
        struct dirent *de;

        if (!dir) {
                r = err_sys(err, errno, "list a folder");
                fd_close(&own);
                return r;
        }
        while (!r && (errno = 0, de = readdir(dir)))
                if (!str_eq(de->d_name, ".") && !str_eq(de->d_name, ".."))
                        r = list_one(d, fd, de->d_name, ret, err);
        if (!r && errno)
                r = err_sys(err, errno, "list a folder");
        closedir(dir);
        if (!r && ret->n > 1)
                qsort(ret->v, ret->n, sizeof(*ret->v), by_name);
        return r;
}

int diff_lookup(const struct differ *d, struct dlevel *l, const char *name, struct stat *ret,
                int *ret_fd, struct bld_err *err)
{
        if (diff_scans(d)) {
                *ret_fd = -1;
                return scan_lookup(d, l, name, ret);
        }
        for (size_t i = 0; i < l->lowers.n; i++) {
                if (!look(d, l->lowers.v[i], name, ret)) {
                        *ret_fd = l->lowers.v[i];
                        return !diff_is_whiteout(ret);
                }
                if (errno != ENOENT)
                        return err_sys(err, errno, "stat \"%s\" in a lower layer", name);
        }
        return 0;
}

static int open_beneath(int root, const char *path)
{
        struct open_how how = {.flags = DIR_FLAGS,
                               .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
        AUTO_FD int at = -1;
        int fd;

        if (!*path)
                return fcntl(root, F_DUPFD_CLOEXEC, 0);
        fd = sys_openat2(root, path, &how);
        if (fd >= 0 || (errno != ENOSYS && errno != EPERM))
                return fd;
        /* No openat2 here: one component at a time. */
        at = fcntl(root, F_DUPFD_CLOEXEC, 0);
        while (at >= 0 && *path) {
                size_t n = strcspn(path, "/");
                char name[LY_NAME_MAX + 1];

                if (n > LY_NAME_MAX) {
                        errno = ENAMETOOLONG;
                        return -1;
                }
                memcpy(name, path, n);
                name[n] = 0;
                fd = sys_openat(at, name, DIR_FLAGS, 0);
                fd_close(&at);
                at = fd;
                path += n + (path[n] == '/');
        }
        return take_fd(&at);
}

/* Does the lower folder fd hide those below it? */
static bool is_opaque(const struct differ *d, int fd)
{
        char name[64], v;

        return d->o->form != LY_TREE_PLAIN &&
               fgetxattr(fd, diff_xattr(d, "opaque", name), &v, 1) == 1 && v == 'y';
}

/* The folder of a lower layer below the one that is open: fd, -1 none there but look further, -2
 * none and nothing below counts. */
static int open_lower(int parent, const char *name)
{
        int fd = sys_openat(parent, name, DIR_FLAGS, 0);

        if (fd >= 0)
                return fd;
        return errno == ENOENT ? -1 : errno == ENOTDIR || errno == ELOOP ? -2 : -3;
}

static int push_lower(struct dlevel *l, int fd, struct bld_err *err)
{
        int *slot = dfds_push(&l->lowers);

        if (!slot) {
                close(fd);
                return err_nomem(err, "lower folders");
        }
        *slot = fd;
        return 0;
}

/* From the handles of the folder above: those of its lower folders that have this name. */
static int lowers_from_parent(struct differ *d, struct dlevel *l, const char *name,
                              struct bld_err *err)
{
        for (size_t i = 0; i < l->up->lowers.n; i++) {
                int r, fd = open_lower(l->up->lowers.v[i], name);

                if (fd == -3)
                        return err_sys(err, errno, "open \"%s\" in a lower layer", l->path);
                if (fd == -2)
                        break;
                if (fd == -1)
                        continue;
                r = push_lower(l, fd, err);
                if (r < 0)
                        return r;
                if (is_opaque(d, fd))
                        break;
        }
        return 0;
}

/* The handles again, after they were closed: the same ones, told by device and inode, would need
 * all levels above; instead the way down is walked once more. */
static int lowers_again(struct differ *d, struct dlevel *l, struct bld_err *err)
{
        int r;

        if (l->lowers_open)
                return 0;
        if (!l->up) {
                for (size_t i = 0; i < d->o->nlower; i++) {
                        int *slot = dfds_push(&l->lowers);

                        if (!slot)
                                return err_nomem(err, "lower folders");
                        *slot = d->o->lower_fds[i];
                }
                l->lowers_borrowed = true;
                l->lowers_open = true;
                return 0;
        }
        r = lowers_again(d, l->up, err);
        if (!r)
                r = lowers_from_parent(
                        d, l, strrchr(l->path, '/') ? strrchr(l->path, '/') + 1 : l->path, err);
        l->lowers_open = !r;
        return r;
}

int diff_open(struct differ *d, struct dlevel *l, struct bld_err *err)
{
        if (l->fd < 0)
                l->fd = open_beneath(d->upper, l->path);
        if (l->fd < 0)
                return err_sys(err, errno, "open \"%s\"", l->path);
        return lowers_again(d, l, err);
}

void diff_close(struct dlevel *l)
{
        fd_close(&l->fd);
        for (size_t i = 0; !l->lowers_borrowed && i < l->lowers.n; i++)
                close(l->lowers.v[i]);
        dfds_done(&l->lowers);
        l->lowers_open = false;
}

int diff_gone(struct differ *d, struct dlevel *l, const struct dnames *upper, struct strv *ret,
              struct bld_err *err)
{
        static char there, hidden;
        struct map seen;
        int r = 0;

        if (diff_scans(d))
                return scan_gone(d, l, upper, ret, err);

        map_init(&seen, NULL);
        for (size_t i = 0; !r && i < upper->n; i++)
                r = upper->v[i].whiteout ? 0 : map_set(&seen, upper->v[i].name, &there);
        for (size_t i = 0; !r && i < l->lowers.n; i++) {
                struct dnames names = {0};

                r = diff_list(d, l->lowers.v[i], &names, err);
                for (size_t k = 0; !r && k < names.n; k++) {
                        const struct dname *n = &names.v[k];
                        bool wh = diff_is_whiteout(&n->st);

                        if (map_get(&seen, n->name))
                                continue;
                        if (map_set(&seen, n->name, wh ? &hidden : &there) < 0 ||
                            (!wh && strv_add(ret, n->name) < 0))
                                r = err_nomem(err, "list of a folder");
                }
                diff_names_done(&names);
        }
        map_done(&seen);
        strv_sort(ret);
        return r;
}
