/* USER against passwd and group, the subordinate id files, and the wire form of steps. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime/runtime_priv.h"

static const char passwd[] = "root:x:0:0:root:/root:/bin/sh\n"
                             "# comment\n"
                             "broken\n"
                             "bad:x:notanumber:0::/:\n"
                             "neg:x:-1:0::/:\n"
                             "big:x:4294967295:0::/:\n"
                             "app:x:1000:1001:App:/home/app:/bin/sh\n"
                             "app:x:7:7::/second:/bin/sh\n"
                             "1234:x:55:55::/digits:/bin/sh\n"
                             "nohome:x:9:9\n"
                             "last:x:12:12::/last:/bin/sh";
static const char group[] = "root:x:0:\nadm:x:4:root,app\napp:x:1001:\nwheel:x:10:app,root\n"
                            "dup:x:4:app\nlastg:x:99:last";

static void resolves(void **state)
{
        static const struct {
                const char *name, *user;
                uint32_t uid, gid;
                const char *groups, *home;
        } rows[] = {
                {"no USER", NULL, 0, 0, "0 4 10", "/root"},
                {"empty", "", 0, 0, "0 4 10", "/root"},
                {"root by name", "root", 0, 0, "0 4 10", "/root"},
                {"name", "app", 1000, 1001, "1001 4 10", "/home/app"},
                {"number of an entry", "1000", 1000, 1001, "1001 4 10", "/home/app"},
                {"number without entry", "4242", 4242, 0, "0", "/"},
                {"both numbers", "5:6", 5, 6, "6", "/"},
                {"explicit group drops the others", "app:wheel", 1000, 10, "10", "/home/app"},
                {"name and number", "app:77", 1000, 77, "77", "/home/app"},
                {"empty group", "app:", 1000, 1001, "1001 4 10", "/home/app"},
                {"digits are an id, not a name", "1234", 1234, 0, "0", "/"},
                {"no home field", "nohome", 9, 9, "9", "/"},
                {"last line without newline", "last", 12, 12, "12 99", "/last"},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct bld_err err = BLD_ERR_INIT;
                struct ident id = {0};
                struct sb b = SB_INIT(1000);

                print_message("# %s\n", rows[i].name);
                assert_int_equal(ident_resolve(rows[i].user, passwd, group, &id, &err), 0);
                assert_int_equal(id.uid, rows[i].uid);
                assert_int_equal(id.gid, rows[i].gid);
                for (size_t k = 0; k < id.ngroups; k++)
                        sb_fmt(&b, "%s%u", k ? " " : "", id.groups[k]);
                assert_string_equal(sb_text(&b), rows[i].groups);
                assert_string_equal(id.home, rows[i].home);
                sb_done(&b);
                ident_done(&id);
        }
}

static void refuses(void **state)
{
        static const char *const users[] = {"nosuch",     "bad", "neg", "big",   "app:nosuch",
                                            "4294967295", "-1",  "1x",  "broken"};
        struct ident id = {0};

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(users); i++) {
                struct bld_err err = BLD_ERR_INIT;
                print_message("# %s\n", users[i]);
                assert_int_equal(ident_resolve(users[i], passwd, group, &id, &err), BLD_E_INVALID);
                assert_non_null(strstr(err.msg, "no matching entries"));
        }
}

static void without_files(void **state)
{
        struct bld_err err = BLD_ERR_INIT;
        struct ident id = {0};

        (void)state;
        assert_int_equal(ident_resolve("", "", "", &id, &err), 0);
        assert_int_equal(id.uid, 0);
        assert_int_equal(id.ngroups, 1);
        assert_string_equal(id.home, "/root");
        ident_done(&id);
        assert_int_equal(ident_resolve("app", "", "", &id, &err), BLD_E_INVALID);
}

static void subordinate_ids(void **state)
{
        static const char text[] = "# comment\nalice:100000:65536\nbob:1:2\n1000:300000:10\n"
                                   "alice:200000:65536\nalice:x:1\nalice:5\nalice:1:0\n"
                                   "alice:4294967290:100\n";
        struct bld_err err = BLD_ERR_INIT;
        struct rt_rangev v = {0};

        (void)state;
        assert_int_equal(rt_subid_parse(text, "alice", 1000, &v, &err), 0);
        assert_int_equal(v.n, 4);
        assert_int_equal(v.v[0].start, 100000);
        assert_int_equal(v.v[1].start, 300000); /* by number */
        assert_int_equal(v.v[1].count, 10);
        assert_int_equal(v.v[2].start, 200000);
        assert_int_equal(v.v[3].count, 5); /* ends below the highest id */
        rt_rangev_done(&v);
        assert_int_equal(rt_subid_parse(text, NULL, 4, &v, &err), 0);
        assert_int_equal(v.n, 0);
        rt_rangev_done(&v);
}

