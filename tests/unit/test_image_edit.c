/* Configs and manifests changed as JSON. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "image/edit.h"

static struct js *parse(const char *text)
{
        struct bld_err err = BLD_ERR_INIT;
        struct js *j = NULL;

        if (js_parse(text, strlen(text), &j, &err) < 0)
                fail_msg("%s: %s", text, err.msg);
        return j;
}

static void check(const struct js *j, const char *want)
{
        AUTO_SB struct sb out = SB_INIT(1u << 20);

        assert_int_equal(js_write(j, JS_COMPACT, &out, NULL), 0);
        assert_string_equal(sb_text(&out), want);
}

#define WORDS(...)                                                                   \
        {                                                                            \
                (const char *const[]){__VA_ARGS__},                                  \
                        sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *), \
        }

static const struct img_words none = {NULL, 0}, sh = WORDS("sh", "-c");

static const struct change {
        const char *before;
        struct img_changes c;
        const char *after; /* NULL: USAGE */
} changes[] = {
        {"{\"x\":1}",
         {.labels = WORDS("a=b=c")},
         "{\"x\":1,\"config\":{\"Labels\":{\"a\":\"b=c\"}}}"},
        {"{\"config\":null}",
         {.env = WORDS("A=1", "B=")},
         "{\"config\":{\"Env\":[\"A=1\",\"B=\"]}}"},
        /* the place of a variable stays, the last value wins */
        {"{\"config\":{\"Env\":[\"A=1\",\"B=2\"],\"Q\":0}}",
         {.env = WORDS("A=3", "C=4", "A=5")},
         "{\"config\":{\"Env\":[\"A=5\",\"B=2\",\"C=4\"],\"Q\":0}}"},
        {"{\"config\":{\"Env\":[\"A=1\",\"AA=2\",\"B\"]}}",
         {.unset_env = WORDS("A", "B", "none")},
         "{\"config\":{\"Env\":[\"AA=2\"]}}"},
        {"{\"config\":{\"Labels\":{\"a\":\"1\",\"b\":\"2\"}}}",
         {.unset_labels = WORDS("a")},
         "{\"config\":{\"Labels\":{\"b\":\"2\"}}}"},
        {"{\"config\":{\"Cmd\":[\"x\"]}}",
         {.entrypoint = &sh},
         "{\"config\":{\"Entrypoint\":[\"sh\",\"-c\"]}}"},
        {"{\"config\":{\"Cmd\":[\"x\"],\"Entrypoint\":[\"y\"]}}",
         {.cmd = &none},
         "{\"config\":{\"Entrypoint\":[\"y\"]}}"},
        {"{\"config\":{\"Cmd\":[\"x\"]}}",
         {.entrypoint = &none, .cmd = &sh},
         "{\"config\":{\"Cmd\":[\"sh\",\"-c\"]}}"},
        {"{\"config\":{\"User\":\"a\"}}", {.user = ""}, "{\"config\":{}}"},
        {"{}",
         {.exposed = WORDS("80", "7-8/udp")},
         "{\"config\":{\"ExposedPorts\":{\"80/tcp\":{},\"7/udp\":{},\"8/udp\":{}}}}"},
        {"{\"os\":\"linux\"}",
         {.created = "2020-01-01T00:00:00Z"},
         "{\"os\":\"linux\",\"created\":\"2020-01-01T00:00:00Z\"}"},
        {"{\"os\":\"linux\"}",
         {.workdir = "/srv"},
         "{\"os\":\"linux\",\"config\":{\"WorkingDir\":\"/srv\"}}"},
        {"{\"os\":\"windows\"}",
         {.workdir = "C:\\x"},
         "{\"os\":\"windows\",\"config\":{\"WorkingDir\":\"C:\\\\x\"}}"},
        {"{\"os\":\"linux\"}", {.workdir = "srv"}, NULL},
        {"{}", {.env = WORDS("A")}, NULL},
        {"{}", {.labels = WORDS("=x")}, NULL},
        {"{}", {.exposed = WORDS("0")}, NULL},
        {"{}", {.exposed = WORDS("9-8")}, NULL},
        {"{}", {.exposed = WORDS("80/quic")}, NULL},
        {"{}", {.exposed = WORDS("80-")}, NULL},
        {"{}", {.labels = WORDS("\xff=x")}, NULL},
};

