/* References: the grammar, splitting off the domain, and the forms they are written in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "image/image.h"

#define F64 "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
#define A64 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static const struct {
        const char *ref, *domain, *path, *tag, *digest, *familiar, *pulled;
} good[] = {
        {"ubuntu", "docker.io", "library/ubuntu", "", "", "ubuntu",
         "docker.io/library/ubuntu:latest"},
        {"ubuntu:22.04", "docker.io", "library/ubuntu", "22.04", "", "ubuntu:22.04",
         "docker.io/library/ubuntu:22.04"},
        {"user/app", "docker.io", "user/app", "", "", "user/app", "docker.io/user/app:latest"},
        {"docker.io/ubuntu", "docker.io", "library/ubuntu", "", "", "ubuntu",
         "docker.io/library/ubuntu:latest"},
        {"index.docker.io/user/app", "docker.io", "user/app", "", "", "user/app",
         "docker.io/user/app:latest"},
        {"library/foo/bar", "docker.io", "library/foo/bar", "", "", "library/foo/bar",
         "docker.io/library/foo/bar:latest"},
        {"localhost", "docker.io", "library/localhost", "", "", "localhost",
         "docker.io/library/localhost:latest"},
        {"localhost/app", "localhost", "app", "", "", "localhost/app", "localhost/app:latest"},
        {"LOCALHOST/a", "LOCALHOST", "a", "", "", "LOCALHOST/a", "LOCALHOST/a:latest"},
        {"myhost:5000", "docker.io", "library/myhost", "5000", "", "myhost:5000",
         "docker.io/library/myhost:5000"},
        {"host:5000/app", "host:5000", "app", "", "", "host:5000/app", "host:5000/app:latest"},
        {"host/app", "docker.io", "host/app", "", "", "host/app", "docker.io/host/app:latest"},
        {"[2001:db8::1]:5000/a/b:t", "[2001:db8::1]:5000", "a/b", "t", "",
         "[2001:db8::1]:5000/a/b:t", "[2001:db8::1]:5000/a/b:t"},
        {"Foo/bar", "Foo", "bar", "", "", "Foo/bar", "Foo/bar:latest"},
        {"r.io/a:t@sha256:" F64, "r.io", "a", "t", "sha256:" F64, "r.io/a:t@sha256:" F64,
         "r.io/a:t@sha256:" F64},
        {"debian@sha256:" F64, "docker.io", "library/debian", "", "sha256:" F64,
         "debian@sha256:" F64, "docker.io/library/debian@sha256:" F64},
        {"a@sha512:" F64 F64, "docker.io", "library/a", "", "sha512:" F64 F64, "a@sha512:" F64 F64,
         "docker.io/library/a@sha512:" F64 F64},
        {"docker.io/" A64, "docker.io", "library/" A64, "", "", A64,
         "docker.io/library/" A64 ":latest"},
        {"a--b", "docker.io", "library/a--b", "", "", "a--b", "docker.io/library/a--b:latest"},
        {"a__b/c.d-e", "docker.io", "a__b/c.d-e", "", "", "a__b/c.d-e",
         "docker.io/a__b/c.d-e:latest"},
        {"x.io/a:_.-", "x.io", "a", "_.-", "", "x.io/a:_.-", "x.io/a:_.-"},
};

static void assert_text(const char *ref, const char *what, char *have, const char *want)
{
        if (strcmp(have ? have : "", want) != 0)
                fail_msg("%s: %s is \"%s\", not \"%s\"", ref, what, have ? have : "", want);
}

static void test_good(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(good); i++) {
                struct bld_err err = BLD_ERR_INIT;
                struct img_ref r, copy;
                char digest[DIGEST_STR_MAX], *s;

                if (img_ref_parse(good[i].ref, &r, &err) < 0)
                        fail_msg("%s: %s", good[i].ref, err.msg);
                digest_format(&r.digest, digest);
                assert_text(good[i].ref, "domain", r.domain, good[i].domain);
                assert_text(good[i].ref, "path", r.path, good[i].path);
                assert_text(good[i].ref, "tag", r.tag, good[i].tag);
                assert_text(good[i].ref, "digest", digest, good[i].digest);
                s = img_ref_familiar(&r, 0);
                assert_text(good[i].ref, "familiar", s, good[i].familiar);
                free(s);
                assert_int_equal(img_ref_copy(&r, &copy, &err), 0);
                img_ref_done(&r);
                s = img_ref_format(&copy, IMG_REF_DEFAULT_TAG);
                assert_text(good[i].ref, "pulled", s, good[i].pulled);
                free(s);
                img_ref_done(&copy);
        }
}

static void test_bad(void **state)
{
        static const char *const bad[] = {
                "",
                "a..b",
                "a___b",
                "-a",
                "a-",
                "a._b",
                "A/b/C",
                "a//b",
                "a/",
                "/a",
                "a:",
                "a:.b",
                "a:-b",
                "docker/Docker",
                "docker///docker",
                A64,
                "[fc00::1]:5000",
                "[fe80::1%eth0]:5000/debian",
                "::1/a",
                "host:/a",
                "host:x/a",
                "[]/a",
                "[::1/a",
                "[::1]x/a",
                "a@sha256:ff",
                "a@sha256:" A64 "0",
                "a@",
                "@sha256:" F64,
                "a@md9:" F64,
                "a@SHA256:" F64,
                "a b",
                "a\nb",
                "a@sha256:" F64 "@sha256:" F64,
                "x.io/a:" A64 A64 "0",
                "-x.io/a",
                "x..io/a",
                "a@sha256:FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF",
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
                struct bld_err err = BLD_ERR_INIT;
                struct img_ref r = {.domain = NULL};

                if (img_ref_parse(bad[i], &r, &err) != BLD_E_INVALID)
                        fail_msg("\"%s\" was accepted", bad[i]);
                assert_null(r.domain);
                assert_null(strchr(err.msg, '\n'));
                assert_int_equal(err.code, BLD_E_INVALID);
        }
}

static void test_length(void **state)
{
        char s[300], big[9000];
        struct img_ref r;

        (void)state;
        memset(s, 'a', sizeof(s));
        memcpy(s, "x.io/", 5);
        s[5 + 255] = '\0';
        assert_int_equal(img_ref_parse(s, &r, NULL), 0);
        img_ref_done(&r);
        s[5 + 255] = 'a';
        s[5 + 256] = '\0';
        assert_int_equal(img_ref_parse(s, &r, NULL), BLD_E_INVALID);
        memset(big, 'a', sizeof(big) - 1);
        big[sizeof(big) - 1] = '\0';
        assert_int_equal(img_ref_parse(big, &r, NULL), BLD_E_INVALID);
}

static void test_format_flags(void **state)
{
        struct img_ref r;
        char *s;

        (void)state;
        assert_int_equal(img_ref_parse("a:t@sha256:" F64, &r, NULL), 0);
        s = img_ref_format(&r, IMG_REF_NO_DIGEST);
        assert_string_equal(s, "docker.io/library/a:t");
        free(s);
        s = img_ref_familiar(&r, IMG_REF_NO_TAG | IMG_REF_NO_DIGEST);
        assert_string_equal(s, "a");
        free(s);
        img_ref_done(&r);
        img_ref_done(NULL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_good),
                cmocka_unit_test(test_bad),
                cmocka_unit_test(test_length),
                cmocka_unit_test(test_format_flags),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
