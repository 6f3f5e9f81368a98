/* Text to tree: lexing, directives, shapes of arguments, positions, limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "parser/parser.h"

static struct df_file *parse_ok(const char *text)
{
        struct bld_err err = BLD_ERR_INIT;
        struct df_file *f = NULL;

        if (df_parse(text, strlen(text), &f, NULL, &err) < 0)
                fail_msg("%s", err.msg);
        return f;
}

static const struct {
        const char *name, *text, *want;
} trees[] = {
        {"words", "from\ta \t b\r\n", "(from \"a\" \"b\")\n"},
        {"no line end", "FROM a", "(from \"a\")\n"},
        {"bom",
         "\xef\xbb\xbf"
         "FROM a\n",
         "(from \"a\")\n"},
        {"comment inside", "RUN a \\\n # b \\\n c\n", "(run \"a  c\")\n"},
        {"blank line inside", "RUN a \\\n\n \t\n c\n", "(run \"a  c\")\n"},
        {"blanks behind the escape", "RUN a \\ \t\r\nb\n", "(run \"a b\")\n"},
        {"two escapes do not continue", "RUN a\\\\\nRUN b\n", "(run \"a\\\\\\\\\")\n(run \"b\")\n"},
        {"nor do three", "RUN a\\\\\\\nRUN b\n", "(run \"a\\\\\\\\\\\\\")\n(run \"b\")\n"},
        {"a line of the escape alone", "RUN a\\\n\\\nb\n", "(run \"ab\")\n"},
        {"end of file while continuing", "RUN a \\\n", "(run \"a\")\n"},
        {"hash inside is text", "RUN a # b\n", "(run \"a # b\")\n"},
        {"escape directive", "#escape=`\nRUN a `\n b\\\nRUN c\n",
         "(run \"a  b\\\\\")\n(run \"c\")\n"},
        {"directive after a comment is none", "#x\n#escape=`\nRUN a `\nRUN b\n",
         "(run \"a `\")\n(run \"b\")\n"},
        {"directive after a shebang is none", "#!/x\n#escape=`\nRUN a `\nRUN b\n",
         "(run \"a `\")\n(run \"b\")\n"},
        {"flags", "COPY --a=\"b c\" --d=e\\ f --g -- --h i\n",
         "(copy [\"--a=b c\" \"--d=e f\" \"--g\"] \"--h\" \"i\")\n"},
        {"flags only", "COPY --a\n", "(copy [\"--a\"])\n"},
        {"flags across lines", "RUN --mount=type=x \\\n  --net=y \\\n  z\n",
         "(run [\"--mount=type=x\" \"--net=y\"] \"z\")\n"},
        {"quoted escape in a flag", "COPY --a='b\\'c' d e\n", "(copy [\"--a=b'c\"] \"d\" \"e\")\n"},
        {"json", "CMD [\"a\", \"\\u00e9\\ud83d\\ude00\\ud83d\\u0000\\/\"]\n",
         "(cmd \"a\" \"é😀\xef\xbf\xbd\\x00/\")\n"},
        {"json with bad bytes", "CMD [\"\xff\xc0\x80\"]\n",
         "(cmd \"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\")\n"},
        {"json with trailing text", "CMD [\"a\"] b\n", "(cmd \"[\\\"a\\\"] b\")\n"},
        {"json with single quotes", "CMD ['a']\n", "(cmd \"['a']\")\n"},
        {"json with unknown escape", "CMD [\"\\w\"]\n", "(cmd \"[\\\"\\\\w\\\"]\")\n"},
        {"json with trailing comma", "CMD [\"a\",]\n", "(cmd \"[\\\"a\\\",]\")\n"},
        {"json with a control byte", "CMD [\"\t\"]\n", "(cmd \"[\\\"\\t\\\"]\")\n"},
        {"json across lines", "CMD [\"a\", \\\n \"b\"]\n", "(cmd \"a\" \"b\")\n"},
        {"empty json list", "COPY []\n", "(copy)\n"},
        {"health", "HEALTHCHECK --retries=3 cmd  [\"a\"]\nHEALTHCHECK none\nHEALTHCHECK\n",
         "(healthcheck [\"--retries=3\"] \"cmd\" \"a\")\n(healthcheck \"none\")\n(healthcheck)\n"},
        {"arg", "ARG a b= c='d e' \"f\"\n", "(arg \"a\" \"b=\" \"c='d e'\" \"\\\"f\\\"\")\n"},
        {"env", "ENV a=b\\ c d=\"e\\\"f\" g='\\'\n",
         "(env \"a\" \"b\\\\ c\" \"=\" \"d\" \"\\\"e\\\\\\\"f\\\"\" \"=\" \"g\" \"'\\\\'\" "
         "\"=\")\n"},
        {"env legacy", "ENV a  b = c\n", "(env \"a\" \"b = c\" \"\")\n"},
        {"env escape at the end", "ENV a=b\\", "(env \"a\" \"b\" \"=\")\n"},
        {"label empty value", "LABEL a= b=\"\"\n",
         "(label \"a\" \"\" \"=\" \"b\" \"\\\"\\\"\" \"=\")\n"},
        {"whole string", "WORKDIR  /a b \nUSER\n", "(workdir \"/a b\")\n(user)\n"},
        {"onbuild", "ONBUILD onbuild copy --x [\"a\"]\nONBUILD\n",
         "(onbuild (onbuild (copy [\"--x\"] \"a\")))\n(onbuild)\n"},
        {"unknown", "Foo bar\n", "(foo \"\")\n"},
        {"nbsp splits words of env only",
         "ENV a=b\xc2\xa0"
         "c=d\nEXPOSE 1\xc2\xa0"
         "2\n",
         "(env \"a\" \"b\" \"=\" \"c\" \"d\" \"=\")\n(expose \"1\\u00a02\")\n"},
        {"quoting", "RUN \a\x01\x7f\xff\xe2\x80\x8b\xf3\xa0\x80\x81 \\ \"\n",
         "(run \"\\a\\x01\\x7f\\xff\\u200b\\U000e0001 \\\\ \\\"\")\n"},
};

static void test_trees(void **state)
{
        (void)state;
        for (size_t i = 0; i < sizeof(trees) / sizeof(trees[0]); i++) {
                struct sb out = SB_INIT(1 << 20);
                struct df_file *f;

                print_message("# %s\n", trees[i].name);
                f = parse_ok(trees[i].text);
                assert_int_equal(df_dump(f, &out, NULL), 0);
                assert_string_equal(sb_text(&out), trees[i].want);
                sb_done(&out);
                df_free(f);
        }
}

static const struct {
        const char *name, *text, *want;
        unsigned line;
} refused[] = {
        {"empty", "", "the Dockerfile cannot be empty", 0},
        {"comments only", "# a\n\n", "file with no instructions", 0},
        {"escape token", "# escape = x\nFROM a\n",
         "invalid escape token 'x' does not match ` or \\", 1},
        {"directive twice", "#syntax=a\n#SYNTAX=b\nFROM a\n",
         "only one syntax parser directive can be used", 2},
        {"env without value", "FROM a\nENV b\n", "ENV must have two arguments", 2},
        {"label without value", "LABEL b\n", "LABEL must have two arguments", 1},
        {"pair without =", "ENV a=b c\n",
         "Syntax error - can't find = in \"c\". Must be of the form: name=value", 1},
        {"json of numbers", "FROM a\n\nCMD [1]\n",
         "when using JSON array syntax, arrays must be comprised of strings only", 3},
        {"nested json", "CMD [\"a\", [\"b\"]]\n",
         "when using JSON array syntax, arrays must be comprised of strings only", 1},
        {"unterminated heredoc", "FROM a\nRUN <<X\nx\n", "unterminated heredoc", 2},
};

static void test_refused(void **state)
{
        (void)state;
        for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
                struct bld_err err = BLD_ERR_INIT;
                struct df_err_pos pos;
                struct df_file *f = NULL;

                print_message("# %s\n", refused[i].name);
                assert_int_equal(df_parse(refused[i].text, strlen(refused[i].text), &f, &pos, &err),
                                 BLD_E_INVALID);
                assert_string_equal(err.msg, refused[i].want);
                assert_int_equal(pos.pos.line, refused[i].line);
                assert_null(f);
        }
}

static void assert_pos(struct df_pos p, unsigned line, unsigned col, unsigned len)
{
        assert_int_equal(p.line, line);
        assert_int_equal(p.col, col);
        assert_int_equal(p.len, len);
}

static void test_positions(void **state)
{
        struct df_file *f;

        (void)state;
        f = parse_ok("\n  FROM  --platform=x  a AS b\n"
                     "COPY --from=b \\\n"
                     "   # comment\n"
                     "   c \\\n"
                     "\td /e\n"
                     "ENV k=v \\\n  l=w\n"
                     "ONBUILD COPY [\"x\", \"yy\"]\n"
                     "RUN <<A\nA\n");
        assert_int_equal(f->n, 5);
        assert_int_equal(f->v[0].line, 2);
        assert_pos(f->v[0].flags[0].pos, 2, 9, 12);
        assert_pos(f->v[0].args[0].pos, 2, 23, 1);
        assert_pos(f->v[0].args[2].pos, 2, 28, 1);
        assert_int_equal(f->v[1].line, 3);
        assert_int_equal(f->v[1].end_line, 6);
        assert_pos(f->v[1].args[0].pos, 5, 4, 1);
        assert_pos(f->v[1].args[1].pos, 6, 2, 1);
        assert_pos(f->v[1].args[2].pos, 6, 4, 2);
        assert_pos(f->v[2].pairs[1].pos, 8, 3, 3);
        assert_pos(f->v[3].sub->args[1].pos, 9, 20, 4);
        assert_int_equal(f->v[4].line, 10);
        assert_int_equal(f->v[4].end_line, 11);
        df_free(f);
}

static void test_nodes(void **state)
{
        const struct df_instr *in;
        struct df_file *f;

        (void)state;
        f = parse_ok("FROM a aS Build\nENV k v w\nARG x y=\nCOPY --link=TRUE --exclude=a "
                     "--exclude=b c d\nSHELL [\"a\", \"b\"]\nRUN x\n");
        assert_string_equal(f->v[0].as_name, "build");
        assert_string_equal(f->v[0].as_raw, "Build");
        assert_true(f->v[1].legacy_pair);
        assert_string_equal(f->v[1].pairs[0].value, "v w");
        assert_null(f->v[2].pairs[0].value);
        assert_string_equal(f->v[2].pairs[1].value, "");
        in = &f->v[3];
        assert_string_equal(in->word, "COPY");
        assert_string_equal(in->original, "COPY --link=TRUE --exclude=a --exclude=b c d");
        assert_string_equal(in->rest, "c d");
        assert_string_equal(df_flag(in, "exclude"), "b");
        assert_null(df_flag(in, "from"));
        assert_true(df_flag_bool(in, "link"));
        assert_false(df_flag_bool(in, "parents"));
        assert_true(f->v[4].cmd.json);
        assert_int_equal(f->v[4].cmd.argv.n, 2);
        assert_false(f->v[5].cmd.json);
        assert_string_equal(f->v[5].cmd.argv.v[0], "x");
        df_free(f);
}

static const struct {
        const char *name, *text, *syntax, *check;
} directives[] = {
        {"none", "FROM a\n", NULL, NULL},
        {"both", "# syntax = a/b:1  x y\n#CHECK=skip=all;error=true z\nFROM a\n", "a/b:1",
         "skip=all;error=true"},
        {"after a shebang", "#!/usr/bin/x\n# syntax=a\nFROM a\n", "a", NULL},
        {"not after a blank line", "\n# syntax=a\nFROM a\n", NULL, NULL},
        {"slashes", "// syntax=a\nFROM a\n", "a", NULL},
        {"json", "{\"syntax\": \"a b\"}\n", "a", NULL},
        {"bom", "\xef\xbb\xbf#syntax=a\nFROM a\n", "a", NULL},
        {"unknown name ends it", "# foo=bar\n# syntax=a\nFROM a\n", NULL, NULL},
};

static void test_directives(void **state)
{
        (void)state;
        for (size_t i = 0; i < sizeof(directives) / sizeof(directives[0]); i++) {
                struct df_file *f;

                print_message("# %s\n", directives[i].name);
                f = parse_ok(directives[i].text);
                assert_true(str_eq(f->syntax, directives[i].syntax));
                assert_true(str_eq(f->check, directives[i].check));
                df_free(f);
        }
}

static void test_comments_and_warnings(void **state)
{
        struct df_file *f;

        (void)state;
        f = parse_ok(
                "# syntax=x\n# lost\n#\n#  a one \n\n # b two\nFROM a\nRUN b \\\n\n# not kept\n"
                "c\nRUN d\n");
        assert_int_equal(f->n, 3);
        assert_int_equal(f->v[0].comments.n, 2);
        assert_string_equal(f->v[0].comments.v[0], "a one");
        assert_string_equal(f->v[0].comments.v[1], "b two");
        assert_int_equal(f->v[2].comments.n, 0);
        assert_int_equal(f->nwarnings, 1);
        assert_string_equal(f->warnings[0].rule, "NoEmptyContinuation");
        assert_int_equal(f->warnings[0].line, 11);
        df_free(f);
}

static void test_source_line(void **state)
{
        struct df_file *f = parse_ok("FROM a\r\n\nRUN b");
        const char *s;
        size_t n;

        (void)state;
        assert_true(df_source_line(f, 1, &s, &n));
        assert_int_equal(n, 6);
        assert_true(df_source_line(f, 2, &s, &n));
        assert_int_equal(n, 0);
        assert_true(df_source_line(f, 3, &s, &n));
        assert_memory_equal(s, "RUN b", 5);
        assert_int_equal(n, 5);
        assert_false(df_source_line(f, 0, &s, &n));
        assert_false(df_source_line(f, 4, &s, &n));
        df_free(f);
}

static void test_limits(void **state)
{
        struct bld_err err = BLD_ERR_INIT;
        struct sb b = SB_INIT(64 << 20);
        struct df_file *f = NULL;

        (void)state;
        for (int i = 0; i <= 100000; i++)
                sb_str(&b, "a\n");
        assert_int_equal(df_parse(sb_text(&b), b.len, &f, NULL, &err), BLD_E_LIMIT);
        err_clear(&err);
        sb_reset(&b);
        for (int i = 0; i < 100; i++)
                sb_str(&b, "ONBUILD ");
        assert_int_equal(df_parse(sb_text(&b), b.len, &f, NULL, &err), BLD_E_LIMIT);
        err_clear(&err);
        while (b.len <= 16 << 20)
                sb_str(&b, "################################################\n");
        assert_int_equal(df_parse(sb_text(&b), b.len, &f, NULL, &err), BLD_E_LIMIT);
        err_clear(&err);
        assert_int_equal(df_parse("RUN a\0b\n", 8, &f, NULL, &err), BLD_E_INVALID);
        assert_null(f);
        sb_done(&b);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_trees),       cmocka_unit_test(test_refused),
                cmocka_unit_test(test_positions),   cmocka_unit_test(test_nodes),
                cmocka_unit_test(test_directives),  cmocka_unit_test(test_comments_and_warnings),
                cmocka_unit_test(test_source_line), cmocka_unit_test(test_limits),
        };

        return cmocka_run_group_tests_name("parser_tree", tests, NULL, NULL);
}
