#include "base/num.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static bool all_digits(const char *s)
{
        return *s && s[strspn(s, "0123456789")] == '\0';
}

bool parse_u64(const char *s, uint64_t min, uint64_t max, uint64_t *ret)
{
        uint64_t v = 0;

        if (!all_digits(s))
                return false;
        for (; *s; s++)
                if (MUL_OVERFLOWS(v, (uint64_t)10, &v) ||
                    ADD_OVERFLOWS(v, (uint64_t)(*s - '0'), &v))
                        return false;
        if (v < min || v > max)
                return false;
        *ret = v;
        return true;
}

bool parse_i64(const char *s, int64_t min, int64_t max, int64_t *ret)
{
        bool neg = *s == '-';
        uint64_t v;
        int64_t i;

        if (!parse_u64(s + (neg || *s == '+'), 0, (uint64_t)INT64_MAX, &v))
                return false;
        i = neg ? -(int64_t)v : (int64_t)v;
        if (i < min || i > max)
                return false;
        *ret = i;
        return true;
}

bool parse_octal(const char *s, unsigned max, unsigned *ret)
{
        unsigned v = 0;

        if (!*s || strlen(s) > 10 || s[strspn(s, "01234567")] != '\0')
                return false;
        for (; *s; s++)
                v = v * 8 + (unsigned)(*s - '0');
        if (v > max)
                return false;
        *ret = v;
        return true;
}

/* Decimal number with an optional fraction, as value * 10^-9. Returns the rest, NULL if none. */
static const char *decimal(const char *s, uint64_t *ret_whole, uint64_t *ret_nano)
{
        uint64_t whole = 0, nano = 0, scale = 100000000;
        const char *start = s;

        for (; *s >= '0' && *s <= '9'; s++)
                if (MUL_OVERFLOWS(whole, (uint64_t)10, &whole) ||
                    ADD_OVERFLOWS(whole, (uint64_t)(*s - '0'), &whole))
                        return NULL;
        if (*s == '.') {
                s++;
                for (; *s >= '0' && *s <= '9'; s++, scale /= 10)
                        nano += (uint64_t)(*s - '0') * scale;
                if (s - start == 1)
                        return NULL;
        }
        if (s == start)
                return NULL;
        *ret_whole = whole;
        *ret_nano = nano;
        return s;
}

/* nano billionths of unit, rounded down; nano < 10^9, so two steps cannot overflow below 2^63. */
static uint64_t nano_part(uint64_t nano, uint64_t unit)
{
        return unit / 1000000000 * nano + unit % 1000000000 * nano / 1000000000;
}

bool parse_size(const char *s, uint64_t *ret)
{
        static const char units[] = "bkmgtp";
        uint64_t whole, nano, factor = 1, v;
        const char *u;

        s = decimal(s, &whole, &nano);
        if (!s)
                return false;
        while (*s == ' ')
                s++;
        if (*s) {
                u = strchr(units, *s | 0x20);
                if (!u || !*u)
                        return false;
                factor = 1ULL << (10 * (u - units));
                s++;
                if (factor > 1 && (*s | 0x20) == 'i')
                        s++;
                if (factor > 1 && (*s | 0x20) == 'b')
                        s++;
                if (*s)
                        return false;
        }
        if (MUL_OVERFLOWS(whole, factor, &v) || ADD_OVERFLOWS(v, nano_part(nano, factor), &v))
                return false;
        *ret = v;
        return true;
}

bool parse_go_bool(const char *s, bool *ret)
{
        static const char *const yes[] = {"1", "t", "T", "TRUE", "true", "True"};
        static const char *const no[] = {"0", "f", "F", "FALSE", "false", "False"};

        for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
                if (strcmp(s, yes[i]) == 0 || strcmp(s, no[i]) == 0) {
                        *ret = strcmp(s, yes[i]) == 0;
                        return true;
                }
        }
        return false;
}

struct unit {
        const char *name;
        uint64_t ns;
};

