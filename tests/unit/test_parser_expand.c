/* Word expansion: quotes, escapes, every modifier, splitting, limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/sb.h"
#include "parser/expand.h"

static const char *lookup(void *user, const char *name)
{
        static const char *const vars[][2] = {
                {"A", "abcabc"},      {"E", ""},       {"S", " x  y "},
                {"P", "/a/b.tar.gz"}, {"STAR", "a*"},  {"L", "one\ntwo"},
                {"U", "äöü"},         {"Ä", "umlaut"}, {"Q", "'\"\\$A"},
        };

        (void)user;
        for (size_t i = 0; i < sizeof(vars) / sizeof(vars[0]); i++)
                if (strcmp(vars[i][0], name) == 0)
                        return vars[i][1];
        return NULL;
}

static const struct {
        const char *word, *want, *error;
        char escape;
} rows[] = {
        {"a b", "a b", NULL, 0},
        {"'a b'\"c d\"e", "a bc de", NULL, 0},
        {"'$A\\'", "$A\\", NULL, 0},
        {"\"$A\\$A\\\"\\\\\\n\"", "abcabc$A\"\\\\n", NULL, 0},
        {"\\a\\'\\$A\\\\", "a'$A\\", NULL, 0},
        {"a\\", "a", NULL, 0},
        {"$A$E$N.", "abcabc.", NULL, 0},
        {"$.$ $", "$.$ $", NULL, 0},
        {"$1$12x$-y$$", "xy", NULL, 0},
        {"$Ä", "umlaut", NULL, 0},
        {"$Q", "'\"\\$A", NULL, 0},
        {"${A}${N}${?}${#}", "abcabc", NULL, 0},
        {"${A:-x}${E:-x}${E-x}${N-x}", "abcabcxx", NULL, 0},
        {"${A:+x}${E:+x}${E+x}${N+x}", "xx", NULL, 0},
        {"${N:-${N:-\"$A }\"}}", "abcabc }", NULL, 0},
        {"${N:-a\\}b}", "a}b", NULL, 0},
        {"${A:?x}${E?x}", "abcabc", NULL, 0},
        {"${A#a*c}|${A##a*c}|${A%b*c}|${A%%b*c}", "abc||abca|a", NULL, 0},
        {"${P##*/}|${P%/*}|${P%.*}|${P%%.*}|${P#/}", "b.tar.gz|/a|/a/b.tar|/a/b|a/b.tar.gz", NULL,
         0},
        {"${A#?}|${A%??}|${A#x}|${A#}|${N#x}", "bcabc|abca|abcabc|abcabc|", NULL, 0},
        {"${STAR#a\\*}|${STAR#\\a}", NULL,
         "invalid pattern (\\a) in substitution: invalid escape '\\a'", 0},
        {"${STAR#a\\*}|${A#$STAR}|${A##$STAR}", "|bcabc|", NULL, 0},
        {"${U#?}|${U%?}|${U/ö/oe}", "öü|äö|äoeü", NULL, 0},
        {"${L%o*}|${L##*}", "one\ntw|\ntwo", NULL, 0},
        {"${A/b/X}|${A//b/X}|${A/b*/X}|${A//?/X}", "aXcabc|aXcaXc|aX|XXXXXX", NULL, 0},
        {"${A/$E/X}|${A//$E/-}|${N/a/X}", "Xabcabc|-a-b-c-a-b-c-|", NULL, 0},
        {"${P/\\//-}|${P//\\//\\/}|${A/b/}", "-a/b.tar.gz|\\/a\\/b.tar.gz|acabc", NULL, 0},
        {"${A/b/${A%c}}", "aabcabcabc", NULL, 0},
        {"${A//b/$1}", "acac", NULL, 0},
        {"${A#\"a\"'b'}", "cabc", NULL, 0},
        {"'a", NULL, "unexpected end of statement while looking for matching single-quote", 0},
        {"\"a", NULL, "unexpected end of statement while looking for matching double-quote", 0},
        {"${A", NULL, "unsupported modifier (\xef\xbf\xbd) in substitution", 0},
        {"${", NULL, "syntax error: missing '}'", 0},
        {"${}", NULL, "syntax error: bad substitution", 0},
        {"${{A}", NULL, "syntax error: bad substitution", 0},
        {"${:-x}", NULL, "syntax error: bad substitution", 0},
        {"${A:-x", NULL, "syntax error: missing '}'", 0},
        {"${A:-${B}", NULL, "syntax error: missing '}'", 0},
        {"${A/x}", NULL, "syntax error: missing '/' in ${}", 0},
        {"${A/x/y", NULL, "syntax error: missing '}'", 0},
        {"${A:=x}", NULL, "unsupported modifier (:=) in substitution", 0},
        {"${A^}", NULL, "unsupported modifier (^) in substitution", 0},
        {"${A:1:2}", NULL, "unsupported modifier (:1) in substitution", 0},
        {"${A:#x}", NULL, "unsupported modifier (:#) in substitution", 0},
        {"${#A}", NULL, "unsupported modifier (A) in substitution", 0},
        {"${N?}", NULL, "N: is not allowed to be unset", 0},
        {"${E:?}", NULL, "E: is not allowed to be empty", 0},
        {"${N:?say $A}", NULL, "N: say abcabc", 0},
        {"${A:+${N?late}}x", NULL, "N: late", 0},
        {"${A#\\}", NULL, "syntax error: missing '}'", 0},
        {"a`b`$A\\n", "ab$A\\n", NULL, '`'},
        {"${STAR%\\*}", "a", NULL, '`'},
};

