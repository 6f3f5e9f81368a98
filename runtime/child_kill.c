/* Killing all below a process without the help of a pid namespace: stop in rounds until a look at
 * /proc finds nothing new, so that nothing forks faster than we look, then kill, then reap. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/num.h"
#include "base/sys.h"
#include "runtime/runtime_priv.h"

#define ROUNDS_MAX 1000

struct proc {
        pid_t pid, parent;
        uint64_t start; /* a number that came back is another process */
        bool ours, spared, dead;
};
VEC_DEFINE(procv, struct proc);
VEC_DEFINE(pidv, uint64_t);

/* State, parent and start time out of "PID (any) thing) S PPID ... START". */
static bool read_stat(int proc_fd, pid_t pid, struct proc *ret)
{
        AUTO_FD int fd = -1;
        char path[32], buf[1024];
        unsigned long long start = 0;
        const char *p;
        char state = 0;
        int parent = 0;
        ssize_t n;

        (void)snprintf(path, sizeof(path), "%d/stat", (int)pid);
        fd = sys_openat(proc_fd, path, O_RDONLY | O_CLOEXEC, 0);
        n = fd < 0 ? -1 : sys_read(fd, buf, sizeof(buf) - 1);
        if (n <= 0)
                return false;
        buf[n] = '\0';
        p = strrchr(buf, ')');
        if (!p || sscanf(p + 1,
                         " %c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d "
                         "%*d %llu",
                         &state, &parent, &start) != 3)
                return false;
        *ret = (struct proc){
                .pid = pid, .parent = parent, .start = start, .dead = state == 'Z' || state == 'X'};
        return true;
}

static bool list(int proc_fd, struct procv *ret)
{
        int own = sys_openat(proc_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
        DIR *d = own >= 0 ? fdopendir(own) : NULL;
        struct dirent *e;

        if (!d) {
                fd_close(&own);
                return false;
        }
        while ((e = readdir(d))) {
                uint64_t pid;
                struct proc *p, found;
                if (!parse_u64(e->d_name, 1, INT32_MAX, &pid) ||
                    !read_stat(proc_fd, (pid_t)pid, &found))
                        continue;
                p = procv_push(ret);
                if (p)
                        *p = found;
        }
        closedir(d);
        return true;
}

/* Mark what descends from this process, and of that what descends from `spare`. */
static void mark(struct procv *v, const pid_t *spare, size_t nspare)
{
        pid_t self = getpid();
        bool more = true;

        for (size_t i = 0; i < v->n; i++)
                for (size_t k = 0; k < nspare; k++)
                        v->v[i].spared |= v->v[i].pid == spare[k];
        while (more) {
                more = false;
                for (size_t i = 0; i < v->n; i++) {
                        struct proc *p = &v->v[i];
                        bool ours = p->ours || p->parent == self, spared = p->spared;
                        for (size_t k = 0; k < v->n && !(ours && spared); k++) {
                                if (v->v[k].pid != p->parent)
                                        continue;
                                ours |= v->v[k].ours;
                                spared |= v->v[k].spared;
                        }
                        more |= ours != p->ours || spared != p->spared;
                        p->ours = ours;
                        p->spared = spared;
                }
        }
}

/* By a handle, looked at again: the number may be another's by now. */
static void send_to(int proc_fd, const struct proc *p, int signo)
{
        AUTO_FD int fd = (int)syscall(SYS_pidfd_open, p->pid, 0);
        struct proc now;

        if (fd >= 0 && read_stat(proc_fd, p->pid, &now) && now.start == p->start)
                (void)syscall(SYS_pidfd_send_signal, fd, signo, NULL, 0);
}

static bool seen(struct pidv *stopped, const struct proc *p)
{
        uint64_t key = p->start << 22 ^ (uint64_t)p->pid, *slot;

        for (size_t i = 0; i < stopped->n; i++)
                if (stopped->v[i] == key)
                        return true;
        slot = pidv_push(stopped);
        if (slot)
                *slot = key;
        return false;
}

/* One look: count of the living; what is new is stopped, or with `end` all are killed. */
static size_t look(int proc_fd, const pid_t *spare, size_t nspare, struct pidv *stopped, bool end,
                   bool *ret_new)
{
        struct procv v = {0};
        size_t alive = 0;

        *ret_new = false;
        if (!list(proc_fd, &v))
                return 0;
        mark(&v, spare, nspare);
        for (size_t i = 0; i < v.n; i++) {
                const struct proc *p = &v.v[i];
                if (!p->ours || p->spared || p->dead)
                        continue;
                alive++;
                if (end) {
                        send_to(proc_fd, p, SIGKILL);
                } else if (!seen(stopped, p)) {
                        *ret_new = true;
                        send_to(proc_fd, p, SIGSTOP);
                }
        }
        procv_done(&v);
        return alive;
}

void rt_kill_below(int proc_fd, const pid_t *spare, size_t nspare)
{
        struct pidv stopped = {0};
        bool more = true;

        for (int i = 0; more && i < ROUNDS_MAX; i++)
                (void)look(proc_fd, spare, nspare, &stopped, false, &more);
        for (int i = 0; i < ROUNDS_MAX; i++) {
                if (look(proc_fd, spare, nspare, &stopped, true, &more) == 0)
                        break;
                (void)usleep(1000); /* a dying process is still listed */
        }
        /* The spared are waited for by who knows them; without any, all that is left is dead. */
        while (nspare == 0 && waitpid(-1, NULL, WNOHANG) > 0)
                ;
        pidv_done(&stopped);
}
