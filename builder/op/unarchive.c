/* ADD of archives: what is in one laid over a folder, as tar -x would. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/sys.h"
#include "builder/op/layout_priv.h"

struct unpack {
        struct layout *l;
        const struct unpack_opts *o;
        struct spool *spool;
        struct ly_reader *rd;
};

static int spool_open(struct unpack *k, struct bld_err *err)
{
        if (k->spool->fd >= 0)
                return 0;
        k->spool->fd = sys_openat(k->o->tmp_fd, "tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        return k->spool->fd < 0 ? err_sys(err, errno, "make room for an archive's files") : 0;
}

static int spool_data(struct unpack *k, struct layout_item *i, struct bld_err *err)
{
        AUTO_FREE char *buf = mem_alloc(1u << 16);
        ssize_t n;
        int r = buf ? spool_open(k, err) : err_nomem(err, "read buffer");

        i->spool_off = k->spool->size;
        while (r == 0 && (n = ly_reader_data(k->rd, buf, 1u << 16, err)) != 0) {
                if (n < 0)
                        return (int)n;
                r = fd_write_sparse(k->spool->fd, buf, (size_t)n, err);
                k->spool->size += (uint64_t)n;
        }
        if (r == 0 &&
            sys_ftruncate(k->spool->fd, (int64_t)k->spool->size) < 0) /* it may end in one */
                r = err_sys(err, errno, "keep an archive's files");
        i->spool_fd = k->spool->fd;
        i->size = k->spool->size - i->spool_off;
        return r;
}

/* A name of the archive below DEST, which is as far as it can reach. */
static int archive_path(struct unpack *k, const char *name, char **ret, struct bld_err *err)
{
        AUTO_FREE char *dir = path_dir(name), *resolved = NULL;
        int r = dir ? layout_resolve_in(k->l, k->o->dest, dir, &resolved, err)
                    : err_nomem(err, "layer");

        if (r < 0)
                return r;
        *ret = layout_join(resolved, path_base(name));
        return *ret ? 0 : err_nomem(err, "layer");
}

static int put_hard_link(struct unpack *k, const struct ly_entry *e, const char *path,
                         struct bld_err *err)
{
        AUTO_FREE char *target = NULL;
        int r = archive_path(k, e->link, &target, err);

        return r == 0 ? layout_link(k->l, path, target, err) : r;
}

static int put_entry(struct unpack *k, const struct ly_entry *e, struct bld_err *err)
{
        AUTO_FREE char *path = NULL;
        struct layout_item i;
        int r = archive_path(k, e->path, &path, err);

        if (r == 0 && e->type == LY_HARDLINK)
                return put_hard_link(k, e, path, err);
        if (r == 0)
                r = layout_item_of_entry(e, &i, err);
        if (r < 0)
                return r;
        if (k->o->has_owner) {
                i.uid = k->o->uid;
                i.gid = k->o->gid;
        }
        if (e->type == LY_FILE)
                r = spool_data(k, &i, err);
        if (r < 0) {
                free(i.link);
                free(i.cap);
                return r;
        }
        return layout_replace(k->l, path, &i, err);
}

int unpack_archive(struct layout *l, int fd, const struct unpack_opts *o, struct spool *spool,
                   struct bld_err *err)
{
        AUTO(ly_reader_free_p) struct ly_reader *rd = NULL;
        struct unpack k = {.l = l, .o = o, .spool = spool};
        const struct ly_entry *e;
        struct layout_item *top;
        bool made;
        int r;

        layout_made_as(l, 0755, o->uid, o->gid); /* --chmod does not reach archives */
        r = layout_dir(l, o->dest, &top, &made, err);
        layout_made_as(l, 0755, 0, 0); /* nor --chown the folders one leaves out */
        if (r == 0)
                r = ly_archive_open(fd, NULL, &rd, err);
        k.rd = rd;
        while (r == 0 && (r = ly_reader_next(rd, &e, err)) == 1) {
                r = cancel_check(o->cancel, err);
                if (r == 0 && *e->path)
                        r = put_entry(&k, e, err);
        }
        /* The archive is the user's own file. */
        return r == BLD_E_CORRUPT ? err_recode(err, BLD_E_INVALID) : r;
}