static void test_config(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
                const struct change *c = &changes[i];
                AUTO_JS struct js *j = parse(c->before);
                struct bld_err err = BLD_ERR_INIT;
                int r = img_edit_config(j, &c->c, &err);

                assert_int_equal(r, c->after ? 0 : BLD_E_USAGE);
                if (c->after)
                        check(j, c->after);
        }
}

static void test_platform(void **state)
{
        AUTO_JS struct js *j =
                parse("{\"architecture\":\"arm\",\"variant\":\"v7\",\"os\":\"linux\"}");
        const struct img_platform p = {.os = "linux", .arch = "amd64"};
        const struct img_changes c = {.platform = &p};

        (void)state;
        assert_int_equal(img_edit_config(j, &c, NULL), 0);
        check(j, "{\"architecture\":\"amd64\",\"os\":\"linux\"}");
}

/* ---- layers ---- */

#define D(c) "sha256:" c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c
static const char a64[] = D("aa"), b64[] = D("bb"), c64[] = D("cc");

static char *manifest_of(size_t n)
{
        static char text[4096];
        const char *const d[] = {a64, b64, c64};
        struct sb b = SB_INIT(sizeof(text));

        sb_str(&b, "{\"layers\":[");
        for (size_t i = 0; i < n; i++)
                sb_fmt(&b, "%s{\"mediaType\":\"l\",\"digest\":\"%s\",\"size\":1}", i ? "," : "",
                       d[i]);
        sb_str(&b, "]}");
        (void)str_copy(text, sizeof(text), sb_text(&b));
        sb_done(&b);
        return text;
}

static size_t claims(const struct js *config)
{
        const struct js *h = js_get(config, "history");
        size_t n = 0;

        for (size_t i = 0; i < js_len(h); i++)
                n += !js_get_bool(js_at(h, i), "empty_layer", false);
        return n;
}

/* Whatever the history was: afterwards as many entries claim a layer as there are layers. */
static void test_layers(void **state)
{
        static const char *const histories[] = {
                "null",
                "[]",
                "[{\"created_by\":\"1\"},{\"created_by\":\"e\",\"empty_layer\":true},{\"created_"
                "by\":\"2\"}]",
                "[{\"created_by\":\"1\"}]",
                "[{\"created_by\":\"1\"},{\"created_by\":\"2\"},{\"created_by\":\"3\"},{\"created_"
                "by\":\"4\"}]",
        };
        struct img_desc layer = {.media_type = (char[]){"l"}, .size = 5};
        const struct img_step step = {.created_by = "new"};

        (void)state;
        assert_int_equal(digest_parse(c64, &layer.digest, NULL), 0);
        for (size_t i = 0; i < ARRAY_LEN(histories); i++) {
                AUTO_JS struct js *m = parse(manifest_of(2)), *config = NULL;
                AUTO_SB struct sb text = SB_INIT(4096);

                sb_fmt(&text,
                       "{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"%s\",\"%s\"]},\"history\":"
                       "%s,"
                       "\"moby.buildkit.cache.v0\":\"x\",\"q\":1}",
                       a64, b64, histories[i]);
                config = parse(sb_text(&text));
                assert_int_equal(img_edit_top(m, config, 2, &layer, &layer.digest, &step, NULL), 0);
                assert_int_equal(js_len(js_get(m, "layers")), 3);
                assert_int_equal(js_len(js_get(js_get(config, "rootfs"), "diff_ids")), 3);
                assert_int_equal(claims(config), 3);
                assert_null(js_get(config, "moby.buildkit.cache.v0"));
                assert_true(js_is_int(js_get(config, "q")));
                assert_int_equal(img_edit_cut(m, config, 3, 1, NULL), 0);
                assert_int_equal(js_len(js_get(m, "layers")), 1);
                assert_string_equal(js_str(js_at(js_get(js_get(config, "rootfs"), "diff_ids"), 0)),
                                    a64);
                assert_int_equal(claims(config), 1);
                assert_int_equal(img_edit_cut(m, config, 1, 0, NULL), 0);
                assert_int_equal(claims(config), 0);
        }
}

