/* Credentials, where they come from, and bearer tokens. */
#ifndef REGISTRY_AUTH_PRIV_H
#define REGISTRY_AUTH_PRIV_H

#include "base/base.h"
#include "base/cancel.h"
#include "base/json.h"
#include "base/sb.h"
#include "base/vec.h"

struct reg_client;
struct reg_repo;
struct reg_res;
struct reg_url;

/* One set of credentials; immutable once found. Lives in the client's cache. */
struct reg_creds {
        char *user, *pass; /* Basic, or a token exchange */
        char *identity;    /* OAuth2 refresh token */
        char *bearer;      /* used as it is */
        char *source;      /* "~/.docker/config.json", for messages; never secret */
        bool from_helper;
        int64_t found_ns; /* monotonic */
};
void reg_creds_free(struct reg_creds *k);
DEFINE_AUTO_PTR(struct reg_creds, reg_creds_free);
VEC_DEFINE(reg_creds_list, struct reg_creds *);
bool reg_creds_any(const struct reg_creds *k);
/* Overwrite and free. */
void reg_secret_free(char *s);

/* What the registry asked for, per repository. Guarded by the client's lock. */
enum reg_auth_mode { REG_AUTH_UNKNOWN, REG_AUTH_BASIC, REG_AUTH_BEARER };
struct reg_auth {
        enum reg_auth_mode mode;
        char *realm, *service;
        char *scope;    /* demanded and not of the usual form ("aws"): goes back verbatim */
        bool anonymous; /* credentials were refused for pulling: go on without */
};

struct reg_token {
        char *key;     /* realm, service, credentials, scopes */
        char *text;    /* NULL while one thread fetches it */
        char *refresh; /* given by the realm, for the next exchange */
        bool busy;
        int64_t got_ns, expires_ns; /* monotonic */
};
VEC_DEFINE(reg_tokens, struct reg_token *);
void reg_tokens_free(struct reg_tokens *a);

/* ---- challenge and exchange (auth.c, token.c) ---- */

/* Value of an Authorization header for a repository, from what is known: 1 (malloc'ed), 0 none
 * needed so far, negative failure. scopes: what the operation needs. fresh_ms: a token must live at
 * least as long. *ret_token_ns: when the token used was fetched, 0 for others. */
int reg_authorize(struct reg_client *c, struct reg_repo *repo, const struct strv *scopes,
                  int64_t fresh_ms, char **ret, int64_t *ret_token_ns,
                  struct bld_err *err) MUST_CHECK;
/* Take in the challenges of a 401. `sent`: the value refused, or NULL. scopes: grows by what is
 * demanded. 1: send again; 0: no challenge that can be answered; DENIED when there is nothing to
 * answer it with. */
int reg_auth_learn(struct reg_client *c, struct reg_repo *repo, const struct reg_res *res,
                   bool https, const char *sent, struct strv *scopes,
                   struct bld_err *err) MUST_CHECK;
/* Forget the token behind an Authorization value. */
void reg_token_drop(struct reg_client *c, const char *value);
/* Merge scopes given as "a b c" into a list: actions of a resource already there are united, new
 * resources go first, because some servers read only the first. */
int reg_scopes_merge(struct strv *scopes, const char *demanded, struct bld_err *err) MUST_CHECK;

/* Bearer token for a repository's realm; fetched once for all callers that want the same. */
int reg_token_get(struct reg_client *c, struct reg_repo *repo, const struct reg_creds *k,
                  const struct strv *scopes, int64_t fresh_ms, char **ret, int64_t *ret_got_ns,
                  struct bld_err *err) MUST_CHECK;
/* The realm of a challenge, validated against the registry it came from. */
int reg_realm_check(struct reg_client *c, const struct reg_repo *repo, bool registry_https,
                    const char *realm, struct reg_url *ret, struct bld_err *err) MUST_CHECK;
/* Fields of a token reply. */
struct reg_token_reply {
        char *token, *refresh;
        int64_t lifetime_s;
};
int reg_token_reply_parse(const char *text, size_t len, int64_t now_s, struct reg_token_reply *ret,
                          struct bld_err *err) MUST_CHECK;
void reg_token_reply_done(struct reg_token_reply *t);

/* ---- sources (cred.c, auth_file.c, helper.c) ---- */

/* Credentials for a repository; *ret is borrowed from the client's cache, NULL for none. renew:
 * ask a helper again. */
int reg_creds_get(struct reg_client *c, const struct reg_repo *repo, bool renew,
                  const struct reg_creds **ret, struct bld_err *err) MUST_CHECK;
/* Add `why:` lines: which credentials there are, which were used, which helpers failed. false:
 * there are none. Asks nobody. */
bool reg_creds_evidence(struct reg_client *c, const struct reg_repo *repo, struct bld_err *err,
                        int code);
void reg_helper_answer_free(void *p);

/* $HOME, else the account's. Not MT-Safe where HOME is unset. */
const char *reg_home_dir(void);

/* What an auth file says about a repository ("host[:port]", "path"). 1 found, 0 no match.
 * Callbacks run a helper: same answers, or REG_HELPER_FAILED, which the user has been told of. */
#define REG_HELPER_FAILED 2
typedef int (*reg_helper_fn)(void *user, const char *suffix, const char *server,
                             struct reg_creds **ret, struct bld_err *err);
int reg_helper_ask(const char *suffix, const char *host, reg_helper_fn helper, void *user,
                   struct reg_creds **ret, struct bld_err *err) MUST_CHECK;
struct reg_auth_query {
        const char *host, *path;
        bool legacy; /* ~/.dockercfg: the top level is the auths map */
        reg_helper_fn helper;
        void (*warn)(void *user, const char *text);
        void *user;
};
int reg_auth_file_find(const struct js *doc, const struct reg_auth_query *q, struct reg_creds **ret,
                       struct bld_err *err) MUST_CHECK;

/* docker-credential-SUFFIX get. 1 found, 0 not logged in, negative failure. */
int reg_helper_get(const char *suffix, const char *server, int64_t timeout_ms,
                   const struct cancel *cancel, struct reg_creds **ret,
                   struct bld_err *err) MUST_CHECK;
/* Keep credentials; forget them (1 it had some, 0 it had none). */
int reg_helper_store(const char *suffix, const char *server, const char *user, const char *secret,
                     int64_t timeout_ms, const struct cancel *cancel,
                     struct bld_err *err) MUST_CHECK;
int reg_helper_erase(const char *suffix, const char *server, int64_t timeout_ms,
                     const struct cancel *cancel, struct bld_err *err) MUST_CHECK;
bool reg_helper_suffix_ok(const char *suffix);
/* Reply of a helper's get. */
int reg_helper_reply(const char *text, size_t len, struct reg_creds **ret,
                     struct bld_err *err) MUST_CHECK;

/* A key of `auths` as "host" or "host/path", the names of the Hub as one. NULL: no memory. */
char *reg_auth_key(const char *key);
/* The name docker stores credentials of a host (or host/path) under, for files and helpers. */
const char *reg_auth_server(const char *key);
char *reg_base64(const void *p, size_t n); /* malloc'ed; NULL: no memory */
/* Standard alphabet, padding required, surrounding whitespace allowed. Appended to out. */
bool reg_base64_decode(const char *s, struct sb *out);

#endif
