#include "cli/template.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "base/num.h"

#define DEPTH_MAX 16
#define OUT_MAX (16u << 20)
#define ARGS_MAX 8

struct tmpl {
        const char *p; /* next byte of text, outside actions */
        const struct js *root;
        unsigned flags;
        struct sb *out;
        int depth;
        struct bld_err *err;
};

/* One action between "{{" and "}}". */
struct action {
        const char *p, *end;
};

typedef struct js *value; /* owned reference; NULL: no value */

static int refuse(struct tmpl *t, const char *what, const char *at, size_t n)
{
        return err_set(t->err, BLD_E_USAGE,
                       "--format: %s \"%.*s\"\ntry: --format json, and a program that reads JSON",
                       what, (int)MIN(n, 60u), at);
}

/* ---- values ---- */

static void print_map(const struct js *j, struct sb *out)
{
        const char *sep = "";

        sb_str(out, "map[");
        for (void *it = js_iter(j); it; it = js_iter_next(j, it)) {
                sb_fmt(out, "%s%s:", sep, js_iter_key(it));
                template_print(js_iter_value(it), out);
                sep = " ";
        }
        sb_char(out, ']');
}

void template_print(const struct js *j, struct sb *out)
{
        if (!j)
                sb_str(out, "<no value>");
        else if (js_is_str(j))
                sb_str(out, js_str(j));
        else if (js_is_int(j))
                sb_fmt(out, "%lld", (long long)js_i64(j, 0));
        else if (js_is_null(j))
                sb_str(out, "<nil>");
        else if (js_is_obj(j))
                print_map(j, out);
        else if (js_is_arr(j)) {
                sb_char(out, '[');
                for (size_t i = 0; i < js_len(j); i++) {
                        sb_str(out, i ? " " : "");
                        template_print(js_at(j, i), out);
                }
                sb_char(out, ']');
        } else if (js_write(j, JS_SHORT, out, NULL) < 0) { /* booleans, reals */
                sb_str(out, "<no value>");
        }
}

static bool truth(const struct js *j)
{
        if (!j || js_is_null(j))
                return false;
        if (js_is_str(j))
                return js_str(j)[0] != '\0';
        if (js_is_int(j))
                return js_i64(j, 0) != 0;
        if (js_is_arr(j) || js_is_obj(j))
                return js_len(j) != 0;
        if (js_is_bool(j)) {
                AUTO_SB struct sb b = SB_INIT(16);

                return js_write(j, JS_COMPACT, &b, NULL) == 0 && strcmp(sb_text(&b), "true") == 0;
        }
        return true;
}

/* Members are found whatever their case, since our JSON says "version" where templates, after
 * Docker's habit, say .Version. */
static struct js *member(const struct js *obj, const char *name)
{
        struct js *j = js_get(obj, name);

        for (void *it = j ? NULL : js_iter(obj); it && !j; it = js_iter_next(obj, it))
                if (strcasecmp(js_iter_key(it), name) == 0)
                        j = js_iter_value(it);
        return j;
}

/* ---- expressions ---- */

static void blanks(struct action *a)
{
        while (a->p < a->end && isspace((unsigned char)*a->p))
                a->p++;
}

static bool name_char(char c)
{
        return isalnum((unsigned char)c) || c == '_' || c == '-';
}

/* ".A.B", from dot. */
static int field(struct tmpl *t, struct action *a, const struct js *dot, value *ret)
{
        const struct js *at = dot;
        bool first = true;
        char name[128];

        while (a->p < a->end && *a->p == '.') {
                size_t n = 0;

                a->p++;
                while (a->p < a->end && name_char(*a->p) && n < sizeof(name) - 1)
                        name[n++] = *a->p++;
                name[n] = '\0';
                if (!n)
                        break;
                if (first && dot == t->root && (t->flags & TEMPLATE_STRICT) && !member(at, name))
                        return refuse(t, "there is no field", name, n);
                at = at && js_is_obj(at) ? member(at, name) : NULL;
                first = false;
        }
        *ret = at ? js_ref(at) : NULL;
        return 0;
}

