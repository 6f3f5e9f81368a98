#include "base/toml.h"

#include <ctype.h>
#include <string.h>

#include "base/err.h"
#include "base/map.h"
#include "base/num.h"

#define DEPTH_MAX 32
#define TEXT_MAX (16u << 20)

/* What a table was made by: decides who may still add to it. */
enum origin {
        BY_PATH,   /* as a parent in a header */
        BY_HEADER, /* [name] */
        BY_DOTTED, /* a.b = ... */
        BY_VALUE,  /* { ... } or [ ... ]: closed */
        BY_LIST,   /* [[name]], the array */
};

struct toml {
        const char *p, *end;
        unsigned line;
        struct map origins; /* address of a value -> its origin */
        struct bld_err *err;
};

static int bad(struct toml *t, const char *what)
{
        return err_set(t->err, BLD_E_INVALID, "line %u: %s", t->line, what);
}

static int no_memory(struct toml *t)
{
        return err_nomem(t->err, "read TOML");
}

static int mark(struct toml *t, const struct js *j, enum origin o)
{
        static enum origin origins[] = {BY_PATH, BY_HEADER, BY_DOTTED, BY_VALUE, BY_LIST};

        return map_setn(&t->origins, &j, sizeof(j), &origins[o]) < 0 ? no_memory(t) : 0;
}

static enum origin origin_of(const struct toml *t, const struct js *j)
{
        const enum origin *o = map_getn(&t->origins, &j, sizeof(j));

        return o ? *o : BY_VALUE;
}

/* ---- white space ---- */

static bool at(const struct toml *t, const char *s)
{
        size_t n = strlen(s);

        return (size_t)(t->end - t->p) >= n && memcmp(t->p, s, n) == 0;
}

static void skip_blank(struct toml *t)
{
        while (t->p < t->end && (*t->p == ' ' || *t->p == '\t'))
                t->p++;
}

static void skip_comment(struct toml *t)
{
        if (at(t, "#"))
                while (t->p < t->end && *t->p != '\n')
                        t->p++;
}

/* Blanks, comments and line ends. */
static void skip_all(struct toml *t)
{
        for (;;) {
                skip_blank(t);
                skip_comment(t);
                if (t->p >= t->end || (*t->p != '\n' && *t->p != '\r'))
                        return;
                t->line += *t->p++ == '\n';
        }
}

/* To the next line, with nothing but a comment before it. */
static int end_line(struct toml *t)
{
        skip_blank(t);
        skip_comment(t);
        if (at(t, "\r"))
                t->p++;
        if (t->p >= t->end)
                return 0;
        if (*t->p != '\n')
                return bad(t, "unexpected text after the value");
        t->p++;
        t->line++;
        return 0;
}

/* ---- strings ---- */

static void add_utf8(struct sb *out, uint32_t c)
{
        unsigned tail = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
        static const unsigned lead[] = {0, 0xc0, 0xe0, 0xf0};

        sb_char(out, (char)(lead[tail] | c >> (6 * tail)));
        while (tail-- > 0)
                sb_char(out, (char)(0x80 | (c >> (6 * tail) & 0x3f)));
}

/* Behind a backslash. */
static int escape(struct toml *t, bool lines, struct sb *out)
{
        static const char from[] = "btnfr\"\\", to[] = "\b\t\n\f\r\"\\";
        const char *k = t->p < t->end && *t->p ? strchr(from, *t->p) : NULL;
        uint32_t v = 0;
        size_t digits;

        if (k) {
                sb_char(out, to[k - from]);
                t->p++;
                return 0;
        }
        if (lines && t->p < t->end && isspace((unsigned char)*t->p)) {
                /* a line's end and what is before the next text */
                while (t->p < t->end && isspace((unsigned char)*t->p))
                        t->line += *t->p++ == '\n';
                return 0;
        }
        digits = at(t, "u") ? 4 : at(t, "U") ? 8 : 0;
        if (digits == 0 || (size_t)(t->end - t->p) <= digits)
                return bad(t, "unknown escape in a string");
        for (size_t i = 1; i <= digits; i++) {
                unsigned char c = (unsigned char)t->p[i];

                if (!isxdigit(c))
                        return bad(t, "unknown escape in a string");
                v = v << 4 | (uint32_t)(isdigit(c) ? c - '0' : (c | 32) - 'a' + 10);
        }
        if (v == 0 || v > 0x10ffff || (v >= 0xd800 && v < 0xe000))
                return bad(t, "an escape that is no character");
        add_utf8(out, v);
        t->p += digits + 1;
        return 0;
}

