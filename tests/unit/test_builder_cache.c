/* Shared caches: what is asked for, what an entry must be to be believed, folders, and what a
 * look-up costs a registry. */
#include "tests/unit/builder_fixture.h"

#include <stdio.h>

#include "builder/cache/cache_priv.h"
#include "mock_http.h"
#include "registry/client_priv.h"

#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define SHA "sha256:" HEX64

/* ---- specs ---- */

static int parse_one(const char *from, const char *to, const char *repo, struct rc_specs *ret,
                     struct bld_err *err)
{
        struct bld_build_opts o = {.size = sizeof(o), .cache_repo = repo};

        if (from)
                o.cache_from = (struct bld_list){&from, 1};
        if (to)
                o.cache_to = (struct bld_list){&to, 1};
        return rc_specs_parse(&o, ret, err);
}

static void specs(void **state UNUSED)
{
        static const struct {
                const char *from, *to, *repo;
                enum rc_type type;
                const char *tag, *path, *dir, *codec;
                bool max, strict, image;
                int64_t timeout_ms;
        } good[] = {
                {.from = "r.example/a/b", .tag = "bld", .path = "a/b", .image = true},
                {.from = "type=registry,ref=r.example/a/b:v1",
                 .tag = "v1",
                 .path = "a/b",
                 .image = true},
                {.to = "r.example/a/b", .tag = "bld", .path = "a/b"},
                {.to = "type=registry,ref=r.example/a/b,mode=max,ignore-error=false,timeout=2s,"
                       "compression=zstd,compression-level=3,image-manifest=true,"
                       "oci-mediatypes=1,force-compression=true",
                 .tag = "bld",
                 .path = "a/b",
                 .max = true,
                 .strict = true,
                 .timeout_ms = 2000,
                 .codec = "zstd"},
                {.repo = "r.example/a/b:main", .tag = "main", .path = "a/b", .max = true},
                {.from = "type=local,src=/x", .type = RC_LOCAL, .tag = "latest", .dir = "/x"},
                {.to = "type=local,dest=x,tag=t,compression=uncompressed",
                 .type = RC_LOCAL,
                 .tag = "t",
                 .dir = "x",
                 .codec = "none"},
                {.to = "type=inline", .type = RC_INLINE},
        };

        for (size_t i = 0; i < ARRAY_LEN(good); i++) {
                struct rc_specs s = {0};

                OK(parse_one(good[i].from, good[i].to, good[i].repo, &s, err));
                assert_int_equal(s.n, 1);
                assert_int_equal(s.v[0].type, good[i].type);
                assert_int_equal(s.v[0].from, good[i].from || good[i].repo);
                assert_int_equal(s.v[0].to, good[i].to || good[i].repo);
                assert_true(str_eq(s.v[0].tag, good[i].tag));
                assert_true(str_eq(s.v[0].ref.path, good[i].path));
                assert_true(str_eq(s.v[0].dir, good[i].dir));
                assert_true(str_eq(s.v[0].codec, good[i].codec));
                assert_int_equal(s.v[0].max, good[i].max);
                assert_int_equal(s.v[0].strict, good[i].strict);
                assert_int_equal(s.v[0].image, good[i].image);
                assert_int_equal(s.v[0].timeout_ms, good[i].timeout_ms);
                rc_specs_free(&s);
        }
}

