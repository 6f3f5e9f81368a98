/* Dockerfile -> variables, config, history, and the keys of whole files. */
#include "tests/unit/builder_plan.h"

/* ---- ARG and ENV ---- */

static const struct row scopes[] = {
        {"default", "FROM base\nARG A=1\nRUN x\n", "LANG=C\nA=1\n", {.network = NULL}},
        {"build argument wins over the default",
         "FROM base\nARG A=1\nRUN x\n",
         "LANG=C\nA=2\n",
         {.args = {"A=2"}}},
        {"the last one given",
         "FROM base\nARG A\nRUN x\n",
         "LANG=C\nA=3\n",
         {.args = {"A=2", "A=3"}}},
        {"even an empty one", "FROM base\nARG A=1\nRUN x\n", "LANG=C\nA=\n", {.args = {"A="}}},
        {"not declared, not there", "FROM base\nRUN x\n", "LANG=C\n", {.args = {"A=2"}}},
        {"global value needs a declaration",
         "ARG A=g\nFROM base\nRUN x\n",
         "LANG=C\n",
         {.network = NULL}},
        {"global value", "ARG A=g\nFROM base\nARG A\nRUN x\n", "LANG=C\nA=g\n", {.network = NULL}},
        {"the stage's default hides the global value",
         "ARG A=g\nFROM base\nARG A=s\nRUN x\n",
         "LANG=C\nA=s\n",
         {.network = NULL}},
        {"nothing known: nothing set", "FROM base\nARG A\nRUN x\n", "LANG=C\n", {.network = NULL}},
        {"nothing known: what was there stays",
         "FROM base\nENV A=e\nARG A\nRUN x\n",
         "LANG=C\nA=e\n",
         {.network = NULL}},
        {"from here on only", "FROM base\nRUN x\nARG A=1\n", "LANG=C\n", {.network = NULL}},
        {"ENV after ARG",
         "FROM base\nARG A=1\nENV A=2\nRUN x\n",
         "LANG=C\nA=2\n",
         {.network = NULL}},
        {"ARG after ENV: later wins",
         "FROM base\nENV A=2\nARG A=1\nRUN x\n",
         "LANG=C\nA=1\n",
         {.network = NULL}},
        {"references see the instruction before",
         "FROM base\nENV a=1\nENV a=2 b=$a\nRUN x\n",
         "LANG=C\na=2\nb=1\n",
         {.network = NULL}},
        {"names of one ARG see each other",
         "FROM base\nARG a=1 b=$a\nRUN x\n",
         "LANG=C\na=1\nb=1\n",
         {.network = NULL}},
        {"a child sees its parent's ARG",
         "FROM base AS p\nARG A=1\nFROM p\nRUN x\n",
         "LANG=C\nA=1\n",
         {.network = NULL}},
        {"but its ENV wins",
         "FROM base AS p\nENV A=e\nARG A=1\nFROM p\nRUN x\n",
         "LANG=C\nA=e\n",
         {.network = NULL}},
        {"the name of the target can be given, too",
         "FROM base AS last\nARG TARGETSTAGE\nRUN x\n",
         "LANG=C\nTARGETSTAGE=mine\n",
         {.args = {"TARGETSTAGE=mine"}}},
        {"an automatic one",
         "FROM base\nARG TARGETARCH\nARG BUILDPLATFORM\nRUN x\n",
         "LANG=C\nTARGETARCH=arm64\nBUILDPLATFORM=linux/amd64\n",
         {.platform = "linux/arm64"}},
        {"hidden by a default",
         "FROM base\nARG TARGETARCH=z\nRUN x\n",
         "LANG=C\nTARGETARCH=z\n",
         {.network = NULL}},
        {"stage name",
         "FROM base AS last\nARG TARGETSTAGE\nRUN x\n",
         "LANG=C\nTARGETSTAGE=last\n",
         {.network = NULL}},
        {"stage name as typed",
         "FROM base AS last\nARG TARGETSTAGE\nRUN x\n",
         "LANG=C\nTARGETSTAGE=LAST\n",
         {.target = "LAST"}},
        {"stage without name",
         "FROM base\nARG TARGETSTAGE\nRUN x\n",
         "LANG=C\nTARGETSTAGE=default\n",
         {.network = NULL}},
        {"global ones build on each other",
         "ARG A=1\nARG B=${A}2\nFROM base\nARG B\nRUN x\n",
         "LANG=C\nB=12\n",
         {.network = NULL}},
        {"a bare global one keeps the default before",
         "ARG A=1\nARG A\nFROM base\nARG A\nRUN x\n",
         "LANG=C\nA=1\n",
         {.network = NULL}},
        {"default not looked at when given",
         "FROM base\nARG A=${B?no}\nRUN x\n",
         "LANG=C\nA=2\n",
         {.args = {"A=2"}}},
        {"scan arguments never show",
         "FROM base\nARG BUILDKIT_SBOM_SCAN_STAGE=true\nRUN x\n",
         "LANG=C\n",
         {.network = NULL}},
        {"FROM sees global ones only",
         "ARG V=base\nFROM $V\nRUN x\n",
         "LANG=C\n",
         {.network = NULL}},
        {"escape of the file",
         "# escape=`\nFROM base\nENV a=`$x\nRUN x\n",
         "LANG=C\na=$x\n",
         {.network = NULL}},
};