static int string(struct toml *t, struct sb *out)
{
        char q = *t->p;
        const char three[] = {q, q, q, 0};
        bool lines = at(t, three);
        int r = 0;

        t->p += lines ? 3 : 1;
        if (lines && at(t, "\r\n"))
                t->p++;
        if (lines && at(t, "\n")) {
                t->p++;
                t->line++;
        }
        while (r == 0) {
                if (t->p >= t->end || (!lines && *t->p == '\n'))
                        return bad(t, "a string is not closed");
                if (lines ? at(t, three) : *t->p == q) {
                        t->p += lines ? 3 : 1;
                        /* up to two quotes may stand before the closing three */
                        for (int i = 0; lines && i < 2 && t->p < t->end && *t->p == q; i++, t->p++)
                                sb_char(out, q);
                        return 0;
                }
                if (q == '"' && *t->p == '\\') {
                        t->p++;
                        r = escape(t, lines, out);
                        continue;
                }
                if ((unsigned char)*t->p < 0x20 && !strchr("\t\n\r", *t->p))
                        return bad(t, "a control character in a string");
                if (!*t->p)
                        return bad(t, "a NUL in a string");
                t->line += *t->p == '\n';
                sb_char(out, *t->p++);
        }
        return r;
}

/* ---- keys ---- */

static int key_part(struct toml *t, struct strv *out)
{
        AUTO_SB struct sb b = SB_INIT(TEXT_MAX);
        int r = 0;

        skip_blank(t);
        if (at(t, "\"\"\"") || at(t, "'''") || t->p >= t->end)
                return bad(t, "a key was expected");
        if (*t->p == '"' || *t->p == '\'') {
                r = string(t, &b);
        } else {
                while (t->p < t->end &&
                       (isalnum((unsigned char)*t->p) || *t->p == '_' || *t->p == '-'))
                        sb_char(&b, *t->p++);
                if (b.len == 0)
                        r = bad(t, "a key was expected");
        }
        if (r < 0)
                return r;
        if (b.failed || strv_add(out, sb_text(&b)) < 0)
                return no_memory(t);
        skip_blank(t);
        return 0;
}

/* a.b."c d" */
static int key(struct toml *t, struct strv *out)
{
        int r = key_part(t, out);

        while (r == 0 && at(t, ".")) {
                t->p++;
                r = out->n < DEPTH_MAX ? key_part(t, out) : bad(t, "too many parts in a key");
        }
        return r;
}

/* The value put into obj is borrowed from it. */
static int adopt(struct toml *t, struct js *obj, const char *name, struct js *v, enum origin o)
{
        if (!v || js_set(obj, name, v) < 0)
                return v ? bad(t, "a key that is not UTF-8") : no_memory(t);
        return mark(t, v, o);
}

/* The table below `obj` with this name, made when new. An array of tables stands for its last. */
static int child(struct toml *t, struct js *obj, const char *name, enum origin made_by,
                 struct js **ret)
{
        struct js *c = js_get(obj, name);
        bool old = c != NULL;

        if (!c) {
                int r = adopt(t, obj, name, c = js_obj(), made_by);

                if (r < 0)
                        return r;
        }
        if (js_is_arr(c) && origin_of(t, c) == BY_LIST)
                c = js_at(c, js_len(c) - 1);
        if (!js_is_obj(c) || origin_of(t, c) == BY_VALUE ||
            (old && made_by == BY_DOTTED && origin_of(t, c) != BY_DOTTED))
                return bad(t, "a key is used as a table and as something else");
        *ret = c;
        return 0;
}

/* ---- values ---- */

static int value(struct toml *t, unsigned depth, struct js **ret);

/* key = value */
static int pair(struct toml *t, struct js *obj, unsigned depth)
{
        AUTO_STRV struct strv name = {0};
        AUTO_JS struct js *v = NULL;
        int r = key(t, &name);

        for (size_t i = 0; r == 0 && i + 1 < name.n; i++)
                r = child(t, obj, name.v[i], BY_DOTTED, &obj);
        if (r == 0 && !at(t, "="))
                r = bad(t, "\"=\" was expected");
        if (r < 0)
                return r;
        t->p++;
        skip_blank(t);
        r = value(t, depth, &v);
        if (r < 0)
                return r;
        if (js_get(obj, name.v[name.n - 1]))
                return bad(t, "a key is given twice");
        return js_set(obj, name.v[name.n - 1], TAKE_PTR(&v)) < 0 ? bad(t, "a key that is not UTF-8")
                                                                 : 0;
}

static int array(struct toml *t, unsigned depth, struct js *out)
{
        for (t->p++;; t->p++) {
                struct js *v = NULL;
                int r;

                skip_all(t);
                if (at(t, "]"))
                        break;
                r = value(t, depth, &v);
                if (r < 0)
                        return r;
                if (js_push(out, v) < 0)
                        return no_memory(t);
                skip_all(t);
                if (at(t, "]"))
                        break;
                if (!at(t, ","))
                        return bad(t, "\",\" or \"]\" was expected");
        }
        t->p++;
        return 0;
}

static int inline_table(struct toml *t, unsigned depth, struct js *out)
{
        int r = mark(t, out, BY_DOTTED);

        t->p++;
        skip_blank(t);
        while (r == 0 && !at(t, "}")) {
                r = pair(t, out, depth);
                skip_blank(t);
                if (r == 0 && at(t, ",")) {
                        t->p++;
                        skip_blank(t);
                } else if (r == 0 && !at(t, "}")) {
                        r = bad(t, "\",\" or \"}\" was expected");
                }
        }
        if (r < 0)
                return r;
        t->p++;
        return mark(t, out, BY_VALUE);
}

