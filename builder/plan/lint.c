/* The table of checks, their configuration, and the list of what was found. */
#include "builder/plan/lint_priv.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "base/num.h"

#define FINDINGS_MAX 100000u /* as many as a file may have instructions */
#define TEXT_MAX (2u << 20)  /* the longest word is 1 MiB */
#define PAGE(name) "https://docs.docker.com/go/dockerfile/rule/" name "/"
#define ALL_RULES ((1u << LINT_RULES) - 1)

const struct bld_rule lint_rules[LINT_RULES] = {
        [LINT_STAGE_NAME_CASING] = {"StageNameCasing", "Stage names should be lowercase",
                                    PAGE("stage-name-casing"), false},
        [LINT_FROM_AS_CASING] = {"FromAsCasing",
                                 "The 'as' keyword should match the case of the 'from' keyword",
                                 PAGE("from-as-casing"), false},
        [LINT_NO_EMPTY_CONTINUATION] =
                {"NoEmptyContinuation",
                 "Empty continuation lines will become errors in a future release",
                 PAGE("no-empty-continuation"), false},
        [LINT_CONSISTENT_INSTRUCTION_CASING] =
                {"ConsistentInstructionCasing",
                 "All commands within the Dockerfile should use the same casing (either upper or "
                 "lower)",
                 PAGE("consistent-instruction-casing"), false},
        [LINT_DUPLICATE_STAGE_NAME] = {"DuplicateStageName", "Stage names should be unique",
                                       PAGE("duplicate-stage-name"), false},
        [LINT_RESERVED_STAGE_NAME] = {"ReservedStageName",
                                      "Reserved words should not be used as stage names",
                                      PAGE("reserved-stage-name"), false},
        [LINT_JSON_ARGS_RECOMMENDED] =
                {"JSONArgsRecommended",
                 "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior "
                 "related to OS signals",
                 PAGE("json-args-recommended"), false},
        [LINT_MAINTAINER_DEPRECATED] =
                {"MaintainerDeprecated",
                 "The MAINTAINER instruction is deprecated, use a label instead to define an image "
                 "author",
                 PAGE("maintainer-deprecated"), false},
        [LINT_UNDEFINED_ARG_IN_FROM] = {"UndefinedArgInFrom", "FROM command must use declared ARGs",
                                        PAGE("undefined-arg-in-from"), false},
        [LINT_WORKDIR_RELATIVE_PATH] =
                {"WorkdirRelativePath",
                 "Relative workdir without an absolute workdir declared within the build can have "
                 "unexpected results if the base image changes",
                 PAGE("workdir-relative-path"), false},
        [LINT_UNDEFINED_VAR] = {"UndefinedVar", "Variables should be defined before their use",
                                PAGE("undefined-var"), false},
        [LINT_MULTIPLE_INSTRUCTIONS_DISALLOWED] =
                {"MultipleInstructionsDisallowed",
                 "Multiple instructions of the same type should not be used in the same stage",
                 PAGE("multiple-instructions-disallowed"), false},
        [LINT_LEGACY_KEY_VALUE_FORMAT] =
                {"LegacyKeyValueFormat",
                 "Legacy key/value format with whitespace separator should not be used",
                 PAGE("legacy-key-value-format"), false},
        [LINT_INVALID_BASE_IMAGE_PLATFORM] =
                {"InvalidBaseImagePlatform",
                 "Base image platform does not match expected target platform", NULL, false},
        [LINT_REDUNDANT_TARGET_PLATFORM] =
                {"RedundantTargetPlatform",
                 "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is "
                 "the default behavior",
                 PAGE("redundant-target-platform"), false},
        [LINT_SECRETS_USED_IN_ARG_OR_ENV] =
                {"SecretsUsedInArgOrEnv",
                 "Sensitive data should not be used in the ARG or ENV commands",
                 PAGE("secrets-used-in-arg-or-env"), false},
        [LINT_INVALID_DEFAULT_ARG_IN_FROM] =
                {"InvalidDefaultArgInFrom",
                 "Default value for global ARG results in an empty or invalid base image name",
                 PAGE("invalid-default-arg-in-from"), false},
        [LINT_FROM_PLATFORM_FLAG_CONST_DISALLOWED] =
                {"FromPlatformFlagConstDisallowed",
                 "FROM --platform flag should not use a constant value",
                 PAGE("from-platform-flag-const-disallowed"), false},
        [LINT_COPY_IGNORED_FILE] = {"CopyIgnoredFile",
                                    "Attempting to Copy file that is excluded by .dockerignore",
                                    PAGE("copy-ignored-file"), false},
        [LINT_INVALID_DEFINITION_DESCRIPTION] =
                {"InvalidDefinitionDescription",
                 "Comment for build stage or argument should follow the format: `# <arg/stage "
                 "name> <description>`. If this is not intended to be a description comment, add "
                 "an empty line or comment between the instruction and the comment.",
                 PAGE("invalid-definition-description"), true},
        [LINT_EXPOSE_PROTO_CASING] = {"ExposeProtoCasing",
                                      "Protocol in EXPOSE instruction should be lowercase",
                                      PAGE("expose-proto-casing"), false},
        [LINT_EXPOSE_INVALID_FORMAT] =
                {"ExposeInvalidFormat",
                 "IP address and host-port mapping should not be used in EXPOSE instruction. This "
                 "will become an error in a future release",
                 PAGE("expose-invalid-format"), false},
};
_Static_assert(LINT_RULES < 32, "sets of rules are 32 bits");

