/* Every rule of the build checks: what it finds, and what it must leave alone. */
#include "tests/unit/builder_fixture.h"

#include "builder/plan/check.h"
#include "builder/plan/lint_priv.h"

struct row {
        const char *name, *text;
        const char *want;   /* "LINE RULE: TEXT\n" for each finding */
        const char *ignore; /* .dockerignore, or NULL */
        const char *arg;    /* one build argument, or NULL */
        const char *target; /* or NULL: all stages */
        const char *error;  /* part of the build's error, or NULL: there is none */
        const char *platform;
};

#define CASE(rule, more)                              \
        "ConsistentInstructionCasing: Command '" rule \
        "' should match the case of the command majority (" more ")\n"
#define JSON(word)                                                  \
        "JSONArgsRecommended: JSON arguments recommended for " word \
        " to prevent unintended behavior related to OS signals\n"
#define MULTI(word)                                                                     \
        "MultipleInstructionsDisallowed: Multiple " word                                \
        " instructions should not be used in the same stage because only the last one " \
        "will be used\n"
#define SECRET(what)                                                                              \
        "SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (" what ")" \
        "\n"
#define LEGACY(word)                                                                        \
        "LegacyKeyValueFormat: \"" word "=value\" should be used instead of legacy \"" word \
        " value\" format\n"
#define RELATIVE(path)                                  \
        "WorkdirRelativePath: Relative workdir \"" path \
        "\" can have unexpected results if the base image changes\n"
#define HOST(port)                                                                    \
        "ExposeInvalidFormat: EXPOSE instruction should not define an IP address or " \
        "host-port mapping, found '" port "'\n"
#define INVALID_DEFAULT(name)                                  \
        "InvalidDefaultArgInFrom: Default value for ARG " name \
        " results in empty or invalid base image name\n"
#define DESCRIBE "# check=experimental=InvalidDefinitionDescription\n"

