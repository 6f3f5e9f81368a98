/* What the --mount flags of a RUN need before it starts: folders for binds, content for secrets,
 * sockets of agents. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/path.h"
#include "base/sys.h"
#include "builder/op/layout_priv.h"
#include "builder/op/run_mounts_priv.h"
#include "builder/source/agent_priv.h"

#define BIND_DEPTH_MAX 250

struct rt_mount *mounts_push(struct run_mounts *m)
{
        void *v = m->v;

        if (m->n == m->cap && !vec_grow(&v, &m->cap, m->n + 1, sizeof(*m->v)))
                return NULL;
        m->v = v;
        memset(&m->v[m->n], 0, sizeof(*m->v));
        return &m->v[m->n++];
}

/* A text that lives as long as the mounts do. */
static const char *keep(struct run_mounts *m, const char *s)
{
        return strv_add(&m->owned, s) < 0 ? NULL : m->owned.v[m->owned.n - 1];
}

/* ---- binds: the selected part of a tree, copied into a folder of its own ---- */

struct bind {
        struct build *b;
        struct fs *fs;
        struct fs_node *node;
};

static int bind_put(struct layout *l, struct fs *fs, struct fs_node *n, const char *path,
                    struct bld_err *err)
{
        struct layout_item i;
        int r = layout_item_of(fs, n, &i, err);

        return r == 0 ? layout_put(l, path, &i, err) : r;
}

static int bind_below(struct layout *l, struct fs *fs, struct fs_node *dir, const char *path,
                      int depth, struct bld_err *err)
{
        int r;

        if (depth > BIND_DEPTH_MAX)
                return err_set(err, BLD_E_LIMIT, "folders nested deeper than %d in a bind mount",
                               BIND_DEPTH_MAX);
        r = fs_children(fs, dir, err);
        for (size_t i = 0; i < dir->nchildren && r == 0; i++) {
                struct fs_node *n = dir->children[i];
                AUTO_FREE char *p = NULL;

                if (asprintf(&p, "%s/%s", path, n->name) < 0) {
                        p = NULL;
                        return err_nomem(err, "bind mount");
                }
                r = bind_put(l, fs, n, p, err);
                if (r == 0 && n->type == LY_DIR)
                        r = bind_below(l, fs, n, p, depth + 1, err);
        }
        return r;
}

static int produce_bind(void *user, const struct ly_sink *tar, struct bld_err *err)
{
        struct bind *x = user;
        struct layout_opts lo = {.dir_mode = 0755};
        AUTO(layout_free_p) struct layout *l = NULL;
        int r = layout_new(&lo, &l, err);

        /* One level down, so that the mounted root keeps its own mode and owner. */
        if (r == 0)
                r = bind_put(l, x->fs, x->node, MOUNTS_COPY_NAME, err);
        if (r == 0 && x->node->type == LY_DIR)
                r = bind_below(l, x->fs, x->node, MOUNTS_COPY_NAME, 0, err);
        return r == 0 ? layout_write(l, tar, err) : r;
}

static int add_tmp(struct build *b, struct run_mounts *m, struct cas_tmp **ret, struct bld_err *err)
{
        struct cas_tmp **v = mem_realloc(m->tmps, (m->ntmps + 1) * sizeof(struct cas_tmp *));
        int r;

        if (!v)
                return err_nomem(err, "bind mount");
        m->tmps = v;
        r = cas_tmp_new(b->c->cas, ret, err);
        if (r == 0)
                m->tmps[m->ntmps++] = *ret;
        return r;
}

int mounts_find_source(struct fs *fs, const struct vx_mount *d, struct fs_node **ret,
                       struct bld_err *err)
{
        int r = fs_resolve(fs, NULL, d->source ? d->source : "/", true, ret, err);

        if (r == 0 && !*ret)
                return err_set(err, BLD_E_INVALID,
                               "no file matches \"%s\", source of the mount at %s", d->source,
                               d->target);
        return r;
}

