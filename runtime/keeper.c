/* The engine's side of the keeper: start it, give it its id maps, end it. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/num.h"
#include "base/proc.h"
#include "runtime/runtime_priv.h"

extern char **environ;

#define STOP_MS 5000

/* The keeper gets nothing of the caller's environment: it holds no credentials. What sanitizers
 * and coverage need to report is let through, so that tests see the keeper's faults too. */
static bool env_wanted(const char *e)
{
        const char *eq = strchr(e, '=');
        size_t n = eq ? (size_t)(eq - e) : 0;

        return str_has_prefix(e, "GCOV_") || str_has_prefix(e, "LD_LIBRARY_PATH=") ||
               (n >= 11 && strncmp(e + n - 8, "_OPTIONS", 8) == 0 &&
                strncmp(e + n - 11, "SAN", 3) == 0);
}

static int keeper_env(struct strv *out)
{
        for (char **e = environ; e && *e; e++)
                if (env_wanted(*e) && strv_add(out, *e) < 0)
                        return BLD_E_NOMEM;
        return 0;
}

static int spawn(struct rt_keeper *k, const char *helper, int their_sock, struct bld_err *err)
{
        AUTO_STRV struct strv env = {0};
        char name[] = "bld", arg[] = RT_ARG, parent[24];
        char *argv[] = {name, arg, parent, NULL};
        AUTO_FD int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
        /* For what sanitizers print; a keeper writes nothing itself. */
        int said = fcntl(2, F_GETFD) >= 0 ? 2 : null;
        const struct proc_fd fds[] = {{their_sock, 3}, {said, 1}, {said, 2}};
        int r;

        (void)snprintf(parent, sizeof(parent), "%d", (int)getpid());
        if (keeper_env(&env) < 0 || rt_strv_end(&env) < 0)
                return err_nomem(err, "start the keeper process");
        r = proc_spawn(helper, argv, env.v, fds, ARRAY_LEN(fds), &k->pid, err);
        return r < 0 ? err_wrap(err, r, "start the keeper process") : 0;
}

static int ended(const struct rt_keeper *k, struct bld_err *err)
{
        err_set(err, BLD_E_CHILD, "the keeper process ended before it was ready");
        err_why(err, BLD_E_CHILD, "%s does not answer to %s", k->exe, RT_ARG);
        return err_try(err, BLD_E_CHILD, "use as helper a bld of the same version as the library");
}

/* Next message of the start-up talk; CANCELLED when the user had enough of it. */
static int next_reply(struct rt_keeper *k, const struct cancel *cancel, struct rt_reply *ret,
                      struct bld_err *err)
{
        struct pollfd p[2] = {{.fd = k->sock, .events = POLLIN},
                              {.fd = cancel_fd(cancel), .events = POLLIN}};
        int r;

        for (;;) {
                if (poll(p, 2, -1) < 0 && errno != EINTR)
                        return err_sys(err, errno, "wait for the keeper process");
                r = cancel_check(cancel, err);
                if (r < 0)
                        return r;
                if (p[0].revents)
                        break;
        }
        r = rt_recv(k->sock, ret, sizeof(*ret), NULL, 0, NULL, err);
        if (r > 0)
                return 0;
        if (r < 0)
                return r;
        return ended(k, err);
}

/* What the reply says about the keeper, from a process of our own making but of another address
 * space: strings end. */
static void take_env(struct rt_keeper *k, const struct rt_reply *rep)
{
        k->env = rep->env;
        k->env.view[sizeof(k->env.view) - 1] = '\0';
        k->env.why[sizeof(k->env.why) - 1] = '\0';
}

static void take_reports(const struct rt_keeper_opts *o, const struct rt_reply *rep)
{
        for (size_t i = 0; o->ret && i < RT_REPORTS; i++) {
                struct rt_report *r = &o->ret[i];
                *r = rep->reports[i];
                r->failed[sizeof(r->failed) - 1] = r->what[sizeof(r->what) - 1] = '\0';
                r->why[sizeof(r->why) - 1] = r->fix[sizeof(r->fix) - 1] = '\0';
        }
}

static int write_maps(struct rt_keeper *k, pid_t pid, const struct cancel *cancel)
{
        struct rt_mapped m = {.err = BLD_ERR_INIT};

        (void)!rt_idmap_write(pid, cancel, &m.err);
        return rt_send(k->sock, &m, sizeof(m), NULL, 0, NULL);
}

