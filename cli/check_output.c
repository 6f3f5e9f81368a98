#include <string.h>

#include "base/digest.h"
#include "base/err.h"
#include "base/json.h"
#include "cli/check.h"
#include "cli/report.h"
#include "cli/text.h"

#define OUT_MAX ((size_t)256 << 20)
#define LINES_MAX 200  /* of one excerpt */
#define SHOWN_MAX 500u /* bytes of a source line: it is shown for every finding */
#define RULER "--------------------\n"

struct check_format {
        const char *name;
        bool has_error; /* what makes the file unbuildable is part of it */
        int (*write)(const struct bld_check_result *r, struct sb *out, struct bld_err *err);
};

/* Dockerfiles are others' text: nothing of theirs may steer a terminal. */
static void add_clean(struct sb *out, const char *s, size_t n)
{
        (void)text_add(out, s, n, TEXT_WIDE, 0);
}

static void add_text(struct sb *out, const char *s)
{
        add_clean(out, s, strlen(s));
}

/* ---- text ---- */

/* The source while its findings are printed, which are in its order. */
struct source {
        const struct bld_check_result *r;
        unsigned lines;
        const char *at; /* beginning of line `line` */
        unsigned line;
};

static const char *next_line(const struct source *s, const char *p)
{
        const char *end = s->r->source + s->r->source_len;
        const char *nl = memchr(p, '\n', (size_t)(end - p));

        return nl ? nl + 1 : end;
}

/* Lines first..last with their numbers; those from..to are marked. */
static void add_lines(struct sb *out, struct source *s, unsigned first, unsigned last,
                      unsigned from, unsigned to)
{
        const char *end = s->r->source + s->r->source_len, *p;

        if (first < s->line) { /* the excerpts overlap */
                s->at = s->r->source;
                s->line = 1;
        }
        for (; s->line < first && s->at < end; s->line++)
                s->at = next_line(s, s->at);
        p = s->at;
        for (unsigned line = first; p < end && line <= last; line++) {
                const char *next = next_line(s, p);
                size_t n = (size_t)(next - p);

                if (line - first == LINES_MAX) {
                        sb_fmt(out, "     | ... to line %u\n", to);
                        break;
                }
                n -= n && p[n - 1] == '\n';
                n -= n && p[n - 1] == '\r';
                sb_fmt(out, " %3u | %s ", line, line >= from && line <= to ? ">>>" : "   ");
                add_clean(out, p, MIN(n, SHOWN_MAX));
                sb_char(out, '\n');
                p = next;
        }
}

static unsigned count_lines(const struct bld_check_result *r)
{
        unsigned n = r->source_len && r->source[r->source_len - 1] != '\n';

        for (size_t i = 0; i < r->source_len; i++)
                n += r->source[i] == '\n';
        return n;
}

/* Four lines of context around one line, two around several, as evenly as the file allows. */
static void excerpt(struct sb *out, struct source *s, const struct bld_finding *f)
{
        unsigned lines = s->lines, first = f->line, last = MIN(f->end_line, lines), left;

        if (f->line == 0 || f->line > lines)
                return;
        last = MAX(last, first);
        left = first == last ? 4 : 2;
        while (left > 0 && (first > 1 || last < lines)) {
                if (first > 1 && left) {
                        first--;
                        left--;
                }
                if (last < lines && left) {
                        last++;
                        left--;
                }
        }
        add_text(out, s->r->file);
        sb_fmt(out, ":%u\n" RULER, f->line);
        add_lines(out, s, first, last, f->line, f->end_line);
        sb_str(out, RULER);
}

static int write_text(const struct bld_check_result *r, struct sb *out, struct bld_err *err)
{
        struct source s = {.r = r, .lines = count_lines(r), .at = r->source, .line = 1};

        (void)err;
        if (r->n == 0 && !r->failed)
                sb_str(out, "Check complete, no warnings found.\n");
        if (r->n == 1)
                sb_str(out, "Check complete, 1 warning has been found!\n");
        if (r->n > 1)
                sb_fmt(out, "Check complete, %zu warnings have been found!\n", r->n);
        for (size_t i = 0; i < r->n; i++) {
                const struct bld_finding *f = bld_check_finding(r, i);

                sb_fmt(out, "\nWARNING: %s%s%s\n", f->rule, f->url ? " - " : "",
                       f->url ? f->url : "");
                add_text(out, f->detail);
                sb_char(out, '\n');
                excerpt(out, &s, f);
        }
        return 0;
}

