/* Uploads: mount, else look, else POST and one PUT; chunks only where a body is refused for its
 * size. Every round begins with a look again, because a lost 201 is common. */
#include <string.h>

#include "base/err.h"
#include "base/num.h"
#include "registry/put_priv.h"

#define SESSIONS_MAX 3
/* two breaks this near to each other are at the same place: somebody limits bodies */
#define SAME_PLACE (UINT64_C(512) << 10)

int put_begin(struct put *u, struct req *rq, const char *method, bool write, struct bld_err *err)
{
        req_init(rq, u->c, u->repo, u->what);
        rq->method = method;
        rq->flags = REQ_ONCE;
        return req_scope(rq, u->repo->path, write ? "pull,push" : "pull", err);
}

int put_again(struct put *u, struct req *rq, struct bld_err *err)
{
        int r = retry_wait(rq, &u->retry, err);

        if (r != 0)
                return r < 0 ? r : PUT_AGAIN;
        return req_refused(rq, err);
}

/* ---- the steps ---- */

/* Does the answer name another blob than ours, in the same algorithm? */
static bool other_digest(const struct put *u, const struct reg_res *res)
{
        const char *text = reg_res_header(res, "Docker-Content-Digest", 0);
        struct digest said;

        return text && digest_parse(text, &said, NULL) == 0 && said.algo == u->desc->digest.algo &&
               !digest_eq(&said, &u->desc->digest);
}

