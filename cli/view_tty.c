/* --progress=tty: finished steps scroll away as permanent lines; below them a live area shows what
 * runs, with the last lines of its output. A frame is one write, at most ten a second, and only
 * when it differs from the one on the screen.
 *
 * Invariant: the cursor stands in the first column of the last live row (where the "^C" that a
 * terminal echoes does no harm), and `shown_widths` holds the columns of each row as drawn, so that
 * the next frame finds the top again even when the terminal has been made narrower and has
 * re-wrapped them. */
#include <string.h>

#include "base/num.h"
#include "base/vec.h"
#include "cli/view.h"

#define FRAME_MS 100
#define ROW_MAX 100u /* right-hand figures are not pushed further out than this */
#define LOG_LINES 6u

struct tty {
        struct sb permanent; /* lines that scroll off with the next frame */
        struct sb live;      /* rows of the frame being made */
        struct sb shown;     /* rows of the frame on the screen */
        struct sb out;
        size_t *widths;
        size_t nrows, cap; /* of the frame being made */
        size_t *shown_widths;
        size_t shown_nrows, shown_cap;
        unsigned log_lines;
        bool ready;
        char *push_what;
        uint64_t push_done, push_total;
        bool pushing;
};

struct glyphs {
        const char *done, *run, *fail, *down, *up, *bar, *dots;
};

static const struct glyphs utf8_glyphs = {
        "\xe2\x9c\x93", "\xe2\x96\xb8", "\xe2\x9c\x97", "\xe2\x86\x93",
        "\xe2\x86\x91", "\xe2\x94\x82", "\xe2\x80\xa6",
};
static const struct glyphs ascii_glyphs = {"+", ">", "x", "v", "^", "|", "..."};

static struct tty *tty_of(struct view *v)
{
        struct tty *t = view_state(v);
        const char *e;
        uint64_t n;

        if (t->ready)
                return t;
        t->ready = true;
        sb_init(&t->permanent, 64u << 20);
        sb_init(&t->live, 16u << 20);
        sb_init(&t->shown, 16u << 20);
        sb_init(&t->out, 128u << 20);
        t->log_lines = LOG_LINES;
        e = getenv("BLD_TTY_LOG_LINES");
        if (!e || !*e)
                e = getenv("BUILDKIT_TTY_LOG_LINES");
        if (e && parse_u64(e, 0, TAIL_LINES, &n))
                t->log_lines = (unsigned)n;
        return t;
}

static const struct term *term_of(struct view *v)
{
        return &view_options(v)->term;
}

static const struct glyphs *glyphs(struct view *v)
{
        return term_of(v)->utf8 ? &utf8_glyphs : &ascii_glyphs;
}

/* Text of others without their colours: names, status. */
static unsigned plain_flags(struct view *v)
{
        return term_text_flags(term_of(v)) & ~(unsigned)TEXT_SGR;
}

static size_t row_width(struct view *v)
{
        unsigned cols = term_of(v)->cols;

        return MIN(cols > 1 ? cols - 1 : 1, ROW_MAX);
}

static void pad(struct sb *out, size_t n)
{
        if (n)
                sb_fmt(out, "%*s", (int)n, "");
}

/* "deps    4/4  ", columns aligned over all steps while there is room. */
static size_t step_column(struct view *v, struct sb *out, const struct step *st, size_t width)
{
        const struct steps *s = view_model(v);
        size_t place = strlen(st->place), used, want;

        if (width < 40) {
                used = text_add(out, st->id, strlen(st->id), width, plain_flags(v));
                if (used + 2 > width)
                        return used;
                pad(out, 2);
                return used + 2;
        }
        used = text_add_middle(out, st->id, st->stage_len, s->stage_width, plain_flags(v));
        want = s->stage_width + 1 + s->place_width - MIN(place, s->place_width);
        pad(out, want - used);
        used = want + text_add(out, st->place, place, 12, plain_flags(v));
        pad(out, 2);
        return used + 2;
}

/* One row about a step: mark, column, name (cut in the middle), figures at the right. Returns the
 * columns used. */
