/* Build checks: the rules of docs/checks.md, what they found, and which of them apply where.
 * The plan calls the rules that need a stage's state; without a struct lint every call is free.
 * Threads: MT-Object. */
#ifndef BUILDER_LINT_PRIV_H
#define BUILDER_LINT_PRIV_H

#include "base/base.h"
#include "base/map.h"
#include "base/strv_index.h"
#include "base/vec.h"
#include "bld/check.h"
#include "image/image.h"
#include "parser/parser.h"

/* After parser.h: expand.h uses its heredoc type. */
#include "parser/expand.h"
#include "parser/ignore.h"

/* In the order of docs/checks.md; the table in lint.c has a row for each. */
enum lint_id {
        LINT_STAGE_NAME_CASING,
        LINT_FROM_AS_CASING,
        LINT_NO_EMPTY_CONTINUATION,
        LINT_CONSISTENT_INSTRUCTION_CASING,
        LINT_DUPLICATE_STAGE_NAME,
        LINT_RESERVED_STAGE_NAME,
        LINT_JSON_ARGS_RECOMMENDED,
        LINT_MAINTAINER_DEPRECATED,
        LINT_UNDEFINED_ARG_IN_FROM,
        LINT_WORKDIR_RELATIVE_PATH,
        LINT_UNDEFINED_VAR,
        LINT_MULTIPLE_INSTRUCTIONS_DISALLOWED,
        LINT_LEGACY_KEY_VALUE_FORMAT,
        LINT_INVALID_BASE_IMAGE_PLATFORM,
        LINT_REDUNDANT_TARGET_PLATFORM,
        LINT_SECRETS_USED_IN_ARG_OR_ENV,
        LINT_INVALID_DEFAULT_ARG_IN_FROM,
        LINT_FROM_PLATFORM_FLAG_CONST_DISALLOWED,
        LINT_COPY_IGNORED_FILE,
        LINT_INVALID_DEFINITION_DESCRIPTION,
        LINT_EXPOSE_PROTO_CASING,
        LINT_EXPOSE_INVALID_FORMAT,
        LINT_RULES,
};

extern const struct bld_rule lint_rules[LINT_RULES];
/* LINT_RULES when there is none of that name. */
enum lint_id lint_rule_find(const char *name, size_t n);

/* Value of the check directive, parsed. Sets of rules are bits 1 << enum lint_id. */
struct lint_config {
        uint32_t skip, experimental;
        bool error;
};
/* INVALID: `invalid check option "X"`. Names of unknown rules mean nothing. */
int lint_config_parse(const char *value, struct lint_config *ret, struct bld_err *err) MUST_CHECK;

struct lint_finding {
        enum lint_id rule;
        unsigned line, end_line;
        char *text;
};
VEC_DEFINE(lint_findings, struct lint_finding);

struct lint {
        const struct df_file *file;
        const struct ignore *ignore; /* of the main context, or NULL */
        struct lint_config base;     /* of the file */
        uint32_t never;              /* rules the caller does not want */
        struct lint_config now;      /* at the instruction in hand */
        unsigned line, end_line;     /* of that instruction */
        struct lint_findings found;
        size_t pass;     /* findings of earlier platforms */
        struct map seen; /* those, by text */
        unsigned sought; /* near names looked for so far */
        int failed;      /* a finding was lost: NOMEM */
};

/* The configuration: `override` (build argument BUILDKIT_DOCKERFILE_CHECK) or, when that is NULL,
 * the file's directive. The file and what is set later are borrowed. */
int lint_init(struct lint *l, const struct df_file *f, const char *override,
              struct bld_err *err) MUST_CHECK;
void lint_done(struct lint *l);
/* Findings from here on are new only if no earlier platform had them. */
void lint_next_platform(struct lint *l);
/* Put findings in the order of the file. */
void lint_sort(struct lint *l);
/* With error=true and a finding: INVALID naming the rules. NOMEM when findings were lost. */
int lint_verdict(const struct lint *l, struct bld_err *err) MUST_CHECK;

/* ---- reporting, for the files of lint_*.c ---- */

/* What is found from here on is at this instruction, whose comments may skip rules. */
void lint_at(struct lint *l, const struct df_instr *in);
/* A finding at the instruction in hand, or elsewhere under its configuration. */
void lint_add(struct lint *l, enum lint_id rule, const char *fmt, ...) PRINTF(3, 4);
void lint_add_at(struct lint *l, enum lint_id rule, unsigned line, unsigned end_line,
                 const char *text);

/* ---- rules that need only the text (lint_file.c) ---- */

/* error_line: where parsing ended, so that what follows is not judged; 0: it did not fail. */
void lint_file(struct lint *l, unsigned error_line);

/* ---- rules the plan calls (lint_plan.c); l may be NULL in all of them ---- */

/* What the rules remember of a stage. */
struct lint_stage {
        bool workdir_set; /* here or in a stage below */
        bool env_unknown; /* the base image could not be looked up */
        struct lint_once {
                unsigned line, end_line; /* of the instruction before; 0: none */
        } cmd, entrypoint, health;
};

/* Expansion that notes which names it met. Declare, init, expand with .env, then done. */
struct lint_env {
        struct df_env env;
        const struct strv *vars;
        struct strv_index *at;  /* of vars */
        struct strv set, unset; /* names, each once */
};
void lint_env_init(struct lint_env *e, const struct strv *vars, struct strv_index *at, bool track);
void lint_env_done(struct lint_env *e);

/* After the expansion of a word: names that nothing set (UndefinedVar). */
void lint_undefined(struct lint *l, const struct lint_stage *s, const struct lint_env *e,
                    const struct strv *declared);
/* The environment of FROM lines is still that of the automatic arguments. */
void lint_default_args(struct lint *l, const struct strv *automatic);
/* image, platform (NULL: no flag): their expansions; declared: names of global ARGs. */
void lint_from(struct lint *l, const struct df_instr *in, const struct lint_env *image,
               const struct lint_env *platform, const char *platform_value,
               const struct strv *global);
void lint_base_platform(struct lint *l, const struct df_instr *from, const char *name,
                        const struct img_platform *want, const struct img_platform *have);
void lint_key(struct lint *l, const char *instruction, const char *key);
void lint_pair(struct lint *l, const struct df_instr *in, const char *key);
void lint_command(struct lint *l, struct lint_stage *s, const struct df_instr *in, bool has_shell);
void lint_health(struct lint *l, struct lint_stage *s, const struct df_instr *in);
void lint_workdir(struct lint *l, struct lint_stage *s, const char *path);
void lint_expose(struct lint *l, const char *spec);
void lint_copy_source(struct lint *l, const struct df_instr *in, const char *path);

#endif
