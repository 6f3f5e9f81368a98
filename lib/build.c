/* Building, and the document that tells scripts about a finished build. */
#include "bld/build.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/num.h"
#include "base/path.h"
#include "lib/image_priv.h"
#include "lib/session_priv.h"

#define METADATA_SCHEMA 1

int bld_build(struct bld *b, const struct bld_build_opts *o, struct bld_build_result *ret,
              struct bld_err *err)
{
        AUTO_FREE struct bld_build_result *result = mem_zalloc(1, sizeof(*result));
        struct bld_build_opts own;
        int r = lib_ret_check(ret, "bld_build", err);

        if (r == 0)
                r = lib_opts_copy(&own, sizeof(own), o, "bld_build", err);
        if (r == 0)
                r = lib_known(own.pull <= BLD_PULL_NEWER, own.pull, "pull", err);
        if (r < 0)
                return r;
        if (!result)
                return err_nomem(err, "result of a build");
        r = bd_build(&b->ctx, &own, result, err);
        lib_ret_put(ret, result, sizeof(*result));
        return r;
}

/* ---- --metadata-file: keys without "bld." are buildx's and keep its shape ---- */

static int put_names(const struct bld_build_opts *o, struct js *j, struct bld_err *err)
{
        AUTO_SB struct sb names = SB_INIT(1u << 20);
        int r;

        for (size_t i = 0; i < o->tags.n; i++) {
                AUTO_FREE char *full = NULL;

                r = lib_full_name(o->tags.v[i], &full, err);
                if (r < 0)
                        return r;
                sb_fmt(&names, "%s%s", i ? "," : "", full);
        }
        r = sb_check(&names, "names of an image", err);
        if (r < 0 || names.len == 0)
                return r;
        return js_set_str(j, "image.name", sb_text(&names)) < 0 ? err_nomem(err, "metadata") : 0;
}

static int put_descriptor(const struct bld_build_result *res, struct js *j)
{
        AUTO_JS struct js *d = js_obj();
        int r;

        if (!res->digest[0])
                return 0;
        r = d ? js_set_str(d, "mediaType", res->media_type) : BLD_E_NOMEM;
        if (r == 0)
                r = js_set_str(d, "digest", res->digest);
        if (r == 0)
                r = js_set_i64(d, "size", (int64_t)res->document_bytes);
        if (r == 0)
                r = js_set_str(j, "containerimage.digest", res->digest);
        if (r == 0 && res->config_digest[0])
                r = js_set_str(j, "containerimage.config.digest", res->config_digest);
        return r == 0 ? js_set(j, "containerimage.descriptor", js_ref(d)) : r;
}

static struct js *layer_rows(const struct bd_image *im)
{
        AUTO_JS struct js *arr = js_arr();
        int r = arr ? 0 : BLD_E_NOMEM;

        for (size_t i = 0; r == 0 && i < im->manifest.layers.n; i++) {
                const struct img_desc *l = &im->manifest.layers.v[i];
                AUTO_JS struct js *o = js_obj();
                char text[DIGEST_STR_MAX], diff[DIGEST_STR_MAX];

                digest_format(&l->digest, text);
                digest_format(&im->config.diff_ids[i], diff);
                r = o ? js_set_str(o, "digest", text) : BLD_E_NOMEM;
                if (r == 0)
                        r = js_set_str(o, "diffID", diff);
                if (r == 0)
                        r = js_set_i64(o, "size", (int64_t)l->size);
                if (r == 0)
                        r = js_set_str(o, "mediaType", l->media_type);
                if (r == 0)
                        r = js_push(arr, js_ref(o));
        }
        return r < 0 ? NULL : TAKE_PTR(&arr);
}

