/* One image opened for reading, wherever it is: its documents at once, its layers as streams or to
 * be read at random. Nothing is downloaded, copied or unpacked that is not asked for. */
#ifndef BLD_OPEN_H
#define BLD_OPEN_H

#include "bld/layer.h"
#include "bld/session.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Made by one of the calls below. Threads: one at a time per image; different images, of one
 * session too, are independent. What it returns by pointer lives as long as it does. */
struct bld_image;

struct bld_image_open_opts {
        size_t size;
        const char *platform;          /* of an index; NULL: this machine's */
        const struct bld_watch *watch; /* borrowed until bld_image_close() */
        uint64_t max_bytes;            /* of one layer, uncompressed; 0: 64 GiB */
        uint64_t max_entries;          /* of one layer; 0: 5 million */
        int in_fd;                     /* for an archive named "-" */
};
/* ref: a name in the store or a registry, "docker://", "oci:", "oci-archive:", "docker-archive:"
 * and the other places docs/registry.md lists; "dir:FOLDER" or a path that begins with '/', './' or
 * '../' and is a folder without an OCI layout in it, which is a root file system as one layer; a
 * path that is a file: an archive of an image, or a layer alone (told by content); the ID of a
 * build's record or ID:STEP ("deps 2/4"; "deps", its last; "2" of the last stage), which is the
 * layers up to there (a build in which nothing ran leaves no record); and any of them followed by
 * "#N": its layer N alone, from 0, negative from the top ("#-1"). o may be NULL. Errors: NOT_FOUND,
 * DENIED, NETWORK, CORRUPT, INVALID; MALFORMED: a file that is no sound image or layer, here and
 * in all that is read of it (elsewhere CORRUPT). */
BLD_API int bld_image_open(struct bld *b, const char *ref, const struct bld_image_open_opts *o,
                           struct bld_image **ret, struct bld_err *err);
/* The tree below a folder, one layer and no config. Needs no session; dir_fd is duplicated. */
BLD_API int bld_image_open_dir(int dir_fd, const struct bld_image_open_opts *o,
                               struct bld_image **ret, struct bld_err *err);
/* Layers as an image without config, bottom first; borrowed until bld_image_close(). Needs no
 * session. */
BLD_API int bld_image_of_layers(struct bld_layer *const *v, size_t n, struct bld_image **ret,
                                struct bld_err *err);
BLD_API void bld_image_close(struct bld_image *im); /* NULL is fine */

/* The name it was opened by. */
BLD_API const char *bld_image_name(const struct bld_image *im);
/* Of the manifest; NULL where there is none (folders, layers alone). */
BLD_API const char *bld_image_digest(const struct bld_image *im);
/* The documents, byte for byte, NUL-terminated; NULL (and *ret_len 0) where there is none. ret_len
 * may be NULL. */
BLD_API const char *bld_image_manifest(const struct bld_image *im, size_t *ret_len);
BLD_API const char *bld_image_config(const struct bld_image *im, size_t *ret_len);

/* Made by the library only, so it can grow at its end. */
struct bld_layer_info {
        const char *digest;     /* of the blob; NULL: none (a folder) */
        const char *diff_id;    /* NULL: not known before the layer was read */
        const char *media_type; /* NULL: none */
        uint64_t blob_size;     /* bytes to transfer */
        const char *created_by; /* from the history, where that pairs with the layers; else NULL */
        size_t number;          /* in the image, from 0: what "#N" names */
};
BLD_API size_t bld_image_layers(const struct bld_image *im);
/* NULL beyond the last. */
BLD_API const struct bld_layer_info *bld_image_layer(const struct bld_image *im, size_t i);

/* One layer from its start, as it comes: a registry's is read off the connection, which is cut when
 * the stream is closed early. Its digest and diff ID are checked by bld_layer_stream_end(). The
 * stream must be closed before the image. */
BLD_API int bld_image_stream(struct bld_image *im, size_t i, struct bld_layer_stream **ret,
                             struct bld_err *err);

/* Unpack all layers below dir_fd, whiteouts applied, digests and diff IDs checked. As of
 * bld_layer_apply(); the members diff_id and form are not looked at. */
BLD_API int bld_image_apply(struct bld_image *im, int dir_fd, const struct bld_layer_apply_opts *o,
                            struct bld_layer_applied *ret, struct bld_err *err);

#ifdef __cplusplus
}
#endif

#endif
