/* Contents of files of a tree: at random where the blob is at hand, else with one pass over it. */
#include <errno.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/sys.h"
#include "lib/layer_priv.h"
#include "lib/tree_priv.h"

#define READ_BUF (64u << 10)
#define SPOOL_HEAD (128u << 10)

void lib_tree_read_done(struct bld_tree *t)
{
        ly_blob_reader_free(t->reader);
        lib_blob_close(t->blob);
        t->reader = NULL;
        t->blob = NULL;
}

/* A file that is wanted. */
struct want {
        size_t layer, index; /* entry of its table */
        size_t node;
};

/* The content of a file with several names, for those after the first: a stream has it once. */
struct spool {
        unsigned char *head;
        size_t n;
        int fd; /* of what is beyond the head */
        uint64_t beyond;
};

struct reading {
        struct bld_tree *t;
        bld_tree_read_fn each;
        void *user;
        const struct bld_watch *watch;
        size_t node; /* what is being given out */
        struct spool spool;
        bool stopped; /* by the callback */
};

static int give(void *user, const void *p, size_t n, struct bld_err *err)
{
        struct reading *x = user;
        int r = lib_watch_check(x->watch, err);

        if (!r)
                r = lib_image_check(x->t->im, err);
        if (r < 0 || !n)
                return r;
        x->stopped = x->each(x->user, x->node, p, n) != 0;
        return x->stopped ? err_set(err, BLD_E_CANCELLED, "stopped by its reader") : 0;
}

static int end_file(struct reading *x, struct bld_err *err)
{
        x->stopped = x->each(x->user, x->node, NULL, 0) != 0;
        return x->stopped ? err_set(err, BLD_E_CANCELLED, "stopped by its reader") : 0;
}

/* ---- at random ---- */

/* 1 t->reader is layer's, 0 its bytes only come as a stream (t->blob is open, at its start). */
static int open_layer(struct bld_tree *t, size_t layer, struct bld_err *err)
{
        const struct lib_scan *s = t->scans[layer];
        uint64_t off, len;
        int fd, r;

        if (t->reader && t->reading == layer)
                return 1;
        lib_tree_read_done(t);
        r = lib_blob_open(s->im, s->i, &t->blob, err);
        if (r < 0)
                return r;
        r = lib_blob_part(t->blob, &fd, &off, &len);
        if (r != 1)
                return r;
        r = ly_blob_reader_new_part(fd, off, len, &s->toc, &t->reader, err);
        t->reading = layer;
        return r < 0 ? r : 1;
}

static int read_at_random(struct reading *x, const struct want *w, size_t n, struct bld_err *err)
{
        const struct ly_sink out = {.write = give, .user = x};
        int r = 0;

        for (size_t i = 0; !r && i < n; i++) {
                const struct ly_toc *toc = &x->t->scans[w[i].layer]->toc;

                x->node = w[i].node;
                r = ly_blob_reader_file(x->t->reader, &toc->v[w[i].index], &out, err);
                if (!r)
                        r = end_file(x, err);
        }
        return r;
}

/* ---- as a stream ---- */

static int spool_begin(struct spool *s, struct bld_err *err)
{
        s->n = 0;
        s->beyond = 0;
        if (!s->head)
                s->head = mem_alloc(SPOOL_HEAD);
        if (!s->head)
                return err_nomem(err, "copy buffer");
        if (s->fd >= 0 && lseek(s->fd, 0, SEEK_SET) < 0)
                return err_sys(err, errno, "rewind a temporary file");
        return 0;
}

static int spool_add(struct spool *s, const unsigned char *p, size_t n, struct bld_err *err)
{
        size_t k = MIN(n, SPOOL_HEAD - s->n);
        int r;

        memcpy(s->head + s->n, p, k);
        s->n += k;
        if (k == n)
                return 0;
        if (s->fd < 0)
                s->fd = lib_unlinked_file();
        if (s->fd < 0)
                return err_sys(err, errno, "make a temporary file");
        r = fd_write_all(s->fd, p + k, n - k, err);
        s->beyond += n - k;
        return r < 0 ? err_wrap(err, r, "keep the content of a file with several names") : 0;
}

static int replay(struct reading *x, unsigned char *buf, struct bld_err *err)
{
        const struct spool *s = &x->spool;
        int r = give(x, s->head, s->n, err);

        for (uint64_t off = 0; !r && off < s->beyond;) {
                ssize_t k =
                        sys_pread(s->fd, buf, (size_t)MIN(READ_BUF, s->beyond - off), (int64_t)off);

                if (k <= 0)
                        return err_sys(err, k < 0 ? errno : EIO, "read a temporary file");
                r = give(x, buf, (size_t)k, err);
                off += (uint64_t)k;
        }
        return r ? r : end_file(x, err);
}

/* keep: there are more names. */
static int pass_data(struct reading *x, struct ly_reader *r, unsigned char *buf, bool keep,
                     struct bld_err *err)
{
        ssize_t n;
        int res = keep ? spool_begin(&x->spool, err) : 0;

        while (!res && (n = ly_reader_data(r, buf, READ_BUF, err)) != 0) {
                if (n < 0)
                        return (int)n;
                res = keep ? spool_add(&x->spool, buf, (size_t)n, err) : 0;
                if (!res)
                        res = give(x, buf, (size_t)n, err);
        }
        return res ? res : end_file(x, err);
}

