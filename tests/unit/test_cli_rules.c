/* Rules for `bld analyze`: flags, and .dive-ci files as dive reads them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/err.h"
#include "base/sb.h"
#include "cli/rules.h"

/* "lowestEfficiency=0.9 maxSize=20 maxLayers=off ", in the order of enum rule_id. */
static void show(const struct rules *r, struct sb *out)
{
        for (enum rule_id i = RULE_EFFICIENCY; i < RULES; i++) {
                const struct rule *k = &r->v[i];

                if (!k->set)
                        continue;
                if (k->off)
                        sb_fmt(out, "%s=off ", rules_name(i));
                else if (i == RULE_EFFICIENCY || i == RULE_SHARE)
                        sb_fmt(out, "%s=%g ", rules_name(i), k->ratio);
                else
                        sb_fmt(out, "%s=%llu ", rules_name(i), (unsigned long long)k->n);
        }
}

/* ---- values ---- */

#define BAD NULL

static const struct {
        enum rule_id id;
        bool flag;
        const char *value, *want;
} values[] = {
        {RULE_EFFICIENCY, false, "0.95", "lowestEfficiency=0.95 "},
        {RULE_EFFICIENCY, false, "1", "lowestEfficiency=1 "},
        {RULE_EFFICIENCY, false, "0", "lowestEfficiency=0 "},
        {RULE_EFFICIENCY, true, "5e-1", "lowestEfficiency=0.5 "},
        {RULE_EFFICIENCY, false, "disabled", "lowestEfficiency=off "},
        {RULE_EFFICIENCY, false, "OFF", "lowestEfficiency=off "},
        {RULE_EFFICIENCY, false, "false", "lowestEfficiency=off "},
        {RULE_EFFICIENCY, false, "", "lowestEfficiency=off "},
        {RULE_EFFICIENCY, false, "1.01", BAD},
        {RULE_EFFICIENCY, false, "-0.1", BAD},
        {RULE_EFFICIENCY, false, "1e999", BAD},
        {RULE_EFFICIENCY, false, "nan", BAD},
        {RULE_EFFICIENCY, false, "inf", BAD},
        {RULE_EFFICIENCY, false, "0x1", BAD},
        {RULE_EFFICIENCY, false, " 1", BAD},
        {RULE_EFFICIENCY, false, "0.9.1", BAD},
        {RULE_EFFICIENCY, false, "e", BAD},
        {RULE_EFFICIENCY, false, "90%", BAD},
        {RULE_SHARE, false, "0.1", "highestUserWastedPercent=0.1 "},
        {RULE_SHARE, false, "10", BAD},
        /* dive's sizes: powers of 1000, of 1024 where there is an i */
        {RULE_WASTED, false, "0", "highestWastedBytes=0 "},
        {RULE_WASTED, false, "123", "highestWastedBytes=123 "},
        {RULE_WASTED, false, "123B", "highestWastedBytes=123 "},
        {RULE_WASTED, false, "20MB", "highestWastedBytes=20000000 "},
        {RULE_WASTED, false, "20m", "highestWastedBytes=20000000 "},
        {RULE_WASTED, false, "20 MB", "highestWastedBytes=20000000 "},
        {RULE_WASTED, false, "20MiB", "highestWastedBytes=20971520 "},
        {RULE_WASTED, false, "20mi", "highestWastedBytes=20971520 "},
        {RULE_WASTED, false, "1.5kB", "highestWastedBytes=1500 "},
        {RULE_WASTED, false, "999PB", "highestWastedBytes=999000000000000000 "},
        {RULE_WASTED, false, "1000PB", BAD},
        {RULE_WASTED, false, "99999999999999999999", BAD},
        {RULE_WASTED, false, ".", BAD},
        {RULE_WASTED, false, "1.2.3", BAD},
        {RULE_WASTED, false, "-1", BAD},
        {RULE_WASTED, false, "MB", BAD},
        {RULE_WASTED, false, "1e3", BAD},
        {RULE_WASTED, false, "1bb", BAD},
        {RULE_WASTED, false, "1Bi", BAD},
        {RULE_WASTED, false, "1MBB", BAD},
        {RULE_WASTED, false, "1MB ", BAD},
        {RULE_WASTED, false, "1 ", "highestWastedBytes=1 "},
        {RULE_WASTED, false, "1\xff", BAD},
        /* the flag's are bld's */
        {RULE_WASTED, true, "20m", "highestWastedBytes=20971520 "},
        {RULE_SIZE, true, "1k", "maxSize=1024 "},
        {RULE_SIZE, false, "1kB", "maxSize=1000 "},
        {RULE_LAYERS, false, "12", "maxLayers=12 "},
        {RULE_LAYERS, false, "0", "maxLayers=0 "},
        {RULE_LAYERS, true, "1000000", "maxLayers=1000000 "},
        {RULE_LAYERS, true, "1000001", BAD},
        {RULE_LAYERS, false, "1.5", BAD},
        {RULE_LAYERS, false, "-1", BAD},
        {RULE_LAYERS, false, "99999999999999999999", BAD},
};

