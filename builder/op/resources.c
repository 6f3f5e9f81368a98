/* --resource: what RUN steps may use. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/num.h"
#include "builder/graph/events_priv.h"
#include "builder/op/op_priv.h"

#define PERIOD_US 100000

static bool size_or_unlimited(const char *s, int64_t *ret)
{
        uint64_t n;

        if (strcmp(s, "-1") == 0) {
                *ret = -1;
                return true;
        }
        if (!parse_size(s, &n) || n > INT64_MAX)
                return false;
        *ret = (int64_t)n;
        return true;
}

/* "1.5" CPUs as a share of the period. */
static bool cpus(const char *s, struct rt_resources *l)
{
        char *end;
        double n = strtod(s, &end);

        if (end == s || *end || !isfinite(n) || n < 0.01 || n > 65536)
                return false;
        l->cpu_period_us = PERIOD_US;
        l->cpu_quota_us = (uint64_t)(n * PERIOD_US);
        return true;
}

/* A list of numbers and ranges; the kernel judges the rest. */
static bool id_list(const char *s)
{
        return *s && strspn(s, "0123456789,-") == strlen(s);
}

static bool set_resource(struct rt_resources *l, const char *key, const char *v, bool *ret_known)
{
        *ret_known = true;
        if (strcmp(key, "memory") == 0)
                return parse_size(v, &l->memory_bytes);
        if (strcmp(key, "memory-swap") == 0)
                return size_or_unlimited(v, &l->memory_swap_bytes);
        if (strcmp(key, "cpus") == 0)
                return cpus(v, l);
        if (strcmp(key, "cpu-shares") == 0)
                return parse_u64(v, 0, UINT32_MAX, &l->cpu_shares);
        if (strcmp(key, "cpu-period") == 0)
                return parse_u64(v, 0, UINT32_MAX, &l->cpu_period_us);
        if (strcmp(key, "cpu-quota") == 0)
                return parse_u64(v, 0, INT64_MAX, &l->cpu_quota_us);
        if (strcmp(key, "pids") == 0)
                return parse_u64(v, 0, UINT32_MAX, &l->pids);
        if (strcmp(key, "cpuset-cpus") == 0) {
                l->cpuset_cpus = v;
                return id_list(v);
        }
        if (strcmp(key, "cpuset-mems") == 0) {
                l->cpuset_mems = v;
                return id_list(v);
        }
        *ret_known = false;
        return false;
}

static int parse_resource(struct rt_resources *l, const char *text, struct bld_err *err)
{
        const char *eq = strchr(text, '=');
        AUTO_FREE char *key = mem_strndup(text, eq ? (size_t)(eq - text) : strlen(text));
        bool known;

        if (!key)
                return err_nomem(err, "--resource");
        if (eq && set_resource(l, key, eq + 1, &known))
                return 0;
        if (eq && known)
                return err_set(err, BLD_E_USAGE, "--resource %s: \"%.100s\" is not a value for it",
                               key, eq + 1);
        (void)err_set(err, BLD_E_USAGE, "--resource \"%.100s\" is not known", text);
        return err_try(err, BLD_E_USAGE,
                       "memory, memory-swap, cpus, cpu-shares, cpu-period, cpu-quota, cpuset-cpus, "
                       "cpuset-mems or pids, as NAME=VALUE");
}

int resources_parse(const struct bld_build_opts *o, struct rt_resources *ret, struct bld_err *err)
{
        struct rt_resources *l = ret;

        l->parent = o->cgroup_parent && *o->cgroup_parent ? o->cgroup_parent : NULL;
        for (size_t i = 0; i < o->resources.n; i++) {
                int r = parse_resource(l, o->resources.v[i], err);

                if (r < 0)
                        return r;
        }
        if (l->memory_swap_bytes > 0 && (uint64_t)l->memory_swap_bytes < l->memory_bytes)
                return err_set(err, BLD_E_USAGE,
                               "memory-swap is memory and swap together: less than memory is not "
                               "possible");
        if (l->parent && strstr(l->parent, ".."))
                return err_set(err, BLD_E_USAGE, "--cgroup-parent \"%.100s\" leads elsewhere",
                               l->parent);
        return 0;
}

void resources_tell(const struct build *b)
{
        char why[1024], text[1200];

        if (rt_resources_check(&b->resources, why, sizeof(why)))
                return;
        (void)snprintf(text, sizeof(text), "steps run without some of the limits asked for: %s",
                       why);
        events_warning(b->events, 0, text);
}
