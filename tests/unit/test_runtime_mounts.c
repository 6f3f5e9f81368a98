/* RUN --mount in all kinds, and images that lay traps for the mounts of a step. */
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "runtime/runtime_priv.h"
#include "runtime_fixture.h"

static struct rtf f;

/* Run a script with mounts over the given layers; the exit status, output in out. */
static int with(const char *text, const struct rt_mount *m, size_t n, const char *const *lowers,
                size_t nlowers, struct sb *out, struct bld_err *err)
{
        struct rt_result res = {0};
        struct rtf_step st;
        int r;

        rtf_step_init(&f, &st, text);
        st.s.mounts = m;
        st.s.nmounts = n;
        if (lowers) {
                st.s.lowers = lowers;
                st.s.nlowers = nlowers;
        }
        r = rtf_run(&f, &st, NULL, out, &res, err);
        if (r < 0)
                return r;
        r = res.wait_status;
        rt_result_done(&res);
        return r;
}

static void expect(const char *name, const char *text, const struct rt_mount *m, size_t n,
                   const char *want)
{
        struct bld_err err = BLD_ERR_INIT;
        struct sb out;
        int r = with(text, m, n, NULL, 0, &out, &err);

        print_message("# %s\n", name);
        if (r != 0 || !str_eq(sb_text(&out), want))
                fail_msg("%s: %d, output \"%s\" %s", name, r, sb_text(&out), err.msg);
        sb_done(&out);
}

static void cache(void)
{
        const struct rt_mount m = {
                .kind = RT_MOUNT_CACHE, .target = "/var/cache/x", .source = "mounts/c"};
        const struct rt_mount sel = {
                .kind = RT_MOUNT_CACHE, .target = "/c", .source = "mounts/c", .selector = "sub"};
        const struct rt_mount ro = {
                .kind = RT_MOUNT_CACHE, .target = "/c", .source = "mounts/c", .readonly = true};

        rtf_mkdir(&f, "mounts/c");
        expect("cache is written", "mkdir /var/cache/x/sub; echo 1 > /var/cache/x/sub/f", &m, 1,
               "");
        expect("cache lasts", "cat /var/cache/x/sub/f", &m, 1, "1\n");
        expect("cache selected", "cat /c/f", &sel, 1, "1\n");
        expect("cache read-only", "touch /c/g 2>/dev/null || ls /c", &ro, 1, "sub\n");
}

static void bind(void)
{
        static const char *const chain[] = {"snapshots/l1/fs", "snapshots/l2/fs"};
        const struct rt_mount ro = {.kind = RT_MOUNT_BIND,
                                    .target = "/src",
                                    .readonly = true,
                                    .source = "snapshots/l1/fs"};
        const struct rt_mount rw = {
                .kind = RT_MOUNT_BIND, .target = "/src", .source = "snapshots/l1/fs"};
        const struct rt_mount file = {.kind = RT_MOUNT_BIND,
                                      .target = "/etc/one",
                                      .readonly = true,
                                      .source = "snapshots/l1/fs",
                                      .selector = "/d/one"};
        const struct rt_mount sum = {.kind = RT_MOUNT_BIND,
                                     .target = "/src",
                                     .readonly = true,
                                     .lowers = chain,
                                     .nlowers = 2,
                                     .selector = "d"};
        const struct rt_mount sum_rw = {
                .kind = RT_MOUNT_BIND, .target = "/src", .lowers = chain, .nlowers = 2};
        struct stat st;

        rtf_mkdir(&f, "snapshots/l1/fs/d");
        rtf_mkdir(&f, "snapshots/l2/fs/d");
        rtf_file(&f, "snapshots/l1/fs/d/one", "1\n");
        rtf_file(&f, "snapshots/l2/fs/d/two", "2\n");
        expect("bind is read-only", "cat /src/d/one; touch /src/x 2>/dev/null || echo no", &ro, 1,
               "1\nno\n");
        expect("bind with writes", "echo x > /src/d/one; touch /src/new; cat /src/d/one", &rw, 1,
               "x\n");
        expect("writes are thrown away", "cat /src/d/one", &ro, 1, "1\n");
        assert_int_not_equal(fstatat(f.store_fd, "snapshots/l1/fs/new", &st, 0), 0);
        expect("bind of a file", "cat /etc/one", &file, 1, "1\n");
        expect("bind of a chain", "cat /src/one /src/two", &sum, 1, "1\n2\n");
        expect("bind of a chain with writes", "cat /src/d/one /src/d/two; rm -r /src/d; ls /src",
               &sum_rw, 1, "1\n2\n");
}

