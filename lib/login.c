/* Credentials: asked for, kept, forgotten, explained. */
#include <string.h>

#include "base/err.h"
#include "bld/registry.h"
#include "lib/session_priv.h"
#include "registry/registry.h"

/* "HOST[/PATH]", perhaps with a scheme as docker login takes it. */
struct target {
        char *host, *path; /* path "" for none */
        char *key;
};

static void target_done(struct target *t)
{
        free(t->host);
        free(t->path);
        free(t->key);
}

static int target_parse(const char *s, struct target *t, struct bld_err *err)
{
        size_t n;

        if (str_has_prefix(s, "docker://"))
                s += strlen("docker://");
        if (str_has_prefix(s, "https://"))
                s += strlen("https://");
        else if (str_has_prefix(s, "http://"))
                s += strlen("http://");
        n = strlen(s);
        while (n > 0 && s[n - 1] == '/')
                n--;
        t->key = mem_strndup(s, n);
        if (!t->key)
                return err_nomem(err, "registry");
        n = strcspn(t->key, "/");
        if (n == 0)
                return err_set(err, BLD_E_INVALID, "there is no registry's name in \"%.100s\"", s);
        t->host = mem_strndup(t->key, n);
        /* docker's old name of the Hub: its path is a version of the protocol */
        t->path = mem_strdup(t->key[n] && strcmp(t->key + n, "/v1") != 0 &&
                                             strcmp(t->key + n, "/v2") != 0
                                     ? t->key + n + 1
                                     : "");
        if (!t->host || !t->path)
                return err_nomem(err, "registry");
        if (!t->path[0])
                t->key[n] = '\0';
        return 0;
}

static int check(struct bld *b, const struct target *t, const char *user, const char *password,
                 struct bld_err *err)
{
        struct reg_client *reg = NULL;
        char *creds = NULL;
        int r;

        if (asprintf(&creds, "%s:%s", user, password) < 0)
                return err_nomem(err, "credentials");
        r = lib_client_new(b, creds, &reg, err);
        explicit_bzero(creds, strlen(creds));
        free(creds);
        if (r < 0)
                return r;
        r = reg_login_check(reg, t->host, err);
        reg_client_free(reg);
        if (r == 0 && b->ctx.note) {
                char text[400];

                (void)snprintf(text, sizeof(text), "%.200s asks for no credentials", t->host);
                b->ctx.note(b, text);
        }
        return MIN(r, 0);
}

int bld_login(struct bld *b, const char *host, const char *user, const char *password,
              char **ret_where, struct bld_err *err)
{
        AUTO(target_done) struct target t = {.host = NULL};
        AUTO_FREE char *file = NULL;
        int r = target_parse(host, &t, err);

        if (r == 0 && (!user[0] || strchr(user, ':')))
                r = err_set(err, BLD_E_USAGE, "a user's name is not empty and has no colon");
        if (r == 0)
                r = reg_login_file(b->authfile, &file, err);
        if (r == 0)
                r = check(b, &t, user, password, err);
        return r == 0 ? reg_login_save(file, t.key, user, password, &b->cancel, ret_where, err) : r;
}

int bld_logout(struct bld *b, const char *host, char **ret_json, struct bld_err *err)
{
        AUTO(target_done) struct target t = {.host = NULL};
        AUTO_STRV struct strv gone = {.v = NULL};
        AUTO_JS struct js *arr = NULL;
        AUTO_FREE char *file = NULL;
        int r = host ? target_parse(host, &t, err) : 0;

        if (r == 0)
                r = reg_login_file(b->authfile, &file, err);
        if (r == 0)
                r = reg_logout(file, t.key, &b->cancel, &gone, err);
        if (r < 0)
                return r;
        if (host && gone.n == 0)
                return err_set(err, BLD_E_NOT_FOUND, "%s has no credentials of %s", file, t.key);
        arr = js_from_strv(&gone);
        return arr ? lib_json_text(arr, ret_json, err) : err_nomem(err, "names");
}

int bld_login_user(struct bld *b, const char *host, char **ret_user, struct bld_err *err)
{
        AUTO(target_done) struct target t = {.host = NULL};
        AUTO_FREE char *source = NULL;
        struct reg_client *reg = NULL;
        int r = target_parse(host, &t, err);

        if (r == 0)
                r = b->ctx.registry(b->ctx.user, &reg, err);
        if (r == 0)
                r = reg_login_user(reg, t.host, t.path, ret_user, &source, err);
        if (r == 0)
                return err_set(err, BLD_E_NOT_FOUND, "there are no credentials for %s", t.key);
        return MIN(r, 0);
}

/* An image's name, or a host. */
static int explain_target(const char *s, struct target *t, struct bld_err *err)
{
        AUTO_REF struct img_ref ref = {.domain = NULL};
        const char *name = str_has_prefix(s, "docker://") ? s + strlen("docker://") : s;

        if (!strchr(name, '/') && strpbrk(name, ".:") && !str_has_prefix(name, "http"))
                return target_parse(name, t, err);
        if (strcmp(name, "localhost") == 0 || img_ref_parse(name, &ref, NULL) < 0)
                return target_parse(name, t, err);
        t->host = mem_strdup(ref.domain);
        t->path = mem_strdup(ref.path);
        return t->host && t->path ? 0 : err_nomem(err, "registry");
}

int bld_login_explain(struct bld *b, const char *ref, char **ret_text, struct bld_err *err)
{
        AUTO(target_done) struct target t = {.host = NULL};
        AUTO_FREE char *user = NULL, *source = NULL;
        AUTO_SB struct sb out = SB_INIT(1u << 20);
        struct reg_client *reg = NULL;
        char any[] = "*", *text; /* a host alone: no repository's own entry is meant */
        struct img_ref where;
        int r = explain_target(ref, &t, err);

        if (r == 0)
                r = b->ctx.registry(b->ctx.user, &reg, err);
        if (r < 0)
                return r;
        sb_fmt(&out, "%s%s%s\n", t.host, t.path[0] ? "/" : "", t.path);
        where = (struct img_ref){.domain = t.host, .path = t.path[0] ? t.path : any};
        r = reg_creds_explain(reg, &where, &out, err);
        if (r == 0)
                r = reg_login_user(reg, t.host, t.path, &user, &source, err);
        if (r < 0)
                return r;
        if (r == 0)
                sb_str(&out, "none is used: anonymous\n");
        text = sb_take(&out);
        if (!text)
                return err_nomem(err, "credentials");
        *ret_text = text;
        return 0;
}
