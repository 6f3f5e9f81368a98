#include "registry/header_priv.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/num.h"

/* Digits at *s, moved past; false without digits or out of range. */
static bool number(const char **s, uint64_t *ret)
{
        uint64_t v = 0;

        if (!isdigit((unsigned char)**s))
                return false;
        for (; isdigit((unsigned char)**s); (*s)++)
                if (MUL_OVERFLOWS(v, (uint64_t)10, &v) ||
                    ADD_OVERFLOWS(v, (uint64_t)(**s - '0'), &v))
                        return false;
        *ret = v;
        return true;
}

bool reg_content_range(const char *s, uint64_t *ret_first, uint64_t *ret_last, uint64_t *ret_total)
{
        uint64_t first, last, total = UINT64_MAX;

        if (strncasecmp(s, "bytes ", 6) != 0)
                return false;
        s += 6;
        s += strspn(s, " ");
        if (!number(&s, &first) || *s++ != '-' || !number(&s, &last) || *s++ != '/')
                return false;
        if (*s == '*')
                s++;
        else if (!number(&s, &total))
                return false;
        if (*s || last < first || last >= total)
                return false;
        *ret_first = first;
        *ret_last = last;
        *ret_total = total;
        return true;
}

bool reg_upload_range(const char *s, uint64_t *ret_size)
{
        uint64_t first, last;

        if (strncasecmp(s, "bytes=", 6) == 0)
                s += 6;
        if (!number(&s, &first) || *s++ != '-' || !number(&s, &last) || *s || first != 0)
                return false;
        if (last == UINT64_MAX)
                return false;
        *ret_size = last == 0 ? 0 : last + 1;
        return true;
}

static bool http_date(const char *s, int64_t *ret_s)
{
        static const char *const forms[] = {
                "%a, %d %b %Y %H:%M:%S GMT", /* RFC 9110: the one to send */
                "%A, %d-%b-%y %H:%M:%S GMT", /* the two obsolete ones */
                "%a %b %d %H:%M:%S %Y",
        };

        for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
                struct tm tm = {0};
                const char *end = strptime(s, forms[i], &tm);

                if (end && !*end) {
                        *ret_s = timegm(&tm);
                        return true;
                }
        }
        return false;
}

bool reg_retry_after(const char *s, int64_t now_s, int64_t *ret_ms)
{
        uint64_t n;
        int64_t at;

        if (parse_u64(s, 0, 366u * 86400, &n)) {
                *ret_ms = (int64_t)n * 1000;
                return true;
        }
        if (!http_date(s, &at) || at <= now_s || at - now_s > 366 * 86400)
                return false;
        *ret_ms = (at - now_s) * 1000;
        return true;
}
