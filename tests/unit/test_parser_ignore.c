/* Ignore files, the matcher, and filepath.Match. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/sb.h"
#include "parser/ignore.h"

static struct ignore *parse_ok(const char *text)
{
        struct bld_err err = BLD_ERR_INIT;
        struct ignore *ig = NULL;

        if (ignore_parse(text, strlen(text), ".dockerignore", &ig, &err) < 0)
                fail_msg("%s", err.msg);
        return ig;
}

static const struct {
        const char *text, *path;
        bool want;
        unsigned line;
} rows[] = {
        {"", "a", false, 0},
        {"a", "a", true, 1},
        {"a", "a/b/c", true, 1},
        {"a", "ab", false, 0},
        {"a", "b/a", false, 0},
        {"a/b", "a", false, 0},
        {"A", "a", false, 0},
        {" /a/ \r\n", "a", true, 1},
        {"./x/../a//b", "a/b", true, 1},
        {"\xef\xbb\xbf# c\n # d", "# d", true, 2},
        {"*", "a", true, 1},
        {"*", ".a", true, 1},
        {"*", ".", false, 0},
        {"**", ".", false, 0},
        {"*/b", "a/b", true, 1},
        {"*/b", "a/c/b", false, 0},
        {"a?c", "a/c", false, 0},
        {"a?c", "aäc", true, 1},
        {"a[^b]c", "axc", true, 1},
        {"a[^b]c", "abc", false, 0},
        {"[\\]a]x", "]x", true, 1},
        {"\\*", "*", true, 1},
        {"\\*", "a", false, 0},
        {"\\a\\ä", "aä", true, 1},
        {"a|b*", "a", false, 0},
        {"a|b*", "a|bc", true, 1},
        {"{a}.^+$*", "{a}.^+$", true, 1},
        {"**/a", "a", true, 1},
        {"**/a", "x/y/a/z", true, 1},
        {"**/a", "xa", false, 0},
        {"**a", "xa", true, 1},
        {"**a", "x/ya/z", true, 1},
        {"**a*", "xa", false, 0},
        {"**a*", "x/ab", true, 1},
        {"a/**", "a", false, 0},
        {"a/**", "a/b/c", true, 1},
        {"a/**/b", "a/b", true, 1},
        {"a/**/b", "a/x/y/b/z", true, 1},
        {"a/**/b", "a/xb", false, 0},
        {"a**", "abc/d", true, 1},
        {"a*/**", "ab", false, 0},
        {"a*/**", "ab/c", true, 1},
        {"a/*.txt**", "a/b.txt.x/y", true, 1},
        {"**/*.go", "a/b.go", true, 1},
        {"**/**/x?", "xy", true, 1},
        {"*a**a**c", "aaac", true, 1},
        {"a**a**c", "a/ac", true, 1}, /* the second `**` must not lose the first one's choice */
        {"a\n!a", "a", false, 2},
        {"a\n!a/b", "a/b", false, 2},
        {"a\n!a/b", "a/c", true, 1},
        {"a\n!a/b\na/b/c", "a/b/c", true, 3},
        {"!a\na", "a", true, 2},
        {"*\n! /a", "a/b", false, 2},
        {"*.md\n!R*.md\nREADME-secret.md", "README-secret.md", true, 3},
};

static void test_match(void **state)
{
        (void)state;
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct ignore *ig;
                unsigned line = 99;

                print_message("# %s ~ %s\n", rows[i].text, rows[i].path);
                ig = parse_ok(rows[i].text);
                assert_int_equal(ignore_match(ig, rows[i].path, &line), rows[i].want);
                assert_int_equal(line, rows[i].line);
                ignore_free(ig);
        }
}

static void test_refused(void **state)
{
        static const char *const texts[] = {"a[b-]", "[", "[a", "[]a]", "[-x]", "[a-b-c]",
                                            "a\\",   "!", "! ", "!/",   "[^",   "[\xff]"};

        (void)state;
        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
                struct bld_err err = BLD_ERR_INIT;
                struct ignore *ig = NULL;
                char text[32];

                print_message("# %s\n", texts[i]);
                (void)snprintf(text, sizeof(text), "x\n%s\n", texts[i]);
                assert_int_equal(ignore_parse(text, strlen(text), "f", &ig, &err), BLD_E_INVALID);
                assert_true(str_has_prefix(err.msg, "f line 2: "));
                assert_null(ig);
        }
}

static const struct {
        const char *text, *dir;
        bool want;
} walks[] = {
        {"a", "a", false},
        {"a", "b", true}, /* not excluded */
        {"a\n!a/b", "a", true},
        {"*\n!src", "vendor", false},
        {"*\n!src/x/y", "src", true},
        {"*\n!src/x/y", "src/x", true},
        {"*\n!src/x/y", "src/z", false},
        {"*\n!*.md", "docs", false},
        {"*\n!*/*.md", "docs", true},
        {"*\n!*/*.md", "docs/a", false},
        {"*\n!**/*.md", "docs/a", true},
        {"*\n!**/README", "docs/a", true},
        {"*\n!doc[s]/a", "docs", true},
        {"*\n!doc[s]/a", "docx", false},
        {"*\n!d/**", "d/e", true}, /* included */
        {"*\n!d/e**", "d", true},
        {"!a/b\na", "a", false}, /* what comes before the deciding pattern does not count */
        {"a\n!a", "a/b", true},
};