static void bad_specs(void **state UNUSED)
{
        static const struct {
                const char *from, *to, *says;
        } bad[] = {
                {"type=gha", NULL, "type=gha is not supported"},
                {NULL, "type=s3,region=x,bucket=y", "type=s3 is not supported"},
                {"type=azblob", NULL, "not supported"},
                {"type=registri,ref=x", NULL, "unknown type"},
                {"type=registry", NULL, "needs ref="},
                {"ref=x", NULL, "no type="},
                {"type=registry,ref=Upper", NULL, "--cache-from \"Upper\""},
                {"r.example/a@" SHA, NULL, "digest"},
                {"type=registry,ref=x,tag=y", NULL, "from ref="},
                {"type=local", NULL, "needs src="},
                {NULL, "type=local,src=x", "unknown key"},
                {"type=local,src=x,tag=-a", NULL, "tags of a cache"},
                {"type=inline", NULL, "through its image"},
                {NULL, "type=inline,mode=max", "mode=min only"},
                {NULL, "type=registry,ref=x,mode=some", "neither min nor max"},
                {NULL, "type=registry,ref=x,image-manifest=false", "not supported"},
                {NULL, "type=registry,ref=x,compression=rar", "none of gzip"},
                {NULL, "type=registry,ref=x,timeout=soon", "not a duration"},
                {NULL, "type=registry,ref=x,ignore-error=perhaps", "neither true nor false"},
                {NULL, "type=registry,ref=x,modus=max", "unknown key"},
                {"type=registry,ref=x,registry.insecure=true", NULL, "not supported"},
                {"type=registry,ref", NULL, "key=value"},
                {"r.example/a:" HEX64, NULL, "tags of a cache"},
        };

        for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
                struct bld_err e = BLD_ERR_INIT;
                struct rc_specs s = {0};

                assert_int_equal(parse_one(bad[i].from, bad[i].to, NULL, &s, &e), BLD_E_USAGE);
                if (!strstr(e.msg, bad[i].says))
                        fail_msg("\"%s\" does not say \"%s\"", e.msg, bad[i].says);
        }
}

/* ---- entries ---- */

static void some_digest(const char *salt, struct digest *ret)
{
        digest_of(salt, strlen(salt), ret);
}

static void add_some_layer(struct bd_layers *a, const char *salt, bool blob)
{
        struct bd_layer *l = bd_layers_push(a);
        char name[64];

        assert_non_null(l);
        (void)snprintf(name, sizeof(name), "diff %s", salt);
        some_digest(name, &l->diff_id);
        if (!blob)
                return;
        some_digest(salt, &l->desc.digest);
        l->desc.size = 100 + strlen(salt);
        l->desc.media_type = mem_strdup(MT_OCI_LAYER_GZIP);
}

static void make_entry(struct rc_entry *e)
{
        *e = (struct rc_entry){.created_sec = 1700000000};
        some_digest("definition", &e->keys[RC_KEY_DEFINITION]);
        some_digest("result", &e->keys[RC_KEY_RESULT]);
        add_some_layer(&e->layers, "base", false);
        add_some_layer(&e->layers, "one", true);
        add_some_layer(&e->layers, "two", true);
        add_some_layer(&e->layers, "one", true); /* the same blob twice */
}

static void round_trip(void **state UNUSED)
{
        AUTO(rc_entry_done) struct rc_entry e, back;
        AUTO(img_manifest_done) struct img_manifest m = {.media_type = NULL};
        AUTO(img_desc_done) struct img_desc record_desc = {.media_type = NULL};
        AUTO_SB struct sb record = SB_INIT(RC_RECORD_MAX), doc = SB_INIT(IMG_MANIFEST_MAX);
        char tag[130];

        make_entry(&e);
        OK(rc_record_encode(&e, &record, err));
        OK(rc_manifest_encode(&e, &record, &doc, &record_desc, err));
        OK(img_manifest_decode(sb_text(&doc), doc.len, MT_OCI_MANIFEST, &m, err));
        assert_string_equal(m.config.media_type, RC_MT_RECORD);
        assert_non_null(m.config.data); /* a look-up is one request */
        assert_int_equal(m.layers.n, 2);
        OK(rc_record_decode(m.config.data, m.config.size, &back, err));
        assert_int_equal(back.layers.n, 4);
        assert_int_equal(back.created_sec, e.created_sec);
        for (size_t i = 0; i < 4; i++) {
                assert_true(digest_eq(&back.layers.v[i].diff_id, &e.layers.v[i].diff_id));
                assert_true(digest_eq(&back.layers.v[i].desc.digest, &e.layers.v[i].desc.digest));
                assert_int_equal(back.layers.v[i].desc.size, e.layers.v[i].desc.size);
        }
        for (size_t i = 0; i < RC_KEYS; i++)
                OK(rc_entry_check(&back, &m, &e.keys[i], err));
        rc_tag("main", &e.keys[0], tag);
        assert_int_equal(strlen(tag), 4 + 1 + 64);
}

