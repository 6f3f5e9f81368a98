/* A tar stream becomes a tree. Order for each entry: create, write, owner, mode, attributes, times;
 * folders get their times (and modes that would lock us out) last. */
#include <errno.h>
#include <fcntl.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/sys.h"
#include "layer/apply_priv.h"

#define NS_PER_SEC 1000000000
#define COPY_BUF (64u << 10)
#define BLOCK 4096u

static void times(const struct ly_entry *e, struct timespec ts[2])
{
        int64_t sec = e->mtime_ns / NS_PER_SEC, ns = e->mtime_ns % NS_PER_SEC;

        if (ns < 0) {
                ns += NS_PER_SEC;
                sec--;
        }
        ts[0] = (struct timespec){.tv_nsec = UTIME_OMIT};
        ts[1] = (struct timespec){.tv_sec = (time_t)sec, .tv_nsec = (long)ns};
}

/* Owners are noted, all of them. */
static bool notes_all(const struct applier *a)
{
        return a->o->owners && !a->o->owners->beyond;
}

static bool owner_differs(const struct applier *a, const struct ly_entry *e)
{
        if (notes_all(a) && a->meant != e->mode)
                return true;
        if (notes_all(a))
                return e->uid || e->gid || e->type == LY_CHAR || e->type == LY_BLOCK;
        return a->o->keep_owner && (a->chown_always || e->uid != a->euid || e->gid != a->egid);
}

/* Does the mode given at creation not become e's? A chown also clears setuid and setgid. */
static bool mode_differs(const struct applier *a, const struct ly_entry *e)
{
        return a->chmod_always || (e->mode & 07000) || (e->mode & a->umask);
}

/* Is the device an empty file here? */
static bool noted_device(const struct applier *a, int dirfd, const char *name,
                         const struct ly_entry *e)
{
        struct stat st;

        return a->o->owners && (e->type == LY_CHAR || e->type == LY_BLOCK) &&
               fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode);
}

/* The owner of name below a folder: told to the file system, or noted beside it. */
static int set_owner(struct applier *a, int dirfd, const char *name, const struct ly_entry *e,
                     struct bld_err *err)
{
        struct owner o = {.uid = e->uid,
                          .gid = e->gid,
                          .mode = a->meant == e->mode ? 0 : OWNER_MODE | a->meant};
        struct stat st;
        int told = 0;

        if (!notes_all(a) && a->o->keep_owner)
                told = owner_tell(dirfd, name, AT_SYMLINK_NOFOLLOW, e->uid, e->gid);
        if (told < 0 || (told > 0 && !a->o->owners))
                return err_sys(err, errno, "set the owner");
        if (!a->o->owners ||
            (told == 0 && a->o->owners->beyond && !noted_device(a, dirfd, name, e)))
                return 0;
        if (e->type == LY_CHAR || e->type == LY_BLOCK) {
                o.type = e->type == LY_CHAR ? S_IFCHR : S_IFBLK;
                o.dev_major = e->dev_major;
                o.dev_minor = e->dev_minor;
        }
        if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
            owner_note(a->o->owners, dirfd, name, &st, &o) < 0)
                return err_sys(err, errno, "note the owner");
        return 0;
}

/* ---- extended attributes ---- */

static bool xattr_refused(int errnum)
{
        return errnum == ENOTSUP || errnum == EPERM;
}

static int set_xattr(struct applier *a, int fd, const char *link_path, const struct ly_xattr *x,
                     struct bld_err *err)
{
        unsigned char cap[20];
        const void *v = x->value;
        size_t n = x->len;
        int r;

        if (!ly_xattr_wanted(x->name, a->o->all_xattrs))
                return 0;
        if (str_eq(x->name, "security.capability")) {
                if (!ly_cap_v2(x->value, x->len, cap)) {
                        a->st.skipped_xattrs++;
                        return 0;
                }
                v = cap;
                n = sizeof(cap);
        }
        r = link_path ? lsetxattr(link_path, x->name, v, n, 0) : fsetxattr(fd, x->name, v, n, 0);
        if (r < 0 && !xattr_refused(errno))
                return err_sys(err, errno, "set attribute \"%.100s\"", x->name);
        a->st.skipped_xattrs += r < 0;
        return 0;
}

static int set_xattrs(struct applier *a, int fd, const struct ly_entry *e, struct bld_err *err)
{
        int r = 0;

        for (size_t i = 0; !r && i < e->nxattrs; i++)
                r = set_xattr(a, fd, NULL, &e->xattrs[i], err);
        return r;
}

/* Links and special files have no handle that takes attributes; the folder's has a name in /proc.
 */
