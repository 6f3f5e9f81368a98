/* The engine's side of a task: order it, wait for the end of its child, read the answer. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/num.h"
#include "base/sys.h"
#include "runtime/runtime_priv.h"

int rt_task_start(struct rt_keeper *k, enum rt_order_kind kind, const void *args, size_t nargs,
                  const int *fds, size_t nfds, size_t answer_max, struct rt_task *ret,
                  struct bld_err *err)
{
        struct rt_order o = {.kind = kind};
        AUTO_FD int args_fd = -1;
        AUTO_FD int answer_fd = -1;
        AUTO_FD int ours = -1;
        AUTO_FD int theirs = -1;
        int all[RT_FDS_MAX + 8];
        int pair[2];
        int r;

        if (nfds > RT_FDS_MAX)
                return err_set(err, BLD_E_LIMIT, "%zu file descriptors for one task, at most %d",
                               nfds, RT_FDS_MAX);
        r = rt_memfd("bld-args", nargs ? args : "", nargs, &args_fd, err);
        if (r < 0)
                return r;
        r = rt_memfd("bld-answer", NULL, sizeof(struct rt_answer) + answer_max, &answer_fd, err);
        if (r < 0)
                return r;
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                return err_sys(err, errno, "create a socket for a task");
        ours = pair[0];
        theirs = pair[1];
        o.id = __atomic_add_fetch(&k->next_id, 1, __ATOMIC_RELAXED);
        all[0] = theirs;
        all[1] = args_fd;
        all[2] = answer_fd;
        for (size_t i = 0; i < nfds; i++)
                all[3 + i] = fds[i];
        r = rt_send(k->sock, &o, sizeof(o), all, nfds + 3, err);
        if (r < 0)
                return err_why(err, r, "the keeper process %d is gone", (int)k->pid);
        ret->k = k;
        ret->id = o.id;
        ret->sock = take_fd(&ours);
        ret->answer_fd = take_fd(&answer_fd);
        return 0;
}

int rt_task_poll(struct rt_task *t, int cancel_fd, int64_t timeout_ms, int *ret_status,
                 struct bld_err *err)
{
        struct pollfd p[2] = {{.fd = t->sock, .events = POLLIN},
                              {.fd = cancel_fd, .events = POLLIN}};
        struct rt_exit e = {0};
        int ms = timeout_ms < 0 ? -1 : (int)MIN(timeout_ms, 3600 * 1000);
        int n, r;

        n = poll(p, 2, ms);
        if (n < 0 && errno != EINTR)
                return err_sys(err, errno, "wait for the keeper process");
        if (n <= 0 || !p[0].revents)
                return 0;
        r = rt_recv(t->sock, &e, sizeof(e), NULL, 0, NULL, err);
        if (r < 0)
                return r;
        if (r == 0)
                return err_set(err, BLD_E_CHILD, "the keeper process %d ended in mid-task",
                               (int)t->k->pid);
        *ret_status = e.wait_status;
        return 1;
}

void rt_task_kill(struct rt_task *t)
{
        const struct rt_order o = {.kind = ORDER_KILL, .id = t->id};

        (void)!rt_send(t->k->sock, &o, sizeof(o), NULL, 0, NULL); /* gone: then so is the task */
}

void rt_task_signal(struct rt_task *t, int signo)
{
        const struct rt_signal s = {.signo = (uint32_t)signo};

        (void)!rt_send(t->sock, &s, sizeof(s), NULL, 0, NULL);
}

static int child_gone(int status, struct bld_err *err)
{
        if (WIFSIGNALED(status))
                err_set(err, BLD_E_CHILD, "a child of the keeper was killed by signal %d (%s)",
                        WTERMSIG(status), strsignal(WTERMSIG(status)));
        else
                err_set(err, BLD_E_CHILD, "a child of the keeper ended with status %d, no answer",
                        WEXITSTATUS(status));
        if (err)
                err->sys = status;
        return BLD_E_CHILD;
}

