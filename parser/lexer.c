/* Bytes -> logical lines -> instructions (sections 1 to 3 of the language).
 *
 * A logical line of one physical line, which is nearly every one, is used where it stands in the
 * source; only continued lines are joined in a buffer. Either way a list of segments leads from an
 * offset back to line and column. Every byte is looked at a constant number of times. */
#include <string.h>

#include "base/err.h"
#include "parser/lex_priv.h"
#include "parser/parser.h"

#define TEXT_MAX ((size_t)16 << 20)
#define INSTR_MAX ((size_t)100000)
#define DEFAULT_ESCAPE '\\'

VEC_DEFINE(seg_vec, struct df_seg);
VEC_DEFINE(instr_vec, struct df_instr);
VEC_DEFINE(warning_vec, struct df_warning);
VEC_DEFINE(text_vec, struct text);

struct lexer {
        struct df_file *f;
        const char *p, *end;
        unsigned line; /* number of the last line read */

        bool directives_over;
        bool seen_syntax, seen_escape, seen_check;

        struct text_vec comments; /* waiting for the next instruction */
        struct sb joined;
        struct seg_vec segs;
        struct instr_vec instrs;
        struct warning_vec warnings;

        struct df_err_pos *pos;
        struct bld_err *err;
};

static void lexer_done(struct lexer *x)
{
        text_vec_done(&x->comments);
        sb_done(&x->joined);
        seg_vec_done(&x->segs);
        instr_vec_done(&x->instrs);
        warning_vec_done(&x->warnings);
}

static int nomem(struct lexer *x)
{
        return err_nomem(x->err, "Dockerfile");
}

static int fail(struct lexer *x, unsigned line, const char *what)
{
        if (x->pos)
                x->pos->pos = (struct df_pos){.line = line};
        return err_set(x->err, BLD_E_INVALID, "%s", what);
}

/* One physical line. */
struct phys {
        const char *s;
        size_t n;     /* without trailing CR and LF */
        size_t whole; /* with them */
        unsigned col; /* 1-based column of s */
};

static bool read_line(struct lexer *x, struct phys *ret)
{
        const char *nl;

        if (x->p == x->end)
                return false;
        nl = memchr(x->p, '\n', (size_t)(x->end - x->p));
        ret->s = x->p;
        ret->whole = ret->n = (size_t)((nl ? nl + 1 : x->end) - x->p);
        ret->col = 1;
        while (ret->n > 0 && (ret->s[ret->n - 1] == '\n' || ret->s[ret->n - 1] == '\r'))
                ret->n--;
        x->p += ret->whole;
        x->line++;
        return true;
}

static void cut_front(struct phys *l, size_t n)
{
        l->s += n;
        l->n -= n;
        l->col += (unsigned)n;
}

static bool is_comment(const struct phys *l)
{
        size_t skip = text_skip_space(l->s, l->n);

        return skip < l->n && l->s[skip] == '#';
}

/* Does the line go on in the next one? Then *ret_keep is what stays of it: the escape must be the
 * last character but blanks, and no second one may stand before it. */
static bool continues(const struct lexer *x, const struct phys *l, size_t *ret_keep)
{
        size_t n = l->n;

        while (n > 0 && (l->s[n - 1] == ' ' || l->s[n - 1] == '\t'))
                n--;
        if (n == 0 || l->s[n - 1] != x->f->escape)
                return false;
        if (n >= 2 && l->s[n - 2] == x->f->escape)
                return false;
        *ret_keep = n - 1;
        return true;
}

/* ---- directives and comments ---- */

static int use_directive(struct lexer *x, const struct df_directive *d)
{
        bool syntax = text_eq_fold(d->name.s, d->name.n, "syntax");
        bool escape = text_eq_fold(d->name.s, d->name.n, "escape");
        bool *seen = syntax ? &x->seen_syntax : escape ? &x->seen_escape : &x->seen_check;

        if (*seen) {
                if (x->pos)
                        x->pos->pos = (struct df_pos){.line = x->line};
                return err_set(x->err, BLD_E_INVALID, "only one %s parser directive can be used",
                               syntax   ? "syntax"
                               : escape ? "escape"
                                        : "check");
        }
        *seen = true;
        if (!escape)
                return 0;
        if (d->value.n != 1 || (d->value.s[0] != '\\' && d->value.s[0] != '`')) {
                if (x->pos)
                        x->pos->pos = (struct df_pos){.line = x->line};
                return err_set(x->err, BLD_E_INVALID,
                               "invalid escape token '%.*s' does not match ` or \\",
                               (int)MIN(d->value.n, 100), d->value.s);
        }
        x->f->escape = d->value.s[0];
        return 0;
}

