/* Where an image is said to be: transports, paths with names and digests behind them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "image/image.h"

#define A64 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static const struct {
        const char *text;
        enum img_at at;
        const char *path, *name, *digits, *domain; /* NULL: none */
} good[] = {
        {"app:v1", IMG_AT_ANY, NULL, "app:v1", NULL, NULL},
        {"sha256:" A64, IMG_AT_ANY, NULL, "sha256:" A64, NULL, NULL},
        {"store:app:v1", IMG_AT_STORE, NULL, "app:v1", NULL, NULL},
        {"docker://app", IMG_AT_REGISTRY, NULL, "app", NULL, "docker.io"},
        {"registry:host:5000/app:v1", IMG_AT_REGISTRY, NULL, "host:5000/app:v1", NULL, "host:5000"},
        {"oci:dir", IMG_AT_OCI, "dir", NULL, NULL, NULL},
        {"oci:dir:v1", IMG_AT_OCI, "dir", "v1", NULL, NULL},
        {"oci:dir:", IMG_AT_OCI, "dir", NULL, NULL, NULL},
        {"oci-layout://./d/e:host:5000/a:v1", IMG_AT_OCI, "./d/e", "host:5000/a:v1", NULL, NULL},
        {"oci:dir@sha256:" A64, IMG_AT_OCI, "dir", NULL, A64, NULL},
        {"oci:dir:v1@sha256:" A64, IMG_AT_OCI, "dir", "v1", A64, NULL},
        {"oci:dir@abcdef", IMG_AT_OCI, "dir", NULL, "abcdef", NULL},
        /* too few digits, or none: the '@' is the file's */
        {"oci:dir@abcde", IMG_AT_OCI, "dir@abcde", NULL, NULL, NULL},
        {"oci:me@home", IMG_AT_OCI, "me@home", NULL, NULL, NULL},
        {"oci:a@b@abcdef", IMG_AT_OCI, "a@b", NULL, "abcdef", NULL},
        {"./x.tar", IMG_AT_OCI_ARCHIVE, "./x.tar", NULL, NULL, NULL},
        {"/x/y.tar:v1", IMG_AT_OCI_ARCHIVE, "/x/y.tar", "v1", NULL, NULL},
        {"../lay@abcdef", IMG_AT_OCI_ARCHIVE, "../lay", NULL, "abcdef", NULL},
        {"oci-archive:-", IMG_AT_OCI_ARCHIVE, "-", NULL, NULL, NULL},
        {"docker-archive:x.tar:app:v1", IMG_AT_DOCKER_ARCHIVE, "x.tar", "app:v1", NULL, NULL},
        {"docker-daemon:app:v1", IMG_AT_DOCKER_DAEMON, NULL, "app:v1", NULL, NULL},
        /* a registry called like a transport has a port or a path behind it */
        {"store.example/app", IMG_AT_ANY, NULL, "store.example/app", NULL, NULL},
};

static const struct {
        const char *text;
        int code;
} bad[] = {
        {"store:", BLD_E_INVALID},
        {"oci:", BLD_E_INVALID},
        {"oci::v1", BLD_E_INVALID},
        {"oci:@sha256:" A64, BLD_E_INVALID},
        {"docker://", BLD_E_INVALID},
        {"docker://A B", BLD_E_INVALID},
        {"docker-daemon:", BLD_E_INVALID},
        {"podman:app", BLD_E_USAGE},
        {"containers-storage:app", BLD_E_USAGE},
        {"containerd:ns/app", BLD_E_USAGE},
        {"dir:./x", BLD_E_USAGE},
        {"docker-image://x", BLD_E_USAGE},
};

static void same(const char *what, const char *text, const char *want, const char *have)
{
        if (!want != !have || (want && strcmp(want, have) != 0))
                fail_msg("%s of \"%s\": \"%s\", not \"%s\"", what, text, have ? have : "(none)",
                         want ? want : "(none)");
}

static void test_good(void **state)
{
        (void)state;
        for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
                AUTO_PLACE struct img_place p = {.at = IMG_AT_ANY};
                struct bld_err err = BLD_ERR_INIT;

                if (img_place_parse(good[i].text, &p, &err) < 0)
                        fail_msg("%s: %s", good[i].text, err.msg);
                if (p.at != good[i].at)
                        fail_msg("%s: transport %d", good[i].text, (int)p.at);
                same("text", good[i].text, good[i].text, p.text);
                same("path", good[i].text, good[i].path, p.path);
                same("name", good[i].text, good[i].name, p.name);
                same("digits", good[i].text, good[i].digits, p.digits);
                same("domain", good[i].text, good[i].domain, p.ref.domain);
                assert_int_equal(img_at_is_file(p.at), p.path != NULL);
        }
}

static void test_bad(void **state)
{
        (void)state;
        for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
                struct img_place p = {.at = IMG_AT_OCI};
                struct bld_err err = BLD_ERR_INIT;
                int r = img_place_parse(bad[i].text, &p, &err);

                if (r != bad[i].code)
                        fail_msg("%s: %d, not %d: %s", bad[i].text, r, bad[i].code, err.msg);
                assert_int_equal(p.at, IMG_AT_OCI); /* untouched */
                assert_null(p.text);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_good), cmocka_unit_test(test_bad)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
