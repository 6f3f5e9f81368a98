/* Configs compared, the cost of a pull. The images are this file's own: what they say may be
 * anything. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "alloc_seam.h"

#include "base/sb.h"
#include "bld/diff.h"
#include "image/image.h"

/* In place of lib/open.c. */
struct bld_image {
        const char *config;
        struct bld_layer_info v[8];
        size_t n;
};

const char *bld_image_name(const struct bld_image *im)
{
        (void)im;
        return "it";
}

const char *bld_image_config(const struct bld_image *im, size_t *ret_len)
{
        *ret_len = im->config ? strlen(im->config) : 0;
        return im->config;
}

size_t bld_image_layers(const struct bld_image *im)
{
        return im->n;
}

const struct bld_layer_info *bld_image_layer(const struct bld_image *im, size_t i)
{
        return i < im->n ? &im->v[i] : NULL;
}

/* ---- configs ---- */

static int compare(const char *a, const char *b, unsigned ignore, struct sb *out,
                   struct bld_err *err)
{
        struct bld_image x = {.config = a}, y = {.config = b};
        struct bld_config_diff *d = NULL;
        int r = bld_config_diff(&x, &y, ignore, &d, err);

        if (r < 0) {
                assert_null(d);
                return r;
        }
        for (size_t i = 0; i < bld_config_diff_count(d); i++) {
                const struct bld_config_change *c = bld_config_diff_change(d, i);

                sb_fmt(out, "%s%s%s|%s|%s\n", c->field, c->key ? "/" : "", c->key ? c->key : "",
                       c->before ? c->before : "-", c->after ? c->after : "-");
        }
        assert_null(bld_config_diff_change(d, bld_config_diff_count(d)));
        bld_config_diff_free(d);
        return 0;
}

#define H "{\"created\":\"2020\",\"created_by\":\"A\",\"empty_layer\":false}"
#define H2 "{\"created\":\"2021\",\"created_by\":\"A\"}"

static const char *const full =
        "{\"architecture\":\"amd64\",\"os\":\"linux\",\"created\":\"2020\",\"author\":\"me\","
        "\"config\":{\"Env\":[\"PATH=/bin\",\"A=1\"],\"Cmd\":[\"a\"],\"Labels\":{\"k\":\"v\"},"
        "\"ExposedPorts\":{\"80/tcp\":{}},\"Healthcheck\":{\"Test\":[\"CMD\"],\"Retries\":3}},"
        "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:1\"]},\"history\":[" H "]}";

