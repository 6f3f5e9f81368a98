/* What the caller wants to be told and asked while a call works. */
#include "base/err.h"
#include "lib/layer_priv.h"

/* The value a member has in a struct of the caller's size. */
#define WATCH_GET(w, member)                                                          \
        ((w) && (w)->size >= offsetof(struct bld_watch, member) + sizeof((w)->member) \
                 ? (w)->member                                                        \
                 : NULL)

int lib_watch_known(const struct bld_watch *w, struct bld_err *err)
{
        struct bld_watch own;

        return lib_opts_copy(&own, sizeof(own), w, "bld_watch", err);
}

bool lib_watch_asks(const struct bld_watch *w)
{
        return WATCH_GET(w, stop) != NULL;
}

bool lib_watch_stop(const struct bld_watch *w)
{
        bool (*stop)(void *) = WATCH_GET(w, stop);

        return stop && stop(WATCH_GET(w, user));
}

int lib_watch_check(const struct bld_watch *w, struct bld_err *err)
{
        return lib_watch_stop(w) ? err_set(err, BLD_E_CANCELLED, "stopped by its caller") : 0;
}

void lib_watch_step(const struct bld_watch *w, const char *what, uint64_t done, uint64_t total)
{
        bld_progress_fn progress = WATCH_GET(w, progress);

        if (progress)
                progress(WATCH_GET(w, user), what, done, total);
}
