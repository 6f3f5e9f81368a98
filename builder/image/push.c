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
        struct bd_meter meter;
        pthread_mutex_t lock; /* guards stats */
        struct bd_push_stats stats;
};

/* ---- one blob ---- */

struct upload {
        struct bd_ctx *c;
        int fd; /* -1: not in the store */
        const atomic_bool *stop;
        struct bd_meter_item item;
};

static ssize_t upload_pread(void *user, void *p, size_t n, uint64_t off, struct bld_err *err)
{
        struct upload *u = user;
        ssize_t k;
        int r = cancel_check(u->c->cancel, err);

        if (r < 0)
                return r;
        if (atomic_load(u->stop))
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

/* Repository on the registry we push to that the blob can be mounted from; NULL: none. */
static int mount_from(struct push *p, const struct img_desc *d, char **ret, struct bld_err *err)
{
        AUTO_REF struct img_ref seen = {.domain = NULL};
        const struct img_ref *from = p->from;
        int r;

        if (!from || !str_eq(from->domain, p->dst->domain)) {
                r = bd_source_find(p->c, &d->digest, &seen, err);
                if (r < 0)
                        return r;
                from = r ? &seen : NULL;
        }
        if (!from || !str_eq(from->domain, p->dst->domain) || str_eq(from->path, p->dst->path))
                return 0;
        *ret = mem_strdup(from->path);
        return *ret ? 0 : err_nomem(err, "name of a repository");
}

static int upload(struct push *p, const struct img_desc *d, const atomic_bool *stop,
                  enum reg_put_how *how, struct bld_err *err)
{
        AUTO_FREE char *from = NULL;
        AUTO_FD int fd = -1;
        struct upload u = {.c = p->c, .stop = stop};
        struct reg_source src = {.pread = upload_pread, .progress = upload_progress, .user = &u};
        int r = mount_from(p, d, &from, err);

        if (r < 0)
                return r;
        bd_meter_item_init(&u.item, &p->meter, d);
        r = cas_blob_open(p->c->cas, &d->digest, &fd, NULL);
        if (r < 0 && r != BLD_E_NOT_FOUND)
                return err_set(err, r, "blob %s of the store cannot be read", u.item.what);
        u.fd = fd;
        return reg_blob_put(p->reg, p->dst, d, &src, from, how, err);
}

/* Layers that their makers ask not to be handed on, and that we do not have either. */
static bool foreign(const struct img_desc *d)
{
        return d->urls.n &&
               (strstr(d->media_type, "nondistributable") || strstr(d->media_type, ".foreign."));
}

static int push_blob(void *user, size_t i, const atomic_bool *stop, struct bld_err *err)
{
        struct push *p = user;
        const struct img_desc *d = &p->blobs->v[i];
        enum reg_put_how how = REG_PUT_UPLOADED;
        int r;

        if (foreign(d))
                return 0;
        r = bd_has(p->c, &d->digest, err);
        if (r < 0)
                return r;
        if (r == 0) {
                /* A base layer nobody needed so far. It may be there, or be mounted, without its
                 * bytes; only when both fail it is fetched to be sent. */
                r = upload(p, d, stop, &how, NULL);
                if (r < 0) {
                        r = bd_fetch_blob_metered(p->c, NULL, d, NULL, stop, err);
                        if (r < 0)
                                return r;
                        r = upload(p, d, stop, &how, err);
                }
        } else {
                r = upload(p, d, stop, &how, err);
        }
        if (r < 0)
                return r;
        pthread_mutex_lock(&p->lock);
        if (how == REG_PUT_UPLOADED)
                p->stats.uploaded_bytes += d->size;
        else
                p->stats.present_bytes += d->size;
        pthread_mutex_unlock(&p->lock);
        return 0;
}

/* ---- documents ---- */

static int push_doc(struct push *p, const struct img_desc *d, bool root, struct bld_err *err)
{
        AUTO_SB struct sb doc = SB_INIT(IMG_MANIFEST_MAX);
        AUTO_REF struct img_ref ref = {.domain = NULL};
        int r = bd_doc_read(p->c, d, IMG_MANIFEST_MAX, &doc, err);

        if (r == 0)
                r = img_ref_copy(p->dst, &ref, err);
        if (r < 0)
                return r;
        if (!root)
                ref.digest = d->digest;
        if (root && digest_is_set(&ref.digest) && !digest_eq(&ref.digest, &d->digest)) {
                char have[DIGEST_STR_MAX];

                digest_format(&d->digest, have);
                return err_set(err, BLD_E_INVALID,
                               "the image has the digest %s, not the one it is to be pushed under",
                               have);
        }
        if (root && !ref.tag && !digest_is_set(&ref.digest)) {
                ref.tag = mem_strdup("latest");
                if (!ref.tag)
                        return err_nomem(err, "tag");
        }
        r = cancel_check(p->c->cancel, err);
        if (r == 0)
                r = reg_manifest_put(p->reg, &ref, d->media_type, sb_text(&doc), doc.len, err);
        return r;
}

static int push_all(struct push *p, const struct bd_closure *x, struct bld_err *err)
{
        int r = bd_par_run(x->blobs.n, PUSH_THREADS, push_blob, p, err);

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
        pthread_mutex_destroy(&p.lock);
        bd_meter_done(&p.meter);
        if (r == 0 && ret)
                *ret = p.stats;
        return r;
}
