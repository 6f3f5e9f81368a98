/* Registry -> store. Every byte is verified on its way in, a blob is downloaded once however many
 * threads and processes want it, and layers come in parallel. */
#include "builder/builder.h"

#include <string.h>

#include "base/err.h"
#include "base/opt.h"
#include "builder/image/move_priv.h"
#include "registry/registry.h"

/* Threads that wait for blobs; how many transfers run at once is the registry client's limit. */
#define FETCH_THREADS 16u
#define SIMILAR_MAX 3u

/* ---- one blob ---- */

struct download {
        struct bd_ctx *c;
        struct cas_writer *w;
        const atomic_bool *stop; /* may be NULL */
        struct bd_meter_item item;
};

static int download_write(void *user, const void *p, size_t n, struct bld_err *err)
{
        struct download *d = user;
        int r = cancel_check(d->c->cancel, err);

        if (r < 0)
                return r;
        if (d->stop && atomic_load(d->stop))
                return err_set(err, BLD_E_CANCELLED, "stopped after another transfer failed");
        r = cas_writer_add(d->w, p, n, err);
        if (r == 0)
                bd_meter_step(&d->item, cas_writer_size(d->w));
        return r;
}

static int download_rewind(void *user, struct bld_err *err)
{
        struct download *d = user;

        cas_writer_free(d->w);
        d->w = NULL;
        return cas_writer_open(d->c->cas, &d->w, err);
}

static int download(struct bd_ctx *c, const struct img_ref *from, const struct img_desc *desc,
                    struct bd_meter *meter, const atomic_bool *stop, struct bld_err *err)
{
        struct download d = {.c = c, .stop = stop};
        struct reg_sink sink = {.write = download_write, .rewind = download_rewind, .user = &d};
        struct reg_client *reg = NULL;
        struct digest have;
        int r;

        bd_meter_item_init(&d.item, meter, desc);
        r = c->registry(c->user, &reg, err);
        if (r == 0)
                r = cas_writer_open(c->cas, &d.w, err);
        if (r == 0)
                r = reg_blob_get(reg, from, desc, &sink, err);
        if (r == 0)
                r = cas_writer_commit(d.w, &desc->digest, desc->size, &have, err);
        cas_writer_free(d.w);
        if (r == 0)
                bd_meter_step(&d.item, desc->size);
        return r;
}

/* 1 when the blob is there in its full size, and stays. A file of another size is moved aside by
 * verifying. */
static int present(struct bd_ctx *c, const struct img_desc *desc, struct bld_err *err)
{
        uint64_t size = 0;
        int r = cas_blob_keep(c->cas, &desc->digest, &size, err);

        if (r <= 0 || size == desc->size)
                return r;
        r = cas_blob_verify(c->cas, &desc->digest, NULL);
        if (r == 0)
                return err_set(err, BLD_E_CORRUPT,
                               "a blob has %llu bytes where its descriptor says %llu",
                               (unsigned long long)size, (unsigned long long)desc->size);
        return 0;
}

static int source_of(struct bd_ctx *c, const struct img_ref *from, const struct img_desc *desc,
                     struct img_ref *ret, struct bld_err *err)
{
        char text[DIGEST_STR_MAX];
        int r;

        if (from && from->domain)
                return img_ref_copy(from, ret, err);
        r = bd_source_find(c, &desc->digest, ret, err);
        if (r != 0)
                return MIN(r, 0);
        digest_format(&desc->digest, text);
        r = err_set(err, BLD_E_NOT_FOUND, "blob %s is not in the store", text);
        return err_why(err, r, "no registry is known that it was seen in");
}

static int fetch_locked(struct bd_ctx *c, const struct img_ref *from, const struct img_desc *desc,
                        struct bd_meter *meter, const atomic_bool *stop, struct bld_err *err)
{
        AUTO(cas_key_unlock_p) struct cas_lock *lock = NULL;
        AUTO_REF struct img_ref source = {.domain = NULL};
        int r = source_of(c, from, desc, &source, err);

        if (r == 0)
                r = cas_key_lock(c->cas, &desc->digest, "fetch", true, c->cancel, &lock, NULL, err);
        if (r == 0)
                r = present(c, desc, err); /* whoever held the lock may have brought it */
        if (r != 0)
                return MIN(r, 0);
        r = download(c, &source, desc, meter, stop, err);
        if (r == 0 && !img_mt_is_config(desc->media_type))
                r = bd_source_note(c, &desc->digest, &source, err);
        return r;
}

