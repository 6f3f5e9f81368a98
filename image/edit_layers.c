/* Layers taken from an image's documents and put into them, with diff IDs and history. */
#include "image/edit.h"

#include <string.h>

#include "base/err.h"
#include "image/image_priv.h"

static int push_copy(struct js *to, const struct js *v)
{
        return js_push(to, js_copy(v));
}

/* Elements [from, to) of an array into another. */
static int push_range(struct js *out, const struct js *arr, size_t from, size_t to)
{
        int r = 0;

        for (size_t i = from; r == 0 && i < to && i < js_len(arr); i++)
                r = push_copy(out, js_at(arr, i));
        return r;
}

/* ---- history ---- */

/* As many entries that claim a layer as there are layers, for some readers pair them up: surplus
 * ones lose their claim from the end, missing ones are added. */
static int push_aligned(struct js *out, const struct js *history, size_t layers)
{
        size_t have = 0;
        int r = 0;

        for (size_t i = 0; r == 0 && i < js_len(history); i++) {
                struct js *e;

                r = push_copy(out, js_at(history, i));
                if (r < 0 || js_get_bool(js_at(history, i), "empty_layer", false))
                        continue;
                e = js_at(out, js_len(out) - 1);
                if (have == layers)
                        r = js_set_bool(e, "empty_layer", true);
                else
                        have++;
        }
        for (; r == 0 && have < layers; have++) {
                AUTO_JS struct js *e = js_obj();

                r = e ? js_set_str(e, "comment", IMG_HISTORY_FILLER) : BLD_E_NOMEM;
                if (r == 0)
                        r = js_push(out, js_ref(e));
        }
        return r;
}

/* Entries of an aligned history up to the one of layer n (from 1), that included. */
static size_t entries_of(const struct js *history, size_t n)
{
        size_t i = 0;

        for (size_t seen = 0; seen < n && i < js_len(history); i++)
                seen += !js_get_bool(js_at(history, i), "empty_layer", false);
        return i;
}

/* What caches say of an image they say of its layers by number. */
static void drop_caches(struct js *config)
{
        (void)js_del(config, IMG_CONFIG_CACHE);
        (void)js_del(config, "moby.buildkit.cache.v0");
}

/* ---- the three lists of an image's layers ---- */

struct lists {
        struct js *layers, *diff_ids, *history;
};

static void lists_done(struct lists *l)
{
        js_free(l->layers);
        js_free(l->diff_ids);
        js_free(l->history);
}

static int lists_new(struct lists *l)
{
        l->layers = js_arr();
        l->diff_ids = js_arr();
        l->history = js_arr();
        return l->layers && l->diff_ids && l->history ? 0 : BLD_E_NOMEM;
}

static const struct js *diff_ids_of(const struct js *config)
{
        return js_get(js_get(config, "rootfs"), "diff_ids");
}

static int lists_set(const struct lists *l, struct js *manifest, struct js *config,
                     struct bld_err *err)
{
        AUTO_JS struct js *none = NULL;
        struct js *rootfs = js_get(config, "rootfs");
        int r = 0;

        if (!js_is_obj(rootfs)) {
                none = js_obj();
                img_put_str(&r, none, "type", "layers");
                rootfs = none;
        }
        img_put(&r, rootfs, "diff_ids", js_ref(l->diff_ids));
        if (none)
                img_put(&r, config, "rootfs", js_ref(none));
        img_put(&r, config, "history", js_ref(l->history));
        img_put(&r, manifest, "layers", js_ref(l->layers));
        drop_caches(config);
        return r < 0 ? err_nomem(err, "layers") : 0;
}

int img_edit_cut(struct js *manifest, struct js *config, size_t n, size_t keep, struct bld_err *err)
{
        AUTO(lists_done) struct lists l = {.layers = NULL};
        AUTO_JS struct js *history = js_arr();
        int r = lists_new(&l);

        if (r == 0)
                r = push_range(l.layers, js_get(manifest, "layers"), 0, keep);
        if (r == 0)
                r = push_range(l.diff_ids, diff_ids_of(config), 0, keep);
        if (r == 0)
                r = push_aligned(history, js_get(config, "history"), n);
        if (r == 0)
                r = push_range(l.history, history, 0, entries_of(history, keep));
        return r < 0 ? err_nomem(err, "layers") : lists_set(&l, manifest, config, err);
}

static int push_step(struct js *history, const struct img_step *s)
{
        AUTO_JS struct js *e = js_obj();
        int r = e ? 0 : BLD_E_NOMEM;

        img_put_str_opt(&r, e, "created", s->created);
        img_put_str_opt(&r, e, "created_by", s->created_by);
        img_put_str_opt(&r, e, "comment", s->comment);
        return r == 0 ? js_push(history, js_ref(e)) : r;
}

