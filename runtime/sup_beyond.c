/* What a user namespace of many ids cannot have: device nodes, and owners beyond its map. Both are
 * asked for rarely and known by their arguments alone, so nothing else is trapped. In a chroot
 * nodes are noted also where they could be made: nothing there keeps a real one from being opened.
 * The kernel does all that it can; only the rest is noted (base/owner.h). Where the step shares its
 * ids with what is outside (chroot), names are resolved inside the step's root and nowhere else. */
#include "runtime/sup_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sys.h"

#define KEEP UINT32_MAX
#define HIGH 0xffff0000u /* what every map has is below; -1 is trapped along */

/* Root of the step, which may do this in the levels that really can. */
static bool by_root(const struct sup *s, const struct sup_req *q)
{
        uint32_t uid = 1, gid = 0;

        return sup_ids(s, q->tid, &uid, &gid) && sup_valid(s, q) && uid == 0;
}

static int64_t do_chown(struct sup *s, struct sup_req *q)
{
        uint32_t uid = (uint32_t)q->a[q->rule->val], gid = (uint32_t)q->a[q->rule->val + 1];
        bool high = (uid != KEEP && (uid & HIGH)) || (gid != KEEP && (gid & HIGH));
        AUTO_FD int fd = -1;
        struct owner o;
        struct stat st;
        int r;

        if (!high || (q->compat && q->rule->short_ids) || !by_root(s, q))
                return SUP_CONTINUE;
        r = sup_target(s, q, &fd);
        if (r == SUP_MAGIC)
                return 0;
        if (r < 0)
                return r;
        if (fstat(fd, &st) < 0)
                return -errno;
        (void)sup_owner(s, fd, &st, &o);
        /* A link or pipe is noted in a table, which whole trees do not have. */
        if (s->root_path && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
                return SUP_CONTINUE;
        /* As stat(2) told it to a program that gives both ids where it was asked to change one. */
        if (uid == OWNER_BEYOND && st.st_uid == OWNER_BEYOND)
                uid = KEEP;
        if (gid == OWNER_BEYOND && st.st_gid == OWNER_BEYOND)
                gid = KEEP;
        r = owner_tell(fd, "", AT_EMPTY_PATH, uid, gid);
        if (r <= 0)
                return r < 0 ? -errno : 0;
        if (uid != KEEP)
                o.uid = uid;
        if (gid != KEEP)
                o.gid = gid;
        return sup_note(s, fd, &o);
}

/* The empty file that stands for the node, made as the task's group would make it. */
static int64_t do_mknod(struct sup *s, struct sup_req *q)
{
        uint32_t mode = (uint32_t)q->a[q->rule->val], dev = (uint32_t)q->a[q->rule->val + 1];
        uint32_t uid = 1, gid = 0;
        struct owner o;
        AUTO_FD int dir = -1;
        AUTO_FD int fd = -1;
        char leaf[256];
        int r;

        if ((S_ISCHR(mode) && dev == 0) || !by_root(s, q) || !sup_ids(s, q->tid, &uid, &gid))
                return SUP_CONTINUE; /* a whiteout; or refused */
        o = sup_new_node(q, uid, gid);
        r = sup_parent(s, q, &dir, leaf);
        if (r < 0)
                return r;
        if (!leaf[0])
                return -EEXIST;
        (void)setfsgid(gid);
        r = mknodat(dir, leaf, S_IFREG | (mode & 07777 & ~sup_umask(s, q)), 0) < 0 ? -errno : 0;
        (void)setfsgid(0);
        if (r < 0)
                return r;
        fd = sys_openat(dir, leaf, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
        return fd < 0 ? -errno : sup_note(s, fd, &o);
}

#define NODES 0020000u /* the bit of S_IFMT that character and block nodes alone have */
/* clang-format off */
static const struct sup_rule rules[] = {
        {.call = "chown", .module = SUP_BEYOND, .handle = do_chown, .path = 1, .val = 2, .test_arg = 2, .test = HIGH, .test_two = true, .short_ids = true},
        {.call = "chown32", .module = SUP_BEYOND, .handle = do_chown, .path = 1, .val = 2, .test_arg = 2, .test = HIGH, .test_two = true},
        {.call = "lchown", .module = SUP_BEYOND, .handle = do_chown, .path = 1, .val = 2, .nofollow = true, .test_arg = 2, .test = HIGH, .test_two = true, .short_ids = true},
        {.call = "lchown32", .module = SUP_BEYOND, .handle = do_chown, .path = 1, .val = 2, .nofollow = true, .test_arg = 2, .test = HIGH, .test_two = true},
        {.call = "fchown", .module = SUP_BEYOND, .handle = do_chown, .dir = 1, .val = 2, .test_arg = 2, .test = HIGH, .test_two = true, .short_ids = true},
        {.call = "fchown32", .module = SUP_BEYOND, .handle = do_chown, .dir = 1, .val = 2, .test_arg = 2, .test = HIGH, .test_two = true},
        {.call = "fchownat", .module = SUP_BEYOND, .handle = do_chown, .dir = 1, .path = 2, .flags = 5, .val = 3, .test_arg = 3, .test = HIGH, .test_two = true},
        {.call = "mknod", .module = SUP_BEYOND, .handle = do_mknod, .path = 1, .val = 2, .test_arg = 2, .test = NODES},
        {.call = "mknodat", .module = SUP_BEYOND, .handle = do_mknod, .dir = 1, .path = 2, .val = 3, .test_arg = 3, .test = NODES},
};
/* clang-format on */
const struct sup_rules sup_beyond_rules = {rules, ARRAY_LEN(rules)};
