/* Heredocs: recognition, bodies, use in ONBUILD, expansion of bodies. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "parser/expand.h"
#include "parser/parser.h"

static struct df_file *parse_ok(const char *text)
{
        struct bld_err err = BLD_ERR_INIT;
        struct df_file *f = NULL;

        if (df_parse(text, strlen(text), &f, NULL, &err) < 0)
                fail_msg("%s", err.msg);
        return f;
}

#define DOC(name, content, expand, chomp, fd)                                   \
        "{\"name\":\"" name "\",\"content\":\"" content "\",\"expand\":" expand \
        ",\"chomp\":" chomp ",\"fd\":" fd "}"

static const struct {
        const char *name, *text, *want;
} rows[] = {
        {"plain", "RUN <<E\na\n\\\n# b\r\nE\n",
         "[[" DOC("E", "a\\n\\\\\\n# b\\u000d\\n", "true", "false", "0") "]]\n"},
        {"chomp", "RUN 7<<-E\n\ta\n\tE\n", "[[" DOC("E", "\\ta\\n", "true", "true", "7") "]]\n"},
        {"terminator with CR", "RUN <<E\r\nE\r\n", "[[" DOC("E", "", "true", "false", "0") "]]\n"},
        {"terminator at the end of file", "RUN <<E\nE",
         "[[" DOC("E", "", "true", "false", "0") "]]\n"},
        {"blanks are no terminator", "RUN <<E\n E\nE \nE\n",
         "[[" DOC("E", " E\\nE \\n", "true", "false", "0") "]]\n"},
        {"partly quoted", "RUN <<E'O'F\nEOF\n", "[[" DOC("EOF", "", "false", "false", "0") "]]\n"},
        {"escaped quote expands", "RUN <<E\\\"F\nE\"F\n",
         "[[" DOC("E\\\"F", "", "true", "false", "0") "]]\n"},
        {"variables stay", "RUN <<$E\n$E\n", "[[" DOC("$E", "", "true", "false", "0") "]]\n"},
        {"blank before the word", "RUN << E\nE\n", "[[" DOC("E", "", "true", "false", "0") "]]\n"},
        {"dash behind a blank", "RUN << -E\n-E\n", "[[" DOC("-E", "", "true", "false", "0") "]]\n"},
        {"blank behind the dash", "RUN <<- E\nE\n", "[[],[]]\n"},
        {"quote first", "RUN \"<<E\" '<<E'\n", "[[]]\n"},
        {"unbalanced quote", "RUN <<E'\nE\n", "[[],[]]\n"},
        {"three", "RUN <<<E\n", "[[]]\n"},
        {"alone", "RUN << \nRUN <<-\n", "[[],[]]\n"},
        {"on a continued line", "RUN a \\\n <<E \\\n b\nx\nE\n",
         "[[" DOC("E", "x\\n", "true", "false", "0") "]]\n"},
        {"json form has none", "COPY [\"<<E\", \"/\"]\nRUN [\"<<E\"]\n", "[[],[]]\n"},
        {"other instructions have none", "CMD <<E\nENV a=<<E\n", "[[],[]]\n"},
        {"onbuild", "ONBUILD ADD <<E /\nE\nONBUILD CMD <<E\n",
         "[[" DOC("E", "", "true", "false", "0") "],[]]\n"},
        {"large fd", "RUN 99999999999<<E\nE\n",
         "[[" DOC("E", "", "true", "false", "4294967295") "]]\n"},
        {"bad bytes", "RUN <<E\n\xff\nE\n",
         "[[" DOC("E", "\\ufffd\\n", "true", "false", "0") "]]\n"},
};

static void test_recognition(void **state)
{
        (void)state;
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct sb out = SB_INIT(1 << 20);
                struct df_file *f;

                print_message("# %s\n", rows[i].name);
                f = parse_ok(rows[i].text);
                assert_int_equal(df_dump_heredocs(f, &out, NULL), 0);
                assert_string_equal(sb_text(&out), rows[i].want);
                sb_done(&out);
                df_free(f);
        }
}

static void test_lines_and_words(void **state)
{
        struct df_file *f = parse_ok("FROM a\nCOPY <<A x <<-'B' /d\n1\nA\nB\nRUN b\n");
        const struct df_heredoc *h = f->v[1].heredocs, *found = NULL;

        (void)state;
        assert_int_equal(f->v[1].nheredocs, 2);
        assert_int_equal(h[0].line, 3);
        assert_int_equal(h[0].end_line, 4);
        assert_int_equal(h[1].line, 5);
        assert_int_equal(h[1].end_line, 5);
        assert_string_equal(h[1].word, "<<-'B'");
        assert_int_equal(f->v[1].end_line, 5);
        assert_int_equal(f->v[2].line, 6);
        assert_int_equal(df_heredoc_find(&f->v[1], f->v[1].args[0].text, &found, NULL), 1);
        assert_ptr_equal(found, &h[0]);
        assert_int_equal(df_heredoc_find(&f->v[1], f->v[1].args[1].text, &found, NULL), 0);
        assert_int_equal(df_heredoc_find(&f->v[1], f->v[1].args[2].text, &found, NULL), 1);
        assert_ptr_equal(found, &h[1]);
        df_free(f);
}

static void test_last_of_one_name(void **state)
{
        struct df_file *f = parse_ok("COPY <<A <<A /d\n1\nA\n2\nA\n");
        const struct df_heredoc *found = NULL;

        (void)state;
        assert_int_equal(df_heredoc_find(&f->v[0], "<<A", &found, NULL), 1);
        assert_string_equal(found->content, "2\n");
        df_free(f);
}

static void test_trigger(void **state)
{
        struct df_file *f =
                parse_ok("onbuild  Run --network=none \\\n <<A <<-B x\n1\nA\n\t2\n\tB\n");
        struct df_file *t = NULL;

        (void)state;
        assert_string_equal(f->v[0].trigger, "Run --network=none  <<A <<-B x\n1\nA\n\t2\nB");
        assert_int_equal(df_parse_trigger(f->v[0].trigger, strlen(f->v[0].trigger), '\\', &t, NULL),
                         0);
        assert_int_equal(t->v[0].kind, DF_RUN);
        assert_int_equal(t->v[0].nheredocs, 2);
        assert_int_equal(f->v[0].sub->nheredocs, 2);
        assert_int_equal(f->v[0].sub->end_line, f->v[0].end_line);
        df_free(t);
        df_free(f);
}

static void test_trigger_is_one(void **state)
{
        struct bld_err err = BLD_ERR_INIT;
        struct df_file *t = NULL;

        (void)state;
        assert_int_equal(df_parse_trigger("RUN a\nRUN b", 11, '\\', &t, &err), BLD_E_INVALID);
        assert_string_equal(err.msg, "onbuild trigger should be a single expression");
        assert_null(t);
}

static const char *lookup(void *user, const char *name)
{
        (void)user;
        return strcmp(name, "A") == 0 ? "v 'w'" : NULL;
}

static const struct {
        const char *name, *body, *want;
        bool expand, chomp;
} bodies[] = {
        {"as it is", "$A\\n\t'\n", "$A\\n\t'\n", false, false},
        {"chomped", "\t\ta\n\t\n b\t\n\tc", "a\n\n b\t\nc", false, true},
        {"variables", "$A-${A:-x}-${B:-\"y\"}-$B.\n", "v 'w'-v 'w'-\"y\"-.\n", true, false},
        {"quotes are ordinary", "'$A' \"it's\"\n", "'v 'w'' \"it's\"\n", true, false},
        {"escapes", "\\n\\\\\\$A\\\n\\\"", "n\\$A\n\"", true, false},
        {"chomped before", "\t$A\n", "v 'w'\n", true, true},
};

static void test_bodies(void **state)
{
        const struct df_env env = {.get = lookup};

        (void)state;
        for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
                AUTO_FREE char *body = mem_strdup(bodies[i].body);
                const struct df_heredoc h = {.content = body,
                                             .content_len = strlen(body),
                                             .expand = bodies[i].expand,
                                             .chomp = bodies[i].chomp};
                char *out = NULL;
                size_t n = 0;

                print_message("# %s\n", bodies[i].name);
                assert_int_equal(df_expand_heredoc(&h, &env, &out, &n, NULL), 0);
                assert_string_equal(out, bodies[i].want);
                assert_int_equal(n, strlen(bodies[i].want));
                free(out);
        }
}

static void test_large_body(void **state)
{
        struct sb b = SB_INIT(16 << 20);
        struct df_file *f;

        (void)state;
        sb_str(&b, "RUN <<E\n");
        while (b.len < 10 << 20)
                sb_str(&b, "a line of a heredoc that goes on and on\n");
        sb_str(&b, "E\n");
        f = parse_ok(sb_text(&b));
        assert_int_equal(f->v[0].heredocs[0].content_len, b.len - 10);
        df_free(f);
        sb_done(&b);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_recognition),      cmocka_unit_test(test_lines_and_words),
                cmocka_unit_test(test_last_of_one_name), cmocka_unit_test(test_trigger),
                cmocka_unit_test(test_trigger_is_one),   cmocka_unit_test(test_bodies),
                cmocka_unit_test(test_large_body),
        };

        return cmocka_run_group_tests_name("parser_heredoc", tests, NULL, NULL);
}