static const struct {
        const char *name, *a, *b;
        unsigned ignore;
        const char *want;
} configs[] = {
        {"nothing at all", NULL, NULL, 0, ""},
        {"nothing and an empty one", NULL, "{}", 0, ""},
        {"the same", "@", "@", 0, ""},
        {"only one", NULL, "@", 0,
         "os|-|linux\narchitecture|-|amd64\nauthor|-|me\ncreated|-|2020\nCmd|-|[\"a\"]\n"
         "Env/PATH|-|/bin\nEnv/A|-|1\nLabels/k|-|v\nExposedPorts/80/tcp|-|{}\n"
         "Healthcheck/Retries|-|3\nHealthcheck/Test|-|[\"CMD\"]\nrootfs.diff_ids/0|-|sha256:1\n"
         "rootfs.type|-|layers\nhistory/0|-|{\"created\":\"2020\",\"created_by\":\"A\"}\n"},
        {"all that can be left out", NULL, "@", 15,
         "os|-|linux\narchitecture|-|amd64\nauthor|-|me\nCmd|-|[\"a\"]\nEnv/PATH|-|/bin\n"
         "Env/A|-|1\nExposedPorts/80/tcp|-|{}\nHealthcheck/Retries|-|3\n"
         "Healthcheck/Test|-|[\"CMD\"]\nrootfs.type|-|layers\n"},
        {"scalars",
         "{\"os\":\"linux\",\"os.version\":\"1\",\"os.features\":[\"x\"],\"variant\":\"v7\"}",
         "{\"os\":\"windows\",\"os.version\":\"2\",\"os.features\":[\"y\"],\"variant\":\"v8\"}", 0,
         "os|linux|windows\nos.version|1|2\nos.features|[\"x\"]|[\"y\"]\nvariant|v7|v8\n"},
        {"times", "{\"created\":\"1\",\"history\":[" H "]}",
         "{\"created\":\"2\",\"history\":[" H2 "]}", BLD_CONFIG_CREATED, ""},
        {"times count", "{\"created\":\"1\"}", "{\"created\":\"2\"}", BLD_CONFIG_HISTORY,
         "created|1|2\n"},
        {"history by position", "{\"history\":[" H "]}", "{\"history\":[" H2 ",{}]}", 0,
         "history/0|{\"created\":\"2020\",\"created_by\":\"A\"}|{\"created\":\"2021\",\"created_"
         "by\":\"A\"}\nhistory/1|-|{}\n"},
        {"history that is none", "{\"history\":7}", "{\"history\":[1,null]}", 0,
         "history|7|[1,null]\n"},
        {"zero and absent",
         "{\"author\":\"\",\"variant\":null,\"config\":{\"User\":\"\",\"Cmd\":null,\"Env\":[],"
         "\"Labels\":{},\"ArgsEscaped\":false,\"Tty\":false,\"Hostname\":\"\",\"StopTimeout\":0,"
         "\"Entrypoint\":[],\"Volumes\":null,\"Healthcheck\":{\"Interval\":0}}}",
         "{}", 0, ""},
        {"zero is not any value", "{\"config\":{\"ArgsEscaped\":true,\"User\":\"0\"}}", "{}", 0,
         "User|0|-\nArgsEscaped|true|-\n"},
        {"unknown members are exact", "{\"x\":null,\"config\":{\"Y\":\"\",\"z\":1}}",
         "{\"config\":{\"z\":1.5},\"Q\":2}", 0, "Y||-\n.config.z|1|1.5\n.Q|-|2\nx|null|-\n"},
        {"order of members does not count", "{\"x\":{\"a\":1,\"b\":[{\"c\":2,\"d\":3}]}}",
         "{\"x\":{\"b\":[{\"d\":3,\"c\":2}],\"a\":1}}", 0, ""},
        {"of lists it does", "{\"config\":{\"Cmd\":[\"a\",\"b\"]}}",
         "{\"config\":{\"Cmd\":[\"b\",\"a\"]}}", 0, "Cmd|[\"a\",\"b\"]|[\"b\",\"a\"]\n"},
        {"a number as text", "{\"author\":\"1\"}", "{\"author\":1}", 0, "author|\"1\"|1\n"},
        {"wrong types", "{\"config\":{\"Labels\":[\"a\"],\"Env\":\"A=1\",\"Healthcheck\":7}}",
         "{\"config\":{\"Labels\":{\"a\":\"b\"},\"Env\":[\"A=1\",7]}}", 0,
         "Env|\"A=1\"|[\"A=1\",7]\nLabels|[\"a\"]|{\"a\":\"b\"}\nHealthcheck|7|-\n"},
        {"parts of wrong types", "{\"config\":\"x\",\"rootfs\":[]}", "{\"rootfs\":[1]}", 0,
         "config|x|-\nrootfs|-|[1]\n"},
        {"Env by name", "{\"config\":{\"Env\":[\"A=1\",\"B=2\",\"C=\"]}}",
         "{\"config\":{\"Env\":[\"A=1\",\"C=x=y\",\"D=4\"]}}", 0,
         "Env/B|2|-\nEnv/C||x=y\nEnv/D|-|4\n"},
        {"Env in another order", "{\"config\":{\"Env\":[\"A=1\",\"X=\",\"B=2\",\"C=3\"]}}",
         "{\"config\":{\"Env\":[\"B=2\",\"A=1\",\"C=4\"]}}", 0,
         "Env/X||-\nEnv/C|3|4\nEnv|[\"A\",\"B\",\"C\"]|[\"B\",\"A\",\"C\"]\n"},
        {"Env with a name twice", "{\"config\":{\"Env\":[\"A=1\",\"A=2\"]}}",
         "{\"config\":{\"Env\":[\"A=1\",\"A=3\",\"A=2\"]}}", 0, "Env/A|2|3\nEnv/A|-|2\n"},
        {"Env without a value", "{\"config\":{\"Env\":[\"A\"]}}", "{\"config\":{\"Env\":[\"A=\"]}}",
         0, "Env/A||-\nEnv/A|-|\n"},
        {"labels", "{\"config\":{\"Labels\":{\"a\":\"1\",\"b\":\"2\",\"c\":\"\"}}}",
         "{\"config\":{\"Labels\":{\"b\":\"3\",\"a\":\"1\"}}}", 0, "Labels/b|2|3\nLabels/c||-\n"},
        {"labels left out", "{\"config\":{\"Labels\":{\"a\":\"1\"}}}", "{}", BLD_CONFIG_LABELS, ""},
        {"layers", "{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"a\",\"b\"]}}",
         "{\"rootfs\":{\"type\":\"x\",\"diff_ids\":[\"a\",\"c\",\"d\"]}}", 0,
         "rootfs.diff_ids/1|b|c\nrootfs.diff_ids/2|-|d\nrootfs.type|layers|x\n"},
        {"layers left out", "{\"rootfs\":{\"diff_ids\":[\"a\",\"b\"]}}", NULL, BLD_CONFIG_LAYERS,
         ""},
};