static void test_values(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(values); i++) {
                struct rules r = {0};
                struct bld_err err = BLD_ERR_INIT;
                struct sb got = SB_INIT(4096);
                int code = rules_set(&r, values[i].id, values[i].value, values[i].flag, "--here",
                                     &err);

                if (values[i].want ? code != 0 : code != BLD_E_USAGE)
                        fail_msg("\"%s\": %d %s", values[i].value, code, err.msg);
                if (code < 0) {
                        assert_non_null(strstr(err.msg, "--here takes "));
                } else {
                        show(&r, &got);
                        assert_string_equal(sb_text(&got), values[i].want);
                }
                sb_done(&got);
        }
}

/* ---- files ---- */

#define TEXT(s) (s), sizeof(s) - 1

static const struct {
        const char *name, *text;
        size_t n;
        const char *want;  /* rules, or */
        const char *error; /* a part of the message */
} files[] = {
        {"empty", TEXT(""), "", NULL},
        {"a comment", TEXT("# nothing\n"), "", NULL},
        {"no rules", TEXT("rules:\n"), "", NULL},
        {"as dive documents it",
         TEXT("rules:\n  lowestEfficiency: 0.95\n  highestWastedBytes: 20MB\n"
              "  highestUserWastedPercent: 0.20\n"),
         "lowestEfficiency=0.95 highestWastedBytes=20000000 highestUserWastedPercent=0.2 ", NULL},
        {"the newer names, at the top",
         TEXT("lowest-efficiency-threshold: '0.9'\nhighest-wasted-bytes: \"disabled\"\n"),
         "lowestEfficiency=0.9 highestWastedBytes=off ", NULL},
        {"bld's own", TEXT("rules: {maxSize: 1GB, max-layers: 3}"),
         "maxSize=1000000000 maxLayers=3 ", NULL},
        {"the last one counts", TEXT("maxLayers: 3\nrules:\n  maxLayers: 4\n"), "maxLayers=4 ",
         NULL},
        {"an anchor", TEXT("maxSize: &n 5\nhighestWastedBytes: *n\n"),
         "highestWastedBytes=5 maxSize=5 ", NULL},
        {"UTF-16",
         TEXT("\xff\xfem\0a\0x\0L\0a\0y\0e\0r\0s\0:\0 \0"
              "2\0"),
         "maxLayers=2 ", NULL},
        {"a rule nobody knows", TEXT("rules:\n  lowestEfficency: 1\n"), NULL,
         "ci:2: there is no rule \"lowestEfficency\""},
        {"a value that is none", TEXT("rules:\n\n  maxLayers: many\n"), NULL,
         "ci:3: maxLayers takes a number"},
        {"rules in rules", TEXT("rules:\n  rules:\n    maxLayers: 1\n"), NULL,
         "ci:2: there is no rule \"rules\""},
        {"a list", TEXT("- maxLayers: 1\n"), NULL, "ci:1: rules are written NAME: VALUE"},
        {"a word", TEXT("maxLayers"), NULL, "ci:1: rules are written NAME: VALUE"},
        {"a list of values", TEXT("maxLayers: [1]\n"), NULL, "ci:1: the rule's value"},
        {"a name that is a map", TEXT("? {a: b}\n: 1\n"), NULL, "ci:1: a rule's name"},
        {"a map that holds itself", TEXT("rules: &r\n  maxLayers: *r\n"), NULL,
         "ci:2: the rule's value"},
        {"an anchor that is not there", TEXT("maxLayers: *no\n"), NULL, "ci:1: "},
        {"broken", TEXT("rules: {maxLayers: 1\n"), NULL, "ci:"},
        {"a tab", TEXT("rules:\n\tmaxLayers: 1\n"), NULL, "ci:2: "},
        {"a control byte", TEXT("maxLayers: 1\x01\n"), NULL, "ci:"},
        {"no UTF-8", TEXT("maxLayers: \xff\n"), NULL, "ci:"},
        {"a NUL", TEXT("maxLayers: 1\0 2\n"), NULL, "ci:"},
        {"a value that goes on after a NUL", TEXT("maxLayers: \"1\\0 2\"\n"), NULL,
         "ci:1: the rule's value"},
        {"a file that does", TEXT("\"\\0\""), NULL, "ci:1: rules are written NAME: VALUE"},
        {"a name that does", TEXT("\"maxLayers\\0x\": 1\n"), NULL, "ci:1: a rule's name"},
};

