/* Store -> registry: blobs in parallel, then documents with children before parents, then the name.
 * Nothing is named in the registry before everything it reaches is there. */
#include "builder/builder.h"

#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/sys.h"
#include "builder/image/move_priv.h"
#include "registry/registry.h"

#define PUSH_THREADS 16u

struct push {
        struct bd_ctx *c;
        struct reg_client *reg;
        const struct img_ref *dst;
        const struct img_ref *from; /* or NULL */
        const struct img_descs *blobs;
        size_t first; /* of them is done before all others */
        bool anew;    /* the registry lacks what it said it has: send without a look */
        struct bd_meter meter;
        pthread_mutex_t lock; /* guards stats */
        struct bd_push_stats stats;
};

/* ---- one blob ---- */

struct upload {
        struct bd_ctx *c;
        int fd;                  /* -1: not in the store */
        const atomic_bool *stop; /* may be NULL */
        struct bd_meter_item item;
};

static ssize_t upload_pread(void *user, void *p, size_t n, uint64_t off, struct bld_err *err)
{
        struct upload *u = user;
        ssize_t k;
        int r = cancel_check(u->c->cancel, err);

        if (r < 0)
                return r;
        if (u->stop && atomic_load(u->stop))
                return err_set(err, BLD_E_CANCELLED, "stopped after another transfer failed");
        if (u->fd < 0)
                return err_set(err, BLD_E_NOT_FOUND, "%s is not in the store", u->item.what);
        k = sys_pread(u->fd, p, n, (int64_t)off);
        return k < 0 ? err_sys(err, errno, "read %s", u->item.what) : k;
}

static void upload_progress(void *user, uint64_t done, uint64_t total)
{
        struct upload *u = user;

        (void)total;
        bd_meter_step(&u->item, done);
}

/* Repository on the registry we push to that the blob can be mounted from: where the image came
 * from, where the blob was pushed to before, where it came from. NULL: none. */
static int mount_from(struct bd_ctx *c, const struct img_ref *dst, const struct img_ref *origin,
                      const struct img_desc *d, char **ret, struct bld_err *err)
{
        AUTO_REF struct img_ref pushed = {.domain = NULL}, seen = {.domain = NULL};
        const struct img_ref *candidates[] = {origin, &pushed, &seen};
        int r = bd_pushed_find(c, &d->digest, dst->domain, &pushed, err);

        if (r >= 0)
                r = bd_source_find(c, &d->digest, &seen, err);
        if (r < 0)
                return r;
        /* pushed to this very repository: a look costs as little as a mount, and is no write */
        if (str_eq(pushed.path, dst->path))
                return 0;
        for (size_t i = 0; i < ARRAY_LEN(candidates); i++) {
                const struct img_ref *from = candidates[i];

                if (!from || !str_eq(from->domain, dst->domain) || str_eq(from->path, dst->path))
                        continue;
                *ret = mem_strdup(from->path);
                return *ret ? 0 : err_nomem(err, "name of a repository");
        }
        return 0;
}

int bd_push_blob(struct bd_ctx *c, struct reg_client *reg, const struct img_ref *dst,
                 const struct img_ref *from, const struct img_desc *d, bool anew,
                 struct bd_meter *meter, const atomic_bool *stop, enum reg_put_how *how,
                 struct bld_err *err)
{
        AUTO_FREE char *mount = NULL;
        AUTO_FD int fd = -1;
        struct upload u = {.c = c, .stop = stop};
        struct reg_source src = {.pread = upload_pread, .progress = upload_progress, .user = &u};
        int r = mount_from(c, dst, from, d, &mount, err);

        if (r < 0)
                return r;
        bd_meter_item_init(&u.item, meter, d);
        r = cas_blob_open(c->cas, &d->digest, &fd, NULL);
        if (r < 0 && r != BLD_E_NOT_FOUND)
                return err_set(err, r, "blob %s of the store cannot be read", u.item.what);
        u.fd = fd;
        if (anew) {
                *how = REG_PUT_UPLOADED;
                r = reg_blob_put_anew(reg, dst, d, &src, err);
        } else {
                r = reg_blob_put(reg, dst, d, &src, mount, how, err);
        }
        return fd >= 0 ? bd_blame_blob(c, &d->digest, r, err) : r;
}

