/* Images made from images: config changed, layers put on top, merged or moved to another base.
 * Nothing is executed, and blobs that stay the same are neither read nor sent. */
#ifndef BLD_EDIT_H
#define BLD_EDIT_H

#include "bld/session.h"

#ifdef __cplusplus
extern "C" {
#endif

struct bld_edit_opts {
        size_t size;
        const char *platform; /* of an index; NULL: this machine's */
        /* Where the result goes: a place as of bld_copy(); without a transport: a name in the
         * store. NULL: where src is, under its own name. */
        const char *dst;
        const char *codec; /* of new layers: "gzip", "zstd", "none"; NULL: gzip */
        const struct bld_watch *watch;
        /* The first two follow SOURCE_DATE_EPOCH of the environment only when the caller says so.
         */
        bool has_epoch;
        int64_t epoch_sec; /* of the config, the history and new layers */
};
/* *ret_json: {name, digest, mediaType, size, config: {digest}, layers: [...]} of the result. */

struct bld_mutate_opts {
        size_t size;
        const struct bld_edit_opts *edit;         /* NULL: all of it by default */
        struct bld_list env, labels, annotations; /* "KEY=VALUE"; "KEY=" sets it empty */
        struct bld_list unset_env, unset_labels;  /* "KEY" */
        struct bld_list exposed;                  /* "80/tcp" */
        bool has_entrypoint, has_cmd;             /* then the lists count, empty ones as well */
        struct bld_list entrypoint, cmd;
        const char *user, *workdir; /* NULL: as it is */
        const char *set_platform;   /* os/arch[/variant] the config claims; NULL: as it is */
        struct bld_list append;     /* layers as files, plain or compressed */
};
BLD_API int bld_mutate(struct bld *b, const char *src, const struct bld_mutate_opts *o,
                       char **ret_json, struct bld_err *err);
/* Layers (files, plain or compressed; a folder as a tree) put on top. src NULL or "scratch": on
 * nothing. */
BLD_API int bld_append(struct bld *b, const char *src, const struct bld_list *layers,
                       const struct bld_edit_opts *o, char **ret_json, struct bld_err *err);
/* All layers as one; from: layers below this number stay as they are (squash). */
BLD_API int bld_flatten(struct bld *b, const char *src, size_t from, const struct bld_edit_opts *o,
                        char **ret_json, struct bld_err *err);
/* The layers of src above those of old_base, on new_base. old_base NULL: as the annotations of src
 * say. POLICY where src does not begin with the layers of old_base. */
BLD_API int bld_rebase(struct bld *b, const char *src, const char *old_base, const char *new_base,
                       const struct bld_edit_opts *o, char **ret_json, struct bld_err *err);

#ifdef __cplusplus
}
#endif

#endif
