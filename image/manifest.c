/* Manifests and indexes (image-spec manifest.md, image-index.md; Docker image manifest v2 schema 2
 * and manifest lists). Whoever sends a document controls all of it: the same bytes must not be a
 * manifest to one reader and an index to the next. */
#include "image/image_priv.h"

#include <string.h>
#include <strings.h>

#include "base/err.h"

#define ENTRIES_MAX 16384

/* Go's decoder folds the case of names, so "Layers" is "layers" to other tools: refuse what would
 * be read differently there. */
static int check_names(const struct js *j, const char *what, struct bld_err *err)
{
        static const char *const names[] = {"schemaVersion", "mediaType", "config",  "layers",
                                            "manifests",     "subject",   "fsLayers"};

        for (void *it = js_iter(j); it; it = js_iter_next(j, it)) {
                const char *key = js_iter_key(it);

                for (size_t i = 0; i < ARRAY_LEN(names); i++)
                        if (strcasecmp(key, names[i]) == 0 && strcmp(key, names[i]) != 0)
                                return err_set(err, BLD_E_CORRUPT,
                                               "%s has a member \"%s\" beside \"%s\"", what, key,
                                               names[i]);
        }
        return 0;
}

/* What is common to both: version, names, and that the type is the promised one. is_type tells
 * which types are right, fallback is meant when nobody names one. */
static int check_head(const struct js *j, const char *what, const char *promised,
                      bool (*is_type)(const char *), const char *fallback, char **ret_type,
                      struct bld_err *err)
{
        AUTO_FREE char *type = NULL;
        int64_t version;
        int r = check_names(j, what, err);

        if (r < 0)
                return r;
        if (promised && !is_type(promised))
                return err_set(err, BLD_E_CORRUPT, "%s is served as \"%.100s\"", what, promised);
        if (js_get(j, "fsLayers") || (js_get_i64(j, "schemaVersion", &version) && version == 1))
                return err_set(err, BLD_E_CORRUPT,
                               "%s is of Docker schema 1, which is not read any more", what);
        if (!js_get_i64(j, "schemaVersion", &version) || version != 2)
                return err_set(err, BLD_E_CORRUPT, "%s does not have \"schemaVersion\" 2", what);
        if (js_get(j, "manifests") && js_get(j, "layers"))
                return err_set(err, BLD_E_CORRUPT,
                               "%s has both \"layers\" and \"manifests\": it means different "
                               "things to different readers",
                               what);
        r = img_js_text(j, "mediaType", &type, err);
        if (r < 0)
                return r;
        if (type && !*type) {
                free(type);
                type = NULL;
        }
        if (type && !is_type(type))
                return err_set(err, BLD_E_CORRUPT, "%s says it is of another type", what);
        if (type && promised && strcmp(type, promised) != 0)
                return err_set(err, BLD_E_CORRUPT, "%s is served as \"%s\" but says \"%s\"", what,
                               promised, type);
        if (!type) {
                type = mem_strdup(promised ? promised : fallback);
                if (!type)
                        return err_nomem(err, what);
        }
        *ret_type = TAKE_PTR(&type);
        return 0;
}

static int decode_descs(const struct js *arr, size_t max, const char *what, struct img_descs *ret,
                        struct bld_err *err)
{
        size_t n = js_is_arr(arr) ? js_len(arr) : 0;

        if (n > max)
                return err_set(err, BLD_E_LIMIT, "%s: %zu entries, more than %zu", what, n, max);
        for (size_t i = 0; i < n; i++) {
                struct img_desc *d = img_descs_push(ret);
                int r;

                if (!d)
                        return err_nomem(err, what);
                r = img_desc_decode(js_at(arr, i), d, err);
                if (r < 0)
                        return err_wrap(err, r, "%s entry %zu", what, i);
        }
        return 0;
}

static int decode_subject(const struct js *j, bool *ret_has, struct img_desc *ret,
                          struct bld_err *err)
{
        const struct js *s = js_get(j, "subject");

        if (js_is_null(s))
                return 0;
        *ret_has = true;
        return err_wrap(err, img_desc_decode(s, ret, err), "subject");
}

static int decode_manifest(const struct js *j, const char *media_type, struct img_manifest *m,
                           struct bld_err *err)
{
        const char *config_type = js_get_str(js_get(j, "config"), "mediaType");
        const char *fallback = config_type && strcmp(config_type, MT_DOCKER_CONFIG) == 0
                                       ? MT_DOCKER_MANIFEST
                                       : MT_OCI_MANIFEST;
        int r;

