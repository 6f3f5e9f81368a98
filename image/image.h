/* References, platforms, media types and the JSON documents of OCI image-spec 1.1 and Docker v2s2
 * as plain data. No I/O. Threads: MT-Object. */
#ifndef IMAGE_IMAGE_H
#define IMAGE_IMAGE_H

#include "base/base.h"
#include "base/digest.h"
#include "base/json.h"
#include "base/sb.h"
#include "base/vec.h"

/* ---- references (distribution/reference) ---- */

struct img_ref {
        char *domain;         /* "docker.io" */
        char *path;           /* "library/debian" */
        char *tag;            /* NULL when absent; never defaulted by the parser */
        struct digest digest; /* algo DIGEST_NONE when absent */
        bool short_name; /* given without a registry, which may be an alias of this machine's */
};
#define AUTO_REF AUTO(img_ref_done)

/* User input, normalised ("debian" -> docker.io/library/debian). INVALID with the reason. */
int img_ref_parse(const char *s, struct img_ref *ret, struct bld_err *err) MUST_CHECK;
void img_ref_done(struct img_ref *r);
int img_ref_copy(const struct img_ref *r, struct img_ref *ret, struct bld_err *err) MUST_CHECK;
/* domain/path[:tag][@digest]; adds ":latest" with IMG_REF_DEFAULT_TAG when neither is there. */
enum { IMG_REF_DEFAULT_TAG = 1, IMG_REF_NO_DIGEST = 2, IMG_REF_NO_TAG = 4 };
char *img_ref_format(const struct img_ref *r, unsigned flags);   /* malloc'ed, NULL: no memory */
char *img_ref_familiar(const struct img_ref *r, unsigned flags); /* short form for people */

/* ---- places: references with a transport (cli.md 1.3) ---- */

enum img_at {
        IMG_AT_ANY, /* nothing was said */
        IMG_AT_REGISTRY,
        IMG_AT_STORE,
        IMG_AT_OCI, /* layout folder */
        IMG_AT_OCI_ARCHIVE,
        IMG_AT_DOCKER_ARCHIVE,
        IMG_AT_DOCKER_DAEMON,
};
struct img_place {
        enum img_at at;
        char *text; /* as it was given, for messages */
        /* registry: parsed; elsewhere domain is NULL */
        struct img_ref ref;
        char *path; /* folder or archive, "-" for a stream; else NULL */
        /* what it is called there: in a layout or archive (NULL: nothing was said), or the whole
         * rest of the text where there is no path */
        char *name;
        char *digits; /* layouts and archives: of the digest behind '@' (a prefix, perhaps), or NULL
                       */
};
#define AUTO_PLACE AUTO(img_place_done)
/* "docker://a/b:1", "oci:DIR[:NAME][@DIGEST]", "store:app:v1"; without a transport, ANY with the
 * text as name. USAGE for transports bld knows of and does not have. */
int img_place_parse(const char *s, struct img_place *ret, struct bld_err *err) MUST_CHECK;
void img_place_done(struct img_place *p);
bool img_at_is_file(enum img_at at); /* it has a path */

/* ---- platforms (containerd/platforms) ---- */

struct img_platform {
        char os[32], arch[32], variant[16], os_version[64];
};
int img_platform_parse(const char *s, struct img_platform *ret, struct bld_err *err) MUST_CHECK;
void img_platform_host(struct img_platform *ret);
void img_platform_normalize(struct img_platform *p);
/* "linux/amd64", "linux/arm/v7" */
void img_platform_format(const struct img_platform *p, char out[128]);
/* How well does have serve want: 0 not at all, higher is better. */
int img_platform_score(const struct img_platform *want, const struct img_platform *have);

/* ---- descriptors, manifests, indexes ---- */

