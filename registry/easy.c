/* Setting up curl's handle for an exchange, its callbacks, and what its result codes mean to us. */
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "registry/client_priv.h"
#include "registry/xfer_priv.h"

#ifndef BLD_VERSION
#define BLD_VERSION "0"
#endif

/* With 100-continue a refusal comes before a large body is sent. */
#define EXPECT_FROM (1u << 20)
#define EXPECT_WAIT_MS 2000L

void xfer_fault(struct xfer *x, enum reg_fault fault, const char *why)
{
        if (x->res.fault != REG_FAULT_NONE)
                return;
        x->res.fault = fault;
        (void)str_copy(x->res.why, sizeof(x->res.why), why);
}

/* ---- response ---- */

static void headers_restart(struct xfer *x)
{
        for (size_t i = 0; i < x->res.headers.n; i++) {
                free(x->res.headers.v[i].name);
                free(x->res.headers.v[i].value);
        }
        x->res.headers.n = 0;
        x->res.status = 0;
}

/* "HTTP/1.1 200 OK" */
static int status_of(const char *p, size_t n)
{
        const char *sp = memchr(p, ' ', n);

        if (!sp || n - (size_t)(sp - p) < 4)
                return 0;
        for (int i = 1; i <= 3; i++)
                if (!isdigit((unsigned char)sp[i]))
                        return 0;
        return (sp[1] - '0') * 100 + (sp[2] - '0') * 10 + (sp[3] - '0');
}

static bool header_keep(struct xfer *x, const char *p, size_t n)
{
        const char *colon = memchr(p, ':', n);
        struct reg_header *h;
        const char *v, *end = p + n;

        if (!colon || colon == p || isspace((unsigned char)*p))
                return true; /* not a header, or a folded line: both obsolete */
        v = colon + 1;
        while (v < end && isspace((unsigned char)*v))
                v++;
        while (end > v && isspace((unsigned char)end[-1]))
                end--;
        h = reg_headers_push(&x->res.headers);
        if (!h)
                return false;
        h->name = mem_strndup(p, (size_t)(colon - p));
        h->value = mem_strndup(v, (size_t)(end - v));
        return h->name && h->value;
}

static void heads_ready(struct xfer *x)
{
        (void)pthread_mutex_lock(&x->c->lock);
        x->heads = true;
        (void)pthread_cond_broadcast(&x->cond);
        (void)pthread_mutex_unlock(&x->c->lock);
}

static size_t on_header(char *p, size_t size, size_t count, void *user)
{
        struct xfer *x = user;
        size_t n = size * count;

        x->moved += n;
        x->header_bytes += n;
        if (x->header_bytes > REG_HEADERS_MAX) {
                xfer_fault(x, REG_FAULT_LIMIT, "more than 64 KiB of response headers");
                return 0;
        }
        if (x->heads) /* a trailer: nothing of ours is there */
                return n;
        if (n >= 5 && memcmp(p, "HTTP/", 5) == 0) {
                headers_restart(x);
                x->res.status = status_of(p, n);
                return n;
        }
        if (n <= 2 && (n == 0 || *p == '\r' || *p == '\n')) {
                if (x->res.status >= 200) /* 1xx are followed by the real one */
                        heads_ready(x);
                /* curl would send the same again, Expect and all */
                return x->res.status == 417 ? 0 : n;
        }
        if (!header_keep(x, p, n)) {
                xfer_fault(x, REG_FAULT_INTERNAL, "no memory for response headers");
                return 0;
        }
        return n;
}

static size_t ring_put(struct xfer *x, const char *p, size_t n)
{
        size_t tail, first;

        (void)pthread_mutex_lock(&x->c->lock);
        if (REG_RING_SIZE - x->fill < n) {
                x->paused = true;
                (void)pthread_mutex_unlock(&x->c->lock);
                return CURL_WRITEFUNC_PAUSE;
        }
        tail = (x->head + x->fill) % REG_RING_SIZE;
        (void)pthread_mutex_unlock(&x->c->lock);

        /* the free part is ours alone: the caller only ever enlarges it */
        first = MIN(n, REG_RING_SIZE - tail);
        memcpy(x->ring + tail, p, first);
        memcpy(x->ring, p + first, n - first);

        (void)pthread_mutex_lock(&x->c->lock);
        x->fill += n;
        (void)pthread_cond_broadcast(&x->cond);
        (void)pthread_mutex_unlock(&x->c->lock);
        x->moved += n;
        return n;
}

