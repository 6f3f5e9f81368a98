#include <string.h>

#include "base/err.h"
#include "cli/cli.h"
#include "cli/table.h"

struct inspect_args {
        struct cli_common common;
        bool raw, config, manifest;
        const char *platform, *format;
};

#define A(field) offsetof(struct inspect_args, field)
static const struct opt inspect_opts[] = {
        {"config", 0, OPT_BOOL, A(config), NULL, "the image config", "Flags"},
        {"format", 'f', OPT_STR, A(format), "F", "json, jsonl or a template", NULL},
        {"manifest", 0, OPT_BOOL, A(manifest), NULL, "the manifest, or index", NULL},
        {"platform", 0, OPT_STR, A(platform), "OS/ARCH", "of an image for several", NULL},
        {"raw", 0, OPT_BOOL, A(raw), NULL, "the document byte for byte", NULL},
        {"type", 0, OPT_NOTE, 0, "TYPE", "everything here is an image", NULL},
        {0},
};

/* The stored document, for programs that hash it. */
static int print_raw(struct cli *c, const struct inspect_args *a, enum bld_inspect what,
                     const char *ref, struct bld_err *err)
{
        char *text = NULL;
        int r = bld_inspect(c->b, ref, what, a->platform, &text, err);

        if (r < 0)
                return r;
        r = cli_puts(text, err);
        bld_free(text);
        return r;
}

/* One object: into the list, or through the template at once. */
static int take_object(const struct inspect_args *a, const struct js *j, struct js *all,
                       struct bld_err *err)
{
        if (a->format && strcmp(a->format, "json") != 0)
                return table_print_one(j, a->format, err);
        return js_push(all, js_ref(j)) < 0 ? err_nomem(err, "images") : 0;
}

static int inspect_one(struct cli *c, const struct inspect_args *a, enum bld_inspect what,
                       const char *ref, struct js *all, struct bld_err *err)
{
        AUTO_JS struct js *j = NULL;
        char *text = NULL;
        int r = bld_inspect(c->b, ref, what, a->platform, &text, err);

        r = r < 0 ? r : take_json(text, &j, err);
        if (r < 0 || !js_is_arr(j))
                return r < 0 ? r : take_object(a, j, all, err);
        for (size_t i = 0; i < js_len(j) && r == 0; i++)
                r = take_object(a, js_at(j, i), all, err);
        return r;
}

static int run(struct cli *c, void *args, const struct strv *pos, struct bld_err *err)
{
        const struct inspect_args *a = args;
        AUTO_JS struct js *all = js_arr();
        enum bld_inspect what = a->config               ? BLD_INSPECT_CONFIG
                                : a->manifest || a->raw ? BLD_INSPECT_MANIFEST
                                                        : BLD_INSPECT_DOCKER;
        int r;

        if (a->config && a->manifest)
                return err_set(err, BLD_E_USAGE, "--config and --manifest exclude each other");
        if (a->raw && a->format)
                return err_set(err, BLD_E_USAGE, "--raw and --format exclude each other");
        r = cli_open(c, err);
        for (size_t i = 0; i < pos->n && r == 0; i++)
                r = a->raw ? print_raw(c, a, what, pos->v[i], err)
                           : inspect_one(c, a, what, pos->v[i], all, err);
        if (r < 0 || !js_len(all))
                return r;
        /* A document by itself for --config and --manifest, docker's list otherwise. */
        if (what != BLD_INSPECT_DOCKER && js_len(all) == 1)
                return table_print_one(js_at(all, 0), "json", err);
        return table_print_one(all, "json", err);
}

const struct cli_cmd cmd_inspect = {
        .name = "inspect",
        .args = "[flags] IMAGE...",
        .summary = "show what an image is made of",
        .examples = "bld inspect app:v1\nbld inspect --format '{{json .Config.Env}}' app:v1\n"
                    "bld inspect --manifest app:v1\n",
        .exits = "3 damaged file,\n  6 no such image",
        .see = "bld-history(1)",
        .opts = inspect_opts,
        .registry = true,
        .args_size = sizeof(struct inspect_args),
        .min_args = 1,
        .max_args = SIZE_MAX,
        .names_input = true,
        .run = run,
};
