/* Bytes from the caller: out of a descriptor or through a callback. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>

#include "base/err.h"
#include "base/sys.h"
#include "lib/layer_priv.h"

#define ASK_MS 50 /* how long a pipe that gives nothing keeps us from asking */

int lib_input_init(struct lib_input *x, const struct bld_input *in, const struct bld_watch *watch,
                   struct bld_err *err)
{
        int r = lib_watch_known(watch, err);

        *x = (struct lib_input){.watch = watch};
        if (r == 0 && in)
                r = lib_opts_copy(&x->in, sizeof(x->in), in, "bld_input", err);
        if (r == 0 && !x->in.read && (!in || x->in.fd < 0 || fcntl(x->in.fd, F_GETFD) < 0))
                r = err_set(err, BLD_E_USAGE, "there is nothing to read a layer from");
        return r;
}

static int should_stop(const struct lib_input *x, struct bld_err *err)
{
        if (atomic_load(&x->unwanted))
                return err_set(err, BLD_E_CANCELLED, "no longer wanted");
        return lib_watch_check(x->watch, err);
}

static ssize_t call(struct lib_input *x, void *p, size_t n, struct bld_err *err)
{
        int64_t k = x->in.read(x->in.user, p, n);

        if (k < 0)
                return err_sys(err, k >= -4095 ? (int)-k : EIO, "read a layer");
        if ((uint64_t)k > n)
                return err_set(err, BLD_E_USAGE, "a read callback gave more than was asked for");
        return (ssize_t)k;
}

static ssize_t source_read(void *user, void *p, size_t n, struct bld_err *err)
{
        struct lib_input *x = user;
        ssize_t k;
        int r;

        for (;;) {
                struct pollfd w = {.fd = x->in.fd, .events = POLLIN};

                r = should_stop(x, err);
                if (r < 0)
                        return r;
                if (x->in.read)
                        break;
                r = poll(&w, 1, ASK_MS);
                if (r > 0 || (r < 0 && errno != EINTR)) /* read() tells what is wrong */
                        break;
        }
        if (x->in.read) {
                k = call(x, p, n, err);
        } else {
                k = sys_read(x->in.fd, p, n);
                if (k < 0)
                        return err_sys(err, errno, "read a layer");
        }
        if (k > 0) {
                x->done += (uint64_t)k;
                lib_watch_step(x->watch, "layer", x->done, 0);
        }
        return k;
}

struct ly_source lib_input_source(struct lib_input *x)
{
        return (struct ly_source){.read = source_read, .user = x};
}
