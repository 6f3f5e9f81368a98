/* Images made from images. Documents are changed as JSON, so that what nobody here knows stays;
 * only new documents and new layers are made in the store, all other blobs are lent by where they
 * are, and move from there to the result's place when they have to. */
#include "builder/image/edit_priv.h"

#include <string.h>

#include "base/err.h"
#include "base/num.h"

/* ---- reading ---- */

void edit_image_done(struct edit_image *im)
{
        if (!im)
                return;
        img_desc_done(&im->desc);
        img_manifest_done(&im->m);
        img_config_done(&im->conf);
        js_free(im->manifest);
        js_free(im->config);
        memset(im, 0, sizeof(*im));
}

static int read_config(struct bd_end *e, struct edit_image *im, struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(IMG_CONFIG_MAX);
        struct bd_docs docs = bd_end_docs(e);
        char id[24];
        int r = docs.read(docs.user, &im->m.config, IMG_CONFIG_MAX, &text, err);

        bd_short(&im->desc.digest, id);
        if (r == 0)
                r = img_config_decode(sb_text(&text), text.len, &im->conf, err);
        if (r == 0)
                r = img_edit_parse(&text, IMG_CONFIG_MAX, "config", &im->config, err);
        if (r < 0)
                return err_wrap(err, r, "config of %s", id);
        if (im->conf.ndiff_ids != im->m.layers.n)
                return err_set(err, BLD_E_CORRUPT, "%s has %zu layers, but its config lists %zu",
                               id, im->m.layers.n, im->conf.ndiff_ids);
        return 0;
}

int edit_image_read(struct bd_end *e, const struct img_desc *d, struct edit_image *ret,
                    struct bld_err *err)
{
        AUTO(edit_image_done) struct edit_image im = {.docker = false};
        AUTO_SB struct sb text = SB_INIT(IMG_MANIFEST_MAX);
        struct bd_docs docs = bd_end_docs(e);
        int r = img_desc_copy(d, &im.desc) < 0 ? err_nomem(err, "manifest") : 0;

        img_config_init(&im.conf);
        if (r == 0)
                r = docs.read(docs.user, d, IMG_MANIFEST_MAX, &text, err);
        if (r == 0)
                r = img_manifest_decode(sb_text(&text), text.len, d->media_type, &im.m, err);
        if (r < 0 || !img_mt_is_config(im.m.config.media_type))
                return r;
        r = img_edit_parse(&text, IMG_MANIFEST_MAX, "manifest", &im.manifest, err);
        if (r == 0)
                r = read_config(e, &im, err);
        if (r < 0)
                return r;
        im.docker = str_eq(d->media_type, MT_DOCKER_MANIFEST);
        *ret = im;
        memset(&im, 0, sizeof(im));
        return 1;
}

/* An image of no layers. */
static int nothing(const struct edit *x, struct edit_image *ret, struct bld_err *err)
{
        AUTO_SB struct sb conf = SB_INIT(1024), doc = SB_INIT(1024);
        struct img_platform p;
        int r;

        img_platform_host(&p);
        if (x->o->platform)
                p = *x->o->platform;
        sb_fmt(&conf,
               "{\"architecture\":\"%s\",\"os\":\"%s\"%s%s%s,\"config\":{},\"rootfs\":{\"type\":"
               "\"layers\",\"diff_ids\":[]},\"history\":[]}",
               p.arch, p.os, p.variant[0] ? ",\"variant\":\"" : "", p.variant,
               p.variant[0] ? "\"" : "");
        sb_str(&doc, "{\"schemaVersion\":2,\"mediaType\":\"" MT_OCI_MANIFEST
                     "\",\"config\":{\"mediaType\":\"" MT_OCI_CONFIG "\"},\"layers\":[]}");
        r = img_edit_parse(&conf, conf.len, "config", &ret->config, err);
        if (r == 0)
                r = img_edit_parse(&doc, doc.len, "manifest", &ret->manifest, err);
        ret->conf.platform = p;
        ret->desc.media_type = mem_strdup(MT_OCI_MANIFEST);
        return r == 0 && !ret->desc.media_type ? err_nomem(err, "manifest") : r;
}

/* ---- what stays where it is ---- */

