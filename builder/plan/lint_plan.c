/* Checks that need what a stage knows: variables, the base image, what came before. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/path.h"
#include "builder/plan/lint_priv.h"

#define QUOTED_MAX (4u << 20)
#define SOUGHT_MAX 1000u /* near names in one build: each costs NAMES_MAX comparisons */
#define NAMES_MAX 1000u  /* noted of one word; and among how many a near one is looked for */

static struct sb quoted(const char *s)
{
        struct sb b = SB_INIT(QUOTED_MAX);

        df_quote(&b, s);
        return b;
}

/* ---- variables ---- */

static void note_name(struct strv *names, const char *name)
{
        /* Without memory a check is lost, not the build. */
        if (names->n < NAMES_MAX && !strv_has(names, name) && strv_add(names, name) < 0)
                return;
}

static const char *tracked_get(void *user, const char *name)
{
        struct lint_env *e = user;
        const char *value = strv_index_get(e->at, e->vars, name);

        if (value)
                note_name(&e->set, name);
        return value;
}

static const char *plain_get(void *user, const char *name)
{
        const struct lint_env *e = user;

        return strv_index_get(e->at, e->vars, name);
}

static void note_unset(void *user, const char *name)
{
        note_name(&((struct lint_env *)user)->unset, name);
}

void lint_env_init(struct lint_env *e, const struct strv *vars, struct strv_index *at, bool track)
{
        *e = (struct lint_env){
                .vars = vars, .at = at, .env = {.get = track ? tracked_get : plain_get, .user = e}};
        if (track)
                e->env.unset = note_unset;
}

void lint_env_done(struct lint_env *e)
{
        strv_done(&e->set);
        strv_done(&e->unset);
}

/* The nearest name among "K=V" strings; the caller frees. NULL: none is near. */
static char *suggest(struct lint *l, const char *name, const struct strv *vars)
{
        AUTO_STRV struct strv keys = {0};
        const char *near;

        if (l->sought++ >= SOUGHT_MAX)
                return NULL;
        for (size_t i = 0; i < MIN(vars->n, NAMES_MAX); i++)
                if (strv_addn(&keys, vars->v[i], strcspn(vars->v[i], "=")) < 0)
                        return NULL;
        near = df_suggest(name, (const char *const *)keys.v, keys.n, false);
        return near ? mem_strdup(near) : NULL;
}

/* Never in the environment of a step, so never unset by mistake. */
static bool is_hidden_arg(const char *name)
{
        return strcmp(name, "BUILDKIT_SBOM_SCAN_CONTEXT") == 0 ||
               strcmp(name, "BUILDKIT_SBOM_SCAN_STAGE") == 0;
}

void lint_undefined(struct lint *l, const struct lint_stage *s, const struct lint_env *e,
                    const struct strv *declared)
{
        for (size_t i = 0; l && !s->env_unknown && i < e->unset.n; i++) {
                const char *name = e->unset.v[i];
                AUTO_FREE char *near = NULL;

                if (strv_has(declared, name) || is_hidden_arg(name))
                        continue;
                near = suggest(l, name, e->vars);
                if (near)
                        lint_add(l, LINT_UNDEFINED_VAR,
                                 "Usage of undefined variable '$%s' (did you mean $%s?)", name,
                                 near);
                else
                        lint_add(l, LINT_UNDEFINED_VAR, "Usage of undefined variable '$%s'", name);
        }
}

/* ---- FROM ---- */

/* The global environment as it is without build arguments; false when it cannot be had. */
static bool default_globals(const struct df_file *f, struct strv *env, struct lint_env *e)
{
        struct bld_err ignored = BLD_ERR_INIT; /* planning meets it again, and says so */

        for (size_t i = 0; i < f->n && f->v[i].kind == DF_ARG; i++) {
                for (size_t k = 0; k < f->v[i].npairs; k++) {
                        const struct df_pair *d = &f->v[i].pairs[k];
                        AUTO_FREE char *value = NULL;

                        if (!d->value)
                                continue;
                        if (df_expand_word(d->value, f->escape, &e->env, &value, &ignored) < 0 ||
                            strv_index_set(e->at, env, d->key, value) < 0)
                                return false;
                }
        }
        return true;
}

static bool is_valid_name(const char *name)
{
        struct bld_err ignored = BLD_ERR_INIT;
        AUTO_REF struct img_ref ref = {0};

        return img_ref_parse(name, &ref, &ignored) == 0;
}

void lint_default_args(struct lint *l, const struct strv *automatic)
{
        AUTO_STRV struct strv env = {0};
        AUTO(strv_index_done) struct strv_index at = {0};
        struct lint_env e;

        lint_env_init(&e, &env, &at, false);
        if (!l || strv_copy(&env, automatic) < 0 || !default_globals(l->file, &env, &e))
                return;
        for (size_t i = 0; i < l->file->n; i++) {
                const struct df_instr *in = &l->file->v[i];
                struct bld_err ignored = BLD_ERR_INIT;
                AUTO_FREE char *name = NULL;

                if (in->kind != DF_FROM || in->nargs == 0)
                        continue;
                if (df_expand_word(in->args[0].text, l->file->escape, &e.env, &name, &ignored) < 0)
                        return;
                if (is_valid_name(name))
                        continue;
                lint_at(l, in);
                lint_add(l, LINT_INVALID_DEFAULT_ARG_IN_FROM,
                         "Default value for ARG %s results in empty or invalid base image name",
                         in->args[0].text);
        }
}