int img_edit_top(struct js *manifest, struct js *config, size_t n, const struct img_desc *layer,
                 const struct digest *diff_id, const struct img_step *step, struct bld_err *err)
{
        AUTO(lists_done) struct lists l = {.layers = NULL};
        char text[DIGEST_STR_MAX];
        int r = lists_new(&l);

        digest_format(diff_id, text);
        if (r == 0)
                r = push_range(l.layers, js_get(manifest, "layers"), 0, n);
        if (r == 0)
                r = js_push(l.layers, img_desc_encode(layer));
        if (r == 0)
                r = push_range(l.diff_ids, diff_ids_of(config), 0, n);
        if (r == 0)
                r = js_push_str(l.diff_ids, text);
        if (r == 0)
                r = push_aligned(l.history, js_get(config, "history"), n);
        if (r == 0)
                r = push_step(l.history, step);
        return r < 0 ? err_nomem(err, "layers") : lists_set(&l, manifest, config, err);
}

/* ---- another base: what of the config is whose ---- */

/* Absent, null, "", [], {} and false say the same here. */
static bool nothing(const struct js *j)
{
        const char *s = js_str(j);

        if (js_is_obj(j) || js_is_arr(j))
                return js_len(j) == 0;
        return js_is_null(j) || (s && !*s) || (js_is_bool(j) && !js_is_true(j));
}

/* 1 equal, 0 not. */
static int equal(const struct js *a, const struct js *b, struct bld_err *err)
{
        AUTO_SB struct sb ta = SB_INIT(2 * IMG_CONFIG_MAX), tb = SB_INIT(2 * IMG_CONFIG_MAX);
        int r;

        if (nothing(a) || nothing(b))
                return nothing(a) && nothing(b);
        if (js_str(a) && js_str(b))
                return strcmp(js_str(a), js_str(b)) == 0;
        r = js_write(a, JS_SORT, &ta, err);
        if (r == 0)
                r = js_write(b, JS_SORT, &tb, err);
        return r < 0 ? r : strcmp(sb_text(&ta), sb_text(&tb)) == 0;
}

static int put(struct js *to, const char *key, const struct js *v, struct bld_err *err)
{
        return v && js_set(to, key, js_copy(v)) < 0 ? err_nomem(err, "config") : 0;
}

/* Key by key: inherited values become the new base's, the image's own stay, and what it took away
 * stays away. */
static int merge_map(const struct js *o, const struct js *s, const struct js *n, struct js *out,
                     struct bld_err *err)
{
        int r = 0;

        for (void *it = js_iter(n); r == 0 && it; it = js_iter_next(n, it)) {
                const char *k = js_iter_key(it);
                const struct js *was = js_get(o, k), *is = js_get(s, k);

                if (!is && was)
                        continue;
                r = is && was ? equal(was, is, err) : !is;
                if (r >= 0)
                        r = put(out, k, r > 0 ? js_iter_value(it) : is, err);
        }
        for (void *it = js_iter(s); r == 0 && it; it = js_iter_next(s, it)) {
                const char *k = js_iter_key(it);
                const struct js *was = js_get(o, k);

                if (js_get(n, k))
                        continue;
                r = was ? equal(was, js_iter_value(it), err) : 0;
                if (r >= 0)
                        r = r > 0 ? 0 : put(out, k, js_iter_value(it), err);
        }
        return r;
}

/* An Env list as a map, in its order. */
static int env_map(const struct js *list, struct js *out, struct bld_err *err)
{
        for (size_t i = 0; i < js_len(list); i++) {
                const char *s = js_str(js_at(list, i)), *eq = s ? strchr(s, '=') : NULL;
                AUTO_FREE char *k = s ? mem_strndup(s, eq ? (size_t)(eq - s) : strlen(s)) : NULL;

                if (!k || js_set_str(out, k, s) < 0)
                        return err_nomem(err, "environment");
        }
        return 0;
}

static int merge_env(const struct js *o, const struct js *s, const struct js *n, struct js *out,
                     struct bld_err *err)
{
        AUTO_JS struct js *mo = js_obj(), *ms = js_obj(), *mn = js_obj(), *merged = js_obj();
        AUTO_JS struct js *list = js_arr();
        int r = mo && ms && mn && merged && list ? env_map(o, mo, err)
                                                 : err_nomem(err, "environment");

        if (r == 0)
                r = env_map(s, ms, err);
        if (r == 0)
                r = env_map(n, mn, err);
        if (r == 0)
                r = merge_map(mo, ms, mn, merged, err);
        for (void *it = js_iter(merged); r == 0 && it; it = js_iter_next(merged, it))
                if (push_copy(list, js_iter_value(it)) < 0)
                        r = err_nomem(err, "environment");
        return r == 0 && js_len(list) ? put(out, "Env", list, err) : r;
}

