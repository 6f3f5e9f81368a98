/* Cache mounts of a RUN: which folder, whose turn, first contents.
 *
 * A folder's lock file is held shared by `shared` users and alone by `locked` and `private` ones. A
 * step takes all its locks in the order of their names, so that no two steps wait for each other.
 * Where nothing can be mounted a cache is lent to the step's tree and can be in one alone: what is
 * `shared` is `locked` there.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/path.h"
#include "base/sys.h"
#include "builder/op/run_mounts_priv.h"

#define CACHE_PATH_MAX 256
#define WAIT_US 20000

/* ---- locks ---- */

/* 1: somebody has it. */
static int try_lock(int dirfd, const char *path, int op, int *ret_fd, struct bld_err *err)
{
        AUTO_FREE char *name = NULL;
        AUTO_FD int fd = -1;
        int r;

        if (asprintf(&name, "%s.lock", path) < 0) {
                name = NULL;
                return err_nomem(err, "cache mount");
        }
        fd = sys_openat(dirfd, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0)
                return err_sys(err, errno, "lock cache mount");
        r = fd_lock(fd, op | LOCK_NB, err);
        if (r == 0)
                *ret_fd = take_fd(&fd);
        return r;
}

static int keep_lock(struct run_mounts *m, int *fd, struct bld_err *err)
{
        int *locks = mem_realloc(m->locks, (m->nlocks + 1) * sizeof(*locks));

        if (!locks)
                return err_nomem(err, "cache mount");
        m->locks = locks;
        m->locks[m->nlocks++] = take_fd(fd);
        return 0;
}

struct claim {
        size_t number; /* of the mount */
        const struct vx_mount *d;
        enum cache_sharing sharing; /* in fact */
        char path[CACHE_PATH_MAX];
};

static int wait_lock(struct build *b, const struct vertex *v, const struct claim *c,
                     struct run_mounts *m, struct bld_err *err)
{
        int op = c->sharing == SHARE_LOCKED ? LOCK_EX : LOCK_SH;
        AUTO_FD int fd = -1;
        bool told = false;
        int r;

        while ((r = try_lock(cas_root_fd(b->c->cas), c->path, op, &fd, err)) == 1) {
                if (!told)
                        events_post(b->events, BLD_EV_STEP_STATUS, v,
                                    "waiting for a cache mount that another step has locked", 0, 0);
                told = true;
                r = cancel_check(&b->cancel, err);
                if (r < 0)
                        return r;
                (void)usleep(WAIT_US);
        }
        return r < 0 ? r : keep_lock(m, &fd, err);
}

/* The first free one of a row of folders. */
static int private_lock(struct build *b, struct claim *c, struct run_mounts *m, struct bld_err *err)
{
        char path[CACHE_PATH_MAX - 16];
        AUTO_FD int fd = -1;
        int r;

        (void)str_copy(path, sizeof(path), c->path);
        for (unsigned i = 1;; i++) {
                r = try_lock(cas_root_fd(b->c->cas), c->path, LOCK_EX, &fd, err);
                if (r != 1)
                        break;
                (void)snprintf(c->path, sizeof(c->path), "%s-%u", path, i);
        }
        return r < 0 ? r : keep_lock(m, &fd, err);
}

/* ---- contents ---- */

/* from: where its first contents are, or NULL. */
static int cache_make(struct build *b, const struct vx_mount *d, const char *path, const char *from,
                      struct bld_err *err)
{
        AUTO_SB struct sb args = SB_INIT(4096), answer = SB_INIT(4096);
        AUTO_JS struct js *a = js_obj();
        int r = js_set_str(a, "path", path) | js_set_i64(a, "mode", d->mode_set ? d->mode : 0755) |
                js_set_i64(a, "uid", d->uid) | js_set_i64(a, "gid", d->gid);

        if (from)
                r |= js_set_str(a, "from", from);
        if (r < 0)
                return err_nomem(err, "cache mount");
        r = js_write(a, JS_COMPACT, &args, err);
        if (r < 0)
                return r;
        return rt_call(b->keeper, VERB_CACHE, sb_text(&args), args.len, NULL, 0, &b->cancel,
                       &answer, err);
}

/* What a cache is known by: its id and, where it begins with files of a stage, an image or a
 * context, those. */
static int cache_identity(struct vertex *v, const struct vx_mount *d, struct fs *fs,
                          struct digest *ret, struct bld_err *err)
{
        struct digest content;
        struct hasher h;
        int r;

        if (!fs) {
                digest_of(d->id, strlen(d->id), ret);
                return 0;
        }
        r = op_bind_content(NULL, v, d, fs, &content, err);
        if (r < 0)
                return r;
        hasher_init(&h, DIGEST_SHA256);
        hasher_field_str(&h, d->id);
        hasher_field(&h, content.b, sizeof(content.b));
        hasher_end(&h, ret);
        return 0;
}

