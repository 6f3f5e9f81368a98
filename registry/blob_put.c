/* Uploads: mount, else look, else POST and one PUT; chunks only where a body is refused for its
 * size. Every round begins with a look again, because a lost 201 is common. */
#include <string.h>

#include "base/err.h"
#include "base/num.h"
#include "registry/header_priv.h"
#include "registry/request_priv.h"

#define ROUNDS_MAX 5
#define SESSIONS_MAX 3
#define CHUNK (32u << 20)

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
        bool no_look; /* the registry does not let us read */
        bool chunked, never_chunked;
        bool checked; /* our own bytes were found good after a refusal */
        uint64_t chunk_min;
        unsigned sessions;
        struct retry retry;
};

/* Results of a step besides 0 and errors. */
enum { PUT_AGAIN = 1, PUT_DONE, PUT_GONE };

static int begin(struct put *u, struct req *rq, const char *method, bool write, struct bld_err *err)
{
        req_init(rq, u->c, u->repo, u->what);
        rq->method = method;
        rq->flags = REQ_ONCE;
        return req_scope(rq, u->repo->path, write ? "pull,push" : "pull", err);
}

/* An answer that is neither success nor anything special: wait and begin the round again, or end.
 * PUT_AGAIN or negative. */
static int again(struct put *u, struct req *rq, struct bld_err *err)
{
        int r = retry_wait(rq, &u->retry, err);

        if (r != 0)
                return r < 0 ? r : PUT_AGAIN;
        return req_refused(rq, err);
}

/* ---- the session ---- */

static void session_close(struct put *u)
{
        reg_url_done(&u->session);
        u->open = false;
}

/* Never escalate for it: distribution wants a `delete` scope, which most users lack. */
static void session_cancel(struct put *u)
{
        AUTO_REQ struct req rq = {0};

        if (!u->open)
                return;
        if (!cancel_level(u->c->cancel) && begin(u, &rq, "DELETE", true, NULL) == 0) {
                rq.url = &u->session;
                rq.flags |= REQ_MEEK;
                /* best effort: the server collects old sessions by itself */
                if (req_run(&rq, NULL) < 0)
                        session_close(u);
        }
        session_close(u);
}

/* Every answer's Location replaces the one before. */
static int session_move(struct put *u, const struct req *rq, struct bld_err *err)
{
        AUTO_URL struct reg_url to = {0};
        const char *location = reg_res_header(&rq->res, "Location", 0);
        AUTO_SB struct sb origin = SB_INIT(1024);
        int r;

        if (!location)
                return err_set(err, BLD_E_CORRUPT, "%s: %s accepted an upload without saying where",
                               u->what, rq->at.host);
        r = reg_url_resolve(&rq->at, location, &to, err);
        if (r < 0)
                return err_wrap(err, err_recode(err, BLD_E_CORRUPT), "%s: upload location",
                                u->what);
        /* a TLS-terminating proxy in front of a registry that thinks it is on http */
        if (rq->at.https && !to.https && str_eq(to.host, rq->at.host) &&
            (!to.has_port || to.port == rq->at.port)) {
                reg_note_once(u->c, "%s sends http upload locations; using https", rq->at.host);
                to.https = true;
                to.port = rq->at.port;
        }
        reg_url_origin(&to, &origin);
        if (rq->at.https && !to.https)
                return err_set(err, BLD_E_CORRUPT, "%s: upload location %s is plain http", u->what,
                               sb_text(&origin));
        if (!reg_url_same_origin(&to, &rq->at) &&
            !reg_addr_allowed(u->repo->host->addr, reg_addr_class(to.host)))
                return err_set(err, BLD_E_CORRUPT, "%s: upload location %s is a private address",
                               u->what, sb_text(&origin));
        session_close(u);
        u->session = to;
        to = (struct reg_url){0};
        u->open = true;
        return 0;
}

static int session_opened(struct put *u, const struct req *rq, struct bld_err *err)
{
        const char *min = reg_res_header(&rq->res, "OCI-Chunk-Min-Length", 0);

        if (!min || !parse_u64(min, 0, UINT64_C(1) << 40, &u->chunk_min))
                u->chunk_min = 0;
        return session_move(u, rq, err);
}

/* The signed query is kept byte for byte. */
static int closing_url(const struct put *u, struct reg_url *ret, struct bld_err *err)
{
        AUTO_SB struct sb rest = SB_INIT(REG_URL_MAX + 256);
        char *s;
        int r;

        sb_fmt(&rest, "%s%cdigest=%s", u->session.rest, strchr(u->session.rest, '?') ? '&' : '?',
               u->name);
        s = rest.failed ? NULL : sb_take(&rest);
        if (!s)
                return err_nomem(err, "build a request");
        r = reg_url_copy(&u->session, ret, err);
        if (r < 0) {
                free(s);
                return r;
        }
        free(ret->rest);
        ret->rest = s;
        return 0;
}

