/* Images in the store, in registries, in archives. JSON results have lowerCamelCase members and are
 * described in docs/cli.md. Every char ** result is malloc'ed: bld_free. */
#ifndef BLD_IMAGE_H
#define BLD_IMAGE_H

#include "bld/session.h"

#ifdef __cplusplus
extern "C" {
#endif

struct bld_transfer_opts {
        size_t size;
        const char *platform; /* NULL: this machine's */
        bool all_platforms;
        bool all_tags;
        bool force_compression;
        const char *compression;
        bool dry_run;    /* push: only say what would be sent */
        bool if_changed; /* push: one look where the name is this image already */
        bool lazy;       /* pull: documents and configs; layers come when something needs them */
        int in_fd;       /* pull: for "-" */
        bld_progress_fn progress;
        void *user;
};

/* Array of {name, repository, tag, digest, mediaType, configDigest, platform, created, size,
 * layers, labels}, newest first. */
BLD_API int bld_images(struct bld *b, const char *filter_repo, char **ret_json,
                       struct bld_err *err);
BLD_API int bld_tag(struct bld *b, const char *src, const char *dst, struct bld_err *err);
/* ret_json: array of {untagged | deleted}. force: by digest, with all its names. */
BLD_API int bld_rmi(struct bld *b, const char *ref, bool force, char **ret_json,
                    struct bld_err *err);
/* Docker-shaped object for one platform; raw: the document itself, byte for byte. */
enum bld_inspect { BLD_INSPECT_DOCKER, BLD_INSPECT_MANIFEST, BLD_INSPECT_CONFIG };
BLD_API int bld_inspect(struct bld *b, const char *ref, enum bld_inspect what, const char *platform,
                        char **ret_json, struct bld_err *err);
/* Array of {created, createdBy, size, comment, emptyLayer, digest}, newest first; with {file, line}
 * of the Dockerfile in entries made by a build that the store remembers. */
BLD_API int bld_history(struct bld *b, const char *ref, const char *platform, char **ret_json,
                        struct bld_err *err);

/* Any place (without a transport: a registry) -> store. ret_json as of bld_copy; the digests are
 * what the names stood for where they came from. */
BLD_API int bld_pull(struct bld *b, const char *ref, const struct bld_transfer_opts *o,
                     char **ret_json, struct bld_err *err);
/* Store -> registry (or any place); dst NULL: the name itself. ret_json as of bld_copy. */
BLD_API int bld_push(struct bld *b, const char *src, const char *dst,
                     const struct bld_transfer_opts *o, char **ret_json, struct bld_err *err);

/* Formats: "oci-archive", "docker-archive", "oci-dir". path "-": out_fd. */
BLD_API int bld_save(struct bld *b, const struct bld_list *refs, const char *format,
                     const char *path, int out_fd, struct bld_err *err);
/* path: archive, layout folder, or "-": in_fd. ret_json: array of {name, digest}. */
BLD_API int bld_load(struct bld *b, const char *path, int in_fd, char **ret_json,
                     struct bld_err *err);

/* A root file system (tar, plain or compressed; "-": in_fd; an http(s) URL) as an image of one
 * layer. changes: Dockerfile instructions that set its config. */
struct bld_import_opts {
        size_t size;
        struct bld_list changes;
        const char *message;
        const char *platform; /* NULL: this machine's */
        int in_fd;
};
BLD_API int bld_import(struct bld *b, const char *path, const char *name,
                       const struct bld_import_opts *o, char ret_digest[BLD_DIGEST_SIZE],
                       struct bld_err *err);
/* The merged tree of an image as one tar. path "-": out_fd. */
BLD_API int bld_export(struct bld *b, const char *ref, const char *platform, const char *path,
                       int out_fd, struct bld_err *err);

/* {total, kinds: {blobs: {bytes, count}, ...}, reclaimable} */
BLD_API int bld_du(struct bld *b, char **ret_json, struct bld_err *err);
/* What can be given up alone: array of {id, type, bytes, lastUsed, inUse, shared, reclaimable},
 * least recently used first. filters: as of bld_prune; NULL: all. */
BLD_API int bld_du_items(struct bld *b, const struct bld_list *filters, char **ret_json,
                         struct bld_err *err);
/* Bytes of the file system of the store: its size, and what may still be used. */
BLD_API int bld_disk(struct bld *b, uint64_t *ret_size, uint64_t *ret_free, struct bld_err *err);

struct bld_prune_opts {
        size_t size;
        bool all; /* what may still be of use, too; so do until_sec and filters for what they name
                   */
        bool dry_run;
        uint64_t keep_bytes, max_used_bytes, min_free_bytes; /* 0: not given */
        int64_t until_sec;                                   /* unused for so long; 0: any age */
        struct bld_list filters; /* "KEY=VALUE", "KEY!=VALUE", "KEY~=REGEX", "KEY": docs/cli.md */
};
/* {freed, blobs, results, snapshots, images, other} */
BLD_API int bld_prune(struct bld *b, const struct bld_prune_opts *o, char **ret_json,
                      struct bld_err *err);

#ifdef __cplusplus
}
#endif
#endif
