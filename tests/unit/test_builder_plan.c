/* Dockerfile -> graph, configs and history, with a resolver that knows a handful of images. What
 * is expected is text: one line per vertex, per history entry, per variable. */
#include "tests/unit/builder_fixture.h"

#include <stdio.h>

#include "builder/plan_priv.h"

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

static void plan_text(const char *text, const struct opts *o, struct planned *p)
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

static void planned_done(struct planned *p)
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
        }
        return buf;
}

/* "2: run x in / <- 1 0" */
static void graph_text(const struct graph *g, struct sb *out)
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

static void history_text(const struct graph *g, struct sb *out)
{
        const struct plan_target *t = &g->targets.v[0];

        for (size_t i = 0; i < t->history.n; i++)
                sb_fmt(out, "%s%s\n", t->history.v[i].v ? "+" : "", t->history.v[i].created_by);
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
static void config_text(const struct graph *g, struct sb *out)
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
static void env_text(const struct graph *g, struct sb *out)
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

static void check(const struct row *rows, size_t n,
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

/* ---- which vertices, on which inputs ---- */

static const struct row graphs[] = {
        {"one stage",
         "FROM base\nRUN a\nRUN b\n",
         "0: FROM base\n1: run a in / <- 0\n2: run b in / <- 1\n",
         {.network = NULL}},
        {"scratch",
         "FROM scratch\nCOPY a /\n",
         "0: context \n1: copy a to / <- - 0\n",
         {.network = NULL}},
        {"config instructions make no vertex",
         "FROM base\nENV A=1\nLABEL b=2\nCMD x\nUSER me\nEXPOSE 1\nVOLUME /v\nSHELL [\"/s\"]\n"
         "STOPSIGNAL 9\nHEALTHCHECK NONE\nENTRYPOINT y\nMAINTAINER z\n",
         "0: FROM base\n",
         {.network = NULL}},
        {"heredocs alone need no context",
         "FROM base\nCOPY <<A /x\nt\nA\n",
         "0: FROM base\n1: copy A to /x <- 0\n",
         {.network = NULL}},
        {"stage on stage",
         "FROM base AS a\nRUN one\nFROM a\nRUN two\n",
         "0: FROM base\n1: run one in / <- 0\n2: run two in / <- 1\n",
         {.network = NULL}},
        {"COPY --from by name, any case",
         "FROM base AS a\nRUN one\nFROM other\nCOPY --from=A /x /y\n",
         "0: FROM base\n1: run one in / <- 0\n2: FROM other\n3: copy /x to /y <- 2 1\n",
         {.network = NULL}},
        {"by number",
         "FROM base\nRUN one\nFROM other\nCOPY --from=0 /x /y\n",
         "0: FROM base\n1: run one in / <- 0\n2: FROM other\n3: copy /x to /y <- 2 1\n",
         {.network = NULL}},
        {"of an image",
         "FROM base\nCOPY --from=other /x /y\n",
         "0: FROM base\n1: FROM other\n2: copy /x to /y <- 0 1\n",
         {.network = NULL}},
        {"of a named folder",
         "FROM base\nCOPY --from=ctxfolder /x /y\n",
         "0: FROM base\n1: context /srv/folder\n2: copy /x to /y <- 0 1\n",
         {.network = NULL}},
        {"on a named folder",
         "FROM ctxfolder\nRUN a\n",
         "0: context /srv/folder\n1: copy . to / <- - 0\n2: run a in / <- 1\n",
         {.network = NULL}},
        {"on an empty named context",
         "FROM ctxempty\nCOPY a /\n",
         "0: context \n1: copy a to / <- - 0\n",
         {.network = NULL}},
        {"named context in place of a stage",
         "FROM base AS ctxfolder\nRUN never\nFROM other\nCOPY --from=ctxfolder /x /y\n",
         "0: context /srv/folder\n1: copy . to / <- - 0\n2: FROM other\n3: copy /x to /y <- 2 1\n",
         {.network = NULL}},
        {"mounts are inputs",
         "FROM base AS a\nRUN one\nFROM other\n"
         "RUN --mount=type=bind,from=a,target=/a --mount=target=/c --mount=type=cache,target=/k "
         "two\n",
         "0: FROM base\n1: run one in / <- 0\n2: FROM other\n3: context \n4: run two in / <- 2 1 "
         "3\n",
         {.network = NULL}},
        {"unreachable stages do not exist",
         "FROM missing AS never\nRUN x\nFROM base\nRUN a\n",
         "0: FROM base\n1: run a in / <- 0\n",
         {.network = NULL}},
        {"--target",
         "FROM base AS one\nRUN a\nFROM missing\nRUN b\n",
         "0: FROM base\n1: run a in / <- 0\n",
         {.target = "ONE"}},
        {"of two stages of one name the later is meant",
         "FROM base AS a\nRUN one\nFROM other AS a\nRUN two\nFROM a\nRUN three\n",
         "0: FROM other\n1: run two in / <- 0\n2: run three in / <- 1\n",
         {.network = NULL}},
        {"a stage name is compared exactly, an image is meant else",
         "FROM base AS other2\nFROM other\nRUN a\n",
         "0: FROM other\n1: run a in / <- 0\n",
         {.network = NULL}},
        {"equal steps of two stages are one",
         "FROM base AS a\nRUN same\nFROM base AS b\nRUN same\nRUN more\nFROM a\nCOPY --from=b /x "
         "/\n",
         "0: FROM base\n1: run same in / <- 0\n2: run more in / <- 1\n3: copy /x to / <- 1 2\n",
         {.network = NULL}},
        {"WORKDIR",
         "FROM user\nWORKDIR app\nWORKDIR /\nWORKDIR x/../y\nRUN a\n",
         "0: FROM user\n1: mkdir /home/me/app by me <- 0\n2: mkdir /y by me <- 1\n"
         "3: run a in /y <- 2\n",
         {.network = NULL}},
        {"destinations",
         "FROM user\nCOPY a .\nCOPY a ./\nCOPY a b/\nCOPY a b\nCOPY a /c/.\nCOPY a /d/../e\n",
         "0: FROM user\n1: context \n2: copy a to /home/me/ <- 0 1\n3: copy a to /home/me/ <- 2 1\n"
         "4: copy a to /home/me/b/ <- 3 1\n5: copy a to /home/me/b <- 4 1\n"
         "6: copy a to /c/ <- 5 1\n7: copy a to /e <- 6 1\n",
         {.network = NULL}},
        {"image without layers is scratch with a config",
         "FROM bare\nCOPY a /\n",
         "0: FROM bare\n1: context \n2: copy a to / <- - 1\n",
         {.network = NULL}},
        {"--no-cache",
         "FROM base\nRUN a\n",
         "0: FROM base\n1: run a in / anew <- 0\n",
         {.no_cache = true}},
        {"--no-cache-filter",
         "FROM base AS a\nRUN a\nFROM a AS b\nRUN b\n",
         "0: FROM base\n1: run a in / anew <- 0\n2: run b in / <- 1\n",
         {.no_cache_filter = "x,A"}},
        {"JSON is taken as it is, no shell",
         "FROM base\nRUN [\"a\", \"$B\"]\n",
         "0: FROM base\n1: run $B in / <- 0\n",
         {.network = NULL}},
        {"triggers of the base run first",
         "FROM other AS tools\nRUN make\nFROM trigger\nRUN a\n",
         "0: FROM trigger\n1: FROM other\n2: run make in / <- 1\n3: copy /x to /x <- 0 2\n"
         "4: run a in / <- 3\n",
         {.network = NULL}},
        {"triggers of a stage run in its child, once",
         "FROM base AS a\nONBUILD RUN t\nFROM a AS b\nFROM b\nRUN z\n",
         "0: FROM base\n1: run t in / <- 0\n2: run z in / <- 1\n",
         {.network = NULL}},
};

static void vertices(void **state)
{
        (void)state;
        check(graphs, ARRAY_LEN(graphs), graph_text);
}

/* Inputs come before what needs them: the list is an order to run things in. */
static void order(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(graphs); i++) {
                struct planned p;

                plan_text(graphs[i].text, &graphs[i].o, &p);
                for (size_t k = 0; k < p.g.v.n; k++)
                        for (size_t j = 0; j < p.g.v.v[k]->ninputs; j++)
                                if (p.g.v.v[k]->inputs[j])
                                        assert_true(p.g.v.v[k]->inputs[j]->id < k);
                planned_done(&p);
        }
}

/* ---- ARG and ENV ---- */

static const struct row scopes[] = {
        {"default", "FROM base\nARG A=1\nRUN x\n", "LANG=C\nA=1\n", {.network = NULL}},
        {"build argument wins over the default",
         "FROM base\nARG A=1\nRUN x\n",
         "LANG=C\nA=2\n",
         {.args = {"A=2"}}},
        {"the last one given",
         "FROM base\nARG A\nRUN x\n",
         "LANG=C\nA=3\n",
         {.args = {"A=2", "A=3"}}},
        {"even an empty one", "FROM base\nARG A=1\nRUN x\n", "LANG=C\nA=\n", {.args = {"A="}}},
        {"not declared, not there", "FROM base\nRUN x\n", "LANG=C\n", {.args = {"A=2"}}},
        {"global value needs a declaration",
         "ARG A=g\nFROM base\nRUN x\n",
         "LANG=C\n",
         {.network = NULL}},
        {"global value", "ARG A=g\nFROM base\nARG A\nRUN x\n", "LANG=C\nA=g\n", {.network = NULL}},
        {"the stage's default hides the global value",
         "ARG A=g\nFROM base\nARG A=s\nRUN x\n",
         "LANG=C\nA=s\n",
         {.network = NULL}},
        {"nothing known: nothing set", "FROM base\nARG A\nRUN x\n", "LANG=C\n", {.network = NULL}},
        {"nothing known: what was there stays",
         "FROM base\nENV A=e\nARG A\nRUN x\n",
         "LANG=C\nA=e\n",
         {.network = NULL}},
        {"from here on only", "FROM base\nRUN x\nARG A=1\n", "LANG=C\n", {.network = NULL}},
        {"ENV after ARG",
         "FROM base\nARG A=1\nENV A=2\nRUN x\n",
         "LANG=C\nA=2\n",
         {.network = NULL}},
        {"ARG after ENV: later wins",
         "FROM base\nENV A=2\nARG A=1\nRUN x\n",
         "LANG=C\nA=1\n",
         {.network = NULL}},
        {"references see the instruction before",
         "FROM base\nENV a=1\nENV a=2 b=$a\nRUN x\n",
         "LANG=C\na=2\nb=1\n",
         {.network = NULL}},
        {"names of one ARG see each other",
         "FROM base\nARG a=1 b=$a\nRUN x\n",
         "LANG=C\na=1\nb=1\n",
         {.network = NULL}},
        {"a child sees its parent's ARG",
         "FROM base AS p\nARG A=1\nFROM p\nRUN x\n",
         "LANG=C\nA=1\n",
         {.network = NULL}},
        {"but its ENV wins",
         "FROM base AS p\nENV A=e\nARG A=1\nFROM p\nRUN x\n",
         "LANG=C\nA=e\n",
         {.network = NULL}},
        {"an automatic one",
         "FROM base\nARG TARGETARCH\nARG BUILDPLATFORM\nRUN x\n",
         "LANG=C\nTARGETARCH=arm64\nBUILDPLATFORM=linux/amd64\n",
         {.platform = "linux/arm64"}},
        {"hidden by a default",
         "FROM base\nARG TARGETARCH=z\nRUN x\n",
         "LANG=C\nTARGETARCH=z\n",
         {.network = NULL}},
        {"stage name",
         "FROM base AS last\nARG TARGETSTAGE\nRUN x\n",
         "LANG=C\nTARGETSTAGE=last\n",
         {.network = NULL}},
        {"stage name as typed",
         "FROM base AS last\nARG TARGETSTAGE\nRUN x\n",
         "LANG=C\nTARGETSTAGE=LAST\n",
         {.target = "LAST"}},
        {"stage without name",
         "FROM base\nARG TARGETSTAGE\nRUN x\n",
         "LANG=C\nTARGETSTAGE=default\n",
         {.network = NULL}},
        {"global ones build on each other",
         "ARG A=1\nARG B=${A}2\nFROM base\nARG B\nRUN x\n",
         "LANG=C\nB=12\n",
         {.network = NULL}},
        {"a bare global one keeps the default before",
         "ARG A=1\nARG A\nFROM base\nARG A\nRUN x\n",
         "LANG=C\nA=1\n",
         {.network = NULL}},
        {"default not looked at when given",
         "FROM base\nARG A=${B?no}\nRUN x\n",
         "LANG=C\nA=2\n",
         {.args = {"A=2"}}},
        {"scan arguments never show",
         "FROM base\nARG BUILDKIT_SBOM_SCAN_STAGE=true\nRUN x\n",
         "LANG=C\n",
         {.network = NULL}},
        {"FROM sees global ones only",
         "ARG V=base\nFROM $V\nRUN x\n",
         "LANG=C\n",
         {.network = NULL}},
        {"escape of the file",
         "# escape=`\nFROM base\nENV a=`$x\nRUN x\n",
         "LANG=C\na=$x\n",
         {.network = NULL}},
};

static void variables(void **state)
{
        (void)state;
        check(scopes, ARRAY_LEN(scopes), env_text);
}

static void path_default(void **state)
{
        static const char path[] =
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        struct planned p;

        (void)state;
        plan_text("FROM scratch\nENV A=1\nRUN x\n", NULL, &p);
        assert_int_equal(p.r, 0);
        assert_string_equal(p.g.targets.v[0].config.env.v[0], path);
        assert_string_equal(p.g.v.v[0]->u.run.env.v[0], path);
        planned_done(&p);
        plan_text("FROM base\nENV PATH=/mine\n", NULL, &p);
        assert_int_equal(p.r, 0);
        assert_int_equal(p.g.targets.v[0].config.env.n, 2);
        assert_string_equal(p.g.targets.v[0].config.env.v[1], "PATH=/mine");
        planned_done(&p);
}

/* ---- history ---- */

static const struct row histories[] = {
        {"RUN",
         "FROM base\nRUN a  b\nRUN [\"x\", \"y z\"]\n",
         "+RUN /bin/sh -c a  b # buildkit\n+RUN x y z # buildkit\n",
         {.network = NULL}},
        {"RUN with arguments",
         "FROM base\nARG B=2 A\nARG B=3\nRUN x\n",
         "ARG B=2 A\nARG B=3\n+RUN |2 B=3 A= /bin/sh -c x # buildkit\n",
         {.network = NULL}},
        {"arguments of the parent stage",
         "FROM base AS p\nARG A=1\nFROM p\nRUN x\n",
         "ARG A=1\n+RUN |1 A=1 /bin/sh -c x # buildkit\n",
         {.network = NULL}},
        {"COPY",
         "FROM base\nCOPY a b /d/\nCOPY --chown=1:2 --chmod=644 --link x ./\n",
         "+COPY a b /d/ # buildkit\n+COPY --chown=1:2 --chmod=644 x ./ # buildkit\n",
         {.network = NULL}},
        {"COPY expanded",
         "FROM base\nENV D=/d\nCOPY --parents a$D \"$D\"\nADD a b\n",
         "ENV D=/d\n+COPY --parents a/d /d # buildkit\n+ADD a b # buildkit\n",
         {.network = NULL}},
        {"COPY of heredocs",
         "FROM base\nCOPY <<A f <<B /d/\na\nA\nb\nB\n",
         "+COPY f <<A <<B /d/ # buildkit\n",
         {.network = NULL}},
        {"COPY without the flags that are not shown",
         "FROM base\nCOPY --from=other --exclude=x a b\n",
         "+COPY a b # buildkit\n",
         {.network = NULL}},
        {"WORKDIR",
         "FROM base\nWORKDIR a\nWORKDIR b\nWORKDIR /\n",
         "+WORKDIR /a\n+WORKDIR /a/b\nWORKDIR /\n",
         {.network = NULL}},
        {"ENV and LABEL",
         "FROM base\nENV a=1 b=\"x y\"\nENV c d e\nLABEL l=\"m n\"\n",
         "ENV a=1 b=x y\nENV c=d e\nLABEL l=m n\n",
         {.network = NULL}},
        {"ARG", "FROM base\nARG a=1 b c=\nARG d\n", "ARG a=1 b c=\nARG d=9\n", {.args = {"d=9"}}},
        {"commands",
         "FROM base\nCMD a \"b\"\nENTRYPOINT [\"x\", \"y\\n\"]\nSHELL [\"/s\", \"-c\"]\nCMD z\n",
         "CMD [\"/bin/sh\" \"-c\" \"a \\\"b\\\"\"]\nENTRYPOINT [\"x\" \"y\\n\"]\nSHELL [/s -c]\n"
         "CMD [\"/s\" \"-c\" \"z\"]\n",
         {.network = NULL}},
        {"ports and volumes",
         "FROM base\nEXPOSE 80 53/UDP 7-8\nVOLUME /a /b\nVOLUME [\"/c d\"]\n",
         "EXPOSE [53/udp 7/tcp 8/tcp 80/tcp]\nVOLUME [/a /b]\nVOLUME [/c d]\n",
         {.network = NULL}},
        {"texts",
         "FROM base\nENV u=me\nUSER $u\nSTOPSIGNAL SIGTERM\nMAINTAINER A <a@b>\n",
         "ENV u=me\nUSER me\nSTOPSIGNAL SIGTERM\nMAINTAINER A <a@b>\n",
         {.network = NULL}},
        {"HEALTHCHECK",
         "FROM base\nHEALTHCHECK --interval=5m --timeout=3s --retries=2 CMD x y\nHEALTHCHECK "
         "NONE\n",
         "HEALTHCHECK {Test:[CMD-SHELL x y] Interval:5m0s Timeout:3s StartPeriod:0s "
         "StartInterval:0s "
         "Retries:2}\nHEALTHCHECK {Test:[NONE] Interval:0s Timeout:0s StartPeriod:0s "
         "StartInterval:0s "
         "Retries:0}\n",
         {.network = NULL}},
        {"FROM and ONBUILD leave none, triggers that ran do",
         "FROM base AS a\nONBUILD ENV t=1\nRUN p\nFROM a\nRUN c\n",
         "+RUN /bin/sh -c p # buildkit\nENV t=1\n+RUN /bin/sh -c c # buildkit\n",
         {.network = NULL}},
        {"--label leaves none", "FROM base\n", "", {.labels = {"a=1"}}},
        {"heredoc is the command",
         "FROM base\nRUN <<E\none\ntwo\nE\n",
         "+RUN /bin/sh -c one\ntwo\n # buildkit\n",
         {.network = NULL}},
        {"heredoc script",
         "FROM base\nRUN <<E\n#!/x\none\nE\n",
         "+RUN /bin/sh -c /dev/pipes/E # buildkit\n",
         {.network = NULL}},
        {"heredoc within a command",
         "FROM base\nRUN cat <<E >f\none\nE\n",
         "+RUN /bin/sh -c cat <<E >f\none\nE # buildkit\n",
         {.network = NULL}},
};

static void history(void **state)
{
        (void)state;
        check(histories, ARRAY_LEN(histories), history_text);
}

/* ---- the config ---- */

static const struct row configs[] = {
        {"ENV replaces in place, appends else",
         "FROM base\nENV X=1\nENV LANG=D Y=2\n",
         "env LANG=D\nenv X=1\nenv Y=2\n",
         {.network = NULL}},
        {"ARG never gets there",
         "FROM base\nARG A=1\nENV B=$A\n",
         "env LANG=C\nenv B=1\n",
         {.network = NULL}},
        {"inherited", "FROM user\n", "user me\nworkdir /home/me\ncmd <run>\n", {.network = NULL}},
        {"ENTRYPOINT clears an inherited CMD",
         "FROM user\nENTRYPOINT [\"e\"]\n",
         "user me\nworkdir /home/me\nentrypoint <e>\n",
         {.network = NULL}},
        {"but not one of this stage",
         "FROM user\nCMD [\"c\"]\nENTRYPOINT [\"e\"]\n",
         "user me\nworkdir /home/me\nentrypoint <e>\ncmd <c>\n",
         {.network = NULL}},
        {"of the parent stage is inherited, too",
         "FROM base AS p\nCMD [\"c\"]\nFROM p\nENTRYPOINT [\"e\"]\n",
         "env LANG=C\nentrypoint <e>\n",
         {.network = NULL}},
        {"empty CMD, no ENTRYPOINT",
         "FROM base\nENTRYPOINT [\"e\"]\nCMD []\nENTRYPOINT []\n",
         "env LANG=C\ncmd\n",
         {.network = NULL}},
        {"CMD alone is the empty string",
         "FROM base\nCMD\n",
         "env LANG=C\ncmd </bin/sh> <-c> <>\n",
         {.network = NULL}},
        {"the base's shell",
         "FROM shelled\nCMD x\n",
         "cmd </bin/bash> <x>\nshell </bin/bash>\n",
         {.network = NULL}},
        {"ports once",
         "FROM base\nEXPOSE 80 80/tcp 127.0.0.1:81:80 [::1]::82\n",
         "env LANG=C\nports <80/tcp> <82/tcp>\n",
         {.network = NULL}},
        {"several ports out of one variable",
         "FROM base\nENV P=\"1 2/udp\"\nEXPOSE $P\n",
         "env LANG=C\nenv P=1 2/udp\nports <1/tcp> <2/udp>\n",
         {.network = NULL}},
        {"triggers are stored as written",
         "FROM base\nONBUILD  RUN  a  b\n",
         "env LANG=C\nonbuild <RUN  a  b>\n",
         {.network = NULL}},
        {"triggers of a base are gone",
         "FROM base AS tools\nRUN x\nFROM trigger\n",
         "env T=1\n",
         {.network = NULL}},
        {"labels of the command line win",
         "FROM base\nLABEL a=1 b=2\n",
         "env LANG=C\nlabel a=3\nlabel b=2\n",
         {.labels = {"a=3"}}},
        {"health",
         "FROM base\nHEALTHCHECK CMD [\"a\", \"b\"]\n",
         "env LANG=C\nhealth <CMD> <a> <b>\n",
         {.network = NULL}},
        {"signals and author",
         "FROM base\nSTOPSIGNAL RTMIN+3\nMAINTAINER $me\n",
         "env LANG=C\nsignal RTMIN+3\nauthor $me\n",
         {.network = NULL}},
};

static void config(void **state)
{
        (void)state;
        check(configs, ARRAY_LEN(configs), config_text);
}

/* ---- what is refused, and where ---- */

static const struct {
        const char *name, *text, *message;
        unsigned line;
        int code; /* 0: BLD_E_INVALID */
        struct opts o;
} bad[] = {
        {"no stage", "ARG A=1\n", "no stages to build", 0, 0, {.network = NULL}},
        {"unknown target",
         "FROM base AS one\n",
         "target stage \"on\" could not be found",
         0,
         BLD_E_NOT_FOUND,
         {.target = "on"}},
        {"target suggested",
         "FROM base AS one\n",
         "did you mean one?",
         0,
         BLD_E_NOT_FOUND,
         {.target = "on"}},
        {"blank base",
         "FROM base\nFROM $X\n",
         "base name ($X) should not be blank",
         2,
         0,
         {.network = NULL}},
        {"blank base of a stage nobody needs",
         "FROM $X AS a\nFROM base\n",
         "should not be blank",
         1,
         0,
         {.network = NULL}},
        {"empty platform",
         "FROM --platform=$X base\n",
         "empty platform value from expression $X",
         1,
         0,
         {.network = NULL}},
        {"bad platform", "FROM --platform=a/b/c/d base\n", "a/b/c/d", 1, 0, {.network = NULL}},
        {"missing image",
         "FROM base\nFROM nope\n",
         "no image nope",
         2,
         BLD_E_NOT_FOUND,
         {.network = NULL}},
        {"missing image of a COPY",
         "FROM base\n\nCOPY --from=nope a b\n",
         "no image nope",
         3,
         BLD_E_NOT_FOUND,
         {.network = NULL}},
        {"nearly a stage",
         "FROM base AS builder\nFROM base\nCOPY --from=biulder a b\n",
         "there is no stage or build context with this name",
         3,
         0,
         {.network = NULL}},
        {"own stage",
         "FROM base AS a\nCOPY --from=a x y\n",
         "circular dependency detected on stage: a",
         2,
         0,
         {.network = NULL}},
        {"own number",
         "FROM base\nCOPY --from=0 x y\n",
         "circular dependency",
         2,
         0,
         {.network = NULL}},
        {"later stage",
         "FROM base AS a\nCOPY --from=b x y\nFROM base AS b\nCOPY --from=a x y\n",
         "needs to be defined before current stage \"a\"",
         2,
         0,
         {.network = NULL}},
        {"number out of range",
         "FROM base\nCOPY --from=7 x y\n",
         "invalid stage index 7",
         2,
         0,
         {.network = NULL}},
        {"--from with a variable",
         "FROM base\nCOPY --from=$x a b\n",
         "variable expansion is not supported for --from",
         2,
         0,
         {.network = NULL}},
        {"... in a stage nobody needs",
         "FROM base AS a\nCOPY --from=$x a b\nFROM base\n",
         "variable expansion is not supported for --from",
         2,
         0,
         {.network = NULL}},
        {"bad number in a stage nobody needs",
         "FROM base AS a\nCOPY --from=5 a b\nFROM base\n",
         "invalid stage index 5",
         2,
         0,
         {.network = NULL}},
        {"COPY of a URL",
         "FROM base\nCOPY https://x/y /z\n",
         "source can't be a URL for COPY",
         2,
         0,
         {.network = NULL}},
        {"heredoc as destination",
         "FROM base\nCOPY a <<E\nE\n",
         "cannot accept a heredoc as a destination",
         2,
         0,
         {.network = NULL}},
        {"expansion", "FROM base\nENV a=${b?gone}\n", "b: gone", 2, 0, {.network = NULL}},
        {"ENV without a name",
         "FROM base\nARG e=\nENV \"$e\"=1\n",
         "ENV names can not be blank",
         3,
         0,
         {.network = NULL}},
        {"port", "FROM base\nEXPOSE x\n", "invalid containerPort: x", 2, 0, {.network = NULL}},
        {"port too large",
         "FROM base\nEXPOSE 65536\n",
         "invalid containerPort",
         2,
         0,
         {.network = NULL}},
        {"port range", "FROM base\nEXPOSE 9-8\n", "invalid containerPort", 2, 0, {.network = NULL}},
        {"protocol", "FROM base\nEXPOSE 1/icmp\n", "invalid proto: icmp", 2, 0, {.network = NULL}},
        {"address",
         "FROM base\nEXPOSE host:1:2\n",
         "invalid IP address: host",
         2,
         0,
         {.network = NULL}},
        {"no port", "FROM base\nEXPOSE :\n", "no port specified", 2, 0, {.network = NULL}},
        {"ranges", "FROM base\nEXPOSE 1-2:1-3\n", "invalid ranges", 2, 0, {.network = NULL}},
        {"signal",
         "FROM base\nSTOPSIGNAL SIGNOPE\n",
         "invalid signal: SIGNOPE",
         2,
         0,
         {.network = NULL}},
        {"interval",
         "FROM base\nHEALTHCHECK --interval=5 CMD x\n",
         "invalid duration",
         2,
         0,
         {.network = NULL}},
        {"short interval",
         "FROM base\nHEALTHCHECK --interval=5us CMD x\n",
         "cannot be less than 1ms",
         2,
         0,
         {.network = NULL}},
        {"retries",
         "FROM base\nHEALTHCHECK --retries=-1 CMD x\n",
         "retries",
         2,
         0,
         {.network = NULL}},
        {"empty volume",
         "FROM base\nENV v=\nVOLUME $v\n",
         "VOLUME specified can not be an empty string",
         3,
         0,
         {.network = NULL}},
        {"mount type",
         "FROM base\nRUN --mount=type=bnd,target=/x a\n",
         "unsupported mount type \"bnd\"",
         2,
         0,
         {.network = NULL}},
        {"mount type suggested",
         "FROM base\nRUN --mount=type=bnd,target=/x a\n",
         "did you mean bind?",
         2,
         0,
         {.network = NULL}},
        {"mount target",
         "FROM base\nRUN --mount=type=tmpfs,target=/ a\n",
         "invalid mount target \"/\"",
         2,
         0,
         {.network = NULL}},
        {"mount key",
         "FROM base\nRUN --mount=target=/x,tragte=1 a\n",
         "unexpected key 'tragte'",
         2,
         0,
         {.network = NULL}},
        {"mount size",
         "FROM base\nRUN --mount=target=/x,size=1k a\n",
         "unexpected key 'size' for mount type 'bind'",
         2,
         0,
         {.network = NULL}},
        {"mount mode",
         "FROM base\nRUN --mount=type=cache,target=/x,mode=9 a\n",
         "invalid value 9 for mode",
         2,
         0,
         {.network = NULL}},
        {"mount sharing",
         "FROM base\nRUN --mount=type=cache,target=/x,sharing=x a\n",
         "unsupported sharing value",
         2,
         0,
         {.network = NULL}},
        {"mount from a variable",
         "FROM base\nRUN --mount=from=$x,target=/x a\n",
         "'from' doesn't support variable expansion",
         2,
         0,
         {.network = NULL}},
        {"secret without anything",
         "FROM base\nRUN --mount=type=secret a\n",
         "invalid secret mount",
         2,
         0,
         {.network = NULL}},
        {"secret with both",
         "FROM base\nRUN --mount=type=secret,id=a,source=b x\n",
         "both source and id can't be set",
         2,
         0,
         {.network = NULL}},
        {"network",
         "FROM base\nRUN --network=x a\n",
         "invalid network mode \"x\"",
         2,
         0,
         {.network = NULL}},
        {"host network",
         "FROM base\nRUN --network=host a\n",
         "not allowed",
         2,
         BLD_E_POLICY,
         {.network = NULL}},
        {"insecure",
         "FROM base\nRUN --security=insecure a\n",
         "not allowed",
         2,
         BLD_E_POLICY,
         {.network = NULL}},
        {"security",
         "FROM base\nRUN --security=x a\n",
         "security \"x\" is not valid",
         2,
         0,
         {.network = NULL}},
        {"checksum of a file",
         "FROM base\nADD --checksum=sha256:0 a b\n",
         "checksum requires",
         2,
         0,
         {.network = NULL}},
        {"bad trigger", "FROM base\nFROM badtrigger\n", "ONBUILD COPY: ", 2, 0, {.network = NULL}},
        {"FROM as a trigger",
         "FROM fromtrigger\n",
         "FROM isn't allowed as an ONBUILD trigger",
         1,
         0,
         {.network = NULL}},
        {"two instructions as one trigger",
         "FROM twotriggers\n",
         "single expression",
         1,
         0,
         {.network = NULL}},
};

static void refused(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
                int code = bad[i].code ? bad[i].code : BLD_E_INVALID;
                struct planned p;

                print_message("%s\n", bad[i].name);
                plan_text(bad[i].text, &bad[i].o, &p);
                if (p.r != code)
                        fail_msg("%d, not %d: %s", p.r, code, p.err.msg);
                if (!strstr(p.err.msg, bad[i].message))
                        fail_msg("\"%s\" is not in \"%s\"", bad[i].message, p.err.msg);
                assert_int_equal(p.at.line, bad[i].line);
                planned_done(&p);
        }
}

