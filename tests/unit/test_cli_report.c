/* Error messages in their one form, and the table of exit statuses. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/err.h"
#include "cli/exit.h"
#include "cli/report.h"

static const struct term plain = {.fd = 2, .utf8 = true, .cols = 80, .rows = 24};

static char *formatted(const struct report *r)
{
        struct sb b = SB_INIT(1 << 20);

        report_format(&plain, r, &b);
        return sb_take(&b);
}

static void assert_report(const struct report *r, const char *want)
{
        char *have = formatted(r);

        assert_string_equal(have, want);
        free(have);
}

static void forms(void **state)
{
        static const struct {
                const char *name, *msg;
                struct bld_place place;
                const char *want;
        } rows[] = {
                {"what only", "no such thing", {.file = ""}, "error: no such thing\n"},
                {"unknown instruction",
                 "unknown instruction COPPY",
                 {.file = "Dockerfile",
                  .line = 4,
                  .col = 1,
                  .len = 5,
                  .source = "COPPY package.json ./",
                  .label = "did you mean COPY?"},
                 "error: unknown instruction COPPY\n"
                 "  --> Dockerfile:4\n"
                 "   4 | COPPY package.json ./\n"
                 "     | ^^^^^ did you mean COPY?\n"},
                {"why and try",
                 "COPY: no file matches \"dist/app.js\"\n"
                 "why: .dockerignore:3 pattern \"dist\" removes it\n"
                 "try: add \"!dist/app.js\" after line 3 of .dockerignore",
                 {.file = "Dockerfile",
                  .line = 11,
                  .col = 6,
                  .len = 11,
                  .source = "COPY dist/app.js /srv/",
                  .label = "exists in the context directory, but is excluded"},
                 "error: COPY: no file matches \"dist/app.js\"\n"
                 "  --> Dockerfile:11\n"
                 "  11 | COPY dist/app.js /srv/\n"
                 "     |      ^^^^^^^^^^^ exists in the context directory, but is excluded\n"
                 "  why:  .dockerignore:3 pattern \"dist\" removes it\n"
                 "  try:  add \"!dist/app.js\" after line 3 of .dockerignore\n"},
                {"continued lines",
                 "x\nwhy: one\ntwo\nnote: three",
                 {.file = ""},
                 "error: x\n  why:  one\n        two\n  note: three\n"},
                {"no column",
                 "x",
                 {.file = "D", .line = 2, .source = "RUN a"},
                 "error: x\n  --> D:2\n   2 | RUN a\n"},
                {"several lines",
                 "x",
                 {.file = "D", .line = 99, .col = 1, .len = 3, .source = "RUN a \\\n  b"},
                 "error: x\n  --> D:99\n  99 | RUN a \\\n     | ^^^\n 100 |   b\n"},
                {"tab before the marker",
                 "x",
                 {.file = "D", .line = 1, .col = 5, .len = 2, .source = "RUN\tab"},
                 "error: x\n  --> D:1\n   1 | RUN     ab\n     |         ^^\n"},
                {"column past the end",
                 "x",
                 {.file = "D", .line = 1, .col = 500, .len = 9, .source = "RUN"},
                 "error: x\n  --> D:1\n   1 | RUN\n     |    ^\n"},
                {"cut in front",
                 "x",
                 {.file = "D",
                  .line = 1,
                  .col = 903,
                  .len = 2,
                  .source = "abcde...",
                  .source_from = 900},
                 "error: x\n  --> D:1\n   1 | ...abcde...\n     |      ^^\n"},
                {"column in what was cut",
                 "x",
                 {.file = "D", .line = 1, .col = 3, .len = 1, .source = "ab", .source_from = 900},
                 "error: x\n  --> D:1\n   1 | ...ab\n     |    ^\n"},
                {"control bytes",
                 "bad \033]0;t\007name\033[31m \001!",
                 {.file = ""},
                 "error: bad name !\n"},
                {"failing RUN",
                 "RUN exited with status 2",
                 {.file = "Dockerfile",
                  .line = 9,
                  .source = "RUN make",
                  .stage = "deps",
                  .step = "deps 4/4",
                  .run_status = 2,
                  .log_path = "/r/log"},
                 "error: RUN exited with status 2\n"
                 "  --> Dockerfile:9   stage \"deps\", step 4 of 4\n"
                 "   9 | RUN make\n"
                 "  log:  /r/log\n"},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct bld_err err = BLD_ERR_INIT;
                struct report r = {.err = &err, .place = &rows[i].place};

                print_message("%s\n", rows[i].name);
                (void)err_set(&err, BLD_E_INVALID, "%s", rows[i].msg);
                assert_report(&r, rows[i].want);
        }
}

static void last_lines(void **state)
{
        struct bld_err err = BLD_ERR_INIT;
        struct steps s;
        struct step *st;
        struct bld_event ev = {.type = BLD_EV_STEP_START, .step = "a 1/1", .name = "RUN x"};
        struct report r = {.err = &err, .tail = 2};

        (void)state;
        steps_init(&s);
        steps_apply(&s, &ev, &st);
        ev.type = BLD_EV_STEP_LOG;
        for (int i = 0; i < 100; i++) {
                char line[32];

                ev.data = line;
                ev.len = (size_t)snprintf(line, sizeof(line), "line %d\n", i);
                steps_apply(&s, &ev, &st);
        }
        ev.data = "no end";
        ev.len = 6;
        steps_apply(&s, &ev, &st);
        ev.type = BLD_EV_STEP_ERROR;
        steps_apply(&s, &ev, &st);
        assert_int_equal(st->tail.n, 101);
        r.step = st;
        (void)err_set(&err, BLD_E_CHILD,
                      "RUN failed\nwhy: last lines of 101:\n     | cut\ntry: again");
        assert_report(&r, "error: RUN failed\n"
                          "  why:  last 2 of 101 lines:\n"
                          "        | line 99\n"
                          "        | no end\n"
                          "  try:  again\n");
        steps_done(&s);
}

static void json_form(void **state)
{
        struct bld_err err = BLD_ERR_INIT;
        struct bld_place place = {.file = "D\"f", .line = 3, .step = "a 1/1", .run_status = 4};
        struct report r = {.err = &err, .place = &place};
        struct sb b = SB_INIT(1 << 16);

        (void)state;
        (void)err_set(&err, BLD_E_CHILD, "it failed\nwhy: \001");
        report_json(&r, &b);
        assert_string_equal(
                sb_text(&b),
                "{\"level\":\"error\",\"message\":\"it failed\\nwhy: \\u0001\",\"code\":-13,"
                "\"file\":\"D\\\"f\",\"line\":3,\"step\":\"a 1/1\",\"exitStatus\":4}\n");
        sb_done(&b);
}

static void statuses(void **state)
{
        static const struct {
                const char *name;
                int code, sys;
                bool names_input;
                int signal, want;
        } rows[] = {
                {"kernel", BLD_E_SYS, EACCES, false, 0, 1},
                {"disk full", BLD_E_SYS, ENOSPC, false, 0, 8},
                {"quota", BLD_E_CORRUPT, EDQUOT, false, 0, 8},
                {"no descriptors left", BLD_E_SYS, EMFILE, false, 0, 8},
                {"nor in the system", BLD_E_NETWORK, ENFILE, false, 0, 8},
                {"RUN ends with the number of ENOSPC", BLD_E_CHILD, ENOSPC, false, 0, 1},
                {"not found", BLD_E_NOT_FOUND, 0, false, 0, 6},
                {"exists", BLD_E_EXISTS, 0, false, 0, 1},
                {"malformed source", BLD_E_INVALID, 0, false, 0, 3},
                {"malformed argument", BLD_E_INVALID, 0, true, 0, 2},
                {"unsupported", BLD_E_UNSUPPORTED, 0, false, 0, 9},
                {"denied", BLD_E_DENIED, 0, false, 0, 5},
                {"corrupt", BLD_E_CORRUPT, 0, false, 0, 7},
                {"network", BLD_E_NETWORK, 0, false, 0, 7},
                {"timeout", BLD_E_TIMEOUT, 0, false, 0, 7},
                {"limit", BLD_E_LIMIT, 0, false, 0, 8},
                {"memory", BLD_E_NOMEM, ENOMEM, false, 0, 8},
                {"child", BLD_E_CHILD, 0x200, false, 0, 1},
                {"usage", BLD_E_USAGE, 0, false, 0, 2},
                {"policy", BLD_E_POLICY, 0, false, 0, 4},
                {"bug", BLD_E_BUG, 0, false, 0, 70},
                {"archive", BLD_E_MALFORMED, 0, true, 0, 3},
                {"cancelled by no one", BLD_E_CANCELLED, 0, false, 0, 130},
                {"SIGINT", BLD_E_CANCELLED, 0, false, SIGINT, 130},
                {"SIGTERM", BLD_E_CHILD, 0, false, SIGTERM, 143},
                {"unknown code", -99, 0, false, 0, 70},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct bld_err err = {.code = rows[i].code, .sys = rows[i].sys};

                print_message("%s\n", rows[i].name);
                assert_int_equal(exit_status_of(&err, rows[i].names_input, rows[i].signal),
                                 rows[i].want);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(forms),
                cmocka_unit_test(last_lines),
                cmocka_unit_test(json_form),
                cmocka_unit_test(statuses),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
