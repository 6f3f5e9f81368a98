/* The system call filter of steps. The only file that includes libseccomp.
 *
 * What is in `allowed` passes; what is in `refused` answers EPERM, as programs know it from
 * containers; everything else, newer calls above all, answers ENOSYS, so that libc falls back
 * (EPERM to an unknown call breaks programs that test for it). Making the program costs
 * milliseconds, so it is made once per keeper and loaded from a memory file after that. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/sys.h"
#include "runtime/runtime_priv.h"

#define FILTER_MAX 4096 /* instructions, the kernel's limit */
#define CLONE_NEW_MASK 0x7e020000UL /* every namespace flag of clone(2) */
#ifdef __s390x__ /* the one architecture that swaps the first two arguments */
#define CLONE_FLAGS SCMP_A1
#else
#define CLONE_FLAGS SCMP_A0
#endif

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
        "signalfd4", "sigpending", "sigprocmask", "sigreturn", "sigsuspend", "socketcall",
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

/* For security.insecure: what no build needs and a machine does not survive. */
static const char *const never[] = {
        "kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module", "swapon",
        "swapoff", "acct", "reboot",
};

/* Newer than the library may be, by number; the same on every architecture since 424:
 * cachestat, fchmodat2, map_shadow_stack, futex_wake, futex_wait, futex_requeue, mseal,
 * setxattrat, getxattrat, listxattrat, removexattrat, file_getattr, file_setattr. */
static const uint32_t allowed_new[] = {451, 452, 453, 454, 455, 456, 462, 463, 464, 465, 466, 468, 469};

static int add(scmp_filter_ctx ctx, uint32_t action, const char *name, struct bld_err *err)
{
        int nr = seccomp_syscall_resolve_name(name);
        int r;

        if (nr == __NR_SCMP_ERROR)
                return 0; /* an older library: then the call is ENOSYS */
        r = seccomp_rule_add(ctx, action, nr, 0);
        /* A name that only another architecture has. */
        if (r < 0 && r != -EDOM)
                return err_sys(err, -r, "seccomp rule for %s", name);
        return 0;
}

static int add_all(scmp_filter_ctx ctx, uint32_t action, const char *const *names, size_t n,
                   struct bld_err *err)
{
        int r = 0;

        for (size_t i = 0; i < n && r == 0; i++)
                r = add(ctx, action, names[i], err);
        return r;
}

static int add_one(scmp_filter_ctx ctx, uint32_t action, int nr, struct scmp_arg_cmp cmp,
                   struct bld_err *err)
{
        int r = seccomp_rule_add_array(ctx, action, nr, 1, &cmp);

        return r < 0 ? err_sys(err, -r, "seccomp rule for call %d", nr) : 0;
}

/* Calls that pass with some arguments only. */
static int add_conditional(scmp_filter_ctx ctx, struct bld_err *err)
{
        static const uint64_t personas[] = {0, 8, 0x20000, 0x20008, 0xffffffff};
        /* Not AF_ALG (38): kernel crypto, a history of holes; not AF_VSOCK (40): the hypervisor. */
        const struct scmp_arg_cmp families[] = {SCMP_A0_32(SCMP_CMP_LT, 38),
                                                SCMP_A0_32(SCMP_CMP_EQ, 39),
                                                SCMP_A0_32(SCMP_CMP_GT, 40)};
        const uint32_t eperm = SCMP_ACT_ERRNO(EPERM);
        int r = 0;

        for (size_t i = 0; i < ARRAY_LEN(personas) && r == 0; i++)
                r = add_one(ctx, SCMP_ACT_ALLOW, SCMP_SYS(personality),
                            SCMP_A0_32(SCMP_CMP_EQ, personas[i]), err);
        for (size_t i = 0; i < ARRAY_LEN(families) && r == 0; i++)
                r = add_one(ctx, SCMP_ACT_ALLOW, SCMP_SYS(socket), families[i], err);
        /* clone3 hides its flags behind a pointer: ENOSYS makes libc use clone. */
        if (r == 0)
                r = add_one(ctx, SCMP_ACT_ALLOW, SCMP_SYS(clone),
                            CLONE_FLAGS(SCMP_CMP_MASKED_EQ, CLONE_NEW_MASK, 0), err);
        for (unsigned bit = 0; bit < 32 && r == 0; bit++)
                if (CLONE_NEW_MASK & 1UL << bit)
                        r = add_one(ctx, eperm, SCMP_SYS(clone),
                                    CLONE_FLAGS(SCMP_CMP_MASKED_EQ, 1UL << bit, 1UL << bit), err);
        return r;
}

