#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "cli/cli.h"

struct blob_args {
        struct cli_common common;
        const char *output;
};

static const struct opt blob_opts[] = {
        {"output", 'o', OPT_STR, offsetof(struct blob_args, output), "FILE",
         "get: where to; - is standard output", "Flags"},
        {0},
};

static int put(struct cli *c, const char *repo, const char *file, struct bld_err *err)
{
        AUTO_SB struct sb line = SB_INIT(4096);
        char digest[160];
        int r = bld_blob_put(c->b, repo, file, 0, digest, err);

        if (r < 0)
                return r;
        sb_fmt(&line, "%s\n", digest);
        return cli_write_out(line.buf, line.len, err);
}

static int run(struct cli *c, void *args, const struct strv *pos, struct bld_err *err)
{
        const struct blob_args *a = args;
        bool is_put = strcmp(pos->v[0], "put") == 0;
        const char *to = a->output ? a->output : "-";
        int r = 0;

        if (!is_put && strcmp(pos->v[0], "get") != 0)
                return err_set(err, BLD_E_USAGE, "bld blob knows get and put, not \"%.50s\"",
                               pos->v[0]);
        if (is_put ? a->output != NULL : pos->n > 2)
                return err_set(err, BLD_E_USAGE,
                               is_put ? "bld blob put has no --output"
                                      : "bld blob get takes one blob");
        if (!is_put && strcmp(to, "-") == 0 && isatty(1) == 1)
                return err_set(err, BLD_E_USAGE, "a blob is not for a terminal\ntry: -o FILE");
        if (!is_put)
                r = cli_check_target("output", to, err);
        r = r < 0 ? r : cli_open(c, err);
        if (r < 0)
                return r;
        return is_put ? put(c, pos->v[1], pos->n > 2 ? pos->v[2] : "-", err)
                      : bld_blob_get(c->b, pos->v[1], to, 1, err);
}

const struct cli_cmd cmd_blob = {
        .name = "blob",
        .args = "[flags] get REPOSITORY@DIGEST | put REPOSITORY [FILE]",
        .summary = "get or put one blob of a repository",
        .details =
                "put reads standard input where no file is named, and prints the digest. A blob\n"
                "on standard output is good only when the exit status is 0.\n",
        .examples = "bld blob get -o layer.tgz registry.example/app@sha256:...\n"
                    "bld blob put localhost:5000/app layer.tgz\n",
        .exits = "5 credentials, 6 no such blob,\n  7 network",
        .see = "bld-manifest(1)",
        .opts = blob_opts,
        .registry = true,
        .args_size = sizeof(struct blob_args),
        .min_args = 2,
        .max_args = 3,
        .names_input = true,
        .run = run,
};
