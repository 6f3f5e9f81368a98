/* What this machine lets bld do: the levels' probes as data, and what else decides whether a build
 * works here. Everything is tried or read now; nothing is changed. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/num.h"
#include "bld/debug.h"
#include "lib/session_priv.h"
#include "registry/registry.h"
#include "runtime/runtime.h"

#define LOW_DISK ((uint64_t)1 << 30)
#define LOW_INODES 10000u

struct doctor {
        struct bld *b;
        struct js *checks;
        int r; /* of building the document */
};

/* ---- reporting ---- */

static void check(struct doctor *d, const char *name, bool ok, const char *fix, const char *fmt,
                  ...) PRINTF(5, 6);
static void check(struct doctor *d, const char *name, bool ok, const char *fix, const char *fmt,
                  ...)
{
        struct js *j = js_obj();
        char detail[512];
        va_list ap;

        va_start(ap, fmt);
        (void)vsnprintf(detail, sizeof(detail), fmt, ap);
        va_end(ap);
        int r = j ? js_set_str(j, "name", name) : BLD_E_NOMEM;
        r = r < 0 ? r : js_set_bool(j, "ok", ok);
        r = r < 0 ? r : js_set_str(j, "detail", detail);
        if (r == 0 && fix && !ok)
                r = js_set_str(j, "fix", fix);
        if (r < 0)
                js_free(j);
        else
                r = js_push(d->checks, j);
        d->r = d->r < 0 ? d->r : r;
}

/* The first line of a small file of the kernel; false when it is not there. */
static bool read_line(const char *path, char *out, size_t size)
{
        AUTO_SB struct sb b = SB_INIT(65536);
        struct bld_err err = BLD_ERR_INIT;

        if (file_read(AT_FDCWD, path, &b, &err) < 0)
                return false;
        size_t n = MIN(strcspn(sb_text(&b), "\n"), size - 1);
        memcpy(out, sb_text(&b), n);
        out[n] = '\0';
        return true;
}

/* "Seccomp:\t2" of /proc/self/status. */
static void status_field(const char *key, char *out, size_t size)
{
        AUTO_SB struct sb b = SB_INIT(65536);
        struct bld_err err = BLD_ERR_INIT;
        const char *p;

        (void)str_copy(out, size, "?");
        if (file_read(AT_FDCWD, "/proc/self/status", &b, &err) < 0)
                return;
        p = strstr(sb_text(&b), key);
        if (!p)
                return;
        p += strlen(key);
        p += strspn(p, ": \t");
        size_t n = MIN(strcspn(p, "\n"), size - 1);
        memcpy(out, p, n);
        out[n] = '\0';
}

/* ---- the machine ---- */

static void kernel(struct doctor *d)
{
        char seccomp[16], nnp[16], caps[32];
        struct utsname u;
        long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, 1u /* version */);

        if (uname(&u) == 0)
                check(d, "kernel", true, NULL, "%s %s on %s", u.sysname, u.release, u.machine);
        check(d, "landlock", abi > 0, "a kernel since 5.13 that starts Landlock (lsm=landlock,...)",
              abi > 0 ? "ABI %ld" : "not available", abi);
        status_field("Seccomp", seccomp, sizeof(seccomp));
        status_field("NoNewPrivs", nnp, sizeof(nnp));
        status_field("CapEff", caps, sizeof(caps));
        check(d, "process", true, NULL, "uid %d, capabilities %s, seccomp %s, no_new_privs %s",
              (int)geteuid(), caps, strcmp(seccomp, "2") == 0 ? "filtered" : "off",
              strcmp(nnp, "1") == 0 ? "on" : "off");
}

static void sysctls(struct doctor *d)
{
        static const struct {
                const char *path, *name, *bad, *fix;
        } s[] = {
                {"/proc/sys/user/max_user_namespaces", "user.max_user_namespaces", "0",
                 "sysctl -w user.max_user_namespaces=28633"},
                {"/proc/sys/kernel/unprivileged_userns_clone", "kernel.unprivileged_userns_clone",
                 "0", "sysctl -w kernel.unprivileged_userns_clone=1"},
                {"/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
                 "kernel.apparmor_restrict_unprivileged_userns", "1",
                 "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"},
        };

        for (size_t i = 0; i < ARRAY_LEN(s); i++) {
                char v[32];

                if (read_line(s[i].path, v, sizeof(v)))
                        check(d, s[i].name, strcmp(v, s[i].bad) != 0, s[i].fix, "%s", v);
        }
}

