/* Image configs: documents as Docker, BuildKit and podman write them, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "image/image.h"

#define Z64 "0000000000000000000000000000000000000000000000000000000000000000"

/* The shape of docker commit's output, with everything a Dockerfile can set. */
static const char docker_config[] =
        "{\"architecture\":\"amd64\",\"author\":\"me\",\"container\":\"abc\","
        "\"container_config\":{\"Hostname\":\"h\",\"Cmd\":[\"x\"]},\"created\":"
        "\"2024-01-02T03:04:05.6789Z\",\"docker_version\":\"20.10.5\",\"id\":null,\"os\":\"linux\","
        "\"variant\":\"v2\",\"config\":{\"Hostname\":\"\",\"Domainname\":\"\",\"User\":\"app:app\","
        "\"AttachStdin\":false,\"ExposedPorts\":{\"80/tcp\":{},\"443/tcp\":null},\"Tty\":false,"
        "\"Env\":[\"PATH=/bin\",\"A=b=c\",\"E=\"],\"Cmd\":[\"run\",\"\"],\"Healthcheck\":{\"Test\":"
        "[\"CMD-SHELL\",\"true\"],\"Interval\":30000000000,\"Timeout\":3000000000,\"Retries\":3},"
        "\"ArgsEscaped\":true,\"Image\":\"sha256:0\",\"Volumes\":{\"/data\":{}},\"WorkingDir\":"
        "\"/srv\",\"Entrypoint\":null,\"OnBuild\":[\"RUN x\"],\"Labels\":{\"z\":\"1\",\"a\":\"2\"},"
        "\"StopSignal\":\"SIGINT\",\"Shell\":[\"/bin/bash\",\"-c\"]},\"rootfs\":{\"type\":"
        "\"layers\",\"diff_ids\":[\"sha256:" Z64 "\"]},\"history\":[{\"created\":"
        "\"2024-01-02T03:04:05Z\",\"created_by\":\"ADD x\"},{\"created_by\":\"ENV A=b\","
        "\"comment\":\"buildkit.dockerfile.v0\",\"empty_layer\":true}],"
        "\"moby.buildkit.cache.v0\":\"AAAA\"}";

static const char encoded[] =
        "{\"created\":\"2024-01-02T03:04:05.6789Z\",\"author\":\"me\",\"architecture\":\"amd64\","
        "\"os\":\"linux\",\"variant\":\"v2\",\"config\":{\"User\":\"app:app\",\"ExposedPorts\":{"
        "\"443/tcp\":{},\"80/tcp\":{}},\"Env\":[\"PATH=/bin\",\"A=b=c\",\"E=\"],\"Cmd\":[\"run\","
        "\"\"],\"Volumes\":{\"/data\":{}},\"WorkingDir\":\"/srv\",\"Labels\":{\"a\":\"2\",\"z\":"
        "\"1\"},\"StopSignal\":\"SIGINT\",\"ArgsEscaped\":true,\"Healthcheck\":{\"Test\":["
        "\"CMD-SHELL\",\"true\"],\"Interval\":30000000000,\"Timeout\":3000000000,\"Retries\":3},"
        "\"OnBuild\":[\"RUN x\"],\"Shell\":[\"/bin/bash\",\"-c\"]},\"rootfs\":{\"type\":\"layers\","
        "\"diff_ids\":[\"sha256:" Z64 "\"]},\"history\":[{\"created\":\"2024-01-02T03:04:05Z\","
        "\"created_by\":\"ADD x\"},{\"created_by\":\"ENV A=b\",\"comment\":"
        "\"buildkit.dockerfile.v0\",\"empty_layer\":true}]}";

static void test_docker_config(void **state)
{
        struct bld_err err = BLD_ERR_INIT;
        struct img_config c, copy;
        struct sb out = SB_INIT(100000);

        (void)state;
        if (img_config_decode(docker_config, strlen(docker_config), &c, &err) < 0)
                fail_msg("%s", err.msg);
        assert_false(c.has_entrypoint);
        assert_true(c.has_cmd);
        assert_int_equal(c.cmd.n, 2);
        assert_string_equal(strv_env_get(&c.env, "A"), "b=c");
        assert_true(c.has_health);
        assert_int_equal(c.health.retries, 3);
        assert_int_equal(c.history.n, 2);
        assert_true(c.history.v[1].empty_layer);
        assert_int_equal(img_config_copy(&c, &copy, &err), 0);
        img_config_done(&c);
        assert_int_equal(img_config_encode(&copy, &out, &err), 0);
        assert_string_equal(sb_text(&out), encoded);
        img_config_done(&copy);

        /* and once more: what we write is what we read */
        assert_int_equal(img_config_decode(encoded, strlen(encoded), &c, &err), 0);
        sb_reset(&out);
        assert_int_equal(img_config_encode(&c, &out, &err), 0);
        assert_string_equal(sb_text(&out), encoded);
        img_config_done(&c);
        sb_done(&out);
}

