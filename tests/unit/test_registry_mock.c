/* The client against scripted servers: sequences of requests, headers that must be absent, faults.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cancel.h"
#include "base/err.h"
#include "base/num.h"
#include "mock_http.h"
#include "registry/client_priv.h"
#include "registry/registry.h"

#define BASIC "Basic YW5uOnMzY3JldA==" /* ann:s3cret */
#define CREDS "ann:s3cret"

/* One test's world. */
struct world {
        struct mock *reg, *other;
        struct reg_client *c;
        struct img_ref ref;
        struct sb notes;
        char blob[200000];
        struct img_desc desc;
        char url[256]; /* "/v2/a/b/blobs/sha256:..." with "GET " */
        char head[256], post[64], digest[DIGEST_STR_MAX];
        struct sb got;
        unsigned rewinds;
};

static struct world *w;

static void on_note(void *user, const char *text)
{
        sb_fmt(user, "%s\n", text);
}

static int setup(void **state UNUSED)
{
        w = calloc(1, sizeof(*w));
        w->notes = SB_INIT(64u << 10);
        w->got = SB_INIT(1u << 20);
        w->reg = mock_start();
        w->other = mock_start();
        for (size_t i = 0; i < sizeof(w->blob); i++)
                w->blob[i] = (char)(i * 7 + i / 251);
        w->desc.size = sizeof(w->blob);
        digest_of(w->blob, sizeof(w->blob), &w->desc.digest);
        digest_format(&w->desc.digest, w->digest);
        (void)snprintf(w->url, sizeof(w->url), "GET /v2/a/b/blobs/%s", w->digest);
        (void)snprintf(w->head, sizeof(w->head), "HEAD /v2/a/b/blobs/%s", w->digest);
        (void)snprintf(w->post, sizeof(w->post), "POST /v2/a/b/blobs/uploads/");
        (void)setenv("HOME", "/nonexistent", 1);
        return 0;
}

static int teardown(void **state UNUSED)
{
        reg_client_free(w->c);
        img_ref_done(&w->ref);
        if (w->reg)
                free(mock_stop(w->reg));
        if (w->other)
                free(mock_stop(w->other));
        sb_done(&w->notes);
        sb_done(&w->got);
        free(w);
        return 0;
}

/* Client with short times, for the mock's host. */
static void connect_with(struct reg_opts o)
{
        struct bld_err err = BLD_ERR_INIT;
        char name[64];

        o.note = on_note;
        o.user = &w->notes;
        assert_int_equal(reg_client_new(&o, &w->c, &err), 0);
        w->c->timing.backoff = 1;
        w->c->timing.resume = 1;
        (void)snprintf(name, sizeof(name), "%s/a/b:v1", mock_host(w->reg));
        assert_int_equal(img_ref_parse(name, &w->ref, &err), 0);
}

/* Stop both servers; fail when a script was not followed. */
static void check_scripts(void)
{
        char *a, *b;

        reg_client_free(w->c); /* no late request after this */
        w->c = NULL;
        a = mock_stop(w->reg);
        b = mock_stop(w->other);
        w->reg = w->other = NULL;
        if (a || b)
                fail_msg("registry: %s\nother: %s", a ? a : "fine", b ? b : "fine");
}

static int sink_write(void *user UNUSED, const void *p, size_t n, struct bld_err *err UNUSED)
{
        sb_add(&w->got, p, n);
        return 0;
}

static int sink_rewind(void *user UNUSED, struct bld_err *err UNUSED)
{
        sb_reset(&w->got);
        w->rewinds++;
        return 0;
}

static int get_blob(struct bld_err *err)
{
        struct reg_sink sink = {.write = sink_write, .rewind = sink_rewind};

        return reg_blob_get(w->c, &w->ref, &w->desc, &sink, err);
}

static void get_blob_ok(void)
{
        struct bld_err err = BLD_ERR_INIT;

        if (get_blob(&err) < 0)
                fail_msg("%s", err.msg);
        assert_int_equal(w->got.len, sizeof(w->blob));
        assert_memory_equal(w->got.buf, w->blob, sizeof(w->blob));
}

static ssize_t source_pread(void *user UNUSED, void *p, size_t n, uint64_t off,
                            struct bld_err *err UNUSED)
{
        n = MIN(n, sizeof(w->blob) - (size_t)off);
        memcpy(p, w->blob + off, n);
        return (ssize_t)n;
}

static int put_blob(const char *from, enum reg_put_how *how, struct bld_err *err)
{
        struct reg_source src = {.pread = source_pread};

        return reg_blob_put(w->c, &w->ref, &w->desc, &src, from, how, err);
}

static void put_blob_ok(const char *from, enum reg_put_how want)
{
        struct bld_err err = BLD_ERR_INIT;
        enum reg_put_how how;

        if (put_blob(from, &how, &err) < 0)
                fail_msg("%s", err.msg);
        assert_int_equal(how, want);
}

static const char *range_of(size_t from)
{
        static char s[96];

        (void)snprintf(s, sizeof(s), "Content-Range: bytes %zu-%zu/%zu\r\n", from,
                       sizeof(w->blob) - 1, sizeof(w->blob));
        return s;
}

static const char doc[] =
        "{\"schemaVersion\":2,\"mediaType\":\"" MT_OCI_INDEX "\",\"manifests\":[]}";

/* ---- downloads ---- */

