#include "registry/request_priv.h"

#include <stdarg.h>
#include <string.h>

#include "base/err.h"
#include "base/num.h"

#define REDIRECTS_MAX 10
#define AUTH_ROUNDS_MAX 3
#define JSON_MAX (1u << 20)
/* a token must outlive a body that takes a while to send */
#define FRESH_MS 60000

void req_init(struct req *rq, struct reg_client *c, struct reg_repo *repo, const char *what)
{
        *rq = (struct req){.c = c, .repo = repo, .what = what, .method = "GET"};
}

static void attempt_done(struct req *rq)
{
        reg_res_done(&rq->res);
        reg_secret_free(rq->sent_auth);
        rq->sent_auth = NULL;
}

void req_done(struct req *rq)
{
        attempt_done(rq);
        reg_url_done(&rq->at);
        reg_url_done(&rq->base);
        strv_done(&rq->headers);
        strv_done(&rq->scopes);
}

void req_again(struct req *rq)
{
        attempt_done(rq);
        rq->redirects = 0;
        rq->auth_rounds = 0;
        rq->gave_up = rq->pinged = false;
}

int req_header(struct req *rq, struct bld_err *err, const char *fmt, ...)
{
        AUTO_SB struct sb b = SB_INIT(64u << 10);
        va_list ap;

        va_start(ap, fmt);
        sb_vfmt(&b, fmt, ap);
        va_end(ap);
        /* nothing we put there comes with a line end; if it ever does, it must not get out */
        if (b.failed || strpbrk(sb_text(&b), "\r\n"))
                return err_set(err, BLD_E_INVALID, "a request header cannot be sent");
        return strv_add(&rq->headers, sb_text(&b)) < 0 ? err_nomem(err, "build a request") : 0;
}

int req_scope(struct req *rq, const char *path, const char *actions, struct bld_err *err)
{
        return strv_addf(&rq->scopes, "repository:%s:%s", path, actions) < 0
                       ? err_nomem(err, "build a request")
                       : 0;
}

/* ---- https or http ---- */

/* The scheme of the registry. UNKNOWN: this request is to find it out (others wait meanwhile). */
static enum reg_scheme scheme_enter(struct req *rq)
{
        struct reg_client *c = rq->c;
        struct reg_host *h = rq->repo->host;
        enum reg_scheme s;

        (void)pthread_mutex_lock(&c->lock);
        while (h->scheme == REG_SCHEME_UNKNOWN && h->probing && !c->cancelled)
                (void)pthread_cond_wait(&c->cond, &c->lock);
        if (h->scheme == REG_SCHEME_UNKNOWN && !reg_host_plain_ok(h))
                h->scheme = REG_SCHEME_HTTPS;
        s = h->scheme;
        if (s == REG_SCHEME_UNKNOWN)
                h->probing = rq->probe = true;
        (void)pthread_mutex_unlock(&c->lock);
        return s;
}

static void scheme_leave(struct req *rq, enum reg_scheme found)
{
        struct reg_host *h = rq->repo->host;

        if (!rq->probe)
                return;
        (void)pthread_mutex_lock(&rq->c->lock);
        h->scheme = found;
        h->probing = rq->probe = false;
        (void)pthread_cond_broadcast(&rq->c->cond);
        (void)pthread_mutex_unlock(&rq->c->lock);
}

/* Plain HTTP after a failed try with TLS? Never because of a certificate. On loopback nobody
 * between us and the peer can have made TLS fail. */
static bool falls_back(const struct reg_host *h, const struct reg_res *res)
{
        switch (res->fault) {
        case REG_FAULT_PLAIN:
                return true;
        case REG_FAULT_CONNECT:
                if (h->insecure)
                        return true;
                return res->connect_timeout || !h->has_port;
        case REG_FAULT_TLS:
        case REG_FAULT_BROKEN:
        case REG_FAULT_PROXY: /* they let CONNECT through to few ports */
                return h->insecure;
        case REG_FAULT_NONE:
        case REG_FAULT_RESOLVE:
        case REG_FAULT_CERT:
        case REG_FAULT_TIMEOUT:
        case REG_FAULT_GUARD:
        case REG_FAULT_LIMIT:
        case REG_FAULT_CANCELLED:
        case REG_FAULT_INTERNAL:
                break;
        }
        return false;
}

