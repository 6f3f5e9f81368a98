/* Images between the store, registries and archives. */
#include <string.h>

#include "base/err.h"
#include "bld/image.h"
#include "lib/image_priv.h"
#include "lib/session_priv.h"
#include "registry/registry.h"

static int transfer_opts(struct bld_transfer_opts *ours, const struct bld_transfer_opts *theirs,
                         const char *what, struct bld_err *err)
{
        return lib_opts_copy(ours, sizeof(*ours), theirs, what, err);
}

static void digest_out(const struct img_desc *d, char ret[160])
{
        char text[DIGEST_STR_MAX];

        digest_format(&d->digest, text);
        (void)str_copy(ret, 160, text);
}

/* ---- pull ---- */

static int pull_one(struct bld *b, const struct img_ref *ref, const struct bld_transfer_opts *o,
                    char ret_digest[160], struct bld_err *err)
{
        AUTO(img_desc_done) struct img_desc root = {.media_type = NULL};
        struct lib_progress p = {.fn = o->progress, .user = o->user};
        struct img_platform platform;
        int r = lib_platform(o->platform, &platform, err);

        if (r == 0)
                r = bd_pull(&b->ctx, ref, &platform, o->all_platforms, lib_progress_step, &p, &root,
                            err);
        if (r == 0)
                digest_out(&root, ret_digest);
        return r;
}

static int pull_tags(struct bld *b, const struct img_ref *ref, const struct bld_transfer_opts *o,
                     char ret_digest[160], struct bld_err *err)
{
        AUTO_STRV struct strv tags = {.v = NULL};
        struct reg_client *reg = NULL;
        int r = b->ctx.registry(b->ctx.user, &reg, err);

        if (r == 0)
                r = reg_tags(reg, ref, &tags, err);
        if (r == 0 && tags.n == 0)
                r = err_set(err, BLD_E_NOT_FOUND, "%s/%s has no tags", ref->domain, ref->path);
        for (size_t i = 0; r == 0 && i < tags.n; i++) {
                AUTO_REF struct img_ref one = {.domain = NULL};

                r = img_ref_copy(ref, &one, err);
                if (r < 0)
                        return r;
                free(one.tag);
                one.tag = mem_strdup(tags.v[i]);
                if (!one.tag)
                        return err_nomem(err, "tag");
                r = pull_one(b, &one, o, ret_digest, err);
        }
        return r;
}

/* "docker://" and "registry:" say what pull and push mean anyway. */
static const char *without_transport(const char *s)
{
        if (str_has_prefix(s, "docker://"))
                return s + strlen("docker://");
        return str_has_prefix(s, "registry:") ? s + strlen("registry:") : s;
}

int bld_pull(struct bld *b, const char *ref, const struct bld_transfer_opts *o,
             char ret_digest[160], struct bld_err *err)
{
        AUTO_REF struct img_ref parsed = {.domain = NULL};
        struct bld_transfer_opts own;
        char digest[160] = "";
        int r = transfer_opts(&own, o, "pull", err);

        if (r == 0)
                r = img_ref_parse(without_transport(ref), &parsed, err);
        if (r == 0 && own.all_tags && (parsed.tag || digest_is_set(&parsed.digest)))
                r = err_set(err, BLD_E_USAGE, "pull: all tags of \"%s\", which has one", ref);
        if (r < 0)
                return r;
        r = own.all_tags ? pull_tags(b, &parsed, &own, digest, err)
                         : pull_one(b, &parsed, &own, digest, err);
        if (r == 0)
                memcpy(ret_digest, digest, sizeof(digest));
        return r;
}

/* ---- push ---- */

/* The image as it is to be sent: as it is, or with its layers compressed in another way. */
static int sent_form(struct bld *b, const struct img_desc *desc, const struct bld_transfer_opts *o,
                     struct img_desc *ret, struct bld_err *err)
{
        struct bd_recompress_opts ro = {.codec = o->compression ? o->compression : "gzip",
                                        .force = o->force_compression};

        if (o->compression || o->force_compression)
                return bd_recompress(&b->ctx, desc, &ro, ret, err);
        return img_desc_copy(desc, ret) < 0 ? err_nomem(err, "descriptor") : 0;
}

