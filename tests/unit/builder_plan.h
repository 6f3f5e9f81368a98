/* Planning a Dockerfile in tests: a resolver that knows a handful of images, and graphs, configs,
 * history as text. */
#ifndef TESTS_UNIT_BUILDER_PLAN_H
#define TESTS_UNIT_BUILDER_PLAN_H

#include "tests/unit/builder_fixture.h"

#include <stdio.h>

#include "builder/plan/plan_priv.h"

#define ARGS_MAX 8

struct opts {
        const char *args[ARGS_MAX];   /* --build-arg */
        const char *labels[ARGS_MAX]; /* --label */
        const char *target, *platform, *no_cache_filter, *network, *hosts[ARGS_MAX];
        bool no_cache, allow_host, allow_insecure;
};

struct planned {
        struct df_file *file;
        struct graph g;
        struct df_pos at;
        struct bld_err err;
        int r;
        char asked[400]; /* images the resolver was asked for */
        char warned[400];
};

/* ---- images ---- */

static const struct {
        const char *name;
        const char *env, *user, *workdir, *onbuild, *onbuild2, *cmd, *shell;
        unsigned layers;
} images[] = {
        {.name = "base", .env = "LANG=C", .layers = 1},
        {.name = "other", .layers = 2},
        {.name = "user", .user = "me", .workdir = "/home/me", .cmd = "run", .layers = 1},
        {.name = "bare", .env = "EMPTY=1"},
        {.name = "trigger",
         .onbuild = "ENV T=1",
         .onbuild2 = "COPY --from=tools /x /x",
         .layers = 1},
        {.name = "argtrigger", .onbuild = "ARG C", .layers = 1},
        {.name = "badtrigger", .onbuild = "COPY", .layers = 1},
        {.name = "fromtrigger", .onbuild = "FROM base", .layers = 1},
        {.name = "twotriggers", .onbuild = "RUN a\nRUN b", .layers = 1},
        {.name = "shelled", .shell = "/bin/bash", .layers = 1},
};

static int resolve(void *user, const char *name, const struct img_platform *pl,
                   struct bd_image *ret, struct bld_err *why)
{
        struct planned *p = user;
        size_t n = strlen(p->asked);

        (void)snprintf(p->asked + n, sizeof(p->asked) - n, "%s%s", n ? " " : "", name);
        for (size_t i = 0; i < ARRAY_LEN(images); i++) {
                struct img_config *c = &ret->config;

                if (strcmp(images[i].name, name) != 0)
                        continue;
                memset(ret, 0, sizeof(*ret));
                digest_of(name, strlen(name), &ret->desc.digest);
                img_config_init(c);
                c->platform = *pl;
                if (images[i].env)
                        OK(strv_add(&c->env, images[i].env));
                c->user = images[i].user ? mem_strdup(images[i].user) : NULL;
                c->working_dir = images[i].workdir ? mem_strdup(images[i].workdir) : NULL;
                if (images[i].onbuild)
                        OK(strv_add(&c->on_build, images[i].onbuild));
                if (images[i].onbuild2)
                        OK(strv_add(&c->on_build, images[i].onbuild2));
                if (images[i].cmd)
                        OK(strv_add(&c->cmd, images[i].cmd));
                c->has_cmd = images[i].cmd != NULL;
                if (images[i].shell)
                        OK(strv_add(&c->shell, images[i].shell));
                c->has_shell = images[i].shell != NULL;
                for (unsigned k = 0; k < images[i].layers; k++)
                        assert_non_null(img_descs_push(&ret->manifest.layers));
                return 0;
        }
        return err_set(why, BLD_E_NOT_FOUND, "no image %s", name);
}

static enum plan_named find_named(const void *named, const char *name,
                                  const struct img_platform *pl, const char **ret_folder)
{
        (void)named;
        (void)pl;
        if (strcmp(name, "ctxfolder") == 0) {
                *ret_folder = "/srv/folder";
                return PLAN_NAMED_FOLDER;
        }
        return strcmp(name, "ctxempty") == 0 ? PLAN_NAMED_EMPTY : PLAN_NAMED_NONE;
}

