/* WORKDIR: the folder and its missing parents, owned by the current USER, in a layer of its own. */
#include "base/err.h"
#include "base/num.h"
#include "builder/op/layout_priv.h"
#include "builder/op/op_priv.h"

static int lay_out(const struct vx_mkdir *m, struct bd_tree *below, struct layout **ret,
                   struct bld_err *err)
{
        struct layout_opts lo = {.below = below, .now_ns = time_now_ns(), .dir_mode = 0755};
        AUTO(layout_free_p) struct layout *l = NULL, *none = NULL;
        AUTO_FREE char *path = NULL;
        struct layout_item *dir = NULL;
        enum ly_type have = LY_FILE;
        bool made = false;
        int r;

        /* A user the image does not know makes root's folder, as with the peers: it is RUN that
         * fails then. */
        if (m->user && *m->user && owner_parse(below, m->user, &lo.dir_uid, &lo.dir_gid, NULL) < 0)
                lo.dir_uid = lo.dir_gid = 0;
        r = layout_new(&lo, &l, err);
        if (r == 0)
                r = layout_new(&lo, &none, err);
        if (r == 0)
                r = layout_resolve(l, m->path, &path, err);
        if (r == 0 && layout_type(l, path, &have) && have == LY_DIR) {
                *ret = TAKE_PTR(&none); /* it is there: an empty layer */
                return 0;
        }
        if (r == 0)
                r = layout_dir(l, path, &dir, &made, err);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(&l);
        return 0;
}

int op_mkdir(struct build *b, struct vertex *v, struct bld_err *err)
{
        AUTO(bd_tree_free_p) struct bd_tree *below = NULL;
        AUTO(layer_out_free_p) struct layer_out *out = NULL;
        AUTO(layout_free_p) struct layout *l = NULL;
        struct ly_sink tar;
        int r = 0;

        if (v->inputs[0])
                r = bd_tree_open(b->c, &v->inputs[0]->result.layers, &below, err);
        if (r == 0)
                r = lay_out(&v->u.mkdir, below, &l, err);
        if (r == 0)
                r = layer_out_new(b, false, &out, err);
        if (r < 0)
                return r;
        tar = layer_out_tar(out);
        r = layout_write(l, &tar, err);
        return r == 0 ? layer_out_end(b, out, v, err) : r;
}
