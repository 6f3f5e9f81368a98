/* What the command line changes in the config of an image, after the Dockerfile had its say. */
#include <string.h>

#include "base/err.h"
#include "builder/solve/finish_priv.h"

static bool names(const char *kv, const char *key)
{
        size_t n = strlen(key);

        return strncmp(kv, key, n) == 0 && (kv[n] == '=' || kv[n] == '\0');
}

static void unset_env(struct strv *env, const char *key)
{
        size_t kept = 0;

        for (size_t i = 0; i < env->n; i++)
                if (names(env->v[i], key))
                        free(env->v[i]);
                else
                        env->v[kept++] = env->v[i];
        env->n = kept;
}

/* A label of the command line stays: it was asked for as well. */
static void unset_label(struct img_kvs *labels, const char *key, const struct bld_list *given)
{
        size_t kept = 0;

        for (size_t i = 0; i < given->n; i++)
                if (names(given->v[i], key))
                        return;
        for (size_t i = 0; i < labels->n; i++) {
                if (strcmp(labels->v[i].key, key) != 0) {
                        labels->v[kept++] = labels->v[i];
                        continue;
                }
                free(labels->v[i].key);
                free(labels->v[i].value);
        }
        labels->n = kept;
}

static int set_env(struct strv *env, const char *kv, struct bld_err *err)
{
        const char *eq = strchr(kv, '=');
        AUTO_FREE char *key = eq && eq > kv ? mem_strndup(kv, (size_t)(eq - kv)) : NULL;

        if (!eq || eq == kv)
                return err_set(err, BLD_E_USAGE, "--env \"%.100s\" is not of the form K=V", kv);
        return key && strv_env_set(env, key, eq + 1) == 0 ? 0 : err_nomem(err, "--env");
}

int edit_config(const struct bld_build_opts *o, struct img_config *c, struct bld_err *err)
{
        int r = 0;

        for (size_t i = 0; i < o->unset_env.n; i++)
                unset_env(&c->env, o->unset_env.v[i]);
        for (size_t i = 0; i < o->env.n && r == 0; i++)
                r = set_env(&c->env, o->env.v[i], err);
        for (size_t i = 0; i < o->unset_labels.n; i++)
                unset_label(&c->labels, o->unset_labels.v[i], &o->labels);
        if (r == 0 && o->os_version &&
            !str_copy(c->platform.os_version, sizeof(c->platform.os_version), o->os_version))
                r = err_set(err, BLD_E_USAGE, "--os-version is too long");
        for (size_t i = 0; i < o->os_features.n && r == 0; i++)
                if (!strv_has(&c->os_features, o->os_features.v[i]) &&
                    strv_add(&c->os_features, o->os_features.v[i]) < 0)
                        r = err_nomem(err, "--os-feature");
        c->no_history = o->omit_history;
        return r;
}
