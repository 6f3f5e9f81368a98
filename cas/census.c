/* Counting what is in the store: blobs, what can be given up alone, and what keeps what. */
#include "cas/census_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/num.h"
#include "base/sys.h"

static void blob_free(void *p)
{
        struct blob *b = p;

        free(b->path);
        blob_ptrs_done(&b->kids);
        free(b);
}

void census_init(struct census *n, struct cas *c, bool recorded)
{
        memset(n, 0, sizeof(*n));
        n->c = c;
        n->recorded = recorded;
        map_init(&n->blobs, blob_free);
        map_init(&n->sizes, free);
        cas_leases_init(&n->leases);
}

void census_done(struct census *n)
{
        map_done(&n->sizes);

        for (size_t i = 0; i < n->items.n; i++) {
                free(n->items.v[i].path);
                blob_ptrs_done(&n->items.v[i].blobs);
        }
        items_done(&n->items);
        map_done(&n->blobs);
        cas_leases_done(&n->leases);
}

/* ---- blobs ---- */

static int add_blob(struct census *n, const char *algo, const char *hex, struct bld_err *err)
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
        if (fstatat(n->c->root_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? 0 : err_sys(err, errno, "look at %s/%s", n->c->root, path);
        b = mem_zalloc(1, sizeof(*b));
        if (!b)
                return err_nomem(err, "collect");
        b->bytes = (uint64_t)st.st_blocks * 512;
        b->mtime_ns = timespec_ns(st.st_mtim);
        b->live = map_get(&n->leases.blobs, name) != NULL;
        b->path = TAKE_PTR(&path);
        n->total += b->bytes;
        if (map_set(&n->blobs, name, b) < 0) {
                blob_free(b);
                return err_nomem(err, "collect");
        }
        return 0;
}

static struct blob *find_blob(struct census *n, const struct digest *d)
{
        char name[DIGEST_STR_MAX];

        digest_format(d, name);
        return map_get(&n->blobs, name);
}

/* For every a/b below top, call add(n, a, b). */
static int each_pair(struct census *n, const char *top,
                     int (*add)(struct census *, const char *, const char *, struct bld_err *),
                     struct bld_err *err)
{
        AUTO_STRV struct strv outer = {NULL, 0, 0};
        int r = cas_names(n->c, top, &outer, err);

        for (size_t i = 0; r == 0 && i < outer.n; i++) {
                AUTO_STRV struct strv inner = {NULL, 0, 0};
                AUTO_FREE char *dir = NULL;

                if (asprintf(&dir, "%s/%s", top, outer.v[i]) < 0) {
                        dir = NULL;
                        return err_nomem(err, "collect");
                }
                r = cas_names(n->c, dir, &inner, err);
                for (size_t k = 0; r == 0 && k < inner.n; k++)
                        r = add(n, outer.v[i], inner.v[k], err);
        }
        return r;
}

/* ---- items ---- */

static struct item *new_item(struct census *n, enum cas_item_kind kind, const char *dir,
                             const char *a, const char *b, struct bld_err *err)
{
        struct item *it = items_push(&n->items);
        int len;

        if (it) {
                len = b ? asprintf(&it->path, "%s/%s/%s", dir, a, b)
                        : asprintf(&it->path, "%s/%s", dir, a);
                if (len >= 0) {
                        it->x.kind = kind;
                        it->x.id = it->path + strlen(dir) + 1;
                        return it;
                }
                it->path = NULL;
                n->items.n--;
        }
        (void)err_nomem(err, "collect");
        return NULL;
}

/* Bytes of a tree on the disk, as far as they could be seen. */
struct size {
        uint64_t bytes;
        bool denied;
};

static int walk(struct census *n, const char *path, struct size *ret, struct bld_err *err)
{
        struct cas_du du;
        int r;

        cas_du_init(&du);
        r = cas_du_add(&du, n->c->root_fd, path, err);
        *ret = (struct size){.bytes = du.bytes, .denied = du.denied};
        cas_du_done(&du);
        return r;
}

/* recorded: stands in when part of it is closed to us. */
static int measure(struct census *n, struct item *it, uint64_t recorded, struct bld_err *err)
{
        const struct size *known = map_get(&n->sizes, it->path);
        struct size size;
        struct stat st;
        int r;

        if (fstatat(n->c->root_fd, it->path, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? 0
                                       : err_sys(err, errno, "look at %s/%s", n->c->root, it->path);
        it->x.last_use_ns = timespec_ns(st.st_mtim);
        r = known ? 0 : walk(n, it->path, &size, err);
        if (known)
                size = *known;
        it->x.bytes = size.denied ? MAX(size.bytes, recorded) : size.bytes;
        return r;
}

static int size_tree(struct census *n, const char *top, const char *view, const char *id,
                     struct bld_err *err)
{
        AUTO_FREE struct size *size = mem_zalloc(1, sizeof(*size));
        AUTO_FREE char *path = NULL;
        int r;

        if (asprintf(&path, "%s/%s/%s", top, view, id) < 0)
                path = NULL;
        if (!path || !size)
                return err_nomem(err, "collect");
        r = walk(n, path, size, err);
        if (r < 0)
                return r;
        if (map_set(&n->sizes, path, size) < 0)
                return err_nomem(err, "collect");
        size = NULL;
        return 0;
}

static int size_snapshot(struct census *n, const char *view, const char *id, struct bld_err *err)
{
        return size_tree(n, "snapshots", view, id, err);
}

static int size_mount(struct census *n, const char *view, const char *id, struct bld_err *err)
{
        return size_tree(n, "mounts", view, id, err);
}

int census_sizes(struct census *n, struct bld_err *err)
{
        int r = n->recorded ? 0 : each_pair(n, "snapshots", size_snapshot, err);

        return r < 0 || n->no_mounts ? r : each_pair(n, "mounts", size_mount, err);
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

struct kids {
        struct census *n;
        struct blob *of;
};

static int add_kid(void *user, const struct img_desc *d, bool present, struct bld_err *err)
{
        struct kids *k = user;
        struct blob *b = find_blob(k->n, &d->digest), **slot;

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
static int look_into(struct census *n, struct blob *b, const struct digest *digest,
                     struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(IMG_MANIFEST_MAX);
        AUTO_FD int fd = sys_openat(n->c->root_fd, b->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0);
        struct kids k = {.n = n, .of = b};
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
        r = cas_reach(n->c, &d, add_kid, &k, NULL);
        free(d.media_type);
        return r == BLD_E_NOMEM ? err_nomem(err, "collect") : 0;
}

static int add_result(struct census *n, const char *kk, const char *key, struct bld_err *err)
{
        AUTO(cas_result_info_done) struct cas_result_info info = {.blobs = NULL};
        struct item *it = new_item(n, CAS_ITEM_RESULT, "results", kk, key, err);
        int r;

        if (!it)
                return BLD_E_NOMEM;
        it->x.id += strlen(kk) + 1;
        r = cas_result_info(n->c, it->path, &info, err);
        if (r < 0)
                return r;
        if (r == 0) {
                it->x.waste = true; /* damaged, or of another version */
                r = measure(n, it, 0, err);
                n->total += it->x.bytes;
                return r;
        }
        it->x.bytes = info.disk_bytes;
        it->x.last_use_ns = info.last_use_ns;
        for (size_t i = 0; i < info.nblobs; i++) {
                struct blob *b = find_blob(n, &info.blobs[i]);

                if (!b)
                        continue;
                r = b->looked_into ? 0 : look_into(n, b, &info.blobs[i], err);
                if (r == 0)
                        r = need_blob(it, b, err);
                for (size_t k = 0; r == 0 && k < b->kids.n; k++)
                        r = need_blob(it, b->kids.v[k], err);
                if (r < 0)
                        return r;
        }
        n->total += it->x.bytes;
        return 0;
}

/* Sizes: what was recorded will do for a ceiling, which is looked at often; a user who asks gets
 * what is on the disk, as far as we may look. */
static int add_snapshot(struct census *n, const char *view, const char *id, struct bld_err *err)
{
        struct item *it = new_item(n, CAS_ITEM_SNAPSHOT, "snapshots", view, id, err);
        struct cas_snapshot_info info = {.trusted = false};
        bool known;
        int r = 0;

        if (!it)
                return BLD_E_NOMEM;
        known = cas_snapshot_info(n->c, view, id, &info) == 1;
        if (known && info.size_bytes && (n->recorded || !map_get(&n->sizes, it->path)))
                it->x.bytes = info.size_bytes; /* or it came after the walk */
        else
                r = measure(n, it, info.size_bytes, err);
        if (known)
                it->x.last_use_ns = info.last_use_ns;
        it->x.waste = !info.trusted;
        it->x.held = map_get(&n->leases.snapshots, it->x.id) != NULL;
        n->total += it->x.bytes;
        return r;
}

/* "<id>.lock" beside a mount's folder is of use as long as that is there. */
static bool locks_mount(struct census *n, const char *view, const char *name)
{
        char path[3 * CAS_NAME_MAX];
        int len = (int)strlen(name) - (int)strlen(".lock");

        (void)snprintf(path, sizeof(path), "mounts/%.*s/%.*s", CAS_NAME_MAX, view,
                       MIN(len, CAS_NAME_MAX), name);
        return faccessat(n->c->root_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static int add_mount(struct census *n, const char *view, const char *id, struct bld_err *err)
{
        bool is_lock = str_has_suffix(id, ".lock");
        struct item *it;
        int r;

        if (is_lock && locks_mount(n, view, id))
                return 0;
        it = new_item(n, is_lock ? CAS_ITEM_WASTE : CAS_ITEM_MOUNT, "mounts", view, id, err);
        if (!it)
                return BLD_E_NOMEM;
        r = measure(n, it, 0, err);
        it->x.waste = is_lock;
        it->x.held = n->leases.live_build; /* it may be mounted there */
        n->total += it->x.bytes;
        return r;
}

static int add_flat(struct census *n, enum cas_item_kind kind, const char *dir, const char *name,
                    struct bld_err *err)
{
        struct item *it = new_item(n, kind, dir, name, NULL, err);
        const char *dash = strchr(name, '-');
        char id[CAS_NAME_MAX + 1], lease[CAS_NAME_MAX + 32];
        int r;

        if (!it)
                return BLD_E_NOMEM;
        r = measure(n, it, 0, err);
        switch (kind) {
        case CAS_ITEM_INDEX:
                /* "toc-<hex>@<boot>": kept with the layer's snapshots */
                (void)snprintf(id, sizeof(id), "%.*s", (int)strcspn(dash ? dash + 1 : name, "@"),
                               dash ? dash + 1 : name);
                it->x.held = map_get(&n->leases.ids, id) != NULL;
                it->x.waste = !cas_index_trusted(n->c, name);
                break;
        case CAS_ITEM_BUILD:
                (void)snprintf(lease, sizeof(lease), "builds/%.128s/lease", name);
                it->x.held = cas_is_held(n->c->root_fd, lease) == 1;
                break;
        case CAS_ITEM_WASTE:
                it->x.waste = true;
                break;
        case CAS_ITEM_RESULT:
        case CAS_ITEM_SNAPSHOT:
        case CAS_ITEM_MOUNT:
        case CAS_ITEM_IMAGE:
                break;
        }
        n->total += it->x.bytes;
        return r;
}

static int add_folder(struct census *n, enum cas_item_kind kind, const char *dir,
                      struct bld_err *err)
{
        AUTO_STRV struct strv names = {NULL, 0, 0};
        int r = cas_names(n->c, dir, &names, err);

        for (size_t i = 0; r == 0 && i < names.n; i++)
                if (strlen(names.v[i]) <= 2 * CAS_NAME_MAX)
                        r = add_flat(n, kind, dir, names.v[i], err);
        return r;
}

/* Damaged blobs, and what nobody sees to (a killed probe's folder), once it is a day old. */
static int add_tmp(struct census *n, struct bld_err *err)
{
        AUTO_STRV struct strv names = {NULL, 0, 0};
        int64_t now = time_now_ns() / 1000000000;
        int r = cas_names(n->c, "tmp", &names, err);

        for (size_t i = 0; r == 0 && i < names.n; i++) {
                struct stat st;

                if (cas_tmp_has_keeper(names.v[i]) || strlen(names.v[i]) > 2 * CAS_NAME_MAX)
                        continue;
                if (!str_has_prefix(names.v[i], "corrupt.") &&
                    (fstatat(n->c->tmp_fd, names.v[i], &st, AT_SYMLINK_NOFOLLOW) < 0 ||
                     st.st_mtim.tv_sec > now - 24 * 3600))
                        continue;
                r = add_flat(n, CAS_ITEM_WASTE, "tmp", names.v[i], err);
        }
        return r;
}

/* ---- images ---- */

static int mark_live(void *user, const struct img_desc *d, bool present, struct bld_err *err)
{
        struct blob *b = find_blob(user, &d->digest);

        (void)err;
        if (b && present)
                b->live = true;
        return 0;
}

struct untagged {
        struct census *n;
        size_t item; /* a number: the vector may move */
};

static int mark_needed(void *user, const struct img_desc *d, bool present, struct bld_err *err)
{
        struct untagged *u = user;
        struct blob *b = find_blob(u->n, &d->digest);

        return b && present ? need_blob(&u->n->items.v[u->item], b, err) : 0;
}

/* The result of a build that nobody named: of use by its digest, until room is needed. */
static int add_untagged(struct census *n, const struct img_desc *d, struct bld_err *err)
{
        struct untagged u = {.n = n, .item = n->items.n};
        char name[DIGEST_STR_MAX];
        struct item *it;

        digest_format(&d->digest, name);
        it = new_item(n, CAS_ITEM_IMAGE, "images", name, NULL, err);
        if (!it)
                return BLD_E_NOMEM;
        it->digest = d->digest;
        it->x.last_use_ns = cas_entry_created(d) * 1000000000;
        it->x.held = map_get(&n->leases.blobs, name) != NULL;
        return cas_reach(n->c, d, mark_needed, &u, err);
}

/* A damaged document keeps nothing, and is no reason not to collect the rest. */
static int mark_refs(struct census *n, struct bld_err *err)
{
        AUTO(img_index_done) struct img_index ix = {.media_type = NULL};
        int r = cas_index_read(n->c, &ix, err);

        for (size_t i = 0; r == 0 && i < ix.manifests.n; i++) {
                const struct img_desc *d = &ix.manifests.v[i];
                struct bld_err why = BLD_ERR_INIT;

                r = cas_entry_is_untagged(d) ? add_untagged(n, d, &why)
                                             : cas_reach(n->c, d, mark_live, n, &why);
                if (r == BLD_E_CORRUPT || r == BLD_E_INVALID || r == BLD_E_LIMIT)
                        r = 0;
                if (r < 0)
                        err_copy(err, &why);
        }
        return r;
}

/* A blob may be listed twice: by a record, and by a manifest that lists. */
static size_t times(const struct item *it, const struct blob *b, size_t upto)
{
        size_t k = 0;

        for (size_t i = 0; i < upto; i++)
                k += it->blobs.v[i] == b;
        return k;
}

static void mark_shared(struct item *it)
{
        for (size_t i = 0; !it->x.shared && i < it->blobs.n; i++) {
                const struct blob *b = it->blobs.v[i];

                it->x.shared = b->live || b->refs > times(it, b, it->blobs.n);
        }
}

int census_take(struct census *n, struct bld_err *err)
{
        int r = cas_leases_load(n->c, &n->leases, err);

        if (r == 0)
                r = each_pair(n, "blobs", add_blob, err);
        if (r == 0)
                r = mark_refs(n, err);
        if (r == 0)
                r = each_pair(n, "results", add_result, err);
        if (r == 0)
                r = each_pair(n, "snapshots", add_snapshot, err);
        if (r == 0 && !n->no_mounts)
                r = each_pair(n, "mounts", add_mount, err);
        if (r == 0)
                r = add_folder(n, CAS_ITEM_INDEX, "index", err);
        if (r == 0)
                r = add_folder(n, CAS_ITEM_BUILD, "builds", err);
        if (r == 0)
                r = add_tmp(n, err);
        for (size_t i = 0; r == 0 && i < n->items.n; i++)
                mark_shared(&n->items.v[i]);
        return r;
}

/* ---- the list for people ---- */

void cas_items_free(struct cas_items *a)
{
        for (size_t i = 0; i < a->n; i++)
                free(a->v[i].id);
        cas_items_done(a);
}

static int list_item(struct cas_items *out, const struct item *it, struct bld_err *err)
{
        struct cas_item *x = cas_items_push(out);

        if (!x)
                return err_nomem(err, "list of the store");
        *x = it->x;
        x->id = mem_strdup(it->x.id);
        if (!x->id) {
                out->n--;
                return err_nomem(err, "list of the store");
        }
        for (size_t i = 0; i < it->blobs.n; i++)
                if (times(it, it->blobs.v[i], i) == 0)
                        x->bytes += it->blobs.v[i]->bytes;
        return 0;
}

int cas_item_list(struct cas *c, struct cas_items *ret, struct bld_err *err)
{
        AUTO(cas_items_free) struct cas_items out = {NULL, 0, 0};
        AUTO(census_done) struct census n;
        AUTO_FD int lock = -1;
        int r;

        census_init(&n, c, false);
        r = census_sizes(&n, err);
        if (r == 0)
                r = cas_store_lock(c, LOCK_SH, &lock, err);
        if (r == 0)
                r = census_take(&n, err);
        for (size_t i = 0; r == 0 && i < n.items.n; i++)
                r = list_item(&out, &n.items.v[i], err);
        if (r < 0)
                return r;
        *ret = out;
        memset(&out, 0, sizeof(out));
        return 0;
}
