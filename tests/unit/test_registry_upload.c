/* Uploads to scripted servers: sessions, chunks, mounts, lost answers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "registry_world.h"

static void test_push(void **state UNUSED)
{
        char put[256];
        const struct mock_step steps[] = {
                {w->head, .status = 404},
                {w->post, .has = {"Content-Length: 0\r\n"}, .hasnt = {"Content-Type", "Expect"},
                 .status = 202,
                 .headers = "Location: /v2/a/b/blobs/uploads/u1?_state=A%2Fb%3D&B=1\r\n"},
                {put,
                 .has = {"Content-Length: 200000\r\n",
                         "Content-Type: application/octet-stream\r\n"},
                 .status = 201},
                {0},
        };

        (void)snprintf(put, sizeof(put),
                       "PUT /v2/a/b/blobs/uploads/u1?_state=A%%2Fb%%3D&B=1&digest=%s", w->digest);
        mock_script(w->reg, steps);
        connect_with((struct reg_opts){0});
        put_blob_ok(NULL, REG_PUT_UPLOADED);
        check_scripts();
}

static void test_push_elsewhere(void **state UNUSED)
{
        char put[256], loc[160];
        const struct mock_step steps[] = {
                {w->head, .status = 401, .headers = "WWW-Authenticate: Basic realm=x\r\n"},
                {w->head, .has = {BASIC}, .status = 404},
                {w->post, .has = {BASIC}, .status = 202, .headers = loc},
                {0},
        };
        const struct mock_step storage[] = {
                {put, .hasnt = {"Authorization"}, .status = 201},
                {0},
        };

        (void)snprintf(loc, sizeof(loc), "Location: http://%s/up\r\n", mock_host(w->other));
        (void)snprintf(put, sizeof(put), "PUT /up?digest=%s", w->digest);
        mock_script(w->reg, steps);
        mock_script(w->other, storage);
        connect_with((struct reg_opts){.creds = CREDS});
        put_blob_ok(NULL, REG_PUT_UPLOADED);
        check_scripts();
}

#define SESSION "Location: /up\r\n"

static void test_push_lost_answer(void **state UNUSED)
{
        char put[256];
        const struct mock_step steps[] = {
                {w->head, .status = 404},
                {w->post, .status = 202, .headers = SESSION},
                {put, .how = MOCK_DROP},
                {w->head, .status = 200, .headers = "Content-Length: 200000\r\n"},
                {0},
        };

        (void)snprintf(put, sizeof(put), "PUT /up?digest=%s", w->digest);
        mock_script(w->reg, steps);
        connect_with((struct reg_opts){0});
        put_blob_ok(NULL, REG_PUT_PRESENT);
        check_scripts();
}

static void test_push_session_lost(void **state UNUSED)
{
        char put[256];
        const struct mock_step steps[] = {
                {w->head, .status = 404},
                {w->post, .status = 202, .headers = SESSION},
                {put, .status = 404},
                {w->head, .status = 404},
                {w->post, .status = 202, .headers = SESSION},
                {put, .status = 201},
                {0},
        };

        (void)snprintf(put, sizeof(put), "PUT /up?digest=%s", w->digest);
        mock_script(w->reg, steps);
        connect_with((struct reg_opts){0});
        put_blob_ok(NULL, REG_PUT_UPLOADED);
        check_scripts();
}

static void test_push_token_dies(void **state UNUSED)
{
        char put[256];
        const struct mock_step steps[] = {
                {w->head, .status = 401, .headers = bearer_challenge()},
                {w->head, .has = {"Bearer t1"}, .status = 404},
                {w->post, .has = {"Bearer t1"}, .status = 202, .headers = SESSION},
                {put, .has = {"Bearer t1"}, .status = 401, .headers = bearer_challenge()},
                {w->head, .has = {"Bearer t2"}, .status = 404},
                {w->post, .has = {"Bearer t2"}, .status = 202, .headers = SESSION},
                {put, .has = {"Bearer t2"}, .status = 201},
                {0},
        };
        const struct mock_step tokens[] = {
                {TOKEN_GET "pull%2Cpush&account=ann", .status = 200, .body = "{\"token\":\"t1\"}"},
                {TOKEN_GET "pull%2Cpush&account=ann", .status = 200, .body = "{\"token\":\"t2\"}"},
                {0},
        };

        (void)snprintf(put, sizeof(put), "PUT /up?digest=%s", w->digest);
        mock_script(w->reg, steps);
        mock_script(w->other, tokens);
        connect_with((struct reg_opts){.creds = CREDS});
        put_blob_ok(NULL, REG_PUT_UPLOADED);
        check_scripts();
}

static void test_mounts(void **state UNUSED)
{
        char mount[256], put[256];
        const struct mock_step mounted[] = {{mount, .status = 201}, {0}};
        const struct mock_step session[] = {
                {mount, .status = 202, .headers = SESSION},
                {put, .status = 201},
                {0},
        };
        const struct mock_step refused[] = {
                {mount, .status = 405},
                {w->head, .status = 200, .headers = "Content-Length: 200000\r\n"},
                {0},
        };

        (void)snprintf(mount, sizeof(mount), "POST /v2/a/b/blobs/uploads/?mount=%s&from=c%%2Fd",
                       w->digest);
        (void)snprintf(put, sizeof(put), "PUT /up?digest=%s", w->digest);
        connect_with((struct reg_opts){0});
        mock_script(w->reg, mounted);
        put_blob_ok("c/d", REG_PUT_MOUNTED);
        mock_script(w->reg, session);
        put_blob_ok("c/d", REG_PUT_UPLOADED);
        mock_script(w->reg, refused);
        put_blob_ok("c/d", REG_PUT_PRESENT);
        check_scripts();
}

static void test_push_digest_refused(void **state UNUSED)
{
        char put[256];
        const struct mock_step steps[] = {
                {w->head, .status = 404},
                {w->post, .status = 202, .headers = SESSION},
                {put, .status = 400, .body = "{\"errors\":[{\"code\":\"DIGEST_INVALID\"}]}"},
                {w->head, .status = 404},
                {w->post, .status = 202, .headers = SESSION},
                {put, .status = 400, .body = "{\"errors\":[{\"code\":\"DIGEST_INVALID\"}]}"},
                {"DELETE /up", .status = 204},
                {0},
        };
        struct bld_err err = BLD_ERR_INIT;
        enum reg_put_how how;

        (void)snprintf(put, sizeof(put), "PUT /up?digest=%s", w->digest);
        mock_script(w->reg, steps);
        connect_with((struct reg_opts){0});
        assert_int_equal(put_blob(NULL, &how, &err), BLD_E_NETWORK);
        assert_non_null(strstr(err.msg, "DIGEST_INVALID"));
        check_scripts();
}

static void test_push_in_chunks(void **state UNUSED)
{
        char put[256], put2[256];
        const struct mock_step steps[] = {
                {w->head, .status = 404},
                {w->post, .status = 202, .headers = SESSION},
                {put, .status = 413},
                {"DELETE /up", .status = 404},
                {w->head, .status = 404},
                {w->post, .status = 202, .headers = SESSION},
                {"PATCH /up", .has = {"Content-Range: 0-199999\r\n"}, .status = 202,
                 .headers = "Location: /up2\r\nRange: 0-99999\r\n"},
                {"PATCH /up2", .has = {"Content-Range: 100000-199999\r\n"}, .status = 202,
                 .headers = "Location: /up3\r\nRange: bytes=0-199999\r\n"},
                {put2, .has = {"Content-Length: 0\r\n"}, .status = 201},
                {0},
        };

        (void)snprintf(put, sizeof(put), "PUT /up?digest=%s", w->digest);
        (void)snprintf(put2, sizeof(put2), "PUT /up3?digest=%s", w->digest);
        mock_script(w->reg, steps);
        connect_with((struct reg_opts){0});
        put_blob_ok(NULL, REG_PUT_UPLOADED);
        check_scripts();
}

#define BIG (3u << 20)

static ssize_t zero_pread(void *user UNUSED, void *p, size_t n, uint64_t off,
                          struct bld_err *err UNUSED)
{
        n = MIN(n, BIG - (size_t)off);
        memset(p, 0, n);
        return (ssize_t)n;
}

/* A large body waits for the server's word: what is refused was never sent. */
static void test_refused_before_the_body(void **state UNUSED)
{
        char head[256], put[256], put2[256], name[DIGEST_STR_MAX], *zero = calloc(1, BIG);
        const struct mock_step steps[] = {
                {head, .status = 401, .headers = bearer_challenge()},
                {head, .has = {"Bearer t1"}, .status = 404},
                {w->post, .has = {"Bearer t1"}, .status = 202, .headers = SESSION},
                /* token refused: the same session with a new one */
                {put, .has = {"Bearer t1", "Expect: 100-continue"}, .status = 401,
                 .headers = bearer_challenge(), .how = MOCK_EARLY},
                {put, .has = {"Bearer t2"}, .status = 413, .how = MOCK_EARLY},
                {"DELETE /up", .status = 204},
                {head, .status = 404},
                {w->post, .status = 202, .headers = SESSION},
                {"PATCH /up", .has = {"Content-Range: 0-3145727\r\n"}, .status = 202,
                 .headers = "Location: /up2\r\nRange: 0-3145727\r\n"},
                {put2, .status = 201},
                {0},
        };
        const struct mock_step tokens[] = {
                {TOKEN_GET "pull%2Cpush", .status = 200, .body = "{\"token\":\"t1\"}"},
                {TOKEN_GET "pull%2Cpush", .status = 200, .body = "{\"token\":\"t2\"}"},
                {0},
        };
        struct reg_source src = {.pread = zero_pread};
        struct img_desc d = {.size = BIG};
        struct bld_err err = BLD_ERR_INIT;
        enum reg_put_how how;

        assert_non_null(zero);
        digest_of(zero, BIG, &d.digest);
        free(zero);
        digest_format(&d.digest, name);
        (void)snprintf(head, sizeof(head), "HEAD /v2/a/b/blobs/%s", name);
        (void)snprintf(put, sizeof(put), "PUT /up?digest=%s", name);
        (void)snprintf(put2, sizeof(put2), "PUT /up2?digest=%s", name);
        mock_script(w->reg, steps);
        mock_script(w->other, tokens);
        connect_with((struct reg_opts){0});
        if (reg_blob_put(w->c, &w->ref, &d, &src, NULL, &how, &err) < 0)
                fail_msg("%s", err.msg);
        assert_int_equal(how, REG_PUT_UPLOADED);
        check_scripts();
}

