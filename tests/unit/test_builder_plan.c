/* Dockerfile -> graph: stages, inputs, mounts, platforms; what is refused and where. */
#include "tests/unit/builder_plan.h"

/* ---- which vertices, on which inputs ---- */

static const struct row graphs[] = {
        {"one stage",
         "FROM base\nRUN a\nRUN b\n",
         "0: FROM base\n1: run a in / <- 0\n2: run b in / <- 1\n",
         {.network = NULL}},
        {"scratch",
         "FROM scratch\nCOPY a /\n",
         "0: context \n1: copy a to / <- - 0\n",
         {.network = NULL}},
        {"config instructions make no vertex",
         "FROM base\nENV A=1\nLABEL b=2\nCMD x\nUSER me\nEXPOSE 1\nVOLUME /v\nSHELL [\"/s\"]\n"
         "STOPSIGNAL 9\nHEALTHCHECK NONE\nENTRYPOINT y\nMAINTAINER z\n",
         "0: FROM base\n",
         {.network = NULL}},
        {"heredocs alone need no context",
         "FROM base\nCOPY <<A /x\nt\nA\n",
         "0: FROM base\n1: copy A to /x <- 0\n",
         {.network = NULL}},
        {"stage on stage",
         "FROM base AS a\nRUN one\nFROM a\nRUN two\n",
         "0: FROM base\n1: run one in / <- 0\n2: run two in / <- 1\n",
         {.network = NULL}},
        {"COPY --from by name, any case",
         "FROM base AS a\nRUN one\nFROM other\nCOPY --from=A /x /y\n",
         "0: FROM base\n1: run one in / <- 0\n2: FROM other\n3: copy /x to /y <- 2 1\n",
         {.network = NULL}},
        {"by number",
         "FROM base\nRUN one\nFROM other\nCOPY --from=0 /x /y\n",
         "0: FROM base\n1: run one in / <- 0\n2: FROM other\n3: copy /x to /y <- 2 1\n",
         {.network = NULL}},
        {"of an image",
         "FROM base\nCOPY --from=other /x /y\n",
         "0: FROM base\n1: FROM other\n2: copy /x to /y <- 0 1\n",
         {.network = NULL}},
        {"of a named folder",
         "FROM base\nCOPY --from=ctxfolder /x /y\n",
         "0: FROM base\n1: context /srv/folder\n2: copy /x to /y <- 0 1\n",
         {.network = NULL}},
        {"on a named folder",
         "FROM ctxfolder\nRUN a\n",
         "0: context /srv/folder\n1: copy . to / <- - 0\n2: run a in / <- 1\n",
         {.network = NULL}},
        {"on an empty named context",
         "FROM ctxempty\nCOPY a /\n",
         "0: context \n1: copy a to / <- - 0\n",
         {.network = NULL}},
        {"named context in place of a stage",
         "FROM base AS ctxfolder\nRUN never\nFROM other\nCOPY --from=ctxfolder /x /y\n",
         "0: context /srv/folder\n1: copy . to / <- - 0\n2: FROM other\n3: copy /x to /y <- 2 1\n",
         {.network = NULL}},
        {"mounts are inputs",
         "FROM base AS a\nRUN one\nFROM other\n"
         "RUN --mount=type=bind,from=a,target=/a --mount=target=/c --mount=type=cache,target=/k "
         "two\n",
         "0: FROM base\n1: run one in / <- 0\n2: FROM other\n3: context \n4: run two in / <- 2 1 "
         "3\n",
         {.network = NULL}},
        {"unreachable stages do not exist",
         "FROM missing AS never\nRUN x\nFROM base\nRUN a\n",
         "0: FROM base\n1: run a in / <- 0\n",
         {.network = NULL}},
        {"--target",
         "FROM base AS one\nRUN a\nFROM missing\nRUN b\n",
         "0: FROM base\n1: run a in / <- 0\n",
         {.target = "ONE"}},
        {"of two stages of one name the later is meant",
         "FROM base AS a\nRUN one\nFROM other AS a\nRUN two\nFROM a\nRUN three\n",
         "0: FROM other\n1: run two in / <- 0\n2: run three in / <- 1\n",
         {.network = NULL}},
        {"a stage name is compared exactly, an image is meant else",
         "FROM base AS other2\nFROM other\nRUN a\n",
         "0: FROM other\n1: run a in / <- 0\n",
         {.network = NULL}},
        {"equal steps of two stages are one",
         "FROM base AS a\nRUN same\nFROM base AS b\nRUN same\nRUN more\nFROM a\nCOPY --from=b /x "
         "/\n",
         "0: FROM base\n1: run same in / <- 0\n2: run more in / <- 1\n3: copy /x to / <- 1 2\n",
         {.network = NULL}},
        {"WORKDIR",
         "FROM user\nWORKDIR app\nWORKDIR /\nWORKDIR x/../y\nRUN a\n",
         "0: FROM user\n1: mkdir /home/me/app by me <- 0\n2: mkdir /y by me <- 1\n"
         "3: run a in /y <- 2\n",
         {.network = NULL}},
        {"destinations",
         "FROM user\nCOPY a .\nCOPY a ./\nCOPY a b/\nCOPY a b\nCOPY a /c/.\nCOPY a /d/../e\n",
         "0: FROM user\n1: context \n2: copy a to /home/me/ <- 0 1\n3: copy a to /home/me/ <- 2 1\n"
         "4: copy a to /home/me/b/ <- 3 1\n5: copy a to /home/me/b <- 4 1\n"
         "6: copy a to /c/ <- 5 1\n7: copy a to /e <- 6 1\n",
         {.network = NULL}},
        {"image without layers is scratch with a config",
         "FROM bare\nCOPY a /\n",
         "0: FROM bare\n1: context \n2: copy a to / <- - 1\n",
         {.network = NULL}},
        {"--no-cache",
         "FROM base\nRUN a\n",
         "0: FROM base\n1: run a in / anew <- 0\n",
         {.no_cache = true}},
        {"--no-cache-filter",
         "FROM base AS a\nRUN a\nFROM a AS b\nRUN b\n",
         "0: FROM base\n1: run a in / anew <- 0\n2: run b in / <- 1\n",
         {.no_cache_filter = "x,A"}},
        {"JSON is taken as it is, no shell",
         "FROM base\nRUN [\"a\", \"$B\"]\n",
         "0: FROM base\n1: run $B in / <- 0\n",
         {.network = NULL}},
        {"triggers of the base run first",
         "FROM other AS tools\nRUN make\nFROM trigger\nRUN a\n",
         "0: FROM trigger\n1: FROM other\n2: run make in / <- 1\n3: copy /x to /x <- 0 2\n"
         "4: run a in / <- 3\n",
         {.network = NULL}},
        {"triggers of a stage run in its child, once",
         "FROM base AS a\nONBUILD RUN t\nFROM a AS b\nFROM b\nRUN z\n",
         "0: FROM base\n1: run t in / <- 0\n2: run z in / <- 1\n",
         {.network = NULL}},
};

