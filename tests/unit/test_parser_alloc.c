/* Every allocation fails once: the answer is NOMEM, nothing leaks, nothing is half set. And what is
 * asked for altogether stays within a multiple of the input, whatever the input. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "alloc_seam.h"
#include "parser/expand.h"
#include "parser/ignore.h"
#include "parser/parser.h"

static const char every[] = "# syntax=docker/dockerfile:1 x\n"
                            "# check=skip=all\n"
                            "# doc\n"
                            "ARG A=1 B\n"
                            "FROM --platform=$A x AS Y\n"
                            "RUN <<EOF <<-'X y'\n\ta\nEOF\n\tb\n\tX y\n"
                            "COPY --exclude=a --exclude=\"b c\" <<A \\\n\n b /c\nq$A\nA\n"
                            "ENV a b c\n"
                            "LABEL a=b c=\"d e\"\n"
                            "CMD [\"a\",\"\\u00e9\"]\n"
                            "ONBUILD COPY <<Z /x\nzz\nZ\n"
                            "HEALTHCHECK --retries=3 CMD x\n"
                            "VOLUME [\"a\"]\n"
                            "EXPOSE 1 2\n";

static int use_tree(const struct df_file *f, struct bld_err *err)
{
        const struct df_heredoc *h = NULL;
        const struct df_env env = {0};
        struct sb out = SB_INIT(1 << 20);
        struct df_file *trigger = NULL;
        char *body = NULL;
        size_t n = 0;
        int r;

        r = df_check(f, NULL, err);
        if (r == 0)
                r = df_dump(f, &out, err);
        if (r == 0)
                r = df_dump_heredocs(f, &out, err);
        if (r == 0)
                r = df_heredoc_find(&f->v[3], "<<A", &h, err);
        if (r == 1)
                r = df_expand_heredoc(h, &env, &body, &n, err);
        if (r == 0)
                r = df_parse_trigger(f->v[7].trigger, strlen(f->v[7].trigger), '\\', &trigger, err);
        df_free(trigger);
        free(body);
        sb_done(&out);
        return r;
}

static int run_tree(struct bld_err *err)
{
        struct df_file *f = NULL;
        int r = df_parse(every, sizeof(every) - 1, &f, NULL, err);

        if (r == 0)
                r = use_tree(f, err);
        else
                assert_null(f);
        df_free(f);
        return r;
}

static int run_expand(struct bld_err *err)
{
        char a[] = "A=x y/z", *vars[] = {a};
        struct strv v = {.v = vars, .n = 1}, words = {0};
        const struct df_env env = {.get = df_env_strv, .user = &v};
        char *out = NULL;
        int r;

        r = df_expand_word("a${A#x*}b\"$A\"${B:-${A//y/q}}", '\\', &env, &out, err);
        if (r == 0)
                r = df_expand_words("a $A ${A%z} 'b c'", '\\', &env, &words, err);
        free(out);
        strv_done(&words);
        return r;
}

static int run_ignore(struct bld_err *err)
{
        static const char lines[] = "# a\n*.x\n!**/y\nq/**\n";
        struct ignore *ig = NULL, *one = NULL;
        int r;

        r = ignore_parse(lines, sizeof(lines) - 1, "f", &ig, err);
        if (r == 0)
                r = ignore_from_pattern("a/*", &one, err);
        ignore_free(one);
        ignore_free(ig);
        return r;
}

static void test_tree(void **state)
{
        (void)state;
        fail_each(run_tree);
}

static void test_expand(void **state)
{
        (void)state;
        fail_each(run_expand);
}

static void test_ignore(void **state)
{
        (void)state;
        fail_each(run_ignore);
}

/* ---- bounds ---- */

#define TIMES 100               /* a tree's nodes are larger than the lines they come from */
#define BASE ((size_t)64 << 20) /* for values that are large, and copied at each reference */

static void dockerfile(const char *text, size_t n)
{
        struct df_file *f = NULL;

        if (df_parse(text, n, &f, NULL, NULL) == 0)
                (void)!df_check(f, NULL, NULL);
        df_free(f);
}

