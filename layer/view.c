/* The merged view of a chain of layers: one tree of nodes, one table (folder, name) -> node. */
#include "base/err.h"
#include "base/map.h"
#include "layer/arena_priv.h"
#include "layer/tar_priv.h"

#define LINKS_MAX 40 /* as the kernel */
/* Folders that no layer names: one entry with a long path asks for thousands. */
#define IMPLIED_MAX 1000000u

struct vnode {
        struct ly_node n; /* n.priv points back here */
        struct vnode **kids;
        size_t nkids, cap;
        uint64_t hash;
        unsigned touched; /* number + 1 of the layer that last made it or put something in it */
        bool dir, sorted, dead;
};

struct ly_view {
        struct arena mem;
        struct vnode *root;
        struct vnode **slots; /* open addressing; &tomb marks a removed node */
        size_t nslots, used;  /* used counts tombs, too */
        /* The folder last entered, for streams name their folders in runs. */
        const char *last_path;
        size_t last_len;
        struct vnode *last_dir;
        unsigned nlayers;
        bool upper; /* there are layers below that are not here */
        unsigned implied;
};

static struct vnode tomb;

static struct vnode *to_v(const struct ly_node *n)
{
        return n->priv;
}

/* ---- the table ---- */

static uint64_t key_hash(const struct vnode *dir, const char *name, size_t n)
{
        /* The folder's address spread over all bits. */
        return hash64(name, n) ^ ((uint64_t)(uintptr_t)dir * UINT64_C(0x9e3779b97f4a7c15));
}

static struct vnode *find(const struct ly_view *v, const struct vnode *dir, const char *name,
                          size_t n)
{
        uint64_t h = key_hash(dir, name, n);

        for (size_t i = h & (v->nslots - 1);; i = (i + 1) & (v->nslots - 1)) {
                struct vnode *s = v->slots[i];

                if (!s)
                        return NULL;
                if (s != &tomb && s->hash == h && s->n.parent == &dir->n &&
                    !strncmp(s->n.name, name, n) && !s->n.name[n])
                        return s;
        }
}

static void slot_put(struct vnode **slots, size_t nslots, struct vnode *k)
{
        size_t i = k->hash & (nslots - 1);

        while (slots[i])
                i = (i + 1) & (nslots - 1);
        slots[i] = k;
}

static bool table_grow(struct ly_view *v)
{
        size_t n = v->nslots ? v->nslots * 2 : 1024;
        struct vnode **slots = mem_zalloc(n, sizeof(struct vnode *));

        if (!slots)
                return false;
        v->used = 0;
        for (size_t i = 0; i < v->nslots; i++) {
                if (!v->slots[i] || v->slots[i] == &tomb)
                        continue;
                slot_put(slots, n, v->slots[i]);
                v->used++;
        }
        free(v->slots);
        v->slots = slots;
        v->nslots = n;
        return true;
}

/* ---- nodes ---- */

static bool kids_push(struct vnode *dir, struct vnode *k)
{
        void *p = dir->kids;

        if (dir->nkids == dir->cap &&
            !vec_grow(&p, &dir->cap, dir->nkids + 1, sizeof(struct vnode *)))
                return false;
        dir->kids = p;
        dir->kids[dir->nkids++] = k;
        dir->sorted = false;
        return true;
}

/* A new child; name is borrowed where its end is at n: then it is a TOC's. */
static struct vnode *add(struct ly_view *v, struct vnode *dir, const char *name, size_t n)
{
        struct vnode *k;

        if (v->used * 2 >= v->nslots && !table_grow(v))
                return NULL;
        k = arena_alloc(&v->mem, sizeof(*k));
        if (!k)
                return NULL;
        k->n.name = name[n] ? arena_strndup(&v->mem, name, n) : name;
        if (!k->n.name || !kids_push(dir, k))
                return NULL;
        k->n.parent = &dir->n;
        k->n.priv = k;
        k->hash = key_hash(dir, name, n);
        slot_put(v->slots, v->nslots, k);
        v->used++;
        return k;
}

