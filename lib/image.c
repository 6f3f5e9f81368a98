/* The images of the store: listing, naming, removing. */
#include "bld/image.h"

#include <string.h>

#include "base/err.h"
#include "base/num.h"
#include "lib/image_priv.h"
#include "lib/session_priv.h"

/* ---- images ---- */

struct row {
        struct js *j; /* owned */
        int64_t created_ns;
        int64_t named_sec;
};
VEC_DEFINE(rows, struct row);

static void rows_free(struct rows *a)
{
        for (size_t i = 0; i < a->n; i++)
                js_free(a->v[i].j);
        rows_done(a);
}

/* Sizes are what a manifest claims: their sum may be beyond what JSON's readers take. */
static int64_t plus(int64_t sum, uint64_t n)
{
        return n > (uint64_t)(INT64_MAX - sum) ? INT64_MAX : sum + (int64_t)n;
}

int64_t lib_image_bytes(const struct bd_image *im)
{
        int64_t sum = plus(plus(0, im->desc.size), im->manifest.config.size);

        for (size_t i = 0; i < im->manifest.layers.n; i++)
                sum = plus(sum, im->manifest.layers.v[i].size);
        return sum;
}

/* Platforms of an index, "linux/amd64,linux/arm64", attestations left out. */
static int index_platforms(struct bld *b, const struct img_desc *root, struct sb *out,
                           struct bld_err *err)
{
        AUTO_SB struct sb doc = SB_INIT(IMG_MANIFEST_MAX);
        AUTO(img_index_done) struct img_index ix = {.media_type = NULL};
        int r = cas_blob_read(b->cas, &root->digest, IMG_MANIFEST_MAX, &doc, err);

        if (r == 0)
                r = img_index_decode(sb_text(&doc), doc.len, root->media_type, &ix, err);
        for (size_t i = 0; r == 0 && i < ix.manifests.n; i++) {
                const struct img_desc *d = &ix.manifests.v[i];
                char text[128];

                if (!d->has_platform || strcmp(d->platform.os, "unknown") == 0)
                        continue;
                img_platform_format(&d->platform, text);
                sb_fmt(out, "%s%s", out->len ? "," : "", text);
        }
        return r;
}

static int set_labels(struct js *j, const struct img_kvs *labels)
{
        AUTO_JS struct js *o = js_obj();
        int r = o ? 0 : BLD_E_NOMEM;

        for (size_t i = 0; r == 0 && i < labels->n; i++)
                r = js_set_str(o, labels->v[i].key, labels->v[i].value);
        return r == 0 ? js_set(j, "labels", js_ref(o)) : r;
}

/* What a manifest tells of its image; only `r` collects failures, which are all of memory. */
static int describe(struct bld *b, const struct img_desc *root, struct row *row)
{
        AUTO(bd_image_done) struct bd_image im = {.source = {.domain = NULL}};
        AUTO_SB struct sb platforms = SB_INIT(4096);
        char text[DIGEST_STR_MAX], platform[128];
        struct js *j = row->j;
        int64_t sec = 0, nsec = 0;
        int r;

        if (bd_image_load(&b->ctx, root, NULL, &im, NULL) < 0) {
                /* not for this machine, or damaged: it is still a name that can be removed */
                if (img_mt_is_index(root->media_type) &&
                    index_platforms(b, root, &platforms, NULL) == 0)
                        return js_set_str(j, "platform", sb_text(&platforms));
                return 0;
        }
        digest_format(&im.manifest.config.digest, text);
        img_platform_format(&im.config.platform, platform);
        if (img_mt_is_index(root->media_type) && index_platforms(b, root, &platforms, NULL) == 0 &&
            platforms.len)
                r = js_set_str(j, "platform", sb_text(&platforms));
        else
                r = js_set_str(j, "platform", platform);
        if (r == 0)
                r = js_set_str(j, "configDigest", text);
        if (r == 0 && im.config.created)
                r = js_set_str(j, "created", im.config.created);
        if (r == 0)
                r = js_set_i64(j, "size", lib_image_bytes(&im));
        if (r == 0)
                r = set_labels(j, &im.config.labels);
        if (r == 0)
                r = js_set_i64(j, "layers", (int64_t)im.manifest.layers.n);
        if (im.config.created && parse_rfc3339(im.config.created, &sec, &nsec))
                row->created_ns = time_ns(sec, nsec);
        return r;
}

