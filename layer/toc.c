/* Tables of contents, built from tar bytes as they pass. */
#include "base/err.h"
#include "base/map.h"
#include "layer/arena_priv.h"
#include "layer/sums_priv.h"
#include "layer/tar_priv.h"

VEC_DEFINE(toc_entries, struct ly_toc_entry);
VEC_DEFINE(toc_seeks, struct ly_seek);

struct toc_builder {
        struct tar_parser t;
        struct arena *mem;
        struct toc_entries entries;
        struct toc_seeks seeks;
        uint32_t files;    /* with content */
        struct sums *sums; /* NULL: not wanted */
};

int toc_builder_new(const struct ly_limits *lim, struct toc_builder **ret, struct bld_err *err)
{
        AUTO(toc_builder_free_p) struct toc_builder *b = mem_zalloc(1, sizeof(*b));

        if (!b)
                return err_nomem(err, "table of contents");
        tar_parser_init(&b->t, TAR_LAYER, lim);
        b->mem = mem_zalloc(1, sizeof(*b->mem));
        if (!b->mem)
                return err_nomem(err, "table of contents");
        *ret = TAKE_PTR(&b);
        return 0;
}

int toc_builder_sums(struct toc_builder *b, const struct fpr_key *key, struct bld_err *err)
{
        return sums_new(key, &b->sums, err);
}

void toc_builder_free(struct toc_builder *b)
{
        if (!b)
                return;
        tar_parser_done(&b->t);
        toc_entries_done(&b->entries);
        toc_seeks_done(&b->seeks);
        sums_free(b->sums);
        if (b->mem)
                arena_done(b->mem);
        free(b->mem);
        free(b);
}

static bool copy_into(struct arena *mem, const struct ly_entry *e, struct ly_entry *c)
{
        *c = *e;
        c->path = arena_strndup(mem, e->path, strlen(e->path));
        c->link = e->link ? arena_strndup(mem, e->link, strlen(e->link)) : NULL;
        c->xattrs = NULL;
        if (e->nxattrs) {
                c->xattrs = arena_dup(mem, e->xattrs, e->nxattrs * sizeof(*e->xattrs));
                if (!c->xattrs)
                        return false;
        }
        for (size_t i = 0; i < e->nxattrs; i++) {
                const struct ly_xattr *x = &e->xattrs[i];

                c->xattrs[i].name = arena_strndup(mem, x->name, strlen(x->name));
                c->xattrs[i].value = arena_dup(mem, x->value, x->len);
                if (!c->xattrs[i].name || !c->xattrs[i].value)
                        return false;
        }
        return c->path && (c->link || !e->link);
}

static int builder_entry(struct toc_builder *b, struct bld_err *err)
{
        struct ly_toc_entry *te = toc_entries_push(&b->entries);
        const struct ly_extents *x = &b->t.extents;

        if (!te || !copy_into(b->mem, &b->t.e, &te->e))
                return err_nomem(err, "table of contents");
        te->data_off = b->t.data_off;
        te->sparse = b->t.sparse;
        if (te->e.type == LY_FILE && te->e.size)
                te->sum = b->files++;
        if (!te->sparse)
                return 0;
        te->extents = arena_dup(b->mem, x->v, x->n * sizeof(*x->v));
        te->nextents = x->n;
        return te->extents ? 0 : err_nomem(err, "table of contents");
}

int toc_builder_feed(struct toc_builder *b, const void *p, size_t n, struct bld_err *err)
{
        const unsigned char *at = p, *data;
        size_t used, len;
        enum tar_event ev;
        int r = 0;

        while (!r && n) {
                r = tar_feed(&b->t, at, n, &used, &ev, &data, &len, err);
                if (!r && ev == TAR_ENTRY)
                        r = builder_entry(b, err);
                if (!r && b->sums && ev == TAR_ENTRY)
                        r = sums_begin(b->sums, &b->t, err);
                if (!r && b->sums && ev == TAR_DATA)
                        r = sums_data(b->sums, &b->t, data, len, err);
                at += used;
                n -= used;
        }
        return r;
}

int toc_builder_seek(struct toc_builder *b, uint64_t tar_off, uint64_t blob_off,
                     struct bld_err *err)
{
        struct ly_seek *s = toc_seeks_push(&b->seeks);

        if (!s)
                return err_nomem(err, "table of contents");
        *s = (struct ly_seek){.tar_off = tar_off, .blob_off = blob_off};
        return 0;
}

/* Is some entry's folder neither in this layer nor the root? *ret, or out of memory. */
static int find_missing_parents(struct ly_toc *t, bool *ret)
{
        const char *last = "";
        size_t last_len = 0;
        struct map dirs;
        bool missing = false;
        int r = 0;

        map_init(&dirs, NULL);
        for (size_t i = 0; !r && i < t->n; i++)
                if (t->v[i].e.type == LY_DIR)
                        r = map_set(&dirs, t->v[i].e.path, t);
        for (size_t i = 0; !r && !missing && i < t->n; i++) {
                const char *p = t->v[i].e.path, *slash = strrchr(p, '/');
                size_t n = slash ? (size_t)(slash - p) : 0;

                if (t->v[i].e.type == LY_OPAQUE)
                        n = strlen(p);
                if (!n || (n == last_len && !memcmp(p, last, n)))
                        continue;
                missing = !map_getn(&dirs, p, n);
                last = p;
                last_len = n;
        }
        map_done(&dirs);
        *ret = missing;
        return r;
}

int toc_builder_end(struct toc_builder *b, struct ly_toc **ret, struct bld_err *err)
{
        AUTO(ly_toc_free_p) struct ly_toc *t = NULL;
        int r = tar_eof(&b->t, err);

        if (r < 0 || !ret)
                return r;
        t = mem_zalloc(1, sizeof(*t));
        if (!t)
                return err_nomem(err, "table of contents");
        t->priv = TAKE_PTR(&b->mem);
        t->v = TAKE_PTR(&b->entries.v);
        t->n = b->entries.n;
        t->seeks = TAKE_PTR(&b->seeks.v);
        t->nseeks = b->seeks.n;
        t->nsums = b->files;
        if (b->sums)
                sums_take(b->sums, t);
        t->tar_size = b->t.off;
        if (find_missing_parents(t, &t->missing_parents) < 0)
                return err_nomem(err, "table of contents");
        *ret = TAKE_PTR(&t);
        return 0;
}

void ly_toc_free(struct ly_toc *t)
{
        if (!t)
                return;
        if (t->priv)
                arena_done(t->priv);
        free(t->priv);
        free(t->v);
        free(t->seeks);
        free(t->sums);
        free(t);
}

const struct ly_sum *ly_toc_sum(const struct ly_toc *t, const struct ly_toc_entry *e)
{
        static const struct ly_sum nothing = {{0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14,
                                               0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
                                               0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c,
                                               0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55}};

        if (!e->e.size)
                return &nothing;
        return t->sums ? &t->sums[e->sum] : NULL;
}
