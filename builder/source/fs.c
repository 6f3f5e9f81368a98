/* Trees COPY reads from: the common part and the two ways of filling it. */
#include "builder/source/fs_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/num.h"
#include "base/path.h"
#include "base/sys.h"

#define LINK_HOPS_MAX 255

struct fs {
        struct fs_node *root;
        /* local */
        int root_fd;
        char *path;
        const struct ignore *ignore;
        struct stat_index *index;
        const struct fs_node *open_dir; /* whose fd is dir_fd: files are read folder by folder */
        int dir_fd;
        bool borrowed;       /* nodes and root_fd are another handle's */
        const char *changed; /* name of a node whose file is another one now */
        /* chain of layers */
        struct bd_tree *tree;
};

/* A folder that a shared tree has not loaded yet; there should be none. */
static pthread_mutex_t load_lock = PTHREAD_MUTEX_INITIALIZER;

static void node_free(struct fs_node *n)
{
        if (!n)
                return;
        for (size_t i = 0; i < n->nchildren; i++)
                node_free(n->children[i]);
        free(n->children);
        free(n->name);
        free(n->link);
        free(n);
}

static struct fs_node *node_new(const char *name, struct fs_node *parent)
{
        struct fs_node *n = mem_zalloc(1, sizeof(*n));

        if (n)
                n->name = mem_strdup(name);
        if (n && !n->name) {
                free(n);
                return NULL;
        }
        if (n)
                n->parent = parent;
        return n;
}

void fs_free(struct fs *f)
{
        if (!f)
                return;
        fd_close(&f->dir_fd);
        if (f->borrowed) {
                free(f);
                return;
        }
        node_free(f->root);
        fd_close(&f->root_fd);
        free(f->path);
        bd_tree_free(f->tree);
        free(f);
}

int fs_share(struct fs *f, struct fs **ret, struct bld_err *err)
{
        struct fs *s = mem_dup(f, sizeof(*f));

        if (!s)
                return err_nomem(err, "build context");
        s->borrowed = true;
        s->open_dir = NULL;
        s->dir_fd = -1;
        s->changed = NULL;
        *ret = s;
        return 0;
}

const char *fs_changed(const struct fs *f)
{
        return f->changed;
}

struct fs_node *fs_root(struct fs *f)
{
        return f->root;
}

bool fs_is_local(const struct fs *f)
{
        return !f->tree;
}

const struct ignore *fs_ignore(const struct fs *f)
{
        return f->ignore;
}

int fs_path(const struct fs_node *n, struct sb *out, struct bld_err *err)
{
        const struct fs_node *stack[256];
        size_t depth = 0;

        for (; n->parent; n = n->parent) {
                if (depth == ARRAY_LEN(stack))
                        return err_set(err, BLD_E_LIMIT, "folders nested deeper than %zu",
                                       ARRAY_LEN(stack));
                stack[depth++] = n;
        }
        while (depth-- > 0) {
                sb_str(out, stack[depth]->name);
                if (depth)
                        sb_char(out, '/');
        }
        return sb_check(out, "path", err);
}

/* ---- local folders ---- */

static int local_stat(struct fs_node *n, int dirfd, const char *name, struct bld_err *err)
{
        struct statx sx;

        if (statx(dirfd, name, AT_SYMLINK_NOFOLLOW | AT_STATX_DONT_SYNC | AT_EMPTY_PATH,
                  STATX_BASIC_STATS, &sx) < 0)
                return err_sys(err, errno, "stat \"%s\" in the build context", n->name);
        switch (sx.stx_mode & S_IFMT) {
        case S_IFDIR:
                n->type = LY_DIR;
                break;
        case S_IFLNK:
                n->type = LY_SYMLINK;
                break;
        case S_IFCHR:
                n->type = LY_CHAR;
                break;
        case S_IFBLK:
                n->type = LY_BLOCK;
                break;
        case S_IFIFO:
                n->type = LY_FIFO;
                break;
        default: /* a socket is sent as an empty file */
                n->type = LY_FILE;
                break;
        }
        n->mode = sx.stx_mode & 07777;
        n->size = S_ISREG(sx.stx_mode) ? sx.stx_size : 0;
        n->mtime_ns = time_ns(sx.stx_mtime.tv_sec, sx.stx_mtime.tv_nsec);
        n->ctime_ns = time_ns(sx.stx_ctime.tv_sec, sx.stx_ctime.tv_nsec);
        n->dev_major = sx.stx_rdev_major;
        n->dev_minor = sx.stx_rdev_minor;
        n->inode = sx.stx_ino;
        n->device = makedev(sx.stx_dev_major, sx.stx_dev_minor);
        n->nlink = sx.stx_nlink;
        return 0;
}

