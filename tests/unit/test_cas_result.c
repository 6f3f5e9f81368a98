/* Result records: what comes back, and that damage is absence. */
#include "tests/unit/cas_fixture.h"

static int get(struct fixture *f, const char *key, const char *kind, struct sb *out)
{
        struct digest k = key_of(key);

        sb_reset(out);
        return cas_result_get(f->c, &k, kind, out, NULL);
}

static void put(struct fixture *f, const char *key, const char *payload)
{
        struct digest k = key_of(key), blob = key_of("blob");

        OK(cas_result_put(f->c, &k, "step", payload, strlen(payload), &blob, 1, err));
}

static void path_of(const char *key, char out[200])
{
        struct digest k = key_of(key);
        char hex[DIGEST_HEX_MAX];

        digest_hex(&k, hex);
        (void)snprintf(out, 200, "results/%.2s/%s", hex, hex);
}

static void test_round_trip(void **state)
{
        struct fixture *f = *state;
        struct sb out = SB_INIT(1000);
        struct digest k = key_of("k"), none = {.algo = 0};
        int64_t sec = 0;

        assert_int_equal(get(f, "k", "step", &out), 0);
        assert_int_equal(cas_result_time(f->c, &k, &sec), 0);
        put(f, "k", "first");
        assert_int_equal(get(f, "k", "step", &out), 1);
        assert_string_equal(sb_text(&out), "first");
        assert_int_equal(get(f, "k", "imag", &out), 0);
        assert_int_equal(cas_result_time(f->c, &k, &sec), 1);
        assert_true(sec > 1600000000);
        put(f, "k", "second");
        put(f, "empty", "");
        reopen(f);
        assert_int_equal(get(f, "k", "step", &out), 1);
        assert_string_equal(sb_text(&out), "second");
        assert_int_equal(get(f, "empty", "step", &out), 1);
        assert_int_equal(out.len, 0);
        assert_int_equal(cas_result_delete(f->c, &k, NULL), 0);
        assert_int_equal(cas_result_delete(f->c, &k, NULL), 0);
        assert_int_equal(get(f, "k", "step", &out), 0);
        assert_int_equal(cas_result_get(f->c, &none, "step", &out, NULL), BLD_E_INVALID);
        assert_int_equal(cas_result_put(f->c, &k, "toolong", "", 0, NULL, 0, NULL), BLD_E_BUG);
        sb_done(&out);
}

/* Every byte turned over, and every shorter file, must read as absent. */
static void test_damage(void **state)
{
        struct fixture *f = *state;
        struct sb out = SB_INIT(1000), text = SB_INIT(10000);
        char path[200];

        put(f, "k", "payload");
        path_of("k", path);
        OK(file_read(cas_root_fd(f->c), path, &text, err));
        for (size_t i = 0; i < text.len; i++) {
                text.buf[i] = (char)(text.buf[i] ^ 0x20);
                OK(file_write(cas_root_fd(f->c), path, text.buf, text.len, 0644, 0, err));
                if (get(f, "k", "step", &out) != 0)
                        fail_msg("byte %zu changed and nobody noticed", i);
                text.buf[i] = (char)(text.buf[i] ^ 0x20);
        }
        for (size_t n = 0; n < text.len; n++) {
                OK(file_write(cas_root_fd(f->c), path, text.buf, n, 0644, 0, err));
                if (get(f, "k", "step", &out) != 0)
                        fail_msg("%zu bytes are taken for a record", n);
        }
        put(f, "k", "again");
        assert_int_equal(get(f, "k", "step", &out), 1);
        sb_done(&out);
        sb_done(&text);
}

static void test_last_use(void **state)
{
        struct fixture *f = *state;
        const struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
        struct sb out = SB_INIT(1000);
        struct digest k = key_of("k");
        struct stat st;
        char path[200];
        int64_t sec;

        put(f, "k", "x");
        path_of("k", path);
        assert_int_equal(utimensat(cas_root_fd(f->c), path, old, 0), 0);
        assert_int_equal(cas_result_time(f->c, &k, &sec), 1); /* a question is no use */
        assert_int_equal(get(f, "k", "imag", &out), 0);
        assert_int_equal(fstatat(cas_root_fd(f->c), path, &st, 0), 0);
        assert_int_equal(st.st_mtim.tv_sec, 1000);
        assert_int_equal(get(f, "k", "step", &out), 1);
        assert_int_equal(fstatat(cas_root_fd(f->c), path, &st, 0), 0);
        assert_true(st.st_mtim.tv_sec > 1000);
        assert_true(sec > 1000); /* when it was written is another matter */
        sb_done(&out);
}

static void test_limits(void **state)
{
        struct fixture *f = *state;
        size_t n = CAS_RECORD_MAX;
        char *big = calloc(1, n + 1);
        struct digest k = key_of("k");
        struct sb out = SB_INIT(n);

        assert_non_null(big);
        assert_int_equal(cas_result_put(f->c, &k, "step", big, n + 1, NULL, 0, NULL), BLD_E_LIMIT);
        OK(cas_result_put(f->c, &k, "step", big, n, NULL, 0, err));
        assert_int_equal(cas_result_get(f->c, &k, "step", &out, NULL), 1);
        assert_int_equal(out.len, n);
        free(big);
        sb_done(&out);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, fixture_up, fixture_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                T(test_round_trip),
                T(test_damage),
                T(test_last_use),
                T(test_limits),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
