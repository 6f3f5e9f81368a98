/* The client object: its life, its hosts and repositories. */
#include "registry/client_priv.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <strings.h>
#include <time.h>

#include "base/err.h"
#include "base/num.h"
#include "registry/conf_priv.h"

static const struct reg_timing usual_timing = {
        .connect = 30000,
        .probe = 10000,
        .headers = 60000,
        .final_headers = 300000,
        .stall = 60000,
        .backoff = 1000,
        .backoff_max = 30000,
        .resume = 1000,
        .mirror = 5000,
        .lag = 3000,
};

static void host_free(void *p)
{
        struct reg_host *h = p;

        free(h->name);
        reg_tls_done(&h->tls);
        free(h);
}

static void repo_free(void *p)
{
        struct reg_repo *r = p;

        free(r->path);
        free(r->shown);
        free(r->key);
        free(r->auth.realm);
        free(r->auth.service);
        free(r->auth.scope);
        free(r);
}

static int copy_opts(struct reg_client *c, const struct reg_opts *o, struct bld_err *err)
{
        const struct {
                const struct strv *from;
                struct strv *to;
        } lists[] = {
                {o->insecure, &c->insecure},         {o->cas, &c->cas},
                {o->client_certs, &c->client_certs}, {o->helpers, &c->helpers},
                {o->mirrors, &c->mirrors},
        };

        /* not only once credentials are asked for: a typo would turn into an anonymous pull */
        if (o->authfile && !o->creds && access(o->authfile, F_OK) < 0 && errno == ENOENT)
                return err_set(err, BLD_E_NOT_FOUND, "auth file \"%s\" does not exist",
                               o->authfile);
        if ((o->authfile && !(c->authfile = mem_strdup(o->authfile))) ||
            (o->creds && !(c->creds = mem_strdup(o->creds))) ||
            (o->cert_dir && !(c->cert_dir = mem_strdup(o->cert_dir))))
                return err_nomem(err, "set up the registry client");
        for (size_t i = 0; i < ARRAY_LEN(lists); i++)
                if (lists[i].from && strv_copy(lists[i].to, lists[i].from) < 0)
                        return err_nomem(err, "set up the registry client");
        c->no_tls_verify = o->no_tls_verify;
        c->offline = o->offline;
        c->mirror_only = o->mirror_only;
        c->retries = o->no_retry ? 0 : o->retries ? o->retries : 4;
        c->retries_unanswered =
                MIN(o->retries_unanswered ? o->retries_unanswered : c->retries, c->retries);
        c->retry_max_ms = o->retry_max_ms ? o->retry_max_ms : 600000;
        c->parallel = o->parallel ? o->parallel : 6;
        c->limit_rate = o->limit_rate;
        c->cancel = o->cancel;
        c->note = o->note;
        c->user = o->user;
        return 0;
}

