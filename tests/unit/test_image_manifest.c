/* Manifests and indexes: what is read, what is refused, and that writing is deterministic. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "image/image.h"

#define A64 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define EMPTY_HEX "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
#define CONFIG "{\"mediaType\":\"" MT_OCI_CONFIG "\",\"digest\":\"sha256:" A64 "\",\"size\":7}"
#define DCONFIG "{\"mediaType\":\"" MT_DOCKER_CONFIG "\",\"digest\":\"sha256:" A64 "\",\"size\":7}"
#define LAYER "{\"mediaType\":\"" MT_OCI_LAYER_GZIP "\",\"digest\":\"sha256:" A64 "\",\"size\":9}"
#define ENTRY "{\"mediaType\":\"" MT_OCI_MANIFEST "\",\"digest\":\"sha256:" A64 "\",\"size\":9}"
#define MANIFEST(members) "{\"schemaVersion\":2," members "}"

static void test_manifest_good(void **state)
{
        static const struct {
                const char *name, *text, *promised, *type;
                size_t nlayers;
        } rows[] = {
                {"oci without type", MANIFEST("\"config\":" CONFIG ",\"layers\":[" LAYER "]"), NULL,
                 MT_OCI_MANIFEST, 1},
                {"docker without type", MANIFEST("\"config\":" DCONFIG ",\"layers\":[]"), NULL,
                 MT_DOCKER_MANIFEST, 0},
                {"promised", MANIFEST("\"config\":" CONFIG ",\"layers\":[]"), MT_DOCKER_MANIFEST,
                 MT_DOCKER_MANIFEST, 0},
                {"said and promised",
                 MANIFEST("\"mediaType\":\"" MT_OCI_MANIFEST "\",\"config\":" CONFIG
                          ",\"layers\":[]"),
                 MT_OCI_MANIFEST, MT_OCI_MANIFEST, 0},
                {"nulls and unknown members",
                 MANIFEST("\"mediaType\":null,\"annotations\":null,\"subject\":null,\"x\":[1.5],"
                          "\"config\":" CONFIG ",\"layers\":[" LAYER "," LAYER "]"),
                 NULL, MT_OCI_MANIFEST, 2},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct bld_err err = BLD_ERR_INIT;
                struct img_manifest m;

                if (img_manifest_decode(rows[i].text, strlen(rows[i].text), rows[i].promised, &m,
                                        &err) < 0)
                        fail_msg("%s: %s", rows[i].name, err.msg);
                assert_string_equal(m.media_type, rows[i].type);
                assert_int_equal(m.layers.n, rows[i].nlayers);
                assert_int_equal(m.config.size, 7);
                img_manifest_done(&m);
        }
}

static void test_manifest_bad(void **state)
{
        static const struct {
                const char *name, *text, *promised;
        } rows[] = {
                {"not JSON", "{", NULL},
                {"not an object", "[]", NULL},
                {"trailing text", MANIFEST("\"config\":" CONFIG ",\"layers\":[]") "x", NULL},
                {"both lists", MANIFEST("\"config\":" CONFIG ",\"layers\":[],\"manifests\":[]"),
                 NULL},
                {"index", MANIFEST("\"manifests\":[]"), NULL},
                {"schema 1", "{\"schemaVersion\":1,\"fsLayers\":[],\"history\":[]}", NULL},
                {"fsLayers hidden", MANIFEST("\"config\":" CONFIG ",\"layers\":[],\"fsLayers\":[]"),
                 NULL},
                {"no version", "{\"config\":" CONFIG ",\"layers\":[]}", NULL},
                {"real version", "{\"schemaVersion\":2.0,\"config\":" CONFIG ",\"layers\":[]}",
                 NULL},
                {"promised an index", MANIFEST("\"config\":" CONFIG ",\"layers\":[]"),
                 MT_OCI_INDEX},
                {"says otherwise",
                 MANIFEST("\"mediaType\":\"" MT_OCI_MANIFEST "\",\"config\":" CONFIG
                          ",\"layers\":[]"),
                 MT_DOCKER_MANIFEST},
                {"says index",
                 MANIFEST("\"mediaType\":\"" MT_OCI_INDEX "\",\"config\":" CONFIG ",\"layers\":[]"),
                 NULL},
                {"type not a string",
                 MANIFEST("\"mediaType\":5,\"config\":" CONFIG ",\"layers\":[]"), NULL},
                {"duplicate name",
                 MANIFEST("\"config\":" CONFIG ",\"layers\":[],\"layers\":[" LAYER "]"), NULL},
                {"other case", MANIFEST("\"config\":" CONFIG ",\"layers\":[],\"Layers\":[]"), NULL},
                {"no config", MANIFEST("\"layers\":[]"), NULL},
                {"config a string", MANIFEST("\"config\":\"x\",\"layers\":[]"), NULL},
                {"no layers", MANIFEST("\"config\":" CONFIG), NULL},
                {"layers null", MANIFEST("\"config\":" CONFIG ",\"layers\":null"), NULL},
                {"layer a string", MANIFEST("\"config\":" CONFIG ",\"layers\":[\"x\"]"), NULL},
                {"negative size",
                 MANIFEST("\"config\":{\"mediaType\":\"a/b\",\"digest\":\"sha256:" A64
                          "\",\"size\":-1},\"layers\":[]"),
                 NULL},
                {"real size",
                 MANIFEST("\"config\":{\"mediaType\":\"a/b\",\"digest\":\"sha256:" A64
                          "\",\"size\":1.0},\"layers\":[]"),
                 NULL},
                {"huge size",
                 MANIFEST("\"config\":{\"mediaType\":\"a/b\",\"digest\":\"sha256:" A64
                          "\",\"size\":99999999999999999999},\"layers\":[]"),
                 NULL},
                {"no size",
                 MANIFEST("\"config\":{\"mediaType\":\"a/b\",\"digest\":\"sha256:" A64
                          "\"},\"layers\":[]"),
                 NULL},
                {"short digest",
                 MANIFEST("\"config\":{\"mediaType\":\"a/b\",\"digest\":\"sha256:aa\",\"size\":1},"
                          "\"layers\":[]"),
                 NULL},
                {"path in digest",
                 MANIFEST("\"config\":{\"mediaType\":\"a/b\",\"digest\":\"sha256:../../../etc\","
                          "\"size\":1},\"layers\":[]"),
                 NULL},
                {"line break in type",
                 MANIFEST("\"config\":{\"mediaType\":\"a/b\\nX: y\",\"digest\":\"sha256:" A64
                          "\",\"size\":1},\"layers\":[]"),
                 NULL},
                {"annotation a number",
                 MANIFEST("\"config\":" CONFIG ",\"layers\":[],\"annotations\":{\"a\":1}"), NULL},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct bld_err err = BLD_ERR_INIT;
                struct img_manifest m = {.media_type = NULL};
                int r = img_manifest_decode(rows[i].text, strlen(rows[i].text), rows[i].promised,
                                            &m, &err);

                if (r != BLD_E_CORRUPT)
                        fail_msg("%s: %d %s", rows[i].name, r, err.msg);
                assert_null(m.media_type);
                assert_int_equal(err.code, BLD_E_CORRUPT);
        }
}

static void test_manifest_limit(void **state)
{
        size_t n = IMG_MANIFEST_MAX + 1;
        char *text = calloc(1, n);
        struct img_manifest m;

        (void)state;
        assert_non_null(text);
        memset(text, ' ', n);
        assert_int_equal(img_manifest_decode(text, n, NULL, &m, NULL), BLD_E_LIMIT);
        free(text);
}

static void test_embedded_data(void **state)
{
        static const struct {
                const char *name, *hex, *size, *data;
                bool good;
        } rows[] = {
                {"right", EMPTY_HEX, "2", "e30=", true},
                {"wrong size", EMPTY_HEX, "3", "e30=", false},
                {"wrong bytes", EMPTY_HEX, "2", "e31=", false},
                {"stray bits", EMPTY_HEX, "2", "e30/", false},
                {"no padding", EMPTY_HEX, "2", "e30", false},
                {"not base64", EMPTY_HEX, "2", "e*0=", false},
                {"padding inside", EMPTY_HEX, "2", "e=0=", false},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct img_desc d = {.size = 0}, copy;
                struct js *j = NULL;
                char text[400];
                int r;

                (void)snprintf(text, sizeof(text),
                               "{\"mediaType\":\"" MT_OCI_EMPTY
                               "\",\"digest\":\"sha256:%s\",\"size\":%s,\"data\":\"%s\"}",
                               rows[i].hex, rows[i].size, rows[i].data);
                assert_int_equal(js_parse(text, strlen(text), &j, NULL), 0);
                r = img_desc_decode(j, &d, NULL);
                js_free(j);
                if ((r == 0) != rows[i].good)
                        fail_msg("%s: %d", rows[i].name, r);
                if (r < 0)
                        continue;
                assert_memory_equal(d.data, "{}", 2);
                assert_int_equal(img_desc_copy(&d, &copy), 0);
                j = img_desc_encode(&copy);
                assert_string_equal(js_get_str(j, "data"), "e30=");
                js_free(j);
                img_desc_done(&d);
                img_desc_done(&copy);
        }
}

/* Decoding what was encoded and encoding it again must give the same bytes. */
static void test_manifest_round_trip(void **state)
{
        static const char want[] =
                "{\"schemaVersion\":2,\"mediaType\":\"" MT_OCI_MANIFEST "\","
                "\"artifactType\":\"x/y\",\"config\":" CONFIG
                ",\"layers\":[{\"mediaType\":\"" MT_OCI_LAYER_GZIP "\",\"digest\":\"sha256:" A64
                "\",\"size\":9,\"urls\":[\"u\"],"
                "\"annotations\":{\"a\":\"1\",\"b\":\"2\"}}],\"subject\":" ENTRY ","
                "\"annotations\":{\"k\":\"\xc3\xa4\\n/\"}}";
        static const char shuffled[] =
                "{\"annotations\":{\"k\":\"\\u00e4\\n\\/\"},\"layers\":[{\"annotations\":{\"b\":"
                "\"2\",\"a\":\"1\"},\"urls\":[\"u\"],\"size\":9,\"digest\":\"sha256:" A64 "\","
                "\"mediaType\":\"" MT_OCI_LAYER_GZIP "\"}],\"subject\":" ENTRY ",\"config\":" CONFIG
                ",\"artifactType\":\"x/y\",\"schemaVersion\":2}";
        struct bld_err err = BLD_ERR_INIT;
        struct img_manifest m;
        struct sb out = SB_INIT(100000);

        (void)state;
        if (img_manifest_decode(shuffled, strlen(shuffled), NULL, &m, &err) < 0)
                fail_msg("%s", err.msg);
        assert_int_equal(img_manifest_encode(&m, &out, &err), 0);
        assert_string_equal(sb_text(&out), want);
        img_manifest_done(&m);
        assert_int_equal(img_manifest_decode(want, strlen(want), MT_OCI_MANIFEST, &m, &err), 0);
        sb_reset(&out);
        assert_int_equal(img_manifest_encode(&m, &out, &err), 0);
        assert_string_equal(sb_text(&out), want);
        img_manifest_done(&m);
        sb_done(&out);
}

