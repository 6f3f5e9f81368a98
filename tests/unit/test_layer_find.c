/* Looking for one path from the top: the merged view of all layers is the oracle. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/err.h"
#include "layer_text.h"

#define MAX_ENTRIES 24

/* The search's answer; *fed: how many entries it wanted. */
static int search(const struct lt_chain *c, const char *path, struct ly_find **f,
                  struct ly_found *found, size_t *fed, struct bld_err *err)
{
        size_t next[LT_LAYERS] = {0};
        int r = ly_find_new(c->n, path, true, f, err);

        *fed = 0;
        while (r == 0 && (r = ly_find_state(*f, found, err)) == LY_FIND_MORE) {
                const struct ly_toc *t = c->v[found->layer];
                size_t i = next[found->layer]++;

                assert_true(i <= t->n);
                *fed += i < t->n;
                r = ly_find_feed(*f, i < t->n ? &t->v[i].e : NULL, err);
        }
        return r;
}

static const struct {
        const char *name;
        const char *layers[LT_LAYERS];
        const char *path;
        const char *want; /* layer:index:path, "none path", "unsure" */
        size_t fed;
} rows[] = {
        {"in the top layer", {"d a\nf a/x\nf a/y", "d a\nf a/x"}, "/a/x", "1:1:a/x", 2},
        {"further down", {"d a\nf a/x\nf a/y", "d a\nf a/x"}, "a/y", "0:2:a/y", 5},
        {"stops at the file", {"d a\nf a/x\nf a/y\nf z"}, "a/x", "0:1:a/x", 2},
        {"removed", {"d a\nf a/x", "d a\nw a/x"}, "a/x", "none a/x removed", 2},
        {"folder removed", {"d a\nf a/x", "w a"}, "a/x", "none a removed", 1},
        {"folder opaque", {"d a\nf a/x", "d a\no a\nf a/y"}, "a/x", "none a/x removed", 3},
        {"opaque, but its own", {"d a\nf a/x", "d a\no a\nf a/x"}, "a/x", "1:2:a/x", 3},
        {"never there", {"f x", "f y"}, "z", "none z", 2},
        {"below a file", {"f x"}, "x/y", "none x no-folder", 1},
        {"a folder", {"d a\nf a/x"}, "a/", "0:0:a dir", 1},
        {"the root", {"f x"}, "/", "0:0: dir", 0},
        {"a link, its target later in the stream",
         {"d etc\ns etc/os ../usr/os\nd usr\nf usr/os\nf v"},
         "etc/os",
         "0:3:usr/os",
         4},
        {"a link, its target before", {"d a\nf a/x\ns l a/x"}, "l", "0:1:a/x", 3},
        {"a link to a layer above", {"d a\nf a/x\ns l /a", "d a\nf a/x"}, "l/x", "1:1:a/x", 5},
        {"a hard link", {"f x\nf w\nl y x"}, "y", "0:0:y", 3},
        {"a hard link to a layer below", {"f x", "l y x"}, "y", "unsure", 1},
        {"a hard link to a layer below, the name later",
         {"f x", "l d/y x\nf x"},
         "d/y",
         "unsure",
         3},
        {"such a link behind a link", {"f x", "l y x\nf x\ns k y"}, "k", "unsure", 3},
        {"a hard link to a hard link", {"f x\nl y x\nl z y"}, "z", "0:0:z", 3},
        {"a folder made a file", {"f a/x\nf a", "d b\nf b/y"}, "a/y", "unsure", 4},
        {"a file made a folder", {"f a\nd a\nf x"}, "x", "unsure", 3},
        {"folders nobody names", {"f a/x", "f b/y"}, "b/y", "1:0:b/y", 2},
        {"behind a link below", {"d d\nf d/x\ns l d", "f l/x"}, "d/x", "unsure", 4},
        {"behind a link below, by its name", {"d d\ns l d", "f l/x"}, "l/x", "unsure", 3},
        {"a folder over a link", {"d d\nf d/x\ns l d", "d l\nf l/y"}, "l/x", "none l/x", 5},
        {"loose, but no matter", {"d a\nf a/x", "f b/z"}, "a/x", "0:1:a/x", 3},
        {"no layer", {NULL}, "x", "none x", 0},
};

