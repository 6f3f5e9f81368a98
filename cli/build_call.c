/* `bld build --call`: everything of a build but the building. */
#include <string.h>

#include "base/err.h"
#include "base/json.h"
#include "base/num.h"
#include "cli/check.h"
#include "cli/exit.h"
#include "cli/report.h"
#include "cli/table.h"
#include "cli/text.h"

struct call {
        const char *what; /* check, outline, targets */
        const char *format;
        bool ignore_status;
        struct strv fields;
};

bool build_is_call(const struct build_args *a)
{
        return a->check || (a->call && strcmp(a->call, "build") != 0);
}

static int call_option(struct call *call, const char *field, struct bld_err *err)
{
        if (str_has_prefix(field, "format=")) {
                call->format = field + strlen("format=");
                return 0;
        }
        if (str_has_prefix(field, "ignorestatus=") &&
            parse_go_bool(field + strlen("ignorestatus="), &call->ignore_status))
                return 0;
        return err_set(err, BLD_E_USAGE, "--call does not know \"%.50s\"", field);
}

/* WHAT[,format=F][,ignorestatus=B] */
static int parse_call(const struct build_args *a, struct call *call, struct bld_err *err)
{
        int r = csv_split(a->call ? a->call : "check", &call->fields, err);

        if (r < 0)
                return err_recode(err, BLD_E_USAGE);
        call->what = call->fields.n ? call->fields.v[0] : "";
        for (size_t i = 1; i < call->fields.n && r == 0; i++)
                r = call_option(call, call->fields.v[i], err);
        if (r == 0 && a->check && strcmp(call->what, "check") != 0)
                return err_set(err, BLD_E_USAGE, "--check and --call %.50s exclude each other",
                               call->what);
        return r;
}

static int call_check(struct cli *c, const struct call *call, const struct build_input *in,
                      struct bld_err *err)
{
        const struct bld_check_opts o = {.size = sizeof(o), .build = &in->o};
        struct bld_check_result result = {.size = sizeof(result)};
        const struct check_format *f;
        bool bad;
        int r = check_format_find(call->format, &f, err);

        r = r < 0 ? r : bld_check(c->b, &o, &result, err);
        if (r < 0)
                return r;
        r = check_print(f, &result, err);
        if (r == 0)
                check_print_error(c, f, &result);
        bad = result.n || result.failed;
        bld_check_done(&result);
        if (r < 0)
                return r;
        return bad && !call->ignore_status ? EXIT_FAILED : EXIT_OK;
}

/* ---- outline and targets as text ---- */

static const struct {
        const char *list;
        struct table_col cols[3];
        size_t ncols;
} tables[] = {
        {"args",
         {{"BUILD ARG", "name", 0}, {"VALUE", "value", 0}, {"DESCRIPTION", "description", 0}},
         3},
        {"secrets", {{"SECRET", "name", 0}, {"REQUIRED", "required", 0}}, 2},
        {"ssh", {{"SSH", "name", 0}, {"REQUIRED", "required", 0}}, 2},
        {"cache", {{"CACHE MOUNT", "ID", 0}}, 1},
        {"targets", {{"TARGET", "name", 0}, {"DESCRIPTION", "description", 0}}, 2},
};

static int set_clean(struct js *row, const char *key, const char *text)
{
        AUTO_SB struct sb clean = SB_INIT(8u << 20);

        (void)text_add(&clean, text, strlen(text), TEXT_WIDE, 0);
        return js_set_str(row, key, sb_text(&clean));
}

/* A row of texts: booleans spelt out, the default marked. */
static int text_row(struct js *rows, const struct js *item, const struct table_col *cols, size_t n)
{
        bool standard = js_get_bool(item, "default", false);
        AUTO_JS struct js *row = js_obj();
        int r = 0;

        for (size_t i = 0; i < n && r == 0; i++) {
                const char *text = js_get_str(item, cols[i].field);
                AUTO_SB struct sb cell = SB_INIT(8u << 20);

                if (strcmp(cols[i].field, "required") == 0)
                        text = js_get_bool(item, "required", false) ? "true" : "";
                sb_str(&cell, text ? text : "");
                if (i == 0 && standard)
                        sb_str(&cell, cell.len ? " (default)" : "(default)");
                r = set_clean(row, cols[i].field, sb_text(&cell));
        }
        return r < 0 ? r : js_push(rows, TAKE_PTR(&row));
}