/* What is only wrong in a stage that nobody needs does not matter. */
static void unneeded(void **state)
{
        static const char *const texts[] = {
                "FROM nope AS a\nFROM base\n",
                "FROM base AS a\nENV a=${b?gone}\nFROM base\n",
                "FROM base AS a\nEXPOSE x\nFROM base\n",
                "FROM base AS a\nCOPY --from=nope x y\nFROM base\n",
                "FROM base AS a\nRUN --network=x a\nFROM base\n",
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
                struct planned p;

                plan_text(texts[i], NULL, &p);
                if (p.r < 0)
                        fail_msg("%s: %s", texts[i], p.err.msg);
                assert_string_equal(p.asked, "base");
                planned_done(&p);
        }
}

/* ---- mounts in full ---- */

static void mounts(void **state)
{
        static const struct {
                const char *text;
                enum mount_type type;
                const char *target, *source, *id, *env;
                bool readonly, required;
                uint64_t size;
                unsigned mode;
                uint32_t uid;
        } rows[] = {
                {"target=a", MT_BIND, "/home/me/a", NULL, NULL, NULL, true, false, 0, 0, 0},
                {"dst=/a,src=b,rw", MT_BIND, "/a", "b", NULL, NULL, false, false, 0, 0, 0},
                {"type=BIND,destination=/a,ro=false", MT_BIND, "/a", NULL, NULL, NULL, false, false,
                 0, 0, 0},
                {"type=cache,target=x/../c", MT_CACHE, "/home/me/c", NULL, "/c", NULL, false, false,
                 0, 0, 0},
                {"type=cache,id=i,target=/c,mode=0700,uid=5,ro", MT_CACHE, "/c", NULL, "/i 700:5:0",
                 NULL, true, false, 0, 0700, 5},
                {"type=tmpfs,target=/t,size=2k", MT_TMPFS, "/t", NULL, NULL, NULL, false, false,
                 2048, 0, 0},
                {"type=secret,id=s", MT_SECRET, "/run/secrets/s", NULL, "s", NULL, true, false, 0,
                 0, 0},
                {"type=secret,target=/x/y", MT_SECRET, "/x/y", NULL, "y", NULL, true, false, 0, 0,
                 0},
                {"type=secret,id=s,env=E,required", MT_SECRET, NULL, NULL, "s", "E", true, true, 0,
                 0, 0},
                {"type=secret,id=s,env=", MT_SECRET, NULL, NULL, "s", "s", true, false, 0, 0, 0},
                {"type=secret,id=s,env=E,target=/f", MT_SECRET, "/f", NULL, "s", "E", true, false,
                 0, 0, 0},
                {"type=ssh", MT_SSH, NULL, NULL, "default", NULL, true, false, 0, 0, 0},
                {"target=/$V", MT_BIND, "/v", NULL, NULL, NULL, true, false, 0, 0, 0},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                const struct vx_mount *m;
                struct planned p;
                char text[300];

                print_message("%s\n", rows[i].text);
                (void)snprintf(text, sizeof(text), "FROM user\nENV V=v\nRUN --mount=%s x\n",
                               rows[i].text);
                plan_text(text, NULL, &p);
                if (p.r < 0)
                        fail_msg("%s", p.err.msg);
                m = &p.g.v.v[p.g.v.n - 1]->u.run.mounts[0];
                assert_int_equal(m->type, rows[i].type);
                assert_true(str_eq(m->target, rows[i].target));
                assert_true(str_eq(m->source, rows[i].source));
                assert_true(str_eq(m->id, rows[i].id));
                assert_true(str_eq(m->env, rows[i].env));
                assert_int_equal(m->readonly, rows[i].readonly);
                assert_int_equal(m->required, rows[i].required);
                assert_int_equal(m->size_bytes, rows[i].size);
                assert_int_equal(m->mode, rows[i].mode);
                assert_int_equal(m->uid, rows[i].uid);
                assert_int_equal(m->input, m->type == MT_BIND ? 1 : -1);
                planned_done(&p);
        }
}