static int upload(struct push *p, const struct img_desc *d, const atomic_bool *stop,
                  enum reg_put_how *how, struct bld_err *err)
{
        return bd_push_blob(p->c, p->reg, p->dst, p->from, d, p->anew, &p->meter, stop, how, err);
}

/* Layers that their makers ask not to be handed on, and that we do not have either. */
static bool foreign(const struct img_desc *d)
{
        return d->urls.n &&
               (strstr(d->media_type, "nondistributable") || strstr(d->media_type, ".foreign."));
}

static void count(struct push *p, const struct img_desc *d, enum reg_put_how how)
{
        pthread_mutex_lock(&p->lock);
        if (how == REG_PUT_UPLOADED)
                p->stats.uploaded_bytes += d->size;
        else
                p->stats.present_bytes += d->size;
        pthread_mutex_unlock(&p->lock);
}

static int push_one(struct push *p, const struct img_desc *d, const atomic_bool *stop,
                    enum reg_put_how *how, struct bld_err *err)
{
        int r = bd_has(p->c, &d->digest, err);

        if (r == 0) {
                /* A base layer nobody needed so far. It may be there, or be mounted, without its
                 * bytes; only when both fail it is fetched to be sent. */
                r = upload(p, d, stop, how, NULL);
                if (r == 0)
                        count(p, d, *how);
                if (r == 0)
                        return 0;
                r = bd_fetch_blob_metered(p->c, NULL, d, NULL, stop, err);
        }
        if (r >= 0)
                r = upload(p, d, stop, how, err);
        if (r == 0)
                count(p, d, *how);
        return r;
}

static int push_blob(void *user, size_t i, const atomic_bool *stop, struct bld_err *err)
{
        struct push *p = user;
        enum reg_put_how how = REG_PUT_UPLOADED;

        if (i == p->first || foreign(&p->blobs->v[i]))
                return 0;
        return push_one(p, &p->blobs->v[i], stop, &how, err);
}

/* The first config: what only this image has. Where it is there already, the whole image may be.
 * Index of it, or the number of blobs. */
static size_t tell_tale(const struct img_descs *blobs)
{
        for (size_t i = 0; i < blobs->n; i++)
                if (img_mt_is_config(blobs->v[i].media_type))
                        return i;
        return blobs->n;
}

/* ---- documents ---- */

/* What the document is to be called there. */
static int doc_ref(const struct push *p, const struct img_desc *d, bool root, struct img_ref *ret,
                   struct bld_err *err)
{
        int r = img_ref_copy(p->dst, ret, err);

        if (r < 0)
                return r;
        if (!root)
                ret->digest = d->digest;
        if (root && digest_is_set(&ret->digest) && !digest_eq(&ret->digest, &d->digest)) {
                char have[DIGEST_STR_MAX];

                digest_format(&d->digest, have);
                return err_set(err, BLD_E_INVALID,
                               "the image has the digest %s, not the one it is to be pushed under",
                               have);
        }
        if (root && !ret->tag && !digest_is_set(&ret->digest)) {
                ret->tag = mem_strdup("latest");
                if (!ret->tag)
                        return err_nomem(err, "tag");
        }
        return 0;
}

/* Blobs the registry has lost since it said it had them. */
static int push_missing(struct push *p, const struct strv *names, struct bld_err *err)
{
        static const atomic_bool go_on;
        int r = 0;

        p->anew = true;
        for (size_t i = 0; r == 0 && i < p->blobs->n; i++) {
                enum reg_put_how how = REG_PUT_UPLOADED;
                char name[DIGEST_STR_MAX];

                digest_format(&p->blobs->v[i].digest, name);
                if (strv_has(names, name))
                        r = push_one(p, &p->blobs->v[i], &go_on, &how, err);
        }
        p->anew = false;
        return r;
}