static void warn(void *user, unsigned line, const char *text)
{
        struct planned *p = user;

        (void)line;
        (void)str_copy(p->warned, sizeof(p->warned), text);
}

static struct bld_list as_list(const char *const *v)
{
        struct bld_list l = {.v = v};

        while (l.n < ARGS_MAX && v[l.n])
                l.n++;
        return l;
}

static UNUSED void plan_text(const char *text, const struct opts *o, struct planned *p)
{
        static const struct opts none;
        const char *target[ARGS_MAX] = {NULL}, *filter[ARGS_MAX] = {NULL};
        struct bld_list targets, args, labels, filters;
        struct strv hosts = {.v = NULL};
        struct df_err_pos at;
        struct plan_opts po;

        o = o ? o : &none;
        memset(p, 0, sizeof(*p));
        graph_init(&p->g);
        p->r = df_parse(text, strlen(text), &p->file, &at, &p->err);
        if (p->r == 0)
                p->r = df_check(p->file, &at, &p->err);
        if (p->r < 0) {
                p->at = at.pos;
                return;
        }
        target[0] = o->target;
        filter[0] = o->no_cache_filter;
        targets = as_list(target);
        filters = as_list(filter);
        args = as_list(o->args);
        labels = as_list(o->labels);
        for (size_t i = 0; i < ARGS_MAX && o->hosts[i]; i++)
                OK(strv_add(&hosts, o->hosts[i]));
        po = (struct plan_opts){.file = p->file,
                                .targets = &targets,
                                .build_args = &args,
                                .labels = &labels,
                                .no_cache_filter = &filters,
                                .host_names = &hosts,
                                .network = o->network ? o->network : "default",
                                .no_cache = o->no_cache,
                                .allow_host_network = o->allow_host,
                                .allow_insecure = o->allow_insecure,
                                .have_context = true,
                                .resolve = resolve,
                                .user = p,
                                .find_named = find_named,
                                .warn = warn};
        OK(img_platform_parse("linux/amd64", &po.host, err));
        OK(img_platform_parse(o->platform ? o->platform : "linux/amd64", &po.platform, err));
        po.platform_given = o->platform != NULL;
        p->r = plan_build(&po, &p->g, &p->at, &p->err);
        strv_done(&hosts);
}

static UNUSED void planned_done(struct planned *p)
{
        graph_done(&p->g);
        df_free(p->file);
}

/* ---- as text ---- */

static const char *vertex_what(const struct vertex *v)
{
        static char buf[300];

        switch (v->kind) {
        case VX_IMAGE:
                (void)snprintf(buf, sizeof(buf), "%s", v->name);
                break;
        case VX_LOCAL:
                (void)snprintf(buf, sizeof(buf), "context %s", v->u.local);
                break;
        case VX_COPY:
                (void)snprintf(buf, sizeof(buf), "copy %s to %s", v->u.copy.src[0].path,
                               v->u.copy.dest);
                break;
        case VX_RUN:
                (void)snprintf(buf, sizeof(buf), "run %s in %s",
                               v->u.run.argv.v[v->u.run.argv.n - 1], v->u.run.cwd);
                break;
        case VX_MKDIR:
                (void)snprintf(buf, sizeof(buf), "mkdir %s by %s", v->u.mkdir.path,
                               v->u.mkdir.user);
                break;
        case VX_GIT:
                (void)snprintf(buf, sizeof(buf), "git %s", v->u.git.remote);
                break;
        }
        return buf;
}

/* "2: run x in / <- 1 0" */
static UNUSED void graph_text(const struct graph *g, struct sb *out)
{
        for (size_t i = 0; i < g->v.n; i++) {
                const struct vertex *v = g->v.v[i];

                sb_fmt(out, "%u: %s%s", v->id, vertex_what(v), v->no_cache ? " anew" : "");
                for (size_t k = 0; k < v->ninputs; k++) {
                        sb_str(out, k ? " " : " <- ");
                        if (v->inputs[k])
                                sb_fmt(out, "%u", v->inputs[k]->id);
                        else
                                sb_char(out, '-');
                }
                sb_char(out, '\n');
        }
}

