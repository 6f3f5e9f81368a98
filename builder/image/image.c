/* Images of the store: from a name to documents, and from documents to all they reach. */
#include "builder/builder.h"

#include <string.h>

#include "base/err.h"
#include "base/map.h"
#include "base/opt.h"
#include "builder/image/move_priv.h"

#define ID_PREFIX_MIN 6u
#define SOURCE_KIND "bsrc"
#define SOURCE_MAX 1024u

/* ---- documents ---- */

void bd_short(const struct digest *d, char out[24])
{
        char text[DIGEST_STR_MAX];

        digest_format(d, text);
        (void)str_copy(out, 20, text); /* "sha256:" and 12 digits */
}

int bd_doc_read(struct bd_ctx *c, const struct img_desc *desc, size_t max, struct sb *out,
                struct bld_err *err)
{
        size_t before = out->len;
        int r = cas_blob_read(c->cas, &desc->digest, max, out, err);

        if (r < 0)
                return r;
        if (desc->size && out->len - before != desc->size) {
                char text[DIGEST_STR_MAX];

                digest_format(&desc->digest, text);
                return err_set(err, BLD_E_CORRUPT, "%s has %zu bytes where %llu were promised",
                               text, out->len - before, (unsigned long long)desc->size);
        }
        return 0;
}

int bd_has(struct bd_ctx *c, const struct digest *d, struct bld_err *err)
{
        uint64_t size = 0;

        return cas_blob_stat(c->cas, d, &size, err);
}

int bd_doc_put(struct bd_ctx *c, const void *p, size_t n, const struct digest *expect,
               struct digest *ret, struct bld_err *err)
{
        AUTO(cas_writer_free_p) struct cas_writer *w = NULL;
        struct digest d;
        int r;

        if (expect && expect->algo == DIGEST_SHA512) {
                struct hasher h;

                hasher_init(&h, DIGEST_SHA512);
                hasher_add(&h, p, n);
                hasher_end(&h, &d);
        } else {
                digest_of(p, n, &d);
        }
        if (expect && !digest_eq(&d, expect)) {
                char want[DIGEST_STR_MAX], have[DIGEST_STR_MAX];

                digest_format(expect, want);
                digest_format(&d, have);
                return err_set(err, BLD_E_CORRUPT, "content of %s hashes to %s", want, have);
        }
        if (d.algo == DIGEST_SHA256) {
                r = cas_blob_put(c->cas, p, n, &d, err);
        } else {
                r = cas_writer_open(c->cas, &w, err);
                if (r == 0)
                        r = cas_writer_add(w, p, n, err);
                if (r == 0)
                        r = cas_writer_commit(w, &d, n, &d, err);
        }
        if (r < 0)
                return r;
        if (ret)
                *ret = d;
        return 0;
}

int bd_blame_blob(struct bd_ctx *c, const struct digest *d, int r, struct bld_err *err)
{
        struct bld_err why = BLD_ERR_INIT;

        if (r >= 0 || cas_blob_verify(c->cas, d, &why) != BLD_E_CORRUPT)
                return r;
        err_copy(err, &why);
        return err_try(err, BLD_E_CORRUPT,
                       "build or pull again: what is lost is fetched or made anew");
}

/* ---- where blobs come from ---- */

int bd_source_copy(const struct img_ref *r, struct img_ref *ret, struct bld_err *err)
{
        if (r->domain)
                return img_ref_copy(r, ret, err);
        memset(ret, 0, sizeof(*ret));
        return 0;
}

/* domain NULL: where a blob came from; else where on that registry it was pushed to. */
static void source_key(const struct digest *d, const char *domain, struct digest *key)
{
        struct hasher h;
        char text[DIGEST_STR_MAX];

        digest_format(d, text);
        hasher_init(&h, DIGEST_SHA256);
        hasher_field_str(&h, domain ? "bld-pushed-v1" : "bld-source-v1");
        hasher_field_str(&h, text);
        if (domain)
                hasher_field_str(&h, domain);
        hasher_end(&h, key);
}

