/* Into a registry, from wherever an image is: blobs in parallel, then documents with children
 * before parents, then the name. Nothing is named in the registry before everything it reaches is
 * there. */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/sys.h"
#include "builder/image/end_priv.h"
#include "registry/registry.h"

#define PUSH_THREADS 16u
#define RELAY_THREADS 6u /* each holds an upload, and a download, open */

struct push {
        struct bd_ctx *c;
        struct bd_end *end;
        struct reg_client *reg;
        const struct img_ref *dst;
        const struct img_ref *from; /* or NULL */
        const struct img_descs *blobs;
        size_t first; /* of them is done before all others */
        bool anew;    /* the registry lacks what it said it has: send without a look */
        struct bd_meter meter;
        pthread_mutex_t lock; /* guards stats, and the end, which is one thread's at a time */
        struct bd_push_stats stats;
};

/* ---- one blob ---- */

struct upload {
        struct bd_ctx *c;
        struct bd_part part;     /* fd -1: not in a file */
        struct bd_relay *stream; /* then, or NULL when nothing was read yet */
        struct img_ref repo;     /* to stream from; domain NULL: nobody has it */
        const struct img_desc *d;
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
        if (u->part.fd < 0) {
                if (!u->repo.domain)
                        return err_set(err, BLD_E_NOT_FOUND,
                                       "%s is not in the store\nwhy: no registry is known that it "
                                       "was seen in",
                                       u->item.what);
                if (!u->stream)
                        r = bd_relay_new(u->c, &u->repo, u->d, &u->stream, err);
                return r < 0 ? r : bd_relay_pread(u->stream, p, n, off, err);
        }
        if (off >= u->part.size)
                return 0;
        k = sys_pread(u->part.fd, p, (size_t)MIN((uint64_t)n, u->part.size - off),
                      (int64_t)(u->part.off + off));
        return k < 0 ? err_sys(err, errno, "read %s", u->item.what) : k;
}

static void upload_progress(void *user, uint64_t done, uint64_t total)
{
        struct upload *u = user;

        (void)total;
        bd_meter_step(&u->item, done);
}

