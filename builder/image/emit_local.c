/* An image's tree as a folder: written completely beside its place, then moved in. What a folder
 * already holds stays unless the image has something of the same name. */
#include "builder/builder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/sys.h"
#include "builder/image/archive_priv.h"
#include "builder/image/move_priv.h"

#define MERGE_DEPTH_MAX 2100u

/* ---- tar from one thread into the tree by another ---- */

struct producer {
        struct bd_ctx *c;
        const struct bd_tree_parts *parts;
        const struct bd_export *x;
        int fd; /* a socket: writing to one whose reader is gone raises no SIGPIPE */
        int code;
        struct bld_err err;
};

static int producer_write(void *user, const void *p, size_t n, struct bld_err *err)
{
        struct producer *t = user;
        const char *at = p;

        while (n > 0) {
                ssize_t k = send(t->fd, at, n, MSG_NOSIGNAL);

                if (k < 0 && errno == EINTR)
                        continue;
                if (k < 0)
                        return err_sys(err, errno, "hand over the tree");
                at += k;
                n -= (size_t)k;
        }
        return 0;
}

static void *produce(void *arg)
{
        struct producer *t = arg;
        struct ly_sink sink = {.write = producer_write, .user = t};

        t->code = bd_flatten_parts(t->c, t->parts, t->x->clamp, t->x->clamp_sec, &sink, &t->err);
        fd_close(&t->fd); /* the reader sees the end */
        return NULL;
}

static int apply(struct producer *t, int from, int root, struct bld_err *err)
{
        struct ly_apply_opts o = {.form = LY_TREE_PLAIN, .tolerate_dev = true};
        struct ly_source src = ly_source_fd(from);
        struct ly_apply_stats stats;
        struct bld_err e = BLD_ERR_INIT;
        pthread_t thread;
        int r;

        if (pthread_create(&thread, NULL, produce, t) != 0)
                return err_set(err, BLD_E_NOMEM, "a thread cannot be started");
        r = ly_apply(&src, root, &o, &stats, &e);
        if (r < 0)
                (void)shutdown(from, SHUT_RDWR); /* lets the producer go */
        pthread_join(thread, NULL);
        /* A producer that failed is the cause; one that lost its reader is not. */
        if (t->code < 0 && !(r < 0 && t->code == BLD_E_SYS && t->err.sys == EPIPE)) {
                err_copy(err, &t->err);
                return t->code;
        }
        if (r < 0)
                err_copy(err, &e);
        else if (stats.skipped_devices && t->c->note)
                t->c->note(t->c->user, "device nodes of the image were left out of the folder");
        return r;
}

static int fill(struct bd_ctx *c, const struct bd_export *x, const struct bd_tree_parts *parts,
                int root, struct bld_err *err)
{
        struct producer t = {.c = c, .parts = parts, .x = x, .fd = -1, .err = BLD_ERR_INIT};
        AUTO_FD int from = -1;
        int pair[2], r;

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
                return err_sys(err, errno, "socketpair");
        from = pair[0];
        t.fd = pair[1];
        r = apply(&t, from, root, err);
        fd_close(&t.fd);
        return r;
}

/* ---- into place ---- */

static int merge(int from, int to, unsigned depth, struct bld_err *err);

/* Folder over folder: what is inside moves, the attributes are the image's. */
static int merge_folder(int from, int to, const char *name, const struct stat *st,
                        const struct stat *old, unsigned depth, struct bld_err *err)
{
        const struct timespec times[2] = {st->st_atim, st->st_mtim};
        AUTO_FD int a = -1;
        AUTO_FD int b = -1;
        int r;

        /* A folder that an earlier export left read-only: where it is not ours, opening or moving
         * says so. It gets the image's mode below. */
        if ((old->st_mode & 0700) != 0700 && old->st_uid == geteuid() &&
            fchmodat(to, name, (old->st_mode & 07777) | 0700, 0) < 0)
                return err_sys(err, errno, "open folder %s", name);
        a = sys_openat(from, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW, 0);
        b = sys_openat(to, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW, 0);
        if (a < 0 || b < 0)
                return err_sys(err, errno, "open folder %s", name);
        r = merge(a, b, depth + 1, err);
        if (r < 0)
                return r;
        if (fchmod(b, st->st_mode & 07777) < 0 || futimens(b, times) < 0)
                return err_sys(err, errno, "set attributes of %s", name);
        return 0;
}

/* rename() of a folder writes its ".." entry: it needs to be ours to write for that moment. */
static int move_folder(int from, int to, const char *name, const struct stat *st,
                       struct bld_err *err)
{
        const struct timespec times[2] = {st->st_atim, st->st_mtim};

        if (sys_rename(from, name, to, name) < 0)
                return err_sys(err, errno, "move %s into place", name);
        if (fchmodat(to, name, st->st_mode & 07777, 0) < 0 || utimensat(to, name, times, 0) < 0)
                return err_sys(err, errno, "set attributes of %s", name);
        return 0;
}

