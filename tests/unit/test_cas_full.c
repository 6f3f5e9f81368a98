/* A disk that fills up: one clear error, nothing half-written, and collection still works. */
#include "tests/unit/cas_fixture.h"

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <sys/mount.h>

#define CANNOT_MOUNT 77

static bool write_text(const char *path, const char *text)
{
        AUTO_FD int fd = open(path, O_WRONLY | O_CLOEXEC);

        return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

/* As an ordinary user: root of a user namespace that has this one id. */
static bool enter_namespace(void)
{
        unsigned uid = geteuid(), gid = getegid();
        char map[64];

        if (unshare(CLONE_NEWNS) == 0)
                return true;
        if (unshare(CLONE_NEWNS | CLONE_NEWUSER) < 0)
                return false;
        (void)snprintf(map, sizeof(map), "0 %u 1\n", uid);
        if (!write_text("/proc/self/setgroups", "deny") || !write_text("/proc/self/uid_map", map))
                return false;
        (void)snprintf(map, sizeof(map), "0 %u 1\n", gid);
        return write_text("/proc/self/gid_map", map);
}

/* A small tmpfs of our own. */
static bool mount_small(const char *dir)
{
        return enter_namespace() && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
               mkdir(dir, 0755) == 0 && mount("tmpfs", dir, "tmpfs", 0, "size=400k") == 0;
}

#define CHECK(cond)                                                            \
        do {                                                                   \
                if (!(cond)) {                                                 \
                        print_error("%s:%d: %s\n", __FILE__, __LINE__, #cond); \
                        _exit(1);                                              \
                }                                                              \
        } while (0)

static size_t tmp_files(struct cas *c)
{
        int fd = openat(cas_root_fd(c), "tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *d = fd < 0 ? NULL : fdopendir(fd);
        const struct dirent *e;
        size_t n = 0;

        CHECK(d);
        while ((e = readdir(d)) != NULL)
                if (e->d_name[0] != '.' && !str_has_suffix(e->d_name, ".own"))
                        n++;
        (void)closedir(d);
        return n;
}

static void check_error(const struct bld_err *err, int r)
{
        if (r != BLD_E_SYS || err->sys != ENOSPC)
                print_error("%d, errno %d: %s\n", r, err->sys, err->msg);
        CHECK(r == BLD_E_SYS && err->code == BLD_E_SYS && err->sys == ENOSPC);
}

static void fill(struct cas *c, size_t piece)
{
        char *p = calloc(1, piece);
        struct bld_err err = BLD_ERR_INIT;
        int r = 0;

        CHECK(p);
        for (uint64_t i = 0; r == 0; i++) {
                struct digest d;

                memcpy(p, &i, sizeof(i));
                r = cas_blob_put(c, p, piece, &d, &err);
        }
        check_error(&err, r);
        free(p);
}

static void child(const char *dir)
{
        char root[400];
        struct cas *c;
        struct img_desc d;
        struct digest layer, key = key_of("k");
        struct cas_prune_opts all = {.all = true};
        struct cas_prune_result res;
        struct cas_refs refs;
        char *big = calloc(1, 8000);
        int r = 0;

        if (!mount_small(dir))
                _exit(CANNOT_MOUNT);
        (void)snprintf(root, sizeof(root), "%s/store", dir);
        CHECK(big && cas_open(root, &c, NULL) == 0);
        CHECK(make_image(c, "kept", &d, &layer, NULL) == 0);
        CHECK(cas_ref_set(c, "a.io/b:c", &d, NULL) == 0);
        fill(c, 50000);
        CHECK(tmp_files(c) == 0);
        fill(c, 8);
        CHECK(tmp_files(c) == 0);

        /* nothing else gets in, either, and says so */
        for (int i = 0; r == 0 && i < 1000; i++) {
                struct bld_err err = BLD_ERR_INIT;

                (void)snprintf(big, 8000, "%d", i);
                key = key_of(big);
                r = cas_result_put(c, &key, "step", big, 8000, NULL, 0, &err);
                if (r < 0)
                        check_error(&err, r);
        }
        CHECK(r < 0);
        struct bld_err err = BLD_ERR_INIT;
        r = cas_ref_set(c, "a.io/b:second", &d, &err);
        if (r < 0)
                check_error(&err, r);
        CHECK(tmp_files(c) == 0);
        CHECK(cas_ref_list(c, &refs, NULL) == 0 && refs.n >= 1);
        cas_refs_free(&refs);
        cas_close(c);

        /* and it can be made room */
        CHECK(cas_open(root, &c, NULL) == 0);
        CHECK(cas_prune(c, &all, &res, NULL) == 0);
        CHECK(res.blobs > 3 && res.freed_bytes > 200000);
        CHECK(cas_blob_verify(c, &layer, NULL) == 0);
        CHECK(cas_blob_verify(c, &d.digest, NULL) == 0);
        CHECK(cas_blob_put(c, big, 8000, &key, NULL) == 0);
        CHECK(cas_ref_set(c, "a.io/b:third", &d, NULL) == 0);
        cas_close(c);
        img_desc_done(&d);
        free(big);
        _exit(0);
}

static void test_full(void **state)
{
        struct fixture *f = *state;
        char dir[300];
        int status = -1;
        pid_t pid;

        (void)snprintf(dir, sizeof(dir), "%s/small", f->dir);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
                child(dir);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (WIFEXITED(status) && WEXITSTATUS(status) == CANNOT_MOUNT) {
                print_message("a tmpfs cannot be mounted here\n");
                skip();
        }
        if (status != 0)
                fail_msg("child ended with status %#x", (unsigned)status);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, fixture_up, fixture_down)

int main(void)
{
        const struct CMUnitTest tests[] = {T(test_full)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
