/* Credentials of a repository: the first place with a match wins, one without never hides a later
 * one. Found once and remembered; a helper is asked once per registry. */
#include <string.h>

#include "base/err.h"
#include "base/num.h"
#include "registry/client_priv.h"
#include "registry/cred_priv.h"

#define HELPER_TIMEOUT_MS 30000

/* ---- what helpers answered ---- */

struct reg_helper_answer {
        struct reg_creds *creds; /* NULL: not logged in, or it failed */
        char *trouble;           /* why it failed, or NULL */
};

void reg_helper_answer_free(void *p)
{
        struct reg_helper_answer *a = p;

        reg_creds_free(a->creds);
        free(a->trouble);
        free(a);
}

static char *copy(const char *s, bool *failed)
{
        char *n = s ? mem_strdup(s) : NULL;

        *failed |= s && !n;
        return n;
}

static int creds_copy(const struct reg_creds *k, struct reg_creds **ret, struct bld_err *err)
{
        AUTO(reg_creds_free_p) struct reg_creds *n = mem_zalloc(1, sizeof(*n));
        bool failed = !n;

        if (n) {
                n->user = copy(k->user, &failed);
                n->pass = copy(k->pass, &failed);
                n->identity = copy(k->identity, &failed);
                n->bearer = copy(k->bearer, &failed);
                n->from_helper = k->from_helper;
        }
        if (failed)
                return err_nomem(err, "keep credentials");
        *ret = TAKE_PTR(&n);
        return 1;
}

/* Ask the program. Its trouble is kept with the answer: it is named again where it mattered. */
static int ask(struct reg_cred_search *s, const char *suffix, const char *server,
               struct reg_helper_answer *a, struct bld_err *err)
{
        struct bld_err why = BLD_ERR_INIT;
        int r;

        if (!reg_helper_suffix_ok(suffix)) {
                a->trouble = mem_strdup("credential helper name not understood");
                return a->trouble ? 0 : err_nomem(err, "ask a credential helper");
        }
        r = reg_helper_get(suffix, server, HELPER_TIMEOUT_MS, s->c->cancel, &a->creds, &why);
        if (r >= 0)
                return 0;
        if (why.code == BLD_E_CANCELLED || why.code == BLD_E_NOMEM) {
                err_copy(err, &why);
                return r;
        }
        a->trouble = mem_strdup(why.msg);
        return a->trouble ? 0 : err_nomem(err, "ask a credential helper");
}

int reg_cred_helper(void *search, const char *suffix, const char *server, struct reg_creds **ret,
                    struct bld_err *err)
{
        struct reg_cred_search *s = search;
        AUTO_SB struct sb key = SB_INIT(8192);
        struct reg_helper_answer *a;
        int r;

        sb_fmt(&key, "%s %s", suffix, server);
        r = sb_check(&key, "ask a credential helper", err);
        if (r < 0)
                return r;
        a = map_get(&s->c->helper_answers, sb_text(&key));
        if (!a && s->peek)
                return 0;
        if (!a || (s->renew && a->creds)) {
                a = mem_zalloc(1, sizeof(*a));
                if (!a)
                        return err_nomem(err, "ask a credential helper");
                r = ask(s, suffix, server, a, err);
                if (r == 0 && map_set(&s->c->helper_answers, sb_text(&key), a) < 0)
                        r = err_nomem(err, "ask a credential helper");
                if (r < 0) {
                        reg_helper_answer_free(a);
                        return r;
                }
        }
        if (a->trouble) {
                reg_cred_warn(s, a->trouble);
                return REG_HELPER_FAILED;
        }
        return a->creds ? creds_copy(a->creds, ret, err) : 0;
}

/* ---- the search ---- */

void reg_cred_explain(struct reg_cred_search *s, const char *what)
{
        if (s->explain)
                sb_fmt(s->explain, "%s: %s\n", s->source, what);
        s->told = true;
}

void reg_cred_warn(void *search, const char *text)
{
        struct reg_cred_search *s = search;

        reg_note_once(s->c, "%s: %s", s->source, text);
        reg_cred_explain(s, text);
}

static int search(struct reg_cred_search *s, struct reg_creds **ret, struct bld_err *err)
{
        int r = 0;

        for (size_t i = 0; r == 0 && i < reg_n_cred_sources; i++)
                r = reg_cred_sources[i](s, ret, err);
        return r;
}

