/* Blobs: immutable files named by their digest. A file gets its name only when its bytes are
 * verified and on the disk. */
#include "cas/cas_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/sys.h"

#define COPY_SIZE (256u << 10)

void cas_blob_path(const struct digest *d, char out[CAS_BLOB_PATH_MAX])
{
        char hex[DIGEST_HEX_MAX];

        digest_hex(d, hex);
        (void)snprintf(out, CAS_BLOB_PATH_MAX, "blobs/%s/%s", digest_algo_name(d->algo), hex);
}

static int no_digest(struct bld_err *err)
{
        return err_set(err, BLD_E_INVALID, "a blob is asked for without a digest");
}

int cas_blob_stat(struct cas *c, const struct digest *d, uint64_t *ret_size, struct bld_err *err)
{
        char path[CAS_BLOB_PATH_MAX];
        struct stat st;

        if (!digest_is_set(d))
                return no_digest(err);
        cas_blob_path(d, path);
        if (fstatat(c->root_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0) {
                if (errno == ENOENT)
                        return 0;
                return err_sys(err, errno, "look at %s/%s", c->root, path);
        }
        if (!S_ISREG(st.st_mode))
                return 0;
        *ret_size = (uint64_t)st.st_size;
        return 1;
}

int cas_blob_open(struct cas *c, const struct digest *d, int *ret_fd, struct bld_err *err)
{
        char path[CAS_BLOB_PATH_MAX], name[DIGEST_STR_MAX];
        int fd;

        if (!digest_is_set(d))
                return no_digest(err);
        cas_blob_path(d, path);
        fd = sys_openat(c->root_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0);
        if (fd < 0 && errno == ENOENT) {
                digest_format(d, name);
                return err_set(err, BLD_E_NOT_FOUND, "blob %s is not in the store", name);
        }
        if (fd < 0)
                return err_sys(err, errno, "open %s/%s", c->root, path);
        *ret_fd = fd;
        return 0;
}

/* Damaged: out of blobs/, so that it is fetched or made again, but kept to be looked at. */
static int quarantine(struct cas *c, const struct digest *d, struct bld_err *err)
{
        char path[CAS_BLOB_PATH_MAX], aside[DIGEST_HEX_MAX + 16], name[DIGEST_STR_MAX];
        char hex[DIGEST_HEX_MAX];

        cas_blob_path(d, path);
        digest_hex(d, hex);
        digest_format(d, name);
        (void)snprintf(aside, sizeof(aside), "corrupt.%s", hex);
        if (sys_rename(c->root_fd, path, c->tmp_fd, aside) < 0 && errno != ENOENT)
                return err_sys(err, errno, "move the damaged %s/%s aside", c->root, path);
        return err_set(err, BLD_E_CORRUPT, "blob %s was damaged in the store (moved to tmp/%s)",
                       name, aside);
}

int cas_blob_read(struct cas *c, const struct digest *d, size_t max, struct sb *out,
                  struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(max);
        AUTO_FD int fd = -1;
        struct hasher h;
        struct digest have;
        int r = cas_blob_open(c, d, &fd, err);

        if (r == 0)
                r = fd_read_all(fd, &text, "a blob", err);
        if (r < 0)
                return r;
        hasher_init(&h, d->algo);
        hasher_add(&h, sb_text(&text), text.len);
        hasher_end(&h, &have);
        if (!digest_eq(&have, d))
                return quarantine(c, d, err);
        sb_add(out, sb_text(&text), text.len);
        return sb_check(out, "a blob", err);
}

/* Hash a file from its start. */
static int hash_fd(int fd, enum digest_algo algo, struct digest *ret, struct bld_err *err)
{
        AUTO_FREE unsigned char *buf = mem_alloc(COPY_SIZE);
        struct hasher h;
        int64_t off = 0;

        if (!buf)
                return err_nomem(err, "hash a blob");
        hasher_init(&h, algo);
        for (;;) {
                ssize_t n = sys_pread(fd, buf, COPY_SIZE, off);

                if (n < 0)
                        return err_sys(err, errno, "read a blob");
                if (n == 0)
                        break;
                hasher_add(&h, buf, (size_t)n);
                off += n;
        }
        hasher_end(&h, ret);
        return 0;
}

int cas_blob_verify(struct cas *c, const struct digest *d, struct bld_err *err)
{
        AUTO_FD int fd = -1;
        struct digest have;
        int r = cas_blob_open(c, d, &fd, err);

        if (r == 0)
                r = hash_fd(fd, d->algo, &have, err);
        if (r < 0)
                return r;
        return digest_eq(&have, d) ? 0 : quarantine(c, d, err);
}

int cas_blob_delete(struct cas *c, const struct digest *d, struct bld_err *err)
{
        char path[CAS_BLOB_PATH_MAX];

        if (!digest_is_set(d))
                return no_digest(err);
        cas_blob_path(d, path);
        if (sys_unlinkat(c->root_fd, path, 0) < 0 && errno != ENOENT)
                return err_sys(err, errno, "remove %s/%s", c->root, path);
        return 0;
}

/* Is it there already? Then lease it: 1. Under the shared lock, so that the collector sees the
 * lease or the lease sees that the blob is gone. */
static int lease_present(struct cas *c, const struct digest *d, uint64_t size, struct bld_err *err)
{
        char path[CAS_BLOB_PATH_MAX], name[DIGEST_STR_MAX];
        struct stat st;
        int r;

        cas_blob_path(d, path);
        if (fstatat(c->root_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode) ||
            (uint64_t)st.st_size != size)
                return 0;
        digest_format(d, name);
        r = cas_own_lease_add(c, 'b', name, err);
        return r < 0 ? r : 1;
}

static int reuse(struct cas *c, const struct digest *d, uint64_t size, struct bld_err *err)
{
        AUTO_FD int lock = -1;
        int r = cas_store_lock(c, LOCK_SH, &lock, err);

        return r < 0 ? r : lease_present(c, d, size, err);
}

int cas_blob_keep(struct cas *c, const struct digest *d, uint64_t *ret_size, struct bld_err *err)
{
        AUTO_FD int lock = -1;
        int r = cas_store_lock(c, LOCK_SH, &lock, err);

        if (r == 0)
                r = cas_blob_stat(c, d, ret_size, err);
        return r <= 0 ? r : lease_present(c, d, *ret_size, err);
}

/* Are these the bytes that are stored? What we have in hand was just hashed, what is there long
 * ago. */
static bool holds(struct cas *c, const struct digest *d, const void *p, size_t n)
{
        AUTO_SB struct sb text = SB_INIT(n + 1);
        AUTO_FD int fd = -1;

        return cas_blob_open(c, d, &fd, NULL) == 0 && fd_read_all(fd, &text, "a blob", NULL) == 0 &&
               text.len == n && (n == 0 || memcmp(text.buf, p, n) == 0);
}

/* The same of a file; true when it cannot be told, too. */
static bool same_bytes(struct cas *c, const struct digest *d, int fd)
{
        AUTO_FREE unsigned char *buf = mem_alloc(2 * (size_t)COPY_SIZE);
        AUTO_FD int have = -1;
        int64_t off = 0;

        if (!buf || cas_blob_open(c, d, &have, NULL) < 0)
                return true;
        for (;;) {
                ssize_t k = sys_pread(fd, buf, COPY_SIZE, off), stored;

                if (k <= 0)
                        return true;
                stored = sys_pread(have, buf + COPY_SIZE, (size_t)k, off);
                if (stored < k || memcmp(buf, buf + COPY_SIZE, (size_t)k) != 0)
                        return false;
                off += k;
        }
}

int cas_blob_put(struct cas *c, const void *p, size_t n, struct digest *ret, struct bld_err *err)
{
        AUTO(cas_writer_free_p) struct cas_writer *w = NULL;
        struct digest d;
        int r;

        digest_of(p, n, &d);
        r = reuse(c, &d, n, err); /* an unchanged build writes nothing */
        if (r < 0)
                return r;
        if (r == 1 && holds(c, &d, p, n)) {
                *ret = d;
                return 0;
        }
        r = cas_writer_open(c, &w, err);
        if (r == 0)
                r = cas_writer_add(w, p, n, err);
        return r < 0 ? r : cas_writer_commit(w, NULL, 0, ret, err);
}

/* ---- writing ---- */

struct cas_writer {
        struct cas *c;
        int fd;
        char name[CAS_TMP_NAME_MAX]; /* "" once it is published or removed */
        uint64_t size;
        struct hasher h;
};

int cas_writer_open(struct cas *c, struct cas_writer **ret, struct bld_err *err)
{
        AUTO(cas_writer_free_p) struct cas_writer *w = mem_zalloc(1, sizeof(*w));
        int r;

        if (!w)
                return err_nomem(err, "blob");
        w->c = c;
        w->fd = -1;
        r = cas_tmp_name(c, w->name, err);
        if (r < 0)
                return r;
        w->fd = sys_openat(c->tmp_fd, w->name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
                           0644);
        if (w->fd < 0)
                return err_sys(err, errno, "create %s/tmp/%s", c->root, w->name);
        hasher_init(&w->h, DIGEST_SHA256);
        *ret = TAKE_PTR(&w);
        return 0;
}

int cas_writer_add(struct cas_writer *w, const void *p, size_t n, struct bld_err *err)
{
        int r = fd_write_all(w->fd, p, n, err);

        if (r < 0)
                return err_wrap(err, r, "store a blob in %s", w->c->root);
        hasher_add(&w->h, p, n);
        w->size += n;
        return 0;
}

uint64_t cas_writer_size(const struct cas_writer *w)
{
        return w->size;
}

void cas_writer_free(struct cas_writer *w)
{
        if (!w)
                return;
        fd_close(&w->fd);
        if (w->name[0])
                (void)sys_unlinkat(w->c->tmp_fd, w->name, 0);
        free(w);
}

/* Whoever asks while a sync runs cannot know whether it covers his rename: he shares the next. */
static int sync_blobs(struct cas *c, const char *folder, struct bld_err *err)
{
        struct dir_sync *s = &c->blobs_sync;
        uint64_t mine, upto;
        int r = 0;

        (void)pthread_mutex_lock(&s->lock);
        mine = ++s->asked;
        while (s->running && s->finished < mine)
                (void)pthread_cond_wait(&s->ended, &s->lock);
        if (s->finished < mine) {
                s->running = true;
                upto = s->asked;
                (void)pthread_mutex_unlock(&s->lock);
                r = cas_sync_dir(c, folder, err);
                (void)pthread_mutex_lock(&s->lock);
                s->running = false;
                if (r == 0)
                        s->finished = MAX(s->finished, upto);
                (void)pthread_cond_broadcast(&s->ended);
        }
        (void)pthread_mutex_unlock(&s->lock);
        return r;
}

static int check_expected(struct cas_writer *w, const struct digest *expect, uint64_t expect_size,
                          struct digest *have, struct bld_err *err)
{
        char want[DIGEST_STR_MAX], got[DIGEST_STR_MAX];
        int r;

        hasher_end(&w->h, have);
        if (!expect)
                return 0;
        digest_format(expect, want);
        if (w->size != expect_size)
                return err_set(err, BLD_E_CORRUPT, "blob %s has %llu bytes instead of %llu", want,
                               (unsigned long long)w->size, (unsigned long long)expect_size);
        if (expect->algo != have->algo) {
                r = hash_fd(w->fd, expect->algo, have, err);
                if (r < 0)
                        return r;
        }
        if (digest_eq(have, expect))
                return 0;
        digest_format(have, got);
        return err_set(err, BLD_E_CORRUPT, "blob %s has the digest %s", want, got);
}

/* Under the shared lock, leased by this process: the collector cannot take it before whoever asked
 * for it has written his own lease or reference. */
static int publish(struct cas_writer *w, const struct digest *d, bool replace, struct bld_err *err)
{
        struct cas *c = w->c;
        AUTO_FD int lock = -1;
        char path[CAS_BLOB_PATH_MAX], name[DIGEST_STR_MAX];
        int r = cas_store_lock(c, LOCK_SH, &lock, err);

        if (r == 0 && !replace)
                r = lease_present(c, d, w->size, err);
        if (r != 0)
                return MIN(r, 0); /* somebody was faster: ours is removed with the writer */
        digest_format(d, name);
        cas_blob_path(d, path);
        r = cas_own_lease_add(c, 'b', name, err);
        if (r < 0)
                return r;
        /* one of another size or content is damaged: replaced by this verified one */
        if (sys_rename(c->tmp_fd, w->name, c->root_fd, path) < 0)
                return err_sys(err, errno, "publish %s/%s", c->root, path);
        w->name[0] = '\0';
        return 0;
}

static int make_algo_folder(struct cas *c, const char *folder, struct bld_err *err)
{
        if (sys_mkdirat(c->root_fd, folder, 0755) < 0)
                return errno == EEXIST ? 0 : err_sys(err, errno, "create %s/%s", c->root, folder);
        return cas_sync_dir(c, "blobs", err);
}

int cas_writer_commit(struct cas_writer *w, const struct digest *expect, uint64_t expect_size,
                      struct digest *ret, struct bld_err *err)
{
        char folder[32];
        struct digest have;
        bool replace;
        int r;

        if (w->fd < 0)
                return err_set(err, BLD_E_BUG, "a blob is committed twice");
        r = check_expected(w, expect, expect_size, &have, err);
        if (r == 0)
                r = reuse(w->c, &have, w->size, err);
        replace = r == 1 && !same_bytes(w->c, &have, w->fd);
        if (r != 0 && !replace) {
                fd_close(&w->fd);
                if (r == 1)
                        *ret = have;
                return MIN(r, 0);
        }
        if (sys_fsync(w->fd) < 0)
                return err_sys(err, errno, "sync a blob in %s", w->c->root);
        if (close(take_fd(&w->fd)) < 0)
                return err_sys(err, errno, "close a blob in %s", w->c->root);
        (void)snprintf(folder, sizeof(folder), "blobs/%s", digest_algo_name(have.algo));
        if (have.algo != DIGEST_SHA256) {
                r = make_algo_folder(w->c, folder, err);
                if (r < 0)
                        return r;
        }
        r = publish(w, &have, replace, err);
        if (r < 0)
                return r;
        r = have.algo == DIGEST_SHA256 ? sync_blobs(w->c, folder, err)
                                       : cas_sync_dir(w->c, folder, err);
        if (r < 0)
                return r;
        *ret = have;
        return 0;
}