static const struct row rows[] = {
        {.name = "clean",
         "FROM scratch AS one\nARG A\nLABEL a=$A\nWORKDIR /x\nEXPOSE 80/tcp 81\n",
         ""},

        {.name = "stage name",
         "FROM scratch AS Build\n",
         "1 StageNameCasing: Stage name 'Build' should be lowercase\n"},
        {.name = "stage name, lower", "FROM scratch AS b-1.x_y\n", ""},

        {.name = "as, lower",
         "FROM scratch as a\n",
         "1 FromAsCasing: 'as' and 'FROM' keywords' casing do not match\n"},
        {.name = "as, upper",
         "from scratch AS a\n",
         "1 FromAsCasing: 'AS' and 'from' keywords' casing do not match\n"},
        {.name = "as, mixed",
         "FROM scratch As a\n",
         "1 FromAsCasing: 'As' and 'FROM' keywords' casing do not match\n"},
        {.name = "as, FROM mixed", "From scratch as a\n", "1 " CASE("From", "uppercase")},
        {.name = "as, both lower", "from scratch as a\n", ""},

        {.name = "continuation",
         "FROM scratch\nLABEL a=1 \\\n\n  b=2\n",
         "4 NoEmptyContinuation: Empty continuation line\n"},
        {.name = "continuation with comment", "FROM scratch\nLABEL a=1 \\\n# c\n  b=2\n", ""},

        {.name = "casing, tie", "FROM scratch\nlabel a=1\n", "2 " CASE("label", "uppercase")},
        {.name = "casing, lower",
         "from scratch\nlabel a=1\nLABEL b=1\n",
         "3 " CASE("LABEL", "lowercase")},
        {.name = "casing, mixed counts for nobody",
         "from scratch\nlabel a=1\nLabel b=1\n",
         "3 " CASE("Label", "lowercase")},
        {.name = "casing, global ARG is not judged", "arg A=scratch\nFROM $A\n", ""},

        {.name = "duplicate stage",
         "FROM scratch AS a\nFROM scratch AS A\n",
         "2 StageNameCasing: Stage name 'A' should be lowercase\n"
         "2 DuplicateStageName: Duplicate stage name \"a\", stage names should be unique\n"},
        {.name = "reserved stage",
         "FROM scratch AS scratch\nFROM scratch AS context\n",
         "1 ReservedStageName: Stage name should not use the same name as reserved stage "
         "\"scratch\"\n"
         "2 ReservedStageName: Stage name should not use the same name as reserved stage "
         "\"context\"\n"},

        {.name = "shell form", "FROM scratch\nCMD a b\n", "2 " JSON("CMD")},
        {.name = "shell form, entrypoint",
         "FROM scratch\nENTRYPOINT a b\n",
         "2 " JSON("ENTRYPOINT")},
        {.name = "shell form, lower", "from scratch\ncmd a b\n", "2 " JSON("cmd")},
        {.name = "exec form", "FROM scratch\nCMD [\"a\"]\nENTRYPOINT [\"b\"]\n", ""},
        {.name = "shell form with SHELL", "FROM scratch\nSHELL [\"/sh\"]\nCMD a b\n", ""},
        {.name = "shell form, SHELL of the base",
         "FROM scratch AS a\nSHELL [\"/sh\"]\nFROM a\nCMD x\n",
         ""},
        {.name = "health check needs no exec form", "FROM scratch\nHEALTHCHECK CMD x\n", ""},

        {.name = "maintainer",
         "FROM scratch\nMAINTAINER me\n",
         "2 MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label\n"},

        {.name = "FROM argument",
         "ARG TAG=v1\nFROM app:${TAG}${version}\n",
         "2 UndefinedArgInFrom: FROM argument 'version' is not declared\n"},
        {.name = "FROM argument, near",
         "ARG TAG=v1\nFROM app:${TAH:-v1}\n",
         "2 UndefinedArgInFrom: FROM argument 'TAH' is not declared (did you mean TAG?)\n"},
        {.name = "FROM argument, declared without value", "ARG TAG\nFROM app:v1${TAG}\n", ""},
        {.name = "FROM argument, automatic", "FROM --platform=$BUILDPLATFORM scratch\n", ""},
        {.name = "FROM argument in the platform",
         "FROM --platform=${BULIDPLATFORM} scratch\n",
         "1 UndefinedArgInFrom: FROM argument 'BULIDPLATFORM' is not declared (did you mean "
         "BUILDPLATFORM?)\n",
         .error = "empty platform value"},

        {.name = "workdir", "FROM scratch\nWORKDIR a b/\n", "2 " RELATIVE("a b/")},
        {.name = "workdir, after an absolute one", "FROM scratch\nWORKDIR /a\nWORKDIR b\n", ""},
        {.name = "workdir, first only", "FROM scratch\nWORKDIR a\nWORKDIR b\n", "2 " RELATIVE("a")},
        {.name = "workdir, absolute below",
         "FROM scratch AS a\nWORKDIR /a\nFROM a\nWORKDIR b\n",
         ""},
        {.name = "workdir, expanded", "FROM scratch\nARG D=/d\nWORKDIR $D/x\n", ""},

        {.name = "variable",
         "FROM scratch\nLABEL a=$X\n",
         "2 UndefinedVar: Usage of undefined variable '$X'\n"},
        {.name = "variable, near",
         "FROM scratch\nARG DIR_ASSETS=a\nLABEL b=${DIR_ASSET}\n",
         "3 UndefinedVar: Usage of undefined variable '$DIR_ASSET' (did you mean $DIR_ASSETS?)\n"},
        {.name = "variable, near PATH",
         "FROM scratch\nENV PATH=$PAHT:/x\n",
         "2 UndefinedVar: Usage of undefined variable '$PAHT' (did you mean $PATH?)\n"},
        {.name = "variable, once for each word",
         "FROM scratch\nLABEL a=$X$X\n",
         "2 UndefinedVar: Usage of undefined variable '$X'\n"},
        {.name = "variable, declared without value", "FROM scratch\nARG X\nLABEL a=$X\n", ""},
        {.name = "variable, declared too late",
         "FROM scratch\nLABEL a=$X\nARG X=1\n",
         "2 UndefinedVar: Usage of undefined variable '$X'\n"},
        {.name = "variable, of the stage below",
         "FROM scratch AS a\nARG X\nFROM a\nLABEL a=$X\n",
         ""},
        {.name = "variable, of the base image", "FROM app:v1\nLABEL a=$PATH\n", ""},
        {.name = "variable, in an ARG",
         "FROM scratch\nARG X=$Y\n",
         "2 UndefinedVar: Usage of undefined variable '$Y'\n"},
        {.name = "variable, in an ARG whose default is not used",
         "FROM scratch\nARG X=$Y\n",
         "",
         .arg = "X=1"},
        {.name = "variable, in a heredoc",
         "FROM scratch\nCOPY <<E /f\n$X\nE\n",
         "2 UndefinedVar: Usage of undefined variable '$X'\n"},
        {.name = "variable, quoted heredoc", "FROM scratch\nCOPY <<'E' /f\n$X\nE\n", ""},
        {.name = "variable, in a mount",
         "FROM scratch\nRUN --mount=type=cache,target=/c$X true\n",
         "2 UndefinedVar: Usage of undefined variable '$X'\n"},
        {.name = "variable, the shell's own", "FROM scratch\nRUN echo $X\nEXPOSE 80$X\n", ""},
        {.name = "variable, in single quotes", "FROM scratch\nLABEL a='$X'\n", ""},

        {.name = "twice", "FROM scratch\nCMD [\"a\"]\nCMD [\"b\"]\n", "2 " MULTI("CMD")},
        {.name = "twice, all",
         "FROM scratch\nENTRYPOINT [\"a\"]\nHEALTHCHECK NONE\nHEALTHCHECK NONE\n"
         "ENTRYPOINT [\"b\"]\n",
         "2 " MULTI("ENTRYPOINT") "3 " MULTI("HEALTHCHECK")},
        {.name = "three times",
         "FROM scratch\nCMD [\"a\"]\nCMD [\"b\"]\nCMD [\"c\"]\n",
         "2 " MULTI("CMD") "3 " MULTI("CMD")},
        {.name = "once each stage", "FROM scratch AS a\nCMD [\"a\"]\nFROM a\nCMD [\"b\"]\n", ""},

        {.name = "legacy",
         "FROM scratch\nENV a b\nLABEL c d e\n",
         "2 " LEGACY("ENV key") "3 " LEGACY("LABEL key")},
        {.name = "legacy, lower", "from scratch\nenv a b\n", "2 " LEGACY("env key")},

        {.name = "platform redundant",
         "FROM --platform=$TARGETPLATFORM scratch\n",
         "1 RedundantTargetPlatform: Setting platform to predefined $TARGETPLATFORM in FROM is "
         "redundant as this is the default behavior\n"},
        {.name = "platform redundant, braces",
         "FROM --platform=${TARGETPLATFORM} scratch\n",
         "1 RedundantTargetPlatform: Setting platform to predefined ${TARGETPLATFORM} in FROM is "
         "redundant as this is the default behavior\n"},
        {.name = "platform of parts", "FROM --platform=$TARGETOS/$TARGETARCH scratch\n", ""},
        {.name = "platform constant",
         "FROM --platform=linux/amd64 scratch AS a\n",
         "1 FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value "
         "\"linux/amd64\"\n"},
        {.name = "platform constant, named after it",
         "FROM --platform=linux/amd64 scratch AS b-amd64\n"
         "FROM --platform=linux/amd64 scratch AS linux\n",
         ""},
        {.name = "platform of the base",
         "FROM app:arm\n",
         "1 InvalidBaseImagePlatform: Base image app:arm was pulled with platform "
         "\"linux/arm64\", expected \"linux/amd64\" for current build\n",
         .platform = "linux/amd64"},
        {.name = "platform of the base fits", "FROM app:v1\n", "", .platform = "linux/amd64"},

        {.name = "secrets",
         "FROM scratch\nARG SECRET_X TOKEN\nENV apikey=1 git_key= db_Password=x my_auth=1\n",
         "2 " SECRET("ARG \"SECRET_X\"") "2 " SECRET("ARG \"TOKEN\"") "3 " SECRET("ENV \"apikey\"") "3 " SECRET(
                 "ENV \"db_Password\"") "3 " SECRET("ENV \"git_key\"") "3 " SECRET("ENV "
                                                                                   "\"my_auth\"")},
        {.name = "no secrets",
         "ARG PASSWORD=1\nFROM scratch\nARG PUBLIC_KEY TOKEN_FILE KEY_VERSION KEYS tokenizer\n"
         "LABEL password=1\n",
         ""},

        {.name = "default of FROM",
         "ARG TAG\nFROM $TAG\n",
         "2 " INVALID_DEFAULT("$TAG"),
         .arg = "TAG=scratch"},
        {.name = "default of FROM, invalid",
         "ARG T=/\nFROM ${T}\n",
         "2 " INVALID_DEFAULT("${T}"),
         .arg = "T=scratch"},
        {.name = "default of FROM, valid", "ARG TAG=scratch\nFROM $TAG\n", ""},
        {.name = "default of FROM, chained", "ARG A=v1\nARG B=app:$A\nFROM $B\n", ""},

        {.name = "ignored",
         "FROM scratch\nCOPY ./a/../f /\nADD d/x /\n",
         "2 CopyIgnoredFile: Attempting to Copy file \"f\" that is excluded by .dockerignore\n"
         "3 CopyIgnoredFile: Attempting to Add file \"d/x\" that is excluded by .dockerignore\n",
         .ignore = "f\nd\n"},
        {.name = "ignored, of the root",
         "FROM scratch\nCOPY /f /\n",
         "2 CopyIgnoredFile: Attempting to Copy file \"/f\" that is excluded by .dockerignore\n",
         .ignore = "f\n"},
        {.name = "ignored, with exceptions", "FROM scratch\nCOPY f /\n", "", .ignore = "*\n!f\n"},
        {.name = "ignored, whole context",
         "FROM scratch\nCOPY . /\n",
         "2 CopyIgnoredFile: Attempting to Copy file \".\" that is excluded by .dockerignore\n",
         .ignore = "**/*\n"},
        {.name = "ignored, parts of the context", "FROM scratch\nCOPY . /\n", "", .ignore = ".*\n"},
        {.name = "ignored, of another stage",
         "FROM scratch AS a\nFROM scratch\nCOPY --from=a f /\n",
         "",
         .ignore = "f\n"},
        {.name = "ignored, a heredoc's name", "FROM scratch\nCOPY <<f /\nf\n", "", .ignore = "f\n"},
        {.name = "ignored, nothing is", "FROM scratch\nCOPY f /\n", ""},

        {.name = "description",
         DESCRIBE "# bar is it\nARG foo=bar\n# no\nFROM scratch AS base\n# no\nARG a=1 b=2\n",
         "3 InvalidDefinitionDescription: Comment for ARG should follow the format: `# foo "
         "<description>`\n"
         "5 InvalidDefinitionDescription: Comment for FROM should follow the format: `# base "
         "<description>`\n"
         "7 InvalidDefinitionDescription: Comment for ARG should follow the format: `# <arg_key> "
         "<description>`\n"},
        {.name = "description, right",
         DESCRIBE "# old\n# foo is it\nARG foo=bar\n# x\n\n#\nFROM scratch\n# b it\nARG a=1 b=2\n"
                  "# no name\nFROM scratch\n",
         ""},
        {.name = "description, off by itself", "# no\nARG foo=1\nFROM scratch\n", ""},

        {.name = "protocol",
         "FROM scratch\nEXPOSE 80/TcP 81/udp 82\n",
         "2 ExposeProtoCasing: Defined protocol '80/TcP' in EXPOSE instruction should be "
         "lowercase\n"},
        {.name = "host port",
         "FROM scratch\nEXPOSE 127.0.0.1:80:80 [::1]:8080:8080 5000:5001 8000\n",
         "2 " HOST("127.0.0.1:80:80") "2 " HOST("5000:5001") "2 " HOST("[::1]:8080:8080")},
        {.name = "ports of a variable",
         "FROM scratch\nARG P=\"1:2 3/UDP\"\nEXPOSE $P\n",
         "3 ExposeProtoCasing: Defined protocol '3/UDP' in EXPOSE instruction should be "
         "lowercase\n"
         "3 " HOST("1:2")},
        {.name = "port that is none",
         "FROM scratch\nEXPOSE 1:x/TCPP\n",
         "",
         .error = "invalid proto"},

        /* ---- configuration ---- */

        {.name = "skip all", "#check=skip=all\nFROM scratch as Base\ncopy f .\n", ""},
        {.name = "skip some",
         "# check=skip=FromAsCasing, StageNameCasing\nFROM scratch as Base\n",
         "2 StageNameCasing: Stage name 'Base' should be lowercase\n"},
        {.name = "skip some, no blank",
         "# check=skip=FromAsCasing,StageNameCasing\nFROM scratch as Base\n",
         ""},
        {.name = "skip, unknown rule",
         "# check=skip=Nothing\nFROM scratch AS Base\n",
         "2 StageNameCasing: Stage name 'Base' should be lowercase\n"},
        {.name = "directive of the command line",
         "# check=skip=all\nFROM scratch as Base\n",
         "2 FromAsCasing: 'as' and 'FROM' keywords' casing do not match\n",
         .arg = "BUILDKIT_DOCKERFILE_CHECK=skip=StageNameCasing"},
        {.name = "one instruction",
         "FROM scratch\n# why\n# check=skip=LegacyKeyValueFormat for now\nENV a b\n"
         "ENV c d\n",
         "5 " LEGACY("ENV key")},
        {.name = "one instruction, one rule",
         "FROM scratch\n# check=skip=UndefinedVar\nENV key $x\n",
         "3 " LEGACY("ENV key") "3 " SECRET("ENV \"key\"")},
        {.name = "one instruction, all", "FROM scratch\n# check=skip=all\nENV key $x\n", ""},
        {.name = "one stage line", "# about\n# check=skip=all\nFROM scratch as Base\n", ""},
        {.name = "bad option of a comment is nothing",
         "FROM scratch\n# check=nonsense\nENV a b\n",
         "3 " LEGACY("ENV key")},
        {.name = "bad option",
         "# check=nonsense\nFROM scratch\n",
         "",
         .error = "invalid check option \"nonsense\""},
        {.name = "bad option key",
         "# check=skip=all;x=y\nFROM scratch\n",
         "",
         .error = "invalid check option \"x\""},
        {.name = "bad error value",
         "# check=error=maybe\nFROM scratch\n",
         "",
         .error = "invalid check option \"error=maybe\""},
        {.name = "error",
         "# check=error=true;skip=FromAsCasing\nFROM scratch AS B\nMAINTAINER x\n",
         "2 StageNameCasing: Stage name 'B' should be lowercase\n"
         "3 MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label\n",
         .error = "lint violation found for rules: StageNameCasing, MaintainerDeprecated"},
        {.name = "error, nothing found", "# check=error=true\nFROM scratch\n", ""},

        /* ---- how far it goes ---- */

        {.name = "findings before an error",
         "FROM scratch AS Bad\nMAINTAINER m\nBADCMD\nMAINTAINER n\n",
         "1 StageNameCasing: Stage name 'Bad' should be lowercase\n"
         "2 MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label\n",
         .error = "unknown instruction: BADCMD"},
        {.name = "all stages",
         "FROM scratch AS a\nCMD x\nFROM scratch AS b\nCMD y\n",
         "2 " JSON("CMD") "4 " JSON("CMD")},
        {.name = "one target",
         "FROM scratch AS a\nCMD x\nFROM scratch AS B\nCMD y\n",
         "2 " JSON("CMD") "3 StageNameCasing: Stage name 'B' should be lowercase\n",
         .target = "a"},
        {.name = "onbuild is judged where it runs",
         "FROM scratch AS a\nONBUILD WORKDIR x\nFROM scratch AS b\nFROM a\n",
         "4 " RELATIVE("x")},
        {.name = "several platforms",
         "FROM scratch\nLABEL a=$X\n",
         "2 UndefinedVar: Usage of undefined variable '$X'\n",
         .platform = "linux/amd64,linux/arm64"},
        {.name = "bytes that are no text",
         "FROM scratch AS a\nENV TOKEN\xff=1 a\xfe_key=2\n",
         "2 " SECRET("ENV \"a\\xfe_key\"")},
};

