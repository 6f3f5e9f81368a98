/* How much disk the store takes, counted as du(1) counts: blocks, folders too, each file with
 * several names once. */
#include "cas/cas_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/err.h"
#include "base/sys.h"

/* One fd is held per level, and an image chooses the depth. */
#define DEPTH_MAX 400

static int list_names(int fd, struct strv *ret, struct bld_err *err)
{
        DIR *d = fdopendir(fd);
        const struct dirent *e;
        int r = 0;

        if (!d) {
                r = err_sys(err, errno, "read folder");
                fd_close(&fd);
                return r;
        }
        while (r == 0 && (errno = 0, e = readdir(d)) != NULL)
                if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 &&
                    strv_add(ret, e->d_name) < 0)
                        r = err_nomem(err, "read folder");
        if (r == 0 && errno)
                r = err_sys(err, errno, "read folder");
        (void)closedir(d);
        return r;
}

int cas_names(struct cas *c, const char *dir, struct strv *ret, struct bld_err *err)
{
        int fd = sys_openat(c->root_fd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW, 0);
        bool top = strcmp(dir, ".") == 0;
        int r;

        if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
                return 0;
        if (fd < 0)
                return err_sys(err, errno, "open folder %s%s%s", c->root, top ? "" : "/",
                               top ? "" : dir);
        r = list_names(fd, ret, err);
        strv_sort(ret);
        return err_wrap(err, r, "%s/%s", c->root, dir);
}

void cas_du_init(struct cas_du *u)
{
        memset(u, 0, sizeof(*u));
        map_init(&u->seen, NULL);
}

void cas_du_done(struct cas_du *u)
{
        map_done(&u->seen);
}

static int count(struct cas_du *u, const struct stat *st, struct bld_err *err)
{
        uint64_t id[2] = {st->st_dev, st->st_ino};

        if (!S_ISDIR(st->st_mode) && st->st_nlink > 1) {
                if (map_getn(&u->seen, id, sizeof(id)))
                        return 0;
                if (map_setn(&u->seen, id, sizeof(id), u) < 0)
                        return err_nomem(err, "count disk use");
        }
        u->bytes += (uint64_t)st->st_blocks * 512;
        if (!S_ISDIR(st->st_mode))
                u->files++;
        return 0;
}

/* What vanishes while we look was not there; what may not be read is noted. */
static int add_tree(struct cas_du *u, int dirfd, const char *name, int depth, struct bld_err *err)
{
        AUTO_STRV struct strv names = {NULL, 0, 0};
        AUTO_FD int fd = -1;
        struct stat st;
        int r, list;

        if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
                if (errno == EACCES)
                        u->denied = true;
                else if (errno != ENOENT)
                        return err_sys(err, errno, "look at \"%s\"", name);
                return 0;
        }
        r = count(u, &st, err);
        if (r < 0 || !S_ISDIR(st.st_mode))
                return r;
        if (depth > DEPTH_MAX) {
                u->denied = true;
                return 0;
        }
        fd = sys_openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW, 0);
        if (fd < 0 && errno == EACCES)
                u->denied = true;
        if (fd < 0)
                return errno == EACCES || errno == ENOENT || errno == ENOTDIR
                               ? 0
                               : err_sys(err, errno, "open \"%s\"", name);
        list = fcntl(fd, F_DUPFD_CLOEXEC, 3); /* "." may be gone by now */
        if (list < 0)
                return err_sys(err, errno, "open \"%s\"", name);
        r = list_names(list, &names, err);
        for (size_t i = 0; r == 0 && i < names.n; i++)
                r = add_tree(u, fd, names.v[i], depth + 1, err);
        return r;
}

int cas_du_add(struct cas_du *u, int dirfd, const char *path, struct bld_err *err)
{
        return add_tree(u, dirfd, path, 0, err);
}

/* ---- the whole store ---- */

struct walk {
        struct cas *c;
        struct cas_du du; /* one for all: a file with several names is counted once */
        struct cas_usage *u;
};