static void variables(void **state)
{
        (void)state;
        check(scopes, ARRAY_LEN(scopes), env_text);
}

static void path_default(void **state)
{
        static const char path[] =
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        struct planned p;

        (void)state;
        plan_text("FROM scratch\nENV A=1\nRUN x\n", NULL, &p);
        assert_int_equal(p.r, 0);
        assert_string_equal(p.g.targets.v[0].config.env.v[0], path);
        assert_string_equal(p.g.v.v[0]->u.run.env.v[0], path);
        planned_done(&p);
        plan_text("FROM base\nENV PATH=/mine\n", NULL, &p);
        assert_int_equal(p.r, 0);
        assert_int_equal(p.g.targets.v[0].config.env.n, 2);
        assert_string_equal(p.g.targets.v[0].config.env.v[1], "PATH=/mine");
        planned_done(&p);
}

/* ---- history ---- */

static const struct row histories[] = {
        {"RUN",
         "FROM base\nRUN a  b\nRUN [\"x\", \"y z\"]\n",
         "+RUN /bin/sh -c a  b # buildkit\n+RUN x y z # buildkit\n",
         {.network = NULL}},
        {"RUN with arguments",
         "FROM base\nARG B=2 A\nARG B=3\nRUN x\n",
         "ARG B=2 A\nARG B=3\n+RUN |2 B=3 A= /bin/sh -c x # buildkit\n",
         {.network = NULL}},
        {"arguments of the parent stage",
         "FROM base AS p\nARG A=1\nFROM p\nRUN x\n",
         "ARG A=1\n+RUN |1 A=1 /bin/sh -c x # buildkit\n",
         {.network = NULL}},
        {"COPY",
         "FROM base\nCOPY a b /d/\nCOPY --chown=1:2 --chmod=644 --link x ./\n",
         "+COPY a b /d/ # buildkit\n+COPY --chown=1:2 --chmod=644 x ./ # buildkit\n",
         {.network = NULL}},
        {"COPY expanded",
         "FROM base\nENV D=/d\nCOPY --parents a$D \"$D\"\nADD a b\n",
         "ENV D=/d\n+COPY --parents a/d /d # buildkit\n+ADD a b # buildkit\n",
         {.network = NULL}},
        {"COPY of heredocs",
         "FROM base\nCOPY <<A f <<B /d/\na\nA\nb\nB\n",
         "+COPY f <<A <<B /d/ # buildkit\n",
         {.network = NULL}},
        {"COPY without the flags that are not shown",
         "FROM base\nCOPY --from=other --exclude=x a b\n",
         "+COPY a b # buildkit\n",
         {.network = NULL}},
        {"WORKDIR",
         "FROM base\nWORKDIR a\nWORKDIR b\nWORKDIR /\n",
         "+WORKDIR /a\n+WORKDIR /a/b\nWORKDIR /\n",
         {.network = NULL}},
        {"ENV and LABEL",
         "FROM base\nENV a=1 b=\"x y\"\nENV c d e\nLABEL l=\"m n\"\n",
         "ENV a=1 b=x y\nENV c=d e\nLABEL l=m n\n",
         {.network = NULL}},
        {"ARG", "FROM base\nARG a=1 b c=\nARG d\n", "ARG a=1 b c=\nARG d=9\n", {.args = {"d=9"}}},
        {"commands",
         "FROM base\nCMD a \"b\"\nENTRYPOINT [\"x\", \"y\\n\"]\nSHELL [\"/s\", \"-c\"]\nCMD z\n",
         "CMD [\"/bin/sh\" \"-c\" \"a \\\"b\\\"\"]\nENTRYPOINT [\"x\" \"y\\n\"]\nSHELL [/s -c]\n"
         "CMD [\"/s\" \"-c\" \"z\"]\n",
         {.network = NULL}},
        {"commands as Go prints them",
         "FROM base\nCMD [\"\u00e9\", \"\\u200b\\u0001\", \"\xff\"]\n",
         "CMD [\"\u00e9\" \"\\u200b\\x01\" \"\ufffd\"]\n",
         {.network = NULL}},
        {"signals",
         "FROM base\nSTOPSIGNAL io\nSTOPSIGNAL -5\nSTOPSIGNAL sigRTMAX-14\n",
         "STOPSIGNAL io\nSTOPSIGNAL -5\nSTOPSIGNAL sigRTMAX-14\n",
         {.network = NULL}},
        {"ports and volumes",
         "FROM base\nEXPOSE 80 53/UDP 7-8\nVOLUME /a /b\nVOLUME [\"/c d\"]\n",
         "EXPOSE [53/udp 7/tcp 8/tcp 80/tcp]\nVOLUME [/a /b]\nVOLUME [/c d]\n",
         {.network = NULL}},
        {"texts",
         "FROM base\nENV u=me\nUSER $u\nSTOPSIGNAL SIGTERM\nMAINTAINER A <a@b>\n",
         "ENV u=me\nUSER me\nSTOPSIGNAL SIGTERM\nMAINTAINER A <a@b>\n",
         {.network = NULL}},
        {"HEALTHCHECK",
         "FROM base\nHEALTHCHECK --interval=5m --timeout=3s --retries=2 CMD x y\nHEALTHCHECK "
         "NONE\n",
         "HEALTHCHECK {Test:[CMD-SHELL x y] Interval:5m0s Timeout:3s StartPeriod:0s "
         "StartInterval:0s "
         "Retries:2}\nHEALTHCHECK {Test:[NONE] Interval:0s Timeout:0s StartPeriod:0s "
         "StartInterval:0s "
         "Retries:0}\n",
         {.network = NULL}},
        {"FROM and ONBUILD leave none, triggers that ran do",
         "FROM base AS a\nONBUILD ENV t=1\nRUN p\nFROM a\nRUN c\n",
         "+RUN /bin/sh -c p # buildkit\nENV t=1\n+RUN /bin/sh -c c # buildkit\n",
         {.network = NULL}},
        {"--label leaves none", "FROM base\n", "", {.labels = {"a=1"}}},
        {"heredoc is the command",
         "FROM base\nRUN <<E\none\ntwo\nE\n",
         "+RUN /bin/sh -c one\ntwo\n # buildkit\n",
         {.network = NULL}},
        {"heredoc script",
         "FROM base\nRUN <<E\n#!/x\none\nE\n",
         "+RUN /bin/sh -c /dev/pipes/E # buildkit\n",
         {.network = NULL}},
        {"heredoc within a command",
         "FROM base\nRUN cat <<E >f\none\nE\n",
         "+RUN /bin/sh -c cat <<E >f\none\nE # buildkit\n",
         {.network = NULL}},
};