/* ---- json ---- */

static int write_json(const struct bld_check_result *r, struct sb *out, struct bld_err *err)
{
        char *text = NULL;
        int ret = bld_check_json(r, &text, err);

        if (ret == 0)
                sb_str(out, text);
        bld_free(text);
        return ret;
}

/* ---- GitHub's workflow commands ---- */

/* In properties ':' and ',' have a meaning, too. */
static void add_command_text(struct sb *out, const char *s, size_t n, bool property)
{
        AUTO_SB struct sb clean = SB_INIT(OUT_MAX);

        add_clean(&clean, s, n);
        for (const char *p = sb_text(&clean); *p; p++) {
                if (*p == '%' || *p == '\r' || *p == '\n' || (property && (*p == ':' || *p == ',')))
                        sb_fmt(out, "%%%02X", (unsigned char)*p);
                else
                        sb_char(out, *p);
        }
}

static void add_command(struct sb *out, const struct bld_check_result *r, const char *kind,
                        unsigned line, unsigned end_line, const char *title)
{
        sb_fmt(out, "::%s file=", kind);
        add_command_text(out, r->file, strlen(r->file), true);
        if (line)
                sb_fmt(out, ",line=%u,endLine=%u", line, end_line);
        sb_fmt(out, ",title=%s::", title);
}

static int write_github(const struct bld_check_result *r, struct sb *out, struct bld_err *err)
{
        (void)err;
        for (size_t i = 0; i < r->n; i++) {
                const struct bld_finding *f = bld_check_finding(r, i);

                add_command(out, r, "warning", f->line, f->end_line, f->rule);
                add_command_text(out, f->detail, strlen(f->detail), false);
                if (f->url)
                        sb_fmt(out, " (%s)", f->url);
                sb_char(out, '\n');
        }
        if (r->failed) {
                add_command(out, r, "error", r->place.line, r->place.line, "Dockerfile");
                add_command_text(out, r->error.msg, report_what(&r->error), false);
                sb_char(out, '\n');
        }
        return 0;
}

/* ---- documents of other tools ---- */

/* One finding or the error, as the writers below see it. */
struct row {
        const char *rule, *severity, *url;
        char *detail; /* clean; owned */
        unsigned line, end_line;
};

static size_t row_count(const struct bld_check_result *r)
{
        return r->n + r->failed;
}

static int row_get(const struct bld_check_result *r, size_t i, struct row *ret)
{
        AUTO_SB struct sb clean = SB_INIT(OUT_MAX);

        if (i < r->n) {
                const struct bld_finding *f = bld_check_finding(r, i);

                *ret = (struct row){f->rule, "warning", f->url, NULL, f->line, f->end_line};
                add_text(&clean, f->detail);
        } else {
                *ret = (struct row){"bld/build-error", "error",      NULL, NULL,
                                    r->place.line,     r->place.line};
                add_clean(&clean, r->error.msg, report_what(&r->error));
        }
        ret->detail = sb_take(&clean);
        return ret->detail ? 0 : BLD_E_NOMEM;
}

static int write_doc(const struct js *j, int r, struct sb *out, struct bld_err *err)
{
        r = r < 0 ? err_nomem(err, "report") : js_write(j, JS_INDENT, out, err);
        sb_char(out, '\n');
        return r;
}

static struct js *sarif_location(const char *file, const struct row *w)
{
        AUTO_JS struct js *loc = js_obj(), *phys = js_obj(), *art = js_obj(), *region = js_obj();
        int r = js_set_str(art, "uri", file);

