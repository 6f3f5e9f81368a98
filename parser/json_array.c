/* The exec form: a JSON array of strings, read as Go's encoding/json reads it. Lone surrogates and
 * bytes that are not UTF-8 become U+FFFD; U+0000 becomes the bytes C0 80, because strings end in
 * NUL here and no decoded text can hold that pair otherwise. */
#include <string.h>

#include "base/err.h"
#include "parser/lex_priv.h"

#define NESTING_MAX 10000

struct scan {
        const char *s;
        size_t n, i;
};

static void skip_blanks(struct scan *c)
{
        while (c->i < c->n && (c->s[c->i] == ' ' || c->s[c->i] == '\t' || c->s[c->i] == '\n' ||
                               c->s[c->i] == '\r'))
                c->i++;
}

static int hex4(const char *s)
{
        int v = 0;

        for (int i = 0; i < 4; i++) {
                char c = s[i];

                v <<= 4;
                if (c >= '0' && c <= '9')
                        v |= c - '0';
                else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
                        v |= (c | 0x20) - 'a' + 10;
                else
                        return -1;
        }
        return v;
}

static bool scan_string(struct scan *c)
{
        for (c->i++; c->i < c->n; c->i++) {
                unsigned char u = (unsigned char)c->s[c->i];

                if (u == '"') {
                        c->i++;
                        return true;
                }
                if (u < 0x20)
                        return false;
                if (u != '\\')
                        continue;
                if (++c->i == c->n)
                        return false;
                u = (unsigned char)c->s[c->i];
                if (u == 'u') {
                        if (c->n - c->i < 5 || hex4(c->s + c->i + 1) < 0)
                                return false;
                        c->i += 4;
                } else if (u == 0 || !strchr("\"\\/bfnrt", u)) {
                        return false;
                }
        }
        return false;
}

static bool scan_digits(struct scan *c)
{
        size_t start = c->i;

        while (c->i < c->n && c->s[c->i] >= '0' && c->s[c->i] <= '9')
                c->i++;
        return c->i > start;
}

static bool at(const struct scan *c, char ch)
{
        return c->i < c->n && c->s[c->i] == ch;
}

static bool scan_number(struct scan *c)
{
        if (at(c, '-'))
                c->i++;
        if (at(c, '0'))
                c->i++;
        else if (!scan_digits(c))
                return false;
        if (at(c, '.')) {
                c->i++;
                if (!scan_digits(c))
                        return false;
        }
        if (at(c, 'e') || at(c, 'E')) {
                c->i++;
                if (at(c, '+') || at(c, '-'))
                        c->i++;
                return scan_digits(c);
        }
        return true;
}

/* A value without structure. */
static bool scan_scalar(struct scan *c)
{
        static const char *const words[] = {"true", "false", "null"};

        if (at(c, '"'))
                return scan_string(c);
        for (size_t i = 0; i < ARRAY_LEN(words); i++) {
                size_t k = strlen(words[i]);

                if (c->n - c->i >= k && memcmp(c->s + c->i, words[i], k) == 0) {
                        c->i += k;
                        return true;
                }
        }
        return scan_number(c);
}

/* The structure, kept as one bit per level: nothing here recurses. */
struct nest {
        unsigned char is_object[NESTING_MAX / 8 + 1];
        size_t depth;
};

static bool nest_push(struct nest *n, bool object)
{
        if (n->depth == NESTING_MAX)
                return false;
        n->depth++;
        if (object)
                n->is_object[n->depth / 8] |= (unsigned char)(1u << n->depth % 8);
        else
                n->is_object[n->depth / 8] &= (unsigned char)~(1u << n->depth % 8);
        return true;
}

static bool nest_in_object(const struct nest *n)
{
        return n->is_object[n->depth / 8] & 1u << n->depth % 8;
}

static bool scan_key(struct scan *c)
{
        skip_blanks(c);
        if (!at(c, '"') || !scan_string(c))
                return false;
        skip_blanks(c);
        if (!at(c, ':'))
                return false;
        c->i++;
        return true;
}

/* Opens whatever nested values start here and reads the scalar; empty containers close at once. */
static bool scan_value(struct scan *c, struct nest *n)
{
        for (;;) {
                bool object;

                skip_blanks(c);
                object = at(c, '{');
                if (!object && !at(c, '['))
                        return scan_scalar(c);
                c->i++;
                if (!nest_push(n, object))
                        return false;
                skip_blanks(c);
                if (at(c, object ? '}' : ']')) {
                        c->i++;
                        n->depth--;
                        return true;
                }
                if (object && !scan_key(c))
                        return false;
        }
}

