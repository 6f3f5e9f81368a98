/* What a whole tree was before a step, for trees without an overlay: the step's changes are found
 * by looking again. A step cannot set ctime, so an entry with the same inode, ctime and size is the
 * same; of others the digest of their content decides (change detection, not identity). */
#ifndef LAYER_BASELINE_PRIV_H
#define LAYER_BASELINE_PRIV_H

#include <sys/stat.h>

#include "base/map.h"
#include "base/sb.h"
#include "layer/layer.h"

struct base_rec {
        const char *path; /* in the baseline's memory */
        struct stat st;   /* type, mode, owner, size, times, inode, rdev; the rest is 0 */
        uint64_t digest;  /* of a file's bytes, of a link's target */
        uint64_t cap;     /* of security.capability; 0: none */
};
struct baseline;
/* What base_save() wrote to fd (read from its beginning). CORRUPT for anything else. */
int base_load(int fd, struct baseline **ret, struct bld_err *err) MUST_CHECK;
void base_free(struct baseline *b);
const struct base_rec *base_get(const struct baseline *b, const char *path);
/* Names in a folder, sorted. */
int base_names(const struct baseline *b, const char *dir, struct strv *ret) MUST_CHECK;
/* Nothing about the inode changed, so nothing of it did. */
bool base_same(const struct base_rec *r, const struct stat *st);

/* Append an entry to what will be the next baseline. */
void base_add(struct sb *out, const char *path, const struct stat *st, uint64_t digest,
              uint64_t cap);
int base_save(const struct sb *entries, int fd, struct bld_err *err) MUST_CHECK;

/* Digest of bytes as they come by. */
uint64_t base_hash(uint64_t before, const void *p, size_t n);

#endif
