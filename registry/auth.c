/* Challenges and the Authorization header. Credentials go to the registry they are for, and to the
 * token service it names after that was checked; to nobody else. */
#include <string.h>

#include "base/err.h"
#include "base/num.h"
#include "registry/challenge_priv.h"
#include "registry/client_priv.h"

#define RENEW_AFTER_NS (60 * INT64_C(1000000000))

static int basic_value(const struct reg_creds *k, char **ret, struct bld_err *err)
{
        AUTO_SB struct sb pair = SB_INIT(64u << 10), value = SB_INIT(128u << 10);
        char *b64;

        sb_fmt(&pair, "%s:%s", k->user, k->pass);
        b64 = pair.failed ? NULL : reg_base64(pair.buf, pair.len);
        if (pair.buf)
                explicit_bzero(pair.buf, pair.len);
        if (!b64)
                return err_nomem(err, "build a request");
        sb_fmt(&value, "Basic %s", b64);
        reg_secret_free(b64);
        *ret = value.failed ? NULL : sb_take(&value);
        return *ret ? 1 : err_nomem(err, "build a request");
}

static int bearer_value(const char *token, char **ret, struct bld_err *err)
{
        AUTO_SB struct sb value = SB_INIT(128u << 10);

        sb_fmt(&value, "Bearer %s", token);
        *ret = value.failed ? NULL : sb_take(&value);
        return *ret ? 1 : err_nomem(err, "build a request");
}

int reg_authorize(struct reg_client *c, struct reg_repo *repo, const struct strv *scopes,
                  int64_t fresh_ms, char **ret, int64_t *ret_token_ns, struct bld_err *err)
{
        const struct reg_creds *k = NULL;
        enum reg_auth_mode mode;
        char *token = NULL;
        bool anonymous;
        int r;

        (void)pthread_mutex_lock(&c->lock);
        mode = repo->auth.mode;
        anonymous = repo->auth.anonymous;
        (void)pthread_mutex_unlock(&c->lock);
        *ret_token_ns = 0;
        if (mode == REG_AUTH_UNKNOWN)
                return 0;
        if (!anonymous) {
                r = reg_creds_get(c, repo, false, &k, err);
                if (r < 0)
                        return r;
        }
        if (mode == REG_AUTH_BASIC)
                return k && k->user ? basic_value(k, ret, err) : 0;
        if (k && k->bearer)
                return bearer_value(k->bearer, ret, err);
        r = reg_token_get(c, repo, k, scopes, fresh_ms, &token, ret_token_ns, err);
        if (r < 0)
                return r;
        r = bearer_value(token, ret, err);
        reg_secret_free(token);
        return r;
}

/* ---- scopes ---- */

/* Length of "type:name" in "type:name:actions"; names may hold ':'. 0: not of this form. */
static size_t resource_len(const char *scope)
{
        const char *last = strrchr(scope, ':'), *first = strchr(scope, ':');

        return last && first != last ? (size_t)(last - scope) : 0;
}

static bool has_action(const char *list, const char *a, size_t n)
{
        while (*list) {
                size_t len = strcspn(list, ",");

                if (len == n && strncmp(list, a, n) == 0)
                        return true;
                list += len + (list[len] == ',');
        }
        return false;
}

/* Add the actions of `more` that `*scope` lacks. */
static int unite(char **scope, size_t res_len, const char *more, struct bld_err *err)
{
        AUTO_SB struct sb b = SB_INIT(16u << 10);
        char *n;

        sb_str(&b, *scope);
        for (const char *p = more; *p;) {
                size_t len = strcspn(p, ",");

                if (len > 0 && !has_action(*scope + res_len + 1, p, len)) {
                        sb_char(&b, ',');
                        sb_add(&b, p, len);
                }
                p += len + (p[len] == ',');
        }
        n = b.failed ? NULL : sb_take(&b);
        if (!n)
                return err_nomem(err, "merge scopes");
        free(*scope);
        *scope = n;
        return 0;
}

static int merge_one(struct strv *scopes, const char *one, struct bld_err *err)
{
        size_t n = resource_len(one);

        if (strv_has(scopes, one))
                return 0;
        for (size_t i = 0; n > 0 && i < scopes->n; i++)
                if (resource_len(scopes->v[i]) == n && strncmp(scopes->v[i], one, n) == 0)
                        return unite(&scopes->v[i], n, one + n + 1, err);
        if (strv_add(scopes, one) < 0)
                return err_nomem(err, "merge scopes");
        for (size_t i = scopes->n - 1; i > 0; i--) {
                char *s = scopes->v[i];

                scopes->v[i] = scopes->v[i - 1];
                scopes->v[i - 1] = s;
        }
        return 0;
}

