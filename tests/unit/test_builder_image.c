/* Names, documents, assembling, output specifications. */
#include "tests/unit/builder_fixture.h"

#include "base/map.h"
#include "builder/image/move_priv.h"

/* ---- bd_image_find ---- */

static char *hex_of(const struct digest *d)
{
        char *s = calloc(1, DIGEST_HEX_MAX);

        assert_non_null(s);
        digest_hex(d, s);
        return s;
}

static void find_names(void **state)
{
        struct fix *f = *state;
        struct bd_ctx *c = &f->c[0];
        struct img_desc app, web;
        struct bd_image im;

        make_image(c, "docker.io/library/app:v1", "amd64", "a", &app);
        make_image(c, "localhost:5000/web:latest", "amd64", "b", &web);
        OK(bd_image_load(c, &app, NULL, &im, err));

        AUTO_FREE char *hex = hex_of(&app.digest), *conf = hex_of(&im.manifest.config.digest);
        AUTO_FREE char *webhex = hex_of(&web.digest);
        char full[100], cfull[100], pre[20], cpre[20], pinned[200], shaped[30];
        (void)snprintf(full, sizeof(full), "sha256:%s", hex);
        (void)snprintf(cfull, sizeof(cfull), "sha256:%s", conf);
        (void)snprintf(pre, sizeof(pre), "%.12s", hex);
        (void)snprintf(cpre, sizeof(cpre), "%.6s", conf);
        (void)snprintf(shaped, sizeof(shaped), "sha256:%.12s", hex);
        (void)snprintf(pinned, sizeof(pinned), "app:v1@sha256:%s", hex);

        const struct {
                const char *name;
                const struct img_desc *want; /* NULL: not found */
                const char *refname;
                int code;
        } rows[] = {
                {"app:v1", &app, "docker.io/library/app:v1", 0},
                {"docker.io/library/app:v1", &app, "docker.io/library/app:v1", 0},
                {"store:app:v1", &app, "docker.io/library/app:v1", 0},
                {"localhost:5000/web", &web, "localhost:5000/web:latest", 0},
                {hex, &app, "docker.io/library/app:v1", 0},
                {full, &app, "docker.io/library/app:v1", 0},
                {cfull, &app, "docker.io/library/app:v1", 0},
                {conf, &app, "docker.io/library/app:v1", 0},
                {pre, &app, "docker.io/library/app:v1", 0},
                {cpre, &app, "docker.io/library/app:v1", 0},
                {shaped, &app, "docker.io/library/app:v1", 0},
                {pinned, &app, "docker.io/library/app:v1", 0},
                {webhex, &web, "localhost:5000/web:latest", 0},
                {"app:v2", NULL, NULL, BLD_E_NOT_FOUND},
                {"abcde", NULL, NULL, BLD_E_NOT_FOUND},
                {"ffffffffffffffff", NULL, NULL, BLD_E_NOT_FOUND},
                {"a b", NULL, NULL, BLD_E_INVALID},
                {"", NULL, NULL, BLD_E_INVALID},
        };

        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct img_desc got = {.media_type = NULL};
                char *refname = NULL;
                struct bld_err e = BLD_ERR_INIT;
                int r = bd_image_find(c, rows[i].name, &got, &refname, &e);

                print_message("%s\n", rows[i].name);
                assert_int_equal(r, rows[i].code);
                if (r == 0) {
                        assert_true(digest_eq(&got.digest, &rows[i].want->digest));
                        assert_string_equal(refname, rows[i].refname);
                }
                img_desc_done(&got);
                free(refname);
        }
        img_desc_done(&app);
        img_desc_done(&web);
        bd_image_done(&im);
}

static void find_suggests(void **state)
{
        struct fix *f = *state;
        struct img_desc app, got;
        struct bld_err e = BLD_ERR_INIT;

        make_image(&f->c[0], "docker.io/library/app:v1", "amd64", "a", &app);
        assert_int_equal(bd_image_find(&f->c[0], "ap:v1", &got, NULL, &e), BLD_E_NOT_FOUND);
        assert_non_null(strstr(e.msg, "image docker.io/library/ap:v1 is not in the store"));
        assert_non_null(strstr(e.msg, "\ntry: did you mean docker.io/library/app:v1?"));
        img_desc_done(&app);
}

