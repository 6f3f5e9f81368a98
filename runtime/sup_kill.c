/* Signals of a step that shares its pid namespace with others, where Landlock cannot scope them
 * (before 6.12): only to the step's own processes. The arguments are numbers in registers, which
 * nobody changes between this look and the kernel's. */
#include "runtime/sup_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/sys.h"

#define DEPTH_MAX 256

static bool read_stat(const struct sup *s, pid_t pid, int *parent, int *group)
{
        AUTO_FD int fd = sup_proc_open(s, pid, "stat", O_RDONLY);
        char buf[512];
        ssize_t n = fd < 0 ? -1 : sys_read(fd, buf, sizeof(buf) - 1);
        const char *p;

        if (n <= 0)
                return false;
        buf[n] = '\0';
        p = strrchr(buf, ')');
        return p && sscanf(p, ") %*c %d %d", parent, group) == 2;
}

bool sup_is_ours(const struct sup *s, pid_t pid)
{
        int parent = 0, group;

        for (int i = 0; i < DEPTH_MAX && pid > 1; i++, pid = parent) {
                if (!read_stat(s, pid, &parent, &group))
                        return false;
                if (parent == getpid())
                        return true;
        }
        return false;
}

/* A group is told by its leader, or, that being dead, not at all. */
static int64_t do_kill(struct sup *s, struct sup_req *q)
{
        pid_t pid = (pid_t)(int32_t)q->a[q->rule->val];

        if (pid == 0)
                return SUP_CONTINUE; /* its own group: the step began one */
        if (pid == -1)
                return -EPERM;
        if (pid < 0)
                pid = -pid;
        return sup_is_ours(s, pid) ? SUP_CONTINUE : -EPERM;
}

static int64_t do_pidfd(struct sup *s, struct sup_req *q)
{
        char name[40], buf[1024];
        AUTO_FD int fd = -1;
        const char *p;
        int pid = 0;
        ssize_t n;

        (void)snprintf(name, sizeof(name), "fdinfo/%d", (int)(int32_t)q->a[1]);
        fd = sup_proc_open(s, q->tid, name, O_RDONLY);
        n = fd < 0 ? -1 : sys_read(fd, buf, sizeof(buf) - 1);
        if (n <= 0)
                return -EBADF;
        buf[n] = '\0';
        p = strstr(buf, "\nPid:");
        if (!p || sscanf(p, "\nPid: %d", &pid) != 1 || !sup_is_ours(s, pid))
                return -EPERM;
        /* The descriptor may be another by the time the kernel looks: so it is done here. */
        return kill(pid, (int)q->a[2]) < 0 ? -errno : 0;
}

/* clang-format off */
static const struct sup_rule rules[] = {
        {.call = "kill", .module = SUP_KILL, .handle = do_kill, .val = 1},
        {.call = "tkill", .module = SUP_KILL, .handle = do_kill, .val = 1},
        {.call = "tgkill", .module = SUP_KILL, .handle = do_kill, .val = 1},
        {.call = "rt_sigqueueinfo", .module = SUP_KILL, .handle = do_kill, .val = 1},
        {.call = "rt_tgsigqueueinfo", .module = SUP_KILL, .handle = do_kill, .val = 1},
        {.call = "pidfd_send_signal", .module = SUP_KILL, .handle = do_pidfd, .val = 1},
};
/* clang-format on */
const struct sup_rules sup_kill_rules = {rules, ARRAY_LEN(rules)};
