/* The step's own process, from the fork to the exec: everything that init may and a step may not
 * is given up here, in an order in which each call is still allowed. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sys.h"
#include "runtime/runtime_priv.h"

#define SOFT_FILES 1024 /* old daemons and rpm loop over all of them */
#define HARD_FILES 524288
#define MAX_PROCS 32768

static bool wanted(const struct rt_step *s, int resource)
{
        for (size_t i = 0; i < s->nlimits; i++)
                if (s->limits[i].resource == resource)
                        return true;
        return false;
}

/* Raising a hard limit takes CAP_SYS_RESOURCE, which containers lack: then what there is. */
static void set_file_limit(void)
{
        struct rlimit files = {SOFT_FILES, HARD_FILES}, have;

        if (setrlimit(RLIMIT_NOFILE, &files) == 0 || getrlimit(RLIMIT_NOFILE, &have) < 0)
                return;
        files.rlim_max = MIN(have.rlim_max, (rlim_t)HARD_FILES);
        files.rlim_cur = MIN(files.rlim_max, (rlim_t)SOFT_FILES);
        (void)setrlimit(RLIMIT_NOFILE, &files);
}

/* The usual limits, where --ulimit says nothing. */
static void set_limits(const struct rt_env *env, const struct rt_step *s)
{
        const struct rlimit procs = {MAX_PROCS, MAX_PROCS}, core = {0, 0};
        struct rlimit have;

        if (!wanted(s, RLIMIT_CORE))
                (void)setrlimit(RLIMIT_CORE, &core);
        /* Against fork bombs. Counted per user namespace (5.14), so only where there is one: else
         * every process of this uid on the machine would count. */
        if ((env->level == RT_USERNS || env->level == RT_SOLO) && !wanted(s, RLIMIT_NPROC) &&
            getrlimit(RLIMIT_NPROC, &have) == 0 && have.rlim_max > MAX_PROCS)
                (void)setrlimit(RLIMIT_NPROC, &procs);
        if (!wanted(s, RLIMIT_NOFILE))
                set_file_limit();
}

/* What was asked for by name is had, or the step does not run. */
static int set_wanted_limits(const struct rt_step *s, struct bld_err *err)
{
        for (size_t i = 0; i < s->nlimits; i++) {
                const struct rt_limit *l = &s->limits[i];
                const struct rlimit want = {l->soft, l->hard};

                /* glibc's parameter is an enum, or int under strict ISO C. */
                if (setrlimit((__rlimit_resource_t)l->resource, &want) == 0)
                        continue;
                if (errno == EPERM)
                        return err_set(err, BLD_E_UNSUPPORTED,
                                       "--ulimit %s=%lld:%lld is above what bld itself may have",
                                       l->name, (long long)l->soft, (long long)l->hard);
                return err_sys(err, errno, "set the limit %s of the step", l->name);
        }
        return 0;
}

