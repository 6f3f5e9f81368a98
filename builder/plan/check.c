/* Results of looking at a Dockerfile, as data and as a document. */
#include "builder/plan/check.h"

#include <string.h>

#include "base/err.h"
#include "base/opt.h"
#include "builder/plan/lint_priv.h"
#include "builder/plan/outline_priv.h"

const struct bld_rule *bd_rules(size_t *ret_n)
{
        *ret_n = LINT_RULES;
        return lint_rules;
}

/* ---- which rules ---- */

static int rule_bits(const struct bld_list *names, uint32_t *ret, struct bld_err *err)
{
        *ret = 0;
        for (size_t i = 0; i < names->n; i++) {
                const char *all[LINT_RULES], *near;
                enum lint_id id = lint_rule_find(names->v[i], strlen(names->v[i]));

                if (id < LINT_RULES) {
                        *ret |= 1u << id;
                        continue;
                }
                for (unsigned k = 0; k < LINT_RULES; k++)
                        all[k] = lint_rules[k].name;
                near = near_match(names->v[i], all, LINT_RULES, 4);
                (void)err_set(err, BLD_E_USAGE, "there is no rule \"%.100s\"", names->v[i]);
                return near ? err_try(err, BLD_E_USAGE, "did you mean %s?", near)
                            : err_try(err, BLD_E_USAGE, "bld check --rules lists them");
        }
        return 0;
}

int bd_check_rules(struct bd_check *c, const struct bld_list *skip, const struct bld_list *only,
                   bool experimental, struct bld_err *err)
{
        uint32_t wanted = 0;
        int r = rule_bits(skip, &c->never, err);

        if (r == 0)
                r = rule_bits(only, &wanted, err);
        if (only->n) {
                c->never |= ~wanted;
                c->experimental = wanted; /* one that is asked for by name is on */
        }
        if (experimental)
                c->experimental = UINT32_MAX;
        return r;
}

/* ---- results ---- */

int bd_check_take(struct bd_check *c, struct lint *l, const char *file, const struct sb *source,
                  struct bld_err *err)
{
        struct bld_check_result *ret = c->ret;

        ret->v = mem_zalloc(l->found.n, sizeof(*ret->v));
        ret->file = mem_strdup(file);
        ret->source = mem_strndup(sb_text(source), source->len);
        ret->source_len = source->len;
        if (!ret->v || !ret->file || !ret->source)
                return err_nomem(err, "checks");
        for (; ret->n < l->found.n; ret->n++) {
                struct lint_finding *f = &l->found.v[ret->n];

                ret->v[ret->n] =
                        (struct bld_finding){.rule = lint_rules[f->rule].name,
                                             .description = lint_rules[f->rule].description,
                                             .url = lint_rules[f->rule].url,
                                             .detail = TAKE_PTR(&f->text),
                                             .line = f->line,
                                             .end_line = f->end_line};
        }
        return 0;
}

/* ---- the document ---- */

static int push_warning(struct js *list, const struct bld_finding *f)
{
        AUTO_JS struct js *j = js_obj();
        int r = js_set_str(j, "ruleName", f->rule);

        r = r < 0 ? r : js_set_str(j, "description", f->description);
        if (r == 0 && f->url)
                r = js_set_str(j, "url", f->url);
        r = r < 0 ? r : js_set(j, "detail", outline_text(f->detail));
        r = r < 0 ? r : js_set(j, "location", outline_location(f->line, f->end_line));
        return r < 0 ? r : js_push(list, TAKE_PTR(&j));
}

static void put_base64(struct sb *out, const char *s, size_t n)
{
        static const char abc[] =
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

        for (size_t i = 0; i < n; i += 3) {
                uint32_t v = 0;
                char quad[4];

                for (size_t k = 0; k < 3; k++)
                        v = v << 8 | (i + k < n ? (unsigned char)s[i + k] : 0);
                for (size_t k = 0; k < 4; k++)
                        quad[k] = i + k <= n ? abc[v >> (18 - 6 * k) & 63] : '=';
                sb_add(out, quad, sizeof(quad));
        }
}

/* As BuildKit has it, so that its readers can show excerpts. */
static int put_sources(struct js *j, const struct bld_check_result *c)
{
        AUTO_JS struct js *list = js_arr(), *one = js_obj();
        AUTO_SB struct sb data = SB_INIT(32u << 20);
        int r = js_set(one, "filename", outline_text(c->file));

        put_base64(&data, c->source, c->source_len);
        r = r < 0 ? r : js_set_str(one, "language", "Dockerfile");
        r = r < 0 ? r : js_set_str(one, "data", sb_text(&data));
        r = r < 0 ? r : js_push(list, TAKE_PTR(&one));
        return r < 0 ? r : js_set(j, "sources", TAKE_PTR(&list));
}

static int put_error(struct js *j, const struct bld_check_result *c)
{
        AUTO_JS struct js *e = js_obj();
        AUTO_FREE char *what = mem_strndup(c->error.msg, strcspn(c->error.msg, "\n"));
        int r = what ? js_set(e, "message", outline_text(what)) : BLD_E_NOMEM;

        if (r == 0 && c->place.line)
                r = js_set(e, "location", outline_location(c->place.line, c->place.line));
        return r < 0 ? r : js_set(j, "buildError", TAKE_PTR(&e));
}

int bd_check_json(const struct bld_check_result *c, struct sb *out, struct bld_err *err)
{
        AUTO_JS struct js *j = js_obj(), *list = js_arr();
        int r = 0;

        for (size_t i = 0; i < c->n && r == 0; i++)
                r = push_warning(list, &c->v[i]);
        r = r < 0 ? r : js_set(j, "warnings", TAKE_PTR(&list));
        r = r < 0 ? r : put_sources(j, c);
        if (r == 0 && c->failed)
                r = put_error(j, c);
        if (r < 0)
                return err_nomem(err, "JSON");
        r = js_write(j, JS_INDENT, out, err);
        sb_char(out, '\n');
        return r;
}