static void test_files(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(files); i++) {
                struct rules r = {0};
                struct bld_err err = BLD_ERR_INIT;
                struct sb got = SB_INIT(4096);
                int code = rules_read(&r, files[i].text, files[i].n, "ci", &err);

                if (files[i].want ? code != 0 : code != BLD_E_USAGE)
                        fail_msg("%s: %d %s", files[i].name, code, err.msg);
                show(&r, &got);
                if (files[i].want)
                        assert_string_equal(sb_text(&got), files[i].want);
                else if (!strstr(err.msg, files[i].error))
                        fail_msg("%s: %s", files[i].name, err.msg);
                sb_done(&got);
        }
}

#define NESTED 5000u

/* Lists of lists, and aliases of aliases: refused as anything else, and at once. */
static void test_bombs(void **state)
{
        const struct {
                const char *open, *close;
        } nests[] = {{"[", "]"}, {"{a: ", "}"}, {"- ", ""}, {"[", ""}};
        struct sb text = SB_INIT(1u << 20);
        struct rules r = {0};

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(nests); i++) {
                sb_reset(&text);
                for (unsigned k = 0; k < NESTED; k++)
                        sb_str(&text, nests[i].open);
                for (unsigned k = 0; k < NESTED; k++)
                        sb_str(&text, nests[i].close);
                assert_int_equal(rules_read(&r, sb_text(&text), text.len, "ci", NULL), BLD_E_USAGE);
        }
        sb_reset(&text);
        sb_str(&text, "a0: &a0 [x]\n");
        for (unsigned k = 1; k < 60; k++)
                sb_fmt(&text, "a%u: &a%u [*a%u, *a%u, *a%u]\n", k, k, k - 1, k - 1, k - 1);
        assert_int_equal(rules_read(&r, sb_text(&text), text.len, "ci", NULL), BLD_E_USAGE);
        sb_done(&text);
}

/* Whatever is cut off or turned into something else: an answer, and no harm (sanitizers look). */
static void test_damage(void **state)
{
        char text[] = "rules: &r\n  lowestEfficiency: 0.95 # x\n  'maxSize': \"20 MiB\"\n"
                      "maxLayers: ~\n? max-size\n: !!str 1\n";
        struct rules r = {0};

        (void)state;
        for (size_t n = 0; n < sizeof(text); n++) {
                int code = rules_read(&r, text, n, "ci", NULL);

                assert_true(code == 0 || code == BLD_E_USAGE);
                for (unsigned c = 0; n < sizeof(text) - 1 && c < 256; c++) {
                        char was = text[n];

                        text[n] = (char)c;
                        code = rules_read(&r, text, sizeof(text) - 1, "ci", NULL);
                        assert_true(code == 0 || code == BLD_E_USAGE);
                        text[n] = was;
                }
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_values), cmocka_unit_test(test_files),
                cmocka_unit_test(test_bombs), cmocka_unit_test(test_damage)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
