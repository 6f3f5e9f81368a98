/* Ids of processes, where every process really has one id. The sets of ids that occur are kept
 * here, each once; which one a task has is written into a property of the task that the kernel
 * hands on over fork and exec by itself and nobody looks at: its timer slack, in nanoseconds, 50
 * 000 unless changed. So a daemon that forks twice, a number that is used again, a thread: all
 * right without ever being told of a fork. */
#include "runtime/sup_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/num.h"
#include "base/sys.h"

#define GROUPS_MAX 65536
#define ANCESTORS_MAX 64
#define KEEP UINT32_MAX

/* ---- whose is which ---- */

static bool read_file(const struct sup *s, pid_t tid, const char *name, char *buf, size_t size)
{
        AUTO_FD int fd = sup_proc_open(s, tid, name, O_RDONLY);
        ssize_t n = fd < 0 ? -1 : sys_read(fd, buf, size - 1);

        buf[MAX(n, 0)] = '\0';
        return n > 0;
}

static bool read_slack(const struct sup *s, pid_t tid, uint64_t *ret)
{
        char buf[64];

        if (!read_file(s, tid, "timerslack_ns", buf, sizeof(buf)))
                return false;
        buf[strcspn(buf, "\n")] = '\0';
        return parse_u64(buf, 0, UINT64_MAX, ret);
}

static pid_t parent_of(const struct sup *s, pid_t tid)
{
        char buf[512];
        int parent = 0;
        const char *p;

        if (!read_file(s, tid, "stat", buf, sizeof(buf)))
                return 0;
        p = strrchr(buf, ')');
        return p && sscanf(p, ") %*c %d", &parent) == 1 ? parent : 0;
}

/* A program that sets a slack of its own (few do) loses the mark: then what its parent is. */
static size_t index_of(const struct sup *s, pid_t tid)
{
        uint64_t v;

        for (int i = 0; i < ANCESTORS_MAX && tid > 1; i++, tid = parent_of(s, tid))
                if (read_slack(s, tid, &v) && v >= SUP_SLACK && v - SUP_SLACK < s->creds.n)
                        return (size_t)(v - SUP_SLACK);
        return 0;
}

const struct sup_cred *sup_cred_of(struct sup *s, pid_t tid)
{
        return &s->creds.v[s->creds.n == 1 ? 0 : index_of(s, tid)];
}

static bool same(const struct sup_cred *a, const struct sup_cred *b)
{
        return !memcmp(a->uid, b->uid, sizeof(a->uid)) && !memcmp(a->gid, b->gid, sizeof(a->gid)) &&
               a->ngroups == b->ngroups &&
               (!a->ngroups || !memcmp(a->groups, b->groups, a->ngroups * sizeof(*a->groups)));
}

static int intern(struct sup *s, const struct sup_cred *c, size_t *ret)
{
        struct sup_cred *slot;
        uint32_t *groups = NULL;

        for (size_t i = 0; i < s->creds.n; i++) {
                if (same(&s->creds.v[i], c)) {
                        *ret = i;
                        return 0;
                }
        }
        if (s->creds.n >= SUP_SLACK) /* would soon be felt as slack */
                return -EAGAIN;
        if (c->ngroups) {
                groups = mem_dup(c->groups, c->ngroups * sizeof(*groups));
                if (!groups)
                        return -ENOMEM;
        }
        slot = sup_creds_push(&s->creds);
        if (!slot) {
                free(groups);
                return -ENOMEM;
        }
        *slot = *c;
        slot->groups = groups;
        *ret = s->creds.n - 1;
        return 0;
}

static int64_t become(struct sup *s, const struct sup_req *q, const struct sup_cred *c)
{
        AUTO_FD int fd = -1;
        char buf[24];
        size_t i;
        int n, r = intern(s, c, &i);

        if (r < 0)
                return r;
        fd = sup_proc_open(s, q->tid, "timerslack_ns", O_WRONLY);
        if (fd < 0)
                return fd;
        n = snprintf(buf, sizeof(buf), "%zu", SUP_SLACK + i);
        if (!sup_valid(s, q))
                return -ESRCH;
        return write(fd, buf, (size_t)n) < 0 ? -errno : 0;
}

int sup_cred_first(struct sup *s, const struct ident *id)
{
        struct sup_cred c = {.groups = id->groups, .ngroups = id->ngroups};
        size_t i;

        for (int k = 0; k < 4; k++) {
                c.uid[k] = id->uid;
                c.gid[k] = id->gid;
        }
        return intern(s, &c, &i) < 0 ? BLD_E_NOMEM : 0;
}

/* ---- set*id: as the kernel does it, "privileged" being effective id 0 ---- */

enum what { UIDS, GIDS };

static uint32_t arg(const struct sup_req *q, int n)
{
        uint32_t v = (uint32_t)q->a[n];

        if (q->compat && q->rule->short_ids)
                return (uint16_t)v == 0xffff ? KEEP : (uint16_t)v;
        return v;
}