static void upload_done(struct upload *u)
{
        bd_part_done(&u->part);
        bd_relay_free(u->stream);
        img_ref_done(&u->repo);
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

static int send(struct upload *u, struct reg_client *reg, const struct img_ref *dst,
                const char *mount, bool anew, struct bd_meter *meter, enum reg_put_how *how,
                struct bld_err *err)
{
        struct reg_source src = {.pread = upload_pread, .progress = upload_progress, .user = u};

        bd_meter_item_init(&u->item, meter, u->d);
        if (!anew)
                return reg_blob_put(reg, dst, u->d, &src, mount, how, err);
        *how = REG_PUT_UPLOADED;
        return reg_blob_put_anew(reg, dst, u->d, &src, err);
}

int bd_push_blob(struct bd_ctx *c, struct reg_client *reg, const struct img_ref *dst,
                 const struct img_ref *from, const struct img_desc *d, bool anew,
                 struct bd_meter *meter, const atomic_bool *stop, enum reg_put_how *how,
                 struct bld_err *err)
{
        AUTO_FREE char *mount = NULL;
        AUTO(upload_done) struct upload u = {.c = c, .part = {.fd = -1}, .d = d, .stop = stop};
        int r = mount_from(c, dst, from, d, &mount, err);

        if (r == 0)
                r = bd_store_blob(c, d, &u.part, &u.repo, err);
        if (r >= 0)
                r = send(&u, reg, dst, mount, anew, meter, how, err);
        return u.part.fd >= 0 ? bd_blame_blob(c, &d->digest, r, err) : r;
}

static int upload(struct push *p, const struct img_desc *d, const atomic_bool *stop,
                  enum reg_put_how *how, struct bld_err *err)
{
        AUTO_FREE char *mount = NULL;
        AUTO(upload_done) struct upload u = {.c = p->c, .part = {.fd = -1}, .d = d, .stop = stop};
        int r;

        pthread_mutex_lock(&p->lock);
        r = bd_end_blob(p->end, d, &u.part, &u.repo, err);
        pthread_mutex_unlock(&p->lock);
        if (r >= 0)
                r = mount_from(p->c, p->dst, u.repo.domain ? &u.repo : p->from, d, &mount, err);
        if (r < 0)
                return r;
        r = send(&u, p->reg, p->dst, mount, p->anew, &p->meter, how, err);
        return u.part.fd >= 0 && bd_end_is_store(p->end) ? bd_blame_blob(p->c, &d->digest, r, err)
                                                         : r;
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
        int r = upload(p, d, stop, how, err);

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
        if (bd_end_blob_is_in(p->end, &p->blobs->v[i].digest, p->dst)) {
                count(p, &p->blobs->v[i], REG_PUT_PRESENT);
                return 0;
        }
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

static int wrong_digest(const struct img_desc *d, struct bld_err *err)
{
        char have[DIGEST_STR_MAX];

        digest_format(&d->digest, have);
        return err_set(err, BLD_E_INVALID,
                       "the image has the digest %s, not the one it is to be pushed under", have);
}

/* Blobs the registry has lost since it said it had them. */
static int push_missing(struct push *p, const struct strv *names, struct bld_err *err)
{
        static const atomic_bool go_on;
        int r = 0;

        p->anew = true;
        for (size_t i = 0; r == 0 && p->blobs && i < p->blobs->n; i++) {
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
        struct bd_docs docs = bd_end_docs(p->end);
        int r = docs.read(docs.user, d, IMG_MANIFEST_MAX, &doc, err);

        if (r == 0)
                r = img_ref_copy(p->dst, &ref, err);
        if (r < 0)
                return r;
        if (!root)
                ref.digest = d->digest;
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

/* ---- what is there already ---- */

static bool head_is(struct push *p, const struct img_ref *ref, const struct digest *d)
{
        AUTO(img_desc_done) struct img_desc head = {.media_type = NULL};

        /* who may only push cannot look: what is wrong, the push itself will tell */
        return reg_manifest_head(p->reg, ref, &head, NULL) == 1 && digest_eq(&head.digest, d);
}

/* The name leads to this very image; then everything it reaches is there: registries take no
 * manifest before its parts. */
static bool named(struct push *p, const struct img_desc *root)
{
        return head_is(p, p->dst, &root->digest);
}

/* It is there under another name. */
static bool unnamed(struct push *p, const struct img_desc *root)
{
        AUTO_REF struct img_ref ref = {.domain = NULL};

        if (digest_is_set(&p->dst->digest) || img_ref_copy(p->dst, &ref, NULL) < 0)
                return false;
        ref.digest = root->digest;
        return head_is(p, &ref, &root->digest);
}

static int push_all(struct push *p, const struct bd_closure *x, struct bld_err *err)
{
        static const atomic_bool go_on;
        enum reg_put_how how = REG_PUT_UPLOADED;
        bool remote = bd_end_repo(p->end) != NULL;
        int r = 0;

        p->first = remote ? p->blobs->n : tell_tale(p->blobs);
        if (p->first < p->blobs->n)
                r = push_one(p, &p->blobs->v[p->first], &go_on, &how, err);
        if (r == 0 && how != REG_PUT_UPLOADED && named(p, &x->docs.v[x->docs.n - 1])) {
                for (size_t i = 0; i < p->blobs->n; i++)
                        if (i != p->first)
                                count(p, &p->blobs->v[i], REG_PUT_PRESENT);
                p->stats.unchanged = true;
                return 0;
        }
        if (r == 0)
                r = bd_par_run(p->blobs->n, remote ? RELAY_THREADS : PUSH_THREADS, push_blob, p,
                               err);
        for (size_t i = 0; r == 0 && i < x->docs.n; i++)
                r = push_doc(p, &x->docs.v[i], i + 1 == x->docs.n, err);
        /* without the record a later push cannot mount; no reason to call this one failed */
        for (size_t i = 0; r == 0 && !remote && i < x->blobs.n; i++)
                (void)!bd_pushed_note(p->c, &x->blobs.v[i].digest, p->dst, NULL);
        return r;
}

static int send_root(struct push *p, const struct img_desc *root, struct bld_err *err)
{
        AUTO(bd_closure_done) struct bd_closure x = {.docs = {.v = NULL}};
        struct bd_docs docs = bd_end_docs(p->end);
        int r;

        /* the source's documents need not even be read */
        if (bd_end_repo(p->end) && named(p, root)) {
                p->stats.unchanged = true;
                return 0;
        }
        if (bd_end_repo(p->end) && unnamed(p, root))
                return push_doc(p, root, true, err);
        r = bd_closure_from(&docs, root, 0, &x, err);
        p->blobs = &x.blobs;
        return r == 0 ? push_all(p, &x, err) : r;
}

int bd_send(struct bd_end *from, const struct img_desc *root, const struct img_ref *dst,
            const struct bd_send_opts *o, struct bd_push_stats *ret, struct bld_err *err)
{
        AUTO_REF struct img_ref to = {.domain = NULL};
        struct push p = {.c = bd_end_ctx(from), .end = from, .dst = &to, .from = o->mount_from};
        int r;

        if (!img_mt_is_index(root->media_type) && !img_mt_is_manifest(root->media_type))
                return err_set(err, BLD_E_INVALID, "\"%.100s\" is not the type of an image",
                               root->media_type);
        r = img_ref_copy(dst, &to, err);
        if (r < 0)
                return r;
        if (!to.tag && !digest_is_set(&to.digest))
                to.digest = root->digest;
        if (digest_is_set(&to.digest) && !digest_eq(&to.digest, &root->digest))
                return wrong_digest(root, err);
        r = p.c->registry(p.c->user, &p.reg, err);
        if (r < 0)
                return r;
        bd_meter_init(&p.meter, o->progress, o->user);
        pthread_mutex_init(&p.lock, NULL);
        r = send_root(&p, root, err);
        pthread_mutex_destroy(&p.lock);
        bd_meter_done(&p.meter);
        if (r == 0 && ret)
                *ret = p.stats;
        return r;
}

int bd_push(struct bd_ctx *c, const struct img_desc *desc, const struct img_ref *dst,
            const struct img_ref *from, bd_progress_fn progress, void *user,
            struct bd_push_stats *ret, struct bld_err *err)
{
        AUTO(bd_end_free_p) struct bd_end *store = NULL;
        AUTO_REF struct img_ref to = {.domain = NULL};
        struct img_place place = {.at = IMG_AT_STORE};
        struct bd_send_opts o = {.mount_from = from, .progress = progress, .user = user};
        char text[DIGEST_STR_MAX];
        int r = img_ref_copy(dst, &to, err);

        digest_format(&desc->digest, text);
        place.text = text;
        if (r == 0 && !to.tag && !digest_is_set(&to.digest)) {
                to.tag = mem_strdup("latest");
                if (!to.tag)
                        return err_nomem(err, "tag");
        }
        if (r == 0)
                r = bd_end_open(c, &place, -1, &store, err);
        return r == 0 ? bd_send(store, desc, &to, &o, ret, err) : r;
}
