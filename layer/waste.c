/* The score that dive made known. Each layer is seen as a tree of its own; its leaves (files,
 * links, empty folders, whiteouts) are what counts. A path costs the sum of what the layers' leaves
 * of that name take, a whiteout what the folder it removes held; the least any of them takes is
 * what it would have to cost. dive's own reading is kept where another would be thinkable, so that
 * the numbers agree: the whiteout of a file costs nothing, opaque folders remove nothing. */
#include <string.h>

#include "base/err.h"
#include "base/map.h"
#include "layer/arena_priv.h"
#include "layer/layer.h"

struct wnode {
        const char *path;
        struct wnode *parent; /* NULL: the root */
        /* over all layers */
        uint64_t sum, least;
        size_t count;
        /* in the layer at hand, when mark says so */
        size_t mark, gone_mark; /* number of the layer + 1 that names it, that removes it */
        uint64_t size;
        bool is_dir, has_kids;
        /* in what the layers below amount to: linked into its parent's list, bytes of it and all
         * below it */
        struct wnode *kids, *next, *prev;
        uint64_t own, total;
        bool there, there_dir;
};
VEC_DEFINE(wnodes, struct wnode *);

struct waste {
        struct arena mem;
        struct map nodes; /* by path */
        struct wnode *root;
        struct wnodes named, gone; /* of the layer at hand */
        size_t layer;              /* its number + 1 */
};

static void waste_done(struct waste *w)
{
        arena_done(&w->mem);
        map_done(&w->nodes);
        wnodes_done(&w->named);
        wnodes_done(&w->gone);
}

static struct wnode *node_new(struct waste *w, const char *path, size_t n)
{
        struct wnode *k = arena_alloc(&w->mem, sizeof(*k));

        if (!k)
                return NULL;
        k->path = arena_strndup(&w->mem, path, n);
        k->least = UINT64_MAX;
        return k->path && map_setn(&w->nodes, path, n, k) == 0 ? k : NULL;
}

/* The node of a path whose folders are there. */
static struct wnode *node_get(struct waste *w, const char *path, size_t n)
{
        const char *slash = memrchr(path, '/', n);
        struct wnode *k = n ? map_getn(&w->nodes, path, n) : w->root;

        if (k)
                return k;
        k = node_new(w, path, n);
        if (k)
                k->parent = slash ? map_getn(&w->nodes, path, (size_t)(slash - path)) : w->root;
        return k;
}

/* ---- the layer at hand ---- */

/* path and the folders above it are in this layer's tree from now on. */
static struct wnode *name(struct waste *w, const char *path, size_t len)
{
        struct wnode *k = w->root;

        for (size_t n = 0; n < len;) {
                const char *slash = memchr(path + n, '/', len - n);
                struct wnode **at;

                k->has_kids = true;
                n = slash ? (size_t)(slash - path) : len;
                k = node_get(w, path, n);
                if (!k)
                        return NULL;
                n += slash != NULL;
                if (k->mark == w->layer)
                        continue;
                k->mark = w->layer;
                k->size = 0;
                k->is_dir = k->has_kids = false;
                at = wnodes_push(&w->named);
                if (!at)
                        return NULL;
                *at = k;
        }
        return k;
}

static bool name_gone(struct waste *w, const char *path)
{
        const char *slash = strrchr(path, '/');
        struct wnode *dir = name(w, path, slash ? (size_t)(slash - path) : 0), *k, **at;

        k = dir ? node_get(w, path, strlen(path)) : NULL;
        if (!k)
                return false;
        dir->has_kids = true;
        if (k->gone_mark == w->layer)
                return true;
        k->gone_mark = w->layer;
        at = wnodes_push(&w->gone);
        if (at)
                *at = k;
        return at != NULL;
}

