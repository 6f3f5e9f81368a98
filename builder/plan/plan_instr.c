/* Instructions that only touch the image config and the build environment. */
#include "builder/plan/plan_priv.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "base/num.h"

#define HISTORY_MAX (16u << 20) /* as large as a file may be */

/* ---- Go's ways of printing lists, which history entries show ---- */

static void go_list(struct sb *b, const struct strv *a, bool quoted)
{
        sb_char(b, '[');
        for (size_t i = 0; i < a->n; i++) {
                if (i)
                        sb_char(b, ' ');
                if (quoted)
                        df_quote(b, a->v[i]);
                else
                        sb_str(b, a->v[i]);
        }
        sb_char(b, ']');
}

static int note(struct stage *s, struct sb *text, struct bld_err *err)
{
        int r = sb_check(text, "history", err);

        return r < 0 ? r : plan_note(s, sb_take(text), err);
}

static int replace(char **slot, char *value, struct bld_err *err)
{
        if (!value)
                return err_nomem(err, "image config");
        free(*slot);
        *slot = value;
        return 0;
}

/* ---- ENV, LABEL, ARG ---- */

/* Every reference sees the environment as it was before the instruction. */
static int expand_pairs(struct plan *p, struct stage *s, const struct df_instr *in,
                        struct strv *keys, struct strv *values, struct bld_err *err)
{
        for (size_t i = 0; i < in->npairs; i++) {
                AUTO_FREE char *key = NULL, *value = NULL;
                int r = plan_expand(p, s, in->pairs[i].key, &key, err);

                if (r == 0)
                        r = plan_expand(p, s, in->pairs[i].value ? in->pairs[i].value : "", &value,
                                        err);
                if (r < 0)
                        return plan_fail(p, &in->pairs[i].pos, r);
                if (strv_add(keys, key) < 0 || strv_add(values, value) < 0)
                        return err_nomem(err, "image config");
        }
        return 0;
}

static int set_label(struct stage *s, const char *key, const char *value)
{
        struct img_kvs *a = &s->config.labels;
        uintptr_t at;
        char *text;

        for (; s->nlabels < a->n; s->nlabels++)
                if (map_set(&s->labels_at, a->v[s->nlabels].key,
                            (void *)(uintptr_t)(s->nlabels + 1)) < 0)
                        return BLD_E_NOMEM;
        at = (uintptr_t)map_get(&s->labels_at, key);
        if (!at)
                return img_kvs_add(a, key, value);
        text = mem_strdup(value);
        if (!text)
                return BLD_E_NOMEM;
        free(a->v[at - 1].value);
        a->v[at - 1].value = text;
        return 0;
}

static int plan_pairs(struct plan *p, struct stage *s, const struct df_instr *in,
                      struct bld_err *err)
{
        AUTO_STRV struct strv keys = {0}, values = {0};
        AUTO_SB struct sb text = SB_INIT(HISTORY_MAX);
        int r = expand_pairs(p, s, in, &keys, &values, err);

        if (r < 0)
                return r;
        sb_str(&text, df_kind_name(in->kind));
        for (size_t i = 0; i < keys.n && r == 0; i++) {
                lint_pair(p->o->lint, in, keys.v[i]);
                sb_fmt(&text, " %s=%s", keys.v[i], values.v[i]);
                if (in->kind == DF_LABEL) {
                        r = set_label(s, keys.v[i], values.v[i]);
                        continue;
                }
                if (!*keys.v[i])
                        return plan_fail(p, &in->pairs[i].pos,
                                         err_set(err, BLD_E_INVALID, "ENV names can not be blank"));
                r = strv_index_set(&s->config_env_at, &s->config.env, keys.v[i], values.v[i]);
                if (r == 0)
                        r = strv_index_set(&s->env_at, &s->env, keys.v[i], values.v[i]);
        }
        return r < 0 ? err_nomem(err, "image config") : note(s, &text, err);
}

/* Build argument, default written here, global value: the first that there is; else nothing. */
static int arg_value(struct plan *p, struct stage *s, const struct df_pair *d, char **ret,
                     struct bld_err *err)
{
        const char *given = plan_build_arg(p->o, d->key);

