/* --squash-all, --squash: the whole image, or what is above its base, as one layer, made from blobs
 * once the build is done. */
#include "base/err.h"
#include "builder/solve/finish_priv.h"

static void squash_key(const struct build *b, const struct vx_result *res, size_t from,
                       struct digest *ret)
{
        struct hasher h;

        hasher_init(&h, DIGEST_SHA256);
        hasher_field_str(&h, "bld-squash-v2");
        hasher_field(&h, res->chain_id.b, sizeof(res->chain_id.b));
        hasher_field_u64(&h, from);
        hasher_field_u64(&h, b->codec);
        hasher_field_u64(&h, (uint64_t)(int64_t)b->level);
        hasher_end(&h, ret);
}

static int make_layer(struct build *b, const struct bd_layers *all, size_t from,
                      struct bd_layers *ret, struct bld_err *err)
{
        AUTO(layer_out_free_p) struct layer_out *out = NULL;
        struct ly_sink tar;
        int r = layer_out_new(b, true, &out, err);

        if (r < 0)
                return r;
        tar = layer_out_tar(out);
        r = bd_flatten(b->c, all, from, false, 0, &tar, err);
        return r < 0 ? r : layer_out_append(b, out, ret, err);
}

/* The one layer, found or made. */
static int squashed(struct build *b, const struct vx_result *res, size_t from,
                    struct vx_result *ret, struct bld_err *err)
{
        struct digest key;
        int r;

        squash_key(b, res, from, &key);
        r = record_get(b->c, b->record, &key, ret, err);
        if (r != 0)
                return MIN(r, 0);
        r = make_layer(b, &res->layers, from, &ret->layers, err);
        return r < 0 ? r : record_put_layers(b->c, &key, &ret->layers, "squashed", err);
}

int squash(struct build *b, const struct vx_result *res, size_t from, struct img_histories *history,
           struct vx_result *ret, struct bld_err *err)
{
        const struct bd_layers base = {.v = res->layers.v, .n = from};
        AUTO(result_done) struct vx_result one = {0};
        size_t above = res->layers.n - from;
        bool last = true;
        int r = squashed(b, res, from, &one, err);

        if (r == 0 && (bd_layers_append(&ret->layers, &base) < 0 ||
                       bd_layers_append(&ret->layers, &one.layers) < 0))
                r = err_nomem(err, "layers");
        if (r == 0)
                r = result_seal(ret, err);
        /* The layer stands with the last step that made one. */
        for (size_t i = history->n; i-- > 0 && above > 0 && r >= 0;) {
                if (history->v[i].empty_layer)
                        continue;
                history->v[i].empty_layer = !last;
                last = false;
                above--;
        }
        return r;
}
