#include "base/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/num.h"
#include "base/sys.h"

extern char **environ;

static int spawn_actions(posix_spawn_file_actions_t *fa, const struct proc_fd *fds, size_t nfds)
{
        bool has_stdin = false;
        int r = 0;

        for (size_t i = 0; i < nfds && !r; i++) {
                /* dup2 onto itself keeps close-on-exec off, as posix_spawn promises. */
                r = posix_spawn_file_actions_adddup2(fa, fds[i].from, fds[i].to);
                has_stdin = has_stdin || fds[i].to == 0;
        }
        if (!has_stdin && !r)
                r = posix_spawn_file_actions_addopen(fa, 0, "/dev/null", O_RDONLY, 0);
        return r;
}

static int spawn_attrs(posix_spawnattr_t *at)
{
        sigset_t none, all;
        int r;

        (void)sigemptyset(&none);
        (void)sigfillset(&all);
        r = posix_spawnattr_setsigmask(at, &none);
        if (!r)
                r = posix_spawnattr_setsigdefault(at, &all);
        if (!r)
                r = posix_spawnattr_setpgroup(at, 0);
        if (!r)
                r = posix_spawnattr_setflags(at, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                                         POSIX_SPAWN_SETPGROUP);
        return r;
}

int proc_spawn(const char *path, char *const argv[], char *const envp[], const struct proc_fd *fds,
               size_t nfds, pid_t *ret_pid, struct bld_err *err)
{
        posix_spawn_file_actions_t fa;
        posix_spawnattr_t at;
        int r = posix_spawn_file_actions_init(&fa);

        if (r)
                return err_sys(err, r, "start %s", path);
        r = posix_spawnattr_init(&at);
        if (r) {
                (void)posix_spawn_file_actions_destroy(&fa);
                return err_sys(err, r, "start %s", path);
        }
        r = spawn_actions(&fa, fds, nfds);
        if (!r)
                r = spawn_attrs(&at);
        if (!r)
                r = posix_spawnp(ret_pid, path, &fa, &at, argv, envp ? envp : environ);
        (void)posix_spawn_file_actions_destroy(&fa);
        (void)posix_spawnattr_destroy(&at);
        if (r == ENOENT)
                return err_set(err, BLD_E_NOT_FOUND, "program %s is not installed", path);
        return r ? err_sys(err, r, "start %s", path) : 0;
}

int proc_wait(pid_t pid, int *ret_status, struct bld_err *err)
{
        pid_t p;

        do
                p = waitpid(pid, ret_status, 0);
        while (p < 0 && errno == EINTR);
        return p < 0 ? err_sys(err, errno, "wait for process %d", (int)pid) : 0;
}

struct pump {
        int in, out, errout; /* our ends of the child's pipes; -1 when closed */
        const char *input;
        size_t input_len;
        struct sb *out_sb, *err_sb;
        int64_t deadline_ns; /* monotonic, 0: none */
        int pidfd;           /* readable when the child has ended; -1: nobody knows */
        const struct cancel *cancel;
};

/* Beyond the caller's limit output is read and dropped, so that the child never blocks on us. */
static void drain(int *fd, struct sb *b)
{
        char buf[8192];
        ssize_t n = sys_read(*fd, buf, sizeof(buf));

        if (n <= 0) {
                fd_close(fd);
                return;
        }
        if (b && !b->failed && b->len < b->max)
                sb_add(b, buf, MIN((size_t)n, b->max - b->len));
}

static void feed(struct pump *p)
{
        ssize_t n = write(p->in, p->input, p->input_len);

        if (n < 0 && (errno == EINTR || errno == EAGAIN))
                return;
        if (n < 0 || (size_t)n == p->input_len) {
                fd_close(&p->in); /* EPIPE: it did not want the rest */
                return;
        }
        p->input += n;
        p->input_len -= (size_t)n;
}

