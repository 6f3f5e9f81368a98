/* One image, looked into: the shape docker prints, the documents themselves, the history. */
#include <string.h>

#include "base/err.h"
#include "bld/registry.h"
#include "builder/transport.h"
#include "lib/image_priv.h"
#include "lib/session_priv.h"

/* ---- finding it ---- */

int lib_image_open(struct bld *b, const char *ref, const struct img_platform *platform,
                   struct bd_image *ret, struct img_desc *ret_root, struct bld_err *err)
{
        AUTO_PLACE struct img_place p = {.text = NULL};
        struct bd_open_opts o = {.platform = platform, .offline = b->o.offline, .in_fd = -1};
        int r = img_place_parse(ref, &p, err);

        return r == 0 ? bd_open(&b->ctx, &p, &o, ret, ret_root, err) : r;
}

/* ---- docker's shape ---- */

static struct js *strings_or_null(const struct strv *a, bool has)
{
        return has ? js_from_strv(a) : js_new_null();
}

/* {"80/tcp": {}}, or null. */
static struct js *set_of(const struct strv *a)
{
        struct js *o;

        if (a->n == 0)
                return js_new_null();
        o = js_obj();
        for (size_t i = 0; o && i < a->n; i++)
                if (js_set(o, a->v[i], js_obj()) < 0) {
                        js_free(o);
                        return NULL;
                }
        return o;
}

static struct js *labels_of(const struct img_kvs *a)
{
        struct js *o;

        if (a->n == 0)
                return js_new_null();
        o = js_obj();
        for (size_t i = 0; o && i < a->n; i++)
                if (js_set_str(o, a->v[i].key, a->v[i].value) < 0) {
                        js_free(o);
                        return NULL;
                }
        return o;
}

static struct js *health_of(const struct img_health *h)
{
        AUTO_JS struct js *o = js_obj();
        int r = o ? js_set(o, "Test", js_from_strv(&h->test)) : BLD_E_NOMEM;

        if (r == 0 && h->interval_ns)
                r = js_set_i64(o, "Interval", h->interval_ns);
        if (r == 0 && h->timeout_ns)
                r = js_set_i64(o, "Timeout", h->timeout_ns);
        if (r == 0 && h->start_period_ns)
                r = js_set_i64(o, "StartPeriod", h->start_period_ns);
        if (r == 0 && h->start_interval_ns)
                r = js_set_i64(o, "StartInterval", h->start_interval_ns);
        if (r == 0 && h->retries)
                r = js_set_i64(o, "Retries", h->retries);
        return r < 0 ? NULL : TAKE_PTR(&o);
}

static const char *text_or_empty(const char *s)
{
        return s ? s : "";
}

static struct js *config_of(const struct img_config *c)
{
        AUTO_JS struct js *o = js_obj();
        int r = o ? js_set_str(o, "User", text_or_empty(c->user)) : BLD_E_NOMEM;

        if (r == 0)
                r = js_set(o, "ExposedPorts", set_of(&c->exposed_ports));
        if (r == 0)
                r = js_set(o, "Env", strings_or_null(&c->env, c->env.n > 0));
        if (r == 0)
                r = js_set(o, "Cmd", strings_or_null(&c->cmd, c->has_cmd));
        if (r == 0)
                r = js_set(o, "Volumes", set_of(&c->volumes));
        if (r == 0)
                r = js_set_str(o, "WorkingDir", text_or_empty(c->working_dir));
        if (r == 0)
                r = js_set(o, "Entrypoint", strings_or_null(&c->entrypoint, c->has_entrypoint));
        if (r == 0)
                r = js_set(o, "OnBuild", strings_or_null(&c->on_build, c->on_build.n > 0));
        if (r == 0)
                r = js_set(o, "Labels", labels_of(&c->labels));
        if (r == 0 && c->stop_signal)
                r = js_set_str(o, "StopSignal", c->stop_signal);
        if (r == 0 && c->has_health)
                r = js_set(o, "Healthcheck", health_of(&c->health));
        if (r == 0 && c->has_shell)
                r = js_set(o, "Shell", js_from_strv(&c->shell));
        return r < 0 ? NULL : TAKE_PTR(&o);
}

static struct js *rootfs_of(const struct img_config *c)
{
        AUTO_JS struct js *o = js_obj();
        AUTO_JS struct js *layers = js_arr();
        int r = o && layers ? js_set_str(o, "Type", "layers") : BLD_E_NOMEM;

        for (size_t i = 0; r == 0 && i < c->ndiff_ids; i++) {
                char text[DIGEST_STR_MAX];

                digest_format(&c->diff_ids[i], text);
                r = js_push_str(layers, text);
        }
        if (r == 0)
                r = js_set(o, "Layers", js_ref(layers));
        return r < 0 ? NULL : TAKE_PTR(&o);
}