struct shape {
        size_t elements;
        bool only_strings;
};

/* Is the whole text one JSON array? */
static bool scan_array(const char *s, size_t len, struct shape *ret)
{
        struct scan c = {s, len, 0};
        struct nest n = {.depth = 0};

        *ret = (struct shape){0, true};
        skip_blanks(&c);
        if (!at(&c, '[') || !nest_push(&n, false))
                return false;
        c.i++;
        skip_blanks(&c);
        if (at(&c, ']')) {
                c.i++;
                n.depth--;
        }
        while (n.depth > 0) {
                if (n.depth == 1) {
                        ret->elements++;
                        skip_blanks(&c);
                        ret->only_strings = ret->only_strings && at(&c, '"');
                }
                if (!scan_value(&c, &n))
                        return false;
                for (;;) {
                        bool object = nest_in_object(&n);

                        skip_blanks(&c);
                        if (at(&c, ',')) {
                                c.i++;
                                if (object && !scan_key(&c))
                                        return false;
                                break;
                        }
                        if (!at(&c, object ? '}' : ']'))
                                return false;
                        c.i++;
                        if (--n.depth == 0)
                                break;
                }
        }
        skip_blanks(&c);
        return c.i == c.n;
}

/* The character of the \u escape whose digits are at s; *used counts bytes from there. */
static uint32_t unescape_u(const char *s, size_t n, size_t *used)
{
        uint32_t c = (uint32_t)hex4(s), low;

        *used = 4;
        if (c < 0xd800 || c >= 0xe000)
                return c;
        if (c < 0xdc00 && n >= 10 && s[4] == '\\' && s[5] == 'u') {
                int v = hex4(s + 6);

                low = v < 0 ? 0 : (uint32_t)v;
                if (low >= 0xdc00 && low < 0xe000) {
                        *used = 10;
                        return 0x10000 + ((c - 0xd800) << 10 | (low - 0xdc00));
                }
        }
        return 0xfffd;
}

static size_t put_char(char *out, uint32_t c)
{
        char b[4];
        size_t k;

        if (c == 0) {
                out[0] = (char)0xc0;
                out[1] = (char)0x80;
                return 2;
        }
        k = u8_encode(c, b);
        memcpy(out, b, k);
        return k;
}

/* Contents of a scanned string. */
static char *decode_string(struct df_arena *a, const char *s, size_t n)
{
        static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
        size_t o = 0;
        char *out;

        /* One bad byte becomes three; text is at most 16 MiB, so this cannot overflow. */
        out = df_arena_alloc(a, 3 * n + 1, 1);
        if (!out)
                return NULL;
        for (size_t i = 0; i < n;) {
                uint32_t c;
                size_t k;

                if (s[i] != '\\') {
                        k = u8_decode(s + i, n - i, &c);
                        o += put_char(out + o, c >= U8_BAD ? 0xfffd : c);
                        i += k;
                } else if (s[i + 1] == 'u') {
                        o += put_char(out + o, unescape_u(s + i + 2, n - i - 2, &k));
                        i += 2 + k;
                } else {
                        out[o++] = to[strchr(from, s[i + 1]) - from];
                        i += 2;
                }
        }
        return out;
}

int df_json_array(struct df_arena *a, const char *s, size_t n, struct df_json_elem **ret,
                  size_t *ret_n, struct bld_err *err)
{
        size_t skip = text_skip_space(s, n), k = 0;
        struct df_json_elem *v;
        struct shape shape;
        struct scan c = {s, n, skip};

        if (!at(&c, '[') || !scan_array(s + skip, n - skip, &shape))
                return 0;
        if (!shape.only_strings)
                return err_set(err, BLD_E_INVALID,
                               "when using JSON array syntax, arrays must be comprised of strings "
                               "only");
        v = df_arena_alloc(a, shape.elements, sizeof(*v));
        if (!v)
                return err_nomem(err, "instruction");
        for (c.i++; k < shape.elements; k++) {
                size_t start;

                while (!at(&c, '"'))
                        c.i++;
                start = c.i;
                (void)scan_string(&c);
                v[k].off = start;
                v[k].len = c.i - start;
                v[k].text = decode_string(a, s + start + 1, c.i - start - 2);
                if (!v[k].text)
                        return err_nomem(err, "instruction");
        }
        *ret = v;
        *ret_n = k;
        return 1;
}
