#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/num.h"
#include "base/path.h"
#include "cli/signals.h"
#include "cli/text.h"
#include "cli/view.h"

#define G(field) offsetof(struct cli_common, field)

const struct opt cli_global_opts[] = {
        {"root", 0, OPT_STR, G(root), "DIR", "store of images, cache and records ($BLD_ROOT)",
         "Global flags"},
        {"debug", 'D', OPT_BOOL, G(debug), NULL, "more about errors and choices ($BLD_DEBUG)",
         NULL},
        {"log-level", 0, OPT_STR, G(log_level), "L", "trace, debug, info, warn or error (warn)",
         NULL},
        {"log-format", 0, OPT_STR, G(log_format), "F", "text or json, for diagnostics (text)",
         NULL},
        {"color", 0, OPT_STR, G(color), "WHEN", "auto, always or never (auto)", NULL},
        {"no-ci", 0, OPT_BOOL, G(no_ci), NULL, "do not look for a CI system ($BLD_CI=none)", NULL},
        {"offline", 0, OPT_BOOL, G(offline), NULL, "open no network connection ($BLD_OFFLINE)",
         NULL},
        {"help", 'h', OPT_BOOL, G(help), NULL, "this text", NULL},
        {"version", 0, OPT_BOOL, G(version), NULL, "the version", NULL},
        {"config", 0, OPT_REFUSE, 0, "FILE", "configuration files are not available yet", NULL},
        {"tmpdir", 0, OPT_REFUSE, 0, "DIR", "the store's own tmp folder is used; set --root", NULL},
        {0},
};

const struct opt cli_registry_opts[] = {
        {"authfile", 0, OPT_STR, G(authfile), "FILE",
         "credentials ($BLD_AUTH_FILE; else docker's and podman's places)", "Registry flags"},
        {"creds", 0, OPT_STR, G(creds), "USER[:PASS]", "credentials for this command", NULL},
        {"tls-verify", 0, OPT_BOOL, G(tls_verify), NULL,
         "check certificates (true; $BLD_TLS_VERIFY)", NULL},
        {"insecure", 0, OPT_LIST, G(insecure), "HOST",
         "plain HTTP for HOST; loopback always may ($BLD_INSECURE)", NULL},
        {"ca", 0, OPT_LIST, G(ca), "HOST=FILE", "certificate authority of a registry", NULL},
        {"retry", 0, OPT_STR, G(retry), "N", "attempts after the first (4; $BLD_RETRY)", NULL},
        {"retry-max-time", 0, OPT_STR, G(retry_max_time), "D", "time for all of them (10m)", NULL},
        {"parallel", 0, OPT_STR, G(parallel), "N", "transfers per host (6; $BLD_PARALLEL)", NULL},
        {"mirror", 0, OPT_LIST, G(mirror), "SRC=DST",
         "pull what is named SRC (HOST[/PATH]) from DST first ($BLD_MIRRORS)", NULL},
        {"mirror-only", 0, OPT_BOOL, G(mirror_only), NULL, "never ask a SRC that has a mirror",
         NULL},
        {"credential-helper", 0, OPT_LIST, G(credential_helper), "NAME",
         "ask docker-credential-NAME, or env, gitlab", NULL},
        {"client-cert", 0, OPT_LIST, G(client_cert), "HOST=CRT,KEY",
         "certificate to show to a registry", NULL},
        {"cert-dir", 0, OPT_STR, G(cert_dir), "DIR", "*.crt, *.cert and *.key for all registries",
         NULL},
        {"limit-rate", 0, OPT_STR, G(limit_rate), "SIZE", "bytes per second of all transfers",
         NULL},
        {"retry-delay", 0, OPT_NOTE, 0, "D", "the pause follows what the registry answers", NULL},
        {0},
};

/* ---- environment ---- */

static int env_bool(const char *name, bool *at, struct bld_err *err)
{
        const char *e = getenv(name);

        if (!e || !*e)
                return 0;
        if (!parse_go_bool(e, at))
                return err_set(err, BLD_E_USAGE, "%s takes true or false, not \"%.100s\"", name, e);
        return 0;
}

static void env_str(const char *name, const char **at)
{
        const char *e = getenv(name);

        if (e && *e)
                *at = e;
}

/* Set, and not served yet: say so instead of doing something else than was asked for. */
static int env_unserved(struct bld_err *err)
{
        static const char *const names[] = {"BLD_CONFIG", "BLD_LOCKED", "BLD_SIGN_KEY",
                                            "BLD_CA_BUNDLE"};

        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
                const char *e = getenv(names[i]);

                if (e && *e)
                        return err_set(err, BLD_E_USAGE,
                                       "%s is set, but is not available yet\ntry: unset %s",
                                       names[i], names[i]);
        }
        return 0;
}