int bd_fetch_blob_metered(struct bd_ctx *c, const struct img_ref *from, const struct img_desc *desc,
                          struct bd_meter *meter, const atomic_bool *stop, struct bld_err *err)
{
        int r = present(c, desc, err);

        if (r != 0)
                return MIN(r, 0);
        if (desc->data) /* embedded, checked when the descriptor was decoded */
                return bd_doc_put(c, desc->data, (size_t)desc->size, &desc->digest, NULL, err);
        r = fetch_locked(c, from, desc, meter, stop, err);
        if (r == BLD_E_NOT_FOUND && desc->urls.n)
                (void)err_note(err, r, "the layer is only offered at %s", desc->urls.v[0]);
        return r;
}

int bd_fetch_blob(struct bd_ctx *c, const struct img_ref *from, const struct img_desc *desc,
                  bd_progress_fn progress, void *user, struct bld_err *err)
{
        struct bd_meter meter;
        int r;

        bd_meter_init(&meter, progress, user);
        r = bd_fetch_blob_metered(c, from, desc, &meter, NULL, err);
        bd_meter_done(&meter);
        return r;
}

/* ---- many blobs ---- */

struct fetch_many {
        struct bd_ctx *c;
        const struct img_ref *from;
        const struct img_descs *blobs;
        struct bd_meter meter;
};

static int fetch_one(void *user, size_t i, const atomic_bool *stop, struct bld_err *err)
{
        struct fetch_many *m = user;

        return bd_fetch_blob_metered(m->c, m->from, &m->blobs->v[i], &m->meter, stop, err);
}

int bd_fetch_missing(struct bd_ctx *c, const struct img_descs *blobs, const struct img_ref *from,
                     bd_progress_fn progress, void *user, struct bld_err *err)
{
        struct fetch_many m = {.c = c, .from = from, .blobs = blobs};
        size_t missing = 0;
        int r;

        /* Nothing to do is the common case: no thread, no client for it. */
        for (size_t i = 0; i < blobs->n; i++) {
                r = present(c, &blobs->v[i], err);
                if (r < 0)
                        return r;
                missing += r == 0;
        }
        if (missing == 0)
                return 0;
        bd_meter_init(&m.meter, progress, user);
        r = bd_par_run(blobs->n, missing == 1 ? 1 : FETCH_THREADS, fetch_one, &m, err);
        bd_meter_done(&m.meter);
        return r;
}

/* Who pulls by name wants a whole image: what is there already is hashed again, and what is damaged
 * is moved aside, to be fetched. */
static int verify_one(void *user, size_t i, const atomic_bool *stop, struct bld_err *err)
{
        struct fetch_many *m = user;
        const struct img_desc *d = &m->blobs->v[i];
        uint64_t size;

        (void)stop;
        if (present(m->c, d, NULL) == 1 && cas_blob_verify(m->c->cas, &d->digest, NULL) < 0 &&
            cas_blob_stat(m->c->cas, &d->digest, &size, NULL) == 1)
                return err_set(err, BLD_E_CORRUPT, "a damaged blob cannot be replaced in %s",
                               cas_root(m->c->cas));
        return cancel_check(m->c->cancel, err);
}

static int drop_damaged(struct bd_ctx *c, const struct img_descs *blobs, struct bld_err *err)
{
        struct fetch_many m = {.c = c, .blobs = blobs};

        return bd_par_run(blobs->n, FETCH_THREADS, verify_one, &m, err);
}

int bd_fetch_layers(struct bd_ctx *c, const struct bd_image *im, bd_progress_fn progress,
                    void *user, struct bld_err *err)
{
        return bd_fetch_missing(c, &im->manifest.layers, &im->source, progress, user, err);
}

/* ---- documents ---- */

