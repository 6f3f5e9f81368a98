#include "base/owner.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/num.h"
#include "base/sb.h"

#define VERSION 1
#define TABLE_MAGIC "bldown1\n"
#define TABLE_MAX ((size_t)256 << 20)
#define ROW_LEN (16 + OWNER_LEN)

/* ---- bytes ---- */

static void put32(unsigned char *p, uint32_t v)
{
        for (int i = 0; i < 4; i++)
                p[i] = (unsigned char)(v >> (8 * i));
}

static uint32_t get32(const unsigned char *p)
{
        return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void put64(unsigned char *p, uint64_t v)
{
        put32(p, (uint32_t)v);
        put32(p + 4, (uint32_t)(v >> 32));
}

static uint64_t get64(const unsigned char *p)
{
        return get32(p) | (uint64_t)get32(p + 4) << 32;
}

/* Version, uid, gid, type, rdev major and minor, mode. */
void owner_encode(const struct owner *o, unsigned char out[OWNER_LEN])
{
        out[0] = VERSION;
        put32(out + 1, o->uid);
        put32(out + 5, o->gid);
        put32(out + 9, o->type);
        put32(out + 13, o->dev_major);
        put32(out + 17, o->dev_minor);
        put32(out + 21, o->mode);
}

bool owner_decode(const void *p, size_t n, struct owner *ret)
{
        const unsigned char *b = p;

        if (n != OWNER_LEN || b[0] != VERSION)
                return false;
        *ret = (struct owner){get32(b + 1),  get32(b + 5),  get32(b + 9),
                              get32(b + 13), get32(b + 17), get32(b + 21)};
        /* A step can write the attribute: only what we would write counts. */
        if (ret->mode && (ret->mode & ~07777u) != OWNER_MODE)
                return false;
        return ret->type == 0 || ret->type == S_IFCHR || ret->type == S_IFBLK;
}

void owner_apply(const struct owner *o, struct stat *st)
{
        st->st_uid = o->uid;
        st->st_gid = o->gid;
        if (o->mode)
                st->st_mode = (st->st_mode & S_IFMT) | (o->mode & 07777);
        if (!o->type || !S_ISREG(st->st_mode))
                return;
        st->st_mode = (st->st_mode & ~(mode_t)S_IFMT) | o->type;
        st->st_rdev = makedev(o->dev_major, o->dev_minor);
        st->st_size = 0;
}

/* ---- the attribute ---- */

static bool is_plain(const struct owner *o)
{
        return !o->uid && !o->gid && !o->type && !o->mode;
}

int owner_xattr_get(const char *path, bool follow, struct owner *ret)
{
        unsigned char b[OWNER_LEN];
        ssize_t n = follow ? getxattr(path, OWNER_XATTR, b, sizeof(b))
                           : lgetxattr(path, OWNER_XATTR, b, sizeof(b));

        return n > 0 && owner_decode(b, (size_t)n, ret);
}

int owner_xattr_set(const char *path, bool follow, const struct owner *o)
{
        unsigned char b[OWNER_LEN];
        int r;

        if (is_plain(o)) {
                r = follow ? removexattr(path, OWNER_XATTR) : lremovexattr(path, OWNER_XATTR);
                return r < 0 && errno == ENODATA ? 0 : r;
        }
        owner_encode(o, b);
        return follow ? setxattr(path, OWNER_XATTR, b, sizeof(b), 0)
                      : lsetxattr(path, OWNER_XATTR, b, sizeof(b), 0);
}

/* ---- the table ---- */

void owner_table_init(struct owner_table *t)
{
        map_init(&t->m, free);
        t->attrs = 0;
        t->beyond = false;
}

void owner_table_done(struct owner_table *t)
{
        map_done(&t->m);
}

static void key_bytes(const struct owner_key *k, unsigned char out[16])
{
        put64(out, k->ino);
        put64(out + 8, (uint64_t)k->birth_ns);
}

bool owner_table_get(const struct owner_table *t, const struct owner_key *k, struct owner *ret)
{
        unsigned char key[16];
        const struct owner *o;

        key_bytes(k, key);
        o = map_getn(&t->m, key, sizeof(key));
        if (o)
                *ret = *o;
        return o != NULL;
}

int owner_table_set(struct owner_table *t, const struct owner_key *k, const struct owner *o)
{
        struct owner *copy = mem_dup(o, sizeof(*o));
        unsigned char key[16];

        key_bytes(k, key);
        if (!copy || map_setn(&t->m, key, sizeof(key), copy) < 0) {
                free(copy);
                return BLD_E_NOMEM;
        }
        return 0;
}

bool owner_table_empty(const struct owner_table *t)
{
        return t->attrs == 0 && t->m.live == 0;
}

int owner_table_load(struct owner_table *t, int dirfd, const char *name, struct bld_err *err)
{
        AUTO_SB struct sb b = SB_INIT(TABLE_MAX);
        struct bld_err unused = BLD_ERR_INIT;
        const unsigned char *p;

        if (t->beyond && faccessat(dirfd, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
                return 0; /* there it is written only when there is something to tell */
        if (file_read(dirfd, name, &b, &unused) < 0 || b.len < 16 || (b.len - 16) % ROW_LEN ||
            memcmp(b.buf, TABLE_MAGIC, 8) != 0) {
                t->attrs++;
                return 0;
        }
        p = (const unsigned char *)b.buf;
        t->attrs += get64(p + 8);
        for (size_t at = 16; at < b.len; at += ROW_LEN) {
                const struct owner_key k = {get64(p + at), (int64_t)get64(p + at + 8)};
                struct owner o;

                if (owner_decode(p + at + 16, OWNER_LEN, &o) && owner_table_set(t, &k, &o) < 0)
                        return err_nomem(err, "table of owners");
        }
        return 0;
}

int owner_table_write(const struct owner_table *t, int fd, struct bld_err *err)
{
        AUTO_SB struct sb b = SB_INIT(TABLE_MAX);
        unsigned char head[16], row[ROW_LEN];
        int r;

        memcpy(head, TABLE_MAGIC, 8);
        put64(head + 8, t->attrs);
        sb_add(&b, head, sizeof(head));
        for (struct map_entry *e = NULL; (e = map_next(&t->m, e));) {
                memcpy(row, e->key, 16);
                owner_encode(e->value, row + 16);
                sb_add(&b, row, sizeof(row));
        }
        r = sb_check(&b, "table of owners", err);
        return r < 0 ? r : fd_write_all(fd, b.buf, b.len, err);
}

/* ---- files ---- */

int owner_key_of(int dirfd, const char *name, struct owner_key *ret)
{
        int flags = AT_SYMLINK_NOFOLLOW | (*name ? 0 : AT_EMPTY_PATH);
        struct statx sx;

        if (statx(dirfd, name, flags, STATX_INO | STATX_BTIME, &sx) < 0)
                return -1;
        ret->ino = sx.stx_ino;
        ret->birth_ns =
                sx.stx_mask & STATX_BTIME ? time_ns(sx.stx_btime.tv_sec, sx.stx_btime.tv_nsec) : 0;
        return 0;
}

static bool takes_attribute(const struct stat *st)
{
        return S_ISREG(st->st_mode) || S_ISDIR(st->st_mode);
}

/* The name by which calls that know no handles reach a file below one. */
static bool fd_name(int dirfd, const char *name, char *out, size_t size)
{
        return (size_t)snprintf(out, size, "/proc/self/fd/%d/%s", dirfd, name) < size;
}

/* ---- ids beyond the map ---- */

bool owner_may_be_noted(const struct stat *st)
{
        return st->st_uid == OWNER_BEYOND || st->st_gid == OWNER_BEYOND ||
               (S_ISREG(st->st_mode) && st->st_size == 0); /* a device */
}

void owner_beyond(struct owner *o, const struct stat *st)
{
        if (st->st_uid != OWNER_BEYOND)
                o->uid = st->st_uid;
        if (st->st_gid != OWNER_BEYOND)
                o->gid = st->st_gid;
}

int owner_tell(int dirfd, const char *name, int flags, uint32_t uid, uint32_t gid)
{
        const uint32_t keep = UINT32_MAX;

        if (fchownat(dirfd, name, uid, gid, flags) == 0)
                return 0;
        if (errno != EINVAL)
                return -1;
        if (uid != keep && fchownat(dirfd, name, uid, keep, flags) < 0 && errno == EINVAL)
                uid = OWNER_BEYOND;
        if (gid != keep && fchownat(dirfd, name, keep, gid, flags) < 0 && errno == EINVAL)
                gid = OWNER_BEYOND;
        return fchownat(dirfd, name, uid, gid, flags) < 0 ? -1 : 1;
}

/* ---- any ---- */

static int find_note(const struct owner_table *t, int dirfd, const char *name,
                     const struct stat *st, struct owner *ret)
{
        struct owner_key k;
        char path[320];

        if (takes_attribute(st))
                return fd_name(dirfd, name, path, sizeof(path)) &&
                       owner_xattr_get(path, false, ret);
        return t->m.live && owner_key_of(dirfd, name, &k) == 0 && owner_table_get(t, &k, ret);
}

int owner_find(const struct owner_table *t, int dirfd, const char *name, const struct stat *st,
               struct owner *ret)
{
        int r = t->beyond && !owner_may_be_noted(st) ? 0 : find_note(t, dirfd, name, st, ret);

        if (r > 0 && t->beyond)
                owner_beyond(ret, st);
        return r;
}

int owner_note(struct owner_table *t, int dirfd, const char *name, const struct stat *st,
               const struct owner *o)
{
        struct owner_key k;
        char path[320];

        if (takes_attribute(st)) {
                if (!fd_name(dirfd, name, path, sizeof(path))) {
                        errno = ENAMETOOLONG;
                        return -1;
                }
                t->attrs += !is_plain(o);
                return owner_xattr_set(path, false, o);
        }
        if (owner_key_of(dirfd, name, &k) < 0)
                return -1;
        if (owner_table_set(t, &k, o) < 0) {
                errno = ENOMEM;
                return -1;
        }
        return 0;
}
