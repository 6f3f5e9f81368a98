#include "parser/text_priv.h"

#include <string.h>

size_t u8_decode(const char *s, size_t n, uint32_t *ret)
{
        const unsigned char *u = (const unsigned char *)s;
        uint32_t c = u[0], min;
        size_t len;

        if (c < 0x80) {
                *ret = c;
                return 1;
        }
        if (c >= 0xc2 && c < 0xe0) {
                len = 2;
                min = 0x80;
                c &= 0x1f;
        } else if (c >= 0xe0 && c < 0xf0) {
                len = 3;
                min = 0x800;
                c &= 0x0f;
        } else if (c >= 0xf0 && c < 0xf5) {
                len = 4;
                min = 0x10000;
                c &= 0x07;
        } else {
                *ret = U8_BAD + c;
                return 1;
        }
        for (size_t i = 1; i < len; i++) {
                if (i >= n || (u[i] & 0xc0) != 0x80) {
                        *ret = U8_BAD + u[0];
                        return 1;
                }
                c = c << 6 | (u[i] & 0x3f);
        }
        if (c < min || c > 0x10ffff || (c >= 0xd800 && c < 0xe000)) {
                *ret = U8_BAD + u[0];
                return 1;
        }
        *ret = c;
        return len;
}

size_t u8_encode(uint32_t c, char out[4])
{
        if (c >= U8_BAD) {
                out[0] = (char)(c - U8_BAD);
                return 1;
        }
        if (c < 0x80) {
                out[0] = (char)c;
                return 1;
        }
        if (c < 0x800) {
                out[0] = (char)(0xc0 | c >> 6);
                out[1] = (char)(0x80 | (c & 0x3f));
                return 2;
        }
        if (c < 0x10000) {
                out[0] = (char)(0xe0 | c >> 12);
                out[1] = (char)(0x80 | (c >> 6 & 0x3f));
                out[2] = (char)(0x80 | (c & 0x3f));
                return 3;
        }
        out[0] = (char)(0xf0 | c >> 18);
        out[1] = (char)(0x80 | (c >> 12 & 0x3f));
        out[2] = (char)(0x80 | (c >> 6 & 0x3f));
        out[3] = (char)(0x80 | (c & 0x3f));
        return 4;
}

static bool in_ranges(const struct uc_range *v, size_t n, uint32_t c)
{
        size_t lo = 0;

        while (lo < n) {
                size_t mid = lo + (n - lo) / 2;

                if (c > v[mid].hi)
                        lo = mid + 1;
                else if (c < v[mid].lo)
                        n = mid;
                else
                        return true;
        }
        return false;
}

bool uc_is_space(uint32_t c)
{
        if (c < 0x80)
                return c == ' ' || (c >= '\t' && c <= '\r');
        return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) ||
               c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

bool uc_is_letter(uint32_t c)
{
        if (c < 0x80)
                return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
        return in_ranges(uc_letters, uc_letters_n, c);
}

bool uc_is_digit(uint32_t c)
{
        if (c < 0x80)
                return c >= '0' && c <= '9';
        return in_ranges(uc_digits, uc_digits_n, c);
}

bool uc_is_print(uint32_t c)
{
        if (c < 0x80)
                return c >= 0x20 && c < 0x7f;
        return in_ranges(uc_printable, uc_printable_n, c);
}

size_t text_skip_space(const char *s, size_t n)
{
        size_t i = 0;
        uint32_t c;

        while (i < n) {
                size_t k = u8_decode(s + i, n - i, &c);

                if (!uc_is_space(c))
                        break;
                i += k;
        }
        return i;
}

size_t text_space_tail(const char *s, size_t n)
{
        size_t end = n;
        uint32_t c;

        while (end > 0) {
                size_t at = end - 1;

                /* White space is at most three bytes long. */
                while (at > 0 && end - at < 3 && ((unsigned char)s[at] & 0xc0) == 0x80)
                        at--;
                if (u8_decode(s + at, end - at, &c) != end - at || !uc_is_space(c))
                        break;
                end = at;
        }
        return n - end;
}

static void quote_char(struct sb *b, uint32_t c, const char *raw, size_t n)
{
        static const char names[] = "abtnvfr"; /* 7 to 13 */

        if (c == '"' || c == '\\') {
                sb_char(b, '\\');
                sb_char(b, (char)c);
        } else if (uc_is_print(c)) {
                sb_add(b, raw, n);
        } else if (c >= 7 && c <= 13) {
                sb_char(b, '\\');
                sb_char(b, names[c - 7]);
        } else if (c >= U8_BAD || c < 0x80) {
                sb_fmt(b, "\\x%02x", c >= U8_BAD ? c - U8_BAD : c);
        } else if (c < 0x10000) {
                sb_fmt(b, "\\u%04x", c);
        } else {
                sb_fmt(b, "\\U%08x", c);
        }
}

void text_quote(struct sb *b, const char *s, size_t n, bool nul_as_c080)
{
        size_t i = 0, run = 0;

        sb_char(b, '"');
        while (i < n) {
                unsigned char u = (unsigned char)s[i];
                uint32_t c;
                size_t k;

                if (u >= 0x20 && u < 0x7f && u != '"' && u != '\\') {
                        i++;
                        continue;
                }
                sb_add(b, s + run, i - run);
                if (nul_as_c080 && n - i >= 2 && memcmp(s + i, "\xc0\x80", 2) == 0) {
                        sb_str(b, "\\x00");
                        i += 2;
                } else {
                        k = u8_decode(s + i, n - i, &c);
                        quote_char(b, c, s + i, k);
                        i += k;
                }
                run = i;
        }
        sb_add(b, s + run, i - run);
        sb_char(b, '"');
}

const char *text_excerpt(const char *s, size_t n, char out[TEXT_EXCERPT_MAX])
{
        const size_t keep = 160;
        AUTO_SB struct sb b = SB_INIT(4 * keep + 16);
        size_t cut = n;

        if (n > keep) {
                /* Not through the middle of a character. */
                for (cut = keep; cut > keep - 4 && ((unsigned char)s[cut] & 0xc0) == 0x80; cut--)
                        ;
        }
        text_quote(&b, s, cut, false);
        if (b.len > TEXT_EXCERPT_MAX - 8) {
                sb_cut(&b, TEXT_EXCERPT_MAX - 8);
                sb_char(&b, '"');
        }
        if (cut < n || b.len > TEXT_EXCERPT_MAX - 8)
                sb_str(&b, "...");
        (void)str_copy(out, TEXT_EXCERPT_MAX, sb_text(&b));
        return out;
}

bool text_eq_fold(const char *s, size_t n, const char *ascii)
{
        for (size_t i = 0; i < n; i++) {
                unsigned char c = (unsigned char)s[i];

                if (c >= 'A' && c <= 'Z')
                        c |= 0x20;
                if (!ascii[i] || c != ((unsigned char)ascii[i] | 0x20))
                        return false;
        }
        return ascii[n] == '\0';
}

void text_lower(char *s)
{
        for (; *s; s++)
                if (*s >= 'A' && *s <= 'Z')
                        *s |= 0x20;
}
