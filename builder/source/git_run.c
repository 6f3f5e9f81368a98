/* git as a subprocess. Nothing of the user's configuration reaches it: no system or global config,
 * an empty home, no hooks, no templates, no credential helpers, no prompts, and only protocols that
 * reach another machine. What it must know (secrets above all) is in its environment, where other
 * users cannot read it; nothing that came from a URL is ever an argument. */
#include "builder/source/git_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/wait.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/proc.h"
#include "base/sys.h"
#include "builder/source/agent_priv.h"

#define GIT_OUT_MAX (16u << 20)
#define GIT_ARGS_MAX 32

/* ---- environment ---- */

/* One configuration value, as GIT_CONFIG_KEY_n and GIT_CONFIG_VALUE_n. */
struct config {
        struct strv *env;
        unsigned n;
        int r;
};

static void config(struct config *k, const char *key, const char *value)
{
        if (k->r == 0)
                k->r = strv_addf(k->env, "GIT_CONFIG_KEY_%u=%s", k->n, key);
        if (k->r == 0)
                k->r = strv_addf(k->env, "GIT_CONFIG_VALUE_%u=%s", k->n, value);
        k->n++;
}

static const struct {
        const char *key, *value;
} settings[] = {
        {"core.hooksPath", "/dev/null"},
        {"core.fsmonitor", "false"},
        {"core.autocrlf", "false"},
        {"core.symlinks", "true"},
        {"core.attributesFile", "/dev/null"},
        {"core.excludesFile", "/dev/null"},
        {"credential.helper", ""},
        {"gc.auto", "0"},
        {"maintenance.auto", "false"},
        {"advice.detachedHead", "false"},
        {"submodule.recurse", "false"},
        /* A server that stopped sending is left after two minutes. */
        {"http.lowSpeedLimit", "1"},
        {"http.lowSpeedTime", "120"},
        /* What comes from elsewhere is checked before anything of it is used; old repositories are
         * full of these four harmless faults. */
        {"transfer.fsckObjects", "true"},
        {"fetch.fsck.zeroPaddedFilemode", "ignore"},
        {"fetch.fsck.missingSpaceBeforeDate", "ignore"},
        {"fetch.fsck.missingSpaceBeforeEmail", "ignore"},
        {"fetch.fsck.badTimezone", "ignore"},
};

static const char base64_digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void base64(const char *s, size_t n, struct sb *out)
{
        for (size_t i = 0; i < n; i += 3) {
                unsigned v = (unsigned)(unsigned char)s[i] << 16;
                size_t have = MIN(n - i, (size_t)3);

                if (have > 1)
                        v |= (unsigned)(unsigned char)s[i + 1] << 8;
                if (have > 2)
                        v |= (unsigned char)s[i + 2];
                sb_char(out, base64_digits[v >> 18]);
                sb_char(out, base64_digits[v >> 12 & 63]);
                sb_char(out, have > 1 ? base64_digits[v >> 6 & 63] : '=');
                sb_char(out, have > 2 ? base64_digits[v & 63] : '=');
        }
}

/* GIT_AUTH_X.HOST, or else GIT_AUTH_X. */
static int find_secret(const struct secrets *s, const char *name, const char *host, size_t host_len,
                       const void **ret, size_t *ret_len)
{
        char id[400];

        if (snprintf(id, sizeof(id), "%s.%.*s", name, (int)host_len, host) < (int)sizeof(id) &&
            secrets_get(s, id, ret, ret_len))
                return 1;
        return secrets_get(s, name, ret, ret_len);
}

/* The header goes to the remote's own scheme, host and port and nowhere else. */
static int auth_header(struct config *k, const struct remote_auth *auth, const char *remote,
                       struct bld_err *err)
{
        AUTO_SB struct sb header = SB_INIT(1u << 20), plain = SB_INIT(1u << 20);
        const char *host = strstr(remote, "://");
        AUTO_FREE char *key = NULL;
        const void *value = NULL;
        size_t len = 0, host_len;
        int r = 0;

