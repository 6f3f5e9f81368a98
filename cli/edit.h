/* What mutate, append, flatten and rebase share: where the result goes and how it is told. */
#ifndef CLI_EDIT_H
#define CLI_EDIT_H

#include "cli/cli.h"

struct edit_args {
        const char *tag, *output, *repo, *platform, *compression, *digest_file, *format;
        bool quiet;
};

/* Rows of an option table, for a struct with a member `edit` of that type. */
#define EDIT_OPTS(type)                                                                          \
        {"compression", 0,                                                                       \
         OPT_STR,       offsetof(type, edit.compression),                                        \
         "C",           "of new layers: gzip (the default), zstd or none",                       \
         "Result"},                                                                              \
                {"digest-file", 0,                                                               \
                 OPT_STR,       offsetof(type, edit.digest_file),                                \
                 "FILE",        "write the digest of the result",                                \
                 NULL},                                                                          \
                {"format", 0,                                                                    \
                 OPT_STR,  offsetof(type, edit.format),                                          \
                 "F",      "of what is printed: json or a template",                             \
                 NULL},                                                                          \
                {"output", 'o',                                                                  \
                 OPT_STR,  offsetof(type, edit.output),                                          \
                 "FILE",   "to a docker archive (which is an OCI layout, too)",                  \
                 NULL},                                                                          \
                {"platform", 0,                                                                  \
                 OPT_STR,    offsetof(type, edit.platform),                                      \
                 "OS/ARCH",  "of an index; the result is one image",                             \
                 NULL},                                                                          \
                {"quiet", 'q', OPT_BOOL, offsetof(type, edit.quiet), NULL, "no progress", NULL}, \
        {                                                                                        \
                "repo", 0, OPT_STR, offsetof(type, edit.repo), "REPOSITORY",                     \
                        "to this repository, under no tag", NULL                                 \
        }

/* The call's common options; what they point to lives in `own`, which the caller keeps. */
struct edit_own {
        char *dst;
        struct cli_progress progress;
        struct bld_watch watch;
};
int edit_begin(struct cli *c, const struct edit_args *a, struct edit_own *own,
               struct bld_edit_opts *ret, struct bld_err *err) MUST_CHECK;
/* json: the call's result (freed), NULL when it failed. */
int edit_print(const struct edit_args *a, char *json, struct bld_err *err) MUST_CHECK;
void edit_own_done(struct edit_own *own);

#endif
