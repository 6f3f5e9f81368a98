/* Probes: do the real thing in a throw-away child and look at errno. Never conclude from uids,
 * names of distributions or "am I in a container". */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "base/num.h"
#include "base/path.h"
#include "base/sys.h"
#include "runtime/runtime_priv.h"

/* What a probe's child tells through its pipe. */
struct verdict {
        struct bld_err err;
        struct rt_probe p;
};

static void trying(struct verdict *v, const char *primitive)
{
        (void)str_copy(v->p.failed, sizeof(v->p.failed), primitive);
}

/* Run fn in a child; its verdict, or an error when it died. */
static int in_child(void (*fn)(const struct rt_child *c, struct verdict *v),
                    const struct rt_child *c, struct verdict *ret, struct bld_err *err)
{
        AUTO_FD int rd = -1;
        AUTO_FD int wr = -1;
        pid_t parent = getpid();
        size_t got = 0;
        int fds[2];
        pid_t pid;
        int r;

        if (pipe2(fds, O_CLOEXEC) < 0)
                return err_sys(err, errno, "create a pipe for a probe");
        rd = fds[0];
        wr = fds[1];
        pid = rt_fork();
        if (pid < 0)
                return err_sys(err, errno, "start a process for a probe");
        if (pid == 0) {
                struct verdict v = {0};
                rt_tie_to_parent();
                /* The first process of a pid namespace sees no parent. */
                if (getpid() != 1 && getppid() != parent)
                        _exit(1);
                fn(c, &v);
                _exit(fd_write_all(wr, &v, sizeof(v), NULL) < 0);
        }
        fd_close(&wr);
        r = fd_read_full(rd, ret, sizeof(*ret), &got, err);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
                ;
        if (r < 0)
                return r;
        if (got != sizeof(*ret))
                return err_set(err, BLD_E_CHILD, "a probe died");
        return 0;
}

/* ---- overlay, on the file system that will hold the upper folders ---- */

/* Replace a lower folder and rename: what fails with the wrong kind of xattrs. */
static int use_overlay(int root, struct bld_err *err)
{
        AUTO_FD int fd = -1;

        if (sys_unlinkat(root, "d/f", 0) < 0 || sys_unlinkat(root, "d", AT_REMOVEDIR) < 0)
                return err_sys(err, errno, "remove a folder of a lower layer");
        if (sys_mkdirat(root, "d", 0755) < 0)
                return err_sys(err, errno, "make a removed folder again");
        if (sys_mkdirat(root, "new", 0755) < 0 || sys_rename(root, "new", root, "new2") < 0)
                return err_sys(err, errno, "rename a new folder");
        fd = sys_openat(root, "d/g", O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0755);
        if (fd < 0)
                return err_sys(err, errno, "write a file");
        return 0;
}