static int set_xattrs_at(struct applier *a, const struct adir *d, const char *name,
                         const struct ly_entry *e, struct bld_err *err)
{
        char path[64 + LY_NAME_MAX];
        int r = 0;

        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", d->fd, name);
        for (size_t i = 0; !r && a->o->all_xattrs && i < e->nxattrs; i++)
                r = set_xattr(a, -1, path, &e->xattrs[i], err);
        return r;
}

/* ---- making way ---- */

/* What stands where an entry goes is removed, links not followed. Cached handles may be of folders
 * that were below it, or reached through it, as even *d may be: that one stays what it is. */
static int replace(struct applier *a, struct adir **d, const char *name, struct bld_err *err)
{
        struct stat st;
        int r;

        if (fstatat((*d)->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return err_sys(err, errno, "stat");
        if (S_ISREG(st.st_mode) || apply_is_whiteout(&st)) {
                if (sys_unlinkat((*d)->fd, name, 0) < 0)
                        return err_sys(err, errno, "remove what is in the way");
                return 0;
        }
        r = path_remove_tree((*d)->fd, name, err);
        if (!r)
                *d = apply_keep(a, *d);
        return r;
}

/* ---- files ---- */

/* Holes stay holes. */
static int write_sparse(struct applier *a, int fd, const struct ly_entry *e, struct bld_err *err)
{
        AUTO_FREE unsigned char *buf = mem_alloc(COPY_BUF);
        ssize_t n;
        int r = 0;

        if (!buf)
                return err_nomem(err, "copy buffer");
        while (!r && (n = ly_reader_data(a->r, buf, COPY_BUF, err)) != 0) {
                if (n < 0)
                        return (int)n;
                r = fd_write_sparse(fd, buf, (size_t)n, err);
        }
        if (!r && sys_ftruncate(fd, (int64_t)e->size) < 0)
                r = err_sys(err, errno, "set the size");
        return r;
}

static int write_data(struct applier *a, int fd, const struct ly_entry *e, struct bld_err *err)
{
        const void *p;
        ssize_t n;
        int r = 0;

        if (reader_sparse(a->r))
                return write_sparse(a, fd, e, err);
        while (!r && (n = reader_peek(a->r, &p, err)) != 0) {
                if (n < 0)
                        return (int)n;
                r = fd_write_all(fd, p, (size_t)n, err);
        }
        return r;
}

static int finish_file(struct applier *a, const struct adir *d, const char *name, int fd,
                       const struct ly_entry *e, struct bld_err *err)
{
        struct timespec ts[2];
        int r = 0;

        if (owner_differs(a, e) && notes_all(a))
                r = set_owner(a, d->fd, name, e, err);
        else if (owner_differs(a, e) && fchown(fd, e->uid, e->gid) < 0)
                r = errno == EINVAL && a->o->owners ? set_owner(a, d->fd, name, e, err)
                                                    : err_sys(err, errno, "set the owner");
        if (r < 0)
                return r;
        if (mode_differs(a, e) && fchmod(fd, e->mode) < 0)
                return err_sys(err, errno, "set the mode");
        r = set_xattrs(a, fd, e, err);
        if (r < 0)
                return r;
        times(e, ts);
        return futimens(fd, ts) < 0 ? err_sys(err, errno, "set the time") : 0;
}

/* Some file systems reserve blocks ahead until the file is closed: no more than its size needs. */
static void count_file(struct applier *a, int fd)
{
        struct stat st;
        uint64_t need, has;

        if (fstat(fd, &st) < 0)
                return;
        need = ((uint64_t)st.st_size + BLOCK - 1) / BLOCK * BLOCK;
        has = (uint64_t)st.st_blocks * 512;
        a->st.disk_bytes += MIN(need, has);
}

static int make_file(struct applier *a, const struct ly_entry *e, struct bld_err *err)
{
        const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
        AUTO_FD int fd = -1;
        const char *name;
        struct adir *d;
        int r = apply_parent(a, e->path, true, &d, &name, err);

        if (r < 0)
                return r;
        fd = sys_openat(d->fd, name, flags, e->mode & 0777);
        if (fd < 0 && errno == EEXIST) {
                r = replace(a, &d, name, err);
                if (r < 0)
                        return r;
                fd = sys_openat(d->fd, name, flags, e->mode & 0777);
        }
        if (fd < 0)
                return err_sys(err, errno, "create");
        r = write_data(a, fd, e, err);
        if (!r)
                count_file(a, fd);
        if (!r)
                r = finish_file(a, d, name, fd, e, err);
        if (!r)
                r = apply_note_created(a, d, name, err);
        a->st.bytes += e->size;
        return r;
}

/* ---- folders ---- */

/* The last entry of a name counts. */
static int note_pending(struct applier *a, const struct adir *d, const char *name,
                        const struct ly_entry *e, bool set_mode, struct bld_err *err)
{
        struct apending *p;
        struct stat st;

        if (fstatat(d->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return err_sys(err, errno, "stat");
        p = mem_alloc(sizeof(*p));
        if (!p)
                return err_nomem(err, "list of folders");
        *p = (struct apending){.dev = st.st_dev,
                               .ino = st.st_ino,
                               .mtime_ns = e->mtime_ns,
                               .mode = e->mode,
                               .set_mode = set_mode};
        if (map_set(&a->pending, e->path, p) < 0) {
                free(p);
                return err_nomem(err, "list of folders");
        }
        return 0;
}

/* 1: it was there already. */
static int mkdir_over(struct applier *a, const struct ly_entry *e, struct adir **d,
                      const char *name, struct bld_err *err)
{
        mode_t mode = (e->mode & 0777) | 0700;
        struct stat st;
        bool wh;
        int r;

        if (!sys_mkdirat((*d)->fd, name, mode))
                return 0;
        if (errno != EEXIST || fstatat((*d)->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return err_sys(err, errno, "create folder");
        if (S_ISDIR(st.st_mode))
                return 1;
        wh = apply_is_whiteout(&st) && a->o->form != LY_TREE_PLAIN;
        r = replace(a, d, name, err);
        if (r < 0)
                return r;
        if (sys_mkdirat((*d)->fd, name, mode) < 0)
                return err_sys(err, errno, "create folder");
        /* The whiteout said that the lower folder goes; a folder in its place would merge. */
        return wh ? apply_set_opaque(a, *d, name, err) : 0;
}

static bool has_xattr(const struct ly_entry *e, const char *name)
{
        for (size_t i = 0; i < e->nxattrs; i++)
                if (str_eq(e->xattrs[i].name, name))
                        return true;
        return false;
}

/* What a lower layer gave a folder that stays, and this one does not. */
static int drop_xattrs(int fd, const struct ly_entry *e, struct bld_err *err)
{
        ssize_t n = flistxattr(fd, NULL, 0);
        AUTO_FREE char *names = n > 0 ? mem_alloc((size_t)n) : NULL;

        if (n <= 0)
                return n < 0 && !xattr_refused(errno) ? err_sys(err, errno, "list attributes") : 0;
        if (!names)
                return err_nomem(err, "extended attributes");
        n = flistxattr(fd, names, (size_t)n);
        if (n < 0)
                return err_sys(err, errno, "list attributes");
        for (const char *s = names; s < names + n; s += strlen(s) + 1)
                if (str_has_prefix(s, "user.") && ly_xattr_wanted(s, true) && !has_xattr(e, s) &&
                    fremovexattr(fd, s) < 0)
                        return err_sys(err, errno, "remove attribute \"%.100s\"", s);
        return 0;
}

static int dir_xattrs(struct applier *a, const struct adir *d, const char *name, bool existed,
                      const struct ly_entry *e, struct bld_err *err)
{
        bool drop = existed && *e->path && a->o->all_xattrs;
        AUTO_FD int fd = -1;
        int r;

        if (!e->nxattrs && !drop)
                return 0;
        fd = sys_openat(d->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
        if (fd < 0)
                return err_sys(err, errno, "open folder");
        r = drop ? drop_xattrs(fd, e, err) : 0;
        return r < 0 ? r : set_xattrs(a, fd, e, err);
}

static int make_dir(struct applier *a, const struct ly_entry *e, struct bld_err *err)
{
        /* Set at the end: modes under which we could not work, and setgid, which files made in the
         * folder would inherit. */
        bool late = (e->mode & 07000) || (e->mode & 0700) != 0700;
        const char *name = ".";
        struct adir *d;
        int r, existed = 1;

        if (*e->path)
                r = apply_parent(a, e->path, true, &d, &name, err);
        else
                r = apply_dir(a, "", 0, true, &d, err);
        if (r < 0)
                return r;
        if (*e->path)
                existed = mkdir_over(a, e, &d, name, err);
        if (existed < 0)
                return existed;
        r = 0;
        if ((existed || owner_differs(a, e)) && (a->o->keep_owner || a->o->owners))
                r = set_owner(a, d->fd, name, e, err);
        if (r < 0)
                return r;
        if ((existed || mode_differs(a, e)) &&
            fchmodat(d->fd, name, (e->mode & 0777) | 0700, 0) < 0)
                return err_sys(err, errno, "set the mode");
        r = dir_xattrs(a, d, name, existed, e, err);
        if (!r)
                r = note_pending(a, d, name, e, late, err);
        if (!r && *e->path)
                r = apply_note_created(a, d, name, err);
        return r;
}

static int finish_dir(struct applier *a, const char *path, const struct apending *p,
                      struct bld_err *err)
{
        const struct ly_entry e = {.mtime_ns = p->mtime_ns};
        struct timespec ts[2];
        const char *name = ".";
        struct adir *d;
        struct stat st;
        int r;

        if (*path)
                r = apply_parent(a, path, false, &d, &name, err);
        else
                r = apply_dir(a, "", 0, false, &d, err);
        if (r <= 0)
                return r;
        /* A later entry may have put something else in its place, or a link on the way to it. A
         * link in its place may even have its inode's number, and must not be followed. */
        if (fstatat(d->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode) ||
            st.st_dev != p->dev || st.st_ino != p->ino)
                return 0;
        a->st.disk_bytes += (uint64_t)st.st_blocks * 512;
        if (p->set_mode && fchmodat(d->fd, name, p->mode, 0) < 0)
                return err_sys(err, errno, "set the mode of \"%s\"", path);
        times(&e, ts);
        if (utimensat(d->fd, name, ts, AT_SYMLINK_NOFOLLOW) < 0)
                return err_sys(err, errno, "set the time of \"%s\"", path);
        return 0;
}

/* Innermost first: a folder's own mode may be what lets us reach those below. */
static int finish_dirs(struct applier *a, struct bld_err *err)
{
        int r = 0;

        for (size_t i = a->pending.n; !r && i-- > 0;)
                if (a->pending.v[i].key)
                        r = finish_dir(a, a->pending.v[i].key, a->pending.v[i].value, err);
        return r;
}

/* ---- the rest ---- */

static int create_other(const struct applier *a, const struct adir *d, const char *name,
                        const struct ly_entry *e)
{
        dev_t dev = makedev(e->dev_major, e->dev_minor);
        mode_t mode = e->mode & 0777;

        if (e->type == LY_SYMLINK)
                return symlinkat(e->link, d->fd, name);
        if (e->type == LY_FIFO)
                return mkfifoat(d->fd, name, mode);
        if (!a->o->owners)
                return mknodat(d->fd, name, (e->type == LY_CHAR ? S_IFCHR : S_IFBLK) | mode, dev);
        return mknodat(d->fd, name, S_IFREG | mode, 0);
}

static int make_other(struct applier *a, const struct ly_entry *e, struct bld_err *err)
{
        bool device = e->type == LY_CHAR || e->type == LY_BLOCK;
        struct timespec ts[2];
        const char *name;
        struct adir *d;
        int r = apply_parent(a, e->path, true, &d, &name, err);

        if (r < 0)
                return r;
        r = create_other(a, d, name, e);
        if (r < 0 && errno == EEXIST) {
                r = replace(a, &d, name, err);
                if (r < 0)
                        return r;
                r = create_other(a, d, name, e);
        }
        if (r < 0 && device && errno == EPERM && a->o->tolerate_dev) {
                a->st.skipped_devices++;
                return 0;
        }
        if (r < 0)
                return err_sys(err, errno, "create");
        r = owner_differs(a, e) || noted_device(a, d->fd, name, e)
                    ? set_owner(a, d->fd, name, e, err)
                    : 0;
        if (r < 0)
                return r;
        if (e->type != LY_SYMLINK && mode_differs(a, e) && fchmodat(d->fd, name, e->mode, 0) < 0)
                return err_sys(err, errno, "set the mode");
        r = set_xattrs_at(a, d, name, e, err);
        if (r < 0)
                return r;
        times(e, ts);
        if (utimensat(d->fd, name, ts, AT_SYMLINK_NOFOLLOW) < 0)
                return err_sys(err, errno, "set the time");
        return apply_note_created(a, d, name, err);
}

/* The handle of the link's target folder outlives the cache's. */
static int make_link(struct applier *a, const struct ly_entry *e, struct bld_err *err)
{
        const char *name, *from;
        AUTO_FD int from_dir = -1;
        struct adir *d;
        int r = apply_parent(a, e->link, false, &d, &from, err);

        if (r < 0)
                return r;
        if (!r || str_eq(e->link, e->path))
                return err_set(err, BLD_E_CORRUPT, "hard link to \"%s\", which is not there",
                               e->link);
        from_dir = fcntl(d->fd, F_DUPFD_CLOEXEC, 0);
        if (from_dir < 0)
                return err_sys(err, errno, "duplicate a handle");
        r = apply_parent(a, e->path, true, &d, &name, err);
        if (r < 0)
                return r;
        r = sys_linkat(from_dir, from, d->fd, name, 0);
        if (r < 0 && errno == EEXIST) {
                r = replace(a, &d, name, err);
                if (r < 0)
                        return r;
                r = sys_linkat(from_dir, from, d->fd, name, 0);
        }
        if (r < 0 && (errno == ENOENT || errno == EPERM))
                return err_set(err, BLD_E_CORRUPT, "hard link to \"%s\", which is %s", e->link,
                               errno == ENOENT ? "not there" : "no file");
        if (r < 0)
                return err_sys(err, errno, "link to \"%s\"", e->link);
        return apply_note_created(a, d, name, err);
}

static int apply_entry(struct applier *a, const struct ly_entry *e, struct bld_err *err)
{
        switch (e->type) {
        case LY_FILE:
                return make_file(a, e, err);
        case LY_DIR:
                return make_dir(a, e, err);
        case LY_HARDLINK:
                return make_link(a, e, err);
        case LY_SYMLINK:
        case LY_CHAR:
        case LY_BLOCK:
        case LY_FIFO:
                return make_other(a, e, err);
        case LY_WHITEOUT:
        case LY_OPAQUE:
                return apply_whiteout(a, e, err);
        }
        return err_set(err, BLD_E_BUG, "unknown entry type");
}

/* With note_modes: ours to read and change, and no more than that. */
static unsigned mode_here(const struct applier *a, const struct ly_entry *e)
{
        if (!a->o->note_modes || e->type == LY_SYMLINK)
                return e->mode;
        return (e->mode & 0777) | (e->type == LY_DIR ? 0700 : e->type == LY_FIFO ? 0 : 0600);
}

/* The umask cannot be asked for without changing it, which would touch the whole process. */
static unsigned read_umask(void)
{
        AUTO_SB struct sb b = SB_INIT(64u << 10);
        const char *p;

        if (file_read(AT_FDCWD, "/proc/self/status", &b, NULL) < 0)
                return 0777;
        p = strstr(sb_text(&b), "\nUmask:");
        return p ? (unsigned)strtoul(p + 7, NULL, 8) & 0777 : 0777;
}

static int set_up(struct applier *a, struct bld_err *err)
{
        struct stat st;

        if (fstat(a->root, &st) < 0)
                return err_sys(err, errno, "stat the root of a tree");
        a->umask = read_umask();
        a->chown_always = (st.st_mode & S_ISGID) != 0;
        /* A default ACL takes the umask's place and changes modes in its own way. O_PATH handles
         * cannot be asked: then the worst is assumed. */
        a->chmod_always = a->chown_always ||
                          fgetxattr(a->root, "system.posix_acl_default", NULL, 0) >= 0 ||
                          (errno != ENODATA && errno != ENOTSUP);
        a->euid = geteuid();
        a->egid = getegid();
        return 0;
}

static int run(struct applier *a, struct bld_err *err)
{
        const struct ly_entry *e;
        struct stat st;
        int r;

        while ((r = ly_reader_next(a->r, &e, err)) == 1) {
                struct ly_entry here = *e; /* borrows */

                a->st.entries++;
                a->meant = e->mode;
                here.mode = mode_here(a, e);
                r = apply_entry(a, &here, err);
                if (r < 0)
                        return err_wrap(err, r, "unpack \"%s\"", e->path);
        }
        if (r == 0)
                r = finish_dirs(a, err);
        if (r == 0 && !map_get(&a->pending, "") && fstat(a->root, &st) == 0)
                a->st.disk_bytes += (uint64_t)st.st_blocks * 512;
        return r;
}

static void tear_down(struct applier *a)
{
        apply_dirs_done(a);
        map_done(&a->pending);
        map_done(&a->created);
        ly_reader_free(a->r);
}

int ly_apply(const struct ly_source *tar, int root_fd, const struct ly_apply_opts *o,
             struct ly_apply_stats *ret, struct bld_err *err)
{
        struct applier a = {.root = root_fd, .o = o};
        int r;

        map_init(&a.created, NULL);
        map_init(&a.pending, free);
        r = set_up(&a, err);
        if (!r)
                r = ly_reader_new(tar, &o->limits, &a.r, err);
        if (!r)
                r = run(&a, err);
        if (!r && ret)
                *ret = a.st;
        tear_down(&a);
        return r;
}
