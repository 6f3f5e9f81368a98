/* Where the databases of packages are in a tree, and their way to the parsers. */
#include <string.h>

#include "base/err.h"
#include "base/vec.h"
#include "lib/packages_priv.h"

enum kind { KIND_DPKG, KIND_APK, KIND_RPM, KIND_RPM_LOG };

/* A file of a database. */
struct part {
        size_t node;
        enum kind kind;
        const char *path; /* the tree's */
        unsigned char *p; /* its content, while that is needed */
        size_t n, size;
};
VEC_DEFINE(parts, struct part);

struct reading {
        struct bld_tree *t;
        struct parts parts;
        uint64_t bytes; /* of all parts */
        struct pkg_list list;
        struct bld_err err;
};

static void reading_done(struct reading *x)
{
        for (size_t i = 0; i < x->parts.n; i++)
                free(x->parts.v[i].p);
        parts_done(&x->parts);
        pkg_list_done(&x->list);
}

/* ---- what there is ---- */

/* 1 and the node a path leads to, links followed; 0 also where they go round in circles. */
static int find(struct reading *x, const char *path, size_t *ret_i, struct bld_tree_node *ret)
{
        int r = bld_tree_find(x->t, path, true, ret_i, &x->err);

        *ret = (struct bld_tree_node){.size = sizeof(*ret)};
        if (r == BLD_E_INVALID) {
                err_clear(&x->err);
                return 0;
        }
        if (r <= 0 || *ret_i == BLD_NO_NODE)
                return MIN(r, 0);
        r = bld_tree_node(x->t, *ret_i, ret, &x->err);
        return r < 0 ? r : 1;
}

/* 1 added, 0 no file or an empty one. */
static int add_file(struct reading *x, enum kind kind, const char *path)
{
        struct bld_tree_node node;
        struct part *p;
        size_t i;
        int r = find(x, path, &i, &node);

        if (r <= 0 || node.type != BLD_LAYER_FILE || node.file_size == 0)
                return MIN(r, 0);
        if (ADD_OVERFLOWS(x->bytes, node.file_size, &x->bytes) || x->bytes > PKG_BYTES_MAX)
                return err_set(&x->err, BLD_E_LIMIT,
                               "/%.500s: the databases of packages are larger than %llu MiB",
                               node.path, PKG_BYTES_MAX >> 20);
        p = parts_push(&x->parts);
        if (!p)
                return err_nomem(&x->err, "list of databases");
        *p = (struct part){
                .node = i, .kind = kind, .path = node.path, .size = (size_t)node.file_size};
        return 1;
}

/* status, and the files of images that have no dpkg, one of each package */
static int find_dpkg(struct reading *x)
{
        struct bld_tree_node node;
        size_t dir;
        int r = add_file(x, KIND_DPKG, "var/lib/dpkg/status");

        if (r >= 0)
                r = find(x, "var/lib/dpkg/status.d", &dir, &node);
        if (r <= 0 || node.type != BLD_LAYER_DIR)
                return MIN(r, 0);
        for (size_t i = dir + 1; r >= 0 && i < bld_tree_end(x->t, dir); i = bld_tree_end(x->t, i)) {
                r = bld_tree_node(x->t, i, &node, &x->err);
                if (r == 0 && !str_has_suffix(node.path, ".md5sums"))
                        r = add_file(x, KIND_DPKG, node.path);
        }
        return r;
}

static int find_apk(struct reading *x)
{
        int r = add_file(x, KIND_APK, "lib/apk/db/installed");

        return r < 0 ? r : add_file(x, KIND_APK, "usr/lib/apk/db/installed");
}

/* One database, however many there are: the newest place and form rpm has used, which is the one it
 * uses. Others are what a migration left. */
static int find_rpm(struct reading *x)
{
        static const char *const dirs[] = {"usr/lib/sysimage/rpm", "var/lib/rpm", "usr/share/rpm"};
        static const char *const names[] = {"rpmdb.sqlite", "Packages.db", "Packages"};

        for (size_t i = 0; i < ARRAY_LEN(dirs) * ARRAY_LEN(names); i++) {
                const char *name = names[i % ARRAY_LEN(names)];
                char path[64];
                int r, log = 0;

                (void)snprintf(path, sizeof(path), "%s/%s", dirs[i / ARRAY_LEN(names)], name);
                r = add_file(x, KIND_RPM, path);
                if (r > 0 && i % ARRAY_LEN(names) == 0) {
                        (void)snprintf(path, sizeof(path), "%s/%s-wal", dirs[i / ARRAY_LEN(names)],
                                       name);
                        log = add_file(x, KIND_RPM_LOG, path);
                }
                if (r != 0)
                        return MIN(r, log);
        }
        return 0;
}

