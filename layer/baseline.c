#include "layer/baseline_priv.h"

#include <errno.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"

#define MAGIC "bldbase1"
#define SAVED_MAX ((size_t)4 << 30)
#define HEAD 16 /* magic, digest of the rest */

/* One entry on disk; its path with the final NUL follows. Host byte order: the file never leaves
 * the machine. */
struct fixed {
        uint64_t ino, size, digest, cap;
        int64_t mtime_ns, ctime_ns;
        uint32_t mode, uid, gid, maj, min, path_len;
};

struct baseline {
        struct sb text;
        struct base_rec *v;
        size_t n;
        struct map by_path;
        struct map dirs; /* folder -> struct strv of its names */
};

static void names_free(void *p)
{
        strv_done(p);
        free(p);
}

void base_free(struct baseline *b)
{
        if (!b)
                return;
        map_done(&b->by_path);
        map_done(&b->dirs);
        sb_done(&b->text);
        free(b->v);
        free(b);
}

static struct timespec spec(int64_t ns)
{
        int64_t sec = ns / 1000000000, rest = ns % 1000000000;

        if (rest < 0) {
                rest += 1000000000;
                sec--;
        }
        return (struct timespec){.tv_sec = (time_t)sec, .tv_nsec = (long)rest};
}

static int64_t ns_of(struct timespec t)
{
        return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int add_name(struct baseline *b, const char *path)
{
        const char *slash = strrchr(path, '/');
        AUTO_FREE char *dir = mem_strndup(path, slash ? (size_t)(slash - path) : 0);
        struct strv *names = dir ? map_get(&b->dirs, dir) : NULL;

        if (!dir)
                return BLD_E_NOMEM;
        if (!names) {
                names = mem_zalloc(1, sizeof(*names));
                if (!names || map_set(&b->dirs, dir, names) < 0) {
                        free(names);
                        return BLD_E_NOMEM;
                }
        }
        return strv_add(names, slash ? slash + 1 : path);
}

static int index_all(struct baseline *b)
{
        for (size_t i = 0; i < b->n; i++)
                if (map_set(&b->by_path, b->v[i].path, &b->v[i]) < 0 ||
                    add_name(b, b->v[i].path) < 0)
                        return BLD_E_NOMEM;
        return 0;
}

/* 1 an entry, 0 the end, -1 damaged. */
static int next(const struct baseline *b, size_t *at, struct base_rec *ret)
{
        struct fixed f;

        if (*at == b->text.len)
                return 0;
        if (b->text.len - *at < sizeof(f))
                return -1;
        memcpy(&f, b->text.buf + *at, sizeof(f));
        *at += sizeof(f);
        if (f.path_len == 0 || f.path_len > b->text.len - *at ||
            b->text.buf[*at + f.path_len - 1] != '\0')
                return -1;
        *ret = (struct base_rec){.path = b->text.buf + *at, .digest = f.digest, .cap = f.cap};
        ret->st.st_ino = f.ino;
        ret->st.st_size = (off_t)f.size;
        ret->st.st_mtim = spec(f.mtime_ns);
        ret->st.st_ctim = spec(f.ctime_ns);
        ret->st.st_mode = f.mode;
        ret->st.st_uid = f.uid;
        ret->st.st_gid = f.gid;
        ret->st.st_rdev = makedev(f.maj, f.min);
        *at += f.path_len;
        return 1;
}

static int read_entries(struct baseline *b, struct bld_err *err)
{
        size_t at = HEAD, cap = 0;
        struct base_rec rec;
        uint64_t sum = 0;
        int r;

        if (b->text.len >= HEAD)
                memcpy(&sum, b->text.buf + 8, sizeof(sum));
        if (b->text.len < HEAD || memcmp(b->text.buf, MAGIC, 8) != 0 ||
            sum != hash64(b->text.buf + HEAD, b->text.len - HEAD))
                return err_set(err, BLD_E_CORRUPT, "the record of a tree is damaged");
        while ((r = next(b, &at, &rec)) == 1) {
                void *v = b->v;
                if (b->n == cap && !vec_grow(&v, &cap, b->n + 1, sizeof(rec)))
                        return err_nomem(err, "record of a tree");
                b->v = v;
                b->v[b->n++] = rec;
        }
        if (r < 0)
                return err_set(err, BLD_E_CORRUPT, "the record of a tree is cut short");
        return index_all(b) < 0 ? err_nomem(err, "record of a tree") : 0;
}

int base_load(int fd, struct baseline **ret, struct bld_err *err)
{
        struct baseline *b = mem_zalloc(1, sizeof(*b));
        int r;

        if (!b)
                return err_nomem(err, "record of a tree");
        sb_init(&b->text, SAVED_MAX);
        map_init(&b->by_path, NULL);
        map_init(&b->dirs, names_free);
        r = lseek(fd, 0, SEEK_SET) < 0 ? err_sys(err, errno, "read the record of a tree")
                                       : fd_read_all(fd, &b->text, "the record of a tree", err);
        if (r == 0)
                r = read_entries(b, err);
        if (r < 0)
                base_free(b);
        else
                *ret = b;
        return r;
}

const struct base_rec *base_get(const struct baseline *b, const char *path)
{
        return map_get(&b->by_path, path);
}

int base_names(const struct baseline *b, const char *dir, struct strv *ret)
{
        const struct strv *names = map_get(&b->dirs, dir);

        if (names && strv_copy(ret, names) < 0)
                return BLD_E_NOMEM;
        strv_sort(ret);
        return 0;
}

bool base_same(const struct base_rec *r, const struct stat *st)
{
        return r->st.st_ino == st->st_ino && r->st.st_size == st->st_size &&
               r->st.st_mode == st->st_mode && r->st.st_uid == st->st_uid &&
               r->st.st_gid == st->st_gid && ns_of(r->st.st_ctim) == ns_of(st->st_ctim) &&
               ns_of(r->st.st_mtim) == ns_of(st->st_mtim);
}

void base_add(struct sb *out, const char *path, const struct stat *st, uint64_t digest,
              uint64_t cap)
{
        const struct fixed f = {.ino = st->st_ino,
                                .size = (uint64_t)st->st_size,
                                .digest = digest,
                                .cap = cap,
                                .mtime_ns = ns_of(st->st_mtim),
                                .ctime_ns = ns_of(st->st_ctim),
                                .mode = st->st_mode,
                                .uid = st->st_uid,
                                .gid = st->st_gid,
                                .maj = major(st->st_rdev),
                                .min = minor(st->st_rdev),
                                .path_len = (uint32_t)strlen(path) + 1};

        sb_add(out, &f, sizeof(f));
        sb_add(out, path, f.path_len);
}

int base_save(const struct sb *entries, int fd, struct bld_err *err)
{
        uint64_t sum = hash64(entries->buf ? entries->buf : "", entries->len);
        char head[HEAD];
        int r = sb_check(entries, "the record of a tree", err);

        memcpy(head, MAGIC, 8);
        memcpy(head + 8, &sum, sizeof(sum));
        if (r == 0)
                r = fd_write_all(fd, head, sizeof(head), err);
        return r == 0 && entries->len ? fd_write_all(fd, entries->buf, entries->len, err) : r;
}

uint64_t base_hash(uint64_t before, const void *p, size_t n)
{
        const uint64_t pair[2] = {before, hash64(p, n)};

        return hash64(pair, sizeof(pair));
}