/* ---- one exchange ---- */

static int set_url(struct req *rq, struct bld_err *err)
{
        AUTO_SB struct sb b = SB_INIT(2 * REG_URL_MAX);
        enum reg_scheme s = scheme_enter(rq);
        int r;

        reg_url_done(&rq->base);
        sb_fmt(&b, "%s://%s", s == REG_SCHEME_HTTP ? "http" : "https", rq->repo->host->name);
        r = reg_url_parse(sb_text(&b), &rq->base, err);
        if (r < 0)
                return r;
        if (rq->redirects > 0)
                return 0; /* `at` is where we were sent */
        reg_url_done(&rq->at);
        if (rq->url)
                return reg_url_copy(rq->url, &rq->at, err);
        return reg_url_resolve(&rq->base, rq->path, &rq->at, err);
}

static int add_authorization(struct req *rq, struct xfer *x, struct bld_err *err)
{
        char *value = NULL;
        int r = 0;

        if (rq->authorization && reg_url_same_origin(rq->url, &rq->at)) {
                value = mem_strdup(rq->authorization);
                if (!value)
                        return err_nomem(err, "build a request");
        } else if (!(rq->flags & REQ_NO_AUTH) && !rq->foreign) {
                r = reg_authorize(rq->c, rq->repo, &rq->scopes,
                                  rq->flags & REQ_FRESH ? FRESH_MS : 0, &value, &rq->sent_token_ns,
                                  err);
                if (r < 0)
                        return r;
        }
        if (!value)
                return 0;
        rq->sent_auth = value;
        return strv_addf(&x->headers, "Authorization: %s", value) < 0
                       ? err_nomem(err, "build a request")
                       : 0;
}

static int prepare(struct req *rq, struct xfer *x, struct bld_err *err)
{
        AUTO_SB struct sb url = SB_INIT(2 * REG_URL_MAX);
        int r = 0;

        rq->foreign = !reg_url_same_origin(&rq->at, &rq->base);
        x->host = rq->repo->host;
        if (rq->foreign)
                r = reg_host_of_url(rq->c, &rq->at, &x->host, err);
        if (r == 0)
                r = reg_tls_load(rq->c, x->host, err);
        if (r == 0)
                r = reg_tls_load(rq->c, rq->repo->host, err);
        if (r == 0)
                r = add_authorization(rq, x, err);
        if (r < 0)
                return r;
        reg_url_add(&rq->at, &url);
        x->url = sb_take(&url);
        x->proxy = reg_proxy_for(rq->c, x->host, rq->at.https);
        if (!x->url || !x->proxy || strv_copy(&x->headers, &rq->headers) < 0)
                return err_nomem(err, "build a request");
        if (!rq->foreign && !(rq->flags & REQ_NO_AUTH)) {
                const struct strv *more = NULL;

                r = reg_http_headers(rq->c, &more, err);
                for (size_t i = 0; r == 0 && i < more->n; i++)
                        r = strv_add(&x->headers, more->v[i]) < 0
                                    ? err_nomem(err, "build a request")
                                    : 0;
                if (r < 0)
                        return r;
        }
        x->method = rq->method;
        x->body = rq->body;
        x->body_len = rq->body_len;
        x->upload = rq->source != NULL;
        x->upload_size = rq->source_len;
        x->stream = rq->on_body != NULL;
        x->stop = rq->stop;
        x->body_max = rq->body_max ? rq->body_max : JSON_MAX;
        x->blob = rq->flags & REQ_BLOB;
        x->decode = rq->flags & REQ_DECODE;
        x->verify = !rq->c->no_tls_verify && !x->host->insecure;
        x->tls = &x->host->tls;
        /* people configure the registry and are surprised by its token service: its CA counts
         * there, too, where nothing else is said. A client certificate does not. */
        if (rq->foreign && x->tls->ca.len == 0)
                x->ca = &rq->repo->host->tls.ca;
        else
                x->ca = &x->tls->ca;
        if (rq->flags & REQ_TOKEN)
                x->verify &= !rq->repo->host->insecure;
        x->guard = rq->foreign;
        (void)pthread_mutex_lock(&rq->c->lock);
        x->guard_from = (int)rq->repo->host->addr;
        x->no_expect = rq->repo->host->no_expect;
        (void)pthread_mutex_unlock(&rq->c->lock);
        if (rq->probe)
                x->connect_ms = x->host->loopback ? rq->c->timing.probe / 3 : rq->c->timing.probe;
        if (rq->flags & REQ_QUICK)
                x->connect_ms = rq->c->timing.mirror;
        if (rq->flags & REQ_LONG)
                x->headers_ms = rq->c->timing.final_headers;
        return 0;
}

