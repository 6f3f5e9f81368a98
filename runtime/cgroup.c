/* Limits of a step by cgroups, v1 and v2 (docs/runtime.md). All of it happens in the engine, which
 * is where the folders are writable if they are anywhere; a step's init only walks in. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/num.h"
#include "base/path.h"
#include "base/sys.h"
#include "runtime/runtime_priv.h"

#define PREFIX "bld-"
#define TEXT_MAX ((size_t)1 << 20)
#define PERIOD_US 100000 /* the kernel's default */
#define GUARD_PIDS 32768 /* of all steps of a build together: a fork bomb ends here */

/* ---- places ---- */

static const char *const controllers[] = {"memory", "cpu", "cpuset", "pids"};
enum { MEMORY, CPU, CPUSET, PIDS, CONTROLLERS };

struct place {
        char dir[PATH_MAX];
        bool v2;
};

static int read_file(const char *dir, const char *name, struct sb *b)
{
        char path[PATH_MAX + 64];
        struct bld_err err = BLD_ERR_INIT;

        sb_reset(b);
        (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
        return file_read(AT_FDCWD, path, b, &err);
}

static int write_file(const char *dir, const char *name, const char *text)
{
        char path[PATH_MAX + 64];
        size_t n = strlen(text);

        (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
        AUTO_FD int fd = sys_openat(AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0);
        if (fd < 0)
                return -1;
        return write(fd, text, n) == (ssize_t)n ? 0 : -1;
}

/* Below which folder the leaves go. 1 found, 0 this machine has none. */
static int find_place(unsigned which, const char *parent, struct place *ret)
{
        AUTO_SB struct sb mounts = SB_INIT(TEXT_MAX), self = SB_INIT(TEXT_MAX);
        AUTO_SB struct sb has = SB_INIT(4096);
        struct bld_err err = BLD_ERR_INIT;
        char own[PATH_MAX], point[PATH_MAX];
        bool found = false;

        if (file_read(AT_FDCWD, "/proc/self/mountinfo", &mounts, &err) < 0 ||
            file_read(AT_FDCWD, "/proc/self/cgroup", &self, &err) < 0)
                return 0;
        for (int v2 = 0; v2 < 2 && !found; v2++) {
                found = rt_cgroup_dir(sb_text(&mounts), sb_text(&self), controllers[which], v2, own,
                                      sizeof(own), point);
                if (found && v2)
                        found = read_file(own, "cgroup.controllers", &has) == 0 &&
                                rt_cgroup_word(sb_text(&has), has.len, controllers[which]);
                ret->v2 = v2;
        }
        if (!found)
                return 0;
        int n = snprintf(ret->dir, sizeof(ret->dir), "%s%s%s",
                         parent && *parent == '/' ? point : own,
                         parent && *parent != '/' ? "/" : "", parent ? parent : "");
        return n > 0 && (size_t)n < sizeof(ret->dir);
}

/* The kernel gives controllers to the children of a v2 group only when no process is in it. If we
 * are the only one there, we step aside; 0 when the children have the controller. */
static int enable(const struct place *p, unsigned which)
{
        AUTO_SB struct sb b = SB_INIT(4096);
        char text[16], aside[PATH_MAX + 32];

        if (read_file(p->dir, "cgroup.subtree_control", &b) == 0 &&
            rt_cgroup_word(sb_text(&b), b.len, controllers[which]))
                return 0;
        (void)snprintf(text, sizeof(text), "+%s", controllers[which]);
        if (write_file(p->dir, "cgroup.subtree_control", text) == 0)
                return 0;
        if (errno != EBUSY)
                return -1;
        (void)snprintf(aside, sizeof(aside), "%s/" PREFIX "%d-engine", p->dir, (int)getpid());
        if ((mkdir(aside, 0755) < 0 && errno != EEXIST) ||
            write_file(aside, "cgroup.procs", "0") < 0)
                return -1;
        if (write_file(p->dir, "cgroup.subtree_control", text) == 0)
                return 0;
        int saved = errno;
        (void)write_file(p->dir, "cgroup.procs", "0");
        (void)rmdir(aside);
        errno = saved;
        return -1;
}

/* Leaves of processes that were killed; those in use answer EBUSY. */
static void sweep(const char *dir)
{
        AUTO_FREE struct dirent **v = NULL;
        int n = scandir(dir, &v, NULL, NULL);

        for (int i = 0; i < n; i++) {
                char path[PATH_MAX + 280];
                int pid = 0;

                if (sscanf(v[i]->d_name, PREFIX "%d-", &pid) == 1 && kill(pid, 0) < 0 &&
                    errno == ESRCH) {
                        (void)snprintf(path, sizeof(path), "%s/%s", dir, v[i]->d_name);
                        (void)rmdir(path);
                }
                free(v[i]);
        }
}

/* ---- leaves ---- */

void rt_cgroup_leave(struct rt_cgroup *g)
{
        for (size_t i = 0; i < g->n; i++) {
                fd_close(&g->v[i].procs_fd);
                /* The dead leave a group a moment after they were reaped. */
                for (int tries = 0; rmdir(g->v[i].dir) < 0 && errno == EBUSY && tries < 50; tries++)
                        (void)poll(NULL, 0, 2);
                free(g->v[i].dir);
        }
        memset(g, 0, sizeof(*g));
}

static struct cgroup_dir *find_dir(struct rt_cgroup *g, const char *dir)
{
        for (size_t i = 0; i < g->n; i++)
                if (strcmp(g->v[i].dir, dir) == 0)
                        return &g->v[i];
        return NULL;
}

/* The leaf of one controller; those of v2 share theirs. SYS with errno when it cannot be made. */
static int make_leaf(struct rt_cgroup *g, unsigned which, const char *parent,
                     struct cgroup_dir **ret, struct bld_err *err)
{
        static unsigned counter;
        struct place at;
        AUTO_FREE char *dir = NULL, *procs = NULL;
        AUTO_FD int fd = -1;

        if (!find_place(which, parent, &at))
                return err_set(err, BLD_E_UNSUPPORTED, "no cgroup with the %s controller",
                               controllers[which]);
        if (parent && path_mkdirs(AT_FDCWD, at.dir, 0755, err) < 0)
                return err->code;
        if (at.v2 && enable(&at, which) < 0)
                return err_sys(err, errno, "enable the %s controller below %s", controllers[which],
                               at.dir);
        if (!g->name[0])
                (void)snprintf(g->name, sizeof(g->name), PREFIX "%d-%u", (int)getpid(),
                               __atomic_add_fetch(&counter, 1, __ATOMIC_RELAXED));
        if (asprintf(&dir, "%s/%s", at.dir, g->name) < 0 ||
            asprintf(&procs, "%s/cgroup.procs", dir) < 0)
                return err_nomem(err, "make a cgroup");
        *ret = find_dir(g, dir);
        if (*ret)
                return 0;
        sweep(at.dir);
        if (mkdir(dir, 0755) < 0)
                return err_sys(err, errno, "make the cgroup %s", dir);
        fd = sys_openat(AT_FDCWD, procs, O_WRONLY | O_CLOEXEC, 0);
        if (fd < 0) {
                int e = errno;
                (void)rmdir(dir);
                return err_sys(err, e, "open %s", procs);
        }
        *ret = &g->v[g->n++];
        (*ret)->dir = dir;
        dir = NULL;
        (*ret)->procs_fd = take_fd(&fd);
        (*ret)->v2 = at.v2;
        return 0;
}

/* ---- limits ---- */

static int set(const struct cgroup_dir *d, const char *name, const char *text, const char *what,
               struct bld_err *err)
{
        if (write_file(d->dir, name, text) == 0)
                return 0;
        return err_sys(err, errno, "set the %s limit of the step to %s", what, text);
}

static int set_number(const struct cgroup_dir *d, const char *name, uint64_t v, const char *what,
                      struct bld_err *err)
{
        char text[24];

        (void)snprintf(text, sizeof(text), "%llu", (unsigned long long)v);
        return set(d, name, text, what, err);
}

static int set_memory(const struct cgroup_dir *d, const struct rt_resources *l, struct bld_err *err)
{
        int64_t both = l->memory_swap_bytes;
        int r = 0;

        if (l->memory_bytes)
                r = set_number(d, d->v2 ? "memory.max" : "memory.limit_in_bytes", l->memory_bytes,
                               "memory", err);
        if (r < 0 || both == 0)
                return r;
        if (!d->v2)
                return both < 0 ? set(d, "memory.memsw.limit_in_bytes", "-1", "swap", err)
                                : set_number(d, "memory.memsw.limit_in_bytes", (uint64_t)both,
                                             "swap", err);
        return both < 0 ? set(d, "memory.swap.max", "max", "swap", err)
                        : set_number(d, "memory.swap.max", (uint64_t)both - l->memory_bytes, "swap",
                                     err);
}

static int set_cpu(const struct cgroup_dir *d, const struct rt_resources *l, struct bld_err *err)
{
        uint64_t period = l->cpu_period_us ? l->cpu_period_us : PERIOD_US;
        int r = 0;

        if (l->cpu_shares && d->v2) /* 2..262144 onto 1..10000, as every runtime maps them */
                r = set_number(d, "cpu.weight",
                               1 + (MAX(l->cpu_shares, (uint64_t)2) - 2) * 9999 / 262142,
                               "cpu-shares", err);
        else if (l->cpu_shares)
                r = set_number(d, "cpu.shares", l->cpu_shares, "cpu-shares", err);
        if (r < 0 || (!l->cpu_quota_us && !l->cpu_period_us))
                return r;
        if (d->v2) {
                char quota[24] = "max", text[64];

                if (l->cpu_quota_us)
                        (void)snprintf(quota, sizeof(quota), "%llu",
                                       (unsigned long long)l->cpu_quota_us);
                (void)snprintf(text, sizeof(text), "%s %llu", quota, (unsigned long long)period);
                return set(d, "cpu.max", text, "cpu", err);
        }
        r = set_number(d, "cpu.cfs_period_us", period, "cpu", err);
        return r == 0 && l->cpu_quota_us
                       ? set_number(d, "cpu.cfs_quota_us", l->cpu_quota_us, "cpu", err)
                       : r;
}

/* v1 takes no process into a set without CPUs and memory nodes, and a new one has none. */
static int set_cpuset(const struct cgroup_dir *d, const struct rt_resources *l, struct bld_err *err)
{
        static const char *const names[] = {"cpuset.cpus", "cpuset.mems"};
        const char *const wanted[] = {l->cpuset_cpus, l->cpuset_mems};

        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
                AUTO_SB struct sb b = SB_INIT(65536);
                char above[PATH_MAX + 8];
                int r = 0;

                if (wanted[i]) {
                        r = set(d, names[i], wanted[i], names[i], err);
                } else if (!d->v2) {
                        (void)snprintf(above, sizeof(above), "%s/..", d->dir);
                        r = read_file(above, names[i], &b) == 0
                                    ? set(d, names[i], sb_text(&b), names[i], err)
                                    : 0;
                }
                if (r < 0)
                        return r;
        }
        return 0;
}

static int set_limits(unsigned which, const struct cgroup_dir *d, const struct rt_resources *l,
                      struct bld_err *err)
{
        switch (which) {
        case MEMORY:
                return set_memory(d, l, err);
        case CPU:
                return set_cpu(d, l, err);
        case CPUSET:
                return set_cpuset(d, l, err);
        default:
                return set_number(d, "pids.max", l->pids, "pids", err);
        }
}

static bool wanted(unsigned which, const struct rt_resources *l)
{
        switch (which) {
        case MEMORY:
                return l->memory_bytes || l->memory_swap_bytes;
        case CPU:
                return l->cpu_shares || l->cpu_period_us || l->cpu_quota_us;
        case CPUSET:
                return l->cpuset_cpus || l->cpuset_mems;
        default:
                return l->pids != 0;
        }
}

/* What this machine does not let us make is left out: rt_resources_check() has told. */
static bool unavailable(int r, const struct bld_err *err)
{
        return r == BLD_E_UNSUPPORTED ||
               (r == BLD_E_SYS &&
                (err->sys == EACCES || err->sys == EPERM || err->sys == EROFS ||
                 err->sys == ENOENT || err->sys == EBUSY || err->sys == EOPNOTSUPP));
}

int rt_cgroup_enter(const struct rt_resources *l, struct rt_cgroup *ret, struct bld_err *err)
{
        memset(ret, 0, sizeof(*ret));
        for (unsigned c = 0; l && c < CONTROLLERS; c++) {
                struct bld_err mine = BLD_ERR_INIT;
                struct cgroup_dir *d;
                int r;

                if (!wanted(c, l))
                        continue;
                r = make_leaf(ret, c, l->parent, &d, &mine);
                if (r < 0 && unavailable(r, &mine))
                        continue;
                if (r == 0)
                        r = set_limits(c, d, l, &mine);
                if (r == 0 && c == MEMORY)
                        ret->memory = d;
                if (r < 0) {
                        rt_cgroup_leave(ret);
                        if (err)
                                err_copy(err, &mine);
                        return r;
                }
        }
        return 0;
}

bool rt_resources_check(const struct rt_resources *l, char *why, size_t size)
{
        struct sb b = SB_INIT(4096);

        for (unsigned c = 0; c < CONTROLLERS; c++) {
                struct rt_cgroup g = {0};
                struct bld_err err = BLD_ERR_INIT;
                struct cgroup_dir *d;
                int r = wanted(c, l) ? make_leaf(&g, c, l->parent, &d, &err) : 0;

                if (r < 0 && unavailable(r, &err))
                        sb_fmt(&b, "%s%.*s", b.len ? "; " : "", (int)strcspn(err.msg, "\n"),
                               err.msg);
                rt_cgroup_leave(&g);
        }
        (void)snprintf(why, size, "%s", sb_text(&b));
        bool ok = b.len == 0;
        sb_done(&b);
        return ok;
}

void rt_cgroup_guard(pid_t pid, struct rt_cgroup *ret)
{
        const struct rt_resources l = {.pids = GUARD_PIDS};
        struct bld_err err = BLD_ERR_INIT;
        char text[24];
        int n = snprintf(text, sizeof(text), "%d", (int)pid);

        if (rt_cgroup_enter(&l, ret, &err) < 0 || ret->n == 0)
                return;
        if (write(ret->v[0].procs_fd, text, (size_t)n) != n)
                rt_cgroup_leave(ret);
}

/* ---- what became of it ---- */

static bool find_count(const char *text, const char *key, uint64_t *ret)
{
        size_t n = strlen(key);

        for (const char *p = text; p && *p; p = strchr(p, '\n'), p = p ? p + 1 : NULL) {
                char num[24];
                size_t len;

                if (strncmp(p, key, n) != 0 || p[n] != ' ')
                        continue;
                len = strcspn(p + n + 1, "\n");
                if (len >= sizeof(num))
                        return false;
                memcpy(num, p + n + 1, len);
                num[len] = '\0';
                return parse_u64(num, 0, UINT64_MAX, ret);
        }
        return false;
}

static bool count_kills(const char *dir, bool v2, uint64_t *ret)
{
        AUTO_SB struct sb b = SB_INIT(65536);

        return read_file(dir, v2 ? "memory.events" : "memory.oom_control", &b) == 0 &&
               find_count(sb_text(&b), "oom_kill", ret);
}

void rt_cgroup_memory(const struct rt_cgroup *g, struct rt_memory *ret)
{
        static const char *const names[][2] = {{"memory.max_usage_in_bytes", "memory.peak"},
                                               {"memory.limit_in_bytes", "memory.max"}};
        uint64_t *const values[] = {&ret->peak_bytes, &ret->limit_bytes};
        uint64_t kills = 0;

        memset(ret, 0, sizeof(*ret));
        if (!g->memory)
                return;
        ret->known = count_kills(g->memory->dir, g->memory->v2, &kills);
        ret->oom_kills = kills;
        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
                AUTO_SB struct sb b = SB_INIT(64);

                if (read_file(g->memory->dir, names[i][g->memory->v2], &b) == 0) {
                        char num[24];
                        size_t n = strcspn(sb_text(&b), "\n");

                        (void)snprintf(num, sizeof(num), "%.*s", (int)MIN(n, sizeof(num) - 1),
                                       sb_text(&b));
                        (void)parse_u64(num, 0, UINT64_MAX, values[i]);
                }
        }
}

/* Of our own group, for steps without one; the machine's count where that cannot be read. */
void rt_oom_read(struct rt_memory *ret)
{
        AUTO_SB struct sb b = SB_INIT(65536);
        struct place at;

        memset(ret, 0, sizeof(*ret));
        if (find_place(MEMORY, NULL, &at))
                ret->known = count_kills(at.dir, at.v2, &ret->oom_kills);
        if (!ret->known)
                ret->known = read_file("/proc", "vmstat", &b) == 0 &&
                             find_count(sb_text(&b), "oom_kill", &ret->oom_kills);
}
