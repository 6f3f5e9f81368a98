/* Agents named by --ssh. */
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/opt.h"
#include "builder/source/source_priv.h"

struct ssh_agent {
        char *id, *path;
};

struct ssh_agents {
        struct ssh_agent *v;
        size_t n;
};

void ssh_agents_free(struct ssh_agents *a)
{
        if (!a)
                return;
        for (size_t i = 0; i < a->n; i++) {
                free(a->v[i].id);
                free(a->v[i].path);
        }
        free(a->v);
        free(a);
}

const char *ssh_agents_get(const struct ssh_agents *a, const char *id)
{
        for (size_t i = a ? a->n : 0; i-- > 0;) /* the last one given wins */
                if (strcmp(a->v[i].id, id) == 0)
                        return a->v[i].path;
        return NULL;
}

/* ID[=SOCKET]. bld has no agent of its own, so keys are the agent's to hold. */
static int parse_one(struct ssh_agent *a, const char *spec, struct bld_err *err)
{
        const char *eq = strchr(spec, '='), *path = eq ? eq + 1 : getenv("SSH_AUTH_SOCK");
        struct stat st;

        a->id = mem_strndup(spec, eq ? (size_t)(eq - spec) : strlen(spec));
        if (!a->id)
                return err_nomem(err, "--ssh");
        if (!*a->id || (eq && !*path))
                return err_set(err, BLD_E_USAGE, "--ssh \"%.200s\" is not of the form ID[=SOCKET]",
                               spec);
        if (!path || !*path)
                return err_try(err,
                               err_set(err, BLD_E_USAGE,
                                       "--ssh %.100s: there is no agent, SSH_AUTH_SOCK is not set",
                                       a->id),
                               "eval \"$(ssh-agent)\"; ssh-add");
        if (strchr(path, ',') || stat(path, &st) < 0 || !S_ISSOCK(st.st_mode)) {
                (void)err_set(err, BLD_E_USAGE,
                              "--ssh %.100s: \"%.300s\" is not the socket of an agent", a->id,
                              path);
                return err_try(err, BLD_E_USAGE,
                               "ssh-add KEY, and name the agent: bld forwards agents, not keys");
        }
        a->path = mem_strdup(path);
        return a->path ? 0 : err_nomem(err, "--ssh");
}

int ssh_agents_new(const struct bld_list *specs, struct ssh_agents **ret, struct bld_err *err)
{
        struct ssh_agents *a = mem_zalloc(1, sizeof(*a));
        int r = 0;

        if (a)
                a->v = mem_zalloc(specs->n, sizeof(*a->v));
        if (!a || !a->v)
                r = err_nomem(err, "--ssh");
        for (size_t i = 0; i < specs->n && r == 0; i++) {
                a->n = i + 1;
                r = parse_one(&a->v[i], specs->v[i], err);
        }
        if (r < 0) {
                ssh_agents_free(a);
                return r;
        }
        *ret = a;
        return 0;
}
