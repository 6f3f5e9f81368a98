/* Where a failure stands: the line that is shown, and how much of a long one. */
#include "tests/unit/builder_fixture.h"

#include "builder/solve/place_priv.h"

static void lines(void **state)
{
        static const struct {
                const char *text;
                unsigned line, col;
                const char *want;
        } rows[] = {
                {"a\nb\nc", 2, 1, "b"},
                {"a\r\nb\r\n", 2, 0, "b"},
                {"a\n", 3, 1, ""},
                {"\xef\xbb\xbf"
                 "a\nb",
                 1, 1, "a"},
                {"a\n\nc", 2, 1, ""},
                {"", 1, 1, ""},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct source src = {.dockerfile_name = (char[]){"D"}, .text = SB_INIT(1000)};
                struct bld_place p = {.line = 0};

                sb_str(&src.text, rows[i].text);
                place_at(&p, &src, &(struct df_pos){.line = rows[i].line, .col = rows[i].col});
                assert_string_equal(p.source, rows[i].want);
                assert_string_equal(p.file, "D");
                assert_int_equal(p.line, rows[i].line);
                place_at(&p, &src, &(struct df_pos){.line = 9}); /* the first place counts */
                assert_int_equal(p.line, rows[i].line);
                sb_done(&src.text);
        }
}

/* The column is in what is shown, no character is cut in two, dots stand where the end is missing.
 */
static void long_lines(void **state)
{
        static const unsigned cols[] = {0, 1, 100, 101, 512, 2000, 2001, 3600, 3999, 4000, 9999};
        struct source src = {.dockerfile_name = (char[]){"D"}, .text = SB_INIT(1u << 16)};
        char line[4001];

        (void)state;
        for (size_t i = 0; i + 1 < sizeof(line); i += 2)
                memcpy(line + i, "\xc3\xa9", 2);
        line[4000] = '\0';
        sb_fmt(&src.text, "first\n%s\nlast\n", line);
        for (size_t i = 0; i < ARRAY_LEN(cols); i++) {
                struct bld_place p = {.line = 0};
                size_t n;

                print_message("column %u\n", cols[i]);
                place_at(&p, &src, &(struct df_pos){.line = 2, .col = cols[i]});
                n = strlen(p.source);
                assert_true(n > 400 && n < sizeof(p.source));
                if (p.source_from + n < 4000) {
                        assert_string_equal(p.source + n - 3, "...");
                        n -= 3;
                }
                assert_int_equal(p.source_from % 2, 0);
                assert_int_equal(n % 2, 0);
                assert_memory_equal(p.source, line + p.source_from, n);
                if (cols[i] && cols[i] <= 4000)
                        assert_true(cols[i] - 1 >= p.source_from &&
                                    cols[i] - 1 < p.source_from + n);
        }
        sb_done(&src.text);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(lines),
                cmocka_unit_test(long_lines),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