int cli_env_apply(struct cli_common *o, struct bld_err *err)
{
        int r = env_unserved(err);

        o->tls_verify = true;
        r = r < 0 ? r : env_bool("BLD_DEBUG", &o->debug, err);
        r = r < 0 ? r : env_bool("BLD_OFFLINE", &o->offline, err);
        r = r < 0 ? r : env_bool("BLD_TLS_VERIFY", &o->tls_verify, err);
        env_str("BLD_ROOT", &o->root);
        env_str("BLD_LOG_LEVEL", &o->log_level);
        env_str("BLD_LOG_FORMAT", &o->log_format);
        env_str("BLD_AUTH_FILE", &o->authfile);
        env_str("BLD_RETRY", &o->retry);
        env_str("BLD_PARALLEL", &o->parallel);
        return r;
}

/* ---- flag values ---- */

int cli_number(const char *flag, const char *s, uint64_t max, uint64_t *ret, struct bld_err *err)
{
        if (s && !parse_u64(s, 0, max, ret))
                return err_set(err, BLD_E_USAGE, "--%s takes a number up to %llu, not \"%.100s\"",
                               flag, (unsigned long long)max, s);
        return 0;
}

int cli_bytes(const char *flag, const char *s, uint64_t *ret, struct bld_err *err)
{
        if (s && !parse_size(s, ret))
                return err_set(err, BLD_E_USAGE,
                               "--%s takes a size like 512m or 10g, not \"%.100s\"", flag, s);
        return 0;
}

int cli_duration_ms(const char *flag, const char *s, int64_t *ret, struct bld_err *err)
{
        int64_t ns;

        if (!s)
                return 0;
        if (!parse_duration(s, &ns) || ns < 0)
                return err_set(err, BLD_E_USAGE,
                               "--%s takes a duration like 90s or 1h30m, not \"%.100s\"", flag, s);
        *ret = ns > 0 && ns < 1000000 ? 1 : ns / 1000000;
        return 0;
}

struct bld_list cli_list(const struct strv *a)
{
        /* Strings behind a const pointer to const: C does not add the inner const by itself. */
        return (struct bld_list){(const char *const *)a->v, a->n};
}

size_t cli_repository_len(const char *ref)
{
        const char *at = strchr(ref, '@'), *slash, *colon;
        size_t n = at ? (size_t)(at - ref) : strlen(ref);

        slash = memrchr(ref, '/', n);
        colon = memrchr(ref, ':', n);
        return colon && (!slash || colon > slash) ? (size_t)(colon - ref) : n;
}

static int choice(const char *flag, const char *s, const char *const *names, size_t n, size_t *ret,
                  struct bld_err *err)
{
        for (size_t i = 0; s && i < n; i++)
                if (strcmp(s, names[i]) == 0) {
                        *ret = i;
                        return 0;
                }
        if (s)
                return err_set(err, BLD_E_USAGE, "--%s does not take \"%.100s\"", flag, s);
        return 0;
}

/* "10m", or "10m/s" as it is read aloud. */
static int limit_rate(const char *s, uint64_t *ret, struct bld_err *err)
{
        AUTO_FREE char *size = NULL;

        if (!s)
                return 0;
        size = mem_strndup(s, strlen(s) - (str_has_suffix(s, "/s") ? 2 : 0));
        return size ? cli_bytes("limit-rate", size, ret, err) : err_nomem(err, "--limit-rate");
}

int cli_setup(struct cli *c, const struct cli_common *o, struct bld_err *err)
{
        static const char *const colors[] = {"auto", "always", "never"};
        static const char *const levels[] = {"trace", "debug", "info", "warn", "error"};
        static const char *const formats[] = {"text", "json"};
        size_t color = COLOR_AUTO, level = LOG_WARN, format = 0;
        int r;

        c->o = o;
        r = choice("color", o->color, colors, ARRAY_LEN(colors), &color, err);
        term_init(&c->err, 2, (enum term_color)color);
        r = r < 0 ? r : choice("log-level", o->log_level, levels, ARRAY_LEN(levels), &level, err);
        r = r < 0 ? r : choice("log-format", o->log_format, formats, 2, &format, err);
        r = r < 0 ? r : cli_number("retry", o->retry, 1000, &c->retries, err);
        r = r < 0 ? r : cli_number("parallel", o->parallel, 256, &c->parallel, err);
        r = r < 0 ? r : limit_rate(o->limit_rate, &c->limit_rate, err);
        r = r < 0 ? r : cli_duration_ms("retry-max-time", o->retry_max_time, &c->retry_max_ms, err);
        c->level = o->debug ? MIN((enum log_level)level, LOG_DEBUG) : (enum log_level)level;
        c->color = (enum term_color)color;
        c->json_log = format == 1;
        return r;
}

