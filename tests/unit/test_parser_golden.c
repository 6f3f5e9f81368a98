/* testdata/parser: NAME.in prints as NAME.want; everything in bad/ is refused with the code its
 * name begins with. UPDATE_GOLDEN=1 rewrites the .want files. */
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/sb.h"
#include "parser/parser.h"

#define FOLDER "testdata/parser"

static void read_all(const char *path, struct sb *out)
{
        FILE *f = fopen(path, "rb");
        char buf[4096];
        size_t n;

        if (!f)
                fail_msg("cannot open %s (tests run in the root of the checkout)", path);
        while ((n = fread(buf, 1, sizeof(buf), f)) > 0)
                sb_add(out, buf, n);
        (void)fclose(f);
}

static void write_all(const char *path, const struct sb *text)
{
        FILE *f = fopen(path, "wb");

        assert_non_null(f);
        assert_int_equal(fwrite(sb_text(text), 1, text->len, f), text->len);
        assert_int_equal(fclose(f), 0);
}

static void print_tree(const char *path, struct sb *out)
{
        struct sb text = SB_INIT(1 << 20);
        struct bld_err err = BLD_ERR_INIT;
        struct df_file *f = NULL;

        read_all(path, &text);
        if (df_parse(sb_text(&text), text.len, &f, NULL, &err) < 0)
                fail_msg("%s: %s", path, err.msg);
        assert_int_equal(df_dump(f, out, NULL), 0);
        assert_int_equal(df_dump_heredocs(f, out, NULL), 0);
        df_free(f);
        sb_done(&text);
}

static void test_good(void **state)
{
        DIR *d = opendir(FOLDER);
        struct dirent *e;
        size_t n = 0;

        (void)state;
        assert_non_null(d);
        while ((e = readdir(d))) {
                struct sb got = SB_INIT(1 << 20), want = SB_INIT(1 << 20);
                char in[512], golden[512];

                if (!str_has_suffix(e->d_name, ".in"))
                        continue;
                print_message("# %s\n", e->d_name);
                (void)snprintf(in, sizeof(in), FOLDER "/%s", e->d_name);
                (void)snprintf(golden, sizeof(golden), FOLDER "/%.*s.want",
                               (int)(strlen(e->d_name) - 3), e->d_name);
                print_tree(in, &got);
                if (getenv("UPDATE_GOLDEN"))
                        write_all(golden, &got);
                read_all(golden, &want);
                assert_string_equal(sb_text(&got), sb_text(&want));
                sb_done(&got);
                sb_done(&want);
                n++;
        }
        (void)closedir(d);
        assert_true(n >= 3);
}

static void test_bad(void **state)
{
        DIR *d = opendir(FOLDER "/bad");
        struct dirent *e;
        size_t n = 0;

        (void)state;
        assert_non_null(d);
        while ((e = readdir(d))) {
                struct sb text = SB_INIT(1 << 20);
                struct bld_err err = BLD_ERR_INIT;
                struct df_file *f = NULL;
                char path[512];
                int want;

                if (e->d_name[0] == '.')
                        continue;
                print_message("# %s\n", e->d_name);
                want = str_has_prefix(e->d_name, "limit-") ? BLD_E_LIMIT : BLD_E_INVALID;
                assert_true(want == BLD_E_LIMIT || str_has_prefix(e->d_name, "invalid-"));
                (void)snprintf(path, sizeof(path), FOLDER "/bad/%s", e->d_name);
                read_all(path, &text);
                assert_int_equal(df_parse(sb_text(&text), text.len, &f, NULL, &err), want);
                assert_true(err.msg[0]);
                assert_null(f);
                sb_done(&text);
                n++;
        }
        (void)closedir(d);
        assert_true(n >= 5);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_good),
                cmocka_unit_test(test_bad),
        };

        return cmocka_run_group_tests_name("parser_golden", tests, NULL, NULL);
}
