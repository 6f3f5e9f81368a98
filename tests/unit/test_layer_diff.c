/* Reading an overlay's upper folder. The oracle is the kernel: a real overlay is mounted, changed,
 * and listed; the layer made from its upper, applied over the lower tree, must give that listing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "layer_fixture.h"

/* $1: the folder of the case, with l1 (bottom), l2 made by `lower`; `step` runs in the mounted
 * root. Afterwards: want (listing of the result), flat (copy of the lower view). */
static const char frame[] =
        "cd $1 && mkdir l1 l2 upper work m flat && umask 022 && (%s) && "
        "find l1 l2 -exec touch -h -d @1600000000 {} + && "
        "unshare -m sh -e -c '"
        "o=%s; cd \"$0\";"
        "mount -t overlay -o $o,lowerdir=l2:l1,upperdir=upper,workdir=work overlay m;"
        "cp -a m/. flat/; cd m; (%s); cd ..; umount m;"
        "mount -t overlay -o $o,lowerdir=upper:l2:l1 overlay m; cd m;"
        "find . -mindepth 1 ! -type s -printf \"%%y %%m %%U:%%G %%P %%l \" -type f -printf \"%%s "
        "%%Ts \""
        " -exec sha256sum {} \\; -o -mindepth 1 ! -type s -printf \"%%Ts\\n\" "
        "| LC_ALL=C sort >../want' $1";

static const char listing[] =
        "cd $1/flat && find . -mindepth 1 ! -type s -printf '%y %m %U:%G %P %l ' -type f -printf "
        "'%s %Ts '"
        " -exec sha256sum {} \\; -o -mindepth 1 ! -type s -printf '%Ts\n' | LC_ALL=C sort";

static bool mounts_work(void)
{
        char *dir;
        int status;

        if (!lf_is_root())
                return false;
        dir = lf_tmpdir();
        status = lf_sh_status("cd $1 && mkdir l u w m && unshare -m mount -t overlay -o "
                              "lowerdir=l,upperdir=u,workdir=w overlay m",
                              dir, NULL, 0);
        lf_rmdir(dir);
        return !status;
}

static void diff(const char *dir, const struct ly_diff_opts *more, struct sb *out)
{
        struct ly_diff_opts o = *more;
        struct ly_sink sink = lf_sink(out);
        struct bld_err err = BLD_ERR_INIT;
        struct sb path = SB_INIT(4096);
        int lowers[2], upper;

        sb_fmt(&path, "%s/l2", dir);
        lowers[0] = lf_open_dir(sb_text(&path));
        path.buf[path.len - 1] = '1';
        lowers[1] = lf_open_dir(sb_text(&path));
        sb_reset(&path);
        sb_fmt(&path, "%s/upper", dir);
        upper = lf_open_dir(sb_text(&path));
        o.lower_fds = lowers;
        o.nlower = 2;
        if (ly_diff_upper(upper, &o, &sink, &err) < 0)
                fail_msg("%s", err.msg);
        close(lowers[0]);
        close(lowers[1]);
        close(upper);
        sb_done(&path);
}

static void apply_flat(const char *dir, const struct sb *tar)
{
        struct lf_mem m = {.p = (unsigned char *)tar->buf, .n = tar->len};
        struct ly_source in = lf_source(&m);
        struct ly_apply_opts o = {.form = LY_TREE_PLAIN, .keep_owner = true};
        struct bld_err err = BLD_ERR_INIT;
        struct sb path = SB_INIT(4096);
        int fd;

        sb_fmt(&path, "%s/flat", dir);
        fd = lf_open_dir(sb_text(&path));
        if (ly_apply(&in, fd, &o, NULL, &err) < 0)
                fail_msg("%s", err.msg);
        close(fd);
        sb_done(&path);
}

/* Type and path of each entry, blanks between. */
static void names(const struct sb *tar, struct sb *out)
{
        struct lf_mem m = {.p = (unsigned char *)tar->buf, .n = tar->len};
        struct ly_source in = lf_source(&m);
        struct ly_reader *r = NULL;
        const struct ly_entry *e;

        assert_int_equal(ly_reader_new(&in, NULL, &r, NULL), 0);
        while (ly_reader_next(r, &e, NULL) == 1)
                sb_fmt(out, "%s%c:%s", out->len ? " " : "", "fdslcbpwo"[e->type], e -> path);
        ly_reader_free(r);
}

#define LOWER                                                                                    \
        "mkdir -p l1/d/sub l1/e l2/d && echo 1 >l1/d/a && echo 1 >l1/d/b && echo 1 >l1/d/sub/x " \
        "&& "                                                                                    \
        "echo 1 >l1/d/sub/y && echo 2 >l2/d/c && echo 1 >l1/e/f && ln -s f l1/e/l && "           \
        "echo 1 >l1/h1 && ln l1/h1 l1/h2"

