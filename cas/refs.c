/* index.json: what users named. Replaced as a whole, under the exclusive lock. */
#include "cas/cas_priv.h"

#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/num.h"
#include "base/sys.h"

#define ANNOT_TAG "org.opencontainers.image.ref.name"
#define ANNOT_NAME "io.containerd.image.name"
#define ANNOT_CREATED "bld.ref.created" /* seconds since 1970; when the name was set */
#define REACH_DEPTH_MAX 4
#define REACH_NODES_MAX 4096

int cas_index_read(struct cas *c, struct img_index *ret, struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(IMG_MANIFEST_MAX);
        struct bld_err why = BLD_ERR_INIT;
        int r = file_read(c->root_fd, "index.json", &text, &why);

        if (r == BLD_E_NOT_FOUND) {
                memset(ret, 0, sizeof(*ret));
                return 0;
        }
        if (r == 0)
                r = img_index_decode(sb_text(&text), text.len, NULL, ret, &why);
        if (r < 0 && err)
                err_copy(err, &why);
        return err_wrap(err, r, "%s/index.json", c->root);
}

static int write_index(struct cas *c, const struct img_index *ix, struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(IMG_MANIFEST_MAX);
        char tmp[CAS_TMP_NAME_MAX];
        int r = img_index_encode(ix, &text, err);

        if (r == BLD_E_LIMIT)
                return err_wrap(err, r, "%s/index.json: too many images", c->root);
        if (r == 0)
                r = cas_tmp_write(c, sb_text(&text), text.len, true, tmp, err);
        if (r < 0)
                return r;
        if (sys_rename(c->tmp_fd, tmp, c->root_fd, "index.json") < 0) {
                r = err_sys(err, errno, "replace %s/index.json", c->root);
                (void)sys_unlinkat(c->tmp_fd, tmp, 0);
                return r;
        }
        return cas_sync_dir(c, ".", err);
}

/* ---- names ---- */

static const char *entry_name(const struct img_desc *d)
{
        return img_kvs_get(&d->annotations, ANNOT_NAME);
}

bool cas_entry_is_untagged(const struct img_desc *d)
{
        return !entry_name(d) && !img_kvs_get(&d->annotations, ANNOT_TAG);
}

int64_t cas_entry_created(const struct img_desc *d)
{
        const char *created = img_kvs_get(&d->annotations, ANNOT_CREATED);
        int64_t sec = 0;

        return created && parse_i64(created, 0, INT64_MAX / 1000000000, &sec) ? sec : 0;
}

/* The tag of a full name, borrowed; NULL when it has none. */
static const char *tag_of(const char *name)
{
        const char *slash = strrchr(name, '/');
        const char *colon = strrchr(slash ? slash : name, ':');

        return colon && !strchr(name, '@') ? colon + 1 : NULL;
}

static void drop_annotation(struct img_desc *d, const char *key)
{
        struct img_kvs *a = &d->annotations;

        for (size_t i = 0; i < a->n; i++) {
                if (strcmp(a->v[i].key, key) != 0)
                        continue;
                free(a->v[i].key);
                free(a->v[i].value);
                a->n--;
                memmove(&a->v[i], &a->v[i + 1], (a->n - i) * sizeof(a->v[0]));
                return;
        }
}

/* skopeo and umoci find images by ref.name alone, so each has one owner: the newest entry (they are
 * kept in that order) with a tag has the bare tag, older ones of the same tag their full name. */
static int assign_tags(struct img_index *ix)
{
        struct map taken;
        int r = 0;

        map_init(&taken, NULL);
        for (size_t i = ix->manifests.n; r == 0 && i-- > 0;) {
                struct img_desc *d = &ix->manifests.v[i];
                const char *name = entry_name(d);
                const char *tag = name ? tag_of(name) : img_kvs_get(&d->annotations, ANNOT_TAG);

                if (tag && !map_get(&taken, tag)) {
                        r = map_set(&taken, tag, ix);
                        if (r == 0)
                                r = img_kvs_set(&d->annotations, ANNOT_TAG, tag);
                } else if (name) {
                        r = img_kvs_set(&d->annotations, ANNOT_TAG, name);
                } else if (tag) {
                        drop_annotation(d, ANNOT_TAG); /* another tool's: replaced, as it would */
                }
        }
        map_done(&taken);
        return r;
}