int op_bind_content(struct build *b, struct vertex *v, const struct vx_mount *d, struct fs *f,
                    struct digest *ret, struct bld_err *err)
{
        struct fs_picks picks = {0};
        struct fs_pick *p;
        int r;

        (void)b;
        (void)v;
        p = fs_picks_push(&picks);
        r = p ? mounts_find_source(f, d, &p->node, err) : err_nomem(err, "bind mount");
        if (r == 0) {
                p->name = mem_strdup("src");
                p->is_tree = p->node->type == LY_DIR;
                r = p->name ? fs_picks_digest(f, &picks, NULL, ret, err)
                            : err_nomem(err, "bind mount");
        }
        fs_picks_free(&picks);
        return r;
}

int mounts_copy(struct build *b, struct run_mounts *m, struct fs *fs, struct fs_node *node,
                const char **ret, struct bld_err *err)
{
        struct bind x = {.b = b, .fs = fs, .node = node};
        struct cas_tmp *tmp = NULL;
        char path[160];
        int r = add_tmp(b, m, &tmp, err);

        if (r == 0)
                r = snapshot_unpack(b, cas_tmp_path(tmp), LY_TREE_PLAIN, produce_bind, &x, NULL,
                                    err);
        if (r < 0)
                return r;
        (void)snprintf(path, sizeof(path), "%s/fs", cas_tmp_path(tmp));
        *ret = keep(m, path);
        return *ret ? 0 : err_nomem(err, "bind mount");
}

/* A context's files (and all files where there is no overlay) are copied: what the step sees is
 * what was there when it began. One that is another than its key says makes the result no key's. */
static int bind_copy(struct build *b, struct vertex *v, struct fs *fs, struct fs_node *node,
                     struct rt_mount *out, struct run_mounts *m, struct bld_err *err)
{
        int r = mounts_copy(b, m, fs, node, &out->source, err);

        v->unrepeatable = v->unrepeatable || (r == 0 && fs_changed(fs));
        out->selector = MOUNTS_COPY_NAME;
        return r;
}

/* The snapshots of a stage or an image are mounted where they are. */
static int bind_layers(struct build *b, const struct vertex *v, const struct vx_mount *d,
                       const struct bd_layers *layers, struct rt_mount *out, struct run_mounts *m,
                       struct bld_err *err)
{
        AUTO_STRV struct strv dirs = {0};
        const char **lowers;
        int r = snapshots_ready(b, v, layers, &dirs, err);

        if (r < 0)
                return r;
        lowers = mem_zalloc(dirs.n, sizeof(*lowers));
        if (!lowers)
                return err_nomem(err, "bind mount");
        out->lowers = lowers;
        for (size_t i = 0; i < dirs.n; i++) {
                lowers[i] = keep(m, dirs.v[i]);
                if (!lowers[i])
                        return err_nomem(err, "bind mount");
        }
        out->nlowers = dirs.n;
        out->selector = d->source;
        return 0;
}

static int ready_bind(struct build *b, struct vertex *v, const struct vx_mount *d,
                      struct run_mounts *m, struct bld_err *err)
{
        const struct vertex *in = d->input >= 0 ? v->inputs[d->input] : NULL;
        AUTO(fs_free_p) struct fs *fs = NULL;
        struct rt_mount *out = mounts_push(m);
        struct fs_node *node = NULL;
        int r;

        if (!out)
                return err_nomem(err, "bind mount");
        out->kind = RT_MOUNT_BIND;
        out->target = d->target;
        out->readonly = d->readonly;
        r = op_open_input(b, in, &fs, err);
        if (r == 0)
                r = mounts_find_source(fs, d, &node, err);
        if (r < 0)
                return r;
        if (!in || in->kind == VX_LOCAL || in->result.layers.n == 0 ||
            rt_keeper_env(b->keeper)->native)
                return bind_copy(b, v, fs, node, out, m, err);
        return bind_layers(b, v, d, &in->result.layers, out, m, err);
}