        if (!given && d->value)
                return plan_expand(p, s, d->value, ret, err);
        if (!given)
                given = strv_index_get(&p->global_at, &p->global, d->key);
        if (!given)
                return 0;
        *ret = mem_strdup(given);
        return *ret ? 0 : err_nomem(err, "argument");
}

int plan_arg(struct plan *p, struct stage *s, const struct df_instr *in, struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(HISTORY_MAX);

        sb_str(&text, "ARG");
        for (size_t i = 0; i < in->npairs; i++) {
                const struct df_pair *d = &in->pairs[i];
                AUTO_FREE char *value = NULL;
                int r;

                lint_key(p->o->lint, "ARG", d->key);
                r = arg_value(p, s, d, &value, err);
                if (r < 0)
                        return plan_fail(p, &d->pos, r);
                outline_arg(p->o->outline, in, d->key, value,
                            !d->value && !plan_build_arg(p->o, d->key) &&
                                    strv_index_get(&p->global_at, &p->global, d->key));
                sb_fmt(&text, " %s", d->key);
                if (value)
                        sb_fmt(&text, "=%s", value);
                if (value && strv_index_find(&s->config_env_at, &s->config.env, d->key) != SIZE_MAX)
                        s->env_hidden = true;
                if ((value && strv_index_set(&s->env_at, &s->env, d->key, value) < 0) ||
                    strv_index_add(&s->args_at, &s->args, d->key) < 0)
                        return err_nomem(err, "argument");
        }
        return note(s, &text, err);
}

/* ---- CMD, ENTRYPOINT, SHELL ---- */

static const char *const default_shell[] = {"/bin/sh", "-c"};

int plan_words(const struct stage *s, const struct df_cmd *cmd, struct strv *out,
               struct bld_err *err)
{
        int r = 0;

        if (cmd->json)
                return strv_copy(out, &cmd->argv) < 0 ? err_nomem(err, "command") : 0;
        if (s->config.has_shell)
                r = strv_copy(out, &s->config.shell);
        for (size_t i = 0; i < ARRAY_LEN(default_shell) && !s->config.has_shell && r == 0; i++)
                r = strv_add(out, default_shell[i]);
        if (r == 0)
                r = strv_add(out, cmd->argv.n ? cmd->argv.v[0] : "");
        return r < 0 ? err_nomem(err, "command") : 0;
}

static int plan_command(struct plan *p, struct stage *s, const struct df_instr *in,
                        struct bld_err *err)
{
        bool entrypoint = in->kind == DF_ENTRYPOINT;
        struct strv *slot = entrypoint ? &s->config.entrypoint : &s->config.cmd;
        AUTO_SB struct sb text = SB_INIT(HISTORY_MAX);
        struct strv words = {0};
        int r = plan_words(s, &in->cmd, &words, err);

        if (r < 0) {
                strv_done(&words);
                return r;
        }
        lint_command(p->o->lint, &s->lint, in, s->config.has_shell && s->config.shell.n);
        sb_fmt(&text, "%s ", df_kind_name(in->kind));
        go_list(&text, &words, true);
        strv_done(slot);
        *slot = words;
        if (entrypoint) {
                s->config.has_entrypoint = words.n > 0;
                if (!s->cmd_seen) {
                        strv_done(&s->config.cmd);
                        s->config.has_cmd = false;
                }
        } else {
                s->config.has_cmd = true;
                s->config.args_escaped = true;
                s->cmd_seen = true;
        }
        return note(s, &text, err);
}

static int plan_shell(struct stage *s, const struct df_instr *in, struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(HISTORY_MAX);

        strv_done(&s->config.shell);
        s->config.has_shell = true;
        if (strv_copy(&s->config.shell, &in->cmd.argv) < 0)
                return err_nomem(err, "image config");
        sb_str(&text, "SHELL ");
        go_list(&text, &s->config.shell, false);
        return note(s, &text, err);
}

/* ---- EXPOSE ---- */

static bool port_range(const char *s, size_t n, uint64_t *lo, uint64_t *hi)
{
        char text[16];
        char *dash;

        if (n == 0 || n >= sizeof(text))
                return false;
        memcpy(text, s, n);
        text[n] = '\0';
        dash = strchr(text, '-');
        if (dash)
                *dash = '\0';
        return parse_u64(text, 0, 65535, lo) && parse_u64(dash ? dash + 1 : text, *lo, 65535, hi);
}

