/* One blob on its way into a repository: what the files of the upload share. */
#ifndef REGISTRY_PUT_PRIV_H
#define REGISTRY_PUT_PRIV_H

#include "registry/request_priv.h"

struct put {
        struct reg_client *c;
        struct reg_repo *repo;
        const struct img_desc *desc;
        const struct reg_source *src;
        const char *from; /* candidate for a mount; NULL once it failed */
        const char *what;
        char name[DIGEST_STR_MAX];
        struct reg_url session; /* of the open upload */
        bool open;
        bool broken;  /* the open upload's last request broke: ask what it has */
        bool no_look; /* the registry does not let us read */
        bool looked;  /* just now, and it was not there */
        bool chunked;
        bool expired;       /* a token ended on the way of a body */
        bool checked;       /* our own bytes were found good after a refusal */
        uint64_t chunk;     /* length of one */
        uint64_t chunk_min; /* what the registry asks for */
        uint64_t broke_at;  /* bytes sent when a whole body broke last; 0: never */
        unsigned sessions;
        char gone[400]; /* the answer that ended the last session, as text */
        struct retry retry;
};

/* Results of a step besides 0 and errors. */
enum { PUT_AGAIN = 1, PUT_DONE, PUT_GONE };

#define PUT_ROUNDS_MAX 5

int put_begin(struct put *u, struct req *rq, const char *method, bool write,
              struct bld_err *err) MUST_CHECK;
/* An answer that is neither success nor anything special: wait and begin the round again, or end.
 * PUT_AGAIN or negative. */
int put_again(struct put *u, struct req *rq, struct bld_err *err) MUST_CHECK;
/* The session is lost: PUT_GONE. The answer's words are kept. */
int put_gone(struct put *u, const struct req *rq);
/* The answer to a closing PUT. */
int put_closed(struct put *u, struct req *rq, struct bld_err *err) MUST_CHECK;

/* ---- put_session.c ---- */

void put_session_close(struct put *u);
/* Give the upload up at the registry, too; best effort. */
void put_session_cancel(struct put *u);
/* Take in the answer that opened an upload. */
int put_session_opened(struct put *u, const struct req *rq, struct bld_err *err) MUST_CHECK;
/* Every answer's Location replaces the one before. */
int put_session_move(struct put *u, const struct req *rq, struct bld_err *err) MUST_CHECK;
/* The session with digest= appended. */
int put_session_end_url(const struct put *u, struct reg_url *ret, struct bld_err *err) MUST_CHECK;
/* What does the server have of the upload? 0: *ret_off bytes, go on there; PUT_AGAIN: nothing to go
 * on with, the session is closed. */
int put_session_status(struct put *u, uint64_t *ret_off, struct bld_err *err) MUST_CHECK;

/* ---- put_chunks.c ---- */

/* Can the blob be sent in parts here? Sets the length of one. */
bool put_may_chunk(struct put *u);
/* The rest from `off` on, and the closing PUT. */
int put_chunks(struct put *u, uint64_t off, struct bld_err *err) MUST_CHECK;

#endif
