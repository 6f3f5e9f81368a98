#include "builder/op/layout_priv.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/map.h"
#include "base/path.h"
#include "base/sys.h"

#define LINK_HOPS_MAX 255

struct layout {
        struct layout_opts o;
        struct map items; /* path -> struct layout_item * */
};

static void item_free(void *p)
{
        struct layout_item *i = p;

        if (!i)
                return;
        free(i->path);
        free(i->link);
        free(i->cap);
        free(i);
}

int layout_new(const struct layout_opts *o, struct layout **ret, struct bld_err *err)
{
        struct layout *l = mem_zalloc(1, sizeof(*l));

        if (!l)
                return err_nomem(err, "layer");
        l->o = *o;
        map_init(&l->items, item_free);
        *ret = l;
        return 0;
}

void layout_free(struct layout *l)
{
        if (!l)
                return;
        map_done(&l->items);
        free(l);
}

void layout_made_as(struct layout *l, unsigned mode, uint32_t uid, uint32_t gid)
{
        l->o.dir_mode = mode;
        l->o.dir_uid = uid;
        l->o.dir_gid = gid;
}

char *layout_join(const char *dir, const char *name)
{
        char *s = NULL;

        if (!*dir || !*name)
                return mem_strdup(*dir ? dir : name);
        return asprintf(&s, "%s/%s", dir, name) < 0 ? NULL : s;
}

size_t layout_count(const struct layout *l)
{
        return l->items.live;
}

int layout_resolve(struct layout *l, const char *path, char **ret, struct bld_err *err)
{
        const struct ly_node *n = NULL;
        AUTO_FREE char *rooted = path_join("/", path);

        if (!rooted)
                return err_nomem(err, "path");
        if (l->o.below)
                return ly_view_resolve(bd_tree_view(l->o.below), rooted + 1, true, &n, ret, err);
        *ret = mem_strdup(rooted + 1);
        return *ret ? 0 : err_nomem(err, "path");
}

static const struct ly_node *node_below(const struct layout *l, const char *path)
{
        return l->o.below ? ly_view_get(bd_tree_view(l->o.below), path) : NULL;
}

/* Is a folder of this path hidden because an ancestor was replaced in this layer? Files never
 * replace folders here, so what is below stays visible. */
int layout_type(const struct layout *l, const char *path, enum ly_type *ret_type)
{
        const struct layout_item *i = map_get(&l->items, path);
        const struct ly_node *n;

        if (i) {
                *ret_type = i->type;
                return 1;
        }
        if (!*path) {
                *ret_type = LY_DIR;
                return 1;
        }
        n = node_below(l, path);
        if (!n)
                return 0;
        *ret_type = n->e ? n->e->type : LY_DIR;
        if (*ret_type == LY_HARDLINK)
                *ret_type = n->t ? n->t->e.type : LY_FILE;
        return 1;
}

/* The target when a link stands at path. */
static const char *link_at(const struct layout *l, const char *path)
{
        const struct layout_item *i = map_get(&l->items, path);
        const struct ly_node *n;

        if (i)
                return i->type == LY_SYMLINK ? i->link : NULL;
        n = node_below(l, path);
        return n && n->t && n->t->e.type == LY_SYMLINK ? n->t->e.link : NULL;
}

/* One component onto the path that is resolved so far; out[0..floor) is the root. */
static void step(struct sb *out, size_t floor, const char *name, size_t len)
{
        if (len == 0 || (len == 1 && name[0] == '.'))
                return;
        if (len == 2 && name[0] == '.' && name[1] == '.') {
                const char *slash = out->len > floor ? strrchr(out->buf, '/') : NULL;
                size_t at = slash ? (size_t)(slash - out->buf) : 0;

                sb_cut(out, MAX(at, floor));
                return;
        }
        if (out->len)
                sb_char(out, '/');
        sb_add(out, name, len);
}

int layout_resolve_in(struct layout *l, const char *root, const char *path, char **ret,
                      struct bld_err *err)
{
        AUTO_SB struct sb out = SB_INIT(65536);
        AUTO_FREE char *rest = mem_strdup(path);
        const char *p = rest;
        int r;

