#include "mock_http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/base.h"
#include "base/num.h"
#include "base/sb.h"

#define CONNS 32

struct conn {
        int fd;
        struct sb in;
        bool continued; /* 100 sent */
};

/* A copy of the steps: the test's own live in frames that end before the thread is done. */
struct script {
        struct script *next;
        struct mock_step *steps;
        size_t n;
};

struct mock {
        char host[32];
        int listen_fd, stop_pipe[2];
        pthread_t thread;
        pthread_mutex_t lock; /* guards what follows up to wrong */
        const struct mock_step *steps;
        struct script *scripts; /* all that were set */
        size_t at;
        unsigned used, requests;
        struct sb wrong;
        struct conn conns[CONNS];
};

static void send_all(int fd, const void *p, size_t n)
{
        const char *s = p;

        while (n > 0) {
                ssize_t w = send(fd, s, n, MSG_NOSIGNAL);

                if (w < 0 && errno == EINTR)
                        continue;
                if (w <= 0)
                        return; /* the client has gone, as some tests want */
                s += w;
                n -= (size_t)w;
        }
}

static void conn_close(struct conn *c, bool reset)
{
        if (reset) {
                struct linger l = {.l_onoff = 1};

                (void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
        } else {
                /* let the client read what was sent before its unread bytes cause a reset */
                char sink[4096];
                struct pollfd p = {.fd = c->fd, .events = POLLIN};

                (void)shutdown(c->fd, SHUT_WR);
                while (poll(&p, 1, 200) > 0 && read(c->fd, sink, sizeof(sink)) > 0)
                        ;
        }
        (void)close(c->fd);
        c->fd = -1;
        sb_done(&c->in);
}

static const struct mock_step *next_step(struct mock *m)
{
        const struct mock_step *s = NULL;

        (void)pthread_mutex_lock(&m->lock);
        m->requests++;
        if (m->steps && m->steps[m->at].request) {
                s = &m->steps[m->at];
                if (++m->used >= MAX(s->times, 1u)) {
                        m->at++;
                        m->used = 0;
                }
        }
        (void)pthread_mutex_unlock(&m->lock);
        return s;
}

static const struct mock_step *peek_step(struct mock *m)
{
        const struct mock_step *s;

        (void)pthread_mutex_lock(&m->lock);
        s = m->steps && m->steps[m->at].request ? &m->steps[m->at] : NULL;
        (void)pthread_mutex_unlock(&m->lock);
        return s;
}

static void check_locked(struct mock *m, const struct mock_step *s, const char *head,
                         const char *body)
{
        size_t n = strlen(s->request);
        bool start = s->request[n - 1] == '*';

        n -= start;
        if (strncmp(head, s->request, n) != 0 ||
            (!start && strncmp(head + n, " HTTP/1.1\r\n", 11) != 0))
                sb_fmt(&m->wrong, "expected \"%s\", got \"%.*s\"\n", s->request,
                       (int)strcspn(head, "\r"), head);
        for (size_t i = 0; i < ARRAY_LEN(s->has) && s->has[i]; i++)
                if (!strstr(head, s->has[i]))
                        sb_fmt(&m->wrong, "\"%s\" lacks \"%s\":\n%s\n", s->request, s->has[i],
                               head);
        for (size_t i = 0; i < ARRAY_LEN(s->hasnt) && s->hasnt[i]; i++)
                if (strcasestr(head, s->hasnt[i]))
                        sb_fmt(&m->wrong, "\"%s\" has \"%s\"\n", s->request, s->hasnt[i]);
        if (s->body_has && !strstr(body, s->body_has))
                sb_fmt(&m->wrong, "body of \"%s\" lacks \"%s\": %s\n", s->request, s->body_has,
                       body);
}

static void answer(struct conn *c, const struct mock_step *s, bool is_head)
{
        AUTO_SB struct sb out = SB_INIT(64u << 20);
        size_t n = s->body ? (s->body_len ? s->body_len : strlen(s->body)) : 0, send_n = n;

        if (s->how == MOCK_DROP) {
                conn_close(c, true);
                return;
        }
        if (s->how == MOCK_SILENT)
                return;
        if (s->how == MOCK_CUT || s->how == MOCK_STALL)
                send_n = s->cut;
        sb_fmt(&out, "HTTP/1.1 %d X\r\n", s->status);
        if (!s->no_length && !(is_head && s->headers && strcasestr(s->headers, "content-length")))
                sb_fmt(&out, "Content-Length: %zu\r\n", n);
        sb_fmt(&out, "%s\r\n", s->headers ? s->headers : "");
        if (!is_head && send_n > 0)
                sb_add(&out, s->body, send_n);
        send_all(c->fd, out.buf, out.len);
        if (s->how == MOCK_CUT || s->how == MOCK_EARLY || s->no_length)
                conn_close(c, false);
}

/* Serve what is complete in the buffer. */
static void serve(struct mock *m, struct conn *c)
{
        while (c->fd >= 0 && c->in.len > 0) {
                AUTO_FREE char *head = NULL, *body = NULL;
                const struct mock_step *s;
                char *end, *length;
                uint64_t need = 0;
                size_t head_len;

                if (c->in.buf[0] == 0x16) { /* TLS */
                        static const char plain[] = "HTTP/1.0 400 Bad Request\r\n\r\n";

                        send_all(c->fd, plain, sizeof(plain) - 1);
                        conn_close(c, false);
                        return;
                }
                end = memmem(c->in.buf, c->in.len, "\r\n\r\n", 4);
                if (!end)
                        return;
                head_len = (size_t)(end - c->in.buf) + 4;
                head = mem_strndup(c->in.buf, head_len);
                length = strcasestr(head, "\r\nContent-Length: ");
                if (length) {
                        AUTO_FREE char *num = mem_strndup(length + 18, strcspn(length + 18, "\r"));

                        (void)parse_u64(num, 0, UINT64_MAX, &need);
                }
                s = peek_step(m);
                if (!(s && s->how == MOCK_EARLY)) {
                        if (strcasestr(head, "Expect: 100-continue") && !c->continued) {
                                send_all(c->fd, "HTTP/1.1 100 Continue\r\n\r\n", 25);
                                c->continued = true;
                        }
                        if (c->in.len < head_len + need)
                                return;
                        body = mem_strndup(c->in.buf + head_len, (size_t)need);
                }
                s = next_step(m);
                if (!s) {
                        (void)pthread_mutex_lock(&m->lock);
                        sb_fmt(&m->wrong, "unexpected \"%.*s\"\n", (int)strcspn(head, "\r"), head);
                        (void)pthread_mutex_unlock(&m->lock);
                        conn_close(c, true);
                        return;
                }
                (void)pthread_mutex_lock(&m->lock);
                check_locked(m, s, head, body ? body : "");
                (void)pthread_mutex_unlock(&m->lock);
                c->continued = false;
                {
                        size_t used = MIN(head_len + (size_t)need, c->in.len);

                        memmove(c->in.buf, c->in.buf + used, c->in.len - used);
                        sb_cut(&c->in, c->in.len - used);
                }
                answer(c, s, strncmp(head, "HEAD ", 5) == 0);
        }
}

static void take_bytes(struct mock *m, struct conn *c)
{
        char buf[65536];
        ssize_t n = read(c->fd, buf, sizeof(buf));

        if (n <= 0) {
                (void)close(c->fd);
                c->fd = -1;
                sb_done(&c->in);
                return;
        }
        sb_add(&c->in, buf, (size_t)n);
        serve(m, c);
}

static void take_conn(struct mock *m)
{
        int fd = accept4(m->listen_fd, NULL, NULL, SOCK_CLOEXEC);

        for (size_t i = 0; fd >= 0 && i < CONNS; i++) {
                if (m->conns[i].fd >= 0)
                        continue;
                m->conns[i] = (struct conn){.fd = fd, .in = SB_INIT(128u << 20)};
                return;
        }
        if (fd >= 0)
                (void)close(fd);
}

static void *mock_main(void *arg)
{
        struct mock *m = arg;

        for (;;) {
                struct pollfd p[CONNS + 2] = {
                        {.fd = m->stop_pipe[0], .events = POLLIN},
                        {.fd = m->listen_fd, .events = POLLIN},
                };

                for (size_t i = 0; i < CONNS; i++)
                        p[i + 2] = (struct pollfd){.fd = m->conns[i].fd, .events = POLLIN};
                if (poll(p, ARRAY_LEN(p), -1) < 0)
                        continue;
                if (p[0].revents)
                        return NULL;
                for (size_t i = 0; i < CONNS; i++)
                        if (p[i + 2].fd >= 0 && p[i + 2].revents)
                                take_bytes(m, &m->conns[i]);
                if (p[1].revents)
                        take_conn(m);
        }
}

struct mock *mock_start(void)
{
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        struct mock *m = calloc(1, sizeof(*m));
        socklen_t len = sizeof(a);

        if (!m)
                abort();
        for (size_t i = 0; i < CONNS; i++)
                m->conns[i].fd = -1;
        m->wrong = SB_INIT(64u << 10);
        (void)pthread_mutex_init(&m->lock, NULL);
        m->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (m->listen_fd < 0 || bind(m->listen_fd, (struct sockaddr *)&a, len) != 0 ||
            listen(m->listen_fd, 32) != 0 ||
            getsockname(m->listen_fd, (struct sockaddr *)&a, &len) != 0 ||
            pipe2(m->stop_pipe, O_CLOEXEC) != 0)
                abort();
        (void)snprintf(m->host, sizeof(m->host), "127.0.0.1:%d", ntohs(a.sin_port));
        if (pthread_create(&m->thread, NULL, mock_main, m) != 0)
                abort();
        return m;
}

const char *mock_host(const struct mock *m)
{
        return m->host;
}

static void copy_text(const char **s)
{
        if (*s && !(*s = strdup(*s)))
                abort();
}

static void copy_step(struct mock_step *s)
{
        if (s->body) {
                size_t n = s->body_len ? s->body_len : strlen(s->body);
                char *body = calloc(1, n + 1);

                if (!body)
                        abort();
                memcpy(body, s->body, n);
                s->body = body;
                s->body_len = n;
        }
        copy_text(&s->request);
        copy_text(&s->headers);
        copy_text(&s->body_has);
        for (size_t i = 0; i < ARRAY_LEN(s->has); i++) {
                copy_text(&s->has[i]);
                copy_text(&s->hasnt[i]);
        }
}

static void free_text(const char *s)
{
        union {
                const char *c;
                char *p;
        } u = {s};

        free(u.p);
}

static void free_scripts(struct script *k)
{
        while (k) {
                struct script *next = k->next;

                for (size_t i = 0; i < k->n; i++) {
                        free_text(k->steps[i].request);
                        free_text(k->steps[i].headers);
                        free_text(k->steps[i].body);
                        free_text(k->steps[i].body_has);
                        for (size_t j = 0; j < ARRAY_LEN(k->steps[i].has); j++) {
                                free_text(k->steps[i].has[j]);
                                free_text(k->steps[i].hasnt[j]);
                        }
                }
                free(k->steps);
                free(k);
                k = next;
        }
}

void mock_script(struct mock *m, const struct mock_step *steps)
{
        struct script *k = calloc(1, sizeof(*k));

        if (!k)
                abort();
        while (steps[k->n].request)
                k->n++;
        k->steps = calloc(k->n + 1, sizeof(*steps));
        if (!k->steps)
                abort();
        memcpy(k->steps, steps, k->n * sizeof(*steps));
        for (size_t i = 0; i < k->n; i++)
                copy_step(&k->steps[i]);
        (void)pthread_mutex_lock(&m->lock);
        if (m->steps && m->steps[m->at].request && !m->steps[m->at].optional)
                sb_fmt(&m->wrong, "never asked: \"%s\"\n", m->steps[m->at].request);
        k->next = m->scripts;
        m->scripts = k;
        m->steps = k->steps;
        m->at = 0;
        m->used = 0;
        (void)pthread_mutex_unlock(&m->lock);
}

unsigned mock_requests(struct mock *m)
{
        unsigned n;

        (void)pthread_mutex_lock(&m->lock);
        n = m->requests;
        (void)pthread_mutex_unlock(&m->lock);
        return n;
}

char *mock_stop(struct mock *m)
{
        char *wrong = NULL;

        (void)!write(m->stop_pipe[1], "", 1);
        (void)pthread_join(m->thread, NULL);
        if (m->steps && m->steps[m->at].request && !m->steps[m->at].optional)
                sb_fmt(&m->wrong, "never asked: \"%s\"\n", m->steps[m->at].request);
        for (size_t i = 0; i < CONNS; i++) {
                if (m->conns[i].fd >= 0)
                        (void)close(m->conns[i].fd);
                sb_done(&m->conns[i].in);
        }
        (void)close(m->listen_fd);
        (void)close(m->stop_pipe[0]);
        (void)close(m->stop_pipe[1]);
        free_scripts(m->scripts);
        if (m->wrong.len > 0)
                wrong = sb_take(&m->wrong);
        sb_done(&m->wrong);
        (void)pthread_mutex_destroy(&m->lock);
        free(m);
        return wrong;
}
