/* Two trees, walked side by side as two sorted arrays. */
#include "base/err.h"
#include "layer/layer.h"

#define NS_PER_SEC 1000000000
#define IMPLIED_MODE 0755u

const struct ly_sum *ly_side_sum(const struct ly_side *s, uint32_t node)
{
        const struct ly_node *n = s->flat->v[node].n;

        return n->t && n->t->e.type == LY_FILE ? ly_toc_sum(s->tocs[n->layer], n->t) : NULL;
}

struct compare {
        const struct ly_side *a, *b;
        const struct ly_compare_opts *o;
        /* By group of A: what was compared with it last. Names of many files may alternate. */
        struct compared *groups;
};
struct compared {
        uint32_t with; /* group of B */
        bool known, same;
};

/* ---- attributes ---- */

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

static unsigned owners_differ(const struct ly_entry *p, const struct ly_entry *q)
{
        return (p->uid != q->uid ? LY_WHAT_UID : 0u) | (p->gid != q->gid ? LY_WHAT_GID : 0u);
}

/* A folder no layer names has what unpacking would give it. */
static unsigned implied_differs(const struct ly_entry *named)
{
        const struct ly_entry implied = {.type = LY_DIR, .mode = IMPLIED_MODE};
        unsigned what = owners_differ(named, &implied);

        if (named->type != LY_DIR)
                return LY_WHAT_TYPE;
        return what | (named->mode != IMPLIED_MODE ? LY_WHAT_MODE : 0u) |
               (named->nxattrs ? LY_WHAT_XATTRS : 0u);
}

/* All but content and names. */
static unsigned entries_differ(const struct ly_entry *p, const struct ly_entry *q)
{
        unsigned what = owners_differ(p, q);

        if (p->type != q->type)
                return LY_WHAT_TYPE;
        if (p->mode != q->mode && p->type != LY_SYMLINK) /* which has none */
                what |= LY_WHAT_MODE;
        if (seconds(p->mtime_ns) != seconds(q->mtime_ns))
                what |= LY_WHAT_MTIME;
        if ((p->type == LY_SYMLINK || p->type == LY_HARDLINK) && !str_eq(p->link, q->link))
                what |= LY_WHAT_LINK;
        if ((p->type == LY_CHAR || p->type == LY_BLOCK) &&
            (p->dev_major != q->dev_major || p->dev_minor != q->dev_minor))
                what |= LY_WHAT_DEVICE;
        if (p->type == LY_FILE && p->size != q->size)
                what |= LY_WHAT_SIZE | LY_WHAT_CONTENT;
        if (!same_xattrs(p, q))
                what |= LY_WHAT_XATTRS;
        return what;
}

/* ---- hard links ---- */

static bool same_paths(const struct compare *c, const struct ly_group *g, const struct ly_group *h)
{
        const struct ly_flat *x = c->a->flat, *y = c->b->flat;

        if (g->count != h->count || g->hash != h->hash)
                return false;
        for (uint32_t i = 0; i < g->count; i++)
                if (!str_eq(x->v[x->names[g->at + i]].path, y->v[y->names[h->at + i]].path))
                        return false;
        return true;
}

static bool same_names(const struct compare *c, uint32_t g, uint32_t h)
{
        struct compared *x;

        if (g == LY_NONE || h == LY_NONE)
                return g == h;
        x = &c->groups[g];
        if (!x->known || x->with != h)
                *x = (struct compared){
                        .with = h,
                        .known = true,
                        .same = same_paths(c, &c->a->flat->groups[g], &c->b->flat->groups[h])};
        return x->same;
}

/* ---- one path ---- */

/* 1 the same bytes, 0 not, -1 not known. */
static int same_content(const struct compare *c, uint32_t i, uint32_t k)
{
        const struct ly_sum *x, *y;

        if (c->a->flat->v[i].n->t == c->b->flat->v[k].n->t)
                return 1;
        x = ly_side_sum(c->a, i);
        y = ly_side_sum(c->b, k);
        return x && y ? !memcmp(x, y, sizeof(*x)) : -1;
}

