/* Indexes put together by hand: members from anywhere under names in a registry, the store or a
 * layout. */
#include <string.h>

#include "base/err.h"
#include "bld/registry.h"
#include "builder/transport.h"
#include "lib/image_priv.h"
#include "lib/session_priv.h"

struct work {
        struct bld *b;
        struct bld_index_opts o;
        struct lib_progress progress;
        struct img_index ix;
        struct bd_members members; /* where each entry's bytes are */
};

static void work_done(struct work *w)
{
        img_index_done(&w->ix);
        bd_members_free(&w->members);
}

static int begin(struct work *w, struct bld *b, const struct bld_index_opts *o, const char *what,
                 struct bld_err *err)
{
        int r = lib_opts_copy(&w->o, sizeof(w->o), o, what, err);

        w->b = b;
        w->progress = (struct lib_progress){.fn = w->o.progress, .user = w->o.user};
        return r;
}

/* ---- members ---- */

static bool same_platform(const struct img_desc *d, const struct img_platform *p)
{
        char have[128], want[128];

        if (!d->has_platform)
                return false;
        img_platform_format(&d->platform, have);
        img_platform_format(p, want);
        return strcmp(have, want) == 0;
}

/* 1 kept, 0 not. */
static int wanted(const struct work *w, const struct img_desc *d, struct bld_err *err)
{
        for (size_t i = 0; i < w->o.platforms.n; i++) {
                struct img_platform p;
                int r = lib_platform(w->o.platforms.v[i], &p, err);

                if (r < 0)
                        return r;
                if (same_platform(d, &p))
                        return 1;
        }
        return w->o.platforms.n == 0;
}

/* Members of one source, those of other platforms left out; what is there already is not doubled.
 */
static int add_source(struct work *w, const char *source, struct bld_err *err)
{
        AUTO_PLACE struct img_place p = {.text = NULL};
        AUTO(bd_members_free) struct bd_members got = {.v = NULL};
        int r = img_place_parse(source, &p, err);

        if (r == 0)
                r = bd_members_of(&w->b->ctx, &p, w->b->o.offline, &got, err);
        for (size_t i = 0; r == 0 && i < got.n; i++) {
                r = wanted(w, &got.v[i].desc, err);
                if (r > 0)
                        r = bd_members_add(&w->members, &got.v[i], err);
        }
        return r;
}

static int fill_index(struct work *w, struct bld_err *err)
{
        bool docker = w->members.n > 0;

        for (size_t i = 0; i < w->members.n; i++) {
                struct img_desc *n = img_descs_push(&w->ix.manifests);

                docker = docker && str_eq(w->members.v[i].desc.media_type, MT_DOCKER_MANIFEST);
                if (!n || img_desc_copy(&w->members.v[i].desc, n) < 0)
                        return err_nomem(err, "index");
        }
        w->ix.media_type = mem_strdup(docker ? MT_DOCKER_LIST : MT_OCI_INDEX);
        return w->ix.media_type ? 0 : err_nomem(err, "index");
}

/* ---- annotations ---- */

static int split_annotation(const char *s, char **ret_key, const char **ret_value,
                            struct bld_err *err)
{
        const char *eq = strchr(s, '=');

        if (!eq || eq == s)
                return err_set(err, BLD_E_USAGE, "--annotation takes KEY=VALUE, not \"%.100s\"", s);
        *ret_key = mem_strndup(s, (size_t)(eq - s));
        *ret_value = eq + 1;
        return *ret_key ? 0 : err_nomem(err, "annotation");
}

static int annotate_members(struct work *w, const char *platform, const char *kv,
                            struct bld_err *err)
{
        AUTO_FREE char *key = NULL;
        const char *value = NULL;
        struct img_platform p;
        size_t hits = 0;
        int r = platform ? lib_platform(platform, &p, err) : 0;

        if (r == 0)
                r = split_annotation(kv, &key, &value, err);
        for (size_t i = 0; r == 0 && i < w->ix.manifests.n; i++) {
                struct img_desc *d = &w->ix.manifests.v[i];

                if (platform && !same_platform(d, &p))
                        continue;
                hits++;
                if (img_kvs_set(&d->annotations, key, value) < 0)
                        r = err_nomem(err, "annotation");
        }
        if (r == 0 && hits == 0)
                return err_set(err, BLD_E_NOT_FOUND, "the index has no entry for %s",
                               platform ? platform : "any platform");
        return r;
}

