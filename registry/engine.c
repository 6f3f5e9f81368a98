/* The transfer thread: one curl multi handle, every exchange a small state machine (queued for a
 * slot, active, done). It owns the handles and what is marked so in struct xfer; everything else
 * crosses under the client's lock, which is never held over a curl call. */
#include <signal.h>
#include <string.h>

#include "base/err.h"
#include "base/num.h"
#include "registry/client_priv.h"
#include "registry/curl_priv.h"
#include "registry/http_priv.h"
#include "registry/xfer_priv.h"

#define CONNECTIONS_KEPT 32
#define BLOBS_AT_ONCE 12

struct engine {
        struct reg_client *c;
        const struct curl_api *api;
        CURLM *multi;
        struct xfer *first, **last; /* queued and active, in order of arrival */
        unsigned blobs;
        bool cancelled;
};

void engine_wake(struct reg_client *c)
{
        (void)c->curl->multi_wakeup(c->multi);
}

void engine_submit(struct xfer *x)
{
        struct reg_client *c = x->c;

        (void)pthread_mutex_lock(&c->lock);
        x->state = XFER_QUEUED;
        x->next = NULL;
        if (c->incoming_last)
                c->incoming_last->next = x;
        else
                c->incoming = x;
        c->incoming_last = x;
        (void)pthread_mutex_unlock(&c->lock);
        engine_wake(c);
}

/* Take new exchanges and everybody's wishes in one pass under the lock. */
static bool take_orders(struct engine *e, struct strv *notes)
{
        struct reg_client *c = e->c;
        bool stop;

        (void)pthread_mutex_lock(&c->lock);
        if (c->incoming) {
                *e->last = c->incoming;
                e->last = &c->incoming_last->next;
                c->incoming = c->incoming_last = NULL;
        }
        for (struct xfer *x = e->first; x; x = x->next) {
                if (x->want_abort && !x->aborting) {
                        x->aborting = true;
                        x->abort_fault = REG_FAULT_CANCELLED;
                }
                x->resuming = x->want_resume;
                if (x->want_resume)
                        x->paused = false;
                x->want_resume = false;
        }
        *notes = c->notes;
        c->notes = (struct strv){0};
        stop = c->stop;
        (void)pthread_mutex_unlock(&c->lock);
        return stop;
}

static void hand_out_notes(struct engine *e, struct strv *notes)
{
        for (size_t i = 0; i < notes->n && e->c->note; i++)
                e->c->note(e->c->user, notes->v[i]);
        strv_done(notes);
}

static bool slot_free(const struct engine *e, const struct xfer *x)
{
        struct reg_host *h = x->host;
        unsigned limit;

        (void)pthread_mutex_lock(&e->c->lock);
        limit = h->blob_limit;
        (void)pthread_mutex_unlock(&e->c->lock);
        /* one connection more than blobs may take: a big upload cannot starve manifests */
        if (!x->blob)
                return h->total < limit + 1;
        return h->blobs < limit && h->total < limit + 1 &&
               e->blobs < MAX(BLOBS_AT_ONCE, e->c->parallel);
}

static void finish(struct engine *e, struct xfer *x)
{
        if (x->easy) {
                (void)e->api->multi_remove_handle(e->multi, x->easy);
                xfer_easy_done(x, e->api);
                x->host->total--;
                if (x->blob) {
                        x->host->blobs--;
                        e->blobs--;
                }
        }
        (void)pthread_mutex_lock(&e->c->lock);
        x->state = XFER_DONE;
        /* signalled under the lock: once it is free the caller may free x */
        (void)pthread_cond_broadcast(&x->cond);
        (void)pthread_mutex_unlock(&e->c->lock);
}

/* Unlink the exchange at *at and finish it. */
static void retire(struct engine *e, struct xfer **at)
{
        struct xfer *x = *at;

        *at = x->next;
        if (e->last == &x->next)
                e->last = at;
        finish(e, x);
}

static void begin(struct engine *e, struct xfer *x)
{
        if (!xfer_easy_setup(x, e->api) ||
            e->api->multi_add_handle(e->multi, x->easy) != CURLM_OK) {
                if (x->easy)
                        xfer_easy_done(x, e->api);
                xfer_fault(x, REG_FAULT_INTERNAL, "no memory for a transfer");
                x->aborting = true;
                return;
        }
        x->host->total++;
        if (x->blob) {
                x->host->blobs++;
                e->blobs++;
        }
        x->window_ns = time_mono_ns();
        (void)pthread_mutex_lock(&e->c->lock);
        x->state = XFER_ACTIVE;
        (void)pthread_mutex_unlock(&e->c->lock);
}

/* The low-speed and no-answer rules, ours because curl's know neither a paused upload nor the
 * long silence after a big PUT. Returns nanoseconds until x must be looked at again. */
static int64_t watch(struct xfer *x, int64_t now)
{
        bool paused, heads;
        int64_t limit_ms, left;
        uint64_t least;

        (void)pthread_mutex_lock(&x->c->lock);
        paused = x->paused;
        heads = x->heads;
        (void)pthread_mutex_unlock(&x->c->lock);
        if (heads || (x->upload && x->sent < x->upload_size)) {
                limit_ms = x->stall_ms;
                least = (uint64_t)(limit_ms / 1000) * 1024 + 1;
        } else {
                limit_ms = MAX(x->headers_ms, x->connect_ms);
                least = 1;
        }
        if (paused || x->moved - x->window_moved >= least) {
                x->window_ns = now;
                x->window_moved = x->moved;
        }
        left = x->window_ns + limit_ms * 1000000 - now;
        if (left <= 0) {
                xfer_fault(x, REG_FAULT_TIMEOUT,
                           heads ? "the transfer stalled" : "no answer in time");
                x->aborting = true;
        }
        return left;
}

