#include "builder/graph/events_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/num.h"
#include "base/sys.h"

#define LOG_CHUNK 65536u

struct queued {
        struct queued *next;
        enum bld_event_type type;
        const struct vertex *v;
        char *text;
        char **inputs; /* PLAN: keys */
        unsigned line;
        uint64_t done, total;
        int64_t time_ns, elapsed_ms;
        int exit_status;
        unsigned steps_total;
        /* LOG: a range of the step's file */
        int stream, fd;
        uint64_t off, len;
};

struct events {
        void (*callback)(void *, const struct bld_event *);
        void *user;
        int dirfd;
        char *file;
        pthread_mutex_t lock; /* guards everything below */
        pthread_cond_t more;
        struct queued *head, *tail;
        bool closing;
        unsigned steps_total;
        bool started;
        pthread_t thread;
};

struct step_log {
        struct events *ev;
        const struct vertex *v;
        char path[64];
        int fd;      /* appended here; the view thread reads through its own duplicate */
        int view_fd; /* closed by the view thread's last event of the step */
        uint64_t size;
        size_t lines;
        char recent[4096]; /* ring of the last bytes, for the error message */
        uint64_t recent_end;
};

static void queued_free(struct queued *q)
{
        if (!q)
                return;
        for (size_t i = 0; q->inputs && q->inputs[i]; i++)
                free(q->inputs[i]);
        free(q->inputs);
        free(q->text);
        free(q);
}

/* ---- the view thread ---- */

static void deliver(struct events *ev, const struct queued *q, const char *data, size_t len)
{
        char key[DIGEST_STR_MAX] = "";
        const struct vertex *v = q->v;
        struct bld_event e = {.type = q->type,
                              .file = ev->file,
                              .line = q->line,
                              .text = q->text,
                              .data = data,
                              .len = len,
                              .stream = q->stream,
                              .done = q->done,
                              .total = q->total,
                              .time_ns = q->time_ns,
                              .elapsed_ms = q->elapsed_ms,
                              .exit_status = q->exit_status,
                              .inputs = (const char *const *)q->inputs,
                              .steps_total = q->steps_total};

        if (v) {
                e.step = v->step;
                e.name = v->name;
                e.line = v->line;
                digest_format(&v->key, key);
                e.digest = key;
        }
        ev->callback(ev->user, &e);
}

static void deliver_log(struct events *ev, const struct queued *q)
{
        char *buf = mem_alloc(LOG_CHUNK);
        uint64_t off = q->off, left = q->len;

        while (buf && left > 0) {
                ssize_t n =
                        sys_pread(q->fd, buf, (size_t)MIN(left, (uint64_t)LOG_CHUNK), (int64_t)off);

                if (n <= 0)
                        break; /* the file is ours; there is nothing better to do than go on */
                deliver(ev, q, buf, (size_t)n);
                off += (uint64_t)n;
                left -= (uint64_t)n;
        }
        free(buf);
}

static void *view(void *p)
{
        struct events *ev = p;

        for (;;) {
                struct queued *q;

                (void)pthread_mutex_lock(&ev->lock);
                while (!ev->head && !ev->closing)
                        (void)pthread_cond_wait(&ev->more, &ev->lock);
                q = ev->head;
                if (q) {
                        ev->head = q->next;
                        if (!ev->head)
                                ev->tail = NULL;
                }
                (void)pthread_mutex_unlock(&ev->lock);
                if (!q)
                        return NULL;
                if (q->type == BLD_EV_STEP_LOG && q->len == 0)
                        (void)close(q->fd); /* the step's log is complete */
                else if (q->type == BLD_EV_STEP_LOG)
                        deliver_log(ev, q);
                else
                        deliver(ev, q, NULL, 0);
                queued_free(q);
        }
}

