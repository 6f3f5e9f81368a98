/* Values of secrets found in a stream, in every form and at every place of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "builder/op/leak_priv.h"

/* One secret, from the environment. */
static struct secrets *given(const char *value)
{
        const char *spec = "id=s,env=LEAK_TEST";
        const struct bld_list list = {&spec, 1};
        struct secrets *s = NULL;

        (void)setenv("LEAK_TEST", value, 1);
        assert_int_equal(secrets_new(&list, &s, NULL), 0);
        return s;
}

/* The stream in pieces of `step` bytes; the form of the first hit, or NULL. */
static const char *look(const char *value, const char *text, size_t n, size_t step, uint64_t *off)
{
        struct secrets *s = given(value);
        const struct leak_hits *hits = NULL;
        struct leak_scan *x = NULL;
        const char *form = NULL;

        assert_int_equal(leak_new(s, &x, NULL), 0);
        if (x) {
                for (size_t i = 0; i < n; i += step)
                        assert_int_equal(leak_add(x, text + i, MIN(step, n - i), NULL), 0);
                assert_int_equal(leak_end(x, &hits, NULL), 0);
                if (hits->n) {
                        form = hits->v[0].form;
                        *off = hits->v[0].off;
                        assert_string_equal(hits->v[0].id, "s");
                        assert_int_equal(hits->n, 1);
                }
        }
        leak_free(x);
        secrets_free(s);
        return form;
}

static void forms(void **state)
{
        static const struct {
                const char *text, *form;
        } rows[] = {
                {"x s3cret!value y", "as it is"},
                {"czNjcmV0IXZhbHVl", "in base64"},         /* the value alone */
                {"YXMzY3JldCF2YWx1ZWI=", "in base64"},     /* a, value, b */
                {"YWFzM2NyZXQhdmFsdWViYg==", "in base64"}, /* aa, value, bb */
                {"?t=s3cret%21value", "percent-encoded"},
                {"s3cret!valu", NULL},
                {"S3CRET!VALUE", NULL},
        };
        uint64_t off;

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++)
                for (size_t step = 1; step < 8; step += 3) {
                        print_message("%s\n", rows[i].text);
                        assert_true(str_eq(look("s3cret!value", rows[i].text, strlen(rows[i].text),
                                                step, &off),
                                           rows[i].form));
                }
}

/* Wherever the value lies about the end of a window, it is found, and where it is. */
static void windows(void **state)
{
        static const char value[] = "s3cret!value";
        const size_t n = 300u << 10, around = 256u << 10;
        char *text = mem_zalloc(1, n);

        (void)state;
        assert_non_null(text);
        for (size_t at = around - 40; at < around + 40; at++) {
                uint64_t off = 0;

                memset(text, 'x', n);
                memcpy(text + at, value, sizeof(value) - 1);
                assert_non_null(look(value, text, n, 65536, &off));
                assert_int_equal(off, at);
        }
        free(text);
}

static void nothing(void **state)
{
        uint64_t off;

        (void)state;
        assert_null(look("short", "short", 5, 5, &off)); /* it would be everywhere */
        assert_non_null(look("enough\n", "-enough-", 8, 8, &off));
        assert_int_equal(off, 1);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(forms),
                cmocka_unit_test(windows),
                cmocka_unit_test(nothing),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