int edit_lend(struct edit *x, struct bd_end *e, const struct digest *d, struct bld_err *err)
{
        struct bd_loan *l;

        if (bd_end_is_store(e))
                return 0;
        l = bd_loans_push(&x->loans);
        if (!l)
                return err_nomem(err, "layers");
        *l = (struct bd_loan){.digest = *d, .from = e};
        return 0;
}

/* A document that does not change: it and all it reaches. */
static int keep_whole(struct edit *x, const struct img_desc *d, struct bld_err *err)
{
        AUTO(bd_closure_done) struct bd_closure all = {.docs = {.v = NULL}};
        struct bd_docs docs = bd_end_docs(x->src);
        int r = bd_closure_from(&docs, d, BD_CLOSURE_SPARSE, &all, err);

        if (r == 0)
                r = bd_end_take_docs(x->src, d, err);
        for (size_t i = 0; r == 0 && i < all.blobs.n; i++)
                r = edit_lend(x, x->src, &all.blobs.v[i].digest, err);
        return r;
}

/* ---- one image ---- */

static int text_of(const struct js *j, size_t max, struct sb *out, struct bld_err *err)
{
        sb_init(out, max);
        return js_write(j, JS_COMPACT, out, err);
}

static int change(struct edit *x, struct edit_image *im, struct bld_err *err)
{
        const struct img_changes created = {.created = x->created};
        int r = 0;

        if (x->o->rebase)
                r = edit_rebase(x, im, err);
        if (r == 0)
                r = edit_append(x, im, err);
        if (r == 0 && x->o->base_annotations && x->src)
                r = edit_note_base(x, im, x->base_name, &x->root.digest, err);
        if (r == 0 && x->o->flatten)
                r = edit_flatten(x, im, err);
        if (r == 0 && x->o->changes)
                r = img_edit_config(im->config, x->o->changes, err);
        if (r == 0 && x->created[0])
                r = img_edit_config(im->config, &created, err);
        if (r == 0 && im->docker && x->o->annotations.n) {
                r = err_set(err, BLD_E_INVALID, "docker manifests have no annotations");
                return err_try(err, r, "bld copy --convert oci");
        }
        return r == 0 ? img_edit_annotations(im->manifest, &x->o->annotations, err) : r;
}

static int put_documents(struct edit *x, struct edit_image *im, const struct sb *conf,
                         bool same_config, struct img_desc *ret, struct bld_err *err)
{
        AUTO_SB struct sb doc = SB_INIT(IMG_MANIFEST_MAX);
        struct digest d;
        int r = 0;

        if (!same_config) {
                r = bd_doc_put(x->c, sb_text(conf), conf->len, NULL, &d, err);
                if (r == 0)
                        r = img_edit_target(js_get(im->manifest, "config"), &d, conf->len, err);
        }
        if (r == 0)
                r = js_write(im->manifest, JS_COMPACT, &doc, err);
        if (r == 0)
                r = bd_doc_put(x->c, sb_text(&doc), doc.len, NULL, &ret->digest, err);
        if (r < 0)
                return r;
        ret->size = doc.len;
        ret->media_type = mem_strdup(im->desc.media_type);
        return ret->media_type ? 0 : err_nomem(err, "manifest");
}

/* The layers of an image pulled lazily are had from where the image came from; so are those of what
 * it becomes. */
static int pass_source(struct edit *x, const struct digest *from, const struct digest *to,
                       struct bld_err *err)
{
        AUTO_REF struct img_ref repo = {.domain = NULL};
        int r = bd_source_find(x->c, from, &repo, err);

        return r > 0 ? bd_source_note(x->c, to, &repo, err) : r;
}

static int edit_image(struct edit *x, struct edit_image *im, struct img_desc *ret,
                      struct bld_err *err)
{
        AUTO_SB struct sb conf = SB_INIT(0), doc = SB_INIT(0), conf2 = SB_INIT(0),
                          doc2 = SB_INIT(0);
        bool same;
        int r = text_of(im->config, IMG_CONFIG_MAX, &conf, err);

