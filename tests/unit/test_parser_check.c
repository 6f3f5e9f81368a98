/* What df_check() refuses, its words and its positions. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "parser/parser.h"

static int check(const char *text, struct df_err_pos *pos, struct bld_err *err)
{
        struct df_file *f = NULL;
        int r = df_parse(text, strlen(text), &f, pos, err);

        if (r == 0)
                r = df_check(f, pos, err);
        df_free(f);
        return r;
}

static const struct {
        const char *name, *text, *want;
        unsigned line, col;
} rows[] = {
        {"no stage", "ARG a\n", "dockerfile contains no stages to build", 0, 0},
        {"before FROM", "ARG a\nRUN b\n", "no build stage in current context", 2, 0},
        {"unknown", "FROM a\nXYZZYX b\n", "unknown instruction: XYZZYX", 2, 0},
        {"suggestion", "FORM a\n", "unknown instruction: FORM (did you mean FROM?)", 1, 0},
        {"suggestion, lower case", "form a\n", "unknown instruction: form (did you mean from?)", 1,
         0},
        {"from arity", "FROM a b\n", "FROM requires either one or three arguments", 1, 0},
        {"from three", "FROM a is b\n", "FROM requires either one or three arguments", 1, 0},
        {"from none", "FROM\n", "FROM requires either one or three arguments", 1, 0},
        {"stage name", "FROM a AS 1b\n",
         "invalid name for build stage: \"1b\", name can't start with a number or contain symbols",
         1, 11},
        {"unknown flag", "FROM --x a\n", "unknown flag: --x", 1, 6},
        {"unknown flag, suggestion", "FROM a\nCOPY \\\n --chwn=1 a b\n",
         "unknown flag: --chwn (did you mean chown?)", 3, 2},
        {"flags of other instructions", "FROM a\nADD --from=b a b\n", "unknown flag: --from", 2, 5},
        {"no flags at all", "FROM a\nCMD --x a\n", "unknown flag: --x", 2, 5},
        {"duplicate", "FROM a\nCOPY --from=a --from=b c d\n", "duplicate flag specified: --from", 2,
         15},
        {"no value", "FROM --platform a\n", "missing a value on flag: --platform", 1, 6},
        {"bool without value", "FROM a\nCOPY --link= a b\n", "missing a value on flag: --link", 2,
         6},
        {"bool", "FROM a\nCOPY --link=1 a b\n", "expecting boolean value for flag --link, not: 1",
         2, 6},
        {"copy one", "FROM a\nCOPY b\n",
         "COPY requires at least two arguments, but only one was provided. Destination could not "
         "be "
         "determined",
         2, 0},
        {"heredoc destination", "FROM a\nADD b <<E\nE\n",
         "ADD cannot accept a heredoc as a destination", 2, 7},
        {"env none", "FROM a\nENV\n", "ENV requires at least one argument", 2, 0},
        {"env blank", "FROM a\nENV a=b =c\n", "ENV names can not be blank", 2, 9},
        {"arg none", "FROM a\nARG\n", "ARG requires at least one argument", 2, 0},
        {"arg blank", "FROM a\nARG =c\n", "ARG names can not be blank", 2, 5},
        {"user none", "FROM a\nUSER\n", "USER requires exactly one argument", 2, 0},
        {"maintainer none", "FROM a\nMAINTAINER\n", "MAINTAINER requires exactly one argument", 2,
         0},
        {"expose none", "FROM a\nEXPOSE\n", "EXPOSE requires at least one argument", 2, 0},
        {"volume blank", "FROM a\nVOLUME [\"a\", \" \"]\n",
         "VOLUME specified can not be an empty string", 2, 0},
        {"shell form", "FROM a\nSHELL b\n", "SHELL requires the arguments to be in JSON form", 2,
         0},
        {"shell none", "FROM a\nSHELL []\n", "SHELL requires at least one argument", 2, 0},
        {"health none", "FROM a\nHEALTHCHECK NONE a\n", "HEALTHCHECK NONE takes no arguments", 2,
         0},
        {"health type", "FROM a\nHEALTHCHECK tcp 80\n",
         "Unknown type \"TCP\" in HEALTHCHECK (try CMD)", 2, 0},
        {"health command", "FROM a\nHEALTHCHECK CMD\n", "Missing command after HEALTHCHECK CMD", 2,
         0},
        {"health interval", "FROM a\nHEALTHCHECK --timeout=1us CMD a\n",
         "Interval \"timeout\" cannot be less than 1ms", 2, 0},
        {"health duration", "FROM a\nHEALTHCHECK --timeout=1 CMD a\n",
         "time: missing unit in duration \"1\"", 2, 0},
        {"health duration without digits", "FROM a\nHEALTHCHECK --timeout=.s CMD a\n",
         "time: invalid duration \".s\"", 2, 0},
        {"health retries", "FROM a\nHEALTHCHECK --retries=-1 CMD a\n",
         "--retries cannot be negative (-1)", 2, 0},
        {"health retries beyond 32 bits", "FROM a\nHEALTHCHECK --retries=+2147483648 CMD a\n",
         "strconv.ParseInt: parsing \"+2147483648\": value out of range", 2, 0},
        {"health retries twice signed", "FROM a\nHEALTHCHECK --retries=++1 CMD a\n",
         "strconv.ParseInt: parsing \"++1\": invalid syntax", 2, 0},
        {"near by two letters swapped", "FROM a\nRNU b\n",
         "unknown instruction: RNU (did you mean RUN?)", 2, 0},
        {"near, in lower case", "FROM a\ncpoy b c\n",
         "unknown instruction: cpoy (did you mean copy?)", 2, 0},
        {"onbuild none", "FROM a\nONBUILD\n", "ONBUILD requires at least one argument", 2, 0},
        {"onbuild chain", "FROM a\nONBUILD ONBUILD RUN b\n",
         "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed", 2, 0},
        {"onbuild from", "FROM a\nONBUILD from b\n", "FROM isn't allowed as an ONBUILD trigger", 2,
         0},
        {"nul in json", "FROM a\nRUN [\"a\\u0000\"]\n", "RUN: a string contains a NUL character", 2,
         0},
};

static void test_refused(void **state)
{
        (void)state;
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct bld_err err = BLD_ERR_INIT;
                struct df_err_pos pos;

                print_message("# %s\n", rows[i].name);
                assert_int_equal(check(rows[i].text, &pos, &err), BLD_E_INVALID);
                assert_string_equal(err.msg, rows[i].want);
                assert_int_equal(pos.pos.line, rows[i].line);
                assert_int_equal(pos.pos.col, rows[i].col);
        }
}

static void test_accepted(void **state)
{
        struct bld_err err = BLD_ERR_INIT;
        struct df_err_pos pos;

        (void)state;
        if (check("ARG a\nFROM --platform=x a AS b-1_2.3\nRUN\nRUN --mount=a --mount=b c\nCMD\n"
                  "ENTRYPOINT []\nCOPY --link --parents=False --exclude=a --exclude=b c d\n"
                  "ADD --checksum= --unpack --keep-git-dir=true a b\nARG --x a=b\n"
                  "STOPSIGNAL --x 9\nHEALTHCHECK --retries=3 --interval=0 --timeout=1m CMD a\n"
                  "HEALTHCHECK --whatever NONE\nONBUILD FOO\nVOLUME [\"a\"]\nEXPOSE 1\n",
                  &pos, &err) < 0)
                fail_msg("line %u: %s", pos.pos.line, err.msg);
}

static void test_suggest(void **state)
{
        static const char *const names[] = {"alpha", "alphb", "Beta"};

        (void)state;
        assert_string_equal(df_suggest("alphx", names, 3, false), "alpha");
        assert_string_equal(df_suggest("alphbb", names, 3, false), "alphb");
        assert_null(df_suggest("alpha", names, 3, false));
        assert_null(df_suggest("ALPHA", names, 3, false));
        assert_null(df_suggest("ALPHA", names, 3, true));
        assert_string_equal(df_suggest("beta", names, 3, false), "Beta");
        assert_null(df_suggest("gamma!", names, 3, true));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_refused),
                cmocka_unit_test(test_accepted),
                cmocka_unit_test(test_suggest),
        };

        return cmocka_run_group_tests_name("parser_check", tests, NULL, NULL);
}