static void files(void)
{
        const struct rt_mount secret = {.kind = RT_MOUNT_FILE,
                                        .target = "/run/secrets/s",
                                        .data = "se\0cret",
                                        .data_len = 7,
                                        .mode = 0400,
                                        .uid = 1000,
                                        .gid = 4,
                                        .readonly = true};
        const struct rt_mount dir = {.kind = RT_MOUNT_FILE,
                                     .target = "/dev/pipes",
                                     .is_dir = true,
                                     .selector = "EOF",
                                     .data = "#!/bin/sh\necho hi\n",
                                     .data_len = 18,
                                     .mode = 0755,
                                     .readonly = true};
        const struct rt_mount tmp[] = {
                {.kind = RT_MOUNT_TMPFS, .target = "/t", .size_bytes = 65536},
                {.kind = RT_MOUNT_TMPFS, .target = "/t/inner"}};
        struct bld_err err = BLD_ERR_INIT;
        struct sb out;

        expect("secret", "wc -c < /run/secrets/s; stat -c '%a %u %g' /run/secrets/s", &secret, 1,
               "7\n400 1000 4\n");
        expect("secret is read-only", "echo x > /run/secrets/s || echo no; exit 0", &secret, 1,
               "/bin/sh: can't create /run/secrets/s: Read-only file system\nno\n");
        expect("file in a folder", "/dev/pipes/EOF", &dir, 1, "hi\n");
        expect("tmpfs",
               "stat -c %a /t; touch /t/inner/x; dd if=/dev/zero of=/t/f bs=100k count=1 "
               "2>/dev/null || echo full",
               tmp, 2, "1777\nfull\n");
        assert_int_equal(with("ls /run", NULL, 0, NULL, 0, &out, &err), 1 << 8);
        sb_done(&out);
}

static void source_errors(void)
{
        static const struct {
                const char *name, *source, *selector;
        } bad[] = {{"leaves the store", "../..", NULL},
                   {"absolute", "/etc", NULL},
                   {"through a link", "mounts/link", NULL},
                   {"not there", "mounts/none", NULL},
                   {"selector not there", "snapshots/l1/fs", "none"}};

        assert_int_equal(symlinkat("/etc", f.store_fd, "mounts/link"), 0);
        for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
                const struct rt_mount m = {.kind = RT_MOUNT_BIND,
                                           .target = "/x",
                                           .readonly = true,
                                           .source = bad[i].source,
                                           .selector = bad[i].selector};
                struct bld_err err = BLD_ERR_INIT;
                print_message("# %s\n", bad[i].name);
                assert_true(with("true", &m, 1, NULL, 0, NULL, &err) < 0);
                assert_true(err.code < 0 && err.msg[0]);
        }
        /* A link inside the source that leads out of it stays inside. */
        rtf_mkdir(&f, "snapshots/l3/fs");
        assert_int_equal(symlinkat("/etc", f.store_fd, "snapshots/l3/fs/out"), 0);
        const struct rt_mount m = {.kind = RT_MOUNT_BIND,
                                   .target = "/x",
                                   .readonly = true,
                                   .source = "snapshots/l3/fs",
                                   .selector = "out/passwd"};
        struct bld_err err = BLD_ERR_INIT;
        assert_int_equal(with("true", &m, 1, NULL, 0, NULL, &err), BLD_E_NOT_FOUND);
}