static void put_file(const char *dir, const char *name, const char *text)
{
        char path[500];
        int fd;

        (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
        (void)unlink(path);
        if (!text)
                return;
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
        (void)close(fd);
}

static int check_row(struct fix *f, const struct row *row, struct bld_check_result *ret,
                     struct bld_err *err)
{
        const char *platforms[2] = {"linux/amd64", "linux/arm64"};
        struct bld_build_opts o = {.size = sizeof(o), .context = at(f, "ctx")};
        struct bd_check c = {.call = BD_CALL_CHECK, .build = &o, .ret = ret};

        put_file(o.context, "Dockerfile", row->text);
        put_file(o.context, ".dockerignore", row->ignore);
        if (row->arg)
                o.build_args = (struct bld_list){&row->arg, 1};
        if (row->target)
                o.targets = (struct bld_list){&row->target, 1};
        if (row->platform)
                o.platforms = (struct bld_list){platforms, strchr(row->platform, ',') ? 2u : 1u};
        return bd_check(&f->c[0], &c, err);
}

static void release(struct bld_check_result *r)
{
        for (size_t i = 0; i < r->n; i++)
                free(r->v[i].detail);
        free(r->v);
        free(r->file);
        free(r->source);
        memset(r, 0, sizeof(*r));
}

static void rules(void **state)
{
        struct fix *f = *state;
        struct img_desc app, arm;
        bool used[LINT_RULES] = {false};

        make_image(&f->c[0], "docker.io/library/app:v1", "amd64", "a", &app);
        make_image(&f->c[0], "docker.io/library/app:arm", "arm64", "b", &arm);
        assert_int_equal(mkdir(at(f, "ctx"), 0755), 0);
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                static struct bld_check_result got;
                AUTO_SB struct sb text = SB_INIT(65536);

                print_message("%s\n", rows[i].name);
                memset(&got, 0, sizeof(got));
                OK(check_row(f, &rows[i], &got, err));
                for (size_t k = 0; k < got.n; k++) {
                        enum lint_id id = lint_rule_find(got.v[k].rule, strlen(got.v[k].rule));

                        sb_fmt(&text, "%u %s: %s\n", got.v[k].line, got.v[k].rule, got.v[k].detail);
                        assert_true(id < LINT_RULES);
                        used[id] = true;
                }
                assert_string_equal(sb_text(&text), rows[i].want);
                assert_int_equal(got.failed, rows[i].error != NULL);
                if (rows[i].error && !strstr(got.error.msg, rows[i].error))
                        fail_msg("error is: %s", got.error.msg);
                release(&got);
        }
        for (unsigned i = 0; i < LINT_RULES; i++)
                if (!used[i])
                        fail_msg("no row finds %s", lint_rules[i].name);
        img_desc_done(&app);
        img_desc_done(&arm);
}

