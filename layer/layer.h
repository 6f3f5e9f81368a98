/* Trees and tar streams: image layers written, read, compared, applied; compression; the table of
 * contents (TOC) that makes a stored layer readable at random. Knows no store: bytes come from
 * sources and go to sinks. Format: OCI image-spec layer.md; docs/layers.md.
 * Threads: MT-Object unless said otherwise. */
#ifndef LAYER_LAYER_H
#define LAYER_LAYER_H

#include <sys/types.h>

#include "base/base.h"
#include "base/cancel.h"
#include "base/digest.h"
#include "base/fpr.h"
#include "base/owner.h"
#include "base/sb.h"
#include "base/vec.h"

/* ---- streams ---- */

struct ly_sink {
        int (*write)(void *user, const void *p, size_t n, struct bld_err *err);
        void *user;
};
struct ly_source {
        /* Up to n bytes into p: > 0 read, 0 end, negative code. */
        ssize_t (*read)(void *user, void *p, size_t n, struct bld_err *err);
        void *user;
};
/* An fd as either; the fd is borrowed through user (cast of the number). */
struct ly_sink ly_sink_fd(int fd);
struct ly_source ly_source_fd(int fd);
/* One that may be a silent pipe: reading it can be cancelled. Borrowed. */
struct ly_input {
        int fd;
        const struct cancel *cancel;
};
struct ly_source ly_source_input(struct ly_input *in);
int ly_copy(const struct ly_source *in, const struct ly_sink *out, uint64_t *ret_n,
            struct bld_err *err) MUST_CHECK;

/* ---- entries ---- */

enum ly_type {
        LY_FILE,
        LY_DIR,
        LY_SYMLINK,
        LY_HARDLINK, /* link: path of an earlier entry of the same layer */
        LY_CHAR,
        LY_BLOCK,
        LY_FIFO,
        LY_WHITEOUT, /* path is what is removed; written as ".wh.<name>" */
        LY_OPAQUE,   /* path is the folder whose lower content is hidden; read, and written only to
                        pass a foreign layer on: bld's own layers name what is gone */
};

struct ly_xattr {
        char *name;
        unsigned char *value;
        size_t len;
};

struct ly_entry {
        char *path; /* clean, relative, no leading or trailing '/'; "" is the root */
        enum ly_type type;
        unsigned mode; /* 07777 */
        uint32_t uid, gid;
        uint64_t size;    /* LY_FILE */
        int64_t mtime_ns; /* since the epoch; written as whole seconds */
        char *link;       /* LY_SYMLINK: target; LY_HARDLINK: path */
        uint32_t dev_major, dev_minor;
        struct ly_xattr *xattrs;
        size_t nxattrs;
};
void ly_entry_done(struct ly_entry *e);
/* Its file capabilities, or NULL. Borrowed. */
const struct ly_xattr *ly_entry_capability(const struct ly_entry *e);
int ly_entry_copy(const struct ly_entry *e, struct ly_entry *ret) MUST_CHECK;

/* ---- tar out ---- */

struct ly_writer_opts {
        bool clamp; /* limit mtimes to clamp_sec */
        int64_t clamp_sec;
        bool all_xattrs; /* else security.capability only, in its v2 form */
};
struct ly_writer;
int ly_writer_new(const struct ly_sink *out, const struct ly_writer_opts *o, struct ly_writer **ret,
                  struct bld_err *err) MUST_CHECK;
/* Entries in the caller's order; parents before children is the caller's duty. A LY_FILE of size n
 * must be followed by exactly n bytes of ly_writer_data. Whiteouts are normalised (mode 0, 0:0,
 * time 0). A name beginning ".wh." that is not a whiteout is INVALID. */
