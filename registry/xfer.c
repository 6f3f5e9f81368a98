/* The caller's side of an exchange. */
#include "registry/http_priv.h"

#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "base/num.h"
#include "registry/client_priv.h"

const char *reg_res_header(const struct reg_res *r, const char *name, size_t n)
{
        for (size_t i = 0; i < r->headers.n; i++)
                if (strcasecmp(r->headers.v[i].name, name) == 0 && n-- == 0)
                        return r->headers.v[i].value;
        return NULL;
}

static void headers_clear(struct reg_headers *a)
{
        for (size_t i = 0; i < a->n; i++) {
                free(a->v[i].name);
                free(a->v[i].value);
        }
        reg_headers_done(a);
}

void reg_res_done(struct reg_res *r)
{
        headers_clear(&r->headers);
        sb_done(&r->body);
        *r = (struct reg_res){0};
}

int xfer_init(struct xfer *x, struct reg_client *c, struct bld_err *err)
{
        *x = (struct xfer){.c = c, .method = "GET", .verify = true};
        x->connect_ms = c->timing.connect;
        x->headers_ms = c->timing.headers;
        x->stall_ms = c->timing.stall;
        if (reg_cond_init(&x->cond) != 0) {
                x->c = NULL;
                return err_nomem(err, "set up a transfer");
        }
        return 0;
}

void xfer_done(struct xfer *x)
{
        if (!x->c)
                return;
        xfer_abort(x);
        /* an Authorization header may be among them */
        for (size_t i = 0; i < x->headers.n; i++)
                explicit_bzero(x->headers.v[i], strlen(x->headers.v[i]));
        strv_done(&x->headers);
        free(x->url);
        free(x->proxy);
        free(x->ring);
        reg_res_done(&x->res);
        (void)pthread_cond_destroy(&x->cond);
        x->c = NULL;
}

int xfer_start(struct xfer *x, struct bld_err *err)
{
        int r;

        if (x->stream || x->upload) {
                x->ring = mem_alloc(REG_RING_SIZE);
                if (!x->ring)
                        return err_nomem(err, "buffer a transfer");
        }
        sb_init(&x->res.body, MAX(x->body_max, (size_t)REG_ERROR_BODY_MAX) + 1);
        r = engine_start(x->c, err);
        if (r < 0)
                return r;
        engine_submit(x);
        return 0;
}

static void lock(struct xfer *x)
{
        (void)pthread_mutex_lock(&x->c->lock);
}

static void unlock(struct xfer *x)
{
        (void)pthread_mutex_unlock(&x->c->lock);
}

/* The one who says stop knows nothing of us, so it is looked at. */
static void wait(struct xfer *x)
{
        int64_t until = time_mono_ns() + (int64_t)REG_LOOK_MS * 1000000;
        struct timespec ts = {.tv_sec = until / 1000000000, .tv_nsec = until % 1000000000};

        if (!x->stop || x->want_abort) {
                (void)pthread_cond_wait(&x->cond, &x->c->lock);
                return;
        }
        (void)pthread_cond_timedwait(&x->cond, &x->c->lock, &ts);
        if (!atomic_load(x->stop) || x->state == XFER_DONE)
                return;
        x->want_abort = true;
        engine_wake(x->c);
}

void xfer_wait_head(struct xfer *x)
{
        lock(x);
        while (x->state != XFER_DONE && !x->heads)
                wait(x);
        unlock(x);
}

void xfer_wait(struct xfer *x)
{
        lock(x);
        while (x->state != XFER_DONE)
                wait(x);
        unlock(x);
}

int xfer_next(struct xfer *x, const void **ret_p, size_t *ret_n)
{
        int r = 0;

        lock(x);
        while (x->fill == 0 && x->state != XFER_DONE)
                wait(x);
        if (x->fill > 0) {
                *ret_p = x->ring + x->head;
                *ret_n = MIN(x->fill, REG_RING_SIZE - x->head);
                r = 1;
        }
        unlock(x);
        return r;
}

void xfer_drained(struct xfer *x, size_t n)
{
        bool wake = false;

        lock(x);
        x->head = (x->head + n) % REG_RING_SIZE;
        x->fill -= n;
        /* resume with half the ring free: each resumption costs a wake-up */
        if (x->paused && !x->want_resume && x->fill <= REG_RING_SIZE / 2)
                wake = x->want_resume = true;
        unlock(x);
        if (wake)
                engine_wake(x->c);
}

int xfer_room(struct xfer *x, void **ret_p, size_t *ret_n)
{
        int r = 0;

        lock(x);
        while (x->fill == REG_RING_SIZE && x->state != XFER_DONE && !x->heads)
                wait(x);
        if (x->state != XFER_DONE && !x->heads) {
                size_t tail = (x->head + x->fill) % REG_RING_SIZE;

                *ret_p = x->ring + tail;
                *ret_n = MIN(REG_RING_SIZE - x->fill, REG_RING_SIZE - tail);
                r = 1;
        }
        unlock(x);
        return r;
}

static void filled(struct xfer *x, size_t n, bool end)
{
        bool wake = false;

        lock(x);
        x->fill += n;
        x->upload_end |= end;
        if (x->paused && !x->want_resume && (x->fill >= REG_RING_SIZE / 2 || x->upload_end))
                wake = x->want_resume = true;
        unlock(x);
        if (wake)
                engine_wake(x->c);
}

void xfer_filled(struct xfer *x, size_t n)
{
        filled(x, n, false);
}

void xfer_filled_all(struct xfer *x)
{
        filled(x, 0, true);
}

void xfer_abort(struct xfer *x)
{
        bool running;

        lock(x);
        running = x->state == XFER_QUEUED || x->state == XFER_ACTIVE;
        x->want_abort |= running;
        unlock(x);
        if (!running)
                return;
        engine_wake(x->c);
        xfer_wait(x);
}