static int local_readlink(struct fs_node *n, int dirfd, const char *name, struct bld_err *err)
{
        char buf[4097];
        ssize_t k = readlinkat(dirfd, name, buf, sizeof(buf) - 1);

        if (k < 0)
                return err_sys(err, errno, "read link \"%s\" in the build context", n->name);
        n->link = mem_strndup(buf, (size_t)k);
        return n->link ? 0 : err_nomem(err, "link");
}

/* The path was walked without following links; should one have been swapped in since, it is refused
 * here, in every component. */
static int open_beneath(int dirfd, const char *path, int flags)
{
        const struct open_how how = {.flags = (unsigned)(flags | O_CLOEXEC | O_NOFOLLOW),
                                     .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS |
                                                RESOLVE_NO_MAGICLINKS};

        return sys_openat2(dirfd, *path ? path : ".", &how);
}

static int local_open_dir(struct fs *f, const struct fs_node *dir, int *ret, struct bld_err *err)
{
        AUTO_SB struct sb path = SB_INIT(65536);
        int r = fs_path(dir, &path, err);

        if (r < 0)
                return r;
        *ret = open_beneath(f->root_fd, sb_text(&path), O_RDONLY | O_DIRECTORY);
        if (*ret < 0)
                return err_sys(err, errno, "read folder \"%s\" of the build context",
                               path.len ? sb_text(&path) : ".");
        return 0;
}

static int cmp_nodes(const void *a, const void *b)
{
        return strcmp((*(struct fs_node *const *)a)->name, (*(struct fs_node *const *)b)->name);
}

VEC_DEFINE(node_vec, struct fs_node *);

static int add_node(struct node_vec *list, struct fs_node *n, struct bld_err *err)
{
        struct fs_node **slot = n ? node_vec_push(list) : NULL;

        if (!slot) {
                node_free(n);
                return err_nomem(err, "build context");
        }
        *slot = n;
        return 0;
}

static int local_load(struct fs *f, struct fs_node *dir, struct bld_err *err);

/* Does an excluded folder hold something an exception brings back? */
static int kept_by_exception(struct fs *f, struct fs_node *n, const char *path, bool *ret,
                             struct bld_err *err)
{
        int r;

        *ret = false;
        if (n->type != LY_DIR || !ignore_may_include_below(f->ignore, path))
                return 0;
        r = local_load(f, n, err);
        *ret = n->nchildren > 0;
        return r;
}

static int local_child(struct fs *f, struct fs_node *dir, int dirfd, const char *name,
                       struct sb *path, struct node_vec *list, struct bld_err *err)
{
        struct fs_node *n = node_new(name, dir);
        size_t base = path->len;
        bool keep = true;
        int r = n ? local_stat(n, dirfd, name, err) : err_nomem(err, "build context");

        if (r == 0 && f->ignore) {
                if (base)
                        sb_char(path, '/');
                sb_str(path, name);
                r = sb_check(path, "path", err);
                if (r == 0 && ignore_match(f->ignore, sb_text(path), NULL))
                        r = kept_by_exception(f, n, sb_text(path), &keep, err);
                sb_cut(path, base);
        }
        if (r == 0 && keep && n->type == LY_SYMLINK)
                r = local_readlink(n, dirfd, name, err);
        if (r < 0 || !keep) {
                node_free(n);
                return r;
        }
        return add_node(list, n, err);
}

