/* Results on their way into shared caches: each as soon as it is there, beside the steps that are
 * still running. Blobs first, each once; then the record; then the names. */
#include "builder/cache/rcache_priv.h"

#include <poll.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/num.h"

#define PUT_THREADS 4u
#define LOOK_AT_CANCEL_NS 100000000
#define PUT_ATTEMPTS 6u
#define PUT_PAUSE_MS 100

struct item {
        struct item *next;
        struct digest keys[RC_KEYS];
        struct bd_layers layers;
        bool of_image;
};

struct rc_queue {
        struct rcache *rc;
        pthread_mutex_t lock; /* guards all below */
        pthread_cond_t work, idle;
        struct item *first, **last;
        unsigned busy, nthreads, stored;
        pthread_t threads[PUT_THREADS];
        bool ending;
        atomic_bool waited_for; /* the build is done but for us: progress is of interest */
};

/* ---- a blob, once per place ---- */

enum blob_state { BLOB_GOING, BLOB_THERE, BLOB_FAILED, BLOB_UNSURE };
static char blob_states[BLOB_UNSURE + 1];

static int set_blob(struct rc_place *p, const struct digest *d, enum blob_state s)
{
        int r;

        (void)pthread_mutex_lock(&p->lock);
        r = map_setn(&p->blobs, d, sizeof(*d), &blob_states[s]);
        (void)pthread_cond_broadcast(&p->blob_done);
        (void)pthread_mutex_unlock(&p->lock);
        return r;
}

void rc_blob_present(struct rc_place *p, const struct digest *d)
{
        if (p->to)
                (void)!set_blob(p, d, BLOB_THERE); /* else it is looked for */
}

/* True when the caller is to send it; otherwise *ret_there tells how that ended. */
static bool claim_blob(struct rc_place *p, const struct digest *d, bool *ret_there)
{
        const char *s;
        bool mine;

        (void)pthread_mutex_lock(&p->lock);
        while ((s = map_getn(&p->blobs, d, sizeof(*d))) && s - blob_states == BLOB_GOING)
                (void)pthread_cond_wait(&p->blob_done, &p->lock);
        *ret_there = s && s - blob_states == BLOB_THERE;
        mine = (!s || s - blob_states == BLOB_UNSURE) &&
               map_setn(&p->blobs, d, sizeof(*d), &blob_states[BLOB_GOING]) == 0;
        (void)pthread_mutex_unlock(&p->lock);
        return mine;
}

static int put_blob(struct rc_place *p, const struct img_desc *d, struct bd_meter *meter,
                    struct bld_err *err)
{
        bool there = false, sent = false;
        int r;

        if (!claim_blob(p, &d->digest, &there))
                return there ? 0 : err_set(err, BLD_E_NOT_FOUND, "a layer did not arrive");
        r = p->ops->put(p, d, NULL, meter, &sent, err);
        /* The state was set before, so setting it again needs no memory. */
        (void)!set_blob(p, &d->digest, r == 0 ? BLOB_THERE : BLOB_FAILED);
        return r;
}

/* ---- one result into one place ---- */

/* Layers of a base image that can be had where it came from stay there. */
static int fill_entry(struct rc_place *p, const struct item *it, struct rc_entry *e,
                      struct bld_err *err)
{
        const struct rc_spec *s = p->to;
        struct bd_recompress_opts o = {.codec = s->codec, .level = s->level, .force = s->force};
        int r = bd_layers_append(&e->layers, &it->layers) < 0 ? err_nomem(err, "cache") : 0;

        memcpy(e->keys, it->keys, sizeof(e->keys));
        e->created_sec = time_now_ns() / 1000000000;
        for (size_t i = 0; i < e->layers.n && r == 0; i++) {
                struct bd_layer *l = &e->layers.v[i];

                if (l->source.domain) {
                        img_desc_done(&l->desc);
                        memset(&l->desc, 0, sizeof(l->desc));
                } else if (s->codec) {
                        r = bd_recompress_layer(&p->rc->out, l, &o, &l->desc, err);
                }
        }
        return r;
}

