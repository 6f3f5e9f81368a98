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
}

static int add_name(struct outputs *o, const char *name, struct bld_err *err)
{
        AUTO(img_ref_done) struct img_ref ref = {0};
        AUTO_FREE char *full = NULL;
        int r = img_ref_parse(name, &ref, err);

        if (r == 0 && digest_is_set(&ref.digest))
                r = err_set(err, BLD_E_USAGE, "a tag cannot carry a digest: %s", name);
        if (r < 0)
                return err_wrap(err, err_recode(err, BLD_E_USAGE), "tag \"%s\"", name);
        full = img_ref_format(&ref, IMG_REF_DEFAULT_TAG);
        if (!full || (!strv_has(&o->names, full) && strv_add(&o->names, full) < 0))
                return err_nomem(err, "tags");
        return 0;
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
                r = add_name(o, names.v[i], err);
        if (r == 0 && out->dest && strcmp(out->dest, "-") != 0 && !out->as_dir &&
            (out->type == BD_OUT_OCI || out->type == BD_OUT_DOCKER || out->type == BD_OUT_TAR))
                r = path_check_target(out->dest, err);
        o->store = o->store || out->type == BD_OUT_STORE || out->type == BD_OUT_REGISTRY;
        o->push = o->push || out->push || out->type == BD_OUT_REGISTRY;
        return r;
}

int outputs_parse(const struct bld_build_opts *o, struct outputs *ret, struct bld_err *err)
{
        int r = 0;

        memset(ret, 0, sizeof(*ret));
        ret->v = mem_zalloc(o->outputs.n, sizeof(*ret->v));
        if (!ret->v)
                return err_nomem(err, "outputs");
        for (size_t i = 0; i < o->tags.n && r == 0; i++)
                r = add_name(ret, o->tags.v[i], err);
        for (size_t i = 0; i < o->outputs.n && r == 0; i++)
                r = add_output(ret, o->outputs.v[i], err);
        /* A tag names it in the store whatever else comes out. */
        ret->store = ret->store || o->outputs.n == 0 || ret->names.n > 0;
        ret->push = ret->push || o->push;
        if (r == 0 && ret->push && ret->names.n == 0)
                r = err_try(err, err_set(err, BLD_E_USAGE, "--push needs a name to push to"),
                            "-t REGISTRY/NAME:TAG");
        return r;
}

/* ---- the image ---- */

static int annotations(const struct bld_build_opts *o, const struct outputs *out,
                       struct img_kvs *ret, struct bld_err *err)
{
        for (size_t i = 0; i < o->annotations.n; i++) {
                const char *kv = o->annotations.v[i], *eq = strchr(kv, '=');
                const char *level = "manifest:";
                AUTO_FREE char *key = NULL;

                if (str_has_prefix(kv, level))
                        kv += strlen(level);
                key = eq && eq > kv ? mem_strndup(kv, (size_t)(eq - kv)) : NULL;
                if (!key || strchr(key, ':') || strchr(key, '['))
                        return err_set(err, BLD_E_USAGE,
                                       "--annotation \"%.200s\" is not of the form "
                                       "[manifest:]KEY=VALUE",
                                       o->annotations.v[i]);
                if (img_kvs_set(ret, key, eq + 1) < 0)
                        return err_nomem(err, "annotations");
        }
        for (size_t i = 0; i < out->n; i++)
                for (size_t k = 0; k < out->v[i].annotations.n; k++)
                        if (img_kvs_set(ret, out->v[i].annotations.v[k].key,
                                        out->v[i].annotations.v[k].value) < 0)
                                return err_nomem(err, "annotations");
        return 0;
}

struct fetch_progress {
        struct build *b;
        const struct vertex *v;
};

static void fetch_report(void *user, const char *what, uint64_t done, uint64_t total)
{
        struct fetch_progress *p = user;

        events_post(p->b->events, BLD_EV_STEP_STATUS, p->v, what, done, total);
}

/* An image of the store has all its blobs, also those no step needed to look at. */
static int fetch_rest(struct build *b, const struct vertex *fs, const struct vx_result *res,
                      struct bld_err *err)
{
        const struct vertex *base = fs;
        struct fetch_progress p = {.b = b};
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
                return bd_fetch_layers(b->c, &base->u.image, fetch_report, &p, err);
        return err_set(err, BLD_E_CORRUPT, "a layer of the result is no longer in the store");
}

static int assemble(struct build *b, struct plan_target *t, enum bd_format format,
                    const struct img_kvs *notes, struct img_desc *ret, struct bld_build_result *res,
                    struct bld_err *err)
{
        static const struct vx_result nothing = {0};
        const struct vx_result *r = t->fs ? &t->fs->result : &nothing;
        AUTO(result_done) struct vx_result clamped = {0};
        struct digest config = {0};
        int k = fetch_rest(b, t->fs, r, err);

