/* --report DIR: both versions of what differs as plain files, to be looked at with other programs.
 *
 * The names come from images, which anybody may have made. Everything is made below DIR, which was
 * empty, through handles that follow no link and leave no folder; nothing but folders and plain
 * files is made, none with a special mode or another's owner. What else there is, report.json
 * describes. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/sys.h"
#include "cli/diff.h"

struct report {
        struct cli *c;
        const char *side; /* "a" or "b" */
        struct bld_tree *tree;
        int dir; /* of that side */
        int fd;  /* the file whose bytes come */
        bool skipped;
        uint64_t size;
        size_t unnamed; /* files whose names this system does not take */
        struct bld_err err;
};

/* mkdir -p and open, one component at a time. */
static int open_parent(int dir, const char *path, const char **ret_last, int *ret,
                       struct bld_err *err)
{
        AUTO_FD int at = fcntl(dir, F_DUPFD_CLOEXEC, 0);
        const char *slash;

        if (at < 0)
                return err_sys(err, errno, "open the report's folder");
        while ((slash = strchr(path, '/'))) {
                AUTO_FREE char *name = mem_strndup(path, (size_t)(slash - path));
                int next;

                if (!name)
                        return err_nomem(err, "report");
                if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
                        return err_set(err, BLD_E_BUG, "a path is not clean");
                if (sys_mkdirat(at, name, 0755) < 0 && errno != EEXIST)
                        return err_sys(err, errno, "make the folder %s of the report", name);
                next = sys_openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
                if (next < 0)
                        return err_sys(err, errno, "open the folder %s of the report", name);
                fd_close(&at);
                at = next;
                path = slash + 1;
        }
        if (!*path || strcmp(path, ".") == 0 || strcmp(path, "..") == 0)
                return err_set(err, BLD_E_BUG, "a path is not clean");
        *ret_last = path;
        *ret = take_fd(&at);
        return 0;
}

static int open_file(struct report *r, size_t node)
{
        struct bld_tree_node n = {.size = sizeof(n)};
        AUTO_FD int parent = -1;
        const char *last = "";
        int ret = bld_tree_node(r->tree, node, &n, &r->err);

        r->size = 0;
        r->skipped = false;
        ret = ret < 0 ? ret : open_parent(r->dir, n.path, &last, &parent, &r->err);
        if (ret == 0) {
                r->fd = sys_openat(parent, last,
                                   O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
                if (r->fd < 0)
                        ret = err_sys(&r->err, errno, "make %s/%s", r->side, n.path);
        }
        /* A name longer than this file system takes, or in its eyes equal to another. */
        if (ret < 0 && (r->err.sys == ENAMETOOLONG || r->err.sys == EEXIST ||
                        r->err.sys == EILSEQ || r->err.sys == EINVAL)) {
                err_clear(&r->err);
                r->skipped = true;
                r->unnamed++;
                return 0;
        }
        return ret;
}

static int close_file(struct report *r)
{
        int fd = take_fd(&r->fd);

        if (fd < 0)
                return 0;
        if (sys_ftruncate(fd, (int64_t)r->size) < 0) {
                int saved = errno;

                (void)close(fd);
                return err_sys(&r->err, saved, "write the report");
        }
        return close(fd) < 0 ? err_sys(&r->err, errno, "write the report") : 0;
}

static int take(void *user, size_t node, const void *p, size_t n)
{
        struct report *r = user;

        if (r->fd < 0 && !r->skipped && open_file(r, node) < 0)
                return 1;
        if (n && r->fd >= 0) {
                r->size += n;
                return fd_write_sparse(r->fd, p, n, &r->err) < 0;
        }
        if (n)
                return 0;
        r->skipped = false;
        return close_file(r) < 0;
}

/* Of what was only given other attributes there is nothing to see. */
static int choose(const struct bld_diff *d, bool after, size_t *v, size_t *ret_n,
                  struct bld_err *err)
{
        for (size_t i = 0; i < bld_diff_count(d); i++) {
                struct diff_sides s;
                int r = diff_sides(d, i, &s, err);
                const struct bld_tree_node *n = after ? &s.after : &s.before;

                if (r < 0)
                        return r;
                if (s.change->kind == BLD_CHANGE_METADATA || !(after ? s.has_after : s.has_before))
                        continue;
                if (n->type == BLD_LAYER_FILE)
                        v[(*ret_n)++] = after ? s.change->after : s.change->before;
        }
        return 0;
}

static int write_side(struct report *r, const struct diff_result *res, int top, bool after,
                      struct bld_err *err)
{
        AUTO_FREE size_t *v = mem_zalloc(bld_diff_count(res->files) + 1, sizeof(*v));
        AUTO_FD int dir = -1;
        size_t n = 0;
        int ret;

        if (!v)
                return err_nomem(err, "report");
        r->side = after ? "b" : "a";
        r->tree = after ? bld_diff_tree_b(res->files) : bld_diff_tree_a(res->files);
        if (sys_mkdirat(top, r->side, 0755) < 0)
                return err_sys(err, errno, "make the folder %s of the report", r->side);
        dir = sys_openat(top, r->side, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
        if (dir < 0)
                return err_sys(err, errno, "open the folder %s of the report", r->side);
        r->dir = dir;
        ret = choose(res->files, after, v, &n, err);
        if (ret == 0 && n)
                ret = bld_tree_read_many(r->tree, v, n, take, r, res->ask->watch, err);
        fd_close(&r->fd);
        if (ret == 1) {
                err_copy(err, &r->err);
                return r->err.code;
        }
        return ret;
}

int diff_report_check(const char *dir, struct bld_err *err)
{
        AUTO_STRV struct strv names = {0};
        struct stat st;
        int r = path_names(dir, &names, err);

        if (r < 0)
                return r;
        if (names.n || (r == 0 && stat(dir, &st) == 0))
                return err_set(err, BLD_E_USAGE,
                               "--report %s: there is something already\ntry: a new folder", dir);
        return 0;
}

static int open_dir(const char *dir, int *ret, struct bld_err *err)
{
        int r = diff_report_check(dir, err);

        r = r < 0 ? r : path_mkdirs(AT_FDCWD, dir, 0755, err);
        if (r < 0)
                return r;
        *ret = sys_openat(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
        return *ret < 0 ? err_sys(err, errno, "open %s", dir) : 0;
}

static int write_index(const struct diff_result *res, struct diff_content *content, const char *dir,
                       struct bld_err *err)
{
        AUTO_OUT struct out o = {.fd = -1};
        AUTO_FREE char *path = path_join(dir, "report.json");
        int r = path ? out_open(&o, path, COLOR_NEVER, err) : err_nomem(err, "report");

        r = r < 0 ? r : diff_write_json(res, content, false, &o, err);
        return r < 0 ? r : out_end(&o, err);
}

int diff_write_report(struct cli *c, const struct diff_result *res, struct diff_content *content,
                      const char *dir, struct bld_err *err)
{
        struct report rep = {.c = c, .fd = -1};
        AUTO_FD int top = -1;
        int r = open_dir(dir, &top, err);

        r = r < 0 ? r : write_side(&rep, res, top, false, err);
        r = r < 0 ? r : write_side(&rep, res, top, true, err);
        r = r < 0 ? r : write_index(res, content, dir, err);
        if (r == 0 && rep.unnamed)
                cli_note(c, "warning",
                         "%zu file%s of the images cannot be named here and %s missing in %s",
                         rep.unnamed, rep.unnamed == 1 ? "" : "s", rep.unnamed == 1 ? "is" : "are",
                         dir);
        return r;
}
