/* Where everything meets: Dockerfile -> graph -> results -> image -> outputs, and the movement of
 * images between store, registries and archives. docs/architecture is ARCHITECTURE.md.
 * Threads: a bd_ctx is MT-Safe; the rest MT-Object. */
#ifndef BUILDER_BUILDER_H
#define BUILDER_BUILDER_H

#include "base/base.h"
#include "base/cancel.h"
#include "base/digest.h"
#include "base/sb.h"
#include "base/vec.h"
#include "bld/build.h"
#include "cas/cas.h"
#include "image/image.h"

struct bd_trees;
struct reg_client;
struct ly_sink;

/* ---- context: what every operation needs; owned by lib/'s session ---- */

struct bd_ctx {
        struct cas *cas;
        struct cancel *cancel;
        const char *helper; /* bld binary for the keeper, or NULL */
        /* The registry client, made at first use. Borrowed from the session. */
        int (*registry)(void *user, struct reg_client **ret, struct bld_err *err);
        /* One with little patience, for build caches; NULL: the same. */
        int (*cache_registry)(void *user, struct reg_client **ret, struct bld_err *err);
        /* Another one, for the reading side of copies between registries; NULL: there is one only.
         */
        int (*registry_src)(void *user, struct reg_client **ret, struct bld_err *err);
        void (*note)(void *user, const char *text); /* may be NULL */
        void *user;
        struct bd_trees *trees; /* may be NULL */
};

/* Chains of layers that were read and that nobody reads now (image/tree.c). For the time of one
 * build: bd_ctx.trees points to it. NULL: out of memory. */
struct bd_trees *bd_trees_new(void);
void bd_trees_free(struct bd_trees *x);

typedef void (*bd_progress_fn)(void *user, const char *what, uint64_t done, uint64_t total);

/* ---- images in the store ---- */

/* One single-platform image: documents are in the store; layer blobs may not be yet. */
struct bd_image {
        struct img_desc desc; /* of the manifest */
        struct img_manifest manifest;
        struct img_config config;
        struct img_ref source; /* where blobs can be fetched; domain NULL: nowhere */
};
void bd_image_done(struct bd_image *im);
/* From a manifest (or an index, choosing `platform`) that is in the store. */
int bd_image_load(struct bd_ctx *c, const struct img_desc *desc,
                  const struct img_platform *platform, struct bd_image *ret,
                  struct bld_err *err) MUST_CHECK;
/* A user's name for an image in the store: reference, digest of manifest, index or config, or a
 * unique prefix of one. NOT_FOUND names it in full and suggests a near tag. */
int bd_image_find(struct bd_ctx *c, const char *name, struct img_desc *ret, char **ret_refname,
                  struct bld_err *err) MUST_CHECK;

/* ---- registry <-> store (fetch.c, push.c) ---- */

/* After a failure (r < 0) over this blob: if it is damaged, that is the error, and it is moved
 * aside, so that it is fetched or made again. */
int bd_blame_blob(struct bd_ctx *c, const struct digest *d, int r, struct bld_err *err);

/* Resolve a reference in its registry and bring manifest and config (not the layers) into the
 * store. ret->source is set. NOT_FOUND (exit 6), DENIED (5), NETWORK (7). *ret_root, if wanted, is
 * the descriptor the reference itself named (an index, perhaps). */
int bd_fetch_image(struct bd_ctx *c, const struct img_ref *ref, const struct img_platform *platform,
                   struct bd_image *ret, struct img_desc *ret_root, struct bld_err *err) MUST_CHECK;
/* Make one blob present: verified while streaming, one download per blob across processes. */
int bd_fetch_blob(struct bd_ctx *c, const struct img_ref *from, const struct img_desc *desc,
                  bd_progress_fn progress, void *user, struct bld_err *err) MUST_CHECK;
/* All layers of an image present, in parallel. */
int bd_fetch_layers(struct bd_ctx *c, const struct bd_image *im, bd_progress_fn progress,
                    void *user, struct bld_err *err) MUST_CHECK;

struct bd_pull_opts {
        const struct img_platform *platform; /* NULL: this machine's */
        bool all_platforms;
        bool all_tags; /* of a layout or archive: everything in it */
        bool lazy;     /* documents and configs; layers are fetched when something needs them */
        int in_fd;     /* for "-" */
        bd_progress_fn progress;
        void *user;
};
/* Resolve, fetch everything (one platform, or all of an index) and name it in the store. With one
 * platform the name stands for that platform's manifest; *ret_root is what the reference itself
 * resolved to in the registry. */
int bd_pull(struct bd_ctx *c, const struct img_ref *ref, const struct bd_pull_opts *o,
            struct img_desc *ret_root, struct bld_err *err) MUST_CHECK;