static int platform_row(const struct bd_image *im, struct js *arr)
{
        AUTO_JS struct js *o = js_obj();
        char text[DIGEST_STR_MAX], platform[128];
        int r;

        img_platform_format(&im->config.platform, platform);
        r = o ? js_set_str(o, "platform", platform) : BLD_E_NOMEM;
        digest_format(&im->desc.digest, text);
        if (r == 0)
                r = js_set_str(o, "digest", text);
        digest_format(&im->manifest.config.digest, text);
        if (r == 0)
                r = js_set_str(o, "configDigest", text);
        if (r == 0)
                r = js_set_i64(o, "size", lib_image_bytes(im));
        if (r == 0)
                r = js_set(o, "layers", layer_rows(im));
        return r == 0 ? js_push(arr, js_ref(o)) : r;
}

static int index_rows(struct bld *b, const struct img_desc *root, struct js *arr,
                      struct bld_err *err)
{
        AUTO_SB struct sb doc = SB_INIT(IMG_MANIFEST_MAX);
        AUTO(img_index_done) struct img_index ix = {.media_type = NULL};
        int r = cas_blob_read(b->cas, &root->digest, IMG_MANIFEST_MAX, &doc, err);

        if (r == 0)
                r = img_index_decode(sb_text(&doc), doc.len, root->media_type, &ix, err);
        for (size_t i = 0; r == 0 && i < ix.manifests.n; i++) {
                AUTO(bd_image_done) struct bd_image im = {.source = {.domain = NULL}};

                if (!img_mt_is_manifest(ix.manifests.v[i].media_type) ||
                    img_kvs_get(&ix.manifests.v[i].annotations, "vnd.docker.reference.type"))
                        continue;
                r = bd_image_load(&b->ctx, &ix.manifests.v[i], NULL, &im, err);
                if (r == 0 && platform_row(&im, arr) < 0)
                        r = err_nomem(err, "metadata");
        }
        return r;
}

static int put_platforms(struct bld *b, const struct bld_build_result *res, struct js *j,
                         struct bld_err *err)
{
        AUTO(img_desc_done) struct img_desc root = {.media_type = NULL};
        AUTO_JS struct js *arr = js_arr();
        int r = arr ? 0 : err_nomem(err, "metadata");

        if (r < 0 || !res->digest[0])
                return r;
        r = digest_parse(res->digest, &root.digest, err);
        if (r < 0)
                return r;
        root.size = res->document_bytes;
        root.media_type = mem_strdup(res->media_type);
        if (!root.media_type)
                return err_nomem(err, "metadata");
        if (img_mt_is_index(root.media_type)) {
                r = index_rows(b, &root, arr, err);
        } else {
                AUTO(bd_image_done) struct bd_image im = {.source = {.domain = NULL}};

                r = bd_image_load(&b->ctx, &root, NULL, &im, err);
                if (r == 0 && platform_row(&im, arr) < 0)
                        r = err_nomem(err, "metadata");
        }
        if (r == 0 && js_set(j, "bld.platforms", js_ref(arr)) < 0)
                r = err_nomem(err, "metadata");
        return r;
}

static int put_cache(const struct bld_build_result *res, struct js *j)
{
        AUTO_JS struct js *o = js_obj();
        int r = o ? js_set_i64(o, "steps", res->steps) : BLD_E_NOMEM;

        if (r == 0)
                r = js_set_i64(o, "hit", res->steps_cached);
        if (r == 0)
                r = js_set_i64(o, "miss", (int64_t)res->steps - (int64_t)res->steps_cached);
        if (r == 0 && res->steps_imported)
                r = js_set_i64(o, "imported", res->steps_imported);
        if (r == 0 && res->cache_stored)
                r = js_set_i64(o, "stored", res->cache_stored);
        return r == 0 ? js_set(j, "bld.cache", js_ref(o)) : r;
}

/* Every name of the build that went to a registry; the counts are those of the whole build. */
static int put_pushed(const struct bld_build_opts *o, const struct bld_build_result *res,
                      struct js *j, struct bld_err *err)
{
        AUTO_JS struct js *arr = js_arr();

