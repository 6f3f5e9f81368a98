/* Images made from images: config changed, layers put on top, merged or moved to another base.
 * Nothing is executed, and blobs that stay the same are neither read nor sent where source and
 * result are in one place. No clock is read: equal inputs give equal digests. docs/edit.md. */
#ifndef BLD_EDIT_H
#define BLD_EDIT_H

#include "bld/session.h"

#ifdef __cplusplus
extern "C" {
#endif

struct bld_edit_opts {
        size_t size;
        const char *platform; /* of an index; NULL: every image in it, and the result is an index */
        /* Where the result goes: a place as of bld_copy(); without a transport: a name where src is
         * (a registry), else in the store. NULL: where src is, under no name but its digest; not
         * for archives and daemons (USAGE). */
        const char *dst;
        const char *codec; /* of new layers: "gzip", "zstd", "none"; NULL: gzip */
        const struct bld_watch *watch;
        /* Times of the config, of new history entries and (as an upper limit) of files in layers
         * that are made; without it the config's stay and the entries have none. */
        bool has_epoch;
        int64_t epoch_sec;
        int in_fd;     /* what "-" stands for: src as an archive, or one layer */
        bool untagged; /* dst is a repository: nothing in it gets a new tag */
};
/* *ret_json: {ref, name, digest, mediaType, size, changed} and of an image {platform, config,
 * diffIds, layers: [{digest, size, mediaType, new}]}, of an index {manifests: [the same per
 * image]}. */

struct bld_mutate_opts {
        size_t size;
        const struct bld_edit_opts *edit;         /* NULL: all of it by default */
        struct bld_list env, labels, annotations; /* "KEY=VALUE"; "KEY=" sets it empty */
        struct bld_list unset_env, unset_labels;  /* "KEY" */
        struct bld_list exposed;                  /* "80", "80/tcp", "8000-8010/udp" */
        /* Then the lists count, empty ones as well. An entrypoint takes the old command away. */
        bool has_entrypoint, has_cmd;
        struct bld_list entrypoint, cmd;
        const char *user, *workdir; /* NULL: as it is */
        const char *set_platform;   /* os/arch[/variant] the config claims; NULL: as it is */
        struct bld_list append;     /* layers as of bld_append() */
};
BLD_API int bld_mutate(struct bld *b, const char *src, const struct bld_mutate_opts *o,
                       char **ret_json, struct bld_err *err);

struct bld_append_opts {
        size_t size;
        const struct bld_edit_opts *edit; /* NULL: all of it by default */
        bool base_annotations; /* note src as org.opencontainers.image.base.name and .digest */
};
/* Layers put on top: files (tar, plain or compressed with gzip or zstd; MALFORMED for what is
 * no sound layer), "-", or folders as trees. A compressed file goes in byte for byte. src NULL or
 * "scratch": on nothing. */
BLD_API int bld_append(struct bld *b, const char *src, const struct bld_list *layers,
                       const struct bld_append_opts *o, char **ret_json, struct bld_err *err);
/* All layers as one; from: layers below this number stay as they are (squash). */
BLD_API int bld_flatten(struct bld *b, const char *src, size_t from, const struct bld_edit_opts *o,
                        char **ret_json, struct bld_err *err);
/* The layers of src above those of old_base, on new_base. NULL: as the annotations of src say.
 * POLICY where src does not begin with the layers of old_base. What src's config has from its old
 * base (a variable, a label, an entrypoint) becomes the new base's; what it set itself stays. */
BLD_API int bld_rebase(struct bld *b, const char *src, const char *old_base, const char *new_base,
                       const struct bld_edit_opts *o, char **ret_json, struct bld_err *err);

#ifdef __cplusplus
}
#endif

#endif
