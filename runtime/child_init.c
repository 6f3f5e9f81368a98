/* Init: the process that puts a step's world together, is its pid 1, and reports. Everything it
 * mounts lives in its own mount namespace and goes with it. */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/num.h"
#include "base/owner.h"
#include "base/path.h"
#include "base/sys.h"
#include "runtime/runtime_priv.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define DEFAULT_HOSTNAME                                                         \
        "buildkitsandbox" /* the peers' constant: no host name leaks into images \
                           */
#define ACCOUNTS_MAX ((size_t)16 << 20)

/* ---- the root ---- */

/* One id: the owner is in the attribute. */
static int like_lower_solo(struct init *in, const char *lower, const struct stat *st,
                           struct bld_err *err)
{
        const struct timespec t[2] = {st->st_atim, st->st_mtim};
        char upper[32];
        struct owner o;

        (void)snprintf(upper, sizeof(upper), "/proc/self/fd/%d", in->root.upper_fd);
        if ((owner_xattr_get(lower, true, &o) > 0 && owner_xattr_set(upper, true, &o) < 0) ||
            fchmod(in->root.upper_fd, st->st_mode & 07777) < 0 ||
            futimens(in->root.upper_fd, t) < 0)
                return err_sys(err, errno, "prepare the upper folder");
        return 0;
}

/* The root folder of the merged tree takes owner, mode and time from the upper one. */
static int like_lower(struct init *in, const char *lower, struct bld_err *err)
{
        struct timespec t[2];
        struct stat st;

        if (fstatat(AT_FDCWD, lower, &st, 0) < 0)
                return err_sys(err, errno, "look at layer %s", lower);
        t[0] = st.st_atim;
        t[1] = st.st_mtim;
        if (in->c->env.level == RT_SOLO)
                return like_lower_solo(in, lower, &st, err);
        if (fchown(in->root.upper_fd, st.st_uid, st.st_gid) < 0 ||
            fchmod(in->root.upper_fd, st.st_mode & 07777) < 0 || futimens(in->root.upper_fd, t) < 0)
                return err_sys(err, errno, "prepare the upper folder");
        return 0;
}

