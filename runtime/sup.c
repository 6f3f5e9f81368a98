/* The supervisor's engine: from a notification to a handler and back. init serves it in its one
 * loop, so nothing here may block on the step. */
#include "runtime/sup_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/fsuid.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/sys.h"

/* Younger than the header may be. */
#ifndef SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP 1UL
#endif
#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#endif
#define PAGE 4096u

/* ---- the task's memory ---- */

bool sup_ids(const struct sup *s, pid_t tid, uint32_t *ret_uid, uint32_t *ret_gid)
{
        char path[32], buf[2048];
        AUTO_FD int fd = -1;
        const char *u, *g;
        ssize_t n;

        (void)snprintf(path, sizeof(path), "%d/status", (int)tid);
        fd = sys_openat(s->proc_fd, path, O_RDONLY | O_CLOEXEC, 0);
        n = fd < 0 ? -1 : sys_read(fd, buf, sizeof(buf) - 1);
        if (n <= 0)
                return false;
        buf[n] = '\0';
        u = strstr(buf, "\nUid:");
        g = strstr(buf, "\nGid:");
        return u && g && sscanf(u, "\nUid: %*u %*u %*u %u", ret_uid) == 1 &&
               sscanf(g, "\nGid: %*u %*u %*u %u", ret_gid) == 1;
}

/* The direct calls know a process by its number alone, which may be another's by the time they
 * look: of the step's own where it has a pid namespace, of anybody where it has not. There the file
 * is opened, and the caller seen to be waiting still.
 *
 * Also for a task of another uid without CAP_SYS_PTRACE, as in a plain pod: as that uid. The calls
 * that copy directly ask for the real ids, the file for those of the file system, which can be
 * changed. Also where a profile refuses those calls altogether (Docker's did until 23). */
static int open_mem(const struct sup_req *q, int flags)
{
        uint32_t uid = 0, gid = 0;
        int fd;

        if (!sup_ids(q->s, q->tid, &uid, &gid))
                return -ESRCH;
        (void)setfsgid(gid);
        (void)setfsuid(uid);
        fd = sup_proc_open(q->s, q->tid, "mem", flags);
        (void)setfsuid(0);
        (void)setfsgid(0);
        if (fd >= 0 && !sup_valid(q->s, q)) {
                close(fd);
                return -ESRCH;
        }
        return fd;
}

int sup_copy_in(const struct sup_req *q, uint64_t addr, void *p, size_t n)
{
        struct iovec here = {p, n};
        struct iovec there = {(void *)(uintptr_t)addr, n};
        ssize_t got = process_vm_readv(q->tid, &here, 1, &there, 1, 0);

        /* Read amiss is no harm if it is known before anything is done with it. */
        if (got >= 0 && q->s->shared && !sup_valid(q->s, q))
                return -ESRCH;
        if (got < 0 && errno == EPERM) {
                AUTO_FD int fd = open_mem(q, O_RDONLY);
                got = fd < 0 ? -1 : pread(fd, p, n, (off_t)addr);
        }
        return got == (ssize_t)n ? 0 : got < 0 ? -errno : -EFAULT;
}

int sup_copy_out(const struct sup_req *q, uint64_t addr, const void *p, size_t n)
{
        struct iovec here = {NULL, n};
        struct iovec there = {(void *)(uintptr_t)addr, n};
        ssize_t got = -1;

        errno = EPERM;
        memcpy(&here.iov_base, &p, sizeof(p)); /* the call only reads; the type cannot say so */
        if (!q->s->shared)
                got = process_vm_writev(q->tid, &here, 1, &there, 1, 0);
        if (got < 0 && errno == EPERM) {
                AUTO_FD int fd = open_mem(q, O_WRONLY);
                got = fd < 0 ? -1 : pwrite(fd, p, n, (off_t)addr);
        }
        return got == (ssize_t)n ? 0 : got < 0 ? -errno : -EFAULT;
}

/* Never across a page that the string does not reach. */
int sup_copy_str(const struct sup_req *q, uint64_t addr, char *p, size_t size)
{
        size_t at = 0;

        while (at < size) {
                size_t n = MIN(size - at, PAGE - (size_t)((addr + at) % PAGE));
                int r = sup_copy_in(q, addr + at, p + at, n);

                if (r < 0)
                        return r;
                if (memchr(p + at, '\0', n))
                        return 0;
                at += n;
        }
        return -ENAMETOOLONG;
}

bool sup_valid(const struct sup *s, const struct sup_req *q)
{
        return ioctl(s->listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &q->id) == 0;
}

int sup_proc_open(const struct sup *s, pid_t tid, const char *name, int flags)
{
        char path[64];
        int fd;

        (void)snprintf(path, sizeof(path), "%d/%s", (int)tid, name);
        fd = sys_openat(s->proc_fd, path, flags | O_CLOEXEC, 0);
        return fd < 0 ? -errno : fd;
}