static int set_name(struct js *j, const struct img_ref *ref, const char *full)
{
        AUTO_FREE char *repo =
                ref ? img_ref_familiar(ref, IMG_REF_NO_TAG | IMG_REF_NO_DIGEST) : NULL;
        int r = js_set(j, "name", full ? js_new_str(full) : js_new_null());

        if (r == 0)
                r = js_set(j, "repository", repo ? js_new_str(repo) : js_new_null());
        if (r == 0)
                r = js_set(j, "tag", ref && ref->tag ? js_new_str(ref->tag) : js_new_null());
        return r;
}

static int add_row(struct bld *b, const struct cas_ref *ref, const struct img_ref *parsed,
                   struct rows *to, struct bld_err *err)
{
        struct row *row = rows_push(to);
        char text[DIGEST_STR_MAX];
        int r;

        if (!row)
                return err_nomem(err, "list of images");
        row->named_sec = ref->created_sec;
        row->created_ns = INT64_MIN;
        row->j = js_obj();
        if (!row->j)
                return err_nomem(err, "list of images");
        digest_format(&ref->desc.digest, text);
        r = set_name(row->j, parsed, ref->name);
        if (r == 0)
                r = js_set_str(row->j, "digest", text);
        if (r == 0)
                r = js_set_str(row->j, "mediaType", ref->desc.media_type);
        if (r == 0)
                r = describe(b, &ref->desc, row);
        return r < 0 ? err_nomem(err, "list of images") : 0;
}

static int newest_first(const void *pa, const void *pb)
{
        const struct row *a = pa, *b = pb;

        if (a->created_ns != b->created_ns)
                return a->created_ns > b->created_ns ? -1 : 1;
        if (a->named_sec != b->named_sec)
                return a->named_sec > b->named_sec ? -1 : 1;
        return strcmp(js_get_str(a->j, "name") ? js_get_str(a->j, "name") : "",
                      js_get_str(b->j, "name") ? js_get_str(b->j, "name") : "");
}

/* "repo" or "repo:tag" as the user writes it. */
static bool wanted(const struct img_ref *filter, const struct img_ref *have)
{
        if (!filter->domain)
                return true;
        return have && str_eq(filter->domain, have->domain) && str_eq(filter->path, have->path) &&
               (!filter->tag || str_eq(filter->tag, have->tag));
}

static int list_rows(struct bld *b, const struct img_ref *filter, struct rows *rows,
                     struct bld_err *err)
{
        AUTO(cas_refs_free) struct cas_refs refs = {.v = NULL};
        int r = cas_ref_list(b->cas, &refs, err);

        for (size_t i = 0; r == 0 && i < refs.n; i++) {
                AUTO_REF struct img_ref ref = {.domain = NULL};
                const struct img_ref *parsed = NULL;

                if (refs.v[i].name && img_ref_parse(refs.v[i].name, &ref, NULL) == 0)
                        parsed = &ref;
                if (wanted(filter, parsed))
                        r = add_row(b, &refs.v[i], parsed, rows, err);
        }
        return r;
}

int bld_images(struct bld *b, const char *filter_repo, char **ret_json, struct bld_err *err)
{
        AUTO(rows_free) struct rows rows = {.v = NULL};
        AUTO_REF struct img_ref filter = {.domain = NULL};
        AUTO_JS struct js *arr = js_arr();
        int r = arr ? 0 : err_nomem(err, "list of images");

        if (r == 0 && filter_repo && filter_repo[0])
                r = img_ref_parse(filter_repo, &filter, err);
        if (r == 0)
                r = list_rows(b, &filter, &rows, err);
        if (r < 0)
                return r;
        if (rows.n)
                qsort(rows.v, rows.n, sizeof(*rows.v), newest_first);
        for (size_t i = 0; i < rows.n; i++)
                if (js_push(arr, js_ref(rows.v[i].j)) < 0)
                        return err_nomem(err, "list of images");
        return lib_json_text(arr, ret_json, err);
}

/* ---- names ---- */

