/* The store of a temporary session: a folder below $TMPDIR, locked while the session lives, so that
 * the next one removes what a process that died left behind. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/sys.h"
#include "lib/session_priv.h"

#define PREFIX "bld-session-"
#define TRIES 16

static const char *tmpdir(void)
{
        const char *tmp = getenv("TMPDIR");

        return tmp && tmp[0] == '/' ? tmp : "/tmp";
}

/* Ours, and of nobody alive: gone. */
static void sweep_one(int dir, const char *name)
{
        AUTO_FD int fd = sys_openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
        struct stat st;

        if (fd >= 0 && fstat(fd, &st) == 0 && st.st_uid == geteuid() &&
            flock(fd, LOCK_EX | LOCK_NB) == 0)
                (void)path_remove_tree(dir, name, NULL);
}

static void sweep(void)
{
        DIR *d = opendir(tmpdir());
        struct dirent *e;

        while (d && (e = readdir(d)))
                if (str_has_prefix(e->d_name, PREFIX))
                        sweep_one(dirfd(d), e->d_name);
        if (d)
                closedir(d);
}

/* A sweeper may be faster than our lock: then there is nothing left of the folder. */
static int make(char *path, int *ret_fd)
{
        AUTO_FD int fd = -1;
        struct stat st;

        if (!mkdtemp(path)) /* mode 0700 */
                return -1;
        fd = sys_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
        if (fd < 0)
                return errno == ENOENT ? 1 : -1;
        if (flock(fd, LOCK_EX) < 0 || fstat(fd, &st) < 0)
                return -1;
        if (st.st_nlink == 0)
                return 1;
        *ret_fd = take_fd(&fd);
        return 0;
}

int lib_session_tmp(struct bld *b, struct bld_err *err)
{
        sweep();
        for (unsigned i = 0; i < TRIES; i++) {
                AUTO_FREE char *path = path_join(tmpdir(), PREFIX "XXXXXX");
                int r = path ? make(path, &b->tmp_fd) : -1;

                if (!path)
                        return err_nomem(err, "temporary store");
                if (r < 0)
                        return err_sys(err, errno, "make a temporary store in %s", tmpdir());
                if (r == 0) {
                        b->tmp_path = TAKE_PTR(&path);
                        return 0;
                }
        }
        return err_set(err, BLD_E_SYS, "make a temporary store in %s: it is removed at once",
                       tmpdir());
}

void lib_session_tmp_done(struct bld *b)
{
        if (b->tmp_path)
                (void)path_remove_tree(AT_FDCWD, b->tmp_path, NULL);
        fd_close(&b->tmp_fd);
        free(b->tmp_path);
}
