/* Steps for real, at every level this process can reach. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/num.h"
#include "runtime_fixture.h"

static struct rtf f;

/* Run a script; its output. Fails the test on a set-up error. */
static int script(const char *text, const char *user, struct sb *out)
{
        struct bld_err err = BLD_ERR_INIT;
        struct rt_result res = {0};
        struct rtf_step st;
        int status;

        rtf_step_init(&f, &st, text);
        st.s.user = user;
        if (rtf_run(&f, &st, NULL, out, &res, &err) < 0)
                fail_msg("%s: %s", text, err.msg);
        status = res.wait_status;
        rt_result_done(&res);
        return status;
}

/* ---- what a step sees and may ---- */

static const struct row {
        const char *name, *user, *script;
        int exit;         /* negative: killed by that signal */
        const char *want; /* whole output, or NULL */
} rows[] = {
        {"exit status", "", "exit 3", 3, ""},
        {"signal", "", "kill -9 $$", -SIGKILL, ""},
        {"stdin is empty", "", "cat; echo done", 0, "done\n"},
        {"environment", "", "echo $FOO $HOME $PATH", 0,
         "bar /root /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"},
        {"nothing of ours in the environment", "",
         "env | grep -c -v -e FOO -e HOME -e PATH -e PWD -e SHLVL", 1, "0\n"},
        {"root", "", "id", 0, "uid=0(root) gid=0(root) groups=0(root),4(adm)\n"},
        {"user with groups", "app", "id", 0,
         "uid=1000(app) gid=1000(app) groups=4(adm),1000(app)\n"},
        {"home of the user", "app", "echo $HOME", 0, "/home/app\n"},
        {"numbers", "77:88", "id -u; id -g; id -G", 0, "77\n88\n88\n"},
        {"capabilities of root", "", "grep -h CapEff /proc/self/status", 0,
         "CapEff:\t00000000a80425fb\n"},
        {"bounding set", "app", "grep -h -e CapEff -e CapBnd -e CapInh /proc/self/status", 0,
         "CapInh:\t0000000000000000\nCapEff:\t0000000000000000\nCapBnd:\t00000000a80425fb\n"},
        {"new privileges stay possible", "", "grep NoNewPrivs /proc/self/status", 0,
         "NoNewPrivs:\t0\n"},
        {"seccomp is on", "", "grep Seccomp: /proc/self/status", 0, "Seccomp:\t2\n"},
        {"host name", "", "hostname", 0, "buildkitsandbox\n"},
        {"only its own tree", "", "ls /", 0, "bin\ndev\netc\nproc\nsys\ntmp\n"},
        {"devices", "", "ls /dev", 0,
         "fd\nfull\nmqueue\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero"
         "\n"},
        {"devices work", "",
         "echo x > /dev/null && head -c 3 /dev/zero | wc -c; echo y > /dev/full", 1, NULL},
        {"shm is for all", "app", "touch /dev/shm/x /tmp/x && echo ok", 0, "ok\n"},
        {"few processes", "", "ls /proc | grep -c '^[0-9]'", 0, NULL},
        {"umask", "", "touch /f; stat -c %a /f", 0, "644\n"},
        {"files limit", "", "ulimit -Sn; ulimit -c", 0, "1024\n0\n"},
        {"loopback only", "", "ip -o link | wc -l; ip -o addr | grep -c 'inet 127.0.0.1'", 0,
         "1\n1\n"},
        {"hosts", "", "grep -c localhost /etc/hosts", 0, "2\n"},
        {"no descriptors of ours", "", "ls /proc/self/fd | tr '\\n' ' '", 0, "0 1 2 3 "},
        {"working folder", "", "pwd", 0, "/\n"},
        /* what must fail */
        {"mount is refused", "", "mount -t tmpfs x /tmp 2>/dev/null", 1, ""},
        {"unmount is refused", "", "umount /proc 2>/dev/null", 1, ""},
        {"unshare is refused", "", "unshare -m true 2>/dev/null", 1, ""},
        {"new user namespace is refused", "app", "unshare -U true 2>/dev/null", 1, ""},
        {"sysctl", "", "echo x > /proc/sys/kernel/hostname", 1, NULL},
        {"sysrq", "", "echo b > /proc/sysrq-trigger", 1, NULL},
        {"sysfs", "", "echo x > /sys/kernel/uevent_helper", 1, NULL},
        {"host name cannot be set", "", "hostname x 2>/dev/null", 1, ""},
        {"timers are masked", "", "cat /proc/timer_list", 0, ""},
        {"keys are masked", "", "cat /proc/keys", 0, ""},
        {"hosts is read-only", "", "echo x >> /etc/hosts", 1, NULL},
        {"environment of init", "", "cat /proc/1/environ 2>/dev/null", 1, ""},
        {"root of init", "", "ls /proc/1/root/ 2>/dev/null", 1, ""},
        {"descriptors of init", "",
         "n=0; for i in /proc/1/fd/*; do readlink $i && n=1; cat $i && n=1; (echo x >> $i) && n=1; "
         "done 2>/dev/null; echo $n",
         0, "0\n"},
        {"memory of init", "", ": < /proc/1/mem", 1, NULL},
        {"init cannot be killed", "", "kill -9 1; kill -TERM 1; kill -STOP 1; echo alive", 0,
         "alive\n"},
        {"leaving a chroot", "",
         "mkdir /c && cd / && chroot /c /bin/true 2>/dev/null; ls / | wc -l", 0, "7\n"},
        {"parents of the root", "", "ls /../../.. | wc -l; cd /..; pwd", 0, "6\n/\n"},
};

