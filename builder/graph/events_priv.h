/* From any thread to one view thread: events in order, step output by reference to its log file, so
 * that a slow terminal holds up nothing and costs no memory. */
#ifndef BUILDER_EVENTS_PRIV_H
#define BUILDER_EVENTS_PRIV_H

#include "bld/build.h"
#include "builder/graph/graph_priv.h"

struct events;
/* callback may be NULL. dirfd: the build's record folder, borrowed. */
int events_new(void (*callback)(void *, const struct bld_event *), void *user, int dirfd,
               const char *file, struct events **ret, struct bld_err *err) MUST_CHECK;
/* Deliver what is queued, join the view thread, free. */
void events_free(struct events *ev);

/* Queue an event about a step (v may be NULL). text is copied. */
void events_post(struct events *ev, enum bld_event_type type, const struct vertex *v,
                 const char *text, uint64_t done, uint64_t total);
/* A bd_progress_fn whose user is this: a transfer told as the state of a step. */
struct step_meter {
        struct events *ev;
        const struct vertex *v;
};
void events_transfer(void *user, const char *what, uint64_t done, uint64_t total);
void events_warning(struct events *ev, unsigned line, const char *text);
void events_exit(struct events *ev, const struct vertex *v, int status);

/* The step's output, as it comes: appended to its log file, announced to the view. */
struct step_log;
int step_log_open(struct events *ev, const struct vertex *v, struct step_log **ret,
                  struct bld_err *err) MUST_CHECK;
int step_log_write(struct step_log *l, int stream, const void *p, size_t n,
                   struct bld_err *err) MUST_CHECK;
/* The last lines, for the error message. */
void step_log_tail(struct step_log *l, size_t lines, struct sb *out, size_t *ret_total);
const char *step_log_path(const struct step_log *l); /* relative to the record folder */
void step_log_close(struct step_log *l);

#endif
