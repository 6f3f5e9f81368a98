/* Our cgroups in the kernel's texts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "runtime/runtime_priv.h"

#define V1                                                                            \
        "22 1 0:20 / /sys rw - sysfs sysfs rw\n"                                      \
        "30 22 0:25 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup " \
        "rw,cpu,cpuacct\n"                                                            \
        "31 22 0:26 /docker/ab /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"  \
        "32 22 0:27 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"           \
        "33 22 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n"
#define SELF "5:cpuset:/\n4:memory:/docker/ab/x\n3:cpu,cpuacct:/user\n0::/user.slice/me\n"

static void folders(void **state)
{
        static const struct {
                const char *mounts, *self, *controller;
                bool v2;
                const char *want; /* NULL: none */
        } cases[] = {
                {V1, SELF, "cpu", false, "/sys/fs/cgroup/cpu,cpuacct/user"},
                {V1, SELF, "memory", false, "/sys/fs/cgroup/memory/x"},
                {V1, SELF, "cpuset", false, "/sys/fs/cgroup/cpuset"},
                {V1, SELF, "pids", false, NULL},
                {V1, SELF, "cpua", false, NULL},
                {V1, SELF, "memory", true, "/sys/fs/cgroup/unified/user.slice/me"},
                {V1, "4:memory:/elsewhere\n", "memory", false, "/sys/fs/cgroup/memory"},
                {V1, "4:memory:/docker/abc\n", "memory", false, "/sys/fs/cgroup/memory"},
                {"33 22 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n", "0::/\n", "memory", true,
                 "/sys/fs/cgroup"},
                {"33 22 0:28 / /a\\040b rw - cgroup2 cgroup rw\n", "0::/\n", "memory", true, NULL},
                {"", SELF, "memory", false, NULL},
                {"x\n - \n- cgroup2\n", SELF, "memory", true, NULL},
                {V1, "", "memory", false, NULL},
                {V1, "nonsense\n4:memory", "memory", false, NULL},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
                char dir[PATH_MAX], point[PATH_MAX];
                bool found = rt_cgroup_dir(cases[i].mounts, cases[i].self, cases[i].controller,
                                           cases[i].v2, dir, sizeof(dir), point);

                if (found != (cases[i].want != NULL))
                        fail_msg("case %zu: %s", i, found ? dir : "nothing found");
                if (found)
                        assert_string_equal(dir, cases[i].want);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(folders)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
