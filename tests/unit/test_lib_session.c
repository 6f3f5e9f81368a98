/* The public calls about images, on a store in a temporary folder. */
#include "tests/unit/builder_fixture.h"

#include "base/num.h"
#include "bld/bld.h"
#include "lib/image_priv.h"
#include "lib/session_priv.h"

struct ses {
        char dir[200];
        struct bld *b;
};

static int ses_up(void **state)
{
        struct ses *s = calloc(1, sizeof(*s));
        const char *tmp = getenv("TMPDIR");
        struct bld_opts o = {.size = sizeof(o), .offline = true};
        char root[220];

        if (!s)
                return -1;
        (void)snprintf(s->dir, sizeof(s->dir), "%.150s/bld-lib-XXXXXX", tmp ? tmp : "/tmp");
        if (!mkdtemp(s->dir))
                return -1;
        (void)snprintf(root, sizeof(root), "%s/store", s->dir);
        o.root = root;
        if (bld_open(&o, &s->b, NULL) < 0)
                return -1;
        memset(root, 'x', sizeof(root)); /* nothing of the caller's is kept */
        *state = s;
        return 0;
}

static int ses_down(void **state)
{
        struct ses *s = *state;

        bld_close(s->b);
        (void)path_remove_tree(AT_FDCWD, s->dir, NULL);
        free(s);
        return 0;
}

static struct js *parsed(char *text)
{
        struct js *j = NULL;

        assert_non_null(text);
        OK(js_parse(text, strlen(text), &j, err));
        bld_free(text);
        return j;
}

/* ---- opening ---- */

static void roots(void **state)
{
        struct ses *s = *state;
        struct bld *b = NULL;
        struct bld_err e = BLD_ERR_INIT;
        struct bld_opts o = {.size = 0};
        char path[300];

        assert_true(str_has_suffix(bld_root(s->b), "/store"));
        assert_int_equal(bld_open(&o, &b, &e), BLD_E_USAGE);
        (void)snprintf(path, sizeof(path), "%s/env", s->dir);
        assert_int_equal(setenv("BLD_ROOT", path, 1), 0);
        OK(bld_open(NULL, &b, err));
        assert_string_equal(bld_root(b), path);
        bld_close(b);
        assert_int_equal(unsetenv("BLD_ROOT"), 0);
        bld_close(NULL);
}

/* An older caller's smaller struct: what it does not know is zero. */
static void smaller_struct(void **state)
{
        struct {
                size_t size;
                bool all_but_new;
        } old = {.size = sizeof(size_t) + 1, .all_but_new = true};
        struct bld_prune_opts o;

        (void)state;
        OK(lib_opts_copy(&o, sizeof(o), &old, "test", err));
        assert_true(o.all);
        assert_int_equal(o.keep_bytes, 0);
        assert_int_equal(o.until_sec, 0);
}

/* ---- images ---- */

static void list_tag_remove(void **state)
{
        struct ses *s = *state;
        struct bd_ctx *c = &s->b->ctx;
        struct img_desc d;
        char *text = NULL;
        struct js *j;
        struct bld_err e = BLD_ERR_INIT;

        OK(bld_images(s->b, NULL, &text, err));
        j = parsed(text);
        assert_int_equal(js_len(j), 0);
        js_free(j);

        make_image(c, "docker.io/library/app:v1", host_arch(), "a", &d);
        OK(bld_tag(s->b, "app:v1", "host:5000/other", err));
        assert_int_equal(bld_tag(s->b, "nope", "x", &e), BLD_E_NOT_FOUND);
        err_clear(&e);
        assert_int_equal(bld_tag(s->b, "app:v1", "UPPER", &e), BLD_E_INVALID);

        OK(bld_images(s->b, "app", &text, err));
        j = parsed(text);
        assert_int_equal(js_len(j), 1);
        assert_string_equal(js_get_str(js_at(j, 0), "repository"), "app");
        assert_string_equal(js_get_str(js_at(j, 0), "tag"), "v1");
        assert_string_equal(js_get_str(js_at(j, 0), "created"), "2024-01-02T03:04:05Z");
        js_free(j);

        OK(bld_rmi(s->b, "app:v1", false, &text, err));
        j = parsed(text);
        assert_int_equal(js_len(j), 1); /* the other name is still there */
        assert_string_equal(js_get_str(js_at(j, 0), "untagged"), "docker.io/library/app:v1");
        js_free(j);
        OK(bld_rmi(s->b, "host:5000/other", false, &text, err));
        j = parsed(text);
        assert_int_equal(js_len(j), 2);
        assert_true(str_has_prefix(js_get_str(js_at(j, 1), "deleted"), "sha256:"));
        js_free(j);
        err_clear(&e);
        assert_int_equal(bld_rmi(s->b, "app:v1", true, &text, &e), BLD_E_NOT_FOUND);
        img_desc_done(&d);
}

