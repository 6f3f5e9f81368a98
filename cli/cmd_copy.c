#include "base/err.h"
#include "base/json.h"
#include "cli/cli.h"

struct copy_args {
        struct cli_common common;
        bool all, all_tags, referrers, skip_existing, preserve_digests, dry_run, force, quiet;
        const char *platform, *tag_filter, *digest_file, *format;
        struct strv convert;
};

#define A(field) offsetof(struct copy_args, field)
static const struct opt copy_opts[] = {
        {"all", 'a', OPT_BOOL, A(all), NULL, "every platform (the default)", "Flags"},
        {"all-tags", 0, OPT_BOOL, A(all_tags), NULL, "every tag of the repository", NULL},
        {"convert", 0, OPT_LIST, A(convert), "TO",
         "oci or docker: types of documents; gzip, zstd or none: layers", NULL},
        {"digest-file", 0, OPT_STR, A(digest_file), "FILE", "write the digest copied", NULL},
        {"dry-run", 0, OPT_BOOL, A(dry_run), NULL, "only say what would be copied", NULL},
        {"force-compression", 0, OPT_BOOL, A(force), NULL,
         "compress again what is compressed otherwise", NULL},
        {"format", 0, OPT_STR, A(format), "F", "of what is printed: json or jsonl, per name", NULL},
        {"platform", 0, OPT_STR, A(platform), "OS/ARCH", "one of an image for several", NULL},
        {"preserve-digests", 0, OPT_BOOL, A(preserve_digests), NULL,
         "fail where a digest would change", NULL},
        {"quiet", 'q', OPT_BOOL, A(quiet), NULL, "print NAME@DIGEST only", NULL},
        {"referrers", 0, OPT_BOOL, A(referrers), NULL, "signatures, SBOMs and the like, too", NULL},
        {"skip-existing", 0, OPT_BOOL, A(skip_existing), NULL,
         "leave names alone that exist at the destination", NULL},
        {"tag-filter", 0, OPT_STR, A(tag_filter), "GLOB",
         "those tags only; /RE/ is a regular expression", NULL},
        {0},
};

static int run(struct cli *c, void *args, const struct strv *pos, struct bld_err *err)
{
        const struct copy_args *a = args;
        struct cli_progress progress = {.c = c, .quiet = a->quiet};
        struct bld_copy_opts o = {.size = sizeof(o),
                                  .platform = a->platform,
                                  .all_tags = a->all_tags,
                                  .tag_filter = a->tag_filter,
                                  .referrers = a->referrers,
                                  .skip_existing = a->skip_existing,
                                  .preserve_digests = a->preserve_digests,
                                  .dry_run = a->dry_run,
                                  .convert = cli_list(&a->convert),
                                  .force_compression = a->force,
                                  .in_fd = 0,
                                  .out_fd = 1,
                                  .progress = cli_progress,
                                  .user = &progress};
        struct cli_moved m = {.verb = "copy",
                              .past = "copied",
                              .format = a->format,
                              .quiet = a->quiet,
                              .dry_run = a->dry_run};
        AUTO_JS struct js *list = js_arr();
        struct bld_err why = BLD_ERR_INIT;
        char *json = NULL;
        int r = 0, copied;

        if (a->all && a->platform)
                return err_set(err, BLD_E_USAGE, "--all and --platform exclude each other");
        if (a->digest_file)
                r = cli_check_target("digest-file", a->digest_file, err);
        r = r < 0 ? r : cli_open(c, err);
        if (r < 0)
                return r;
        copied = bld_copy(c->b, pos->v[0], pos->v[1], &o, &json, &why);
        cli_progress_end(&progress);
        r = list ? cli_moved_take(json, list, err) : err_nomem(err, "list");
        if (r == 0 && (copied == 0 || js_len(list)))
                r = cli_moved_print(c, &m, list, err);
        if (copied < 0) {
                err_copy(err, &why);
                return copied;
        }
        if (r == 0 && a->digest_file && !a->dry_run)
                r = cli_moved_digests(a->digest_file, list, err);
        return r;
}

const struct cli_cmd cmd_copy = {
        .name = "copy",
        .aliases = "cp",
        .args = "[flags] SOURCE DESTINATION",
        .summary = "copy images between registries, the store, layouts and archives",
        .details = "Places: docker://NAME (or just NAME), store:NAME, oci:FOLDER[:NAME][@DIGEST],\n"
                   "oci-archive:FILE[:NAME], docker-archive:FILE[:NAME], docker-daemon:NAME.\n",
        .examples = "bld copy debian:12 registry.example/mirror/debian:12\n"
                    "bld copy --all-tags --referrers a.example/app b.example/app\n"
                    "bld copy store:app:v1 oci:./layout:v1\n",
        .exits = "3 damaged file,\n  4 a digest would change, 5 credentials, 6 no such image, 7 "
                 "network",
        .see = "bld-push(1), bld-pull(1)",
        .opts = copy_opts,
        .registry = true,
        .args_size = sizeof(struct copy_args),
        .min_args = 2,
        .max_args = 2,
        .names_input = true,
        .run = run,
};