/* Each way of being wrong, on an entry that was right. */
static void disbelief(void **state UNUSED)
{
        for (int way = 0; way < 7; way++) {
                AUTO(rc_entry_done) struct rc_entry e;
                AUTO(img_manifest_done) struct img_manifest m = {.media_type = NULL};
                AUTO(img_desc_done) struct img_desc record_desc = {.media_type = NULL};
                AUTO_SB struct sb record = SB_INIT(RC_RECORD_MAX), doc = SB_INIT(IMG_MANIFEST_MAX);
                struct bd_layer *top;
                struct digest key;

                make_entry(&e);
                OK(rc_record_encode(&e, &record, err));
                OK(rc_manifest_encode(&e, &record, &doc, &record_desc, err));
                OK(img_manifest_decode(sb_text(&doc), doc.len, MT_OCI_MANIFEST, &m, err));
                key = e.keys[RC_KEY_DEFINITION];
                top = &e.layers.v[e.layers.n - 1];
                switch (way) {
                case 0:
                        some_digest("another", &key);
                        break;
                case 1: /* no key at all must not equal no key */
                        memset(&key, 0, sizeof(key));
                        memset(e.keys, 0, sizeof(e.keys));
                        break;
                case 2:
                        top->desc.size++;
                        break;
                case 3:
                        some_digest("elsewhere", &top->desc.digest);
                        break;
                case 4:
                        free(top->desc.media_type);
                        top->desc.media_type = mem_strdup(MT_OCI_LAYER);
                        break;
                case 5:
                        memset(&top->desc.digest, 0, sizeof(top->desc.digest));
                        break;
                default:
                        m.layers.v[0].size++;
                        break;
                }
                assert_int_equal(rc_entry_check(&e, &m, &key, NULL), BLD_E_CORRUPT);
        }
}

static void bad_records(void **state UNUSED)
{
#define LAYER                                                                                     \
        "{\"diffID\":\"" SHA "\",\"digest\":\"" SHA "\",\"size\":1,\"mediaType\":\"" MT_OCI_LAYER \
        "\"}"
#define RECORD(v, created, keys, layers) \
        "{\"v\":" v ",\"created\":" created ",\"keys\":" keys ",\"layers\":" layers "}"
        static const char *const good = RECORD("1", "5", "{}", "[" LAYER "]");
        static const char *const bad[] = {
                "",
                "[]",
                "{}",
                "{\"v\":1}",
                RECORD("2", "5", "{}", "[" LAYER "]"),
                RECORD("\"1\"", "5", "{}", "[" LAYER "]"),
                RECORD("1", "\"now\"", "{}", "[" LAYER "]"),
                RECORD("1", "5", "{\"result\":\"sha256:12\"}", "[" LAYER "]"),
                RECORD("1", "5", "{}", "[]"),
                RECORD("1", "5", "{}", "{}"),
                RECORD("1", "5", "{}", "[{}]"),
                RECORD("1", "5", "{}", "[1]"),
                RECORD("1", "5", "{}", "[{\"diffID\":\"x\"}]"),
                RECORD("1", "5", "{}", "[{\"diffID\":\"" SHA "\",\"digest\":\"" SHA "\"}]"),
                RECORD("1", "5", "{}",
                       "[{\"diffID\":\"" SHA "\",\"digest\":\"" SHA
                       "\",\"size\":-1,\"mediaType\":\"" MT_OCI_LAYER "\"}]"),
                RECORD("1", "5", "{}",
                       "[{\"diffID\":\"" SHA "\",\"digest\":\"" SHA
                       "\",\"size\":1,\"mediaType\":\"" MT_OCI_CONFIG "\"}]"),
        };
        AUTO(rc_entry_done) struct rc_entry e = {.created_sec = 0};

        OK(rc_record_decode(good, strlen(good), &e, err));
        for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
                struct rc_entry x = {.created_sec = 0};

                if (rc_record_decode(bad[i], strlen(bad[i]), &x, NULL) != BLD_E_CORRUPT)
                        fail_msg("taken: %s", bad[i]);
        }
}

