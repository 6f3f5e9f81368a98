/* The stages of a file: their names, the scope FROM lines see, the list of them. */
#include "builder/plan/plan_priv.h"

#include <string.h>

#include "base/err.h"

int plan_fail(struct plan *p, const struct df_pos *pos, int r)
{
        if (r < 0 && p->pos->line == 0)
                *p->pos = *pos;
        return r;
}

int plan_fail_at(struct plan *p, const struct df_instr *in, int r)
{
        return plan_fail(p, &(struct df_pos){.line = in->line}, r);
}

const char *plan_build_arg(const struct plan_opts *o, const char *name)
{
        size_t n = strlen(name);

        if (o->epoch && strcmp(name, "SOURCE_DATE_EPOCH") == 0)
                return o->epoch;
        for (size_t i = o->build_args->n; i-- > 0;) {
                const char *a = o->build_args->v[i];

                if (strncmp(a, name, n) == 0 && a[n] == '=')
                        return a + n + 1;
        }
        return NULL;
}

/* Stages of one name, in the order of the file. */
struct namesakes {
        size_t *v;
        size_t n;
};

void plan_names_free(void *p)
{
        struct namesakes *x = p;

        free(x->v);
        free(x);
}

struct stage *plan_find_stage(struct plan *p, const char *name, size_t before)
{
        const struct namesakes *x = map_get(&p->names, name);
        size_t lo = 0, hi = x ? x->n : 0;

        while (lo < hi) {
                size_t mid = lo + (hi - lo) / 2;

                if (x->v[mid] < before)
                        lo = mid + 1;
                else
                        hi = mid;
        }
        return lo ? &p->stages[x->v[lo - 1]] : NULL;
}

static int add_name(struct plan *p, const struct stage *s)
{
        struct namesakes *x = map_get(&p->names, s->name);
        void *grown;

        if (!x) {
                x = mem_zalloc(1, sizeof(*x));
                if (!x || map_set(&p->names, s->name, x) < 0) {
                        free(x);
                        return BLD_E_NOMEM;
                }
        }
        if ((x->n & (x->n - 1)) == 0) { /* room for twice as many at every power of two */
                grown = mem_realloc(x->v, MAX(2 * x->n, 1) * sizeof(*x->v));
                if (!grown)
                        return BLD_E_NOMEM;
                x->v = grown;
        }
        x->v[x->n++] = s->index;
        return 0;
}

/* ---- global scope ---- */

static int auto_platform(struct strv *env, const char *prefix, const struct img_platform *pl,
                         const struct plan_opts *o)
{
        const struct {
                const char *suffix, *value;
        } parts[] = {{"OS", pl->os},
                     {"OSVERSION", pl->os_version},
                     {"ARCH", pl->arch},
                     {"VARIANT", pl->variant}};
        char text[128], name[32];
        const char *given;
        int r;

        img_platform_format(pl, text);
        (void)snprintf(name, sizeof(name), "%sPLATFORM", prefix);
        given = plan_build_arg(o, name);
        r = strv_env_set(env, name, given ? given : text);
        for (size_t i = 0; i < ARRAY_LEN(parts) && r == 0; i++) {
                (void)snprintf(name, sizeof(name), "%s%s", prefix, parts[i].suffix);
                given = plan_build_arg(o, name);
                r = strv_env_set(env, name, given ? given : parts[i].value);
        }
        return r;
}

static const char *target_stage(const struct plan *p)
{
        const struct stage *last = &p->stages[p->nstages - 1];

        if (p->o->targets->n)
                return p->o->targets->v[0];
        return last->name ? last->name : "default";
}

int plan_globals(struct plan *p, struct bld_err *err)
{
        const struct df_file *f = p->o->file;
        const char *stage = plan_build_arg(p->o, "TARGETSTAGE");
        int r = auto_platform(&p->global, "BUILD", &p->o->host, p->o);

        if (r == 0)
                r = auto_platform(&p->global, "TARGET", &p->o->platform, p->o);
        if (r == 0)
                r = strv_env_set(&p->global, "TARGETSTAGE", stage ? stage : target_stage(p));
        if (r < 0)
                return err_nomem(err, "arguments");
        lint_default_args(p->o->lint, &p->global);
        for (size_t i = 0; i < f->n && f->v[i].kind == DF_ARG && i < p->stages[0].first; i++) {
                for (size_t k = 0; k < f->v[i].npairs; k++) {
                        const struct df_pair *d = &f->v[i].pairs[k];
                        const char *given = plan_build_arg(p->o, d->key);
                        AUTO_FREE char *value = NULL;
                        AUTO(lint_env_done) struct lint_env e;

                        lint_env_init(&e, &p->global, &p->global_at, p->o->outline);
                        if (given)
                                value = mem_strdup(given);
                        else if (d->value)
                                r = df_expand_word(d->value, f->escape, &e.env, &value, err);
                        if (r < 0)
                                return plan_fail_at(p, &f->v[i], r);
                        outline_global(p->o->outline, &f->v[i], d->key, value, &e.set);
                        if (value && strv_index_set(&p->global_at, &p->global, d->key, value) < 0)
                                return err_nomem(err, "arguments");
                }
        }
        return 0;
}

