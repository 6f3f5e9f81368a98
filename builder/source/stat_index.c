/* The stat index: which files of a context are as they were when they were last hashed. One file
 * per context under index/, read whole, written atomically, never synced.
 *
 * An entry is trusted when the stat matches and the file had come to rest before it was read: one
 * modified within the clock's resolution of that moment could have been modified again with the
 * same stamps ("racily clean"), so it never gets in. The same is asked of the moment the index was
 * written, by the index file's own mtime, for clocks of file servers that differ from ours.
 *
 * Files come and go: an entry that was of no use for KEEP_DAYS is left out when the index is
 * written again. A build in which nothing changed writes it only when that keeps entries from
 * ageing. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/map.h"
#include "base/num.h"
#include "builder/source/fs_priv.h"

#define INDEX_MAGIC 0x3178646974736c62ULL /* "blstidx1" */
#define NS_PER_DAY 86400000000000
#define RACY_NS 20000000 /* two ticks at 100 Hz */
#define INDEX_ENTRIES_MAX (4u << 20)
#define KEEP_DAYS 30 /* what no build looked up for so long goes when the index is written */

struct entry {
        uint64_t path_hash; /* of the path; two paths of one hash: the later wins, both rehash */
        uint64_t dev, ino, size;
        int64_t mtime_ns, ctime_ns;
        uint32_t mode, uid, gid;
        uint32_t used; /* day since 1970 when it was last of use; 0: before that was noted */
        unsigned char sha256[32];
};

struct header {
        uint64_t magic, count, checksum, pad;
};

struct stat_index {
        char name[80];
        void *map;
        size_t map_len;
        const struct entry *old; /* sorted by path_hash */
        size_t nold;
        int64_t written_ns; /* mtime of the index file */
        uint32_t today;
        pthread_mutex_t lock; /* guards the members below */
        bool *hit;            /* of old, each: it was of use */
        bool stale_days;      /* one of use would be dropped before long, if that were not noted */
        struct {
                struct entry *v;
                size_t n, cap;
        } fresh;
        uint64_t hits;
};

static int index_name(const char *context, char out[80])
{
        struct digest d;
        char hex[DIGEST_HEX_MAX];

        digest_of(context, strlen(context), &d);
        digest_hex(&d, hex);
        return snprintf(out, 80, "ctx-%.40s", hex);
}

/* Damaged or foreign content is no index at all. */
static void adopt(struct stat_index *x, int fd)
{
        const struct header *h;
        struct stat st;
        void *p;

        if (fstat(fd, &st) < 0 || (size_t)st.st_size < sizeof(*h))
                return;
        p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED)
                return;
        x->map = p;
        x->map_len = (size_t)st.st_size;
        h = p;
        if (h->magic != INDEX_MAGIC || h->count > INDEX_ENTRIES_MAX ||
            x->map_len != sizeof(*h) + h->count * sizeof(struct entry) ||
            hash64(h + 1, x->map_len - sizeof(*h)) != h->checksum)
                return;
        x->hit = mem_zalloc(h->count + 1, sizeof(*x->hit));
        if (!x->hit)
                return;
        x->old = (const struct entry *)(const void *)(h + 1);
        x->nold = h->count;
        x->written_ns = timespec_ns(st.st_mtim);
}

int stat_index_open(struct cas *c, const char *name, struct stat_index **ret, struct bld_err *err)
{
        struct stat_index *x = mem_zalloc(1, sizeof(*x));
        AUTO_FD int fd = -1;
        int r;

        if (!x)
                return err_nomem(err, "stat index");
        (void)pthread_mutex_init(&x->lock, NULL);
        (void)index_name(name, x->name);
        x->today = (uint32_t)(time_now_ns() / NS_PER_DAY);
        r = cas_index_open(c, x->name, &fd, err);
        if (r < 0) {
                stat_index_free(x);
                return r;
        }
        if (r == 1)
                adopt(x, fd);
        *ret = x;
        return 0;
}

void stat_index_free(struct stat_index *x)
{
        if (!x)
                return;
        if (x->map)
                (void)munmap(x->map, x->map_len);
        free(x->fresh.v);
        free(x->hit);
        (void)pthread_mutex_destroy(&x->lock);
        free(x);
}

static const struct entry *find(const struct stat_index *x, uint64_t hash)
{
        size_t lo = 0, hi = x->nold;

        while (lo < hi) {
                size_t mid = (lo + hi) / 2;

                if (x->old[mid].path_hash < hash)
                        lo = mid + 1;
                else
                        hi = mid;
        }
        return lo < x->nold && x->old[lo].path_hash == hash ? &x->old[lo] : NULL;
}

