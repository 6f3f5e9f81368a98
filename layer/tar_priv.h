/* The tar format, sans I/O: bytes in, entries out. Reads ustar, v7, star, GNU (long names, sparse,
 * base-256) and PAX (sparse 0.0, 0.1, 1.0). Follows Go's archive/tar wherever readers differ,
 * because that is what runs our images: two readers that see different files in the same bytes are
 * a hole. */
#ifndef LAYER_TAR_PRIV_H
#define LAYER_TAR_PRIV_H

#include "base/sb.h"
#include "layer/layer.h"

#define TAR_BLOCK 512u
#define LY_PATH_MAX 4096u
#define LY_NAME_MAX 255u
#define LY_PAX_MAX (1u << 20)
#define LY_LINK_MAX 4096u
#define LY_XATTRS_MAX 1024u /* of an entry: each is held against those before */
#define LY_LAYER_ENTRIES_MAX 5000000u

#define WH_PREFIX ".wh."
#define WH_META ".wh..wh."
#define WH_OPAQUE ".wh..wh..opq"

enum tar_flavour {
        TAR_LAYER,   /* whiteouts are meant, ".." is refused */
        TAR_ARCHIVE, /* a user's: ".wh." is a name like others, ".." is confined lexically */
};

enum tar_event {
        TAR_MORE,  /* all bytes used up */
        TAR_ENTRY, /* parser->e is complete */
        TAR_DATA,  /* stored bytes of the current file */
        TAR_END,   /* after the trailer: whatever follows is padding */
};

enum tar_state {
        TAR_S_HEADER,
        TAR_S_META,
        TAR_S_SPARSE_EXT,
        TAR_S_SPARSE_MAP,
        TAR_S_DATA,
        TAR_S_ZERO,
        TAR_S_END
};

VEC_DEFINE(ly_extents, struct ly_extent);
VEC_DEFINE(ly_xattrs, struct ly_xattr);

/* What extended headers say about the next entry. */
struct tar_ext {
        char *path, *link, *sparse_name;
        bool has_size, has_uid, has_gid, has_mtime, has_sparse_size;
        uint64_t size, uid, gid, sparse_size;
        int64_t mtime_ns;
        struct ly_xattrs xattrs;
        bool sparse, sparse_1_0;
        bool sparse_open; /* 0.0: an offset without its length yet */
};

struct tar_parser {
        enum tar_flavour flavour;
        struct ly_limits lim;
        enum tar_state state;
        uint64_t off;     /* bytes consumed */
        uint64_t entries; /* seen */
        uint64_t logical; /* sum of file sizes, holes included */

        unsigned char block[TAR_BLOCK];
        size_t fill;    /* of block */
        uint64_t left;  /* stored bytes still to come: data or meta */
        uint64_t skip;  /* padding after them */
        bool discard;   /* the data belongs to nothing that is shown */
        bool hidden;    /* nor does the entry: aufs's own files */
        char meta_kind; /* typeflag whose body is in meta */
        struct sb meta;
        size_t map_scanned; /* of meta, by tar_sparse_map() */
        uint64_t map_lines;
        struct tar_ext ext;

        struct ly_entry e;
        uint64_t data_off;         /* of e's stored bytes */
        struct ly_extents extents; /* sparse files: what is stored; else empty */
        bool sparse;
};

void tar_parser_init(struct tar_parser *t, enum tar_flavour flavour, const struct ly_limits *lim);
void tar_parser_done(struct tar_parser *t);
/* Consume some of p; *ret_used says how much. TAR_DATA: *ret_data and *ret_len, inside p. */
int tar_feed(struct tar_parser *t, const unsigned char *p, size_t n, size_t *ret_used,
             enum tar_event *ret_ev, const unsigned char **ret_data, size_t *ret_len,
             struct bld_err *err) MUST_CHECK;
/* The stream has ended: 0 when that is a good place. */
int tar_eof(const struct tar_parser *t, struct bld_err *err) MUST_CHECK;

/* ---- pieces, tar_header.c and tar_pax.c ---- */

struct tar_header {
        char type;
        uint64_t size, uid, gid, mode;
        int64_t mtime;
        uint64_t major, minor;
        char path[TAR_BLOCK], link[128];
        bool gnu;
};
/* 1 a header, 0 a zero block. */
int tar_header_decode(const unsigned char b[TAR_BLOCK], struct tar_header *h,
                      struct bld_err *err) MUST_CHECK;
/* Octal or base-256; false when malformed, negative or too big. */
bool tar_number(const unsigned char *p, size_t n, uint64_t *ret);

int tar_pax_parse(struct tar_parser *t, struct bld_err *err) MUST_CHECK;
void tar_ext_done(struct tar_ext *x);

/* Old GNU sparse: the four (21) pairs of a header (extension) block. *ret_more: another follows. */
int tar_sparse_block(struct tar_parser *t, const unsigned char *pairs, size_t n,
                     struct bld_err *err) MUST_CHECK;
/* Body of a 1.0 sparse file begins with its map. 1 the map is complete, 0 more is needed. */
int tar_sparse_map(struct tar_parser *t, struct bld_err *err) MUST_CHECK;
int tar_extent_add(struct ly_extents *a, uint64_t off, uint64_t len,
                   struct bld_err *err) MUST_CHECK;

/* Clean an archive's name into ret (malloc'ed). */
int tar_clean(const char *name, enum tar_flavour flavour, char **ret,
              struct bld_err *err) MUST_CHECK;

/* ---- shared by readers and writers of xattrs ---- */

/* May this attribute be in a layer (all: the library's caller asked for any)? */
bool ly_xattr_wanted(const char *name, bool all);
/* security.capability of any version as version 2 into out[20]; false when it is not one. */
bool ly_cap_v2(const unsigned char *p, size_t n, unsigned char out[20]);

/* ---- TOC building from a stream of tar bytes ---- */

struct toc_builder;
int toc_builder_new(const struct ly_limits *lim, struct toc_builder **ret,
                    struct bld_err *err) MUST_CHECK;
/* Before the first byte: make sums as well; as ly_scan_opts.key. */
int toc_builder_sums(struct toc_builder *b, const struct fpr_key *key,
                     struct bld_err *err) MUST_CHECK;
int toc_builder_feed(struct toc_builder *b, const void *p, size_t n,
                     struct bld_err *err) MUST_CHECK;
int toc_builder_seek(struct toc_builder *b, uint64_t tar_off, uint64_t blob_off,
                     struct bld_err *err) MUST_CHECK;
int toc_builder_end(struct toc_builder *b, struct ly_toc **ret, struct bld_err *err) MUST_CHECK;
void toc_builder_free(struct toc_builder *b);
DEFINE_AUTO_PTR(struct toc_builder, toc_builder_free);

#endif
