/* Locks between processes. All are flock(2): the kernel drops them when their holder dies. */
#include "cas/cas_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/sys.h"

#define HOLDER_LEN 16
#define POLL_MIN_MS 2
#define POLL_MAX_MS 100

int cas_store_lock(struct cas *c, int op, int *ret_fd, struct bld_err *err)
{
        AUTO_FD int fd =
                sys_openat(c->root_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
        int r;

        /* Where nothing can be written there is nothing to guard, but others may see the same
         * folder through another mount. */
        if (fd < 0 && op == LOCK_SH && (errno == EROFS || errno == EACCES)) {
                fd = sys_openat(c->root_fd, "lock", O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0);
                if (fd < 0 && errno == ENOENT)
                        return 0;
        }
        if (fd < 0)
                return err_sys(err, errno, "open %s/lock", c->root);
        r = fd_lock(fd, op, err);
        if (r < 0)
                return err_wrap(err, r, "lock the store %s", c->root);
        *ret_fd = take_fd(&fd);
        return 0;
}

int cas_is_held(int dirfd, const char *name)
{
        AUTO_FD int fd = sys_openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0);

        return fd >= 0 && fd_lock(fd, LOCK_SH | LOCK_NB, NULL) == 1;
}

struct cas_lock {
        int fd, tmp_fd; /* tmp_fd is the store's own */
        char name[DIGEST_HEX_MAX + 8];
};

/* One try: 0 taken, 1 held by another. The file may have been unlinked by its last holder between
 * our open and our lock: such a lock guards nothing, so start over on a fresh file. */
static int try_lock(struct cas *c, const char *name, int *ret_fd, char holder[HOLDER_LEN],
                    struct bld_err *err)
{
        for (;;) {
                AUTO_FD int fd = sys_openat(c->tmp_fd, name,
                                            O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
                struct stat st;
                int r;

                if (fd < 0)
                        return err_sys(err, errno, "open lock %s/tmp/%s", c->root, name);
                r = fd_lock(fd, LOCK_EX | LOCK_NB, err);
                if (r < 0)
                        return r;
                if (r == 1) {
                        if (sys_pread(fd, holder, HOLDER_LEN, 0) != HOLDER_LEN)
                                memset(holder, 0, HOLDER_LEN);
                        holder[HOLDER_LEN - 1] = '\0';
                        return 1;
                }
                if (fstat(fd, &st) < 0)
                        return err_sys(err, errno, "look at lock %s", name);
                if (st.st_nlink == 0)
                        continue;
                *ret_fd = take_fd(&fd);
                return 0;
        }
}

static int pause_for(const struct cancel *cancel, int ms, struct bld_err *err)
{
        struct pollfd p = {.fd = cancel_fd(cancel), .events = POLLIN};

        (void)poll(&p, 1, ms); /* an fd of -1 is ignored: then this is a sleep */
        return cancel_check(cancel, err);
}

int cas_key_lock(struct cas *c, const struct digest *key, const char *build_id, bool wait,
                 const struct cancel *cancel, struct cas_lock **ret, char ret_holder[16],
                 struct bld_err *err)
{
        AUTO_FREE struct cas_lock *l = mem_zalloc(1, sizeof(*l));
        char hex[DIGEST_HEX_MAX], holder[HOLDER_LEN] = {0}, me[HOLDER_LEN] = {0};
        int fd = -1, r;

        if (!l)
                return err_nomem(err, "lock");
        digest_hex(key, hex);
        (void)snprintf(l->name, sizeof(l->name), "%s.lock", hex);
        for (int ms = POLL_MIN_MS;; ms = MIN(ms * 2, POLL_MAX_MS)) {
                r = try_lock(c, l->name, &fd, holder, err);
                if (r <= 0 || !wait)
                        break;
                r = pause_for(cancel, ms, err);
                if (r < 0)
                        return r;
        }
        if (r < 0)
                return r;
        if (r == 1) {
                if (ret_holder)
                        memcpy(ret_holder, holder, HOLDER_LEN);
                return 1;
        }
        l->fd = fd;
        l->tmp_fd = c->tmp_fd;
        if (build_id)
                (void)str_copy(me, sizeof(me), build_id);
        /* only shown to those who wait: a full disk must not stop a build here */
        (void)!pwrite(fd, me, sizeof(me), 0);
        *ret = TAKE_PTR(&l);
        return 0;
}

void cas_key_unlock(struct cas_lock *l)
{
        if (!l)
                return;
        (void)sys_unlinkat(l->tmp_fd, l->name, 0); /* before the lock goes, see try_lock */
        fd_close(&l->fd);
        free(l);
}