static bool duration(const char *s, const struct unit *units, size_t nunits, int64_t *ret)
{
        bool neg = *s == '-';
        uint64_t total = 0;

        if (*s == '-' || *s == '+')
                s++;
        if (strcmp(s, "0") == 0) {
                *ret = 0;
                return true;
        }
        if (!*s)
                return false;
        while (*s) {
                uint64_t whole, nano, v;
                size_t best = nunits;

                s = decimal(s, &whole, &nano);
                if (!s)
                        return false;
                for (size_t i = 0; i < nunits; i++)
                        if (str_has_prefix(s, units[i].name) &&
                            (best == nunits || strlen(units[i].name) > strlen(units[best].name)))
                                best = i;
                if (best == nunits)
                        return false;
                s += strlen(units[best].name);
                if (MUL_OVERFLOWS(whole, units[best].ns, &v) || ADD_OVERFLOWS(total, v, &total))
                        return false;
                v = nano_part(nano, units[best].ns);
                if (ADD_OVERFLOWS(total, v, &total) || total > (uint64_t)INT64_MAX)
                        return false;
        }
        *ret = neg ? -(int64_t)total : (int64_t)total;
        return true;
}

#define NS_US 1000ULL
#define NS_MS 1000000ULL
#define NS_S 1000000000ULL

static const struct unit all_units[] = {
        {"ns", 1},           {"us", NS_US},        {"\xc2\xb5s", NS_US}, {"\xce\xbcs", NS_US},
        {"ms", NS_MS},       {"s", NS_S},          {"m", 60 * NS_S},     {"h", 3600 * NS_S},
        {"d", 86400 * NS_S}, {"w", 604800 * NS_S},
};

bool parse_go_duration(const char *s, int64_t *ret_ns)
{
        return duration(s, all_units, ARRAY_LEN(all_units) - 2, ret_ns);
}

bool parse_duration(const char *s, int64_t *ret_ns)
{
        uint64_t secs;

        if (parse_u64(s, 0, (uint64_t)INT64_MAX / NS_S, &secs)) {
                *ret_ns = (int64_t)(secs * NS_S);
                return true;
        }
        return duration(s, all_units, ARRAY_LEN(all_units), ret_ns);
}

/* v / unit with the fraction's trailing zeros dropped. */
static void fraction(uint64_t v, uint64_t unit, const char *name, char *out, size_t size)
{
        uint64_t frac = v % unit;
        int digits = 0;

        for (uint64_t u = unit; u > 1; u /= 10)
                digits++;
        if (frac == 0) {
                (void)snprintf(out, size, "%" PRIu64 "%s", v / unit, name);
                return;
        }
        for (; frac % 10 == 0; frac /= 10)
                digits--;
        (void)snprintf(out, size, "%" PRIu64 ".%0*" PRIu64 "%s", v / unit, digits, frac, name);
}

void format_go_duration(int64_t ns, char out[32])
{
        uint64_t v = ns < 0 ? -(uint64_t)ns : (uint64_t)ns;
        uint64_t h = v / (3600 * NS_S), m = v / (60 * NS_S) % 60;
        size_t n = 0;

        if (v == 0) {
                (void)str_copy(out, 32, "0s");
                return;
        }
        if (ns < 0)
                out[n++] = '-';
        if (v < NS_US)
                fraction(v, 1, "ns", out + n, 32 - n);
        else if (v < NS_MS)
                fraction(v, NS_US, "\xc2\xb5s", out + n, 32 - n);
        else if (v < NS_S)
                fraction(v, NS_MS, "ms", out + n, 32 - n);
        if (v < NS_S)
                return;
        if (h)
                n += (size_t)snprintf(out + n, 32 - n, "%" PRIu64 "h", h);
        if (h || m)
                n += (size_t)snprintf(out + n, 32 - n, "%" PRIu64 "m", m);
        fraction(v % (60 * NS_S), NS_S, "s", out + n, 32 - n);
}

