#include "cli/view.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/num.h"

struct view {
        const struct view_ops *ops;
        struct view_opts o;
        struct steps steps;
        void *state;
        struct view *files[2]; /* of --log-file and --progress-file, or NULL */
        pthread_mutex_t lock;  /* guards all of the above */
        pthread_cond_t wake;
        pthread_t thread;
        bool ticking, ended, broken;
};

void *view_state(struct view *v)
{
        return v->state;
}

struct view_opts *view_options(struct view *v)
{
        return &v->o;
}

struct steps *view_model(struct view *v)
{
        return &v->steps;
}

const struct steps *view_steps(const struct view *v)
{
        return &v->steps;
}

void view_write(struct view *v, const struct sb *b)
{
        if (v->broken || !b->len)
                return;
        if (!term_write(v->o.term.fd, b->buf, b->len))
                v->broken = true; /* the build goes on without an audience */
}

void view_note_line(const struct term *t, struct sb *out, const char *kind, const char *text)
{
        enum term_style style = strcmp(kind, "warning") == 0 ? S_YELLOW : S_CYAN;

        sb_fmt(out, "%s%s:%s ", term_style(t, style), kind, term_style(t, S_RESET));
        (void)text_add(out, text, strlen(text), TEXT_WIDE,
                       term_text_flags(t) & ~(unsigned)TEXT_SGR);
        sb_char(out, '\n');
}

static void *tick_main(void *arg)
{
        struct view *v = arg;
        struct timespec at;

        (void)pthread_mutex_lock(&v->lock);
        while (!v->ended) {
                (void)clock_gettime(CLOCK_MONOTONIC, &at);
                at.tv_nsec += (long)v->ops->tick_ms * 1000000;
                at.tv_sec += at.tv_nsec / 1000000000;
                at.tv_nsec %= 1000000000;
                (void)pthread_cond_timedwait(&v->wake, &v->lock, &at);
                if (!v->ended)
                        v->ops->tick(v);
        }
        (void)pthread_mutex_unlock(&v->lock);
        return NULL;
}

static const struct view_ops *ops_of(enum view_mode mode)
{
        switch (mode) {
        case VIEW_NONE:
                return &view_none_ops;
        case VIEW_PLAIN:
                return &view_plain_ops;
        case VIEW_TTY:
                return &view_tty_ops;
        case VIEW_RAWJSON:
                return &view_rawjson_ops;
        }
        return &view_none_ops;
}

static void init_lock(struct view *v)
{
        pthread_condattr_t attr;

        (void)pthread_mutex_init(&v->lock, NULL);
        (void)pthread_condattr_init(&attr);
        (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
        (void)pthread_cond_init(&v->wake, &attr);
        (void)pthread_condattr_destroy(&attr);
}

static int start_ticks(struct view *v, struct bld_err *err)
{
        int r;

        if (!v->ops->tick_ms)
                return 0;
        r = pthread_create(&v->thread, NULL, tick_main, v);
        if (r)
                return err_sys(err, r, "start the thread of the progress view");
        v->ticking = true;
        return 0;
}

/* A further view, for a file; without ticks, as it is no one's sign of life. */
static int add_file(struct view *v, size_t i, enum view_mode mode, int fd, struct bld_err *err)
{
        struct view_opts o = v->o;

        if (fd < 0)
                return 0;
        o.mode = mode;
        memset(&o.term, 0, sizeof(o.term));
        o.term.fd = fd;
        o.log_fd = o.raw_fd = -1;
        return view_new(&o, &v->files[i], err);
}

int view_new(const struct view_opts *o, struct view **ret, struct bld_err *err)
{
        struct view *v = mem_zalloc(1, sizeof(*v));
        int r;

        if (!v)
                return err_nomem(err, "progress view");
        init_lock(v);
        v->o = *o;
        v->ops = ops_of(o->mode);
        steps_init(&v->steps);
        v->steps.on_line = v->ops->line;
        v->steps.user = v;
        v->state = mem_zalloc(1, v->ops->state_size + 1);
        r = v->state ? start_ticks(v, err) : err_nomem(err, "progress view");
        r = r < 0 ? r : add_file(v, 0, VIEW_PLAIN, o->log_fd, err);
        r = r < 0 ? r : add_file(v, 1, VIEW_RAWJSON, o->raw_fd, err);
        if (r < 0) {
                view_free(v);
                return r;
        }
        *ret = v;
        return 0;
}

void view_event(void *user, const struct bld_event *ev)
{
        struct view *v = user;
        struct step *st;

        (void)pthread_mutex_lock(&v->lock);
        if (!v->ended) {
                steps_apply(&v->steps, ev, &st);
                v->ops->event(v, ev, st);
        }
        (void)pthread_mutex_unlock(&v->lock);
        for (size_t i = 0; i < ARRAY_LEN(v->files); i++)
                if (v->files[i])
                        view_event(v->files[i], ev);
}

void view_note(struct view *v, const char *kind, const char *text)
{
        (void)pthread_mutex_lock(&v->lock);
        if (!v->ended) {
                v->ops->note(v, kind, text);
        } else if (v->o.mode == VIEW_PLAIN || v->o.mode == VIEW_TTY) {
                AUTO_SB struct sb line = SB_INIT(1u << 20);

                view_note_line(&v->o.term, &line, kind, text);
                view_write(v, &line);
        }
        (void)pthread_mutex_unlock(&v->lock);
        for (size_t i = 0; i < ARRAY_LEN(v->files); i++)
                if (v->files[i])
                        view_note(v->files[i], kind, text);
}

void view_end(struct view *v)
{
        bool first;

        (void)pthread_mutex_lock(&v->lock);
        first = !v->ended;
        v->ended = true;
        if (first && v->ops->end)
                v->ops->end(v);
        (void)pthread_cond_broadcast(&v->wake);
        (void)pthread_mutex_unlock(&v->lock);
        if (v->ticking)
                (void)pthread_join(v->thread, NULL);
        v->ticking = false;
        for (size_t i = 0; i < ARRAY_LEN(v->files); i++)
                if (v->files[i])
                        view_end(v->files[i]);
}

void view_free(struct view *v)
{
        if (!v)
                return;
        if (v->state)
                view_end(v);
        for (size_t i = 0; i < ARRAY_LEN(v->files); i++)
                view_free(v->files[i]);
        steps_done(&v->steps);
        (void)pthread_cond_destroy(&v->wake);
        (void)pthread_mutex_destroy(&v->lock);
        free(v->state);
        free(v);
}

/* ---- mode none: errors and warnings only ---- */

static void none_event(struct view *v, const struct bld_event *ev, struct step *st)
{
        (void)v;
        (void)ev;
        (void)st;
}

static void none_note(struct view *v, const char *kind, const char *text)
{
        (void)v;
        (void)kind;
        (void)text;
}

const struct view_ops view_none_ops = {.event = none_event, .note = none_note};