/* ---- keys over whole files ---- */

static void last_key(const char *text, const struct opts *o, struct digest *ret)
{
        struct planned p;

        plan_text(text, o, &p);
        if (p.r < 0)
                fail_msg("%s: %s", text, p.err.msg);
        for (size_t i = 0; i < p.g.v.n; i++)
                key_definition(p.g.v.v[i]);
        *ret = p.g.v.v[p.g.v.n - 1]->key;
        planned_done(&p);
}

/* Two ways of saying the same give one key; what a step can see of a change gives another. */
static void file_keys(void **state)
{
        static const struct {
                const char *name, *a, *b;
                bool same;
                struct opts oa, ob;
        } rows[] = {
                {"layout of the text",
                 "FROM base\nRUN a b\n",
                 "# note\nfrom base\n\nrun  a b\n",
                 true,
                 {.network = NULL},
                 {.network = NULL}},
                {"continuations",
                 "FROM base\nRUN a b\n",
                 "FROM base\nRUN a \\\nb\n",
                 true,
                 {.network = NULL},
                 {.network = NULL}},
                {"quotes of words",
                 "FROM base\nENV a=b\nRUN x\n",
                 "FROM base\nENV a=\"b\"\nRUN x\n",
                 true,
                 {.network = NULL},
                 {.network = NULL}},
                {"metadata before",
                 "FROM base\nLABEL a=1\nCMD x\nEXPOSE 1\nVOLUME /v\nSTOPSIGNAL 9\nHEALTHCHECK "
                 "NONE\nRUN x\n",
                 "FROM base\nRUN x\n",
                 true,
                 {.network = NULL},
                 {.network = NULL}},
                {"stage names",
                 "FROM base AS a\nRUN x\n",
                 "FROM base AS b\nRUN x\n",
                 true,
                 {.network = NULL},
                 {.network = NULL}},
                {"an argument nobody declares",
                 "FROM base\nRUN x\n",
                 "FROM base\nRUN x\n",
                 true,
                 {.network = NULL},
                 {.args = {"A=1"}}},
                {"a proxy",
                 "FROM base\nRUN x\n",
                 "FROM base\nRUN x\n",
                 true,
                 {.network = NULL},
                 {.args = {"HTTP_PROXY=http://p"}}},
                {"a proxy that is declared",
                 "FROM base\nARG HTTP_PROXY\nRUN x\n",
                 "FROM base\nARG HTTP_PROXY\nRUN x\n",
                 false,
                 {.network = NULL},
                 {.args = {"HTTP_PROXY=http://p"}}},
                {"an argument declared after",
                 "FROM base\nRUN x\nARG A\n",
                 "FROM base\nRUN x\nARG A\n",
                 true,
                 {.network = NULL},
                 {.args = {"A=1"}}},
                {"an argument declared before",
                 "FROM base\nARG A\nRUN x\n",
                 "FROM base\nARG A\nRUN x\n",
                 false,
                 {.network = NULL},
                 {.args = {"A=1"}}},
                {"a variable",
                 "FROM base\nENV A=1\nRUN x\n",
                 "FROM base\nENV A=2\nRUN x\n",
                 false,
                 {.network = NULL},
                 {.network = NULL}},
                {"a variable COPY does not use",
                 "FROM base\nENV A=1\nCOPY a /\n",
                 "FROM base\nENV A=2\nCOPY a /\n",
                 true,
                 {.network = NULL},
                 {.network = NULL}},
                {"a variable COPY uses",
                 "FROM base\nENV A=1\nCOPY a /$A\n",
                 "FROM base\nENV A=2\nCOPY a /$A\n",
                 false,
                 {.network = NULL},
                 {.network = NULL}},
                {"the user",
                 "FROM base\nUSER me\nRUN x\n",
                 "FROM base\nRUN x\n",
                 false,
                 {.network = NULL},
                 {.network = NULL}},
                {"the shell",
                 "FROM base\nSHELL [\"/s\"]\nRUN x\n",
                 "FROM base\nRUN x\n",
                 false,
                 {.network = NULL},
                 {.network = NULL}},
                {"the shell, for exec form",
                 "FROM base\nSHELL [\"/s\"]\nRUN [\"x\"]\n",
                 "FROM base\nRUN [\"x\"]\n",
                 true,
                 {.network = NULL},
                 {.network = NULL}},
                {"blanks in the command",
                 "FROM base\nRUN a b\n",
                 "FROM base\nRUN a  b\n",
                 false,
                 {.network = NULL},
                 {.network = NULL}},
                {"the network",
                 "FROM base\nRUN x\n",
                 "FROM base\nRUN x\n",
                 false,
                 {.network = NULL},
                 {.network = "none"}},
                {"a host's name",
                 "FROM base\nRUN x\n",
                 "FROM base\nRUN x\n",
                 false,
                 {.hosts = {"a"}},
                 {.hosts = {"b"}}},
                {"the base",
                 "FROM base\nRUN x\n",
                 "FROM other\nRUN x\n",
                 false,
                 {.network = NULL},
                 {.network = NULL}},
                {"the platform of a RUN",
                 "FROM base\nRUN x\n",
                 "FROM base\nRUN x\n",
                 false,
                 {.network = NULL},
                 {.platform = "linux/arm64"}},
                {"--no-cache",
                 "FROM base\nRUN x\n",
                 "FROM base\nRUN x\n",
                 true,
                 {.network = NULL},
                 {.no_cache = true}},
                {"a cache's id",
                 "FROM base\nRUN --mount=type=cache,target=/c,id=a x\n",
                 "FROM base\nRUN --mount=type=cache,target=/c,id=b x\n",
                 true,
                 {.network = NULL},
                 {.network = NULL}},
                {"a cache's namespace",
                 "FROM base\nRUN --mount=type=cache,target=/c x\n",
                 "FROM base\nRUN --mount=type=cache,target=/c x\n",
                 true,
                 {.network = NULL},
                 {.args = {"BUILDKIT_CACHE_MOUNT_NS=n"}}},
                {"--label",
                 "FROM base\nRUN x\n",
                 "FROM base\nRUN x\n",
                 true,
                 {.network = NULL},
                 {.labels = {"a=1"}}},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct digest a, b;

                print_message("%s\n", rows[i].name);
                last_key(rows[i].a, &rows[i].oa, &a);
                last_key(rows[i].b, &rows[i].ob, &b);
                assert_int_equal(digest_eq(&a, &b), rows[i].same);
        }
}

