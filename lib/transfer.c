/* Images between the store, registries and archives. */
#include <string.h>

#include "base/err.h"
#include "bld/image.h"
#include "builder/transport.h"
#include "lib/image_priv.h"
#include "lib/session_priv.h"
#include "registry/registry.h"

static int transfer_opts(struct bld_transfer_opts *ours, const struct bld_transfer_opts *theirs,
                         const char *what, struct bld_err *err)
{
        return lib_opts_copy(ours, sizeof(*ours), theirs, what, err);
}

/* What was done before a failure is told, too. Returns r, or what telling it failed with. */
static int answer(const struct bd_copieds *done, int r, char **ret_json, struct bld_err *err)
{
        int told = done->n ? lib_copied_json(done, ret_json, r < 0 ? NULL : err) : 0;

        return r < 0 ? r : told;
}

/* ---- pull ---- */

static int pulled(struct bd_copieds *done, const char *name, const struct img_desc *root,
                  struct bld_err *err)
{
        struct bd_copied *n = bd_copieds_push(done);

        if (!n || !(n->name = mem_strdup(name))) {
                done->n -= n != NULL;
                return err_nomem(err, "pull");
        }
        n->digest = root->digest;
        return 0;
}

static int pull_one(struct bld *b, const struct img_ref *ref, const struct bd_pull_opts *o,
                    struct bd_copieds *done, struct bld_err *err)
{
        AUTO(img_desc_done) struct img_desc root = {.media_type = NULL};
        AUTO_FREE char *name = img_ref_format(ref, IMG_REF_DEFAULT_TAG);
        int r = name ? bd_pull(&b->ctx, ref, o, &root, err) : err_nomem(err, "name");

        return r == 0 ? pulled(done, name, &root, err) : r;
}

static int pull_tags(struct bld *b, const struct img_ref *ref, const struct bd_pull_opts *o,
                     struct bd_copieds *done, struct bld_err *err)
{
        AUTO_STRV struct strv tags = {.v = NULL};
        struct reg_client *reg = NULL;
        int r = b->ctx.registry(b->ctx.user, &reg, err);

        if (r == 0)
                r = reg_tags(reg, ref, &tags, err);
        if (r == 0 && tags.n == 0)
                r = err_set(err, BLD_E_NOT_FOUND, "%s/%s has no tags", ref->domain, ref->path);
        strv_sort(&tags);
        for (size_t i = 0; r == 0 && i < tags.n; i++) {
                AUTO_REF struct img_ref one = {.domain = NULL};

                r = img_ref_copy(ref, &one, err);
                if (r < 0)
                        return r;
                free(one.tag);
                one.tag = mem_strdup(tags.v[i]);
                if (!one.tag)
                        return err_nomem(err, "tag");
                r = pull_one(b, &one, o, done, err);
        }
        return r;
}

static int pull_remote(struct bld *b, const struct img_place *from,
                       const struct bld_transfer_opts *own, const struct bd_pull_opts *o,
                       struct bd_copieds *done, struct bld_err *err)
{
        if (own->all_tags && (from->ref.tag || digest_is_set(&from->ref.digest)))
                return err_set(err, BLD_E_USAGE, "all tags of \"%.200s\", which names one",
                               from->text);
        return own->all_tags ? pull_tags(b, &from->ref, o, done, err)
                             : pull_one(b, &from->ref, o, done, err);
}

int bld_pull(struct bld *b, const char *ref, const struct bld_transfer_opts *o, char **ret_json,
             struct bld_err *err)
{
        AUTO_PLACE struct img_place from = {.text = NULL};
        AUTO(bd_copieds_free) struct bd_copieds done = {.v = NULL};
        struct bld_transfer_opts own;
        struct bd_pull_opts po;
        struct img_platform platform;
        struct lib_progress p;
        int r = transfer_opts(&own, o, "pull", err);

        *ret_json = NULL;
        if (r == 0)
                r = lib_place(ref, IMG_AT_REGISTRY, &from, err);
        if (r == 0)
                r = lib_platform(own.platform, &platform, err);
        if (r < 0)
                return r;
        p = (struct lib_progress){.fn = own.progress, .user = own.user};
        po = (struct bd_pull_opts){.platform = &platform,
                                   .all_platforms = own.all_platforms,
                                   .all_tags = own.all_tags,
                                   .lazy = own.lazy,
                                   .in_fd = own.in_fd,
                                   .progress = lib_progress_step,
                                   .user = &p};
        r = from.at == IMG_AT_REGISTRY ? pull_remote(b, &from, &own, &po, &done, err)
                                       : bd_pull_place(&b->ctx, &from, &po, &done, err);
        return answer(&done, r, ret_json, err);
}

/* ---- push ---- */

