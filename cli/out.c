#include "cli/out.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/sys.h"

#define OUT_MAX ((size_t)1 << 30) /* of one record */
#define OUT_STEP ((size_t)64 << 10)

static int open_new(struct out *o, struct bld_err *err)
{
        uint64_t tag = 0;

        if (getrandom(&tag, sizeof(tag), 0) != (ssize_t)sizeof(tag))
                return err_sys(err, errno, "getrandom");
        if (asprintf(&o->tmp, "%s.%016llx.tmp", o->path, (unsigned long long)tag) < 0) {
                o->tmp = NULL;
                return err_nomem(err, o->path);
        }
        o->fd = sys_openat(AT_FDCWD, o->tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
                           0666);
        if (o->fd >= 0)
                return 0;
        free(TAKE_PTR(&o->tmp));
        return err_sys(err, errno, "create %s", o->path);
}

int out_open(struct out *o, const char *path, enum term_color color, struct bld_err *err)
{
        struct stat st;

        memset(o, 0, sizeof(*o));
        sb_init(&o->buf, OUT_MAX);
        o->path = path && strcmp(path, "-") != 0 ? path : NULL;
        o->fd = -1;
        if (!o->path) {
                term_init(&o->term, 1, color);
                return 0;
        }
        if (stat(path, &st) < 0 || S_ISREG(st.st_mode)) {
                int r = open_new(o, err);

                if (r < 0)
                        return r;
        } else {
                o->fd = sys_openat(AT_FDCWD, path, O_WRONLY | O_CLOEXEC | O_NOCTTY, 0);
                if (o->fd < 0)
                        return err_sys(err, errno, "open %s", path);
        }
        term_init(&o->term, o->fd, color == COLOR_ALWAYS ? color : COLOR_NEVER);
        return 0;
}

static int send(struct out *o, struct bld_err *err)
{
        int r = sb_check(&o->buf, "output", err);

        if (r < 0)
                return r;
        if (o->buf.len && !o->gone && !term_write(o->path ? o->fd : 1, o->buf.buf, o->buf.len)) {
                if (errno != EPIPE)
                        return err_sys(err, errno, "write to %s",
                                       o->path ? o->path : "standard output");
                o->gone = true;
        }
        sb_reset(&o->buf);
        return 0;
}

int out_flow(struct out *o, struct bld_err *err)
{
        return o->buf.failed || o->buf.len >= OUT_STEP ? send(o, err) : 0;
}

int out_end(struct out *o, struct bld_err *err)
{
        int r = send(o, err);

        if (r < 0 || !o->path)
                return r;
        if (close(take_fd(&o->fd)) < 0)
                return err_sys(err, errno, "close %s", o->path);
        if (o->tmp && sys_rename(AT_FDCWD, o->tmp, AT_FDCWD, o->path) < 0)
                return err_sys(err, errno, "rename to %s", o->path);
        free(TAKE_PTR(&o->tmp));
        return 0;
}

void out_done(struct out *o)
{
        if (o->tmp)
                (void)unlink(o->tmp); /* ours, and not whole */
        free(TAKE_PTR(&o->tmp));
        fd_close(&o->fd);
        sb_done(&o->buf);
}