        if (r == 0)
                r = text_of(im->manifest, IMG_MANIFEST_MAX, &doc, err);
        if (r == 0)
                r = change(x, im, err);
        if (r == 0)
                r = text_of(im->config, IMG_CONFIG_MAX, &conf2, err);
        if (r == 0)
                r = text_of(im->manifest, IMG_MANIFEST_MAX, &doc2, err);
        if (r < 0)
                return r;
        same = x->src && strcmp(sb_text(&conf), sb_text(&conf2)) == 0;
        if (same && strcmp(sb_text(&doc), sb_text(&doc2)) == 0) {
                r = img_desc_copy(&im->desc, ret) < 0 ? err_nomem(err, "manifest") : 0;
                return r == 0 ? keep_whole(x, &im->desc, err) : r;
        }
        if (same)
                r = bd_end_take_docs(x->src, &im->desc, err);
        if (r == 0 && same)
                r = edit_lend(x, x->src, &im->m.config.digest, err);
        for (size_t i = 0; r == 0 && i < im->m.layers.n; i++)
                r = edit_lend(x, x->src, &im->m.layers.v[i].digest, err);
        if (r == 0)
                r = put_documents(x, im, &conf2, same, ret, err);
        if (r == 0 && x->src && bd_end_is_store(x->src))
                r = pass_source(x, &im->desc.digest, &ret->digest, err);
        return r;
}

/* ---- indexes ---- */

static int edit_any(struct edit *x, const struct img_desc *d, unsigned depth, struct img_desc *ret,
                    struct bld_err *err);

static int edit_manifest(struct edit *x, const struct img_desc *d, unsigned depth,
                         struct img_desc *ret, struct bld_err *err)
{
        AUTO(edit_image_done) struct edit_image im = {.docker = false};
        char platform[128] = "an image", id[24];
        int r = edit_image_read(x->src, d, &im, err);

        if (r < 0)
                return r;
        bd_short(&d->digest, id);
        if (r == 0 && depth == 0)
                return err_set(err, BLD_E_INVALID, "%s is not a container image", id);
        if (r == 0) { /* something else that the index has */
                r = img_desc_copy(d, ret) < 0 ? err_nomem(err, "manifest") : 0;
                return r == 0 ? keep_whole(x, d, err) : r;
        }
        r = edit_image(x, &im, ret, err);
        if (r == 0 || depth == 0)
                return r;
        img_platform_format(&im.conf.platform, platform);
        return err_wrap(err, r, "%s of the index", platform);
}

static int missing(const struct img_desc *d, struct bld_err *err)
{
        char platform[128] = "an entry", id[24];
        int r;

        if (d->has_platform)
                img_platform_format(&d->platform, platform);
        bd_short(&d->digest, id);
        r = err_set(err, BLD_E_NOT_FOUND, "%s (%s) of the index is not there", platform, id);
        return err_try(err, r, "--platform OS/ARCH, for one that is");
}

static bool is_attestation(const struct img_desc *d)
{
        return img_kvs_get(&d->annotations, "vnd.docker.reference.type") != NULL;
}

/* One entry: into `out`, unless it is about what the images were. */
static int edit_entry(struct edit *x, const struct img_desc *d, const struct js *entry,
                      unsigned depth, struct js *out, struct bld_err *err)
{
        AUTO(img_desc_done) struct img_desc made = {.media_type = NULL};
        AUTO_JS struct js *copy = js_copy(entry);
        struct bd_docs docs = bd_end_docs(x->src);
        int r = docs.has(docs.user, &d->digest, err);

        if (r == 0)
                return missing(d, err);
        if (r > 0)
                r = edit_any(x, d, depth + 1, &made, err);
        if (r == 0 && !copy)
                r = err_nomem(err, "index");
        if (r == 0 && !digest_eq(&made.digest, &d->digest))
                r = img_edit_target(copy, &made.digest, made.size, err);
        if (r == 0 && js_push(out, js_ref(copy)) < 0)
                r = err_nomem(err, "index");
        return r;
}

static int put_index(struct edit *x, struct js *doc, const struct img_desc *was,
                     struct img_desc *ret, struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(IMG_MANIFEST_MAX);
        int r = js_write(doc, JS_COMPACT, &text, err);

        if (r == 0)
                r = bd_doc_put(x->c, sb_text(&text), text.len, NULL, &ret->digest, err);
        if (r < 0)
                return r;
        ret->size = text.len;
        ret->media_type = mem_strdup(was->media_type);
        return ret->media_type ? 0 : err_nomem(err, "index");
}

