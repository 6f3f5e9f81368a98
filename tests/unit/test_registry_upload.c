/* Uploads to scripted servers: sessions, chunks, mounts, lost answers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

/* A session that is lost every time ends with the registry's words. */
static void test_push_session_lost_always(void **state UNUSED)
{
        char put[256];
        const struct mock_step lost = {put, .status = 404,
                                       .body = "{\"errors\":[{\"code\":\"BLOB_UPLOAD_UNKNOWN\","
                                               "\"message\":\"no such\"}]}"};
        const struct mock_step look = {w->head, .status = 404};
        const struct mock_step open = {w->post, .status = 202, .headers = SESSION};
        const struct mock_step steps[] = {look, open, lost, look, open, lost, look,
                                          open, lost, look, open, lost, {0}};
        struct bld_err err = BLD_ERR_INIT;

        (void)snprintf(put, sizeof(put), "PUT /up?digest=%s", w->digest);
        mock_script(w->reg, steps);
        connect_with((struct reg_opts){0});
        assert_int_equal(put_blob(NULL, NULL, &err), BLD_E_NETWORK);
        assert_non_null(strstr(err.msg, "lost the upload session 4 times"));
        assert_non_null(strstr(err.msg, "404 (BLOB_UPLOAD_UNKNOWN: no such)"));
        check_scripts();
}

/* Tokens good for one request each: nothing would ever get through if every 401 led back to the
 * look. */
static void test_push_tokens_for_one_request(void **state UNUSED)
{
        char put[256];
        const struct mock_step steps[] = {
                {w->head, .status = 401, .headers = bearer_challenge()},
                {w->head, .has = {"Bearer t1"}, .status = 404},
                {w->post, .has = {"Bearer t1"}, .status = 401, .headers = bearer_challenge()},
                {w->post, .has = {"Bearer t2"}, .status = 202, .headers = SESSION},
                {put, .has = {"Bearer t2"}, .status = 401, .headers = bearer_challenge()},
                {w->head, .has = {"Bearer t3"}, .status = 404},
                {w->post, .has = {"Bearer t3"}, .status = 401, .headers = bearer_challenge()},
                {w->post, .has = {"Bearer t4"}, .status = 202, .headers = SESSION},
                {put, .has = {"Bearer t4"}, .status = 401, .headers = bearer_challenge()},
                {put, .has = {"Bearer t5", "Content-Length: 200000\r\n"}, .status = 201},
                {0},
        };
        const struct mock_step tokens[] = {
                {"GET /token*", .status = 200, .body = "{\"token\":\"t1\"}"},
                {"GET /token*", .status = 200, .body = "{\"token\":\"t2\"}"},
                {"GET /token*", .status = 200, .body = "{\"token\":\"t3\"}"},
                {"GET /token*", .status = 200, .body = "{\"token\":\"t4\"}"},
                {"GET /token*", .status = 200, .body = "{\"token\":\"t5\"}"},
                {0},
        };

        (void)snprintf(put, sizeof(put), "PUT /up?digest=%s", w->digest);
        mock_script(w->reg, steps);
        mock_script(w->other, tokens);
        connect_with((struct reg_opts){.creds = CREDS});
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
                {"PATCH /up", .has = {"Content-Range: 0-99999\r\n"}, .status = 202,
                 .headers = "Location: /up2\r\nRange: 0-49999\r\n"}, /* kept a part */
                {"PATCH /up2", .has = {"Content-Range: 50000-149999\r\n"}, .status = 202,
                 .headers = "Location: /up3\r\nRange: bytes=0-149999\r\n"},
                {"PATCH /up3", .has = {"Content-Range: 150000-199999\r\n"}, .status = 202,
                 .headers = "Location: /up4\r\nRange: 0-199999\r\n"},
                {put2, .has = {"Content-Length: 0\r\n"}, .status = 201},
                {0},
        };

        (void)snprintf(put, sizeof(put), "PUT /up?digest=%s", w->digest);
        (void)snprintf(put2, sizeof(put2), "PUT /up4?digest=%s", w->digest);
        mock_script(w->reg, steps);
        connect_with((struct reg_opts){0});
        put_blob_ok(NULL, REG_PUT_UPLOADED);
        check_scripts();
}