static int record_find(struct bd_ctx *c, const struct digest *key, struct img_ref *ret,
                       struct bld_err *err)
{
        AUTO_SB struct sb b = SB_INIT(SOURCE_MAX);
        int r = cas_result_get(c->cas, key, SOURCE_KIND, &b, err);

        if (r <= 0)
                return r;
        /* a damaged or foreign record is one that is not there */
        return img_ref_parse(sb_text(&b), ret, NULL) < 0 ? 0 : 1;
}

static int record_note(struct bd_ctx *c, const struct digest *key, const struct img_ref *repo,
                       struct bld_err *err)
{
        AUTO_REF struct img_ref known = {.domain = NULL};
        AUTO_FREE char *text = NULL;
        int r = record_find(c, key, &known, err);

        if (r < 0)
                return r;
        if (r > 0 && str_eq(known.domain, repo->domain) && str_eq(known.path, repo->path))
                return 0; /* a second look writes (and syncs) nothing */
        text = img_ref_format(repo, IMG_REF_NO_TAG | IMG_REF_NO_DIGEST);
        if (!text)
                return err_nomem(err, "name of a repository");
        return cas_result_put(c->cas, key, SOURCE_KIND, text, strlen(text), NULL, 0, err);
}

int bd_source_find(struct bd_ctx *c, const struct digest *d, struct img_ref *ret,
                   struct bld_err *err)
{
        struct digest key;

        source_key(d, NULL, &key);
        return record_find(c, &key, ret, err);
}

int bd_source_note(struct bd_ctx *c, const struct digest *d, const struct img_ref *repo,
                   struct bld_err *err)
{
        struct digest key;

        source_key(d, NULL, &key);
        return record_note(c, &key, repo, err);
}

int bd_pushed_find(struct bd_ctx *c, const struct digest *d, const char *domain,
                   struct img_ref *ret, struct bld_err *err)
{
        struct digest key;

        source_key(d, domain, &key);
        return record_find(c, &key, ret, err);
}

int bd_pushed_note(struct bd_ctx *c, const struct digest *d, const struct img_ref *repo,
                   struct bld_err *err)
{
        struct digest key;

        source_key(d, repo->domain, &key);
        return record_note(c, &key, repo, err);
}

/* ---- one image ---- */

void bd_image_done(struct bd_image *im)
{
        if (!im)
                return;
        img_desc_done(&im->desc);
        img_manifest_done(&im->manifest);
        img_config_done(&im->config);
        img_ref_done(&im->source);
        memset(im, 0, sizeof(*im));
}

int bd_image_read(struct bd_ctx *c, struct bd_image *ret, struct bld_err *err)
{
        AUTO_SB struct sb doc = SB_INIT(IMG_MANIFEST_MAX);
        AUTO_SB struct sb conf = SB_INIT(IMG_CONFIG_MAX);
        char text[24];
        int r;

        bd_short(&ret->desc.digest, text);
        r = bd_doc_read(c, &ret->desc, IMG_MANIFEST_MAX, &doc, err);
        if (r == 0)
                r = img_manifest_decode(sb_text(&doc), doc.len, ret->desc.media_type,
                                        &ret->manifest, err);
        if (r < 0)
                return err_wrap(err, r, "manifest %s", text);
        if (!img_mt_is_config(ret->manifest.config.media_type))
                return err_set(err, BLD_E_INVALID,
                               "%s is not a container image: its config has the type \"%.100s\"",
                               text, ret->manifest.config.media_type);
        r = bd_doc_read(c, &ret->manifest.config, IMG_CONFIG_MAX, &conf, err);
        if (r == 0)
                r = img_config_decode(sb_text(&conf), conf.len, &ret->config, err);
        if (r < 0)
                return err_wrap(err, r, "config of %s", text);
        if (ret->config.ndiff_ids != ret->manifest.layers.n)
                return err_set(err, BLD_E_CORRUPT, "%s has %zu layers, but its config lists %zu",
                               text, ret->manifest.layers.n, ret->config.ndiff_ids);
        return 0;
}

/* Follow indexes down to the manifest of a platform. */
static int choose(struct bd_ctx *c, const struct img_desc *from, const struct img_platform *want,
                  struct img_desc *ret, struct bld_err *err)
{
        struct img_desc at = {.media_type = NULL};
        int r = img_desc_copy(from, &at) < 0 ? err_nomem(err, "descriptor") : 0;

