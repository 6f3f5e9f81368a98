/* RUN: command, environment, what it is allowed. */
#include "builder/plan/plan_priv.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "base/num.h"
#include "base/opt.h"

#define HISTORY_MAX (1u << 20)

#define HOSTNAME_MAX 64 /* as sethostname(2) */

struct device {
        const char *name;
        bool required;
};

/* NAME[,required[=BOOL]] or name=NAME,... */
static int parse_device(const struct strv *fields, struct device *d, struct bld_err *err)
{
        for (size_t i = 0; i < fields->n; i++) {
                const char *f = fields->v[i], *eq = strchr(f, '=');
                size_t k = eq ? (size_t)(eq - f) : strlen(f);
                const char *name = NULL;

                if (k == 8 && strncasecmp(f, "required", k) == 0) {
                        d->required = true;
                        if (eq && !parse_go_bool(eq + 1, &d->required))
                                return err_set(err, BLD_E_INVALID, "invalid value for required: %s",
                                               eq + 1);
                        continue;
                }
                /* A bare first field is the name, also with the '=' of vendor/class=device. */
                if (eq && k == 4 && strncasecmp(f, "name", k) == 0)
                        name = eq + 1;
                else if (i == 0)
                        name = f;
                else if (eq)
                        return err_set(err, BLD_E_INVALID, "unexpected key '%.*s' in '%s'", (int)k,
                                       f, f);
                else
                        return err_set(err, BLD_E_INVALID,
                                       "invalid field '%s' must be a key=value pair", f);
                if (d->name)
                        return err_set(err, BLD_E_INVALID, "device name already set to %s",
                                       d->name);
                d->name = name;
        }
        if (!d->name || !*d->name)
                return err_set(err, BLD_E_INVALID, "--device without the name of a device");
        return 0;
}

/* There is nothing to hand in: what is optional is left out, what is required fails the plan. */
static int run_device(struct plan *p, const struct df_instr *in, const char *value,
                      struct bld_err *err)
{
        AUTO_STRV struct strv fields = {0};
        struct device d = {0};
        int r = csv_split(value, &fields, err);

        if (r == 0)
                r = parse_device(&fields, &d, err);
        if (r < 0)
                return r;
        if (!p->o->allow_device)
                return err_try(
                        err,
                        err_set(err, BLD_E_POLICY, "RUN --device=%.100s is not allowed", d.name),
                        "bld build --allow device ...");
        if (d.required)
                return err_set(err, BLD_E_UNSUPPORTED,
                               "device %.100s is required, and bld cannot give devices to a step",
                               d.name);
        if (p->o->warn)
                p->o->warn(p->o->user, in->line,
                           "bld cannot give devices to a step: --device is ignored");
        return 0;
}

static int run_network(struct plan *p, const struct df_instr *in, struct vx_run *run,
                       struct bld_err *err)
{
        const char *net = df_flag(in, "network"), *security = df_flag(in, "security");

        if (!net || !*net)
                net = p->o->network;
        if (strcmp(net, "default") && strcmp(net, "none") && strcmp(net, "host"))
                return err_set(err, BLD_E_INVALID, "invalid network mode \"%s\"", net);
        if (df_flag(in, "network") && strcmp(net, "host") == 0 && !p->o->allow_host_network)
                return err_try(err, err_set(err, BLD_E_POLICY, "RUN --network=host is not allowed"),
                               "bld build --allow network.host ...");
        if (security && *security && strcmp(security, "sandbox") && strcmp(security, "insecure"))
                return err_set(err, BLD_E_INVALID, "security \"%s\" is not valid", security);
        run->insecure = security && strcmp(security, "insecure") == 0;
        if (run->insecure && !p->o->allow_insecure)
                return err_try(err,
                               err_set(err, BLD_E_POLICY, "RUN --security=insecure is not allowed"),
                               "bld build --allow security.insecure ...");
        run->network = mem_strdup(net);
        return run->network ? 0 : err_nomem(err, "RUN");
}

/* What the step calls its machine. It stands in a line of /etc/hosts, too. */
static int run_hostname(struct plan *p, struct vx_run *run, struct bld_err *err)
{
        const char *name = plan_build_arg(p->o, "BUILDKIT_SANDBOX_HOSTNAME");

        if (!name || !*name)
                return 0;
        for (const char *c = name; *c; c++)
                if ((unsigned char)*c <= ' ' || *c == '#' || *c == 0x7f)
                        return err_set(err, BLD_E_INVALID,
                                       "BUILDKIT_SANDBOX_HOSTNAME is not a host name");
        if (strlen(name) > HOSTNAME_MAX)
                return err_set(err, BLD_E_INVALID,
                               "BUILDKIT_SANDBOX_HOSTNAME is longer than %d bytes", HOSTNAME_MAX);
        run->hostname = mem_strdup(name);
        return run->hostname ? 0 : err_nomem(err, "RUN");
}

/* A single heredoc as the whole command: its body is the script. */
static int run_heredoc(struct stage *s, const struct df_heredoc *h, struct vx_run *run,
                       struct bld_err *err)
{
        struct df_cmd cmd = {0};
        char *body, *text = NULL;
        size_t len;
        int r;

