/* JSON: what is refused, getters that accept anything, building, writing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/json.h"

static struct js *parsed(const char *text)
{
        struct js *j = NULL;
        struct bld_err err = BLD_ERR_INIT;

        if (js_parse(text, strlen(text), &j, &err) < 0)
                fail_msg("%s: %s", text, err.msg);
        return j;
}

static void refused(void **state)
{
        static const struct {
                const char *name, *text;
                size_t len;
        } rows[] = {
                {"empty", "", 0},
                {"cut", "{\"a\":1", 6},
                {"trailing text", "{} x", 4},
                {"two documents", "{}{}", 4},
                {"duplicate names", "{\"a\":1,\"a\":2}", 13},
                {"bad UTF-8", "\"\xff\"", 3},
                {"lone surrogate", "\"\\ud800\"", 8},
                {"NUL in a name", "{\"a\\u0000b\":1}", 14},
                {"raw NUL", "\"a\0b\"", 5},
                {"comment", "/* */ {}", 8},
                {"single quotes", "{'a':1}", 7},
                {"huge number", "123456789012345678901234567890", 30},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct bld_err err = BLD_ERR_INIT;
                struct js *j = NULL;

                print_message("%s\n", rows[i].name);
                assert_int_equal(js_parse(rows[i].text, rows[i].len, &j, &err), BLD_E_INVALID);
                assert_null(j);
                assert_non_null(strstr(err.msg, "line"));
        }
}

/* A server may nest as deep as it likes; the stack must not follow. */
static void deep(void **state)
{
        size_t n = 200000;
        char *text = mem_alloc(n);
        struct js *j = NULL;

        (void)state;
        memset(text, '[', n);
        assert_int_equal(js_parse(text, n, &j, NULL), BLD_E_INVALID);
        free(text);
}

static void getters(void **state)
{
        struct js *j = parsed(
                "{\"s\":\"x\",\"i\":7,\"b\":true,\"n\":null,\"a\":[\"p\",\"q\"],\"o\":{\"k\":1}}");
        struct strv list = {0};
        int64_t v = 5;
        size_t n = 0;

        (void)state;
        assert_string_equal(js_get_str(j, "s"), "x");
        assert_null(js_get_str(j, "i"));
        assert_null(js_get_str(j, "absent"));
        assert_null(js_get_str(NULL, "s"));
        assert_true(js_get_i64(j, "i", &v) && v == 7);
        assert_false(js_get_i64(j, "s", &v));
        assert_int_equal(js_i64(js_get(j, "s"), -1), -1);
        assert_true(js_get_bool(j, "b", false));
        assert_true(js_get_bool(j, "s", true));
        assert_true(js_is_null(js_get(j, "n")) && js_is_null(NULL));
        assert_true(js_is_arr(js_get(j, "a")) && js_is_obj(js_get(j, "o")));
        assert_false(js_is_arr(NULL) || js_is_obj(NULL) || js_is_str(NULL) || js_is_int(NULL));
        assert_int_equal(js_len(js_get(j, "a")), 2);
        assert_int_equal(js_len(j), 6);
        assert_int_equal(js_len(NULL), 0);
        assert_null(js_at(js_get(j, "a"), 2));
        for (void *it = js_iter(j); it; it = js_iter_next(j, it))
                n += js_iter_key(it) != NULL && js_iter_value(it) != NULL;
        assert_int_equal(n, 6);
        assert_int_equal(js_to_strv(js_get(j, "a"), &list, NULL), 0);
        assert_string_equal(list.v[1], "q");
        assert_int_equal(js_to_strv(js_get(j, "n"), &list, NULL), 0);
        assert_int_equal(js_to_strv(js_get(j, "o"), &list, NULL), BLD_E_INVALID);
        strv_done(&list);
        js_free(j);
        js_free(NULL);
}