struct bd_push_stats {
        uint64_t uploaded_bytes, present_bytes;
        bool unchanged; /* the name stood for this very image already */
};
/* Push a manifest or index of the store under dst (tag or digest): blobs in parallel, children
 * before parents, the tag last. from: repository on the same host to mount from, or NULL. */
int bd_push(struct bd_ctx *c, const struct img_desc *desc, const struct img_ref *dst,
            const struct img_ref *from, bd_progress_fn progress, void *user,
            struct bd_push_stats *ret, struct bld_err *err) MUST_CHECK;

/* ---- annotations (annotate.c) ---- */

enum bd_note_level {
        BD_NOTE_MANIFEST,
        BD_NOTE_INDEX,
        BD_NOTE_MANIFEST_DESC, /* of the manifest, where it is listed */
        BD_NOTE_INDEX_DESC,    /* of the index, in index.json of a layout */
};
struct bd_note {
        enum bd_note_level level;
        bool has_platform;
        struct img_platform platform;
        char *key, *value;
};
VEC_DEFINE(bd_notes, struct bd_note);
void bd_notes_free(struct bd_notes *a);
/* --annotation "[LEVEL[PLATFORM][,LEVEL...]:]K=V". USAGE says what is wrong. */
int bd_notes_flag(const char *text, struct bd_notes *to, struct bld_err *err) MUST_CHECK;
/* The key "annotation[-LEVEL][[PLATFORM]].K" of an output. */
int bd_notes_key(const char *key, const char *value, struct bd_notes *to,
                 struct bld_err *err) MUST_CHECK;
bool bd_note_is_for(const struct bd_note *n, const struct img_platform *platform);
/* Those of one level; platform NULL: of the index. Added to ret. */
int bd_notes_get(const struct bd_notes *notes, enum bd_note_level level,
                 const struct img_platform *platform, struct img_kvs *ret,
                 struct bld_err *err) MUST_CHECK;
int bd_notes_append(struct bd_notes *dst, const struct bd_notes *src,
                    struct bld_err *err) MUST_CHECK;

/* May these names (full references) be pushed to? DENIED for the first that may not; a registry
 * that cannot be asked is not held against it. */
int bd_push_check(struct bd_ctx *c, const struct strv *names, struct bld_err *err) MUST_CHECK;

/* ---- putting an image together (assemble.c) ---- */

/* A layer of a result, bottom first in a chain. */
struct bd_layer {
        struct digest diff_id;
        struct img_desc desc;  /* compressed blob; may have to be fetched from source */
        uint64_t tar_size;     /* 0: unknown */
        int64_t created_sec;   /* when it was made; 0: from a base image */
        struct img_ref source; /* domain NULL: it is in the store */
        bool reused;           /* was there before this build */
};
VEC_DEFINE(bd_layers, struct bd_layer);
void bd_layers_free(struct bd_layers *a);
int bd_layers_append(struct bd_layers *dst, const struct bd_layers *src) MUST_CHECK; /* copies */

enum bd_format { BD_FORMAT_OCI, BD_FORMAT_DOCKER };
/* config: everything but rootfs is final (history, created); diff_ids are set from layers here. The
 * documents are written to the store. */
int bd_assemble(struct bd_ctx *c, const struct img_config *config, const struct bd_layers *layers,
                enum bd_format format, const struct img_kvs *annotations, struct img_desc *ret,
                struct digest *ret_config, struct bld_err *err) MUST_CHECK;
/* Index over several manifests (their descriptors carry platforms). */
int bd_assemble_index(struct bd_ctx *c, const struct img_descs *manifests, enum bd_format format,
                      const struct img_kvs *annotations, struct img_desc *ret,
                      struct bld_err *err) MUST_CHECK;

/* The same image (or index) with its layers compressed in another way; configs stay as they are.
 * Layers that have the codec already are kept unless `force`. What was made once is found again. */
struct bd_recompress_opts {
        const char *codec; /* "gzip", "zstd", "none" */
        int level;         /* 0: default */
        bool reproducible;
        bool force;
};
/* One layer of it; ret, which may be l->desc, is replaced when it changes. */
int bd_recompress_layer(struct bd_ctx *c, const struct bd_layer *l,
                        const struct bd_recompress_opts *o, struct img_desc *ret,
                        struct bld_err *err) MUST_CHECK;
int bd_recompress(struct bd_ctx *c, const struct img_desc *desc, const struct bd_recompress_opts *o,
                  struct img_desc *ret, struct bld_err *err) MUST_CHECK;

/* ---- exporters (emit_*.c) ---- */

