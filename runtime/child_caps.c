/* Capability sets, by the raw calls: libcap would be one more library for six lines. */
#include <errno.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/runtime_priv.h"

/* What containerd and BuildKit give a container. */
static const unsigned step_caps[CAPS_STEP_COUNT] = {
        CAP_CHOWN,   CAP_DAC_OVERRIDE, CAP_FSETID,           CAP_FOWNER,
        CAP_MKNOD,   CAP_NET_RAW,      CAP_SETGID,           CAP_SETUID,
        CAP_SETFCAP, CAP_SETPCAP,      CAP_NET_BIND_SERVICE, CAP_SYS_CHROOT,
        CAP_KILL,    CAP_AUDIT_WRITE,
};

uint64_t caps_step(void)
{
        uint64_t set = 0;

        for (size_t i = 0; i < ARRAY_LEN(step_caps); i++)
                set |= (uint64_t)1 << step_caps[i];
        return set;
}

static int caps_get(struct __user_cap_data_struct d[2])
{
        struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};

        return (int)syscall(SYS_capget, &h, d);
}

uint64_t caps_current(void)
{
        struct __user_cap_data_struct d[2] = {{0}, {0}};

        if (caps_get(d) < 0)
                return 0;
        return d[0].effective | (uint64_t)d[1].effective << 32;
}

/* Bounding first: dropping from it needs CAP_SETPCAP, which may be among what goes. */
static int drop_bounding(uint64_t keep, struct bld_err *err)
{
        for (unsigned long cap = 0; cap < 64; cap++) {
                if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) < 0)
                        return 0; /* past the last one of this kernel */
                if (keep & (uint64_t)1 << cap)
                        continue;
                if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0 && errno != EINVAL)
                        return err_sys(err, errno, "drop capability %lu", cap);
        }
        return 0;
}

int caps_limit(uint64_t keep, bool bounding, struct bld_err *err)
{
        struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
        struct __user_cap_data_struct d[2] = {{0}, {0}};
        int r;

        if (caps_get(d) < 0)
                return err_sys(err, errno, "read capabilities");
        if (bounding && (d[0].effective & 1u << CAP_SETPCAP)) {
                r = drop_bounding(keep, err);
                if (r < 0)
                        return r;
        }
        (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); /* since 4.3 */
        for (int i = 0; i < 2; i++) {
                uint32_t want = (uint32_t)(keep >> (32 * i));
                d[i].permitted &= want;
                d[i].effective = d[i].permitted;
                d[i].inheritable = 0;
        }
        if (syscall(SYS_capset, &h, d) < 0)
                return err_sys(err, errno, "set capabilities");
        return 0;
}