static void judge(const struct compare *c, uint32_t i, uint32_t k, struct ly_change *ret)
{
        const struct ly_flat_node *x = &c->a->flat->v[i], *y = &c->b->flat->v[k];
        const struct ly_toc_entry *s = x->n->t, *t = y->n->t;

        *ret = (struct ly_change){.a = i, .b = k, .renamed = LY_NONE};
        if (!s || !t) {
                if (s || t)
                        ret->what = implied_differs(s ? &s->e : &t->e);
        } else {
                if (s != t)
                        ret->what = entries_differ(&s->e, &t->e);
                if (!(ret->what & (LY_WHAT_TYPE | LY_WHAT_CONTENT)) && s->e.type == LY_FILE &&
                    !(c->o->ignore & LY_WHAT_CONTENT)) {
                        int same = same_content(c, i, k);

                        ret->what |= same == 1 ? 0u : LY_WHAT_CONTENT;
                        ret->pending = same < 0;
                }
                if (!(ret->what & LY_WHAT_TYPE) && !same_names(c, x->group, y->group))
                        ret->what |= LY_WHAT_LINKS;
        }
        ret->what &= ~c->o->ignore;
}

/* ---- the walk ---- */

static bool wanted(const struct compare *c, const char *path)
{
        return !c->o->wanted || c->o->wanted(c->o->user, path);
}

static int add(struct ly_changes *v, const struct ly_change *ch, struct bld_err *err)
{
        struct ly_change *c = ly_changes_push(v);

        if (!c)
                return err_nomem(err, "list of changes");
        *c = *ch;
        return 0;
}

int ly_compare(const struct ly_side *a, const struct ly_side *b, const struct ly_compare_opts *o,
               struct ly_changes *ret, struct bld_err *err)
{
        AUTO_FREE struct compared *groups = mem_zalloc(MAX(a->flat->ngroups, 1), sizeof(*groups));
        const struct compare c = {.a = a, .b = b, .o = o, .groups = groups};
        uint32_t i = 0, k = 0;
        int r = groups ? 0 : err_nomem(err, "list of changes");

        while (!r && (i < a->flat->n || k < b->flat->n)) {
                struct ly_change ch = {.a = LY_NONE, .b = LY_NONE, .renamed = LY_NONE};
                int order = i == a->flat->n   ? 1
                            : k == b->flat->n ? -1
                                              : ly_path_cmp(a->flat->v[i].path, b->flat->v[k].path);

                if (!order)
                        judge(&c, i, k, &ch);
                else if (order < 0)
                        ch.a = i;
                else
                        ch.b = k;
                ch.path = order <= 0 ? a->flat->v[i].path : b->flat->v[k].path;
                if ((order || ch.what) && wanted(&c, ch.path))
                        r = add(ret, &ch, err);
                i += order <= 0;
                k += order >= 0;
        }
        return r;
}

void ly_compare_settle(const struct ly_side *a, const struct ly_side *b,
                       const struct ly_compare_opts *o, struct ly_changes *v)
{
        const struct compare c = {.a = a, .b = b, .o = o};
        size_t n = 0;

        for (size_t i = 0; i < v->n; i++) {
                struct ly_change *ch = &v->v[i];
                int same = ch->pending ? same_content(&c, ch->a, ch->b) : -1;

                if (same >= 0)
                        ch->pending = false;
                if (same == 1)
                        ch->what &= ~(unsigned)LY_WHAT_CONTENT;
                if (ch->what || ch->a == LY_NONE || ch->b == LY_NONE)
                        v->v[n++] = *ch;
        }
        v->n = n;
}

/* ---- sums that are missing ---- */

/* The file that a change says went (or came), if it is one with content; else NULL. */
static const struct ly_node *one_sided(const struct ly_side *a, const struct ly_side *b,
                                       const struct ly_change *ch, bool came)
{
        uint32_t node = came ? ch->b : ch->a;
        const struct ly_node *n;

        if (node == LY_NONE || (came ? ch->a : ch->b) != LY_NONE)
                return NULL;
        n = (came ? b : a)->flat->v[node].n;
        return n->t && n->t->e.type == LY_FILE && n->t->e.size ? n : NULL;
}

static void need(const struct ly_side *s, const struct ly_node *n, bool *need)
{
        if (!ly_toc_sum(s->tocs[n->layer], n->t))
                need[n->layer] = true;
}

static int by_size(const void *a, const void *b)
{
        uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

        return (x > y) - (x < y);
}

VEC_DEFINE(sizes, uint64_t);

static int sizes_of(const struct ly_side *a, const struct ly_side *b, const struct ly_changes *v,
                    bool came, struct sizes *ret, struct bld_err *err)
{
        for (size_t i = 0; i < v->n; i++) {
                const struct ly_node *n = one_sided(a, b, &v->v[i], came);
                uint64_t *s = n ? sizes_push(ret) : NULL;

                if (n && !s)
                        return err_nomem(err, "list of changes");
                if (s)
                        *s = n->t->e.size;
        }
        if (ret->n)
                qsort(ret->v, ret->n, sizeof(*ret->v), by_size);
        return 0;
}

