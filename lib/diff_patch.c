/* The changes between two images as a layer. What is written is B's, in full; folders that are
 * there only because something below them is (unpacking would change their times) stay as in A. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/map.h"
#include "base/sys.h"
#include "bld/diff.h"
#include "lib/layer_priv.h"
#include "lib/opts_priv.h"
#include "lib/tree_priv.h"

#define SPOOL_BUF (128u << 10)

/* An entry to write, for a path that changed. */
struct item {
        const char *path;
        const char *link; /* of a hard link: the path that was written before; else NULL */
        size_t node;      /* of B; BLD_NO_NODE: a whiteout */
        uint64_t size;    /* of a file's content, which has to be read; else 0 */
        uint64_t off;     /* where it is in the spool */
        bool spooled;     /* whole */
};
VEC_DEFINE(items, struct item);

/* A file to read. */
struct wanted {
        size_t node, item;
};

struct patcher {
        struct bld_tree *a, *b;
        struct bld_layer_writer *w;
        struct items items; /* in the order of the layer */
        size_t next;        /* to be written */
        struct sb folder;   /* that was written last: it and those above it are there */
        struct wanted *wanted;
        size_t nwanted;
        /* Contents come in the order of B's layers; those that come too early wait in a file. */
        int spool;
        uint64_t spool_end;
        const struct wanted *now; /* what is being read; NULL: nothing */
        uint64_t now_len;
        int r; /* of the callback */
        struct bld_err *err;
};

static void patcher_done(struct patcher *p)
{
        bld_layer_writer_close(p->w);
        items_done(&p->items);
        sb_done(&p->folder);
        free(p->wanted);
        fd_close(&p->spool);
}

static int get_node(struct bld_tree *t, size_t i, struct bld_tree_node *ret, struct bld_err *err)
{
        *ret = (struct bld_tree_node){.size = sizeof(*ret)};
        return bld_tree_node(t, i, ret, err);
}

/* ---- what to write ---- */

static bool is_below(const char *path, const char *folder)
{
        size_t n = strlen(folder);

        return strncmp(path, folder, n) == 0 && path[n] == '/';
}

static int add_item(struct patcher *p, const char *path, size_t node, struct bld_err *err)
{
        struct item *i = items_push(&p->items);

        if (!i)
                return err_nomem(err, "list of changes");
        *i = (struct item){.path = path, .node = node};
        return 0;
}

static int unsure(const char *path, struct bld_err *err)
{
        return err_set(err, BLD_E_UNSUPPORTED,
                       "no patch can be written: what \"%.500s\" is in layers that both images "
                       "share was not read\ntry: the comparison with shared layers read",
                       path);
}

static int collect(struct patcher *p, const struct bld_diff *d, struct bld_err *err)
{
        const char *gone = NULL; /* with all that was below it */
        int r = 0;

        for (size_t i = 0; !r && i < bld_diff_count(d); i++) {
                const struct bld_change *c = bld_diff_change(d, i);

                if (c->unsure)
                        return unsure(c->path, err);
                if (c->kind == BLD_CHANGE_DELETED && gone && is_below(c->path, gone))
                        continue;
                if (c->kind == BLD_CHANGE_DELETED || c->kind == BLD_CHANGE_TYPE)
                        gone = c->path;
                r = add_item(p, c->path, c->after, err);
        }
        return r;
}

/* The order of a sorted walk, whiteouts first in each folder. */
static int by_order(const void *x, const void *y)
{
        const struct item *a = x, *b = y;
        const char *p = a->path, *q = b->path;
        size_t i = 0, part = 0;
        bool wa, wb;
        unsigned char c, d;

        for (; p[i] && p[i] == q[i]; i++)
                if (p[i] == '/')
                        part = i + 1;
        wa = a->node == BLD_NO_NODE && !strchr(p + part, '/');
        wb = b->node == BLD_NO_NODE && !strchr(q + part, '/');
        if (wa != wb)
                return wa ? -1 : 1;
        c = p[i] == '/' ? 0 : (unsigned char)p[i];
        d = q[i] == '/' ? 0 : (unsigned char)q[i];
        /* one ends where the other goes on: a folder and what is in it */
        if (c == d)
                return (p[i] != 0) - (q[i] != 0);
        return c < d ? -1 : 1;
}

