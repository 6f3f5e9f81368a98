#include "builder/solve/solve_priv.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/num.h"

struct solve {
        struct build *b;
        struct graph *g;
        struct solve_stats *st;
        unsigned running, running_steps, jobs;
        int done_fd;          /* eventfd: a completion was posted */
        pthread_mutex_t lock; /* guards completed */
        struct job *completed;
        struct bld_err err; /* the first failure */
        int r;
};

struct job {
        struct job *next;
        struct solve *s;
        struct vertex *v;
        pthread_t thread;
        int r, status;
        bool hit;
        bool step;  /* counts against --jobs */
        bool again; /* a shared cache did not have what it promised: a miss after all */
        struct bld_err err;
};

/* ---- keys ---- */

/* The main context stays open for all steps; other folders are opened for the one. */
struct contexts {
        struct build *b;
        struct fs *main, *other;
};

static int open_context(struct contexts *x, const struct vertex *local, struct fs **ret,
                        struct bld_err *err)
{
        bool other = *local->u.local != '\0';
        struct fs **slot = other ? &x->other : &x->main;
        int r = 0;

        if (other) {
                fs_free(x->other);
                x->other = NULL;
        }
        if (!*slot)
                r = build_open_local(x->b, local, slot, err);
        *ret = *slot;
        return r;
}

static int local_content(struct contexts *x, struct vertex *v, struct bld_err *err)
{
        struct hasher h;
        struct digest d;
        struct fs *f = NULL;
        bool any = false;
        int r = 0;

        hasher_init(&h, DIGEST_SHA256);
        if (v->kind == VX_COPY && v->ninputs > 1 && v->inputs[1] &&
            v->inputs[1]->kind == VX_LOCAL) {
                r = open_context(x, v->inputs[1], &f, err);
                return r == 0 ? op_copy_content(v, 1, f, &v->content, err) : r;
        }
        for (size_t i = 0; v->kind == VX_RUN && i < v->u.run.nmounts && r == 0; i++) {
                const struct vx_mount *m = &v->u.run.mounts[i];

                if (m->type != MT_BIND || m->input < 0 || v->inputs[m->input]->kind != VX_LOCAL)
                        continue;
                r = open_context(x, v->inputs[m->input], &f, err);
                if (r == 0)
                        r = op_bind_content(x->b, v, m, f, &d, err);
                if (r == 0)
                        hasher_field(&h, d.b, sizeof(d.b));
                any = true;
        }
        if (r == 0 && any)
                hasher_end(&h, &v->content);
        return r;
}

/* Inputs come earlier in the list, so one way back finds all. */
static void mark_needed(struct graph *g)
{
        for (size_t i = 0; i < g->targets.n; i++)
                if (g->targets.v[i].fs)
                        g->targets.v[i].fs->planned = true;
        for (size_t i = g->v.n; i-- > 0;)
                for (size_t k = 0; g->v.v[i]->planned && k < g->v.v[i]->ninputs; k++)
                        if (g->v.v[i]->inputs[k])
                                g->v.v[i]->inputs[k]->planned = true;
}

static bool is_renewed(const struct vertex *v)
{
        bool any = v->no_cache;

        for (size_t i = 0; i < v->ninputs; i++)
                any = any || (v->inputs[i] && v->inputs[i]->renewed);
        return any;
}

int solve_keys(struct build *b, struct graph *g, struct vertex **ret_failed, struct bld_err *err)
{
        struct contexts x = {.b = b};
        int r = 0;

        mark_needed(g);
        for (size_t i = 0; i < g->v.n && r == 0; i++) {
                struct vertex *v = g->v.v[i];

                if (!v->planned)
                        continue;
                *ret_failed = v;
                v->renewed = is_renewed(v);
                r = local_content(&x, v, err);
                if (r == 0)
                        r = cancel_check(b->c->cancel, err);
                if (r == 0)
                        key_definition(v);
        }
        if (r == 0)
                *ret_failed = NULL;
        b->context_tree = x.main;
        fs_free(x.other);
        return r;
}

/* What a later step selects from results (not from local folders), digested. contents has room for
 * every input. */
static int result_contents(struct build *b, struct vertex *v, struct digest *contents,
                           struct bld_err *err)
{
        int r = 0;