static int read_layer(struct waste *w, const struct ly_toc *t, struct ly_waste_layer *ret,
                      struct bld_err *err)
{
        w->named.n = w->gone.n = 0;
        for (size_t i = 0; i < t->n; i++) {
                const struct ly_entry *e = &t->v[i].e;
                struct wnode *k = w->root;

                if (e->type == LY_WHITEOUT) {
                        if (!name_gone(w, e->path))
                                return err_nomem(err, "waste of layers");
                        continue;
                }
                k = name(w, e->path, strlen(e->path));
                if (!k)
                        return err_nomem(err, "waste of layers");
                if (e->type == LY_OPAQUE || k == w->root)
                        continue;
                k->is_dir = e->type == LY_DIR;
                k->size = e->type == LY_FILE ? e->size : 0;
                ret->files += e->type == LY_FILE;
                ret->bytes += k->size;
        }
        return 0;
}

static void count_leaf(struct wnode *k, uint64_t size)
{
        k->sum += size;
        k->least = MIN(k->least, size);
        k->count++;
}

static void count_leaves(const struct waste *w)
{
        for (size_t i = 0; i < w->gone.n; i++) {
                struct wnode *k = w->gone.v[i];

                count_leaf(k, k->there && k->there_dir ? k->total : 0);
        }
        for (size_t i = 0; i < w->named.n; i++)
                if (!w->named.v[i]->has_kids)
                        count_leaf(w->named.v[i], w->named.v[i]->size);
}

/* ---- what the layers so far amount to ---- */

static void add_bytes(struct wnode *k, uint64_t plus, uint64_t minus)
{
        for (; k && plus != minus; k = k->parent)
                k->total += plus - minus;
}

static void enter(struct wnode *k)
{
        struct wnode *dir = k->parent;

        k->there = true;
        k->own = k->total = 0;
        k->prev = NULL;
        k->next = dir->kids;
        if (k->next)
                k->next->prev = k;
        dir->kids = k;
}

static void leave(struct wnode *k)
{
        k->there = false;
        if (k->prev)
                k->prev->next = k->next;
        else
                k->parent->kids = k->next;
        if (k->next)
                k->next->prev = k->prev;
}

static void remove_tree(struct wnode *top)
{
        struct wnode *k = top;

        add_bytes(top->parent, 0, top->total);
        for (;;) {
                struct wnode *up = k->parent;

                if (k->kids) {
                        k = k->kids;
                        continue;
                }
                leave(k);
                if (k == top)
                        return;
                k = up;
        }
}

static void stack_layer(const struct waste *w)
{
        for (size_t i = 0; i < w->gone.n; i++)
                if (w->gone.v[i]->there)
                        remove_tree(w->gone.v[i]);
        /* Folders were named before what is in them. */
        for (size_t i = 0; i < w->named.n; i++) {
                struct wnode *k = w->named.v[i];

                if (!k->there)
                        enter(k);
                add_bytes(k, k->size, k->own);
                k->own = k->size;
                k->there_dir = k->is_dir;
        }
}

/* ---- the result ---- */

static int most_first(const void *a, const void *b)
{
        const struct ly_waste_path *x = a, *y = b;

        if (x->bytes != y->bytes)
                return x->bytes < y->bytes ? 1 : -1;
        return strcmp(x->path, y->path);
}

static int sum_up(struct waste *w, const struct ly_view *view, struct ly_waste *ret,
                  struct bld_err *err)
{
        size_t n = 0;

        for (struct map_entry *e = NULL; (e = map_next(&w->nodes, e));) {
                const struct wnode *k = e->value;

                if (!k->count)
                        continue;
                ret->all += k->sum;
                ret->least += k->least;
                if (k->count > 1)
                        ret->wasted += k->sum;
                n += k->count > 1 && k->sum;
        }
        ret->v = mem_zalloc(n + 1, sizeof(*ret->v));
        if (!ret->v)
                return err_nomem(err, "waste of layers");
        for (struct map_entry *e = NULL; (e = map_next(&w->nodes, e));) {
                const struct wnode *k = e->value;

                if (k->count > 1 && k->sum)
                        ret->v[ret->n++] =
                                (struct ly_waste_path){.path = k->path,
                                                       .bytes = k->sum,
                                                       .count = k->count,
                                                       .removed = !ly_view_get(view, k->path)};
        }
        qsort(ret->v, ret->n, sizeof(*ret->v), most_first);
        return 0;
}

