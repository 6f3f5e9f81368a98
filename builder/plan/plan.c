/* The plan of a file: its stages in order, triggers, targets. */
#include "builder/plan/plan_priv.h"

#include <string.h>

#include "base/err.h"
#include "base/opt.h"

#define TRIGGER_DEPTH_MAX 100

/* ---- ONBUILD ---- */

static int plan_stages(struct plan *p, size_t before, struct bld_err *err);

static int check_trigger(const struct df_instr *in, struct bld_err *err)
{
        struct df_err_pos at;

        if (in->kind == DF_FROM || in->kind == DF_MAINTAINER || in->kind == DF_ONBUILD)
                return err_set(err, BLD_E_INVALID, "%s isn't allowed as an ONBUILD trigger",
                               df_kind_name(in->kind));
        return df_check_instr(in, &at, err);
}

/* Stages that only a trigger of an image asks for. Their own bases may have such triggers, too. */
static int plan_late(struct plan *p, size_t before, struct bld_err *err)
{
        int r = p->depth < TRIGGER_DEPTH_MAX
                        ? plan_reach(p, before, err)
                        : err_set(err, BLD_E_LIMIT,
                                  "ONBUILD triggers ask for stages more than %d deep",
                                  TRIGGER_DEPTH_MAX);

        p->depth++;
        if (r == 0)
                r = plan_stages(p, before, err);
        p->depth--;
        return r;
}

static int run_trigger(struct plan *p, struct stage *s, const char *text, struct bld_err *err)
{
        AUTO(df_free_p) struct df_file *f = NULL;
        int r = df_parse_trigger(text, strlen(text), p->o->file->escape, &f, err);

        /* Nobody looked at it before: the image's author wrote it. */
        if (r == 0)
                r = check_trigger(&f->v[0], err);
        if (r == 0) {
                f->v[0].line = f->v[0].end_line = s->from->line;
                p->last_reached = 0;
                r = plan_mark(p, s, &f->v[0], err);
        }
        for (size_t i = 0; r == 0 && f->v[0].kind == DF_ARG && i < f->v[0].npairs; i++)
                if (strv_add(&p->trigger_args, f->v[0].pairs[i].key) < 0)
                        r = err_nomem(err, "arguments");
        if (r == 0 && p->last_reached) /* a trigger is the first to name a stage */
                r = plan_late(p, p->last_reached, err);
        if (r == 0)
                r = plan_instr(p, s, &f->v[0], err);
        return r < 0 ? plan_fail_at(p, s->from, err_wrap(err, r, "ONBUILD %s", text)) : 0;
}

static int run_triggers(struct plan *p, struct stage *s, struct bld_err *err)
{
        struct strv triggers = s->config.on_build;
        int r = 0;

        memset(&s->config.on_build, 0, sizeof(s->config.on_build));
        for (size_t i = 0; i < triggers.n && r == 0; i++)
                r = run_trigger(p, s, triggers.v[i], err);
        strv_done(&triggers);
        return r;
}

/* ---- planning a stage ---- */

static bool filtered(const struct plan_opts *o, const struct stage *s)
{
        for (size_t i = 0; i < o->no_cache_filter->n; i++) {
                AUTO_STRV struct strv names = {0};

                if (csv_split(o->no_cache_filter->v[i], &names, NULL) < 0)
                        continue;
                for (size_t k = 0; k < names.n; k++)
                        if (strcasecmp(names.v[k], s->title) == 0)
                                return true;
        }
        return false;
}

static int plan_stage(struct plan *p, struct stage *s, struct bld_err *err)
{
        const struct df_file *f = p->o->file;
        int r;

        outline_use(p->o->outline, &s->from_args);
        s->no_cache = p->o->no_cache || filtered(p->o, s);
        s->fs_total = !s->base_stage && strcmp(s->base, "scratch") != 0;
        for (size_t i = s->first; i < s->end; i++)
                s->fs_total += plan_makes_step(&f->v[i]);
        r = plan_start_stage(p, s, err);
        if (r == 0)
                r = plan_default_path(s, err);
        if (r == 0)
                r = run_triggers(p, s, err);
        for (size_t i = s->first; i < s->end && r == 0; i++) {
                r = plan_instr(p, s, &f->v[i], err);
                if (r < 0)
                        return plan_fail_at(p, &f->v[i], r);
        }
        s->planned = true;
        if (!s->users)
                plan_stage_release(s);
        return r;
}

/* What a stage names comes before it, so this order is enough. */
static int plan_stages(struct plan *p, size_t before, struct bld_err *err)
{
        int r = 0;

        for (size_t i = 0; i < before && r == 0; i++)
                if (p->stages[i].reachable && !p->stages[i].planned)
                        r = plan_stage(p, &p->stages[i], err);
        return r;
}