        for (unsigned depth = 0; r == 0 && img_mt_is_index(at.media_type); depth++) {
                AUTO_SB struct sb doc = SB_INIT(IMG_MANIFEST_MAX);
                AUTO(img_index_done) struct img_index ix = {.media_type = NULL};
                struct img_desc next = {.media_type = NULL};
                size_t i = 0;

                if (depth == BD_INDEX_DEPTH_MAX) {
                        r = err_set(err, BLD_E_CORRUPT, "indexes are nested more than %u deep",
                                    BD_INDEX_DEPTH_MAX);
                        break;
                }
                r = bd_doc_read(c, &at, IMG_MANIFEST_MAX, &doc, err);
                if (r == 0)
                        r = img_index_decode(sb_text(&doc), doc.len, at.media_type, &ix, err);
                if (r == 0)
                        r = img_index_choose(&ix, want, &i, err);
                if (r == 0 && img_desc_copy(&ix.manifests.v[i], &next) < 0)
                        r = err_nomem(err, "descriptor");
                if (r == 0) {
                        img_desc_done(&at);
                        at = next;
                }
        }
        if (r < 0) {
                img_desc_done(&at);
                return r;
        }
        *ret = at;
        return 0;
}

int bd_image_load(struct bd_ctx *c, const struct img_desc *desc,
                  const struct img_platform *platform, struct bd_image *ret, struct bld_err *err)
{
        struct bd_image im;
        struct img_platform host;
        int r;

        memset(&im, 0, sizeof(im));
        img_config_init(&im.config);
        if (!platform) {
                img_platform_host(&host);
                platform = &host;
        }
        r = choose(c, desc, platform, &im.desc, err);
        if (r == 0)
                r = bd_image_read(c, &im, err);
        if (r == 0)
                r = bd_source_find(c, &im.desc.digest, &im.source, err);
        if (r < 0) {
                bd_image_done(&im);
                return r;
        }
        *ret = im;
        return 0;
}

int bd_image_layers(const struct bd_image *im, struct bd_layers *ret, struct bld_err *err)
{
        for (size_t i = 0; i < im->manifest.layers.n; i++) {
                struct bd_layer *l = bd_layers_push(ret);

                if (!l || img_desc_copy(&im->manifest.layers.v[i], &l->desc) < 0)
                        return err_nomem(err, "layers");
                l->diff_id = im->config.diff_ids[i];
                if (bd_source_copy(&im->source, &l->source, err) < 0)
                        return BLD_E_NOMEM;
        }
        return 0;
}

/* ---- everything a document reaches ---- */

struct walk {
        struct bd_ctx *c;
        unsigned flags;
        struct map seen; /* digests as text */
        struct bd_closure *x;
};

static int list_add(struct img_descs *to, const struct img_desc *d, struct bld_err *err)
{
        struct img_desc *n = img_descs_push(to);

        if (!n || img_desc_copy(d, n) < 0)
                return err_nomem(err, "list of blobs");
        return 0;
}

/* 1 the first time, 0 later. */
static int walk_first(struct walk *w, const struct digest *d, struct bld_err *err)
{
        char text[DIGEST_STR_MAX];

        digest_format(d, text);
        if (map_get(&w->seen, text))
                return 0;
        if (map_set(&w->seen, text, w) < 0)
                return err_nomem(err, "list of blobs");
        return 1;
}

static int walk_blob(struct walk *w, const struct img_desc *d, struct bld_err *err)
{
        int r = walk_first(w, &d->digest, err);

        return r > 0 ? list_add(&w->x->blobs, d, err) : r;
}

static int walk_manifest(struct walk *w, const struct img_desc *d, const struct sb *doc,
                         struct bld_err *err)
{
        AUTO(img_manifest_done) struct img_manifest m = {.media_type = NULL};
        int r = img_manifest_decode(sb_text(doc), doc->len, d->media_type, &m, err);