static size_t on_write(char *p, size_t size, size_t count, void *user)
{
        struct xfer *x = user;
        size_t n = size * count, max;
        bool ok = x->res.status >= 200 && x->res.status < 300;

        if (n > REG_RING_SIZE / 2) {
                xfer_fault(x, REG_FAULT_INTERNAL, "more bytes at once than the buffer holds");
                return 0;
        }
        if (x->stream && (x->res.status == 200 || x->res.status == 206))
                return ring_put(x, p, n);
        x->moved += n;
        max = ok ? x->body_max : REG_ERROR_BODY_MAX;
        if (x->res.body.len + n > max) {
                /* of an error the status is enough; the rest is not worth waiting for */
                if (ok)
                        xfer_fault(x, REG_FAULT_LIMIT, "the answer is larger than allowed");
                return 0;
        }
        sb_add(&x->res.body, p, n);
        if (x->res.body.failed) {
                xfer_fault(x, REG_FAULT_INTERNAL, "no memory for the answer");
                return 0;
        }
        return n;
}

/* ---- request ---- */

static size_t on_read(char *p, size_t size, size_t count, void *user)
{
        struct xfer *x = user;
        size_t room = size * count, n, first;
        bool end;

        (void)pthread_mutex_lock(&x->c->lock);
        n = MIN(x->fill, room);
        end = x->upload_end;
        if (n == 0 && !end) {
                x->paused = true;
                (void)pthread_mutex_unlock(&x->c->lock);
                return CURL_READFUNC_PAUSE;
        }
        (void)pthread_mutex_unlock(&x->c->lock);
        first = MIN(n, REG_RING_SIZE - x->head);
        memcpy(p, x->ring + x->head, first);
        memcpy(p + first, x->ring, n - first);

        (void)pthread_mutex_lock(&x->c->lock);
        x->head = (x->head + n) % REG_RING_SIZE;
        x->fill -= n;
        (void)pthread_cond_broadcast(&x->cond);
        (void)pthread_mutex_unlock(&x->c->lock);
        x->sent += n;
        x->moved += n;
        if (n > 0)
                x->res.body_sent = true;
        x->res.sent = x->sent;
        return n;
}

/* curl rewinds when a kept connection turns out dead; what the ring has given is gone. */
static int on_seek(void *user, curl_off_t off, int origin)
{
        struct xfer *x = user;

        return origin == SEEK_SET && off == 0 && x->sent == 0 ? CURL_SEEKFUNC_OK
                                                              : CURL_SEEKFUNC_FAIL;
}

/* Connected, nothing sent: the last moment to refuse an address. Checking names before would be
 * defeated by a second, different DNS answer. */
static int on_prereq(void *user, char *peer, char *local UNUSED, int peer_port UNUSED,
                     int local_port UNUSED)
{
        struct xfer *x = user;
        bool direct = !x->proxy || !*x->proxy;

        x->addr = direct ? (int)reg_addr_class(peer) : REG_ADDR_NAME;
        if (x->guard && !reg_addr_allowed((enum reg_addr)x->guard_from, (enum reg_addr)x->addr)) {
                char why[128];

                (void)snprintf(why, sizeof(why),
                               "%.60s is a private address and the registry is not at one", peer);
                xfer_fault(x, REG_FAULT_GUARD, why);
                return CURL_PREREQFUNC_ABORT;
        }
        x->begun = true;
        x->moved++; /* connecting ends here: the wait for an answer starts now */
        atomic_fetch_add(&x->c->requests, 1);
        return CURL_PREREQFUNC_OK;
}

static bool set_long(const struct curl_api *api, CURL *h, CURLoption o, long v)
{
        return api->easy_setopt(h, o, v) == CURLE_OK;
}

static bool set_str(const struct curl_api *api, CURL *h, CURLoption o, const char *v)
{
        return api->easy_setopt(h, o, v) == CURLE_OK;
}

static bool set_ptr(const struct curl_api *api, CURL *h, CURLoption o, void *v)
{
        return api->easy_setopt(h, o, v) == CURLE_OK;
}

static bool add_header(struct xfer *x, const struct curl_api *api, const char *s)
{
        struct curl_slist *l = api->slist_append(x->slist, s);

        if (l)
                x->slist = l;
        return l != NULL;
}

