/* Hash map from byte strings to pointers. Keys are copied; values are borrowed (or freed by the
 * function given at map_init). Iteration is in insertion order. Threads: MT-Object. */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include "base/base.h"
#include "base/vec.h"

struct map_entry {
        char *key; /* NUL-terminated copy */
        size_t len;
        uint64_t hash;
        void *value;
};

struct map {
        struct map_entry *v; /* n entries in insertion order; key NULL = removed */
        size_t n, cap, live;
        uint32_t *slots; /* index + 1 into v, 0 = free */
        size_t nslots;
        void (*free_value)(void *);
};

void map_init(struct map *m, void (*free_value)(void *));
void map_done(struct map *m);
void *map_get(const struct map *m, const char *key);
void *map_getn(const struct map *m, const void *key, size_t len);
/* Insert or replace (the old value is freed). 0 or BLD_E_NOMEM. */
int map_set(struct map *m, const char *key, void *value) MUST_CHECK;
int map_setn(struct map *m, const void *key, size_t len, void *value) MUST_CHECK;
bool map_del(struct map *m, const char *key);

/* for (struct map_entry *e = NULL; (e = map_next(&m, e));) */
struct map_entry *map_next(const struct map *m, const struct map_entry *prev);

/* XXH3-64 of bytes; for tables and change detection, never for identity. */
uint64_t hash64(const void *p, size_t n);

#endif
