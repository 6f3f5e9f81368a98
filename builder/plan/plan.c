/* Stages: what they stand on, which are needed, in which order they become vertices. */
#include "builder/plan/plan_priv.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "base/num.h"
#include "base/path.h"
#include "base/opt.h"

#define TRIGGER_DEPTH_MAX 100
#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

int plan_fail(struct plan *p, const struct df_pos *pos, int r)
{
        if (r < 0 && p->pos->line == 0)
                *p->pos = *pos;
        return r;
}

static int fail_at(struct plan *p, const struct df_instr *in, int r)
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

static void namesakes_free(void *p)
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

static int global_args(struct plan *p, struct bld_err *err)
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
                                return fail_at(p, &f->v[i], r);
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
        r = df_expand_word(in->args[0].text, p->o->file->escape, &image.env, &s->base, err);
        if (r == 0 && *s->base && platform)
                r = df_expand_word(platform, p->o->file->escape, &flag.env, ret_platform, err);
        lint_from(p->o->lint, in, &image, platform ? &flag : NULL, *ret_platform, &p->global);
        if (strv_copy(&s->from_args, &image.set) < 0 || strv_copy(&s->from_args, &flag.set) < 0)
                return r < 0 ? r : err_nomem(err, "stages");
        return r;
}

static int stage_from(struct plan *p, struct stage *s, struct bld_err *err)
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
        if (platform) {
                if (!*expanded)
                        r = err_set(err, BLD_E_INVALID, "empty platform value from expression %s",
                                    platform);
                if (r == 0)
                        r = img_platform_parse(expanded, &s->platform, err);
                s->platform_given = true;
                if (r < 0)
                        return fail_at(p, in, r);
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

static int list_stages(struct plan *p, struct bld_err *err)
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
static void release_state(struct stage *s)
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

static void stage_done(struct stage *s)
{
        release_state(s);
        free(s->name);
        free(s->title);
        free(s->base);
        strv_done(&s->from_args);
}

/* ---- which stages are needed ---- */

int plan_from_stage(struct plan *p, const struct stage *s, const char *from,
                    const char *mount_target, struct stage **ret, struct bld_err *err)
{
        AUTO_FREE char *lower = mem_strdup(from);
        struct stage *t;
        uint64_t n;

        *ret = NULL;
        if (!lower)
                return err_nomem(err, "stages");
        for (char *c = lower; *c; c++)
                if (*c >= 'A' && *c <= 'Z')
                        *c |= 0x20;
        if (!mount_target && parse_u64(from, 0, UINT32_MAX, &n)) {
                if (n == s->index)
                        return err_set(err, BLD_E_INVALID,
                                       "circular dependency detected on stage: %s", s->title);
                if (n > s->index)
                        return err_set(err, BLD_E_INVALID, "invalid stage index %s", from);
                *ret = &p->stages[n];
                return 0;
        }
        *ret = plan_find_stage(p, lower, s->index);
        if (*ret)
                return 0;
        t = plan_find_stage(p, lower, p->nstages);
        if (t == s)
                return err_set(err, BLD_E_INVALID, "circular dependency detected on stage: %s",
                               s->title);
        if (t && mount_target)
                return err_set(err, BLD_E_INVALID,
                               "cannot mount from stage \"%s\" to \"%s\", stage needs to be "
                               "defined before current command",
                               from, mount_target);
        if (t)
                return err_set(err, BLD_E_INVALID,
                               "cannot copy from stage \"%s\", it needs to be defined before "
                               "current stage \"%s\"",
                               from, s->title);
        return 0;
}

static int mark_from(struct plan *p, struct stage *s, const struct df_instr *in, const char *from,
                     const char *mount_target, struct bld_err *err)
{
        struct stage *t = NULL;
        int r = plan_from_stage(p, s, from, mount_target, &t, err);

        if (r < 0)
                return fail_at(p, in, r);
        if (t && !t->reachable) {
                t->reachable = true;
                p->last_reached = MAX(p->last_reached, t->index + 1);
        }
        return 0;
}

/* The stages an instruction of a wanted stage names are wanted. */
static int mark_instr(struct plan *p, struct stage *s, const struct df_instr *in,
                      struct bld_err *err)
{
        const char *from = in->kind == DF_COPY ? df_flag(in, "from") : NULL;
        int r = 0;

        if (from && *from)
                r = mark_from(p, s, in, from, NULL, err);
        for (size_t i = 0; in->kind == DF_RUN && i < in->nflags && r == 0; i++) {
                AUTO_FREE char *mount_from = NULL;
                AUTO_FREE char *target = NULL;

                if (strcmp(in->flags[i].name, "mount") != 0 || !in->flags[i].value)
                        continue;
                r = plan_mount_from(in->flags[i].value, &mount_from, &target, err);
                if (r < 0)
                        return plan_fail(p, &in->flags[i].pos, r);
                if (mount_from && *mount_from)
                        r = mark_from(p, s, in, mount_from, target ? target : "", err);
        }
        return r;
}

/* A --from that can never be right is an error also where nobody needs the stage. */
static int check_copies(struct plan *p, struct stage *s, struct bld_err *err)
{
        const struct df_file *f = p->o->file;
        int r = 0;

        for (size_t i = s->first; i < s->end && r == 0; i++) {
                const char *from = f->v[i].kind == DF_COPY ? df_flag(&f->v[i], "from") : NULL;
                struct stage *t;
                uint64_t n;

                if (!from || !*from)
                        continue;
                r = plan_check_from(p, from, err);
                if (r == 0 && parse_u64(from, 0, UINT32_MAX, &n))
                        r = plan_from_stage(p, s, from, NULL, &t, err);
                if (r < 0)
                        return fail_at(p, &f->v[i], r);
        }
        return r;
}

static int mark_stage(struct plan *p, struct stage *s, struct bld_err *err)
{
        const struct df_file *f = p->o->file;
        struct stage *b = s->base_stage;
        int r = 0;

        s->scanned = true;
        if (b)
                b->reachable = true;
        /* The ONBUILD triggers of a base run here and may name other stages. */
        for (size_t i = b ? b->first : 0; b && i < b->end && r == 0; i++)
                if (f->v[i].kind == DF_ONBUILD && f->v[i].sub)
                        r = mark_instr(p, s, f->v[i].sub, err);
        for (size_t i = s->first; i < s->end && r == 0; i++)
                r = mark_instr(p, s, &f->v[i], err);
        return r;
}

/* What the reachable stages before this one need. A stage names earlier ones only, so one way back
 * is enough, however long the chain. */
static int reach(struct plan *p, size_t before, struct bld_err *err)
{
        int r = 0;

        p->last_reached = 0;
        for (size_t i = before; i-- > 0 && r == 0;)
                if (p->stages[i].reachable && !p->stages[i].scanned)
                        r = mark_stage(p, &p->stages[i], err);
        return r;
}

/* ---- bases ---- */

int plan_expand(struct plan *p, struct stage *s, const char *word, char **ret, struct bld_err *err)
{
        struct lint_env e;
        int r;

        lint_env_init(&e, &s->env, &s->env_at, p->o->lint);
        r = df_expand_word(word, p->o->file->escape, &e.env, ret, err);
        lint_undefined(p->o->lint, &s->lint, &e, &s->args);
        lint_env_done(&e);
        return r;
}

/* A folder of this machine: "" is the main context, else a named one's path. */
static int add_local(struct plan *p, const char *folder, struct vertex **ret, struct bld_err *err)
{
        struct vertex *v = mem_zalloc(1, sizeof(*v));

        if (v) {
                v->kind = VX_LOCAL;
                v->u.local = mem_strdup(folder);
        }
        if (!v || !v->u.local) {
                vertex_free(v);
                return err_nomem(err, "build graph");
        }
        return graph_add(p->g, v, ret, err);
}

int plan_git(struct plan *p, struct stage *s, const struct giturl *u, const char *shown,
             struct vertex **ret, struct bld_err *err)
{
        struct vertex *v = mem_zalloc(1, sizeof(*v));
        int r;

        if (!v)
                return err_nomem(err, "build graph");
        v->kind = VX_GIT;
        r = p->o->git(p->o->user, u, &v->u.git, err);
        v->stage = mem_strdup(s->title);
        v->line = s->from->line;
        if (asprintf(&v->name, "git %s", shown) < 0)
                v->name = NULL;
        if (r == 0 && (!v->stage || !v->name))
                r = err_nomem(err, "build graph");
        if (r < 0) {
                vertex_free(v);
                return r;
        }
        return graph_add(p->g, v, ret, err);
}

/* A named context that is a repository. */
static int named_git(struct plan *p, struct stage *s, const char *url, struct vertex **ret,
                     struct bld_err *err)
{
        AUTO(giturl_done) struct giturl u = {0};
        int r = giturl_parse(url, &u, err);

        if (r == 0)
                r = err_set(err, BLD_E_BUG, "not a repository: %.200s", url);
        return r < 0 ? r : plan_git(p, s, &u, u.remote, ret, err);
}

/* A named context that is a file from the web: a tree with nothing in it but that file, "context".
 */
static int named_http(struct plan *p, struct stage *s, const char *url, struct vertex **ret,
                      struct bld_err *err)
{
        const struct digest any = {0};
        struct vertex *v = mem_zalloc(1, sizeof(*v));
        struct copy_source *src = v ? mem_zalloc(1, sizeof(*src)) : NULL;
        int r = 0;

        if (!v || !src) {
                free(v);
                return err_nomem(err, "build graph");
        }
        v->kind = VX_COPY;
        v->u.copy.src = src;
        v->u.copy.nsrc = 1;
        v->ninputs = 1;
        v->inputs = mem_zalloc(1, sizeof(struct vertex *));
        v->stage = mem_strdup(s->title);
        v->line = s->from->line;
        v->u.copy.dest = mem_strdup("/");
        if (asprintf(&v->name, "ADD %s", url) < 0)
                v->name = NULL;
        if (!v->inputs || !v->stage || !v->name || !v->u.copy.dest)
                r = err_nomem(err, "build graph");
        if (r == 0)
                r = p->o->fetch(p->o->user, url, &any, src, err);
        src->kind = COPY_BLOB;
        free(src->path);
        src->path = mem_strdup("context");
        if (r == 0 && !src->path)
                r = err_nomem(err, "build graph");
        if (r < 0) {
                vertex_free(v);
                return r;
        }
        return graph_add(p->g, v, ret, err);
}

/* FROM a named folder: its files, and no config. */
static int start_folder(struct plan *p, struct stage *s, struct vertex *local, struct bld_err *err)
{
        struct vertex *v;
        int r = plan_vertex(p, s, s->from, VX_COPY, 2, &v, err);

        if (r < 0)
                return r;
        v->ninputs = 2;
        v->inputs[0] = NULL;
        v->inputs[1] = local;
        v->u.copy.src = mem_zalloc(1, sizeof(*v->u.copy.src));
        v->u.copy.dest = mem_strdup("/");
        if (v->u.copy.src) {
                v->u.copy.nsrc = 1;
                v->u.copy.src[0].path = mem_strdup(".");
        }
        s->config.working_dir = mem_strdup("/");
        if (!v->u.copy.src || !v->u.copy.src[0].path || !v->u.copy.dest || !s->config.working_dir) {
                vertex_free(v);
                return err_nomem(err, "build graph");
        }
        return graph_add(p->g, v, &s->fs, err);
}

/* A name that is nearly a stage's is far more often a slip than an image. */
int plan_near_stage(struct plan *p, struct stage *s, const char *what, const char *from,
                    struct bld_err *err)
{
        const char *names[256], *near, *folder = NULL;
        size_t n = 0;

        if (strpbrk(from, "/:.@") || strcmp(from, "scratch") == 0 ||
            p->o->find_named(p->o->named, from, &s->platform, &folder) != PLAN_NAMED_NONE)
                return 0;
        for (size_t i = 0; i < s->index && n < ARRAY_LEN(names); i++)
                if (p->stages[i].name)
                        names[n++] = p->stages[i].name;
        near = near_match(from, names, n, 3);
        if (!near)
                return 0;
        (void)err_set(err, BLD_E_INVALID,
                      "%s=%s: there is no stage or build context with this name", what, from);
        (void)err_try(err, 0, "did you mean the stage \"%s\"?", near);
        return err_note(err, BLD_E_INVALID,
                        "it was not treated as an image because a stage with a near name exists; "
                        "write docker.io/library/%s to force",
                        from);
}

/* The vertex of an image another instruction names. */
int plan_input_image(struct plan *p, struct stage *s, const char *name, struct vertex **ret,
                     struct bld_err *err)
{
        struct vertex *v;
        const char *folder = NULL;
        enum plan_named named;
        int r;

        *ret = NULL;
        if (strcmp(name, "scratch") == 0)
                return 0;
        named = p->o->find_named(p->o->named, name, &s->platform, &folder);
        if (named == PLAN_NAMED_EMPTY)
                return 0;
        if (named == PLAN_NAMED_FOLDER)
                return add_local(p, folder, ret, err);
        if (named == PLAN_NAMED_GIT)
                return named_git(p, s, folder, ret, err);
        if (named == PLAN_NAMED_HTTP)
                return named_http(p, s, folder, ret, err);
        v = mem_zalloc(1, sizeof(*v));
        if (!v)
                return err_nomem(err, "build graph");
        v->kind = VX_IMAGE;
        v->platform = s->platform;
        r = p->o->resolve(p->o->user, name, &s->platform, &v->u.image, err);
        if (r < 0) {
                free(v);
                return r;
        }
        v->depth = v->u.image.config.ndiff_ids;
        v->stage = mem_strdup(s->title);
        v->line = s->from->line;
        if (asprintf(&v->name, "FROM %s", name) < 0)
                v->name = NULL;
        if (!v->stage || !v->name) {
                vertex_free(v);
                return err_nomem(err, "build graph");
        }
        return graph_add(p->g, v, ret, err);
}

int plan_context(struct plan *p, struct vertex **ret, struct bld_err *err)
{
        return add_local(p, "", ret, err);
}

/* One layer-making instruction of a stage per step; ENV and its like are none. */
static bool makes_step(const struct df_instr *in)
{
        return in->kind == DF_RUN || in->kind == DF_COPY || in->kind == DF_ADD ||
               in->kind == DF_WORKDIR;
}

static int start_image(struct plan *p, struct stage *s, struct bld_err *err)
{
        const struct bd_image *im;
        const char *folder = NULL;
        struct vertex *local;
        int r = plan_input_image(p, s, s->base, &s->fs, err);

        if (r < 0)
                return plan_fail(p, &s->from->args[0].pos, r);
        if (!s->fs) { /* an empty named context */
                s->config.working_dir = mem_strdup("/");
                return s->config.working_dir ? 0 : err_nomem(err, "image config");
        }
        if (s->fs->kind != VX_IMAGE) {
                local = s->fs;
                s->fs = NULL;
                return start_folder(p, s, local, err);
        }
        im = &s->fs->u.image;
        s->lint.env_unknown = im->desc.media_type == NULL;
        if (p->o->find_named(p->o->named, s->base, &s->platform, &folder) == PLAN_NAMED_NONE)
                lint_base_platform(p->o->lint, s->from, s->base, &s->platform,
                                   &im->config.platform);
        r = img_config_copy(&im->config, &s->config, err);
        free(s->config.cache); /* it is about the base alone */
        s->config.cache = NULL;
        if (r < 0)
                return r;
        if (s->config.working_dir && *s->config.working_dir && *s->config.working_dir != '/') {
                char *full = path_join("/", s->config.working_dir);

                if (!full)
                        return err_nomem(err, "image config");
                free(s->config.working_dir);
                s->config.working_dir = full;
        }
        free(s->config.created);
        s->config.created = NULL;
        if (!s->platform_given)
                s->platform = s->config.platform;
        s->fs->index = 1;
        /* A base that several stages share is shown where it is first used. */
        if (!s->fs->step && asprintf(&s->fs->step, "%s 1/%u", s->title, s->fs_total) < 0) {
                s->fs->step = NULL;
                return err_nomem(err, "build graph");
        }
        s->fs_steps = 1;
        if (im->manifest.layers.n == 0)
                s->fs = NULL; /* the config is all there is */
        return strv_copy(&s->env, &s->config.env) < 0 ? err_nomem(err, "environment") : 0;
}

static int copy_state(struct stage *s, const struct stage *b, struct bld_err *err)
{
        int r = img_config_copy(&b->config, &s->config, err);

        if (r < 0)
                return r;
        if (strv_copy(&s->env, &b->env) < 0 || strv_copy(&s->args, &b->args) < 0)
                return err_nomem(err, "stage");
        for (size_t i = 0; i < b->history.n; i++) {
                struct plan_history *h = plan_histories_push(&s->history);

                if (h) {
                        *h = (struct plan_history){.v = b->history.v[i].v};
                        h->created_by = mem_strdup(b->history.v[i].created_by);
                }
                if (!h || !h->created_by)
                        return err_nomem(err, "stage");
        }
        return 0;
}

/* The last one to build on a stage has its state for nothing: a chain of stages stays linear. */
static void take_state(struct stage *s, struct stage *b)
{
        s->config = b->config;
        s->env = b->env;
        s->args = b->args;
        s->history = b->history;
        s->env_at = b->env_at;
        s->config_env_at = b->config_env_at;
        s->args_at = b->args_at;
        s->volumes_at = b->volumes_at;
        s->ports_at = b->ports_at;
        s->labels_at = b->labels_at;
        s->nlabels = b->nlabels;
        img_config_init(&b->config);
        b->env = b->args = (struct strv){0};
        b->history = (struct plan_histories){0};
        b->env_at = b->config_env_at = b->args_at = (struct strv_index){0};
        b->volumes_at = b->ports_at = (struct strv_index){.whole = true};
        map_init(&b->labels_at, NULL);
        b->nlabels = 0;
}

static int start_from_stage(struct stage *s, struct stage *b, struct bld_err *err)
{
        int r = 0;

        if (--b->users == 0)
                take_state(s, b);
        else
                r = copy_state(s, b, err);
        s->fs = b->fs;
        s->lint.workdir_set = b->lint.workdir_set;
        s->lint.env_unknown = b->lint.env_unknown;
        /* ENV wins over the ARGs that come from below. */
        for (size_t i = 0; b->env_hidden && i < s->config.env.n && r == 0; i++) {
                const char *kv = s->config.env.v[i], *eq = strchr(kv, '=');
                AUTO_FREE char *key = mem_strndup(kv, eq ? (size_t)(eq - kv) : strlen(kv));

                if (!key || strv_index_set(&s->env_at, &s->env, key, eq ? eq + 1 : "") < 0)
                        r = err_nomem(err, "stage");
        }
        return r;
}

static int start_stage(struct plan *p, struct stage *s, struct bld_err *err)
{
        s->config.platform = s->platform;
        if (s->base_stage)
                return start_from_stage(s, s->base_stage, err);
        if (strcmp(s->base, "scratch") != 0)
                return start_image(p, s, err);
        s->config.working_dir = mem_strdup("/");
        return s->config.working_dir ? 0 : err_nomem(err, "image config");
}

/* PATH goes into the config of every image that lacks one. */
static int default_path(struct stage *s, struct bld_err *err)
{
        int r = 0;

        if (strcmp(s->config.platform.os, "windows") == 0 ||
            strv_index_get(&s->config_env_at, &s->config.env, "PATH"))
                return 0;
        r = strv_index_set(&s->config_env_at, &s->config.env, "PATH", DEFAULT_PATH);
        if (r == 0)
                r = strv_index_set(&s->env_at, &s->env, "PATH", DEFAULT_PATH);
        return r < 0 ? err_nomem(err, "environment") : 0;
}

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
                        ? reach(p, before, err)
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
                r = mark_instr(p, s, &f->v[0], err);
        }
        if (r == 0 && p->last_reached) /* a trigger is the first to name a stage */
                r = plan_late(p, p->last_reached, err);
        if (r == 0)
                r = plan_instr(p, s, &f->v[0], err);
        return r < 0 ? fail_at(p, s->from, err_wrap(err, r, "ONBUILD %s", text)) : 0;
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
                s->fs_total += makes_step(&f->v[i]);
        r = start_stage(p, s, err);
        if (r == 0)
                r = default_path(s, err);
        if (r == 0)
                r = run_triggers(p, s, err);
        for (size_t i = s->first; i < s->end && r == 0; i++) {
                r = plan_instr(p, s, &f->v[i], err);
                if (r < 0)
                        return fail_at(p, &f->v[i], r);
        }
        s->planned = true;
        if (!s->users)
                release_state(s);
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
        if (v->depth > IMG_LAYERS_MAX) {
                vertex_free(v);
                free(created_by);
                r = err_set(err, BLD_E_INVALID, "the stage would have more than %d layers",
                            IMG_LAYERS_MAX);
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
        h->created_by = created_by;
        h->v = v;
        return 0;
}

