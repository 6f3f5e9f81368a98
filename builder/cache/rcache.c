/* The places of a build's shared cache, and what is known of their keys. */
#include "builder/cache/rcache_priv.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/num.h"

/* ---- what is known ---- */

/* States are pointers into here, so that a map can hold them. */
static char states[RC_BROKEN + 1];

enum rc_known rc_known(struct rc_place *p, const struct digest *key)
{
        const char *s;

        (void)pthread_mutex_lock(&p->lock);
        s = map_getn(&p->keys, key, sizeof(*key));
        (void)pthread_mutex_unlock(&p->lock);
        return s ? (enum rc_known)(s - states) : RC_UNKNOWN;
}

void rc_learn(struct rc_place *p, const struct digest *key, enum rc_known known)
{
        (void)pthread_mutex_lock(&p->lock);
        (void)!map_setn(&p->keys, key, sizeof(*key), &states[known]); /* else it is asked again */
        (void)pthread_mutex_unlock(&p->lock);
}

/* ---- warnings ---- */

void rc_warn(struct rcache *rc, const char *what, const struct rc_place *p,
             const struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(4096);
        const char *why = strstr(err->msg, "\nwhy: ");

        sb_fmt(&text, "%s %s: %.*s", what, p->shown, (int)strcspn(err->msg, "\n"), err->msg);
        if (why) {
                why += strlen("\nwhy: ");
                sb_fmt(&text, " (%.*s)", (int)strcspn(why, "\n"), why);
        }
        (void)pthread_mutex_lock(&rc->lock);
        if (rc->warn)
                rc->warn(rc->user, sb_text(&text));
        (void)pthread_mutex_unlock(&rc->lock);
}

/* ---- one place ---- */

static bool same_place(const struct rc_spec *a, const struct rc_spec *b)
{
        if (a->type != b->type || !str_eq(a->tag, b->tag))
                return false;
        return a->type == RC_LOCAL
                       ? str_eq(a->dir, b->dir)
                       : str_eq(a->ref.domain, b->ref.domain) && str_eq(a->ref.path, b->ref.path);
}

static int place_open(struct rcache *rc, const struct rc_spec *s, struct rc_place *p,
                      struct bld_err *err)
{
        *p = (struct rc_place){.rc = rc, .spec = s};
        p->shown = s->type == RC_LOCAL ? mem_strdup(s->dir) : img_ref_familiar(&s->ref, 0);
        p->ops = s->type == RC_LOCAL ? &rc_folder_ops : &rc_registry_ops;
        if (!p->shown)
                return err_nomem(err, "cache");
        (void)pthread_mutex_init(&p->lock, NULL);
        (void)pthread_mutex_init(&p->inline_lock, NULL);
        (void)pthread_mutex_init(&p->folder_lock, NULL);
        (void)pthread_cond_init(&p->blob_done, NULL);
        map_init(&p->keys, NULL);
        map_init(&p->blobs, NULL);
        map_init(&p->tags, NULL);
        return 0;
}

static void place_close(struct rc_place *p)
{
        p->ops->close(p);
        rc_inline_free(p->inl);
        map_done(&p->keys);
        map_done(&p->blobs);
        map_done(&p->tags);
        (void)pthread_cond_destroy(&p->blob_done);
        (void)pthread_mutex_destroy(&p->folder_lock);
        (void)pthread_mutex_destroy(&p->inline_lock);
        (void)pthread_mutex_destroy(&p->lock);
        free(p->shown);
}

/* The same place to read from and to write to is one: what was seen missing there is not
 * looked for again. */
static int open_places(struct rcache *rc, const struct rc_specs *specs, struct bld_err *err)
{
        rc->places = mem_zalloc(specs->n, sizeof(*rc->places));
        if (!rc->places)
                return err_nomem(err, "cache");
        for (size_t i = 0; i < specs->n; i++) {
                const struct rc_spec *s = &specs->v[i];
                struct rc_place *p = NULL;
                int r;

                if (s->type == RC_INLINE) {
                        rc->inline_wanted = true;
                        continue;
                }
                for (size_t k = 0; k < rc->nplaces && !p; k++)
                        if (same_place(rc->places[k].spec, s))
                                p = &rc->places[k];
                if (!p) {
                        p = &rc->places[rc->nplaces];
                        r = place_open(rc, s, p, err);
                        if (r < 0)
                                return r;
                        rc->nplaces++;
                }
                p->from = p->from || s->from;
                p->image = p->image || s->image;
                if (s->to && (!p->to || s->max))
                        p->to = s;
        }
        return 0;
}

int rcache_new(const struct rcache_opts *o, struct rcache **ret, struct bld_err *err)
{
        struct rcache *rc = mem_zalloc(1, sizeof(*rc));
        int r;

        if (!rc)
                return err_nomem(err, "cache");
        rc->in = rc->out = *o->c;
        rc->in.cancel = o->cancel;
        if (o->c->cache_registry)
                rc->in.registry = rc->out.registry = o->c->cache_registry;
        rc->ttl_ms = o->ttl_ms;
        rc->platforms = o->platforms;
        rc->nplatforms = o->nplatforms;
        rc->warn = o->warn;
        rc->transfer = o->transfer;
        rc->user = o->user;
        (void)pthread_mutex_init(&rc->lock, NULL);
        map_init(&rc->verified, NULL);
        r = open_places(rc, o->specs, err);
        if (r == 0) {
                rc->queue = rc_queue_new(rc);
                if (!rc->queue)
                        r = err_nomem(err, "cache");
        }
        if (r < 0) {
                rcache_free(rc);
                return r;
        }
        *ret = rc;
        return 0;
}

void rcache_free(struct rcache *rc)
{
        if (!rc)
                return;
        rc_queue_free(rc->queue); /* first: its threads use all the rest */
        for (size_t i = 0; i < rc->nplaces; i++)
                place_close(&rc->places[i]);
        free(rc->places);
        for (size_t i = 0; i < rc->nhits; i++) {
                rc_entry_done(&rc->hits[i]->entry);
                img_ref_done(&rc->hits[i]->from);
                free(rc->hits[i]);
        }
        free(rc->hits);
        map_done(&rc->verified);
        (void)pthread_mutex_destroy(&rc->lock);
        free(rc);
}

bool rcache_imports(const struct rcache *rc)
{
        for (size_t i = 0; rc && i < rc->nplaces; i++)
                if (rc->places[i].from)
                        return true;
        return false;
}

bool rcache_exports(const struct rcache *rc)
{
        for (size_t i = 0; rc && i < rc->nplaces; i++)
                if (rc->places[i].to)
                        return true;
        return false;
}

bool rcache_exports_all(const struct rcache *rc)
{
        for (size_t i = 0; rc && i < rc->nplaces; i++)
                if (rc->places[i].to && rc->places[i].to->max)
                        return true;
        return false;
}

bool rcache_wants_inline(const struct rcache *rc)
{
        return rc && rc->inline_wanted;
}