/* A file with several names is written under the first of them that is written at all. */
static int find_link(struct map *firsts, struct item *i, const struct bld_tree_node *n,
                     struct bld_err *err)
{
        const char *name = n->first_name ? n->first_name : n->path;
        union {
                const char *c;
                void *m;
        } u = {.c = i->path};

        i->link = map_get(firsts, name);
        return !i->link && map_set(firsts, name, u.m) < 0 ? err_nomem(err, "list of hard links")
                                                          : 0;
}

static int find_content(struct patcher *p, struct map *firsts, struct bld_err *err)
{
        for (size_t i = 0; i < p->items.n; i++) {
                struct item *it = &p->items.v[i];
                struct bld_tree_node n;
                int r;

                if (it->node == BLD_NO_NODE)
                        continue;
                r = get_node(p->b, it->node, &n, err);
                if (!r && n.type != BLD_LAYER_DIR)
                        r = find_link(firsts, it, &n, err);
                if (r < 0)
                        return r;
                if (n.type != BLD_LAYER_FILE || it->link || !n.file_size)
                        continue;
                it->size = n.file_size;
                p->wanted[p->nwanted++] = (struct wanted){.node = it->node, .item = i};
        }
        return 0;
}

static int by_node(const void *x, const void *y)
{
        const struct wanted *a = x, *b = y;

        return (a->node > b->node) - (a->node < b->node);
}

static int prepare(struct patcher *p, const struct bld_diff *d, struct bld_err *err)
{
        AUTO(map_done) struct map firsts;
        int r = collect(p, d, err);

        map_init(&firsts, NULL);
        if (r < 0)
                return r;
        if (p->items.n)
                qsort(p->items.v, p->items.n, sizeof(*p->items.v), by_order);
        p->wanted = mem_zalloc(MAX(p->items.n, 1), sizeof(*p->wanted));
        if (!p->wanted)
                return err_nomem(err, "list of files");
        r = find_content(p, &firsts, err);
        if (!r && p->nwanted)
                qsort(p->wanted, p->nwanted, sizeof(*p->wanted), by_node);
        return r;
}

/* ---- entries ---- */

static int put_node(struct patcher *p, struct bld_tree *t, size_t node,
                    const struct bld_tree_node *n, const char *link, struct bld_err *err)
{
        AUTO_FREE struct bld_layer_xattr *x = NULL;
        struct bld_layer_entry e = {.size = sizeof(e),
                                    .path = n->path,
                                    .type = link ? BLD_LAYER_HARDLINK : n->type,
                                    .mode = n->mode,
                                    .uid = n->uid,
                                    .gid = n->gid,
                                    .file_size = link ? 0 : n->file_size,
                                    .mtime_ns = n->mtime_ns,
                                    .link = link ? link : n->link,
                                    .nxattrs = link ? 0 : n->nxattrs};
        int r = 0;

        if (e.type == BLD_LAYER_CHAR || e.type == BLD_LAYER_BLOCK) {
                e.dev_major = n->dev_major;
                e.dev_minor = n->dev_minor;
        }
        x = mem_zalloc(MAX(e.nxattrs, 1), sizeof(*x));
        if (!x)
                return err_nomem(err, "extended attributes");
        for (size_t k = 0; !r && k < e.nxattrs; k++)
                r = bld_tree_xattr(t, node, k, &x[k].name, &x[k].value, &x[k].len, err);
        return r < 0 ? r : bld_layer_writer_entry(p->w, &e, x, err);
}

/* Is the folder already there? */
static bool is_written(const struct patcher *p, const char *path, size_t n)
{
        const char *at = sb_text(&p->folder);

        return p->folder.len >= n && !memcmp(at, path, n) && (!at[n] || at[n] == '/');
}