        if (!rest)
                return err_nomem(err, "path");
        sb_str(&out, root);
        for (int hops = 0; *p;) {
                size_t len = strcspn(p, "/"), before = out.len;
                const char *link;
                char *next = NULL;

                step(&out, strlen(root), p, len);
                p += len + (p[len] == '/');
                r = sb_check(&out, "path", err);
                link = r == 0 && out.len > before ? link_at(l, sb_text(&out)) : NULL;
                if (r < 0)
                        return r;
                if (!link)
                        continue;
                if (++hops > LINK_HOPS_MAX)
                        return err_set(err, BLD_E_INVALID, "too many links at \"%s\"", path);
                sb_cut(&out, *link == '/' ? strlen(root) : before);
                if (asprintf(&next, "%s/%s", link, p) < 0)
                        return err_nomem(err, "path");
                free(rest);
                p = rest = next;
        }
        *ret = sb_take(&out);
        return *ret ? 0 : err_nomem(err, "path");
}

static int insert(struct layout *l, const char *path, struct layout_item **ret, struct bld_err *err)
{
        struct layout_item *i = mem_zalloc(1, sizeof(*i));

        if (i) {
                i->path = mem_strdup(path);
                i->spool_fd = -1;
        }
        if (!i || !i->path || map_set(&l->items, path, i) < 0) {
                item_free(i);
                return err_nomem(err, "layer");
        }
        *ret = i;
        return 0;
}

static int cannot_copy_to(const char *path, struct bld_err *err)
{
        return err_set(err, BLD_E_INVALID, "cannot copy to non-directory: /%s", path);
}

int layout_dir(struct layout *l, const char *path, struct layout_item **ret, bool *ret_made,
               struct bld_err *err)
{
        struct layout_item *i = map_get(&l->items, path);
        const struct ly_node *n;
        int r;

        *ret_made = false;
        if (i && i->type != LY_DIR)
                return cannot_copy_to(path, err);
        if (!i) {
                n = *path ? node_below(l, path)
                          : (l->o.below ? ly_view_root(bd_tree_view(l->o.below)) : NULL);
                if (n && n->e && n->e->type != LY_DIR)
                        return cannot_copy_to(path, err);
                if (*path) {
                        AUTO_FREE char *dir = path_dir(path);
                        struct layout_item *up;
                        bool made;

                        if (!dir)
                                return err_nomem(err, "layer");
                        r = layout_dir(l, strcmp(dir, ".") == 0 ? "" : dir, &up, &made, err);
                        if (r < 0)
                                return r;
                }
                r = insert(l, path, &i, err);
                if (r < 0)
                        return r;
                i->type = LY_DIR;
                if (n && n->e) { /* comes along as it is, as in every overlay's upper folder */
                        i->mode = n->e->mode;
                        i->uid = n->e->uid;
                        i->gid = n->e->gid;
                        i->mtime_ns = n->e->mtime_ns;
                } else {
                        i->mode = *path && !n ? l->o.dir_mode : 0755;
                        i->uid = n || !*path ? 0 : l->o.dir_uid;
                        i->gid = n || !*path ? 0 : l->o.dir_gid;
                        i->mtime_ns = l->o.now_ns;
                        *ret_made = !n && *path;
                }
        }
        *ret = i;
        return 0;
}

int layout_item_of_entry(const struct ly_entry *e, struct layout_item *ret, struct bld_err *err)
{
        const struct ly_xattr *cap = ly_entry_capability(e);
        struct layout_item i = {.type = e->type,
                                .mode = e->mode,
                                .uid = e->uid,
                                .gid = e->gid,
                                .mtime_ns = e->mtime_ns,
                                .dev_major = e->dev_major,
                                .dev_minor = e->dev_minor,
                                .spool_fd = -1};

        if (e->type == LY_SYMLINK)
                i.link = mem_strdup(e->link);
        if (cap) {
                i.cap = mem_dup(cap->value, cap->len);
                i.cap_len = cap->len;
        }
        if ((e->type == LY_SYMLINK && !i.link) || (cap && !i.cap)) {
                free(i.link);
                free(i.cap);
                return err_nomem(err, "layer");
        }
        *ret = i;
        return 0;
}

int layout_item_of(struct fs *fs, struct fs_node *n, struct layout_item *ret, struct bld_err *err)
{
        struct layout_item i = {.type = n->type,
                                .mode = n->mode,
                                .uid = n->uid,
                                .gid = n->gid,
                                .mtime_ns = n->mtime_ns,
                                .dev_major = n->dev_major,
                                .dev_minor = n->dev_minor,
                                .spool_fd = -1};
        int r;

        if (n->type == LY_FILE) {
                i.fs = fs;
                i.node = n;
                i.size = n->size;
        }
        r = fs_capability(fs, n, &i.cap, &i.cap_len, err);
        if (r >= 0 && n->type == LY_SYMLINK) {
                i.link = mem_strdup(n->link);
                if (!i.link)
                        r = err_nomem(err, "layer");
        }
        if (r < 0) {
                free(i.cap);
                return r;
        }
        *ret = i;
        return 0;
}

