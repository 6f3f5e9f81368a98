#include "bld/layer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/sys.h"
#include "lib/layer_priv.h"

/* ---- opening ---- */

static ssize_t pread_some(void *user, void *p, size_t n, struct bld_err *err)
{
        struct lib_pread *at = user;
        ssize_t got = sys_pread(at->fd, p, n, at->off);

        if (got < 0)
                return err_sys(err, errno, "read a layer");
        at->off += got;
        return got;
}

struct ly_source lib_pread_source(struct lib_pread *p)
{
        return (struct ly_source){.read = pread_some, .user = p};
}

static int read_toc(struct bld_layer *l, const struct ly_limits *lim, struct bld_err *err)
{
        struct lib_pread at = {.fd = l->fd};
        struct ly_source in = lib_pread_source(&at);
        struct digest diff_id;
        int r = ly_unpack_stream(&in, NULL, lim, &diff_id, NULL, &l->toc, err);

        if (r < 0)
                return r;
        digest_format(&diff_id, l->diff_id);
        digest_format(&l->toc->blob, l->digest);
        l->file_size = (uint64_t)at.off;
        return 0;
}

/* The two enums name the same things in the same order; layer/ may add to its own. */
static enum bld_layer_type public_type(enum ly_type t)
{
        switch (t) {
        case LY_FILE:
                return BLD_LAYER_FILE;
        case LY_DIR:
                return BLD_LAYER_DIR;
        case LY_SYMLINK:
                return BLD_LAYER_SYMLINK;
        case LY_HARDLINK:
                return BLD_LAYER_HARDLINK;
        case LY_CHAR:
                return BLD_LAYER_CHAR;
        case LY_BLOCK:
                return BLD_LAYER_BLOCK;
        case LY_FIFO:
                return BLD_LAYER_FIFO;
        case LY_WHITEOUT:
                return BLD_LAYER_WHITEOUT;
        case LY_OPAQUE:
                return BLD_LAYER_OPAQUE;
        }
        return BLD_LAYER_FILE;
}

void lib_entry(const struct ly_entry *e, size_t index, struct bld_layer_entry *ret)
{
        *ret = (struct bld_layer_entry){.size = sizeof(*ret),
                                        .path = e->path,
                                        .type = public_type(e->type),
                                        .mode = e->mode,
                                        .uid = e->uid,
                                        .gid = e->gid,
                                        .file_size = e->size,
                                        .mtime_ns = e->mtime_ns,
                                        .link = e->link,
                                        .dev_major = e->dev_major,
                                        .dev_minor = e->dev_minor,
                                        .nxattrs = e->nxattrs,
                                        .index = index};
}

static int fill_entries(struct bld_layer *l, struct bld_err *err)
{
        l->v = mem_zalloc(MAX(l->toc->n, 1), sizeof(*l->v));
        l->by_path = mem_zalloc(l->toc->n + 1, sizeof(*l->by_path));
        if (!l->v || !l->by_path)
                return err_nomem(err, "list of a layer");
        for (size_t i = 0; i < l->toc->n; i++)
                lib_entry(&l->toc->v[i].e, i, &l->v[i]);
        return 0;
}

static void layer_close_p(struct bld_layer **l)
{
        bld_layer_close(*l);
}

int lib_layer_made(int *fd, const struct ly_packed *p, struct ly_toc **toc, struct bld_layer **ret,
                   struct bld_err *err)
{
        AUTO(layer_close_p) struct bld_layer *l = mem_zalloc(1, sizeof(*l));
        int r;

        if (!l)
                return err_nomem(err, "layer");
        l->fd = take_fd(fd);
        l->toc = TAKE_PTR(toc);
        l->file_size = p->size;
        digest_format(&p->diff_id, l->diff_id);
        digest_format(&p->digest, l->digest);
        r = fill_entries(l, err);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(&l);
        return 0;
}

int bld_layer_open(int fd, const struct bld_layer_open_opts *o, struct bld_layer **ret,
                   struct bld_err *err)
{
        AUTO(layer_close_p) struct bld_layer *l = mem_zalloc(1, sizeof(*l));
        struct bld_layer_open_opts own;
        struct ly_limits lim;
        int r = lib_opts_copy(&own, sizeof(own), o, "bld_layer_open", err);

