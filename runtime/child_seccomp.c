/* The system call filter of steps. The only file that includes libseccomp, and for the names only:
 * its generator takes 17 ms for this list, and what it makes 0.3 ms to load, each several times a
 * whole step. Runs of neighbouring numbers and a binary search take 0.2 and 0.05.
 *
 * What is in `allowed` passes; what is in `refused` answers EPERM, as programs know it from
 * containers; everything else, newer calls above all, answers ENOSYS, so that libc falls back
 * (EPERM to an unknown call breaks programs that test for it). */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/runtime_priv.h"

#define CLONE_NEW_MASK 0x7e020000u /* every namespace flag of clone(2) */
#define CALLS_MAX 1024             /* of one architecture */
#define X32_BIT 0x40000000u

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define ARG(n) (offsetof(struct seccomp_data, args) + 8 * (n))
#else
#define ARG(n) (offsetof(struct seccomp_data, args) + 8 * (n) + 4)
#endif
#ifdef __s390x__ /* the one architecture that swaps the first two arguments */
#define CLONE_FLAGS ARG(1)
#else
#define CLONE_FLAGS ARG(0)
#endif

/* clang-format off */
static const char *const allowed[] = {
        "_llseek", "_newselect", "accept", "accept4", "access", "adjtimex", "alarm", "arch_prctl",
        "arm_fadvise64_64", "arm_sync_file_range", "bind", "breakpoint", "brk", "cacheflush",
        "capget", "capset", "chdir", "chmod", "chown", "chown32", "chroot", "clock_adjtime",
        "clock_adjtime64", "clock_getres", "clock_getres_time64", "clock_gettime",
        "clock_gettime64", "clock_nanosleep", "clock_nanosleep_time64", "close", "close_range",
        "connect", "copy_file_range", "creat", "dup", "dup2", "dup3", "epoll_create",
        "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_pwait2", "epoll_wait", "eventfd",
        "eventfd2", "execve", "execveat", "exit", "exit_group", "faccessat", "faccessat2",
        "fadvise64", "fadvise64_64", "fallocate", "fanotify_mark", "fchdir", "fchmod", "fchmodat",
        "fchown", "fchown32", "fchownat", "fcntl", "fcntl64", "fdatasync", "fgetxattr",
        "flistxattr", "flock", "fork", "fremovexattr", "fsetxattr", "fstat", "fstat64",
        "fstatat64", "fstatfs", "fstatfs64", "fsync", "ftruncate", "ftruncate64", "futex",
        "futex_time64", "futex_waitv", "futimesat", "get_robust_list", "get_thread_area",
        "get_tls", "getcpu", "getcwd", "getdents", "getdents64", "getegid", "getegid32",
        "geteuid", "geteuid32", "getgid", "getgid32", "getgroups", "getgroups32", "getitimer",
        "getpeername", "getpgid", "getpgrp", "getpid", "getppid", "getpriority", "getrandom",
        "getresgid", "getresgid32", "getresuid", "getresuid32", "getrlimit", "getrusage",
        "getsid", "getsockname", "getsockopt", "gettid", "gettimeofday", "getuid", "getuid32",
        "getxattr", "inotify_add_watch", "inotify_init", "inotify_init1", "inotify_rm_watch",
        "io_cancel", "io_destroy", "io_getevents", "io_pgetevents", "io_pgetevents_time64",
        "io_setup", "io_submit", "ioctl", "ioprio_get", "ioprio_set", "ipc", "kill",
        "landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self", "lchown",
        "lchown32", "lgetxattr", "link", "linkat", "listen", "listxattr", "llistxattr",
        "lremovexattr", "lseek", "lsetxattr", "lstat", "lstat64", "madvise", "membarrier",
        "memfd_create", "memfd_secret", "mincore", "mkdir", "mkdirat", "mknod", "mknodat",
        "mlock", "mlock2", "mlockall", "mmap", "mmap2", "modify_ldt", "mprotect", "mq_getsetattr",
        "mq_notify", "mq_open", "mq_timedreceive", "mq_timedreceive_time64", "mq_timedsend",
        "mq_timedsend_time64", "mq_unlink", "mremap", "msgctl", "msgget", "msgrcv", "msgsnd",
        "msync", "munlock", "munlockall", "munmap", "name_to_handle_at", "nanosleep",
        "newfstatat", "nice", "open", "openat", "openat2", "pause", "pidfd_open",
        "pidfd_send_signal", "pipe", "pipe2", "pkey_alloc", "pkey_free", "pkey_mprotect", "poll",
        "ppoll", "ppoll_time64", "prctl", "pread64", "preadv", "preadv2", "prlimit64",
        "process_mrelease", "process_vm_readv", "process_vm_writev", "pselect6",
        "pselect6_time64", "ptrace", "pwrite64", "pwritev", "pwritev2", "read", "readahead",
        "readdir", "readlink", "readlinkat", "readv", "recv", "recvfrom", "recvmmsg",
        "recvmmsg_time64", "recvmsg", "remap_file_pages", "removexattr", "rename", "renameat",
        "renameat2", "restart_syscall", "riscv_flush_icache", "rmdir", "rseq", "rt_sigaction",
        "rt_sigpending", "rt_sigprocmask", "rt_sigqueueinfo", "rt_sigreturn", "rt_sigsuspend",
        "rt_sigtimedwait", "rt_sigtimedwait_time64", "rt_tgsigqueueinfo",
        "sched_get_priority_max", "sched_get_priority_min", "sched_getaffinity", "sched_getattr",
        "sched_getparam", "sched_getscheduler", "sched_rr_get_interval",
        "sched_rr_get_interval_time64", "sched_setaffinity", "sched_setattr", "sched_setparam",
        "sched_setscheduler", "sched_yield", "seccomp", "select", "semctl", "semget", "semop",
        "semtimedop", "semtimedop_time64", "send", "sendfile", "sendfile64", "sendmmsg",
        "sendmsg", "sendto", "set_robust_list", "set_thread_area", "set_tid_address", "set_tls",
        "setfsgid", "setfsgid32", "setfsuid", "setfsuid32", "setgid", "setgid32", "setgroups",
        "setgroups32", "setitimer", "setpgid", "setpriority", "setregid", "setregid32",
        "setresgid", "setresgid32", "setresuid", "setresuid32", "setreuid", "setreuid32",
        "setrlimit", "setsid", "setsockopt", "setuid", "setuid32", "setxattr", "shmat", "shmctl",
        "shmdt", "shmget", "shutdown", "sigaction", "sigaltstack", "signal", "signalfd",
        "signalfd4", "sigpending", "sigprocmask", "sigreturn", "sigsuspend",
        "socketpair", "splice", "stat", "stat64", "statfs", "statfs64", "statx", "swapcontext",
        "symlink", "symlinkat", "sync", "sync_file_range", "sync_file_range2", "syncfs",
        "sysinfo", "tee", "tgkill", "time", "timer_create", "timer_delete", "timer_getoverrun",
        "timer_gettime", "timer_gettime64", "timer_settime", "timer_settime64", "timerfd_create",
        "timerfd_gettime", "timerfd_gettime64", "timerfd_settime", "timerfd_settime64", "times",
        "tkill", "truncate", "truncate64", "ugetrlimit", "umask", "uname", "unlink", "unlinkat",
        "utime", "utimensat", "utimensat_time64", "utimes", "vfork", "vmsplice", "wait4",
        "waitid", "waitpid", "write", "writev",
};

