/* The merged tree of a chain as one tar stream, read from blobs: no snapshot, no privilege. Or only
 * what its upper layers make of the tree of the lower ones, as one layer.
 *
 * Folders and whiteouts come first, in order of their paths; then every layer's files in the order
 * of its own stream, so that each blob is read once from front to back whoever wrote it. Names that
 * share an inode come together: the first carries the data, the others are links to it. */
#include "builder/builder.h"

#include <string.h>

#include "base/err.h"
#include "builder/image/archive_priv.h"
#include "builder/image/move_priv.h"
#include "builder/image/tree_priv.h"

#define FLATTEN_DEPTH_MAX 2100u /* a path of 4096 bytes has no more components */

/* ---- the tree of one chain ---- */

struct flat_file {
        const struct ly_node *n;
        char *path;
        bool kept; /* the lower layers' very own: not written, but links may lead to it */
};
VEC_DEFINE(flat_files, struct flat_file);

struct seen {
        const struct bd_tree_part *part;
        bool is_dir;
};

struct flatten {
        struct map *seen; /* path -> the part it came from; NULL: this part is alone */
        const struct bd_tree_part *part;
        struct bd_tree *tree;
        const struct ly_view *view;
        struct ly_view *below; /* of the layers that stay, or NULL */
        struct ly_writer *w;
        struct flat_files files;
};

static void flatten_done(struct flatten *f)
{
        for (size_t i = 0; i < f->files.n; i++)
                free(f->files.v[i].path);
        flat_files_done(&f->files);
        ly_view_free(f->below);
        bd_tree_free(f->tree);
}

static char *join(const char *dir, const char *name)
{
        char *p = NULL;

        if (asprintf(&p, "%s%s%s", dir, dir[0] ? "/" : "", name) < 0)
                return NULL;
        return p;
}

/* The attributes of a node under another path. */
static struct ly_entry renamed(const struct ly_entry *e, char *path)
{
        struct ly_entry out = {.type = LY_DIR, .mode = 0755};

        if (e)
                out = *e;
        out.path = path;
        return out;
}

static int put_folder(struct flatten *f, const struct ly_node *n, char *path, struct bld_err *err)
{
        struct ly_entry e = renamed(n->t ? &n->t->e : n->e, path);

        return ly_writer_entry(f->w, &e, err);
}

/* Parts that share a root may share folders, the first one's attributes count, and nothing else.
 * 1: it is there already. */
static int note_path(struct flatten *f, const char *path, bool is_dir, struct bld_err *err)
{
        const struct seen *first = f->seen ? map_get(f->seen, path) : NULL;
        struct seen *x;

        if (!f->seen || (first && first->is_dir && is_dir))
                return first != NULL;
        if (first)
                return err_set(err, BLD_E_INVALID,
                               "cannot overwrite /%s of %s with that of %s: platform-split=false "
                               "puts both into one folder",
                               path, first->part->folder, f->part->folder);
        x = mem_zalloc(1, sizeof(*x));
        if (x)
                *x = (struct seen){f->part, is_dir};
        if (x && map_set(f->seen, path, x) == 0)
                return 0;
        free(x);
        return err_nomem(err, "tree of an image");
}

/* A folder that is being walked. One that did not change is written when something in it is. */
struct level {
        struct level *up;
        const struct ly_node *n;   /* in the whole tree */
        const struct ly_node *old; /* in that of the lower layers, or NULL */
        char *path;
        unsigned depth;
        bool written;
};

static int need_folder(struct flatten *f, struct level *l, struct bld_err *err)
{
        int r = 0;

        if (l->written)
                return 0;
        if (l->up)
                r = need_folder(f, l->up, err);
        l->written = true;
        return r == 0 ? put_folder(f, l->n, l->path, err) : r;
}