static int add_path(struct walk *w, enum cas_space_kind kind, const char *path, struct bld_err *err)
{
        uint64_t before = w->du.bytes;
        int r = cas_du_add(&w->du, w->c->root_fd, path, err);

        w->u->bytes[kind] += w->du.bytes - before;
        return err_wrap(err, r, "%s/%s", w->c->root, path);
}

static int add_self(struct walk *w, enum cas_space_kind kind, const char *path, struct bld_err *err)
{
        struct stat st;

        if (fstatat(w->c->root_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? 0 : err_sys(err, errno, "look at %s/%s", w->c->root, path);
        w->u->bytes[kind] += (uint64_t)st.st_blocks * 512;
        return 0;
}

/* snapshots/<view>/<id>: files of mapped owners may be closed to us; then the size that was
 * recorded when the snapshot was made stands in. */
static int add_snapshot(struct walk *w, const char *view, const char *id, struct bld_err *err)
{
        uint64_t before = w->u->bytes[CAS_SPACE_SNAPSHOTS];
        struct cas_snapshot_info info;
        AUTO_FREE char *path = cas_snapshot_path(view, id);
        int r;

        if (!path)
                return err_nomem(err, "count disk use");
        w->du.denied = false;
        r = add_path(w, CAS_SPACE_SNAPSHOTS, path, err);
        if (r == 0 && w->du.denied && cas_snapshot_info(w->c, view, id, &info) == 1 &&
            info.size_bytes > w->u->bytes[CAS_SPACE_SNAPSHOTS] - before)
                w->u->bytes[CAS_SPACE_SNAPSHOTS] = before + info.size_bytes;
        return r;
}

/* Folders of two levels, <top>/<view>/<id>. */
static int add_views(struct walk *w, enum cas_space_kind kind, const char *top, struct bld_err *err)
{
        AUTO_STRV struct strv views = {NULL, 0, 0};
        int r = cas_names(w->c, top, &views, err);

        if (r == 0)
                r = add_self(w, kind, top, err);
        for (size_t i = 0; r == 0 && i < views.n; i++) {
                AUTO_STRV struct strv ids = {NULL, 0, 0};
                AUTO_FREE char *dir = NULL;

                if (asprintf(&dir, "%s/%s", top, views.v[i]) < 0) {
                        dir = NULL;
                        return err_nomem(err, "count disk use");
                }
                r = cas_names(w->c, dir, &ids, err);
                if (r == 0)
                        r = add_self(w, kind, dir, err);
                for (size_t k = 0; r == 0 && k < ids.n; k++) {
                        AUTO_FREE char *path = NULL;

                        if (!str_has_suffix(ids.v[k], ".lock"))
                                w->u->count[kind]++;
                        if (kind == CAS_SPACE_SNAPSHOTS) {
                                r = add_snapshot(w, views.v[i], ids.v[k], err);
                                continue;
                        }
                        if (asprintf(&path, "%s/%s", dir, ids.v[k]) < 0) {
                                path = NULL;
                                return err_nomem(err, "count disk use");
                        }
                        r = add_path(w, kind, path, err);
                }
        }
        return r;
}

static int add_top(struct walk *w, const char *name, struct bld_err *err)
{
        uint64_t files = w->du.files;
        int r;

        if (strcmp(name, "snapshots") == 0)
                return add_views(w, CAS_SPACE_SNAPSHOTS, name, err);
        if (strcmp(name, "mounts") == 0)
                return add_views(w, CAS_SPACE_MOUNTS, name, err);
        if (strcmp(name, "blobs") == 0) {
                r = add_path(w, CAS_SPACE_BLOBS, name, err);
                w->u->count[CAS_SPACE_BLOBS] += w->du.files - files;
                return r;
        }
        if (strcmp(name, "builds") == 0) {
                AUTO_STRV struct strv ids = {NULL, 0, 0};

                r = cas_names(w->c, name, &ids, err);
                w->u->count[CAS_SPACE_BUILDS] += ids.n;
                return r < 0 ? r : add_path(w, CAS_SPACE_BUILDS, name, err);
        }
        r = add_path(w, CAS_SPACE_OTHER, name, err);
        w->u->count[CAS_SPACE_OTHER] += w->du.files - files;
        return r;
}

int cas_usage(struct cas *c, struct cas_usage *ret, struct bld_err *err)
{
        AUTO_STRV struct strv names = {NULL, 0, 0};
        struct cas_usage u = {.total_bytes = 0};
        struct walk w = {.c = c, .u = &u};
        int r = cas_names(c, ".", &names, err);

        cas_du_init(&w.du);
        if (r == 0)
                r = add_self(&w, CAS_SPACE_OTHER, ".", err);
        for (size_t i = 0; r == 0 && i < names.n; i++)
                r = add_top(&w, names.v[i], err);
        cas_du_done(&w.du);
        if (r == 0)
                r = cas_reclaimable(c, &u.reclaimable_bytes, err);
        if (r < 0)
                return r;
        for (size_t i = 0; i < CAS_SPACE_KINDS; i++)
                u.total_bytes += u.bytes[i];
        *ret = u;
        return 0;
}

/* ---- limits ---- */

int cas_disk(struct cas *c, uint64_t *ret_size, uint64_t *ret_free, struct bld_err *err)
{
        struct statvfs fs;

        if (fstatvfs(c->root_fd, &fs) < 0)
                return err_sys(err, errno, "look at the file system of %s", c->root);
        *ret_size = (uint64_t)fs.f_blocks * fs.f_frsize;
        *ret_free = (uint64_t)fs.f_bavail * fs.f_frsize;
        return 0;
}

/* Blocks of the files in all folders of a folder; records count as one block without a look. */
static int quick_sum(struct cas *c, const char *top, uint64_t each, uint64_t *sum,
                     struct bld_err *err)
{
        AUTO_STRV struct strv dirs = {NULL, 0, 0};
        int r = cas_names(c, top, &dirs, err);

        for (size_t i = 0; r == 0 && i < dirs.n; i++) {
                AUTO_STRV struct strv names = {NULL, 0, 0};
                AUTO_FD int fd = -1;
                char dir[2 * CAS_NAME_MAX];

                (void)snprintf(dir, sizeof(dir), "%s/%.*s", top, CAS_NAME_MAX, dirs.v[i]);
                r = cas_names(c, dir, &names, err);
                if (r < 0 || each) {
                        *sum += each * names.n;
                        continue;
                }
                fd = sys_openat(c->root_fd, dir, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
                for (size_t k = 0; fd >= 0 && k < names.n; k++) {
                        struct cas_snapshot_info info;
                        struct stat st;

                        if (strcmp(top, "snapshots") == 0)
                                *sum += cas_snapshot_info(c, dirs.v[i], names.v[k], &info) == 1
                                                ? info.size_bytes
                                                : 0;
                        else if (fstatat(fd, names.v[k], &st, AT_SYMLINK_NOFOLLOW) == 0)
                                *sum += (uint64_t)st.st_blocks * 512;
                }
        }
        return r;
}

int cas_is_over(struct cas *c, uint64_t max_used_bytes, uint64_t min_free_bytes,
                struct bld_err *err)
{
        static const struct {
                const char *top;
                uint64_t each;
        } tops[] = {{"blobs", 0}, {"snapshots", 0}, {"results", 4096}};
        uint64_t size, avail, sum = 0;
        int r = cas_disk(c, &size, &avail, err);

        if (r < 0)
                return r;
        if (avail < min_free_bytes)
                return 1;
        if (max_used_bytes == 0 || size - MIN(size, avail) <= max_used_bytes)
                return 0;
        for (size_t i = 0; r == 0 && i < ARRAY_LEN(tops); i++)
                r = quick_sum(c, tops[i].top, tops[i].each, &sum, err);
        return r < 0 ? r : sum > max_used_bytes;
}