static size_t step_row(struct view *v, struct sb *out, const char *mark, enum term_style style,
                       const struct step *st, const char *right)
{
        const struct term *t = term_of(v);
        const char *name = st->name ? st->name : "";
        size_t width = row_width(v), used = 3, right_width, room;

        sb_fmt(out, " %s%s%s ", term_style(t, style), mark, term_style(t, S_RESET));
        if (width <= used)
                return used;
        used += step_column(v, out, st, width - used);
        room = width - MIN(used, width);
        right_width = text_width(right, strlen(right), plain_flags(v));
        if (right_width && room < right_width + 2 + 6)
                right_width = 0;
        if (right_width)
                room -= right_width + 2;
        used += text_add_middle(out, name, strlen(name), room, plain_flags(v));
        if (!right_width)
                return used;
        pad(out, width - used - right_width);
        sb_str(out, term_style(t, S_DIM));
        (void)text_add(out, right, strlen(right), right_width, plain_flags(v));
        sb_str(out, term_style(t, S_RESET));
        return width;
}

/* ---- permanent lines ---- */

static void permanent_step(struct view *v, const struct step *st)
{
        struct tty *t = tty_of(v);
        const struct glyphs *g = glyphs(v);
        char figure[24] = "cached";

        if (st->state != STEP_CACHED)
                format_elapsed(st->elapsed_ms, figure);
        if (st->state == STEP_FAILED)
                (void)step_row(v, &t->permanent, g->fail, S_RED, st, figure);
        else
                (void)step_row(v, &t->permanent, g->done, S_GREEN, st, figure);
        sb_char(&t->permanent, '\n');
}

static void permanent_warning(struct view *v, const struct bld_event *ev)
{
        struct tty *t = tty_of(v);
        AUTO_SB struct sb text = SB_INIT(4u << 20);

        sb_str(&text, ev->text ? ev->text : "");
        if (ev->line)
                sb_fmt(&text, " (line %u)", ev->line);
        view_note_line(term_of(v), &t->permanent, "warning", sb_text(&text));
}

static void tty_note(struct view *v, const char *kind, const char *text)
{
        view_note_line(term_of(v), &tty_of(v)->permanent, kind, text);
}

/* ---- the live area ---- */

static void end_row(struct tty *t, size_t width)
{
        void *w = t->widths;

        if (!vec_grow(&w, &t->cap, t->nrows + 1, sizeof(size_t)))
                return; /* one row less to come back over: ugly, not wrong */
        t->widths = w;
        t->widths[t->nrows++] = width;
        sb_str(&t->live, "\033[K\n");
}

static void head_row(struct view *v, struct tty *t)
{
        const struct view_opts *o = view_options(v);
        const struct steps *s = view_model(v);
        size_t width = row_width(v), used = 0, n;
        AUTO_SB struct sb left = SB_INIT(1u << 16);
        char since[24], right[80];

        format_elapsed(mono_ms() - s->started_ms, since);
        (void)snprintf(right, sizeof(right), "%s   %u/%u steps", since, s->finished,
                       MAX(s->total, (unsigned)s->n));
        sb_str(&left, "bld");
        if (o->title)
                sb_fmt(&left, "  %s", o->title);
        if (o->platform)
                sb_fmt(&left, "  %s", o->platform);
        n = strlen(right);
        sb_str(&t->live, term_style(&o->term, S_BOLD));
        if (width > n + 8)
                used = text_add_middle(&t->live, sb_text(&left), left.len, width - n - 2,
                                       plain_flags(v));
        sb_str(&t->live, term_style(&o->term, S_RESET));
        if (used) {
                pad(&t->live, width - n - used);
                used = width - n;
        }
        used += text_add(&t->live, right, n, width, 0);
        end_row(t, used);
}

static void share(uint64_t done, uint64_t total, char *out, size_t size)
{
        char a[24], b[24], *unit;

        format_size(done, a);
        format_size(total, b);
        unit = strchr(a, ' ');
        if (unit && strchr(b, ' ') && strcmp(unit, strchr(b, ' ')) == 0)
                *unit = '\0';
        (void)snprintf(out, size, "%s / %s  %3u%%", a, b,
                       (unsigned)((long double)MIN(done, total) * 100 / (long double)total));
}