/* ---- steps as bytes ---- */

static void encode_sample(struct sb *b)
{
        static const char *const lowers[] = {"snapshots/a/fs", "snapshots/b/fs"};
        static const char *const argv[] = {"/bin/sh", "-c", "", NULL};
        static const char *const env[] = {"A=b", NULL};
        static const struct rt_mount mounts[] = {
                {.kind = RT_MOUNT_FILE,
                 .target = "/run/secrets/x",
                 .data = "a\0b",
                 .data_len = 3,
                 .mode = 0400,
                 .uid = 7},
                {.kind = RT_MOUNT_BIND,
                 .target = "/b",
                 .lowers = lowers,
                 .nlowers = 2,
                 .readonly = true},
        };
        static const struct rt_host hosts[] = {{"db", "10.0.0.1"}};
        const struct rt_step s = {.lowers = lowers,
                                  .nlowers = 2,
                                  .scratch = "tmp/x",
                                  .argv = argv,
                                  .envp = env,
                                  .cwd = "/w",
                                  .network = RT_NET_NONE,
                                  .insecure = true,
                                  .mounts = mounts,
                                  .nmounts = 2,
                                  .hosts = hosts,
                                  .nhosts = 1,
                                  .timeout_ms = -1};

        sb_init(b, 100000);
        assert_int_equal(rt_step_encode(&s, b, NULL), 0);
}

static void step_round_trip(void **state)
{
        struct bld_err err = BLD_ERR_INIT;
        struct rt_step s;
        struct sb b;

        (void)state;
        encode_sample(&b);
        assert_int_equal(rt_step_decode(b.buf, b.len, &s, &err), 0);
        assert_int_equal(s.nlowers, 2);
        assert_string_equal(s.lowers[1], "snapshots/b/fs");
        assert_string_equal(s.argv[2], "");
        assert_null(s.argv[3]);
        assert_null(s.user);
        assert_true(s.insecure);
        assert_int_equal(s.mounts[0].data_len, 3);
        assert_memory_equal(s.mounts[0].data, "a\0b", 3);
        assert_int_equal(s.mounts[1].nlowers, 2);
        assert_true(s.mounts[1].readonly);
        assert_string_equal(s.hosts[0].ip, "10.0.0.1");
        assert_int_equal(s.timeout_ms, -1);
        rt_step_done(&s);
        sb_done(&b);
}

/* Every prefix, and every byte changed: an error or a step, never a read outside. */
static void step_damaged(void **state)
{
        struct rt_step s;
        struct sb b;

        (void)state;
        encode_sample(&b);
        for (size_t n = 0; n < b.len; n++) {
                char *cut = mem_dup(b.buf, n ? n : 1);
                struct bld_err err = BLD_ERR_INIT;
                assert_int_equal(rt_step_decode(cut, n, &s, &err), BLD_E_BUG);
                rt_step_done(&s);
                free(cut);
        }
        for (size_t i = 0; i < b.len; i++) {
                char *bad = mem_dup(b.buf, b.len);
                bad[i] = (char)~bad[i];
                (void)!rt_step_decode(bad, b.len, &s, NULL);
                rt_step_done(&s);
                free(bad);
        }
        sb_done(&b);
}

static void result_round_trip(void **state)
{
        char path[] = "etc/hosts";
        struct rt_stub stub = {.path = path, .ino = 42, .keep = true, .parent_mtime_ns = -5};
        const struct rt_result res = {.wait_status = 0x0300,
                                      .user_us = 1,
                                      .system_us = 2,
                                      .max_rss_bytes = 3,
                                      .stubs = &stub,
                                      .nstubs = 1};
        struct bld_err err = BLD_ERR_INIT;
        struct rt_result got = {0};
        struct sb b = SB_INIT(10000);

        (void)state;
        assert_int_equal(rt_result_encode(&res, &b, &err), 0);
        assert_int_equal(rt_result_decode(b.buf, b.len, &got, &err), 0);
        assert_int_equal(got.wait_status, 0x0300);
        assert_int_equal(got.nstubs, 1);
        assert_string_equal(got.stubs[0].path, "etc/hosts");
        assert_int_equal(got.stubs[0].parent_mtime_ns, -5);
        rt_result_done(&got);
        for (size_t n = 0; n < b.len; n++) {
                err_clear(&err);
                assert_int_equal(rt_result_decode(b.buf, n, &got, &err), BLD_E_BUG);
        }
        sb_done(&b);
}

/* ---- the filter ---- */

