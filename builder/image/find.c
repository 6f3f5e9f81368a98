/* From what a user types to an image of the store: names, digests of manifests, indexes and
 * configs, and the beginnings of those. */
#include "builder/builder.h"

#include <string.h>

#include "base/err.h"
#include "base/opt.h"
#include "builder/image/move_priv.h"

#define ID_PREFIX_MIN 6u

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

static int search_hit(struct bd_search *s, const struct img_desc *d, const char *name,
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
static int search_doc(struct bd_search *s, const struct img_desc *d, const char *name,
                      unsigned depth, struct bld_err *err)
{
        AUTO_SB struct sb doc = SB_INIT(IMG_MANIFEST_MAX);
        int r = 0;

        if (id_matches(&d->digest, s->digits))
                return search_hit(s, d, name, err);
        if (depth > BD_INDEX_DEPTH_MAX ||
            s->docs->read(s->docs->user, d, IMG_MANIFEST_MAX, &doc, NULL) < 0)
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

int bd_search_add(struct bd_search *s, const struct img_desc *d, const char *name,
                  struct bld_err *err)
{
        return search_doc(s, d, name, 0, err);
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
        struct bd_docs docs = bd_docs_store(c);
        struct bd_search s = {.docs = &docs, .digits = digits};
        struct digest d;
        int r = 0;

        for (size_t i = 0; r == 0 && i < refs->n; i++)
                r = bd_search_add(&s, &refs->v[i].desc, refs->v[i].name, err);
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