static void test_word(void **state)
{
        const struct df_env env = {.get = lookup};

        (void)state;
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct bld_err err = BLD_ERR_INIT;
                char escape = rows[i].escape ? rows[i].escape : '\\';
                char *out = NULL;
                int r;

                print_message("# %s\n", rows[i].word);
                r = df_expand_word(rows[i].word, escape, &env, &out, &err);
                if (rows[i].want) {
                        assert_string_equal(r < 0 ? err.msg : out, rows[i].want);
                        free(out);
                        continue;
                }
                assert_int_equal(r, BLD_E_INVALID);
                assert_null(out);
                assert_true(str_has_prefix(err.msg, "failed to process \""));
                assert_true(str_has_suffix(err.msg, rows[i].error));
        }
}

static const struct {
        const char *word, *want; /* words joined by '|' */
} splits[] = {
        {"", ""},
        {" a  b\t\nc ", "a|b|c"},
        {"a\xc2\xa0"
         "b",
         "a|b"},
        {"'a b' \"c d\" e\\ f", "a b|c d|e f"},
        {"\"\" ''", ""},
        {"x$S$S\"$S\"y", "x|x|y|x|y| x  y y"},
        {"$S", "x|y"},
        {"$N $E", ""},
        {"${N:-a b}c", "a|bc"},
        {"a << b <<  c < d", "a|<< b|<<  c|<|d"},
        {"${A} ${A%?}x", "abcabc|abcabx"},
};

static void test_words(void **state)
{
        const struct df_env env = {.get = lookup};

        (void)state;
        for (size_t i = 0; i < sizeof(splits) / sizeof(splits[0]); i++) {
                struct sb b = SB_INIT(1000);
                struct strv words = {0};

                print_message("# %s\n", splits[i].word);
                assert_int_equal(df_expand_words(splits[i].word, '\\', &env, &words, NULL), 0);
                for (size_t k = 0; k < words.n; k++) {
                        sb_str(&b, k ? "|" : "");
                        sb_str(&b, words.v[k]);
                }
                assert_string_equal(sb_text(&b), splits[i].want);
                strv_done(&words);
                sb_done(&b);
        }
}

static void note_unset(void *user, const char *name)
{
        sb_str(user, name);
        sb_char(user, ' ');
}

static void test_unset_names(void **state)
{
        struct sb seen = SB_INIT(1000);
        const struct df_env env = {.get = lookup, .user = &seen, .unset = note_unset};
        char *out = NULL;

        (void)state;
        assert_int_equal(df_expand_word("$A$B${C:-$D}${A:-$F}\\$G'$H'", '\\', &env, &out, NULL), 0);
        assert_string_equal(sb_text(&seen), "B D C F ");
        free(out);
        sb_done(&seen);
}

static void test_env_strv(void **state)
{
        struct strv vars = {0};
        const struct df_env env = {.get = df_env_strv, .user = &vars};
        char *out = NULL;

        (void)state;
        assert_int_equal(strv_add(&vars, "X=1=2"), 0);
        assert_int_equal(df_expand_word("$X$x", '\\', &env, &out, NULL), 0);
        assert_string_equal(out, "1=2");
        free(out);
        strv_done(&vars);
}

static int expand_big(const char *word, const struct sb *value, struct bld_err *err)
{
        struct strv vars = {0};
        const struct df_env env = {.get = df_env_strv, .user = &vars};
        char *out = NULL;
        int r;

        assert_int_equal(strv_addf(&vars, "V=%s", sb_text(value)), 0);
        r = df_expand_word(word, '\\', &env, &out, err);
        free(out);
        strv_done(&vars);
        return r;
}

static void test_limits(void **state)
{
        struct sb b = SB_INIT(4 << 20);
        struct bld_err err = BLD_ERR_INIT;
        const struct df_env none = {0};
        char *out = NULL;

        (void)state;
        for (int i = 0; i < 1000; i++)
                sb_str(&b, "${a:-");
        assert_int_equal(df_expand_word(sb_text(&b), '\\', &none, &out, &err), BLD_E_LIMIT);
        err_clear(&err);
        sb_reset(&b);
        while (b.len < 600 << 10)
                sb_str(&b, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
        assert_int_equal(expand_big("$V$V", &b, &err), BLD_E_LIMIT);
        err_clear(&err);
        /* Quadratic work is cut off instead of done. */
        assert_int_equal(expand_big("${V//a*b/x}", &b, &err), BLD_E_LIMIT);
        assert_int_equal(expand_big("${V%%*a*a*b}", &b, NULL), 0);
        assert_null(out);
        sb_done(&b);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_word),        cmocka_unit_test(test_words),
                cmocka_unit_test(test_unset_names), cmocka_unit_test(test_env_strv),
                cmocka_unit_test(test_limits),
        };

        return cmocka_run_group_tests_name("parser_expand", tests, NULL, NULL);
}
