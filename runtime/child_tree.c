/* A step's world where nothing can be mounted: a plain folder to chroot into. What would be mounted
 * is moved to its place and moved back when the step is over, each folder's time put back, so that
 * the scan for changes finds what the step did and nothing else. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/num.h"
#include "base/path.h"
#include "base/sys.h"
#include "runtime/runtime_priv.h"

/* ---- the journal ---- */

static int64_t dir_time(int fd)
{
        struct stat st;

        return fstat(fd, &st) < 0 ? 0 : timespec_ns(st.st_mtim);
}

static void set_dir_time(int fd, int64_t ns)
{
        const struct timespec t[2] = {
                {.tv_nsec = UTIME_OMIT},
                {.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)}};

        (void)futimens(fd, t);
}

static int journal(struct init *in, int dir, const char *leaf, struct placed **ret,
                   struct bld_err *err)
{
        struct placed *p = placedv_push(&in->places);
        struct stat st;

        if (!p)
                return err_nomem(err, "note what is put into the root");
        p->dir = -1;
        if (fstatat(dir, leaf, &st, AT_SYMLINK_NOFOLLOW) == 0) {
                p->ino = st.st_ino;
                p->is_dir = S_ISDIR(st.st_mode);
        }
        p->dir = sys_openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
        p->leaf = mem_strdup(leaf);
        if (p->dir < 0 || !p->leaf)
                return err_sys(err, errno, "note what is put into the root");
        *ret = p;
        return 0;
}

