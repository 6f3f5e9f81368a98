/* What is wrong with an instruction whatever the build, in the words of BuildKit, which people look
 * up. The order of the tests is BuildKit's, too: a line with two mistakes reports the same one. */
#include <string.h>

#include "base/err.h"
#include "base/num.h"
#include "parser/lex_priv.h"
#include "parser/parser.h"

struct ctx {
        const struct df_instr *in;
        struct df_err_pos *pos;
        struct bld_err *err;
};

static void locate(const struct ctx *c, struct df_pos pos)
{
        if (c->pos)
                c->pos->pos = pos;
}

/* fmt takes the name of the instruction. */
__attribute__((format(printf, 2, 3))) static int fail(const struct ctx *c, const char *fmt, ...)
{
        va_list ap;

        locate(c, (struct df_pos){.line = c->in->line});
        va_start(ap, fmt);
        (void)err_vset(c->err, BLD_E_INVALID, fmt, ap);
        va_end(ap);
        return BLD_E_INVALID;
}

static int fail_one(const struct ctx *c)
{
        return fail(c, "%s requires exactly one argument", df_kind_name(c->in->kind));
}

static int fail_at_least_one(const struct ctx *c)
{
        return fail(c, "%s requires at least one argument", df_kind_name(c->in->kind));
}

/* ---- flags ---- */

enum flag_type { FLAG_STRING, FLAG_LIST, FLAG_BOOL };

struct flag_def {
        const char *name;
        enum flag_type type;
};

#define FLAGS_MAX 8

/* Of equally near suggestions the first is taken: the more usual flag comes first. */
static const struct flag_def from_flags[] = {{"platform", FLAG_STRING}};
static const struct flag_def copy_flags[] = {
        {"chown", FLAG_STRING}, {"chmod", FLAG_STRING}, {"exclude", FLAG_LIST},
        {"from", FLAG_STRING},  {"link", FLAG_BOOL},    {"parents", FLAG_BOOL},
};
static const struct flag_def add_flags[] = {
        {"checksum", FLAG_STRING}, {"chown", FLAG_STRING},      {"chmod", FLAG_STRING},
        {"exclude", FLAG_LIST},    {"keep-git-dir", FLAG_BOOL}, {"link", FLAG_BOOL},
        {"unpack", FLAG_BOOL},
};
static const struct flag_def run_flags[] = {
        {"device", FLAG_LIST},
        {"mount", FLAG_LIST},
        {"network", FLAG_STRING},
        {"security", FLAG_STRING},
};
static const struct flag_def health_flags[] = {
        {"interval", FLAG_STRING},     {"retries", FLAG_STRING}, {"start-interval", FLAG_STRING},
        {"start-period", FLAG_STRING}, {"timeout", FLAG_STRING},
};

static const struct flag_def *find_def(const struct flag_def *defs, size_t n, const char *name)
{
        for (size_t i = 0; i < n; i++)
                if (strcmp(defs[i].name, name) == 0)
                        return &defs[i];
        return NULL;
}

static int unknown_flag(const struct ctx *c, const struct df_flag *f, const struct flag_def *defs,
                        size_t n)
{
        const char *names[FLAGS_MAX] = {NULL}, *near;
        int r;

        for (size_t i = 0; i < n; i++)
                names[i] = defs[i].name;
        near = df_suggest(f->name, names, n, false);
        if (near)
                r = fail(c, "unknown flag: --%s (did you mean %s?)", f->name, near);
        else
                r = fail(c, "unknown flag: --%s", f->name);
        locate(c, f->pos);
        return r;
}

static int check_bool(const struct ctx *c, const struct df_flag *f)
{
        if (!f->value || text_eq_fold(f->value, strlen(f->value), "true") ||
            text_eq_fold(f->value, strlen(f->value), "false"))
                return 0;
        if (!f->value[0])
                return fail(c, "missing a value on flag: --%s", f->name);
        return fail(c, "expecting boolean value for flag --%s, not: %s", f->name, f->value);
}