static bool is_declared(const struct df_file *f, const char *name)
{
        for (size_t i = 0; i < f->n && f->v[i].kind == DF_ARG; i++)
                for (size_t k = 0; k < f->v[i].npairs; k++)
                        if (strcmp(f->v[i].pairs[k].key, name) == 0)
                                return true;
        return false;
}

/* What there is to choose from, declared without a value included. */
static bool global_names(const struct df_file *f, const struct strv *global, struct strv *out)
{
        if (strv_copy(out, global) < 0)
                return false;
        for (size_t i = 0; i < f->n && f->v[i].kind == DF_ARG && out->n < NAMES_MAX; i++)
                for (size_t k = 0; k < f->v[i].npairs && out->n < NAMES_MAX; k++)
                        if (strv_add(out, f->v[i].pairs[k].key) < 0)
                                return false;
        return true;
}

/* Names that neither the environment nor an ARG before the first FROM knows. */
static void undeclared_in_from(struct lint *l, const struct lint_env *e, const struct strv *global)
{
        for (size_t i = 0; i < e->unset.n; i++) {
                const char *name = e->unset.v[i];
                AUTO_STRV struct strv known = {0};
                AUTO_FREE char *near = NULL;

                if (is_declared(l->file, name))
                        continue;
                if (global_names(l->file, global, &known))
                        near = suggest(l, name, &known);
                if (near)
                        lint_add(l, LINT_UNDEFINED_ARG_IN_FROM,
                                 "FROM argument '%s' is not declared (did you mean %s?)", name,
                                 near);
                else
                        lint_add(l, LINT_UNDEFINED_ARG_IN_FROM,
                                 "FROM argument '%s' is not declared", name);
        }
}

static void constant_platform(struct lint *l, const struct df_instr *in, const char *value)
{
        struct bld_err ignored = BLD_ERR_INIT; /* planning refuses it */
        const char *name = in->as_name ? in->as_name : "";
        AUTO_SB struct sb q = quoted(value);
        struct img_platform p;

        /* A stage named after its platform says that the constant is meant. */
        if (img_platform_parse(value, &p, &ignored) < 0 || strstr(name, p.os) ||
            strstr(name, p.arch))
                return;
        lint_add(l, LINT_FROM_PLATFORM_FLAG_CONST_DISALLOWED,
                 "FROM --platform flag should not use constant value %s", sb_text(&q));
}

void lint_from(struct lint *l, const struct df_instr *in, const struct lint_env *image,
               const struct lint_env *platform, const char *platform_value,
               const struct strv *global)
{
        const char *target;

        if (!l)
                return;
        lint_at(l, in);
        undeclared_in_from(l, image, global);
        if (!platform)
                return;
        undeclared_in_from(l, platform, global);
        if (!platform_value)
                return;
        target = strv_env_get(global, "TARGETPLATFORM");
        if (platform->set.n == 1 && platform->unset.n == 0 && target &&
            strcmp(platform->set.v[0], "TARGETPLATFORM") == 0 &&
            strcmp(platform_value, target) == 0)
                lint_add(l, LINT_REDUNDANT_TARGET_PLATFORM,
                         "Setting platform to predefined %s in FROM is redundant as this is the "
                         "default behavior",
                         df_flag(in, "platform"));
        if (platform->set.n == 0 && platform->unset.n == 0)
                constant_platform(l, in, platform_value);
}

void lint_base_platform(struct lint *l, const struct df_instr *from, const char *name,
                        const struct img_platform *want, const struct img_platform *have)
{
        struct img_platform a = *want, b = *have;
        char want_text[128], have_text[128];

        if (!l || (strcmp(a.os, b.os) == 0 && strcmp(a.arch, b.arch) == 0))
                return;
        img_platform_normalize(&a);
        img_platform_normalize(&b);
        img_platform_format(&a, want_text);
        img_platform_format(&b, have_text);
        lint_at(l, from);
        lint_add(l, LINT_INVALID_BASE_IMAGE_PLATFORM,
                 "Base image %s was pulled with platform \"%s\", expected \"%s\" for current build",
                 name, have_text, want_text);
}

/* ---- ARG, ENV, LABEL ---- */

static bool has_word(const char *key, const char *const *words, size_t n)
{
        while (*key) {
                size_t len = strcspn(key, "_");

                for (size_t i = 0; i < n; i++)
                        if (strlen(words[i]) == len && strncasecmp(key, words[i], len) == 0)
                                return true;
                key += len;
                key += *key == '_';
        }
        return false;
}

