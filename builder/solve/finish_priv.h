/* After solving: configs and histories completed, documents written, names set, outputs made. */
#ifndef BUILDER_FINISH_PRIV_H
#define BUILDER_FINISH_PRIV_H

#include "builder/solve/solve_priv.h"

/* Assemble every target, name it, export it, push it; fills digest, sizes, pushed bytes of ret. */
struct outputs;
int finish_build(struct build *b, const struct outputs *out, struct graph *g,
                 struct bld_build_result *ret, struct bld_err *err) MUST_CHECK;

/* The outputs asked for, parsed before anything runs, so that a typo costs nothing. */
struct outputs {
        struct bd_output *v;
        size_t n;
        struct strv names;     /* full references of -t and name= */
        struct strv by_digest; /* repositories to push to under no tag */
        struct strv push_to;   /* all of these, when there is a push */
        struct bd_notes notes; /* --annotation and annotation.K= */
        bool store;            /* goes into the local store */
        bool push;
};
int outputs_parse(const struct bld_build_opts *o, struct outputs *ret,
                  struct bld_err *err) MUST_CHECK;
void outputs_done(struct outputs *o);
/* What only the plan can tell: are there the platforms, and the index, that outputs and annotations
 * are for? USAGE. */
int outputs_check(const struct build *b, const struct outputs *o, const struct graph *g,
                  struct bld_err *err) MUST_CHECK;

/* The result with the times of its new layers (those above nbase) limited to SOURCE_DATE_EPOCH
 * (rewrite.c). */
int rewrite_times(struct build *b, const struct vx_result *res, size_t nbase, struct vx_result *ret,
                  struct bld_err *err) MUST_CHECK;

/* The layers from number `from` on as one (squash.c); history says so afterwards. */
int squash(struct build *b, const struct vx_result *res, size_t from, struct img_histories *history,
           struct vx_result *ret, struct bld_err *err) MUST_CHECK;

/* --env, --unsetlabel and the like (edits.c). */
int edit_config(const struct bld_build_opts *o, struct img_config *c,
                struct bld_err *err) MUST_CHECK;

/* Config and history of a target as they go into the image (history.c). */
/* How many layers of the result come from the base image. */
size_t history_base(const struct plan_target *t, const struct vx_result *res);
int history_complete(struct build *b, struct plan_target *t, const struct vx_result *res,
                     struct bld_err *err) MUST_CHECK;
/* Remember the lines of the entries that history_complete() added to this config (lines.c), for
 * bd_history_lines(). Failing to is not an error of the build. */
void history_lines_put(struct build *b, const struct plan_target *t, const struct digest *config);

#endif
