/* Manifests, tags, referrers, proxies and mirrors of scripted servers. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "registry_world.h"

static const char doc[] =
        "{\"schemaVersion\":2,\"mediaType\":\"" MT_OCI_INDEX "\",\"manifests\":[]}";

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

#define SUBJECT                                                                                   \
        "{\"schemaVersion\":2,\"mediaType\":\"" MT_OCI_MANIFEST "\",\"artifactType\":\"x/y\","    \
        "\"config\":{\"mediaType\":\"application/vnd.oci.empty.v1+json\",\"digest\":\"sha256:"    \
        "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a\",\"size\":2},"         \
        "\"layers\":[],\"subject\":{\"mediaType\":\"" MT_OCI_MANIFEST "\",\"digest\":\"" DIGEST_A \
        "\",\"size\":3},\"annotations\":{\"k\":\"v\"}}"

/* Where the registry takes no note of a subject, its index is kept for it, also against others who
 * write it at the same time. */
static void test_subject_fallback(void **state UNUSED)
{
        static const char tag[] = "GET /v2/a/b/manifests/" TAG_A;
        static const char index_type[] = "Content-Type: " MT_OCI_INDEX "\r\n";
        static const char etag[] = "Content-Type: " MT_OCI_INDEX "\r\nETag: \"e1\"\r\n";
        static const char stored[] = "Location: /x\r\n";
        static const char noted[] = "Location: /x\r\nOCI-Subject: " DIGEST_A "\r\n";
        char self[DIGEST_STR_MAX], put[160], mine[1024], both[1400], want[400];
        struct digest d;

        digest_of(SUBJECT, strlen(SUBJECT), &d);
        digest_format(&d, self);
        (void)snprintf(put, sizeof(put), "PUT /v2/a/b/manifests/v1");
        (void)snprintf(want, sizeof(want),
                       "\"digest\":\"%s\",\"size\":%zu,\"annotations\":{\"k\":\"v\"},"
                       "\"artifactType\":\"x/y\"",
                       self, strlen(SUBJECT));
        (void)snprintf(
                mine, sizeof(mine),
                INDEX("{\"mediaType\":\"" MT_OCI_MANIFEST "\",\"digest\":\"%s\",\"size\":%zu}"),
                self, strlen(SUBJECT));
        (void)snprintf(both, sizeof(both),
                       INDEX(ENTRY("11111111", "z") ",{\"mediaType\":\"" MT_OCI_MANIFEST
                                                    "\",\"digest\":\"%s\",\"size\":%zu}"),
                       self, strlen(SUBJECT));
        {
                const struct mock_step rows[][9] = {
                        {{put, .status = 201, .headers = noted}, {0}},
                        {{put, .status = 201, .headers = stored},
                         {tag, .status = 404},
                         {"PUT /v2/a/b/manifests/" TAG_A, .has = {"If-None-Match: *"},
                          .body_has = self, .status = 201, .headers = stored},
                         {tag, .status = 200, .headers = index_type, .body = mine},
                         {0}},
                        /* 412, then an update lost to somebody else */
                        {{put, .status = 201, .headers = stored},
                         {tag, .status = 200, .headers = etag,
                          .body = INDEX(ENTRY("11111111", "z"))},
                         {"PUT /v2/a/b/manifests/" TAG_A, .has = {"If-Match: \"e1\""},
                          .status = 412},
                         {tag, .status = 200, .headers = etag,
                          .body = INDEX(ENTRY("11111111", "z"))},
                         {"PUT /v2/a/b/manifests/" TAG_A, .body_has = "1111111111", .status = 201,
                          .headers = stored},
                         {tag, .status = 200, .headers = index_type,
                          .body = INDEX(ENTRY("11111111", "z"))},
                         {"PUT /v2/a/b/manifests/" TAG_A, .body_has = self, .status = 201,
                          .headers = stored},
                         {tag, .status = 200, .headers = index_type, .body = both},
                         {0}},
                        /* it is listed already */
                        {{put, .status = 201, .headers = stored},
                         {tag, .status = 200, .headers = index_type, .body = mine},
                         {0}},
                        /* what is there is no index: left alone */
                        {{put, .status = 201, .headers = stored},
                         {tag, .status = 200, .headers = "Content-Type: " MT_OCI_MANIFEST "\r\n",
                          .body = "{}"},
                         {0}},
                };

                connect_with((struct reg_opts){0});
                for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                        struct bld_err err = BLD_ERR_INIT;

                        print_message("# row %zu\n", i);
                        mock_script(w->reg, rows[i]);
                        if (reg_manifest_put(w->c, &w->ref, MT_OCI_MANIFEST, SUBJECT,
                                             strlen(SUBJECT), &err) < 0)
                                fail_msg("%s", err.msg);
                }
        }
        check_scripts();
}

/* A server that wants one type at a time; a listed manifest that is late; what a refusal names; a
 * server that is not through with a blob yet. */
static void test_manifest_faults(void **state UNUSED)
{
        static const char get[] = "GET /v2/a/b/manifests/v1", put[] = "PUT /v2/a/b/manifests/v1";
        static const char passing[] = "{\"errors\":[{\"code\":\"DIGEST_INVALID\"}]}";
        static const char lost[] =
                "{\"errors\":[{\"code\":\"MANIFEST_BLOB_UNKNOWN\",\"detail\":{\"digest\":"
                "\"" DIGEST_A "\"}},{\"code\":\"MANIFEST_BLOB_UNKNOWN\",\"detail\":\"" DIGEST_A
                "\"}]}";
        const struct mock_step steps[] = {
                {get, .status = 406},
                {get, .hasnt = {MT_OCI_MANIFEST}, .status = 200,
                 .headers = "Content-Type: " MT_OCI_INDEX "\r\n", .body = doc},
                {get, .status = 404, .times = 2},
                {get, .status = 200, .headers = "Content-Type: " MT_OCI_INDEX "\r\n", .body = doc},
                {get, .status = 404, .times = 3},
                {put, .status = 400, .body = lost},
                {put, .status = 400, .body = passing},
                {put, .status = 201, .headers = "Location: /v2/a/b/manifests/v1\r\n"},
                {0},
        };
        AUTO_STRV struct strv missing = {0};
        struct bld_err err = BLD_ERR_INIT;

        mock_script(w->reg, steps);
        connect_with((struct reg_opts){0});
        w->c->timing.lag = 1;
        for (int i = 0; i < 3; i++) {
                AUTO_SB struct sb out = SB_INIT(1u << 20);
                AUTO(img_desc_done) struct img_desc d = {0};
                int r = i ? reg_manifest_get_listed(w->c, &w->ref, &out, &d, &err)
                          : reg_manifest_get(w->c, &w->ref, &out, &d, &err);

                assert_int_equal(r, i < 2 ? 0 : BLD_E_NOT_FOUND);
        }
        err_clear(&err);
        assert_int_equal(reg_manifest_put_missing(w->c, &w->ref, MT_OCI_INDEX, doc, strlen(doc),
                                                  &missing, &err),
                         BLD_E_NETWORK);
        assert_int_equal(missing.n, 2);
        assert_string_equal(missing.v[0], DIGEST_A);
        assert_int_equal(reg_manifest_put(w->c, &w->ref, MT_OCI_INDEX, doc, strlen(doc), &err), 0);
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

int main(void)
{
        const struct CMUnitTest tests[] = {
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
                T(test_subject_fallback),
                T(test_manifest_faults),
                T(test_login_is_not_anonymous),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
