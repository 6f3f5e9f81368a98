/* Two trees without the layers they share: what those may hold decides some answers. */
#include "base/err.h"
#include "base/map.h"
#include "layer/layer.h"

/* What one side's layers hide of the layers below. */
struct hidden {
        struct map gone;   /* paths */
        struct map opaque; /* folders */
        const struct ly_side *s;
};

static int hidden_init(struct hidden *h, const struct ly_side *s, struct bld_err *err)
{
        map_init(&h->gone, NULL);
        map_init(&h->opaque, NULL);
        h->s = s;
        for (size_t i = 0; i < s->n; i++) {
                for (size_t k = 0; k < s->tocs[i]->n; k++) {
                        const struct ly_entry *e = &s->tocs[i]->v[k].e;

                        if (e->type != LY_WHITEOUT && e->type != LY_OPAQUE)
                                continue;
                        if (map_set(e->type == LY_OPAQUE ? &h->opaque : &h->gone, e->path, h) < 0)
                                return err_nomem(err, "list of whiteouts");
                }
        }
        return 0;
}

static void hidden_done(struct hidden *h)
{
        map_done(&h->gone);
        map_done(&h->opaque);
}

/* Is what lies below at dir[0..n) out of sight, with all that is in it? */
static bool covers(const struct hidden *h, const char *path, size_t n)
{
        char dir[LY_FLAT_PATH_MAX + 1];
        uint32_t i;

        if (map_getn(&h->gone, path, n) || map_getn(&h->opaque, path, n))
                return true;
        memcpy(dir, path, n);
        dir[n] = 0;
        i = ly_flat_find(h->s->flat, dir);
        return i != LY_NONE && h->s->flat->v[i].n->t && h->s->flat->v[i].n->t->e.type != LY_DIR;
}

/* Does nothing of the layers below show at this path? */
static bool hides(const struct hidden *h, const char *path)
{
        if (map_get(&h->gone, path) || map_get(&h->opaque, ""))
                return true;
        for (const char *p = strchr(path, '/'); p; p = strchr(p + 1, '/'))
                if (covers(h, path, (size_t)(p - path)))
                        return true;
        return false;
}

/* A folder only implied has the attributes it has below; a hard link may lead there. */
static bool depends(const struct ly_side *s, uint32_t node)
{
        const struct ly_toc_entry *t = s->flat->v[node].n->t;

        return !t || t->e.type == LY_HARDLINK;
}

static void mark(const struct hidden *a, const struct hidden *b, struct ly_change *c)
{
        if (c->a == LY_NONE)
                c->unsure = !hides(a, c->path);
        else if (c->b == LY_NONE)
                c->unsure = !hides(b, c->path);
        else
                c->unsure = depends(a->s, c->a) || depends(b->s, c->b);
}

/* ---- what one side hides and the other leaves as it is ---- */

static int add_one(const char *path, enum ly_below below, struct ly_changes *v, struct bld_err *err)
{
        struct ly_change *c = ly_changes_push(v);

        if (!c)
                return err_nomem(err, "list of changes");
        *c = (struct ly_change){.path = path,
                                .a = LY_NONE,
                                .b = LY_NONE,
                                .renamed = LY_NONE,
                                .below = below,
                                .unsure = true};
        return 0;
}

static bool is_new(const struct hidden *mine, const struct hidden *other, const struct ly_entry *e)
{
        if (!*e->path || hides(other, e->path))
                return false;
        if (e->type == LY_OPAQUE)
                return !map_get(&other->opaque, e->path);
        /* With a node it is said already. */
        return ly_flat_find(mine->s->flat, e->path) == LY_NONE &&
               ly_flat_find(other->s->flat, e->path) == LY_NONE;
}

static int add_hidden(const struct hidden *mine, const struct hidden *other, enum ly_below gone,
                      const struct ly_compare_opts *o, struct ly_changes *v, struct bld_err *err)
{
        int r = 0;

        for (size_t i = 0; i < mine->s->n; i++) {
                const struct ly_toc *t = mine->s->tocs[i];

                for (size_t k = 0; !r && k < t->n; k++) {
                        const struct ly_entry *e = &t->v[k].e;

                        if (e->type != LY_WHITEOUT && e->type != LY_OPAQUE)
                                continue;
                        if (is_new(mine, other, e) && (!o->wanted || o->wanted(o->user, e->path)))
                                r = add_one(e->path, e->type == LY_OPAQUE ? LY_BELOW_INSIDE : gone,
                                            v, err);
                }
        }
        return r;
}

static int by_path(const void *a, const void *b)
{
        const struct ly_change *x = a, *y = b;
        int r = ly_path_cmp(x->path, y->path);

        return r ? r : (int)x->below - (int)y->below;
}

/* In order, and each path once; what was there before goes before what was added. */
static void merge(struct ly_changes *v)
{
        size_t n = 0;

        if (v->n)
                qsort(v->v, v->n, sizeof(*v->v), by_path);
        for (size_t i = 0; i < v->n; i++)
                if (!n || !str_eq(v->v[n - 1].path, v->v[i].path))
                        v->v[n++] = v->v[i];
        v->n = n;
}

int ly_compare_unsure(const struct ly_side *a, const struct ly_side *b,
                      const struct ly_compare_opts *o, struct ly_changes *v, struct bld_err *err)
{
        struct hidden x, y;
        int r = hidden_init(&x, a, err), r2 = hidden_init(&y, b, r < 0 ? NULL : err);
        size_t old = v->n;

        if (!r)
                r = r2;
        if (!r && !map_get(&x.opaque, "") != !map_get(&y.opaque, ""))
                r = err_set(err, BLD_E_UNSUPPORTED,
                            "one image hides all that its first layers hold\n"
                            "try: let the shared layers be read");
        for (size_t i = 0; !r && i < v->n; i++)
                mark(&x, &y, &v->v[i]);
        if (!r)
                r = add_hidden(&x, &y, LY_BELOW_COMES, o, v, err);
        if (!r)
                r = add_hidden(&y, &x, LY_BELOW_GOES, o, v, err);
        if (!r && v->n > old)
                merge(v);
        hidden_done(&x);
        hidden_done(&y);
        return r;
}
