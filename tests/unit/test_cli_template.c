/* --format templates. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/err.h"
#include "cli/template.h"

static const char document[] =
        "{\"Id\":\"sha256:9a\",\"size\":42,\"On\":true,\"Off\":false,\"Nil\":null,"
        "\"Config\":{\"Env\":[\"A=1\",\"B=2\"],\"Labels\":{\"a.b\":\"c\",\"d\":\"e\"},"
        "\"User\":\"\",\"Cmd\":[]}}";

static struct js *parsed(void)
{
        struct js *j = NULL;

        assert_int_equal(js_parse(document, sizeof(document) - 1, &j, NULL), 0);
        return j;
}

static void good(void **state)
{
        static const struct {
                const char *in, *want;
        } rows[] = {
                {"plain", "plain"},
                {"{{.Id}}", "sha256:9a"},
                {"{{ .Id }}", "sha256:9a"},
                {"{{.Size}}", "42"},
                {"{{.On}} {{.Off}} {{.Nil}}", "true false <nil>"},
                {"{{.Config.Env}}", "[A=1 B=2]"},
                {"{{.Config.Labels}}", "map[a.b:c d:e]"},
                {"{{.Config.Nope}}", "<no value>"},
                {"{{json .Config.Env}}", "[\"A=1\",\"B=2\"]"},
                {"{{.Config.Env | json}}", "[\"A=1\",\"B=2\"]"},
                {"{{index .Config.Labels \"a.b\"}}", "c"},
                {"{{index .Config.Env 1}}", "B=2"},
                {"{{index .Config.Env 7}}", "<no value>"},
                {"{{join .Config.Env \",\"}}", "A=1,B=2"},
                {"{{upper .Id}} {{lower \"AbC\"}} {{title \"ab cd\"}}", "SHA256:9A abc Ab Cd"},
                {"{{len .Config.Env}} {{len .Id}}", "2 9"},
                {"{{range .Config.Env}}<{{.}}>{{end}}", "<A=1><B=2>"},
                {"{{range .Config.Env}}{{println .}}{{end}}", "A=1\nB=2\n"},
                {"{{range .Config.Labels}}{{.}};{{end}}", "c;e;"},
                {"{{range .Config.Cmd}}x{{else}}none{{end}}", "none"},
                {"{{if .Config.User}}user{{else}}root{{end}}", "root"},
                {"{{if .On}}yes{{end}}{{if .Off}}no{{end}}", "yes"},
                {"{{if eq .Id \"sha256:9a\"}}same{{end}}", "same"},
                {"{{if and .On (not .Off)}}both{{end}}", "both"},
                {"{{if or .Off .On}}one{{end}}", "one"},
                {"{{if .On}}{{if .Off}}a{{else}}b{{end}}{{end}}", "b"},
                {"{{if .Off}}{{range .Config.Env}}{{.}}{{end}}{{else}}skipped{{end}}", "skipped"},
                {"{{printf \"%s-%d%%\" .Id .Size}}", "sha256:9a-42%"},
                {"{{/* nothing */}}x", "x"},
                {"a {{- .Id -}} b", "asha256:9ab"},
                {"{{\"}}\"}}", "}}"},
                {"{{`raw\\n`}}", "raw\\n"},
                {"a\\tb\\n", "a\tb\n"},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct bld_err err = BLD_ERR_INIT;
                struct sb out = SB_INIT(1 << 16);
                struct js *j = parsed();

                print_message("%s\n", rows[i].in);
                if (template_run(rows[i].in, j, 0, &out, &err) < 0)
                        fail_msg("%s", err.msg);
                assert_string_equal(sb_text(&out), rows[i].want);
                sb_done(&out);
                js_free(j);
        }
}

static void bad(void **state)
{
        static const struct {
                const char *in;
                unsigned flags;
        } rows[] = {
                {"{{.Id", 0},           {"{{.Nope}}", TEMPLATE_STRICT},
                {"{{nope .Id}}", 0},    {"{{}}", 0},
                {"{{end}}", 0},         {"{{else}}", 0},
                {"{{if .On}}x", 0},     {"{{range .Config.Env}}x", 0},
                {"{{$x := .Id}}", 0},   {"{{if .On}}a{{else if .Off}}b{{end}}", 0},
                {"{{\"open}}", 0},      {"{{index (index .Config.Env 0}}", 0},
                {"{{.Id | .Size}}", 0}, {"{{with .Id}}x{{end}}", 0},
                {"{{.Id .Size}}", 0},   {"{{((((((((((((((((((.Id))))))))))))))))))}}", 0},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct bld_err err = BLD_ERR_INIT;
                struct sb out = SB_INIT(1 << 16);
                struct js *j = parsed();

                print_message("%s\n", rows[i].in);
                assert_int_equal(template_run(rows[i].in, j, rows[i].flags, &out, &err),
                                 BLD_E_USAGE);
                assert_int_equal(err.code, BLD_E_USAGE);
                sb_done(&out);
                js_free(j);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(good),
                cmocka_unit_test(bad),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
