/* How well an image uses its layers. */
#include "bld/analyze.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/err.h"
#include "lib/layer_priv.h"
#include "lib/open_priv.h"

#define READERS 4

struct bld_analysis {
        struct ly_waste w;
        struct bld_waste *v;
        struct bld_layer_use *layers;
        uint64_t bytes, above; /* of all layers; of all but the first */
};

/* ---- tables of contents: the store's, the others read, several at a time ---- */

struct contents {
        struct bld_image *im;
        const struct bld_watch *watch;
        size_t n;
        const struct ly_toc **v;
        struct ly_toc **own; /* those that were read */
        atomic_size_t next;
        atomic_bool failed;
        pthread_mutex_t lock; /* guards the two */
        int code;
        struct bld_err why;
};

static void contents_done(struct contents *c)
{
        for (size_t i = 0; c->own && i < c->n; i++)
                ly_toc_free(c->own[i]);
        free(c->own);
        free(c->v);
        pthread_mutex_destroy(&c->lock);
}

/* The layer's bytes, as long as nobody says stop and no other layer failed. */
struct watched {
        struct contents *c;
        struct ly_source in;
};

static ssize_t watched_read(void *user, void *p, size_t n, struct bld_err *err)
{
        const struct watched *w = user;
        int r = lib_watch_check(w->c->watch, err);

        if (r == 0 && atomic_load(&w->c->failed))
                r = err_set(err, BLD_E_CANCELLED, "another layer could not be read");
        return r < 0 ? r : w->in.read(w->in.user, p, n, err);
}

static int read_contents(struct contents *c, size_t i, struct bld_err *err)
{
        AUTO(lib_blob_close_p) struct lib_blob *blob = NULL;
        const struct lib_layer_ref *l = lib_image_layer(c->im, i);
        struct watched w = {.c = c};
        const struct ly_source in = {.read = watched_read, .user = &w};
        struct digest diff_id;
        uint64_t size;
        int r = lib_blob_open(c->im, i, &blob, err);

        if (r < 0)
                return r;
        w.in = lib_blob_source(blob);
        r = ly_unpack_stream(&in, NULL, lib_image_limits(c->im), &diff_id, &size, &c->own[i], err);
        if (r == 0 && l->has_diff_id && !digest_eq(&diff_id, &l->diff_id))
                r = err_set(err, BLD_E_CORRUPT, "its content is not what the config says");
        c->v[i] = c->own[i];
        return r < 0 ? err_wrap(err, r, "layer %zu", l->info.number) : 0;
}

static void *contents_run(void *user)
{
        struct contents *c = user;
        size_t i;

        while ((i = atomic_fetch_add(&c->next, 1)) < c->n) {
                struct bld_err why = BLD_ERR_INIT;
                int r = c->v[i] || atomic_load(&c->failed) ? 0 : read_contents(c, i, &why);

                if (r == 0)
                        continue;
                pthread_mutex_lock(&c->lock);
                if (!atomic_exchange(&c->failed, true)) {
                        c->code = r;
                        err_copy(&c->why, &why);
                }
                pthread_mutex_unlock(&c->lock);
        }
        return NULL;
}

static int contents_read(struct contents *c, struct bld_err *err)
{
        pthread_t threads[READERS];
        size_t started = 0, missing = 0;

        c->v = mem_zalloc(c->n, sizeof(*c->v));
        c->own = mem_zalloc(c->n, sizeof(*c->own));
        if (!c->v || !c->own)
                return err_nomem(err, "layers");
        for (size_t i = 0; i < c->n; i++) {
                int r = lib_image_toc(c->im, i, &c->v[i], err);

                if (r < 0)
                        return r;
                missing += r == 0;
        }
        /* This thread is one of them; more would be good, and are not needed. */
        while (started + 1 < MIN(missing, (size_t)READERS) &&
               pthread_create(&threads[started], NULL, contents_run, c) == 0)
                started++;
        contents_run(c);
        while (started > 0)
                (void)pthread_join(threads[--started], NULL);
        if (c->code < 0)
                err_copy(err, &c->why);
        return c->code;
}

/* ---- the calls ---- */

static int fill(struct bld_analysis *a, struct bld_err *err)
{
        a->v = mem_zalloc(a->w.n, sizeof(*a->v));
        a->layers = mem_zalloc(a->w.nlayers, sizeof(*a->layers));
        if (!a->v || !a->layers)
                return err_nomem(err, "analysis");
        for (size_t i = 0; i < a->w.n; i++)
                a->v[i] = (struct bld_waste){.path = a->w.v[i].path,
                                             .bytes = a->w.v[i].bytes,
                                             .count = a->w.v[i].count,
                                             .removed = a->w.v[i].removed};
        for (size_t i = 0; i < a->w.nlayers; i++) {
                const struct ly_waste_layer *l = &a->w.layers[i];

                a->layers[i] = (struct bld_layer_use){
                        .files = l->files, .bytes = l->bytes, .wasted = l->wasted};
                a->bytes += l->bytes;
                a->above += i ? l->bytes : 0;
        }
        return 0;
}

static void analysis_free_p(struct bld_analysis **a)
{
        bld_analysis_free(*a);
}

int bld_analyze(struct bld_image *im, const struct bld_watch *watch, struct bld_analysis **ret,
                struct bld_err *err)
{
        AUTO(analysis_free_p) struct bld_analysis *a = mem_zalloc(1, sizeof(*a));
        AUTO(contents_done)
        struct contents c = {.im = im,
                             .watch = watch,
                             .n = bld_image_layers(im),
                             .lock = PTHREAD_MUTEX_INITIALIZER};
        int r = a ? contents_read(&c, err) : err_nomem(err, "analysis");

        r = r < 0 ? r : ly_waste_find(c.v, c.n, &a->w, err);
        r = r < 0 ? r : fill(a, err);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(&a);
        return 0;
}

void bld_analysis_free(struct bld_analysis *a)
{
        if (!a)
                return;
        ly_waste_done(&a->w);
        free(a->v);
        free(a->layers);
        free(a);
}

double bld_analysis_efficiency(const struct bld_analysis *a)
{
        return a->w.all ? (double)a->w.least / (double)a->w.all : 1;
}

uint64_t bld_analysis_bytes(const struct bld_analysis *a)
{
        return a->bytes;
}

uint64_t bld_analysis_wasted(const struct bld_analysis *a)
{
        return a->w.wasted;
}

double bld_analysis_wasted_share(const struct bld_analysis *a)
{
        if (a->w.wasted == 0)
                return 0;
        return a->above ? (double)a->w.wasted / (double)a->above : (double)INFINITY;
}

size_t bld_analysis_count(const struct bld_analysis *a)
{
        return a->w.n;
}

const struct bld_waste *bld_analysis_at(const struct bld_analysis *a, size_t i)
{
        return i < a->w.n ? &a->v[i] : NULL;
}

const struct bld_layer_use *bld_analysis_layer(const struct bld_analysis *a, size_t i)
{
        return i < a->w.nlayers ? &a->layers[i] : NULL;
}
