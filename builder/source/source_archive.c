/* A build context that comes as an archive: spooled, read entry by entry, applied to a folder of
 * tmp/ that belongs to this build. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/sys.h"
#include "builder/source/source_priv.h"

#define CONTEXT_BYTES_MAX (64ULL << 30)

static int tmp_file(struct bd_ctx *c, int *ret, struct bld_err *err)
{
        *ret = sys_openat(cas_root_fd(c->cas), "tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        return *ret < 0 ? err_sys(err, errno, "make room for the build context") : 0;
}

/* Seekable, whatever it was. head: bytes already read from fd. */
static int spool(struct bd_ctx *c, const struct sb *head, int fd, int *ret, struct bld_err *err)
{
        struct ly_input from = {.fd = fd, .cancel = c->cancel};
        struct ly_source in = ly_source_input(&from);
        struct ly_sink out;
        AUTO_FD int file = -1;
        uint64_t n;
        int r = tmp_file(c, &file, err);

        if (r == 0)
                r = fd_write_all(file, sb_text(head), head->len, err);
        out = ly_sink_fd(file);
        if (r == 0)
                r = ly_copy(&in, &out, &n, err);
        if (r == 0 && lseek(file, 0, SEEK_SET) < 0)
                r = err_sys(err, errno, "read the build context again");
        if (r == 0)
                *ret = take_fd(&file);
        return r;
}

static int copy_entry(struct ly_reader *rd, struct ly_writer *w, const struct ly_entry *e,
                      struct bld_err *err)
{
        char buf[65536];
        ssize_t n;
        int r = ly_writer_entry(w, e, err);

        while (r == 0 && e->type == LY_FILE && (n = ly_reader_data(rd, buf, sizeof(buf), err)) != 0)
                r = n < 0 ? (int)n : ly_writer_data(w, buf, (size_t)n, err);
        return r;
}

/* Any archive -> a plain tar, which is what ly_apply takes. */
static int plain_tar(struct bd_ctx *c, int archive, int *ret, struct bld_err *err)
{
        static const struct ly_limits lim = {.bytes = CONTEXT_BYTES_MAX};
        AUTO(ly_reader_free_p) struct ly_reader *rd = NULL;
        AUTO(ly_writer_free_p) struct ly_writer *w = NULL;
        struct ly_writer_opts wo = {0};
        const struct ly_entry *e;
        struct ly_sink out;
        AUTO_FD int file = -1;
        int r = tmp_file(c, &file, err);

        out = ly_sink_fd(file);
        if (r == 0)
                r = ly_archive_open(archive, &lim, &rd, err);
        if (r == 0)
                r = ly_writer_new(&out, &wo, &w, err);
        while (r == 0 && (r = ly_reader_next(rd, &e, err)) == 1) {
                r = cancel_check(c->cancel, err);
                if (r == 0)
                        r = copy_entry(rd, w, e, err);
        }
        if (r == 0)
                r = ly_writer_end(w, err);
        if (r == 0 && lseek(file, 0, SEEK_SET) < 0)
                r = err_sys(err, errno, "read the build context again");
        if (r == 0)
                *ret = take_fd(&file);
        return r;
}

int source_folder(struct bd_ctx *c, struct source *s, struct bld_err *err)
{
        int r = cas_tmp_new(c->cas, &s->tmp, err);

        if (r < 0)
                return r;
        if (sys_mkdirat(cas_tmp_dirfd(s->tmp), "context", 0755) < 0)
                return err_sys(err, errno, "make room for the build context");
        if (asprintf(&s->context_path, "%s/%s/context", cas_root(c->cas), cas_tmp_path(s->tmp)) <
            0) {
                s->context_path = NULL;
                return err_nomem(err, "build context");
        }
        return 0;
}

int source_tar(struct bd_ctx *c, int tar, struct source *s, struct bld_err *err)
{
        struct ly_apply_opts o = {.form = LY_TREE_PLAIN, .tolerate_dev = true};
        struct ly_apply_stats st;
        struct ly_source in = ly_source_fd(tar);
        AUTO_FD int dir = -1;
        int r = source_folder(c, s, err);

        if (r < 0)
                return r;
        dir = sys_openat(AT_FDCWD, s->context_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
        if (dir < 0)
                return err_sys(err, errno, "make room for the build context");
        return ly_apply(&in, dir, &o, &st, err);
}

int source_archive_file(struct bd_ctx *c, int file, struct source *s, struct bld_err *err)
{
        AUTO_FD int tar = -1;
        int r = plain_tar(c, file, &tar, err);

        if (r == 0)
                r = source_tar(c, tar, s, err);
        if (r == BLD_E_CORRUPT || r == BLD_E_LIMIT)
                r = err_recode(err, BLD_E_INVALID);
        return r < 0 ? err_wrap(err, r, "build context") : 0;
}

int source_archive(struct bd_ctx *c, const struct sb *head, int fd, struct source *s,
                   struct bld_err *err)
{
        AUTO_FD int file = -1;
        int r = spool(c, head, fd, &file, err);

        return r < 0 ? err_wrap(err, r, "build context") : source_archive_file(c, file, s, err);
}