int lib_full_name(const char *s, char **ret, struct bld_err *err)
{
        AUTO_REF struct img_ref ref = {.domain = NULL};
        int r = img_ref_parse(s, &ref, err);

        if (r < 0)
                return r;
        if (digest_is_set(&ref.digest))
                return err_set(err, BLD_E_INVALID, "\"%s\": a name with a digest cannot be given",
                               s);
        *ret = img_ref_format(&ref, IMG_REF_DEFAULT_TAG);
        return *ret ? 0 : err_nomem(err, "name");
}

int bld_tag(struct bld *b, const char *src, const char *dst, struct bld_err *err)
{
        AUTO(img_desc_done) struct img_desc desc = {.media_type = NULL};
        AUTO_FREE char *full = NULL;
        int r = lib_full_name(dst, &full, err);

        if (r == 0)
                r = bd_image_find(&b->ctx, src, &desc, NULL, err);
        /* what is there may have been pulled lazily */
        return r == 0 ? cas_ref_set_lazy(b->cas, full, &desc, err) : r;
}

static int say(struct js *arr, const char *what, const char *value, struct bld_err *err)
{
        struct js *j = js_obj();

        if (!j || js_set_str(j, what, value) < 0) {
                js_free(j);
                return err_nomem(err, "list of removed names");
        }
        return js_push(arr, j) < 0 ? err_nomem(err, "list of removed names") : 0;
}

/* Names of one digest, in arr as removed. */
static int say_names(struct bld *b, const struct digest *d, struct js *arr, struct bld_err *err)
{
        AUTO(cas_refs_free) struct cas_refs refs = {.v = NULL};
        int r = cas_ref_list(b->cas, &refs, err);

        for (size_t i = 0; r == 0 && i < refs.n; i++)
                if (refs.v[i].name && digest_eq(&refs.v[i].desc.digest, d))
                        r = say(arr, "untagged", refs.v[i].name, err);
        return r;
}

static int still_named(struct bld *b, const struct digest *d, bool *ret, struct bld_err *err)
{
        AUTO(cas_refs_free) struct cas_refs refs = {.v = NULL};
        int r = cas_ref_list(b->cas, &refs, err);

        *ret = false;
        for (size_t i = 0; r == 0 && i < refs.n; i++)
                *ret = *ret || digest_eq(&refs.v[i].desc.digest, d);
        return r;
}

/* The entry that an id means: its document, or the index the document was found in. */
static int entry_digest(struct bld *b, const struct img_desc *found, const char *name,
                        struct digest *ret, struct bld_err *err)
{
        AUTO(img_desc_done) struct img_desc root = {.media_type = NULL};
        bool named = false;
        int r = still_named(b, &found->digest, &named, err);

        if (r < 0)
                return r;
        *ret = found->digest;
        if (named || !name)
                return 0;
        r = cas_ref_get(b->cas, name, &root, err);
        if (r == 0)
                *ret = root.digest;
        return r;
}

static bool is_name_of(const char *given, const char *entry)
{
        AUTO_FREE char *full = NULL;

        return entry && lib_full_name(given, &full, NULL) == 0 && strcmp(full, entry) == 0;
}

int bld_rmi(struct bld *b, const char *ref, bool force, char **ret_json, struct bld_err *err)
{
        AUTO(img_desc_done) struct img_desc desc = {.media_type = NULL};
        AUTO_FREE char *name = NULL;
        AUTO_JS struct js *arr = js_arr();
        struct digest d;
        char text[DIGEST_STR_MAX];
        bool named = false;
        int r = arr ? bd_image_find(&b->ctx, ref, &desc, &name, err) : err_nomem(err, "names");

        if (r == 0)
                r = entry_digest(b, &desc, name, &d, err);
        if (r < 0)
                return r;
        if (!force && is_name_of(ref, name)) {
                r = cas_ref_remove(b->cas, name, err);
                if (r == 0)
                        r = say(arr, "untagged", name, err);
        } else {
                r = say_names(b, &d, arr, err);
                if (r == 0)
                        r = cas_ref_remove_digest(b->cas, &d, err);
        }
        if (r == 0)
                r = still_named(b, &d, &named, err);
        if (r == 0 && !named) {
                digest_format(&d, text);
                r = say(arr, "deleted", text, err);
        }
        return r == 0 ? lib_json_text(arr, ret_json, err) : r;
}