/* Bytes of files that have a name in the end are of use, whatever names they had. */
static int subtract_used(const struct ly_view *view, const struct ly_node *dir, bool *const *seen,
                         const struct ly_toc *const *tocs, struct ly_waste *ret)
{
        size_t n;
        const struct ly_node *const *kids = ly_view_children(view, dir, &n);

        for (size_t i = 0; i < n; i++) {
                const struct ly_node *k = kids[i];
                bool *used;

                if (k->t && k->t->e.type == LY_FILE) {
                        used = &seen[k->layer][k->t - tocs[k->layer]->v];
                        if (!*used)
                                ret->layers[k->layer].wasted -= k->t->e.size;
                        *used = true;
                }
                (void)subtract_used(view, k, seen, tocs, ret);
        }
        return 0;
}

static int layers_waste(const struct ly_toc *const *tocs, size_t n, const struct ly_view *view,
                        struct ly_waste *ret, struct bld_err *err)
{
        bool **seen = mem_zalloc(n + 1, sizeof(*seen));
        int r = seen ? 0 : err_nomem(err, "waste of layers");

        for (size_t i = 0; r == 0 && i < n; i++) {
                ret->layers[i].wasted = ret->layers[i].bytes;
                seen[i] = mem_zalloc(tocs[i]->n + 1, sizeof(bool));
                if (!seen[i])
                        r = err_nomem(err, "waste of layers");
        }
        if (r == 0)
                r = subtract_used(view, ly_view_root(view), seen, tocs, ret);
        for (size_t i = 0; seen && i < n; i++)
                free(seen[i]);
        free(seen);
        return r;
}

static int find(struct waste *w, const struct ly_toc *const *tocs, size_t n, struct ly_waste *ret,
                struct bld_err *err)
{
        AUTO(ly_view_free_p) struct ly_view *view = NULL;
        int r = ly_view_new(tocs, n, &view, err);

        w->root = r == 0 ? arena_alloc(&w->mem, sizeof(*w->root)) : NULL;
        ret->layers = mem_zalloc(n + 1, sizeof(*ret->layers));
        ret->nlayers = n;
        if (r == 0 && (!w->root || !ret->layers))
                r = err_nomem(err, "waste of layers");
        for (size_t i = 0; r == 0 && i < n; i++) {
                w->layer = i + 1;
                r = read_layer(w, tocs[i], &ret->layers[i], err);
                if (r == 0) {
                        count_leaves(w);
                        stack_layer(w);
                }
        }
        r = r < 0 ? r : sum_up(w, view, ret, err);
        return r < 0 ? r : layers_waste(tocs, n, view, ret, err);
}

int ly_waste_find(const struct ly_toc *const *tocs, size_t n, struct ly_waste *ret,
                  struct bld_err *err)
{
        AUTO(waste_done) struct waste w = {.layer = 0};
        struct ly_waste got = {.n = 0};
        int r;

        map_init(&w.nodes, NULL);
        got.priv = mem_zalloc(1, sizeof(struct arena));
        r = got.priv ? find(&w, tocs, n, &got, err) : err_nomem(err, "waste of layers");
        if (r < 0) {
                ly_waste_done(&got);
                return r;
        }
        *(struct arena *)got.priv = w.mem;
        w.mem = (struct arena){.chunks = NULL};
        *ret = got;
        return 0;
}

void ly_waste_done(struct ly_waste *w)
{
        if (w->priv)
                arena_done(w->priv);
        free(w->priv);
        free(w->v);
        free(w->layers);
        *w = (struct ly_waste){.n = 0};
}
