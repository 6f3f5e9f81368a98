#include <string.h>

#include "base/err.h"
#include "base/json.h"
#include "parser/lex_priv.h"

#define SYNTAX_JSON_MAX ((size_t)1 << 20)

static bool is_re_space(char c)
{
        return c == ' ' || (c >= '\t' && c <= '\r' && c != '\v');
}

static bool is_name_char(char c, bool first)
{
        return ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || (!first && c >= '0' && c <= '9');
}

bool df_directive_scan(const char *s, size_t n, const char *prefix, struct df_directive *ret)
{
        size_t i = strlen(prefix), start;

        if (n < i || memcmp(s, prefix, i) != 0)
                return false;
        while (i < n && is_re_space(s[i]))
                i++;
        start = i;
        while (i < n && is_name_char(s[i], i == start))
                i++;
        ret->name.s = s + start;
        ret->name.n = i - start;
        while (i < n && is_re_space(s[i]))
                i++;
        if (ret->name.n == 0 || i == n || s[i] != '=')
                return false;
        for (i++; i < n && is_re_space(s[i]); i++)
                ;
        while (n > i && is_re_space(s[n - 1]))
                n--;
        ret->value.s = s + i;
        ret->value.n = n - i;
        return n > i;
}

bool df_directive_known(const struct df_directive *d)
{
        return text_eq_fold(d->name.s, d->name.n, "syntax") ||
               text_eq_fold(d->name.s, d->name.n, "escape") ||
               text_eq_fold(d->name.s, d->name.n, "check");
}

/* One line without its terminator; false at the end. */
static bool next_line(const char **p, const char *end, const char **ret, size_t *ret_n)
{
        const char *nl;

        if (*p == end)
                return false;
        nl = memchr(*p, '\n', (size_t)(end - *p));
        *ret = *p;
        *ret_n = (size_t)((nl ? nl : end) - *p);
        *p = nl ? nl + 1 : end;
        while (*ret_n > 0 && (*ret)[*ret_n - 1] == '\r')
                (*ret_n)--;
        return true;
}

/* The value up to its first blank: 1, 0 or NOMEM. */
static int find_with_prefix(struct df_arena *a, const char *p, const char *end, const char *name,
                            const char *prefix, char **ret)
{
        const char *line;
        size_t n;

        while (next_line(&p, end, &line, &n)) {
                size_t skip = text_skip_space(line, n);
                struct df_directive d;
                const char *blank;

                if (!df_directive_scan(line + skip, n - skip, prefix, &d) ||
                    !df_directive_known(&d))
                        return 0;
                if (!text_eq_fold(d.name.s, d.name.n, name))
                        continue;
                blank = memchr(d.value.s, ' ', d.value.n);
                *ret = df_arena_str(a, d.value.s, blank ? (size_t)(blank - d.value.s) : d.value.n);
                return *ret ? 1 : BLD_E_NOMEM;
        }
        return 0;
}

/* {"syntax": "..."}: the whole file is an object. */
static int find_in_json(struct df_arena *a, const char *p, const char *end, const char *name,
                        char **ret)
{
        size_t n = (size_t)(end - p), skip = text_skip_space(p, n);
        AUTO_JS struct js *j = NULL;
        const char *value;

        if (skip == n || p[skip] != '{' || n > SYNTAX_JSON_MAX)
                return 0;
        if (js_parse(p, n, &j, NULL) < 0)
                return 0;
        value = js_get_str(j, name);
        if (!value)
                return 0;
        *ret = df_arena_str(a, value, strcspn(value, " "));
        return *ret ? 1 : BLD_E_NOMEM;
}

int df_directive_find(struct df_arena *a, const char *text, size_t len, const char *name,
                      bool any_format, char **ret, struct bld_err *err)
{
        const char *p = text, *end = text + len, *line;
        char *value = NULL;
        size_t n;
        int r;

        if (len >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0)
                p += 3;
        if (end - p >= 2 && p[0] == '#' && p[1] == '!')
                (void)next_line(&p, end, &line, &n);
        r = find_with_prefix(a, p, end, name, "#", &value);
        if (r == 0 && any_format)
                r = find_with_prefix(a, p, end, name, "//", &value);
        if (r == 0 && any_format)
                r = find_in_json(a, p, end, name, &value);
        if (r < 0)
                return err_nomem(err, "parser directive");
        *ret = value;
        return 0;
}

int df_syntax(const char *text, size_t len, char **ret, struct bld_err *err)
{
        struct df_arena *a = df_arena_new();
        char *name = NULL;
        int r;

        *ret = NULL;
        if (!a)
                return err_nomem(err, "parser directive");
        r = df_directive_find(a, text, len, "syntax", true, &name, err);
        if (r == 0 && name) {
                *ret = mem_strdup(name);
                r = *ret ? 0 : err_nomem(err, "parser directive");
        }
        df_arena_free(a);
        return r;
}
