/* Tar streams onto the disk: what comes out, and that nothing comes out elsewhere. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "layer_fixture.h"

#define MAX_ENTRIES 12

static int apply(const struct sb *tar, const char *dir, enum ly_tree_form form,
                 struct ly_apply_stats *st, struct bld_err *err)
{
        struct lf_mem m = {.p = (unsigned char *)tar->buf, .n = tar->len, .step = 1000};
        struct ly_source in = lf_source(&m);
        struct ly_apply_opts o = {.form = form, .keep_owner = lf_is_root()};
        AUTO_FD int fd = lf_open_dir(dir);

        return ly_apply(&in, fd, &o, st, err);
}

/* A listing both we and `tar -x` must give. */
static void list(const char *dir, struct sb *out)
{
        lf_sh("cd \"$1\" && find . -mindepth 1 ! -type d -printf '%y %m %U:%G %s %T@ %n %P %l\n'"
              " -o -type d -printf '%y %m %U:%G %T@ %P\n' | LC_ALL=C sort -k7 | LC_ALL=C sort",
              dir, NULL, 0, out);
}

/* The same archive by us and by GNU tar. */
static void test_like_tar(void **state)
{
        static const char make[] =
                "mkdir -p $1/src/d/e $1/src/ro $1/us $1/tar && cd $1/src && echo hi >d/f &&"
                "head -c 300000 /dev/urandom >d/big && ln d/big d/e/hard && ln -s ../f d/e/sym &&"
                "ln -s /etc/passwd abs && mkfifo d/p && chmod 4755 d/f && chmod 2775 d/e &&"
                "chmod 1777 d && : >ro/x && chmod 400 ro/x && chmod 555 ro &&"
                "truncate -s 5M d/sparse && printf end >>d/sparse && truncate -s 6M d/sparse &&"
                "if [ $(id -u) = 0 ]; then chown 12:34 d/f d/e && mknod null c 1 3; fi;"
                "find . -exec touch -h -d @1600000000 {} + && "
                "tar -cf $1/t.tar --sparse --format=$FORMAT . &&"
                "tar -xpf $1/t.tar -C $1/tar --numeric-owner";
        static const char *const formats[] = {"gnu", "oldgnu", "posix --sparse-version=0.0",
                                              "posix --sparse-version=0.1",
                                              "posix --sparse-version=1.0"};

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
                char *dir = lf_tmpdir();
                struct sb script = SB_INIT(8192), path = SB_INIT(4096), tar = SB_INIT(LF_MAX),
                          want = SB_INIT(LF_MAX), got = SB_INIT(LF_MAX);
                struct bld_err err = BLD_ERR_INIT;
                struct ly_apply_stats st;

                print_message("%s\n", formats[i]);
                sb_fmt(&script, "umask 022; FORMAT='%s'; %s", formats[i], "");
                sb_str(&script, make);
                lf_sh(sb_text(&script), dir, NULL, 0, NULL);
                sb_fmt(&path, "%s/t.tar", dir);
                assert_int_equal(file_read(AT_FDCWD, sb_text(&path), &tar, &err), 0);
                sb_reset(&path);
                sb_fmt(&path, "%s/us", dir);
                if (apply(&tar, sb_text(&path), LY_TREE_PLAIN, &st, &err) < 0)
                        fail_msg("%s", err.msg);
                list(sb_text(&path), &got);
                sb_reset(&path);
                sb_fmt(&path, "%s/tar", dir);
                list(sb_text(&path), &want);
                assert_true(want.len > 500);
                assert_string_equal(sb_text(&got), sb_text(&want));
                lf_sh("diff -r --no-dereference -x p -x null $1/us $1/tar && "
                      "test $(du -k $1/us/d/sparse | cut -f1) -lt 1000",
                      dir, NULL, 0, NULL);
                lf_rmdir(dir);
                sb_done(&script);
                sb_done(&path);
                sb_done(&tar);
                sb_done(&want);
                sb_done(&got);
        }
}

#define D(p)                                              \
        {                                                 \
                .path = (p), .type = LY_DIR, .mode = 0755 \
        }
#define F(p)                                                          \
        {                                                             \
                .path = (p), .type = LY_FILE, .mode = 0644, .size = 4 \
        }
#define S(p, t)                                                            \
        {                                                                  \
                .path = (p), .type = LY_SYMLINK, .mode = 0777, .link = (t) \
        }