/* Parts are refused for their size, too: smaller ones, until they pass or cannot be smaller. */
static void test_push_in_smaller_chunks(void **state UNUSED)
{
        char put[256], put2[256];
        const struct mock_step steps[] = {
                {w->head, .status = 404},
                {w->post, .status = 202, .headers = SESSION},
                {put, .status = 413},
                {"DELETE /up", .status = 204},
                {w->head, .status = 404},
                {w->post, .status = 202, .headers = SESSION},
                {"PATCH /up", .has = {"Content-Range: 0-99999\r\n"}, .status = 413},
                {"DELETE /up", .status = 204},
                {w->head, .status = 404},
                {w->post, .status = 202, .headers = SESSION},
                {"PATCH /up", .has = {"Content-Range: 0-65535\r\n"}, .status = 202,
                 .headers = "Location: /up2?a=1\r\nRange: 0-65535\r\n"},
                {"PATCH /up2?a=1", .has = {"Content-Range: 65536-131071\r\n"}, .status = 202,
                 .headers = "Location: /up3?a=2\r\nRange: 0-131071\r\n"},
                {"PATCH /up3?a=2", .has = {"Content-Range: 131072-196607\r\n"}, .status = 202,
                 .headers = "Location: /up4?a=3\r\nRange: 0-196607\r\n"},
                {"PATCH /up4?a=3", .has = {"Content-Range: 196608-199999\r\n"}, .status = 202,
                 .headers = "Location: /up5?a=4\r\nRange: 0-199999\r\n"},
                {put2, .status = 201},
                {0},
        };

        (void)snprintf(put, sizeof(put), "PUT /up?digest=%s", w->digest);
        (void)snprintf(put2, sizeof(put2), "PUT /up5?a=4&digest=%s", w->digest);
        mock_script(w->reg, steps);
        connect_with((struct reg_opts){0});
        put_blob_ok(NULL, REG_PUT_UPLOADED);
        check_scripts();
}

/* The least length the registry asks for is kept to, but for the last part. */
static void test_chunk_min_length(void **state UNUSED)
{
        char put[256], put2[256];
        const struct mock_step steps[] = {
                {w->head, .status = 404},
                {w->post, .status = 202, .headers = SESSION},
                {put, .status = 413},
                {"DELETE /up", .status = 204},
                {w->head, .status = 404},
                {w->post, .status = 202, .headers = SESSION "OCI-Chunk-Min-Length: 150000\r\n"},
                {"PATCH /up", .has = {"Content-Range: 0-149999\r\n"}, .status = 202,
                 .headers = SESSION "Range: 0-149999\r\n"},
                {"PATCH /up", .has = {"Content-Range: 150000-199999\r\n"}, .status = 202,
                 .headers = SESSION "Range: 0-199999\r\n"},
                {put2, .status = 201},
                {0},
        };

        (void)snprintf(put, sizeof(put), "PUT /up?digest=%s", w->digest);
        (void)snprintf(put2, sizeof(put2), "PUT /up?digest=%s", w->digest);
        mock_script(w->reg, steps);
        connect_with((struct reg_opts){0});
        put_blob_ok(NULL, REG_PUT_UPLOADED);
        check_scripts();
}

/* Answers to a part that fit none: whole bodies from then on, for all blobs of the host. */
static void test_chunks_answered_wrongly(void **state UNUSED)
{
        static const struct {
                int status;
                const char *headers;
                bool cancels; /* the session can still be open */
        } rows[] = {
                {202, "Location: /up\r\n", true},
                {202, "Location: /up\r\nRange: 0-199999\r\n", true}, /* more than was sent */
                {202, "Location: /up\r\nRange: nonsense\r\n", true},
                {200, "Location: /up\r\nRange: 0-99999\r\n", true},
                {201, "Location: /x\r\n", false},
        };
        char put[256];

        (void)snprintf(put, sizeof(put), "PUT /up?digest=%s", w->digest);
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                const struct mock_step steps[] = {
                        {w->head, .status = 404},
                        {w->post, .status = 202, .headers = SESSION},
                        {put, .status = 413},
                        {"DELETE /up", .status = 204},
                        {w->head, .status = 404},
                        {w->post, .status = 202, .headers = SESSION},
                        {"PATCH /up", .status = rows[i].status, .headers = rows[i].headers},
                        {rows[i].cancels ? "DELETE /up" : w->head,
                         .status = rows[i].cancels ? 204 : 404},
                        {rows[i].cancels ? w->head : w->post, .status = rows[i].cancels ? 404 : 202,
                         .headers = SESSION},
                        {rows[i].cancels ? w->post : put, .status = rows[i].cancels ? 202 : 201,
                         .headers = SESSION},
                        {put, .status = 201, .optional = !rows[i].cancels},
                        {0},
                };

                print_message("# row %zu\n", i);
                mock_script(w->reg, steps);
                img_ref_done(&w->ref);
                connect_with((struct reg_opts){0});
                put_blob_ok(NULL, REG_PUT_UPLOADED);
                reg_client_free(w->c);
                w->c = NULL;
        }
        check_scripts();
}

