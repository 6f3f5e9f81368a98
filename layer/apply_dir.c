/* Folders while a layer is applied. An attacker controls every name and every link in the stream;
 * each path is resolved by the kernel inside the root (openat2, RESOLVE_IN_ROOT), so whatever it
 * leads to is inside, and the handles kept are of folders, not names. */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/sys.h"
#include "layer/apply_priv.h"

#define LINKS_MAX 40

static void drop(struct adir *d)
{
        if (!d->path)
                return;
        free(d->path);
        close(d->fd);
        *d = (struct adir){0};
}

void apply_dirs_flush(struct applier *a)
{
        for (size_t i = 0; i < DIR_CACHE; i++)
                drop(&a->dirs[i]);
}

static struct adir *cached(struct applier *a, const char *path, size_t len)
{
        for (size_t i = 0; i < DIR_CACHE; i++) {
                struct adir *d = &a->dirs[i];

                if (d->path && d->len == len && !memcmp(d->path, path, len)) {
                        d->used = ++a->clock;
                        return d;
                }
        }
        return NULL;
}

/* Takes fd over, on failure too. */
static int remember(struct applier *a, const char *path, size_t len, int fd, struct adir **ret,
                    struct bld_err *err)
{
        struct adir *d = &a->dirs[0];
        AUTO_FD int own = fd;
        struct stat st;

        for (size_t i = 1; i < DIR_CACHE && d->path; i++)
                if (!a->dirs[i].path || a->dirs[i].used < d->used)
                        d = &a->dirs[i];
        drop(d);
        if (a->o->form == LY_TREE_PLAIN) {
                if (fstat(own, &st) < 0)
                        return err_sys(err, errno, "stat \"%.*s\"", (int)len, path);
                d->dev = st.st_dev;
                d->ino = st.st_ino;
                /* What is new here would take the folder's group, and a folder its setgid bit. */
                a->chown_always |= (st.st_mode & S_ISGID) != 0;
                a->chmod_always |= (st.st_mode & S_ISGID) != 0;
        }
        d->path = mem_strndup(path, len);
        if (!d->path)
                return err_nomem(err, "folder name");
        d->len = len;
        d->fd = take_fd(&own);
        d->used = ++a->clock;
        *ret = d;
        return 0;
}

/* Where the kernel or a seccomp filter lacks openat2: one component at a time, no link followed by
 * the kernel; links are read and resolved here, ".." by name. */
