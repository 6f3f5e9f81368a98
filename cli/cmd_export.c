#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "cli/cli.h"

struct export_args {
        struct cli_common common;
        const char *output, *platform;
};

#define A(field) offsetof(struct export_args, field)
static const struct opt export_opts[] = {
        {"output", 'o', OPT_STR, A(output), "FILE", "where to; - is standard output", "Flags"},
        {"platform", 0, OPT_STR, A(platform), "OS/ARCH", "of an image for several", NULL},
        {0},
};

static int run(struct cli *c, void *args, const struct strv *pos, struct bld_err *err)
{
        const struct export_args *a = args;
        const char *path = a->output ? a->output : "-";
        int r;

        if (strcmp(path, "-") == 0 && isatty(1) == 1)
                return err_set(err, BLD_E_USAGE, "an archive is not for a terminal\ntry: -o FILE");
        r = cli_check_target("output", path, err);
        r = r < 0 ? r : cli_open(c, err);
        if (r < 0)
                return r;
        return cli_written(bld_export(c->b, pos->v[0], a->platform, path, 1, err), path, err);
}

const struct cli_cmd cmd_export = {
        .name = "export",
        .args = "[flags] IMAGE",
        .summary = "write an image's merged file system as one tar",
        .examples = "bld export -o rootfs.tar app:v1\n"
                    "bld export docker://registry.example/app:v1 | tar -tv\n",
        .exits = "3 damaged file,\n  5 credentials, 6 no such image, 7 network, 8 disk full",
        .see = "bld-import(1), bld-save(1)",
        .opts = export_opts,
        .registry = true,
        .args_size = sizeof(struct export_args),
        .min_args = 1,
        .max_args = 1,
        .names_input = true,
        .run = run,
};
