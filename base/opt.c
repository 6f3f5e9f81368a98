#include "base/opt.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/num.h"
#include "base/sb.h"

size_t edit_distance(const char *a, const char *b)
{
        size_t n = strlen(a), m = strlen(b);
        size_t row[2][65];

        if (n > 64 || m > 64)
                return SIZE_MAX;
        for (size_t j = 0; j <= m; j++)
                row[0][j] = j;
        for (size_t i = 1; i <= n; i++) {
                size_t *cur = row[i & 1], *prev = row[(i - 1) & 1];

                cur[0] = i;
                for (size_t j = 1; j <= m; j++) {
                        size_t d = prev[j - 1] + (a[i - 1] != b[j - 1]);

                        d = MIN(d, prev[j] + 1);
                        cur[j] = MIN(d, cur[j - 1] + 1);
                }
        }
        return row[n & 1][m];
}

const char *near_match(const char *word, const char *const *candidates, size_t n, size_t limit)
{
        const char *best = NULL;

        for (size_t i = 0; i < n; i++) {
                size_t d = candidates[i] ? edit_distance(word, candidates[i]) : SIZE_MAX;

                if (d > 0 && d < limit) {
                        limit = d;
                        best = candidates[i];
                }
        }
        return best;
}

int csv_split(const char *s, struct strv *out, struct bld_err *err)
{
        AUTO_SB struct sb f = SB_INIT(1u << 20);
        const char *p = s;

        for (;;) {
                sb_reset(&f);
                if (*p == '"') {
                        for (p++; *p && !(*p == '"' && p[1] != '"'); p++) {
                                p += *p == '"';
                                sb_char(&f, *p);
                        }
                        if (*p != '"' || (p[1] && p[1] != ','))
                                return err_set(err, BLD_E_INVALID, "unbalanced quote in \"%.200s\"",
                                               s);
                        p++;
                } else {
                        for (; *p && *p != ','; p++) {
                                if (*p == '"')
                                        return err_set(err, BLD_E_INVALID,
                                                       "bare quote in \"%.200s\"", s);
                                sb_char(&f, *p);
                        }
                }
                if (sb_check(&f, "field", err) < 0)
                        return BLD_E_LIMIT;
                if (strv_add(out, sb_text(&f)) < 0)
                        return err_nomem(err, "fields");
                if (!*p)
                        return 0;
                p++;
        }
}

struct parse {
        const struct opt *const *tables;
        size_t ntables;
        void *dst;
        const struct opt_note *note;
        struct bld_err *err;
};

/* Tables end with an entry whose name is NULL. */
static const struct opt *find_long(const struct parse *p, const char *name, size_t len)
{
        for (size_t t = 0; t < p->ntables; t++)
                for (const struct opt *o = p->tables[t]; o->name; o++)
                        if (strlen(o->name) == len && memcmp(o->name, name, len) == 0)
                                return o;
        return NULL;
}

static const struct opt *find_short(const struct parse *p, char letter)
{
        for (size_t t = 0; t < p->ntables; t++)
                for (const struct opt *o = p->tables[t]; o->name; o++)
                        if (o->letter == letter)
                                return o;
        return NULL;
}

static int unknown(const struct parse *p, const char *name)
{
        const char *names[512];
        const char *near;
        size_t n = 0;

        for (size_t t = 0; t < p->ntables; t++)
                for (const struct opt *o = p->tables[t]; o->name && n < ARRAY_LEN(names); o++)
                        if (o->help)
                                names[n++] = o->name;
        near = near_match(name, names, n, 3);
        (void)err_set(p->err, BLD_E_USAGE, "unknown flag --%.100s", name);
        if (near)
                return err_try(p->err, BLD_E_USAGE, "did you mean --%s?", near);
        return BLD_E_USAGE;
}

static int store_bool(const struct parse *p, const struct opt *o, const char *value, bool negate)
{
        bool v = true;

        if (value && !parse_go_bool(value, &v))
                return err_set(p->err, BLD_E_USAGE, "--%s takes true or false, not \"%.100s\"",
                               o->name, value);
        *(bool *)(void *)((char *)p->dst + o->offset) = negate ? !v : v;
        return 0;
}

static int store(const struct parse *p, const struct opt *o, const char *value, bool negate)
{
        void *at = (char *)p->dst + o->offset;
        char text[256];

        switch (o->kind) {
        case OPT_BOOL:
                return store_bool(p, o, value, negate);
        case OPT_STR:
        case OPT_OPTSTR:
                *(const char **)at = value ? value : "";
                return 0;
        case OPT_LIST:
                if (!value || !*value) {
                        strv_done(at);
                        return 0;
                }
                return strv_add(at, value) < 0 ? err_nomem(p->err, "arguments") : 0;
        case OPT_NOTE:
                (void)snprintf(text, sizeof(text), "--%s has no effect in bld%s%s", o->name,
                               o->help ? ": " : "", o->help ? o->help : "");
                if (p->note && p->note->fn)
                        p->note->fn(p->note->user, text);
                return 0;
        case OPT_REFUSE:
                (void)err_set(p->err, BLD_E_USAGE, "unknown flag --%s", o->name);
                return err_note(p->err, BLD_E_USAGE, "%s", o->help);
        }
        return err_set(p->err, BLD_E_BUG, "option kind of --%s", o->name);
}

