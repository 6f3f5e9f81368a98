/* COPY and ADD: from a context, a stage or an image into a layer, on the level of entries and
 * bytes: no snapshot, no mount, no sandbox. */
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/num.h"
#include "builder/op/layout_priv.h"
#include "builder/op/op_priv.h"

#define COPY_DEPTH_MAX 250

/* A folder that is not copied for itself: it was excluded, or is only on the way (--parents). */
struct up {
        struct fs_node *node;
        char *path;
        bool put;
};
VEC_DEFINE(ups, struct up);

struct copy {
        struct build *b;
        struct vertex *v;
        const struct vx_copy *c;
        struct layout *l;
        struct fs *fs;    /* the source tree at hand */
        struct fs **gits; /* trees of repositories, until the layer is written; one per input */
        struct ignore *excludes;
        bool has_owner, has_mode;
        uint32_t uid, gid;
        unsigned dir_mode; /* of folders made on the way */
        struct chmod_spec mode;
        char *dest;    /* resolved, relative */
        bool dest_dir; /* written with a trailing slash */
        size_t group;  /* of the pick at hand: hard links never cross groups */
        struct ups up; /* folders above what is at hand that come along with it */
        int *blob_fds; /* downloads, until the layer is written */
        size_t nblob_fds;
        struct spool spool; /* bytes of unpacked archives */
};

/* ---- content digest ---- */

static int select_all(const struct vx_copy *c, struct fs *f, struct fs_picks *out,
                      struct bld_err *err)
{
        int r = 0;

        for (size_t i = 0; i < c->nsrc && r == 0; i++)
                if (c->src[i].kind == COPY_PATH)
                        r = fs_select(f, c->src[i].path, i, c->parents, out, err);
        return r;
}

int op_copy_content(struct vertex *v, size_t input, struct fs *f, struct digest *ret,
                    struct bld_err *err)
{
        AUTO(ignore_free_p) struct ignore *excludes = NULL;
        struct fs_picks picks = {0};
        int r = 0;

        if (v->u.copy.excludes.n)
                r = ignore_from_patterns(&v->u.copy.excludes, &excludes, err);
        if (r == 0 && input == 1)
                r = select_all(&v->u.copy, f, &picks, err);
        else if (r == 0) /* a repository: all of it */
                r = fs_select(f, ".", input, false, &picks, err);
        if (r == 0)
                r = fs_picks_digest(f, &picks, excludes, ret, err);
        fs_picks_free(&picks);
        return r;
}

/* ---- one entry ---- */

static void own(const struct copy *k, struct layout_item *i)
{
        if (k->has_owner) {
                i->uid = k->uid;
                i->gid = k->gid;
        }
        if (k->has_mode && i->type != LY_SYMLINK)
                i->mode = chmod_apply(&k->mode, i->mode, i->type == LY_DIR);
}

static int put_node(struct copy *k, struct fs_node *n, const char *path, struct bld_err *err)
{
        struct layout_item i;
        int r = layout_item_of(k->fs, n, &i, err);

        if (r < 0)
                return r;
        if (n->type == LY_FILE && n->nlink > 1 && n->inode) {
                const uint64_t id[] = {n->device, n->inode, k->group + 1};

                i.link_group = hash64(id, sizeof(id)) | 1;
        }
        own(k, &i);
        return layout_put(k->l, path, &i, err);
}

static int push_up(struct copy *k, struct fs_node *n, const char *path, struct bld_err *err)
{
        struct up *u = ups_push(&k->up);

        if (u)
                *u = (struct up){.node = n, .path = mem_strdup(path)};
        return u && u->path ? 0 : err_nomem(err, "layer");
}

static void cut_ups(struct copy *k, size_t n)
{
        while (k->up.n > n)
                free(k->up.v[--k->up.n].path);
}

/* An entry, after the folders it brings along: with the attributes they have in the source. */
static int put_with_ups(struct copy *k, struct fs_node *n, const char *path, struct bld_err *err)
{
        int r = 0;

        for (size_t i = 0; i < k->up.n && r == 0; i++) {
                struct up *u = &k->up.v[i];

                if (!u->put)
                        r = put_node(k, u->node, u->path, err);
                u->put = true;
        }
        return r == 0 ? put_node(k, n, path, err) : r;
}

static bool is_excluded(const struct copy *k, const char *rel)
{
        return k->excludes && ignore_match(k->excludes, rel, NULL);
}

static int put_below(struct copy *k, struct fs_node *dir, const char *dest, struct sb *rel,
                     int depth, struct bld_err *err);

