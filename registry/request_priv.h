/* One request, whatever it takes: finding out https or http, credentials and tokens, redirects by
 * hand, retries. Runs on the calling thread; every exchange on the wire is the engine's.
 *
 *   build -> (token?) -> send -> 2xx, other: done
 *              ^                 3xx: checked, -> send
 *              |                 401: auth round, -> send (at most 3)
 *              +---------------- 429, 5xx, lost connection: wait, -> send
 */
#ifndef REGISTRY_REQUEST_PRIV_H
#define REGISTRY_REQUEST_PRIV_H

#include "registry/client_priv.h"

enum req_flags {
        REQ_ONCE = 1,     /* no retries: the caller has its own rule */
        REQ_BLOB = 2,     /* blob slot, HTTP/1.1 */
        REQ_NO_AUTH = 4,  /* never send or look for the registry's credentials */
        REQ_LONG = 8,     /* the server may think for minutes */
        REQ_FRESH = 16,   /* the token must outlive a long body */
        REQ_SECRET = 32,  /* the body is a password: never to another origin, whoever says so */
        REQ_QUICK = 256,  /* to a mirror: connect soon or never */
        REQ_TOKEN = 128,  /* to a token service: the registry's TLS settings count there */
        REQ_DECODE = 512, /* what is stored was packed once more on the way */
        REQ_MEEK = 64,    /* a 401 is an answer: no new token is asked for */
};

struct req {
        /* filled by the caller */
        struct reg_client *c;
        struct reg_repo *repo;
        const char *what; /* "pull of r.io/a/b", begins messages */
        const char *method;
        const char *path;          /* on the registry: "/v2/..." ... */
        const struct reg_url *url; /* ... or a whole URL; not both */
        unsigned flags;
        struct strv headers;
        const char *authorization; /* for url's own origin, with REQ_NO_AUTH */
        struct strv scopes;
        const void *body;
        size_t body_len;
        const struct reg_source *source; /* or from here: off .. off + len */
        uint64_t source_off, source_len;
        size_t body_max;     /* of the answer; 0: 1 MiB */
        const char *passing; /* an error code that is no verdict here: asked again as after a 503 */
        bool stop_after_body; /* a 401 after body bytes left is learnt from, not answered */
        /* A 200 or 206 is streamed when on_body is set. Nonzero from either gives up the request
         * with that result. */
        int (*on_head)(void *user, const struct reg_res *res, struct bld_err *err);
        int (*on_body)(void *user, const void *p, size_t n, struct bld_err *err);
        void *user;
        const atomic_bool *stop; /* as of reg_sink; or NULL */

        /* out */
        struct reg_res res;
        struct reg_url at; /* where the answer came from */
        bool foreign;      /* `at` is of another origin than the registry */
        bool gave_up;      /* a callback ended it */

        /* inner state */
        struct reg_url base; /* the registry's origin */
        unsigned auth_rounds, redirects;
        char *sent_auth; /* Authorization of the last attempt */
        int64_t sent_token_ns, start_ns;
        bool probe, pinged;
};
#define AUTO_REQ AUTO(req_done)

void req_init(struct req *rq, struct reg_client *c, struct reg_repo *repo, const char *what);
void req_done(struct req *rq);
/* Make ready for another run with the same method, headers and scopes. */
void req_again(struct req *rq);
/* 0: there is an answer, of whatever status, in rq->res. Negative: there is none, err is filled; or
 * what a callback gave (positive too). */
int req_run(struct req *rq, struct bld_err *err) MUST_CHECK;
int req_header(struct req *rq, struct bld_err *err, const char *fmt, ...) PRINTF(3, 4) MUST_CHECK;
int req_scope(struct req *rq, const char *path, const char *actions,
              struct bld_err *err) MUST_CHECK;

/* An unwanted answer as an error: code by status, the registry's own words in a `why:` line. */
int req_refused(const struct req *rq, struct bld_err *err);
/* NOT_FOUND: "NAME not found", with the answer in a `why:` line. */
int req_not_found(const struct req *rq, const char *name, struct bld_err *err);
/* "404 MANIFEST_UNKNOWN: manifest unknown" of an answer, sanitised. */
void req_answer_text(const struct req *rq, struct sb *out);
/* Does the error body name this code? */
bool req_has_code(const struct req *rq, const char *code);

/* ---- retries ---- */

struct retry {
        unsigned used;
        int64_t start_ns; /* 0: not begun */
};
/* Is the outcome worth another attempt, and is there budget? 1: waited, go on. 0: no. Negative:
 * cancelled. */
int retry_wait(struct req *rq, struct retry *t, struct bld_err *err);
/* Anything in 0..limit. */
int64_t retry_jitter(int64_t limit);
/* Wait before a resumed download, which has a budget of its own. */
int retry_resume_wait(struct req *rq, struct bld_err *err);

#endif