static void ignore_file(const char *text, size_t n)
{
        struct ignore *ig = NULL;

        if (ignore_parse(text, n, "f", &ig, NULL) == 0)
                (void)ignore_match(ig, "a/b/c/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", NULL);
        ignore_free(ig);
}

static void word(const char *text, size_t n)
{
        static char a[300007];
        char *vars[] = {a};
        struct strv v = {.v = vars, .n = 1}, words = {0};
        const struct df_env env = {.get = df_env_strv, .user = &v};
        char *out = NULL;

        (void)n;
        memset(a, 'a', sizeof(a) - 1);
        memcpy(a, "A=", 2);
        if (df_expand_word(text, '\\', &env, &out, NULL) == 0)
                free(out);
        (void)!df_expand_words(text, '\\', &env, &words, NULL);
        strv_done(&words);
}

static void bounds(void **state)
{
        static const struct {
                const char *name, *head, *again, *tail;
                size_t n;
                void (*run)(const char *text, size_t n);
        } rows[] = {
                {"heredocs in one line", "RUN ", "<<A ", "\n", 20000, dockerfile},
                {"heredoc words that are none", "RUN ", "<<<", "\n", 100000, dockerfile},
                {"heredocs that open heredocs", "", "RUN <<A\n<<A\nA\n", "", 20000, dockerfile},
                {"a long body", "RUN <<A\n", "\t\tx\n", "A\n", 200000, dockerfile},
                {"a body without an end", "COPY <<A /\n", "A \n", "", 200000, dockerfile},
                {"quotes that do not close", "RUN <<", "'\"", "\n", 200000, dockerfile},
                {"JSON of many", "CMD [\"a\"", ",\"\"", "]\n", 200000, dockerfile},
                {"JSON of escapes", "CMD [\"", "\\ud83d", "\"]\n", 100000, dockerfile},
                {"deep JSON", "CMD ", "[", "\n", 500000, dockerfile},
                {"deep objects", "CMD [", "{\"a\":", "\n", 100000, dockerfile},
                {"JSON without an end", "CMD [", "\"a\",", "\n", 100000, dockerfile},
                {"continued lines", "RUN a", "\\\n", "\n", 300000, dockerfile},
                {"pairs", "ENV", " a=b", "\n", 200000, dockerfile},
                {"flags", "RUN", " --mount=a", "\n", 100000, dockerfile},
                {"triggers in triggers", "", "ONBUILD ", "RUN a\n", 100000, dockerfile},
                {"stars", "", "*", "\n", 200000, ignore_file},
                {"double stars", "", "**/", "\n", 100000, ignore_file},
                {"classes", "", "[a-z]", "\n", 100000, ignore_file},
                {"patterns", "", "!**/*a?[b]\n", "", 100000, ignore_file},
                {"references", "", "$A", "", 100000, word},
                {"nested defaults", "", "${B:-", "x", 100000, word},
                {"defaults in a row", "", "${B:-${C:-${D:-x}}}", "", 20000, word},
                {"replaced by more", "", "${A//a/bbbbbbbb}", "", 100, word},
                {"replaced by itself", "${A//a/", "$A", "}", 100, word},
                {"cut in every way", "", "${A##*a}${A%a*}${A%%?}", "", 5, word},
                {"stars on a long value", "${A/", "*a", "b/c}", 30, word},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct sb b = SB_INIT((size_t)16 << 20);

                print_message("%s\n", rows[i].name);
                sb_str(&b, rows[i].head);
                for (size_t k = 0; k < rows[i].n; k++)
                        sb_str(&b, rows[i].again);
                sb_str(&b, rows[i].tail);
                assert_false(b.failed);
                asked = 0;
                rows[i].run(sb_text(&b), b.len);
                if (asked > TIMES * b.len + BASE)
                        fail_msg("%zu bytes asked for, for %zu", asked, b.len);
                sb_done(&b);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_tree),
                cmocka_unit_test(test_expand),
                cmocka_unit_test(test_ignore),
                cmocka_unit_test(bounds),
        };

        return cmocka_run_group_tests_name("parser_alloc", tests, NULL, NULL);
}
