/* From a document to what it reaches, wherever documents are read from. */
#include <string.h>

#include "base/err.h"
#include "base/map.h"
#include "builder/image/move_priv.h"

/* ---- the store as a place of documents ---- */

static int store_read(void *user, const struct img_desc *d, size_t max, struct sb *out,
                      struct bld_err *err)
{
        return bd_doc_read(user, d, max, out, err);
}

static int store_has(void *user, const struct digest *d, struct bld_err *err)
{
        return bd_has(user, d, err);
}

struct bd_docs bd_docs_store(struct bd_ctx *c)
{
        return (struct bd_docs){.read = store_read, .has = store_has, .user = c};
}

/* ---- one platform ---- */

int bd_choose(const struct bd_docs *docs, const struct img_desc *from,
              const struct img_platform *want, struct img_desc *ret, struct bld_err *err)
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
                r = docs->read(docs->user, &at, IMG_MANIFEST_MAX, &doc, err);
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

/* ---- everything a document reaches ---- */

struct walk {
        const struct bd_docs *docs;
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

                r = w->docs->has(w->docs->user, &m->digest, err);
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
        r = w->docs->read(w->docs->user, d, IMG_MANIFEST_MAX, &doc, err);
        if (r == 0)
                r = img_mt_is_index(d->media_type) ? walk_index(w, d, &doc, depth, err)
                                                   : walk_manifest(w, d, &doc, err);
        if (r < 0)
                return depth ? r : err_wrap(err, r, "image %s", text);
        return list_add(&w->x->docs, d, err);
}

int bd_closure_from(const struct bd_docs *docs, const struct img_desc *root, unsigned flags,
                    struct bd_closure *ret, struct bld_err *err)
{
        struct bd_closure x = {.docs = {.v = NULL}};
        struct walk w = {.docs = docs, .flags = flags, .x = &x};
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

int bd_closure_make(struct bd_ctx *c, const struct img_desc *root, unsigned flags,
                    struct bd_closure *ret, struct bld_err *err)
{
        struct bd_docs docs = bd_docs_store(c);

        return bd_closure_from(&docs, root, flags, ret, err);
}

void bd_closure_done(struct bd_closure *x)
{
        if (!x)
                return;
        img_descs_free(&x->docs);
        img_descs_free(&x->blobs);
}