static void test_may_include_below(void **state)
{
        (void)state;
        for (size_t i = 0; i < sizeof(walks) / sizeof(walks[0]); i++) {
                struct ignore *ig = parse_ok(walks[i].text);

                print_message("# %s ~ %s\n", walks[i].text, walks[i].dir);
                assert_int_equal(ignore_may_include_below(ig, walks[i].dir), walks[i].want);
                ignore_free(ig);
        }
}

static void test_from_patterns(void **state)
{
        const char *list[] = {"*.txt", "", "!keep.txt", "/rooted", "#x"};
        struct strv v = {0};
        struct ignore *ig = NULL;
        unsigned line;

        (void)state;
        for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++)
                assert_int_equal(strv_add(&v, list[i]), 0);
        assert_int_equal(ignore_from_patterns(&v, &ig, NULL), 0);
        assert_int_equal(ignore_count(ig), 4);
        assert_true(ignore_has_exceptions(ig));
        assert_true(ignore_match(ig, "a.txt", &line));
        assert_int_equal(line, 1);
        assert_false(ignore_match(ig, "keep.txt", NULL));
        assert_false(ignore_match(ig, "rooted", NULL));
        assert_true(ignore_match(ig, "#x", NULL));
        assert_string_equal(ignore_pattern(ig, 3), "!keep.txt");
        assert_null(ignore_pattern(ig, 2));
        ignore_free(ig);
        strv_done(&v);
}

static void test_hits(void **state)
{
        static const struct {
                const char *pattern, *path;
                bool hit;
        } cases[] = {
                {"./a*/", "ab/c", true}, {"!a", "a", false}, {"!a", "!a", true},
                {"/a", "a", true},       {"/", "a", false},
        };
        struct bld_err err = BLD_ERR_INIT;
        struct ignore *ig = NULL;

        (void)state;
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                assert_int_equal(ignore_from_pattern(cases[i].pattern, &ig, NULL), 0);
                assert_int_equal(ignore_match(ig, cases[i].path, NULL), cases[i].hit);
                ignore_free(ig);
        }
        assert_int_equal(ignore_from_pattern("[", &ig, &err), BLD_E_INVALID);
}

/* Longer and deeper than the matcher's tables: judged by a parent folder, never out of bounds. */
static void test_long_paths(void **state)
{
        struct ignore *ig = parse_ok("**/x*\n*b*/**/c");
        struct sb b = SB_INIT(1 << 20);

        (void)state;
        while (b.len < 100000)
                sb_str(&b, "a/");
        sb_str(&b, "x");
        assert_false(ignore_match(ig, sb_text(&b), NULL));
        sb_reset(&b);
        while (b.len < 100000)
                sb_str(&b, "bbbbbbbbbbbbb");
        assert_false(ignore_match(ig, sb_text(&b), NULL));
        assert_true(ignore_may_include_below(ig, sb_text(&b)));
        sb_done(&b);
        ignore_free(ig);
}

static const struct {
        const char *pattern, *name;
        int want;
} globs[] = {
        {"", "", 1},
        {"abc", "abc", 1},
        {"*", "", 1},
        {"*", "abc", 1},
        {"*c", "abc", 1},
        {"a*/b", "abc/b", 1},
        {"a*/b", "a/c/b", 0},
        {"*", "a/b", 0},
        {"**", "abc", 1},
        {"a*b*c*d*e*", "axbxcxdxe", 1},
        {"a*b?c*x", "abxbbxdbxebxczzx", 1},
        {"ab[c]", "abc", 1},
        {"ab[^c]", "abc", 0},
        {"a???b", "a☺b", 0},
        {"a?b", "a☺b", 1},
        {"a[^a]b", "a☺b", 1},
        {"[a-ζ]*", "α", 1},
        {"[\\]a]", "]", 1},
        {"[x\\-]", "z", 0},
        {"[", "a", -1},
        {"a[", "a", -1},
        {"a[", "b", -1},
        {"[a-]", "a", -1},
        {"\\*", "*", 1},
        {"\\", "a", -1},
        {"*x", "xxx", 1},
        {"?", "/", 0},
        {"[^a]", "/", 1},
        {"a\\", "b", -1},
        {"*[ab]c*", "xacx", 1},
        {"[[]x", "[x", 1},
};

static void test_glob(void **state)
{
        (void)state;
        for (size_t i = 0; i < sizeof(globs) / sizeof(globs[0]); i++) {
                int r = glob_match(globs[i].pattern, globs[i].name, NULL);

                print_message("# %s ~ %s\n", globs[i].pattern, globs[i].name);
                assert_int_equal(r < 0 ? -1 : r, globs[i].want);
        }
        assert_true(glob_has_wildcard("a[b"));
        assert_true(glob_has_wildcard("\\\\*"));
        assert_false(glob_has_wildcard("a\\*\\?\\["));
        assert_false(glob_has_wildcard("a\\"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_match),
                cmocka_unit_test(test_refused),
                cmocka_unit_test(test_may_include_below),
                cmocka_unit_test(test_from_patterns),
                cmocka_unit_test(test_hits),
                cmocka_unit_test(test_long_paths),
                cmocka_unit_test(test_glob),
        };

        return cmocka_run_group_tests_name("parser_ignore", tests, NULL, NULL);
}