        if (r == 0)
                r = walk_blob(w, &m.config, err);
        for (size_t i = 0; r == 0 && i < m.layers.n; i++)
                r = walk_blob(w, &m.layers.v[i], err);
        return r;
}

static int walk_doc(struct walk *w, const struct img_desc *d, unsigned depth, struct bld_err *err);

static int walk_index(struct walk *w, const struct img_desc *d, const struct sb *doc,
                      unsigned depth, struct bld_err *err)
{
        AUTO(img_index_done) struct img_index ix = {.media_type = NULL};
        int r = img_index_decode(sb_text(doc), doc->len, d->media_type, &ix, err);

        for (size_t i = 0; r == 0 && i < ix.manifests.n; i++) {
                const struct img_desc *m = &ix.manifests.v[i];
                char text[24];

                r = bd_has(w->c, &m->digest, err);
                if (r < 0)
                        return r;
                if (r == 0 && (w->flags & BD_CLOSURE_SPARSE))
                        continue;
                if (r == 0) {
                        char platform[128] = "an entry";

                        if (m->has_platform)
                                img_platform_format(&m->platform, platform);
                        bd_short(&m->digest, text);
                        r = err_set(err, BLD_E_NOT_FOUND,
                                    "%s (%s) of the index is not in the store", platform, text);
                        return err_try(err, r, "pull the image with --all-platforms first");
                }
                r = walk_doc(w, m, depth + 1, err);
        }
        return r;
}

static int walk_doc(struct walk *w, const struct img_desc *d, unsigned depth, struct bld_err *err)
{
        AUTO_SB struct sb doc = SB_INIT(IMG_MANIFEST_MAX);
        char text[24];
        int r = walk_first(w, &d->digest, err);

        if (r <= 0)
                return r;
        if (depth > BD_INDEX_DEPTH_MAX || w->x->docs.n >= BD_INDEX_NODES_MAX)
                return err_set(err, BLD_E_LIMIT,
                               "the index is nested too deep or has too many entries");
        if (!img_mt_is_index(d->media_type) && !img_mt_is_manifest(d->media_type))
                return list_add(&w->x->blobs, d, err); /* unknown: moved, never read */
        bd_short(&d->digest, text);
        r = bd_doc_read(w->c, d, IMG_MANIFEST_MAX, &doc, err);
        if (r == 0)
                r = img_mt_is_index(d->media_type) ? walk_index(w, d, &doc, depth, err)
                                                   : walk_manifest(w, d, &doc, err);
        if (r < 0)
                return depth ? r : err_wrap(err, r, "image %s", text);
        return list_add(&w->x->docs, d, err);
}

int bd_closure_make(struct bd_ctx *c, const struct img_desc *root, unsigned flags,
                    struct bd_closure *ret, struct bld_err *err)
{
        struct bd_closure x = {.docs = {.v = NULL}};
        struct walk w = {.c = c, .flags = flags, .x = &x};
        int r;

        map_init(&w.seen, NULL);
        r = walk_doc(&w, root, 0, err);
        map_done(&w.seen);
        if (r < 0) {
                bd_closure_done(&x);
                return r;
        }
        *ret = x;
        return 0;
}

void bd_closure_done(struct bd_closure *x)
{
        if (!x)
                return;
        img_descs_free(&x->docs);
        img_descs_free(&x->blobs);
}

/* ---- names ---- */

/* "sha256:<hex>", "<hex>" or a prefix of it as lower-case digits; NULL when it is no such thing. */
static const char *id_digits(const char *name)
{
        const char *hex = str_has_prefix(name, "sha256:") ? name + 7 : name;
        size_t n = strspn(hex, "0123456789abcdef");

        return hex[n] == '\0' && n >= ID_PREFIX_MIN && n <= 64 ? hex : NULL;
}

static bool id_matches(const struct digest *d, const char *digits)
{
        char hex[DIGEST_HEX_MAX];

        digest_hex(d, hex);
        return str_has_prefix(hex, digits);
}

struct search {
        struct bd_ctx *c;
        const char *digits;
        struct img_desc found;
        const char *name; /* of the entry, borrowed */
        unsigned hits;    /* different images */
};

