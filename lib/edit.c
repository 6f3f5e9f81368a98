/* Images made from images. */
#include "bld/edit.h"

#include <string.h>

#include "base/err.h"
#include "builder/transport.h"
#include "lib/call_priv.h"
#include "lib/image_priv.h"
#include "lib/session_priv.h"

/* ---- what is told of the result ---- */

static int add_layer(struct js *arr, const struct img_desc *d, const struct bd_edited *e,
                     struct bld_err *err)
{
        AUTO_JS struct js *o = js_obj();
        char text[DIGEST_STR_MAX];
        bool made = false;
        int r = o ? 0 : BLD_E_NOMEM;

        for (size_t i = 0; i < e->made.n; i++)
                made = made || digest_eq(&e->made.v[i].digest, &d->digest);
        digest_format(&d->digest, text);
        if (r == 0)
                r = js_set_str(o, "digest", text);
        if (r == 0)
                r = js_set_str(o, "mediaType", d->media_type);
        if (r == 0)
                r = js_set_i64(o, "size", (int64_t)d->size);
        if (r == 0)
                r = js_set_bool(o, "new", made);
        if (r == 0)
                r = js_push(arr, js_ref(o));
        return r < 0 ? err_nomem(err, "image") : 0;
}

static int add_image(struct bld *b, const struct img_desc *d, const struct bd_edited *e,
                     struct js *o, struct bld_err *err)
{
        AUTO(bd_image_done) struct bd_image im = {.source = {.domain = NULL}};
        AUTO_JS struct js *layers = js_arr(), *ids = js_arr(), *config = js_obj();
        char text[DIGEST_STR_MAX], platform[128];
        int r = bd_image_load(&b->ctx, d, NULL, &im, err);

        if (r < 0)
                return r;
        img_platform_format(&im.config.platform, platform);
        digest_format(&im.manifest.config.digest, text);
        r = js_set_str(o, "platform", platform);
        if (r == 0)
                r = js_set_str(config, "digest", text);
        if (r == 0)
                r = js_set(o, "config", js_ref(config));
        for (size_t i = 0; r == 0 && i < im.config.ndiff_ids; i++) {
                digest_format(&im.config.diff_ids[i], text);
                r = js_push_str(ids, text);
        }
        if (r == 0)
                r = js_set(o, "diffIds", js_ref(ids));
        if (r == 0)
                r = js_set(o, "layers", js_ref(layers));
        if (r < 0)
                return err_nomem(err, "image");
        for (size_t i = 0; r == 0 && i < im.manifest.layers.n; i++)
                r = add_layer(layers, &im.manifest.layers.v[i], e, err);
        return r;
}

static int describe(const struct img_desc *d, struct js *o, struct bld_err *err)
{
        char text[DIGEST_STR_MAX];
        int r;

        digest_format(&d->digest, text);
        r = js_set_str(o, "digest", text);
        if (r == 0)
                r = js_set_str(o, "mediaType", d->media_type);
        if (r == 0)
                r = js_set_i64(o, "size", (int64_t)d->size);
        return r < 0 ? err_nomem(err, "image") : 0;
}

/* The images among an index's entries; what else is in it is not told. */
static int add_index(struct bld *b, const struct bd_edited *e, struct js *o, struct bld_err *err)
{
        AUTO(img_index_done) struct img_index ix = {.media_type = NULL};
        AUTO_SB struct sb doc = SB_INIT(IMG_MANIFEST_MAX);
        AUTO_JS struct js *list = js_arr();
        int r = cas_blob_read(b->cas, &e->desc.digest, IMG_MANIFEST_MAX, &doc, err);

        if (r == 0)
                r = img_index_decode(sb_text(&doc), doc.len, e->desc.media_type, &ix, err);
        for (size_t i = 0; r == 0 && i < ix.manifests.n; i++) {
                AUTO_JS struct js *one = js_obj();

                if (!img_mt_is_manifest(ix.manifests.v[i].media_type))
                        continue;
                r = one ? describe(&ix.manifests.v[i], one, err) : err_nomem(err, "image");
                if (r == 0 && (r = add_image(b, &ix.manifests.v[i], e, one, NULL)) < 0)
                        r = r == BLD_E_INVALID ? 0 : err_set(err, r, "the result cannot be read");
                if (r == 0 && js_push(list, js_ref(one)) < 0)
                        r = err_nomem(err, "image");
        }
        return r == 0 && js_set(o, "manifests", js_ref(list)) < 0 ? err_nomem(err, "image") : r;
}

static int tell(struct bld *b, const struct bd_edited *e, char **ret, struct bld_err *err)
{
        AUTO_JS struct js *o = js_obj();
        int r = o ? js_set_str(o, "ref", e->ref) : BLD_E_NOMEM;

        if (r == 0)
                r = js_set(o, "name", e->name ? js_new_str(e->name) : js_new_null());
        if (r == 0)
                r = js_set_bool(o, "changed", e->changed);
        if (r < 0)
                return err_nomem(err, "image");
        r = describe(&e->desc, o, err);
        if (r == 0)
                r = img_mt_is_index(e->desc.media_type) ? add_index(b, e, o, err)
                                                        : add_image(b, &e->desc, e, o, err);
        return r == 0 ? lib_json_text(o, ret, err) : r;
}

/* ---- the calls ---- */