static bool setup_headers(struct xfer *x, const struct curl_api *api, CURL *h)
{
        bool ok = true, expect;
        uint64_t size = x->upload ? x->upload_size : x->body_len;

        for (size_t i = 0; i < x->headers.n; i++)
                ok &= add_header(x, api, x->headers.v[i]);
        expect = size > EXPECT_FROM && !x->no_expect;
        /* an empty value keeps curl from adding its own */
        if (!x->body && !x->upload)
                ok &= add_header(x, api, "Content-Type:");
        ok &= add_header(x, api, expect ? "Expect: 100-continue" : "Expect:");
        ok &= set_long(api, h, CURLOPT_EXPECT_100_TIMEOUT_MS, EXPECT_WAIT_MS);
        ok &= set_ptr(api, h, CURLOPT_HTTPHEADER, x->slist);
        return ok;
}

static bool setup_body(struct xfer *x, const struct curl_api *api, CURL *h)
{
        bool ok = true;

        if (strcmp(x->method, "HEAD") == 0)
                return set_long(api, h, CURLOPT_NOBODY, 1);
        if (x->upload) {
                ok &= set_long(api, h, CURLOPT_UPLOAD, 1);
                ok &= api->easy_setopt(h, CURLOPT_INFILESIZE_LARGE, (curl_off_t)x->upload_size) ==
                      CURLE_OK;
                ok &= api->easy_setopt(h, CURLOPT_READFUNCTION, on_read) == CURLE_OK;
                ok &= set_ptr(api, h, CURLOPT_READDATA, x);
                ok &= api->easy_setopt(h, CURLOPT_SEEKFUNCTION, on_seek) == CURLE_OK;
                ok &= set_ptr(api, h, CURLOPT_SEEKDATA, x);
                ok &= set_long(api, h, CURLOPT_UPLOAD_BUFFERSIZE, 128 << 10);
        } else if (x->body || strcmp(x->method, "POST") == 0 || strcmp(x->method, "PUT") == 0) {
                ok &= api->easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)x->body_len) ==
                      CURLE_OK;
                ok &= api->easy_setopt(h, CURLOPT_POSTFIELDS, x->body ? x->body : "") == CURLE_OK;
        }
        return ok & set_str(api, h, CURLOPT_CUSTOMREQUEST, x->method);
}

static bool setup_tls(struct xfer *x, const struct curl_api *api, CURL *h)
{
        const struct reg_tls *t = x->tls;
        bool ok = set_long(api, h, CURLOPT_SSL_VERIFYPEER, x->verify);

        ok &= set_long(api, h, CURLOPT_SSL_VERIFYHOST, x->verify ? 2 : 0);
        ok &= set_long(api, h, CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2);
        if (x->ca->len > 0) {
                struct curl_blob blob = {
                        .data = x->ca->buf, .len = x->ca->len, .flags = CURL_BLOB_NOCOPY};

                ok &= set_ptr(api, h, CURLOPT_CAINFO_BLOB, &blob);
        }
        if (t->ca_dir)
                ok &= set_str(api, h, CURLOPT_CAPATH, t->ca_dir);
        if (t->cert) {
                ok &= set_str(api, h, CURLOPT_SSLCERT, t->cert);
                ok &= set_str(api, h, CURLOPT_SSLKEY, t->key);
        }
        return ok;
}

static bool setup_common(struct xfer *x, const struct curl_api *api, CURL *h)
{
        bool ok = set_str(api, h, CURLOPT_URL, x->url);

        /* no signals, no .netrc, no cookies (Harbor then wants a CSRF token), no redirects of
         * curl's own (it would take Authorization along) */
        ok &= set_long(api, h, CURLOPT_NOSIGNAL, 1);
        ok &= set_long(api, h, CURLOPT_FOLLOWLOCATION, 0);
        ok &= set_str(api, h, CURLOPT_PROTOCOLS_STR, "http,https");
        ok &= set_str(api, h, CURLOPT_USERAGENT, "bld/" BLD_VERSION);
        ok &= set_str(api, h, CURLOPT_PROXY, x->proxy ? x->proxy : "");
        ok &= set_long(api, h, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1);
        ok &= set_long(api, h, CURLOPT_HTTP_VERSION,
                       x->blob ? CURL_HTTP_VERSION_1_1 : CURL_HTTP_VERSION_2TLS);
        ok &= set_long(api, h, CURLOPT_CONNECTTIMEOUT_MS, (long)x->connect_ms);
        ok &= set_long(api, h, CURLOPT_TCP_KEEPALIVE, 1);
        ok &= set_long(api, h, CURLOPT_BUFFERSIZE, 128 << 10);
        ok &= set_ptr(api, h, CURLOPT_ERRORBUFFER, x->errbuf);
        ok &= set_ptr(api, h, CURLOPT_PRIVATE, x);
        ok &= api->easy_setopt(h, CURLOPT_HEADERFUNCTION, on_header) == CURLE_OK;
        ok &= set_ptr(api, h, CURLOPT_HEADERDATA, x);
        ok &= api->easy_setopt(h, CURLOPT_WRITEFUNCTION, on_write) == CURLE_OK;
        ok &= set_ptr(api, h, CURLOPT_WRITEDATA, x);
        ok &= api->easy_setopt(h, CURLOPT_PREREQFUNCTION, on_prereq) == CURLE_OK;
        ok &= set_ptr(api, h, CURLOPT_PREREQDATA, x);
        if (x->decode)
                ok &= set_str(api, h, CURLOPT_ACCEPT_ENCODING, "gzip, deflate");
        /* a slow resolver must not hold up the end of a cancelled build; unknown to old curls */
        (void)set_long(api, h, CURLOPT_QUICK_EXIT, 1);
        return ok;
}