static int edit_entries(struct edit *x, const struct img_index *ix, const struct js *entries,
                        unsigned depth, struct js *out, struct bld_err *err)
{
        bool dropped = false;
        int r = 0;

        for (size_t i = 0; r == 0 && i < ix->manifests.n; i++) {
                if (is_attestation(&ix->manifests.v[i]))
                        dropped = true;
                else
                        r = edit_entry(x, &ix->manifests.v[i], js_at(entries, i), depth, out, err);
        }
        if (r == 0 && dropped && x->c->note)
                x->c->note(x->c->user,
                           "attestations were left out: they are about the image as it was");
        return r;
}

static int edit_index(struct edit *x, const struct img_desc *d, unsigned depth,
                      struct img_desc *ret, struct bld_err *err)
{
        AUTO(img_index_done) struct img_index ix = {.media_type = NULL};
        AUTO_SB struct sb text = SB_INIT(IMG_MANIFEST_MAX);
        AUTO_JS struct js *doc = NULL, *out = js_arr();
        struct bd_docs docs = bd_end_docs(x->src);
        bool changed = false;
        int r = depth > BD_INDEX_DEPTH_MAX
                        ? err_set(err, BLD_E_LIMIT, "indexes are nested more than %u deep",
                                  BD_INDEX_DEPTH_MAX)
                        : docs.read(docs.user, d, IMG_MANIFEST_MAX, &text, err);

        if (r == 0)
                r = img_index_decode(sb_text(&text), text.len, d->media_type, &ix, err);
        if (r == 0)
                r = img_edit_parse(&text, IMG_MANIFEST_MAX, "index", &doc, err);
        if (r == 0)
                r = out ? edit_entries(x, &ix, js_get(doc, "manifests"), depth, out, err)
                        : err_nomem(err, "index");
        for (size_t i = 0, k = 0; r == 0 && i < ix.manifests.n; i++) {
                char was[DIGEST_STR_MAX];

                if (is_attestation(&ix.manifests.v[i]))
                        continue;
                digest_format(&ix.manifests.v[i].digest, was);
                changed = changed || !str_eq(js_get_str(js_at(out, k++), "digest"), was);
        }
        if (r == 0 && !changed) {
                r = img_desc_copy(d, ret) < 0 ? err_nomem(err, "index") : 0;
                return r == 0 ? keep_whole(x, d, err) : r;
        }
        if (r == 0 && js_set(doc, "manifests", js_ref(out)) < 0)
                r = err_nomem(err, "index");
        return r == 0 ? put_index(x, doc, d, ret, err) : r;
}

static int edit_any(struct edit *x, const struct img_desc *d, unsigned depth, struct img_desc *ret,
                    struct bld_err *err)
{
        if (img_mt_is_index(d->media_type))
                return edit_index(x, d, depth, ret, err);
        if (img_mt_is_manifest(d->media_type))
                return edit_manifest(x, d, depth, ret, err);
        if (depth == 0)
                return err_set(err, BLD_E_INVALID, "\"%.100s\" is not the type of an image",
                               d->media_type);
        if (img_desc_copy(d, ret) < 0)
                return err_nomem(err, "index");
        return edit_lend(x, x->src, &d->digest, err);
}

/* ---- where it goes ---- */

static const char *prefix_of(enum img_at at)
{
        switch (at) {
        case IMG_AT_OCI:
                return "oci:";
        case IMG_AT_OCI_ARCHIVE:
                return "oci-archive:";
        case IMG_AT_DOCKER_ARCHIVE:
                return "docker-archive:";
        case IMG_AT_ANY:
        case IMG_AT_REGISTRY:
        case IMG_AT_STORE:
        case IMG_AT_DOCKER_DAEMON:
                break;
        }
        return "";
}