enum lint_id lint_rule_find(const char *name, size_t n)
{
        for (unsigned i = 0; i < LINT_RULES; i++)
                if (strlen(lint_rules[i].name) == n && memcmp(lint_rules[i].name, name, n) == 0)
                        return (enum lint_id)i;
        return LINT_RULES;
}

/* ---- configuration ---- */

struct span {
        const char *s;
        size_t n;
};

static struct span trim(const char *s, size_t n)
{
        while (n > 0 && (*s == ' ' || *s == '\t')) {
                s++;
                n--;
        }
        while (n > 0 && (s[n - 1] == ' ' || s[n - 1] == '\t'))
                n--;
        return (struct span){s, n};
}

static bool is_word(struct span s, const char *word)
{
        return s.n == strlen(word) && memcmp(s.s, word, s.n) == 0;
}

/* "all", or names with commas between. */
static uint32_t rule_set(struct span list)
{
        uint32_t set = 0;

        if (is_word(list, "all"))
                return ALL_RULES;
        for (const char *p = list.s, *end = list.s + list.n; p < end;) {
                const char *comma = memchr(p, ',', (size_t)(end - p));
                struct span name = trim(p, (size_t)((comma ? comma : end) - p));
                enum lint_id id = lint_rule_find(name.s, name.n);

                if (id < LINT_RULES)
                        set |= 1u << id;
                p = comma ? comma + 1 : end;
        }
        return set;
}

static int bad_option(struct span s, struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(512);

        sb_escaped(&text, s.s, MIN(s.n, 80));
        return err_set(err, BLD_E_INVALID, "invalid check option \"%s\"", sb_text(&text));
}

static int config_option(struct span part, struct lint_config *c, struct bld_err *err)
{
        const char *eq = memchr(part.s, '=', part.n);
        struct span key = trim(part.s, eq ? (size_t)(eq - part.s) : part.n), value;
        char text[16] = "";

        if (!eq)
                return bad_option(part, err);
        value = trim(eq + 1, part.n - (size_t)(eq - part.s) - 1);
        if (is_word(key, "skip")) {
                c->skip |= rule_set(value);
        } else if (is_word(key, "experimental")) {
                c->experimental |= rule_set(value);
        } else if (is_word(key, "error")) {
                if (value.n < sizeof(text))
                        memcpy(text, value.s, value.n);
                if (!parse_go_bool(text, &c->error))
                        return err_why(err, bad_option(part, err), "error takes true or false");
        } else {
                return bad_option(key, err);
        }
        return 0;
}

int lint_config_parse(const char *value, struct lint_config *ret, struct bld_err *err)
{
        struct span all = trim(value, strlen(value));
        struct lint_config c = {0};

        for (unsigned i = 0; i < 3 && all.n > 0; i++) {
                /* The third takes all that is left, further semicolons included. */
                const char *semi = i < 2 ? memchr(all.s, ';', all.n) : NULL;
                struct span part = {all.s, semi ? (size_t)(semi - all.s) : all.n};
                int r = config_option(part, &c, err);

                if (r < 0)
                        return r;
                all.s += part.n + (semi != NULL);
                all.n -= part.n + (semi != NULL);
        }
        *ret = c;
        return 0;
}

int lint_init(struct lint *l, const struct df_file *f, const char *override, struct bld_err *err)
{
        const char *value = override ? override : f->check;
        int r = 0;

        *l = (struct lint){.file = f};
        map_init(&l->seen, NULL);
        if (value)
                r = lint_config_parse(value, &l->base, err);
        l->now = l->base;
        return err_wrap(err, r, "failed to parse check options");
}

