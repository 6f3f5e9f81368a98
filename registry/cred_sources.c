/* The places where credentials are kept, each as a function: 1 found, 0 no match. A broken place is
 * a warning: public images need no credentials. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/num.h"
#include "registry/client_priv.h"
#include "registry/cred_priv.h"

#define FILE_MAX (16u << 20)

/* `host` of the reference, which is what auth files are keyed by. */
static char *ref_host(const struct reg_repo *repo)
{
        return mem_strndup(repo->shown, strcspn(repo->shown, "/"));
}

/* What was found is this source's. 1, or no memory. */
static int claim(struct reg_cred_search *s, struct reg_creds *k, struct bld_err *err)
{
        free(k->source);
        k->source = mem_strdup(s->source);
        k->found_ns = time_mono_ns();
        return k->source ? 1 : err_nomem(err, "keep credentials");
}

static int from_json(struct reg_cred_search *s, const char *text, size_t len, bool legacy,
                     struct reg_creds **ret, struct bld_err *err)
{
        AUTO_JS struct js *doc = NULL;
        AUTO_FREE char *host = ref_host(s->repo);
        struct reg_auth_query q = {.host = host,
                                   .path = s->repo->path,
                                   .legacy = legacy,
                                   .helper = reg_cred_helper,
                                   .warn = reg_cred_warn,
                                   .user = s};
        int r;

        if (!host)
                return err_nomem(err, "look for credentials");
        /* the parser's own message could quote a secret */
        if (js_parse(text, len, &doc, NULL) < 0 || !js_is_obj(doc)) {
                reg_cred_warn(s, "is not a JSON object; ignored");
                return 0;
        }
        r = reg_auth_file_find(doc, &q, ret, err);
        if (r == 1) {
                r = claim(s, *ret, err);
        } else if (r == 0) {
                reg_cred_explain(s, "no entry for this registry");
        }
        return r;
}

static int from_file(struct reg_cred_search *s, const char *path, bool must_exist, bool legacy,
                     struct reg_creds **ret, struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(FILE_MAX);
        struct bld_err why = BLD_ERR_INIT;
        int r;

        s->source = path;
        /* one that was named may be a pipe from somewhere; one that happens to be there must not
         * keep everybody waiting */
        r = must_exist ? file_read(AT_FDCWD, path, &text, &why)
                       : file_read_regular(AT_FDCWD, path, &text, &why);
        if (r < 0 && must_exist && why.code == BLD_E_NOT_FOUND)
                return err_set(err, BLD_E_NOT_FOUND, "auth file \"%s\" does not exist", path);
        if (r < 0) {
                if (why.code != BLD_E_NOT_FOUND && why.sys != ENOTDIR)
                        reg_cred_warn(s, why.msg);
                else
                        reg_cred_explain(s, "not there");
                return 0;
        }
        r = from_json(s, sb_text(&text), text.len, legacy, ret, err);
        explicit_bzero(text.buf, text.len);
        return r;
}

/* "user:password" */
static int from_pair(struct reg_cred_search *s, const char *user, size_t user_len, const char *pass,
                     struct reg_creds **ret, struct bld_err *err)
{
        AUTO(reg_creds_free_p) struct reg_creds *k = mem_zalloc(1, sizeof(*k));

        if (!k)
                return err_nomem(err, "keep credentials");
        k->user = mem_strndup(user, user_len);
        k->pass = mem_strdup(pass);
        k->source = mem_strdup(s->source);
        k->found_ns = time_mono_ns();
        if (!k->user || !k->pass || !k->source)
                return err_nomem(err, "keep credentials");
        *ret = TAKE_PTR(&k);
        return 1;
}

/* BLD_REGISTRY_<HOST>_USER and _PASSWORD */
static int from_host_env(struct reg_cred_search *s, struct reg_creds **ret, struct bld_err *err)
{
        AUTO_SB struct sb name = SB_INIT(1024);
        AUTO_FREE char *host = ref_host(s->repo);
        const char *user, *pass;
        size_t stem;

        if (!host)
                return err_nomem(err, "look for credentials");
        sb_str(&name, "BLD_REGISTRY_");
        for (const char *p = host; *p; p++)
                sb_char(&name, isalnum((unsigned char)*p) ? (char)toupper((unsigned char)*p) : '_');
        stem = name.len;
        sb_str(&name, "_PASSWORD");
        pass = getenv(sb_text(&name));
        sb_cut(&name, stem);
        sb_str(&name, "_USER");
        user = getenv(sb_text(&name));
        s->source = sb_text(&name);
        if (!user || !*user || !pass)
                return 0;
        return from_pair(s, user, strlen(user), pass, ret, err);
}

const char *reg_home_dir(void)
{
        const char *home = getenv("HOME");
        struct passwd *pw;

        if (home && *home)
                return home;
        pw = getpwuid(getuid()); /* under creds_lock, and nobody else here calls it */
        return pw ? pw->pw_dir : NULL;
}

static int from_path(struct reg_cred_search *s, const char *dir, const char *rest, bool legacy,
                     struct reg_creds **ret, struct bld_err *err)
{
        AUTO_SB struct sb path = SB_INIT(8192);

        if (!dir || !*dir)
                return 0;
        sb_fmt(&path, "%s/%s", dir, rest);
        return from_file(s, sb_text(&path), false, legacy, ret, err);
}

static int from_creds_flag(struct reg_cred_search *s, struct reg_creds **ret, struct bld_err *err)
{
        const char *creds = s->c->creds, *colon = creds ? strchr(creds, ':') : NULL;

        s->source = "--creds";
        if (!creds || s->repo->mirror)
                return 0; /* what was given for the origin is not for its mirrors */
        if (!colon)
                return err_set(err, BLD_E_USAGE, "--creds needs USER:PASS");
        return from_pair(s, creds, (size_t)(colon - creds), colon + 1, ret, err);
}

