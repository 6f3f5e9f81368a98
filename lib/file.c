/* One file of an image: found from the top down, while layers are read, and read where it is. */
#include "bld/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/sys.h"
#include "lib/layer_priv.h"
#include "lib/tree_priv.h"

#define PIECE (64u << 10)

struct fetch {
        struct bld_image *im;
        const char *path;
        struct bld_file_opts o;
        bld_layer_write_fn write;
        void *user;
        struct ly_find *find;
        /* The layer that is read now: by its table, or as a stream whose last entry was number
         * next - 1. */
        size_t layer;
        const struct ly_toc *toc;
        struct bld_layer_stream *stream;
        size_t next;
        bool reading;
        struct bld_file_got got;
};

static void leave_layer(struct fetch *f)
{
        bld_layer_stream_close(f->stream);
        f->stream = NULL;
        f->toc = NULL;
        f->reading = false;
        f->next = 0;
}

static void fetch_done(struct fetch *f)
{
        leave_layer(f);
        ly_find_free(f->find);
}

/* ---- giving out ---- */

static int give(struct fetch *f, const void *p, size_t n, struct bld_err *err)
{
        int r = lib_watch_check(f->o.watch, err);

        if (r < 0 || n == 0)
                return r;
        f->got.bytes += n;
        return f->write(f->user, p, n) ? err_set(err, BLD_E_CANCELLED, "stopped by its reader") : 0;
}

static int sink_give(void *user, const void *p, size_t n, struct bld_err *err)
{
        return give(user, p, n, err);
}

static int give_stream(struct fetch *f, struct bld_err *err)
{
        AUTO_FREE char *buf = mem_alloc(PIECE);
        int64_t n = 0;
        int r = buf ? 0 : err_nomem(err, "copy buffer");

        while (r == 0 && (n = bld_layer_stream_read(f->stream, buf, PIECE, err)) > 0)
                r = give(f, buf, (size_t)n, err);
        return n < 0 ? (int)n : r;
}

/* Held back until the layer turned out to be what its digest says. */
static int hold(struct fetch *f, int fd, struct bld_err *err)
{
        AUTO_FREE char *buf = mem_alloc(PIECE);
        int64_t n = 0;
        int r = buf ? 0 : err_nomem(err, "copy buffer");

        while (r == 0 && (n = bld_layer_stream_read(f->stream, buf, PIECE, err)) > 0)
                r = fd_write_all(fd, buf, (size_t)n, err);
        if (r < 0 || n < 0)
                return r < 0 ? r : (int)n;
        r = bld_layer_stream_end(f->stream, NULL, err);
        for (int64_t at = 0; r == 0; at += n) {
                n = sys_pread(fd, buf, PIECE, at);
                if (n <= 0)
                        return n < 0 ? err_sys(err, errno, "read a temporary file") : 0;
                r = give(f, buf, (size_t)n, err);
        }
        return r;
}

static int give_verified(struct fetch *f, struct bld_err *err)
{
        AUTO_FD int fd = lib_unlinked_file();

        if (fd < 0)
                return err_sys(err, errno, "make a temporary file");
        f->got.verified = true;
        return hold(f, fd, err);
}

/* ---- where it was found ---- */

/* 1 given out, 0 the layer's bytes only come as a stream. */
static int give_at_random(struct fetch *f, const struct ly_found *at, struct bld_err *err)
{
        AUTO(lib_blob_close_p) struct lib_blob *b = NULL;
        AUTO(ly_blob_reader_free_p) struct ly_blob_reader *rd = NULL;
        const struct ly_sink out = {.write = sink_give, .user = f};
        const struct ly_toc *toc;
        struct ly_random from;
        uint64_t off, len;
        int fd, r = lib_scan_table(f->im, at->layer, false, &toc, err);

        if (r <= 0 || f->o.verify)
                return MIN(r, 0);
        r = lib_blob_open(f->im, at->layer, &b, err);
        r = r < 0 ? r : lib_blob_part(b, &fd, &off, &len);
        if (r < 0 || (r == 0 && toc->nseeks == 0))
                return r;
        from = (struct ly_random){.pread = lib_blob_pread, .user = b};
        r = r > 0 ? ly_blob_reader_new_part(fd, off, len, toc, &rd, err)
                  : ly_blob_reader_new_random(&from, toc, &rd, err);
        r = r < 0 ? r : ly_blob_reader_file(rd, &toc->v[at->index], &out, err);
        return r < 0 ? r : 1;
}

/* The stream of the layer, at the file: where it is, if it was not passed yet. */
static int stream_to(struct fetch *f, const struct ly_found *at, struct bld_err *err)
{
        const struct bld_layer_entry *e = NULL;
        const struct ly_toc *toc;
        int r = 0;

        if (!f->stream || f->layer != at->layer || f->next != at->index + 1) {
                leave_layer(f);
                r = bld_image_stream(f->im, at->layer, &f->stream, err);
        } else {
                return 0;
        }
        for (; r == 0 && f->next <= at->index; f->next++) {
                r = bld_layer_stream_next(f->stream, &e, err);
                if (r == 0)
                        return err_set(err, BLD_E_CORRUPT,
                                       "a layer of %s changed while it was open",
                                       bld_image_name(f->im));
                r = MIN(r, 0);
        }
        if (r == 0)
                r = MIN(lib_scan_table(f->im, at->layer, false, &toc, err), 0);
        if (r == 0 && (!e || e->type != BLD_LAYER_FILE ||
                       (toc && !str_eq(e->path, toc->v[at->index].e.path))))
                r = err_set(err, BLD_E_CORRUPT, "layer %zu of %s is not what was known of it",
                            bld_image_layer(f->im, at->layer)->number, bld_image_name(f->im));
        return r;
}