static void test_resume(void **state UNUSED)
{
        const struct mock_step steps[] = {
                {w->url, .hasnt = {"Range:", "Authorization", "Accept-Encoding", "Cookie"},
                 .status = 200, .body = w->blob, .body_len = sizeof(w->blob), .how = MOCK_CUT,
                 .cut = 70000},
                {w->url, .has = {"Range: bytes=70000-\r\n"}, .status = 206,
                 .headers = range_of(70000), .body = w->blob + 70000,
                 .body_len = sizeof(w->blob) - 70000},
                {0},
        };

        mock_script(w->reg, steps);
        connect_with((struct reg_opts){0});
        get_blob_ok();
        assert_int_equal(w->rewinds, 0);
        check_scripts();
}

static void test_resume_ignored(void **state UNUSED)
{
        const struct mock_step steps[] = {
                {w->url, .status = 200, .body = w->blob, .body_len = sizeof(w->blob),
                 .how = MOCK_CUT, .cut = 70000},
                {w->url, .has = {"Range: bytes=70000-"}, .status = 200, .body = w->blob,
                 .body_len = sizeof(w->blob)},
                {0},
        };

        mock_script(w->reg, steps);
        connect_with((struct reg_opts){0});
        get_blob_ok();
        assert_int_equal(w->rewinds, 1);
        check_scripts();
}

static void test_resume_wrong_range(void **state UNUSED)
{
        const struct mock_step steps[] = {
                {w->url, .status = 200, .body = w->blob, .body_len = sizeof(w->blob),
                 .how = MOCK_CUT, .cut = 70000},
                {w->url, .has = {"Range: bytes=70000-"}, .status = 206, .headers = range_of(69999),
                 .body = w->blob + 69999, .body_len = sizeof(w->blob) - 69999},
                {w->url, .hasnt = {"Range:"}, .status = 200, .body = w->blob,
                 .body_len = sizeof(w->blob)},
                {0},
        };

        mock_script(w->reg, steps);
        connect_with((struct reg_opts){0});
        get_blob_ok();
        assert_int_equal(w->rewinds, 1);
        check_scripts();
}

static void test_resume_416(void **state UNUSED)
{
        const struct mock_step steps[] = {
                {w->url, .status = 200, .body = w->blob, .body_len = sizeof(w->blob),
                 .how = MOCK_CUT, .cut = 70000},
                {w->url, .has = {"Range: bytes=70000-"}, .status = 416},
                {w->url, .hasnt = {"Range:"}, .status = 200, .body = w->blob,
                 .body_len = sizeof(w->blob)},
                {0},
        };

        mock_script(w->reg, steps);
        connect_with((struct reg_opts){0});
        get_blob_ok();
        check_scripts();
}

static void test_wrong_digest(void **state UNUSED)
{
        char bad[sizeof(w->blob)];
        const struct mock_step steps[] = {
                {w->url, .status = 200, .body = bad, .body_len = sizeof(bad)},
                {w->url, .has = {"Cache-Control: no-cache"}, .hasnt = {"Range:"}, .status = 200,
                 .body = bad, .body_len = sizeof(bad)},
                {0},
        };
        struct bld_err err = BLD_ERR_INIT;

        memcpy(bad, w->blob, sizeof(bad));
        bad[sizeof(bad) - 1] ^= 1;
        mock_script(w->reg, steps);
        connect_with((struct reg_opts){0});
        assert_int_equal(get_blob(&err), BLD_E_CORRUPT);
        assert_non_null(strstr(err.msg, w->digest));
        check_scripts();
}

static void test_wrong_length(void **state UNUSED)
{
        static const struct {
                const char *name;
                size_t len;
                bool no_length;
        } rows[] = {
                {"announced longer", 200001, false},
                {"announced shorter", 199999, false},
                {"longer, unannounced", 200001, true},
        };
        char longer[200001] = {0};
        struct bld_err err = BLD_ERR_INIT;

        memcpy(longer, w->blob, sizeof(w->blob));
        connect_with((struct reg_opts){0});
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                const struct mock_step steps[] = {
                        {w->url, .status = 200, .body = longer, .body_len = rows[i].len,
                         .no_length = rows[i].no_length},
                        {0},
                };

                print_message("# %s\n", rows[i].name);
                err_clear(&err);
                sb_reset(&w->got);
                mock_script(w->reg, steps);
                assert_int_equal(get_blob(&err), BLD_E_CORRUPT);
        }
        check_scripts();
}

static void test_short_body_gives_up(void **state UNUSED)
{
        /* no progress after the first break: the ordinary budget counts */
        const struct mock_step steps[] = {
                {w->url, .status = 200, .body = w->blob, .body_len = sizeof(w->blob),
                 .how = MOCK_CUT, .cut = 1000},
                {w->url, .has = {"Range: bytes=1000-"}, .how = MOCK_DROP, .times = 4},
                {0},
        };
        struct bld_err err = BLD_ERR_INIT;

        mock_script(w->reg, steps);
        connect_with((struct reg_opts){.retries = 3});
        assert_int_equal(get_blob(&err), BLD_E_NETWORK);
        check_scripts();
}

static void test_unasked_part(void **state UNUSED)
{
        const struct mock_step steps[] = {
                {w->url, .status = 206, .headers = range_of(10), .body = w->blob + 10,
                 .body_len = sizeof(w->blob) - 10},
                {0},
        };
        struct bld_err err = BLD_ERR_INIT;

        mock_script(w->reg, steps);
        connect_with((struct reg_opts){0});
        assert_int_equal(get_blob(&err), BLD_E_CORRUPT);
        check_scripts();
}