int ly_writer_entry(struct ly_writer *w, const struct ly_entry *e, struct bld_err *err) MUST_CHECK;
int ly_writer_data(struct ly_writer *w, const void *p, size_t n, struct bld_err *err) MUST_CHECK;
int ly_writer_end(struct ly_writer *w, struct bld_err *err) MUST_CHECK; /* trailer, no padding */
void ly_writer_free(struct ly_writer *w);
DEFINE_AUTO_PTR(struct ly_writer, ly_writer_free);

/* ---- tar in ---- */

#define LY_LAYER_BYTES_MAX ((uint64_t)64 << 30)
struct ly_limits {
        uint64_t bytes;   /* uncompressed; 0: the default 64 GiB */
        uint64_t entries; /* 0: 5 million */
};
struct ly_reader;
int ly_reader_new(const struct ly_source *in, const struct ly_limits *lim, struct ly_reader **ret,
                  struct bld_err *err) MUST_CHECK;
/* 1 and the next entry (borrowed until the next call), 0 at the end, or CORRUPT/LIMIT. Paths come
 * out clean: leading '/' and "./" gone, ".." and NUL refused. */
int ly_reader_next(struct ly_reader *r, const struct ly_entry **ret, struct bld_err *err);
ssize_t ly_reader_data(struct ly_reader *r, void *p, size_t n, struct bld_err *err);
/* Where the current file's bytes start in the tar stream. */
uint64_t ly_reader_data_offset(const struct ly_reader *r);
void ly_reader_free(struct ly_reader *r);
DEFINE_AUTO_PTR(struct ly_reader, ly_reader_free);

/* Archives a user gives to ADD: plain or gzip, bzip2, xz, zstd by content. 1 it is a tar, 0 not.
 * Peeks only; fd (a regular file) is left where it was. */
int ly_archive_sniff(int fd, struct bld_err *err);
/* Do these bytes begin with a tar header? */
bool ly_tar_sniff(const void *p, size_t n);
/* Reader over such an archive (also hostile ones), from fd's position on; fd is borrowed. Here
 * ".wh." has no meaning and ".." is confined by name. Damage is CORRUPT, as everywhere. */
int ly_archive_open(int fd, const struct ly_limits *lim, struct ly_reader **ret,
                    struct bld_err *err) MUST_CHECK;

/* ---- compression ---- */

enum ly_codec { LY_CODEC_NONE, LY_CODEC_GZIP, LY_CODEC_ZSTD };
enum ly_codec ly_codec_sniff(const void *p, size_t n); /* by magic */
const char *ly_codec_media_type(enum ly_codec c);      /* MT_OCI_LAYER_*, static */

struct ly_pack_opts {
        enum ly_codec codec;
        int level;         /* 0: default (gzip: the fast engine; zstd: 3) */
        bool reproducible; /* the engine whose bytes do not depend on the CPU */
        unsigned threads;  /* 0: as many as this process may use; bytes do not depend on it */
};
struct ly_packed {
        struct digest diff_id, digest;
        uint64_t tar_size, size;
        const char *media_type; /* MT_OCI_LAYER_*, static */
        char engine[32];        /* "isal-2", "libdeflate-6", "zstd-3", for the record */
};
/* Tar bytes in, compressed bytes to `out`; digests and the TOC on the way. */
struct ly_pack;
struct ly_toc;
int ly_pack_new(const struct ly_sink *out, const struct ly_pack_opts *o, struct ly_pack **ret,
                struct bld_err *err) MUST_CHECK;
int ly_pack_write(struct ly_pack *p, const void *buf, size_t n, struct bld_err *err) MUST_CHECK;
struct ly_sink ly_pack_sink(struct ly_pack *p);
/* ret_toc may be NULL. */
int ly_pack_end(struct ly_pack *p, struct ly_packed *ret, struct ly_toc **ret_toc,
                struct bld_err *err) MUST_CHECK;
void ly_pack_free(struct ly_pack *p); /* joins its threads on every path */
DEFINE_AUTO_PTR(struct ly_pack, ly_pack_free);