int layout_put(struct layout *l, const char *path, const struct layout_item *item,
               struct bld_err *err)
{
        AUTO_FREE char *dir = path_dir(path);
        struct layout_item *i, *up;
        enum ly_type have = LY_FILE;
        bool made;
        int r = 0;

        if (!dir) {
                r = err_nomem(err, "layer");
        } else if (layout_type(l, path, &have)) {
                if (item->type == LY_DIR && have != LY_DIR)
                        r = cannot_copy_to(path, err);
                else if (item->type != LY_DIR && have == LY_DIR)
                        r = err_set(err, BLD_E_INVALID, "cannot replace to directory /%s with file",
                                    path);
        }
        if (r == 0 && *path)
                r = layout_dir(l, strcmp(dir, ".") == 0 ? "" : dir, &up, &made, err);
        if (r == 0)
                r = insert(l, path, &i, err); /* frees the one it replaces */
        if (r < 0) {
                free(item->link);
                free(item->cap);
                return r;
        }
        char *own_path = i->path;

        *i = *item;
        i->path = own_path;
        return 0;
}

/* Drop what this layer put below a path. */
static void drop_below(struct layout *l, const char *path)
{
        size_t n = strlen(path);

        for (struct map_entry *e = NULL; (e = map_next(&l->items, e));)
                if (e->len > n && memcmp(e->key, path, n) == 0 && e->key[n] == '/')
                        (void)map_del(&l->items, e->key);
}

int layout_replace(struct layout *l, const char *path, const struct layout_item *item,
                   struct bld_err *err)
{
        enum ly_type have = LY_FILE;
        struct layout_item *stub;
        int r = 0;

        /* Something else stands there: hide its type first, then put. An entry of another type
         * over one below needs no whiteout, the replacement removes it. */
        if (layout_type(l, path, &have) && (have == LY_DIR) != (item->type == LY_DIR)) {
                drop_below(l, path);
                r = insert(l, path, &stub, err);
                if (r == 0)
                        stub->type = item->type;
        }
        if (r < 0) {
                free(item->link);
                free(item->cap);
                return r;
        }
        return layout_put(l, path, item, err);
}

/* A file from below into this layer: names of one file cannot be spread over two. */
static int raise(struct layout *l, const char *path, struct bld_err *err)
{
        const struct ly_node *n = node_below(l, path);
        const struct ly_entry *e = n && n->t ? &n->t->e : NULL;
        struct layout_item i;
        int r;

        if (!e || e->type == LY_DIR)
                return 0;
        r = layout_item_of_entry(e, &i, err);
        if (r < 0)
                return r;
        i.size = e->type == LY_FILE ? e->size : 0;
        i.below = n;
        return layout_put(l, path, &i, err);
}

int layout_link(struct layout *l, const char *path, const char *target, struct bld_err *err)
{
        struct layout_item *t = map_get(&l->items, target), i;
        int r = t ? 0 : raise(l, target, err);

        if (r < 0)
                return r;
        t = map_get(&l->items, target);
        if (!t || t->type == LY_DIR)
                return err_set(err, BLD_E_INVALID, "hard link \"%s\" to \"%s\", which is no file",
                               path, target);
        if (!t->link_group)
                t->link_group = hash64(target, strlen(target)) | 1;
        i = *t;
        i.link = t->link ? mem_strdup(t->link) : NULL;
        i.cap = t->cap ? mem_dup(t->cap, t->cap_len) : NULL;
        if ((t->link && !i.link) || (t->cap && !i.cap)) {
                free(i.link);
                free(i.cap);
                return err_nomem(err, "layer");
        }
        return layout_replace(l, path, &i, err);
}

/* ---- writing ---- */

/* '/' sorts before every other byte: a folder's entries follow it directly, sorted by name. */
static int cmp_paths(const char *a, const char *b)
{
        for (;; a++, b++) {
                int x = *a == '/' ? 1 : (unsigned char)*a ? (unsigned char)*a + 1 : 0;
                int y = *b == '/' ? 1 : (unsigned char)*b ? (unsigned char)*b + 1 : 0;

                if (x != y || !x)
                        return x - y;
        }
}