static int print_list(const struct js *list, size_t which, struct bld_err *err)
{
        const struct table t = {.cols = tables[which].cols, .ncols = tables[which].ncols};
        AUTO_JS struct js *rows = js_arr();
        int r = 0;

        for (size_t i = 0; i < js_len(list) && r == 0; i++)
                r = text_row(rows, js_at(list, i), t.cols, t.ncols);
        return r < 0 ? err_nomem(err, "table") : table_print(&t, list, rows, err);
}

static int print_head(const struct js *j, struct bld_err *err)
{
        const char *name = js_get_str(j, "name"), *about = js_get_str(j, "description");
        AUTO_SB struct sb out = SB_INIT(8u << 20);

        if (!name)
                return 0;
        sb_str(&out, "TARGET:      ");
        (void)text_add(&out, name, strlen(name), TEXT_WIDE, 0);
        if (about) {
                sb_str(&out, "\nDESCRIPTION: ");
                (void)text_add(&out, about, strlen(about), TEXT_WIDE, 0);
        }
        sb_char(&out, '\n');
        return cli_write_out(out.buf, out.len, err);
}

static int print_document(const char *text, struct bld_err *err)
{
        AUTO_JS struct js *j = NULL;
        int r = js_parse(text, strlen(text), &j, err);
        bool first = r == 0 && !js_get_str(j, "name");

        r = r < 0 ? r : print_head(j, err);
        for (size_t i = 0; i < ARRAY_LEN(tables) && r == 0; i++) {
                const struct js *list = js_get(j, tables[i].list);

                if (!list)
                        continue;
                r = first ? 0 : cli_puts("\n", err);
                r = r < 0 ? r : print_list(list, i, err);
                first = false;
        }
        return r;
}

static int call_document(struct cli *c, const struct call *call, const struct build_input *in,
                         struct bld_err *err)
{
        AUTO_FREE struct bld_place *place = mem_zalloc(1, sizeof(*place));
        bool outline = strcmp(call->what, "outline") == 0;
        char *text = NULL;
        int r;

        if (!place)
                return err_nomem(err, "document");
        if (call->format && strcmp(call->format, "json") && strcmp(call->format, "text"))
                return err_set(err, BLD_E_USAGE, "--call %s has the formats text and json",
                               call->what);
        r = (outline ? bld_outline : bld_targets)(c->b, &in->o, &text, place, err);
        if (r < 0 && place->line) {
                const struct report rep = {.err = err, .place = place};
                AUTO_SB struct sb out = SB_INIT(1u << 20);

                report_format(&c->err, &rep, &out);
                (void)term_write(2, out.buf, out.len); /* the exit status still tells */
                return exit_status_of(err, false, 0);
        }
        if (r == 0)
                r = call->format && strcmp(call->format, "json") == 0 ? cli_puts(text, err)
                                                                      : print_document(text, err);
        bld_free(text);
        return r;
}

int build_call(struct cli *c, const struct build_args *a, struct build_input *in,
               struct bld_err *err)
{
        struct call call = {.what = NULL};
        int r = parse_call(a, &call, err);

        if (r == 0 && strcmp(call.what, "check") == 0)
                r = call_check(c, &call, in, err);
        else if (r == 0 && (strcmp(call.what, "outline") == 0 || strcmp(call.what, "targets") == 0))
                r = call_document(c, &call, in, err);
        else if (r == 0)
                r = err_set(err, BLD_E_USAGE,
                            "--call takes build, check, outline or targets, not \"%.50s\"",
                            call.what);
        strv_done(&call.fields);
        return r;
}