static void inline_documents(void **state UNUSED)
{
        static const char *const bad[] = {
                "",
                "{}",
                "{\"v\":2,\"steps\":[]}",
                "{\"v\":1,\"steps\":{}}",
                "{\"v\":1,\"steps\":[{}]}",
                "{\"v\":1,\"steps\":[{\"layers\":0}]}",
                "{\"v\":1,\"steps\":[{\"layers\":4}]}",
                "{\"v\":1,\"steps\":[{\"layers\":-1}]}",
                "{\"v\":1,\"steps\":[{\"layers\":1,\"result\":\"md5:1\"}]}",
        };
        AUTO(rc_inline_steps_done) struct rc_inline_steps s = {0}, back = {0};
        AUTO_SB struct sb text = SB_INIT(65536);
        struct rc_inline_step *one = rc_inline_steps_push(&s);

        if (!one)
                fail_msg("no memory");
        else
                one->nlayers = 3;
        some_digest("d", &s.v[0].keys[RC_KEY_DEFINITION]);
        OK(rc_inline_encode(&s, &text, err));
        OK(rc_inline_decode(sb_text(&text), text.len, 3, &back, err));
        assert_int_equal(back.n, 1);
        assert_int_equal(back.v[0].nlayers, 3);
        assert_true(digest_eq(&back.v[0].keys[0], &s.v[0].keys[0]));
        assert_false(digest_is_set(&back.v[0].keys[RC_KEY_RESULT]));
        for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
                struct rc_inline_steps x = {0};

                if (rc_inline_decode(bad[i], strlen(bad[i]), 3, &x, NULL) != BLD_E_CORRUPT)
                        fail_msg("taken: %s", bad[i]);
        }
}

/* ---- places ---- */

static void warned(void *user, const char *text)
{
        sb_fmt(user, "%s\n", text);
}

static struct rcache *open_cache(struct bd_ctx *c, const struct rc_specs *specs, struct sb *notes)
{
        struct rcache_opts o = {
                .c = c, .cancel = c->cancel, .specs = specs, .warn = warned, .user = notes};
        struct rcache *rc = NULL;

        OK(rcache_new(&o, &rc, err));
        return rc;
}

/* A chain of a base layer that has a source, and one layer that was made here. */
static void make_chain(struct bd_ctx *c, struct bd_layers *to)
{
        add_layer(c, fix_files, 2, LY_CODEC_GZIP, to);
        OK(img_ref_parse("r.example/base", &to->v[0].source, err));
        add_layer(c, fix_files, ARRAY_LEN(fix_files), LY_CODEC_GZIP, to);
}

static void put_chain(struct rcache *rc, const struct bd_layers *chain, struct digest keys[2])
{
        struct rc_step s = {.layers = chain, .of_image = true};
        unsigned stored = 0;

        some_digest("the definition", &keys[0]);
        some_digest("the result", &keys[1]);
        memcpy(s.keys, keys, sizeof(s.keys));
        rcache_put(rc, &s);
        OK(rcache_wait(rc, &stored, err));
        assert_int_equal(stored, 1);
}