static int search_hit(struct search *s, const struct img_desc *d, const char *name,
                      struct bld_err *err)
{
        if (s->hits && digest_eq(&s->found.digest, &d->digest))
                return 0;
        if (s->hits++)
                return 0;
        s->name = name;
        return img_desc_copy(d, &s->found) < 0 ? err_nomem(err, "descriptor") : 0;
}

/* Does the document or one below it have that id, or a config that has? Documents that cannot be
 * read are passed over: a damaged image must not hide the others. */
static int search_doc(struct search *s, const struct img_desc *d, const char *name, unsigned depth,
                      struct bld_err *err)
{
        AUTO_SB struct sb doc = SB_INIT(IMG_MANIFEST_MAX);
        int r = 0;

        if (id_matches(&d->digest, s->digits))
                return search_hit(s, d, name, err);
        if (depth > BD_INDEX_DEPTH_MAX || bd_doc_read(s->c, d, IMG_MANIFEST_MAX, &doc, NULL) < 0)
                return 0;
        if (img_mt_is_manifest(d->media_type)) {
                AUTO(img_manifest_done) struct img_manifest m = {.media_type = NULL};

                if (img_manifest_decode(sb_text(&doc), doc.len, d->media_type, &m, NULL) < 0)
                        return 0;
                if (id_matches(&m.config.digest, s->digits))
                        r = search_hit(s, d, name, err);
        } else if (img_mt_is_index(d->media_type)) {
                AUTO(img_index_done) struct img_index ix = {.media_type = NULL};

                if (img_index_decode(sb_text(&doc), doc.len, d->media_type, &ix, NULL) < 0)
                        return 0;
                for (size_t i = 0; r == 0 && i < ix.manifests.n; i++)
                        r = search_doc(s, &ix.manifests.v[i], name, depth + 1, err);
        }
        return r;
}

/* A full digest may name a document that no reference reaches (the base of a build, say). 1/0. */
static int find_blob(struct bd_ctx *c, const struct digest *d, struct img_desc *ret,
                     struct bld_err *err)
{
        AUTO_SB struct sb doc = SB_INIT(IMG_MANIFEST_MAX);
        struct img_desc x = {.digest = *d};
        uint64_t size = 0;
        const char *mt;
        int r = cas_blob_stat(c->cas, d, &size, err);

        if (r <= 0)
                return r;
        if (size > IMG_MANIFEST_MAX || cas_blob_read(c->cas, d, IMG_MANIFEST_MAX, &doc, NULL) < 0)
                return 0;
        mt = img_guess_media_type(sb_text(&doc), doc.len);
        if (!mt || (!img_mt_is_index(mt) && !img_mt_is_manifest(mt)))
                return 0;
        x.size = size;
        x.media_type = mem_strdup(mt);
        if (!x.media_type)
                return err_nomem(err, "descriptor");
        *ret = x;
        return 1;
}

/* 1 found, 0 not. */
static int find_id(struct bd_ctx *c, const struct cas_refs *refs, const char *digits,
                   struct img_desc *ret, char **ret_name, struct bld_err *err)
{
        struct search s = {.c = c, .digits = digits};
        struct digest d;
        int r = 0;

        for (size_t i = 0; r == 0 && i < refs->n; i++)
                r = search_doc(&s, &refs->v[i].desc, refs->v[i].name, 0, err);
        if (r == 0 && s.hits > 1) {
                r = err_set(err, BLD_E_INVALID, "\"%s\" is the beginning of %u image ids", digits,
                            s.hits);
                r = err_try(err, r, "give more digits; bld images --no-trunc shows them all");
        }
        if (r < 0) {
                img_desc_done(&s.found);
                return r;
        }
        if (s.hits == 0)
                return digest_from_hex(digits, &d) ? find_blob(c, &d, ret, err) : 0;
        if (ret_name && s.name) {
                *ret_name = mem_strdup(s.name);
                if (!*ret_name) {
                        img_desc_done(&s.found);
                        return err_nomem(err, "name");
                }
        }
        *ret = s.found;
        return 1;
}

