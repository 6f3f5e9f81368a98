/* Downloads: hashed as they arrive, resumed where they broke, never handed on unverified. */
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "base/num.h"
#include "registry/header_priv.h"
#include "registry/request_priv.h"

#define PROGRESS_WORTH (1u << 20)
#define PATIENCE_NS (60 * INT64_C(1000000000))

/* What the head or body of an answer made of the attempt; positive, so that it is no error yet. */
enum { GET_RESTART = 1, GET_TOO_LONG, GET_WRONG_LENGTH, GET_EMPTY, GET_BAD_RANGE, GET_PACKED };

struct get {
        struct reg_client *c;
        const struct img_desc *desc;
        const struct reg_sink *sink;
        const char *what;
        struct hasher h;
        uint64_t off;      /* bytes verified into the hash and given to the sink */
        uint64_t asked;    /* Range of this attempt, 0: whole */
        bool part;         /* the beginning was not asked for: there is nothing to verify */
        bool quick;        /* from a mirror: no waiting */
        bool local;        /* the sink failed: nobody else's bytes will do */
        bool no_range;     /* a range was answered wrongly once */
        bool no_cache;     /* something on the way gave us other bytes */
        bool packed;       /* the last answer had a Content-Encoding */
        bool decode;       /* it is undone from now on */
        unsigned restarts; /* after a wrong digest or length */
        unsigned denied;   /* refusals of a storage host */
        struct retry retry;
        uint64_t best;    /* the farthest any attempt came */
        int64_t break_ns; /* when it broke last */
};

static int restart(struct get *g, struct bld_err *err)
{
        if (g->off > 0) {
                int r = g->sink->rewind(g->sink->user, err);

                if (r < 0)
                        return r;
        }
        g->off = 0;
        g->part = false;
        hasher_init(&g->h, g->desc->digest.algo);
        return 0;
}

static int head_206(struct get *g, const struct reg_res *res)
{
        const char *range = reg_res_header(res, "Content-Range", 0);
        uint64_t first, last, total;

        if (!range || reg_res_header(res, "Content-Range", 1) ||
            !reg_content_range(range, &first, &last, &total) || first != g->asked ||
            last + 1 != g->desc->size || (total != UINT64_MAX && total != g->desc->size)) {
                /* not to a range of ours: asking again would change nothing */
                if (g->asked == 0)
                        return GET_BAD_RANGE;
                g->no_range = true;
                return GET_RESTART;
        }
        return 0;
}

static int on_head(void *user, const struct reg_res *res, struct bld_err *err)
{
        struct get *g = user;
        const char *length = reg_res_header(res, "Content-Length", 0);
        const char *encoding = reg_res_header(res, "Content-Encoding", 0);
        uint64_t n;

        g->denied = 0;
        g->packed = encoding && strcasecmp(encoding, "identity") != 0;
        if (res->status == 206)
                return head_206(g, res);
        /* 200 to a range request: all of it comes, from the start */
        if (g->off > 0) {
                int r = restart(g, err);

                if (r < 0)
                        return r;
        }
        if (g->decode && g->packed)
                return 0; /* the length is that of the packed bytes */
        if (length && parse_u64(length, 0, UINT64_MAX, &n) && n != g->desc->size)
                return g->packed ? GET_PACKED : n == 0 ? GET_EMPTY : GET_WRONG_LENGTH;
        return 0;
}

static int on_body(void *user, const void *p, size_t n, struct bld_err *err)
{
        struct get *g = user;
        int r;

        if (n > g->desc->size - g->off)
                return GET_TOO_LONG;
        r = g->sink->write(g->sink->user, p, n, err);
        if (r < 0)
                return r;
        hasher_add(&g->h, p, n);
        g->off += n;
        if (g->sink->progress)
                g->sink->progress(g->sink->user, g->off, g->desc->size);
        return 0;
}

