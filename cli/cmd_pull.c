#include <string.h>

#include "base/err.h"
#include "cli/cli.h"

struct pull_args {
        struct cli_common common;
        const char *platform;
        bool all_platforms, all_tags, quiet;
};

#define A(field) offsetof(struct pull_args, field)
static const struct opt pull_opts[] = {
        {"all-platforms", 0, OPT_BOOL, A(all_platforms), NULL, "every platform of an index",
         "Flags"},
        {"all-tags", 'a', OPT_BOOL, A(all_tags), NULL, "every tag of the repository", NULL},
        {"platform", 0, OPT_STR, A(platform), "OS/ARCH", "instead of this machine's", NULL},
        {"quiet", 'q', OPT_BOOL, A(quiet), NULL, "print NAME@DIGEST only", NULL},
        {"lazy", 0, OPT_REFUSE, 0, NULL, "not available yet", NULL},
        {"disable-content-trust", 0, OPT_NOTE, 0, NULL, NULL, NULL},
        {0},
};

static int pull_one(struct cli *c, const struct pull_args *a, const char *ref, struct bld_err *err)
{
        struct cli_progress progress = {.c = c, .quiet = a->quiet};
        struct bld_transfer_opts o = {.size = sizeof(o),
                                      .platform = a->platform,
                                      .all_platforms = a->all_platforms,
                                      .all_tags = a->all_tags,
                                      .progress = cli_progress,
                                      .user = &progress};
        AUTO_SB struct sb line = SB_INIT(1u << 16);
        char digest[160] = "";
        int r = bld_pull(c->b, ref, &o, digest, err);

        cli_progress_end(&progress);
        if (r < 0)
                return r;
        if (a->quiet) {
                sb_fmt(&line, "%.*s@%s\n", (int)cli_repository_len(ref), ref, digest);
                return cli_write_out(line.buf, line.len, err);
        }
        sb_fmt(&line, "pulled  %s  %s\n", ref, digest);
        (void)term_write(2, line.buf, line.len); /* said for people only */
        return 0;
}

static int run(struct cli *c, void *args, const struct strv *pos, struct bld_err *err)
{
        const struct pull_args *a = args;
        int r;

        if (a->platform && a->all_platforms)
                return err_set(err, BLD_E_USAGE,
                               "--platform and --all-platforms exclude each other");
        r = cli_open(c, err);
        for (size_t i = 0; i < pos->n && r == 0; i++)
                r = pull_one(c, a, pos->v[i], err);
        return r;
}

const struct cli_cmd cmd_pull = {
        .name = "pull",
        .args = "[flags] IMAGE...",
        .summary = "copy images from a registry into the store",
        .examples = "bld pull debian:12\nbld pull --platform linux/arm64 alpine:3.20\n",
        .exits = "5 credentials, 6 no such image,\n  7 network",
        .see = "bld-push(1), bld-build(1)",
        .opts = pull_opts,
        .registry = true,
        .args_size = sizeof(struct pull_args),
        .min_args = 1,
        .max_args = SIZE_MAX,
        .names_input = true,
        .run = run,
};
