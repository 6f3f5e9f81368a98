#include "layer/arena_priv.h"

#include <stdalign.h>

#define CHUNK (64u << 10)

struct arena_chunk {
        struct arena_chunk *next;
        alignas(max_align_t) unsigned char mem[];
};

void *arena_alloc(struct arena *a, size_t n)
{
        const size_t align = alignof(max_align_t);
        size_t need = (n + align - 1) / align * align;
        void *p;

        if (need < n)
                return NULL;
        if (!a->chunks || a->size - a->used < need) {
                size_t size = MAX(need, CHUNK);
                struct arena_chunk *c;

                if (size > SIZE_MAX - sizeof(*c))
                        return NULL;
                c = mem_zalloc(1, sizeof(*c) + size);
                if (!c)
                        return NULL;
                c->next = a->chunks;
                a->chunks = c;
                a->size = size;
                a->used = 0;
        }
        p = a->chunks->mem + a->used;
        a->used += need;
        return p;
}

char *arena_strndup(struct arena *a, const char *s, size_t n)
{
        char *p = n == SIZE_MAX ? NULL : arena_alloc(a, n + 1);

        if (p)
                memcpy(p, s, n);
        return p;
}

void arena_done(struct arena *a)
{
        while (a->chunks) {
                struct arena_chunk *next = a->chunks->next;

                free(a->chunks);
                a->chunks = next;
        }
        a->used = a->size = 0;
}
