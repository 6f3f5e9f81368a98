/* Finds "K" or "K=V" strings of a list by K without walking it. The list may grow and values may be
 * replaced between uses; entries must not be removed, reordered or renamed. Of several with one key
 * the last counts, as everywhere. Zero is empty. MT-Object. */
#ifndef BASE_STRV_INDEX_H
#define BASE_STRV_INDEX_H

#include "base/base.h"
#include "base/map.h"
#include "base/vec.h"

struct strv_index {
        struct map map;
        size_t n;   /* entries of the list that are in the map */
        bool whole; /* entries are keys as they stand, '=' and all */
};

/* Where it stands, or SIZE_MAX. Without memory the list is walked. */
size_t strv_index_find(struct strv_index *x, const struct strv *a, const char *key);
/* Value, "" for an entry without one, NULL when there is none. */
const char *strv_index_get(struct strv_index *x, const struct strv *a, const char *key);
/* Replace in place or append. */
int strv_index_set(struct strv_index *x, struct strv *a, const char *key,
                   const char *value) MUST_CHECK;
/* Append unless it is there. */
int strv_index_add(struct strv_index *x, struct strv *a, const char *key) MUST_CHECK;
void strv_index_done(struct strv_index *x);

#endif