int bld_push(struct bld *b, const char *src, const char *dst, const struct bld_transfer_opts *o,
             char **ret_json, struct bld_err *err)
{
        AUTO_PLACE struct img_place from = {.text = NULL}, to = {.text = NULL};
        AUTO(bd_copieds_free) struct bd_copieds done = {.v = NULL};
        struct bld_transfer_opts own;
        struct bd_copy_opts co;
        struct img_platform platform;
        struct lib_progress p;
        int r = transfer_opts(&own, o, "push", err);

        *ret_json = NULL;
        if (r == 0)
                r = lib_place(src, IMG_AT_STORE, &from, err);
        if (r == 0 && !dst && from.at != IMG_AT_STORE)
                r = err_set(err, BLD_E_USAGE, "push \"%.200s\": where to?", src);
        if (r == 0)
                r = lib_place(dst ? dst : from.name, IMG_AT_REGISTRY, &to, err);
        if (r == 0 && own.platform)
                r = lib_platform(own.platform, &platform, err);
        if (r == 0)
                r = lib_codec(own.compression, err);
        if (r < 0)
                return r;
        p = (struct lib_progress){.fn = own.progress, .user = own.user};
        co = (struct bd_copy_opts){.platform = own.platform ? &platform : NULL,
                                   .all_tags = own.all_tags,
                                   .dry_run = own.dry_run,
                                   .if_changed = own.if_changed,
                                   .codec = own.compression         ? own.compression
                                            : own.force_compression ? "gzip"
                                                                    : NULL,
                                   .force_codec = own.force_compression,
                                   .in_fd = own.in_fd,
                                   .out_fd = -1,
                                   .progress = lib_progress_step,
                                   .user = &p};
        r = bd_copy(&b->ctx, &from, &to, &co, &done, err);
        return answer(&done, r, ret_json, err);
}

/* ---- save ---- */

struct save {
        struct bd_saved *v; /* n; point into the two below */
        struct img_desc *descs;
        struct strv *names;
        size_t n;
};

static void save_done(struct save *s)
{
        for (size_t i = 0; i < s->n; i++) {
                img_desc_done(&s->descs[i]);
                strv_done(&s->names[i]);
        }
        free(s->descs);
        free(s->names);
        free(s->v);
}

static int save_find(struct bld *b, const char *ref, struct save *s, size_t i, struct bld_err *err)
{
        AUTO_FREE char *name = NULL, *given = NULL;
        int r = bd_image_find(&b->ctx, ref, &s->descs[i], &name, err);

        if (r < 0)
                return r;
        s->v[i] = (struct bd_saved){.desc = &s->descs[i], .names = &s->names[i]};
        /* an id has no name of its own: docker save leaves such an image without one, too */
        if (name && lib_full_name(ref, &given, NULL) == 0 && strcmp(given, name) == 0 &&
            strv_add(&s->names[i], name) < 0)
                return err_nomem(err, "name");
        return 0;
}

static int save_format(const char *format, struct bd_save_opts *o, struct bld_err *err)
{
        int r;

        if (!format || strcmp(format, "oci-archive") == 0)
                return 0;
        if (strcmp(format, "docker-archive") == 0) {
                o->docker = true;
                return 0;
        }
        if (strcmp(format, "oci-dir") == 0) {
                o->as_dir = true;
                return 0;
        }
        r = err_set(err, BLD_E_USAGE, "save: unknown format \"%s\"", format);
        return err_try(err, r, "oci-archive, docker-archive or oci-dir");
}

int bld_save(struct bld *b, const struct bld_list *refs, const char *format, const char *path,
             int out_fd, struct bld_err *err)
{
        AUTO(save_done) struct save s = {.v = NULL};
        struct bd_save_opts o = {.dest = path, .out_fd = out_fd};
        int r = save_format(format, &o, err);

        if (r < 0)
                return r;
        if (refs->n == 0)
                return err_set(err, BLD_E_USAGE, "save: no image is named");
        s.v = mem_zalloc(refs->n, sizeof(*s.v));
        s.descs = mem_zalloc(refs->n, sizeof(*s.descs));
        s.names = mem_zalloc(refs->n, sizeof(*s.names));
        if (!s.v || !s.descs || !s.names)
                return err_nomem(err, "list of images");
        s.n = refs->n;
        for (size_t i = 0; r == 0 && i < refs->n; i++)
                r = save_find(b, refs->v[i], &s, i, err);
        return r == 0 ? bd_save(&b->ctx, s.v, s.n, &o, err) : r;
}

/* ---- load ---- */

static int loaded_row(const char *name, const struct img_desc *d, struct js *arr)
{
        AUTO_JS struct js *o = js_obj();
        char text[DIGEST_STR_MAX];
        int r;

        digest_format(&d->digest, text);
        r = o ? js_set(o, "name", name[0] ? js_new_str(name) : js_new_null()) : BLD_E_NOMEM;
        if (r == 0)
                r = js_set_str(o, "digest", text);
        return r == 0 ? js_push(arr, js_ref(o)) : r;
}

int bld_load(struct bld *b, const char *path, int in_fd, char **ret_json, struct bld_err *err)
{
        AUTO_STRV struct strv names = {.v = NULL};
        AUTO(img_descs_free) struct img_descs descs = {.v = NULL};
        AUTO_JS struct js *arr = js_arr();
        int r = arr ? bd_load(&b->ctx, path, in_fd, &names, &descs, err) : err_nomem(err, "load");

        for (size_t i = 0; r == 0 && i < names.n; i++)
                if (loaded_row(names.v[i], &descs.v[i], arr) < 0)
                        r = err_nomem(err, "load");
        return r == 0 ? lib_json_text(arr, ret_json, err) : r;
}