int reg_scopes_merge(struct strv *scopes, const char *demanded, struct bld_err *err)
{
        for (const char *p = demanded; *p;) {
                size_t n = strcspn(p, " ");
                AUTO_FREE char *one = mem_strndup(p, n);
                int r = 0;

                if (!one)
                        return err_nomem(err, "merge scopes");
                if (n > 0 && scopes->n < 16)
                        r = merge_one(scopes, one, err);
                if (r < 0)
                        return r;
                p += n + (p[n] == ' ');
        }
        return 0;
}

/* ---- learning from a 401 ---- */

static int set_str(char **dst, const char *s)
{
        char *n = s ? mem_strdup(s) : NULL;

        if (s && !n)
                return BLD_E_NOMEM;
        free(*dst);
        *dst = n;
        return 0;
}

static int learn_bearer(struct reg_client *c, struct reg_repo *repo, bool https,
                        const struct reg_chal *ch, const char *sent, struct strv *scopes,
                        struct bld_err *err)
{
        AUTO_URL struct reg_url realm = {0};
        const char *scope = reg_chal_get(ch, "scope");
        const char *why = reg_chal_get(ch, "error");
        bool was_token = sent && str_has_prefix(sent, "Bearer ");
        size_t before = scopes->n;
        int r;

        r = reg_realm_check(c, repo, https, reg_chal_get(ch, "realm"), &realm, err);
        if (r == 0 && scope)
                r = reg_scopes_merge(scopes, scope, err);
        if (r < 0)
                return r;
        if (was_token) {
                /* asked for and not granted: asking again changes nothing */
                if (str_eq(why, "insufficient_scope") && scopes->n == before)
                        return 0;
                reg_token_drop(c, sent);
        }
        (void)pthread_mutex_lock(&c->lock);
        repo->auth.mode = REG_AUTH_BEARER;
        r = set_str(&repo->auth.realm, reg_chal_get(ch, "realm"));
        if (r == 0)
                r = set_str(&repo->auth.service, reg_chal_get(ch, "service"));
        if (r == 0 && scope && !strchr(scope, ':'))
                r = set_str(&repo->auth.scope, scope);
        (void)pthread_mutex_unlock(&c->lock);
        return r < 0 ? err_nomem(err, "keep a challenge") : 1;
}

static int learn_basic(struct reg_client *c, struct reg_repo *repo, const char *sent,
                       struct bld_err *err)
{
        const struct reg_creds *k = NULL;
        int r = reg_creds_get(c, repo, false, &k, err);

        if (r < 0)
                return r;
        if (k && sent && str_has_prefix(sent, "Basic ")) {
                /* a helper's answer may have aged (cloud tokens do); anything else was refused */
                if (!k->from_helper || time_mono_ns() - k->found_ns < RENEW_AFTER_NS)
                        return 0;
                r = reg_creds_get(c, repo, true, &k, err);
                if (r < 0)
                        return r;
        }
        if (!k || !k->user)
                return 0;
        (void)pthread_mutex_lock(&c->lock);
        repo->auth.mode = REG_AUTH_BASIC;
        (void)pthread_mutex_unlock(&c->lock);
        return 1;
}

int reg_auth_learn(struct reg_client *c, struct reg_repo *repo, const struct reg_res *res,
                   bool https, const char *sent, struct strv *scopes, struct bld_err *err)
{
        AUTO_CHALS struct reg_chals all = {0};
        const struct reg_chal *ch;
        const char *line;

        for (size_t i = 0; (line = reg_res_header(res, "WWW-Authenticate", i)); i++) {
                int r = reg_chal_parse(line, strlen(line), &all, err);

                if (r < 0)
                        return r;
        }
        ch = reg_chal_find(&all, "bearer");
        if (ch && reg_chal_get(ch, "realm"))
                return learn_bearer(c, repo, https, ch, sent, scopes, err);
        if (reg_chal_find(&all, "basic"))
                return learn_basic(c, repo, sent, err);
        if (all.n > 0)
                reg_note_once(c, "%s offers only \"%s\" authentication, which is not supported",
                              repo->host->name, all.v[0].scheme);
        return 0;
}
