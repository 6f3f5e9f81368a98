/* Space for what is in flight. Every process has one locked file tmp/<owner>.own, made when it
 * first needs something; its entries are tmp/<owner>.<n>. When the lock is free the owner is dead,
 * and whoever opens the store next removes its entries. */
#include "cas/cas_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/num.h"
#include "base/path.h"
#include "base/sys.h"

#define OWN_SUFFIX ".own"
#define ORPHAN_PREFIX "orphan."

/* ---- owning ---- */

/* Between create and lock a sweeper may take the file for a dead process's and unlink it: then the
 * lock guards nothing, and the next name is tried. */
static int make_owner(struct cas *c, struct bld_err *err)
{
        for (int i = 0; i < 100; i++) {
                AUTO_FD int fd = -1;
                char owner[CAS_OWNER_LEN + 1], name[CAS_TMP_NAME_MAX];
                struct stat st;
                int r;

                cas_random_name(owner, CAS_OWNER_LEN);
                (void)snprintf(name, sizeof(name), "%s" OWN_SUFFIX, owner);
                fd = sys_openat(c->tmp_fd, name,
                                O_RDWR | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC | O_NOFOLLOW,
                                0644);
                if (fd < 0 && errno == EEXIST)
                        continue;
                if (fd < 0)
                        return err_sys(err, errno, "create %s/tmp/%s", c->root, name);
                r = fd_lock(fd, LOCK_EX | LOCK_NB, err);
                if (r < 0)
                        return r;
                if (r == 1)
                        continue;
                if (fstat(fd, &st) < 0)
                        return err_sys(err, errno, "look at %s/tmp/%s", c->root, name);
                if (st.st_nlink == 0)
                        continue;
                memcpy(c->owner, owner, sizeof(owner));
                c->owner_fd = take_fd(&fd);
                return 0;
        }
        return err_set(err, BLD_E_SYS, "no free name in %s/tmp", c->root);
}

static int ensure_owner(struct cas *c, struct bld_err *err)
{
        int r = 0;

        (void)pthread_mutex_lock(&c->owner_lock);
        if (c->owner_fd < 0)
                r = make_owner(c, err);
        (void)pthread_mutex_unlock(&c->owner_lock);
        return r;
}

int cas_tmp_name(struct cas *c, char ret[CAS_TMP_NAME_MAX], struct bld_err *err)
{
        int r = ensure_owner(c, err);

        if (r < 0)
                return r;
        (void)snprintf(ret, CAS_TMP_NAME_MAX, "%s.%llu", c->owner,
                       (unsigned long long)atomic_fetch_add(&c->next, 1));
        return 0;
}

int cas_own_lease_add(struct cas *c, char kind, const char *what, struct bld_err *err)
{
        int r = ensure_owner(c, err);

        return r < 0 ? r : cas_lease_add(c->owner_fd, kind, what, err);
}

static int write_new(struct cas *c, const char *name, const void *p, size_t n, bool sync,
                     struct bld_err *err)
{
        AUTO_FD int fd = sys_openat(c->tmp_fd, name,
                                    O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
        int r;

        if (fd < 0)
                return err_sys(err, errno, "create %s/tmp/%s", c->root, name);
        r = fd_write_all(fd, p, n, err);
        if (r < 0)
                return err_wrap(err, r, "%s/tmp/%s", c->root, name);
        if (sync && sys_fsync(fd) < 0)
                return err_sys(err, errno, "sync %s/tmp/%s", c->root, name);
        if (close(take_fd(&fd)) < 0)
                return err_sys(err, errno, "close %s/tmp/%s", c->root, name);
        return 0;
}

int cas_tmp_write(struct cas *c, const void *p, size_t n, bool sync, char name[CAS_TMP_NAME_MAX],
                  struct bld_err *err)
{
        int r = cas_tmp_name(c, name, err);

