/* What a node that has image A transfers for B: the blobs it lacks, by digest. */
#include <string.h>

#include "base/err.h"
#include "base/map.h"
#include "bld/diff.h"
#include "lib/opts_priv.h"

/* Names of layers, for look-ups. */
struct known {
        struct map digests, diff_ids;
        struct map bare; /* diff IDs of layers without a digest (folders, layers not yet packed) */
};

static void known_init(struct known *k)
{
        map_init(&k->digests, NULL);
        map_init(&k->diff_ids, NULL);
        map_init(&k->bare, NULL);
}

static void known_done(struct known *k)
{
        map_done(&k->digests);
        map_done(&k->diff_ids);
        map_done(&k->bare);
}

static int note(struct map *m, const char *name, struct bld_err *err)
{
        /* any pointer but NULL says that it is there */
        return name && map_set(m, name, m) < 0 ? err_nomem(err, "list of layers") : 0;
}

static int note_layer(struct known *k, const struct bld_layer_info *l, struct bld_err *err)
{
        int r = note(&k->digests, l->digest, err);

        if (!r)
                r = note(&k->diff_ids, l->diff_id, err);
        return !r && !l->digest ? note(&k->bare, l->diff_id, err) : r;
}

static bool has(const struct map *m, const char *name)
{
        return name && map_get(m, name);
}

/* By digest; where one of the two has none, the same tar will do. */
static bool has_blob(const struct known *k, const struct bld_layer_info *l)
{
        return has(&k->digests, l->digest) || has(l->digest ? &k->bare : &k->diff_ids, l->diff_id);
}

/* Sizes are what a manifest claims: their sum may be beyond any number. */
static void add_size(uint64_t *sum, uint64_t n)
{
        if (ADD_OVERFLOWS(*sum, n, sum))
                *sum = UINT64_MAX;
}

static int count_layer(const struct known *a, struct known *seen, const struct bld_layer_info *l,
                       struct bld_pull_cost *c, struct bld_err *err)
{
        bool again = has_blob(seen, l), there = has_blob(a, l);

        if (!again)
                add_size(&c->total, l->blob_size);
        if (!again && !there)
                add_size(&c->bytes, l->blob_size);
        c->shared += there;
        c->changed += !there;
        c->same_tar += !there && has(&a->diff_ids, l->diff_id);
        return note_layer(seen, l, err);
}

static size_t common_prefix(const struct bld_image *a, const struct bld_image *b)
{
        for (size_t i = 0;; i++) {
                const struct bld_layer_info *x = bld_image_layer(a, i), *y = bld_image_layer(b, i);

                if (!x || !y)
                        return i;
                if (!(x->digest && y->digest && str_eq(x->digest, y->digest)) &&
                    !(x->diff_id && y->diff_id && str_eq(x->diff_id, y->diff_id)))
                        return i;
        }
}

static void count_config(const struct bld_image *a, const struct bld_image *b,
                         struct bld_pull_cost *c)
{
        size_t na, nb;
        const char *x = bld_image_config(a, &na), *y = bld_image_config(b, &nb);

        if (!y)
                return;
        add_size(&c->total, nb);
        if (!x || na != nb || memcmp(x, y, nb))
                add_size(&c->bytes, nb);
}

int bld_pull_cost(struct bld_image *a, struct bld_image *b, struct bld_pull_cost *ret,
                  struct bld_err *err)
{
        struct bld_pull_cost c = {.prefix = common_prefix(a, b)};
        AUTO(known_done) struct known in_a, seen;
        int r = lib_ret_check(ret, "bld_pull_cost", err);

        known_init(&in_a);
        known_init(&seen);
        for (size_t i = 0; !r && i < bld_image_layers(a); i++)
                r = note_layer(&in_a, bld_image_layer(a, i), err);
        for (size_t i = 0; !r && i < bld_image_layers(b); i++)
                r = count_layer(&in_a, &seen, bld_image_layer(b, i), &c, err);
        if (r < 0)
                return r;
        count_config(a, b, &c);
        lib_ret_put(ret, &c, sizeof(c));
        return 0;
}
