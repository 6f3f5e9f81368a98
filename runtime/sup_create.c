/* New files of others than root, and in folders that hand their group on: made here, noted, and
 * given to the task. All else the kernel makes itself. */
#include "runtime/sup_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sys.h"

#define TMPFILE_BIT 020000000u /* O_TMPFILE without O_DIRECTORY */

unsigned sup_umask(const struct sup *s, const struct sup_req *q)
{
        AUTO_FD int fd = sup_proc_open(s, q->tid, "status", O_RDONLY);
        char buf[512];
        unsigned mask = 022;
        ssize_t n = fd < 0 ? -1 : sys_read(fd, buf, sizeof(buf) - 1);
        const char *p;

        if (n > 0) {
                buf[n] = '\0';
                p = strstr(buf, "\nUmask:");
                if (p)
                        (void)sscanf(p, "\nUmask: %o", &mask);
        }
        return mask & 0777;
}

/* Whose a new file below dir is; false: root's, and the kernel may make it. */
static bool new_owner(struct sup *s, const struct sup_req *q, int dir, struct owner *ret)
{
        const struct sup_cred *c = sup_cred_of(s, q->tid);
        struct owner above;
        struct stat st;

        *ret = (struct owner){.uid = c->uid[ID_FS], .gid = c->gid[ID_FS]};
        if (fstat(dir, &st) == 0 && (st.st_mode & S_ISGID)) {
                (void)sup_owner(s, dir, &st, &above);
                ret->gid = above.gid;
        }
        return ret->uid || ret->gid;
}

/* No need to look: all is root's, and root asks. */
static bool nothing_to_do(struct sup *s, const struct sup_req *q)
{
        const struct sup_cred *c;

        if (s->owners.attrs)
                return false;
        c = sup_cred_of(s, q->tid);
        return !c->uid[ID_FS] && !c->gid[ID_FS];
}

static int note_name(struct sup *s, int dir, const char *leaf, const struct owner *o)
{
        AUTO_FD int fd = sys_openat(dir, leaf, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);

        return fd < 0 ? -errno : sup_note(s, fd, o);
}

/* ---- open ---- */

static int64_t give_file(struct sup *s, struct sup_req *q, int fd, const struct owner *o,
                         unsigned flags)
{
        int r = sup_note(s, fd, o);

        return r < 0 ? r : sup_send_fd(s, q, fd, flags & O_CLOEXEC);
}

static int64_t make_nameless(struct sup *s, struct sup_req *q, unsigned flags, unsigned mode)
{
        AUTO_FD int dir = -1;
        AUTO_FD int fd = -1;
        struct owner o;
        int r = sup_target(s, q, &dir);

        if (r < 0 || !new_owner(s, q, dir, &o))
                return SUP_CONTINUE;
        fd = sys_openat(dir, ".", (int)flags | O_CLOEXEC, mode & 07777 & ~sup_umask(s, q));
        return fd < 0 ? -errno : give_file(s, q, fd, &o, flags);
}

/* Only what is not there yet is made; what is there the kernel opens. */
static int64_t make_file(struct sup *s, struct sup_req *q, unsigned flags, unsigned mode)
{
        AUTO_FD int dir = -1;
        AUTO_FD int fd = -1;
        struct owner o;
        char leaf[256];

        if (nothing_to_do(s, q))
                return SUP_CONTINUE;
        if (flags & TMPFILE_BIT)
                return make_nameless(s, q, flags, mode);
        if (sup_parent(s, q, &dir, leaf) < 0 || !leaf[0] || !new_owner(s, q, dir, &o))
                return SUP_CONTINUE; /* also errors are the kernel's to tell */
        fd = sys_openat(dir, leaf,
                        (int)((flags & ~(unsigned)O_TRUNC) | O_CREAT | O_EXCL | O_NOFOLLOW |
                              O_CLOEXEC | O_NOCTTY),
                        mode & 07777 & ~sup_umask(s, q));
        if (fd < 0)
                return errno == EEXIST && !(flags & O_EXCL) ? SUP_CONTINUE : -errno;
        return give_file(s, q, fd, &o, flags);
}

