/* --build-context and --secret values; the Dockerfile and its ignore file found. */
#include "tests/unit/builder_step.h"

#include "builder/source/source_priv.h"

static struct bld_list as_list(const char *const *v)
{
        struct bld_list l = {.v = v};

        while (v[l.n])
                l.n++;
        return l;
}

static struct img_platform amd64(void)
{
        struct img_platform p = {.os = "linux", .arch = "amd64"};

        return p;
}

static void named(void **state)
{
        struct fix *f = *state;
        const struct img_platform pl = amd64();
        struct named_contexts *x = NULL;
        char folder[300], ignored[300], arm[300];
        const char *specs[] = {folder,
                               "alpine=docker-image://alpine@sha256:"
                               "0000000000000000000000000000000000000000000000000000000000000000",
                               "docker.io/library/debian:12=docker-image://mirror/debian:12",
                               "empty=docker-image://scratch",
                               "lay=oci-layout:///srv/l:v1",
                               "st=store:app:v1",
                               arm,
                               "multi=docker-image://first",
                               "multi=docker-image://second",
                               "multi::linux/amd64=docker-image://amd",
                               "repo=https://example.com/r.git#main",
                               "web=https://example.com/a.txt",
                               NULL};
        static const struct {
                const char *name;
                enum named_kind kind;
                const char *value; /* NULL: not compared */
        } rows[] = {
                {"dir", NAMED_FOLDER, NULL},
                {"alpine", NAMED_IMAGE, NULL},
                {"alpine:latest", NAMED_IMAGE, NULL},
                {"docker.io/library/alpine", NAMED_IMAGE, NULL},
                {"alpine:3", NAMED_NONE, NULL},
                {"debian:12", NAMED_IMAGE, "mirror/debian:12"},
                {"debian", NAMED_NONE, NULL},
                {"empty", NAMED_EMPTY, NULL},
                {"lay", NAMED_LAYOUT, "/srv/l:v1"},
                {"st", NAMED_STORE, "app:v1"},
                {"only", NAMED_NONE, NULL}, /* that one is for arm64 */
                {"multi", NAMED_IMAGE, "amd"},
                {"repo", NAMED_GIT, "https://example.com/r.git#main"},
                {"web", NAMED_HTTP, "https://example.com/a.txt"},
                {"nope", NAMED_NONE, NULL},
                {"scratch", NAMED_NONE, NULL},
                {"context", NAMED_NONE, NULL},
        };
        static const struct disk files[] = {{".dockerignore", 'f', "*.o\n", 0, 0}};
        struct bld_list l;

        make_disk(at(f, "dir"), files, ARRAY_LEN(files));
        (void)snprintf(folder, sizeof(folder), "dir=%s/../%s", at(f, "dir"), "dir");
        (void)snprintf(arm, sizeof(arm), "only::linux/arm64=%s", at(f, "dir"));
        l = as_list(specs);
        OK(named_parse(&l, &x, err));
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                const char *value = NULL;

                print_message("%s\n", rows[i].name);
                assert_int_equal(named_find(x, rows[i].name, &pl, &value), rows[i].kind);
                if (rows[i].value)
                        assert_string_equal(value, rows[i].value);
                if (rows[i].kind == NAMED_FOLDER) {
                        AUTO_FREE char *full = realpath(at(f, "dir"), NULL);

                        assert_non_null(full);
                        assert_string_equal(value, full);
                        (void)str_copy(ignored, sizeof(ignored), value);
                }
        }
        assert_non_null(named_ignore(x, ignored));
        assert_true(ignore_match(named_ignore(x, ignored), "a.o", NULL));
        assert_null(named_ignore(x, "/elsewhere"));
        named_free(x);
}

static void named_bad(void **state)
{
        static const struct {
                const char *spec;
                int code;
        } rows[] = {
                {"noequals", BLD_E_USAGE},
                {"=x", BLD_E_USAGE},
                {"x=", BLD_E_USAGE},
                {"x=ftp://example.com/a.tar", BLD_E_USAGE},
                {"x=target:other://", BLD_E_USAGE},
                {"x=/nowhere/at/all", BLD_E_INVALID},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                const char *const specs[] = {rows[i].spec, NULL};
                const struct bld_list l = as_list(specs);
                struct named_contexts *x = NULL;
                int r = named_parse(&l, &x, NULL);

                print_message("%s\n", rows[i].spec);
                assert_int_equal(r, rows[i].code);
                assert_null(x);
        }
}

