#include "cli/table.h"

#include <ctype.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/num.h"
#include "bld/bld.h"
#include "cli/cli.h"
#include "cli/template.h"
#include "cli/text.h"

#define OUT_MAX (64u << 20)
#define GAP 3u

int take_json(char *text, struct js **ret, struct bld_err *err)
{
        int r = js_parse(text, strlen(text), ret, err);

        bld_free(text);
        return r;
}

void short_digest(const char *digest, bool no_trunc, char out[160])
{
        const char *colon = digest ? strchr(digest, ':') : NULL;

        if (!digest)
                digest = "";
        (void)snprintf(out, 160, no_trunc || !colon ? "%s" : "%.12s",
                       no_trunc || !colon ? digest : colon + 1);
}

void since_text(const char *rfc3339, char out[40])
{
        static const struct {
                int64_t limit, unit;
                const char *name;
        } steps[] = {
                {90, 1, "second"},
                {90 * 60, 60, "minute"},
                {36 * 3600, 3600, "hour"},
                {14 * 86400, 86400, "day"},
                {60 * 86400, 604800, "week"},
                {730 * 86400, 2592000, "month"},
                {INT64_MAX, 31536000, "year"},
        };
        int64_t sec, nsec, age;

        out[0] = '\0';
        if (!rfc3339 || !parse_rfc3339(rfc3339, &sec, &nsec))
                return;
        if (sec <= 0) { /* a reproducible build's epoch is no date */
                (void)snprintf(out, 40, "N/A");
                return;
        }
        age = MAX(time_now_ns() / 1000000000 - sec, 0);
        for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
                long long n = (long long)(age / steps[i].unit);

                if (age >= steps[i].limit)
                        continue;
                (void)snprintf(out, 40, "%lld %s%s ago", n, steps[i].name, n == 1 ? "" : "s");
                return;
        }
}

void local_time_text(const char *rfc3339, char out[64])
{
        int64_t sec, nsec;
        struct tm tm;
        time_t when;

        out[0] = '\0';
        if (!rfc3339 || !parse_rfc3339(rfc3339, &sec, &nsec))
                return;
        when = (time_t)sec;
        if (localtime_r(&when, &tm))
                (void)strftime(out, 64, "%Y-%m-%d %H:%M:%S %z %Z", &tm);
}

static int print_json(const struct js *j, unsigned flags, struct sb *out, struct bld_err *err)
{
        int r = js_write(j, flags | JS_SHORT, out, err);

        sb_char(out, '\n');
        return r;
}

static int print_lines(const struct js *list, struct sb *out, struct bld_err *err)
{
        for (size_t i = 0; i < js_len(list); i++) {
                int r = print_json(js_at(list, i), JS_COMPACT, out, err);

                if (r < 0)
                        return r;
        }
        return 0;
}

static bool is_template(const char *format)
{
        return strstr(format, "{{") != NULL;
}

static int bad_format(const char *format, struct bld_err *err)
{
        return err_set(err, BLD_E_USAGE,
                       "--format takes table, json, jsonl or a template, not \"%.100s\"", format);
}

/* Cells laid out in columns. lines: one string per line, cells separated by tabs. */
static void lay_out(const struct strv *lines, struct sb *out)
{
        size_t width[32] = {0};
        unsigned flags = 0;

        for (size_t i = 0; i < lines->n; i++) {
                const char *s = lines->v[i];

                for (size_t c = 0; c < ARRAY_LEN(width); c++) {
                        size_t n = strcspn(s, "\t");

                        width[c] = MAX(width[c], text_width(s, n, flags));
                        if (!s[n])
                                break;
                        s += n + 1;
                }
        }
        for (size_t i = 0; i < lines->n; i++) {
                const char *s = lines->v[i];

                for (size_t c = 0;; c++) {
                        size_t n = strcspn(s, "\t"), used;

                        used = text_add(out, s, n, TEXT_WIDE, flags);
                        if (!s[n])
                                break;
                        sb_fmt(out, "%*s",
                               (int)(GAP + (c < ARRAY_LEN(width) ? width[c] - used : 0)), "");
                        s += n + 1;
                }
                sb_char(out, '\n');
        }
}

/* A cell must not bring its own tabs and newlines. */
static void cell(struct sb *line, const char *s, size_t cut)
{
        AUTO_SB struct sb flat = SB_INIT(1u << 20);

        for (; *s; s++)
                sb_char(&flat, isspace((unsigned char)*s) ? ' ' : *s);
        if (cut && text_width(sb_text(&flat), flat.len, 0) > cut) {
                (void)text_add(line, sb_text(&flat), flat.len, cut - 1, 0);
                sb_str(line, "\xe2\x80\xa6");
        } else {
                (void)text_add(line, sb_text(&flat), flat.len, TEXT_WIDE, 0);
        }
}