static UNUSED void history_text(const struct graph *g, struct sb *out)
{
        const struct plan_target *t = &g->targets.v[0];

        for (size_t i = 0; i < t->history.n; i++)
                sb_fmt(out, "%s%s\n", t->history.v[i].v ? "+" : "", t->history.v[i].created_by);
}

/* "3 ENV a=1" */
static UNUSED void lines_text(const struct graph *g, struct sb *out)
{
        const struct plan_target *t = &g->targets.v[0];

        for (size_t i = 0; i < t->history.n; i++)
                sb_fmt(out, "%u %s\n", t->history.v[i].line, t->history.v[i].created_by);
}

static void list_text(struct sb *out, const char *name, bool shown, const struct strv *a)
{
        if (!shown && !a->n)
                return;
        sb_fmt(out, "%s", name);
        for (size_t i = 0; i < a->n; i++)
                sb_fmt(out, " <%s>", a->v[i]);
        sb_char(out, '\n');
}

/* Members that are not as `FROM scratch` leaves them; PATH is left out. */
static UNUSED void config_text(const struct graph *g, struct sb *out)
{
        const struct img_config *c = &g->targets.v[0].config;

        for (size_t i = 0; i < c->env.n; i++)
                if (!str_has_prefix(c->env.v[i], "PATH="))
                        sb_fmt(out, "env %s\n", c->env.v[i]);
        if (c->user)
                sb_fmt(out, "user %s\n", c->user);
        if (c->working_dir && strcmp(c->working_dir, "/") != 0)
                sb_fmt(out, "workdir %s\n", c->working_dir);
        list_text(out, "entrypoint", c->has_entrypoint, &c->entrypoint);
        list_text(out, "cmd", c->has_cmd, &c->cmd);
        list_text(out, "shell", c->has_shell, &c->shell);
        list_text(out, "ports", false, &c->exposed_ports);
        list_text(out, "volumes", false, &c->volumes);
        list_text(out, "onbuild", false, &c->on_build);
        if (c->stop_signal)
                sb_fmt(out, "signal %s\n", c->stop_signal);
        if (c->author)
                sb_fmt(out, "author %s\n", c->author);
        for (size_t i = 0; i < c->labels.n; i++)
                sb_fmt(out, "label %s=%s\n", c->labels.v[i].key, c->labels.v[i].value);
        if (c->has_health)
                list_text(out, "health", true, &c->health.test);
}

/* The environment of the last RUN; PATH is left out. */
static UNUSED void env_text(const struct graph *g, struct sb *out)
{
        for (size_t i = g->v.n; i-- > 0;) {
                const struct vertex *v = g->v.v[i];

                if (v->kind != VX_RUN)
                        continue;
                for (size_t k = 0; k < v->u.run.env.n; k++)
                        if (!str_has_prefix(v->u.run.env.v[k], "PATH="))
                                sb_fmt(out, "%s\n", v->u.run.env.v[k]);
                return;
        }
}

struct row {
        const char *name, *text, *want;
        struct opts o;
};

static UNUSED void check(const struct row *rows, size_t n,
                         void (*as_text)(const struct graph *, struct sb *))
{
        for (size_t i = 0; i < n; i++) {
                AUTO_SB struct sb got = SB_INIT(1u << 20);
                struct planned p;

                print_message("%s\n", rows[i].name);
                plan_text(rows[i].text, &rows[i].o, &p);
                if (p.r < 0)
                        fail_msg("line %u: %s", p.at.line, p.err.msg);
                as_text(&p.g, &got);
                assert_string_equal(sb_text(&got), rows[i].want);
                planned_done(&p);
        }
}

#endif