/* A whole body breaks, and the session has a part: the rest is sent behind it. */
static void test_whole_body_resumed(void **state UNUSED)
{
        char put[256], put2[256];
        const struct mock_step steps[] = {
                {w->head, .status = 404},
                {w->post, .status = 202, .headers = SESSION},
                {put, .how = MOCK_DROP},
                {w->head, .status = 404},
                {"GET /up", .status = 204, .headers = "Location: /up2?s=1\r\nRange: 0-99999\r\n"},
                {"PATCH /up2?s=1", .has = {"Content-Range: 100000-199999\r\n"}, .status = 202,
                 .headers = "Location: /up3\r\nRange: 0-199999\r\n"},
                {put2, .status = 503}, /* the end fails, too */
                {w->head, .status = 404},
                {"GET /up3", .status = 204, .headers = "Range: 0-199999\r\n"},
                {put2, .status = 201},
                {0},
        };

        (void)snprintf(put, sizeof(put), "PUT /up?digest=%s", w->digest);
        (void)snprintf(put2, sizeof(put2), "PUT /up3?digest=%s", w->digest);
        mock_script(w->reg, steps);
        connect_with((struct reg_opts){0});
        put_blob_ok(NULL, REG_PUT_UPLOADED);
        check_scripts();
}

/* The session has died with the connection, or has nothing: another one. */
static void test_broken_session_is_gone(void **state UNUSED)
{
        static const struct {
                int status;
                const char *headers;
        } rows[] = {{404, NULL}, {204, "Range: 0-0\r\n"}, {400, NULL}};
        char put[256];

        (void)snprintf(put, sizeof(put), "PUT /up?digest=%s", w->digest);
        connect_with((struct reg_opts){0});
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                const struct mock_step steps[] = {
                        {w->head, .status = 404},
                        {w->post, .status = 202, .headers = SESSION},
                        {put, .how = MOCK_DROP},
                        {w->head, .status = 404},
                        {"GET /up", .status = rows[i].status, .headers = rows[i].headers},
                        {rows[i].status == 404 ? w->post : "DELETE /up",
                         .status = rows[i].status == 404 ? 202 : 204, .headers = SESSION},
                        {rows[i].status == 404 ? put : w->post,
                         .status = rows[i].status == 404 ? 201 : 202, .headers = SESSION},
                        {put, .status = 201, .optional = rows[i].status == 404},
                        {0},
                };

                print_message("# row %zu\n", i);
                mock_script(w->reg, steps);
                put_blob_ok(NULL, REG_PUT_UPLOADED);
        }
        check_scripts();
}

/* Statuses of a part: a wait, a look at the session, and on from there. */
static void test_chunk_faults(void **state UNUSED)
{
        static const int rows[] = {500, 503, 429, 416};
        char put[256], put2[256];

        (void)snprintf(put, sizeof(put), "PUT /up?digest=%s", w->digest);
        (void)snprintf(put2, sizeof(put2), "PUT /up6?digest=%s", w->digest);
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                const struct mock_step steps[] = {
                        {w->head, .status = 404},
                        {w->post, .status = 202, .headers = SESSION},
                        {put, .status = 413},
                        {"DELETE /up", .status = 204},
                        {w->head, .status = 404},
                        {w->post, .status = 202, .headers = SESSION},
                        {"PATCH /up", .status = rows[i], .headers = "Retry-After: 0\r\n"},
                        {"GET /up", .status = 204,
                         .headers = "Location: /up5\r\nRange: 0-149999\r\n"},
                        {"PATCH /up5", .has = {"Content-Range: 150000-199999\r\n"}, .status = 202,
                         .headers = "Location: /up6\r\nRange: 0-199999\r\n"},
                        {put2, .status = 201},
                        {0},
                };

                print_message("# %d\n", rows[i]);
                mock_script(w->reg, steps);
                img_ref_done(&w->ref);
                connect_with((struct reg_opts){0});
                put_blob_ok(NULL, REG_PUT_UPLOADED);
                reg_client_free(w->c);
                w->c = NULL;
        }
        check_scripts();
}

