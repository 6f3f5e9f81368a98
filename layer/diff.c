/* What a step changed, out of an overlay's upper folder, straight into a tar. docs/layers.md,
 * "Reading an upper folder". */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/num.h"
#include "base/sys.h"
#include "layer/diff_priv.h"

#define COPY_BUF (256u << 10)
#define NS_PER_SEC 1000000000
#define OPEN_DEPTH 32 /* levels whose handles stay open; deeper ones are opened again */
#define TICK_NS 20000000
#define CAP_NAME "security.capability"
#define CAP_MAX 64

/* ---- entries ---- */

static char *join(const char *dir, const char *name)
{
        size_t n = strlen(dir), m = strlen(name);
        char *p = mem_alloc(n + m + 2);

        if (!p)
                return NULL;
        memcpy(p, dir, n);
        if (n)
                p[n++] = '/';
        memcpy(p + n, name, m + 1);
        return p;
}

/* All but path, link and attributes. */
static void from_stat(struct ly_entry *e, const struct stat *st, enum ly_type type)
{
        e->type = type;
        e->mode = st->st_mode & 07777;
        e->uid = st->st_uid;
        e->gid = st->st_gid;
        e->size = type == LY_FILE ? (uint64_t)st->st_size : 0;
        e->mtime_ns = timespec_ns(st->st_mtim);
        e->dev_major = major(st->st_rdev);
        e->dev_minor = minor(st->st_rdev);
}

static int emit_parents(struct differ *d, struct dlevel *l, struct bld_err *err)
{
        int r;

        if (l->emitted)
                return 0;
        r = emit_parents(d, l->up, err);
        if (r < 0)
                return r;
        l->emitted = true;
        return ly_writer_entry(d->w, &l->e, err);
}

static int emit(struct differ *d, struct dlevel *l, const struct ly_entry *e, struct bld_err *err)
{
        int r = emit_parents(d, l, err);

        return r < 0 ? r : ly_writer_entry(d->w, e, err);
}

static int emit_whiteout(struct differ *d, struct dlevel *l, const char *name, struct bld_err *err)
{
        struct ly_entry e = {.type = LY_WHITEOUT};
        int r;

        e.path = join(l->path, name);
        if (!e.path)
                return err_nomem(err, "path");
        r = emit(d, l, &e, err);
        free(e.path);
        return r;
}

/* ---- attributes ---- */

static int add_xattr(struct ly_entry *e, int fd, const char *name, struct bld_err *err)
{
        ssize_t n = fgetxattr(fd, name, NULL, 0);
        struct ly_xattr *x;
        void *v;

        if (n < 0)
                return errno == ENODATA || errno == ENOTSUP
                               ? 0
                               : err_sys(err, errno, "attribute \"%s\"", name);
        v = mem_realloc(e->xattrs, (e->nxattrs + 1) * sizeof(*x));
        if (!v)
                return err_nomem(err, "extended attributes");
        e->xattrs = v;
        x = &e->xattrs[e->nxattrs++];
        *x = (struct ly_xattr){.name = mem_strdup(name), .value = mem_alloc(MAX((size_t)n, 1))};
        if (!x->name || !x->value)
                return err_nomem(err, "extended attributes");
        n = fgetxattr(fd, name, x->value, (size_t)n);
        if (n < 0)
                return err_sys(err, errno, "attribute \"%s\"", name);
        x->len = (size_t)n;
        return 0;
}

/* A build's layers carry capabilities only, which only files have. */
static int read_xattrs(const struct differ *d, struct ly_entry *e, int fd, struct bld_err *err)
{
        AUTO_FREE char *names = NULL;
        ssize_t n;
        int r = 0;

        if (!d->o->all_xattrs)
                return e->type == LY_FILE ? add_xattr(e, fd, CAP_NAME, err) : 0;
        n = flistxattr(fd, NULL, 0);
        if (n <= 0)
                return n < 0 && errno != ENOTSUP ? err_sys(err, errno, "list attributes") : 0;
        names = mem_alloc((size_t)n);
        if (!names)
                return err_nomem(err, "extended attributes");
        n = flistxattr(fd, names, (size_t)n);
        if (n < 0)
                return err_sys(err, errno, "list attributes");
        for (const char *p = names; !r && p < names + n; p += strlen(p) + 1)
                if (ly_xattr_wanted(p, true))
                        r = add_xattr(e, fd, p, err);
        return r;
}

