/* Image layers without a store: read, list, compare, unpack and make them. A layer is a tar, plain
 * or compressed with gzip or zstd (OCI image-spec, layer.md).
 *
 * Nothing here needs a session. What a layer returns by pointer lives as long as the layer.
 * Threads: one thread at a time per layer; different layers are independent. The calls may start
 * threads of their own and have joined them when they return. */
#ifndef BLD_LAYER_H
#define BLD_LAYER_H

#include "bld/session.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What a layer is, once all of it was written or read. Filled by the call, whose caller sets size.
 */
struct bld_layer_created {
        size_t size;
        uint64_t tar_size, file_size;                           /* uncompressed, and as it is */
        char diff_id[BLD_DIGEST_SIZE], digest[BLD_DIGEST_SIZE]; /* of the two */
        char media_type[64];
        char engine[32]; /* what compressed it: "isal-2", "libdeflate-6", "zstd-3"; or "" */
};

/* ---- reading ---- */

struct bld_layer;

struct bld_layer_open_opts {
        size_t size;
        uint64_t max_bytes;   /* uncompressed; 0: 64 GiB */
        uint64_t max_entries; /* 0: 5 million */
};
/* Read the layer in fd, a regular file, from its beginning, and keep the list of what is in it. fd
 * is duplicated; its content must stay. o may be NULL. CORRUPT for anything that is no sound layer.
 */
BLD_API int bld_layer_open(int fd, const struct bld_layer_open_opts *o, struct bld_layer **ret,
                           struct bld_err *err);
/* The tree below a folder as a layer of its own, held in an unlinked file in $TMPDIR. */
BLD_API int bld_layer_open_dir(int dir_fd, struct bld_layer **ret, struct bld_err *err);
BLD_API void bld_layer_close(struct bld_layer *l); /* NULL is fine */

BLD_API const char *bld_layer_diff_id(const struct bld_layer *l);    /* of the tar */
BLD_API const char *bld_layer_digest(const struct bld_layer *l);     /* of the file */
BLD_API const char *bld_layer_media_type(const struct bld_layer *l); /* OCI's name */
BLD_API uint64_t bld_layer_tar_size(const struct bld_layer *l);

enum bld_layer_type {
        BLD_LAYER_FILE,
        BLD_LAYER_DIR,
        BLD_LAYER_SYMLINK,
        BLD_LAYER_HARDLINK,
        BLD_LAYER_CHAR,
        BLD_LAYER_BLOCK,
        BLD_LAYER_FIFO,
        BLD_LAYER_WHITEOUT, /* path is removed from the layers below */
        BLD_LAYER_OPAQUE    /* so is all that is in the folder path */
};

/* size: of the struct as its maker knows it, so that it can grow at its end. */
struct bld_layer_entry {
        size_t size;
        const char *path; /* relative, clean; "" is the root */
        enum bld_layer_type type;
        unsigned mode; /* permission bits, 07777 */
        uint32_t uid, gid;
        uint64_t file_size;
        int64_t mtime_ns;
        const char *link; /* target of a symlink, path of a hard link's file; else NULL */
        uint32_t dev_major, dev_minor;
        size_t nxattrs;
        size_t index; /* of the entry in its layer */
};
/* Entries in the order of the stream; NULL beyond the last. */
BLD_API size_t bld_layer_count(const struct bld_layer *l);
BLD_API const struct bld_layer_entry *bld_layer_entry(const struct bld_layer *l, size_t i);
/* The entry that counts for a path (the last of that name), or NULL. Links are not followed. */
BLD_API const struct bld_layer_entry *bld_layer_find(const struct bld_layer *l, const char *path);
/* Extended attribute k of entry i; 0, or NOT_FOUND. The value may hold any bytes. */
BLD_API int bld_layer_xattr(const struct bld_layer *l, size_t i, size_t k, const char **ret_name,
                            const void **ret_value, size_t *ret_len, struct bld_err *err);

/* Takes n bytes; anything but 0 stops, and the call that gave the bytes returns CANCELLED. */
typedef int (*bld_layer_write_fn)(void *user, const void *p, size_t n);
/* The content of file i. */
BLD_API int bld_layer_read(struct bld_layer *l, size_t i, bld_layer_write_fn write, void *user,
                           struct bld_err *err);

/* ---- reading as a stream ---- */

/* Entries as they come, in constant memory; nothing is kept. */
struct bld_layer_stream;

struct bld_layer_stream_opts {
        size_t size;
        uint64_t max_bytes, max_entries; /* as above */
        /* Checked at the end when given: CORRUPT; UNSUPPORTED where it is no SHA-256. */
        const char *digest, *diff_id;
        const struct bld_watch *watch; /* borrowed until the stream is closed */
};
/* *in is copied, what it leads to must stay. No bytes at all are a layer without entries, which
 * Docker has written. o may be NULL. */
BLD_API int bld_layer_stream_open(const struct bld_input *in, const struct bld_layer_stream_opts *o,
                                  struct bld_layer_stream **ret, struct bld_err *err);