/* One pass over all exchanges. Returns milliseconds the poll may sleep. */
static int tend(struct engine *e)
{
        int64_t now = time_mono_ns(), sleep_ns = 60 * INT64_C(1000000000);

        for (struct xfer **at = &e->first; *at;) {
                struct xfer *x = *at;

                if (e->cancelled && !x->aborting) {
                        x->aborting = true;
                        x->abort_fault = REG_FAULT_CANCELLED;
                }
                if (!x->aborting && !x->easy && slot_free(e, x))
                        begin(e, x);
                if (!x->aborting && x->easy) {
                        if (x->resuming)
                                (void)e->api->easy_pause(x->easy, CURLPAUSE_CONT);
                        x->resuming = false;
                        sleep_ns = MIN(sleep_ns, MAX(watch(x, now), INT64_C(1000000)));
                }
                if (x->aborting) {
                        if (x->res.fault == REG_FAULT_NONE)
                                xfer_fault(x, x->abort_fault, "cancelled");
                        retire(e, at);
                        continue;
                }
                at = &x->next;
        }
        return (int)(sleep_ns / 1000000) + 1;
}

/* Take what curl has ended; how many. */
static unsigned collect(struct engine *e)
{
        CURLMsg *m;
        unsigned n = 0;
        int left;

        while ((m = e->api->multi_info_read(e->multi, &left))) {
                CURLcode code = m->data.result;
                CURL *easy = m->easy_handle;
                struct xfer **at = &e->first;

                if (m->msg != CURLMSG_DONE)
                        continue;
                while (*at && (*at)->easy != easy)
                        at = &(*at)->next;
                if (!*at)
                        continue;
                xfer_easy_result(*at, e->api, code);
                retire(e, at);
                n++;
        }
        return n;
}

static void check_cancel(struct engine *e)
{
        if (e->cancelled || !cancel_level(e->c->cancel))
                return;
        e->cancelled = true;
        (void)pthread_mutex_lock(&e->c->lock);
        e->c->cancelled = true;
        (void)pthread_cond_broadcast(&e->c->cond);
        (void)pthread_mutex_unlock(&e->c->lock);
}

static void *engine_main(void *arg)
{
        struct engine e = {.c = arg, .api = ((struct reg_client *)arg)->curl};
        int running;

        e.multi = e.c->multi;
        e.last = &e.first;
        for (;;) {
                struct curl_waitfd extra = {.events = CURL_WAIT_POLLIN};
                struct strv notes = {0};
                bool stop = take_orders(&e, &notes);
                int sleep_ms, fds = 0;

                hand_out_notes(&e, &notes);
                check_cancel(&e);
                sleep_ms = tend(&e);
                if (stop && !e.first)
                        break;
                (void)e.api->multi_perform(e.multi, &running);
                /* what ended may free a slot for what is queued: look again before sleeping */
                if (collect(&e) > 0)
                        sleep_ms = 0;
                extra.fd = cancel_fd(e.c->cancel);
                /* once fired it stays readable: no longer a reason to wake */
                fds = extra.fd >= 0 && !e.cancelled;
                (void)e.api->multi_poll(e.multi, fds ? &extra : NULL, (unsigned)fds, sleep_ms,
                                        NULL);
        }
        return NULL;
}

/* Under the lock. */
static int start_locked(struct reg_client *c, struct bld_err *err)
{
        sigset_t all, old;
        int r;

        r = curl_api_get(&c->curl, err);
        if (r < 0)
                return r;
        c->multi = c->curl->multi_init();
        if (!c->multi)
                return err_nomem(err, "start the transfer engine");
        (void)c->curl->multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, (long)CONNECTIONS_KEPT);
        /* signals belong to the program's own threads; SIGPIPE would come from OpenSSL's writes */
        (void)sigfillset(&all);
        (void)pthread_sigmask(SIG_SETMASK, &all, &old);
        r = pthread_create(&c->thread, NULL, engine_main, c);
        (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
        if (r != 0) {
                (void)c->curl->multi_cleanup(c->multi);
                c->multi = NULL;
                return err_sys(err, r, "start the transfer thread");
        }
        c->running = true;
        return 0;
}

int engine_start(struct reg_client *c, struct bld_err *err)
{
        int r = 0;

        (void)pthread_mutex_lock(&c->lock);
        if (!c->running)
                r = start_locked(c, err);
        (void)pthread_mutex_unlock(&c->lock);
        return r;
}

void engine_stop(struct reg_client *c)
{
        if (!c->running)
                return;
        (void)pthread_mutex_lock(&c->lock);
        c->stop = true;
        (void)pthread_mutex_unlock(&c->lock);
        engine_wake(c);
        (void)pthread_join(c->thread, NULL);
        (void)c->curl->multi_cleanup(c->multi);
        c->multi = NULL;
        c->running = false;
}