        if (r < 0)
                return r;
        r = write_new(c, name, p, n, sync, err);
        if (r < 0)
                (void)sys_unlinkat(c->tmp_fd, name, 0);
        return r;
}

/* ---- folders ---- */

struct cas_tmp {
        struct cas *c;
        char path[8 + CAS_TMP_NAME_MAX]; /* "tmp/<name>" */
        int fd;
};

static const char *tmp_base(const struct cas_tmp *t)
{
        return t->path + strlen("tmp/");
}

int cas_tmp_new(struct cas *c, struct cas_tmp **ret, struct bld_err *err)
{
        AUTO(cas_tmp_free_p) struct cas_tmp *t = NULL;
        char name[CAS_TMP_NAME_MAX];
        int r = cas_tmp_name(c, name, err);

        if (r < 0)
                return r;
        if (sys_mkdirat(c->tmp_fd, name, 0755) < 0)
                return err_sys(err, errno, "create %s/tmp/%s", c->root, name);
        t = mem_zalloc(1, sizeof(*t));
        if (!t) {
                (void)sys_unlinkat(c->tmp_fd, name, AT_REMOVEDIR);
                return err_nomem(err, "temporary folder");
        }
        t->c = c;
        (void)snprintf(t->path, sizeof(t->path), "tmp/%s", name);
        t->fd = sys_openat(c->tmp_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
        if (t->fd < 0)
                return err_sys(err, errno, "open %s/%s", c->root, t->path);
        *ret = TAKE_PTR(&t);
        return 0;
}

const char *cas_tmp_path(const struct cas_tmp *t)
{
        return t->path;
}

int cas_tmp_dirfd(const struct cas_tmp *t)
{
        return t->fd;
}

void cas_tmp_free(struct cas_tmp *t)
{
        if (!t)
                return;
        fd_close(&t->fd);
        cas_tmp_discard(t->c, tmp_base(t));
        free(t);
}

/* One thing to be put back: "inode NUL path in the folder NUL path in the store NUL". The folder's
 * tree was a stranger's: no link in it is followed, and only what was moved there moves back. */
static void rescue_one(struct cas *c, int dir, const char *note)
{
        const struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
                                     .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
        AUTO_SB struct sb b = SB_INIT(16384);
        AUTO_FD int in = -1;
        char *from, *to, *slash;
        struct stat st;
        uint64_t ino;

        if (file_read(dir, note, &b, NULL) < 0 || b.len < 6 || b.buf[b.len - 1] != '\0')
                return;
        from = b.buf + strlen(b.buf) + 1;
        to = from < b.buf + b.len ? from + strlen(from) + 1 : from;
        if (to >= b.buf + b.len || !parse_u64(b.buf, 1, UINT64_MAX, &ino))
                return;
        slash = strrchr(from, '/');
        if (!slash)
                return;
        *slash++ = '\0';
        in = sys_openat2(dir, from, &how);
        if (in >= 0 && fstatat(in, slash, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_ino == ino)
                (void)renameat2(in, slash, c->root_fd, to, RENAME_NOREPLACE);
}

void cas_tmp_rescue(struct cas *c, const char *name)
{
        char note[32];
        AUTO_FD int dir =
                sys_openat(c->tmp_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);

        for (unsigned i = 0; dir >= 0; i++) {
                (void)snprintf(note, sizeof(note), CAS_RETURN_NOTE, i);
                if (faccessat(dir, note, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
                        return;
                rescue_one(c, dir, note);
        }
}

void cas_tmp_discard(struct cas *c, const char *name)
{
        char orphan[sizeof(ORPHAN_PREFIX) + CAS_TMP_NAME_MAX + CAS_OWNER_LEN + 1];
        char tag[CAS_OWNER_LEN + 1];

        cas_tmp_rescue(c, name);
        if (path_remove_tree(c->tmp_fd, name, NULL) == 0)
                return;
        /* files of other owners: out of the sweepers' way, for a keeper with the right map. Same
         * parent folder, so no write permission on the folder itself is needed. */
        cas_random_name(tag, CAS_OWNER_LEN);
        (void)snprintf(orphan, sizeof(orphan), ORPHAN_PREFIX "%s", tag);
        (void)sys_rename(c->tmp_fd, name, c->tmp_fd, orphan);
}

/* ---- sweeping ---- */

/* "<owner>.own" and "<owner>.<n>": is the part before the dot of our form? */
static bool has_owner_form(const char *name)
{
        for (size_t i = 0; i < CAS_OWNER_LEN; i++)
                if (!((name[i] >= 'a' && name[i] <= 'z') || (name[i] >= '0' && name[i] <= '9')))
                        return false;
        return name[CAS_OWNER_LEN] == '.';
}

bool cas_tmp_has_keeper(const char *name)
{
        return has_owner_form(name) || str_has_suffix(name, ".lock") ||
               str_has_prefix(name, ORPHAN_PREFIX);
}

static bool same_owner(const char *a, const char *b)
{
        return strncmp(a, b, CAS_OWNER_LEN + 1) == 0;
}

/* Lock a file that its owner holds while alive. The fd, or -1 when alive or gone. */
static int lock_dead(struct cas *c, const char *name)
{
        AUTO_FD int fd = sys_openat(c->tmp_fd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0);

        if (fd < 0 || fd_lock(fd, LOCK_EX | LOCK_NB, NULL) != 0)
                return -1;
        return take_fd(&fd);
}

static void sweep_owner(struct cas *c, const struct strv *names, const char *own)
{
        AUTO_FD int fd = lock_dead(c, own);

        if (fd < 0)
                return;
        for (size_t i = 0; i < names->n; i++)
                if (same_owner(names->v[i], own) && strcmp(names->v[i], own) != 0)
                        cas_tmp_discard(c, names->v[i]);
        (void)sys_unlinkat(c->tmp_fd, own, 0);
}

/* An entry whose owner file is gone: that goes last, so the owner ended without this one. */
static void sweep_stray(struct cas *c, const struct strv *names, const char *name)
{
        char own[CAS_OWNER_LEN + sizeof(OWN_SUFFIX)];

        (void)snprintf(own, sizeof(own), "%.*s" OWN_SUFFIX, CAS_OWNER_LEN, name);
        if (!strv_has(names, own) && faccessat(c->tmp_fd, own, F_OK, 0) < 0 && errno == ENOENT)
                cas_tmp_discard(c, name);
}

void cas_sweep(struct cas *c)
{
        AUTO_STRV struct strv names = {NULL, 0, 0};

        if (cas_names(c, "tmp", &names, NULL) < 0)
                return;
        for (size_t i = 0; i < names.n; i++) {
                const char *s = names.v[i];

                if (has_owner_form(s) && str_has_suffix(s, OWN_SUFFIX)) {
                        sweep_owner(c, &names, s);
                } else if (has_owner_form(s)) {
                        sweep_stray(c, &names, s);
                } else if (str_has_suffix(s, ".lock")) {
                        AUTO_FD int fd = lock_dead(c, s);

                        if (fd >= 0)
                                (void)sys_unlinkat(c->tmp_fd, s, 0);
                }
        }
}

int cas_tmp_orphans(struct cas *c, struct strv *ret, struct bld_err *err)
{
        AUTO_STRV struct strv names = {NULL, 0, 0};
        int r;

        cas_sweep(c);
        r = cas_names(c, "tmp", &names, err);
        for (size_t i = 0; r == 0 && i < names.n; i++)
                if (str_has_prefix(names.v[i], ORPHAN_PREFIX) &&
                    strv_addf(ret, "tmp/%s", names.v[i]) < 0)
                        r = err_nomem(err, "orphans");
        return r;
}
