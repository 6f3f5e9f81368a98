#include "builder/solve/finish_priv.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/num.h"
#include "base/opt.h"
#include "base/path.h"

/* ---- outputs ---- */

void outputs_done(struct outputs *o)
{
        for (size_t i = 0; i < o->n; i++)
                bd_output_done(&o->v[i]);
        free(o->v);
        strv_done(&o->names);
        strv_done(&o->by_digest);
        strv_done(&o->push_to);
        bd_notes_free(&o->notes);
}

static int add_to(struct strv *to, const char *full, struct bld_err *err)
{
        return full && (strv_has(to, full) || strv_add(to, full) == 0) ? 0 : err_nomem(err, "tags");
}

/* by_digest: a repository, to which the image goes under its digest alone. */
static int add_name(struct outputs *o, const char *name, bool by_digest, struct bld_err *err)
{
        AUTO(img_ref_done) struct img_ref ref = {0};
        AUTO_FREE char *full = NULL;
        int r = img_ref_parse(name, &ref, err);

        if (r == 0 && digest_is_set(&ref.digest))
                r = err_set(err, BLD_E_USAGE, "a tag cannot carry a digest: %s", name);
        if (r < 0)
                return err_wrap(err, err_recode(err, BLD_E_USAGE), "tag \"%s\"", name);
        if (by_digest && ref.tag)
                return err_try(err,
                               err_set(err, BLD_E_USAGE,
                                       "output: push-by-digest=true pushes under no tag, and "
                                       "\"%s\" has one",
                                       name),
                               "leave out \":%s\"", ref.tag);
        full = img_ref_format(&ref, by_digest ? 0 : IMG_REF_DEFAULT_TAG);
        return add_to(by_digest ? &o->by_digest : &o->names, full, err);
}

static int add_output(struct outputs *o, const char *spec, struct bld_err *err)
{
        struct bd_output *out = &o->v[o->n];
        AUTO_STRV struct strv names = {0};
        int r = bd_output_parse(spec, out, err);

        if (r < 0)
                return r;
        o->n++;
        if (out->name)
                r = csv_split(out->name, &names, err);
        for (size_t i = 0; i < names.n && r == 0; i++)
                r = add_name(o, names.v[i], out->push_by_digest, err);
        if (r == 0 && out->dest && strcmp(out->dest, "-") != 0 && !out->as_dir &&
            (out->type == BD_OUT_OCI || out->type == BD_OUT_DOCKER || out->type == BD_OUT_TAR))
                r = path_check_target(out->dest, err);
        if (r == 0)
                r = bd_notes_append(&o->notes, &out->annotations, err);
        o->store = o->store || out->type == BD_OUT_STORE || out->type == BD_OUT_REGISTRY;
        o->push = o->push || out->push || out->type == BD_OUT_REGISTRY;
        return r;
}

/* Outputs without a name of their own go by the tags; push-by-digest then holds for these. */
static int add_tags(const struct bld_build_opts *o, struct outputs *ret, struct bld_err *err)
{
        bool by_digest = false;
        int r = 0;

        for (size_t i = 0; i < ret->n; i++)
                by_digest = by_digest || (ret->v[i].push_by_digest && !ret->v[i].name);
        for (size_t i = 0; i < o->tags.n && r == 0; i++)
                r = add_name(ret, o->tags.v[i], by_digest, err);
        return r;
}

int outputs_parse(const struct bld_build_opts *o, struct outputs *ret, struct bld_err *err)
{
        int r = 0;

        memset(ret, 0, sizeof(*ret));
        ret->v = mem_zalloc(o->outputs.n, sizeof(*ret->v));
        if (!ret->v)
                return err_nomem(err, "outputs");
        for (size_t i = 0; i < o->annotations.n && r == 0; i++)
                r = bd_notes_flag(o->annotations.v[i], &ret->notes, err);
        for (size_t i = 0; i < o->outputs.n && r == 0; i++)
                r = add_output(ret, o->outputs.v[i], err);
        r = r < 0 ? r : add_tags(o, ret, err);
        /* A tag names it in the store whatever else comes out. */
        ret->store = ret->store || o->outputs.n == 0 || ret->names.n > 0;
        for (size_t i = 0; i < ret->n; i++)
                ret->store = ret->store && !ret->v[i].no_store;
        ret->push = ret->push || o->push;
        if (r == 0 && ret->push &&
            (strv_copy(&ret->push_to, &ret->names) < 0 ||
             strv_copy(&ret->push_to, &ret->by_digest) < 0))
                return err_nomem(err, "tags");
        if (r == 0 && ret->push && ret->push_to.n == 0)
                r = err_try(err, err_set(err, BLD_E_USAGE, "--push needs a name to push to"),
                            "-t REGISTRY/NAME:TAG");
        return r;
}

