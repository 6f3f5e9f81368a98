#ifndef LAYER_APPLY_PRIV_H
#define LAYER_APPLY_PRIV_H

#include <sys/stat.h>

#include "base/map.h"
#include "layer/reader_priv.h"

#define DIR_CACHE 64

/* An open folder (O_PATH), by the name the stream gave it. */
struct adir {
        char *path;
        size_t len;
        int fd;
        uint64_t used;
        uint64_t dev, ino; /* LY_TREE_PLAIN only */
        bool made;         /* the layer puts things in it: it is noted as created */
};

/* A folder's last attributes, set when nothing changes in it any more. */
struct apending {
        uint64_t dev, ino; /* its path may lead elsewhere in the end */
        int64_t mtime_ns;
        unsigned mode;
        bool set_mode;
};

struct applier {
        int root;
        const struct ly_apply_opts *o;
        struct ly_apply_stats st;
        struct ly_reader *r;
        struct adir dirs[DIR_CACHE];
        struct adir kept; /* see apply_keep() */
        uint64_t clock;
        struct map pending; /* path -> struct apending, parents before children */
        /* LY_TREE_PLAIN: what this layer made, (device, inode of the folder, name) -> non-NULL:
         * whiteouts spare it. */
        struct map created;
        unsigned umask;
        bool chmod_always; /* the kernel would not give the mode asked for */
        bool chown_always; /* new files do not get our own ids */
        uint32_t euid, egid;
        bool walk_by_hand; /* no openat2 here */
        unsigned meant;    /* mode of the current entry, where it gets another */
};

/* The folder `path` inside the root, made (0755, 0:0) where it is missing, symlinks followed inside
 * the root. *ret is borrowed from the cache and lives until the next call. With `make` unset: 1
 * found, 0 not there; else 0. */
int apply_dir(struct applier *a, const char *path, size_t len, bool make, struct adir **ret,
              struct bld_err *err) MUST_CHECK;
void apply_dirs_flush(struct applier *a); /* after something that may have been a folder went */
void apply_dirs_done(struct applier *a);
/* The same, of a folder that stays: it has no name any more, and lives until the next such call. */
struct adir *apply_keep(struct applier *a, struct adir *d);
/* Folder of an entry and its last component. */
int apply_parent(struct applier *a, const char *path, bool make, struct adir **ret,
                 const char **ret_name, struct bld_err *err) MUST_CHECK;

int apply_note_created(struct applier *a, const struct adir *d, const char *name,
                       struct bld_err *err) MUST_CHECK;
int apply_whiteout(struct applier *a, const struct ly_entry *e, struct bld_err *err) MUST_CHECK;
int apply_set_opaque(struct applier *a, const struct adir *d, const char *name,
                     struct bld_err *err) MUST_CHECK;
bool apply_is_whiteout(const struct stat *st);

#endif
