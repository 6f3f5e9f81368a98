/* Events and step logs: order, one thread, output by reference, the last lines of a log. */
#include "tests/unit/builder_step.h"

#include <pthread.h>

#include "builder/graph/events_priv.h"

struct heard {
        struct sb text; /* one line per event */
        pthread_t thread;
        bool several, slow;
        size_t bytes, logs;
        size_t begun;
        pthread_mutex_t lock; /* guards begun */
        pthread_cond_t started;
        bool go;
};

static void hear(void *user, const struct bld_event *e)
{
        static const char *const names[] = {"start",   "plan",     "step", "cached",
                                            "status",  "log",      "done", "error",
                                            "warning", "transfer", "end"};
        struct heard *h = user;

        h->several = h->several || (h->thread && !pthread_equal(h->thread, pthread_self()));
        h->thread = pthread_self();
        if (h->slow) { /* the first event waits until the test has posted all others */
                h->slow = false;
                (void)pthread_mutex_lock(&h->lock);
                while (!h->go)
                        (void)pthread_cond_wait(&h->started, &h->lock);
                (void)pthread_mutex_unlock(&h->lock);
        }
        sb_str(&h->text, names[e->type]);
        if (e->step)
                sb_fmt(&h->text, " [%s]", e->step);
        if (e->text)
                sb_fmt(&h->text, " %s", e->text);
        if (e->total)
                sb_fmt(&h->text, " %u/%u", (unsigned)e->done, (unsigned)e->total);
        if (e->type == BLD_EV_WARNING)
                sb_fmt(&h->text, " line %u", e->line);
        for (size_t i = 0; e->type == BLD_EV_STEP_PLAN && e->inputs && e->inputs[i]; i++)
                sb_fmt(&h->text, " <- %.14s", e->inputs[i]);
        if (e->type == BLD_EV_STEP_LOG) {
                sb_fmt(&h->text, " %d ", e->stream);
                if (e->len < 100)
                        sb_escaped(&h->text, e->data, e->len);
                h->bytes += e->len;
                h->logs++;
        }
        sb_char(&h->text, '\n');
}

struct ctx {
        struct fix *f;
        struct cas_build *b;
        struct heard h;
        struct events *ev;
        struct vertex base, step;
        struct vertex *inputs[2];
};

static int up(void **state)
{
        struct ctx *c = calloc(1, sizeof(*c));
        static char stage[] = "deps 1/2", base[] = "deps 2/2", name[] = "RUN x";

        if (!c || fix_up((void **)&c->f) < 0 || cas_build_begin(c->f->cas[0], &c->b, NULL) < 0)
                return -1;
        c->h.text = SB_INIT(1u << 22);
        (void)pthread_mutex_init(&c->h.lock, NULL);
        (void)pthread_cond_init(&c->h.started, NULL);
        c->base.kind = VX_MKDIR;
        c->base.step = stage;
        c->base.name = name;
        digest_of("x", 1, &c->base.key);
        c->step.kind = VX_RUN;
        c->step.id = 1;
        c->step.step = base;
        c->step.name = name;
        c->step.inputs = c->inputs;
        c->inputs[1] = &c->base;
        c->step.ninputs = 2;
        *state = c;
        return 0;
}

static int down(void **state)
{
        struct ctx *c = *state;
        void *f = c->f;

        cas_build_end(c->b, false);
        sb_done(&c->h.text);
        (void)pthread_mutex_destroy(&c->h.lock);
        (void)pthread_cond_destroy(&c->h.started);
        free(c);
        return fix_down(&f);
}

static void begin(struct ctx *c, bool heard)
{
        OK(events_new(heard ? hear : NULL, &c->h, cas_build_dirfd(c->b), "Dockerfile", &c->ev,
                      err));
}