/* Search and remember, an empty result too. Under creds_lock. */
static int search_new(struct reg_client *c, const struct reg_repo *repo, bool renew,
                      struct reg_creds **ret, struct bld_err *err)
{
        struct reg_cred_search s = {.c = c, .repo = repo, .renew = renew};
        struct reg_creds *found = NULL, **slot;
        int r = search(&s, &found, err);

        if (r < 0)
                return r;
        if (r == 0)
                found = mem_zalloc(1, sizeof(*found));
        slot = found ? reg_creds_list_push(&c->creds_all) : NULL;
        if (!slot) {
                reg_creds_free(found);
                return err_nomem(err, "keep credentials");
        }
        *slot = found;
        if (map_set(&c->creds_seen, repo->key, found) < 0)
                return err_nomem(err, "keep credentials");
        *ret = found;
        return 0;
}

int reg_creds_get(struct reg_client *c, const struct reg_repo *repo, bool renew,
                  const struct reg_creds **ret, struct bld_err *err)
{
        struct reg_creds *k;
        int r = 0;

        (void)pthread_mutex_lock(&c->creds_lock);
        k = map_get(&c->creds_seen, repo->key);
        if (!k || (renew && k->from_helper))
                r = search_new(c, repo, renew, &k, err);
        (void)pthread_mutex_unlock(&c->creds_lock);
        if (r < 0)
                return r;
        *ret = reg_creds_any(k) ? k : NULL;
        return 0;
}

/* ---- telling about it ---- */

/* user "ann", or what else they are; never the secret */
static void describe(const struct reg_creds *k, struct sb *out)
{
        if (k->user) {
                sb_str(out, "user \"");
                reg_safe(out, k->user, strlen(k->user), 80);
                sb_char(out, '"');
        } else {
                sb_str(out, k->identity ? "an identity token" : "a token");
        }
}

/* All places, in order, also behind the first match. */
static void walk(struct reg_cred_search *s,
                 void (*tell)(const struct reg_creds *k, bool first, void *user), void *user)
{
        bool first = true;

        (void)pthread_mutex_lock(&s->c->creds_lock);
        for (size_t i = 0; i < reg_n_cred_sources; i++) {
                AUTO(reg_creds_free_p) struct reg_creds *k = NULL;
                struct bld_err why = BLD_ERR_INIT;
                int r = reg_cred_sources[i](s, &k, &why);

                if (r < 0 && s->explain) /* the message names the place */
                        sb_fmt(s->explain, "%s\n", why.msg);
                if (r == 1 && reg_creds_any(k)) {
                        tell(k, first, user);
                        first = false;
                }
        }
        (void)pthread_mutex_unlock(&s->c->creds_lock);
}

static void tell_line(const struct reg_creds *k, bool first, void *user)
{
        struct sb *out = user;

        sb_fmt(out, "%s: ", k->source);
        describe(k, out);
        sb_str(out, first ? ", used\n" : ", not used\n");
}

int reg_creds_explain(struct reg_client *c, const struct img_ref *ref, struct sb *out,
                      struct bld_err *err)
{
        struct reg_cred_search s = {.c = c, .explain = out};
        struct reg_repo *repo = NULL;
        int r = reg_repo_get(c, ref, &repo, err);

        if (r < 0)
                return r;
        s.repo = repo;
        walk(&s, tell_line, out);
        return sb_check(out, "explain credentials", err);
}

struct evidence {
        struct bld_err *err;
        int code;
        unsigned lines;
};

static void tell_why(const struct reg_creds *k, bool first, void *user)
{
        AUTO_SB struct sb who = SB_INIT(1024);
        struct evidence *e = user;

        if (e->lines++ >= 4)
                return;
        describe(k, &who);
        err_why(e->err, e->code, "%s%s %s %s",
                first ? "credentials: " : "not used: ", sb_text(&who), first ? "from" : "in",
                k->source);
}

bool reg_creds_evidence(struct reg_client *c, const struct reg_repo *repo, struct bld_err *err,
                        int code)
{
        struct reg_cred_search s = {.c = c, .repo = repo, .peek = true};
        struct evidence e = {.err = err, .code = code};

        walk(&s, tell_why, &e);
        (void)pthread_mutex_lock(&c->creds_lock);
        for (struct map_entry *it = NULL; (it = map_next(&c->helper_answers, it));) {
                const struct reg_helper_answer *a = it->value;

                if (a->trouble && e.lines++ < 6)
                        err_why(err, code, "%s", a->trouble);
        }
        (void)pthread_mutex_unlock(&c->creds_lock);
        return e.lines > 0;
}
