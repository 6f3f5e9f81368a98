/* What a COPY's sources pick, and the digest of a selection: what it follows and what it does not.
 */
#include "tests/unit/builder_step.h"

static const struct disk tree[] = {
        {"a", 'f', "A", 0, 100},       {"b", 'f', "B", 0, 100},
        {"d", 'd', NULL, 0, 100},      {"d/x", 'f', "X", 0, 100},
        {"d/e", 'd', NULL, 0, 100},    {"d/e/y", 'f', "Y", 0, 100},
        {"l", 'l', "a", 0, 0},         {"ld", 'l', "d/e", 0, 0},
        {"up", 'l', "../../..", 0, 0}, {"abs", 'l', "/d/x", 0, 0},
        {"l1", 'l', "l2", 0, 0},       {"l2", 'l', "l1", 0, 0},
        {"[odd]*", 'f', "O", 0, 0},    {"d/dangling", 'l', "nope", 0, 0},
};

static struct fs *open_tree(struct fix *f, const char *name)
{
        struct fs *t = NULL;

        OK(fs_open_local(at(f, name), NULL, NULL, &t, err));
        return t;
}

/* "name=path/of/node", comma-separated. */
static void picks_text(const struct fs_picks *p, struct sb *out)
{
        for (size_t i = 0; i < p->n; i++) {
                sb_fmt(out, "%s%s=", i ? "," : "", p->v[i].name);
                OK(fs_path(p->v[i].node, out, err));
        }
}

static void picks(void **state)
{
        static const struct {
                const char *pattern;
                bool parents;
                int code;
                const char *want;
        } rows[] = {
                {"a", false, 0, "a=a"},
                {"/a", false, 0, "a=a"},
                {"./d/../a", false, 0, "a=a"},
                {"../../a", false, 0, "a=a"},
                {"d/", false, 0, "d=d"},
                {".", false, 0, "="},
                {"/", false, 0, "="},
                {"l", false, 0, "l=a"},
                {"ld", false, 0, "ld=d/e"},
                {"ld/y", false, 0, "y=d/e/y"},
                {"ld/../x", false, 0, NULL}, /* cleaned as text first: "/x" */
                {"up/a", false, 0, "a=a"},
                {"up", false, 0, "up="},
                {"abs", false, 0, "abs=d/x"},
                {"l1", false, BLD_E_INVALID, "symbolic links"},
                {"nope", false, BLD_E_INVALID, "\"nope\""},
                {"a/b", false, BLD_E_INVALID, "not found"},
                {"?", false, 0, "a=a,b=b,d=d,l=a"},
                {"d/*", false, BLD_E_INVALID, "\"d/dangling\" is a link to \"nope\", not found"},
                {"d/?", false, 0, "e=d/e,x=d/x"},
                {"*/x", false, 0, "x=d/x"},
                {"d/e/../[ex]", false, 0, "e=d/e,x=d/x"},
                {"z*", false, 0, ""},
                {"[[]odd][*]", false, 0, "[odd]*=[odd]*"},
                {"[a-b]", false, 0, "a=a,b=b"},
                {"[", false, BLD_E_INVALID, "pattern"},
                {"d/e/y", true, 0, "d=d,d/e=d/e,d/e/y=d/e/y"},
                {"d/./e", true, 0, "e=d/e"},
                {"**/y", true, 0, "d=d,d/e=d/e,d/e/y=d/e/y"},
                {"d/**", true, 0, "d=d,d/dangling=d/dangling,d/e=d/e,d/x=d/x"},
                {"../d/../../a", true, 0, "a=a"}, /* never above the root */
                {"d/./../../a", true, 0, NULL},
                {"d/e", true, 0, "d=d,d/e=d/e"},
                {"d/e*", true, 0, "d=d,d/e=d/e"},
                {"d/[e]/y", true, 0, "d=d,d/e=d/e,d/e/y=d/e/y"},
                {"[", true, BLD_E_INVALID, "syntax error in pattern"},
                {"nope", true, BLD_E_INVALID, "not found"},
                {"nope*", true, 0, ""},
                {"nope/./*.c", true, 0, ""},
                {"nope/./c", true, BLD_E_INVALID, "not found"},
        };
        struct fix *f = *state;
        struct fs *t;

        make_disk(at(f, "ctx"), tree, ARRAY_LEN(tree));
        t = open_tree(f, "ctx");
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                AUTO_SB struct sb got = SB_INIT(1u << 16);
                struct bld_err e = BLD_ERR_INIT;
                struct fs_picks p = {.v = NULL};
                int r = fs_select(t, rows[i].pattern, 0, rows[i].parents, &p, &e);

                print_message("%s%s\n", rows[i].pattern, rows[i].parents ? " --parents" : "");
                if (!rows[i].want) {
                        assert_int_equal(r, BLD_E_INVALID);
                } else if (r != rows[i].code) {
                        fail_msg("%d: %s", r, e.msg);
                } else if (r < 0) {
                        assert_non_null(strstr(e.msg, rows[i].want));
                } else {
                        picks_text(&p, &got);
                        assert_string_equal(sb_text(&got), rows[i].want);
                }
                fs_picks_free(&p);
        }
        fs_free(t);
}

