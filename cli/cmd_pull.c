#include "base/err.h"
#include "base/json.h"
#include "cli/cli.h"

struct pull_args {
        struct cli_common common;
        const char *format, *platform;
        bool all_platforms, all_tags, lazy, quiet;
};

#define A(field) offsetof(struct pull_args, field)
static const struct opt pull_opts[] = {
        {"all-platforms", 0, OPT_BOOL, A(all_platforms), NULL, "every platform of an index",
         "Flags"},
        {"all-tags", 'a', OPT_BOOL, A(all_tags), NULL, "every tag of the repository", NULL},
        {"format", 0, OPT_STR, A(format), "F", "of what is printed: json or jsonl, per name", NULL},
        {"lazy", 0, OPT_BOOL, A(lazy), NULL, "documents only; layers when something needs them",
         NULL},
        {"platform", 0, OPT_STR, A(platform), "OS/ARCH", "instead of this machine's", NULL},
        {"quiet", 'q', OPT_BOOL, A(quiet), NULL, "print NAME@DIGEST only", NULL},
        {"disable-content-trust", 0, OPT_NOTE, 0, NULL, NULL, NULL},
        {0},
};

static int pull_one(struct cli *c, const struct pull_args *a, const char *ref, struct js *list,
                    struct bld_err *err)
{
        struct cli_progress progress = {.c = c, .quiet = a->quiet};
        struct bld_transfer_opts o = {.size = sizeof(o),
                                      .platform = a->platform,
                                      .all_platforms = a->all_platforms,
                                      .all_tags = a->all_tags,
                                      .lazy = a->lazy,
                                      .in_fd = 0,
                                      .progress = cli_progress,
                                      .user = &progress};
        char *json = NULL;
        int r = bld_pull(c->b, ref, &o, &json, err), told;

        cli_progress_end(&progress);
        told = cli_moved_take(json, list, r < 0 ? NULL : err);
        return r < 0 ? r : told;
}

static int run(struct cli *c, void *args, const struct strv *pos, struct bld_err *err)
{
        const struct pull_args *a = args;
        struct cli_moved m = {
                .verb = "pull", .past = "pulled", .format = a->format, .quiet = a->quiet};
        AUTO_JS struct js *list = js_arr();
        struct bld_err why = BLD_ERR_INIT;
        int r = list ? 0 : err_nomem(err, "list"), pulled = 0;

        if (a->platform && a->all_platforms)
                return err_set(err, BLD_E_USAGE,
                               "--platform and --all-platforms exclude each other");
        r = r < 0 ? r : cli_open(c, err);
        if (r < 0)
                return r;
        for (size_t i = 0; i < pos->n && pulled == 0; i++)
                pulled = pull_one(c, a, pos->v[i], list, &why);
        if (pulled == 0 || js_len(list))
                r = cli_moved_print(c, &m, list, err);
        if (pulled < 0) {
                err_copy(err, &why);
                return pulled;
        }
        return r;
}

const struct cli_cmd cmd_pull = {
        .name = "pull",
        .args = "[flags] IMAGE...",
        .summary = "copy images from registries and other places into the store",
        .details = "Places: NAME or docker://NAME, oci:FOLDER[:NAME][@DIGEST],\n"
                   "oci-archive:FILE[:NAME], docker-archive:FILE[:NAME], docker-daemon:NAME.\n",
        .examples = "bld pull debian:12\nbld pull --platform linux/arm64 alpine:3.20\n"
                    "bld pull oci-archive:app.tar\n",
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
