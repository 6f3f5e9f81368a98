/* Inside of cas/: the store handle and what its files share. Lock order: owner_lock and sync_lock
 * are leaves; the file `lock` of the store is never taken while it is held. */
#ifndef CAS_CAS_PRIV_H
#define CAS_CAS_PRIV_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/file.h>

#include "base/fd.h"
#include "base/map.h"
#include "cas/cas.h"

#define CAS_OWNER_LEN 8
#define CAS_TMP_NAME_MAX 40 /* "<owner>.<n>" */
#define CAS_BOOT_LEN 16
#define CAS_NAME_MAX 128 /* views, snapshot ids, index names */

/* Coalesces the syncs of one folder: whoever asks while a sync runs shares the next one. */
struct dir_sync {
        pthread_mutex_t lock; /* guards the members below */
        pthread_cond_t ended;
        uint64_t asked, finished;
        bool running;
};

struct cas {
        char *root;
        int root_fd;
        int tmp_fd;
        struct dir_sync blobs_sync;
        pthread_mutex_t owner_lock; /* guards owner_fd, owner, boot while they are made */
        int owner_fd;               /* tmp/<owner>.own, locked; -1 until something is needed */
        char owner[CAS_OWNER_LEN + 1];
        atomic_ullong next; /* number of the next tmp entry */
        bool boot_known;
        unsigned char boot[CAS_BOOT_LEN];
};

/* ---- store.c ---- */

/* This boot's id; false when the kernel does not tell (then nothing disposable is trusted). */
bool cas_boot_id(struct cas *c, unsigned char ret[CAS_BOOT_LEN]);
void cas_random_name(char *out, size_t n); /* n characters [a-z0-9] and a NUL */
/* "abc-9.x": letters, digits, ".", "_", "-"; no leading dot; so it is one safe path component. */
bool cas_valid_name(const char *s);
/* fsync of a folder, relative to the root. */
int cas_sync_dir(struct cas *c, const char *dir, struct bld_err *err) MUST_CHECK;

/* ---- lock.c ---- */

/* Take the store's lock; *ret_fd is closed to release it. op: LOCK_SH or LOCK_EX. */
int cas_store_lock(struct cas *c, int op, int *ret_fd, struct bld_err *err) MUST_CHECK;
/* Is the locked file behind this name held by a live process? 1 held, 0 not (or gone). */
int cas_is_held(int dirfd, const char *name);

/* ---- tmp.c ---- */

/* A fresh name under tmp/ that is swept when this process dies. */
int cas_tmp_name(struct cas *c, char ret[CAS_TMP_NAME_MAX], struct bld_err *err) MUST_CHECK;
/* Remove what dead processes left. Errors are not the caller's business. */
/* Remove tmp/<name>; what we may not remove becomes an orphan for a keeper. */
void cas_tmp_discard(struct cas *c, const char *name);
/* Does the sweep, or a keeper, see to this name in tmp/? */
bool cas_tmp_has_keeper(const char *name);
/* Write a whole small file under tmp/; name is an output. */
int cas_tmp_write(struct cas *c, const void *p, size_t n, bool sync, char name[CAS_TMP_NAME_MAX],
                  struct bld_err *err) MUST_CHECK;

/* ---- lease.c ---- */

/* Lines of a lease file: "b <digest>" or "s <view>/<id>". The process's own lease (its .own file)
 * holds what it has published, until it closes the store. */
int cas_lease_add(int fd, char kind, const char *what, struct bld_err *err) MUST_CHECK;
int cas_own_lease_add(struct cas *c, char kind, const char *what, struct bld_err *err) MUST_CHECK;
struct cas_leases {
        struct map blobs;     /* "sha256:..." */
        struct map snapshots; /* "<view>/<id>" */
        struct map ids;       /* "<id>" alone, for the files under index/ */
        bool live_build;      /* some build is running */
};
void cas_leases_init(struct cas_leases *l);
void cas_leases_done(struct cas_leases *l);
/* All leases of living processes. Call with the store's lock held exclusively. */
int cas_leases_load(struct cas *c, struct cas_leases *l, struct bld_err *err) MUST_CHECK;

/* ---- blob.c ---- */

#define CAS_BLOB_PATH_MAX (16 + DIGEST_HEX_MAX)
void cas_blob_path(const struct digest *d, char out[CAS_BLOB_PATH_MAX]);

/* ---- result.c ---- */

struct cas_result_info {
        struct digest *blobs;
        size_t nblobs;
        int64_t last_use_ns;
        uint64_t disk_bytes;
};
void cas_result_info_done(struct cas_result_info *i);
/* What the collector needs of a record: 1, or 0 when it is damaged or gone. */
int cas_result_info(struct cas *c, const char *path, struct cas_result_info *ret,
                    struct bld_err *err);

/* ---- refs.c ---- */

int cas_index_read(struct cas *c, struct img_index *ret, struct bld_err *err) MUST_CHECK;
/* Call fn for everything a descriptor reaches, itself first. Absent blobs are passed with present
 * false and not entered. */
typedef int (*cas_reach_fn)(void *user, const struct img_desc *d, bool present,
                            struct bld_err *err);
int cas_reach(struct cas *c, const struct img_desc *d, cas_reach_fn fn, void *user,
              struct bld_err *err) MUST_CHECK;

/* An entry of index.json without a name, of ours or another tool's. */
bool cas_entry_is_untagged(const struct img_desc *d);
int64_t cas_entry_created(const struct img_desc *d); /* seconds; 0: unknown */
/* Take untagged entries out, by digest as text. Call with the store's lock held exclusively. */
int cas_refs_forget(struct cas *c, const struct map *digests, struct bld_err *err) MUST_CHECK;

/* ---- snapshot.c ---- */

struct cas_snapshot_info {
        uint64_t size_bytes, entries;
        int64_t last_use_ns;
        bool trusted;
};
/* 1, or 0 when there is no readable record. */
int cas_snapshot_info(struct cas *c, const char *view, const char *id,
                      struct cas_snapshot_info *ret);
/* Is this file of index/ of this boot, or synced? name is as on disk. */
bool cas_index_trusted(struct cas *c, const char *name);

/* ---- prune.c ---- */

/* What an unlimited `prune --all` would free now, in bytes on disk. */
int cas_reclaimable(struct cas *c, uint64_t *ret, struct bld_err *err) MUST_CHECK;

/* ---- usage.c ---- */

/* Disk use of a path below the root as du counts it, links counted once within `seen` (may be
 * NULL). *ret_denied: something could not be read. */
struct cas_du {
        struct map seen;
        uint64_t bytes, files;
        bool denied;
};
void cas_du_init(struct cas_du *u);
void cas_du_done(struct cas_du *u);
int cas_du_add(struct cas_du *u, int dirfd, const char *path, struct bld_err *err) MUST_CHECK;
/* Call fn for every name in a folder below the root ("." and ".." left out), in order of names. A
 * missing folder is empty. */
int cas_names(struct cas *c, const char *dir, struct strv *ret, struct bld_err *err) MUST_CHECK;

#endif