static int check_flag(const struct ctx *c, size_t i, const struct flag_def *def)
{
        const struct df_flag *f = &c->in->flags[i];

        for (size_t k = 0; k < i && def->type != FLAG_LIST; k++)
                if (strcmp(c->in->flags[k].name, f->name) == 0)
                        return fail(c, "duplicate flag specified: --%s", f->name);
        if (def->type == FLAG_BOOL)
                return check_bool(c, f);
        return f->value ? 0 : fail(c, "missing a value on flag: --%s", f->name);
}

static int check_flags(const struct ctx *c, const struct flag_def *defs, size_t n)
{
        for (size_t i = 0; i < c->in->nflags; i++) {
                const struct flag_def *def = find_def(defs, n, c->in->flags[i].name);
                int r;

                if (!def)
                        return unknown_flag(c, &c->in->flags[i], defs, n);
                r = check_flag(c, i, def);
                if (r < 0) {
                        locate(c, c->in->flags[i].pos);
                        return r;
                }
        }
        return 0;
}

static int no_flags(const struct ctx *c)
{
        return check_flags(c, NULL, 0);
}

/* ---- one function per kind that needs one ---- */

static bool is_stage_name(const char *s)
{
        if (*s < 'a' || *s > 'z')
                return false;
        for (; *s; s++)
                if (!(*s >= 'a' && *s <= 'z') && !(*s >= '0' && *s <= '9') && *s != '-' &&
                    *s != '_' && *s != '.')
                        return false;
        return true;
}

static int check_from(const struct ctx *c)
{
        const struct df_instr *in = c->in;

        if (in->as_name && !is_stage_name(in->as_name)) {
                char q[TEXT_EXCERPT_MAX];
                int r = fail(c,
                             "invalid name for build stage: %s, name can't start with a number or "
                             "contain symbols",
                             text_excerpt(in->as_raw, strlen(in->as_raw), q));

                locate(c, in->args[2].pos);
                return r;
        }
        if (!in->as_name && in->nargs != 1)
                return fail(c, "FROM requires either one or three arguments");
        return check_flags(c, from_flags, ARRAY_LEN(from_flags));
}

static int check_transfer(const struct ctx *c)
{
        const struct df_instr *in = c->in;
        const char *name = df_kind_name(in->kind);
        const struct df_heredoc *h;
        int r;

        if (in->nargs < 2)
                return fail(c,
                            "%s requires at least two arguments, but only one was provided. "
                            "Destination could not be determined",
                            name);
        if (in->kind == DF_COPY)
                r = check_flags(c, copy_flags, ARRAY_LEN(copy_flags));
        else
                r = check_flags(c, add_flags, ARRAY_LEN(add_flags));
        if (r < 0)
                return r;
        r = df_heredoc_find(in, in->args[in->nargs - 1].text, &h, c->err);
        if (r == 1) {
                r = fail(c, "%s cannot accept a heredoc as a destination", name);
                locate(c, in->args[in->nargs - 1].pos);
        }
        return r;
}

static int check_pairs(const struct ctx *c)
{
        const struct df_instr *in = c->in;
        int r = in->kind == DF_ARG ? 0 : no_flags(c); /* flags of ARG are not looked at */

        if (r < 0)
                return r;
        if (in->npairs == 0)
                return fail_at_least_one(c);
        for (size_t i = 0; i < in->npairs; i++) {
                if (in->pairs[i].key[0])
                        continue;
                r = fail(c, "%s names can not be blank", df_kind_name(in->kind));
                locate(c, in->pairs[i].pos);
                return r;
        }
        return 0;
}

static int check_volume(const struct ctx *c)
{
        const struct df_instr *in = c->in;
        int r;

        if (in->nargs == 0)
                return fail_at_least_one(c);
        r = no_flags(c);
        for (size_t i = 0; r == 0 && i < in->nargs; i++) {
                const char *s = in->args[i].text;

                if (text_skip_space(s, strlen(s)) == strlen(s))
                        r = fail(c, "VOLUME specified can not be an empty string");
        }
        return r;
}

static int check_shell(const struct ctx *c)
{
        int r = no_flags(c);

        if (r < 0)
                return r;
        if (c->in->cmd.argv.n == 0)
                return fail_at_least_one(c);
        if (!c->in->cmd.json)
                return fail(c, "SHELL requires the arguments to be in JSON form");
        return 0;
}

