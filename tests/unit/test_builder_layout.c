/* The entries of a layer, laid out over a tree and written: order, parents, replacing, links. */
#include "tests/unit/builder_step.h"

#include "builder/op/layout_priv.h"

static const struct file below_files[] = {
        {"a", LY_DIR, NULL, 0700},
        {"a/b", LY_DIR, NULL, 0711},
        {"a/f", LY_FILE, "f", 0},
        {"l", LY_SYMLINK, "a/b", 0777},
        {"abs", LY_SYMLINK, "/a", 0777},
        {"loop", LY_SYMLINK, "loop", 0777},
        {"up", LY_SYMLINK, "../../a", 0777},
        {"h", LY_HARDLINK, "a/f", 0},
};

struct t {
        struct step *s;
        struct vertex *base;
        struct bd_tree *tree;
        struct layout *l;
};

static void t_new(struct t *t, struct step *s, bool below)
{
        struct layout_opts o = {.now_ns = 5000000000, .dir_mode = 0751, .dir_uid = 3, .dir_gid = 4};

        memset(t, 0, sizeof(*t));
        t->s = s;
        if (below) {
                t->base = step_base(s, below_files, ARRAY_LEN(below_files));
                OK(bd_tree_open(s->b.c, &t->base->result.layers, &t->tree, err));
        }
        o.below = t->tree;
        OK(layout_new(&o, &t->l, err));
}

static void t_free(struct t *t)
{
        layout_free(t->l);
        bd_tree_free(t->tree);
        if (t->base)
                vertex_free(t->base);
}

static int put(struct t *t, const char *path, enum ly_type type, const char *data,
               struct bld_err *why)
{
        struct layout_item i = {.type = type, .mode = 0644, .mtime_ns = 1000000000, .spool_fd = -1};

        if (type == LY_FILE) {
                i.data = data;
                i.size = strlen(data);
        } else if (type == LY_SYMLINK) {
                i.link = mem_strdup(data);
        }
        return layout_put(t->l, path, &i, why);
}

static int replace(struct t *t, const char *path, enum ly_type type, const char *data)
{
        struct layout_item i = {.type = type, .mode = 0644, .mtime_ns = 1000000000, .spool_fd = -1};

        if (type == LY_FILE) {
                i.data = data;
                i.size = strlen(data);
        }
        return layout_replace(t->l, path, &i, NULL);
}

/* As list_layer(), of the tar alone. */
static void written(struct t *t, struct sb *out)
{
        AUTO(layer_out_free_p) struct layer_out *lo = NULL;
        struct vertex *v = mem_zalloc(1, sizeof(*v));
        struct ly_sink tar;

        assert_non_null(v);
        v->kind = VX_MKDIR;
        OK(layer_out_new(&t->s->b, false, &lo, err));
        tar = layer_out_tar(lo);
        OK(layout_write(t->l, &tar, err));
        OK(layer_out_end(&t->s->b, lo, v, err));
        list_layer(t->s, v, true, out);
        vertex_free(v);
}

/* A folder is followed by what is in it; names are in byte order. */
static void order(void **state)
{
        AUTO_SB struct sb got = SB_INIT(1u << 16);
        struct t t;

        t_new(&t, *state, false);
        OK(put(&t, "b.x", LY_FILE, "1", err));
        OK(put(&t, "b/z", LY_FILE, "2", err));
        OK(put(&t, "b-c", LY_FILE, "3", err));
        OK(put(&t, "b/a/q", LY_FILE, "4", err));
        OK(put(&t, "\xc3\xa4", LY_FILE, "5", err));
        OK(put(&t, "B", LY_FILE, "6", err));
        written(&t, &got);
        assert_string_equal(sb_text(&got), "f 644 0:0 1 B = 6\n"
                                           "d 751 3:4 5 b\n"
                                           "d 751 3:4 5 b/a\n"
                                           "f 644 0:0 1 b/a/q = 4\n"
                                           "f 644 0:0 1 b/z = 2\n"
                                           "f 644 0:0 1 b-c = 3\n"
                                           "f 644 0:0 1 b.x = 1\n"
                                           "f 644 0:0 1 \xc3\xa4 = 5\n");
        t_free(&t);
}

/* Whatever the order things were put in, the bytes are the same. */
static void same_bytes(void **state)
{
        static const char *const names[] = {"x/a", "x/b/c", "x/b/d", "y", "x/a1"};
        AUTO_SB struct sb first = SB_INIT(1u << 16);

        for (size_t turn = 0; turn < ARRAY_LEN(names); turn++) {
                AUTO_SB struct sb got = SB_INIT(1u << 16);
                struct t t;

                t_new(&t, *state, false);
                for (size_t i = 0; i < ARRAY_LEN(names); i++)
                        OK(put(&t, names[(i * 2 + turn) % ARRAY_LEN(names)], LY_FILE, "x", err));
                written(&t, turn ? &got : &first);
                if (turn)
                        assert_string_equal(sb_text(&got), sb_text(&first));
                t_free(&t);
        }
}

