#include <string.h>

#include "base/err.h"
#include "base/num.h"
#include "cli/cli.h"
#include "cli/space.h"
#include "cli/table.h"

struct prune_args {
        struct cli_common common;
        bool all, force, dry_run;
        const char *keep, *reserved, *max_used, *min_free, *until, *format;
        struct strv filter;
};

#define A(field) offsetof(struct prune_args, field)
static const struct opt prune_opts[] = {
        {"all", 'a', OPT_BOOL, A(all), NULL,
         "cached results, untagged images and cache mounts, too", "Flags"},
        {"dry-run", 0, OPT_BOOL, A(dry_run), NULL, "only say what would go", NULL},
        {"filter", 0, OPT_LIST, A(filter), "K=V",
         "only until=D, id=REGEX, type=T, inuse, shared, private", NULL},
        {"force", 'f', OPT_BOOL, A(force), NULL, "do not ask", NULL},
        {"format", 0, OPT_STR, A(format), "F", "text, json or a template", NULL},
        {"keep-storage", 0, OPT_STR, A(keep), "SIZE",
         "keep this much of the newest; 20% is of the disk", NULL},
        {"reserved-space", 0, OPT_STR, A(reserved), "SIZE", "the same", NULL},
        {"max-used-space", 0, OPT_STR, A(max_used), "SIZE", "shrink the store to this", NULL},
        {"min-free-space", 0, OPT_STR, A(min_free), "SIZE", "until the disk has this much free",
         NULL},
        {"until", 0, OPT_STR, A(until), "D", "only what was not used for D (24h, 7d)", NULL},
        {0},
};

static int fill(struct cli *c, const struct prune_args *a, struct bld_prune_opts *o,
                struct bld_err *err)
{
        int64_t ms = 0;
        int r;

        o->size = sizeof(*o);
        o->all = a->all;
        o->dry_run = a->dry_run;
        o->filters = cli_list(&a->filter);
        r = cli_space(c, "--keep-storage", a->keep, &o->keep_bytes, err);
        r = r < 0 ? r : cli_space(c, "--reserved-space", a->reserved, &o->keep_bytes, err);
        r = r < 0 ? r : cli_space(c, "--max-used-space", a->max_used, &o->max_used_bytes, err);
        r = r < 0 ? r : cli_space(c, "--min-free-space", a->min_free, &o->min_free_bytes, err);
        r = r < 0 ? r : cli_duration_ms("until", a->until, &ms, err);
        o->until_sec = (ms + 999) / 1000;
        return r;
}

static int print_freed(const struct prune_args *a, const struct js *j, struct bld_err *err)
{
        static const char *const kinds[] = {"blobs", "results", "snapshots", "images", "other"};
        AUTO_SB struct sb out = SB_INIT(1u << 16);
        const char *sep = "";
        char freed[24];

        format_size((uint64_t)MAX(js_i64(js_get(j, "freed"), 0), 0), freed);
        sb_fmt(&out, "%s %s (", a->dry_run ? "would free" : "freed", freed);
        for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
                sb_fmt(&out, "%s%lld %s", sep, (long long)js_i64(js_get(j, kinds[i]), 0), kinds[i]);
                sep = ", ";
        }
        sb_str(&out, ")\n");
        return cli_write_out(out.buf, out.len, err);
}

static int run(struct cli *c, void *args, const struct strv *pos, struct bld_err *err)
{
        const struct prune_args *a = args;
        struct bld_prune_opts o = {0};
        AUTO_JS struct js *j = NULL;
        char *text = NULL;
        int r;

        (void)pos;
        r = cli_open(c, err);
        r = r < 0 ? r : fill(c, a, &o, err);
        if (r == 0 && !a->force && !a->dry_run) {
                r = cli_confirm(c,
                                a->all ? "remove all cached results and untagged images?"
                                : a->until || a->filter.n
                                        ? "remove the cached results that were named?"
                                        : "remove what no image and no recent result needs?",
                                err);
                if (r <= 0)
                        return r < 0 ? r : 1;
                r = 0;
        }
        r = r < 0 ? r : bld_prune(c->b, &o, &text, err);
        r = r < 0 ? r : take_json(text, &j, err);
        if (r < 0)
                return r;
        if (!a->format || strcmp(a->format, "text") == 0)
                return print_freed(a, j, err);
        if (js_set_str(j, "apiVersion", "bld/v1") < 0)
                return err_nomem(err, "sizes");
        return table_print_one(j, a->format, err);
}

const struct cli_cmd cmd_prune = {
        .name = "prune",
        .args = "[flags]",
        .summary = "free space: remove what nothing needs",
        .details = "What a name or a running build needs always stays. --until and --filter\n"
                   "also take cached results, of those they name; cache mounts only with --all\n"
                   "or type=mount.\n",
        .examples = "bld prune --dry-run\nbld prune -af\nbld prune -f --until 7d\n"
                    "bld prune -f --max-used-space 20%\n"
                    "bld prune -f --filter type=mount --filter unused-for=30d\n",
        .see = "bld-du(1)",
        .opts = prune_opts,
        .args_size = sizeof(struct prune_args),
        .run = run,
};
