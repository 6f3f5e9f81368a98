/* Verbs: answers, errors, descriptors, walls; and the end of any of the three processes at any
 * moment, which must leave no process and no mount. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/fd.h"
#include "runtime_fixture.h"

static struct rtf f;

/* ---- verbs of this program ---- */

static int v_echo(struct rt_verb_ctx *c, struct bld_err *err)
{
        (void)err;
        sb_add(c->out, c->args, c->nargs);
        return 0;
}

static int v_fail(struct rt_verb_ctx *c, struct bld_err *err)
{
        (void)c;
        err_set(err, BLD_E_CORRUPT, "layer is damaged");
        return err_why(err, BLD_E_CORRUPT, "byte 7");
}

static int v_big(struct rt_verb_ctx *c, struct bld_err *err)
{
        (void)err;
        for (size_t i = 0; i < (1u << 20) / 16; i++)
                sb_add(c->out, "0123456789abcdef", 16);
        return 0;
}

static int v_too_big(struct rt_verb_ctx *c, struct bld_err *err)
{
        (void)v_big(c, err);
        sb_char(c->out, 'x');
        return 0;
}

static int v_crash(struct rt_verb_ctx *c, struct bld_err *err)
{
        (void)c;
        (void)err;
        (void)raise(SIGKILL);
        return 0;
}

static int v_exit(struct rt_verb_ctx *c, struct bld_err *err)
{
        (void)c;
        (void)err;
        _exit(9);
}

static int v_sleep(struct rt_verb_ctx *c, struct bld_err *err)
{
        const struct timespec t = {.tv_sec = 1000};

        (void)c;
        (void)err;
        (void)nanosleep(&t, NULL);
        return 0;
}

/* Copies fd 0 of the call to fd 1, and says which numbers they came as. */
static int v_cat(struct rt_verb_ctx *c, struct bld_err *err)
{
        char buf[256];
        ssize_t n = read(c->fds[0], buf, sizeof(buf));

        sb_fmt(c->out, "%zu %d %d", c->nfds, c->fds[0], c->fds[1]);
        return n < 0 ? err_sys(err, errno, "read") : fd_write_all(c->fds[1], buf, (size_t)n, err);
}

/* What can it reach? One letter per thing that works. */
static int v_walls(struct rt_verb_ctx *c, struct bld_err *err)
{
        int fd;

        (void)err;
        fd = openat(c->store_fd, "in", O_CREAT | O_RDWR | O_CLOEXEC, 0644);
        if (fd >= 0)
                sb_char(c->out, 's');
        if (open("/etc/passwd", O_RDONLY | O_CLOEXEC) >= 0)
                sb_char(c->out, 'p');
        if (openat(c->store_fd, "../../etc/passwd", O_RDONLY | O_CLOEXEC) >= 0)
                sb_char(c->out, 'u');
        if (open("/tmp/bld-test-outside", O_CREAT | O_WRONLY | O_CLOEXEC, 0644) >= 0)
                sb_char(c->out, 'w');
        if (kill(getppid(), 0) == 0)
                sb_char(c->out, 'k');
        if (prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 1)
                sb_char(c->out, 'd');
        if (prctl(PR_CAPBSET_READ, 21 /* CAP_SYS_ADMIN */, 0, 0, 0) == 1 && c->env->user_xattr)
                sb_char(c->out, 'a');
        return 0;
}

/* Owners above the first: what the user namespace is for. */
static int v_own(struct rt_verb_ctx *c, struct bld_err *err)
{
        if (mkdirat(c->store_fd, "foreign", 0700) < 0 || mkdirat(c->store_fd, "foreign/x", 0) < 0 ||
            fchownat(c->store_fd, "foreign/x", 33, 33, 0) < 0 ||
            fchownat(c->store_fd, "foreign", 1000, 1000, 0) < 0)
                return err_sys(err, errno, "make a foreign folder");
        return 0;
}

static const struct rt_verb verbs[] = {
        {"echo", v_echo},   {"fail", v_fail}, {"big", v_big},     {"too-big", v_too_big},
        {"crash", v_crash}, {"exit", v_exit}, {"sleep", v_sleep}, {"cat", v_cat},
        {"walls", v_walls}, {"own", v_own}};