/* The top layer first: those below are mostly being sent with the results they are the top of. */
static int put_blobs(struct rc_place *p, const struct rc_entry *e, struct bd_meter *meter,
                     struct bld_err *err)
{
        int r = 0;

        for (size_t i = e->layers.n; i-- > 0 && r == 0;)
                if (digest_is_set(&e->layers.v[i].desc.digest))
                        r = put_blob(p, &e->layers.v[i].desc, meter, err);
        return r;
}

static int put_entry(struct rc_place *p, const struct item *it, const bool *wanted,
                     struct bd_meter *meter, struct bld_err *err)
{
        AUTO(rc_entry_done) struct rc_entry e = {.created_sec = 0};
        AUTO(img_desc_done) struct img_desc d = {.media_type = NULL};
        AUTO_SB struct sb record = SB_INIT(RC_RECORD_MAX), manifest = SB_INIT(IMG_MANIFEST_MAX);
        char tag[130];
        bool sent = false;
        int r = fill_entry(p, it, &e, err);

        if (r < 0)
                return r;
        /* A result without a layer of its own cannot be told from its base. */
        if (e.layers.n == 0 || !digest_is_set(&e.layers.v[e.layers.n - 1].desc.digest))
                return 0;
        r = put_blobs(p, &e, meter, err);
        if (r == 0)
                r = rc_record_encode(&e, &record, err);
        if (r == 0)
                r = rc_manifest_encode(&e, &record, &manifest, &d, err);
        if (r == 0)
                r = p->ops->put(p, &d, &record, NULL, &sent, err);
        for (size_t i = 0; i < RC_KEYS && r == 0; i++) {
                if (!wanted[i])
                        continue;
                rc_tag(p->spec->tag, &it->keys[i], tag);
                r = p->ops->name(p, tag, &manifest, err);
                if (r == 0)
                        rc_learn(p, &it->keys[i], RC_PRESENT);
        }
        return r < 0 ? r : 1;
}

/* Is there a good entry already? One that is damaged or expired is written anew. */
static bool is_there(struct rc_place *p, const struct digest *key)
{
        AUTO(rc_entry_done) struct rc_entry e = {.created_sec = 0};
        char why[RC_WHY_MAX];

        switch (rc_known(p, key)) {
        case RC_PRESENT:
                return true;
        case RC_ABSENT:
        case RC_BROKEN:
                return false;
        case RC_UNKNOWN:
                break;
        }
        return rc_place_find(p, key, &e, why, NULL) == 1;
}

static void failed(struct rc_place *p, int r, const struct bld_err *e)
{
        bool first;

        (void)pthread_mutex_lock(&p->lock);
        first = p->failed++ == 0;
        /* A place that cannot be reached or written to is not tried for every result. */
        p->mute = p->mute || rc_of_place(r);
        if (first)
                err_copy(&p->strict_err, e);
        (void)pthread_mutex_unlock(&p->lock);
        if (first && r != BLD_E_CANCELLED && !p->to->strict)
                rc_warn(p->rc, "results are not stored in", p, e);
}

/* A registry that many write the same blobs to at once may say for a moment that one is not there
 * (distribution writes its links in place): look again. */
static void forget_blobs(struct rc_place *p)
{
        (void)pthread_mutex_lock(&p->lock);
        for (struct map_entry *e = NULL; (e = map_next(&p->blobs, e));)
                if (e->value != &blob_states[BLOB_GOING])
                        e->value = &blob_states[BLOB_UNSURE];
        (void)pthread_mutex_unlock(&p->lock);
}

static void pause_ms(const struct cancel *cancel, int ms)
{
        struct pollfd fd = {.fd = cancel_fd(cancel), .events = POLLIN};

        (void)poll(&fd, 1, ms);
}

/* 1 stored, 0 not (for whatever reason). */
static int put_into(struct rc_queue *q, struct rc_place *p, const struct item *it,
                    struct bd_meter *meter)
{
        struct bld_err e = BLD_ERR_INIT;
        bool wanted[RC_KEYS], any = false, mute;
        unsigned attempts;
        int r;

