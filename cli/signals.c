#include "cli/signals.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "cli/view.h"

static struct {
        pthread_mutex_t lock; /* guards session and view */
        struct bld *session;
        struct view *view;
        pthread_t thread;
        bool running;
        int sig_fd, stop_fd;
        atomic_int caught;
} state = {.lock = PTHREAD_MUTEX_INITIALIZER, .sig_fd = -1, .stop_fd = -1};

static void ignore_it(int sig)
{
        (void)sig;
}

void signals_no_sigpipe(void)
{
        struct sigaction sa = {.sa_handler = ignore_it, .sa_flags = SA_RESTART};

        (void)sigemptyset(&sa.sa_mask);
        (void)sigaction(SIGPIPE, &sa, NULL);
}

static void end_it(int sig, int nth)
{
        if (nth >= 3)
                _exit(128 + sig);
        if (nth == 1)
                atomic_store(&state.caught, sig);
        (void)pthread_mutex_lock(&state.lock);
        if (state.session)
                bld_cancel(state.session, nth);
        if (state.view)
                view_note(state.view, "note",
                          nth == 1 ? "stopping; once more to stop at once" : "stopping at once");
        (void)pthread_mutex_unlock(&state.lock);
}

static void take_signal(int *nth)
{
        struct signalfd_siginfo si;

        if (read(state.sig_fd, &si, sizeof(si)) == (ssize_t)sizeof(si))
                end_it((int)si.ssi_signo, ++*nth);
}

static void *main_loop(void *arg)
{
        struct pollfd p[] = {{.fd = state.sig_fd, .events = POLLIN},
                             {.fd = state.stop_fd, .events = POLLIN}};
        int nth = 0;

        (void)arg;
        for (;;) {
                if (poll(p, 2, -1) < 0 && errno != EINTR)
                        return NULL;
                if (p[1].revents)
                        return NULL;
                if (p[0].revents)
                        take_signal(&nth);
        }
}

int signals_start(struct bld_err *err)
{
        sigset_t set;
        int r;

        (void)sigemptyset(&set);
        (void)sigaddset(&set, SIGINT);
        (void)sigaddset(&set, SIGTERM);
        r = pthread_sigmask(SIG_BLOCK, &set, NULL);
        if (r)
                return err_sys(err, r, "block signals");
        state.sig_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        state.stop_fd = eventfd(0, EFD_CLOEXEC);
        if (state.sig_fd < 0 || state.stop_fd < 0)
                return err_sys(err, errno, "signalfd");
        r = pthread_create(&state.thread, NULL, main_loop, NULL);
        if (r)
                return err_sys(err, r, "start the signal thread");
        state.running = true;
        return 0;
}

int signals_caught(void)
{
        return atomic_load(&state.caught);
}

void signals_set_session(struct bld *b)
{
        (void)pthread_mutex_lock(&state.lock);
        state.session = b;
        if (b && signals_caught()) /* it came while the session was being opened */
                bld_cancel(b, 1);
        (void)pthread_mutex_unlock(&state.lock);
}

void signals_set_view(struct view *v)
{
        (void)pthread_mutex_lock(&state.lock);
        state.view = v;
        (void)pthread_mutex_unlock(&state.lock);
}

void signals_stop(void)
{
        if (state.running) {
                if (eventfd_write(state.stop_fd, 1) == 0)
                        (void)pthread_join(state.thread, NULL);
                state.running = false;
        }
        fd_close(&state.sig_fd);
        fd_close(&state.stop_fd);
}