static int check_interval(const struct ctx *c, const char *name)
{
        const char *s = df_flag(c->in, name);
        char q[TEXT_EXCERPT_MAX];
        int64_t ns;

        if (!s || !s[0])
                return 0;
        if (!parse_go_duration(s, &ns)) {
                size_t unit = strspn(s, "+-0123456789.");
                bool bare = unit > 0 && !s[unit] && strpbrk(s, "0123456789");

                return fail(c, "time: %s duration %s", bare ? "missing unit in" : "invalid",
                            text_excerpt(s, strlen(s), q));
        }
        if (ns != 0 && ns < 1000000)
                return fail(c, "Interval \"%s\" cannot be less than 1ms", name);
        return 0;
}

static int check_retries(const struct ctx *c)
{
        const char *s = df_flag(c->in, "retries");
        char q[TEXT_EXCERPT_MAX];
        int64_t v;

        if (!s || !s[0])
                return 0;
        if (!parse_i64(s, INT32_MIN, INT32_MAX, &v)) {
                const char *digits = s + (*s == '-' || *s == '+');
                bool number = *digits && !digits[strspn(digits, "0123456789")];

                return fail(c, "strconv.ParseInt: parsing %s: %s", text_excerpt(s, strlen(s), q),
                            number ? "value out of range" : "invalid syntax");
        }
        if (v < 0)
                return fail(c, "--retries cannot be negative (%d)", (int)v);
        return 0;
}

static int check_health(const struct ctx *c)
{
        static const char *const intervals[] = {"interval", "timeout", "start-period",
                                                "start-interval"};
        const struct df_instr *in = c->in;
        const char *type;
        int r;

        if (in->nargs == 0)
                return fail_at_least_one(c);
        if (in->health == DF_HEALTH_NONE)
                return in->cmd.argv.n ? fail(c, "HEALTHCHECK NONE takes no arguments") : 0;
        r = check_flags(c, health_flags, ARRAY_LEN(health_flags));
        if (r < 0)
                return r;
        type = in->args[0].text;
        if (!text_eq_fold(type, strlen(type), "CMD")) {
                char q[TEXT_EXCERPT_MAX];

                (void)text_excerpt(type, strlen(type), q);
                for (char *s = q; *s; s++)
                        if (*s >= 'a' && *s <= 'z')
                                *s = (char)(*s - 32);
                return fail(c, "Unknown type %s in HEALTHCHECK (try CMD)", q);
        }
        if (in->cmd.argv.n == 0)
                return fail(c, "Missing command after HEALTHCHECK CMD");
        for (size_t i = 0; r == 0 && i < ARRAY_LEN(intervals); i++)
                r = check_interval(c, intervals[i]);
        return r < 0 ? r : check_retries(c);
}

static int check_onbuild(const struct ctx *c)
{
        const struct df_instr *in = c->in;
        int r;

        if (!in->sub)
                return fail_at_least_one(c);
        r = no_flags(c);
        if (r < 0)
                return r;
        if (in->sub->kind == DF_ONBUILD)
                return fail(c, "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed");
        if (in->sub->kind == DF_FROM || in->sub->kind == DF_MAINTAINER)
                return fail(c, "%s isn't allowed as an ONBUILD trigger",
                            df_kind_name(in->sub->kind));
        return 0;
}

/* In alphabetical order, as suggestions are sought. */
static const enum df_kind kinds_by_name[] = {
        DF_ADD,    DF_ARG,   DF_CMD,         DF_COPY,  DF_ENTRYPOINT, DF_ENV,
        DF_EXPOSE, DF_FROM,  DF_HEALTHCHECK, DF_LABEL, DF_MAINTAINER, DF_ONBUILD,
        DF_RUN,    DF_SHELL, DF_STOPSIGNAL,  DF_USER,  DF_VOLUME,     DF_WORKDIR,
};

