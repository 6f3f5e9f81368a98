#include <string.h>

#include "base/err.h"
#include "base/sb.h"
#include "cli/check.h"
#include "cli/exit.h"

struct check_args {
        struct cli_common common;
        const char *file, *ignorefile, *format, *fail_on, *explain;
        struct strv targets, build_args, build_contexts, platforms, skip, only;
        bool rules, experimental;
};

#define A(field) offsetof(struct check_args, field)
static const struct opt check_opts[] = {
        {"file", 'f', OPT_STR, A(file), "PATH", "Dockerfile; - is standard input", "Input"},
        {"target", 0, OPT_LIST, A(targets), "STAGE", "only what this stage needs", NULL},
        {"build-arg", 0, OPT_LIST, A(build_args), "K[=V]", "value of an ARG", NULL},
        {"build-context", 0, OPT_LIST, A(build_contexts), "NAME=SRC", "further named context",
         NULL},
        {"platform", 0, OPT_LIST, A(platforms), "OS/ARCH", "target platforms (this machine's)",
         NULL},
        {"ignorefile", 0, OPT_STR, A(ignorefile), "FILE", "instead of .dockerignore", NULL},

        {"skip", 0, OPT_LIST, A(skip), "RULE", "leave a rule out; repeatable", "Rules"},
        {"only", 0, OPT_LIST, A(only), "RULE", "no rule but these; repeatable", NULL},
        {"experimental", 0, OPT_BOOL, A(experimental), NULL, "also the experimental rules", NULL},
        {"rules", 0, OPT_BOOL, A(rules), NULL, "list the rules and exit", NULL},
        {"explain", 0, OPT_STR, A(explain), "RULE", "what a rule is about, and exit", NULL},

        {"format", 0, OPT_STR, A(format), "F",
         "text, json, github, sarif, codequality or checkstyle", "Output"},
        {"fail-on", 0, OPT_STR, A(fail_on), "WHAT", "exit 1 on: warning, error or none (warning)",
         NULL},
        {"fix", 0, OPT_REFUSE, 0, NULL, "not available yet", NULL},
        {0},
};

static void put_rule(struct sb *out, const struct bld_rule *r, bool whole)
{
        if (!whole) {
                sb_fmt(out, "%-32s%s%s\n", r->name, r->experimental ? "(experimental) " : "",
                       r->description);
                return;
        }
        sb_fmt(out, "%s%s\n  %s\n", r->name, r->experimental ? " (experimental, off)" : "",
               r->description);
        if (r->url)
                sb_fmt(out, "  %s\n", r->url);
}

/* All rules, or the one named. */
static int print_rules(const char *name, struct bld_err *err)
{
        AUTO_SB struct sb out = SB_INIT(1u << 20);
        const char *names[64], *near;
        const struct bld_rule *rule;
        size_t count = 0;

        for (size_t i = 0; (rule = bld_rule(i)) != NULL; i++) {
                if (count < ARRAY_LEN(names))
                        names[count++] = rule->name;
                if (!name || strcmp(name, rule->name) == 0)
                        put_rule(&out, rule, name != NULL);
        }
        if (out.len)
                return cli_write_out(out.buf, out.len, err);
        near = near_match(name, names, count, 4);
        (void)err_set(err, BLD_E_USAGE, "there is no rule \"%.100s\"", name);
        return near ? err_try(err, BLD_E_USAGE, "did you mean %s?", near)
                    : err_try(err, BLD_E_USAGE, "bld check --rules lists them");
}

/* Which level makes the exit status. */
static int read_fail_on(const char *s, bool *ret_warning, bool *ret_error, struct bld_err *err)
{
        *ret_warning = !s || strcmp(s, "warning") == 0;
        *ret_error = *ret_warning || strcmp(s, "error") == 0;
        if (*ret_error || strcmp(s, "none") == 0)
                return 0;
        return err_set(err, BLD_E_USAGE, "--fail-on takes warning, error or none, not \"%.50s\"",
                       s);
}

static int check(struct cli *c, const struct check_args *a, const struct build_input *in,
                 struct bld_err *err)
{
        const struct bld_check_opts o = {.size = sizeof(o),
                                         .build = &in->o,
                                         .skip = cli_list(&a->skip),
                                         .only = cli_list(&a->only),
                                         .experimental = a->experimental};
        AUTO_FREE struct bld_check_result *result = mem_zalloc(1, sizeof(*result));
        const struct check_format *f;
        bool on_warning, on_error;
        int r;

        if (!result)
                return err_nomem(err, "check");
        result->size = sizeof(*result);
        r = check_format_find(a->format, &f, err);
        r = r < 0 ? r : read_fail_on(a->fail_on, &on_warning, &on_error, err);
        r = r < 0 ? r : cli_open(c, err);
        r = r < 0 ? r : bld_check(c->b, &o, result, err);
        r = r < 0 ? r : check_print(f, result, err);
        if (r == 0) {
                check_print_error(c, f, result);
                if (result->failed && on_error)
                        r = EXIT_SOURCE;
                else if (result->n && on_warning)
                        r = EXIT_FAILED;
        }
        bld_check_done(result);
        return r;
}

static int run(struct cli *c, void *args, const struct strv *pos, struct bld_err *err)
{
        const struct check_args *a = args;
        /* Lists are borrowed: the arguments are freed by who parsed them. */
        struct build_args b = {.common = a->common,
                               .file = a->file,
                               .ignorefile = a->ignorefile,
                               .targets = a->targets,
                               .build_args = a->build_args,
                               .build_contexts = a->build_contexts,
                               .platforms = a->platforms};
        struct build_input in;
        int r;

        if (a->rules || a->explain)
                return print_rules(a->explain, err);
        build_defaults(&b);
        build_input_init(&in);
        r = build_input_read(c, &b, pos->n ? pos->v[0] : ".", &in, err);
        r = r < 0 ? r : check(c, a, &in, err);
        build_input_done(&in);
        return r;
}

const struct cli_cmd cmd_check = {
        .name = "check",
        .aliases = "lint",
        .args = "[flags] [CONTEXT]",
        .summary = "check a Dockerfile without building it",
        .details = "CONTEXT is a folder (the current one), or as for bld build. Without --target\n"
                   "every stage is checked. Rules are skipped in the file by\n"
                   "  # check=skip=RULE,RULE     first line: everywhere; above an instruction: "
                   "there\n",
        .examples = "bld check\nbld check -f build/Dockerfile --format github .\n"
                    "bld check --only SecretsUsedInArgOrEnv .\n",
        .exits = "1 findings, 3 the\n  Dockerfile cannot be built",
        .see = "bld-build(1)",
        .opts = check_opts,
        .registry = true,
        .args_size = sizeof(struct check_args),
        .max_args = 1,
        .run = run,
};