        r = r < 0 ? r : js_set(phys, "artifactLocation", TAKE_PTR(&art));
        if (r == 0 && w->line) {
                r = js_set_i64(region, "startLine", w->line);
                r = r < 0 ? r : js_set_i64(region, "endLine", w->end_line);
                r = r < 0 ? r : js_set(phys, "region", TAKE_PTR(&region));
        }
        r = r < 0 ? r : js_set(loc, "physicalLocation", TAKE_PTR(&phys));
        return r < 0 ? NULL : TAKE_PTR(&loc);
}

static int sarif_result(struct js *list, const char *file, const struct row *w)
{
        AUTO_JS struct js *j = js_obj(), *msg = js_obj(), *locs = js_arr();
        int r = js_set_str(j, "ruleId", w->rule);

        r = r < 0 ? r : js_set_str(j, "level", w->severity);
        r = r < 0 ? r : js_set_str(msg, "text", w->detail);
        r = r < 0 ? r : js_set(j, "message", TAKE_PTR(&msg));
        r = r < 0 ? r : js_push(locs, sarif_location(file, w));
        r = r < 0 ? r : js_set(j, "locations", TAKE_PTR(&locs));
        return r < 0 ? r : js_push(list, TAKE_PTR(&j));
}

static struct js *sarif_tool(void)
{
        AUTO_JS struct js *tool = js_obj(), *driver = js_obj(), *rules = js_arr();
        const struct bld_rule *rule;
        int r = js_set_str(driver, "name", "bld");

        r = r < 0 ? r : js_set_str(driver, "version", bld_version());
        for (size_t i = 0; r == 0 && (rule = bld_rule(i)) != NULL; i++) {
                AUTO_JS struct js *j = js_obj(), *text = js_obj();

                r = js_set_str(j, "id", rule->name);
                r = r < 0 ? r : js_set_str(text, "text", rule->description);
                r = r < 0 ? r : js_set(j, "shortDescription", TAKE_PTR(&text));
                if (r == 0 && rule->url)
                        r = js_set_str(j, "helpUri", rule->url);
                r = r < 0 ? r : js_push(rules, TAKE_PTR(&j));
        }
        r = r < 0 ? r : js_set(driver, "rules", TAKE_PTR(&rules));
        r = r < 0 ? r : js_set(tool, "driver", TAKE_PTR(&driver));
        return r < 0 ? NULL : TAKE_PTR(&tool);
}

static int write_sarif(const struct bld_check_result *c, struct sb *out, struct bld_err *err)
{
        AUTO_JS struct js *j = js_obj(), *runs = js_arr(), *run = js_obj(), *results = js_arr();
        int r = js_set_str(j, "$schema", "https://json.schemastore.org/sarif-2.1.0.json");

        r = r < 0 ? r : js_set_str(j, "version", "2.1.0");
        for (size_t i = 0; i < row_count(c) && r == 0; i++) {
                struct row w;

                r = row_get(c, i, &w);
                r = r < 0 ? r : sarif_result(results, c->file, &w);
                free(w.detail);
        }
        r = r < 0 ? r : js_set(run, "tool", sarif_tool());
        r = r < 0 ? r : js_set(run, "results", TAKE_PTR(&results));
        r = r < 0 ? r : js_push(runs, TAKE_PTR(&run));
        r = r < 0 ? r : js_set(j, "runs", TAKE_PTR(&runs));
        return write_doc(j, r, out, err);
}

/* The same finding has the same fingerprint in the next run, wherever lines have moved to. */
static void fingerprint(const char *file, const struct row *w, char out[DIGEST_HEX_MAX])
{
        struct hasher h;
        struct digest d;

        hasher_init(&h, DIGEST_SHA256);
        hasher_field_str(&h, file);
        hasher_field_str(&h, w->rule);
        hasher_field_str(&h, w->detail);
        hasher_end(&h, &d);
        digest_hex(&d, out);
}

