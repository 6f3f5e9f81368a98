/* Secrets of a build: read once, kept in memory only, wiped at the end. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/opt.h"
#include "base/sys.h"
#include "builder/source/secrets_priv.h"

#define SECRET_MAX (500u << 10)

struct secret {
        char *id;
        char *value;
        size_t len;
};

struct secrets {
        struct secret *v;
        size_t n, cap;
};

void secrets_free(struct secrets *s)
{
        if (!s)
                return;
        for (size_t i = 0; i < s->n; i++) {
                if (s->v[i].value)
                        explicit_bzero(s->v[i].value, s->v[i].len);
                free(s->v[i].value);
                free(s->v[i].id);
        }
        free(s->v);
        free(s);
}

int secrets_get(const struct secrets *s, const char *id, const void **ret, size_t *ret_len)
{
        for (size_t i = s ? s->n : 0; i-- > 0;) { /* the last one given wins */
                if (strcmp(s->v[i].id, id) != 0)
                        continue;
                *ret = s->v[i].value;
                *ret_len = s->v[i].len;
                return 1;
        }
        return 0;
}

size_t secrets_count(const struct secrets *s)
{
        return s ? s->n : 0;
}

bool secrets_at(const struct secrets *s, size_t i, const void **ret, size_t *ret_len)
{
        if (i >= secrets_count(s))
                return false;
        *ret = s->v[i].value;
        *ret_len = s->v[i].len;
        return true;
}

struct spec {
        const char *id, *src, *env, *type;
};

static int parse_spec(const struct strv *fields, const char *text, struct spec *s,
                      struct bld_err *err)
{
        for (size_t i = 0; i < fields->n; i++) {
                const char *f = fields->v[i], *eq = strchr(f, '=');
                size_t k = eq ? (size_t)(eq - f) : strlen(f);

                if (eq && k == 2 && strncmp(f, "id", 2) == 0)
                        s->id = eq + 1;
                else if (eq && ((k == 3 && strncmp(f, "src", 3) == 0) ||
                                (k == 6 && strncmp(f, "source", 6) == 0)))
                        s->src = eq + 1;
                else if (eq && k == 3 && strncmp(f, "env", 3) == 0)
                        s->env = eq + 1;
                else if (eq && k == 4 && strncmp(f, "type", 4) == 0)
                        s->type = eq + 1;
                else
                        return err_set(err, BLD_E_USAGE, "--secret: unexpected key \"%.*s\"",
                                       (int)MIN(k, (size_t)64), f);
        }
        if (!s->id || !*s->id)
                return err_set(err, BLD_E_USAGE, "--secret \"%.100s\" has no id=", text);
        if (s->type && strcmp(s->type, "file") != 0 && strcmp(s->type, "env") != 0)
                return err_set(err, BLD_E_USAGE, "--secret: unsupported type \"%.100s\"", s->type);
        return 0;
}

static int load(const struct spec *s, struct secret *out, struct bld_err *err)
{
        bool from_env =
                s->type ? strcmp(s->type, "env") == 0 : s->env || (!s->src && getenv(s->id));
        const char *name = s->env ? s->env : s->src && from_env ? s->src : s->id;
        AUTO_SB struct sb text = SB_INIT(SECRET_MAX);
        int r = 0;

        out->id = mem_strdup(s->id);
        if (from_env) {
                const char *v = getenv(name);

                if (!v)
                        return err_set(err, BLD_E_USAGE,
                                       "--secret %s: environment variable %s is not set", s->id,
                                       name);
                sb_str(&text, v);
                r = sb_check(&text, "secret", err);
        } else {
                r = file_read(AT_FDCWD, s->src ? s->src : s->id, &text, err);
        }
        if (r < 0)
                return err_wrap(err, r == BLD_E_NOT_FOUND ? err_recode(err, BLD_E_USAGE) : r,
                                "--secret %s", s->id);
        out->value = mem_dup(sb_text(&text), text.len);
        out->len = text.len;
        if (text.buf)
                explicit_bzero(text.buf, text.len);
        return out->id && out->value ? 0 : err_nomem(err, "secret");
}

int secrets_new(const struct bld_list *specs, struct secrets **ret, struct bld_err *err)
{
        struct secrets *s = mem_zalloc(1, sizeof(*s));
        int r = 0;

        if (!s)
                return err_nomem(err, "secrets");
        s->v = mem_zalloc(specs->n, sizeof(*s->v));
        if (!s->v)
                r = err_nomem(err, "secrets");
        for (size_t i = 0; i < specs->n && r == 0; i++) {
                AUTO_STRV struct strv fields = {0};
                struct spec spec = {0};

                r = csv_split(specs->v[i], &fields, err);
                if (r < 0)
                        err_recode(err, r = BLD_E_USAGE);
                if (r == 0)
                        r = parse_spec(&fields, specs->v[i], &spec, err);
                if (r == 0) {
                        s->n++;
                        r = load(&spec, &s->v[s->n - 1], err);
                }
        }
        if (r < 0) {
                secrets_free(s);
                return r;
        }
        *ret = s;
        return 0;
}

const char *secrets_id(const struct secrets *s, size_t i)
{
        return s->v[i].id;
}