        if (!auth || !http_is_url(remote) || !host)
                return 0;
        host += 3;
        host_len = strcspn(host, "/");
        if (find_secret(auth->secrets, "GIT_AUTH_HEADER", host, host_len, &value, &len)) {
                sb_str(&header, "Authorization: ");
                sb_add(&header, value, len);
        } else if (find_secret(auth->secrets, "GIT_AUTH_TOKEN", host, host_len, &value, &len)) {
                sb_str(&plain, "x-access-token:");
                sb_add(&plain, value, len);
                while (plain.len && plain.buf && strchr("\r\n", plain.buf[plain.len - 1]))
                        sb_cut(&plain, plain.len - 1);
                sb_str(&header, "Authorization: Basic ");
                base64(sb_text(&plain), plain.len, &header);
        } else {
                return 0;
        }
        while (header.len && strchr("\r\n", header.buf[header.len - 1]))
                sb_cut(&header, header.len - 1);
        r = sb_check(&header, "GIT_AUTH secret", err);
        if (r == 0 && strpbrk(sb_text(&header), "\r\n"))
                r = err_set(err, BLD_E_USAGE, "a secret for git is not one line");
        if (r == 0 &&
            asprintf(&key, "http.%.*s/.extraHeader", (int)(host + host_len - remote), remote) < 0) {
                key = NULL;
                r = err_nomem(err, "git");
        }
        if (r == 0)
                config(k, key, sb_text(&header));
        if (header.buf)
                explicit_bzero(header.buf, header.len);
        if (plain.buf)
                explicit_bzero(plain.buf, plain.len);
        return r;
}

/* Credentials that stood in the URL: git puts them back in where it goes to that host, so that they
 * are in no argument, no file and no message. */
static int url_credentials(struct config *k, const struct vx_git *g, struct bld_err *err)
{
        const char *host = strstr(g->remote, "://");
        AUTO_FREE char *key = NULL, *base = NULL;
        size_t n;

        if (!*g->userinfo || !host)
                return 0;
        host += 3;
        n = strcspn(host, "/");
        if (asprintf(&key, "url.%.*s%s@%.*s/.insteadOf", (int)(host - g->remote), g->remote,
                     g->userinfo, (int)n, host) < 0)
                key = NULL;
        if (asprintf(&base, "%.*s/", (int)(host + n - g->remote), g->remote) < 0)
                base = NULL;
        if (!key || !base)
                return err_nomem(err, "git");
        config(k, key, base);
        explicit_bzero(key, strlen(key));
        return 0;
}

/* For a shell, in single quotes. */
static void quoted(struct sb *out, const char *s)
{
        sb_char(out, '\'');
        for (; *s; s++) {
                if (*s == '\'')
                        sb_str(out, "'\\''");
                else
                        sb_char(out, *s);
        }
        sb_char(out, '\'');
}

