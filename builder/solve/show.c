#include "builder/solve/show.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/path.h"
#include "builder/plan/plan_priv.h"
#include "builder/solve/solve_priv.h"

#define IGNORE_MAX (4u << 20)

/* ---- a world without images, web and repositories ---- */

static void stand_in(const char *name, struct digest *ret)
{
        struct hasher h;

        hasher_init(&h, DIGEST_SHA256);
        hasher_field_str(&h, name);
        hasher_end(&h, ret);
}

static int show_resolve(void *user, const char *name, const struct img_platform *platform,
                        struct bd_image *ret, struct bld_err *err)
{
        (void)user;
        memset(ret, 0, sizeof(*ret));
        img_config_init(&ret->config);
        ret->config.platform = *platform;
        stand_in(name, &ret->desc.digest);
        return img_descs_push(&ret->manifest.layers) ? 0 : err_nomem(err, "base image");
}

static int show_fetch(void *user, const char *url, const struct digest *want,
                      struct copy_source *src, struct bld_err *err)
{
        const char *slash = strrchr(url, '/');

        (void)user;
        (void)want;
        stand_in(url, &src->blob);
        src->path = mem_strdup(slash && slash[1] ? slash + 1 : "__unnamed__");
        return src->path ? 0 : err_nomem(err, "download");
}

static int show_git(void *user, const struct giturl *u, struct vx_git *ret, struct bld_err *err)
{
        (void)user;
        *ret = (struct vx_git){.remote = mem_strdup(u->remote),
                               .userinfo = mem_strdup(""),
                               .full_ref = mem_strdup(u->ref),
                               .subdir = mem_strdup(u->subdir),
                               .keep_git_dir = u->keep_git_dir == 1,
                               .submodules = u->submodules != 0,
                               .mtime_commit = strcmp(u->mtime, "commit") == 0};
        if (ret->remote && ret->userinfo && ret->full_ref && ret->subdir)
                return 0;
        vx_git_done(ret);
        return err_nomem(err, "git");
}

static enum plan_named show_named(const void *named, const char *name,
                                  const struct img_platform *platform, const char **ret)
{
        (void)named;
        (void)name;
        (void)platform;
        (void)ret;
        return PLAN_NAMED_NONE;
}

/* ---- the graph ---- */

static int set_text(struct js *j, const char *key, const char *text)
{
        return text && *text ? js_set(j, key, outline_text(text)) : 0;
}

static int set_list(struct js *j, const char *key, const struct strv *a)
{
        AUTO_JS struct js *list = js_arr();
        int r = 0;

        for (size_t i = 0; i < a->n && r == 0; i++)
                r = js_push(list, outline_text(a->v[i]));
        return r < 0 || !a->n ? r : js_set(j, key, TAKE_PTR(&list));
}

static int set_digest(struct js *j, const char *key, const struct digest *d)
{
        char text[DIGEST_STR_MAX];

        if (!digest_is_set(d))
                return 0;
        digest_format(d, text);
        return js_set_str(j, key, text);
}

static int set_platform(struct js *j, const struct img_platform *platform)
{
        char text[128];

        img_platform_format(platform, text);
        return js_set_str(j, "platform", text);
}

static int put_copy(struct js *j, const struct vx_copy *c)
{
        AUTO_JS struct js *list = js_arr();
        int r = set_text(j, "dest", c->dest);

        for (size_t i = 0; i < c->nsrc && r == 0; i++)
                r = js_push(list, outline_text(c->src[i].shown ? c->src[i].shown : c->src[i].path));
        r = r < 0 ? r : js_set(j, "sources", TAKE_PTR(&list));
        r = r < 0 ? r : set_text(j, "chown", c->chown);
        r = r < 0 ? r : set_text(j, "chmod", c->chmod);
        r = r < 0 ? r : set_list(j, "excludes", &c->excludes);
        if (r == 0 && c->link)
                r = js_set_bool(j, "link", true);
        if (r == 0 && c->parents)
                r = js_set_bool(j, "parents", true);
        return r;
}

static int put_mounts(struct js *j, const struct vx_run *run)
{
        static const char *const types[] = {
                [MT_BIND] = "bind",     [MT_CACHE] = "cache", [MT_TMPFS] = "tmpfs",
                [MT_SECRET] = "secret", [MT_SSH] = "ssh",
        };
        AUTO_JS struct js *list = js_arr();
        int r = 0;

        for (size_t i = 0; i < run->nmounts && r == 0; i++) {
                const struct vx_mount *m = &run->mounts[i];
                AUTO_JS struct js *one = js_obj();

                r = js_set_str(one, "type", types[m->type]);
                r = r < 0 ? r : set_text(one, "target", m->target);
                r = r < 0 ? r : set_text(one, "source", m->source);
                r = r < 0 ? r : set_text(one, "id", m->id);
                r = r < 0 ? r : set_text(one, "env", m->env);
                if (r == 0 && m->readonly)
                        r = js_set_bool(one, "readonly", true);
                if (r == 0 && m->input >= 0)
                        r = js_set_i64(one, "input", m->input);
                r = r < 0 ? r : js_push(list, TAKE_PTR(&one));
        }
        return r < 0 || !run->nmounts ? r : js_set(j, "mounts", TAKE_PTR(&list));
}

