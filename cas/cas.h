/* The content-addressed store: blobs, results, references, leases, temporary space, collection.
 * On disk: an OCI image layout plus bld's own folders (docs/store.md). Any number of processes may
 * share one store; whatever is killed whenever, it stays a valid layout.
 * Threads: every call on a struct cas is MT-Safe; cas_writer, cas_lease are MT-Object. */
#ifndef CAS_CAS_H
#define CAS_CAS_H

#include "base/base.h"
#include "base/cancel.h"
#include "base/digest.h"
#include "base/sb.h"
#include "base/vec.h"
#include "image/image.h"

struct cas;

/* Open, creating what is missing (mode 0700 root folder). Does no sync and sweeps nothing when
 * there is nothing to sweep. UNSUPPORTED when `format` is newer than ours. */
int cas_open(const char *root, struct cas **ret, struct bld_err *err) MUST_CHECK;
void cas_close(struct cas *c);
DEFINE_AUTO_PTR(struct cas, cas_close);
const char *cas_root(const struct cas *c); /* absolute path, borrowed */
int cas_root_fd(const struct cas *c);      /* O_PATH or O_RDONLY folder fd, borrowed */

/* ---- blobs ---- */

/* 1 present (*ret_size set), 0 absent. */
int cas_blob_stat(struct cas *c, const struct digest *d, uint64_t *ret_size, struct bld_err *err);
/* The same, and a blob that is there is kept from collection until the store is closed: for what is
 * to be named or leased later. */
int cas_blob_keep(struct cas *c, const struct digest *d, uint64_t *ret_size, struct bld_err *err);
/* Read-only fd at 0; caller closes. NOT_FOUND. Not re-verified here. */
int cas_blob_open(struct cas *c, const struct digest *d, int *ret_fd,
                  struct bld_err *err) MUST_CHECK;
/* Whole small blob (manifest, config), digest verified. CORRUPT moves the file aside. */
int cas_blob_read(struct cas *c, const struct digest *d, size_t max, struct sb *out,
                  struct bld_err *err) MUST_CHECK;
/* Re-hash a stored blob; CORRUPT moves it out of blobs/ so that it can be fetched again. */
int cas_blob_verify(struct cas *c, const struct digest *d, struct bld_err *err) MUST_CHECK;
int cas_blob_put(struct cas *c, const void *p, size_t n, struct digest *ret,
                 struct bld_err *err) MUST_CHECK;
int cas_blob_delete(struct cas *c, const struct digest *d, struct bld_err *err) MUST_CHECK;

/* Streaming insert: bytes go to tmp/, are hashed on the way, and become a blob at commit. */
struct cas_writer;
int cas_writer_open(struct cas *c, struct cas_writer **ret, struct bld_err *err) MUST_CHECK;
int cas_writer_add(struct cas_writer *w, const void *p, size_t n, struct bld_err *err) MUST_CHECK;
uint64_t cas_writer_size(const struct cas_writer *w);
/* expect NULL, or the digest (and size) it must have: CORRUPT otherwise, nothing is published.
 * The blob is durable when this returns (if it was there before, at the latest when a reference to
 * it is set). It is kept from collection until the store is closed. */
int cas_writer_commit(struct cas_writer *w, const struct digest *expect, uint64_t expect_size,
                      struct digest *ret, struct bld_err *err) MUST_CHECK;
void cas_writer_free(struct cas_writer *w); /* drops what was not committed */
DEFINE_AUTO_PTR(struct cas_writer, cas_writer_free);

/* ---- results: key -> small record ---- */

#define CAS_RECORD_MAX (4u << 20)
/* 1 found (payload appended to out, last use touched), 0 absent or damaged. kind is a 4-byte tag
 * ("step", "imag") that must match. */
int cas_result_get(struct cas *c, const struct digest *key, const char *kind, struct sb *out,
                   struct bld_err *err);
/* When was it written (CLOCK_REALTIME seconds)? 1/0. */
int cas_result_time(struct cas *c, const struct digest *key, int64_t *ret_sec);
/* blobs: what the result needs to be of use (collection marks from the newest results); a manifest
 * stands for all it lists. */
int cas_result_put(struct cas *c, const struct digest *key, const char *kind, const void *p,
                   size_t n, const struct digest *blobs, size_t nblobs,
                   struct bld_err *err) MUST_CHECK;
int cas_result_delete(struct cas *c, const struct digest *key, struct bld_err *err);

/* ---- references: index.json ---- */

/* Names are full references ("docker.io/library/app:v1"). desc: manifest or index, whose blobs are
 * already in the store. The entry carries org.opencontainers.image.ref.name (the tag) and
 * io.containerd.image.name (the full name). name NULL: an untagged result of a build. Saying again
 * what is said already writes and syncs nothing. NOT_FOUND when a blob it reaches is missing. */
