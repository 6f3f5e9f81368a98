/* The client object and what hangs on it: hosts, repositories, notes.
 *
 * Locks: `lock` guards everything marked so; it is never held over a curl call, a callback of the
 * user or anything that blocks. `creds_lock` serialises the search for credentials (it may run a
 * helper program); it is taken before `lock`, never after. */
#ifndef REGISTRY_CLIENT_PRIV_H
#define REGISTRY_CLIENT_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/base.h"
#include "base/map.h"
#include "base/vec.h"
#include "registry/auth_priv.h"
#include "registry/http_priv.h"
#include "registry/registry.h"
#include "registry/url_priv.h"

struct curl_api;
struct reg_conf;
struct reg_conf_entry;

/* Every time limit in one place, so that tests can shorten them. Milliseconds. */
struct reg_timing {
        int64_t connect;       /* TCP and TLS */
        int64_t probe;         /* the same while https or http is being found out */
        int64_t headers;       /* to the status line */
        int64_t final_headers; /* of a PUT that makes the server hash a blob */
        int64_t stall;         /* window of the low-speed rule */
        int64_t backoff, backoff_max;
        int64_t resume; /* wait before a download is resumed */
        int64_t mirror; /* connecting to a mirror */
        int64_t lag;    /* between looks for what must be there */
};

enum reg_scheme { REG_SCHEME_UNKNOWN, REG_SCHEME_HTTPS, REG_SCHEME_HTTP };

/* Trust material of one host; empty members mean curl's own defaults. */
struct reg_tls {
        struct sb ca;     /* PEM: the system's bundle and what was added */
        char *cert, *key; /* file names of a client pair */
        char *ca_dir;     /* $SSL_CERT_DIR or NULL */
};

/* One "host[:port]". Lives as long as the client. */
struct reg_host {
        char *name;           /* authority as used in URLs, lower case */
        atomic_bool insecure; /* grows only */
        bool loopback, has_port;
        uint64_t chunk_max; /* longest chunk of an upload it takes; 0: no limit known */
        bool registry;      /* named by the user, not by another server; guarded by lock */

        /* guarded by lock */
        enum reg_scheme scheme;
        bool probing;
        bool tls_ready;
        enum reg_addr addr; /* where it was found to be; NAME before the first answer */
        unsigned blob_limit;
        bool no_expect;     /* answered 417 once */
        bool no_chunks;     /* answers uploads in chunks wrongly */
        bool head_works;    /* has answered a manifest's HEAD in full: its 404 can be believed */
        int64_t down_ns;    /* could not be reached then (monotonic), 0: never */
        struct reg_tls tls; /* read-only once tls_ready */

        /* engine thread only */
        unsigned blobs, total;
};

/* One repository on one host: the unit of authentication. Lives as long as the client. */
struct reg_repo {
        struct reg_host *host;
        char *path;           /* "library/debian" */
        char *shown;          /* "docker.io/library/debian", for messages */
        char *key;            /* in the client's tables */
        bool mirror;          /* the credentials given for the origin are not for it */
        struct reg_auth auth; /* guarded by lock */
        bool no_mount;        /* guarded by lock; the token server cannot grant two scopes */
};

struct reg_client {
        /* read-only after reg_client_new */
        char *authfile, *creds, *cert_dir;
        struct strv insecure, cas, client_certs, helpers;
        struct strv mirrors;
        bool no_tls_verify, offline, mirror_only;
        unsigned retries, retries_unanswered, parallel;
        int64_t retry_max_ms;
        uint64_t limit_rate;
        const struct cancel *cancel;
        void (*note)(void *user, const char *text);
        void *user;
        struct reg_timing timing;

        const struct curl_api *curl; /* set by the first request, under lock */
        atomic_uint_fast64_t requests;

        pthread_mutex_t lock;
        pthread_cond_t cond; /* guarded state below changed: hosts, tokens, cancelled */
        bool running, stop, cancelled;
        pthread_t thread;
        void *multi;
        struct xfer *incoming, *incoming_last;
        struct strv notes;    /* for the engine thread to hand out */
        struct map noted;     /* texts shown already */
        struct map hosts;     /* name -> struct reg_host */
        struct map repos;     /* "host path" -> struct reg_repo */
        int64_t rate_free_ns; /* when the next byte may pass --limit-rate (monotonic) */
        struct reg_tokens tokens;
        struct map realms; /* registry host name -> origin of its realm */

        pthread_mutex_t conf_lock;
        struct reg_conf *conf;    /* guarded by conf_lock until set */
        struct strv http_headers; /* the same, until http_headers_read */
        bool http_headers_read;

        pthread_mutex_t creds_lock;
        /* guarded by creds_lock */
        struct map creds_seen;           /* repository key -> struct reg_creds, borrowed */
        struct map helper_answers;       /* "suffix server" -> struct reg_helper_answer */
        struct reg_creds_list creds_all; /* owns; the replaced ones may still be in use */
};