        (void)pthread_mutex_lock(&p->lock);
        mute = p->mute;
        p->failed += mute;
        attempts = p->failed ? 1 : PUT_ATTEMPTS; /* what never works is not waited for each time */
        (void)pthread_mutex_unlock(&p->lock);
        if (mute || (!p->to->max && !it->of_image))
                return 0;
        for (size_t i = 0; i < RC_KEYS; i++) {
                wanted[i] = digest_is_set(&it->keys[i]) && !is_there(p, &it->keys[i]);
                any = any || wanted[i];
        }
        if (!any)
                return 0;
        for (unsigned k = 0;; k++) {
                r = cancel_check(q->rc->out.cancel, &e);
                if (r == 0)
                        r = put_entry(p, it, wanted, meter, &e);
                if (r > 0)
                        return 1;
                /* what is wrong with the place, the client has asked again for */
                if (r == 0 || r == BLD_E_CANCELLED || rc_of_place(r) || k + 1 >= attempts)
                        break;
                err_clear(&e);
                if (k > 0) /* sending blobs again only makes it worse, unless they really went */
                        forget_blobs(p);
                pause_ms(q->rc->out.cancel, PUT_PAUSE_MS << k);
        }
        if (r < 0)
                failed(p, r, &e);
        return 0;
}

/* ---- the queue ---- */

static void item_free(struct item *it)
{
        bd_layers_free(&it->layers);
        free(it);
}

static void report(void *user, const char *what, uint64_t done, uint64_t total)
{
        struct rc_queue *q = user;

        if (q->rc->transfer && atomic_load(&q->waited_for))
                q->rc->transfer(q->rc->user, what, done, total);
}

static struct item *next_item(struct rc_queue *q)
{
        struct item *it;

        while (!q->first && !q->ending)
                (void)pthread_cond_wait(&q->work, &q->lock);
        it = q->ending ? NULL : q->first;
        if (!it)
                return NULL;
        q->first = it->next;
        if (!q->first)
                q->last = &q->first;
        q->busy++;
        return it;
}

static void *put_thread(void *arg)
{
        struct rc_queue *q = arg;
        struct bd_meter meter;
        struct item *it;

        bd_meter_init(&meter, report, q);
        (void)pthread_mutex_lock(&q->lock);
        while ((it = next_item(q))) {
                bool stored = false;

                (void)pthread_mutex_unlock(&q->lock);
                for (size_t i = 0; i < q->rc->nplaces; i++)
                        if (q->rc->places[i].to)
                                stored |= put_into(q, &q->rc->places[i], it, &meter) > 0;
                item_free(it);
                (void)pthread_mutex_lock(&q->lock);
                q->stored += stored;
                q->busy--;
                (void)pthread_cond_broadcast(&q->idle);
        }
        (void)pthread_mutex_unlock(&q->lock);
        bd_meter_done(&meter);
        return NULL;
}

struct rc_queue *rc_queue_new(struct rcache *rc)
{
        struct rc_queue *q = mem_zalloc(1, sizeof(*q));
        pthread_condattr_t mono;

        if (!q)
                return NULL;
        q->rc = rc;
        q->last = &q->first;
        (void)pthread_mutex_init(&q->lock, NULL);
        (void)pthread_cond_init(&q->work, NULL);
        (void)pthread_condattr_init(&mono);
        (void)pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
        (void)pthread_cond_init(&q->idle, &mono);
        (void)pthread_condattr_destroy(&mono);
        return q;
}

void rc_queue_free(struct rc_queue *q)
{
        if (!q)
                return;
        (void)pthread_mutex_lock(&q->lock);
        q->ending = true;
        (void)pthread_cond_broadcast(&q->work);
        (void)pthread_mutex_unlock(&q->lock);
        for (unsigned i = 0; i < q->nthreads; i++)
                (void)pthread_join(q->threads[i], NULL);
        while (q->first) {
                struct item *it = q->first;

                q->first = it->next;
                item_free(it);
        }
        (void)pthread_cond_destroy(&q->work);
        (void)pthread_cond_destroy(&q->idle);
        (void)pthread_mutex_destroy(&q->lock);
        free(q);
}