static void test_rows(void **state)
{
        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct lt_chain c = lt_chain(rows[i].layers);
                struct ly_find *f = NULL;
                struct ly_found found;
                struct bld_err err = BLD_ERR_INIT;
                struct sb got = SB_INIT(4096);
                size_t fed;
                int r;

                print_message("%s\n", rows[i].name);
                r = search(&c, rows[i].path, &f, &found, &fed, &err);
                if (r < 0)
                        fail_msg("%s", err.msg);
                if (r == LY_FIND_UNSURE)
                        sb_str(&got, "unsure");
                else if (r == LY_FIND_HERE)
                        sb_fmt(&got, "%zu:%zu:%s%s", found.layer, found.index, found.path,
                               found.is_dir ? " dir" : "");
                else
                        sb_fmt(&got, "none %s%s%s", found.path, found.removed ? " removed" : "",
                               found.is_dir ? " no-folder" : "");
                assert_string_equal(sb_text(&got), rows[i].want);
                assert_int_equal(fed, rows[i].fed);
                ly_find_free(f);
                sb_done(&got);
                lt_chain_done(&c);
        }
}

static void test_loop(void **state)
{
        struct lt_chain c = {.v = {lt_toc("s a b\ns b a")}, .n = 1};
        struct bld_err err = BLD_ERR_INIT;
        struct ly_find *f = NULL;
        struct ly_found found;
        size_t fed;

        (void)state;
        assert_int_equal(search(&c, "a", &f, &found, &fed, &err), BLD_E_INVALID);
        ly_find_free(f);
        lt_chain_done(&c);
}

/* ---- random chains ---- */

static uint64_t seed;

static unsigned rnd(unsigned n)
{
        seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        return (unsigned)(seed >> 33) % n;
}

static void random_path(char *out, unsigned depth)
{
        static const char *const names[] = {"a", "b", "c", "d"};
        size_t n = 0;

        for (unsigned i = 0; i < depth; i++) {
                if (i)
                        out[n++] = '/';
                out[n++] = *names[rnd(ARRAY_LEN(names))];
        }
        out[n] = 0;
}

/* Is something that holds nothing named above the path? */
static bool below_file(const char *text, const char *path)
{
        char lead[16], probe[24];

        for (const char *s = path; (s = strchr(s, '/')); s++) {
                (void)snprintf(lead, sizeof(lead), "%.*s", (int)(s - path), path);
                (void)snprintf(probe, sizeof(probe), "\nf %s\n", lead);
                if (strstr(text, probe))
                        return true;
                (void)snprintf(probe, sizeof(probe), "\nl %s ", lead);
                if (strstr(text, probe))
                        return true;
                (void)snprintf(probe, sizeof(probe), "\ns %s ", lead);
                if (strstr(text, probe))
                        return true;
        }
        return false;
}

/* Is every folder above the path named as one? */
static bool anchored(const char *text, const char *path)
{
        char probe[24];

        for (const char *s = path; (s = strchr(s, '/')); s++) {
                (void)snprintf(probe, sizeof(probe), "\nd %.*s\n", (int)(s - path), path);
                if (!strstr(text, probe))
                        return false;
        }
        return true;
}

/* A layer that names no path twice, nothing below a file or link and no folder after what is in it:
 * what the format asks for, and what a search that stops early has to rely on. */
static struct ly_toc *random_layer(void)
{
        static const char kinds[] = "ddddfffslwo";
        struct sb text = SB_INIT(65536), named = SB_INIT(65536), loose = SB_INIT(65536);
        struct sb *to;
        struct ly_toc *t;
        char path[16], target[16], probe[20];

