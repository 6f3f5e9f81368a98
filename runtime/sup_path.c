/* Names in a task's arguments, opened as the task would: from its folder, its root, its
 * descriptors. The kernel follows the links, and never one of /proc that leads out of names
 * altogether: in our process those would be ours. */
#include "runtime/sup_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <unistd.h>

#include "base/num.h"
#include "base/sys.h"

static int open_path(int dirfd, const char *path, bool nofollow, uint64_t resolve)
{
        const struct open_how how = {
                .flags = (uint64_t)(O_PATH | O_CLOEXEC | (nofollow ? O_NOFOLLOW : 0)),
                .resolve = resolve | RESOLVE_NO_MAGICLINKS};
        int fd;

        while ((fd = sys_openat2(dirfd, path, &how)) < 0 && errno == EAGAIN)
                ;
        return fd < 0 ? -errno : fd;
}

/* A descriptor of the task, or its working folder. */
static int open_task_fd(const struct sup *s, const struct sup_req *q, int n)
{
        char name[32];
        int fd;

        if (n == AT_FDCWD)
                return sup_proc_open(s, q->tid, "cwd", O_PATH);
        if (n < 0)
                return -EBADF;
        (void)snprintf(name, sizeof(name), "fd/%d", n);
        fd = sup_proc_open(s, q->tid, name, O_PATH);
        return fd == -ENOENT ? -EBADF : fd;
}

/* "/proc/self/..." and the like with the task's own number; *ret_fd_no is set when what is left is
 * just one of its descriptors. */
static const char *own_proc(const struct sup_req *q, const char *path, char *buf, size_t size,
                            int *ret_fd_no)
{
        static const struct {
                const char *from, *to;
        } names[] = {{"/proc/self", ""},      {"/proc/thread-self", ""}, {"/dev/fd", "/fd"},
                     {"/dev/stdin", "/fd/0"}, {"/dev/stdout", "/fd/1"},  {"/dev/stderr", "/fd/2"}};
        char own[40];
        uint64_t n;

        *ret_fd_no = -1;
        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
                size_t len = strlen(names[i].from);
                if (strncmp(path, names[i].from, len) != 0 || (path[len] && path[len] != '/'))
                        continue;
                (void)snprintf(buf, size, "/proc/%d%s%s", (int)q->tid, names[i].to, path + len);
                path = buf;
                break;
        }
        (void)snprintf(own, sizeof(own), "/proc/%d/fd/", (int)q->tid);
        if (str_has_prefix(path, own) && parse_u64(path + strlen(own), 0, INT32_MAX, &n))
                *ret_fd_no = (int)n;
        return path;
}

/* A task with another root: the name as that root has it. */
static int in_its_root(const struct sup *s, const struct sup_req *q, const char *path,
                       bool nofollow)
{
        AUTO_FD int root = sup_proc_open(s, q->tid, "root", O_PATH | O_DIRECTORY);

        return root < 0 ? root : open_path(root, path, nofollow, RESOLVE_IN_ROOT);
}

/* In a chroot our own root is not the step's: whatever begins outside of that is not looked at. */
static int in_step_root(const struct sup *s, int dir, const char *path, bool nofollow)
{
        size_t root = strlen(s->root_path);
        AUTO_FD int top = -1;
        char link[32], full[8300];
        ssize_t n = 0;

        if (dir >= 0) {
                (void)snprintf(link, sizeof(link), "self/fd/%d", dir);
                n = readlinkat(s->proc_fd, link, full, 4095);
                if (n < (ssize_t)root || memcmp(full, s->root_path, root) != 0 ||
                    (n > (ssize_t)root && full[root] != '/'))
                        return -EACCES;
                memmove(full, full + root, (size_t)n - root);
                n -= (ssize_t)root;
        }
        (void)snprintf(full + n, sizeof(full) - (size_t)n, "/%s", path);
        top = sys_openat(AT_FDCWD, s->root_path, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
        return top < 0 ? -errno : open_path(top, full, nofollow, RESOLVE_IN_ROOT);
}

int sup_at(struct sup *s, const struct sup_req *q, int dirfd, const char *path, bool nofollow,
           int *ret_fd)
{
        AUTO_FD int dir = -1;
        char buf[4200];
        int own_fd, fd;

        if (path[0] != '/') {
                dir = open_task_fd(s, q, dirfd);
                if (dir < 0)
                        return dir;
                fd = s->root_path ? in_step_root(s, dir, path, nofollow)
                                  : open_path(dir, path, nofollow, 0);
        } else {
                path = own_proc(q, path, buf, sizeof(buf), &own_fd);
                if (own_fd >= 0 && !nofollow)
                        fd = open_task_fd(s, q, own_fd);
                else if (s->root_path)
                        fd = in_step_root(s, -1, path, nofollow);
                else if (s->chrooted)
                        fd = in_its_root(s, q, path, nofollow);
                else
                        fd = open_path(AT_FDCWD, path, nofollow, 0);
        }
        if (fd < 0)
                return fd;
        /* The number may have become another task's while we looked. */
        if (!sup_valid(s, q)) {
                close(fd);
                return -ESRCH;
        }
        *ret_fd = fd;
        return 0;
}

static int dir_arg(const struct sup_req *q)
{
        return q->rule->dir ? (int)(int32_t)q->a[q->rule->dir] : AT_FDCWD;
}

int sup_target(struct sup *s, const struct sup_req *q, int *ret_fd)
{
        const struct sup_rule *u = q->rule;
        uint64_t flags = u->flags ? q->a[u->flags] : 0;
        bool empty_ok = flags & AT_EMPTY_PATH;
        char path[4096] = "";
        int r;

        /* Since 6.11 no name at all is an empty one. */
        if (u->path && !(empty_ok && q->a[u->path] == 0)) {
                r = sup_copy_str(q, q->a[u->path], path, sizeof(path));
                if (r < 0)
                        return r;
        }
        if (!*path) {
                int fd;
                if (u->path && !empty_ok)
                        return -ENOENT;
                fd = open_task_fd(s, q, dir_arg(q));
                if (fd < 0)
                        return fd;
                if (!sup_valid(s, q)) {
                        close(fd);
                        return -ESRCH;
                }
                *ret_fd = fd;
                return 0;
        }
        return sup_at(s, q, dir_arg(q), path, u->nofollow || (flags & AT_SYMLINK_NOFOLLOW), ret_fd);
}

int sup_parent(struct sup *s, const struct sup_req *q, int *ret_fd, char leaf[256])
{
        char path[4096];
        const char *dir = path;
        char *slash;
        size_t n;
        int r = sup_copy_str(q, q->a[q->rule->path], path, sizeof(path));

        if (r < 0)
                return r;
        n = strlen(path);
        if (!n)
                return -ENOENT;
        leaf[0] = '\0';
        while (n > 1 && path[n - 1] == '/')
                path[--n] = '\0';
        slash = strrchr(path, '/');
        if (!str_copy(leaf, 256, slash ? slash + 1 : path))
                return -ENAMETOOLONG;
        if (str_eq(leaf, ".") || str_eq(leaf, ".."))
                leaf[0] = '\0';
        if (!slash)
                dir = ".";
        else if (slash == path)
                dir = "/";
        else
                *slash = '\0';
        return sup_at(s, q, dir_arg(q), dir, false, ret_fd);
}