/* What the result is found by from now on. */
static int set_ref(struct bd_edited *e, const struct img_place *dst, struct bld_err *err)
{
        AUTO_REF struct img_ref ref = {.domain = NULL};
        AUTO_FREE char *repo = NULL;
        char digest[DIGEST_STR_MAX];
        int n;

        digest_format(&e->desc.digest, digest);
        if (img_at_is_file(dst->at)) {
                n = asprintf(&e->ref, "%s%s@%s", prefix_of(dst->at), dst->path, digest);
        } else if (e->name && dst->at != IMG_AT_DOCKER_DAEMON) {
                int r = img_ref_parse(e->name, &ref, err);

                if (r < 0)
                        return r;
                repo = img_ref_format(&ref, IMG_REF_NO_TAG | IMG_REF_NO_DIGEST);
                n = repo ? asprintf(&e->ref, "%s@%s", repo, digest) : -1;
        } else {
                n = asprintf(&e->ref, "%s", e->name ? e->name : digest);
        }
        if (n >= 0)
                return 0;
        e->ref = NULL;
        return err_nomem(err, "name");
}

static int to_store(struct edit *x, struct bd_end *made, const struct img_place *dst,
                    struct bd_edited *e, struct bld_err *err)
{
        AUTO_REF struct img_ref ref = {.domain = NULL};
        AUTO(img_desc_done) struct img_desc plain = {.size = e->desc.size};
        int r = bd_end_take_lent(made, &e->desc, x->o->progress, x->o->user, err);

        if (r == 0 && x->o->dst && !x->o->untagged) {
                r = img_ref_parse(dst->name, &ref, err);
                e->name = r == 0 ? img_ref_format(&ref, IMG_REF_DEFAULT_TAG | IMG_REF_NO_DIGEST)
                                 : NULL;
                if (r == 0 && !e->name)
                        r = err_nomem(err, "name");
        }
        plain.digest = e->desc.digest;
        plain.media_type = mem_strdup(e->desc.media_type);
        if (r == 0 && !plain.media_type)
                r = err_nomem(err, "name");
        /* an image pulled lazily stays one */
        return r == 0 ? cas_ref_set_lazy(x->c->cas, e->name, &plain, err) : r;
}

static int to_place(struct edit *x, struct bd_end *made, const struct img_place *dst,
                    struct bd_edited *e, struct bld_err *err)
{
        AUTO(bd_copieds_free) struct bd_copieds done = {.v = NULL};
        const struct bd_copy_opts o = {
                .in_fd = -1, .out_fd = -1, .progress = x->o->progress, .user = x->o->user};
        int r = bd_put(made, &e->desc, dst, &o, &done, err);

        if (r == 0 && done.n) {
                e->name = done.v[0].name;
                done.v[0].name = NULL;
        }
        return r;
}

/* The place, its kind known. own: what ret's reference may borrow from. */
static int destination(struct edit *x, struct img_place *ret, struct img_ref *own,
                       struct bld_err *err)
{
        const struct img_place *d = x->o->dst;
        int r = 0;

        if (!d && !x->src) {
                *ret = (struct img_place){.at = IMG_AT_STORE};
                return 0;
        }
        *ret = d ? *d : x->at;
        if (!d && (ret->at == IMG_AT_DOCKER_DAEMON || ret->at == IMG_AT_OCI_ARCHIVE ||
                   ret->at == IMG_AT_DOCKER_ARCHIVE)) {
                r = err_set(err, BLD_E_USAGE, "%.200s cannot take another image", ret->text);
                return err_try(err, r, "-t NAME, or -o FILE");
        }
        if (ret->at == IMG_AT_ANY && x->src && x->at.at == IMG_AT_REGISTRY) {
                ret->at = IMG_AT_REGISTRY;
                r = img_ref_parse(d->name, own, err);
        } else if (ret->at == IMG_AT_ANY) {
                ret->at = IMG_AT_STORE;
        } else if (ret->at == IMG_AT_REGISTRY) {
                r = img_ref_copy(&ret->ref, own, err);
        }
        if (r < 0)
                return r;
        if (ret->at == IMG_AT_REGISTRY)
                ret->ref = *own;
        if (d && ret->digits)
                return err_set(err, BLD_E_USAGE,
                               "\"%.200s\": what is written has the digest it has", d->text);
        if (!d)
                ret->name = NULL;
        if (!x->o->untagged || ret->at == IMG_AT_STORE)
                return 0;
        if (ret->at != IMG_AT_REGISTRY)
                return err_set(err, BLD_E_USAGE, "\"%.200s\" is not a repository", ret->text);
        return ret->ref.tag ? err_set(err, BLD_E_USAGE, "\"%.200s\" names a tag", ret->text) : 0;
}

