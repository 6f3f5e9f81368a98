/* The client when servers fail, refuse, stall or are given up. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cancel.h"
#include "registry_world.h"

static void test_retries(void **state UNUSED)
{
        const struct mock_step steps[] = {
                {w->url, .status = 503, .body = "{\"errors\":[{\"code\":\"UNAVAILABLE\"}]}"},
                {w->url, .how = MOCK_DROP},
                {w->url, .status = 429, .headers = "Retry-After: 0\r\n"},
                {w->url, .status = 500},
                {w->url, .status = 200, .body = w->blob, .body_len = sizeof(w->blob)},
                {0},
        };

        mock_script(w->reg, steps);
        connect_with((struct reg_opts){0});
        get_blob_ok();
        check_scripts();
        assert_non_null(strstr(sb_text(&w->notes), "503 (UNAVAILABLE); retry 1 of 4"));
        /* the dropped one may be curl's own matter: a kept connection that turned out dead */
        assert_non_null(strstr(sb_text(&w->notes), "retry 3 of 4"));
}

static void test_retries_end(void **state UNUSED)
{
        const struct mock_step steps[] = {
                {w->url, .status = 503, .times = 3},
                {0},
        };
        struct bld_err err = BLD_ERR_INIT;

        mock_script(w->reg, steps);
        connect_with((struct reg_opts){.retries = 2});
        assert_int_equal(get_blob(&err), BLD_E_NETWORK);
        assert_non_null(strstr(err.msg, "503"));
        check_scripts();
}

/* One that is there and busy is asked again more often ... */
static void test_busy(void **state UNUSED)
{
        const struct mock_step steps[] = {
                {w->url, .status = 500, .times = 4},
                {w->url, .status = 200, .body = w->blob, .body_len = sizeof(w->blob)},
                {0},
        };

        mock_script(w->reg, steps);
        connect_with((struct reg_opts){.retries_unanswered = 1});
        get_blob_ok();
        check_scripts();
}

/* ... than one that says nothing. */
static void test_unanswered(void **state UNUSED)
{
        const struct mock_step steps[] = {
                {w->url, .how = MOCK_SILENT},
                {w->url, .how = MOCK_SILENT},
                {0},
        };
        struct bld_err err = BLD_ERR_INIT;

        mock_script(w->reg, steps);
        connect_with((struct reg_opts){.retries_unanswered = 1});
        w->c->timing.headers = 200;
        assert_int_equal(get_blob(&err), BLD_E_NETWORK);
        check_scripts();
        assert_non_null(strstr(sb_text(&w->notes), "retry 1 of 1"));
}

static void test_retry_after_too_long(void **state UNUSED)
{
        const struct mock_step steps[] = {
                {w->url, .status = 429, .headers = "Retry-After: 3600\r\n", .body = "slow down"},
                {0},
        };
        struct bld_err err = BLD_ERR_INIT;

        mock_script(w->reg, steps);
        connect_with((struct reg_opts){0});
        assert_int_equal(get_blob(&err), BLD_E_NETWORK);
        assert_non_null(strstr(err.msg, "rate limiting"));
        assert_non_null(strstr(err.msg, "Retry-After: 3600"));
        check_scripts();
}

static void test_final_answers(void **state UNUSED)
{
        static const struct {
                int status, code;
        } rows[] = {
                {400, BLD_E_NETWORK}, {403, BLD_E_DENIED},  {404, BLD_E_NOT_FOUND},
                {405, BLD_E_NETWORK}, {451, BLD_E_NETWORK},
        };

        connect_with((struct reg_opts){0});
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                const struct mock_step steps[] = {
                        {w->url, .status = rows[i].status,
                         .body = "{\"errors\":[{\"code\":\"X\",\"message\":\"a\\u001b[31mb\"}]}"},
                        {0},
                };
                struct bld_err err = BLD_ERR_INIT;

                print_message("# %d\n", rows[i].status);
                mock_script(w->reg, steps);
                assert_int_equal(get_blob(&err), rows[i].code);
                assert_null(strchr(err.msg, 0x1b)); /* the terminal is not theirs */
        }
        check_scripts();
}