static int put_run(struct js *j, const struct vx_run *run)
{
        int r = set_list(j, "argv", &run->argv);

        r = r < 0 ? r : set_list(j, "env", &run->env);
        r = r < 0 ? r : set_text(j, "cwd", run->cwd);
        r = r < 0 ? r : set_text(j, "user", run->user);
        r = r < 0 ? r : set_text(j, "network", run->network);
        if (r == 0 && run->insecure)
                r = js_set_bool(j, "insecure", true);
        r = r < 0 ? r : set_text(j, "script", run->script);
        return r < 0 ? r : put_mounts(j, run);
}

static int put_details(struct js *j, const struct vertex *v)
{
        int r = 0;

        switch (v->kind) {
        case VX_IMAGE:
                break;
        case VX_LOCAL:
                return set_text(j, "folder", v->u.local);
        case VX_COPY:
                return put_copy(j, &v->u.copy);
        case VX_RUN:
                return put_run(j, &v->u.run);
        case VX_MKDIR:
                r = set_text(j, "path", v->u.mkdir.path);
                return r < 0 ? r : set_text(j, "user", v->u.mkdir.user);
        case VX_GIT:
                r = set_text(j, "remote", v->u.git.remote);
                r = r < 0 ? r : set_text(j, "ref", v->u.git.full_ref);
                return r < 0 ? r : set_text(j, "subdir", v->u.git.subdir);
        }
        return r;
}

/* An input is the id of a vertex; null is scratch. */
static int put_inputs(struct js *j, const struct vertex *v)
{
        AUTO_JS struct js *list = js_arr();
        int r = 0;

        for (size_t i = 0; i < v->ninputs && r == 0; i++)
                r = js_push(list, v->inputs[i] ? js_new_i64(v->inputs[i]->id) : js_new_null());
        return r < 0 ? r : js_set(j, "inputs", TAKE_PTR(&list));
}

static int push_vertex(struct js *list, const struct vertex *v, bool keys)
{
        static const char *const kinds[] = {
                [VX_IMAGE] = "image", [VX_LOCAL] = "local", [VX_COPY] = "copy",
                [VX_RUN] = "run",     [VX_MKDIR] = "mkdir", [VX_GIT] = "git",
        };
        AUTO_JS struct js *j = js_obj();
        int r = js_set_i64(j, "id", v->id);

        r = r < 0 ? r : js_set_str(j, "kind", kinds[v->kind]);
        r = r < 0 ? r : set_text(j, "step", v->step);
        r = r < 0 ? r : set_text(j, "name", v->name);
        if (r == 0 && v->line)
                r = js_set_i64(j, "line", v->line);
        r = r < 0 ? r : put_inputs(j, v);
        if (keys) {
                r = r < 0 ? r : set_digest(j, "params", &v->params);
                r = r < 0 ? r : set_digest(j, "content", &v->content);
                r = r < 0 ? r : set_digest(j, "key", &v->key);
        } else {
                if (r == 0 && v->kind != VX_LOCAL && v->kind != VX_GIT)
                        r = set_platform(j, &v->platform);
                r = r < 0 ? r : put_details(j, v);
        }
        return r < 0 ? r : js_push(list, TAKE_PTR(&j));
}

static int put_vertices(struct js *doc, const struct graph *g, bool keys)
{
        AUTO_JS struct js *list = js_arr();
        int r = 0;

        for (size_t i = 0; i < g->v.n && r == 0; i++)
                r = push_vertex(list, g->v.v[i], keys);
        return r < 0 ? r : js_set(doc, "vertices", TAKE_PTR(&list));
}

/* ---- targets and their configs ---- */

static int put_history(struct js *j, const struct plan_target *t)
{
        AUTO_JS struct js *list = js_arr();
        int r = 0;

        for (size_t i = 0; i < t->history.n && r == 0; i++) {
                AUTO_JS struct js *one = js_obj();

                r = js_set(one, "created_by", outline_text(t->history.v[i].created_by));
                r = r < 0 ? r
                          : js_set(one, "vertex",
                                   t->history.v[i].v ? js_new_i64(t->history.v[i].v->id)
                                                     : js_new_null());
                r = r < 0 ? r : js_push(list, TAKE_PTR(&one));
        }
        return r < 0 ? r : js_set(j, "history", TAKE_PTR(&list));
}

static int put_config(struct js *j, const struct plan_target *t, struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(64u << 20);
        struct js *config = NULL;
        int r = img_config_encode(&t->config, &text, err);

        if (r == 0)
                r = js_parse(sb_text(&text), text.len, &config, err);
        if (r < 0)
                return r;
        (void)js_del(config, "rootfs"); /* of what is not built */
        (void)js_del(config, "history");
        r = js_set(j, "image", config);
        r = r < 0 ? r : put_history(j, t);
        return r < 0 ? err_nomem(err, "JSON") : 0;
}

