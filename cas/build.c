/* Builds: a record folder builds/<id> whose file `lease` is locked while the build lives. */
#include "cas/cas_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/err.h"
#include "base/path.h"
#include "base/sys.h"

#define BUILD_ID_LEN 8

struct cas_build {
        struct cas *c;
        char id[BUILD_ID_LEN + 1];
        int dirfd, lease_fd;
};

static void build_free(struct cas_build *b)
{
        if (!b)
                return;
        fd_close(&b->lease_fd);
        fd_close(&b->dirfd);
        free(b);
}
DEFINE_AUTO_PTR(struct cas_build, build_free);

/* Under the shared lock: a collector that runs between mkdir and flock would see a dead build. */
static int make_folder(struct cas_build *b, struct bld_err *err)
{
        AUTO_FD int lock = -1;
        char path[16 + BUILD_ID_LEN];
        int r = cas_store_lock(b->c, LOCK_SH, &lock, err);

        if (r < 0)
                return r;
        for (int i = 0;; i++) {
                cas_random_name(b->id, BUILD_ID_LEN);
                (void)snprintf(path, sizeof(path), "builds/%s", b->id);
                if (sys_mkdirat(b->c->root_fd, path, 0755) == 0)
                        break;
                if (errno != EEXIST || i == 100)
                        return err_sys(err, errno, "create %s/%s", b->c->root, path);
        }
        b->dirfd = sys_openat(b->c->root_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
        if (b->dirfd >= 0)
                b->lease_fd = sys_openat(b->dirfd, "lease",
                                         O_RDWR | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0644);
        if (b->lease_fd < 0) {
                r = err_sys(err, errno, "create %s/%s/lease", b->c->root, path);
        } else {
                r = fd_lock(b->lease_fd, LOCK_EX | LOCK_NB, err);
                if (r == 1)
                        r = err_set(err, BLD_E_BUG, "a new lease file is locked");
        }
        if (r < 0)
                (void)path_remove_tree(b->c->root_fd, path, NULL);
        return r;
}

int cas_build_begin(struct cas *c, struct cas_build **ret, struct bld_err *err)
{
        AUTO(build_free_p) struct cas_build *b = mem_zalloc(1, sizeof(*b));
        int r;

        if (!b)
                return err_nomem(err, "build");
        b->c = c;
        b->dirfd = b->lease_fd = -1;
        r = make_folder(b, err);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(&b);
        return 0;
}

const char *cas_build_id(const struct cas_build *b)
{
        return b->id;
}

int cas_build_dirfd(const struct cas_build *b)
{
        return b->dirfd;
}

int cas_lease_blob(struct cas_build *b, const struct digest *d, struct bld_err *err)
{
        AUTO_FD int lock = -1;
        char name[DIGEST_STR_MAX];
        uint64_t size;
        int r = cas_store_lock(b->c, LOCK_SH, &lock, err);

        if (r < 0)
                return r;
        digest_format(d, name);
        r = cas_blob_stat(b->c, d, &size, err);
        if (r <= 0)
                return r;
        r = cas_lease_add(b->lease_fd, 'b', name, err);
        return r < 0 ? r : 1;
}

int cas_lease_snapshot(struct cas_build *b, const char *view, const char *id, struct bld_err *err)
{
        AUTO_FD int lock = -1;
        char name[2 * CAS_NAME_MAX + 2];
        int r = cas_store_lock(b->c, LOCK_SH, &lock, err), added;

        if (r == 0)
                r = cas_snapshot_has(b->c, view, id, err);
        if (r < 0)
                return r;
        /* leased in any case: the layer's file index is kept by it, too */
        (void)snprintf(name, sizeof(name), "%s/%s", view, id);
        added = cas_lease_add(b->lease_fd, 's', name, err);
        return added < 0 ? added : r;
}

void cas_build_end(struct cas_build *b, bool keep_record)
{
        char path[16 + BUILD_ID_LEN];

        if (!b)
                return;
        (void)sys_unlinkat(b->dirfd, "lease", 0);
        (void)snprintf(path, sizeof(path), "builds/%s", b->id);
        if (!keep_record)
                (void)path_remove_tree(b->c->root_fd, path, NULL); /* else pruned one day */
        build_free(b);
}
