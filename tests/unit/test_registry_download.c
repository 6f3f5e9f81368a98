/* Downloads from scripted servers: resumption, verification, redirects. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "registry_world.h"

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
                        {w->url, .has = {"Cache-Control: no-cache"}, .status = 200, .body = longer,
                         .body_len = rows[i].len, .no_length = rows[i].no_length},
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

/* Packed once more on the way: what the digest is of, decides. */
static void test_content_encoding(void **state UNUSED)
{
        static const unsigned char gz_head[] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 1};
        /* "stored" deflate blocks hold at most 65535 bytes: pack a small blob */
        char packed[64];
        uint32_t crc = 0xcbf43926; /* of "123456789" */
        size_t n = sizeof(gz_head);
        const struct mock_step steps[] = {
                {w->url, .hasnt = {"Accept-Encoding"}, .status = 200,
                 .headers = "Content-Encoding: gzip\r\n", .body = packed, .body_len = 32},
                {w->url, .has = {"Accept-Encoding: gzip"}, .status = 200,
                 .headers = "Content-Encoding: gzip\r\n", .body = packed, .body_len = 32},
                /* and where the packed form is what is stored, it is taken as it comes */
                {"GET /v2/a/b/blobs/*", .status = 200, .headers = "Content-Encoding: gzip\r\n",
                 .body = packed, .body_len = 32},
                {0},
        };
        struct bld_err err = BLD_ERR_INIT;

        memcpy(packed, gz_head, n);
        memcpy(packed + n, (char[]){9, 0, (char)0xf6, (char)0xff}, 4);
        memcpy(packed + n + 4, "123456789", 9);
        for (size_t i = 0; i < 4; i++) {
                packed[n + 13 + i] = (char)(crc >> (8 * i));
                packed[n + 17 + i] = (char)(i ? 0 : 9);
        }
        assert_int_equal(n + 21, 32);
        w->desc.size = 9;
        digest_of("123456789", 9, &w->desc.digest);
        digest_format(&w->desc.digest, w->digest);
        (void)snprintf(w->url, sizeof(w->url), "GET /v2/a/b/blobs/%s", w->digest);
        {
                struct mock_step now[ARRAY_LEN(steps)];

                memcpy(now, steps, sizeof(now));
                mock_script(w->reg, now);
        }
        connect_with((struct reg_opts){0});
        if (get_blob(&err) < 0)
                fail_msg("%s", err.msg);
        assert_int_equal(w->got.len, 9);
        assert_memory_equal(w->got.buf, "123456789", 9);
        sb_reset(&w->got);
        w->desc.size = 32;
        digest_of(packed, 32, &w->desc.digest);
        if (get_blob(&err) < 0)
                fail_msg("%s", err.msg);
        assert_int_equal(w->got.len, 32);
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

int main(void)
{
        const struct CMUnitTest tests[] = {
                T(test_resume),
                T(test_resume_ignored),
                T(test_resume_wrong_range),
                T(test_resume_416),
                T(test_wrong_digest),
                T(test_wrong_length),
                T(test_content_encoding),
                T(test_short_body_gives_up),
                T(test_unasked_part),
                T(test_no_ranges_gives_up),
                T(test_redirect_drops_authorization),
                T(test_redirect_refused),
                T(test_storage_expired),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