/* Mounting, tracing by other means than ptrace, the kernel itself, keys, clocks, other names'
 * spaces; io_uring, because it goes round every filter. */
static const char *const refused[] = {
        "_sysctl", "acct", "add_key", "bpf", "clock_settime", "clock_settime64", "delete_module",
        "fanotify_init", "finit_module", "fsconfig", "fsmount", "fsopen", "fspick",
        "get_mempolicy", "init_module", "io_uring_enter", "io_uring_register", "io_uring_setup",
        "ioperm", "iopl", "kcmp", "kexec_file_load", "kexec_load", "keyctl", "lookup_dcookie",
        "mbind", "migrate_pages", "mount", "mount_setattr", "move_mount", "move_pages",
        "nfsservctl", "open_by_handle_at", "open_tree", "perf_event_open", "pidfd_getfd",
        "pivot_root", "process_madvise", "quotactl", "quotactl_fd", "reboot", "request_key",
        "set_mempolicy", "set_mempolicy_home_node", "setdomainname", "sethostname", "setns",
        "settimeofday", "stime", "swapoff", "swapon", "sysfs", "syslog", "umount", "umount2",
        "unshare", "uselib", "userfaultfd", "ustat", "vhangup", "vm86", "vm86old",
};
/* clang-format on */

/* For security.insecure: what no build needs and a machine does not survive. */
static const char *const never[] = {
        "kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module",
        "swapon",     "swapoff",         "acct",        "reboot",
};