/* A compressed (or plain) layer in, tar bytes to `out` (NULL: nowhere), diff ID computed, TOC made
 * when ret_toc is given. Concatenated members and frames are one stream; trailing garbage is
 * CORRUPT. */
int ly_unpack_stream(const struct ly_source *in, const struct ly_sink *out,
                     const struct ly_limits *lim, struct digest *ret_diff_id,
                     uint64_t *ret_tar_size, struct ly_toc **ret_toc,
                     struct bld_err *err) MUST_CHECK;

/* The same for a reader that may stop early, on its own thread: the source gives the tar bytes. The
 * tar's limit on entries is its reader's. */
struct ly_pull;
int ly_pull_new(const struct ly_source *in, const struct ly_limits *lim, struct ly_pull **ret,
                struct bld_err *err) MUST_CHECK;
struct ly_source ly_pull_source(struct ly_pull *u);
/* When the source has ended: digests, sizes and type; engine is "". */
int ly_pull_end(struct ly_pull *u, struct ly_packed *ret, struct bld_err *err) MUST_CHECK;
void ly_pull_free(struct ly_pull *u);
DEFINE_AUTO_PTR(struct ly_pull, ly_pull_free);

struct ly_scan_opts {
        struct ly_limits limits;
        bool content;              /* the sums of the table, too: */
        const struct fpr_key *key; /* fingerprints under this key; NULL: SHA-256 */
        bool digest;               /* of the blob, for the table; else the caller knows it */
};
/* The table of contents alone, in one pass. ret_diff_id may be NULL, which saves a SHA-256. */
int ly_scan(const struct ly_source *in, const struct ly_scan_opts *o, struct ly_toc **ret,
            struct digest *ret_diff_id, struct bld_err *err) MUST_CHECK;

/* ---- table of contents ---- */

/* A stored piece of a sparse file: its place in the file; the pieces follow each other in the tar
 * stream from data_off on. */
struct ly_extent {
        uint64_t off, len;
};
struct ly_toc_entry {
        struct ly_entry e;
        uint64_t data_off; /* of the file's bytes in the tar stream */
        uint32_t sum;      /* of a file with content: its place in the table's sums */
        /* Only for files stored sparse (GNU, PAX; bld writes none): what is stored, in order. Use
         * ly_blob_reader_file(), which knows. */
        bool sparse;
        struct ly_extent *extents;
        size_t nextents;
};
struct ly_toc {
        struct ly_toc_entry *v; /* in stream order */
        size_t n;
        bool missing_parents; /* some entry's folder is neither here nor the root */
        uint64_t tar_size;
        /* Restart points of the compressed stream: tar offset -> blob offset; none for streams that
         * must be read from the start. */
        struct ly_seek {
                uint64_t tar_off, blob_off;
        } * seeks;
        size_t nseeks;
        enum ly_codec codec;
        struct digest blob; /* the compressed stream the restart points belong to */
        /* Of each file with content, as it reads (holes filled): SHA-256, or, keyed, a fingerprint
         * that can be compared with those of the same key. NULL: not computed. */
        struct ly_sum {
                unsigned char b[32];
        } * sums;
        bool keyed;
        size_t nsums; /* files with content, whether sums are there or not */
        void *priv;   /* owns the memory of the entries */
};
void ly_toc_free(struct ly_toc *t);
DEFINE_AUTO_PTR(struct ly_toc, ly_toc_free);
/* Of a LY_FILE; NULL when it was not computed. */
const struct ly_sum *ly_toc_sum(const struct ly_toc *t, const struct ly_toc_entry *e);
/* Versioned, checksummed bytes; decode gives CORRUPT for anything else. */
int ly_toc_encode(const struct ly_toc *t, struct sb *out, struct bld_err *err) MUST_CHECK;
int ly_toc_decode(const void *p, size_t n, struct ly_toc **ret, struct bld_err *err) MUST_CHECK;
/* The sums alone, likewise, to be kept beside the table they belong to. */
int ly_sums_encode(const struct ly_toc *t, struct sb *out, struct bld_err *err) MUST_CHECK;
int ly_sums_decode(const void *p, size_t n, struct ly_toc *t, struct bld_err *err) MUST_CHECK;

