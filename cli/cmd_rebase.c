#include "base/err.h"
#include "bld/edit.h"
#include "cli/edit.h"

struct rebase_args {
        struct cli_common common;
        struct edit_args edit;
        const char *original, *old_base, *new_base;
};

#define A(field) offsetof(struct rebase_args, field)
static const struct opt rebase_opts[] = {
        {"new_base", 0, OPT_STR, A(new_base), "IMAGE", "the base it gets; else as it says itself",
         "Bases"},
        {"old_base", 0, OPT_STR, A(old_base), "IMAGE", "the base it has; else as it says itself",
         NULL},
        {"original", 0, OPT_STR, A(original), "IMAGE", "the image, instead of the argument", NULL},
        EDIT_OPTS(struct rebase_args),
        {"rebased", 0, OPT_STR, A(edit.tag), "NAME", "the same as --tag", NULL},
        {"tag", 't', OPT_STR, A(edit.tag), "NAME", "where it goes, instead of under its digest",
         NULL},
        {0},
};

static int run(struct cli *c, void *args, const struct strv *pos, struct bld_err *err)
{
        const struct rebase_args *a = args;
        AUTO(edit_own_done) struct edit_own own = {.dst = NULL};
        struct bld_edit_opts edit;
        char *json = NULL;
        int r;

        if ((a->original != NULL) == (pos->n > 0))
                return err_set(err, BLD_E_USAGE, "one image is rebased\ntry: bld rebase IMAGE");
        r = edit_begin(c, &a->edit, &own, &edit, err);
        if (r == 0)
                r = bld_rebase(c->b, a->original ? a->original : pos->v[0], a->old_base,
                               a->new_base, &edit, &json, err);
        return r == 0 ? edit_print(&a->edit, json, err) : r;
}

const struct cli_cmd cmd_rebase = {
        .name = "rebase",
        .args = "[flags] IMAGE",
        .summary = "put an image's own layers on another base",
        .details = "Nothing is built: whether they work there is for you to know. What the config\n"
                   "has from the old base becomes the new base's. Prints the result's name.\n",
        .examples = "bld rebase app:v1 --old_base debian:12.1 --new_base debian:12.2 -t app:v1\n"
                    "bld rebase registry.example/app:v1 -t registry.example/app:v1\n",
        .exits = "3 damaged file,\n  4 the image is not built on the old base, 5 credentials,\n"
                 "  6 no such image, 7 network",
        .see = "bld-mutate(1), bld-append(1)",
        .opts = rebase_opts,
        .registry = true,
        .args_size = sizeof(struct rebase_args),
        .min_args = 0,
        .max_args = 1,
        .names_input = true,
        .run = run,
};
