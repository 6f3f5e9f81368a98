#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "cli/cli.h"

struct import_args {
        struct cli_common common;
        struct strv change;
        const char *message, *platform;
};

#define A(field) offsetof(struct import_args, field)
static const struct opt import_opts[] = {
        {"change", 'c', OPT_LIST, A(change), "INSTR",
         "a Dockerfile instruction for the config (CMD, ENV, ...)", "Flags"},
        {"message", 'm', OPT_STR, A(message), "TEXT", "comment in the history", NULL},
        {"platform", 0, OPT_STR, A(platform), "OS/ARCH", "instead of this machine's", NULL},
        {0},
};

static int run(struct cli *c, void *args, const struct strv *pos, struct bld_err *err)
{
        const struct import_args *a = args;
        struct bld_import_opts o = {.size = sizeof(o),
                                    .changes = cli_list(&a->change),
                                    .message = a->message,
                                    .platform = a->platform,
                                    .in_fd = 0};
        AUTO_SB struct sb line = SB_INIT(4096);
        char digest[160];
        int r;

        if (strcmp(pos->v[0], "-") == 0 && isatty(0) == 1)
                return err_set(err, BLD_E_USAGE, "no archive on standard input\ntry: FILE or URL");
        r = cli_open(c, err);
        if (r == 0)
                r = bld_import(c->b, pos->v[0], pos->n > 1 ? pos->v[1] : NULL, &o, digest, err);
        if (r < 0)
                return r;
        sb_fmt(&line, "%s\n", digest);
        return cli_write_out(line.buf, line.len, err);
}

const struct cli_cmd cmd_import = {
        .name = "import",
        .args = "[flags] FILE|URL|- [NAME]",
        .summary = "make an image of a root file system's tar",
        .details = "Prints the digest.\n",
        .examples = "bld import rootfs.tar.xz base:v1\n"
                    "docker export box | bld import -c 'CMD [\"/bin/sh\"]' - box:v1\n",
        .exits = "3 malformed archive, 7 network",
        .see = "bld-export(1), bld-load(1)",
        .opts = import_opts,
        .registry = true,
        .args_size = sizeof(struct import_args),
        .min_args = 1,
        .max_args = 2,
        .run = run,
};