/* Bytes of one tar range out of a stored layer blob, decompressing from the nearest restart point.
 * Reads in rising order through one handle cost one pass. */
struct ly_blob_reader;
int ly_blob_reader_new(int blob_fd /* borrowed */, const struct ly_toc *t,
                       struct ly_blob_reader **ret, struct bld_err *err) MUST_CHECK;
/* The blob is len bytes of the file from off on. */
int ly_blob_reader_new_part(int blob_fd, uint64_t off, uint64_t len, const struct ly_toc *t,
                            struct ly_blob_reader **ret, struct bld_err *err) MUST_CHECK;
/* The blob is read through a callback: up to n bytes at off, 0 at the end. */
struct ly_random {
        ssize_t (*pread)(void *user, void *p, size_t n, uint64_t off, struct bld_err *err);
        void *user;
};
int ly_blob_reader_new_random(const struct ly_random *in, const struct ly_toc *t,
                              struct ly_blob_reader **ret, struct bld_err *err) MUST_CHECK;
int ly_blob_reader_range(struct ly_blob_reader *r, uint64_t off, uint64_t len,
                         const struct ly_sink *out, struct bld_err *err) MUST_CHECK;
/* The content of one LY_FILE, holes filled. */
int ly_blob_reader_file(struct ly_blob_reader *r, const struct ly_toc_entry *t,
                        const struct ly_sink *out, struct bld_err *err) MUST_CHECK;
void ly_blob_reader_free(struct ly_blob_reader *r);
DEFINE_AUTO_PTR(struct ly_blob_reader, ly_blob_reader_free);

/* ---- the merged view of a chain of layers, from their TOCs ---- */

struct ly_node {
        const struct ly_entry *e;     /* borrowed from the TOC; NULL for a folder no layer names */
        const struct ly_toc_entry *t; /* the same with its data offset */
        unsigned layer;               /* index of the layer the data comes from */
        unsigned name_layer;          /* of the one that has this name: another for a hard link */
        const char *name;             /* last component */
        struct ly_node *parent;
        /* children sorted by name are reached through ly_view_children() */
        void *priv;
};
struct ly_view;
/* tocs bottom first; borrowed and must outlive the view. Whiteouts applied; hard links resolved to
 * the entry that holds the data (node->t, in layer node->layer) while keeping their identity
 * (node->e is the link's own entry). Entries below a symlink of a lower layer land where it leads.
 * CORRUPT for a hard link to nothing. */
int ly_view_new(const struct ly_toc *const *tocs, size_t n, struct ly_view **ret,
                struct bld_err *err) MUST_CHECK;
/* Of layers that lie over others which are not here: a hard link to nothing stays a LY_HARDLINK. */
int ly_view_new_upper(const struct ly_toc *const *tocs, size_t n, struct ly_view **ret,
                      struct bld_err *err) MUST_CHECK;
/* One more layer on top; its index is the number of those below. A view it failed for can only be
 * freed. */
int ly_view_add(struct ly_view *v, const struct ly_toc *toc, struct bld_err *err) MUST_CHECK;
void ly_view_free(struct ly_view *v);
DEFINE_AUTO_PTR(struct ly_view, ly_view_free);
const struct ly_node *ly_view_root(const struct ly_view *v);
/* Exact path, links not followed. NULL when absent. */
const struct ly_node *ly_view_get(const struct ly_view *v, const char *path);
/* Follow symlinks inside the root, the last component too when follow_last. *ret_path: the resolved
 * path (malloc'ed) even when what it names does not exist (then *ret is NULL). INVALID on a loop.
 */