        if (!l)
                return err_nomem(err, "layer");
        l->fd = -1;
        if (r < 0)
                return r;
        lim = (struct ly_limits){.bytes = own.max_bytes, .entries = own.max_entries};
        l->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        if (l->fd < 0)
                return err_sys(err, errno, "duplicate a descriptor");
        r = read_toc(l, &lim, err);
        if (!r)
                r = fill_entries(l, err);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(&l);
        return 0;
}

void bld_layer_close(struct bld_layer *l)
{
        if (!l)
                return;
        ly_blob_reader_free(l->reader);
        ly_toc_free(l->toc);
        free(l->v);
        free(l->by_path);
        fd_close(&l->fd);
        free(l);
}

/* ---- what is in it ---- */

const char *bld_layer_diff_id(const struct bld_layer *l)
{
        return l->diff_id;
}

const char *bld_layer_digest(const struct bld_layer *l)
{
        return l->digest;
}

const char *bld_layer_media_type(const struct bld_layer *l)
{
        return ly_codec_media_type(l->toc->codec);
}

uint64_t bld_layer_tar_size(const struct bld_layer *l)
{
        return l->toc->tar_size;
}

size_t bld_layer_count(const struct bld_layer *l)
{
        return l->toc->n;
}

const struct bld_layer_entry *bld_layer_entry(const struct bld_layer *l, size_t i)
{
        return i < l->toc->n ? &l->v[i] : NULL;
}

/* Of one path the last comes last. */
static int path_order(const void *a, const void *b, void *user)
{
        const struct bld_layer_entry *v = user;
        const size_t x = *(const size_t *)a, y = *(const size_t *)b;
        int c = strcmp(v[x].path, v[y].path);

        return c ? c : (x > y) - (x < y);
}

/* The first look puts them in order. */
static const size_t *in_order(const struct bld_layer *l)
{
        size_t n = l->toc->n;

        if (l->by_path[n])
                return l->by_path;
        for (size_t i = 0; i < n; i++)
                l->by_path[i] = i;
        qsort_r(l->by_path, n, sizeof(*l->by_path), path_order, l->v);
        l->by_path[n] = 1;
        return l->by_path;
}

const struct bld_layer_entry *bld_layer_find(const struct bld_layer *l, const char *path)
{
        const size_t *at = in_order(l);
        size_t low = 0, high = l->toc->n;

        while (*path == '/')
                path++;
        while (low < high) {
                size_t mid = low + (high - low) / 2;

                if (strcmp(l->v[at[mid]].path, path) <= 0)
                        low = mid + 1;
                else
                        high = mid;
        }
        return low && str_eq(l->v[at[low - 1]].path, path) ? &l->v[at[low - 1]] : NULL;
}

int bld_layer_xattr(const struct bld_layer *l, size_t i, size_t k, const char **ret_name,
                    const void **ret_value, size_t *ret_len, struct bld_err *err)
{
        const struct ly_xattr *x;

        if (i >= l->toc->n || k >= l->v[i].nxattrs)
                return err_set(err, BLD_E_NOT_FOUND, "no such attribute");
        x = &l->toc->v[i].e.xattrs[k];
        *ret_name = x->name;
        *ret_value = x->value;
        *ret_len = x->len;
        return 0;
}

struct user_sink {
        bld_layer_write_fn write;
        void *user;
};

static int user_write(void *user, const void *p, size_t n, struct bld_err *err)
{
        const struct user_sink *u = user;

        return u->write(u->user, p, n) ? err_set(err, BLD_E_CANCELLED, "stopped by its reader") : 0;
}

int bld_layer_read(struct bld_layer *l, size_t i, bld_layer_write_fn write, void *user,
                   struct bld_err *err)
{
        struct user_sink u = {.write = write, .user = user};
        const struct ly_sink sink = {.write = user_write, .user = &u};
        int r = 0;

        if (i >= l->toc->n)
                return err_set(err, BLD_E_NOT_FOUND, "layer has %zu entries", l->toc->n);
        if (l->toc->v[i].e.type != LY_FILE)
                return err_set(err, BLD_E_INVALID, "\"%.500s\" is not a file", l->v[i].path);
        if (!l->reader)
                r = ly_blob_reader_new(l->fd, l->toc, &l->reader, err);
        return r < 0 ? r : ly_blob_reader_file(l->reader, &l->toc->v[i], &sink, err);
}
