/* TOML as JSON: what is read, and what is refused with its line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/toml.h"

static void test_good(void **state)
{
        static const struct {
                const char *toml, *json;
        } rows[] = {
                {"", "{}"},
                {"# only\n\n", "{}"},
                {"a = 1\nb = -2 # x\nc = true\nd = \"s\"",
                 "{\"a\":1,\"b\":-2,\"c\":true,\"d\":\"s\"}"},
                {"a.b.\"c d\" = 'x\\y'", "{\"a\":{\"b\":{\"c d\":\"x\\\\y\"}}}"},
                {"a = \"\\u00e9\\t\\\"\\U0001F600\"",
                 "{\"a\":\"\xc3\xa9\\t\\\"\xf0\x9f\x98\x80\"}"},
                {"a = \"\"\"\none \\\n   two\"\"\"\"", "{\"a\":\"one two\\\"\"}"},
                {"a = '''\nx\n'y'''", "{\"a\":\"x\\n'y\"}"},
                {"a = [ 1, # c\n 2,\n]\r\nb = []", "{\"a\":[1,2],\"b\":[]}"},
                {"a = {b = 1, c.d = [{e = 2}]}", "{\"a\":{\"b\":1,\"c\":{\"d\":[{\"e\":2}]}}}"},
                {"[a]\nb = 1\n[a.c]\nd = 2\n[e]", "{\"a\":{\"b\":1,\"c\":{\"d\":2}},\"e\":{}}"},
                {"[a.b]\nx = 1\n[a]\ny = 2", "{\"a\":{\"b\":{\"x\":1},\"y\":2}}"},
                {"[[r]]\nl = 1\n[[r.m]]\nk = 1\n[[r.m]]\nk = 2\n[[r]]\nl = 2",
                 "{\"r\":[{\"l\":1,\"m\":[{\"k\":1},{\"k\":2}]},{\"l\":2}]}"},
                {"a = 1_000\nb = 1.5\nc = 1979-05-27T07:32:00Z",
                 "{\"a\":1000,\"b\":\"1.5\",\"c\":\"1979-05-27T07:32:00Z\"}"},
                {"\xef\xbb\xbf"
                 "a=1",
                 "{\"a\":1}"},
                {"\"\" = 1", "{\"\":1}"},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                AUTO_JS struct js *j = NULL;
                AUTO_SB struct sb out = SB_INIT(1u << 16);
                struct bld_err err = BLD_ERR_INIT;

                if (toml_parse(rows[i].toml, strlen(rows[i].toml), &j, &err) < 0)
                        fail_msg("%s: %s", rows[i].toml, err.msg);
                assert_int_equal(js_write(j, JS_COMPACT, &out, &err), 0);
                assert_string_equal(sb_text(&out), rows[i].json);
        }
}

static void test_bad(void **state)
{
        static const struct {
                const char *toml, *message;
        } rows[] = {
                {"a", "line 1"},
                {"a =", "line 1"},
                {"a = 1 b = 2", "line 1"},
                {"\na = \"x", "line 2"},
                {"a = 1\na = 2", "twice"},
                {"[a]\n[a]", "twice"},
                {"a = 1\n[a]", "line 2"},
                {"[a]\nb = 1\n[a.b]", "line 3"},
                {"a = [1", "line 1"},
                {"a = [1 2]", "line 1"},
                {"a = {b = 1", "line 1"},
                {"a = {b = 1}\na.c = 2", "line 2"},
                {"[a", "line 1"},
                {"[[a]\n", "line 1"},
                {"a = \"\\x\"", "escape"},
                {"a = \"\\ud800\"", "character"},
                {"a = \"\\u0000\"", "character"},
                {"a = nope", "value"},
                {"= 1", "key"},
                {"a = [1]\n[[a]]", "line 2"},
                {"a = \"\xff\"", "UTF-8"},
                {"a = \"b\x01\"", "control"},
        };
        AUTO_SB struct sb deep = SB_INIT(1u << 16);
        AUTO_JS struct js *j = NULL;

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct bld_err err = BLD_ERR_INIT;

                if (toml_parse(rows[i].toml, strlen(rows[i].toml), &j, &err) != BLD_E_INVALID)
                        fail_msg("accepted: %s", rows[i].toml);
                if (!strstr(err.msg, rows[i].message))
                        fail_msg("%s: %s", rows[i].toml, err.msg);
        }
        sb_str(&deep, "a = ");
        for (int i = 0; i < 10000; i++)
                sb_char(&deep, '[');
        assert_int_equal(toml_parse(deep.buf, deep.len, &j, NULL), BLD_E_INVALID);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_good),
                cmocka_unit_test(test_bad),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