bool xfer_easy_setup(struct xfer *x, const struct curl_api *api)
{
        CURL *h = x->easy = api->easy_init();

        return h && setup_common(x, api, h) && setup_tls(x, api, h) && setup_headers(x, api, h) &&
               setup_body(x, api, h);
}

void xfer_easy_done(struct xfer *x, const struct curl_api *api)
{
        api->easy_cleanup(x->easy);
        x->easy = NULL;
        for (struct curl_slist *l = x->slist; l; l = l->next)
                explicit_bzero(l->data, strlen(l->data));
        api->slist_free_all(x->slist);
        x->slist = NULL;
}

/* ---- outcome ---- */

/* What OpenSSL says when the first bytes it reads are not TLS. */
static bool peer_is_plain(const char *text)
{
        return strcasestr(text, "wrong version number") || strcasestr(text, "http request") ||
               strcasestr(text, "packet length too long");
}

static enum reg_fault fault_of(struct xfer *x, CURLcode code)
{
        static const struct {
                CURLcode code;
                enum reg_fault fault;
        } table[] = {
                {CURLE_COULDNT_RESOLVE_HOST, REG_FAULT_RESOLVE},
                {CURLE_COULDNT_CONNECT, REG_FAULT_CONNECT},
                {CURLE_COULDNT_RESOLVE_PROXY, REG_FAULT_PROXY},
                {CURLE_PROXY, REG_FAULT_PROXY},
                {CURLE_PEER_FAILED_VERIFICATION, REG_FAULT_CERT},
                {CURLE_SSL_CERTPROBLEM, REG_FAULT_CERT},
                {CURLE_SSL_CIPHER, REG_FAULT_CERT},
                {CURLE_SSL_CACERT_BADFILE, REG_FAULT_CERT},
                {CURLE_SSL_ISSUER_ERROR, REG_FAULT_CERT},
                {CURLE_SSL_INVALIDCERTSTATUS, REG_FAULT_CERT},
                {CURLE_OUT_OF_MEMORY, REG_FAULT_INTERNAL},
                {CURLE_URL_MALFORMAT, REG_FAULT_INTERNAL},
        };

        for (size_t i = 0; i < ARRAY_LEN(table); i++)
                if (table[i].code == code)
                        return table[i].fault;
        if (code == CURLE_OPERATION_TIMEDOUT) {
                x->res.connect_timeout = !x->begun;
                return x->begun ? REG_FAULT_TIMEOUT : REG_FAULT_CONNECT;
        }
        if (code == CURLE_SSL_CONNECT_ERROR) {
                if (peer_is_plain(x->errbuf))
                        return REG_FAULT_PLAIN;
                /* the peer's alert about our certificate */
                return strcasestr(x->errbuf, "certificate") ? REG_FAULT_CERT : REG_FAULT_TLS;
        }
        if (strstr(x->errbuf, "CONNECT tunnel failed"))
                return REG_FAULT_PROXY;
        return REG_FAULT_BROKEN;
}

void xfer_easy_result(struct xfer *x, const struct curl_api *api, CURLcode code)
{
        const char *why;

        if (code == CURLE_OK && x->res.status >= 200)
                return;
        /* A refusal counts although the rest of the exchange broke: servers close the connection
         * on a body they do not want. */
        if (x->heads && x->res.status >= 300 && x->res.fault == REG_FAULT_NONE)
                return;
        if (code == CURLE_OK) {
                xfer_fault(x, REG_FAULT_BROKEN, "the peer does not speak HTTP");
                return;
        }
        why = x->errbuf[0] ? x->errbuf : api->easy_strerror(code);
        xfer_fault(x, fault_of(x, code), why);
}