static void in_order(void **state)
{
        struct ctx *c = *state;

        begin(c, true);
        events_post(c->ev, BLD_EV_BUILD_START, NULL, "id", 0, 0);
        events_post(c->ev, BLD_EV_STEP_PLAN, &c->base, NULL, 0, 0);
        events_post(c->ev, BLD_EV_STEP_PLAN, &c->step, NULL, 0, 0);
        events_warning(c->ev, 7, "careful");
        events_post(c->ev, BLD_EV_STEP_START, &c->step, NULL, 0, 0);
        events_post(c->ev, BLD_EV_STEP_STATUS, &c->step, "layer", 5, 10);
        events_exit(c->ev, &c->step, 0);
        events_post(c->ev, BLD_EV_BUILD_END, NULL, NULL, 0, 0);
        events_free(c->ev);
        assert_string_equal(
                sb_text(&c->h.text),
                "start id\nplan [deps 1/2]\nplan [deps 2/2] <- sha256:2d71164\n"
                "warning careful line 7\nstep [deps 2/2]\nstatus [deps 2/2] layer 5/10\n"
                "done [deps 2/2]\nend\n");
        assert_false(c->h.several);
        assert_false(pthread_equal(c->h.thread, pthread_self()));
}

/* Nobody listens: nothing is queued, logs are written all the same. */
static void no_listener(void **state)
{
        struct ctx *c = *state;
        struct step_log *l = NULL;
        AUTO_SB struct sb text = SB_INIT(1000);
        AUTO_FD int fd = -1;

        begin(c, false);
        events_post(c->ev, BLD_EV_STEP_START, &c->step, NULL, 0, 0);
        OK(step_log_open(c->ev, &c->step, &l, err));
        OK(step_log_write(l, 1, "out\n", 4, err));
        assert_string_equal(step_log_path(l), "step-1.log");
        step_log_close(l);
        events_free(c->ev);
        fd = openat(cas_build_dirfd(c->b), "step-1.log", O_RDONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        OK(fd_read_all(fd, &text, "log", err));
        assert_string_equal(sb_text(&text), "out\n");
        assert_int_equal(c->h.text.len, 0);
}

static void logs(void **state)
{
        struct ctx *c = *state;
        struct step_log *l = NULL;

        begin(c, true);
        OK(step_log_open(c->ev, &c->step, &l, err));
        OK(step_log_write(l, 1, "one\n", 4, err));
        events_post(c->ev, BLD_EV_STEP_STATUS, &c->step, "between", 0, 0);
        OK(step_log_write(l, 2, "two\n", 4, err));
        step_log_close(l);
        events_exit(c->ev, &c->step, 0);
        events_free(c->ev);
        assert_string_equal(sb_text(&c->h.text),
                            "log [deps 2/2] 1 one\\n\nstatus [deps 2/2] between\n"
                            "log [deps 2/2] 2 two\\n\ndone [deps 2/2]\n");
}

/* While the view is busy, output joins into ranges: no memory per line, and not a byte is lost. */
static void slow_view(void **state)
{
        enum { LINES = 20000 };
        struct ctx *c = *state;
        struct step_log *l = NULL;
        size_t wrote = 0;

        c->h.slow = true;
        begin(c, true);
        events_post(c->ev, BLD_EV_STEP_START, &c->step, NULL, 0, 0);
        OK(step_log_open(c->ev, &c->step, &l, err));
        for (int i = 0; i < LINES; i++) {
                char line[40];
                int n = snprintf(line, sizeof(line), "line %d\n", i);

                OK(step_log_write(l, 1, line, (size_t)n, err));
                wrote += (size_t)n;
        }
        (void)pthread_mutex_lock(&c->h.lock);
        c->h.go = true;
        (void)pthread_cond_signal(&c->h.started);
        (void)pthread_mutex_unlock(&c->h.lock);
        step_log_close(l);
        events_free(c->ev);
        assert_int_equal(c->h.bytes, wrote);
        assert_true(c->h.logs < LINES / 100);
}

static void tails(void **state)
{
        static const struct {
                const char *name, *text;
                size_t lines;
                const char *want;
                size_t total;
        } rows[] = {
                {"nothing", "", 3, "", 0},
                {"one", "a\n", 3, "\n     | a", 1},
                {"no newline at the end", "a\nb", 3, "\n     | a\n     | b", 1},
                {"the last of many", "a\nb\nc\nd\n", 2, "\n     | c\n     | d", 4},
                {"exactly as many", "a\nb\n", 2, "\n     | a\n     | b", 2},
                {"carriage returns and escapes", "a\r\n\x1b[31mred\n", 2,
                 "\n     | a\n     | \\x1b[31mred", 2},
                {"empty lines", "a\n\n\n", 2, "\n     | \n     | ", 3},
        };
        struct ctx *c = *state;

        begin(c, false);
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                AUTO_SB struct sb got = SB_INIT(10000);
                struct step_log *l = NULL;
                size_t total = 99;

                print_message("%s\n", rows[i].name);
                OK(step_log_open(c->ev, &c->step, &l, err));
                OK(step_log_write(l, 1, rows[i].text, strlen(rows[i].text), err));
                step_log_tail(l, rows[i].lines, &got, &total);
                assert_string_equal(sb_text(&got), rows[i].want);
                assert_int_equal(total, rows[i].total);
                step_log_close(l);
        }
        events_free(c->ev);
}

