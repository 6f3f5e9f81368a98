#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "bld/edit.h"
#include "cli/edit.h"

struct append_args {
        struct cli_common common;
        struct edit_args edit;
        const char *base;
        struct strv layers;
        bool annotate;
};

#define A(field) offsetof(struct append_args, field)
static const struct opt append_opts[] = {
        {"base", 'b', OPT_STR, A(base), "IMAGE", "what they are put on; else nothing", "Layers"},
        {"new_layer", 'f', OPT_LIST, A(layers), "FILE|DIR",
         "a tar, plain or compressed; a folder; - for standard input", NULL},
        {"set-base-image-annotations", 0, OPT_BOOL, A(annotate), NULL,
         "note the base in the result (bld-rebase(1))", NULL},
        EDIT_OPTS(struct append_args),
        {"new_tag", 't', OPT_STR, A(edit.tag), "NAME", "where it goes, instead of under its digest",
         NULL},
        {0},
};

static int check(const struct append_args *a, const struct bld_list *layers, struct bld_err *err)
{
        size_t streams = 0;

        for (size_t i = 0; i < layers->n; i++)
                streams += strcmp(layers->v[i], "-") == 0;
        if (layers->n == 0)
                return err_set(err, BLD_E_USAGE, "there is no layer to append\ntry: -f FILE");
        if (streams > 1)
                return err_set(err, BLD_E_USAGE, "standard input is one layer");
        if (streams && isatty(0) == 1)
                return err_set(err, BLD_E_USAGE, "no layer on standard input\ntry: -f FILE");
        if (a->annotate && !a->base)
                return err_set(err, BLD_E_USAGE, "--set-base-image-annotations needs --base");
        return 0;
}

static int run(struct cli *c, void *args, const struct strv *pos, struct bld_err *err)
{
        const struct append_args *a = args;
        const struct bld_list layers = cli_list(&a->layers);
        AUTO(edit_own_done) struct edit_own own = {.dst = NULL};
        struct bld_edit_opts edit;
        struct bld_append_opts o = {
                .size = sizeof(o), .edit = &edit, .base_annotations = a->annotate};
        char *json = NULL;
        int r = check(a, &layers, err);

        (void)pos;
        if (r == 0)
                r = edit_begin(c, &a->edit, &own, &edit, err);
        if (r == 0)
                r = bld_append(c->b, a->base, &layers, &o, &json, err);
        return r == 0 ? edit_print(&a->edit, json, err) : r;
}

const struct cli_cmd cmd_append = {
        .name = "append",
        .args = "[flags] -f LAYER...",
        .summary = "put layers on top of an image",
        .details = "A layer that is compressed goes in byte for byte. Prints the result's name.\n",
        .examples = "bld append -b app:v1 -f certs.tar -t app:v2\n"
                    "bld append -f ./site -t site:v1\n"
                    "tar -cC out . | bld append -b registry.example/base -f - -t \\\n"
                    "    registry.example/app\n",
        .exits = "3 malformed layer,\n  5 credentials, 6 no such image, 7 network",
        .see = "bld-mutate(1), bld-flatten(1), bld-import(1)",
        .opts = append_opts,
        .registry = true,
        .args_size = sizeof(struct append_args),
        .min_args = 0,
        .max_args = 0,
        .names_input = true,
        .run = run,
};