int cas_ref_set(struct cas *c, const char *name, const struct img_desc *desc,
                struct bld_err *err) MUST_CHECK;
/* The same, but layers may be absent: a layout may lack blobs that are to be had elsewhere. */
int cas_ref_set_lazy(struct cas *c, const char *name, const struct img_desc *desc,
                     struct bld_err *err) MUST_CHECK;
/* NOT_FOUND. */
int cas_ref_get(struct cas *c, const char *name, struct img_desc *ret,
                struct bld_err *err) MUST_CHECK;
/* Remove a name; with by_digest all entries of that digest. NOT_FOUND. */
int cas_ref_remove(struct cas *c, const char *name, struct bld_err *err) MUST_CHECK;
int cas_ref_remove_digest(struct cas *c, const struct digest *d, struct bld_err *err) MUST_CHECK;

struct cas_ref {
        char *name; /* NULL: untagged */
        struct img_desc desc;
        int64_t created_sec; /* when the name was set */
};
VEC_DEFINE(cas_refs, struct cas_ref);
void cas_refs_free(struct cas_refs *a);
int cas_ref_list(struct cas *c, struct cas_refs *ret, struct bld_err *err) MUST_CHECK;

/* ---- builds: lease and record folder ---- */

struct cas_build;
/* Begin a build: makes builds/<id>/ with a locked lease file. id is 8 characters. */
int cas_build_begin(struct cas *c, struct cas_build **ret, struct bld_err *err) MUST_CHECK;
const char *cas_build_id(const struct cas_build *b);
int cas_build_dirfd(const struct cas_build *b); /* borrowed; log, events, inputs go here */
/* Keep blobs (and the snapshots, TOCs of a diff ID) from collection until the build ends. Returns 1
 * when it exists now, 0 when it is gone (a miss). MT-Safe. */
int cas_lease_blob(struct cas_build *b, const struct digest *d, struct bld_err *err);
int cas_lease_snapshot(struct cas_build *b, const char *view, const char *id, struct bld_err *err);
void cas_build_end(struct cas_build *b, bool keep_record);

/* ---- temporary space and snapshots ---- */

/* A fresh folder tmp/<name>, owned by a locked file until freed; swept by the next process when the
 * owner dies. */
struct cas_tmp;
int cas_tmp_new(struct cas *c, struct cas_tmp **ret, struct bld_err *err) MUST_CHECK;
const char *cas_tmp_path(const struct cas_tmp *t); /* relative to the root: "tmp/x1y2" */
int cas_tmp_dirfd(const struct cas_tmp *t);
void cas_tmp_free(struct cas_tmp *t); /* removes what we can; a keeper removes foreign owners' */
DEFINE_AUTO_PTR(struct cas_tmp, cas_tmp_free);
/* What was only lent to a temporary folder goes back to its place in the store before the folder is
 * thrown away, by whomever: notes in it, numbered from 0, say what. Each is text of three parts,
 * each ended by NUL: inode, path in the folder, path in the store. */
#define CAS_RETURN_NOTE "return-%u"
void cas_tmp_rescue(struct cas *c, const char *name); /* name below tmp/ */
void cas_sweep(struct cas *c);                        /* folders of the dead */
/* Folders in tmp/ whose owner is dead and that this process could not delete (mapped owners):
 * relative paths, for a keeper to remove. */
int cas_tmp_orphans(struct cas *c, struct strv *ret, struct bld_err *err) MUST_CHECK;

/* "snapshots/<view>/<id>" relative to the root; id is 64 hex digits. Malloc'ed. */
char *cas_snapshot_path(const char *view, const char *id);
/* 1 when the snapshot is there and trusted (written in this boot, or synced since). */
int cas_snapshot_has(struct cas *c, const char *view, const char *id, struct bld_err *err);
/* Publish tmp folder `from` (relative path, holding fs/) under its name; a loser of the race is
 * left in tmp and 0 is returned as well. size_bytes (what du(1) says of fs/; 0: unknown) and
 * entries are recorded; what stands beside fs/ is added. */
int cas_snapshot_publish(struct cas *c, const char *from, const char *view, const char *id,
                         uint64_t size_bytes, uint64_t entries, struct bld_err *err) MUST_CHECK;
int cas_view_prepare(struct cas *c, const char *view, struct bld_err *err) MUST_CHECK;

/* Small disposable files under index/ (TOCs, stat indexes), atomically written, not synced, bound
 * to the boot. 1/0. name: "toc-<hex>", "ctx-<hex>". */
