/* --chown and --chmod values. */
#include "tests/unit/builder_step.h"

static const struct file users[] = {
        {"etc", LY_DIR, NULL, 0},
        {"etc/passwd", LY_FILE,
         "root:x:0:7::/root:/bin/sh\nme:x:1000:1001::/home/me:/bin/sh\nmee:x:5:6\nbad:x:no:1\n"
         "short:x\nbig:x:4294967296:1\nlast:x:9:8",
         0},
        {"etc/group", LY_FILE, "staff:x:50:me\nme:x:60:\nlast:x:70", 0},
};

static void owners(void **state)
{
        static const struct {
                const char *text;
                uint32_t uid, gid;
                const char *bad; /* part of the message */
        } rows[] = {
                {"0", 0, 0, NULL},
                {"5", 5, 5, NULL},
                {"5:6", 5, 6, NULL},
                {"4294967294:0", 4294967294u, 0, NULL},
                {"4294967295", 0, 0, "no user"},
                {"me", 1000, 1001, NULL},
                {"me:staff", 1000, 50, NULL},
                {"me:me", 1000, 60, NULL},
                {"me:7", 1000, 7, NULL},
                {"5:staff", 5, 50, NULL},
                {"mee", 5, 6, NULL},
                {"m", 0, 0, "no user \"m\""},
                {"last", 9, 8, NULL},
                {"last:last", 9, 70, NULL},
                {"root", 0, 0, NULL},
                {"root:root", 0, 0, NULL},
                {"root:me", 0, 60, NULL},
                {"me:", 1000, 1001, NULL},
                {"5:", 5, 5, NULL},
                {":staff", 0, 50, NULL},
                {"nobody", 0, 0, "there is no user \"nobody\" in the image"},
                {"me:wheel", 0, 0, "there is no group \"wheel\" in the image"},
                {"bad", 0, 0, "no user \"bad\""},
                {"short", 0, 0, "no user \"short\""},
                {"big", 0, 0, "no user \"big\""},
                {"-1", 0, 0, "no user \"-1\""},
                {"x:y:z", 0, 0, "no user \"x\""},
        };
        struct step *s = *state;
        struct vertex *base = step_base(s, users, ARRAY_LEN(users));
        struct bd_tree *t = NULL;

        OK(bd_tree_open(s->b.c, &base->result.layers, &t, err));
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct bld_err e = BLD_ERR_INIT;
                uint32_t uid = 77, gid = 77;
                int r = owner_parse(t, rows[i].text, &uid, &gid, &e);

                print_message("%s\n", rows[i].text);
                if (rows[i].bad) {
                        assert_int_equal(r, BLD_E_INVALID);
                        if (!strstr(e.msg, rows[i].bad))
                                fail_msg("%s", e.msg);
                        continue;
                }
                assert_int_equal(r, 0);
                assert_int_equal(uid, rows[i].uid);
                assert_int_equal(gid, rows[i].gid);
        }
        bd_tree_free(t);
        vertex_free(base);
}

/* With --link nothing is below: the advice is one that can be followed. */
static void no_tree(void **state)
{
        struct bld_err e = BLD_ERR_INIT;
        uint32_t uid, gid;

        (void)state;
        assert_int_equal(owner_parse(NULL, "me", &uid, &gid, &e), BLD_E_INVALID);
        assert_non_null(strstr(e.msg, "no user \"me\""));
        assert_non_null(strstr(e.msg, "try: give a number"));
        assert_null(strstr(e.msg, "RUN"));
        assert_int_equal(owner_parse(NULL, "root:7", &uid, &gid, NULL), 0);
        assert_int_equal(gid, 7);
}

