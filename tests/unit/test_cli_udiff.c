/* Unified differences: their form, and that they lead from one text to the other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cli/udiff.h"

static const char *diffed(struct sb *out, const struct sb *a, const struct sb *b, size_t context)
{
        sb_reset(out);
        assert_int_equal(udiff(sb_text(a), a->len, sb_text(b), b->len, context, out, NULL), 0);
        return sb_text(out);
}

static void form(void **state)
{
        static const struct {
                const char *name, *a, *b;
                size_t context;
                const char *want;
        } rows[] = {
                {"equal", "a\nb\n", "a\nb\n", 3, ""},
                {"both empty", "", "", 3, ""},
                {"from nothing", "", "a\n", 3, "@@ -0,0 +1 @@\n+a\n"},
                {"to nothing", "a\nb\n", "", 3, "@@ -1,2 +0,0 @@\n-a\n-b\n"},
                {"one line", "a\n", "b\n", 3, "@@ -1 +1 @@\n-a\n+b\n"},
                {"context", "1\n2\n3\n4\n5\n", "1\n2\nx\n4\n5\n", 1,
                 "@@ -2,3 +2,3 @@\n 2\n-3\n+x\n 4\n"},
                {"no context", "1\n2\n3\n", "1\n3\n", 0, "@@ -2 +1,0 @@\n-2\n"},
                {"two hunks", "1\n2\n3\n4\n5\n6\n7\n", "x\n2\n3\n4\n5\n6\ny\n", 1,
                 "@@ -1,2 +1,2 @@\n-1\n+x\n 2\n@@ -6,2 +6,2 @@\n 6\n-7\n+y\n"},
                {"hunks that touch are one", "1\n2\n3\n4\n", "x\n2\n3\ny\n", 1,
                 "@@ -1,4 +1,4 @@\n-1\n+x\n 2\n 3\n-4\n+y\n"},
                {"newline lost", "a\nb\n", "a\nb", 3,
                 "@@ -1,2 +1,2 @@\n a\n-b\n+b\n\\ No newline at end of file\n"},
                {"neither ends", "a\nb", "x\nb", 3,
                 "@@ -1,2 +1,2 @@\n-a\n+x\n b\n\\ No newline at end of file\n"},
                {"additions slide down", "f()\n{\n}\n", "f()\n{\n}\n\ng()\n{\n}\n", 3,
                 "@@ -1,3 +1,7 @@\n f()\n {\n }\n+\n+g()\n+{\n+}\n"},
                {"carriage returns are content", "a\r\n", "a\n", 3, "@@ -1 +1 @@\n-a\r\n+a\n"},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                AUTO_SB struct sb a = SB_INIT(4096), b = SB_INIT(4096), out = SB_INIT(65536);

                print_message("%s\n", rows[i].name);
                sb_str(&a, rows[i].a);
                sb_str(&b, rows[i].b);
                assert_string_equal(diffed(&out, &a, &b, rows[i].context), rows[i].want);
        }
}

/* ---- round trips ---- */

static size_t next(const char *p, size_t n)
{
        const char *nl = n ? memchr(p, '\n', n) : NULL;

        return nl ? (size_t)(nl - p) + 1 : n;
}

static void copy_line(const char **p, size_t *n, struct sb *out)
{
        size_t len = next(*p, *n);

        assert_true(len > 0);
        sb_add(out, *p, len);
        *p += len;
        *n -= len;
}

/* What a strict patch(1) makes of a; counts the lines that differ. */
static void apply(const struct sb *a, const struct sb *diff, struct sb *out, size_t *ret_edits)
{
        const char *p = sb_text(a), *d = sb_text(diff);
        size_t n = a->len, at = 0, left = diff->len;

        *ret_edits = 0;
        while (left) {
                unsigned long from, len = 1, to, tolen = 1;
                char *end;

                assert_memory_equal(d, "@@ -", 4);
                from = strtoul(d + 4, &end, 10);
                if (*end == ',')
                        len = strtoul(end + 1, &end, 10);
                assert_memory_equal(end, " +", 2);
                to = strtoul(end + 2, &end, 10);
                if (*end == ',')
                        tolen = strtoul(end + 1, &end, 10);
                assert_memory_equal(end, " @@\n", 4);
                (void)to;
                left -= (size_t)(end + 4 - d);
                d = end + 4;
                from -= len > 0;
                assert_true(from >= at);
                for (; at < from; at++)
                        copy_line(&p, &n, out);
                while (left && *d != '@') {
                        size_t k = next(d, left), text = k - 1;

                        if (left > k && d[k] == '\\')
                                text--; /* its newline is not the text's */
                        if (*d == '+') {
                                sb_add(out, d + 1, text);
                                tolen--;
                        } else if (*d == ' ' || *d == '-') {
                                assert_int_equal(next(p, n), text);
                                assert_memory_equal(p, d + 1, text);
                                if (*d == ' ') {
                                        sb_add(out, p, text);
                                        tolen--;
                                }
                                p += text;
                                n -= text;
                                at++;
                                len--;
                        }
                        *ret_edits += *d == '+' || *d == '-';
                        d += k;
                        left -= k;
                }
                assert_int_equal(len, 0);
                assert_int_equal(tolen, 0);
        }
        sb_add(out, p, n);
}