static void vertices(void **state)
{
        (void)state;
        check(graphs, ARRAY_LEN(graphs), graph_text);
}

/* Inputs come before what needs them: the list is an order to run things in. */
static void order(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(graphs); i++) {
                struct planned p;

                plan_text(graphs[i].text, &graphs[i].o, &p);
                for (size_t k = 0; k < p.g.v.n; k++)
                        for (size_t j = 0; j < p.g.v.v[k]->ninputs; j++)
                                if (p.g.v.v[k]->inputs[j])
                                        assert_true(p.g.v.v[k]->inputs[j]->id < k);
                planned_done(&p);
        }
}

/* ---- what is refused, and where ---- */

static const struct {
        const char *name, *text, *message;
        unsigned line;
        int code; /* 0: BLD_E_INVALID */
        struct opts o;
} bad[] = {
        {"no stage", "ARG A=1\n", "no stages to build", 0, 0, {.network = NULL}},
        {"unknown target",
         "FROM base AS one\n",
         "target stage \"on\" could not be found",
         0,
         BLD_E_NOT_FOUND,
         {.target = "on"}},
        {"target suggested",
         "FROM base AS one\n",
         "did you mean one?",
         0,
         BLD_E_NOT_FOUND,
         {.target = "on"}},
        {"blank base",
         "FROM base\nFROM $X\n",
         "base name ($X) should not be blank",
         2,
         0,
         {.network = NULL}},
        {"blank base of a stage nobody needs",
         "FROM $X AS a\nFROM base\n",
         "should not be blank",
         1,
         0,
         {.network = NULL}},
        {"empty platform",
         "FROM --platform=$X base\n",
         "empty platform value from expression $X",
         1,
         0,
         {.network = NULL}},
        {"bad platform", "FROM --platform=a/b/c/d base\n", "a/b/c/d", 1, 0, {.network = NULL}},
        {"missing image",
         "FROM base\nFROM nope\n",
         "no image nope",
         2,
         BLD_E_NOT_FOUND,
         {.network = NULL}},
        {"missing image of a COPY",
         "FROM base\n\nCOPY --from=nope a b\n",
         "no image nope",
         3,
         BLD_E_NOT_FOUND,
         {.network = NULL}},
        {"nearly a stage",
         "FROM base AS builder\nFROM base\nCOPY --from=biulder a b\n",
         "there is no stage or build context with this name",
         3,
         0,
         {.network = NULL}},
        {"own stage",
         "FROM base AS a\nCOPY --from=a x y\n",
         "circular dependency detected on stage: a",
         2,
         0,
         {.network = NULL}},
        {"own number",
         "FROM base\nCOPY --from=0 x y\n",
         "circular dependency",
         2,
         0,
         {.network = NULL}},
        {"later stage",
         "FROM base AS a\nCOPY --from=b x y\nFROM base AS b\nCOPY --from=a x y\n",
         "needs to be defined before current stage \"a\"",
         2,
         0,
         {.network = NULL}},
        {"number out of range",
         "FROM base\nCOPY --from=7 x y\n",
         "invalid stage index 7",
         2,
         0,
         {.network = NULL}},
        {"--from with a variable",
         "FROM base\nCOPY --from=$x a b\n",
         "variable expansion is not supported for --from",
         2,
         0,
         {.network = NULL}},
        {"... in a stage nobody needs",
         "FROM base AS a\nCOPY --from=$x a b\nFROM base\n",
         "variable expansion is not supported for --from",
         2,
         0,
         {.network = NULL}},
        {"bad number in a stage nobody needs",
         "FROM base AS a\nCOPY --from=5 a b\nFROM base\n",
         "invalid stage index 5",
         2,
         0,
         {.network = NULL}},
        {"COPY of a URL",
         "FROM base\nCOPY https://x/y /z\n",
         "source can't be a URL for COPY",
         2,
         0,
         {.network = NULL}},
        {"heredoc as destination",
         "FROM base\nCOPY a <<E\nE\n",
         "cannot accept a heredoc as a destination",
         2,
         0,
         {.network = NULL}},
        {"expansion", "FROM base\nENV a=${b?gone}\n", "b: gone", 2, 0, {.network = NULL}},
        {"ENV without a name",
         "FROM base\nARG e=\nENV \"$e\"=1\n",
         "ENV names can not be blank",
         3,
         0,
         {.network = NULL}},
        {"port", "FROM base\nEXPOSE x\n", "invalid containerPort: x", 2, 0, {.network = NULL}},
        {"port too large",
         "FROM base\nEXPOSE 65536\n",
         "invalid containerPort",
         2,
         0,
         {.network = NULL}},
        {"port range", "FROM base\nEXPOSE 9-8\n", "invalid containerPort", 2, 0, {.network = NULL}},
        {"protocol", "FROM base\nEXPOSE 1/icmp\n", "invalid proto: icmp", 2, 0, {.network = NULL}},
        {"address",
         "FROM base\nEXPOSE host:1:2\n",
         "invalid IP address: host",
         2,
         0,
         {.network = NULL}},
        {"no port", "FROM base\nEXPOSE :\n", "no port specified", 2, 0, {.network = NULL}},
        {"ranges",
         "FROM base\nEXPOSE 1-2:1-3\n",
         "container and host Ports: 1-3 and 1-2",
         2,
         0,
         {.network = NULL}},
        {"signal",
         "FROM base\nSTOPSIGNAL SIGNOPE\n",
         "invalid signal: SIGNOPE",
         2,
         0,
         {.network = NULL}},
        {"signal zero", "FROM base\nSTOPSIGNAL 0\n", "invalid signal: 0", 2, 0, {.network = NULL}},
        {"signal beyond the last",
         "FROM base\nSTOPSIGNAL RTMAX-15\n",
         "invalid signal: RTMAX-15",
         2,
         0,
         {.network = NULL}},
        {"signal of windows",
         "FROM --platform=windows/amd64 scratch\nSTOPSIGNAL 9\n",
         "windows",
         2,
         0,
         {.network = NULL}},
        {"interval",
         "FROM base\nHEALTHCHECK --interval=5 CMD x\n",
         "missing unit in duration",
         2,
         0,
         {.network = NULL}},
        {"short interval",
         "FROM base\nHEALTHCHECK --interval=5us CMD x\n",
         "cannot be less than 1ms",
         2,
         0,
         {.network = NULL}},
        {"retries",
         "FROM base\nHEALTHCHECK --retries=-1 CMD x\n",
         "retries",
         2,
         0,
         {.network = NULL}},
        {"empty volume",
         "FROM base\nENV v=\nVOLUME $v\n",
         "VOLUME specified can not be an empty string",
         3,
         0,
         {.network = NULL}},
        {"mount type",
         "FROM base\nRUN --mount=type=bnd,target=/x a\n",
         "unsupported mount type \"bnd\"",
         2,
         0,
         {.network = NULL}},
        {"mount type suggested",
         "FROM base\nRUN --mount=type=bnd,target=/x a\n",
         "did you mean bind?",
         2,
         0,
         {.network = NULL}},
        {"mount target",
         "FROM base\nRUN --mount=type=tmpfs,target=/ a\n",
         "invalid mount target \"/\"",
         2,
         0,
         {.network = NULL}},
        {"mount key",
         "FROM base\nRUN --mount=target=/x,tragte=1 a\n",
         "unexpected key 'tragte'",
         2,
         0,
         {.network = NULL}},
        {"mount size",
         "FROM base\nRUN --mount=target=/x,size=1k a\n",
         "unexpected key 'size' for mount type 'bind'",
         2,
         0,
         {.network = NULL}},
        {"mount mode",
         "FROM base\nRUN --mount=type=cache,target=/x,mode=9 a\n",
         "invalid value 9 for mode",
         2,
         0,
         {.network = NULL}},
        {"mount sharing",
         "FROM base\nRUN --mount=type=cache,target=/x,sharing=x a\n",
         "unsupported sharing value",
         2,
         0,
         {.network = NULL}},
        {"mount from a variable",
         "FROM base\nRUN --mount=from=$x,target=/x a\n",
         "'from' doesn't support variable expansion",
         2,
         0,
         {.network = NULL}},
        {"secret without anything",
         "FROM base\nRUN --mount=type=secret a\n",
         "invalid secret mount",
         2,
         0,
         {.network = NULL}},
        {"secret with both",
         "FROM base\nRUN --mount=type=secret,id=a,source=b x\n",
         "both source and id can't be set",
         2,
         0,
         {.network = NULL}},
        {"network",
         "FROM base\nRUN --network=x a\n",
         "invalid network mode \"x\"",
         2,
         0,
         {.network = NULL}},
        {"host network",
         "FROM base\nRUN --network=host a\n",
         "not allowed",
         2,
         BLD_E_POLICY,
         {.network = NULL}},
        {"insecure",
         "FROM base\nRUN --security=insecure a\n",
         "not allowed",
         2,
         BLD_E_POLICY,
         {.network = NULL}},
        {"security",
         "FROM base\nRUN --security=x a\n",
         "security \"x\" is not valid",
         2,
         0,
         {.network = NULL}},
        {"checksum of a file",
         "FROM base\nADD --checksum=sha256:0 a b\n",
         "checksum requires",
         2,
         0,
         {.network = NULL}},
        {"bad trigger", "FROM base\nFROM badtrigger\n", "ONBUILD COPY: ", 2, 0, {.network = NULL}},
        {"FROM as a trigger",
         "FROM fromtrigger\n",
         "FROM isn't allowed as an ONBUILD trigger",
         1,
         0,
         {.network = NULL}},
        {"two instructions as one trigger",
         "FROM twotriggers\n",
         "single expression",
         1,
         0,
         {.network = NULL}},
};

