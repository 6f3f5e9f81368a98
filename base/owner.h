/* Owners a file system cannot be told. In a user namespace of one id every file belongs to that id;
 * who it belongs to in the image is kept beside it: for regular files and folders in an extended
 * attribute, which follows renames, links and an overlay's copy-up; for symbolic links, pipes and
 * sockets, which take none, in a table by inode and birth time. No entry means 0:0.
 * Device nodes, which nobody may make there, are empty files whose entry says what they are.
 * Where a namespace has many ids, owners are real, and only what it cannot have is noted: ids
 * beyond its map, and device nodes. On disk such a file belongs to OWNER_BEYOND, and the note holds
 * as long as it does: a later chown(2) to an id of the map makes it void without anybody being
 * told. Threads: MT-Object. */
#ifndef BASE_OWNER_H
#define BASE_OWNER_H

#include <sys/stat.h>

#include "base/base.h"
#include "base/map.h"

#define OWNER_XATTR "user.bld.o"
#define OWNER_LEN 25        /* of its value */
#define OWNER_BEYOND 65535u /* -1 of the 16-bit calls: nobody's */

struct owner {
        uint32_t uid, gid;
        uint32_t type; /* S_IFCHR or S_IFBLK of a device node, else 0 */
        uint32_t dev_major, dev_minor;
        uint32_t mode; /* OWNER_MODE and permission bits, where the file has others; else 0 */
};
#define OWNER_MODE 0x10000u
void owner_encode(const struct owner *o, unsigned char out[OWNER_LEN]);
bool owner_decode(const void *p, size_t n, struct owner *ret);
/* What stat(2) would say. */
void owner_apply(const struct owner *o, struct stat *st);

/* The attribute of a regular file or folder: 1 found, 0 none. path: links are not followed but in
 * the last component when `follow` (for /proc/self/fd/N). */
int owner_xattr_get(const char *path, bool follow, struct owner *ret);
/* 0, or -1 and errno. An owner of 0:0, no type and no mode is no attribute. */
int owner_xattr_set(const char *path, bool follow, const struct owner *o);

struct owner_key {
        uint64_t ino;
        int64_t birth_ns; /* 0 where the file system knows none */
};
struct owner_table {
        struct map m;
        uint64_t attrs; /* how many attributes were set beside the table: 0 means no search */
        bool beyond;    /* owners are real but for ids beyond the map */
};
void owner_table_init(struct owner_table *t);
void owner_table_done(struct owner_table *t);
bool owner_table_get(const struct owner_table *t, const struct owner_key *k, struct owner *ret);
int owner_table_set(struct owner_table *t, const struct owner_key *k,
                    const struct owner *o) MUST_CHECK;
bool owner_table_empty(const struct owner_table *t); /* nothing here and no attributes */
/* Add what a file holds. An absent or damaged one is no error: it counts as one attribute, so that
 * nobody trusts the absence. */
int owner_table_load(struct owner_table *t, int dirfd, const char *name,
                     struct bld_err *err) MUST_CHECK;
int owner_table_write(const struct owner_table *t, int fd, struct bld_err *err) MUST_CHECK;

/* Can st be of a file with a note? (beyond) */
bool owner_may_be_noted(const struct stat *st);
/* A note against what the file system says: of the ids only those of OWNER_BEYOND are replaced. */
void owner_beyond(struct owner *o, const struct stat *st);
/* chown(2) as far as the map goes, OWNER_BEYOND for what it lacks; UINT32_MAX keeps an id.
 * flags: AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW. 0: all of it, 1: a note is needed, -1 and errno. */
int owner_tell(int dirfd, const char *name, int flags, uint32_t uid, uint32_t gid);

/* Key of what a handle (O_PATH, or a folder's with name) is; -1 and errno. */
int owner_key_of(int dirfd, const char *name, struct owner_key *ret);
/* Whoever name below dirfd belongs to, st being what fstatat(2) says of it: 1 found, 0 none. */
int owner_find(const struct owner_table *t, int dirfd, const char *name, const struct stat *st,
               struct owner *ret);
/* Note it; for links and the like in the table. 0, or -1 and errno. */
int owner_note(struct owner_table *t, int dirfd, const char *name, const struct stat *st,
               const struct owner *o);

#endif