static bool is_ip(const char *s, size_t n)
{
        unsigned char bin[16];
        char text[64];

        if (n >= 2 && s[0] == '[' && s[n - 1] == ']') {
                s++;
                n -= 2;
        }
        if (n >= sizeof(text))
                return false;
        memcpy(text, s, n);
        text[n] = '\0';
        return inet_pton(AF_INET, text, bin) == 1 || inet_pton(AF_INET6, text, bin) == 1;
}

/* The host part only has to be well-formed; it is dropped. */
static int check_host(const char *host, size_t n, const char *port, uint64_t lo, uint64_t hi,
                      struct bld_err *err)
{
        const char *ip = NULL, *p = host;
        size_t ip_len = 0;
        uint64_t hlo, hhi;

        for (const char *c = host; c < host + n; c++)
                if (*c == ':')
                        p = c + 1;
        if (p > host) {
                ip = host;
                ip_len = (size_t)(p - host) - 1;
        }
        if (ip && ip_len && !is_ip(ip, ip_len))
                return err_set(err, BLD_E_INVALID, "invalid IP address: %.*s", (int)ip_len, ip);
        n -= (size_t)(p - host);
        if (n == 0)
                return 0;
        if (!port_range(p, n, &hlo, &hhi))
                return err_set(err, BLD_E_INVALID, "invalid hostPort: %.*s", (int)n, p);
        if (hhi - hlo != hi - lo && hi != lo)
                return err_set(err, BLD_E_INVALID,
                               "invalid ranges specified for container and host Ports: %.*s and "
                               "%.*s",
                               (int)strcspn(port, "/"), port, (int)n, p);
        return 0;
}

struct expose {
        struct stage *s;
        struct strv shown; /* as the history tells it, with repeats */
};

static int expose_port(struct expose *x, unsigned port, const char *proto)
{
        char text[24];

        (void)snprintf(text, sizeof(text), "%u/%s", port, proto);
        if (strv_add(&x->shown, text) < 0)
                return BLD_E_NOMEM;
        return strv_index_add(&x->s->ports_at, &x->s->config.exposed_ports, text);
}

static int expose_one(struct expose *x, const char *spec, struct bld_err *err)
{
        const char *slash = strchr(spec, '/'), *port = spec;
        size_t n = slash ? (size_t)(slash - spec) : strlen(spec);
        char proto[8] = "tcp";
        uint64_t lo = 0, hi = 0;
        int r = 0;

        if (slash && slash[1]) {
                (void)str_copy(proto, sizeof(proto), slash + 1);
                for (char *c = proto; *c; c++)
                        *c = (char)(*c >= 'A' && *c <= 'Z' ? *c | 0x20 : *c);
                if (strcasecmp(slash + 1, proto) != 0 ||
                    (strcmp(proto, "tcp") && strcmp(proto, "udp") && strcmp(proto, "sctp")))
                        return err_set(err, BLD_E_INVALID,
                                       "invalid port: \"%s\": invalid proto: %s", spec, slash + 1);
        }
        for (size_t i = 0; i < n; i++)
                if (spec[i] == ':')
                        port = spec + i + 1;
        if (port == spec + n)
                return err_set(err, BLD_E_INVALID, "invalid port: \"%s\": no port specified", spec);
        if (!port_range(port, n - (size_t)(port - spec), &lo, &hi))
                return err_set(err, BLD_E_INVALID, "invalid containerPort: %.*s",
                               (int)(n - (size_t)(port - spec)), port);
        if (port > spec)
                r = check_host(spec, (size_t)(port - spec) - 1, port, lo, hi, err);
        for (uint64_t i = lo; i <= hi && r == 0; i++)
                if (expose_port(x, (unsigned)i, proto) < 0)
                        r = err_nomem(err, "image config");
        return r;
}

static int expose_all(struct plan *p, const struct strv *specs, struct expose *x,
                      struct bld_err *err)
{
        int r = 0;

        for (size_t i = 0; i < specs->n && r == 0; i++) {
                lint_expose(p->o->lint, specs->v[i]);
                r = expose_one(x, specs->v[i], err);
        }
        return r;
}

