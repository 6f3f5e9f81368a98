/* Digests: forms, known answers, and the framing that keys rest on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/digest.h"
#include "base/err.h"

#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define ABC512                                                                                     \
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23" \
        "a3feebbd454d4423643ce80e2a9ac94fa54ca49f"

static void known_answers(void **state)
{
        char text[DIGEST_STR_MAX], hex[DIGEST_HEX_MAX];
        struct hasher h, copy;
        struct digest d, e;

        (void)state;
        digest_of("", 0, &d);
        digest_format(&d, text);
        assert_string_equal(text, "sha256:" EMPTY);
        hasher_init(&h, DIGEST_SHA256);
        hasher_add(&h, "a", 1);
        copy = h; /* plain storage */
        hasher_add(&h, "bc", 2);
        hasher_end(&h, &d);
        digest_hex(&d, hex);
        assert_string_equal(hex, ABC);
        hasher_add(&copy, "bc", 2);
        hasher_end(&copy, &e);
        assert_true(digest_eq(&d, &e));
        hasher_init(&h, DIGEST_SHA512);
        hasher_add(&h, "abc", 3);
        hasher_end(&h, &e);
        digest_format(&e, text);
        assert_string_equal(text, "sha512:" ABC512);
        assert_false(digest_eq(&d, &e));
}

static void forms(void **state)
{
        static const struct {
                const char *in;
                int r;
        } rows[] = {
                {"sha256:" EMPTY, 0},
                {"sha512:" ABC512, 0},
                {"sha256:" ABC512, BLD_E_INVALID},
                {"sha256:e3b0", BLD_E_INVALID},
                {"sha256:E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855",
                 BLD_E_INVALID},
                {"sha256:" EMPTY "0", BLD_E_INVALID},
                {"sha256:" EMPTY "\n", BLD_E_INVALID},
                {"sha256:", BLD_E_INVALID},
                {":" EMPTY, BLD_E_INVALID},
                {EMPTY, BLD_E_INVALID},
                {"", BLD_E_INVALID},
                {"SHA256:" EMPTY, BLD_E_INVALID},
                {"sha256+:" EMPTY, BLD_E_INVALID},
                {"sha256:../../../etc/passwd", BLD_E_INVALID},
                {"md5:d41d8cd98f00b204e9800998ecf8427e", BLD_E_UNSUPPORTED},
                {"sha256+b64u:LCa0a2j_xo_5m0U8HTBBNBNCLXBkg7-g-YpeiGJm564", BLD_E_UNSUPPORTED},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct digest d = {0};
                char text[DIGEST_STR_MAX];

                print_message("%s\n", rows[i].in);
                assert_int_equal(digest_parse(rows[i].in, &d, NULL), rows[i].r);
                assert_int_equal(digest_is_set(&d), rows[i].r == 0);
                digest_format(&d, text);
                assert_string_equal(text, rows[i].r == 0 ? rows[i].in : "");
        }
}

static void from_hex(void **state)
{
        struct digest d;

        (void)state;
        assert_true(digest_from_hex(EMPTY, &d));
        assert_int_equal(d.algo, DIGEST_SHA256);
        assert_false(digest_from_hex("abc", &d));
        assert_false(digest_from_hex(EMPTY "00", &d));
        assert_false(digest_from_hex("", &d));
}

/* Different sequences of fields must not give the same stream. */
static void framing(void **state)
{
        struct digest d[6];
        struct hasher h;

        (void)state;
        for (int i = 0; i < 6; i++) {
                hasher_init(&h, DIGEST_SHA256);
                if (i == 0) {
                        hasher_field_str(&h, "ab");
                        hasher_field_str(&h, "c");
                } else if (i == 1) {
                        hasher_field_str(&h, "a");
                        hasher_field_str(&h, "bc");
                } else if (i == 2) {
                        hasher_field_str(&h, "abc");
                } else if (i == 3) {
                        hasher_field_str(&h, NULL);
                } else if (i == 4) {
                        hasher_field_str(&h, "");
                } else {
                        hasher_field_str(&h, "");
                        hasher_field_str(&h, "");
                }
                hasher_end(&h, &d[i]);
                for (int k = 0; k < i; k++)
                        assert_false(digest_eq(&d[i], &d[k]));
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(known_answers),
                cmocka_unit_test(forms),
                cmocka_unit_test(from_hex),
                cmocka_unit_test(framing),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