static void refused(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
                int code = bad[i].code ? bad[i].code : BLD_E_INVALID;
                struct planned p;

                print_message("%s\n", bad[i].name);
                plan_text(bad[i].text, &bad[i].o, &p);
                if (p.r != code)
                        fail_msg("%d, not %d: %s", p.r, code, p.err.msg);
                if (!strstr(p.err.msg, bad[i].message))
                        fail_msg("\"%s\" is not in \"%s\"", bad[i].message, p.err.msg);
                assert_int_equal(p.at.line, bad[i].line);
                planned_done(&p);
        }
}

/* What is only wrong in a stage that nobody needs does not matter. */
static void unneeded(void **state)
{
        static const char *const texts[] = {
                "FROM nope AS a\nFROM base\n",
                "FROM base AS a\nENV a=${b?gone}\nFROM base\n",
                "FROM base AS a\nEXPOSE x\nFROM base\n",
                "FROM base AS a\nCOPY --from=nope x y\nFROM base\n",
                "FROM base AS a\nRUN --network=x a\nFROM base\n",
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
                struct planned p;

                plan_text(texts[i], NULL, &p);
                if (p.r < 0)
                        fail_msg("%s: %s", texts[i], p.err.msg);
                assert_string_equal(p.asked, "base");
                planned_done(&p);
        }
}

