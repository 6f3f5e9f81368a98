/* Key locks: one holder at a time, across threads and processes, and death frees them. */
#include "tests/unit/cas_fixture.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/syscall.h>

static int take(struct cas *c, const char *key, bool wait, const struct cancel *cancel,
                struct cas_lock **ret, char holder[16])
{
        struct digest k = key_of(key);

        return cas_key_lock(c, &k, "build123", wait, cancel, ret, holder, NULL);
}

static void test_one_holder(void **state)
{
        struct fixture *f = *state;
        struct cas_lock *a = NULL, *b = NULL;
        struct cas *other;
        char holder[16] = "";

        OK(cas_open(f->root, &other, err));
        assert_int_equal(take(f->c, "k", false, NULL, &a, NULL), 0);
        assert_int_equal(take(f->c, "k", false, NULL, &b, holder), 1);
        assert_string_equal(holder, "build123");
        assert_int_equal(take(other, "k", false, NULL, &b, NULL), 1);
        assert_null(b);
        assert_int_equal(take(f->c, "other", false, NULL, &b, NULL), 0);
        cas_key_unlock(b);
        cas_key_unlock(a);
        assert_int_equal(take(other, "k", false, NULL, &b, NULL), 0);
        cas_key_unlock(b);
        cas_key_unlock(NULL);
        cas_close(other);
        reopen(f);
        assert_int_equal(unlinkat(cas_root_fd(f->c), "tmp", AT_REMOVEDIR), 0); /* nothing left */
}

/* flock(2) as seen by the store: runs `between` once, before the first exclusive try on a file,
 * which is where a holder that lets go does harm. */
static void (*between)(void *arg);
static void *between_arg;

int flock(int fd, int op)
{
        void (*run)(void *) = between;

        if (run && (op & LOCK_EX)) {
                between = NULL;
                run(between_arg);
        }
        return (int)syscall(SYS_flock, fd, op);
}

static void remove_lock(void *arg)
{
        struct fixture *f = arg;
        struct digest k = key_of("k");
        char hex[DIGEST_HEX_MAX], path[DIGEST_HEX_MAX + 16];

        digest_hex(&k, hex);
        (void)snprintf(path, sizeof(path), "tmp/%s.lock", hex);
        assert_int_equal(unlinkat(cas_root_fd(f->c), path, 0), 0);
}

/* Between our open and our lock the last holder unlinks the file and ends. */
static void test_unlinked_file(void **state)
{
        struct fixture *f = *state;
        struct cas_lock *a = NULL, *b = NULL;

        between = remove_lock;
        between_arg = f;
        assert_int_equal(take(f->c, "k", false, NULL, &a, NULL), 0);
        assert_null(between);
        assert_int_equal(take(f->c, "k", false, NULL, &b, NULL), 1);
        cas_key_unlock(a);
}

static void sweep_in_another(void *arg)
{
        struct fixture *f = arg;
        struct cas *c;

        OK(cas_open(f->root, &c, err));
        cas_close(c);
}

/* Between the making of an owner file and its locking somebody sweeps it away as a dead one's. */
static void test_swept_owner(void **state)
{
        struct fixture *f = *state;
        struct cas_tmp *t;
        struct cas *c;

        OK(cas_open(f->root, &c, err));
        between = sweep_in_another;
        between_arg = f;
        OK(cas_tmp_new(c, &t, err));
        assert_null(between);
        sweep_in_another(f);
        assert_true(exists(f, cas_tmp_path(t))); /* it has an owner that lives */
        cas_tmp_free(t);
        cas_close(c);
}

static void test_cancel(void **state)
{
        struct fixture *f = *state;
        struct cas_lock *a = NULL, *b = NULL;
        struct cancel cancel;

        OK(cancel_init(&cancel, err));
        assert_int_equal(take(f->c, "k", true, NULL, &a, NULL), 0);
        cancel_fire(&cancel, 1);
        assert_int_equal(take(f->c, "k", true, &cancel, &b, NULL), BLD_E_CANCELLED);
        assert_null(b);
        cas_key_unlock(a);
        cancel_done(&cancel);
}

static void test_dead_holder(void **state)
{
        struct fixture *f = *state;
        struct cas_lock *l = NULL;
        int ready[2];
        char b;
        pid_t pid;

        assert_int_equal(pipe(ready), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                struct cas *c;

                if (cas_open(f->root, &c, NULL) < 0 || take(c, "k", false, NULL, &l, NULL) != 0)
                        _exit(1);
                (void)!write(ready[1], "x", 1);
                (void)pause();
                _exit(1);
        }
        assert_int_equal(read(ready[0], &b, 1), 1);
        assert_int_equal(take(f->c, "k", false, NULL, &l, NULL), 1);
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(take(f->c, "k", true, NULL, &l, NULL), 0); /* waits for its end at most */
        cas_key_unlock(l);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        (void)close(ready[0]);
        (void)close(ready[1]);
}

/* Processes and threads add to a counter that only the lock protects. */
#define ROUNDS 100

struct counter {
        struct cas *c;
        int fd;
        bool failed;
};

static bool add_one(int fd)
{
        int v = 0;

        if (pread(fd, &v, sizeof(v), 0) < 0)
                return false;
        (void)usleep(30); /* so that two at once are seen */
        v++;
        return pwrite(fd, &v, sizeof(v), 0) == (ssize_t)sizeof(v);
}

/* Half of the rounds wait, half try again at once: that is what finds locks on unlinked files. */
static void *add_many(void *arg)
{
        struct counter *n = arg;

        for (int i = 0; i < ROUNDS && !n->failed; i++) {
                struct cas_lock *l = NULL;
                int r;

                while ((r = take(n->c, "counter", i % 2 == 0, NULL, &l, NULL)) == 1)
                        (void)sched_yield();
                if (r < 0 || !add_one(n->fd))
                        n->failed = true;
                cas_key_unlock(l);
        }
        return NULL;
}

static void test_exclusion(void **state)
{
        struct fixture *f = *state;
        char path[300];
        int fd, v = 0;
        pid_t pids[3];

        (void)snprintf(path, sizeof(path), "%s/counter", f->dir);
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, &v, sizeof(v)), sizeof(v));
        for (size_t i = 0; i < ARRAY_LEN(pids); i++) {
                pids[i] = fork();
                assert_true(pids[i] >= 0);
                if (pids[i] > 0)
                        continue;
                struct counter n[2] = {{.fd = fd}, {.fd = fd}};
                pthread_t t;

                if (cas_open(f->root, &n[0].c, NULL) < 0)
                        _exit(1);
                n[1].c = n[0].c;
                if (pthread_create(&t, NULL, add_many, &n[0]) != 0)
                        _exit(1);
                (void)add_many(&n[1]);
                (void)pthread_join(t, NULL);
                cas_close(n[0].c);
                _exit(n[0].failed || n[1].failed ? 1 : 0);
        }
        for (size_t i = 0; i < ARRAY_LEN(pids); i++)
                reap(pids[i]);
        assert_int_equal(pread(fd, &v, sizeof(v), 0), sizeof(v));
        assert_int_equal(v, (int)ARRAY_LEN(pids) * 2 * ROUNDS);
        (void)close(fd);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, fixture_up, fixture_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                T(test_one_holder), T(test_unlinked_file), T(test_swept_owner),
                T(test_cancel),     T(test_dead_holder),   T(test_exclusion),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
