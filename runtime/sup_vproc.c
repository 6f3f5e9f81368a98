/* /proc, /sys and the descriptors' names in /dev for steps in a chroot where nothing can be
 * mounted: opened here, for the task and under its ids, and handed over. What is served is a
 * choice: the step's own processes and what the kernel tells everybody, for reading. Nothing of
 * other processes, nothing that leads out of /proc. Names that are none of these the kernel
 * resolves itself, inside the chroot and its Landlock domain. */
#include "runtime/sup_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/num.h"
#include "base/path.h"
#include "base/sys.h"

#define DEPTH_MAX 256 /* of processes below init */

#define VIEW "/proc/.v" /* in the step's root: folders that stand for those of /proc and /sys */
#define ENTRIES_MAX 8192

enum kind { OTHER, PROC, SYS, DEV };

/* What a name means. */
struct vname {
        enum kind kind;
        char rest[4096]; /* below /proc, /sys or /dev, without a leading slash */
};

/* ---- names ---- */

/* "a//b/./../c" as text; what is served has no links that we would follow. */
static void clean(const char *in, char *out, size_t size)
{
        size_t n = 0;

        while (*in && n + 1 < size) {
                size_t len = strcspn(in, "/");
                if (len == 2 && in[0] == '.' && in[1] == '.') {
                        while (n && out[n - 1] != '/')
                                n--;
                        n -= n > 0;
                } else if (len && !(len == 1 && in[0] == '.') && n + len + 2 < size) {
                        if (n)
                                out[n++] = '/';
                        memcpy(out + n, in, len);
                        n += len;
                }
                in += len;
                in += strspn(in, "/");
        }
        out[n] = '\0';
}

static bool below(const char *path, const char *top, const char **ret_rest)
{
        size_t n = strlen(top);

        if (strncmp(path, top, n) != 0 || (path[n] && path[n] != '/'))
                return false;
        *ret_rest = path + n + (path[n] == '/');
        return true;
}

/* path: clean, without a leading slash. */
static void classify(const struct sup *s, const char *path, bool nofollow, struct vname *v)
{
        static const char *const std[] = {"dev/stdin", "dev/stdout", "dev/stderr"};
        static const char *const devices[] = {"null", "zero", "full", "random", "urandom", "tty"};
        const char *rest;

        v->kind = OTHER;
        if (below(path, "proc", &rest)) {
                v->kind = PROC;
                (void)str_copy(v->rest, sizeof(v->rest), rest);
        } else if (below(path, "sys", &rest)) {
                v->kind = SYS;
                (void)str_copy(v->rest, sizeof(v->rest), rest);
        } else if (below(path, "dev/fd", &rest) && (*rest || !nofollow)) {
                v->kind = PROC;
                (void)snprintf(v->rest, sizeof(v->rest), "self/fd%s%s", *rest ? "/" : "", rest);
        }
        for (size_t i = 0; i < ARRAY_LEN(std) && !nofollow; i++) {
                if (str_eq(path, std[i])) {
                        v->kind = PROC;
                        (void)snprintf(v->rest, sizeof(v->rest), "self/fd/%zu", i);
                }
        }
        for (size_t i = 0; i < ARRAY_LEN(devices) && s->no_nodes; i++) {
                if (str_has_prefix(path, "dev/") && str_eq(path + 4, devices[i])) {
                        v->kind = DEV;
                        (void)str_copy(v->rest, sizeof(v->rest), devices[i]);
                }
        }
}

/* A descriptor of a folder of ours: what it stands for. */
static bool dir_name(const struct sup *s, const struct sup_req *q, int dirfd, char *out,
                     size_t size)
{
        char link[40], path[4096], *end;
        size_t root = strlen(s->root_path), prefix = strlen(VIEW);
        unsigned long n;
        ssize_t len;

        (void)snprintf(link, sizeof(link), "%d/fd/%d", (int)q->tid, dirfd);
        len = readlinkat(s->proc_fd, link, path, sizeof(path) - 1);
        if (len <= 0)
                return false;
        path[len] = '\0';
        if (strncmp(path, s->root_path, root) != 0 || strncmp(path + root, VIEW, prefix) != 0)
                return false;
        n = strtoul(path + root + prefix, &end, 10);
        if (n >= ARRAY_LEN(s->views) || !s->views[n])
                return false;
        (void)snprintf(out, size, "%s%s", s->views[n], end);
        return true;
}