static int local_load(struct fs *f, struct fs_node *dir, struct bld_err *err)
{
        AUTO_SB struct sb path = SB_INIT(65536);
        struct node_vec list = {0};
        const struct dirent *e;
        DIR *d;
        int fd = -1, r;

        if (dir->loaded)
                return 0;
        r = fs_path(dir, &path, err);
        if (r == 0)
                r = local_open_dir(f, dir, &fd, err);
        if (r < 0)
                return r;
        d = fdopendir(fd);
        if (!d) {
                r = err_sys(err, errno, "read folder");
                fd_close(&fd);
                return r;
        }
        while (r == 0 && (errno = 0, e = readdir(d)))
                if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
                        r = local_child(f, dir, dirfd(d), e->d_name, &path, &list, err);
        if (r == 0 && errno)
                r = err_sys(err, errno, "read folder \"%s\" of the build context", sb_text(&path));
        (void)closedir(d);
        if (list.n > 1)
                qsort(list.v, list.n, sizeof(*list.v), cmp_nodes);
        dir->children = list.v;
        dir->nchildren = list.n;
        dir->loaded = r == 0;
        return r;
}

int fs_open_local(const char *path, const struct ignore *ignore, struct stat_index *index,
                  struct fs **ret, struct bld_err *err)
{
        AUTO(fs_free_p) struct fs *f = mem_zalloc(1, sizeof(*f));
        int r;

        if (!f)
                return err_nomem(err, "build context");
        f->dir_fd = -1;
        f->root_fd = sys_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
        if (f->root_fd < 0)
                return err_sys(err, errno, "open build context \"%s\"", path);
        f->ignore = ignore && ignore_count(ignore) ? ignore : NULL;
        f->index = index;
        f->path = mem_strdup(path);
        f->root = node_new("", NULL);
        if (!f->root || !f->path)
                return err_nomem(err, "build context");
        r = local_stat(f->root, f->root_fd, "", err);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(&f);
        return 0;
}

/* ---- chains of layers ---- */

/* A node's data may stand in another entry (hard links): that entry's address names the inode. */
static void view_fill(struct fs_node *n, const struct ly_node *ly)
{
        const struct ly_entry *e = ly->e;

        n->ly = ly;
        if (!e) { /* a folder that no layer describes */
                n->type = LY_DIR;
                n->mode = 0755;
                return;
        }
        n->type = e->type == LY_HARDLINK ? (ly->t ? ly->t->e.type : LY_FILE) : e->type;
        n->mode = ly->t ? ly->t->e.mode : e->mode;
        n->uid = ly->t ? ly->t->e.uid : e->uid;
        n->gid = ly->t ? ly->t->e.gid : e->gid;
        n->size = ly->t ? ly->t->e.size : e->size;
        n->mtime_ns = ly->t ? ly->t->e.mtime_ns : e->mtime_ns;
        n->dev_major = e->dev_major;
        n->dev_minor = e->dev_minor;
        n->inode = (uint64_t)(uintptr_t)ly->t;
        n->device = 1;
        n->nlink = 2; /* unknown; the pair decides */
}

static int view_load(struct fs *f, struct fs_node *dir, struct bld_err *err)
{
        size_t n = 0;
        const struct ly_node *const *kids = ly_view_children(bd_tree_view(f->tree), dir->ly, &n);

        if (dir->loaded)
                return 0;
        dir->children = mem_zalloc(n, sizeof(*dir->children));
        if (!dir->children)
                return err_nomem(err, "tree of an image");
        for (size_t i = 0; i < n; i++) {
                struct fs_node *c = node_new(kids[i]->name, dir);

                if (!c)
                        return err_nomem(err, "tree of an image");
                dir->children[dir->nchildren++] = c;
                view_fill(c, kids[i]);
                if (c->type == LY_SYMLINK && kids[i]->t) {
                        c->link = mem_strdup(kids[i]->t->e.link ? kids[i]->t->e.link : "");
                        if (!c->link)
                                return err_nomem(err, "tree of an image");
                }
        }
        dir->loaded = true;
        return 0;
}

int fs_open_layers(struct bd_ctx *c, const struct bd_layers *layers, struct fs **ret,
                   struct bld_err *err)
{
        AUTO(fs_free_p) struct fs *f = mem_zalloc(1, sizeof(*f));
        int r;