static int put_whiteout(struct flatten *f, struct level *dir, const char *name, struct bld_err *err)
{
        struct ly_entry e = {.type = LY_WHITEOUT};
        AUTO_FREE char *path = join(dir->path, name);
        int r = path ? need_folder(f, dir, err) : err_nomem(err, "tree of an image");

        e.path = path;
        return r == 0 ? ly_writer_entry(f->w, &e, err) : r;
}

static bool is_folder(const struct ly_node *n)
{
        return !n->e || n->e->type == LY_DIR;
}

/* Both views are made of the same tables: an entry that counts in both is one object. */
static bool unchanged(const struct ly_node *n, const struct ly_node *old)
{
        return old && n->e == old->e && n->t == old->t;
}

static int walk(struct flatten *f, struct level *l, struct bld_err *err);

static int walk_child(struct flatten *f, struct level *dir, const struct ly_node *n,
                      const struct ly_node *old, struct bld_err *err)
{
        const bool is_dir = is_folder(n);
        AUTO_FREE char *path = join(dir->path, n->name);
        struct level l = {.up = dir, .n = n, .path = path, .depth = dir->depth + 1};
        struct flat_file *x;
        int r = path ? note_path(f, path, is_dir, err) : err_nomem(err, "tree of an image");

        if (r < 0)
                return r;
        if (is_dir) {
                l.old = old && is_folder(old) ? old : NULL;
                l.written = r == 1;
                r = unchanged(n, l.old) ? 0 : need_folder(f, &l, err);
                return r == 0 ? walk(f, &l, err) : r;
        }
        x = flat_files_push(&f->files);
        if (!x)
                return err_nomem(err, "tree of an image");
        x->n = n;
        x->path = TAKE_PTR(&path);
        x->kept = unchanged(n, old);
        return x->kept ? 0 : need_folder(f, dir, err);
}

static int walk(struct flatten *f, struct level *l, struct bld_err *err)
{
        size_t n = 0, nold = 0, k = 0;
        const struct ly_node *const *v = ly_view_children(f->view, l->n, &n);
        const struct ly_node *const *old =
                l->old ? ly_view_children(f->below, l->old, &nold) : NULL;
        int r = 0;

        if (l->depth > FLATTEN_DEPTH_MAX)
                return err_set(err, BLD_E_LIMIT, "folders of the image are nested too deep");
        for (size_t i = 0; r == 0 && i < n; i++) {
                while (r == 0 && k < nold && strcmp(old[k]->name, v[i]->name) < 0)
                        r = put_whiteout(f, l, old[k++]->name, err);
                if (r == 0 && k < nold && strcmp(old[k]->name, v[i]->name) == 0)
                        r = walk_child(f, l, v[i], old[k++], err);
                else if (r == 0)
                        r = walk_child(f, l, v[i], NULL, err);
        }
        while (r == 0 && k < nold)
                r = put_whiteout(f, l, old[k++]->name, err);
        return r;
}

/* Stream order within a layer; names of one inode in order of their paths, what is kept first. */
static int by_stream(const void *pa, const void *pb)
{
        const struct flat_file *a = pa, *b = pb;

        if (a->n->layer != b->n->layer)
                return a->n->layer < b->n->layer ? -1 : 1;
        if (a->n->t != b->n->t)
                return a->n->t < b->n->t ? -1 : 1;
        if (a->kept != b->kept)
                return a->kept ? -1 : 1;
        return strcmp(a->path, b->path);
}

static int write_data(void *user, const void *p, size_t n, struct bld_err *err)
{
        return ly_writer_data(user, p, n, err);
}

static int put_file(struct flatten *f, const struct flat_file *x, struct bld_err *err)
{
        struct ly_entry e = renamed(&x->n->t->e, x->path);
        struct ly_sink sink = {.write = write_data, .user = f->w};
        int r = ly_writer_entry(f->w, &e, err);

        if (r == 0 && e.type == LY_FILE && e.size > 0)
                r = bd_tree_read(f->tree, x->n, &sink, err);
        return r;
}

