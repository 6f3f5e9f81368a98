/* A view as an array of nodes with their paths. */
#include "base/err.h"
#include "base/map.h"
#include "layer/arena_priv.h"
#include "layer/layer.h"

/* Of paths that no entry has: folders that are only implied, and what lies behind links. */
#define OWN_PATHS_MAX ((size_t)256 << 20)

VEC_DEFINE(flat_nodes, struct ly_flat_node);

struct flatten {
        const struct ly_view *view;
        struct ly_flat *f;
        struct flat_nodes nodes;
        struct sb path;
        size_t own; /* bytes of paths */
        struct bld_err *err;
};

/* What is in a folder comes before all that follows the folder. */
static int rank(char c)
{
        return !c ? 0 : c == '/' ? 1 : (unsigned char)c + 1;
}

int ly_path_cmp(const char *a, const char *b)
{
        while (*a && *a == *b) {
                a++;
                b++;
        }
        return rank(*a) - rank(*b);
}

uint32_t ly_flat_find(const struct ly_flat *f, const char *path)
{
        size_t lo = 0, hi = f->n;

        while (lo < hi) {
                size_t mid = lo + (hi - lo) / 2;
                int c = ly_path_cmp(f->v[mid].path, path);

                if (!c)
                        return (uint32_t)mid;
                if (c < 0)
                        lo = mid + 1;
                else
                        hi = mid;
        }
        return LY_NONE;
}

/* ---- nodes ---- */

static int no_memory(struct flatten *w)
{
        return err_nomem(w->err, "list of a tree");
}

static int set_path(struct flatten *w, const struct ly_node *n, struct ly_flat_node *k)
{
        if (n->e && str_eq(n->e->path, sb_text(&w->path))) {
                k->path = n->e->path;
                return 0;
        }
        w->own += w->path.len;
        if (w->own > OWN_PATHS_MAX)
                return err_set(w->err, BLD_E_LIMIT, "paths of a tree take more than %zu MiB",
                               OWN_PATHS_MAX >> 20);
        k->path = arena_strndup(w->f->priv, sb_text(&w->path), w->path.len);
        return k->path ? 0 : no_memory(w);
}

static int walk(struct flatten *w, const struct ly_node *dir)
{
        size_t n, len = w->path.len;
        const struct ly_node *const *kids = ly_view_children(w->view, dir, &n);
        int r = 0;

        for (size_t i = 0; !r && i < n; i++) {
                struct ly_flat_node *k = flat_nodes_push(&w->nodes);
                size_t at = w->nodes.n - 1;

                if (!k)
                        return no_memory(w);
                if (len)
                        sb_char(&w->path, '/');
                sb_str(&w->path, kids[i]->name);
                r = sb_check(&w->path, "path in a tree", w->err);
                if (r < 0)
                        break;
                *k = (struct ly_flat_node){.n = kids[i], .group = LY_NONE};
                r = set_path(w, kids[i], k);
                if (!r)
                        r = walk(w, kids[i]);
                w->nodes.v[at].end = (uint32_t)w->nodes.n;
                sb_cut(&w->path, len);
        }
        return r;
}

/* ---- hard links ---- */

struct linked {
        const struct ly_toc_entry *t;
        uint32_t i;
};
VEC_DEFINE(linked_names, struct linked);

static int by_file(const void *a, const void *b)
{
        const struct linked *x = a, *y = b;
        int c = ((uintptr_t)x->t > (uintptr_t)y->t) - ((uintptr_t)x->t < (uintptr_t)y->t);

        return c ? c : (x->i > y->i) - (x->i < y->i);
}

static bool has_file(const struct linked_names *a, const struct ly_toc_entry *t)
{
        size_t lo = 0, hi = a->n;

        while (lo < hi) {
                size_t mid = lo + (hi - lo) / 2;

                if (a->v[mid].t == t)
                        return true;
                if ((uintptr_t)a->v[mid].t < (uintptr_t)t)
                        lo = mid + 1;
                else
                        hi = mid;
        }
        return false;
}

/* Every name of a file that a link entry names, sorted by file. */
static bool find_linked(const struct ly_flat *f, struct linked_names *ret)
{
        struct linked_names links = {0};
        bool ok = true;

        for (size_t i = 0; ok && i < f->n; i++) {
                const struct ly_node *n = f->v[i].n;
                struct linked *l;

                if (!n->e || n->e == &n->t->e)
                        continue;
                l = linked_names_push(&links);
                if (l)
                        *l = (struct linked){.t = n->t};
                ok = l != NULL;
        }
        if (links.n)
                qsort(links.v, links.n, sizeof(*links.v), by_file);
        for (size_t i = 0; ok && links.n && i < f->n; i++) {
                struct linked *l;

                if (!f->v[i].n->t || !has_file(&links, f->v[i].n->t))
                        continue;
                l = linked_names_push(ret);
                if (l)
                        *l = (struct linked){.t = f->v[i].n->t, .i = (uint32_t)i};
                ok = l != NULL;
        }
        linked_names_done(&links);
        if (ret->n)
                qsort(ret->v, ret->n, sizeof(*ret->v), by_file);
        return ok;
}

static bool make_groups(struct ly_flat *f, const struct linked_names *a)
{
        f->names = mem_alloc(a->n * sizeof(*f->names));
        f->groups = mem_zalloc(a->n, sizeof(*f->groups));
        if (!f->names || !f->groups)
                return false;
        for (size_t i = 0, end; i < a->n; i = end) {
                struct ly_group *g = &f->groups[f->ngroups];

                for (end = i + 1; end < a->n && a->v[end].t == a->v[i].t; end++)
                        ;
                if (end - i < 2)
                        continue;
                *g = (struct ly_group){.at = (uint32_t)i, .count = (uint32_t)(end - i)};
                for (size_t k = i; k < end; k++) {
                        struct ly_flat_node *n = &f->v[a->v[k].i];

                        f->names[k] = a->v[k].i;
                        n->group = (uint32_t)f->ngroups;
                        g->hash += hash64(n->path, strlen(n->path));
                }
                f->ngroups++;
        }
        return true;
}

static int group(struct flatten *w)
{
        struct linked_names a = {0};
        bool ok = find_linked(w->f, &a) && (!a.n || make_groups(w->f, &a));

        linked_names_done(&a);
        return ok ? 0 : no_memory(w);
}

/* ---- */

int ly_flat_new(const struct ly_view *v, struct ly_flat **ret, struct bld_err *err)
{
        AUTO(ly_flat_free_p) struct ly_flat *f = mem_zalloc(1, sizeof(*f));
        struct flatten w = {.view = v, .f = f, .path = SB_INIT(LY_FLAT_PATH_MAX), .err = err};
        int r = 0;

        if (!f)
                return no_memory(&w);
        f->priv = mem_zalloc(1, sizeof(struct arena));
        if (!f->priv)
                return no_memory(&w);
        r = walk(&w, ly_view_root(v));
        f->v = w.nodes.v;
        f->n = w.nodes.n;
        sb_done(&w.path);
        if (!r && f->n >= LY_NONE)
                r = err_set(err, BLD_E_LIMIT, "tree of more than %u entries", LY_NONE);
        if (!r)
                r = group(&w);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(&f);
        return 0;
}

void ly_flat_free(struct ly_flat *f)
{
        if (!f)
                return;
        if (f->priv)
                arena_done(f->priv);
        free(f->priv);
        free(f->groups);
        free(f->names);
        free(f->v);
        free(f);
}
