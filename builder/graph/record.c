/* Result records: key -> chain of layers, as JSON under results/. */
#include "builder/graph/graph_priv.h"

#include <string.h>

#include "base/err.h"
#include "base/json.h"

#define RECORD_KIND "step"
#define RECORD_VERSION 1

void result_done(struct vx_result *r)
{
        bd_layers_free(&r->layers);
        memset(&r->chain_id, 0, sizeof(r->chain_id));
}

int result_copy(const struct vx_result *r, struct vx_result *ret)
{
        struct vx_result n = {.chain_id = r->chain_id};

        if (bd_layers_append(&n.layers, &r->layers) < 0) {
                result_done(&n);
                return BLD_E_NOMEM;
        }
        *ret = n;
        return 0;
}

int result_seal(struct vx_result *r, struct bld_err *err)
{
        struct digest *ids = mem_zalloc(r->layers.n, sizeof(*ids));

        if (!ids)
                return err_nomem(err, "chain of layers");
        for (size_t i = 0; i < r->layers.n; i++)
                ids[i] = r->layers.v[i].diff_id;
        memset(&r->chain_id, 0, sizeof(r->chain_id));
        if (r->layers.n)
                img_chain_id(ids, r->layers.n, &r->chain_id);
        free(ids);
        return 0;
}

static struct js *layer_encode(const struct bd_layer *l)
{
        char text[DIGEST_STR_MAX];
        AUTO_FREE char *source = NULL;
        struct js *j = js_obj();
        int r = 0;

        digest_format(&l->diff_id, text);
        r |= js_set_str(j, "diffID", text);
        r |= js_set(j, "blob", img_desc_encode(&l->desc));
        r |= js_set_i64(j, "tarSize", (int64_t)l->tar_size);
        r |= js_set_i64(j, "created", l->created_sec);
        if (l->source.domain) {
                source = img_ref_format(&l->source, IMG_REF_NO_TAG | IMG_REF_NO_DIGEST);
                r |= source ? js_set_str(j, "source", source) : BLD_E_NOMEM;
        }
        if (r < 0) {
                js_free(j);
                return NULL;
        }
        return j;
}

static int layer_decode(const struct js *j, struct bd_layer *l, struct bld_err *err)
{
        const char *diff = js_get_str(j, "diffID"), *source = js_get_str(j, "source");
        int64_t tar_size = 0;
        int r;

        if (!diff)
                return err_set(err, BLD_E_CORRUPT, "result record without diffID");
        r = digest_parse(diff, &l->diff_id, err);
        if (r == 0)
                r = img_desc_decode(js_get(j, "blob"), &l->desc, err);
        if (r == 0 && source)
                r = img_ref_parse(source, &l->source, err);
        (void)js_get_i64(j, "tarSize", &tar_size);
        (void)js_get_i64(j, "created", &l->created_sec);
        l->tar_size = (uint64_t)tar_size;
        l->reused = true;
        return r;
}

/* One that was cut short is no layer: moved aside, as if it had never been there. */
static int whole(struct bd_ctx *c, const struct img_desc *d, struct bld_err *err)
{
        uint64_t size = 0;
        int r = cas_blob_stat(c->cas, &d->digest, &size, err);

        if (r <= 0 || size == d->size)
                return r;
        (void)!cas_blob_verify(c->cas, &d->digest, NULL);
        return 0;
}

/* Every layer must be here, or known to be had from somewhere. */
static int layers_usable(struct bd_ctx *c, struct cas_build *build, const struct bd_layers *layers,
                         struct bld_err *err)
{
        for (size_t i = 0; i < layers->n; i++) {
                const struct bd_layer *l = &layers->v[i];
                uint64_t size = 0;
                int r = build ? cas_lease_blob(build, &l->desc.digest, err)
                              : cas_blob_stat(c->cas, &l->desc.digest, &size, err);

                if (r == 1)
                        r = whole(c, &l->desc, err);
                if (r < 0)
                        return r;
                if (r == 0 && !l->source.domain)
                        return 0;
        }
        return 1;
}

static int record_decode(const struct sb *text, struct vx_result *out, struct bld_err *err)
{
        AUTO_JS struct js *j = NULL;
        const struct js *layers;
        int64_t version = 0;
        int r = js_parse(sb_text(text), text->len, &j, err);

        if (r < 0)
                return r;
        layers = js_get(j, "layers");
        if (!js_get_i64(j, "v", &version) || version != RECORD_VERSION || !js_is_arr(layers))
                return err_set(err, BLD_E_CORRUPT, "result record of another version");
        for (size_t i = 0; i < js_len(layers) && r == 0; i++) {
                struct bd_layer *l = bd_layers_push(&out->layers);

                r = l ? layer_decode(js_at(layers, i), l, err) : err_nomem(err, "result record");
        }
        return r < 0 ? r : result_seal(out, err);
}

int record_get(struct bd_ctx *c, struct cas_build *build, const struct digest *key,
               struct vx_result *ret, struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(CAS_RECORD_MAX);
        struct vx_result out = {0};
        int r = cas_result_get(c->cas, key, RECORD_KIND, &text, err);

        if (r <= 0)
                return r;
        /* A record of another version, or one damaged, is a miss; so is one whose blobs went. */
        if (record_decode(&text, &out, NULL) < 0)
                r = 0;
        else
                r = layers_usable(c, build, &out.layers, err);
        if (r == 1) {
                result_done(ret);
                *ret = out;
        } else {
                result_done(&out);
        }
        return r;
}

int record_put(struct bd_ctx *c, const struct digest *key, const struct vertex *v,
               struct bld_err *err)
{
        return record_put_layers(c, key, &v->result.layers, v->name ? v->name : "", err);
}

int record_put_layers(struct bd_ctx *c, const struct digest *key, const struct bd_layers *layers,
                      const char *name, struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(CAS_RECORD_MAX);
        AUTO_JS struct js *j = js_obj();
        AUTO_FREE struct digest *blobs = mem_zalloc(layers->n, sizeof(*blobs));
        struct js *arr = js_arr();
        size_t nblobs = 0;
        int r = 0;

        if (!j || !arr || !blobs) {
                js_free(arr);
                return err_nomem(err, "result record");
        }
        for (size_t i = 0; i < layers->n; i++) {
                r |= js_push(arr, layer_encode(&layers->v[i]));
                if (!layers->v[i].source.domain)
                        blobs[nblobs++] = layers->v[i].desc.digest;
        }
        r |= js_set_i64(j, "v", RECORD_VERSION);
        r |= js_set_str(j, "step", name);
        r |= js_set(j, "layers", arr);
        if (r < 0)
                return err_nomem(err, "result record");
        r = js_write(j, JS_COMPACT, &text, err);
        if (r < 0)
                return r;
        return cas_result_put(c->cas, key, RECORD_KIND, sb_text(&text), text.len, blobs, nblobs,
                              err);
}
