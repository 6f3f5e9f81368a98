/* What login and logout do to the file of credentials, and questions about it. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/path.h"
#include "registry/client_priv.h"

#define FILE_MAX (16u << 20)
#define HELPER_TIMEOUT_MS 30000

static void wipe(struct sb *b)
{
        if (b->buf)
                explicit_bzero(b->buf, b->len);
        sb_done(b);
}

/* ---- the file ---- */

int reg_login_file(const char *authfile, char **ret, struct bld_err *err)
{
        const char *env = getenv("REGISTRY_AUTH_FILE"), *dir = getenv("DOCKER_CONFIG");
        const char *home = reg_home_dir();
        char *path;

        if (authfile && *authfile)
                path = mem_strdup(authfile);
        else if (env && *env)
                path = mem_strdup(env);
        else if (dir && *dir)
                path = path_join(dir, "config.json");
        else if (home && *home)
                path = path_join(home, ".docker/config.json");
        else
                return err_set(err, BLD_E_INVALID,
                               "there is no place to keep credentials\nwhy: HOME is not set\n"
                               "try: --authfile FILE");
        if (!path)
                return err_nomem(err, "path of the auth file");
        *ret = path;
        return 0;
}

/* A missing or empty file is an empty object. What is not JSON is left alone: it is somebody's. */
static int read_doc(const char *file, struct js **ret, struct bld_err *err)
{
        AUTO(wipe) struct sb text = SB_INIT(FILE_MAX);
        struct bld_err why = BLD_ERR_INIT;
        struct js *j = NULL;
        int r = file_read(AT_FDCWD, file, &text, &why);

        if (r < 0 && why.code != BLD_E_NOT_FOUND) {
                err_copy(err, &why);
                return r;
        }
        if (r == 0 && text.len && js_parse(sb_text(&text), text.len, &j, NULL) < 0)
                return err_set(err, BLD_E_INVALID, "%s is not JSON; it is left as it is", file);
        if (!j)
                j = js_obj();
        if (!j)
                return err_nomem(err, file);
        if (!js_is_obj(j)) {
                js_free(j);
                return err_set(err, BLD_E_INVALID, "%s is not a JSON object; it is left as it is",
                               file);
        }
        *ret = j;
        return 0;
}

static int write_doc(const char *file, const struct js *doc, struct bld_err *err)
{
        AUTO(wipe) struct sb text = SB_INIT(FILE_MAX);
        AUTO_FREE char *dir = NULL;
        char real[PATH_MAX];
        int r = js_write(doc, JS_INDENT, &text, err);

        sb_char(&text, '\n');
        if (r < 0)
                return r;
        /* a link is kept: what it leads to is replaced */
        if (!realpath(file, real))
                (void)str_copy(real, sizeof(real), file);
        dir = path_dir(real);
        if (!dir)
                return err_nomem(err, file);
        r = path_mkdirs(AT_FDCWD, dir, 0700, err);
        if (r == 0)
                r = file_write(AT_FDCWD, real, sb_text(&text), text.len, 0600, FILE_SYNC, err);
        return r;
}

/* The helper the file names for a host, borrowed; NULL: none. */
static const char *helper_of(const struct js *doc, const char *host)
{
        const char *s = js_get_str(js_get(doc, "credHelpers"), host);

        if (!s)
                s = js_get_str(doc, "credsStore");
        return s && *s ? s : NULL;
}

static struct js *member(struct js *doc, const char *name)
{
        struct js *j = js_get(doc, name);

        if (j && js_is_obj(j))
                return j;
        return js_set(doc, name, js_obj()) == 0 ? js_get(doc, name) : NULL;
}

/* Entries that mean the same registry in another spelling would win or lose by chance. */
static int forget(struct js *auths, const char *key, struct strv *out, struct bld_err *err)
{
        AUTO_STRV struct strv gone = {.v = NULL};

        for (void *it = js_iter(auths); it; it = js_iter_next(auths, it)) {
                AUTO_FREE char *have = reg_auth_key(js_iter_key(it));

                if (!have)
                        return err_nomem(err, "auth file");
                if ((!key || str_eq(have, key)) && strv_add(&gone, js_iter_key(it)) < 0)
                        return err_nomem(err, "auth file");
        }
        for (size_t i = 0; i < gone.n; i++) {
                (void)js_del(auths, gone.v[i]); /* it is there */
                if (out && strv_add(out, gone.v[i]) < 0)
                        return err_nomem(err, "auth file");
        }
        return 0;
}

static int put_entry(struct js *auths, const char *server, const char *user, const char *pass,
                     struct bld_err *err)
{
        AUTO(wipe) struct sb pair = SB_INIT(64u << 10);
        struct js *e = js_obj();
        char *b64;
        int r;

        sb_fmt(&pair, "%s:%s", user, pass);
        b64 = pair.failed ? NULL : reg_base64(sb_text(&pair), pair.len);
        r = e && b64 ? js_set_str(e, "auth", b64) : BLD_E_NOMEM;
        reg_secret_free(b64);
        if (r == 0)
                return js_set(auths, server, e) < 0 ? err_nomem(err, "auth file") : 0;
        js_free(e);
        return err_nomem(err, "auth file");
}