/* The first contents of a cache that is not there yet. */
static int cache_fill(struct build *b, const struct vx_mount *d, struct fs *fs, const char *path,
                      struct run_mounts *m, struct bld_err *err)
{
        AUTO_FREE char *from = NULL;
        struct fs_node *node = NULL;
        const char *copy = NULL;
        struct stat st;
        int r;

        if (fstatat(cas_root_fd(b->c->cas), path, &st, AT_SYMLINK_NOFOLLOW) == 0)
                return 0;
        r = mounts_find_source(fs, d, &node, err);
        if (r == 0 && node->type != LY_DIR)
                r = err_set(err, BLD_E_INVALID, "\"%s\", source of the cache at %s, is no folder",
                            d->source ? d->source : "/", d->target);
        if (r == 0)
                r = mounts_copy(b, m, fs, node, &copy, err);
        if (r < 0)
                return r;
        if (asprintf(&from, "%s/" MOUNTS_COPY_NAME, copy) < 0) {
                from = NULL;
                return err_nomem(err, "cache mount");
        }
        return cache_make(b, d, path, from, err);
}

/* ---- all of a step ---- */

static int claim_path(struct build *b, struct vertex *v, struct claim *c, struct bld_err *err)
{
        const char *view = rt_keeper_env(b->keeper)->view;
        AUTO(fs_free_p) struct fs *fs = NULL;
        char hex[DIGEST_HEX_MAX];
        struct digest id;
        int r = 0;

        if (c->d->input >= 0)
                r = op_open_input(b, v->inputs[c->d->input], &fs, err);
        if (r == 0)
                r = cache_identity(v, c->d, fs, &id, err);
        if (r < 0)
                return r;
        digest_hex(&id, hex);
        (void)snprintf(c->path, sizeof(c->path), "mounts/%s", view);
        r = path_mkdirs(cas_root_fd(b->c->cas), c->path, 0700, err);
        (void)snprintf(c->path, sizeof(c->path), "mounts/%s/%.40s", view, hex);
        return r;
}

/* By name; of one name first who must have it, the strictest before. */
static int by_path(const void *a, const void *b)
{
        static const int rank[] = {[SHARE_LOCKED] = 0, [SHARE_SHARED] = 1, [SHARE_PRIVATE] = 2};
        const struct claim *x = a, *y = b;
        int r = strcmp(x->path, y->path);

        return r ? r : rank[x->sharing] - rank[y->sharing];
}

/* One folder twice in a step is one lock, or the step would wait for itself. Who wants one of its
 * own waits for nobody. */
static int take_locks(struct build *b, const struct vertex *v, struct claim *c, size_t n,
                      struct run_mounts *m, struct bld_err *err)
{
        const char *have = "";
        int r = 0;

        qsort(c, n, sizeof(*c), by_path);
        for (size_t i = 0; i < n && r == 0; i++) {
                if (c[i].sharing == SHARE_PRIVATE) {
                        r = private_lock(b, &c[i], m, err);
                } else if (strcmp(c[i].path, have) != 0) {
                        r = wait_lock(b, v, &c[i], m, err);
                        have = c[i].path;
                }
        }
        return r;
}

static int make_contents(struct build *b, struct vertex *v, const struct claim *c,
                         struct run_mounts *m, struct bld_err *err)
{
        AUTO(fs_free_p) struct fs *fs = NULL;
        int r;

        if (c->d->input < 0)
                return cache_make(b, c->d, c->path, NULL, err);
        r = op_open_input(b, v->inputs[c->d->input], &fs, err);
        return r < 0 ? r : cache_fill(b, c->d, fs, c->path, m, err);
}

int caches_claim(struct build *b, struct vertex *v, struct run_mounts *m, struct bld_err *err)
{
        const struct vx_run *run = &v->u.run;
        bool native = rt_keeper_env(b->keeper)->native;
        AUTO_FREE struct claim *c = mem_zalloc(run->nmounts, sizeof(*c));
        size_t n = 0;
        int r = c ? 0 : err_nomem(err, "cache mount");

        for (size_t i = 0; i < run->nmounts && r == 0; i++) {
                if (strv_add(&m->caches, "") < 0)
                        r = err_nomem(err, "cache mount");
                if (r < 0 || run->mounts[i].type != MT_CACHE)
                        continue;
                c[n] = (struct claim){.number = i, .d = &run->mounts[i]};
                c[n].sharing =
                        native && c[n].d->sharing == SHARE_SHARED ? SHARE_LOCKED : c[n].d->sharing;
                r = claim_path(b, v, &c[n++], err);
        }
        if (r == 0)
                r = take_locks(b, v, c, n, m, err);
        if (r == 0 && n && native) /* lent to somebody who was killed */
                cas_sweep(b->c->cas);
        for (size_t i = 0; i < n && r == 0; i++) {
                char **slot = &m->caches.v[c[i].number];

                r = make_contents(b, v, &c[i], m, err);
                free(*slot);
                *slot = mem_strdup(c[i].path);
                if (r == 0 && !*slot)
                        r = err_nomem(err, "cache mount");
        }
        return r;
}
