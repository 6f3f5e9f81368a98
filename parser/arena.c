#include "parser/text_priv.h"

#include <stddef.h>
#include <string.h>

#define BLOCK_SIZE ((size_t)64 * 1024)

struct block {
        struct block *next;
        size_t used, cap;
        max_align_t data[];
};

struct df_arena {
        struct block *head; /* the one being filled */
};

struct df_arena *df_arena_new(void)
{
        return mem_zalloc(1, sizeof(struct df_arena));
}

void df_arena_free(struct df_arena *a)
{
        if (!a)
                return;
        for (struct block *b = a->head, *next; b; b = next) {
                next = b->next;
                free(b);
        }
        free(a);
}

static struct block *block_new(size_t cap)
{
        struct block *b;
        size_t size;

        if (ADD_OVERFLOWS(cap, offsetof(struct block, data), &size))
                return NULL;
        b = mem_alloc(size);
        if (!b)
                return NULL;
        *b = (struct block){.cap = cap};
        return b;
}

static void *take(struct df_arena *a, size_t size, size_t align)
{
        struct block *b = a->head;
        size_t at = b ? (b->used + align - 1) & ~(align - 1) : 0;

        if (b && at <= b->cap && size <= b->cap - at) {
                b->used = at + size;
                return (char *)b->data + at;
        }
        if (size > BLOCK_SIZE / 4) {
                /* A block of its own, behind the head, which still has room for small things. */
                b = block_new(size);
                if (!b)
                        return NULL;
                b->used = size;
                if (a->head) {
                        b->next = a->head->next;
                        a->head->next = b;
                } else {
                        a->head = b;
                }
                return b->data;
        }
        b = block_new(BLOCK_SIZE);
        if (!b)
                return NULL;
        b->next = a->head;
        b->used = size;
        a->head = b;
        return b->data;
}

void *df_arena_alloc(struct df_arena *a, size_t n, size_t size)
{
        size_t bytes;
        void *p;

        if (MUL_OVERFLOWS(n, size, &bytes))
                return NULL;
        p = take(a, bytes, sizeof(max_align_t) > 16 ? 16 : sizeof(max_align_t));
        if (p && bytes)
                memset(p, 0, bytes);
        return p;
}

char *df_arena_str(struct df_arena *a, const char *s, size_t n)
{
        char *p = n < SIZE_MAX ? take(a, n + 1, 1) : NULL;

        if (!p)
                return NULL;
        if (n)
                memcpy(p, s, n);
        p[n] = '\0';
        return p;
}