static int from_authfile_flag(struct reg_cred_search *s, struct reg_creds **ret,
                              struct bld_err *err)
{
        return s->c->authfile ? from_file(s, s->c->authfile, true, false, ret, err) : 0;
}

static int from_docker_auth_config(struct reg_cred_search *s, struct reg_creds **ret,
                                   struct bld_err *err)
{
        const char *env = getenv("DOCKER_AUTH_CONFIG");

        s->source = "$DOCKER_AUTH_CONFIG";
        return env && *env ? from_json(s, env, strlen(env), false, ret, err) : 0;
}

static int from_registry_auth_file(struct reg_cred_search *s, struct reg_creds **ret,
                                   struct bld_err *err)
{
        const char *env = getenv("REGISTRY_AUTH_FILE");

        return env && *env ? from_file(s, env, true, false, ret, err) : 0;
}

static int from_docker_config(struct reg_cred_search *s, struct reg_creds **ret,
                              struct bld_err *err)
{
        return from_path(s, getenv("DOCKER_CONFIG"), "config.json", false, ret, err);
}

static int from_run(struct reg_cred_search *s, struct reg_creds **ret, struct bld_err *err)
{
        const char *run = getenv("XDG_RUNTIME_DIR");
        char run_uid[64];

        if (run && *run)
                return from_path(s, run, "containers/auth.json", false, ret, err);
        (void)snprintf(run_uid, sizeof(run_uid), "/run/containers/%u", geteuid());
        return from_path(s, run_uid, "auth.json", false, ret, err);
}

static int from_containers(struct reg_cred_search *s, struct reg_creds **ret, struct bld_err *err)
{
        const char *conf = getenv("XDG_CONFIG_HOME");

        if (conf && *conf)
                return from_path(s, conf, "containers/auth.json", false, ret, err);
        return from_path(s, reg_home_dir(), ".config/containers/auth.json", false, ret, err);
}

static int from_docker_home(struct reg_cred_search *s, struct reg_creds **ret, struct bld_err *err)
{
        return from_path(s, reg_home_dir(), ".docker/config.json", false, ret, err);
}

static int from_dockercfg(struct reg_cred_search *s, struct reg_creds **ret, struct bld_err *err)
{
        return from_path(s, reg_home_dir(), ".dockercfg", true, ret, err);
}

/* A job of GitLab's CI may use its registry. */
static int from_gitlab(struct reg_cred_search *s, struct reg_creds **ret, struct bld_err *err)
{
        static const char *const pairs[][2] = {{"CI_REGISTRY_USER", "CI_REGISTRY_PASSWORD"},
                                               {"CI_DEPLOY_USER", "CI_DEPLOY_PASSWORD"},
                                               {NULL, "CI_JOB_TOKEN"}};
        const char *of = getenv("CI_REGISTRY");
        AUTO_FREE char *host = ref_host(s->repo);

        if (!host)
                return err_nomem(err, "look for credentials");
        s->source = "$CI_REGISTRY";
        if (!of || strcasecmp(of, host) != 0) {
                reg_cred_explain(s, of && *of ? "is another registry" : "not set");
                return 0;
        }
        for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
                const char *user = pairs[i][0] ? getenv(pairs[i][0]) : "gitlab-ci-token";
                const char *pass = getenv(pairs[i][1]);

                s->source = pairs[i][1];
                if (user && *user && pass && *pass)
                        return from_pair(s, user, strlen(user), pass, ret, err);
        }
        return 0;
}

/* --credential-helper NAME: a source of ours, or docker-credential-NAME. The cloud's own are known
 * by other names than those of the flag. */
static int from_helper_flags(struct reg_cred_search *s, struct reg_creds **ret, struct bld_err *err)
{
        static const char *const known[][2] = {{"ecr", "ecr-login"}, {"acr", "acr-env"}};
        AUTO_FREE char *host = ref_host(s->repo);
        int r = 0;

        if (!host)
                return err_nomem(err, "look for credentials");
        for (size_t i = 0; r == 0 && i < s->c->helpers.n; i++) {
                const char *name = s->c->helpers.v[i];

                s->source = "--credential-helper";
                if (strcmp(name, "env") == 0) {
                        r = from_host_env(s, ret, err);
                        continue;
                }
                if (strcmp(name, "gitlab") == 0) {
                        r = from_gitlab(s, ret, err);
                        continue;
                }
                if (!reg_helper_suffix_ok(name))
                        return err_set(err, BLD_E_USAGE,
                                       "--credential-helper takes the NAME of a "
                                       "docker-credential-NAME, not \"%.100s\"",
                                       name);
                for (size_t k = 0; k < ARRAY_LEN(known); k++)
                        if (strcmp(name, known[k][0]) == 0)
                                name = known[k][1];
                r = reg_helper_ask(name, host, reg_cred_helper, s, ret, err);
                if (r == 1)
                        r = claim(s, *ret, err);
        }
        return r;
}

/* cli.md 3.3, in order. */
const reg_cred_source reg_cred_sources[] = {
        from_creds_flag,         from_authfile_flag,      from_helper_flags,  from_host_env,
        from_docker_auth_config, from_registry_auth_file, from_docker_config, from_run,
        from_containers,         from_docker_home,        from_dockercfg,     from_gitlab,
};
const size_t reg_n_cred_sources = ARRAY_LEN(reg_cred_sources);