void lint_done(struct lint *l)
{
        for (size_t i = 0; i < l->found.n; i++)
                free(l->found.v[i].text);
        lint_findings_done(&l->found);
        map_done(&l->seen);
}

/* ---- where we are ---- */

/* "check=skip=Rule words about why": the value of the directive form, up to the first blank. */
static bool comment_config(const char *comment, struct lint_config *ret)
{
        struct bld_err ignored = BLD_ERR_INIT; /* a comment is no place for errors */
        AUTO_FREE char *value = NULL;

        comment += strspn(comment, " \t");
        if (strncasecmp(comment, "check", 5) != 0)
                return false;
        comment += 5;
        comment += strspn(comment, " \t");
        if (*comment != '=')
                return false;
        comment += 1 + strspn(comment + 1, " \t");
        value = mem_strndup(comment, strcspn(comment, " "));
        return value && lint_config_parse(value, ret, &ignored) == 0;
}

void lint_at(struct lint *l, const struct df_instr *in)
{
        if (!l)
                return;
        l->line = in->line;
        l->end_line = in->end_line;
        l->now = l->base;
        for (size_t i = 0; i < in->comments.n; i++) {
                struct lint_config c;

                if (!comment_config(in->comments.v[i], &c))
                        continue;
                l->now.skip |= c.skip;
                l->now.experimental |= c.experimental;
                return;
        }
}

/* ---- findings ---- */

static bool wanted(const struct lint *l, enum lint_id rule)
{
        uint32_t bit = 1u << rule;

        if (l->never & bit)
                return false;
        return lint_rules[rule].experimental ? l->now.experimental & bit : !(l->now.skip & bit);
}

static char *identity(unsigned line, enum lint_id rule, const char *text)
{
        char *id;

        return asprintf(&id, "%u %u %s", line, (unsigned)rule, text) < 0 ? NULL : id;
}

static bool seen_before(struct lint *l, enum lint_id rule, unsigned line, const char *text)
{
        AUTO_FREE char *id = l->pass ? identity(line, rule, text) : NULL;

        return id && map_get(&l->seen, id);
}

void lint_add_at(struct lint *l, enum lint_id rule, unsigned line, unsigned end_line,
                 const char *text)
{
        struct lint_finding *f;

        if (!wanted(l, rule) || l->found.n >= FINDINGS_MAX || seen_before(l, rule, line, text))
                return;
        f = lint_findings_push(&l->found);
        if (f)
                f->text = mem_strdup(text);
        if (!f || !f->text) {
                l->found.n -= f != NULL;
                l->failed = BLD_E_NOMEM;
                return;
        }
        f->rule = rule;
        f->line = line;
        f->end_line = MAX(line, end_line);
}

void lint_add(struct lint *l, enum lint_id rule, const char *fmt, ...)
{
        AUTO_SB struct sb text = SB_INIT(TEXT_MAX);
        va_list ap;

        if (!wanted(l, rule))
                return;
        va_start(ap, fmt);
        sb_vfmt(&text, fmt, ap);
        va_end(ap);
        lint_add_at(l, rule, l->line, l->end_line, sb_text(&text));
}

void lint_next_platform(struct lint *l)
{
        for (; l->pass < l->found.n; l->pass++) {
                const struct lint_finding *f = &l->found.v[l->pass];
                AUTO_FREE char *id = identity(f->line, f->rule, f->text);

                if (!id || map_set(&l->seen, id, l) < 0)
                        l->failed = BLD_E_NOMEM;
        }
}

static int by_line(const void *a, const void *b)
{
        const struct lint_finding *x = a, *y = b;

        if (x->line != y->line)
                return x->line < y->line ? -1 : 1;
        if (x->rule != y->rule)
                return x->rule < y->rule ? -1 : 1;
        return strcmp(x->text, y->text);
}

void lint_sort(struct lint *l)
{
        if (l->found.n > 1)
                qsort(l->found.v, l->found.n, sizeof(*l->found.v), by_line);
}

int lint_verdict(const struct lint *l, struct bld_err *err)
{
        AUTO_SB struct sb names = SB_INIT(2048);
        uint32_t rules = 0;

        if (l->failed)
                return err_nomem(err, "checks");
        for (size_t i = 0; i < l->found.n; i++)
                rules |= 1u << l->found.v[i].rule;
        if (!l->base.error || !rules)
                return 0;
        for (unsigned i = 0; i < LINT_RULES; i++)
                if (rules & (1u << i))
                        sb_fmt(&names, "%s%s", names.len ? ", " : "", lint_rules[i].name);
        return err_set(err, BLD_E_INVALID, "lint violation found for rules: %s", sb_text(&names));
}
