/* From a shared cache into the store: look-ups, what of an answer is believed, blobs. */
#include "builder/cache/rcache_priv.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/num.h"
#include "builder/image/tree_priv.h"

#define BRING_THREADS 16u

/* ---- one look-up ---- */

static bool expired(const struct rcache *rc, int64_t created_sec)
{
        return rc->ttl_ms > 0 && time_now_ns() / 1000000 - created_sec * 1000 > rc->ttl_ms;
}

static int read_record(struct rc_place *p, const struct img_desc *d, struct rc_entry *ret,
                       struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(RC_RECORD_MAX);
        int r;

        if (!str_eq(d->media_type, RC_MT_RECORD))
                return err_set(err, BLD_E_CORRUPT, "it is no result of bld");
        if (d->size > RC_RECORD_MAX)
                return err_set(err, BLD_E_CORRUPT, "its record is larger than %u bytes",
                               RC_RECORD_MAX);
        if (d->data) /* held against its digest when the manifest was decoded */
                return rc_record_decode(d->data, (size_t)d->size, ret, err);
        r = p->ops->read(p, d, &text, err);
        return r == 0 ? rc_record_decode(sb_text(&text), text.len, ret, err) : r;
}

/* 1 and the entry, 0 absent, or an error that says what is wrong with it. */
static int read_entry(struct rc_place *p, const struct digest *key, struct rc_entry *ret,
                      struct bld_err *err)
{
        AUTO(img_manifest_done) struct img_manifest m = {.media_type = NULL};
        AUTO_SB struct sb doc = SB_INIT(IMG_MANIFEST_MAX);
        char tag[130];
        int r;

        rc_tag(p->spec->tag, key, tag);
        r = p->ops->get(p, tag, &doc, err);
        if (r <= 0)
                return r;
        r = img_manifest_decode(sb_text(&doc), doc.len, NULL, &m, err);
        if (r < 0)
                return r == BLD_E_NOMEM ? r : err_recode(err, BLD_E_CORRUPT);
        r = read_record(p, &m.config, ret, err);
        if (r == 0)
                r = rc_entry_check(ret, &m, key, err);
        return r < 0 ? r : 1;
}

bool rc_of_place(int r)
{
        return r == BLD_E_NETWORK || r == BLD_E_TIMEOUT || r == BLD_E_DENIED || r == BLD_E_SYS;
}

/* What is wrong with one entry is a miss of that key. A place that fails is not asked again: a
 * cache that is down must cost a build little. */
static int judge(struct rc_place *p, const struct digest *key, int r, struct bld_err *e,
                 char why[RC_WHY_MAX], struct bld_err *err)
{
        char tag[130];
        bool first;

        if (r == BLD_E_CANCELLED || r == BLD_E_NOMEM) {
                err_copy(err, e);
                return r;
        }
        if (rc_of_place(r)) {
                (void)pthread_mutex_lock(&p->lock);
                first = !p->deaf;
                p->deaf = true;
                (void)pthread_mutex_unlock(&p->lock);
                if (first)
                        rc_warn(p->rc, "cache is not used:", p, e);
                return 0;
        }
        if (r == BLD_E_NOT_FOUND)
                (void)snprintf(why, RC_WHY_MAX, "entry existed in %.100s but blob missing",
                               p->shown);
        else
                (void)snprintf(why, RC_WHY_MAX, "its entry in %.100s is damaged", p->shown);
        rc_tag(p->spec->tag, key, tag);
        (void)err_wrap(e, r, "entry %.80s is passed over", tag);
        rc_learn(p, key, RC_BROKEN);
        rc_warn(p->rc, "cache", p, e);
        return 0;
}

static bool is_deaf(struct rc_place *p)
{
        bool deaf;

        (void)pthread_mutex_lock(&p->lock);
        deaf = p->deaf;
        (void)pthread_mutex_unlock(&p->lock);
        return deaf;
}

