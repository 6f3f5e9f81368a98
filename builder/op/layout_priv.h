/* The entries of a layer that COPY, ADD or WORKDIR makes, laid out over the tree below: who exists
 * already, which parents come along, what replaces what. Written in canonical order at the end. */
#ifndef BUILDER_LAYOUT_PRIV_H
#define BUILDER_LAYOUT_PRIV_H

#include "builder/source/fs_priv.h"

struct layout_item {
        char *path; /* relative, clean; "" is the root */
        enum ly_type type;
        unsigned mode;
        uint32_t uid, gid;
        int64_t mtime_ns;
        char *link;
        uint32_t dev_major, dev_minor;
        uint64_t size;
        unsigned char *cap;
        size_t cap_len;
        /* Where a file's bytes come from: a node of a tree, memory, or a spool file. */
        struct fs *fs;
        struct fs_node *node;
        const struct ly_node *below; /* of the tree it lies over */
        const char *data;
        int spool_fd;
        uint64_t spool_off;
        uint64_t link_group;   /* same non-zero number: names of one file */
        const char *hard_link; /* set while writing */
};

struct layout;
/* below: the tree it lies over; NULL for an empty one (or --link). now_ns: mtime of what is made.
 * dir_mode, dir_uid, dir_gid: folders made on the way. */
struct layout_opts {
        struct bd_tree *below;
        int64_t now_ns;
        unsigned dir_mode;
        uint32_t dir_uid, dir_gid;
};
int layout_new(const struct layout_opts *o, struct layout **ret, struct bld_err *err) MUST_CHECK;
void layout_free(struct layout *l);
DEFINE_AUTO_PTR(struct layout, layout_free);

/* DIR/NAME, or the one that is not "". Caller frees; NULL: no memory. */
char *layout_join(const char *dir, const char *name);
/* Resolve an absolute path in the tree below (links followed inside the root): relative, clean.
 * Caller frees. */
int layout_resolve(struct layout *l, const char *path, char **ret, struct bld_err *err) MUST_CHECK;
/* The same for a name inside an archive: root (relative, resolved) is as far as "..", absolute
 * names and links lead, whether they stand in the tree below or in this layer. */
int layout_resolve_in(struct layout *l, const char *root, const char *path, char **ret,
                      struct bld_err *err) MUST_CHECK;
/* Mode and owner of folders made from here on. */
void layout_made_as(struct layout *l, unsigned mode, uint32_t uid, uint32_t gid);
/* What stands at a path now. 1 with *ret_type, or 0. */
int layout_type(const struct layout *l, const char *path, enum ly_type *ret_type);
/* Put an entry; its parents come along. The item's path is copied, its other members move in.
 * A folder over a folder replaces its attributes. INVALID: folder over file or file over folder. */
int layout_put(struct layout *l, const char *path, const struct layout_item *item,
               struct bld_err *err) MUST_CHECK;
/* As tar -x does: a file replaces whatever is there, a folder merges, and the last one wins. */
int layout_replace(struct layout *l, const char *path, const struct layout_item *item,
                   struct bld_err *err) MUST_CHECK;
/* A second name for an entry of this layout, or of the tree below, which then is in this layer, too
 * (INVALID when target is neither). */
int layout_link(struct layout *l, const char *path, const char *target,
                struct bld_err *err) MUST_CHECK;
/* The folder itself with what it needs above; *ret_made: it was not there. Borrowed item. */
int layout_dir(struct layout *l, const char *path, struct layout_item **ret, bool *ret_made,
               struct bld_err *err) MUST_CHECK;
/* What a node of a tree is as an entry; fs and the node are borrowed until the layout is written.
 * The caller frees link and cap unless layout_put() takes them. */
int layout_item_of(struct fs *fs, struct fs_node *n, struct layout_item *ret,
                   struct bld_err *err) MUST_CHECK;
/* The same for an entry of a tar or a layer, which is no hard link; where a file's bytes are is the
 * caller's to say. */
int layout_item_of_entry(const struct ly_entry *e, struct layout_item *ret,
                         struct bld_err *err) MUST_CHECK;
/* All entries, canonical order, to a tar stream (ended). */
int layout_write(struct layout *l, const struct ly_sink *tar, struct bld_err *err) MUST_CHECK;
size_t layout_count(const struct layout *l);

/* ---- archives (unarchive.c) ---- */

/* Files of archives until the layout is written; the caller closes fd, -1 before the first. */
struct spool {
        int fd;
        uint64_t size;
};
struct unpack_opts {
        const char *dest; /* resolved, relative: the root of everything in the archive */
        bool has_owner;
        uint32_t uid, gid;
        const struct cancel *cancel;
        int tmp_fd; /* its folder "tmp" takes the spool */
};
/* fd: what ly_archive_sniff() found to be one. What layout_made_as() was told is overwritten. */
int unpack_archive(struct layout *l, int fd, const struct unpack_opts *o, struct spool *spool,
                   struct bld_err *err) MUST_CHECK;

#endif
