/* Plain downloads over http and https, for sources that are no registry: the same engine, guards
 * and retries, no registry credentials. */
#include <string.h>

#include "base/err.h"
#include "base/num.h"
#include "registry/request_priv.h"

enum { GET_TOO_LONG = 1 };

struct http_get {
        const struct reg_http *o;
        const struct reg_sink *sink;
        uint64_t done, total;
        bool begun; /* the sink has bytes of an attempt that broke */
};

static int on_head(void *user, const struct reg_res *res, struct bld_err *err)
{
        struct http_get *g = user;
        const char *length = reg_res_header(res, "Content-Length", 0);
        int r = g->begun ? g->sink->rewind(g->sink->user, err) : 0;

        g->begun = true;
        g->done = 0;
        if (!length || !parse_u64(length, 0, UINT64_MAX, &g->total))
                g->total = 0;
        return r == 0 && g->total > g->o->max_bytes ? GET_TOO_LONG : r;
}

static int on_body(void *user, const void *p, size_t n, struct bld_err *err)
{
        struct http_get *g = user;
        int r;

        if (n > g->o->max_bytes - g->done)
                return GET_TOO_LONG;
        r = g->sink->write(g->sink->user, p, n, err);
        g->done += n;
        if (r == 0 && g->sink->progress)
                g->sink->progress(g->sink->user, g->done, g->total);
        return r;
}

static int keep(char **slot, const struct reg_res *res, const char *name, struct bld_err *err)
{
        const char *v = reg_res_header(res, name, 0);

        if (!v || *slot)
                return 0;
        *slot = mem_strdup(v);
        return *slot ? 0 : err_nomem(err, "download");
}

static int answer(struct req *rq, const struct http_get *g, struct reg_http_res *ret,
                  struct bld_err *err)
{
        int r;

        if (rq->res.fault != REG_FAULT_NONE)
                return req_refused(rq, err);
        if (rq->res.status == 304) {
                ret->not_modified = true;
                return 0;
        }
        if (rq->res.status == 404 || rq->res.status == 410)
                return err_set(err, BLD_E_NOT_FOUND, "%s: the server answered %d, not found",
                               rq->what, rq->res.status);
        if (rq->res.status != 200)
                return req_refused(rq, err);
        if (g->total && g->done != g->total)
                return err_set(err, BLD_E_NETWORK, "%s: ended after %llu of %llu bytes", rq->what,
                               (unsigned long long)g->done, (unsigned long long)g->total);
        r = keep(&ret->etag, &rq->res, "ETag", err);
        if (r == 0)
                r = keep(&ret->last_modified, &rq->res, "Last-Modified", err);
        return r;
}

void reg_http_res_done(struct reg_http_res *r)
{
        free(r->etag);
        free(r->last_modified);
        *r = (struct reg_http_res){0};
}

int reg_http_get(struct reg_client *c, const struct reg_http *o, const struct reg_sink *sink,
                 struct reg_http_res *ret, struct bld_err *err)
{
        AUTO_SB struct sb what = SB_INIT(4096), authority = SB_INIT(4096);
        struct http_get g = {.o = o, .sink = sink};
        AUTO_URL struct reg_url u = {0};
        AUTO_REQ struct req rq = {0};
        struct reg_repo *repo = NULL;
        int r = reg_url_parse(o->url, &u, err);

        if (r < 0)
                return r;
        sb_fmt(&authority, "%s:%u", u.host, u.port);
        /* A query may be a signature: it is not for messages. */
        sb_fmt(&what, "download of %s://%s%.*s", u.https ? "https" : "http",
               u.port == (u.https ? 443 : 80) ? u.host : sb_text(&authority),
               (int)MIN(strcspn(u.rest, "?"), (size_t)1000), u.rest);
        r = reg_repo_of_host(c, sb_text(&authority), &repo, err);
        if (r < 0)
                return r;
        (void)pthread_mutex_lock(&c->lock);
        /* The URL says which it is; there is nothing to find out. */
        if (repo->host->scheme == REG_SCHEME_UNKNOWN && !repo->host->probing)
                repo->host->scheme = u.https ? REG_SCHEME_HTTPS : REG_SCHEME_HTTP;
        (void)pthread_mutex_unlock(&c->lock);
        req_init(&rq, c, repo, sb_text(&what));
        rq.url = &u;
        rq.flags = REQ_BLOB | REQ_NO_AUTH;
        rq.authorization = o->authorization;
        rq.on_head = on_head;
        rq.on_body = on_body;
        rq.user = &g;
        if (o->etag)
                r = req_header(&rq, err, "If-None-Match: %s", o->etag);
        if (r == 0 && o->last_modified)
                r = req_header(&rq, err, "If-Modified-Since: %s", o->last_modified);
        if (r == 0)
                r = req_run(&rq, err);
        if (r == GET_TOO_LONG)
                return err_set(err, BLD_E_LIMIT, "%s: larger than %llu bytes", rq.what,
                               (unsigned long long)o->max_bytes);
        return r < 0 ? r : answer(&rq, &g, ret, err);
}