/* 1 when the line was a directive. The first line that is none ends the search for good. */
static int try_directive(struct lexer *x, const struct phys *l)
{
        struct df_directive d;
        int r;

        if (x->directives_over)
                return 0;
        if (!df_directive_scan(l->s, l->n, "#", &d) || !df_directive_known(&d)) {
                x->directives_over = true;
                return 0;
        }
        r = use_directive(x, &d);
        return r < 0 ? r : 1;
}

/* A comment waits for the instruction below; an empty one drops those above it. */
static int keep_comment(struct lexer *x, const struct phys *l)
{
        struct text t = {l->s + 1, l->n - 1}, *slot; /* behind the '#' */
        size_t skip = text_skip_space(t.s, t.n);

        t.s += skip;
        t.n -= skip;
        t.n -= text_space_tail(t.s, t.n);
        if (t.n == 0) {
                x->comments.n = 0;
                return 0;
        }
        slot = text_vec_push(&x->comments);
        if (!slot)
                return nomem(x);
        *slot = t;
        return 0;
}

static int attach_comments(struct lexer *x, struct df_instr *in)
{
        size_t n = x->comments.n;

        if (n == 0)
                return 0;
        in->comments.v = df_arena_alloc(x->f->arena, n, sizeof(char *));
        if (!in->comments.v)
                return nomem(x);
        for (size_t i = 0; i < n; i++) {
                in->comments.v[i] = df_arena_str(x->f->arena, x->comments.v[i].s,
                                                 strnlen(x->comments.v[i].s, x->comments.v[i].n));
                if (!in->comments.v[i])
                        return nomem(x);
        }
        in->comments.n = in->comments.cap = n;
        x->comments.n = 0;
        return 0;
}

/* ---- logical lines ---- */

static int add_seg(struct lexer *x, const struct phys *l, size_t off)
{
        struct df_seg *s = seg_vec_push(&x->segs);

        if (!s)
                return nomem(x);
        *s = (struct df_seg){.off = off, .line = x->line, .col = l->col};
        return 0;
}

static int append(struct lexer *x, const struct phys *l, size_t n)
{
        int r = add_seg(x, l, x->joined.len);

        if (r < 0)
                return r;
        sb_add(&x->joined, l->s, n);
        return sb_check(&x->joined, "instruction", x->err);
}