/* ---- reading ---- */

static int by_node(const void *a, const void *b)
{
        const struct part *x = a, *y = b;

        return (x->node > y->node) - (x->node < y->node);
}

static int by_node_and_kind(const void *a, const void *b)
{
        const struct part *x = a, *y = b;
        int r = by_node(a, b);

        return r ? r : (x->kind > y->kind) - (x->kind < y->kind);
}

/* In order, and each file once, whatever paths lead to it (/lib is often a link to /usr/lib). */
static void sort_parts(struct parts *a)
{
        size_t n = 0;

        if (a->n > 1)
                qsort(a->v, a->n, sizeof(*a->v), by_node_and_kind);
        for (size_t i = 0; i < a->n; i++)
                if (i == 0 || a->v[i].node != a->v[n - 1].node)
                        a->v[n++] = a->v[i];
        a->n = n;
}

/* All of p is there. What rpm needs of two files waits for both. */
static int end_part(struct reading *x, struct part *p)
{
        int r = 0;

        if (p->n != p->size)
                return err_set(&x->err, BLD_E_CORRUPT, "/%.500s changed while it was read",
                               p->path);
        if (p->kind == KIND_DPKG)
                r = pkg_parse_dpkg((const char *)p->p, p->n, &x->list, &x->err);
        else if (p->kind == KIND_APK)
                r = pkg_parse_apk((const char *)p->p, p->n, &x->list, &x->err);
        else
                return 0;
        free(p->p);
        p->p = NULL;
        return err_wrap(&x->err, r, "/%.500s", p->path);
}

static int take(void *user, size_t node, const void *data, size_t n)
{
        struct reading *x = user;
        struct part *p =
                bsearch(&(struct part){.node = node}, x->parts.v, x->parts.n, sizeof(*p), by_node);

        if (!p)
                return 0;
        if (!p->p)
                p->p = mem_alloc(p->size);
        if (!p->p)
                return err_nomem(&x->err, "database of packages");
        if (n == 0)
                return end_part(x, p);
        if (n > p->size - p->n)
                return err_set(&x->err, BLD_E_CORRUPT, "/%.500s changed while it was read",
                               p->path);
        memcpy(p->p + p->n, data, n);
        p->n += n;
        return 0;
}

static int read_parts(struct reading *x, struct bld_err *err)
{
        AUTO_FREE size_t *nodes = mem_alloc(x->parts.n * sizeof(*nodes));
        int r;

        if (!nodes)
                return err_nomem(err, "list of databases");
        sort_parts(&x->parts);
        for (size_t i = 0; i < x->parts.n; i++)
                nodes[i] = x->parts.v[i].node;
        r = bld_tree_read_many(x->t, nodes, x->parts.n, take, x, NULL, err);
        if (r <= 0)
                return r;
        err_copy(err, &x->err); /* of the callback */
        return x->err.code;
}

static int parse_rpm(struct reading *x, struct bld_err *err)
{
        struct part *db = NULL, *log = NULL;
        int r = 0;

        for (size_t i = 0; i < x->parts.n; i++) {
                if (x->parts.v[i].kind == KIND_RPM)
                        db = &x->parts.v[i];
                else if (x->parts.v[i].kind == KIND_RPM_LOG)
                        log = &x->parts.v[i];
        }
        if (!db)
                return 0;
        if (log)
                r = pkg_sqlite_replay(&db->p, &db->n, log->p, log->n, err);
        if (r == 0)
                r = pkg_parse_rpm(db->p, db->n, &x->list, err);
        return err_wrap(err, r, "/%.500s", db->path);
}

int bld_packages_read(struct bld_tree *t, struct bld_packages **ret, struct bld_err *err)
{
        AUTO(reading_done) struct reading x = {.t = t, .err = BLD_ERR_INIT};
        int r = find_dpkg(&x);

        if (r >= 0)
                r = find_apk(&x);
        if (r >= 0)
                r = find_rpm(&x);
        if (r < 0) {
                err_copy(err, &x.err);
                return r;
        }
        r = read_parts(&x, err);
        if (r == 0)
                r = parse_rpm(&x, err);
        return r < 0 ? r : lib_packages_new(&x.list, ret, err);
}