/* However much was written, the tail is of the end. */
static void long_tail(void **state)
{
        struct ctx *c = *state;
        AUTO_SB struct sb got = SB_INIT(10000);
        struct step_log *l = NULL;
        char big[9000];
        size_t total = 0;

        begin(c, false);
        memset(big, 'x', sizeof(big));
        OK(step_log_open(c->ev, &c->step, &l, err));
        for (int i = 0; i < 50; i++) {
                OK(step_log_write(l, 1, big, sizeof(big), err));
                OK(step_log_write(l, 1, "\n", 1, err));
        }
        OK(step_log_write(l, 2, "last\n", 5, err));
        step_log_tail(l, 2, &got, &total);
        assert_int_equal(total, 51);
        assert_true(str_has_suffix(sb_text(&got), "\n     | last"));
        assert_true(got.len < 200);
        step_log_close(l);
        events_free(c->ev);
}

struct poster {
        struct ctx *c;
        int id;
};

static void *post_many(void *p)
{
        struct poster *x = p;

        for (int i = 0; i < 500; i++) {
                char text[40];

                (void)snprintf(text, sizeof(text), "%d:%d", x->id, i);
                events_post(x->c->ev, BLD_EV_STEP_STATUS, &x->c->step, text, 0, 0);
        }
        return NULL;
}

/* From several threads: all of them, each thread's in its own order. */
static void many_threads(void **state)
{
        struct ctx *c = *state;
        struct poster x[4];
        pthread_t t[4];
        int next[4] = {0}, n = 0;

        begin(c, true);
        for (int i = 0; i < 4; i++) {
                x[i] = (struct poster){c, i};
                assert_int_equal(pthread_create(&t[i], NULL, post_many, &x[i]), 0);
        }
        for (int i = 0; i < 4; i++)
                assert_int_equal(pthread_join(t[i], NULL), 0);
        events_free(c->ev);
        for (const char *p = sb_text(&c->h.text); *p; p = strchr(p, '\n') + 1, n++) {
                int id = -1, i = -1;

                assert_int_equal(sscanf(p, "status [deps 2/2] %d:%d", &id, &i), 2);
                assert_int_equal(i, next[id]++);
        }
        assert_int_equal(n, 2000);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(in_order, up, down),
                cmocka_unit_test_setup_teardown(no_listener, up, down),
                cmocka_unit_test_setup_teardown(logs, up, down),
                cmocka_unit_test_setup_teardown(slow_view, up, down),
                cmocka_unit_test_setup_teardown(tails, up, down),
                cmocka_unit_test_setup_teardown(long_tail, up, down),
                cmocka_unit_test_setup_teardown(many_threads, up, down),
        };

        return cmocka_run_group_tests_name("builder/events", tests, NULL, NULL);
}