/* ---- the steps ---- */

/* PUT_DONE: mounted. 0: not, but perhaps a session is open. */
static int mount(struct put *u, struct bld_err *err)
{
        AUTO_SB struct sb path = SB_INIT(8192);
        struct bld_err why = BLD_ERR_INIT;
        AUTO_REQ struct req rq = {0};
        int r = begin(u, &rq, "POST", true, err);

        if (r == 0)
                r = req_scope(&rq, u->from, "pull", err);
        if (r < 0)
                return r;
        sb_fmt(&path, "/v2/%s/blobs/uploads/?mount=%s&from=", u->repo->path, u->name);
        reg_url_encode(&path, u->from);
        rq.path = sb_text(&path);
        r = req_run(&rq, &why);
        u->from = NULL; /* one try: a mount is a favour */
        if (r < 0 && (why.code == BLD_E_CANCELLED || why.code == BLD_E_NOMEM)) {
                err_copy(err, &why);
                return r;
        }
        if (r == 0 && rq.res.fault != REG_FAULT_NONE)
                return 0;
        if (r == 0 && rq.res.status == 201)
                return PUT_DONE;
        if (r == 0 && rq.res.status == 202)
                return session_opened(u, &rq, err);
        if (r < 0 || rq.res.status == 401 || rq.res.status == 403) {
                /* the token service may know one scope only: mounting is off for this place */
                (void)pthread_mutex_lock(&u->c->lock);
                u->repo->no_mount = true;
                (void)pthread_mutex_unlock(&u->c->lock);
        }
        return 0;
}

/* PUT_DONE: it is there. 0: not (or we may not know). */
static int look(struct put *u, struct bld_err *err)
{
        AUTO_SB struct sb path = SB_INIT(4096);
        AUTO_REQ struct req rq = {0};
        const char *length;
        uint64_t n;
        int r = begin(u, &rq, "HEAD", true, err);

        if (r < 0)
                return r;
        sb_fmt(&path, "/v2/%s/blobs/%s", u->repo->path, u->name);
        rq.path = sb_text(&path);
        r = req_run(&rq, err);
        if (r < 0)
                return r;
        if (rq.res.fault != REG_FAULT_NONE || rq.res.status == 429 || rq.res.status >= 500)
                return again(u, &rq, err);
        if (rq.res.status != 200) {
                /* a token for pushing only may not be allowed to read */
                u->no_look |= rq.res.status == 403;
                return rq.res.status == 401 ? req_refused(&rq, err) : 0;
        }
        length = reg_res_header(&rq.res, "Content-Length", 0);
        if (length && (!parse_u64(length, 0, UINT64_MAX, &n) || n != u->desc->size))
                return 0;
        return PUT_DONE;
}

static int open_session(struct put *u, struct bld_err *err)
{
        AUTO_SB struct sb path = SB_INIT(4096);
        AUTO_REQ struct req rq = {0};
        int r = begin(u, &rq, "POST", true, err);

        if (r < 0)
                return r;
        sb_fmt(&path, "/v2/%s/blobs/uploads/", u->repo->path);
        if (u->desc->digest.algo != DIGEST_SHA256)
                sb_fmt(&path, "?digest-algorithm=%s", digest_algo_name(u->desc->digest.algo));
        rq.path = sb_text(&path);
        r = req_run(&rq, err);
        if (r < 0)
                return r;
        if (rq.res.fault == REG_FAULT_NONE && rq.res.status == 202)
                return session_opened(u, &rq, err);
        if (rq.res.fault == REG_FAULT_NONE && rq.res.status == 404 &&
            req_has_code(&rq, "NAME_UNKNOWN")) {
                r = err_set(err, BLD_E_NOT_FOUND, "%s: the repository does not exist", u->what);
                return err_why(err, r, "%s does not create it on push", u->repo->host->name);
        }
        return again(u, &rq, err);
}

/* Does the source still give the bytes of the digest? */
static int check_source(struct put *u, struct bld_err *err)
{
        AUTO_FREE unsigned char *buf = mem_alloc(64u << 10);
        struct hasher h;
        struct digest d;
        uint64_t off = 0;

        if (!buf)
                return err_nomem(err, "check a blob");
        hasher_init(&h, u->desc->digest.algo);
        while (off < u->desc->size) {
                size_t want = (size_t)MIN((uint64_t)(64u << 10), u->desc->size - off);
                ssize_t n = u->src->pread(u->src->user, buf, want, off, err);

                if (n < 0)
                        return (int)n;
                if (n == 0)
                        break;
                hasher_add(&h, buf, (size_t)n);
                off += (uint64_t)n;
        }
        hasher_end(&h, &d);
        if (off != u->desc->size || !digest_eq(&d, &u->desc->digest))
                return err_set(err, BLD_E_CORRUPT, "%s: the local blob %s is damaged", u->what,
                               u->name);
        return 0;
}