        for (size_t i = 1; i < v->ninputs && r == 0; i++) {
                AUTO(fs_free_p) struct fs *f = NULL;
                struct vertex *in = v->inputs[i];

                if (!in || in->kind == VX_LOCAL)
                        continue;
                r = fs_open_layers(b->c, &in->result.layers, &f, err);
                if (r == 0 && v->kind == VX_COPY)
                        r = op_copy_content(v, i, f, &contents[i], err);
                for (size_t k = 0; v->kind == VX_RUN && k < v->u.run.nmounts && r == 0; k++)
                        if (v->u.run.mounts[k].input == (int)i &&
                            v->u.run.mounts[k].type == MT_BIND)
                                r = op_bind_content(b, v, &v->u.run.mounts[k], f, &contents[i],
                                                    err);
        }
        return r;
}

/* ---- one op ---- */

static int run_op(struct job *j, struct bld_err *err)
{
        struct build *b = j->s->b;

        switch (j->v->kind) {
        case VX_IMAGE:
                return op_image(b, j->v, err);
        case VX_COPY:
                return op_copy(b, j->v, err);
        case VX_RUN:
                return op_run(b, j->v, &j->status, err);
        case VX_MKDIR:
                return op_mkdir(b, j->v, err);
        case VX_GIT:
                return op_git(b, j->v, err);
        case VX_LOCAL:
                break;
        }
        return 0;
}

static int wait_for_key(struct job *j, const struct digest *key, struct cas_lock **ret,
                        struct bld_err *err)
{
        struct build *b = j->s->b;
        char holder[16] = "", text[64];
        int r = cas_key_lock(b->c->cas, key, cas_build_id(b->record), false, &b->cancel, ret,
                             holder, err);

        if (r != 1)
                return r;
        (void)snprintf(text, sizeof(text), "waiting for build %s", holder);
        events_post(b->events, BLD_EV_STEP_STATUS, j->v, text, 0, 0);
        return cas_key_lock(b->c->cas, key, cas_build_id(b->record), true, &b->cancel, ret, NULL,
                            err);
}

/* A result found by its inputs' content stands on this build's chain: the one it was recorded with
 * may hold the same trees in other blobs (another compression), and with --link other trees. */
static int rebase(struct vertex *v, struct bld_err *err)
{
        struct vx_result own = v->result;
        struct bd_layer *top, *l;
        int r;

        if (own.layers.n == 0)
                return 0;
        memset(&v->result, 0, sizeof(v->result));
        r = result_begin(v, err);
        l = r == 0 ? bd_layers_push(&v->result.layers) : NULL;
        if (l) {
                top = &own.layers.v[own.layers.n - 1];
                *l = *top;
                own.layers.n--;
        } else if (r == 0) {
                r = err_nomem(err, "chain of layers");
        }
        result_done(&own);
        return r == 0 ? result_seal(&v->result, err) : r;
}

static bool below_tainted(const struct vertex *v)
{
        for (size_t i = 0; i < v->ninputs; i++)
                if (v->inputs[i] && v->inputs[i]->tainted)
                        return true;
        return false;
}

/* A key must not lie: what was made of files that changed meanwhile is this build's alone. */
static int forget(struct build *b, struct vertex *v)
{
        char text[256];

        (void)snprintf(text, sizeof(text),
                       "%s: a file changed while it was copied; the step is not remembered",
                       v->step);
        events_warning(b->events, v->line, text);
        v->tainted = true;
        return 0;
}

static int op_with_cache(struct job *j, struct bld_err *err)
{
        AUTO(cas_key_unlock_p) struct cas_lock *lock = NULL;
        struct build *b = j->s->b;
        struct vertex *v = j->v;
        AUTO_FREE struct digest *contents = mem_zalloc(v->ninputs, sizeof(*contents));
        struct digest key;
        int r = 0;

        if (!contents)
                return err_nomem(err, "step");
        if (v->kind == VX_IMAGE) {
                r = run_op(j, err);
                j->hit = v->cached;
                return r;
        }
        if (v->remote) {
                r = remote_bring(b, v, err);
                j->hit = r == 1;
                j->again = r == 0;
                return r == 1 ? record_put(b->c, &v->key, v, err) : r;
        }
        r = result_contents(b, v, contents, err);
        if (r < 0)
                return r;
        key_result(v, contents, &key);
        v->result_key = key;
        r = v->no_cache ? 0 : record_get(b->c, b->record, &key, &v->result, err);
        if (r == 0)
                r = wait_for_key(j, &key, &lock, err);
        if (r == 0 && !v->no_cache) /* somebody may just have made it */
                r = record_get(b->c, b->record, &key, &v->result, err);
        if (r == 0 && !v->no_cache)
                r = remote_bring_result(b, v, err);
        if (r < 0)
                return r;
        j->hit = r == 1;
        if (!j->hit) {
                events_post(b->events, BLD_EV_STEP_START, v, NULL, 0, 0);
                r = run_op(j, err);
                if (r == 0 && v->unrepeatable)
                        return forget(b, v);
                if (r == 0)
                        r = record_put(b->c, &key, v, err);
        } else {
                r = rebase(v, err);
                if (r == 0 && v->imported[0])
                        r = record_put(b->c, &key, v, err);
        }
        /* What was computed from a source that changed under its step must not stand under keys
         * that speak of the source before. Keys by content are true. */
        v->tainted = below_tainted(v);
        return r < 0 || v->tainted ? r : record_put(b->c, &v->key, v, err);
}