/* An entry and what is below it. Of an excluded folder an exception may bring something back. */
static int put_tree(struct copy *k, struct fs_node *n, const char *path, struct sb *rel, int depth,
                    struct bld_err *err)
{
        const size_t above = k->up.n;
        const bool out = is_excluded(k, sb_text(rel));
        int r = 0;

        if (out && (n->type != LY_DIR || !ignore_may_include_below(k->excludes, sb_text(rel))))
                return 0;
        r = out ? push_up(k, n, path, err) : put_with_ups(k, n, path, err);
        if (r == 0 && n->type == LY_DIR)
                r = put_below(k, n, path, rel, depth + 1, err);
        cut_ups(k, above);
        return r;
}

/* Everything below a folder that is not excluded. rel: the folder's path as the excludes see it. */
static int put_below(struct copy *k, struct fs_node *dir, const char *dest, struct sb *rel,
                     int depth, struct bld_err *err)
{
        int r;

        if (depth > COPY_DEPTH_MAX)
                return err_set(err, BLD_E_LIMIT, "folders nested deeper than %d", COPY_DEPTH_MAX);
        r = fs_children(k->fs, dir, err);
        for (size_t i = 0; i < dir->nchildren && r == 0; i++) {
                struct fs_node *n = dir->children[i];
                AUTO_FREE char *path = layout_join(dest, n->name);
                size_t base = rel->len;

                if (!path)
                        return err_nomem(err, "layer");
                if (base)
                        sb_char(rel, '/');
                sb_str(rel, n->name);
                r = sb_check(rel, "path", err);
                if (r == 0)
                        r = put_tree(k, n, path, rel, depth, err);
                sb_cut(rel, base);
        }
        return r;
}

/* The top folder of a copy keeps its own mode and owner if it was there; its times are the
 * source's either way. */
static int put_top(struct copy *k, const struct fs_node *from, const char *path,
                   struct bld_err *err)
{
        struct layout_item *top = NULL;
        bool made = false;
        int r = layout_dir(k->l, path, &top, &made, err);

        if (r < 0)
                return r;
        if (made) {
                top->mode = k->has_mode && k->mode.octal ? k->mode.mode & 0777 : 0755;
                top->uid = k->has_owner ? k->uid : 0;
                top->gid = k->has_owner ? k->gid : 0;
        }
        top->mtime_ns = from->mtime_ns;
        return 0;
}

static bool is_dir_now(const struct copy *k, const char *path)
{
        enum ly_type t = LY_FILE;

        return layout_type(k->l, path, &t) && t == LY_DIR;
}

/* Where a file of that name goes. */
static char *landing(const struct copy *k, const char *name)
{
        return k->dest_dir || is_dir_now(k, k->dest) ? layout_join(k->dest, name)
                                                     : mem_strdup(k->dest);
}

/* ---- ADD of archives ---- */

static int unpack_here(struct copy *k, int fd, struct bld_err *err)
{
        const struct unpack_opts o = {.dest = k->dest,
                                      .has_owner = k->has_owner,
                                      .uid = k->uid,
                                      .gid = k->gid,
                                      .cancel = &k->b->cancel,
                                      .tmp_fd = cas_root_fd(k->b->c->cas)};
        int r = unpack_archive(k->l, fd, &o, &k->spool, err);

        layout_made_as(k->l, k->dir_mode, k->uid, k->gid);
        return r;
}

/* 1 when the pick was an archive and has been unpacked. */
static int try_unpack(struct copy *k, struct fs_node *n, struct bld_err *err)
{
        AUTO_FD int fd = -1;
        int r;

        if (!k->c->is_add || (k->c->unpack_set && !k->c->unpack) || n->type != LY_FILE ||
            n->size == 0 || !fs_is_local(k->fs))
                return 0;
        r = fs_open_file(k->fs, n, &fd, err);
        if (r == 0)
                r = ly_archive_sniff(fd, err);
        if (r <= 0)
                return r;
        r = unpack_here(k, fd, err);
        return r < 0 ? err_wrap(err, r, "unpack \"%s\"", n->name) : 1;
}

/* ---- picks and sources ---- */

static bool is_below(const char *path, const char *dir)
{
        size_t n = strlen(dir);

        return !n || (strncmp(path, dir, n) == 0 && path[n] == '/');
}

/* --parents: the name below DEST is the one below the source's root, which excludes look at.
 * Folders on the way come before what they lead to. */