/* Folders that are there come along with their own attributes. */
static void over_tree(void **state)
{
        AUTO_SB struct sb got = SB_INIT(1u << 16);
        struct layout_item *item = NULL;
        bool made = true;
        struct t t;

        t_new(&t, *state, true);
        OK(layout_dir(t.l, "a/b", &item, &made, err));
        assert_false(made);
        assert_int_equal(item->mode, 0711);
        OK(layout_dir(t.l, "a/n", &item, &made, err));
        assert_true(made);
        OK(put(&t, "a/b/f", LY_FILE, "x", err));
        assert_int_equal(layout_count(t.l), 5); /* the root, too */
        written(&t, &got);
        assert_string_equal(sb_text(&got), "d 700 0:0 1 a\nd 711 0:0 1 a/b\nf 644 0:0 1 a/b/f = x\n"
                                           "d 751 3:4 5 a/n\n");
        t_free(&t);
}

static void types(void **state)
{
        static const struct {
                const char *path;
                int found;
                enum ly_type type;
        } rows[] = {{"", 1, LY_DIR},       {"a", 1, LY_DIR},   {"a/f", 1, LY_FILE},
                    {"l", 1, LY_SYMLINK},  {"h", 1, LY_FILE},  {"nope", 0, LY_FILE},
                    {"a/f/x", 0, LY_FILE}, {"new", 1, LY_FIFO}};
        struct t t;

        t_new(&t, *state, true);
        OK(put(&t, "new", LY_FIFO, NULL, err));
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                enum ly_type type = LY_OPAQUE;

                print_message("\"%s\"\n", rows[i].path);
                assert_int_equal(layout_type(t.l, rows[i].path, &type), rows[i].found);
                if (rows[i].found)
                        assert_int_equal(type, rows[i].type);
        }
        t_free(&t);
}

static void put_rules(void **state)
{
        static const struct {
                const char *name, *path;
                enum ly_type type;
                const char *bad; /* NULL: allowed */
        } rows[] = {
                {"file over file", "a/f", LY_FILE, NULL},
                {"file over link", "l", LY_FILE, NULL},
                {"link over file", "a/f", LY_SYMLINK, NULL},
                {"folder over folder", "a/b", LY_DIR, NULL},
                {"file over folder", "a/b", LY_FILE, "cannot replace to directory /a/b with file"},
                {"link over folder", "a/b", LY_SYMLINK,
                 "cannot replace to directory /a/b with file"},
                {"folder over file", "a/f", LY_DIR, "cannot copy to non-directory: /a/f"},
                {"folder over link", "l", LY_DIR, "cannot copy to non-directory: /l"},
                {"below a file", "a/f/x", LY_FILE, "cannot copy to non-directory: /a/f"},
                {"below a link", "l/x", LY_FILE, "cannot copy to non-directory: /l"},
        };

        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct bld_err e = BLD_ERR_INIT;
                struct t t;
                int r;

                print_message("%s\n", rows[i].name);
                t_new(&t, *state, true);
                r = put(&t, rows[i].path, rows[i].type, "x", &e);
                assert_int_equal(r, rows[i].bad ? BLD_E_INVALID : 0);
                if (rows[i].bad)
                        assert_string_equal(e.msg, rows[i].bad);
                t_free(&t);
        }
}

/* As an archive does it: the last one wins. */
static void replacing(void **state)
{
        AUTO_SB struct sb got = SB_INIT(1u << 16);
        struct t t;

        t_new(&t, *state, true);
        OK(put(&t, "n/x", LY_FILE, "1", err));
        OK(put(&t, "n/y/z", LY_FILE, "2", err));
        assert_int_equal(replace(&t, "n", LY_FILE, "flat"), 0); /* with all that was in it */
        assert_int_equal(replace(&t, "a/f", LY_DIR, NULL), 0);  /* folder over a file below */
        assert_int_equal(replace(&t, "a/f/x", LY_FILE, "in"), 0);
        assert_int_equal(replace(&t, "a/b", LY_FILE, "over"), 0); /* file over a folder below */
        assert_int_equal(replace(&t, "l", LY_DIR, NULL), 0);
        written(&t, &got);
        assert_string_equal(sb_text(&got),
                            "d 700 0:0 1 a\nf 644 0:0 1 a/b = over\nd 644 0:0 1 a/f\n"
                            "f 644 0:0 1 a/f/x = in\nd 644 0:0 1 l\nf 644 0:0 1 n = flat\n");
        t_free(&t);
}

