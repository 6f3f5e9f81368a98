/* Owners and devices as the image has them, in what stat(2) and its kin tell. Files without a note
 * are root's, which is what the kernel says: it goes on by itself, in whatever layout. */
#include "runtime/sup_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* 1 noted: *st is what the image says. 0 not. */
static int look(struct sup *s, struct sup_req *q, int *ret_fd, struct stat *st, struct owner *o)
{
        if (owner_table_empty(&s->owners))
                return 0; /* nothing in the whole view */
        if (sup_target(s, q, ret_fd) < 0 || fstat(*ret_fd, st) < 0)
                return 0; /* the error is the kernel's to tell */
        return sup_owner(s, *ret_fd, st, o);
}

/* i386's struct stat64 */
struct stat64_32 {
        uint64_t dev;
        uint8_t pad0[4];
        uint32_t ino32, mode, nlink, uid, gid;
        uint64_t rdev;
        uint8_t pad3[4];
        int64_t size;
        uint32_t blksize;
        uint64_t blocks;
        uint32_t atime, atime_ns, mtime, mtime_ns, ctime, ctime_ns;
        uint64_t ino;
} __attribute__((packed));

static void to_32(const struct stat *st, struct stat64_32 *r)
{
        *r = (struct stat64_32){.dev = st->st_dev,
                                .ino32 = (uint32_t)st->st_ino,
                                .mode = st->st_mode,
                                .nlink = (uint32_t)st->st_nlink,
                                .uid = st->st_uid,
                                .gid = st->st_gid,
                                .rdev = st->st_rdev,
                                .size = st->st_size,
                                .blksize = (uint32_t)st->st_blksize,
                                .blocks = (uint64_t)st->st_blocks,
                                .atime = (uint32_t)st->st_atim.tv_sec,
                                .atime_ns = (uint32_t)st->st_atim.tv_nsec,
                                .mtime = (uint32_t)st->st_mtim.tv_sec,
                                .mtime_ns = (uint32_t)st->st_mtim.tv_nsec,
                                .ctime = (uint32_t)st->st_ctim.tv_sec,
                                .ctime_ns = (uint32_t)st->st_ctim.tv_nsec,
                                .ino = st->st_ino};
}

int64_t sup_put_stat(const struct sup_req *q, uint64_t addr, const struct stat *st)
{
        if (!q->compat) /* libc's is the kernel's on 64-bit machines */
                return sup_copy_out(q, addr, st, sizeof(*st));
#ifdef __x86_64__
        struct stat64_32 st32;
        to_32(st, &st32);
        return sup_copy_out(q, addr, &st32, sizeof(st32));
#else
        (void)to_32;
        return SUP_CONTINUE;
#endif
}

static int64_t do_stat(struct sup *s, struct sup_req *q)
{
        uint64_t buf = q->a[q->rule->val];
        AUTO_FD int fd = -1;
        struct owner o;
        struct stat st;

        if ((q->compat && q->rule->short_ids) || look(s, q, &fd, &st, &o) <= 0)
                return SUP_CONTINUE; /* short: a 32-bit call that libc left in the nineties */
        owner_apply(&o, &st);
        return sup_put_stat(q, buf, &st);
}

static int64_t do_statx(struct sup *s, struct sup_req *q)
{
        unsigned flags = (unsigned)q->a[3] & AT_STATX_SYNC_TYPE, mask = (unsigned)q->a[4];
        AUTO_FD int fd = -1;
        struct statx sx;
        struct owner o;
        struct stat st;

        if (look(s, q, &fd, &st, &o) <= 0)
                return SUP_CONTINUE;
        if (statx(fd, "", (int)(flags | AT_EMPTY_PATH), mask & ~0x80000000u, &sx) < 0)
                return -errno;
        owner_apply(&o, &st);
        sx.stx_uid = st.st_uid;
        sx.stx_gid = st.st_gid;
        if (o.type) {
                sx.stx_mode = (uint16_t)st.st_mode;
                sx.stx_rdev_major = o.dev_major;
                sx.stx_rdev_minor = o.dev_minor;
                sx.stx_size = 0;
        }
        return sup_copy_out(q, q->a[5], &sx, sizeof(sx));
}

/* clang-format off */
static const struct sup_rule rules[] = {
        {.call = "stat", .module = SUP_STAT, .handle = do_stat, .path = 1, .val = 2, .short_ids = true},
        {.call = "lstat", .module = SUP_STAT, .handle = do_stat, .path = 1, .val = 2, .nofollow = true, .short_ids = true},
        {.call = "fstat", .module = SUP_STAT, .handle = do_stat, .dir = 1, .val = 2, .short_ids = true},
        {.call = "newfstatat", .module = SUP_STAT, .handle = do_stat, .dir = 1, .path = 2, .flags = 4, .val = 3},
        {.call = "stat64", .module = SUP_STAT, .handle = do_stat, .path = 1, .val = 2},
        {.call = "lstat64", .module = SUP_STAT, .handle = do_stat, .path = 1, .val = 2, .nofollow = true},
        {.call = "fstat64", .module = SUP_STAT, .handle = do_stat, .dir = 1, .val = 2},
        {.call = "fstatat64", .module = SUP_STAT, .handle = do_stat, .dir = 1, .path = 2, .flags = 4, .val = 3},
        {.call = "statx", .module = SUP_STAT, .handle = do_statx, .dir = 1, .path = 2, .flags = 3},
};
/* clang-format on */
const struct sup_rules sup_stat_rules = {rules, ARRAY_LEN(rules)};