        sb_char(&named, '\n');
        sb_char(&text, '\n');
        sb_char(&loose, '\n');
        for (unsigned depth = 1; depth <= 3; depth++) {
                for (unsigned i = rnd(6); i > 0; i--) {
                        char kind = kinds[rnd(sizeof(kinds) - 1)];

                        random_path(path, kind == 'f' && rnd(4) == 0 ? 3 : depth);
                        (void)snprintf(probe, sizeof(probe), "\n%s\n", path);
                        if (strstr(sb_text(&named), probe))
                                continue;
                        (void)snprintf(probe, sizeof(probe), "\n%s/", path);
                        if (strstr(sb_text(&named), probe) || below_file(sb_text(&text), path) ||
                            below_file(sb_text(&loose), path))
                                continue;
                        to = anchored(sb_text(&text), path) ? &text : &loose;
                        (void)snprintf(probe, sizeof(probe), "\n%.1s\n", path);
                        if (to == &loose && strstr(sb_text(&named), probe))
                                continue;
                        sb_fmt(&named, "%s\n", path);
                        sb_fmt(to, "%c %s", kind, path);
                        if (kind == 's' || kind == 'l') {
                                random_path(target, 1 + rnd(2));
                                sb_fmt(to, " %s%s", kind == 's' && rnd(2) ? "/" : "", target);
                        }
                        sb_char(to, '\n');
                }
        }
        sb_str(&loose, sb_text(&text) + 1);
        t = lt_toc(sb_text(&loose));
        sb_done(&loose);
        sb_done(&text);
        sb_done(&named);
        return t;
}

static void show(const struct lt_chain *c, const char *path, int got)
{
        static const char letters[] = "fdslcbpwo";

        print_message("%s: %d\n", path, got);
        for (size_t i = 0; i < c->n; i++)
                for (size_t k = 0; k < c->v[i]->n; k++) {
                        const struct ly_entry *e = &c->v[i]->v[k].e;

                        print_message("  %zu %c %s %s\n", i, letters[e->type], e->path,
                                      e->link ? e->link : "");
                }
}

static void compare(const struct lt_chain *c, const struct ly_view *v, const char *path,
                    unsigned *sure, unsigned *unsure)
{
        const struct ly_node *node = NULL;
        struct bld_err err = BLD_ERR_INIT, mine = BLD_ERR_INIT;
        char *real = NULL;
        struct ly_find *f = NULL;
        struct ly_found found;
        size_t fed;
        int r = ly_view_resolve(v, path, true, &node, &real, &err);
        int got = search(c, path, &f, &found, &fed, &mine);

        if (r == 0 && got != LY_FIND_UNSURE && got >= 0 && (got == LY_FIND_HERE) != (node != NULL))
                show(c, path, got);
        if (r < 0) {
                assert_true(got == r || got == LY_FIND_UNSURE);
        } else if (got == LY_FIND_UNSURE) {
                ++*unsure;
        } else if (!node) {
                assert_true(got == LY_FIND_NONE || got == BLD_E_INVALID);
                ++*sure;
        } else {
                bool dir = !node->t || node->t->e.type == LY_DIR;

                if (got != LY_FIND_HERE)
                        fail_msg("%s: %d, not here", path, got);
                if (strcmp(found.path, real) != 0 || found.is_dir != dir ||
                    found.is_file != (node->t && node->t->e.type == LY_FILE))
                        show(c, path, got);
                assert_string_equal(found.path, real);
                assert_int_equal(found.is_dir, dir);
                assert_int_equal(found.is_file, node->t && node->t->e.type == LY_FILE);
                if (!dir) {
                        assert_int_equal(found.layer, node->layer);
                        assert_ptr_equal(&c->v[found.layer]->v[found.index], node->t);
                }
                ++*sure;
        }
        free(real);
        ly_find_free(f);
}

static void test_random(void **state)
{
        unsigned sure = 0, unsure = 0;

        (void)state;
        for (unsigned round = 0; round < 4000; round++) {
                struct lt_chain c = {.n = 0};
                struct bld_err err = BLD_ERR_INIT;
                struct ly_view *v = NULL;
                char path[16];

                seed = round;
                for (size_t n = 1 + rnd(LT_LAYERS); c.n < n; c.n++)
                        c.v[c.n] = random_layer();
                if (ly_view_new(lt_tocs(&c), c.n, &v, &err) == 0) {
                        for (unsigned i = 0; i < 12; i++) {
                                random_path(path, 1 + rnd(3));
                                compare(&c, v, path, &sure, &unsure);
                        }
                }
                ly_view_free(v);
                lt_chain_done(&c);
        }
        print_message("%u answered, %u left to the whole view\n", sure, unsure);
        assert_true(sure > 1000);
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows), cmocka_unit_test(test_loop),
                                           cmocka_unit_test(test_random)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