/* Under its digest alone. */
static void drop_tag(struct img_place *p, struct img_ref *own, const struct digest *d)
{
        free(own->tag);
        own->tag = NULL;
        own->digest = *d;
        p->ref = *own;
}

static int publish(struct edit *x, struct img_place *dst, struct img_ref *own, struct bd_edited *e,
                   struct bld_err *err)
{
        AUTO(bd_end_free_p) struct bd_end *made = NULL;
        int r = bd_end_made(x->c, &e->desc, &x->loans, &made, err);

        if (dst->at == IMG_AT_REGISTRY && (!x->o->dst || x->o->untagged))
                drop_tag(dst, own, &e->desc.digest);
        if (r == 0 && dst->at != IMG_AT_STORE)
                r = to_place(x, made, dst, e, err);
        else if (r == 0 && (e->changed || x->o->dst)) /* else it is there, under its names */
                r = to_store(x, made, dst, e, err);
        return r == 0 ? set_ref(e, dst, err) : r;
}

/* ---- the whole ---- */

static int open_source(struct edit *x, struct bld_err *err)
{
        AUTO(img_desc_done) struct img_desc all = {.media_type = NULL};
        struct bd_docs docs;
        int r = bd_place_settle(x->c, x->o->src, x->o->offline, &x->at, &x->own, err);

        if (r == 0)
                r = bd_end_open(x->c, &x->at, x->o->in_fd, &x->src, err);
        if (r == 0)
                r = bd_end_resolve(x->src, &x->root, err);
        if (r == 0)
                r = edit_name_of(&x->at, &x->base_name, err);
        if (r < 0 || !x->o->platform)
                return r;
        all = x->root;
        x->root = (struct img_desc){.media_type = NULL};
        docs = bd_end_docs(x->src);
        return bd_choose(&docs, &all, x->o->platform, &x->root, err);
}

static int run(struct edit *x, struct bd_edited *ret, struct bld_err *err)
{
        AUTO_REF struct img_ref own = {.domain = NULL};
        AUTO(edit_image_done) struct edit_image none = {.docker = false};
        struct img_place dst = {.at = IMG_AT_STORE};
        int r = x->o->src ? open_source(x, err) : nothing(x, &none, err);

        if (r == 0)
                r = destination(x, &dst, &own, err);
        if (r == 0 && x->o->changes && x->o->changes->platform && x->src &&
            img_mt_is_index(x->root.media_type))
                r = err_set(err, BLD_E_USAGE, "all images of an index cannot be for one platform");
        if (r == 0)
                r = edit_make_layers(x, err);
        if (r == 0)
                r = x->src ? edit_any(x, &x->root, 0, &ret->desc, err)
                           : edit_image(x, &none, &ret->desc, err);
        if (r < 0)
                return r;
        ret->changed = !x->src || !digest_eq(&ret->desc.digest, &x->root.digest);
        ret->made = x->made;
        x->made = (struct img_descs){.v = NULL};
        r = cancel_check(x->c->cancel, err); /* the last moment at which nothing was done */
        return r < 0 ? r : publish(x, &dst, &own, ret, err);
}

void bd_edited_done(struct bd_edited *e)
{
        img_desc_done(&e->desc);
        img_descs_free(&e->made);
        free(e->name);
        free(e->ref);
}

int bd_edit(struct bd_ctx *c, const struct bd_edit *e, struct bd_edited *ret, struct bld_err *err)
{
        struct edit x = {.c = c, .o = e};
        struct bd_edited done = {.name = NULL};
        int r;

        if (e->has_epoch)
                format_rfc3339(e->epoch_sec, 0, x.created);
        r = run(&x, &done, err);
        bd_end_free(x.src);
        img_ref_done(&x.own);
        img_desc_done(&x.root);
        free(x.base_name);
        bd_loans_done(&x.loans);
        edit_bases_free(&x.bases);
        bd_layers_free(&x.added);
        strv_done(&x.added_by);
        img_descs_free(&x.made);
        if (r < 0) {
                bd_edited_done(&done);
                return r;
        }
        *ret = done;
        return 0;
}
