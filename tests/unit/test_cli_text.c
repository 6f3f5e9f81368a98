/* Text for terminals: what passes, what is stripped, and how wide it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "cli/text.h"

static const char *cleaned(struct sb *b, const char *s, size_t width, unsigned flags, size_t *used)
{
        sb_reset(b);
        *used = text_add(b, s, strlen(s), width, flags);
        return sb_text(b);
}

static void strips(void **state)
{
        static const struct {
                const char *name, *in;
                unsigned flags;
                const char *want;
                size_t columns;
        } rows[] = {
                {"plain", "abc", 0, "abc", 3},
                {"empty", "", 0, "", 0},
                {"colour passes", "\033[32mok\033[0m", TEXT_SGR, "\033[32mok\033[0m\033[0m", 2},
                {"colour stripped", "\033[32mok\033[0m", 0, "ok", 2},
                {"cursor movement", "a\033[2Ab", TEXT_SGR, "ab", 2},
                {"clear screen", "\033[2J\033[Hx", TEXT_SGR, "x", 1},
                {"title, ended by BEL", "\033]0;evil\007x", TEXT_SGR, "x", 1},
                {"title, ended by ST", "\033]0;evil\033\\x", TEXT_SGR, "x", 1},
                {"title, never ended", "a\033]0;evil", TEXT_SGR, "a", 1},
                {"device control", "\033P1;2qpayload\033\\x", TEXT_SGR, "x", 1},
                {"charset", "\033(0x", TEXT_SGR, "x", 1},
                {"unfinished CSI", "a\033[3", TEXT_SGR, "a", 1},
                {"lone ESC", "a\033", TEXT_SGR, "a", 1},
                {"private m is no colour", "\033[?25mx", TEXT_SGR, "x", 1},
                {"control bytes", "a\001\b\v\177b", 0, "ab", 2},
                {"C1 as UTF-8",
                 "a\xc2\x9b"
                 "31mb",
                 0, "a31mb", 5},
                {"tab", "a\tb", 0, "a       b", 9},
                {"wide", "\xe6\xbc\xa2", 0, "\xe6\xbc\xa2", 2},
                {"combining", "e\xcc\x81x", 0, "e\xcc\x81x", 2},
                {"bidi override",
                 "a\xe2\x80\xae"
                 "b",
                 0, "ab", 2},
                {"bad byte",
                 "a\xff"
                 "b",
                 0,
                 "a\xef\xbf\xbd"
                 "b",
                 3},
                {"cut sequence", "a\xe6\xbc", 0, "a\xef\xbf\xbd\xef\xbf\xbd", 3},
                {"surrogate", "\xed\xa0\x80", 0, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", 3},
                {"overlong", "\xc0\xaf", 0, "\xef\xbf\xbd\xef\xbf\xbd", 2},
                {"ASCII terminal", "a\xc3\xa9z", TEXT_ASCII, "a?z", 3},
        };
        struct sb b = SB_INIT(1 << 16);

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                size_t used;

                print_message("%s\n", rows[i].name);
                assert_string_equal(cleaned(&b, rows[i].in, TEXT_WIDE, rows[i].flags, &used),
                                    rows[i].want);
                assert_int_equal(used, rows[i].columns);
                assert_int_equal(text_width(rows[i].in, strlen(rows[i].in), rows[i].flags),
                                 rows[i].columns);
        }
        sb_done(&b);
}

static void cuts(void **state)
{
        static const struct {
                const char *name, *in;
                size_t width;
                bool middle;
                const char *want;
        } rows[] = {
                {"fits", "abcdef", 6, false, "abcdef"},
                {"end", "abcdef", 4, false, "abcd"},
                {"wide does not fit half", "a\xe6\xbc\xa2", 2, false, "a"},
                {"tab to the edge", "a\tb", 5, false, "a    "},
                {"nothing", "abc", 0, false, ""},
                {"middle fits", "abcdef", 6, true, "abcdef"},
                {"middle", "abcdefghijkl", 7, true, "abcd\xe2\x80\xa6kl"},
                {"middle, tiny", "abcdefghijkl", 2, true, "ab"},
                {"colour is closed", "\033[31mabcdef", 3, false, "\033[31mabc\033[0m"},
        };
        struct sb b = SB_INIT(1 << 16);

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                size_t n = strlen(rows[i].in), used;

                print_message("%s\n", rows[i].name);
                sb_reset(&b);
                used = rows[i].middle ? text_add_middle(&b, rows[i].in, n, rows[i].width, TEXT_SGR)
                                      : text_add(&b, rows[i].in, n, rows[i].width, TEXT_SGR);
                assert_string_equal(sb_text(&b), rows[i].want);
                assert_true(used <= rows[i].width);
        }
        sb_done(&b);
}

/* Whatever the bytes are: the width holds, and no control byte but ESC of a colour comes out. */
static void any_bytes(void **state)
{
        struct sb b = SB_INIT(1 << 16);
        uint32_t seed = 12345;

        (void)state;
        for (int round = 0; round < 20000; round++) {
                char in[48];
                size_t n = (size_t)round % sizeof(in), width = (size_t)round % 17, used;

                for (size_t i = 0; i < n; i++) {
                        seed = seed * 1664525 + 1013904223;
                        in[i] = "\033[]0;m\007\\\t\r\nA\xe6\xbc\xa2\xff\xcc\x81"[seed >> 24 & 15];
                }
                sb_reset(&b);
                used = text_add(&b, in, n, width, TEXT_SGR);
                assert_true(used <= width);
                for (size_t i = 0; i < b.len; i++) {
                        unsigned char c = (unsigned char)b.buf[i];

                        assert_true(c >= 0x20 || (c == 27 && b.buf[i + 1] == '['));
                }
                assert_true(text_width(sb_text(&b), b.len, TEXT_SGR) == used);
        }
        sb_done(&b);
}