static int literal(struct tmpl *t, struct action *a, value *ret)
{
        AUTO_SB struct sb text = SB_INIT(1u << 16);
        char quote = *a->p++;

        for (; a->p < a->end && *a->p != quote; a->p++) {
                if (*a->p != '\\' || quote == '`' || a->p + 1 >= a->end) {
                        sb_char(&text, *a->p);
                        continue;
                }
                a->p++;
                sb_char(&text, *a->p == 'n' ? '\n' : *a->p == 't' ? '\t' : *a->p);
        }
        if (a->p >= a->end)
                return refuse(t, "unfinished string", a->p - text.len, text.len);
        a->p++;
        *ret = js_new_str(sb_text(&text));
        return *ret ? 0 : err_set(t->err, BLD_E_USAGE, "--format: text is not UTF-8");
}

static int number(struct tmpl *t, struct action *a, value *ret)
{
        char text[24];
        size_t n = 0;
        int64_t v;

        while (a->p < a->end && n < sizeof(text) - 1 &&
               (isdigit((unsigned char)*a->p) || *a->p == '-'))
                text[n++] = *a->p++;
        text[n] = '\0';
        if (!parse_i64(text, INT64_MIN, INT64_MAX, &v))
                return refuse(t, "not a number", text, n);
        *ret = js_new_i64(v);
        return *ret ? 0 : err_nomem(t->err, "template");
}

static int pipeline(struct tmpl *t, struct action *a, const struct js *dot, value *ret);

static int operand(struct tmpl *t, struct action *a, const struct js *dot, value *ret)
{
        int r;

        if (*a->p == '.')
                return field(t, a, dot, ret);
        if (*a->p == '"' || *a->p == '`')
                return literal(t, a, ret);
        if (isdigit((unsigned char)*a->p) || *a->p == '-')
                return number(t, a, ret);
        if (*a->p == '(' && t->depth < DEPTH_MAX) {
                AUTO_JS struct js *v = NULL;

                a->p++;
                t->depth++;
                r = pipeline(t, a, dot, &v);
                t->depth--;
                if (r == 0 && (a->p >= a->end || *a->p != ')'))
                        r = refuse(t, "missing ) in", a->p, (size_t)(a->end - a->p));
                if (r < 0)
                        return r;
                a->p++;
                *ret = TAKE_PTR(&v);
                return 0;
        }
        return refuse(t, "cannot do", a->p, (size_t)(a->end - a->p));
}

/* ---- functions ---- */

static value text_value(struct sb *b)
{
        return js_new_str(sb_text(b));
}

static value fn_json(struct js *const *v, size_t n)
{
        AUTO_SB struct sb b = SB_INIT(OUT_MAX);

        if (n != 1)
                return NULL;
        if (!v[0])
                return js_new_str("null");
        return js_write(v[0], JS_SHORT, &b, NULL) < 0 ? NULL : text_value(&b);
}

static value change_case(struct js *const *v, size_t n, char how)
{
        AUTO_SB struct sb b = SB_INIT(OUT_MAX);
        const char *s = n == 1 ? js_str(v[0]) : NULL;

        for (bool start = true; s && *s; s++) {
                int c = (unsigned char)*s;

                if (how == 'u' || (how == 't' && start))
                        c = c < 0x80 ? toupper(c) : c;
                else if (how == 'l')
                        c = c < 0x80 ? tolower(c) : c;
                start = *s == ' ';
                sb_char(&b, (char)c);
        }
        return s ? text_value(&b) : NULL;
}

static value fn_upper(struct js *const *v, size_t n)
{
        return change_case(v, n, 'u');
}

static value fn_lower(struct js *const *v, size_t n)
{
        return change_case(v, n, 'l');
}

static value fn_title(struct js *const *v, size_t n)
{
        return change_case(v, n, 't');
}

static value fn_join(struct js *const *v, size_t n)
{
        AUTO_SB struct sb b = SB_INIT(OUT_MAX);

        if (n != 2 || !js_is_str(v[1]))
                return NULL;
        for (size_t i = 0; i < js_len(v[0]); i++) {
                sb_str(&b, i ? js_str(v[1]) : "");
                template_print(js_at(v[0], i), &b);
        }
        return text_value(&b);
}

