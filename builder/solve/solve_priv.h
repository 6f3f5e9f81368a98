/* Graph -> results. One thread (the caller's) owns all graph state; each op runs in a thread of its
 * own and posts its completion. */
#ifndef BUILDER_SOLVE_PRIV_H
#define BUILDER_SOLVE_PRIV_H

#include "builder/op/op_priv.h"

struct solve_stats {
        unsigned steps, cached, imported;
        struct vertex *first_miss, *slowest, *failed;
        int run_status; /* of the failed RUN */
        char log_path[64];
};

/* Definition keys of every vertex the targets need, bottom up; content of local sources is digested
 * here. On failure *ret_failed is the vertex it is about. */
int solve_keys(struct build *b, struct graph *g, struct vertex **ret_failed,
               struct bld_err *err) MUST_CHECK;
/* Make the results of all targets. The first failure cancels the rest and is the one reported. */
int solve_run(struct build *b, struct graph *g, struct solve_stats *st,
              struct bld_err *err) MUST_CHECK;

/* ---- the limits of the store (ceiling.c); from the build's own thread ---- */

void ceiling_before_step(struct build *b);
void ceiling_after_build(struct build *b);

/* ---- shared caches (remote.c) ---- */

/* Look all steps that have to be made up in the shared caches, the targets first; what is below a
 * hit is not asked for. True when something was found: v->remote is set then. */
bool remote_ask(struct build *b, struct graph *g);
/* In the op's thread: what was found is brought here. 1 v->result is it; 0 a miss after all. */
int remote_bring(struct build *b, struct vertex *v, struct bld_err *err) MUST_CHECK;
/* The same for v->result_key, which is looked up first; v->result is the top layer alone then. */
int remote_bring_result(struct build *b, struct vertex *v, struct bld_err *err) MUST_CHECK;
/* A result that is done goes to the caches that are written to. */
void remote_put(struct build *b, const struct graph *g, const struct vertex *v);
/* What the store had already, and stands below that. */
void remote_put_known(struct build *b, const struct graph *g);
/* The inline cache of a target, or NULL (*ret) when none is asked for. */
int remote_inline(struct build *b, const struct plan_target *t, char **ret,
                  struct bld_err *err) MUST_CHECK;

/* ---- what a build leaves (build_record.c) ---- */

/* image: its digest, or "". Failing to is not an error of the build. */
void build_record_write(struct build *b, const struct graph *g, const char *image);

/* ---- why a step was not a hit (explain.c) ---- */

/* Compare what the step is made of with the last time; text for people. */
void explain_miss(struct build *b, const struct vertex *v, char *out, size_t size);
/* Remember it for the next time. Failing to is not an error of the build. */
void explain_store(struct build *b, const struct vertex *v);

#endif
