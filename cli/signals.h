/* SIGINT and SIGTERM are blocked in every thread and read by one from a signalfd, so that nothing
 * ever runs in a signal handler: the first asks the session to end, the second to end at once, the
 * third leaves without cleaning up. */
#ifndef CLI_SIGNALS_H
#define CLI_SIGNALS_H

#include "bld/bld.h"

struct view;

/* Before any other thread exists. */
int signals_start(struct bld_err *err);
/* A broken pipe is an error of the write, not the end of the program. Children get the default
 * action back, since a handler does not survive exec. */
void signals_no_sigpipe(void);
/* What to cancel; NULL: nothing any more. */
void signals_set_session(struct bld *b);
void signals_set_view(struct view *v);
/* SIGINT, SIGTERM or 0. */
int signals_caught(void);
void signals_stop(void);

#endif