/* "index:K=V", "manifest-descriptor:K=V", "manifest-descriptor[PLATFORM]:K=V"; without a prefix it
 * is the index's, or with --platform its entries'. */
static int annotate(struct work *w, const char *s, bool by_platform, struct bld_err *err)
{
        static const char index[] = "index:", entry[] = "manifest-descriptor";
        AUTO_FREE char *key = NULL, *platform = NULL;
        const char *value = NULL, *end;
        int r = 0;

        if (str_has_prefix(s, entry)) {
                s += strlen(entry);
                end = *s == '[' ? strchr(s, ']') : NULL;
                if (end) {
                        platform = mem_strndup(s + 1, (size_t)(end - s) - 1);
                        if (!platform)
                                return err_nomem(err, "annotation");
                        s = end + 1;
                }
                if (*s != ':')
                        return err_set(err, BLD_E_USAGE,
                                       "--annotation manifest-descriptor[PLATFORM]:KEY=VALUE");
                return annotate_members(w, platform, s + 1, err);
        }
        if (by_platform && !str_has_prefix(s, index)) {
                for (size_t i = 0; r == 0 && i < w->o.platforms.n; i++)
                        r = annotate_members(w, w->o.platforms.v[i], s, err);
                return r;
        }
        r = split_annotation(str_has_prefix(s, index) ? s + strlen(index) : s, &key, &value, err);
        if (r == 0 && img_kvs_set(&w->ix.annotations, key, value) < 0)
                r = err_nomem(err, "annotation");
        return r;
}

static int annotate_all(struct work *w, bool by_platform, struct bld_err *err)
{
        int r = 0;

        for (size_t i = 0; r == 0 && i < w->o.annotations.n; i++)
                r = annotate(w, w->o.annotations.v[i], by_platform, err);
        if (r == 0 && w->o.annotations.n && strcmp(w->ix.media_type, MT_DOCKER_LIST) == 0) {
                r = err_set(err, BLD_E_INVALID, "docker manifest lists have no annotations");
                r = err_try(err, r, "bld copy --convert oci");
        }
        return r;
}

/* ---- the result ---- */

/* Names given without a transport are a registry's. */
static int publish(struct work *w, const struct bld_list *names, char **ret_json,
                   char ret_digest[160], struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(IMG_MANIFEST_MAX);
        char digest[DIGEST_STR_MAX];
        struct digest d;
        char *s;
        int r = 0;

        /* one source that is to stay what it is */
        if (w->o.plain && w->members.n == 1)
                r = bd_member_read(&w->b->ctx, &w->members.v[0], &text, err);
        else
                r = img_index_encode(&w->ix, &text, err);
        if (r < 0)
                return r;
        digest_of(sb_text(&text), text.len, &d);
        for (size_t i = 0; r == 0 && !w->o.dry_run && i < names->n; i++) {
                AUTO_PLACE struct img_place p = {.text = NULL};

                r = lib_place(names->v[i], IMG_AT_REGISTRY, &p, err);
                if (r == 0)
                        r = bd_members_publish(&w->b->ctx, &w->members, &text, &p,
                                               lib_progress_step, &w->progress, err);
        }
        if (r < 0)
                return r;
        digest_format(&d, digest);
        (void)str_copy(ret_digest, 160, digest);
        s = sb_take(&text);
        if (!s)
                return err_nomem(err, "index");
        *ret_json = s;
        return 0;
}

int bld_index_create(struct bld *b, const struct bld_list *names, const struct bld_list *sources,
                     const struct bld_index_opts *o, char **ret_json, char ret_digest[160],
                     struct bld_err *err)
{
        AUTO(work_done) struct work w = {.b = NULL};
        int r = begin(&w, b, o, "index", err);

        if (r == 0 && sources->n == 0)
                r = err_set(err, BLD_E_USAGE, "an index needs at least one source");
        for (size_t i = 0; r == 0 && i < sources->n; i++)
                r = add_source(&w, sources->v[i], err);
        if (r == 0 && w.members.n == 0)
                r = err_set(err, BLD_E_NOT_FOUND, "none of the sources is for these platforms");
        if (r == 0)
                r = fill_index(&w, err);
        if (r == 0)
                r = annotate_all(&w, false, err);
        return r == 0 ? publish(&w, names, ret_json, ret_digest, err) : r;
}

/* ---- changes to one that exists ---- */

