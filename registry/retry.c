/* Which outcome deserves another attempt, and how long to wait. */
#include <sys/random.h>
#include <string.h>

#include "base/err.h"
#include "base/num.h"
#include "registry/header_priv.h"
#include "registry/request_priv.h"

enum again { AGAIN_NO, AGAIN_ONCE, AGAIN_FULL };

static enum again by_status(int status)
{
        static const int full[] = {408, 409, 425, 429, 499, 500, 502, 503, 504, 522, 524};

        for (size_t i = 0; i < ARRAY_LEN(full); i++)
                if (full[i] == status)
                        return AGAIN_FULL;
        return AGAIN_NO;
}

static enum again worth(const struct req *rq)
{
        switch (rq->res.fault) {
        case REG_FAULT_NONE:
                if (rq->passing && rq->res.status == 400 && req_has_code(rq, rq->passing))
                        return AGAIN_FULL;
                return by_status(rq->res.status);
        case REG_FAULT_RESOLVE:
                return AGAIN_ONCE;
        case REG_FAULT_CONNECT:
        case REG_FAULT_TLS:
        case REG_FAULT_BROKEN:
        case REG_FAULT_TIMEOUT:
                return AGAIN_FULL;
        case REG_FAULT_PLAIN:
        case REG_FAULT_CERT:
        case REG_FAULT_PROXY:
        case REG_FAULT_GUARD:
        case REG_FAULT_LIMIT:
        case REG_FAULT_CANCELLED:
        case REG_FAULT_INTERNAL:
                break;
        }
        return AGAIN_NO;
}

int64_t retry_jitter(int64_t limit)
{
        uint32_t v = 0;

        if (limit <= 0)
                return 0;
        (void)!getrandom(&v, sizeof(v), 0); /* without it there is no jitter, which is allowed */
        return (int64_t)(v % (uint64_t)(limit + 1));
}

static int64_t backoff_ms(const struct reg_client *c, unsigned k, bool limited)
{
        int64_t ms = c->timing.backoff * (limited ? 2 : 1);

        for (; k > 0 && ms < c->timing.backoff_max; k--)
                ms *= 2;
        return retry_jitter(MIN(ms, c->timing.backoff_max));
}

static void note_retry(struct req *rq, const struct retry *t, unsigned of, int64_t ms)
{
        AUTO_SB struct sb text = SB_INIT(4096);
        char wait[24];

        req_answer_text(rq, &text);
        format_elapsed(ms, wait);
        reg_note(rq->c, "%s: %s; retry %u of %u in %s", rq->what, sb_text(&text), t->used, of,
                 wait);
}

/* The server asks for fewer of us at once. */
static void slow_down(struct req *rq)
{
        (void)pthread_mutex_lock(&rq->c->lock);
        rq->repo->host->blob_limit = 1;
        (void)pthread_mutex_unlock(&rq->c->lock);
}

/* "0;w=21600": nothing left for hours, and the header says so; waiting would only look busy. */
static bool spent(const struct reg_res *res)
{
        const char *left = reg_res_header(res, "RateLimit-Remaining", 0);
        uint64_t window;

        if (!left || !str_has_prefix(left, "0;w="))
                return false;
        return parse_u64(left + 4, 0, UINT64_MAX, &window) && window > 600 &&
               !reg_res_header(res, "Retry-After", 0);
}

static int req_sleep(struct req *rq, int64_t ms, struct bld_err *err)
{
        int r = 0;

        while (r == 0 && rq->stop && ms > REG_LOOK_MS && !atomic_load(rq->stop)) {
                r = reg_sleep(rq->c, REG_LOOK_MS, err);
                ms -= REG_LOOK_MS;
        }
        if (r == 0 && rq->stop && atomic_load(rq->stop))
                return err_set(err, BLD_E_CANCELLED, "%s: stopped", rq->what);
        return r < 0 ? r : reg_sleep(rq->c, ms, err);
}

int retry_wait(struct req *rq, struct retry *t, struct bld_err *err)
{
        struct reg_client *c = rq->c;
        int64_t now = time_mono_ns(), ms, asked;
        enum again again = worth(rq);
        const char *after = NULL;
        unsigned most;
        int status = rq->res.fault == REG_FAULT_NONE ? rq->res.status : 0;

        if (t->start_ns == 0)
                t->start_ns = now;
        if (status == 429)
                slow_down(rq);
        if (status == 429 && spent(&rq->res))
                return 0;
        most = rq->res.fault == REG_FAULT_NONE ? c->retries : c->retries_unanswered;
        if (again == AGAIN_ONCE)
                most = MIN(most, 1u);
        if (again == AGAIN_NO || t->used >= most)
                return 0;
        ms = backoff_ms(c, t->used, status == 429);
        if (status == 429 || status == 503)
                after = reg_res_header(&rq->res, "Retry-After", 0);
        if (after && reg_retry_after(after, time_now_ns() / 1000000000, &asked))
                ms = asked;
        if ((now - t->start_ns) / 1000000 + ms > c->retry_max_ms)
                return 0;
        t->used++;
        note_retry(rq, t, most, ms);
        return req_sleep(rq, ms, err) < 0 ? BLD_E_CANCELLED : 1;
}

int retry_resume_wait(struct req *rq, struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(4096);
        int64_t ms = rq->c->timing.resume;

        ms += retry_jitter(ms / 2);
        req_answer_text(rq, &text);
        reg_note(rq->c, "%s: %s; resuming", rq->what, sb_text(&text));
        return req_sleep(rq, ms, err);
}