static void history(void **state)
{
        (void)state;
        check(histories, ARRAY_LEN(histories), history_text);
}

static const struct row history_lines[] = {
        {"layers and empty ones, counted from the top of the file",
         "# x\nARG g\nFROM base\n\nENV a=1 \\\n  b=2\nRUN x\nWORKDIR /\nCMD [\"c\"]\n",
         "5 ENV a=1 b=2\n7 RUN /bin/sh -c x # buildkit\n8 WORKDIR /\n9 CMD [\"c\"]\n",
         {.network = NULL}},
        {"what follows a heredoc",
         "FROM base\nRUN <<E\none\ntwo\nE\nUSER u\n",
         "2 RUN /bin/sh -c one\ntwo\n # buildkit\n6 USER u\n",
         {.network = NULL}},
        {"those of the stage below, when it is used once",
         "FROM base AS p\nENV a=1\nFROM p\nUSER u\n",
         "2 ENV a=1\n4 USER u\n",
         {.network = NULL}},
        {"and when it is used twice",
         "FROM base AS p\nENV a=1\nFROM p AS q\nRUN x\nFROM p\nCOPY --from=q /x /\n",
         "2 ENV a=1\n6 COPY /x / # buildkit\n",
         {.network = NULL}},
        {"equal steps of two stages are made once, and stand where they stand",
         "FROM base AS q\nRUN x\nFROM base\nRUN x\nCOPY --from=q /x /\n",
         "4 RUN /bin/sh -c x # buildkit\n5 COPY /x / # buildkit\n",
         {.network = NULL}},
        {"a trigger's is that of the FROM that set it off",
         "FROM base AS a\nONBUILD ENV t=1\nFROM a\nUSER u\n",
         "3 ENV t=1\n4 USER u\n",
         {.network = NULL}},
};