/* The lines behind a continued one. Comments and blank lines between them are skipped. */
static int join_lines(struct lexer *x, bool *ret_empty_line)
{
        struct phys l;
        size_t keep;
        bool more = true;

        *ret_empty_line = false;
        while (more && read_line(x, &l)) {
                int r;

                if (is_comment(&l))
                        continue;
                if (text_skip_space(l.s, l.n) == l.n) {
                        *ret_empty_line = true;
                        continue;
                }
                more = continues(x, &l, &keep);
                r = append(x, &l, more ? keep : l.n);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int warn(struct lexer *x, const char *rule)
{
        struct df_warning *w = warning_vec_push(&x->warnings);

        if (!w)
                return nomem(x);
        *w = (struct df_warning){.rule = rule, .line = x->line};
        return 0;
}

/* The logical line that begins with l. */
static int read_logical(struct lexer *x, const struct phys *l, struct df_logical *ret)
{
        size_t keep;
        bool empty_line;
        int r;

        x->segs.n = 0;
        sb_reset(&x->joined);
        if (continues(x, l, &keep)) {
                r = append(x, l, keep);
                if (r == 0)
                        r = join_lines(x, &empty_line);
                if (r == 0 && empty_line)
                        r = warn(x, "NoEmptyContinuation");
                if (r < 0)
                        return r;
                ret->text = sb_text(&x->joined);
                ret->len = x->joined.len;
        } else {
                r = add_seg(x, l, 0);
                if (r < 0)
                        return r;
                ret->text = l->s;
                ret->len = l->n;
        }
        ret->segs = x->segs.v;
        ret->nsegs = x->segs.n;
        return 0;
}

/* ---- heredocs ---- */

static bool may_have_heredocs(const struct df_instr *in)
{
        if (in->kind == DF_ONBUILD && in->sub)
                in = in->sub; /* one level: a chain is refused later anyway */
        switch (in->kind) {
        case DF_RUN:
                return !in->cmd.json;
        case DF_COPY:
        case DF_ADD:
                return !in->args_json;
        case DF_UNKNOWN:
        case DF_FROM:
        case DF_CMD:
        case DF_ENTRYPOINT:
        case DF_SHELL:
        case DF_ENV:
        case DF_LABEL:
        case DF_ARG:
        case DF_WORKDIR:
        case DF_USER:
        case DF_VOLUME:
        case DF_EXPOSE:
        case DF_STOPSIGNAL:
        case DF_HEALTHCHECK:
        case DF_MAINTAINER:
        case DF_ONBUILD:
                break;
        }
        return false;
}

static bool ends_heredoc(const struct df_heredoc *h, size_t name_len, const struct phys *l)
{
        size_t skip = 0;

        while (h->chomp && skip < l->n && l->s[skip] == '\t')
                skip++;
        return l->n - skip == name_len && memcmp(l->s + skip, h->name, name_len) == 0;
}

static int read_body(struct lexer *x, struct df_heredoc *h, unsigned instr_line)
{
        size_t name_len = strlen(h->name);
        const char *start = x->p;
        struct phys l;

        h->line = x->line + 1;
        for (;;) {
                if (!read_line(x, &l))
                        return fail(x, instr_line, "unterminated heredoc");
                if (ends_heredoc(h, name_len, &l))
                        break;
        }
        h->end_line = x->line;
        h->content_len = (size_t)(l.s - start);
        h->content = df_arena_str(x->f->arena, start, h->content_len);
        return h->content ? 0 : nomem(x);
}

static int read_heredocs(struct lexer *x, const struct df_logical *l, struct df_instr *in)
{
        int r;

        if (!may_have_heredocs(in))
                return 0;
        r = df_heredocs_scan(x->f->arena, l->text, l->len, &in->heredocs, &in->nheredocs, x->err);
        for (size_t i = 0; r == 0 && i < in->nheredocs; i++)
                r = read_body(x, &in->heredocs[i], in->line);
        return r;
}

/* What an ONBUILD's inner instruction shares with it. */
static void complete_sub(const struct df_instr *in)
{
        if (may_have_heredocs(in)) {
                in->sub->heredocs = in->heredocs;
                in->sub->nheredocs = in->nheredocs;
        }
        for (struct df_instr *sub = in->sub; sub; sub = sub->sub)
                sub->end_line = in->end_line;
}

/* The text an ONBUILD stores: its own word removed, bodies appended so that it parses again. */
static int make_trigger(struct lexer *x, struct df_instr *in)
{
        AUTO_SB struct sb b = SB_INIT(2 * TEXT_MAX);
        const char *text = in->original + strlen(in->word);
        int r;

        text += text_skip_space(text, strlen(text));
        sb_str(&b, text);
        for (size_t i = 0; i < in->nheredocs; i++) {
                sb_char(&b, '\n');
                sb_add(&b, in->heredocs[i].content, in->heredocs[i].content_len);
                sb_str(&b, in->heredocs[i].name);
        }
        r = sb_check(&b, "ONBUILD trigger", x->err);
        if (r < 0)
                return r;
        if (memchr(sb_text(&b), '\0', b.len))
                return fail(x, in->line, "ONBUILD trigger contains a NUL character");
        in->trigger = df_arena_str(x->f->arena, sb_text(&b), b.len);
        return in->trigger ? 0 : nomem(x);
}

/* ---- the file ---- */

static int add_instr(struct lexer *x, const struct phys *first)
{
        unsigned start = x->line;
        struct df_logical l;
        struct df_parse p;
        struct df_instr *in;
        int r;

        r = read_logical(x, first, &l);
        if (r < 0)
                return r;
        if (memchr(l.text, '\0', l.len))
                return fail(x, start, "instruction contains a NUL character");
        if (x->instrs.n == INSTR_MAX)
                return err_set(x->err, BLD_E_LIMIT, "more than %zu instructions", INSTR_MAX);
        in = instr_vec_push(&x->instrs);
        if (!in)
                return nomem(x);
        in->line = start;
        p = (struct df_parse){.a = x->f->arena,
                              .logical = &l,
                              .escape = x->f->escape,
                              .pos = x->pos,
                              .err = x->err};
        r = df_instr_parse(&p, l.text, l.len, in);
        if (r == 0)
                r = attach_comments(x, in);
        if (r == 0)
                r = read_heredocs(x, &l, in);
        if (r == 0 && in->kind == DF_ONBUILD)
                r = make_trigger(x, in);
        if (r < 0 && x->pos && x->pos->pos.line == 0)
                x->pos->pos = (struct df_pos){.line = start};
        in->end_line = x->line;
        if (r == 0 && in->kind == DF_ONBUILD)
                complete_sub(in);
        return r;
}

static int lex_line(struct lexer *x, struct phys *l)
{
        int r;

        cut_front(l, text_skip_space(l->s, l->n));
        r = try_directive(x, l);
        if (r != 0)
                return r < 0 ? r : 0;
        if (l->n == 0)
                return 0;
        if (l->s[0] == '#')
                return keep_comment(x, l);
        return add_instr(x, l);
}

static int lex_file(struct lexer *x)
{
        struct phys l;

        while (read_line(x, &l)) {
                int r;

                if (x->line == 1 && l.n >= 3 && memcmp(l.s, "\xef\xbb\xbf", 3) == 0)
                        cut_front(&l, 3);
                r = lex_line(x, &l);
                if (r < 0)
                        return r;
        }
        if (x->instrs.n == 0)
                return fail(x, 0, "file with no instructions");
        return 0;
}

/* NULL when memory is out. */
static struct df_file *file_new(const char *text, size_t len, char escape)
{
        AUTO(df_free_p) struct df_file *f = mem_zalloc(1, sizeof(*f));

        if (!f)
                return NULL;
        f->escape = escape;
        f->len = len;
        f->text = mem_strndup(text, len);
        f->arena = df_arena_new();
        if (!f->text || !f->arena)
                return NULL;
        return TAKE_PTR(&f);
}

static int parse(const char *text, size_t len, char escape, struct df_file **ret,
                 struct df_err_pos *ret_pos, struct bld_err *err)
{
        AUTO(df_free_p) struct df_file *f = NULL;
        AUTO(lexer_done) struct lexer x = {.pos = ret_pos, .err = err, .joined = SB_INIT(TEXT_MAX)};
        int r;

        if (ret_pos)
                *ret_pos = (struct df_err_pos){0};
        if (len == 0)
                return err_set(err, BLD_E_INVALID, "the Dockerfile cannot be empty");
        if (len > TEXT_MAX)
                return err_set(err, BLD_E_LIMIT, "Dockerfile is larger than %zu MiB",
                               TEXT_MAX >> 20);
        f = file_new(text, len, escape);
        if (!f)
                return err_nomem(err, "Dockerfile");
        x.f = f;
        x.p = f->text;
        x.end = f->text + len;
        r = lex_file(&x);
        if (r == 0)
                r = df_directive_find(f->arena, f->text, len, "syntax", true, &f->syntax, err);
        if (r == 0)
                r = df_directive_find(f->arena, f->text, len, "check", false, &f->check, err);
        if (r < 0)
                return r;
        f->v = TAKE_PTR(&x.instrs.v);
        f->n = x.instrs.n;
        f->warnings = TAKE_PTR(&x.warnings.v);
        f->nwarnings = x.warnings.n;
        *ret = TAKE_PTR(&f);
        return 0;
}

int df_parse(const char *text, size_t len, struct df_file **ret, struct df_err_pos *ret_pos,
             struct bld_err *err)
{
        return parse(text, len, DEFAULT_ESCAPE, ret, ret_pos, err);
}

int df_parse_trigger(const char *text, size_t len, char escape, struct df_file **ret,
                     struct bld_err *err)
{
        AUTO(df_free_p) struct df_file *f = NULL;
        int r;

        r = parse(text, len, escape, &f, NULL, err);
        if (r < 0)
                return r;
        if (f->n != 1)
                return err_set(err, BLD_E_INVALID, "onbuild trigger should be a single expression");
        *ret = TAKE_PTR(&f);
        return 0;
}

void df_free(struct df_file *f)
{
        if (!f)
                return;
        df_arena_free(f->arena);
        free(f->v);
        free(f->warnings);
        free(f->text);
        free(f);
}

bool df_source_line(const struct df_file *f, unsigned line, const char **ret, size_t *ret_len)
{
        const char *p = f->text, *end = f->text + f->len, *nl;

        if (line == 0)
                return false;
        while (--line > 0) {
                nl = memchr(p, '\n', (size_t)(end - p));
                if (!nl)
                        return false;
                p = nl + 1;
        }
        if (p == end)
                return false;
        nl = memchr(p, '\n', (size_t)(end - p));
        *ret = p;
        *ret_len = (size_t)((nl ? nl : end) - p);
        if (*ret_len > 0 && p[*ret_len - 1] == '\r')
                (*ret_len)--;
        return true;
}