/* What the options of a call lead to. */
struct call {
        struct bd_edit e;
        struct bld_watch watch;
        struct lib_call call;
        struct img_place src, dst;
        struct img_platform platform, set_platform;
        struct lib_progress progress;
        struct img_changes changes;
        struct img_words entrypoint, cmd;
};

static void call_done(struct call *k)
{
        lib_call_end(&k->call);
        img_place_done(&k->src);
        img_place_done(&k->dst);
}

static int begin(struct bld *b, const char *src, const struct bld_edit_opts *theirs, struct call *k,
                 struct bld_err *err)
{
        struct bld_edit_opts o;
        int r = lib_opts_copy(&o, sizeof(o), theirs, "edit", err);

        if (r == 0)
                r = lib_opts_copy(&k->watch, sizeof(k->watch), o.watch, "watch", err);
        if (r == 0)
                r = lib_codec(o.codec, err);
        if (r == 0 && src && strcmp(src, "scratch") != 0) {
                r = img_place_parse(src, &k->src, err);
                k->e.src = &k->src;
        }
        if (r == 0 && o.dst) {
                r = img_place_parse(o.dst, &k->dst, err);
                k->e.dst = &k->dst;
        }
        if (r == 0 && o.platform && o.platform[0]) {
                r = lib_platform(o.platform, &k->platform, err);
                k->e.platform = &k->platform;
        }
        if (r < 0)
                return r;
        k->progress = (struct lib_progress){.fn = k->watch.progress, .user = k->watch.user};
        k->e.untagged = o.untagged;
        k->e.offline = b->o.offline;
        k->e.codec = o.codec;
        k->e.in_fd = o.in_fd;
        k->e.has_epoch = o.has_epoch;
        k->e.epoch_sec = o.epoch_sec;
        k->e.progress = lib_progress_step;
        k->e.user = &k->progress;
        return 0;
}

static int finish(struct bld *b, struct call *k, char **ret_json, struct bld_err *err)
{
        AUTO(bd_edited_done) struct bd_edited done = {.name = NULL};
        int r = lib_call_begin(b, &k->watch, &k->call, err);

        if (r == 0)
                r = bd_edit(k->call.ctx, &k->e, &done, err);
        return r == 0 ? tell(b, &done, ret_json, err) : r;
}

static struct img_words words(const struct bld_list *l)
{
        return (struct img_words){.v = l->v, .n = l->n};
}

int bld_mutate(struct bld *b, const char *src, const struct bld_mutate_opts *o, char **ret_json,
               struct bld_err *err)
{
        AUTO(call_done) struct call k = {.e = {.src = NULL}};
        struct bld_mutate_opts own;
        int r = lib_opts_copy(&own, sizeof(own), o, "mutate", err);

        if (r == 0)
                r = begin(b, src, own.edit, &k, err);
        if (r == 0 && own.set_platform) {
                r = lib_platform(own.set_platform, &k.set_platform, err);
                k.changes.platform = &k.set_platform;
        }
        if (r < 0)
                return r;
        k.changes.env = words(&own.env);
        k.changes.labels = words(&own.labels);
        k.changes.unset_env = words(&own.unset_env);
        k.changes.unset_labels = words(&own.unset_labels);
        k.changes.exposed = words(&own.exposed);
        k.entrypoint = words(&own.entrypoint);
        k.cmd = words(&own.cmd);
        k.changes.entrypoint = own.has_entrypoint ? &k.entrypoint : NULL;
        k.changes.cmd = own.has_cmd ? &k.cmd : NULL;
        k.changes.user = own.user;
        k.changes.workdir = own.workdir;
        k.e.changes = &k.changes;
        k.e.annotations = words(&own.annotations);
        k.e.append = words(&own.append);
        return finish(b, &k, ret_json, err);
}

int bld_append(struct bld *b, const char *src, const struct bld_list *layers,
               const struct bld_append_opts *o, char **ret_json, struct bld_err *err)
{
        AUTO(call_done) struct call k = {.e = {.src = NULL}};
        struct bld_append_opts own;
        int r = lib_opts_copy(&own, sizeof(own), o, "append", err);

        if (r == 0)
                r = begin(b, src, own.edit, &k, err);
        if (r == 0 && layers->n == 0)
                r = err_set(err, BLD_E_USAGE, "there is no layer to append");
        if (r < 0)
                return r;
        k.e.append = words(layers);
        k.e.base_annotations = own.base_annotations;
        return finish(b, &k, ret_json, err);
}

int bld_flatten(struct bld *b, const char *src, size_t from, const struct bld_edit_opts *o,
                char **ret_json, struct bld_err *err)
{
        AUTO(call_done) struct call k = {.e = {.src = NULL}};
        int r = begin(b, src, o, &k, err);

        if (r < 0)
                return r;
        k.e.flatten = true;
        k.e.from = from;
        return finish(b, &k, ret_json, err);
}

int bld_rebase(struct bld *b, const char *src, const char *old_base, const char *new_base,
               const struct bld_edit_opts *o, char **ret_json, struct bld_err *err)
{
        AUTO(call_done) struct call k = {.e = {.src = NULL}};
        int r = begin(b, src, o, &k, err);

        if (r == 0 && !k.e.src)
                r = err_set(err, BLD_E_USAGE, "an image of no layers has no base");
        if (r < 0)
                return r;
        k.e.rebase = true;
        k.e.old_base = old_base;
        k.e.new_base = new_base;
        return finish(b, &k, ret_json, err);
}
