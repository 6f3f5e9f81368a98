/* Agents named by --ssh: a socket, or key files of which bld is the agent. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/opt.h"
#include "base/sshkey.h"
#include "builder/source/agent_priv.h"
#include "builder/source/source_priv.h"

#define KEY_FILE_MAX (64u << 10)

struct ssh_agent {
        char *id;
        struct agent_source source;
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
                free(a->v[i].source.path);
                for (size_t k = 0; k < a->v[i].source.nkeys; k++)
                        ssh_key_free(a->v[i].source.keys[k]);
                free(a->v[i].source.keys);
        }
        free(a->v);
        free(a);
}

const struct agent_source *ssh_agents_get(const struct ssh_agents *a, const char *id)
{
        for (size_t i = a ? a->n : 0; i-- > 0;) /* the last one given wins */
                if (strcmp(a->v[i].id, id) == 0)
                        return &a->v[i].source;
        return NULL;
}

static int add_key(struct ssh_agent *a, const char *path, struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(KEY_FILE_MAX);
        int r = file_read(AT_FDCWD, path, &text, err);

        if (r == 0)
                r = ssh_key_parse(sb_text(&text), text.len, &a->source.keys[a->source.nkeys], err);
        if (text.buf)
                explicit_bzero(text.buf, text.len);
        if (r == 0) {
                a->source.nkeys++;
                return 0;
        }
        if (r != BLD_E_NOMEM)
                (void)err_recode(err, BLD_E_USAGE);
        err_wrap(err, r, "--ssh %.100s: \"%.300s\"", a->id, path);
        if (r == BLD_E_UNSUPPORTED)
                (void)err_try(err, r, "ssh-add it to an agent, and name the agent's socket");
        return r == BLD_E_NOMEM ? r : BLD_E_USAGE;
}

/* FILE[,FILE]... */
static int add_keys(struct ssh_agent *a, const char *paths, struct bld_err *err)
{
        AUTO_STRV struct strv list = {0};
        int r = csv_split(paths, &list, err);

        if (r < 0)
                return err_recode(err, BLD_E_USAGE);
        a->source.keys = mem_zalloc(list.n, sizeof(struct ssh_key *));
        if (!a->source.keys)
                return err_nomem(err, "--ssh");
        for (size_t i = 0; i < list.n && r == 0; i++)
                r = add_key(a, list.v[i], err);
        return r;
}

/* ID[=SOCKET] or ID=KEY[,KEY] */
static int parse_one(struct ssh_agent *a, const char *spec, struct bld_err *err)
{
        const char *eq = strchr(spec, '='), *path = eq ? eq + 1 : getenv("SSH_AUTH_SOCK");
        struct stat st;

        a->id = mem_strndup(spec, eq ? (size_t)(eq - spec) : strlen(spec));
        if (!a->id)
                return err_nomem(err, "--ssh");
        if (!*a->id || (eq && !*path))
                return err_set(err, BLD_E_USAGE,
                               "--ssh \"%.200s\" is not of the form ID[=SOCKET|KEY]", spec);
        if (!path || !*path)
                return err_try(err,
                               err_set(err, BLD_E_USAGE,
                                       "--ssh %.100s: there is no agent, SSH_AUTH_SOCK is not set",
                                       a->id),
                               "--ssh %.100s=KEYFILE, or eval \"$(ssh-agent)\"; ssh-add", a->id);
        if (stat(path, &st) == 0 && S_ISSOCK(st.st_mode)) {
                a->source.path = mem_strdup(path);
                return a->source.path ? 0 : err_nomem(err, "--ssh");
        }
        if (!eq)
                return err_set(err, BLD_E_USAGE,
                               "--ssh %.100s: \"%.300s\" of SSH_AUTH_SOCK is not the socket of an "
                               "agent",
                               a->id, path);
        return add_keys(a, path, err);
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