static int64_t do_open(struct sup *s, struct sup_req *q)
{
        return make_file(s, q, (unsigned)q->a[q->rule->val], (unsigned)q->a[q->rule->val + 1]);
}

static int64_t do_creat(struct sup *s, struct sup_req *q)
{
        return make_file(s, q, O_CREAT | O_WRONLY | O_TRUNC, (unsigned)q->a[q->rule->val]);
}

/* Its flags are behind a pointer. A look-up with rules of its own is left to the kernel: the file
 * is root's then. */
static int64_t do_openat2(struct sup *s, struct sup_req *q)
{
        struct open_how how;

        if (q->a[4] < sizeof(how) || sup_copy_in(q, q->a[3], &how, sizeof(how)) < 0 ||
            !(how.flags & (O_CREAT | TMPFILE_BIT)) || how.resolve)
                return SUP_CONTINUE;
        return make_file(s, q, (unsigned)how.flags, (unsigned)how.mode);
}

/* ---- the rest ---- */

static int64_t do_mkdir(struct sup *s, struct sup_req *q)
{
        unsigned mode = (unsigned)q->a[q->rule->val];
        AUTO_FD int dir = -1;
        struct owner o;
        char leaf[256];

        if (nothing_to_do(s, q) || sup_parent(s, q, &dir, leaf) < 0 || !leaf[0] ||
            !new_owner(s, q, dir, &o))
                return SUP_CONTINUE;
        if (sys_mkdirat(dir, leaf, mode & 01777 & ~sup_umask(s, q)) < 0)
                return -errno;
        return note_name(s, dir, leaf, &o);
}

int64_t sup_make_plain(struct sup *s, struct sup_req *q)
{
        unsigned mode = (unsigned)q->a[q->rule->val];
        AUTO_FD int dir = -1;
        struct owner o;
        char leaf[256];

        if (nothing_to_do(s, q) || sup_parent(s, q, &dir, leaf) < 0 || !leaf[0] ||
            !new_owner(s, q, dir, &o))
                return SUP_CONTINUE;
        if (mknodat(dir, leaf, (mode & S_IFMT) | (mode & 07777 & ~sup_umask(s, q)), 0) < 0)
                return -errno;
        return note_name(s, dir, leaf, &o);
}

static int64_t do_symlink(struct sup *s, struct sup_req *q)
{
        AUTO_FD int dir = -1;
        char target[4096], leaf[256];
        struct owner o;
        int r;

        if (nothing_to_do(s, q) || sup_parent(s, q, &dir, leaf) < 0 || !leaf[0] ||
            !new_owner(s, q, dir, &o))
                return SUP_CONTINUE;
        r = sup_copy_str(q, q->a[q->rule->val], target, sizeof(target));
        if (r < 0)
                return r;
        if (symlinkat(target, dir, leaf) < 0)
                return -errno;
        return note_name(s, dir, leaf, &o);
}

#define MAKES ((unsigned)O_CREAT | TMPFILE_BIT)
/* clang-format off */
static const struct sup_rule rules[] = {
        {.call = "open", .module = SUP_CREATE, .handle = do_open, .path = 1, .val = 2, .test_arg = 2, .test = MAKES},
        {.call = "openat", .module = SUP_CREATE, .handle = do_open, .dir = 1, .path = 2, .val = 3, .test_arg = 3, .test = MAKES},
        {.call = "openat2", .module = SUP_CREATE, .handle = do_openat2, .dir = 1, .path = 2},
        {.call = "creat", .module = SUP_CREATE, .handle = do_creat, .path = 1, .val = 2},
        {.call = "mkdir", .module = SUP_CREATE, .handle = do_mkdir, .path = 1, .val = 2},
        {.call = "mkdirat", .module = SUP_CREATE, .handle = do_mkdir, .dir = 1, .path = 2, .val = 3},
        {.call = "symlink", .module = SUP_CREATE, .handle = do_symlink, .path = 2, .val = 1},
        {.call = "symlinkat", .module = SUP_CREATE, .handle = do_symlink, .dir = 2, .path = 3, .val = 1},
};
/* clang-format on */
const struct sup_rules sup_create_rules = {rules, ARRAY_LEN(rules)};