/* ---- stages ---- */

/* Both words of a FROM line, and what the checks have to say about their variables. */
static int expand_from(struct plan *p, struct stage *s, const char *platform, char **ret_platform,
                       struct bld_err *err)
{
        bool track = p->o->lint || p->o->outline;
        AUTO(lint_env_done) struct lint_env image, flag;
        const struct df_instr *in = s->from;
        int r;

        lint_env_init(&image, &p->global, &p->global_at, track);
        lint_env_init(&flag, &p->global, &p->global_at, track);
        r = df_expand_word(s->index == 0 && p->o->from ? "" : in->args[0].text, p->o->file->escape,
                           &image.env, &s->base, err);
        if (r == 0 && s->index == 0 && p->o->from) {
                free(s->base);
                s->base = mem_strdup(p->o->from);
                r = s->base ? 0 : err_nomem(err, "stages");
        }
        if (r == 0 && *s->base && platform)
                r = df_expand_word(platform, p->o->file->escape, &flag.env, ret_platform, err);
        lint_from(p->o->lint, in, &image, platform ? &flag : NULL, *ret_platform, &p->global);
        if (strv_copy(&s->from_args, &image.set) < 0 || strv_copy(&s->from_args, &flag.set) < 0)
                return r < 0 ? r : err_nomem(err, "stages");
        return r;
}

int plan_stage_from(struct plan *p, struct stage *s, struct bld_err *err)
{
        const struct df_instr *in = s->from;
        const char *platform = df_flag(in, "platform");
        AUTO_FREE char *expanded = NULL;
        const char *folder = NULL;
        int r = expand_from(p, s, platform, &expanded, err);

        if (r < 0)
                return plan_fail(p, &in->args[0].pos, r);
        if (!*s->base)
                return plan_fail(p, &in->args[0].pos,
                                 err_set(err, BLD_E_INVALID, "base name (%s) should not be blank",
                                         in->args[0].text));
        s->platform = p->o->platform;
        s->platform_given = p->o->platform_given;
        if (platform && expanded) {
                if (!*expanded)
                        r = err_set(err, BLD_E_INVALID, "empty platform value from expression %s",
                                    platform);
                if (r == 0)
                        r = img_platform_parse(expanded, &s->platform, err);
                s->platform_given = true;
                if (r < 0)
                        return plan_fail_at(p, in, r);
        }
        if (s->name &&
            p->o->find_named(p->o->named, s->name, &s->platform, &folder) != PLAN_NAMED_NONE) {
                /* A named context of the stage's own name takes its place altogether. */
                free(s->base);
                s->base = mem_strdup(s->name);
                s->end = s->first;
                return s->base ? 0 : err_nomem(err, "stages");
        }
        s->base_stage = plan_find_stage(p, s->base, s->index);
        if (s->base_stage) {
                s->platform = s->base_stage->platform;
                s->base_stage->users++;
        }
        return 0;
}

int plan_list_stages(struct plan *p, struct bld_err *err)
{
        const struct df_file *f = p->o->file;
        size_t n = 0;

        for (size_t i = 0; i < f->n; i++)
                n += f->v[i].kind == DF_FROM;
        if (n == 0)
                return err_set(err, BLD_E_INVALID, "dockerfile contains no stages to build");
        p->stages = mem_zalloc(n, sizeof(*p->stages));
        if (!p->stages)
                return err_nomem(err, "stages");
        for (size_t i = 0; i < f->n; i++) {
                struct stage *s;

                if (f->v[i].kind != DF_FROM) {
                        if (p->nstages)
                                p->stages[p->nstages - 1].end = i + 1;
                        continue;
                }
                s = &p->stages[p->nstages];
                img_config_init(&s->config);
                s->volumes_at.whole = s->ports_at.whole = true;
                s->index = p->nstages++;
                s->from = &f->v[i];
                s->first = s->end = i + 1;
                if (s->from->as_name)
                        s->name = mem_strdup(s->from->as_name);
                if (s->name)
                        s->title = mem_strdup(s->name);
                else if (asprintf(&s->title, "stage-%zu", s->index) < 0)
                        s->title = NULL;
                if (!s->title || (s->name && add_name(p, s) < 0))
                        return err_nomem(err, "stages");
        }
        return 0;
}

/* What only those need that build on the stage. */
void plan_stage_release(struct stage *s)
{
        img_config_done(&s->config);
        strv_done(&s->env);
        strv_done(&s->args);
        strv_index_done(&s->env_at);
        strv_index_done(&s->config_env_at);
        strv_index_done(&s->args_at);
        strv_index_done(&s->volumes_at);
        strv_index_done(&s->ports_at);
        map_done(&s->labels_at);
        s->nlabels = 0;
        plan_histories_free(&s->history);
}

void plan_stage_done(struct stage *s)
{
        plan_stage_release(s);
        free(s->name);
        free(s->title);
        free(s->base);
        strv_done(&s->from_args);
}