static void test_null_and_empty(void **state)
{
        static const struct {
                const char *name, *text, *want;
        } rows[] = {
                {"bare", "{}",
                 "{\"architecture\":\"\",\"os\":\"\",\"config\":{},\"rootfs\":{\"type\":\"layers\","
                 "\"diff_ids\":[]}}"},
                {"nulls",
                 "{\"architecture\":\"a\",\"os\":\"b\",\"config\":null,\"rootfs\":null,\"history\":"
                 "null,\"created\":null}",
                 "{\"architecture\":\"a\",\"os\":\"b\",\"config\":{},\"rootfs\":{\"type\":"
                 "\"layers\",\"diff_ids\":[]}}"},
                {"empty lists are not null",
                 "{\"architecture\":\"a\",\"os\":\"b\",\"config\":{\"Cmd\":[],\"Entrypoint\":[],"
                 "\"Env\":[],\"Labels\":{}}}",
                 "{\"architecture\":\"a\",\"os\":\"b\",\"config\":{\"Entrypoint\":[],\"Cmd\":[]},"
                 "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[]}}"},
                {"windows",
                 "{\"architecture\":\"amd64\",\"os\":\"windows\",\"os.version\":\"10.0.17763\","
                 "\"os.features\":[\"win32k\"],\"config\":{\"Healthcheck\":{}}}",
                 "{\"architecture\":\"amd64\",\"os\":\"windows\",\"os.version\":\"10.0.17763\","
                 "\"os.features\":[\"win32k\"],\"config\":{\"Healthcheck\":{}},\"rootfs\":{"
                 "\"type\":\"layers\",\"diff_ids\":[]}}"},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct bld_err err = BLD_ERR_INIT;
                struct sb out = SB_INIT(10000);
                struct img_config c;

                if (img_config_decode(rows[i].text, strlen(rows[i].text), &c, &err) < 0)
                        fail_msg("%s: %s", rows[i].name, err.msg);
                assert_int_equal(img_config_encode(&c, &out, &err), 0);
                if (strcmp(sb_text(&out), rows[i].want) != 0)
                        fail_msg("%s: %s", rows[i].name, sb_text(&out));
                sb_done(&out);
                img_config_done(&c);
        }
}

static void test_bad(void **state)
{
        static const char *const rows[] = {
                "",
                "null",
                "[]",
                "{\"config\":[]}",
                "{\"config\":{\"Cmd\":\"x\"}}",
                "{\"config\":{\"Cmd\":[1]}}",
                "{\"config\":{\"Env\":{\"A\":\"b\"}}}",
                "{\"config\":{\"User\":0}}",
                "{\"config\":{\"Labels\":[]}}",
                "{\"config\":{\"Labels\":{\"a\":{}}}}",
                "{\"config\":{\"ExposedPorts\":[\"80\"]}}",
                "{\"config\":{\"Healthcheck\":\"x\"}}",
                "{\"config\":{\"Healthcheck\":{\"Interval\":\"5s\"}}}",
                "{\"config\":{\"Healthcheck\":{\"Interval\":1.5}}}",
                "{\"config\":{\"ArgsEscaped\":1}}",
                "{\"config\":{\"User\":\"a\",\"User\":\"b\"}}",
                "{\"rootfs\":[]}",
                "{\"rootfs\":{\"type\":\"base\",\"diff_ids\":[]}}",
                "{\"rootfs\":{\"diff_ids\":[]}}",
                "{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":{}}}",
                "{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[null]}}",
                "{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:00\"]}}",
                "{\"history\":{}}",
                "{\"history\":[\"x\"]}",
                "{\"history\":[{\"empty_layer\":\"true\"}]}",
                "{\"os\":5}",
                "{\"architecture\":\"" Z64 "\"}",
                "{\"author\":\"a\\u0000b\"}",
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct bld_err err = BLD_ERR_INIT;
                struct img_config c = {.created = NULL};

                if (img_config_decode(rows[i], strlen(rows[i]), &c, &err) != BLD_E_CORRUPT)
                        fail_msg("accepted: %s", rows[i]);
                assert_int_equal(err.code, BLD_E_CORRUPT);
        }
}

static void test_bytes_that_are_not_text(void **state)
{
        static const struct {
                const char *in, *out;
        } rows[] = {
                {"a\xff"
                 "b",
                 "a\xef\xbf\xbd"
                 "b"},
                {"\xc3\xa4", "\xc3\xa4"},
                {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}, /* a lone surrogate */
                {"\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"},
                {"\xc0\x80", "\xef\xbf\xbd\xef\xbf\xbd"},
                {"\xe2\x82", "\xef\xbf\xbd\xef\xbf\xbd"},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct sb out = SB_INIT(10000);
                struct img_config c;

                img_config_init(&c);
                assert_int_equal(strv_add(&c.env, rows[i].in), 0);
                assert_int_equal(img_config_encode(&c, &out, NULL), 0);
                if (!strstr(sb_text(&out), rows[i].out))
                        fail_msg("row %zu: %s", i, sb_text(&out));
                sb_done(&out);
                img_config_done(&c);
        }
}

static void test_chain_id(void **state)
{
        struct digest d[2], chain;
        char text[DIGEST_STR_MAX];

        (void)state;
        assert_true(digest_from_hex(Z64, &d[0]));
        d[1] = d[0];
        img_chain_id(d, 1, &chain);
        assert_true(digest_eq(&chain, &d[0]));
        img_chain_id(d, 2, &chain);
        digest_format(&chain, text);
        assert_string_equal(text, "sha256:1c549100e455eee76a4725b64270b19d"
                                  "7fa7aea704960d46363fffa8732d51b8");
        img_chain_id(d, 0, &chain);
        assert_false(digest_is_set(&chain));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_docker_config),
                cmocka_unit_test(test_null_and_empty),
                cmocka_unit_test(test_bad),
                cmocka_unit_test(test_bytes_that_are_not_text),
                cmocka_unit_test(test_chain_id),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
