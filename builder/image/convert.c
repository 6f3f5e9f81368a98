/* The same image under the other family's media types: OCI or Docker v2s2. Blobs keep their bytes,
 * and so their digests; documents get new ones. */
#include <string.h>

#include "base/err.h"
#include "builder/image/move_priv.h"

static int set_text(char **at, const char *s, struct bld_err *err)
{
        char *n = mem_strdup(s);

        if (!n)
                return err_nomem(err, "manifest");
        free(*at);
        *at = n;
        return 0;
}

static void drop_annotations(struct img_kvs *a)
{
        img_kvs_free(a);
        *a = (struct img_kvs){.v = NULL};
}

/* Docker's manifests have no place for them. */
static int to_docker(struct img_manifest *m, struct bld_err *err)
{
        if (m->has_subject || m->artifact_type)
                return err_set(err, BLD_E_INVALID,
                               "an artifact or referrer has no form as a docker manifest");
        drop_annotations(&m->annotations);
        drop_annotations(&m->config.annotations);
        for (size_t i = 0; i < m->layers.n; i++)
                drop_annotations(&m->layers.v[i].annotations);
        return 0;
}

static int convert_manifest(struct bd_ctx *c, const struct img_desc *d, enum bd_format format,
                            struct img_desc *ret, struct bld_err *err)
{
        AUTO(img_manifest_done) struct img_manifest m = {.media_type = NULL};
        AUTO_SB struct sb doc = SB_INIT(IMG_MANIFEST_MAX);
        bool docker = format == BD_FORMAT_DOCKER;
        int r = bd_doc_read(c, d, IMG_MANIFEST_MAX, &doc, err);

        if (r == 0)
                r = img_manifest_decode(sb_text(&doc), doc.len, d->media_type, &m, err);
        if (r == 0 && !img_mt_is_config(m.config.media_type))
                r = err_set(err, BLD_E_INVALID,
                            "only container images are converted, not \"%.100s\"",
                            m.config.media_type);
        if (r == 0 && docker)
                r = to_docker(&m, err);
        if (r == 0)
                r = set_text(&m.media_type, docker ? MT_DOCKER_MANIFEST : MT_OCI_MANIFEST, err);
        if (r == 0)
                r = set_text(&m.config.media_type, docker ? MT_DOCKER_CONFIG : MT_OCI_CONFIG, err);
        for (size_t i = 0; r == 0 && i < m.layers.n; i++) {
                const char *type = NULL;

                r = bd_layer_type(m.layers.v[i].media_type, format, &type, err);
                if (r == 0 && !str_eq(type, m.layers.v[i].media_type))
                        r = set_text(&m.layers.v[i].media_type, type, err);
        }
        return r == 0 ? bd_manifest_put(c, &m, ret, err) : r;
}

static int convert_index(struct bd_ctx *c, const struct img_desc *d, enum bd_format format,
                         struct img_desc *ret, struct bld_err *err)
{
        AUTO(img_index_done) struct img_index ix = {.media_type = NULL};
        AUTO_SB struct sb doc = SB_INIT(IMG_MANIFEST_MAX);
        int r = bd_doc_read(c, d, IMG_MANIFEST_MAX, &doc, err);

        if (r == 0)
                r = img_index_decode(sb_text(&doc), doc.len, d->media_type, &ix, err);
        if (r == 0)
                r = bd_drop_attestations(c, &ix, err);
        for (size_t i = 0; r == 0 && i < ix.manifests.n; i++) {
                AUTO(img_desc_done) struct img_desc made = {.media_type = NULL};
                struct img_desc *e = &ix.manifests.v[i];

                r = bd_convert_types(c, e, format, &made, err);
                if (r < 0)
                        return r;
                e->digest = made.digest;
                e->size = made.size;
                r = set_text(&e->media_type, made.media_type, err);
                if (format == BD_FORMAT_DOCKER)
                        drop_annotations(&e->annotations);
        }
        return r == 0 ? bd_assemble_index(c, &ix.manifests, format,
                                          format == BD_FORMAT_OCI ? &ix.annotations : NULL, ret,
                                          err)
                      : r;
}

static bool is_docker(const char *type)
{
        return str_eq(type, MT_DOCKER_LIST) || str_eq(type, MT_DOCKER_MANIFEST);
}

int bd_convert_types(struct bd_ctx *c, const struct img_desc *desc, enum bd_format format,
                     struct img_desc *ret, struct bld_err *err)
{
        struct img_desc d = {.media_type = NULL};
        int r;

        if (is_docker(desc->media_type) == (format == BD_FORMAT_DOCKER))
                return img_desc_copy(desc, ret) < 0 ? err_nomem(err, "manifest") : 0;
        r = img_mt_is_index(desc->media_type) ? convert_index(c, desc, format, &d, err)
                                              : convert_manifest(c, desc, format, &d, err);
        if (r < 0) {
                img_desc_done(&d);
                return r;
        }
        d.has_platform = desc->has_platform;
        d.platform = desc->platform;
        *ret = d;
        return 0;
}