/* ---- caches ---- */

static int ready_cache(const struct vx_mount *d, const char *path, struct run_mounts *m,
                       struct bld_err *err)
{
        struct rt_mount *out = mounts_push(m);

        if (!out)
                return err_nomem(err, "cache mount");
        out->kind = RT_MOUNT_CACHE;
        out->target = d->target;
        out->source = path;
        out->readonly = d->readonly;
        return 0;
}

/* ---- secrets ---- */

static int ready_secret(struct build *b, const struct vx_mount *d, struct run_mounts *m,
                        struct bld_err *err)
{
        const void *value = NULL;
        size_t len = 0;
        struct rt_mount *out;
        int found = secrets_get(b->secrets, d->id, &value, &len);

        if (!found && d->required)
                return err_try(err,
                               err_set(err, BLD_E_INVALID,
                                       "secret \"%s\" is required, and not given", d->id),
                               "--secret id=%s,src=FILE", d->id);
        if (d->env) {
                AUTO_FREE char *text = mem_strndup(found ? value : "", len);
                int r = text ? strv_env_set(&m->env, d->env, text) : BLD_E_NOMEM;

                if (text)
                        explicit_bzero(text, len);
                if (r < 0)
                        return err_nomem(err, "secret");
        }
        if (!found || !d->target)
                return 0;
        out = mounts_push(m);
        if (!out)
                return err_nomem(err, "secret");
        out->kind = RT_MOUNT_FILE;
        out->target = d->target;
        out->data = value;
        out->data_len = len;
        out->mode = d->mode_set ? d->mode : 0400;
        out->uid = d->uid;
        out->gid = d->gid;
        out->readonly = true;
        return 0;
}

/* ---- ssh ---- */

static int own_agent(struct build *b, const struct vx_mount *d, const char *dir,
                     struct bld_err *err)
{
        AUTO_SB struct sb args = SB_INIT(4096), answer = SB_INIT(4096);
        AUTO_JS struct js *a = js_obj();
        int r = js_set_str(a, "dir", dir) | js_set_str(a, "name", "agent") |
                js_set_i64(a, "mode", d->mode_set ? d->mode : 0600) | js_set_i64(a, "uid", d->uid) |
                js_set_i64(a, "gid", d->gid);

        if (r < 0)
                return err_nomem(err, "ssh agent");
        r = js_write(a, JS_COMPACT, &args, err);
        return r < 0 ? r
                     : rt_call(b->keeper, VERB_OWN, sb_text(&args), args.len, NULL, 0, &b->cancel,
                               &answer, err);
}

static int add_agent(struct build *b, const struct vx_mount *d, const struct agent_source *source,
                     struct run_mounts *m, struct cas_tmp **ret_tmp, struct bld_err *err)
{
        struct agent_proxy **v = mem_realloc(m->agents, (m->nagents + 1) * sizeof(*v));
        int r;

        if (!v)
                return err_nomem(err, "ssh agent");
        m->agents = v;
        r = add_tmp(b, m, ret_tmp, err);
        if (r == 0)
                r = agent_proxy_start(cas_tmp_dirfd(*ret_tmp), source, &m->agents[m->nagents], err);
        if (r < 0)
                return r;
        m->nagents++;
        return own_agent(b, d, cas_tmp_path(*ret_tmp), err);
}

/* A socket bound into the step, whose other end is here. SSH_AUTH_SOCK is the first one's. */
static int ready_ssh(struct build *b, const struct vx_run *run, const struct vx_mount *d,
                     struct run_mounts *m, struct bld_err *err)
{
        const struct agent_source *agent = ssh_agents_get(b->ssh, d->id);
        const char *target = d->target;
        struct cas_tmp *tmp = NULL;
        struct rt_mount *out;
        char place[64];
        int r;