/* How many of w, n of them of one layer, are names of the first one's file? */
static size_t names(const struct want *w, size_t n)
{
        size_t k = 1;

        while (k < n && w[k].index == w->index)
                k++;
        return k;
}

static int pass(struct reading *x, struct ly_reader *r, const struct want *w, size_t n,
                struct bld_err *err)
{
        AUTO_FREE unsigned char *buf = mem_alloc(READ_BUF);
        const struct ly_toc *toc = &x->t->scans[w->layer]->toc;
        const struct ly_entry *e;
        size_t at = 0, k;
        int res;

        if (!buf)
                return err_nomem(err, "copy buffer");
        while (n && (res = ly_reader_next(r, &e, err)) != 0) {
                if (res < 0)
                        return res;
                if (at++ != w->index)
                        continue;
                if (e->type != LY_FILE || !str_eq(e->path, toc->v[w->index].e.path))
                        break;
                k = names(w, n);
                x->node = w->node;
                res = pass_data(x, r, buf, k > 1, err);
                for (size_t i = 1; !res && i < k; i++) {
                        x->node = w[i].node;
                        res = replay(x, buf, err);
                }
                if (res < 0)
                        return res;
                w += k;
                n -= k;
        }
        return n ? err_set(err, BLD_E_CORRUPT, "a layer of %s changed while it was open",
                           bld_image_name(x->t->im))
                 : 0;
}

static int read_stream(struct reading *x, const struct want *w, size_t n, struct bld_err *err)
{
        const struct lib_scan *s = x->t->scans[w->layer];
        const struct ly_limits *lim = lib_image_limits(s->im);
        AUTO(ly_pull_free_p) struct ly_pull *p = NULL;
        AUTO(ly_reader_free_p) struct ly_reader *r = NULL;
        struct ly_source blob = lib_blob_source(x->t->blob), tar;
        int res = ly_pull_new(&blob, lim, &p, err);

        if (res < 0)
                return res;
        tar = ly_pull_source(p);
        res = ly_reader_new(&tar, lim, &r, err);
        return res < 0 ? res : pass(x, r, w, n, err);
}

/* ---- several ---- */

static int read_layer(struct reading *x, const struct want *w, size_t n, struct bld_err *err)
{
        int r = open_layer(x->t, w->layer, err);

        if (r == 1) {
                r = read_at_random(x, w, n, err);
        } else if (!r) {
                r = read_stream(x, w, n, err);
                lib_tree_read_done(x->t);
        }
        return lib_image_fault(x->t->scans[w->layer]->im, r, err);
}

static int by_place(const void *a, const void *b)
{
        const struct want *x = a, *y = b;

        if (x->layer != y->layer)
                return x->layer < y->layer ? -1 : 1;
        if (x->index != y->index)
                return x->index < y->index ? -1 : 1;
        return (x->node > y->node) - (x->node < y->node);
}

static int read_all(struct reading *x, const struct want *v, size_t n, struct bld_err *err)
{
        int r = 0;

        for (size_t i = 0, end; !r && i < n; i = end) {
                for (end = i + 1; end < n && v[end].layer == v[i].layer; end++)
                        ;
                r = read_layer(x, &v[i], end - i, err);
        }
        return r;
}

static int set_want(const struct bld_tree *t, size_t i, struct want *ret, struct bld_err *err)
{
        const struct ly_node *n = i < t->flat->n ? t->flat->v[i].n : NULL;

        if (!n)
                return err_set(err, BLD_E_NOT_FOUND, "the tree has %zu entries", t->flat->n);
        if (!n->t || n->t->e.type != LY_FILE)
                return err_set(err, BLD_E_INVALID, "\"%.500s\" is not a file", t->flat->v[i].path);
        *ret = (struct want){
                .layer = n->layer, .index = (size_t)(n->t - t->tocs[n->layer]->v), .node = i};
        return 0;
}

int bld_tree_read_many(struct bld_tree *t, const size_t *v, size_t n, bld_tree_read_fn each,
                       void *user, const struct bld_watch *watch, struct bld_err *err)
{
        AUTO_FREE struct want *w = mem_zalloc(n, sizeof(*w));
        struct reading x = {
                .t = t, .each = each, .user = user, .watch = watch, .spool = {.fd = -1}};
        struct bld_err own = BLD_ERR_INIT;
        int r = lib_watch_known(watch, &own);

        if (r == 0 && !w)
                r = err_nomem(&own, "list of files");
        for (size_t i = 0; !r && i < n; i++)
                r = set_want(t, v[i], &w[i], &own);
        if (!r && n) {
                qsort(w, n, sizeof(*w), by_place);
                r = read_all(&x, w, n, &own);
        }
        free(x.spool.head);
        fd_close(&x.spool.fd);
        if (x.stopped)
                return 1;
        if (r < 0 && err)
                *err = own;
        return r;
}

struct one {
        bld_layer_write_fn write;
        void *user;
};

static int write_one(void *user, size_t i, const void *p, size_t n)
{
        const struct one *o = user;

        (void)i;
        return n ? o->write(o->user, p, n) : 0;
}

int bld_tree_read(struct bld_tree *t, size_t i, bld_layer_write_fn write, void *user,
                  struct bld_err *err)
{
        struct one o = {.write = write, .user = user};
        int r = bld_tree_read_many(t, &i, 1, write_one, &o, NULL, err);

        return r == 1 ? err_set(err, BLD_E_CANCELLED, "stopped by its reader") : r;
}