#define MT_OCI_INDEX "application/vnd.oci.image.index.v1+json"
#define MT_OCI_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define MT_OCI_CONFIG "application/vnd.oci.image.config.v1+json"
#define MT_OCI_LAYER "application/vnd.oci.image.layer.v1.tar"
#define MT_OCI_LAYER_GZIP "application/vnd.oci.image.layer.v1.tar+gzip"
#define MT_OCI_LAYER_ZSTD "application/vnd.oci.image.layer.v1.tar+zstd"
#define MT_OCI_EMPTY "application/vnd.oci.empty.v1+json"
#define MT_DOCKER_LIST "application/vnd.docker.distribution.manifest.list.v2+json"
#define MT_DOCKER_MANIFEST "application/vnd.docker.distribution.manifest.v2+json"
#define MT_DOCKER_CONFIG "application/vnd.docker.container.image.v1+json"
#define MT_DOCKER_LAYER "application/vnd.docker.image.rootfs.diff.tar"
#define MT_DOCKER_LAYER_GZIP "application/vnd.docker.image.rootfs.diff.tar.gzip"

bool img_mt_is_index(const char *mt);    /* OCI index or Docker list */
bool img_mt_is_manifest(const char *mt); /* OCI or Docker image manifest */
bool img_mt_is_layer(const char *mt);
bool img_mt_is_config(const char *mt); /* a known image config type */

struct img_kv {
        char *key, *value;
};
VEC_DEFINE(img_kvs, struct img_kv);
void img_kvs_free(struct img_kvs *a); /* frees keys, values and the array */
int img_kvs_set(struct img_kvs *a, const char *key, const char *value) MUST_CHECK;
/* The same where the key is known to be new. */
int img_kvs_add(struct img_kvs *a, const char *key, const char *value) MUST_CHECK;
const char *img_kvs_get(const struct img_kvs *a, const char *key);

struct img_desc {
        char *media_type;
        struct digest digest;
        uint64_t size;
        bool has_platform;
        struct img_platform platform;
        char *artifact_type;
        struct img_kvs annotations;
        struct strv urls;
        /* embedded content, decoded and checked against size and digest; or NULL */
        char *data;
        struct strv os_features; /* of platform; an entry that asks for some is never chosen */
};
VEC_DEFINE(img_descs, struct img_desc);
void img_desc_done(struct img_desc *d);
int img_desc_copy(const struct img_desc *d, struct img_desc *ret) MUST_CHECK;
void img_descs_free(struct img_descs *a);
int img_desc_decode(const struct js *j, struct img_desc *ret, struct bld_err *err) MUST_CHECK;
struct js *img_desc_encode(const struct img_desc *d); /* NULL: no memory */

#define IMG_MANIFEST_MAX (4u << 20)
#define IMG_CONFIG_MAX (8u << 20)
#define IMG_LAYERS_MAX 4096

struct img_manifest {
        char *media_type;
        char *artifact_type;
        struct img_desc config;
        struct img_descs layers;
        bool has_subject;
        struct img_desc subject;
        struct img_kvs annotations;
};
/* media_type: what the transport or descriptor promised, or NULL. A document with both `layers` and
 * `manifests`, or of schema 1, is refused (type confusion, CVE-2021-41190). CORRUPT. */
int img_manifest_decode(const char *text, size_t len, const char *media_type,
                        struct img_manifest *ret, struct bld_err *err) MUST_CHECK;
int img_manifest_encode(const struct img_manifest *m, struct sb *out,
                        struct bld_err *err) MUST_CHECK;
void img_manifest_done(struct img_manifest *m);

struct img_index {
        char *media_type;
        struct img_descs manifests;
        struct img_kvs annotations;
        char *artifact_type;
        bool has_subject;
        struct img_desc subject;
};
int img_index_decode(const char *text, size_t len, const char *media_type, struct img_index *ret,
                     struct bld_err *err) MUST_CHECK;