static void test_target(void **state)
{
        AUTO_JS struct js *j = parse("{\"mediaType\":\"x\",\"digest\":\"d\",\"size\":1,\"data\":"
                                     "\"AA\",\"annotations\":{}}");
        AUTO_SB struct sb want = SB_INIT(1024);
        struct digest d;

        (void)state;
        assert_int_equal(digest_parse(a64, &d, NULL), 0);
        assert_int_equal(img_edit_target(j, &d, 77, NULL), 0);
        sb_fmt(&want, "{\"mediaType\":\"x\",\"digest\":\"%s\",\"size\":77,\"annotations\":{}}",
               a64);
        check(j, sb_text(&want));
}

/* ---- another base ---- */

static const struct merge {
        const char *old, *image, *new, *result; /* `config` of each */
} merges[] = {
        /* what is inherited follows the base */
        {"{\"User\":\"a\"}", "{\"User\":\"a\"}", "{\"User\":\"b\"}", "{\"User\":\"b\"}"},
        {"{\"User\":\"a\"}", "{\"User\":\"own\"}", "{\"User\":\"b\"}", "{\"User\":\"own\"}"},
        {"{\"User\":\"a\"}", "{\"User\":\"a\"}", "{}", "{}"},
        {"{}", "{\"User\":\"\"}", "{\"User\":\"b\"}", "{\"User\":\"b\"}"},
        {"{\"User\":\"a\"}", "{}", "{\"User\":\"b\"}", "{}"},
        {"{}", "{}", "{\"StopSignal\":\"9\"}", "{\"StopSignal\":\"9\"}"},
        {"{\"ArgsEscaped\":true}", "{\"ArgsEscaped\":true}", "{}", "{}"},
        {"{}", "{\"ArgsEscaped\":true}", "{}", "{\"ArgsEscaped\":true}"},
        /* variables one by one, in the new base's order */
        {"{\"Env\":[\"A=1\",\"B=1\",\"C=1\"]}", "{\"Env\":[\"A=1\",\"B=2\",\"M=1\"]}",
         "{\"Env\":[\"N=1\",\"C=2\",\"B=3\",\"A=4\"]}",
         "{\"Env\":[\"N=1\",\"B=2\",\"A=4\",\"M=1\"]}"},
        {"{\"Env\":[\"A=1\"]}", "{\"Env\":[\"A=1\"]}", "{}", "{}"},
        /* maps key by key */
        {"{\"Labels\":{\"a\":\"1\",\"gone\":\"1\"}}",
         "{\"Labels\":{\"a\":\"1\",\"gone\":\"1\",\"m\":\"1\"}}",
         "{\"Labels\":{\"a\":\"2\",\"n\":\"1\"}}",
         "{\"Labels\":{\"a\":\"2\",\"n\":\"1\",\"m\":\"1\"}}"},
        {"{\"ExposedPorts\":{\"1/tcp\":{}}}", "{\"ExposedPorts\":{\"1/tcp\":{},\"2/tcp\":{}}}",
         "{\"ExposedPorts\":{\"3/tcp\":{}}}", "{\"ExposedPorts\":{\"3/tcp\":{},\"2/tcp\":{}}}"},
        /* a command belongs to its entrypoint */
        {"{\"Entrypoint\":[\"e\"],\"Cmd\":[\"c\"]}", "{\"Entrypoint\":[\"e\"],\"Cmd\":[\"c\"]}",
         "{\"Entrypoint\":[\"f\"],\"Cmd\":[\"d\"]}", "{\"Entrypoint\":[\"f\"],\"Cmd\":[\"d\"]}"},
        {"{\"Entrypoint\":[\"e\"],\"Cmd\":[\"c\"]}", "{\"Entrypoint\":[\"own\"],\"Cmd\":[\"c\"]}",
         "{\"Entrypoint\":[\"f\"],\"Cmd\":[\"d\"]}", "{\"Entrypoint\":[\"own\"],\"Cmd\":[\"c\"]}"},
        /* triggers of the old base have run */
        {"{\"OnBuild\":[\"RUN x\"]}", "{}", "{\"OnBuild\":[\"RUN y\"]}", "{}"},
        {"{}", "{\"Weird\":{\"x\":1}}", "{}", "{\"Weird\":{\"x\":1}}"},
};

