/* Bearer tokens: the exchange at the realm (GET and POST form) and the cache. N requests that want
 * the same token cause one exchange. */
#include <string.h>

#include "base/err.h"
#include "base/num.h"
#include "registry/request_priv.h"

#define SKEW_S 300
#define TOKEN_MAX (48u << 10) /* those of large services have 16 KiB */
#define SECOND INT64_C(1000000000)

static void token_free(struct reg_token *t)
{
        free(t->key);
        reg_secret_free(t->text);
        reg_secret_free(t->refresh);
        free(t);
}

void reg_tokens_free(struct reg_tokens *a)
{
        for (size_t i = 0; i < a->n; i++)
                token_free(a->v[i]);
        reg_tokens_done(a);
}

void reg_token_drop(struct reg_client *c, const char *value)
{
        if (!value || !str_has_prefix(value, "Bearer "))
                return;
        (void)pthread_mutex_lock(&c->lock);
        for (size_t i = 0; i < c->tokens.n; i++)
                if (str_eq(c->tokens.v[i]->text, value + 7))
                        c->tokens.v[i]->expires_ns = 0;
        (void)pthread_mutex_unlock(&c->lock);
}

/* ---- the reply ---- */

void reg_token_reply_done(struct reg_token_reply *t)
{
        reg_secret_free(t->token);
        reg_secret_free(t->refresh);
        *t = (struct reg_token_reply){0};
}

static bool header_safe(const char *s)
{
        for (; *s; s++)
                if ((unsigned char)*s <= 0x20 || (unsigned char)*s >= 0x7f)
                        return false;
        return true;
}

int reg_token_reply_parse(const char *text, size_t len, int64_t now_s, struct reg_token_reply *ret,
                          struct bld_err *err)
{
        AUTO(reg_token_reply_done) struct reg_token_reply t = {.lifetime_s = 60};
        AUTO_JS struct js *doc = NULL;
        const char *token, *refresh, *issued;
        int64_t n, at, ns;

        if (js_parse_any_number(text, len, &doc, NULL) < 0 || !js_is_obj(doc))
                return err_set(err, BLD_E_CORRUPT, "the token service did not answer with JSON");
        token = js_get_str(doc, "token");
        if (!token || !*token)
                token = js_get_str(doc, "access_token");
        if (!token || !*token)
                return err_set(err, BLD_E_CORRUPT, "the token service sent no token");
        /* it goes into a header of ours */
        if (strlen(token) > TOKEN_MAX)
                return err_set(err, BLD_E_CORRUPT, "the token service sent a token of %zu bytes",
                               strlen(token));
        if (!header_safe(token))
                return err_set(err, BLD_E_CORRUPT, "the token service sent a malformed token");
        if (js_get_i64(doc, "expires_in", &n))
                t.lifetime_s = MIN(MAX(n, 60), 365 * 86400);
        /* a clock that is off by more than this would make every token look expired */
        issued = js_get_str(doc, "issued_at");
        if (issued && parse_rfc3339(issued, &at, &ns) && at <= now_s && now_s - at < SKEW_S)
                t.lifetime_s = MAX(t.lifetime_s - (now_s - at), 10);
        refresh = js_get_str(doc, "refresh_token");
        t.token = mem_strdup(token);
        if (refresh && *refresh)
                t.refresh = mem_strdup(refresh);
        if (!t.token || (refresh && *refresh && !t.refresh))
                return err_nomem(err, "keep a token");
        *ret = t;
        t = (struct reg_token_reply){0};
        return 0;
}

/* ---- the realm ---- */

static int realm_bad(struct bld_err *err, const struct reg_repo *repo, const char *why)
{
        return err_set(err, BLD_E_CORRUPT, "%s names a token service that is refused: %s",
                       repo->host->name, why);
}

/* Credentials go where the challenge says, so what it may say is bounded: https (http only as the
 * registry itself is reached), no user information, no private place. */
