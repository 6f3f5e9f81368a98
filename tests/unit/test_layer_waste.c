/* Waste of layers: the numbers are computed by hand, after dive's rules. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/err.h"
#include "layer_fixture.h"
#include "layer_text.h"

static const struct {
        const char *name;
        const char *layers[LT_LAYERS];
        uint64_t least, all, wasted;
        const char *paths;     /* path:bytes*count, "-" when it is gone in the end */
        const char *layer_use; /* files/bytes/wasted of each layer */
} rows[] = {
        {"no layer", {NULL}, 0, 0, 0, "", ""},
        {"nothing twice", {"d a\nz a/x 10\nz b 5", "z c 7"}, 22, 22, 0, "", "2/15/0 1/7/0 "},
        {"replaced", {"z x 100", "z x 40"}, 40, 140, 140, "x:140*2 ", "1/100/100 1/40/0 "},
        {"replaced by more",
         {"z x 40", "z x 100", "z x 60"},
         40,
         200,
         200,
         "x:200*3 ",
         "1/40/40 1/100/100 1/60/0 "},
        {"a file removed costs what it took",
         {"z x 100\nz y 1", "w x"},
         1,
         101,
         100,
         "x:100*2- ",
         "2/101/100 0/0/0 "},
        /* The folder is no leaf of the layer below: one occurrence only, which is no waste to dive.
         */
        {"a folder removed",
         {"d a\nz a/x 100\nz a/y 50", "w a"},
         300,
         300,
         0,
         "",
         "2/150/150 0/0/0 "},
        {"a folder removed twice",
         {"d a\nz a/x 100", "w a", "d a\nz a/x 30", "w a"},
         60, /* 30 for the file, 30 for the folder: the least of what was removed */
         260,
         260,
         "a:130*2- a/x:130*2- ",
         "1/100/100 0/0/0 1/30/30 0/0/0 "},
        {"empty folders count nothing", {"d a", "d a"}, 0, 0, 0, "", "0/0/0 0/0/0 "},
        {"an empty folder that was full", {"d a\nz a/x 9", "d a"}, 9, 9, 0, "", "1/9/0 0/0/0 "},
        {"links count nothing", {"z x 9\nl y x\ns z x", "s z y"}, 9, 9, 0, "", "1/9/0 0/0/0 "},
        {"a name removed, the file still has another",
         {"z x 9\nl y x", "w x"},
         0,
         9,
         9,
         "x:9*2- ",
         "1/9/0 0/0/0 "},
        {"opaque folders remove nothing for the score",
         {"d a\nz a/x 9", "d a\no a\nz a/y 1"},
         10,
         10,
         0,
         "",
         "1/9/9 1/1/0 "},
        {"a whiteout of nothing", {"z x 9", "w y\nw x/z"}, 9, 9, 0, "", "1/9/0 0/0/0 "},
        {"removed and made again",
         {"d d\nz d/x 8", "w d", "d d\nz d/x 8"},
         16,
         24,
         16,
         "d/x:16*2 ",
         "1/8/8 0/0/0 1/8/0 "},
        {"twice in one layer", {"z x 5\nz x 7"}, 7, 7, 0, "", "2/12/5 "},
};

static void test_rows(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct lt_chain c = lt_chain(rows[i].layers);
                struct ly_waste w;
                struct bld_err err = BLD_ERR_INIT;
                struct sb paths = SB_INIT(LF_MAX), use = SB_INIT(LF_MAX);

                print_message("%s\n", rows[i].name);
                if (ly_waste_find(lt_tocs(&c), c.n, &w, &err) < 0)
                        fail_msg("%s", err.msg);
                lt_chain_done(&c); /* nothing in the result is theirs */
                for (size_t k = 0; k < w.n; k++)
                        sb_fmt(&paths, "%s:%llu*%zu%s ", w.v[k].path,
                               (unsigned long long)w.v[k].bytes, w.v[k].count,
                               w.v[k].removed ? "-" : "");
                for (size_t k = 0; k < w.nlayers; k++)
                        sb_fmt(&use, "%llu/%llu/%llu ", (unsigned long long)w.layers[k].files,
                               (unsigned long long)w.layers[k].bytes,
                               (unsigned long long)w.layers[k].wasted);
                assert_string_equal(sb_text(&paths), rows[i].paths);
                assert_string_equal(sb_text(&use), rows[i].layer_use);
                assert_int_equal(w.all, rows[i].all);
                assert_int_equal(w.least, rows[i].least);
                assert_int_equal(w.wasted, rows[i].wasted);
                ly_waste_done(&w);
                sb_done(&paths);
                sb_done(&use);
        }
}

static void test_bad(void **state)
{
        struct lt_chain c = lt_chain((const char *const[]){"l x nothing", NULL});
        struct bld_err err = BLD_ERR_INIT;
        struct ly_waste w;

        (void)state;
        assert_int_equal(ly_waste_find(lt_tocs(&c), c.n, &w, &err), BLD_E_CORRUPT);
        lt_chain_done(&c);
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows), cmocka_unit_test(test_bad)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
