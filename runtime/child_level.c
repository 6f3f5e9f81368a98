/* Which level: the strongest whose probe passes, or the one asked for. What each probe said is
 * kept, for the one line that tells the choice and for those who ask what would help. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/num.h"
#include "base/sys.h"
#include "runtime/runtime_priv.h"

struct chooser {
        struct rt_child *c;
        enum rt_level want;
        bool all; /* go on after the first that works: somebody wants to know all of it */
        struct rt_report *reports;
        struct bld_err errs[RT_REPORTS];
};

static bool chosen(const struct chooser *x)
{
        return x->c->env.level != RT_AUTO;
}

/* ---- reports ---- */

/* The first line of a kind ("why: ", "try: ") in an error's text; "": the first line of all. */
static void line_of(const struct bld_err *err, const char *kind, char *out, size_t size)
{
        size_t n = strlen(kind);

        out[0] = '\0';
        for (const char *p = err->msg; p && *p; p = strchr(p, '\n'), p = p ? p + 1 : NULL) {
                if (strncmp(p, kind, n) != 0)
                        continue;
                size_t len = MIN(strcspn(p + n, "\n"), size - 1);
                memcpy(out, p + n, len);
                out[len] = '\0';
                return;
        }
}

static enum rt_level level_of(size_t i)
{
        static const enum rt_level order[RT_REPORTS] = {RT_ROOT, RT_USERNS, RT_SOLO, RT_CHROOT};

        return order[i];
}

/* What a probe of level i said, for the report; r as it is. */
static int note(struct chooser *x, size_t i, int r, const struct rt_probe *p,
                const struct bld_err *err)
{
        struct rt_report *rep = &x->reports[i];

        rep->tried = true;
        rep->ok = r == 0;
        rep->shared_proc = p->shared_proc;
        if (r == 0)
                return 0;
        rep->sys = err->sys;
        (void)str_copy(rep->failed, sizeof(rep->failed), p->failed);
        line_of(err, "", rep->what, sizeof(rep->what));
        line_of(err, "why: ", rep->why, sizeof(rep->why));
        line_of(err, "try: ", rep->fix, sizeof(rep->fix));
        x->errs[i] = *err;
        return r;
}

/* ---- views ---- */

/* One map of this namespace in canonical form, and how many ids it has. */
static int read_map(const char *file, struct sb *canon, uint64_t *ret_ids, struct bld_err *err)
{
        AUTO_SB struct sb b = SB_INIT(65536);
        int r = file_read(AT_FDCWD, file, &b, err);

        if (r < 0)
                return r;
        *ret_ids = 0;
        for (const char *p = sb_text(&b); p && *p; p = strchr(p, '\n'), p = p ? p + 1 : NULL) {
                unsigned inner, outer, count;
                if (sscanf(p, "%u %u %u", &inner, &outer, &count) != 3)
                        continue;
                sb_fmt(canon, "%u %u %u\n", inner, outer, count);
                *ret_ids += count;
        }
        sb_char(canon, '\n');
        return 0;
}

/* The hash of the two maps names the view. A namespace of a few ids is none of these levels:
 * images would lose their owners. */
static int view_name(char *out, size_t size, struct bld_err *err)
{
        AUTO_SB struct sb canon = SB_INIT(65536);
        char hex[DIGEST_HEX_MAX];
        uint64_t uids = 0, gids = 0;
        struct digest d;
        int r;

        r = read_map("/proc/self/uid_map", &canon, &uids, err);
        if (r == 0)
                r = read_map("/proc/self/gid_map", &canon, &gids, err);
        if (r == 0)
                r = sb_check(&canon, "id maps", err);
        if (r < 0)
                return r;
        if (MIN(uids, gids) < RT_IDS_WANTED) {
                err_set(err, BLD_E_UNSUPPORTED, "cannot run RUN steps: too few ids here");
                err_why(err, BLD_E_UNSUPPORTED,
                        "the user namespace has %llu user and %llu group ids, an image needs %u",
                        (unsigned long long)uids, (unsigned long long)gids, RT_IDS_WANTED);
                return err_try(err, BLD_E_UNSUPPORTED,
                               "run bld outside of it, or give it a range of 65536 ids");
        }
        digest_of(canon.buf, canon.len, &d);
        digest_hex(&d, hex);
        (void)snprintf(out, size, "map-%.16s", hex);
        return 0;
}

static void take_probe(struct rt_env *e, enum rt_level level, const struct rt_probe *p)
{
        e->level = level;
        e->user_xattr = p->user_xattr;
        e->shared_proc = p->shared_proc;
}

/* Without notifications steps go without what the supervisor would do. */
static bool is_bare(const struct chooser *x)
{
        struct bld_err unused = BLD_ERR_INIT;
        struct rt_probe p = {0};

        return rt_probe_notify(x->c, &p, &unused) < 0;
}

/* ---- root ---- */