/* The token may push and not read: the POST decides. */
static void test_push_without_reading(void **state UNUSED)
{
        char put[256];
        const struct mock_step steps[] = {
                {w->head, .status = 401, .headers = "WWW-Authenticate: Basic realm=x\r\n"},
                {w->head, .has = {BASIC}, .status = 403},
                {w->post, .has = {BASIC}, .status = 202, .headers = SESSION},
                {put, .has = {BASIC}, .status = 503},
                {w->post, .status = 202, .headers = SESSION}, /* no look that cannot work */
                {put, .status = 201},
                {0},
        };

        (void)snprintf(put, sizeof(put), "PUT /up?digest=%s", w->digest);
        mock_script(w->reg, steps);
        connect_with((struct reg_opts){.creds = CREDS});
        put_blob_ok(NULL, REG_PUT_UPLOADED);
        check_scripts();
}

/* A mount never makes a push fail: whatever comes, the ordinary way follows. */
static void test_mount_refusals(void **state UNUSED)
{
        static const struct {
                int status;
                const char *headers;
        } rows[] = {
                {400, NULL},
                {401, "WWW-Authenticate: Basic realm=x\r\n"},
                {403, NULL},
                {404, NULL},
                {500, NULL},
                {202, NULL}, /* without a Location */
                {201, "Docker-Content-Digest: sha256:"
                      "0000000000000000000000000000000000000000000000000000000000000000\r\n"},
        };
        char mount[256];

        (void)snprintf(mount, sizeof(mount), "POST /v2/a/b/blobs/uploads/?mount=%s&from=c%%2Fd",
                       w->digest);
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                const struct mock_step steps[] = {
                        {mount, .status = rows[i].status, .headers = rows[i].headers},
                        {w->head, .status = 200, .headers = "Content-Length: 200000\r\n"},
                        {0},
                };

                print_message("# row %zu\n", i);
                mock_script(w->reg, steps);
                img_ref_done(&w->ref);
                connect_with((struct reg_opts){0});
                put_blob_ok("c/d", REG_PUT_PRESENT);
                reg_client_free(w->c);
                w->c = NULL;
        }
        check_scripts();
}

