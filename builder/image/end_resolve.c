/* What the names at one end of a copy stand for: tags, digests, IDs, what refers to an image. */
#include <string.h>

#include "base/err.h"
#include "builder/image/end_state_priv.h"

#define CONFIG_TAGS_MAX 256u /* tags looked at to find one by its config */

/* ---- registries ---- */

static int get_by(struct bd_end *e, const struct img_ref *ref, struct img_desc *ret,
                  struct bld_err *err)
{
        AUTO_SB struct sb doc = SB_INIT(IMG_MANIFEST_MAX);
        char key[DIGEST_STR_MAX];
        int r = reg_manifest_get(e->reg, ref, &doc, ret, err);

        if (r < 0)
                return r;
        digest_format(&ret->digest, key);
        return bd_end_remember(e, key, &doc, err);
}

static int has_config(struct bd_end *e, const struct img_desc *d, const char *digits,
                      struct img_desc *ret, struct bld_err *err)
{
        struct bd_docs docs = bd_end_docs(e);
        struct bd_search s = {.docs = &docs, .digits = digits};
        int r = bd_search_add(&s, d, NULL, err);

        if (r == 0 && s.hits == 1) {
                *ret = s.found;
                return 1;
        }
        img_desc_done(&s.found);
        return r;
}

/* The digest may be a config's, which registries do not find images by: the store may know the
 * manifest, else the repository's tags are looked through. 1/0. */
static int by_config(struct bd_end *e, const struct img_ref *ref, struct img_desc *ret,
                     struct bld_err *err)
{
        AUTO_STRV struct strv tags = {.v = NULL};
        AUTO(img_desc_done) struct img_desc known = {.media_type = NULL};
        AUTO_REF struct img_ref one = {.domain = NULL};
        char hex[DIGEST_HEX_MAX], text[DIGEST_STR_MAX];
        int r = img_ref_copy(ref, &one, err);

        if (r < 0)
                return r;
        digest_format(&ref->digest, text);
        digest_hex(&ref->digest, hex);
        if (bd_image_find(e->c, text, &known, NULL, NULL) == 0 &&
            !digest_eq(&known.digest, &ref->digest)) {
                one.digest = known.digest;
                if (get_by(e, &one, ret, NULL) == 0)
                        return 1;
        }
        one.digest = (struct digest){.algo = DIGEST_NONE};
        if (reg_tags(e->reg, ref, &tags, NULL) < 0)
                return 0;
        for (size_t i = 0; r == 0 && i < MIN(tags.n, (size_t)CONFIG_TAGS_MAX); i++) {
                AUTO(img_desc_done) struct img_desc d = {.media_type = NULL};

                free(one.tag);
                one.tag = mem_strdup(tags.v[i]);
                if (!one.tag)
                        return err_nomem(err, "tag");
                if (get_by(e, &one, &d, NULL) == 0)
                        r = has_config(e, &d, hex, ret, err);
        }
        return r;
}

static int resolve_remote(struct bd_end *e, const struct img_ref *ref, struct img_desc *ret,
                          struct bld_err *err)
{
        struct bld_err why = BLD_ERR_INIT;
        uint64_t size;
        int r;

        if (!digest_is_set(&ref->digest)) {
                r = reg_manifest_head(e->reg, ref, ret, err);
                if (r != 0)
                        return MIN(r, 0);
                r = get_by(e, ref, ret, err); /* HEAD has no words: GET has */
                return r == BLD_E_NOT_FOUND ? bd_suggest_tags(e->reg, ref, r, err) : r;
        }
        /* Some registries answer 500 where a config's digest is asked for as a manifest's, so that
         * is found out first; a tag beside the digest says that it is a manifest's. */
        if (!ref->tag && reg_blob_size(e->reg, ref, &ref->digest, &size, NULL) > 0 &&
            (r = by_config(e, ref, ret, err)) != 0)
                return MIN(r, 0);
        r = get_by(e, ref, ret, &why);
        if (r < 0)
                err_copy(err, &why);
        return r;
}

/* ---- files ---- */

static const char *entry_label(const struct img_desc *d)
{
        const char *name = img_kvs_get(&d->annotations, BD_ANN_REF_NAME);

        return name ? name : img_kvs_get(&d->annotations, BD_ANN_IMAGE_NAME);
}