static int put_link(struct flatten *f, const struct flat_file *x, char *to, struct bld_err *err)
{
        struct ly_entry e = renamed(&x->n->t->e, x->path);

        e.type = LY_HARDLINK;
        e.size = 0;
        e.link = to;
        e.xattrs = NULL;
        e.nxattrs = 0;
        return ly_writer_entry(f->w, &e, err);
}

static int put_files(struct flatten *f, struct bld_err *err)
{
        const struct flat_file *first = NULL;

        if (f->files.n)
                qsort(f->files.v, f->files.n, sizeof(*f->files.v), by_stream);
        for (size_t i = 0; i < f->files.n; i++) {
                const struct flat_file *x = &f->files.v[i];
                bool same = first && first->n->layer == x->n->layer && first->n->t == x->n->t;
                int r = 0;

                if (!x->kept)
                        r = same ? put_link(f, x, first->path, err) : put_file(f, x, err);
                if (r < 0)
                        return r;
                if (!same)
                        first = x;
        }
        return 0;
}

/* seen: NULL when no other part goes to the same root. */
static int flatten_one(struct bd_ctx *c, const struct bd_tree_part *part, struct map *seen,
                       struct ly_writer *w, struct bld_err *err)
{
        AUTO(flatten_done) struct flatten f = {.w = w, .part = part, .seen = seen};
        const char *prefix = part->at_root ? "" : part->folder;
        AUTO_FREE char *root = mem_strdup(prefix);
        struct level top = {.path = root, .written = !prefix[0]};
        int r = root ? bd_tree_open(c, &part->layers, &f.tree, err)
                     : err_nomem(err, "tree of an image");

        if (r < 0)
                return r;
        f.view = bd_tree_view(f.tree);
        top.n = ly_view_root(f.view);
        r = need_folder(&f, &top, err);
        if (r == 0)
                r = walk(&f, &top, err);
        if (r == 0)
                r = put_files(&f, err);
        return r;
}

int bd_flatten_parts(struct bd_ctx *c, const struct bd_tree_parts *parts, bool clamp,
                     int64_t clamp_sec, const struct ly_sink *tar, struct bld_err *err)
{
        struct ly_writer_opts wo = {.clamp = clamp, .clamp_sec = clamp_sec};
        AUTO(ly_writer_free_p) struct ly_writer *w = NULL;
        const bool shared = parts->n > 1 && parts->v[0].at_root;
        struct map seen;
        int r = ly_writer_new(tar, &wo, &w, err);

        map_init(&seen, free);
        for (size_t i = 0; r == 0 && i < parts->n; i++)
                r = flatten_one(c, &parts->v[i], shared ? &seen : NULL, w, err);
        map_done(&seen);
        return r == 0 ? ly_writer_end(w, err) : r;
}

/* The view of the layers that stay, made of the tables the whole tree is made of. */
static int view_below(struct flatten *f, size_t from, struct bld_err *err)
{
        AUTO_FREE const struct ly_toc **tocs = mem_zalloc(from, sizeof(*tocs));

        if (!tocs)
                return err_nomem(err, "tree of an image");
        for (size_t i = 0; i < from; i++)
                tocs[i] = bd_tree_toc(f->tree, i);
        return ly_view_new(tocs, from, &f->below, err);
}

int bd_flatten(struct bd_ctx *c, const struct bd_layers *layers, size_t from, bool clamp,
               int64_t clamp_sec, const struct ly_sink *tar, struct bld_err *err)
{
        const struct ly_writer_opts wo = {
                .clamp = clamp, .clamp_sec = clamp_sec, .all_xattrs = true};
        AUTO(ly_writer_free_p) struct ly_writer *w = NULL;
        AUTO(flatten_done) struct flatten f = {.w = NULL};
        char none[] = "";
        struct level top = {.path = none};
        int r = ly_writer_new(tar, &wo, &w, err);

        f.w = w;
        if (r == 0)
                r = bd_tree_open(c, layers, &f.tree, err);
        if (r == 0 && from)
                r = view_below(&f, from, err);
        if (r < 0)
                return r;
        f.view = bd_tree_view(f.tree);
        top.n = ly_view_root(f.view);
        top.old = f.below ? ly_view_root(f.below) : NULL;
        /* a root that no layer speaks of is the unpacker's */
        top.written = !top.n->e;
        r = unchanged(top.n, top.old) ? 0 : need_folder(&f, &top, err);
        if (r == 0)
                r = walk(&f, &top, err);
        if (r == 0)
                r = put_files(&f, err);
        return r == 0 ? ly_writer_end(w, err) : r;
}