static void forget(struct ly_view *v, struct vnode *k)
{
        size_t i = k->hash & (v->nslots - 1);

        for (; v->slots[i]; i = (i + 1) & (v->nslots - 1)) {
                if (v->slots[i] == k) {
                        v->slots[i] = &tomb;
                        break;
                }
        }
        k->dead = true;
        v->last_dir = NULL;
}

static void remove_kids(struct ly_view *v, struct vnode *dir)
{
        for (size_t i = 0; i < dir->nkids; i++) {
                if (dir->kids[i]->dead)
                        continue;
                remove_kids(v, dir->kids[i]);
                forget(v, dir->kids[i]);
        }
        free(dir->kids);
        dir->kids = NULL;
        dir->nkids = dir->cap = 0;
}

static void remove_node(struct ly_view *v, struct vnode *k)
{
        remove_kids(v, k);
        forget(v, k);
}

/* ---- resolving ---- */

struct walk {
        const struct ly_view *v;
        struct vnode *at; /* NULL: what the path names does not exist */
        char *path;       /* of at */
        size_t len, cap;
        unsigned links;
};

static bool path_push(struct walk *w, const char *name, size_t n)
{
        if (w->len + n + 2 > w->cap) {
                size_t cap = (w->len + n + 2) * 2;
                char *p = mem_realloc(w->path, cap);

                if (!p)
                        return false;
                w->path = p;
                w->cap = cap;
        }
        if (w->len)
                w->path[w->len++] = '/';
        memcpy(w->path + w->len, name, n);
        w->len += n;
        w->path[w->len] = 0;
        return true;
}

static void path_pop(struct walk *w)
{
        while (w->len && w->path[w->len - 1] != '/')
                w->len--;
        if (w->len)
                w->len--;
        w->path[w->len] = 0;
}

static struct vnode *lookup_exact(const struct ly_view *v, const char *path, size_t len)
{
        struct vnode *at = v->root;
        const char *end = path + len;

        while (at && path < end) {
                const char *slash = memchr(path, '/', (size_t)(end - path));
                size_t n = (size_t)((slash ? slash : end) - path);

                if (n)
                        at = find(v, at, path, n);
                path += n + (slash != NULL);
        }
        return at;
}

static int walk_path(struct walk *w, const char *path, bool follow_last, struct bld_err *err);

/* The symlink k is met in the folder at. */
static int follow(struct walk *w, const struct vnode *k, struct bld_err *err)
{
        const char *target = k->n.t->e.link;

        if (++w->links > LINKS_MAX)
                return err_set(err, BLD_E_INVALID, "too many symbolic links at \"%.500s\"",
                               k->n.t->e.path);
        if (*target == '/') {
                w->at = w->v->root;
                w->len = 0;
                w->path[0] = 0;
        }
        return walk_path(w, target, true, err);
}

static int walk_name(struct walk *w, const char *name, size_t n, bool follow_link,
                     struct bld_err *err)
{
        struct vnode *k = w->at && w->at->dir ? find(w->v, w->at, name, n) : NULL;

        if (k && k->n.t && k->n.t->e.type == LY_SYMLINK && follow_link)
                return follow(w, k, err);
        w->at = k;
        return path_push(w, name, n) ? 0 : err_nomem(err, "path");
}

static int walk_path(struct walk *w, const char *path, bool follow_last, struct bld_err *err)
{
        while (*path) {
                size_t n = strcspn(path, "/");
                const char *rest = path + n;
                int r;

                while (*rest == '/')
                        rest++;
                if (n == 2 && path[0] == '.' && path[1] == '.') {
                        path_pop(w);
                        w->at = lookup_exact(w->v, w->path, w->len);
                } else if (n && !(n == 1 && path[0] == '.')) {
                        r = walk_name(w, path, n, follow_last || *rest, err);
                        if (r < 0)
                                return r;
                }
                path = rest;
        }
        return 0;
}