static bool entry_is(const struct img_desc *d, const char *name)
{
        AUTO_REF struct img_ref ref = {.domain = NULL};
        AUTO_FREE char *full = NULL;

        if (str_eq(img_kvs_get(&d->annotations, BD_ANN_REF_NAME), name) ||
            str_eq(img_kvs_get(&d->annotations, BD_ANN_IMAGE_NAME), name))
                return true;
        if (img_ref_parse(name, &ref, NULL) < 0)
                return false;
        full = img_ref_format(&ref, IMG_REF_DEFAULT_TAG);
        return full && (str_eq(img_kvs_get(&d->annotations, BD_ANN_IMAGE_NAME), full) ||
                        str_eq(img_kvs_get(&d->annotations, BD_ANN_REF_NAME), full));
}

static int no_entry(const struct bd_end *e, const char *name, int code, const char *what,
                    struct bld_err *err)
{
        AUTO_SB struct sb have = SB_INIT(400);
        int r = err_set(err, code, "%s: %s%s%.200s%s", e->place.path, what, name ? " \"" : "",
                        name ? name : "", name ? "\"" : "");

        for (size_t i = 0; i < e->entries.n && i < 5; i++) {
                const char *label = entry_label(&e->entries.v[i]);
                char text[DIGEST_STR_MAX];

                digest_format(&e->entries.v[i].digest, text);
                sb_fmt(&have, "%s%.60s", i ? ", " : "", label ? label : text);
        }
        return have.len ? err_note(err, r, "it holds %s%s", sb_text(&have),
                                   e->entries.n > 5 ? ", ..." : "")
                        : r;
}

static int resolve_digits(struct bd_end *e, struct img_desc *ret, struct bld_err *err)
{
        struct bd_docs docs = bd_end_docs(e);
        struct bd_search s = {.docs = &docs, .digits = e->place.digits};
        int r = 0;

        for (size_t i = 0; r == 0 && i < e->entries.n; i++)
                r = bd_search_add(&s, &e->entries.v[i], NULL, err);
        if (r == 0 && s.hits == 0)
                r = no_entry(e, e->place.digits, BLD_E_NOT_FOUND, "no image has the digest", err);
        if (r == 0 && s.hits > 1)
                r = no_entry(e, e->place.digits, BLD_E_USAGE, "several images begin with", err);
        if (r < 0) {
                img_desc_done(&s.found);
                return r;
        }
        *ret = s.found;
        return 0;
}

static int copy_desc(const struct img_desc *d, struct img_desc *ret, struct bld_err *err)
{
        return img_desc_copy(d, ret) < 0 ? err_nomem(err, "descriptor") : 0;
}

static int resolve_entry(struct bd_end *e, const char *name, struct img_desc *ret,
                         struct bld_err *err)
{
        for (size_t i = 0; i < e->entries.n; i++)
                if (entry_is(&e->entries.v[i], name ? name : "latest"))
                        return copy_desc(&e->entries.v[i], ret, err);
        if (name)
                return no_entry(e, name, BLD_E_NOT_FOUND, "there is no image", err);
        if (e->entries.n == 1)
                return copy_desc(&e->entries.v[0], ret, err);
        return no_entry(e, NULL, BLD_E_USAGE, "several images, none called latest; name one", err);
}

/* ---- any place ---- */

int bd_end_resolve(struct bd_end *e, struct img_desc *ret, struct bld_err *err)
{
        if (e->at == IMG_AT_REGISTRY)
                return resolve_remote(e, &e->place.ref, ret, err);
        if (e->at == IMG_AT_STORE)
                return bd_image_find(e->c, e->place.name, ret, NULL, err);
        return e->place.digits ? resolve_digits(e, ret, err)
                               : resolve_entry(e, e->place.name, ret, err);
}

int bd_end_resolve_tag(struct bd_end *e, const char *tag, struct img_desc *ret, struct bld_err *err)
{
        AUTO_REF struct img_ref ref = {.domain = NULL};
        AUTO_FREE char *full = NULL;
        int r;

        if (e->at == IMG_AT_OCI)
                return resolve_entry(e, tag, ret, err);
        r = e->at == IMG_AT_STORE ? img_ref_parse(e->place.name, &ref, err)
                                  : img_ref_copy(&e->place.ref, &ref, err);
        if (r < 0)
                return r;
        free(ref.tag);
        ref.tag = mem_strdup(tag);
        ref.digest = (struct digest){.algo = DIGEST_NONE};
        full = img_ref_format(&ref, 0);
        if (!ref.tag || !full)
                return err_nomem(err, "tag");
        return e->at == IMG_AT_STORE ? bd_image_find(e->c, full, ret, NULL, err)
                                     : resolve_remote(e, &ref, ret, err);
}

