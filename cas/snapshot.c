/* Snapshots and the small files of index/: disposable, never synced on the way. A power cut may
 * leave them torn under their right name, so each is bound to the boot it was written in: a
 * snapshot by the file `meta` beside its fs/, an index file by its name. What outlives its boot is
 * what cas_disposable_sync() has marked after a syncfs. */
#include "cas/cas_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/num.h"
#include "base/sys.h"

#define META "meta"
#define META_BLOCKS 4096 /* what the file of 48 bytes takes */
#define SYNCED "synced"
#define META_MAGIC "blds0001"
#define SYNCED_SUFFIX "@synced"

/* Written and read on one machine only, in its byte order. */
struct meta {
        char magic[8];
        unsigned char boot[CAS_BOOT_LEN];
        uint64_t size_bytes, entries;
        uint64_t sum; /* XXH3 of all before */
};

char *cas_snapshot_path(const char *view, const char *id)
{
        char *s = NULL;

        return asprintf(&s, "snapshots/%s/%s", view, id) < 0 ? NULL : s;
}

static bool valid_id(const char *id)
{
        size_t n = strlen(id);

        return n == 64 && strspn(id, "0123456789abcdef") == n;
}

static int check_names(const char *view, const char *id, struct bld_err *err)
{
        if (!cas_valid_name(view) || !valid_id(id))
                return err_set(err, BLD_E_INVALID, "\"%.100s/%.100s\" is not a snapshot's name",
                               view, id);
        return 0;
}

#define SNAP_PATH_MAX (2 * CAS_NAME_MAX + 32)

static bool read_meta(struct cas *c, const char *folder, struct meta *m, int64_t *ret_mtime_ns,
                      int *ret_fd)
{
        AUTO_FD int fd = -1;
        char path[SNAP_PATH_MAX];
        struct stat st;

        (void)snprintf(path, sizeof(path), "%s/" META, folder);
        fd = sys_openat(c->root_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0);
        if (fd < 0 || sys_read(fd, m, sizeof(*m)) != (ssize_t)sizeof(*m) || fstat(fd, &st) < 0)
                return false;
        if (memcmp(m->magic, META_MAGIC, sizeof(m->magic)) != 0 ||
            m->sum != hash64(m, offsetof(struct meta, sum)))
                return false;
        *ret_mtime_ns = timespec_ns(st.st_mtim);
        if (ret_fd)
                *ret_fd = take_fd(&fd);
        return true;
}

static bool is_trusted(struct cas *c, const char *folder, const struct meta *m)
{
        unsigned char boot[CAS_BOOT_LEN];
        char path[SNAP_PATH_MAX];

        if (cas_boot_id(c, boot) && memcmp(boot, m->boot, sizeof(boot)) == 0)
                return true;
        (void)snprintf(path, sizeof(path), "%s/" SYNCED, folder);
        return faccessat(c->root_fd, path, F_OK, 0) == 0;
}

static bool has_folder(struct cas *c, const char *folder, bool touch)
{
        AUTO_FD int fd = -1;
        struct meta m;
        int64_t mtime;

        if (!read_meta(c, folder, &m, &mtime, &fd) || !is_trusted(c, folder, &m))
                return false;
        if (touch) /* last use */
                (void)futimens(
                        fd, (struct timespec[2]){{.tv_nsec = UTIME_OMIT}, {.tv_nsec = UTIME_NOW}});
        return true;
}

int cas_snapshot_has(struct cas *c, const char *view, const char *id, struct bld_err *err)
{
        char folder[SNAP_PATH_MAX];
        int r = check_names(view, id, err);

        if (r < 0)
                return r;
        (void)snprintf(folder, sizeof(folder), "snapshots/%s/%s", view, id);
        return has_folder(c, folder, true) ? 1 : 0;
}

int cas_snapshot_info(struct cas *c, const char *view, const char *id,
                      struct cas_snapshot_info *ret)
{
        char folder[SNAP_PATH_MAX];
        struct meta m;
        int64_t mtime;

