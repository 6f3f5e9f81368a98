/* The merged tree of an image. */
#include "bld/tree.h"

#include "base/err.h"
#include "lib/layer_priv.h"
#include "lib/opts_priv.h"
#include "lib/tree_priv.h"

#define IMPLIED_MODE 0755u

DEFINE_AUTO_PTR(struct bld_tree, bld_tree_close);

void bld_tree_close(struct bld_tree *t)
{
        if (!t)
                return;
        lib_tree_read_done(t);
        ly_flat_free(t->flat);
        ly_view_free(t->view);
        for (size_t i = 0; t->scans && i < t->n; i++)
                lib_scan_unref(t->scans[i]);
        free(t->scans);
        free(t->tocs);
        free(t);
}

int lib_tree_new(struct bld_image *im, struct lib_scan *const *scans, size_t n, size_t below,
                 struct bld_tree **ret, struct bld_err *err)
{
        AUTO(bld_tree_close_p) struct bld_tree *t = mem_zalloc(1, sizeof(*t));
        int r;

        if (!t)
                return err_nomem(err, "tree of an image");
        t->im = im;
        t->below = below;
        t->scans = mem_zalloc(n, sizeof(struct lib_scan *));
        t->tocs = mem_zalloc(n, sizeof(struct ly_toc *));
        if (!t->scans || !t->tocs)
                return err_nomem(err, "tree of an image");
        for (; t->n < n; t->n++) {
                t->scans[t->n] = lib_scan_ref(scans[t->n]);
                t->tocs[t->n] = &scans[t->n]->toc;
        }
        r = below ? ly_view_new_upper(t->tocs, n, &t->view, err)
                  : ly_view_new(t->tocs, n, &t->view, err);
        if (!r)
                r = ly_flat_new(t->view, &t->flat, err);
        if (r < 0)
                return lib_image_fault(im, r, err);
        *ret = TAKE_PTR(&t);
        return 0;
}

struct ly_side lib_tree_side(const struct bld_tree *t)
{
        return (struct ly_side){.flat = t->flat, .tocs = t->tocs, .n = t->n};
}

int bld_tree_open(struct bld_image *im, const struct bld_tree_opts *o, struct bld_tree **ret,
                  struct bld_err *err)
{
        size_t n = lib_image_layers(im), made = 0;
        AUTO_FREE struct lib_scan **v = mem_zalloc(n, sizeof(struct lib_scan *));
        struct bld_tree_opts own;
        int r = lib_opts_copy(&own, sizeof(own), o, "bld_tree_open", err);

        if (!r && !v)
                r = err_nomem(err, "tree of an image");
        while (!r && made < n) {
                r = lib_scan_new(im, made, &v[made], err);
                if (r < 0)
                        break;
                v[made]->want_toc = true;
                v[made]->want_sums = own.content;
                made++;
        }
        if (!r)
                r = lib_scan_run(v, n, own.watch, err);
        if (!r)
                r = lib_tree_new(im, v, n, 0, ret, err);
        for (size_t i = 0; i < made; i++)
                lib_scan_unref(v[i]);
        return r;
}

/* ---- nodes ---- */

size_t bld_tree_count(const struct bld_tree *t)
{
        return t->flat->n;
}

size_t bld_tree_end(const struct bld_tree *t, size_t i)
{
        return i < t->flat->n ? t->flat->v[i].end : t->flat->n;
}

static int beyond(const struct bld_tree *t, size_t i, struct bld_err *err)
{
        if (i < t->flat->n)
                return 0;
        return err_set(err, BLD_E_NOT_FOUND, "the tree has %zu entries", t->flat->n);
}

static const char *first_name(const struct bld_tree *t, size_t i)
{
        uint32_t g = t->flat->v[i].group, first;

        if (g == LY_NONE)
                return NULL;
        first = t->flat->names[t->flat->groups[g].at];
        return first == i ? NULL : t->flat->v[first].path;
}

static void fill(const struct bld_tree *t, size_t i, struct bld_tree_node *ret)
{
        const struct ly_flat_node *f = &t->flat->v[i];
        const struct ly_sum *sum;
        struct bld_layer_entry e;

        ret->path = f->path;
        ret->layer = (unsigned)(f->n->name_layer + t->below);
        ret->type = BLD_LAYER_DIR;
        ret->mode = IMPLIED_MODE;
        ret->implied = !f->n->t;
        if (!f->n->t)
                return;
        lib_entry(&f->n->t->e, 0, &e);
        ret->type = e.type;
        ret->mode = e.mode;
        ret->uid = e.uid;
        ret->gid = e.gid;
        ret->file_size = e.type == BLD_LAYER_FILE ? e.file_size : 0;
        ret->mtime_ns = e.mtime_ns;
        ret->link = e.type == BLD_LAYER_SYMLINK ? e.link : NULL;
        ret->dev_major = e.dev_major;
        ret->dev_minor = e.dev_minor;
        ret->nxattrs = e.nxattrs;
        ret->first_name = first_name(t, i);
        sum = e.type == BLD_LAYER_FILE ? ly_toc_sum(t->tocs[f->n->layer], f->n->t) : NULL;
        ret->sha256 = sum && !t->tocs[f->n->layer]->keyed ? sum->b : NULL;
}

int bld_tree_node(const struct bld_tree *t, size_t i, struct bld_tree_node *ret,
                  struct bld_err *err)
{
        struct bld_tree_node n = {.size = sizeof(n)};
        int r = lib_ret_check(ret, "bld_tree_node", err);

        if (!r)
                r = beyond(t, i, err);
        if (r < 0)
                return r;
        fill(t, i, &n);
        lib_ret_put(ret, &n, sizeof(n));
        return 0;
}

int bld_tree_xattr(const struct bld_tree *t, size_t i, size_t k, const char **ret_name,
                   const void **ret_value, size_t *ret_len, struct bld_err *err)
{
        const struct ly_toc_entry *e;
        int r = beyond(t, i, err);

        if (r < 0)
                return r;
        e = t->flat->v[i].n->t;
        if (!e || k >= e->e.nxattrs)
                return err_set(err, BLD_E_NOT_FOUND, "no such attribute");
        *ret_name = e->e.xattrs[k].name;
        *ret_value = e->e.xattrs[k].value;
        *ret_len = e->e.xattrs[k].len;
        return 0;
}

int bld_tree_find(const struct bld_tree *t, const char *path, bool follow, size_t *ret_index,
                  struct bld_err *err)
{
        AUTO_FREE char *real = NULL;
        uint32_t i;
        int r;

        while (*path == '/')
                path++;
        if (follow) {
                r = ly_view_resolve(t->view, path, true, NULL, &real, err);
                if (r < 0)
                        return r;
                path = real;
        }
        if (!*path) {
                *ret_index = BLD_NO_NODE;
                return 1;
        }
        i = ly_flat_find(t->flat, path);
        if (i == LY_NONE)
                return 0;
        *ret_index = i;
        return 1;
}