static void lines(void **state)
{
        (void)state;
        check(history_lines, ARRAY_LEN(history_lines), lines_text);
}

/* ---- the config ---- */

static const struct row configs[] = {
        {"ENV replaces in place, appends else",
         "FROM base\nENV X=1\nENV LANG=D Y=2\n",
         "env LANG=D\nenv X=1\nenv Y=2\n",
         {.network = NULL}},
        {"ARG never gets there",
         "FROM base\nARG A=1\nENV B=$A\n",
         "env LANG=C\nenv B=1\n",
         {.network = NULL}},
        {"inherited", "FROM user\n", "user me\nworkdir /home/me\ncmd <run>\n", {.network = NULL}},
        {"ENTRYPOINT clears an inherited CMD",
         "FROM user\nENTRYPOINT [\"e\"]\n",
         "user me\nworkdir /home/me\nentrypoint <e>\n",
         {.network = NULL}},
        {"but not one of this stage",
         "FROM user\nCMD [\"c\"]\nENTRYPOINT [\"e\"]\n",
         "user me\nworkdir /home/me\nentrypoint <e>\ncmd <c>\n",
         {.network = NULL}},
        {"of the parent stage is inherited, too",
         "FROM base AS p\nCMD [\"c\"]\nFROM p\nENTRYPOINT [\"e\"]\n",
         "env LANG=C\nentrypoint <e>\n",
         {.network = NULL}},
        {"empty CMD, no ENTRYPOINT",
         "FROM base\nENTRYPOINT [\"e\"]\nCMD []\nENTRYPOINT []\n",
         "env LANG=C\ncmd\n",
         {.network = NULL}},
        {"CMD alone is the empty string",
         "FROM base\nCMD\n",
         "env LANG=C\ncmd </bin/sh> <-c> <>\n",
         {.network = NULL}},
        {"the base's shell",
         "FROM shelled\nCMD x\n",
         "cmd </bin/bash> <x>\nshell </bin/bash>\n",
         {.network = NULL}},
        {"ports once",
         "FROM base\nEXPOSE 80 80/tcp 127.0.0.1:81:80 [::1]::82\n",
         "env LANG=C\nports <80/tcp> <82/tcp>\n",
         {.network = NULL}},
        {"several ports out of one variable",
         "FROM base\nENV P=\"1 2/udp\"\nEXPOSE $P\n",
         "env LANG=C\nenv P=1 2/udp\nports <1/tcp> <2/udp>\n",
         {.network = NULL}},
        {"triggers are stored as written",
         "FROM base\nONBUILD  RUN  a  b\n",
         "env LANG=C\nonbuild <RUN  a  b>\n",
         {.network = NULL}},
        {"triggers of a base are gone",
         "FROM base AS tools\nRUN x\nFROM trigger\n",
         "env T=1\n",
         {.network = NULL}},
        {"labels of the command line win",
         "FROM base\nLABEL a=1 b=2\n",
         "env LANG=C\nlabel a=3\nlabel b=2\n",
         {.labels = {"a=3"}}},
        {"health",
         "FROM base\nHEALTHCHECK CMD [\"a\", \"b\"]\n",
         "env LANG=C\nhealth <CMD> <a> <b>\n",
         {.network = NULL}},
        {"signals and author",
         "FROM base\nSTOPSIGNAL RTMIN+3\nMAINTAINER $me\n",
         "env LANG=C\nsignal RTMIN+3\nauthor $me\n",
         {.network = NULL}},
};

