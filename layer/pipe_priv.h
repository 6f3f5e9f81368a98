/* An ordered pipeline: one producer, a pool of threads, two serial stages. Every job is worked on
 * by any thread and then passes each serial stage in the order of production, so what comes out
 * never depends on how many threads there are. No thread is made for a stream of one job. */
#ifndef LAYER_PIPE_PRIV_H
#define LAYER_PIPE_PRIV_H

#include "base/base.h"

#define LP_STAGES 2
#define LP_THREADS_MAX 16

struct lp_job {
        unsigned char *in, *out; /* in_cap and out_cap bytes; 0: NULL */
        size_t in_len, out_len;
        uint64_t tag; /* the producer's */
};

struct lp_ops {
        size_t in_cap, out_cap;
        /* Parallel; worker < the number of threads names a set of scratch memory. */
        int (*work)(void *user, unsigned worker, struct lp_job *j, struct bld_err *err);
        /* Serial, in order; stage 0 may run before the work when early is set. The two stages run
         * at the same time for different (or, when early, the same) jobs. */
        int (*serial[LP_STAGES])(void *user, struct lp_job *j, struct bld_err *err);
        bool early;
        void *user;
};

struct lp;
/* threads: 0 for as many as this process may use. */
int lp_new(const struct lp_ops *ops, unsigned threads, struct lp **ret,
           struct bld_err *err) MUST_CHECK;
unsigned lp_threads(const struct lp *p);
/* The next job to fill; waits for one. The first failure of any stage comes back here. */
int lp_slot(struct lp *p, struct lp_job **ret, struct bld_err *err) MUST_CHECK;
/* Hand over the job that lp_slot() gave. */
void lp_push(struct lp *p);
/* Wait until every job has passed every stage. */
int lp_finish(struct lp *p, struct bld_err *err) MUST_CHECK;
void lp_free(struct lp *p); /* stops and joins */

/* CPUs this process may use: affinity mask and cgroup quota. */
unsigned ly_cpus(void);

#endif