static enum bd_format format_of(const struct build *b, const struct outputs *out)
{
        for (size_t i = 0; i < out->n; i++)
                if (out->v[i].docker_types)
                        return BD_FORMAT_DOCKER;
        return b->o->docker_format ? BD_FORMAT_DOCKER : BD_FORMAT_OCI;
}

static int check_note(const struct bd_note *n, const struct graph *g, bool index,
                      struct bld_err *err)
{
        char text[128];

        if (!index && (n->level == BD_NOTE_INDEX || n->level == BD_NOTE_INDEX_DESC))
                return err_try(err,
                               err_set(err, BLD_E_USAGE,
                                       "annotation \"%.200s\" is for an index, and an image of one "
                                       "platform has none",
                                       n->key),
                               "--annotation %.200s=..., without a level", n->key);
        for (size_t i = 0; i < g->targets.n; i++)
                if (g->targets.v[i].is_image && bd_note_is_for(n, &g->targets.v[i].config.platform))
                        return 0;
        img_platform_format(&n->platform, text);
        return err_set(err, BLD_E_USAGE, "annotation \"%.200s\" is for %s, which is not built",
                       n->key, text);
}

int outputs_check(const struct build *b, const struct outputs *o, const struct graph *g,
                  struct bld_err *err)
{
        size_t images = 0;
        bool index;
        int r = 0;

        for (size_t i = 0; i < g->targets.n; i++)
                images += g->targets.v[i].is_image;
        index = images > 1 || b->multi_platform;
        if (o->notes.n && format_of(b, o) == BD_FORMAT_DOCKER)
                return err_try(err,
                               err_set(err, BLD_E_USAGE, "docker manifests have no annotations"),
                               "--format oci, or no --annotation");
        for (size_t i = 0; i < o->notes.n && r == 0; i++)
                r = check_note(&o->notes.v[i], g, index, err);
        return r;
}

/* ---- the image ---- */

/* An image of the store has all its blobs, also those no step needed to look at. */
static int fetch_rest(struct build *b, const struct vertex *fs, const struct vx_result *res,
                      struct bld_err *err)
{
        const struct vertex *base = fs;
        struct step_meter p = {.ev = b->events};
        bool missing = false;
        int r = 0;

        for (size_t i = 0; i < res->layers.n && r >= 0; i++) {
                r = cas_lease_blob(b->record, &res->layers.v[i].desc.digest, err);
                missing = missing || r == 0;
        }
        if (r < 0 || !missing)
                return r < 0 ? r : 0;
        while (base && base->kind != VX_IMAGE)
                base = base->ninputs ? base->inputs[0] : NULL;
        p.v = base;
        if (base)
                return bd_fetch_layers(b->c, &base->u.image, events_transfer, &p, err);
        return err_set(err, BLD_E_CORRUPT, "a layer of the result is no longer in the store");
}

static int scan_config(struct build *b, const struct img_config *c, struct bld_err *err)
{
        AUTO(leak_free_p) struct leak_scan *x = NULL;
        AUTO_SB struct sb text = SB_INIT(IMG_CONFIG_MAX);
        const struct leak_hits *hits;
        int r = b->scan == SCAN_OFF ? 0 : leak_new(b->secrets, &x, err);

        if (r < 0 || !x)
                return r;
        r = img_config_encode(c, &text, err);
        r = r < 0 ? r : leak_add(x, sb_text(&text), text.len, err);
        r = r < 0 ? r : leak_end(x, &hits, err);
        return r < 0 ? r : leak_report(b, hits, NULL, "its config or history", 0, err);
}

static int assemble(struct build *b, struct plan_target *t, enum bd_format format,
                    const struct bd_notes *notes, struct img_desc *ret,
                    struct bld_build_result *res, struct bld_err *err)
{
        static const struct vx_result nothing = {0};
        const struct vx_result *r = t->fs ? &t->fs->result : &nothing;
        AUTO(result_done) struct vx_result clamped = {0}, squashed = {0};
        AUTO(img_kvs_free) struct img_kvs inside = {0}, outside = {0};
        struct digest config = {0};
        const bool all = b->o->squash_all || str_eq(b->o->squash, "all");
        const size_t from = all ? 0 : history_base(t, r);
        int k = fetch_rest(b, t->fs, r, err);

