/* Landlock: a second wall where the kernel has it (5.13; scopes 6.12). The kernel's own header may
 * be older than the kernel, so what is newer is named here. */
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/runtime_priv.h"

#define FS_ALL_V1 ((1ULL << 13) - 1) /* execute ... make_sym */
#define FS_REFER (1ULL << 13)        /* ABI 2 */
#define FS_TRUNCATE (1ULL << 14)     /* ABI 3 */
#define FS_IOCTL_DEV (1ULL << 15)    /* ABI 5 */
#define NET_ALL 3ULL                 /* ABI 4: bind and connect of TCP */
#define SCOPE_ALL 3ULL               /* ABI 6: abstract unix sockets, signals */

struct ruleset {
        uint64_t fs, net, scoped;
};

static int abi(void)
{
        long v = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

        return v < 0 ? 0 : (int)v;
}

static size_t ruleset_size(int version)
{
        if (version >= 6)
                return sizeof(struct ruleset);
        return version >= 4 ? 2 * sizeof(uint64_t) : sizeof(uint64_t);
}

static int enforce(int fd, struct bld_err *err)
{
        if (syscall(SYS_landlock_restrict_self, fd, 0) == 0)
                return 0;
        if (errno == EPERM) { /* neither CAP_SYS_ADMIN nor no_new_privs */
                if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
                    syscall(SYS_landlock_restrict_self, fd, 0) == 0)
                        return 0;
        }
        return err_sys(err, errno, "restrict a process by Landlock");
}

static int only_below(int root_fd, bool net, struct bld_err *err)
{
        struct ruleset rs = {0};
        struct landlock_path_beneath_attr rule = {.parent_fd = root_fd};
        AUTO_FD int fd = -1;
        int version = abi();

        if (version < 1)
                return 0;
        rs.fs = FS_ALL_V1 | (version >= 2 ? FS_REFER : 0) | (version >= 3 ? FS_TRUNCATE : 0) |
                (version >= 5 ? FS_IOCTL_DEV : 0);
        rs.net = net && version >= 4 ? NET_ALL : 0;
        rs.scoped = version >= 6 ? SCOPE_ALL : 0;
        fd = (int)syscall(SYS_landlock_create_ruleset, &rs, ruleset_size(version), 0);
        if (fd < 0)
                return err_sys(err, errno, "create a Landlock rule set");
        rule.allowed_access = rs.fs;
        if (syscall(SYS_landlock_add_rule, fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
                return err_sys(err, errno, "allow the store by Landlock");
        return enforce(fd, err);
}

int landlock_tree(int root_fd, struct bld_err *err)
{
        return only_below(root_fd, true, err);
}

int landlock_root(int root_fd, struct bld_err *err)
{
        return only_below(root_fd, false, err);
}

bool landlock_there(void)
{
        return abi() >= 1;
}

/* Before ABI 2 a domain that handles files forbids to move them between folders, which no step
 * could live with. */
bool landlock_fences(void)
{
        return abi() >= 2;
}

bool landlock_signals(void)
{
        return abi() >= 6;
}

/* A domain must handle something to be one: moving files, allowed everywhere. */
static int allow_refer(int fd, struct bld_err *err)
{
        AUTO_FD int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        const struct landlock_path_beneath_attr rule = {.allowed_access = FS_REFER,
                                                        .parent_fd = root};

        if (root < 0 ||
            syscall(SYS_landlock_add_rule, fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
                return err_sys(err, errno, "allow the root by Landlock");
        return 0;
}

int landlock_scopes(bool fence, struct bld_err *err)
{
        int version = abi();
        struct ruleset rs = {.scoped = version >= 6 ? SCOPE_ALL : 0};
        AUTO_FD int fd = -1;

        if (version < (fence ? 2 : 6))
                return 0;
        if (!rs.scoped)
                rs.fs = FS_REFER;
        fd = (int)syscall(SYS_landlock_create_ruleset, &rs, ruleset_size(version), 0);
        if (fd < 0)
                return err_sys(err, errno, "create a Landlock rule set");
        if (rs.fs && allow_refer(fd, err) < 0)
                return BLD_E_SYS;
        return enforce(fd, err);
}
