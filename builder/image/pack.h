/* Layers made in the store. */
#ifndef BUILDER_PACK_H
#define BUILDER_PACK_H

#include "builder/builder.h"
#include "layer/layer.h"

/* "gzip", "zstd", "none". USAGE. */
int bd_codec_parse(const char *s, enum ly_codec *ret, struct bld_err *err) MUST_CHECK;

struct bd_packer;
int bd_packer_new(struct bd_ctx *c, const struct ly_pack_opts *o, struct bd_packer **ret,
                  struct bld_err *err) MUST_CHECK;
/* Takes the layer's tar; ends when the context is cancelled. */
struct ly_sink bd_packer_tar(struct bd_packer *p);
/* Publish the blob. Sets diff ID, descriptor and size of the tar. */
int bd_packer_end(struct bd_packer *p, struct bd_layer *ret, struct bld_err *err) MUST_CHECK;
void bd_packer_free(struct bd_packer *p); /* drops what was not published */
DEFINE_AUTO_PTR(struct bd_packer, bd_packer_free);

#endif
