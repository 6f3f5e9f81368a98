/* Platforms: parsing, normalising, and which entry serves which wish. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "image/image.h"

static void test_parse(void **state)
{
        static const struct {
                const char *in, *out, *os_version;
        } rows[] = {
                {"linux/amd64", "linux/amd64", ""},
                {"linux/x86_64", "linux/amd64", ""},
                {"Linux/X86-64", "linux/amd64", ""},
                {"linux/amd64/v1", "linux/amd64", ""},
                {"linux/amd64/v3", "linux/amd64/v3", ""},
                {"linux/aarch64", "linux/arm64", ""},
                {"linux/arm64/v8", "linux/arm64", ""},
                {"linux/arm64/v9", "linux/arm64/v9", ""},
                {"linux/arm", "linux/arm/v7", ""},
                {"linux/armhf", "linux/arm/v7", ""},
                {"linux/armel", "linux/arm/v6", ""},
                {"linux/arm/5", "linux/arm/v5", ""},
                {"linux/i386", "linux/386", ""},
                {"macos/arm64", "darwin/arm64", ""},
                {"windows(10.0.17763)/amd64", "windows/amd64", "10.0.17763"},
                {"s390x", "linux/s390x", ""},
                {"arm", "linux/arm/v7", ""},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct bld_err err = BLD_ERR_INIT;
                struct img_platform p;
                char text[128];

                if (img_platform_parse(rows[i].in, &p, &err) < 0)
                        fail_msg("%s: %s", rows[i].in, err.msg);
                img_platform_format(&p, text);
                if (strcmp(text, rows[i].out) != 0)
                        fail_msg("%s gave %s, not %s", rows[i].in, text, rows[i].out);
                assert_string_equal(p.os_version, rows[i].os_version);
        }
}

static void test_parse_bad(void **state)
{
        static const char *const bad[] = {"",
                                          "/",
                                          "linux/",
                                          "/amd64",
                                          "linux//amd64",
                                          "a/b/c/d",
                                          "nonsense",
                                          "lin ux/amd64",
                                          "linux/am\nd64",
                                          "linux(/amd64",
                                          "linux(1)x/amd64",
                                          "linux/amd64/v\x01"};
        char big[400];

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
                struct img_platform p;

                if (img_platform_parse(bad[i], &p, NULL) != BLD_E_INVALID)
                        fail_msg("\"%s\" was accepted", bad[i]);
        }
        memset(big, 'x', sizeof(big) - 1);
        big[sizeof(big) - 1] = '\0';
        struct img_platform p;
        assert_int_equal(img_platform_parse(big, &p, NULL), BLD_E_INVALID);
        memcpy(big, "linux/", 6);
        big[60] = '\0';
        assert_int_equal(img_platform_parse(big, &p, NULL), BLD_E_INVALID);
}

static void test_host(void **state)
{
        struct img_platform p;

        (void)state;
        img_platform_host(&p);
        assert_string_equal(p.os, "linux");
        assert_true(p.arch[0] != '\0');
        assert_true(img_platform_score(&p, &p) > 0);
}

static int score(const char *want, const char *have)
{
        struct img_platform w, h;

        assert_int_equal(img_platform_parse(want, &w, NULL), 0);
        assert_int_equal(img_platform_parse(have, &h, NULL), 0);
        return img_platform_score(&w, &h);
}

static void test_score(void **state)
{
        static const struct {
                const char *want, *better, *worse; /* worse NULL: better must merely serve */
        } rows[] = {
                {"linux/amd64", "linux/amd64", NULL},
                {"linux/amd64/v3", "linux/amd64/v3", "linux/amd64/v2"},
                {"linux/amd64/v3", "linux/amd64/v2", "linux/amd64"},
                {"linux/arm/v7", "linux/arm/v7", "linux/arm/v6"},
                {"linux/arm/v7", "linux/arm/v6", "linux/arm/v5"},
                {"linux/arm64/v9", "linux/arm64", NULL},
                {"windows(10.0.17763.1)/amd64", "windows(10.0.17763.1)/amd64",
                 "windows(10.0.17763.2)/amd64"},
        };
        static const struct {
                const char *want, *have;
        } never[] = {
                {"linux/amd64", "linux/arm64"},
                {"linux/amd64", "windows/amd64"},
                {"linux/amd64", "linux/amd64/v2"},
                {"linux/arm/v6", "linux/arm/v7"},
                {"linux/arm64", "linux/arm/v7"},
                {"linux/amd64", "linux/386"},
                {"linux/ppc64le/power8", "linux/ppc64le/power9"},
                {"windows(10.0.17763)/amd64", "windows(10.0.20348.1)/amd64"},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                int better = score(rows[i].want, rows[i].better);
                int worse = rows[i].worse ? score(rows[i].want, rows[i].worse) : 0;

                if (better <= worse || (rows[i].worse && worse == 0))
                        fail_msg("%s: %s has %d, the other %d", rows[i].want, rows[i].better,
                                 better, worse);
        }
        for (size_t i = 0; i < ARRAY_LEN(never); i++)
                if (score(never[i].want, never[i].have) != 0)
                        fail_msg("%s would run on %s", never[i].have, never[i].want);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_parse),
                cmocka_unit_test(test_parse_bad),
                cmocka_unit_test(test_host),
                cmocka_unit_test(test_score),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