static void name_of(struct sup *s, const struct sup_req *q, bool nofollow, struct vname *v)
{
        const struct sup_rule *u = q->rule;
        char path[4096], full[8300], tidy[8300];

        v->kind = OTHER;
        if (sup_copy_str(q, q->a[u->path], path, sizeof(path)) < 0 || !*path)
                return;
        if (str_has_suffix(path, "/")) /* the folder, not the link to it */
                nofollow = false;
        if (path[0] == '/') {
                clean(path, tidy, sizeof(tidy));
        } else {
                char dir[4096];
                int dirfd = u->dir ? (int)(int32_t)q->a[u->dir] : AT_FDCWD;
                if (dirfd < 0 || !dir_name(s, q, dirfd, dir, sizeof(dir)))
                        return;
                (void)snprintf(full, sizeof(full), "%s/%s", dir, path);
                clean(full, tidy, sizeof(tidy));
        }
        classify(s, tidy, nofollow, v);
        if (v->kind != OTHER && !sup_valid(s, q))
                v->kind = OTHER;
}

/* ---- processes ---- */

static pid_t parent_of(int pid_dir)
{
        AUTO_FD int fd = sys_openat(pid_dir, "stat", O_RDONLY | O_CLOEXEC, 0);
        char buf[512];
        int parent = 0;
        ssize_t n = fd < 0 ? -1 : sys_read(fd, buf, sizeof(buf) - 1);
        const char *p;

        if (n <= 0)
                return 0;
        buf[n] = '\0';
        p = strrchr(buf, ')');
        return p && sscanf(p, ") %*c %d", &parent) == 1 ? parent : 0;
}

