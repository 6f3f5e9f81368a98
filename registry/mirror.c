/* Where to pull from: mirrors first, the origin last. A mirror is simply another repository with
 * credentials of its own; digests make it safe to take blobs from any of them. */
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "base/num.h"
#include "registry/client_priv.h"
#include "registry/conf_priv.h"

#define DOWN_NS (60 * INT64_C(1000000000))

int reg_mirror_parse(const char *dst, char **ret_host, char **ret_path, bool *ret_plain,
                     struct bld_err *err)
{
        AUTO_SB struct sb url = SB_INIT(REG_URL_MAX);
        AUTO_FREE char *host = NULL, *path = NULL;
        AUTO_URL struct reg_url u = {0};
        size_t n;
        int r;

        *ret_plain = strncasecmp(dst, "http://", 7) == 0;
        sb_fmt(&url, "%s%s", strstr(dst, "://") ? "" : "https://", dst);
        r = reg_url_parse(sb_text(&url), &u, err);
        if (r < 0)
                return r;
        if (strchr(u.rest, '?'))
                return err_set(err, BLD_E_INVALID, "a mirror has no query");
        sb_reset(&url);
        sb_str(&url, u.host);
        if (u.has_port)
                sb_fmt(&url, ":%u", u.port);
        host = mem_strdup(sb_text(&url));
        n = strlen(u.rest);
        while (n > 1 && u.rest[n - 1] == '/')
                n--;
        path = mem_strndup(u.rest + 1, n - 1);
        if (!host || !path)
                return err_nomem(err, "read a mirror");
        *ret_host = TAKE_PTR(&host);
        *ret_path = TAKE_PTR(&path);
        return 0;
}

/* What of the repository is behind SRC: "library/x" for "docker.io". NULL: SRC is another. */
static const char *behind(const char *shown, const char *src, size_t n)
{
        if (strncmp(shown, src, n) != 0)
                return NULL;
        if (!shown[n])
                return "";
        return shown[n] == '/' ? shown + n + 1 : NULL;
}

static bool down(struct reg_client *c, const struct reg_host *h)
{
        int64_t at;

        (void)pthread_mutex_lock(&c->lock);
        at = h->down_ns;
        (void)pthread_mutex_unlock(&c->lock);
        return at != 0 && time_mono_ns() - at < DOWN_NS;
}

static int add_mirror(struct reg_client *c, const char *dst, const char *rest, bool insecure,
                      struct reg_places *p, struct bld_err *err)
{
        AUTO_FREE char *host = NULL, *prefix = NULL;
        AUTO_SB struct sb path = SB_INIT(4096);
        struct reg_repo *repo = NULL;
        bool plain;
        int r = reg_mirror_parse(dst, &host, &prefix, &plain, err);

        if (r < 0)
                return err_wrap(err, r, "mirror \"%.100s\"", dst);
        rest += *rest == '/';
        sb_fmt(&path, "%s%s%s", prefix, *prefix && *rest ? "/" : "", rest);
        r = reg_repo_of_mirror(c, host, sb_text(&path), insecure, &repo, err);
        if (r < 0)
                return r;
        if (p->n < REG_PLACES_MAX - 1 && (c->mirror_only || !down(c, repo->host)))
                p->v[p->n++] = repo;
        return 0;
}

/* --mirror and $BLD_MIRRORS. */
static int add_given(struct reg_client *c, const char *name, struct reg_places *p,
                     struct bld_err *err)
{
        int r = 0;

        for (size_t i = 0; r == 0 && i < c->mirrors.n; i++) {
                const char *text = c->mirrors.v[i], *eq = strchr(text, '='), *rest;

                if (!eq || eq == text || !eq[1])
                        return err_set(err, BLD_E_USAGE, "--mirror needs SRC=DST, not \"%s\"",
                                       text);
                rest = behind(name, text, (size_t)(eq - text));
                if (rest)
                        r = add_mirror(c, eq + 1, rest, false, p, err);
        }
        return r;
}