static bool on_path(const char *name, char *out, size_t size)
{
        const char *path = getenv("PATH");

        for (const char *p = path ? path : "/usr/bin:/bin"; *p; p += strspn(p, ":")) {
                size_t n = strcspn(p, ":");

                (void)snprintf(out, size, "%.*s/%s", (int)n, p, name);
                if (access(out, X_OK) == 0)
                        return true;
                p += n;
        }
        return false;
}

static void programs(struct doctor *d)
{
        static const struct {
                const char *name, *check, *fix;
        } p[] = {{"newuidmap", "newuidmap", "apt-get install uidmap, for a full range of ids"},
                 {"git", "git", "apt-get install git, for contexts and ADD from repositories"}};

        for (size_t i = 0; i < ARRAY_LEN(p); i++) {
                char path[4096];

                if (on_path(p[i].name, path, sizeof(path)))
                        check(d, p[i].check, true, NULL, "%s", path);
                else if (geteuid() != 0 || strcmp(p[i].name, "newuidmap") != 0)
                        check(d, p[i].check, false, p[i].fix, "not on PATH");
        }
}

static void cgroups(struct doctor *d)
{
        const struct rt_resources all = {
                .memory_bytes = (uint64_t)1 << 40, .cpu_shares = 1024, .pids = 1000};
        char why[1024];

        if (rt_resources_check(&all, why, sizeof(why)))
                check(d, "cgroups", true, NULL, "memory, cpu and pids can be limited");
        else
                check(d, "cgroups", false,
                      "a delegated cgroup: systemd-run --user --scope -p Delegate=yes", "%s", why);
}

static void binfmt(struct doctor *d)
{
        AUTO_SB struct sb b = SB_INIT(4096);
        DIR *dir = opendir("/proc/sys/fs/binfmt_misc");

        for (struct dirent *e = dir ? readdir(dir) : NULL; e; e = readdir(dir))
                if (str_has_prefix(e->d_name, "qemu-"))
                        sb_fmt(&b, "%s%s", b.len ? ", " : "", e->d_name + strlen("qemu-"));
        if (dir)
                closedir(dir);
        check(d, "binfmt", true, NULL, b.len ? "emulated: %s" : "no emulation%s",
              b.len ? sb_text(&b) : "; RUN for other architectures cannot work");
}

/* ---- the store ---- */

static void store(struct doctor *d)
{
        const char *root = bld_root(d->b);
        int fd = cas_root_fd(d->b->cas);
        struct statvfs v;
        struct statfs s;
        char free_text[24], size_text[24];

        if (fstatvfs(fd, &v) < 0 || fstatfs(fd, &s) < 0) {
                check(d, "store", false, NULL, "%s: %s", root, strerror(errno));
                return;
        }
        bool overlay = (unsigned long)s.f_type == OVERLAYFS_SUPER_MAGIC;
        check(d, "store", !overlay && !(v.f_flag & ST_NOEXEC),
              overlay ? "put it on a volume: an emptyDir at the path of --root"
                      : "--root on a mount without noexec",
              "%s%s%s", root, overlay ? ", on the container's overlay" : "",
              v.f_flag & ST_NOEXEC ? ", on a noexec mount" : "");
        uint64_t unit = v.f_frsize, avail = unit * v.f_bavail;
        format_size(avail, free_text);
        format_size(unit * v.f_blocks, size_text);
        check(d, "disk", avail >= LOW_DISK && (v.f_files == 0 || v.f_favail >= LOW_INODES),
              "bld prune, or a larger disk", "%s of %s free, %llu inodes", free_text, size_text,
              (unsigned long long)v.f_favail);
}

/* ---- the network ---- */

/* Host and port only: the rest of a proxy's URL may be a password. */
static void proxies(struct doctor *d)
{
        static const char *const names[] = {"HTTPS_PROXY", "https_proxy", "HTTP_PROXY",
                                            "http_proxy",  "ALL_PROXY",   "all_proxy"};
        AUTO_SB struct sb b = SB_INIT(4096);

        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
                const char *v = getenv(names[i]), *at;

                if (!v || !*v)
                        continue;
                at = strrchr(v, '@');
                at = at ? at + 1 : strstr(v, "://") ? strstr(v, "://") + 3 : v;
                sb_fmt(&b, "%s%s=%.*s", b.len ? ", " : "", names[i], (int)strcspn(at, "/?#"), at);
        }
        check(d, "proxies", true, NULL, "%s", b.len ? sb_text(&b) : "none");
}