static int open_pid(const struct sup *s, pid_t pid)
{
        char name[24];

        (void)snprintf(name, sizeof(name), "%d", (int)pid);
        return sys_openat(s->proc_fd, name, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
}

/* A process of the step, by a handle that stays with it: others do not exist. */
static int own_pid(const struct sup *s, pid_t pid)
{
        AUTO_FD int dir = open_pid(s, pid);
        int at = dir < 0 ? -1 : fcntl(dir, F_DUPFD_CLOEXEC, 0);
        pid_t parent = 0;

        for (int i = 0; i < DEPTH_MAX && at >= 0; i++) {
                parent = parent_of(at);
                close(at);
                if (parent <= 1 || parent == getpid())
                        break;
                at = open_pid(s, parent);
        }
        return parent == getpid() ? take_fd(&dir) : -ENOENT;
}

/* "self/x", "17/x", "mounts": the process and what is asked of it; false: of no process. */
static bool split_pid(const struct sup_req *q, const char *rest, pid_t *ret_pid,
                      const char **ret_sub)
{
        static const char *const selves[] = {"self", "thread-self"};
        char first[32];
        size_t n = strcspn(rest, "/");
        uint64_t pid;

        if (n == 0 || n >= sizeof(first))
                return false;
        memcpy(first, rest, n);
        first[n] = '\0';
        *ret_pid = q->tid;
        *ret_sub = rest;
        if (str_eq(first, "mounts") || str_eq(first, "net"))
                return true;
        *ret_sub = rest + n + (rest[n] == '/');
        for (size_t i = 0; i < ARRAY_LEN(selves); i++)
                if (str_eq(first, selves[i]))
                        return true;
        if (!parse_u64(first, 1, INT32_MAX, &pid))
                return false;
        *ret_pid = (pid_t)pid;
        return true;
}

/* ---- opening ---- */

static int open_plain(int dir, const char *rest, int flags)
{
        const struct open_how how = {.flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
                                     .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
        int fd = sys_openat2(dir, *rest ? rest : ".", &how);

        return fd < 0 ? -errno : fd;
}

static bool writes(int flags)
{
        return (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC));
}

/* Where a link of /proc leads in our eyes; in the step's root, or to something without a name. */
static bool leads_inside(const struct sup *s, int dir, const char *link, char *out, size_t size)
{
        ssize_t n = readlinkat(dir, link, out, size - 1);

        if (n <= 0)
                return false;
        out[n] = '\0';
        return out[0] != '/' || str_eq(out, "/dev/null") || str_eq(out, s->root_path) ||
               (str_has_prefix(out, s->root_path) && out[strlen(s->root_path)] == '/');
}

/* One link of a process followed: a descriptor opened again, its program. */
static int open_link(const struct sup *s, int dir, const char *sub, int flags)
{
        char target[4096];
        int fd;

        if (!leads_inside(s, dir, sub, target, sizeof(target)))
                return -EACCES;
        fd = sys_openat(dir, sub, flags | O_CLOEXEC | O_NOCTTY, 0);
        return fd < 0 ? -errno : fd;
}

static int open_of_pid(const struct sup *s, int dir, const char *sub, int flags, bool nofollow)
{
        static const char *const writable[] = {"comm", "oom_score_adj", "coredump_filter",
                                               "timerslack_ns"};
        bool ok = !writes(flags);

        if (!nofollow && str_has_prefix(sub, "fd/") && sub[3] && !strchr(sub + 3, '/'))
                return open_link(s, dir, sub, flags & ~(O_CREAT | O_EXCL));
        if (!nofollow && str_eq(sub, "exe") && ok)
                return open_link(s, dir, sub, flags);
        for (size_t i = 0; i < ARRAY_LEN(writable); i++)
                ok = ok || str_eq(sub, writable[i]);
        if (!ok)
                return -EACCES;
        /* cwd, root, ns/..., map_files/... are links too: they are not followed. */
        return open_plain(dir, sub,
                          (flags & ~(O_CREAT | O_EXCL | O_TRUNC)) | (nofollow ? O_NOFOLLOW : 0));
}

/* What the other levels mask, and what is a way in. */
static bool masked(enum kind kind, const char *rest)
{
        static const char *const proc[] = {
                "acpi",          "asound",        "interrupts",  "kcore", "keys",
                "latency_stats", "timer_list",    "timer_stats", "scsi",  "sched_debug",
                "kmsg",          "sysrq-trigger", "kallsyms"};
        static const char *const sys[] = {"firmware", "kernel/security", "kernel/debug",
                                          "devices/virtual/powercap"};
        const char *unused;

        for (size_t i = 0; kind == PROC && i < ARRAY_LEN(proc); i++)
                if (below(rest, proc[i], &unused))
                        return true;
        for (size_t i = 0; kind == SYS && i < ARRAY_LEN(sys); i++)
                if (below(rest, sys[i], &unused))
                        return true;
        return false;
}

static int open_name(struct sup *s, const struct sup_req *q, const struct vname *v, int flags,
                     bool nofollow)
{
        const char *sub;
        char path[32];
        pid_t pid;
        int fd;

        if (v->kind == DEV) {
                (void)snprintf(path, sizeof(path), "/dev/%.16s", v->rest);
                fd = sys_openat(AT_FDCWD, path, (flags & ~(O_CREAT | O_EXCL | O_TRUNC)) | O_CLOEXEC,
                                0);
                return fd < 0 ? -errno : fd;
        }
        if (v->kind == PROC && split_pid(q, v->rest, &pid, &sub)) {
                AUTO_FD int dir = own_pid(s, pid);
                return dir < 0 ? dir : open_of_pid(s, dir, sub, flags, nofollow);
        }
        if (masked(v->kind, v->rest) || writes(flags))
                return -EACCES;
        return open_plain(v->kind == PROC ? s->proc_fd : s->sys_fd, v->rest,
                          flags | (nofollow ? O_NOFOLLOW : 0));
}

/* Under the task's own ids for files, so that nobody reads through us what is root's alone. */
static int open_as(struct sup *s, const struct sup_req *q, const struct vname *v, int flags,
                   bool nofollow)
{
        uint32_t uid = 0, gid = 0;
        int fd;

        if (!sup_ids(s, q->tid, &uid, &gid))
                return -ESRCH;
        (void)setfsgid(gid);
        (void)setfsuid(uid);
        fd = open_name(s, q, v, flags, nofollow);
        (void)setfsuid(0);
        (void)setfsgid(0);
        return fd;
}

/* ---- the calls ---- */

static int list_one(const struct sup *s, int dir, const struct vname *v, const struct dirent *e)
{
        uint64_t pid;

        if (str_eq(e->d_name, ".") || str_eq(e->d_name, ".."))
                return 0;
        if (v->kind == PROC && !v->rest[0] && parse_u64(e->d_name, 1, INT32_MAX, &pid)) {
                AUTO_FD int own = own_pid(s, (pid_t)pid);
                if (own < 0)
                        return 0;
        }
        if (e->d_type == DT_DIR)
                return sys_mkdirat(dir, e->d_name, 0555);
        if (e->d_type == DT_LNK)
                return symlinkat("/", dir, e->d_name);
        return mknodat(dir, e->d_name, S_IFREG | 0444, 0);
}

static int fill_view(const struct sup *s, int real, int view, const struct vname *v)
{
        int own = sys_openat(real, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
        DIR *d = own < 0 ? NULL : fdopendir(own);
        struct dirent *e;

        if (!d) {
                int saved = errno;
                fd_close(&own);
                return -saved;
        }
        for (size_t n = 0; n < ENTRIES_MAX && (e = readdir(d)); n++)
                (void)list_one(s, view, v, e);
        closedir(d);
        return 0;
}

/* A real folder of /proc must not get into the step's hands: its ".." leads out of the chroot,
 * where Landlock refuses to open, but not to change modes and owners. So a folder of the step's own
 * root, with the same names in it, goes in its place; what is looked up from there comes by here
 * again. */
static int open_view(struct sup *s, const struct vname *v, int real, unsigned flags)
{
        size_t n = s->next_view++ % ARRAY_LEN(s->views);
        AUTO_FD int view = -1;
        char name[32], *what = NULL;
        int r;

        (void)snprintf(name, sizeof(name), ".v%zu", n);
        (void)path_remove_tree(s->place_fd, name, NULL); /* of long ago */
        if (asprintf(&what, "/%s%s%s", v->kind == PROC ? "proc" : "sys", v->rest[0] ? "/" : "",
                     v->rest) < 0)
                return -ENOMEM;
        free(s->views[n]);
        s->views[n] = what;
        if (sys_mkdirat(s->place_fd, name, 0755) < 0)
                return -errno;
        view = sys_openat(s->place_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
        if (view < 0)
                return -errno;
        if (!(flags & O_PATH)) { /* that it may be listed has shown when it was opened */
                r = fill_view(s, real, view, v);
                if (r < 0)
                        return r;
        }
        /* By the handle: the step may have put something else under the name by now. */
        r = sys_openat(view, ".", (int)(flags & O_PATH) | O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
        return r < 0 ? -errno : r;
}

static int64_t serve_open(struct sup *s, struct sup_req *q, unsigned flags)
{
        bool nofollow = flags & O_NOFOLLOW;
        AUTO_FD int fd = -1;
        struct stat st;
        struct vname v;
        int r;

        name_of(s, q, nofollow, &v);
        if (v.kind == OTHER)
                return SUP_CONTINUE;
        /* A FIFO reopened must not make us wait. */
        r = open_as(s, q, &v, (int)flags | O_NONBLOCK, nofollow);
        if (r < 0)
                return r;
        fd = r;
        if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
                r = open_view(s, &v, fd, flags);
                if (r < 0)
                        return r;
                close(fd);
                fd = r;
        }
        if (!(flags & (O_NONBLOCK | O_PATH)))
                (void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
        return sup_send_fd(s, q, fd, flags & O_CLOEXEC);
}

static int64_t do_open(struct sup *s, struct sup_req *q)
{
        return serve_open(s, q, (unsigned)q->a[q->rule->val]);
}

static int64_t do_openat2(struct sup *s, struct sup_req *q)
{
        struct open_how how;

        if (q->a[4] < sizeof(how) || sup_copy_in(q, q->a[3], &how, sizeof(how)) < 0 || how.resolve)
                return SUP_CONTINUE;
        return serve_open(s, q, (unsigned)how.flags);
}

static bool no_follow(const struct sup_req *q)
{
        return q->rule->nofollow ||
               (q->rule->flags && (q->a[q->rule->flags] & AT_SYMLINK_NOFOLLOW));
}

/* O_PATH handle of a served name; SUP_CONTINUE when it is none. */
static int64_t handle_of(struct sup *s, struct sup_req *q, int *ret_fd)
{
        struct vname v;
        int fd;

        name_of(s, q, no_follow(q), &v);
        if (v.kind == OTHER)
                return SUP_CONTINUE;
        fd = open_as(s, q, &v, O_PATH, no_follow(q));
        if (fd < 0)
                return fd;
        *ret_fd = fd;
        return 0;
}

static int64_t do_stat(struct sup *s, struct sup_req *q)
{
        AUTO_FD int fd = -1;
        struct stat st;
        int64_t r = q->compat && q->rule->short_ids ? SUP_CONTINUE : handle_of(s, q, &fd);

        if (r != 0)
                return r;
        return fstat(fd, &st) < 0 ? -errno : sup_put_stat(q, q->a[q->rule->val], &st);
}

static int64_t do_statx(struct sup *s, struct sup_req *q)
{
        AUTO_FD int fd = -1;
        struct statx sx;
        int64_t r = handle_of(s, q, &fd);

        if (r != 0)
                return r;
        if (statx(fd, "", AT_EMPTY_PATH, (unsigned)q->a[4] & ~0x80000000u, &sx) < 0)
                return -errno;
        return sup_copy_out(q, q->a[5], &sx, sizeof(sx));
}

static int64_t do_access(struct sup *s, struct sup_req *q)
{
        AUTO_FD int fd = -1;
        struct stat st;
        int64_t r = handle_of(s, q, &fd);
        unsigned mode = (unsigned)q->a[q->rule->val];

        if (r != 0)
                return r;
        if (fstat(fd, &st) < 0)
                return -errno;
        /* Descriptors and devices may be written; files of /proc are for reading, but for a few. */
        return (mode & W_OK) && (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)) ? -EACCES : 0;
}

static int64_t do_statfs(struct sup *s, struct sup_req *q)
{
        AUTO_FD int fd = -1;
        struct statfs sf;
        int64_t r = q->compat ? SUP_CONTINUE : handle_of(s, q, &fd);

        if (r != 0)
                return r;
        return fstatfs(fd, &sf) < 0 ? -errno : sup_copy_out(q, q->a[q->rule->val], &sf, sizeof(sf));
}

/* The text of a link, as the step may see it. */
static int link_text(struct sup *s, const struct sup_req *q, const struct vname *v, char *out,
                     size_t size)
{
        size_t root = strlen(s->root_path);
        const char *sub = NULL;
        AUTO_FD int dir = -1;
        pid_t pid;
        ssize_t n;

        if (v->kind == PROC && (str_eq(v->rest, "self") || str_eq(v->rest, "thread-self")))
                return snprintf(out, size, "%d", (int)q->tid);
        if (v->kind == PROC && split_pid(q, v->rest, &pid, &sub)) {
                dir = own_pid(s, pid);
                if (dir < 0)
                        return dir;
        } else if (masked(v->kind, v->rest)) {
                return -EACCES;
        } else {
                sub = v->rest;
                dir = fcntl(v->kind == PROC ? s->proc_fd : s->sys_fd, F_DUPFD_CLOEXEC, 0);
        }
        n = readlinkat(dir, *sub ? sub : ".", out, size - 1);
        if (n < 0)
                return -errno;
        out[n] = '\0';
        if (strncmp(out, s->root_path, root) == 0 && (!out[root] || out[root] == '/')) {
                memmove(out, out + root, (size_t)n - root + 1);
                if (!out[0])
                        (void)str_copy(out, size, "/");
                n = (ssize_t)strlen(out);
        }
        return (int)n;
}

static int64_t do_readlink(struct sup *s, struct sup_req *q)
{
        uint64_t size = q->a[q->rule->val + 1];
        char text[4096];
        struct vname v;
        int n, r;

        name_of(s, q, true, &v);
        if (v.kind == OTHER || v.kind == DEV)
                return SUP_CONTINUE;
        n = link_text(s, q, &v, text, sizeof(text));
        if (n < 0)
                return n;
        if ((int64_t)size <= 0)
                return -EINVAL;
        n = (int)MIN((uint64_t)n, size);
        r = sup_copy_out(q, q->a[q->rule->val], text, (size_t)n);
        return r < 0 ? r : n;
}

/* The host name of all the other levels, so that none gets into the image; it cannot be set here.
 */
static int64_t do_uname(struct sup *s, struct sup_req *q)
{
        struct utsname u;

        if (q->compat || uname(&u) < 0)
                return SUP_CONTINUE;
        (void)str_copy(u.nodename, sizeof(u.nodename), s->hostname);
        return sup_copy_out(q, q->a[1], &u, sizeof(u));
}

/* clang-format off */
static const struct sup_rule rules[] = {
        {.call = "open", .module = SUP_VPROC, .handle = do_open, .path = 1, .val = 2},
        {.call = "openat", .module = SUP_VPROC, .handle = do_open, .dir = 1, .path = 2, .val = 3},
        {.call = "openat2", .module = SUP_VPROC, .handle = do_openat2, .dir = 1, .path = 2},
        {.call = "stat", .module = SUP_VPROC, .handle = do_stat, .path = 1, .val = 2, .short_ids = true},
        {.call = "lstat", .module = SUP_VPROC, .handle = do_stat, .path = 1, .val = 2, .nofollow = true, .short_ids = true},
        {.call = "stat64", .module = SUP_VPROC, .handle = do_stat, .path = 1, .val = 2},
        {.call = "lstat64", .module = SUP_VPROC, .handle = do_stat, .path = 1, .val = 2, .nofollow = true},
        {.call = "newfstatat", .module = SUP_VPROC, .handle = do_stat, .dir = 1, .path = 2, .val = 3, .flags = 4, .pass_arg = 4, .pass = AT_EMPTY_PATH},
        {.call = "fstatat64", .module = SUP_VPROC, .handle = do_stat, .dir = 1, .path = 2, .val = 3, .flags = 4, .pass_arg = 4, .pass = AT_EMPTY_PATH},
        {.call = "statx", .module = SUP_VPROC, .handle = do_statx, .dir = 1, .path = 2, .flags = 3, .pass_arg = 3, .pass = AT_EMPTY_PATH},
        {.call = "access", .module = SUP_VPROC, .handle = do_access, .path = 1, .val = 2},
        {.call = "faccessat", .module = SUP_VPROC, .handle = do_access, .dir = 1, .path = 2, .val = 3},
        {.call = "faccessat2", .module = SUP_VPROC, .handle = do_access, .dir = 1, .path = 2, .val = 3, .flags = 4},
        {.call = "readlink", .module = SUP_VPROC, .handle = do_readlink, .path = 1, .val = 2},
        {.call = "readlinkat", .module = SUP_VPROC, .handle = do_readlink, .dir = 1, .path = 2, .val = 3},
        {.call = "uname", .module = SUP_VPROC, .handle = do_uname},
        {.call = "statfs", .module = SUP_VPROC, .handle = do_statfs, .path = 1, .val = 2},
};
/* clang-format on */
const struct sup_rules sup_vproc_rules = {rules, ARRAY_LEN(rules)};