static int pump_run(struct pump *p, struct bld_err *err)
{
        while (p->in >= 0 || p->out >= 0 || p->errout >= 0) {
                struct pollfd pfd[] = {{.fd = p->in, .events = POLLOUT},
                                       {.fd = p->out, .events = POLLIN},
                                       {.fd = p->errout, .events = POLLIN},
                                       {.fd = cancel_fd(p->cancel), .events = POLLIN},
                                       {.fd = p->pidfd, .events = POLLIN}};
                int timeout = -1;

                if (p->deadline_ns) {
                        int64_t left = (p->deadline_ns - time_mono_ns()) / 1000000;

                        if (left <= 0)
                                return err_set(err, BLD_E_TIMEOUT, "timed out");
                        timeout = (int)MIN(left, (int64_t)60000);
                }
                if (poll(pfd, ARRAY_LEN(pfd), timeout) < 0 && errno != EINTR)
                        return err_sys(err, errno, "poll");
                if (cancel_level(p->cancel))
                        return err_set(err, BLD_E_CANCELLED, "cancelled");
                if (pfd[0].revents)
                        feed(p);
                if (pfd[1].revents)
                        drain(&p->out, p->out_sb);
                if (pfd[2].revents)
                        drain(&p->errout, p->err_sb);
                /* it has said all it had to say; what still holds the pipes is a daemon it left */
                if (pfd[4].revents && !pfd[1].revents && !pfd[2].revents)
                        break;
        }
        return 0;
}

static int make_pipe(int ends[2], struct bld_err *err)
{
        return pipe2(ends, O_CLOEXEC) < 0 ? err_sys(err, errno, "pipe") : 0;
}

int proc_run_env(const char *path, char *const argv[], char *const envp[], const void *input,
                 size_t input_len, struct sb *out, struct sb *errout, int64_t timeout_ms,
                 const struct cancel *cancel, int *ret_status, struct bld_err *err)
{
        int pin[2] = {-1, -1}, pout[2] = {-1, -1}, perr[2] = {-1, -1};
        struct pump p = {.in = -1,
                         .out = -1,
                         .errout = -1,
                         .pidfd = -1,
                         .input = input,
                         .input_len = input_len,
                         .out_sb = out,
                         .err_sb = errout,
                         .cancel = cancel};
        pid_t pid = 0;
        int r, w = 0;

        r = make_pipe(pin, err);
        if (r == 0)
                r = make_pipe(pout, err);
        if (r == 0)
                r = make_pipe(perr, err);
        if (r == 0) {
                const struct proc_fd fds[] = {{pin[0], 0}, {pout[1], 1}, {perr[1], 2}};

                r = proc_spawn(path, argv, envp, fds, ARRAY_LEN(fds), &pid, err);
        }
        fd_close(&pin[0]);
        fd_close(&pout[1]);
        fd_close(&perr[1]);
        p.in = pin[1];
        p.out = pout[0];
        p.errout = perr[0];
        if (r == 0) {
                sigset_t sigpipe, old;

                (void)sigemptyset(&sigpipe);
                (void)sigaddset(&sigpipe, SIGPIPE);
                (void)pthread_sigmask(SIG_BLOCK, &sigpipe, &old);
                (void)fcntl(p.in, F_SETFL, O_NONBLOCK);
                if (input_len == 0)
                        fd_close(&p.in);
                if (timeout_ms > 0)
                        p.deadline_ns = time_mono_ns() + timeout_ms * 1000000;
                p.pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
                r = pump_run(&p, err);
                fd_close(&p.pidfd);
                if (r < 0) {
                        (void)kill(-pid, SIGKILL); /* the whole group */
                        (void)err_wrap(err, r, "%s", path);
                }
                w = proc_wait(pid, ret_status, r < 0 ? NULL : err);
                /* A SIGPIPE we caused is pending in this thread: take it back. */
                (void)sigtimedwait(&sigpipe, NULL, &(struct timespec){0});
                (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
        }
        fd_close(&p.in);
        fd_close(&p.out);
        fd_close(&p.errout);
        return r < 0 ? r : w;
}

int proc_run(const char *path, char *const argv[], const void *input, size_t input_len,
             struct sb *out, struct sb *errout, int64_t timeout_ms, const struct cancel *cancel,
             int *ret_status, struct bld_err *err)
{
        return proc_run_env(path, argv, NULL, input, input_len, out, errout, timeout_ms, cancel,
                            ret_status, err);
}