static int try_root(struct chooser *x, struct bld_err *err)
{
        struct rt_env e = {0};
        struct rt_probe p = {0};
        int r = rt_probe_root(x->c, &p, err);

        take_probe(&e, RT_ROOT, &p);
        (void)str_copy(e.view, sizeof(e.view), "root");
        e.bare = r == 0 && p.user_xattr && is_bare(x);
        if (r == 0 && p.user_xattr) {
                r = view_name(e.view, sizeof(e.view), err);
                if (r < 0)
                        (void)str_copy(p.failed, sizeof(p.failed), "uid_map");
        }
        if (note(x, 0, r, &p, err) == 0)
                x->c->env = e;
        return r;
}

/* ---- user namespaces ---- */

/* What every change of credentials clears. */
static void settle(void)
{
        rt_tie_to_parent();
        (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

static int become_root(bool groups, struct bld_err *err)
{
        if (setresgid(0, 0, 0) < 0)
                return err_sys(err, errno, "become group 0 of the user namespace");
        if (groups && setgroups(0, NULL) < 0)
                return err_sys(err, errno, "drop supplementary groups in the user namespace");
        if (setresuid(0, 0, 0) < 0)
                return err_sys(err, errno, "become user 0 of the user namespace");
        settle();
        return 0;
}

/* A child in a user namespace of its own, for the engine to write its maps; ready when its end of
 * the pipe closes. The keeper joins only when the maps are good: it could not come back. */
static pid_t candidate(struct bld_err *err)
{
        pid_t parent = getpid();
        char c;
        int fds[2];
        pid_t pid;

        if (pipe2(fds, O_CLOEXEC) < 0)
                return err_sys(err, errno, "create a pipe for a user namespace");
        pid = rt_fork();
        if (pid == 0) {
                rt_tie_to_parent();
                /* Dumpable, twice because the change of credentials clears it: otherwise
                 * /proc/PID/uid_map is root's. */
                (void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
                if (getppid() != parent || unshare(CLONE_NEWUSER) < 0)
                        _exit(1);
                rt_tie_to_parent();
                (void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
                /* Killed while nothing tied us to it? Then the engine waits for the end of the
                 * keeper's socket, of which we had a copy. */
                if (getppid() != parent)
                        _exit(1);
                (void)close_range(3, ~0u, 0);
                for (;;)
                        (void)pause();
        }
        close(fds[1]);
        if (pid < 0)
                (void)err_sys(err, errno, "start a process for a user namespace");
        else
                (void)!read(fds[0], &c, 1);
        close(fds[0]);
        return pid;
}

static int join(pid_t pid, struct bld_err *err)
{
        AUTO_FD int fd = -1;
        char path[64];

        (void)snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
        fd = sys_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
        if (fd < 0 || setns(fd, CLONE_NEWUSER) < 0)
                return err_sys(err, errno, "join the user namespace");
        return become_root(true, err);
}

static int mapped(struct chooser *x, struct rt_env *e, struct rt_probe *p, struct bld_err *err)
{
        struct rt_mapped m = {0};
        pid_t pid = candidate(err);
        int r;

        if (pid < 0)
                return err->code;
        (void)str_copy(p->failed, sizeof(p->failed), "uid_map, gid_map");
        rt_child_reply(x->c, REPLY_NEED_MAPS, pid, NULL);
        if (rt_recv(x->c->sock, &m, sizeof(m), NULL, 0, NULL, err) <= 0)
                _exit(1);
        r = m.err.code;
        if (r < 0)
                *err = m.err;
        else if (!chosen(x)) /* else it was only to be known */
                r = join(pid, err);
        (void)kill(pid, SIGKILL);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
                ;
        return r < 0 || chosen(x) ? r : view_name(e->view, sizeof(e->view), err);
}

/* The namespace of one id: no helper, no range. What it cannot do the supervisor makes up for. */
static int try_solo(struct chooser *x, const struct rt_probe *probe, struct bld_err *err)
{
        uint32_t uid = geteuid(), gid = getegid();
        struct rt_probe p = *probe;
        struct rt_env e = {0};
        int r = rt_probe_notify(x->c, &p, err);

        take_probe(&e, RT_SOLO, probe);
        p.shared_proc = probe->shared_proc;
        (void)snprintf(e.view, sizeof(e.view), "solo-%u", uid);
        if (r == 0 && !chosen(x)) {
                (void)str_copy(p.failed, sizeof(p.failed), "uid_map");
                r = unshare(CLONE_NEWUSER) < 0 ? err_sys(err, errno, "create a user namespace")
                                               : rt_map_self(uid, gid, err);
                if (r == 0)
                        r = become_root(false, err);
        }
        if (note(x, 2, r, &p, err) == 0 && !chosen(x))
                x->c->env = e;
        return r;
}

static int try_userns(struct chooser *x, const struct rt_probe *probe, struct bld_err *err)
{
        struct rt_env e = {0};
        struct rt_probe p = *probe;
        int r;

        take_probe(&e, RT_USERNS, &p);
        e.bare = is_bare(x);
        r = mapped(x, &e, &p, err);
        if (note(x, 1, r, &p, err) == 0 && !chosen(x))
                x->c->env = e;
        return r;
}

/* ---- the ladder ---- */

static bool wanted(const struct chooser *x, enum rt_level l)
{
        return x->want == RT_AUTO || x->want == l;
}

static void try_user_levels(struct chooser *x)
{
        struct bld_err err = BLD_ERR_INIT;
        struct rt_probe p = {0};

        if (rt_probe_user(x->c, &p, &err) < 0) {
                for (size_t i = 1; i <= 2; i++)
                        if (wanted(x, level_of(i)))
                                (void)note(x, i, err.code, &p, &err);
                return;
        }
        if (wanted(x, RT_USERNS))
                (void)try_userns(x, &p, &err);
        err_clear(&err);
        if (wanted(x, RT_SOLO) && (!chosen(x) || x->all))
                (void)try_solo(x, &p, &err);
}

/* No namespace, no mount: uid 0 and what capabilities a pod gives it. */
static void try_chroot(struct chooser *x)
{
        struct bld_err err = BLD_ERR_INIT;
        struct rt_probe p = {0};
        struct rt_env e = {.native = true};
        int r = rt_probe_chroot(x->c, &p, &err);

        take_probe(&e, RT_CHROOT, &p);
        (void)str_copy(e.view, sizeof(e.view), "tree");
        e.bare = is_bare(x);
        if (note(x, 3, r, &p, &err) == 0 && !chosen(x))
                x->c->env = e;
}

/* "root: EPERM at unshare; ..." of the levels above the one chosen. */
static void tell(struct chooser *x, size_t n, struct sb *b)
{
        for (size_t i = 0; i < n; i++)
                if (x->reports[i].tried && !x->reports[i].ok)
                        sb_fmt(b, "%s%s: %s", b->len ? "; " : "", rt_level_name(level_of(i)),
                               x->reports[i].what);
}

static void tell_choice(struct chooser *x)
{
        AUTO_SB struct sb why = SB_INIT(4096);
        struct rt_env *e = &x->c->env;
        size_t i = 0;

        while (i < RT_REPORTS && level_of(i) != e->level)
                i++;
        tell(x, i, &why);
        (void)snprintf(e->why, sizeof(e->why), "%s%s%s%.230s%s; %s%s; network host%s%s%s",
                       rt_level_name(e->level), e->shared_proc && !e->native ? ", shared proc" : "",
                       why.len ? " (" : "", sb_text(&why), why.len ? ")" : "",
                       e->native ? "plain folder" : "overlay",
                       e->level == RT_ROOT && e->user_xattr ? " (user xattrs)" : "",
                       !e->bare    ? ""
                       : e->native ? "; no /proc in steps: seccomp notifications are refused"
                                   : "; no device nodes: seccomp notifications are refused",
                       e->shared_proc && !(e->native ? landlock_there() : landlock_fences())
                               ? "; no Landlock: a step can reach what is outside of it"
                               : "",
                       e->native && strstr(sb_text(&why), "mount overlay")
                               ? "; the store on a volume of its own (--root) would give overlay"
                               : "");
}

/* Nothing works: each level's reason, and what would help, each once. */
static int refuse(struct chooser *x, struct bld_err *err)
{
        const struct bld_err *only = NULL;
        size_t n = 0;

        for (size_t i = 0; i < RT_REPORTS; i++) {
                if (x->reports[i].tried) {
                        only = &x->errs[i];
                        n++;
                }
        }
        err_clear(err);
        if (n == 1) {
                err_copy(err, only);
                return err_wrap(err, only->code, "isolation level %s", rt_level_name(x->want));
        }
        err_set(err, BLD_E_UNSUPPORTED, "cannot run RUN instructions here");
        for (size_t i = 0; i < RT_REPORTS; i++)
                if (x->reports[i].tried &&
                    (i == 0 || !str_eq(x->reports[i].what, x->reports[i - 1].what)))
                        err_why(err, err->code, "%s: %s%s%s", rt_level_name(level_of(i)),
                                x->reports[i].what, x->reports[i].why[0] ? "; " : "",
                                x->reports[i].why);
        for (size_t i = RT_REPORTS; i-- > 0;)
                if (x->reports[i].fix[0] &&
                    (i == 0 || !str_eq(x->reports[i].fix, x->reports[i - 1].fix)))
                        err_try(err, err->code, "%s", x->reports[i].fix);
        return err_note(err, err->code, "Dockerfiles without RUN build here as they are");
}

int rt_level_choose(struct rt_child *c, enum rt_level want, bool all, struct rt_report *reports,
                    struct bld_err *err)
{
        struct chooser x = {.c = c, .want = want, .all = all, .reports = reports};

        for (size_t i = 0; i < RT_REPORTS; i++)
                reports[i] = (struct rt_report){.level = level_of(i)};
        if (wanted(&x, RT_ROOT)) {
                struct bld_err mine = BLD_ERR_INIT;
                (void)try_root(&x, &mine);
        }
        if (!chosen(&x) || x.all)
                try_user_levels(&x);
        if (wanted(&x, RT_CHROOT) && (!chosen(&x) || x.all))
                try_chroot(&x);
        if (!chosen(&x))
                return refuse(&x, err);
        tell_choice(&x);
        return 0;
}