/* 1 and the next entry, which lives until the next call; 0 at the end. */
BLD_API int bld_layer_stream_next(struct bld_layer_stream *s, const struct bld_layer_entry **ret,
                                  struct bld_err *err);
/* Content of the current file: > 0 bytes, 0 at its end. What is not read is skipped. */
BLD_API int64_t bld_layer_stream_read(struct bld_layer_stream *s, void *p, size_t n,
                                      struct bld_err *err);
BLD_API int bld_layer_stream_xattr(const struct bld_layer_stream *s, size_t k,
                                   const char **ret_name, const void **ret_value, size_t *ret_len,
                                   struct bld_err *err);
/* Read what is left, check the digests, and say what it was. Without it nothing is proven: a stream
 * that is closed early was not verified. ret may be NULL. */
BLD_API int bld_layer_stream_end(struct bld_layer_stream *s, struct bld_layer_created *ret,
                                 struct bld_err *err);
BLD_API void bld_layer_stream_close(struct bld_layer_stream *s); /* NULL is fine */

/* ---- unpacking ---- */

enum bld_layer_form {
        BLD_LAYER_PLAIN,           /* whiteouts delete */
        BLD_LAYER_OVERLAY_TRUSTED, /* whiteouts as overlayfs wants them: device nodes 0:0 and */
        BLD_LAYER_OVERLAY_USER     /* trusted.overlay.opaque or user.overlay.opaque */
};
struct bld_layer_apply_opts {
        size_t size;
        enum bld_layer_form form;
        bool keep_owner;     /* needs the privilege to chown */
        bool all_xattrs;     /* else security.capability only */
        bool skip_devices;   /* device nodes that may not be made are left out, and counted */
        const char *diff_id; /* as of a stream */
        uint64_t max_bytes, max_entries;
        /* For who may not chown: owners, modes and devices are recorded, in the attribute
         * user.bld.o of files and folders and for links and pipes in the file .bld.owners at the
         * root (docs/layers.md), from which bld_layer_create() with recorded_owner takes them. On
         * the disk everything is the caller's, to read and to change. Not with keep_owner; plain
         * form only. */
        bool record_owner;
        const struct bld_watch *watch;
};
/* Filled by the call, whose caller sets size. */
struct bld_layer_applied {
        size_t size;
        uint64_t entries, bytes, skipped_devices, skipped_xattrs;
        bool opaque_root; /* an overlay's chain must begin with this layer */
};
/* Unpack the layer that fd yields (a pipe will do) below dir_fd. No name or link in it reaches
 * anything outside. On failure the folder holds a part of it. o and ret may be NULL. */
BLD_API int bld_layer_apply(int fd, int dir_fd, const struct bld_layer_apply_opts *o,
                            struct bld_layer_applied *ret, struct bld_err *err);

/* ---- making ---- */

enum bld_layer_codec { BLD_LAYER_GZIP, BLD_LAYER_ZSTD, BLD_LAYER_TAR };
struct bld_layer_create_opts {
        size_t size;
        enum bld_layer_codec codec;
        int level;         /* 0: the default */
        bool reproducible; /* gzip bytes that no CPU changes */
        unsigned threads;  /* 0: all; the bytes do not depend on it */
        bool clamp;        /* no mtime above clamp_sec */
        int64_t clamp_sec;
        bool all_xattrs;
        /* As bld_layer_apply_opts.record_owner wrote them; what has no record is root's. */
        bool recorded_owner;
        const struct bld_watch *watch;
};
/* The tree below dir_fd, written to out_fd. Sockets are left out, the root's own entry too. o and
 * ret may be NULL. */
BLD_API int bld_layer_create(int dir_fd, int out_fd, const struct bld_layer_create_opts *o,
                             struct bld_layer_created *ret, struct bld_err *err);

/* A layer entry by entry. */
struct bld_layer_writer;
struct bld_layer_xattr {
        const char *name;
        const void *value;
        size_t len;
};
/* *out is copied. o as of bld_layer_create(), may be NULL. */
BLD_API int bld_layer_writer_open(const struct bld_output *out,
                                  const struct bld_layer_create_opts *o,
                                  struct bld_layer_writer **ret, struct bld_err *err);
/* Entries in the caller's order, folders before what is in them, no path twice. e->size, path and
 * type are set by the caller, what does not apply to the type is zero; index is not looked at, x
 * holds e->nxattrs attributes. A hard link names an earlier entry. A file of file_size n wants
 * exactly n bytes of data after it. INVALID for what no layer can hold. */
BLD_API int bld_layer_writer_entry(struct bld_layer_writer *w, const struct bld_layer_entry *e,
                                   const struct bld_layer_xattr *x, struct bld_err *err);
BLD_API int bld_layer_writer_data(struct bld_layer_writer *w, const void *p, size_t n,
                                  struct bld_err *err);
/* ret may be NULL. */
BLD_API int bld_layer_writer_end(struct bld_layer_writer *w, struct bld_layer_created *ret,
                                 struct bld_err *err);
BLD_API void bld_layer_writer_close(struct bld_layer_writer *w); /* NULL is fine */

#ifdef __cplusplus
}
#endif

#endif
