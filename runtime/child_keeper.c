/* The keeper: bld re-executed. One thread, one poll loop; orders in, children out. It does no work
 * itself, so that nothing can block it, and it forks, so that no exec is paid per task. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/num.h"
#include "base/sys.h"
#include "runtime/runtime_priv.h"

/* linux/sched.h cannot be included beside sched.h */
struct clone3_args {
        uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid,
                set_tid_size, cgroup;
};

struct running {
        uint64_t id;
        pid_t pid;
        int sock;
};
VEC_DEFINE(runningv, struct running);

struct keeper {
        struct rt_child c;
        struct runningv tasks;
        int proc_fd; /* shared_proc: to look for what a dead init left behind */
};

#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#endif
#ifndef UNDER_TSAN
#define UNDER_TSAN 0
#endif

/* ---- small things every child needs ---- */

pid_t rt_fork(void)
{
        if (UNDER_TSAN)
                return (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
        return fork();
}

void rt_tie_to_parent(void)
{
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
}

int rt_fds_arrange(int *fds, size_t n, int base)
{
        int top = base + (int)n;

        for (size_t i = 0; i < n; i++) {
                fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, top);
                if (fds[i] < 0)
                        return -1;
        }
        for (size_t i = 0; i < n; i++) {
                if (dup3(fds[i], base + (int)i, O_CLOEXEC) < 0)
                        return -1;
                fds[i] = base + (int)i;
        }
        return close_range((unsigned)top, ~0u, 0);
}

int rt_answer_write(int fd, int r, const struct bld_err *err, const struct sb *out)
{
        struct rt_answer a = {.magic = RT_ANSWER_MAGIC};
        struct bld_err unused = BLD_ERR_INIT;

        a.state = r < 0 ? ANSWER_ERR : ANSWER_OK;
        if (r < 0)
                a.err = *err;
        else if (out)
                a.len = out->len;
        if (a.len && (lseek(fd, sizeof(a), SEEK_SET) < 0 ||
                      fd_write_all(fd, out->buf, out->len, &unused) < 0))
                return -1;
        return pwrite(fd, &a, sizeof(a), 0) == (ssize_t)sizeof(a) ? 0 : -1;
}

int rt_map_args(int fd, size_t max, const void **ret, size_t *ret_n, struct bld_err *err)
{
        struct stat st;
        void *p;

        if (fstat(fd, &st) < 0)
                return err_sys(err, errno, "look at the task's arguments");
        if (st.st_size < 0 || (uint64_t)st.st_size > max)
                return err_set(err, BLD_E_LIMIT, "the task's arguments are too long");
        *ret_n = (size_t)st.st_size;
        *ret = "";
        if (st.st_size == 0)
                return 0;
        p = mmap(NULL, *ret_n, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED)
                return err_sys(err, errno, "map the task's arguments");
        *ret = p;
        return 0;
}

/* ---- replies while starting ---- */

void rt_child_reply(const struct rt_child *c, uint32_t kind, pid_t pid, const struct bld_err *why)
{
        struct rt_reply rep = {.kind = kind, .pid = pid, .env = c->env};
        struct bld_err err = BLD_ERR_INIT;

        memcpy(rep.reports, c->reports, sizeof(rep.reports));
        if (why)
                rep.err = *why;
        if (rt_send(c->sock, &rep, sizeof(rep), NULL, 0, &err) < 0)
                _exit(1);
}

/* ---- tasks ---- */

static struct running *find_task(struct keeper *k, uint64_t id)
{
        for (size_t i = 0; i < k->tasks.n; i++)
                if (k->tasks.v[i].id == id)
                        return &k->tasks.v[i];
        return NULL;
}

/* A new process in namespaces of its own. A plain clone(2) where clone3 is refused: profiles
 * answer ENOSYS to the new call because its flags cannot be filtered. */
static pid_t clone_init(unsigned long flags)
{
        struct clone3_args a = {.flags = flags, .exit_signal = SIGCHLD};
        long pid = syscall(SYS_clone3, &a, sizeof(a));

        if (pid < 0 && errno == ENOSYS)
                pid = syscall(SYS_clone, flags | SIGCHLD, NULL, NULL, NULL, NULL);
        return (pid_t)pid;
}

/* What of the step the keeper needs to know: the flags for its init, and which filter. */
static int step_flags(struct keeper *k, int args_fd, unsigned long *ret, struct bld_err *err)
{
        struct filter *f;
        struct rt_step s;
        const void *p;
        size_t n;
        int r;

        *ret = k->c.env.level == RT_CHROOT
                       ? 0
                       : CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;
        if (!k->c.env.shared_proc) /* else getpid() would not agree with the names in /proc */
                *ret |= CLONE_NEWPID;
        r = rt_map_args(args_fd, RT_STEP_MAX, &p, &n, err);
        if (r < 0)
                return r;
        r = rt_step_decode(p, n, &s, err);
        if (r == 0 && s.network == RT_NET_NONE && k->c.env.level != RT_CHROOT)
                *ret |= CLONE_NEWNET;
        f = &k->c.filters[filter_kind_of(&k->c.env, &s)];
        if (r == 0 && !f->n)
                r = filter_compile(filter_kind_of(&k->c.env, &s), f, err);
        rt_step_done(&s);
        if (n)
                (void)munmap((void *)(uintptr_t)p, n);
        return r;
}