static int push_doc(struct push *p, const struct img_desc *d, bool root, struct bld_err *err)
{
        AUTO_SB struct sb doc = SB_INIT(IMG_MANIFEST_MAX);
        AUTO_REF struct img_ref ref = {.domain = NULL};
        AUTO_STRV struct strv missing = {.v = NULL};
        int r = bd_doc_read(p->c, d, IMG_MANIFEST_MAX, &doc, err);

        if (r == 0)
                r = doc_ref(p, d, root, &ref, err);
        if (r == 0)
                r = cancel_check(p->c->cancel, err);
        if (r == 0)
                r = reg_manifest_put_missing(p->reg, &ref, d->media_type, sb_text(&doc), doc.len,
                                             &missing, err);
        if (r == 0 || missing.n == 0)
                return r;
        err_clear(err);
        r = push_missing(p, &missing, err);
        if (r == 0)
                r = reg_manifest_put(p->reg, &ref, d->media_type, sb_text(&doc), doc.len, err);
        return r;
}

/* 1 the name leads to this very image already; then everything it reaches is there. */
static int is_there(struct push *p, const struct img_desc *root, struct bld_err *err)
{
        AUTO_REF struct img_ref ref = {.domain = NULL};
        struct img_desc head = {.media_type = NULL};
        int r = doc_ref(p, root, true, &ref, err);

        if (r < 0)
                return r;
        r = reg_manifest_head(p->reg, &ref, &head, NULL) == 1 &&
            digest_eq(&head.digest, &root->digest); /* what is wrong, the push itself will tell */
        img_desc_done(&head);
        return r;
}

static int push_all(struct push *p, const struct bd_closure *x, struct bld_err *err)
{
        static const atomic_bool go_on;
        enum reg_put_how how = REG_PUT_UPLOADED;
        int r = 0;

        p->first = tell_tale(p->blobs);
        if (p->first < p->blobs->n)
                r = push_one(p, &p->blobs->v[p->first], &go_on, &how, err);
        if (r == 0 && how != REG_PUT_UPLOADED) {
                r = is_there(p, &x->docs.v[x->docs.n - 1], err);
                if (r < 0)
                        return r;
                if (r == 1) {
                        for (size_t i = 0; i < p->blobs->n; i++)
                                if (i != p->first)
                                        count(p, &p->blobs->v[i], REG_PUT_PRESENT);
                        return 0;
                }
        }
        if (r == 0)
                r = bd_par_run(p->blobs->n, PUSH_THREADS, push_blob, p, err);
        for (size_t i = 0; r == 0 && i < x->docs.n; i++)
                r = push_doc(p, &x->docs.v[i], i + 1 == x->docs.n, err);
        return r;
}

int bd_push(struct bd_ctx *c, const struct img_desc *desc, const struct img_ref *dst,
            const struct img_ref *from, bd_progress_fn progress, void *user,
            struct bd_push_stats *ret, struct bld_err *err)
{
        AUTO(bd_closure_done) struct bd_closure x = {.docs = {.v = NULL}};
        struct push p = {.c = c, .dst = dst, .from = from, .blobs = &x.blobs};
        int r;

        if (!img_mt_is_index(desc->media_type) && !img_mt_is_manifest(desc->media_type))
                return err_set(err, BLD_E_INVALID, "\"%.100s\" is not the type of an image",
                               desc->media_type);
        r = bd_closure_make(c, desc, 0, &x, err);
        if (r == 0)
                r = c->registry(c->user, &p.reg, err);
        if (r < 0)
                return r;
        bd_meter_init(&p.meter, progress, user);
        pthread_mutex_init(&p.lock, NULL);
        r = push_all(&p, &x, err);
        /* without the record a later push cannot mount; no reason to call this one failed */
        for (size_t i = 0; r == 0 && i < x.blobs.n; i++)
                (void)!bd_pushed_note(c, &x.blobs.v[i].digest, dst, NULL);
        pthread_mutex_destroy(&p.lock);
        bd_meter_done(&p.meter);
        if (r == 0 && ret)
                *ret = p.stats;
        return r;
}