#define H(p, t)                                                             \
        {                                                                   \
                .path = (p), .type = LY_HARDLINK, .mode = 0644, .link = (t) \
        }

static char a[] = "a", ab[] = "a/b", abc[] = "a/b/c", b[] = "b", out1[] = "../../outside",
            out2[] = "/outside", c[] = "c", af[] = "a/f", dot[] = ".", proc[] = "/proc/self/cwd",
            root[] = "/", loop[] = "a";

/* $1/root is the tree, $1/outside a folder with a file that must stay as it is. */
static const struct {
        const char *name;
        struct ly_entry v[MAX_ENTRIES];
        size_t n;
        int code;          /* 0 or the error */
        const char *there; /* shell test to hold afterwards, in $1/root */
} hostile[] = {
        {"file through a link that leaves", {S(a, out1), F(ab)}, 2, 0, "test -f outside/b"},
        {"file through an absolute link", {S(a, out2), F(ab)}, 2, 0, "test -f outside/b"},
        {"file over a link", {S(a, out2), F(a)}, 2, 0, "test -f a -a ! -L a"},
        {"folder over a link", {S(a, out2), D(a), F(ab)}, 3, 0, "test -d a -a ! -L a -a -f a/b"},
        {"link over a folder", {D(a), F(ab), S(a, out2), F(ab)}, 4, 0, "test -L a -a -f outside/b"},
        {"hard link through a link", {D(b), S(a, out2), H(c, af)}, 3, BLD_E_CORRUPT, NULL},
        {"hard link to a folder", {D(a), H(b, a)}, 2, BLD_E_CORRUPT, NULL},
        {"hard link to itself", {F(a), H(a, a)}, 2, BLD_E_CORRUPT, NULL},
        {"hard link to a symlink", {S(a, out2), H(b, a)}, 2, 0, "test -L b"},
        {"write through a hard link to a symlink",
         {S(a, out2), H(b, a), F(b)},
         3,
         0,
         "test -f b -a ! -L b -a -L a"},
        {"magic link", {S(a, proc), F(ab)}, 2, 0, "test -f proc/self/cwd/b"},
        {"root link", {S(a, root), F(ab)}, 2, 0, "test -f b"},
        {"loop", {S(a, loop), F(ab)}, 2, BLD_E_CORRUPT, NULL},
        {"below a file", {F(a), F(ab)}, 2, BLD_E_CORRUPT, NULL},
        {"file over a folder", {D(a), D(ab), F(abc), F(a)}, 4, 0, "test -f a"},
        {"missing parents", {F(abc)}, 1, 0, "test -f a/b/c -a $(stat -c %a a/b) = 755"},
        {"link to the folder itself", {S(a, dot), F(ab)}, 2, 0, "test -f b"},
};

static void test_hostile(void **state)
{
        static const char setup[] = "mkdir $1/root $1/outside && echo safe >$1/outside/f";

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(hostile); i++) {
                char *dir = lf_tmpdir();
                struct sb tar = SB_INIT(LF_MAX), path = SB_INIT(4096), script = SB_INIT(4096);
                struct bld_err err = BLD_ERR_INIT;
                int r;

                print_message("%s\n", hostile[i].name);
                lf_sh(setup, dir, NULL, 0, NULL);
                lf_tar(hostile[i].v, hostile[i].n, &tar);
                sb_fmt(&path, "%s/root", dir);
                r = apply(&tar, sb_text(&path), LY_TREE_PLAIN, NULL, &err);
                if (r != hostile[i].code)
                        fail_msg("%d: %s", r, err.msg);
                if (hostile[i].there) {
                        sb_fmt(&script, "cd $1/root && %s", hostile[i].there);
                        lf_sh(sb_text(&script), dir, NULL, 0, NULL);
                }
                lf_sh("cd $1 && test \"$(ls) $(ls outside)\" = 'outside\nroot f' && "
                      "test $(cat outside/f) = safe && test $(stat -c %h outside/f) = 1",
                      dir, NULL, 0, NULL);
                lf_rmdir(dir);
                sb_done(&tar);
                sb_done(&path);
                sb_done(&script);
        }
}

static void put_lower(const char *dir)
{
        lf_sh("mkdir -p $1/root/a/b $1/root/keep && cd $1/root && echo 1 >a/f && echo 1 >a/b/c &&"
              "echo 1 >keep/x && ln -s a/b ln",
              dir, NULL, 0, NULL);
}