/* --parents looks only where its pattern can match: not at what is too deep to be looked at. */
static void parents_prunes(void **state)
{
        static const struct {
                const char *pattern;
                int code;
        } rows[] = {{"d/e/y", 0}, {"d/e/*", 0}, {"d/./e", 0}, {"x/*/y", BLD_E_LIMIT}};
        struct fix *f = *state;
        AUTO_SB struct sb path = SB_INIT(1u << 16);
        struct fs *t;

        make_disk(at(f, "ctx"), tree, ARRAY_LEN(tree));
        sb_str(&path, at(f, "ctx"));
        for (int i = 0; i < 300; i++) {
                sb_str(&path, "/x");
                assert_int_equal(mkdir(sb_text(&path), 0755), 0);
        }
        t = open_tree(f, "ctx");
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct fs_picks p = {.v = NULL};

                print_message("%s\n", rows[i].pattern);
                assert_int_equal(fs_select(t, rows[i].pattern, 0, true, &p, NULL), rows[i].code);
                fs_picks_free(&p);
        }
        fs_free(t);
}

/* ---- digests ---- */

static void select_digest(struct fix *f, const char *pattern, const char *exclude,
                          struct digest *ret)
{
        AUTO(ignore_free_p) struct ignore *ig = NULL;
        AUTO_STRV struct strv patterns = {.v = NULL};
        struct fs_picks p = {.v = NULL};
        struct fs *t = open_tree(f, "ctx");

        if (exclude) {
                OK(strv_add(&patterns, exclude));
                OK(ignore_from_patterns(&patterns, &ig, err));
        }
        OK(fs_select(t, pattern, 0, false, &p, err));
        OK(fs_picks_digest(t, &p, ig, ret, err));
        fs_picks_free(&p);
        fs_free(t);
}

static void touch(const char *path)
{
        const struct timespec t[] = {{.tv_sec = 7777}, {.tv_sec = 7777}};

        assert_int_equal(utimensat(AT_FDCWD, path, t, AT_SYMLINK_NOFOLLOW), 0);
}

static void put_text(const char *path, const char *text)
{
        AUTO_FD int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

        assert_true(fd >= 0);
        OK(fd_write_all(fd, text, strlen(text), err));
}

enum act { TOUCH, WRITE, CHMOD, UNLINK, MKDIR, SYMLINK, RENAME, OWN };

/* Each row: do one thing to the tree, then ask whether the digest of a selection follows. */
static void digests(void **state)
{
        static const struct {
                const char *name, *pattern, *exclude;
                enum act act;
                const char *path, *arg;
                bool follows;
        } rows[] = {
                {"nothing", "d", NULL, TOUCH, "a", NULL, false},
                {"time of a file", "d", NULL, TOUCH, "d/x", NULL, false},
                {"time of a folder", "d", NULL, TOUCH, "d/e", NULL, false},
                {"time of a link", "d", NULL, TOUCH, "d/dangling", NULL, false},
                {"same bytes again", "d", NULL, WRITE, "d/x", "X", false},
                {"other bytes", "d", NULL, WRITE, "d/x", "Z", true},
                {"deep down", "d", NULL, WRITE, "d/e/y", "Z", true},
                {"a file outside", "d", NULL, WRITE, "a", "Z", false},
                {"mode of a file", "d", NULL, CHMOD, "d/x", "0755", true},
                {"mode of a folder", "d", NULL, CHMOD, "d/e", "0700", true},
                {"mode of the folder itself", "d", NULL, CHMOD, "d", "0700", true},
                {"gone", "d", NULL, UNLINK, "d/x", NULL, true},
                {"new file", "d", NULL, WRITE, "d/n", "", true},
                {"new empty folder", "d", NULL, MKDIR, "d/n", NULL, true},
                {"new file outside", "a", NULL, WRITE, "n", "", false},
                {"link target", "d", NULL, SYMLINK, "d/dangling", "other", true},
                {"renamed", "d", NULL, RENAME, "d/x", "d/z", true},
                {"wildcard: one more match", "?", NULL, WRITE, "c", "", true},
                {"wildcard: no match more", "?", NULL, WRITE, "cc", "", false},
                {"wildcard: renamed", "?", NULL, RENAME, "b", "c", true},
                {"excluded", "d", "x", WRITE, "d/x", "Z", false},
                {"excluded file gone", "d", "x", UNLINK, "d/x", NULL, false},
                {"below what is excluded", "d", "e", WRITE, "d/e/y", "Z", false},
                {"beside what is excluded", "d", "x", WRITE, "d/e/y", "Z", true},
                {"a wildcard's match that is excluded", "?", "b", WRITE, "b", "Z", false},
                {"a file written out is never excluded", "b", "b", WRITE, "b", "Z", true},
                {"through a link", "l", NULL, WRITE, "a", "Z", true},
                {"the link leads elsewhere, to the same bytes", "abs", NULL, SYMLINK, "abs",
                 "d/../d/x", false},
                {"owner, which is root's either way", "d", NULL, OWN, "d/x", NULL, false},
        };
        struct fix *f = *state;

        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct digest before, after;
                char path[500];

                print_message("%s\n", rows[i].name);
                OK(path_remove_tree(AT_FDCWD, at(f, "ctx"), err));
                make_disk(at(f, "ctx"), tree, ARRAY_LEN(tree));
                select_digest(f, rows[i].pattern, rows[i].exclude, &before);
                (void)snprintf(path, sizeof(path), "%s/ctx/%s", f->dir, rows[i].path);
                switch (rows[i].act) {
                case TOUCH:
                        touch(path);
                        break;
                case WRITE:
                        put_text(path, rows[i].arg);
                        break;
                case CHMOD:
                        assert_int_equal(chmod(path, (mode_t)strtoul(rows[i].arg, NULL, 8)), 0);
                        break;
                case UNLINK:
                        assert_int_equal(unlink(path), 0);
                        break;
                case MKDIR:
                        assert_int_equal(mkdir(path, 0755), 0);
                        break;
                case SYMLINK:
                        assert_int_equal(unlink(path), 0);
                        assert_int_equal(symlink(rows[i].arg, path), 0);
                        break;
                case RENAME: {
                        char to[500];

                        (void)snprintf(to, sizeof(to), "%s/ctx/%s", f->dir, rows[i].arg);
                        assert_int_equal(rename(path, to), 0);
                        break;
                }
                case OWN: /* only root may; for others nothing changes, which is right as well */
                        (void)!chown(path, 12, 34);
                        break;
                }
                select_digest(f, rows[i].pattern, rows[i].exclude, &after);
                assert_int_equal(!digest_eq(&before, &after), rows[i].follows);
        }
}