/* digest: of what was sent. */
static int push_one(struct bld *b, const struct img_desc *desc, const struct img_ref *dst,
                    const char *src_name, const struct bld_transfer_opts *o, char digest[160],
                    struct bld_err *err)
{
        AUTO(img_desc_done) struct img_desc sent = {.media_type = NULL};
        AUTO_REF struct img_ref from = {.domain = NULL};
        struct lib_progress p = {.fn = o->progress, .user = o->user};
        bool mount = src_name && img_ref_parse(src_name, &from, NULL) == 0 &&
                     str_eq(from.domain, dst->domain) && !str_eq(from.path, dst->path);

        int r = sent_form(b, desc, o, &sent, err);

        if (r == 0)
                r = bd_push(&b->ctx, &sent, dst, mount ? &from : NULL, lib_progress_step, &p, NULL,
                            err);
        if (r == 0)
                digest_out(&sent, digest);
        return r;
}

static int push_tags(struct bld *b, const struct img_ref *src, const struct img_ref *dst,
                     const struct bld_transfer_opts *o, char digest[160], struct bld_err *err)
{
        AUTO(cas_refs_free) struct cas_refs refs = {.v = NULL};
        size_t pushed = 0;
        int r = cas_ref_list(b->cas, &refs, err);

        for (size_t i = 0; r == 0 && i < refs.n; i++) {
                AUTO_REF struct img_ref have = {.domain = NULL};
                AUTO_REF struct img_ref to = {.domain = NULL};

                if (!refs.v[i].name || img_ref_parse(refs.v[i].name, &have, NULL) < 0 ||
                    !str_eq(have.domain, src->domain) || !str_eq(have.path, src->path))
                        continue;
                r = img_ref_copy(dst, &to, err);
                if (r < 0)
                        return r;
                free(to.tag);
                to.tag = mem_strdup(have.tag);
                if (!to.tag)
                        return err_nomem(err, "tag");
                r = push_one(b, &refs.v[i].desc, &to, refs.v[i].name, o, digest, err);
                pushed++;
        }
        if (r == 0 && pushed == 0)
                r = err_set(err, BLD_E_NOT_FOUND, "the store has no tag of %s/%s", src->domain,
                            src->path);
        return r;
}

/* One platform of an index, or the document itself. */
static int pick(struct bld *b, const struct bld_transfer_opts *o, struct img_desc *desc,
                struct bld_err *err)
{
        AUTO(bd_image_done) struct bd_image im = {.source = {.domain = NULL}};
        struct img_platform want;
        int r;

        if (!o->platform || !img_mt_is_index(desc->media_type))
                return 0;
        r = lib_platform(o->platform, &want, err);
        if (r == 0)
                r = bd_image_load(&b->ctx, desc, &want, &im, err);
        if (r < 0)
                return r;
        img_desc_done(desc);
        return img_desc_copy(&im.desc, desc) < 0 ? err_nomem(err, "descriptor") : 0;
}

static int push_named(struct bld *b, const char *src, const struct img_ref *dst,
                      const struct bld_transfer_opts *o, char digest[160], struct bld_err *err)
{
        AUTO(img_desc_done) struct img_desc desc = {.media_type = NULL};
        AUTO_FREE char *name = NULL;
        int r = bd_image_find(&b->ctx, src, &desc, &name, err);

        if (r == 0)
                r = pick(b, o, &desc, err);
        if (r == 0)
                r = push_one(b, &desc, dst, name, o, digest, err);
        return r;
}

int bld_push(struct bld *b, const char *src, const char *dst, const struct bld_transfer_opts *o,
             char ret_digest[160], struct bld_err *err)
{
        AUTO_REF struct img_ref to = {.domain = NULL};
        AUTO_REF struct img_ref from = {.domain = NULL};
        struct bld_transfer_opts own;
        char digest[160] = "";
        int r = transfer_opts(&own, o, "push", err);

        if (r == 0)
                r = img_ref_parse(without_transport(dst ? dst : src), &to, err);
        if (r < 0)
                return r;
        if (own.all_tags) {
                r = img_ref_parse(src, &from, err);
                if (r == 0)
                        r = push_tags(b, &from, &to, &own, digest, err);
        } else {
                r = push_named(b, src, &to, &own, digest, err);
        }
        if (r == 0)
                memcpy(ret_digest, digest, sizeof(digest));
        return r;
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
