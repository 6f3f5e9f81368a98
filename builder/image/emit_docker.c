/* The archive that `docker load` (and podman, and skopeo's docker-archive:) reads: an OCI layout
 * with manifest.json and repositories beside it. */
#include "builder/builder.h"

#include <string.h>

#include "base/err.h"
#include "base/json.h"
#include "builder/image/archive_priv.h"
#include "builder/image/move_priv.h"

static bool is_image_entry(const struct img_desc *d)
{
        return img_mt_is_manifest(d->media_type) &&
               !img_kvs_get(&d->annotations, "vnd.docker.reference.type") &&
               !(d->has_platform && strcmp(d->platform.os, "unknown") == 0);
}

/* The one image of a root: itself, or the only image of an index (with a platform, that one). */
static int single(struct bd_ctx *c, const struct img_desc *root,
                  const struct img_platform *platform, struct img_desc *ret, struct bld_err *err)
{
        AUTO(img_index_done) struct img_index ix = {.media_type = NULL};
        AUTO_SB struct sb doc = SB_INIT(IMG_MANIFEST_MAX);
        size_t images = 0, at = 0;
        int r;

        if (!img_mt_is_index(root->media_type))
                return img_desc_copy(root, ret) < 0 ? err_nomem(err, "descriptor") : 0;
        r = bd_doc_read(c, root, IMG_MANIFEST_MAX, &doc, err);
        if (r == 0)
                r = img_index_decode(sb_text(&doc), doc.len, root->media_type, &ix, err);
        if (r < 0)
                return r;
        for (size_t i = 0; i < ix.manifests.n; i++) {
                if (is_image_entry(&ix.manifests.v[i])) {
                        images++;
                        at = i;
                }
        }
        if (platform) {
                r = img_index_choose(&ix, platform, &at, err);
        } else if (images != 1) {
                r = err_set(err, BLD_E_UNSUPPORTED,
                            "a docker archive holds one platform, the image has %zu", images);
                r = err_try(err, r,
                            "type=oci holds all of them; docker loads it where it uses the "
                            "containerd image store");
        }
        if (r < 0)
                return r;
        return img_desc_copy(&ix.manifests.v[at], ret) < 0 ? err_nomem(err, "descriptor") : 0;
}

/* ---- manifest.json ---- */

static struct js *layer_paths(const struct img_manifest *m)
{
        struct js *arr = js_arr();

        for (size_t i = 0; arr && i < m->layers.n; i++) {
                char path[BD_BLOB_PATH_MAX];

                bd_blob_path(&m->layers.v[i].digest, path);
                if (js_push_str(arr, path) < 0) {
                        js_free(arr);
                        return NULL;
                }
        }
        return arr;
}

static struct js *layer_sources(const struct bd_image *im)
{
        struct js *obj = js_obj();

        for (size_t i = 0; obj && i < im->manifest.layers.n; i++) {
                const struct img_desc *l = &im->manifest.layers.v[i];
                char diff[DIGEST_STR_MAX], text[DIGEST_STR_MAX];
                struct js *d = js_obj();
                int r = d ? 0 : BLD_E_NOMEM;

                digest_format(&im->config.diff_ids[i], diff);
                digest_format(&l->digest, text);
                if (r == 0)
                        r = js_set_str(d, "mediaType", l->media_type);
                if (r == 0)
                        r = js_set_i64(d, "size", (int64_t)l->size);
                if (r == 0)
                        r = js_set_str(d, "digest", text);
                if (r < 0)
                        js_free(d);
                else
                        r = js_set(obj, diff, d);
                if (r < 0) {
                        js_free(obj);
                        return NULL;
                }
        }
        return obj;
}

static int familiar(const char *name, struct img_ref *ref, char **ret, struct bld_err *err)
{
        int r = img_ref_parse(name, ref, err);

        if (r < 0)
                return r;
        *ret = img_ref_familiar(ref, IMG_REF_DEFAULT_TAG | IMG_REF_NO_DIGEST);
        return *ret ? 0 : err_nomem(err, "name");
}

static int add_tags(const struct strv *names, struct js *tags, struct bld_err *err)
{
        for (size_t i = 0; names && i < names->n; i++) {
                AUTO_REF struct img_ref ref = {.domain = NULL};
                AUTO_FREE char *name = NULL;
                int r = familiar(names->v[i], &ref, &name, err);

                if (r < 0)
                        return r;
                if (js_push_str(tags, name) < 0)
                        return err_nomem(err, "manifest.json");
        }
        return 0;
}

