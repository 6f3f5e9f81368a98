/* A blob's size costs no memory, neither way: a generated stream through a server in a thread.
 * $BLD_TEST_STREAM_MB (512) sets its length. */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/num.h"
#include "registry/registry.h"

#define PIECE (1u << 20)
/* A sanitizer's allocator keeps what was freed, 256 MiB of it: less than the stream all the same.
 */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define GROWTH_MAX_KB (384u << 10)
#else
#define GROWTH_MAX_KB (32u << 10)
#endif

static char piece[PIECE]; /* the stream is this, over and over */
static uint64_t total;

static void send_all(int fd, const char *p, size_t n)
{
        while (n > 0) {
                ssize_t w = send(fd, p, n, MSG_NOSIGNAL);

                if (w <= 0)
                        return;
                p += w;
                n -= (size_t)w;
        }
}

static void answer(int fd, const char *text)
{
        send_all(fd, text, strlen(text));
}

/* One request whose head is complete; `more` body bytes came with it. */
static void serve(int fd, const char *head, size_t more)
{
        static char sink[PIECE];
        char text[256];

        if (strncmp(head, "GET", 3) == 0) {
                (void)snprintf(text, sizeof(text),
                               "HTTP/1.1 200 OK\r\nContent-Length: %llu\r\n\r\n",
                               (unsigned long long)total);
                answer(fd, text);
                for (uint64_t done = 0; done < total; done += PIECE)
                        send_all(fd, piece, PIECE);
        } else if (strncmp(head, "HEAD", 4) == 0) {
                answer(fd, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
        } else if (strncmp(head, "POST", 4) == 0) {
                answer(fd, "HTTP/1.1 202 Accepted\r\nLocation: /up\r\nContent-Length: 0\r\n\r\n");
        } else {
                answer(fd, "HTTP/1.1 100 Continue\r\n\r\n");
                for (uint64_t got = more; got < total;) {
                        ssize_t n = recv(fd, sink, sizeof(sink), 0);

                        if (n <= 0)
                                return;
                        got += (uint64_t)n;
                }
                answer(fd, "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
        }
}

static void *connection(void *arg)
{
        int fd = (int)(intptr_t)arg;
        char head[64u << 10];
        size_t n = 0;

        for (;;) {
                ssize_t k = recv(fd, head + n, sizeof(head) - 1 - n, 0);
                char *end;

                if (k <= 0 || head[0] == 0x16) /* TLS is hung up on */
                        break;
                n += (size_t)k;
                head[n] = 0;
                end = strstr(head, "\r\n\r\n");
                if (!end)
                        continue;
                serve(fd, head, n - (size_t)(end + 4 - head));
                n = 0;
        }
        (void)shutdown(fd, SHUT_RDWR);
        (void)close(fd);
        return NULL;
}

static void *listener(void *arg)
{
        int fd;

        while ((fd = accept((int)(intptr_t)arg, NULL, NULL)) >= 0) {
                pthread_t t;

                if (pthread_create(&t, NULL, connection, (void *)(intptr_t)fd) == 0)
                        (void)pthread_detach(t);
        }
        return NULL;
}

static unsigned long anon_kb(void)
{
        FILE *f = fopen("/proc/self/status", "re");
        unsigned long kb = 0;
        char line[256];

        assert_non_null(f);
        while (fgets(line, sizeof(line), f)) {
                uint64_t n;

                if (strncmp(line, "RssAnon:", 8) != 0)
                        continue;
                line[strcspn(line, "k")] = 0;
                for (char *p = line + 8; *p; p++)
                        if (*p == ' ' && p[1] != ' ' && p[1] && p[strlen(p) - 1] == ' ')
                                p[strlen(p) - 1] = 0;
                if (parse_u64(line + 8 + strspn(line + 8, " \t"), 0, UINT32_MAX, &n))
                        kb = (unsigned long)n;
        }
        (void)fclose(f);
        assert_true(kb > 0);
        return kb;
}

static unsigned long most; /* seen while bytes move */

static void look(uint64_t done)
{
        unsigned long now;

        if (done % (64u << 20) >= PIECE)
                return;
        now = anon_kb();
        most = MAX(most, now);
}

static int take(void *user, const void *p UNUSED, size_t n, struct bld_err *err UNUSED)
{
        uint64_t *done = user;

        *done += n;
        look(*done);
        return 0;
}

static int again(void *user UNUSED, struct bld_err *err)
{
        return err_set(err, BLD_E_BUG, "the stream was begun again");
}

static ssize_t give(void *user UNUSED, void *p, size_t n, uint64_t off, struct bld_err *err UNUSED)
{
        size_t at = (size_t)(off % PIECE);

        n = MIN(n, PIECE - at);
        memcpy(p, piece + at, n);
        look(off);
        return (ssize_t)n;
}

static void test_stream(void **state UNUSED)
{
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        const char *env = getenv("BLD_TEST_STREAM_MB");
        struct reg_sink sink = {.write = take, .rewind = again};
        struct reg_source source = {.pread = give};
        struct bld_err err = BLD_ERR_INIT;
        struct reg_client *c = NULL;
        struct img_desc d = {0};
        struct img_ref ref = {0};
        socklen_t len = sizeof(a);
        unsigned long before;
        enum reg_put_how how;
        uint64_t mb = 512, done = 0;
        struct hasher h;
        char name[64];
        pthread_t t;
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (env)
                assert_true(parse_u64(env, 1, 1u << 20, &mb));
        total = mb << 20;
        for (size_t i = 0; i < PIECE; i++)
                piece[i] = (char)(i * 31 + i / 253);
        assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
        assert_int_equal(listen(fd, 16), 0);
        assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
        assert_int_equal(pthread_create(&t, NULL, listener, (void *)(intptr_t)fd), 0);
        (void)setenv("HOME", "/nonexistent", 1);

        d.size = total;
        hasher_init(&h, DIGEST_SHA256);
        for (uint64_t i = 0; i < mb; i++)
                hasher_add(&h, piece, PIECE);
        hasher_end(&h, &d.digest);
        (void)snprintf(name, sizeof(name), "127.0.0.1:%d/a/b", ntohs(a.sin_port));
        assert_int_equal(img_ref_parse(name, &ref, &err), 0);
        {
                struct reg_opts o = {0};
                AUTO_STRV struct strv plain = {0};

                (void)snprintf(name, sizeof(name), "127.0.0.1:%d", ntohs(a.sin_port));
                assert_int_equal(strv_add(&plain, name), 0);
                o.insecure = &plain;
                assert_int_equal(reg_client_new(&o, &c, &err), 0);
        }
        before = most = anon_kb();
        sink.user = &done;
        if (reg_blob_get(c, &ref, &d, &sink, &err) < 0)
                fail_msg("%s", err.msg);
        assert_true(done == total);
        print_message("# %llu MiB down: %lu KiB more\n", (unsigned long long)mb, most - before);
        assert_true(most - before < GROWTH_MAX_KB);
        most = before;
        if (reg_blob_put(c, &ref, &d, &source, NULL, &how, &err) < 0)
                fail_msg("%s", err.msg);
        assert_int_equal(how, REG_PUT_UPLOADED);
        print_message("# %llu MiB up: %lu KiB more\n", (unsigned long long)mb, most - before);
        assert_true(most - before < GROWTH_MAX_KB);
        reg_client_free(c);
        img_ref_done(&ref);
        (void)shutdown(fd, SHUT_RDWR);
        (void)pthread_join(t, NULL);
        (void)close(fd);
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_stream)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