int rc_place_find(struct rc_place *p, const struct digest *key, struct rc_entry *ret,
                  char why[RC_WHY_MAX], struct bld_err *err)
{
        AUTO(rc_entry_done) struct rc_entry e = {.created_sec = 0};
        struct bld_err own = BLD_ERR_INIT;
        enum rc_known known = rc_known(p, key);
        int r;

        if (known == RC_ABSENT || known == RC_BROKEN || is_deaf(p))
                return 0;
        r = read_entry(p, key, &e, &own);
        if (r < 0)
                return judge(p, key, r, &own, why, err);
        if (r == 1 && expired(p->rc, e.created_sec)) {
                (void)snprintf(why, RC_WHY_MAX, "its entry in %.100s is older than --cache-ttl",
                               p->shown);
                r = 0;
        }
        rc_learn(p, key, r ? RC_PRESENT : RC_ABSENT);
        if (r == 0)
                return 0;
        *ret = e;
        memset(&e, 0, sizeof(e));
        return 1;
}

/* ---- the chain of an entry ---- */

/* The bottom of the chain is this build's own base image, whose blobs it knows where to get; what
 * an entry says of them does not count. */
static int stand_on(struct rc_entry *e, const struct bd_layers *base, struct bld_err *err)
{
        if (base->n >= e->layers.n)
                return err_set(err, BLD_E_CORRUPT, "it stands on another base image");
        for (size_t i = 0; i < base->n; i++) {
                struct bd_layers one = {.v = (struct bd_layer *)&base->v[i], .n = 1, .cap = 1};
                struct bd_layers copy = {0};
                struct bd_layer *l = &e->layers.v[i], old = *l;

                if (!digest_eq(&l->diff_id, &base->v[i].diff_id))
                        return err_set(err, BLD_E_CORRUPT, "it stands on another base image");
                if (bd_layers_append(&copy, &one) < 0) {
                        bd_layers_free(&copy);
                        return err_nomem(err, "chain of layers");
                }
                *l = copy.v[0];
                copy.v[0] = old;
                bd_layers_free(&copy);
        }
        for (size_t i = base->n; i < e->layers.n; i++)
                if (!digest_is_set(&e->layers.v[i].desc.digest))
                        return err_set(err, BLD_E_CORRUPT, "it lacks a layer that is in no base");
        return 0;
}

static struct rc_hit *keep_hit(struct rcache *rc, struct rc_hit *h)
{
        struct rc_hit *kept = mem_dup(h, sizeof(*h));
        void *v;
        bool ok;

        (void)pthread_mutex_lock(&rc->lock);
        v = rc->hits;
        ok = kept && vec_grow(&v, &rc->cap_hits, rc->nhits + 1, sizeof(*rc->hits));
        rc->hits = v;
        if (ok)
                rc->hits[rc->nhits++] = kept;
        (void)pthread_mutex_unlock(&rc->lock);
        if (ok)
                return kept;
        free(kept);
        rc_entry_done(&h->entry);
        img_ref_done(&h->from);
        return NULL;
}

static int find_at(struct rc_place *p, const struct digest *key, const struct bd_layers *base,
                   struct rc_hit *h, char why[RC_WHY_MAX], struct bld_err *err)
{
        struct bld_err own = BLD_ERR_INIT;
        int r = rc_place_find(p, key, &h->entry, why, err);

        if (r == 0 && p->image && !is_deaf(p))
                r = rc_inline_find(p, key, h, err);
        if (r <= 0)
                return r;
        h->place = p;
        h->key = *key;
        h->nbase = base ? base->n : 0;
        r = base ? stand_on(&h->entry, base, &own) : 0;
        if (r == 0)
                return 1;
        rc_entry_done(&h->entry);
        img_ref_done(&h->from);
        memset(h, 0, sizeof(*h));
        return judge(p, key, r, &own, why, err);
}

struct rc_hit *rcache_find(struct rcache *rc, const struct digest *key,
                           const struct bd_layers *base, char why[RC_WHY_MAX])
{
        char unused[RC_WHY_MAX];
        struct rc_hit h;

        why = why ? why : unused;
        why[0] = '\0';
        for (size_t i = 0; i < rc->nplaces; i++) {
                int r;

                if (!rc->places[i].from)
                        continue;
                memset(&h, 0, sizeof(h));
                /* Whoever cancelled looks at the token; without memory there is no hit. */
                r = find_at(&rc->places[i], key, base, &h, why, NULL);
                if (r < 0)
                        return NULL;
                if (r == 1)
                        return keep_hit(rc, &h);
        }
        return NULL;
}

const char *rc_hit_place(const struct rc_hit *h)
{
        return h->place->shown;
}

/* ---- its blobs ---- */

struct bring {
        struct rcache *rc;
        struct rc_hit *h;
        struct bd_layer *layers;
        size_t nbase;
        struct bd_meter meter;
};

