/* One HTTP exchange. The calling thread fills a `struct xfer`, starts it, moves the body through
 * the ring and reads the answer; the engine thread (engine.c) does everything on the wire. No
 * retries, redirects or credentials here: that is request.c.
 *
 * Body bytes cross between the threads in a ring of fixed size: the engine copies in (or out)
 * under curl's callbacks and pauses the transfer when the ring is full (or empty); the caller
 * works on spans of the ring without a copy. One side only fills, the other only drains. */
#ifndef REGISTRY_HTTP_PRIV_H
#define REGISTRY_HTTP_PRIV_H

#include <stdatomic.h>
#include <pthread.h>

#include "base/base.h"
#include "base/sb.h"
#include "base/vec.h"

struct reg_client;
struct reg_host;
struct reg_tls;
struct curl_slist;

#define REG_HEADERS_MAX (64u << 10)
#define REG_ERROR_BODY_MAX (1u << 20)
#define REG_RING_SIZE (512u << 10)

struct reg_header {
        char *name, *value;
};
VEC_DEFINE(reg_headers, struct reg_header);

/* Why an exchange has no answer; what a retry rule wants to know, without curl's numbers. */
enum reg_fault {
        REG_FAULT_NONE,    /* there is an answer */
        REG_FAULT_RESOLVE, /* no such host */
        REG_FAULT_CONNECT, /* refused, unreachable, timed out before the first byte was sent */
        REG_FAULT_TLS,     /* handshake broken, not for its certificate */
        REG_FAULT_PLAIN,   /* the peer speaks plain HTTP where TLS was asked for */
        REG_FAULT_CERT,    /* certificate or CA file refused: no retry helps */
        REG_FAULT_PROXY,   /* the proxy refuses */
        REG_FAULT_BROKEN,  /* connection lost or answer cut short */
        REG_FAULT_TIMEOUT, /* nothing moved for too long */
        REG_FAULT_GUARD,   /* address not allowed from where we were sent */
        REG_FAULT_LIMIT,   /* answer larger than asked for */
        REG_FAULT_CANCELLED,
        REG_FAULT_INTERNAL, /* out of memory and the like */
};

struct reg_res {
        enum reg_fault fault;
        char why[256];        /* of a fault, in words */
        int status;           /* 0 without an answer */
        bool body_sent;       /* any byte of the request body left */
        uint64_t sent;        /* how many of them were handed to the connection */
        bool connect_timeout; /* CONNECT by time, not refused */
        struct reg_headers headers;
        struct sb body; /* what was not streamed */
};

/* Value of the n-th header of this name, or NULL. */
const char *reg_res_header(const struct reg_res *r, const char *name, size_t n);
void reg_res_done(struct reg_res *r);

enum xfer_state { XFER_NEW, XFER_QUEUED, XFER_ACTIVE, XFER_DONE };

struct xfer {
        /* set by the caller before xfer_start, then read-only */
        struct reg_client *c;
        struct reg_host *host; /* of the URL: slots, trust anchors */
        const char *method;
        char *url;
        char *proxy;         /* "" for none */
        struct strv headers; /* "Name: value" */
        const void *body;    /* whole request body in memory, or NULL */
        size_t body_len;
        bool upload; /* request body through the ring */
        uint64_t upload_size;
        bool stream;               /* a 200 or 206 body goes through the ring */
        size_t body_max;           /* of a 2xx body that is not streamed */
        bool blob;                 /* takes a blob slot, HTTP/1.1 */
        bool no_expect;            /* the server does not know 100-continue */
        bool decode;               /* undo Content-Encoding */
        bool verify;               /* TLS certificates */
        const struct reg_tls *tls; /* client certificate */
        const struct sb *ca;       /* trust anchors; empty: curl's own */
        bool guard;                /* the address must be allowed from guard_from */
        int guard_from;            /* enum reg_addr */
        int64_t connect_ms, headers_ms, stall_ms;
        const atomic_bool *stop; /* NULL, or what aborts it */

        /* guarded by c->lock */
        enum xfer_state state;
        pthread_cond_t cond; /* caller waits here */
        unsigned char *ring;
        size_t head, fill; /* first byte, bytes in use */
        bool heads;        /* final status and headers are in res */
        bool upload_end;   /* caller has filled all */
        bool paused;       /* engine waits for the ring */
        bool want_resume, want_abort;
        struct xfer *next; /* in the engine's list */

        /* engine thread until DONE, then the caller's */
        struct reg_res res;
        int addr; /* enum reg_addr of the peer; NAME when unknown or a proxy */

        /* engine thread only */
        void *easy;
        struct curl_slist *slist;
        char errbuf[256];
        size_t header_bytes;
        uint64_t sent, moved, window_moved;
        int64_t window_ns;
        bool begun, resuming, aborting;
        enum reg_fault abort_fault;
};

/* Lifetime: xfer_init, fill, xfer_start, ..., xfer_done (which aborts what still runs). */
int xfer_init(struct xfer *x, struct reg_client *c, struct bld_err *err) MUST_CHECK;
void xfer_done(struct xfer *x);
int xfer_start(struct xfer *x, struct bld_err *err) MUST_CHECK;

/* Wait until status and headers are there or the exchange ended. */
void xfer_wait_head(struct xfer *x);
/* Wait until the exchange ended; res is complete then. */
void xfer_wait(struct xfer *x);
/* Next span of the response body: 1 with bytes, 0 at the end (or failure: look at res.fault after
 * xfer_wait). Give it back with xfer_drained. */
int xfer_next(struct xfer *x, const void **ret_p, size_t *ret_n);
void xfer_drained(struct xfer *x, size_t n);
/* Free span of the request ring: 1 with room, 0 when the exchange wants no more. */
int xfer_room(struct xfer *x, void **ret_p, size_t *ret_n);
void xfer_filled(struct xfer *x, size_t n);
void xfer_filled_all(struct xfer *x);
/* Give up; returns when the engine has let go. */
void xfer_abort(struct xfer *x);

#endif