/* ---- session ---- */

int cli_ask(const char *prompt, bool echo, char **ret, struct bld_err *err)
{
        struct termios old, quiet;
        AUTO_FD int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
        AUTO_SB struct sb text = SB_INIT(4096);
        char line[1024];
        ssize_t n;

        if (fd < 0 || tcgetattr(fd, &old) < 0)
                return err_set(err, BLD_E_USAGE, "there is no terminal to ask for the %.*s on",
                               (int)strcspn(prompt, ":"), prompt);
        (void)text_add(&text, prompt, strlen(prompt), TEXT_WIDE, 0);
        (void)term_write(fd, text.buf, text.len);
        quiet = old;
        quiet.c_lflag &= ~(tcflag_t)ECHO;
        if (!echo)
                (void)tcsetattr(fd, TCSAFLUSH, &quiet);
        n = read(fd, line, sizeof(line) - 1);
        if (!echo) {
                (void)tcsetattr(fd, TCSAFLUSH, &old);
                (void)term_write(fd, "\n", 1);
        }
        if (n > 0) {
                line[n] = '\0';
                line[strcspn(line, "\r\n")] = '\0';
        }
        if (n <= 0 || !line[0])
                return err_set(err, BLD_E_USAGE, "no %.*s was given", (int)strcspn(prompt, ":"),
                               prompt);
        *ret = mem_strdup(line);
        explicit_bzero(line, sizeof(line));
        return *ret ? 0 : err_nomem(err, "answer");
}

/* "USER:PASS" of --creds USER. */
static int ask_password(const char *user, char **ret, struct bld_err *err)
{
        AUTO_SB struct sb prompt = SB_INIT(4096);
        char *pass = NULL;
        int r;

        sb_fmt(&prompt, "password of %s: ", user);
        r = cli_ask(sb_text(&prompt), false, &pass, err);
        if (r == 0 && asprintf(ret, "%s:%s", user, pass) < 0) {
                *ret = NULL;
                r = err_nomem(err, "password");
        }
        if (pass)
                explicit_bzero(pass, strlen(pass));
        free(pass);
        return r;
}

/* A list in the environment, which flags replace. */
static int env_list(const char *name, const char *separators, const struct strv *flags,
                    struct strv *out, struct bld_err *err)
{
        const char *e = flags->n ? NULL : getenv(name);

        while (e && *e) {
                size_t n = strcspn(e, separators);

                if (n && strv_addn(out, e, n) < 0)
                        return err_nomem(err, name);
                e += n + (e[n] != '\0');
        }
        return 0;
}

int cli_open(struct cli *c, struct bld_err *err)
{
        const struct cli_common *o = c->o;
        AUTO_STRV struct strv hosts = {0}, mirrors = {0};
        struct bld_opts b = {.size = sizeof(b)};
        int r;

        if (o->creds && *o->creds && !strchr(o->creds, ':')) {
                r = ask_password(o->creds, &c->creds, err);
                if (r < 0)
                        return r;
        }
        if (c->err.redraw || isatty(1) == 1)
                text_init(); /* while there is one thread */
        r = env_list("BLD_INSECURE", ",; ", &o->insecure, &hosts, err);
        r = r < 0 ? r : env_list("BLD_MIRRORS", ";", &o->mirror, &mirrors, err);
        r = r < 0 ? r : signals_start(err);
        if (r < 0)
                return r;
        b.root = o->root;
        b.authfile = o->authfile;
        b.creds = c->creds ? c->creds : o->creds;
        b.insecure = cli_list(o->insecure.n ? &o->insecure : &hosts);
        b.cas = cli_list(&o->ca);
        b.client_certs = cli_list(&o->client_cert);
        b.cert_dir = o->cert_dir;
        b.credential_helpers = cli_list(&o->credential_helper);
        b.mirrors = cli_list(o->mirror.n ? &o->mirror : &mirrors);
        b.mirror_only = o->mirror_only;
        b.limit_rate = c->limit_rate;
        b.no_tls_verify = !o->tls_verify;
        b.offline = o->offline;
        b.no_retry = o->retry && c->retries == 0;
        b.retries = (unsigned)c->retries;
        b.parallel = (unsigned)c->parallel;
        b.retry_max_ms = c->retry_max_ms;
        b.note = cli_opt_note;
        b.user = c;
        r = bld_open(&b, &c->b, err);
        if (r == 0)
                signals_set_session(c->b);
        return r;
}

void cli_close(struct cli *c)
{
        signals_set_session(NULL);
        bld_close(c->b);
        c->b = NULL;
        if (c->creds)
                explicit_bzero(c->creds, strlen(c->creds));
        free(c->creds);
        c->creds = NULL;
        signals_stop();
}