int ly_view_resolve(const struct ly_view *v, const char *path, bool follow_last,
                    const struct ly_node **ret, char **ret_path, struct bld_err *err) MUST_CHECK;
/* Children sorted bytewise by name; the array is the view's. */
const struct ly_node *const *ly_view_children(const struct ly_view *v, const struct ly_node *dir,
                                              size_t *ret_n);

/* The nodes of a view but its root as an array, in the order of a sorted walk: a folder before what
 * is in it, names of one folder by their bytes. The view is borrowed. */
#define LY_NONE UINT32_MAX
#define LY_FLAT_PATH_MAX 8191u
struct ly_flat_node {
        const struct ly_node *n;
        const char *path;
        uint32_t end;   /* one beyond the last node below */
        uint32_t group; /* of the names of a file that has several; LY_NONE */
};
struct ly_flat {
        struct ly_flat_node *v;
        size_t n;
        /* Hard links: the nodes of group i are names[groups[i].at] on, `count` in rising order. */
        struct ly_group {
                uint32_t at, count;
                uint64_t hash; /* of the set of paths */
        } * groups;
        uint32_t *names;
        size_t ngroups;
        void *priv; /* owns paths that no entry has */
};
/* LIMIT for a path of more than 8191 bytes. */
int ly_flat_new(const struct ly_view *v, struct ly_flat **ret, struct bld_err *err) MUST_CHECK;
void ly_flat_free(struct ly_flat *f);
DEFINE_AUTO_PTR(struct ly_flat, ly_flat_free);
/* Exact path; LY_NONE when absent. */
uint32_t ly_flat_find(const struct ly_flat *f, const char *path);
/* The order of the array. */
int ly_path_cmp(const char *a, const char *b);

/* ---- two trees compared ---- */

enum ly_what {
        LY_WHAT_TYPE = 1,
        LY_WHAT_CONTENT = 2,
        LY_WHAT_SIZE = 4,
        LY_WHAT_LINK = 8,
        LY_WHAT_DEVICE = 16,
        LY_WHAT_MODE = 32,
        LY_WHAT_UID = 64,
        LY_WHAT_GID = 128,
        LY_WHAT_MTIME = 256, /* whole seconds */
        LY_WHAT_XATTRS = 512,
        LY_WHAT_LINKS = 1024 /* the set of names of a file with several */
};
/* What shows, or does not, of layers that were not read, where neither tree has a node. */
enum ly_below {
        LY_BELOW_NOTHING,
        LY_BELOW_GOES,  /* what A has there, B hides */
        LY_BELOW_COMES, /* the other way */
        LY_BELOW_INSIDE /* what is in the folder is hidden by one side only */
};
struct ly_change {
        const char *path; /* a tree's, or a table's */
        uint32_t a, b;    /* nodes; LY_NONE: not there */
        uint32_t renamed; /* the change that has the same file under its other name; LY_NONE */
        unsigned what;    /* of a path that both have */
        bool pending;     /* files of one size whose sums were not both known */
        bool unsure;      /* see ly_compare_unsure() */
        enum ly_below below;
};
VEC_DEFINE(ly_changes, struct ly_change);

/* A tree, and the tables its view was made of, bottom first. */
struct ly_side {
        const struct ly_flat *flat;
        const struct ly_toc *const *tocs;
        size_t n;
};
/* NULL when it was not computed, or n is no file. */
const struct ly_sum *ly_side_sum(const struct ly_side *s, uint32_t node);

struct ly_compare_opts {
        unsigned ignore;
        /* NULL: all. */
        bool (*wanted)(void *user, const char *path);
        void *user;
};
/* Every path that differs, or may (pending), in the order of a sorted walk. A folder no layer names
 * equals another such, and one with mode 0755 and owner 0:0, whatever its times and attributes. */
int ly_compare(const struct ly_side *a, const struct ly_side *b, const struct ly_compare_opts *o,
               struct ly_changes *ret, struct bld_err *err) MUST_CHECK;