/* From one store into a folder, and from there into another store. */
static void through_a_folder(void **state)
{
        struct fix *f = *state;
        AUTO(bd_layers_free) struct bd_layers chain = {0};
        AUTO(result_done) struct vx_result got = {0}, top = {0};
        AUTO_SB struct sb notes = SB_INIT(65536), to = SB_INIT(4096), from = SB_INIT(4096);
        struct bd_layers base, other = {0};
        struct rc_specs specs = {0};
        char why[RC_WHY_MAX];
        struct digest keys[2];
        struct rcache *rc;
        struct rc_hit *h;

        make_chain(&f->c[0], &chain);
        base = (struct bd_layers){.v = chain.v, .n = 1, .cap = 1};
        sb_fmt(&to, "type=local,dest=%s", at(f, "cache"));
        sb_fmt(&from, "type=local,src=%s", at(f, "cache"));
        OK(parse_one(NULL, sb_text(&to), NULL, &specs, err));
        rc = open_cache(&f->c[0], &specs, &notes);
        assert_true(rcache_exports(rc) && !rcache_exports_all(rc) && !rcache_imports(rc));
        put_chain(rc, &chain, keys);
        rcache_free(rc);
        rc_specs_free(&specs);

        OK(parse_one(sb_text(&from), NULL, NULL, &specs, err));
        rc = open_cache(&f->c[1], &specs, &notes);
        some_digest("not there", &keys[0]);
        assert_null(rcache_find(rc, &keys[0], &base, why));
        some_digest("the definition", &keys[0]);
        h = rcache_find(rc, &keys[0], &base, why);
        assert_non_null(h);
        assert_int_equal(rcache_bring(rc, h, false, NULL, NULL, &got, why, NULL), 1);
        assert_int_equal(got.layers.n, 2);
        assert_string_equal(got.layers.v[0].source.path, "base"); /* the build's own word */
        assert_int_equal(cas_blob_verify(f->cas[1], &got.layers.v[1].desc.digest, NULL), 0);
        /* the base layer was neither stored nor brought */
        assert_int_equal(cas_blob_stat(f->cas[1], &chain.v[0].desc.digest, &(uint64_t){0}, NULL),
                         0);
        /* by its result key, the top alone */
        h = rcache_find(rc, &keys[1], NULL, why);
        assert_non_null(h);
        assert_int_equal(rcache_bring(rc, h, true, NULL, NULL, &top, why, NULL), 1);
        assert_int_equal(top.layers.n, 1);
        assert_true(digest_eq(&top.layers.v[0].diff_id, &chain.v[1].diff_id));
        assert_string_equal(sb_text(&notes), "");
        rcache_free(rc);

        /* over another base, or none, it is no hit */
        rc = open_cache(&f->c[1], &specs, &notes);
        assert_null(rcache_find(rc, &keys[0], &other, why));
        assert_non_null(strstr(sb_text(&notes), "passed over"));
        rcache_free(rc);
        rc_specs_free(&specs);
}

/* ---- a registry, request by request ---- */

struct world {
        struct fix *f;
        struct mock *mock;
        struct rc_specs specs;
        struct sb notes, record, manifest;
        struct bd_layers chain;
        struct digest keys[2];
        char get[2][300], blob[200], type[200];
        char *bytes;
        size_t nbytes;
};

static void world_up(struct fix *f, struct world *x)
{
        AUTO_SB struct sb blob = SB_INIT(1u << 20);
        AUTO(rc_entry_done) struct rc_entry e = {.created_sec = 1};
        AUTO(img_desc_done) struct img_desc d = {.media_type = NULL};
        struct reg_opts o = {.retries = 1, .cancel = &f->cancel};
        char ref[100], tag[130], text[DIGEST_STR_MAX];

        *x = (struct world){.f = f, .mock = mock_start()};
        x->notes = SB_INIT(65536);
        x->record = SB_INIT(RC_RECORD_MAX);
        x->manifest = SB_INIT(IMG_MANIFEST_MAX);
        OK(reg_client_new(&o, &f->reg, err));
        f->reg->timing.backoff = f->reg->timing.resume = 1;
        (void)snprintf(ref, sizeof(ref), "%s/a/b", mock_host(x->mock));
        OK(parse_one(NULL, NULL, ref, &x->specs, err));
        make_chain(&f->c[0], &x->chain);
        OK(bd_layers_append(&e.layers, &x->chain));
        img_desc_done(&e.layers.v[0].desc);
        memset(&e.layers.v[0].desc, 0, sizeof(e.layers.v[0].desc));
        some_digest("k0", &x->keys[0]);
        some_digest("k1", &x->keys[1]);
        memcpy(e.keys, x->keys, sizeof(e.keys));
        OK(rc_record_encode(&e, &x->record, err));
        OK(rc_manifest_encode(&e, &x->record, &x->manifest, &d, err));
        for (int i = 0; i < 2; i++) {
                rc_tag("bld", &x->keys[i], tag);
                (void)snprintf(x->get[i], sizeof(x->get[i]), "GET /v2/a/b/manifests/%s", tag);
        }
        digest_format(&x->chain.v[1].desc.digest, text);
        (void)snprintf(x->blob, sizeof(x->blob), "GET /v2/a/b/blobs/%s", text);
        OK(cas_blob_read(f->cas[0], &x->chain.v[1].desc.digest, 1u << 20, &blob, err));
        x->nbytes = blob.len;
        x->bytes = sb_take(&blob);
        (void)snprintf(x->type, sizeof(x->type), "Content-Type: " MT_OCI_MANIFEST "\r\n");
}

