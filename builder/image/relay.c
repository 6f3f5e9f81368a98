/* A blob of a registry as something that can be read: by an upload to another registry, or by who
 * looks into a layer. A thread downloads into a ring, the reader takes out of it: memory is the
 * ring, and the disk is not touched. */
#include <signal.h>
#include <string.h>

#include "base/err.h"
#include "base/num.h"
#include "builder/image/end_priv.h"
#include "registry/registry.h"

#define RING_BYTES (1u << 20)
#define NS_PER_S INT64_C(1000000000)
#define ASK_NS (NS_PER_S / 20)

struct bd_relay {
        struct bd_ctx *c;
        struct reg_client *reg;
        struct img_ref repo;
        const struct img_desc *d; /* borrowed */
        pthread_t thread;
        bool running;
        atomic_bool stop;     /* written under the lock */
        pthread_mutex_t lock; /* guards what follows */
        pthread_cond_t cond;  /* some of it changed */
        char *ring;
        size_t head, fill;
        uint64_t from; /* where the download starts */
        uint64_t at;   /* offset of the ring's first byte in the blob */
        uint64_t skip; /* bytes that come again after a restart and were given out before */
        bool done;
        int code;
        struct bld_err why;
        bool (*asked)(void *user); /* of the reader's side only */
        void *asked_user;
};

/* ---- the downloading thread ---- */

static int relay_write(void *user, const void *p, size_t n, struct bld_err *err)
{
        struct bd_relay *r = user;
        const char *s = p;
        int code = 0;

        pthread_mutex_lock(&r->lock);
        if (r->skip) {
                size_t k = (size_t)MIN((uint64_t)n, r->skip);

                r->skip -= k;
                s += k;
                n -= k;
        }
        while (n > 0) {
                size_t tail, k;

                while (r->fill == RING_BYTES && !r->stop)
                        pthread_cond_wait(&r->cond, &r->lock);
                if (r->stop) {
                        code = err_set(err, BLD_E_CANCELLED, "the reader has ended");
                        break;
                }
                tail = (r->head + r->fill) % RING_BYTES;
                k = MIN(MIN(n, RING_BYTES - r->fill), RING_BYTES - tail);
                memcpy(r->ring + tail, s, k);
                r->fill += k;
                s += k;
                n -= k;
                pthread_cond_broadcast(&r->cond);
        }
        pthread_mutex_unlock(&r->lock);
        return code;
}

/* All comes again from the first byte. What was given out and turns out wrong is caught at the
 * other end, which hashes, too. */
static int relay_rewind(void *user, struct bld_err *err)
{
        struct bd_relay *r = user;

        (void)err;
        pthread_mutex_lock(&r->lock);
        r->head = r->fill = 0;
        r->skip = r->at;
        pthread_mutex_unlock(&r->lock);
        return 0;
}

static void *relay_run(void *user)
{
        struct bd_relay *r = user;
        struct reg_sink sink = {
                .write = relay_write, .rewind = relay_rewind, .user = r, .stop = &r->stop};
        struct bld_err why = BLD_ERR_INIT;
        int code = reg_blob_get_from(r->reg, &r->repo, r->d, r->from, &sink, &why);

        pthread_mutex_lock(&r->lock);
        r->done = true;
        r->code = code;
        if (code < 0)
                err_copy(&r->why, &why);
        pthread_cond_broadcast(&r->cond);
        pthread_mutex_unlock(&r->lock);
        return NULL;
}

static void halt(struct bd_relay *r)
{
        if (!r->running)
                return;
        pthread_mutex_lock(&r->lock);
        r->stop = true;
        pthread_cond_broadcast(&r->cond);
        pthread_mutex_unlock(&r->lock);
        (void)pthread_join(r->thread, NULL);
        r->running = false;
}

static int restart(struct bd_relay *r, struct bld_err *err)
{
        sigset_t all, old;
        int e;

        halt(r);
        r->head = r->fill = 0;
        r->at = r->from;
        r->skip = 0;
        r->stop = r->done = false;
        r->code = 0;
        err_clear(&r->why);
        sigfillset(&all); /* signals belong to the program's own threads */
        pthread_sigmask(SIG_SETMASK, &all, &old);
        e = pthread_create(&r->thread, NULL, relay_run, r);
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        if (e != 0)
                return err_sys(err, e, "start a download");
        r->running = true;
        return 0;
}

/* ---- the reading side ---- */

