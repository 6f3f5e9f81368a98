#include "base/err.h"
#include "cli/cli.h"

struct tag_args {
        struct cli_common common;
        bool remote;
};

static const struct opt tag_opts[] = {
        {"remote", 0, OPT_BOOL, offsetof(struct tag_args, remote), NULL,
         "in the image's registry, without moving its layers", "Flags"},
        {0},
};

static int run(struct cli *c, void *args, const struct strv *pos, struct bld_err *err)
{
        const struct tag_args *a = args;
        char digest[160];
        int r = cli_open(c, err);

        for (size_t i = 1; i < pos->n && r == 0; i++)
                r = a->remote ? bld_tag_remote(c->b, pos->v[0], pos->v[i], digest, err)
                              : bld_tag(c->b, pos->v[0], pos->v[i], err);
        return r;
}

const struct cli_cmd cmd_tag = {
        .name = "tag",
        .args = "[flags] IMAGE NAME...",
        .summary = "give an image further names",
        .examples = "bld tag app:v1 registry.example/team/app:v1\n"
                    "bld tag --remote registry.example/team/app:v1 stable\n",
        .exits = "5 credentials, 6 no such image,\n  7 network",
        .see = "bld-copy(1)",
        .opts = tag_opts,
        .registry = true,
        .args_size = sizeof(struct tag_args),
        .min_args = 2,
        .max_args = SIZE_MAX,
        .names_input = true,
        .run = run,
};