static void test_configs(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(configs); i++) {
                const char *a = configs[i].a, *b = configs[i].b;
                struct sb out = SB_INIT(1 << 20);
                struct bld_err err = BLD_ERR_INIT;

                print_message("# %s\n", configs[i].name);
                if (compare(a && *a == '@' ? full : a, b && *b == '@' ? full : b, configs[i].ignore,
                            &out, &err) < 0)
                        fail_msg("%s", err.msg);
                assert_string_equal(sb_text(&out), configs[i].want);
                sb_done(&out);
        }
}

static void test_bad_configs(void **state)
{
        static const struct {
                const char *text;
                int code;
        } rows[] = {
                {"[]", BLD_E_CORRUPT},
                {"{", BLD_E_CORRUPT},
                {"{\"a\":1,\"a\":2}", BLD_E_CORRUPT},
                {"", BLD_E_CORRUPT},
        };
        struct sb big = SB_INIT(IMG_CONFIG_MAX + 100), out = SB_INIT(100);
        struct bld_err err = BLD_ERR_INIT;

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                assert_int_equal(compare(rows[i].text, "{}", 0, &out, NULL), rows[i].code);
                assert_int_equal(compare(NULL, rows[i].text, 0, &out, NULL), rows[i].code);
        }
        for (size_t i = 0; i < 100; i++)
                sb_char(&big, '[');
        assert_int_equal(compare("{}", sb_text(&big), 0, &out, NULL), BLD_E_CORRUPT);
        while (big.len <= IMG_CONFIG_MAX)
                sb_str(&big, "          ");
        assert_int_equal(compare("{}", sb_text(&big), 0, &out, &err), BLD_E_LIMIT);
        sb_done(&big);
        sb_done(&out);
}

/* What is asked for grows with the documents only, the time too. */
static void test_large_configs(void **state)
{
        struct sb a = SB_INIT(IMG_CONFIG_MAX), b = SB_INIT(IMG_CONFIG_MAX), out = SB_INIT(64 << 20);
        struct bld_err err = BLD_ERR_INIT;

        (void)state;
        sb_str(&a, "{\"config\":{\"Env\":[\"x=\"");
        sb_str(&b, "{\"config\":{\"Env\":[\"x=\"");
        for (size_t i = 0; i < 150000; i++) {
                sb_fmt(&a, ",\"v%zu=1\"", i % 75000);
                sb_fmt(&b, ",\"v%zu=2\"", 150000 - i);
        }
        sb_str(&a, "]}}");
        sb_str(&b, "]}}");
        asked = 0;
        if (compare(sb_text(&a), sb_text(&b), 0, &out, &err) < 0)
                fail_msg("%s", err.msg);
        assert_true(asked < 100 * (a.len + b.len));
        sb_done(&a);
        sb_done(&b);
        sb_done(&out);
}

static int run_configs(struct bld_err *err)
{
        struct sb out = SB_INIT(1 << 20);
        int r = compare("{\"config\":{\"Env\":[\"A=1\",\"B=1\"],\"Cmd\":[\"x\"]},\"x\":1}", full, 0,
                        &out, err);

        /* the output is the test's own */
        r = r == 0 && out.failed ? err_nomem(err, "output") : r;
        sb_done(&out);
        return r;
}

static void test_config_memory(void **state)
{
        (void)state;
        fail_each(run_configs);
}

/* ---- cost of a pull ---- */

#define L(d, id, size)                                              \
        {                                                           \
                .digest = (d), .diff_id = (id), .blob_size = (size) \
        }