/* Newer than the library may be, by number; the same on every architecture since 424:
 * cachestat, fchmodat2, map_shadow_stack, futex_wake, futex_wait, futex_requeue, mseal,
 * setxattrat, getxattrat, listxattrat, removexattrat, file_getattr, file_setattr. */
static const uint32_t allowed_new[] = {451, 452, 453, 454, 455, 456, 462,
                                       463, 464, 465, 466, 468, 469};

enum verdict { UNKNOWN, ALLOW, REFUSE, SOCKET, SOCKETCALL, PERSONALITY, CLONE, N_VERDICTS };

struct call {
        uint32_t nr;
        enum verdict verdict;
};
/* One architecture's calls, then the runs they make: a run goes on until the next one starts. */
struct calls {
        struct call v[CALLS_MAX];
        size_t n;
};

struct gen {
        struct filter *f;
        enum filter_kind kind;
        enum verdict other; /* what is in no list */
        /* Jumps to the snippets of the architecture at hand, to be filled in behind its tree. */
        size_t jumps[CALLS_MAX];
        size_t njumps;
        bool full;
};

static void emit(struct gen *g, uint16_t code, uint32_t k, uint8_t jt, uint8_t jf)
{
        if (g->f->n == FILTER_MAX) {
                g->full = true;
                return;
        }
        g->f->v[g->f->n++] = (struct sock_filter){code, jt, jf, k};
}

static void load(struct gen *g, size_t off)
{
        emit(g, BPF_LD | BPF_W | BPF_ABS, (uint32_t)off, 0, 0);
}

static void give(struct gen *g, uint32_t action)
{
        emit(g, BPF_RET | BPF_K, action, 0, 0);
}

#define ANSWER(e) (SECCOMP_RET_ERRNO | ((e)&SECCOMP_RET_DATA))

/* ---- one architecture's numbers ---- */

static int put(struct calls *c, int nr, enum verdict verdict)
{
        if (nr < 0)
                return 0; /* not on this architecture, or an older library: then it is ENOSYS */
        if (c->n == CALLS_MAX)
                return -1;
        c->v[c->n++] = (struct call){(uint32_t)nr, verdict};
        return 0;
}

static int put_names(struct calls *c, uint32_t arch, const char *const *names, size_t n,
                     enum verdict verdict)
{
        int r = 0;

        for (size_t i = 0; i < n; i++)
                r |= put(c, seccomp_syscall_resolve_name_arch(arch, names[i]), verdict);
        return r;
}

static int by_number(const void *a, const void *b)
{
        const struct call *x = a, *y = b;

        return x->nr < y->nr ? -1 : x->nr > y->nr;
}

static void push_run(struct calls *runs, uint32_t from, enum verdict verdict)
{
        if (runs->n && runs->v[runs->n - 1].verdict == verdict)
                return; /* the run before goes on */
        if (runs->n < CALLS_MAX)
                runs->v[runs->n++] = (struct call){from, verdict};
}

/* Sorted calls into runs that cover every number from 0 on. */
static void make_runs(const struct calls *c, enum verdict other, struct calls *runs)
{
        uint32_t next = 0;

        runs->n = 0;
        for (size_t i = 0; i < c->n; i++) {
                if (c->v[i].nr < next)
                        continue; /* two names of one call */
                if (c->v[i].nr > next)
                        push_run(runs, next, other);
                push_run(runs, c->v[i].nr, c->v[i].verdict);
                next = c->v[i].nr + 1;
        }
        push_run(runs, next, other);
}

static int collect(uint32_t arch, enum filter_kind kind, struct calls *c)
{
        /* socketcall hides its arguments, and what made sockets by it was built before 2016. */
        static const struct {
                const char *name[1];
                enum verdict verdict;
        } by_argument[] = {{{"socket"}, SOCKET},
                           {{"socketcall"}, SOCKETCALL},
                           {{"personality"}, PERSONALITY},
                           {{"clone"}, CLONE}};
        const uint32_t bit = arch == SCMP_ARCH_X32 ? X32_BIT : 0;
        int r = 0;

        if (kind == FILTER_INSECURE)
                return put_names(c, arch, never, ARRAY_LEN(never), REFUSE);
        r |= put_names(c, arch, allowed, ARRAY_LEN(allowed), ALLOW);
        r |= put_names(c, arch, refused, ARRAY_LEN(refused), REFUSE);
        for (size_t i = 0; i < ARRAY_LEN(by_argument); i++)
                r |= put_names(c, arch, by_argument[i].name, 1, by_argument[i].verdict);
        for (size_t i = 0; i < ARRAY_LEN(allowed_new); i++)
                r |= put(c, (int)(allowed_new[i] | bit), ALLOW);
        return r;
}