/* ---- secrets ---- */

static void secrets(void **state)
{
        struct fix *f = *state;
        static const struct disk files[] = {{"file", 'f', "from file", 0, 0}};
        static const struct {
                const char *spec, *id, *want; /* %: the folder */
                int code;
        } rows[] = {
                {"id=a,src=%/file", "a", "from file", 0},
                {"type=file,id=a,source=%/file", "a", "from file", 0},
                {"id=a,env=BLD_T_SECRET", "a", "from env", 0},
                {"id=BLD_T_SECRET", "BLD_T_SECRET", "from env", 0},
                {"type=env,id=a,src=BLD_T_SECRET", "a", "from env", 0},
                {"\"id=a\",\"src=%/file\"", "a", "from file", 0},
                {"id=a,env=BLD_T_EMPTY", "a", "", 0},
                {"id=a,src=%/none", NULL, NULL, BLD_E_USAGE},
                {"id=a,env=BLD_T_NONE", NULL, NULL, BLD_E_USAGE},
                {"src=%/file", NULL, NULL, BLD_E_USAGE},
                {"id=,src=%/file", NULL, NULL, BLD_E_USAGE},
                {"id=a,type=ssh", NULL, NULL, BLD_E_USAGE},
                {"id=a,what=b", NULL, NULL, BLD_E_USAGE},
                {"id", NULL, NULL, BLD_E_USAGE},
                {"id=a,\"src=%/file", NULL, NULL, BLD_E_USAGE},
        };

        make_disk(at(f, "ctx"), files, ARRAY_LEN(files));
        assert_int_equal(setenv("BLD_T_SECRET", "from env", 1), 0);
        assert_int_equal(setenv("BLD_T_EMPTY", "", 1), 0);
        assert_int_equal(unsetenv("BLD_T_NONE"), 0);
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                const char *p = strchr(rows[i].spec, '%');
                const void *value = NULL;
                struct secrets *s = NULL;
                size_t len = 0;
                char spec[400];

                (void)snprintf(spec, sizeof(spec), "%.*s%s%s",
                               (int)(p ? p - rows[i].spec : (ptrdiff_t)strlen(rows[i].spec)),
                               rows[i].spec, p ? at(f, "ctx") : "", p ? p + 1 : "");
                const char *const specs[] = {"id=other,env=BLD_T_SECRET", spec, NULL};
                const struct bld_list l = as_list(specs);

                print_message("%s\n", rows[i].spec);
                assert_int_equal(secrets_new(&l, &s, NULL), rows[i].code);
                if (rows[i].code)
                        continue;
                assert_int_equal(secrets_get(s, rows[i].id, &value, &len), 1);
                assert_int_equal(len, strlen(rows[i].want));
                assert_memory_equal(value, rows[i].want, len);
                assert_int_equal(secrets_get(s, "nope", &value, &len), 0);
                secrets_free(s);
        }
}

static void secrets_last_wins(void **state)
{
        static const char *const specs[] = {"id=a,env=BLD_T_1", "id=a,env=BLD_T_2", NULL};
        const struct bld_list l = as_list(specs);
        const void *value = NULL;
        struct secrets *s = NULL;
        size_t len = 0;

        (void)state;
        assert_int_equal(setenv("BLD_T_1", "one", 1), 0);
        assert_int_equal(setenv("BLD_T_2", "two", 1), 0);
        OK(secrets_new(&l, &s, err));
        assert_int_equal(secrets_get(s, "a", &value, &len), 1);
        assert_memory_equal(value, "two", 3);
        secrets_free(s);
        assert_int_equal(secrets_get(NULL, "a", &value, &len), 0);
}

