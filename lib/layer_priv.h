#ifndef LIB_LAYER_PRIV_H
#define LIB_LAYER_PRIV_H

#include <stdatomic.h>

#include "bld/layer.h"
#include "layer/layer.h"
#include "lib/opts_priv.h"

struct bld_layer {
        int fd; /* ours */
        uint64_t file_size;
        struct ly_toc *toc;
        struct bld_layer_entry *v; /* toc->n of them */
        size_t *by_path;           /* their indexes, once [toc->n] says that they are in order */
        struct ly_blob_reader *reader;
        char diff_id[DIGEST_STR_MAX], digest[DIGEST_STR_MAX];
};

/* ---- watch.c ---- */

/* Before the work: USAGE when its size is not set, UNSUPPORTED when it asks for what we do not
 * know. w may be NULL, as everywhere. */
int lib_watch_known(const struct bld_watch *w, struct bld_err *err) MUST_CHECK;
/* CANCELLED when it says stop. */
int lib_watch_check(const struct bld_watch *w, struct bld_err *err) MUST_CHECK;
bool lib_watch_asks(const struct bld_watch *w); /* whether there is something to ask */
bool lib_watch_stop(const struct bld_watch *w);
void lib_watch_step(const struct bld_watch *w, const char *what, uint64_t done, uint64_t total);

/* ---- sources ---- */

/* What a caller gives to read; on its own thread or another. */
struct lib_input {
        struct bld_input in;
        const struct bld_watch *watch;
        uint64_t done;
        atomic_bool unwanted; /* reads end with CANCELLED */
};
/* USAGE when it is neither. */
int lib_input_init(struct lib_input *x, const struct bld_input *in, const struct bld_watch *watch,
                   struct bld_err *err) MUST_CHECK;
struct ly_source lib_input_source(struct lib_input *x);

/* An entry as callers see it; ret borrows from e. */
void lib_entry(const struct ly_entry *e, size_t index, struct bld_layer_entry *ret);
enum ly_codec lib_codec_of(enum bld_layer_codec c);
/* As of lib_ret_put(). */
void lib_created_put(const struct ly_packed *p, struct bld_layer_created *ret);

/* What a layer was to have, if anything: CORRUPT where it has another, UNSUPPORTED for a sum of
 * another kind than the one that was made. */
int lib_check_digest(const struct digest *want, const struct digest *have, const char *what,
                     struct bld_err *err) MUST_CHECK;

/* The current entry of a stream, or NULL. */
const struct ly_entry *lib_stream_entry(const struct bld_layer_stream *s);

/* A file read from its start, whatever its position. */
struct lib_pread {
        int fd;
        int64_t off;
};
struct ly_source lib_pread_source(struct lib_pread *p);

/* ---- layer_create.c ---- */

/* The tree below dir_fd into a file. ret_toc may be NULL. */
int lib_tree_layer(int dir_fd, int out_fd, const struct bld_layer_create_opts *o,
                   struct ly_packed *ret, struct ly_toc **ret_toc, struct bld_err *err) MUST_CHECK;
/* What was just made is open as a layer; takes both. */
int lib_layer_made(int *fd, const struct ly_packed *p, struct ly_toc **toc, struct bld_layer **ret,
                   struct bld_err *err) MUST_CHECK;
/* bld_layer_open_dir(), watched. */
int lib_layer_open_dir(int dir_fd, const struct bld_watch *watch, struct bld_layer **ret,
                       struct bld_err *err) MUST_CHECK;
/* In $TMPDIR, without a name; -1 and errno. */
int lib_unlinked_file(void) MUST_CHECK;

/* ---- layer_owners.c: owners recorded beside a tree ---- */

/* Where the owners of links and pipes are, at the root of the tree: they take no attributes. */
#define LIB_OWNERS ".bld.owners"
struct lib_owners {
        struct owner_table table;
        bool there; /* the file */
        uint64_t dev, ino;
        int64_t changed_ns;
};
#define AUTO_OWNERS AUTO(lib_owners_done)
int lib_owners_load(struct lib_owners *o, int dir_fd, struct bld_err *err) MUST_CHECK;
/* INVALID when what was unpacked since has a file of that name. */
int lib_owners_save(struct lib_owners *o, int dir_fd, struct bld_err *err) MUST_CHECK;
void lib_owners_done(struct lib_owners *o); /* of a zeroed one, too */

/* ---- layer_pipe.c: a layer's tar as a source, decompressed by a thread ---- */

struct lib_untar;
/* in is read by the thread. unwanted, when given, is set when the reader goes before the end: in is
 * to fail then. */
int lib_untar_new(const struct ly_source *in, atomic_bool *unwanted, const struct ly_limits *lim,
                  struct lib_untar **ret, struct bld_err *err) MUST_CHECK;
struct ly_source lib_untar_source(struct lib_untar *u);
/* After the source's end: 0 and the diff ID. */
int lib_untar_end(struct lib_untar *u, struct digest *ret_diff_id, struct bld_err *err) MUST_CHECK;
void lib_untar_free(struct lib_untar *u); /* joins */
DEFINE_AUTO_PTR(struct lib_untar, lib_untar_free);

#endif