/* The i-th of many manifests that differ in nothing else. */
static void numbered(unsigned i, struct sb *text, struct digest *d)
{
        char mt[] = MT_OCI_MANIFEST, cmt[] = MT_OCI_CONFIG, n[16];
        struct img_manifest m = {.media_type = mt, .config = {.media_type = cmt, .size = 2}};

        digest_of("{}", 2, &m.config.digest);
        (void)snprintf(n, sizeof(n), "%u", i);
        OK(img_kvs_set(&m.annotations, "n", n));
        sb_reset(text);
        OK(img_manifest_encode(&m, text, err));
        digest_of(sb_text(text), text->len, d);
        img_kvs_free(&m.annotations);
}

/* Among some thousand documents two begin with the same six digits. */
static void find_ambiguous(void **state)
{
        struct fix *f = *state;
        AUTO_SB struct sb text = SB_INIT(4096);
        struct map seen;
        char hex[DIGEST_HEX_MAX];
        struct img_desc got;
        struct digest d;
        struct bld_err e = BLD_ERR_INIT;
        uintptr_t other = 0;
        unsigned i = 0;

        map_init(&seen, NULL);
        while (!other) {
                numbered(++i, &text, &d);
                digest_hex(&d, hex);
                other = (uintptr_t)map_getn(&seen, hex, 6);
                OK(map_setn(&seen, hex, 6, (void *)(uintptr_t)i));
        }
        map_done(&seen);
        OK(cas_blob_put(f->cas[0], "{}", 2, &d, err)); /* what they name as config */
        for (int k = 0; k < 2; k++) {
                char mt[] = MT_OCI_MANIFEST, name[40];
                struct img_desc desc = {.media_type = mt};

                numbered(k ? (unsigned)other : i, &text, &desc.digest);
                desc.size = text.len;
                OK(cas_blob_put(f->cas[0], sb_text(&text), text.len, &d, err));
                (void)snprintf(name, sizeof(name), "docker.io/library/app:v%d", k);
                OK(cas_ref_set(f->cas[0], name, &desc, err));
        }
        assert_int_equal(bd_image_find(&f->c[0], hex, &got, NULL, &e), 0); /* in full it is one */
        img_desc_done(&got);
        hex[6] = '\0';
        assert_int_equal(bd_image_find(&f->c[0], hex, &got, NULL, &e), BLD_E_INVALID);
        assert_non_null(strstr(e.msg, "is the beginning of 2 image ids"));
}

/* One document that two names reach by different ways is one image, not two. */
static void find_shared(void **state)
{
        struct fix *f = *state;
        struct bd_ctx *c = &f->c[0];
        struct bld_err e = BLD_ERR_INIT;
        struct img_desc got;

        const char *archs[] = {"amd64", "arm64"};
        struct img_desc ix, one;
        make_index(c, "docker.io/library/multi:v1", archs, 2, &ix);
        make_image(c, "docker.io/library/single:v1", "amd64", "amd64", &one);
        AUTO_FREE char *hex = hex_of(&one.digest);
        hex[12] = '\0';
        assert_int_equal(bd_image_find(c, hex, &got, NULL, &e), 0);
        assert_true(digest_eq(&got.digest, &one.digest));
        img_desc_done(&got);
        img_desc_done(&ix);
        img_desc_done(&one);
}

/* ---- load and closure ---- */

