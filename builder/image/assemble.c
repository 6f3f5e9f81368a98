/* A result's layers and a config become the documents of an image. */
#include "builder/builder.h"

#include <string.h>

#include "base/err.h"
#include "base/num.h"
#include "builder/image/move_priv.h"

void bd_layers_free(struct bd_layers *a)
{
        if (!a)
                return;
        for (size_t i = 0; i < a->n; i++) {
                img_desc_done(&a->v[i].desc);
                img_ref_done(&a->v[i].source);
        }
        bd_layers_done(a);
}

int bd_layers_append(struct bd_layers *dst, const struct bd_layers *src)
{
        for (size_t i = 0; i < src->n; i++) {
                struct bd_layer *l = bd_layers_push(dst);
                const struct bd_layer *s = &src->v[i];

                if (!l)
                        return BLD_E_NOMEM;
                l->diff_id = s->diff_id;
                l->tar_size = s->tar_size;
                l->created_sec = s->created_sec;
                l->reused = s->reused;
                if (img_desc_copy(&s->desc, &l->desc) < 0 ||
                    bd_source_copy(&s->source, &l->source, NULL) < 0)
                        return BLD_E_NOMEM;
        }
        return 0;
}

/* ---- media types ---- */

static const struct {
        const char *oci, *docker;
} layer_types[] = {
        {MT_OCI_LAYER_GZIP, MT_DOCKER_LAYER_GZIP},
        {MT_OCI_LAYER, MT_DOCKER_LAYER},
        {"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
         "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"},
        {"application/vnd.oci.image.layer.nondistributable.v1.tar",
         "application/vnd.docker.image.rootfs.foreign.diff.tar"},
};

/* The same bytes under the other family's name: one document never mixes the two. */
int bd_layer_type(const char *have, enum bd_format format, const char **ret, struct bld_err *err)
{
        for (size_t i = 0; i < ARRAY_LEN(layer_types); i++) {
                if (!str_eq(have, layer_types[i].oci) && !str_eq(have, layer_types[i].docker))
                        continue;
                *ret = format == BD_FORMAT_OCI ? layer_types[i].oci : layer_types[i].docker;
                return 0;
        }
        if (str_eq(have, MT_DOCKER_LAYER ".zstd"))
                have = MT_OCI_LAYER_ZSTD;
        if (format == BD_FORMAT_DOCKER) {
                int r = err_set(err, BLD_E_INVALID,
                                "a layer of type \"%.100s\" cannot be in a docker manifest",
                                have ? have : "");

                return err_try(err, r, "--format oci");
        }
        *ret = have;
        return 0;
}

static int copy_layer_desc(const struct bd_layer *l, enum bd_format format, struct img_descs *to,
                           struct bld_err *err)
{
        struct img_desc *d = img_descs_push(to);
        const char *type = NULL;
        int r;

        if (!d)
                return err_nomem(err, "manifest");
        r = bd_layer_type(l->desc.media_type, format, &type, err);
        if (r < 0)
                return r;
        d->media_type = mem_strdup(type);
        d->digest = l->desc.digest;
        d->size = l->desc.size;
        if (!d->media_type || strv_copy(&d->urls, &l->desc.urls) < 0)
                return err_nomem(err, "manifest");
        if (format == BD_FORMAT_DOCKER)
                return 0;
        /* what a base says of its own blob stays true of the same bytes (eStargz and its kind) */
        for (size_t i = 0; i < l->desc.annotations.n; i++)
                if (img_kvs_set(&d->annotations, l->desc.annotations.v[i].key,
                                l->desc.annotations.v[i].value) < 0)
                        return err_nomem(err, "manifest");
        return 0;
}

/* ---- config ---- */

/* As many history entries that are not empty as there are layers: some readers pair them up, and
 * base images that violate it exist. Surplus entries lose their claim from the end (the layers that
 * are there belong to the first ones), missing ones are added. */
static int fix_history(struct img_config *config, const struct bd_layers *layers,
                       struct bld_err *err)
{
        size_t have = 0;

        for (size_t i = 0; i < config->history.n; i++) {
                if (config->history.v[i].empty_layer)
                        continue;
                if (have == layers->n)
                        config->history.v[i].empty_layer = true;
                else
                        have++;
        }
        for (; have < layers->n; have++) {
                char created[RFC3339_MAX], comment[] = IMG_HISTORY_FILLER;
                struct img_history h = {.comment = comment};

                if (layers->v[have].created_sec) {
                        format_rfc3339(layers->v[have].created_sec, 0, created);
                        h.created = created;
                }
                if (img_config_add_history(config, &h) < 0)
                        return err_nomem(err, "history");
        }
        return 0;
}

static int put_config(struct bd_ctx *c, const struct img_config *config,
                      const struct bd_layers *layers, struct img_desc *ret, const char *type,
                      struct bld_err *err)
{
        AUTO(img_config_done) struct img_config own;
        AUTO_SB struct sb text = SB_INIT(IMG_CONFIG_MAX);
        int r;

