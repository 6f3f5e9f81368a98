/* Collection: measure the trees, mark what index.json, leases and results reach, move the rest into
 * tmp/ under the exclusive lock, delete it after letting go. docs/store.md says what counts as
 * what. */
#include "cas/census_priv.h"

#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/num.h"
#include "base/path.h"
#include "base/sys.h"

struct plan {
        struct cas *c;
        const struct cas_prune_opts *o;
        struct census n;
        uint64_t total, target; /* what a limit counts, and how much of it may stay */
        struct cas_prune_result res;
};

static bool has_ceiling(const struct cas_prune_opts *o)
{
        return o->max_used_bytes || o->min_free_bytes;
}

/* Cache mounts hold the users' own data: they go when everything is asked for, or they by name. */
static bool wants_mounts(const struct cas_prune_opts *o)
{
        return o->all && !o->keep_mounts;
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

static uint64_t *counter(struct plan *p, const struct item *it)
{
        switch (it->x.kind) {
        case CAS_ITEM_RESULT:
                return &p->res.results;
        case CAS_ITEM_SNAPSHOT:
                return &p->res.snapshots;
        case CAS_ITEM_IMAGE:
                return &p->res.images;
        case CAS_ITEM_INDEX:
        case CAS_ITEM_BUILD:
        case CAS_ITEM_MOUNT:
        case CAS_ITEM_WASTE:
                break;
        }
        return &p->res.other;
}

static void drop_item(struct plan *p, struct item *it)
{
        it->dead = true;
        p->res.freed_bytes += it->x.bytes;
        p->total -= MIN(p->total, it->x.bytes);
        ++*counter(p, it);
        for (size_t i = 0; i < it->blobs.n; i++) {
                it->blobs.v[i]->refs--;
                drop_blob(p, it->blobs.v[i]);
        }
}

/* It stays after all. Blobs that went with it and were nobody else's stay, too. */
static void revive_item(struct plan *p, struct item *it)
{
        it->dead = false;
        p->res.freed_bytes -= it->x.bytes;
        --*counter(p, it);
        for (size_t i = 0; i < it->blobs.n; i++) {
                struct blob *b = it->blobs.v[i];

                b->refs++;
                if (!b->dead)
                        continue;
                b->dead = false;
                p->res.blobs--;
                p->res.freed_bytes -= b->bytes;
        }
}

/* How large may the store stay? */
static int set_target(struct plan *p, struct bld_err *err)
{
        const struct cas_prune_opts *o = p->o;
        uint64_t target = UINT64_MAX;

        if (!has_ceiling(o)) {
                p->target = o->keep_bytes;
                return 0;
        }
        if (o->max_used_bytes)
                target = o->max_used_bytes;
        if (o->min_free_bytes) {
                uint64_t size, avail;
                int r = cas_disk(p->c, &size, &avail, err);

                if (r < 0)
                        return r;
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

        if ((*x)->x.last_use_ns != (*y)->x.last_use_ns)
                return (*x)->x.last_use_ns < (*y)->x.last_use_ns ? -1 : 1;
        return strcmp((*x)->path, (*y)->path);
}

static bool may_go(const struct plan *p, const struct item *it)
{
        return !it->dead && !it->x.held && old_enough(p, it->x.last_use_ns) &&
               (!p->o->match || p->o->match(p->o->user, &it->x));
}

/* Of an image with a name, say: to forget the result would cost a miss and give no room. */
static bool frees_nothing(const struct item *it)
{
        for (size_t i = 0; i < it->blobs.n; i++)
                if (!it->blobs.v[i]->live)
                        return false;
        return it->blobs.n > 0;
}

static int decide(struct plan *p, struct bld_err *err)
{
        struct census *n = &p->n;
        AUTO_FREE struct item **order = mem_zalloc(n->items.n + 1, sizeof(*order));
        bool ceiling = has_ceiling(p->o) && !p->o->all;
        int r;

        p->total = n->total;
        r = set_target(p, err);
        if (r < 0)
                return r;
        if (!order)
                return err_nomem(err, "collect");
        for (size_t i = 0; i < n->items.n; i++) {
                struct item *it = &n->items.v[i];

                order[i] = it;
                if (it->x.waste && may_go(p, it))
                        drop_item(p, it);
        }
        for (struct map_entry *e = NULL; !p->o->match && (e = map_next(&n->blobs, e));)
                drop_blob(p, e->value);
        if (!p->o->all && !has_ceiling(p->o))
                return 0;
        qsort(order, n->items.n, sizeof(struct item *), by_last_use);
        for (size_t i = 0; i < n->items.n && p->total > p->target; i++)
                if (may_go(p, order[i]) && !(ceiling && frees_nothing(order[i])))
                        drop_item(p, order[i]);
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

        for (struct map_entry *e = NULL; (e = map_next(&p->n.blobs, e));) {
                const struct blob *b = e->value;

                if (b->dead && !take_out(s, b->path, false)) {
                        p->res.blobs--;
                        p->res.freed_bytes -= b->bytes;
                }
        }
        for (size_t i = 0; i < p->n.items.n; i++) {
                const struct item *it = &p->n.items.v[i];

                if (!it->dead || it->x.kind == CAS_ITEM_IMAGE ||
                    take_out(s, it->path, it->x.kind == CAS_ITEM_SNAPSHOT))
                        continue;
                p->res.freed_bytes -= it->x.bytes;
                --*counter(p, it);
        }
}

/* Out of index.json before their blobs go. Where that cannot be written, on a full disk, the rest
 * makes room for the next time. */
static void forget_images(struct plan *p)
{
        struct map dead;
        bool any = false, failed = false;

        map_init(&dead, NULL);
        for (size_t i = 0; !failed && i < p->n.items.n; i++) {
                const struct item *it = &p->n.items.v[i];

                if (!it->dead || it->x.kind != CAS_ITEM_IMAGE)
                        continue;
                any = true;
                failed = map_set(&dead, it->x.id, p) < 0;
        }
        if (any && !failed)
                failed = cas_refs_forget(p->c, &dead, NULL) < 0;
        for (size_t i = 0; failed && i < p->n.items.n; i++)
                if (p->n.items.v[i].dead && p->n.items.v[i].x.kind == CAS_ITEM_IMAGE)
                        revive_item(p, &p->n.items.v[i]);
        map_done(&dead);
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
        r = census_sizes(&p->n, err);
        if (r == 0)
                r = cas_store_lock(p->c, p->o->dry_run ? LOCK_SH : LOCK_EX, &lock, err);
        if (r == 0)
                r = census_take(&p->n, err);
        if (r == 0)
                r = decide(p, err);
        if (r < 0 || p->o->dry_run)
                return r;
        forget_images(p);
        take_out_all(&s);
        fd_close(&lock);
        return empty_bin(&s, p->o, err);
}

int cas_prune(struct cas *c, const struct cas_prune_opts *o, struct cas_prune_result *ret,
              struct bld_err *err)
{
        struct plan p = {.c = c, .o = o};
        int r;

        census_init(&p.n, c, has_ceiling(o));
        p.n.no_mounts = !wants_mounts(o);
        r = run(&p, err);
        if (has_ceiling(o) && p.total > p.target)
                p.res.over_bytes = p.total - p.target;
        if (r == 0)
                *ret = p.res;
        census_done(&p.n);
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
