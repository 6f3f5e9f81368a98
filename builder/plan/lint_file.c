/* Checks of the text alone: casing, stage names, forms that are going out of use. */
#include <string.h>
#include <strings.h>

#include "builder/plan/lint_priv.h"

/* Letters outside ASCII have no case here: instruction words and stage names have none. */
static bool is_lower(const char *s)
{
        return !s[strcspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ")];
}

static bool is_upper(const char *s)
{
        return !s[strcspn(s, "abcdefghijklmnopqrstuvwxyz")];
}

/* The last comment above a definition is its description, and begins with its name. */
static void check_description(struct lint *l, const struct df_instr *in)
{
        bool from = in->kind == DF_FROM;
        size_t n = from ? in->as_name != NULL : in->npairs, len;
        const char *last;

        if (in->comments.n == 0 || n == 0)
                return;
        last = in->comments.v[in->comments.n - 1];
        len = strcspn(last, " ");
        for (size_t i = 0; i < n; i++) {
                const char *name = from ? in->as_name : in->pairs[i].key;

                if (strlen(name) == len && memcmp(name, last, len) == 0)
                        return;
        }
        lint_add(l, LINT_INVALID_DEFINITION_DESCRIPTION,
                 "Comment for %s should follow the format: `# %s <description>`",
                 df_kind_name(in->kind),
                 n > 1  ? "<arg_key>"
                 : from ? in->as_name
                        : in->pairs[0].key);
}

/* FROM in mixed case is another rule's business. */
static bool as_matches_from(const struct df_instr *in)
{
        if (is_lower(in->word))
                return is_lower(in->args[1].text);
        return !is_upper(in->word) || is_upper(in->args[1].text);
}

static void check_instr(struct lint *l, const struct df_instr *in)
{
        lint_at(l, in);
        if (in->kind == DF_MAINTAINER)
                lint_add(l, LINT_MAINTAINER_DEPRECATED,
                         "Maintainer instruction is deprecated in favor of using label");
        if (in->kind == DF_FROM && in->as_raw && !is_lower(in->as_raw))
                lint_add(l, LINT_STAGE_NAME_CASING, "Stage name '%s' should be lowercase",
                         in->as_raw);
        if (in->kind == DF_FROM && in->nargs == 3 && !as_matches_from(in))
                lint_add(l, LINT_FROM_AS_CASING, "'%s' and '%s' keywords' casing do not match",
                         in->args[1].text, in->word);
        if (in->kind == DF_FROM || in->kind == DF_ARG)
                check_description(l, in);
}

static void check_stage_names(struct lint *l)
{
        struct map names;

        map_init(&names, NULL);
        for (size_t i = 0; i < l->file->n; i++) {
                const struct df_instr *in = &l->file->v[i];

                if (in->kind != DF_FROM || !in->as_name)
                        continue;
                lint_at(l, in);
                if (strcmp(in->as_name, "scratch") == 0 || strcmp(in->as_name, "context") == 0)
                        lint_add(l, LINT_RESERVED_STAGE_NAME,
                                 "Stage name should not use the same name as reserved stage \"%s\"",
                                 in->as_name);
                if (map_get(&names, in->as_name))
                        lint_add(l, LINT_DUPLICATE_STAGE_NAME,
                                 "Duplicate stage name \"%s\", stage names should be unique",
                                 in->as_name);
                else if (map_set(&names, in->as_name, l) < 0)
                        l->failed = BLD_E_NOMEM;
        }
        map_done(&names);
}

/* Global ARGs have no say: they belong to no stage. */
static void check_casing(struct lint *l)
{
        const struct df_file *f = l->file;
        size_t lower = 0, upper = 0, first = 0;

        while (first < f->n && f->v[first].kind != DF_FROM)
                first++;
        for (size_t i = first; i < f->n; i++) {
                lower += is_lower(f->v[i].word);
                upper += is_upper(f->v[i].word);
        }
        for (size_t i = first; i < f->n; i++) {
                if (lower > upper ? is_lower(f->v[i].word) : is_upper(f->v[i].word))
                        continue;
                lint_at(l, &f->v[i]);
                lint_add(l, LINT_CONSISTENT_INSTRUCTION_CASING,
                         "Command '%s' should match the case of the command majority (%s)",
                         f->v[i].word, lower > upper ? "lowercase" : "uppercase");
        }
}

/* The parser's own; each is on the last line of its instruction. */
static void check_continuations(struct lint *l)
{
        const struct df_file *f = l->file;
        size_t k = 0;

        for (size_t i = 0; i < f->nwarnings; i++) {
                unsigned line = f->warnings[i].line;

                while (k < f->n && f->v[k].end_line < line)
                        k++;
                if (k < f->n)
                        lint_at(l, &f->v[k]);
                lint_add_at(l, LINT_NO_EMPTY_CONTINUATION, line, line, "Empty continuation line");
        }
}

void lint_file(struct lint *l, unsigned error_line)
{
        const struct df_file *f = l->file;

        check_continuations(l);
        for (size_t i = 0; i < f->n && (!error_line || f->v[i].end_line < error_line); i++)
                check_instr(l, &f->v[i]);
        if (error_line)
                return;
        check_stage_names(l);
        check_casing(l);
}