static void answers(void)
{
        struct bld_err err = BLD_ERR_INIT;
        struct sb out = SB_INIT(2 << 20);

        assert_int_equal(rt_call(f.k, "echo", "a\0b", 3, NULL, 0, NULL, &out, &err), 0);
        assert_int_equal(out.len, 3);
        assert_int_equal(rt_call(f.k, "echo", NULL, 0, NULL, 0, NULL, &out, &err), 0);
        assert_int_equal(out.len, 3); /* appended nothing */
        sb_reset(&out);
        assert_int_equal(rt_call(f.k, "big", "", 0, NULL, 0, NULL, &out, &err), 0);
        assert_int_equal(out.len, 1 << 20);
        sb_done(&out);
        assert_int_equal(rt_call(f.k, "fail", "", 0, NULL, 0, NULL, NULL, &err), BLD_E_CORRUPT);
        assert_string_equal(err.msg, "layer is damaged\nwhy: byte 7");
}

static void failures(void)
{
        static const struct {
                const char *verb;
                int code;
                const char *text;
        } rows[] = {{"crash", BLD_E_CHILD, "signal 9"},
                    {"exit", BLD_E_CHILD, "status 9"},
                    {"too-big", BLD_E_LIMIT, ""},
                    {"nosuch", BLD_E_BUG, "nosuch"}};

        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct bld_err err = BLD_ERR_INIT;
                print_message("# %s\n", rows[i].verb);
                assert_int_equal(rt_call(f.k, rows[i].verb, "", 0, NULL, 0, NULL, NULL, &err),
                                 rows[i].code);
                assert_non_null(strstr(err.msg, rows[i].text));
        }
}

static void descriptors(void)
{
        struct bld_err err = BLD_ERR_INIT;
        struct sb out = SB_INIT(1000);
        int in[2], back[2];
        char buf[16] = "";

        assert_int_equal(pipe2(in, O_CLOEXEC), 0);
        assert_int_equal(pipe2(back, O_CLOEXEC), 0);
        assert_int_equal(write(in[1], "hello", 5), 5);
        const int fds[2] = {in[0], back[1]};
        assert_int_equal(rt_call(f.k, "cat", "", 0, fds, 2, NULL, &out, &err), 0);
        assert_string_equal(sb_text(&out), "2 3 4");
        close(back[1]);
        assert_int_equal(read(back[0], buf, sizeof(buf)), 5);
        assert_string_equal(buf, "hello");
        assert_int_equal(read(back[0], buf, sizeof(buf)), 0); /* nobody else holds the end */
        close(back[0]);
        close(in[0]);
        close(in[1]);
        sb_done(&out);
}

static void walls(void)
{
        struct bld_err err = BLD_ERR_INIT;
        struct sb out = SB_INIT(1000);

        assert_int_equal(rt_call(f.k, "walls", "", 0, NULL, 0, NULL, &out, &err), 0);
        assert_string_equal(sb_text(&out), "s");
        sb_done(&out);
}

static void removes(void)
{
        static const char *const bad[] = {"", "/etc", "..", "../x", "a/../..", "."};
        struct bld_err err = BLD_ERR_INIT;
        struct stat st;

        assert_int_equal(rt_call(f.k, "own", "", 0, NULL, 0, NULL, NULL, &err), 0);
        assert_int_equal(rt_remove_tree(f.k, "foreign", &err), 0);
        assert_int_not_equal(fstatat(f.store_fd, "foreign", &st, 0), 0);
        assert_int_equal(rt_remove_tree(f.k, "nosuch", &err), 0);
        for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
                err_clear(&err);
                assert_int_equal(rt_remove_tree(f.k, bad[i], &err), BLD_E_INVALID);
        }
}

static void *fire(void *p)
{
        const struct timespec nap = {.tv_nsec = 50 * 1000000};

        (void)nanosleep(&nap, NULL);
        cancel_fire(p, 1);
        return NULL;
}

static void cancels(void)
{
        struct bld_err err = BLD_ERR_INIT;
        struct cancel c;
        pthread_t t;

        assert_int_equal(cancel_init(&c, &err), 0);
        assert_int_equal(pthread_create(&t, NULL, fire, &c), 0);
        assert_int_equal(rt_call(f.k, "sleep", "", 0, NULL, 0, &c, NULL, &err), BLD_E_CANCELLED);
        (void)pthread_join(t, NULL);
        cancel_done(&c);
}

