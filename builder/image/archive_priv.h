/* Files that exporters write: they appear whole or not at all. */
#ifndef BUILDER_ARCHIVE_PRIV_H
#define BUILDER_ARCHIVE_PRIV_H

#include "builder/builder.h"
#include "layer/layer.h"

/* ---- where bytes go: "-" (a given fd), a file made beside its name and renamed at the end, or a
 * device, FIFO or socket that is written as it is ---- */

struct bd_dest {
        const char *path; /* borrowed; NULL when it is an fd */
        char *tmp;        /* NULL: written in place */
        int fd;
        bool owned;
        const struct cancel *cancel;
};
int bd_dest_open(struct bd_ctx *c, const char *dest, int out_fd, struct bd_dest *ret,
                 struct bld_err *err) MUST_CHECK;
struct ly_sink bd_dest_sink(struct bd_dest *d);
/* Make it durable and give it its name. */
int bd_dest_commit(struct bd_dest *d, struct bld_err *err) MUST_CHECK;
void bd_dest_done(struct bd_dest *d); /* removes what was not committed */

/* A fresh name beside path: "<path>.<16 hex><suffix>", malloc'ed. */
int bd_temp_name(const char *path, const char *suffix, char **ret, struct bld_err *err) MUST_CHECK;

/* ---- what goes into a layout ---- */

struct bd_blob_list {
        struct img_descs docs;  /* manifests and indexes */
        struct img_descs blobs; /* configs, then layers; each once */
};
void bd_blob_list_done(struct bd_blob_list *l);
/* All that the images reach, missing blobs fetched. */
int bd_blob_list_make(struct bd_ctx *c, const struct bd_saved *v, size_t n,
                      struct bd_blob_list *ret, struct bld_err *err) MUST_CHECK;
/* Entries of index.json: one per name, or one without a name. */
int bd_index_entries(const struct bd_saved *v, size_t n, struct img_descs *ret,
                     struct bld_err *err) MUST_CHECK;
/* No two entries with one ref.name. */
int bd_index_unique(struct img_descs *list, struct bld_err *err) MUST_CHECK;
/* "blobs/sha256/<hex>" */
#define BD_BLOB_PATH_MAX (16 + DIGEST_HEX_MAX)
void bd_blob_path(const struct digest *d, char out[BD_BLOB_PATH_MAX]);

/* ---- emit_docker.c: the documents that make a layout an archive docker can load ---- */
int bd_docker_documents(struct bd_ctx *c, const struct bd_saved *v, size_t n, struct sb *manifest,
                        struct sb *repositories, struct bld_err *err) MUST_CHECK;

/* ---- emit_oci.c ---- */
int bd_write_layout_dir(struct bd_ctx *c, const struct bd_saved *v, size_t n, const char *dest,
                        struct bld_err *err) MUST_CHECK;

/* ---- emit_tar.c: the trees of an image's platforms ---- */

/* One platform's chain, and the folder it goes to when there are several ("linux_amd64"). */
struct bd_tree_part {
        struct bd_layers layers;
        char folder[160];
        bool at_root; /* it has no folder; where several have none, no file may be in two */
};
VEC_DEFINE(bd_tree_parts, struct bd_tree_part);
void bd_tree_parts_free(struct bd_tree_parts *a);
int bd_tree_parts_make(struct bd_ctx *c, const struct bd_export *x, struct bd_tree_parts *ret,
                       struct bld_err *err) MUST_CHECK;
/* All parts as one tar stream. */
int bd_flatten_parts(struct bd_ctx *c, const struct bd_tree_parts *parts, bool clamp,
                     int64_t clamp_sec, const struct ly_sink *tar, struct bld_err *err) MUST_CHECK;

#endif