static char w_af[] = "a/f", w_a[] = "a", w_ln[] = "ln/c", anew[] = "a/new", none[] = "no/such";

static const struct {
        const char *name;
        struct ly_entry v[MAX_ENTRIES];
        size_t n;
        const char *want; /* find's listing */
} plain[] = {
        {"file", {{.path = w_af, .type = LY_WHITEOUT}}, 1, "a a/b a/b/c keep keep/x ln"},
        {"folder", {{.path = w_a, .type = LY_WHITEOUT}}, 1, "keep keep/x ln"},
        {"through a link", {{.path = w_ln, .type = LY_WHITEOUT}}, 1, "a a/b a/f keep keep/x ln"},
        {"of nothing", {{.path = none, .type = LY_WHITEOUT}}, 1, "a a/b a/b/c a/f keep keep/x ln"},
        {"opaque before",
         {D(a), {.path = w_a, .type = LY_OPAQUE}, F(anew)},
         3,
         "a a/new keep keep/x ln"},
        {"opaque after",
         {D(a), F(anew), {.path = w_a, .type = LY_OPAQUE}},
         3,
         "a a/new keep keep/x ln"},
        {"opaque, deep",
         {F(abc), {.path = w_a, .type = LY_OPAQUE}},
         2,
         "a a/b a/b/c keep keep/x ln"},
        {"whiteout, then again",
         {{.path = w_a, .type = LY_WHITEOUT}, D(a), F(anew)},
         3,
         "a a/new keep keep/x ln"},
        {"again, then whiteout",
         {D(a), F(anew), {.path = w_a, .type = LY_WHITEOUT}},
         3,
         "a a/new keep keep/x ln"},
        {"own file spared",
         {F(w_af), {.path = w_af, .type = LY_WHITEOUT}},
         2,
         "a a/b a/b/c a/f keep keep/x ln"},
};

static void test_whiteouts_plain(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(plain); i++) {
                char *dir = lf_tmpdir();
                struct sb tar = SB_INIT(LF_MAX), path = SB_INIT(4096), got = SB_INIT(LF_MAX);
                struct bld_err err = BLD_ERR_INIT;

                print_message("%s\n", plain[i].name);
                put_lower(dir);
                lf_tar(plain[i].v, plain[i].n, &tar);
                sb_fmt(&path, "%s/root", dir);
                if (apply(&tar, sb_text(&path), LY_TREE_PLAIN, NULL, &err) < 0)
                        fail_msg("%s", err.msg);
                lf_sh("cd $1/root && find . -mindepth 1 -printf '%P\n' | LC_ALL=C sort | paste "
                      "-sd' ' "
                      "| tr -d '\n'",
                      dir, NULL, 0, &got);
                assert_string_equal(sb_text(&got), plain[i].want);
                lf_rmdir(dir);
                sb_done(&tar);
                sb_done(&path);
                sb_done(&got);
        }
}

static bool is_opaque(const char *dir, const char *name)
{
        struct sb path = SB_INIT(4096);
        char v = 0;
        bool r;

        sb_fmt(&path, "%s/%s", dir, name);
        r = getxattr(sb_text(&path),
                     lf_is_root() ? "trusted.overlay.opaque" : "user.overlay.opaque", &v, 1) == 1 &&
            v == 'y';
        sb_done(&path);
        return r;
}