#define PLATFORM(mt, plat) \
        "{\"mediaType\":\"" mt "\",\"digest\":\"sha256:" A64 "\",\"size\":9" plat "}"
#define P(os, arch) ",\"platform\":{\"os\":\"" os "\",\"architecture\":\"" arch "\"}"
#define PV(os, arch, v) \
        ",\"platform\":{\"os\":\"" os "\",\"architecture\":\"" arch "\",\"variant\":\"" v "\"}"
#define INDEX(entries) "{\"schemaVersion\":2,\"manifests\":" entries "}"

static void test_index_choose(void **state)
{
        static const struct {
                const char *name, *text, *want;
                int chosen; /* -1: none */
        } rows[] = {
                {"exact",
                 INDEX("[" PLATFORM(MT_OCI_MANIFEST, P("linux", "arm64")) "," PLATFORM(
                         MT_OCI_MANIFEST, P("linux", "amd64")) "]"),
                 "linux/amd64", 1},
                {"first of equals",
                 INDEX("[" PLATFORM(MT_OCI_MANIFEST, P("linux", "amd64")) "," PLATFORM(
                         MT_OCI_MANIFEST, P("linux", "amd64")) "]"),
                 "linux/amd64", 0},
                {"best variant",
                 INDEX("[" PLATFORM(MT_OCI_MANIFEST, PV("linux", "arm", "v5")) "," PLATFORM(
                         MT_OCI_MANIFEST,
                         PV("linux", "arm", "v6")) "," PLATFORM(MT_OCI_MANIFEST,
                                                                PV("linux", "arm", "v8")) "]"),
                 "linux/arm/v7", 1},
                {"only entry without platform", INDEX("[" PLATFORM(MT_OCI_MANIFEST, "") "]"),
                 "linux/s390x", 0},
                {"two entries without platform",
                 INDEX("[" PLATFORM(MT_OCI_MANIFEST, "") "," PLATFORM(MT_OCI_MANIFEST, "") "]"),
                 "linux/amd64", -1},
                {"attestation skipped",
                 INDEX("[" PLATFORM(MT_OCI_MANIFEST, P("unknown", "unknown")) "," PLATFORM(
                         MT_OCI_MANIFEST,
                         ",\"annotations\":{\"vnd.docker.reference.type\":"
                         "\"attestation-manifest\"}" P(
                                 "linux", "amd64")) "," PLATFORM(MT_OCI_MANIFEST,
                                                                 P("linux", "amd64")) "]"),
                 "linux/amd64", 2},
                {"unknown types skipped",
                 INDEX("[" PLATFORM("a/b", P("linux", "amd64")) "," PLATFORM(
                         MT_OCI_INDEX, P("linux", "amd64")) "]"),
                 "linux/amd64", 1},
                {"features not here",
                 INDEX("[" PLATFORM(MT_OCI_MANIFEST,
                                    ",\"platform\":{\"os\":\"linux\",\"architecture\":\"amd64\","
                                    "\"os.features\":[\"x\"]}") "]"),
                 "linux/amd64", -1},
                {"no fallback", INDEX("[" PLATFORM(MT_OCI_MANIFEST, P("linux", "386")) "]"),
                 "linux/amd64", -1},
                {"empty", INDEX("[]"), "linux/amd64", -1},
                {"null", INDEX("null"), "linux/amd64", -1},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct bld_err err = BLD_ERR_INIT;
                struct img_index ix;
                struct img_platform want;
                size_t at = 99;
                int r;

                if (img_index_decode(rows[i].text, strlen(rows[i].text), NULL, &ix, &err) < 0)
                        fail_msg("%s: %s", rows[i].name, err.msg);
                assert_int_equal(img_platform_parse(rows[i].want, &want, &err), 0);
                r = img_index_choose(&ix, &want, &at, &err);
                if (rows[i].chosen < 0 ? r != BLD_E_NOT_FOUND : r != 0 || (int)at != rows[i].chosen)
                        fail_msg("%s: %d, entry %zu", rows[i].name, r, at);
                img_index_done(&ix);
        }
}