static void sees(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct sb out;
                int status = script(rows[i].script, rows[i].user, &out);

                print_message("# %s\n", rows[i].name);
                int want = rows[i].exit < 0 ? -rows[i].exit : rows[i].exit << 8;
                if (status != want || (rows[i].want && !str_eq(sb_text(&out), rows[i].want)))
                        fail_msg("%s: status %#x, output \"%s\"", rows[i].name, (unsigned)status,
                                 sb_text(&out));
                sb_done(&out);
        }
}

/* The kernel is to take a step before it takes bld. */
static void oom_score(void **state)
{
        struct sb mine = SB_INIT(100), out;
        char want[16];
        int64_t v = 0;

        (void)state;
        assert_int_equal(file_read(AT_FDCWD, "/proc/self/oom_score_adj", &mine, NULL), 0);
        sb_cut(&mine, mine.len - 1);
        assert_true(parse_i64(sb_text(&mine), -1000, 1000, &v));
        (void)snprintf(want, sizeof(want), "%d\n", (int)MIN(v + 500, (int64_t)1000));
        assert_int_equal(script("cat /proc/self/oom_score_adj", "app", &out), 0);
        assert_string_equal(sb_text(&out), want);
        sb_done(&out);
        sb_done(&mine);
}

/* A block node of the host's disk could be read if it opened. In a user namespace a node is only
 * noted: what opens is an empty file. */
static void device_nodes(void **state)
{
        static const char *const tries[] = {"mknod /disk b 254 0 && head -c 1 /disk",
                                            "mknod /n c 1 5 && head -c 1 /n",
                                            "mknod /dev/n c 1 5 && head -c 1 /dev/n"};
        struct sb out;

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(tries); i++) {
                int status = script(tries[i], "", &out);

                if (status == 0 && out.len != 0)
                        fail_msg("%s: %zu bytes", tries[i], out.len);
                sb_done(&out);
        }
        assert_int_equal(
                script("for n in null zero full tty; do test -c /dev/$n; done; echo x >/dev/null",
                       "", &out),
                0);
        sb_done(&out);
}

static void commands(void **state)
{
        static const struct {
                const char *name, *argv0;
                int exit;
        } cases[] = {
                {"found on PATH", "true", 0},
                {"with a path", "/bin/true", 0},
                {"absent", "nosuchcommand", 127},
                {"absent with a path", "/bin/nosuch", 127},
                {"not executable", "/etc/passwd", 126},
                {"a folder", "/etc", 126},
                {"empty", "", 127},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                const char *argv[] = {cases[i].argv0, NULL};
                struct bld_err err = BLD_ERR_INIT;
                struct rt_result res = {0};
                struct rtf_step st;
                struct sb out;

                rtf_step_init(&f, &st, "");
                st.s.argv = argv;
                assert_int_equal(rtf_run(&f, &st, NULL, &out, &res, &err), 0);
                print_message("# %s: %#x %s", cases[i].name, (unsigned)res.wait_status,
                              sb_text(&out));
                assert_int_equal(WEXITSTATUS(res.wait_status), cases[i].exit);
                if (cases[i].exit)
                        assert_non_null(strstr(sb_text(&out), "bld: "));
                sb_done(&out);
                rt_result_done(&res);
        }
}