/* The answer to the closing PUT. */
static int closed(struct put *u, struct req *rq, struct bld_err *err)
{
        int status = rq->res.status, r;

        if (rq->res.fault != REG_FAULT_NONE) {
                session_close(u);
                return again(u, rq, err);
        }
        if (status == 201) {
                session_close(u);
                return PUT_DONE;
        }
        if (status == 200 || status == 204) { /* odd, but seen: only a look can tell */
                session_close(u);
                return u->retry.used++ < ROUNDS_MAX ? PUT_AGAIN : req_refused(rq, err);
        }
        if (status == 404 || status == 416) {
                session_close(u);
                return PUT_GONE;
        }
        if (status == 413 && !u->chunked && !u->never_chunked) {
                session_cancel(u);
                u->chunked = true;
                return PUT_AGAIN;
        }
        if (status == 400 && req_has_code(rq, "DIGEST_INVALID") && !u->checked) {
                session_close(u); /* the server has thrown it away */
                u->checked = true;
                r = check_source(u, err);
                return r < 0 ? r : PUT_AGAIN;
        }
        return again(u, rq, err);
}

/* The whole blob in the closing PUT. */
static int send_whole(struct put *u, struct bld_err *err)
{
        AUTO_URL struct reg_url url = {0};
        AUTO_REQ struct req rq = {0};
        int r = begin(u, &rq, "PUT", true, err);

        if (r == 0)
                r = req_header(&rq, err, "Content-Type: application/octet-stream");
        if (r == 0)
                r = closing_url(u, &url, err);
        if (r < 0)
                return r;
        rq.url = &url;
        rq.flags = REQ_ONCE | REQ_BLOB | REQ_LONG | (u->desc->size > 16u << 20 ? REQ_FRESH : 0);
        rq.source = u->src;
        rq.source_len = u->desc->size;
        rq.stop_after_body = true;
        r = req_run(&rq, err);
        if (r < 0)
                return r;
        if (rq.res.fault == REG_FAULT_NONE && rq.res.status == 401 && rq.res.body_sent &&
            rq.auth_rounds == 1 && u->retry.used++ < ROUNDS_MAX) {
                session_close(u); /* the token died on the way; the blob may have arrived */
                return PUT_AGAIN;
        }
        return closed(u, &rq, err);
}

/* After a PATCH broke: what has the server kept? 0: *off is that, go on there; PUT_AGAIN: nothing
 * to go on with. */
static int session_status(struct put *u, uint64_t *off, struct bld_err *err)
{
        AUTO_REQ struct req rq = {0};
        const char *range;
        uint64_t have = 0;
        int r = begin(u, &rq, "GET", true, err);

        if (r < 0)
                return r;
        rq.url = &u->session;
        r = req_run(&rq, err);
        if (r < 0)
                return r;
        range = rq.res.fault == REG_FAULT_NONE && rq.res.status == 204
                        ? reg_res_header(&rq.res, "Range", 0)
                        : NULL;
        /* "0-0" is sent for none and for one byte: begin anew rather than guess */
        if (!range || !reg_upload_range(range, &have) || have == 0 || have > u->desc->size) {
                session_cancel(u);
                return PUT_AGAIN;
        }
        *off = have;
        return reg_res_header(&rq.res, "Location", 0) ? session_move(u, &rq, err) : 0;
}

