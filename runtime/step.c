/* The engine's side of a RUN step. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/num.h"
#include "runtime/runtime_priv.h"

#define GRACE_MS 10000 /* between SIGTERM and SIGKILL */
#define HURRY_MS 2000  /* for init to report after SIGKILL, before it is killed itself */

/* How far the ending of a step has come. */
enum ending { RUNNING, TERM_SENT, KILL_SENT, INIT_KILLED };

struct waiting {
        struct rt_task *t;
        const struct cancel *cancel;
        int64_t deadline_ns; /* of the timeout, then of the next stage; 0: none */
        enum ending stage;
        bool timed_out;
};

static int64_t left_ms(int64_t deadline_ns)
{
        int64_t left = deadline_ns - time_mono_ns();

        if (deadline_ns == 0)
                return -1;
        return left <= 0 ? 0 : left / 1000000 + 1;
}

static void next_stage(struct waiting *w)
{
        switch (w->stage) {
        case RUNNING:
                rt_task_signal(w->t, SIGTERM);
                w->stage = TERM_SENT;
                w->deadline_ns = time_mono_ns() + (int64_t)GRACE_MS * 1000000;
                break;
        case TERM_SENT:
                rt_task_signal(w->t, SIGKILL);
                w->stage = KILL_SENT;
                w->deadline_ns = time_mono_ns() + (int64_t)HURRY_MS * 1000000;
                break;
        case KILL_SENT:
        case INIT_KILLED:
                rt_task_kill(w->t);
                w->stage = INIT_KILLED;
                w->deadline_ns = 0;
                break;
        }
}

static int wait_step(struct waiting *w, int *ret_status, struct bld_err *err)
{
        int level = 0;

        for (;;) {
                /* A fired token stays readable: after the first level look at it by time. */
                int fd = level == 0 ? cancel_fd(w->cancel) : -1;
                int64_t ms = left_ms(w->deadline_ns);
                if (level == 1 && w->stage != INIT_KILLED && (ms < 0 || ms > 50))
                        ms = 50;
                int r = rt_task_poll(w->t, fd, ms, ret_status, err);
                if (r != 0)
                        return r;
                int now = cancel_level(w->cancel);
                if (now >= 2 && w->stage != INIT_KILLED) {
                        w->stage = KILL_SENT;
                        next_stage(w);
                } else if (now == 1 && w->stage == RUNNING) {
                        next_stage(w);
                } else if (w->deadline_ns && time_mono_ns() >= w->deadline_ns) {
                        if (w->stage == RUNNING)
                                w->timed_out = true;
                        next_stage(w);
                }
                level = now;
        }
}

static int check_step(const struct rt_step *s, struct bld_err *err)
{
        if (!s->argv || !s->argv[0])
                return err_set(err, BLD_E_INVALID, "arguments are required");
        if (s->nlowers > 500)
                return err_try(err,
                               err_set(err, BLD_E_LIMIT, "%zu layers, overlay takes at most 500",
                                       s->nlowers),
                               "squash the base image, or join RUN instructions");
        return 0;
}

/* Killed init leaves no record: what is known is that everything was killed. */
static int read_result(struct rt_task *t, int status, const struct waiting *w,
                       struct rt_result *res, struct bld_err *err)
{
        AUTO_SB struct sb b = SB_INIT(RT_CALL_MAX);
        struct bld_err mine = BLD_ERR_INIT;
        int r = rt_task_answer(t, status, &b, &mine);

        if (r == BLD_E_CHILD && w->stage == INIT_KILLED) {
                res->wait_status = SIGKILL;
                return 0;
        }
        if (r == BLD_E_CHILD)
                err_wrap(&mine, r, "the step's init process");
        if (r < 0) {
                if (err)
                        err_copy(err, &mine);
                return r;
        }
        return rt_result_decode(b.buf, b.len, res, err);
}

/* Was it for want of memory? A group of its own knows; without one, a kill at the time of a kill.
 */
static void judge_memory(struct rt_result *res, const struct rt_cgroup *group,
                         const struct rt_memory *before, const struct rt_memory *after)
{
        int status = res->wait_status;
        struct rt_memory own;
        /* Shells report a killed command as 128 + 9. */
        bool killed = (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) ||
                      (WIFEXITED(status) && WEXITSTATUS(status) == 137);

        rt_cgroup_memory(group, &own);
        res->memory_peak_bytes = own.peak_bytes;
        res->memory_limit_bytes = own.limit_bytes;
        if (res->timed_out || status == 0)
                return;
        if (own.known)
                res->oom = own.oom_kills > 0;
        else
                res->oom = killed && before->known && after->known &&
                           after->oom_kills > before->oom_kills;
}

int rt_step_run(struct rt_keeper *k, const struct rt_step *s, int out_fd, int err_fd,
                const struct cancel *cancel, struct rt_result *ret, struct bld_err *err)
{
        AUTO(rt_task_done) struct rt_task t = RT_TASK_INIT;
        AUTO_SB struct sb b = SB_INIT(RT_STEP_MAX);
        AUTO(rt_result_done) struct rt_result res = {0};
        AUTO(rt_cgroup_leave) struct rt_cgroup group = {0};
        int fds[2 + CGROUPS_MAX] = {out_fd, err_fd};
        struct waiting w = {.t = &t, .cancel = cancel};
        struct rt_memory before, after;
        int status = 0;
        int r;

        r = cancel_check(cancel, err);
        if (r == 0)
                r = check_step(s, err);
        if (r == 0)
                r = rt_step_encode(s, &b, err);
        if (r == 0)
                r = rt_cgroup_enter(s->resources, &group, err);
        if (r < 0)
                return r;
        for (size_t i = 0; i < group.n; i++)
                fds[2 + i] = group.v[i].procs_fd;
        rt_oom_read(&before);
        r = rt_task_start(k, ORDER_STEP, b.buf, b.len, fds, 2 + group.n, RT_CALL_MAX, &t, err);
        if (r < 0)
                return r;
        if (s->timeout_ms > 0)
                w.deadline_ns = time_mono_ns() + s->timeout_ms * 1000000;
        r = wait_step(&w, &status, err);
        if (r < 0)
                return r;
        r = read_result(&t, status, &w, &res, err);
        if (r < 0)
                return r;
        if (w.stage != RUNNING && !w.timed_out)
                return cancel_check(cancel, err);
        res.timed_out = w.timed_out;
        rt_oom_read(&after);
        judge_memory(&res, &group, &before, &after);
        *ret = res;
        memset(&res, 0, sizeof(res));
        return 0;
}