static int plan_expose(struct plan *p, struct stage *s, const struct df_instr *in,
                       struct bld_err *err)
{
        struct lint_env e;
        AUTO_STRV struct strv ports = {0}, sorted = {0};
        AUTO_SB struct sb text = SB_INIT(HISTORY_MAX);
        struct expose x = {.s = s};
        int r = 0;

        for (size_t i = 0; i < in->nargs; i++)
                if (strv_add(&sorted, in->args[i].text) < 0)
                        return err_nomem(err, "image config");
        strv_sort(&sorted);
        lint_env_init(&e, &s->env, &s->env_at, false);
        for (size_t i = 0; i < sorted.n && r == 0; i++)
                r = df_expand_words(sorted.v[i], p->o->file->escape, &e.env, &ports, err);
        if (r < 0)
                return r;
        r = expose_all(p, &ports, &x, err);
        if (r == 0) {
                sb_str(&text, "EXPOSE ");
                go_list(&text, &x.shown, false);
                r = note(s, &text, err);
        }
        strv_done(&x.shown);
        return r;
}

/* ---- the rest ---- */

static int plan_volume(struct plan *p, struct stage *s, const struct df_instr *in,
                       struct bld_err *err)
{
        AUTO_STRV struct strv paths = {0};
        AUTO_SB struct sb text = SB_INIT(HISTORY_MAX);

        for (size_t i = 0; i < in->nargs; i++) {
                AUTO_FREE char *path = NULL;
                int r = plan_expand(p, s, in->args[i].text, &path, err);

                if (r == 0 && !path[strspn(path, " \t")])
                        r = err_set(err, BLD_E_INVALID,
                                    "VOLUME specified can not be an empty string");
                if (r < 0)
                        return plan_fail(p, &in->args[i].pos, r);
                if (strv_add(&paths, path) < 0 ||
                    strv_index_add(&s->volumes_at, &s->config.volumes, path) < 0)
                        return err_nomem(err, "image config");
        }
        sb_str(&text, "VOLUME ");
        go_list(&text, &paths, false);
        return note(s, &text, err);
}

static bool known_signal(const char *s)
{
        static const char *const further[] = {"CLD", "IO", "IOT", "RTMAX", "RTMIN"};
        int64_t number;
        uint64_t n;

        if (parse_i64(s, INT64_MIN, INT64_MAX, &number))
                return number != 0;
        if (strncasecmp(s, "SIG", 3) == 0)
                s += 3;
        for (int i = 1; i < 32; i++) {
                const char *name = sigabbrev_np(i);

                if (name && strcasecmp(s, name) == 0)
                        return true;
        }
        for (size_t i = 0; i < ARRAY_LEN(further); i++)
                if (strcasecmp(s, further[i]) == 0)
                        return true;
        if (strncasecmp(s, "RTMIN+", 6) == 0)
                return parse_u64(s + 6, 1, 15, &n);
        return strncasecmp(s, "RTMAX-", 6) == 0 && parse_u64(s + 6, 1, 14, &n);
}

/* USER, STOPSIGNAL, MAINTAINER: one text, stored as it comes out. */
static int plan_text(struct plan *p, struct stage *s, const struct df_instr *in, char **slot,
                     struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(HISTORY_MAX);
        char *value = NULL;
        int r = in->kind == DF_MAINTAINER
                        ? ((value = mem_strdup(in->args[0].text)) ? 0 : err_nomem(err, "author"))
                        : plan_expand(p, s, in->args[0].text, &value, err);

        if (r == 0 && in->kind == DF_STOPSIGNAL) {
                if (strcmp(s->config.platform.os, "windows") == 0)
                        r = err_set(err, BLD_E_INVALID,
                                    "STOPSIGNAL is not supported by windows images");
                else if (!known_signal(value))
                        r = err_set(err, BLD_E_INVALID, "invalid signal: %s", value);
                if (r < 0)
                        free(value);
        }
        if (r < 0)
                return plan_fail(p, &in->args[0].pos, r);
        sb_fmt(&text, "%s %s", df_kind_name(in->kind), value);
        r = replace(slot, value, err);
        return r == 0 ? note(s, &text, err) : r;
}