static int pump_out(struct req *rq, struct xfer *x, struct bld_err *err)
{
        uint64_t done = 0;
        void *p;
        size_t room;

        while (done < rq->source_len && xfer_room(x, &p, &room)) {
                size_t want = (size_t)MIN((uint64_t)room, rq->source_len - done);
                ssize_t n;
                int r;

                want = reg_rate_span(rq->c, want);
                r = reg_rate_wait(rq->c, want, err);
                if (r < 0)
                        return r;
                n = rq->source->pread(rq->source->user, p, want, rq->source_off + done, err);
                if (n < 0)
                        return (int)n;
                if (n == 0)
                        return err_set(err, BLD_E_CORRUPT, "%s: the blob ended after %llu bytes",
                                       rq->what, (unsigned long long)(rq->source_off + done));
                done += (uint64_t)n;
                xfer_filled(x, (size_t)n);
                if (rq->source->progress)
                        rq->source->progress(rq->source->user, rq->source_off + done,
                                             rq->source_off + rq->source_len);
        }
        xfer_filled_all(x);
        return 0;
}

static int pump_in(struct req *rq, struct xfer *x, struct bld_err *err)
{
        const void *p;
        size_t n;
        int r = 0;

        xfer_wait_head(x);
        if (!x->heads || (x->res.status != 200 && x->res.status != 206))
                return 0;
        if (rq->on_head)
                r = rq->on_head(rq->user, &x->res, err);
        while (r == 0 && xfer_next(x, &p, &n)) {
                n = reg_rate_span(rq->c, n);
                r = reg_rate_wait(rq->c, n, err);
                if (r == 0)
                        r = rq->on_body(rq->user, p, n, err);
                xfer_drained(x, n);
        }
        return r;
}

/* The address found counts for the guard of later requests; and mirrors that cannot be reached are
 * left alone for a while. */
static void learn_place(struct req *rq, const struct xfer *x)
{
        bool down = x->res.fault == REG_FAULT_CONNECT || x->res.fault == REG_FAULT_RESOLVE;

        if (rq->foreign)
                return;
        (void)pthread_mutex_lock(&rq->c->lock);
        if (x->addr != REG_ADDR_NAME)
                rq->repo->host->addr = (enum reg_addr)x->addr;
        rq->repo->host->down_ns = down ? time_mono_ns() : 0;
        (void)pthread_mutex_unlock(&rq->c->lock);
}

/* Send once; the answer or fault is in rq->res. Negative: neither (our own failure). */
static int exchange(struct req *rq, struct bld_err *err)
{
        struct xfer x;
        int r = xfer_init(&x, rq->c, err);

        if (r < 0)
                return r;
        attempt_done(rq);
        r = prepare(rq, &x, err);
        if (r == 0)
                r = xfer_start(&x, err);
        if (r == 0) {
                if (x.upload)
                        r = pump_out(rq, &x, err);
                else if (x.stream)
                        r = pump_in(rq, &x, err);
                if (r != 0) {
                        rq->gave_up = true;
                        xfer_abort(&x);
                }
                xfer_wait(&x);
                learn_place(rq, &x);
                rq->res = x.res;
                x.res = (struct reg_res){0};
        }
        xfer_done(&x);
        return r;
}

/* ---- what to do with the answer ---- */

enum next { NEXT_DONE, NEXT_SEND };

static int refuse_redirect(struct req *rq, struct bld_err *err, const struct reg_url *to,
                           const char *why)
{
        AUTO_SB struct sb b = SB_INIT(4096);

        reg_url_origin(to, &b);
        return err_set(err, BLD_E_CORRUPT, "%s: redirect to %s refused: %s", rq->what, sb_text(&b),
                       why);
}

/* Where a server sends us must not be a private place it could not reach itself, nor a weaker
 * transport than the one we came by. */