void lint_key(struct lint *l, const char *instruction, const char *key)
{
        static const char *const secret[] = {"apikey", "auth",   "credential", "credentials",
                                             "key",    "passwd", "password",   "pword",
                                             "secret", "token"};
        static const char *const harmless[] = {"file", "public", "version"};

        if (l && has_word(key, secret, ARRAY_LEN(secret)) &&
            !has_word(key, harmless, ARRAY_LEN(harmless))) {
                AUTO_SB struct sb q = quoted(key);

                lint_add(l, LINT_SECRETS_USED_IN_ARG_OR_ENV,
                         "Do not use ARG or ENV instructions for sensitive data (%s %s)",
                         instruction, sb_text(&q));
        }
}

void lint_pair(struct lint *l, const struct df_instr *in, const char *key)
{
        if (l && in->legacy_pair)
                lint_add(l, LINT_LEGACY_KEY_VALUE_FORMAT,
                         "\"%s key=value\" should be used instead of legacy \"%s key value\" "
                         "format",
                         in->word, in->word);
        if (in->kind == DF_ENV)
                lint_key(l, "ENV", key);
}

/* ---- instructions of which a stage has one ---- */

/* The finding is at the earlier one: it is the one without effect. */
static void only_once(struct lint *l, struct lint_once *once, const struct df_instr *in)
{
        if (once->line) {
                char text[160];

                (void)snprintf(text, sizeof(text),
                               "Multiple %.30s instructions should not be used in the same stage "
                               "because only the last one will be used",
                               in->word);
                lint_add_at(l, LINT_MULTIPLE_INSTRUCTIONS_DISALLOWED, once->line, once->end_line,
                            text);
        }
        *once = (struct lint_once){in->line, in->end_line};
}

void lint_command(struct lint *l, struct lint_stage *s, const struct df_instr *in, bool has_shell)
{
        if (!l)
                return;
        only_once(l, in->kind == DF_CMD ? &s->cmd : &s->entrypoint, in);
        if (!in->cmd.json && !has_shell)
                lint_add(l, LINT_JSON_ARGS_RECOMMENDED,
                         "JSON arguments recommended for %s to prevent unintended behavior related "
                         "to OS signals",
                         in->word);
}

void lint_health(struct lint *l, struct lint_stage *s, const struct df_instr *in)
{
        if (l)
                only_once(l, &s->health, in);
}

void lint_workdir(struct lint *l, struct lint_stage *s, const char *path)
{
        if (l && !s->workdir_set && *path != '/') {
                AUTO_SB struct sb q = quoted(path);

                lint_add(l, LINT_WORKDIR_RELATIVE_PATH,
                         "Relative workdir %s can have unexpected results if the base image "
                         "changes",
                         sb_text(&q));
        }
        s->workdir_set = true;
}

/* ---- EXPOSE ---- */

/* One port as it came out of the expansion; what is malformed is the plan's to refuse. */
void lint_expose(struct lint *l, const char *spec)
{
        const char *port = strrchr(spec, ':'), *proto;
        bool host;

        if (!l)
                return;
        host = port && strspn(spec, ":") != (size_t)(port - spec) + 1;
        port = port ? port + 1 : spec;
        proto = strchr(port, '/');
        if (!*port || proto == port)
                return;
        if (proto && proto[1] && strcasecmp(proto + 1, "tcp") && strcasecmp(proto + 1, "udp") &&
            strcasecmp(proto + 1, "sctp"))
                return;
        if (proto && proto[1 + strcspn(proto + 1, "ABCDEFGHIJKLMNOPQRSTUVWXYZ")])
                lint_add(l, LINT_EXPOSE_PROTO_CASING,
                         "Defined protocol '%s' in EXPOSE instruction should be lowercase", spec);
        if (host)
                lint_add(l, LINT_EXPOSE_INVALID_FORMAT,
                         "EXPOSE instruction should not define an IP address or host-port mapping, "
                         "found '%s'",
                         spec);
}

/* ---- COPY, ADD ---- */

/* A source in the main context. Where the ignore file takes something back, a folder that it
 * excludes may still have files, so nothing is said. */
void lint_copy_source(struct lint *l, const struct df_instr *in, const char *path)
{
        AUTO_FREE char *clean = NULL, *inside = NULL, *rooted = NULL;
        bool ignored;

        if (!l || !l->ignore || ignore_has_exceptions(l->ignore))
                return;
        clean = path_clean(path);
        if (asprintf(&rooted, "/%s", path) < 0)
                rooted = NULL;
        inside = rooted ? path_clean(rooted) : NULL;
        if (!clean || !inside)
                return;
        ignored = inside[1] ? ignore_match(l->ignore, inside + 1, NULL)
                            : ignore_excludes_all(l->ignore);
        if (ignored) {
                AUTO_SB struct sb q = quoted(clean);

                lint_add(l, LINT_COPY_IGNORED_FILE,
                         "Attempting to %s file %s that is excluded by .dockerignore",
                         in->kind == DF_ADD ? "Add" : "Copy", sb_text(&q));
        }
}
