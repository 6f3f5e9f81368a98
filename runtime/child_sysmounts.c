/* What every step sees besides its image: /proc, /dev, /sys, hosts and resolv.conf, and the masks.
 * In the order of docs/runtime.md. All of it is done before the root is changed, through handles.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/sys.h"
#include "runtime/runtime_priv.h"

#define CGROUP2_MAGIC 0x63677270
#define NSD (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)
#define NSDE (NSD | MOUNT_ATTR_NOEXEC)
#define FILE_MAX_BYTES 65536

/* ---- the private tmpfs ---- */

static uint64_t files_size(const struct rt_step *s)
{
        uint64_t size = 1 << 20;

        for (size_t i = 0; i < s->nmounts; i++)
                size += s->mounts[i].data_len + 8192;
        return size;
}

int files_mount(struct init *in, struct bld_err *err)
{
        char size[40];
        const char *opts[] = {"mode=0700", size, NULL};
        AUTO_FD int at = -1;
        int r;

        (void)snprintf(size, sizeof(size), "size=%llu", (unsigned long long)files_size(&in->step));
        /* Where the root will cover it: it needs a place in the tree, but nobody needs its name. */
        at = sys_openat(in->scratch_fd, "root", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
        if (at < 0)
                return err_sys(err, errno, "open the folder for the step's files");
        r = mnt_new("tmpfs", opts, NSD, &in->files_fd, err);
        if (r == 0)
                r = mnt_attach(in->files_fd, at, "the step's files", err);
        if (r < 0)
                return r;
        if (sys_mkdirat(in->files_fd, "empty", 0755) < 0)
                return err_sys(err, errno, "make an empty folder");
        return 0;
}

int files_put(struct init *in, const char *name, const void *p, size_t n, unsigned mode,
              struct bld_err *err)
{
        AUTO_FD int fd = sys_openat(in->files_fd, name,
                                    O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0600);
        int r;

        if (fd < 0)
                return err_sys(err, errno, "make a file for the step");
        r = n ? fd_write_all(fd, p, n, err) : 0;
        if (r == 0 && fchmod(fd, mode & 07777) < 0)
                return err_sys(err, errno, "set the mode of a file for the step");
        return r;
}

/* Show what from_fd (a handle, or a name below it) is at a handle of a mount point. */
static int bind_at(int from_fd, const char *name, int target_fd, uint64_t attrs, const char *what,
                   struct bld_err *err)
{
        AUTO_FD int fd = -1;
        int r = mnt_clone(from_fd, name, false, &fd, err);

        if (r == 0 && attrs)
                r = mnt_attr(fd, false, attrs, err);
        if (r == 0)
                r = mnt_attach(fd, target_fd, what, err);
        return r < 0 ? err_wrap(err, r, "mount %s", what) : 0;
}

int files_bind(struct init *in, const char *name, const char *target, uint64_t attrs,
               struct bld_err *err)
{
        AUTO_FD int to = -1;
        struct stat st;
        int r;

        if (in->c->env.level == RT_CHROOT)
                return tree_place(in, in->files_fd, name, target, false, err);
        if (fstatat(in->files_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return err_sys(err, errno, "look at a file for the step");
        r = root_ensure(&in->root, target, S_ISDIR(st.st_mode) ? ROOT_DIR : ROOT_FILE, &to, err);
        return r < 0 ? r : bind_at(in->files_fd, name, to, attrs, target, err);
}

/* ---- /proc ---- */

/* The three places that must be the image's own folders: a link there could put a mount over
 * anything in the image. */
static int own_place(struct init *in, const char *path, int *ret_fd, struct bld_err *err)
{
        struct stat st;

        if (fstatat(in->root.fd, path + 1, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISDIR(st.st_mode))
                return err_set(err, BLD_E_INVALID, "%s of the image is not a folder", path);
        return root_ensure(&in->root, path, ROOT_DIR | ROOT_KEEP, ret_fd, err);
}

static int mount_proc(struct init *in, struct bld_err *err)
{
        AUTO_FD int at = -1;
        AUTO_FD int fd = -1;
        int r = own_place(in, "/proc", &at, err);

        /* Recursively: what covers parts of it must come along. */
        if (r == 0)
                r = in->c->env.shared_proc ? mnt_clone(AT_FDCWD, "/proc", true, &fd, err)
                                           : mnt_new("proc", NULL, NSDE, &fd, err);
        if (r == 0 && in->c->env.shared_proc)
                r = mnt_attr(fd, true, NSDE, err);
        if (r == 0)
                r = mnt_attach(fd, at, "/proc", err);
        in->proc_fd = r == 0 ? take_fd(&fd) : -1;
        return r;
}

/* ---- /dev ---- */

const struct dev_node dev_nodes[DEV_NODES] = {{"null", 1, 3},   {"zero", 1, 5},    {"full", 1, 7},
                                              {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}};

int dev_links(int dev, struct bld_err *err)
{
        static const struct {
                const char *name, *target;
        } links[] = {{"fd", "/proc/self/fd"},
                     {"stdin", "/proc/self/fd/0"},
                     {"stdout", "/proc/self/fd/1"},
                     {"stderr", "/proc/self/fd/2"}};

        for (size_t i = 0; i < ARRAY_LEN(links); i++)
                if (symlinkat(links[i].target, dev, links[i].name) < 0)
                        return err_sys(err, errno, "make /dev/%s", links[i].name);
        return 0;
}

/* A mount of its own for a node, on itself: it goes on working when /dev becomes nodev. */
static int dev_keep(int dev, const char *name, struct bld_err *err)
{
        AUTO_FD int fd = sys_openat(dev, name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);

        if (fd < 0)
                return err_sys(err, errno, "open /dev/%s", name);
        return bind_at(fd, "", fd, 0, name, err);
}

/* A node of our own where that is allowed; else the host's, on a placeholder. */
static int make_node(int dev, size_t i, struct bld_err *err)
{
        char host[32];
        int fd;

        if (mknodat(dev, dev_nodes[i].name, S_IFCHR | 0666,
                    makedev(dev_nodes[i].maj, dev_nodes[i].min)) == 0)
                return dev_keep(dev, dev_nodes[i].name, err);
        if (errno != EPERM)
                return err_sys(err, errno, "make /dev/%s", dev_nodes[i].name);
        fd = sys_openat(dev, dev_nodes[i].name,
                        O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0644);
        if (fd < 0)
                return err_sys(err, errno, "make /dev/%s", dev_nodes[i].name);
        (void)snprintf(host, sizeof(host), "/dev/%s", dev_nodes[i].name);
        int r = bind_at(AT_FDCWD, host, fd, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, host, err);
        close(fd);
        return r;
}

static int dev_mount(int dev, const char *name, mode_t mode, const char *fstype,
                     const char *const *opts, unsigned attrs, struct bld_err *err)
{
        AUTO_FD int at = -1;
        AUTO_FD int fd = -1;
        int r;

        if (sys_mkdirat(dev, name, mode) < 0)
                return err_sys(err, errno, "make /dev/%s", name);
        at = sys_openat(dev, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
        if (at < 0)
                return err_sys(err, errno, "open /dev/%s", name);
        r = mnt_new(fstype, opts, attrs, &fd, err);
        return r < 0 ? r : mnt_attach(fd, at, name, err);
}

static int dev_pts(int dev, struct bld_err *err)
{
        static const char *const with_tty[] = {"newinstance", "ptmxmode=0666", "mode=0620", "gid=5",
                                               NULL};
        static const char *const plain[] = {"newinstance", "ptmxmode=0666", "mode=0620", NULL};
        const unsigned attrs = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC;
        struct bld_err unused = BLD_ERR_INIT;
        int r = dev_mount(dev, "pts", 0755, "devpts", with_tty, attrs, &unused);

        if (r == 0)
                return 0;
        (void)sys_unlinkat(dev, "pts", AT_REMOVEDIR); /* group 5 is not in the map */
        return dev_mount(dev, "pts", 0755, "devpts", plain, attrs, err);
}

static int fill_dev(struct init *in, int dev, struct bld_err *err)
{
        uint64_t shm = in->step.shm_bytes ? in->step.shm_bytes : (uint64_t)64 << 20;
        char size[40];
        const char *shm_opts[] = {"mode=1777", size, NULL};
        int r;

        for (size_t i = 0; i < DEV_NODES; i++) {
                r = make_node(dev, i, err);
                if (r < 0)
                        return r;
        }
        r = dev_links(dev, err);
        if (r < 0)
                return r;
        if (symlinkat("pts/ptmx", dev, "ptmx") < 0)
                return err_sys(err, errno, "make /dev/ptmx");
        (void)snprintf(size, sizeof(size), "size=%llu", (unsigned long long)shm);
        r = dev_pts(dev, err);
        if (r == 0)
                r = dev_mount(dev, "shm", 01777, "tmpfs", shm_opts, NSDE, err);
        if (r == 0)
                r = dev_mount(dev, "mqueue", 01777, "mqueue", NULL, NSDE, err);
        return r;
}

static int mount_dev(struct init *in, struct bld_err *err)
{
        static const char *const opts[] = {"mode=755", "size=64k", NULL};
        AUTO_FD int at = -1;
        AUTO_FD int fd = -1;
        mode_t mask;
        int r = own_place(in, "/dev", &at, err);

        if (r == 0)
                r = mnt_new("tmpfs", opts,
                            MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_STRICTATIME, &fd,
                            err);
        if (r == 0)
                r = mnt_attach(fd, at, "/dev", err);
        if (r < 0)
                return r;
        mask = umask(0);
        r = fill_dev(in, fd, err);
        (void)umask(mask);
        if (r == 0) {
                in->null_fd = sys_openat(fd, "null", O_RDONLY | O_NOFOLLOW | O_CLOEXEC, 0);
                if (in->null_fd < 0)
                        return err_sys(err, errno, "open /dev/null");
        }
        /* A step may hold CAP_MKNOD, and no device cgroup stands behind it: a block node it could
         * open would be the host's disk. So nodes work only in the mounts made for them above. */
        if (r == 0 && !in->step.insecure)
                r = mnt_attr(fd, false, MOUNT_ATTR_NODEV, err);
        return r;
}

/* ---- /sys ---- */

/* v2: a view of our own cgroup namespace. Otherwise nothing: where the host's tree came along with
 * a bind of its /sys, an empty folder hides it. */
static int mount_cgroup(struct init *in, bool bound, struct bld_err *err)
{
        struct bld_err unused = BLD_ERR_INIT;
        struct statfs sfs;
        AUTO_FD int at = -1;
        AUTO_FD int fd = -1;
        bool v2 = statfs("/sys/fs/cgroup", &sfs) == 0 && (unsigned)sfs.f_type == CGROUP2_MAGIC;
        int r = root_find(in->root.fd, "/sys/fs/cgroup", O_PATH | O_DIRECTORY, &at, err);

        if (r <= 0)
                return r;
        if (v2 && mnt_new("cgroup2", NULL, NSDE | MOUNT_ATTR_RDONLY, &fd, &unused) == 0)
                return mnt_attach(fd, at, "/sys/fs/cgroup", err);
        return bound || v2 ? bind_at(in->files_fd, "empty", at, NSDE | MOUNT_ATTR_RDONLY,
                                     "/sys/fs/cgroup", err)
                           : 0;
}

static int mount_sys(struct init *in, struct bld_err *err)
{
        struct bld_err mine = BLD_ERR_INIT;
        AUTO_FD int at = -1;
        AUTO_FD int fd = -1;
        bool bound = false;
        int r = own_place(in, "/sys", &at, err);

        if (r < 0)
                return r;
        /* A sysfs shows a network namespace, so it takes power over that one; without it the host's
         * tree, read-only all the way down. */
        if (mnt_new("sysfs", NULL, NSDE | MOUNT_ATTR_RDONLY, &fd, &mine) < 0) {
                bound = true;
                r = mnt_clone(AT_FDCWD, "/sys", true, &fd, err);
                if (r == 0)
                        r = mnt_attr(fd, true, NSDE | MOUNT_ATTR_RDONLY, err);
        }
        if (r == 0)
                r = mnt_attach(fd, at, "/sys", err);
        return r < 0 ? err_wrap(err, r, "mount /sys") : mount_cgroup(in, bound, err);
}

int sys_mounts(struct init *in, struct bld_err *err)
{
        int r = mount_proc(in, err);

        if (r == 0)
                r = mount_dev(in, err);
        if (r == 0)
                r = mount_sys(in, err);
        return r;
}

/* ---- hosts and resolv.conf ---- */

static int make_hosts(struct init *in, struct bld_err *err)
{
        AUTO_SB struct sb b = SB_INIT(1 << 20);
        const struct rt_step *s = &in->step;
        int r;

        sb_fmt(&b, "127.0.0.1\tlocalhost %s\n", s->hostname ? s->hostname : "buildkitsandbox");
        sb_str(&b, "::1\tlocalhost ip6-localhost ip6-loopback\n");
        for (size_t i = 0; i < s->nhosts; i++)
                sb_fmt(&b, "%s\t%s\n", s->hosts[i].ip, s->hosts[i].name);
        r = sb_check(&b, "/etc/hosts", err);
        return r < 0 ? r : files_put(in, "hosts", b.buf, b.len, 0644, err);
}

static int make_resolv(struct init *in, struct bld_err *err)
{
        AUTO_SB struct sb b = SB_INIT(FILE_MAX_BYTES);
        const char *given = in->step.resolv_conf;
        int r;

        if (given)
                return files_put(in, "resolv.conf", given, strlen(given), 0644, err);
        r = file_read(AT_FDCWD, "/etc/resolv.conf", &b, err);
        if (r == BLD_E_NOT_FOUND && err)
                err_clear(err);
        if (r < 0 && r != BLD_E_NOT_FOUND)
                return r;
        return files_put(in, "resolv.conf", sb_text(&b), b.len, 0644, err);
}

int file_binds(struct init *in, struct bld_err *err)
{
        const uint64_t attrs = NSDE | MOUNT_ATTR_RDONLY;
        int r = in->step.no_hosts ? 0 : make_hosts(in, err);

        if (r == 0)
                r = make_resolv(in, err);
        if (r == 0 && !in->step.no_hosts)
                r = files_bind(in, "hosts", "/etc/hosts", attrs, err);
        if (r == 0)
                r = files_bind(in, "resolv.conf", "/etc/resolv.conf", attrs, err);
        return r;
}

/* ---- masks ---- */

static const char *const masked[] = {
        "/proc/acpi",       "/proc/asound",      "/proc/interrupts",
        "/proc/kcore",      "/proc/keys",        "/proc/latency_stats",
        "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
        "/proc/scsi",       "/sys/firmware",     "/sys/devices/virtual/powercap",
};
static const char *const read_only[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                                        "/proc/sysrq-trigger"};

/* A shared /proc has its owner's masks already, some of them where no mount of ours may lie. */
static int tolerate(const struct init *in, const char *path, int r, struct bld_err *err)
{
        if (r < 0 && in->c->env.shared_proc && str_has_prefix(path, "/proc/") &&
            (err->sys == EPERM || err->sys == EINVAL || err->sys == EACCES)) {
                err_clear(err);
                return 0;
        }
        return r;
}

static int mask(struct init *in, const char *path, struct bld_err *err)
{
        AUTO_FD int at = -1;
        struct stat st;
        int r = root_find(in->root.fd, path, O_PATH, &at, err);

        if (r <= 0)
                return r;
        if (fstat(at, &st) < 0)
                return err_sys(err, errno, "look at %s", path);
        if (S_ISDIR(st.st_mode))
                return bind_at(in->files_fd, "empty", at, NSDE | MOUNT_ATTR_RDONLY, path, err);
        /* By handle: RUN --mount may have put a tree of the image over /dev, and a link named null
         * in it would be followed in the host's root. */
        return bind_at(in->null_fd, "", at, 0, path, err);
}

static int mask_cpus(struct init *in, struct bld_err *err)
{
        char path[80];

        for (unsigned i = 0; i < 8192; i++) {
                AUTO_FD int fd = -1;
                (void)snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%u/thermal_throttle",
                               i);
                int r = root_find(in->root.fd, path, O_PATH, &fd, err);
                if (r == 0) /* cpu0 has it exactly when the others do */
                        return 0;
                if (r > 0)
                        r = mask(in, path, err);
                if (r < 0)
                        return r;
        }
        return 0;
}

int sys_masks(struct init *in, struct bld_err *err)
{
        int r = 0;

        if (in->step.insecure)
                return 0;
        for (size_t i = 0; i < ARRAY_LEN(masked) && r == 0; i++)
                r = tolerate(in, masked[i], mask(in, masked[i], err), err);
        if (r == 0)
                r = mask_cpus(in, err);
        for (size_t i = 0; i < ARRAY_LEN(read_only) && r == 0; i++) {
                AUTO_FD int at = -1;
                r = root_find(in->root.fd, read_only[i], O_PATH, &at, err);
                if (r > 0)
                        r = bind_at(at, "", at, NSDE | MOUNT_ATTR_RDONLY, read_only[i], err);
                r = tolerate(in, read_only[i], r, err);
        }
        return r;
}