/* No ranges, and it always breaks at the same place: that is no progress, however long it takes. */
static void test_no_ranges_gives_up(void **state UNUSED)
{
        const struct mock_step steps[] = {
                {w->url, .status = 200, .body = w->blob, .body_len = sizeof(w->blob),
                 .how = MOCK_CUT, .cut = 70000, .times = 4},
                {0},
        };
        struct bld_err err = BLD_ERR_INIT;

        mock_script(w->reg, steps);
        connect_with((struct reg_opts){.retries = 2});
        assert_int_equal(get_blob(&err), BLD_E_NETWORK);
        check_scripts();
}

static void test_redirect_drops_authorization(void **state UNUSED)
{
        char to[160];
        const struct mock_step steps[] = {
                {w->url, .hasnt = {"Authorization"}, .status = 401,
                 .headers = "WWW-Authenticate: Basic realm=\"x\"\r\n"},
                {w->url, .has = {"Authorization: " BASIC}, .status = 307, .headers = to},
                {w->url, .has = {"Authorization: " BASIC}, .status = 307, .headers = to},
                {0},
        };
        const struct mock_step storage[] = {
                {"GET /bucket/x?sig=1%2F2", .hasnt = {"Authorization"}, .status = 200,
                 .body = w->blob, .body_len = sizeof(w->blob), .how = MOCK_CUT, .cut = 70000},
                /* a signed URL is never used twice: the registry is asked again */
                {"GET /bucket/x?sig=1%2F2", .hasnt = {"Authorization"},
                 .has = {"Range: bytes=70000-"}, .status = 206, .headers = range_of(70000),
                 .body = w->blob + 70000, .body_len = sizeof(w->blob) - 70000},
                {0},
        };

        (void)snprintf(to, sizeof(to), "Location: http://%s/bucket/x?sig=1%%2F2\r\n",
                       mock_host(w->other));
        mock_script(w->reg, steps);
        mock_script(w->other, storage);
        connect_with((struct reg_opts){.creds = CREDS});
        get_blob_ok();
        check_scripts();
}

static void test_redirect_refused(void **state UNUSED)
{
        static const char *const places[] = {
                "Location: http://169.254.169.254/latest/meta-data\r\n",
                "Location: http://[fd00:ec2::254]/\r\n",
                "Location: http://user:pw@example.com/\r\n",
                "Location: ftp://example.com/\r\n",
        };

        connect_with((struct reg_opts){0});
        for (size_t i = 0; i < ARRAY_LEN(places); i++) {
                const struct mock_step steps[] = {
                        {w->url, .status = 307, .headers = places[i]},
                        {0},
                };
                struct bld_err err = BLD_ERR_INIT;

                print_message("# %s", places[i]);
                mock_script(w->reg, steps);
                assert_int_equal(get_blob(&err), BLD_E_CORRUPT);
        }
        check_scripts();
}

static void test_storage_expired(void **state UNUSED)
{
        char to[160];
        const struct mock_step steps[] = {
                {w->url, .status = 307, .headers = to},
                {w->url, .status = 307, .headers = to},
                {0},
        };
        const struct mock_step storage[] = {
                {"GET /x", .status = 403, .body = "<Error>expired</Error>"},
                {"GET /x", .status = 200, .body = w->blob, .body_len = sizeof(w->blob)},
                {0},
        };

        (void)snprintf(to, sizeof(to), "Location: http://%s/x\r\n", mock_host(w->other));
        mock_script(w->reg, steps);
        mock_script(w->other, storage);
        connect_with((struct reg_opts){0});
        get_blob_ok();
        check_scripts();
}

/* ---- retries ---- */

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

/* ---- authentication ---- */

static char challenge[256];

static const char *bearer_challenge(void)
{
        (void)snprintf(challenge, sizeof(challenge),
                       "WWW-Authenticate: Bearer realm=\"http://%s/token?x=1\",service=\"reg\","
                       "scope=\"repository:a/b:pull\"\r\n",
                       mock_host(w->other));
        return challenge;
}

#define TOKEN_GET "GET /token?x=1&client_id=bld&service=reg&scope=repository%3Aa%2Fb%3A"

static void test_bearer(void **state UNUSED)
{
        const struct mock_step steps[] = {
                {w->url, .hasnt = {"Authorization"}, .status = 401, .headers = bearer_challenge()},
                {w->url, .has = {"Authorization: Bearer t0k\r\n"}, .status = 200, .body = w->blob,
                 .body_len = sizeof(w->blob)},
                {w->url, .has = {"Authorization: Bearer t0k\r\n"}, .status = 200, .body = w->blob,
                 .body_len = sizeof(w->blob)},
                {0},
        };
        const struct mock_step tokens[] = {
                {TOKEN_GET "pull&account=ann", .has = {"Authorization: " BASIC}, .status = 200,
                 .body = "{\"token\":\"t0k\",\"expires_in\":300}"},
                {0},
        };

        mock_script(w->reg, steps);
        mock_script(w->other, tokens);
        connect_with((struct reg_opts){.creds = CREDS});
        get_blob_ok();
        sb_reset(&w->got);
        get_blob_ok();
        check_scripts();
}

