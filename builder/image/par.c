/* The same work on many things at once, and progress that many threads report. */
#include "builder/image/move_priv.h"

#include <signal.h>
#include <string.h>

#include "base/err.h"
#include "base/num.h"

#define PAR_THREADS_MAX 32u
#define METER_EVERY_NS 50000000

struct par {
        bd_par_fn fn;
        void *user;
        size_t n;
        atomic_size_t next;
        atomic_bool stop;
        pthread_mutex_t lock; /* guards code and err */
        int code;
        struct bld_err err;
};

static void *par_work(void *arg)
{
        struct par *p = arg;

        while (!atomic_load(&p->stop)) {
                size_t i = atomic_fetch_add(&p->next, 1);
                struct bld_err err = BLD_ERR_INIT;
                int r;

                if (i >= p->n)
                        break;
                r = p->fn(p->user, i, &p->stop, &err);
                if (r >= 0)
                        continue;
                pthread_mutex_lock(&p->lock);
                if (p->code == 0) {
                        p->code = r;
                        err_copy(&p->err, &err);
                }
                pthread_mutex_unlock(&p->lock);
                atomic_store(&p->stop, true);
        }
        return NULL;
}

int bd_par_run(size_t n, size_t max, bd_par_fn fn, void *user, struct bld_err *err)
{
        struct par p = {.fn = fn, .user = user, .n = n, .err = BLD_ERR_INIT};
        pthread_t threads[PAR_THREADS_MAX];
        size_t nthreads = 0;
        sigset_t all, old;
        int code;

        pthread_mutex_init(&p.lock, NULL);
        max = MIN(MIN(max, n), PAR_THREADS_MAX);
        /* Signals belong to the program's own threads. */
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &old);
        /* A thread that cannot be made is only a thread less. */
        while (nthreads + 1 < max && pthread_create(&threads[nthreads], NULL, par_work, &p) == 0)
                nthreads++;
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        (void)par_work(&p);
        for (size_t i = 0; i < nthreads; i++)
                pthread_join(threads[i], NULL);
        pthread_mutex_destroy(&p.lock);
        code = p.code;
        if (code < 0)
                err_copy(err, &p.err);
        return code;
}

void bd_meter_init(struct bd_meter *m, bd_progress_fn fn, void *user)
{
        m->fn = fn;
        m->user = user;
        pthread_mutex_init(&m->lock, NULL);
}

void bd_meter_done(struct bd_meter *m)
{
        pthread_mutex_destroy(&m->lock);
}

void bd_meter_item_init(struct bd_meter_item *it, struct bd_meter *m, const struct img_desc *desc)
{
        memset(it, 0, sizeof(*it));
        it->meter = m;
        it->total = desc->size;
        bd_short(&desc->digest, it->what);
}

void bd_meter_step(struct bd_meter_item *it, uint64_t done)
{
        int64_t now;

        if (!it->meter || !it->meter->fn)
                return;
        now = time_mono_ns();
        if (done < it->total && now < it->next_ns)
                return;
        it->next_ns = now + METER_EVERY_NS;
        pthread_mutex_lock(&it->meter->lock);
        it->meter->fn(it->meter->user, it->what, done, it->total);
        pthread_mutex_unlock(&it->meter->lock);
}
