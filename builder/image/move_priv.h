/* Shared by the files that move images between store, registries and archives. */
#ifndef BUILDER_MOVE_PRIV_H
#define BUILDER_MOVE_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "builder/transport.h"
#include "registry/registry.h"

/* An index inside an index inside an index: nobody makes more, and a hostile one may. */
#define BD_INDEX_DEPTH_MAX 4u
#define BD_INDEX_NODES_MAX 1000u

#define BD_ANN_REF_NAME "org.opencontainers.image.ref.name"
#define BD_ANN_IMAGE_NAME "io.containerd.image.name"

/* ---- tree.c: a layer's blob as a source that can be cancelled ---- */

struct bd_blob_source {
        int fd; /* borrowed */
        const struct cancel *cancel;
};
ssize_t bd_blob_source_read(void *user, void *p, size_t n, struct bld_err *err);

/* ---- closure.c ---- */

/* Where documents are read from: the store, a registry, an archive. */
struct bd_docs {
        /* Its bytes, verified. NOT_FOUND. */
        int (*read)(void *user, const struct img_desc *d, size_t max, struct sb *out,
                    struct bld_err *err);
        /* 1 there, 0 not. */
        int (*has)(void *user, const struct digest *d, struct bld_err *err);
        void *user;
};
struct bd_docs bd_docs_store(struct bd_ctx *c);
/* Follow indexes down to the manifest of a platform. */
int bd_choose(const struct bd_docs *docs, const struct img_desc *from,
              const struct img_platform *want, struct img_desc *ret,
              struct bld_err *err) MUST_CHECK;

/* Everything a manifest or index reaches. */
struct bd_closure {
        struct img_descs docs;  /* manifests and indexes, children before parents, the root last */
        struct img_descs blobs; /* configs and layers, each once */
};
enum {
        BD_CLOSURE_SPARSE = 1, /* children of an index that are not in the store are left out */
};
int bd_closure_from(const struct bd_docs *docs, const struct img_desc *root, unsigned flags,
                    struct bd_closure *ret, struct bld_err *err) MUST_CHECK;
/* In the store. */
int bd_closure_make(struct bd_ctx *c, const struct img_desc *root, unsigned flags,
                    struct bd_closure *ret, struct bld_err *err) MUST_CHECK;
void bd_closure_done(struct bd_closure *x);

/* ---- find.c ---- */

/* The images whose manifest, index or config has a digest that begins with these digits. */
struct bd_search {
        const struct bd_docs *docs;
        const char *digits;
        struct img_desc found; /* the first; the caller's to free */
        const char *name;      /* of its entry, borrowed */
        unsigned hits;         /* different images */
};
/* Look at one document and all below it. */
int bd_search_add(struct bd_search *s, const struct img_desc *d, const char *name,
                  struct bld_err *err) MUST_CHECK;

/* ---- image.c ---- */

/* A document of the store, its size checked against the descriptor. */
int bd_doc_read(struct bd_ctx *c, const struct img_desc *desc, size_t max, struct sb *out,
                struct bld_err *err) MUST_CHECK;
/* 1 the blob is in the store, 0 it is not. */
int bd_has(struct bd_ctx *c, const struct digest *d, struct bld_err *err);
/* The same, for what is to be named or used later: nobody collects it meanwhile. */
int bd_keep(struct bd_ctx *c, const struct digest *d, struct bld_err *err);
/* Bytes into the store unless they are there; expect (or NULL) is what they must hash to. */
int bd_doc_put(struct bd_ctx *c, const void *p, size_t n, const struct digest *expect,
               struct digest *ret, struct bld_err *err) MUST_CHECK;
/* Manifest and config of ret->desc, which the caller has set, from the store. */
int bd_image_read(struct bd_ctx *c, struct bd_image *ret, struct bld_err *err) MUST_CHECK;