/* The mount points that root_ensure() just made, for later removal. */
static int journal_stubs(struct init *in, size_t from, struct bld_err *err)
{
        for (size_t i = from; i < in->root.stubs.n; i++) {
                const struct rt_stub *s = &in->root.stubs.v[i];
                AUTO_FREE char *dir = mem_strdup(s->path);
                AUTO_FD int fd = -1;
                struct placed *p;
                char *slash = dir ? strrchr(dir, '/') : NULL;
                int r;

                if (!dir)
                        return err_nomem(err, "note a mount point");
                if (s->keep)
                        continue;
                if (slash)
                        *slash++ = '\0';
                fd = sys_openat(in->root.upper_fd, slash ? dir : ".",
                                O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
                if (fd < 0)
                        return err_sys(err, errno, "open the folder of a mount point");
                r = journal(in, fd, slash ? slash : dir, &p, err);
                if (r < 0)
                        return r;
                p->made = true;
                p->before_ns = s->parent_mtime_ns;
                p->after_ns = dir_time(fd);
        }
        return 0;
}

/* The folder and last name of what a handle inside the root is. */
static int split(const struct init *in, int fd, int *ret_dir, char leaf[256], struct bld_err *err)
{
        char link[32], path[4096];
        char *slash;
        ssize_t n;

        (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        n = readlink(link, path, sizeof(path) - 1);
        if (n <= 0)
                return err_sys(err, errno, "find the place of a mount");
        path[n] = '\0';
        slash = strrchr(path, '/');
        if (!slash || strncmp(path, in->root.base, strlen(in->root.base)) != 0 ||
            (size_t)n <= strlen(in->root.base) || !str_copy(leaf, 256, slash + 1))
                return err_set(err, BLD_E_INVALID, "a mount cannot lie over the root");
        *slash = '\0';
        *ret_dir = sys_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
        return *ret_dir < 0 ? err_sys(err, errno, "open the folder of a mount") : 0;
}

/* What is lent: so that it comes back even if nobody of us lives to see to it (cas_tmp_rescue()).
 */
static int note_return(struct init *in, const struct stat *st, int dir, const char *leaf,
                       const char *back, struct bld_err *err)
{
        AUTO_SB struct sb b = SB_INIT(16384);
        char link[32], path[4096], name[32];
        AUTO_FD int fd = -1;
        ssize_t n;
        int r;

        (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", dir);
        n = readlink(link, path, sizeof(path) - 1);
        if (n < (ssize_t)strlen(in->root.base))
                return err_sys(err, errno, "find the place of a mount");
        path[n] = '\0';
        sb_fmt(&b, "%llu%cfs%s/%s%c%s%c", (unsigned long long)st->st_ino, 0,
               path + strlen(in->root.base), leaf, 0, back, 0);
        (void)snprintf(name, sizeof(name), "return-%zu", in->nlent++);
        fd = sys_openat(in->scratch_fd, name, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC,
                        0600);
        if (fd < 0)
                return err_sys(err, errno, "note what is lent to the step");
        r = sb_check(&b, "a note", err);
        return r < 0 ? r : fd_write_all(fd, b.buf, b.len, err);
}

int tree_place(struct init *in, int from_dir, const char *from, const char *target, bool back,
               struct bld_err *err)
{
        size_t stubs = in->root.stubs.n;
        AUTO_FD int at = -1;
        AUTO_FD int dir = -1;
        char leaf[256], saved[32];
        struct placed *p;
        struct stat st;
        int64_t before;
        int r;

        if (fstatat(from_dir, from, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return err_sys(err, errno, "look at what belongs at %s", target);
        r = root_ensure(&in->root, target, S_ISDIR(st.st_mode) ? ROOT_DIR : ROOT_FILE, &at, err);
        if (r == 0)
                r = journal_stubs(in, stubs, err);
        if (r == 0)
                r = split(in, at, &dir, leaf, err);
        if (r < 0)
                return r;
        if (back && (r = note_return(in, &st, dir, leaf, from, err)) < 0)
                return r;
        before = dir_time(dir);
        (void)snprintf(saved, sizeof(saved), "saved-%zu", in->places.n);
        if (sys_rename(dir, leaf, in->scratch_fd, saved) < 0 ||
            sys_rename(from_dir, from, dir, leaf) < 0)
                return err_sys(err, errno, "put something at %s", target);
        r = journal(in, dir, leaf, &p, err);
        if (r < 0)
                return r;
        (void)str_copy(p->saved, sizeof(p->saved), saved);
        p->before_ns = before;
        p->after_ns = dir_time(dir);
        if (back && !(p->back = mem_strdup(from)))
                return err_nomem(err, target);
        return 0;
}

/* ---- back again ---- */

/* Whatever stands at the place goes to the scratch folder, which is thrown away; contents of
 * secrets at once. */
static int clear(struct init *in, struct placed *p, size_t i, bool ours)
{
        char trash[32];

        if (ours && p->back)
                return sys_rename(p->dir, p->leaf, in->store_fd, p->back);
        if (ours && !p->is_dir)
                return sys_unlinkat(p->dir, p->leaf, 0);
        (void)snprintf(trash, sizeof(trash), "trash-%zu", i);
        return sys_rename(p->dir, p->leaf, in->scratch_fd, trash);
}

static int undo(struct init *in, struct placed *p, size_t i, struct bld_err *err)
{
        int64_t now = dir_time(p->dir);
        struct stat st;
        bool there = fstatat(p->dir, p->leaf, &st, AT_SYMLINK_NOFOLLOW) == 0;
        bool ours = there && st.st_ino == p->ino;
        int r = 0;

        if (p->made) {
                /* The step used it: then it is the step's. */
                if (!ours || (!p->is_dir && st.st_size > 0) ||
                    sys_unlinkat(p->dir, p->leaf, p->is_dir ? AT_REMOVEDIR : 0) < 0)
                        return 0;
        } else {
                if (there && clear(in, p, i, ours) < 0)
                        r = err_sys(err, errno, "take away what was put into the root");
                if (r == 0 && sys_rename(in->scratch_fd, p->saved, p->dir, p->leaf) < 0)
                        r = err_sys(err, errno, "put back what was in the root");
        }
        if (r == 0)
                set_dir_time(p->dir, now == p->after_ns ? p->before_ns : now);
        return r;
}

int tree_undo(struct init *in, struct bld_err *err)
{
        int r = 0;

        while (r == 0 && in->places.n > 0) {
                size_t i = in->places.n - 1;
                r = undo(in, &in->places.v[i], i, err);
                fd_close(&in->places.v[i].dir);
                free(in->places.v[i].leaf);
                free(in->places.v[i].back);
                in->places.n--;
        }
        return r;
}

/* ---- /dev, /proc, /sys ---- */

static int fill_dev(struct init *in, int dev, struct bld_err *err)
{
        for (size_t i = 0; i < DEV_NODES; i++) {
                if (mknodat(dev, dev_nodes[i].name, S_IFCHR | 0666,
                            makedev(dev_nodes[i].maj, dev_nodes[i].min)) == 0)
                        continue;
                if (errno != EPERM)
                        return err_sys(err, errno, "make /dev/%s", dev_nodes[i].name);
                in->no_nodes = true; /* the supervisor serves them */
        }
        if (sys_mkdirat(dev, "shm", 01777) < 0)
                return err_sys(err, errno, "make /dev/shm");
        return dev_links(dev, err);
}

static int place_dev(struct init *in, struct bld_err *err)
{
        AUTO_FD int dev = -1;
        mode_t mask;
        int r;

        if (sys_mkdirat(in->scratch_fd, "dev", 0755) < 0)
                return err_sys(err, errno, "make a folder for devices");
        dev = sys_openat(in->scratch_fd, "dev", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
        if (dev < 0)
                return err_sys(err, errno, "open a folder for devices");
        mask = umask(0);
        r = fill_dev(in, dev, err);
        (void)umask(mask);
        return r < 0 ? r : tree_place(in, in->scratch_fd, "dev", "/dev", false, err);
}

/* Empty folders where other levels mount: they stay, as there. */
static int make_places(struct init *in, struct bld_err *err)
{
        static const char *const names[] = {"/proc", "/dev", "/sys"};

        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
                AUTO_FD int fd = -1;
                struct stat st;
                int r;
                if (fstatat(in->root.fd, names[i] + 1, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
                    !S_ISDIR(st.st_mode))
                        return err_set(err, BLD_E_INVALID, "%s of the image is not a folder",
                                       names[i]);
                r = root_ensure(&in->root, names[i], ROOT_DIR | ROOT_KEEP, &fd, err);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* ---- the whole ---- */

int tree_open(struct init *in, struct bld_err *err)
{
        AUTO_FREE char *root = path_join(in->step.scratch, "fs");
        int r;

        if (!root)
                return err_nomem(err, "open the root of the step");
        in->scratch_fd = sys_openat(AT_FDCWD, in->step.scratch,
                                    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
        if (in->scratch_fd < 0)
                return err_sys(err, errno, "open %s", in->step.scratch);
        r = root_open(&in->root, root, err);
        if (r < 0)
                return r;
        in->store_fd = sys_openat(AT_FDCWD, ".", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
        in->root.upper_fd = sys_openat(AT_FDCWD, root, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
        if (in->store_fd < 0 || in->root.upper_fd < 0 ||
            sys_mkdirat(in->scratch_fd, "files", 0700) < 0)
                return err_sys(err, errno, "open the root of the step");
        in->files_fd = sys_openat(in->scratch_fd, "files", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
        in->proc_fd = sys_openat(AT_FDCWD, "/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
        in->null_fd = sys_openat(AT_FDCWD, "/dev/null", O_RDONLY | O_CLOEXEC, 0);
        if (in->files_fd < 0 || in->proc_fd < 0 || in->null_fd < 0)
                return err_sys(err, errno, "prepare the step");
        return 0;
}

/* Empty, and ours: what a step writes there is no part of the image. */
static int place_empty(struct init *in, const char *target, struct bld_err *err)
{
        if (sys_mkdirat(in->scratch_fd, target + 1, 0555) < 0)
                return err_sys(err, errno, "make a folder for %s", target);
        return tree_place(in, in->scratch_fd, target + 1, target, false, err);
}

int tree_mounts(struct init *in, struct bld_err *err)
{
        int r = make_places(in, err);

        if (r == 0)
                r = place_dev(in, err);
        if (r == 0)
                r = place_empty(in, "/proc", err);
        if (r == 0)
                r = place_empty(in, "/sys", err);
        if (r == 0)
                r = file_binds(in, err);
        return r == 0 ? run_mounts(in, err) : r;
}

/* A mount of RUN --mount that is a folder or file of the store, or an empty folder. Copies, caches:
 * what is written to the former goes, the latter go back to where they were. */
int tree_mount(struct init *in, const struct rt_mount *m, int source_fd, size_t i,
               struct bld_err *err)
{
        AUTO_FD int sel = -1;
        char name[32], link[40], path[4096];
        ssize_t n;
        int r;

        if (m->kind == RT_MOUNT_TMPFS) {
                (void)snprintf(name, sizeof(name), "tmp-%zu", i);
                if (sys_mkdirat(in->scratch_fd, name, 0700) < 0 ||
                    fchmodat(in->scratch_fd, name, 01777, 0) < 0)
                        return err_sys(err, errno, "make a folder for the step");
                return tree_place(in, in->scratch_fd, name, m->target, false, err);
        }
        if (m->kind == RT_MOUNT_CACHE && !m->selector)
                return tree_place(in, AT_FDCWD, m->source, m->target, true, err);
        r = root_find(source_fd, m->selector && *m->selector ? m->selector : "/", O_PATH, &sel,
                      err);
        if (r == 0)
                return err_set(err, BLD_E_NOT_FOUND, "no \"%s\" in the source of the mount",
                               m->selector);
        if (r < 0)
                return r;
        (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", sel);
        n = readlink(link, path, sizeof(path) - 1);
        if (n <= 0)
                return err_sys(err, errno, "find the source of a mount");
        path[n] = '\0';
        return tree_place(in, AT_FDCWD, path, m->target, false, err);
}

/* In the step. The kernel lets who holds CAP_SYS_CHROOT out of a chroot again; Landlock does not.
 */
int tree_enter(const struct init *in, struct bld_err *err)
{
        if (fchdir(in->root.fd) < 0 || chroot(".") < 0 || chdir("/") < 0)
                return err_sys(err, errno, "change to the root of the step");
        return 0;
}