/* The connection breaks in a chunk; the server has kept a part of it. */
static void test_chunk_resumed(void **state UNUSED)
{
        char put[256], put2[256];
        const struct mock_step steps[] = {
                {w->head, .status = 404},
                {w->post, .status = 202, .headers = SESSION},
                {put, .status = 413},
                {"DELETE /up", .status = 204},
                {w->head, .status = 404},
                {w->post, .status = 202, .headers = SESSION},
                {"PATCH /up", .how = MOCK_DROP},
                {"GET /up", .status = 204, .headers = "Location: /up5\r\nRange: 0-59999\r\n"},
                {"PATCH /up5", .has = {"Content-Range: 60000-199999\r\n"}, .status = 202,
                 .headers = "Location: /up6\r\nRange: 0-199999\r\n"},
                {put2, .status = 201},
                {0},
        };

        (void)snprintf(put, sizeof(put), "PUT /up?digest=%s", w->digest);
        (void)snprintf(put2, sizeof(put2), "PUT /up6?digest=%s", w->digest);
        mock_script(w->reg, steps);
        connect_with((struct reg_opts){0});
        put_blob_ok(NULL, REG_PUT_UPLOADED);
        check_scripts();
}

static void test_push_bad_location(void **state UNUSED)
{
        static const char *const rows[] = {NULL, "Location: http://169.254.169.254/x\r\n",
                                           "Location: gopher://x/\r\n"};

        connect_with((struct reg_opts){0});
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                const struct mock_step steps[] = {
                        {w->head, .status = 404},
                        {w->post, .status = 202, .headers = rows[i]},
                        {0},
                };
                struct bld_err err = BLD_ERR_INIT;
                enum reg_put_how how;

                mock_script(w->reg, steps);
                assert_int_equal(put_blob(NULL, &how, &err), BLD_E_CORRUPT);
        }
        check_scripts();
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                T(test_push),
                T(test_push_elsewhere),
                T(test_push_lost_answer),
                T(test_push_session_lost),
                T(test_push_token_dies),
                T(test_mounts),
                T(test_push_digest_refused),
                T(test_push_in_chunks),
                T(test_refused_before_the_body),
                T(test_chunk_resumed),
                T(test_push_bad_location),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
