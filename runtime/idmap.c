/* Id maps of the build's user namespace, written from outside it: by ourselves when we hold the
 * capabilities, else by newuidmap and newgidmap from the ranges of /etc/subuid and /etc/subgid. */
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/num.h"
#include "base/proc.h"
#include "base/sys.h"
#include "runtime/runtime_priv.h"

#define CAP_SETGID_BIT 6
#define CAP_SETUID_BIT 7

/* One "name:start:count" line; other shapes are skipped as the shadow tools do. */
static int subid_line(const char *line, size_t n, const char *name, const char *number,
                      struct rt_rangev *out)
{
        char buf[512];
        char *start, *count;
        uint64_t s, c;
        struct rt_range *r;

        if (n >= sizeof(buf))
                return 0;
        memcpy(buf, line, n);
        buf[n] = '\0';
        start = strchr(buf, ':');
        count = start ? strchr(start + 1, ':') : NULL;
        if (!count)
                return 0;
        *start++ = '\0';
        *count++ = '\0';
        if (!(name && str_eq(buf, name)) && !str_eq(buf, number))
                return 0;
        if (!parse_u64(start, 0, UINT32_MAX, &s) || !parse_u64(count, 1, UINT32_MAX, &c))
                return 0;
        r = rt_rangev_push(out);
        if (!r)
                return BLD_E_NOMEM;
        *r = (struct rt_range){(uint32_t)s, (uint32_t)MIN(c, (uint64_t)UINT32_MAX - s)};
        return 0;
}

int rt_subid_parse(const char *text, const char *name, uint32_t uid, struct rt_rangev *out,
                   struct bld_err *err)
{
        char number[16];

        (void)snprintf(number, sizeof(number), "%u", uid);
        while (*text) {
                size_t n = strcspn(text, "\n");
                if (subid_line(text, n, name, number, out) < 0)
                        return err_nomem(err, "read subordinate ids");
                text += n + (text[n] == '\n');
        }
        return 0;
}

static uint64_t range_sum(const struct rt_rangev *v)
{
        uint64_t sum = 0;

        for (size_t i = 0; i < v->n; i++)
                sum += v->v[i].count;
        return sum;
}

/* getsubids prints "0: name 100000 65536" from whatever source nsswitch names. */
static int ask_getsubids(const char *name, bool gids, struct rt_rangev *out, struct bld_err *err)
{
        AUTO_SB struct sb b = SB_INIT(65536);
        char prog[] = "getsubids", flag[] = "-g";
        AUTO_FREE char *who = mem_strdup(name);
        char *argv[] = {prog, gids ? flag : who, gids ? who : NULL, NULL};
        struct bld_err unused = BLD_ERR_INIT;
        int status;

        if (!who)
                return err_nomem(err, "read subordinate ids");
        if (proc_run(prog, argv, NULL, 0, &b, NULL, 5000, NULL, &status, &unused) < 0 || status)
                return 0; /* absent, or knows no more than the files */
        for (const char *p = sb_text(&b); p && *p; p = strchr(p, '\n'), p = p ? p + 1 : NULL) {
                char user[256];
                unsigned idx, start, count;
                struct rt_range *r;
                if (sscanf(p, "%u: %255s %u %u", &idx, user, &start, &count) != 4)
                        continue;
                r = rt_rangev_push(out);
                if (!r)
                        return err_nomem(err, "read subordinate ids");
                *r = (struct rt_range){start, count};
        }
        return 0;
}

static int no_range(const char *file, const char *name, uint64_t have, struct bld_err *err)
{
        err_set(err, BLD_E_UNSUPPORTED, "cannot run RUN steps: user %s has no range of ids", name);
        err_why(err, BLD_E_UNSUPPORTED, "%s gives %llu ids, an image needs %u", file,
                (unsigned long long)have, RT_IDS_WANTED);
        return err_try(
                err, BLD_E_UNSUPPORTED,
                "as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 %s",
                name);
}

static int find_ranges(const char *name, uint32_t uid, bool gids, struct rt_rangev *out,
                       struct bld_err *err)
{
        const char *file = gids ? "/etc/subgid" : "/etc/subuid";
        AUTO_SB struct sb b = SB_INIT(8 << 20);
        struct bld_err unused = BLD_ERR_INIT;
        int r;

        if (file_read(AT_FDCWD, file, &b, &unused) == 0) {
                r = rt_subid_parse(sb_text(&b), name, uid, out, err);
                if (r < 0)
                        return r;
        }
        if (range_sum(out) >= RT_IDS_WANTED)
                return 0;
        out->n = 0;
        r = ask_getsubids(name, gids, out, err);
        if (r < 0)
                return r;
        return range_sum(out) >= RT_IDS_WANTED ? 0 : no_range(file, name, range_sum(out), err);
}

