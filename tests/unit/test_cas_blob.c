/* Blobs and the writer. */
#include "tests/unit/cas_fixture.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>

static const char hello_hex[] = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

static void test_put_open_stat(void **state)
{
        struct fixture *f = *state;
        struct digest d = put_text(f->c, "hello"), absent = key_of("absent"), none = {.algo = 0};
        char hex[DIGEST_HEX_MAX], buf[16];
        uint64_t size = 0;
        int fd = -1;

        digest_hex(&d, hex);
        assert_string_equal(hex, hello_hex);
        assert_int_equal(cas_blob_stat(f->c, &d, &size, NULL), 1);
        assert_int_equal(size, 5);
        OK(cas_blob_open(f->c, &d, &fd, err));
        assert_int_equal(read(fd, buf, sizeof(buf)), 5);
        assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
        (void)close(fd);
        assert_int_equal(cas_blob_stat(f->c, &absent, &size, NULL), 0);
        assert_int_equal(cas_blob_open(f->c, &absent, &fd, NULL), BLD_E_NOT_FOUND);
        assert_int_equal(cas_blob_open(f->c, &none, &fd, NULL), BLD_E_INVALID);
        put_text(f->c, "hello"); /* twice is once */
        assert_int_equal(cas_blob_delete(f->c, &d, NULL), 0);
        assert_int_equal(cas_blob_stat(f->c, &d, &size, NULL), 0);
        assert_int_equal(cas_blob_delete(f->c, &d, NULL), 0);
}

static int write_blob(struct cas *c, const char *text, const struct digest *expect, uint64_t size,
                      struct digest *ret)
{
        struct cas_writer *w = NULL;
        int r = cas_writer_open(c, &w, NULL);

        if (r == 0)
                r = cas_writer_add(w, text, strlen(text), NULL);
        if (r == 0)
                r = cas_writer_commit(w, expect, size, ret, NULL);
        cas_writer_free(w);
        return r;
}

static void test_expectations(void **state)
{
        struct fixture *f = *state;
        struct digest right = key_of("hello"), wrong = key_of("other"), sha512, got;
        struct hasher h;

        assert_int_equal(write_blob(f->c, "hello", &wrong, 5, &got), BLD_E_CORRUPT);
        assert_int_equal(write_blob(f->c, "hello", &right, 4, &got), BLD_E_CORRUPT);
        assert_int_equal(write_blob(f->c, "hello", &right, 6, &got), BLD_E_CORRUPT);
        assert_false(has_blob(f->c, &right));
        assert_false(has_blob(f->c, &wrong));
        assert_int_equal(write_blob(f->c, "hello", &right, 5, &got), 0);
        assert_true(digest_eq(&got, &right));

        hasher_init(&h, DIGEST_SHA512);
        hasher_add(&h, "hello", 5);
        hasher_end(&h, &sha512);
        assert_int_equal(write_blob(f->c, "hello", &sha512, 5, &got), 0);
        assert_true(digest_eq(&got, &sha512));
        assert_true(has_blob(f->c, &sha512));
        assert_int_equal(cas_blob_verify(f->c, &sha512, NULL), 0);
        sha512.b[0] ^= 1;
        assert_int_equal(write_blob(f->c, "hello", &sha512, 5, &got), BLD_E_CORRUPT);
}

static void test_dropped_writer(void **state)
{
        struct fixture *f = *state;
        struct cas_writer *w;
        struct cas_usage before, after;

        put_text(f->c, "x"); /* so that the owner file is there */
        OK(cas_usage(f->c, &before, err));
        OK(cas_writer_open(f->c, &w, err));
        OK(cas_writer_add(w, "abc", 3, err));
        assert_int_equal(cas_writer_size(w), 3);
        cas_writer_free(w);
        cas_writer_free(NULL);
        OK(cas_usage(f->c, &after, err));
        assert_int_equal(after.total_bytes, before.total_bytes);
        assert_int_equal(after.count[CAS_SPACE_OTHER], before.count[CAS_SPACE_OTHER]);
}

static void damage(struct fixture *f, const struct digest *d, const char *text)
{
        char path[200], hex[DIGEST_HEX_MAX];

        digest_hex(d, hex);
        (void)snprintf(path, sizeof(path), "blobs/sha256/%s", hex);
        OK(file_write(cas_root_fd(f->c), path, text, strlen(text), 0644, 0, err));
}