static void test_bearer_anonymous(void **state UNUSED)
{
        const struct mock_step steps[] = {
                {w->url, .status = 401, .headers = bearer_challenge()},
                {w->url, .has = {"Authorization: Bearer anon\r\n"}, .status = 200, .body = w->blob,
                 .body_len = sizeof(w->blob)},
                {0},
        };
        const struct mock_step tokens[] = {
                {TOKEN_GET "pull", .hasnt = {"Authorization"}, .status = 200,
                 .body = "{\"access_token\":\"anon\"}"},
                {0},
        };

        mock_script(w->reg, steps);
        mock_script(w->other, tokens);
        connect_with((struct reg_opts){0});
        get_blob_ok();
        check_scripts();
}

static void test_bearer_post_fallback(void **state UNUSED)
{
        const struct mock_step steps[] = {
                {w->url, .status = 401, .headers = bearer_challenge()},
                {w->url, .has = {"Authorization: Bearer t\r\n"}, .status = 200, .body = w->blob,
                 .body_len = sizeof(w->blob)},
                {0},
        };
        const struct mock_step tokens[] = {
                {TOKEN_GET "pull&account=ann", .status = 405},
                {"POST /token?x=1", .hasnt = {"Authorization"},
                 .body_has = "grant_type=password&service=reg&scope=repository%3Aa%2Fb%3Apull"
                             "&username=ann&password=s3cret",
                 .status = 200, .body = "{\"token\":\"t\"}"},
                {0},
        };

        mock_script(w->reg, steps);
        mock_script(w->other, tokens);
        connect_with((struct reg_opts){.creds = CREDS});
        get_blob_ok();
        check_scripts();
}

static void test_bearer_identity(void **state UNUSED)
{
        const struct mock_step steps[] = {
                {w->url, .status = 401, .headers = bearer_challenge()},
                {w->url, .has = {"Authorization: Bearer t\r\n"}, .status = 200, .body = w->blob,
                 .body_len = sizeof(w->blob)},
                {0},
        };
        const struct mock_step tokens[] = {
                {"POST /token?x=1", .body_has = "grant_type=refresh_token", .status = 200,
                 .body = "{\"access_token\":\"t\",\"refresh_token\":\"next\"}"},
                {0},
        };
        char login[256];

        (void)snprintf(login, sizeof(login), "{\"auths\":{\"%s\":{\"identitytoken\":\"idtok\"}}}",
                       mock_host(w->reg));
        (void)setenv("DOCKER_AUTH_CONFIG", login, 1);
        mock_script(w->reg, steps);
        mock_script(w->other, tokens);
        connect_with((struct reg_opts){0});
        get_blob_ok();
        (void)unsetenv("DOCKER_AUTH_CONFIG");
        check_scripts();
}

/* The body of the POST is a secret: a redirect to another origin is not followed. */
static void test_token_redirect(void **state UNUSED)
{
        char to[96];
        const struct mock_step steps[] = {
                {w->url, .status = 401, .headers = bearer_challenge()},
                {0},
        };
        const struct mock_step tokens[] = {
                {"POST /token?x=1", .status = 307, .headers = to},
                {0},
        };
        struct bld_err err = BLD_ERR_INIT;
        char login[256];

        (void)snprintf(to, sizeof(to), "Location: http://%s/steal\r\n", mock_host(w->reg));
        (void)snprintf(login, sizeof(login), "{\"auths\":{\"%s\":{\"identitytoken\":\"idtok\"}}}",
                       mock_host(w->reg));
        (void)setenv("DOCKER_AUTH_CONFIG", login, 1);
        mock_script(w->reg, steps);
        mock_script(w->other, tokens);
        connect_with((struct reg_opts){0});
        assert_int_equal(get_blob(&err), BLD_E_CORRUPT);
        assert_null(strstr(err.msg, "idtok"));
        (void)unsetenv("DOCKER_AUTH_CONFIG");
        check_scripts();
}

static void test_stale_login(void **state UNUSED)
{
        const struct mock_step steps[] = {
                {w->url, .status = 401, .headers = bearer_challenge()},
                {w->url, .has = {"Authorization: Bearer anon\r\n"}, .status = 200, .body = w->blob,
                 .body_len = sizeof(w->blob)},
                {0},
        };
        const struct mock_step tokens[] = {
                {TOKEN_GET "pull&account=ann", .status = 401},
                {"POST /token?x=1", .status = 401},
                {TOKEN_GET "pull", .hasnt = {"Authorization"}, .status = 200,
                 .body = "{\"token\":\"anon\"}"},
                {0},
        };

        mock_script(w->reg, steps);
        mock_script(w->other, tokens);
        connect_with((struct reg_opts){.creds = CREDS});
        get_blob_ok();
        check_scripts();
        assert_non_null(strstr(sb_text(&w->notes), "trying anonymously"));
        assert_null(strstr(sb_text(&w->notes), "s3cret"));
}

static void test_login_rejected_on_push(void **state UNUSED)
{
        const struct mock_step steps[] = {
                {w->head, .status = 401, .headers = bearer_challenge()},
                {0},
        };
        const struct mock_step tokens[] = {
                {TOKEN_GET "pull%2Cpush&account=ann", .status = 401},
                {"POST /token?x=1", .status = 401},
                {0},
        };
        struct bld_err err = BLD_ERR_INIT;
        enum reg_put_how how;

        mock_script(w->reg, steps);
        mock_script(w->other, tokens);
        connect_with((struct reg_opts){.creds = CREDS});
        assert_int_equal(put_blob(NULL, &how, &err), BLD_E_DENIED);
        assert_non_null(strstr(err.msg, "rejected"));
        assert_null(strstr(err.msg, "s3cret"));
        check_scripts();
}