/* ---- mounts in full ---- */

static void mounts(void **state)
{
        static const struct {
                const char *text;
                enum mount_type type;
                const char *target, *source, *id, *env;
                bool readonly, required;
                uint64_t size;
                unsigned mode;
                uint32_t uid;
        } rows[] = {
                {"target=a", MT_BIND, "/home/me/a", NULL, NULL, NULL, true, false, 0, 0, 0},
                {"dst=/a,src=b,rw", MT_BIND, "/a", "b", NULL, NULL, false, false, 0, 0, 0},
                {"type=BIND,destination=/a,ro=false", MT_BIND, "/a", NULL, NULL, NULL, false, false,
                 0, 0, 0},
                {"type=cache,target=x/../c", MT_CACHE, "/home/me/c", NULL, "/c", NULL, false, false,
                 0, 0, 0},
                {"type=cache,id=i,target=/c,mode=0700,uid=5,ro", MT_CACHE, "/c", NULL, "/i 700:5:0",
                 NULL, true, false, 0, 0700, 5},
                {"type=tmpfs,target=/t,size=2k", MT_TMPFS, "/t", NULL, NULL, NULL, false, false,
                 2048, 0, 0},
                {"type=secret,id=s", MT_SECRET, "/run/secrets/s", NULL, "s", NULL, true, false, 0,
                 0, 0},
                {"type=secret,target=/x/y", MT_SECRET, "/x/y", NULL, "y", NULL, true, false, 0, 0,
                 0},
                {"type=secret,id=s,env=E,required", MT_SECRET, NULL, NULL, "s", "E", true, true, 0,
                 0, 0},
                {"type=secret,id=s,env=", MT_SECRET, NULL, NULL, "s", "s", true, false, 0, 0, 0},
                {"type=secret,id=s,env=E,target=/f", MT_SECRET, "/f", NULL, "s", "E", true, false,
                 0, 0, 0},
                {"type=ssh", MT_SSH, NULL, NULL, "default", NULL, true, false, 0, 0, 0},
                {"target=/$V", MT_BIND, "/v", NULL, NULL, NULL, true, false, 0, 0, 0},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                const struct vx_mount *m;
                struct planned p;
                char text[300];

                print_message("%s\n", rows[i].text);
                (void)snprintf(text, sizeof(text), "FROM user\nENV V=v\nRUN --mount=%s x\n",
                               rows[i].text);
                plan_text(text, NULL, &p);
                if (p.r < 0)
                        fail_msg("%s", p.err.msg);
                m = &p.g.v.v[p.g.v.n - 1]->u.run.mounts[0];
                assert_int_equal(m->type, rows[i].type);
                assert_true(str_eq(m->target, rows[i].target));
                assert_true(str_eq(m->source, rows[i].source));
                assert_true(str_eq(m->id, rows[i].id));
                assert_true(str_eq(m->env, rows[i].env));
                assert_int_equal(m->readonly, rows[i].readonly);
                assert_int_equal(m->required, rows[i].required);
                assert_int_equal(m->size_bytes, rows[i].size);
                assert_int_equal(m->mode, rows[i].mode);
                assert_int_equal(m->uid, rows[i].uid);
                assert_int_equal(m->input, m->type == MT_BIND ? 1 : -1);
                planned_done(&p);
        }
}