/* "3.14-slm" -> "did you mean 3.14-slim?"; only ever a hint, so its own failures are dropped. */
int bd_suggest_tags(struct reg_client *reg, const struct img_ref *ref, int r, struct bld_err *err)
{
        AUTO_STRV struct strv tags = {.v = NULL};
        const char *tag = ref->tag ? ref->tag : "latest", *near;
        size_t similar = 0;

        if (reg_tags(reg, ref, &tags, NULL) < 0 || tags.n == 0)
                return r;
        near = near_match(tag, (const char *const *)tags.v, tags.n, 4);
        if (near) {
                for (size_t i = 0; i < tags.n; i++)
                        similar += edit_distance(tag, tags.v[i]) < 4;
                return err_try(err, r, "did you mean %s? (%zu similar tag%s)", near, similar,
                               similar == 1 ? "" : "s");
        }
        if (tags.n <= SIMILAR_MAX)
                return err_note(err, r, "the repository has the tag%s %s%s%s%s%s",
                                tags.n == 1 ? "" : "s", tags.v[0], tags.n > 1 ? ", " : "",
                                tags.n > 1 ? tags.v[1] : "", tags.n > 2 ? ", " : "",
                                tags.n > 2 ? tags.v[2] : "");
        return err_note(err, r, "the repository has %zu tags, none with a similar name", tags.n);
}

/* Document of ref into out and the store. ret's media type is what the transport said. */
static int get_remote(struct bd_ctx *c, struct reg_client *reg, const struct img_ref *ref,
                      struct sb *out, struct img_desc *ret, struct bld_err *err)
{
        struct img_desc d = {.media_type = NULL};
        int r = reg_manifest_get(reg, ref, out, &d, err);

        if (r == BLD_E_NOT_FOUND && !digest_is_set(&ref->digest))
                return bd_suggest_tags(reg, ref, r, err);
        if (r < 0)
                return r;
        r = bd_doc_put(c, sb_text(out), out->len, &d.digest, NULL, err);
        if (r < 0) {
                img_desc_done(&d);
                return r;
        }
        *ret = d;
        return 0;
}

/* A document of the store whose type the reference does not tell. 1/0. */
static int get_local(struct bd_ctx *c, const struct digest *d, struct sb *out, struct img_desc *ret,
                     struct bld_err *err)
{
        struct img_desc x = {.digest = *d};
        const char *mt;

        (void)!bd_keep(c, d, NULL); /* where it cannot be kept it can be read */
        if (cas_blob_read(c->cas, d, IMG_MANIFEST_MAX, out, NULL) < 0) {
                sb_reset(out);
                return 0; /* absent, or damaged and moved aside: it is fetched again */
        }
        mt = img_guess_media_type(sb_text(out), out->len);
        if (!mt) {
                sb_reset(out);
                return 0;
        }
        x.size = out->len;
        x.media_type = mem_strdup(mt);
        if (!x.media_type)
                return err_nomem(err, "descriptor");
        *ret = x;
        return 1;
}

/* What a reference names: by digest from the store when it is there; a tag is asked for with HEAD,
 * which registries do not count as a pull, and fetched by the digest that came back. */
static int resolve(struct bd_ctx *c, const struct img_ref *ref, struct sb *out,
                   struct img_desc *ret, struct bld_err *err)
{
        AUTO_REF struct img_ref pinned = {.domain = NULL};
        struct img_desc head = {.media_type = NULL};
        struct reg_client *reg = NULL;
        int r = img_ref_copy(ref, &pinned, err);

        if (r < 0)
                return r;
        if (digest_is_set(&ref->digest)) {
                r = get_local(c, &ref->digest, out, ret, err);
                if (r != 0)
                        return MIN(r, 0);
        }
        r = c->registry(c->user, &reg, err);
        if (r < 0)
                return r;
        if (!digest_is_set(&ref->digest)) {
                r = reg_manifest_head(reg, ref, &head, err);
                if (r == 0) /* HEAD has no words: GET has */
                        return get_remote(c, reg, ref, out, ret, err);
                if (r < 0)
                        return r;
                pinned.digest = head.digest;
                img_desc_done(&head);
                if (digest_is_set(&pinned.digest)) {
                        r = get_local(c, &pinned.digest, out, ret, err);
                        if (r != 0)
                                return MIN(r, 0);
                }
        }
        r = get_remote(c, reg, &pinned, out, ret, err);
        if (r != BLD_E_NOT_FOUND || digest_is_set(&ref->digest))
                return r;
        /* HEAD named what is not there: it lied, or the tag has just moved */
        err_clear(err);
        sb_reset(out);
        return get_remote(c, reg, ref, out, ret, err);
}

/* An entry of an index: its descriptor is the promise, whatever the transport says. */
static int get_child(struct bd_ctx *c, const struct img_ref *ref, const struct img_desc *desc,
                     struct sb *out, struct bld_err *err)
{
        AUTO_REF struct img_ref pinned = {.domain = NULL};
        AUTO(img_desc_done) struct img_desc got = {.media_type = NULL};
        struct reg_client *reg = NULL;
        int r = bd_keep(c, &desc->digest, err);

