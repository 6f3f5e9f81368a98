#include "base/map.h"

#include <string.h>
#define XXH_INLINE_ALL /* header only: no library to link */
#include <xxhash.h>

uint64_t hash64(const void *p, size_t n)
{
        return XXH3_64bits(p, n);
}

void map_init(struct map *m, void (*free_value)(void *))
{
        memset(m, 0, sizeof(*m));
        m->free_value = free_value;
}

void map_done(struct map *m)
{
        for (size_t i = 0; i < m->n; i++) {
                if (m->v[i].key && m->free_value)
                        m->free_value(m->v[i].value);
                free(m->v[i].key);
        }
        free(m->v);
        free(m->slots);
        map_init(m, m->free_value);
}

/* The slot that holds the key, or the free one where it would go. Removed entries keep their slot
 * (with key NULL) until the next rebuild, so probing stays right. */
static size_t find_slot(const struct map *m, const void *key, size_t len, uint64_t hash)
{
        size_t mask = m->nslots - 1, s = (size_t)hash & mask;

        for (;; s = (s + 1) & mask) {
                const struct map_entry *e;

                if (m->slots[s] == 0)
                        return s;
                e = &m->v[m->slots[s] - 1];
                if (e->key && e->hash == hash && e->len == len && memcmp(e->key, key, len) == 0)
                        return s;
        }
}

static bool rebuild(struct map *m)
{
        size_t want = 16, j = 0;
        uint32_t *slots;

        while (want < (m->live + 1) * 2)
                want *= 2;
        slots = mem_zalloc(want, sizeof(*slots));
        if (!slots)
                return false;
        for (size_t i = 0; i < m->n; i++)
                if (m->v[i].key)
                        m->v[j++] = m->v[i];
        m->n = j;
        free(m->slots);
        m->slots = slots;
        m->nslots = want;
        for (size_t i = 0; i < m->n; i++) {
                size_t s = find_slot(m, m->v[i].key, m->v[i].len, m->v[i].hash);

                m->slots[s] = (uint32_t)(i + 1);
        }
        return true;
}

void *map_getn(const struct map *m, const void *key, size_t len)
{
        size_t s;

        if (m->live == 0)
                return NULL;
        s = find_slot(m, key, len, hash64(key, len));
        return m->slots[s] ? m->v[m->slots[s] - 1].value : NULL;
}

void *map_get(const struct map *m, const char *key)
{
        return map_getn(m, key, strlen(key));
}

int map_setn(struct map *m, const void *key, size_t len, void *value)
{
        uint64_t hash = hash64(key, len);
        void *v = m->v;
        char *copy;
        size_t s;

        if (m->n >= UINT32_MAX - 1)
                return BLD_E_NOMEM;
        if ((m->n + 1) * 2 > m->nslots && !rebuild(m))
                return BLD_E_NOMEM;
        s = find_slot(m, key, len, hash);
        if (m->slots[s]) {
                struct map_entry *e = &m->v[m->slots[s] - 1];

                if (m->free_value && e->value != value)
                        m->free_value(e->value);
                e->value = value;
                return 0;
        }
        v = m->v;
        if (m->n == m->cap && !vec_grow(&v, &m->cap, m->n + 1, sizeof(*m->v)))
                return BLD_E_NOMEM;
        m->v = v;
        copy = mem_strndup(key, len);
        if (!copy)
                return BLD_E_NOMEM;
        m->v[m->n++] = (struct map_entry){.key = copy, .len = len, .hash = hash, .value = value};
        m->slots[s] = (uint32_t)m->n;
        m->live++;
        return 0;
}

int map_set(struct map *m, const char *key, void *value)
{
        return map_setn(m, key, strlen(key), value);
}

bool map_del(struct map *m, const char *key)
{
        struct map_entry *e;
        size_t s;

        if (m->live == 0)
                return false;
        s = find_slot(m, key, strlen(key), hash64(key, strlen(key)));
        if (!m->slots[s])
                return false;
        e = &m->v[m->slots[s] - 1];
        if (m->free_value)
                m->free_value(e->value);
        free(e->key);
        e->key = NULL;
        e->value = NULL;
        m->live--;
        return true;
}

struct map_entry *map_next(const struct map *m, const struct map_entry *prev)
{
        for (size_t i = prev ? (size_t)(prev - m->v) + 1 : 0; i < m->n; i++)
                if (m->v[i].key)
                        return &m->v[i];
        return NULL;
}
