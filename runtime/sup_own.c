/* Owners and device nodes, where every file really belongs to one id. A change is made for real as
 * far as that goes (to our own id: the kernel takes set-id bits and capabilities away, an overlay
 * copies up), then noted as base/owner.h has it. */
#include "runtime/sup_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/sys.h"

#define LIST_MAX 65536 /* the kernel's limit of a list of attributes */

/* Below /proc, which is init's working folder: what is mounted over the name matters not. */
static void fd_name(int fd, char out[32])
{
        (void)snprintf(out, 32, "self/fd/%d", fd);
}

static bool takes_attribute(const struct stat *st)
{
        return S_ISREG(st->st_mode) || S_ISDIR(st->st_mode);
}

static int note_of(const struct sup *s, int fd, const struct stat *st, struct owner *ret)
{
        struct owner_key k;
        char name[32];

        if (takes_attribute(st)) {
                if (!s->owners.attrs)
                        return 0;
                fd_name(fd, name);
                return owner_xattr_get(name, true, ret);
        }
        return s->owners.m.live && owner_key_of(fd, "", &k) == 0 &&
               owner_table_get(&s->owners, &k, ret);
}

int sup_owner(const struct sup *s, int fd, const struct stat *st, struct owner *ret)
{
        int r;

        *ret = (struct owner){0};
        r = s->owners.beyond && !owner_may_be_noted(st) ? 0 : note_of(s, fd, st, ret);
        if (s->owners.beyond && r > 0)
                owner_beyond(ret, st);
        else if (s->owners.beyond)
                *ret = (struct owner){.uid = st->st_uid, .gid = st->st_gid};
        return r;
}

/* Links and pipes of a layer below keep, for as long as the overlay is mounted, the number they had
 * there. The layer is read from the upper folder, where they have another one. */
