/* --squash-all: the whole image as one layer, made from blobs once the build is done. */
#include "base/err.h"
#include "builder/solve/finish_priv.h"

static void squash_key(const struct build *b, const struct vx_result *res, struct digest *ret)
{
        struct hasher h;

        hasher_init(&h, DIGEST_SHA256);
        hasher_field_str(&h, "bld-squash-v2");
        hasher_field(&h, res->chain_id.b, sizeof(res->chain_id.b));
        hasher_field_u64(&h, b->codec);
        hasher_field_u64(&h, (uint64_t)(int64_t)b->level);
        hasher_end(&h, ret);
}

static int make_layer(struct build *b, const struct bd_layers *from, struct bd_layers *ret,
                      struct bld_err *err)
{
        AUTO(layer_out_free_p) struct layer_out *out = NULL;
        struct ly_sink tar;
        int r = layer_out_new(b, true, &out, err);

        if (r < 0)
                return r;
        tar = layer_out_tar(out);
        r = bd_flatten(b->c, from, 0, false, 0, &tar, err);
        return r < 0 ? r : layer_out_append(b, out, ret, err);
}

int squash_all(struct build *b, const struct vx_result *res, struct img_histories *history,
               struct vx_result *ret, struct bld_err *err)
{
        struct digest key;
        bool last = true;
        int r;

        squash_key(b, res, &key);
        r = record_get(b->c, b->record, &key, ret, err);
        if (r == 0) {
                r = make_layer(b, &res->layers, &ret->layers, err);
                r = r < 0 ? r : record_put_layers(b->c, &key, &ret->layers, "squashed", err);
                r = r < 0 ? r : result_seal(ret, err);
        }
        /* The layer stands with the last step that made one. */
        for (size_t i = history->n; i-- > 0 && r >= 0;) {
                bool makes = !history->v[i].empty_layer;

                history->v[i].empty_layer = !makes || !last;
                last = last && !makes;
        }
        return MIN(r, 0);
}