        r = check_head(j, "manifest", media_type, img_mt_is_manifest, fallback, &m->media_type,
                       err);
        if (r < 0)
                return r;
        if (js_get(j, "manifests"))
                return err_set(err, BLD_E_CORRUPT, "an index where a manifest was expected");
        r = img_desc_decode(js_get(j, "config"), &m->config, err);
        if (r < 0)
                return err_wrap(err, r, "manifest: config");
        if (!js_is_arr(js_get(j, "layers")))
                return err_set(err, BLD_E_CORRUPT, "manifest has no list \"layers\"");
        r = decode_descs(js_get(j, "layers"), IMG_LAYERS_MAX, "manifest: layers", &m->layers, err);
        if (r == 0)
                r = decode_subject(j, &m->has_subject, &m->subject, err);
        if (r == 0)
                r = img_js_text(j, "artifactType", &m->artifact_type, err);
        if (r == 0)
                r = img_js_kvs(j, "annotations", &m->annotations, err);
        return r;
}

int img_manifest_decode(const char *text, size_t len, const char *media_type,
                        struct img_manifest *ret, struct bld_err *err)
{
        AUTO(img_manifest_done) struct img_manifest m = {.media_type = NULL};
        AUTO_JS struct js *j = NULL;
        int r = img_doc_parse(text, len, IMG_MANIFEST_MAX, "manifest", &j, err);

        if (r == 0)
                r = decode_manifest(j, media_type, &m, err);
        if (r < 0)
                return r;
        *ret = m;
        memset(&m, 0, sizeof(m));
        return 0;
}

void img_manifest_done(struct img_manifest *m)
{
        if (!m)
                return;
        free(m->media_type);
        free(m->artifact_type);
        img_desc_done(&m->config);
        img_descs_free(&m->layers);
        img_desc_done(&m->subject);
        img_kvs_free(&m->annotations);
        memset(m, 0, sizeof(*m));
}

static void put_descs(int *r, struct js *obj, const char *key, const struct img_descs *a)
{
        AUTO_JS struct js *arr = js_arr();

        for (size_t i = 0; arr && *r == 0 && i < a->n; i++)
                *r = js_push(arr, img_desc_encode(&a->v[i]));
        img_put(r, obj, key, TAKE_PTR(&arr));
}

static int write_doc(int r, const struct js *j, const char *what, struct sb *out,
                     struct bld_err *err)
{
        if (r == BLD_E_NOMEM)
                return err_nomem(err, what);
        if (r < 0)
                return err_set(err, r, "%s cannot be written as JSON", what);
        return js_write(j, JS_COMPACT, out, err);
}

int img_manifest_encode(const struct img_manifest *m, struct sb *out, struct bld_err *err)
{
        AUTO_JS struct js *j = js_obj();
        int r = j ? 0 : BLD_E_NOMEM;

        img_put(&r, j, "schemaVersion", js_new_i64(2));
        img_put_str(&r, j, "mediaType", m->media_type ? m->media_type : MT_OCI_MANIFEST);
        img_put_str_opt(&r, j, "artifactType", m->artifact_type);
        img_put(&r, j, "config", img_desc_encode(&m->config));
        put_descs(&r, j, "layers", &m->layers);
        if (m->has_subject)
                img_put(&r, j, "subject", img_desc_encode(&m->subject));
        img_put_kvs_opt(&r, j, "annotations", &m->annotations);
        return write_doc(r, j, "manifest", out, err);
}

/* ---- indexes ---- */

int img_index_decode(const char *text, size_t len, const char *media_type, struct img_index *ret,
                     struct bld_err *err)
{
        AUTO(img_index_done) struct img_index ix = {.media_type = NULL};
        AUTO_JS struct js *j = NULL;
        struct js *entries;
        int r = img_doc_parse(text, len, IMG_MANIFEST_MAX, "index", &j, err);

        if (r == 0)
                r = check_head(j, "index", media_type, img_mt_is_index, MT_OCI_INDEX,
                               &ix.media_type, err);
        if (r < 0)
                return r;
        if (js_get(j, "layers") || js_get(j, "config"))
                return err_set(err, BLD_E_CORRUPT, "a manifest where an index was expected");
        /* Docker 25.0 wrote "manifests": null */
        r = img_js_array(j, "manifests", &entries, err);
        if (r == 0)
                r = decode_descs(entries, ENTRIES_MAX, "index", &ix.manifests, err);
        if (r == 0)
                r = decode_subject(j, &ix.has_subject, &ix.subject, err);
        if (r == 0)
                r = img_js_text(j, "artifactType", &ix.artifact_type, err);
        if (r == 0)
                r = img_js_kvs(j, "annotations", &ix.annotations, err);
        if (r < 0)
                return r;
        *ret = ix;
        memset(&ix, 0, sizeof(ix));
        return 0;
}