/* The other instruction sets this CPU runs under the same kernel. */
static int add_archs(scmp_filter_ctx ctx, struct bld_err *err)
{
        static const struct {
                uint32_t native, other;
        } pairs[] = {{SCMP_ARCH_X86_64, SCMP_ARCH_X86},
                     {SCMP_ARCH_X86_64, SCMP_ARCH_X32},
                     {SCMP_ARCH_AARCH64, SCMP_ARCH_ARM}};

        for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
                if (seccomp_arch_native() != pairs[i].native)
                        continue;
                int r = seccomp_arch_add(ctx, pairs[i].other);
                if (r < 0 && r != -EEXIST)
                        return err_sys(err, -r, "seccomp architecture %#x", pairs[i].other);
        }
        return 0;
}

/* Numbers the library cannot name pass before its program begins; a jump over them otherwise. The
 * program's own jumps are relative, so that it may stand anywhere. */
static int write_prologue(int fd, struct bld_err *err)
{
        enum { N = ARRAY_LEN(allowed_new) };
        struct sock_filter f[N + 3];
        size_t n = 0;

        f[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                              offsetof(struct seccomp_data, nr));
        f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, allowed_new[0], 0, N + 1);
        for (size_t i = 0; i < N; i++)
                f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, allowed_new[i],
                                                      (uint8_t)(N - 1 - i), 0);
        /* The last test falls through to the jump over ALLOW. */
        f[n - 1].jf = 1;
        f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
        return fd_write_all(fd, f, n * sizeof(f[0]), err);
}

int seccomp_compile(bool insecure, int fd, struct bld_err *err)
{
        scmp_filter_ctx ctx = seccomp_init(insecure ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO(ENOSYS));
        int r;

        if (!ctx)
                return err_nomem(err, "make the seccomp filter");
        (void)seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a tree, not a list; 2.5+ */
        r = add_archs(ctx, err);
        if (r == 0 && insecure)
                r = add_all(ctx, SCMP_ACT_ERRNO(EPERM), never, ARRAY_LEN(never), err);
        if (r == 0 && !insecure)
                r = add_all(ctx, SCMP_ACT_ALLOW, allowed, ARRAY_LEN(allowed), err);
        if (r == 0 && !insecure)
                r = add_all(ctx, SCMP_ACT_ERRNO(EPERM), refused, ARRAY_LEN(refused), err);
        if (r == 0 && !insecure)
                r = add_conditional(ctx, err);
        if (r == 0 && !insecure)
                r = write_prologue(fd, err);
        if (r == 0) {
                int n = seccomp_export_bpf(ctx, fd);
                if (n < 0)
                        r = err_sys(err, -n, "write the seccomp filter");
        }
        seccomp_release(ctx);
        return r;
}

int seccomp_load_fd(int fd, struct bld_err *err)
{
        static struct sock_filter f[FILTER_MAX];
        ssize_t n = sys_pread(fd, f, sizeof(f), 0);
        struct sock_fprog prog = {.filter = f};

        if (n <= 0 || (size_t)n % sizeof(f[0]))
                return err_set(err, BLD_E_BUG, "the seccomp filter is empty");
        prog.len = (unsigned short)((size_t)n / sizeof(f[0]));
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

int seccomp_ready(struct rt_child *c, struct bld_err *err)
{
        int status;

        if (c->seccomp_pid > 0) {
                while (waitpid(c->seccomp_pid, &status, 0) < 0)
                        if (errno != EINTR)
                                return err_sys(err, errno, "wait for the seccomp filter");
                c->seccomp_pid = 0;
                c->seccomp_status = status;
        }
        if (c->seccomp_status)
                return err_set(err, BLD_E_BUG, "the seccomp filter could not be made (status %#x)",
                               (unsigned)c->seccomp_status);
        return 0;
}