static int send(struct get *g, struct req *rq, struct bld_err *err)
{
        int r = 0;

        req_again(rq);
        strv_done(&rq->headers);
        g->asked = g->off;
        if (g->decode)
                rq->flags |= REQ_DECODE;
        if (g->asked > 0)
                r = req_header(rq, err, "Range: bytes=%llu-", (unsigned long long)g->asked);
        if (r == 0 && g->no_cache)
                r = req_header(rq, err, "Cache-Control: no-cache");
        return r < 0 ? r : req_run(rq, err);
}

/* Did this attempt come far enough beyond all before it that its break costs nothing? */
static bool worth_it(const struct get *g, int64_t now)
{
        if (g->off <= g->best || g->no_range || g->c->retries == 0)
                return false;
        return g->break_ns == 0 || g->off - g->best >= PROGRESS_WORTH ||
               now - g->break_ns >= PATIENCE_NS;
}

/* The connection broke. While it goes forward it may break as often as it likes; without progress
 * the usual budget counts. 1: go on. */
static int broken(struct get *g, struct req *rq, struct bld_err *err)
{
        bool cut = rq->res.fault == REG_FAULT_BROKEN || rq->res.fault == REG_FAULT_TIMEOUT;
        int64_t now = time_mono_ns();
        bool cheap = cut && worth_it(g, now);
        int r;

        g->best = MAX(g->best, g->off);
        g->break_ns = now;
        if (g->no_range) {
                r = restart(g, err);
                if (r < 0)
                        return r;
        }
        if (!cheap)
                return g->quick ? 0 : retry_wait(rq, &g->retry, err);
        r = retry_resume_wait(rq, err);
        if (r < 0)
                return r;
        g->retry = (struct retry){0};
        return 1;
}

static int wrong_digest(struct get *g, const struct req *rq, struct bld_err *err)
{
        char want[DIGEST_STR_MAX], have[DIGEST_STR_MAX];
        struct digest d;
        struct hasher h = g->h;
        int r;

        hasher_end(&h, &d);
        digest_format(&d, have);
        digest_format(&g->desc->digest, want);
        r = err_set(err, BLD_E_CORRUPT, "%s: %s sent bytes that are not blob %s", g->what,
                    rq->at.host, want);
        return err_why(err, r, "%llu bytes with digest %s", (unsigned long long)g->off, have);
}

/* A digest is that of the stored bytes; somebody on the way has packed them. */
static int unpack(struct get *g, struct bld_err *err)
{
        int r;

        g->decode = g->no_range = true;
        r = restart(g, err);
        return r < 0 ? r : 1;
}

/* All arrived: is it what was asked for? 1: try once more. */
static int verify(struct get *g, struct req *rq, struct bld_err *err)
{
        struct hasher h = g->h;
        struct digest d;
        int r;

        if (g->part)
                return 0;
        hasher_end(&h, &d);
        if (digest_eq(&d, &g->desc->digest))
                return 0;
        if (g->packed && !g->decode)
                return unpack(g, err);
        if (g->restarts++ > 0 || g->c->retries == 0)
                return wrong_digest(g, rq, err);
        reg_note(g->c, "%s: the bytes do not match the digest; once more from the start", g->what);
        g->no_cache = g->no_range = true;
        r = restart(g, err);
        return r < 0 ? r : 1;
}

/* An answer that the callbacks did not like. 1: try once more. */
static int disliked(struct get *g, struct req *rq, int how, struct bld_err *err)
{
        int r;

        if (how == GET_RESTART) {
                r = restart(g, err);
                return r < 0 ? r : 1;
        }
        if (how == GET_PACKED && !g->decode)
                return unpack(g, err);
        if (how != GET_BAD_RANGE && g->c->retries > 0 && g->restarts++ == 0) {
                /* a broken cache on the way answers so */
                reg_note(g->c, "%s: not the length of the blob; once more from the start", g->what);
                g->no_cache = g->no_range = true;
                r = restart(g, err);
                return r < 0 ? r : 1;
        }
        if (how == GET_BAD_RANGE)
                return err_set(err, BLD_E_CORRUPT, "%s: %s answered with a part nobody asked for",
                               g->what, rq->at.host);
        if (how == GET_TOO_LONG)
                return err_set(err, BLD_E_CORRUPT,
                               "%s: %s sent more than the %llu bytes of the "
                               "blob",
                               g->what, rq->at.host, (unsigned long long)g->desc->size);
        return err_set(err, BLD_E_CORRUPT, "%s: %s announced %s bytes, the blob has %llu", g->what,
                       rq->at.host, how == GET_EMPTY ? "0" : "a different number of",
                       (unsigned long long)g->desc->size);
}