/* Of trees whose views leave out layers below that they share (ly_view_new_upper): mark what
 * depends on those, and add what one side hides of them. UNSUPPORTED where one side hides all of
 * them. */
int ly_compare_unsure(const struct ly_side *a, const struct ly_side *b,
                      const struct ly_compare_opts *o, struct ly_changes *v,
                      struct bld_err *err) MUST_CHECK;
/* Which layers of each side have sums that are not known and would settle something: what is
 * pending, and, with renames, files of one size that went and came. */
int ly_compare_missing(const struct ly_side *a, const struct ly_side *b, const struct ly_changes *v,
                       bool renames, bool *need_a, bool *need_b, struct bld_err *err) MUST_CHECK;
/* When the sums that were pending are known: judge them, and drop what does not differ. What is not
 * known still counts as different, and stays pending. */
void ly_compare_settle(const struct ly_side *a, const struct ly_side *b,
                       const struct ly_compare_opts *o, struct ly_changes *v);
/* Pair files that went with files that came, by size and sum: one with the same last component
 * first, else in order. Empty files and those without a sum are left alone. */
int ly_compare_renames(const struct ly_side *a, const struct ly_side *b, struct ly_changes *v,
                       struct bld_err *err) MUST_CHECK;

/* ---- trees on disk; called in the keeper's children ---- */

enum ly_tree_form {
        LY_TREE_OVERLAY_TRUSTED, /* whiteouts as char 0:0, trusted.overlay.opaque */
        LY_TREE_OVERLAY_USER,    /* the same with user.overlay.* */
        LY_TREE_PLAIN,           /* whiteouts delete */
};
struct ly_apply_opts {
        enum ly_tree_form form;
        struct ly_limits limits;
        bool keep_owner;   /* chown as the layer says; false: leave ours (one-id levels) */
        bool tolerate_dev; /* device nodes that cannot be made become nothing, counted */
        bool all_xattrs;   /* else security.capability only */
        /* In user namespaces: owners are noted as base/owner.h has it, devices become noted files.
         * With keep_owner (and the table's `beyond`) only what could not be had for real. */
        struct owner_table *owners;
        /* Modes are noted, too, and what is on the disk can be read and changed by us, and runs
         * with nobody else's rights. */
        bool note_modes;
};
struct ly_apply_stats {
        uint64_t entries, bytes, skipped_devices, skipped_xattrs;
        uint64_t disk_bytes; /* of what was made, as du(1) counts it; near, where entries replace
                                others */
        /* The layer hides everything below its root, which no overlay can be told: a chain must
         * begin with this layer. (LY_TREE_PLAIN: already done.) */
        bool opaque_root;
};
/* Apply a tar stream below root_fd. Every path is resolved inside the root; a hostile archive can
 * reach nothing else. */
int ly_apply(const struct ly_source *tar, int root_fd, const struct ly_apply_opts *o,
             struct ly_apply_stats *ret, struct bld_err *err) MUST_CHECK;

/* Pass a layer's tar on with what unpacking it alone lacks: parents it does not name (with the
 * attributes they have in `lower`, else 0755 0:0), and paths below a symlink of `lower` put where
 * it leads. For layers whose TOC says missing_parents, before ly_apply(). */
int ly_complete(const struct ly_source *tar, const struct ly_view *lower, const struct ly_sink *out,
                struct bld_err *err) MUST_CHECK;

/* Names bld itself made in an upper folder (mount points): dropped from the diff when unchanged,
 * the parents' times put back. */
