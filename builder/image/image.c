/* Images of the store: documents, where blobs were seen, one image. */
#include "builder/builder.h"

#include <string.h>

#include "base/err.h"
#include "builder/image/move_priv.h"

#define SOURCE_KIND "bsrc"
#define SOURCE_MAX 1024u

/* ---- documents ---- */

void bd_short(const struct digest *d, char out[24])
{
        char text[DIGEST_STR_MAX];

        digest_format(d, text);
        (void)str_copy(out, 20, text); /* "sha256:" and 12 digits */
}

int bd_doc_read(struct bd_ctx *c, const struct img_desc *desc, size_t max, struct sb *out,
                struct bld_err *err)
{
        size_t before = out->len;
        int r = cas_blob_read(c->cas, &desc->digest, max, out, err);

        if (r < 0)
                return r;
        if (desc->size && out->len - before != desc->size) {
                char text[DIGEST_STR_MAX];

                digest_format(&desc->digest, text);
                return err_set(err, BLD_E_CORRUPT, "%s has %zu bytes where %llu were promised",
                               text, out->len - before, (unsigned long long)desc->size);
        }
        return 0;
}

int bd_has(struct bd_ctx *c, const struct digest *d, struct bld_err *err)
{
        uint64_t size = 0;

        return cas_blob_stat(c->cas, d, &size, err);
}

int bd_keep(struct bd_ctx *c, const struct digest *d, struct bld_err *err)
{
        uint64_t size = 0;

        return cas_blob_keep(c->cas, d, &size, err);
}

int bd_doc_put(struct bd_ctx *c, const void *p, size_t n, const struct digest *expect,
               struct digest *ret, struct bld_err *err)
{
        AUTO(cas_writer_free_p) struct cas_writer *w = NULL;
        struct digest d;
        int r;

        if (expect && expect->algo == DIGEST_SHA512) {
                struct hasher h;

                hasher_init(&h, DIGEST_SHA512);
                hasher_add(&h, p, n);
                hasher_end(&h, &d);
        } else {
                digest_of(p, n, &d);
        }
        if (expect && !digest_eq(&d, expect)) {
                char want[DIGEST_STR_MAX], have[DIGEST_STR_MAX];

                digest_format(expect, want);
                digest_format(&d, have);
                return err_set(err, BLD_E_CORRUPT, "content of %s hashes to %s", want, have);
        }
        if (d.algo == DIGEST_SHA256) {
                r = cas_blob_put(c->cas, p, n, &d, err);
        } else {
                r = cas_writer_open(c->cas, &w, err);
                if (r == 0)
                        r = cas_writer_add(w, p, n, err);
                if (r == 0)
                        r = cas_writer_commit(w, &d, n, &d, err);
        }
        if (r < 0)
                return r;
        if (ret)
                *ret = d;
        return 0;
}

int bd_blame_blob(struct bd_ctx *c, const struct digest *d, int r, struct bld_err *err)
{
        struct bld_err why = BLD_ERR_INIT;

        if (r >= 0 || cas_blob_verify(c->cas, d, &why) != BLD_E_CORRUPT)
                return r;
        err_copy(err, &why);
        return err_try(err, BLD_E_CORRUPT,
                       "build or pull again: what is lost is fetched or made anew");
}

/* ---- where blobs come from ---- */

int bd_source_copy(const struct img_ref *r, struct img_ref *ret, struct bld_err *err)
{
        if (r->domain)
                return img_ref_copy(r, ret, err);
        memset(ret, 0, sizeof(*ret));
        return 0;
}

/* domain NULL: where a blob came from; else where on that registry it was pushed to. */
static void source_key(const struct digest *d, const char *domain, struct digest *key)
{
        struct hasher h;
        char text[DIGEST_STR_MAX];

        digest_format(d, text);
        hasher_init(&h, DIGEST_SHA256);
        hasher_field_str(&h, domain ? "bld-pushed-v1" : "bld-source-v1");
        hasher_field_str(&h, text);
        if (domain)
                hasher_field_str(&h, domain);
        hasher_end(&h, key);
}

static int record_find(struct bd_ctx *c, const struct digest *key, struct img_ref *ret,
                       struct bld_err *err)
{
        AUTO_SB struct sb b = SB_INIT(SOURCE_MAX);
        int r = cas_result_get(c->cas, key, SOURCE_KIND, &b, err);

        if (r <= 0)
                return r;
        /* a damaged or foreign record is one that is not there */
        return img_ref_parse(sb_text(&b), ret, NULL) < 0 ? 0 : 1;
}

static int record_note(struct bd_ctx *c, const struct digest *key, const struct img_ref *repo,
                       struct bld_err *err)
{
        AUTO_REF struct img_ref known = {.domain = NULL};
        AUTO_FREE char *text = NULL;
        int r = record_find(c, key, &known, err);