static int walk_init(struct walk *w, const struct ly_view *v, struct bld_err *err)
{
        *w = (struct walk){.v = v, .at = v->root, .cap = 256};
        w->path = mem_zalloc(1, w->cap);
        return w->path ? 0 : err_nomem(err, "path");
}

int ly_view_resolve(const struct ly_view *v, const char *path, bool follow_last,
                    const struct ly_node **ret, char **ret_path, struct bld_err *err)
{
        struct walk w;
        int r = walk_init(&w, v, err);

        if (!r)
                r = walk_path(&w, path, follow_last, err);
        if (r < 0) {
                free(w.path);
                return r;
        }
        if (ret)
                *ret = w.at ? &w.at->n : NULL;
        if (ret_path)
                *ret_path = w.path;
        else
                free(w.path);
        return 0;
}

const struct ly_node *ly_view_get(const struct ly_view *v, const char *path)
{
        struct vnode *k = lookup_exact(v, path, strlen(path));

        return k ? &k->n : NULL;
}

/* ---- building ---- */

struct build {
        struct ly_view *v;
        unsigned layer;
        struct bld_err *err;
};

static int no_memory(struct build *b)
{
        return err_nomem(b->err, "merged view of layers");
}

static int not_resolved(struct build *b, const char *path, int r)
{
        if (r != BLD_E_INVALID)
                return r;
        err_clear(b->err);
        return err_set(b->err, BLD_E_CORRUPT, "\"%.400s\" cannot be resolved (links in a circle)",
                       path);
}

static int enter(struct build *b, const char *path, size_t len, struct vnode **ret);

/* The folder that a link leads to, path[0..len); made where it is missing. */
static int enter_link(struct build *b, const char *path, size_t len, struct vnode **ret)
{
        AUTO_FREE char *lead = mem_strndup(path, len);
        AUTO_FREE char *real = NULL;
        AUTO_FREE char *open_end = NULL;
        size_t n;
        int r;

        if (!lead)
                return no_memory(b);
        r = ly_view_resolve(b->v, lead, true, NULL, &real, b->err);
        if (r < 0)
                return not_resolved(b, lead, r);
        n = strlen(real);
        if (n >= LY_PATH_MAX)
                return err_set(b->err, BLD_E_CORRUPT, "\"%.400s\" cannot be resolved (too long)",
                               lead);
        /* A name that ends its string would be borrowed by a folder made here. */
        open_end = mem_alloc(n + 2);
        if (!open_end)
                return no_memory(b);
        memcpy(open_end, real, n);
        open_end[n] = '/';
        open_end[n + 1] = 0;
        return enter(b, open_end, n, ret);
}

/* The folder path[0..len), made where it is missing; a symlink on the way is followed: what
 * unpacking does. */
static int enter(struct build *b, const char *path, size_t len, struct vnode **ret)
{
        struct ly_view *v = b->v;
        struct vnode *at = v->root;
        const char *p = path, *end = path + len;

        if (v->last_dir && v->last_len == len && !memcmp(v->last_path, path, len)) {
                *ret = v->last_dir;
                return 0;
        }
        while (p < end) {
                const char *slash = memchr(p, '/', (size_t)(end - p));
                size_t n = (size_t)((slash ? slash : end) - p);
                struct vnode *k = find(v, at, p, n);

                if (k && k->n.t && k->n.t->e.type == LY_SYMLINK) {
                        int r = enter_link(b, path, (size_t)(p + n - path), &k);

                        if (r < 0)
                                return r;
                } else if (k && !k->dir) {
                        return err_set(b->err, BLD_E_CORRUPT,
                                       "\"%.*s\" is no folder, but the layer puts files below it",
                                       (int)MIN((size_t)(p + n - path), 400), path);
                }
                if (!k) {
                        if (++v->implied > IMPLIED_MAX)
                                return err_set(b->err, BLD_E_LIMIT,
                                               "layers imply more than %u folders without naming "
                                               "them",
                                               IMPLIED_MAX);
                        k = add(v, at, p, n);
                        if (!k)
                                return no_memory(b);
                        k->dir = true;
                        k->n.layer = k->n.name_layer = b->layer;
                }
                k->touched = b->layer + 1;
                at = k;
                p += n + (slash != NULL);
        }
        *ret = at;
        return 0;
}