static void test_whiteouts_overlay(void **state)
{
        static char gone[] = "a/gone", d2[] = "d2", d2f[] = "d2/f", d3[] = "d3", d4[] = "d4",
                    d4f[] = "d4/e/f";
        const struct ly_entry v[] = {
                D(a),
                {.path = gone, .type = LY_WHITEOUT},
                {.path = d2, .type = LY_WHITEOUT},
                D(d2),
                F(d2f),
                D(d3),
                {.path = d3, .type = LY_OPAQUE},
                D(b),
                {.path = b, .type = LY_WHITEOUT},
                /* A folder of that name again, which no entry describes. */
                {.path = d4, .type = LY_WHITEOUT},
                F(d4f),
        };
        struct sb tar = SB_INIT(LF_MAX), got = SB_INIT(LF_MAX);
        struct bld_err err = BLD_ERR_INIT;
        struct ly_apply_stats st;
        char *dir = lf_tmpdir();

        (void)state;
        lf_tar(v, ARRAY_LEN(v), &tar);
        /* Whiteout nodes need no privilege (Linux 5.8), trusted attributes do. */
        if (apply(&tar, dir, lf_is_root() ? LY_TREE_OVERLAY_TRUSTED : LY_TREE_OVERLAY_USER, &st,
                  &err) < 0)
                fail_msg("%s", err.msg);
        lf_sh("cd $1 && find . -mindepth 1 -printf '%y %P\n' | LC_ALL=C sort;"
              "stat -c %t:%T a/gone",
              dir, NULL, 0, &got);
        assert_string_equal(sb_text(&got), "c a/gone\nd a\nd b\nd d2\nd d3\nd d4\nd d4/e\nf d2/f\n"
                                           "f d4/e/f\n0:0\n");
        assert_false(is_opaque(dir, "a"));
        assert_true(is_opaque(dir, "b"));
        assert_true(is_opaque(dir, "d2"));
        assert_true(is_opaque(dir, "d3"));
        assert_true(is_opaque(dir, "d4"));
        assert_false(is_opaque(dir, "d4/e"));
        assert_false(st.opaque_root);
        lf_rmdir(dir);
        sb_done(&tar);
        sb_done(&got);
}

/* Folder modes and times are what the layer says, though files are made in them later. */
static void test_folder_times(void **state)
{
        static char d[] = "d", dx[] = "d/x", dd[] = "d/d", ddx[] = "d/d/x";
        const struct ly_entry v[] = {
                {.path = d, .type = LY_DIR, .mode = 0500, .mtime_ns = INT64_C(1000000000)},
                {.path = dd, .type = LY_DIR, .mode = 02111, .mtime_ns = -INT64_C(1000000000)},
                F(dx),
                F(ddx),
                {.path = d, .type = LY_DIR, .mode = 0510, .mtime_ns = INT64_C(7000000000)},
        };
        struct sb tar = SB_INIT(LF_MAX), got = SB_INIT(4096);
        struct bld_err err = BLD_ERR_INIT;
        char *dir = lf_tmpdir();

        (void)state;
        lf_tar(v, ARRAY_LEN(v), &tar);
        if (apply(&tar, dir, LY_TREE_PLAIN, NULL, &err) < 0)
                fail_msg("%s", err.msg);
        lf_sh("chmod u+x $1/d; stat -c '%a %Y' $1/d $1/d/d; chmod -R u+rwx $1", dir, NULL, 0, &got);
        assert_string_equal(sb_text(&got), "510 7\n2111 -1\n");
        lf_rmdir(dir);
        sb_done(&tar);
        sb_done(&got);
}

/* A layer without its parents, made whole from the view below. */
static void test_complete(void **state)
{
        static char usr[] = "usr", bin[] = "usr/bin", ln[] = "bin", to[] = "usr/bin",
                    sh[] = "bin/sh", h[] = "bin/ash", deep[] = "new/er/f", etc[] = "etc",
                    etcf[] = "etc/f";
        const struct ly_entry low[] = {{.path = usr, .type = LY_DIR, .mode = 0750, .uid = 5},
                                       {.path = bin, .type = LY_DIR, .mode = 0711, .uid = 6},
                                       {.path = ln, .type = LY_SYMLINK, .mode = 0777, .link = to},
                                       {.path = etc, .type = LY_DIR, .mode = 0700, .uid = 7}};
        const struct ly_entry up[] = {
                F(sh), H(h, sh), F(deep), {.path = etc, .type = LY_WHITEOUT}, F(etcf)};
        struct sb lt = SB_INIT(LF_MAX), ut = SB_INIT(LF_MAX), whole = SB_INIT(LF_MAX),
                  text = SB_INIT(LF_MAX);
        struct bld_err err = BLD_ERR_INIT;
        struct ly_sink sink = lf_sink(&whole);
        struct ly_view *v = NULL;
        struct ly_source in;
        struct ly_toc *toc;
        struct lf_mem m;

        (void)state;
        lf_tar(low, ARRAY_LEN(low), &lt);
        lf_tar(up, ARRAY_LEN(up), &ut);
        toc = lf_toc(lt.buf, lt.len);
        assert_int_equal(ly_view_new((const struct ly_toc *const *)&toc, 1, &v, &err), 0);
        m = (struct lf_mem){.p = (unsigned char *)ut.buf, .n = ut.len};
        in = lf_source(&m);
        assert_int_equal(ly_complete(&in, v, &sink, &err), 0);
        assert_int_equal(lf_list(whole.buf, whole.len, 0, &text, &err), 0);
        assert_string_equal(sb_text(&text), "d 0750 5:0 0 0 usr\n"
                                            "d 0711 6:0 0 0 usr/bin\n"
                                            "f 0644 0:0 4 0 usr/bin/sh\n"
                                            "l 0644 0:0 0 0 usr/bin/ash -> usr/bin/sh\n"
                                            "d 0755 0:0 0 0 new\n"
                                            "d 0755 0:0 0 0 new/er\n"
                                            "f 0644 0:0 4 0 new/er/f\n"
                                            "w 0000 0:0 0 0 etc\n"
                                            "d 0755 0:0 0 0 etc\n"
                                            "f 0644 0:0 4 0 etc/f\n");
        ly_view_free(v);
        ly_toc_free(toc);
        sb_done(&lt);
        sb_done(&ut);
        sb_done(&whole);
        sb_done(&text);
}

