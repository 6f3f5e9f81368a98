#include <fcntl.h>
#include <string.h>

#include "base/err.h"
#include "base/fd.h"
#include "cli/cli.h"

struct push_args {
        struct cli_common common;
        bool all_tags, force_compression, quiet;
        const char *compression, *digest_file, *platform;
};

#define A(field) offsetof(struct push_args, field)
static const struct opt push_opts[] = {
        {"all-tags", 'a', OPT_BOOL, A(all_tags), NULL, "every tag of the repository", "Flags"},
        {"compression", 0, OPT_STR, A(compression), "C", "gzip, zstd or none, for layers", NULL},
        {"digest-file", 0, OPT_STR, A(digest_file), "FILE", "write the digest pushed", NULL},
        {"force-compression", 0, OPT_BOOL, A(force_compression), NULL,
         "compress again what is compressed otherwise", NULL},
        {"platform", 0, OPT_STR, A(platform), "OS/ARCH", "one of an image for several", NULL},
        {"quiet", 'q', OPT_BOOL, A(quiet), NULL, "print NAME@DIGEST only", NULL},
        {"dry-run", 0, OPT_REFUSE, 0, NULL, "not available yet", NULL},
        {"if-changed", 0, OPT_REFUSE, 0, NULL, "not available yet", NULL},
        {"disable-content-trust", 0, OPT_NOTE, 0, NULL, NULL, NULL},
        {0},
};

static int push_one(struct cli *c, const struct push_args *a, const char *src, const char *dst,
                    char digest[160], struct bld_err *err)
{
        struct cli_progress progress = {.c = c, .quiet = a->quiet};
        struct bld_transfer_opts o = {.size = sizeof(o),
                                      .platform = a->platform,
                                      .all_platforms = !a->platform,
                                      .all_tags = a->all_tags,
                                      .force_compression = a->force_compression,
                                      .compression = a->compression,
                                      .progress = cli_progress,
                                      .user = &progress};
        AUTO_SB struct sb line = SB_INIT(1u << 16);
        const char *name = dst ? dst : src;
        int r = bld_push(c->b, src, dst, &o, digest, err);

        cli_progress_end(&progress);
        if (r < 0)
                return r;
        if (a->quiet) {
                sb_fmt(&line, "%.*s@%s\n", (int)cli_repository_len(name), name, digest);
                return cli_write_out(line.buf, line.len, err);
        }
        sb_fmt(&line, "pushed  %s  %s\n", name, digest);
        (void)term_write(2, line.buf, line.len); /* said for people only */
        return 0;
}

static int run(struct cli *c, void *args, const struct strv *pos, struct bld_err *err)
{
        const struct push_args *a = args;
        char digest[160] = "";
        int r = cli_open(c, err);

        if (r == 0 && pos->n == 1)
                r = push_one(c, a, pos->v[0], NULL, digest, err);
        for (size_t i = 1; i < pos->n && r == 0; i++)
                r = push_one(c, a, pos->v[0], pos->v[i], digest, err);
        if (r == 0 && a->digest_file)
                r = file_write(AT_FDCWD, a->digest_file, digest, strlen(digest), 0644,
                               FILE_IN_PLACE, err);
        return r;
}

const struct cli_cmd cmd_push = {
        .name = "push",
        .args = "[flags] IMAGE [DESTINATION...]",
        .summary = "copy an image from the store to registries",
        .examples = "bld push registry.example/team/app:v1\n"
                    "bld push app:v1 localhost:5000/app:v1\n",
        .exits = "5 credentials, 6 no such image,\n  7 network",
        .see = "bld-pull(1)",
        .opts = push_opts,
        .registry = true,
        .args_size = sizeof(struct push_args),
        .min_args = 1,
        .max_args = SIZE_MAX,
        .names_input = true,
        .run = run,
};