        if (r > 0 && bd_doc_read(c, desc, IMG_MANIFEST_MAX, out, NULL) == 0)
                return 0;
        sb_reset(out);
        if (r >= 0)
                r = img_ref_copy(ref, &pinned, err);
        if (r == 0)
                r = c->registry(c->user, &reg, err);
        if (r < 0)
                return r;
        pinned.digest = desc->digest;
        r = reg_manifest_get_listed(reg, &pinned, out, &got, err);
        if (r == 0)
                r = bd_doc_put(c, sb_text(out), out->len, &got.digest, NULL, err);
        if (r == 0 && out->len != desc->size)
                r = err_set(err, BLD_E_CORRUPT,
                            "manifest of %s has %zu bytes where its index promised %llu",
                            pinned.path, out->len, (unsigned long long)desc->size);
        return r;
}

/* From a resolved document down to a manifest for the platform; desc is replaced on the way. */
static int descend(struct bd_ctx *c, const struct img_ref *ref, const struct img_platform *platform,
                   struct sb *doc, struct img_desc *desc, struct bld_err *err)
{
        for (unsigned depth = 0; img_mt_is_index(desc->media_type); depth++) {
                AUTO(img_index_done) struct img_index ix = {.media_type = NULL};
                struct img_desc next = {.media_type = NULL};
                size_t i = 0;
                int r;

                if (depth == BD_INDEX_DEPTH_MAX)
                        return err_set(err, BLD_E_CORRUPT, "indexes are nested more than %u deep",
                                       BD_INDEX_DEPTH_MAX);
                r = img_index_decode(sb_text(doc), doc->len, desc->media_type, &ix, err);
                if (r == 0)
                        r = img_index_choose(&ix, platform, &i, err);
                if (r < 0)
                        return r;
                if (img_desc_copy(&ix.manifests.v[i], &next) < 0)
                        return err_nomem(err, "descriptor");
                img_desc_done(desc);
                *desc = next;
                sb_reset(doc);
                r = get_child(c, ref, desc, doc, err);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Config of a manifest whose document is in the store; then both are read and checked. */
static int complete(struct bd_ctx *c, const struct img_ref *ref, const struct sb *doc,
                    struct bd_image *im, struct bld_err *err)
{
        AUTO(img_manifest_done) struct img_manifest m = {.media_type = NULL};
        int r = img_manifest_decode(sb_text(doc), doc->len, im->desc.media_type, &m, err);

        if (r == 0 && m.config.size > IMG_CONFIG_MAX)
                r = err_set(err, BLD_E_CORRUPT, "the image's config is larger than %u bytes",
                            IMG_CONFIG_MAX);
        if (r == 0 && img_mt_is_config(m.config.media_type)) {
                r = bd_fetch_blob(c, ref, &m.config, NULL, NULL, err);
                /* what was there already may be damaged: moved aside, and fetched */
                if (r == 0 && cas_blob_verify(c->cas, &m.config.digest, NULL) == BLD_E_CORRUPT)
                        r = bd_fetch_blob(c, ref, &m.config, NULL, NULL, err);
        }
        if (r == 0)
                r = bd_image_read(c, im, err);
        if (r == 0)
                r = bd_source_note(c, &im->desc.digest, ref, err);
        return r;
}

static void warn_platform(struct bd_ctx *c, const char *name, const struct bd_image *im,
                          const struct img_platform *want)
{
        char have[128], wanted[128], text[512];

        if (!c->note || im->desc.has_platform || !im->config.platform.arch[0] ||
            img_platform_score(want, &im->config.platform) > 0)
                return;
        img_platform_format(&im->config.platform, have);
        img_platform_format(want, wanted);
        (void)snprintf(text, sizeof(text), "%s is for %s only, wanted was %s", name, have, wanted);
        c->note(c->user, text);
}

/* Behind the first answer (so not of the client's own files): what a registry sent is malformed,
 * and that is not the caller's input. */
static int answer_error(int r, struct bld_err *err)
{
        return r == BLD_E_INVALID ? err_recode(err, BLD_E_CORRUPT) : r;
}

/* What a name without a registry stands for on this machine; any other name is itself. */
static int full_name(struct bd_ctx *c, const struct img_ref *ref, struct img_ref *ret,
                     struct bld_err *err)
{
        AUTO_FREE char *to = NULL;
        AUTO_SB struct sb text = SB_INIT(4096);
        char digest[DIGEST_STR_MAX];
        struct reg_client *reg = NULL;
        const char *name = ref->path;
        int r = ref->short_name ? c->registry(c->user, &reg, err) : 0;

        name += str_has_prefix(name, "library/") ? strlen("library/") : 0;
        if (r == 0 && ref->short_name)
                r = reg_short_name(reg, name, &to, err);
        if (r <= 0)
                return r < 0 ? r : img_ref_copy(ref, ret, err);
        sb_fmt(&text, "%s%s%s", to, ref->tag ? ":" : "", ref->tag ? ref->tag : "");
        if (digest_is_set(&ref->digest)) {
                digest_format(&ref->digest, digest);
                sb_fmt(&text, "@%s", digest);
        }
        if (c->note && !str_has_prefix(to, "docker.io/")) {
                AUTO_SB struct sb line = SB_INIT(4096);

                sb_fmt(&line, "%s is %s (alias in registries.conf)", name, to);
                c->note(c->user, sb_text(&line));
        }
        r = img_ref_parse(sb_text(&text), ret, err);
        return r < 0 ? err_wrap(err, r, "registries.conf, alias %s", name) : 0;
}

static int fetch_image(struct bd_ctx *c, const struct img_ref *ref,
                       const struct img_platform *platform, struct bd_image *im,
                       struct img_desc *root, struct bld_err *err)
{
        AUTO_SB struct sb doc = SB_INIT(IMG_MANIFEST_MAX);
        int r = resolve(c, ref, &doc, &im->desc, err);

        if (r < 0)
                return r;
        if (root && img_desc_copy(&im->desc, root) < 0)
                return err_nomem(err, "descriptor");
        if (!img_mt_is_index(im->desc.media_type) && !img_mt_is_manifest(im->desc.media_type))
                return err_set(err, BLD_E_CORRUPT, "\"%.100s\" is not the type of an image",
                               im->desc.media_type ? im->desc.media_type : "");
        r = descend(c, ref, platform, &doc, &im->desc, err);
        if (r == 0)
                r = complete(c, ref, &doc, im, err);
        return answer_error(r, err);
}

int bd_fetch_image(struct bd_ctx *c, const struct img_ref *ref, const struct img_platform *platform,
                   struct bd_image *ret, struct img_desc *ret_root, struct bld_err *err)
{
        AUTO_FREE char *name = img_ref_format(ref, IMG_REF_DEFAULT_TAG);
        struct img_desc root = {.media_type = NULL};
        struct img_platform host;
        AUTO_REF struct img_ref real = {.domain = NULL};
        struct bd_image im;
        int r;

        if (!name)
                return err_nomem(err, "name of an image");
        if (!platform) {
                img_platform_host(&host);
                platform = &host;
        }
        memset(&im, 0, sizeof(im));
        img_config_init(&im.config);
        r = full_name(c, ref, &real, err);
        if (r == 0)
                r = fetch_image(c, &real, platform, &im, ret_root ? &root : NULL, err);
        if (r == 0)
                r = img_ref_copy(&real, &im.source, err);
        if (r < 0) {
                bd_image_done(&im);
                img_desc_done(&root);
                if (r == BLD_E_CORRUPT || r == BLD_E_LIMIT)
                        return err_wrap(err, r, "%s", name);
                return r;
        }
        warn_platform(c, name, &im, platform);
        *ret = im;
        if (ret_root)
                *ret_root = root;
        return 0;
}

/* ---- a whole tag ---- */

/* All documents below an index, depth first. */
static int fetch_docs(struct bd_ctx *c, const struct img_ref *ref, const struct img_desc *desc,
                      unsigned depth, unsigned *nodes, struct bld_err *err)
{
        AUTO_SB struct sb doc = SB_INIT(IMG_MANIFEST_MAX);
        AUTO(img_index_done) struct img_index ix = {.media_type = NULL};
        int r;

        if (depth > BD_INDEX_DEPTH_MAX || ++*nodes > BD_INDEX_NODES_MAX)
                return err_set(err, BLD_E_LIMIT,
                               "the index is nested too deep or has too many entries");
        if (!img_mt_is_index(desc->media_type) && !img_mt_is_manifest(desc->media_type))
                return 0;
        r = get_child(c, ref, desc, &doc, err);
        if (r < 0 || !img_mt_is_index(desc->media_type))
                return r;
        r = img_index_decode(sb_text(&doc), doc.len, desc->media_type, &ix, err);
        for (size_t i = 0; r == 0 && i < ix.manifests.n; i++)
                r = fetch_docs(c, ref, &ix.manifests.v[i], depth + 1, nodes, err);
        return r;
}

/* What is not fetched now is fetched from here when something needs it. */
static int note_sources(struct bd_ctx *c, const struct bd_closure *x, const struct img_ref *from,
                        struct bld_err *err)
{
        int r = 0;

        for (size_t i = 0; r == 0 && i < x->docs.n; i++)
                r = bd_source_note(c, &x->docs.v[i].digest, from, err);
        for (size_t i = 0; r == 0 && i < x->blobs.n; i++)
                if (!img_mt_is_config(x->blobs.v[i].media_type))
                        r = bd_source_note(c, &x->blobs.v[i].digest, from, err);
        return r;
}

/* The blobs of documents that are in the store: all, or only the configs. */
static int pull_blobs(struct bd_ctx *c, const struct img_desc *root, const struct img_ref *from,
                      const struct bd_pull_opts *o, struct bld_err *err)
{
        AUTO(bd_closure_done) struct bd_closure x = {.docs = {.v = NULL}};
        int r = bd_closure_make(c, root, 0, &x, err);

        if (r == 0 && o->lazy)
                r = note_sources(c, &x, from, err);
        for (size_t i = 0; r == 0 && o->lazy && i < x.blobs.n; i++)
                if (img_mt_is_config(x.blobs.v[i].media_type))
                        r = bd_fetch_blob(c, from, &x.blobs.v[i], NULL, NULL, err);
        if (r < 0 || o->lazy)
                return r;
        r = drop_damaged(c, &x.blobs, err);
        return r == 0 ? bd_fetch_missing(c, &x.blobs, from, o->progress, o->user, err) : r;
}

static int pull_all(struct bd_ctx *c, const struct img_ref *ref, const struct bd_pull_opts *o,
                    struct img_desc *ret, struct bld_err *err)
{
        AUTO_SB struct sb doc = SB_INIT(IMG_MANIFEST_MAX);
        AUTO_REF struct img_ref real = {.domain = NULL};
        unsigned nodes = 0;
        int r = full_name(c, ref, &real, err);

        if (r == 0)
                r = resolve(c, &real, &doc, ret, err);
        if (r < 0)
                return r;
        r = fetch_docs(c, &real, ret, 0, &nodes, err);
        if (r == 0)
                r = pull_blobs(c, ret, &real, o, err);
        return answer_error(r, err);
}

static int pull_one(struct bd_ctx *c, const struct img_ref *ref, const struct bd_pull_opts *o,
                    struct img_desc *ret, struct img_desc *ret_root, struct bld_err *err)
{
        AUTO(bd_image_done) struct bd_image im = {.source = {.domain = NULL}};
        int r = bd_fetch_image(c, ref, o->platform, &im, ret_root, err);

        if (r == 0)
                r = pull_blobs(c, &im.desc, &im.source, o, err);
        if (r == 0 && img_desc_copy(&im.desc, ret) < 0)
                r = err_nomem(err, "descriptor");
        return r;
}

int bd_pull(struct bd_ctx *c, const struct img_ref *ref, const struct bd_pull_opts *o,
            struct img_desc *ret_root, struct bld_err *err)
{
        AUTO(img_desc_done) struct img_desc desc = {.media_type = NULL};
        AUTO(img_desc_done) struct img_desc root = {.media_type = NULL};
        AUTO_FREE char *name = NULL;
        int r;

        r = o->all_platforms ? pull_all(c, ref, o, &desc, err)
                             : pull_one(c, ref, o, &desc, &root, err);
        if (r < 0)
                return r;
        if (ref->tag || !digest_is_set(&ref->digest)) {
                name = img_ref_format(ref, IMG_REF_DEFAULT_TAG | IMG_REF_NO_DIGEST);
                if (!name)
                        return err_nomem(err, "name of an image");
        }
        r = o->lazy ? cas_ref_set_lazy(c->cas, name, &desc, err)
                    : cas_ref_set(c->cas, name, &desc, err);
        if (r == 0 && img_desc_copy(o->all_platforms ? &desc : &root, ret_root) < 0)
                r = err_nomem(err, "descriptor");
        return r;
}
