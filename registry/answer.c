/* Unwanted answers as errors a person can act on. */
#include <string.h>

#include "base/err.h"
#include "base/json.h"
#include "base/num.h"
#include "registry/header_priv.h"
#include "registry/request_priv.h"

#define SHOWN_MAX 300

/* First error of {"errors":[{"code","message"}]}; *ret_doc owns the text. */
static bool first_error(const struct reg_res *res, struct js **ret_doc, const char **code,
                        const char **message)
{
        const struct js *e;

        if (res->body.len == 0 || js_parse(sb_text(&res->body), res->body.len, ret_doc, NULL) < 0)
                return false;
        e = js_at(js_get(*ret_doc, "errors"), 0);
        *code = js_get_str(e, "code");
        *message = js_get_str(e, "message");
        return *code || *message;
}

bool req_has_code(const struct req *rq, const char *code)
{
        AUTO_JS struct js *doc = NULL;
        const struct js *errors;

        if (rq->res.body.len == 0 ||
            js_parse(sb_text(&rq->res.body), rq->res.body.len, &doc, NULL) < 0)
                return false;
        errors = js_get(doc, "errors");
        for (size_t i = 0; i < js_len(errors); i++)
                if (str_eq(js_get_str(js_at(errors, i), "code"), code))
                        return true;
        return false;
}

static void add_host(const struct req *rq, struct sb *out)
{
        const struct reg_url *u = &rq->at;

        sb_str(out, u->host ? u->host : rq->repo->host->name);
        if (u->host && u->port != (u->https ? 443u : 80u))
                sb_fmt(out, ":%u", u->port);
}

/* "cannot connect to r.io", "r.io answered 503" */
static void outcome(const struct req *rq, struct sb *out)
{
        static const char *const names[] = {
                [REG_FAULT_RESOLVE] = "cannot resolve ",
                [REG_FAULT_CONNECT] = "cannot connect to ",
                [REG_FAULT_TLS] = "no TLS connection to ",
                [REG_FAULT_PLAIN] = "no TLS, only plain HTTP at ",
                [REG_FAULT_CERT] = "certificate trouble with ",
                [REG_FAULT_PROXY] = "the proxy does not let through to ",
                [REG_FAULT_BROKEN] = "connection lost to ",
                [REG_FAULT_TIMEOUT] = "no progress with ",
                [REG_FAULT_GUARD] = "sent to a refused address by ",
                [REG_FAULT_LIMIT] = "answer too large from ",
                [REG_FAULT_CANCELLED] = "cancelled: ",
                [REG_FAULT_INTERNAL] = "no transfer with ",
                [REG_FAULT_NONE] = "",
        };

        sb_str(out, names[rq->res.fault]);
        if (rq->res.fault == REG_FAULT_GUARD)
                sb_str(out, rq->repo->host->name);
        else
                add_host(rq, out);
        if (rq->res.fault == REG_FAULT_NONE)
                sb_fmt(out, " answered %d", rq->res.status);
}

/* The registry's words, or the system's; empty when there are none. */
static void words(const struct req *rq, struct sb *out)
{
        AUTO_JS struct js *doc = NULL;
        const char *code = NULL, *message = NULL, *type;

        if (rq->res.fault != REG_FAULT_NONE) {
                reg_safe(out, rq->res.why, strlen(rq->res.why), SHOWN_MAX);
        } else if (first_error(&rq->res, &doc, &code, &message)) {
                if (code)
                        reg_safe(out, code, strlen(code), 60);
                if (message && *message) {
                        sb_str(out, code ? ": " : "");
                        reg_safe(out, message, strlen(message), SHOWN_MAX);
                }
        } else if (rq->res.body.len > 0) {
                type = reg_res_header(&rq->res, "Content-Type", 0);
                type = type ? type : "no type";
                reg_safe(out, type, strlen(type), 60);
                sb_str(out, ": ");
                reg_safe(out, sb_text(&rq->res.body), rq->res.body.len, 200);
        }
}

void req_answer_text(const struct req *rq, struct sb *out)
{
        AUTO_SB struct sb more = SB_INIT(4096);

        outcome(rq, out);
        words(rq, &more);
        if (more.len > 0)
                sb_fmt(out, " (%s)", sb_text(&more));
}

int req_not_found(const struct req *rq, const char *name, struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(4096);

        req_answer_text(rq, &text);
        err_set(err, BLD_E_NOT_FOUND, "%s not found", name);
        return err_why(err, BLD_E_NOT_FOUND, "%s", sb_text(&text));
}

static int code_of(const struct reg_res *res)
{
        switch (res->fault) {
        case REG_FAULT_NONE:
                break;
        case REG_FAULT_CANCELLED:
                return BLD_E_CANCELLED;
        case REG_FAULT_TIMEOUT:
                return BLD_E_NETWORK;
        case REG_FAULT_GUARD:
        case REG_FAULT_LIMIT: /* theirs, not a bound of this machine */
                return BLD_E_CORRUPT;
        case REG_FAULT_RESOLVE:
        case REG_FAULT_CONNECT:
        case REG_FAULT_TLS:
        case REG_FAULT_PLAIN:
        case REG_FAULT_CERT:
        case REG_FAULT_PROXY:
        case REG_FAULT_BROKEN:
        case REG_FAULT_INTERNAL:
                return BLD_E_NETWORK;
        }
        if (res->status == 401 || res->status == 403)
                return BLD_E_DENIED;
        if (res->status == 404)
                return BLD_E_NOT_FOUND;
        return BLD_E_NETWORK;
}

