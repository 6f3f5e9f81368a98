/* Copies between any two places. */
#include <string.h>

#include "base/err.h"
#include "bld/registry.h"
#include "builder/transport.h"
#include "lib/image_priv.h"
#include "lib/session_priv.h"

int lib_place(const char *s, enum img_at dflt, struct img_place *ret, struct bld_err *err)
{
        AUTO_PLACE struct img_place p = {.text = NULL};
        int r = img_place_parse(s, &p, err);

        if (r < 0)
                return r;
        if (p.at == IMG_AT_ANY && dflt == IMG_AT_REGISTRY)
                r = img_ref_parse(s, &p.ref, err);
        if (r < 0)
                return r;
        if (p.at == IMG_AT_ANY)
                p.at = dflt;
        *ret = p;
        memset(&p, 0, sizeof(p));
        return 0;
}

int lib_codec(const char *s, struct bld_err *err)
{
        int r;

        if (!s || strcmp(s, "gzip") == 0 || strcmp(s, "zstd") == 0 || strcmp(s, "none") == 0)
                return 0;
        r = err_set(err, BLD_E_USAGE, "unknown compression \"%.50s\"", s);
        return err_try(err, r, "gzip, zstd or none");
}

/* "oci", "docker": the documents' types; "gzip", "zstd", "none": the layers'. */
static int take_convert(const struct bld_list *list, struct bd_copy_opts *o, struct bld_err *err)
{
        for (size_t i = 0; i < list->n; i++) {
                const char *s = list->v[i];
                int r;

                if (strcmp(s, "oci") == 0) {
                        o->convert = BD_TO_OCI;
                } else if (strcmp(s, "docker") == 0) {
                        o->convert = BD_TO_DOCKER;
                } else if (lib_codec(s, NULL) == 0) {
                        o->codec = s;
                } else {
                        r = err_set(err, BLD_E_USAGE, "cannot convert to \"%.50s\"", s);
                        return err_try(err, r, "oci, docker, gzip, zstd or none");
                }
        }
        if (o->convert == BD_TO_DOCKER && o->codec && strcmp(o->codec, "zstd") == 0)
                return err_set(err, BLD_E_USAGE, "docker manifests have no type for zstd layers");
        return 0;
}

static int copied_row(const struct bd_copied *c, struct js *arr)
{
        static const char *const how[] = {
                [BD_COPIED] = "copied", [BD_UNCHANGED] = "unchanged", [BD_SKIPPED] = "skipped"};
        AUTO_JS struct js *o = js_obj();
        char text[DIGEST_STR_MAX];
        int r = o ? js_set_str(o, "name", c->name) : BLD_E_NOMEM;

        digest_format(&c->digest, text);
        if (r == 0)
                r = js_set_str(o, "digest", text);
        if (r == 0)
                r = js_set_str(o, "status", how[c->how]);
        if (r == 0)
                r = js_set_i64(o, "uploaded", (int64_t)c->stats.uploaded_bytes);
        if (r == 0)
                r = js_set_i64(o, "present", (int64_t)c->stats.present_bytes);
        if (r == 0 && c->id)
                r = js_set_str(o, "id", c->id);
        return r == 0 ? js_push(arr, js_ref(o)) : r;
}

int lib_copied_json(const struct bd_copieds *done, char **ret, struct bld_err *err)
{
        AUTO_JS struct js *arr = js_arr();

        for (size_t i = 0; i < done->n; i++)
                if (copied_row(&done->v[i], arr) < 0)
                        return err_nomem(err, "copy");
        return arr ? lib_json_text(arr, ret, err) : err_nomem(err, "copy");
}

static int options(const struct bld_copy_opts *own, struct img_platform *platform,
                   struct lib_progress *p, struct bd_copy_opts *ret, struct bld_err *err)
{
        struct bd_copy_opts o = {.all_tags = own->all_tags,
                                 .tag_filter = own->tag_filter,
                                 .referrers = own->referrers,
                                 .skip_existing = own->skip_existing,
                                 .preserve_digests = own->preserve_digests,
                                 .dry_run = own->dry_run,
                                 .if_changed = own->if_changed,
                                 .force_codec = own->force_compression,
                                 .in_fd = own->in_fd,
                                 .out_fd = own->out_fd,
                                 .progress = lib_progress_step,
                                 .user = p};
        int r = take_convert(&own->convert, &o, err);

        *p = (struct lib_progress){.fn = own->progress, .user = own->user};
        if (r == 0 && own->platform && own->platform[0]) {
                r = lib_platform(own->platform, platform, err);
                o.platform = platform;
        }
        if (r == 0)
                *ret = o;
        return r;
}

int bld_copy(struct bld *b, const char *src, const char *dst, const struct bld_copy_opts *o,
             char **ret_json, struct bld_err *err)
{
        AUTO_PLACE struct img_place from = {.text = NULL}, to = {.text = NULL};
        AUTO(bd_copieds_free) struct bd_copieds done = {.v = NULL};
        struct bld_copy_opts own;
        struct bd_copy_opts co;
        struct img_platform platform;
        struct lib_progress p;
        char *json = NULL;
        int r = lib_opts_copy(&own, sizeof(own), o, "copy", err);

        *ret_json = NULL;
        if (r == 0)
                r = lib_place(src, IMG_AT_REGISTRY, &from, err);
        if (r == 0)
                r = lib_place(dst, IMG_AT_REGISTRY, &to, err);
        if (r == 0)
                r = options(&own, &platform, &p, &co, err);
        if (r < 0)
                return r;
        r = bd_copy(&b->ctx, &from, &to, &co, &done, err);
        if (done.n && lib_copied_json(&done, &json, r < 0 ? NULL : err) < 0 && r == 0)
                return BLD_E_NOMEM;
        *ret_json = json;
        return r;
}