/* /etc/passwd behind a link is the image's, and one that is a folder is none. */
static void odd_files(void **state)
{
        static const struct file linked[] = {
                {"etc", LY_SYMLINK, "/usr/etc", 0777},
                {"usr", LY_DIR, NULL, 0},
                {"usr/etc", LY_DIR, NULL, 0},
                {"usr/etc/passwd", LY_SYMLINK, "../../../p", 0777},
                {"p", LY_FILE, "me:x:3:4::/:\n", 0},
        };
        static const struct file folder[] = {{"etc", LY_DIR, NULL, 0},
                                             {"etc/passwd", LY_DIR, NULL, 0}};
        struct step *s = *state;
        struct vertex *a = step_base(s, linked, ARRAY_LEN(linked));
        struct vertex *b = step_base(s, folder, ARRAY_LEN(folder));
        struct bd_tree *t = NULL;
        uint32_t uid = 0, gid = 0;

        OK(bd_tree_open(s->b.c, &a->result.layers, &t, err));
        OK(owner_parse(t, "me", &uid, &gid, err));
        assert_int_equal(uid, 3);
        assert_int_equal(gid, 4);
        bd_tree_free(t);
        t = NULL;
        OK(bd_tree_open(s->b.c, &b->result.layers, &t, err));
        assert_int_not_equal(owner_parse(t, "me", &uid, &gid, NULL), 0);
        bd_tree_free(t);
        vertex_free(a);
        vertex_free(b);
}

static void modes(void **state)
{
        static const struct {
                const char *text;
                unsigned from;
                bool dir;
                unsigned to;
        } rows[] = {
                {"0", 0755, false, 0},
                {"644", 04755, false, 0644},
                {"07777", 0, true, 07777},
                {"+x", 0644, false, 0755},
                {"-x", 0755, false, 0644},
                {"=r", 04755, false, 0444},
                {"u+x", 0644, false, 0744},
                {"g-w,o-w", 0666, false, 0644},
                {"go=", 0755, false, 0700},
                {"a=rwx", 0, false, 0777},
                {"u=rw,g=r,o=", 0777, false, 0640},
                {"g=u", 0740, false, 0770},
                {"o=g", 0750, false, 0755},
                {"u=g", 0750, false, 0550},
                {"+X", 0644, false, 0644},
                {"+X", 0644, true, 0755},
                {"+X", 0744, false, 0755},
                {"go+X,u-x", 0744, false, 0655},
                {"u+s", 0755, false, 04755},
                {"g+s", 0755, false, 02755},
                {"+t", 0755, true, 01755},
                {"u-s", 06755, false, 02755},
                {"u+r-w", 0200, false, 0400},
                {"u+rw-x+X", 0100, false, 0700},
                {"o+s", 0755, false, 0755},
                {"+s", 0755, false, 06755},
                {"u+t", 0755, true, 01755},
                {"o+t", 0755, true, 0755},
                {"-t", 01777, true, 0777},
                {"a=rx", 07777, true, 01555},
                {"=rwt", 06700, false, 01666},
                {"u=g", 04750, false, 04550},
                {"g=u-w", 0700, false, 0750},
                {"u-x,go+X", 0744, false, 0655},
                {"u-x,go+X", 0644, false, 0644},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct chmod_spec c;

                print_message("%s of %o\n", rows[i].text, rows[i].from);
                OK(chmod_parse(rows[i].text, &c, err));
                assert_int_equal(chmod_apply(&c, rows[i].from, rows[i].dir), rows[i].to);
        }
}

static void bad_modes(void **state)
{
        static const char *const rows[] = {"",       "8",   "10000", "0x7",       "644 ", "u",
                                           "u+",     "rwx", "+q",    "u+x,",      ",u+x", "u~x",
                                           "a+rw,x", "7+x", "-1a",   "9999999999"};

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct bld_err e = BLD_ERR_INIT;
                struct chmod_spec c;
                int r = chmod_parse(rows[i], &c, &e);

                print_message("\"%s\"\n", rows[i]);
                if (strcmp(rows[i], "u+") == 0) { /* adds nothing, which is allowed */
                        assert_int_equal(r, 0);
                        continue;
                }
                assert_int_equal(r, BLD_E_INVALID);
                assert_non_null(strstr(e.msg, "invalid chmod parameter"));
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(owners, step_up, step_down),
                cmocka_unit_test(no_tree),
                cmocka_unit_test_setup_teardown(odd_files, step_up, step_down),
                cmocka_unit_test(modes),
                cmocka_unit_test(bad_modes),
        };

        return cmocka_run_group_tests_name("builder/owner", tests, NULL, NULL);
}