/* ---- errors of setting up ---- */

static void set_up_errors(void **state)
{
        struct bld_err err = BLD_ERR_INIT;
        struct rt_result res = {0};
        struct rtf_step st;
        const char *const missing[] = {"snapshots/nosuch/fs"};
        const char *const none[] = {NULL};

        (void)state;
        rtf_step_init(&f, &st, "true");
        st.s.user = "nosuch";
        assert_int_equal(rtf_run(&f, &st, NULL, NULL, &res, &err), BLD_E_INVALID);
        assert_non_null(strstr(err.msg, "unable to find user nosuch"));

        err_clear(&err);
        rtf_step_init(&f, &st, "true");
        st.s.lowers = missing;
        assert_int_equal(rtf_run(&f, &st, NULL, NULL, &res, &err), BLD_E_SYS);
        assert_non_null(strstr(err.msg, "snapshots/nosuch"));

        err_clear(&err);
        rtf_step_init(&f, &st, "true");
        st.s.argv = none;
        assert_int_equal(rtf_run(&f, &st, NULL, NULL, &res, &err), BLD_E_INVALID);

        err_clear(&err);
        rtf_step_init(&f, &st, "true");
        st.s.cwd = "/etc/passwd";
        assert_int_equal(rtf_run(&f, &st, NULL, NULL, &res, &err), BLD_E_INVALID);
        print_message("# %s\n", err.msg);
}

/* ---- the upper folder ---- */

static void upper_folder(void **state)
{
        struct bld_err err = BLD_ERR_INIT;
        struct rt_result res = {0};
        struct rtf_step st;
        struct stat sb;
        char path[256];
        size_t kept = 0;

        (void)state;
        rtf_step_init(&f, &st, "rm /etc/group; touch /new; rm -r /tmp; mkdir /tmp");
        assert_int_equal(rtf_run(&f, &st, NULL, NULL, &res, &err), 0);
        assert_int_equal(res.wait_status, 0);
        (void)snprintf(path, sizeof(path), "%s/upper/etc/group", st.scratch);
        assert_int_equal(fstatat(f.store_fd, path, &sb, AT_SYMLINK_NOFOLLOW), 0);
        assert_true(S_ISCHR(sb.st_mode) && sb.st_rdev == makedev(0, 0));
        (void)snprintf(path, sizeof(path), "%s/upper/new", st.scratch);
        assert_int_equal(fstatat(f.store_fd, path, &sb, AT_SYMLINK_NOFOLLOW), 0);
        /* /proc, /dev, /sys stay; hosts and resolv.conf go. */
        assert_int_equal(res.nstubs, 5);
        for (size_t i = 0; i < res.nstubs; i++) {
                print_message("# stub %s\n", res.stubs[i].path);
                (void)snprintf(path, sizeof(path), "%s/upper/%s", st.scratch, res.stubs[i].path);
                assert_int_equal(fstatat(f.store_fd, path, &sb, AT_SYMLINK_NOFOLLOW), 0);
                assert_int_equal(sb.st_ino, res.stubs[i].ino);
                assert_int_equal(S_ISDIR(sb.st_mode), res.stubs[i].is_dir);
                kept += res.stubs[i].keep;
        }
        assert_int_equal(kept, 3);
        /* Both stubs in etc name the time it had before the first. */
        assert_int_equal(fstatat(f.store_fd, "snapshots/base/fs/etc", &sb, 0), 0);
        assert_int_equal(res.stubs[3].parent_mtime_ns,
                         (int64_t)sb.st_mtim.tv_sec * 1000000000 + sb.st_mtim.tv_nsec);
        assert_int_equal(res.stubs[4].parent_mtime_ns, res.stubs[3].parent_mtime_ns);
        rt_result_done(&res);
}

