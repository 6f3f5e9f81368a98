#ifndef LAYER_DIFF_PRIV_H
#define LAYER_DIFF_PRIV_H

#include <sys/stat.h>

#include "base/map.h"
#include "layer/baseline_priv.h"
#include "layer/tar_priv.h"

struct dname {
        char *name;
        struct stat st;
        bool whiteout, dropped; /* dropped: a stub of bld's own, unchanged */
};
VEC_DEFINE(dnames, struct dname);
VEC_DEFINE(dfds, int);

/* A folder on the way down. */
struct dlevel {
        struct dlevel *up;
        unsigned depth;
        char *path; /* "" for the root */
        int fd;     /* of the upper folder, -1 when closed for the time being */
        /* The lower folders that merge here, top first: what an overlay would look through. */
        struct dfds lowers;
        bool lowers_open, lowers_borrowed;
        bool hides; /* it, or a folder above it, is opaque: what is not in the upper is gone */
        bool x_whiteouts;
        struct ly_entry e;
        bool emitted;
        bool opaque_y; /* its own mark */
};

struct differ {
        const struct ly_diff_opts *o;
        struct ly_writer *w;
        int upper;
        struct map stubs;   /* path -> struct ly_stub */
        struct map links;   /* inode -> path of its first name */
        struct map counted; /* inodes of several names whose blocks are counted */
        uint64_t disk_bytes;
        unsigned char *buf;
        /* Scan of a whole tree: what it was, what it is, and inodes that got a new name. */
        struct baseline *base;
        struct sb now;
        struct map linked; /* inode -> non-NULL */
};
bool diff_scans(const struct differ *d);

/* ---- diff_scan.c ---- */

int scan_begin(struct differ *d, struct bld_err *err) MUST_CHECK;
int scan_end(struct differ *d, struct bld_err *err) MUST_CHECK;
void scan_done(struct differ *d);
/* As diff_lookup(), from the record. */
int scan_lookup(const struct differ *d, const struct dlevel *l, const char *name, struct stat *ret);
int scan_gone(const struct differ *d, const struct dlevel *l, const struct dnames *names,
              struct strv *ret, struct bld_err *err) MUST_CHECK;
/* 1 nothing of the entry changed, as its inode tells: it is recorded and done. */
int scan_skip(struct differ *d, const char *path, const struct stat *st);
/* 1 the bytes (fd; or the target of a link) and capabilities are those recorded. */
int scan_same(struct differ *d, struct dlevel *l, const struct dname *n, int fd,
              struct bld_err *err);
/* Record an entry that is looked at. digest: of its content, when it is known; else it is found. */
int scan_note(struct differ *d, struct dlevel *l, const struct dname *n, int fd,
              const uint64_t *digest, struct bld_err *err) MUST_CHECK;
bool scan_new_name(const struct differ *d, const struct stat *st);

/* ---- diff_lower.c ---- */

const char *diff_xattr(const struct differ *d, const char *what, char buf[64]);
bool diff_is_whiteout(const struct stat *st);
/* Names and types in the folder fd, sorted bytewise. */
int diff_list(const struct differ *d, int fd, struct dnames *ret, struct bld_err *err) MUST_CHECK;
void diff_names_done(struct dnames *a);
/* What `name` is in the lower view of l: 1 found (*ret_fd: the folder it is in, borrowed), 0 not.
 */
int diff_lookup(const struct differ *d, struct dlevel *l, const char *name, struct stat *ret,
                int *ret_fd, struct bld_err *err);
/* Open l's handles, by way of its path, if they are not. */
int diff_open(struct differ *d, struct dlevel *l, struct bld_err *err) MUST_CHECK;
void diff_close(struct dlevel *l);
/* Names of the lower view of l that `upper` lacks, sorted. */
int diff_gone(struct differ *d, struct dlevel *l, const struct dnames *upper, struct strv *ret,
              struct bld_err *err) MUST_CHECK;

#endif