        if (check_names(view, id, NULL) < 0)
                return 0;
        (void)snprintf(folder, sizeof(folder), "snapshots/%s/%s", view, id);
        if (!read_meta(c, folder, &m, &mtime, NULL))
                return 0;
        *ret = (struct cas_snapshot_info){.size_bytes = m.size_bytes,
                                          .entries = m.entries,
                                          .last_use_ns = mtime,
                                          .trusted = is_trusted(c, folder, &m)};
        return 1;
}

/* Blocks of the folder itself and of what stands beside fs/. */
static uint64_t around(struct cas *c, const char *from)
{
        AUTO_STRV struct strv names = {NULL, 0, 0};
        AUTO_FD int dir = sys_openat(c->root_fd, from, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
        uint64_t bytes = 0;
        struct stat st;

        if (dir < 0 || cas_names(c, from, &names, NULL) < 0)
                return 0;
        if (fstat(dir, &st) == 0)
                bytes += (uint64_t)st.st_blocks * 512;
        for (size_t i = 0; i < names.n; i++)
                if (strcmp(names.v[i], "fs") != 0 &&
                    fstatat(dir, names.v[i], &st, AT_SYMLINK_NOFOLLOW) == 0)
                        bytes += (uint64_t)st.st_blocks * 512;
        return bytes;
}

static int write_meta(struct cas *c, const char *from, uint64_t size_bytes, uint64_t entries,
                      struct bld_err *err)
{
        struct meta m = {.magic = META_MAGIC, .size_bytes = size_bytes, .entries = entries};
        AUTO_FD int fd = -1;
        char path[SNAP_PATH_MAX];
        int r;

        (void)cas_boot_id(c, m.boot); /* zero when unknown, which no boot has */
        (void)snprintf(path, sizeof(path), "%s/" META, from);
        fd = sys_openat(c->root_fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
                        0644);
        if (fd < 0)
                return err_sys(err, errno, "create %s/%s", c->root, path);
        if (size_bytes)
                m.size_bytes += around(c, from) + META_BLOCKS;
        m.sum = hash64(&m, offsetof(struct meta, sum));
        r = fd_write_all(fd, &m, sizeof(m), err);
        return err_wrap(err, r, "%s/%s", c->root, path);
}

/* 0 published (or somebody else was first). An untrusted one in the way is moved to tmp. */
static int move_in(struct cas *c, const char *from, const char *to, struct bld_err *err)
{
        for (int i = 0; i < 100; i++) {
                char aside[CAS_TMP_NAME_MAX];
                int r;

                if (sys_rename(c->root_fd, from, c->root_fd, to) == 0)
                        return 0;
                if (errno != EEXIST && errno != ENOTEMPTY && errno != ENOTDIR)
                        return err_sys(err, errno, "publish %s/%s", c->root, to);
                if (has_folder(c, to, false))
                        return 0;
                r = cas_tmp_name(c, aside, err);
                if (r < 0)
                        return r;
                if (sys_rename(c->root_fd, to, c->tmp_fd, aside) < 0 && errno != ENOENT)
                        return err_sys(err, errno, "move the stale %s/%s aside", c->root, to);
                cas_tmp_discard(c, aside);
        }
        return err_set(err, BLD_E_SYS, "%s/%s cannot be replaced", c->root, to);
}

int cas_snapshot_publish(struct cas *c, const char *from, const char *view, const char *id,
                         uint64_t size_bytes, uint64_t entries, struct bld_err *err)
{
        AUTO_FD int lock = -1;
        char to[SNAP_PATH_MAX];
        int r = check_names(view, id, err);

        if (r < 0)
                return r;
        if (!str_has_prefix(from, "tmp/") || !cas_valid_name(from + strlen("tmp/")))
                return err_set(err, BLD_E_INVALID, "\"%.100s\" is not a folder in tmp/", from);
        r = write_meta(c, from, size_bytes, entries, err);
        if (r == 0)
                r = cas_store_lock(c, LOCK_SH, &lock, err);
        if (r < 0)
                return r;
        (void)snprintf(to, sizeof(to), "%s/%s", view, id);
        r = cas_own_lease_add(c, 's', to, err);
        if (r < 0)
                return r;
        (void)snprintf(to, sizeof(to), "snapshots/%s/%s", view, id);
        return move_in(c, from, to, err);
}

int cas_view_prepare(struct cas *c, const char *view, struct bld_err *err)
{
        static const char *const tops[] = {"snapshots", "mounts"};

        if (!cas_valid_name(view))
                return err_set(err, BLD_E_INVALID, "\"%.100s\" is not a view's name", view);
        for (size_t i = 0; i < ARRAY_LEN(tops); i++) {
                char path[SNAP_PATH_MAX];

                (void)snprintf(path, sizeof(path), "%s/%s", tops[i], view);
                if (sys_mkdirat(c->root_fd, path, 0755) < 0 && errno != EEXIST)
                        return err_sys(err, errno, "create %s/%s", c->root, path);
        }
        return 0;
}

/* ---- index/ ---- */

#define INDEX_PATH_MAX (CAS_NAME_MAX + 64)

/* "index/<name>@<boot>" */
static bool index_path(struct cas *c, const char *name, char out[INDEX_PATH_MAX])
{
        unsigned char boot[CAS_BOOT_LEN];
        char hex[2 * CAS_BOOT_LEN + 1];

        if (!cas_boot_id(c, boot))
                return false;
        for (size_t i = 0; i < sizeof(boot); i++)
                (void)snprintf(hex + 2 * i, 3, "%02x", boot[i]);
        (void)snprintf(out, INDEX_PATH_MAX, "index/%s@%s", name, hex);
        return true;
}

bool cas_index_trusted(struct cas *c, const char *name)
{
        char path[INDEX_PATH_MAX];

        return str_has_suffix(name, SYNCED_SUFFIX) ||
               (index_path(c, "", path) && str_has_suffix(name, path + strlen("index/")));
}

int cas_index_open(struct cas *c, const char *name, int *ret_fd, struct bld_err *err)
{
        char path[INDEX_PATH_MAX];
        int fd = -1;

        if (!cas_valid_name(name))
                return err_set(err, BLD_E_INVALID, "\"%.100s\" is not an index's name", name);
        errno = ENOENT;
        if (index_path(c, name, path))
                fd = sys_openat(c->root_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0);
        if (fd < 0 && errno == ENOENT) {
                (void)snprintf(path, sizeof(path), "index/%s" SYNCED_SUFFIX, name);
                fd = sys_openat(c->root_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0);
        }
        if (fd < 0 && errno == ENOENT)
                return 0;
        if (fd < 0)
                return err_sys(err, errno, "open %s/%s", c->root, path);
        *ret_fd = fd;
        return 1;
}

int cas_index_put(struct cas *c, const char *name, const void *p, size_t n, struct bld_err *err)
{
        char path[INDEX_PATH_MAX], tmp[CAS_TMP_NAME_MAX];
        AUTO_FD int lock = -1;
        int r;

        if (!cas_valid_name(name))
                return err_set(err, BLD_E_INVALID, "\"%.100s\" is not an index's name", name);
        if (!index_path(c, name, path))
                return 0; /* could never be trusted */
        r = cas_tmp_write(c, p, n, false, tmp, err);
        if (r < 0)
                return r;
        r = cas_store_lock(c, LOCK_SH, &lock, err); /* see cas_disposable_sync */
        if (r == 0 && sys_rename(c->tmp_fd, tmp, c->root_fd, path) < 0)
                r = err_sys(err, errno, "publish %s/%s", c->root, path);
        if (r < 0)
                (void)sys_unlinkat(c->tmp_fd, tmp, 0);
        return r;
}

/* ---- making it last ---- */

/* A file or folder as it was before the syncfs: one that was replaced since is not covered by it.
 */
struct seen {
        char *path;
        ino_t ino;
};
VEC_DEFINE(seen_list, struct seen);

static void seen_free(struct seen_list *a)
{
        for (size_t i = 0; i < a->n; i++)
                free(a->v[i].path);
        seen_list_done(a);
}

static int see(struct cas *c, struct seen_list *a, const char *dir, const char *name,
               struct bld_err *err)
{
        AUTO_FREE char *path = NULL;
        struct seen *s;
        struct stat st;

        if (asprintf(&path, "%s/%s", dir, name) < 0) {
                path = NULL;
                return err_nomem(err, dir);
        }
        if (fstatat(c->root_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return 0; /* gone */
        s = seen_list_push(a);
        if (!s)
                return err_nomem(err, dir);
        *s = (struct seen){.path = TAKE_PTR(&path), .ino = st.st_ino};
        return 0;
}

static bool still(struct cas *c, const struct seen *s)
{
        struct stat st;

        return fstatat(c->root_fd, s->path, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_ino == s->ino;
}

/* What is of this boot and not marked. */
static int see_all(struct cas *c, struct seen_list *snapshots, struct seen_list *indexes,
                   struct bld_err *err)
{
        AUTO_STRV struct strv views = {NULL, 0, 0}, files = {NULL, 0, 0};
        int r = cas_names(c, "snapshots", &views, err);

        for (size_t i = 0; r == 0 && i < views.n; i++) {
                AUTO_STRV struct strv ids = {NULL, 0, 0};
                struct cas_snapshot_info info;
                char dir[SNAP_PATH_MAX];

                if (!cas_valid_name(views.v[i]))
                        continue;
                (void)snprintf(dir, sizeof(dir), "snapshots/%s", views.v[i]);
                r = cas_names(c, dir, &ids, err);
                for (size_t k = 0; r == 0 && k < ids.n; k++)
                        if (cas_snapshot_info(c, views.v[i], ids.v[k], &info) == 1 && info.trusted)
                                r = see(c, snapshots, dir, ids.v[k], err);
        }
        if (r == 0)
                r = cas_names(c, "index", &files, err);
        for (size_t i = 0; r == 0 && i < files.n; i++)
                if (cas_index_trusted(c, files.v[i]) && !str_has_suffix(files.v[i], SYNCED_SUFFIX))
                        r = see(c, indexes, "index", files.v[i], err);
        return r;
}

int cas_disposable_sync(struct cas *c, struct bld_err *err)
{
        AUTO(seen_free) struct seen_list snapshots = {NULL, 0, 0}, indexes = {NULL, 0, 0};
        AUTO_FD int lock = -1;
        int r = see_all(c, &snapshots, &indexes, err);

        if (r < 0)
                return r;
        if (syncfs(c->root_fd) < 0)
                return err_sys(err, errno, "sync %s", c->root);
        r = cas_store_lock(c, LOCK_EX, &lock, err);
        for (size_t i = 0; r == 0 && i < snapshots.n; i++) {
                AUTO_FD int fd = -1;
                char path[SNAP_PATH_MAX];

                (void)snprintf(path, sizeof(path), "%s/" SYNCED, snapshots.v[i].path);
                if (still(c, &snapshots.v[i]))
                        fd = sys_openat(c->root_fd, path,
                                        O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
        }
        for (size_t i = 0; r == 0 && i < indexes.n; i++) {
                const char *from = indexes.v[i].path;
                char to[INDEX_PATH_MAX];

                (void)snprintf(to, sizeof(to), "%.*s" SYNCED_SUFFIX, (int)strcspn(from, "@"), from);
                if (still(c, &indexes.v[i]))
                        (void)sys_rename(c->root_fd, from, c->root_fd, to); /* else a miss later */
        }
        return r;
}
