/* Two chains of layers, walked side by side. */
#include "base/err.h"
#include "lib/layer_priv.h"

#define READ_BUF (64u << 10)
#define NS_PER_SEC 1000000000
#define PATH_LIMIT 8192u

struct chain {
        struct bld_layer *const *v;
        size_t n;
        struct ly_view *view;
};

struct compare {
        struct chain a, b;
        unsigned ignore;
        bld_layer_change_fn each;
        void *user;
        struct sb path;
};

static int chain_init(struct chain *c, struct bld_layer *const *v, size_t n, struct bld_err *err)
{
        AUTO_FREE const struct ly_toc **tocs = mem_zalloc(MAX(n, 1), sizeof(struct ly_toc *));

        if (!tocs)
                return err_nomem(err, "chain of layers");
        for (size_t i = 0; i < n; i++)
                tocs[i] = v[i]->toc;
        c->v = v;
        c->n = n;
        return ly_view_new(tocs, n, &c->view, err);
}

/* ---- content ---- */

static int hash_file(struct ly_reader *r, unsigned char *buf, struct digest *ret,
                     struct bld_err *err)
{
        struct hasher h;
        ssize_t n;

        hasher_init(&h, DIGEST_SHA256);
        while ((n = ly_reader_data(r, buf, READ_BUF, err)) > 0)
                hasher_add(&h, buf, (size_t)n);
        if (n < 0)
                return (int)n;
        hasher_end(&h, ret);
        return 0;
}

static int hash_entries(struct bld_layer *l, struct ly_reader *r, struct digest *ret,
                        struct bld_err *err)
{
        AUTO_FREE unsigned char *buf = mem_alloc(READ_BUF);
        const struct ly_entry *e;
        size_t i = 0;
        int res;

        if (!buf)
                return err_nomem(err, "copy buffer");
        while ((res = ly_reader_next(r, &e, err)) == 1) {
                if (i == l->toc->n)
                        return err_set(err, BLD_E_CORRUPT, "layer changed while it was open");
                if (e->type == LY_FILE) {
                        res = hash_file(r, buf, &ret[i], err);
                        if (res < 0)
                                return res;
                }
                i++;
        }
        return res;
}

/* One pass over the layer, in its own order: a foreign stream can only be read from its start. */
static int need_content(struct bld_layer *l, struct bld_err *err)
{
        const struct ly_limits lim = {0};
        AUTO_FREE struct digest *d = NULL;
        AUTO(lib_untar_free_p) struct lib_untar *u = NULL;
        AUTO(ly_reader_free_p) struct ly_reader *r = NULL;
        struct lib_pread at = {.fd = l->fd};
        const struct ly_source file = lib_pread_source(&at);
        struct ly_source in;
        int res;

        if (l->content)
                return 0;
        d = mem_zalloc(MAX(l->toc->n, 1), sizeof(*d));
        if (!d)
                return err_nomem(err, "digests of a layer");
        res = lib_untar_new(&file, NULL, &lim, &u, err);
        if (res < 0)
                return res;
        in = lib_untar_source(u);
        res = ly_reader_new(&in, &lim, &r, err);
        if (!res)
                res = hash_entries(l, r, d, err);
        if (!res)
                l->content = TAKE_PTR(&d);
        return res;
}

static const struct digest *content_of(const struct chain *c, const struct ly_node *n)
{
        const struct bld_layer *l = c->v[n->layer];

        return &l->content[n->t - l->toc->v];
}

/* 1 the same bytes, 0 not. */
static int same_content(struct compare *c, const struct ly_node *x, const struct ly_node *y,
                        struct bld_err *err)
{
        int r;

        if (c->a.v[x->layer] == c->b.v[y->layer] && x->t == y->t)
                return 1;
        r = need_content(c->a.v[x->layer], err);
        if (!r)
                r = need_content(c->b.v[y->layer], err);
        if (r < 0)
                return r;
        return digest_eq(content_of(&c->a, x), content_of(&c->b, y));
}

/* ---- one path ---- */

static const struct ly_xattr *find_xattr(const struct ly_entry *e, const char *name)
{
        for (size_t i = 0; i < e->nxattrs; i++)
                if (str_eq(e->xattrs[i].name, name))
                        return &e->xattrs[i];
        return NULL;
}

static bool same_xattrs(const struct ly_entry *x, const struct ly_entry *y)
{
        if (x->nxattrs != y->nxattrs)
                return false;
        for (size_t i = 0; i < x->nxattrs; i++) {
                const struct ly_xattr *v = &x->xattrs[i], *w = find_xattr(y, v->name);

                if (!w || w->len != v->len || memcmp(v->value, w->value, v->len) != 0)
                        return false;
        }
        return true;
}

static int64_t seconds(int64_t ns)
{
        return ns / NS_PER_SEC - (ns % NS_PER_SEC < 0);
}

