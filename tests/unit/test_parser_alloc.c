/* Every allocation fails once: the answer is NOMEM, nothing leaks, nothing is half set. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* The allocation seam under other names, behind which this program puts its own: the linker then
 * has no need for the original. */
#define mem_alloc real_mem_alloc
#define mem_zalloc real_mem_zalloc
#define mem_realloc real_mem_realloc
#define mem_strdup real_mem_strdup
#define mem_strndup real_mem_strndup
#define mem_dup real_mem_dup
#include "base/mem.c"
#undef mem_alloc
#undef mem_zalloc
#undef mem_realloc
#undef mem_strdup
#undef mem_strndup
#undef mem_dup

void *mem_alloc(size_t size);
void *mem_zalloc(size_t n, size_t size);
void *mem_realloc(void *p, size_t size);
char *mem_strdup(const char *s);
char *mem_strndup(const char *s, size_t n);
void *mem_dup(const void *p, size_t n);

#include "base/err.h"
#include "parser/expand.h"
#include "parser/ignore.h"
#include "parser/parser.h"

static long left = -1; /* calls until one fails; negative: never */
static bool failed;

static bool fails(void)
{
        if (left < 0 || left-- > 0)
                return false;
        failed = true;
        return true;
}

void *mem_alloc(size_t size)
{
        return fails() ? NULL : real_mem_alloc(size);
}

void *mem_zalloc(size_t n, size_t size)
{
        return fails() ? NULL : real_mem_zalloc(n, size);
}

void *mem_realloc(void *p, size_t size)
{
        return fails() ? NULL : real_mem_realloc(p, size);
}

char *mem_strdup(const char *s)
{
        return fails() ? NULL : real_mem_strdup(s);
}

char *mem_strndup(const char *s, size_t n)
{
        return fails() ? NULL : real_mem_strndup(s, n);
}

void *mem_dup(const void *p, size_t n)
{
        return fails() ? NULL : real_mem_dup(p, n);
}

static const char text[] = "# syntax=docker/dockerfile:1 x\n"
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
        int r = df_parse(text, sizeof(text) - 1, &f, NULL, err);

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
        struct ignore *ig = NULL;
        bool hit;
        int r;

        r = ignore_parse(lines, sizeof(lines) - 1, "f", &ig, err);
        if (r == 0)
                r = ignore_pattern_hits("a/*", "a/b", &hit, err);
        ignore_free(ig);
        return r;
}

static void fail_each(int (*run)(struct bld_err *))
{
        for (long n = 0;; n++) {
                struct bld_err err = BLD_ERR_INIT;
                int r;

                failed = false;
                left = n;
                r = run(&err);
                left = -1;
                if (!failed) {
                        assert_int_equal(r, 0);
                        assert_true(n > 10);
                        return;
                }
                if (r != BLD_E_NOMEM)
                        fail_msg("allocation %ld: %d %s", n, r, err.msg);
        }
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

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_tree),
                cmocka_unit_test(test_expand),
                cmocka_unit_test(test_ignore),
        };

        return cmocka_run_group_tests_name("parser_alloc", tests, NULL, NULL);
}