static int merge_one(int from, int to, const char *name, unsigned depth, struct bld_err *err)
{
        struct stat a, b;
        bool there;

        if (fstatat(from, name, &a, AT_SYMLINK_NOFOLLOW) < 0)
                return err_sys(err, errno, "stat %s", name);
        there = fstatat(to, name, &b, AT_SYMLINK_NOFOLLOW) == 0;
        if (!there && errno != ENOENT)
                return err_sys(err, errno, "stat %s", name);
        if (S_ISDIR(a.st_mode)) {
                /* ours for the moment of the move; the mode is set again behind it */
                if ((a.st_mode & 0700) != 0700 &&
                    fchmodat(from, name, (a.st_mode & 07777) | 0700, 0) < 0)
                        return err_sys(err, errno, "move %s into place", name);
                if (there && S_ISDIR(b.st_mode))
                        return merge_folder(from, to, name, &a, &b, depth, err);
                /* A link in the way is replaced, never followed: it may lead anywhere. */
                if (there && sys_unlinkat(to, name, 0) < 0)
                        return err_sys(err, errno, "replace %s", name);
                return move_folder(from, to, name, &a, err);
        }
        if (there && S_ISDIR(b.st_mode) && sys_unlinkat(to, name, AT_REMOVEDIR) < 0) {
                int r = err_set(err, BLD_E_EXISTS,
                                "\"%s\" is a folder there and a file in the image", name);

                return err_try(err, r, "remove it, or write to another folder");
        }
        if (sys_rename(from, name, to, name) < 0)
                return err_sys(err, errno, "move %s into place", name);
        return 0;
}

static int list_names(int dir, struct strv *names, struct bld_err *err)
{
        AUTO_FD int fd = sys_openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
        DIR *d;
        struct dirent *e;
        int r = 0;

        if (fd < 0)
                return err_sys(err, errno, "open folder");
        d = fdopendir(fd);
        if (!d)
                return err_sys(err, errno, "open folder");
        (void)take_fd(&fd);
        for (errno = 0; r == 0 && (e = readdir(d)); errno = 0)
                if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 &&
                    strv_add(names, e->d_name) < 0)
                        r = err_nomem(err, "folder");
        if (r == 0 && errno)
                r = err_sys(err, errno, "read folder");
        closedir(d);
        return r;
}

static int merge(int from, int to, unsigned depth, struct bld_err *err)
{
        AUTO_STRV struct strv names = {.v = NULL};
        int r;

        if (depth > MERGE_DEPTH_MAX)
                return err_set(err, BLD_E_LIMIT, "folders of the image are nested too deep");
        r = list_names(from, &names, err);
        for (size_t i = 0; r == 0 && i < names.n; i++)
                r = merge_one(from, to, names.v[i], depth, err);
        return r;
}

/* mode=delete: what was there goes, but for the tree that is about to take its place. */
static int clear_folder(int dir, const char *keep, struct bld_err *err)
{
        AUTO_STRV struct strv names = {.v = NULL};
        int r = list_names(dir, &names, err);

        for (size_t i = 0; r == 0 && i < names.n; i++)
                if (strcmp(names.v[i], keep) != 0)
                        r = path_remove_tree(dir, names.v[i], err);
        return r;
}

static int merge_into(const char *tmp, const char *dest, bool remove_others, struct bld_err *err)
{
        AUTO_FD int from = -1;
        AUTO_FD int to = -1;
        int r = 0;

        from = sys_openat(AT_FDCWD, tmp, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
        to = sys_openat(AT_FDCWD, dest, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
        if (from < 0 || to < 0)
                return err_sys(err, errno, "open %s", from < 0 ? tmp : dest);
        if (remove_others)
                r = clear_folder(to, path_base(tmp), err);
        return err_wrap(err, r < 0 ? r : merge(from, to, 0, err), "%s", dest);
}

static int write_tree(struct bd_ctx *c, const struct bd_export *x,
                      const struct bd_tree_parts *parts, const char *tmp, bool exists,
                      struct bld_err *err)
{
        AUTO_FD int root = -1;
        int r;

        if (sys_mkdirat(AT_FDCWD, tmp, 0777) < 0)
                return err_sys(err, errno, "create %s", x->dest);
        root = sys_openat(AT_FDCWD, tmp, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW, 0);
        if (root < 0)
                return err_sys(err, errno, "open %s", tmp);
        r = fill(c, x, parts, root, err);
        if (r < 0)
                return r;
        if (exists)
                return merge_into(tmp, x->dest, x->remove_others, err);
        if (sys_rename(AT_FDCWD, tmp, AT_FDCWD, x->dest) < 0)
                return err_sys(err, errno, "rename to %s", x->dest);
        return 0;
}

/* The temporary tree: inside a folder that is there (it may be a mount point), else beside. */
static int temp_tree(const char *dest, bool exists, char **ret, struct bld_err *err)
{
        AUTO_FREE char *base = NULL;

        if (!exists)
                return bd_temp_name(dest, ".tmp", ret, err);
        if (asprintf(&base, "%s/.bld-output", dest) < 0) {
                base = NULL;
                return err_nomem(err, dest);
        }
        return bd_temp_name(base, ".tmp", ret, err);
}

int bd_emit_local(struct bd_ctx *c, const struct bd_export *x, struct bld_err *err)
{
        AUTO(bd_tree_parts_free) struct bd_tree_parts parts = {.v = NULL};
        AUTO_FREE char *tmp = NULL;
        AUTO_FREE char *parent = NULL;
        struct stat st;
        bool exists;
        int r;

        if (strcmp(x->dest, "-") == 0)
                return err_set(err, BLD_E_USAGE, "a folder cannot go to standard output");
        exists = stat(x->dest, &st) == 0;
        if (exists && !S_ISDIR(st.st_mode))
                return err_set(err, BLD_E_INVALID, "%s is not a folder", x->dest);
        r = bd_tree_parts_make(c, x, &parts, err);
        if (r == 0)
                r = temp_tree(x->dest, exists, &tmp, err);
        parent = path_dir(x->dest);
        if (r == 0 && !parent)
                r = err_nomem(err, x->dest);
        if (r == 0 && !exists)
                r = path_mkdirs(AT_FDCWD, parent, 0777, err);
        if (r < 0)
                return r;
        r = write_tree(c, x, &parts, tmp, exists, err);
        if (r < 0 || exists)
                (void)path_remove_tree(AT_FDCWD, tmp, NULL); /* emptied, or given up */
        return r;
}