/* ---- output ---- */

static pthread_mutex_t view_lock = PTHREAD_MUTEX_INITIALIZER; /* guards current_view */
static struct view *current_view;

void cli_set_view(struct view *v)
{
        (void)pthread_mutex_lock(&view_lock);
        current_view = v;
        (void)pthread_mutex_unlock(&view_lock);
        signals_set_view(v);
}

int cli_write_out(const void *p, size_t n, struct bld_err *err)
{
        if (term_write(1, p, n) || errno == EPIPE) /* broken pipe: the reader has seen enough */
                return 0;
        return err_sys(err, errno, "write to standard output");
}

int cli_written(int r, const char *path, struct bld_err *err)
{
        if (r != BLD_E_SYS || err->sys != EPIPE || (path && strcmp(path, "-") != 0))
                return r;
        err_clear(err);
        return 0;
}

void cli_say(struct cli *c, const char *text)
{
        if (!c->quiet)
                (void)term_write(2, text, strlen(text)); /* for people only */
}

int cli_check_target(const char *flag, const char *path, struct bld_err *err)
{
        int r = strcmp(path, "-") == 0 ? 0 : path_check_target(path, err);

        return r == BLD_E_INVALID ? err_wrap(err, r, "--%s", flag) : r;
}

int cli_puts(const char *s, struct bld_err *err)
{
        return cli_write_out(s, strlen(s), err);
}

static void note_json(struct sb *out, const char *kind, const char *text)
{
        sb_fmt(out, "{\"level\":\"%s\",\"message\":", strcmp(kind, "note") == 0 ? "info" : "warn");
        text_json(out, text, strlen(text));
        sb_str(out, "}\n");
}

static void say(struct cli *c, const char *kind, const char *text)
{
        AUTO_SB struct sb line = SB_INIT(1u << 20);

        if (c->quiet || c->level > LOG_WARN)
                return;
        (void)pthread_mutex_lock(&view_lock);
        if (current_view) {
                view_note(current_view, kind, text);
        } else {
                if (c->json_log)
                        note_json(&line, kind, text);
                else
                        view_note_line(&c->err, &line, kind, text);
                (void)term_write(2, line.buf, line.len); /* nowhere else to say it */
        }
        (void)pthread_mutex_unlock(&view_lock);
}

void cli_note(struct cli *c, const char *kind, const char *fmt, ...)
{
        AUTO_SB struct sb text = SB_INIT(1u << 20);
        va_list ap;

        va_start(ap, fmt);
        sb_vfmt(&text, fmt, ap);
        va_end(ap);
        say(c, kind, sb_text(&text));
}

void cli_opt_note(void *user, const char *text)
{
        if (str_has_prefix(text, "warning: "))
                say(user, "warning", text + 9);
        else
                say(user, "note", str_has_prefix(text, "note: ") ? text + 6 : text);
}

int cli_confirm(struct cli *c, const char *question, struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(4096);
        char answer[64];
        ssize_t n;

        if (!isatty(0) || !c->err.tty)
                return err_set(err, BLD_E_USAGE,
                               "cannot ask without a terminal\ntry: say --force to go ahead");
        sb_fmt(&text, "%s [y/N] ", question);
        (void)term_write(2, text.buf, text.len);
        n = read(0, answer, sizeof(answer));
        return n > 0 && (answer[0] == 'y' || answer[0] == 'Y');
}

/* ---- progress of pull and push ---- */

void cli_progress(void *user, const char *what, uint64_t done, uint64_t total)
{
        struct cli_progress *p = user;
        const struct term *t = &p->c->err;
        AUTO_SB struct sb line = SB_INIT(1u << 16);
        int64_t now = time_mono_ns() / 1000000;
        char a[24], b[24];

        if (p->quiet || !t->redraw || (p->last_ms && now - p->last_ms < 100 && done < total))
                return;
        p->last_ms = now;
        p->drawn = true;
        format_size(done, a);
        format_size(total, b);
        sb_char(&line, '\r');
        {
                AUTO_SB struct sb text = SB_INIT(1u << 16);

                sb_fmt(&text, "%s  %s", what ? what : "", a);
                if (total)
                        sb_fmt(&text, " / %s", b);
                (void)text_add_middle(&line, sb_text(&text), text.len,
                                      t->cols > 1 ? t->cols - 1 : 1,
                                      term_text_flags(t) & ~(unsigned)TEXT_SGR);
        }
        sb_str(&line, "\033[K");
        (void)term_write(2, line.buf, line.len); /* progress is a courtesy */
}

void cli_progress_end(struct cli_progress *p)
{
        if (p->drawn)
                (void)term_write(2, "\r\033[K", 4);
        p->drawn = false;
}