static bool same_caps(int a, int b)
{
        unsigned char x[CAP_MAX], y[CAP_MAX], vx[20], vy[20];
        ssize_t n = fgetxattr(a, CAP_NAME, x, sizeof(x));
        ssize_t m = fgetxattr(b, CAP_NAME, y, sizeof(y));
        bool has_x = n > 0 && ly_cap_v2(x, (size_t)n, vx);
        bool has_y = m > 0 && ly_cap_v2(y, (size_t)m, vy);

        return has_x == has_y && (!has_x || !memcmp(vx, vy, sizeof(vx)));
}

/* ---- false changes: copied up, and still what it was below ---- */

/* Whole seconds, as the layer has them, and clamped, as the layer will have them. */
static int64_t layer_time(const struct differ *d, const struct stat *st)
{
        int64_t t = st->st_mtim.tv_sec;

        return d->o->clamp && t > d->o->clamp_sec ? d->o->clamp_sec : t;
}

static bool same_attributes(const struct differ *d, const struct stat *a, const struct stat *b)
{
        return a->st_mode == b->st_mode && a->st_uid == b->st_uid && a->st_gid == b->st_gid &&
               layer_time(d, a) == layer_time(d, b);
}

static int read_block(int fd, unsigned char *p, size_t n, size_t *ret, struct bld_err *err)
{
        return fd_read_full(fd, p, n, ret, err);
}

/* 1 equal, 0 not. Both stand at their beginning; a is put back there. */
static int same_bytes(struct differ *d, int a, int b, struct bld_err *err)
{
        const size_t half = COPY_BUF / 2;
        size_t n, m;
        int r, same = 1;

        do {
                r = read_block(a, d->buf, half, &n, err);
                if (!r)
                        r = read_block(b, d->buf + half, half, &m, err);
                if (r < 0)
                        return r;
                same = n == m && !memcmp(d->buf, d->buf + half, n);
        } while (same && n == half);
        if (lseek(a, 0, SEEK_SET) < 0)
                return err_sys(err, errno, "seek");
        return same;
}

static int same_link(int a_dir, int b_dir, const char *name)
{
        char a[LY_LINK_MAX], b[LY_LINK_MAX];
        ssize_t n = readlinkat(a_dir, name, a, sizeof(a));
        ssize_t m = readlinkat(b_dir, name, b, sizeof(b));

        return n == m && n >= 0 && !memcmp(a, b, (size_t)n);
}

/* 1 the lower view has the same. fd: of the file when it is one, else -1. A second name given in
 * this step is a change: the layer must have the first name, to link to. */
static int unchanged(struct differ *d, struct dlevel *l, const struct dname *n, int fd,
                     struct bld_err *err)
{
        struct stat low;
        AUTO_FD int low_fd = -1;
        int dir, r = diff_lookup(d, l, n->name, &low, &dir, err);

        if (r <= 0)
                return r;
        if (!same_attributes(d, &n->st, &low))
                return 0;
        if (diff_scans(d)) {
                if (S_ISREG(low.st_mode) && low.st_size != n->st.st_size)
                        return 0;
                if (S_ISCHR(low.st_mode) || S_ISBLK(low.st_mode))
                        return low.st_rdev == n->st.st_rdev;
                return scan_new_name(d, &n->st) ? 0 : scan_same(d, l, n, fd, err);
        }
        if (n->st.st_nlink > 1)
                return 0;
        if (S_ISLNK(low.st_mode))
                return same_link(l->fd, dir, n->name);
        if (S_ISCHR(low.st_mode) || S_ISBLK(low.st_mode))
                return low.st_rdev == n->st.st_rdev;
        if (!S_ISREG(low.st_mode))
                return 1;
        if (low.st_size != n->st.st_size)
                return 0;
        low_fd = sys_openat(dir, n->name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC, 0);
        if (low_fd < 0)
                return err_sys(err, errno, "open \"%s\" in a lower layer", n->name);
        return same_caps(fd, low_fd) ? same_bytes(d, fd, low_fd, err) : 0;
}