/* ---- the rest ---- */

static void shown(void **state)
{
        struct planned p;

        (void)state;
        plan_text("FROM base AS deps\nRUN a\nENV x=1\nCOPY b /c\nFROM deps\nWORKDIR /w\n", NULL,
                  &p);
        assert_int_equal(p.r, 0);
        assert_string_equal(p.g.v.v[0]->step, "deps 1/3");
        assert_string_equal(p.g.v.v[1]->step, "deps 2/3");
        assert_string_equal(p.g.v.v[1]->name, "RUN a");
        assert_int_equal(p.g.v.v[1]->line, 2);
        assert_string_equal(p.g.v.v[3]->step, "deps 3/3");
        assert_string_equal(p.g.v.v[4]->step, "stage-1 1/1");
        assert_string_equal(p.g.v.v[4]->stage, "stage-1");
        planned_done(&p);
}

static void unused_argument(void **state)
{
        static const struct {
                const char *arg;
                bool warned;
        } rows[] = {{"NOSUCH=1", true},
                    {"A=1", false},
                    {"B=1", false}, /* in a trigger of this file */
                    {"C=1", false}, /* in one of the base */
                    {"HTTP_PROXY=x", false},
                    {"http_proxy=x", false},
                    {"TARGETARCH=x", false},
                    {"BUILDKIT_X=1", false},
                    {"SOURCE_DATE_EPOCH=1", false}};

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct planned p;

                print_message("%s\n", rows[i].arg);
                plan_text("FROM argtrigger\nARG A\nONBUILD ARG X B=2\n",
                          &(struct opts){.args = {rows[i].arg}}, &p);
                assert_int_equal(p.r, 0);
                assert_int_equal(*p.warned != '\0', rows[i].warned);
                planned_done(&p);
        }
}

