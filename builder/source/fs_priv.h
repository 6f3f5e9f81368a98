/* A readable tree: a local folder seen through its ignore file, or a chain of layers. What COPY and
 * bind mounts select from, and how its content is digested. Nothing here follows a link out of the
 * tree's root. MT-Object. */
#ifndef BUILDER_FS_PRIV_H
#define BUILDER_FS_PRIV_H

#include "builder/image/tree_priv.h"
#include "parser/ignore.h"

struct fs_node {
        char *name;
        struct fs_node *parent;
        enum ly_type type; /* never HARDLINK or WHITEOUT: links share `inode` */
        unsigned mode;
        uint32_t uid, gid;
        uint64_t size;
        int64_t mtime_ns, ctime_ns;
        char *link;
        uint32_t dev_major, dev_minor;
        uint64_t inode, device; /* same pair: hard links of one file; 0: unknown */
        unsigned nlink;
        const struct ly_node *ly;  /* chain of layers */
        struct fs_node **children; /* sorted by name once loaded */
        size_t nchildren;
        bool loaded;
        bool digested;
        struct digest digest; /* of a regular file's bytes */
};

struct fs;
struct stat_index;

/* path: folder on this machine. ignore may be NULL; borrowed. Owners come out as 0:0. index may be
 * NULL; borrowed. */
int fs_open_local(const char *path, const struct ignore *ignore, struct stat_index *index,
                  struct fs **ret, struct bld_err *err) MUST_CHECK;
/* layers borrowed. */
int fs_open_layers(struct bd_ctx *c, const struct bd_layers *layers, struct fs **ret,
                   struct bld_err *err) MUST_CHECK;
/* Another handle on a local tree, for another thread: what is loaded of the tree stays as it is and
 * is shared. f must outlive it. */
int fs_share(struct fs *f, struct fs **ret, struct bld_err *err) MUST_CHECK;
/* Was a file that this handle read no longer as it was when the tree was walked? Its name, or
 * NULL. */
const char *fs_changed(const struct fs *f);
void fs_free(struct fs *f);
DEFINE_AUTO_PTR(struct fs, fs_free);

struct fs_node *fs_root(struct fs *f);
/* Children of a folder, loaded at first use. */
int fs_children(struct fs *f, struct fs_node *dir, struct bld_err *err) MUST_CHECK;
/* One step down; *ret NULL when absent. */
int fs_child(struct fs *f, struct fs_node *dir, const char *name, size_t len, struct fs_node **ret,
             struct bld_err *err) MUST_CHECK;
/* Follow a path and every symlink in it (the last too when follow_last) inside the root. *ret NULL
 * when it does not exist. */
int fs_resolve(struct fs *f, struct fs_node *from, const char *path, bool follow_last,
               struct fs_node **ret, struct bld_err *err) MUST_CHECK;
/* SHA-256 of a regular file's bytes, remembered in the node and the stat index. */
int fs_digest(struct fs *f, struct fs_node *n, struct bld_err *err) MUST_CHECK;
int fs_read(struct fs *f, struct fs_node *n, const struct ly_sink *out,
            struct bld_err *err) MUST_CHECK;
/* fd of a local regular file, caller closes; -1 when the tree is not local. */
int fs_open_file(struct fs *f, struct fs_node *n, int *ret_fd, struct bld_err *err) MUST_CHECK;
/* security.capability, if any, malloc'ed. 1/0/negative. */
int fs_capability(struct fs *f, const struct fs_node *n, unsigned char **ret, size_t *ret_len,
                  struct bld_err *err);
/* Path from the root, relative, "" for the root. */
int fs_path(const struct fs_node *n, struct sb *out, struct bld_err *err) MUST_CHECK;
bool fs_is_local(const struct fs *f);
/* Would this path exist but for the ignore file? *ret_line: the pattern's line. */
bool fs_is_ignored(struct fs *f, const char *path, unsigned *ret_line);
const struct ignore *fs_ignore(const struct fs *f);

/* ---- stat index (stat_index.c): path -> stat -> digest, one file per context ---- */

struct stat_key {
        uint64_t dev, ino, size;
        int64_t mtime_ns, ctime_ns;
        uint32_t mode, uid, gid;
};
/* Absent or damaged is empty. name: the context's absolute path. */
int stat_index_open(struct cas *c, const char *name, struct stat_index **ret,
                    struct bld_err *err) MUST_CHECK;
bool stat_index_get(struct stat_index *x, const char *path, size_t len, const struct stat_key *k,
                    struct digest *ret);
/* read_ns: CLOCK_REALTIME when reading began. A file that was being modified about then is left
 * out. MT-Safe against other puts. */
int stat_index_put(struct stat_index *x, const char *path, size_t len, const struct stat_key *k,
                   int64_t read_ns, const struct digest *d) MUST_CHECK;
/* Write it back when something changed. Failing to is not an error of the build. */
void stat_index_save(struct stat_index *x, struct cas *c);
void stat_index_free(struct stat_index *x);
uint64_t stat_index_hits(const struct stat_index *x);

/* ---- selection (select.c): what a COPY's sources pick ---- */

struct fs_pick {
        struct fs_node *node;
        char *name;   /* the name it lands under, relative to the destination */
        size_t src;   /* index of the source it came from */
        size_t group; /* hard links are kept among picks of one group */
        bool is_tree; /* a folder: its children are copied, filtered by excludes */
        bool matched; /* found by a wildcard */
        /* --parents: excludes look at the whole name, and a folder on the way, of which only the
         * metadata are wanted, comes along when something below it does. */
        bool by_name, parent;
};
VEC_DEFINE(fs_picks, struct fs_pick);
void fs_picks_free(struct fs_picks *a);

/* Evaluate one source path (wildcards, links followed, --parents). INVALID "... not found" when a
 * plain source is missing. */
int fs_select(struct fs *f, const char *pattern, size_t src, bool parents, struct fs_picks *out,
              struct bld_err *err) MUST_CHECK;
/* Digest of everything picked: names, types, modes, owners, link targets, capabilities, bytes; no
 * times. */
int fs_picks_digest(struct fs *f, const struct fs_picks *p, const struct ignore *excludes,
                    struct digest *ret, struct bld_err *err) MUST_CHECK;

#endif