static int make_dirs(struct init *in, bool empty, struct bld_err *err)
{
        static const struct {
                const char *name;
                mode_t mode;
        } dirs[] = {{"upper", 0755}, {"work", 0700}, {"root", 0700}, {"empty", 0755}};

        in->scratch_fd = sys_openat(AT_FDCWD, in->step.scratch,
                                    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
        if (in->scratch_fd < 0)
                return err_sys(err, errno, "open %s", in->step.scratch);
        for (size_t i = 0; i < ARRAY_LEN(dirs) - !empty; i++)
                if (sys_mkdirat(in->scratch_fd, dirs[i].name, dirs[i].mode) < 0)
                        return err_sys(err, errno, "make %s/%s", in->step.scratch, dirs[i].name);
        in->root.upper_fd = sys_openat(in->scratch_fd, "upper",
                                       O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
        if (in->root.upper_fd < 0)
                return err_sys(err, errno, "open %s/upper", in->step.scratch);
        return 0;
}

static int mount_root(struct init *in, struct bld_err *err)
{
        const struct rt_step *s = &in->step;
        AUTO_FREE char *upper = path_join(s->scratch, "upper");
        AUTO_FREE char *work = path_join(s->scratch, "work");
        AUTO_FREE char *root = path_join(s->scratch, "root");
        AUTO_FREE char *empty = path_join(s->scratch, "empty");
        const char *none[1] = {empty};
        struct ovl_opts o = {.lowers = s->lowers,
                             .nlowers = s->nlowers,
                             .upper = upper,
                             .work = work,
                             .user_xattr = in->c->env.user_xattr};
        int r;

        if (!upper || !work || !root || !empty)
                return err_nomem(err, "mount the root of the step");
        r = make_dirs(in, s->nlowers == 0, err);
        if (r == 0)
                r = files_mount(in, err);
        if (r < 0)
                return r;
        if (s->nlowers == 0) { /* FROM scratch: overlay wants a lower layer all the same */
                o.lowers = none;
                o.nlowers = 1;
        } else {
                r = like_lower(in, s->lowers[s->nlowers - 1], err);
                if (r < 0)
                        return r;
        }
        r = ovl_attach(&o, root, err);
        if (r == 0)
                r = root_open(&in->root, root, err);
        return r;
}

/* ---- who ---- */

/* A file of the image as text; absent gives "". Neither a FIFO nor a device can stop us. */
static int read_image_file(struct init *in, const char *path, struct sb *b, struct bld_err *err)
{
        AUTO_FD int fd = -1;
        struct stat st;
        int r = root_find(in->root.fd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, &fd, err);

        if (r <= 0)
                return r;
        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
                return err_set(err, BLD_E_INVALID, "%s of the image is not a file", path);
        return fd_read_all(fd, b, path, err);
}

static int find_user(struct init *in, struct bld_err *err)
{
        AUTO_SB struct sb passwd = SB_INIT(ACCOUNTS_MAX);
        AUTO_SB struct sb group = SB_INIT(ACCOUNTS_MAX);
        int r = read_image_file(in, "/etc/passwd", &passwd, err);

        if (r == 0)
                r = read_image_file(in, "/etc/group", &group, err);
        if (r == 0)
                r = ident_resolve(in->step.user, sb_text(&passwd), sb_text(&group), &in->id, err);
        return r;
}

static int make_env(struct init *in, struct bld_err *err)
{
        for (size_t i = 0; in->step.envp[i]; i++)
                if (strv_add(&in->env, in->step.envp[i]) < 0)
                        return err_nomem(err, "the step's environment");
        if ((!strv_env_get(&in->env, "PATH") && strv_env_set(&in->env, "PATH", DEFAULT_PATH) < 0) ||
            (!strv_env_get(&in->env, "HOME") && strv_env_set(&in->env, "HOME", in->id.home) < 0) ||
            rt_strv_end(&in->env) < 0)
                return err_nomem(err, "the step's environment");
        return 0;
}

static int make_cwd(struct init *in, struct bld_err *err)
{
        const char *cwd = in->step.cwd && *in->step.cwd ? in->step.cwd : "/";
        AUTO_FD int fd = -1;

        if (cwd[0] != '/')
                return err_set(err, BLD_E_BUG, "working folder \"%s\" is not absolute", cwd);
        return root_ensure(&in->root, cwd, ROOT_DIR | ROOT_NO_STUB, &fd, err);
}

/* ---- the supervisor ---- */

/* Owners of the layers below stand beside their folders: "snapshots/v/id/fs" has ".../owners". */
static int load_owners(struct init *in, struct owner_table *t, struct bld_err *err)
{
        int r = 0;

        for (size_t i = 0; i < in->step.nlowers && r == 0; i++) {
                const char *fs = in->step.lowers[i], *slash = strrchr(fs, '/');
                AUTO_SB struct sb path = SB_INIT(4096);

                sb_fmt(&path, "%.*s/" RT_OWNERS, slash ? (int)(slash - fs) : 0, fs);
                r = owner_table_load(t, AT_FDCWD, sb_text(&path), err);
        }
        return r;
}

static int open_owners(struct init *in, struct bld_err *err)
{
        in->owners_fd = sys_openat(in->scratch_fd, RT_OWNERS,
                                   O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0600);
        return in->owners_fd < 0 ? err_sys(err, errno, "make the table of owners") : 0;
}

static void take_owners(struct init *in, struct owner_table *below)
{
        struct owner_table *t = sup_owners(in->sup), old = *t;

        *t = *below;
        *below = old;
}

/* Other levels have real ids: the supervisor makes up for a /proc that cannot be mounted, and for
 * signals that nothing else scopes. */
static int make_guard(struct init *in, struct owner_table *below, struct bld_err *err)
{
        const struct rt_env *env = &in->c->env;
        unsigned modules = env->level == RT_CHROOT && !env->bare ? SUP_VPROC | SUP_BEYOND : 0;
        int r = 0;

        below->beyond = true;
        below->attrs = env->native; /* trees keep no count */
        if (!env->native && env->user_xattr && !env->bare) {
                modules |= SUP_BEYOND;
                r = open_owners(in, err);
                if (r == 0)
                        r = load_owners(in, below, err);
                if (r == 0 && !owner_table_empty(below)) /* there is something to show */
                        modules |= SUP_STAT | (below->m.live ? SUP_MOVE : 0);
        }
        if (r < 0)
                return r;
        if (env->shared_proc && !env->bare && !in->step.insecure && !landlock_signals())
                modules |= SUP_KILL;
        if (!modules)
                return 0;
        r = sup_new(modules, in->c->env.shared_proc, in->proc_fd,
                    env->native ? -1 : in->root.upper_fd, &in->id, &in->sup, err);
        if (r == 0)
                take_owners(in, below);
        return r == 0 && env->level == RT_CHROOT
                       ? sup_in_chroot(in->sup, in->root.base,
                                       in->step.hostname ? in->step.hostname : DEFAULT_HOSTNAME,
                                       in->no_nodes, err)
                       : r;
}

static int make_supervisor(struct init *in, struct bld_err *err)
{
        unsigned modules = SUP_OWN | SUP_CRED | SUP_CREATE | SUP_STAT;
        AUTO(owner_table_done) struct owner_table below;
        int r;

        owner_table_init(&below);
        if (in->c->env.level != RT_SOLO)
                return make_guard(in, &below, err);
        r = open_owners(in, err);
        if (r == 0)
                r = load_owners(in, &below, err);
        if (r == 0 && below.m.live)
                modules |= SUP_MOVE;
        if (in->c->env.shared_proc && !landlock_signals())
                modules |= SUP_KILL;
        if (r == 0)
                r = sup_new(modules, in->c->env.shared_proc, in->proc_fd, in->root.upper_fd,
                            &in->id, &in->sup, err);
        if (r == 0)
                take_owners(in, &below);
        return r;
}

/* ---- the rest of the namespaces ---- */

static int loopback_up(struct bld_err *err)
{
        AUTO_FD int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        struct ifreq ifr;

        memset(&ifr, 0, sizeof(ifr));
        (void)str_copy(ifr.ifr_name, sizeof(ifr.ifr_name), "lo");
        ifr.ifr_flags = IFF_UP;
        if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &ifr) < 0)
                return err_sys(err, errno, "bring the loopback device up");
        return 0;
}

