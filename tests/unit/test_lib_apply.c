/* Images applied to a folder: by root with real owners, by anybody with recorded ones, and back to
 * a layer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/sb.h"
#include "bld/layer.h"
#include "bld/open.h"
#include "layer_fixture.h"

#define E(t, p, ...)                                                                          \
        {                                                                                     \
                .size = sizeof(struct bld_layer_entry), .path = (p), .type = (t), __VA_ARGS__ \
        }
#define T0 .mtime_ns = 1600000000000000000

static const struct bld_layer_entry below[] = {
        E(BLD_LAYER_DIR, "ro", .mode = 0555, .uid = 3, .gid = 4, T0),
        E(BLD_LAYER_FILE, "ro/gone", .mode = 0444, .file_size = 1, T0),
        E(BLD_LAYER_FILE, "ro/kept", .mode = 0, .uid = 1000, .gid = 1000, .file_size = 3, T0),
        E(BLD_LAYER_DIR, "shut", .mode = 0, T0),
        E(BLD_LAYER_FILE, "shut/in", .mode = 06755, .uid = 70000, .file_size = 2, T0),
        E(BLD_LAYER_HARDLINK, "shut/more", .mode = 06755, .uid = 70000, T0, .link = "shut/in"),
        E(BLD_LAYER_DIR, "sticky", .mode = 03777, .gid = 50, T0),
        E(BLD_LAYER_SYMLINK, "link", .mode = 0777, .uid = 5, .gid = 6, .link = "ro", T0),
        E(BLD_LAYER_FIFO, "pipe", .mode = 0620, .uid = 7, .gid = 8, T0),
        E(BLD_LAYER_CHAR, "null", .mode = 0666, .uid = 9, .dev_major = 1, .dev_minor = 3, T0),
        E(BLD_LAYER_BLOCK, "disk", .mode = 0660, .gid = 6, .dev_major = 8, .dev_minor = 1, T0),
        E(BLD_LAYER_FILE, "plain", .mode = 0644, .file_size = 4, T0),
};
static const struct bld_layer_entry above[] = {
        E(BLD_LAYER_DIR, "ro", .mode = 0500, T0),
        E(BLD_LAYER_WHITEOUT, "ro/gone"),
        E(BLD_LAYER_DIR, "shut", .mode = 0100, .uid = 12, T0),
        E(BLD_LAYER_FILE, "shut/new", .mode = 0400, .uid = 11, .file_size = 5, T0),
        E(BLD_LAYER_FILE, "plain", .mode = 0600, .uid = 13, .file_size = 1, T0),
};

static struct bld_layer *layer_of(const struct bld_layer_entry *v, size_t n)
{
        AUTO_FD int fd = memfd_create("layer", MFD_CLOEXEC);
        const struct bld_output out = {.size = sizeof(out), .fd = fd};
        struct bld_layer_writer *w;
        struct bld_layer *l;

        assert_int_equal(bld_layer_writer_open(&out, NULL, &w, NULL), 0);
        for (size_t i = 0; i < n; i++) {
                struct bld_err err = BLD_ERR_INIT;

                if (bld_layer_writer_entry(w, &v[i], NULL, &err) < 0)
                        fail_msg("%s", err.msg);
                assert_int_equal(bld_layer_writer_data(w, "abcde", v[i].file_size, NULL), 0);
        }
        assert_int_equal(bld_layer_writer_end(w, NULL, NULL), 0);
        bld_layer_writer_close(w);
        assert_int_equal(bld_layer_open(fd, NULL, &l, NULL), 0);
        return l;
}

struct layers {
        struct bld_layer *v[2];
        struct bld_image *im;
};

static void layers_up(struct layers *s)
{
        s->v[0] = layer_of(below, ARRAY_LEN(below));
        s->v[1] = layer_of(above, ARRAY_LEN(above));
        assert_int_equal(bld_image_of_layers(s->v, 2, &s->im, NULL), 0);
}

static void layers_down(struct layers *s)
{
        bld_image_close(s->im);
        bld_layer_close(s->v[0]);
        bld_layer_close(s->v[1]);
}

/* Apply, make a layer of the tree, and say what it is. */
static int there_and_back(struct bld_image *im, const char *dir, bool record, int out,
                          struct bld_layer_created *ret, struct bld_err *err)
{
        const struct bld_layer_apply_opts a = {
                .size = sizeof(a), .keep_owner = !record, .record_owner = record};
        const struct bld_layer_create_opts c = {
                .size = sizeof(c), .codec = BLD_LAYER_TAR, .recorded_owner = record};
        struct bld_layer_applied got = {.size = sizeof(got)};
        AUTO_FD int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int r = bld_image_apply(im, fd, &a, &got, err);

