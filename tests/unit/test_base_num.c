/* Numbers, sizes, durations and times as text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/num.h"

static void integers(void **state)
{
        static const struct {
                const char *in;
                uint64_t min, max;
                bool ok;
                uint64_t want;
        } rows[] = {
                {"0", 0, 10, true, 0},
                {"007", 0, 10, true, 7},
                {"10", 0, 10, true, 10},
                {"11", 0, 10, false, 0},
                {"1", 2, 10, false, 0},
                {"", 0, 10, false, 0},
                {"-1", 0, 10, false, 0},
                {"+1", 0, 10, false, 0},
                {" 1", 0, 10, false, 0},
                {"1 ", 0, 10, false, 0},
                {"0x1", 0, 10, false, 0},
                {"18446744073709551615", 0, UINT64_MAX, true, UINT64_MAX},
                {"18446744073709551616", 0, UINT64_MAX, false, 0},
                {"99999999999999999999999", 0, UINT64_MAX, false, 0},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                uint64_t v = 12345;

                print_message("\"%s\"\n", rows[i].in);
                assert_int_equal(parse_u64(rows[i].in, rows[i].min, rows[i].max, &v), rows[i].ok);
                assert_int_equal(v, rows[i].ok ? rows[i].want : 12345);
        }
}

static void signed_integers(void **state)
{
        static const struct {
                const char *in;
                bool ok;
                int64_t want;
        } rows[] = {
                {"-5", true, -5},
                {"+5", true, 5},
                {"-0", true, 0},
                {"--5", false, 0},
                {"-", false, 0},
                {"", false, 0},
                {"9223372036854775807", true, INT64_MAX},
                {"9223372036854775808", false, 0},
        };
        int64_t v;

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                print_message("\"%s\"\n", rows[i].in);
                assert_int_equal(parse_i64(rows[i].in, INT64_MIN, INT64_MAX, &v), rows[i].ok);
                if (rows[i].ok)
                        assert_int_equal(v, rows[i].want);
        }
        assert_false(parse_i64("-3", -2, 2, &v));
}

static void octal(void **state)
{
        unsigned v = 0;

        (void)state;
        assert_true(parse_octal("0755", 07777, &v));
        assert_int_equal(v, 0755);
        assert_true(parse_octal("7777", 07777, &v));
        assert_false(parse_octal("10000", 07777, &v));
        assert_false(parse_octal("8", 07777, &v));
        assert_false(parse_octal("", 07777, &v));
        assert_false(parse_octal("777777777777777777", 07777, &v));
}

static void sizes(void **state)
{
        static const struct {
                const char *in;
                bool ok;
                uint64_t want;
        } rows[] = {
                {"10", true, 10},
                {"10b", true, 10},
                {"10k", true, 10240},
                {"10K", true, 10240},
                {"10kb", true, 10240},
                {"10KiB", true, 10240},
                {"1.5g", true, 1610612736},
                {"64 MiB", true, 64u << 20},
                {"2t", true, 2ULL << 40},
                {"1p", true, 1ULL << 50},
                {".5k", true, 512},
                {"", false, 0},
                {"k", false, 0},
                {".", false, 0},
                {"-1k", false, 0},
                {"1kk", false, 0},
                {"1x", false, 0},
                {"1k ", false, 0},
                {"99999999999p", false, 0},
        };
        uint64_t v;

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                print_message("\"%s\"\n", rows[i].in);
                assert_int_equal(parse_size(rows[i].in, &v), rows[i].ok);
                if (rows[i].ok)
                        assert_int_equal(v, rows[i].want);
        }
}

static void booleans(void **state)
{
        static const char *const yes[] = {"1", "t", "T", "true", "TRUE", "True"};
        static const char *const no[] = {"0", "f", "F", "false", "FALSE", "False"};
        static const char *const bad[] = {"", "yes", "tRUE", "on", "2", "true "};
        bool v;

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
                v = false;
                assert_true(parse_go_bool(yes[i], &v) && v);
                v = true;
                assert_true(parse_go_bool(no[i], &v) && !v);
                assert_false(parse_go_bool(bad[i], &v));
        }
}

static void durations(void **state)
{
        static const struct {
                const char *in;
                bool go;
                bool ok;
                int64_t ns;
        } rows[] = {
                {"1h30m", true, true, 5400000000000},
                {"500ms", true, true, 500000000},
                {"1.5s", true, true, 1500000000},
                {"2us", true, true, 2000},
                {"2\xc2\xb5s", true, true, 2000},
                {"0", true, true, 0},
                {"-1s", true, true, -1000000000},
                {"+1s", true, true, 1000000000},
                {"90", true, false, 0},
                {"90", false, true, 90000000000},
                {"2d", true, false, 0},
                {"2d", false, true, 172800000000000},
                {"1w", false, true, 604800000000000},
                {"", true, false, 0},
                {"s", true, false, 0},
                {"1", true, false, 0},
                {"1 s", true, false, 0},
                {"1s2", true, false, 0},
                {".s", true, false, 0},
                {"9999999999h", true, false, 0},
                {"99999999999999999999", false, false, 0},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                int64_t v = 0;

                print_message("\"%s\"\n", rows[i].in);
                assert_int_equal(rows[i].go ? parse_go_duration(rows[i].in, &v)
                                            : parse_duration(rows[i].in, &v),
                                 rows[i].ok);
                if (rows[i].ok)
                        assert_int_equal(v, rows[i].ns);
        }
}

static void formats(void **state)
{
        static const struct {
                int64_t ns;
                const char *want;
        } spans[] = {
                {0, "0s"},
                {1, "1ns"},
                {1500, "1.5\xc2\xb5s"},
                {30000000000, "30s"},
                {90000000000, "1m30s"},
                {3723500000000, "1h2m3.5s"},
                {3600000000000, "1h0m0s"},
                {-1500000000, "-1.5s"},
                {INT64_MIN, "-2562047h47m16.854775808s"},
        };
        static const struct {
                uint64_t bytes;
                const char *want;
        } amounts[] = {
                {0, "0 B"},
                {999, "999 B"},
                {1000, "1.0 kB"},
                {31200000, "31.2 MB"},
                {999949, "999.9 kB"},
                {999999, "1.0 MB"},
                {UINT64_MAX, "18.4 EB"},
        };
        static const struct {
                int64_t ms;
                const char *want;
        } elapsed[] = {
                {0, "0.0s"},       {9849, "9.8s"},      {99999, "99.9s"},
                {125000, "2m05s"}, {3599999, "59m59s"}, {3725000, "1h02m"},
        };
        char out[32];

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(spans); i++) {
                format_go_duration(spans[i].ns, out);
                assert_string_equal(out, spans[i].want);
        }
        for (size_t i = 0; i < ARRAY_LEN(amounts); i++) {
                format_size(amounts[i].bytes, out);
                assert_string_equal(out, amounts[i].want);
        }
        for (size_t i = 0; i < ARRAY_LEN(elapsed); i++) {
                format_elapsed(elapsed[i].ms, out);
                assert_string_equal(out, elapsed[i].want);
        }
}

/* Any time a file system or a config can hold, without overflow. */
static void nanoseconds(void **state)
{
        static const struct {
                const char *name;
                int64_t sec, nsec, want;
        } rows[] = {
                {"epoch", 0, 0, 0},
                {"before it", -1, 500000000, -500000000},
                {"last whole second", 9223372036, 0, 9223372036000000000},
                {"last", 9223372036, 854775807, INT64_MAX},
                {"one more", 9223372036, 854775808, INT64_MAX},
                {"year 2300", 10413792000, 0, INT64_MAX},
                {"end of time", INT64_MAX, 999999999, INT64_MAX},
                {"first", -9223372036, 0, -9223372036000000000},
                {"too early", -9223372037, 999999999, -9223372036000000000},
                {"beginning of time", INT64_MIN, 0, -9223372036000000000},
        };

        (void)state;
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                print_message("  %s\n", rows[i].name);
                assert_int_equal(time_ns(rows[i].sec, rows[i].nsec), rows[i].want);
        }
}

