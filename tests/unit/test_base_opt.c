/* Option tables: parsing, messages, help; CSV records. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/opt.h"
#include "base/sb.h"

struct args {
        bool quiet, cache;
        const char *file, *pull;
        struct strv tags;
};

#define A(field) offsetof(struct args, field)
static const struct opt table[] = {
        {"quiet", 'q', OPT_BOOL, A(quiet), NULL, "say nothing", "Flags"},
        {"cache", 0, OPT_BOOL, A(cache), NULL, "use results of earlier builds", NULL},
        {"file", 'f', OPT_STR, A(file), "PATH",
         "a help text that is far too long for one line of eighty columns and has to be wrapped",
         NULL},
        {"tag", 't', OPT_LIST, A(tags), "NAME", "name", "More"},
        {"pull", 0, OPT_OPTSTR, A(pull), "WHEN", "when", NULL},
        {"rm", 0, OPT_NOTE, 0, NULL, "nothing is left behind", NULL},
        {"builder", 0, OPT_NOTE, 0, "NAME", NULL, NULL},
        {"storage-driver", 0, OPT_REFUSE, 0, "NAME", "there are none", NULL},
        {0},
};
static const struct opt *const tables[] = {table};

/* Arguments as one string, split at blanks. Values are borrowed from argv, which therefore lives
 * until the next call. */
static int parse(const char *line, struct args *a, struct strv *pos, const struct opt_note *note,
                 struct bld_err *err)
{
        static char text[256];
        static char *argv[32];
        int argc = 0;

        assert_true(str_copy(text, sizeof(text), line));
        argv[argc++] = (char[]){"prog"};
        for (char *s = text; *s; argc++) {
                size_t n = strcspn(s, " ");

                argv[argc] = s;
                s += n;
                if (*s)
                        *s++ = '\0';
        }
        return opt_parse(tables, 1, argc, argv, a, pos, note, err);
}

static void good(void **state)
{
        static const struct {
                const char *line;
                bool quiet, cache;
                const char *file, *pull, *tags, *pos;
        } rows[] = {
                {"", false, false, NULL, NULL, "", ""},
                {"a b", false, false, NULL, NULL, "", "a b "},
                {"--quiet a --file=x b", true, false, "x", NULL, "", "a b "},
                {"--file x", false, false, "x", NULL, "", ""},
                {"--file --quiet", false, false, "--quiet", NULL, "", ""},
                {"--file=", false, false, "", NULL, "", ""},
                {"-q -f x", true, false, "x", NULL, "", ""},
                {"-qf x", true, false, "x", NULL, "", ""},
                {"-qfx", true, false, "x", NULL, "", ""},
                {"-f=x", false, false, "x", NULL, "", ""},
                {"--cache --no-quiet", false, true, NULL, NULL, "", ""},
                {"--quiet=true --cache=0", true, false, NULL, NULL, "", ""},
                {"--no-quiet=false", true, false, NULL, NULL, "", ""},
                {"-t a -t b --tag=c", false, false, NULL, NULL, "a b c ", ""},
                {"-t a --tag= -t b", false, false, NULL, NULL, "b ", ""},
                {"--pull", false, false, NULL, "", "", ""},
                {"--pull never", false, false, NULL, "", "", "never "},
                {"--pull=never", false, false, NULL, "never", "", ""},
                {"-- --quiet -x", false, false, NULL, NULL, "", "--quiet -x "},
                {"- -q", true, false, NULL, NULL, "", "- "},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct bld_err err = BLD_ERR_INIT;
                struct args a = {0};
                struct strv pos = {0};
                struct sb got = SB_INIT(1000);

                print_message("%s\n", rows[i].line);
                if (parse(rows[i].line, &a, &pos, NULL, &err) < 0)
                        fail_msg("%s", err.msg);
                assert_int_equal(a.quiet, rows[i].quiet);
                assert_int_equal(a.cache, rows[i].cache);
                assert_true(str_eq(a.file, rows[i].file));
                assert_true(str_eq(a.pull, rows[i].pull));
                for (size_t k = 0; k < a.tags.n; k++)
                        sb_fmt(&got, "%s ", a.tags.v[k]);
                assert_string_equal(sb_text(&got), rows[i].tags);
                sb_reset(&got);
                for (size_t k = 0; k < pos.n; k++)
                        sb_fmt(&got, "%s ", pos.v[k]);
                assert_string_equal(sb_text(&got), rows[i].pos);
                sb_done(&got);
                strv_done(&a.tags);
                strv_done(&pos);
        }
}

