/* Two images compared: files, layers, configuration. (Packages: packages.h.) */
#ifndef BLD_DIFF_H
#define BLD_DIFF_H

#include "bld/layer.h"
#include "bld/open.h"
#include "bld/session.h"
#include "bld/tree.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- files ---- */

enum bld_change_kind {
        BLD_CHANGE_ADDED = 1, /* only in B */
        BLD_CHANGE_DELETED,   /* only in A */
        BLD_CHANGE_MODIFIED,  /* content, target or device differ, attributes perhaps as well */
        BLD_CHANGE_TYPE,      /* a file here, a folder there */
        BLD_CHANGE_METADATA   /* only attributes differ */
};
/* What exactly differs of a path that both have, or'ed. */
enum bld_diff_what {
        BLD_DIFF_TYPE = 1,
        BLD_DIFF_CONTENT = 2, /* of files */
        BLD_DIFF_SIZE = 4,
        BLD_DIFF_LINK = 8, /* target of a symlink */
        BLD_DIFF_DEVICE = 16,
        BLD_DIFF_MODE = 32,
        BLD_DIFF_UID = 64,
        BLD_DIFF_GID = 128,
        BLD_DIFF_MTIME = 256, /* whole seconds; not of folders that no layer names */
        BLD_DIFF_XATTRS = 512,
        BLD_DIFF_LINKS = 1024 /* the set of names of a file with several */
};

/* Made by the library only, so it can grow at its end. */
struct bld_change {
        const char *path;
        enum bld_change_kind kind;
        unsigned what;        /* enum bld_diff_what; 0 for ADDED and DELETED */
        size_t before, after; /* nodes of the trees; BLD_NO_NODE where there is none */
        /* A hint: index of the change that has this file under its other name (an ADDED file for a
         * DELETED one of the same content, and the other way); BLD_NO_NODE: none. */
        size_t renamed;
        /* The images share layers that were not read (see `shared`), and what they hold at this
         * path decides between this answer and "modified" or "none". Where one image hides what
         * those layers may hold at a path, neither tree has a node: before and after are
         * BLD_NO_NODE, and METADATA with no bit of `what` is a folder whose content one image
         * hides. */
        bool unsure;
};

enum bld_diff_shared {
        /* Layers both images begin with are read where that costs no download. */
        BLD_DIFF_SHARED_LOCAL,
        BLD_DIFF_SHARED_READ,
        BLD_DIFF_SHARED_SKIP
};
struct bld_diff_opts {
        size_t size;
        unsigned ignore; /* enum bld_diff_what: differences that do not count */
        /* Patterns as of .dockerignore: only paths that match one of `only` (or are below such a
         * path), none that match one of `exclude`. */
        struct bld_list only, exclude;
        enum bld_diff_shared shared;
        bool no_renames;
        /* Borrowed for the call, and only asked whether to stop: what is read is told to the
         * watches of the images. */
        const struct bld_watch *watch;
};
/* Threads: one at a time. */
struct bld_diff;
/* Compares the merged trees of two images; both must outlive the result. Every file both have under
 * one path is compared by content: equal means equal bytes. o may be NULL.
 * What is trusted: equal digests of blobs, always. A diff ID, which is the word of an image's
 * config: where it names a layer of both images and not both blobs are at hand, or SHARED_SKIP
 * leaves them out, the layer is one and read once at most; and where it names a layer whose entries
 * the store knows, and whose bytes would be a download that is not asked for. Of what is read, the
 * bytes count: CORRUPT where they come after the config's word was taken, and break it. */
BLD_API int bld_diff(struct bld_image *a, struct bld_image *b, const struct bld_diff_opts *o,
                     struct bld_diff **ret, struct bld_err *err);
BLD_API void bld_diff_free(struct bld_diff *d); /* NULL is fine */
/* Changes in the order of a sorted walk. */
BLD_API size_t bld_diff_count(const struct bld_diff *d);
BLD_API const struct bld_change *bld_diff_change(const struct bld_diff *d, size_t i);
/* The trees it compared; the result's own. */
BLD_API struct bld_tree *bld_diff_tree_a(struct bld_diff *d);
BLD_API struct bld_tree *bld_diff_tree_b(struct bld_diff *d);

