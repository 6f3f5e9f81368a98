/* One file of an image, for as little as it takes: to look into os-release or a config file of an
 * image in a registry, nobody has to download it. */
#ifndef BLD_FILE_H
#define BLD_FILE_H

#include "bld/layer.h"
#include "bld/open.h"
#include "bld/session.h"

#ifdef __cplusplus
extern "C" {
#endif

struct bld_file_opts {
        size_t size;
        /* Give out nothing before the whole layer that holds the file was read and its digest
         * checked; the content is held in an unlinked file in $TMPDIR. */
        bool verify;
        const struct bld_watch *watch; /* borrowed for the call */
};
/* Filled by the call, whose caller sets size. */
struct bld_file_got {
        size_t size;
        size_t layer; /* of the image, where it was found */
        uint64_t bytes;
        bool verified; /* the content was checked against the layer's digest: opts.verify */
};
/* The content of the file at path in the merged tree; symbolic links are followed inside of it.
 *
 * Where the store knows what a layer holds, and the layer's bytes can be had at random (a file, or
 * a blob with restart points in a registry that serves ranges), only the bytes around the file are
 * read. Otherwise layers are read from the top as streams until the path is settled, and the
 * connection is cut when the file was given out. Layers below are not asked for.
 *
 * What write got is good only when 0 is returned. o and ret may be NULL. Errors: NOT_FOUND;
 * INVALID: no regular file, a loop of links; as of bld_image_stream(). */
BLD_API int bld_file_read(struct bld_image *im, const char *path, const struct bld_file_opts *o,
                          bld_layer_write_fn write, void *user, struct bld_file_got *ret,
                          struct bld_err *err);

#ifdef __cplusplus
}
#endif

#endif