static void log_rows(struct view *v, struct tty *t, const struct step *st, size_t k)
{
        const struct term *term = term_of(v);
        size_t have = tail_count(&st->tail), width = row_width(v), len;
        const char *line;

        for (size_t i = have - MIN(have, k); tail_line(&st->tail, i, &line, &len); i++) {
                size_t used = 3;

                sb_fmt(&t->live, " %s%s%s ", term_style(term, S_DIM), glyphs(v)->bar,
                       term_style(term, S_RESET));
                if (width > used)
                        used += text_add(&t->live, line, len, width - used, term_text_flags(term));
                end_row(t, used);
        }
}

static void running_row(struct view *v, struct tty *t, const struct step *st)
{
        const struct glyphs *g = glyphs(v);
        char right[64];

        if (st->total) {
                share(st->done, st->total, right, sizeof(right));
                end_row(t, step_row(v, &t->live, g->down, S_BLUE, st, right));
                return;
        }
        format_elapsed(steps_elapsed_ms(st), right);
        end_row(t, step_row(v, &t->live, g->run, S_CYAN, st, right));
}

/* A status without figures ("waiting for build b7k2m9qd") stands where output would. */
static void status_row(struct view *v, struct tty *t, const struct step *st)
{
        const struct term *term = term_of(v);
        size_t width = row_width(v), used = 3;

        sb_fmt(&t->live, " %s%s ", term_style(term, S_DIM), glyphs(v)->bar);
        if (width > used)
                used += text_add(&t->live, st->status, strlen(st->status), width - used,
                                 plain_flags(v));
        sb_str(&t->live, term_style(term, S_RESET));
        end_row(t, used);
}

static void push_row(struct view *v, struct tty *t)
{
        struct step fake = {.id = (char[]){"push"}, .stage_len = 4, .place = ""};
        char right[64] = "";

        fake.name = t->push_what;
        if (t->push_total)
                share(t->push_done, t->push_total, right, sizeof(right));
        end_row(t, step_row(v, &t->live, glyphs(v)->up, S_BLUE, &fake, right));
}

static size_t count_running(const struct steps *s)
{
        size_t n = 0;

        for (size_t i = 0; i < s->n; i++)
                n += s->v[i]->state == STEP_RUNNING;
        return n;
}

/* How many output lines each running step gets: fewer when many run, never more than fits. */
static size_t lines_per_step(const struct tty *t, size_t running, size_t room)
{
        size_t k = running ? MAX(12 / running, 2u) : 0;

        k = MIN(k, t->log_lines);
        return running && room > running ? MIN(k, (room - running) / running) : 0;
}

static void make_rows(struct view *v, struct tty *t)
{
        const struct steps *s = view_model(v);
        size_t running = count_running(s), shown = 0, room = term_of(v)->rows, k;
        size_t pushing = t->pushing ? 1 : 0;

        sb_reset(&t->live);
        t->nrows = 0;
        if (!running && !t->pushing && s->finished >= s->total)
                return;
        /* One row for the head, one that stays free, so that nothing scrolls by itself. */
        room = room > 3 + pushing ? room - 2 - pushing : 1;
        k = lines_per_step(t, running, room);
        head_row(v, t);
        for (size_t i = 0; i < s->n; i++) {
                const struct step *st = s->v[i];

                if (st->state != STEP_RUNNING)
                        continue;
                if (shown + 1 == room && running > room)
                        break;
                shown++;
                running_row(v, t, st);
                if (st->status && *st->status && !st->tail.n && k && !st->total)
                        status_row(v, t, st);
                log_rows(v, t, st, k);
        }
        if (shown < running) {
                char more[40];

                (void)snprintf(more, sizeof(more), "   %zu more running", running - shown);
                end_row(t, text_add(&t->live, more, strlen(more), row_width(v), 0));
        }
        if (t->pushing)
                push_row(v, t);
}

/* ---- frames ---- */

/* Rows the shown frame takes on the terminal as it is now. */
static size_t shown_height(struct view *v, const struct tty *t)
{
        size_t cols = MAX(term_of(v)->cols, 1u), n = 0;

        for (size_t i = 0; i < t->shown_nrows; i++)
                n += t->shown_widths[i] ? (t->shown_widths[i] + cols - 1) / cols : 1;
        return n;
}

