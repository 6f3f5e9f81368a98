#include "runtime/runtime.h"

#include "base/err.h"

static const char *const names[] = {
        [RT_AUTO] = "auto",     [RT_ROOT] = "root",   [RT_USERNS] = "userns", [RT_SOLO] = "solo",
        [RT_CHROOT] = "chroot", [RT_VROOT] = "vroot", [RT_NONE] = "none",
};

const char *rt_level_name(enum rt_level l)
{
        return (size_t)l < ARRAY_LEN(names) ? names[l] : "unknown";
}

int rt_level_parse(const char *s, enum rt_level *ret, struct bld_err *err)
{
        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
                if (str_eq(s, names[i])) {
                        *ret = (enum rt_level)i;
                        return 0;
                }
        }
        return err_set(err, BLD_E_USAGE,
                       "unknown isolation level \"%s\": auto, root, userns, solo, chroot, vroot or "
                       "none",
                       s);
}