/* A probe that was killed leaves a folder; the next start takes it away. */
static void probe_leftovers(void)
{
        const struct timespec old[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
        struct stat st;

        rtf_mkdir(&f, "tmp/rt-probe-1/lower/d");
        rtf_mkdir(&f, "tmp/rt-probe-2");
        rtf_mkdir(&f, "tmp/other");
        assert_int_equal(utimensat(f.store_fd, "tmp/rt-probe-1", old, 0), 0);
        rt_keeper_stop(f.k);
        f.k = NULL;
        struct bld_err err = BLD_ERR_INIT;
        const struct rt_keeper_opts o = {.store_fd = f.store_fd, .level = f.level};
        assert_int_equal(rt_keeper_start(&o, &f.k, &err), 0);
        assert_int_not_equal(fstatat(f.store_fd, "tmp/rt-probe-1", &st, 0), 0);
        assert_int_equal(fstatat(f.store_fd, "tmp/rt-probe-2", &st, 0), 0); /* too young */
        assert_int_equal(fstatat(f.store_fd, "tmp/other", &st, 0), 0);
}

static void calls(void **state)
{
        rtf_open(&f, *(enum rt_level *)*state);
        answers();
        failures();
        descriptors();
        walls();
        removes();
        cancels();
        probe_leftovers();
}

/* ---- starting ---- */

static void start_errors(void **state)
{
        struct rt_keeper *k = NULL;
        static const struct {
                enum rt_level level;
                const char *helper;
                int code;
        } rows[] = {{RT_NONE, NULL, BLD_E_UNSUPPORTED},
                    {RT_VROOT, NULL, BLD_E_UNSUPPORTED},
                    {RT_AUTO, "/nonexistent/bld", BLD_E_NOT_FOUND},
                    {RT_AUTO, "/bin/true", BLD_E_CHILD}};

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct bld_err err = BLD_ERR_INIT;
                int fd = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                const struct rt_keeper_opts o = {
                        .store_fd = fd, .level = rows[i].level, .helper = rows[i].helper};
                assert_int_equal(rt_keeper_start(&o, &k, &err), rows[i].code);
                print_message("# %s\n", err.msg);
                close(fd);
        }
        rt_keeper_stop(NULL);
}

/* ---- killing ---- */

enum victim { ENGINE, KEEPER, INIT };

static pid_t child_of(pid_t parent, const char *comm)
{
        char path[64], buf[512];
        pid_t found = 0;

        for (pid_t p = parent + 1; p < parent + 4000 && !found; p++) {
                (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)p);
                int fd = open(path, O_RDONLY | O_CLOEXEC);
                if (fd < 0)
                        continue;
                ssize_t n = read(fd, buf, sizeof(buf) - 1);
                close(fd);
                char *end = n > 0 ? (buf[n] = '\0', strrchr(buf, ')')) : NULL;
                int ppid = 0;
                if (end && strstr(buf, comm) && sscanf(end, ") %*c %d", &ppid) == 1 &&
                    ppid == parent)
                        found = p;
        }
        return found;
}

/* A zombie is gone: who reaps an orphan, and when, is not ours. */
static bool alive(pid_t pid)
{
        char path[64], buf[512];
        ssize_t n;
        int fd;

        (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return false;
        n = read(fd, buf, sizeof(buf) - 1);
        close(fd);
        const char *end = n > 0 ? (buf[n] = '\0', strrchr(buf, ')')) : NULL;
        return end && end[1] == ' ' && end[2] != 'Z' && end[2] != 'X';
}

static bool wait_gone(pid_t pid)
{
        const struct timespec nap = {.tv_nsec = 5 * 1000000};

        for (int i = 0; i < 600 && alive(pid); i++)
                (void)nanosleep(&nap, NULL);
        return !alive(pid);
}

static pid_t engine_pid; /* for the teardown of a failed test */

static int end_engine(pid_t pid)
{
        int status = -1;

        assert_int_equal(waitpid(pid, &status, 0), pid);
        engine_pid = 0;
        return status;
}

/* A process of its own as the engine, running steps until it dies. */
static pid_t start_engine(struct rtf *store, enum rt_level level, const char *script)
{
        pid_t pid = fork();

        if (pid != 0)
                return engine_pid = pid;
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0); /* a failed test leaves nothing either */
        struct bld_err err = BLD_ERR_INIT;
        const struct rt_keeper_opts o = {.store_fd = store->store_fd, .level = level};
        if (rt_keeper_start(&o, &store->k, &err) < 0)
                _exit(3);
        for (;;) {
                struct rt_result res = {0};
                struct rtf_step st;
                char name[64];
                memset(&st, 0, sizeof(st));
                (void)snprintf(name, sizeof(name), "tmp/kill-%d-%u", (int)getpid(), store->steps++);
                (void)mkdirat(store->store_fd, "tmp", 0755);
                (void)mkdirat(store->store_fd, name, 0755);
                const char *argv[] = {"/bin/sh", "-c", script, NULL}, *env[] = {NULL};
                const char *lowers[] = {"snapshots/base/fs"};
                const struct rt_step s = {.lowers = lowers,
                                          .nlowers = 1,
                                          .scratch = name,
                                          .argv = argv,
                                          .envp = env,
                                          .cwd = "/"};
                err_clear(&err);
                if (rt_step_run(store->k, &s, 2, 2, NULL, &res, &err) < 0)
                        _exit(err.code == BLD_E_CHILD ? 4 : 5);
                rt_result_done(&res);
        }
}

