#include "tests/fuzz/memory.h"

#include <string.h>

static ssize_t take(void *user, void *p, size_t n, struct bld_err *err)
{
        struct memory *m = user;

        (void)err;
        n = MIN(n, MIN(m->n - m->pos, m->step));
        if (n)
                memcpy(p, m->p + m->pos, n);
        m->pos += n;
        return (ssize_t)n;
}

static int add(void *user, const void *p, size_t n, struct bld_err *err)
{
        struct sb *b = user;

        sb_add(b, p, n);
        return sb_check(b, "tar", err);
}

struct memory memory_of(const struct sb *b, size_t step)
{
        return (struct memory){.p = (const uint8_t *)sb_text(b), .n = b->len, .step = step};
}

struct ly_source memory_source(struct memory *m)
{
        return (struct ly_source){.read = take, .user = m};
}

struct ly_sink memory_sink(struct sb *b)
{
        return (struct ly_sink){.write = add, .user = b};
}
