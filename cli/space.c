/* Sizes that may be shares of the disk, and the limits a build keeps the store within. */
#include "cli/space.h"

#include <string.h>

#include "base/err.h"
#include "base/num.h"

#define MAX_SHARE 20u            /* percent of the disk the store may take */
#define FREE_BYTES (10ull << 30) /* to be left free, */
#define FREE_SHARE 10u           /* but no more than this much of a small disk */
#define FLOOR_SHARE 10u          /* of the ceiling: what a full disk does not take from the cache */

static uint64_t share(uint64_t whole, uint64_t percent)
{
        return whole / 100 * percent;
}

int cli_space(struct cli *c, const char *flag, const char *s, uint64_t *ret, struct bld_err *err)
{
        uint64_t size, avail, percent;
        char digits[8];
        size_t n = s ? strlen(s) : 0;
        int r;

        if (!s)
                return 0;
        if (n > 1 && n <= sizeof(digits) && s[n - 1] == '%') {
                (void)snprintf(digits, sizeof(digits), "%.*s", (int)(n - 1), s);
                if (parse_u64(digits, 0, 100, &percent)) {
                        r = bld_disk(c->b, &size, &avail, err);
                        if (r == 0)
                                *ret = share(size, percent);
                        return r;
                }
        }
        if (!parse_size(s, ret))
                return err_set(
                        err, BLD_E_USAGE,
                        "%s takes a size like 512m or 10g, or a share of the disk like 20%%, "
                        "not \"%.100s\"",
                        flag, s);
        return 0;
}

/* "0" and "off": no limit. */
static int limit(struct cli *c, const char *flag, const char *value, const char *name,
                 uint64_t *ret, struct bld_err *err)
{
        const char *e = getenv(name);

        if (!value && e && *e) {
                value = e;
                flag = name;
        }
        if (value && strcmp(value, "off") == 0)
                value = "0";
        return cli_space(c, flag, value, ret, err);
}

int cli_space_limits(struct cli *c, const char *max_used, const char *min_free,
                     struct bld_build_opts *o, struct bld_err *err)
{
        const char *keep = getenv("BLD_CACHE_KEEP");
        uint64_t size, avail;
        int64_t ns = 0;
        int r = bld_disk(c->b, &size, &avail, err);

        if (r < 0)
                return r;
        o->cache_max_bytes = share(size, MAX_SHARE);
        o->cache_min_free_bytes = MIN(FREE_BYTES, share(size, FREE_SHARE));
        r = limit(c, "--max-used-space", max_used, "BLD_CACHE_MAX_SIZE", &o->cache_max_bytes, err);
        if (r == 0)
                r = limit(c, "--min-free-space", min_free, "BLD_CACHE_MIN_FREE",
                          &o->cache_min_free_bytes, err);
        o->cache_floor_bytes = share(o->cache_max_bytes ? o->cache_max_bytes : size, FLOOR_SHARE);
        if (r == 0 && keep && *keep && (!parse_duration(keep, &ns) || ns < 0))
                r = err_set(err, BLD_E_USAGE,
                            "BLD_CACHE_KEEP takes a duration like 14d, not \"%.100s\"", keep);
        o->cache_keep_sec = ns / 1000000000;
        o->cache_note = max_used || getenv("BLD_CACHE_MAX_SIZE"); /* a default is not insisted on */
        return r;
}