static int walk_by_hand(int root, const char *path, unsigned links)
{
        AUTO_FD int at = fcntl(root, F_DUPFD_CLOEXEC, 0);
        const char *p = path;

        while (at >= 0 && *p) {
                size_t n = strcspn(p, "/");
                char name[LY_NAME_MAX + 1], target[LY_LINK_MAX];
                AUTO_FREE char *joined = NULL, *clean = NULL;
                ssize_t got;
                int next;

                if (n > LY_NAME_MAX) {
                        errno = ENAMETOOLONG;
                        return -1;
                }
                memcpy(name, p, n);
                name[n] = 0;
                got = readlinkat(at, name, target, sizeof(target) - 1);
                if (got > 0 && links < LINKS_MAX) {
                        AUTO_FREE char *before = mem_strndup(path, (size_t)(p - path));
                        struct sb b = SB_INIT((size_t)2 * LY_PATH_MAX);

                        target[got] = 0;
                        sb_fmt(&b, "/%s/%s%s",
                               *target == '/' ? ""
                               : before       ? before
                                              : "",
                               target, p + n);
                        joined = sb_take(&b);
                        clean = joined ? path_clean(joined) : NULL;
                        if (!clean) {
                                errno = ENAMETOOLONG;
                                return -1;
                        }
                        return walk_by_hand(root, clean + 1, links + 1);
                }
                if (got > 0) {
                        errno = ELOOP;
                        return -1;
                }
                next = sys_openat(at, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
                fd_close(&at);
                at = next;
                p += n;
                while (*p == '/')
                        p++;
        }
        return take_fd(&at);
}

static int open_dir(struct applier *a, const char *path)
{
        struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
                               .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
        int fd = -1;

        if (!a->walk_by_hand) {
                fd = sys_openat2(a->root, *path ? path : ".", &how);
                if (fd >= 0 || (errno != ENOSYS && errno != EPERM))
                        return fd;
                a->walk_by_hand = true;
        }
        return walk_by_hand(a->root, path, 0);
}

/* Where the dangling link `name`, the last component of path, leads: from the root, malloc'ed.
 * Never inlined: its buffer would be on the stack once per level of a deep path. */
static __attribute__((noinline)) int dangling_target(const struct adir *d, const char *path,
                                                     const char *name, char **ret,
                                                     struct bld_err *err)
{
        char target[LY_LINK_MAX];
        struct sb b = SB_INIT((size_t)2 * LY_PATH_MAX);
        AUTO_FREE char *joined = NULL;
        ssize_t n = readlinkat(d->fd, name, target, sizeof(target) - 1);

        if (n < 0)
                return err_set(err, BLD_E_CORRUPT,
                               "\"%s\" is no folder, but the layer puts files below it", path);
        target[n] = 0;
        if (*target == '/')
                sb_str(&b, target);
        else
                sb_fmt(&b, "/%.*s%s", (int)(name - path), path, target);
        joined = sb_take(&b);
        *ret = joined ? path_clean(joined) : NULL;
        return *ret ? 0 : err_nomem(err, "folder name");
}

/* Mode and owner of a folder that no entry describes. */
static int finish_made(struct applier *a, const struct adir *d, const char *name, const char *path,
                       struct bld_err *err)
{
        if ((a->chmod_always || (a->umask & 0755)) && fchmodat(d->fd, name, 0755, 0) < 0)
                return err_sys(err, errno, "set the mode of \"%s\"", path);
        if (a->o->keep_owner && (a->chown_always || a->euid || a->egid) &&
            fchownat(d->fd, name, 0, 0, AT_SYMLINK_NOFOLLOW) < 0)
                return err_sys(err, errno, "set the owner of \"%s\"", path);
        return apply_note_created(a, d, name, err);
}

/* Make path's last component in its (made) folder. A dangling link there is followed: what it names
 * is made, inside the root. 1: *ret_path, malloc'ed, is to be opened instead. */
static int make_missing(struct applier *a, const char *path, char **ret_path, struct bld_err *err)
{
        const char *name;
        struct adir *d;
        int r = apply_parent(a, path, true, &d, &name, err);

        if (r < 0)
                return r;
        if (sys_mkdirat(d->fd, name, 0755) < 0) {
                if (errno != EEXIST)
                        return err_sys(err, errno, "create folder \"%s\"", path);
                r = dangling_target(d, path, name, ret_path, err);
                return r < 0 ? r : 1;
        }
        return finish_made(a, d, name, path, err);
}

/* A folder that this layer removes and then puts something in: it is a new one, in which nothing of
 * the old one shows. */
static int make_over_whiteout(struct applier *a, const char *path, struct bld_err *err)
{
        const char *name;
        struct adir *d;
        struct stat st = {0};
        int r = apply_parent(a, path, true, &d, &name, err);

        if (r < 0)
                return r;
        if (fstatat(d->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
                return 0; /* it was the folder above, which is there now */
        if (a->o->form == LY_TREE_PLAIN || !apply_is_whiteout(&st))
                return err_set(err, BLD_E_CORRUPT,
                               "\"%s\" is no folder, but the layer puts files below it", path);
        if (sys_unlinkat(d->fd, name, 0) < 0 || sys_mkdirat(d->fd, name, 0755) < 0)
                return err_sys(err, errno, "create folder \"%s\"", path);
        r = apply_set_opaque(a, d, name, err);
        return r < 0 ? r : finish_made(a, d, name, path, err);
}

static int open_or_make(struct applier *a, const char *path, bool make, int *ret_fd,
                        struct bld_err *err)
{
        AUTO_FREE char *own = NULL;

        for (unsigned tries = 0; tries < LINKS_MAX; tries++) {
                char *other = NULL;
                int r, fd = open_dir(a, path);

                if (fd >= 0) {
                        *ret_fd = fd;
                        return 1;
                }
                if (!make && (errno == ENOENT || errno == ENOTDIR))
                        return 0;
                if (errno == ENOTDIR) {
                        r = make_over_whiteout(a, path, err);
                        if (r < 0)
                                return r;
                        continue;
                }
                if (errno == ELOOP || errno == ENAMETOOLONG)
                        return err_set(err, BLD_E_CORRUPT, "\"%s\" cannot be resolved (%s)", path,
                                       errno == ELOOP ? "links in a circle" : "too long");
                if (errno != ENOENT)
                        return err_sys(err, errno, "open folder \"%s\"", path);
                r = make_missing(a, path, &other, err);
                if (r < 0)
                        return r;
                if (r == 1) {
                        free(own);
                        own = other;
                        path = own + 1; /* it begins with '/' */
                }
        }
        return err_set(err, BLD_E_CORRUPT, "too many links on the way to \"%s\"", path);
}

/* A folder of a lower layer in which this layer puts something stays when a whiteout or an opaque
 * mark hides it; only what else is in it goes. */
static int note_entered(struct applier *a, const char *path, struct bld_err *err)
{
        const char *name;
        struct adir *d;
        int r = apply_parent(a, path, true, &d, &name, err);

        return r < 0 ? r : apply_note_created(a, d, name, err);
}

int apply_dir(struct applier *a, const char *path, size_t len, bool make, struct adir **ret,
              struct bld_err *err)
{
        AUTO_FREE char *own = NULL;
        int r, fd = -1;

        *ret = cached(a, path, len);
        if (*ret)
                return make ? 0 : 1;
        own = mem_strndup(path, len);
        if (!own)
                return err_nomem(err, "folder name");
        if (make && len && a->o->form == LY_TREE_PLAIN) {
                r = note_entered(a, own, err);
                if (r < 0)
                        return r;
        }
        r = open_or_make(a, own, make, &fd, err);
        if (r <= 0)
                return r;
        r = remember(a, path, len, fd, ret, err);
        return r < 0 ? r : !make;
}

int apply_parent(struct applier *a, const char *path, bool make, struct adir **ret,
                 const char **ret_name, struct bld_err *err)
{
        const char *slash = strrchr(path, '/');

        *ret_name = slash ? slash + 1 : path;
        return apply_dir(a, path, slash ? (size_t)(slash - path) : 0, make, ret, err);
}