/* ---- hostile images: a layer on top of the base ---- */

struct trap {
        const char *name, *link, *target, *mount_target, *script;
        int want; /* exit status, or an error code */
        const char *output;
};

static void traps(void)
{
        static const struct trap t[] = {
                {"resolv.conf points outside", "etc/resolv.conf", "/../../../../etc/shadow", NULL,
                 "grep -c nameserver /etc/shadow; ls /etc | tr '\\n' ' '", 0,
                 "1\ngroup hosts passwd resolv.conf shadow "},
                {"resolv.conf dangles", "etc/resolv.conf", "../run/systemd/resolve/stub.conf", NULL,
                 "grep -c nameserver /run/systemd/resolve/stub.conf", 0, "1\n"},
                {"resolv.conf is a loop", "etc/resolv.conf", "resolv.conf", NULL, "true", BLD_E_SYS,
                 NULL},
                {"hosts points to another file", "etc/hosts", "passwd", NULL,
                 "echo $HOME; grep -c localhost /etc/passwd", 0, "/root\n2\n"},
                {"/proc is a link to /", "proc", "/", NULL, "true", BLD_E_INVALID, NULL},
                {"/dev is a link", "dev", "etc", NULL, "true", BLD_E_INVALID, NULL},
                {"/sys is a link", "sys", "../../..", NULL, "true", BLD_E_INVALID, NULL},
                {"target through a link to /", "l", "/", "/l/a/b", "ls -d /a/b", 0, "/a/b\n"},
                {"target climbs", "l", "../../../../..", "/l/tmp/b", "ls -d /tmp/b", 0, "/tmp/b\n"},
                {"target is a dangling link", "l", "/x/y", "/l", "ls -d /x/y", 0, "/x/y\n"},
                {"target below a file", "l", "/etc/passwd", "/l/x", "true", BLD_E_SYS, NULL},
                {"links for ever", "l", "/l/l", "/l", "true", BLD_E_SYS, NULL},
        };

        for (size_t i = 0; i < ARRAY_LEN(t); i++) {
                const char *lowers[2] = {"snapshots/base/fs", NULL};
                const struct rt_mount m = {.kind = RT_MOUNT_TMPFS, .target = t[i].mount_target};
                struct bld_err err = BLD_ERR_INIT;
                char layer[64], path[128];
                struct sb out;

                (void)snprintf(layer, sizeof(layer), "snapshots/trap%zu/fs", i);
                lowers[1] = layer;
                (void)snprintf(path, sizeof(path), "%s/etc", layer);
                rtf_mkdir(&f, path);
                (void)snprintf(path, sizeof(path), "%s/%s", layer, t[i].link);
                assert_int_equal(symlinkat(t[i].target, f.store_fd, path), 0);
                int r = with(t[i].script, &m, t[i].mount_target ? 1 : 0, lowers, 2, &out, &err);
                print_message("# %s %s\n", t[i].name, err.msg);
                if (r != t[i].want || (t[i].output && !str_eq(sb_text(&out), t[i].output)))
                        fail_msg("%s: %d, output \"%s\" %s", t[i].name, r, sb_text(&out), err.msg);
                sb_done(&out);
        }
}

/* passwd as a FIFO or a device must not stop or fool init. */
static void odd_passwd(void)
{
        const char *lowers[2] = {"snapshots/base/fs", "snapshots/fifo/fs"};
        struct bld_err err = BLD_ERR_INIT;

        rtf_mkdir(&f, "snapshots/fifo/fs/etc");
        assert_int_equal(mkfifoat(f.store_fd, "snapshots/fifo/fs/etc/passwd", 0644), 0);
        assert_int_equal(with("true", NULL, 0, lowers, 2, NULL, &err), BLD_E_INVALID);
        print_message("# %s\n", err.msg);
}

