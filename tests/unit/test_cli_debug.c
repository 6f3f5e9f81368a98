/* `bld debug`: one stage of the pipeline as text. What the stages themselves do has its own tests;
 * here it is arguments, shapes of answers, and failures. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include <fcntl.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "bld/debug.h"

static char file_name[64];

static int setup(void **state)
{
        static const char text[] = "FROM a\nRUN <<E\nhi\nE\nRUNN x\n";
        const char *tmp = getenv("TMPDIR");
        int fd;

        (void)state;
        (void)snprintf(file_name, sizeof(file_name), "%.40s/bld-debug-XXXXXX",
                       tmp && *tmp ? tmp : "/tmp");
        fd = mkstemp(file_name);
        if (fd < 0)
                return -1;
        (void)close(fd);
        return file_write(AT_FDCWD, file_name, text, sizeof(text) - 1, 0600, 0, NULL);
}

static int teardown(void **state)
{
        (void)state;
        return unlink(file_name);
}

/* FILE in args stands for the file. */
static int run(const char *what, const char *const *args, char **ret, struct bld_err *err)
{
        char *argv[8] = {0};
        int argc = 0, r;

        for (; args[argc]; argc++) {
                argv[argc] = mem_strdup(strcmp(args[argc], "FILE") == 0 ? file_name : args[argc]);
                assert_non_null(argv[argc]);
        }
        r = bld_debug(what, argc, argv, ret, err);
        for (int i = 0; i < argc; i++)
                free(argv[i]);
        return r;
}

static void answers(void **state)
{
        static const struct {
                const char *what;
                const char *args[8];
                const char *want;
        } rows[] = {
                {"ast", {"FILE"}, "(from \"a\")\n(run \"<<E\")\n(runn \"\")\n"},
                {"heredocs",
                 {"FILE"},
                 "[[],[{\"name\":\"E\",\"content\":\"hi\\n\",\"expand\":true,\"chomp\":false,"
                 "\"fd\":0}],[]]\n"},
                {"expand", {"--env", "A=1", "--env=B=2", "--", "$A-${B}"}, "1-2\n"},
                {"expand", {"--", "--x"}, "--x\n"},
                {"expand", {"--escape", "`", "--", "`$A"}, "$A\n"},
                {"words", {"-e", "A=1 2", "--", "$A \"x y\""}, "[\"1\",\"2\",\"x y\"]\n"},
                {"ignore", {"--file", "FILE", "--", "RUN <<E"}, "RUN <<E\n"},
                {"ignore", {"--file", "FILE", "--", "other"}, ""},
                {"ref",
                 {"--", "debian"},
                 "{\"domain\":\"docker.io\",\"path\":\"library/"
                 "debian\",\"tag\":\"\",\"digest\":\"\","
                 "\"normalized\":\"docker.io/library/debian\",\"familiar\":\"debian\","
                 "\"pulled\":\"docker.io/library/debian:latest\"}\n"},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct bld_err err = BLD_ERR_INIT;
                char *text = NULL;

                print_message("%s %s\n", rows[i].what, rows[i].args[0]);
                if (run(rows[i].what, rows[i].args, &text, &err) < 0)
                        fail_msg("%s", err.msg);
                assert_string_equal(text, rows[i].want);
                bld_free(text);
        }
}

static void failures(void **state)
{
        static const struct {
                const char *what;
                const char *args[8];
                int code;
                const char *part;
        } rows[] = {
                {"nothing", {NULL}, BLD_E_USAGE, "unknown stage"},
                {"giturl", {NULL}, BLD_E_USAGE, "usage"},
                {"giturl", {"--", "x"}, BLD_E_INVALID, "x"},
                {"graph", {NULL}, BLD_E_USAGE, "usage: bld debug graph"},
                {"graph", {"no/such/file"}, BLD_E_NOT_FOUND, "no/such/file"},
                {"graph", {"--context", "d", "f"}, BLD_E_USAGE, "--context"},
                {"ast", {NULL}, BLD_E_USAGE, "usage: bld debug ast"},
                {"ast", {"FILE", "FILE"}, BLD_E_USAGE, "usage"},
                {"ast", {"--nope", "FILE"}, BLD_E_USAGE, "--nope"},
                {"ast", {"/no/such/file"}, BLD_E_NOT_FOUND, "/no/such/file"},
                {"ast", {"--strict", "FILE"}, BLD_E_INVALID, "RUNN"},
                {"expand", {"--", "${"}, BLD_E_INVALID, "missing"},
                {"expand", {"--escape", "x", "--", "a"}, BLD_E_USAGE, "--escape"},
                {"ignore", {"--", "x"}, BLD_E_USAGE, "--file"},
                {"ref", {"--", "a/B"}, BLD_E_INVALID, "lower"},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct bld_err err = BLD_ERR_INIT;
                char *text = NULL;

                print_message("%s %s\n", rows[i].what, rows[i].args[0] ? rows[i].args[0] : "");
                assert_int_equal(run(rows[i].what, rows[i].args, &text, &err), rows[i].code);
                if (!strstr(err.msg, rows[i].part))
                        fail_msg("%s", err.msg);
                assert_null(text);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(answers),
                cmocka_unit_test(failures),
        };

        return cmocka_run_group_tests(tests, setup, teardown);
}