static void from_scratch(void **state)
{
        const struct rt_mount m = {.kind = RT_MOUNT_BIND,
                                   .target = "/a/b",
                                   .readonly = true,
                                   .source = "snapshots/base/fs",
                                   .selector = "bin"};
        const char *argv[] = {"/a/b/busybox", "ls", "/", NULL};
        struct bld_err err = BLD_ERR_INIT;
        struct rt_result res = {0};
        struct rtf_step st;
        struct sb out;

        (void)state;
        rtf_step_init(&f, &st, "");
        st.s.nlowers = 0;
        st.s.argv = argv;
        st.s.mounts = &m;
        st.s.nmounts = 1;
        if (rtf_run(&f, &st, NULL, &out, &res, &err) < 0)
                fail_msg("%s", err.msg);
        assert_string_equal(sb_text(&out), "a\ndev\netc\nproc\nsys\n");
        assert_int_equal(res.nstubs, 8); /* proc dev sys etc etc/hosts etc/resolv.conf a a/b */
        sb_done(&out);
        rt_result_done(&res);
}

static void working_folder(void **state)
{
        struct bld_err err = BLD_ERR_INIT;
        struct rt_result res = {0};
        struct rtf_step st;
        struct sb out;

        (void)state;
        rtf_step_init(&f, &st, "pwd; stat -c '%a %u' /made");
        st.s.cwd = "/made/here";
        assert_int_equal(rtf_run(&f, &st, NULL, &out, &res, &err), 0);
        assert_string_equal(sb_text(&out), "/made/here\n755 0\n");
        for (size_t i = 0; i < res.nstubs; i++)
                assert_null(strstr(res.stubs[i].path, "made"));
        sb_done(&out);
        rt_result_done(&res);
}

/* ---- ending ---- */

static int64_t now_ms(void)
{
        struct timespec ts;

        (void)clock_gettime(CLOCK_MONOTONIC, &ts);
        return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void times_out(void **state)
{
        struct bld_err err = BLD_ERR_INIT;
        struct rt_result res = {0};
        struct rtf_step st;
        int64_t start = now_ms();

        (void)state;
        rtf_step_init(&f, &st, "sleep 1000");
        st.s.timeout_ms = 150;
        assert_int_equal(rtf_run(&f, &st, NULL, NULL, &res, &err), 0);
        assert_true(res.timed_out);
        assert_true(WIFSIGNALED(res.wait_status));
        assert_in_range(now_ms() - start, 100, 8000);
        rt_result_done(&res);
}

static void *fire_later(void *p)
{
        const struct timespec nap = {.tv_nsec = 100 * 1000000};
        struct cancel *c = p;

        (void)nanosleep(&nap, NULL);
        cancel_fire(c, 1);
        (void)nanosleep(&nap, NULL);
        cancel_fire(c, 2);
        return NULL;
}

/* The step ignores SIGTERM; the second level ends it at once. */
static void cancelled(void **state)
{
        static const char *const scripts[] = {"sleep 1001",
                                              "trap '' TERM; sleep 1001 & wait; sleep 1001"};

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(scripts); i++) {
                struct bld_err err = BLD_ERR_INIT;
                struct rt_result res = {0};
                struct rtf_step st;
                struct cancel c;
                pthread_t t;
                int64_t start = now_ms();

                assert_int_equal(cancel_init(&c, &err), 0);
                rtf_step_init(&f, &st, scripts[i]);
                assert_int_equal(pthread_create(&t, NULL, fire_later, &c), 0);
                assert_int_equal(rtf_run(&f, &st, &c, NULL, &res, &err), BLD_E_CANCELLED);
                assert_true(now_ms() - start < 8000);
                (void)pthread_join(t, NULL);
                cancel_done(&c);
        }
}

static void leftovers(void **state)
{
        struct sb out;

        (void)state;
        /* A daemon that holds the output open and ignores what can be ignored. */
        assert_int_equal(
                script("setsid sh -c 'trap \"\" TERM HUP; sleep 198273' & echo started", "", &out),
                0);
        assert_string_equal(sb_text(&out), "started\n");
        assert_int_equal(rtf_count_procs("198273"), 0); /* gone before the answer */
        sb_done(&out);
}