static int copy_parents(struct copy *k, const struct fs_pick *p, struct bld_err *err)
{
        AUTO_SB struct sb rel = SB_INIT(65536);
        AUTO_FREE char *path = layout_join(k->dest, p->name);
        size_t n = 0;
        int r;

        if (!path)
                return err_nomem(err, "layer");
        while (n < k->up.n && is_below(path, k->up.v[n].path))
                n++;
        cut_ups(k, n);
        if (p->parent)
                return push_up(k, p->node, path, err);
        sb_str(&rel, p->name);
        r = sb_check(&rel, "path", err);
        return r == 0 ? put_tree(k, p->node, path, &rel, 0, err) : r;
}

static int copy_pick(struct copy *k, const struct fs_pick *p, struct bld_err *err)
{
        AUTO_SB struct sb rel = SB_INIT(65536);
        AUTO_FREE char *path = NULL;
        int r;

        if (p->matched && !p->by_name && p->node->type != LY_DIR && is_excluded(k, p->name))
                return 0;
        r = try_unpack(k, p->node, err);
        if (r != 0)
                return r < 0 ? r : 0;
        if (p->by_name)
                return copy_parents(k, p, err);
        if (p->node->type == LY_DIR) {
                r = put_top(k, p->node, k->dest, err);
                return r == 0 ? put_below(k, p->node, k->dest, &rel, 0, err) : r;
        }
        path = landing(k, p->name);
        return path ? put_node(k, p->node, path, err) : err_nomem(err, "layer");
}

static int copy_inline(struct copy *k, const struct copy_source *s, struct bld_err *err)
{
        AUTO_FREE char *path = landing(k, s->path);
        struct layout_item i = {.type = LY_FILE,
                                .mode = 0644,
                                .mtime_ns = time_now_ns(),
                                .data = s->data,
                                .size = s->len,
                                .spool_fd = -1};

        if (!path)
                return err_nomem(err, "layer");
        own(k, &i);
        return layout_put(k->l, path, &i, err);
}

/* A downloaded file: not an archive unless --unpack says so. */
static int copy_blob(struct copy *k, const struct copy_source *s, struct bld_err *err)
{
        struct layout_item i = {.type = LY_FILE,
                                .mode = 0600,
                                .mtime_ns = time_ns(s->mtime_sec, 0),
                                .size = s->len,
                                .spool_fd = -1};
        AUTO_FREE char *path = NULL;
        int *fds, fd = -1, r = cas_blob_open(k->b->c->cas, &s->blob, &fd, err);

        if (r < 0)
                return r;
        fds = mem_realloc(k->blob_fds, (k->nblob_fds + 1) * sizeof(*fds));
        if (!fds) {
                fd_close(&fd);
                return err_nomem(err, "layer");
        }
        k->blob_fds = fds;
        k->blob_fds[k->nblob_fds++] = fd; /* read when the layer is written */
        if (k->c->unpack_set && k->c->unpack && s->len) {
                r = ly_archive_sniff(fd, err);
                if (r != 0)
                        return r < 0 ? r : unpack_here(k, fd, err);
        }
        path = landing(k, s->path);
        if (!path)
                return err_nomem(err, "layer");
        i.spool_fd = fd;
        own(k, &i);
        return layout_put(k->l, path, &i, err);
}

/* All files of a repository. Its root has no entry of its own; all that is in it is of one time. */
static int copy_git(struct copy *k, const struct copy_source *s, struct bld_err *err)
{
        AUTO_SB struct sb rel = SB_INIT(65536);
        struct fs *before = k->fs;
        struct fs_node *root;
        int r = fs_open_layers(k->b->c, &k->v->inputs[s->input]->result.layers, &k->gits[s->input],
                               err);

        if (r < 0)
                return r;
        k->fs = k->gits[s->input];
        root = fs_root(k->fs);
        r = fs_children(k->fs, root, err);
        if (r == 0 && root->nchildren)
                root->mtime_ns = root->children[0]->mtime_ns;
        if (r == 0)
                r = put_top(k, root, k->dest, err);
        if (r == 0)
                r = put_below(k, root, k->dest, &rel, 0, err);
        k->fs = before;
        return r;
}

/* at: the first pick that is not of an earlier source. */
static int copy_source(struct copy *k, size_t i, const struct fs_picks *picks, size_t *at,
                       struct bld_err *err)
{
        const struct copy_source *s = &k->c->src[i];
        int r = 0;

        switch (s->kind) {
        case COPY_PATH:
                for (; *at < picks->n && picks->v[*at].src == i && r == 0; ++*at) {
                        k->group = picks->v[*at].group;
                        r = cancel_check(&k->b->cancel, err);
                        if (r == 0)
                                r = copy_pick(k, &picks->v[*at], err);
                }
                cut_ups(k, 0);
                return r;
        case COPY_BLOB:
                return copy_blob(k, s, err);
        case COPY_GIT:
                return copy_git(k, s, err);
        case COPY_INLINE: /* after all others */
                break;
        }
        return 0;
}