static void load_platforms(void **state)
{
        struct fix *f = *state;
        struct bd_ctx *c = &f->c[0];
        const char *archs[] = {"amd64", "arm64"};
        struct img_platform want;
        struct img_desc ix;
        struct bd_image im;
        struct bld_err e = BLD_ERR_INIT;

        make_index(c, NULL, archs, 2, &ix);
        OK(img_platform_parse("linux/arm64", &want, err));
        OK(bd_image_load(c, &ix, &want, &im, err));
        assert_string_equal(im.config.platform.arch, "arm64");
        assert_null(im.source.domain);
        bd_image_done(&im);
        OK(img_platform_parse("linux/s390x", &want, err));
        assert_int_equal(bd_image_load(c, &ix, &want, &im, &e), BLD_E_NOT_FOUND);
        assert_non_null(strstr(e.msg, "linux/amd64"));
        img_desc_done(&ix);
}

static void closure_order(void **state)
{
        struct fix *f = *state;
        struct bd_ctx *c = &f->c[0];
        const char *archs[] = {"amd64", "arm64"};
        struct bd_closure x = {.docs = {.v = NULL}};
        struct bld_err e = BLD_ERR_INIT;
        struct img_desc ix;

        make_index(c, NULL, archs, 2, &ix);
        OK(bd_closure_make(c, &ix, 0, &x, err));
        assert_int_equal(x.docs.n, 3);
        assert_true(digest_eq(&x.docs.v[2].digest, &ix.digest));
        assert_int_equal(x.blobs.n, 3); /* two configs, one layer they share */
        bd_closure_done(&x);

        memset(&x, 0, sizeof(x));
        OK(bd_closure_make(c, &ix, 0, &x, err));
        OK(cas_blob_delete(c->cas, &x.docs.v[0].digest, err));
        bd_closure_done(&x);
        assert_int_equal(bd_closure_make(c, &ix, 0, &x, &e), BLD_E_NOT_FOUND);
        assert_non_null(strstr(e.msg, "try: pull the image with --all-platforms"));
        OK(bd_closure_make(c, &ix, BD_CLOSURE_SPARSE, &x, err));
        assert_int_equal(x.docs.n, 2);
        bd_closure_done(&x);
        img_desc_done(&ix);
}

static void sources(void **state)
{
        struct fix *f = *state;
        struct bd_ctx *c = &f->c[0];
        struct img_ref a, got;
        struct digest d;

        digest_of("x", 1, &d);
        OK(img_ref_parse("localhost:5000/team/base:v3", &a, err));
        assert_int_equal(bd_source_find(c, &d, &got, NULL), 0);
        OK(bd_source_note(c, &d, &a, err));
        assert_int_equal(bd_source_find(c, &d, &got, NULL), 1);
        assert_string_equal(got.domain, "localhost:5000");
        assert_string_equal(got.path, "team/base");
        img_ref_done(&got);
        img_ref_done(&a);
}

/* A layer that is nowhere is one clear error, and no registry is asked. */
static void missing_blob(void **state)
{
        struct fix *f = *state;
        struct bld_err e = BLD_ERR_INIT;
        char mt[] = MT_OCI_LAYER_GZIP;
        struct img_desc d = {.media_type = mt, .size = 5};

        digest_of("12345", 5, &d.digest);
        assert_int_equal(bd_fetch_blob(&f->c[0], NULL, &d, NULL, NULL, &e), BLD_E_NOT_FOUND);
        assert_non_null(strstr(e.msg, "\nwhy: no registry is known"));
        OK(cas_blob_put(f->cas[0], "12345", 5, &d.digest, err));
        OK(bd_fetch_blob(&f->c[0], NULL, &d, NULL, NULL, err));
}

/* ---- assembling ---- */

static void assemble_deterministic(void **state)
{
        struct fix *f = *state;
        struct img_desc a, b;

        make_image(&f->c[0], NULL, "amd64", "x", &a);
        make_image(&f->c[1], NULL, "amd64", "x", &b);
        assert_true(digest_eq(&a.digest, &b.digest));
        assert_true(a.has_platform);
        assert_string_equal(a.media_type, MT_OCI_MANIFEST);
        img_desc_done(&a);
        img_desc_done(&b);
}