static void *op_thread(void *p)
{
        struct job *j = p;
        struct solve *s = j->s;
        uint64_t one = 1;
        sigset_t pipe_signal;

        /* A child that dies breaks the pipe we feed it by: an error to handle, here and in the
         * threads made from here, not a signal to die of. */
        (void)sigemptyset(&pipe_signal);
        (void)sigaddset(&pipe_signal, SIGPIPE);
        (void)pthread_sigmask(SIG_BLOCK, &pipe_signal, NULL);
        j->r = op_with_cache(j, &j->err);
        (void)pthread_mutex_lock(&s->lock);
        j->next = s->completed;
        s->completed = j;
        (void)pthread_mutex_unlock(&s->lock);
        (void)!write(s->done_fd, &one, sizeof(one)); /* a full counter is readable, too */
        return NULL;
}

/* ---- the owner ---- */

/* A hit needs nothing below it. */
static int need(struct solve *s, struct vertex *v, struct bld_err *err)
{
        int r = 0;

        if (!v || v->state != VX_IDLE)
                return 0;
        if (v->kind == VX_LOCAL) {
                v->state = VX_DONE;
                return 0;
        }
        if (v->kind != VX_IMAGE && !v->renewed)
                r = record_get(s->b->c, s->b->record, &v->key, &v->result, err);
        if (r < 0)
                return r;
        if (r == 1) {
                v->state = VX_DONE;
                v->cached = true;
                return 0;
        }
        v->state = VX_NEEDED;
        for (size_t i = 0; i < v->ninputs && r == 0 && !v->remote; i++)
                r = need(s, v->inputs[i], err);
        return r;
}

static int need_targets(struct solve *s, struct bld_err *err)
{
        int r = 0;

        for (size_t i = 0; i < s->g->v.n; i++)
                if (s->g->v.v[i]->state == VX_NEEDED)
                        s->g->v.v[i]->state = VX_IDLE;
        for (size_t i = 0; i < s->g->targets.n && r == 0; i++)
                r = need(s, s->g->targets.v[i].fs, err);
        return r;
}

/* What has to be made; and, where shared caches are asked, what need not after all. */
static int look_up(struct solve *s, struct bld_err *err)
{
        int r = need_targets(s, err);

        if (r == 0 && remote_ask(s->b, s->g))
                r = need_targets(s, err);
        return r == 0 ? cancel_check(s->b->c->cancel, err) : r;
}

static bool ready(const struct vertex *v)
{
        if (v->remote)
                return true;
        for (size_t i = 0; i < v->ninputs; i++)
                if (v->inputs[i] && v->inputs[i]->state != VX_DONE)
                        return false;
        return true;
}

/* The keeper dies with the thread that made it: this one, which outlives every step. */
static int need_keeper(struct solve *s, struct bld_err *err)
{
        struct build *b = s->b;
        struct rt_keeper_opts o = {.store_fd = cas_root_fd(b->c->cas),
                                   .level = b->isolation,
                                   .helper = b->c->helper,
                                   .cancel = &b->cancel};

        AUTO_STRV struct strv orphans = {0};
        int r = b->keeper ? 0 : rt_keeper_start(&o, &b->keeper, err);

        if (r == 0 && !b->swept)
                resources_tell(b);
        /* What dead builds left behind under mapped ids only a keeper can remove. */
        if (r == 0 && !b->swept && cas_tmp_orphans(b->c->cas, &orphans, NULL) == 0)
                for (size_t i = 0; i < orphans.n; i++)
                        snapshot_discard(b, orphans.v[i]);
        b->swept = r == 0;
        return r;
}

