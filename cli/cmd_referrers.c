#include <stdio.h>

#include "base/err.h"
#include "base/num.h"
#include "cli/cli.h"
#include "cli/table.h"

struct referrers_args {
        struct cli_common common;
        const char *format, *type;
        bool no_trunc, quiet;
};

#define A(field) offsetof(struct referrers_args, field)
static const struct opt referrers_opts[] = {
        {"artifact-type", 0, OPT_STR, A(type), "TYPE", "those of this type only", "Flags"},
        {"format", 0, OPT_STR, A(format), "F", "table, json, jsonl or a template", NULL},
        {"no-trunc", 0, OPT_BOOL, A(no_trunc), NULL, "whole digests", NULL},
        {"quiet", 'q', OPT_BOOL, A(quiet), NULL, "digests only", NULL},
        {0},
};

static const struct table_col cols[] = {
        {"DIGEST", "ID", 0},     {"ARTIFACT TYPE", "ArtifactType", 60},
        {"SIZE", "Size", 0},     {"MEDIA TYPE", "MediaType", 0},
        {"DIGEST", "Digest", 0},
};
#define SHOWN 3u

static const char *or_empty(const char *s)
{
        return s ? s : "";
}

static int push_row(struct js *rows, const struct js *d, bool no_trunc)
{
        struct js *row = js_obj();
        char id[160], size[24] = "";
        int64_t bytes = 0;
        int r;

        short_digest(js_get_str(d, "digest"), no_trunc, id);
        if (js_get_i64(d, "size", &bytes) && bytes >= 0)
                format_size((uint64_t)bytes, size);
        r = row ? js_set_str(row, "ID", id) : BLD_E_NOMEM;
        r = r < 0 ? r : js_set_str(row, "Digest", or_empty(js_get_str(d, "digest")));
        r = r < 0 ? r : js_set_str(row, "ArtifactType", or_empty(js_get_str(d, "artifactType")));
        r = r < 0 ? r : js_set_str(row, "MediaType", or_empty(js_get_str(d, "mediaType")));
        r = r < 0 ? r : js_set_str(row, "Size", size);
        if (r < 0) {
                js_free(row);
                return r;
        }
        return js_push(rows, row);
}

static int run(struct cli *c, void *args, const struct strv *pos, struct bld_err *err)
{
        const struct referrers_args *a = args;
        AUTO_JS struct js *list = NULL, *rows = js_arr();
        struct table t = {cols, SHOWN, a->format, a->no_trunc};
        char *json = NULL;
        int r = cli_open(c, err);

        r = r < 0 ? r : bld_referrers(c->b, pos->v[0], a->type, &json, err);
        r = r < 0 ? r : take_json(json, &list, err);
        for (size_t i = 0; r == 0 && i < js_len(list); i++)
                if (push_row(rows, js_at(list, i), a->no_trunc) < 0)
                        r = err_nomem(err, "referrers");
        if (r < 0)
                return r;
        if (a->quiet)
                t.format = "{{.Digest}}";
        if (t.format)
                t.ncols = ARRAY_LEN(cols);
        return table_print(&t, list, rows, err);
}

const struct cli_cmd cmd_referrers = {
        .name = "referrers",
        .args = "[flags] IMAGE",
        .summary = "list what refers to an image: signatures, SBOMs and the like",
        .examples = "bld referrers registry.example/app:v1\n",
        .exits = "5 credentials, 6 no such image,\n  7 network",
        .see = "bld-copy(1)",
        .opts = referrers_opts,
        .registry = true,
        .args_size = sizeof(struct referrers_args),
        .min_args = 1,
        .max_args = 1,
        .names_input = true,
        .run = run,
};
