/* The store kept within its limits: after a build in which something ran, and before a step when
 * the disk is nearly full. Failing to is no error of the build. */
#include "base/err.h"
#include "base/num.h"
#include "builder/solve/solve_priv.h"

static int remove_mapped(void *user, const char *relpath, struct bld_err *err)
{
        struct build *b = user;

        /* without a keeper it becomes an orphan, which the next build that has one removes */
        return b->keeper ? rt_remove_tree(b->keeper, relpath, err) : 0;
}

static void say(struct build *b, const char *text)
{
        if (b->c->note)
                b->c->note(b->c->user, text);
}

static int collect(struct build *b, struct cas_prune_opts *o, struct cas_prune_result *res)
{
        struct bld_err err = BLD_ERR_INIT;
        char text[1200];
        int r;

        o->remove = remove_mapped;
        o->user = b;
        r = cas_prune(b->c->cas, o, res, &err);
        if (r < 0 && r != BLD_E_CANCELLED) {
                (void)snprintf(text, sizeof(text), "warning: the store was not cleaned up: %s",
                               err.msg);
                say(b, text);
        }
        return r;
}

static void over(struct build *b, uint64_t bytes)
{
        char size[24], text[300];

        format_size(bytes, size);
        (void)snprintf(
                text, sizeof(text),
                "note: the store is %s above its limits, and named images or this build need "
                "the rest of it: bld rmi, or raise BLD_CACHE_MAX_SIZE",
                size);
        say(b, text);
}

void ceiling_before_step(struct build *b)
{
        struct cas_prune_opts o = {.min_free_bytes = b->o->cache_min_free_bytes,
                                   .keep_bytes = b->o->cache_floor_bytes};
        struct cas_prune_result res;

        if (b->made_room || o.min_free_bytes == 0 ||
            cas_is_over(b->c->cas, 0, o.min_free_bytes, NULL) != 1)
                return;
        b->made_room = true; /* what is left then is in use */
        (void)collect(b, &o, &res);
}

void ceiling_after_build(struct build *b)
{
        const struct bld_build_opts *bo = b->o;
        struct cas_prune_opts age = {.all = true, .keep_mounts = true};
        struct cas_prune_opts room = {.min_free_bytes = bo->cache_min_free_bytes,
                                      .keep_bytes = bo->cache_floor_bytes};
        struct cas_prune_opts most = {.max_used_bytes = bo->cache_max_bytes};
        struct cas_prune_result res;

        if (cancel_level(b->c->cancel))
                return;
        if (bo->cache_keep_sec) {
                age.until_sec = time_now_ns() / 1000000000 - bo->cache_keep_sec;
                (void)collect(b, &age, &res);
        }
        if (room.min_free_bytes && cas_is_over(b->c->cas, 0, room.min_free_bytes, NULL) == 1)
                (void)collect(b, &room, &res);
        if (most.max_used_bytes && cas_is_over(b->c->cas, most.max_used_bytes, 0, NULL) == 1 &&
            collect(b, &most, &res) == 0 && res.over_bytes && bo->cache_note)
                over(b, res.over_bytes);
}