/* ---- without a network ---- */

static int no_network(void *user, struct reg_client **ret, struct bld_err *err)
{
        (void)user;
        (void)ret;
        return err_set(err, BLD_E_NETWORK, "no way to the registry");
}

static void base_out_of_reach(void **state)
{
        static const struct row row = {
                .name = "out of reach",
                "FROM app:v1\nENV a $UNKNOWN\nFROM scratch\nENV b=$UNKNOWN\n",
                ""};
        static struct bld_check_result got;
        struct fix *f = *state;

        f->c[0].registry = no_network;
        assert_int_equal(mkdir(at(f, "ctx"), 0755), 0);
        memset(&got, 0, sizeof(got));
        OK(check_row(f, &row, &got, err));
        assert_false(got.failed);
        assert_int_equal(got.n, 2);
        assert_string_equal(got.v[0].rule, "LegacyKeyValueFormat");
        assert_string_equal(got.v[1].rule, "UndefinedVar");
        assert_int_equal(got.v[1].line, 4);
        assert_non_null(strstr(f->notes, "app:v1 could not be looked up"));
        release(&got);
}

/* ---- what the caller wants ---- */

static void selection(void **state)
{
        static const struct {
                const char *name, *skip, *only;
                bool experimental;
                const char *want; /* rules, blanks between */
        } sel[] = {
                {"as it is", NULL, NULL, false, "StageNameCasing MaintainerDeprecated "},
                {"skip", "StageNameCasing", NULL, false, "MaintainerDeprecated "},
                {"only", NULL, "StageNameCasing", false, "StageNameCasing "},
                {"only an experimental one", NULL, "InvalidDefinitionDescription", false,
                 "InvalidDefinitionDescription "},
                {"experimental", NULL, NULL, true,
                 "StageNameCasing InvalidDefinitionDescription MaintainerDeprecated "},
                {"only and skip", "StageNameCasing", "StageNameCasing", false, ""},
        };
        struct fix *f = *state;

        assert_int_equal(mkdir(at(f, "ctx"), 0755), 0);
        put_file(at(f, "ctx"), "Dockerfile", "# no\nFROM scratch AS B\nMAINTAINER m\n");
        for (size_t i = 0; i < ARRAY_LEN(sel); i++) {
                static struct bld_check_result got;
                const struct bld_list skip = {&sel[i].skip, sel[i].skip != NULL};
                const struct bld_list only = {&sel[i].only, sel[i].only != NULL};
                struct bld_build_opts o = {.size = sizeof(o), .context = at(f, "ctx")};
                struct bd_check c = {.call = BD_CALL_CHECK, .build = &o, .ret = &got};
                AUTO_SB struct sb text = SB_INIT(1024);

                print_message("%s\n", sel[i].name);
                memset(&got, 0, sizeof(got));
                OK(bd_check_rules(&c, &skip, &only, sel[i].experimental, err));
                OK(bd_check(&f->c[0], &c, err));
                for (size_t k = 0; k < got.n; k++)
                        sb_fmt(&text, "%s ", got.v[k].rule);
                assert_string_equal(sb_text(&text), sel[i].want);
                release(&got);
        }
}