static int note_upper(struct sup *s, int fd, const struct owner_key *seen, const struct owner *o)
{
        struct open_how how = {.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
                               .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
        struct owner_key k = *seen;
        char name[32], path[4096];
        AUTO_FD int up = -1;
        ssize_t n;

        fd_name(fd, name);
        n = readlink(name, path, sizeof(path) - 1);
        if (n > 1 && path[0] == '/') {
                path[n] = '\0';
                up = sys_openat2(s->upper_fd, path + 1, &how);
                if (up >= 0)
                        (void)owner_key_of(up, "", &k);
        }
        /* Another name of it shows that number now. */
        return owner_table_set(&s->fresh, &k, o) < 0 || owner_table_set(&s->owners, &k, o) < 0
                       ? -ENOMEM
                       : 0;
}

int sup_note(struct sup *s, int fd, const struct owner *o)
{
        struct owner_key k;
        struct stat st;
        char name[32];

        if (fstat(fd, &st) < 0)
                return -errno;
        if (takes_attribute(&st)) {
                fd_name(fd, name);
                if (owner_xattr_set(name, true, o) < 0)
                        /* One of /proc's or of a read-only mount: nothing that lasts. */
                        return errno == EROFS || errno == ENOTSUP ? 0 : -errno;
                s->owners.attrs++;
                s->fresh.attrs++;
                return 0;
        }
        if (owner_key_of(fd, "", &k) < 0)
                return -errno;
        if (owner_table_set(&s->owners, &k, o) < 0)
                return -ENOMEM;
        return note_upper(s, fd, &k, o);
}

/* ---- chown ---- */

static uint32_t id_arg(const struct sup_req *q, int n)
{
        uint32_t id = (uint32_t)q->a[n];

        if (q->compat && q->rule->short_ids)
                id = (uint16_t)id == 0xffff ? UINT32_MAX : (uint16_t)id;
        return id;
}

static bool in_groups(const struct sup_cred *c, uint32_t gid)
{
        if (c->gid[ID_FS] == gid)
                return true;
        for (size_t i = 0; i < c->ngroups; i++)
                if (c->groups[i] == gid)
                        return true;
        return false;
}

/* Others than root may give their own files to groups of theirs. */
static bool may_chown(const struct sup_cred *c, const struct owner *now, uint32_t uid, uint32_t gid)
{
        if (c->uid[ID_FS] == 0)
                return true;
        if (now->uid != c->uid[ID_FS] || (uid != UINT32_MAX && uid != now->uid))
                return false;
        return gid == UINT32_MAX || gid == now->gid || in_groups(c, gid);
}

static int64_t do_chown(struct sup *s, struct sup_req *q)
{
        uint32_t uid = id_arg(q, q->rule->val), gid = id_arg(q, q->rule->val + 1);
        struct owner o;
        struct stat st;
        AUTO_FD int fd = -1;
        int r = sup_target(s, q, &fd);

        if (r == SUP_MAGIC) /* "/var/log/x -> /dev/stdout": a pipe of ours belongs to nobody */
                return 0;
        if (r < 0)
                return r;
        if (fstat(fd, &st) < 0)
                return -errno;
        (void)sup_owner(s, fd, &st, &o);
        if (!may_chown(sup_cred_of(s, q->tid), &o, uid, gid))
                return -EPERM;
        if (fchownat(fd, "", 0, 0, AT_EMPTY_PATH) < 0)
                return -errno;
        if (uid != UINT32_MAX)
                o.uid = uid;
        if (gid != UINT32_MAX)
                o.gid = gid;
        return sup_note(s, fd, &o);
}

/* ---- device nodes ---- */

struct owner sup_new_node(const struct sup_req *q, uint32_t uid, uint32_t gid)
{
        uint32_t mode = (uint32_t)q->a[q->rule->val], dev = (uint32_t)q->a[q->rule->val + 1];

        return (struct owner){.uid = uid,
                              .gid = gid,
                              .type = mode & S_IFMT,
                              .dev_major = (dev & 0xfff00) >> 8,
                              .dev_minor = (dev & 0xff) | ((dev >> 12) & 0xfff00)};
}

static int64_t do_mknod(struct sup *s, struct sup_req *q)
{
        const struct sup_cred *c = sup_cred_of(s, q->tid);
        uint32_t mode = (uint32_t)q->a[q->rule->val];
        struct owner o = sup_new_node(q, c->uid[ID_FS], c->gid[ID_FS]);
        AUTO_FD int dir = -1;
        AUTO_FD int fd = -1;
        char leaf[256];
        int r;

        if (o.type != S_IFCHR && o.type != S_IFBLK)
                return sup_make_plain(s, q);
        r = sup_parent(s, q, &dir, leaf);
        if (r < 0)
                return r;
        if (c->uid[ID_EFFECTIVE] != 0)
                return -EPERM;
        if (mknodat(dir, leaf, S_IFREG | (mode & 07777 & ~sup_umask(s, q)), 0) < 0)
                return -errno;
        fd = sys_openat(dir, leaf, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
        return fd < 0 ? -errno : sup_note(s, fd, &o);
}

/* ---- the attribute itself, which programs that copy attributes would carry to other files ---- */

static size_t without_ours(char *list, size_t n)
{
        size_t out = 0;

        for (size_t i = 0; i < n;) {
                size_t len = strlen(list + i) + 1;
                if (!str_eq(list + i, OWNER_XATTR)) {
                        memmove(list + out, list + i, len);
                        out += len;
                }
                i += len;
        }
        return out;
}

static int64_t do_listxattr(struct sup *s, struct sup_req *q)
{
        uint64_t buf = q->a[q->rule->val], size = q->a[q->rule->val + 1];
        AUTO_FREE char *list = NULL;
        AUTO_FD int fd = -1;
        struct owner o;
        struct stat st;
        char name[32];
        ssize_t n;
        int r;

        if (!s->owners.attrs || sup_target(s, q, &fd) < 0 || fstat(fd, &st) < 0 ||
            !takes_attribute(&st) || sup_owner(s, fd, &st, &o) <= 0)
                return SUP_CONTINUE;
        list = mem_alloc(LIST_MAX + 1);
        if (!list)
                return -ENOMEM;
        fd_name(fd, name);
        n = listxattr(name, list, LIST_MAX);
        if (n < 0)
                return -errno;
        list[n] = '\0';
        n = (ssize_t)without_ours(list, (size_t)n);
        if (!size)
                return n;
        if (size < (uint64_t)n)
                return -ERANGE;
        r = n ? sup_copy_out(q, buf, list, (size_t)n) : 0;
        return r < 0 ? r : n;
}

/* ---- what an overlay's copy-up would take out of the table ---- */

static int64_t before_copy_up(struct sup *s, struct sup_req *q)
{
        AUTO_FD int fd = -1;
        struct owner o;
        struct stat st;

        if (s->owners.m.live && sup_target(s, q, &fd) == 0 && fstat(fd, &st) == 0 &&
            !takes_attribute(&st) && sup_owner(s, fd, &st, &o) > 0 &&
            fchownat(fd, "", 0, 0, AT_EMPTY_PATH) == 0)
                (void)sup_note(s, fd, &o);
        return SUP_CONTINUE;
}

/* Names no longer mean the same to every task. */
static int64_t do_chroot(struct sup *s, struct sup_req *q)
{
        (void)q;
        s->chrooted = true;
        return SUP_CONTINUE;
}

/* clang-format off */
static const struct sup_rule rules[] = {
        {.call = "chown", .module = SUP_OWN, .handle = do_chown, .path = 1, .val = 2, .short_ids = true},
        {.call = "chown32", .module = SUP_OWN, .handle = do_chown, .path = 1, .val = 2},
        {.call = "lchown", .module = SUP_OWN, .handle = do_chown, .path = 1, .val = 2, .nofollow = true, .short_ids = true},
        {.call = "lchown32", .module = SUP_OWN, .handle = do_chown, .path = 1, .val = 2, .nofollow = true},
        {.call = "fchown", .module = SUP_OWN, .handle = do_chown, .dir = 1, .val = 2, .short_ids = true},
        {.call = "fchown32", .module = SUP_OWN, .handle = do_chown, .dir = 1, .val = 2},
        {.call = "fchownat", .module = SUP_OWN, .handle = do_chown, .dir = 1, .path = 2, .flags = 5, .val = 3},
        {.call = "mknod", .module = SUP_OWN, .handle = do_mknod, .path = 1, .val = 2},
        {.call = "mknodat", .module = SUP_OWN, .handle = do_mknod, .dir = 1, .path = 2, .val = 3},
        {.call = "listxattr", .module = SUP_OWN, .handle = do_listxattr, .path = 1, .val = 2},
        {.call = "llistxattr", .module = SUP_OWN, .handle = do_listxattr, .path = 1, .val = 2, .nofollow = true},
        {.call = "flistxattr", .module = SUP_OWN, .handle = do_listxattr, .dir = 1, .val = 2},
        {.call = "chroot", .module = SUP_OWN, .handle = do_chroot, .path = 1},
        {.call = "rename", .module = SUP_MOVE, .handle = before_copy_up, .path = 1, .nofollow = true},
        {.call = "renameat", .module = SUP_MOVE, .handle = before_copy_up, .dir = 1, .path = 2, .nofollow = true},
        {.call = "renameat2", .module = SUP_MOVE, .handle = before_copy_up, .dir = 1, .path = 2, .nofollow = true},
        {.call = "link", .module = SUP_MOVE, .handle = before_copy_up, .path = 1, .nofollow = true},
        {.call = "linkat", .module = SUP_MOVE, .handle = before_copy_up, .dir = 1, .path = 2, .nofollow = true},
        {.call = "utimensat", .module = SUP_MOVE, .handle = before_copy_up, .dir = 1, .path = 2, .flags = 4},
        {.call = "utimensat_time64", .module = SUP_MOVE, .handle = before_copy_up, .dir = 1, .path = 2, .flags = 4},
        {.call = "chmod", .module = SUP_MOVE, .handle = before_copy_up, .path = 1},
        {.call = "fchmodat", .module = SUP_MOVE, .handle = before_copy_up, .dir = 1, .path = 2},
        {.call = "fchmodat2", .module = SUP_MOVE, .handle = before_copy_up, .dir = 1, .path = 2, .flags = 4},
};
/* clang-format on */
const struct sup_rules sup_own_rules = {rules, ARRAY_LEN(rules)};