/* Numbers, true, false, dates: a word up to what ends a value. */
static int word(struct toml *t, struct js **ret)
{
        AUTO_SB struct sb b = SB_INIT(256);
        const char *s;
        size_t sign;
        uint64_t n;

        while (t->p < t->end && *t->p && !strchr(",]}#\r\n\t ", *t->p)) {
                if (*t->p != '_')
                        sb_char(&b, *t->p);
                t->p++;
        }
        s = sb_text(&b);
        sign = *s == '-' || *s == '+';
        if (b.failed || b.len == 0)
                return bad(t, "a value was expected");
        if (strcmp(s, "true") == 0 || strcmp(s, "false") == 0)
                *ret = js_new_bool(*s == 't');
        else if (parse_u64(s + sign, 0, INT64_MAX, &n))
                *ret = js_new_i64(*s == '-' ? -(int64_t)n : (int64_t)n);
        else if (isdigit((unsigned char)s[sign]))
                *ret = js_new_str(s);
        else
                return bad(t, "a value was expected");
        return *ret ? 0 : no_memory(t);
}

static int value(struct toml *t, unsigned depth, struct js **ret)
{
        AUTO_JS struct js *v = NULL;
        int r = 0;

        if (t->p >= t->end)
                return bad(t, "a value was expected");
        if (depth > DEPTH_MAX)
                return bad(t, "nested too deep");
        if (*t->p == '"' || *t->p == '\'') {
                AUTO_SB struct sb b = SB_INIT(TEXT_MAX);

                r = string(t, &b);
                if (r == 0 && !(v = js_new_str(sb_text(&b))))
                        r = bad(t, "a string that is not UTF-8");
        } else if (*t->p == '[') {
                v = js_arr();
                r = v ? array(t, depth + 1, v) : no_memory(t);
        } else if (*t->p == '{') {
                v = js_obj();
                r = v ? inline_table(t, depth + 1, v) : no_memory(t);
        } else {
                r = word(t, &v);
        }
        if (r == 0)
                *ret = TAKE_PTR(&v);
        return r;
}

/* ---- tables ---- */

/* [[name]]: one more table of a list. */
static int list_header(struct toml *t, struct js *obj, const char *name, struct js **ret)
{
        struct js *list = js_get(obj, name), *table;
        int r = 0;

        if (!list)
                r = adopt(t, obj, name, list = js_arr(), BY_LIST);
        if (r == 0 && (!js_is_arr(list) || origin_of(t, list) != BY_LIST))
                r = bad(t, "a key is used as a list of tables and as something else");
        if (r < 0)
                return r;
        table = js_obj();
        if (js_push(list, table) < 0)
                return no_memory(t);
        *ret = table;
        return mark(t, table, BY_HEADER);
}

static int header(struct toml *t, struct js *root, struct js **ret)
{
        AUTO_STRV struct strv name = {0};
        bool list = at(t, "[[");
        const char *close = list ? "]]" : "]", *last;
        struct js *obj = root, *c;
        int r;

        t->p += strlen(close);
        r = key(t, &name);
        if (r == 0 && !at(t, close))
                r = bad(t, "\"]\" was expected");
        for (size_t i = 0; r == 0 && i + 1 < name.n; i++)
                r = child(t, obj, name.v[i], BY_PATH, &obj);
        if (r < 0)
                return r;
        t->p += strlen(close);
        last = name.v[name.n - 1];
        if (list)
                return list_header(t, obj, last, ret);
        c = js_get(obj, last);
        if (c && (!js_is_obj(c) || origin_of(t, c) != BY_PATH))
                return bad(t, "a table is given twice");
        r = child(t, obj, last, BY_HEADER, ret);
        return r < 0 ? r : mark(t, *ret, BY_HEADER);
}

static int document(struct toml *t, struct js *root)
{
        struct js *table = root;
        int r = mark(t, root, BY_HEADER);

        if (at(t, "\xef\xbb\xbf"))
                t->p += 3;
        for (;;) {
                skip_all(t);
                if (r < 0 || t->p >= t->end)
                        return r;
                r = *t->p == '[' ? header(t, root, &table) : pair(t, table, 0);
                if (r == 0)
                        r = end_line(t);
        }
}

int toml_parse(const char *text, size_t len, struct js **ret, struct bld_err *err)
{
        struct toml t = {.p = text, .end = text + len, .line = 1, .err = err};
        AUTO_JS struct js *root = js_obj();
        int r;

        if (!root)
                return err_nomem(err, "read TOML");
        map_init(&t.origins, NULL);
        r = document(&t, root);
        map_done(&t.origins);
        if (r == 0)
                *ret = TAKE_PTR(&root);
        return r;
}