/* ---- the program ---- */

static void leaf(struct gen *g, enum verdict verdict)
{
        switch (verdict) {
        case UNKNOWN:
                give(g, ANSWER(ENOSYS));
                return;
        case ALLOW:
                give(g, SECCOMP_RET_ALLOW);
                return;
        case REFUSE:
                give(g, ANSWER(EPERM));
                return;
        case SOCKET:
        case SOCKETCALL:
        case PERSONALITY:
        case CLONE:
        case N_VERDICTS:
                g->jumps[g->njumps++] = g->f->n;
                emit(g, BPF_JMP | BPF_JA, verdict, 0, 0);
        }
}

/* Binary search; a jump skips at most 255 instructions, which 250 runs need. */
static void tree(struct gen *g, const struct call *runs, size_t n)
{
        size_t at = g->f->n;
        size_t mid = n / 2;

        if (n == 1) {
                leaf(g, runs[0].verdict);
                return;
        }
        emit(g, BPF_JMP | BPF_JGE | BPF_K, runs[mid].nr, 0, 0);
        tree(g, runs, mid);
        size_t skip = g->f->n - at - 1;
        if (skip > 255 || g->full)
                g->full = true;
        else
                g->f->v[at].jt = (uint8_t)skip;
        tree(g, runs + mid, n - mid);
}

/* AF_ALG (38): kernel crypto, a history of holes; AF_VSOCK (40): the hypervisor. With the host's
 * network also all that hears other people's packets, which CAP_NET_RAW allows: AF_PACKET (17),
 * AF_XDP (44), raw and packet sockets of the two internet families. */
static void socket_snippet(struct gen *g)
{
        const uint16_t jeq = BPF_JMP | BPF_JEQ | BPF_K;

        load(g, ARG(0));
        if (g->kind == FILTER_NO_NET) {
                emit(g, jeq, 1, 0, 1); /* AF_UNIX */
                give(g, SECCOMP_RET_ALLOW);
                give(g, ANSWER(EAFNOSUPPORT));
                return;
        }
        if (g->kind == FILTER_OWN_NET) {
                emit(g, jeq, 38, 2, 0);
                emit(g, jeq, 40, 1, 0);
                give(g, SECCOMP_RET_ALLOW);
                give(g, ANSWER(EPERM));
                return;
        }
        emit(g, jeq, 38, 11, 0);
        emit(g, jeq, 40, 10, 0);
        emit(g, jeq, 17, 9, 0);
        emit(g, jeq, 44, 8, 0);
        emit(g, jeq, 2, 2, 0); /* AF_INET, AF_INET6: look at the type */
        emit(g, jeq, 10, 1, 0);
        give(g, SECCOMP_RET_ALLOW);
        load(g, ARG(1));
        emit(g, BPF_ALU | BPF_AND | BPF_K, 0xf, 0, 0); /* without SOCK_CLOEXEC, SOCK_NONBLOCK */
        emit(g, jeq, 3, 2, 0);
        emit(g, jeq, 10, 1, 0);
        give(g, SECCOMP_RET_ALLOW);
        give(g, ANSWER(EPERM));
}

/* Allowed or refused by an argument. */
static void snippet(struct gen *g, enum verdict verdict)
{
        static const uint32_t personas[] = {0, 8, 0x20000, 0x20008, 0xffffffff};
        const uint8_t n = ARRAY_LEN(personas);

        if (verdict == SOCKET) {
                socket_snippet(g);
                return;
        }
        if (verdict == SOCKETCALL) {
                load(g, ARG(0));
                emit(g, BPF_JMP | BPF_JEQ | BPF_K, 1 /* SYS_SOCKET */, 1, 0);
        } else if (verdict == PERSONALITY) {
                load(g, ARG(0));
                for (uint8_t i = 0; i < n; i++)
                        emit(g, BPF_JMP | BPF_JEQ | BPF_K, personas[i], (uint8_t)(n - 1 - i),
                             i == n - 1);
        } else {
                /* clone3 hides its flags behind a pointer: ENOSYS makes libc use clone. */
                load(g, CLONE_FLAGS);
                emit(g, BPF_JMP | BPF_JSET | BPF_K, CLONE_NEW_MASK, 1, 0);
        }
        give(g, SECCOMP_RET_ALLOW);
        give(g, ANSWER(EPERM));
}