static void drop_entry(struct img_index *ix, size_t i)
{
        struct img_descs *a = &ix->manifests;

        img_desc_done(&a->v[i]);
        a->n--;
        memmove(&a->v[i], &a->v[i + 1], (a->n - i) * sizeof(a->v[0]));
}

static void drop_bookkeeping(struct img_desc *d)
{
        drop_annotation(d, ANNOT_TAG);
        drop_annotation(d, ANNOT_NAME);
        drop_annotation(d, ANNOT_CREATED);
}

/* ---- what a reference reaches ---- */

struct reach {
        struct cas *c;
        cas_reach_fn fn;
        void *user;
        size_t nodes;
};

static int reach_desc(struct reach *w, const struct img_desc *d, int depth, struct bld_err *err);

static int reach_list(struct reach *w, const struct img_descs *a, int depth, struct bld_err *err)
{
        int r = 0;

        for (size_t i = 0; r == 0 && i < a->n; i++)
                r = reach_desc(w, &a->v[i], depth, err);
        return r;
}

static int reach_manifest(struct reach *w, const struct sb *text, const char *media_type, int depth,
                          struct bld_err *err)
{
        AUTO(img_manifest_done) struct img_manifest m = {.media_type = NULL};
        int r = img_manifest_decode(sb_text(text), text->len, media_type, &m, err);

        if (r == 0)
                r = reach_desc(w, &m.config, depth, err);
        return r < 0 ? r : reach_list(w, &m.layers, depth, err);
}

static int reach_index(struct reach *w, const struct sb *text, const char *media_type, int depth,
                       struct bld_err *err)
{
        AUTO(img_index_done) struct img_index ix = {.media_type = NULL};
        int r = img_index_decode(sb_text(text), text->len, media_type, &ix, err);

        return r < 0 ? r : reach_list(w, &ix.manifests, depth, err);
}

static int reach_desc(struct reach *w, const struct img_desc *d, int depth, struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(IMG_MANIFEST_MAX);
        bool is_index = img_mt_is_index(d->media_type);
        uint64_t size;
        int r = cas_blob_stat(w->c, &d->digest, &size, err);

        if (r < 0)
                return r;
        if (++w->nodes > REACH_NODES_MAX)
                return err_set(err, BLD_E_LIMIT, "an image reaches more than %d blobs",
                               REACH_NODES_MAX);
        if (r == 1 && size != d->size)
                r = 0;
        if (r == 0 || (!is_index && !img_mt_is_manifest(d->media_type)))
                return w->fn(w->user, d, r == 1, err);
        if (depth >= REACH_DEPTH_MAX)
                return err_set(err, BLD_E_LIMIT, "indexes nested deeper than %d", REACH_DEPTH_MAX);
        r = w->fn(w->user, d, true, err);
        if (r == 0)
                r = cas_blob_read(w->c, &d->digest, IMG_MANIFEST_MAX, &text, err);
        if (r < 0)
                return r;
        return is_index ? reach_index(w, &text, d->media_type, depth + 1, err)
                        : reach_manifest(w, &text, d->media_type, depth + 1, err);
}

int cas_reach(struct cas *c, const struct img_desc *d, cas_reach_fn fn, void *user,
              struct bld_err *err)
{
        struct reach w = {.c = c, .fn = fn, .user = user};

        return reach_desc(&w, d, 0, err);
}

struct required {
        const struct img_desc *top;
        bool layers; /* these, too */
};

/* Documents listed in an index may be absent (other platforms), and so may layers that are to be
 * had elsewhere; everything else must be here before a name points at it. */
static int require_present(void *user, const struct img_desc *d, bool present, struct bld_err *err)
{
        const struct required *q = user;
        char name[DIGEST_STR_MAX];
        bool document = img_mt_is_index(d->media_type) || img_mt_is_manifest(d->media_type);
        bool layer = !document && !img_mt_is_config(d->media_type);

        if (present || d->urls.n || (document && d != q->top) || (layer && !q->layers))
                return 0;
        digest_format(&d->digest, name);
        return err_set(err, BLD_E_NOT_FOUND, "blob %s is not in the store", name);
}

/* ---- the calls ---- */

static bool same_annotations(const struct img_kvs *a, const struct img_kvs *b)
{
        bool same = a->n == b->n;

        for (size_t i = 0; i < a->n && same; i++)
                same = str_eq(img_kvs_get(b, a->v[i].key), a->v[i].value);
        return same;
}