static int open_index(struct work *w, const char *name, struct bld_err *err)
{
        AUTO_PLACE struct img_place p = {.text = NULL};
        AUTO(img_desc_done) struct img_desc d = {.media_type = NULL};
        AUTO_SB struct sb text = SB_INIT(IMG_MANIFEST_MAX);
        int r = lib_place(name, IMG_AT_REGISTRY, &p, err);

        if (r == 0)
                r = bd_open_document(&w->b->ctx, &p, w->b->o.offline, NULL, &text, &d, err);
        if (r == 0 && !img_mt_is_index(d.media_type))
                r = err_set(err, BLD_E_INVALID, "%s is one image, not an index", name);
        if (r == 0)
                r = img_index_decode(sb_text(&text), text.len, d.media_type, &w->ix, err);
        if (r == 0 && !w->ix.media_type && !(w->ix.media_type = mem_strdup(d.media_type)))
                r = err_nomem(err, "index");
        /* its members are where it is */
        if (r == 0)
                r = bd_members_of(&w->b->ctx, &p, w->b->o.offline, &w->members, err);
        return r;
}

static int publish_one(struct work *w, const char *name, char **ret_json, char ret_digest[160],
                       struct bld_err *err)
{
        const struct bld_list names = {&name, 1};

        return publish(w, &names, ret_json, ret_digest, err);
}

int bld_index_append(struct bld *b, const char *name, const struct bld_list *sources,
                     const struct bld_index_opts *o, char **ret_json, char ret_digest[160],
                     struct bld_err *err)
{
        AUTO(work_done) struct work w = {.b = NULL};
        size_t old;
        int r = begin(&w, b, o, "index", err);

        if (r == 0)
                r = open_index(&w, name, err);
        old = w.members.n; /* an index may name one of them several times */
        for (size_t i = 0; r == 0 && i < sources->n; i++)
                r = add_source(&w, sources->v[i], err);
        for (size_t i = old; r == 0 && i < w.members.n; i++) {
                struct img_desc *n = img_descs_push(&w.ix.manifests);

                if (!n || img_desc_copy(&w.members.v[i].desc, n) < 0)
                        r = err_nomem(err, "index");
        }
        if (r == 0)
                r = annotate_all(&w, false, err);
        return r == 0 ? publish_one(&w, name, ret_json, ret_digest, err) : r;
}

static bool is_member(const struct img_desc *d, const char *s)
{
        const char *digits = str_has_prefix(s, "sha256:") ? s + 7 : s;
        struct img_platform p;
        char hex[DIGEST_HEX_MAX];

        digest_hex(&d->digest, hex);
        if (strlen(digits) >= 6 && digits[strspn(digits, "0123456789abcdef")] == '\0')
                return str_has_prefix(hex, digits);
        return lib_platform(s, &p, NULL) == 0 && same_platform(d, &p);
}

int bld_index_remove(struct bld *b, const char *name, const struct bld_list *members,
                     const struct bld_index_opts *o, char **ret_json, char ret_digest[160],
                     struct bld_err *err)
{
        AUTO(work_done) struct work w = {.b = NULL};
        int r = begin(&w, b, o, "index", err);

        if (r == 0)
                r = open_index(&w, name, err);
        for (size_t i = 0; r == 0 && i < members->n; i++) {
                struct img_descs *a = &w.ix.manifests;
                size_t kept = 0;

                for (size_t k = 0; k < a->n; k++) {
                        if (is_member(&a->v[k], members->v[i]))
                                img_desc_done(&a->v[k]);
                        else
                                a->v[kept++] = a->v[k];
                }
                if (kept == a->n)
                        r = err_set(err, BLD_E_NOT_FOUND, "%s has no member %.100s", name,
                                    members->v[i]);
                a->n = kept;
        }
        return r == 0 ? publish_one(&w, name, ret_json, ret_digest, err) : r;
}

int bld_index_annotate(struct bld *b, const char *name, const struct bld_index_opts *o,
                       char **ret_json, char ret_digest[160], struct bld_err *err)
{
        AUTO(work_done) struct work w = {.b = NULL};
        int r = begin(&w, b, o, "index", err);

        if (r == 0 && w.o.annotations.n == 0)
                r = err_set(err, BLD_E_USAGE, "there is nothing to annotate with");
        if (r == 0)
                r = open_index(&w, name, err);
        if (r == 0)
                r = annotate_all(&w, w.o.platforms.n > 0, err);
        return r == 0 ? publish_one(&w, name, ret_json, ret_digest, err) : r;
}