        if (!arr)
                return err_nomem(err, "metadata");
        for (size_t i = 0; o->push && i < o->tags.n; i++) {
                AUTO_FREE char *full = NULL;
                AUTO_JS struct js *p = js_obj();
                int r = lib_full_name(o->tags.v[i], &full, err);

                if (r < 0)
                        return r;
                if (!p || js_set_str(p, "ref", full) < 0 ||
                    js_set_str(p, "digest", res->digest) < 0 ||
                    js_set_i64(p, "bytesUploaded", i ? 0 : (int64_t)res->pushed_bytes) < 0 ||
                    js_set_i64(p, "bytesMounted", i ? 0 : (int64_t)res->push_skipped_bytes) < 0 ||
                    js_push(arr, js_ref(p)) < 0)
                        return err_nomem(err, "metadata");
        }
        return js_len(arr) && js_set(j, "bld.pushed", js_ref(arr)) < 0 ? err_nomem(err, "metadata")
                                                                       : 0;
}

/* What the build left in its record: the folder, and the log where there is one file of it. */
static int put_files(struct bld *b, const struct bld_build_result *res, struct js *j)
{
        static const struct {
                const char *key, *name;
        } files[] = {{"record", ""}, {"log", "/log"}, {"trace", "/trace.json"}};
        AUTO_JS struct js *o = js_obj();
        int r = o ? 0 : BLD_E_NOMEM;

        for (size_t i = 0; r == 0 && res->id[0] && i < ARRAY_LEN(files); i++) {
                AUTO_FREE char *path = NULL;
                char rel[64];

                (void)snprintf(rel, sizeof(rel), "builds/%s%s", res->id, files[i].name);
                if (faccessat(cas_root_fd(b->cas), rel, F_OK, 0) < 0)
                        continue;
                path = path_join(cas_root(b->cas), rel);
                r = path ? js_set_str(o, files[i].key, path) : BLD_E_NOMEM;
        }
        return r == 0 ? js_set(j, "bld.files", js_ref(o)) : r;
}

static int put_build(const struct bld_build_result *res, struct js *j)
{
        char ref[64];
        bool warnings = false;
        const char *env = getenv("BUILDX_METADATA_WARNINGS");
        int r;

        (void)snprintf(ref, sizeof(ref), "bld/local/%s", res->id);
        r = js_set_str(j, "buildx.build.ref", ref);
        if (r == 0 && env && parse_go_bool(env, &warnings) && warnings)
                r = js_set(j, "buildx.build.warnings", js_arr());
        if (r == 0)
                r = js_set_str(j, "bld.version", bld_version());
        if (r == 0)
                r = js_set_i64(j, "bld.schema", METADATA_SCHEMA);
        if (r == 0)
                r = js_set_str(j, "bld.build.id", res->id);
        if (r == 0)
                r = js_set_str(j, "bld.status", "ok");
        if (r == 0)
                r = js_set_i64(j, "bld.duration_ms", res->total_ms);
        return r;
}

int bld_build_metadata(struct bld *b, const struct bld_build_opts *o,
                       const struct bld_build_result *theirs, char **ret, struct bld_err *err)
{
        AUTO_FREE struct bld_build_result *res = mem_zalloc(1, sizeof(*res));
        AUTO_JS struct js *j = js_obj();
        struct bld_build_opts own;
        int r = lib_opts_copy(&own, sizeof(own), o, "bld_build_metadata", err);

        if (r == 0 && !res)
                r = err_nomem(err, "metadata");
        if (r == 0)
                r = lib_opts_copy(res, sizeof(*res), theirs, "bld_build_metadata", err);
        if (r < 0)
                return r;
        if (!j || put_build(res, j) < 0 || put_descriptor(res, j) < 0 || put_cache(res, j) < 0 ||
            put_files(b, res, j) < 0)
                return err_nomem(err, "metadata");
        r = put_names(&own, j, err);
        if (r == 0)
                r = put_platforms(b, res, j, err);
        if (r == 0)
                r = put_pushed(&own, res, j, err);
        return r == 0 ? lib_json_text(j, ret, err) : r;
}
