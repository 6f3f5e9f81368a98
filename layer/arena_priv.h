/* Many small pieces that die together. */
#ifndef LAYER_ARENA_PRIV_H
#define LAYER_ARENA_PRIV_H

#include "base/base.h"

struct arena_chunk;
struct arena {
        struct arena_chunk *chunks;
        size_t used, size; /* of the first chunk */
};
void *arena_alloc(struct arena *a, size_t n); /* zeroed, aligned for any type; NULL: no memory */
void *arena_dup(struct arena *a, const void *p, size_t n);
char *arena_strndup(struct arena *a, const char *s, size_t n); /* packed, not aligned */
void arena_done(struct arena *a);

#endif
