/* Calls that whoever watches them can stop. */
#include "lib/call_priv.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "lib/layer_priv.h"
#include "registry/registry.h"

#define TICK_MS 50

static void ask(void *user)
{
        struct lib_call *k = user;
        int level = cancel_level(&k->b->cancel);

        if (level == 0 && lib_watch_stop(k->watch))
                level = 1;
        if (level)
                cancel_fire(&k->cancel, level);
}

/* Who waits for a token looks at its descriptor, which nobody asks: that is done here. */
static void *tick(void *user)
{
        struct lib_call *k = user;
        struct pollfd fds[] = {{.fd = k->ended_fd, .events = POLLIN},
                               {.fd = cancel_fd(&k->b->cancel), .events = POLLIN}};

        while (!cancel_level(&k->cancel) && !fds[0].revents)
                if (poll(fds, ARRAY_LEN(fds), TICK_MS) < 0 && errno != EINTR)
                        break;
        return NULL;
}

static int call_registry(void *user, struct reg_client **ret, struct bld_err *err)
{
        struct lib_call *k = user;

        return lib_client_once(k->b, &k->cancel, &k->reg, ret, err);
}

static int call_registry_src(void *user, struct reg_client **ret, struct bld_err *err)
{
        struct lib_call *k = user;

        return lib_client_once(k->b, &k->cancel, &k->reg_src, ret, err);
}

static void call_note(void *user, const char *text)
{
        struct lib_call *k = user;

        lib_session_note(k->b, text);
}

/* Signals are for the program's own threads. */
static int start_ticker(struct lib_call *k)
{
        sigset_t all, old;
        int r;

        (void)sigfillset(&all);
        (void)pthread_sigmask(SIG_SETMASK, &all, &old);
        r = pthread_create(&k->ticker, NULL, tick, k);
        (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
        return r;
}

int lib_call_begin(struct bld *b, const struct bld_watch *watch, struct lib_call *k,
                   struct bld_err *err)
{
        AUTO_FD int ended = -1;
        int r;

        k->ctx = &b->ctx;
        if (!lib_watch_asks(watch))
                return 0;
        k->b = b;
        k->watch = watch;
        k->own = b->ctx;
        k->own.cancel = &k->cancel;
        k->own.registry = call_registry;
        k->own.registry_src = call_registry_src;
        k->own.cache_registry = NULL;
        k->own.note = call_note;
        k->own.user = k;
        ended = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (ended < 0)
                return err_sys(err, errno, "eventfd");
        r = cancel_init(&k->cancel, err);
        if (r < 0)
                return r;
        k->cancel.ask = ask;
        k->cancel.user = k;
        k->ended_fd = ended;
        r = start_ticker(k);
        if (r != 0) {
                cancel_done(&k->cancel);
                return err_sys(err, r, "start a thread");
        }
        (void)take_fd(&ended);
        k->asks = true;
        k->ctx = &k->own;
        return 0;
}

void lib_call_end(struct lib_call *k)
{
        uint64_t one = 1;

        if (!k->asks)
                return;
        (void)!write(k->ended_fd, &one, sizeof(one));
        (void)pthread_join(k->ticker, NULL);
        reg_client_free(k->reg_src); /* first: their threads look at the token */
        reg_client_free(k->reg);
        cancel_done(&k->cancel);
        fd_close(&k->ended_fd);
        k->asks = false;
}
