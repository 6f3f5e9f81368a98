/* Cancellation token: fired once, from any thread or from a signal-reading loop; checked at every
 * blocking point, under no lock. Threads: MT-Safe. */
#ifndef BASE_CANCEL_H
#define BASE_CANCEL_H

#include <stdatomic.h>

#include "base/base.h"

struct cancel {
        atomic_int fired; /* 0, 1 = ask steps to end, 2 = at once */
        int event_fd;     /* readable once fired */
        /* Called by every look at it until it is fired, from any thread; may fire it. Set before
         * the first look; NULL: nobody is asked. */
        void (*ask)(void *user);
        void *user;
};

int cancel_init(struct cancel *c, struct bld_err *err) MUST_CHECK;
void cancel_done(struct cancel *c);
void cancel_fire(struct cancel *c, int level);
int cancel_level(const struct cancel *c); /* 0 when not fired or c is NULL */
/* 0, or CANCELLED with a message. c may be NULL. */
int cancel_check(const struct cancel *c, struct bld_err *err) MUST_CHECK;
int cancel_fd(const struct cancel *c); /* to poll; -1 when c is NULL */

#endif