        if (!f)
                return err_nomem(err, "tree of an image");
        f->root_fd = f->dir_fd = -1;
        f->root = node_new("", NULL);
        if (!f->root)
                return err_nomem(err, "tree of an image");
        r = bd_tree_open(c, layers, &f->tree, err);
        if (r < 0)
                return r;
        view_fill(f->root, ly_view_root(bd_tree_view(f->tree)));
        f->root->type = LY_DIR;
        *ret = TAKE_PTR(&f);
        return 0;
}

/* ---- both ---- */

int fs_children(struct fs *f, struct fs_node *dir, struct bld_err *err)
{
        int r;

        if (dir->type != LY_DIR)
                return 0;
        if (f->tree || !f->borrowed || dir->loaded)
                return f->tree ? view_load(f, dir, err) : local_load(f, dir, err);
        (void)pthread_mutex_lock(&load_lock);
        r = local_load(f, dir, err);
        (void)pthread_mutex_unlock(&load_lock);
        return r;
}

int fs_child(struct fs *f, struct fs_node *dir, const char *name, size_t len, struct fs_node **ret,
             struct bld_err *err)
{
        size_t lo = 0, hi;
        int r = fs_children(f, dir, err);

        if (r < 0)
                return r;
        *ret = NULL;
        for (hi = dir->nchildren; lo < hi;) {
                size_t mid = (lo + hi) / 2;
                const char *have = dir->children[mid]->name;
                int k = strncmp(have, name, len);

                if (k == 0)
                        k = have[len] != '\0';
                if (k == 0) {
                        *ret = dir->children[mid];
                        return 0;
                }
                if (k < 0)
                        lo = mid + 1;
                else
                        hi = mid;
        }
        return 0;
}

static int resolve(struct fs *f, struct fs_node *from, const char *path, bool follow_last, int hops,
                   struct fs_node **ret, struct bld_err *err)
{
        struct fs_node *n = *path == '/' ? f->root : from;

        for (const char *p = path; n && *p;) {
                size_t len = strcspn(p, "/");
                bool last = p[len + strspn(p + len, "/")] == '\0';
                struct fs_node *next = NULL;
                int r;

                if (len == 0 || (len == 1 && p[0] == '.')) {
                        p += len + (p[len] == '/');
                        continue;
                }
                if (len == 2 && p[0] == '.' && p[1] == '.') {
                        n = n->parent ? n->parent : n;
                        p += len + (p[len] == '/');
                        continue;
                }
                if (n->type != LY_DIR) {
                        n = NULL;
                        break;
                }
                r = fs_child(f, n, p, len, &next, err);
                if (r < 0)
                        return r;
                if (next && next->type == LY_SYMLINK && (!last || follow_last)) {
                        if (hops >= LINK_HOPS_MAX)
                                return err_set(err, BLD_E_INVALID,
                                               "too many levels of symbolic links at \"%s\"", path);
                        r = resolve(f, n, next->link, true, hops + 1, &next, err);
                        if (r < 0)
                                return r;
                }
                n = next;
                p += len + (p[len] == '/');
        }
        *ret = n;
        return 0;
}

int fs_resolve(struct fs *f, struct fs_node *from, const char *path, bool follow_last,
               struct fs_node **ret, struct bld_err *err)
{
        return resolve(f, from ? from : f->root, path, follow_last, 0, ret, err);
}

static int open_failed(const struct fs_node *n, int errnum, struct bld_err *err)
{
        AUTO_SB struct sb path = SB_INIT(65536);
        int r = fs_path(n, &path, err);

        if (r < 0)
                return r;
        r = err_sys(err, errnum, "read \"%s\" of the build context", sb_text(&path));
        if (errnum != EACCES)
                return r;
        return err_try(err, r, "make it readable, or list it in .dockerignore");
}

int fs_open_file(struct fs *f, struct fs_node *n, int *ret_fd, struct bld_err *err)
{
        struct stat st;
        int fd, r;

        *ret_fd = -1;
        if (f->tree)
                return 0;
        if (f->open_dir != n->parent) {
                fd_close(&f->dir_fd);
                f->open_dir = NULL;
                r = local_open_dir(f, n->parent, &fd, err);
                if (r < 0)
                        return r;
                f->dir_fd = fd;
                f->open_dir = n->parent;
        }
        /* Should it have become a pipe or a device since it was looked at, it does not block. */
        fd = open_beneath(f->dir_fd, n->name, O_RDONLY | O_NONBLOCK | O_NOCTTY);
        if (fd < 0)
                return open_failed(n, errno, err);
        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
                fd_close(&fd);
                return err_set(
                        err, BLD_E_INVALID,
                        "\"%s\" of the build context became something else while it was read",
                        n->name);
        }
        *ret_fd = fd;
        return 0;
}

