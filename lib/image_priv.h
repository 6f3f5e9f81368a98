/* Shared by the calls about images. */
#ifndef LIB_IMAGE_PRIV_H
#define LIB_IMAGE_PRIV_H

#include "builder/builder.h"

struct bld;

/* Documents and compressed layers. */
int64_t lib_image_bytes(const struct bd_image *im);
/* A name that is to be given: "app" -> "docker.io/library/app:latest". Malloc'ed. */
int lib_full_name(const char *s, char **ret, struct bld_err *err) MUST_CHECK;
/* A place, with what is meant where no transport is named. */
int lib_place(const char *s, enum img_at dflt, struct img_place *ret,
              struct bld_err *err) MUST_CHECK;
/* Is it gzip, zstd, none (or NULL)? USAGE. */
int lib_codec(const char *s, struct bld_err *err);
/* What a copy did, as the calls tell it. */
struct bd_copieds;
int lib_copied_json(const struct bd_copieds *done, char **ret, struct bld_err *err) MUST_CHECK;
/* Store first; a name that says its registry ("docker://...", "host:5000/app") is asked for there,
 * documents only. *ret_root: what the name stands for. */
int lib_image_open(struct bld *b, const char *ref, const struct img_platform *platform,
                   struct bd_image *ret, struct img_desc *ret_root, struct bld_err *err) MUST_CHECK;

#endif