/* Write the changes as a layer: applied to A it gives B (in all that was not ignored or left out),
 * times of folders included. Deterministic: the bytes depend on the two trees, not on their layers.
 * An entry is B's in full, what was ignored as well; a folder that only holds changes stays as it
 * is in A. What was left out is not touched, unless it is below something that goes, or no folder
 * where one is needed; a hard link to it becomes a file of its own. All extended attributes that a
 * layer may hold are written, o->all_xattrs is not looked at. Contents that come in another order
 * than they are written in wait in an unlinked file in $TMPDIR.
 * UNSUPPORTED where a change is unsure, or a folder's attributes are in layers that were not read.
 * o and ret may be NULL. */
BLD_API int bld_diff_patch(struct bld_diff *d, const struct bld_output *out,
                           const struct bld_layer_create_opts *o, struct bld_layer_created *ret,
                           struct bld_err *err);

/* ---- layers and what they cost ---- */

/* Filled by the call, whose caller sets size. Blobs are told by their digest, and one that comes
 * several times counts once in the bytes; a layer without a digest (of a folder) is the same as one
 * of the same diff ID. The config is a blob of its own. */
struct bld_pull_cost {
        size_t size;
        uint64_t bytes;  /* blobs (layers and config) of B a node lacks that has all of A */
        uint64_t total;  /* all blobs of B */
        size_t shared;   /* layers of B that A has, too */
        size_t changed;  /* layers of B that A lacks */
        size_t same_tar; /* of the changed: A has the same diff ID, compressed in another way */
        size_t prefix;   /* layers both begin with: the same blob or the same diff ID */
};
BLD_API int bld_pull_cost(struct bld_image *a, struct bld_image *b, struct bld_pull_cost *ret,
                          struct bld_err *err);

/* ---- configuration ---- */

enum bld_config_ignore {
        BLD_CONFIG_HISTORY = 1,
        BLD_CONFIG_CREATED = 2, /* times, of the history's entries as well */
        BLD_CONFIG_LABELS = 4,
        BLD_CONFIG_LAYERS = 8, /* rootfs.diff_ids */
};
/* Made by the library only. field is a member of the document ("architecture") or of its `config`
 * ("Env"; these begin with a capital letter), "rootfs.NAME", "rootfs.diff_ids" and "history"; an
 * unknown member that could be taken for one of the other level has its path: ".config.name",
 * ".Name". key: the variable of Env, name in Labels, ExposedPorts, Volumes and Healthcheck,
 * position from 0 in history and diff_ids; else NULL. Env with key NULL: the variables both have
 * come in another order, which before and after list. */
struct bld_config_change {
        const char *field;
        const char *key;
        /* The text of a string; of anything else (and of both, where only one is a string) compact
         * JSON with sorted names. NULL: absent. */
        const char *before, *after;
};
struct bld_config_diff;
/* Every member is compared, those nobody knows as well. For the members image-spec and Docker know,
 * absent is the same as null, "", false, 0 and an empty list or object, as for whoever runs the
 * image. An image without a config (a folder, a layer) is as one with an empty config. CORRUPT for
 * what is no config, LIMIT for one beyond 8 MiB. */
BLD_API int bld_config_diff(struct bld_image *a, struct bld_image *b, unsigned ignore,
                            struct bld_config_diff **ret, struct bld_err *err);
BLD_API size_t bld_config_diff_count(const struct bld_config_diff *d);
/* In an order that depends on the documents only; NULL beyond the last. */
BLD_API const struct bld_config_change *bld_config_diff_change(const struct bld_config_diff *d,
                                                               size_t i);
BLD_API void bld_config_diff_free(struct bld_config_diff *d); /* NULL is fine */

#ifdef __cplusplus
}
#endif

#endif