static int hash_sink(void *user, const void *p, size_t n, struct bld_err *err)
{
        (void)err;
        hasher_add(user, p, n);
        return 0;
}

static void stat_key_of(const struct fs_node *n, struct stat_key *k)
{
        *k = (struct stat_key){.dev = n->device,
                               .ino = n->inode,
                               .size = n->size,
                               .mtime_ns = n->mtime_ns,
                               .ctime_ns = n->ctime_ns,
                               .mode = n->mode};
}

int fs_digest(struct fs *f, struct fs_node *n, struct bld_err *err)
{
        AUTO_SB struct sb path = SB_INIT(65536);
        struct stat_key k;
        int64_t begun;
        struct hasher h;
        int r;

        if (n->digested)
                return 0;
        if (!f->tree && f->index) {
                stat_key_of(n, &k);
                r = fs_path(n, &path, err);
                if (r < 0)
                        return r;
                if (stat_index_get(f->index, sb_text(&path), path.len, &k, &n->digest)) {
                        n->digested = true;
                        return 0;
                }
        }
        begun = time_now_ns();
        hasher_init(&h, DIGEST_SHA256);
        r = fs_read(f, n, &(struct ly_sink){hash_sink, &h}, err);
        if (r < 0)
                return r;
        hasher_end(&h, &n->digest);
        n->digested = true;
        if (!f->tree && f->index &&
            stat_index_put(f->index, sb_text(&path), path.len, &k, begun, &n->digest) < 0)
                return err_nomem(err, "stat index");
        return 0;
}

/* Is the open file what the walk saw? */
static bool unchanged(const struct fs_node *n, int fd)
{
        struct stat st;

        return fstat(fd, &st) == 0 && st.st_ino == n->inode && (uint64_t)st.st_size == n->size &&
               timespec_ns(st.st_mtim) == n->mtime_ns && timespec_ns(st.st_ctim) == n->ctime_ns;
}

int fs_read(struct fs *f, struct fs_node *n, const struct ly_sink *out, struct bld_err *err)
{
        AUTO_FD int fd = -1;
        AUTO_FREE char *buf = NULL;
        uint64_t left = n->size;
        int r;

        if (f->tree)
                return n->ly->t ? bd_tree_read(f->tree, n->ly, out, err) : 0;
        if (n->size == 0)
                return 0;
        buf = mem_alloc(1u << 18);
        if (!buf)
                return err_nomem(err, "read buffer");
        r = fs_open_file(f, n, &fd, err);
        while (r == 0 && left > 0) {
                ssize_t k = sys_read(fd, buf, (size_t)MIN(left, (uint64_t)1 << 18));

                if (k < 0)
                        return err_sys(err, errno, "read \"%s\" of the build context", n->name);
                if (k == 0)
                        return err_set(err, BLD_E_INVALID,
                                       "\"%s\" of the build context shrank while it was read",
                                       n->name);
                left -= (uint64_t)k;
                r = out->write(out->user, buf, (size_t)k, err);
        }
        if (r == 0 && !unchanged(n, fd))
                f->changed = n->name;
        return r;
}

int fs_capability(struct fs *f, const struct fs_node *n, unsigned char **ret, size_t *ret_len,
                  struct bld_err *err)
{
        const struct ly_xattr *x;

        /* Capabilities of files in a local context are not carried over, as with the peers. */
        if (!f->tree || !n->ly->t)
                return 0;
        x = ly_entry_capability(&n->ly->t->e);
        if (!x)
                return 0;
        *ret = mem_dup(x->value, x->len);
        *ret_len = x->len;
        return *ret ? 1 : err_nomem(err, "capability");
}

bool fs_is_ignored(struct fs *f, const char *path, unsigned *ret_line)
{
        struct stat st;

        return f->ignore && f->root_fd >= 0 && ignore_match(f->ignore, path, ret_line) &&
               fstatat(f->root_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
}