static bool at_rest(const struct stat_key *k, int64_t when_ns)
{
        return k->mtime_ns < when_ns - RACY_NS && k->ctime_ns < when_ns - RACY_NS;
}

static bool same(const struct entry *e, const struct stat_key *k)
{
        return e->dev == k->dev && e->ino == k->ino && e->size == k->size &&
               e->mtime_ns == k->mtime_ns && e->ctime_ns == k->ctime_ns && e->mode == k->mode &&
               e->uid == k->uid && e->gid == k->gid;
}

bool stat_index_get(struct stat_index *x, const char *path, size_t len, const struct stat_key *k,
                    struct digest *ret)
{
        const struct entry *e = find(x, hash64(path, len));

        if (!e || !same(e, k) || !at_rest(k, x->written_ns))
                return false;
        memset(ret, 0, sizeof(*ret));
        ret->algo = DIGEST_SHA256;
        memcpy(ret->b, e->sha256, sizeof(e->sha256));
        (void)pthread_mutex_lock(&x->lock);
        x->hits++;
        x->hit[e - x->old] = true;
        x->stale_days |= e->used + KEEP_DAYS / 2 < x->today;
        (void)pthread_mutex_unlock(&x->lock);
        return true;
}

int stat_index_put(struct stat_index *x, const char *path, size_t len, const struct stat_key *k,
                   int64_t read_ns, const struct digest *d)
{
        struct entry e = {.path_hash = hash64(path, len),
                          .dev = k->dev,
                          .ino = k->ino,
                          .size = k->size,
                          .mtime_ns = k->mtime_ns,
                          .ctime_ns = k->ctime_ns,
                          .mode = k->mode,
                          .uid = k->uid,
                          .gid = k->gid,
                          .used = x->today};
        void *v;
        int r = 0;

        if (!at_rest(k, read_ns))
                return 0;
        memcpy(e.sha256, d->b, sizeof(e.sha256));
        (void)pthread_mutex_lock(&x->lock);
        v = x->fresh.v;
        if (x->fresh.n == x->fresh.cap && !vec_grow(&v, &x->fresh.cap, x->fresh.n + 1, sizeof(e)))
                r = BLD_E_NOMEM;
        x->fresh.v = v;
        if (r == 0)
                x->fresh.v[x->fresh.n++] = e;
        (void)pthread_mutex_unlock(&x->lock);
        return r;
}

static int cmp_entries(const void *a, const void *b)
{
        const struct entry *x = a, *y = b;

        return (x->path_hash > y->path_hash) - (x->path_hash < y->path_hash);
}

/* An old entry as it goes on: false when nobody has asked for it in a long time. */
static bool carry(const struct stat_index *x, size_t i, struct entry *out)
{
        *out = x->old[i];
        if (x->hit[i] || out->used == 0 || out->used > x->today)
                out->used = x->today;
        return out->used + KEEP_DAYS >= x->today;
}

void stat_index_save(struct stat_index *x, struct cas *c)
{
        AUTO_FREE char *buf = NULL;
        struct header *h;
        struct entry *out;
        size_t n = 0, i = 0, j = 0, total = x->fresh.n + x->nold;

        if ((x->fresh.n == 0 && !x->stale_days) || total > INDEX_ENTRIES_MAX)
                return;
        buf = mem_zalloc(1, sizeof(*h) + total * sizeof(*out));
        if (!buf)
                return;
        h = (struct header *)(void *)buf;
        out = (struct entry *)(void *)(h + 1);
        if (x->fresh.n)
                qsort(x->fresh.v, x->fresh.n, sizeof(*x->fresh.v), cmp_entries);
        while (i < x->fresh.n || j < x->nold) {
                bool take_new = j == x->nold ||
                                (i < x->fresh.n && x->fresh.v[i].path_hash <= x->old[j].path_hash);
                struct entry e;

                if (take_new)
                        e = x->fresh.v[i++];
                else if (!carry(x, j++, &e))
                        continue;
                if (n == 0 || out[n - 1].path_hash != e.path_hash)
                        out[n++] = e;
        }
        h->magic = INDEX_MAGIC;
        h->count = n;
        h->checksum = hash64(out, n * sizeof(*out));
        /* A cache: the next build hashes again what could not be written. */
        (void)!cas_index_put(c, x->name, buf, sizeof(*h) + n * sizeof(*out), NULL);
}

uint64_t stat_index_hits(const struct stat_index *x)
{
        return x->hits;
}