static int give_found(struct fetch *f, const struct ly_found *at, struct bld_err *err)
{
        int r = give_at_random(f, at, err);

        f->got.layer = at->layer;
        if (r != 0)
                return MIN(r, 0);
        r = stream_to(f, at, err);
        if (r < 0)
                return r;
        return f->o.verify ? give_verified(f, err) : give_stream(f, err);
}

static int is_no_file(const struct fetch *f, bool dir, struct bld_err *err)
{
        return err_set(err, BLD_E_INVALID, "\"%.500s\" in %.200s is %s", f->path,
                       bld_image_name(f->im), dir ? "a folder" : "no regular file");
}

static int is_not_there(const struct fetch *f, const struct ly_found *at, struct bld_err *err)
{
        (void)err_set(err, BLD_E_NOT_FOUND, "there is no \"%.500s\" in %.200s", f->path,
                      bld_image_name(f->im));
        if (at->is_dir)
                (void)err_why(err, BLD_E_NOT_FOUND, "/%.300s is no folder", at->path);
        else if (at->removed)
                (void)err_why(err, BLD_E_NOT_FOUND, "/%.300s was removed by layer %zu", at->path,
                              bld_image_layer(f->im, at->layer)->number);
        else if (strcmp(at->path, f->path + strspn(f->path, "/")) != 0)
                (void)err_why(err, BLD_E_NOT_FOUND, "there is no /%.300s", at->path);
        return BLD_E_NOT_FOUND;
}

/* By the whole tree. */
static int give_from_tree(struct fetch *f, struct bld_err *err)
{
        const struct bld_tree_opts o = {.size = sizeof(o), .watch = f->o.watch};
        struct bld_tree_node n = {.size = sizeof(n)};
        const struct ly_found none = {.path = f->path};
        struct bld_tree *t = NULL;
        size_t i;
        int r;

        leave_layer(f);
        r = bld_tree_open(f->im, &o, &t, err);
        r = r < 0 ? r : bld_tree_find(t, f->path, true, &i, err);
        if (r == 0)
                r = is_not_there(f, &none, err);
        if (r > 0 && i == BLD_NO_NODE)
                r = is_no_file(f, true, err);
        r = r < 0 ? r : bld_tree_node(t, i, &n, err);
        if (r == 0 && n.type != BLD_LAYER_FILE)
                r = is_no_file(f, n.type == BLD_LAYER_DIR, err);
        if (r == 0) {
                const struct ly_node *node = t->flat->v[i].n;
                const struct ly_found at = {.layer = node->layer + t->below,
                                            .index = (size_t)(node->t - t->tocs[node->layer]->v)};

                r = give_found(f, &at, err);
        }
        bld_tree_close(t);
        return r;
}

/* ---- looking ---- */

static int enter_layer(struct fetch *f, size_t layer, struct bld_err *err)
{
        int r = lib_scan_table(f->im, layer, false, &f->toc, err);

        if (r == 0)
                r = bld_image_stream(f->im, layer, &f->stream, err);
        f->layer = layer;
        f->reading = r >= 0;
        f->next = 0;
        return MIN(r, 0);
}

static int feed_from_stream(struct fetch *f, struct bld_err *err)
{
        const struct bld_layer_entry *e;
        int r = bld_layer_stream_next(f->stream, &e, err);

        if (r == 0) /* what the search was told is proven */
                r = bld_layer_stream_end(f->stream, NULL, err);
        else if (r > 0)
                return ly_find_feed(f->find, lib_stream_entry(f->stream), err);
        return r < 0 ? r : ly_find_feed(f->find, NULL, err);
}

static int feed(struct fetch *f, size_t layer, struct bld_err *err)
{
        const struct ly_entry *e = NULL;
        int r = lib_watch_check(f->o.watch, err);

        if (r == 0 && f->reading && f->layer != layer)
                leave_layer(f);
        if (r == 0 && !f->reading)
                r = enter_layer(f, layer, err);
        if (r < 0)
                return r;
        if (!f->toc) {
                r = feed_from_stream(f, err);
        } else {
                e = f->next < f->toc->n ? &f->toc->v[f->next].e : NULL;
                r = ly_find_feed(f->find, e, err);
        }
        f->next++;
        return r;
}

static int look(struct fetch *f, struct bld_err *err)
{
        struct ly_found at;
        int r = ly_find_new(bld_image_layers(f->im), f->path, true, &f->find, err);

        while (r == 0 && (r = ly_find_state(f->find, &at, err)) == LY_FIND_MORE)
                r = feed(f, at.layer, err);
        if (r == LY_FIND_UNSURE)
                return give_from_tree(f, err);
        if (r == LY_FIND_NONE)
                return is_not_there(f, &at, err);
        if (r == LY_FIND_HERE)
                return at.is_file ? give_found(f, &at, err) : is_no_file(f, at.is_dir, err);
        return r;
}

int bld_file_read(struct bld_image *im, const char *path, const struct bld_file_opts *o,
                  bld_layer_write_fn write, void *user, struct bld_file_got *ret,
                  struct bld_err *err)
{
        AUTO(fetch_done) struct fetch f = {.im = im, .path = path, .write = write, .user = user};
        int r = lib_opts_copy(&f.o, sizeof(f.o), o, "bld_file_read", err);

        r = r < 0 ? r : lib_ret_check(ret, "bld_file_read", err);
        r = r < 0 ? r : lib_watch_known(f.o.watch, err);
        r = r < 0 ? r : look(&f, err);
        if (r < 0)
                return lib_image_fault(im, r, err);
        lib_ret_put(ret, &f.got, sizeof(f.got));
        return 0;
}
