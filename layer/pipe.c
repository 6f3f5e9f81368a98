#include "layer/pipe_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/num.h"
#include "base/sys.h"

struct lp_slot_state {
        struct lp_job job;
        bool worked;
};

struct lp {
        struct lp_ops ops;
        unsigned nthreads, started;
        pthread_t threads[LP_THREADS_MAX];
        struct lp_slot_state *ring;
        size_t nring;

        pthread_mutex_t jobs_lock; /* guards everything below */
        pthread_cond_t work_cond;  /* something to do, or stop */
        pthread_cond_t done_cond;  /* a job left, or failure */
        uint64_t head;             /* jobs pushed so far */
        uint64_t next_work;
        uint64_t next[LP_STAGES];
        bool busy[LP_STAGES];
        bool stop;
        struct bld_err first; /* code 0: none */
};

/* Text of a small file, or an empty string. */
static void read_small(const char *path, char *buf, size_t size)
{
        AUTO_FD int fd = sys_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
        ssize_t n = fd < 0 ? -1 : sys_read(fd, buf, size - 1);

        buf[n > 0 ? (size_t)n : 0] = 0;
}

/* Whole CPUs the cgroup's quota allows, at least 1; 0 when there is no quota. */
static unsigned quota_cpus(void)
{
        char text[4096], path[4200];
        unsigned long quota, period;
        char *line, *end;

        read_small("/proc/self/cgroup", text, sizeof(text));
        line = strstr(text, "0::");
        if (!line)
                return 0;
        line[strcspn(line, "\n")] = 0;
        if (snprintf(path, sizeof(path), "/sys/fs/cgroup%s/cpu.max", line + 3) >= (int)sizeof(path))
                return 0;
        read_small(path, text, sizeof(text));
        quota = strtoul(text, &end, 10); /* "max 100000" gives no number */
        if (end == text)
                return 0;
        period = strtoul(end, NULL, 10);
        if (!period)
                return 0;
        return (unsigned)MAX((quota + period - 1) / period, 1);
}

unsigned ly_cpus(void)
{
        unsigned quota = quota_cpus();
        unsigned n = 1;
        cpu_set_t set;

        if (!sched_getaffinity(0, sizeof(set), &set))
                n = (unsigned)CPU_COUNT(&set);
        if (quota && quota < n)
                n = quota;
        return MIN(MAX(n, 1), LP_THREADS_MAX);
}

static void slots_free(struct lp *p)
{
        for (size_t i = 0; p->ring && i < p->nring; i++) {
                free(p->ring[i].job.in);
                free(p->ring[i].job.out);
        }
        free(p->ring);
}

int lp_new(const struct lp_ops *ops, unsigned threads, struct lp **ret, struct bld_err *err)
{
        struct lp *p = mem_zalloc(1, sizeof(*p));

        if (!p)
                return err_nomem(err, "compression pipeline");
        p->ops = *ops;
        p->nthreads = threads ? MIN(threads, LP_THREADS_MAX) : ly_cpus();
        p->nring = p->nthreads + 4;
        p->ring = mem_zalloc(p->nring, sizeof(*p->ring));
        if (!p->ring) {
                free(p);
                return err_nomem(err, "compression pipeline");
        }
        pthread_mutex_init(&p->jobs_lock, NULL);
        pthread_cond_init(&p->work_cond, NULL);
        pthread_cond_init(&p->done_cond, NULL);
        *ret = p;
        return 0;
}

unsigned lp_threads(const struct lp *p)
{
        return p->nthreads;
}

static struct lp_slot_state *slot_at(struct lp *p, uint64_t i)
{
        return &p->ring[i % p->nring];
}

/* Jobs that have left the pipeline. */
static uint64_t jobs_out(const struct lp *p)
{
        return MIN(p->next[0], p->next[1]);
}

/* Buffers are made on first use: a small layer pays for one. */
static int slot_fill(struct lp *p, struct lp_slot_state *s, struct bld_err *err)
{
        if (p->ops.in_cap && !s->job.in) {
                s->job.in = mem_alloc(p->ops.in_cap);
                if (!s->job.in)
                        return err_nomem(err, "compression buffer");
        }
        if (p->ops.out_cap && !s->job.out) {
                s->job.out = mem_alloc(p->ops.out_cap);
                if (!s->job.out)
                        return err_nomem(err, "compression buffer");
        }
        s->job.in_len = s->job.out_len = 0;
        s->job.tag = 0;
        s->worked = false;
        return 0;
}

static void fail_locked(struct lp *p, const struct bld_err *e, int r)
{
        if (!p->first.code) {
                p->first = *e;
                p->first.code = r;
        }
        pthread_cond_broadcast(&p->work_cond);
        pthread_cond_broadcast(&p->done_cond);
}

static bool stage_ready(struct lp *p, unsigned k)
{
        if (p->busy[k] || p->next[k] == p->head)
                return false;
        return slot_at(p, p->next[k])->worked || (k == 0 && p->ops.early);
}

