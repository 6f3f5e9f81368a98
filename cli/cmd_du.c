#include <string.h>

#include "base/err.h"
#include "base/num.h"
#include "cli/cli.h"
#include "cli/table.h"

struct du_args {
        struct cli_common common;
        const char *format;
        bool verbose;
        struct strv filter;
};

#define A(field) offsetof(struct du_args, field)
static const struct opt du_opts[] = {
        {"format", 0, OPT_STR, A(format), "F", "table, json, jsonl or a template", "Flags"},
        {"verbose", 'v', OPT_BOOL, A(verbose), NULL, "what can be given up alone, one by one",
         NULL},
        {"filter", 0, OPT_LIST, A(filter), "K=V",
         "of these only until=D, id=REGEX, type=T, inuse, shared, private", NULL},
        {0},
};

static const struct table_col cols[] = {
        {"KIND", "Kind", 0}, {"COUNT", "Count", 0}, {"SIZE", "Size", 0}, {"BYTES", "Bytes", 0}};

static int push_row(struct js *rows, const char *kind, int64_t count, int64_t bytes)
{
        struct js *row = js_obj();
        char size[24], number[24] = "";
        int r;

        format_size((uint64_t)MAX(bytes, 0), size);
        if (count >= 0)
                (void)snprintf(number, sizeof(number), "%lld", (long long)count);
        r = row ? js_set_str(row, "Kind", kind) : BLD_E_NOMEM;
        r = r < 0 ? r : js_set_str(row, "Count", number);
        r = r < 0 ? r : js_set_str(row, "Size", size);
        r = r < 0 ? r : js_set_i64(row, "Bytes", bytes);
        if (r < 0) {
                js_free(row);
                return r;
        }
        return js_push(rows, row);
}

static int make_rows(const struct js *du, struct js *rows)
{
        const struct js *kinds = js_get(du, "kinds");
        int r = 0;

        for (void *it = js_iter(kinds); it && r == 0; it = js_iter_next(kinds, it)) {
                int64_t bytes = 0, count = -1;

                (void)js_get_i64(js_iter_value(it), "bytes", &bytes);
                (void)js_get_i64(js_iter_value(it), "count", &count);
                if (bytes || count > 0)
                        r = push_row(rows, js_iter_key(it), count, bytes);
        }
        if (r == 0)
                r = push_row(rows, "total", -1, js_i64(js_get(du, "total"), 0));
        if (r == 0)
                r = push_row(rows, "reclaimable", -1, js_i64(js_get(du, "reclaimable"), 0));
        return r;
}

/* ---- one by one ---- */

static const struct table_col item_cols[] = {
        {"ID", "ID", 24},          {"TYPE", "Type", 0},    {"SIZE", "Size", 0},
        {"LAST USED", "Since", 0}, {"STATE", "State", 0},  {"BYTES", "Bytes", 0},
        {"SHARED", "Shared", 0},   {"IN USE", "InUse", 0}, {"LAST USED AT", "LastUsed", 0},
};

static int push_item(struct js *rows, const struct js *it)
{
        struct js *row = js_obj();
        const char *used = js_str(js_get(it, "lastUsed"));
        bool held = js_get_bool(it, "inUse", false), shared = js_get_bool(it, "shared", false);
        int64_t bytes = js_i64(js_get(it, "bytes"), 0);
        char size[24], since[40];
        int r;

        format_size((uint64_t)MAX(bytes, 0), size);
        since_text(used, since);
        r = row ? js_set_str(row, "ID", js_str(js_get(it, "id"))) : BLD_E_NOMEM;
        r = r < 0 ? r : js_set_str(row, "Type", js_str(js_get(it, "type")));
        r = r < 0 ? r : js_set_str(row, "Size", size);
        r = r < 0 ? r : js_set_str(row, "Since", since);
        r = r < 0 ? r : js_set_str(row, "State", held ? "in use" : shared ? "shared" : "");
        r = r < 0 ? r : js_set_i64(row, "Bytes", bytes);
        r = r < 0 ? r : js_set_bool(row, "Shared", shared);
        r = r < 0 ? r : js_set_bool(row, "InUse", held);
        r = r < 0 ? r : js_set_str(row, "LastUsed", used ? used : "");
        if (r < 0) {
                js_free(row);
                return r;
        }
        return js_push(rows, row);
}

static int run_items(struct cli *c, const struct du_args *a, struct bld_err *err)
{
        struct table t = {item_cols, 5, a->format, a->format != NULL};
        struct bld_list filters = cli_list(&a->filter);
        AUTO_JS struct js *list = NULL, *rows = js_arr();
        char *text = NULL;
        int r = bld_du_items(c->b, &filters, &text, err);

        r = r < 0 ? r : take_json(text, &list, err);
        for (size_t i = 0; r == 0 && i < js_len(list); i++)
                if (!rows || push_item(rows, js_at(list, i)) < 0)
                        r = err_nomem(err, "sizes");
        if (r < 0)
                return r;
        t.ncols = a->format && strstr(a->format, "{{") ? ARRAY_LEN(item_cols) : 5;
        return table_print(&t, list, rows, err);
}

static int run(struct cli *c, void *args, const struct strv *pos, struct bld_err *err)
{
        const struct du_args *a = args;
        struct table t = {cols, 3, a->format, false};
        AUTO_JS struct js *du = NULL, *rows = js_arr();
        char *text = NULL;
        int r;

        (void)pos;
        r = cli_open(c, err);
        if (r == 0 && (a->verbose || a->filter.n))
                return run_items(c, a, err);
        r = r < 0 ? r : bld_du(c->b, &text, err);
        r = r < 0 ? r : take_json(text, &du, err);
        if (r < 0)
                return r;
        if (js_set_str(du, "apiVersion", "bld/v1") < 0 || make_rows(du, rows) < 0)
                return err_nomem(err, "sizes");
        if (a->format && (strcmp(a->format, "json") == 0 || strcmp(a->format, "jsonl") == 0))
                return table_print_one(du, a->format, err);
        t.ncols = a->format && strstr(a->format, "{{") ? ARRAY_LEN(cols) : 3;
        return table_print(&t, du, rows, err);
}

const struct cli_cmd cmd_du = {
        .name = "du",
        .args = "[flags]",
        .summary = "show what the store takes on disk",
        .details =
                "Sizes are disk blocks, as du(1) counts them. One by one, an entry's size has the\n"
                "blobs it shares with others in it.\n",
        .examples = "bld du\nbld du --verbose --filter type=result\nbld du --format json\n",
        .see = "bld-prune(1)",
        .opts = du_opts,
        .args_size = sizeof(struct du_args),
        .run = run,
};
