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

void apply_dirs_done(struct applier *a)
{
        apply_dirs_flush(a);
        drop(&a->kept);
}

struct adir *apply_keep(struct applier *a, struct adir *d)
{
        if (d != &a->kept) {
                drop(&a->kept);
                a->kept = *d;
                *d = (struct adir){0};
        }
        apply_dirs_flush(a);
        return &a->kept;
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

/* ---- links ---- */

/* Takes the first component off *p; its length. */
static size_t next_name(const char **p, const char **ret)
{
        size_t n;

        *p += strspn(*p, "/");
        n = strcspn(*p, "/");
        *ret = *p;
        *p += n;
        return n;
}

static void path_pop(struct sb *path)
{
        const char *slash = strrchr(sb_text(path), '/');

        sb_cut(path, slash ? (size_t)(slash - sb_text(path)) : 0);
}

/* The link *path was just found to be one: its target, then the rest. */
static int splice_link(struct sb *path, const char *target, const char *rest, char **ret)
{
        struct sb b = SB_INIT((size_t)4 * LY_PATH_MAX);

        if (*target == '/')
                sb_reset(path);
        else
                path_pop(path);
        sb_fmt(&b, "%s%s", target, rest);
        *ret = sb_take(&b);
        return *ret ? 0 : -ENAMETOOLONG;
}

/* Where a path leads when all links in it are followed inside the root; what is not there counts as
 * a folder. 0 or a negative errno. What it finds is a text: whoever opens it follows no link. */
static int real_path(int root, const char *path, struct sb *ret)
{
        AUTO_FREE char *own = mem_strdup(path);
        const char *p = own, *name;
        unsigned links = 0;
        size_t n;

        while (p && (n = next_name(&p, &name)) > 0) {
                char target[LY_LINK_MAX + 1];
                char *more = NULL;
                ssize_t got;
                int r;

                if (n == 1 && name[0] == '.')
                        continue;
                if (n == 2 && name[0] == '.' && name[1] == '.') {
                        path_pop(ret);
                        continue;
                }
                if (ret->len)
                        sb_char(ret, '/');
                sb_add(ret, name, n);
                if (n > LY_NAME_MAX || ret->len >= LY_PATH_MAX)
                        return -ENAMETOOLONG;
                got = readlinkat(root, sb_text(ret), target, sizeof(target) - 1);
                if (got < 0)
                        continue;
                if (++links > LINKS_MAX)
                        return -ELOOP;
                target[got] = 0;
                r = splice_link(ret, target, p, &more);
                if (r < 0)
                        return r;
                free(own);
                own = more;
                p = own;
        }
        return own && sb_check(ret, "path", NULL) == 0 ? 0 : -ENOMEM;
}

/* Where the kernel or a seccomp filter lacks openat2. */
static int walk_by_hand(int root, const char *path)
{
        AUTO_SB struct sb real = SB_INIT((size_t)2 * LY_PATH_MAX);
        AUTO_FD int at = fcntl(root, F_DUPFD_CLOEXEC, 0);
        const char *p, *start;
        size_t n;
        int r = real_path(root, path, &real);

        if (r < 0) {
                errno = -r;
                return -1;
        }
        p = sb_text(&real);
        while (at >= 0 && (n = next_name(&p, &start)) > 0) {
                char name[LY_NAME_MAX + 1];
                int next;

                memcpy(name, start, n);
                name[n] = 0;
                next = sys_openat(at, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
                fd_close(&at);
                at = next;
        }
        return take_fd(&at);
}

static int open_plain(struct applier *a, const char *path)
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
        return walk_by_hand(a->root, path);
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

/* Make path's last component in its (made) folder. */
static int make_missing(struct applier *a, const char *path, struct bld_err *err)
{
        const char *name;
        struct adir *d;
        int r = apply_parent(a, path, true, &d, &name, err);

        if (r < 0)
                return r;
        if (sys_mkdirat(d->fd, name, 0755) < 0)
                return err_sys(err, errno, "create folder \"%s\"", path);
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

static int unresolved(const char *path, int errnum, struct bld_err *err)
{
        if (errnum == ELOOP || errnum == ENAMETOOLONG)
                return err_set(err, BLD_E_CORRUPT, "\"%s\" cannot be resolved (%s)", path,
                               errnum == ELOOP ? "links in a circle" : "too long");
        return err_sys(err, errnum, "open folder \"%s\"", path);
}

/* The kernel wants what comes before ".." in a link's target to be there. */
static int open_dir(struct applier *a, const char *path)
{
        AUTO_SB struct sb real = SB_INIT((size_t)2 * LY_PATH_MAX);
        int fd = open_plain(a, path);

        if (fd >= 0 || errno != ENOENT)
                return fd;
        if (real_path(a->root, path, &real) == 0 && !str_eq(sb_text(&real), path))
                return open_plain(a, sb_text(&real));
        errno = ENOENT;
        return -1;
}

/* The last component of path is no link. */
static int open_or_make(struct applier *a, const char *path, bool make, int *ret_fd,
                        struct bld_err *err)
{
        for (unsigned tries = 0; tries < 3; tries++) {
                int r, fd = open_dir(a, path);

                if (fd >= 0) {
                        *ret_fd = fd;
                        return 1;
                }
                if (!*path) /* there is nothing above to make it in */
                        return err_sys(err, errno, "open the folder to unpack into");
                if (!make && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP))
                        return 0;
                if (errno != ENOENT && errno != ENOTDIR)
                        return unresolved(path, errno, err);
                r = errno == ENOENT ? make_missing(a, path, err) : make_over_whiteout(a, path, err);
                if (r < 0)
                        return r;
        }
        return err_set(err, BLD_E_CORRUPT, "\"%s\" cannot be made", path);
}

/* Where the link at path leads is made, what is missing of it, and opened. */
static int enter_link(struct applier *a, const char *path, int *ret_fd, struct bld_err *err)
{
        AUTO_SB struct sb real = SB_INIT((size_t)2 * LY_PATH_MAX);
        struct adir *d;
        int r = real_path(a->root, path, &real);

        if (r < 0)
                return unresolved(path, -r, err);
        r = apply_dir(a, sb_text(&real), real.len, true, &d, err);
        if (r < 0)
                return r;
        *ret_fd = fcntl(d->fd, F_DUPFD_CLOEXEC, 0);
        return *ret_fd < 0 ? err_sys(err, errno, "duplicate a handle") : 0;
}

/* A folder of a lower layer in which this layer puts something stays when a whiteout or an opaque
 * mark hides it; only what else is in it goes. */
static int enter_name(struct applier *a, const char *path, int *ret_fd, struct bld_err *err)
{
        const char *name;
        struct adir *d;
        struct stat st;
        int r = apply_parent(a, path, true, &d, &name, err);

        if (r < 0)
                return r;
        if (fstatat(d->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? 0 : unresolved(path, errno, err);
        if (S_ISLNK(st.st_mode))
                return enter_link(a, path, ret_fd, err);
        return S_ISDIR(st.st_mode) ? apply_note_created(a, d, name, err) : 0;
}

int apply_dir(struct applier *a, const char *path, size_t len, bool make, struct adir **ret,
              struct bld_err *err)
{
        AUTO_FREE char *own = NULL;
        AUTO_FD int fd = -1;
        int r;

        *ret = cached(a, path, len);
        if (*ret)
                return make ? 0 : 1;
        own = mem_strndup(path, len);
        if (!own)
                return err_nomem(err, "folder name");
        if (make && len) {
                r = enter_name(a, own, &fd, err);
                if (r < 0)
                        return r;
        }
        if (fd < 0) {
                r = open_or_make(a, own, make, &fd, err);
                if (r <= 0)
                        return r;
        }
        r = remember(a, path, len, take_fd(&fd), ret, err);
        return r < 0 ? r : !make;
}

int apply_parent(struct applier *a, const char *path, bool make, struct adir **ret,
                 const char **ret_name, struct bld_err *err)
{
        const char *slash = strrchr(path, '/');

        *ret_name = slash ? slash + 1 : path;
        return apply_dir(a, path, slash ? (size_t)(slash - path) : 0, make, ret, err);
}