/* Does the index say this already? An unchanged build must neither write nor sync. */
static int is_set(struct cas *c, const char *name, const struct img_desc *desc, struct bld_err *err)
{
        AUTO(img_index_done) struct img_index ix = {.media_type = NULL};
        AUTO(img_desc_done) struct img_desc want = {.size = 0};
        int r = cas_index_read(c, &ix, err);

        if (r == 0 && img_desc_copy(desc, &want) < 0)
                return err_nomem(err, "index.json");
        drop_bookkeeping(&want);
        for (size_t i = 0; r == 0 && i < ix.manifests.n; i++) {
                struct img_desc *d = &ix.manifests.v[i];

                if (!digest_eq(&d->digest, &desc->digest) || d->size != desc->size ||
                    !str_eq(d->media_type, desc->media_type) ||
                    (name && !str_eq(entry_name(d), name)))
                        continue;
                drop_bookkeeping(d);
                if (same_annotations(&d->annotations, &want.annotations))
                        return 1;
        }
        return r;
}

/* A blob that another process published may have its name not yet on the disk. */
static int sync_blob_folders(struct cas *c, struct bld_err *err)
{
        AUTO_STRV struct strv algos = {NULL, 0, 0};
        int r = cas_names(c, "blobs", &algos, err);

        for (size_t i = 0; r == 0 && i < algos.n; i++) {
                char dir[2 * CAS_NAME_MAX];

                if (!cas_valid_name(algos.v[i]))
                        continue;
                (void)snprintf(dir, sizeof(dir), "blobs/%s", algos.v[i]);
                r = cas_sync_dir(c, dir, err);
        }
        return r;
}

/* Replace the entry of a name (or the unnamed one of the same digest) and append it: newest last.
 */
static int put_entry(struct img_index *ix, const char *name, const struct img_desc *desc)
{
        AUTO(img_desc_done) struct img_desc d = {.size = 0};
        struct img_desc *slot;
        char now[24];

        if (img_desc_copy(desc, &d) < 0)
                return BLD_E_NOMEM;
        drop_bookkeeping(&d);
        (void)snprintf(now, sizeof(now), "%lld", (long long)(time_now_ns() / 1000000000));
        if (img_kvs_set(&d.annotations, ANNOT_CREATED, now) < 0 ||
            (name && img_kvs_set(&d.annotations, ANNOT_NAME, name) < 0))
                return BLD_E_NOMEM;
        for (size_t i = ix->manifests.n; i-- > 0;) {
                const struct img_desc *old = &ix->manifests.v[i];
                bool same = digest_eq(&old->digest, &d.digest);
                bool unnamed = cas_entry_is_untagged(old);

                if (!name && same && !unnamed)
                        return 0; /* it has a name: nothing to keep it for without one */
                if (name ? str_eq(entry_name(old), name) || (same && unnamed) : same)
                        drop_entry(ix, i);
        }
        slot = img_descs_push(&ix->manifests);
        if (!slot)
                return BLD_E_NOMEM;
        *slot = d;
        memset(&d, 0, sizeof(d));
        return assign_tags(ix);
}

static int set_ref(struct cas *c, const char *name, const struct img_desc *desc, bool layers,
                   struct bld_err *err)
{
        AUTO(img_index_done) struct img_index ix = {.media_type = NULL};
        AUTO_FD int lock = -1;
        struct img_desc top =
                *desc; /* borrowed copy: its address marks the top in require_present */
        struct required q = {.top = &top, .layers = layers};
        int r;

        if (name && !*name)
                return err_set(err, BLD_E_INVALID, "an image cannot have an empty name");
        r = is_set(c, name, desc, err);
        if (r != 0)
                return MIN(r, 0);
        r = cas_store_lock(c, LOCK_EX, &lock, err);
        if (r == 0)
                r = cas_reach(c, &top, require_present, &q, err);
        if (r < 0)
                return err_wrap(err, r, "name image %s", name ? name : "(untagged)");
        r = cas_index_read(c, &ix, err);
        if (r < 0)
                return r;
        if (put_entry(&ix, name, desc) < 0)
                return err_nomem(err, "index.json");
        r = sync_blob_folders(c, err);
        return r < 0 ? r : write_index(c, &ix, err);
}