/* ---- the rest ---- */

static void shown(void **state)
{
        struct planned p;

        (void)state;
        plan_text("FROM base AS deps\nRUN a\nENV x=1\nCOPY b /c\nFROM deps\nWORKDIR /w\n", NULL,
                  &p);
        assert_int_equal(p.r, 0);
        assert_string_equal(p.g.v.v[0]->step, "deps 1/3");
        assert_string_equal(p.g.v.v[1]->step, "deps 2/3");
        assert_string_equal(p.g.v.v[1]->name, "RUN a");
        assert_int_equal(p.g.v.v[1]->line, 2);
        assert_string_equal(p.g.v.v[3]->step, "deps 3/3");
        assert_string_equal(p.g.v.v[4]->step, "stage-1 1/1");
        assert_string_equal(p.g.v.v[4]->stage, "stage-1");
        planned_done(&p);
}

static void unused_argument(void **state)
{
        static const struct {
                const char *arg;
                bool warned;
        } rows[] = {{"NOSUCH=1", true},
                    {"A=1", false},
                    {"HTTP_PROXY=x", false},
                    {"http_proxy=x", false},
                    {"TARGETARCH=x", false},
                    {"BUILDKIT_X=1", false},
                    {"SOURCE_DATE_EPOCH=1", false}};

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct planned p;

                print_message("%s\n", rows[i].arg);
                plan_text("FROM base\nARG A\n", &(struct opts){.args = {rows[i].arg}}, &p);
                assert_int_equal(p.r, 0);
                assert_int_equal(*p.warned != '\0', rows[i].warned);
                planned_done(&p);
        }
}