static void test_index_offers(void **state)
{
        static const char text[] =
                INDEX("[" PLATFORM(MT_OCI_MANIFEST, P("linux", "a\\u001b[1m")) "," PLATFORM(
                        MT_OCI_MANIFEST, PV("linux", "arm", "v7")) "]");
        struct bld_err err = BLD_ERR_INIT;
        struct img_platform want;
        struct img_index ix;
        size_t at;

        (void)state;
        assert_int_equal(img_index_decode(text, strlen(text), NULL, &ix, &err), 0);
        assert_int_equal(img_platform_parse("linux/s390x", &want, &err), 0);
        assert_int_equal(img_index_choose(&ix, &want, &at, &err), BLD_E_NOT_FOUND);
        assert_non_null(strstr(err.msg, "linux/arm/v7"));
        assert_null(strchr(err.msg, '\x1b'));
        img_index_done(&ix);
}

static void test_index_bad(void **state)
{
        static const char *const rows[] = {
                "{\"schemaVersion\":2,\"manifests\":[],\"layers\":[]}",
                "{\"schemaVersion\":2,\"manifests\":[],\"config\":" CONFIG "}",
                "{\"schemaVersion\":2,\"manifests\":{}}",
                "{\"schemaVersion\":2,\"manifests\":[null]}",
                "{\"schemaVersion\":2,\"Manifests\":[]}",
                "{\"schemaVersion\":1,\"manifests\":[]}",
                "{\"schemaVersion\":2,\"mediaType\":\"" MT_OCI_MANIFEST "\",\"manifests\":[]}",
                INDEX("[" PLATFORM(MT_OCI_MANIFEST, ",\"platform\":[]") "]"),
                INDEX("[" PLATFORM(MT_OCI_MANIFEST, ",\"platform\":{\"os\":1}") "]"),
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct img_index ix;

                if (img_index_decode(rows[i], strlen(rows[i]), NULL, &ix, NULL) != BLD_E_CORRUPT)
                        fail_msg("accepted: %s", rows[i]);
        }
}