static int check_target(struct req *rq, const struct reg_url *to, struct bld_err *err)
{
        struct reg_host *h = NULL;
        enum reg_addr from;
        int r = reg_host_of_url(rq->c, to, &h, err);

        if (r < 0)
                return r;
        if (rq->at.https && !to->https && !h->insecure)
                return refuse_redirect(rq, err, to, "from https to http");
        (void)pthread_mutex_lock(&rq->c->lock);
        from = rq->repo->host->addr;
        (void)pthread_mutex_unlock(&rq->c->lock);
        if (!reg_addr_allowed(from, reg_addr_class(to->host)))
                return refuse_redirect(rq, err, to, "a private address");
        return 0;
}

static int redirect(struct req *rq, struct bld_err *err)
{
        AUTO_URL struct reg_url to = {0};
        const char *location = reg_res_header(&rq->res, "Location", 0);
        bool reads = strcmp(rq->method, "GET") == 0 || strcmp(rq->method, "HEAD") == 0;
        int status = rq->res.status, r;

        if (!location)
                return NEXT_DONE;
        if (++rq->redirects > REDIRECTS_MAX)
                return err_set(err, BLD_E_NETWORK, "%s: more than %d redirects", rq->what,
                               REDIRECTS_MAX);
        r = reg_url_resolve(&rq->at, location, &to, err);
        if (r < 0)
                return err_wrap(err, err_recode(err, BLD_E_CORRUPT), "%s: redirect", rq->what);
        /* a catch-all redirect to a web page must not look like a finished upload */
        if (!reads && status != 307 && status != 308 && !reg_url_same_origin(&rq->at, &to))
                return refuse_redirect(rq, err, &to, "an upload was sent elsewhere");
        if ((rq->flags & REQ_SECRET) && !reg_url_same_origin(&rq->at, &to))
                return refuse_redirect(rq, err, &to, "the request holds a password");
        r = check_target(rq, &to, err);
        if (r < 0)
                return r;
        reg_url_done(&rq->at);
        rq->at = to;
        to = (struct reg_url){0};
        return NEXT_SEND;
}

/* Some answer the real request with a bare 401 and the ping with a challenge. */
static int ping(struct req *rq, struct bld_err *err)
{
        AUTO_REQ struct req p = {0};
        int r;

        req_init(&p, rq->c, rq->repo, rq->what);
        p.path = "/v2/";
        p.flags = REQ_NO_AUTH;
        r = req_run(&p, err);
        if (r < 0)
                return r;
        if (p.res.status != 401 || p.foreign)
                return 0;
        return reg_auth_learn(rq->c, rq->repo, &p.res, p.base.https, NULL, &rq->scopes, err);
}

static int auth_round(struct req *rq, struct bld_err *err)
{
        int r;

        /* a storage host gets no second try: its URL was signed, or it is not meant for us */
        if (rq->foreign || (rq->flags & (REQ_NO_AUTH | REQ_MEEK)) ||
            ++rq->auth_rounds > AUTH_ROUNDS_MAX)
                return NEXT_DONE;
        r = reg_auth_learn(rq->c, rq->repo, &rq->res, rq->base.https, rq->sent_auth, &rq->scopes,
                           err);
        if (r == 0 && !rq->pinged && !reg_res_header(&rq->res, "WWW-Authenticate", 0)) {
                rq->pinged = true;
                r = ping(rq, err);
        }
        if (r < 0)
                return err_wrap(err, r, "%s", rq->what);
        /* what the server did with the body is unknown: the caller begins again from a look */
        if (rq->stop_after_body && rq->res.body_sent)
                return NEXT_DONE;
        return r == 1 ? NEXT_SEND : NEXT_DONE;
}

/* A token from the cache may have been revoked, or granted before the rights were. */
static int forbidden(struct req *rq)
{
        if (rq->foreign || !rq->sent_auth || rq->sent_token_ns == 0 ||
            rq->sent_token_ns >= rq->start_ns || rq->auth_rounds > 0)
                return NEXT_DONE;
        rq->auth_rounds++;
        reg_token_drop(rq->c, rq->sent_auth);
        return NEXT_SEND;
}

/* It does not know 100-continue: without, from now on. */
static int unexpected(struct req *rq)
{
        bool first;

        (void)pthread_mutex_lock(&rq->c->lock);
        first = !rq->repo->host->no_expect;
        rq->repo->host->no_expect = true;
        (void)pthread_mutex_unlock(&rq->c->lock);
        return first ? NEXT_SEND : NEXT_DONE;
}

