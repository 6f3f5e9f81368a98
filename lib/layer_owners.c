/* Owners recorded beside a tree, for who may not give files away: in an attribute of each file and
 * folder (base/owner.h), and for what takes none in one file at the root. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/num.h"
#include "base/sys.h"
#include "lib/layer_priv.h"

static int look(int dir_fd, struct stat *st, bool *there, struct bld_err *err)
{
        *there = fstatat(dir_fd, LIB_OWNERS, st, AT_SYMLINK_NOFOLLOW) == 0;
        if (!*there)
                return errno == ENOENT ? 0 : err_sys(err, errno, "stat " LIB_OWNERS);
        if (S_ISREG(st->st_mode))
                return 0;
        return err_set(err, BLD_E_INVALID,
                       "the tree has something named " LIB_OWNERS ", where bld records owners");
}

int lib_owners_load(struct lib_owners *o, int dir_fd, struct bld_err *err)
{
        struct stat st;
        int r;

        owner_table_init(&o->table);
        r = look(dir_fd, &st, &o->there, err);
        if (r < 0 || !o->there)
                return r;
        o->dev = st.st_dev;
        o->ino = st.st_ino;
        o->changed_ns = time_ns(st.st_ctim.tv_sec, st.st_ctim.tv_nsec);
        return owner_table_load(&o->table, dir_fd, LIB_OWNERS, err);
}

int lib_owners_save(struct lib_owners *o, int dir_fd, struct bld_err *err)
{
        AUTO_FD int fd = -1;
        struct stat st;
        bool there;
        int r = look(dir_fd, &st, &there, err);

        if (r < 0)
                return r;
        if (there && (!o->there || st.st_dev != o->dev || st.st_ino != o->ino ||
                      time_ns(st.st_ctim.tv_sec, st.st_ctim.tv_nsec) != o->changed_ns))
                return err_set(err, BLD_E_INVALID,
                               "a layer has a file " LIB_OWNERS ", where bld records owners");
        if (!there && o->table.m.live == 0)
                return 0;
        fd = sys_openat(dir_fd, LIB_OWNERS,
                        O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
        if (fd < 0)
                return err_sys(err, errno, "write " LIB_OWNERS);
        return owner_table_write(&o->table, fd, err);
}

void lib_owners_done(struct lib_owners *o)
{
        owner_table_done(&o->table);
}