static int default_table(const struct table *t, const struct js *rows, struct sb *out,
                         struct bld_err *err)
{
        AUTO_STRV struct strv lines = {0};
        AUTO_SB struct sb line = SB_INIT(4u << 20);
        bool cut = !t->no_trunc && isatty(1) == 1;

        for (size_t i = 0; i <= js_len(rows); i++) {
                sb_reset(&line);
                for (size_t c = 0; c < t->ncols; c++) {
                        const char *s = t->cols[c].head;

                        sb_str(&line, c ? "\t" : "");
                        if (i)
                                s = js_get_str(js_at(rows, i - 1), t->cols[c].field);
                        cell(&line, s ? s : "", cut ? t->cols[c].cut : 0);
                }
                if (strv_add(&lines, sb_text(&line)) < 0)
                        return err_nomem(err, "table");
        }
        lay_out(&lines, out);
        return 0;
}

/* The heads of a "table TEMPLATE": the template run over an object of heads. */
static int heads(const struct table *t, struct js **ret, struct bld_err *err)
{
        struct js *j = js_obj();
        int r = j ? 0 : BLD_E_NOMEM;

        for (size_t c = 0; c < t->ncols && r == 0; c++)
                r = js_set_str(j, t->cols[c].field, t->cols[c].head);
        if (r < 0) {
                js_free(j);
                return err_nomem(err, "table");
        }
        *ret = j;
        return 0;
}

static int template_table(const struct table *t, const char *text, const struct js *rows,
                          struct sb *out, struct bld_err *err)
{
        AUTO_STRV struct strv lines = {0};
        AUTO_SB struct sb line = SB_INIT(4u << 20);
        AUTO_JS struct js *head = NULL;
        int r = heads(t, &head, err);

        for (size_t i = 0; i <= js_len(rows) && r == 0; i++) {
                sb_reset(&line);
                r = template_run(text, i ? js_at(rows, i - 1) : head, i ? TEMPLATE_STRICT : 0,
                                 &line, err);
                if (r == 0 && strv_add(&lines, sb_text(&line)) < 0)
                        r = err_nomem(err, "table");
        }
        if (r == 0)
                lay_out(&lines, out);
        return r;
}

static int template_lines(const char *text, const struct js *rows, struct sb *out,
                          struct bld_err *err)
{
        for (size_t i = 0; i < js_len(rows); i++) {
                int r = template_run(text, js_at(rows, i), TEMPLATE_STRICT, out, err);

                if (r < 0)
                        return r;
                sb_char(out, '\n');
        }
        return 0;
}

int table_print(const struct table *t, const struct js *raw, const struct js *rows,
                struct bld_err *err)
{
        AUTO_SB struct sb out = SB_INIT(OUT_MAX);
        const char *f = t->format ? t->format : "table";
        int r;

        if (strcmp(f, "table") == 0)
                r = default_table(t, rows, &out, err);
        else if (strcmp(f, "json") == 0)
                r = print_json(raw, JS_INDENT, &out, err);
        else if (strcmp(f, "jsonl") == 0)
                r = print_lines(raw, &out, err);
        else if (str_has_prefix(f, "table ") && is_template(f))
                r = template_table(t, f + 6, rows, &out, err);
        else if (is_template(f))
                r = template_lines(f, rows, &out, err);
        else
                r = bad_format(f, err);
        r = r < 0 ? r : sb_check(&out, "output", err);
        return r < 0 ? r : cli_write_out(out.buf, out.len, err);
}

int table_print_one(const struct js *j, const char *format, struct bld_err *err)
{
        AUTO_SB struct sb out = SB_INIT(OUT_MAX);
        const char *f = format ? format : "json";
        int r;

        if (strcmp(f, "json") == 0) {
                r = print_json(j, JS_INDENT, &out, err);
        } else if (strcmp(f, "jsonl") == 0) {
                r = js_is_arr(j) ? print_lines(j, &out, err) : print_json(j, JS_COMPACT, &out, err);
        } else if (is_template(f)) {
                r = template_run(f, j, 0, &out, err);
                sb_char(&out, '\n');
        } else {
                r = bad_format(f, err);
        }
        r = r < 0 ? r : sb_check(&out, "output", err);
        return r < 0 ? r : cli_write_out(out.buf, out.len, err);
}