/* ---- files and the like ---- */

static int copy_data(struct differ *d, int fd, uint64_t left, uint64_t *digest, struct bld_err *err)
{
        while (left) {
                ssize_t n = sys_read(fd, d->buf, (size_t)MIN(left, (uint64_t)COPY_BUF));
                int r;

                if (n < 0)
                        return err_sys(err, errno, "read");
                if (!n)
                        return err_set(err, BLD_E_SYS, "file became shorter while it was read");
                r = ly_writer_data(d->w, d->buf, (size_t)n, err);
                if (r < 0)
                        return r;
                *digest = base_hash(*digest, d->buf, (size_t)n);
                left -= (uint64_t)n;
        }
        return 0;
}

/* 1: written as a link to the inode's first name. */
static int try_hardlink(struct differ *d, struct dlevel *l, struct ly_entry *e,
                        const struct stat *st, struct bld_err *err)
{
        uint64_t key[2] = {st->st_dev, st->st_ino};
        enum ly_type type = e->type;
        char *first, *copy;
        int r;

        /* Names that were links before are files each, as where an overlay copied them up. */
        if (st->st_nlink < 2 || (d->base && !scan_new_name(d, st)))
                return 0;
        first = map_getn(&d->links, key, sizeof(key));
        if (!first) {
                copy = mem_strdup(e->path);
                if (!copy || map_setn(&d->links, key, sizeof(key), copy) < 0) {
                        free(copy);
                        return err_nomem(err, "list of hard links");
                }
                return 0;
        }
        copy = e->link;
        e->link = first;
        e->type = LY_HARDLINK;
        r = emit(d, l, e, err);
        e->link = copy;
        e->type = type;
        return r < 0 ? r : 1;
}

static bool type_of(mode_t mode, enum ly_type *ret)
{
        switch (mode & S_IFMT) {
        case S_IFREG:
                *ret = LY_FILE;
                return true;
        case S_IFLNK:
                *ret = LY_SYMLINK;
                return true;
        case S_IFIFO:
                *ret = LY_FIFO;
                return true;
        case S_IFCHR:
                *ret = LY_CHAR;
                return true;
        case S_IFBLK:
                *ret = LY_BLOCK;
                return true;
        default:
                return false; /* sockets: a tar has none */
        }
}

static int read_link(struct dlevel *l, const char *name, char **ret, struct bld_err *err)
{
        char buf[LY_LINK_MAX];
        ssize_t n = readlinkat(l->fd, name, buf, sizeof(buf) - 1);

        if (n < 0)
                return err_sys(err, errno, "read a symbolic link");
        buf[n] = 0;
        *ret = mem_strdup(buf);
        return *ret ? 0 : err_nomem(err, "symbolic link");
}

static int write_other(struct differ *d, struct dlevel *l, const struct dname *n,
                       struct ly_entry *e, struct bld_err *err)
{
        AUTO_FD int fd = -1;
        uint64_t digest = 0;
        int r;

        if (diff_scans(d) && scan_skip(d, e->path, &n->st))
                return 0;
        if (e->type == LY_FILE) {
                fd = sys_openat(l->fd, n->name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC, 0);
                if (fd < 0)
                        return err_sys(err, errno, "open");
        }
        r = unchanged(d, l, n, fd, err);
        if (r == 1 && diff_scans(d))
                return scan_note(d, l, n, fd, NULL, err);
        if (r)
                return MIN(r, 0);
        if (e->type == LY_SYMLINK)
                r = read_link(l, n->name, &e->link, err);
        if (!r)
                r = try_hardlink(d, l, e, &n->st, err);
        if (r == 1 && diff_scans(d))
                return scan_note(d, l, n, fd, NULL, err);
        if (r)
                return MIN(r, 0);
        if (fd >= 0)
                r = read_xattrs(d, e, fd, err);
        if (!r)
                r = emit(d, l, e, err);
        if (!r && fd >= 0)
                r = copy_data(d, fd, e->size, &digest, err);
        if (!r && diff_scans(d))
                r = scan_note(d, l, n, fd, fd >= 0 ? &digest : NULL, err);
        return r;
}