/* An answer without a body for us. 1: try again. */
static int refused(struct get *g, struct req *rq, struct bld_err *err)
{
        char name[DIGEST_STR_MAX];
        AUTO_SB struct sb shown = SB_INIT(4096);
        int r;

        /* the signed URL has expired: the registry gives a fresh one */
        if (rq->foreign && (rq->res.status == 403 || rq->res.status == 400) && g->denied < 2) {
                if (g->denied++ == 0)
                        return 1;
                if (g->asked > 0) { /* not the URL: it may be the range */
                        g->no_range = true;
                        r = restart(g, err);
                        return r < 0 ? r : 1;
                }
        }
        if (rq->res.status == 416) {
                if (g->off == g->desc->size)
                        return verify(g, rq, err);
                if (g->asked > 0 && !g->no_range) {
                        g->no_range = true;
                        r = restart(g, err);
                        return r < 0 ? r : 1;
                }
        }
        if (rq->res.status == 404) {
                digest_format(&g->desc->digest, name);
                sb_fmt(&shown, "blob %s of %s", name, rq->repo->shown);
                return req_not_found(rq, sb_text(&shown), err);
        }
        r = g->quick ? 0 : retry_wait(rq, &g->retry, err);
        return r == 0 ? req_refused(rq, err) : r;
}

/* One attempt. 1: again, 0: done. */
static int get_once(struct get *g, struct req *rq, struct bld_err *err)
{
        int r = send(g, rq, err);

        if (r > 0)
                return disliked(g, rq, r, err);
        g->local = r < 0 && rq->gave_up;
        if (r < 0)
                return r;
        if (rq->res.fault != REG_FAULT_NONE) {
                /* every byte may have come in spite of it */
                if (g->off == g->desc->size && rq->res.fault == REG_FAULT_BROKEN)
                        return verify(g, rq, err);
                r = broken(g, rq, err);
                return r == 0 ? req_refused(rq, err) : r;
        }
        if (rq->res.status != 200 && rq->res.status != 206)
                return refused(g, rq, err);
        if (g->off < g->desc->size) {
                rq->res.fault = REG_FAULT_BROKEN;
                (void)snprintf(rq->res.why, sizeof(rq->res.why), "ended after %llu of %llu bytes",
                               (unsigned long long)g->off, (unsigned long long)g->desc->size);
                r = broken(g, rq, err);
                return r == 0 ? req_refused(rq, err) : r;
        }
        return verify(g, rq, err);
}

/* Content that needs no network: embedded in the descriptor, or empty. 1 when it was one. */
static int get_local(struct get *g, struct bld_err *err)
{
        struct digest d;
        int r;

        if (g->desc->size > 0 && !g->desc->data)
                return 0;
        if (g->desc->size > 0) {
                r = on_body(g, g->desc->data, g->desc->size, err);
                if (r < 0)
                        return r;
        }
        hasher_end(&g->h, &d);
        if (!digest_eq(&d, &g->desc->digest))
                return err_set(err, BLD_E_CORRUPT,
                               "%s: the descriptor's digest is not that of "
                               "its %s",
                               g->what, g->desc->size ? "data" : "empty content");
        return 1;
}