static void assemble_history(void **state)
{
        static const struct {
                const char *name;
                const char *before; /* one letter per entry: L layer, e empty */
                size_t layers;
                const char *after;
        } rows[] = {
                {"as it should be", "LeL", 2, "LeL"}, {"none", "", 2, "LL"},
                {"too few", "eL", 2, "eLL"},          {"too many", "LLeL", 2, "LLee"},
                {"no layers", "L", 0, "e"},
        };
        struct fix *f = *state;
        struct bd_ctx *c = &f->c[0];

        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                AUTO(bd_layers_free) struct bd_layers layers = {.v = NULL};
                struct img_config cfg;
                struct img_desc d;
                struct bd_image im;

                print_message("%s\n", rows[i].name);
                base_config(&cfg, "amd64", "h");
                for (const char *p = rows[i].before; *p; p++) {
                        struct img_history h = {.empty_layer = *p == 'e'};

                        OK(img_config_add_history(&cfg, &h));
                }
                for (size_t k = 0; k < rows[i].layers; k++)
                        add_layer(c, fix_files, k + 1, LY_CODEC_NONE, &layers);
                OK(bd_assemble(c, &cfg, &layers, BD_FORMAT_OCI, NULL, &d, NULL, err));
                OK(bd_image_load(c, &d, NULL, &im, err));
                assert_int_equal(im.config.history.n, strlen(rows[i].after));
                for (size_t k = 0; k < im.config.history.n; k++)
                        assert_int_equal(im.config.history.v[k].empty_layer,
                                         rows[i].after[k] == 'e');
                bd_image_done(&im);
                img_desc_done(&d);
                img_config_done(&cfg);
        }
}

static void assemble_docker(void **state)
{
        struct fix *f = *state;
        struct bd_ctx *c = &f->c[0];
        AUTO(bd_layers_free) struct bd_layers layers = {.v = NULL};
        struct bld_err e = BLD_ERR_INIT;
        struct img_config cfg;
        struct img_desc d;
        struct bd_image im;

        base_config(&cfg, "amd64", "d");
        add_layer(c, fix_files, 2, LY_CODEC_GZIP, &layers);
        OK(bd_assemble(c, &cfg, &layers, BD_FORMAT_DOCKER, NULL, &d, NULL, err));
        OK(bd_image_load(c, &d, NULL, &im, err));
        assert_string_equal(im.desc.media_type, MT_DOCKER_MANIFEST);
        assert_string_equal(im.manifest.config.media_type, MT_DOCKER_CONFIG);
        assert_string_equal(im.manifest.layers.v[0].media_type, MT_DOCKER_LAYER_GZIP);
        bd_image_done(&im);
        img_desc_done(&d);

        add_layer(c, fix_files, 2, LY_CODEC_ZSTD, &layers);
        assert_int_equal(bd_assemble(c, &cfg, &layers, BD_FORMAT_DOCKER, NULL, &d, NULL, &e),
                         BLD_E_INVALID);
        assert_non_null(strstr(e.msg, "try: --format oci"));
        img_config_done(&cfg);
}

/* ---- recompressing ---- */

static void recompress(void **state)
{
        struct fix *f = *state;
        struct bd_ctx *c = &f->c[0];
        struct bd_recompress_opts o = {.codec = "none"};
        struct img_desc d, plain, again, back;
        struct bd_image im;
        struct bld_err e = BLD_ERR_INIT;

        make_image(c, NULL, host_arch(), "r", &d);
        OK(bd_recompress(c, &d, &o, &plain, err));
        OK(bd_image_load(c, &plain, NULL, &im, err));
        assert_string_equal(im.manifest.layers.v[0].media_type, MT_OCI_LAYER);
        /* the blob is the tar itself */
        assert_true(digest_eq(&im.manifest.layers.v[0].digest, &im.config.diff_ids[0]));
        bd_image_done(&im);
        OK(bd_recompress(c, &plain, &o, &again, err)); /* nothing to do */
        assert_true(digest_eq(&plain.digest, &again.digest));
        o.codec = "gzip";
        OK(bd_recompress(c, &plain, &o, &back, err)); /* the same engine made the first one */
        assert_true(digest_eq(&back.digest, &d.digest));
        o.codec = "lzma";
        assert_int_equal(bd_recompress(c, &plain, &o, &back, &e), BLD_E_USAGE);
        img_desc_done(&d);
        img_desc_done(&plain);
        img_desc_done(&again);
        img_desc_done(&back);
}