/* Like img_ref_copy, but "nowhere" (domain NULL) is copied, too. */
int bd_source_copy(const struct img_ref *r, struct img_ref *ret, struct bld_err *err) MUST_CHECK;
/* The repository a blob was seen in. find: 1 (caller: img_ref_done), 0 unknown, or negative. */
int bd_source_note(struct bd_ctx *c, const struct digest *d, const struct img_ref *repo,
                   struct bld_err *err) MUST_CHECK;
int bd_source_find(struct bd_ctx *c, const struct digest *d, struct img_ref *ret,
                   struct bld_err *err);
/* A repository of a registry that the blob was pushed to: a candidate for a mount. 1/0. */
int bd_pushed_find(struct bd_ctx *c, const struct digest *d, const char *domain,
                   struct img_ref *ret, struct bld_err *err) MUST_CHECK;
int bd_pushed_note(struct bd_ctx *c, const struct digest *d, const struct img_ref *repo,
                   struct bld_err *err) MUST_CHECK;

/* "sha256:0123456789ab", for people. */
void bd_short(const struct digest *d, char out[24]);
/* Layers of an image as a chain; source says where missing blobs are fetched. */
int bd_image_layers(const struct bd_image *im, struct bd_layers *ret,
                    struct bld_err *err) MUST_CHECK;

/* ---- assemble.c ---- */

/* The name a family of media types has for a layer's type (borrowed). INVALID when it has none. */
int bd_layer_type(const char *have, enum bd_format format, const char **ret,
                  struct bld_err *err) MUST_CHECK;
/* Document into the store; type, digest and size of ret are set. */
int bd_manifest_put(struct bd_ctx *c, const struct img_manifest *m, struct img_desc *ret,
                    struct bld_err *err) MUST_CHECK;

/* ---- convert.c, recompress.c ---- */

/* The same image (or index) with the other family's media types. INVALID where it has no such form.
 */
int bd_convert_types(struct bd_ctx *c, const struct img_desc *desc, enum bd_format format,
                     struct img_desc *ret, struct bld_err *err) MUST_CHECK;
int bd_drop_attestations(struct bd_ctx *c, struct img_index *ix, struct bld_err *err) MUST_CHECK;

/* ---- par.c ---- */

/* A progress callback that several threads share: one call at a time, not too often. */
struct bd_meter {
        bd_progress_fn fn; /* may be NULL */
        void *user;
        pthread_mutex_t lock; /* serialises fn */
};
struct bd_meter_item {
        struct bd_meter *meter;
        char what[24];
        uint64_t total;
        int64_t next_ns; /* no call before, but the last */
};
void bd_meter_init(struct bd_meter *m, bd_progress_fn fn, void *user);
void bd_meter_done(struct bd_meter *m);
void bd_meter_item_init(struct bd_meter_item *it, struct bd_meter *m, const struct img_desc *desc);
void bd_meter_step(struct bd_meter_item *it, uint64_t done);

/* ---- fetch.c ---- */

int bd_fetch_blob_metered(struct bd_ctx *c, const struct img_ref *from, const struct img_desc *desc,
                          struct bd_meter *meter, const atomic_bool *stop,
                          struct bld_err *err) MUST_CHECK;
/* Every one of these present; each from where it was seen, or from `from`. */
int bd_fetch_missing(struct bd_ctx *c, const struct img_descs *blobs, const struct img_ref *from,
                     bd_progress_fn progress, void *user, struct bld_err *err) MUST_CHECK;
/* To a NOT_FOUND (r) of a tag: "did you mean". Returns r. */
struct reg_client;
int bd_suggest_tags(struct reg_client *reg, const struct img_ref *ref, int r, struct bld_err *err);

/* ---- push.c ---- */

/* One blob of the store made present in dst's repository, mounted from `from` (or NULL) or from
 * where it was seen if that will do. stop and meter may be NULL. */
int bd_push_blob(struct bd_ctx *c, struct reg_client *reg, const struct img_ref *dst,
                 const struct img_ref *from, const struct img_desc *d, bool anew,
                 struct bd_meter *meter, const atomic_bool *stop, enum reg_put_how *how,
                 struct bld_err *err) MUST_CHECK;

#endif