int64_t sup_send_fd(struct sup *s, const struct sup_req *q, int fd, bool cloexec)
{
        struct seccomp_notif_addfd a = {.id = q->id,
                                        .flags = SECCOMP_ADDFD_FLAG_SEND,
                                        .srcfd = (uint32_t)fd,
                                        .newfd_flags = cloexec ? O_CLOEXEC : 0};
        int r = ioctl(s->listener, SECCOMP_IOCTL_NOTIF_ADDFD, &a);

        if (r >= 0)
                return SUP_SENT;
        if (errno != EINVAL)
                return -errno;
        a.flags = 0; /* before 5.14: in two steps */
        r = ioctl(s->listener, SECCOMP_IOCTL_NOTIF_ADDFD, &a);
        return r < 0 ? -errno : r;
}

/* ---- notifications ---- */

static const struct sup_rule *find(const struct sup *s, uint32_t arch, uint32_t nr)
{
        for (size_t i = 0; i < s->traps.n; i++)
                if (s->traps.v[i].nr == nr && s->traps.v[i].arch == arch)
                        return s->traps.v[i].rule;
        return NULL;
}

static void answer(struct sup *s, const struct sup_req *q, int64_t v)
{
        if (v == SUP_SENT)
                return;
        memset(s->resp, 0, s->resp_size);
        s->resp->id = q->id;
        if (v == SUP_CONTINUE)
                s->resp->flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
        else if (v < 0)
                s->resp->error = (int32_t)v;
        else
                s->resp->val = v;
        /* The task may have died meanwhile: then nobody wants to know. */
        (void)ioctl(s->listener, SECCOMP_IOCTL_NOTIF_SEND, s->resp);
}

void sup_serve(struct sup *s)
{
        struct sup_req q = {0};

        memset(s->req, 0, s->req_size);
        if (ioctl(s->listener, SECCOMP_IOCTL_NOTIF_RECV, s->req) < 0)
                return; /* ENOENT: killed before we looked */
        q.s = s;
        q.id = s->req->id;
        q.tid = (pid_t)s->req->pid;
        q.compat = s->req->data.arch != s->native;
        for (size_t i = 1; i < ARRAY_LEN(q.a); i++)
                q.a[i] = s->req->data.args[i - 1];
        q.rule = find(s, s->req->data.arch, (uint32_t)s->req->data.nr);
        answer(s, &q, q.rule && q.tid > 0 ? q.rule->handle(s, &q) : SUP_CONTINUE);
}

/* ---- life ---- */

static int make_buffers(struct sup *s, struct bld_err *err)
{
        struct seccomp_notif_sizes sizes = {0};

        if (syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes) < 0)
                return err_sys(err, errno, "ask for the size of seccomp notifications");
        s->req_size = MAX((size_t)sizes.seccomp_notif, sizeof(struct seccomp_notif));
        s->resp_size = MAX((size_t)sizes.seccomp_notif_resp, sizeof(struct seccomp_notif_resp));
        s->req = mem_zalloc(1, s->req_size);
        s->resp = mem_zalloc(1, s->resp_size);
        return s->req && s->resp ? 0 : err_nomem(err, "supervise the step");
}

int sup_new(unsigned modules, bool shared, int proc_fd, int upper_fd, const struct ident *id,
            struct sup **ret, struct bld_err *err)
{
        struct sup *s = mem_zalloc(1, sizeof(*s));
        int r;

        if (!s)
                return err_nomem(err, "supervise the step");
        s->modules = modules;
        s->shared = shared;
        s->listener = -1;
        s->proc_fd = proc_fd;
        s->upper_fd = upper_fd;
        s->sys_fd = s->place_fd = -1;
        owner_table_init(&s->owners);
        owner_table_init(&s->fresh);
        r = make_buffers(s, err);
        if (r == 0 && sup_cred_first(s, id) < 0)
                r = err_nomem(err, "supervise the step");
        if (r == 0)
                r = sup_compile(s, err);
        if (r < 0)
                sup_free(s);
        else
                *ret = s;
        return r;
}

int sup_in_chroot(struct sup *s, const char *root_path, const char *hostname, bool no_nodes,
                  struct bld_err *err)
{
        s->hostname = hostname;
        s->root_path = root_path;
        s->no_nodes = no_nodes;
        AUTO_FD int root = sys_openat(AT_FDCWD, root_path, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);