static void times(void **state)
{
        static const struct {
                const char *in;
                bool ok;
                int64_t sec, nsec;
        } rows[] = {
                {"1970-01-01T00:00:00Z", true, 0, 0},
                {"2026-11-22T01:10:03.101Z", true, 1795309803, 101000000},
                {"2026-11-22T02:10:03+01:00", true, 1795309803, 0},
                {"2026-11-21T20:10:03-05:00", true, 1795309803, 0},
                {"2026-11-22T01:10:03.123456789Z", true, 1795309803, 123456789},
                {"1969-12-31T23:59:59Z", true, -1, 0},
                {"2026-11-22", false, 0, 0},
                {"2026-11-22T01:10:03", false, 0, 0},
                {"2026-13-22T01:10:03Z", false, 0, 0},
                {"2026-11-22T25:10:03Z", false, 0, 0},
                {"2026-11-22T01:10:03Zx", false, 0, 0},
                {"2026-11-22T01:10:03+1:00", false, 0, 0},
                {"", false, 0, 0},
        };
        char out[RFC3339_MAX];
        int64_t sec, nsec;

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                print_message("\"%s\"\n", rows[i].in);
                assert_int_equal(parse_rfc3339(rows[i].in, &sec, &nsec), rows[i].ok);
                if (!rows[i].ok)
                        continue;
                assert_int_equal(sec, rows[i].sec);
                assert_int_equal(nsec, rows[i].nsec);
        }
        format_rfc3339(1795309803, 0, out);
        assert_string_equal(out, "2026-11-22T01:10:03Z");
        format_rfc3339(1795309803, 101000000, out);
        assert_string_equal(out, "2026-11-22T01:10:03.101Z");
        format_rfc3339(-1, 0, out);
        assert_string_equal(out, "1969-12-31T23:59:59Z");
        format_rfc3339(INT64_MAX, 0, out); /* no such year: the epoch, not garbage */
        assert_string_equal(out, "1970-01-01T00:00:00Z");
        assert_true(time_now_ns() > 0 && time_mono_ns() > 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(integers),    cmocka_unit_test(signed_integers),
                cmocka_unit_test(octal),       cmocka_unit_test(sizes),
                cmocka_unit_test(booleans),    cmocka_unit_test(durations),
                cmocka_unit_test(formats),     cmocka_unit_test(times),
                cmocka_unit_test(nanoseconds),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