static void world_down(struct world *x)
{
        AUTO_FREE char *wrong = NULL;

        reg_client_free(x->f->reg);
        x->f->reg = NULL;
        wrong = mock_stop(x->mock);
        if (wrong)
                fail_msg("%s", wrong);
        rc_specs_free(&x->specs);
        bd_layers_free(&x->chain);
        sb_done(&x->notes);
        sb_done(&x->record);
        sb_done(&x->manifest);
        free(x->bytes);
}

/* A miss is one request, a hit one and one per layer; what was said once is not asked twice. */
static void requests(void **state)
{
        struct world x;
        AUTO(result_done) struct vx_result got = {0};
        struct bd_layers base;
        char why[RC_WHY_MAX];
        struct rc_hit *h;
        struct rcache *rc;

        world_up(*state, &x);
        const struct mock_step steps[] = {
                {x.get[1], .status = 404, .body = "{}"},
                {x.get[0], .status = 200, .headers = x.type, .body = sb_text(&x.manifest),
                 .body_len = x.manifest.len},
                {x.blob, .status = 200, .body = x.bytes, .body_len = x.nbytes},
                {0},
        };

        base = (struct bd_layers){.v = x.chain.v, .n = 1, .cap = 1};
        mock_script(x.mock, steps);
        rc = open_cache(&x.f->c[1], &x.specs, &x.notes);
        assert_null(rcache_find(rc, &x.keys[1], NULL, why));
        assert_null(rcache_find(rc, &x.keys[1], NULL, why));
        h = rcache_find(rc, &x.keys[0], &base, why);
        assert_non_null(h);
        assert_int_equal(rcache_bring(rc, h, false, NULL, NULL, &got, why, NULL), 1);
        assert_int_equal(mock_requests(x.mock), 3);
        assert_string_equal(sb_text(&x.notes), "");
        rcache_free(rc);
        world_down(&x);
}