/* Those of registries.conf, for names of the kind that is asked for. */
static int add_configured(struct reg_client *c, const struct reg_conf_entry *e, const char *rest,
                          bool by_digest, struct reg_places *p, struct bld_err *err)
{
        int r = 0;

        for (size_t i = 0; r == 0 && i < e->mirrors.n; i++) {
                const struct reg_conf_mirror *m = &e->mirrors.v[i];

                if (m->use != REG_CONF_ALL && by_digest != (m->use == REG_CONF_DIGESTS))
                        continue;
                r = add_mirror(c, m->location, rest, m->insecure, p, err);
        }
        return r;
}

int reg_conf_get(struct reg_client *c, const struct reg_conf **ret, struct bld_err *err)
{
        int r = 0;

        (void)pthread_mutex_lock(&c->conf_lock);
        if (!c->conf) {
                struct reg_conf *f = mem_alloc(sizeof(*f));

                r = f ? 0 : err_nomem(err, "read registries.conf");
                if (f) {
                        reg_conf_init(f);
                        r = reg_conf_load(f, err);
                }
                if (r == 0) {
                        c->conf = f;
                } else if (f) {
                        reg_conf_done(f);
                        free(f);
                }
        }
        *ret = c->conf;
        (void)pthread_mutex_unlock(&c->conf_lock);
        return r;
}

int reg_conf_of(struct reg_client *c, const struct img_ref *ref, struct sb *ret_name,
                const struct reg_conf_entry **ret, const char **ret_rest, struct bld_err *err)
{
        const struct reg_conf *conf = NULL;
        int r = reg_conf_get(c, &conf, err);

        if (r < 0)
                return r;
        sb_fmt(ret_name, "%s/%s", ref->domain, ref->path);
        r = sb_check(ret_name, "look up a repository", err);
        if (r < 0)
                return r;
        *ret = reg_conf_find(conf, sb_text(ret_name), ret_rest);
        if (*ret && (*ret)->blocked)
                return err_set(err, BLD_E_POLICY, "%s: registries.conf blocks \"%s\"",
                               sb_text(ret_name), (*ret)->prefix);
        return 0;
}

int reg_short_name(struct reg_client *c, const char *name, char **ret, struct bld_err *err)
{
        const struct reg_conf *conf = NULL;
        const char *to;
        int r = reg_conf_get(c, &conf, err);

        if (r < 0)
                return r;
        to = map_get(&conf->aliases, name);
        if (!to || !*to)
                return 0;
        *ret = mem_strdup(to);
        return *ret ? 1 : err_nomem(err, "look up a short name");
}

int reg_places_get(struct reg_client *c, const struct img_ref *ref, bool by_digest,
                   struct reg_places *ret, struct bld_err *err)
{
        AUTO_SB struct sb name = SB_INIT(8192);
        const struct reg_conf_entry *e = NULL;
        struct reg_repo *origin = NULL;
        const char *rest = NULL;
        int r = reg_repo_get(c, ref, &origin, err);

        ret->n = 0;
        if (r == 0)
                r = reg_conf_of(c, ref, &name, &e, &rest, err);
        if (r == 0)
                r = add_given(c, sb_text(&name), ret, err);
        /* flags replace files */
        if (r == 0 && ret->n == 0 && e)
                r = add_configured(c, e, rest, by_digest, ret, err);
        if (r < 0)
                return r;
        if (ret->n == 0 || !c->mirror_only)
                ret->v[ret->n++] = origin;
        return 0;
}

bool reg_places_next(struct reg_client *c, struct reg_places *p, size_t i, int r,
                     struct bld_err *why)
{
        const char *text = why->msg[0] ? why->msg : "nothing there";
        bool final = r == BLD_E_CANCELLED || r == BLD_E_NOMEM || r == BLD_E_BUG || c->offline;

        if (i + 1 >= p->n || final) {
                for (size_t k = 0; k < i && !final; k++)
                        err_why(why, r, "before: %s", p->failed[k]);
                return false;
        }
        (void)snprintf(p->failed[i], sizeof(p->failed[i]), "mirror %s: %.*s", p->v[i]->host->name,
                       (int)strcspn(text, "\n"), text);
        reg_note(c, "mirror %s: %.*s; trying %s", p->v[i]->host->name, (int)strcspn(text, "\n"),
                 text, p->v[i + 1]->host->name);
        err_clear(why);
        return true;
}