static void add_try(const struct req *rq, struct bld_err *err, int code)
{
        const struct reg_host *h = rq->repo->host;

        if (rq->res.fault == REG_FAULT_PLAIN)
                err_try(err, code, "--insecure %s allows plain HTTP for this registry", h->name);
        else if (rq->res.fault == REG_FAULT_CERT && !rq->foreign)
                err_try(err, code,
                        "put the CA into /etc/docker/certs.d/%s/ca.crt, or give "
                        "--ca %s=FILE",
                        h->name, h->name);
        else if (rq->res.fault == REG_FAULT_NONE && rq->res.status == 429)
                err_try(err, code, "bld login %s, or set a mirror: --mirror %s=HOST/PATH", h->name,
                        h->name);
        else if (rq->res.fault == REG_FAULT_NONE && rq->res.status == 407)
                err_try(err, code,
                        "put the proxy's user and password into $HTTPS_PROXY: "
                        "http://USER:PASS@HOST:PORT");
}

/* What was asked for, in the words of a token: "pull,push". */
static const char *actions(const struct req *rq)
{
        const char *scope = rq->scopes.n ? rq->scopes.v[0] : "", *colon;

        for (size_t i = 0; i < rq->scopes.n; i++) {
                const char *rest = rq->scopes.v[i];

                if (str_has_prefix(rest, "repository:") &&
                    strncmp(rest + 11, rq->repo->path, strlen(rq->repo->path)) == 0)
                        scope = rest;
        }
        colon = strrchr(scope, ':');
        return colon ? colon + 1 : "";
}

/* 401 and 403: what may not be done, the registry's words, and who asked - the line that answers
 * "but I am logged in". */
static int denied(const struct req *rq, struct bld_err *err)
{
        const char *asked = actions(rq);
        AUTO_SB struct sb text = SB_INIT(4096);
        int code = BLD_E_DENIED;

        if (strstr(asked, "delete"))
                err_set(err, code, "not allowed to delete in %s", rq->repo->shown);
        else if (strstr(asked, "push"))
                err_set(err, code, "not allowed to push to %s", rq->repo->shown);
        else if (*asked && *rq->repo->path)
                err_set(err, code, "not allowed to pull from %s", rq->repo->shown);
        else
                err_set(err, code, "%s: not allowed", rq->what);
        req_answer_text(rq, &text);
        if (*asked && *rq->repo->path)
                sb_fmt(&text, " for scope repository:%s:%s", rq->repo->path, asked);
        err_why(err, code, "%s: %s", rq->what, sb_text(&text));
        if (reg_creds_evidence(rq->c, rq->repo, err, code))
                return err_try(err, code, "bld login --explain %s", rq->repo->shown);
        err_why(err, code, "not logged in to %s", rq->repo->host->name);
        return err_try(err, code, "bld login %s", rq->repo->host->name);
}

/* "... exceeds --retry-max-time 10m" */
static void add_budget(const struct req *rq, const char *after, struct sb *out)
{
        char limit[24];
        int64_t ms;

        if (!after || !reg_retry_after(after, time_now_ns() / 1000000000, &ms) ||
            ms <= rq->c->retry_max_ms)
                return;
        format_elapsed(rq->c->retry_max_ms, limit);
        sb_fmt(out, " exceeds --retry-max-time %s", limit);
}

static void add_why(const struct req *rq, struct bld_err *err, int code)
{
        AUTO_SB struct sb more = SB_INIT(4096);
        const char *after = reg_res_header(&rq->res, "Retry-After", 0);

        words(rq, &more);
        if (rq->res.fault == REG_FAULT_NONE && (rq->res.status == 429 || rq->res.status == 503) &&
            (after || rq->res.status == 429)) {
                sb_fmt(&more, "%s%d, Retry-After: ", more.len ? "; " : "", rq->res.status);
                reg_safe(&more, after ? after : "none", strlen(after ? after : "none"), 60);
                add_budget(rq, after, &more);
        }
        if (more.len > 0)
                err_why(err, code, "%s", sb_text(&more));
}

int req_refused(const struct req *rq, struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(4096);
        int code = code_of(&rq->res);

        if (code == BLD_E_CANCELLED)
                return err_set(err, code, "%s: cancelled", rq->what);
        if (code == BLD_E_DENIED)
                return denied(rq, err);
        if (rq->res.fault == REG_FAULT_NONE && rq->res.status == 429) {
                err_set(err, code, "%s is rate limiting: %s", rq->repo->host->name, rq->what);
        } else {
                outcome(rq, &text);
                err_set(err, code, "%s: %s", rq->what, sb_text(&text));
        }
        add_why(rq, err, code);
        add_try(rq, err, code);
        return code;
}