static void test_insufficient_scope_ends(void **state UNUSED)
{
        char again[256];
        const struct mock_step steps[] = {
                {w->url, .status = 401, .headers = bearer_challenge()},
                {w->url, .has = {"Bearer t"}, .status = 401, .headers = again},
                {0},
        };
        const struct mock_step tokens[] = {
                {TOKEN_GET "pull", .status = 200, .body = "{\"token\":\"t\"}"},
                {0},
        };
        struct bld_err err = BLD_ERR_INIT;

        (void)snprintf(again, sizeof(again),
                       "WWW-Authenticate: Bearer realm=\"http://%s/token?x=1\",service=\"reg\","
                       "scope=\"repository:a/b:pull\",error=\"insufficient_scope\"\r\n",
                       mock_host(w->other));
        mock_script(w->reg, steps);
        mock_script(w->other, tokens);
        connect_with((struct reg_opts){0});
        assert_int_equal(get_blob(&err), BLD_E_DENIED);
        assert_non_null(strstr(err.msg, "not logged in"));
        check_scripts();
}

static void test_ping_for_challenge(void **state UNUSED)
{
        const struct mock_step steps[] = {
                {w->url, .status = 401},
                {"GET /v2/", .hasnt = {"Authorization"}, .status = 401,
                 .headers = "WWW-Authenticate: Basic realm=\"x\"\r\n"},
                {w->url, .has = {"Authorization: " BASIC}, .status = 200, .body = w->blob,
                 .body_len = sizeof(w->blob)},
                {0},
        };

        mock_script(w->reg, steps);
        connect_with((struct reg_opts){.creds = CREDS});
        get_blob_ok();
        check_scripts();
}

static void test_realm_refused(void **state UNUSED)
{
        static const char *const realms[] = {
                "http://tokens.example.com/token",      /* plain, not loopback */
                "https://u:p@tokens.example.com/token", /* user information */
                "https://169.254.169.254/token",        /* metadata */
                "//tokens.example.com/",
                "file:///etc/passwd",
                "",
        };

        connect_with((struct reg_opts){.creds = CREDS});
        for (size_t i = 0; i < ARRAY_LEN(realms); i++) {
                char h[256];
                const struct mock_step steps[] = {
                        {w->url, .status = 401, .headers = h},
                        {0},
                };
                struct bld_err err = BLD_ERR_INIT;

                print_message("# %s\n", realms[i]);
                (void)snprintf(h, sizeof(h), "WWW-Authenticate: Bearer realm=\"%s\"\r\n",
                               realms[i]);
                mock_script(w->reg, steps);
                assert_int_equal(get_blob(&err), BLD_E_CORRUPT);
        }
        check_scripts();
}

/* ---- uploads ---- */

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

/* ---- manifests and tags ---- */

static void test_manifest_head_fallback(void **state UNUSED)
{
        char head[400];
        struct digest d;
        char name[DIGEST_STR_MAX];
        const struct mock_step rows[][3] = {
                /* Nexus: HEAD says 404, GET works */
                {{"HEAD /v2/a/b/manifests/v1", .status = 404},
                 {"GET /v2/a/b/manifests/v1", .has = {"Accept: ", MT_OCI_INDEX}, .status = 200,
                  .headers = "Content-Type: application/json\r\n", .body = doc},
                 {0}},
                {{"HEAD /v2/a/b/manifests/v1", .status = 200, .headers = "Content-Length: 70\r\n"},
                 {"GET /v2/a/b/manifests/v1", .status = 200,
                  .headers = "Content-Type: " MT_OCI_INDEX "; charset=utf-8\r\n", .body = doc},
                 {0}},
                {{"HEAD /v2/a/b/manifests/v1", .has = {"Accept: ", MT_OCI_INDEX}, .status = 200,
                  .headers = head},
                 {0}},
                /* a host whose HEAD works: its 404 is believed, and saves the GET */
                {{"HEAD /v2/a/b/manifests/v1", .status = 404}, {0}},
        };

        digest_of(doc, strlen(doc), &d);
        digest_format(&d, name);
        (void)snprintf(head, sizeof(head),
                       "Content-Length: %zu\r\nContent-Type: " MT_OCI_INDEX
                       "\r\nDocker-Content-Digest: %s\r\n",
                       strlen(doc), name);
        connect_with((struct reg_opts){0});
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                AUTO(img_desc_done) struct img_desc got = {0};
                struct bld_err err = BLD_ERR_INIT;

                print_message("# row %zu\n", i);
                mock_script(w->reg, rows[i]);
                assert_int_equal(reg_manifest_head(w->c, &w->ref, &got, &err), i < 3);
                if (i == 3)
                        break;
                assert_string_equal(got.media_type, MT_OCI_INDEX);
                assert_int_equal(got.size, strlen(doc));
                assert_true(digest_eq(&got.digest, &d));
        }
        check_scripts();
}

static void test_captive_portal(void **state UNUSED)
{
        const struct mock_step rows[][3] = {
                {{"GET /v2/a/b/manifests/v1", .status = 200,
                  .headers = "Content-Type: text/html\r\n", .body = "<html>pay here</html>"},
                 {"GET /v2/a/b/manifests/v1", .status = 200,
                  .headers = "Content-Type: " MT_OCI_INDEX "\r\n", .body = doc},
                 {0}},
                {{"GET /v2/a/b/manifests/v1", .status = 200, .times = 2,
                  .headers = "Content-Type: text/html\r\n", .body = "<html>pay here</html>"},
                 {0}},
        };
        static const int want[] = {0, BLD_E_CORRUPT};

        connect_with((struct reg_opts){0});
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                AUTO_SB struct sb out = SB_INIT(1u << 20);
                AUTO(img_desc_done) struct img_desc d = {0};
                struct bld_err err = BLD_ERR_INIT;

                mock_script(w->reg, rows[i]);
                assert_int_equal(reg_manifest_get(w->c, &w->ref, &out, &d, &err), want[i]);
                if (want[i] < 0)
                        assert_non_null(strstr(err.msg, "pay here"));
        }
        check_scripts();
}