static struct js *descriptor_of(const struct img_desc *d)
{
        AUTO_JS struct js *o = js_obj();
        char text[DIGEST_STR_MAX];
        int r = o ? js_set_str(o, "mediaType", d->media_type) : BLD_E_NOMEM;

        digest_format(&d->digest, text);
        if (r == 0)
                r = js_set_str(o, "digest", text);
        if (r == 0)
                r = js_set_i64(o, "size", (int64_t)d->size);
        return r < 0 ? NULL : TAKE_PTR(&o);
}

/* RepoTags and RepoDigests: what the store calls this image. */
static int put_names(struct bld *b, const struct img_desc *root, struct js *o, struct bld_err *err)
{
        AUTO(cas_refs_free) struct cas_refs refs = {.v = NULL};
        AUTO_JS struct js *tags = js_arr();
        AUTO_JS struct js *digests = js_arr();
        int r = tags && digests ? cas_ref_list(b->cas, &refs, err) : err_nomem(err, "image");

        for (size_t i = 0; r == 0 && i < refs.n; i++) {
                AUTO_REF struct img_ref ref = {.domain = NULL};
                AUTO_FREE char *tag = NULL, *pinned = NULL;

                if (!refs.v[i].name || !digest_eq(&refs.v[i].desc.digest, &root->digest) ||
                    img_ref_parse(refs.v[i].name, &ref, NULL) < 0)
                        continue;
                tag = img_ref_familiar(&ref, IMG_REF_NO_DIGEST);
                ref.digest = root->digest;
                pinned = img_ref_familiar(&ref, IMG_REF_NO_TAG);
                if (!tag || !pinned || js_push_str(tags, tag) < 0 ||
                    js_push_str(digests, pinned) < 0)
                        r = err_nomem(err, "image");
        }
        if (r < 0)
                return r;
        r = js_set(o, "RepoTags", js_ref(tags));
        if (r == 0)
                r = js_set(o, "RepoDigests", js_ref(digests));
        return r < 0 ? err_nomem(err, "image") : 0;
}

static int put_rest(const struct bd_image *im, const struct img_desc *root, struct js *o)
{
        const struct img_config *c = &im->config;
        int r = js_set_str(o, "Comment", "");

        if (r == 0)
                r = js_set_str(o, "Created", text_or_empty(c->created));
        if (r == 0)
                r = js_set_str(o, "Author", text_or_empty(c->author));
        if (r == 0)
                r = js_set(o, "Config", config_of(c));
        if (r == 0)
                r = js_set_str(o, "Architecture", c->platform.arch);
        if (r == 0 && c->platform.variant[0])
                r = js_set_str(o, "Variant", c->platform.variant);
        if (r == 0)
                r = js_set_str(o, "Os", c->platform.os);
        if (r == 0 && c->platform.os_version[0])
                r = js_set_str(o, "OsVersion", c->platform.os_version);
        if (r == 0)
                r = js_set_i64(o, "Size", lib_image_bytes(im));
        if (r == 0)
                r = js_set(o, "RootFS", rootfs_of(c));
        if (r == 0)
                r = js_set(o, "Descriptor", descriptor_of(root));
        return r;
}

static int docker_shape(struct bld *b, const struct bd_image *im, const struct img_desc *root,
                        char **ret, struct bld_err *err)
{
        AUTO_JS struct js *arr = js_arr();
        AUTO_JS struct js *o = js_obj();
        char id[DIGEST_STR_MAX];
        int r = arr && o ? 0 : err_nomem(err, "image");

        if (r < 0)
                return r;
        digest_format(&im->manifest.config.digest, id);
        if (js_set_str(o, "Id", id) < 0)
                return err_nomem(err, "image");
        r = put_names(b, root, o, err);
        if (r < 0)
                return r;
        if (put_rest(im, root, o) < 0 || js_push(arr, js_ref(o)) < 0)
                return err_nomem(err, "image");
        return lib_json_text(arr, ret, err);
}

/* ---- the call ---- */

static int raw_config(struct bld *b, const struct digest *d, char **ret, struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(IMG_CONFIG_MAX);
        char *s;
        int r = cas_blob_read(b->cas, d, IMG_CONFIG_MAX, &text, err);

        if (r < 0)
                return r;
        s = sb_take(&text);
        if (!s)
                return err_nomem(err, "document");
        *ret = s;
        return 0;
}