int plan_vertex(struct plan *p, struct stage *s, const struct df_instr *in, enum vx_kind kind,
                size_t ninputs, struct vertex **ret, struct bld_err *err)
{
        struct vertex *v = mem_zalloc(1, sizeof(*v));

        (void)p;
        if (!v)
                return err_nomem(err, "build graph");
        v->kind = kind;
        v->platform = s->platform;
        v->line = in->line;
        v->no_cache = s->no_cache;
        v->inputs = mem_zalloc(ninputs, sizeof(struct vertex *));
        v->stage = mem_strdup(s->title);
        v->name = mem_strdup(in->original);
        v->index = ++s->fs_steps;
        if (asprintf(&v->step, "%s %u/%u", s->title, v->index, MAX(s->fs_total, v->index)) < 0)
                v->step = NULL;
        if (!v->inputs || !v->stage || !v->name || !v->step) {
                vertex_free(v);
                return err_nomem(err, "build graph");
        }
        v->ninputs = 1;
        v->inputs[0] = s->fs;
        *ret = v;
        return 0;
}

int plan_push(struct plan *p, struct stage *s, struct vertex *v, char *created_by,
              struct bld_err *err)
{
        struct plan_history *h;
        int r;

        if (!created_by) {
                vertex_free(v);
                return err_nomem(err, "history");
        }
        v->depth = 1 + (v->inputs[0] ? v->inputs[0]->depth : 0);
        if (v->depth > PLAN_LAYERS_MAX) {
                vertex_free(v);
                free(created_by);
                r = err_set(err, BLD_E_INVALID,
                            "the stage would have more than %d layers, and no engine runs an image "
                            "with so many (docker takes 127, the kernel's overlay 500)",
                            PLAN_LAYERS_MAX);
                return err_try(err, r,
                               "put several commands into one RUN, or sources into one COPY");
        }
        r = graph_add(p->g, v, &v, err);
        if (r < 0) {
                free(created_by);
                return r;
        }
        s->fs = v;
        h = plan_histories_push(&s->history);
        if (!h) {
                free(created_by);
                return err_nomem(err, "history");
        }
        *h = (struct plan_history){.created_by = created_by, .v = v, .line = s->line};
        return 0;
}

int plan_note(struct stage *s, char *created_by, struct bld_err *err)
{
        struct plan_history *h = created_by ? plan_histories_push(&s->history) : NULL;

        if (!h) {
                free(created_by);
                return err_nomem(err, "history");
        }
        *h = (struct plan_history){.created_by = created_by, .line = s->line};
        return 0;
}

/* ---- targets ---- */

static int find_target(struct plan *p, const char *name, struct stage **ret, struct bld_err *err)
{
        const char *names[256], *near;
        size_t n = 0;

        for (size_t i = p->nstages; i-- > 0;) {
                if (p->stages[i].name && strcasecmp(p->stages[i].name, name) == 0) {
                        *ret = &p->stages[i];
                        return 0;
                }
                if (p->stages[i].name && n < ARRAY_LEN(names))
                        names[n++] = p->stages[i].name;
        }
        near = near_match(name, names, n, 3);
        (void)err_set(err, BLD_E_NOT_FOUND, "target stage \"%s\" could not be found", name);
        return near ? err_try(err, BLD_E_NOT_FOUND, "did you mean %s?", near) : BLD_E_NOT_FOUND;
}

static int add_target(struct plan *p, struct stage *s, struct bld_err *err)
{
        struct plan_target *t = plan_targets_push(&p->g->targets);
        int r;

        if (!t)
                return err_nomem(err, "targets");
        img_config_init(&t->config);
        t->name = mem_strdup(s->title);
        t->platform = s->platform;
        t->fs = s->fs;
        r = img_config_copy(&s->config, &t->config, err);
        if (p->o->platform_given) /* what was asked for wins over what the base says of itself */
                t->platform = t->config.platform = p->o->platform;
        for (size_t i = 0; i < s->history.n && r == 0; i++) {
                struct plan_history *h = plan_histories_push(&t->history);

                if (h)
                        h->created_by = mem_strdup(s->history.v[i].created_by);
                if (!h || !h->created_by)
                        return err_nomem(err, "history");
                h->v = s->history.v[i].v;
                h->line = s->history.v[i].line;
        }
        for (size_t i = 0; i < p->o->labels->n && r == 0; i++) {
                const char *kv = p->o->labels->v[i], *eq = strchr(kv, '=');
                AUTO_FREE char *key = mem_strndup(kv, eq ? (size_t)(eq - kv) : strlen(kv));

                if (!key || img_kvs_set(&t->config.labels, key, eq ? eq + 1 : "") < 0)
                        r = err_nomem(err, "labels");
        }
        return r < 0 || t->name ? r : err_nomem(err, "targets");
}