static const struct {
        const char *name, *step, *want;
} rows[] = {
        {"nothing", "true", ""},
        {"new file", "echo n >d/new", "d:d f:d/new"},
        {"changed", "echo more >>d/a", "d:d f:d/a"},
        {"removed", "rm d/a", "d:d w:d/a"},
        {"new and removed", "echo n >d/n; rm d/n; touch -d @1600000000 d", ""},
        {"folder removed", "rm -r d/sub", "d:d w:d/sub"},
        {"folder from two layers removed", "rm -r d", "w:d"},
        {"folder made again", "rm -r d; mkdir d; echo n >d/a", "d:d w:d/b w:d/c w:d/sub f:d/a"},
        {"folder made again, deep", "rm -r d; mkdir -p d/sub; echo n >d/sub/x",
         "d:d w:d/a w:d/b w:d/c d:d/sub w:d/sub/y f:d/sub/x"},
        {"the same again", "cp -a d d2; rm -r d; mv d2 d", ""},
        {"opened to write", ": >>d/a", ""},
        {"chmod to the same", "chmod 644 d/a", ""},
        {"chown to the same", "chown 0:0 d/a e/l", ""},
        {"chmod", "chmod 600 d/a", "d:d f:d/a"},
        {"chmod of a folder", "chmod 700 d", "d:d"},
        {"touched", "touch d/a", "d:d f:d/a"},
        {"touched within the second", "touch -d @1600000000.5 d/a", ""},
        {"file becomes folder", "rm e/f; mkdir e/f; echo 1 >e/f/g", "d:e d:e/f f:e/f/g"},
        {"folder becomes file", "rm -r d; echo 1 >d", "f:d"},
        {"folder becomes link", "rm -r d; ln -s e d", "s:d"},
        {"hard link to a lower file", "ln d/a d/z", "d:d f:d/a l:d/z"},
        {"one name of two", "echo 2 >>h1", "f:h1"},
        {"new hard links", "echo n >n; ln n d/n; ln n z", "d:d f:d/n l:n l:z"},
        {"linked symlinks", "ln -s t s1; ln s1 s2", "s:s1 l:s2"},
        {"whiteouts first", "rm d/c; echo 1 >d/0; echo 2 >>d/a", "d:d w:d/c f:d/0 f:d/a"},
        {"special files", "mkfifo p; mknod c c 1 3; mknod k b 7 0", "c:c b:k p:p"},
        {"socket", "python3 -c \"import socket; socket.socket(socket.AF_UNIX).bind(\\\"s\\\")\"",
         ""},
        {"order", "echo 1 >b.x; mkdir b; echo 1 >b/y; echo 1 >ba; echo 1 >B",
         "f:B d:b f:b/y f:b.x f:ba"},
        {"swapped", "mv d/a t; mv d/b d/a; mv t d/b", "d:d"},
        {"moved folder", "cp -a d/sub e/; rm -r d/sub",
         "d:d w:d/sub d:e d:e/sub f:e/sub/x f:e/sub/y"},
};

static void run_case(const char *step, const struct ly_diff_opts *o, struct sb *tar)
{
        struct sb script = SB_INIT(65536), want = SB_INIT(LF_MAX), got = SB_INIT(LF_MAX),
                  path = SB_INIT(4096);
        char *dir = lf_tmpdir();

        sb_fmt(&script, frame, LOWER,
               o->form == LY_TREE_OVERLAY_USER ? "userxattr"
                                               : "index=off,metacopy=off,redirect_dir=off",
               step);
        lf_sh(sb_text(&script), dir, NULL, 0, NULL);
        diff(dir, o, tar);
        apply_flat(dir, tar);
        sb_fmt(&path, "%s/want", dir);
        assert_int_equal(file_read(AT_FDCWD, sb_text(&path), &want, NULL), 0);
        lf_sh(listing, dir, NULL, 0, &got);
        if (!o->clamp)
                assert_string_equal(sb_text(&got), sb_text(&want));
        lf_rmdir(dir);
        sb_done(&script);
        sb_done(&want);
        sb_done(&got);
        sb_done(&path);
}

static void run_cases(enum ly_tree_form form)
{
        const struct ly_diff_opts o = {.form = form};

        if (!mounts_work()) {
                print_message("no overlay mounts here\n");
                skip();
        }
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct sb tar = SB_INIT(LF_MAX), text = SB_INIT(LF_MAX);

                print_message("%s\n", rows[i].name);
                run_case(rows[i].step, &o, &tar);
                names(&tar, &text);
                assert_string_equal(sb_text(&text), rows[i].want);
                sb_done(&tar);
                sb_done(&text);
        }
}