int events_new(void (*callback)(void *, const struct bld_event *), void *user, int dirfd,
               const char *file, struct events **ret, struct bld_err *err)
{
        struct events *ev = mem_zalloc(1, sizeof(*ev));
        int r;

        if (!ev)
                return err_nomem(err, "events");
        ev->callback = callback;
        ev->user = user;
        ev->dirfd = dirfd;
        ev->file = mem_strdup(file ? file : "Dockerfile");
        (void)pthread_mutex_init(&ev->lock, NULL);
        (void)pthread_cond_init(&ev->more, NULL);
        if (!ev->file) {
                events_free(ev);
                return err_nomem(err, "events");
        }
        if (callback) {
                r = pthread_create(&ev->thread, NULL, view, ev);
                if (r) {
                        events_free(ev);
                        return err_sys(err, r, "start a thread");
                }
                ev->started = true;
        }
        *ret = ev;
        return 0;
}

void events_free(struct events *ev)
{
        if (!ev)
                return;
        (void)pthread_mutex_lock(&ev->lock);
        ev->closing = true;
        (void)pthread_cond_signal(&ev->more);
        (void)pthread_mutex_unlock(&ev->lock);
        if (ev->started)
                (void)pthread_join(ev->thread, NULL);
        while (ev->head) {
                struct queued *q = ev->head;

                ev->head = q->next;
                queued_free(q);
        }
        (void)pthread_cond_destroy(&ev->more);
        (void)pthread_mutex_destroy(&ev->lock);
        free(ev->file);
        free(ev);
}

/* ---- posting ---- */

/* Takes q. Losing an event for lack of memory loses a line on the screen, nothing else. */
static void post(struct events *ev, struct queued *q)
{
        if (!q)
                return;
        q->time_ns = time_now_ns();
        if (q->v && q->v->started_ns)
                q->elapsed_ms = (time_mono_ns() - q->v->started_ns) / 1000000;
        (void)pthread_mutex_lock(&ev->lock);
        if (q->type == BLD_EV_STEP_PLAN)
                ev->steps_total++;
        q->steps_total = ev->steps_total;
        if (q->type == BLD_EV_STEP_LOG && q->len && ev->tail && ev->tail->type == BLD_EV_STEP_LOG &&
            ev->tail->fd == q->fd && ev->tail->stream == q->stream &&
            ev->tail->off + ev->tail->len == q->off) {
                ev->tail->len += q->len; /* not delivered yet: one range, whatever its size */
                queued_free(q);
        } else {
                if (ev->tail)
                        ev->tail->next = q;
                else
                        ev->head = q;
                ev->tail = q;
                (void)pthread_cond_signal(&ev->more);
        }
        (void)pthread_mutex_unlock(&ev->lock);
}

static char **input_keys(const struct vertex *v)
{
        char **keys = mem_zalloc(v->ninputs + 1, sizeof(*keys));
        size_t n = 0;

        for (size_t i = 0; keys && i < v->ninputs; i++) {
                char text[DIGEST_STR_MAX];

                if (!v->inputs[i] || v->inputs[i]->kind == VX_LOCAL)
                        continue;
                digest_format(&v->inputs[i]->key, text);
                keys[n] = mem_strdup(text);
                n += keys[n] != NULL;
        }
        return keys;
}

/* NULL when nobody listens, or without memory: an event is lost, never a build. */
static struct queued *queued_new(const struct events *ev, enum bld_event_type type)
{
        struct queued *q = ev->callback ? mem_zalloc(1, sizeof(*q)) : NULL;

        if (q)
                q->type = type;
        return q;
}

void events_post(struct events *ev, enum bld_event_type type, const struct vertex *v,
                 const char *text, uint64_t done, uint64_t total)
{
        struct queued *q = queued_new(ev, type);

        if (!q)
                return;
        q->v = v;
        q->text = text ? mem_strdup(text) : NULL;
        q->done = done;
        q->total = total;
        if (type == BLD_EV_STEP_PLAN)
                q->inputs = input_keys(v);
        post(ev, q);
}

void events_transfer(void *user, const char *what, uint64_t done, uint64_t total)
{
        const struct step_meter *m = user;

        events_post(m->ev, BLD_EV_STEP_STATUS, m->v, what, done, total);
}

