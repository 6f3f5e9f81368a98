#include "builder/graph/graph_priv.h"

#include <string.h>

#include "base/err.h"

void graph_init(struct graph *g)
{
        memset(g, 0, sizeof(*g));
        map_init(&g->by_params, NULL);
}

void mount_done(struct vx_mount *m)
{
        free(m->target);
        free(m->source);
        free(m->id);
        free(m->env);
}

static void copy_done(struct vx_copy *c)
{
        for (size_t i = 0; i < c->nsrc; i++) {
                free(c->src[i].path);
                free(c->src[i].shown);
                free(c->src[i].data);
        }
        free(c->src);
        free(c->dest);
        free(c->chown);
        free(c->chmod);
        strv_done(&c->excludes);
}

static void run_done(struct vx_run *r)
{
        strv_done(&r->argv);
        strv_done(&r->env);
        strv_done(&r->host_names);
        strv_done(&r->ulimits);
        free(r->hostname);
        free(r->cwd);
        free(r->user);
        free(r->network);
        for (size_t i = 0; i < r->nmounts; i++)
                mount_done(&r->mounts[i]);
        free(r->mounts);
        free(r->script_name);
        free(r->script);
}

void vertex_free(struct vertex *v)
{
        if (!v)
                return;
        switch (v->kind) {
        case VX_IMAGE:
                bd_image_done(&v->u.image);
                break;
        case VX_LOCAL:
                free(v->u.local);
                break;
        case VX_COPY:
                copy_done(&v->u.copy);
                break;
        case VX_RUN:
                run_done(&v->u.run);
                break;
        case VX_MKDIR:
                free(v->u.mkdir.path);
                free(v->u.mkdir.user);
                break;
        case VX_GIT:
                vx_git_done(&v->u.git);
                break;
        }
        free(v->inputs);
        free(v->stage);
        free(v->step);
        free(v->name);
        free(v->remote_why);
        result_done(&v->result);
        free(v);
}

void plan_histories_free(struct plan_histories *a)
{
        for (size_t i = 0; i < a->n; i++) {
                free(a->v[i].created_by);
                free(a->v[i].author);
        }
        plan_histories_done(a);
}

void graph_done(struct graph *g)
{
        for (size_t i = 0; i < g->targets.n; i++) {
                free(g->targets.v[i].name);
                img_config_done(&g->targets.v[i].config);
                plan_histories_free(&g->targets.v[i].history);
        }
        plan_targets_done(&g->targets);
        for (size_t i = 0; i < g->v.n; i++)
                vertex_free(g->v.v[i]);
        vertices_done(&g->v);
        map_done(&g->by_params);
}

int graph_add(struct graph *g, struct vertex *v, struct vertex **ret, struct bld_err *err)
{
        struct {
                struct digest params;
                struct vertex *inputs[64];
        } id;
        size_t idlen = sizeof(id.params) + v->ninputs * sizeof(id.inputs[0]);
        struct vertex *same, **slot;

        key_params(v);
        if (v->ninputs > ARRAY_LEN(id.inputs)) {
                vertex_free(v);
                return err_set(err, BLD_E_LIMIT, "a step with more than %zu inputs",
                               ARRAY_LEN(id.inputs));
        }
        memset(&id, 0, sizeof(id));
        id.params = v->params;
        if (v->ninputs)
                memcpy(id.inputs, v->inputs, v->ninputs * sizeof(id.inputs[0]));
        same = map_getn(&g->by_params, &id, idlen);
        if (same && same->no_cache == v->no_cache) {
                vertex_free(v);
                *ret = same;
                return 0;
        }
        slot = vertices_push(&g->v);
        if (!slot) {
                vertex_free(v);
                return err_nomem(err, "build graph");
        }
        *slot = v;
        v->id = (unsigned)(g->v.n - 1);
        if (map_setn(&g->by_params, &id, idlen, v) < 0)
                return err_nomem(err, "build graph");
        *ret = v;
        return 0;
}
