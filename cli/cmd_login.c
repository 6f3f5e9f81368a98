#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "cli/cli.h"
#include "cli/table.h"

#define PASSWORD_MAX 65536u

struct login_args {
        struct cli_common common;
        const char *username, *password;
        const char *explain;
        bool password_stdin, get_login, all;
};

#define A(field) offsetof(struct login_args, field)
static const struct opt login_opts[] = {
        {"explain", 0, OPT_STR, A(explain), "IMAGE", "say where credentials for it are looked for",
         "Flags"},
        {"get-login", 0, OPT_BOOL, A(get_login), NULL, "print whose credentials would be used",
         NULL},
        {"password", 'p', OPT_STR, A(password), "P", "better: --password-stdin", NULL},
        {"password-stdin", 0, OPT_BOOL, A(password_stdin), NULL, "read it from standard input",
         NULL},
        {"username", 'u', OPT_STR, A(username), "U", "user's name", NULL},
        {0},
};

/* One trailing line end is not part of it. */
static int read_password(char **ret, struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(PASSWORD_MAX);
        int r = fd_read_all(0, &text, "standard input", err);

        if (r == 0) {
                while (text.len &&
                       (text.buf[text.len - 1] == '\n' || text.buf[text.len - 1] == '\r'))
                        sb_cut(&text, text.len - 1);
                if (text.len == 0)
                        r = err_set(err, BLD_E_USAGE, "there is no password on standard input");
                else if (strlen(text.buf) != text.len)
                        r = err_set(err, BLD_E_USAGE, "the password has a NUL byte");
                else if (!(*ret = mem_strdup(text.buf)))
                        r = err_nomem(err, "password");
        }
        if (text.buf)
                explicit_bzero(text.buf, text.len);
        return r;
}

/* User and password as they were given, or asked for on the terminal. */
static int gather(struct cli *c, const struct login_args *a, char **ret_user, char **ret_pass,
                  struct bld_err *err)
{
        AUTO_FREE char *user = NULL;
        int r = 0;

        if (a->password && a->password_stdin)
                return err_set(err, BLD_E_USAGE,
                               "--password and --password-stdin exclude each other");
        if ((a->password || a->password_stdin) && !a->username)
                return err_set(err, BLD_E_USAGE, "a password needs --username");
        if (a->password)
                cli_note(c, "warning",
                         "--password is seen by other users and kept in the shell's history; "
                         "--password-stdin is not");
        if (a->username)
                user = mem_strdup(a->username);
        else
                r = cli_ask("user name: ", true, &user, err);
        if (r == 0 && !user)
                r = err_nomem(err, "user");
        if (r < 0)
                return r;
        if (a->password) {
                *ret_pass = mem_strdup(a->password);
                r = *ret_pass ? 0 : err_nomem(err, "password");
        } else {
                r = a->password_stdin ? read_password(ret_pass, err)
                                      : cli_ask("password: ", false, ret_pass, err);
        }
        if (r == 0)
                *ret_user = TAKE_PTR(&user);
        return r;
}

static int explain(struct cli *c, const char *ref, struct bld_err *err)
{
        char *text = NULL;
        int r = bld_login_explain(c->b, ref, &text, err);

        r = r < 0 ? r : cli_puts(text, err);
        bld_free(text);
        return r;
}

static int get_login(struct cli *c, const char *host, struct bld_err *err)
{
        AUTO_SB struct sb line = SB_INIT(1u << 16);
        char *user = NULL;
        int r = bld_login_user(c->b, host, &user, err);

        if (r < 0)
                return r;
        sb_fmt(&line, "%s\n", user[0] ? user : "<token>");
        bld_free(user);
        return cli_write_out(line.buf, line.len, err);
}

static int run_login(struct cli *c, void *args, const struct strv *pos, struct bld_err *err)
{
        const struct login_args *a = args;
        const char *host = pos->n ? pos->v[0] : "docker.io";
        AUTO_FREE char *user = NULL;
        AUTO_SB struct sb line = SB_INIT(1u << 16);
        char *pass = NULL, *where = NULL;
        int r = 0;

        if (!a->explain && !a->get_login)
                r = gather(c, a, &user, &pass, err);
        if (r == 0)
                r = cli_open(c, err);
        if (r == 0 && a->explain)
                r = explain(c, a->explain, err);
        else if (r == 0 && a->get_login)
                r = get_login(c, host, err);
        else if (r == 0)
                r = bld_login(c->b, host, user, pass, &where, err);
        if (pass)
                explicit_bzero(pass, strlen(pass));
        free(pass);
        if (r == 0 && where) {
                sb_fmt(&line, "logged in to %s; kept in %s\n", host, where);
                cli_say(c, sb_text(&line));
        }
        bld_free(where);
        return r;
}

const struct cli_cmd cmd_login = {
        .name = "login",
        .args = "[flags] [HOST[/PATH]]",
        .summary = "keep credentials for a registry",
        .details = "They are tried first, and kept only when the registry takes them: with the\n"
                   "credential helper that the file names for the host, else in the file itself\n"
                   "(--authfile, $REGISTRY_AUTH_FILE, $DOCKER_CONFIG/config.json or\n"
                   "~/.docker/config.json).\n",
        .examples = "bld login registry.example\n"
                    "echo \"$TOKEN\" | bld login -u ci --password-stdin registry.example\n"
                    "bld login --explain registry.example/team/app:v1\n",
        .exits = "5 refused, 6 none (--get-login),\n  7 network",
        .see = "bld-logout(1)",
        .opts = login_opts,
        .registry = true,
        .args_size = sizeof(struct login_args),
        .max_args = 1,
        .names_input = true,
        .run = run_login,
};

/* ---- logout ---- */

static const struct opt logout_opts[] = {
        {"all", 'a', OPT_BOOL, A(all), NULL, "from every registry of the file", "Flags"},
        {0},
};

static int run_logout(struct cli *c, void *args, const struct strv *pos, struct bld_err *err)
{
        const struct login_args *a = args;
        AUTO_JS struct js *gone = NULL;
        AUTO_SB struct sb out = SB_INIT(1u << 20);
        char *json = NULL;
        int r;

        if (a->all && pos->n)
                return err_set(err, BLD_E_USAGE, "--all and a host exclude each other");
        r = cli_open(c, err);
        r = r < 0 ? r
                  : bld_logout(c->b,
                               a->all   ? NULL
                               : pos->n ? pos->v[0]
                                        : "docker.io",
                               &json, err);
        r = r < 0 ? r : take_json(json, &gone, err);
        for (size_t i = 0; r == 0 && i < js_len(gone); i++)
                sb_fmt(&out, "logged out of %s\n", js_str(js_at(gone, i)));
        if (r == 0)
                cli_say(c, sb_text(&out));
        return r;
}

const struct cli_cmd cmd_logout = {
        .name = "logout",
        .args = "[flags] [HOST[/PATH]]",
        .summary = "forget credentials for a registry",
        .examples = "bld logout registry.example\nbld logout --all\n",
        .exits = "6 there were none",
        .see = "bld-login(1)",
        .opts = logout_opts,
        .registry = true,
        .args_size = sizeof(struct login_args),
        .max_args = 1,
        .names_input = true,
        .run = run_logout,
};