static void selection_refused(void **state)
{
        const char *name = "StageNameCasin";
        const struct bld_list skip = {&name, 1}, none = {NULL, 0};
        struct bd_check c = {.call = BD_CALL_CHECK};
        struct bld_err err = BLD_ERR_INIT;

        (void)state;
        assert_int_equal(bd_check_rules(&c, &skip, &none, false, &err), BLD_E_USAGE);
        assert_non_null(strstr(err.msg, "did you mean StageNameCasing?"));
}

/* ---- documents ---- */

static const char story[] = "# TAG of the base\n"
                            "ARG TAG=v1\n"
                            "ARG FULL=app:$TAG\n"
                            "ARG UNUSED=1\n"
                            "# first makes things\n"
                            "FROM --platform=linux/amd64 ${FULL} AS first\n"
                            "# MODE of making\n"
                            "ARG MODE=fast LEVEL\n"
                            "RUN --mount=type=secret,id=key,required --mount=type=ssh \\\n"
                            "  --mount=type=cache,target=/c true\n"
                            "FROM scratch AS other\n"
                            "ARG NOT_THIS=1\n"
                            "FROM scratch\n"
                            "COPY --from=first /x /\n";

static void document(struct fix *f, enum bd_call call, const char *target, struct js **ret)
{
        static struct bld_check_result result;
        struct bld_build_opts o = {.size = sizeof(o), .context = at(f, "ctx")};
        struct bd_check c = {.call = call, .build = &o, .ret = &result, .doc = SB_INIT(1u << 20)};

        if (target)
                o.targets = (struct bld_list){&target, 1};
        OK(bd_check(&f->c[0], &c, err));
        OK(js_parse(sb_text(&c.doc), c.doc.len, ret, err));
        sb_done(&c.doc);
}

