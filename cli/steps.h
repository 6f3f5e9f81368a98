/* What is known about the steps of a build, kept from events: the views draw it, and the error
 * report takes the last lines of the failing step from it. Threads: MT-Object (view.c locks). */
#ifndef CLI_STEPS_H
#define CLI_STEPS_H

#include "base/map.h"
#include "bld/bld.h"
#include "cli/text.h"

#define TAIL_LINES 40u
#define TAIL_BYTES 512u

enum step_state { STEP_PLANNED, STEP_RUNNING, STEP_CACHED, STEP_DONE, STEP_FAILED };

/* The last lines of output, raw. */
struct tail {
        struct {
                unsigned short len;
                char text[TAIL_BYTES];
        } * v;      /* TAIL_LINES slots, allocated with the first line */
        uint64_t n; /* lines ever */
};

struct step {
        char *id;          /* "deps 2/4" */
        const char *place; /* "2/4", inside id */
        size_t stage_len;  /* of "deps" */
        char *name;        /* "RUN make" */
        char *file;
        char *digest; /* the key */
        char *status; /* "pull sha256:5c2e" */
        unsigned line;
        enum step_state state;
        uint64_t done, total;
        int64_t started_ms; /* monotonic */
        int64_t started_ns; /* wall clock */
        int64_t elapsed_ms; /* when finished */
        int64_t spoke_ms;   /* last time a view printed something about it; monotonic */
        int64_t status_ms;  /* last time its progress was printed */
        uint64_t status_done;
        struct line_buf out[2];
        struct tail tail;
};

/* A finished line of a step's output, terminator removed; raw. */
typedef void (*step_line_fn)(void *user, struct step *st, int stream, const char *line, size_t n);

struct steps {
        step_line_fn on_line; /* may be NULL */
        void *user;
        struct map by_id;
        struct step **v;
        size_t n, cap;
        unsigned total, finished, warnings;
        size_t stage_width, place_width; /* widest seen, for columns */
        char *build_id;
        int64_t started_ms; /* monotonic */
};

void steps_init(struct steps *s);
void steps_done(struct steps *s);
/* Take one event in. *ret_step: the step it is about, or NULL. Out of memory drops detail only. */
void steps_apply(struct steps *s, const struct bld_event *ev, struct step **ret_step);
int64_t steps_elapsed_ms(const struct step *st);
struct step *steps_find(const struct steps *s, const char *id);
/* The i-th of the last lines that are kept, 0 the oldest; false past the end. */
bool tail_line(const struct tail *t, size_t i, const char **ret, size_t *ret_len);
size_t tail_count(const struct tail *t);

int64_t mono_ms(void);

#endif