static void entitled(void **state)
{
        struct planned p;

        (void)state;
        plan_text("FROM base\nRUN --network=host --security=insecure a\n",
                  &(struct opts){.allow_host = true, .allow_insecure = true}, &p);
        assert_int_equal(p.r, 0);
        assert_true(p.g.v.v[1]->u.run.insecure);
        assert_string_equal(p.g.v.v[1]->u.run.network, "host");
        planned_done(&p);
}

static void platforms(void **state)
{
        struct planned p;

        (void)state;
        /* Asked for: the result says so, whatever a base says of itself. */
        plan_text("FROM --platform=linux/arm/v7 base AS a\nRUN x\nFROM a\nRUN y\n",
                  &(struct opts){.platform = "linux/arm64"}, &p);
        assert_int_equal(p.r, 0);
        assert_string_equal(p.g.v.v[1]->platform.arch, "arm");
        assert_string_equal(p.g.v.v[2]->platform.arch, "arm"); /* a stage's platform is inherited */
        planned_done(&p);
        plan_text("FROM --platform=$BUILDPLATFORM base\nRUN x\n",
                  &(struct opts){.platform = "linux/arm64"}, &p);
        assert_int_equal(p.r, 0);
        assert_string_equal(p.g.v.v[1]->platform.arch, "amd64");
        planned_done(&p);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(vertices),  cmocka_unit_test(order),
                cmocka_unit_test(refused),   cmocka_unit_test(unneeded),
                cmocka_unit_test(mounts),    cmocka_unit_test(shown),
                cmocka_unit_test(entitled),  cmocka_unit_test(unused_argument),
                cmocka_unit_test(platforms),
        };

        return cmocka_run_group_tests_name("builder/plan", tests, NULL, NULL);
}
