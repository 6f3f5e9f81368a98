/* docker-credential-* programs. */
#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <sys/wait.h>

#include "base/err.h"
#include "base/proc.h"
#include "registry/auth_priv.h"
#include "registry/client_priv.h"

#define REPLY_MAX (1u << 20)
#define NOT_FOUND "credentials not found in native keychain"

bool reg_helper_suffix_ok(const char *s)
{
        size_t n = strlen(s);

        if (n == 0 || n > 100)
                return false;
        for (size_t i = 0; i < n; i++)
                if (!isalnum((unsigned char)s[i]) && !strchr("_.-", s[i]))
                        return false;
        return true;
}

static const char *either(const struct js *j, const char *a, const char *b)
{
        const char *s = js_get_str(j, a);

        return s ? s : js_get_str(j, b);
}

int reg_helper_reply(const char *text, size_t len, struct reg_creds **ret, struct bld_err *err)
{
        AUTO(reg_creds_free_p) struct reg_creds *k = NULL;
        AUTO_JS struct js *j = NULL;
        const char *user, *secret;
        int r = js_parse(text, len, &j, NULL); /* its message would quote the secret */

        if (r < 0)
                return err_set(err, BLD_E_INVALID, "the reply is not JSON");
        user = either(j, "Username", "username");
        secret = either(j, "Secret", "secret");
        if (!user || !secret)
                return err_set(err, BLD_E_INVALID, "the reply lacks Username or Secret");
        k = mem_zalloc(1, sizeof(*k));
        if (!k)
                return err_nomem(err, "keep credentials");
        k->from_helper = true;
        if (strcmp(user, "<token>") == 0) {
                k->identity = mem_strdup(secret);
        } else {
                k->user = mem_strdup(user);
                k->pass = mem_strdup(secret);
        }
        if (!k->identity && (!k->user || !k->pass))
                return err_nomem(err, "keep credentials");
        *ret = TAKE_PTR(&k);
        return 1;
}

static void wipe(struct sb *b)
{
        if (b->buf)
                explicit_bzero(b->buf, b->len);
        sb_done(b);
}

/* Exit status not zero: the message is on stdout. */
static int refused(const char *name, const struct sb *out, int status, struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(1024);

        if (strstr(sb_text(out), NOT_FOUND))
                return 0;
        reg_safe(&text, sb_text(out), out->len, 200);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 127 && out->len == 0)
                return err_set(err, BLD_E_NOT_FOUND, "%s is not installed", name);
        return err_set(err, BLD_E_CHILD, "%s failed: %s", name,
                       out->len ? sb_text(&text) : "no message");
}

/* docker-credential-SUFFIX ACTION with input on stdin. 1 with its reply in out, 0 it has no such
 * credentials. */
static int run(const char *suffix, char *action, const char *input, int64_t timeout_ms,
               const struct cancel *cancel, struct sb *out, struct bld_err *err)
{
        char name[128];
        AUTO_SB struct sb noise = SB_INIT(REPLY_MAX);
        struct bld_err why = BLD_ERR_INIT;
        char *argv[] = {name, action, NULL};
        int r, status = 0;

        /* the name comes from a file: it must not be able to name a path or an option */
        if (!reg_helper_suffix_ok(suffix))
                return err_set(err, BLD_E_INVALID, "bad credential helper name");
        (void)snprintf(name, sizeof(name), "docker-credential-%s", suffix);
        r = proc_run(name, argv, input, strlen(input), out, &noise, timeout_ms, cancel, &status,
                     &why);
        if (r < 0 && (why.code == BLD_E_NOT_FOUND || why.sys == ENOENT))
                return err_set(err, BLD_E_NOT_FOUND, "%s is not installed", name);
        if (r < 0) {
                err_copy(err, &why);
                return r;
        }
        return status != 0 ? refused(name, out, status, err) : 1;
}

int reg_helper_get(const char *suffix, const char *server, int64_t timeout_ms,
                   const struct cancel *cancel, struct reg_creds **ret, struct bld_err *err)
{
        AUTO(wipe) struct sb out = SB_INIT(REPLY_MAX);
        char get[] = "get";
        int r = run(suffix, get, server, timeout_ms, cancel, &out, err);

        if (r <= 0)
                return r;
        r = reg_helper_reply(sb_text(&out), out.len, ret, err);
        return r < 0 ? err_wrap(err, r, "docker-credential-%s", suffix) : r;
}

int reg_helper_store(const char *suffix, const char *server, const char *user, const char *secret,
                     int64_t timeout_ms, const struct cancel *cancel, struct bld_err *err)
{
        AUTO(wipe) struct sb in = SB_INIT(REPLY_MAX);
        AUTO(wipe) struct sb out = SB_INIT(REPLY_MAX);
        AUTO_JS struct js *j = js_obj();
        char store[] = "store";
        int r = j ? js_set_str(j, "ServerURL", server) : BLD_E_NOMEM;

        if (r == 0)
                r = js_set_str(j, "Username", user);
        if (r == 0)
                r = js_set_str(j, "Secret", secret);
        if (r < 0)
                return err_set(err, r, "credentials for a helper");
        r = js_write(j, JS_COMPACT, &in, err);
        if (r == 0)
                r = run(suffix, store, sb_text(&in), timeout_ms, cancel, &out, err);
        return MIN(r, 0);
}

int reg_helper_erase(const char *suffix, const char *server, int64_t timeout_ms,
                     const struct cancel *cancel, struct bld_err *err)
{
        AUTO(wipe) struct sb out = SB_INIT(REPLY_MAX);
        char erase[] = "erase";

        return run(suffix, erase, server, timeout_ms, cancel, &out, err);
}