static int teardown(void **state)
{
        (void)state;
        if (engine_pid > 0) {
                (void)kill(engine_pid, SIGKILL);
                (void)waitpid(engine_pid, NULL, 0);
                engine_pid = 0;
        }
        rtf_close(&f);
        return 0;
}

static void kill_one(enum rt_level level, enum victim who, const char *marker)
{
        char text[128];
        pid_t engine, keeper, victim = 0;
        int status;

        (void)snprintf(text, sizeof(text), "sleep %s & sleep %s; true", marker, marker);
        engine = start_engine(&f, level, text);
        if (!rtf_wait_procs(marker, 3, 5000)) /* the shell and the two it started */
                fail_msg("the step did not start: %zu processes", rtf_count_procs(marker));
        keeper = child_of(engine, "(bld-keeper)");
        assert_true(keeper > 0);
        switch (who) {
        case ENGINE:
                victim = engine;
                break;
        case KEEPER:
                victim = keeper;
                break;
        case INIT:
                victim = child_of(keeper, "(bld-keeper)"); /* under ThreadSanitizer */
                victim = child_of(victim ? victim : keeper, "(bld-init)");
                break;
        }
        assert_true(victim > 0);
        assert_int_equal(kill(victim, SIGKILL), 0);
        if (!rtf_wait_procs(marker, 0, 3000))
                fail_msg("%zu processes left after killing %d", rtf_count_procs(marker), who);
        status = end_engine(engine);
        if (who != ENGINE) /* the engine is told */
                assert_int_equal(status, 4 << 8);
        assert_true(wait_gone(keeper));
        assert_false(rtf_mounted(f.dir));
}

static void kills(void **state)
{
        static const char *const names[] = {"engine", "keeper", "init"};
        enum rt_level level = *(enum rt_level *)*state;
        char marker[32];

        rtf_open(&f, level);
        for (int who = ENGINE; who <= INIT; who++) {
                print_message("# kill the %s\n", names[who]);
                (void)snprintf(marker, sizeof(marker), "77%d%d%d", (int)getpid(), (int)level, who);
                kill_one(level, (enum victim)who, marker);
        }
}

/* At any moment: whatever stage of setting up that is, nothing is left. */
static void kills_at_any_moment(void **state)
{
        enum rt_level level = *(enum rt_level *)*state;
        char marker[32], text[64];

        rtf_open(&f, level);
        (void)snprintf(marker, sizeof(marker), "88%d%d", (int)getpid(), (int)level);
        (void)snprintf(text, sizeof(text), "sleep 0.002; sleep 0.004 # %s", marker);
        for (unsigned i = 0; i < 24; i++) {
                const struct timespec nap = {.tv_nsec = (long)(i * 1731) % 41 * 1000000 / 2};
                pid_t engine = start_engine(&f, level, text);
                pid_t keeper = 0;

                (void)nanosleep(&nap, NULL);
                keeper = child_of(engine, "(bld-keeper)");
                (void)kill(i % 2 && keeper > 0 ? keeper : engine, SIGKILL);
                (void)end_engine(engine);
                if (!rtf_wait_procs(marker, 0, 3000))
                        fail_msg("round %u: %zu processes left", i, rtf_count_procs(marker));
                assert_true(keeper == 0 || wait_gone(keeper));
        }
        assert_false(rtf_mounted(f.dir));
}

int main(int argc, char **argv)
{
        static enum rt_level levels[2];

        rt_child_main(argc, argv, verbs, ARRAY_LEN(verbs));
        size_t n = rtf_levels(levels);
        const struct CMUnitTest tests[] = {
                {"start errors", start_errors, NULL, NULL, NULL},
                {"calls", calls, NULL, teardown, &levels[0]},
                {"kills", kills, NULL, teardown, &levels[0]},
                {"kills at any moment", kills_at_any_moment, NULL, teardown, &levels[0]},
                {"calls in a user namespace", calls, NULL, teardown, &levels[1]},
                {"kills in a user namespace", kills, NULL, teardown, &levels[1]},
                {"kills at any moment in a user namespace", kills_at_any_moment, NULL, teardown,
                 &levels[1]},
        };
        return _cmocka_run_group_tests("runtime_keeper", tests, n == 1 ? 4 : ARRAY_LEN(tests), NULL,
                                       NULL);
}