static int store_tags(struct bd_end *e, struct strv *out, struct bld_err *err)
{
        AUTO(cas_refs_free) struct cas_refs refs = {.v = NULL};
        AUTO_REF struct img_ref want = {.domain = NULL};
        int r = img_ref_parse(e->place.name, &want, err);

        if (r == 0)
                r = cas_ref_list(e->c->cas, &refs, err);
        for (size_t i = 0; r == 0 && i < refs.n; i++) {
                AUTO_REF struct img_ref have = {.domain = NULL};

                if (refs.v[i].name && img_ref_parse(refs.v[i].name, &have, NULL) == 0 && have.tag &&
                    str_eq(have.domain, want.domain) && str_eq(have.path, want.path) &&
                    strv_add(out, have.tag) < 0)
                        r = err_nomem(err, "tags");
        }
        return r;
}

int bd_end_tags(struct bd_end *e, struct strv *out, struct bld_err *err)
{
        if (e->at == IMG_AT_REGISTRY)
                return reg_tags(e->reg, &e->place.ref, out, err);
        if (e->at == IMG_AT_STORE)
                return store_tags(e, out, err);
        for (size_t i = 0; i < e->entries.n; i++) {
                const char *label = entry_label(&e->entries.v[i]);

                if (label && !strv_has(out, label) && strv_add(out, label) < 0)
                        return err_nomem(err, "tags");
        }
        return 0;
}

/* ---- referrers ---- */

static int add_desc(struct img_descs *to, const struct img_desc *d, struct bld_err *err)
{
        struct img_desc *n = img_descs_push(to);

        return !n || img_desc_copy(d, n) < 0 ? err_nomem(err, "referrers") : 0;
}

/* A layout lists referrers among its images. */
static int file_referrers(struct bd_end *e, const struct digest *d, struct img_descs *ret,
                          struct bld_err *err)
{
        struct bd_docs docs = bd_end_docs(e);

        for (size_t i = 0; i < e->entries.n; i++) {
                AUTO_SB struct sb doc = SB_INIT(IMG_MANIFEST_MAX);
                AUTO(img_manifest_done) struct img_manifest m = {.media_type = NULL};
                int r;

                if (!img_mt_is_manifest(e->entries.v[i].media_type) ||
                    docs.read(docs.user, &e->entries.v[i], IMG_MANIFEST_MAX, &doc, NULL) < 0 ||
                    img_manifest_decode(sb_text(&doc), doc.len, NULL, &m, NULL) < 0 ||
                    !m.has_subject || !digest_eq(&m.subject.digest, d))
                        continue;
                r = add_desc(ret, &e->entries.v[i], err);
                if (r < 0)
                        return r;
        }
        return 0;
}

int bd_end_referrers(struct bd_end *e, const struct digest *d, struct img_descs *ret,
                     struct strv *ret_tags, struct bld_err *err)
{
        static const char *const suffixes[] = {"sig", "att", "sbom"};
        AUTO_REF struct img_ref ref = {.domain = NULL};
        char hex[DIGEST_HEX_MAX];
        int r;

        if (e->at != IMG_AT_REGISTRY)
                return e->at == IMG_AT_OCI ? file_referrers(e, d, ret, err) : 0;
        r = img_ref_copy(&e->place.ref, &ref, err);
        if (r < 0)
                return r;
        ref.digest = *d;
        r = reg_referrers(e->reg, &ref, NULL, ret, err);
        ref.digest = (struct digest){.algo = DIGEST_NONE};
        digest_hex(d, hex);
        for (size_t i = 0; r == 0 && i < ARRAY_LEN(suffixes); i++) {
                AUTO(img_desc_done) struct img_desc found = {.media_type = NULL};

                free(ref.tag);
                if (asprintf(&ref.tag, "%s-%s.%s", digest_algo_name(d->algo), hex, suffixes[i]) <
                    0) {
                        ref.tag = NULL;
                        return err_nomem(err, "tag");
                }
                r = strlen(ref.tag) > 128 ? 0 : reg_manifest_head(e->reg, &ref, &found, err);
                if (r > 0)
                        r = strv_add(ret_tags, ref.tag) < 0 ? err_nomem(err, "tags") : 0;
        }
        return r;
}