static void run_stage(struct lp *p, unsigned k)
{
        struct bld_err e = BLD_ERR_INIT;
        struct lp_job *j = &slot_at(p, p->next[k])->job;
        int r;

        p->busy[k] = true;
        pthread_mutex_unlock(&p->jobs_lock);
        r = p->ops.serial[k](p->ops.user, j, &e);
        pthread_mutex_lock(&p->jobs_lock);
        p->busy[k] = false;
        p->next[k]++;
        if (r < 0)
                fail_locked(p, &e, r);
        pthread_cond_signal(&p->done_cond);
}

static void run_work(struct lp *p, unsigned worker)
{
        struct bld_err e = BLD_ERR_INIT;
        struct lp_slot_state *s = slot_at(p, p->next_work++);
        int r;

        pthread_mutex_unlock(&p->jobs_lock);
        r = p->ops.work ? p->ops.work(p->ops.user, worker, &s->job, &e) : 0;
        pthread_mutex_lock(&p->jobs_lock);
        s->worked = true;
        if (r < 0)
                fail_locked(p, &e, r);
}

/* Do one thing, the oldest first; false when nothing can be done now. */
static bool step_locked(struct lp *p, unsigned worker)
{
        if (p->first.code)
                return false;
        if (stage_ready(p, 1))
                run_stage(p, 1);
        else if (stage_ready(p, 0))
                run_stage(p, 0);
        else if (p->next_work < p->head)
                run_work(p, worker);
        else
                return false;
        /* What was just done may have made something ready for another thread. */
        pthread_cond_signal(&p->work_cond);
        return true;
}

struct worker_arg {
        struct lp *p;
        unsigned index;
};

static void *worker_main(void *user)
{
        struct worker_arg *arg = user;
        struct lp *p = arg->p;

        pthread_mutex_lock(&p->jobs_lock);
        while (!p->stop)
                if (!step_locked(p, arg->index) && !p->stop)
                        pthread_cond_wait(&p->work_cond, &p->jobs_lock);
        pthread_mutex_unlock(&p->jobs_lock);
        free(arg);
        return NULL;
}

/* Signals belong to the program's own threads. */
static int start_threads(struct lp *p, struct bld_err *err)
{
        sigset_t all, old;
        int r = 0;

        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &old);
        while (p->started < p->nthreads) {
                struct worker_arg *arg = mem_alloc(sizeof(*arg));

                if (!arg) {
                        r = ENOMEM;
                        break;
                }
                *arg = (struct worker_arg){.p = p, .index = p->started};
                r = pthread_create(&p->threads[p->started], NULL, worker_main, arg);
                if (r) {
                        free(arg);
                        break;
                }
                p->started++;
        }
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        /* One is enough to go on with. */
        return p->started ? 0 : err_sys(err, r, "start a compression thread");
}

static int failure_locked(struct lp *p, struct bld_err *err)
{
        if (!p->first.code)
                return 0;
        if (err)
                *err = p->first;
        return p->first.code;
}

int lp_slot(struct lp *p, struct lp_job **ret, struct bld_err *err)
{
        int r;

        if (p->head && !p->started) {
                r = start_threads(p, err);
                if (r < 0)
                        return r;
        }
        pthread_mutex_lock(&p->jobs_lock);
        while (!p->first.code && p->head - jobs_out(p) == p->nring)
                pthread_cond_wait(&p->done_cond, &p->jobs_lock);
        r = failure_locked(p, err);
        pthread_mutex_unlock(&p->jobs_lock);
        if (r < 0)
                return r;
        r = slot_fill(p, slot_at(p, p->head), err);
        if (!r)
                *ret = &slot_at(p, p->head)->job;
        return r;
}

void lp_push(struct lp *p)
{
        pthread_mutex_lock(&p->jobs_lock);
        p->head++;
        pthread_cond_signal(&p->work_cond);
        pthread_mutex_unlock(&p->jobs_lock);
}

int lp_finish(struct lp *p, struct bld_err *err)
{
        int r;

        pthread_mutex_lock(&p->jobs_lock);
        if (!p->started)
                while (step_locked(p, 0))
                        ;
        while (!p->first.code && jobs_out(p) != p->head)
                pthread_cond_wait(&p->done_cond, &p->jobs_lock);
        r = failure_locked(p, err);
        pthread_mutex_unlock(&p->jobs_lock);
        return r;
}

void lp_free(struct lp *p)
{
        if (!p)
                return;
        pthread_mutex_lock(&p->jobs_lock);
        p->stop = true;
        pthread_cond_broadcast(&p->work_cond);
        pthread_mutex_unlock(&p->jobs_lock);
        for (unsigned i = 0; i < p->started; i++)
                pthread_join(p->threads[i], NULL);
        slots_free(p);
        pthread_cond_destroy(&p->done_cond);
        pthread_cond_destroy(&p->work_cond);
        pthread_mutex_destroy(&p->jobs_lock);
        free(p);
}
