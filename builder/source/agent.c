#include "builder/source/agent_priv.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/sshkey.h"

#define AGENT_CONNS_MAX 16
#define AGENT_MESSAGE_MAX (256u << 10) /* as OpenSSH's own */

/* draft-miller-ssh-agent, section 5.1 */
enum {
        AGENT_FAILURE = 5,
        AGENT_LIST = 11,
        AGENT_KEYS = 12,
        AGENT_SIGN = 13,
        AGENT_SIGNATURE = 14,
        AGENT_EXTENSION = 27
};

struct conn {
        struct agent_proxy *p;
        pthread_t thread;
        int fd;
        bool used, done; /* done: the thread is at its end */
};

struct agent_proxy {
        const struct agent_source *source;
        int listen_fd;
        int stop_fd; /* eventfd: readable when all should end */
        pthread_t thread;
        pthread_mutex_t lock; /* guards conns[].done */
        struct conn conns[AGENT_CONNS_MAX];
};

/* ---- bytes ---- */

/* True when fd is ready; false when it is time to stop. */
static bool wait_for(int fd, short events, int stop_fd)
{
        struct pollfd fds[] = {{.fd = fd, .events = events}, {.fd = stop_fd, .events = POLLIN}};

        while (poll(fds, ARRAY_LEN(fds), -1) < 0)
                if (errno != EINTR)
                        return false;
        return !fds[1].revents && fds[0].revents;
}

static bool get(int fd, unsigned char *buf, size_t n, int stop_fd)
{
        while (n > 0) {
                ssize_t k = wait_for(fd, POLLIN, stop_fd) ? recv(fd, buf, n, MSG_DONTWAIT) : 0;

                if (k < 0 && (errno == EAGAIN || errno == EINTR))
                        continue;
                if (k <= 0)
                        return false;
                buf += k;
                n -= (size_t)k;
        }
        return true;
}

static bool put(int fd, const unsigned char *buf, size_t n, int stop_fd)
{
        while (n > 0) {
                ssize_t k = wait_for(fd, POLLOUT, stop_fd)
                                    ? send(fd, buf, n, MSG_DONTWAIT | MSG_NOSIGNAL)
                                    : 0;

                if (k < 0 && (errno == EAGAIN || errno == EINTR))
                        continue;
                if (k <= 0)
                        return false;
                buf += k;
                n -= (size_t)k;
        }
        return true;
}

/* A message with its length in front; its length, 0 at the end or when it is no message. */
static size_t get_message(int fd, unsigned char *buf, int stop_fd)
{
        size_t n;

        if (!get(fd, buf, 4, stop_fd))
                return 0;
        n = (size_t)buf[0] << 24 | (size_t)buf[1] << 16 | (size_t)buf[2] << 8 | buf[3];
        if (n == 0 || n > AGENT_MESSAGE_MAX || !get(fd, buf + 4, n, stop_fd))
                return 0;
        return n + 4;
}

/* ---- one connection ---- */

static int connect_to(const char *path)
{
        struct sockaddr_un to = {.sun_family = AF_UNIX};
        AUTO_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (fd < 0 || !str_copy(to.sun_path, sizeof(to.sun_path), path) ||
            connect(fd, (const struct sockaddr *)&to, sizeof(to)) < 0)
                return -1;
        return take_fd(&fd);
}

/* Requests and answers alternate. */
static void forward(struct conn *c, unsigned char *buf)
{
        static const unsigned char refused[] = {0, 0, 0, 1, AGENT_FAILURE};
        int stop = c->p->stop_fd;
        AUTO_FD int agent = connect_to(c->p->source->path);
        size_t n;

        while (agent >= 0 && (n = get_message(c->fd, buf, stop)) > 0) {
                bool allowed =
                        buf[4] == AGENT_LIST || buf[4] == AGENT_SIGN || buf[4] == AGENT_EXTENSION;

                if (!allowed) {
                        if (!put(c->fd, refused, sizeof(refused), stop))
                                return;
                        continue;
                }
                if (!put(agent, buf, n, stop) || (n = get_message(agent, buf, stop)) == 0 ||
                    !put(c->fd, buf, n, stop))
                        return;
        }
}

/* ---- being the agent ---- */

static void list_keys(const struct agent_source *s, struct sb *out)
{
        sb_char(out, AGENT_KEYS);
        ssh_put_u32(out, s->nkeys);
        for (size_t i = 0; i < s->nkeys; i++) {
                size_t n;
                const void *blob = ssh_key_public(s->keys[i], &n);

                ssh_put_string(out, blob, n);
                ssh_put_string(out, "", 0); /* comment: nothing that names the user's files */
        }
}

static bool sign(const struct agent_source *s, const unsigned char *request, size_t len,
                 struct sb *out)
{
        AUTO_SB struct sb signature = SB_INIT(AGENT_MESSAGE_MAX);
        struct ssh_reader r = {.p = request, .left = len};
        const unsigned char *blob, *data;
        size_t nblob, ndata;
        unsigned flags;

        blob = ssh_get_string(&r, &nblob);
        data = ssh_get_string(&r, &ndata);
        flags = ssh_get_u32(&r);
        for (size_t i = 0; i < s->nkeys && !r.bad; i++) {
                size_t n;
                const void *own = ssh_key_public(s->keys[i], &n);

                if (n != nblob || memcmp(own, blob, n) != 0)
                        continue;
                if (ssh_key_sign(s->keys[i], data, ndata, flags, &signature, NULL) < 0)
                        return false;
                sb_char(out, AGENT_SIGNATURE);
                ssh_put_string(out, signature.buf, signature.len);
                return true;
        }
        return false;
}