/* What this layer did not make goes. */
static void prune(struct build *b, struct vnode *dir)
{
        size_t n = 0;

        for (size_t i = 0; i < dir->nkids; i++) {
                struct vnode *k = dir->kids[i];

                if (k->dead)
                        continue;
                if (k->touched == b->layer + 1) {
                        prune(b, k);
                        dir->kids[n++] = k;
                } else {
                        remove_node(b->v, k);
                }
        }
        dir->nkids = n;
}

/* Whiteouts touch what is below only, wherever they stand in the stream. A link on the way is
 * followed as it is at that moment. */
static int apply_whiteout(struct build *b, const struct ly_entry *e)
{
        const char *slash = strrchr(e->path, '/');
        size_t n = slash ? (size_t)(slash - e->path) : 0;
        const char *name = slash ? slash + 1 : e->path;
        AUTO_FREE char *dir = NULL;
        const struct ly_node *node = NULL;
        struct vnode *k;
        int r;

        if (e->type == LY_OPAQUE)
                n = strlen(e->path);
        dir = mem_strndup(e->path, n);
        if (!dir)
                return no_memory(b);
        r = ly_view_resolve(b->v, dir, true, &node, NULL, NULL);
        if (r < 0 && r != BLD_E_INVALID) /* what no path leads to is not there */
                return no_memory(b);
        k = node ? to_v(node) : NULL;
        if (k && e->type == LY_WHITEOUT)
                k = find(b->v, k, name, strlen(name));
        if (!k)
                return 0;
        if (e->type == LY_OPAQUE || k->touched == b->layer + 1)
                prune(b, k);
        else
                remove_node(b->v, k);
        return 0;
}

/* What a hard link names, before anything makes way for it; NULL: nothing. */
static int link_target(struct build *b, const char *path, struct vnode **ret)
{
        const struct ly_node *node = NULL;
        int r = 0;

        *ret = lookup_exact(b->v, path, strlen(path));
        if (!*ret) { /* through a symlinked folder, perhaps */
                r = ly_view_resolve(b->v, path, false, &node, NULL, b->err);
                *ret = !r && node ? to_v(node) : NULL;
        }
        return r < 0 ? not_resolved(b, path, r) : 0;
}

static int set_hardlink(struct build *b, struct vnode *k, const struct ly_toc_entry *te,
                        const struct vnode *to)
{
        if (!to && b->v->upper)
                return 0;
        if (!to || to->dir || !to->n.t || to->dead || to == k)
                return err_set(b->err, BLD_E_CORRUPT,
                               "hard link \"%.400s\" to \"%.400s\", which is %s", te->e.path,
                               te->e.link, to && to->dir ? "a folder" : "not there");
        k->n.t = to->n.t;
        k->n.layer = to->n.layer;
        return 0;
}

/* The node of an entry, without what was in its place. */
static int make_way(struct build *b, const struct ly_entry *e, struct vnode **ret)
{
        const char *path = e->path, *slash = strrchr(path, '/');
        size_t dir_len = slash ? (size_t)(slash - path) : 0;
        const char *name = slash ? slash + 1 : path;
        struct vnode *dir, *k;
        int r = enter(b, path, dir_len, &dir);

        if (r < 0)
                return r;
        k = find(b->v, dir, name, strlen(name));
        b->v->last_path = path;
        b->v->last_len = dir_len;
        b->v->last_dir = dir;
        if (k && !(k->dir && e->type == LY_DIR)) {
                remove_node(b->v, k); /* it may have been the way to its own folder */
                k = NULL;
        }
        *ret = k ? k : add(b->v, dir, name, strlen(name));
        return *ret ? 0 : no_memory(b);
}