        if (h->chomp) {
                body = df_heredoc_chomp(h->content, h->content_len, &len);
        } else {
                body = mem_strndup(h->content, h->content_len);
                len = h->content_len;
        }
        if (!body)
                return err_nomem(err, "heredoc");
        if (len >= 2 && body[0] == '#' && body[1] == '!') {
                run->script = body;
                run->script_len = len;
                run->script_name = mem_strdup(h->name);
                if (!run->script_name || asprintf(&text, "/dev/pipes/%s", h->name) < 0)
                        return err_nomem(err, "heredoc");
        } else {
                text = body;
        }
        r = strv_add(&cmd.argv, text) < 0 ? err_nomem(err, "heredoc")
                                          : plan_words(s, &cmd, &run->argv, err);
        strv_done(&cmd.argv);
        free(text);
        return r;
}

static int run_words(struct stage *s, const struct df_instr *in, struct vx_run *run,
                     struct bld_err *err)
{
        const char *w = in->cmd.argv.n ? in->cmd.argv.v[0] : "";
        AUTO_SB struct sb text = SB_INIT(32u << 20);
        const struct df_heredoc *h = NULL;
        struct df_cmd cmd = {0};
        int r;

        if (in->cmd.json && in->cmd.argv.n == 0)
                return err_set(err, BLD_E_INVALID, "RUN []: arguments are required");
        if (in->nheredocs == 0 || in->cmd.json)
                return plan_words(s, &in->cmd, &run->argv, err);
        r = df_heredoc_find(in, w, &h, err);
        if (r != 0)
                return r < 0 ? r : run_heredoc(s, h, run, err);
        sb_str(&text, w);
        for (size_t i = 0; i < in->nheredocs; i++) {
                sb_char(&text, '\n');
                sb_add(&text, in->heredocs[i].content, in->heredocs[i].content_len);
                sb_str(&text, in->heredocs[i].name);
        }
        r = sb_check(&text, "heredoc", err);
        if (r == 0)
                r = strv_add(&cmd.argv, sb_text(&text)) < 0 ? err_nomem(err, "heredoc")
                                                            : plan_words(s, &cmd, &run->argv, err);
        strv_done(&cmd.argv);
        return r;
}

static void run_text(struct stage *s, const struct vx_run *run, struct sb *out)
{
        sb_str(out, "RUN ");
        if (s->args.n) {
                sb_fmt(out, "|%zu ", s->args.n);
                for (size_t i = 0; i < s->args.n; i++) {
                        const char *v = strv_index_get(&s->env_at, &s->env, s->args.v[i]);

                        sb_fmt(out, "%s=%s ", s->args.v[i], v ? v : "");
                }
        }
        for (size_t i = 0; i < run->argv.n; i++)
                sb_fmt(out, "%s ", run->argv.v[i]);
        sb_str(out, "# buildkit");
}

static int run_env(struct plan *p, struct stage *s, struct vx_run *run, struct bld_err *err)
{
        static const char *const hidden[] = {"BUILDKIT_SBOM_SCAN_CONTEXT=",
                                             "BUILDKIT_SBOM_SCAN_STAGE="};
        int r = 0;

        for (size_t i = 0; i < s->env.n && r == 0; i++) {
                bool skip = false;

                for (size_t k = 0; k < ARRAY_LEN(hidden); k++)
                        skip = skip || str_has_prefix(s->env.v[i], hidden[k]);
                if (!skip)
                        r = strv_add(&run->env, s->env.v[i]);
        }
        for (size_t i = 0; i < p->o->host_names->n && r == 0; i++)
                r = strv_add(&run->host_names, p->o->host_names->v[i]);
        if (r == 0 && p->o->ulimits)
                r = strv_copy(&run->ulimits, p->o->ulimits);
        return r < 0 ? err_nomem(err, "environment") : 0;
}

int plan_run(struct plan *p, struct stage *s, const struct df_instr *in, struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(64u << 20);
        struct vx_run *run;
        struct vertex *v;
        size_t mounts = 0;
        int r;

        for (size_t i = 0; i < in->nflags; i++)
                mounts += strcmp(in->flags[i].name, "mount") == 0;
        r = plan_vertex(p, s, in, VX_RUN, 1 + mounts, &v, err);
        if (r < 0)
                return r;
        run = &v->u.run;
        run->mounts = mem_zalloc(mounts, sizeof(*run->mounts));
        run->cwd = mem_strdup(plan_cwd(s));
        run->user = mem_strdup(s->config.user ? s->config.user : "");
        if (!run->mounts || !run->cwd || !run->user)
                r = err_nomem(err, "RUN");
        if (r == 0)
                r = run_words(s, in, run, err);
        if (r == 0)
                r = run_env(p, s, run, err);
        if (r == 0)
                r = run_hostname(p, run, err);
        if (r == 0)
                r = run_network(p, in, run, err);
        for (size_t i = 0; i < in->nflags && r == 0; i++) {
                const struct df_flag *f = &in->flags[i];

                if (strcmp(f->name, "mount") == 0)
                        r = plan_mount(p, s, f->value ? f->value : "", v, err);
                else if (strcmp(f->name, "device") == 0)
                        r = run_device(p, in, f->value ? f->value : "", err);
                (void)plan_fail(p, &f->pos, r);
        }
        if (r == 0) {
                run_text(s, run, &text);
                r = sb_check(&text, "history", err);
        }
        if (r < 0) {
                vertex_free(v);
                return r;
        }
        return plan_push(p, s, v, sb_take(&text), err);
}