void format_size(uint64_t bytes, char out[24])
{
        static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
        double v = (double)bytes;
        size_t u = 0;

        while (v >= 999.95 && u + 1 < ARRAY_LEN(units)) {
                v /= 1000;
                u++;
        }
        (void)snprintf(out, 24, u == 0 ? "%.0f %s" : "%.1f %s", v, units[u]);
}

void format_elapsed(int64_t ms, char out[24])
{
        if (ms < 100000)
                (void)snprintf(out, 24, "%" PRId64 ".%" PRId64 "s", ms / 1000, ms % 1000 / 100);
        else if (ms < 3600000)
                (void)snprintf(out, 24, "%" PRId64 "m%02" PRId64 "s", ms / 60000, ms / 1000 % 60);
        else
                (void)snprintf(out, 24, "%" PRId64 "h%02" PRId64 "m", ms / 3600000,
                               ms / 60000 % 60);
}

void format_rfc3339(int64_t sec, int64_t nsec, char out[RFC3339_MAX])
{
        time_t t = (time_t)sec;
        struct tm tm;
        char frac[16] = "";

        if (!gmtime_r(&t, &tm) || tm.tm_year > 9999 - 1900 || tm.tm_year < -1900) {
                t = 0;
                (void)gmtime_r(&t, &tm);
        }
        if (nsec > 0 && nsec < 1000000000) {
                size_t n = (size_t)snprintf(frac, sizeof(frac), ".%09" PRId64, nsec);

                while (frac[n - 1] == '0')
                        frac[--n] = '\0';
        }
        (void)snprintf(out, RFC3339_MAX, "%04d-%02d-%02dT%02d:%02d:%02d%sZ", tm.tm_year + 1900,
                       tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, frac);
}

bool parse_rfc3339(const char *s, int64_t *ret_sec, int64_t *ret_nsec)
{
        struct tm tm = {0};
        int n = 0, oh = 0, om = 0;
        int64_t nsec = 0, scale = 100000000, offset = 0;
        char sign;

        if (sscanf(s, "%4d-%2d-%2d%*1[Tt ]%2d:%2d:%2d%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday,
                   &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &n) != 6 ||
            n != 19)
                return false;
        if (tm.tm_mon < 1 || tm.tm_mon > 12 || tm.tm_mday < 1 || tm.tm_mday > 31 ||
            tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 60 || tm.tm_hour < 0 ||
            tm.tm_min < 0 || tm.tm_sec < 0)
                return false;
        s += n;
        if (*s == '.')
                for (s++; *s >= '0' && *s <= '9'; s++, scale /= 10)
                        nsec += (*s - '0') * scale;
        if (*s == 'Z' || *s == 'z') {
                s++;
        } else if (*s == '+' || *s == '-') {
                sign = *s;
                if (sscanf(s + 1, "%2d:%2d%n", &oh, &om, &n) != 2 || n != 5)
                        return false;
                offset = (oh * 60 + om) * 60 * (sign == '-' ? -1 : 1);
                s += 6;
        } else {
                return false;
        }
        if (*s)
                return false;
        tm.tm_year -= 1900;
        tm.tm_mon -= 1;
        *ret_sec = timegm(&tm) - offset;
        *ret_nsec = nsec;
        return true;
}

int64_t time_ns(int64_t sec, int64_t nsec)
{
        const int64_t per_sec = 1000000000, first = INT64_MIN / per_sec * per_sec;
        int64_t ns;

        if (MUL_OVERFLOWS(sec, per_sec, &ns) || ADD_OVERFLOWS(ns, nsec, &ns))
                return sec < 0 ? first : INT64_MAX;
        return MAX(ns, first);
}

int64_t timespec_ns(struct timespec ts)
{
        return time_ns(ts.tv_sec, ts.tv_nsec);
}

int64_t time_now_ns(void)
{
        struct timespec ts = {0};

        (void)clock_gettime(CLOCK_REALTIME, &ts);
        return timespec_ns(ts);
}

int64_t time_mono_ns(void)
{
        struct timespec ts = {0};

        (void)clock_gettime(CLOCK_MONOTONIC, &ts);
        return timespec_ns(ts);
}