int reg_realm_check(struct reg_client *c, const struct reg_repo *repo, bool registry_https,
                    const char *realm, struct reg_url *ret, struct bld_err *err)
{
        AUTO_URL struct reg_url u = {0};
        AUTO_SB struct sb origin = SB_INIT(1024);
        struct reg_host *h = NULL;
        struct bld_err why = BLD_ERR_INIT;
        enum reg_addr from;
        char *before;
        int r;

        if (!realm || reg_url_parse(realm, &u, &why) < 0)
                return realm_bad(err, repo, why.code ? why.msg : "no realm");
        r = reg_host_of_url(c, &u, &h, err);
        if (r < 0)
                return r;
        if (!u.https && registry_https && !repo->host->insecure && !h->insecure)
                return realm_bad(err, repo, "plain http");
        if (!u.https && !reg_host_plain_ok(h) && !repo->host->insecure)
                return realm_bad(err, repo, "plain http to a host that is not --insecure");
        reg_url_origin(&u, &origin);
        (void)pthread_mutex_lock(&c->lock);
        from = repo->host->addr;
        before = map_get(&c->realms, repo->host->name);
        r = before && !str_eq(before, sb_text(&origin));
        if (!before && (before = mem_strdup(sb_text(&origin))) &&
            map_set(&c->realms, repo->host->name, before) < 0)
                free(before);
        (void)pthread_mutex_unlock(&c->lock);
        if (!reg_addr_allowed(from, reg_addr_class(u.host)))
                return realm_bad(err, repo, "a private address");
        if (r)
                reg_note_once(c, "%s now names another token service: %s", repo->host->name,
                              sb_text(&origin));
        *ret = u;
        u = (struct reg_url){0};
        return 0;
}

/* ---- the exchange ---- */

struct exchange {
        struct reg_client *c;
        struct reg_repo *repo;
        const struct reg_creds *k;
        const struct strv *scopes;
        const char *service, *literal, *refresh;
        struct reg_url realm;
        char *what;
        bool https;
};

static void param(struct sb *b, const char *key, const char *value)
{
        sb_fmt(b, "&%s=", key);
        reg_url_encode(b, value);
}

/* Everything is in the query but the password. */
static int send_get(struct exchange *e, struct req *rq, struct bld_err *err)
{
        AUTO_SB struct sb rest = SB_INIT(REG_URL_MAX), pair = SB_INIT(64u << 10);
        AUTO_SB struct sb value = SB_INIT(128u << 10);
        AUTO_URL struct reg_url u = {0};
        char *b64 = NULL;
        int r = reg_url_copy(&e->realm, &u, err);

        if (r < 0)
                return r;
        sb_fmt(&rest, "%s%sclient_id=bld", u.rest, strchr(u.rest, '?') ? "&" : "?");
        if (e->service)
                param(&rest, "service", e->service);
        for (size_t i = 0; i < e->scopes->n; i++)
                param(&rest, "scope", e->scopes->v[i]);
        if (e->literal)
                param(&rest, "scope", e->literal);
        if (e->k && (e->k->user || e->k->identity)) {
                const char *user = e->k->user ? e->k->user : "<token>";

                if (e->k->user)
                        param(&rest, "account", user);
                sb_fmt(&pair, "%s:%s", user, e->k->user ? e->k->pass : e->k->identity);
                b64 = pair.failed ? NULL : reg_base64(pair.buf, pair.len);
                sb_fmt(&value, "Basic %s", b64 ? b64 : "");
                reg_secret_free(b64);
                explicit_bzero(pair.buf, pair.len);
                rq->authorization = sb_text(&value);
        }
        r = sb_check(&rest, "build a token request", err);
        if (r < 0)
                return r;
        free(u.rest);
        u.rest = sb_take(&rest);
        rq->url = &u;
        rq->method = "GET";
        r = u.rest ? req_run(rq, err) : err_nomem(err, "build a token request");
        rq->url = NULL;
        rq->authorization = NULL;
        if (value.buf)
                explicit_bzero(value.buf, value.len);
        return r;
}