/* Bytes that may be given out now. */
static size_t ready(const struct bd_relay *r)
{
        if (r->done && r->code == 0)
                return r->fill;
        /* the last byte waits for the verdict on all of them */
        return r->fill && r->at + r->fill >= r->d->size ? r->fill - 1 : r->fill;
}

static void drop(struct bd_relay *r, size_t n)
{
        r->head = (r->head + n) % RING_BYTES;
        r->fill -= n;
        r->at += n;
        pthread_cond_broadcast(&r->cond);
}

/* Wait a moment, then ask whether to go on; the lock is held, but not while asking. */
static bool wait_asking(struct bd_relay *r)
{
        int64_t until = time_mono_ns() + ASK_NS;
        struct timespec ts = {.tv_sec = until / NS_PER_S, .tv_nsec = until % NS_PER_S};
        bool stop;

        (void)pthread_cond_timedwait(&r->cond, &r->lock, &ts);
        pthread_mutex_unlock(&r->lock);
        stop = r->asked(r->asked_user);
        pthread_mutex_lock(&r->lock);
        return stop;
}

/* Wait for bytes at `off`; the lock is held. 1 there are some, 0 the end, or the failure. */
static int await(struct bd_relay *r, uint64_t off, struct bld_err *err)
{
        for (;;) {
                size_t have = ready(r);

                if (have && r->at < off) {
                        drop(r, (size_t)MIN((uint64_t)have, off - r->at));
                        continue;
                }
                if (have)
                        return 1;
                if (r->done && r->code < 0) {
                        err_copy(err, &r->why);
                        return r->code;
                }
                if (r->done)
                        return 0;
                if (r->asked && wait_asking(r))
                        return err_set(err, BLD_E_CANCELLED, "stopped during a download");
                if (!r->asked)
                        pthread_cond_wait(&r->cond, &r->lock);
        }
}

void bd_relay_seek(struct bd_relay *r, uint64_t off)
{
        halt(r);
        r->from = off;
}

ssize_t bd_relay_pread(struct bd_relay *r, void *p, size_t n, uint64_t off, struct bld_err *err)
{
        int e = 0;

        if (off >= r->d->size)
                return 0;
        if (off < r->from)
                r->from = 0;
        if (!r->running || off < r->at)
                e = restart(r, err);
        if (e < 0)
                return e;
        pthread_mutex_lock(&r->lock);
        e = await(r, off, err);
        if (e > 0) {
                n = MIN(MIN(n, ready(r)), RING_BYTES - r->head);
                memcpy(p, r->ring + r->head, n);
                drop(r, n);
        }
        pthread_mutex_unlock(&r->lock);
        return e > 0 ? (ssize_t)n : e;
}

static void monotonic_cond(pthread_cond_t *c)
{
        pthread_condattr_t attr;

        pthread_condattr_init(&attr);
        pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
        pthread_cond_init(c, &attr);
        pthread_condattr_destroy(&attr);
}

int bd_relay_new(struct bd_ctx *c, const struct img_ref *repo, const struct img_desc *d,
                 struct bd_relay **ret, struct bld_err *err)
{
        AUTO(bd_relay_free_p) struct bd_relay *r = mem_zalloc(1, sizeof(*r));
        int e;

        if (!r)
                return err_nomem(err, "transfer");
        pthread_mutex_init(&r->lock, NULL);
        monotonic_cond(&r->cond);
        r->c = c;
        r->d = d;
        r->ring = mem_alloc(RING_BYTES);
        if (!r->ring)
                return err_nomem(err, "transfer");
        e = img_ref_copy(repo, &r->repo, err);
        /* A client of its own: had downloads and uploads one pool of slots per host, uploads could
         * take all of them and wait for downloads for ever. */
        if (e == 0)
                e = c->registry_src ? c->registry_src(c->user, &r->reg, err)
                                    : c->registry(c->user, &r->reg, err);
        if (e < 0)
                return e;
        *ret = TAKE_PTR(&r);
        return 0;
}

void bd_relay_watch(struct bd_relay *r, bool (*stop)(void *user), void *user)
{
        r->asked = stop;
        r->asked_user = user;
}

void bd_relay_free(struct bd_relay *r)
{
        if (!r)
                return;
        halt(r);
        pthread_cond_destroy(&r->cond);
        pthread_mutex_destroy(&r->lock);
        img_ref_done(&r->repo);
        free(r->ring);
        free(r);
}
