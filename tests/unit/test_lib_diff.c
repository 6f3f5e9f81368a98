/* bld_diff(): what differs between two trees, exactly. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/sb.h"
#include "bld/diff.h"
#include "layer_fixture.h"

/* ---- helpers ---- */

static struct bld_image *open_tree(const char *dir)
{
        struct bld_err err = BLD_ERR_INIT;
        struct bld_image *im = NULL;
        int fd = lf_open_dir(dir);

        if (bld_image_open_dir(fd, NULL, &im, &err) < 0)
                fail_msg("%s", err.msg);
        close(fd);
        return im;
}

/* One change a line: kind letter, path, and what differs or under what name the file was. */
static void show(struct bld_diff *d, struct sb *out)
{
        static const char *const bits[] = {"type", "content", "size",  "link",   "device", "mode",
                                           "uid",  "gid",     "mtime", "xattrs", "links"};

        for (size_t i = 0; i < bld_diff_count(d); i++) {
                const struct bld_change *c = bld_diff_change(d, i);

                sb_fmt(out, "%c%s %s", "?ADMTm"[c->kind], c -> unsure ? "?" : "", c->path);
                for (unsigned k = 0; k < ARRAY_LEN(bits); k++)
                        if (c->what & 1u << k)
                                sb_fmt(out, " %s", bits[k]);
                if (c->renamed != BLD_NO_NODE)
                        sb_fmt(out, " =%s", bld_diff_change(d, c->renamed)->path);
                sb_char(out, '\n');
        }
}

static void compare(struct bld_image *a, struct bld_image *b, const struct bld_diff_opts *o,
                    const char *want)
{
        struct sb out = SB_INIT(LF_MAX);
        struct bld_err err = BLD_ERR_INIT;
        struct bld_diff *d = NULL;

        if (bld_diff(a, b, o, &d, &err) < 0)
                fail_msg("%s", err.msg);
        show(d, &out);
        assert_string_equal(sb_text(&out), want);
        bld_diff_free(d);
        sb_done(&out);
}

/* ---- folders ---- */

static const struct {
        const char *change; /* made in the copy */
        unsigned ignore;
        const char *want;
} rows[] = {
        {"true", 0, ""},
        {"echo n >d/n", BLD_DIFF_MTIME, "A d/n\n"},
        {"rm d/hard", BLD_DIFF_MTIME, "m d/f links\nD d/hard\n"},
        {"chmod 600 big", 0, "m big mode\n"},
        {"touch -d @1 big", 0, "m big mtime\n"},
        {"touch -d @1600000000.9 big", 0, ""},
        {"echo HELLO >d/f; touch -d @1600000000 d/f", 0, "M d/f content\nM d/hard content\n"},
        {"echo HELLO >d/f; touch -d @1600000000 d/f", BLD_DIFF_CONTENT, ""},
        {"echo longer >d/f; touch -d @1600000000 d/f", 0,
         "M d/f content size\nM d/hard content size\n"},
        {"echo longer >d/f; touch -d @1600000000 d/f", BLD_DIFF_CONTENT,
         "M d/f size\nM d/hard size\n"},
        {"ln -sfn y d/s", BLD_DIFF_MTIME, "M d/s link\n"},
        {"rm p; mkdir p; touch p/x", BLD_DIFF_MTIME, "T p type\nA p/x\n"},
        {"rm -r d/e; echo x >d/e", BLD_DIFF_MTIME, "T d/e type\nD d/e/x\n"},
        {"rm -r d", 0, "D d\nD d/e\nD d/e/x\nD d/f\nD d/hard\nD d/s\n"},
        {"mv big large", BLD_DIFF_MTIME, "D big =large\nA large =big\n"},
        {"mv d d2", BLD_DIFF_MTIME,
         "D d\nD d/e\nD d/e/x\nD d/f =d2/f\nD d/hard =d2/hard\nD d/s\n"
         "A d2\nA d2/e\nA d2/e/x\nA d2/f =d/f\nA d2/hard =d/hard\nA d2/s\n"},
        {"cp d/f d/g; rm d/hard; ln d/f d/hard", BLD_DIFF_MTIME, "A d/g\n"},
        {"cp -p d/f x; mv x d/hard", BLD_DIFF_MTIME, "m d/f links\nm d/hard links\n"},
        {"ln big d/z", BLD_DIFF_MTIME, "m big links\nA d/z\n"},
        {"ln big d/z", BLD_DIFF_MTIME | BLD_DIFF_LINKS, "A d/z\n"},
        {"chown 7:0 big", 0, "m big uid\n"},
        {"chown -h 0:9 d/s", 0, "m d/s gid\n"},
        {"rm p; mknod p c 1 3; chmod 644 p; touch -d @1600000000 p", BLD_DIFF_MTIME, "T p type\n"},
};

static void test_folders(void **state)
{
        char *dir = lf_tmpdir();

        (void)state;
        lf_sh("umask 022; cd $1 && mkdir -p d/e && echo hello >d/f && ln d/f d/hard && ln -s ../x "
              "d/s && touch d/e/x && head -c 3000000 /dev/urandom >big && mkfifo p && chmod 640 "
              "d/f && find . -exec touch -h -d @1600000000 {} +",
              dir, NULL, 0, NULL);
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                const struct bld_diff_opts o = {.size = sizeof(o), .ignore = rows[i].ignore};
                struct sb script = SB_INIT(8192);
                struct bld_image *a = open_tree(dir), *b;
                char *copy = lf_tmpdir();

                print_message("%s\n", rows[i].change);
                sb_fmt(&script, "umask 022; cp -a %s/. $1/ && cd $1 && %s", dir, rows[i].change);
                if (lf_is_root() ||
                    (!strstr(rows[i].change, "chown") && !strstr(rows[i].change, "mknod"))) {
                        lf_sh(sb_text(&script), copy, NULL, 0, NULL);
                        b = open_tree(copy);
                        compare(a, b, &o, rows[i].want);
                        bld_image_close(b);
                }
                bld_image_close(a);
                sb_done(&script);
                lf_rmdir(copy);
        }
        lf_rmdir(dir);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_folders),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