static int64_t line_of(const struct js *item)
{
        const struct js *range = js_at(js_get(js_get(item, "location"), "ranges"), 0);
        int64_t line = -1;

        (void)js_get_i64(js_get(range, "start"), "line", &line);
        return line;
}

static void outline(void **state)
{
        static const struct {
                const char *list, *key, *name, *value, *description;
                int64_t line;
        } want[] = {
                {"args", "name", "TAG", "v1", "of the base", 2},
                {"args", "name", "FULL", "app:v1", NULL, 3},
                {"args", "name", "LEVEL", NULL, NULL, 8},
                {"args", "name", "MODE", "fast", "of making", 8},
                {"secrets", "name", "key", NULL, NULL, 9},
                {"ssh", "name", "default", NULL, NULL, 9},
                {"cache", "ID", "/c", NULL, NULL, 9},
        };
        struct fix *f = *state;
        struct img_desc app;
        AUTO_JS struct js *j = NULL, *first = NULL;
        size_t at_list = 0;

        make_image(&f->c[0], "docker.io/library/app:v1", "amd64", "a", &app);
        assert_int_equal(mkdir(at(f, "ctx"), 0755), 0);
        put_file(at(f, "ctx"), "Dockerfile", story);
        document(f, BD_CALL_OUTLINE, NULL, &j);
        assert_null(js_get(j, "name"));
        assert_int_equal(js_len(js_get(j, "args")), 4);
        for (size_t i = 0; i < ARRAY_LEN(want); i++) {
                const struct js *item;

                at_list = i && strcmp(want[i].list, want[i - 1].list) == 0 ? at_list + 1 : 0;
                item = js_at(js_get(j, want[i].list), at_list);
                print_message("%s %s\n", want[i].list, want[i].name);
                assert_true(str_eq(js_get_str(item, want[i].key), want[i].name));
                assert_true(str_eq(js_get_str(item, "value"), want[i].value));
                assert_true(str_eq(js_get_str(item, "description"), want[i].description));
                assert_int_equal(line_of(item), want[i].line);
        }
        assert_true(js_get_bool(js_at(js_get(j, "secrets"), 0), "required", false));
        document(f, BD_CALL_OUTLINE, "first", &first);
        assert_string_equal(js_get_str(first, "name"), "first");
        assert_string_equal(js_get_str(first, "description"), "makes things");
        img_desc_done(&app);
}

