#include "cli/steps.h"

#include <string.h>

#include "base/num.h"

int64_t mono_ms(void)
{
        return time_mono_ns() / 1000000;
}

static void step_free(void *p)
{
        struct step *st = p;

        free(st->id);
        free(st->name);
        free(st->file);
        free(st->digest);
        free(st->status);
        free(st->tail.v);
        line_buf_done(&st->out[0]);
        line_buf_done(&st->out[1]);
        free(st);
}

void steps_init(struct steps *s)
{
        memset(s, 0, sizeof(*s));
        map_init(&s->by_id, step_free);
        s->started_ms = mono_ms();
}

void steps_done(struct steps *s)
{
        map_done(&s->by_id);
        free(s->v);
        free(s->build_id);
        memset(s, 0, sizeof(*s));
}

struct step *steps_find(const struct steps *s, const char *id)
{
        return id ? map_get(&s->by_id, id) : NULL;
}

static void replace(char **at, const char *value)
{
        char *copy;

        if (!value || (*at && strcmp(*at, value) == 0))
                return;
        copy = mem_strdup(value);
        if (copy) {
                free(*at);
                *at = copy;
        }
}

static struct step *step_new(struct steps *s, const char *id)
{
        struct step *st = mem_zalloc(1, sizeof(*st));
        const char *blank;
        void *v = s->v;

        if (!st)
                return NULL;
        line_buf_init(&st->out[0]);
        line_buf_init(&st->out[1]);
        st->id = mem_strdup(id);
        if (!st->id || !vec_grow(&v, &s->cap, s->n + 1, sizeof(struct step *)) ||
            (s->v = v, map_set(&s->by_id, id, st) < 0)) {
                step_free(st);
                return NULL;
        }
        s->v[s->n++] = st;
        blank = strrchr(st->id, ' ');
        st->stage_len = blank ? (size_t)(blank - st->id) : strlen(st->id);
        st->place = blank ? blank + 1 : "";
        s->stage_width = MAX(s->stage_width, MIN(text_width(st->id, st->stage_len, 0), 20u));
        s->place_width = MAX(s->place_width, MIN(strlen(st->place), 12u));
        return st;
}

struct line_ctx {
        struct steps *s;
        struct step *st;
        int stream;
};

static void take_line(void *user, const char *line, size_t n)
{
        struct line_ctx *c = user;
        struct tail *t = &c->st->tail;
        size_t slot = t->n % TAIL_LINES;

        if (c->s->on_line)
                c->s->on_line(c->s->user, c->st, c->stream, line, n);

        if (!t->v)
                t->v = mem_zalloc(TAIL_LINES, sizeof(*t->v));
        if (!t->v)
                return;
        n = MIN(n, TAIL_BYTES);
        memcpy(t->v[slot].text, line, n);
        t->v[slot].len = (unsigned short)n;
        t->n++;
}

size_t tail_count(const struct tail *t)
{
        return (size_t)MIN(t->n, TAIL_LINES);
}

bool tail_line(const struct tail *t, size_t i, const char **ret, size_t *ret_len)
{
        size_t slot;

        if (i >= tail_count(t))
                return false;
        slot = (size_t)((t->n - tail_count(t) + i) % TAIL_LINES);
        *ret = t->v[slot].text;
        *ret_len = t->v[slot].len;
        return true;
}

int64_t steps_elapsed_ms(const struct step *st)
{
        return st->state == STEP_RUNNING ? mono_ms() - st->started_ms : st->elapsed_ms;
}

static void start(struct step *st, const struct bld_event *ev)
{
        if (st->state != STEP_PLANNED)
                return;
        st->state = STEP_RUNNING;
        st->started_ms = mono_ms();
        st->spoke_ms = st->started_ms;
        st->started_ns = ev->time_ns;
}

static void finish(struct steps *s, struct step *st, const struct bld_event *ev,
                   enum step_state state)
{
        if (st->state > STEP_RUNNING)
                return;
        for (int i = 0; i < 2; i++) {
                struct line_ctx c = {s, st, i + 1};

                line_buf_flush(&st->out[i], take_line, &c);
        }
        if (!st->started_ns)
                st->started_ns = ev->time_ns;
        st->elapsed_ms = ev->elapsed_ms;
        if (!st->elapsed_ms && st->state == STEP_RUNNING)
                st->elapsed_ms = mono_ms() - st->started_ms;
        st->state = state;
        s->finished++;
        if (state != STEP_FAILED) { /* long builds: keep the output of what may be asked for only */
                free(st->tail.v);
                st->tail.v = NULL;
                st->tail.n = 0;
        }
}

static void take_log(struct steps *s, struct step *st, const struct bld_event *ev)
{
        struct line_ctx c = {s, st, ev->stream == 2 ? 2 : 1};

        line_buf_feed(&st->out[c.stream - 1], ev->data, ev->len, take_line, &c);
}

void steps_apply(struct steps *s, const struct bld_event *ev, struct step **ret_step)
{
        struct step *st = steps_find(s, ev->step);

        if (!st && ev->step)
                st = step_new(s, ev->step);
        *ret_step = st;
        if (ev->steps_total)
                s->total = ev->steps_total;
        if (ev->type == BLD_EV_BUILD_START)
                replace(&s->build_id, ev->text);
        if (ev->type == BLD_EV_WARNING)
                s->warnings++;
        if (!st)
                return;
        replace(&st->name, ev->name);
        replace(&st->file, ev->file);
        replace(&st->digest, ev->digest);
        st->line = ev->line ? ev->line : st->line;
        switch (ev->type) {
        case BLD_EV_STEP_START:
                start(st, ev);
                break;
        case BLD_EV_STEP_CACHED:
                finish(s, st, ev, STEP_CACHED);
                break;
        case BLD_EV_STEP_DONE:
                finish(s, st, ev, STEP_DONE);
                break;
        case BLD_EV_STEP_ERROR:
                finish(s, st, ev, STEP_FAILED);
                break;
        case BLD_EV_STEP_STATUS:
                replace(&st->status, ev->text);
                st->done = ev->done;
                st->total = ev->total;
                break;
        case BLD_EV_STEP_LOG:
                take_log(s, st, ev);
                break;
        case BLD_EV_BUILD_START:
        case BLD_EV_STEP_PLAN:
        case BLD_EV_WARNING:
        case BLD_EV_TRANSFER:
        case BLD_EV_BUILD_END:
                break;
        }
}