static void test_damage(void **state)
{
        struct fixture *f = *state;
        struct digest d = put_text(f->c, "hello");
        struct sb out = SB_INIT(100);

        OK(cas_blob_read(f->c, &d, 100, &out, err));
        assert_string_equal(sb_text(&out), "hello");
        sb_reset(&out);
        assert_int_equal(cas_blob_read(f->c, &d, 4, &out, NULL), BLD_E_LIMIT);
        assert_int_equal(cas_blob_verify(f->c, &d, NULL), 0);

        damage(f, &d, "hellO");
        assert_int_equal(cas_blob_read(f->c, &d, 100, &out, NULL), BLD_E_CORRUPT);
        assert_int_equal(out.len, 0);
        assert_false(has_blob(f->c, &d)); /* so that it can be fetched again */
        put_text(f->c, "hello");
        assert_int_equal(cas_blob_verify(f->c, &d, NULL), 0);
        damage(f, &d, "hellO");
        assert_int_equal(cas_blob_verify(f->c, &d, NULL), BLD_E_CORRUPT);
        assert_false(has_blob(f->c, &d));

        /* one of another size is replaced by whoever brings the right one */
        put_text(f->c, "hello");
        damage(f, &d, "hell");
        put_text(f->c, "hello");
        assert_int_equal(cas_blob_verify(f->c, &d, NULL), 0);
        sb_done(&out);
}

static void test_link_in_blobs(void **state)
{
        struct fixture *f = *state;
        struct digest d = key_of("x");
        char path[200], hex[DIGEST_HEX_MAX];
        uint64_t size;
        int fd;

        digest_hex(&d, hex);
        (void)snprintf(path, sizeof(path), "blobs/sha256/%s", hex);
        assert_int_equal(symlinkat("/etc/passwd", cas_root_fd(f->c), path), 0);
        assert_int_equal(cas_blob_stat(f->c, &d, &size, NULL), 0);
        assert_int_equal(cas_blob_open(f->c, &d, &fd, NULL), BLD_E_SYS);
        put_text(f->c, "x");
        assert_int_equal(cas_blob_verify(f->c, &d, NULL), 0);
}

/* RLIMIT_FSIZE fails writes part of the way, like a disk that fills up. */
static void test_write_fails(void **state)
{
        struct fixture *f = *state;
        struct rlimit old, small;
        struct bld_err why = BLD_ERR_INIT;
        struct digest d;
        char big[20000];
        int r;

        memset(big, 'x', sizeof(big));
        digest_of(big, sizeof(big), &d);
        put_text(f->c, "x");
        (void)signal(SIGXFSZ, SIG_IGN);
        assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
        small = old;
        small.rlim_cur = 8192;
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        r = cas_blob_put(f->c, big, sizeof(big), &d, &why);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
        assert_int_equal(r, BLD_E_SYS);
        assert_int_equal(why.sys, EFBIG);
        assert_false(has_blob(f->c, &d));
        OK(cas_blob_put(f->c, big, sizeof(big), &d, err));
        assert_true(has_blob(f->c, &d));
}

static void *put_many(void *arg)
{
        struct cas *c = arg;

        for (int i = 0; i < 40; i++) {
                char text[32];
                struct digest d;

                (void)snprintf(text, sizeof(text), "blob %d", i);
                if (cas_blob_put(c, text, strlen(text), &d, NULL) < 0)
                        return NULL;
        }
        return c;
}

static void test_threads(void **state)
{
        struct fixture *f = *state;
        pthread_t t[4];

        for (size_t i = 0; i < ARRAY_LEN(t); i++)
                assert_int_equal(pthread_create(&t[i], NULL, put_many, f->c), 0);
        for (size_t i = 0; i < ARRAY_LEN(t); i++) {
                void *done = NULL;

                assert_int_equal(pthread_join(t[i], &done), 0);
                assert_non_null(done);
        }
        for (int i = 0; i < 40; i++) {
                char text[32];
                struct digest d;

                (void)snprintf(text, sizeof(text), "blob %d", i);
                d = key_of(text);
                assert_int_equal(cas_blob_verify(f->c, &d, NULL), 0);
        }
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, fixture_up, fixture_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                T(test_put_open_stat), T(test_expectations), T(test_dropped_writer), T(test_damage),
                T(test_link_in_blobs), T(test_write_fails),  T(test_threads),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
