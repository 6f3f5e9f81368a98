/* Layers of the store as one tree: tables of contents, the merged view, bytes of files. */
#include "builder/image/tree_priv.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/sys.h"
#include "builder/image/move_priv.h"
#include "builder/transport.h"

#define TOC_BYTES_MAX (1u << 30)
#define TREE_THREADS 4u

/* ---- tables of contents ---- */

/* "toc-<hex>" and "sum-<hex>". */
#define INDEX_NAME_MAX (5 + DIGEST_HEX_MAX)
static void index_name(const char *kind, const struct digest *diff_id, char out[INDEX_NAME_MAX])
{
        char hex[DIGEST_HEX_MAX];

        digest_hex(diff_id, hex);
        (void)snprintf(out, INDEX_NAME_MAX, "%s-%s", kind, hex);
}

/* Give a file of the index to fn: 1 what it says is there, 0 not. What cannot be decoded (another
 * version, cut short) is not there. */
typedef int (*decode_fn)(const void *p, size_t n, void *user);
static int index_load(struct bd_ctx *c, const char *kind, const struct digest *diff_id,
                      decode_fn decode, void *user, struct bld_err *err)
{
        char name[INDEX_NAME_MAX];
        AUTO_FD int fd = -1;
        struct stat st;
        void *p;
        int r;

        index_name(kind, diff_id, name);
        r = cas_index_open(c->cas, name, &fd, err);
        if (r <= 0)
                return r;
        if (fstat(fd, &st) < 0 || st.st_size <= 0 || st.st_size > TOC_BYTES_MAX)
                return 0;
        p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED)
                return 0;
        r = decode(p, (size_t)st.st_size, user);
        (void)munmap(p, (size_t)st.st_size);
        return r == BLD_E_NOMEM ? err_nomem(err, "table of contents") : r == 0;
}

static int decode_toc(const void *p, size_t n, void *user)
{
        return ly_toc_decode(p, n, user, NULL);
}

int bd_toc_find(struct bd_ctx *c, const struct digest *diff_id, struct ly_toc **ret,
                struct bld_err *err)
{
        return index_load(c, "toc", diff_id, decode_toc, ret, err);
}

static int decode_sums(const void *p, size_t n, void *user)
{
        return ly_sums_decode(p, n, user, NULL);
}

int bd_sums_find(struct bd_ctx *c, const struct digest *diff_id, struct ly_toc *t,
                 struct bld_err *err)
{
        return index_load(c, "sum", diff_id, decode_sums, t, err);
}

static int index_store(struct bd_ctx *c, const char *kind, const struct digest *diff_id,
                       int (*encode)(const struct ly_toc *t, struct sb *out, struct bld_err *err),
                       const struct ly_toc *t, struct bld_err *err)
{
        AUTO_SB struct sb b = SB_INIT(TOC_BYTES_MAX);
        char name[INDEX_NAME_MAX];
        int r = encode(t, &b, err);

        if (r < 0)
                return r;
        index_name(kind, diff_id, name);
        return cas_index_put(c->cas, name, sb_text(&b), b.len, err);
}

int bd_toc_put(struct bd_ctx *c, const struct digest *diff_id, const struct ly_toc *t,
               struct bld_err *err)
{
        return index_store(c, "toc", diff_id, ly_toc_encode, t, err);
}

int bd_scan_put(struct bd_ctx *c, const struct digest *diff_id, const struct ly_toc *t,
                struct bld_err *err)
{
        int r = bd_toc_put(c, diff_id, t, err);

        return r < 0 || !t->sums ? r : index_store(c, "sum", diff_id, ly_sums_encode, t, err);
}

ssize_t bd_blob_source_read(void *user, void *p, size_t n, struct bld_err *err)
{
        struct bd_blob_source *b = user;
        ssize_t k;
        int r = cancel_check(b->cancel, err);

        if (r < 0)
                return r;
        k = sys_read(b->fd, p, n);
        return k < 0 ? err_sys(err, errno, "read a layer") : k;
}