static void entitled(void **state)
{
        struct planned p;

        (void)state;
        plan_text("FROM base\nRUN --network=host --security=insecure a\n",
                  &(struct opts){.allow_host = true, .allow_insecure = true}, &p);
        assert_int_equal(p.r, 0);
        assert_true(p.g.v.v[1]->u.run.insecure);
        assert_string_equal(p.g.v.v[1]->u.run.network, "host");
        planned_done(&p);
}

static void platforms(void **state)
{
        struct planned p;

        (void)state;
        /* Asked for: the result says so, whatever a base says of itself. */
        plan_text("FROM --platform=linux/arm/v7 base AS a\nRUN x\nFROM a\nRUN y\n",
                  &(struct opts){.platform = "linux/arm64"}, &p);
        assert_int_equal(p.r, 0);
        assert_string_equal(p.g.v.v[1]->platform.arch, "arm");
        assert_string_equal(p.g.v.v[2]->platform.arch, "arm"); /* a stage's platform is inherited */
        planned_done(&p);
        plan_text("FROM --platform=$BUILDPLATFORM base\nRUN x\n",
                  &(struct opts){.platform = "linux/arm64"}, &p);
        assert_int_equal(p.r, 0);
        assert_string_equal(p.g.v.v[1]->platform.arch, "amd64");
        planned_done(&p);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(vertices),  cmocka_unit_test(order),
                cmocka_unit_test(variables), cmocka_unit_test(path_default),
                cmocka_unit_test(history),   cmocka_unit_test(config),
                cmocka_unit_test(refused),   cmocka_unit_test(unneeded),
                cmocka_unit_test(mounts),    cmocka_unit_test(file_keys),
                cmocka_unit_test(shown),     cmocka_unit_test(unused_argument),
                cmocka_unit_test(entitled),  cmocka_unit_test(platforms),
        };

        return cmocka_run_group_tests_name("builder/plan", tests, NULL, NULL);
}