static void test_guess(void **state)
{
        static const struct {
                const char *text, *type;
        } rows[] = {
                {INDEX("[]"), MT_OCI_INDEX},
                {"{\"mediaType\":\"" MT_DOCKER_LIST "\"}", MT_DOCKER_LIST},
                {MANIFEST("\"config\":" CONFIG ",\"layers\":[]"), MT_OCI_MANIFEST},
                {MANIFEST("\"config\":" DCONFIG ",\"layers\":[]"), MT_DOCKER_MANIFEST},
                {"{\"architecture\":\"amd64\",\"rootfs\":{}}", MT_OCI_CONFIG},
                {MANIFEST("\"config\":" CONFIG ",\"layers\":[],\"manifests\":[]"), NULL},
                {"{\"mediaType\":\"a/b\",\"manifests\":[]}", NULL},
                {"{}", NULL},
                {"x", NULL},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                const char *type = img_guess_media_type(rows[i].text, strlen(rows[i].text));

                if (!str_eq(type, rows[i].type))
                        fail_msg("%s: %s", rows[i].text, type ? type : "(none)");
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_manifest_good),
                cmocka_unit_test(test_manifest_bad),
                cmocka_unit_test(test_manifest_limit),
                cmocka_unit_test(test_embedded_data),
                cmocka_unit_test(test_manifest_round_trip),
                cmocka_unit_test(test_index_choose),
                cmocka_unit_test(test_index_offers),
                cmocka_unit_test(test_index_bad),
                cmocka_unit_test(test_guess),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