static int talk(struct rt_keeper *k, const struct rt_keeper_opts *o, struct bld_err *err)
{
        const struct rt_order start = {.kind = ORDER_START, .level = o->level, .id = o->probe_all};
        struct rt_reply rep;
        int r;

        if (rt_send(k->sock, &start, sizeof(start), &o->store_fd, 1, NULL) < 0)
                return ended(k, err);
        for (;;) {
                r = next_reply(k, o->cancel, &rep, err);
                if (r < 0)
                        return r;
                switch ((enum rt_reply_kind)rep.kind) {
                case REPLY_NEED_MAPS:
                        if (write_maps(k, rep.pid, o->cancel) < 0)
                                return ended(k, err);
                        continue;
                case REPLY_READY:
                        take_reports(o, &rep);
                        take_env(k, &rep);
                        return 0;
                case REPLY_FAILED:
                        take_reports(o, &rep);
                        rep.err.msg[sizeof(rep.err.msg) - 1] = '\0';
                        if (rep.err.code >= 0)
                                rep.err.code = BLD_E_BUG;
                        if (err)
                                err_copy(err, &rep.err);
                        return rep.err.code;
                }
                return err_set(err, BLD_E_BUG, "unknown message %u from the keeper", rep.kind);
        }
}

static int check_level(enum rt_level l, struct bld_err *err)
{
        switch (l) {
        case RT_AUTO:
        case RT_ROOT:
        case RT_USERNS:
        case RT_SOLO:
        case RT_CHROOT:
                return 0;
        case RT_NONE:
                err_set(err, BLD_E_UNSUPPORTED, "cannot run RUN steps: isolation is none");
                return err_try(err, BLD_E_UNSUPPORTED,
                               "leave --isolation out; Dockerfiles without RUN need none");
        case RT_VROOT:
                break;
        }
        err_set(err, BLD_E_UNSUPPORTED, "isolation level %s is not there yet", rt_level_name(l));
        return err_try(err, BLD_E_UNSUPPORTED,
                       "--isolation=auto, which takes the strongest that works here");
}

int rt_keeper_start(const struct rt_keeper_opts *o, struct rt_keeper **ret, struct bld_err *err)
{
        const char *helper = o->helper ? o->helper : "/proc/self/exe";
        AUTO_FD int theirs = -1;
        struct rt_keeper *k;
        int pair[2];
        int r;

        r = check_level(o->level, err);
        if (r < 0)
                return r;
        k = mem_zalloc(1, sizeof(*k));
        if (!k)
                return err_nomem(err, "start the keeper process");
        k->sock = -1;
        (void)str_copy(k->exe, sizeof(k->exe), helper);
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
                r = err_sys(err, errno, "create a socket for the keeper");
                free(k);
                return r;
        }
        k->sock = pair[0];
        theirs = pair[1];
        r = spawn(k, helper, theirs, err);
        fd_close(&theirs); /* so that the keeper's end closing is seen */
        if (r == 0)
                r = talk(k, o, err);
        /* In a user namespace RLIMIT_NPROC does it. */
        if (r == 0 && k->env.level != RT_USERNS)
                rt_cgroup_guard(k->pid, &k->guard);
        if (r < 0) {
                rt_keeper_stop(k);
                return r;
        }
        *ret = k;
        return 0;
}

const struct rt_env *rt_keeper_env(const struct rt_keeper *k)
{
        return &k->env;
}

/* Wait for pid with a limit; the keeper kills and reaps all below it first. */
static bool wait_ms(pid_t pid, int64_t ms)
{
        int64_t end = time_mono_ns() + ms * 1000000;
        int fd = (int)syscall(SYS_pidfd_open, pid, 0);
        struct pollfd p = {.fd = fd, .events = POLLIN};
        bool gone = false;

        while (!gone && time_mono_ns() < end) {
                if (fd >= 0)
                        (void)poll(&p, 1, 100);
                else
                        (void)poll(NULL, 0, 10);
                gone = waitpid(pid, NULL, WNOHANG) != 0;
        }
        if (fd >= 0)
                close(fd);
        return gone;
}

void rt_keeper_stop(struct rt_keeper *k)
{
        if (!k)
                return;
        fd_close(&k->sock);
        if (k->pid > 0 && !wait_ms(k->pid, STOP_MS)) {
                (void)kill(k->pid, SIGKILL);
                while (waitpid(k->pid, NULL, 0) < 0 && errno == EINTR)
                        ;
        }
        rt_cgroup_leave(&k->guard);
        free(k);
}