        if (r == 0 && (got.entries != ARRAY_LEN(below) + ARRAY_LEN(above) || got.skipped_devices))
                return -100 - (int)got.entries;
        return r < 0 ? r : bld_layer_create(fd, out, &c, ret, err);
}

/* As nobody, in a child where we are root. The tree goes to `dir`, the layer to `out`. */
static int as_nobody(struct bld_image *im, const char *dir, int out)
{
        int status = -1;
        pid_t pid = fork();

        if (pid == 0) {
                struct bld_layer_created made = {.size = sizeof(made)};
                struct bld_err err = BLD_ERR_INIT;
                int r;

                if (getuid() == 0 &&
                    (setgroups(0, NULL) < 0 || setgid(65534) < 0 || setuid(65534) < 0))
                        _exit(99);
                r = there_and_back(im, dir, true, out, &made, &err);
                if (r < 0)
                        (void)dprintf(2, "%d %s\n", r, err.msg);
                _exit(r < 0 ? 1 : 0);
        }
        assert_true(pid > 0 && waitpid(pid, &status, 0) == pid);
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void check(const struct bld_layer *l, const struct bld_layer_entry *want)
{
        const struct bld_layer_entry *e = bld_layer_find(l, want->path);

        if (!e)
                fail_msg("%s is missing", want->path);
        if (e->type != want->type || e->uid != want->uid || e->gid != want->gid ||
            e->mode != want->mode || e->file_size != want->file_size ||
            e->dev_major != want->dev_major || e->dev_minor != want->dev_minor ||
            e->mtime_ns != want->mtime_ns)
                fail_msg("%s: type %d %u:%u %o size %llu dev %u,%u time %lld", want->path, e->type,
                         e->uid, e->gid, e->mode, (unsigned long long)e->file_size, e->dev_major,
                         e->dev_minor, (long long)e->mtime_ns);
}

static void recorded(void **state)
{
        static const char *const from_below[] = {"ro/kept", "shut/in", "sticky", "link",
                                                 "pipe",    "null",    "disk"};
        struct bld_layer_created real = {.size = sizeof(real)};
        AUTO_FD int out = memfd_create("out", 0), rooted = memfd_create("rooted", 0);
        struct bld_err err = BLD_ERR_INIT;
        struct layers s;
        struct bld_layer *l;
        char *dir = lf_tmpdir(), *other = lf_tmpdir();

        (void)state;
        layers_up(&s);
        if (lf_is_root())
                assert_int_equal(chown(dir, 65534, 65534), 0);
        assert_int_equal(chmod(dir, 0755), 0);
        assert_int_equal(as_nobody(s.im, dir, out), 0);
        if (bld_layer_open(out, NULL, &l, &err) < 0)
                fail_msg("%s", err.msg);
        for (size_t i = 0; i < ARRAY_LEN(below); i++)
                for (size_t k = 0; k < ARRAY_LEN(from_below); k++)
                        if (strcmp(below[i].path, from_below[k]) == 0)
                                check(l, &below[i]);
        for (size_t i = 0; i < ARRAY_LEN(above); i++)
                if (above[i].type != BLD_LAYER_WHITEOUT)
                        check(l, &above[i]);
        assert_null(bld_layer_find(l, "ro/gone"));
        assert_null(bld_layer_find(l, ".bld.owners"));
        if (lf_is_root()) {
                if (there_and_back(s.im, other, false, rooted, &real, &err) < 0)
                        fail_msg("%s", err.msg);
                assert_string_equal(real.diff_id, bld_layer_diff_id(l));
        }
        /* on the disk nothing runs with anybody's rights */
        lf_sh("cd $1 && test -z \"$(find . -perm /7000)\" && test -f .bld.owners", dir, NULL, 0,
              NULL);
        bld_layer_close(l);
        layers_down(&s);
        lf_rmdir(dir);
        lf_rmdir(other);
}

/* What is not owned up to by a record is root's; a layer cannot bring records of its own. */
static void foreign_record(void **state)
{
        static const struct bld_layer_entry v[] = {
                E(BLD_LAYER_FILE, ".bld.owners", .mode = 0644, .file_size = 5)};
        const struct bld_layer_apply_opts a = {.size = sizeof(a), .record_owner = true},
                                          both = {.size = sizeof(both),
                                                  .record_owner = true,
                                                  .keep_owner = true};
        struct bld_layer *l = layer_of(v, 1);
        struct bld_image *im;
        char *dir = lf_tmpdir();
        AUTO_FD int fd = lf_open_dir(dir);

        (void)state;
        assert_int_equal(bld_image_of_layers(&l, 1, &im, NULL), 0);
        assert_int_equal(bld_image_apply(im, fd, &both, NULL, NULL), BLD_E_USAGE);
        assert_int_equal(bld_image_apply(im, fd, &a, NULL, NULL), BLD_E_INVALID);
        bld_image_close(im);
        bld_layer_close(l);
        lf_rmdir(dir);
}

static bool at_once(void *user)
{
        return (*(unsigned *)user)++ > 2;
}

static void stopped(void **state)
{
        unsigned asked = 0;
        const struct bld_watch watch = {.size = sizeof(watch), .stop = at_once, .user = &asked};
        const struct bld_layer_apply_opts a = {.size = sizeof(a), .watch = &watch};
        const struct bld_layer_create_opts c = {.size = sizeof(c), .watch = &watch};
        char *dir = lf_tmpdir();
        AUTO_FD int fd = lf_open_dir(dir), sink = open("/dev/null", O_WRONLY | O_CLOEXEC);
        struct layers s;
        int p[2];

        (void)state;
        layers_up(&s);
        asked = 10;
        assert_int_equal(bld_image_apply(s.im, fd, &a, NULL, NULL), BLD_E_CANCELLED);
        lf_sh("head -c 10000 /dev/zero >$1/zero", dir, NULL, 0, NULL);
        assert_int_equal(bld_layer_create(fd, sink, &c, NULL, NULL), BLD_E_CANCELLED);
        /* a pipe that gives nothing */
        asked = 0;
        assert_int_equal(pipe2(p, O_CLOEXEC), 0);
        assert_int_equal(bld_layer_apply(p[0], fd, &a, NULL, NULL), BLD_E_CANCELLED);
        close(p[0]);
        close(p[1]);
        layers_down(&s);
        lf_rmdir(dir);
}

/* A descriptor that is no folder's. */
static void no_folder(void **state)
{
        struct bld_layer *l = layer_of(below, ARRAY_LEN(below));
        AUTO_FD int fd = memfd_create("no folder", MFD_CLOEXEC);
        const int fds[] = {fd, -1};
        struct bld_image *im;

        (void)state;
        assert_int_equal(bld_image_of_layers(&l, 1, &im, NULL), 0);
        for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
                struct bld_err err = BLD_ERR_INIT;

                assert_int_equal(bld_image_apply(im, fds[i], NULL, NULL, &err), BLD_E_SYS);
                assert_int_equal(err.sys, i == 0 ? ENOTDIR : EBADF);
        }
        bld_image_close(im);
        bld_layer_close(l);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(recorded),
                cmocka_unit_test(foreign_record),
                cmocka_unit_test(stopped),
                cmocka_unit_test(no_folder),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
