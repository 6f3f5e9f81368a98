/* How well an image uses its layers. */
#include "bld/analyze.h"

#include <math.h>

#include "base/err.h"
#include "lib/tree_priv.h"

struct bld_analysis {
        struct ly_waste w;
        struct bld_waste *v;
        struct bld_layer_use *layers;
        uint64_t bytes, above; /* of all layers; of all but the first */
};

/* The tables of contents of all layers; the store's, or read now. */
struct contents {
        struct lib_scan **scans;
        const struct ly_toc **v;
        size_t n;
};

static void contents_done(struct contents *c)
{
        for (size_t i = 0; c->scans && i < c->n; i++)
                lib_scan_unref(c->scans[i]);
        free(c->scans);
        free(c->v);
}

static int contents_read(struct contents *c, struct bld_image *im, const struct bld_watch *watch,
                         struct bld_err *err)
{
        int r = 0;

        c->n = bld_image_layers(im);
        c->scans = mem_zalloc(c->n, sizeof(*c->scans));
        c->v = mem_zalloc(c->n, sizeof(*c->v));
        if (!c->scans || !c->v)
                return err_nomem(err, "layers");
        for (size_t i = 0; r == 0 && i < c->n; i++) {
                r = lib_scan_new(im, i, &c->scans[i], err);
                if (r == 0)
                        c->scans[i]->want_toc = true;
        }
        r = r < 0 ? r : lib_scan_run(c->scans, c->n, watch, err);
        for (size_t i = 0; r == 0 && i < c->n; i++)
                c->v[i] = &c->scans[i]->toc;
        return r;
}

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
        AUTO(contents_done) struct contents c = {.n = 0};
        int r = a ? contents_read(&c, im, watch, err) : err_nomem(err, "analysis");

        r = r < 0 ? r : ly_waste_find(c.v, c.n, &a->w, err);
        r = r < 0 ? r : fill(a, err);
        if (r < 0)
                return lib_image_fault(im, r, err);
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