static value fn_index(struct js *const *v, size_t n)
{
        const struct js *at = n ? v[0] : NULL;

        for (size_t i = 1; i < n && at; i++) {
                if (js_is_obj(at) && js_is_str(v[i]))
                        at = js_get(at, js_str(v[i]));
                else if (js_is_arr(at) && js_is_int(v[i]) && js_i64(v[i], -1) >= 0)
                        at = js_at(at, (size_t)js_i64(v[i], 0));
                else
                        at = NULL;
        }
        return at ? js_ref(at) : NULL;
}

static value fn_len(struct js *const *v, size_t n)
{
        const char *s = n == 1 ? js_str(v[0]) : NULL;

        return js_new_i64((int64_t)(s ? strlen(s) : n == 1 ? js_len(v[0]) : 0));
}

static value printed(struct js *const *v, size_t n, const char *sep, const char *end)
{
        AUTO_SB struct sb b = SB_INIT(OUT_MAX);

        for (size_t i = 0; i < n; i++) {
                sb_str(&b, i ? sep : "");
                template_print(v[i], &b);
        }
        sb_str(&b, end);
        return text_value(&b);
}

static value fn_print(struct js *const *v, size_t n)
{
        return printed(v, n, "", "");
}

static value fn_println(struct js *const *v, size_t n)
{
        return printed(v, n, " ", "\n");
}

/* %s %v %d %q and %%, without widths. */
static value fn_printf(struct js *const *v, size_t n)
{
        AUTO_SB struct sb b = SB_INIT(OUT_MAX);
        const char *f = n ? js_str(v[0]) : NULL;
        size_t i = 1;

        if (!f)
                return NULL;
        for (; *f; f++) {
                if (*f != '%' || !f[1]) {
                        sb_char(&b, *f);
                        continue;
                }
                f++;
                if (*f == '%')
                        sb_char(&b, '%');
                else if (i >= n)
                        sb_fmt(&b, "%%!%c(MISSING)", *f);
                else if (*f == 'q' && js_write(v[i], JS_COMPACT, &b, NULL) == 0)
                        i++;
                else
                        template_print(v[i++], &b);
        }
        return text_value(&b);
}

static bool same(const struct js *x, const struct js *y)
{
        AUTO_SB struct sb a = SB_INIT(OUT_MAX), b = SB_INIT(OUT_MAX);

        template_print(x, &a);
        template_print(y, &b);
        return strcmp(sb_text(&a), sb_text(&b)) == 0;
}

static value fn_eq(struct js *const *v, size_t n)
{
        bool hit = false;

        for (size_t i = 1; i < n; i++)
                hit = hit || same(v[0], v[i]);
        return js_new_bool(hit);
}

static value fn_ne(struct js *const *v, size_t n)
{
        return js_new_bool(n == 2 && !same(v[0], v[1]));
}

static value fn_and(struct js *const *v, size_t n)
{
        size_t i = 0;

        while (i + 1 < n && truth(v[i]))
                i++;
        return n && v[i] ? js_ref(v[i]) : NULL;
}

static value fn_or(struct js *const *v, size_t n)
{
        size_t i = 0;

        while (i + 1 < n && !truth(v[i]))
                i++;
        return n && v[i] ? js_ref(v[i]) : NULL;
}

static value fn_not(struct js *const *v, size_t n)
{
        return js_new_bool(n == 1 && !truth(v[0]));
}

static const struct {
        const char *name;
        value (*fn)(struct js *const *v, size_t n);
} functions[] = {
        {"json", fn_json},       {"upper", fn_upper},   {"lower", fn_lower}, {"title", fn_title},
        {"join", fn_join},       {"index", fn_index},   {"len", fn_len},     {"print", fn_print},
        {"println", fn_println}, {"printf", fn_printf}, {"eq", fn_eq},       {"ne", fn_ne},
        {"and", fn_and},         {"or", fn_or},         {"not", fn_not},
};