static void bad(void **state)
{
        static const struct {
                const char *line, *message;
        } rows[] = {
                {"--nope", "unknown flag --nope"},
                {"--quite", "unknown flag --quite\ntry: did you mean --quiet?"},
                {"--qui", "unknown flag --qui\ntry: did you mean --quiet?"},
                {"-x", "unknown flag -x"},
                {"-qx", "unknown flag -x"},
                {"--file", "--file needs a value (PATH)"},
                {"-f", "-f needs a value (PATH)"},
                {"--quiet=maybe", "--quiet takes true or false, not \"maybe\""},
                {"--no-file=x", "unknown flag --no-file"},
                {"--storage-driver x", "unknown flag --storage-driver\nnote: there are none"},
                {"--storage-driver=x", "unknown flag --storage-driver\nnote: there are none"},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct bld_err err = BLD_ERR_INIT;
                struct args a = {0};
                struct strv pos = {0};

                print_message("%s\n", rows[i].line);
                assert_int_equal(parse(rows[i].line, &a, &pos, NULL, &err), BLD_E_USAGE);
                assert_string_equal(err.msg, rows[i].message);
                strv_done(&a.tags);
                strv_done(&pos);
        }
}

static void keep_note(void *user, const char *text)
{
        sb_fmt(user, "%s;", text);
}

static void notes(void **state)
{
        struct sb said = SB_INIT(1000);
        const struct opt_note note = {keep_note, &said};
        struct args a = {0};
        struct strv pos = {0};

        (void)state;
        assert_int_equal(parse("--rm --builder x --builder=y rest", &a, &pos, &note, NULL), 0);
        assert_string_equal(sb_text(&said), "--rm has no effect in bld: nothing is left behind;"
                                            "--builder has no effect in bld;"
                                            "--builder has no effect in bld;");
        assert_int_equal(pos.n, 1);
        strv_done(&pos);
        sb_done(&said);
}

static void help(void **state)
{
        struct sb b = SB_INIT(10000);
        size_t width = 0;

        (void)state;
        opt_help(tables, 1, &b);
        for (const char *s = sb_text(&b); *s; s++) {
                width = *s == '\n' ? 0 : width + 1;
                assert_true(width <= 80);
        }
        assert_non_null(strstr(sb_text(&b), "\nFlags:\n  -q, --quiet"));
        assert_non_null(strstr(sb_text(&b), "\nMore:\n  -t, --tag NAME"));
        assert_non_null(strstr(sb_text(&b), "--pull[=WHEN]"));
        assert_null(strstr(sb_text(&b), "storage-driver"));
        assert_null(strstr(sb_text(&b), "--rm"));
        sb_done(&b);
}

static void distances(void **state)
{
        static const char *const words[] = {"build", "push", NULL, "pull"};
        char huge[200];

        (void)state;
        memset(huge, 'a', sizeof(huge) - 1);
        huge[sizeof(huge) - 1] = '\0';
        assert_int_equal(edit_distance("", ""), 0);
        assert_int_equal(edit_distance("abc", ""), 3);
        assert_int_equal(edit_distance("kitten", "sitting"), 3);
        assert_true(edit_distance(huge, "a") > 1000);
        assert_string_equal(near_match("buld", words, 4, 3), "build");
        assert_string_equal(near_match("puss", words, 4, 3), "push");
        assert_null(near_match("build", words, 1, 3)); /* itself is no suggestion */
        assert_null(near_match("xyzzy", words, 4, 3));
}

static void csv(void **state)
{
        static const struct {
                const char *in;
                int r;
                const char *want;
        } rows[] = {
                {"a", 0, "a|"},
                {"a,b", 0, "a|b|"},
                {"", 0, "|"},
                {"a,", 0, "a||"},
                {"\"a,b\",c", 0, "a,b|c|"},
                {"\"a\"\"b\"", 0, "a\"b|"},
                {"\"\"", 0, "|"},
                {"a\"b", BLD_E_INVALID, ""},
                {"\"a", BLD_E_INVALID, ""},
                {"\"a\"b", BLD_E_INVALID, ""},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct strv out = {0};
                struct sb got = SB_INIT(1000);

                print_message("%s\n", rows[i].in);
                assert_int_equal(csv_split(rows[i].in, &out, NULL), rows[i].r);
                for (size_t k = 0; k < out.n && rows[i].r == 0; k++)
                        sb_fmt(&got, "%s|", out.v[k]);
                assert_string_equal(sb_text(&got), rows[i].want);
                sb_done(&got);
                strv_done(&out);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(good), cmocka_unit_test(bad),       cmocka_unit_test(notes),
                cmocka_unit_test(help), cmocka_unit_test(distances), cmocka_unit_test(csv),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