static int start(struct solve *s, struct vertex *v)
{
        struct job *j = mem_zalloc(1, sizeof(*j));
        struct bld_err err = BLD_ERR_INIT;
        bool refused = false;
        int r = j ? 0 : err_nomem(&err, "step");

        if (r == 0 && v->kind == VX_RUN && !v->remote && s->b->push_to) {
                r = bd_push_check(s->b->c, s->b->push_to, &err);
                s->b->push_to = NULL;
                refused = r < 0;
        }
        if (r == 0 && v->kind == VX_RUN && !v->remote)
                r = need_keeper(s, &err);
        ceiling_before_step(s->b);
        if (r == 0) {
                j->s = s;
                j->v = v;
                j->step = v->kind == VX_RUN && !v->remote;
                v->started_ns = time_mono_ns();
                v->state = VX_RUNNING;
                r = pthread_create(&j->thread, NULL, op_thread, j);
                if (r)
                        r = err_sys(&err, r, "start a thread");
        }
        if (r < 0) {
                free(j);
                v->state = VX_FAILED;
                s->st->failed = refused ? NULL : v; /* not the step's fault */
                s->err = err;
                s->r = r;
                return r;
        }
        s->running++;
        s->running_steps += j->step;
        return 0;
}

/* In plan order, which is the order people expect to see. */
static void schedule(struct solve *s)
{
        for (size_t i = 0; i < s->g->v.n && s->r == 0; i++) {
                struct vertex *v = s->g->v.v[i];

                if (v->state != VX_NEEDED || !ready(v))
                        continue;
                if (v->kind == VX_RUN && !v->remote ? s->running_steps >= s->jobs
                                                    : s->running >= s->jobs + 4)
                        continue;
                if (start(s, v) < 0)
                        cancel_fire(&s->b->cancel, 2);
        }
}

static void tell_hit(struct solve *s, const struct vertex *v)
{
        events_post(s->b->events, BLD_EV_STEP_CACHED, v, v->imported[0] ? v->imported : NULL, 0, 0);
}

static void finish_ok(struct solve *s, struct job *j)
{
        struct vertex *v = j->v;

        v->state = VX_DONE;
        v->ended_ns = time_mono_ns();
        v->cached = v->told = j->hit;
        s->st->imported += v->imported[0] != '\0';
        if (v->kind == VX_IMAGE)
                return;
        remote_put(s->b, s->g, v);
        if (v->kind == VX_GIT) { /* a source, no step of the Dockerfile */
                if (j->hit)
                        tell_hit(s, v);
                else
                        events_exit(s->b->events, v, 0);
                return;
        }
        if (j->hit) {
                tell_hit(s, v);
                return;
        }
        if (!s->st->slowest ||
            v->ended_ns - v->started_ns > s->st->slowest->ended_ns - s->st->slowest->started_ns)
                s->st->slowest = v;
        if (!s->st->first_miss || v->id < s->st->first_miss->id)
                s->st->first_miss = v;
        events_exit(s->b->events, v, 0);
}

/* What it needs is looked up anew. */
static void finish_missed(struct solve *s, struct job *j)
{
        struct vertex *v = j->v;
        struct bld_err err = BLD_ERR_INIT;
        int r;

        v->remote = NULL;
        v->state = VX_NEEDED;
        v->started_ns = 0;
        if (s->r < 0)
                return;
        r = look_up(s, &err);
        if (r == 0)
                return;
        s->r = r;
        s->err = err;
        s->st->failed = v;
        cancel_fire(&s->b->cancel, 2);
}

static void finish_failed(struct solve *s, struct job *j)
{
        j->v->state = VX_FAILED;
        j->v->ended_ns = time_mono_ns();
        if (s->r < 0) { /* the first failure cancelled this one */
                events_post(s->b->events, BLD_EV_STEP_ERROR, j->v, "cancelled", 0, 0);
                return;
        }
        s->r = j->r;
        s->err = j->err;
        s->st->failed = j->v;
        s->st->run_status = j->status;
        if (j->v->kind == VX_RUN)
                (void)snprintf(s->st->log_path, sizeof(s->st->log_path), "step-%u.log", j->v->id);
        events_post(s->b->events, BLD_EV_STEP_ERROR, j->v, j->err.msg, 0, 0);
        cancel_fire(&s->b->cancel, 2);
}