static int check_unknown(const struct ctx *c)
{
        const char *names[ARRAY_LEN(kinds_by_name)], *word = c->in->word, *near;
        char like[32];
        bool upper = false;

        for (size_t i = 0; i < ARRAY_LEN(kinds_by_name); i++)
                names[i] = df_kind_name(kinds_by_name[i]);
        near = df_suggest(word, names, ARRAY_LEN(names), true);
        if (!near)
                return fail(c, "unknown instruction: %s", word);
        for (const char *s = word; *s; s++)
                upper = upper || (*s >= 'A' && *s <= 'Z');
        (void)str_copy(like, sizeof(like), near);
        if (!upper)
                text_lower(like);
        return fail(c, "unknown instruction: %s (did you mean %s?)", word, like);
}

static int check_single(const struct ctx *c)
{
        if (c->in->nargs != 1)
                return fail_one(c);
        return c->in->kind == DF_STOPSIGNAL ? 0 : no_flags(c);
}

static int check_expose(const struct ctx *c)
{
        return c->in->nargs == 0 ? fail_at_least_one(c) : no_flags(c);
}

static int check_kind(const struct ctx *c)
{
        switch (c->in->kind) {
        case DF_UNKNOWN:
                return check_unknown(c);
        case DF_FROM:
                return check_from(c);
        case DF_RUN:
                return check_flags(c, run_flags, ARRAY_LEN(run_flags));
        case DF_CMD:
        case DF_ENTRYPOINT:
                return no_flags(c);
        case DF_SHELL:
                return check_shell(c);
        case DF_COPY:
        case DF_ADD:
                return check_transfer(c);
        case DF_ENV:
        case DF_LABEL:
        case DF_ARG:
                return check_pairs(c);
        case DF_WORKDIR:
        case DF_USER:
        case DF_STOPSIGNAL:
        case DF_MAINTAINER:
                return check_single(c);
        case DF_VOLUME:
                return check_volume(c);
        case DF_EXPOSE:
                return check_expose(c);
        case DF_HEALTHCHECK:
                return check_health(c);
        case DF_ONBUILD:
                return check_onbuild(c);
        }
        return 0;
}

/* No argument of a process, no path and no value of an image can hold U+0000. */
static int check_nul(const struct ctx *c)
{
        const struct df_instr *in = c->in;

        for (size_t i = 0; in->cmd.json && i < in->cmd.argv.n; i++)
                if (strstr(in->cmd.argv.v[i], "\xc0\x80"))
                        return fail(c, "%s: a string contains a NUL character",
                                    df_kind_name(in->kind));
        for (size_t i = 0; in->args_json && i < in->nargs; i++)
                if (strstr(in->args[i].text, "\xc0\x80"))
                        return fail(c, "%s: a string contains a NUL character",
                                    df_kind_name(in->kind));
        return 0;
}

int df_check_instr(const struct df_instr *in, struct df_err_pos *ret_pos, struct bld_err *err)
{
        const struct ctx c = {.in = in, .pos = ret_pos, .err = err};
        int r;

        locate(&c, (struct df_pos){.line = in->line});
        r = check_kind(&c);
        return r < 0 ? r : check_nul(&c);
}

int df_check(const struct df_file *f, struct df_err_pos *ret_pos, struct bld_err *err)
{
        bool stage = false;

        for (size_t i = 0; i < f->n; i++) {
                const struct ctx c = {.in = &f->v[i], .pos = ret_pos, .err = err};
                int r = df_check_instr(&f->v[i], ret_pos, err);

                if (r < 0)
                        return r;
                stage = stage || f->v[i].kind == DF_FROM;
                if (!stage && f->v[i].kind != DF_ARG)
                        return fail(&c, "no build stage in current context");
        }
        if (stage)
                return 0;
        if (ret_pos)
                *ret_pos = (struct df_err_pos){0};
        return err_set(err, BLD_E_INVALID, "dockerfile contains no stages to build");
}

const char *df_flag(const struct df_instr *in, const char *name)
{
        for (size_t i = in->nflags; i-- > 0;)
                if (strcmp(in->flags[i].name, name) == 0)
                        return in->flags[i].value ? in->flags[i].value : "";
        return NULL;
}

bool df_flag_bool(const struct df_instr *in, const char *name)
{
        const char *v = df_flag(in, name);

        return v && (!v[0] || text_eq_fold(v, strlen(v), "true"));
}