static int set_folder(struct patcher *p, const char *path, size_t n, struct bld_err *err)
{
        sb_reset(&p->folder);
        sb_add(&p->folder, path, n);
        return sb_check(&p->folder, "path", err);
}

/* 1 t has a folder there. */
static int find_folder(struct bld_tree *t, const char *path, size_t *ret, struct bld_tree_node *n,
                       struct bld_err *err)
{
        int r = bld_tree_find(t, path, false, ret, err);

        if (r == 1)
                r = get_node(t, *ret, n, err);
        else if (!r)
                return 0;
        return r < 0 ? r : n->type == BLD_LAYER_DIR;
}

/* A folder that did not change, or was left out, and holds what did. */
static int put_parent(struct patcher *p, const char *path, struct bld_err *err)
{
        struct bld_tree_node n;
        size_t i;
        int has = find_folder(p->a, path, &i, &n, err);

        if (has == 1 && !n.implied)
                return put_node(p, p->a, i, &n, NULL, err);
        /* No layer names it: a made-up entry would be worse than none. But it may be that the
         * layers that do were not read. */
        if (has == 1)
                return p->a->below || p->b->below ? unsure(path, err) : 0;
        if (!has)
                has = find_folder(p->b, path, &i, &n, err);
        if (!has)
                return err_set(err, BLD_E_BUG, "\"%.500s\" is in no tree", path);
        return has < 0 ? has : put_node(p, p->b, i, &n, NULL, err);
}