static uint32_t *ids_of(struct sup_cred *c, const struct sup_req *q)
{
        return q->rule->what == UIDS ? c->uid : c->gid;
}

static bool privileged(const struct sup_cred *c)
{
        return c->uid[ID_EFFECTIVE] == 0;
}

static bool among(const uint32_t *ids, uint32_t id, int n)
{
        for (int i = 0; i < n; i++)
                if (ids[i] == id)
                        return true;
        return false;
}

static int64_t do_set(struct sup *s, struct sup_req *q)
{
        struct sup_cred c = *sup_cred_of(s, q->tid);
        uint32_t id = arg(q, 1), *v = ids_of(&c, q);

        if (id == KEEP)
                return -EINVAL;
        if (privileged(&c))
                v[ID_REAL] = v[ID_SAVED] = id;
        else if (id != v[ID_REAL] && id != v[ID_SAVED])
                return -EPERM;
        v[ID_EFFECTIVE] = v[ID_FS] = id;
        return become(s, q, &c);
}

static int64_t do_setre(struct sup *s, struct sup_req *q)
{
        struct sup_cred c = *sup_cred_of(s, q->tid);
        uint32_t r = arg(q, 1), e = arg(q, 2), *v = ids_of(&c, q);
        const uint32_t old[3] = {v[ID_REAL], v[ID_EFFECTIVE], v[ID_SAVED]};

        if (!privileged(&c) &&
            ((r != KEEP && !among(old, r, 2)) || (e != KEEP && !among(old, e, 3))))
                return -EPERM;
        if (r != KEEP)
                v[ID_REAL] = r;
        if (e != KEEP)
                v[ID_EFFECTIVE] = e;
        if (r != KEEP || (e != KEEP && e != old[ID_REAL]))
                v[ID_SAVED] = v[ID_EFFECTIVE];
        v[ID_FS] = v[ID_EFFECTIVE];
        return become(s, q, &c);
}

static int64_t do_setres(struct sup *s, struct sup_req *q)
{
        struct sup_cred c = *sup_cred_of(s, q->tid);
        uint32_t *v = ids_of(&c, q);
        const uint32_t old[3] = {v[ID_REAL], v[ID_EFFECTIVE], v[ID_SAVED]};
        bool root = privileged(&c);

        for (int i = 0; i < 3; i++) {
                uint32_t id = arg(q, i + 1);
                if (id == KEEP)
                        continue;
                if (!root && !among(old, id, 3))
                        return -EPERM;
                v[i] = id;
        }
        v[ID_FS] = v[ID_EFFECTIVE];
        return become(s, q, &c);
}

static int64_t do_setfs(struct sup *s, struct sup_req *q)
{
        struct sup_cred c = *sup_cred_of(s, q->tid);
        uint32_t id = arg(q, 1), *v = ids_of(&c, q), old = v[ID_FS];

        if (id != KEEP && (privileged(&c) || among(v, id, 4))) {
                v[ID_FS] = id;
                (void)become(s, q, &c); /* it has no error to tell */
        }
        return old;
}

static int64_t do_get(struct sup *s, struct sup_req *q)
{
        struct sup_cred c = *sup_cred_of(s, q->tid);
        uint32_t id = ids_of(&c, q)[q->rule->which];

        return q->compat && q->rule->short_ids && id > 0xffff ? 0xfffe : id;
}

static int put_id(const struct sup_req *q, uint64_t addr, uint32_t id)
{
        uint16_t half = id > 0xffff ? 0xfffe : (uint16_t)id;

        if (q->compat && q->rule->short_ids)
                return sup_copy_out(q, addr, &half, sizeof(half));
        return sup_copy_out(q, addr, &id, sizeof(id));
}

static int64_t do_getres(struct sup *s, struct sup_req *q)
{
        struct sup_cred c = *sup_cred_of(s, q->tid);
        const uint32_t *v = ids_of(&c, q);
        int r = 0;

        for (int i = 0; i < 3 && r == 0; i++)
                r = put_id(q, q->a[i + 1], v[i]);
        return r;
}

/* ---- groups ---- */

static int by_id(const void *a, const void *b)
{
        const uint32_t *x = a, *y = b;

        return *x < *y ? -1 : *x > *y;
}

static int read_groups(const struct sup_req *q, uint32_t *out, size_t n)
{
        AUTO_FREE uint16_t *half = NULL;
        int r;

        if (!(q->compat && q->rule->short_ids))
                return sup_copy_in(q, q->a[2], out, n * sizeof(*out));
        half = mem_alloc(n * sizeof(*half));
        if (!half)
                return -ENOMEM;
        r = sup_copy_in(q, q->a[2], half, n * sizeof(*half));
        for (size_t i = 0; i < n && r == 0; i++)
                out[i] = half[i];
        return r;
}