int reg_cond_init(pthread_cond_t *c)
{
        pthread_condattr_t attr;
        int r = pthread_condattr_init(&attr);

        if (r != 0)
                return r;
        (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
        r = pthread_cond_init(c, &attr);
        (void)pthread_condattr_destroy(&attr);
        return r;
}

/* Locks and tables; from here on reg_client_free knows what to undo. */
static int client_init(struct reg_client *c, struct bld_err *err)
{
        int r = reg_cond_init(&c->cond);

        if (r != 0)
                return err_sys(err, r, "set up the registry client");
        (void)pthread_mutex_init(&c->lock, NULL);
        (void)pthread_mutex_init(&c->creds_lock, NULL);
        (void)pthread_mutex_init(&c->conf_lock, NULL);
        c->timing = usual_timing;
        map_init(&c->hosts, host_free);
        map_init(&c->repos, repo_free);
        map_init(&c->noted, NULL);
        map_init(&c->realms, free);
        map_init(&c->creds_seen, NULL);
        map_init(&c->helper_answers, reg_helper_answer_free);
        return 0;
}

int reg_client_new(const struct reg_opts *o, struct reg_client **ret, struct bld_err *err)
{
        struct reg_client *c = mem_zalloc(1, sizeof(*c));
        int r;

        if (!c)
                return err_nomem(err, "set up the registry client");
        r = client_init(c, err);
        if (r < 0) {
                free(c);
                return r;
        }
        r = copy_opts(c, o, err);
        if (r < 0) {
                reg_client_free(c);
                return r;
        }
        *ret = c;
        return 0;
}

void reg_client_free(struct reg_client *c)
{
        if (!c)
                return;
        engine_stop(c);
        free(c->authfile);
        free(c->cert_dir);
        reg_secret_free(c->creds);
        strv_done(&c->insecure);
        strv_done(&c->cas);
        strv_done(&c->client_certs);
        strv_done(&c->http_headers);
        strv_done(&c->helpers);
        strv_done(&c->mirrors);
        strv_done(&c->notes);
        map_done(&c->noted);
        map_done(&c->repos);
        map_done(&c->hosts);
        map_done(&c->realms);
        map_done(&c->creds_seen);
        map_done(&c->helper_answers);
        for (size_t i = 0; i < c->creds_all.n; i++)
                reg_creds_free(c->creds_all.v[i]);
        reg_creds_list_done(&c->creds_all);
        reg_tokens_free(&c->tokens);
        if (c->conf)
                reg_conf_done(c->conf);
        free(c->conf);
        (void)pthread_mutex_destroy(&c->conf_lock);
        (void)pthread_mutex_destroy(&c->creds_lock);
        (void)pthread_mutex_destroy(&c->lock);
        (void)pthread_cond_destroy(&c->cond);
        free(c);
}

uint64_t reg_request_count(const struct reg_client *c)
{
        return atomic_load(&c->requests);
}

int reg_check(struct reg_client *c, struct bld_err *err)
{
        return cancel_check(c->cancel, err);
}

int reg_sleep(struct reg_client *c, int64_t ms, struct bld_err *err)
{
        int64_t until = time_mono_ns() + ms * 1000000;
        struct timespec ts = {.tv_sec = until / 1000000000, .tv_nsec = until % 1000000000};

        (void)pthread_mutex_lock(&c->lock);
        while (!c->cancelled && time_mono_ns() < until)
                (void)pthread_cond_timedwait(&c->cond, &c->lock, &ts);
        (void)pthread_mutex_unlock(&c->lock);
        return reg_check(c, err);
}

/* Every span takes its turn on one clock, so that the sum of all transfers keeps to the rate. */
int reg_rate_wait(struct reg_client *c, size_t n, struct bld_err *err)
{
        int64_t now, at;

        if (c->limit_rate == 0 || n == 0)
                return 0;
        now = time_mono_ns();
        (void)pthread_mutex_lock(&c->lock);
        at = MAX(c->rate_free_ns, now);
        c->rate_free_ns = at + (int64_t)((double)n * 1e9 / (double)c->limit_rate);
        (void)pthread_mutex_unlock(&c->lock);
        return at > now ? reg_sleep(c, (at - now) / 1000000, err) : 0;
}

/* A tenth of a second's worth: waits stay short and the flow even. */
size_t reg_rate_span(const struct reg_client *c, size_t n)
{
        return c->limit_rate ? (size_t)MIN((uint64_t)n, MAX(c->limit_rate / 10, UINT64_C(1))) : n;
}

/* Is the host in a list, with its port, without, or as a bare name for all ports? */
static bool listed(const struct strv *list, const char *name)
{
        const char *close = strrchr(name, ']');
        const char *colon = strrchr(close ? close : name, ':');

        for (size_t i = 0; i < list->n; i++) {
                const char *s = list->v[i];

                if (strcasecmp(s, name) == 0)
                        return true;
                if (colon && strlen(s) == (size_t)(colon - name) &&
                    strncasecmp(s, name, (size_t)(colon - name)) == 0)
                        return true;
        }
        return false;
}

/* Was the host given as "http://..." in a mirror? */
static bool plain_mirror(const struct reg_client *c, const char *name)
{
        for (size_t i = 0; i < c->mirrors.n; i++) {
                const char *eq = strchr(c->mirrors.v[i], '=');
                AUTO_FREE char *host = NULL, *path = NULL;
                bool plain = false;

                if (eq && reg_mirror_parse(eq + 1, &host, &path, &plain, NULL) == 0 && plain &&
                    strcasecmp(host, name) == 0)
                        return true;
        }
        return false;
}

static struct reg_host *host_new(const struct reg_client *c, const char *name)
{
        struct reg_host *h = mem_zalloc(1, sizeof(*h));
        AUTO_FREE char *bare = mem_strdup(name);
        char *close, *colon;

        if (!h || !bare || !(h->name = mem_strdup(name))) {
                free(h);
                return NULL;
        }
        close = strrchr(bare, ']');
        colon = strrchr(close ? close : bare, ':');
        if (colon) {
                *colon = 0;
                h->has_port = true;
        }
        sb_init(&h->tls.ca, 16u << 20);
        h->loopback = reg_addr_class(bare) == REG_ADDR_LOOPBACK;
        h->insecure = listed(&c->insecure, name);
        if (plain_mirror(c, name)) {
                h->insecure = true;
                h->scheme = REG_SCHEME_HTTP;
        }
        h->addr = reg_addr_class(bare);
        h->blob_limit = c->parallel;
        reg_host_known(h);
        return h;
}

int reg_host_get(struct reg_client *c, const char *name, struct reg_host **ret, struct bld_err *err)
{
        AUTO_FREE char *key = mem_strdup(name);
        struct reg_host *h;

        if (!key)
                return err_nomem(err, "look up a host");
        for (char *p = key; *p; p++)
                *p = (char)tolower((unsigned char)*p);
        (void)pthread_mutex_lock(&c->lock);
        h = map_get(&c->hosts, key);
        if (!h) {
                h = host_new(c, key);
                if (h && map_set(&c->hosts, key, h) < 0) {
                        host_free(h);
                        h = NULL;
                }
        }
        (void)pthread_mutex_unlock(&c->lock);
        if (!h)
                return err_nomem(err, "look up a host");
        *ret = h;
        return 0;
}

int reg_host_of_url(struct reg_client *c, const struct reg_url *u, struct reg_host **ret,
                    struct bld_err *err)
{
        AUTO_SB struct sb b = SB_INIT(512);

        sb_str(&b, u->host);
        if (u->port != (u->https ? 443u : 80u))
                sb_fmt(&b, ":%u", u->port);
        return reg_host_get(c, sb_text(&b), ret, err);
}

bool reg_host_plain_ok(const struct reg_host *h)
{
        return h->insecure || h->loopback;
}

/* docker.io is a name, its registry answers under another one. */
static const char *wire_host(const char *domain)
{
        return str_eq(domain, "docker.io") ? "registry-1.docker.io" : domain;
}

static struct reg_repo *repo_new(const char *domain, const char *path, const char *key,
                                 struct reg_host *h)
{
        AUTO_SB struct sb b = SB_INIT(4096);
        struct reg_repo *r = mem_zalloc(1, sizeof(*r));

        if (!r)
                return NULL;
        sb_fmt(&b, "%s%s%s", domain, *path ? "/" : "", path);
        r->host = h;
        r->path = mem_strdup(path);
        r->shown = sb_take(&b);
        r->key = mem_strdup(key);
        if (!r->path || !r->shown || !r->key) {
                repo_free(r);
                return NULL;
        }
        return r;
}

static int repo_get(struct reg_client *c, const char *domain, const char *path, bool mirror,
                    struct reg_repo **ret, struct bld_err *err)
{
        AUTO_SB struct sb key = SB_INIT(4096);
        struct reg_host *h = NULL;
        struct reg_repo *repo;
        int r = reg_host_get(c, wire_host(domain), &h, err);

        if (r < 0)
                return r;
        sb_fmt(&key, "%s %s%s", domain, path, mirror ? " mirror" : "");
        r = sb_check(&key, "look up a repository", err);
        if (r < 0)
                return r;
        (void)pthread_mutex_lock(&c->lock);
        h->registry = true;
        repo = map_get(&c->repos, sb_text(&key));
        if (!repo) {
                repo = repo_new(domain, path, sb_text(&key), h);
                if (repo)
                        repo->mirror = mirror;
                if (repo && map_set(&c->repos, sb_text(&key), repo) < 0) {
                        repo_free(repo);
                        repo = NULL;
                }
        }
        (void)pthread_mutex_unlock(&c->lock);
        if (!repo)
                return err_nomem(err, "look up a repository");
        *ret = repo;
        return 0;
}

static void allow_plain(struct reg_client *c, struct reg_host *h)
{
        (void)pthread_mutex_lock(&c->lock);
        if (!h->insecure && h->scheme == REG_SCHEME_HTTPS)
                h->scheme = REG_SCHEME_UNKNOWN; /* plain HTTP was not thought of */
        h->insecure = true;
        (void)pthread_mutex_unlock(&c->lock);
}

/* Where registries.conf moves a prefix to, for pulls and pushes. */
static int repo_moved(struct reg_client *c, const struct reg_conf_entry *e, const char *name,
                      const char *rest, struct reg_repo **ret, struct bld_err *err)
{
        AUTO_SB struct sb to = SB_INIT(8192);
        const char *slash;
        int r;

        sb_fmt(&to, "%.*s%s", (int)(rest - name), name, rest);
        if (e->location) {
                sb_reset(&to);
                sb_fmt(&to, "%s%s", e->location, rest);
        }
        r = sb_check(&to, "look up a repository", err);
        if (r < 0)
                return r;
        slash = strchr(sb_text(&to), '/');
        if (!slash)
                return err_set(err, BLD_E_INVALID, "registries.conf moves %s to %s, no repository",
                               name, sb_text(&to));
        {
                AUTO_FREE char *host = mem_strndup(sb_text(&to), (size_t)(slash - sb_text(&to)));

                r = host ? repo_get(c, host, slash + 1, false, ret, err)
                         : err_nomem(err, "look up a repository");
        }
        if (r == 0 && e->insecure)
                allow_plain(c, (*ret)->host);
        return r;
}

int reg_repo_get(struct reg_client *c, const struct img_ref *ref, struct reg_repo **ret,
                 struct bld_err *err)
{
        AUTO_SB struct sb name = SB_INIT(8192);
        const struct reg_conf_entry *e = NULL;
        const char *rest = NULL;
        int r;

        if (!ref->domain || !ref->path || !*ref->path)
                return err_set(err, BLD_E_BUG, "a reference without a repository");
        r = reg_conf_of(c, ref, &name, &e, &rest, err);
        if (r < 0)
                return r;
        return e ? repo_moved(c, e, sb_text(&name), rest, ret, err)
                 : repo_get(c, ref->domain, ref->path, false, ret, err);
}

int reg_repo_of_host(struct reg_client *c, const char *host, struct reg_repo **ret,
                     struct bld_err *err)
{
        AUTO_SB struct sb url = SB_INIT(1024);
        AUTO_URL struct reg_url u = {0};
        int r;

        /* a user typed it: it must be an authority and nothing else */
        sb_fmt(&url, "https://%s", host);
        if (strpbrk(host, "/?#") || reg_url_parse(sb_text(&url), &u, NULL) < 0) {
                AUTO_SB struct sb safe = SB_INIT(1024);

                reg_safe(&safe, host, strlen(host), 100);
                r = err_set(err, BLD_E_INVALID, "\"%s\" is not a registry's host name",
                            sb_text(&safe));
                return r;
        }
        return repo_get(c, host, "", false, ret, err);
}

int reg_repo_of_mirror(struct reg_client *c, const char *host, const char *path, bool insecure,
                       struct reg_repo **ret, struct bld_err *err)
{
        int r = repo_get(c, host, path, true, ret, err);

        if (r == 0 && insecure)
                allow_plain(c, (*ret)->host);
        return r;
}
