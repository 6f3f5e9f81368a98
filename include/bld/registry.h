/* Registries, and images wherever they are. A place is "transport:reference" (docs/cli.md,
 * "Places"): docker://, store:, oci:, oci-archive:, docker-archive:, docker-daemon:. What is read
 * without a transport is looked for in the store, then, where the name says its registry, there;
 * what is written, and the source of a copy, is a registry's. Digests of manifests, indexes and
 * configs name images, and so do their first digits (six at least) where the place can be searched.
 * JSON results: docs/cli.md. */
#ifndef BLD_REGISTRY_H
#define BLD_REGISTRY_H

#include "bld/image.h"
#include "bld/session.h"

#ifdef __cplusplus
extern "C" {
#endif

struct bld_copy_opts {
        size_t size;
        const char *platform; /* NULL: all there is */
        bool all_tags;
        const char *tag_filter; /* glob, or /regular expression/ */
        bool referrers;         /* signatures, SBOMs and the like, too */
        bool skip_existing;
        bool if_changed;       /* one look where the name is this image already */
        bool preserve_digests; /* POLICY where one would change */
        bool dry_run;
        struct bld_list convert; /* "oci", "docker", "gzip", "zstd", "none" */
        bool force_compression;
        int in_fd, out_fd; /* for "-" */
        bld_progress_fn progress;
        void *user;
};
/* ret_json: array of {name, digest, status: copied|unchanged|skipped, uploaded, present}; set also
 * when a later name failed, NULL when there is nothing to tell. */
BLD_API int bld_copy(struct bld *b, const char *src, const char *dst, const struct bld_copy_opts *o,
                     char **ret_json, struct bld_err *err);

/* Array of strings, sorted. repo may be a layout or an archive ("oci:FOLDER"): the names of the
 * images in it. */
BLD_API int bld_tags(struct bld *b, const char *repo, char **ret_json, struct bld_err *err);
BLD_API int bld_catalog(struct bld *b, const char *host, char **ret_json, struct bld_err *err);
/* Digest of what a place names; platform: of an index. */
BLD_API int bld_digest(struct bld *b, const char *ref, const char *platform,
                       char ret_digest[BLD_DIGEST_SIZE], struct bld_err *err);
/* The document a place names, byte for byte. */
BLD_API int bld_manifest_get(struct bld *b, const char *ref, const char *platform, char **ret,
                             size_t *ret_len, struct bld_err *err);
/* Put a document under a tag or digest of a registry. media_type NULL: what it says itself. */
BLD_API int bld_manifest_put(struct bld *b, const char *ref, const char *media_type,
                             const void *text, size_t len, char ret_digest[BLD_DIGEST_SIZE],
                             struct bld_err *err);
/* "REPO@DIGEST" to out_fd, verified as it streams: good only when this returned 0. path NULL or
 * "-": out_fd; else a file that appears whole. */
BLD_API int bld_blob_get(struct bld *b, const char *ref, const char *path, int out_fd,
                         struct bld_err *err);
/* A file ("-": in_fd) into a repository. */
BLD_API int bld_blob_put(struct bld *b, const char *repo, const char *path, int in_fd,
                         char ret_digest[BLD_DIGEST_SIZE], struct bld_err *err);
/* Array of {digest, mediaType, artifactType, size, annotations}. artifact_type NULL: every one. */
BLD_API int bld_referrers(struct bld *b, const char *ref, const char *artifact_type,
                          char **ret_json, struct bld_err *err);
/* One more tag in the registry for what is there, without moving blobs. */
BLD_API int bld_tag_remote(struct bld *b, const char *ref, const char *tag,
                           char ret_digest[BLD_DIGEST_SIZE], struct bld_err *err);

/* ---- indexes ---- */

struct bld_index_opts {
        size_t size;
        struct bld_list platforms;   /* keep these only; annotate: whose entries */
        struct bld_list annotations; /* "K=V", "index:K=V", "manifest-descriptor[PLATFORM]:K=V" */
        bool dry_run;
        bool plain; /* create: one source stays what it is, an index is not put around it */
        bld_progress_fn progress;
        void *user;
};
/* Put an index over all that the sources are (their entries, where they are indexes) under each
 * name. ret_json: the document. */
BLD_API int bld_index_create(struct bld *b, const struct bld_list *names,
                             const struct bld_list *sources, const struct bld_index_opts *o,
                             char **ret_json, char ret_digest[BLD_DIGEST_SIZE],
                             struct bld_err *err);
/* The same on an index that exists: add; remove by digest (or beginning) or platform; annotate. */
BLD_API int bld_index_append(struct bld *b, const char *name, const struct bld_list *sources,
                             const struct bld_index_opts *o, char **ret_json,
                             char ret_digest[BLD_DIGEST_SIZE], struct bld_err *err);
BLD_API int bld_index_remove(struct bld *b, const char *name, const struct bld_list *members,
                             const struct bld_index_opts *o, char **ret_json,
                             char ret_digest[BLD_DIGEST_SIZE], struct bld_err *err);
BLD_API int bld_index_annotate(struct bld *b, const char *name, const struct bld_index_opts *o,
                               char **ret_json, char ret_digest[BLD_DIGEST_SIZE],
                               struct bld_err *err);

/* ---- credentials ---- */

/* Ask the registry whether it takes them (DENIED), then keep them. ret_where: the file or helper.
 */
BLD_API int bld_login(struct bld *b, const char *host, const char *user, const char *password,
                      char **ret_where, struct bld_err *err);
/* host NULL: all. ret_json: array of names that were forgotten. */
BLD_API int bld_logout(struct bld *b, const char *host, char **ret_json, struct bld_err *err);
/* The user whose credentials would be used. NOT_FOUND. */
BLD_API int bld_login_user(struct bld *b, const char *host, char **ret_user, struct bld_err *err);
/* Where credentials for an image or host are looked for, and what is found; a line per place. */
BLD_API int bld_login_explain(struct bld *b, const char *ref, char **ret_text, struct bld_err *err);

#ifdef __cplusplus
}
#endif
#endif