static void test_rate_limits(void **state UNUSED)
{
        const struct mock_step steps[] = {
                {w->url, .status = 200, .body = w->blob, .body_len = sizeof(w->blob),
                 .headers = "RateLimit-Limit: 100;w=21600\r\nRateLimit-Remaining: 9;w=21600\r\n"},
                {w->url, .status = 429, .headers = "RateLimit-Remaining: 0;w=21600\r\n"},
                {0},
        };
        struct bld_err err = BLD_ERR_INIT;

        mock_script(w->reg, steps);
        connect_with((struct reg_opts){0});
        get_blob_ok();
        sb_reset(&w->got);
        assert_int_equal(get_blob(&err), BLD_E_NETWORK);
        check_scripts();
        assert_non_null(strstr(sb_text(&w->notes), "9 of 100 pulls are left"));
        assert_null(strstr(sb_text(&w->notes), "retry"));
}

static void test_manifest_mismatch(void **state UNUSED)
{
        const struct mock_step steps[] = {
                {"GET /v2/a/b/manifests/v1", .status = 200,
                 .headers = "Content-Type: " MT_OCI_INDEX "\r\nDocker-Content-Digest: sha256:"
                            "0000000000000000000000000000000000000000000000000000000000000000\r\n",
                 .body = doc},
                {0},
        };
        AUTO_SB struct sb out = SB_INIT(1u << 20);
        struct bld_err err = BLD_ERR_INIT;
        struct img_desc d = {0};

        mock_script(w->reg, steps);
        connect_with((struct reg_opts){0});
        assert_int_equal(reg_manifest_get(w->c, &w->ref, &out, &d, &err), BLD_E_CORRUPT);
        assert_int_equal(out.len, 0);
        check_scripts();
}

static void test_tags(void **state UNUSED)
{
        const struct mock_step steps[] = {
                {"GET /v2/a/b/tags/list?n=1000", .status = 200,
                 .headers = "Link: </v2/a/b/tags/list?n=1000&last=t2>; rel=\"next\"\r\n",
                 .body = "{\"name\":\"a/b\",\"tags\":[\"t1\",\"t2\",\"bad tag\"]}"},
                {"GET /v2/a/b/tags/list?n=1000&last=t2", .status = 200,
                 .headers = "Link: <?n=1000&last=t3>; title=\"a,b\"; REL=next\r\n",
                 .body = "{\"tags\":[\"t3\",\"t1\"]}"},
                {"GET /v2/a/b/tags/list?n=1000&last=t3", .status = 200, /* a loop */
                 .headers = "Link: </v2/a/b/tags/list?n=1000&last=t3>; rel=next\r\n",
                 .body = "{\"tags\":null}"},
                {0},
        };
        AUTO_STRV struct strv tags = {0};
        struct bld_err err = BLD_ERR_INIT;

        mock_script(w->reg, steps);
        connect_with((struct reg_opts){0});
        if (reg_tags(w->c, &w->ref, &tags, &err) < 0)
                fail_msg("%s", err.msg);
        assert_int_equal(tags.n, 3);
        assert_string_equal(tags.v[2], "t3");
        check_scripts();
}

static void test_tags_elsewhere(void **state UNUSED)
{
        const struct mock_step steps[] = {
                {"GET /v2/a/b/tags/list?n=1000", .status = 200,
                 .headers = "Link: <http://example.com/v2/a/b/tags/list>; rel=\"next\"\r\n",
                 .body = "{\"tags\":[\"t1\"]}"},
                {0},
        };
        AUTO_STRV struct strv tags = {0};
        struct bld_err err = BLD_ERR_INIT;

        mock_script(w->reg, steps);
        connect_with((struct reg_opts){0});
        assert_int_equal(reg_tags(w->c, &w->ref, &tags, &err), BLD_E_CORRUPT);
        check_scripts();
}

/* ---- networks ---- */

/* Through a proxy with a password; the registry's name is resolved there. */
static void test_proxy(void **state UNUSED)
{
        char url[300], proxy[96];
        const struct mock_step steps[] = {
                {"CONNECT r.example:443", .has = {"Proxy-Authorization: Basic dTpw"},
                 .status = 403},
                {url, .has = {"Proxy-Authorization: Basic dTpw", "Host: r.example\r\n"},
                 .status = 200, .body = w->blob, .body_len = sizeof(w->blob)},
                {0},
        };
        AUTO_STRV struct strv insecure = {0};
        struct bld_err err = BLD_ERR_INIT;

        (void)snprintf(url, sizeof(url), "GET http://r.example/v2/a/b/blobs/%s", w->digest);
        (void)snprintf(proxy, sizeof(proxy), "http://u:p@%s", mock_host(w->reg));
        (void)setenv("HTTP_PROXY", proxy, 1);
        (void)setenv("HTTPS_PROXY", proxy, 1);
        mock_script(w->reg, steps);
        assert_int_equal(strv_add(&insecure, "r.example"), 0);
        connect_with((struct reg_opts){.insecure = &insecure});
        img_ref_done(&w->ref);
        assert_int_equal(img_ref_parse("r.example/a/b", &w->ref, &err), 0);
        get_blob_ok();
        (void)unsetenv("HTTP_PROXY");
        (void)unsetenv("HTTPS_PROXY");
        check_scripts();
}