/* A command: an operand, or a function with its operands; `piped`, if any, comes last. */
static int command(struct tmpl *t, struct action *a, const struct js *dot, value piped,
                   bool has_pipe, value *ret)
{
        struct js *v[ARGS_MAX + 1] = {0};
        const char *name;
        size_t n = 0, len = 0, f;
        int r = 0;

        blanks(a);
        if (a->p < a->end && !isalpha((unsigned char)*a->p))
                return has_pipe ? refuse(t, "not a function:", a->p, (size_t)(a->end - a->p))
                                : operand(t, a, dot, ret);
        name = a->p;
        while (a->p < a->end && isalpha((unsigned char)*a->p))
                a->p++;
        len = (size_t)(a->p - name);
        for (f = 0; f < ARRAY_LEN(functions); f++)
                if (strlen(functions[f].name) == len && memcmp(functions[f].name, name, len) == 0)
                        break;
        if (f == ARRAY_LEN(functions))
                return refuse(t, len ? "there is no function" : "empty action", name, len);
        for (;;) {
                blanks(a);
                if (a->p >= a->end || *a->p == '|' || *a->p == ')')
                        break;
                r = n < ARGS_MAX ? operand(t, a, dot, &v[n])
                                 : refuse(t, "too many arguments of", name, len);
                if (r < 0)
                        break;
                n++;
        }
        if (has_pipe && r == 0)
                v[n++] = js_ref(piped);
        if (r == 0)
                *ret = functions[f].fn(v, n);
        for (size_t i = 0; i < n; i++)
                js_free(v[i]);
        return r;
}

static int pipeline(struct tmpl *t, struct action *a, const struct js *dot, value *ret)
{
        value v = NULL;
        int r = command(t, a, dot, NULL, false, &v);

        for (blanks(a); r == 0 && a->p < a->end && *a->p == '|'; blanks(a)) {
                value in = v;

                a->p++;
                v = NULL;
                r = command(t, a, dot, in, true, &v);
                js_free(in);
        }
        if (r < 0)
                js_free(v);
        else
                *ret = v;
        return r;
}

static int whole_pipeline(struct tmpl *t, struct action *a, const struct js *dot, value *ret)
{
        value v = NULL;
        int r = pipeline(t, a, dot, &v);

        if (r == 0 && a->p < a->end)
                r = refuse(t, "cannot do", a->p, (size_t)(a->end - a->p));
        if (r < 0)
                js_free(v);
        else
                *ret = v;
        return r;
}

/* ---- text and blocks ---- */

/* "\t" and "\n" outside actions, as docker's formatter reads them. */
static void plain(struct tmpl *t, const char *s, size_t n, bool live)
{
        for (size_t i = 0; live && i < n; i++) {
                if (s[i] == '\\' && i + 1 < n && (s[i + 1] == 't' || s[i + 1] == 'n'))
                        sb_char(t->out, s[++i] == 't' ? '\t' : '\n');
                else
                        sb_char(t->out, s[i]);
        }
}

static const char *action_end(const char *p)
{
        char quote = 0;

        for (; *p; p++) {
                if (quote) {
                        if (*p == '\\' && quote == '"' && p[1])
                                p++;
                        else if (*p == quote)
                                quote = 0;
                } else if (*p == '"' || *p == '`') {
                        quote = *p;
                } else if (p[0] == '}' && p[1] == '}') {
                        return p;
                }
        }
        return NULL;
}

/* Text up to the next action, which becomes *a. 1: an action, 0: the end of the template. */
static int next_action(struct tmpl *t, struct action *a, bool live)
{
        const char *open = strstr(t->p, "{{"), *text = t->p, *close;
        size_t n = open ? (size_t)(open - text) : strlen(text);

        if (!open) {
                plain(t, text, n, live);
                t->p += n;
                return 0;
        }
        close = action_end(open + 2);
        if (!close)
                return refuse(t, "missing }} after", open, strlen(open));
        a->p = open + 2;
        a->end = close;
        t->p = close + 2;
        if (a->p + 1 < a->end && a->p[0] == '-' && isspace((unsigned char)a->p[1])) {
                a->p++;
                while (n && isspace((unsigned char)text[n - 1]))
                        n--;
        }
        plain(t, text, n, live);
        if (a->end - 2 >= a->p && a->end[-1] == '-' && isspace((unsigned char)a->end[-2])) {
                a->end--;
                while (isspace((unsigned char)*t->p))
                        t->p++;
        }
        while (a->end > a->p && isspace((unsigned char)a->end[-1]))
                a->end--;
        blanks(a);
        return 1;
}

