#include "layer/arena_priv.h"

#include <stdalign.h>
#include <string.h>

#define CHUNK (64u << 10)

struct arena_chunk {
        struct arena_chunk *next;
        alignas(max_align_t) unsigned char mem[];
};

static void *alloc(struct arena *a, size_t n, size_t align)
{
        size_t at = (a->used + align - 1) / align * align;
        void *p;

        if (!a->chunks || at > a->size || a->size - at < n) {
                size_t size = MAX(n, CHUNK);
                struct arena_chunk *c;

                if (size > SIZE_MAX - sizeof(*c))
                        return NULL;
                c = mem_zalloc(1, sizeof(*c) + size);
                if (!c)
                        return NULL;
                c->next = a->chunks;
                a->chunks = c;
                a->size = size;
                at = 0;
        }
        p = a->chunks->mem + at;
        a->used = at + n;
        return p;
}

void *arena_alloc(struct arena *a, size_t n)
{
        return alloc(a, n, alignof(max_align_t));
}

void *arena_dup(struct arena *a, const void *p, size_t n)
{
        void *c = arena_alloc(a, n);

        if (c && n)
                memcpy(c, p, n);
        return c;
}

char *arena_strndup(struct arena *a, const char *s, size_t n)
{
        char *p = n == SIZE_MAX ? NULL : alloc(a, n + 1, 1);

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
