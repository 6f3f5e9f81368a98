/* --progress=plain: one line per fact, append-only, no escapes; every line can be understood alone.
 *
 *   deps 4/4       start   RUN cargo build --release            Dockerfile:9
 *   deps 4/4   0.4 | Compiling serde v1.0.219
 *   deps 4/4  39.0 done    exit 0
 *
 * '|' output of the step, ':' status, '!' warning; the number is seconds since the step started. */
#include <string.h>

#include "base/num.h"
#include "cli/view.h"

#define SILENCE_MS 60000 /* CI systems give up on jobs that say nothing */
#define STATUS_MS 5000

struct plain {
        struct sb out;
        size_t width; /* of the step column */
        int64_t transfer_ms;
        uint64_t transfer_done;
};

static unsigned clean_flags(struct view *v)
{
        return term_text_flags(&view_options(v)->term) & ~(unsigned)TEXT_SGR;
}

static struct plain *plain_of(struct view *v)
{
        struct plain *p = view_state(v);

        if (!p->out.max)
                sb_init(&p->out, 64u << 20);
        return p;
}

static void stamp(struct view *v, struct sb *out)
{
        char text[RFC3339_MAX];
        int64_t now = time_now_ns();

        if (!view_options(v)->log_timestamps)
                return;
        format_rfc3339(now / 1000000000, now / 1000000 % 1000 * 1000000, text);
        sb_fmt(out, "%s ", text);
}

/* The step column. Its width grows with the names seen and never shrinks. */
static void head(struct view *v, struct plain *p, const char *id)
{
        size_t used;

        stamp(v, &p->out);
        used = text_add(&p->out, id, strlen(id), TEXT_WIDE, clean_flags(v));
        p->width = MAX(p->width, MIN(used, 40u));
        if (used < p->width)
                sb_fmt(&p->out, "%*s", (int)(p->width - used), "");
}

static void seconds(struct plain *p, int64_t ms)
{
        if (ms < 100000)
                sb_fmt(&p->out, "%3lld.%lld ", (long long)(ms / 1000), (long long)(ms / 100 % 10));
        else
                sb_fmt(&p->out, "%5lld ", (long long)(ms / 1000));
}

static void text(struct view *v, struct plain *p, const char *s)
{
        (void)text_add(&p->out, s, strlen(s), TEXT_WIDE, clean_flags(v));
}

static void flush(struct view *v, struct plain *p)
{
        view_write(v, &p->out);
        sb_reset(&p->out);
}

/* "start   RUN make       Dockerfile:9" */
/* tail: what is to be said after it, or NULL. */
static void opening(struct view *v, struct plain *p, const struct step *st, const char *word,
                    const char *tail)
{
        const char *name = st->name ? st->name : "";
        size_t used;

        head(v, p, st->id);
        sb_fmt(&p->out, "      %-6s  ", word);
        used = text_add(&p->out, name, strlen(name), TEXT_WIDE, clean_flags(v));
        if (st->file && st->line) {
                sb_fmt(&p->out, "%*s", used < 36 ? (int)(36 - used) : 2, "");
                text(v, p, st->file);
                sb_fmt(&p->out, ":%u", st->line);
        }
        if (tail) {
                sb_str(&p->out, "  ");
                text(v, p, tail);
        }
        sb_char(&p->out, '\n');
}

static void plain_line(void *user, struct step *st, int stream, const char *line, size_t n)
{
        struct view *v = user;
        struct plain *p = plain_of(v);

        head(v, p, st->id);
        seconds(p, steps_elapsed_ms(st));
        if (view_options(v)->log_streams)
                sb_fmt(&p->out, "%d", stream);
        sb_str(&p->out, "| ");
        (void)text_add(&p->out, line, n, TEXT_WIDE, clean_flags(v));
        sb_char(&p->out, '\n');
        st->spoke_ms = mono_ms();
        if (p->out.len > (1u << 20)) /* an event may carry megabytes */
                flush(v, p);
}

/* Progress is printed when 5 s or 10 % have passed, and at the end. */
static bool due(int64_t *last_ms, uint64_t *last_done, uint64_t done, uint64_t total)
{
        int64_t now = mono_ms();
        uint64_t more = done - MIN(*last_done, done);

        if (total && *last_ms && done < total && now - *last_ms < STATUS_MS && more < total / 10)
                return false;
        *last_ms = now;
        *last_done = done;
        return true;
}

static void amount(struct plain *p, uint64_t done, uint64_t total)
{
        char a[24], b[24], *unit;
        const char *of;

        if (!total)
                return;
        format_size(done, a);
        format_size(total, b);
        unit = strchr(a, ' '); /* "18.2/28.1 MB": the unit once when it is the same */
        of = strchr(b, ' ');
        if (unit && of && strcmp(unit, of) == 0)
                *unit = '\0';
        sb_fmt(&p->out, " %s/%s", a, b);
}