static uint32_t seed = 1;

static uint32_t random_below(uint32_t n)
{
        seed = seed * 1664525 + 1013904223;
        return (seed >> 8) % n;
}

static void random_text(struct sb *out, size_t lines, uint32_t letters)
{
        sb_reset(out);
        for (size_t i = 0; i < lines; i++)
                sb_fmt(out, "%u\n", random_below(letters));
        if (lines && random_below(4) == 0)
                sb_cut(out, out->len - 1);
}

static void random_edit(const struct sb *a, struct sb *out, uint32_t letters, uint32_t often)
{
        const char *p = sb_text(a);
        size_t n = a->len;

        sb_reset(out);
        while (n) {
                uint32_t dice = random_below(often);
                size_t len = next(p, n);

                if (dice == 0)
                        sb_fmt(out, "%u\n", random_below(letters));
                if (dice != 1)
                        sb_add(out, p, len);
                p += len;
                n -= len;
        }
}

static size_t split_lines(const struct sb *b, const char **v, size_t *lens)
{
        const char *p = sb_text(b);
        size_t n = b->len, count = 0;

        for (; n; count++) {
                v[count] = p;
                lens[count] = next(p, n);
                p += lens[count];
                n -= lens[count];
        }
        return count;
}

/* By the textbook's table. */
static size_t least_edits(const struct sb *a, const struct sb *b)
{
        static size_t t[64][64];
        const char *va[64], *vb[64];
        size_t la[64], lb[64], na = split_lines(a, va, la), nb = split_lines(b, vb, lb);

        for (size_t i = 0; i <= na; i++)
                for (size_t j = 0; j <= nb; j++)
                        if (!i || !j)
                                t[i][j] = i + j;
                        else if (la[i - 1] == lb[j - 1] &&
                                 memcmp(va[i - 1], vb[j - 1], la[i - 1]) == 0)
                                t[i][j] = t[i - 1][j - 1];
                        else
                                t[i][j] = 1 + MIN(t[i - 1][j], t[i][j - 1]);
        return t[na][nb];
}

static void leads_there_shortest(void **state)
{
        AUTO_SB struct sb a = SB_INIT(1u << 20), b = SB_INIT(1u << 20), out = SB_INIT(1u << 22),
                          got = SB_INIT(1u << 20);

        (void)state;
        for (int round = 0; round < 20000; round++) {
                size_t edits;

                random_text(&a, random_below(24), 1 + random_below(8));
                if (round % 2)
                        random_text(&b, random_below(24), 1 + random_below(8));
                else
                        random_edit(&a, &b, 5, 6);
                (void)diffed(&out, &a, &b, random_below(4));
                sb_reset(&got);
                apply(&a, &out, &got, &edits);
                assert_int_equal(got.len, b.len);
                assert_memory_equal(sb_text(&got), sb_text(&b), b.len);
                assert_int_equal(edits, least_edits(&a, &b));
        }
}

/* Far more edits than are looked through. */
static void leads_there_in_large(void **state)
{
        static const struct {
                const char *name;
                size_t lines;
                uint32_t letters, often;
        } rows[] = {
                {"nothing in common but the letters", 40000, 30, 0},
                {"few letters", 20000, 2, 0},
                {"edited all over", 40000, 1000, 5},
                {"edited here and there", 40000, 100000, 500},
                {"one letter", 30000, 1, 3},
        };
        AUTO_SB struct sb a = SB_INIT(1u << 24), b = SB_INIT(1u << 24), out = SB_INIT(1u << 26),
                          got = SB_INIT(1u << 24);

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                size_t edits;

                print_message("%s\n", rows[i].name);
                random_text(&a, rows[i].lines, rows[i].letters);
                if (rows[i].often)
                        random_edit(&a, &b, rows[i].letters, rows[i].often);
                else
                        random_text(&b, rows[i].lines, rows[i].letters);
                (void)diffed(&out, &a, &b, 3);
                sb_reset(&got);
                apply(&a, &out, &got, &edits);
                assert_int_equal(got.len, b.len);
                assert_memory_equal(sb_text(&got), sb_text(&b), b.len);
        }
}

static void full(void **state)
{
        AUTO_SB struct sb out = SB_INIT(8);

        (void)state;
        assert_int_equal(udiff("a\n", 2, "b\n", 2, 3, &out, NULL), BLD_E_LIMIT);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(form),
                cmocka_unit_test(leads_there_shortest),
                cmocka_unit_test(leads_there_in_large),
                cmocka_unit_test(full),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