/* Starts the engine thread at the first call. */
int engine_start(struct reg_client *c, struct bld_err *err) MUST_CHECK;
void engine_stop(struct reg_client *c);
void engine_wake(struct reg_client *c);
/* Hand a filled xfer over. */
void engine_submit(struct xfer *x);

/* Host by authority, lower-cased; made when new. */
int reg_host_get(struct reg_client *c, const char *name, struct reg_host **ret,
                 struct bld_err *err) MUST_CHECK;
int reg_host_of_url(struct reg_client *c, const struct reg_url *u, struct reg_host **ret,
                    struct bld_err *err) MUST_CHECK;
/* Set what is known of its ways. */
void reg_host_known(struct reg_host *h);
/* Lines that the user wants with every request to a registry; read at the first call. */
int reg_http_headers(struct reg_client *c, const struct strv **ret, struct bld_err *err) MUST_CHECK;
int reg_http_headers_parse(const char *text, size_t len, struct strv *out,
                           struct bld_err *err) MUST_CHECK;
/* May plain HTTP be spoken with it? */
bool reg_host_plain_ok(const struct reg_host *h);
int reg_repo_get(struct reg_client *c, const struct img_ref *ref, struct reg_repo **ret,
                 struct bld_err *err) MUST_CHECK;
/* For requests that are about no repository: path "". */
int reg_repo_of_host(struct reg_client *c, const char *host, struct reg_repo **ret,
                     struct bld_err *err) MUST_CHECK;

/* Where a reference may be pulled from, in order: mirrors, then the origin. */
#define REG_PLACES_MAX 16
struct reg_places {
        struct reg_repo *v[REG_PLACES_MAX];
        size_t n;
        char failed[REG_PLACES_MAX][200]; /* what was said of those tried, for the last error */
};
/* by_digest: what will be asked for is named by a digest. */
int reg_places_get(struct reg_client *c, const struct img_ref *ref, bool by_digest,
                   struct reg_places *ret, struct bld_err *err) MUST_CHECK;
/* A mirror failed with r and `why`: is the next place to be tried? Says so, and clears `why`; where
 * there is none, adds what the places before it said. */
bool reg_places_next(struct reg_client *c, struct reg_places *p, size_t i, int r,
                     struct bld_err *why);
/* Authority and path of a mirror's DST; *ret_path "" when there is none. INVALID. */
int reg_mirror_parse(const char *dst, char **ret_host, char **ret_path, bool *ret_plain,
                     struct bld_err *err) MUST_CHECK;
/* registries.conf, read at the first call. */
int reg_conf_get(struct reg_client *c, const struct reg_conf **ret, struct bld_err *err) MUST_CHECK;
/* "host/path" of a reference with what registries.conf says of it, or NULL. POLICY: it is blocked.
 */
int reg_conf_of(struct reg_client *c, const struct img_ref *ref, struct sb *ret_name,
                const struct reg_conf_entry **ret, const char **ret_rest,
                struct bld_err *err) MUST_CHECK;
int reg_repo_of_mirror(struct reg_client *c, const char *host, const char *path, bool insecure,
                       struct reg_repo **ret, struct bld_err *err) MUST_CHECK;

/* 0, or CANCELLED; also while the engine runs. */
int reg_check(struct reg_client *c, struct bld_err *err) MUST_CHECK;
/* Sleep on the client, woken by cancellation. */
/* How often a wait looks at what may say stop. */
#define REG_LOOK_MS 50
/* A condition whose timed waits are by CLOCK_MONOTONIC. 0, or an errno. */
int reg_cond_init(pthread_cond_t *c) MUST_CHECK;
int reg_sleep(struct reg_client *c, int64_t ms, struct bld_err *err) MUST_CHECK;

/* Wait until n bytes may pass --limit-rate. */
int reg_rate_wait(struct reg_client *c, size_t n, struct bld_err *err) MUST_CHECK;
/* The part of a span of n bytes that may pass at once. */
size_t reg_rate_span(const struct reg_client *c, size_t n);

/* One sanitised line to the user's callback. Foreign text in the arguments must have been through
 * reg_safe(). */
void reg_note(struct reg_client *c, const char *fmt, ...) PRINTF(2, 3);
/* The same text is shown once only. */
void reg_note_once(struct reg_client *c, const char *fmt, ...) PRINTF(2, 3);
/* Foreign text, at most max bytes of it, escaped for messages. */
void reg_safe(struct sb *out, const char *s, size_t n, size_t max);

/* Trust anchors and client certificates of a host, loaded once. */
int reg_tls_load(struct reg_client *c, struct reg_host *h, struct bld_err *err) MUST_CHECK;
void reg_tls_done(struct reg_tls *t);

/* Proxy for a URL: malloc'ed, "" for none. NULL: out of memory. */
char *reg_proxy_for(const struct reg_client *c, const struct reg_host *h, bool https);

#endif