/* One PATCH. *off moves to what the server says it has. */
static int send_chunk(struct put *u, uint64_t *off, uint64_t len, struct bld_err *err)
{
        AUTO_REQ struct req rq = {0};
        const char *range;
        uint64_t have = 0;
        int r = begin(u, &rq, "PATCH", true, err);

        if (r == 0)
                r = req_header(&rq, err, "Content-Type: application/octet-stream");
        if (r == 0)
                r = req_header(&rq, err, "Content-Range: %llu-%llu", (unsigned long long)*off,
                               (unsigned long long)(*off + len - 1));
        if (r < 0)
                return r;
        rq.url = &u->session;
        rq.flags = REQ_ONCE | REQ_BLOB;
        rq.source = u->src;
        rq.source_off = *off;
        rq.source_len = len;
        rq.stop_after_body = true;
        r = req_run(&rq, err);
        if (r < 0)
                return r;
        if (rq.res.fault != REG_FAULT_NONE) {
                r = again(u, &rq, err);
                return r < 0 ? r : session_status(u, off, err);
        }
        if (rq.res.status == 401 && rq.res.body_sent && u->retry.used++ < ROUNDS_MAX)
                return session_status(u, off, err);
        if (rq.res.status == 416 && u->retry.used++ < ROUNDS_MAX)
                return session_status(u, off, err);
        if (rq.res.status == 404 || rq.res.status == 416) {
                session_close(u);
                return PUT_GONE;
        }
        if (rq.res.status != 202)
                return again(u, &rq, err);
        range = reg_res_header(&rq.res, "Range", 0);
        /* some append whatever comes and answer 202: only the end they name tells */
        if (!range || !reg_upload_range(range, &have) || have > *off + len || have <= *off) {
                session_cancel(u);
                u->chunked = false;
                u->never_chunked = true;
                reg_note_once(u->c, "%s does not take uploads in chunks", u->repo->host->name);
                return PUT_AGAIN;
        }
        *off = have;
        return reg_res_header(&rq.res, "Location", 0) ? session_move(u, &rq, err) : 0;
}

static int send_chunks(struct put *u, struct bld_err *err)
{
        uint64_t off = 0, chunk = MAX((uint64_t)CHUNK, u->chunk_min);
        AUTO_URL struct reg_url url = {0};
        AUTO_REQ struct req rq = {0};
        int r;

        while (off < u->desc->size) {
                r = send_chunk(u, &off, MIN(chunk, u->desc->size - off), err);
                if (r != 0)
                        return r;
        }
        r = begin(u, &rq, "PUT", true, err);
        if (r == 0)
                r = closing_url(u, &url, err);
        if (r < 0)
                return r;
        rq.url = &url;
        rq.flags = REQ_ONCE | REQ_LONG;
        r = req_run(&rq, err);
        return r < 0 ? r : closed(u, &rq, err);
}

static bool may_mount(struct put *u)
{
        bool no;

        if (!u->from || str_eq(u->from, u->repo->path))
                return false;
        (void)pthread_mutex_lock(&u->c->lock);
        no = u->repo->no_mount;
        (void)pthread_mutex_unlock(&u->c->lock);
        return !no;
}

/* From the beginning: PUT_DONE with *how, PUT_AGAIN, PUT_GONE, or an error. */
static int round_once(struct put *u, enum reg_put_how *how, struct bld_err *err)
{
        int r = 0;

        session_close(u);
        if (may_mount(u)) {
                r = mount(u, err);
                *how = REG_PUT_MOUNTED;
        }
        /* a refused mount has often opened an upload: it is used, and saves the look */
        if (r == 0 && !u->open && !u->no_look) {
                r = look(u, err);
                *how = REG_PUT_PRESENT;
        }
        if (r == 0 && !u->open)
                r = open_session(u, err);
        if (r == 0) {
                *how = REG_PUT_UPLOADED;
                r = u->chunked && u->desc->size > 0 ? send_chunks(u, err) : send_whole(u, err);
        }
        return r;
}

static int put(struct put *u, enum reg_put_how *how, struct bld_err *err)
{
        for (;;) {
                int r = round_once(u, how, err);

                if (r == PUT_DONE)
                        return 0;
                if (r == PUT_GONE && ++u->sessions > SESSIONS_MAX)
                        return err_set(err, BLD_E_NETWORK,
                                       "%s: %s lost the upload session %u times", u->what,
                                       u->repo->host->name, u->sessions);
                if (r < 0) {
                        session_cancel(u);
                        return r;
                }
        }
}

int reg_blob_put(struct reg_client *c, const struct img_ref *ref, const struct img_desc *desc,
                 const struct reg_source *src, const char *from, enum reg_put_how *ret_how,
                 struct bld_err *err)
{
        struct put u = {.c = c, .desc = desc, .src = src, .from = from};
        AUTO_SB struct sb what = SB_INIT(4096);
        enum reg_put_how how = REG_PUT_UPLOADED;
        int r;

        if (!digest_is_set(&desc->digest))
                return err_set(err, BLD_E_BUG, "a blob without a digest");
        r = reg_repo_get(c, ref, &u.repo, err);
        if (r < 0)
                return r;
        digest_format(&desc->digest, u.name);
        sb_fmt(&what, "push to %s, blob %.19s", u.repo->shown, u.name);
        u.what = sb_text(&what);
        r = put(&u, &how, err);
        session_close(&u);
        if (r == 0 && ret_how)
                *ret_how = how;
        return r;
}