static void config(void **state)
{
        (void)state;
        check(configs, ARRAY_LEN(configs), config_text);
}

/* ---- keys over whole files ---- */

static void last_key(const char *text, const struct opts *o, struct digest *ret)
{
        struct planned p;

        plan_text(text, o, &p);
        if (p.r < 0)
                fail_msg("%s: %s", text, p.err.msg);
        for (size_t i = 0; i < p.g.v.n; i++)
                key_definition(p.g.v.v[i]);
        *ret = p.g.v.v[p.g.v.n - 1]->key;
        planned_done(&p);
}

/* Two ways of saying the same give one key; what a step can see of a change gives another. */
static void file_keys(void **state)
{
        static const struct {
                const char *name, *a, *b;
                bool same;
                struct opts oa, ob;
        } rows[] = {
                {"layout of the text",
                 "FROM base\nRUN a b\n",
                 "# note\nfrom base\n\nrun  a b\n",
                 true,
                 {.network = NULL},
                 {.network = NULL}},
                {"continuations",
                 "FROM base\nRUN a b\n",
                 "FROM base\nRUN a \\\nb\n",
                 true,
                 {.network = NULL},
                 {.network = NULL}},
                {"quotes of words",
                 "FROM base\nENV a=b\nRUN x\n",
                 "FROM base\nENV a=\"b\"\nRUN x\n",
                 true,
                 {.network = NULL},
                 {.network = NULL}},
                {"metadata before",
                 "FROM base\nLABEL a=1\nCMD x\nEXPOSE 1\nVOLUME /v\nSTOPSIGNAL 9\nHEALTHCHECK "
                 "NONE\nRUN x\n",
                 "FROM base\nRUN x\n",
                 true,
                 {.network = NULL},
                 {.network = NULL}},
                {"stage names",
                 "FROM base AS a\nRUN x\n",
                 "FROM base AS b\nRUN x\n",
                 true,
                 {.network = NULL},
                 {.network = NULL}},
                {"an argument nobody declares",
                 "FROM base\nRUN x\n",
                 "FROM base\nRUN x\n",
                 true,
                 {.network = NULL},
                 {.args = {"A=1"}}},
                {"a proxy",
                 "FROM base\nRUN x\n",
                 "FROM base\nRUN x\n",
                 true,
                 {.network = NULL},
                 {.args = {"HTTP_PROXY=http://p"}}},
                {"a proxy that is declared",
                 "FROM base\nARG HTTP_PROXY\nRUN x\n",
                 "FROM base\nARG HTTP_PROXY\nRUN x\n",
                 false,
                 {.network = NULL},
                 {.args = {"HTTP_PROXY=http://p"}}},
                {"an argument declared after",
                 "FROM base\nRUN x\nARG A\n",
                 "FROM base\nRUN x\nARG A\n",
                 true,
                 {.network = NULL},
                 {.args = {"A=1"}}},
                {"an argument declared before",
                 "FROM base\nARG A\nRUN x\n",
                 "FROM base\nARG A\nRUN x\n",
                 false,
                 {.network = NULL},
                 {.args = {"A=1"}}},
                {"a variable",
                 "FROM base\nENV A=1\nRUN x\n",
                 "FROM base\nENV A=2\nRUN x\n",
                 false,
                 {.network = NULL},
                 {.network = NULL}},
                {"a variable COPY does not use",
                 "FROM base\nENV A=1\nCOPY a /\n",
                 "FROM base\nENV A=2\nCOPY a /\n",
                 true,
                 {.network = NULL},
                 {.network = NULL}},
                {"a variable COPY uses",
                 "FROM base\nENV A=1\nCOPY a /$A\n",
                 "FROM base\nENV A=2\nCOPY a /$A\n",
                 false,
                 {.network = NULL},
                 {.network = NULL}},
                {"the user",
                 "FROM base\nUSER me\nRUN x\n",
                 "FROM base\nRUN x\n",
                 false,
                 {.network = NULL},
                 {.network = NULL}},
                {"the shell",
                 "FROM base\nSHELL [\"/s\"]\nRUN x\n",
                 "FROM base\nRUN x\n",
                 false,
                 {.network = NULL},
                 {.network = NULL}},
                {"the shell, for exec form",
                 "FROM base\nSHELL [\"/s\"]\nRUN [\"x\"]\n",
                 "FROM base\nRUN [\"x\"]\n",
                 true,
                 {.network = NULL},
                 {.network = NULL}},
                {"blanks in the command",
                 "FROM base\nRUN a b\n",
                 "FROM base\nRUN a  b\n",
                 false,
                 {.network = NULL},
                 {.network = NULL}},
                {"the network",
                 "FROM base\nRUN x\n",
                 "FROM base\nRUN x\n",
                 false,
                 {.network = NULL},
                 {.network = "none"}},
                {"a host's name",
                 "FROM base\nRUN x\n",
                 "FROM base\nRUN x\n",
                 false,
                 {.hosts = {"a"}},
                 {.hosts = {"b"}}},
                {"the base",
                 "FROM base\nRUN x\n",
                 "FROM other\nRUN x\n",
                 false,
                 {.network = NULL},
                 {.network = NULL}},
                {"the platform of a RUN",
                 "FROM base\nRUN x\n",
                 "FROM base\nRUN x\n",
                 false,
                 {.network = NULL},
                 {.platform = "linux/arm64"}},
                {"--no-cache",
                 "FROM base\nRUN x\n",
                 "FROM base\nRUN x\n",
                 true,
                 {.network = NULL},
                 {.no_cache = true}},
                {"a cache's id",
                 "FROM base\nRUN --mount=type=cache,target=/c,id=a x\n",
                 "FROM base\nRUN --mount=type=cache,target=/c,id=b x\n",
                 true,
                 {.network = NULL},
                 {.network = NULL}},
                {"a cache's namespace",
                 "FROM base\nRUN --mount=type=cache,target=/c x\n",
                 "FROM base\nRUN --mount=type=cache,target=/c x\n",
                 true,
                 {.network = NULL},
                 {.args = {"BUILDKIT_CACHE_MOUNT_NS=n"}}},
                {"--label",
                 "FROM base\nRUN x\n",
                 "FROM base\nRUN x\n",
                 true,
                 {.network = NULL},
                 {.labels = {"a=1"}}},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct digest a, b;

                print_message("%s\n", rows[i].name);
                last_key(rows[i].a, &rows[i].oa, &a);
                last_key(rows[i].b, &rows[i].ob, &b);
                assert_int_equal(digest_eq(&a, &b), rows[i].same);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(variables), cmocka_unit_test(path_default),
                cmocka_unit_test(history),   cmocka_unit_test(config),
                cmocka_unit_test(file_keys), cmocka_unit_test(lines),
        };

        return cmocka_run_group_tests_name("builder/plan_config", tests, NULL, NULL);
}