/* ---- -o ---- */

static void output_good(void **state)
{
        static const struct {
                const char *spec;
                enum bd_output_type type;
                const char *dest, *name;
                bool push, as_dir;
        } rows[] = {
                {"out", BD_OUT_LOCAL, "out", NULL, false, false},
                {"-", BD_OUT_TAR, "-", NULL, false, false},
                {"type=local,dest=o", BD_OUT_LOCAL, "o", NULL, false, false},
                {"type=oci,dest=x.tar", BD_OUT_OCI, "x.tar", NULL, false, false},
                {"TYPE=OCI,Dest=x,tar=false", BD_OUT_OCI, "x", NULL, false, true},
                {"type=oci", BD_OUT_OCI, "-", NULL, false, false},
                {"type=docker,dest=-", BD_OUT_DOCKER, "-", NULL, false, false},
                {"type=tar", BD_OUT_TAR, "-", NULL, false, false},
                {"type=image,\"name=a:1,b:2\",push=true", BD_OUT_STORE, NULL, "a:1,b:2", true,
                 false},
                {"type=registry,name=h:5/a", BD_OUT_REGISTRY, NULL, "h:5/a", true, false},
                {"type=store", BD_OUT_STORE, NULL, NULL, false, false},
                {"type=cacheonly", BD_OUT_CACHEONLY, NULL, NULL, false, false},
                {"type=image,name=a,unpack=true,store=true,oci-artifact=false", BD_OUT_STORE, NULL,
                 "a", false, false},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct bd_output o;

                print_message("%s\n", rows[i].spec);
                OK(bd_output_parse(rows[i].spec, &o, err));
                assert_int_equal(o.type, rows[i].type);
                assert_true(str_eq(o.dest, rows[i].dest));
                assert_true(str_eq(o.name, rows[i].name));
                assert_int_equal(o.push, rows[i].push);
                assert_int_equal(o.as_dir, rows[i].as_dir);
                bd_output_done(&o);
        }
}

static void output_details(void **state)
{
        struct bd_output o;

        (void)state;
        OK(bd_output_parse("type=image,name=a,compression=zstd,compression-level=7,"
                           "oci-mediatypes=false,rewrite-timestamp=1,annotation.Org.X=v=w,"
                           "annotation-manifest.y=z",
                           &o, err));
        assert_string_equal(o.compression, "zstd");
        assert_int_equal(o.compression_level, 7);
        assert_true(o.docker_types);
        assert_false(o.keep_times);
        assert_int_equal(o.annotations.n, 2);
        assert_string_equal(o.annotations.v[0].key, "Org.X");
        assert_string_equal(o.annotations.v[0].value, "v=w");
        assert_string_equal(o.annotations.v[1].key, "y");
        bd_output_done(&o);
        OK(bd_output_parse("type=registry,name=a,push-by-digest=true,name-canonical=true,"
                           "store=false,rewrite-timestamp=false,source-date-epoch=7,"
                           "registry.insecure=false,Dangling-Name-Prefix=x",
                           &o, err));
        assert_true(o.push_by_digest && o.no_store && o.keep_times);
        assert_string_equal(o.epoch, "7");
        bd_output_done(&o);
        OK(bd_output_parse("type=local,dest=d,mode=delete,platform-split=false", &o, err));
        assert_true(o.remove_others && o.split_given && !o.split);
        bd_output_done(&o);
}