static void add_permanent(struct tty *t)
{
        const char *p = sb_text(&t->permanent);
        size_t left = t->permanent.len;

        while (left) {
                const char *nl = memchr(p, '\n', left);
                size_t n = nl ? (size_t)(nl - p) : left;

                sb_add(&t->out, p, n);
                sb_str(&t->out, "\033[K\r\n");
                n += nl != NULL;
                p += n;
                left -= n;
        }
        sb_reset(&t->permanent);
}

static void swap_frames(struct tty *t)
{
        struct sb sb = t->live;
        size_t *w = t->widths, cap = t->cap;

        t->live = t->shown;
        t->shown = sb;
        t->widths = t->shown_widths;
        t->shown_widths = w;
        t->cap = t->shown_cap;
        t->shown_cap = cap;
        t->shown_nrows = t->nrows;
}

static void draw(struct view *v, struct tty *t)
{
        size_t up = shown_height(v, t);

        if (!t->permanent.len && t->live.len == t->shown.len && t->nrows == t->shown_nrows &&
            (!t->live.len || memcmp(t->live.buf, t->shown.buf, t->live.len) == 0))
                return;
        sb_reset(&t->out);
        sb_str(&t->out, "\033[?2026h\r");
        if (up > 1)
                sb_fmt(&t->out, "\033[%zuA", up - 1);
        add_permanent(t);
        /* The last row goes without its newline: the cursor stays on it. */
        for (size_t i = 0, at = 0; i < t->nrows; i++) {
                const char *row = t->live.buf + at, *nl = strchr(row, '\n');
                size_t n = nl ? (size_t)(nl - row) : strlen(row);

                sb_add(&t->out, row, n);
                if (i + 1 < t->nrows)
                        sb_str(&t->out, "\r\n");
                at += n + 1;
        }
        sb_str(&t->out, "\033[J\r\033[?2026l");
        view_write(v, &t->out);
        swap_frames(t);
}

/* The size is asked for with every frame rather than on SIGWINCH: a storm of resizes makes no more
 * frames than anything else. */
static void tty_tick(struct view *v)
{
        struct tty *t = tty_of(v);
        struct term *term = &view_options(v)->term;
        unsigned cols = term->cols, rows = term->rows;

        term_resize(term);
        if (term->cols != cols || term->rows != rows)
                sb_cut(&t->shown, 0); /* the same rows stand elsewhere now: draw again */
        make_rows(v, t);
        draw(v, t);
}

static void take_transfer(struct tty *t, const struct bld_event *ev)
{
        char *copy = ev->text ? mem_strdup(ev->text) : NULL;

        if (copy) {
                free(t->push_what);
                t->push_what = copy;
        }
        t->push_done = ev->done;
        t->push_total = ev->total;
        t->pushing = !ev->total || ev->done < ev->total;
}

static void tty_event(struct view *v, const struct bld_event *ev, struct step *st)
{
        struct tty *t = tty_of(v);

        if (ev->type == BLD_EV_WARNING)
                permanent_warning(v, ev);
        else if (ev->type == BLD_EV_TRANSFER)
                take_transfer(t, ev);
        else if (st && (ev->type == BLD_EV_STEP_CACHED || ev->type == BLD_EV_STEP_DONE ||
                        ev->type == BLD_EV_STEP_ERROR))
                permanent_step(v, st);
}

static void tty_end(struct view *v)
{
        struct tty *t = tty_of(v);

        sb_reset(&t->live);
        t->nrows = 0;
        draw(v, t);
        sb_done(&t->permanent);
        sb_done(&t->live);
        sb_done(&t->shown);
        sb_done(&t->out);
        free(t->widths);
        free(t->shown_widths);
        free(t->push_what);
}

const struct view_ops view_tty_ops = {
        .state_size = sizeof(struct tty),
        .tick_ms = FRAME_MS,
        .event = tty_event,
        .tick = tty_tick,
        .note = tty_note,
        .end = tty_end,
};