void rcache_put(struct rcache *rc, const struct rc_step *s)
{
        struct rc_queue *q = rc->queue;
        struct item *it = mem_zalloc(1, sizeof(*it));

        /* Without memory one result less is shared. */
        if (!it)
                return;
        if (bd_layers_append(&it->layers, s->layers) < 0) {
                item_free(it);
                return;
        }
        memcpy(it->keys, s->keys, sizeof(it->keys));
        it->of_image = s->of_image;
        (void)pthread_mutex_lock(&q->lock);
        *q->last = it;
        q->last = &it->next;
        if (q->nthreads < PUT_THREADS &&
            pthread_create(&q->threads[q->nthreads], NULL, put_thread, q) == 0)
                q->nthreads++;
        (void)pthread_cond_signal(&q->work);
        (void)pthread_mutex_unlock(&q->lock);
}

/* ---- the end of a build ---- */

/* The longest any place allows; one without a limit allows any time. */
static int64_t patience_ns(const struct rcache *rc)
{
        int64_t ms = 0;

        for (size_t i = 0; i < rc->nplaces; i++) {
                const struct rc_spec *to = rc->places[i].to;

                if (to && !to->timeout_ms)
                        return INT64_MAX;
                if (to)
                        ms = MAX(ms, to->timeout_ms);
        }
        return ms > INT64_MAX / 1000000 ? INT64_MAX : ms * 1000000;
}

static void drop_queued(struct rc_queue *q)
{
        while (q->first) {
                struct item *it = q->first;

                q->first = it->next;
                item_free(it);
                for (size_t i = 0; i < q->rc->nplaces; i++)
                        q->rc->places[i].failed += q->rc->places[i].to != NULL;
        }
        q->last = &q->first;
}

static int drain(struct rc_queue *q, struct bld_err *err)
{
        int64_t start = time_mono_ns(), patience = patience_ns(q->rc);
        int r = 0;

        (void)pthread_mutex_lock(&q->lock);
        while ((q->first && q->nthreads) || q->busy) {
                int64_t until = time_mono_ns() + LOOK_AT_CANCEL_NS;
                struct timespec ts = {.tv_sec = until / 1000000000, .tv_nsec = until % 1000000000};

                (void)pthread_cond_timedwait(&q->idle, &q->lock, &ts);
                r = cancel_check(q->rc->out.cancel, err);
                if (r == 0 && time_mono_ns() - start > patience && q->first)
                        r = err_set(err, BLD_E_TIMEOUT, "time ran out");
                if (r < 0)
                        break;
        }
        if (r == 0) /* requests that were cut short look like work that is done */
                r = cancel_check(q->rc->out.cancel, err);
        if (r < 0)
                drop_queued(q);
        (void)pthread_mutex_unlock(&q->lock);
        return r;
}

int rcache_wait(struct rcache *rc, unsigned *ret_stored, struct bld_err *err)
{
        struct bld_err own = BLD_ERR_INIT;
        int r;

        atomic_store(&rc->queue->waited_for, true);
        r = drain(rc->queue, &own);
        (void)pthread_mutex_lock(&rc->queue->lock);
        *ret_stored = rc->queue->stored;
        (void)pthread_mutex_unlock(&rc->queue->lock);
        if (r == BLD_E_CANCELLED) {
                err_copy(err, &own);
                return r;
        }
        for (size_t i = 0; i < rc->nplaces; i++) {
                struct rc_place *p = &rc->places[i];

                if (!p->to || !p->failed)
                        continue;
                if (!p->strict_err.code)
                        err_copy(&p->strict_err, &own);
                if (p->to->strict) {
                        err_copy(err, &p->strict_err);
                        return err_wrap(err, p->strict_err.code, "cache export to %s", p->shown);
                }
                if (r == BLD_E_TIMEOUT)
                        rc_warn(rc, "results are not stored in", p, &own);
        }
        return 0;
}