static int health_ns(const struct df_instr *in, const char *flag, int64_t *ret, struct bld_err *err)
{
        const char *value = df_flag(in, flag);

        *ret = 0;
        if (!value || !*value)
                return 0;
        if (!parse_go_duration(value, ret))
                return err_set(err, BLD_E_INVALID, "invalid duration \"%s\" for --%s", value, flag);
        if (*ret != 0 && *ret < 1000000)
                return err_set(err, BLD_E_INVALID, "Interval \"%s\" cannot be less than 1ms", flag);
        return 0;
}

static void health_text(struct sb *b, const struct img_health *h)
{
        const struct {
                const char *name;
                int64_t ns;
        } d[] = {{"Interval", h->interval_ns},
                 {"Timeout", h->timeout_ns},
                 {"StartPeriod", h->start_period_ns},
                 {"StartInterval", h->start_interval_ns}};
        char text[32];

        sb_str(b, "HEALTHCHECK {Test:");
        go_list(b, &h->test, false);
        for (size_t i = 0; i < ARRAY_LEN(d); i++) {
                format_go_duration(d[i].ns, text);
                sb_fmt(b, " %s:%s", d[i].name, text);
        }
        sb_fmt(b, " Retries:%lld}", (long long)h->retries);
}

static int plan_health(struct plan *p, struct stage *s, const struct df_instr *in,
                       struct bld_err *err)
{
        const char *retries = df_flag(in, "retries");
        AUTO_SB struct sb text = SB_INIT(HISTORY_MAX);
        struct img_health h = {0};
        int r = 0;

        lint_health(p->o->lint, &s->lint, in);
        if (in->health == DF_HEALTH_NONE) {
                r = strv_add(&h.test, "NONE");
        } else {
                r = strv_add(&h.test, in->cmd.json ? "CMD" : "CMD-SHELL");
                if (r == 0)
                        r = strv_copy(&h.test, &in->cmd.argv);
        }
        if (r < 0)
                r = err_nomem(err, "health check");
        if (r == 0 && in->health == DF_HEALTH_CMD) {
                r = health_ns(in, "interval", &h.interval_ns, err);
                if (r == 0)
                        r = health_ns(in, "timeout", &h.timeout_ns, err);
                if (r == 0)
                        r = health_ns(in, "start-period", &h.start_period_ns, err);
                if (r == 0)
                        r = health_ns(in, "start-interval", &h.start_interval_ns, err);
                if (r == 0 && retries && *retries && !parse_i64(retries, 0, INT32_MAX, &h.retries))
                        r = err_set(err, BLD_E_INVALID, "invalid number \"%s\" for --retries",
                                    retries);
        }
        if (r < 0) {
                strv_done(&h.test);
                return r;
        }
        strv_done(&s->config.health.test);
        s->config.health = h;
        s->config.has_health = true;
        health_text(&text, &h);
        return note(s, &text, err);
}

static int plan_onbuild(struct stage *s, const struct df_instr *in, struct bld_err *err)
{
        if (!in->trigger || strv_add(&s->config.on_build, in->trigger) < 0)
                return err_nomem(err, "image config");
        return 0;
}

int plan_config(struct plan *p, struct stage *s, const struct df_instr *in, struct bld_err *err)
{
        switch (in->kind) {
        case DF_ENV:
        case DF_LABEL:
                return plan_pairs(p, s, in, err);
        case DF_ARG:
                return plan_arg(p, s, in, err);
        case DF_CMD:
        case DF_ENTRYPOINT:
                return plan_command(p, s, in, err);
        case DF_SHELL:
                return plan_shell(s, in, err);
        case DF_EXPOSE:
                return plan_expose(p, s, in, err);
        case DF_VOLUME:
                return plan_volume(p, s, in, err);
        case DF_USER:
                return plan_text(p, s, in, &s->config.user, err);
        case DF_STOPSIGNAL:
                return plan_text(p, s, in, &s->config.stop_signal, err);
        case DF_MAINTAINER:
                return plan_text(p, s, in, &s->config.author, err);
        case DF_HEALTHCHECK:
                return plan_health(p, s, in, err);
        case DF_ONBUILD:
                return plan_onbuild(s, in, err);
        case DF_UNKNOWN:
        case DF_FROM:
        case DF_RUN:
        case DF_COPY:
        case DF_ADD:
        case DF_WORKDIR:
                break;
        }
        return err_set(err, BLD_E_BUG, "instruction %s in the wrong place", in->word);
}