static void remove_by_id(void **state)
{
        struct ses *s = *state;
        struct img_desc d;
        char *text = NULL, digest[DIGEST_STR_MAX];
        struct js *j;

        make_image(&s->b->ctx, "docker.io/library/app:v1", host_arch(), "a", &d);
        OK(bld_tag(s->b, "app:v1", "app:v2", err));
        digest_format(&d.digest, digest);
        digest[7 + 12] = '\0';
        OK(bld_rmi(s->b, digest, false, &text, err));
        j = parsed(text);
        assert_int_equal(js_len(j), 3); /* both names, and the image */
        js_free(j);
        img_desc_done(&d);
}

/* By the digest of one platform: the entry is the index it is in. */
static void remove_index(void **state)
{
        struct ses *s = *state;
        const char *archs[] = {"amd64", "arm64"};
        struct img_desc ix, one;
        char *text = NULL, digest[DIGEST_STR_MAX];
        struct js *j;

        make_index(&s->b->ctx, "docker.io/library/multi:v1", archs, 2, &ix);
        make_image(&s->b->ctx, NULL, "arm64", "arm64", &one);
        digest_format(&one.digest, digest);
        OK(bld_images(s->b, NULL, &text, err));
        j = parsed(text);
        assert_string_equal(js_get_str(js_at(j, 0), "platform"), "linux/amd64,linux/arm64");
        js_free(j);
        OK(bld_rmi(s->b, digest, false, &text, err));
        j = parsed(text);
        assert_int_equal(js_len(j), 2);
        js_free(j);
        img_desc_done(&ix);
        img_desc_done(&one);
}

static void inspect(void **state)
{
        struct ses *s = *state;
        AUTO_FREE char *raw = NULL;
        char *text = NULL, want[DIGEST_STR_MAX], have[DIGEST_STR_MAX];
        struct img_desc d;
        struct digest h;
        struct js *j, *o;
        struct bld_err e = BLD_ERR_INIT;

        make_image(&s->b->ctx, "docker.io/library/app:v1", host_arch(), "a", &d);
        OK(bld_inspect(s->b, "app:v1", BLD_INSPECT_DOCKER, NULL, &text, err));
        j = parsed(text);
        o = js_at(j, 0);
        assert_string_equal(js_str(js_at(js_get(o, "RepoTags"), 0)), "app:v1");
        assert_string_equal(js_str(js_at(js_get(js_get(o, "Config"), "Env"), 0)), "SALT=a");
        assert_true(js_is_null(js_get(js_get(o, "Config"), "Cmd")));
        assert_string_equal(js_get_str(js_get(o, "RootFS"), "Type"), "layers");
        assert_int_equal(js_len(js_get(js_get(o, "RootFS"), "Layers")), 1);
        js_free(j);
        OK(bld_inspect(s->b, "app:v1", BLD_INSPECT_MANIFEST, NULL, &raw, err));
        digest_of(raw, strlen(raw), &h);
        digest_format(&h, have);
        digest_format(&d.digest, want);
        assert_string_equal(have, want); /* byte for byte */
        assert_int_equal(bld_inspect(s->b, "app:v1", BLD_INSPECT_DOCKER, "linux/", &text, &e),
                         BLD_E_USAGE);
        /* a short name is not sent anywhere; one that says its registry would be, were we online */
        err_clear(&e);
        assert_int_equal(bld_inspect(s->b, "none", BLD_INSPECT_DOCKER, NULL, &text, &e),
                         BLD_E_NOT_FOUND);
        err_clear(&e);
        assert_int_equal(
                bld_inspect(s->b, "docker://localhost:1/x", BLD_INSPECT_DOCKER, NULL, &text, &e),
                BLD_E_NETWORK);
        img_desc_done(&d);
}

