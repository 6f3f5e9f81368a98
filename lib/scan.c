/* Layers read once: their tables of contents, and the sums of their files where they are wanted. */
#include "base/err.h"
#include "builder/transport.h"
#include "lib/layer_priv.h"
#include "lib/session_priv.h"
#include "lib/tree_priv.h"

#define SCAN_THREADS 4u

int lib_scan_new(struct bld_image *im, size_t i, struct lib_scan **ret, struct bld_err *err)
{
        struct lib_scan *s = mem_zalloc(1, sizeof(*s));

        if (!s)
                return err_nomem(err, "layer");
        s->refs = 1;
        s->im = im;
        s->i = i;
        *ret = s;
        return 0;
}

struct lib_scan *lib_scan_ref(struct lib_scan *s)
{
        s->refs++;
        return s;
}

void lib_scan_unref(struct lib_scan *s)
{
        if (!s || --s->refs)
                return;
        ly_toc_free(s->own);
        free(s->toc.sums);
        free(s);
}

int lib_scan_has_blob(struct bld_image *im, size_t i, struct bld_err *err)
{
        AUTO(lib_blob_close_p) struct lib_blob *b = NULL;
        uint64_t off, len;
        int fd, r = lib_blob_open(im, i, &b, err);

        return r < 0 ? r : lib_blob_part(b, &fd, &off, &len);
}

int lib_scan_has_toc(struct bld_image *im, size_t i, struct bld_err *err)
{
        const struct ly_toc *toc;
        int r = lib_image_toc(im, i, &toc, err);

        return r ? r : lib_scan_has_blob(im, i, err);
}

static ssize_t watched_read(void *user, void *p, size_t n, struct bld_err *err)
{
        struct lib_watched *w = user;
        int r = lib_watch_check(w->watch, err);

        return r < 0 ? r : w->in.read(w->in.user, p, n, err);
}

struct ly_source lib_watched_source(struct lib_watched *w)
{
        return (struct ly_source){.read = watched_read, .user = w};
}

/* ---- one layer ---- */

int lib_scan_is_stored(const struct lib_scan *s, struct bld_err *err)
{
        const struct lib_layer_ref *l = lib_image_layer(s->im, s->i);
        struct bld *b = lib_image_session(s->im);
        uint64_t size;

        if (!b || !l->has_digest || !l->has_diff_id)
                return 0;
        return cas_blob_stat(b->ctx.cas, &l->digest, &size, err);
}

static int other_diff_id(const struct lib_layer_ref *l, const struct digest *have,
                         struct bld_err *err)
{
        char want[DIGEST_STR_MAX], got[DIGEST_STR_MAX];

        digest_format(&l->diff_id, want);
        digest_format(have, got);
        return err_why(err,
                       err_set(err, BLD_E_CORRUPT, "layer %s is not what its image says",
                               l->info.digest ? l->info.digest : "of an image"),
                       "its content hashes to %s, the config has %s", got, want);
}

/* The bytes are this table's: the store keeps it of this very blob (or a tar, whose digest is its
 * diff ID), or the layer was read when it was opened. */
static bool is_bound(const struct lib_layer_ref *l, const struct ly_toc *t)
{
        return l->layer ||
               (l->has_digest && (digest_eq(&t->blob, &l->digest) ||
                                  (l->has_diff_id && digest_eq(&l->diff_id, &l->digest))));
}

int lib_scan_table(struct bld_image *im, size_t i, bool read, const struct ly_toc **ret,
                   struct bld_err *err)
{
        const struct ly_toc *t = NULL;
        int r = lib_image_toc(im, i, &t, err);

        if (r == 1 && !is_bound(lib_image_layer(im, i), t)) {
                r = read ? 1 : lib_scan_has_blob(im, i, err);
                r = r < 0 ? r : !r;
        }
        *ret = r == 1 ? t : NULL;
        return r;
}

static int known(struct lib_scan *s, struct bld_err *err)
{
        const struct ly_toc *t;
        int r = lib_scan_table(s->im, s->i, s->want_sums, &t, err);

        if (r == 1) {
                s->toc = *t;
                s->toc.sums = NULL;
        }
        return MIN(r, 0);
}

/* One pass over the blob. stored: the store keeps what comes of it. What is kept, or joins a table
 * that was found by diff ID, has that diff ID. */
