/* Whiteouts and opaque folders while a layer is applied: they hide or delete what lower layers
 * have, never what this layer brings, wherever they stand in the stream. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/sys.h"
#include "layer/apply_priv.h"

struct created_key {
        uint64_t dev, ino;
        char name[LY_NAME_MAX + 1];
};

static size_t fill_key(struct created_key *k, uint64_t dev, uint64_t ino, const char *name)
{
        size_t n = strnlen(name, LY_NAME_MAX);

        k->dev = dev;
        k->ino = ino;
        memcpy(k->name, name, n);
        return offsetof(struct created_key, name) + n;
}

int apply_note_created(struct applier *a, const struct adir *d, const char *name,
                       struct bld_err *err)
{
        struct created_key k;
        size_t n;

        if (a->o->form != LY_TREE_PLAIN)
                return 0;
        n = fill_key(&k, d->dev, d->ino, name);
        return map_setn(&a->created, &k, n, a) < 0 ? err_nomem(err, "list of files made") : 0;
}

static bool is_created(const struct applier *a, uint64_t dev, uint64_t ino, const char *name)
{
        struct created_key k;
        size_t n = fill_key(&k, dev, ino, name);

        return map_getn(&a->created, &k, n) != NULL;
}

bool apply_is_whiteout(const struct stat *st)
{
        return S_ISCHR(st->st_mode) && st->st_rdev == makedev(0, 0);
}

int apply_set_opaque(struct applier *a, const struct adir *d, const char *name, struct bld_err *err)
{
        const char *attr = a->o->form == LY_TREE_OVERLAY_USER ? "user.overlay.opaque"
                                                              : "trusted.overlay.opaque";
        AUTO_FD int fd =
                sys_openat(d->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);

        if (fd < 0)
                return err_sys(err, errno, "open folder \"%s\"", name);
        if (fsetxattr(fd, attr, "y", 1, 0) < 0)
                return err_sys(err, errno, "mark folder \"%s\" opaque", name);
        return 0;
}

/* Delete below fd what this layer did not make. */
static int prune(struct applier *a, int fd, struct bld_err *err)
{
        AUTO_STRV struct strv names = {0};
        struct stat st;
        struct dirent *de;
        DIR *dir;
        int r = 0, own = sys_openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);

        dir = own < 0 ? NULL : fdopendir(own);
        if (!dir) {
                r = err_sys(err, errno, "list a folder");
                fd_close(&own);
                return r;
        }
        while (!r && (de = readdir(dir)))
                if (!str_eq(de->d_name, ".") && !str_eq(de->d_name, ".."))
                        r = strv_add(&names, de->d_name);
        if (fstat(own, &st) < 0 && !r)
                r = err_sys(err, errno, "stat a folder");
        else if (r < 0)
                (void)err_nomem(err, "list a folder");
        for (size_t i = 0; !r && i < names.n; i++) {
                if (is_created(a, st.st_dev, st.st_ino, names.v[i])) {
                        AUTO_FD int sub =
                                sys_openat(own, names.v[i],
                                           O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);

                        if (sub >= 0)
                                r = prune(a, sub, err);
                        else if (errno != ENOTDIR && errno != ELOOP)
                                r = err_sys(err, errno, "open \"%s\"", names.v[i]);
                } else {
                        r = path_remove_tree(own, names.v[i], err);
                }
        }
        closedir(dir);
        return r;
}

static int prune_name(struct applier *a, const struct adir *d, const char *name,
                      struct bld_err *err)
{
        AUTO_FD int fd =
                sys_openat(d->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
        int r;

        if (fd < 0 && (errno == ENOTDIR || errno == ELOOP || errno == ENOENT))
                return 0;
        if (fd < 0)
                return err_sys(err, errno, "open \"%s\"", name);
        r = prune(a, fd, err);
        apply_dirs_flush(a);
        return r;
}

static int whiteout_plain(struct applier *a, const struct ly_entry *e, struct bld_err *err)
{
        const char *name = ".";
        struct adir *d;
        int r;

        if (e->type == LY_OPAQUE)
                r = apply_dir(a, e->path, strlen(e->path), false, &d, err);
        else
                r = apply_parent(a, e->path, false, &d, &name, err);
        if (r <= 0)
                return r;
        if (e->type == LY_OPAQUE || is_created(a, d->dev, d->ino, name))
                return prune_name(a, d, name, err);
        r = path_remove_tree(d->fd, name, err);
        apply_dirs_flush(a);
        return r < 0 ? err_wrap(err, r, "remove \"%s\"", e->path) : 0;
}

static int whiteout_overlay(struct applier *a, const struct ly_entry *e, struct bld_err *err)
{
        const char *name = ".";
        struct adir *d;
        struct stat st;
        int r;

        if (e->type == LY_OPAQUE) {
                if (!*e->path) {
                        a->st.opaque_root = true;
                        return 0;
                }
                r = apply_dir(a, e->path, strlen(e->path), true, &d, err);
                return r < 0 ? r : apply_set_opaque(a, d, ".", err);
        }
        r = apply_parent(a, e->path, true, &d, &name, err);
        if (r < 0 || !mknodat(d->fd, name, S_IFCHR, makedev(0, 0)))
                return r;
        if (errno != EEXIST || fstatat(d->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return err_sys(err, errno, "make the whiteout of \"%s\"", e->path);
        /* This layer brings something of that name: only what is below goes. */
        return S_ISDIR(st.st_mode) ? apply_set_opaque(a, d, name, err) : 0;
}

int apply_whiteout(struct applier *a, const struct ly_entry *e, struct bld_err *err)
{
        return a->o->form == LY_TREE_PLAIN ? whiteout_plain(a, e, err)
                                           : whiteout_overlay(a, e, err);
}