static int do_other(struct differ *d, struct dlevel *l, const struct dname *n, struct bld_err *err)
{
        struct ly_entry e = {0};
        enum ly_type type;
        int r;

        if (!type_of(n->st.st_mode, &type) || diff_is_whiteout(&n->st))
                return 0;
        from_stat(&e, &n->st, type);
        e.path = join(l->path, n->name);
        if (!e.path)
                return err_nomem(err, "path");
        r = write_other(d, l, n, &e, err);
        if (r < 0)
                r = err_wrap(err, r, "pack \"%s\"", e.path);
        ly_entry_done(&e);
        return r;
}

/* ---- stubs: mount points bld made for the step ---- */

static const struct ly_stub *stub_of(const struct differ *d, const struct dlevel *l,
                                     const struct dname *n)
{
        const struct ly_stub *s = NULL;
        AUTO_FREE char *path = d->o->nstubs ? join(l->path, n->name) : NULL;

        if (path)
                s = map_get(&d->stubs, path);
        return s && s->ino == n->st.st_ino && s->is_dir == S_ISDIR(n->st.st_mode) ? s : NULL;
}

static int64_t birth_ns(int dir, const char *name)
{
        struct statx sx;

        if (statx(dir, name, AT_SYMLINK_NOFOLLOW, STATX_BTIME, &sx) < 0 ||
            !(sx.stx_mask & STATX_BTIME))
                return INT64_MAX;
        return time_ns(sx.stx_btime.tv_sec, sx.stx_btime.tv_nsec);
}

/* The making of stubs changed their folder's time. It is put back when nothing else came or went
 * there: no entry is new or gone, and the time is that of the last stub's birth. */
static int restore_time(struct differ *d, struct dlevel *l, const struct dnames *names,
                        struct bld_err *err)
{
        int64_t before = INT64_MAX, last_birth = INT64_MIN;
        struct stat low;
        int dir, r;

        for (size_t i = 0; i < names->n; i++) {
                const struct dname *n = &names->v[i];
                const struct ly_stub *s = stub_of(d, l, n);
                int64_t born;

                if (!s) {
                        r = n->whiteout ? 0 : diff_lookup(d, l, n->name, &low, &dir, err);
                        if (r <= 0)
                                return r; /* 0: it came or went in this step */
                        continue;
                }
                born = birth_ns(l->fd, n->name);
                before = MIN(before, s->parent_mtime_ns);
                last_birth = MAX(last_birth, born);
        }
        if (before == INT64_MAX)
                return 0;
        if (last_birth == INT64_MAX || l->e.mtime_ns - last_birth < TICK_NS)
                l->e.mtime_ns = before;
        return 0;
}

static int find_stubs(struct differ *d, struct dlevel *l, struct dnames *names, struct bld_err *err)
{
        if (!d->o->nstubs)
                return 0;
        for (size_t i = 0; i < names->n; i++) {
                struct dname *n = &names->v[i];
                const struct ly_stub *s = stub_of(d, l, n);

                n->dropped = s && !s->is_dir && (s->filled || !n->st.st_size);
        }
        return restore_time(d, l, names, err);
}

/* ---- folders ---- */

static int do_level(struct differ *d, struct dlevel *l, const struct stat *st, bool keep, bool stub,
                    struct bld_err *err);

/* Marks of an overlay on the folder itself. */
static void read_marks(const struct differ *d, struct dlevel *l)
{
        char name[64], v = 0;

        if (d->o->form == LY_TREE_PLAIN ||
            fgetxattr(l->fd, diff_xattr(d, "opaque", name), &v, 1) != 1)
                return;
        l->opaque_y = v == 'y';
        l->x_whiteouts = v == 'x';
        l->hides |= l->opaque_y;
}