struct pair {
        struct digest blob, diff_id;
};

static bool is_verified(struct rcache *rc, const struct pair *p)
{
        bool yes;

        (void)pthread_mutex_lock(&rc->lock);
        yes = map_getn(&rc->verified, p, sizeof(*p)) != NULL;
        (void)pthread_mutex_unlock(&rc->lock);
        return yes;
}

struct reader {
        int fd;
        const struct cancel *cancel;
};

static ssize_t read_some(void *user, void *p, size_t n, struct bld_err *err)
{
        struct reader *x = user;
        int r = cancel_check(x->cancel, err);
        struct ly_source s = ly_source_fd(x->fd);

        return r < 0 ? r : s.read(s.user, p, n, err);
}

/* That the bytes are those of the digest is known by now; that they unpack to the diff ID is what
 * images and snapshots rely on. The pass makes the table of contents as well. */
static int verify(struct rcache *rc, const struct bd_layer *l, struct bld_err *err)
{
        AUTO(ly_toc_free_p) struct ly_toc *toc = NULL;
        struct pair pair = {l->desc.digest, l->diff_id};
        struct reader in = {.fd = -1, .cancel = rc->in.cancel};
        struct ly_source src = {.read = read_some, .user = &in};
        struct digest diff_id;
        AUTO_FD int fd = -1;
        char text[24];
        int r;

        if (is_verified(rc, &pair))
                return 0;
        r = cas_blob_open(rc->in.cas, &l->desc.digest, &fd, err);
        if (r < 0)
                return r;
        in.fd = fd;
        bd_short(&l->desc.digest, text);
        r = ly_unpack_stream(&src, NULL, NULL, &diff_id, NULL, &toc, err);
        if (r == BLD_E_INVALID || r == BLD_E_LIMIT)
                r = err_recode(err, BLD_E_CORRUPT);
        if (r == 0 && !digest_eq(&diff_id, &l->diff_id))
                r = err_set(err, BLD_E_CORRUPT, "layer %s has other content than its record says",
                            text);
        if (r < 0)
                return r;
        toc->blob = l->desc.digest;
        r = bd_toc_put(&rc->in, &diff_id, toc, err);
        (void)pthread_mutex_lock(&rc->lock);
        (void)!map_setn(&rc->verified, &pair, sizeof(pair), rc); /* else it is done once more */
        (void)pthread_mutex_unlock(&rc->lock);
        return r;
}

static int bring_layer(void *user, size_t i, const atomic_bool *stop, struct bld_err *err)
{
        struct bring *b = user;
        struct bd_layer *l = &b->layers[i];
        int r;

        if (i < b->nbase || atomic_load(stop)) /* base layers: fetched by whoever reads them */
                return 0;
        if (b->h->from.domain)
                r = bd_fetch_blob_metered(&b->rc->in, &b->h->from, &l->desc, &b->meter, stop, err);
        else
                r = b->h->place->ops->bring(b->h->place, &l->desc, &b->meter, err);
        if (r == 0)
                r = verify(b->rc, l, err);
        if (r == 0 && !b->h->from.domain)
                rc_blob_present(b->h->place, &l->desc.digest);
        return r;
}

int rcache_bring(struct rcache *rc, struct rc_hit *h, bool top_only, bd_progress_fn progress,
                 void *user, struct vx_result *ret, char why[RC_WHY_MAX], struct bld_err *err)
{
        struct bd_layers *all = &h->entry.layers;
        size_t first = top_only ? all->n - 1 : 0, n = all->n - first;
        struct bd_layers chain = {.v = all->v + first, .n = n, .cap = n};
        struct bring b = {.rc = rc, .h = h, .layers = chain.v, .nbase = top_only ? 0 : h->nbase};
        struct bld_err own = BLD_ERR_INIT;
        int r;

        why[0] = '\0';
        bd_meter_init(&b.meter, progress, user);
        r = bd_par_run(n, BRING_THREADS, bring_layer, &b, &own);
        bd_meter_done(&b.meter);
        if (r == BLD_E_SYS) {
                err_copy(err, &own);
                return r;
        }
        if (r < 0)
                return judge(h->place, &h->key, r, &own, why, err);
        result_done(ret);
        if (bd_layers_append(&ret->layers, &chain) < 0)
                return err_nomem(err, "chain of layers");
        r = result_seal(ret, err);
        return r < 0 ? r : 1;
}