/* Differences of what two nodes hold; hard links count as the files they are. */
static int compare_entries(struct compare *c, const struct ly_node *x, const struct ly_node *y,
                           unsigned *ret, struct bld_err *err)
{
        const struct ly_entry *p, *q;
        unsigned what = 0;

        *ret = 0;
        if (!x->t || !y->t) /* a folder that no layer names has no attributes */
                return 0;
        p = &x->t->e;
        q = &y->t->e;
        if (p->type != q->type)
                what |= BLD_LAYER_DIFF_TYPE;
        if (p->mode != q->mode && p->type != LY_SYMLINK)
                what |= BLD_LAYER_DIFF_MODE;
        if (p->uid != q->uid || p->gid != q->gid)
                what |= BLD_LAYER_DIFF_OWNER;
        if (seconds(p->mtime_ns) != seconds(q->mtime_ns))
                what |= BLD_LAYER_DIFF_MTIME;
        if (p->dev_major != q->dev_major || p->dev_minor != q->dev_minor ||
            (p->type == LY_SYMLINK && q->type == LY_SYMLINK && !str_eq(p->link, q->link)))
                what |= BLD_LAYER_DIFF_LINK;
        if (!same_xattrs(p, q))
                what |= BLD_LAYER_DIFF_XATTRS;
        if (p->type == LY_FILE && q->type == LY_FILE) {
                int same = p->size != q->size ? 0 : 1;

                if (!same)
                        what |= BLD_LAYER_DIFF_SIZE | BLD_LAYER_DIFF_CONTENT;
                else if (!(c->ignore & BLD_LAYER_DIFF_CONTENT))
                        same = same_content(c, x, y, err);
                if (same < 0)
                        return same;
                if (!same)
                        what |= BLD_LAYER_DIFF_CONTENT;
        }
        *ret = what & ~c->ignore;
        return 0;
}

static const struct bld_layer_entry *public_entry(const struct chain *c, const struct ly_node *n)
{
        const struct ly_toc *toc;
        const struct ly_toc_entry *te;

        if (!n || !n->t)
                return NULL;
        toc = c->v[n->layer]->toc;
        te = n->t;
        return te >= toc->v && te < toc->v + toc->n ? &c->v[n->layer]->v[te - toc->v] : NULL;
}

static int report(struct compare *c, const struct ly_node *x, const struct ly_node *y,
                  unsigned what)
{
        struct bld_layer_change ch = {.path = sb_text(&c->path),
                                      .what = what,
                                      .before = public_entry(&c->a, x),
                                      .after = public_entry(&c->b, y),
                                      .before_layer = x ? x->layer : 0,
                                      .after_layer = y ? y->layer : 0};

        if (!what || (what & c->ignore) == what)
                return 0;
        return c->each(c->user, &ch) ? 1 : 0;
}

/* ---- the walk ---- */

static int walk(struct compare *c, const struct ly_node *x, const struct ly_node *y,
                struct bld_err *err);

/* x or y may be NULL. Names of one folder come sorted; the path is put back afterwards. */
static int visit(struct compare *c, const struct ly_node *x, const struct ly_node *y,
                 struct bld_err *err)
{
        size_t len = c->path.len;
        unsigned what = x ? BLD_LAYER_REMOVED : BLD_LAYER_ADDED;
        int r = 0;

        if (len)
                sb_char(&c->path, '/');
        sb_str(&c->path, x ? x->name : y->name);
        r = sb_check(&c->path, "path", err);
        if (!r && x && y)
                r = compare_entries(c, x, y, &what, err);
        if (!r)
                r = report(c, x, y, what);
        if (!r)
                r = walk(c, x, y, err);
        sb_cut(&c->path, len);
        return r;
}

static int walk(struct compare *c, const struct ly_node *x, const struct ly_node *y,
                struct bld_err *err)
{
        size_t nx = 0, ny = 0, i = 0, k = 0;
        const struct ly_node *const *vx = x ? ly_view_children(c->a.view, x, &nx) : NULL;
        const struct ly_node *const *vy = y ? ly_view_children(c->b.view, y, &ny) : NULL;
        int r = 0;

        while (!r && (i < nx || k < ny)) {
                int order = i == nx ? 1 : k == ny ? -1 : strcmp(vx[i]->name, vy[k]->name);
                const struct ly_node *p = order <= 0 ? vx[i++] : NULL;
                const struct ly_node *q = order >= 0 ? vy[k++] : NULL;

                r = visit(c, p, q, err);
        }
        return r;
}

int bld_layer_compare(struct bld_layer *const *a, size_t na, struct bld_layer *const *b, size_t nb,
                      unsigned ignore, bld_layer_change_fn each, void *user, struct bld_err *err)
{
        struct compare c = {.ignore = ignore, .each = each, .user = user};
        int r;

        sb_init(&c.path, PATH_LIMIT);
        r = chain_init(&c.a, a, na, err);
        if (!r)
                r = chain_init(&c.b, b, nb, err);
        if (!r)
                r = walk(&c, ly_view_root(c.a.view), ly_view_root(c.b.view), err);
        ly_view_free(c.a.view);
        ly_view_free(c.b.view);
        sb_done(&c.path);
        return r;
}

int bld_layer_walk(struct bld_layer *const *chain, size_t n, bld_layer_change_fn each, void *user,
                   struct bld_err *err)
{
        return bld_layer_compare(NULL, 0, chain, n, 0, each, user, err);
}
