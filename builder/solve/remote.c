/* The solver's side of shared caches: what is asked for, in which order, and what is sent. */
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "builder/image/move_priv.h"
#include "builder/solve/solve_priv.h"

/* Look-ups wait for the network and for nothing else. */
#define ASK_THREADS 16u

/* ---- looking up ---- */

struct ask {
        struct build *b;
        struct graph *g;
        struct vertices v;
        bool *wanted;         /* by index in the graph */
        pthread_mutex_t lock; /* guards wanted, and asked and remote of the vertices */
        bool found;
};

/* Inputs come earlier in the graph, so one pass from its end sees every user before what it uses.
 */
static bool is_wanted(struct ask *a, const struct vertex *v)
{
        const struct graph *g = a->g;

        memset(a->wanted, 0, g->v.n * sizeof(*a->wanted));
        for (size_t i = 0; i < g->targets.n; i++)
                if (g->targets.v[i].fs)
                        a->wanted[g->targets.v[i].fs->id] = true;
        for (size_t i = g->v.n; i-- > 0;) {
                const struct vertex *u = g->v.v[i];

                if (!a->wanted[i] || u->state != VX_NEEDED || u->remote)
                        continue;
                for (size_t k = 0; k < u->ninputs; k++)
                        if (u->inputs[k])
                                a->wanted[u->inputs[k]->id] = true;
        }
        return a->wanted[v->id];
}

/* The layers a step's chain begins with: those of the base image. */
static const struct bd_layers *base_of(const struct vertex *v)
{
        static const struct bd_layers none = {0};
        const struct vertex *in = v;

        while (in && in->kind != VX_IMAGE)
                in = in->ninputs ? in->inputs[0] : NULL;
        return in ? &in->result.layers : &none;
}

static void note_why(struct vertex *v, const char *why)
{
        if (!why[0])
                return;
        free(v->remote_why);
        v->remote_why = mem_strdup(why); /* without memory, nothing is explained */
}

static int ask_one(void *user, size_t i, const atomic_bool *stop, struct bld_err *err)
{
        struct ask *a = user;
        struct vertex *v = a->v.v[i];
        char why[RC_WHY_MAX];
        struct rc_hit *h;
        bool skip;

        (void)stop;
        (void)err;
        (void)pthread_mutex_lock(&a->lock);
        skip = !is_wanted(a, v);
        v->asked = !skip;
        (void)pthread_mutex_unlock(&a->lock);
        if (skip)
                return 0;
        h = rcache_find(a->b->cache, &v->key, base_of(v), why);
        (void)pthread_mutex_lock(&a->lock);
        v->remote = h;
        a->found = a->found || h;
        note_why(v, why);
        (void)pthread_mutex_unlock(&a->lock);
        return 0;
}

bool remote_ask(struct build *b, struct graph *g)
{
        struct ask a = {.b = b, .g = g};

        if (!rcache_imports(b->cache))
                return false;
        a.wanted = mem_zalloc(g->v.n + 1, sizeof(*a.wanted));
        for (size_t i = g->v.n; i-- > 0;) {
                struct vertex *v = g->v.v[i], **slot;

                if (v->state != VX_NEEDED || v->kind == VX_IMAGE || v->no_cache || v->asked)
                        continue;
                slot = vertices_push(&a.v);
                if (slot)
                        *slot = v;
        }
        /* Without memory it is not asked: a miss, which is always safe. */
        if (a.wanted && a.v.n) {
                (void)pthread_mutex_init(&a.lock, NULL);
                (void)!bd_par_run(a.v.n, ASK_THREADS, ask_one, &a, NULL);
                (void)pthread_mutex_destroy(&a.lock);
        }
        vertices_done(&a.v);
        free(a.wanted);
        return a.found;
}

/* ---- bringing here ---- */

static int bring(struct build *b, struct vertex *v, struct rc_hit *h, bool top_only,
                 struct bld_err *err)
{
        struct step_meter p = {b->events, v};
        char why[RC_WHY_MAX];
        int r = rcache_bring(b->cache, h, top_only, events_transfer, &p, &v->result, why, err);

        note_why(v, why);
        for (size_t i = 0; i < v->result.layers.n && r == 1; i++)
                if (!v->result.layers.v[i].source.domain)
                        r = cas_lease_blob(b->record, &v->result.layers.v[i].desc.digest, err);
        if (r != 1)
                return r;
        (void)snprintf(v->imported, sizeof(v->imported), "hit from %.100s", rc_hit_place(h));
        return 1;
}