/* ---- the platforms of an image ---- */

void bd_tree_parts_free(struct bd_tree_parts *a)
{
        if (!a)
                return;
        for (size_t i = 0; i < a->n; i++)
                bd_layers_free(&a->v[i].layers);
        bd_tree_parts_done(a);
}

static int add_part(struct bd_ctx *c, const struct img_desc *desc,
                    const struct img_platform *platform, struct bd_tree_parts *to,
                    struct bld_err *err)
{
        AUTO(bd_image_done) struct bd_image im = {.source = {.domain = NULL}};
        struct bd_tree_part *p;
        const struct img_platform *have = &im.config.platform;
        int r = bd_image_load(c, desc, platform, &im, err);

        if (r < 0)
                return r;
        p = bd_tree_parts_push(to);
        if (!p)
                return err_nomem(err, "tree of an image");
        (void)snprintf(p->folder, sizeof(p->folder), "%s_%s%s%s", have->os, have->arch,
                       have->variant[0] ? "_" : "", have->variant);
        /* the config is the image's word: it must not choose where on the disk we write */
        for (char *s = p->folder; *s; s++)
                if (*s == '/' || *s == '.')
                        *s = '_';
        return bd_image_layers(&im, &p->layers, err);
}

static int all_parts(struct bd_ctx *c, const struct img_desc *root, struct bd_tree_parts *to,
                     struct bld_err *err)
{
        AUTO(img_index_done) struct img_index ix = {.media_type = NULL};
        AUTO_SB struct sb doc = SB_INIT(IMG_MANIFEST_MAX);
        int r = bd_doc_read(c, root, IMG_MANIFEST_MAX, &doc, err);

        if (r == 0)
                r = img_index_decode(sb_text(&doc), doc.len, root->media_type, &ix, err);
        for (size_t i = 0; r == 0 && i < ix.manifests.n; i++) {
                const struct img_desc *d = &ix.manifests.v[i];

                if (!img_mt_is_manifest(d->media_type) ||
                    img_kvs_get(&d->annotations, "vnd.docker.reference.type"))
                        continue;
                r = add_part(c, d, NULL, to, err);
        }
        return r;
}

int bd_tree_parts_make(struct bd_ctx *c, const struct bd_export *x, struct bd_tree_parts *ret,
                       struct bld_err *err)
{
        int r;

        if (x->platform || !img_mt_is_index(x->desc->media_type))
                r = add_part(c, x->desc, x->platform, ret, err);
        else
                r = all_parts(c, x->desc, ret, err);
        for (size_t i = 0; r == 0 && i < ret->n; i++)
                ret->v[i].at_root = x->merge || (ret->n == 1 && !x->split);
        return r;
}

int bd_emit_tar(struct bd_ctx *c, const struct bd_export *x, struct bld_err *err)
{
        AUTO(bd_tree_parts_free) struct bd_tree_parts parts = {.v = NULL};
        AUTO(bd_dest_done) struct bd_dest dest = {.fd = -1};
        struct ly_sink sink;
        int r = bd_tree_parts_make(c, x, &parts, err);

        if (r == 0)
                r = bd_dest_open(c, x->dest, x->out_fd, &dest, err);
        if (r < 0)
                return r;
        sink = bd_dest_sink(&dest);
        r = bd_flatten_parts(c, &parts, x->clamp, x->clamp_sec, &sink, err);
        return r == 0 ? bd_dest_commit(&dest, err) : r;
}