/* What was begun at a mirror ends at the origin; the origin's credentials do not go to the mirror.
 */
static void test_mirrors(void **state UNUSED)
{
        char url[256];
        const struct mock_step mirror[] = {
                {"GET /v2/hub/a/b/manifests/v1", .hasnt = {"Authorization"}, .status = 404},
                {url, .status = 200, .body = w->blob, .body_len = sizeof(w->blob), .how = MOCK_CUT,
                 .cut = 3000},
                {url, .has = {"Range: bytes=3000-"}, .status = 401,
                 .headers = "WWW-Authenticate: Basic realm=x\r\n"},
                {url, .status = 200, .body = w->blob, .body_len = sizeof(w->blob)},
                {0},
        };
        const struct mock_step origin[] = {
                {"GET /v2/a/b/manifests/v1", .status = 401,
                 .headers = "WWW-Authenticate: Basic realm=x\r\n"},
                {"GET /v2/a/b/manifests/v1", .has = {BASIC}, .status = 200,
                 .headers = "Content-Type: " MT_OCI_INDEX "\r\n", .body = doc},
                {w->url, .has = {BASIC}, .hasnt = {"Range:"}, .status = 200, .body = w->blob,
                 .body_len = sizeof(w->blob)},
                {"PUT /v2/a/b/manifests/v1", .has = {BASIC}, .status = 201,
                 .headers = "Location: /x\r\n"},
                {0},
        };
        AUTO_STRV struct strv mirrors = {0};
        AUTO_SB struct sb out = SB_INIT(1u << 20);
        AUTO(img_desc_done) struct img_desc d = {0};
        struct bld_err err = BLD_ERR_INIT;

        (void)snprintf(url, sizeof(url), "GET /v2/hub/a/b/blobs/%s", w->digest);
        assert_int_equal(strv_addf(&mirrors, "%s=127.0.0.1:1", mock_host(w->reg)), 0);
        assert_int_equal(
                strv_addf(&mirrors, "%s=http://%s/hub/", mock_host(w->reg), mock_host(w->other)),
                0);
        mock_script(w->other, mirror);
        mock_script(w->reg, origin);
        connect_with((struct reg_opts){.creds = CREDS, .mirrors = &mirrors});
        if (reg_manifest_get(w->c, &w->ref, &out, &d, &err) < 0)
                fail_msg("%s", err.msg);
        get_blob_ok();
        assert_int_equal(w->rewinds, 1);
        sb_reset(&w->got);
        get_blob_ok();
        if (reg_manifest_put(w->c, &w->ref, MT_OCI_INDEX, doc, strlen(doc), &err) < 0)
                fail_msg("%s", err.msg);
        check_scripts();
        assert_non_null(strstr(sb_text(&w->notes), "mirror 127.0.0.1:1: "));
}

struct puller {
        pthread_t thread;
        int r;
};

static int null_write(void *user UNUSED, const void *p UNUSED, size_t n UNUSED,
                      struct bld_err *err UNUSED)
{
        return 0;
}

static int null_rewind(void *user UNUSED, struct bld_err *err UNUSED)
{
        return 0;
}

static void *pull_main(void *arg)
{
        struct reg_sink sink = {.write = null_write, .rewind = null_rewind};
        struct puller *p = arg;

        p->r = reg_blob_get(w->c, &w->ref, &w->desc, &sink, NULL);
        return NULL;
}

/* Many transfers that want the same token cause one exchange. */
static void test_one_token_for_all(void **state UNUSED)
{
        const struct mock_step steps[] = {
                {w->url, .status = 401, .headers = bearer_challenge()},
                {w->url, .has = {"Bearer t1\r\n"}, .status = 200, .body = w->blob,
                 .body_len = sizeof(w->blob)},
                {w->url, .has = {"Bearer t2\r\n"}, .status = 200, .body = w->blob,
                 .body_len = sizeof(w->blob), .times = 6},
                {0},
        };
        const struct mock_step tokens[] = {
                {TOKEN_GET "pull", .status = 200, .body = "{\"token\":\"t1\"}"},
                {TOKEN_GET "pull", .status = 200, .body = "{\"token\":\"t2\"}"},
                {0},
        };
        struct puller p[6];

        mock_script(w->reg, steps);
        mock_script(w->other, tokens);
        connect_with((struct reg_opts){0});
        get_blob_ok();
        reg_token_drop(w->c, "Bearer t1"); /* as if it had expired */
        for (size_t i = 0; i < ARRAY_LEN(p); i++)
                assert_int_equal(pthread_create(&p[i].thread, NULL, pull_main, &p[i]), 0);
        for (size_t i = 0; i < ARRAY_LEN(p); i++) {
                (void)pthread_join(p[i].thread, NULL);
                assert_int_equal(p[i].r, 0);
        }
        check_scripts();
}

/* ---- referrers, delete, login ---- */

#define DIGEST_A "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define TAG_A "sha256-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define ENTRY(hex, type)                                                                   \
        "{\"mediaType\":\"" MT_OCI_MANIFEST "\",\"size\":3,\"artifactType\":\"" type "\"," \
        "\"digest\":\"sha256:" hex hex hex hex hex hex hex hex "\"}"