static int add_entry(struct build *b, const struct ly_toc_entry *te)
{
        struct vnode *k = b->v->root, *to = NULL;
        int r = te->e.type == LY_HARDLINK ? link_target(b, te->e.link, &to) : 0;

        if (!r && *te->e.path)
                r = make_way(b, &te->e, &k);
        if (r < 0)
                return r;
        k->dir = te->e.type == LY_DIR;
        k->n.e = &te->e;
        k->n.t = te;
        k->n.layer = k->n.name_layer = b->layer;
        k->touched = b->layer + 1;
        return te->e.type == LY_HARDLINK ? set_hardlink(b, k, te, to) : 0;
}

static int add_layer(struct build *b, const struct ly_toc *t)
{
        int r = 0;

        for (size_t i = 0; !r && i < t->n; i++) {
                bool removes = t->v[i].e.type == LY_WHITEOUT || t->v[i].e.type == LY_OPAQUE;

                r = removes ? apply_whiteout(b, &t->v[i].e) : add_entry(b, &t->v[i]);
        }
        b->v->last_dir = NULL; /* its path is the layer's */
        return r;
}

int ly_view_add(struct ly_view *v, const struct ly_toc *toc, struct bld_err *err)
{
        struct build b = {.v = v, .layer = v->nlayers++, .err = err};

        return add_layer(&b, toc);
}

static int view_new(const struct ly_toc *const *tocs, size_t n, bool upper, struct ly_view **ret,
                    struct bld_err *err)
{
        AUTO(ly_view_free_p) struct ly_view *v = mem_zalloc(1, sizeof(*v));

        if (!v || !table_grow(v))
                return err_nomem(err, "merged view of layers");
        v->root = arena_alloc(&v->mem, sizeof(*v->root));
        if (!v->root)
                return err_nomem(err, "merged view of layers");
        v->upper = upper;
        v->root->n.name = "";
        v->root->n.priv = v->root;
        v->root->dir = true;
        for (size_t i = 0; i < n; i++) {
                int r = ly_view_add(v, tocs[i], err);

                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(&v);
        return 0;
}

int ly_view_new(const struct ly_toc *const *tocs, size_t n, struct ly_view **ret,
                struct bld_err *err)
{
        return view_new(tocs, n, false, ret, err);
}

int ly_view_new_upper(const struct ly_toc *const *tocs, size_t n, struct ly_view **ret,
                      struct bld_err *err)
{
        return view_new(tocs, n, true, ret, err);
}

static void free_kids(struct vnode *k)
{
        for (size_t i = 0; i < k->nkids; i++)
                free_kids(k->kids[i]);
        free(k->kids);
}

void ly_view_free(struct ly_view *v)
{
        if (!v)
                return;
        if (v->root)
                free_kids(v->root);
        free(v->slots);
        arena_done(&v->mem);
        free(v);
}

const struct ly_node *ly_view_root(const struct ly_view *v)
{
        return &v->root->n;
}

static int by_name(const void *a, const void *b)
{
        const struct vnode *const *x = a, *const *y = b;

        return strcmp((*x)->n.name, (*y)->n.name);
}

/* Sorted when first asked for: most folders never are. */
const struct ly_node *const *ly_view_children(const struct ly_view *v, const struct ly_node *dir,
                                              size_t *ret_n)
{
        struct vnode *d = to_v(dir);
        size_t live = 0;

        (void)v;
        for (size_t i = 0; i < d->nkids; i++)
                if (!d->kids[i]->dead)
                        d->kids[live++] = d->kids[i];
        d->nkids = live;
        if (!d->sorted && live > 1)
                qsort(d->kids, live, sizeof(struct vnode *), by_name);
        d->sorted = true;
        *ret_n = live;
        /* A node's first member is its public part, so the pointers are the same. */
        return (const struct ly_node *const *)(const void *)d->kids;
}