/* The entry of an image that has one already under another name. */
static struct js *find_entry(const struct js *list, const char *config)
{
        for (size_t i = 0; i < js_len(list); i++)
                if (str_eq(js_get_str(js_at(list, i), "Config"), config))
                        return js_at(list, i);
        return NULL;
}

static int image_entry(const struct bd_image *im, const struct strv *names, struct js *list,
                       struct bld_err *err)
{
        AUTO_JS struct js *tags = js_arr();
        struct js *e;
        char config[BD_BLOB_PATH_MAX];
        int r;

        bd_blob_path(&im->manifest.config.digest, config);
        e = find_entry(list, config);
        if (e && js_is_arr(js_get(e, "RepoTags")))
                return add_tags(names, js_get(e, "RepoTags"), err);
        r = tags ? add_tags(names, tags, err) : err_nomem(err, "manifest.json");
        if (r < 0)
                return r;
        if (e) {
                r = js_len(tags) ? js_set(e, "RepoTags", js_ref(tags)) : 0;
                return r < 0 ? err_nomem(err, "manifest.json") : 0;
        }
        e = js_obj();
        r = e ? js_set_str(e, "Config", config) : BLD_E_NOMEM;
        if (r == 0)
                r = js_set(e, "RepoTags", js_len(tags) ? js_ref(tags) : js_new_null());
        if (r == 0)
                r = js_set(e, "Layers", layer_paths(&im->manifest));
        if (r == 0)
                r = js_set(e, "LayerSources", layer_sources(im));
        if (r < 0)
                js_free(e);
        else
                r = js_push(list, e);
        return r < 0 ? err_nomem(err, "manifest.json") : 0;
}

/* repositories: {"app": {"v1": "<top layer>"}}, what came before manifest.json. */
static int repositories_entry(const struct bd_image *im, const struct strv *names, struct js *repos,
                              struct bld_err *err)
{
        const struct img_descs *layers = &im->manifest.layers;
        char hex[DIGEST_HEX_MAX];

        if (layers->n == 0)
                return 0;
        digest_hex(&layers->v[layers->n - 1].digest, hex);
        for (size_t i = 0; names && i < names->n; i++) {
                AUTO_REF struct img_ref ref = {.domain = NULL};
                AUTO_FREE char *repo = NULL;
                struct js *tags;
                int r = img_ref_parse(names->v[i], &ref, err);

                if (r < 0)
                        return r;
                repo = img_ref_familiar(&ref, IMG_REF_NO_TAG | IMG_REF_NO_DIGEST);
                if (!repo)
                        return err_nomem(err, "repositories");
                if (!js_get(repos, repo) && js_set(repos, repo, js_obj()) < 0)
                        return err_nomem(err, "repositories");
                tags = js_get(repos, repo);
                if (js_set_str(tags, ref.tag ? ref.tag : "latest", hex) < 0)
                        return err_nomem(err, "repositories");
        }
        return 0;
}

int bd_docker_documents(struct bd_ctx *c, const struct bd_saved *v, size_t n, struct sb *manifest,
                        struct sb *repositories, struct bld_err *err)
{
        AUTO_JS struct js *list = js_arr();
        AUTO_JS struct js *repos = js_obj();
        int r = list && repos ? 0 : err_nomem(err, "manifest.json");

        for (size_t i = 0; r == 0 && i < n; i++) {
                AUTO(img_desc_done) struct img_desc one = {.media_type = NULL};
                AUTO(bd_image_done) struct bd_image im = {.source = {.domain = NULL}};

                r = single(c, v[i].desc, NULL, &one, err);
                if (r == 0)
                        r = bd_image_load(c, &one, NULL, &im, err);
                if (r == 0)
                        r = image_entry(&im, v[i].names, list, err);
                if (r == 0)
                        r = repositories_entry(&im, v[i].names, repos, err);
        }
        if (r == 0)
                r = js_write(list, JS_COMPACT, manifest, err);
        if (r == 0 && js_len(repos))
                r = js_write(repos, JS_COMPACT, repositories, err);
        return r;
}

int bd_emit_docker(struct bd_ctx *c, const struct bd_export *x, struct bld_err *err)
{
        AUTO(img_desc_done) struct img_desc one = {.media_type = NULL};
        struct bd_saved saved = {.desc = &one, .names = x->names};
        struct bd_save_opts o = {
                .docker = true, .dest = x->dest, .out_fd = x->out_fd, .mtime_sec = x->mtime_sec};
        int r = single(c, x->desc, x->platform, &one, err);

        return r == 0 ? bd_save(c, &saved, 1, &o, err) : r;
}