int remote_bring(struct build *b, struct vertex *v, struct bld_err *err)
{
        return bring(b, v, v->remote, false, err);
}

int remote_bring_result(struct build *b, struct vertex *v, struct bld_err *err)
{
        char why[RC_WHY_MAX];
        struct rc_hit *h;

        if (!rcache_imports(b->cache))
                return 0;
        h = rcache_find(b->cache, &v->result_key, NULL, why);
        note_why(v, why);
        return h ? bring(b, v, h, true, err) : 0;
}

/* ---- sending ---- */

/* Is it a step of a wanted image itself, not only of what that copies from? */
static bool of_image(const struct graph *g, const struct vertex *v)
{
        for (size_t i = 0; i < g->targets.n; i++)
                for (const struct vertex *in = g->targets.v[i].is_image ? g->targets.v[i].fs : NULL;
                     in; in = in->ninputs ? in->inputs[0] : NULL)
                        if (in == v)
                                return true;
        return false;
}

static bool is_step(const struct vertex *v)
{
        return v->kind != VX_IMAGE && v->kind != VX_LOCAL && !v->tainted && !v->unrepeatable;
}

static void put(struct build *b, const struct graph *g, const struct vertex *v,
                const struct vx_result *res)
{
        struct rc_step s = {.layers = &res->layers, .of_image = of_image(g, v)};

        s.keys[RC_KEY_DEFINITION] = v->key;
        s.keys[RC_KEY_RESULT] = v->result_key;
        rcache_put(b->cache, &s);
}

void remote_put(struct build *b, const struct graph *g, const struct vertex *v)
{
        if (rcache_exports(b->cache) && is_step(v))
                put(b, g, v, &v->result);
}

void remote_put_known(struct build *b, const struct graph *g)
{
        if (!rcache_exports(b->cache))
                return;
        for (size_t i = 0; i < g->v.n; i++) {
                const struct vertex *v = g->v.v[i];
                AUTO(result_done) struct vx_result res = {0};

                if (!v->planned || !is_step(v))
                        continue;
                if (v->state == VX_DONE)
                        put(b, g, v, &v->result);
                else if (v->state == VX_IDLE && (rcache_exports_all(b->cache) || of_image(g, v)) &&
                         record_get(b->c, b->record, &v->key, &res, NULL) == 1)
                        put(b, g, v, &res);
        }
}

/* ---- inline ---- */

static int add_step(struct build *b, const struct vertex *v, struct rc_inline_steps *steps,
                    struct bld_err *err)
{
        AUTO(result_done) struct vx_result res = {0};
        size_t n = v->result.layers.n;
        struct rc_inline_step *s;

        if (v->state != VX_DONE) { /* below a hit: as many layers as its record has */
                if (record_get(b->c, b->record, &v->key, &res, NULL) != 1)
                        return 0;
                n = res.layers.n;
        }
        s = rc_inline_steps_push(steps);
        if (!s)
                return err_nomem(err, "inline cache");
        s->keys[RC_KEY_DEFINITION] = v->key;
        s->keys[RC_KEY_RESULT] = v->result_key;
        s->nlayers = n;
        return 0;
}

int remote_inline(struct build *b, const struct plan_target *t, char **ret, struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(IMG_CONFIG_MAX / 2);
        struct rc_inline_steps steps = {0};
        int r = 0;

        if (!rcache_wants_inline(b->cache))
                return 0;
        if (b->has_epoch) {
                events_warning(b->events, 0,
                               "the inline cache is left out: with SOURCE_DATE_EPOCH the layers of "
                               "the image are not those of its steps");
                return 0;
        }
        for (const struct vertex *v = t->fs; v && r == 0; v = v->ninputs ? v->inputs[0] : NULL)
                if (is_step(v))
                        r = add_step(b, v, &steps, err);
        if (r == 0 && steps.n)
                r = rc_inline_encode(&steps, &text, err);
        if (r == 0 && steps.n) {
                free(*ret);
                *ret = sb_take(&text);
                r = *ret ? 0 : err_nomem(err, "inline cache");
        }
        rc_inline_steps_done(&steps);
        return r;
}