static int quality_issue(struct js *list, const char *file, const struct row *w)
{
        AUTO_JS struct js *j = js_obj(), *loc = js_obj(), *lines = js_obj();
        char id[DIGEST_HEX_MAX];
        int r = js_set_str(j, "description", w->detail);

        fingerprint(file, w, id);
        r = r < 0 ? r : js_set_str(j, "check_name", w->rule);
        r = r < 0 ? r : js_set_str(j, "fingerprint", id);
        r = r < 0 ? r : js_set_str(j, "severity", *w->severity == 'e' ? "blocker" : "minor");
        r = r < 0 ? r : js_set_i64(lines, "begin", w->line ? w->line : 1);
        r = r < 0 ? r : js_set_str(loc, "path", file);
        r = r < 0 ? r : js_set(loc, "lines", TAKE_PTR(&lines));
        r = r < 0 ? r : js_set(j, "location", TAKE_PTR(&loc));
        return r < 0 ? r : js_push(list, TAKE_PTR(&j));
}

static int write_codequality(const struct bld_check_result *c, struct sb *out, struct bld_err *err)
{
        AUTO_JS struct js *list = js_arr();
        int r = list ? 0 : BLD_E_NOMEM;

        for (size_t i = 0; i < row_count(c) && r == 0; i++) {
                struct row w;

                r = row_get(c, i, &w);
                r = r < 0 ? r : quality_issue(list, c->file, &w);
                free(w.detail);
        }
        return write_doc(list, r, out, err);
}

static void add_xml(struct sb *out, const char *s)
{
        for (; *s; s++) {
                if (*s == '&' || *s == '<' || *s == '>' || *s == '"')
                        sb_fmt(out, "&#%d;", *s);
                else
                        sb_char(out, *s);
        }
}

static int write_checkstyle(const struct bld_check_result *c, struct sb *out, struct bld_err *err)
{
        AUTO_SB struct sb file = SB_INIT(OUT_MAX);
        int r = 0;

        add_text(&file, c->file);
        sb_str(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<checkstyle version=\"4.3\">\n"
                    "  <file name=\"");
        add_xml(out, sb_text(&file));
        sb_str(out, "\">\n");
        for (size_t i = 0; i < row_count(c) && r == 0; i++) {
                struct row w;

                r = row_get(c, i, &w);
                if (r == 0) {
                        sb_fmt(out, "    <error line=\"%u\" severity=\"%s\" source=\"bld.%s\" ",
                               w.line, w.severity, w.rule);
                        sb_str(out, "message=\"");
                        add_xml(out, w.detail);
                        sb_str(out, "\"/>\n");
                }
                free(w.detail);
        }
        sb_str(out, "  </file>\n</checkstyle>\n");
        return r < 0 ? err_nomem(err, "report") : 0;
}

/* ---- the formats ---- */

static const struct check_format formats[] = {
        {"text", false, write_text},
        {"json", true, write_json},
        {"github", true, write_github},
        {"sarif", true, write_sarif},
        {"codequality", true, write_codequality},
        {"checkstyle", true, write_checkstyle},
};

int check_format_find(const char *name, const struct check_format **ret, struct bld_err *err)
{
        for (size_t i = 0; i < ARRAY_LEN(formats); i++)
                if (strcmp(name ? name : "text", formats[i].name) == 0) {
                        *ret = &formats[i];
                        return 0;
                }
        return err_set(err, BLD_E_USAGE,
                       "unknown format \"%.50s\": text, json, github, sarif, codequality or "
                       "checkstyle",
                       name);
}

int check_print(const struct check_format *f, const struct bld_check_result *r, struct bld_err *err)
{
        AUTO_SB struct sb out = SB_INIT(OUT_MAX);
        int ret = f->write(r, &out, err);

        if (ret == 0)
                ret = sb_check(&out, "report", err);
        return ret < 0 ? ret : cli_write_out(out.buf, out.len, err);
}

void check_print_error(struct cli *c, const struct check_format *f,
                       const struct bld_check_result *r)
{
        const struct report rep = {
                .err = &r->error, .place = &r->place, .debug = c->level <= LOG_DEBUG};
        AUTO_SB struct sb out = SB_INIT(1u << 20);

        if (!r->failed || f->has_error)
                return;
        report_format(&c->err, &rep, &out);
        (void)term_write(2, out.buf, out.len); /* the exit status still tells */
}
