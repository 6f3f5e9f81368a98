#include "base/cancel.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"

int cancel_init(struct cancel *c, struct bld_err *err)
{
        atomic_init(&c->fired, 0);
        c->ask = NULL;
        c->user = NULL;
        c->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (c->event_fd < 0)
                return err_sys(err, errno, "eventfd");
        return 0;
}

void cancel_done(struct cancel *c)
{
        fd_close(&c->event_fd);
}

void cancel_fire(struct cancel *c, int level)
{
        uint64_t one = 1;
        int old = atomic_load(&c->fired);

        while (old < level && !atomic_compare_exchange_weak(&c->fired, &old, level))
                ;
        /* Never read again, so it stays readable; a full counter is readable, too. */
        (void)!write(c->event_fd, &one, sizeof(one));
}

int cancel_level(const struct cancel *c)
{
        if (!c)
                return 0;
        if (c->ask && !atomic_load(&c->fired))
                c->ask(c->user);
        return atomic_load(&c->fired);
}

int cancel_check(const struct cancel *c, struct bld_err *err)
{
        return cancel_level(c) ? err_set(err, BLD_E_CANCELLED, "cancelled") : 0;
}

int cancel_fd(const struct cancel *c)
{
        return c ? c->event_fd : -1;
}