static int judge(struct req *rq, struct bld_err *err)
{
        switch (rq->res.status) {
        case 301:
        case 302:
        case 303:
        case 307:
        case 308:
                return redirect(rq, err);
        case 401:
                return auth_round(rq, err);
        case 403:
                return forbidden(rq);
        case 417:
                return unexpected(rq);
        default:
                return NEXT_DONE;
        }
}

static void show_warnings(struct req *rq)
{
        const char *w;

        for (size_t i = 0; (w = reg_res_header(&rq->res, "Warning", i)) && i < 8; i++) {
                AUTO_SB struct sb text = SB_INIT(8192);

                if (!str_has_prefix(w, "299 - \""))
                        continue;
                for (w += 7; *w && *w != '"' && text.len < 4096; w++) {
                        if (*w == '\\' && w[1])
                                w++;
                        sb_char(&text, *w);
                }
                if (text.len > 0) {
                        AUTO_SB struct sb safe = SB_INIT(32768);

                        reg_safe(&safe, sb_text(&text), text.len, 4096);
                        reg_note_once(rq->c, "%s: warning: %s", rq->repo->host->name,
                                      sb_text(&safe));
                }
        }
}

/* "9;w=21600" of "100;w=21600": say it while something can be done about it. */
static void show_rate_limit(struct req *rq)
{
        const char *limit = reg_res_header(&rq->res, "RateLimit-Limit", 0);
        const char *left = reg_res_header(&rq->res, "RateLimit-Remaining", 0);
        uint64_t of, n;
        char a[24], b[24];

        if (!limit || !left)
                return;
        (void)str_copy(a, sizeof(a), limit);
        (void)str_copy(b, sizeof(b), left);
        a[strcspn(a, ";")] = b[strcspn(b, ";")] = 0;
        if (parse_u64(a, 1, UINT32_MAX, &of) && parse_u64(b, 0, UINT32_MAX, &n) && n * 10 < of)
                reg_note_once(rq->c, "%s: %llu of %llu pulls are left in this window",
                              rq->repo->host->name, (unsigned long long)n, (unsigned long long)of);
}

static bool wrong_scheme(struct req *rq)
{
        bool http = rq->probe && falls_back(rq->repo->host, &rq->res);

        if (http)
                scheme_leave(rq, REG_SCHEME_HTTP);
        else
                scheme_leave(rq, rq->res.fault == REG_FAULT_NONE ? REG_SCHEME_HTTPS
                                                                 : REG_SCHEME_UNKNOWN);
        return http;
}

/* One attempt in the sense of the retry rules: all redirects and auth rounds. */
static int attempt(struct req *rq, struct bld_err *err)
{
        int r;

        do {
                r = reg_check(rq->c, err);
                if (r == 0)
                        r = set_url(rq, err);
                if (r == 0)
                        r = exchange(rq, err);
                if (r != 0) {
                        scheme_leave(rq, REG_SCHEME_UNKNOWN);
                        return r;
                }
                if (wrong_scheme(rq)) {
                        r = NEXT_SEND;
                        continue;
                }
                if (rq->res.fault != REG_FAULT_NONE)
                        return 0;
                show_warnings(rq);
                show_rate_limit(rq);
                r = judge(rq, err);
        } while (r == NEXT_SEND);
        return r < 0 ? r : 0;
}

int req_run(struct req *rq, struct bld_err *err)
{
        struct retry t = {0};
        int r;

        if (rq->c->offline)
                return err_set(err, BLD_E_NETWORK, "%s: --offline forbids it", rq->what);
        rq->start_ns = time_mono_ns();
        for (;;) {
                r = attempt(rq, err);
                if (r != 0)
                        return r;
                if (rq->res.fault == REG_FAULT_CANCELLED)
                        return reg_check(rq->c, err) < 0 ? BLD_E_CANCELLED : req_refused(rq, err);
                if (rq->flags & REQ_ONCE)
                        return 0;
                r = retry_wait(rq, &t, err);
                if (r < 0)
                        return r;
                if (r == 0)
                        break;
                req_again(rq);
        }
        return rq->res.fault == REG_FAULT_NONE ? 0 : req_refused(rq, err);
}