static void resources(void **state)
{
        struct bld_err err = BLD_ERR_INIT;
        struct rt_result res = {0};
        struct rtf_step st;

        (void)state;
        rtf_step_init(&f, &st, "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done");
        assert_int_equal(rtf_run(&f, &st, NULL, NULL, &res, &err), 0);
        assert_true(res.user_us + res.system_us > 1000);
        assert_true(res.max_rss_bytes > 100000);
        assert_false(res.oom);
        rt_result_done(&res);
        assert_false(rtf_mounted(f.dir));
}

static void *many(void *p)
{
        struct rtf_step *st = p;
        struct bld_err err = BLD_ERR_INIT;
        struct rt_result res = {0};
        int r = rt_step_run(f.k, &st->s, 2, 2, NULL, &res, &err);

        if (r == 0 && res.wait_status != 7 << 8)
                r = -100;
        rt_result_done(&res);
        return r == 0 ? NULL : p;
}

static void in_parallel(void **state)
{
        struct rtf_step st[8];
        pthread_t t[8];

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(t); i++)
                rtf_step_init(&f, &st[i], "exit 7");
        for (size_t i = 0; i < ARRAY_LEN(t); i++)
                assert_int_equal(pthread_create(&t[i], NULL, many, &st[i]), 0);
        for (size_t i = 0; i < ARRAY_LEN(t); i++) {
                void *bad;
                (void)pthread_join(t[i], &bad);
                assert_null(bad);
        }
}

static int open_level(void **state)
{
        rtf_open(&f, *(enum rt_level *)*state);
        return 0;
}

static void env_is_told(void **state)
{
        const struct rt_env *e = rt_keeper_env(f.k);

        (void)state;
        print_message("# %s, view %s\n", e->why, e->view);
        assert_int_equal(e->level, f.level);
        if (f.level == RT_USERNS) {
                assert_true(e->user_xattr);
                assert_int_equal(strncmp(e->view, "map-", 4), 0);
                assert_int_equal(strlen(e->view), 20);
        }
}

static void all(void **state)
{
        (void)open_level(state);
        env_is_told(state);
        sees(state);
        oom_score(state);
        device_nodes(state);
        commands(state);
        set_up_errors(state);
        upper_folder(state);
        from_scratch(state);
        working_folder(state);
        times_out(state);
        cancelled(state);
        leftovers(state);
        resources(state);
        in_parallel(state);
}

/* ---- without the newest calls ---- */

/* As moby's profile answers: no clone3, no pivot_root; and a kernel without Landlock. Last of all,
 * because a filter cannot be taken off again. */
static void fallbacks(void **state)
{
        static const struct {
                int nr, answer;
        } deny[] = {{SYS_clone3, ENOSYS},
                    {SYS_pivot_root, EPERM},
                    {SYS_landlock_create_ruleset, ENOSYS}};
        struct sock_filter code[2 * ARRAY_LEN(deny) + 2];
        struct sock_fprog prog = {.filter = code};
        size_t n = 0;

        code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                                 offsetof(struct seccomp_data, nr));
        for (size_t i = 0; i < ARRAY_LEN(deny); i++) {
                code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
                                                         (uint32_t)deny[i].nr, 0, 1);
                code[n++] = (struct sock_filter)BPF_STMT(
                        BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)deny[i].answer);
        }
        code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
        prog.len = (unsigned short)n;
        /* newuidmap needs its set-uid bit, so no_new_privs only where nothing else will do. */
        if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) < 0) {
                print_message("skipped: a filter needs root here\n");
                skip();
        }
        (void)open_level(state);
        sees(state);
        upper_folder(state);
        leftovers(state);
        assert_false(rtf_mounted(f.dir));
}

static int teardown(void **state)
{
        (void)state;
        rtf_close(&f);
        return 0;
}

int main(int argc, char **argv)
{
        static enum rt_level levels[2];

        rt_child_main(argc, argv, NULL, 0);
        size_t n = rtf_levels(levels);
        const struct CMUnitTest tests[] = {
                {"steps", all, NULL, teardown, &levels[0]},
                {"steps in a user namespace", all, NULL, teardown, &levels[1]},
                {"fallbacks", fallbacks, NULL, teardown, &levels[0]},
                {"fallbacks in a user namespace", fallbacks, NULL, teardown, &levels[1]},
        };
        return _cmocka_run_group_tests("runtime_step", tests, n == 1 ? 1 : ARRAY_LEN(tests), NULL,
                                       NULL);
}
