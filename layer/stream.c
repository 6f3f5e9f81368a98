#include <errno.h>
#include <unistd.h>

#include "base/err.h"
#include "base/input.h"
#include "base/fd.h"
#include "base/sys.h"
#include "layer/layer.h"

#define COPY_BUF (256u << 10)

static int fd_sink_write(void *user, const void *p, size_t n, struct bld_err *err)
{
        return fd_write_all((int)(intptr_t)user, p, n, err);
}

static ssize_t fd_source_read(void *user, void *p, size_t n, struct bld_err *err)
{
        ssize_t got = sys_read((int)(intptr_t)user, p, n);

        if (got < 0)
                return err_sys(err, errno, "read layer data");
        return got;
}

struct ly_sink ly_sink_fd(int fd)
{
        return (struct ly_sink){.write = fd_sink_write, .user = (void *)(intptr_t)fd};
}

struct ly_source ly_source_fd(int fd)
{
        return (struct ly_source){.read = fd_source_read, .user = (void *)(intptr_t)fd};
}

static ssize_t input_source_read(void *user, void *p, size_t n, struct bld_err *err)
{
        const struct ly_input *in = user;

        return input_read(in->fd, p, n, in->cancel, err);
}

struct ly_source ly_source_input(struct ly_input *in)
{
        return (struct ly_source){.read = input_source_read, .user = in};
}

int ly_copy(const struct ly_source *in, const struct ly_sink *out, uint64_t *ret_n,
            struct bld_err *err)
{
        AUTO_FREE void *buf = mem_alloc(COPY_BUF);
        uint64_t total = 0;
        ssize_t n;
        int r;

        if (!buf)
                return err_nomem(err, "copy buffer");
        while ((n = in->read(in->user, buf, COPY_BUF, err)) > 0) {
                r = out->write(out->user, buf, (size_t)n, err);
                if (r < 0)
                        return r;
                total += (uint64_t)n;
        }
        if (n < 0)
                return (int)n;
        if (ret_n)
                *ret_n = total;
        return 0;
}

void ly_entry_done(struct ly_entry *e)
{
        if (!e)
                return;
        free(e->path);
        free(e->link);
        for (size_t i = 0; i < e->nxattrs; i++) {
                free(e->xattrs[i].name);
                free(e->xattrs[i].value);
        }
        free(e->xattrs);
        *e = (struct ly_entry){0};
}

static int copy_xattrs(const struct ly_entry *e, struct ly_entry *c)
{
        if (!e->nxattrs)
                return 0;
        c->xattrs = mem_zalloc(e->nxattrs, sizeof(*c->xattrs));
        if (!c->xattrs)
                return BLD_E_NOMEM;
        for (size_t i = 0; i < e->nxattrs; i++) {
                struct ly_xattr *x = &c->xattrs[c->nxattrs++];

                x->name = mem_strdup(e->xattrs[i].name);
                x->len = e->xattrs[i].len;
                x->value = mem_alloc(MAX(x->len, 1));
                if (!x->name || !x->value)
                        return BLD_E_NOMEM;
                if (x->len)
                        memcpy(x->value, e->xattrs[i].value, x->len);
        }
        return 0;
}

const struct ly_xattr *ly_entry_capability(const struct ly_entry *e)
{
        for (size_t i = 0; i < e->nxattrs; i++)
                if (str_eq(e->xattrs[i].name, "security.capability"))
                        return &e->xattrs[i];
        return NULL;
}

int ly_entry_copy(const struct ly_entry *e, struct ly_entry *ret)
{
        struct ly_entry c = *e;

        c.xattrs = NULL;
        c.nxattrs = 0;
        c.path = mem_strdup(e->path);
        c.link = e->link ? mem_strdup(e->link) : NULL;
        if (!c.path || (e->link && !c.link) || copy_xattrs(e, &c) < 0) {
                ly_entry_done(&c);
                return BLD_E_NOMEM;
        }
        *ret = c;
        return 0;
}
