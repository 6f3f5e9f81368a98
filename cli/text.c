#include "cli/text.h"

#include <locale.h>
#include <string.h>
#include <wchar.h>

#define LINE_MAX_BYTES 16384u
#define TAB 8u
#define REPLACEMENT 0xfffdu

static bool have_tables; /* written by text_init before threads start */

void text_init(void)
{
        have_tables = setlocale(LC_CTYPE, "C.UTF-8") || setlocale(LC_CTYPE, "en_US.UTF-8");
}

/* One character of UTF-8 (RFC 3629); a bad byte is one U+FFFD. Returns the bytes taken. */
static size_t decode(const unsigned char *u, size_t n, uint32_t *cp)
{
        static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
        size_t len = u[0] < 0x80 ? 1 : (u[0] >> 5) == 6 ? 2 : (u[0] >> 4) == 14 ? 3 : 4;
        uint32_t c = len == 1 ? u[0] : u[0] & (0xffu >> (len + 1));

        *cp = REPLACEMENT;
        if ((u[0] >= 0x80 && u[0] < 0xc2) || u[0] > 0xf4 || len > n)
                return 1;
        for (size_t i = 1; i < len; i++) {
                if ((u[i] & 0xc0) != 0x80)
                        return 1;
                c = (c << 6) | (u[i] & 0x3f);
        }
        if (c < least[len] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
                return 1;
        *cp = c;
        return len;
}

/* Length of the escape sequence at u[0] == ESC; *sgr when it only sets colours. Unterminated
 * sequences swallow the rest, so that a cut one cannot join what follows. */
static size_t escape_len(const unsigned char *u, size_t n, bool *sgr)
{
        size_t i = 2;

        *sgr = false;
        if (n < 2)
                return n;
        if (u[1] == '[') { /* CSI: parameters, intermediates, one final byte (ECMA-48) */
                bool plain = true;

                for (; i < n && u[i] >= 0x20 && u[i] < 0x40; i++)
                        plain = plain &&
                                ((u[i] >= '0' && u[i] <= '9') || u[i] == ';' || u[i] == ':');
                *sgr = i < n && plain && u[i] == 'm' && i <= 64;
                return i < n ? i + 1 : n;
        }
        if (strchr("]PX^_", u[1])) { /* strings, ended by BEL or ESC \ */
                for (; i < n; i++) {
                        if (u[i] == 7)
                                return i + 1;
                        if (u[i] == 27)
                                return i + 1 < n && u[i + 1] == '\\' ? i + 2 : i;
                }
                return n;
        }
        if (u[1] >= 0x20 && u[1] < 0x30) /* character sets and the like: one more byte */
                return MIN(n, 3u);
        return 2;
}

/* Characters that show nothing but change how others appear. */
static bool deceives(uint32_t c)
{
        return (c >= 0x80 && c < 0xa0) || c == 0x061c || c == 0x200b || c == 0x200e ||
               c == 0x200f || (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x2064) ||
               (c >= 0x2066 && c <= 0x2069) || c == 0xfeff || (c >= 0xe0000 && c <= 0xe007f);
}

struct glyph {
        size_t len;   /* bytes of input */
        size_t width; /* columns */
        enum { G_SKIP, G_COPY, G_TAB, G_SGR, G_BAD } kind;
};

static struct glyph next(const unsigned char *u, size_t n, unsigned flags)
{
        struct glyph g = {1, 1, G_COPY};
        uint32_t c;
        bool sgr;
        int w;

        if (u[0] == 27) {
                g.len = escape_len(u, n, &sgr);
                g.width = 0;
                g.kind = sgr && (flags & TEXT_SGR) ? G_SGR : G_SKIP;
                return g;
        }
        if (u[0] == '\t') {
                g.kind = G_TAB;
                return g;
        }
        if (u[0] < 0x20 || u[0] == 0x7f)
                return (struct glyph){1, 0, G_SKIP};
        if (u[0] < 0x80)
                return g;
        g.len = decode(u, n, &c);
        if (deceives(c))
                return (struct glyph){g.len, 0, G_SKIP};
        if (c == REPLACEMENT || (flags & TEXT_ASCII)) {
                g.kind = G_BAD;
                return g;
        }
        w = have_tables ? wcwidth((wchar_t)c) : 1;
        g.width = w < 0 ? 0 : (size_t)w;
        if (w < 0)
                g.kind = G_SKIP;
        return g;
}

size_t text_add(struct sb *out, const char *s, size_t n, size_t width, unsigned flags)
{
        const unsigned char *u = (const unsigned char *)s;
        bool coloured = false, full = false;
        size_t used = 0;

        for (size_t i = 0; i < n;) {
                struct glyph g = next(u + i, n - i, flags);

                if (g.kind == G_TAB)
                        g.width = TAB - used % TAB;
                if (g.width && used + g.width > width)
                        full = true;
                if (full && g.kind == G_TAB && used < width) {
                        sb_fmt(out, "%*s", (int)(width - used), "");
                        used = width;
                }
                if (!full) {
                        if (g.kind == G_TAB)
                                sb_fmt(out, "%*s", (int)g.width, "");
                        else if (g.kind == G_BAD)
                                sb_str(out, flags & TEXT_ASCII ? "?" : "\xef\xbf\xbd");
                        else if (g.kind != G_SKIP)
                                sb_add(out, u + i, g.len);
                        used += g.width;
                        coloured = coloured || g.kind == G_SGR;
                }
                if (full)
                        break;
                i += g.len;
        }
        if (coloured)
                sb_str(out, "\033[0m");
        return used;
}

size_t text_width(const char *s, size_t n, unsigned flags)
{
        const unsigned char *u = (const unsigned char *)s;
        size_t used = 0;

        for (size_t i = 0; i < n;) {
                struct glyph g = next(u + i, n - i, flags);

                used += g.kind == G_TAB ? TAB - used % TAB : g.width;
                i += g.len;
        }
        return used;
}

/* Bytes to drop from the front so that at most width columns are left. */
static size_t skip_to_tail(const char *s, size_t n, size_t total, size_t width, unsigned flags)
{
        const unsigned char *u = (const unsigned char *)s;
        size_t i = 0, at = 0;

        while (i < n && total - at > width) {
                struct glyph g = next(u + i, n - i, flags);

                at += g.kind == G_TAB ? TAB - at % TAB : g.width;
                i += g.len;
        }
        return i;
}

size_t text_add_middle(struct sb *out, const char *s, size_t n, size_t width, unsigned flags)
{
        const char *dots = flags & TEXT_ASCII ? "..." : "\xe2\x80\xa6";
        size_t dots_width = flags & TEXT_ASCII ? 3 : 1;
        size_t total = text_width(s, n, flags), head, tail, skip, used;

        if (total <= width || width < dots_width + 2)
                return text_add(out, s, n, width, flags);
        tail = (width - dots_width) / 3;
        head = width - dots_width - tail;
        used = text_add(out, s, n, head, flags);
        sb_str(out, dots);
        skip = skip_to_tail(s, n, total, tail, flags);
        /* Tabs count from the start of the piece here; the width limit still holds. */
        return used + dots_width + text_add(out, s + skip, n - skip, tail, flags);
}

void text_last_state(const char **s, size_t *n)
{
        const char *cr;

        while (*n && (*s)[*n - 1] == '\r')
                (*n)--;
        cr = *n ? memrchr(*s, '\r', *n) : NULL;
        if (cr) {
                *n -= (size_t)(cr + 1 - *s);
                *s = cr + 1;
        }
}

void text_json(struct sb *out, const char *s, size_t n)
{
        const unsigned char *u = (const unsigned char *)s;

        sb_char(out, '"');
        for (size_t i = 0; i < n;) {
                uint32_t c;
                size_t len = decode(u + i, n - i, &c);

                if (c == '"' || c == '\\')
                        sb_fmt(out, "\\%c", (char)c);
                else if (c == '\n')
                        sb_str(out, "\\n");
                else if (c < 0x20)
                        sb_fmt(out, "\\u%04x", (unsigned)c);
                else if (c == REPLACEMENT)
                        sb_str(out, "\xef\xbf\xbd");
                else
                        sb_add(out, u + i, len);
                i += len;
        }
        sb_char(out, '"');
}

void text_base64(struct sb *out, const void *p, size_t n)
{
        static const char set[] =
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        const unsigned char *u = p;

        for (size_t i = 0; i < n; i += 3) {
                size_t left = n - i;
                uint32_t v = (uint32_t)u[i] << 16;
                char q[4];

                v |= left > 1 ? (uint32_t)u[i + 1] << 8 : 0;
                v |= left > 2 ? (uint32_t)u[i + 2] : 0;
                q[0] = set[v >> 18];
                q[1] = set[(v >> 12) & 63];
                q[2] = left > 1 ? set[(v >> 6) & 63] : '=';
                q[3] = left > 2 ? set[v & 63] : '=';
                sb_add(out, q, 4);
        }
}

static bool plain(uint32_t c)
{
        return c >= 0x20 && c != 0x7f && c != '"' && c != '\\' && c != REPLACEMENT && !deceives(c);
}

static void escape_byte(struct sb *out, unsigned char c)
{
        static const char names[] = "abtnvfr";

        if (c == '"' || c == '\\')
                sb_fmt(out, "\\%c", c);
        else if (c >= 7 && c <= 13)
                sb_fmt(out, "\\%c", names[c - 7]);
        else
                sb_fmt(out, "\\%03o", c);
}

void text_name(struct sb *out, const char *s, size_t n)
{
        const unsigned char *u = (const unsigned char *)s;
        bool quoted = false;
        uint32_t c;

        for (size_t i = 0; i < n && !quoted; i += decode(u + i, n - i, &c), quoted = !plain(c))
                continue;
        if (!quoted) {
                sb_add(out, s, n);
                return;
        }
        sb_char(out, '"');
        for (size_t i = 0, len; i < n; i += len) {
                len = decode(u + i, n - i, &c);
                if (plain(c))
                        sb_add(out, u + i, len);
                else
                        for (size_t k = 0; k < len; k++)
                                escape_byte(out, u[i + k]);
        }
        sb_char(out, '"');
}

bool text_hides(const char *s, size_t n)
{
        const unsigned char *u = (const unsigned char *)s;
        uint32_t c;

        for (size_t i = 0; i < n;) {
                i += decode(u + i, n - i, &c);
                if (c != '\n' && c != '\t' && c != '"' && c != '\\' && !plain(c))
                        return true;
        }
        return false;
}

void text_json_name(struct sb *out, const char *key, const char *s, size_t n)
{
        const unsigned char *u = (const unsigned char *)s;
        bool bad = false;
        uint32_t c;

        sb_fmt(out, "\"%s\":", key);
        text_json(out, s, n);
        for (size_t i = 0, len; i < n && !bad; i += len) {
                len = decode(u + i, n - i, &c);
                bad = c == REPLACEMENT && len == 1;
        }
        if (!bad)
                return;
        sb_fmt(out, ",\"%sBase64\":\"", key);
        text_base64(out, s, n);
        sb_char(out, '"');
}

void line_buf_init(struct line_buf *l)
{
        sb_init(&l->part, LINE_MAX_BYTES + 1);
}

void line_buf_done(struct line_buf *l)
{
        sb_done(&l->part);
}

static void emit(const char *s, size_t n, line_fn fn, void *user)
{
        text_last_state(&s, &n);
        fn(user, s, n);
}

/* Keep the start of a line whose end has not come yet. A progress bar that redraws itself with '\r'
 * for minutes keeps its last state only. */
static void keep(struct line_buf *l, const char *s, size_t n, line_fn fn, void *user)
{
        const char *cr = n > 1 ? memrchr(s, '\r', n - 1) : NULL;

        if (cr || (n && l->part.len && l->part.buf[l->part.len - 1] == '\r')) {
                sb_reset(&l->part);
                n -= cr ? (size_t)(cr + 1 - s) : 0;
                s = cr ? cr + 1 : s;
        }
        while (n) {
                size_t k = MIN(n, LINE_MAX_BYTES - l->part.len);

                sb_add(&l->part, s, k);
                s += k;
                n -= k;
                if (l->part.len == LINE_MAX_BYTES)
                        line_buf_flush(l, fn, user);
        }
}

void line_buf_feed(struct line_buf *l, const char *data, size_t n, line_fn fn, void *user)
{
        while (n) {
                const char *nl = memchr(data, '\n', n);
                size_t k = nl ? (size_t)(nl - data) : n;

                if (nl && !l->part.len && k <= LINE_MAX_BYTES) {
                        emit(data, k, fn, user);
                } else {
                        keep(l, data, k, fn, user);
                        if (nl && (l->part.len || !k))
                                emit(sb_text(&l->part), l->part.len, fn, user);
                        if (nl)
                                sb_reset(&l->part);
                }
                k += nl != NULL;
                data += k;
                n -= k;
        }
}

void line_buf_flush(struct line_buf *l, line_fn fn, void *user)
{
        if (l->part.len)
                emit(sb_text(&l->part), l->part.len, fn, user);
        sb_reset(&l->part);
}