struct ly_stub {
        char path[4096]; /* relative */
        uint64_t ino;
        bool is_dir;
        bool filled; /* a file, dropped whatever is in it */
        bool keep;   /* stays as an empty folder 0755 (/proc, /sys, /dev that the root lacked) */
        int64_t parent_mtime_ns;
};
struct ly_diff_opts {
        enum ly_tree_form form;
        const int *lower_fds; /* snapshots' fs folders, top first: what the upper lies over */
        size_t nlower;
        const struct ly_stub *stubs;
        size_t nstubs;
        bool clamp;
        int64_t clamp_sec;
        bool all_xattrs;                  /* of files and folders; else security.capability only */
        const struct owner_table *owners; /* in a user namespace: who files belong to; else NULL */
        /* A whole tree that a step changed in place (form LY_TREE_PLAIN, no lower folders): what it
         * was before (-1 or 0: nothing, so all of it is new), and where to write what it is now. */
        int base_in, base_out;
        uint64_t *disk_bytes; /* not NULL: set to what du(1) says of the upper folder */
};
/* The diff an overlay's upper folder holds, as a tar: docs/layers.md, "Reading an upper folder".
 * Canonical order; false changes dropped; opaque folders written as explicit whiteouts. With
 * LY_TREE_PLAIN and no lower folders: the whole tree. */
int ly_diff_upper(int upper_fd, const struct ly_diff_opts *o, const struct ly_sink *tar,
                  struct bld_err *err) MUST_CHECK;

/* ---- what a chain of layers holds in vain ---- */

struct ly_waste_path {
        const char *path; /* the waste's */
        uint64_t bytes;   /* of all layers that write it; what a removed folder held */
        size_t count;     /* of those layers */
        bool removed;     /* not there in the end */
};
struct ly_waste_layer {
        uint64_t files, bytes;
        uint64_t wasted; /* of bytes: not there in the end */
};
struct ly_waste {
        /* As dive computes them (docs/look.md): what paths take at least and in all, and what those
         * named by several layers take. */
        uint64_t least, all, wasted;
        struct ly_waste_path *v; /* wasted bytes, most first, then by path */
        size_t n;
        struct ly_waste_layer *layers;
        size_t nlayers;
        void *priv; /* owns the paths */
};
/* tocs bottom first, not looked at afterwards. CORRUPT as of ly_view_new(). */
int ly_waste_find(const struct ly_toc *const *tocs, size_t n, struct ly_waste *ret,
                  struct bld_err *err) MUST_CHECK;
void ly_waste_done(struct ly_waste *w);

/* ---- one path, looked for from the top of a chain ---- */

/* The layers' entries are fed as they come, uppermost layer first, until it is clear what the path
 * is; the answer is that of ly_view_resolve() over the whole chain. Of several entries of one name
 * in a layer, which the format forbids, the first counts when it ends the search. */
struct ly_find;
enum ly_find_state {
        LY_FIND_MORE,  /* the next entry of the layer is wanted, or its end */
        LY_FIND_HERE,  /* the path is that entry of that layer */
        LY_FIND_NONE,  /* it does not exist */
        LY_FIND_UNSURE /* entries lie behind links of layers below: ask ly_view_resolve() */
};
struct ly_found {
        size_t layer, index; /* index: how many entries of the layer were fed before it */
        const char *path;    /* links followed; LY_FIND_NONE: what is not there */
        bool is_dir;         /* of the path; LY_FIND_NONE: path is there, and no folder */
        bool is_file;
        bool removed; /* LY_FIND_NONE: by a whiteout of the uppermost layer that says so */
};
/* follow: the last component too, when it is a link. */
int ly_find_new(size_t nlayers, const char *path, bool follow, struct ly_find **ret,
                struct bld_err *err) MUST_CHECK;
/* enum ly_find_state, *ret filled (its path is the search's); INVALID on a loop of links. */
int ly_find_state(struct ly_find *f, struct ly_found *ret, struct bld_err *err) MUST_CHECK;
/* e: the next entry of the layer that was asked for; NULL: it has no more. */
int ly_find_feed(struct ly_find *f, const struct ly_entry *e, struct bld_err *err) MUST_CHECK;
void ly_find_free(struct ly_find *f);
DEFINE_AUTO_PTR(struct ly_find, ly_find_free);

#endif