static void serve_keys(struct conn *c, unsigned char *buf)
{
        const struct agent_source *s = c->p->source;
        int stop = c->p->stop_fd;
        size_t n;

        while ((n = get_message(c->fd, buf, stop)) > 0) {
                AUTO_SB struct sb body = SB_INIT(AGENT_MESSAGE_MAX), out = SB_INIT(SIZE_MAX);

                if (buf[4] == AGENT_LIST)
                        list_keys(s, &body);
                else if (buf[4] != AGENT_SIGN || !sign(s, buf + 5, n - 5, &body))
                        sb_char(&body, AGENT_FAILURE);
                ssh_put_string(&out, body.buf, body.len);
                if (body.failed || out.failed ||
                    !put(c->fd, (const unsigned char *)out.buf, out.len, stop))
                        return;
        }
}

static void *conn_thread(void *arg)
{
        struct conn *c = arg;
        unsigned char *buf = mem_alloc(4 + AGENT_MESSAGE_MAX);

        if (buf && c->p->source->path)
                forward(c, buf);
        else if (buf)
                serve_keys(c, buf);
        free(buf);
        (void)shutdown(c->fd, SHUT_RDWR);
        (void)pthread_mutex_lock(&c->p->lock);
        c->done = true;
        (void)pthread_mutex_unlock(&c->p->lock);
        return NULL;
}

/* ---- listening ---- */

static void end_conn(struct conn *c)
{
        (void)pthread_join(c->thread, NULL);
        fd_close(&c->fd);
        c->used = c->done = false;
}

static struct conn *free_conn(struct agent_proxy *p)
{
        struct conn *found = NULL;

        for (size_t i = 0; i < AGENT_CONNS_MAX; i++) {
                struct conn *c = &p->conns[i];
                bool done;

                (void)pthread_mutex_lock(&p->lock);
                done = c->done;
                (void)pthread_mutex_unlock(&p->lock);
                if (c->used && done)
                        end_conn(c);
                if (!c->used && !found)
                        found = c;
        }
        return found;
}

static void *listen_thread(void *arg)
{
        struct agent_proxy *p = arg;

        while (wait_for(p->listen_fd, POLLIN, p->stop_fd)) {
                int fd = accept4(p->listen_fd, NULL, NULL, SOCK_CLOEXEC);
                struct conn *c = fd >= 0 ? free_conn(p) : NULL;

                if (!c) { /* too many at once, here or in this process: not in a circle */
                        fd_close(&fd);
                        (void)poll(&(struct pollfd){.fd = p->stop_fd, .events = POLLIN}, 1, 20);
                        continue;
                }
                c->p = p;
                c->fd = fd;
                c->used = pthread_create(&c->thread, NULL, conn_thread, c) == 0;
                if (!c->used)
                        fd_close(&c->fd);
        }
        for (size_t i = 0; i < AGENT_CONNS_MAX; i++)
                if (p->conns[i].used)
                        end_conn(&p->conns[i]);
        return NULL;
}

static int listen_at(int dirfd, int *ret, struct bld_err *err)
{
        struct sockaddr_un at = {.sun_family = AF_UNIX};
        AUTO_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        /* The store's path may be longer than an address. */
        (void)snprintf(at.sun_path, sizeof(at.sun_path), "/proc/self/fd/%d/agent", dirfd);
        if (fd < 0 || bind(fd, (const struct sockaddr *)&at, sizeof(at)) < 0 ||
            listen(fd, AGENT_CONNS_MAX) < 0)
                return err_sys(err, errno, "make the socket of an ssh agent");
        *ret = take_fd(&fd);
        return 0;
}

static void proxy_free(struct agent_proxy *p)
{
        fd_close(&p->listen_fd);
        fd_close(&p->stop_fd);
        (void)pthread_mutex_destroy(&p->lock);
        free(p);
}

int agent_proxy_start(int dirfd, const struct agent_source *source, struct agent_proxy **ret,
                      struct bld_err *err)
{
        struct agent_proxy *p = mem_zalloc(1, sizeof(*p));
        int r;

        if (!p)
                return err_nomem(err, "ssh agent");
        (void)pthread_mutex_init(&p->lock, NULL);
        p->listen_fd = -1;
        p->stop_fd = eventfd(0, EFD_CLOEXEC);
        for (size_t i = 0; i < AGENT_CONNS_MAX; i++)
                p->conns[i].fd = -1;
        p->source = source;
        if (p->stop_fd < 0)
                r = err_sys(err, errno, "eventfd");
        else
                r = listen_at(dirfd, &p->listen_fd, err);
        if (r == 0) {
                r = pthread_create(&p->thread, NULL, listen_thread, p);
                if (r)
                        r = err_sys(err, r, "start a thread");
        }
        if (r < 0) {
                proxy_free(p);
                return r;
        }
        *ret = p;
        return 0;
}

void agent_proxy_stop(struct agent_proxy *p)
{
        const uint64_t one = 1;

        if (!p)
                return;
        (void)!write(p->stop_fd, &one, sizeof(one));
        (void)pthread_join(p->thread, NULL);
        proxy_free(p);
}