int bld_inspect(struct bld *b, const char *ref, enum bld_inspect what, const char *platform,
                char **ret_json, struct bld_err *err)
{
        AUTO(bd_image_done) struct bd_image im = {.source = {.domain = NULL}};
        AUTO(img_desc_done) struct img_desc root = {.media_type = NULL};
        struct img_platform want;
        size_t len = 0;
        int r;

        r = lib_known(what <= BLD_INSPECT_CONFIG, what, "bld_inspect", err);
        if (r < 0)
                return r;
        /* an index is what the name stands for, unless one platform was asked for */
        if (what == BLD_INSPECT_MANIFEST)
                return bld_manifest_get(b, ref, platform, ret_json, &len, err);
        r = lib_platform(platform, &want, err);
        if (r == 0)
                r = lib_image_open(b, ref, &want, &im, &root, err);
        if (r < 0)
                return r;
        switch (what) {
        case BLD_INSPECT_DOCKER:
                return docker_shape(b, &im, &root, ret_json, err);
        case BLD_INSPECT_CONFIG:
                return raw_config(b, &im.manifest.config.digest, ret_json, err);
        case BLD_INSPECT_MANIFEST:
                break;
        }
        return err_set(err, BLD_E_USAGE, "bld_inspect: unknown document");
}

/* ---- history ---- */

/* "file" and "line" of entry i, where a build of this store knows them. */
static int put_line(struct js *o, const struct js *known, size_t i)
{
        const char *file = js_get_str(known, "file");
        int64_t first = 0, line;
        int r;

        if (!file || !js_get_i64(known, "first", &first) || first < 0 || i < (uint64_t)first)
                return 0;
        line = js_i64(js_at(js_get(known, "lines"), i - (size_t)first), 0);
        if (line <= 0)
                return 0;
        r = js_set_str(o, "file", file);
        return r == 0 ? js_set_i64(o, "line", line) : r;
}

/* known: of bd_history_lines(), or NULL. */
static int history_row(const struct img_history *h, const struct img_desc *layer,
                       const struct js *known, size_t i, struct js *arr)
{
        AUTO_JS struct js *o = js_obj();
        char text[DIGEST_STR_MAX];
        int r = o ? js_set(o, "created", h->created ? js_new_str(h->created) : js_new_null())
                  : BLD_E_NOMEM;

        if (r == 0)
                r = js_set_str(o, "createdBy", text_or_empty(h->created_by));
        if (r == 0)
                r = js_set_i64(o, "size", layer ? (int64_t)layer->size : 0);
        if (r == 0)
                r = js_set_str(o, "comment", text_or_empty(h->comment));
        if (r == 0)
                r = js_set_bool(o, "emptyLayer", h->empty_layer);
        if (layer)
                digest_format(&layer->digest, text);
        if (r == 0)
                r = js_set(o, "digest", layer ? js_new_str(text) : js_new_null());
        if (r == 0 && known)
                r = put_line(o, known, i);
        return r == 0 ? js_push(arr, js_ref(o)) : r;
}

/* Entries pair with layers from the bottom; a history too long or too short is shown as it is. */
static int history_rows(const struct bd_image *im, const struct js *known, struct js *arr,
                        struct bld_err *err)
{
        const struct img_histories *h = &im->config.history;
        const struct img_descs *layers = &im->manifest.layers;
        size_t filled = 0, extra, at;
        int r = 0;

        for (size_t i = 0; i < h->n; i++)
                filled += !h->v[i].empty_layer;
        extra = layers->n > filled ? layers->n - filled : 0;
        for (size_t i = 0; r == 0 && i < extra; i++) {
                struct img_history none = {.created = NULL};

                r = history_row(&none, &layers->v[layers->n - 1 - i], NULL, 0, arr);
        }
        at = filled;
        for (size_t i = h->n; r == 0 && i > 0; i--) {
                const struct img_desc *layer = NULL;

                if (!h->v[i - 1].empty_layer) {
                        at--;
                        layer = at < layers->n ? &layers->v[at] : NULL;
                }
                r = history_row(&h->v[i - 1], layer, known, i - 1, arr);
        }
        return r < 0 ? err_nomem(err, "history") : 0;
}

int bld_history(struct bld *b, const char *ref, const char *platform, char **ret_json,
                struct bld_err *err)
{
        AUTO(bd_image_done) struct bd_image im = {.source = {.domain = NULL}};
        AUTO(img_desc_done) struct img_desc root = {.media_type = NULL};
        AUTO_JS struct js *arr = js_arr(), *known = NULL;
        struct img_platform want;
        int r = arr ? lib_platform(platform, &want, err) : err_nomem(err, "history");

        if (r == 0)
                r = lib_image_open(b, ref, &want, &im, &root, err);
        if (r < 0)
                return r;
        known = bd_history_lines(&b->ctx, &im.manifest.config.digest);
        r = history_rows(&im, known, arr, err);
        return r == 0 ? lib_json_text(arr, ret_json, err) : r;
}