static void output_bad(void **state)
{
        static const struct {
                const char *spec, *says;
        } rows[] = {
                {"", "empty"},
                {"dest=x", "no type="},
                {"type=ocii,dest=x", "try: type=oci"},
                {"type=zip", "try: store, registry"},
                {"type=oci,dset=x", "dest=x"},
                {"type=oci,dest", "key=value"},
                {"type=local", "needs dest="},
                {"type=local,dest=-", "type=tar,dest=-"},
                {"type=oci,tar=false", "needs dest="},
                {"type=oci,tar=maybe", "neither true nor false"},
                {"type=tar,tar=false,dest=x", "type=oci"},
                {"type=image,compression=lzma", "none of gzip"},
                {"type=image,compression-level=99", "not a level"},
                {"type=image,oci-artifact=true", "not supported"},
                {"type=image,annotation-indx.a=b", "try: index"},
                {"type=image,annotation-index[linux/amd64].a=b", "no one platform"},
                {"type=image,annotation.=b", "annotation[-LEVEL].KEY"},
                {"type=image,annotations.a=b", "unknown key"},
                {"type=image,push-by-digest=true", "needs type=registry"},
                {"type=image,store=false", "without push=true"},
                {"type=image,registry.insecure=true", "--tls-verify=false"},
                {"type=image,compression=estargz", "try: compression=zstd"},
                {"type=image,platform-split=true", "type=local"},
                {"type=tar,dest=x,mode=delete", "type=local"},
                {"type=local,dest=x,mode=move", "neither copy nor delete"},
                {"type=docker,context=x", "docker --context"},
                {"type=image,dest=x", "takes no dest="},
                {"type=tar,push=true,dest=x", "push=true"},
                {"type=oci,\"dest=x", "CSV"},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct bd_output o;
                struct bld_err e = BLD_ERR_INIT;

                print_message("%s\n", rows[i].spec);
                assert_int_equal(bd_output_parse(rows[i].spec, &o, &e), BLD_E_USAGE);
                if (!strstr(e.msg, rows[i].says))
                        fail_msg("%s", e.msg);
        }
}

/* ---- annotations ---- */

static void notes_flags(void **state)
{
        static const struct {
                const char *text, *manifest, *other, *index, *desc; /* "k" of amd64, arm64, ... */
        } rows[] = {
                {"k=v", "v", "v", NULL, NULL},
                {"manifest:k=v", "v", "v", NULL, NULL},
                {"index:k=v", NULL, NULL, "v", NULL},
                {"manifest,index:k=v", "v", "v", "v", NULL},
                {"manifest[linux/amd64]:k=v", "v", NULL, NULL, NULL},
                {"manifest-descriptor[linux/arm64],index:k=v", NULL, NULL, "v", NULL},
                {"manifest-descriptor:k=a=b:c", NULL, NULL, NULL, "a=b:c"},
        };
        struct img_platform amd, arm;

        (void)state;
        OK(img_platform_parse("linux/amd64", &amd, err));
        OK(img_platform_parse("linux/arm64/v8", &arm, err));
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct bd_notes n = {0};
                struct img_kvs kv[4] = {{0}, {0}, {0}, {0}};

                print_message("%s\n", rows[i].text);
                OK(bd_notes_flag(rows[i].text, &n, err));
                OK(bd_notes_get(&n, BD_NOTE_MANIFEST, &amd, &kv[0], err));
                OK(bd_notes_get(&n, BD_NOTE_MANIFEST, &arm, &kv[1], err));
                OK(bd_notes_get(&n, BD_NOTE_INDEX, NULL, &kv[2], err));
                OK(bd_notes_get(&n, BD_NOTE_MANIFEST_DESC, &amd, &kv[3], err));
                assert_true(str_eq(img_kvs_get(&kv[0], "k"), rows[i].manifest));
                assert_true(str_eq(img_kvs_get(&kv[1], "k"), rows[i].other));
                assert_true(str_eq(img_kvs_get(&kv[2], "k"), rows[i].index));
                assert_true(str_eq(img_kvs_get(&kv[3], "k"), rows[i].desc));
                for (size_t k = 0; k < 4; k++)
                        img_kvs_free(&kv[k]);
                bd_notes_free(&n);
        }
}

