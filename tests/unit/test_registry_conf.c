/* registries.conf: what a name becomes, and the places it is asked for at. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "registry/conf_priv.h"
#include "registry_world.h"

static const char sample[] =
        "unqualified-search-registries = [\"docker.io\"]\n"
        "[aliases]\n\"app\" = \"int.net/team/app\"\n\"gone\" = \"\"\n"
        "[[registry]]\nprefix = \"example.com/foo\"\nlocation = \"int.net/bar\"\n"
        "[[registry]]\nprefix = \"*.example.com\"\nblocked = true\n"
        "[[registry]]\nlocation = \"docker.io\"\n"
        "[[registry.mirror]]\nlocation = \"m.local:5000/hub\"\ninsecure = true\n"
        "[[registry.mirror]]\nlocation = \"d.local\"\npull-from-mirror = \"digest-only\"\n"
        "[[registry]]\nlocation = \"docker.io/library\"\nmirror-by-digest-only = true\n"
        "[[registry.mirror]]\nlocation = \"l.local\"\n";

static void test_find(void **state UNUSED)
{
        static const struct {
                const char *name, *prefix, *rest;
        } rows[] = {
                {"example.com/foo/x", "example.com/foo", "/x"},
                {"example.com/foo", "example.com/foo", ""},
                {"example.com/food", NULL, NULL},
                {"example.com/x", NULL, NULL},
                {"a.example.com/x", "*.example.com", "/x"},
                {"a.b.example.com:5000/x", "*.example.com", ":5000/x"},
                {"aexample.com/x", NULL, NULL},
                {"docker.io/u/x", "docker.io", "/u/x"},
                {"docker.io/library/x", "docker.io/library", "/x"},
                {"DOCKER.io/u/x", "docker.io", "/u/x"},
        };
        struct bld_err err = BLD_ERR_INIT;
        struct reg_conf f;

        reg_conf_init(&f);
        if (reg_conf_add(&f, sample, strlen(sample), &err) < 0)
                fail_msg("%s", err.msg);
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                const char *rest = NULL;
                const struct reg_conf_entry *e = reg_conf_find(&f, rows[i].name, &rest);

                print_message("# %s\n", rows[i].name);
                if (!rows[i].prefix) {
                        assert_null(e);
                        continue;
                }
                assert_non_null(e);
                assert_string_equal(e->prefix, rows[i].prefix);
                assert_string_equal(rest, rows[i].rest);
        }
        assert_string_equal(map_get(&f.aliases, "app"), "int.net/team/app");
        reg_conf_done(&f);
}

static void test_refused(void **state UNUSED)
{
        static const struct {
                const char *text, *message;
        } rows[] = {
                {"[registries.search]\nregistries = ['x']", "version 1"},
                {"[[registry]]\nblocked = true", "neither prefix nor location"},
                {"[[registry]]\nlocation = \"http://x.io\"", "HOST"},
                {"[[registry]]\nlocation = \"u:p@x.io\"", "HOST"},
                {"[[registry]]\nprefix = \"*.x.io/a\"", "*."},
                {"[[registry]]\nlocation = \"x.io\"\n[[registry.mirror]]\ninsecure = true",
                 "no location"},
                {"[[registry]]\nlocation = \"x.io\"\n[[registry.mirror]]\nlocation = \"y.io\"\n"
                 "pull-from-mirror = \"some\"",
                 "not one of"},
                {"[[registry]]\nlocation = \"x.io\"\nmirror-by-digest-only = true\n"
                 "[[registry.mirror]]\nlocation = \"y.io\"\npull-from-mirror = \"all\"",
                 "exclude"},
                {"[[registry]\n", "line 1"},
                {"[aliases]\na = \"b@c\"", "alias"},
        };

        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct bld_err err = BLD_ERR_INIT;
                struct reg_conf f;

                reg_conf_init(&f);
                assert_int_equal(reg_conf_add(&f, rows[i].text, strlen(rows[i].text), &err),
                                 BLD_E_INVALID);
                if (!strstr(err.msg, rows[i].message))
                        fail_msg("%s: %s", rows[i].text, err.msg);
                reg_conf_done(&f);
        }
}

/* A file for the client to read; removed by its caller. */
static const char *use_conf(const char *text)
{
        static char path[64];
        FILE *f;
        int fd;

        (void)snprintf(path, sizeof(path), "/tmp/bld-regconf-XXXXXX");
        fd = mkstemp(path);
        assert_true(fd >= 0);
        f = fdopen(fd, "w");
        assert_non_null(f);
        (void)fputs(text, f);
        (void)fclose(f);
        (void)setenv("CONTAINERS_REGISTRIES_CONF", path, 1);
        return path;
}