static void test_trusted(void **state)
{
        (void)state;
        run_cases(LY_TREE_OVERLAY_TRUSTED);
}

/* What a user namespace has. */
static void test_user(void **state)
{
        (void)state;
        run_cases(LY_TREE_OVERLAY_USER);
}

/* Random steps; only the kernel's verdict counts. */
static void test_random(void **state)
{
        static const char *const ops[] = {"echo $$%u >d/r%u",
                                          "rm -rf d/r%u",
                                          "mkdir -p d/sub/q%u",
                                          "rm -rf d/sub",
                                          "mkdir -p d/sub",
                                          "echo %u >d/sub/x",
                                          "ln -f d/a d/l%u || true",
                                          "mv d/a d/a%u || true",
                                          "cp -a e d/e%u",
                                          "rm -rf d",
                                          "mkdir -p d",
                                          "chmod 7%u5 e",
                                          "touch -d @16%u e/f",
                                          "ln -sf %u e/l",
                                          "rm -f e/f",
                                          "mv e f%u || true",
                                          "mkdir -p e",
                                          "rm -rf f%u",
                                          "cp -a d d%u || true",
                                          "rm -rf d%u"};
        const struct ly_diff_opts o = {.form = LY_TREE_OVERLAY_TRUSTED};
        uint32_t x = 12345;

        (void)state;
        if (!mounts_work())
                skip();
        for (unsigned round = 0; round < 30; round++) {
                struct sb step = SB_INIT(65536), tar = SB_INIT(LF_MAX);

                for (unsigned k = 0; k < 12; k++) {
                        const char *op;
                        char n[12];

                        x = x * 1664525u + 1013904223u;
                        op = ops[(x >> 8) % ARRAY_LEN(ops)];
                        (void)snprintf(n, sizeof(n), "%u", x >> 24 & 7);
                        for (const char *p = op; *p; p++) {
                                if (p[0] == '%' && p[1] == 'u') {
                                        sb_str(&step, n);
                                        p++;
                                } else {
                                        sb_char(&step, *p);
                                }
                        }
                        sb_str(&step, " 2>/dev/null || true\n");
                }
                print_message("round %u\n", round);
                run_case(sb_text(&step), &o, &tar);
                sb_done(&step);
                sb_done(&tar);
        }
}

static void test_clamp(void **state)
{
        const struct ly_diff_opts o = {
                .form = LY_TREE_OVERLAY_TRUSTED, .clamp = true, .clamp_sec = 1500000000};
        struct sb tar = SB_INIT(LF_MAX), text = SB_INIT(LF_MAX);

        (void)state;
        if (!mounts_work())
                skip();
        /* Touching is no change where times are clamped anyway. */
        run_case("touch d/a; echo n >e/n", &o, &tar);
        assert_int_equal(lf_list(tar.buf, tar.len, 0, &text, NULL), 0);
        assert_string_equal(sb_text(&text), "d 0755 0:0 0 1500000000000000000 e\n"
                                            "f 0644 0:0 2 1500000000000000000 e/n\n");
        sb_done(&tar);
        sb_done(&text);
}

/* The whole of a plain tree, without privileges. */
static void test_tree(void **state)
{
        const struct ly_diff_opts o = {.form = LY_TREE_PLAIN};
        struct sb tar = SB_INIT(LF_MAX), text = SB_INIT(LF_MAX);
        struct ly_sink sink = lf_sink(&tar);
        struct bld_err err = BLD_ERR_INIT;
        char *dir = lf_tmpdir();
        int fd;

        (void)state;
        lf_sh("cd $1 && mkdir -p b/c && echo x >b/c/d && echo y >a && ln a b/a && ln -s x b/s", dir,
              NULL, 0, NULL);
        fd = lf_open_dir(dir);
        assert_int_equal(ly_diff_upper(fd, &o, &sink, &err), 0);
        close(fd);
        names(&tar, &text);
        assert_string_equal(sb_text(&text), "f:a d:b l:b/a d:b/c f:b/c/d s:b/s");
        lf_rmdir(dir);
        sb_done(&tar);
        sb_done(&text);
}

