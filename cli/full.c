/* A full disk, told so that it can be ended: how full, of what, and the command that makes room. */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/json.h"
#include "base/num.h"
#include "cli/cli.h"
#include "cli/report.h"
#include "cli/table.h"

#define SOME_ROOM (5ull << 30)
#define NEARLY_FULL (16ull << 20) /* bytes free, beside what the failed write would have needed */

bool report_is_full(const struct bld_err *err)
{
        return err->code != BLD_E_CHILD && (err->sys == ENOSPC || err->sys == EDQUOT);
}

/* "store a blob in X: write: No space left on device" -> "no space left in deps 4/4: store ...". */
static void first_line(const struct bld_err *from, const char *step, struct bld_err *to)
{
        static const char *const heads[] = {"no space left", "disk quota exceeded"};
        char reason[128], what[600];
        const char *why = strerror_r(from->sys, reason, sizeof(reason));
        size_t n = MIN(report_what(from), sizeof(what) - 1), k = strlen(why);

        memcpy(what, from->msg, n);
        what[n] = '\0';
        if (n > k + 2 && strcmp(what + n - k, why) == 0)
                what[n - k - 2] = '\0';
        n = strlen(what);
        if (n > 7 && strcmp(what + n - 7, ": write") == 0)
                what[n - 7] = '\0';
        (void)err_set(to, from->code, "%s%s%s: %s", heads[from->sys == EDQUOT],
                      step && *step ? " in " : "", step ? step : "", what);
        to->sys = from->sys;
}

/* A member of what a call of the library answered; -1 when it could not. */
static int64_t member(int r, char *const *text, const char *key)
{
        AUTO_JS struct js *j = NULL;

        return r == 0 && take_json(*text, &j, NULL) == 0 ? js_i64(js_get(j, key), -1) : -1;
}

/* What a prune would free now; -1 when that cannot be told. */
static int64_t gain(struct cli *c, struct bld_prune_opts *o)
{
        char *text = NULL;

        o->size = sizeof(*o);
        o->dry_run = true;
        return member(bld_prune(c->b, o, &text, NULL), &text, "freed");
}

/* Some room, oldest first, if that is less than everything. */
static void suggest(struct cli *c, uint64_t disk, int64_t all, struct bld_err *err)
{
        struct bld_prune_opts some = {.min_free_bytes = MIN(SOME_ROOM, disk / 10)};
        unsigned long long mb = some.min_free_bytes >> 20;
        int64_t part = mb ? MAX(gain(c, &some), 0) : 0;
        char size[24];

        format_size((uint64_t)all, size);
        if ((uint64_t)part > disk / 100 && part < all) {
                format_size((uint64_t)part, size);
                (void)err_try(err, 0,
                              "bld prune --min-free-space %llum   # deletes %s, oldest first", mb,
                              size);
        } else if ((uint64_t)all > disk / 100) {
                (void)err_try(err, 0, "bld prune --all   # deletes %s; --dry-run shows what", size);
        } else {
                (void)err_try(err, 0, "bld rmi IMAGE, or another disk with --root DIR");
        }
}

static void room(struct cli *c, struct bld_err *err)
{
        struct bld_prune_opts everything = {.all = true};
        char *du = NULL, total[24], cache[24], left[24], whole[24];
        uint64_t size = 0, avail = 0;
        int64_t used, all;

        if (bld_disk(c->b, &size, &avail, NULL) < 0 || size == 0)
                return;
        /* The disk of an output, or of /tmp, is another one. */
        if (avail > NEARLY_FULL && !strstr(err->msg, bld_root(c->b)))
                return;
        used = member(bld_du(c->b, &du, NULL), &du, "total");
        all = gain(c, &everything);
        if (used < 0 || all < 0)
                return;
        format_size((uint64_t)used, total);
        format_size((uint64_t)all, cache);
        format_size(avail, left);
        format_size(size, whole);
        (void)err_why(err, 0, "%s is %s, %s of it cache; its disk of %s has %s left now",
                      bld_root(c->b), total, cache, whole, left);
        suggest(c, size, all, err);
}

void report_full(struct cli *c, const struct bld_err *from, const char *step, struct bld_err *ret)
{
        const char *rest = from->msg + report_what(from);
        size_t n;

        first_line(from, step, ret);
        if (c->b)
                room(c, ret);
        n = strlen(ret->msg);
        if (*rest)
                (void)snprintf(ret->msg + n, sizeof(ret->msg) - n, "%s", rest);
}
