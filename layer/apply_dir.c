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

/* A link's target, then the rest of the path it was met in. */
static char *splice_link(const char *target, const char *rest)
{
        struct sb b = SB_INIT((size_t)4 * LY_PATH_MAX);

        sb_fmt(&b, "%s%s", target, rest);
        return sb_take(&b);
}

/* A walk that follows links inside the root by hand. */
struct walk {
        int root;
        struct sb path; /* so far, without links */
        int at;         /* the folder it is at, but for the names that are not there */
        size_t gone;    /* how many of those */
        int gone_errno; /* what the first of them met */
};

static int walk_to_root(struct walk *w)
{
        fd_close(&w->at);
        sb_reset(&w->path);
        w->gone = 0;
        w->at = fcntl(w->root, F_DUPFD_CLOEXEC, 0);
        return w->at < 0 ? -errno : 0;
}

/* ".." of a folder that was reached by its names alone: never that of the root. */
static int walk_up(struct walk *w)
{
        int up;

        if (!w->path.len)
                return 0;
        path_pop(&w->path);
        if (w->gone) {
                w->gone--;
                return 0;
        }
        up = sys_openat(w->at, "..", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
        if (up < 0)
                return -errno;
        fd_close(&w->at);
        w->at = up;
        return 0;
}

/* 1: the name is a link, and its target is in buf; what is not there counts as a folder. */
static int walk_down(struct walk *w, const char *name, size_t n, char buf[LY_LINK_MAX + 1])
{
        char own[LY_NAME_MAX + 1];
        ssize_t got;
        int fd;

        if (n > LY_NAME_MAX || w->path.len + 1 + n >= LY_PATH_MAX)
                return -ENAMETOOLONG;
        memcpy(own, name, n);
        own[n] = 0;
        if (!w->gone) {
                fd = sys_openat(w->at, own, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
                if (fd >= 0) {
                        fd_close(&w->at);
                        w->at = fd;
                } else {
                        w->gone_errno = errno;
                        got = readlinkat(w->at, own, buf, LY_LINK_MAX);
                        if (got >= 0) {
                                buf[got] = 0;
                                return 1;
                        }
                        w->gone = 1;
                }
        } else {
                w->gone++;
        }
        if (w->path.len)
                sb_char(&w->path, '/');
        sb_add(&w->path, name, n);
        return sb_check(&w->path, "path", NULL) < 0 ? -ENOMEM : 0;
}

/* Where a path leads when all links in it are followed inside the root, in time linear in its
 * length. 0 or a negative errno. */
static int walk(struct walk *w, const char *path)
{
        AUTO_FREE char *own = mem_strdup(path);
        const char *p = own, *name;
        unsigned links = 0;
        size_t n;
        int r = own ? walk_to_root(w) : -ENOMEM;

        while (!r && (n = next_name(&p, &name)) > 0) {
                char target[LY_LINK_MAX + 1];
                char *more;

                if (n == 1 && name[0] == '.')
                        continue;
                if (n == 2 && name[0] == '.' && name[1] == '.') {
                        r = walk_up(w);
                        continue;
                }
                r = walk_down(w, name, n, target);
                if (r <= 0)
                        continue;
                if (++links > LINKS_MAX)
                        return -ELOOP;
                r = *target == '/' ? walk_to_root(w) : 0;
                more = r ? NULL : splice_link(target, p);
                if (!r && !more)
                        r = -ENAMETOOLONG;
                free(own);
                own = more;
                p = own;
        }
        return r;
}

static void walk_done(struct walk *w)
{
        fd_close(&w->at);
        sb_done(&w->path);
}

#define WALK_INIT(r)                                                            \
        {                                                                       \
                .root = (r), .path = SB_INIT((size_t)2 * LY_PATH_MAX), .at = -1 \
        }

/* The folder a path leads to; its links' targets may go through what is not there. */
static int open_by_hand(int root, const char *path)
{
        struct walk w = WALK_INIT(root);
        int r = walk(&w, path);
        int fd = r || w.gone ? -1 : take_fd(&w.at);

        walk_done(&w);
        if (r || w.gone)
                errno = r ? -r : w.gone_errno;
        return fd;
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
        return open_by_hand(a->root, path);
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

/* A folder that is missing. */
static int make_missing(struct applier *a, const struct adir *d, const char *name, const char *path,
                        struct bld_err *err)
{
        if (sys_mkdirat(d->fd, name, 0755) < 0)
                return err_sys(err, errno, "create folder \"%s\"", path);
        return finish_made(a, d, name, path, err);
}

/* A folder that this layer removes and then puts something in: it is a new one, in which nothing of
 * the old one shows. */
static int make_over_whiteout(struct applier *a, const struct adir *d, const char *name,
                              const struct stat *st, const char *path, struct bld_err *err)
{
        int r;

        if (a->o->form == LY_TREE_PLAIN || !apply_is_whiteout(st))
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

/* A folder that is there; 0: it is not. */
static int open_there(struct applier *a, const char *path, int *ret_fd, struct bld_err *err)
{
        int fd = open_plain(a, path);

        /* The kernel wants what comes before ".." in a link's target to be there. */
        if (fd < 0 && errno == ENOENT && !a->walk_by_hand)
                fd = open_by_hand(a->root, path);
        *ret_fd = fd;
        if (fd >= 0)
                return 1;
        if (!*path)
                return err_sys(err, errno, "open the folder to unpack into");
        if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP)
                return 0;
        return unresolved(path, errno, err);
}

/* Where the link at path leads is made, what is missing of it, and opened. */
static int enter_link(struct applier *a, const char *path, int *ret_fd, struct bld_err *err)
{
        struct walk w = WALK_INIT(a->root);
        struct adir *d;
        int r = walk(&w, path);

        r = r < 0 ? unresolved(path, -r, err)
                  : apply_dir(a, sb_text(&w.path), w.path.len, true, &d, err);
        walk_done(&w);
        if (r < 0)
                return r;
        *ret_fd = fcntl(d->fd, F_DUPFD_CLOEXEC, 0);
        return *ret_fd < 0 ? err_sys(err, errno, "duplicate a handle") : 0;
}

/* The folder path, made where it is missing. One of a lower layer in which this layer puts
 * something stays when a whiteout or an opaque mark hides it; only what else is in it goes. */
static int enter_name(struct applier *a, const char *path, int *ret_fd, struct bld_err *err)
{
        const char *name;
        struct adir *d;
        struct stat st;
        int r = apply_parent(a, path, true, &d, &name, err);

        if (r < 0)
                return r;
        if (fstatat(d->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                r = errno == ENOENT ? make_missing(a, d, name, path, err)
                                    : unresolved(path, errno, err);
        else if (S_ISLNK(st.st_mode))
                return enter_link(a, path, ret_fd, err);
        else if (S_ISDIR(st.st_mode))
                r = apply_note_created(a, d, name, err);
        else
                r = make_over_whiteout(a, d, name, &st, path, err);
        if (r < 0)
                return r;
        *ret_fd = sys_openat(d->fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
        return *ret_fd < 0 ? unresolved(path, errno, err) : 0;
}

int apply_dir(struct applier *a, const char *path, size_t len, bool make, struct adir **ret,
              struct bld_err *err)
{
        AUTO_FREE char *own = NULL;
        AUTO_FD int fd = -1;
        int r;

        *ret = cached(a, path, len);
        /* One that was only looked into, for a whiteout or a hard link's target, is not noted yet.
         */
        if (*ret && make && !(*ret)->made) {
                drop(*ret);
                *ret = NULL;
        }
        if (*ret)
                return make ? 0 : 1;
        own = mem_strndup(path, len);
        if (!own)
                return err_nomem(err, "folder name");
        if (make && len) {
                r = enter_name(a, own, &fd, err);
                if (r < 0)
                        return r;
        } else {
                r = open_there(a, own, &fd, err);
                if (r <= 0)
                        return r;
        }
        r = remember(a, path, len, take_fd(&fd), ret, err);
        if (r < 0)
                return r;
        (*ret)->made = make;
        return !make;
}

int apply_parent(struct applier *a, const char *path, bool make, struct adir **ret,
                 const char **ret_name, struct bld_err *err)
{
        const char *slash = strrchr(path, '/');

        *ret_name = slash ? slash + 1 : path;
        return apply_dir(a, path, slash ? (size_t)(slash - path) : 0, make, ret, err);
}