static int choose_targets(struct plan *p, struct stage **ret, size_t *ret_n, struct bld_err *err)
{
        if (p->o->targets->n == 0) {
                ret[0] = &p->stages[p->nstages - 1];
                *ret_n = 1;
                return 0;
        }
        for (size_t i = 0; i < p->o->targets->n; i++) {
                int r = find_target(p, p->o->targets->v[i], &ret[i], err);

                if (r < 0)
                        return r;
                *ret_n = i + 1;
        }
        return 0;
}

static bool declares(const struct df_instr *in, const char *name)
{
        if (in->kind == DF_ONBUILD && in->sub)
                in = in->sub;
        for (size_t i = 0; in->kind == DF_ARG && i < in->npairs; i++)
                if (strcmp(in->pairs[i].key, name) == 0)
                        return true;
        return false;
}

static bool declared(const struct plan *p, const char *name)
{
        static const char *const known[] = {"HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY",
                                            "NO_PROXY",   "ALL_PROXY",   "SOURCE_DATE_EPOCH"};
        const struct df_file *f = p->o->file;

        for (size_t i = 0; i < ARRAY_LEN(known); i++)
                if (strcasecmp(name, known[i]) == 0)
                        return true;
        if (str_has_prefix(name, "BUILDKIT_") || strv_env_get(&p->global, name))
                return true;
        for (size_t i = 0; i < p->trigger_args.n; i++)
                if (strcmp(p->trigger_args.v[i], name) == 0)
                        return true;
        for (size_t i = 0; i < f->n; i++)
                if (declares(&f->v[i], name))
                        return true;
        return false;
}

/* A misspelt --build-arg would otherwise do nothing, silently. */
static int check_unused(const struct plan *p, struct bld_err *err)
{
        for (size_t i = 0; i < p->o->build_args->n; i++) {
                const char *a = p->o->build_args->v[i];
                AUTO_FREE char *name = mem_strndup(a, strcspn(a, "="));
                char text[256];

                if (!name || declared(p, name))
                        continue;
                (void)snprintf(text, sizeof(text),
                               "build argument %.100s is not declared by any ARG", name);
                if (p->o->strict_args)
                        return err_try(err, err_set(err, BLD_E_INVALID, "%s", text),
                                       "ARG %.100s in the Dockerfile, or no --strict-args", name);
                if (p->o->warn)
                        p->o->warn(p->o->user, 0, text);
        }
        return 0;
}

static int plan_all(struct plan *p, struct bld_err *err)
{
        AUTO_FREE struct stage **wanted = mem_zalloc(p->o->targets->n + 1, sizeof(*wanted));
        size_t n = 0;
        int r = wanted ? plan_globals(p, err) : err_nomem(err, "targets");

        for (size_t i = 0; i < p->nstages && r == 0; i++)
                r = plan_stage_from(p, &p->stages[i], err);
        for (size_t i = 0; i < p->nstages && r == 0; i++)
                r = plan_check_copies(p, &p->stages[i], err);
        if (r == 0)
                r = choose_targets(p, wanted, &n, err);
        for (size_t i = 0; i < n; i++)
                wanted[i]->users++;
        for (size_t i = 0; i < n; i++)
                wanted[i]->reachable = true;
        for (size_t i = 0; p->o->all_stages && !p->o->targets->n && i < p->nstages; i++)
                p->stages[i].reachable = true;
        if (r == 0)
                r = plan_reach(p, p->nstages, err);
        if (r == 0)
                r = plan_stages(p, p->nstages, err);
        for (size_t i = 0; i < n && r == 0; i++) {
                r = add_target(p, wanted[i], err);
                /* Of several stages asked for, the first is the image; the others get built. */
                if (r == 0)
                        p->g->targets.v[p->g->targets.n - 1].is_image = i == 0;
        }
        return r < 0 ? r : check_unused(p, err);
}

int plan_build(const struct plan_opts *o, struct graph *g, struct df_pos *ret_pos,
               struct bld_err *err)
{
        struct plan p = {.o = o, .g = g, .pos = ret_pos};
        int r;

        memset(ret_pos, 0, sizeof(*ret_pos));
        map_init(&p.names, plan_names_free);
        r = plan_list_stages(&p, err);
        if (r == 0)
                r = plan_all(&p, err);
        for (size_t i = 0; i < p.nstages; i++)
                plan_stage_done(&p.stages[i]);
        free(p.stages);
        strv_done(&p.global);
        strv_index_done(&p.global_at);
        strv_done(&p.trigger_args);
        map_done(&p.names);
        return r;
}