/* A tree made anew elsewhere, in another order, is the same selection. */
static void copied(void **state)
{
        struct fix *f = *state;
        struct digest a, b;

        make_disk(at(f, "ctx"), tree, ARRAY_LEN(tree));
        select_digest(f, ".", NULL, &a);
        assert_int_equal(rename(at(f, "ctx"), at(f, "was")), 0);
        assert_int_equal(mkdir(at(f, "ctx"), 0755), 0);
        (void)close(open(at(f, "ctx/zzz"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
        make_disk(at(f, "ctx"), tree, ARRAY_LEN(tree));
        assert_int_equal(unlink(at(f, "ctx/zzz")), 0);
        touch(at(f, "ctx/d"));
        select_digest(f, ".", NULL, &b);
        assert_true(digest_eq(&a, &b));
}

/* A stage's files give the digest the same files of the context give: owners 0:0 in both. */
static void layers_equal_folders(void **state)
{
        static const struct disk files[] = {
                {"d", 'd', NULL, 0, 0}, {"d/f", 'f', "data", 0640, 0}, {"d/l", 'l', "f", 0, 0}};
        static const struct file layer[] = {{"d", LY_DIR, NULL, 0},
                                            {"d/f", LY_FILE, "data", 0640},
                                            {"d/l", LY_SYMLINK, "f", 0777}};
        struct step *s = *state;
        struct vertex *base = step_base(s, layer, ARRAY_LEN(layer));
        struct fs_picks p = {.v = NULL};
        struct digest a, b;
        struct fs *t = NULL;

        make_disk(at(s->f, "ctx"), files, ARRAY_LEN(files));
        select_digest(s->f, "d", NULL, &a);
        OK(fs_open_layers(s->b.c, &base->result.layers, &t, err));
        OK(fs_select(t, "/d", 0, false, &p, err));
        OK(fs_picks_digest(t, &p, NULL, &b, err));
        assert_true(digest_eq(&a, &b));
        fs_picks_free(&p);
        fs_free(t);
        vertex_free(base);
}

/* A folder swapped for a link after it was walked is not followed. */
static void swapped(void **state)
{
        struct fix *f = *state;
        struct fs_node *n = NULL;
        struct fs *t;

        make_disk(at(f, "ctx"), tree, ARRAY_LEN(tree));
        make_disk(at(f, "out"), tree, ARRAY_LEN(tree));
        t = open_tree(f, "ctx");
        OK(fs_resolve(t, NULL, "d/e/y", true, &n, err));
        assert_non_null(n);
        assert_int_equal(rename(at(f, "ctx/d/e"), at(f, "ctx/d/was")), 0);
        assert_int_equal(symlink(at(f, "out/d/e"), at(f, "ctx/d/e")), 0);
        assert_int_not_equal(fs_digest(t, n, NULL), 0);
        fs_free(t);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(picks, fix_up, fix_down),
                cmocka_unit_test_setup_teardown(parents_prunes, fix_up, fix_down),
                cmocka_unit_test_setup_teardown(digests, fix_up, fix_down),
                cmocka_unit_test_setup_teardown(copied, fix_up, fix_down),
                cmocka_unit_test_setup_teardown(layers_equal_folders, step_up, step_down),
                cmocka_unit_test_setup_teardown(swapped, fix_up, fix_down),
        };

        return cmocka_run_group_tests_name("builder/select", tests, NULL, NULL);
}