static int put_targets(struct js *doc, const struct graph *g, bool configs, struct bld_err *err)
{
        AUTO_JS struct js *list = js_arr();
        int r = 0;

        for (size_t i = 0; i < g->targets.n && r == 0; i++) {
                const struct plan_target *t = &g->targets.v[i];
                AUTO_JS struct js *j = js_obj();

                r = set_text(j, "name", t->name);
                r = r < 0 ? r : set_platform(j, &t->platform);
                r = r < 0 ? r : js_set(j, "vertex", t->fs ? js_new_i64(t->fs->id) : js_new_null());
                if (r < 0)
                        return err_nomem(err, "JSON");
                if (configs)
                        r = put_config(j, t, err);
                if (r == 0 && js_push(list, TAKE_PTR(&j)) < 0)
                        r = err_nomem(err, "JSON");
        }
        if (r == 0 && js_set(doc, "targets", TAKE_PTR(&list)) < 0)
                r = err_nomem(err, "JSON");
        return r;
}

/* ---- all of it ---- */

/* The keys a build of this folder would have, if its bases were what they stand for here. */
static int content_keys(const char *folder, struct graph *g, struct bld_err *err)
{
        const struct bld_build_opts o = {.size = sizeof(o)};
        AUTO_FREE char *path = realpath(folder, NULL);
        AUTO_FREE char *file = path ? path_join(path, ".dockerignore") : NULL;
        AUTO_SB struct sb text = SB_INIT(IGNORE_MAX);
        struct bld_err none = BLD_ERR_INIT;
        struct bd_ctx c = {0};
        struct build b = {.c = &c, .o = &o, .context_path = path};
        struct vertex *about = NULL;
        int r;

        if (!path || !file)
                return err_set(err, BLD_E_INVALID, "path \"%.200s\" not found", folder);
        if (file_read_regular(AT_FDCWD, file, &text, &none) == 0) {
                r = ignore_parse(sb_text(&text), text.len, file, &b.ignore, err);
                if (r < 0)
                        return r;
        }
        r = cancel_init(&b.cancel, err);
        c.cancel = &b.cancel;
        if (r == 0)
                r = solve_keys(&b, g, &about, err);
        if (r < 0 && about)
                r = err_wrap(err, r, "line %u", about->line);
        fs_free(b.context_tree);
        ignore_free(b.ignore);
        cancel_done(&b.cancel);
        return r;
}

static int make_keys(const struct bd_show *x, struct graph *g, struct bld_err *err)
{
        if (x->context)
                return content_keys(x->context, g, err);
        for (size_t i = 0; i < g->v.n; i++)
                key_definition(g->v.v[i]);
        return 0;
}

static int show(struct bd_show *x, struct graph *g, struct sb *out, struct bld_err *err)
{
        AUTO_JS struct js *doc = js_obj();
        int r = x->what == BD_SHOW_KEY ? make_keys(x, g, err) : 0;

        if (r == 0 && x->what != BD_SHOW_CONFIG && put_vertices(doc, g, x->what == BD_SHOW_KEY) < 0)
                r = err_nomem(err, "JSON");
        if (r == 0)
                r = put_targets(doc, g, x->what == BD_SHOW_CONFIG, err);
        if (r == 0)
                r = js_write(doc, JS_INDENT, out, err);
        sb_char(out, '\n');
        return r;
}

static int plan(struct bd_show *x, const struct df_file *f, struct graph *g, struct bld_err *err)
{
        static const struct bld_list none;
        static const struct strv no_hosts;
        struct plan_opts o = {.file = f,
                              .targets = &x->targets,
                              .build_args = &x->build_args,
                              .no_cache_filter = &none,
                              .labels = &none,
                              .host_names = &no_hosts,
                              .network = "default",
                              .allow_insecure = true,
                              .allow_host_network = true,
                              .allow_device = true,
                              .have_context = true,
                              .resolve = show_resolve,
                              .fetch = show_fetch,
                              .git = show_git,
                              .find_named = show_named};
        struct df_pos at = {0};
        int r = 0;

        img_platform_host(&o.host);
        o.platform = o.host;
        o.platform_given = x->platform != NULL;
        if (x->platform)
                r = img_platform_parse(x->platform, &o.platform, err);
        if (r == 0)
                r = plan_build(&o, g, &at, err);
        x->line = at.line;
        return r;
}

int bd_show(struct bd_show *x, const char *text, size_t len, struct sb *out, struct bld_err *err)
{
        AUTO(df_free_p) struct df_file *f = NULL;
        struct df_err_pos at = {0};
        struct graph g;
        int r = df_parse(text, len, &f, &at, err);

        if (r == 0)
                r = df_check(f, &at, err);
        x->line = at.pos.line;
        if (r < 0)
                return r;
        graph_init(&g);
        r = plan(x, f, &g, err);
        if (r == 0)
                r = show(x, &g, out, err);
        graph_done(&g);
        return r;
}
