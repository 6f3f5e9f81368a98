#ifndef LIB_LAYER_PRIV_H
#define LIB_LAYER_PRIV_H

#include "bld/layer.h"
#include "layer/layer.h"
#include "lib/opts_priv.h"

struct bld_layer {
        int fd; /* ours */
        struct ly_toc *toc;
        struct bld_layer_entry *v; /* toc->n of them */
        struct digest *content;    /* of each file, once asked for; else NULL */
        struct ly_blob_reader *reader;
        char diff_id[DIGEST_STR_MAX], digest[DIGEST_STR_MAX];
};

/* A file read from its start, whatever its position. */
struct lib_pread {
        int fd;
        int64_t off;
};
struct ly_source lib_pread_source(struct lib_pread *p);

/* ---- layer_pipe.c: a layer's tar as a source, decompressed by a thread ---- */

struct lib_untar;
/* from_start: fd is a regular file, read from offset 0 without moving its position. */
int lib_untar_new(int fd, bool from_start, const struct ly_limits *lim, struct lib_untar **ret,
                  struct bld_err *err) MUST_CHECK;
struct ly_source lib_untar_source(struct lib_untar *u);
/* After the source's end: 0 and the diff ID. */
int lib_untar_end(struct lib_untar *u, struct digest *ret_diff_id, struct bld_err *err) MUST_CHECK;
void lib_untar_free(struct lib_untar *u); /* joins */
DEFINE_AUTO_PTR(struct lib_untar, lib_untar_free);

#endif