static void secret_too_large(void **state)
{
        struct fix *f = *state;
        char spec[400];
        const char *specs[] = {spec, NULL};
        struct bld_list l = as_list(specs);
        struct secrets *s = NULL;
        int fd = open(at(f, "big"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

        assert_true(fd >= 0);
        assert_int_equal(ftruncate(fd, (500 << 10) + 1), 0);
        assert_int_equal(close(fd), 0);
        (void)snprintf(spec, sizeof(spec), "id=a,src=%s", at(f, "big"));
        assert_int_equal(secrets_new(&l, &s, NULL), BLD_E_LIMIT);
        assert_int_equal(truncate(at(f, "big"), 500 << 10), 0);
        OK(secrets_new(&l, &s, err));
        secrets_free(s);
}

/* ---- the Dockerfile ---- */

static void dockerfile(void **state)
{
        static const struct {
                const char *name;
                struct disk files[5];
                const char *dockerfile; /* relative to the context; "-": none given */
                int code;
                const char *text, *excluded;
        } rows[] = {
                {"Dockerfile",
                 {{"Dockerfile", 'f', "A", 0, 0}, {"dockerfile", 'f', "B", 0, 0}},
                 NULL,
                 0,
                 "A",
                 NULL},
                {"dockerfile", {{"dockerfile", 'f', "B", 0, 0}}, NULL, 0, "B", NULL},
                {"Containerfile", {{"Containerfile", 'f', "C", 0, 0}}, NULL, 0, "C", NULL},
                {"none", {{"x", 'f', "C", 0, 0}}, NULL, BLD_E_INVALID, NULL, NULL},
                {"-f",
                 {{"sub", 'd', NULL, 0, 0}, {"sub/D", 'f', "D", 0, 0}},
                 "sub/D",
                 0,
                 "D",
                 NULL},
                {"-f missing", {{"Dockerfile", 'f', "A", 0, 0}}, "nope", BLD_E_INVALID, NULL, NULL},
                {".dockerignore",
                 {{"Dockerfile", 'f', "A", 0, 0}, {".dockerignore", 'f', "i", 0, 0}},
                 NULL,
                 0,
                 "A",
                 "i"},
                {"the one beside the Dockerfile alone counts",
                 {{"D", 'f', "A", 0, 0},
                  {".dockerignore", 'f', "i", 0, 0},
                  {"D.dockerignore", 'f', "k", 0, 0}},
                 "D",
                 0,
                 "A",
                 "k"},
                {"bad pattern",
                 {{"Dockerfile", 'f', "A", 0, 0}, {".dockerignore", 'f', "[", 0, 0}},
                 NULL,
                 BLD_E_INVALID,
                 NULL,
                 NULL},
        };
        struct fix *f = *state;

        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct bld_build_opts o = {.size = sizeof(o), .stdin_fd = -1};
                struct source s = {.text = SB_INIT(0)};
                char file[500];
                size_t n = 0;
                int r;

                print_message("%s\n", rows[i].name);
                OK(path_remove_tree(AT_FDCWD, at(f, "ctx"), err));
                while (n < 5 && rows[i].files[n].path)
                        n++;
                make_disk(at(f, "ctx"), rows[i].files, n);
                o.context = at(f, "ctx");
                if (rows[i].dockerfile) {
                        (void)snprintf(file, sizeof(file), "%s/%s", o.context, rows[i].dockerfile);
                        o.dockerfile = file;
                }
                r = source_open(&f->c[0], &o, NULL, &s, NULL);
                assert_int_equal(r, rows[i].code);
                if (r < 0)
                        continue;
                assert_string_equal(sb_text(&s.text), rows[i].text);
                if (rows[i].excluded) {
                        assert_non_null(s.ignore);
                        assert_true(ignore_match(s.ignore, rows[i].excluded, NULL));
                        assert_int_equal(ignore_count(s.ignore), 1);
                } else {
                        assert_null(s.ignore);
                }
                source_done(&s);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(named, fix_up, fix_down),
                cmocka_unit_test(named_bad),
                cmocka_unit_test_setup_teardown(secrets, fix_up, fix_down),
                cmocka_unit_test(secrets_last_wins),
                cmocka_unit_test_setup_teardown(secret_too_large, fix_up, fix_down),
                cmocka_unit_test_setup_teardown(dockerfile, fix_up, fix_down),
        };

        return cmocka_run_group_tests_name("builder/named", tests, NULL, NULL);
}
