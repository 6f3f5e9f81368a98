/* The cache inside an image: its config says which steps its first N layers are the result of. Only
 * what the image consists of can be in it; it costs no repository of its own. */
#include "builder/cache/rcache_priv.h"

#include <string.h>

#include "base/err.h"
#include "base/json.h"
#include "base/num.h"

#define INLINE_VERSION 1
#define STEPS_MAX 1000u

static const char *const key_names[RC_KEYS] = {"definition", "result"};

/* ---- the document ---- */

int rc_inline_encode(const struct rc_inline_steps *steps, struct sb *out, struct bld_err *err)
{
        AUTO_JS struct js *j = js_obj();
        struct js *arr = js_arr();
        char text[DIGEST_STR_MAX];
        int r = 0;

        for (size_t i = 0; i < steps->n; i++) {
                const struct rc_inline_step *s = &steps->v[i];
                struct js *o = js_obj();

                for (size_t k = 0; k < RC_KEYS; k++) {
                        if (!digest_is_set(&s->keys[k]))
                                continue;
                        digest_format(&s->keys[k], text);
                        r |= js_set_str(o, key_names[k], text);
                }
                r |= js_set_i64(o, "layers", (int64_t)s->nlayers);
                r |= js_push(arr, o);
        }
        r |= js_set_i64(j, "v", INLINE_VERSION);
        r |= js_set(j, "steps", arr);
        return r < 0 ? err_nomem(err, "inline cache") : js_write(j, JS_COMPACT, out, err);
}

static int decode_step(const struct js *j, size_t nlayers, struct rc_inline_step *s,
                       struct bld_err *err)
{
        int64_t n = 0;
        int r = 0;

        for (size_t k = 0; k < RC_KEYS && r == 0; k++) {
                const char *key = js_get_str(j, key_names[k]);

                r = key ? digest_parse(key, &s->keys[k], err) : 0;
        }
        if (r == 0 && (!js_get_i64(j, "layers", &n) || n < 1 || (uint64_t)n > nlayers))
                return err_set(err, BLD_E_CORRUPT, "it counts layers that are not there");
        s->nlayers = (size_t)n;
        return r;
}

int rc_inline_decode(const char *text, size_t len, size_t nlayers, struct rc_inline_steps *ret,
                     struct bld_err *err)
{
        struct rc_inline_steps steps = {0};
        AUTO_JS struct js *j = NULL;
        const struct js *arr;
        int64_t version = 0;
        int r = js_parse(text, len, &j, err);

        arr = js_get(j, "steps");
        if (r == 0 && (!js_get_i64(j, "v", &version) || version != INLINE_VERSION))
                r = err_set(err, BLD_E_CORRUPT, "it is of another version");
        if (r == 0 && (!js_is_arr(arr) || js_len(arr) > STEPS_MAX))
                r = err_set(err, BLD_E_CORRUPT, "it has no steps, or too many");
        for (size_t i = 0; r == 0 && i < js_len(arr); i++) {
                struct rc_inline_step *s = rc_inline_steps_push(&steps);

                r = s ? decode_step(js_at(arr, i), nlayers, s, err) : err_nomem(err, "cache");
        }
        if (r < 0) {
                rc_inline_steps_done(&steps);
                return r == BLD_E_NOMEM ? r : err_recode(err, BLD_E_CORRUPT);
        }
        *ret = steps;
        return 0;
}

/* ---- of the image a place names, one per platform ---- */

struct inline_image {
        struct bd_image im;
        struct rc_inline_steps steps;
        int64_t created_sec;
};

struct rc_inline {
        struct inline_image *v;
        size_t n;
};

void rc_inline_free(struct rc_inline *x)
{
        for (size_t i = 0; x && i < x->n; i++) {
                bd_image_done(&x->v[i].im);
                rc_inline_steps_done(&x->v[i].steps);
        }
        free(x ? x->v : NULL);
        free(x);
}

/* 1 an image with an inline cache, 0 none. */
static int load_image(struct rc_place *p, const struct img_platform *platform,
                      struct inline_image *ret, struct bld_err *err)
{
        struct bld_err own = BLD_ERR_INIT;
        struct bd_image *im = &ret->im;
        int64_t nsec = 0;
        int r = bd_fetch_image(&p->rc->in, &p->spec->ref, platform, im, NULL, &own);

        if (r == BLD_E_NOT_FOUND)
                return 0;
        if (r == 0 && im->config.cache && im->manifest.layers.n == im->config.ndiff_ids) {
                r = rc_inline_decode(im->config.cache, strlen(im->config.cache),
                                     im->manifest.layers.n, &ret->steps, &own);
                if (r == 0 && im->config.created &&
                    !parse_rfc3339(im->config.created, &ret->created_sec, &nsec))
                        ret->created_sec = 0;
                if (r == 0)
                        return 1;
        }
        if (r == BLD_E_NOMEM || r == BLD_E_CANCELLED) {
                err_copy(err, &own);
                return r;
        }
        if (r < 0)
                rc_warn(p->rc, "inline cache of", p, &own);
        bd_image_done(im);
        memset(im, 0, sizeof(*im));
        return 0;
}

static int load(struct rc_place *p, struct bld_err *err)
{
        size_t n = p->rc->nplatforms;
        struct rc_inline *x = mem_zalloc(1, sizeof(*x));
        int r = 0;

        p->inl = x;
        if (x)
                x->v = mem_zalloc(n + 1, sizeof(*x->v));
        if (!x || !x->v)
                return err_nomem(err, "inline cache");
        for (size_t i = 0; i < n && r >= 0; i++) {
                r = load_image(p, &p->rc->platforms[i], &x->v[x->n], err);
                x->n += r == 1;
        }
        return MIN(r, 0);
}

static int chain(const struct bd_image *im, size_t n, struct rc_entry *e, struct bld_err *err)
{
        for (size_t i = 0; i < n; i++) {
                struct bd_layer *l = bd_layers_push(&e->layers);

                if (!l || img_desc_copy(&im->manifest.layers.v[i], &l->desc) < 0)
                        return err_nomem(err, "inline cache");
                l->diff_id = im->config.diff_ids[i];
                l->reused = true;
        }
        return 0;
}

static const struct rc_inline_step *find_step(const struct inline_image *m,
                                              const struct digest *key)
{
        for (size_t i = 0; i < m->steps.n; i++)
                for (size_t k = 0; k < RC_KEYS; k++)
                        if (digest_is_set(&m->steps.v[i].keys[k]) &&
                            digest_eq(&m->steps.v[i].keys[k], key))
                                return &m->steps.v[i];
        return NULL;
}

int rc_inline_find(struct rc_place *p, const struct digest *key, struct rc_hit *ret,
                   struct bld_err *err)
{
        const struct rcache *rc = p->rc;
        int r = 0;

        (void)pthread_mutex_lock(&p->inline_lock);
        if (!p->inline_loaded) {
                p->inline_loaded = true;
                r = load(p, err);
        }
        (void)pthread_mutex_unlock(&p->inline_lock);
        for (size_t i = 0; r == 0 && p->inl && i < p->inl->n; i++) {
                const struct inline_image *m = &p->inl->v[i];
                const struct rc_inline_step *s = find_step(m, key);

                if (!s || (rc->ttl_ms > 0 &&
                           time_now_ns() / 1000000 - m->created_sec * 1000 > rc->ttl_ms))
                        continue;
                r = chain(&m->im, s->nlayers, &ret->entry, err);
                if (r == 0)
                        r = img_ref_copy(&p->spec->ref, &ret->from, err);
                return r < 0 ? r : 1;
        }
        return r;
}