static bool is_x_whiteout(const struct differ *d, const struct dlevel *l, const struct dname *n)
{
        AUTO_FD int fd = -1;
        char name[64];

        if (!l->x_whiteouts || !S_ISREG(n->st.st_mode) || n->st.st_size)
                return false;
        fd = sys_openat(l->fd, n->name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC, 0);
        return fd >= 0 && fgetxattr(fd, diff_xattr(d, "whiteout", name), NULL, 0) >= 0;
}

/* As du(1): each inode once. */
static int count_blocks(struct differ *d, const struct stat *st, struct bld_err *err)
{
        uint64_t id[2] = {st->st_dev, st->st_ino};

        if (!S_ISDIR(st->st_mode) && st->st_nlink > 1) {
                if (map_getn(&d->counted, id, sizeof(id)))
                        return 0;
                if (map_setn(&d->counted, id, sizeof(id), d) < 0)
                        return err_nomem(err, "count of blocks");
        }
        d->disk_bytes += (uint64_t)st->st_blocks * 512;
        return 0;
}

static int list_upper(struct differ *d, struct dlevel *l, struct dnames *names, struct bld_err *err)
{
        int r = diff_list(d, l->fd, names, err);

        for (size_t i = 0; !r && i < names->n; i++) {
                struct dname *n = &names->v[i];

                n->whiteout = d->o->form != LY_TREE_PLAIN &&
                              (diff_is_whiteout(&n->st) || is_x_whiteout(d, l, n));
                if (d->o->disk_bytes)
                        r = count_blocks(d, &n->st, err);
        }
        return r;
}

/* Names of lower layers that are gone: told by whiteouts, or by their absence in a folder that
 * hides. */
static int do_whiteouts(struct differ *d, struct dlevel *l, const struct dnames *names,
                        struct bld_err *err)
{
        AUTO_STRV struct strv gone = {0};
        struct stat low;
        int dir, r = 0;

        if (l->hides)
                r = diff_gone(d, l, names, &gone, err);
        for (size_t i = 0; !r && !l->hides && i < names->n; i++) {
                if (!names->v[i].whiteout)
                        continue;
                r = diff_lookup(d, l, names->v[i].name, &low, &dir, err);
                if (r == 1)
                        r = strv_add(&gone, names->v[i].name) < 0 ? err_nomem(err, "whiteouts") : 0;
        }
        for (size_t i = 0; !r && i < gone.n; i++)
                r = emit_whiteout(d, l, gone.v[i], err);
        return r;
}

static int do_dir(struct differ *d, struct dlevel *l, const struct dname *n, struct bld_err *err)
{
        struct dlevel sub = {.up = l, .depth = l->depth + 1, .fd = -1, .hides = l->hides};
        const struct ly_stub *s = stub_of(d, l, n);
        int r;

        from_stat(&sub.e, &n->st, LY_DIR);
        sub.path = join(l->path, n->name);
        sub.e.path = sub.path;
        if (!sub.path)
                return err_nomem(err, "path");
        if (diff_scans(d))
                base_add(&d->now, sub.path, &n->st, 0, 0);
        if (strlen(sub.path) >= LY_PATH_MAX)
                r = err_set(err, BLD_E_LIMIT, "path of over %u bytes", LY_PATH_MAX);
        else
                r = do_level(d, &sub, &n->st, s && s->keep, s != NULL, err);
        diff_close(&sub);
        for (size_t i = 0; i < sub.e.nxattrs; i++) {
                free(sub.e.xattrs[i].name);
                free(sub.e.xattrs[i].value);
        }
        free(sub.e.xattrs);
        free(sub.path);
        return r;
}

/* Is the folder itself part of the layer, whatever is in it? Otherwise it is when something below
 * it is. */
static int dir_changed(struct differ *d, struct dlevel *l, const struct stat *st,
                       struct bld_err *err)
{
        const char *slash = strrchr(l->path, '/');
        struct stat low, now = *st;
        int dir, r = diff_lookup(d, l->up, slash ? slash + 1 : l->path, &low, &dir, err);