static void history(void **state)
{
        struct ses *s = *state;
        AUTO(bd_layers_free) struct bd_layers layers = {.v = NULL};
        char by[] = "RUN x", *text = NULL;
        struct img_history h1 = {.created_by = by}, h2 = {.empty_layer = true};
        struct img_config cfg;
        struct img_desc d;
        struct js *j;

        add_layer(&s->b->ctx, fix_files, 2, LY_CODEC_GZIP, &layers);
        base_config(&cfg, host_arch(), "h");
        OK(img_config_add_history(&cfg, &h1));
        OK(img_config_add_history(&cfg, &h2));
        OK(bd_assemble(&s->b->ctx, &cfg, &layers, BD_FORMAT_OCI, NULL, &d, NULL, err));
        OK(cas_ref_set(s->b->cas, "docker.io/library/app:v1", &d, err));
        OK(bld_history(s->b, "app:v1", NULL, &text, err));
        j = parsed(text);
        assert_int_equal(js_len(j), 2);
        assert_true(js_get_bool(js_at(j, 0), "emptyLayer", false)); /* newest first */
        assert_string_equal(js_get_str(js_at(j, 1), "createdBy"), "RUN x");
        assert_int_equal(js_i64(js_get(js_at(j, 1), "size"), 0), (int64_t)layers.v[0].desc.size);
        js_free(j);
        img_config_done(&cfg);
        img_desc_done(&d);
}

/* ---- archives through the public calls ---- */

static void save_load(void **state)
{
        struct ses *s = *state;
        const char *refs[] = {"app:v1", "web:v1", "app:v2"};
        static const char *const formats[] = {"oci-archive", "docker-archive", "oci-dir"};
        struct bld_list list = {.v = refs, .n = 3};
        struct bld_err e = BLD_ERR_INIT;
        struct img_desc a, b;

        make_image(&s->b->ctx, "docker.io/library/app:v1", host_arch(), "a", &a);
        make_image(&s->b->ctx, "docker.io/library/web:v1", host_arch(), "b", &b);
        OK(bld_tag(s->b, "app:v1", "app:v2", err));
        for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
                struct bld_opts o = {.size = sizeof(o)};
                char path[300], root[300];
                struct bld *other = NULL;
                char *text = NULL;
                struct js *j;

                print_message("%s\n", formats[i]);
                (void)snprintf(path, sizeof(path), "%s/%s", s->dir, formats[i]);
                (void)snprintf(root, sizeof(root), "%s/store-%zu", s->dir, i);
                OK(bld_save(s->b, &list, formats[i], path, -1, err));
                o.root = root;
                OK(bld_open(&o, &other, err));
                OK(bld_load(other, path, -1, &text, err));
                j = parsed(text);
                assert_int_equal(js_len(j), 3);
                js_free(j);
                OK(bld_images(other, "app", &text, err));
                j = parsed(text);
                assert_int_equal(js_len(j), 2);
                js_free(j);
                bld_close(other);
        }
        assert_int_equal(bld_save(s->b, &list, "zip", "x", -1, &e), BLD_E_USAGE);
        err_clear(&e);
        list.n = 0;
        assert_int_equal(bld_save(s->b, &list, NULL, "x", -1, &e), BLD_E_USAGE);
        img_desc_done(&a);
        img_desc_done(&b);
}