static int overlay_once(const char *dir, bool user_xattr, struct bld_err *err)
{
        char lower[128], upper[128], work[128];
        const char *lowers[1] = {lower};
        struct ovl_opts o = {.lowers = lowers,
                             .nlowers = 1,
                             .upper = upper,
                             .work = work,
                             .user_xattr = user_xattr};
        AUTO_FD int root = -1;
        int r;

        (void)snprintf(lower, sizeof(lower), "%s/lower", dir);
        (void)snprintf(upper, sizeof(upper), "%s/upper%d", dir, user_xattr);
        (void)snprintf(work, sizeof(work), "%s/work%d", dir, user_xattr);
        if (sys_mkdirat(AT_FDCWD, upper, 0755) < 0 || sys_mkdirat(AT_FDCWD, work, 0700) < 0)
                return err_sys(err, errno, "make %s", upper);
        r = ovl_attach(&o, dir, err);
        if (r < 0)
                return r;
        root = sys_openat(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
        r = root < 0 ? err_sys(err, errno, "open %s", dir) : use_overlay(root, err);
        /* The folders below are wanted again. */
        if (r == 0 && umount2(dir, MNT_DETACH) < 0)
                return err_sys(err, errno, "unmount overlay");
        return r;
}

static int overlay_explain(const char *dir, struct bld_err *err)
{
        if (err->sys == EINVAL)
                return err_try(err, err->code,
                               "put the store on a volume with --root: an upper folder cannot lie "
                               "on overlay, NFS or FAT");
        if (err->sys == EPERM || err->sys == EACCES)
                return err_why(err, err->code, "the kernel or a security module refuses mounts");
        return err_why(err, err->code, "probe folder %s", dir);
}

/* Folders of probes that were killed. Young ones may be between their mkdir and their lock. */
static void sweep_probes(void)
{
        int fd = sys_openat(AT_FDCWD, "tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
        DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
        struct dirent *e;

        if (!d) {
                fd_close(&fd);
                return;
        }
        while ((e = readdir(d))) {
                AUTO_FD int dir = -1;
                struct stat st;
                if (!str_has_prefix(e->d_name, "rt-probe-"))
                        continue;
                dir = sys_openat(dirfd(d), e->d_name,
                                 O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
                if (dir >= 0 && fstat(dir, &st) == 0 && time(NULL) - st.st_mtime > 60 &&
                    flock(dir, LOCK_EX | LOCK_NB) == 0)
                        (void)path_remove_tree(dirfd(d), e->d_name, NULL);
        }
        closedir(d);
}

static int probe_dir(char *dir, size_t size, int *ret_lock, struct bld_err *err)
{
        char path[128];
        int fd;

        (void)snprintf(dir, size, "tmp/rt-probe-%d", (int)getpid());
        if (sys_mkdirat(AT_FDCWD, "tmp", 0755) < 0 && errno != EEXIST)
                return err_sys(err, errno, "make the store's tmp folder");
        sweep_probes();
        (void)path_remove_tree(AT_FDCWD, dir, NULL); /* of a dead process with our number */
        (void)snprintf(path, sizeof(path), "%s/lower/d", dir);
        if (sys_mkdirat(AT_FDCWD, dir, 0700) < 0)
                return err_sys(err, errno, "make %s", dir);
        *ret_lock = sys_openat(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
        if (*ret_lock < 0 || flock(*ret_lock, LOCK_EX | LOCK_NB) < 0)
                return err_sys(err, errno, "lock %s", dir);
        int r = path_mkdirs(AT_FDCWD, path, 0755, err);
        if (r < 0)
                return r;
        (void)snprintf(path, sizeof(path), "%s/lower/d/f", dir);
        fd = sys_openat(AT_FDCWD, path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
        if (fd < 0)
                return err_sys(err, errno, "make %s", path);
        close(fd);
        return 0;
}

/* trusted.* is what the initial namespace's root may write; anyone else marks with user.overlay.
 * A mount without userxattr succeeds there, and then loses data: ask for the attribute first. */
static bool trusted_works(const char *dir)
{
        return setxattr(dir, "trusted.bld.probe", "1", 1, 0) == 0;
}

static int probe_overlay(const char *dir, struct verdict *v)
{
        int r;

        trying(v, "mount(overlay)");
        v->p.user_xattr = !trusted_works(dir);
        r = overlay_once(dir, v->p.user_xattr, &v->err);
        return r < 0 ? overlay_explain(dir, &v->err) : 0;
}

/* ---- the rest of a step's needs ---- */

/* A fresh /proc, in a pid namespace of its own. */
static void proc_probe(const struct rt_child *c, struct verdict *v)
{
        AUTO_FD int fd = -1;

        (void)c;
        (void)!mnt_new("proc", NULL, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, &fd,
                       &v->err);
}

static void probe_proc(const struct rt_child *c, struct verdict *v)
{
        struct bld_err none = BLD_ERR_INIT;
        struct verdict sub = {0};
        AUTO_FD int fd = -1;

        trying(v, "mount(proc)");
        /* A proc instance belongs to a pid namespace with a process in it: one more fork. */
        if (unshare(CLONE_NEWPID) == 0 && in_child(proc_probe, c, &sub, &sub.err) == 0 &&
            sub.err.code == 0)
                return;
        /* Masked, as in every pod: then its owner's, with its masks, and no pid namespace. A plain
         * bind is refused, because it would show what the masks cover. */
        v->p.shared_proc = true;
        if (mnt_clone(AT_FDCWD, "/proc", true, &fd, &none) == 0)
                return;
        v->err = none;
        err_why(&v->err, v->err.code, "the /proc here is masked, and may not be shared either");
        err_try(&v->err, v->err.code,
                "securityContext.procMount: Unmasked with hostUsers: false, or a privileged pod");
}

static void probe_mounts(const struct rt_child *c, struct verdict *v)
{
        AUTO_FD int lock = -1;
        char dir[64] = "";

        trying(v, "unshare(CLONE_NEWNS)");
        if (unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP) < 0) {
                (void)err_sys(&v->err, errno, "create namespaces");
                return;
        }
        trying(v, "mount(MS_PRIVATE)");
        if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
                (void)err_sys(&v->err, errno, "make mounts private");
                return;
        }
        trying(v, "mkdir in the store");
        if (probe_dir(dir, sizeof(dir), &lock, &v->err) == 0)
                (void)probe_overlay(dir, v);
        (void)path_remove_tree(AT_FDCWD, dir, NULL);
        if (v->err.code == 0)
                probe_proc(c, v);
}

static int run_probe(void (*fn)(const struct rt_child *c, struct verdict *v),
                     const struct rt_child *c, struct rt_probe *ret, struct bld_err *err)
{
        struct verdict v = {0};
        int r = in_child(fn, c, &v, err);

        if (r < 0)
                return r;
        v.p.failed[sizeof(v.p.failed) - 1] = '\0';
        *ret = v.p;
        if (v.err.code < 0) {
                if (v.err.code == BLD_E_SYS)
                        v.err.code = BLD_E_UNSUPPORTED;
                err_copy(err, &v.err);
                return v.err.code;
        }
        ret->failed[0] = '\0';
        return 0;
}

int rt_probe_root(const struct rt_child *c, struct rt_probe *ret, struct bld_err *err)
{
        return run_probe(probe_mounts, c, ret, err);
}

/* ---- user namespaces ---- */

/* A number in a sysctl, or -1. */
static int64_t sysctl_get(const char *path)
{
        AUTO_SB struct sb b = SB_INIT(64);
        struct bld_err unused = BLD_ERR_INIT;
        int64_t v;

        if (file_read(AT_FDCWD, path, &b, &unused) < 0)
                return -1;
        sb_cut(&b, strcspn(sb_text(&b), "\n"));
        return parse_i64(sb_text(&b), INT64_MIN, INT64_MAX, &v) ? v : -1;
}

/* The kernel refuses user namespaces to a process whose root is not its mount namespace's. */
static bool chrooted(void)
{
        struct statx root;

        return statx(AT_FDCWD, "/", 0, STATX_BASIC_STATS, &root) == 0 &&
               (root.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) &&
               !(root.stx_attributes & STATX_ATTR_MOUNT_ROOT);
}

static void newuser_failed(int errnum, struct bld_err *err)
{
        if (errnum == ENOSPC) {
                err_set(err, BLD_E_UNSUPPORTED, "user namespaces are switched off on this node");
                err_why(err, err->code, "user.max_user_namespaces is 0 (or used up)");
                err_try(err, err->code, "node admin: sysctl -w user.max_user_namespaces=28633");
        } else if (errnum == EPERM &&
                   sysctl_get("/proc/sys/kernel/unprivileged_userns_clone") == 0) {
                err_set(err, BLD_E_UNSUPPORTED, "user namespaces are switched off on this host");
                err_why(err, err->code, "kernel.unprivileged_userns_clone is 0");
                err_try(err, err->code, "as root: sysctl -w kernel.unprivileged_userns_clone=1");
        } else if (errnum == EPERM && chrooted()) {
                err_set(err, BLD_E_UNSUPPORTED, "cannot run RUN steps: bld runs inside a chroot");
                err_why(err, err->code, "the kernel refuses user namespaces there");
                err_try(err, err->code, "use pivot_root, bwrap or unshare, or run bld outside");
        } else if (errnum == EPERM || errnum == ENOSYS) {
                err_set(err, BLD_E_UNSUPPORTED,
                        "cannot run RUN steps: user namespaces are forbidden here");
                err_why(err, err->code, "a seccomp profile or a security module answers %s",
                        errnum == EPERM ? "EPERM" : "ENOSYS");
                err_try(err, err->code, "securityContext.seccompProfile.type: Unconfined");
                err_try(err, err->code, "hostUsers: false with runAsUser: 0");
                err_note(err, err->code, "Dockerfiles without RUN build here as they are");
        } else {
                (void)err_sys(err, errnum, "create a user namespace");
                (void)err_recode(err, BLD_E_UNSUPPORTED);
        }
}

static int map_write(const char *file, const char *text, struct bld_err *err)
{
        AUTO_FD int fd = sys_openat(AT_FDCWD, file, O_WRONLY | O_CLOEXEC, 0);

        if (fd < 0 || write(fd, text, strlen(text)) < 0)
                return err_sys(err, errno, "write %s", file);
        return 0;
}

int rt_map_self(uint32_t uid, uint32_t gid, struct bld_err *err)
{
        struct bld_err old = BLD_ERR_INIT;
        char text[64];
        int r;

        /* The change of credentials cleared the flag, without which these files are root's. */
        (void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
        r = map_write("/proc/self/setgroups", "deny", &old);
        if (r < 0 && old.sys != ENOENT) { /* before 3.19 there was no such thing */
                err_copy(err, &old);
                return r;
        }
        (void)snprintf(text, sizeof(text), "0 %u 1\n", uid);
        r = map_write("/proc/self/uid_map", text, err);
        (void)snprintf(text, sizeof(text), "0 %u 1\n", gid);
        return r < 0 ? r : map_write("/proc/self/gid_map", text, err);
}

/* The namespace is there, and what it is for is refused. */
static void explain_user(struct verdict *v)
{
        if (v->err.sys != EPERM && v->err.sys != EACCES)
                return;
        if (sysctl_get("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") != 1)
                return;
        err_clear(&v->err);
        err_set(&v->err, BLD_E_UNSUPPORTED, "AppArmor restricts user namespaces here");
        err_try(&v->err, v->err.code,
                "as root: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0");
        err_try(&v->err, v->err.code, "in a pod: appArmorProfile.type: Unconfined");
}

/* All that the kernel refuses or allows in one is the same whatever the map: one id is enough. */
static void user_probe(const struct rt_child *c, struct verdict *v)
{
        uint32_t uid = geteuid(), gid = getegid();

        trying(v, "unshare(CLONE_NEWUSER)");
        if (unshare(CLONE_NEWUSER) < 0) {
                newuser_failed(errno, &v->err);
                return;
        }
        trying(v, "uid_map");
        if (rt_map_self(uid, gid, &v->err) == 0)
                probe_mounts(c, v);
        if (v->err.code < 0)
                explain_user(v);
}

int rt_probe_user(const struct rt_child *c, struct rt_probe *ret, struct bld_err *err)
{
        return run_probe(user_probe, c, ret, err);
}

/* ---- chroot ---- */

static void missing(struct verdict *v, int errnum, const char *cap, const char *what)
{
        (void)err_sys(&v->err, errnum, "%s", what);
        err_why(&v->err, v->err.code, "CAP_%s is missing", cap);
        err_try(&v->err, v->err.code,
                "securityContext.capabilities.add: [\"%s\"], or seccomp Unconfined so that user "
                "namespaces can be used",
                cap);
}

static void use_chroot(const char *dir, struct verdict *v)
{
        char file[128];

        (void)snprintf(file, sizeof(file), "%s/lower/d/f", dir);
        trying(v, "chown");
        if (chown(file, 1, 1) < 0) {
                missing(v, errno, "CHOWN", "give a file away");
                return;
        }
        trying(v, "chroot");
        if (chroot(dir) < 0) {
                missing(v, errno, "SYS_CHROOT", "chroot");
                return;
        }
        trying(v, "setresuid");
        if (setgroups(0, NULL) < 0 || setresgid(1, 1, 1) < 0)
                missing(v, errno, "SETGID", "become another group");
        else if (setresuid(1, 1, 1) < 0)
                missing(v, errno, "SETUID", "become another user");
}

/* chroot takes this process to where the folder's name means nothing: so by a child. */
static void chroot_probe(const struct rt_child *c, struct verdict *v)
{
        AUTO_FD int lock = -1;
        char dir[64] = "";
        pid_t pid;

        trying(v, "geteuid");
        if (geteuid() != 0) {
                err_set(&v->err, BLD_E_UNSUPPORTED, "not running as uid 0");
                err_try(&v->err, v->err.code, "runAsUser: 0 with the default capabilities");
                return;
        }
        trying(v, "mkdir in the store");
        if (probe_dir(dir, sizeof(dir), &lock, &v->err) == 0) {
                struct verdict *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
                                              MAP_SHARED | MAP_ANONYMOUS, -1, 0);
                pid = shared == MAP_FAILED ? -1 : rt_fork();
                if (pid == 0) {
                        use_chroot(dir, shared);
                        _exit(0);
                }
                if (pid < 0)
                        (void)err_sys(&v->err, errno, "start a process for a probe");
                while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
                        ;
                if (pid > 0)
                        *v = *shared;
        }
        (void)path_remove_tree(AT_FDCWD, dir, NULL);
        (void)c;
}

int rt_probe_chroot(const struct rt_child *c, struct rt_probe *ret, struct bld_err *err)
{
        int r = run_probe(chroot_probe, c, ret, err);

        ret->shared_proc = true;
        return r;
}

/* ---- seccomp's user notifications ---- */

/* A child whose getppid() is answered with what no process is. */
static void notify_probe(const struct rt_child *c, struct verdict *v)
{
        (void)c;
        trying(v, "seccomp(SECCOMP_FILTER_FLAG_NEW_LISTENER)");
        if (sup_probe(&v->err) == 0)
                return;
        err_why(&v->err, v->err.code,
                "without seccomp's user notifications (Linux 5.9) one id is not enough");
}

int rt_probe_notify(const struct rt_child *c, struct rt_probe *ret, struct bld_err *err)
{
        return run_probe(notify_probe, c, ret, err);
}
