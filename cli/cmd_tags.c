#include <string.h>

#include "base/err.h"
#include "cli/cli.h"
#include "cli/table.h"

struct list_args {
        struct cli_common common;
        const char *format;
};

static const struct opt list_opts[] = {
        {"format", 0, OPT_STR, offsetof(struct list_args, format), "F",
         "table, json, jsonl or a template", "Flags"},
        {0},
};

/* Strings as rows of one column without a head: what scripts read line by line. */
static int print_strings(char *json, const char *field, const char *format, struct bld_err *err)
{
        AUTO_JS struct js *list = NULL, *rows = js_arr();
        AUTO_SB struct sb lines = SB_INIT(64u << 20);
        const struct table_col col = {field, field, 0};
        const struct table t = {&col, 1, format, true};
        int r = take_json(json, &list, err);

        for (size_t i = 0; r == 0 && i < js_len(list); i++) {
                const char *s = js_str(js_at(list, i));
                struct js *row = js_obj();

                sb_fmt(&lines, "%s\n", s);
                if (!row || js_set_str(row, field, s) < 0 || js_push(rows, js_ref(row)) < 0)
                        r = err_nomem(err, "list");
                js_free(row);
        }
        if (r < 0)
                return r;
        if (!format || strcmp(format, "table") == 0)
                return cli_write_out(lines.buf, lines.len, err);
        return table_print(&t, list, rows, err);
}

static int run_tags(struct cli *c, void *args, const struct strv *pos, struct bld_err *err)
{
        const struct list_args *a = args;
        char *json = NULL;
        int r = cli_open(c, err);

        r = r < 0 ? r : bld_tags(c->b, pos->v[0], &json, err);
        return r < 0 ? r : print_strings(json, "Tag", a->format, err);
}

static int run_catalog(struct cli *c, void *args, const struct strv *pos, struct bld_err *err)
{
        const struct list_args *a = args;
        char *json = NULL;
        int r = cli_open(c, err);

        r = r < 0 ? r : bld_catalog(c->b, pos->v[0], &json, err);
        return r < 0 ? r : print_strings(json, "Repository", a->format, err);
}

const struct cli_cmd cmd_tags = {
        .name = "tags",
        .args = "[flags] REPOSITORY",
        .summary = "list the tags of a repository",
        .examples = "bld tags registry.example/team/app\nbld tags oci:./layout\n",
        .exits = "5 credentials, 6 not found, 7 network",
        .see = "bld-catalog(1), bld-digest(1)",
        .opts = list_opts,
        .registry = true,
        .args_size = sizeof(struct list_args),
        .min_args = 1,
        .max_args = 1,
        .names_input = true,
        .run = run_tags,
};

const struct cli_cmd cmd_catalog = {
        .name = "catalog",
        .args = "[flags] HOST[:PORT]",
        .summary = "list the repositories of a registry",
        .details = "Many public registries do not answer this.\n",
        .examples = "bld catalog localhost:5000\n",
        .exits = "5 credentials, 6 not found, 7 network",
        .see = "bld-tags(1)",
        .opts = list_opts,
        .registry = true,
        .args_size = sizeof(struct list_args),
        .min_args = 1,
        .max_args = 1,
        .names_input = true,
        .run = run_catalog,
};
