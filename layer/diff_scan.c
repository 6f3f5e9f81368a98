/* The diff of a whole tree against the record of what it was. The rest of diff.c sees the record as
 * it sees the lower folders of an overlay. */
#include <errno.h>
#include <fcntl.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/sys.h"
#include "layer/diff_priv.h"

#define NOW_MAX ((size_t)4 << 30)
#define CAP_NAME "security.capability"
#define TICK_NS 10000000 /* of the clock that stamps changes, at most */
#define BLOCK (256u << 10)

bool diff_scans(const struct differ *d)
{
        return d->o->base_out > 0;
}

/* ---- names that came to inodes that were there ---- */

static int find_links(struct differ *d, int dir, const char *path, unsigned depth,
                      struct bld_err *err);

static int find_link(struct differ *d, int dir, const char *path, const struct dname *n,
                     unsigned depth, struct bld_err *err)
{
        AUTO_FREE char *sub = NULL;
        const struct base_rec *rec;
        uint64_t ino = n->st.st_ino;

        if (asprintf(&sub, "%s%s%s", path, *path ? "/" : "", n->name) < 0) {
                sub = NULL;
                return err_nomem(err, "path");
        }
        if (S_ISDIR(n->st.st_mode)) {
                AUTO_FD int fd = sys_openat(dir, n->name,
                                            O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
                if (fd < 0)
                        return err_sys(err, errno, "open \"%s\"", sub);
                return find_links(d, fd, sub, depth + 1, err);
        }
        if (n->st.st_nlink < 2)
                return 0;
        rec = base_get(d->base, sub);
        if (rec && rec->st.st_ino == n->st.st_ino)
                return 0;
        return map_setn(&d->linked, &ino, sizeof(ino), d) < 0 ? err_nomem(err, "links") : 0;
}

static int find_links(struct differ *d, int dir, const char *path, unsigned depth,
                      struct bld_err *err)
{
        struct dnames names = {0};
        int r;

        if (depth > 500) /* deeper than any handle count bears: then new names are not told */
                return 0;
        r = diff_list(d, dir, &names, err);
        for (size_t i = 0; i < names.n && r == 0; i++)
                r = find_link(d, dir, path, &names.v[i], depth, err);
        diff_names_done(&names);
        return r;
}

bool scan_new_name(const struct differ *d, const struct stat *st)
{
        uint64_t ino = st->st_ino;

        return st->st_nlink > 1 && map_getn(&d->linked, &ino, sizeof(ino));
}

/* ---- life ---- */

int scan_begin(struct differ *d, struct bld_err *err)
{
        int r = 0;

        sb_init(&d->now, NOW_MAX);
        map_init(&d->linked, NULL);
        if (d->o->base_in > 0)
                r = base_load(d->o->base_in, &d->base, err);
        return r == 0 && d->base ? find_links(d, d->upper, "", 0, err) : r;
}

int scan_end(struct differ *d, struct bld_err *err)
{
        const struct timespec tick = {.tv_nsec = TICK_NS};

        /* What a step changes must not get the stamp that is on record. */
        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &tick, NULL);
        return base_save(&d->now, d->o->base_out, err);
}

void scan_done(struct differ *d)
{
        base_free(d->base);
        sb_done(&d->now);
        map_done(&d->linked);
}

/* ---- look-ups ---- */

static char *path_of(const struct dlevel *l, const char *name)
{
        char *p = NULL;

        return asprintf(&p, "%s%s%s", l->path, *l->path ? "/" : "", name) < 0 ? NULL : p;
}

int scan_lookup(const struct differ *d, const struct dlevel *l, const char *name, struct stat *ret)
{
        AUTO_FREE char *path = path_of(l, name);
        const struct base_rec *rec = path && d->base ? base_get(d->base, path) : NULL;

        if (rec)
                *ret = rec->st;
        return rec != NULL;
}

int scan_gone(const struct differ *d, const struct dlevel *l, const struct dnames *names,
              struct strv *ret, struct bld_err *err)
{
        AUTO_STRV struct strv were = {0};
        size_t k = 0;

        if (!d->base)
                return 0;
        if (base_names(d->base, l->path, &were) < 0)
                return err_nomem(err, "whiteouts");
        for (size_t i = 0; i < were.n; i++) { /* both are sorted */
                while (k < names->n && strcmp(names->v[k].name, were.v[i]) < 0)
                        k++;
                if (k < names->n && str_eq(names->v[k].name, were.v[i]))
                        continue;
                if (strv_add(ret, were.v[i]) < 0)
                        return err_nomem(err, "whiteouts");
        }
        return 0;
}

/* ---- content ---- */

static uint64_t cap_of(int fd)
{
        unsigned char b[64];
        ssize_t n = fd >= 0 ? fgetxattr(fd, CAP_NAME, b, sizeof(b)) : -1;

        return n > 0 ? base_hash(1, b, (size_t)n) : 0;
}

/* By blocks of the size diff.c copies in, so that both say the same. */
static int hash_file(struct differ *d, int fd, uint64_t *ret, struct bld_err *err)
{
        size_t n;
        int r;

        *ret = 0;
        do {
                r = fd_read_full(fd, d->buf, BLOCK, &n, err);
                if (r < 0)
                        return r;
                if (n)
                        *ret = base_hash(*ret, d->buf, n);
        } while (n == BLOCK);
        return lseek(fd, 0, SEEK_SET) < 0 ? err_sys(err, errno, "seek") : 0;
}

static int content(struct differ *d, struct dlevel *l, const struct dname *n, int fd, uint64_t *ret,
                   struct bld_err *err)
{
        char target[LY_LINK_MAX];
        ssize_t len;

        *ret = 0;
        if (S_ISREG(n->st.st_mode))
                return hash_file(d, fd, ret, err);
        if (!S_ISLNK(n->st.st_mode))
                return 0;
        len = readlinkat(l->fd, n->name, target, sizeof(target));
        if (len < 0)
                return err_sys(err, errno, "read a symbolic link");
        *ret = base_hash(0, target, (size_t)len);
        return 0;
}

int scan_skip(struct differ *d, const char *path, const struct stat *st)
{
        const struct base_rec *rec = d->base ? base_get(d->base, path) : NULL;

        if (!rec || !base_same(rec, st))
                return 0;
        base_add(&d->now, path, st, rec->digest, rec->cap);
        return 1;
}

int scan_same(struct differ *d, struct dlevel *l, const struct dname *n, int fd,
              struct bld_err *err)
{
        AUTO_FREE char *path = path_of(l, n->name);
        const struct base_rec *rec = path ? base_get(d->base, path) : NULL;
        uint64_t digest;
        int r;

        if (!rec)
                return path ? 0 : err_nomem(err, "path");
        r = content(d, l, n, fd, &digest, err);
        return r < 0 ? r : digest == rec->digest && cap_of(fd) == rec->cap;
}

int scan_note(struct differ *d, struct dlevel *l, const struct dname *n, int fd,
              const uint64_t *digest, struct bld_err *err)
{
        AUTO_FREE char *path = path_of(l, n->name);
        uint64_t found = 0;
        int r = 0;

        if (!path)
                return err_nomem(err, "path");
        if (digest)
                found = *digest;
        else
                r = content(d, l, n, fd, &found, err);
        if (r == 0)
                base_add(&d->now, path, &n->st, found, cap_of(fd));
        return r;
}