/* Fork the child of an order; its error, when it cannot even start, is the answer. */
static pid_t start_child(struct keeper *k, const struct rt_order *o, const int *fds, size_t nfds)
{
        struct bld_err err = BLD_ERR_INIT;
        unsigned long flags = 0;
        pid_t pid = -1;
        int r = 0;

        if (o->kind == ORDER_STEP) {
                r = nfds >= STEP_FDS ? step_flags(k, fds[1], &flags, &err)
                                     : err_set(&err, BLD_E_BUG, "a step of %zu descriptors", nfds);
                if (r == 0)
                        pid = clone_init(flags);
        } else {
                pid = fork();
        }
        if (pid == 0 && o->kind == ORDER_STEP)
                rt_init_child(&k->c, fds, nfds);
        if (pid == 0)
                rt_verb_child(&k->c, fds[1], fds[2], fds + 3, nfds - 3);
        if (pid < 0 && r == 0)
                r = err_sys(&err, errno, "start a process for the task");
        if (pid < 0)
                (void)rt_answer_write(fds[2], r, &err, NULL);
        return pid;
}

static void report(int sock, int status)
{
        const struct rt_exit e = {.wait_status = status};

        /* The peer reads this one message; its buffer is empty, so this cannot block. */
        (void)!send(sock, &e, sizeof(e), MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void start_task(struct keeper *k, const struct rt_order *o, int *fds, size_t nfds)
{
        struct running *t = nfds >= 3 ? runningv_push(&k->tasks) : NULL;

        if (t) {
                t->id = o->id;
                t->sock = fds[0];
                t->pid = start_child(k, o, fds, nfds);
                if (t->pid < 0) {
                        report(t->sock, 0);
                        k->tasks.n--;
                        t = NULL;
                }
        }
        for (size_t i = t ? 1 : 0; i < nfds; i++)
                close(fds[i]);
}

/* All below us that is no task's. */
static void kill_strays(struct keeper *k)
{
        pid_t spare[256];
        size_t n = 0;

        for (size_t i = 0; i < k->tasks.n && n < ARRAY_LEN(spare); i++)
                spare[n++] = k->tasks.v[i].pid;
        if (k->tasks.n <= ARRAY_LEN(spare))
                rt_kill_below(k->proc_fd, spare, n);
}

static void reap(struct keeper *k)
{
        struct signalfd_siginfo si;
        int status;
        pid_t pid;

        while (read(k->c.sig_fd, &si, sizeof(si)) > 0)
                ;
        while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
                for (size_t i = 0; i < k->tasks.n; i++) {
                        struct running *t = &k->tasks.v[i];
                        if (t->pid != pid)
                                continue;
                        int sock = t->sock;
                        *t = k->tasks.v[--k->tasks.n];
                        /* Without a pid namespace an init that was killed leaves orphans, ours. */
                        if (k->c.env.shared_proc)
                                kill_strays(k);
                        report(sock, status);
                        close(sock);
                        break;
                }
        }
}

/* The engine is gone, or done with us: nothing may outlive this. */
_Noreturn static void finish(struct keeper *k)
{
        for (size_t i = 0; i < k->tasks.n; i++)
                (void)kill(k->tasks.v[i].pid, SIGKILL);
        if (k->c.env.shared_proc)
                rt_kill_below(k->proc_fd, NULL, 0);
        while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
                ;
        runningv_done(&k->tasks);
        _exit(0);
}

static void one_order(struct keeper *k)
{
        int fds[RT_FDS_MAX + 8];
        struct rt_order o = {0};
        size_t nfds = 0;
        int r = rt_recv(k->c.sock, &o, sizeof(o), fds, ARRAY_LEN(fds), &nfds, NULL);

        if (r <= 0)
                finish(k);
        switch ((enum rt_order_kind)o.kind) {
        case ORDER_CALL:
        case ORDER_STEP:
                start_task(k, &o, fds, nfds);
                return;
        case ORDER_KILL: {
                struct running *t = find_task(k, o.id);
                if (t)
                        (void)kill(t->pid, SIGKILL);
                break;
        }
        case ORDER_START:
                break;
        }
        for (size_t i = 0; i < nfds; i++)
                close(fds[i]);
}

_Noreturn static void serve(struct keeper *k)
{
        struct pollfd p[2] = {{.fd = k->c.sock, .events = POLLIN},
                              {.fd = k->c.sig_fd, .events = POLLIN}};

        for (;;) {
                if (poll(p, 2, -1) < 0 && errno != EINTR)
                        finish(k);
                if (p[1].revents)
                        reap(k);
                if (p[0].revents)
                        one_order(k);
        }
}

/* ---- start ---- */

static void block_signals(struct keeper *k, struct bld_err *err)
{
        sigset_t set;

        (void)sigemptyset(&set);
        (void)sigaddset(&set, SIGCHLD);
        (void)sigprocmask(SIG_BLOCK, &set, NULL);
        k->c.sig_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        if (k->c.sig_fd < 0)
                (void)err_sys(err, errno, "wait for child processes");
}

/* Soft limit of descriptors up to the hard one: a merged tree of many layers is many handles.
 * Steps get a limit of their own. */
static void raise_files(void)
{
        struct rlimit rl;

        if (getrlimit(RLIMIT_NOFILE, &rl) == 0 && rl.rlim_cur < rl.rlim_max) {
                rl.rlim_cur = MAX(rl.rlim_cur, MIN(rl.rlim_max, (rlim_t)65536));
                (void)setrlimit(RLIMIT_NOFILE, &rl);
        }
}

/* No pid namespace ends what a step leaves behind: orphans come to us, and we can find them. */
static int share_proc(struct keeper *k, struct bld_err *err)
{
        k->proc_fd = sys_openat(AT_FDCWD, "/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
        if (k->proc_fd < 0)
                return err_sys(err, errno, "open /proc");
        if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
                return err_sys(err, errno, "adopt what steps leave behind");
        return 0;
}

_Noreturn static void keeper_main(const char *parent, const struct rt_verbs *verbs)
{
        static struct keeper k;
        struct bld_err err = BLD_ERR_INIT;
        struct rt_order o = {0};
        uint64_t engine = 0;
        size_t nfds = 0;

        k.c.verbs = verbs;
        k.c.sock = 3;
        k.c.store_fd = k.c.sig_fd = k.c.self_fd = k.proc_fd = -1;
        k.c.pid = getpid();
        rt_tie_to_parent();
        if (!parse_u64(parent, 1, INT32_MAX, &engine) || getppid() != (pid_t)engine)
                _exit(1);
        (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
        (void)prctl(PR_SET_NAME, "bld-keeper", 0, 0, 0);
        (void)umask(022);
        (void)fcntl(k.c.sock, F_SETFD, FD_CLOEXEC);
        (void)close_range(4, ~0u, 0);
        if (rt_recv(k.c.sock, &o, sizeof(o), &k.c.store_fd, 1, &nfds, &err) <= 0 ||
            o.kind != ORDER_START || nfds != 1)
                _exit(1);
        raise_files();
        k.c.self_fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
        if (k.c.self_fd < 0)
                (void)err_sys(&err, errno, "open a handle of the keeper process");
        else if (fchdir(k.c.store_fd) < 0)
                (void)err_sys(&err, errno, "enter the store");
        else
                block_signals(&k, &err);
        if (err.code == 0)
                (void)!rt_level_choose(&k.c, (enum rt_level)o.level, o.id != 0, k.c.reports, &err);
        if (err.code == 0 && k.c.env.shared_proc)
                (void)share_proc(&k, &err);
        if (err.code < 0) {
                rt_child_reply(&k.c, REPLY_FAILED, 0, &err);
                _exit(1);
        }
        rt_child_reply(&k.c, REPLY_READY, 0, NULL);
        serve(&k);
}

/* ThreadSanitizer's runtime gives every program a second thread before main(). There the keeper is
 * a child without it, and this process only waits, so that all that is said about the keeper's end
 * stays true. */
static const char *shed_threads(const char *parent, char *buf, size_t size)
{
        pid_t self = getpid();
        uint64_t engine = 0;
        pid_t pid;

        rt_tie_to_parent();
        if (!parse_u64(parent, 1, INT32_MAX, &engine) || getppid() != (pid_t)engine)
                _exit(1);
        pid = rt_fork();
        if (pid == 0) {
                (void)snprintf(buf, size, "%d", (int)self);
                return buf;
        }
        close(3);
        (void)prctl(PR_SET_NAME, "bld-keeper", 0, 0, 0);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
                ;
        _exit(pid < 0);
}

void rt_child_main(int argc, char **argv, const struct rt_verb *verbs, size_t nverbs)
{
        if (argc != 3 || strcmp(argv[1], RT_ARG) != 0)
                return;
        const struct rt_verbs v = {verbs, nverbs};
        char buf[24];
        keeper_main(UNDER_TSAN ? shed_threads(argv[2], buf, sizeof(buf)) : argv[2], &v);
}