/* One -o value, parsed: "type=oci,dest=x.tar", a bare path (local), "-" (tar to stdout). */
enum bd_output_type {
        BD_OUT_STORE,
        BD_OUT_OCI,
        BD_OUT_DOCKER,
        BD_OUT_TAR,
        BD_OUT_LOCAL,
        BD_OUT_REGISTRY,
        BD_OUT_CACHEONLY
};
struct bd_output {
        enum bd_output_type type;
        char *dest; /* NULL: none; "-": out_fd */
        char *name; /* name= (comma list), or NULL */
        bool push;
        bool as_dir;       /* oci: tar=false */
        char *compression; /* or NULL */
        int compression_level;
        bool docker_types;       /* oci-mediatypes=false */
        bool keep_times;         /* rewrite-timestamp=false: layers keep theirs under an epoch */
        bool push_by_digest;     /* under no tag */
        bool no_store;           /* store=false: no name in the store */
        bool split_given, split; /* platform-split= */
        bool remove_others;      /* mode=delete: the folder holds the tree and nothing else */
        char *epoch;             /* source-date-epoch=, or NULL */
        struct bd_notes annotations;
        bool force_compression; /* base layers, too */
};
/* USAGE names the key or type that is wrong. */
int bd_output_parse(const char *spec, struct bd_output *ret, struct bld_err *err) MUST_CHECK;
void bd_output_done(struct bd_output *o);

struct bd_export {
        const struct img_desc *desc; /* manifest or index in the store */
        const struct strv *names;    /* full references */
        const char *dest;            /* "-": out_fd */
        int out_fd;
        bool as_dir;
        int64_t mtime_sec; /* of archive members; 0 */
        bool clamp;        /* local, tar: file times to clamp_sec */
        int64_t clamp_sec;
        const struct img_platform *platform; /* local, tar */
        bool split;         /* local, tar: a folder OS_ARCH also around a single platform */
        bool merge;         /* and none around several: a file in two of them is INVALID */
        bool remove_others; /* local: what the folder held before goes */
};
/* Files appear whole (temporary name, rename) or not at all. Blobs that are missing are fetched. */
int bd_emit_oci(struct bd_ctx *c, const struct bd_export *x, struct bld_err *err) MUST_CHECK;
int bd_emit_docker(struct bd_ctx *c, const struct bd_export *x, struct bld_err *err) MUST_CHECK;
int bd_emit_tar(struct bd_ctx *c, const struct bd_export *x, struct bld_err *err) MUST_CHECK;
int bd_emit_local(struct bd_ctx *c, const struct bd_export *x, struct bld_err *err) MUST_CHECK;
/* Several images into one archive (or, OCI only, one folder). */
struct bd_saved {
        const struct img_desc *desc;
        const struct strv *names; /* full references; NULL: none */
        const struct strv *tags;  /* bare names in the layout ("v1"), besides; NULL: none */
};
struct bd_save_opts {
        bool docker; /* the archive docker loads, which is an OCI layout, too */
        const char *dest;
        int out_fd;
        bool as_dir;
        int64_t mtime_sec;
};
int bd_save(struct bd_ctx *c, const struct bd_saved *v, size_t n, const struct bd_save_opts *o,
            struct bld_err *err) MUST_CHECK;
/* What the layers of a chain from number `from` on make of the tree of those below, as one layer's
 * tar: 0, the merged tree. */
int bd_flatten(struct bd_ctx *c, const struct bd_layers *layers, size_t from, bool clamp,
               int64_t clamp_sec, const struct ly_sink *tar, struct bld_err *err) MUST_CHECK;

/* Archives and layouts -> store (load.c). names gets what was loaded. */
int bd_load(struct bd_ctx *c, const char *path, int in_fd, struct strv *names,
            struct img_descs *descs, struct bld_err *err) MUST_CHECK;

/* ---- building ---- */

int bd_build(struct bd_ctx *c, const struct bld_build_opts *o, struct bld_build_result *ret,
             struct bld_err *err) MUST_CHECK;

/* Builds that were (solve/build_record.c). Is there a record of that id, n characters? */
bool bd_build_is(struct bd_ctx *c, const char *id, size_t n);
/* The image it made; or the layers up to one of its steps: "deps 2/4"; "deps" for the last one of
 * the stage; "2" of the last stage. NOT_FOUND. */
int bd_build_image(struct bd_ctx *c, const char *id, char ret[DIGEST_STR_MAX],
                   struct bld_err *err) MUST_CHECK;
int bd_build_layers(struct bd_ctx *c, const char *id, const char *step, struct bd_layers *ret,
                    struct bld_err *err) MUST_CHECK;

/* Where the history of an image with this config comes from (solve/lines.c), as the last build here
 * that made it knew: {"file": name, "first": index of the first entry that is no base image's,
 * "lines": [line of it and the following ones]}. Caller frees; NULL: not known. */
struct js *bd_history_lines(struct bd_ctx *c, const struct digest *config);

/* The program's verbs for rt_child_main(). */
struct rt_verb;
const struct rt_verb *bd_verbs(size_t *ret_n);

/* graph, key, config of a Dockerfile, as text for `bld debug`. */
int bd_debug_graph(struct bd_ctx *c, const struct bld_build_opts *o, const char *what,
                   struct sb *out, struct bld_err *err) MUST_CHECK;

#endif