static void targets(void **state)
{
        struct fix *f = *state;
        AUTO_JS struct js *j = NULL;
        const struct js *list, *first;

        assert_int_equal(mkdir(at(f, "ctx"), 0755), 0);
        put_file(at(f, "ctx"), "Dockerfile", story);
        document(f, BD_CALL_TARGETS, NULL, &j);
        list = js_get(j, "targets");
        first = js_at(list, 0);
        assert_int_equal(js_len(list), 3);
        assert_string_equal(js_get_str(first, "name"), "first");
        assert_string_equal(js_get_str(first, "description"), "makes things");
        assert_string_equal(js_get_str(first, "base"), "${FULL}");
        assert_string_equal(js_get_str(first, "platform"), "linux/amd64");
        assert_int_equal(line_of(first), 6);
        assert_null(js_get(first, "default"));
        assert_null(js_get(js_at(list, 2), "name"));
        assert_true(js_get_bool(js_at(list, 2), "default", false));
}

static void check_document(void **state)
{
        static const struct row row = {.name = "document", "FROM scratch AS B\nRUNN x\n", ""};
        static struct bld_check_result got;
        struct fix *f = *state;
        AUTO_SB struct sb doc = SB_INIT(1u << 20);
        AUTO_JS struct js *j = NULL;
        const struct js *w;

        assert_int_equal(mkdir(at(f, "ctx"), 0755), 0);
        memset(&got, 0, sizeof(got));
        OK(check_row(f, &row, &got, err));
        OK(bd_check_json(&got, &doc, err));
        OK(js_parse(sb_text(&doc), doc.len, &j, err));
        w = js_at(js_get(j, "warnings"), 0);
        assert_string_equal(js_get_str(w, "ruleName"), "StageNameCasing");
        assert_string_equal(js_get_str(w, "url"),
                            "https://docs.docker.com/go/dockerfile/rule/stage-name-casing/");
        assert_int_equal(line_of(w), 1);
        assert_string_equal(js_get_str(js_get(j, "buildError"), "message"),
                            "dockerfile parse error on line 2: unknown instruction: RUNN (did you "
                            "mean RUN?)");
        assert_int_equal(line_of(js_get(j, "buildError")), 2);
        assert_string_equal(js_get_str(js_at(js_get(j, "sources"), 0), "data"),
                            "RlJPTSBzY3JhdGNoIEFTIEIKUlVOTiB4Cg==");
        release(&got);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(rules, fix_up, fix_down),
                cmocka_unit_test_setup_teardown(base_out_of_reach, fix_up, fix_down),
                cmocka_unit_test_setup_teardown(selection, fix_up, fix_down),
                cmocka_unit_test(selection_refused),
                cmocka_unit_test_setup_teardown(outline, fix_up, fix_down),
                cmocka_unit_test_setup_teardown(targets, fix_up, fix_down),
                cmocka_unit_test_setup_teardown(check_document, fix_up, fix_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
