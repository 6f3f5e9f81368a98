/* A blob in parts: where a whole body is refused for its size, or broke and can be gone on with.
 * What the server says it has is believed, never the status alone. */
#include "base/err.h"
#include "base/num.h"
#include "registry/header_priv.h"
#include "registry/put_priv.h"

#define CHUNK (UINT64_C(32) << 20)
#define CHUNK_LEAST (UINT64_C(64) << 10)
#define CHUNK_STEP 4

static bool refuses_chunks(struct put *u)
{
        bool no;

        (void)pthread_mutex_lock(&u->c->lock);
        no = u->repo->host->no_chunks;
        (void)pthread_mutex_unlock(&u->c->lock);
        return no;
}

/* It answered a part in a way that fits none: whole bodies from now on. */
static void no_chunks(struct put *u)
{
        (void)pthread_mutex_lock(&u->c->lock);
        u->repo->host->no_chunks = true;
        (void)pthread_mutex_unlock(&u->c->lock);
        u->chunked = false;
        reg_note_once(u->c, "%s does not take uploads in chunks", u->repo->host->name);
}

bool put_may_chunk(struct put *u)
{
        uint64_t most = u->repo->host->chunk_max ? u->repo->host->chunk_max : CHUNK;

        if (refuses_chunks(u) || u->desc->size <= CHUNK_LEAST)
                return false;
        /* the whole was too much: a part of the same length would be, too */
        u->chunk = MIN(most, MAX(u->desc->size / 2, CHUNK_LEAST));
        return true;
}

/* A part was refused for its size. */
static int smaller(struct put *u, struct req *rq, struct bld_err *err)
{
        uint64_t least = MAX(CHUNK_LEAST, u->chunk_min);

        if (u->chunk <= least)
                return req_refused(rq, err);
        u->chunk = MAX(u->chunk / CHUNK_STEP, least);
        put_session_cancel(u);
        return PUT_AGAIN;
}

/* The end the server names, of a part from `off` on. 0 for an answer that cannot be. Some append
 * whatever comes and answer 202; some repeat the same range for ever. */
static uint64_t acknowledged(const struct reg_res *res, uint64_t off, uint64_t len)
{
        const char *range = reg_res_header(res, "Range", 0);
        uint64_t have = 0;

        if (res->status != 202 || !range || !reg_upload_range(range, &have))
                return 0;
        return have > off && have <= off + len ? have : 0;
}

/* A part did not get through. 0: *off is where to go on; else as a step. */
static int recover(struct put *u, struct req *rq, uint64_t *off, struct bld_err *err)
{
        int status = rq->res.fault == REG_FAULT_NONE ? rq->res.status : 0, r;
        bool answered = status == 416 || (status == 401 && rq->res.body_sent);

        if (answered && u->retry.used++ < PUT_ROUNDS_MAX)
                return put_session_status(u, off, err);
        if (status == 404 || status == 416)
                return put_gone(u, rq);
        if (status == 413)
                return smaller(u, rq, err);
        if (status >= 200 && status < 300) {
                if (status == 201) /* perhaps it has closed the upload: a look will tell */
                        put_session_close(u);
                put_session_cancel(u);
                no_chunks(u);
                return PUT_AGAIN;
        }
        r = put_again(u, rq, err);
        return r < 0 ? r : put_session_status(u, off, err);
}

/* One PATCH. *off moves to what the server says it has. */
static int send_chunk(struct put *u, uint64_t *off, uint64_t len, struct bld_err *err)
{
        AUTO_REQ struct req rq = {0};
        uint64_t have;
        int r = put_begin(u, &rq, "PATCH", true, err);

        if (r == 0)
                r = req_header(&rq, err, "Content-Type: application/octet-stream");
        if (r == 0)
                r = req_header(&rq, err, "Content-Range: %llu-%llu", (unsigned long long)*off,
                               (unsigned long long)(*off + len - 1));
        if (r < 0)
                return r;
        rq.url = &u->session;
        rq.flags = REQ_ONCE | REQ_BLOB | (len > 16u << 20 ? REQ_FRESH : 0);
        rq.source = u->src;
        rq.source_off = *off;
        rq.source_len = len;
        rq.stop_after_body = true;
        r = req_run(&rq, err);
        if (r < 0)
                return r;
        have = rq.res.fault == REG_FAULT_NONE ? acknowledged(&rq.res, *off, len) : 0;
        if (have == 0)
                return recover(u, &rq, off, err);
        *off = have;
        u->retry = (struct retry){0}; /* it goes forward: breaks are counted anew */
        return reg_res_header(&rq.res, "Location", 0) ? put_session_move(u, &rq, err) : 0;
}

int put_chunks(struct put *u, uint64_t off, struct bld_err *err)
{
        /* what is gone on with without a limit on bodies goes in one piece */
        uint64_t chunk = u->chunked ? MAX(u->chunk, u->chunk_min) : UINT64_MAX;
        AUTO_URL struct reg_url url = {0};
        AUTO_REQ struct req rq = {0};
        int r;

        while (off < u->desc->size) {
                r = send_chunk(u, &off, MIN(chunk, u->desc->size - off), err);
                if (r != 0)
                        return r;
        }
        r = put_begin(u, &rq, "PUT", true, err);
        if (r == 0)
                r = put_session_end_url(u, &url, err);
        if (r < 0)
                return r;
        rq.url = &url;
        rq.flags = REQ_ONCE | REQ_LONG;
        r = req_run(&rq, err);
        if (r < 0)
                return r;
        /* all parts are there: only the end is to be said again */
        u->broken = rq.res.status == 429 || rq.res.status >= 500;
        return put_closed(u, &rq, err);
}