/* The OAuth2 form: identity tokens need it, and some servers know nothing else. */
static int send_post(struct exchange *e, struct req *rq, struct bld_err *err)
{
        AUTO_SB struct sb body = SB_INIT(256u << 10), scope = SB_INIT(64u << 10);
        const char *refresh = e->refresh ? e->refresh : e->k->identity;
        int r;

        sb_str(&body, "client_id=bld");
        param(&body, "grant_type", refresh ? "refresh_token" : "password");
        if (e->service)
                param(&body, "service", e->service);
        for (size_t i = 0; i < e->scopes->n; i++)
                sb_fmt(&scope, "%s%s", i ? " " : "", e->scopes->v[i]);
        if (e->literal)
                sb_fmt(&scope, "%s%s", scope.len ? " " : "", e->literal);
        if (scope.len > 0)
                param(&body, "scope", sb_text(&scope));
        if (refresh) {
                param(&body, "refresh_token", refresh);
        } else {
                param(&body, "username", e->k->user);
                param(&body, "password", e->k->pass);
        }
        r = sb_check(&body, "build a token request", err);
        if (r == 0)
                r = req_header(rq, err, "Content-Type: application/x-www-form-urlencoded");
        if (r == 0) {
                rq->url = &e->realm;
                rq->method = "POST";
                rq->flags |= REQ_SECRET;
                rq->body = body.buf;
                rq->body_len = body.len;
                r = req_run(rq, err);
        }
        rq->url = NULL;
        rq->body = NULL;
        if (body.buf)
                explicit_bzero(body.buf, body.len);
        return r;
}

static void setup(struct exchange *e, struct req *rq)
{
        req_init(rq, e->c, e->repo, e->what);
        rq->flags = REQ_NO_AUTH | REQ_TOKEN;
}

static int attempt(struct exchange *e, bool post, struct req *rq, struct bld_err *err)
{
        req_done(rq);
        setup(e, rq);
        return post ? send_post(e, rq, err) : send_get(e, rq, err);
}

/* Both forms in the order that fits the credentials; the other one where servers are known to
 * want it (POST 404 at old GCR, GET 401 at Artifactory). */
static int both_forms(struct exchange *e, struct req *rq, struct bld_err *err)
{
        bool token = e->refresh || (e->k && e->k->identity);
        bool password = e->k && e->k->user;
        int r = attempt(e, token, rq, err), status = rq->res.status;

        if (r < 0)
                return r;
        if (e->refresh && (status == 400 || status == 401 || status == 403)) {
                e->refresh = NULL; /* it has aged: as at first */
                return both_forms(e, rq, err);
        }
        if (token && (status == 404 || status == 405))
                return attempt(e, false, rq, err);
        if (!token && password && (status == 401 || status == 404 || status == 405)) {
                AUTO_REQ struct req post = {0};

                setup(e, &post);
                r = attempt(e, true, &post, err);
                if (r < 0 || post.res.status != 200)
                        return r; /* the first refusal says more */
                reg_res_done(&rq->res);
                rq->res = post.res;
                post.res = (struct reg_res){0};
        }
        return 0;
}

static bool only_pulls(const struct strv *scopes)
{
        for (size_t i = 0; i < scopes->n; i++)
                if (!str_has_suffix(scopes->v[i], ":pull"))
                        return false;
        return scopes->n > 0; /* none: somebody wants to know whether the login is good */
}

/* A stale login must not keep a public image away: once, and said aloud, without it. */
static int anonymous_instead(struct exchange *e, struct req *rq, struct bld_err *err)
{
        int r;

        reg_note_once(e->c, "credentials for %s were rejected; trying anonymously",
                      e->repo->host->name);
        e->k = NULL;
        e->refresh = NULL;
        r = attempt(e, false, rq, err);
        if (r == 0 && rq->res.status == 200) {
                (void)pthread_mutex_lock(&e->c->lock);
                e->repo->auth.anonymous = true;
                (void)pthread_mutex_unlock(&e->c->lock);
        }
        return r;
}