int rt_task_answer(struct rt_task *t, int wait_status, struct sb *out, struct bld_err *err)
{
        struct rt_answer a = {0};
        char buf[16384];
        uint64_t off = 0;

        if (sys_pread(t->answer_fd, &a, sizeof(a), 0) != (ssize_t)sizeof(a) ||
            a.magic != RT_ANSWER_MAGIC || a.state == ANSWER_NONE)
                return child_gone(wait_status, err);
        if (a.state != ANSWER_OK) {
                a.err.msg[sizeof(a.err.msg) - 1] = '\0';
                if (a.err.code >= 0)
                        a.err.code = BLD_E_BUG;
                if (err)
                        err_copy(err, &a.err);
                return a.err.code;
        }
        while (off < a.len) {
                size_t want = (size_t)MIN(a.len - off, sizeof(buf));
                ssize_t n = sys_pread(t->answer_fd, buf, want, (int64_t)(sizeof(a) + off));
                if (n <= 0)
                        return err_set(err, BLD_E_BUG, "the answer of a task is cut short");
                if (out)
                        sb_add(out, buf, (size_t)n);
                off += (uint64_t)n;
        }
        return out ? sb_check(out, "the answer of a task", err) : 0;
}

void rt_task_done(struct rt_task *t)
{
        fd_close(&t->sock);
        fd_close(&t->answer_fd);
}

/* ---- verbs ---- */

static int wait_call(struct rt_task *t, const struct cancel *cancel, int *ret_status,
                     struct bld_err *err)
{
        bool killed = false;
        int r;

        for (;;) {
                /* Once killed only the end matters, and the token's fd would stay readable. */
                r = rt_task_poll(t, killed ? -1 : cancel_fd(cancel), -1, ret_status, err);
                if (r != 0)
                        break;
                if (!killed && cancel_level(cancel)) {
                        rt_task_kill(t);
                        killed = true;
                }
        }
        return r < 0 ? r : 0;
}

int rt_call(struct rt_keeper *k, const char *verb, const void *args, size_t nargs, const int *fds,
            size_t nfds, const struct cancel *cancel, struct sb *out, struct bld_err *err)
{
        AUTO(rt_task_done) struct rt_task t = RT_TASK_INIT;
        AUTO_SB struct sb b = SB_INIT(RT_CALL_MAX + 256);
        int status = 0;
        int r;

        if (nargs > RT_CALL_MAX)
                return err_set(err, BLD_E_LIMIT, "%s: arguments of %zu bytes, at most %zu", verb,
                               nargs, RT_CALL_MAX);
        r = cancel_check(cancel, err);
        if (r < 0)
                return r;
        sb_add(&b, verb, strlen(verb) + 1);
        sb_add(&b, args, nargs);
        r = sb_check(&b, "the arguments of a task", err);
        if (r < 0)
                return r;
        r = rt_task_start(k, ORDER_CALL, b.buf, b.len, fds, nfds, RT_CALL_MAX, &t, err);
        if (r < 0)
                return r;
        r = wait_call(&t, cancel, &status, err);
        if (r < 0)
                return r;
        /* A verb that finished before the kill reached it has its answer; take it. */
        struct bld_err mine = BLD_ERR_INIT;
        r = rt_task_answer(&t, status, out, &mine);
        if (r == BLD_E_CHILD && cancel_level(cancel))
                return cancel_check(cancel, err);
        if (r == BLD_E_CHILD)
                err_wrap(&mine, r, "%s", verb);
        if (r < 0 && err)
                err_copy(err, &mine);
        return r;
}

int rt_remove_tree(struct rt_keeper *k, const char *relpath, struct bld_err *err)
{
        return rt_call(k, RT_REMOVE_VERB, relpath, strlen(relpath), NULL, 0, NULL, NULL, err);
}