static int copy_sources(struct copy *k, struct bld_err *err)
{
        struct fs_picks picks = {0};
        struct layout_item *top;
        size_t at = 0;
        bool made;
        int r = 0;

        if (k->fs)
                r = select_all(k->c, k->fs, &picks, err);
        if (r == 0 && k->c->parents)
                r = layout_dir(k->l, k->dest, &top, &made, err);
        for (size_t i = 0; i < k->c->nsrc && r == 0; i++)
                r = copy_source(k, i, &picks, &at, err);
        for (size_t i = 0; i < k->c->nsrc && r == 0; i++)
                if (k->c->src[i].kind == COPY_INLINE)
                        r = copy_inline(k, &k->c->src[i], err);
        fs_picks_free(&picks);
        return r;
}

/* ---- the op ---- */

static int prepare(struct copy *k, struct bd_tree *below, struct bld_err *err)
{
        struct layout_opts lo = {.below = below, .now_ns = time_now_ns(), .dir_mode = 0755};
        size_t n = strlen(k->c->dest);
        int r = 0;

        if (k->c->chown) {
                r = owner_parse(below, k->c->chown, &k->uid, &k->gid, err);
                k->has_owner = true;
        }
        if (r == 0 && k->c->chmod) {
                r = chmod_parse(k->c->chmod, &k->mode, err);
                k->has_mode = true;
        }
        if (r == 0 && k->c->excludes.n)
                r = ignore_from_patterns(&k->c->excludes, &k->excludes, err);
        if (r < 0)
                return r;
        lo.dir_uid = k->uid;
        lo.dir_gid = k->gid;
        if (k->has_mode && k->mode.octal)
                lo.dir_mode = k->mode.mode & 0777;
        k->dest_dir = n > 0 && (k->c->dest[n - 1] == '/' ||
                                (n > 1 && k->c->dest[n - 1] == '.' && k->c->dest[n - 2] == '/'));
        k->dir_mode = lo.dir_mode;
        r = layout_new(&lo, &k->l, err);
        return r == 0 ? layout_resolve(k->l, k->c->dest, &k->dest, err) : r;
}

static int run_copy(struct copy *k, struct bd_tree *below, struct bld_err *err)
{
        AUTO(layer_out_free_p) struct layer_out *out = NULL;
        struct ly_sink tar;
        int r = prepare(k, below, err);

        if (r == 0)
                r = copy_sources(k, err);
        if (r == 0)
                r = layer_out_new(k->b, false, &out, err);
        if (r < 0)
                return r;
        tar = layer_out_tar(out);
        r = layout_write(k->l, &tar, err);
        return r == 0 ? layer_out_end(k->b, out, k->v, err) : r;
}

/* Each op opens the context anew: trees load lazily and belong to one thread. */
int op_open_input(struct build *b, const struct vertex *in, struct fs **ret, struct bld_err *err)
{
        static const struct bd_layers nothing = {.v = NULL};

        if (in && in->kind == VX_LOCAL)
                return build_open_local(b, in, ret, err);
        return fs_open_layers(b->c, in ? &in->result.layers : &nothing, ret, err);
}

int op_copy(struct build *b, struct vertex *v, struct bld_err *err)
{
        AUTO(bd_tree_free_p) struct bd_tree *below = NULL;
        struct fs *source = NULL;
        struct copy k = {.b = b, .v = v, .c = &v->u.copy, .spool = {.fd = -1}};
        int r = 0;

        k.gits = mem_zalloc(v->ninputs, sizeof(struct fs *));
        if (!k.gits)
                r = err_nomem(err, "layer");
        if (r == 0 && !v->u.copy.link && v->inputs[0])
                r = bd_tree_open(b->c, &v->inputs[0]->result.layers, &below, err);
        if (r == 0 && v->ninputs > 1) /* else: heredocs only */
                r = op_open_input(b, v->inputs[1], &source, err);
        k.fs = source;
        if (r == 0)
                r = run_copy(&k, below, err);
        layout_free(k.l);
        v->unrepeatable = r == 0 && source && fs_changed(source);
        fs_free(source);
        for (size_t i = 0; k.gits && i < v->ninputs; i++)
                fs_free(k.gits[i]);
        free(k.gits);
        ignore_free(k.excludes);
        cut_ups(&k, 0);
        ups_done(&k.up);
        free(k.dest);
        fd_close(&k.spool.fd);
        for (size_t i = 0; i < k.nblob_fds; i++)
                (void)close(k.blob_fds[i]);
        free(k.blob_fds);
        return r;
}
