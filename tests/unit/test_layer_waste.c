/* Waste of layers: the numbers are computed by hand, after dive's rules. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/err.h"
#include "layer_fixture.h"

#define MAX_LAYERS 4

/* One line per entry: "d path", "f path size", "s path target", "l path target", "w path",
 * "o path". */
static struct ly_toc *toc_of(const char *text)
{
        struct sb tar = SB_INIT(LF_MAX);
        struct ly_entry v[64] = {0};
        char *copy = strdup(text), *save = NULL;
        struct ly_toc *t;
        size_t n = 0;

        for (char *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
                struct ly_entry *e = &v[n++];
                char *sp = strchr(line + 2, ' ');

                e->path = line + 2;
                e->mode = 0755;
                if (sp)
                        *sp++ = 0;
                e->type = *line == 'd'   ? LY_DIR
                          : *line == 'f' ? LY_FILE
                          : *line == 's' ? LY_SYMLINK
                          : *line == 'l' ? LY_HARDLINK
                          : *line == 'w' ? LY_WHITEOUT
                                         : LY_OPAQUE;
                if (e->type == LY_FILE)
                        e->size = strtoul(sp ? sp : "0", NULL, 10);
                else
                        e->link = sp;
        }
        lf_tar(v, n, &tar);
        free(copy);
        t = lf_toc(tar.buf, tar.len);
        sb_done(&tar);
        return t;
}

static const struct {
        const char *name;
        const char *layers[MAX_LAYERS];
        uint64_t least, all, wasted;
        const char *paths;     /* path:bytes*count, "-" when it is gone in the end */
        const char *layer_use; /* files/bytes/wasted of each layer */
} rows[] = {
        {"no layer", {NULL}, 0, 0, 0, "", ""},
        {"nothing twice", {"d a\nf a/x 10\nf b 5", "f c 7"}, 22, 22, 0, "", "2/15/0 1/7/0 "},
        {"replaced", {"f x 100", "f x 40"}, 40, 140, 140, "x:140*2 ", "1/100/100 1/40/0 "},
        {"replaced by more",
         {"f x 40", "f x 100", "f x 60"},
         40,
         200,
         200,
         "x:200*3 ",
         "1/40/40 1/100/100 1/60/0 "},
        {"a file removed costs what it took",
         {"f x 100\nf y 1", "w x"},
         1,
         101,
         100,
         "x:100*2- ",
         "2/101/100 0/0/0 "},
        /* The folder is no leaf of the layer below: one occurrence only, which is no waste to dive.
         */
        {"a folder removed",
         {"d a\nf a/x 100\nf a/y 50", "w a"},
         300,
         300,
         0,
         "",
         "2/150/150 0/0/0 "},
        {"a folder removed twice",
         {"d a\nf a/x 100", "w a", "d a\nf a/x 30", "w a"},
         60, /* 30 for the file, 30 for the folder: the least of what was removed */
         260,
         260,
         "a:130*2- a/x:130*2- ",
         "1/100/100 0/0/0 1/30/30 0/0/0 "},
        {"empty folders count nothing", {"d a", "d a"}, 0, 0, 0, "", "0/0/0 0/0/0 "},
        {"an empty folder that was full", {"d a\nf a/x 9", "d a"}, 9, 9, 0, "", "1/9/0 0/0/0 "},
        {"links count nothing", {"f x 9\nl y x\ns z x", "s z y"}, 9, 9, 0, "", "1/9/0 0/0/0 "},
        {"a name removed, the file still has another",
         {"f x 9\nl y x", "w x"},
         0,
         9,
         9,
         "x:9*2- ",
         "1/9/0 0/0/0 "},
        {"opaque folders remove nothing for the score",
         {"d a\nf a/x 9", "d a\no a\nf a/y 1"},
         10,
         10,
         0,
         "",
         "1/9/9 1/1/0 "},
        {"a whiteout of nothing", {"f x 9", "w y\nw x/z"}, 9, 9, 0, "", "1/9/0 0/0/0 "},
        {"removed and made again",
         {"d d\nf d/x 8", "w d", "d d\nf d/x 8"},
         16,
         24,
         16,
         "d/x:16*2 ",
         "1/8/8 0/0/0 1/8/0 "},
        {"twice in one layer", {"f x 5\nf x 7"}, 7, 7, 0, "", "2/12/5 "},
};

static void test_rows(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct ly_toc *tocs[MAX_LAYERS];
                struct ly_waste w;
                struct bld_err err = BLD_ERR_INIT;
                struct sb paths = SB_INIT(LF_MAX), use = SB_INIT(LF_MAX);
                size_t n = 0;

                print_message("%s\n", rows[i].name);
                for (; n < MAX_LAYERS && rows[i].layers[n]; n++)
                        tocs[n] = toc_of(rows[i].layers[n]);
                if (ly_waste_find((const struct ly_toc *const *)tocs, n, &w, &err) < 0)
                        fail_msg("%s", err.msg);
                for (size_t k = 0; k < n; k++)
                        ly_toc_free(tocs[k]); /* nothing in the result is theirs */
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
        struct ly_toc *t = toc_of("l x nothing");
        struct bld_err err = BLD_ERR_INIT;
        struct ly_waste w;

        (void)state;
        assert_int_equal(ly_waste_find((const struct ly_toc *const *)&t, 1, &w, &err),
                         BLD_E_CORRUPT);
        ly_toc_free(t);
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows), cmocka_unit_test(test_bad)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