static int run_exchange(struct exchange *e, struct reg_token_reply *ret, struct bld_err *err)
{
        AUTO_REQ struct req rq = {0};
        const struct reg_creds *k = e->k;
        AUTO_SB struct sb said = SB_INIT(4096);
        int r, status;

        setup(e, &rq);
        r = both_forms(e, &rq, err);
        status = rq.res.status;
        if (r == 0 && (status == 401 || status == 403 || status == 400) && k &&
            only_pulls(e->scopes))
                r = anonymous_instead(e, &rq, err);
        if (r < 0)
                return r;
        if (rq.res.status == 200) {
                r = reg_token_reply_parse(sb_text(&rq.res.body), rq.res.body.len,
                                          time_now_ns() / SECOND, ret, err);
                if (rq.res.body.buf)
                        explicit_bzero(rq.res.body.buf, rq.res.body.len);
                return r < 0 ? err_wrap(err, r, "%s", e->what) : 0;
        }
        if ((status == 401 || status == 403) && k) {
                r = err_set(err, BLD_E_DENIED, "credentials for %s were rejected by %s",
                            e->repo->host->name, e->realm.host);
                err_why(err, r, "%s from %s", k->user ? k->user : "a token",
                        k->source ? k->source : "a helper");
                req_answer_text(&rq, &said);
                return err_why(err, r, "%s", sb_text(&said));
        }
        return req_refused(&rq, err);
}

/* ---- the cache ---- */

static int cmp_str(const void *a, const void *b)
{
        return strcmp(*(char *const *)a, *(char *const *)b);
}

/* What makes two tokens interchangeable. No secret is in it. */
static char *cache_key(const struct exchange *e, const char *realm)
{
        AUTO_STRV struct strv sorted = {0};
        AUTO_SB struct sb b = SB_INIT(128u << 10);

        if (strv_copy(&sorted, e->scopes) < 0)
                return NULL;
        if (sorted.n > 1)
                qsort(sorted.v, sorted.n, sizeof(*sorted.v), cmp_str);
        sb_fmt(&b, "%s\n%s\n%s\n", e->repo->host->name, realm, e->service ? e->service : "");
        sb_fmt(&b, "%s\n%s\n", e->k && e->k->source ? e->k->source : "",
               e->k && e->k->user ? e->k->user : "");
        for (size_t i = 0; i < sorted.n; i++)
                sb_fmt(&b, "%s\n", sorted.v[i]);
        return b.failed ? NULL : sb_take(&b);
}

/* Under the lock: the entry, made when new. */
static struct reg_token *entry(struct reg_client *c, const char *key)
{
        struct reg_token *t, **slot;

        for (size_t i = 0; i < c->tokens.n; i++)
                if (str_eq(c->tokens.v[i]->key, key))
                        return c->tokens.v[i];
        t = mem_zalloc(1, sizeof(*t));
        slot = t ? reg_tokens_push(&c->tokens) : NULL;
        if (!slot || !(t->key = mem_strdup(key))) {
                if (slot)
                        c->tokens.n--;
                free(t);
                return NULL;
        }
        *slot = t;
        return t;
}

/* 90 % of its life, or ten seconds less, and enough for what is to come. */
static bool good(const struct reg_token *t, int64_t fresh_ms)
{
        int64_t now = time_mono_ns(), life = t->expires_ns - t->got_ns, end;

        if (!t->text)
                return false;
        end = MAX(t->got_ns + life / 10 * 9, t->expires_ns - 10 * SECOND);
        return now < end && t->expires_ns - now >= MIN(fresh_ms * 1000000, life / 2);
}