/* What a registry may answer instead of a good entry, and what is said of it. */
static void answers(void **state)
{
        static const struct {
                const char *name, *type, *body, *says;
                int status;
                bool again; /* another key is still asked for */
        } rows[] = {
                {"an index", MT_OCI_INDEX,
                 "{\"schemaVersion\":2,\"mediaType\":\"" MT_OCI_INDEX "\",\"manifests\":[]}",
                 "is of type", 200, true},
                {"an image", MT_OCI_MANIFEST,
                 "{\"schemaVersion\":2,\"mediaType\":\"" MT_OCI_MANIFEST
                 "\",\"config\":{\"mediaType\":\"" MT_OCI_CONFIG "\",\"digest\":\"" SHA
                 "\",\"size\":2},\"layers\":[]}",
                 "no result of bld", 200, true},
                {"a huge record", MT_OCI_MANIFEST,
                 "{\"schemaVersion\":2,\"mediaType\":\"" MT_OCI_MANIFEST
                 "\",\"config\":{\"mediaType\":\"" RC_MT_RECORD "\",\"digest\":\"" SHA
                 "\",\"size\":99999999},\"layers\":[]}",
                 "larger than", 200, true},
                {"both kinds at once", MT_OCI_MANIFEST,
                 "{\"schemaVersion\":2,\"mediaType\":\"" MT_OCI_MANIFEST
                 "\",\"config\":{\"mediaType\":\"" RC_MT_RECORD "\",\"digest\":\"" SHA
                 "\",\"size\":2},\"layers\":[],\"manifests\":[]}",
                 "passed over", 200, true},
                {"forbidden", "application/json", "{}", "cache is not used", 403, false},
        };

        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct world x;
                char type[200], why[RC_WHY_MAX];
                struct rcache *rc;

                world_up(*state, &x);
                (void)snprintf(type, sizeof(type), "Content-Type: %s\r\n", rows[i].type);
                const struct mock_step steps[] = {
                        {x.get[0], .status = rows[i].status, .headers = type, .body = rows[i].body},
                        {x.get[1], .status = 404, .body = "{}", .optional = !rows[i].again},
                        {0},
                };

                mock_script(x.mock, steps);
                rc = open_cache(&x.f->c[1], &x.specs, &x.notes);
                assert_null(rcache_find(rc, &x.keys[0], NULL, why));
                assert_null(rcache_find(rc, &x.keys[1], NULL, why));
                assert_int_equal(mock_requests(x.mock), rows[i].again ? 2 : 1);
                if (!strstr(sb_text(&x.notes), rows[i].says))
                        fail_msg("%s: \"%s\"", rows[i].name, sb_text(&x.notes));
                rcache_free(rc);
                world_down(&x);
        }
}

/* The entry is good, its blob is not: nothing of it stays, and it is a miss with a reason. */
static void bad_blobs(void **state)
{
        for (int gone = 0; gone < 2; gone++) {
                struct world x;
                AUTO(result_done) struct vx_result got = {0};
                char why[RC_WHY_MAX], *other;
                struct rc_hit *h;
                struct rcache *rc;

                world_up(*state, &x);
                other = mem_dup(x.bytes, x.nbytes);
                other[x.nbytes / 2] ^= 1;
                const struct mock_step steps[] = {
                        {x.get[0], .status = 200, .headers = x.type, .body = sb_text(&x.manifest),
                         .body_len = x.manifest.len},
                        {x.blob, .status = gone ? 404 : 200, .body = gone ? "{}" : other,
                         .body_len = gone ? 2 : x.nbytes, .times = gone ? 1 : 2},
                        {0},
                };

                mock_script(x.mock, steps);
                rc = open_cache(&x.f->c[1], &x.specs, &x.notes);
                h = rcache_find(rc, &x.keys[0], NULL, why);
                assert_non_null(h);
                assert_int_equal(rcache_bring(rc, h, true, NULL, NULL, &got, why, NULL), 0);
                assert_non_null(strstr(why, gone ? "blob missing" : "damaged"));
                assert_non_null(strstr(sb_text(&x.notes), "passed over"));
                assert_int_equal(
                        cas_blob_stat(x.f->cas[1], &x.chain.v[1].desc.digest, &(uint64_t){0}, NULL),
                        0);
                /* and it is not asked for again */
                assert_null(rcache_find(rc, &x.keys[0], NULL, why));
                rcache_free(rc);
                free(other);
                world_down(&x);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(specs),
                cmocka_unit_test(bad_specs),
                cmocka_unit_test(round_trip),
                cmocka_unit_test(disbelief),
                cmocka_unit_test(bad_records),
                cmocka_unit_test(inline_documents),
                cmocka_unit_test_setup_teardown(through_a_folder, fix_up, fix_down),
                cmocka_unit_test_setup_teardown(requests, fix_up, fix_down),
                cmocka_unit_test_setup_teardown(answers, fix_up, fix_down),
                cmocka_unit_test_setup_teardown(bad_blobs, fix_up, fix_down),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
