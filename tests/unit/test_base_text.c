/* String builders, the error record, lists of strings, copying with a limit. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/sb.h"
#include "base/vec.h"

static void builder(void **state)
{
        struct sb b = SB_INIT(1000);
        char *taken;

        (void)state;
        assert_string_equal(sb_text(&b), "");
        sb_str(&b, "one");
        sb_char(&b, ' ');
        sb_fmt(&b, "%d-%s", 2, "two");
        sb_add(&b, "\0x", 2);
        assert_int_equal(b.len, 11);
        assert_memory_equal(sb_text(&b), "one 2-two\0x", 12);
        sb_cut(&b, 3);
        assert_string_equal(sb_text(&b), "one");
        sb_cut(&b, 0);
        assert_string_equal(sb_text(&b), "");
        sb_reset(&b);
        sb_cut(&b, 0);
        sb_str(&b, "x");
        taken = sb_take(&b);
        assert_string_equal(taken, "x");
        assert_int_equal(b.len, 0);
        free(taken);
        taken = sb_take(&b); /* empty is a string, too */
        assert_string_equal(taken, "");
        free(taken);
        sb_done(&b);
        sb_done(&b);
}

static void builder_limit(void **state)
{
        struct bld_err err = BLD_ERR_INIT;
        struct sb b = SB_INIT(4);

        (void)state;
        sb_str(&b, "abcd");
        assert_int_equal(sb_check(&b, "text", &err), 0);
        sb_char(&b, 'e');
        sb_str(&b, "no effect");
        assert_string_equal(sb_text(&b), "abcd");
        assert_int_equal(sb_check(&b, "text", &err), BLD_E_LIMIT);
        assert_string_equal(err.msg, "text is larger than 4 bytes");
        assert_null(sb_take(&b));
        sb_reset(&b);
        sb_fmt(&b, "%s", "abcde");
        assert_int_equal(b.failed, BLD_E_LIMIT);
        sb_done(&b);
}

static void escapes(void **state)
{
        static const struct {
                const char *in, *want;
        } rows[] = {
                {"plain", "plain"},
                {"a\"b\\c", "a\\\"b\\\\c"},
                {"line\nnext\t.", "line\\nnext\\t."},
                {"\033[31m", "\\x1b[31m"},
                {"\xc3\xa9", "\xc3\xa9"},
                {"\xff", "\\xff"},
        };
        struct sb b = SB_INIT(1000);

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                sb_reset(&b);
                sb_escaped(&b, rows[i].in, strlen(rows[i].in));
                assert_string_equal(sb_text(&b), rows[i].want);
        }
        sb_done(&b);
}

static void errors(void **state)
{
        struct bld_err err = BLD_ERR_INIT, copy = BLD_ERR_INIT;

        (void)state;
        assert_int_equal(err_set(&err, BLD_E_NOT_FOUND, "blob %d", 3), BLD_E_NOT_FOUND);
        assert_int_equal(err_wrap(&err, BLD_E_NOT_FOUND, "unpack"), BLD_E_NOT_FOUND);
        assert_int_equal(err_why(&err, -1, "because %s", "x"), -1);
        (void)err_try(&err, -1, "this");
        (void)err_note(&err, -1, "and that");
        assert_string_equal(err.msg, "unpack: blob 3\nwhy: because x\ntry: this\nnote: and that");
        assert_int_equal(err_wrap(&err, 0, "not an error"), 0);
        err_copy(&copy, &err);
        assert_int_equal(err_recode(&copy, BLD_E_INVALID), BLD_E_INVALID);
        assert_int_equal(copy.code, BLD_E_INVALID);
        err_clear(&err);
        assert_int_equal(err_sys(&err, ENOSPC, "write %s", "f"), BLD_E_SYS);
        assert_int_equal(err.sys, ENOSPC);
        assert_string_equal(err.msg, "write f: No space left on device");
        err_clear(&err);
        assert_int_equal(err_sys(&err, ENOMEM, "x"), BLD_E_NOMEM);
        assert_int_equal(err_set(NULL, BLD_E_BUG, "nowhere"), BLD_E_BUG);
        assert_int_equal(err_wrap(NULL, BLD_E_BUG, "nowhere"), BLD_E_BUG);
        assert_int_equal(err_why(NULL, BLD_E_BUG, "nowhere"), BLD_E_BUG);
}

/* However long the texts, the record stays terminated, and a line is whole or absent. */
static void error_limits(void **state)
{
        struct bld_err err = BLD_ERR_INIT;
        char text[3000];

        (void)state;
        memset(text, 'x', sizeof(text) - 1);
        text[sizeof(text) - 1] = '\0';
        (void)err_set(&err, BLD_E_INVALID, "%s", text);
        assert_int_equal(strlen(err.msg), sizeof(err.msg) - 1);
        (void)err_why(&err, -1, "no room");
        assert_null(strchr(err.msg, '\n'));
        (void)err_wrap(&err, -1, "%s", text);
        assert_true(strlen(err.msg) < sizeof(err.msg));
        err_clear(&err);
        (void)err_set(&err, BLD_E_INVALID, "short");
        (void)err_why(&err, -1, "%s", text);
        assert_string_equal(err.msg, "short");
        (void)err_try(&err, -1, "fits");
        assert_string_equal(err.msg, "short\ntry: fits");
}

static void string_lists(void **state)
{
        struct strv a = {0}, b = {0};

        (void)state;
        assert_int_equal(strv_add(&a, "K=1"), 0);
        assert_int_equal(strv_addn(&a, "KEYxx", 3), 0);
        assert_int_equal(strv_addf(&a, "Z=%d", 26), 0);
        assert_string_equal(strv_env_get(&a, "K"), "1");
        assert_string_equal(strv_env_get(&a, "KEY"), "");
        assert_null(strv_env_get(&a, "KE"));
        assert_int_equal(strv_env_set(&a, "K", "a=b"), 0);
        assert_int_equal(strv_env_set(&a, "NEW", ""), 0);
        assert_string_equal(strv_env_get(&a, "K"), "a=b");
        assert_string_equal(strv_env_get(&a, "NEW"), "");
        assert_int_equal(a.n, 4);
        assert_int_equal(strv_copy(&b, &a), 0);
        strv_sort(&b);
        assert_string_equal(b.v[0], "K=a=b");
        assert_string_equal(b.v[3], "Z=26");
        assert_true(strv_has(&b, "Z=26"));
        assert_false(strv_has(&b, "Z"));
        strv_done(&a);
        strv_done(&a);
        strv_sort(&a);
        strv_done(&b);
}

static void small_helpers(void **state)
{
        char out[4];

        (void)state;
        assert_true(str_copy(out, sizeof(out), "abc"));
        assert_string_equal(out, "abc");
        assert_false(str_copy(out, sizeof(out), "abcd"));
        assert_string_equal(out, "abc");
        assert_true(str_has_prefix("abc", "ab") && !str_has_prefix("ab", "abc"));
        assert_true(str_has_suffix("abc", "bc") && !str_has_suffix("bc", "abc"));
        assert_true(str_eq(NULL, NULL) && str_eq("a", "a"));
        assert_false(str_eq(NULL, "") || str_eq("", NULL));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(builder),       cmocka_unit_test(builder_limit),
                cmocka_unit_test(escapes),       cmocka_unit_test(errors),
                cmocka_unit_test(error_limits),  cmocka_unit_test(string_lists),
                cmocka_unit_test(small_helpers),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