static void links(void **state)
{
        AUTO_SB struct sb got = SB_INIT(1u << 16);
        struct bld_err e = BLD_ERR_INIT;
        struct t t;

        t_new(&t, *state, false);
        OK(put(&t, "z", LY_FILE, "one", err));
        OK(layout_link(t.l, "a", "z", err));
        OK(layout_link(t.l, "m/n", "a", err));
        OK(put(&t, "s", LY_SYMLINK, "to", err));
        OK(layout_link(t.l, "s2", "s", err)); /* a second name of a link is a link */
        OK(layout_link(t.l, "z", "z", err));
        assert_int_equal(layout_link(t.l, "x", "nope", &e), BLD_E_INVALID);
        err_clear(&e);
        assert_int_equal(layout_link(t.l, "x", "m", &e), BLD_E_INVALID);
        written(&t, &got);
        /* The first name written holds the bytes. */
        assert_string_equal(sb_text(&got),
                            "f 644 0:0 1 a = one\nd 751 3:4 5 m\nh 644 0:0 1 m/n -> a\n"
                            "l 644 0:0 1 s -> to\nl 644 0:0 1 s2 -> to\nh 644 0:0 1 z -> a\n");
        t_free(&t);
}

static void resolving(void **state)
{
        static const struct {
                const char *path, *want; /* NULL: a loop */
        } rows[] = {
                {"/", ""},          {"/a/b", "a/b"},   {"/l", "a/b"},         {"/l/x/y", "a/b/x/y"},
                {"/abs/b", "a/b"},  {"/up", "a"},      {"/nope/x", "nope/x"}, {"/loop", NULL},
                {"/a/../l", "a/b"}, {"/../../a", "a"},
        };
        struct t t;

        t_new(&t, *state, true);
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                AUTO_FREE char *got = NULL;
                int r = layout_resolve(t.l, rows[i].path, &got, NULL);

                print_message("%s\n", rows[i].path);
                assert_int_equal(r, rows[i].want ? 0 : BLD_E_INVALID);
                if (rows[i].want)
                        assert_string_equal(got, rows[i].want);
        }
        t_free(&t);
}

/* Names in an archive: its destination is the root, for links of both trees. */
static void confined(void **state)
{
        static const struct {
                const char *root, *path, *want; /* NULL: a loop */
        } rows[] = {
                {"", "l/x", "a/b/x"},       {"", "../../x", "x"},
                {"a", "x", "a/x"},          {"a", ".", "a"},
                {"a", "b/../x", "a/x"},     {"a", "../../b", "a/b"},
                {"a", "here/x", "a/b/x"},   /* -> b */
                {"a", "root/x", "a/etc/x"}, /* -> /etc */
                {"a", "climb/x", "a/x"},    /* -> ../../.. */
                {"a", "me/x", NULL},        {"", "loop/x", NULL},
        };
        struct t t;

        t_new(&t, *state, true);
        OK(put(&t, "a/here", LY_SYMLINK, "b", err));
        OK(put(&t, "a/root", LY_SYMLINK, "/etc", err));
        OK(put(&t, "a/climb", LY_SYMLINK, "../../..", err));
        OK(put(&t, "a/me", LY_SYMLINK, "me", err));
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                AUTO_FREE char *got = NULL;
                int r = layout_resolve_in(t.l, rows[i].root, rows[i].path, &got, NULL);

                print_message("%s in \"%s\"\n", rows[i].path, rows[i].root);
                assert_int_equal(r, rows[i].want ? 0 : BLD_E_INVALID);
                if (rows[i].want)
                        assert_string_equal(got, rows[i].want);
        }
        t_free(&t);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(order, step_up, step_down),
                cmocka_unit_test_setup_teardown(same_bytes, step_up, step_down),
                cmocka_unit_test_setup_teardown(over_tree, step_up, step_down),
                cmocka_unit_test_setup_teardown(types, step_up, step_down),
                cmocka_unit_test_setup_teardown(put_rules, step_up, step_down),
                cmocka_unit_test_setup_teardown(replacing, step_up, step_down),
                cmocka_unit_test_setup_teardown(links, step_up, step_down),
                cmocka_unit_test_setup_teardown(resolving, step_up, step_down),
                cmocka_unit_test_setup_teardown(confined, step_up, step_down),
        };

        return cmocka_run_group_tests_name("builder/layout", tests, NULL, NULL);
}