/* A path whose folder is something else below is an error, as in the merged view; not so where the
 * layer first removes or replaces it. */
static void test_complete_below_file(void **state)
{
        static char f[] = "d/f", d[] = "d", fx[] = "d/f/x", fxy[] = "d/f/x/y";
        const struct ly_entry low[] = {{.path = d, .type = LY_DIR, .mode = 0755}, F(f)};
        const struct {
                struct ly_entry up[3];
                size_t n;
                int r;
        } rows[] = {
                {{F(fx)}, 1, BLD_E_CORRUPT},
                {{F(fxy)}, 1, BLD_E_CORRUPT},
                {{{.path = f, .type = LY_WHITEOUT}, F(fx)}, 2, 0},
                {{{.path = d, .type = LY_WHITEOUT}, F(fxy)}, 2, 0},
                {{{.path = f, .type = LY_DIR, .mode = 0700}, F(fxy)}, 2, 0},
        };
        struct sb lt = SB_INIT(LF_MAX);
        struct bld_err err = BLD_ERR_INIT;
        struct ly_view *v = NULL;
        struct ly_toc *toc;

        (void)state;
        lf_tar(low, ARRAY_LEN(low), &lt);
        toc = lf_toc(lt.buf, lt.len);
        assert_int_equal(ly_view_new((const struct ly_toc *const *)&toc, 1, &v, &err), 0);
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct sb ut = SB_INIT(LF_MAX), whole = SB_INIT(LF_MAX);
                struct ly_sink sink = lf_sink(&whole);
                struct ly_source in;
                struct lf_mem m;

                lf_tar(rows[i].up, rows[i].n, &ut);
                m = (struct lf_mem){.p = (unsigned char *)ut.buf, .n = ut.len};
                in = lf_source(&m);
                err_clear(&err);
                assert_int_equal(ly_complete(&in, v, &sink, &err), rows[i].r);
                sb_done(&ut);
                sb_done(&whole);
        }
        ly_view_free(v);
        ly_toc_free(toc);
        sb_done(&lt);
}

/* From here on openat2 fails as an old container runtime's filter makes it fail. */
static bool deny_openat2(void)
{
        struct sock_filter code[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        const struct sock_fprog prog = {.len = ARRAY_LEN(code), .filter = code};

        return !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) &&
               !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog);
}

/* A folder whose place a link takes: file systems give the link the number of the inode that was
 * just freed, and the folder's mode must not reach what it names. */
static void test_folder_then_link(void **state)
{
        char *dir = lf_tmpdir(), *outside = lf_tmpdir();
        static char d[] = "d";
        const struct ly_entry v[] = {
                {.path = d, .type = LY_DIR, .mode = 07000},
                {.path = d, .type = LY_SYMLINK, .mode = 0777, .link = outside}};
        struct sb tar = SB_INIT(LF_MAX);
        struct bld_err err = BLD_ERR_INIT;
        struct stat was, st;

        (void)state;
        assert_int_equal(stat(outside, &was), 0);
        lf_tar(v, ARRAY_LEN(v), &tar);
        assert_int_equal(apply(&tar, dir, LY_TREE_PLAIN, NULL, &err), 0);
        assert_int_equal(stat(outside, &st), 0);
        assert_int_equal(st.st_mode, was.st_mode);
        sb_done(&tar);
        lf_rmdir(dir);
        lf_rmdir(outside);
}