static void status_line(struct view *v, struct plain *p, struct step *st,
                        const struct bld_event *ev)
{
        if (!due(&st->status_ms, &st->status_done, ev->done, ev->total))
                return;
        head(v, p, st->id);
        seconds(p, steps_elapsed_ms(st));
        sb_str(&p->out, ": ");
        text(v, p, ev->text ? ev->text : "");
        amount(p, ev->done, ev->total);
        sb_char(&p->out, '\n');
        st->spoke_ms = mono_ms();
}

static void closing(struct view *v, struct plain *p, const struct step *st,
                    const struct bld_event *ev)
{
        head(v, p, st->id);
        seconds(p, st->elapsed_ms);
        if (ev->type == BLD_EV_STEP_ERROR) {
                const char *why = ev->text ? ev->text : "";

                sb_str(&p->out, "error   ");
                (void)text_add(&p->out, why, strcspn(why, "\n"), TEXT_WIDE, clean_flags(v));
        } else if (st->name && strncmp(st->name, "RUN ", 4) == 0) {
                sb_fmt(&p->out, "done    exit %d", ev->exit_status);
        } else {
                sb_str(&p->out, "done");
        }
        sb_char(&p->out, '\n');
}

static void transfer_line(struct view *v, struct plain *p, const struct bld_event *ev)
{
        if (!due(&p->transfer_ms, &p->transfer_done, ev->done, ev->total))
                return;
        head(v, p, "push");
        seconds(p, ev->elapsed_ms);
        sb_str(&p->out, ": ");
        text(v, p, ev->text ? ev->text : "");
        amount(p, ev->done, ev->total);
        sb_char(&p->out, '\n');
}

static void warning_line(struct view *v, struct plain *p, const struct step *st,
                         const struct bld_event *ev)
{
        if (st) {
                head(v, p, st->id);
                seconds(p, steps_elapsed_ms(st));
                sb_str(&p->out, "! ");
        } else {
                stamp(v, &p->out);
                sb_str(&p->out, "warning: ");
        }
        text(v, p, ev->text ? ev->text : "");
        if (ev->line)
                sb_fmt(&p->out, " (line %u)", ev->line);
        sb_char(&p->out, '\n');
}

static void plan(struct view *v, struct plain *p, const struct step *st)
{
        p->width = MAX(p->width, MIN(text_width(st->id, strlen(st->id), clean_flags(v)), 40u));
}

static void plain_event(struct view *v, const struct bld_event *ev, struct step *st)
{
        struct plain *p = plain_of(v);

        switch (ev->type) {
        case BLD_EV_STEP_PLAN:
                if (st)
                        plan(v, p, st);
                break;
        case BLD_EV_STEP_START:
                if (st)
                        opening(v, p, st, "start", NULL);
                break;
        case BLD_EV_STEP_CACHED:
                if (st)
                        opening(v, p, st, "cached", ev->text);
                break;
        case BLD_EV_STEP_STATUS:
                if (st)
                        status_line(v, p, st, ev);
                break;
        case BLD_EV_STEP_DONE:
        case BLD_EV_STEP_ERROR:
                if (st)
                        closing(v, p, st, ev);
                break;
        case BLD_EV_WARNING:
                warning_line(v, p, st, ev);
                break;
        case BLD_EV_TRANSFER:
                transfer_line(v, p, ev);
                break;
        case BLD_EV_STEP_LOG: /* plain_line() */
        case BLD_EV_BUILD_START:
        case BLD_EV_BUILD_END:
                break;
        }
        flush(v, p);
}

static void plain_tick(struct view *v)
{
        struct plain *p = plain_of(v);
        struct steps *s = view_model(v);
        int64_t now = mono_ms();
        char since[24];

        for (size_t i = 0; i < s->n; i++) {
                struct step *st = s->v[i];

                if (st->state != STEP_RUNNING || now - st->spoke_ms < SILENCE_MS)
                        continue;
                st->spoke_ms = now;
                head(v, p, st->id);
                seconds(p, steps_elapsed_ms(st));
                format_elapsed(steps_elapsed_ms(st), since);
                sb_fmt(&p->out, ": still running (%s)\n", since);
        }
        flush(v, p);
}

static void plain_note(struct view *v, const char *kind, const char *note)
{
        struct plain *p = plain_of(v);

        stamp(v, &p->out);
        view_note_line(&view_options(v)->term, &p->out, kind, note);
        flush(v, p);
}

static void plain_end(struct view *v)
{
        struct plain *p = plain_of(v);

        flush(v, p);
        sb_done(&p->out);
}

const struct view_ops view_plain_ops = {
        .state_size = sizeof(struct plain),
        .tick_ms = 5000,
        .event = plain_event,
        .line = plain_line,
        .tick = plain_tick,
        .note = plain_note,
        .end = plain_end,
};