static int need_for_renames(const struct ly_side *a, const struct ly_side *b,
                            const struct ly_changes *v, bool came, bool *need_it,
                            struct bld_err *err)
{
        struct sizes others = {0};
        int r = sizes_of(a, b, v, !came, &others, err);

        for (size_t i = 0; !r && others.n && i < v->n; i++) {
                const struct ly_node *n = one_sided(a, b, &v->v[i], came);

                if (n && bsearch(&n->t->e.size, others.v, others.n, sizeof(uint64_t), by_size))
                        need(came ? b : a, n, need_it);
        }
        sizes_done(&others);
        return r;
}

int ly_compare_missing(const struct ly_side *a, const struct ly_side *b, const struct ly_changes *v,
                       bool renames, bool *need_a, bool *need_b, struct bld_err *err)
{
        int r = 0;

        for (size_t i = 0; i < v->n; i++) {
                if (!v->v[i].pending)
                        continue;
                need(a, a->flat->v[v->v[i].a].n, need_a);
                need(b, b->flat->v[v->v[i].b].n, need_b);
        }
        if (renames)
                r = need_for_renames(a, b, v, false, need_a, err);
        if (!r && renames)
                r = need_for_renames(a, b, v, true, need_b, err);
        return r;
}

/* ---- renames ---- */

struct moved {
        const struct ly_sum *sum;
        uint64_t size;
        const char *name;
        uint32_t change;
        bool came;
};
VEC_DEFINE(moves, struct moved);

static int by_content(const struct moved *x, const struct moved *y)
{
        return x->size != y->size ? (x->size < y->size ? -1 : 1)
                                  : memcmp(x->sum, y->sum, sizeof(*x->sum));
}

static int by_content_name(const void *a, const void *b)
{
        const struct moved *x = a, *y = b;
        int r = by_content(x, y);

        if (!r)
                r = strcmp(x->name, y->name);
        return r ? r : (x->change > y->change) - (x->change < y->change);
}

static int by_content_order(const void *a, const void *b)
{
        const struct moved *x = a, *y = b;
        int r = by_content(x, y);

        return r ? r : (x->change > y->change) - (x->change < y->change);
}

static int find_moved(const struct ly_side *a, const struct ly_side *b, const struct ly_changes *v,
                      struct moves *ret, struct bld_err *err)
{
        for (size_t i = 0; i < v->n; i++) {
                bool came = v->v[i].a == LY_NONE;
                const struct ly_side *s = came ? b : a;
                const struct ly_node *n = one_sided(a, b, &v->v[i], came);
                const struct ly_sum *sum = n ? ly_toc_sum(s->tocs[n->layer], n->t) : NULL;
                struct moved *m;

                if (!sum)
                        continue;
                m = moves_push(ret);
                if (!m)
                        return err_nomem(err, "list of changes");
                *m = (struct moved){.sum = sum,
                                    .size = n->t->e.size,
                                    .name = n->name,
                                    .change = (uint32_t)i,
                                    .came = came};
        }
        return 0;
}

/* Pair within runs that are equal by `same`, those that went with those that came, in order. */
static void pair(struct moves *m, struct ly_changes *v, bool by_name)
{
        for (size_t i = 0, end; i < m->n; i = end) {
                size_t went = i, came = i;

                for (end = i + 1; end < m->n && !by_content(&m->v[i], &m->v[end]) &&
                                  (!by_name || str_eq(m->v[i].name, m->v[end].name));
                     end++)
                        ;
                for (;;) {
                        while (went < end &&
                               (m->v[went].came || v->v[m->v[went].change].renamed != LY_NONE))
                                went++;
                        while (came < end &&
                               (!m->v[came].came || v->v[m->v[came].change].renamed != LY_NONE))
                                came++;
                        if (went == end || came == end)
                                break;
                        v->v[m->v[went].change].renamed = m->v[came].change;
                        v->v[m->v[came].change].renamed = m->v[went].change;
                }
        }
}

int ly_compare_renames(const struct ly_side *a, const struct ly_side *b, struct ly_changes *v,
                       struct bld_err *err)
{
        struct moves m = {0};
        int r = find_moved(a, b, v, &m, err);

        if (!r && m.n) {
                qsort(m.v, m.n, sizeof(*m.v), by_content_name);
                pair(&m, v, true);
                qsort(m.v, m.n, sizeof(*m.v), by_content_order);
                pair(&m, v, false);
        }
        moves_done(&m);
        return r;
}