/* Folders that lower layers made: a new one in them gets the mode it is given, not their setgid
 * bit, and one that is given again has the attributes of the upper layer only. */
static void test_folders_again(void **state)
{
        static unsigned char one[] = "1";
        static char a_name[] = "user.a", b_name[] = "user.b";
        struct ly_xattr xa = {.name = a_name, .value = one, .len = 1},
                        xb = {.name = b_name, .value = one, .len = 1};
        char d[] = "d", e[] = "d/e", f[] = "d/e/f";
        const struct ly_entry lower[] = {{.path = d, .type = LY_DIR, .mode = 02755}},
                              upper[] = {{.path = e, .type = LY_DIR, .mode = 0755},
                                         {.path = f, .type = LY_DIR, .mode = 0700}};
        struct ly_entry with[] = {
                {.path = e, .type = LY_DIR, .mode = 0755, .xattrs = &xa, .nxattrs = 1}};
        struct sb x = SB_INIT(LF_MAX), y = SB_INIT(LF_MAX), z = SB_INIT(LF_MAX);
        const struct ly_writer_opts wo = {.all_xattrs = true};
        const struct ly_apply_opts o = {.form = LY_TREE_PLAIN, .all_xattrs = true};
        char *dir = lf_tmpdir();
        AUTO_FD int at = lf_open_dir(dir);
        struct bld_err err = BLD_ERR_INIT;
        struct stat st;

        (void)state;
        lf_tar(lower, 1, &x);
        lf_tar(upper, 2, &y);
        assert_int_equal(apply(&x, dir, LY_TREE_PLAIN, NULL, &err), 0);
        assert_int_equal(apply(&y, dir, LY_TREE_PLAIN, NULL, &err), 0);
        assert_int_equal(fstatat(at, d, &st, 0), 0);
        assert_int_equal(st.st_mode & 07777, 02755);
        assert_int_equal(fstatat(at, e, &st, 0), 0);
        assert_int_equal(st.st_mode & 07777, 0755);
        assert_int_equal(fstatat(at, f, &st, 0), 0);
        assert_int_equal(st.st_mode & 07777, 0700);
        for (unsigned i = 0; i < 2; i++) {
                AUTO(ly_writer_free_p) struct ly_writer *w = NULL;
                struct ly_sink sink = lf_sink(&z);
                struct lf_mem m;
                struct ly_source in;
                char list[256];
                AUTO_FD int fd = -1;

                sb_reset(&z);
                with[0].xattrs = i ? &xb : &xa;
                assert_int_equal(ly_writer_new(&sink, &wo, &w, &err), 0);
                assert_int_equal(ly_writer_entry(w, &with[0], &err), 0);
                assert_int_equal(ly_writer_end(w, &err), 0);
                m = (struct lf_mem){.p = (unsigned char *)z.buf, .n = z.len};
                in = lf_source(&m);
                if (ly_apply(&in, at, &o, NULL, &err) < 0)
                        fail_msg("%s", err.msg);
                fd = openat(at, e, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                assert_int_equal(flistxattr(fd, list, sizeof(list)), sizeof("user.a"));
                assert_string_equal(list, i ? "user.b" : "user.a");
        }
        sb_done(&x);
        sb_done(&y);
        sb_done(&z);
        lf_rmdir(dir);
}

/* The last test: the filter stays. */
static void test_without_openat2(void **state)
{
        if (!deny_openat2()) {
                print_message("no seccomp filters here\n");
                skip();
        }
        test_like_tar(state);
        test_hostile(state);
        test_whiteouts_plain(state);
        test_whiteouts_overlay(state);
        test_folder_times(state);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_like_tar),
                cmocka_unit_test(test_hostile),
                cmocka_unit_test(test_whiteouts_plain),
                cmocka_unit_test(test_whiteouts_overlay),
                cmocka_unit_test(test_folder_times),
                cmocka_unit_test(test_complete),
                cmocka_unit_test(test_complete_below_file),
                cmocka_unit_test(test_folders_again),
                cmocka_unit_test(test_folder_then_link),
                cmocka_unit_test(test_without_openat2),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