/* "not found" is not enough to go by: what the registry says about it is told. */
static void test_not_found_words(void **state UNUSED)
{
        const struct mock_step steps[] = {
                {w->url, .status = 404,
                 .body = "{\"errors\":[{\"code\":\"BLOB_UNKNOWN\",\"message\":\"swept\"}]}"},
                {"GET /v2/a/b/tags/list*", .status = 404,
                 .body = "{\"errors\":[{\"code\":\"NAME_UNKNOWN\",\"message\":\"moved\"}]}"},
                {0},
        };
        AUTO_STRV struct strv tags = {0};
        struct bld_err err = BLD_ERR_INIT;

        mock_script(w->reg, steps);
        connect_with((struct reg_opts){0});
        assert_int_equal(get_blob(&err), BLD_E_NOT_FOUND);
        assert_non_null(strstr(err.msg, "404 (BLOB_UNKNOWN: swept)"));
        err_clear(&err);
        assert_int_equal(reg_tags(w->c, &w->ref, &tags, &err), BLD_E_NOT_FOUND);
        assert_non_null(strstr(err.msg, "404 (NAME_UNKNOWN: moved)"));
        check_scripts();
}

static void test_offline(void **state UNUSED)
{
        struct bld_err err = BLD_ERR_INIT;

        connect_with((struct reg_opts){.offline = true});
        assert_int_equal(get_blob(&err), BLD_E_NETWORK);
        assert_int_equal(reg_request_count(w->c), 0);
        assert_int_equal(mock_requests(w->reg), 0);
        check_scripts();
}

struct firing {
        struct cancel cancel;
        unsigned after; /* requests seen by the registry */
};

/* Fire when the request is at the server, and a moment later. */
static void *fire_soon(void *arg)
{
        struct firing *f = arg;

        while (mock_requests(w->reg) < f->after)
                (void)usleep(5000);
        (void)usleep(20000);
        cancel_fire(&f->cancel, 1);
        return NULL;
}

static void test_cancel(void **state UNUSED)
{
        const struct mock_step rows[][2] = {
                {{w->url, .how = MOCK_SILENT}, {0}},
                {{w->url, .status = 200, .body = w->blob, .body_len = sizeof(w->blob),
                  .how = MOCK_STALL, .cut = 1000},
                 {0}},
                {{w->url, .status = 503, .headers = "Retry-After: 60\r\n"}, {0}}, /* in the wait */
        };

        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct firing f = {.after = mock_requests(w->reg) + 1};
                struct bld_err err = BLD_ERR_INIT;
                pthread_t t;
                int64_t start;

                assert_int_equal(cancel_init(&f.cancel, &err), 0);
                mock_script(w->reg, rows[i]);
                img_ref_done(&w->ref);
                connect_with((struct reg_opts){.cancel = &f.cancel});
                start = time_mono_ns();
                assert_int_equal(pthread_create(&t, NULL, fire_soon, &f), 0);
                assert_int_equal(get_blob(&err), BLD_E_CANCELLED);
                /* far below any time limit of the client's own */
                assert_true(time_mono_ns() - start < INT64_C(10000000000));
                (void)pthread_join(t, NULL);
                reg_client_free(w->c);
                w->c = NULL;
                cancel_done(&f.cancel);
        }
        check_scripts();
}

static void test_cancel_upload(void **state UNUSED)
{
        char put[256];
        const struct mock_step steps[] = {
                {w->head, .status = 404},
                {w->post, .status = 202, .headers = "Location: /up\r\n"},
                {put, .how = MOCK_SILENT},
                {0},
        };
        struct firing f = {.after = 3};
        struct bld_err err = BLD_ERR_INIT;
        enum reg_put_how how;
        pthread_t t;

        (void)snprintf(put, sizeof(put), "PUT /up?digest=%s", w->digest);
        assert_int_equal(cancel_init(&f.cancel, &err), 0);
        mock_script(w->reg, steps);
        connect_with((struct reg_opts){.cancel = &f.cancel});
        assert_int_equal(pthread_create(&t, NULL, fire_soon, &f), 0);
        assert_int_equal(put_blob(NULL, &how, &err), BLD_E_CANCELLED);
        (void)pthread_join(t, NULL);
        check_scripts();
        cancel_done(&f.cancel);
}

static void test_stall(void **state UNUSED)
{
        const struct mock_step steps[] = {
                {w->url, .how = MOCK_SILENT},
                {w->url, .status = 200, .body = w->blob, .body_len = sizeof(w->blob),
                 .how = MOCK_STALL, .cut = 5000},
                {w->url, .has = {"Range: bytes=5000-"}, .status = 206, .headers = range_of(5000),
                 .body = w->blob + 5000, .body_len = sizeof(w->blob) - 5000},
                {0},
        };

        mock_script(w->reg, steps);
        connect_with((struct reg_opts){0});
        w->c->timing.headers = w->c->timing.stall = w->c->timing.connect = 200;
        get_blob_ok();
        check_scripts();
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                T(test_retries),
                T(test_retries_end),
                T(test_busy),
                T(test_unanswered),
                T(test_retry_after_too_long),
                T(test_final_answers),
                T(test_offline),
                T(test_not_found_words),
                T(test_cancel),
                T(test_cancel_upload),
                T(test_stall),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
