/* Collection: mark what index.json, leases and results reach, move the rest into tmp/ under the
 * exclusive lock, delete it after letting go. docs/store.md says what counts as what. */
#include "cas/cas_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/err.h"
#include "base/num.h"
#include "base/path.h"
#include "base/sys.h"

struct blob;
VEC_DEFINE(blob_ptrs, struct blob *);

struct blob {
        char *path;
        uint64_t bytes;
        int64_t mtime_ns;
        size_t refs; /* from results that stay */
        bool live;   /* reached by index.json or leased */
        bool dead;
        bool looked_into;      /* kids are known */
        struct blob_ptrs kids; /* what it lists, if it is a manifest or an index */
};

enum item_kind { ITEM_RESULT, ITEM_SNAPSHOT, ITEM_INDEX, ITEM_BUILD, ITEM_MOUNT, ITEM_WASTE };

/* What can be given up alone. */
struct item {
        enum item_kind kind;
        char *path;
        uint64_t bytes;
        int64_t last_use_ns;
        bool waste; /* of no use to anybody: goes in every prune */
        bool held;  /* leased */
        bool dead;
        struct blob_ptrs blobs; /* of a result */
};
VEC_DEFINE(items, struct item);

struct plan {
        struct cas *c;
        const struct cas_prune_opts *o;
        struct map blobs; /* "sha256:..." -> struct blob, owned */
        struct items items;
        struct cas_leases leases;
        uint64_t total, target;
        struct cas_prune_result res;
};

static void blob_free(void *p)
{
        struct blob *b = p;

        free(b->path);
        blob_ptrs_done(&b->kids);
        free(b);
}

static void plan_init(struct plan *p, struct cas *c, const struct cas_prune_opts *o)
{
        memset(p, 0, sizeof(*p));
        p->c = c;
        p->o = o;
        map_init(&p->blobs, blob_free);
        cas_leases_init(&p->leases);
}

static void plan_done(struct plan *p)
{
        for (size_t i = 0; i < p->items.n; i++) {
                free(p->items.v[i].path);
                blob_ptrs_done(&p->items.v[i].blobs);
        }
        items_done(&p->items);
        map_done(&p->blobs);
        cas_leases_done(&p->leases);
}

/* ---- what is there ---- */

