/* Where to pull from: mirrors first, the origin last. A mirror is simply another repository with
 * credentials of its own; digests make it safe to take blobs from any of them. */
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "base/num.h"
#include "registry/client_priv.h"

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

static int add_mirror(struct reg_client *c, const char *dst, const char *rest, struct reg_places *p,
                      struct bld_err *err)
{
        AUTO_FREE char *host = NULL, *prefix = NULL;
        AUTO_SB struct sb path = SB_INIT(4096);
        struct reg_repo *repo = NULL;
        bool plain;
        int r = reg_mirror_parse(dst, &host, &prefix, &plain, err);

        if (r < 0)
                return err_wrap(err, r, "--mirror");
        sb_fmt(&path, "%s%s%s", prefix, *prefix && *rest ? "/" : "", rest);
        r = reg_repo_of_mirror(c, host, sb_text(&path), &repo, err);
        if (r < 0)
                return r;
        if (p->n < REG_PLACES_MAX - 1 && (c->mirror_only || !down(c, repo->host)))
                p->v[p->n++] = repo;
        return 0;
}

int reg_places_get(struct reg_client *c, const struct img_ref *ref, struct reg_places *ret,
                   struct bld_err *err)
{
        struct reg_places p = {0};
        struct reg_repo *origin = NULL;
        int r = reg_repo_get(c, ref, &origin, err);

        for (size_t i = 0; r == 0 && i < c->mirrors.n; i++) {
                const char *eq = strchr(c->mirrors.v[i], '=');
                const char *rest;

                if (!eq)
                        return err_set(err, BLD_E_USAGE, "--mirror needs SRC=DST, not \"%s\"",
                                       c->mirrors.v[i]);
                rest = behind(origin->shown, c->mirrors.v[i], (size_t)(eq - c->mirrors.v[i]));
                if (rest)
                        r = add_mirror(c, eq + 1, rest, &p, err);
        }
        if (r < 0)
                return r;
        if (p.n == 0 || !c->mirror_only)
                p.v[p.n++] = origin;
        *ret = p;
        return 0;
}

bool reg_places_next(struct reg_client *c, const struct reg_places *p, size_t i, int r,
                     struct bld_err *why)
{
        if (i + 1 >= p->n || r == BLD_E_CANCELLED || r == BLD_E_NOMEM || r == BLD_E_BUG ||
            c->offline)
                return false;
        reg_note(c, "mirror %s: %.*s; trying %s", p->v[i]->host->name, (int)strcspn(why->msg, "\n"),
                 why->msg[0] ? why->msg : "nothing there", p->v[i + 1]->host->name);
        err_clear(why);
        return true;
}