int img_index_encode(const struct img_index *ix, struct sb *out, struct bld_err *err) MUST_CHECK;
void img_index_done(struct img_index *ix);
/* Index of the entry for a platform, attestations skipped; NOT_FOUND lists what is offered. */
int img_index_choose(const struct img_index *ix, const struct img_platform *want, size_t *ret,
                     struct bld_err *err) MUST_CHECK;
/* What a document is, when the transport does not say: MT_* (static) or NULL. */
const char *img_guess_media_type(const char *text, size_t len);

/* ---- image config ---- */

struct img_history {
        char *created; /* RFC 3339 or NULL */
        char *created_by, *author, *comment;
        bool empty_layer;
};
VEC_DEFINE(img_histories, struct img_history);

struct img_health {
        struct strv test;
        int64_t interval_ns, timeout_ns, start_period_ns, start_interval_ns;
        int64_t retries;
};

/* The members of `config` that Dockerfiles can touch, Docker's extensions included. */
struct img_config {
        char *created, *author;
        struct img_platform platform;
        struct strv os_features;
        char *user, *working_dir, *stop_signal;
        struct strv env;              /* "K=V", order kept */
        struct strv exposed_ports;    /* "80/tcp", sorted when encoded */
        struct strv volumes;          /* sorted when encoded */
        bool has_entrypoint, has_cmd; /* false: null; true with 0 elements: [] */
        struct strv entrypoint, cmd;
        struct img_kvs labels; /* sorted when encoded */
        bool args_escaped;
        bool has_health;
        struct img_health health;
        struct strv on_build;
        bool has_shell;
        struct strv shell;
        struct digest *diff_ids;
        size_t ndiff_ids;
        struct img_histories history;
        /* IMG_CONFIG_CACHE: a JSON object with the inline build cache, or NULL. It is about this
         * image alone: whoever builds on the image drops it. */
        char *cache;
        bool no_history; /* --omit-history: it is left out when the image is put together */
};
#define IMG_CONFIG_CACHE "vnd.bld.cache.v1"
/* Comment of a history entry that was missing. */
#define IMG_HISTORY_FILLER "added by bld: the base image's history had no entry for this layer"
void img_config_init(struct img_config *c);
void img_config_done(struct img_config *c);
int img_config_copy(const struct img_config *c, struct img_config *ret,
                    struct bld_err *err) MUST_CHECK;
int img_config_decode(const char *text, size_t len, struct img_config *ret,
                      struct bld_err *err) MUST_CHECK;
/* Deterministic: fixed member order, maps sorted, compact. */
int img_config_encode(const struct img_config *c, struct sb *out, struct bld_err *err) MUST_CHECK;
int img_config_add_diff_id(struct img_config *c, const struct digest *d) MUST_CHECK;
int img_config_add_history(struct img_config *c,
                           const struct img_history *h) MUST_CHECK; /* copies */
void img_history_done(struct img_history *h);

/* ---- configs compared ---- */

enum {
        IMG_CONFIG_DIFF_HISTORY = 1, /* bits: left out */
        IMG_CONFIG_DIFF_CREATED = 2,
        IMG_CONFIG_DIFF_LABELS = 4,
        IMG_CONFIG_DIFF_LAYERS = 8,
};
struct img_config_change {
        char *field, *key;    /* as of struct bld_config_change */
        char *before, *after; /* text, or compact JSON with sorted names; NULL: absent */
};
VEC_DEFINE(img_config_changes, struct img_config_change);
void img_config_changes_free(struct img_config_changes *c);
/* NULL for a or b: there is none, which is the same as an empty one. CORRUPT, LIMIT. */
int img_config_diff(const char *a, size_t na, const char *b, size_t nb, unsigned ignore,
                    struct img_config_changes *ret, struct bld_err *err) MUST_CHECK;

/* ChainID(L0..Ln) = sha256(ChainID(L0..Ln-1) " " DiffID(Ln)); one element: the diff ID itself. */
void img_chain_id(const struct digest *diff_ids, size_t n, struct digest *ret);

#endif
