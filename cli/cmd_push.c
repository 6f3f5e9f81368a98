#include "base/err.h"
#include "base/json.h"
#include "cli/cli.h"

struct push_args {
        struct cli_common common;
        bool all_tags, dry_run, force_compression, if_changed, quiet;
        const char *compression, *digest_file, *format, *platform;
};

#define A(field) offsetof(struct push_args, field)
static const struct opt push_opts[] = {
        {"all-tags", 'a', OPT_BOOL, A(all_tags), NULL, "every tag of the repository", "Flags"},
        {"compression", 0, OPT_STR, A(compression), "C", "gzip, zstd or none, for layers", NULL},
        {"digest-file", 0, OPT_STR, A(digest_file), "FILE", "write the digest pushed", NULL},
        {"dry-run", 0, OPT_BOOL, A(dry_run), NULL, "only say what would be pushed", NULL},
        {"force-compression", 0, OPT_BOOL, A(force_compression), NULL,
         "compress again what is compressed otherwise", NULL},
        {"format", 0, OPT_STR, A(format), "F", "of what is printed: json or jsonl, per name", NULL},
        {"if-changed", 0, OPT_BOOL, A(if_changed), NULL,
         "one look where the name is this image already", NULL},
        {"platform", 0, OPT_STR, A(platform), "OS/ARCH", "one of an image for several", NULL},
        {"quiet", 'q', OPT_BOOL, A(quiet), NULL, "print NAME@DIGEST only", NULL},
        {"disable-content-trust", 0, OPT_NOTE, 0, NULL, NULL, NULL},
        {0},
};

static int push_one(struct cli *c, const struct push_args *a, const char *src, const char *dst,
                    struct js *list, struct bld_err *err)
{
        struct cli_progress progress = {.c = c, .quiet = a->quiet};
        struct bld_transfer_opts o = {.size = sizeof(o),
                                      .platform = a->platform,
                                      .all_tags = a->all_tags,
                                      .dry_run = a->dry_run,
                                      .if_changed = a->if_changed,
                                      .force_compression = a->force_compression,
                                      .compression = a->compression,
                                      .in_fd = 0,
                                      .progress = cli_progress,
                                      .user = &progress};
        char *json = NULL;
        int r = bld_push(c->b, src, dst, &o, &json, err), told;

        cli_progress_end(&progress);
        told = cli_moved_take(json, list, r < 0 ? NULL : err);
        return r < 0 ? r : told;
}

static int run(struct cli *c, void *args, const struct strv *pos, struct bld_err *err)
{
        const struct push_args *a = args;
        struct cli_moved m = {.verb = "push",
                              .past = "pushed",
                              .format = a->format,
                              .quiet = a->quiet,
                              .dry_run = a->dry_run};
        AUTO_JS struct js *list = js_arr();
        struct bld_err why = BLD_ERR_INIT;
        int r = list ? 0 : err_nomem(err, "list"), pushed;

        if (r == 0 && a->digest_file)
                r = cli_check_target("digest-file", a->digest_file, err);
        r = r < 0 ? r : cli_open(c, err);
        if (r < 0)
                return r;
        pushed = pos->n == 1 ? push_one(c, a, pos->v[0], NULL, list, &why) : 0;
        for (size_t i = 1; i < pos->n && pushed == 0; i++)
                pushed = push_one(c, a, pos->v[0], pos->v[i], list, &why);
        if (pushed == 0 || js_len(list))
                r = cli_moved_print(c, &m, list, err);
        if (pushed < 0) {
                err_copy(err, &why);
                return pushed;
        }
        if (r == 0 && a->digest_file && !a->dry_run)
                r = cli_moved_digests(a->digest_file, list, err);
        return r;
}

const struct cli_cmd cmd_push = {
        .name = "push",
        .args = "[flags] IMAGE [DESTINATION...]",
        .summary = "copy an image from the store to registries",
        .examples = "bld push registry.example/team/app:v1\n"
                    "bld push app:v1 localhost:5000/app:v1\n",
        .exits = "3 damaged file,\n  5 credentials, 6 no such image, 7 network",
        .see = "bld-pull(1)",
        .opts = push_opts,
        .registry = true,
        .args_size = sizeof(struct push_args),
        .min_args = 1,
        .max_args = SIZE_MAX,
        .names_input = true,
        .run = run,
};