static const struct {
        const char *name;
        struct bld_image a, b;
        struct bld_pull_cost want;
} costs[] = {
        {"empty", {.n = 0}, {.n = 0}, {.bytes = 0}},
        {"the same",
         {.config = "{}", .n = 2, .v = {L("d1", "t1", 10), L("d2", "t2", 20)}},
         {.config = "{}", .n = 2, .v = {L("d1", "t1", 10), L("d2", "t2", 20)}},
         {.bytes = 0, .total = 32, .shared = 2, .prefix = 2}},
        {"one more layer, another config",
         {.config = "{}", .n = 1, .v = {L("d1", "t1", 10)}},
         {.config = "{ }", .n = 2, .v = {L("d1", "t1", 10), L("d2", "t2", 20)}},
         {.bytes = 23, .total = 33, .shared = 1, .changed = 1, .prefix = 1}},
        {"another base below a shared layer",
         {.n = 2, .v = {L("d1", "t1", 10), L("d2", "t2", 20)}},
         {.n = 2, .v = {L("d3", "t3", 5), L("d2", "t2", 20)}},
         {.bytes = 5, .total = 25, .shared = 1, .changed = 1, .prefix = 0}},
        {"compressed in another way",
         {.n = 1, .v = {L("d1", "t1", 10)}},
         {.n = 1, .v = {L("d9", "t1", 8)}},
         {.bytes = 8, .total = 8, .changed = 1, .same_tar = 1, .prefix = 1}},
        {"a layer twice",
         {.n = 0},
         {.n = 3, .v = {L("d1", "t1", 10), L("d2", "t2", 1), L("d1", "t1", 10)}},
         {.bytes = 11, .total = 11, .changed = 3}},
        {"a layer twice that is there",
         {.n = 1, .v = {L("d1", "t1", 10)}},
         {.n = 2, .v = {L("d1", "t1", 10), L("d1", "t1", 10)}},
         {.bytes = 0, .total = 10, .shared = 2, .prefix = 1}},
        {"no digests, the same tar",
         {.n = 1, .v = {L(NULL, "t1", 10)}},
         {.n = 1, .v = {L("d1", "t1", 4)}},
         {.bytes = 0, .total = 4, .shared = 1, .prefix = 1}},
        {"a folder as the second",
         {.n = 1, .v = {L("d1", "t1", 4)}},
         {.n = 1, .v = {L(NULL, "t1", 10)}},
         {.bytes = 0, .total = 10, .shared = 1, .prefix = 1}},
        {"nothing is known",
         {.n = 1, .v = {L(NULL, NULL, 0)}},
         {.n = 1, .v = {L(NULL, NULL, 0)}},
         {.changed = 1}},
        {"sizes beyond any number",
         {.n = 0},
         {.config = "{}", .n = 2, .v = {L("d1", "t1", UINT64_MAX), L("d2", "t2", 20)}},
         {.bytes = UINT64_MAX, .total = UINT64_MAX, .changed = 2}},
        {"only the first has a config",
         {.config = "{}", .n = 0},
         {.n = 1, .v = {L("d1", "t1", 1)}},
         {.bytes = 1, .total = 1, .changed = 1}},
};

static void test_costs(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(costs); i++) {
                struct bld_image a = costs[i].a, b = costs[i].b;
                struct bld_pull_cost c = {.size = sizeof(c)};
                struct bld_err err = BLD_ERR_INIT;

                print_message("# %s\n", costs[i].name);
                if (bld_pull_cost(&a, &b, &c, &err) < 0)
                        fail_msg("%s", err.msg);
                c.size = 0;
                assert_memory_equal(&c, &costs[i].want, sizeof(c));
        }
}

/* A program that was built when the struct was smaller. */
static void test_old_caller(void **state)
{
        struct bld_image a = costs[2].a, b = costs[2].b;
        struct bld_pull_cost c;

        (void)state;
        memset(&c, 0x55, sizeof(c));
        c.size = offsetof(struct bld_pull_cost, shared);
        assert_int_equal(bld_pull_cost(&a, &b, &c, NULL), 0);
        assert_int_equal(c.total, 33);
        assert_int_equal(c.shared, (size_t)0x5555555555555555);
        c.size = 0;
        assert_int_equal(bld_pull_cost(&a, &b, &c, NULL), BLD_E_USAGE);
}

static int run_cost(struct bld_err *err)
{
        struct bld_image a = costs[2].a, b = costs[2].b;
        struct bld_pull_cost c = {.size = sizeof(c)};

        return bld_pull_cost(&a, &b, &c, err);
}

static void test_cost_memory(void **state)
{
        (void)state;
        fail_each(run_cost);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_configs),       cmocka_unit_test(test_bad_configs),
                cmocka_unit_test(test_large_configs), cmocka_unit_test(test_config_memory),
                cmocka_unit_test(test_costs),         cmocka_unit_test(test_old_caller),
                cmocka_unit_test(test_cost_memory),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