static bool keyword(struct action *a, const char *word)
{
        size_t n = strlen(word);

        if ((size_t)(a->end - a->p) < n || memcmp(a->p, word, n) != 0 ||
            (a->p + n < a->end && !isspace((unsigned char)a->p[n])))
                return false;
        a->p += n;
        blanks(a);
        return true;
}

enum stop { AT_TEXT_END = 0, AT_END, AT_ELSE };

static int block(struct tmpl *t, const struct js *dot, bool live);

/* After {{if}}: the branch taken prints, the other is only walked over. */
static int if_block(struct tmpl *t, const struct js *dot, bool yes, bool live)
{
        int r = block(t, dot, live && yes);

        if (r == AT_ELSE)
                r = block(t, dot, live && !yes);
        if (r == AT_END)
                return 0;
        return r < 0 ? r : refuse(t, "missing {{end}} of", "if", 2);
}

static int range_block(struct tmpl *t, const struct js *dot, const struct js *list, bool live)
{
        const char *body = t->p;
        size_t n = live ? js_len(list) : 0;
        void *it = js_is_obj(list) ? js_iter(list) : NULL;
        int r = AT_END;

        for (size_t i = 0; i < n; i++) {
                t->p = body;
                r = block(t, js_is_obj(list) ? js_iter_value(it) : js_at(list, i), true);
                if (it)
                        it = js_iter_next(list, it);
                if (r < 0)
                        return r;
        }
        if (n == 0)
                r = block(t, dot, false);
        if (r == AT_ELSE)
                r = block(t, dot, live && n == 0);
        if (r == AT_END)
                return 0;
        return r < 0 ? r : refuse(t, "missing {{end}} of", "range", 5);
}

static int do_action(struct tmpl *t, struct action *a, const struct js *dot, bool live)
{
        bool is_if = keyword(a, "if"), is_range = !is_if && keyword(a, "range");
        AUTO_JS struct js *v = NULL;
        int r;

        if (a->p + 1 < a->end && a->p[0] == '/' && a->p[1] == '*')
                return 0;
        if (a->p < a->end && *a->p == '$')
                return refuse(t, "variables are not supported:", a->p, (size_t)(a->end - a->p));
        r = whole_pipeline(t, a, dot, &v);
        if (r < 0)
                return r;
        if (is_if)
                return if_block(t, dot, truth(v), live);
        if (is_range)
                return range_block(t, dot, v, live);
        if (live)
                template_print(v, t->out);
        return 0;
}

/* Up to the end of the template or of the block; returns enum stop or a failure. */
static int block(struct tmpl *t, const struct js *dot, bool live)
{
        struct action a;
        int r;

        if (t->depth >= DEPTH_MAX)
                return refuse(t, "too deeply nested at", t->p, strlen(t->p));
        t->depth++;
        while ((r = next_action(t, &a, live)) == 1) {
                if (keyword(&a, "end")) {
                        r = AT_END;
                        break;
                }
                if (keyword(&a, "else")) {
                        r = a.p < a.end ? refuse(t, "cannot do", "else if", 7) : AT_ELSE;
                        break;
                }
                r = do_action(t, &a, dot, live);
                if (r < 0)
                        break;
        }
        t->depth--;
        return r;
}

int template_run(const char *text, const struct js *dot, unsigned flags, struct sb *out,
                 struct bld_err *err)
{
        struct tmpl t = {.p = text, .root = dot, .flags = flags, .out = out, .err = err};
        int r = block(&t, dot, true);

        if (r < 0)
                return r;
        if (r != AT_TEXT_END)
                return refuse(&t, "unexpected", r == AT_END ? "end" : "else", r == AT_END ? 3 : 4);
        return sb_check(out, "the formatted text", err);
}