static void collect(void *user, const char *line, size_t n)
{
        struct sb *out = user;

        sb_add(out, line, n);
        sb_char(out, '|');
}

static void lines(void **state)
{
        static const struct {
                const char *name;
                const char *chunks[5];
                const char *want;
        } rows[] = {
                {"whole", {"a\nb\n"}, "a|b|"},
                {"split", {"a", "b\nc", "d\n"}, "ab|cd|"},
                {"left over", {"a\nrest"}, "a|rest|"},
                {"empty lines", {"\n\n"}, "||"},
                {"CRLF", {"a\r\nb\r\n"}, "a|b|"},
                {"CRLF, split", {"a\r", "\nb\r", "\n"}, "a|b|"},
                {"progress bar", {"10%\r50%\r100%\n"}, "100%|"},
                {"progress bar, split", {"10%\r", "50%\r", "99%", "\r100%\n"}, "100%|"},
                {"progress bar, unfinished", {"10%\r", "50%\r"}, "50%|"},
        };
        struct sb out = SB_INIT(1 << 20);

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct line_buf l;

                print_message("%s\n", rows[i].name);
                sb_reset(&out);
                line_buf_init(&l);
                for (size_t k = 0; k < 5 && rows[i].chunks[k]; k++)
                        line_buf_feed(&l, rows[i].chunks[k], strlen(rows[i].chunks[k]), collect,
                                      &out);
                line_buf_flush(&l, collect, &out);
                line_buf_done(&l);
                assert_string_equal(sb_text(&out), rows[i].want);
        }
        sb_done(&out);
}

static void count_bytes(void *user, const char *line, size_t n)
{
        (void)line;
        *(size_t *)user += n;
}

/* A line without an end must not grow memory, and must not lose bytes. */
static void endless_line(void **state)
{
        struct line_buf l;
        size_t total = 0;
        char chunk[1000];

        (void)state;
        memset(chunk, 'x', sizeof(chunk));
        line_buf_init(&l);
        for (int i = 0; i < 1000; i++)
                line_buf_feed(&l, chunk, sizeof(chunk), count_bytes, &total);
        assert_true(l.part.cap <= 1 << 16);
        line_buf_flush(&l, count_bytes, &total);
        line_buf_done(&l);
        assert_int_equal(total, 1000000);
}

static void encodings(void **state)
{
        static const struct {
                const char *in, *base64, *json;
        } rows[] = {
                {"", "", "\"\""},
                {"f", "Zg==", "\"f\""},
                {"fo", "Zm8=", "\"fo\""},
                {"foo", "Zm9v", "\"foo\""},
                {"a\"\\\n\001", "YSJcCgE=", "\"a\\\"\\\\\\n\\u0001\""},
                {"\xff", "/w==", "\"\xef\xbf\xbd\""},
        };
        struct sb b = SB_INIT(1 << 16);

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                size_t n = strlen(rows[i].in);

                sb_reset(&b);
                text_base64(&b, rows[i].in, n);
                assert_string_equal(sb_text(&b), rows[i].base64);
                sb_reset(&b);
                text_json(&b, rows[i].in, n);
                assert_string_equal(sb_text(&b), rows[i].json);
        }
        sb_done(&b);
}

static void names(void **state)
{
        static const struct {
                const char *name, *in, *shown, *json;
                bool hides;
        } rows[] = {
                {"plain", "usr/bin/a b", "usr/bin/a b", "\"p\":\"usr/bin/a b\"", false},
                {"UTF-8", "\xc3\xa4", "\xc3\xa4", "\"p\":\"\xc3\xa4\"", false},
                {"newline and escape", "a\n\033[2Jb", "\"a\\n\\033[2Jb\"",
                 "\"p\":\"a\\n\\u001b[2Jb\"", true},
                {"newline and tab", "a\n\tb", "\"a\\n\\tb\"", "\"p\":\"a\\n\\u0009b\"", false},
                {"quote", "a\"\\", "\"a\\\"\\\\\"", "\"p\":\"a\\\"\\\\\"", false},
                {"bad byte", "a\377", "\"a\\377\"", "\"p\":\"a\xef\xbf\xbd\",\"pBase64\":\"Yf8=\"",
                 true},
                {"a replacement character is no bad byte", "\xef\xbf\xbd", "\"\\357\\277\\275\"",
                 "\"p\":\"\xef\xbf\xbd\"", true},
                {"zero width", "a\xe2\x80\x8b", "\"a\\342\\200\\213\"", "\"p\":\"a\xe2\x80\x8b\"",
                 true},
                {"bidi override", "a\xe2\x80\xae", "\"a\\342\\200\\256\"",
                 "\"p\":\"a\xe2\x80\xae\"", true},
                {"delete", "\177", "\"\\177\"", "\"p\":\"\177\"", true},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                AUTO_SB struct sb shown = SB_INIT(4096), json = SB_INIT(4096);

                print_message("%s\n", rows[i].name);
                text_name(&shown, rows[i].in, strlen(rows[i].in));
                assert_string_equal(sb_text(&shown), rows[i].shown);
                assert_int_equal(text_hides(rows[i].in, strlen(rows[i].in)), rows[i].hides);
                text_json_name(&json, "p", rows[i].in, strlen(rows[i].in));
                assert_string_equal(sb_text(&json), rows[i].json);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(strips),    cmocka_unit_test(names),
                cmocka_unit_test(cuts),      cmocka_unit_test(any_bytes),
                cmocka_unit_test(lines),     cmocka_unit_test(endless_line),
                cmocka_unit_test(encodings),
        };

        text_init();
        return cmocka_run_group_tests(tests, NULL, NULL);
}