/* newuidmap PID 0 <own> 1 1 <start> <count> ... */
static int run_helper(const char *prog, pid_t pid, uint32_t own, const struct rt_rangev *ranges,
                      const struct cancel *cancel, struct bld_err *err)
{
        AUTO_STRV struct strv argv = {0};
        AUTO_SB struct sb said = SB_INIT(4096);
        uint32_t next = 1;
        int status = 0;
        int r;

        if (strv_add(&argv, prog) < 0 || strv_addf(&argv, "%d", (int)pid) < 0 ||
            strv_add(&argv, "0") < 0 || strv_addf(&argv, "%u", own) < 0 || strv_add(&argv, "1") < 0)
                return err_nomem(err, prog);
        for (size_t i = 0; i < ranges->n; i++) {
                if (strv_addf(&argv, "%u", next) < 0 ||
                    strv_addf(&argv, "%u", ranges->v[i].start) < 0 ||
                    strv_addf(&argv, "%u", ranges->v[i].count) < 0)
                        return err_nomem(err, prog);
                next += ranges->v[i].count;
        }
        if (rt_strv_end(&argv) < 0)
                return err_nomem(err, prog);
        r = proc_run(prog, argv.v, NULL, 0, NULL, &said, 30000, cancel, &status, err);
        if (r == BLD_E_NOT_FOUND)
                return err_try(err, r, "as root: apt-get install uidmap (it holds %s)", prog);
        if (r < 0)
                return r;
        if (status == 0)
                return 0;
        size_t len = strcspn(sb_text(&said), "\n");
        err_set(err, BLD_E_UNSUPPORTED, "%s could not map the ids of user %u", prog, own);
        err_why(err, BLD_E_UNSUPPORTED, "it said: %.*s", (int)MIN(len, (size_t)300),
                sb_text(&said));
        return err_try(err, BLD_E_UNSUPPORTED,
                       "see that %s has its set-uid bit or file capabilities, and that nothing "
                       "forbids new privileges (allowPrivilegeEscalation: false does)",
                       prog);
}

static int write_map(pid_t pid, const char *which, const char *text, struct bld_err *err)
{
        char path[64];
        AUTO_FD int fd = -1;

        (void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, which);
        fd = sys_openat(AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0);
        if (fd < 0)
                return err_sys(err, errno, "open %s", path);
        if (write(fd, text, strlen(text)) < 0) /* one write: the kernel takes no second */
                return err_sys(err, errno, "write %s", path);
        return 0;
}

/* Every id we have ourselves, each as itself. */
static int identity_map(pid_t pid, const char *which, struct bld_err *err)
{
        AUTO_SB struct sb have = SB_INIT(65536);
        AUTO_SB struct sb want = SB_INIT(4096);
        char path[64];
        int r;

        (void)snprintf(path, sizeof(path), "/proc/self/%s", which);
        r = file_read(AT_FDCWD, path, &have, err);
        if (r < 0)
                return r;
        for (const char *p = sb_text(&have); p && *p; p = strchr(p, '\n'), p = p ? p + 1 : NULL) {
                unsigned inner, outer, count;
                if (sscanf(p, "%u %u %u", &inner, &outer, &count) == 3)
                        sb_fmt(&want, "%u %u %u\n", inner, inner, count);
        }
        r = sb_check(&want, path, err);
        return r < 0 ? r : write_map(pid, which, sb_text(&want), err);
}

/* Effective capabilities of this process, from its status; 0 when unreadable. */
static uint64_t effective_caps(void)
{
        AUTO_SB struct sb b = SB_INIT(65536);
        struct bld_err unused = BLD_ERR_INIT;
        unsigned long long v = 0;
        const char *p;

        if (file_read(AT_FDCWD, "/proc/self/status", &b, &unused) < 0)
                return 0;
        p = strstr(sb_text(&b), "CapEff:");
        if (!p || sscanf(p, "CapEff: %llx", &v) != 1)
                return 0;
        return v;
}

static int by_helpers(pid_t pid, const struct cancel *cancel, struct bld_err *err)
{
        AUTO(rt_rangev_done) struct rt_rangev uids = {0};
        AUTO(rt_rangev_done) struct rt_rangev gids = {0};
        uint32_t uid = geteuid();
        char buf[4096], name[64];
        struct passwd pw, *found = NULL;
        int r;

        if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1) {
                err_set(err, BLD_E_UNSUPPORTED,
                        "cannot run RUN steps: newuidmap cannot gain privileges");
                err_why(err, BLD_E_UNSUPPORTED,
                        "no_new_privs is set (allowPrivilegeEscalation: false)");
                err_try(err, BLD_E_UNSUPPORTED, "in a pod: allowPrivilegeEscalation: true");
                return err_note(err, BLD_E_UNSUPPORTED,
                                "Dockerfiles without RUN build here as they are");
        }
        (void)snprintf(name, sizeof(name), "%u", uid);
        if (getpwuid_r(uid, &pw, buf, sizeof(buf), &found) == 0 && found)
                (void)str_copy(name, sizeof(name), found->pw_name);
        r = find_ranges(name, uid, false, &uids, err);
        if (r == 0)
                r = find_ranges(name, uid, true, &gids, err);
        if (r == 0)
                r = run_helper("newuidmap", pid, uid, &uids, cancel, err);
        if (r == 0)
                r = run_helper("newgidmap", pid, getegid(), &gids, cancel, err);
        return r;
}

int rt_idmap_write(pid_t pid, const struct cancel *cancel, struct bld_err *err)
{
        const uint64_t both = 1u << CAP_SETUID_BIT | 1u << CAP_SETGID_BIT;
        int r;

        if ((effective_caps() & both) != both)
                return by_helpers(pid, cancel, err);
        r = identity_map(pid, "uid_map", err);
        return r < 0 ? r : identity_map(pid, "gid_map", err);
}
