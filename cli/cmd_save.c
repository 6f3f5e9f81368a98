#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "cli/cli.h"

struct save_args {
        struct cli_common common;
        const char *output, *format;
};

#define A(field) offsetof(struct save_args, field)
static const struct opt save_opts[] = {
        {"format", 0, OPT_STR, A(format), "F", "oci-archive (default), docker-archive or oci-dir",
         "Flags"},
        {"output", 'o', OPT_STR, A(output), "FILE", "where to; - is standard output", NULL},
        {"compress", 0, OPT_REFUSE, 0, NULL, "layers are compressed already", NULL},
        {0},
};

static int run(struct cli *c, void *args, const struct strv *pos, struct bld_err *err)
{
        const struct save_args *a = args;
        const char *format = a->format ? a->format : "oci-archive";
        const char *path = a->output ? a->output : "-";
        struct bld_list refs = cli_list(pos);
        int r;

        if (strcmp(format, "oci-archive") != 0 && strcmp(format, "docker-archive") != 0 &&
            strcmp(format, "oci-dir") != 0)
                return err_set(
                        err, BLD_E_USAGE,
                        "--format takes oci-archive, docker-archive or oci-dir, not \"%.50s\"",
                        format);
        if (strcmp(path, "-") == 0 && isatty(1) == 1)
                return err_set(err, BLD_E_USAGE, "an archive is not for a terminal\ntry: -o FILE");
        if (strcmp(path, "-") == 0 && strcmp(format, "oci-dir") == 0)
                return err_set(err, BLD_E_USAGE, "--format oci-dir needs -o FOLDER");
        r = cli_open(c, err);
        return r < 0 ? r : cli_written(bld_save(c->b, &refs, format, path, 1, err), path, err);
}

const struct cli_cmd cmd_save = {
        .name = "save",
        .args = "[flags] IMAGE...",
        .summary = "write images to an archive or layout folder",
        .examples = "bld save -o app.tar app:v1\n"
                    "bld save --format docker-archive app:v1 | docker load\n",
        .exits = "6 no such image, 8 disk full",
        .see = "bld-load(1)",
        .opts = save_opts,
        .args_size = sizeof(struct save_args),
        .min_args = 1,
        .max_args = SIZE_MAX,
        .names_input = true,
        .run = run,
};