static int read_toc(struct bd_ctx *c, const struct bd_layer *l, struct ly_toc **ret,
                    struct bld_err *err)
{
        AUTO(ly_toc_free_p) struct ly_toc *toc = NULL;
        AUTO_FD int fd = -1;
        struct bd_blob_source b = {.cancel = c->cancel};
        struct ly_source src = {.read = bd_blob_source_read, .user = &b};
        struct digest diff_id;
        char text[24];
        int r = bd_fetch_blob(c, &l->source, &l->desc, NULL, NULL, err);

        if (r == 0)
                r = cas_blob_open(c->cas, &l->desc.digest, &fd, err);
        if (r < 0)
                return r;
        b.fd = fd;
        bd_short(&l->desc.digest, text);
        r = ly_unpack_stream(&src, NULL, NULL, &diff_id, NULL, &toc, err);
        if (r < 0)
                return err_wrap(err, r, "layer %s", text);
        if (!digest_eq(&diff_id, &l->diff_id)) {
                char want[DIGEST_STR_MAX], have[DIGEST_STR_MAX];

                digest_format(&l->diff_id, want);
                digest_format(&diff_id, have);
                r = err_set(err, BLD_E_CORRUPT, "layer %s is not what its image says", text);
                return err_why(err, r, "its content hashes to %s, the config has %s", have, want);
        }
        toc->blob = l->desc.digest;
        r = bd_toc_put(c, &diff_id, toc, err);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(&toc);
        return 0;
}

/* A blob that is damaged in the store, and came from a registry, is fetched again. */
static int toc_make(struct bd_ctx *c, const struct bd_layer *l, struct ly_toc **ret,
                    struct bld_err *err)
{
        uint64_t size;
        int r = read_toc(c, l, ret, err);

        if (r != BLD_E_CORRUPT)
                return r;
        r = bd_blame_blob(c, &l->desc.digest, r, err);
        if (!l->source.domain || cas_blob_stat(c->cas, &l->desc.digest, &size, NULL) != 0)
                return r;
        err_clear(err);
        return read_toc(c, l, ret, err);
}

int bd_toc_get(struct bd_ctx *c, const struct bd_layer *l, struct ly_toc **ret, struct bld_err *err)
{
        int r = bd_toc_find(c, &l->diff_id, ret, err);

        return r == 0 ? toc_make(c, l, ret, err) : MIN(r, 0);
}

/* ---- a chain ---- */

/* What is open of one layer; the blob only once bytes of it are wanted. */
struct tree_layer {
        struct digest diff_id;
        struct ly_toc *toc;
        struct ly_toc plain; /* borrows from toc: without restart points of another blob */
        int fd;
        struct ly_blob_reader *reader;
};

struct bd_tree {
        struct bd_ctx *c;
        const struct bd_layers *layers; /* NULL while nobody uses it */
        struct tree_layer *l;
        size_t n, cap;
        size_t entries; /* of all tables */
        struct ly_view *view;
        bool whole; /* the view shows all n layers */
};

static void close_blobs(struct bd_tree *t)
{
        for (size_t i = 0; i < t->n; i++) {
                ly_blob_reader_free(t->l[i].reader);
                t->l[i].reader = NULL;
                fd_close(&t->l[i].fd);
        }
}

static void tree_free(struct bd_tree *t)
{
        if (!t)
                return;
        close_blobs(t);
        ly_view_free(t->view);
        for (size_t i = 0; i < t->n; i++)
                ly_toc_free(t->l[i].toc);
        free(t->l);
        free(t);
}

static int tree_new(struct bd_ctx *c, struct bd_tree **ret, struct bld_err *err)
{
        struct bd_tree *t = mem_zalloc(1, sizeof(*t));
        int r = t ? ly_view_new(NULL, 0, &t->view, err) : err_nomem(err, "tree of an image");

        if (r < 0) {
                free(t);
                return r;
        }
        t->c = c;
        t->whole = true;
        *ret = t;
        return 0;
}

/* The tables of the layers that are new, several at a time. */
struct opening {
        struct bd_tree *t;
        size_t from;
};

