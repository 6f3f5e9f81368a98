/* Layers become a tree. */
#include "base/err.h"
#include "lib/layer_priv.h"
#include "lib/open_priv.h"

static enum ly_tree_form tree_form(enum bld_layer_form f)
{
        switch (f) {
        case BLD_LAYER_OVERLAY_TRUSTED:
                return LY_TREE_OVERLAY_TRUSTED;
        case BLD_LAYER_OVERLAY_USER:
                return LY_TREE_OVERLAY_USER;
        case BLD_LAYER_PLAIN:
                break;
        }
        return LY_TREE_PLAIN;
}

/* One or several layers on their way into one folder. */
struct applying {
        int dir_fd;
        struct ly_apply_opts o;
        struct lib_owners owners;
        struct ly_apply_stats sum;
};

static void applying_done(struct applying *a)
{
        lib_owners_done(&a->owners);
}

static int begin(struct applying *a, int dir_fd, const struct bld_layer_apply_opts *o,
                 struct bld_err *err)
{
        *a = (struct applying){.dir_fd = dir_fd,
                               .o = {.form = tree_form(o->form),
                                     .keep_owner = o->keep_owner,
                                     .all_xattrs = o->all_xattrs,
                                     .tolerate_dev = o->skip_devices,
                                     .limits = {.bytes = o->max_bytes, .entries = o->max_entries}}};
        if (!o->record_owner)
                return 0;
        if (o->keep_owner || o->form != BLD_LAYER_PLAIN)
                return err_set(err, BLD_E_USAGE,
                               "owners are recorded in a plain tree, and instead of kept");
        a->o.owners = &a->owners.table;
        a->o.note_modes = true;
        return lib_owners_load(&a->owners, dir_fd, err);
}

static int check_diff_id(struct lib_untar *u, const struct digest *want, struct bld_err *err)
{
        struct digest got;
        int r = lib_untar_end(u, &got, err);

        return r < 0 ? r : lib_check_digest(want, &got, "diff ID", err);
}

/* The tar is decompressed by a thread while this one writes files. */
static int apply_one(struct applying *a, const struct ly_source *blob, atomic_bool *cut,
                     const struct digest *diff_id, struct bld_err *err)
{
        AUTO(lib_untar_free_p) struct lib_untar *u = NULL;
        struct ly_apply_stats st = {0};
        struct ly_source tar;
        int r = lib_untar_new(blob, cut, &a->o.limits, &u, err);

        if (r < 0)
                return r;
        tar = lib_untar_source(u);
        r = ly_apply(&tar, a->dir_fd, &a->o, &st, err);
        if (r == 0)
                r = check_diff_id(u, diff_id, err);
        a->sum.entries += st.entries;
        a->sum.bytes += st.bytes;
        a->sum.skipped_devices += st.skipped_devices;
        a->sum.skipped_xattrs += st.skipped_xattrs;
        a->sum.opaque_root |= st.opaque_root;
        return r;
}

static int finish(struct applying *a, struct bld_layer_applied *ret, struct bld_err *err)
{
        struct bld_layer_applied got = {.entries = a->sum.entries,
                                        .bytes = a->sum.bytes,
                                        .skipped_devices = a->sum.skipped_devices,
                                        .skipped_xattrs = a->sum.skipped_xattrs,
                                        .opaque_root = a->sum.opaque_root};
        int r = a->o.owners ? lib_owners_save(&a->owners, a->dir_fd, err) : 0;

        if (r == 0)
                lib_ret_put(ret, &got, sizeof(got));
        return r;
}

int bld_layer_apply(int fd, int dir_fd, const struct bld_layer_apply_opts *o,
                    struct bld_layer_applied *ret, struct bld_err *err)
{
        const struct bld_input from = {.size = sizeof(from), .fd = fd};
        AUTO(applying_done) struct applying a = {.dir_fd = -1};
        struct bld_layer_apply_opts own;
        struct lib_input in;
        struct ly_source blob;
        struct digest want;
        int r = lib_opts_copy(&own, sizeof(own), o, "bld_layer_apply", err);

        if (r == 0)
                r = lib_ret_check(ret, "bld_layer_apply", err);
        if (r == 0)
                r = lib_known(own.form <= BLD_LAYER_OVERLAY_USER, own.form, "form of a tree", err);
        if (r == 0 && own.diff_id)
                r = digest_parse(own.diff_id, &want, err);
        if (r == 0)
                r = lib_input_init(&in, &from, own.watch, err);
        if (r == 0)
                r = begin(&a, dir_fd, &own, err);
        if (r < 0)
                return r;
        blob = lib_input_source(&in);
        r = apply_one(&a, &blob, &in.unwanted, own.diff_id ? &want : NULL, err);
        return r == 0 ? finish(&a, ret, err) : r;
}

static int apply_layer(struct applying *a, struct bld_image *im, size_t i,
                       const struct bld_watch *watch, struct bld_err *err)
{
        const struct lib_layer_ref *l = lib_image_layer(im, i);
        AUTO(lib_blob_close_p) struct lib_blob *b = NULL;
        struct ly_source blob;
        int r = lib_blob_open(im, i, &b, err);

        if (r < 0)
                return r;
        if (watch)
                lib_blob_watch(b, watch);
        blob = lib_blob_source(b);
        r = apply_one(a, &blob, lib_blob_cut(b), l->has_diff_id ? &l->diff_id : NULL, err);
        r = lib_image_fault(im, r, err);
        return r < 0 ? err_wrap(err, r, "layer %zu", l->info.number) : 0;
}

int bld_image_apply(struct bld_image *im, int dir_fd, const struct bld_layer_apply_opts *o,
                    struct bld_layer_applied *ret, struct bld_err *err)
{
        const struct ly_limits *lim = lib_image_limits(im);
        AUTO(applying_done) struct applying a = {.dir_fd = -1};
        struct bld_layer_apply_opts own;
        int r = lib_opts_copy(&own, sizeof(own), o, "bld_image_apply", err);

        own.form = BLD_LAYER_PLAIN;
        own.max_bytes = own.max_bytes ? own.max_bytes : lim->bytes;
        own.max_entries = own.max_entries ? own.max_entries : lim->entries;
        if (r == 0)
                r = lib_ret_check(ret, "bld_image_apply", err);
        if (r == 0)
                r = lib_watch_known(own.watch, err);
        if (r == 0)
                r = begin(&a, dir_fd, &own, err);
        for (size_t i = 0; r == 0 && i < lib_image_layers(im); i++)
                r = apply_layer(&a, im, i, own.watch, err);
        return r == 0 ? finish(&a, ret, err) : r;
}