        if (root >= 0)
                s->place_fd = sys_openat(root, "proc",
                                         O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
        if (s->place_fd < 0)
                return err_sys(err, errno, "open /proc of the step's root");
        s->sys_fd = sys_openat(AT_FDCWD, "/sys", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
        return s->sys_fd < 0 ? err_sys(err, errno, "open /sys") : 0;
}

void sup_free(struct sup *s)
{
        if (!s)
                return;
        fd_close(&s->listener);
        fd_close(&s->sys_fd);
        fd_close(&s->place_fd);
        for (size_t i = 0; i < ARRAY_LEN(s->views); i++)
                free(s->views[i]);
        owner_table_done(&s->owners);
        owner_table_done(&s->fresh);
        for (size_t i = 0; i < s->creds.n; i++)
                free(s->creds.v[i].groups);
        sup_creds_done(&s->creds);
        sup_traps_done(&s->traps);
        free(s->req);
        free(s->resp);
        free(s);
}

struct owner_table *sup_owners(struct sup *s)
{
        return &s->owners;
}

int sup_write_owners(const struct sup *s, int fd, struct bld_err *err)
{
        return owner_table_write(&s->fresh, fd, err);
}

/* In the step. WAIT_KILLABLE: a signal (Go's preemption, a timer) must not make a call that is half
 * done start again. */
int sup_install(const struct sup *s, int *ret_listener, struct bld_err *err)
{
        static const unsigned flags[] = {SECCOMP_FILTER_FLAG_NEW_LISTENER |
                                                 SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
                                         SECCOMP_FILTER_FLAG_NEW_LISTENER};
        struct sock_fprog prog = {.len = (unsigned short)s->filter.n};
        long fd = -1;

        (void)prctl(PR_SET_TIMERSLACK, SUP_SLACK, 0, 0, 0);
        memcpy(&prog.filter, &(const void *){s->filter.v}, sizeof(prog.filter));
        for (size_t i = 0; i < ARRAY_LEN(flags) && fd < 0; i++) {
                fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags[i], &prog);
                if (fd < 0 && errno == EACCES && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0)
                        fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags[i], &prog);
                if (fd < 0 && errno != EINVAL)
                        break;
        }
        if (fd < 0)
                return err_sys(err, errno, "listen to the step's system calls");
        *ret_listener = (int)fd;
        return 0;
}

void sup_listen(struct sup *s, int listener)
{
        /* The task sleeps until we have answered: run us on its CPU (6.6). */
        s->listener = listener;
        (void)ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);
        (void)!fchdir(s->proc_fd);
        (void)umask(0); /* modes of what is made for a task are its own business */
}

/* ---- does it work here? ---- */

/* Tied to the prober, and without a copy of its end of the socket: if it were killed now, the
 * listener would lie in that queue and our call be held for ever. */
_Noreturn static void probed(pid_t parent, int ours, int sock)
{
        struct sock_filter v[] = {
                {BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(struct seccomp_data, nr)},
                {BPF_JMP | BPF_JEQ | BPF_K, 0, 1, SYS_getppid},
                {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_USER_NOTIF},
                {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW}};
        const struct sock_fprog prog = {ARRAY_LEN(v), v};
        char byte = 0;
        int fd;

        close(ours);
        rt_tie_to_parent();
        if (getppid() != parent)
                _exit(ESRCH);
        (void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); /* as a step is after its exec */
        (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        fd = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
                          &prog);
        if (fd < 0 || rt_send(sock, &byte, 1, &fd, 1, NULL) < 0)
                _exit(errno ? errno : 1);
        close(fd);
        _exit(syscall(SYS_getppid) == 12345 ? 0 : EPROTO);
}

/* The one call, answered when its caller's memory could be read. */
static void serve_probe(int listener)
{
        AUTO_FD int proc = sys_openat(AT_FDCWD, "/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
        struct sup s = {.listener = listener, .proc_fd = proc};
        struct bld_err err = BLD_ERR_INIT;
        struct sup_req q = {.s = &s};
        char byte;

        if (make_buffers(&s, &err) == 0 && ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, s.req) == 0) {
                q.id = s.req->id;
                q.tid = (pid_t)s.req->pid;
                answer(&s, &q,
                       sup_copy_in(&q, (uint64_t)(uintptr_t)&byte, &byte, 1) < 0 ? -EPERM : 12345);
        }
        free(s.req);
        free(s.resp);
}

int sup_probe(struct bld_err *err)
{
        AUTO_FD int ours = -1;
        AUTO_FD int theirs = -1;
        int pair[2], listener = -1, status = 0;
        pid_t self = getpid(), pid;
        char byte;

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                return err_sys(err, errno, "create a socket for a probe");
        ours = pair[0];
        theirs = pair[1];
        pid = rt_fork();
        if (pid == 0)
                probed(self, ours, theirs);
        fd_close(&theirs);
        if (pid > 0 && rt_recv(ours, &byte, 1, &listener, 1, NULL, NULL) > 0 && listener >= 0)
                serve_probe(listener);
        fd_close(&listener);
        while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
                ;
        if (pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0)
                return 0;
        return err_sys(err,
                       pid < 0             ? errno
                       : WIFEXITED(status) ? WEXITSTATUS(status)
                                           : EINTR,
                       "listen to system calls");
}