static int cmp_items(const void *a, const void *b)
{
        return cmp_paths((*(struct layout_item *const *)a)->path,
                         (*(struct layout_item *const *)b)->path);
}

static int tar_data(void *user, const void *p, size_t n, struct bld_err *err)
{
        return ly_writer_data(user, p, n, err);
}

static int write_spool(const struct layout_item *i, struct ly_writer *w, struct bld_err *err)
{
        AUTO_FREE char *buf = mem_alloc(1u << 16);
        uint64_t off = i->spool_off, left = i->size;
        int r = buf ? 0 : err_nomem(err, "read buffer");

        while (r == 0 && left > 0) {
                ssize_t k = sys_pread(i->spool_fd, buf, (size_t)MIN(left, (uint64_t)1 << 16),
                                      (int64_t)off);

                if (k <= 0)
                        return err_sys(err, k < 0 ? errno : EIO, "read back %s", i->path);
                off += (uint64_t)k;
                left -= (uint64_t)k;
                r = ly_writer_data(w, buf, (size_t)k, err);
        }
        return r;
}

static int write_item(const struct layout *l, const struct layout_item *i, struct ly_writer *w,
                      struct bld_err *err)
{
        struct ly_xattr cap = {
                .name = mem_strdup("security.capability"), .value = i->cap, .len = i->cap_len};
        struct ly_entry e = {.path = i->path,
                             .type = i->hard_link ? LY_HARDLINK : i->type,
                             .mode = i->mode,
                             .uid = i->uid,
                             .gid = i->gid,
                             .size = i->type == LY_FILE && !i->hard_link ? i->size : 0,
                             .mtime_ns = i->mtime_ns,
                             .link = i->link,
                             .dev_major = i->dev_major,
                             .dev_minor = i->dev_minor,
                             .xattrs = &cap,
                             .nxattrs = i->cap && !i->hard_link};
        AUTO_FREE char *hard = i->hard_link ? mem_strdup(i->hard_link) : NULL;
        int r = cap.name && (hard || !i->hard_link) ? 0 : err_nomem(err, "layer");

        if (hard)
                e.link = hard;
        if (r == 0)
                r = ly_writer_entry(w, &e, err);
        free(cap.name);
        if (r < 0 || i->type != LY_FILE || i->hard_link || i->size == 0)
                return r;
        if (i->node)
                return fs_read(i->fs, i->node, &(struct ly_sink){tar_data, w}, err);
        if (i->below)
                return bd_tree_read(l->o.below, i->below, &(struct ly_sink){tar_data, w}, err);
        if (i->data)
                return ly_writer_data(w, i->data, i->size, err);
        return write_spool(i, w, err);
}

/* The first name of a group, in the order they are written, is the file; the rest are links. */
static int mark_links(struct layout_item **v, size_t n, struct bld_err *err)
{
        struct map groups;
        int r = 0;

        map_init(&groups, NULL);
        for (size_t k = 0; k < n && r == 0; k++) {
                struct layout_item *first;

                if (!v[k]->link_group || v[k]->type != LY_FILE)
                        continue;
                first = map_getn(&groups, &v[k]->link_group, sizeof(v[k]->link_group));
                if (first)
                        v[k]->hard_link = first->path;
                else if (map_setn(&groups, &v[k]->link_group, sizeof(v[k]->link_group), v[k]) < 0)
                        r = err_nomem(err, "layer");
        }
        map_done(&groups);
        return r;
}

int layout_write(struct layout *l, const struct ly_sink *tar, struct bld_err *err)
{
        struct ly_writer_opts wo = {0};
        AUTO(ly_writer_free_p) struct ly_writer *w = NULL;
        AUTO_FREE struct layout_item **v = mem_zalloc(l->items.live, sizeof(*v));
        size_t n = 0;
        int r = v ? ly_writer_new(tar, &wo, &w, err) : err_nomem(err, "layer");

        if (r < 0)
                return r;
        for (struct map_entry *e = NULL; (e = map_next(&l->items, e));) {
                struct layout_item *i = e->value;

                if (*i->path) /* the root itself has no entry */
                        v[n++] = i;
        }
        if (n > 1)
                qsort(v, n, sizeof(*v), cmp_items);
        r = mark_links(v, n, err);
        for (size_t k = 0; k < n && r == 0; k++)
                r = write_item(l, v[k], w, err);
        return r == 0 ? ly_writer_end(w, err) : r;
}