struct three {
        const struct js *o, *s, *n; /* `config` of the old base, the image, the new base */
        bool own_entrypoint;
};

static int merge_member(const struct three *t, const char *k, struct js *out, struct bld_err *err)
{
        static const char *const maps[] = {"Labels", "ExposedPorts", "Volumes"};
        const struct js *o = js_get(t->o, k), *s = js_get(t->s, k), *n = js_get(t->n, k);
        int r;

        if (strcmp(k, "Env") == 0)
                return merge_env(o, s, n, out, err);
        for (size_t i = 0; i < ARRAY_LEN(maps); i++) {
                AUTO_JS struct js *map = NULL;

                if (strcmp(k, maps[i]) != 0)
                        continue;
                map = js_obj();
                r = map ? merge_map(o, s, n, map, err) : err_nomem(err, "config");
                return r == 0 && js_len(map) ? put(out, k, map, err) : r;
        }
        /* the command belongs to its entrypoint */
        r = strcmp(k, "Cmd") == 0 && t->own_entrypoint ? 0 : equal(o, s, err);
        return r < 0 ? r : put(out, k, r > 0 ? n : s, err);
}

static int merge_config(const struct img_bases *b, struct js *config, struct bld_err *err)
{
        AUTO_JS struct js *out = js_obj();
        struct three t = {.o = js_get(b->old_config, "config"),
                          .s = js_get(config, "config"),
                          .n = js_get(b->new_config, "config")};
        int r = out ? equal(js_get(t.o, "Entrypoint"), js_get(t.s, "Entrypoint"), err)
                    : err_nomem(err, "config");

        t.own_entrypoint = r == 0;
        r = MIN(r, 0);
        for (void *it = js_iter(t.s); r == 0 && it; it = js_iter_next(t.s, it))
                r = merge_member(&t, js_iter_key(it), out, err);
        for (void *it = js_iter(t.n); r == 0 && it; it = js_iter_next(t.n, it))
                if (!js_get(t.s, js_iter_key(it)))
                        r = merge_member(&t, js_iter_key(it), out, err);
        if (r == 0 && js_set(config, "config", js_ref(out)) < 0)
                r = err_nomem(err, "config");
        return r;
}

/* ---- another base: layers and history ---- */

/* Entries of the image's history that its old base has, too. */
static size_t inherited(const struct img_bases *b, const struct js *history)
{
        size_t n = js_len(js_get(b->old_config, "history")), claims = 0;

        for (size_t i = 0; i < n && i < js_len(history); i++)
                claims += !js_get_bool(js_at(history, i), "empty_layer", false);
        return n <= js_len(history) && claims == b->nold ? n : entries_of(history, b->nold);
}

static int merge_lists(struct js *manifest, struct js *config, const struct img_bases *b,
                       struct bld_err *err)
{
        AUTO(lists_done) struct lists l = {.layers = NULL};
        AUTO_JS struct js *history = js_arr();
        int r = lists_new(&l);

        for (size_t i = 0; r == 0 && i < b->new_layers->n; i++)
                r = js_push(l.layers, img_desc_encode(&b->new_layers->v[i]));
        if (r == 0)
                r = push_range(l.layers, js_get(manifest, "layers"), b->nold, b->nsrc);
        if (r == 0)
                r = push_range(l.diff_ids, diff_ids_of(b->new_config), 0, b->new_layers->n);
        if (r == 0)
                r = push_range(l.diff_ids, diff_ids_of(config), b->nold, b->nsrc);
        if (r == 0)
                r = push_aligned(history, js_get(config, "history"), b->nsrc);
        if (r == 0)
                r = push_aligned(l.history, js_get(b->new_config, "history"), b->new_layers->n);
        if (r == 0)
                r = push_range(l.history, history, inherited(b, history), js_len(history));
        return r < 0 ? err_nomem(err, "layers") : lists_set(&l, manifest, config, err);
}

int img_edit_rebase(struct js *manifest, struct js *config, const struct img_bases *b,
                    struct bld_err *err)
{
        static const char *const machine[] = {"os", "architecture", "variant", "os.version",
                                              "os.features"};
        int r = merge_config(b, config, err);

        for (size_t i = 0; r == 0 && i < ARRAY_LEN(machine); i++) {
                const struct js *v = js_get(b->new_config, machine[i]);

                if (v)
                        r = put(config, machine[i], v, err);
                else
                        (void)js_del(config, machine[i]);
        }
        return r == 0 ? merge_lists(manifest, config, b, err) : r;
}