/* Layers that a registry must not carry name other places. No credentials go there. */
static int get_elsewhere(struct get *g, struct req *from, struct bld_err *err)
{
        for (size_t i = 0; i < g->desc->urls.n; i++) {
                AUTO_URL struct reg_url u = {0};
                AUTO_REQ struct req rq = {0};
                struct bld_err why = BLD_ERR_INIT;
                int r;

                if (reg_url_parse(g->desc->urls.v[i], &u, NULL) < 0)
                        continue;
                if (!reg_addr_allowed(REG_ADDR_NAME, reg_addr_class(u.host)) &&
                    !reg_addr_allowed(from->repo->host->addr, reg_addr_class(u.host)))
                        continue;
                req_init(&rq, g->c, from->repo, g->what);
                rq.url = &u;
                rq.flags = REQ_ONCE | REQ_BLOB | REQ_NO_AUTH;
                rq.on_head = on_head;
                rq.on_body = on_body;
                rq.user = g;
                rq.stop = g->sink->stop;
                r = restart(g, err);
                while (r >= 0 && (r = get_once(g, &rq, &why)) == 1)
                        ;
                if (r == 0)
                        return 0;
                if (why.code == BLD_E_CANCELLED || why.code == BLD_E_NOMEM) {
                        err_copy(err, &why);
                        return r;
                }
        }
        return BLD_E_NOT_FOUND;
}

/* All of it from one place, whatever attempts that takes. */
static int get_from(struct get *g, struct reg_repo *repo, const char *name, struct bld_err *err)
{
        AUTO_SB struct sb what = SB_INIT(4096), path = SB_INIT(4096);
        struct bld_err why = BLD_ERR_INIT;
        AUTO_REQ struct req rq = {0};
        int r;

        sb_fmt(&what, "pull of %s, blob %.19s", repo->shown, name);
        sb_fmt(&path, "/v2/%s/blobs/%s", repo->path, name);
        g->what = sb_text(&what);
        req_init(&rq, g->c, repo, g->what);
        rq.path = sb_text(&path);
        rq.flags = REQ_ONCE | REQ_BLOB | (g->quick ? REQ_QUICK : 0);
        rq.on_head = on_head;
        rq.on_body = on_body;
        rq.user = g;
        rq.stop = g->sink->stop;
        r = req_scope(&rq, repo->path, "pull", err);
        if (r < 0)
                return r;
        while ((r = get_once(g, &rq, &why)) == 1)
                ;
        if (r == BLD_E_NOT_FOUND && !g->quick && g->desc->urls.n > 0) {
                int e = get_elsewhere(g, &rq, err);

                if (e != BLD_E_NOT_FOUND)
                        return e;
        }
        if (r < 0)
                err_copy(err, &why);
        return r;
}

int reg_blob_get(struct reg_client *c, const struct img_ref *ref, const struct img_desc *desc,
                 const struct reg_sink *sink, struct bld_err *err)
{
        return reg_blob_get_from(c, ref, desc, 0, sink, err);
}

int reg_blob_get_from(struct reg_client *c, const struct img_ref *ref, const struct img_desc *desc,
                      uint64_t from, const struct reg_sink *sink, struct bld_err *err)
{
        struct get g = {.c = c, .desc = desc, .sink = sink, .what = "blob"};
        char name[DIGEST_STR_MAX];
        struct reg_places p;
        int r;

        if (!digest_is_set(&desc->digest))
                return err_set(err, BLD_E_BUG, "a blob without a digest");
        hasher_init(&g.h, desc->digest.algo);
        r = from && desc->data ? sink->rewind(sink->user, err) : 0;
        if (r == 0)
                r = get_local(&g, err);
        if (r == 0) {
                g.off = from;
                g.part = from > 0;
        }
        if (r == 0)
                r = reg_places_get(c, ref, true, &p, err);
        if (r != 0)
                return r < 0 ? r : 0;
        digest_format(&desc->digest, name);
        for (size_t i = 0;; i++) {
                struct bld_err why = BLD_ERR_INIT;

                g = (struct get){.c = c,
                                 .desc = desc,
                                 .sink = sink,
                                 .h = g.h,
                                 .off = g.off,
                                 .part = g.part,
                                 .quick = i + 1 < p.n};
                r = get_from(&g, p.v[i], name, &why);
                if (r == 0)
                        return 0;
                if (g.local || !reg_places_next(c, &p, i, r, &why)) {
                        err_copy(err, &why);
                        return r;
                }
                r = restart(&g, err);
                if (r < 0)
                        return r;
        }
}
