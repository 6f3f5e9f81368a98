/* What a stage stands on: an image, a named context, another stage with its state. */
#include "builder/plan/plan_priv.h"

#include <string.h>

#include "base/err.h"
#include "base/opt.h"
#include "base/path.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

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
bool plan_makes_step(const struct df_instr *in)
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
        if (p->o->drop_labels)
                img_kvs_free(&s->config.labels);
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
                        *h = (struct plan_history){.v = b->history.v[i].v,
                                                   .line = b->history.v[i].line};
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

int plan_start_stage(struct plan *p, struct stage *s, struct bld_err *err)
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
int plan_default_path(struct stage *s, struct bld_err *err)
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
