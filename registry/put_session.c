/* The session of an upload: where it is, what the server has of it, its end. */
#include <string.h>

#include "base/err.h"
#include "base/num.h"
#include "registry/header_priv.h"
#include "registry/put_priv.h"

void put_session_close(struct put *u)
{
        reg_url_done(&u->session);
        u->open = u->broken = false;
}

/* Never escalate for it: distribution wants a `delete` scope, which most users lack. */
void put_session_cancel(struct put *u)
{
        AUTO_REQ struct req rq = {0};

        if (u->open && !cancel_level(u->c->cancel) &&
            put_begin(u, &rq, "DELETE", true, NULL) == 0) {
                rq.url = &u->session;
                rq.flags |= REQ_MEEK;
                (void)!req_run(&rq, NULL); /* the server collects old sessions by itself */
        }
        put_session_close(u);
}

/* Location resolved and judged. */
static int location(const struct put *u, const struct req *rq, struct reg_url *ret,
                    struct bld_err *err)
{
        AUTO_URL struct reg_url to = {0};
        const char *text = reg_res_header(&rq->res, "Location", 0);
        AUTO_SB struct sb origin = SB_INIT(1024);
        int r;

        if (!text) {
                reg_url_origin(&rq->at, &origin);
                r = err_set(err, BLD_E_CORRUPT, "%s: an upload was accepted without saying where",
                            u->what);
                return err_why(err, r, "%s%.*s answered %d without a Location", sb_text(&origin),
                               (int)MIN(strcspn(rq->at.rest, "?"), (size_t)300), rq->at.rest,
                               rq->res.status);
        }
        r = reg_url_resolve(&rq->at, text, &to, err);
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
        *ret = to;
        to = (struct reg_url){0};
        return 0;
}

int put_session_move(struct put *u, const struct req *rq, struct bld_err *err)
{
        struct reg_url to = {0};
        int r = location(u, rq, &to, err);

        if (r < 0)
                return r;
        put_session_close(u);
        u->session = to;
        u->open = true;
        return 0;
}

int put_session_opened(struct put *u, const struct req *rq, struct bld_err *err)
{
        const char *min = reg_res_header(&rq->res, "OCI-Chunk-Min-Length", 0);

        if (!min || !parse_u64(min, 0, UINT64_C(1) << 40, &u->chunk_min))
                u->chunk_min = 0;
        return put_session_move(u, rq, err);
}

/* The signed query is kept byte for byte. */
int put_session_end_url(const struct put *u, struct reg_url *ret, struct bld_err *err)
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

int put_session_status(struct put *u, uint64_t *ret_off, struct bld_err *err)
{
        AUTO_REQ struct req rq = {0};
        const char *range = NULL;
        uint64_t have = 0;
        int r = put_begin(u, &rq, "GET", true, err);

        if (r < 0)
                return r;
        rq.url = &u->session;
        r = req_run(&rq, err);
        if (r < 0)
                return r;
        if (rq.res.fault == REG_FAULT_NONE && (rq.res.status == 204 || rq.res.status == 202))
                range = reg_res_header(&rq.res, "Range", 0);
        /* "0-0" is sent for none and for one byte: begin anew rather than guess */
        if (!range || !reg_upload_range(range, &have) || have == 0 || have > u->desc->size) {
                if (rq.res.fault == REG_FAULT_NONE && rq.res.status != 404)
                        put_session_cancel(u);
                put_session_close(u);
                return PUT_AGAIN;
        }
        *ret_off = have;
        u->broken = false;
        return reg_res_header(&rq.res, "Location", 0) ? put_session_move(u, &rq, err) : 0;
}