/* PUT_DONE: mounted. 0: not, but perhaps a session is open. */
static int mount(struct put *u, struct bld_err *err)
{
        AUTO_SB struct sb path = SB_INIT(8192);
        struct bld_err why = BLD_ERR_INIT;
        AUTO_REQ struct req rq = {0};
        int r = put_begin(u, &rq, "POST", true, err);

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
        if (r == 0 && rq.res.status == 201 && !other_digest(u, &rq.res))
                return PUT_DONE;
        if (r == 0 && rq.res.status == 202) {
                if (put_session_opened(u, &rq, &why) < 0)
                        put_session_close(u);
                return 0;
        }
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
        int r = put_begin(u, &rq, "HEAD", true, err);

        if (r < 0)
                return r;
        sb_fmt(&path, "/v2/%s/blobs/%s", u->repo->path, u->name);
        rq.path = sb_text(&path);
        r = req_run(&rq, err);
        if (r < 0)
                return r;
        if (rq.res.fault != REG_FAULT_NONE || rq.res.status == 429 || rq.res.status >= 500)
                return put_again(u, &rq, err);
        if (rq.res.status != 200) {
                /* a token for pushing only may not be allowed to read; if it may do nothing, the
                 * POST is told so, and in words, which HEAD is not */
                u->no_look |= rq.res.status == 403 || rq.res.status == 401;
                return 0;
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
        int r = put_begin(u, &rq, "POST", true, err);

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
                return put_session_opened(u, &rq, err);
        if (rq.res.fault == REG_FAULT_NONE && rq.res.status == 404 &&
            req_has_code(&rq, "NAME_UNKNOWN")) {
                r = err_set(err, BLD_E_NOT_FOUND, "%s: the repository does not exist", u->what);
                return err_why(err, r, "%s does not create it on push", u->repo->host->name);
        }
        return put_again(u, &rq, err);
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

int put_gone(struct put *u, const struct req *rq)
{
        AUTO_SB struct sb text = SB_INIT(sizeof(u->gone));

        req_answer_text(rq, &text);
        (void)str_copy(u->gone, sizeof(u->gone), sb_text(&text));
        put_session_close(u);
        return PUT_GONE;
}

/* The answer to the closing PUT. */
int put_closed(struct put *u, struct req *rq, struct bld_err *err)
{
        int status = rq->res.status, r;

        if (rq->res.fault != REG_FAULT_NONE) {
                u->broken = true;
                return put_again(u, rq, err);
        }
        if (status == 201) {
                put_session_close(u);
                if (!other_digest(u, &rq->res))
                        return PUT_DONE;
                return err_set(err, BLD_E_CORRUPT, "%s: %s stored other bytes than were sent",
                               u->what, rq->at.host);
        }
        if (status == 200 || status == 204) { /* odd, but seen: only a look can tell */
                put_session_close(u);
                return u->retry.used++ < PUT_ROUNDS_MAX ? PUT_AGAIN : req_refused(rq, err);
        }
        if (status == 404 || status == 416)
                return put_gone(u, rq);
        if (status == 413 && !u->chunked && put_may_chunk(u)) {
                put_session_cancel(u);
                u->chunked = true;
                return PUT_AGAIN;
        }
        if (status == 400 && req_has_code(rq, "DIGEST_INVALID") && !u->checked) {
                put_session_close(u); /* the server has thrown it away */
                u->checked = true;
                r = check_source(u, err);
                return r < 0 ? r : PUT_AGAIN;
        }
        return put_again(u, rq, err);
}

/* A whole body broke. Twice at the same place: a proxy on the way lets no more through. */
static void note_break(struct put *u, const struct reg_res *res)
{
        uint64_t before = u->broke_at;

        u->broke_at = res->sent;
        if (before == 0 || u->chunked || u->desc->size <= SAME_PLACE ||
            MAX(before, res->sent) - MIN(before, res->sent) > SAME_PLACE || !put_may_chunk(u))
                return;
        u->chunked = true;
        put_session_cancel(u);
}

/* The whole blob in the closing PUT. */
static int send_whole(struct put *u, struct bld_err *err)
{
        AUTO_URL struct reg_url url = {0};
        AUTO_REQ struct req rq = {0};
        int r = put_begin(u, &rq, "PUT", true, err);

        if (r == 0)
                r = req_header(&rq, err, "Content-Type: application/octet-stream");
        if (r == 0)
                r = put_session_end_url(u, &url, err);
        if (r < 0)
                return r;
        rq.url = &url;
        rq.flags = REQ_ONCE | REQ_BLOB | REQ_LONG | (u->desc->size > 16u << 20 ? REQ_FRESH : 0);
        rq.source = u->src;
        rq.source_len = u->desc->size;
        /* tokens that live for a request or two would never outlive a look, a POST and this: after
         * the first time it is simply sent again, to a session that a 401 has not touched */
        rq.stop_after_body = !u->expired;
        r = req_run(&rq, err);
        if (r < 0)
                return r;
        if (rq.res.fault == REG_FAULT_BROKEN && rq.res.body_sent)
                note_break(u, &rq.res);
        if (rq.res.fault == REG_FAULT_NONE && rq.res.status == 401 && rq.res.body_sent &&
            rq.auth_rounds == 1 && !u->expired) {
                u->expired = true;
                put_session_close(u); /* the token died on the way; the blob may have arrived */
                return PUT_AGAIN;
        }
        return put_closed(u, &rq, err);
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

/* After a break: the blob may be there, or a part of it, in a session that is still good.
 * PUT_AGAIN: neither. */
static int go_on(struct put *u, enum reg_put_how *how, struct bld_err *err)
{
        uint64_t off = 0;
        int r = u->no_look ? 0 : look(u, err);

        *how = REG_PUT_PRESENT;
        if (r == 0) {
                *how = REG_PUT_UPLOADED;
                r = put_session_status(u, &off, err);
                u->looked = r == PUT_AGAIN;
        }
        return r == 0 ? put_chunks(u, off, err) : r;
}

/* From the beginning: PUT_DONE with *how, PUT_AGAIN, PUT_GONE, or an error. */
static int round_once(struct put *u, enum reg_put_how *how, struct bld_err *err)
{
        int r = 0;

        if (u->open && u->broken)
                return go_on(u, how, err);
        put_session_close(u);
        if (may_mount(u)) {
                r = mount(u, err);
                *how = REG_PUT_MOUNTED;
        }
        /* a refused mount has often opened an upload: it is used, and saves the look */
        if (r == 0 && !u->open && !u->no_look && !u->looked) {
                r = look(u, err);
                *how = REG_PUT_PRESENT;
        }
        u->looked = false;
        if (r == 0 && !u->open)
                r = open_session(u, err);
        if (r == 0) {
                *how = REG_PUT_UPLOADED;
                r = u->chunked ? put_chunks(u, 0, err) : send_whole(u, err);
        }
        return r;
}

static int put(struct put *u, enum reg_put_how *how, struct bld_err *err)
{
        for (;;) {
                int r = round_once(u, how, err);

                if (r == PUT_DONE)
                        return 0;
                if (r == PUT_GONE && ++u->sessions > SESSIONS_MAX) {
                        r = err_set(err, BLD_E_NETWORK, "%s: %s lost the upload session %u times",
                                    u->what, u->repo->host->name, u->sessions);
                        return u->gone[0] ? err_why(err, r, "%s", u->gone) : r;
                }
                if (r < 0) {
                        put_session_cancel(u);
                        return r;
                }
        }
}

static int put_blob(struct put *u, const struct img_ref *ref, enum reg_put_how *how,
                    struct bld_err *err)
{
        AUTO_SB struct sb what = SB_INIT(4096);
        int r;

        if (!digest_is_set(&u->desc->digest))
                return err_set(err, BLD_E_BUG, "a blob without a digest");
        r = reg_repo_get(u->c, ref, &u->repo, err);
        if (r < 0)
                return r;
        digest_format(&u->desc->digest, u->name);
        sb_fmt(&what, "push to %s, blob %.19s", u->repo->shown, u->name);
        u->what = sb_text(&what);
        r = put(u, how, err);
        put_session_close(u);
        return r;
}

int reg_blob_put(struct reg_client *c, const struct img_ref *ref, const struct img_desc *desc,
                 const struct reg_source *src, const char *from, enum reg_put_how *ret_how,
                 struct bld_err *err)
{
        struct put u = {.c = c, .desc = desc, .src = src, .from = from};
        enum reg_put_how how = REG_PUT_UPLOADED;
        int r = put_blob(&u, ref, &how, err);

        if (r == 0 && ret_how)
                *ret_how = how;
        return r;
}

int reg_blob_put_anew(struct reg_client *c, const struct img_ref *ref, const struct img_desc *desc,
                      const struct reg_source *src, struct bld_err *err)
{
        struct put u = {.c = c, .desc = desc, .src = src, .no_look = true};
        enum reg_put_how how = REG_PUT_UPLOADED;

        return put_blob(&u, ref, &how, err);
}

int reg_push_check(struct reg_client *c, const struct img_ref *ref, struct bld_err *err)
{
        static const struct img_desc any = {.digest = {.algo = DIGEST_SHA256}};
        AUTO_SB struct sb what = SB_INIT(4096);
        struct put u = {.c = c, .desc = &any};
        int r = reg_repo_get(c, ref, &u.repo, err);

        if (r < 0)
                return r;
        sb_fmt(&what, "push to %s", u.repo->shown);
        u.what = sb_text(&what);
        do
                r = open_session(&u, err);
        while (r == PUT_AGAIN);
        put_session_cancel(&u);
        return MIN(r, 0);
}