int cas_index_open(struct cas *c, const char *name, int *ret_fd, struct bld_err *err);
int cas_index_put(struct cas *c, const char *name, const void *p, size_t n,
                  struct bld_err *err) MUST_CHECK;

/* Make what is under snapshots/ and index/ outlive this boot: one syncfs, then marks. Slow (it
 * writes all that is dirty on the file system); for after a build that unpacked much, or on
 * request. */
int cas_disposable_sync(struct cas *c, struct bld_err *err) MUST_CHECK;

/* ---- one result is computed once ---- */

struct cas_lock;
/* Take the lock of a key. 0 taken; 1 when somebody has it and wait is false (*ret_holder, if
 * wanted, is the build id, 16 bytes). With wait, sleeps until free or cancelled. */
int cas_key_lock(struct cas *c, const struct digest *key, const char *build_id, bool wait,
                 const struct cancel *cancel, struct cas_lock **ret, char ret_holder[16],
                 struct bld_err *err) MUST_CHECK;
void cas_key_unlock(struct cas_lock *l);
DEFINE_AUTO_PTR(struct cas_lock, cas_key_unlock);

/* ---- space ---- */

enum cas_space_kind {
        CAS_SPACE_BLOBS,
        CAS_SPACE_SNAPSHOTS,
        CAS_SPACE_MOUNTS,
        CAS_SPACE_BUILDS,
        CAS_SPACE_OTHER,
        CAS_SPACE_KINDS
};
struct cas_usage {
        uint64_t bytes[CAS_SPACE_KINDS]; /* disk blocks, as du counts them */
        uint64_t count[CAS_SPACE_KINDS];
        uint64_t reclaimable_bytes; /* what prune --all would free now */
        uint64_t total_bytes;       /* equals `du -s` of the root within block rounding */
};
int cas_usage(struct cas *c, struct cas_usage *ret, struct bld_err *err) MUST_CHECK;

/* What can be given up alone. */
enum cas_item_kind {
        CAS_ITEM_RESULT,
        CAS_ITEM_SNAPSHOT,
        CAS_ITEM_INDEX,
        CAS_ITEM_MOUNT,
        CAS_ITEM_BUILD, /* the record of an ended build */
        CAS_ITEM_IMAGE, /* an untagged result of a build */
        CAS_ITEM_WASTE, /* damaged blobs, leftovers */
};
struct cas_item {
        enum cas_item_kind kind;
        char *id;
        uint64_t bytes;      /* on disk; in a list: with its blobs, also those it shares */
        int64_t last_use_ns; /* CLOCK_REALTIME */
        bool held;           /* a running build needs it */
        bool waste;          /* of no use to anybody: goes in every prune */
        bool shared;         /* a name or another item needs some of its blobs, too */
};
VEC_DEFINE(cas_items, struct cas_item);
void cas_items_free(struct cas_items *a);
int cas_item_list(struct cas *c, struct cas_items *ret, struct bld_err *err) MUST_CHECK;

struct cas_prune_opts {
        bool all;         /* results and untagged images, too, not only what nothing refers to */
        bool keep_mounts; /* with all: not the cache mounts; no limit counts them then */
        bool dry_run;
        uint64_t keep_bytes;     /* --keep-storage: stop when the store is no larger; 0: no floor */
        uint64_t max_used_bytes; /* 0: no ceiling */
        uint64_t min_free_bytes; /* 0: none */
        int64_t until_sec;       /* only what was last used before (CLOCK_REALTIME); 0: any */
        /* Only these; may be NULL. */
        bool (*match)(void *user, const struct cas_item *it);
        /* Delete snapshot folders this process may not (mapped owners): given relative paths in
         * tmp/; may be NULL. */
        int (*remove)(void *user, const char *relpath, struct bld_err *err);
        void *user;
};
struct cas_prune_result {
        uint64_t freed_bytes, blobs, results, snapshots, images, other;
        uint64_t over_bytes; /* by how much a limit is still exceeded */
};
int cas_prune(struct cas *c, const struct cas_prune_opts *o, struct cas_prune_result *ret,
              struct bld_err *err) MUST_CHECK;
/* A quick look whether a prune with these limits has something to do: 1 or 0. Cache mounts do not
 * count. Where the whole disk is within them it costs one call. */
int cas_is_over(struct cas *c, uint64_t max_used_bytes, uint64_t min_free_bytes,
                struct bld_err *err);
/* Bytes of the file system the store is on: its size, and what we may still use. */
int cas_disk(struct cas *c, uint64_t *ret_size, uint64_t *ret_free, struct bld_err *err) MUST_CHECK;

#endif