        if (k == 0)
                k = bd_notes_get(notes, BD_NOTE_MANIFEST, &t->config.platform, &inside, err);
        if (k == 0)
                k = bd_notes_get(notes, BD_NOTE_MANIFEST_DESC, &t->config.platform, &outside, err);
        if (k == 0 && b->has_epoch && !b->keep_times) {
                k = rewrite_times(b, r, history_base(t, r), &clamped, err);
                r = &clamped;
        }
        if (k == 0)
                k = edit_config(b->o, &t->config, err);
        if (k == 0)
                k = history_complete(b, t, r, err);
        if (k == 0 && (all || b->o->squash) && r->layers.n > from + 1) {
                k = squash(b, r, from, &t->config.history, &squashed, err);
                r = &squashed;
        }
        if (k == 0)
                k = scan_config(b, &t->config, err);
        if (k == 0)
                k = remote_inline(b, t, &t->config.cache, err);
        if (k == 0)
                k = bd_assemble(b->c, &t->config, &r->layers, format, &inside, ret, &config, err);
        if (k < 0)
                return k;
        history_lines_put(b, t, &config);
        ret->annotations = outside;
        outside = (struct img_kvs){0};
        ret->has_platform = true;
        ret->platform = t->config.platform;
        digest_format(&config, res->config_digest);
        for (size_t i = 0; i < r->layers.n; i++) {
                res->image_bytes += r->layers.v[i].desc.size;
                res->layers_new += !r->layers.v[i].reused && !r->layers.v[i].source.domain;
        }
        res->layers_reused += (unsigned)r->layers.n;
        return 0;
}

/* ---- names and outputs ---- */

static bool known_untagged(struct build *b, const struct img_desc *desc)
{
        struct cas_refs refs = {0};
        bool found = false;

        if (cas_ref_list(b->c->cas, &refs, NULL) < 0)
                return false;
        for (size_t i = 0; i < refs.n; i++)
                found = found || digest_eq(&refs.v[i].desc.digest, &desc->digest);
        cas_refs_free(&refs);
        return found;
}

static int export_one(struct build *b, const struct bd_output *out, const struct outputs *all,
                      const struct img_desc *desc, struct bld_err *err)
{
        struct bd_export x = {.desc = desc,
                              .names = &all->names,
                              .dest = out->dest,
                              .out_fd = b->o->out_fd,
                              .as_dir = out->as_dir,
                              .mtime_sec = b->has_epoch ? b->clamp_sec : 0,
                              .clamp = b->has_epoch,
                              .clamp_sec = b->clamp_sec,
                              .split = out->split,
                              .merge = out->split_given && !out->split,
                              .remove_others = out->remove_others,
                              .platform = desc->has_platform ? &desc->platform : NULL};

        switch (out->type) {
        case BD_OUT_OCI:
                return bd_emit_oci(b->c, &x, err);
        case BD_OUT_DOCKER:
                return bd_emit_docker(b->c, &x, err);
        case BD_OUT_TAR:
                return bd_emit_tar(b->c, &x, err);
        case BD_OUT_LOCAL:
                return bd_emit_local(b->c, &x, err);
        case BD_OUT_STORE:
        case BD_OUT_REGISTRY:
        case BD_OUT_CACHEONLY:
                break;
        }
        return 0;
}

static void push_report(void *user, const char *what, uint64_t done, uint64_t total)
{
        struct build *b = user;

        events_post(b->events, BLD_EV_TRANSFER, NULL, what, done, total);
}

static int push_one(struct build *b, const char *name, const struct img_desc *desc,
                    struct bld_build_result *ret, struct bld_err *err)
{
        AUTO(img_ref_done) struct img_ref ref = {0};
        struct bd_push_stats st = {0};
        int r = img_ref_parse(name, &ref, err);

        if (r == 0 && !ref.tag)
                ref.digest = desc->digest;
        if (r == 0)
                r = bd_push(b->c, desc, &ref, NULL, push_report, b, &st, err);
        ret->pushed_bytes += st.uploaded_bytes;
        ret->push_skipped_bytes += st.present_bytes;
        return r;
}

/* There is no code for it: registries say so in words ("tag is immutable", "immutability"). */
static bool is_immutable(const struct bld_err *err)
{
        return strcasestr(err->msg, "immutab");
}