static void snippets(struct gen *g)
{
        for (enum verdict v = SOCKET; v < N_VERDICTS; v++) {
                size_t at = g->f->n;
                bool used = false;

                for (size_t i = 0; i < g->njumps && !g->full; i++) {
                        struct sock_filter *j = &g->f->v[g->jumps[i]];
                        if (j->k == (uint32_t)v && j->jt == 0) {
                                j->k = (uint32_t)(at - g->jumps[i] - 1);
                                j->jt = 1; /* done; the kernel ignores it in BPF_JA */
                                used = true;
                        }
                }
                if (used)
                        snippet(g, v);
        }
        for (size_t i = 0; i < g->njumps && !g->full; i++)
                g->f->v[g->jumps[i]].jt = 0;
        g->njumps = 0;
}

/* Architectures that share a kernel with the native one; x32 calls carry the native token. */
struct group {
        uint32_t native, extra, other;
};
static const struct group groups[] = {
        {SCMP_ARCH_X86_64, SCMP_ARCH_X32, SCMP_ARCH_X86},
        {SCMP_ARCH_AARCH64, 0, SCMP_ARCH_ARM},
};

static int arch_block(struct gen *g, uint32_t arch, uint32_t extra)
{
        static struct calls c, runs; /* the keeper has one thread */
        size_t at = g->f->n;
        int r;

        c.n = 0;
        r = collect(arch, g->kind, &c);
        if (extra)
                r |= collect(extra, g->kind, &c);
        qsort(c.v, c.n, sizeof(c.v[0]), by_number);
        make_runs(&c, g->other, &runs);
        /* Skip the block when the token is another: by a long jump, filled in at its end. */
        emit(g, BPF_JMP | BPF_JEQ | BPF_K, arch, 1, 0);
        emit(g, BPF_JMP | BPF_JA, 0, 0, 0);
        load(g, offsetof(struct seccomp_data, nr));
        tree(g, runs.v, runs.n);
        snippets(g);
        if (!g->full)
                g->f->v[at + 1].k = (uint32_t)(g->f->n - at - 2);
        return r;
}

int filter_compile(enum filter_kind kind, struct filter *ret, struct bld_err *err)
{
        static struct gen g;
        struct group gr = {.native = seccomp_arch_native()};
        int r;

        memset(&g, 0, sizeof(g));
        g.f = ret;
        g.kind = kind;
        g.other = kind == FILTER_INSECURE ? ALLOW : UNKNOWN;
        ret->n = 0;
        for (size_t i = 0; i < ARRAY_LEN(groups); i++)
                if (groups[i].native == gr.native)
                        gr = groups[i];
        load(&g, offsetof(struct seccomp_data, arch));
        r = arch_block(&g, gr.native, gr.extra);
        if (gr.other)
                r |= arch_block(&g, gr.other, 0);
        give(&g, SECCOMP_RET_KILL_PROCESS);
        if (r || g.full) {
                ret->n = 0;
                return err_set(err, BLD_E_BUG, "the seccomp filter grew too large");
        }
        return 0;
}

enum filter_kind filter_kind_of(const struct rt_env *env, const struct rt_step *s)
{
        if (s->insecure)
                return FILTER_INSECURE;
        if (s->network == RT_NET_NONE && env->level == RT_CHROOT)
                return FILTER_NO_NET; /* no namespace to be had: no sockets either */
        return s->network == RT_NET_NONE ? FILTER_OWN_NET : FILTER_SHARED_NET;
}

int filter_load(const struct filter *f, struct bld_err *err)
{
        struct sock_fprog prog = {.len = (unsigned short)f->n};

        memcpy(&prog.filter, &(const void *){f->v},
               sizeof(prog.filter)); /* the kernel only reads */
        if (!f->n)
                return err_set(err, BLD_E_BUG, "the seccomp filter is empty");
        if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) == 0)
                return 0;
        if (errno != EACCES)
                return err_sys(err, errno, "load the seccomp filter");
        /* Without CAP_SYS_ADMIN the kernel wants no_new_privs: then set-uid programs stay weak. */
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
            syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) < 0)
                return err_sys(err, errno, "load the seccomp filter");
        return 0;
}
