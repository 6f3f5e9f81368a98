/* The inside of `struct bld_image`, for the files that open one. */
#ifndef LIB_OPEN_STATE_PRIV_H
#define LIB_OPEN_STATE_PRIV_H

#include <pthread.h>

#include "builder/transport.h"
#include "lib/open_priv.h"

struct lib_layer_texts {
        char digest[DIGEST_STR_MAX], diff_id[DIGEST_STR_MAX];
};

struct bld_image {
        struct bld *b;         /* NULL: none was needed */
        struct bd_look *look;  /* what has a manifest, or nearly; else NULL */
        struct bld_layer *own; /* of a folder */
        int file;              /* a layer alone; else -1 */
        char *name;
        char digest[DIGEST_STR_MAX];
        struct lib_layer_ref *v;
        struct lib_layer_texts *texts;
        struct ly_toc **tocs; /* the store's, once asked for */
        size_t n;
        bool from_file;          /* that the caller named: what does not decode is its fault */
        bool one_of_many;        /* a layer chosen by its number: the documents are not its own */
        struct ly_limits limits; /* of a layer */
        const struct bld_watch *watch;
        pthread_mutex_t watch_lock; /* serialises the watch's progress */
};

/* In what follows o is ours: of full size, never NULL. */

/* An image with room for n layers, numbered from 0. */
int lib_image_new(const char *name, size_t n, const struct bld_image_open_opts *o,
                  struct bld_image **ret, struct bld_err *err) MUST_CHECK;
DEFINE_AUTO_PTR(struct bld_image, bld_image_close);
/* Layer i is that one, whole. */
void lib_image_set_layer(struct bld_image *im, size_t i, struct bld_layer *l);

int lib_image_open_dir(int dir_fd, const struct bld_image_open_opts *o, struct bld_image **ret,
                       struct bld_err *err) MUST_CHECK;

/* ---- open_path.c ---- */

/* Does ref mean a path (of a folder or file) and not a name? */
bool lib_is_path(const char *ref);
int lib_open_path(struct bld *b, const char *path, const struct bld_image_open_opts *o,
                  struct bld_image **ret, struct bld_err *err) MUST_CHECK;
/* By the grammar of places. */
int lib_open_place(struct bld *b, const char *text, const struct bld_image_open_opts *o,
                   struct bld_image **ret, struct bld_err *err) MUST_CHECK;

#endif