static void space(void **state)
{
        struct ses *s = *state;
        struct bld_prune_opts o = {.size = sizeof(o), .all = true};
        struct img_desc d;
        char *text = NULL;
        struct js *j;
        int64_t before, after, freed;
        struct bld_opts again = {.size = sizeof(again)};
        char root[300];

        make_image(&s->b->ctx, NULL, host_arch(), "garbage", &d);
        /* a session does not collect what it made itself: somebody may be about to name it */
        (void)str_copy(root, sizeof(root), bld_root(s->b));
        bld_close(s->b);
        again.root = root;
        OK(bld_open(&again, &s->b, err));
        OK(bld_du(s->b, &text, err));
        j = parsed(text);
        assert_true(js_get_i64(j, "total", &before));
        assert_int_equal(js_i64(js_get(js_get(js_get(j, "kinds"), "blobs"), "count"), 0), 3);
        js_free(j);
        OK(bld_prune(s->b, &o, &text, err));
        j = parsed(text);
        assert_true(js_get_i64(j, "freed", &freed));
        js_free(j);
        OK(bld_du(s->b, &text, err));
        j = parsed(text);
        assert_true(js_get_i64(j, "total", &after));
        js_free(j);
        assert_true(freed > 0);
        assert_true(after < before);
        img_desc_done(&d);
}

/* ---- metadata ---- */

static void metadata(void **state)
{
        struct ses *s = *state;
        const char *tags[] = {"app:v1", "host:5000/app"};
        struct bld_build_opts o = {.size = sizeof(o), .tags = {.v = tags, .n = 2}};
        struct bld_build_result r = {
                .size = sizeof(r), .id = "b7k2m9qd", .steps = 5, .steps_cached = 3};
        struct img_desc d;
        char *text = NULL;
        struct js *j, *p;

        make_image(&s->b->ctx, NULL, host_arch(), "m", &d);
        digest_format(&d.digest, r.digest);
        (void)str_copy(r.media_type, sizeof(r.media_type), d.media_type);
        r.document_bytes = d.size;
        OK(bld_build_metadata(s->b, &o, &r, &text, err));
        j = parsed(text);
        assert_string_equal(js_get_str(j, "buildx.build.ref"), "bld/local/b7k2m9qd");
        assert_string_equal(js_get_str(j, "containerimage.digest"), r.digest);
        assert_string_equal(js_get_str(js_get(j, "containerimage.descriptor"), "digest"), r.digest);
        assert_string_equal(js_get_str(j, "image.name"),
                            "docker.io/library/app:v1,host:5000/app:latest");
        assert_int_equal(js_i64(js_get(js_get(j, "bld.cache"), "miss"), 0), 2);
        p = js_at(js_get(j, "bld.platforms"), 0);
        assert_int_equal(js_len(js_get(p, "layers")), 1);
        assert_null(js_get(j, "bld.pushed"));
        js_free(j);
        o.push = true;
        OK(bld_build_metadata(s->b, &o, &r, &text, err));
        j = parsed(text);
        assert_int_equal(js_len(js_get(j, "bld.pushed")), 2);
        js_free(j);
        img_desc_done(&d);
}

/* Manifests claim what they like: the sum is a number that JSON's readers take. */
static void claimed_sizes(void **state)
{
        struct img_desc layers[] = {{.size = 3}, {.size = INT64_MAX}, {.size = INT64_MAX}};
        struct bd_image im = {.desc = {.size = 1}, .manifest = {.config = {.size = 2}}};

        (void)state;
        im.manifest.layers.v = layers;
        im.manifest.layers.n = 1;
        assert_int_equal(lib_image_bytes(&im), 6);
        im.manifest.layers.n = 3;
        assert_true(lib_image_bytes(&im) == INT64_MAX);
        im.desc.size = UINT64_MAX;
        assert_true(lib_image_bytes(&im) == INT64_MAX);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, ses_up, ses_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                T(roots),
                T(smaller_struct),
                T(list_tag_remove),
                T(remove_by_id),
                T(remove_index),
                T(inspect),
                T(history),
                T(save_load),
                T(space),
                T(metadata),
                cmocka_unit_test(claimed_sizes),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
