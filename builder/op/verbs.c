/* The keeper's verbs: what its children do with trees. They run inside the build's user namespace,
 * shut in to the store, and talk in JSON; tar streams go through passed pipes. */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/owner.h"
#include "base/sys.h"
#include "builder/op/op_priv.h"

#define LOWERS_MAX 500

static int args_of(const struct rt_verb_ctx *x, struct js **ret, struct bld_err *err)
{
        return js_parse(x->args, x->nargs, ret, err);
}

static int open_below(int dirfd, const char *path, int flags, struct bld_err *err)
{
        const struct open_how how = {.flags = (unsigned)(flags | O_CLOEXEC),
                                     .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
        int fd = sys_openat2(dirfd, path, &how);

        return fd < 0 ? err_sys(err, errno, "open %s in the store", path) : fd;
}

/* ---- user namespaces: owners are noted, and the table stands beside the tree ---- */

/* All owners, or those alone that the namespace cannot have. */
static bool one_id(const struct rt_verb_ctx *x)
{
        return x->env->level == RT_SOLO;
}

static bool notes(const struct rt_verb_ctx *x)
{
        return x->env->user_xattr || x->env->native;
}

static void owners_init(const struct rt_verb_ctx *x, struct owner_table *t)
{
        owner_table_init(t);
        t->beyond = !one_id(x);
}

static int owners_write(const struct owner_table *t, int dir, struct bld_err *err)
{
        AUTO_FD int fd = -1;

        if (t->beyond && owner_table_empty(t))
                return 0;
        fd = sys_openat(dir, RT_OWNERS, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return err_sys(err, errno, "make the table of owners");
        return owner_table_write(t, fd, err);
}

/* "snapshots/v/id/fs" -> "snapshots/v/id/owners" */
static char *owners_beside(const char *tree)
{
        const char *slash = strrchr(tree, '/');
        char *s = NULL;

        return asprintf(&s, "%.*s/" RT_OWNERS, slash ? (int)(slash - tree) : 0, tree) < 0 ? NULL
                                                                                          : s;
}

static int owners_add(struct owner_table *t, int store_fd, const char *tree, struct bld_err *err)
{
        AUTO_FREE char *path = owners_beside(tree);

        return path ? owner_table_load(t, store_fd, path, err) : err_nomem(err, "owners");
}

/* Owner and mode of what the build makes for a step. */
static int give(const struct rt_verb_ctx *x, int dir, const char *name, const struct js *a,
                int64_t mode, struct bld_err *err)
{
        const struct owner o = {.uid = (uint32_t)js_i64(js_get(a, "uid"), 0),
                                .gid = (uint32_t)js_i64(js_get(a, "gid"), 0)};
        AUTO(owner_table_done) struct owner_table unused;
        struct stat st;
        int r;

        owner_table_init(&unused);
        r = one_id(x) ? 1 : owner_tell(dir, name, AT_SYMLINK_NOFOLLOW, o.uid, o.gid);
        if (r > 0) /* of a socket nobody will see it */
                r = fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0
                            ? -1
                            : owner_note(&unused, dir, name, &st, &o);
        if (r < 0 || fchmodat(dir, name, (mode_t)js_i64(js_get(a, "mode"), mode), 0) < 0)
                return err_sys(err, errno, "set owner and mode for the step");
        return 0;
}

static int verb_unpack(struct rt_verb_ctx *x, struct bld_err *err)
{
        AUTO_JS struct js *a = NULL;
        AUTO_FD int dest = -1, root = -1;
        AUTO(owner_table_done) struct owner_table owners;
        struct ly_apply_opts o = {.keep_owner = true, .tolerate_dev = true};
        struct ly_apply_stats st = {0};
        struct ly_source tar;
        int r;

        owners_init(x, &owners);
        o.keep_owner = !one_id(x);
        if (notes(x))
                o.owners = &owners;
        r = args_of(x, &a, err);
        if (r < 0)
                return r;
        if (x->nfds != 1 || !js_get_str(a, "dest"))
                return err_set(err, BLD_E_BUG, "unpack: arguments");
        o.form = (enum ly_tree_form)js_i64(js_get(a, "form"), LY_TREE_PLAIN);
        dest = open_below(x->store_fd, js_get_str(a, "dest"), O_RDONLY | O_DIRECTORY, err);
        if (dest < 0)
                return dest;
        /* Whole trees are made of one layer after the other. */
        if (sys_mkdirat(dest, "fs", 0755) < 0 && (errno != EEXIST || o.form != LY_TREE_PLAIN))
                return err_sys(err, errno, "make the folder of a snapshot");
        root = open_below(dest, "fs", O_RDONLY | O_DIRECTORY, err);
        if (root < 0)
                return root;
        (void)fchmod(root, 0755); /* whatever the umask was; the layer may say otherwise */
        tar = ly_source_fd(x->fds[0]);
        r = ly_apply(&tar, root, &o, &st, err);
        if (r == 0 && notes(x) && !x->env->native)
                r = owners_write(&owners, dest, err);
        if (r == 0)
                sb_fmt(x->out, "{\"entries\":%llu,\"bytes\":%llu,\"disk\":%llu}",
                       (unsigned long long)st.entries, (unsigned long long)st.bytes,
                       (unsigned long long)st.disk_bytes);
        return r;
}

/* Mount points that bld made and the step left alone go away, so that what becomes a lower layer is
 * what the layer's tar holds. */
static void drop_stubs(int upper, const struct ly_stub *stubs, size_t n)
{
        for (size_t i = n; i-- > 0;) {
                const struct ly_stub *s = &stubs[i];
                const char *slash = strrchr(s->path, '/');
                AUTO_FREE char *dir = mem_strndup(s->path, slash ? (size_t)(slash - s->path) : 0);
                AUTO_FD int parent = -1;
                struct stat st;
                struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {0}};

                if (!dir || s->keep)
                        continue;
                parent = open_below(upper, *dir ? dir : ".", O_RDONLY | O_DIRECTORY, NULL);
                slash = slash ? slash + 1 : s->path;
                if (parent < 0 || fstatat(parent, slash, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
                    st.st_ino != s->ino || (!s->is_dir && st.st_size > 0))
                        continue;
                /* Not empty any more: the step used it, and it stays. */
                if (sys_unlinkat(parent, slash, s->is_dir ? AT_REMOVEDIR : 0) < 0)
                        continue;
                times[1].tv_sec = s->parent_mtime_ns / 1000000000;
                times[1].tv_nsec = s->parent_mtime_ns % 1000000000;
                (void)futimens(parent, times);
        }
}

static int read_stubs(const struct js *a, struct ly_stub **ret, size_t *ret_n, struct bld_err *err)
{
        const struct js *arr = js_get(a, "stubs");
        size_t n = js_len(arr);
        struct ly_stub *v = mem_zalloc(n, sizeof(*v));

        if (!v)
                return err_nomem(err, "mount points");
        for (size_t i = 0; i < n; i++) {
                const struct js *j = js_at(arr, i);
                int64_t ino = 0;

                if (!js_get_str(j, "path") ||
                    !str_copy(v[i].path, sizeof(v[i].path), js_get_str(j, "path"))) {
                        free(v);
                        return err_set(err, BLD_E_BUG, "pack: stub path");
                }
                (void)js_get_i64(j, "ino", &ino);
                v[i].ino = (uint64_t)ino;
                v[i].is_dir = js_get_bool(j, "dir", false);
                v[i].keep = js_get_bool(j, "keep", false);
                (void)js_get_i64(j, "mtime", &v[i].parent_mtime_ns);
        }
        *ret = v;
        *ret_n = n;
        return 0;
}

static int load_owners(const struct rt_verb_ctx *x, const struct js *a, struct owner_table *t,
                       struct bld_err *err)
{
        const struct js *lowers = js_get(a, "lowers");
        int r = owners_add(t, x->store_fd, js_get_str(a, "upper"), err);

        for (size_t i = 0; i < js_len(lowers) && r == 0; i++)
                r = js_str(js_at(lowers, i))
                            ? owners_add(t, x->store_fd, js_str(js_at(lowers, i)), err)
                            : 0;
        return r;
}

static int open_lowers(int store_fd, const struct js *arr, int *fds, size_t *ret_n,
                       struct bld_err *err)
{
        for (size_t i = 0; i < js_len(arr); i++) {
                const char *path = js_str(js_at(arr, i));

                if (!path || i >= LOWERS_MAX)
                        return err_set(err, BLD_E_BUG, "pack: lower folders");
                fds[i] = open_below(store_fd, path, O_RDONLY | O_DIRECTORY, err);
                if (fds[i] < 0)
                        return fds[i];
                *ret_n = i + 1;
        }
        return 0;
}

/* ---- whole trees ---- */

static int null_write(void *user, const void *p, size_t n, struct bld_err *err)
{
        (void)user;
        (void)p;
        (void)n;
        (void)err;
        return 0;
}

/* Diff of a tree against its record in base_dir (NULL: none), the new record in now_dir. */
static int scan(const struct rt_verb_ctx *x, const char *tree, const char *base_dir,
                const char *now_dir, const struct ly_sink *tar, uint64_t *disk_bytes,
                struct bld_err *err)
{
        struct ly_diff_opts o = {.form = LY_TREE_PLAIN, .disk_bytes = disk_bytes};
        AUTO(owner_table_done) struct owner_table owners; /* attributes alone */
        AUTO_FD int root = open_below(x->store_fd, tree, O_RDONLY | O_DIRECTORY, err);
        AUTO_FD int dir = -1, from = -1, base = -1, now = -1;

        owners_init(x, &owners);
        o.owners = &owners;
        if (root < 0)
                return root;
        if (base_dir) {
                from = open_below(x->store_fd, base_dir, O_RDONLY | O_DIRECTORY, err);
                base = from < 0 ? from : open_below(from, "baseline", O_RDONLY, err);
                if (base < 0)
                        return base;
        }
        dir = open_below(x->store_fd, now_dir, O_RDONLY | O_DIRECTORY, err);
        if (dir < 0)
                return dir;
        if (sys_unlinkat(dir, "baseline", 0) < 0 && errno != ENOENT)
                return err_sys(err, errno, "replace the record of a tree");
        now = sys_openat(dir, "baseline", O_CREAT | O_EXCL | O_RDWR | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (now < 0)
                return err_sys(err, errno, "make the record of a tree");
        o.base_in = base;
        o.base_out = now;
        return ly_diff_upper(root, &o, tar, err);
}

static int verb_record(struct rt_verb_ctx *x, struct bld_err *err)
{
        const struct ly_sink nowhere = {null_write, NULL};
        AUTO_JS struct js *a = NULL;
        AUTO_FREE char *tree = NULL;
        const char *dir;
        int r = args_of(x, &a, err);

        if (r < 0)
                return r;
        dir = js_get_str(a, "dir");
        if (!dir)
                return err_set(err, BLD_E_BUG, "record: arguments");
        if (asprintf(&tree, "%s/fs", dir) < 0) {
                tree = NULL;
                return err_nomem(err, "tree");
        }
        return scan(x, tree, js_get_bool(a, "again", false) ? dir : NULL, dir, &nowhere, NULL, err);
}

static int pack_tree(struct rt_verb_ctx *x, const struct js *a, uint64_t *disk_bytes,
                     struct bld_err *err)
{
        const struct ly_sink tar = ly_sink_fd(x->fds[0]);

        return scan(x, js_get_str(a, "upper"), js_get_str(a, "base"), js_get_str(a, "now"), &tar,
                    disk_bytes, err);
}

static int pack_upper(struct rt_verb_ctx *x, const struct js *a, uint64_t *disk_bytes,
                      struct bld_err *err)
{
        struct ly_diff_opts o = {.form = (enum ly_tree_form)js_i64(js_get(a, "form"), 0),
                                 .disk_bytes = disk_bytes};
        AUTO_FD int upper =
                open_below(x->store_fd, js_get_str(a, "upper"), O_RDONLY | O_DIRECTORY, err);
        AUTO_FREE struct ly_stub *stubs = NULL;
        AUTO(owner_table_done) struct owner_table owners;
        struct ly_sink tar = ly_sink_fd(x->fds[0]);
        int lowers[LOWERS_MAX];
        int r = upper < 0 ? upper : read_stubs(a, &stubs, &o.nstubs, err);

        owners_init(x, &owners);
        if (notes(x))
                o.owners = &owners;
        if (r == 0 && notes(x))
                r = load_owners(x, a, &owners, err);
        if (r == 0)
                r = open_lowers(x->store_fd, js_get(a, "lowers"), lowers, &o.nlower, err);
        o.lower_fds = lowers;
        o.stubs = stubs;
        if (r == 0)
                r = ly_diff_upper(upper, &o, &tar, err);
        if (r == 0)
                drop_stubs(upper, stubs, o.nstubs);
        for (size_t i = 0; i < o.nlower; i++)
                (void)close(lowers[i]);
        return r;
}

/* The table goes with its tree. */
static int keep_owners(const struct rt_verb_ctx *x, const struct js *a, struct bld_err *err)
{
        AUTO_FREE char *from = owners_beside(js_get_str(a, "upper"));
        AUTO_FREE char *to = owners_beside(js_get_str(a, "adopt"));

        if (!from || !to)
                return err_nomem(err, "owners");
        if (sys_rename(x->store_fd, from, x->store_fd, to) < 0 && (one_id(x) || errno != ENOENT))
                return err_sys(err, errno, "keep the table of owners");
        return 0;
}

static int verb_pack(struct rt_verb_ctx *x, struct bld_err *err)
{
        AUTO_JS struct js *a = NULL;
        uint64_t disk_bytes = 0;
        int r = args_of(x, &a, err);

        if (r < 0)
                return r;
        if (x->nfds != 1 || !js_get_str(a, "upper") || !js_get_str(a, "adopt"))
                return err_set(err, BLD_E_BUG, "pack: arguments");
        r = js_get_str(a, "base") ? pack_tree(x, a, &disk_bytes, err)
                                  : pack_upper(x, a, &disk_bytes, err);
        if (r < 0)
                return r;
        sb_fmt(x->out, "{\"disk\":%llu}", (unsigned long long)disk_bytes);
        if (sys_rename(x->store_fd, js_get_str(a, "upper"), x->store_fd, js_get_str(a, "adopt")) <
            0)
                return err_sys(err, errno, "keep the upper folder as a snapshot");
        return notes(x) && !x->env->native ? keep_owners(x, a, err) : 0;
}

static int verb_cache(struct rt_verb_ctx *x, struct bld_err *err)
{
        AUTO_JS struct js *a = NULL;
        AUTO_FD int fd = -1;
        const char *path;
        int r = args_of(x, &a, err);

        if (r < 0)
                return r;
        path = js_get_str(a, "path");
        if (!path)
                return err_set(err, BLD_E_BUG, "cache: arguments");
        /* With contents: they were unpacked beside it. Whoever comes second takes what is there. */
        if (js_get_str(a, "from")) {
                if (renameat2(x->store_fd, js_get_str(a, "from"), x->store_fd, path,
                              RENAME_NOREPLACE) < 0 &&
                    errno != EEXIST)
                        return err_sys(err, errno, "make cache mount %s", path);
                return 0;
        }
        if (sys_mkdirat(x->store_fd, path, 0700) < 0)
                return errno == EEXIST ? 0 : err_sys(err, errno, "make cache mount %s", path);
        fd = open_below(x->store_fd, path, O_RDONLY | O_DIRECTORY, err);
        if (fd < 0)
                return fd;
        r = give(x, fd, ".", a, 0755, err);
        return r < 0 ? err_wrap(err, r, "cache mount %s", path) : 0;
}

/* For what only the namespace knows the owners of. The folder is the build's own, in tmp/. */
static int verb_own(struct rt_verb_ctx *x, struct bld_err *err)
{
        AUTO_JS struct js *a = NULL;
        AUTO_FD int dir = -1;
        const char *name;
        int r = args_of(x, &a, err);

        if (r < 0)
                return r;
        name = js_get_str(a, "name");
        if (!js_get_str(a, "dir") || !name || strchr(name, '/'))
                return err_set(err, BLD_E_BUG, "own: arguments");
        dir = open_below(x->store_fd, js_get_str(a, "dir"), O_RDONLY | O_DIRECTORY, err);
        if (dir < 0)
                return dir;
        return give(x, dir, name, a, 0600, err);
}

static const struct rt_verb verbs[] = {
        {VERB_UNPACK, verb_unpack}, {VERB_PACK, verb_pack},     {VERB_CACHE, verb_cache},
        {VERB_OWN, verb_own},       {VERB_RECORD, verb_record},
};

const struct rt_verb *bd_verbs(size_t *ret_n)
{
        *ret_n = ARRAY_LEN(verbs);
        return verbs;
}