/* Ignored signals survive an exec, and SIGPIPE ignored changes what pipelines do. */
static void reset_signals(void)
{
        struct sigaction sa = {.sa_handler = SIG_DFL};
        sigset_t none;

        for (int i = 1; i < NSIG; i++)
                (void)sigaction(i, &sa, NULL);
        (void)sigemptyset(&none);
        (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static int set_stdio(const struct init *in, struct bld_err *err)
{
        /* Not by name: what is at /dev/null by now may be the image's, a FIFO for one. */
        if (dup2(in->null_fd, 0) < 0 || dup2(in->out_fd, 1) < 0 || dup2(in->err_fd, 2) < 0)
                return err_sys(err, errno, "set up the step's input and output");
        /* So that another user can open /dev/stdout and /dev/stderr, which is opening these anew.
         */
        (void)!fchown(1, in->id.uid, (gid_t)-1);
        (void)!fchown(2, in->id.uid, (gid_t)-1);
        return 0;
}

/* From here on init answers what it traps, as soon as it has the listener. */
static int supervised(struct init *in, struct bld_err *err)
{
        AUTO_FD int listener = -1;
        const char byte = 0;
        int r = sup_install(in->sup, &listener, err);

        return r < 0 ? r : rt_send(in->sup_sock[1], &byte, 1, &listener, 1, err);
}

/* Filter and domains while CAP_SYS_ADMIN is still there, so that no_new_privs can stay off and
 * sudo works in a step; the filter lets pass what follows. */
static int confine(struct init *in, struct bld_err *err)
{
        bool fence = in->c->env.shared_proc;
        int r = 0;

        if (in->c->env.level == RT_CHROOT) {
                if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                        return err_sys(err, errno, "set no_new_privs");
                r = tree_enter(in, err);
                if (r == 0)
                        r = landlock_root(in->root.fd, err);
        } else if (!in->step.insecure && (fence || in->step.network != RT_NET_NONE))
                r = landlock_scopes(fence, err);
        if (r == 0)
                r = filter_load(&in->c->filters[filter_kind_of(&in->c->env, &in->step)], err);
        if (r == 0 && in->sup)
                r = supervised(in, err);
        return r;
}

static int become(const struct init *in, struct bld_err *err)
{
        const struct ident *id = &in->id;
        uint64_t keep = in->step.insecure ? ~(uint64_t)0 : caps_step();
        int r;

        /* They lead out of a chroot, and what Landlock does not refuse there is bad enough: modes,
         * owners; a node of the host's disk that the step made itself. */
        if (in->c->env.level == RT_CHROOT)
                keep &= ~((uint64_t)1 << CAP_SYS_CHROOT | (uint64_t)1 << CAP_MKNOD);
        /* The bounding set needs CAP_SETPCAP, the ids CAP_SETUID: from large to small. */
        r = caps_limit(keep | (uint64_t)1 << CAP_SETPCAP, true, err);
        if (r < 0)
                return r;
        /* One id: who the step is, the supervisor knows. */
        if (in->c->env.level == RT_SOLO)
                return caps_limit(keep, false, err);
        if (setgroups(id->ngroups, id->groups) < 0)
                return err_sys(err, errno, "set the step's supplementary groups");
        if (setresgid(id->gid, id->gid, id->gid) < 0)
                return err_sys(err, errno, "become group %u", id->gid);
        if (setresuid(id->uid, id->uid, id->uid) < 0)
                return err_sys(err, errno, "become user %u", id->uid);
        return caps_limit(id->uid == 0 ? keep : 0, false, err);
}

static int unmapped(const struct init *in, struct bld_err *err)
{
        if (err->sys != EINVAL)
                return err->code;
        return err_why(err, err->code, "the id is not in the user namespace's map (view %s)",
                       in->c->env.view);
}

/* ---- exec ---- */

_Noreturn static void say_and_exit(const char *what, int errnum)
{
        char msg[4400];
        int code = errnum == ENOENT || errnum == ENOTDIR ? 127 : 126;
        int n = snprintf(msg, sizeof(msg), "bld: %s: %s\n", what,
                         errnum == ENOENT ? "not found" : strerror(errnum));

        (void)!write(2, msg, MIN((size_t)(n < 0 ? 0 : n), sizeof(msg) - 1));
        _exit(code);
}

/* As execvp(3), but PATH is the step's, and a file without "#!" is not given to a shell. */
_Noreturn static void exec_command(char *const *argv, char *const *envp, const char *path)
{
        const char *name = argv[0];
        char full[4096];
        int seen = ENOENT;

        if (strchr(name, '/')) {
                (void)execve(name, argv, envp);
                say_and_exit(name, errno);
        }
        for (const char *p = path; *name; p++) {
                size_t n = strcspn(p, ":");
                int len = snprintf(full, sizeof(full), "%.*s%s%s", (int)n, p, n ? "/" : "./", name);
                if (len > 0 && (size_t)len < sizeof(full)) {
                        (void)execve(full, argv, envp);
                        if (errno != ENOENT && errno != ENOTDIR)
                                seen = errno;
                }
                p += n;
                if (!*p)
                        break;
        }
        say_and_exit(name, seen);
}

static int prepare(struct init *in, struct bld_err *err)
{
        const char *cwd = in->step.cwd && *in->step.cwd ? in->step.cwd : "/";
        int r;

        (void)setsid();
        (void)umask(022);
        set_limits(&in->c->env, &in->step);
        reset_signals();
        r = set_wanted_limits(&in->step, err);
        if (r == 0)
                r = set_stdio(in, err);
        if (r == 0)
                r = confine(in, err);
        if (r == 0) {
                r = become(in, err);
                if (r < 0)
                        return unmapped(in, err);
        }
        if (r < 0)
                return r;
        /* As the step's user: what it may not enter, it may not start in. */
        if (chdir(cwd) < 0)
                return err_sys(err, errno, "enter the working folder \"%s\"", cwd);
        return 0;
}

void step_exec(struct init *in)
{
        struct bld_err err = BLD_ERR_INIT;
        int r;

        /* All of ours are close-on-exec already; this is for the one somebody forgets. */
        (void)close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
        r = prepare(in, &err);
        if (r < 0) {
                *in->step_err = err;
                _exit(126);
        }
        exec_command((char *const *)(uintptr_t)in->step.argv, in->env.v,
                     strv_env_get(&in->env, "PATH"));
}