static bool wants_value(const struct opt *o)
{
        return o->kind == OPT_STR || o->kind == OPT_LIST ||
               ((o->kind == OPT_NOTE || o->kind == OPT_REFUSE) && o->arg);
}

/* One long option at argv[*i]; may consume the next argument. */
static int parse_long(const struct parse *p, int argc, char **argv, int *i)
{
        const char *name = argv[*i] + 2, *eq = strchr(name, '='), *value = eq ? eq + 1 : NULL;
        size_t len = eq ? (size_t)(eq - name) : strlen(name);
        const struct opt *o = find_long(p, name, len);
        bool negate = false;
        char word[128];

        if (!o && len > 3 && memcmp(name, "no-", 3) == 0) {
                o = find_long(p, name + 3, len - 3);
                if (o && o->kind != OPT_BOOL)
                        o = NULL;
                negate = o != NULL;
        }
        (void)snprintf(word, sizeof(word), "%.*s", (int)MIN(len, sizeof(word) - 1), name);
        if (!o)
                return unknown(p, word);
        if (!value && wants_value(o)) {
                if (o->kind == OPT_REFUSE)
                        return store(p, o, NULL, false);
                if (*i + 1 >= argc)
                        return err_set(p->err, BLD_E_USAGE, "--%s needs a value (%s)", o->name,
                                       o->arg ? o->arg : "VALUE");
                value = argv[++*i];
        }
        return store(p, o, value, negate);
}

/* A cluster of short options, "-qf x". */
static int parse_short(const struct parse *p, int argc, char **argv, int *i)
{
        for (const char *s = argv[*i] + 1; *s; s++) {
                const struct opt *o = find_short(p, *s);
                const char *value = NULL;
                int r;

                if (!o)
                        return err_set(p->err, BLD_E_USAGE, "unknown flag -%c", *s);
                if (wants_value(o)) {
                        if (s[1])
                                value = s[1] == '=' ? s + 2 : s + 1;
                        else if (*i + 1 < argc)
                                value = argv[++*i];
                        else
                                return err_set(p->err, BLD_E_USAGE, "-%c needs a value (%s)", *s,
                                               o->arg ? o->arg : "VALUE");
                        return store(p, o, value, false);
                }
                r = store(p, o, NULL, false);
                if (r < 0)
                        return r;
        }
        return 0;
}

int opt_parse(const struct opt *const *tables, size_t ntables, int argc, char **argv, void *dst,
              struct strv *args, const struct opt_note *note, struct bld_err *err)
{
        struct parse p = {tables, ntables, dst, note, err};
        bool only_args = false;
        int r = 0;

        for (int i = 1; i < argc && r == 0; i++) {
                const char *a = argv[i];

                if (only_args || a[0] != '-' || a[1] == '\0')
                        r = strv_add(args, a) < 0 ? err_nomem(err, "arguments") : 0;
                else if (strcmp(a, "--") == 0)
                        only_args = true;
                else if (a[1] == '-')
                        r = parse_long(&p, argc, argv, &i);
                else
                        r = parse_short(&p, argc, argv, &i);
        }
        return r;
}

#define HELP_WIDTH 80u
#define HELP_COLUMN 30u

/* text from column on, wrapped at blanks. */
static void wrapped(struct sb *out, const char *text, size_t column)
{
        size_t width = HELP_WIDTH - column;

        for (;;) {
                size_t n = strlen(text);

                if (n > width) {
                        n = width;
                        while (n > 0 && text[n] != ' ')
                                n--;
                        if (n == 0)
                                n = width;
                }
                sb_add(out, text, n);
                sb_char(out, '\n');
                text += n;
                while (*text == ' ')
                        text++;
                if (!*text)
                        return;
                sb_fmt(out, "%*s", (int)column, "");
        }
}

static void help_line(const struct opt *o, struct sb *out)
{
        char head[128], letter[8] = "    ";
        int n;

        if (o->letter)
                (void)snprintf(letter, sizeof(letter), "-%c, ", o->letter);
        n = snprintf(head, sizeof(head), "  %s--%s%s%s%s", letter, o->name,
                     o->kind == OPT_OPTSTR ? "[="
                     : o->arg              ? " "
                                           : "",
                     o->arg ? o->arg : "", o->kind == OPT_OPTSTR ? "]" : "");
        sb_str(out, head);
        if (n < 0 || (size_t)n + 2 > HELP_COLUMN)
                sb_fmt(out, "\n%*s", (int)HELP_COLUMN, "");
        else
                sb_fmt(out, "%*s", (int)HELP_COLUMN - n, "");
        wrapped(out, o->help, HELP_COLUMN);
}

void opt_help(const struct opt *const *tables, size_t ntables, struct sb *out)
{
        const char *group = NULL;

        for (size_t t = 0; t < ntables; t++) {
                for (const struct opt *o = tables[t]; o->name; o++) {
                        if (!o->help || o->kind == OPT_NOTE || o->kind == OPT_REFUSE)
                                continue;
                        if (o->group && (!group || strcmp(group, o->group) != 0)) {
                                group = o->group;
                                sb_fmt(out, "\n%s:\n", group);
                        }
                        help_line(o, out);
                }
        }
}