static const struct probe {
        const char *name;
        long nr, a, b;
        int shared, own; /* errno wanted with the host's network, with one of its own; 0: passes */
} probes[] = {
        {"getpid", SYS_getpid, 0, 0, 0, 0},
        {"mount", SYS_mount, 0, 0, EPERM, EPERM},
        {"unshare", SYS_unshare, 0, 0, EPERM, EPERM},
        {"setns", SYS_setns, -1, 0, EPERM, EPERM},
        {"bpf", SYS_bpf, 0, 0, EPERM, EPERM},
        {"keyctl", SYS_keyctl, 0, 0, EPERM, EPERM},
        {"io_uring", 425, 0, 0, EPERM, EPERM},
        {"open_tree", 428, 0, 0, EPERM, EPERM},
        {"clone3", 435, 0, 0, ENOSYS, ENOSYS},
        {"clone with a namespace", SYS_clone, 0x10000000, 0, EPERM, EPERM},
        {"openat2 passes", 437, -1, 0, EINVAL, EINVAL},
        {"cachestat by number", 451, -1, 0, EBADF, EBADF},
        {"fchmodat2 by number", 452, -1, 0, EFAULT, EFAULT},
        {"statmount", 457, 0, 0, ENOSYS, ENOSYS},
        {"of the future", 900, 0, 0, ENOSYS, ENOSYS},
        {"negative", -1, 0, 0, ENOSYS, ENOSYS},
        {"unix socket", SYS_socket, 1, 1, 0, 0},
        {"tcp socket", SYS_socket, 2, 1 | SOCK_CLOEXEC, 0, 0},
        {"netlink socket", SYS_socket, 16, 3, 0, 0},
        {"AF_ALG", SYS_socket, 38, 5, EPERM, EPERM},
        {"AF_VSOCK", SYS_socket, 40, 1, EPERM, EPERM},
        {"raw socket", SYS_socket, 2, 3 | SOCK_CLOEXEC, EPERM, -1},
        {"raw IPv6 socket", SYS_socket, 10, 3, EPERM, -1},
        {"AF_PACKET", SYS_socket, 17, 3, EPERM, -1},
        {"personality 0", SYS_personality, 0, 0, 0, 0},
        {"personality asked", SYS_personality, 0xffffffff, 0, 0, 0},
        {"personality odd", SYS_personality, 0x40000, 0, EPERM, EPERM},
};

/* The number of the first probe that answers otherwise, plus one; 0 when none does. */
static int try_filter(enum filter_kind kind)
{
        static struct filter f;
        struct bld_err err = BLD_ERR_INIT;

        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || filter_compile(kind, &f, &err) < 0 ||
            filter_load(&f, &err) < 0)
                return 200;
        for (size_t i = 0; i < ARRAY_LEN(probes); i++) {
                int want = kind == FILTER_SHARED_NET ? probes[i].shared : probes[i].own;
                errno = 0;
                long r = syscall((int)probes[i].nr, probes[i].a, probes[i].b, 0, 0, 0);
                /* -1: what the kernel says to a process without CAP_NET_RAW is no matter here. */
                if (want >= 0 && (r < 0 ? errno : 0) != want)
                        return (int)i + 1;
        }
        return 0;
}

static void filters(void **state)
{
        (void)state;
        for (int kind = FILTER_SHARED_NET; kind <= FILTER_OWN_NET; kind++) {
                int status;
                pid_t pid = fork();
                if (pid == 0)
                        _exit(try_filter((enum filter_kind)kind));
                assert_int_equal(waitpid(pid, &status, 0), pid);
                if (status)
                        fail_msg("filter %d: status %#x, probe \"%s\"", kind, (unsigned)status,
                                 WEXITSTATUS(status) &&
                                                 WEXITSTATUS(status) <= (int)ARRAY_LEN(probes)
                                         ? probes[WEXITSTATUS(status) - 1].name
                                         : "");
        }
}

static void level_names(void **state)
{
        struct bld_err err = BLD_ERR_INIT;
        enum rt_level l;

        (void)state;
        for (int i = RT_AUTO; i <= RT_NONE; i++) {
                assert_int_equal(rt_level_parse(rt_level_name((enum rt_level)i), &l, &err), 0);
                assert_int_equal(l, i);
        }
        assert_int_equal(rt_level_parse("rooot", &l, &err), BLD_E_USAGE);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(resolves),          cmocka_unit_test(refuses),
                cmocka_unit_test(without_files),     cmocka_unit_test(subordinate_ids),
                cmocka_unit_test(step_round_trip),   cmocka_unit_test(step_damaged),
                cmocka_unit_test(result_round_trip), cmocka_unit_test(level_names),
                cmocka_unit_test(filters),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