/* So that a step is killed for want of memory before bld is. Failing is no reason to stop: in a
 * container the value may be fixed. */
static void prefer_as_victim(void)
{
        /* A process that is not dumpable owns its /proc files no more, in a user namespace. */
        (void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
        AUTO_FD int fd = sys_openat(AT_FDCWD, "/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC, 0);
        char buf[16] = "";
        int64_t v = 0;
        ssize_t n;

        (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
        if (fd < 0 || (n = sys_pread(fd, buf, sizeof(buf) - 1, 0)) < 0)
                return;
        buf[strcspn(buf, "\n")] = '\0';
        if (!parse_i64(buf, -1000, 1000, &v))
                return;
        n = snprintf(buf, sizeof(buf), "%d", (int)MIN(v + 500, (int64_t)1000));
        (void)!write(fd, buf, (size_t)n);
}

/* Nothing is mounted: there is a root of its own to go to, and no more. */
static int furnish_tree(struct init *in, struct bld_err *err)
{
        int r;

        prefer_as_victim();
        if ((r = tree_open(in, err)) < 0 || (r = find_user(in, err)) < 0 ||
            (r = tree_mounts(in, err)) < 0 || (r = make_supervisor(in, err)) < 0 ||
            (r = make_env(in, err)) < 0)
                return r;
        return make_cwd(in, err);
}

static int furnish(struct init *in, struct bld_err *err)
{
        const char *host = in->step.hostname ? in->step.hostname : DEFAULT_HOSTNAME;
        int r;

        prefer_as_victim();
        if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
                return err_sys(err, errno, "make mounts private");
        /* Who the step is comes from the image alone, so before anything lies over it. */
        if ((r = mount_root(in, err)) < 0 || (r = find_user(in, err)) < 0 ||
            (r = sys_mounts(in, err)) < 0 || (r = make_supervisor(in, err)) < 0 ||
            (r = file_binds(in, err)) < 0 || (r = run_mounts(in, err)) < 0 ||
            (r = make_env(in, err)) < 0 || (r = make_cwd(in, err)) < 0 ||
            (r = sys_masks(in, err)) < 0 || (r = root_pivot(&in->root, err)) < 0)
                return r;
        /* The last handles on what is outside; nothing inherits them, and now nothing holds them.
         */
        fd_close(&in->scratch_fd);
        fd_close(&in->files_fd);
        if (!in->sup) /* which looks numbers up there */
                fd_close(&in->root.upper_fd);
        /* Some containers' profiles allow namespaces and yet not this: then it keeps its name. */
        if (sethostname(host, strlen(host)) < 0 && errno != EPERM)
                return err_sys(err, errno, "set the host name \"%s\"", host);
        if (in->step.network == RT_NET_NONE)
                return loopback_up(err);
        return 0;
}

/* ---- the step's life ---- */

/* Fork the step. What stops it before its exec it writes to memory that both share and that the
 * exec takes from it: unlike a pipe that wakes nobody when all is well. */
static int start_step(struct init *in, struct bld_err *err)
{
        void *p = mmap(NULL, sizeof(struct bld_err), PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        if (p == MAP_FAILED)
                return err_sys(err, errno, "share memory with the step's process");
        in->step_err = p;
        if (in->sup && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, in->sup_sock) < 0)
                return err_sys(err, errno, "create a socket to the step's process");
        in->pid = fork();
        if (in->pid < 0)
                return err_sys(err, errno, "start the step's process");
        if (in->pid == 0)
                step_exec(in);
        fd_close(&in->sup_sock[1]);
        fd_close(&in->out_fd); /* their ends are the step's, so that the engine sees them close */
        fd_close(&in->err_fd);
        return 0;
}

/* The step is over: was it one? */
static int step_error(const struct init *in, struct bld_err *err)
{
        if (in->step_err->code >= 0)
                return 0;
        if (err)
                err_copy(err, in->step_err);
        return in->step_err->code;
}

/* What the step left running dies before this process: with the pid namespace, by the kernel, else
 * by us. */
_Noreturn static void leave(struct init *in, int status)
{
        if (in->c->env.shared_proc && in->proc_fd >= 0)
                rt_kill_below(in->proc_fd, NULL, 0);
        _exit(status);
}

static void pass_signal(struct init *in)
{
        struct rt_signal s = {0};
        int r = rt_recv(in->task_fd, &s, sizeof(s), NULL, 0, NULL, NULL);

        if (r <= 0)
                leave(in, 1); /* the engine is gone */
        if (s.signo == SIGKILL && in->c->env.shared_proc)
                rt_kill_below(in->proc_fd, NULL, 0);
        else if (s.signo == SIGKILL)
                (void)kill(-1, SIGKILL);           /* everything in this pid namespace but us */
        else if (kill(-in->pid, (int)s.signo) < 0) /* setsid makes it the leader of its group */
                (void)kill(in->pid, (int)s.signo); /* not yet */
}

/* Reap; true when the step itself is among the dead. */
static bool reap(struct init *in, struct rt_result *res)
{
        struct rusage ru;
        int status;
        pid_t pid;

        while ((pid = wait4(-1, &status, WNOHANG, &ru)) > 0) {
                if (pid != in->pid)
                        continue;
                res->wait_status = status;
                res->user_us =
                        (uint64_t)ru.ru_utime.tv_sec * 1000000 + (uint64_t)ru.ru_utime.tv_usec;
                res->system_us =
                        (uint64_t)ru.ru_stime.tv_sec * 1000000 + (uint64_t)ru.ru_stime.tv_usec;
                res->max_rss_bytes = (uint64_t)ru.ru_maxrss * 1024;
                return true;
        }
        return false;
}

/* The step's listener, or the end of a step that never got so far. */
static int take_listener(struct init *in)
{
        int fd = -1;
        char byte;

        if (rt_recv(in->sup_sock[0], &byte, 1, &fd, 1, NULL, NULL) > 0 && fd >= 0)
                sup_listen(in->sup, fd);
        fd_close(&in->sup_sock[0]);
        return fd;
}

static int watch_step(struct init *in, int sig_fd, struct rt_result *res, struct bld_err *err)
{
        struct pollfd p[4] = {{.fd = sig_fd, .events = POLLIN},
                              {.fd = in->task_fd, .events = POLLIN},
                              {.fd = in->c->self_fd, .events = POLLIN},
                              {.fd = in->sup_sock[0], .events = POLLIN}};
        struct signalfd_siginfo si;

        for (;;) {
                if (reap(in, res))
                        return 0;
                if (poll(p, 4, -1) < 0 && errno != EINTR)
                        return err_sys(err, errno, "wait for the step");
                if (p[2].revents)
                        leave(in,
                              1); /* the keeper is gone: the parent-death signal was too early */
                if (p[1].revents)
                        pass_signal(in);
                if (p[0].revents)
                        (void)!read(sig_fd, &si, sizeof(si));
                if (p[3].revents && in->sup_sock[0] >= 0)
                        p[3].fd = take_listener(in);
                else if (p[3].revents & POLLIN)
                        sup_serve(in->sup);
                else if (p[3].revents)
                        p[3].fd = -1; /* nobody is left to be served */
        }
}

static int run(struct init *in, int args_fd, struct sb *out, struct bld_err *err)
{
        struct rt_result res = {0};
        AUTO_FD int sig_fd = -1;
        const void *p;
        sigset_t set;
        size_t n;
        int r;

        r = rt_map_args(args_fd, RT_STEP_MAX, &p, &n, err);
        if (r == 0)
                r = rt_step_decode(p, n, &in->step, err);
        if (r == 0)
                r = in->c->env.level == RT_CHROOT ? furnish_tree(in, err) : furnish(in, err);
        if (r < 0)
                return r;
        (void)sigemptyset(&set);
        (void)sigaddset(&set, SIGCHLD);
        (void)sigprocmask(SIG_BLOCK, &set, NULL);
        sig_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        if (sig_fd < 0)
                return err_sys(err, errno, "wait for the step");
        r = start_step(in, err);
        if (r == 0)
                r = watch_step(in, sig_fd, &res, err);
        if (r == 0)
                r = step_error(in, err);
        if (r < 0)
                return r;
        if (in->owners_fd >= 0)
                r = sup_write_owners(in->sup, in->owners_fd, err);
        if (in->c->env.level == RT_CHROOT) {
                rt_kill_below(in->proc_fd, NULL, 0); /* nobody may look while it is undone */
                r = tree_undo(in, err);
        } else {
                res.stubs = in->root.stubs.v;
                res.nstubs = in->root.stubs.n;
        }
        if (r < 0)
                return r;
        return rt_result_encode(&res, out, err);
}

/* Into the groups made for this step; what is seen of them begins here. */
static void enter_cgroups(const int *procs, size_t n)
{
        for (size_t i = 0; i < n; i++)
                (void)!write(procs[i], "0", 1);
        if (n)
                (void)unshare(CLONE_NEWCGROUP);
}

void rt_init_child(struct rt_child *c, const int *fds, size_t nfds)
{
        struct init in = {.c = c,
                          .scratch_fd = -1,
                          .store_fd = -1,
                          .files_fd = -1,
                          .null_fd = -1,
                          .proc_fd = -1,
                          .sup_sock = {-1, -1},
                          .owners_fd = -1,
                          .root = {.fd = -1, .upper_fd = -1}};
        struct bld_err err = BLD_ERR_INIT;
        struct sb out = SB_INIT(RT_CALL_MAX);
        int keep[STEP_FDS + 1];
        int r;

        /* Without a pid namespace this process must live to kill the step: then the keeper's handle
         * alone tells of its end. */
        if (c->env.shared_proc)
                (void)prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
        else
                rt_tie_to_parent();
        (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
        (void)prctl(PR_SET_NAME, "bld-init", 0, 0, 0);
        (void)setsid();
        enter_cgroups(fds + STEP_FDS, nfds - STEP_FDS);
        memcpy(keep, fds, STEP_FDS * sizeof(*fds));
        keep[STEP_FDS] = c->self_fd;
        if (rt_fds_arrange(keep, ARRAY_LEN(keep), 3) < 0)
                _exit(1);
        in.task_fd = keep[0];
        in.answer_fd = keep[2];
        in.out_fd = keep[3];
        in.err_fd = keep[4];
        c->self_fd = keep[STEP_FDS];
        c->store_fd = c->sock = c->sig_fd = -1;
        r = run(&in, keep[1], &out, &err);
        if (r < 0 && err.code >= 0)
                (void)err_set(&err, BLD_E_BUG, "init failed without saying why (%d)", r);
        /* What the step left running dies with this process, before the keeper sees the end. */
        leave(&in, rt_answer_write(in.answer_fd, r, &err, &out) < 0);
}