void events_warning(struct events *ev, unsigned line, const char *text)
{
        struct queued *q = queued_new(ev, BLD_EV_WARNING);

        if (!q)
                return;
        q->line = line;
        q->text = mem_strdup(text);
        post(ev, q);
}

void events_exit(struct events *ev, const struct vertex *v, int status)
{
        struct queued *q = queued_new(ev, BLD_EV_STEP_DONE);

        if (!q)
                return;
        q->v = v;
        q->exit_status = status;
        post(ev, q);
}

/* ---- step logs ---- */

int step_log_open(struct events *ev, const struct vertex *v, struct step_log **ret,
                  struct bld_err *err)
{
        struct step_log *l = mem_zalloc(1, sizeof(*l));

        if (!l)
                return err_nomem(err, "step log");
        l->ev = ev;
        l->v = v;
        l->view_fd = -1;
        (void)snprintf(l->path, sizeof(l->path), "step-%u.log", v->id);
        l->fd = sys_openat(ev->dirfd, l->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (l->fd < 0) {
                int e = errno;

                free(l);
                return err_sys(err, e, "create the log of a step");
        }
        if (ev->callback)
                l->view_fd = fcntl(l->fd, F_DUPFD_CLOEXEC, 0);
        *ret = l;
        return 0;
}

static void remember(struct step_log *l, const char *p, size_t n)
{
        const size_t cap = sizeof(l->recent);

        for (size_t i = 0; i < n; i++)
                l->lines += p[i] == '\n';
        if (n > cap) {
                l->recent_end += n - cap;
                p += n - cap;
                n = cap;
        }
        for (size_t i = 0; i < n; i++)
                l->recent[l->recent_end++ % cap] = p[i];
}

int step_log_write(struct step_log *l, int stream, const void *p, size_t n, struct bld_err *err)
{
        struct queued *q = NULL;
        int r = fd_write_all(l->fd, p, n, err);

        remember(l, p, n);
        if (r < 0)
                return r;
        if (l->view_fd >= 0)
                q = mem_zalloc(1, sizeof(*q));
        if (q) {
                q->type = BLD_EV_STEP_LOG;
                q->v = l->v;
                q->stream = stream;
                q->fd = l->view_fd;
                q->off = l->size;
                q->len = n;
                post(l->ev, q);
        }
        l->size += n;
        return 0;
}

void step_log_tail(struct step_log *l, size_t lines, struct sb *out, size_t *ret_total)
{
        const size_t cap = sizeof(l->recent);
        uint64_t begin = l->recent_end > cap ? l->recent_end - cap : 0, at = l->recent_end;
        size_t seen = 0;

        *ret_total = l->lines;
        if (at > begin && l->recent[(at - 1) % cap] == '\n')
                at--;
        uint64_t end = at;

        while (at > begin && seen < lines) {
                if (l->recent[(at - 1) % cap] == '\n' && ++seen == lines)
                        break;
                at--;
        }
        /* Each line is shown cut, so that the newest ones always fit. */
        for (bool more = l->recent_end > 0; more; at++) {
                char line[90];
                size_t n = 0;

                for (; at < end && l->recent[at % cap] != '\n'; at++)
                        if (n < sizeof(line) && l->recent[at % cap] != '\r')
                                line[n++] = l->recent[at % cap];
                sb_str(out, "\n     | ");
                sb_escaped(out, line, n);
                more = at < end;
        }
}

const char *step_log_path(const struct step_log *l)
{
        return l->path;
}

void step_log_close(struct step_log *l)
{
        struct queued *q;

        if (!l)
                return;
        if (l->view_fd >= 0) {
                q = mem_zalloc(1, sizeof(*q));
                if (q) { /* the view thread closes it after the last range */
                        q->type = BLD_EV_STEP_LOG;
                        q->fd = l->view_fd;
                        q->v = l->v;
                        post(l->ev, q);
                }
        }
        fd_close(&l->fd);
        free(l);
}