/* Odd answers to the closing PUT: a look decides. */
static void test_odd_success(void **state UNUSED)
{
        static const int rows[] = {200, 204};
        char put[256];

        (void)snprintf(put, sizeof(put), "PUT /up?digest=%s", w->digest);
        connect_with((struct reg_opts){0});
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                const struct mock_step steps[] = {
                        {w->head, .status = 404},
                        {w->post, .status = 202, .headers = SESSION},
                        {put, .status = rows[i]},
                        {w->head, .status = 200, .headers = "Content-Length: 200000\r\n"},
                        {0},
                };

                mock_script(w->reg, steps);
                put_blob_ok(NULL, REG_PUT_PRESENT);
        }
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
                {"PATCH /up", .has = {"Content-Range: 0-1572863\r\n"}, .status = 202,
                 .headers = "Location: /up1\r\nRange: 0-1572863\r\n"},
                {"PATCH /up1", .has = {"Content-Range: 1572864-3145727\r\n"}, .status = 202,
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

/* 417: the same request without, and none with it to this host again. */
static void test_expectation_failed(void **state UNUSED)
{
        char head[256], put[256], name[DIGEST_STR_MAX], *zero = calloc(1, BIG);
        const struct mock_step steps[] = {
                {head, .status = 404},
                {w->post, .status = 202, .headers = SESSION},
                {put, .has = {"Expect: 100-continue"}, .status = 417, .how = MOCK_EARLY},
                {put, .hasnt = {"Expect"}, .status = 503},
                {head, .status = 404},
                {w->post, .status = 202, .headers = SESSION},
                {put, .hasnt = {"Expect"}, .status = 201},
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
        mock_script(w->reg, steps);
        connect_with((struct reg_opts){0});
        if (reg_blob_put(w->c, &w->ref, &d, &src, NULL, &how, &err) < 0)
                fail_msg("%s", err.msg);
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
                {"PATCH /up5", .has = {"Content-Range: 60000-159999\r\n"}, .status = 202,
                 .headers = "Location: /up51\r\nRange: 0-159999\r\n"},
                {"PATCH /up51", .has = {"Content-Range: 160000-199999\r\n"}, .status = 202,
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

/* What docker's config adds goes to the registry and not to where it sends us. */
static void test_http_headers(void **state UNUSED)
{
        char put[256], loc[160], dir[] = "/tmp/bld-dockercfg-XXXXXX", path[64];
        static const char text[] = "{\"HttpHeaders\":{\"X-Meta\":\"m1\",\"Authorization\":\"evil\","
                                   "\"X-Bad\":\"a\\r\\nb\",\"Host\":\"h\",\"Bad Name\":\"x\"}}";
        const struct mock_step steps[] = {
                {w->head, .has = {"X-Meta: m1\r\n"},
                 .hasnt = {"evil", "X-Bad", "Bad Name", "Host: h"}, .status = 404},
                {w->post, .has = {"X-Meta: m1\r\n"}, .status = 202, .headers = loc},
                {0},
        };
        const struct mock_step storage[] = {
                {put, .hasnt = {"X-Meta"}, .status = 201},
                {0},
        };
        FILE *f;

        assert_non_null(mkdtemp(dir));
        (void)snprintf(path, sizeof(path), "%s/config.json", dir);
        f = fopen(path, "we");
        assert_non_null(f);
        (void)fputs(text, f);
        (void)fclose(f);
        (void)setenv("DOCKER_CONFIG", dir, 1);
        (void)snprintf(loc, sizeof(loc), "Location: http://%s/up\r\n", mock_host(w->other));
        (void)snprintf(put, sizeof(put), "PUT /up?digest=%s", w->digest);
        mock_script(w->reg, steps);
        mock_script(w->other, storage);
        connect_with((struct reg_opts){0});
        put_blob_ok(NULL, REG_PUT_UPLOADED);
        (void)unsetenv("DOCKER_CONFIG");
        (void)remove(path);
        (void)rmdir(dir);
        check_scripts();
}

static void test_known_registries(void **state UNUSED)
{
        static const struct {
                const char *name;
                uint64_t chunk_max;
                bool no_chunks;
        } rows[] = {
                {"ghcr.io", 4u << 20, false},
                {"ghcr.io:443", 4u << 20, false},
                {"notghcr.io", 0, false},
                {"europe-docker.pkg.dev", 0, true},
                {"eu.gcr.io", 0, true},
                {"gcr.io", 0, true},
                {"1234.dkr.ecr.eu-west-1.amazonaws.com", 0, true},
                {"registry-1.docker.io", 0, false},
        };

        connect_with((struct reg_opts){0});
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct reg_host *h = NULL;

                print_message("# %s\n", rows[i].name);
                assert_int_equal(reg_host_get(w->c, rows[i].name, &h, NULL), 0);
                assert_int_equal(h->chunk_max, rows[i].chunk_max);
                assert_int_equal(h->no_chunks, rows[i].no_chunks);
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
                T(test_push_session_lost_always),
                T(test_push_token_dies),
                T(test_push_tokens_for_one_request),
                T(test_mounts),
                T(test_push_digest_refused),
                T(test_push_in_chunks),
                T(test_push_in_smaller_chunks),
                T(test_chunk_min_length),
                T(test_chunks_answered_wrongly),
                T(test_whole_body_resumed),
                T(test_broken_session_is_gone),
                T(test_chunk_faults),
                T(test_push_without_reading),
                T(test_mount_refusals),
                T(test_odd_success),
                T(test_http_headers),
                T(test_known_registries),
                T(test_refused_before_the_body),
                T(test_chunk_resumed),
                T(test_expectation_failed),
                T(test_push_bad_location),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