#define INDEX(entries) \
        "{\"schemaVersion\":2,\"mediaType\":\"" MT_OCI_INDEX "\",\"manifests\":[" entries "]}"

static void test_referrers(void **state UNUSED)
{
        static const char index_type[] = "Content-Type: " MT_OCI_INDEX "\r\n";
        const struct mock_step rows[][4] = {
                /* pages, and a server that does not filter */
                {{"GET /v2/a/b/referrers/" DIGEST_A "?artifactType=x%2Fy", .has = {MT_OCI_INDEX},
                  .status = 200,
                  .headers = "Content-Type: " MT_OCI_INDEX "\r\nLink: </next>; rel=next\r\n",
                  .body = INDEX(ENTRY("00000000", "x/y") "," ENTRY("11111111", "z"))},
                 {"GET /next", .status = 200, .headers = index_type,
                  .body = INDEX(ENTRY("22222222", "x/y"))},
                 {0}},
                /* no API: the fallback tag */
                {{"GET /v2/a/b/referrers/" DIGEST_A "?artifactType=x%2Fy", .status = 404,
                  .headers = "Content-Type: text/plain\r\n", .body = "404 page not found"},
                 {"GET /v2/a/b/manifests/" TAG_A, .has = {MT_OCI_INDEX}, .status = 200,
                  .headers = index_type,
                  .body = INDEX(ENTRY("11111111", "z") "," ENTRY("22222222", "x/y") "," ENTRY(
                          "33333333", "x/y"))},
                 {0}},
                /* something that is no index: not supported, and no tag either */
                {{"GET /v2/a/b/referrers/" DIGEST_A "?artifactType=x%2Fy", .status = 200,
                  .headers = "Content-Type: text/html\r\n", .body = "<html>"},
                 {"GET /v2/a/b/manifests/" TAG_A, .status = 404},
                 {0}},
        };
        static const size_t want[] = {2, 2, 0};

        connect_with((struct reg_opts){0});
        assert_int_equal(digest_parse(DIGEST_A, &w->ref.digest, NULL), 0);
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct img_descs out = {0};
                struct bld_err err = BLD_ERR_INIT;

                print_message("# row %zu\n", i);
                mock_script(w->reg, rows[i]);
                if (reg_referrers(w->c, &w->ref, "x/y", &out, &err) < 0)
                        fail_msg("%s", err.msg);
                assert_int_equal(out.n, want[i]);
                img_descs_free(&out);
        }
        check_scripts();
}

static void test_delete(void **state UNUSED)
{
        static const struct {
                int status, want;
        } rows[] = {{202, 0},
                    {404, BLD_E_NOT_FOUND},
                    {405, BLD_E_UNSUPPORTED},
                    {400, BLD_E_UNSUPPORTED},
                    {403, BLD_E_DENIED}};

        connect_with((struct reg_opts){0});
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                const struct mock_step steps[] = {
                        {"DELETE /v2/a/b/manifests/v1", .status = rows[i].status},
                        {0},
                };
                struct bld_err err = BLD_ERR_INIT;

                mock_script(w->reg, steps);
                assert_int_equal(reg_manifest_delete(w->c, &w->ref, &err), rows[i].want);
        }
        check_scripts();
}

/* Asking for a token anonymously would make every password look right. */
static void test_login_is_not_anonymous(void **state UNUSED)
{
        char plain[256];
        const struct mock_step steps[] = {
                {"GET /v2/", .status = 401, .headers = plain},
                {0},
        };
        const struct mock_step tokens[] = {
                {"GET /token?client_id=bld&service=reg&account=ann", .has = {BASIC}, .status = 401},
                {"POST /token", .status = 401},
                {0},
        };
        struct bld_err err = BLD_ERR_INIT;

        (void)snprintf(plain, sizeof(plain),
                       "WWW-Authenticate: Bearer realm=\"http://%s/token\",service=\"reg\"\r\n",
                       mock_host(w->other));
        mock_script(w->reg, steps);
        mock_script(w->other, tokens);
        connect_with((struct reg_opts){.creds = CREDS});
        assert_int_equal(reg_login_check(w->c, mock_host(w->reg), &err), BLD_E_DENIED);
        check_scripts();
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                T(test_resume),
                T(test_resume_ignored),
                T(test_resume_wrong_range),
                T(test_resume_416),
                T(test_wrong_digest),
                T(test_wrong_length),
                T(test_short_body_gives_up),
                T(test_unasked_part),
                T(test_no_ranges_gives_up),
                T(test_redirect_drops_authorization),
                T(test_redirect_refused),
                T(test_storage_expired),
                T(test_retries),
                T(test_retries_end),
                T(test_retry_after_too_long),
                T(test_final_answers),
                T(test_offline),
                T(test_cancel),
                T(test_cancel_upload),
                T(test_stall),
                T(test_bearer),
                T(test_bearer_anonymous),
                T(test_bearer_post_fallback),
                T(test_bearer_identity),
                T(test_token_redirect),
                T(test_stale_login),
                T(test_login_rejected_on_push),
                T(test_insufficient_scope_ends),
                T(test_ping_for_challenge),
                T(test_realm_refused),
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
                T(test_manifest_head_fallback),
                T(test_captive_portal),
                T(test_rate_limits),
                T(test_manifest_mismatch),
                T(test_tags),
                T(test_tags_elsewhere),
                T(test_mirrors),
                T(test_proxy),
                T(test_one_token_for_all),
                T(test_referrers),
                T(test_delete),
                T(test_login_is_not_anonymous),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