static int64_t do_setgroups(struct sup *s, struct sup_req *q)
{
        struct sup_cred c = *sup_cred_of(s, q->tid);
        AUTO_FREE uint32_t *groups = NULL;
        size_t n = (size_t)(uint32_t)q->a[1];
        int r;

        if (!privileged(&c))
                return -EPERM;
        if (n > GROUPS_MAX)
                return -EINVAL;
        groups = mem_alloc(MAX(n, 1) * sizeof(*groups));
        if (!groups)
                return -ENOMEM;
        r = n ? read_groups(q, groups, n) : 0;
        if (r < 0)
                return r;
        qsort(groups, n, sizeof(*groups), by_id); /* as the kernel gives them back */
        c.groups = groups;
        c.ngroups = n;
        return become(s, q, &c);
}

static int64_t do_getgroups(struct sup *s, struct sup_req *q)
{
        const struct sup_cred *c = sup_cred_of(s, q->tid);
        size_t room = (size_t)(uint32_t)q->a[1];
        size_t size = q->compat && q->rule->short_ids ? 2 : 4;
        int r = 0;

        if (room > INT_MAX || (room && room < c->ngroups))
                return -EINVAL;
        for (size_t i = 0; room && i < c->ngroups && r == 0; i++)
                r = put_id(q, q->a[2] + i * size, c->groups[i]);
        return r < 0 ? r : (int64_t)c->ngroups;
}

/* ---- exec ---- */

static bool is_script(int fd)
{
        AUTO_FD int rd = -1;
        char name[32], magic[2] = "";

        (void)snprintf(name, sizeof(name), "self/fd/%d", fd);
        rd = sys_openat(AT_FDCWD, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0);
        return rd >= 0 && sys_pread(rd, magic, 2, 0) == 2 && magic[0] == '#' && magic[1] == '!';
}

/* The ids a program's set-id bits give. Before the kernel has said that it can be executed; should
 * it not be, its caller has become somebody else, in a likeness that protects nothing. */
static int64_t do_exec(struct sup *s, struct sup_req *q)
{
        struct sup_cred c = *sup_cred_of(s, q->tid);
        AUTO_FD int fd = -1;
        struct owner o;
        struct stat st;

        if (sup_target(s, q, &fd) < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
            !(st.st_mode & 0111))
                return SUP_CONTINUE;
        if ((st.st_mode & (S_ISUID | S_ISGID)) && !is_script(fd)) {
                (void)sup_owner(s, fd, &st, &o);
                if (st.st_mode & S_ISUID)
                        c.uid[ID_EFFECTIVE] = o.uid;
                if ((st.st_mode & S_ISGID) && (st.st_mode & 0010))
                        c.gid[ID_EFFECTIVE] = o.gid;
        }
        c.uid[ID_SAVED] = c.uid[ID_FS] = c.uid[ID_EFFECTIVE];
        c.gid[ID_SAVED] = c.gid[ID_FS] = c.gid[ID_EFFECTIVE];
        if (!same(&c, sup_cred_of(s, q->tid)))
                (void)become(s, q, &c);
        return SUP_CONTINUE;
}

/* The call and its younger namesake of 32-bit machines. */
#define IDS(name, fn, of, one)                                                                \
        {.call = name,                                                                        \
         .module = SUP_CRED,                                                                  \
         .handle = fn,                                                                        \
         .what = of,                                                                          \
         .which = one,                                                                        \
         .short_ids = true},                                                                  \
        {                                                                                     \
                .call = name "32", .module = SUP_CRED, .handle = fn, .what = of, .which = one \
        }
/* clang-format off */
static const struct sup_rule rules[] = {
        IDS("setuid", do_set, UIDS, 0),
        IDS("setgid", do_set, GIDS, 0),
        IDS("setreuid", do_setre, UIDS, 0),
        IDS("setregid", do_setre, GIDS, 0),
        IDS("setresuid", do_setres, UIDS, 0),
        IDS("setresgid", do_setres, GIDS, 0),
        IDS("setfsuid", do_setfs, UIDS, 0),
        IDS("setfsgid", do_setfs, GIDS, 0),
        IDS("getuid", do_get, UIDS, ID_REAL),
        IDS("geteuid", do_get, UIDS, ID_EFFECTIVE),
        IDS("getgid", do_get, GIDS, ID_REAL),
        IDS("getegid", do_get, GIDS, ID_EFFECTIVE),
        IDS("getresuid", do_getres, UIDS, 0),
        IDS("getresgid", do_getres, GIDS, 0),
        IDS("setgroups", do_setgroups, GIDS, 0),
        IDS("getgroups", do_getgroups, GIDS, 0),
        {.call = "execve", .module = SUP_CRED, .handle = do_exec, .path = 1},
        {.call = "execveat", .module = SUP_CRED, .handle = do_exec, .dir = 1, .path = 2, .flags = 5},
};
/* clang-format on */
const struct sup_rules sup_cred_rules = {rules, ARRAY_LEN(rules)};