static int read_blob(struct lib_scan *s, bool stored, const struct bld_watch *watch,
                     struct ly_toc **ret, struct bld_err *err)
{
        const struct lib_layer_ref *l = lib_image_layer(s->im, s->i);
        const struct ly_scan_opts o = {
                .limits = *lib_image_limits(s->im), .content = s->want_sums, .key = s->key};
        AUTO(lib_blob_close_p) struct lib_blob *b = NULL;
        AUTO(ly_toc_free_p) struct ly_toc *t = NULL;
        struct lib_watched w = {.watch = watch};
        struct ly_source in;
        struct digest diff_id;
        bool verify = l->has_diff_id && (stored || s->toc.v) && !(s->toc.v && is_bound(l, &s->toc));
        int r = lib_blob_open(s->im, s->i, &b, err);

        if (r < 0)
                return r;
        w.in = lib_blob_source(b);
        in = lib_watched_source(&w);
        r = ly_scan(&in, &o, &t, verify ? &diff_id : NULL, err);
        if (r < 0)
                return err_wrap(err, lib_image_fault(s->im, r, err), "layer %zu of %s",
                                l->info.number, bld_image_name(s->im));
        if (l->has_digest)
                t->blob = l->digest;
        if (verify && !digest_eq(&diff_id, &l->diff_id))
                return lib_image_fault(s->im, other_diff_id(l, &diff_id, err), err);
        if (stored)
                r = bd_scan_put(&lib_image_session(s->im)->ctx, &l->diff_id, t, err);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(&t);
        return 0;
}

static void adopt(struct lib_scan *s, struct ly_toc *t)
{
        ly_toc_free(s->own); /* a layer without entries is read each time */
        s->own = t;
        s->toc = *t;
        t->sums = NULL;
}

/* The table is in use: of a second reading only the sums are taken. */
static int adopt_sums(struct lib_scan *s, struct ly_toc *t, struct bld_err *err)
{
        int r = 0;

        if (t->n != s->toc.n || t->nsums != s->toc.nsums)
                r = err_set(err, BLD_E_CORRUPT, "layer %zu of %s changed while it was open", s->i,
                            bld_image_name(s->im));
        if (!r)
                s->toc.sums = TAKE_PTR(&t->sums);
        ly_toc_free(t);
        return r;
}

static int scan(struct lib_scan *s, const struct bld_watch *watch, struct bld_err *err)
{
        struct ly_toc *t = NULL;
        int r, stored;

        if (s->toc.v && (!s->want_sums || s->toc.sums))
                return 0;
        r = s->toc.v ? 0 : known(s, err);
        if (r < 0 || (s->toc.v && !s->want_sums))
                return r;
        stored = s->key ? 0 : lib_scan_is_stored(s, err);
        if (stored > 0 && s->toc.v) {
                r = bd_sums_find(&lib_image_session(s->im)->ctx,
                                 &lib_image_layer(s->im, s->i)->diff_id, &s->toc, err);
                if (r)
                        return MIN(r, 0);
        }
        r = stored < 0 ? stored : read_blob(s, stored, watch, &t, err);
        if (r < 0)
                return r;
        if (s->toc.v)
                return adopt_sums(s, t, err);
        adopt(s, t);
        return 0;
}

/* ---- several ---- */

struct scans {
        struct lib_scan **v;
        size_t n;
        const struct bld_watch *watch;
};

static int scan_one(void *user, size_t i, const atomic_bool *stop, struct bld_err *err)
{
        struct scans *x = user;

        (void)stop;
        return scan(x->v[i], x->watch, err);
}

static bool is_due(const struct lib_scan *s)
{
        return (s->want_toc && !s->toc.v) || (s->want_sums && !s->toc.sums);
}

int lib_scan_run(struct lib_scan *const *v, size_t n, const struct bld_watch *watch,
                 struct bld_err *err)
{
        struct scans x = {.v = mem_alloc(n * sizeof(struct lib_scan *)), .watch = watch};
        int r = lib_watch_known(watch, err);

        if (r == 0 && !x.v)
                r = err_nomem(err, "list of layers");
        for (size_t i = 0; r == 0 && i < n; i++) {
                bool twice = false;

                for (size_t k = 0; k < i && !twice; k++)
                        twice = v[k] == v[i];
                if (!twice && is_due(v[i]))
                        x.v[x.n++] = v[i];
        }
        if (r == 0)
                r = bd_par_run(x.n, SCAN_THREADS, scan_one, &x, err);
        free(x.v);
        return r;
}