static void collect(struct solve *s)
{
        struct job *list;

        (void)pthread_mutex_lock(&s->lock);
        list = s->completed;
        s->completed = NULL;
        (void)pthread_mutex_unlock(&s->lock);
        while (list) {
                struct job *j = list;

                list = j->next;
                (void)pthread_join(j->thread, NULL);
                s->running--;
                s->running_steps -= j->step;
                if (j->r == 0 && j->again)
                        finish_missed(s, j);
                else if (j->r == 0)
                        finish_ok(s, j);
                else
                        finish_failed(s, j);
                free(j);
        }
}

/* Sleep until something completes, or the session is cancelled. */
static void wait_some(struct solve *s)
{
        int level = cancel_level(s->b->c->cancel);
        struct pollfd fds[] = {{.fd = s->done_fd, .events = POLLIN},
                               {.fd = level ? -1 : cancel_fd(s->b->c->cancel), .events = POLLIN}};
        uint64_t count;

        /* Once cancelled its fd stays readable: look for the second Ctrl-C by the clock. */
        (void)poll(fds, ARRAY_LEN(fds), level == 1 ? 50 : -1);
        if (fds[0].revents)
                (void)!read(s->done_fd, &count, sizeof(count));
        level = cancel_level(s->b->c->cancel);
        if (level > cancel_level(&s->b->cancel))
                cancel_fire(&s->b->cancel, level);
        if (level && s->r == 0)
                s->r = err_set(&s->err, BLD_E_CANCELLED, "cancelled");
}

static void announce(struct solve *s)
{
        for (size_t i = 0; i < s->g->v.n; i++) {
                struct vertex *v = s->g->v.v[i];

                if (!v->planned || v->kind == VX_LOCAL || !v->step)
                        continue;
                s->st->steps++;
                events_post(s->b->events, BLD_EV_STEP_PLAN, v, NULL, 0, 0);
        }
}

/* Steps that were never looked at stand below a hit. As long as that one is still to be brought
 * here, they may have to run after all. */
static void tell_cached(struct solve *s, bool all)
{
        for (size_t i = 0; i < s->g->v.n; i++) {
                struct vertex *v = s->g->v.v[i];

                if (!v->planned || v->kind == VX_LOCAL || !v->step || v->told)
                        continue;
                if ((v->state == VX_IDLE && all) || (v->cached && v->started_ns == 0)) {
                        events_post(s->b->events, BLD_EV_STEP_CACHED, v, NULL, 0, 0);
                        v->cached = v->told = true;
                }
        }
}

static bool bringing(const struct graph *g)
{
        for (size_t i = 0; i < g->v.n; i++)
                if (g->v.v[i]->remote && g->v.v[i]->state == VX_NEEDED)
                        return true;
        return false;
}

static void count_cached(struct solve *s)
{
        for (size_t i = 0; i < s->g->v.n; i++) {
                const struct vertex *v = s->g->v.v[i];

                if (v->planned && v->kind != VX_LOCAL && v->step)
                        s->st->cached += v->cached || v->state == VX_IDLE;
        }
}

static int solve_loop(struct solve *s, struct bld_err *err)
{
        int r = look_up(s, err);

        if (r < 0)
                return r;
        tell_cached(s, !bringing(s->g));
        remote_put_known(s->b, s->g);
        for (;;) {
                schedule(s);
                if (s->running == 0)
                        break;
                wait_some(s);
                collect(s);
        }
        tell_cached(s, s->r == 0);
        count_cached(s);
        if (s->r < 0)
                err_copy(err, &s->err);
        return s->r;
}

int solve_run(struct build *b, struct graph *g, struct solve_stats *st, struct bld_err *err)
{
        struct solve s = {.b = b, .g = g, .st = st, .done_fd = -1};
        long cpus = sysconf(_SC_NPROCESSORS_ONLN);
        int r;

        s.jobs = b->o->jobs ? b->o->jobs : (unsigned)MAX(cpus, 1L);
        s.done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (s.done_fd < 0)
                return err_sys(err, errno, "eventfd");
        (void)pthread_mutex_init(&s.lock, NULL);
        announce(&s);
        r = solve_loop(&s, err);
        (void)pthread_mutex_destroy(&s.lock);
        fd_close(&s.done_fd);
        return r;
}
