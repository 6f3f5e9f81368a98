/* index.json: names, the annotations other tools look for, and several writers at once. */
#include "tests/unit/cas_fixture.h"

static void set(struct fixture *f, const char *name, const struct img_desc *d)
{
        OK(cas_ref_set(f->c, name, d, err));
}

/* The value of an annotation in the stored entry of a name; malloc'ed. */
static char *annotation(struct fixture *f, const char *name, const char *key)
{
        struct sb text = SB_INIT(1 << 20);
        struct img_index ix;
        char *value = NULL;

        OK(file_read(cas_root_fd(f->c), "index.json", &text, err));
        OK(img_index_decode(sb_text(&text), text.len, MT_OCI_INDEX, &ix, err));
        for (size_t i = 0; i < ix.manifests.n; i++) {
                const struct img_kvs *a = &ix.manifests.v[i].annotations;

                if (str_eq(img_kvs_get(a, "io.containerd.image.name"), name) && img_kvs_get(a, key))
                        value = mem_strdup(img_kvs_get(a, key));
        }
        img_index_done(&ix);
        sb_done(&text);
        return value;
}

static void assert_ref_name(struct fixture *f, const char *name, const char *want)
{
        char *have = annotation(f, name, "org.opencontainers.image.ref.name");

        if (!str_eq(have, want))
                fail_msg("%s has the ref.name %s, not %s", name, have ? have : "(none)", want);
        free(have);
}

static size_t count(struct fixture *f, size_t *ret_untagged)
{
        struct cas_refs refs;
        size_t n;

        OK(cas_ref_list(f->c, &refs, err));
        n = refs.n;
        *ret_untagged = 0;
        for (size_t i = 0; i < n; i++) {
                if (!refs.v[i].name)
                        ++*ret_untagged;
                assert_true(refs.v[i].created_sec > 1600000000);
                assert_int_equal(refs.v[i].desc.annotations.n, 0);
        }
        cas_refs_free(&refs);
        return n;
}

static void test_names(void **state)
{
        struct fixture *f = *state;
        struct img_desc one, two, got;
        struct digest layer;
        size_t untagged;

        OK(make_image(f->c, "one", &one, &layer, err));
        OK(make_image(f->c, "two", &two, &layer, err));
        assert_int_equal(cas_ref_get(f->c, "docker.io/library/app:v1", &got, NULL),
                         BLD_E_NOT_FOUND);
        set(f, "docker.io/library/app:v1", &one);
        set(f, "docker.io/library/app:v2", &one);
        OK(cas_ref_get(f->c, "docker.io/library/app:v1", &got, err));
        assert_true(digest_eq(&got.digest, &one.digest));
        assert_int_equal(got.annotations.n, 0);
        img_desc_done(&got);
        assert_ref_name(f, "docker.io/library/app:v1", "v1");

        set(f, "docker.io/library/app:v1", &two); /* moved */
        assert_int_equal(count(f, &untagged), 2);
        OK(cas_ref_get(f->c, "docker.io/library/app:v1", &got, err));
        assert_true(digest_eq(&got.digest, &two.digest));
        img_desc_done(&got);

        OK(cas_ref_remove(f->c, "docker.io/library/app:v1", err));
        assert_int_equal(cas_ref_remove(f->c, "docker.io/library/app:v1", NULL), BLD_E_NOT_FOUND);
        OK(cas_ref_remove_digest(f->c, &one.digest, err));
        assert_int_equal(cas_ref_remove_digest(f->c, &one.digest, NULL), BLD_E_NOT_FOUND);
        assert_int_equal(count(f, &untagged), 0);
        img_desc_done(&one);
        img_desc_done(&two);
}

/* skopeo and umoci look up ref.name: the newest of a tag has it alone. */
static void test_ref_names_are_unique(void **state)
{
        struct fixture *f = *state;
        struct img_desc d, changed;
        struct digest layer;

        OK(make_image(f->c, "one", &d, &layer, err));
        OK(make_image(f->c, "two", &changed, &layer, err));
        set(f, "docker.io/library/app:v1", &d);
        set(f, "localhost:5000/web:v1", &d);
        assert_ref_name(f, "localhost:5000/web:v1", "v1");
        assert_ref_name(f, "docker.io/library/app:v1", "docker.io/library/app:v1");
        set(f, "docker.io/library/app:v1", &changed);
        assert_ref_name(f, "docker.io/library/app:v1", "v1");
        assert_ref_name(f, "localhost:5000/web:v1", "localhost:5000/web:v1");
        OK(cas_ref_remove(f->c, "docker.io/library/app:v1", err));
        assert_ref_name(f, "localhost:5000/web:v1", "v1");
        set(f, "localhost:5000/web", &d); /* no tag: the port is none */
        assert_ref_name(f, "localhost:5000/web", "localhost:5000/web");
        img_desc_done(&d);
        img_desc_done(&changed);
}