static int put_parents(struct patcher *p, const char *path, struct bld_err *err)
{
        AUTO_FREE char *part = NULL;

        for (const char *s = strchr(path, '/'); s; s = strchr(s + 1, '/')) {
                size_t n = (size_t)(s - path);
                int r;

                if (is_written(p, path, n))
                        continue;
                free(part);
                part = mem_strndup(path, n);
                if (!part)
                        return err_nomem(err, "path");
                r = put_parent(p, part, err);
                if (!r)
                        r = set_folder(p, path, n, err);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int put_item(struct patcher *p, const struct item *i, struct bld_err *err)
{
        const struct bld_layer_entry gone = {
                .size = sizeof(gone), .path = i->path, .type = BLD_LAYER_WHITEOUT};
        struct bld_tree_node n;
        int r = put_parents(p, i->path, err);

        if (r < 0)
                return r;
        if (i->node == BLD_NO_NODE)
                return bld_layer_writer_entry(p->w, &gone, NULL, err);
        r = get_node(p->b, i->node, &n, err);
        if (!r)
                r = put_node(p, p->b, i->node, &n, i->link, err);
        return !r && n.type == BLD_LAYER_DIR ? set_folder(p, i->path, strlen(i->path), err) : r;
}

/* ---- contents ---- */

static int spool_open(struct patcher *p, struct bld_err *err)
{
        if (p->spool >= 0)
                return 0;
        p->spool = lib_unlinked_file();
        return p->spool < 0 ? err_sys(err, errno, "make a temporary file") : 0;
}

static int spool_add(struct patcher *p, const void *buf, size_t n, struct bld_err *err)
{
        const char *at = buf;
        int r = spool_open(p, err);

        while (!r && n) {
                ssize_t k = pwrite(p->spool, at, n, (off_t)p->spool_end);

                if (k < 0 && errno == EINTR)
                        continue;
                if (k < 0)
                        return err_sys(err, errno, "write a temporary file");
                at += k;
                n -= (size_t)k;
                p->spool_end += (uint64_t)k;
        }
        return r;
}

static int spool_read(struct patcher *p, const struct item *i, struct bld_err *err)
{
        AUTO_FREE char *buf = mem_alloc(SPOOL_BUF);
        uint64_t left = i->size;
        int r = buf ? 0 : err_nomem(err, "copy buffer");

        while (!r && left) {
                ssize_t n = sys_pread(p->spool, buf, (size_t)MIN(left, (uint64_t)SPOOL_BUF),
                                      (int64_t)(i->off + i->size - left));

                if (n < 0)
                        return err_sys(err, errno, "read a temporary file");
                if (!n)
                        return err_set(err, BLD_E_SYS, "a temporary file became shorter");
                r = bld_layer_writer_data(p->w, buf, (size_t)n, err);
                left -= (uint64_t)n;
        }
        return r;
}

/* All whose content is there, or that have none. */
static int put_ready(struct patcher *p, struct bld_err *err)
{
        int r = 0;

        for (; !r && p->next < p->items.n; p->next++) {
                const struct item *i = &p->items.v[p->next];

                if (i->size && !i->spooled)
                        return 0;
                r = put_item(p, i, err);
                if (!r && i->size)
                        r = spool_read(p, i, err);
        }
        return r;
}

static int begin_file(struct patcher *p, size_t node, struct bld_err *err)
{
        const struct wanted key = {.node = node};
        struct item *i;

        p->now = bsearch(&key, p->wanted, p->nwanted, sizeof(key), by_node);
        p->now_len = 0;
        if (!p->now)
                return err_set(err, BLD_E_BUG, "content of a file nobody asked for");
        i = &p->items.v[p->now->item];
        i->off = p->spool_end;
        return p->now->item == p->next ? put_item(p, i, err) : 0;
}

static int end_file(struct patcher *p, struct bld_err *err)
{
        struct item *i = &p->items.v[p->now->item];

        if (p->now_len != i->size)
                return err_set(err, BLD_E_CORRUPT, "\"%.500s\" has %llu bytes, not %llu", i->path,
                               (unsigned long long)p->now_len, (unsigned long long)i->size);
        if (p->now->item == p->next)
                p->next++;
        else
                i->spooled = true;
        p->now = NULL;
        return put_ready(p, err);
}

static int take(struct patcher *p, size_t node, const void *buf, size_t n, struct bld_err *err)
{
        int r = p->now ? 0 : begin_file(p, node, err);

        if (r < 0)
                return r;
        if (!n)
                return end_file(p, err);
        p->now_len += n;
        return p->now->item == p->next ? bld_layer_writer_data(p->w, buf, n, err)
                                       : spool_add(p, buf, n, err);
}

static int take_some(void *user, size_t node, const void *buf, size_t n)
{
        struct patcher *p = user;

        p->r = take(p, node, buf, n, p->err);
        return p->r;
}

static int put_all(struct patcher *p, const struct bld_watch *watch, struct bld_err *err)
{
        AUTO_FREE size_t *nodes = mem_zalloc(MAX(p->nwanted, 1), sizeof(*nodes));
        int r = nodes ? put_ready(p, err) : err_nomem(err, "list of files");

        if (r < 0)
                return r;
        for (size_t i = 0; i < p->nwanted; i++)
                nodes[i] = p->wanted[i].node;
        r = bld_tree_read_many(p->b, nodes, p->nwanted, take_some, p, watch, err);
        if (r)
                return r == 1 ? p->r : r;
        return p->next < p->items.n ? err_set(err, BLD_E_BUG, "content of \"%.500s\" did not come",
                                              p->items.v[p->next].path)
                                    : 0;
}

int bld_diff_patch(struct bld_diff *d, const struct bld_output *out,
                   const struct bld_layer_create_opts *o, struct bld_layer_created *ret,
                   struct bld_err *err)
{
        AUTO(patcher_done)
        struct patcher p = {.a = bld_diff_tree_a(d),
                            .b = bld_diff_tree_b(d),
                            .folder = SB_INIT(SIZE_MAX / 4),
                            .spool = -1,
                            .err = err};
        struct bld_layer_create_opts own;
        int r = lib_opts_copy(&own, sizeof(own), o, "bld_diff_patch", err);

        if (!r)
                r = lib_ret_check(ret, "bld_diff_patch", err);
        if (!r)
                r = prepare(&p, d, err);
        if (r < 0)
                return r;
        own.size = sizeof(own);
        own.all_xattrs = true;
        r = bld_layer_writer_open(out, &own, &p.w, err);
        if (!r)
                r = put_all(&p, own.watch, err);
        return r < 0 ? r : bld_layer_writer_end(p.w, ret, err);
}