        if (k == 0 && b->has_epoch) {
                k = rewrite_times(b, r, history_base(t, r), &clamped, err);
                r = &clamped;
        }
        if (k == 0)
                k = history_complete(b, t, r, err);
        if (k == 0)
                k = remote_inline(b, t, &t->config.cache, err);
        if (k == 0)
                k = bd_assemble(b->c, &t->config, &r->layers, format, notes, ret, &config, err);
        if (k < 0)
                return k;
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

static int set_name(struct build *b, const char *name, const struct img_desc *desc,
                    struct bld_err *err)
{
        struct img_desc have = {0};
        bool same;

        /* A build that changes nothing writes nothing. */
        if (name) {
                same = cas_ref_get(b->c->cas, name, &have, NULL) == 0 &&
                       digest_eq(&have.digest, &desc->digest);
                img_desc_done(&have);
                if (same)
                        return 0;
        }
        return cas_ref_set(b->c->cas, name, desc, err);
}

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

static int push_all(struct build *b, const struct outputs *out, const struct img_desc *desc,
                    struct bld_build_result *ret, struct bld_err *err)
{
        int64_t start = time_mono_ns();
        int r = 0;

        for (size_t i = 0; i < out->names.n && r == 0; i++) {
                AUTO(img_ref_done) struct img_ref ref = {0};
                struct bd_push_stats st = {0};

                r = img_ref_parse(out->names.v[i], &ref, err);
                if (r == 0)
                        r = bd_push(b->c, desc, &ref, NULL, push_report, b, &st, err);
                ret->pushed_bytes += st.uploaded_bytes;
                ret->push_skipped_bytes += st.present_bytes;
        }
        ret->push_ms = (time_mono_ns() - start) / 1000000;
        return r;
}

static int deliver(struct build *b, const struct outputs *out, const struct img_desc *desc,
                   struct bld_build_result *ret, struct bld_err *err)
{
        int r = 0;

        for (size_t i = 0; i < out->names.n && out->store && r == 0; i++)
                r = set_name(b, out->names.v[i], desc, err);
        if (r == 0 && out->store && out->names.n == 0 && !known_untagged(b, desc))
                r = set_name(b, NULL, desc, err);
        for (size_t i = 0; i < out->n && r == 0; i++)
                r = export_one(b, &out->v[i], out, desc, err);
        if (r == 0 && out->push)
                r = push_all(b, out, desc, ret, err);
        return r;
}

static enum bd_format format_of(const struct build *b, const struct outputs *out)
{
        for (size_t i = 0; i < out->n; i++)
                if (out->v[i].docker_types)
                        return BD_FORMAT_DOCKER;
        return b->o->docker_format ? BD_FORMAT_DOCKER : BD_FORMAT_OCI;
}

/* force-compression of any output: one image, one digest, so it goes for all of them. */
static int recompress(struct build *b, const struct outputs *out, struct img_desc *root,
                      struct bld_err *err)
{
        struct bd_recompress_opts o = {
                .codec = b->o->compression, .level = b->level, .reproducible = b->has_epoch};
        struct img_desc made = {0};
        bool wanted = false;
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
        img_desc_done(root);
        *root = made;
        return 0;
}

int finish_build(struct build *b, struct graph *g, struct bld_build_result *ret,
                 struct bld_err *err)
{
        struct outputs out;
        struct img_kvs notes = {0};
        struct img_descs manifests = {0};
        struct img_desc root = {0};
        enum bd_format format;
        int r = outputs_parse(b->o, &out, err);

        format = format_of(b, &out);
        if (r == 0)
                r = annotations(b->o, &out, &notes, err);
        for (size_t i = 0; i < g->targets.n && r == 0; i++) {
                struct img_desc *d;

                if (!g->targets.v[i].is_image)
                        continue;
                d = img_descs_push(&manifests);

                r = d ? assemble(b, &g->targets.v[i], format, &notes, d, ret, err)
                      : err_nomem(err, "image");
        }
        ret->layers_reused -= MIN(ret->layers_reused, ret->layers_new);
        if (r == 0 && (manifests.n > 1 || b->multi_platform)) {
                ret->config_digest[0] = '\0';
                r = bd_assemble_index(b->c, &manifests, format, &root, err);
        } else if (r == 0) {
                r = img_desc_copy(&manifests.v[0], &root) < 0 ? err_nomem(err, "image") : 0;
        }
        if (r == 0)
                r = recompress(b, &out, &root, err);
        if (r == 0) {
                digest_format(&root.digest, ret->digest);
                (void)str_copy(ret->media_type, sizeof(ret->media_type), root.media_type);
                ret->size = root.size;
                r = deliver(b, &out, &root, ret, err);
        }
        img_desc_done(&root);
        img_descs_free(&manifests);
        img_kvs_free(&notes);
        outputs_done(&out);
        return r;
}
