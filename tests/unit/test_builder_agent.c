/* The agent behind RUN --mount=type=ssh: what passes, what does not, and that it ends. */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/path.h"
#include "builder/source/agent_priv.h"

/* An agent that answers every request with what it got, and remembers the types. */
struct fake {
        char dir[200], path[240];
        int dirfd, listen_fd;
        pthread_t thread;
        unsigned char types[64];
        size_t n;
};

static bool read_all(int fd, void *buf, size_t n)
{
        size_t got = 0;

        return fd_read_full(fd, buf, n, &got, NULL) == 0 && got == n;
}

static void *agent_thread(void *arg)
{
        struct fake *f = arg;
        int fd;

        while ((fd = accept(f->listen_fd, NULL, NULL)) >= 0) {
                unsigned char head[4], body[1024];

                while (read_all(fd, head, 4)) {
                        size_t n = (size_t)head[2] << 8 | head[3];

                        if (n > sizeof(body) || !read_all(fd, body, n) || f->n == sizeof(f->types))
                                break;
                        f->types[f->n++] = body[0];
                        body[0] = 12;
                        if (fd_write_all(fd, head, 4, NULL) < 0 ||
                            fd_write_all(fd, body, n, NULL) < 0)
                                break;
                }
                (void)close(fd);
        }
        return NULL;
}

static int up(void **state)
{
        struct fake *f = calloc(1, sizeof(*f));
        struct sockaddr_un at = {.sun_family = AF_UNIX};
        const char *tmp = getenv("TMPDIR");

        (void)snprintf(f->dir, sizeof(f->dir), "%.60s/bld-ag-XXXXXX", tmp ? tmp : "/tmp");
        if (!mkdtemp(f->dir))
                return -1;
        (void)snprintf(f->path, sizeof(f->path), "%.190s/real", f->dir);
        f->dirfd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        f->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        (void)str_copy(at.sun_path, sizeof(at.sun_path), f->path);
        if (bind(f->listen_fd, (const struct sockaddr *)&at, sizeof(at)) < 0 ||
            listen(f->listen_fd, 8) < 0 || pthread_create(&f->thread, NULL, agent_thread, f))
                return -1;
        *state = f;
        return 0;
}

static int down(void **state)
{
        struct fake *f = *state;

        (void)shutdown(f->listen_fd, SHUT_RDWR);
        (void)pthread_join(f->thread, NULL);
        (void)close(f->listen_fd);
        (void)close(f->dirfd);
        (void)path_remove_tree(AT_FDCWD, f->dir, NULL);
        free(f);
        return 0;
}

static int dial(const struct fake *f)
{
        struct sockaddr_un to = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        (void)snprintf(to.sun_path, sizeof(to.sun_path), "%.90s/agent", f->dir);
        assert_int_equal(connect(fd, (const struct sockaddr *)&to, sizeof(to)), 0);
        return fd;
}

static void requests(void **state)
{
        static const struct {
                const char *name;
                unsigned char type;
                bool allowed;
        } rows[] = {
                {"list", 11, true},           {"sign", 13, true},     {"extension", 27, true},
                {"add", 17, false},           {"remove", 18, false},  {"remove all", 19, false},
                {"add smartcard", 20, false}, {"lock", 22, false},    {"unlock", 23, false},
                {"add limited", 25, false},   {"unknown", 99, false},
        };
        struct fake *f = *state;
        struct agent_proxy *p = NULL;
        struct bld_err err = BLD_ERR_INIT;
        size_t allowed = 0;
        int fd;

        assert_int_equal(
                agent_proxy_start(f->dirfd, &(struct agent_source){.path = f->path}, &p, &err), 0);
        fd = dial(f);
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                const unsigned char ask[] = {0, 0, 0, 3, rows[i].type, 'x', 'y'};
                unsigned char answer[7];

                print_message("%s\n", rows[i].name);
                assert_int_equal(fd_write_all(fd, ask, sizeof(ask), NULL), 0);
                assert_true(read_all(fd, answer, 5));
                assert_int_equal(answer[3], rows[i].allowed ? 3 : 1);
                assert_int_equal(answer[4], rows[i].allowed ? 12 : 5);
                if (!rows[i].allowed)
                        continue;
                assert_true(read_all(fd, answer, 2));
                assert_memory_equal(answer, "xy", 2);
                allowed++;
        }
        (void)close(fd);
        agent_proxy_stop(p);
        assert_int_equal(f->n, allowed);
}

/* A length beyond all measure, none at all, and half a message. */
static void broken(void **state)
{
        static const unsigned char rows[][5] = {{0xff, 0xff, 0xff, 0xff, 11}, {0, 0, 0, 0, 11}};
        struct fake *f = *state;
        struct agent_proxy *p = NULL;
        unsigned char byte;
        int fd;

        assert_int_equal(
                agent_proxy_start(f->dirfd, &(struct agent_source){.path = f->path}, &p, NULL), 0);
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                fd = dial(f);
                assert_int_equal(fd_write_all(fd, rows[i], 5, NULL), 0);
                assert_int_not_equal(recv(fd, &byte, 1, 0), 1); /* closed */
                (void)close(fd);
        }
        fd = dial(f);
        assert_int_equal(fd_write_all(fd, "\0\0\0\7", 4, NULL), 0);
        agent_proxy_stop(p); /* does not wait for the rest */
        (void)close(fd);
        assert_int_equal(f->n, 0);
}

/* One after the other and many at once, more than there is room for. */
static void many(void **state)
{
        static const unsigned char ask[] = {0, 0, 0, 1, 99};
        struct fake *f = *state;
        struct agent_proxy *p = NULL;
        unsigned char answer[5];
        int fds[24], served = 0;

        assert_int_equal(
                agent_proxy_start(f->dirfd, &(struct agent_source){.path = f->path}, &p, NULL), 0);
        for (int i = 0; i < 100; i++) {
                int fd = dial(f);

                if (fd_write_all(fd, ask, sizeof(ask), NULL) == 0 && read_all(fd, answer, 5))
                        served++;
                (void)close(fd);
        }
        assert_true(served > 0);
        for (size_t i = 0; i < ARRAY_LEN(fds); i++)
                fds[i] = dial(f);
        agent_proxy_stop(p);
        for (size_t i = 0; i < ARRAY_LEN(fds); i++)
                (void)close(fds[i]);
}

static void no_agent(void **state)
{
        struct fake *f = *state;
        struct agent_proxy *p = NULL;
        unsigned char byte;
        char gone[260];
        int fd;

        (void)snprintf(gone, sizeof(gone), "%.190s/gone", f->dir);
        assert_int_equal(
                agent_proxy_start(f->dirfd, &(struct agent_source){.path = gone}, &p, NULL), 0);
        fd = dial(f);
        assert_int_not_equal(recv(fd, &byte, 1, 0), 1);
        (void)close(fd);
        agent_proxy_stop(p);
        agent_proxy_stop(NULL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(requests, up, down),
                cmocka_unit_test_setup_teardown(broken, up, down),
                cmocka_unit_test_setup_teardown(many, up, down),
                cmocka_unit_test_setup_teardown(no_agent, up, down),
        };

        (void)signal(SIGPIPE, SIG_IGN);
        return cmocka_run_group_tests_name("builder_agent", tests, NULL, NULL);
}