static int open_toc(void *user, size_t i, const atomic_bool *stop, struct bld_err *err)
{
        struct opening *o = user;
        struct bd_tree *t = o->t;

        (void)stop;
        i += o->from;
        return bd_toc_get(t->c, &t->layers->v[i], &t->l[i].toc, err);
}

/* Put the layers of t->layers that are not in the view yet on top of it. */
static int extend(struct bd_tree *t, struct bld_err *err)
{
        struct opening o = {.t = t, .from = t->n};
        void *p = t->l;
        int r;

        t->whole = false;
        if (!vec_grow(&p, &t->cap, t->layers->n, sizeof(*t->l)))
                return err_nomem(err, "tree of an image");
        t->l = p;
        for (; t->n < t->layers->n; t->n++)
                t->l[t->n] = (struct tree_layer){.diff_id = t->layers->v[t->n].diff_id, .fd = -1};
        r = bd_par_run(t->n - o.from, TREE_THREADS, open_toc, &o, err);
        for (size_t i = o.from; i < t->n && r == 0; i++) {
                t->entries += t->l[i].toc->n;
                r = ly_view_add(t->view, t->l[i].toc, err);
        }
        t->whole = r == 0;
        return r;
}

/* ---- chains that were opened ---- */

/* Steps follow one another, so the next chain is mostly the last one and a layer: it is read into
 * the view that is there. Bounded by what tables of contents cost in memory. */
#define IDLE_MAX 4u
#define IDLE_ENTRIES_MAX (1u << 20)

struct bd_trees {
        pthread_mutex_t idle_lock;      /* guards what follows */
        struct bd_tree *idle[IDLE_MAX]; /* the longest unused first */
        size_t n, entries;
};

struct bd_trees *bd_trees_new(void)
{
        struct bd_trees *x = mem_zalloc(1, sizeof(*x));

        if (x)
                (void)pthread_mutex_init(&x->idle_lock, NULL);
        return x;
}

void bd_trees_free(struct bd_trees *x)
{
        if (!x)
                return;
        for (size_t i = 0; i < x->n; i++)
                tree_free(x->idle[i]);
        (void)pthread_mutex_destroy(&x->idle_lock);
        free(x);
}

static struct bd_tree *take_at(struct bd_trees *x, size_t i)
{
        struct bd_tree *t = x->idle[i];

        x->n--;
        memmove(&x->idle[i], &x->idle[i + 1], (x->n - i) * sizeof(struct bd_tree *));
        x->entries -= t->entries;
        return t;
}

/* From the top down: chains that part do so there. */
static bool is_prefix(const struct bd_tree *t, const struct bd_layers *layers)
{
        size_t i = t->n;

        while (i > 0 && i <= layers->n &&
               digest_eq(&t->l[i - 1].diff_id, &layers->v[i - 1].diff_id))
                i--;
        return i == 0;
}

/* The tree that shows most of a chain, and nothing else; NULL when there is none. */
static struct bd_tree *trees_take(struct bd_trees *x, const struct bd_layers *layers)
{
        struct bd_tree *t = NULL;
        size_t best = IDLE_MAX;

        (void)pthread_mutex_lock(&x->idle_lock);
        for (size_t i = 0; i < x->n; i++)
                if (is_prefix(x->idle[i], layers) &&
                    (best == IDLE_MAX || x->idle[i]->n > x->idle[best]->n))
                        best = i;
        if (best < IDLE_MAX)
                t = take_at(x, best);
        (void)pthread_mutex_unlock(&x->idle_lock);
        return t;
}

static void trees_put(struct bd_trees *x, struct bd_tree *t)
{
        struct bd_tree *old[IDLE_MAX];
        size_t n = 0;

        close_blobs(t);
        t->layers = NULL;
        (void)pthread_mutex_lock(&x->idle_lock);
        while (x->n && (x->n == IDLE_MAX || x->entries + t->entries > IDLE_ENTRIES_MAX))
                old[n++] = take_at(x, 0);
        x->idle[x->n++] = t;
        x->entries += t->entries;
        (void)pthread_mutex_unlock(&x->idle_lock);
        while (n > 0)
                tree_free(old[--n]);
}