static int add_blob(struct plan *p, const char *algo, const char *hex, struct bld_err *err)
{
        AUTO_FREE char *name = NULL;
        AUTO_FREE char *path = NULL;
        struct digest d;
        struct blob *b;
        struct stat st;

        if (asprintf(&name, "%s:%s", algo, hex) < 0) {
                name = NULL;
                return err_nomem(err, "collect");
        }
        if (digest_parse(name, &d, NULL) < 0)
                return 0; /* not ours */
        if (asprintf(&path, "blobs/%s/%s", algo, hex) < 0) {
                path = NULL;
                return err_nomem(err, "collect");
        }
        if (fstatat(p->c->root_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? 0 : err_sys(err, errno, "look at %s/%s", p->c->root, path);
        b = mem_zalloc(1, sizeof(*b));
        if (!b)
                return err_nomem(err, "collect");
        b->bytes = (uint64_t)st.st_blocks * 512;
        b->mtime_ns = timespec_ns(st.st_mtim);
        b->live = map_get(&p->leases.blobs, name) != NULL;
        b->path = TAKE_PTR(&path);
        p->total += b->bytes;
        if (map_set(&p->blobs, name, b) < 0) {
                blob_free(b);
                return err_nomem(err, "collect");
        }
        return 0;
}

/* For every a/b below top, call add(p, a, b). */
static int each_pair(struct plan *p, const char *top,
                     int (*add)(struct plan *, const char *, const char *, struct bld_err *),
                     struct bld_err *err)
{
        AUTO_STRV struct strv outer = {NULL, 0, 0};
        int r = cas_names(p->c, top, &outer, err);

        for (size_t i = 0; r == 0 && i < outer.n; i++) {
                AUTO_STRV struct strv inner = {NULL, 0, 0};
                AUTO_FREE char *dir = NULL;

                if (asprintf(&dir, "%s/%s", top, outer.v[i]) < 0) {
                        dir = NULL;
                        return err_nomem(err, "collect");
                }
                r = cas_names(p->c, dir, &inner, err);
                for (size_t k = 0; r == 0 && k < inner.n; k++)
                        r = add(p, outer.v[i], inner.v[k], err);
        }
        return r;
}

static struct item *new_item(struct plan *p, enum item_kind kind, const char *dir, const char *a,
                             const char *b, struct bld_err *err)
{
        struct item *it = items_push(&p->items);
        int n;

        if (it) {
                it->kind = kind;
                n = b ? asprintf(&it->path, "%s/%s/%s", dir, a, b)
                      : asprintf(&it->path, "%s/%s", dir, a);
                if (n >= 0)
                        return it;
                it->path = NULL;
                p->items.n--;
        }
        (void)err_nomem(err, "collect");
        return NULL;
}

static bool has_ceiling(const struct cas_prune_opts *o)
{
        return o->max_used_bytes || o->min_free_bytes;
}

/* recorded: stands in when part of it is closed to us. */
static int measure(struct plan *p, struct item *it, uint64_t recorded, struct bld_err *err)
{
        struct cas_du du;
        struct stat st;
        int r;

        if (fstatat(p->c->root_fd, it->path, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? 0
                                       : err_sys(err, errno, "look at %s/%s", p->c->root, it->path);
        it->last_use_ns = timespec_ns(st.st_mtim);
        cas_du_init(&du);
        r = cas_du_add(&du, p->c->root_fd, it->path, err);
        it->bytes = du.denied ? MAX(du.bytes, recorded) : du.bytes;
        cas_du_done(&du);
        return r;
}

struct kids {
        struct plan *p;
        struct blob *of;
};

static int add_kid(void *user, const struct img_desc *d, bool present, struct bld_err *err)
{
        struct kids *k = user;
        char name[DIGEST_STR_MAX];
        struct blob *b, **slot;

        digest_format(&d->digest, name);
        b = map_get(&k->p->blobs, name);
        if (!b || b == k->of || !present)
                return 0;
        slot = blob_ptrs_push(&k->of->kids);
        if (!slot)
                return err_nomem(err, "collect");
        *slot = b;
        return 0;
}

/* A result may name an image by its manifest: then it needs what that lists. Anything that is not a
 * document, or not a readable one, is a blob like others. */
static int look_into(struct plan *p, struct blob *b, const struct digest *digest,
                     struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(IMG_MANIFEST_MAX);
        AUTO_FD int fd = sys_openat(p->c->root_fd, b->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0);
        struct kids k = {.p = p, .of = b};
        struct img_desc d = {.digest = *digest};
        const char *type;
        char first = 0;
        int r;

        b->looked_into = true;
        if (fd < 0 || sys_pread(fd, &first, 1, 0) != 1 || first != '{' ||
            fd_read_all(fd, &text, "a blob", NULL) < 0)
                return 0;
        type = img_guess_media_type(sb_text(&text), text.len);
        if (!img_mt_is_manifest(type) && !img_mt_is_index(type))
                return 0;
        d.size = text.len;
        d.media_type = mem_strdup(type);
        if (!d.media_type)
                return err_nomem(err, "collect");
        r = cas_reach(p->c, &d, add_kid, &k, NULL);
        free(d.media_type);
        return r == BLD_E_NOMEM ? err_nomem(err, "collect") : 0;
}

static int need_blob(struct item *it, struct blob *b, struct bld_err *err)
{
        struct blob **slot = blob_ptrs_push(&it->blobs);

        if (!slot)
                return err_nomem(err, "collect");
        *slot = b;
        b->refs++;
        return 0;
}

static int add_result(struct plan *p, const char *kk, const char *key, struct bld_err *err)
{
        AUTO(cas_result_info_done) struct cas_result_info info = {.blobs = NULL};
        struct item *it = new_item(p, ITEM_RESULT, "results", kk, key, err);
        int r;

        if (!it)
                return BLD_E_NOMEM;
        r = cas_result_info(p->c, it->path, &info, err);
        if (r < 0)
                return r;
        if (r == 0) {
                it->waste = true; /* damaged, or of another version */
                r = measure(p, it, 0, err);
                p->total += it->bytes;
                return r;
        }
        it->bytes = info.disk_bytes;
        it->last_use_ns = info.last_use_ns;
        for (size_t i = 0; i < info.nblobs; i++) {
                char name[DIGEST_STR_MAX];
                struct blob *b;

                digest_format(&info.blobs[i], name);
                b = map_get(&p->blobs, name);
                if (!b)
                        continue;
                r = b->looked_into ? 0 : look_into(p, b, &info.blobs[i], err);
                if (r == 0)
                        r = need_blob(it, b, err);
                for (size_t k = 0; r == 0 && k < b->kids.n; k++)
                        r = need_blob(it, b->kids.v[k], err);
                if (r < 0)
                        return r;
        }
        p->total += it->bytes;
        return 0;
}

/* Sizes: what was recorded will do for a ceiling, which is looked at often; a user who asks gets
 * what is on the disk, as far as we may look. */
static int add_snapshot(struct plan *p, const char *view, const char *id, struct bld_err *err)
{
        struct item *it = new_item(p, ITEM_SNAPSHOT, "snapshots", view, id, err);
        struct cas_snapshot_info info = {.trusted = false};
        bool known;
        int r = 0;

        if (!it)
                return BLD_E_NOMEM;
        known = cas_snapshot_info(p->c, view, id, &info) == 1;
        if (!known || !has_ceiling(p->o) || info.size_bytes == 0)
                r = measure(p, it, info.size_bytes, err);
        else
                it->bytes = info.size_bytes;
        if (known)
                it->last_use_ns = info.last_use_ns;
        it->waste = !info.trusted;
        it->held = map_get(&p->leases.snapshots, it->path + strlen("snapshots/")) != NULL;
        p->total += it->bytes;
        return r;
}

static int add_mount(struct plan *p, const char *view, const char *id, struct bld_err *err)
{
        struct item *it = new_item(p, ITEM_MOUNT, "mounts", view, id, err);
        int r;

        if (!it)
                return BLD_E_NOMEM;
        r = measure(p, it, 0, err);
        it->held = p->leases.live_build; /* it may be mounted there */
        p->total += it->bytes;
        return r;
}

static int add_flat(struct plan *p, enum item_kind kind, const char *dir, const char *name,
                    struct bld_err *err)
{
        struct item *it = new_item(p, kind, dir, name, NULL, err);
        const char *dash = strchr(name, '-');
        char id[CAS_NAME_MAX + 1], lease[CAS_NAME_MAX + 32];
        int r;

        if (!it)
                return BLD_E_NOMEM;
        r = measure(p, it, 0, err);
        switch (kind) {
        case ITEM_INDEX:
                /* "toc-<hex>@<boot>": kept with the layer's snapshots */
                (void)snprintf(id, sizeof(id), "%.*s", (int)strcspn(dash ? dash + 1 : name, "@"),
                               dash ? dash + 1 : name);
                it->held = map_get(&p->leases.ids, id) != NULL;
                it->waste = !cas_index_trusted(p->c, name);
                break;
        case ITEM_BUILD:
                (void)snprintf(lease, sizeof(lease), "builds/%.128s/lease", name);
                it->held = cas_is_held(p->c->root_fd, lease) == 1;
                break;
        case ITEM_WASTE:
                it->waste = true;
                break;
        case ITEM_RESULT:
        case ITEM_SNAPSHOT:
        case ITEM_MOUNT:
                break;
        }
        p->total += it->bytes;
        return r;
}

static int add_folder(struct plan *p, enum item_kind kind, const char *dir, struct bld_err *err)
{
        AUTO_STRV struct strv names = {NULL, 0, 0};
        int r = cas_names(p->c, dir, &names, err);

        for (size_t i = 0; r == 0 && i < names.n; i++)
                if (strlen(names.v[i]) <= 2 * CAS_NAME_MAX)
                        r = add_flat(p, kind, dir, names.v[i], err);
        return r;
}

/* Damaged blobs, and what nobody sees to (a killed probe's folder), once it is a day old. */
static int add_tmp(struct plan *p, struct bld_err *err)
{
        AUTO_STRV struct strv names = {NULL, 0, 0};
        int64_t now = time_now_ns() / 1000000000;
        int r = cas_names(p->c, "tmp", &names, err);

        for (size_t i = 0; r == 0 && i < names.n; i++) {
                struct stat st;

                if (cas_tmp_has_keeper(names.v[i]) || strlen(names.v[i]) > 2 * CAS_NAME_MAX)
                        continue;
                if (!str_has_prefix(names.v[i], "corrupt.") &&
                    (fstatat(p->c->tmp_fd, names.v[i], &st, AT_SYMLINK_NOFOLLOW) < 0 ||
                     st.st_mtim.tv_sec > now - 24 * 3600))
                        continue;
                r = add_flat(p, ITEM_WASTE, "tmp", names.v[i], err);
        }
        return r;
}

static int mark_live(void *user, const struct img_desc *d, bool present, struct bld_err *err)
{
        struct plan *p = user;
        char name[DIGEST_STR_MAX];
        struct blob *b;

        (void)err;
        digest_format(&d->digest, name);
        b = map_get(&p->blobs, name);
        if (b && present)
                b->live = true;
        return 0;
}

static int mark_refs(struct plan *p, struct bld_err *err)
{
        AUTO(img_index_done) struct img_index ix = {.media_type = NULL};
        int r = cas_index_read(p->c, &ix, err);

        for (size_t i = 0; r == 0 && i < ix.manifests.n; i++)
                r = cas_reach(p->c, &ix.manifests.v[i], mark_live, p, err);
        return r;
}

static int load(struct plan *p, struct bld_err *err)
{
        int r = cas_leases_load(p->c, &p->leases, err);

        if (r == 0)
                r = each_pair(p, "blobs", add_blob, err);
        if (r == 0)
                r = mark_refs(p, err);
        if (r == 0)
                r = each_pair(p, "results", add_result, err);
        if (r == 0)
                r = each_pair(p, "snapshots", add_snapshot, err);
        if (r == 0)
                r = each_pair(p, "mounts", add_mount, err);
        if (r == 0)
                r = add_folder(p, ITEM_INDEX, "index", err);
        if (r == 0)
                r = add_folder(p, ITEM_BUILD, "builds", err);
        if (r == 0)
                r = add_tmp(p, err);
        return r;
}

/* ---- what goes ---- */

static bool old_enough(const struct plan *p, int64_t ns)
{
        return p->o->until_sec == 0 || ns / 1000000000 < p->o->until_sec;
}

static void drop_blob(struct plan *p, struct blob *b)
{
        if (b->dead || b->live || b->refs || !old_enough(p, b->mtime_ns))
                return;
        b->dead = true;
        p->res.blobs++;
        p->res.freed_bytes += b->bytes;
        p->total -= MIN(p->total, b->bytes);
}

static void drop_item(struct plan *p, struct item *it)
{
        it->dead = true;
        p->res.freed_bytes += it->bytes;
        p->total -= MIN(p->total, it->bytes);
        if (it->kind == ITEM_RESULT)
                p->res.results++;
        else if (it->kind == ITEM_SNAPSHOT)
                p->res.snapshots++;
        else
                p->res.other++;
        for (size_t i = 0; i < it->blobs.n; i++) {
                it->blobs.v[i]->refs--;
                drop_blob(p, it->blobs.v[i]);
        }
}

/* How large may the store stay? */
static int set_target(struct plan *p, struct bld_err *err)
{
        const struct cas_prune_opts *o = p->o;
        uint64_t target = UINT64_MAX;
        struct statvfs fs;

        if (!has_ceiling(o)) {
                p->target = o->keep_bytes;
                return 0;
        }
        if (o->max_used_bytes)
                target = o->max_used_bytes;
        if (o->min_free_bytes) {
                uint64_t avail;

                if (fstatvfs(p->c->root_fd, &fs) < 0)
                        return err_sys(err, errno, "look at the file system of %s", p->c->root);
                avail = (uint64_t)fs.f_bavail * fs.f_frsize;
                if (avail < o->min_free_bytes) {
                        uint64_t missing = o->min_free_bytes - avail;

                        target = MIN(target, p->total > missing ? p->total - missing : 0);
                }
        }
        p->target = MAX(target, o->keep_bytes);
        return 0;
}

static int by_last_use(const void *a, const void *b)
{
        const struct item *const *x = a;
        const struct item *const *y = b;

        if ((*x)->last_use_ns != (*y)->last_use_ns)
                return (*x)->last_use_ns < (*y)->last_use_ns ? -1 : 1;
        return strcmp((*x)->path, (*y)->path);
}

static int decide(struct plan *p, struct bld_err *err)
{
        AUTO_FREE struct item **order = mem_zalloc(p->items.n + 1, sizeof(*order));
        int r = set_target(p, err);

        if (r < 0)
                return r;
        if (!order)
                return err_nomem(err, "collect");
        for (size_t i = 0; i < p->items.n; i++) {
                struct item *it = &p->items.v[i];

                order[i] = it;
                if (it->waste && !it->held && old_enough(p, it->last_use_ns))
                        drop_item(p, it);
        }
        for (struct map_entry *e = NULL; (e = map_next(&p->blobs, e));)
                drop_blob(p, e->value);
        if (!p->o->all && !has_ceiling(p->o))
                return 0;
        qsort(order, p->items.n, sizeof(struct item *), by_last_use);
        for (size_t i = 0; i < p->items.n && p->total > p->target; i++) {
                struct item *it = order[i];

                /* cache mounts are the user's own data: only when everything is asked for */
                if (it->dead || it->held || !old_enough(p, it->last_use_ns) ||
                    (it->kind == ITEM_MOUNT && !p->o->all))
                        continue;
                drop_item(p, it);
        }
        return 0;
}

/* ---- doing it ---- */

struct sweep {
        struct plan *p;
        struct cas_tmp *bin; /* NULL: the disk is too full for it */
        size_t n;
};

/* When not even a name in tmp/ can be had: a full disk is when collection is needed most. A
 * snapshot loses its record first, so that a kill leaves none that looks whole. */
static int remove_in_place(struct cas *c, const char *path, bool is_snapshot)
{
        AUTO_FREE char *meta = NULL;

        if (is_snapshot) {
                if (asprintf(&meta, "%s/meta", path) < 0) {
                        meta = NULL;
                        return -1;
                }
                if (sys_unlinkat(c->root_fd, meta, 0) < 0 && errno != ENOENT)
                        return -1;
        }
        return path_remove_tree(c->root_fd, path, NULL);
}

/* False: it stays. */
static bool take_out(struct sweep *s, const char *path, bool is_snapshot)
{
        struct cas *c = s->p->c;
        char name[24];

        if (!s->bin)
                return remove_in_place(c, path, is_snapshot) == 0;
        (void)snprintf(name, sizeof(name), "%zu", s->n++);
        if (sys_rename(c->root_fd, path, cas_tmp_dirfd(s->bin), name) == 0 || errno == ENOENT)
                return true;
        return errno == ENOSPC && remove_in_place(c, path, is_snapshot) == 0;
}

static void take_out_all(struct sweep *s)
{
        struct plan *p = s->p;

        for (struct map_entry *e = NULL; (e = map_next(&p->blobs, e));) {
                const struct blob *b = e->value;

                if (b->dead && !take_out(s, b->path, false)) {
                        p->res.blobs--;
                        p->res.freed_bytes -= b->bytes;
                }
        }
        for (size_t i = 0; i < p->items.n; i++) {
                const struct item *it = &p->items.v[i];

                if (!it->dead || take_out(s, it->path, it->kind == ITEM_SNAPSHOT))
                        continue;
                p->res.freed_bytes -= it->bytes;
                if (it->kind == ITEM_RESULT)
                        p->res.results--;
                else if (it->kind == ITEM_SNAPSHOT)
                        p->res.snapshots--;
                else
                        p->res.other--;
        }
}

/* Files of mapped owners need a helper; what even that cannot delete stays as an orphan. */
static int empty_bin(struct sweep *s, const struct cas_prune_opts *o, struct bld_err *err)
{
        int r = 0;

        for (size_t i = 0; r == 0 && s->bin && i < s->n; i++) {
                AUTO_FREE char *path = NULL;

                if (asprintf(&path, "%s/%zu", cas_tmp_path(s->bin), i) < 0) {
                        path = NULL;
                        return err_nomem(err, "collect");
                }
                if (path_remove_tree(s->p->c->root_fd, path, NULL) < 0 && o->remove)
                        r = o->remove(o->user, path, err);
        }
        return r;
}

static int remove_orphans(struct cas *c, const struct cas_prune_opts *o, struct bld_err *err)
{
        AUTO_STRV struct strv orphans = {NULL, 0, 0};
        int r = cas_tmp_orphans(c, &orphans, err);

        for (size_t i = 0; r == 0 && i < orphans.n; i++)
                if (path_remove_tree(c->root_fd, orphans.v[i], NULL) < 0 && o->remove)
                        r = o->remove(o->user, orphans.v[i], err);
        return r;
}

static int run(struct plan *p, struct bld_err *err)
{
        AUTO(cas_tmp_free_p) struct cas_tmp *bin = NULL;
        AUTO_FD int lock = -1;
        struct sweep s = {.p = p};
        int r = 0;

        if (!p->o->dry_run) {
                r = remove_orphans(p->c, p->o, err);
                if (r < 0)
                        return r;
                if (cas_tmp_new(p->c, &bin, NULL) == 0)
                        s.bin = bin;
        }
        r = cas_store_lock(p->c, p->o->dry_run ? LOCK_SH : LOCK_EX, &lock, err);
        if (r == 0)
                r = load(p, err);
        if (r == 0)
                r = decide(p, err);
        if (r < 0 || p->o->dry_run)
                return r;
        take_out_all(&s);
        fd_close(&lock);
        return empty_bin(&s, p->o, err);
}

int cas_prune(struct cas *c, const struct cas_prune_opts *o, struct cas_prune_result *ret,
              struct bld_err *err)
{
        struct plan p;
        int r;

        plan_init(&p, c, o);
        r = run(&p, err);
        if (r == 0)
                *ret = p.res;
        plan_done(&p);
        return err_wrap(err, r, "prune");
}

int cas_reclaimable(struct cas *c, uint64_t *ret, struct bld_err *err)
{
        const struct cas_prune_opts all = {.all = true, .dry_run = true};
        struct cas_prune_result res;
        int r = cas_prune(c, &all, &res, err);

        if (r == 0)
                *ret = res.freed_bytes;
        return r;
}
