#include "cli/report.h"

#include <string.h>

#include "base/err.h"
#include "cli/text.h"

#define INDENT "        " /* under the text of "  why:  " */

static unsigned flags_of(const struct term *t)
{
        return term_text_flags(t) & ~(unsigned)TEXT_SGR;
}

static void clean(const struct term *t, struct sb *out, const char *s, size_t n)
{
        (void)text_add(out, s, n, TEXT_WIDE, flags_of(t));
}

size_t report_what(const struct bld_err *err)
{
        return strcspn(err->msg, "\n");
}

/* Stands for the part of a long line that comes before what is shown of it. */
static const char *cut_before(const struct bld_place *p)
{
        return p->source_from ? "..." : "";
}

/* Columns of the source that stand before byte `n` of what is shown. */
static size_t columns(const struct term *t, const struct bld_place *p, size_t n)
{
        return strlen(cut_before(p)) +
               text_width(p->source, MIN(n, strcspn(p->source, "\n")), flags_of(t));
}

static void marker(const struct term *t, const struct bld_place *p, struct sb *out)
{
        size_t before = 0, under = 0, i;

        if (!p->col && !p->label[0])
                return;
        if (p->col) {
                size_t line = strcspn(p->source, "\n");
                size_t start = MIN(p->col - 1 - MIN(p->source_from, p->col - 1), line);

                before = columns(t, p, start);
                under = columns(t, p, start + MIN(p->len, line - start)) - before;
                under = MAX(under, 1u);
        }
        sb_fmt(out, "     | %*s%s", (int)before, "", term_style(t, S_RED));
        for (i = 0; i < under; i++)
                sb_char(out, '^');
        sb_str(out, term_style(t, S_RESET));
        if (p->label[0]) {
                sb_str(out, under ? " " : "");
                clean(t, out, p->label, strlen(p->label));
        }
        sb_char(out, '\n');
}

/* `stage "deps", step 4 of 4, linux/amd64` after the place of a failing RUN. */
static void stage_of(const struct term *t, const struct report *r, struct sb *out)
{
        const char *place = strrchr(r->place->step, ' '),
                   *slash = place ? strchr(place, '/') : NULL;

        if (!r->place->run_status || !r->place->stage[0])
                return;
        sb_str(out, "   stage \"");
        clean(t, out, r->place->stage, strlen(r->place->stage));
        sb_char(out, '"');
        if (slash) {
                sb_str(out, ", step ");
                clean(t, out, place + 1, (size_t)(slash - place - 1));
                sb_str(out, " of ");
                clean(t, out, slash + 1, strlen(slash + 1));
        }
        if (r->platform) {
                sb_str(out, ", ");
                clean(t, out, r->platform, strlen(r->platform));
        }
}

static void place(const struct term *t, const struct report *r, struct sb *out)
{
        const struct bld_place *p = r->place;
        const char *s = p->source;
        unsigned line = p->line;

        if (!p->file[0] || !p->line)
                return;
        sb_fmt(out, "  %s-->%s ", term_style(t, S_BLUE), term_style(t, S_RESET));
        clean(t, out, p->file, strlen(p->file));
        sb_fmt(out, ":%u", p->line);
        stage_of(t, r, out);
        sb_char(out, '\n');
        while (*s) {
                size_t n = strcspn(s, "\n");

                sb_fmt(out, "%4u | %s", line, line == p->line ? cut_before(p) : "");
                clean(t, out, s, n);
                sb_char(out, '\n');
                if (line++ == p->line)
                        marker(t, p, out);
                s += n + (s[n] == '\n');
        }
}

static void label(const struct term *t, struct sb *out, const char *name)
{
        size_t n = strlen(name);

        sb_fmt(out, "  %s%s:%s%*s", term_style(t, S_BOLD), name, term_style(t, S_RESET),
               (int)(n < 5 ? 5 - n : 1), "");
}

/* The label a line begins with, or NULL. */
static const char *label_of(const char *s)
{
        static const char *const names[] = {"why", "try", "note", "log"};

        for (size_t i = 0; i < ARRAY_LEN(names); i++)
                if (str_has_prefix(s, names[i]) && s[strlen(names[i])] == ':')
                        return names[i];
        return NULL;
}

/* Lines after the first: a known label begins one, anything else continues the one above.
 * have_tail: the last lines of output were printed already, longer than the record can hold them.
 */
static void details(const struct term *t, const struct bld_err *err, bool have_tail, struct sb *out)
{
        const char *s = err->msg + report_what(err);
        bool skip = false;

        while (*s == '\n') {
                const char *name = label_of(++s);
                size_t n = strcspn(s, "\n"), head = name ? strlen(name) + 1 : 0;

                head += name && s[head] == ' ';
                if (name)
                        skip = have_tail && str_has_prefix(s, "why: last lines of ");
                if (!skip && name)
                        label(t, out, name);
                else if (!skip)
                        sb_str(out, INDENT);
                if (!skip) {
                        clean(t, out, s + head, n - head);
                        sb_char(out, '\n');
                }
                s += n;
        }
}

static bool tail(const struct term *t, const struct report *r, struct sb *out)
{
        size_t have = r->step ? tail_count(&r->step->tail) : 0, k = MIN(have, r->tail), len;
        const char *line;

        if (!k)
                return false;
        label(t, out, "why");
        sb_fmt(out, "last %zu of %llu lines:\n", k, (unsigned long long)r->step->tail.n);
        for (size_t i = have - k; tail_line(&r->step->tail, i, &line, &len); i++) {
                sb_str(out, INDENT "| ");
                clean(t, out, line, len);
                sb_char(out, '\n');
        }
        return true;
}

void report_format(const struct term *t, const struct report *r, struct sb *out)
{
        sb_fmt(out, "%serror:%s ", term_style(t, S_RED), term_style(t, S_RESET));
        clean(t, out, r->err->msg, report_what(r->err));
        sb_char(out, '\n');
        if (r->place)
                place(t, r, out);
        details(t, r->err, tail(t, r, out), out);
        if (r->place && r->place->log_path[0]) {
                label(t, out, "log");
                clean(t, out, r->place->log_path, strlen(r->place->log_path));
                sb_char(out, '\n');
        }
        if (r->err->code == BLD_E_BUG)
                sb_str(out, "  note: this is a defect of bld; please report it with this message "
                            "and the Dockerfile\n");
        if (r->debug)
                sb_fmt(out, "  note: code %d, errno %d\n", r->err->code, r->err->sys);
}

void report_json(const struct report *r, struct sb *out)
{
        sb_str(out, "{\"level\":\"error\",\"message\":");
        text_json(out, r->err->msg, strlen(r->err->msg));
        sb_fmt(out, ",\"code\":%d", r->err->code);
        if (r->place && r->place->file[0]) {
                sb_str(out, ",\"file\":");
                text_json(out, r->place->file, strlen(r->place->file));
                sb_fmt(out, ",\"line\":%u", r->place->line);
        }
        if (r->place && r->place->step[0]) {
                sb_str(out, ",\"step\":");
                text_json(out, r->place->step, strlen(r->place->step));
        }
        if (r->place && r->place->run_status)
                sb_fmt(out, ",\"exitStatus\":%d", r->place->run_status);
        sb_str(out, "}\n");
}