void bd_tree_free(struct bd_tree *t)
{
        if (t && t->c->trees && t->whole && t->entries <= IDLE_ENTRIES_MAX)
                trees_put(t->c->trees, t);
        else
                tree_free(t);
}

int bd_tree_open(struct bd_ctx *c, const struct bd_layers *layers, struct bd_tree **ret,
                 struct bld_err *err)
{
        AUTO(bd_tree_free_p) struct bd_tree *t = c->trees ? trees_take(c->trees, layers) : NULL;
        int r = t ? 0 : tree_new(c, &t, err);

        if (r < 0)
                return r;
        t->layers = layers;
        r = extend(t, err);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(&t);
        return 0;
}

const struct ly_view *bd_tree_view(const struct bd_tree *t)
{
        return t->view;
}

const struct ly_toc *bd_tree_toc(const struct bd_tree *t, size_t i)
{
        return t->l[i].toc;
}

static int sniff(int fd, enum ly_codec *ret, struct bld_err *err)
{
        unsigned char magic[8];
        ssize_t n = sys_pread(fd, magic, sizeof(magic), 0);

        if (n < 0)
                return err_sys(err, errno, "read a layer");
        *ret = ly_codec_sniff(magic, (size_t)n);
        return 0;
}

static int open_reader(struct bd_tree *t, unsigned layer, struct bld_err *err)
{
        struct tree_layer *x = &t->l[layer];
        const struct bd_layer *l = &t->layers->v[layer];
        int r;

        if (x->reader)
                return 0;
        if (x->fd < 0) {
                r = bd_fetch_blob(t->c, &l->source, &l->desc, NULL, NULL, err);
                if (r == 0)
                        r = cas_blob_open(t->c->cas, &l->desc.digest, &x->fd, err);
                if (r < 0)
                        return r;
        }
        /* The same diff ID under another compression: offsets in that blob mean nothing here. */
        x->plain = *x->toc;
        if (!digest_eq(&x->toc->blob, &l->desc.digest)) {
                x->plain.seeks = NULL;
                x->plain.nseeks = 0;
                x->plain.blob = l->desc.digest;
                r = sniff(x->fd, &x->plain.codec, err);
                if (r < 0)
                        return r;
        }
        return ly_blob_reader_new(x->fd, &x->plain, &x->reader, err);
}

int bd_tree_read(struct bd_tree *t, const struct ly_node *n, const struct ly_sink *out,
                 struct bld_err *err)
{
        char text[24];
        int r = cancel_check(t->c->cancel, err);

        if (r < 0)
                return r;
        if (!n->t || n->t->e.type != LY_FILE)
                return err_set(err, BLD_E_INVALID, "\"%s\" is not a regular file", n->name);
        if (n->t->e.size == 0)
                return 0;
        r = open_reader(t, n->layer, err);
        if (r == 0)
                r = ly_blob_reader_file(t->l[n->layer].reader, n->t, out, err);
        if (r == BLD_E_CORRUPT) {
                bd_short(&t->layers->v[n->layer].desc.digest, text);
                r = err_wrap(err, r, "layer %s", text);
                return bd_blame_blob(t->c, &t->layers->v[n->layer].desc.digest, r, err);
        }
        return r;
}

static int to_sb(void *user, const void *p, size_t n, struct bld_err *err)
{
        struct sb *b = user;

        sb_add(b, p, n);
        return sb_check(b, "file of an image", err);
}

int bd_tree_read_text(struct bd_tree *t, const char *path, size_t max, struct sb *out,
                      struct bld_err *err)
{
        AUTO_FREE char *resolved = NULL;
        const struct ly_node *n = NULL;
        struct ly_sink sink = {.write = to_sb, .user = out};
        int r = ly_view_resolve(t->view, path, true, &n, &resolved, err);

        if (r < 0)
                return r;
        if (!n || !n->t || n->t->e.type != LY_FILE)
                return 0;
        if (n->t->e.size > max)
                return err_set(err, BLD_E_LIMIT, "\"%s\" of the image is larger than %zu bytes",
                               path, max);
        r = bd_tree_read(t, n, &sink, err);
        return r < 0 ? r : 1;
}