        img_config_init(&own);
        r = img_config_copy(config, &own, err);
        if (r < 0)
                return r;
        free(own.diff_ids);
        own.diff_ids = NULL;
        own.ndiff_ids = 0;
        for (size_t i = 0; i < layers->n; i++)
                if (img_config_add_diff_id(&own, &layers->v[i].diff_id) < 0)
                        return err_nomem(err, "config");
        for (size_t i = 0; own.no_history && i < own.history.n; i++)
                img_history_done(&own.history.v[i]);
        if (own.no_history)
                own.history.n = 0;
        else
                r = fix_history(&own, layers, err);
        if (r == 0)
                r = img_config_encode(&own, &text, err);
        if (r == 0)
                r = bd_doc_put(c, sb_text(&text), text.len, NULL, &ret->digest, err);
        if (r < 0)
                return r;
        ret->size = text.len;
        ret->media_type = mem_strdup(type);
        return ret->media_type ? 0 : err_nomem(err, "config");
}

/* ---- manifest ---- */

/* A base layer that no step needed may not be here. Where it can be fetched must outlive the
 * build, because an export or a push needs it. */
static int note_sources(struct bd_ctx *c, const struct bd_layers *layers, struct bld_err *err)
{
        for (size_t i = 0; i < layers->n; i++) {
                const struct bd_layer *l = &layers->v[i];
                int r;

                if (!l->source.domain)
                        continue;
                r = bd_has(c, &l->desc.digest, err);
                if (r == 0)
                        r = bd_source_note(c, &l->desc.digest, &l->source, err);
                if (r < 0)
                        return r;
        }
        return 0;
}

int bd_manifest_put(struct bd_ctx *c, const struct img_manifest *m, struct img_desc *ret,
                    struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(IMG_MANIFEST_MAX);
        int r = img_manifest_encode(m, &text, err);

        if (r == 0)
                r = bd_doc_put(c, sb_text(&text), text.len, NULL, &ret->digest, err);
        if (r < 0)
                return r;
        ret->size = text.len;
        ret->media_type = mem_strdup(m->media_type);
        return ret->media_type ? 0 : err_nomem(err, "manifest");
}

static int fill_manifest(struct img_manifest *m, const struct bd_layers *layers,
                         enum bd_format format, const struct img_kvs *annotations,
                         struct bld_err *err)
{
        bool docker = format == BD_FORMAT_DOCKER;

        m->media_type = mem_strdup(docker ? MT_DOCKER_MANIFEST : MT_OCI_MANIFEST);
        if (!m->media_type)
                return err_nomem(err, "manifest");
        for (size_t i = 0; i < layers->n; i++) {
                int r = copy_layer_desc(&layers->v[i], format, &m->layers, err);

                if (r < 0)
                        return r;
        }
        if (docker && annotations && annotations->n) {
                int r = err_set(err, BLD_E_INVALID, "docker manifests have no annotations");

                return err_try(err, r, "--format oci");
        }
        for (size_t i = 0; annotations && i < annotations->n; i++)
                if (img_kvs_set(&m->annotations, annotations->v[i].key, annotations->v[i].value) <
                    0)
                        return err_nomem(err, "manifest");
        return 0;
}

int bd_assemble(struct bd_ctx *c, const struct img_config *config, const struct bd_layers *layers,
                enum bd_format format, const struct img_kvs *annotations, struct img_desc *ret,
                struct digest *ret_config, struct bld_err *err)
{
        AUTO(img_manifest_done) struct img_manifest m = {.media_type = NULL};
        struct img_desc d = {.media_type = NULL};
        int r = fill_manifest(&m, layers, format, annotations, err);

        if (r == 0)
                r = put_config(c, config, layers, &m.config,
                               format == BD_FORMAT_DOCKER ? MT_DOCKER_CONFIG : MT_OCI_CONFIG, err);
        if (r == 0)
                r = note_sources(c, layers, err);
        if (r == 0)
                r = bd_manifest_put(c, &m, &d, err);
        if (r < 0) {
                img_desc_done(&d);
                return r;
        }
        d.has_platform = true;
        d.platform = config->platform;
        *ret = d;
        if (ret_config)
                *ret_config = m.config.digest;
        return 0;
}

int bd_assemble_index(struct bd_ctx *c, const struct img_descs *manifests, enum bd_format format,
                      const struct img_kvs *annotations, struct img_desc *ret, struct bld_err *err)
{
        AUTO(img_index_done) struct img_index ix = {.media_type = NULL};
        AUTO_SB struct sb text = SB_INIT(IMG_MANIFEST_MAX);
        struct img_desc d = {.media_type = NULL};
        int r;

        ix.media_type = mem_strdup(format == BD_FORMAT_DOCKER ? MT_DOCKER_LIST : MT_OCI_INDEX);
        if (!ix.media_type)
                return err_nomem(err, "index");
        for (size_t i = 0; i < manifests->n; i++) {
                struct img_desc *n = img_descs_push(&ix.manifests);

                if (!n || img_desc_copy(&manifests->v[i], n) < 0)
                        return err_nomem(err, "index");
        }
        for (size_t i = 0; annotations && i < annotations->n; i++)
                if (img_kvs_set(&ix.annotations, annotations->v[i].key, annotations->v[i].value) <
                    0)
                        return err_nomem(err, "index");
        r = img_index_encode(&ix, &text, err);
        if (r == 0)
                r = bd_doc_put(c, sb_text(&text), text.len, NULL, &d.digest, err);
        if (r < 0)
                return r;
        d.size = text.len;
        d.media_type = mem_strdup(ix.media_type);
        if (!d.media_type)
                return err_nomem(err, "index");
        *ret = d;
        return 0;
}