static int not_found(const struct cas_refs *refs, const char *name, const char *full,
                     struct bld_err *err)
{
        AUTO_STRV struct strv names = {.v = NULL};
        const char *near;
        int r = err_set(err, BLD_E_NOT_FOUND, "image %s is not in the store", full ? full : name);

        for (size_t i = 0; i < refs->n; i++)
                if (refs->v[i].name && strv_add(&names, refs->v[i].name) < 0)
                        return r;
        /* Of a short name three wrong letters are another name. */
        near = full ? near_match(full, (const char *const *)names.v, names.n,
                                 MIN(strlen(name) / 3 + 1, (size_t)4))
                    : NULL;
        if (near)
                return err_try(err, r, "did you mean %s?", near);
        if (names.n)
                return err_try(err, r, "bld images lists what is there");
        return err_try(err, r, "bld pull %s, or build it with bld build -t %s", name, name);
}

/* name@digest: the digest decides; the name must fit when the store knows one. */
static int find_pinned(struct bd_ctx *c, const struct cas_refs *refs, const struct img_ref *ref,
                       struct img_desc *ret, char **ret_name, struct bld_err *err)
{
        char hex[DIGEST_HEX_MAX];

        if (ref->digest.algo != DIGEST_SHA256)
                return find_blob(c, &ref->digest, ret, err);
        digest_hex(&ref->digest, hex);
        return find_id(c, refs, hex, ret, ret_name, err);
}

/* 1 found, 0 not; a name that is no reference is not an error yet: it may be an id. */
static int find_name(struct bd_ctx *c, const struct cas_refs *refs, const char *name,
                     struct img_desc *ret, char **ret_name, char **ret_full, struct bld_err *err)
{
        AUTO_REF struct img_ref ref = {.domain = NULL};
        AUTO_FREE char *full = NULL;

        if (img_ref_parse(name, &ref, NULL) < 0)
                return 0;
        full = img_ref_format(&ref, IMG_REF_DEFAULT_TAG);
        if (!full)
                return err_nomem(err, "name");
        if (digest_is_set(&ref.digest)) {
                int r = find_pinned(c, refs, &ref, ret, ret_name, err);

                *ret_full = TAKE_PTR(&full);
                return r;
        }
        for (size_t i = 0; i < refs->n; i++) {
                if (!str_eq(refs->v[i].name, full))
                        continue;
                if (img_desc_copy(&refs->v[i].desc, ret) < 0)
                        return err_nomem(err, "descriptor");
                if (ret_name)
                        *ret_name = TAKE_PTR(&full);
                return 1;
        }
        *ret_full = TAKE_PTR(&full);
        return 0;
}

static int find(struct bd_ctx *c, const struct cas_refs *refs, const char *name,
                struct img_desc *ret, char **ret_name, struct bld_err *err)
{
        AUTO_FREE char *full = NULL;
        const char *digits = id_digits(name);
        int r;

        if (digits && strlen(digits) == 64)
                r = find_id(c, refs, digits, ret, ret_name, err);
        else
                r = find_name(c, refs, name, ret, ret_name, &full, err);
        if (r == 0 && digits && strlen(digits) < 64)
                r = find_id(c, refs, digits, ret, ret_name, err);
        if (r != 0)
                return MIN(r, 0);
        if (str_has_prefix(name, "store:"))
                return find(c, refs, name + 6, ret, ret_name, err);
        if (!full && !digits) {
                struct img_ref ref;

                r = img_ref_parse(name, &ref, err); /* for its message */
                if (r < 0)
                        return r;
                img_ref_done(&ref);
        }
        return not_found(refs, name, full, err);
}

int bd_image_find(struct bd_ctx *c, const char *name, struct img_desc *ret, char **ret_refname,
                  struct bld_err *err)
{
        AUTO(cas_refs_free) struct cas_refs refs = {.v = NULL};
        struct img_desc d = {.media_type = NULL};
        char *refname = NULL;
        int r = cas_ref_list(c->cas, &refs, err);

        if (r == 0)
                r = find(c, &refs, name, &d, ret_refname ? &refname : NULL, err);
        if (r < 0)
                return r;
        *ret = d;
        if (ret_refname)
                *ret_refname = refname;
        return 0;
}