int cas_ref_set(struct cas *c, const char *name, const struct img_desc *desc, struct bld_err *err)
{
        return set_ref(c, name, desc, true, err);
}

int cas_ref_set_lazy(struct cas *c, const char *name, const struct img_desc *desc,
                     struct bld_err *err)
{
        return set_ref(c, name, desc, false, err);
}

int cas_ref_get(struct cas *c, const char *name, struct img_desc *ret, struct bld_err *err)
{
        AUTO(img_index_done) struct img_index ix = {.media_type = NULL};
        int r = cas_index_read(c, &ix, err);

        if (r < 0)
                return r;
        for (size_t i = ix.manifests.n; i-- > 0;) {
                struct img_desc *d = &ix.manifests.v[i];

                if (!str_eq(entry_name(d), name))
                        continue;
                drop_bookkeeping(d);
                *ret = *d;
                memset(d, 0, sizeof(*d));
                return 0;
        }
        return err_set(err, BLD_E_NOT_FOUND, "image %s is not in the store", name);
}

static int remove_entries(struct cas *c, const char *name, const struct digest *digest,
                          const char *shown, struct bld_err *err)
{
        AUTO(img_index_done) struct img_index ix = {.media_type = NULL};
        AUTO_FD int lock = -1;
        size_t removed = 0;
        int r = cas_store_lock(c, LOCK_EX, &lock, err);

        if (r == 0)
                r = cas_index_read(c, &ix, err);
        if (r < 0)
                return r;
        for (size_t i = ix.manifests.n; i-- > 0;) {
                const struct img_desc *d = &ix.manifests.v[i];

                if (name ? str_eq(entry_name(d), name) : digest_eq(&d->digest, digest)) {
                        drop_entry(&ix, i);
                        removed++;
                }
        }
        if (!removed)
                return err_set(err, BLD_E_NOT_FOUND, "image %s is not in the store", shown);
        if (assign_tags(&ix) < 0)
                return err_nomem(err, "index.json");
        return write_index(c, &ix, err);
}

int cas_refs_forget(struct cas *c, const struct map *digests, struct bld_err *err)
{
        AUTO(img_index_done) struct img_index ix = {.media_type = NULL};
        int r = cas_index_read(c, &ix, err);

        for (size_t i = r == 0 ? ix.manifests.n : 0; i-- > 0;) {
                const struct img_desc *d = &ix.manifests.v[i];
                char name[DIGEST_STR_MAX];

                digest_format(&d->digest, name);
                if (cas_entry_is_untagged(d) && map_get(digests, name))
                        drop_entry(&ix, i);
        }
        return r < 0 ? r : write_index(c, &ix, err);
}

int cas_ref_remove(struct cas *c, const char *name, struct bld_err *err)
{
        return remove_entries(c, name, NULL, name, err);
}

int cas_ref_remove_digest(struct cas *c, const struct digest *d, struct bld_err *err)
{
        char shown[DIGEST_STR_MAX];

        digest_format(d, shown);
        return remove_entries(c, NULL, d, shown, err);
}

void cas_refs_free(struct cas_refs *a)
{
        if (!a)
                return;
        for (size_t i = 0; i < a->n; i++) {
                free(a->v[i].name);
                img_desc_done(&a->v[i].desc);
        }
        cas_refs_done(a);
}

int cas_ref_list(struct cas *c, struct cas_refs *ret, struct bld_err *err)
{
        AUTO(img_index_done) struct img_index ix = {.media_type = NULL};
        AUTO(cas_refs_free) struct cas_refs list = {NULL, 0, 0};
        int r = cas_index_read(c, &ix, err);

        for (size_t i = 0; r == 0 && i < ix.manifests.n; i++) {
                struct img_desc *d = &ix.manifests.v[i];
                struct cas_ref *ref = cas_refs_push(&list);

                if (!ref)
                        return err_nomem(err, "list of images");
                ref->created_sec = cas_entry_created(d);
                if (entry_name(d)) {
                        ref->name = mem_strdup(entry_name(d));
                        if (!ref->name)
                                return err_nomem(err, "list of images");
                }
                drop_bookkeeping(d);
                ref->desc = *d;
                memset(d, 0, sizeof(*d));
        }
        if (r < 0)
                return r;
        *ret = list;
        memset(&list, 0, sizeof(list));
        return 0;
}