/* A platform's own value counts more, whichever was said first. */
static void notes_order(void **state)
{
        struct bd_notes n = {0};
        struct img_kvs kv = {0};
        struct img_platform amd;

        (void)state;
        OK(img_platform_parse("linux/amd64", &amd, err));
        OK(bd_notes_flag("manifest[linux/amd64]:k=own", &n, err));
        OK(bd_notes_flag("k=all", &n, err));
        OK(bd_notes_get(&n, BD_NOTE_MANIFEST, &amd, &kv, err));
        assert_string_equal(img_kvs_get(&kv, "k"), "own");
        img_kvs_free(&kv);
        bd_notes_free(&n);
}

static void notes_bad(void **state)
{
        static const struct {
                const char *text, *says;
        } rows[] = {
                {"k", "KEY=VALUE"},
                {"=v", "KEY=VALUE"},
                {"manifest:=v", "KEY="},
                {"manifst:k=v", "try: manifest"},
                {"index[linux/amd64]:k=v", "no one platform"},
                {"manifest[linux/amd64:k=v", "[OS/ARCH]"},
                {"manifest[]:k=v", "[OS/ARCH]"},
                {"manifest[a b]:k=v", "annotation"},
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct bd_notes n = {0};
                struct bld_err e = BLD_ERR_INIT;

                print_message("%s\n", rows[i].text);
                assert_int_equal(bd_notes_flag(rows[i].text, &n, &e), BLD_E_USAGE);
                if (!strstr(e.msg, rows[i].says))
                        fail_msg("%s", e.msg);
                bd_notes_free(&n);
        }
}

/* ---- many at once ---- */

struct par_seen {
        atomic_size_t calls;
        size_t fail_at;
};

static int par_fn(void *user, size_t i, const atomic_bool *stop, struct bld_err *err)
{
        struct par_seen *s = user;

        (void)stop;
        atomic_fetch_add(&s->calls, 1);
        return i == s->fail_at ? err_set(err, BLD_E_LIMIT, "item %zu", i) : 0;
}

static void par_runs(void **state)
{
        struct par_seen s = {.fail_at = SIZE_MAX};
        struct bld_err e = BLD_ERR_INIT;

        (void)state;
        OK(bd_par_run(100, 8, par_fn, &s, err));
        assert_int_equal(s.calls, 100);
        OK(bd_par_run(0, 8, par_fn, &s, err));
        s.fail_at = 3;
        s.calls = 0;
        assert_int_equal(bd_par_run(100000, 4, par_fn, &s, &e), BLD_E_LIMIT);
        assert_string_equal(e.msg, "item 3");
        assert_true(s.calls < 100000);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(find_names, fix_up, fix_down),
                cmocka_unit_test_setup_teardown(find_suggests, fix_up, fix_down),
                cmocka_unit_test_setup_teardown(find_ambiguous, fix_up, fix_down),
                cmocka_unit_test_setup_teardown(find_shared, fix_up, fix_down),
                cmocka_unit_test_setup_teardown(load_platforms, fix_up, fix_down),
                cmocka_unit_test_setup_teardown(closure_order, fix_up, fix_down),
                cmocka_unit_test_setup_teardown(sources, fix_up, fix_down),
                cmocka_unit_test_setup_teardown(missing_blob, fix_up, fix_down),
                cmocka_unit_test_setup_teardown(assemble_deterministic, fix_up, fix_down),
                cmocka_unit_test_setup_teardown(assemble_history, fix_up, fix_down),
                cmocka_unit_test_setup_teardown(assemble_docker, fix_up, fix_down),
                cmocka_unit_test_setup_teardown(recompress, fix_up, fix_down),
                cmocka_unit_test(output_good),
                cmocka_unit_test(output_details),
                cmocka_unit_test(output_bad),
                cmocka_unit_test(notes_flags),
                cmocka_unit_test(notes_order),
                cmocka_unit_test(notes_bad),
                cmocka_unit_test(par_runs),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