static int fetch(struct exchange *e, struct reg_token *t, struct bld_err *err)
{
        AUTO(reg_token_reply_done) struct reg_token_reply reply = {0};
        AUTO_FREE char *refresh = NULL;
        struct reg_client *c = e->c;
        int r;

        (void)pthread_mutex_lock(&c->lock);
        refresh = t->refresh ? mem_strdup(t->refresh) : NULL;
        (void)pthread_mutex_unlock(&c->lock);
        e->refresh = refresh;
        r = run_exchange(e, &reply, err);
        (void)pthread_mutex_lock(&c->lock);
        if (r == 0) {
                reg_secret_free(t->text);
                t->text = TAKE_PTR(&reply.token);
                if (reply.refresh) {
                        reg_secret_free(t->refresh);
                        t->refresh = TAKE_PTR(&reply.refresh);
                }
                t->got_ns = time_mono_ns();
                t->expires_ns = t->got_ns + reply.lifetime_s * SECOND;
        }
        t->busy = false;
        (void)pthread_cond_broadcast(&c->cond);
        (void)pthread_mutex_unlock(&c->lock);
        return r;
}

static int get(struct exchange *e, const char *key, int64_t fresh_ms, char **ret,
               int64_t *ret_got_ns, struct bld_err *err)
{
        struct reg_client *c = e->c;

        for (;;) {
                struct reg_token *t;
                char *copy = NULL;
                int r = reg_check(c, err);

                if (r < 0)
                        return r;
                (void)pthread_mutex_lock(&c->lock);
                t = entry(c, key);
                while (t && t->busy && !c->cancelled)
                        (void)pthread_cond_wait(&c->cond, &c->lock);
                if (t && t->busy) { /* cancelled: the check above says so */
                        (void)pthread_mutex_unlock(&c->lock);
                        continue;
                }
                if (t && good(t, fresh_ms)) {
                        copy = mem_strdup(t->text);
                        *ret_got_ns = t->got_ns;
                }
                if (t && !copy)
                        t->busy = true;
                (void)pthread_mutex_unlock(&c->lock);
                if (!t)
                        return err_nomem(err, "keep a token");
                if (copy) {
                        *ret = copy;
                        return 0;
                }
                r = fetch(e, t, err);
                if (r < 0)
                        return r;
                fresh_ms = 0; /* fresher there is none */
        }
}

int reg_token_get(struct reg_client *c, struct reg_repo *repo, const struct reg_creds *k,
                  const struct strv *scopes, int64_t fresh_ms, char **ret, int64_t *ret_got_ns,
                  struct bld_err *err)
{
        struct exchange e = {.c = c, .repo = repo, .k = k, .scopes = scopes};
        AUTO_FREE char *realm = NULL, *service = NULL, *literal = NULL, *key = NULL;
        AUTO_SB struct sb what = SB_INIT(1024);
        bool https;
        int r;

        (void)pthread_mutex_lock(&c->lock);
        realm = repo->auth.realm ? mem_strdup(repo->auth.realm) : NULL;
        service = repo->auth.service ? mem_strdup(repo->auth.service) : NULL;
        literal = repo->auth.scope ? mem_strdup(repo->auth.scope) : NULL;
        https = repo->host->scheme != REG_SCHEME_HTTP;
        (void)pthread_mutex_unlock(&c->lock);
        e.service = service;
        e.literal = literal && !strv_has(scopes, literal) ? literal : NULL;
        r = reg_realm_check(c, repo, https, realm, &e.realm, err);
        if (r < 0)
                return r;
        sb_fmt(&what, "token for %s", repo->shown);
        e.what = sb_take(&what);
        key = cache_key(&e, realm);
        r = e.what && key ? get(&e, key, fresh_ms, ret, ret_got_ns, err)
                          : err_nomem(err, "keep a token");
        free(e.what);
        reg_url_done(&e.realm);
        return r;
}