/* The user's agent, or for keys one of our own, in the private home. */
static int ssh_agent(struct git_run *x, const struct remote_auth *auth, struct bld_err *err)
{
        const struct agent_source *s = auth ? ssh_agents_get(auth->ssh, "default") : NULL;
        AUTO_FREE char *own = NULL;
        AUTO_FD int dir = -1;
        int r;

        if (!s || str_has_prefix(x->remote, "http"))
                return 0;
        if (!s->path) {
                if (asprintf(&own, "%s/agent", x->home) < 0) {
                        own = NULL;
                        return err_nomem(err, "git");
                }
                dir = sys_openat(AT_FDCWD, x->home, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
                if (dir < 0)
                        return err_sys(err, errno, "open \"%s\"", x->home);
                r = agent_proxy_start(dir, s, &x->agent, err);
                if (r < 0)
                        return r;
        }
        return strv_addf(&x->env, "SSH_AUTH_SOCK=%s", s->path ? s->path : own) < 0
                       ? err_nomem(err, "git")
                       : 0;
}

/* ssh without its configuration and without the user's keys: what opens the door is the agent that
 * --ssh named. Hosts the user knows must have the key they are known by; others are believed the
 * first time, within this build. */
static int ssh_command(struct git_run *x, const struct remote_auth *auth, struct bld_err *err)
{
        AUTO_SB struct sb cmd = SB_INIT(65536), known = SB_INIT(65536);
        const char *home = getenv("HOME");
        int r;

        sb_fmt(&known, "UserKnownHostsFile=\"%s/known_hosts\"", x->home);
        if (home && *home == '/' && !strchr(home, '"'))
                sb_fmt(&known, " \"%s/.ssh/known_hosts\"", home);
        sb_str(&cmd, "GIT_SSH_COMMAND=ssh -F /dev/null -o BatchMode=yes -o IdentityFile=none "
                     "-o ForwardAgent=no -o PermitLocalCommand=no "
                     "-o StrictHostKeyChecking=accept-new -o ConnectTimeout=30 -o ");
        quoted(&cmd, sb_text(&known));
        r = sb_check(&known, "ssh", err);
        if (r == 0)
                r = sb_check(&cmd, "ssh", err);
        if (r == 0 && strv_add(&x->env, sb_text(&cmd)) < 0)
                r = err_nomem(err, "git");
        return r < 0 ? r : ssh_agent(x, auth, err);
}

/* What a program needs to find its parts and the network. */
static int pass_through(struct strv *env)
{
        static const char *const names[] = {
                "PATH",         "http_proxy",     "HTTP_PROXY",      "https_proxy", "HTTPS_PROXY",
                "no_proxy",     "NO_PROXY",       "all_proxy",       "ALL_PROXY",   "SSL_CERT_FILE",
                "SSL_CERT_DIR", "GIT_SSL_CAINFO", "LD_LIBRARY_PATH",
        };
        int r = 0;

        for (size_t i = 0; i < ARRAY_LEN(names) && r == 0; i++)
                if (getenv(names[i]))
                        r = strv_addf(env, "%s=%s", names[i], getenv(names[i]));
        return r;
}

static int fixed_env(struct git_run *x)
{
        static const char *const fixed[] = {
                "LC_ALL=C",
                "GIT_CONFIG_NOSYSTEM=1",
                "GIT_CONFIG_GLOBAL=/dev/null",
                "GIT_CONFIG_SYSTEM=/dev/null",
                "GIT_ATTR_NOSYSTEM=1",
                "GIT_TERMINAL_PROMPT=0",
                "GIT_ASKPASS=false",
                "SSH_ASKPASS=false",
                "SSH_ASKPASS_REQUIRE=never",
                "GIT_SSH_VARIANT=ssh",
                "GIT_ALLOW_PROTOCOL=https:http:git:ssh",
                "GIT_PROTOCOL_FROM_USER=0",
                "GIT_OPTIONAL_LOCKS=0",
                "GIT_LFS_SKIP_SMUDGE=1",
                "GCM_INTERACTIVE=never",
        };
        int r = strv_addf(&x->env, "HOME=%s", x->home);

        if (r == 0)
                r = strv_addf(&x->env, "XDG_CONFIG_HOME=%s", x->home);
        for (size_t i = 0; i < ARRAY_LEN(fixed) && r == 0; i++)
                r = strv_add(&x->env, fixed[i]);
        return r;
}

int git_run_init(struct bd_ctx *c, const struct remote_auth *auth, const struct vx_git *g,
                 const char *home, const char *tree, struct git_run *ret, struct bld_err *err)
{
        struct git_run x = {.c = c, .remote = g->remote, .home = mem_strdup(home)};
        struct config k = {.env = &x.env};
        int r = 0;

        x.tree = tree ? mem_strdup(tree) : NULL;
        if (!x.home || (tree && !x.tree) || fixed_env(&x) < 0 || pass_through(&x.env) < 0)
                r = err_nomem(err, "git");
        if (r == 0)
                r = ssh_command(&x, auth, err);
        for (size_t i = 0; i < ARRAY_LEN(settings) && r == 0; i++)
                config(&k, settings[i].key, settings[i].value);
        if (r == 0)
                r = auth_header(&k, auth, g->remote, err);
        if (r == 0)
                r = url_credentials(&k, g, err);
        if (r == 0 && !tree) /* where there is a work tree its own config says this */
                config(&k, "remote.origin.url", g->remote);
        if (r == 0 && (k.r < 0 || strv_addf(&x.env, "GIT_CONFIG_COUNT=%u", k.n) < 0))
                r = err_nomem(err, "git");
        if (r < 0) {
                git_run_done(&x);
                return r;
        }
        *ret = x;
        return 0;
}

void git_run_done(struct git_run *x)
{
        for (size_t i = 0; i < x->env.n; i++)
                explicit_bzero(x->env.v[i], strlen(x->env.v[i]));
        strv_done(&x->env);
        agent_proxy_stop(x->agent);
        free(x->home);
        free(x->tree);
        memset(x, 0, sizeof(*x));
}

/* ---- running ---- */

static const struct {
        const char *text;
        int code;
} complaints[] = {
        {"Authentication failed", BLD_E_DENIED},
        {"could not read Username", BLD_E_DENIED},
        {"could not read Password", BLD_E_DENIED},
        {"Permission denied", BLD_E_DENIED},
        {"access denied", BLD_E_DENIED},
        {"Host key verification failed", BLD_E_DENIED},
        {"Could not resolve host", BLD_E_NETWORK},
        {"Name or service not known", BLD_E_NETWORK},
        {"unable to connect", BLD_E_NETWORK},
        {"Connection refused", BLD_E_NETWORK},
        {"Connection timed out", BLD_E_NETWORK},
        {"Connection reset", BLD_E_NETWORK},
        {"Failed to connect", BLD_E_NETWORK},
        {"early EOF", BLD_E_NETWORK},
        {"The requested URL returned error: 5", BLD_E_NETWORK},
};

/* The last lines of what git said, control bytes escaped. */
static int failed(struct git_run *x, const char *verb, const struct sb *said, struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(2048);
        const char *s = sb_text(said), *tail;
        size_t n = strlen(s);
        int code = BLD_E_INVALID, r;

        for (size_t i = 0; i < ARRAY_LEN(complaints) && code == BLD_E_INVALID; i++)
                if (strstr(s, complaints[i].text))
                        code = complaints[i].code;
        while (n > 0 && s[n - 1] == '\n')
                n--;
        tail = n > 350 ? s + n - 350 : s;
        sb_escaped(&text, tail, n - (size_t)(tail - s));
        r = err_set(err, code, "git %s %.300s failed", verb, x->remote);
        if (text.len)
                r = err_why(err, r, "%s", sb_text(&text));
        if (code == BLD_E_DENIED && http_is_url(x->remote))
                r = err_try(err, r, "--secret id=GIT_AUTH_TOKEN,src=FILE");
        else if (code == BLD_E_DENIED && strncasecmp(x->remote, "git://", 6) != 0)
                r = err_try(err, r, "--ssh default, with the key in the agent");
        return r;
}

int git_run(struct git_run *x, const char *const *args, struct sb *out, struct bld_err *err)
{
        AUTO_SB struct sb said = SB_INIT(1u << 16), none = SB_INIT(GIT_OUT_MAX);
        AUTO_FREE char **envp = mem_zalloc(x->env.n + 1, sizeof(*envp));
        char *argv[GIT_ARGS_MAX] = {0};
        size_t n = 0;
        int status = 0, r;

        if (!envp)
                return err_nomem(err, "git");
        for (size_t i = 0; i < x->env.n; i++)
                envp[i] = x->env.v[i];
        /* posix_spawn takes them as they are and writes to none. */
        argv[n++] = (char *)(uintptr_t) "git";
        if (x->tree) {
                argv[n++] = (char *)(uintptr_t) "-C";
                argv[n++] = x->tree;
        }
        for (size_t i = 0; args[i] && n + 1 < ARRAY_LEN(argv); i++)
                argv[n++] = (char *)(uintptr_t)args[i];
        r = proc_run_env("git", argv, envp, NULL, 0, out ? out : &none, &said, 0, x->c->cancel,
                         &status, err);
        if (r == BLD_E_NOT_FOUND) {
                err_clear(err);
                r = err_set(err, BLD_E_UNSUPPORTED,
                            "%.300s is a git repository, and there is no program git here",
                            x->remote);
                return err_try(err, r, "install git");
        }
        if (r < 0)
                return r;
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
                return 0;
        return failed(x, args[0], &said, err);
}
