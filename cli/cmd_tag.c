#include "base/err.h"
#include "cli/cli.h"

struct tag_args {
        struct cli_common common;
};

static const struct opt tag_opts[] = {
        {"remote", 0, OPT_REFUSE, 0, NULL, "not available yet; bld push NAME OTHER copies", NULL},
        {0},
};

static int run(struct cli *c, void *args, const struct strv *pos, struct bld_err *err)
{
        int r;

        (void)args;
        r = cli_open(c, err);
        for (size_t i = 1; i < pos->n && r == 0; i++)
                r = bld_tag(c->b, pos->v[0], pos->v[i], err);
        return r;
}

const struct cli_cmd cmd_tag = {
        .name = "tag",
        .args = "IMAGE NAME...",
        .summary = "give an image further names",
        .examples = "bld tag app:v1 registry.example/team/app:v1\n",
        .exits = "6 no such image",
        .opts = tag_opts,
        .args_size = sizeof(struct tag_args),
        .min_args = 2,
        .max_args = SIZE_MAX,
        .names_input = true,
        .run = run,
};