static void registry(struct doctor *d, const char *host)
{
        struct bld_err err = BLD_ERR_INIT;
        struct reg_client *c = NULL;
        int r = d->b->ctx.registry(d->b->ctx.user, &c, &err);

        if (r == 0)
                r = reg_login_check(c, host, &err);
        if (r < 0)
                check(d, "registry", false, NULL, "%s: %.*s", host, (int)strcspn(err.msg, "\n"),
                      err.msg);
        else
                check(d, "registry", true, NULL, "%s answers%s", host,
                      r ? ", and takes the credentials found" : "");
}

/* ---- levels ---- */

static struct js *level_row(const struct rt_report *rep)
{
        struct js *j = js_obj();
        int r = j ? js_set_str(j, "name", rt_level_name(rep->level)) : BLD_E_NOMEM;

        r = r < 0 ? r : js_set_bool(j, "ok", rep->ok);
        if (r == 0 && rep->ok && rep->shared_proc)
                r = js_set_bool(j, "sharedProc", true);
        if (r == 0 && !rep->ok) {
                r = js_set_str(j, "failed", rep->failed);
                if (r == 0 && rep->sys)
                        r = js_set_str(j, "errno", strerrorname_np(rep->sys));
                r = r < 0 ? r : js_set_str(j, "what", rep->what);
                if (r == 0 && rep->why[0])
                        r = js_set_str(j, "why", rep->why);
                if (r == 0 && rep->fix[0])
                        r = js_set_str(j, "fix", rep->fix);
        }
        if (r < 0) {
                js_free(j);
                return NULL;
        }
        return j;
}

/* The strongest level that works, and what every probe said. */
static int isolation(struct doctor *d, struct js *doc, struct bld_err *err)
{
        struct rt_report reports[RT_REPORTS] = {0};
        struct rt_keeper_opts o = {.store_fd = cas_root_fd(d->b->cas),
                                   .level = RT_AUTO,
                                   .helper = d->b->ctx.helper,
                                   .cancel = d->b->ctx.cancel,
                                   .probe_all = true,
                                   .ret = reports};
        struct bld_err mine = BLD_ERR_INIT;
        struct rt_keeper *k = NULL;
        struct js *j = js_obj(), *levels = js_arr();
        int r = rt_keeper_start(&o, &k, &mine);

        if (r == BLD_E_CANCELLED || r == BLD_E_NOMEM) {
                js_free(j);
                js_free(levels);
                err_copy(err, &mine);
                return r;
        }
        const struct rt_env *e = k ? rt_keeper_env(k) : NULL;
        size_t n = strcspn(mine.msg, "\n");
        mine.msg[n] = '\0';
        r = js_set_str(j, "chosen", e ? rt_level_name(e->level) : "none");
        r = r < 0 ? r : js_set_bool(j, "sharedProc", e && e->shared_proc);
        r = r < 0 ? r : js_set_str(j, "why", e ? e->why : mine.msg);
        rt_keeper_stop(k);
        for (size_t i = 0; i < RT_REPORTS && r == 0; i++)
                if (reports[i].tried)
                        r = js_push(levels, level_row(&reports[i]));
        if (r < 0) {
                js_free(j);
                js_free(levels);
                return err_nomem(err, "levels");
        }
        r = js_set(doc, "isolation", j);
        if (r < 0)
                js_free(levels);
        else
                r = js_set(doc, "levels", levels);
        return r < 0 ? err_nomem(err, "levels") : 0;
}

int bld_doctor(struct bld *b, const struct bld_list *registries, char **ret_json,
               struct bld_err *err)
{
        AUTO_JS struct js *doc = js_obj(), *checks = js_arr();
        struct doctor d = {.b = b, .checks = checks};
        int r = doc && checks ? js_set_str(doc, "apiVersion", "bld/v1") : BLD_E_NOMEM;

        if (r < 0)
                return err_nomem(err, "doctor");
        r = isolation(&d, doc, err);
        if (r < 0)
                return r;
        kernel(&d);
        sysctls(&d);
        programs(&d);
        cgroups(&d);
        binfmt(&d);
        store(&d);
        proxies(&d);
        for (size_t i = 0; i < registries->n; i++)
                registry(&d, registries->v[i]);
        r = d.r < 0 ? d.r : js_set(doc, "checks", js_ref(checks));
        return r < 0 ? err_nomem(err, "doctor") : lib_json_text(doc, ret_json, err);
}