        (void)snprintf(place, sizeof(place), "/run/buildkit/ssh_agent.%zu", m->nssh++);
        if (!target)
                target = keep(m, place);
        if (!target)
                return err_nomem(err, "ssh agent");
        if (m->nssh == 1 && !strv_env_get(&run->env, "SSH_AUTH_SOCK") &&
            strv_env_set(&m->env, "SSH_AUTH_SOCK", target) < 0)
                return err_nomem(err, "ssh agent");
        if (!agent && d->required)
                return err_try(err,
                               err_set(err, BLD_E_INVALID,
                                       "the ssh agent \"%s\" is required, and not given", d->id),
                               "--ssh %s%s", d->id,
                               strcmp(d->id, "default") == 0 ? "" : "=SOCKET|KEY");
        if (!agent)
                return 0;
        r = add_agent(b, d, agent, m, &tmp, err);
        out = r == 0 ? mounts_push(m) : NULL;
        if (!out)
                return r < 0 ? r : err_nomem(err, "ssh agent");
        out->kind = RT_MOUNT_BIND;
        out->target = target;
        out->source = keep(m, cas_tmp_path(tmp));
        out->selector = "agent";
        out->readonly = true;
        return out->source ? 0 : err_nomem(err, "ssh agent");
}

static int ready_tmpfs(const struct vx_mount *d, struct run_mounts *m, struct bld_err *err)
{
        struct rt_mount *out = mounts_push(m);

        if (!out)
                return err_nomem(err, "tmpfs mount");
        out->kind = RT_MOUNT_TMPFS;
        out->target = d->target;
        out->size_bytes = d->size_bytes;
        out->mode = 01777;
        out->readonly = d->readonly;
        return 0;
}

static int ready_script(const struct vx_run *run, struct run_mounts *m, struct bld_err *err)
{
        struct rt_mount *out = mounts_push(m);

        if (!out)
                return err_nomem(err, "heredoc");
        out->kind = RT_MOUNT_FILE;
        out->target = "/dev/pipes";
        out->is_dir = true;
        out->selector = run->script_name;
        out->data = run->script;
        out->data_len = run->script_len;
        out->mode = 0755;
        out->readonly = true;
        return 0;
}

int run_mounts_ready(struct build *b, struct vertex *v, struct run_mounts *m, struct bld_err *err)
{
        const struct vx_run *run = &v->u.run;
        int r = caches_claim(b, v, m, err);

        if (r == 0 && run->script_name)
                r = ready_script(run, m, err);
        for (size_t i = 0; i < run->nmounts && r == 0; i++) {
                const struct vx_mount *d = &run->mounts[i];

                switch (d->type) {
                case MT_BIND:
                        r = ready_bind(b, v, d, m, err);
                        break;
                case MT_CACHE:
                        r = ready_cache(d, m->caches.v[i], m, err);
                        break;
                case MT_TMPFS:
                        r = ready_tmpfs(d, m, err);
                        break;
                case MT_SECRET:
                        r = ready_secret(b, d, m, err);
                        break;
                case MT_SSH:
                        r = ready_ssh(b, run, d, m, err);
                        break;
                }
        }
        return r;
}

void run_mounts_done(struct build *b, struct run_mounts *m)
{
        for (size_t i = 0; i < m->nagents; i++)
                agent_proxy_stop(m->agents[i]);
        free(m->agents);
        for (size_t i = 0; i < m->ntmps; i++) {
                snapshot_discard(b, cas_tmp_path(m->tmps[i]));
                cas_tmp_free(m->tmps[i]);
        }
        for (size_t i = 0; i < m->n; i++)
                free((void *)(uintptr_t)m->v[i].lowers);
        for (size_t i = 0; i < m->nlocks; i++)
                (void)close(m->locks[i]);
        for (size_t i = 0; i < m->env.n; i++)
                explicit_bzero(m->env.v[i], strlen(m->env.v[i]));
        strv_done(&m->env);
        strv_done(&m->owned);
        strv_done(&m->caches);
        free(m->tmps);
        free(m->locks);
        free(m->v);
}