/* An unchanged build says again what is there: the file must not be touched. */
static void test_said_again(void **state)
{
        struct fixture *f = *state;
        struct img_desc d;
        struct digest layer;
        struct stat before, after;

        OK(make_image(f->c, "one", &d, &layer, err));
        set(f, "a.io/b:c", &d);
        assert_int_equal(fstatat(cas_root_fd(f->c), "index.json", &before, 0), 0);
        set(f, "a.io/b:c", &d);
        set(f, NULL, &d);
        assert_int_equal(fstatat(cas_root_fd(f->c), "index.json", &after, 0), 0);
        assert_int_equal(before.st_ino, after.st_ino);
        img_desc_done(&d);
}

static void test_untagged(void **state)
{
        struct fixture *f = *state;
        struct img_desc d;
        struct digest layer;
        size_t untagged;

        OK(make_image(f->c, "one", &d, &layer, err));
        set(f, NULL, &d);
        set(f, NULL, &d);
        assert_int_equal(count(f, &untagged), 1);
        assert_int_equal(untagged, 1);
        set(f, "a.io/b:c", &d); /* it got a name */
        assert_int_equal(count(f, &untagged), 1);
        assert_int_equal(untagged, 0);
        set(f, NULL, &d);
        assert_int_equal(count(f, &untagged), 1);
        assert_int_equal(untagged, 0);
        img_desc_done(&d);
}

/* A name appears only when everything it reaches is there. */
static void test_incomplete(void **state)
{
        struct fixture *f = *state;
        struct img_desc d, absent;
        struct digest layer;
        size_t untagged;

        OK(make_image(f->c, "one", &d, &layer, err));
        OK(cas_blob_delete(f->c, &layer, err));
        assert_int_equal(cas_ref_set(f->c, "a.io/b:c", &d, NULL), BLD_E_NOT_FOUND);
        absent = d;
        absent.digest = key_of("absent");
        assert_int_equal(cas_ref_set(f->c, "a.io/b:c", &absent, NULL), BLD_E_NOT_FOUND);
        assert_int_equal(count(f, &untagged), 0);
        put_text(f->c, "one");
        set(f, "a.io/b:c", &d);
        img_desc_done(&d);
}

/* What other tools wrote stays, with their annotations. */
static void test_foreign_entries(void **state)
{
        struct fixture *f = *state;
        struct sb text = SB_INIT(10000);
        struct img_desc d;
        struct digest layer;
        char digest[DIGEST_STR_MAX];

        OK(make_image(f->c, "one", &d, &layer, err));
        digest_format(&d.digest, digest);
        sb_fmt(&text,
               "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"" MT_OCI_MANIFEST
               "\",\"digest\":\"%s\",\"size\":%llu,\"annotations\":{\"x\":\"y\","
               "\"org.opencontainers.image.ref.name\":\"theirs\"}}]}",
               digest, (unsigned long long)d.size);
        OK(file_write(cas_root_fd(f->c), "index.json", text.buf, text.len, 0644, 0, err));
        set(f, "a.io/b:c", &d);
        sb_reset(&text);
        OK(file_read(cas_root_fd(f->c), "index.json", &text, err));
        assert_non_null(strstr(sb_text(&text), "\"theirs\""));
        assert_non_null(strstr(sb_text(&text), "\"x\":\"y\""));
        set(f, "a.io/b:theirs", &d);
        assert_ref_name(f, "a.io/b:theirs", "theirs");
        sb_reset(&text);
        OK(file_read(cas_root_fd(f->c), "index.json", &text, err));
        assert_null(strstr(strstr(sb_text(&text), "\"theirs\"") + 1, "\"theirs\""));
        OK(file_write(cas_root_fd(f->c), "index.json", "junk", 4, 0644, 0, err));
        assert_int_equal(cas_ref_set(f->c, "a.io/b:c", &d, NULL), BLD_E_CORRUPT);
        sb_done(&text);
        img_desc_done(&d);
}

static void test_writers_together(void **state)
{
        struct fixture *f = *state;
        size_t untagged;
        pid_t pids[6];

        for (size_t i = 0; i < ARRAY_LEN(pids); i++) {
                pids[i] = fork();
                assert_true(pids[i] >= 0);
                if (pids[i] > 0)
                        continue;
                struct cas *c;
                int r = cas_open(f->root, &c, NULL);

                for (int k = 0; r == 0 && k < 8; k++) {
                        struct img_desc d;
                        struct digest layer;
                        char name[64], seed[32];

                        (void)snprintf(seed, sizeof(seed), "image %zu %d", i, k);
                        (void)snprintf(name, sizeof(name), "a.io/p%zu:t%d", i, k);
                        r = make_image(c, seed, &d, &layer, NULL);
                        if (r == 0)
                                r = cas_ref_set(c, name, &d, NULL);
                        if (r == 0)
                                img_desc_done(&d);
                }
                cas_close(c);
                _exit(r < 0 ? 1 : 0);
        }
        for (size_t i = 0; i < ARRAY_LEN(pids); i++)
                reap(pids[i]);
        assert_int_equal(count(f, &untagged), 6 * 8);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, fixture_up, fixture_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                T(test_names),
                T(test_ref_names_are_unique),
                T(test_said_again),
                T(test_untagged),
                T(test_incomplete),
                T(test_foreign_entries),
                T(test_writers_together),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
