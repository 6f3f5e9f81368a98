#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/num.h"
#include "cli/cli.h"
#include "cli/table.h"

struct history_args {
        struct cli_common common;
        bool human, no_trunc, quiet;
        const char *format, *platform;
};

#define A(field) offsetof(struct history_args, field)
static const struct opt history_opts[] = {
        {"format", 0, OPT_STR, A(format), "F", "table, json, jsonl or a template", "Flags"},
        {"human", 'H', OPT_BOOL, A(human), NULL, "sizes and times for people (true)", NULL},
        {"no-trunc", 0, OPT_BOOL, A(no_trunc), NULL, "whole commands and digests", NULL},
        {"platform", 0, OPT_STR, A(platform), "OS/ARCH", "of an image for several", NULL},
        {"quiet", 'q', OPT_BOOL, A(quiet), NULL, "layer digests only", NULL},
        {0},
};

static const struct table_col cols[] = {
        {"LAYER", "ID", 0},
        {"CREATED", "CreatedSince", 0},
        {"CREATED BY", "CreatedBy", 60},
        {"SIZE", "Size", 0},
        {"COMMENT", "Comment", 40},
        {"LINE", "Line", 0},
        {"CREATED AT", "CreatedAt", 0},
        {"DIGEST", "Digest", 0},
};
#define SHOWN 5u /* and LINE where an entry has one */

static const char *or_empty(const char *s)
{
        return s ? s : "";
}

/* "Dockerfile:12". */
static int set_line(struct js *row, const struct js *h, bool *any)
{
        AUTO_SB struct sb text = SB_INIT(1u << 16);
        int64_t line;

        if (js_get_i64(h, "line", &line)) {
                sb_fmt(&text, "%s:%lld", or_empty(js_get_str(h, "file")), (long long)line);
                *any = true;
        }
        return js_set_str(row, "Line", sb_text(&text));
}

static int push_row(struct js *rows, const struct js *h, const struct history_args *a,
                    bool *any_line)
{
        struct js *row = js_obj();
        const char *digest = js_get_str(h, "digest"), *created = js_get_str(h, "created");
        char id[160], since[40], at[64], size[24] = "";
        int64_t bytes = 0;
        int r;

        short_digest(digest, a->no_trunc, id);
        since_text(created, since);
        local_time_text(created, at);
        (void)js_get_i64(h, "size", &bytes);
        if (a->human)
                format_size((uint64_t)MAX(bytes, 0), size);
        else
                (void)snprintf(size, sizeof(size), "%lld", (long long)bytes);
        r = row ? js_set_str(row, "ID", *id ? id : "<none>") : BLD_E_NOMEM;
        r = r < 0 ? r : js_set_str(row, "CreatedSince", a->human ? since : or_empty(created));
        r = r < 0 ? r : js_set_str(row, "CreatedAt", at);
        r = r < 0 ? r : js_set_str(row, "CreatedBy", or_empty(js_get_str(h, "createdBy")));
        r = r < 0 ? r : js_set_str(row, "Size", size);
        r = r < 0 ? r : js_set_str(row, "Comment", or_empty(js_get_str(h, "comment")));
        r = r < 0 ? r : js_set_str(row, "Digest", or_empty(digest));
        r = r < 0 ? r : set_line(row, h, any_line);
        if (r < 0) {
                js_free(row);
                return r;
        }
        return js_push(rows, row);
}

static void defaults(void *args)
{
        ((struct history_args *)args)->human = true;
}

static int run(struct cli *c, void *args, const struct strv *pos, struct bld_err *err)
{
        const struct history_args *a = args;
        AUTO_JS struct js *list = NULL, *rows = js_arr();
        struct table t = {cols, SHOWN, a->format, a->no_trunc};
        char *text = NULL;
        bool any_line = false;
        int r;

        r = cli_open(c, err);
        r = r < 0 ? r : bld_history(c->b, pos->v[0], a->platform, &text, err);
        r = r < 0 ? r : take_json(text, &list, err);
        if (r < 0)
                return r;
        for (size_t i = 0; i < js_len(list); i++)
                if (push_row(rows, js_at(list, i), a, &any_line) < 0)
                        return err_nomem(err, "history");
        t.ncols += any_line;
        if (a->quiet)
                t.format = "{{.ID}}";
        if (t.format && strstr(t.format, "{{"))
                t.ncols = ARRAY_LEN(cols);
        return table_print(&t, list, rows, err);
}

const struct cli_cmd cmd_history = {
        .name = "history",
        .args = "[flags] IMAGE",
        .summary = "list the steps an image came from, newest first",
        .examples = "bld history app:v1\nbld history --no-trunc app:v1\n",
        .exits = "3 damaged file,\n  6 no such image",
        .see = "bld-inspect(1)",
        .opts = history_opts,
        .registry = true,
        .args_size = sizeof(struct history_args),
        .min_args = 1,
        .max_args = 1,
        .names_input = true,
        .init = defaults,
        .run = run,
};
