#include "base/err.h"
#include "bld/edit.h"
#include "cli/edit.h"

struct flatten_args {
        struct cli_common common;
        struct edit_args edit;
        const char *from;
};

#define A(field) offsetof(struct flatten_args, field)
static const struct opt flatten_opts[] = {
        {"from", 0, OPT_STR, A(from), "N", "only layer N (from 0, the bottom) and those above",
         "Layers"},
        EDIT_OPTS(struct flatten_args),
        {"tag", 't', OPT_STR, A(edit.tag), "NAME", "where it goes, instead of under its digest",
         NULL},
        {0},
};

static int run(struct cli *c, void *args, const struct strv *pos, struct bld_err *err)
{
        const struct flatten_args *a = args;
        AUTO(edit_own_done) struct edit_own own = {.dst = NULL};
        struct bld_edit_opts edit;
        uint64_t from = 0;
        char *json = NULL;
        int r = cli_number("from", a->from, 4096, &from, err);

        if (r == 0)
                r = edit_begin(c, &a->edit, &own, &edit, err);
        if (r == 0)
                r = bld_flatten(c->b, pos->v[0], (size_t)from, &edit, &json, err);
        return r == 0 ? edit_print(&a->edit, json, err) : r;
}

const struct cli_cmd cmd_flatten = {
        .name = "flatten",
        .args = "[flags] IMAGE",
        .summary = "make one layer of an image's layers",
        .details = "The tree stays what it is; what upper layers removed or replaced is gone from\n"
                   "the result. Prints the result's name.\n",
        .examples = "bld flatten app:v1 -t app:flat\n"
                    "bld flatten --from 3 registry.example/app:v1 -t registry.example/app:v1\n",
        .exits = "3 damaged file,\n  5 credentials, 6 no such image, 7 network",
        .see = "bld-mutate(1), bld-append(1), bld-export(1)",
        .opts = flatten_opts,
        .registry = true,
        .args_size = sizeof(struct flatten_args),
        .min_args = 1,
        .max_args = 1,
        .names_input = true,
        .run = run,
};