static int push_all(struct build *b, const struct outputs *out, const struct img_desc *desc,
                    struct bld_build_result *ret, struct bld_err *err)
{
        int64_t start = time_mono_ns();
        int r = 0;

        for (size_t i = 0; i < out->push_to.n && r == 0; i++) {
                r = push_one(b, out->push_to.v[i], desc, ret, err);
                if (r < 0 && b->o->keep_immutable && is_immutable(err)) {
                        events_warning(b->events, 0, err->msg);
                        err_clear(err);
                        r = 0;
                }
        }
        ret->push_ms = (time_mono_ns() - start) / 1000000;
        return r;
}

static int deliver(struct build *b, const struct outputs *out, const struct img_desc *desc,
                   struct bld_build_result *ret, struct bld_err *err)
{
        int r = 0;

        for (size_t i = 0; i < out->names.n && out->store && r == 0; i++)
                r = cas_ref_set(b->c->cas, out->names.v[i], desc, err);
        if (r == 0 && out->store && out->names.n == 0 && !known_untagged(b, desc))
                r = cas_ref_set(b->c->cas, NULL, desc, err);
        for (size_t i = 0; i < out->n && r == 0; i++)
                r = export_one(b, &out->v[i], out, desc, err);
        if (r == 0 && out->push)
                r = push_all(b, out, desc, ret, err);
        return r;
}

/* force-compression of any output: one image, one digest, so it goes for all of them. */
static int recompress(struct build *b, const struct outputs *out, struct img_desc *root,
                      struct bld_err *err)
{
        struct bd_recompress_opts o = {
                .codec = b->o->compression, .level = b->level, .reproducible = b->has_epoch};
        struct img_desc made = {0};
        bool wanted = b->o->force_compression;
        int r;

        for (size_t i = 0; i < out->n; i++) {
                wanted = wanted || out->v[i].force_compression;
                if (!out->v[i].force_compression || !out->v[i].compression)
                        continue;
                o.codec = out->v[i].compression;
                o.level = out->v[i].compression_level;
        }
        if (!wanted)
                return 0;
        if (!o.codec)
                o.codec = "gzip";
        r = bd_recompress(b->c, root, &o, &made, err);
        if (r < 0)
                return r;
        img_kvs_free(&made.annotations);
        made.annotations = root->annotations; /* of the descriptor: they stay */
        root->annotations = (struct img_kvs){0};
        img_desc_done(root);
        *root = made;
        return 0;
}

static int put_index(struct build *b, const struct outputs *out, const struct img_descs *manifests,
                     enum bd_format format, struct img_desc *ret, struct bld_err *err)
{
        AUTO(img_kvs_free) struct img_kvs inside = {0};
        int r = bd_notes_get(&out->notes, BD_NOTE_INDEX, NULL, &inside, err);

        r = r < 0 ? r : bd_assemble_index(b->c, manifests, format, &inside, ret, err);
        return r < 0 ? r
                     : bd_notes_get(&out->notes, BD_NOTE_INDEX_DESC, NULL, &ret->annotations, err);
}

int finish_build(struct build *b, const struct outputs *out, struct graph *g,
                 struct bld_build_result *ret, struct bld_err *err)
{
        struct img_descs manifests = {0};
        struct img_desc root = {0};
        enum bd_format format = format_of(b, out);
        int r = 0;

        for (size_t i = 0; i < g->targets.n && r == 0; i++) {
                struct img_desc *d;

                if (!g->targets.v[i].is_image)
                        continue;
                d = img_descs_push(&manifests);
                r = d ? assemble(b, &g->targets.v[i], format, &out->notes, d, ret, err)
                      : err_nomem(err, "image");
        }
        ret->layers_reused -= MIN(ret->layers_reused, ret->layers_new);
        if (r == 0 && (manifests.n > 1 || b->multi_platform)) {
                ret->config_digest[0] = '\0';
                r = put_index(b, out, &manifests, format, &root, err);
        } else if (r == 0) {
                r = img_desc_copy(&manifests.v[0], &root) < 0 ? err_nomem(err, "image") : 0;
        }
        if (r == 0)
                r = recompress(b, out, &root, err);
        if (r == 0) {
                digest_format(&root.digest, ret->digest);
                (void)str_copy(ret->media_type, sizeof(ret->media_type), root.media_type);
                ret->document_bytes = root.size;
                r = deliver(b, out, &root, ret, err);
        }
        img_desc_done(&root);
        img_descs_free(&manifests);
        return r;
}
