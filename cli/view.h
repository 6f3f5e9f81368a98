/* Views of a running build: they turn events into terminal output. view.c owns the lock, the step
 * model and the thread that ticks; each view_<mode>.c draws.
 * Threads: view_event and view_note from any thread; the functions of a view_ops run
 * under the view's lock. */
#ifndef CLI_VIEW_H
#define CLI_VIEW_H

#include "bld/bld.h"
#include "cli/steps.h"
#include "cli/term.h"

enum view_mode { VIEW_NONE, VIEW_PLAIN, VIEW_TTY, VIEW_RAWJSON };

struct view_opts {
        enum view_mode mode;
        struct term term;  /* where to draw */
        const char *title; /* "app:v1", for the head line */
        const char *platform;
        const char *file; /* Dockerfile as given, for places in notes */
        bool log_timestamps, log_streams;
        int log_fd; /* plain lines go here, too; -1: nowhere */
        int raw_fd; /* and rawjson here */
};

struct view;
struct view_ops {
        size_t state_size; /* zeroed memory for the view's own use, view_state() */
        int tick_ms;       /* 0: no ticks */
        /* The model has taken the event already. */
        void (*event)(struct view *v, const struct bld_event *ev, struct step *st);
        void (*line)(void *v, struct step *st, int stream, const char *line,
                     size_t n); /* or NULL */
        void (*tick)(struct view *v);
        void (*note)(struct view *v, const char *kind, const char *text); /* a line of its own */
        void (*end)(struct view *v); /* leave the terminal as a shell expects it; free members */
};
extern const struct view_ops view_tty_ops, view_plain_ops, view_rawjson_ops, view_none_ops;

int view_new(const struct view_opts *o, struct view **ret, struct bld_err *err) MUST_CHECK;
/* For bld_build_opts.event; user is the view. */
void view_event(void *user, const struct bld_event *ev);
/* "note" or "warning" and a line, between whatever the view shows. */
void view_note(struct view *v, const char *kind, const char *text);
/* Stop drawing; the model stays. */
void view_end(struct view *v);
void view_free(struct view *v);
const struct steps *view_steps(const struct view *v); /* after view_end */

/* ---- for view_*.c ---- */

void *view_state(struct view *v);
struct view_opts *view_options(struct view *v);
struct steps *view_model(struct view *v);
/* One write; a broken pipe is remembered and silences the view. */
void view_write(struct view *v, const struct sb *b);
/* `note: TEXT` as a line of its own, cleaned. */
void view_note_line(const struct term *t, struct sb *out, const char *kind, const char *text);

#endif
