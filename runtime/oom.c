/* Did the kernel kill for lack of memory? The counter of our own memory cgroup (v2
 * memory.events, v1 memory.oom_control), else the machine's (/proc/vmstat). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "base/num.h"
#include "runtime/runtime_priv.h"

/* The number after "<key> " at the start of a line. */
static bool find_count(const char *text, const char *key, uint64_t *ret)
{
        size_t n = strlen(key);

        for (const char *p = text; p && *p; p = strchr(p, '\n'), p = p ? p + 1 : NULL) {
                if (strncmp(p, key, n) != 0 || p[n] != ' ')
                        continue;
                char num[24];
                size_t len = strcspn(p + n + 1, "\n");
                if (len >= sizeof(num))
                        return false;
                memcpy(num, p + n + 1, len);
                num[len] = '\0';
                return parse_u64(num, 0, UINT64_MAX, ret);
        }
        return false;
}

static bool read_count(const char *path, const char *key, struct rt_oom *ret)
{
        AUTO_SB struct sb b = SB_INIT(65536);
        struct bld_err err = BLD_ERR_INIT;

        if (file_read(AT_FDCWD, path, &b, &err) < 0)
                return false;
        ret->known = find_count(sb_text(&b), key, &ret->count);
        return ret->known;
}

/* Our line of /proc/self/cgroup: "0::/path" (v2) or "4:memory:/path" (v1). */
static bool cgroup_path(const char *text, bool v2, char *out, size_t size)
{
        for (const char *p = text; p && *p; p = strchr(p, '\n'), p = p ? p + 1 : NULL) {
                const char *ctl = strchr(p, ':');
                const char *path = ctl ? strchr(ctl + 1, ':') : NULL;
                if (!path)
                        return false;
                bool is_v2 = path == ctl + 1;
                bool is_mem = strncmp(ctl, ":memory:", 8) == 0;
                if (v2 ? !is_v2 : !is_mem)
                        continue;
                size_t len = strcspn(path + 1, "\n");
                if (len >= size)
                        return false;
                memcpy(out, path + 1, len);
                out[len] = '\0';
                return true;
        }
        return false;
}

void rt_oom_read(struct rt_oom *ret)
{
        AUTO_SB struct sb b = SB_INIT(65536);
        struct bld_err err = BLD_ERR_INIT;
        char path[2048], file[2200];

        memset(ret, 0, sizeof(*ret));
        if (file_read(AT_FDCWD, "/proc/self/cgroup", &b, &err) == 0) {
                if (cgroup_path(sb_text(&b), true, path, sizeof(path))) {
                        (void)snprintf(file, sizeof(file), "/sys/fs/cgroup%s/memory.events", path);
                        if (read_count(file, "oom_kill", ret))
                                return;
                }
                if (cgroup_path(sb_text(&b), false, path, sizeof(path))) {
                        (void)snprintf(file, sizeof(file),
                                       "/sys/fs/cgroup/memory%s/memory.oom_control", path);
                        if (read_count(file, "oom_kill", ret))
                                return;
                }
        }
        (void)read_count("/proc/vmstat", "oom_kill", ret);
}