static void drop_conf(const char *path)
{
        (void)unlink(path);
        (void)unsetenv("CONTAINERS_REGISTRIES_CONF");
}

static const char doc[] =
        "{\"schemaVersion\":2,\"mediaType\":\"" MT_OCI_INDEX "\",\"manifests\":[]}";

/* Moved, through a mirror for digests only that lacks the tag's document, credentials of each. */
static void test_moved_and_mirrored(void **state UNUSED)
{
        char conf[1024];
        const struct mock_step origin[] = {
                {"GET /v2/bar/x/manifests/v1", .status = 200,
                 .headers = "Content-Type: " MT_OCI_INDEX "\r\n", .body = doc},
                {"GET /v2/bar/x/blobs/*", .status = 200, .body = w->blob,
                 .body_len = sizeof(w->blob)},
                {"PUT /v2/bar/x/manifests/v1", .status = 201, .headers = "Location: /x\r\n"},
                {0},
        };
        const struct mock_step mirror[] = {
                {"GET /v2/m/x/blobs/*", .status = 502},
                {0},
        };
        AUTO_SB struct sb out = SB_INIT(1u << 20);
        AUTO(img_desc_done) struct img_desc d = {0};
        struct bld_err err = BLD_ERR_INIT;
        const char *path;

        (void)snprintf(conf, sizeof(conf),
                       "[[registry]]\nprefix = \"example.com/foo\"\nlocation = \"%s/bar\"\n"
                       "[[registry.mirror]]\nlocation = \"%s/m\"\n"
                       "pull-from-mirror = \"digest-only\"\n",
                       mock_host(w->reg), mock_host(w->other));
        path = use_conf(conf);
        mock_script(w->reg, origin);
        mock_script(w->other, mirror);
        connect_with((struct reg_opts){0});
        img_ref_done(&w->ref);
        assert_int_equal(img_ref_parse("example.com/foo/x:v1", &w->ref, &err), 0);
        if (reg_manifest_get(w->c, &w->ref, &out, &d, &err) < 0)
                fail_msg("%s", err.msg);
        get_blob_ok();
        if (reg_manifest_put(w->c, &w->ref, MT_OCI_INDEX, doc, strlen(doc), &err) < 0)
                fail_msg("%s", err.msg);
        drop_conf(path);
        check_scripts();
        assert_non_null(strstr(sb_text(&w->notes), "502"));
}

static void test_blocked(void **state UNUSED)
{
        const char *path = use_conf("[[registry]]\nlocation = \"example.com\"\nblocked = true\n");
        struct bld_err err = BLD_ERR_INIT;

        connect_with((struct reg_opts){0});
        img_ref_done(&w->ref);
        assert_int_equal(img_ref_parse("example.com/foo/x:v1", &w->ref, &err), 0);
        assert_int_equal(get_blob(&err), BLD_E_POLICY);
        assert_non_null(strstr(err.msg, "blocks"));
        drop_conf(path);
        check_scripts();
}

/* All places fail: the last one's error tells of those before it. */
static void test_all_places_fail(void **state UNUSED)
{
        char conf[512];
        const struct mock_step origin[] = {{w->url, .status = 404}, {0}};
        const struct mock_step mirror[] = {{w->url, .status = 503}, {0}};
        struct bld_err err = BLD_ERR_INIT;
        const char *path;

        (void)snprintf(conf, sizeof(conf),
                       "[[registry]]\nlocation = \"%s\"\n[[registry.mirror]]\nlocation = \"%s\"\n",
                       mock_host(w->reg), mock_host(w->other));
        path = use_conf(conf);
        mock_script(w->reg, origin);
        mock_script(w->other, mirror);
        connect_with((struct reg_opts){0});
        assert_int_equal(get_blob(&err), BLD_E_NOT_FOUND);
        assert_non_null(strstr(err.msg, "before: mirror "));
        assert_non_null(strstr(err.msg, "503"));
        drop_conf(path);
        check_scripts();
}

static void test_short_names(void **state UNUSED)
{
        const char *path = use_conf(sample);
        AUTO_FREE char *to = NULL;
        struct bld_err err = BLD_ERR_INIT;

        connect_with((struct reg_opts){0});
        assert_int_equal(reg_short_name(w->c, "app", &to, &err), 1);
        assert_string_equal(to, "int.net/team/app");
        assert_int_equal(reg_short_name(w->c, "gone", &to, &err), 0);
        assert_int_equal(reg_short_name(w->c, "other", &to, &err), 0);
        drop_conf(path);
        check_scripts();
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                T(test_find),    T(test_refused),         T(test_moved_and_mirrored),
                T(test_blocked), T(test_all_places_fail), T(test_short_names),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