static struct js *config_with(const char *conf, const char *ids, const char *history)
{
        AUTO_SB struct sb text = SB_INIT(8192);

        sb_fmt(&text,
               "{\"os\":\"linux\",\"config\":%s,\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[%s]},"
               "\"history\":%s}",
               conf, ids, history);
        return parse(sb_text(&text));
}

static void test_merge(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(merges); i++) {
                AUTO_JS struct js *old = config_with(merges[i].old, "", "[]");
                AUTO_JS struct js *nw = config_with(merges[i].new, "", "[]");
                AUTO_JS struct js *config = config_with(merges[i].image, "", "[]");
                AUTO_JS struct js *m = parse("{\"layers\":[]}");
                struct img_descs layers = {.v = NULL};
                const struct img_bases b = {
                        .old_config = old, .new_config = nw, .new_layers = &layers};

                assert_int_equal(img_edit_rebase(m, config, &b, NULL), 0);
                check(js_get(config, "config"), merges[i].result);
        }
}

/* The image: two layers of the old base, one of its own. The new base has one. */
static void test_rebase_layers(void **state)
{
        AUTO_SB struct sb ids = SB_INIT(1024), want = SB_INIT(4096), nids = SB_INIT(1024);
        AUTO_JS struct js *old = NULL, *nw = NULL, *config = NULL, *m = parse(manifest_of(3));
        struct img_desc layer = {.media_type = (char[]){"n"}, .size = 9};
        struct img_descs layers = {.v = &layer, .n = 1};
        struct img_bases b = {.new_layers = &layers, .nold = 2, .nsrc = 3};

        (void)state;
        assert_int_equal(digest_parse(b64, &layer.digest, NULL), 0);
        sb_fmt(&ids, "\"%s\",\"%s\",\"%s\"", a64, b64, c64);
        sb_fmt(&nids, "\"%s\"", b64);
        old = config_with("{}", "",
                          "[{\"created_by\":\"1\"},{\"created_by\":\"2\"},{\"created_by\":\"e\","
                          "\"empty_layer\":true}]");
        nw = config_with("{}", sb_text(&nids), "[{\"created_by\":\"n\"}]");
        config = config_with(
                "{}", sb_text(&ids),
                "[{\"created_by\":\"1\"},{\"created_by\":\"2\"},{\"created_by\":\"e\",\"empty_"
                "layer\":true},"
                "{\"created_by\":\"own\",\"empty_layer\":true},{\"created_by\":\"3\"}]");
        b.old_config = old;
        b.new_config = nw;
        assert_int_equal(img_edit_rebase(m, config, &b, NULL), 0);
        sb_fmt(&want,
               "{\"os\":\"linux\",\"config\":{},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"%"
               "s\",\"%s\"]},"
               "\"history\":[{\"created_by\":\"n\"},{\"created_by\":\"own\",\"empty_layer\":true},"
               "{\"created_by\":\"3\"}]}",
               b64, c64);
        check(config, sb_text(&want));
        assert_int_equal(js_len(js_get(m, "layers")), 2);
        assert_string_equal(js_get_str(js_at(js_get(m, "layers"), 1), "digest"), c64);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_config), cmocka_unit_test(test_platform),
                cmocka_unit_test(test_layers), cmocka_unit_test(test_target),
                cmocka_unit_test(test_merge),  cmocka_unit_test(test_rebase_layers),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