static void many_layers(void)
{
        enum { N = 120 };
        static char names[N][40];
        const char *lowers[N + 1] = {"snapshots/base/fs"};
        struct bld_err err = BLD_ERR_INIT;
        char path[128];
        struct sb out;

        for (size_t i = 0; i < N; i++) {
                (void)snprintf(names[i], sizeof(names[i]), "snapshots/many%zu/fs", i);
                (void)snprintf(path, sizeof(path), "snapshots/many%zu/fs/m", i);
                rtf_mkdir(&f, path);
                (void)snprintf(path, sizeof(path), "snapshots/many%zu/fs/m/%zu", i, i);
                rtf_file(&f, path, "");
                lowers[i + 1] = names[i];
        }
        assert_int_equal(with("ls /m | wc -l", NULL, 0, lowers, N + 1, &out, &err), 0);
        assert_string_equal(sb_text(&out), "120\n");
        sb_done(&out);
}

static void write_self(const char *name, const char *text)
{
        char path[64];
        int fd;

        (void)snprintf(path, sizeof(path), "/proc/self/%s", name);
        fd = open(path, O_WRONLY | O_CLOEXEC);
        if (fd < 0 || write(fd, text, strlen(text)) < 0)
                _exit(4);
        close(fd);
}

/* mount(2) as kernels before 6.5 need it, with more layers than a page of paths could name. */
static void old_overlay(void **state)
{
        enum { N = 300 };
        static char names[N][40];
        const char *lowers[N];
        struct ovl_opts o = {.lowers = lowers,
                             .nlowers = N,
                             .upper = "up",
                             .work = "wk",
                             .user_xattr = geteuid() != 0};
        int status;
        pid_t pid;

        rtf_open(&f, *(enum rt_level *)*state);
        rtf_mkdir(&f, "up");
        rtf_mkdir(&f, "wk");
        rtf_mkdir(&f, "at");
        for (size_t i = 0; i < N; i++) {
                (void)snprintf(names[i], sizeof(names[i]), "snapshots/old%zu/fs", i);
                rtf_mkdir(&f, names[i]);
                lowers[i] = names[i];
        }
        rtf_file(&f, "snapshots/old0/fs/x", "bottom");
        rtf_file(&f, "snapshots/old299/fs/x", "top");
        pid = fork();
        if (pid == 0) {
                struct bld_err err = BLD_ERR_INIT;
                struct sb b = SB_INIT(100);
                int ns = CLONE_NEWNS | (geteuid() ? CLONE_NEWUSER : 0);
                const uid_t uid = geteuid();
                const gid_t gid = getegid();
                char map[32];
                if (fchdir(f.store_fd) < 0 || unshare(ns) < 0 ||
                    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
                        _exit(2);
                if (ns & CLONE_NEWUSER) {
                        write_self("setgroups", "deny");
                        (void)snprintf(map, sizeof(map), "0 %u 1\n", uid);
                        write_self("uid_map", map);
                        (void)snprintf(map, sizeof(map), "0 %u 1\n", gid);
                        write_self("gid_map", map);
                }
                int at = open("at", O_PATH | O_DIRECTORY | O_CLOEXEC);
                if (ovl_mount_old(&o, at, &err) < 0) {
                        print_message("# %s\n", err.msg);
                        _exit(3);
                }
                _exit(file_read(AT_FDCWD, "at/x", &b, &err) < 0 || !str_eq(sb_text(&b), "top"));
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
}

static void all(void **state)
{
        rtf_open(&f, *(enum rt_level *)*state);
        cache();
        bind();
        files();
        source_errors();
        traps();
        odd_passwd();
        many_layers();
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
                {"mounts", all, NULL, teardown, &levels[0]},
                {"overlay by mount(2)", old_overlay, NULL, teardown, &levels[0]},
                {"mounts in a user namespace", all, NULL, teardown, &levels[1]},
        };
        return _cmocka_run_group_tests("runtime_mounts", tests, n == 1 ? 2 : ARRAY_LEN(tests), NULL,
                                       NULL);
}