/* Folders nested beyond the number of handles a process may have. */
static void test_deep(void **state)
{
        const struct ly_diff_opts o = {.form = LY_TREE_PLAIN};
        struct sb tar = SB_INIT(LF_MAX), text = SB_INIT(LF_MAX);
        struct ly_sink sink = lf_sink(&tar);
        struct bld_err err = BLD_ERR_INIT;
        char *dir = lf_tmpdir();
        int fd;

        (void)state;
        lf_sh("cd $1 && python3 -c 'import os\nfor i in range(1900):\n os.mkdir(\"d\");"
              " open(\"f\",\"w\").close(); os.chdir(\"d\")'",
              dir, NULL, 0, NULL);
        fd = lf_open_dir(dir);
        if (ly_diff_upper(fd, &o, &sink, &err) < 0)
                fail_msg("%s", err.msg);
        close(fd);
        assert_int_equal(lf_list(tar.buf, tar.len, 0, &text, &err), 0);
        lf_sh("rm -rf $1/d", dir, NULL, 0, NULL);
        lf_rmdir(dir);
        dir = lf_tmpdir();
        fd = lf_open_dir(dir);
        {
                struct lf_mem m = {.p = (unsigned char *)tar.buf, .n = tar.len};
                struct ly_source in = lf_source(&m);
                struct ly_apply_opts ao = {.form = LY_TREE_PLAIN};

                if (ly_apply(&in, fd, &ao, NULL, &err) < 0)
                        fail_msg("%s", err.msg);
        }
        close(fd);
        lf_sh("rm -rf $1/d", dir, NULL, 0, NULL);
        lf_rmdir(dir);
        sb_done(&tar);
        sb_done(&text);
}

static void add_stub(struct ly_stub *s, const char *dir, const char *path, bool keep,
                     int64_t parent_ns)
{
        struct sb full = SB_INIT(8192);
        struct stat st;

        sb_fmt(&full, "%s/upper/%s", dir, path);
        assert_int_equal(lstat(sb_text(&full), &st), 0);
        assert_true(str_copy(s->path, sizeof(s->path), path));
        s->ino = st.st_ino;
        s->is_dir = S_ISDIR(st.st_mode);
        s->keep = keep;
        s->parent_mtime_ns = parent_ns;
        sb_done(&full);
}

/* Mount points bld made: gone, unless the step used the folder they were made in. */
static void test_stubs(void **state)
{
        static const struct {
                const char *name, *step, *want;
        } cases[] = {
                {"untouched", "true", "d:proc"},
                {"step adds beside", "echo n >run/mine", "d:proc d:run f:run/mine"},
                {"step adds below the lower", "echo n >etc/n", "d:etc f:etc/n d:proc"},
                {"step fills the file", "echo n >etc/resolv.conf",
                 "d:etc f:etc/resolv.conf d:proc"},
        };
        const int64_t t = INT64_C(1600000000) * 1000000000;

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                struct ly_stub *stubs = calloc(4, sizeof(*stubs));
                struct ly_diff_opts o = {.form = LY_TREE_PLAIN, .stubs = stubs, .nstubs = 4};
                struct sb tar = SB_INIT(LF_MAX), text = SB_INIT(LF_MAX), script = SB_INIT(4096);
                char *dir = lf_tmpdir();

                print_message("%s\n", cases[i].name);
                assert_non_null(stubs);
                lf_sh("cd $1 && umask 022 && mkdir -p l1/etc l2 upper/etc && "
                      "touch -d @1600000000 l1/etc && : >upper/etc/resolv.conf && "
                      "mkdir -p upper/proc upper/run/secrets && : >upper/run/secrets/x",
                      dir, NULL, 0, NULL);
                add_stub(&stubs[0], dir, "etc/resolv.conf", false, t);
                add_stub(&stubs[1], dir, "proc", true, t);
                add_stub(&stubs[2], dir, "run", false, t);
                add_stub(&stubs[3], dir, "run/secrets/x", false, t);
                sb_fmt(&script, "sleep 0.03; cd $1/upper && %s", cases[i].step);
                /* run/secrets is a stub's folder, too. */
                stubs = realloc(stubs, 5 * sizeof(*stubs));
                assert_non_null(stubs);
                memset(&stubs[4], 0, sizeof(stubs[4]));
                add_stub(&stubs[4], dir, "run/secrets", false, t);
                o.stubs = stubs;
                o.nstubs = 5;
                lf_sh(sb_text(&script), dir, NULL, 0, NULL);
                diff(dir, &o, &tar);
                names(&tar, &text);
                assert_string_equal(sb_text(&text), cases[i].want);
                free(stubs);
                lf_rmdir(dir);
                sb_done(&tar);
                sb_done(&text);
                sb_done(&script);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_trusted), cmocka_unit_test(test_user),
                cmocka_unit_test(test_random),  cmocka_unit_test(test_clamp),
                cmocka_unit_test(test_tree),    cmocka_unit_test(test_deep),
                cmocka_unit_test(test_stubs),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