static int host_of(const char *key, char **ret_key, char **ret_host, struct bld_err *err)
{
        AUTO_FREE char *k = reg_auth_key(key);

        *ret_host = k ? mem_strndup(k, strcspn(k, "/")) : NULL;
        if (!*ret_host)
                return err_nomem(err, "auth file");
        *ret_key = TAKE_PTR(&k);
        return 0;
}

int reg_login_save(const char *file, const char *key, const char *user, const char *pass,
                   const struct cancel *cancel, char **ret_where, struct bld_err *err)
{
        AUTO_JS struct js *doc = NULL;
        AUTO_FREE char *name = NULL, *host = NULL, *where = NULL;
        const char *suffix, *server;
        struct js *auths;
        int r;

        if (strchr(user, ':'))
                return err_set(err, BLD_E_INVALID, "a user's name has no colon");
        r = host_of(key, &name, &host, err);
        if (r == 0)
                r = read_doc(file, &doc, err);
        if (r < 0)
                return r;
        server = reg_auth_server(name);
        suffix = str_eq(name, host) ? helper_of(doc, host) : NULL;
        auths = member(doc, "auths");
        if (!auths)
                return err_nomem(err, file);
        r = forget(auths, name, NULL, err);
        if (r == 0 && suffix) {
                r = reg_helper_store(suffix, server, user, pass, HELPER_TIMEOUT_MS, cancel, err);
                if (r == 0 && js_set(auths, server, js_obj()) < 0) /* "the helper has it" */
                        r = err_nomem(err, file);
        } else if (r == 0) {
                r = put_entry(auths, server, user, pass, err);
        }
        if (r == 0)
                r = write_doc(file, doc, err);
        if (r < 0)
                return r;
        if (suffix && asprintf(&where, "docker-credential-%s", suffix) < 0)
                where = NULL;
        if (!suffix)
                where = mem_strdup(file);
        if (!where)
                return err_nomem(err, file);
        *ret_where = TAKE_PTR(&where);
        return 0;
}

static int erase(const struct js *doc, const char *host, const struct cancel *cancel,
                 struct strv *out, struct bld_err *err)
{
        const char *suffix = helper_of(doc, host), *server = reg_auth_server(host);
        int r;

        if (!suffix)
                return 0;
        r = reg_helper_erase(suffix, server, HELPER_TIMEOUT_MS, cancel, err);
        if (r > 0 && !strv_has(out, server))
                r = strv_add(out, server) < 0 ? err_nomem(err, "names") : 0;
        return MIN(r, 0);
}

int reg_logout(const char *file, const char *key, const struct cancel *cancel, struct strv *out,
               struct bld_err *err)
{
        AUTO_JS struct js *doc = NULL;
        AUTO_FREE char *name = NULL, *host = NULL;
        AUTO_STRV struct strv gone = {.v = NULL};
        int r = key ? host_of(key, &name, &host, err) : 0;

        if (r == 0)
                r = read_doc(file, &doc, err);
        if (r == 0)
                r = forget(js_get(doc, "auths"), name, &gone, err);
        if (r == 0 && gone.n)
                r = write_doc(file, doc, err);
        if (r == 0 && strv_copy(out, &gone) < 0)
                r = err_nomem(err, file);
        /* after the file: a helper that is missing must not keep its entries alive */
        if (r == 0 && key && str_eq(name, host))
                r = erase(doc, host, cancel, out, err);
        for (size_t i = 0; r == 0 && !key && i < gone.n; i++) {
                AUTO_FREE char *k = NULL, *h = NULL;

                r = host_of(gone.v[i], &k, &h, err);
                if (r == 0 && str_eq(k, h))
                        r = erase(doc, h, cancel, out, err);
        }
        return r;
}

/* ---- questions ---- */

static int repo_of(struct reg_client *c, const char *host, const char *path, struct reg_repo **ret,
                   struct bld_err *err)
{
        char h[256], p[512];
        struct img_ref ref = {.domain = h, .path = p};

        if (!path || !*path)
                return reg_repo_of_host(c, host, ret, err);
        if (!str_copy(h, sizeof(h), host) || !str_copy(p, sizeof(p), path))
                return err_set(err, BLD_E_INVALID, "the name of the repository is too long");
        return reg_repo_get(c, &ref, ret, err);
}

int reg_login_user(struct reg_client *c, const char *host, const char *path, char **ret_user,
                   char **ret_source, struct bld_err *err)
{
        AUTO_FREE char *user = NULL, *source = NULL;
        const struct reg_creds *k = NULL;
        struct reg_repo *repo = NULL;
        int r = repo_of(c, host, path, &repo, err);

        if (r == 0)
                r = reg_creds_get(c, repo, false, &k, err);
        if (r < 0 || !k)
                return r;
        user = mem_strdup(k->user ? k->user : "");
        source = mem_strdup(k->source ? k->source : "");
        if (!user || !source)
                return err_nomem(err, "credentials");
        *ret_user = TAKE_PTR(&user);
        *ret_source = TAKE_PTR(&source);
        return 1;
}