        if (r < 0)
                return r;
        if (!r || !S_ISDIR(low.st_mode))
                return 1;
        now.st_mtim.tv_sec = l->e.mtime_ns / NS_PER_SEC; /* maybe put back */
        return !same_attributes(d, &now, &low);
}

static int do_entries(struct differ *d, struct dlevel *l, const struct dnames *names,
                      struct bld_err *err)
{
        int r = do_whiteouts(d, l, names, err);

        for (size_t i = 0; !r && i < names->n; i++) {
                const struct dname *n = &names->v[i];

                if (n->whiteout || n->dropped)
                        continue;
                if (S_ISDIR(n->st.st_mode)) {
                        /* A hostile step nests folders without end; handles are few. */
                        if (l->up && l->depth >= OPEN_DEPTH)
                                diff_close(l);
                        r = do_dir(d, l, n, err);
                } else {
                        r = diff_open(d, l, err);
                        if (!r)
                                r = do_other(d, l, n, err);
                }
        }
        return r;
}

static int do_level(struct differ *d, struct dlevel *l, const struct stat *st, bool keep, bool stub,
                    struct bld_err *err)
{
        struct dnames names = {0};
        int r = diff_open(d, l, err);

        if (!r) {
                read_marks(d, l);
                r = list_upper(d, l, &names, err);
        }
        if (!r)
                r = find_stubs(d, l, &names, err);
        if (!r && l->up) {
                int changed = keep ? 1 : stub ? 0 : dir_changed(d, l, st, err);

                r = MIN(changed, 0);
                if (!r && d->o->all_xattrs)
                        r = read_xattrs(d, &l->e, l->fd, err);
                if (!r && changed)
                        r = emit_parents(d, l, err);
        }
        if (!r)
                r = do_entries(d, l, &names, err);
        diff_names_done(&names);
        return r;
}

/* ---- the whole ---- */

static int set_up(struct differ *d, const struct ly_sink *tar, struct bld_err *err)
{
        struct ly_writer_opts wo = {
                .clamp = d->o->clamp, .clamp_sec = d->o->clamp_sec, .all_xattrs = d->o->all_xattrs};

        d->buf = mem_alloc(COPY_BUF);
        if (!d->buf)
                return err_nomem(err, "copy buffer");
        for (size_t i = 0; i < d->o->nstubs; i++) {
                /* The map only hands it back. */
                void *s = (void *)(uintptr_t)&d->o->stubs[i];

                if (map_set(&d->stubs, d->o->stubs[i].path, s) < 0)
                        return err_nomem(err, "mount points");
        }
        return ly_writer_new(tar, &wo, &d->w, err);
}

int ly_diff_upper(int upper_fd, const struct ly_diff_opts *o, const struct ly_sink *tar,
                  struct bld_err *err)
{
        struct differ d = {.o = o, .upper = upper_fd};
        /* The root's own entry is never written: its attributes are those of the folder bld made,
         * and no other builder writes it. */
        struct dlevel root = {.fd = -1, .emitted = true, .hides = diff_scans(&d)};
        struct stat st;
        int r;

        map_init(&d.stubs, NULL);
        map_init(&d.links, free);
        map_init(&d.counted, NULL);
        root.path = mem_strdup("");
        if (!root.path)
                r = err_nomem(err, "path");
        else if (fstat(upper_fd, &st) < 0)
                r = err_sys(err, errno, "stat an upper folder");
        else
                r = set_up(&d, tar, err);
        if (!r && diff_scans(&d))
                r = scan_begin(&d, err);
        if (!r)
                r = do_level(&d, &root, &st, false, false, err);
        if (!r)
                r = ly_writer_end(d.w, err);
        if (!r && diff_scans(&d))
                r = scan_end(&d, err);
        if (!r && o->disk_bytes)
                *o->disk_bytes = d.disk_bytes + (uint64_t)st.st_blocks * 512;
        scan_done(&d);
        diff_close(&root);
        free(root.path);
        ly_writer_free(d.w);
        map_done(&d.stubs);
        map_done(&d.links);
        map_done(&d.counted);
        free(d.buf);
        return r;
}