void img_index_done(struct img_index *ix)
{
        if (!ix)
                return;
        free(ix->media_type);
        free(ix->artifact_type);
        img_descs_free(&ix->manifests);
        img_desc_done(&ix->subject);
        img_kvs_free(&ix->annotations);
        memset(ix, 0, sizeof(*ix));
}

int img_index_encode(const struct img_index *ix, struct sb *out, struct bld_err *err)
{
        AUTO_JS struct js *j = js_obj();
        int r = j ? 0 : BLD_E_NOMEM;

        img_put(&r, j, "schemaVersion", js_new_i64(2));
        img_put_str(&r, j, "mediaType", ix->media_type ? ix->media_type : MT_OCI_INDEX);
        img_put_str_opt(&r, j, "artifactType", ix->artifact_type);
        put_descs(&r, j, "manifests", &ix->manifests);
        if (ix->has_subject)
                img_put(&r, j, "subject", img_desc_encode(&ix->subject));
        img_put_kvs_opt(&r, j, "annotations", &ix->annotations);
        return write_doc(r, j, "index", out, err);
}

/* Attestations and foreign documents share the list with the images. */
static bool is_image_entry(const struct img_desc *d)
{
        if (!img_mt_is_manifest(d->media_type) && !img_mt_is_index(d->media_type))
                return false;
        if (img_kvs_get(&d->annotations, "vnd.docker.reference.type"))
                return false;
        return !d->has_platform || strcmp(d->platform.os, "unknown") != 0 ||
               strcmp(d->platform.arch, "unknown") != 0;
}

static int none_fits(const struct img_index *ix, const struct img_platform *want,
                     struct bld_err *err)
{
        AUTO_SB struct sb list = SB_INIT(600);
        char name[128];
        int r;

        for (size_t i = 0; i < ix->manifests.n; i++) {
                const struct img_desc *d = &ix->manifests.v[i];

                if (!is_image_entry(d) || !d->has_platform)
                        continue;
                img_platform_format(&d->platform, name);
                if (list.len)
                        sb_str(&list, ", ");
                sb_escaped(&list, name, strlen(name));
        }
        img_platform_format(want, name);
        r = err_set(err, BLD_E_NOT_FOUND, "there is no image for platform %s", name);
        if (list.len)
                r = err_why(err, r, "offered: %s", sb_text(&list));
        return r;
}

int img_index_choose(const struct img_index *ix, const struct img_platform *want, size_t *ret,
                     struct bld_err *err)
{
        size_t best = 0, nimages = 0, bare = 0;
        bool has_bare = false;
        int best_score = 0;

        for (size_t i = 0; i < ix->manifests.n; i++) {
                const struct img_desc *d = &ix->manifests.v[i];
                int score;

                if (!is_image_entry(d))
                        continue;
                nimages++;
                if (!d->has_platform || (!d->platform.os[0] && !d->platform.arch[0])) {
                        has_bare = true;
                        bare = i;
                        continue;
                }
                score = d->os_features.n ? 0 : img_platform_score(want, &d->platform);
                if (score > best_score) {
                        best_score = score;
                        best = i;
                }
        }
        if (best_score > 0) {
                *ret = best;
                return 0;
        }
        if (has_bare && nimages == 1) {
                *ret = bare;
                return 0;
        }
        return none_fits(ix, want, err);
}

const char *img_guess_media_type(const char *text, size_t len)
{
        static const char *const known[] = {MT_OCI_INDEX, MT_OCI_MANIFEST, MT_DOCKER_LIST,
                                            MT_DOCKER_MANIFEST};
        AUTO_JS struct js *j = NULL;
        const char *type;

        if (img_doc_parse(text, len, IMG_CONFIG_MAX, "document", &j, NULL) < 0)
                return NULL;
        type = js_get_str(j, "mediaType");
        if (type && *type) {
                for (size_t i = 0; i < ARRAY_LEN(known); i++)
                        if (strcmp(type, known[i]) == 0)
                                return known[i];
                return NULL;
        }
        if (js_get(j, "manifests"))
                return js_get(j, "layers") || js_get(j, "config") ? NULL : MT_OCI_INDEX;
        if (js_is_obj(js_get(j, "config")) && js_is_arr(js_get(j, "layers"))) {
                type = js_get_str(js_get(j, "config"), "mediaType");
                return type && strcmp(type, MT_DOCKER_CONFIG) == 0 ? MT_DOCKER_MANIFEST
                                                                   : MT_OCI_MANIFEST;
        }
        return js_is_obj(js_get(j, "rootfs")) ? MT_OCI_CONFIG : NULL;
}
