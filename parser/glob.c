/* Go's filepath.Match: `*` and `?` do not match '/', classes with '^', escapes with '\'. */
#include "parser/glob_priv.h"

#include <string.h>

#include "base/err.h"
#include "parser/ignore.h"
#include "parser/text_priv.h"

/* One bound of a range: its length in bytes, 0 when malformed. Something must follow it. */
static size_t class_char(const char *p, size_t n, uint32_t *ret)
{
        size_t esc = n > 0 && p[0] == '\\', k;

        if (n == 0 || p[0] == '-' || p[0] == ']' || esc == n)
                return 0;
        k = esc + u8_decode(p + esc, n - esc, ret);
        return *ret >= U8_BAD || k == n ? 0 : k;
}

/* One range, from *i on. */
static bool class_range(const char *p, size_t n, size_t *i, uint32_t *lo, uint32_t *hi)
{
        size_t k = class_char(p + *i, n - *i, lo);

        if (k == 0)
                return false;
        *i += k;
        *hi = *lo;
        if (p[*i] != '-')
                return true;
        (*i)++;
        k = class_char(p + *i, n - *i, hi);
        *i += k;
        return k != 0;
}

size_t glob_class_len(const char *p, size_t n)
{
        size_t i = n > 0 && p[0] == '^', first = i;
        uint32_t lo, hi;

        while (i < n && (p[i] != ']' || i == first))
                if (!class_range(p, n, &i, &lo, &hi))
                        return 0;
        return i < n ? i + 1 : 0;
}

bool glob_class_has(const char *p, size_t n, uint32_t c)
{
        bool negated = p[0] == '^', found = false;
        uint32_t lo, hi;

        if (c >= U8_BAD)
                c = 0xfffd;
        for (size_t i = negated; p[i] != ']' && !found;) {
                if (!class_range(p, n, &i, &lo, &hi))
                        return false;
                found = lo <= c && c <= hi;
        }
        return found != negated;
}

bool glob_is_valid(const char *p, size_t n)
{
        size_t i = 0;

        while (i < n) {
                char c = p[i++];

                if (c == '\\') {
                        if (i == n)
                                return false;
                        i++;
                } else if (c == '[') {
                        size_t k = glob_class_len(p + i, n - i);

                        if (k == 0)
                                return false;
                        i += k;
                }
        }
        return true;
}

/* Length of the pattern up to the next star. */
static size_t chunk_len(const char *p, size_t n)
{
        size_t i = 0;

        while (i < n && p[i] != '*') {
                if (p[i] == '[')
                        i += glob_class_len(p + i + 1, n - i - 1);
                else if (p[i] == '\\')
                        i++;
                i++;
        }
        return i;
}

/* The end of s behind a match of the star-less chunk at its start, or NULL. */
static const char *match_chunk(const char *p, size_t n, const char *s)
{
        for (size_t i = 0; i < n; i++) {
                uint32_t c;
                size_t k;

                if (!*s)
                        return NULL;
                if (p[i] == '[') {
                        size_t len = glob_class_len(p + i + 1, n - i - 1);

                        k = u8_decode(s, strnlen(s, 4), &c);
                        if (!glob_class_has(p + i + 1, len, c))
                                return NULL;
                        s += k;
                        i += len;
                } else if (p[i] == '?') {
                        if (*s == '/')
                                return NULL;
                        s += u8_decode(s, strnlen(s, 4), &c);
                } else {
                        if (p[i] == '\\')
                                i++;
                        if (*s++ != p[i])
                                return NULL;
                }
        }
        return s;
}

/* As Go does: a chunk takes the first place where it fits and is not moved again. */
static bool match(const char *p, size_t n, const char *s)
{
        while (n > 0) {
                bool star = *p == '*';
                const char *end;
                size_t len;

                while (n > 0 && *p == '*') {
                        p++;
                        n--;
                }
                len = chunk_len(p, n);
                if (star && len == 0)
                        return !strchr(s, '/');
                for (;;) {
                        end = match_chunk(p, len, s);
                        if (end && (!*end || len < n))
                                break;
                        if (!star || !*s || *s == '/')
                                return false;
                        s++;
                }
                s = end;
                p += len;
                n -= len;
        }
        return !*s;
}

int glob_match(const char *pattern, const char *name, struct bld_err *err)
{
        size_t n = strlen(pattern);
        char q[TEXT_EXCERPT_MAX];

        if (!glob_is_valid(pattern, n))
                return err_set(err, BLD_E_INVALID, "syntax error in pattern %s",
                               text_excerpt(pattern, n, q));
        return match(pattern, n, name);
}

bool glob_has_wildcard(const char *s)
{
        for (; *s; s++) {
                if (*s == '*' || *s == '?' || *s == '[')
                        return true;
                if (*s == '\\' && s[1])
                        s++;
        }
        return false;
}