static void building(void **state)
{
        struct js *j = js_obj(), *copy;
        struct sb b = SB_INIT(10000);
        struct strv list = {0};

        (void)state;
        assert_int_equal(strv_add(&list, "e\"\n"), 0);
        assert_int_equal(js_set_str(j, "z", "last is first"), 0);
        assert_int_equal(js_set_i64(j, "i", -5), 0);
        assert_int_equal(js_set_bool(j, "b", false), 0);
        assert_int_equal(js_set(j, "n", js_new_null()), 0);
        assert_int_equal(js_set(j, "l", js_from_strv(&list)), 0);
        assert_int_equal(js_set(j, "none", NULL), BLD_E_NOMEM);
        assert_true(js_set_str(j, "bad", "\xff") < 0);
        assert_int_equal(js_write(j, JS_COMPACT, &b, NULL), 0);
        assert_string_equal(sb_text(&b), "{\"z\":\"last is first\",\"i\":-5,\"b\":false,\"n\":null,"
                                         "\"l\":[\"e\\\"\\n\"]}");
        copy = js_copy(j);
        assert_int_equal(js_del(copy, "z"), 0);
        assert_int_equal(js_del(copy, "z"), BLD_E_NOT_FOUND);
        sb_reset(&b);
        assert_int_equal(js_write(copy, JS_SORT, &b, NULL), 0);
        assert_string_equal(sb_text(&b), "{\"b\":false,\"i\":-5,\"l\":[\"e\\\"\\n\"],\"n\":null}");
        assert_string_equal(js_get_str(j, "z"), "last is first");
        js_free(copy);
        js_free(j);
        strv_done(&list);
        sb_done(&b);
}

static void write_limits(void **state)
{
        struct js *j = parsed("{\"a\":\"0123456789\"}");
        struct sb b = SB_INIT(5);
        struct bld_err err = BLD_ERR_INIT;

        (void)state;
        assert_int_equal(js_write(j, JS_COMPACT, &b, &err), BLD_E_LIMIT);
        sb_done(&b);
        js_free(j);
}

static long allocations_left;

static void *scarce(size_t n)
{
        if (allocations_left-- > 0)
                return malloc(n);
        errno = ENOMEM;
        return NULL;
}

/* Memory that ends is told as that, wherever in the document it does. */
static void out_of_memory(void **state)
{
        static const char text[] = "{\"a\":[\"b\",{\"c\":1.5,\"long long long long long\":null}]}";
        struct js *j = NULL;

        (void)state;
        json_set_alloc_funcs(scarce, free);
        for (long n = 0; !j; n++) {
                struct bld_err err = BLD_ERR_INIT;
                int r;

                assert_true(n < 1000);
                allocations_left = n;
                r = js_parse(text, sizeof(text) - 1, &j, &err);
                if (r < 0 && r != BLD_E_NOMEM)
                        fail_msg("allocation %ld: %d %s", n, r, err.msg);
                assert_true(r == 0 || n < 100);
        }
        json_set_alloc_funcs(malloc, free);
        js_free(j);
}

static void test_depth(void **state UNUSED)
{
        char text[2 * JS_DEPTH_MAX + 40];

        for (size_t depth = JS_DEPTH_MAX; depth <= JS_DEPTH_MAX + 1; depth++) {
                AUTO_JS struct js *j = NULL;
                int want = depth > JS_DEPTH_MAX ? BLD_E_INVALID : 0;

                memset(text, '[', depth);
                memset(text + depth, ']', depth);
                assert_int_equal(js_parse(text, 2 * depth, &j, NULL), want);
        }
        /* brackets in strings are none */
        {
                AUTO_JS struct js *j = NULL;

                text[0] = '"';
                memset(text + 1, '[', JS_DEPTH_MAX + 8);
                memcpy(text + 1 + JS_DEPTH_MAX + 8, "\\\"[\"", 5);
                assert_int_equal(js_parse(text, 1 + JS_DEPTH_MAX + 8 + 4, &j, NULL), 0);
        }
}

static void test_any_number(void **state UNUSED)
{
        static const char text[] = "{\"a\":1000000000000000000000,\"b\":\"c\"}";
        AUTO_JS struct js *j = NULL, *k = NULL;
        int64_t n;

        assert_int_equal(js_parse(text, sizeof(text) - 1, &j, NULL), BLD_E_INVALID);
        assert_int_equal(js_parse_any_number(text, sizeof(text) - 1, &k, NULL), 0);
        assert_string_equal(js_get_str(k, "b"), "c");
        assert_false(js_get_i64(k, "a", &n));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_depth),   cmocka_unit_test(test_any_number),
                cmocka_unit_test(refused),      cmocka_unit_test(deep),
                cmocka_unit_test(getters),      cmocka_unit_test(building),
                cmocka_unit_test(write_limits), cmocka_unit_test(out_of_memory),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
