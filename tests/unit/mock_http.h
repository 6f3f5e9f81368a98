/* A scripted HTTP server on loopback, in a thread: it expects requests in order, answers as the
 * script says, and remembers what was wrong. TLS hellos are answered like a plain server does. */
#ifndef TESTS_MOCK_HTTP_H
#define TESTS_MOCK_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum mock_how {
        MOCK_WHOLE,  /* the answer, then keep the connection */
        MOCK_CUT,    /* announce all of the body, send `cut` bytes of it, close */
        MOCK_DROP,   /* close without an answer */
        MOCK_STALL,  /* announce all of the body, send `cut` bytes, keep silent */
        MOCK_EARLY,  /* answer after the request's headers, then close */
        MOCK_SILENT, /* take the request and never answer */
};

struct mock_step {
        const char *request;  /* "GET /v2/a", whole request target; or the start of it and '*' */
        const char *has[4];   /* text that must be in the request's headers */
        const char *hasnt[4]; /* text that must not */
        const char *body_has; /* text that must be in the request's body */
        int status;
        const char *headers; /* "Name: value\r\n..." or NULL */
        const char *body;    /* NULL: empty */
        size_t body_len;     /* 0: strlen(body) */
        enum mock_how how;
        size_t cut;
        bool no_length; /* no Content-Length; the connection ends the body */
        unsigned times; /* 0: once */
        bool optional;  /* may be left over */
};

struct mock;
struct mock *mock_start(void);
/* "127.0.0.1:PORT" */
const char *mock_host(const struct mock *m);
/* Begin a script: steps (copied) up to one with a NULL request. */
void mock_script(struct mock *m, const struct mock_step *steps);
/* Stop. NULL when all steps were used and nothing was wrong, else what was; caller frees. */
char *mock_stop(struct mock *m);
unsigned mock_requests(struct mock *m);

#endif