        if (r < 0)
                return r;
        if (r > 0 && str_eq(known.domain, repo->domain) && str_eq(known.path, repo->path))
                return 0; /* a second look writes (and syncs) nothing */
        text = img_ref_format(repo, IMG_REF_NO_TAG | IMG_REF_NO_DIGEST);
        if (!text)
                return err_nomem(err, "name of a repository");
        return cas_result_put(c->cas, key, SOURCE_KIND, text, strlen(text), NULL, 0, err);
}

int bd_source_find(struct bd_ctx *c, const struct digest *d, struct img_ref *ret,
                   struct bld_err *err)
{
        struct digest key;

        source_key(d, NULL, &key);
        return record_find(c, &key, ret, err);
}

int bd_source_note(struct bd_ctx *c, const struct digest *d, const struct img_ref *repo,
                   struct bld_err *err)
{
        struct digest key;

        source_key(d, NULL, &key);
        return record_note(c, &key, repo, err);
}

int bd_pushed_find(struct bd_ctx *c, const struct digest *d, const char *domain,
                   struct img_ref *ret, struct bld_err *err)
{
        struct digest key;

        source_key(d, domain, &key);
        return record_find(c, &key, ret, err);
}

int bd_pushed_note(struct bd_ctx *c, const struct digest *d, const struct img_ref *repo,
                   struct bld_err *err)
{
        struct digest key;

        source_key(d, repo->domain, &key);
        return record_note(c, &key, repo, err);
}

/* ---- one image ---- */

void bd_image_done(struct bd_image *im)
{
        if (!im)
                return;
        img_desc_done(&im->desc);
        img_manifest_done(&im->manifest);
        img_config_done(&im->config);
        img_ref_done(&im->source);
        memset(im, 0, sizeof(*im));
}

int bd_image_read(struct bd_ctx *c, struct bd_image *ret, struct bld_err *err)
{
        AUTO_SB struct sb doc = SB_INIT(IMG_MANIFEST_MAX);
        AUTO_SB struct sb conf = SB_INIT(IMG_CONFIG_MAX);
        char text[24];
        int r;

        bd_short(&ret->desc.digest, text);
        r = bd_doc_read(c, &ret->desc, IMG_MANIFEST_MAX, &doc, err);
        if (r == 0)
                r = img_manifest_decode(sb_text(&doc), doc.len, ret->desc.media_type,
                                        &ret->manifest, err);
        if (r < 0)
                return err_wrap(err, r, "manifest %s", text);
        if (!img_mt_is_config(ret->manifest.config.media_type))
                return err_set(err, BLD_E_INVALID,
                               "%s is not a container image: its config has the type \"%.100s\"",
                               text, ret->manifest.config.media_type);
        r = bd_doc_read(c, &ret->manifest.config, IMG_CONFIG_MAX, &conf, err);
        if (r == 0)
                r = img_config_decode(sb_text(&conf), conf.len, &ret->config, err);
        if (r < 0)
                return err_wrap(err, r, "config of %s", text);
        if (ret->config.ndiff_ids != ret->manifest.layers.n)
                return err_set(err, BLD_E_CORRUPT, "%s has %zu layers, but its config lists %zu",
                               text, ret->manifest.layers.n, ret->config.ndiff_ids);
        return 0;
}

int bd_image_load(struct bd_ctx *c, const struct img_desc *desc,
                  const struct img_platform *platform, struct bd_image *ret, struct bld_err *err)
{
        struct bd_docs docs = bd_docs_store(c);
        struct bd_image im;
        struct img_platform host;
        int r;

        memset(&im, 0, sizeof(im));
        img_config_init(&im.config);
        if (!platform) {
                img_platform_host(&host);
                platform = &host;
        }
        r = bd_choose(&docs, desc, platform, &im.desc, err);
        if (r == 0)
                r = bd_image_read(c, &im, err);
        if (r == 0)
                r = bd_source_find(c, &im.desc.digest, &im.source, err);
        if (r < 0) {
                bd_image_done(&im);
                return r;
        }
        *ret = im;
        return 0;
}

int bd_image_layers(const struct bd_image *im, struct bd_layers *ret, struct bld_err *err)
{
        for (size_t i = 0; i < im->manifest.layers.n; i++) {
                struct bd_layer *l = bd_layers_push(ret);

                if (!l || img_desc_copy(&im->manifest.layers.v[i], &l->desc) < 0)
                        return err_nomem(err, "layers");
                l->diff_id = im->config.diff_ids[i];
                if (bd_source_copy(&im->source, &l->source, err) < 0)
                        return BLD_E_NOMEM;
        }
        return 0;
}