int plan_note(struct stage *s, char *created_by, struct bld_err *err)
{
        struct plan_history *h = created_by ? plan_histories_push(&s->history) : NULL;

        if (!h) {
                free(created_by);
                return err_nomem(err, "history");
        }
        h->created_by = created_by;
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
        for (size_t i = 0; i < f->n; i++)
                for (size_t k = 0; f->v[i].kind == DF_ARG && k < f->v[i].npairs; k++)
                        if (strcmp(f->v[i].pairs[k].key, name) == 0)
                                return true;
        return false;
}

/* A misspelt --build-arg would otherwise do nothing, silently. */
static void warn_unused(const struct plan *p)
{
        for (size_t i = 0; p->o->warn && i < p->o->build_args->n; i++) {
                const char *a = p->o->build_args->v[i];
                AUTO_FREE char *name = mem_strndup(a, strcspn(a, "="));
                char text[256];

                if (!name || declared(p, name))
                        continue;
                (void)snprintf(text, sizeof(text),
                               "build argument %.100s is not declared by any ARG", name);
                p->o->warn(p->o->user, 0, text);
        }
}

static int plan_all(struct plan *p, struct bld_err *err)
{
        AUTO_FREE struct stage **wanted = mem_zalloc(p->o->targets->n + 1, sizeof(*wanted));
        size_t n = 0;
        int r = wanted ? global_args(p, err) : err_nomem(err, "targets");

        for (size_t i = 0; i < p->nstages && r == 0; i++)
                r = stage_from(p, &p->stages[i], err);
        for (size_t i = 0; i < p->nstages && r == 0; i++)
                r = check_copies(p, &p->stages[i], err);
        if (r == 0)
                r = choose_targets(p, wanted, &n, err);
        for (size_t i = 0; i < n; i++)
                wanted[i]->users++;
        for (size_t i = 0; i < n; i++)
                wanted[i]->reachable = true;
        for (size_t i = 0; p->o->all_stages && !p->o->targets->n && i < p->nstages; i++)
                p->stages[i].reachable = true;
        if (r == 0)
                r = reach(p, p->nstages, err);
        if (r == 0)
                r = plan_stages(p, p->nstages, err);
        for (size_t i = 0; i < n && r == 0; i++) {
                r = add_target(p, wanted[i], err);
                /* Of several stages asked for, the first is the image; the others get built. */
                if (r == 0)
                        p->g->targets.v[p->g->targets.n - 1].is_image = i == 0;
        }
        if (r == 0)
                warn_unused(p);
        return r;
}

int plan_build(const struct plan_opts *o, struct graph *g, struct df_pos *ret_pos,
               struct bld_err *err)
{
        struct plan p = {.o = o, .g = g, .pos = ret_pos};
        int r;

        memset(ret_pos, 0, sizeof(*ret_pos));
        map_init(&p.names, namesakes_free);
        r = list_stages(&p, err);
        if (r == 0)
                r = plan_all(&p, err);
        for (size_t i = 0; i < p.nstages; i++)
                stage_done(&p.stages[i]);
        free(p.stages);
        strv_done(&p.global);
        strv_index_done(&p.global_at);
        map_done(&p.names);
        return r;
}
