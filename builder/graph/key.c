/* Cache keys: SHA-256 over length-framed fields, versioned. Everything that can change the bytes of
 * a result is in; secrets, ids of cache mounts, proxies and the machine are not (docs/cache.md). */
#include "builder/graph/graph_priv.h"

#include <string.h>

#define KEY_VERSION "bld-key-v1"

static void field_strv(struct hasher *h, const struct strv *a)
{
        hasher_field_u64(h, a->n);
        for (size_t i = 0; i < a->n; i++)
                hasher_field_str(h, a->v[i]);
}

static void field_digest(struct hasher *h, const struct digest *d)
{
        hasher_field_u64(h, d->algo);
        hasher_field(h, d->b, digest_len(d->algo));
}

static void params_copy(struct hasher *h, const struct vx_copy *c)
{
        hasher_field_u64(h, c->nsrc);
        for (size_t i = 0; i < c->nsrc; i++) {
                hasher_field_u64(h, c->src[i].kind);
                hasher_field_str(h, c->src[i].path);
                if (c->src[i].kind == COPY_BLOB) {
                        field_digest(h, &c->src[i].blob);
                        hasher_field_u64(h, (uint64_t)c->src[i].mtime_sec);
                        continue;
                }
                if (c->src[i].kind == COPY_GIT) {
                        hasher_field_u64(h, c->src[i].input);
                        continue;
                }
                hasher_field(h, c->src[i].data ? c->src[i].data : "", c->src[i].len);
        }
        hasher_field_str(h, c->dest);
        hasher_field_str(h, c->chown);
        hasher_field_str(h, c->chmod);
        field_strv(h, &c->excludes);
        hasher_field_u64(h, (uint64_t)c->link | (uint64_t)c->parents << 1 |
                                    (uint64_t)c->is_add << 2 | (uint64_t)c->unpack_set << 3 |
                                    (uint64_t)c->unpack << 4);
}

static void params_mount(struct hasher *h, const struct vx_mount *m)
{
        hasher_field_u64(h, m->type);
        hasher_field_str(h, m->target);
        hasher_field_u64(h, m->readonly);
        hasher_field_u64(h, m->size_bytes);
        switch (m->type) {
        case MT_BIND:
                hasher_field_str(h, m->source);
                hasher_field_u64(h, (uint64_t)(int64_t)m->input);
                break;
        case MT_CACHE: /* its id, sharing and contents are not part of the image */
        case MT_TMPFS:
                break;
        case MT_SECRET:
        case MT_SSH: /* that it is there, never what it holds */
                hasher_field_str(h, m->id);
                hasher_field_str(h, m->env);
                hasher_field_u64(h, m->required);
                break;
        }
        if (m->type == MT_SECRET || m->type == MT_SSH) {
                hasher_field_u64(h, m->mode);
                hasher_field_u64(h, m->uid);
                hasher_field_u64(h, m->gid);
        }
}

static void params_run(struct hasher *h, const struct vx_run *r)
{
        field_strv(h, &r->argv);
        field_strv(h, &r->env);
        field_strv(h, &r->host_names);
        field_strv(h, &r->ulimits);
        hasher_field_str(h, r->hostname);
        hasher_field_str(h, r->cwd);
        hasher_field_str(h, r->user);
        hasher_field_str(h, r->network);
        hasher_field_u64(h, r->insecure);
        hasher_field_str(h, r->script_name);
        hasher_field(h, r->script ? r->script : "", r->script_len);
        hasher_field_u64(h, r->nmounts);
        for (size_t i = 0; i < r->nmounts; i++)
                params_mount(h, &r->mounts[i]);
}

void key_params(struct vertex *v)
{
        char platform[128];
        struct hasher h;

        hasher_init(&h, DIGEST_SHA256);
        hasher_field_str(&h, KEY_VERSION);
        hasher_field_u64(&h, v->kind);
        switch (v->kind) {
        case VX_IMAGE:
                field_digest(&h, &v->u.image.desc.digest);
                break;
        case VX_LOCAL:
                hasher_field_str(&h, v->u.local);
                break;
        case VX_COPY: /* the same on every platform */
                params_copy(&h, &v->u.copy);
                break;
        case VX_RUN:
                img_platform_format(&v->platform, platform);
                hasher_field_str(&h, platform);
                params_run(&h, &v->u.run);
                break;
        case VX_MKDIR:
                hasher_field_str(&h, v->u.mkdir.path);
                hasher_field_str(&h, v->u.mkdir.user);
                break;
        case VX_GIT:
                git_params(&h, &v->u.git);
                break;
        }
        hasher_end(&h, &v->params);
}

/* With --link the chain below is not an input: what is laid down does not depend on it. */
static bool uses_parent(const struct vertex *v)
{
        return !(v->kind == VX_COPY && v->u.copy.link);
}

void key_definition(struct vertex *v)
{
        struct hasher h;

        hasher_init(&h, DIGEST_SHA256);
        hasher_field_str(&h, "definition");
        field_digest(&h, &v->params);
        field_digest(&h, &v->content);
        hasher_field_u64(&h, v->ninputs);
        for (size_t i = 0; i < v->ninputs; i++) {
                const struct vertex *in = v->inputs[i];

                if (!in) {
                        hasher_field_str(&h, "scratch");
                        continue;
                }
                /* A local source counts by the content selected from it, in v->content. */
                if (in->kind == VX_LOCAL)
                        hasher_field_str(&h, "local");
                else
                        field_digest(&h, &in->key);
        }
        hasher_end(&h, &v->key);
}

void key_result(const struct vertex *v, const struct digest *contents, struct digest *ret)
{
        struct hasher h;

        hasher_init(&h, DIGEST_SHA256);
        hasher_field_str(&h, "result");
        field_digest(&h, &v->params);
        field_digest(&h, &v->content);
        hasher_field_u64(&h, v->ninputs);
        for (size_t i = 0; i < v->ninputs; i++) {
                const struct vertex *in = v->inputs[i];

                if (i == 0 && !uses_parent(v))
                        hasher_field_str(&h, "independent");
                else if (!in)
                        hasher_field_str(&h, "scratch");
                else if (in->kind == VX_LOCAL)
                        hasher_field_str(&h, "local");
                else if (i > 0 && contents && digest_is_set(&contents[i]))
                        field_digest(&h, &contents[i]);
                else
                        field_digest(&h, &in->result.chain_id);
        }
        hasher_end(&h, ret);
}
