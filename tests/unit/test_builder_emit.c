/* Exports and imports: archives, layouts, trees. */
#include "tests/unit/builder_fixture.h"

#include <dirent.h>
#include <errno.h>

#include "base/proc.h"

/* ---- helpers ---- */

static void put_file(const char *path, const void *p, size_t n)
{
        OK(file_write(AT_FDCWD, path, p, n, 0644, 0, err));
}

static void get_file(const char *path, struct sb *b)
{
        OK(file_read(AT_FDCWD, path, b, err));
}

/* Names in a folder that hold `part`: what a failed export left behind. */
static size_t count_names(const char *dir, const char *part)
{
        DIR *d = opendir(dir);
        struct dirent *e;
        size_t n = 0;

        assert_non_null(d);
        while ((e = readdir(d)))
                n += strstr(e->d_name, part) != NULL;
        closedir(d);
        return n;
}

static void check_loaded(struct fix *f, const char *path, int in_fd, const char *name,
                         const struct digest *want)
{
        AUTO_STRV struct strv names = {.v = NULL};
        AUTO(img_descs_free) struct img_descs descs = {.v = NULL};
        struct bd_image im;

        OK(bd_load(&f->c[1], path, in_fd, &names, &descs, err));
        assert_int_equal(names.n, 1);
        assert_int_equal(descs.n, 1);
        assert_string_equal(names.v[0], name);
        if (want)
                assert_true(digest_eq(&descs.v[0].digest, want));
        OK(bd_image_load(&f->c[1], &descs.v[0], NULL, &im, err));
        for (size_t i = 0; i < im.manifest.layers.n; i++)
                OK(cas_blob_verify(f->cas[1], &im.manifest.layers.v[i].digest, err));
        bd_image_done(&im);
        if (name[0]) {
                struct img_desc got;

                OK(bd_image_find(&f->c[1], name, &got, NULL, err));
                assert_true(digest_eq(&got.digest, &descs.v[0].digest));
                img_desc_done(&got);
        }
}

static struct strv one_name(const char *s)
{
        struct strv v = {.v = NULL};

        OK(strv_add(&v, s));
        return v;
}

/* ---- OCI ---- */

static void oci_archive(void **state)
{
        struct fix *f = *state;
        AUTO_STRV struct strv names = one_name("docker.io/library/app:v1");
        AUTO_SB struct sb a = SB_INIT(1u << 24), b = SB_INIT(1u << 24);
        struct img_desc d;
        struct bd_export x = {.desc = &d, .names = &names, .dest = at(f, "x.tar"), .out_fd = -1};

        make_image(&f->c[0], NULL, host_arch(), "a", &d);
        OK(bd_emit_oci(&f->c[0], &x, err));
        check_loaded(f, at(f, "x.tar"), -1, "docker.io/library/app:v1", &d.digest);
        /* the same bytes every time, and nothing but the file */
        x.dest = at(f, "y.tar");
        OK(bd_emit_oci(&f->c[0], &x, err));
        get_file(at(f, "x.tar"), &a);
        get_file(at(f, "y.tar"), &b);
        assert_int_equal(a.len, b.len);
        assert_memory_equal(a.buf, b.buf, a.len);
        assert_int_equal(count_names(f->dir, ".tmp"), 0);
        img_desc_done(&d);
}

static void untagged_archive(void **state)
{
        struct fix *f = *state;
        struct img_desc d;
        struct bd_export x = {.desc = &d, .dest = at(f, "x.tar"), .out_fd = -1};

        make_image(&f->c[0], NULL, host_arch(), "a", &d);
        OK(bd_emit_oci(&f->c[0], &x, err));
        check_loaded(f, at(f, "x.tar"), -1, "", &d.digest);
        img_desc_done(&d);
}

/* An index goes whole, and comes back whole. */
static void index_archive(void **state)
{
        struct fix *f = *state;
        const char *archs[] = {host_arch(), "s390x"};
        AUTO_STRV struct strv names = one_name("localhost:5000/multi:v1");
        struct img_desc d;
        struct bd_export x = {.desc = &d, .names = &names, .dest = at(f, "x.tar"), .out_fd = -1};
        struct bld_err e = BLD_ERR_INIT;

        make_index(&f->c[0], NULL, archs, 2, &d);
        OK(bd_emit_oci(&f->c[0], &x, err));
        check_loaded(f, at(f, "x.tar"), -1, "localhost:5000/multi:v1", &d.digest);
        x.dest = at(f, "d.tar");
        assert_int_equal(bd_emit_docker(&f->c[0], &x, &e), BLD_E_UNSUPPORTED);
        assert_non_null(strstr(e.msg, "holds one platform, the image has 2"));
        assert_int_not_equal(access(at(f, "d.tar"), F_OK), 0);
        img_desc_done(&d);
}

static void layout_folder(void **state)
{
        struct fix *f = *state;
        AUTO_STRV struct strv a = one_name("docker.io/library/app:v1");
        AUTO_STRV struct strv b = one_name("docker.io/library/web:v1");
        AUTO_SB struct sb text = SB_INIT(1u << 20);
        struct img_index ix;
        struct img_desc d1, d2;
        struct bd_export x = {
                .desc = &d1, .names = &a, .dest = at(f, "out"), .out_fd = -1, .as_dir = true};

        make_image(&f->c[0], NULL, host_arch(), "a", &d1);
        make_image(&f->c[0], NULL, host_arch(), "b", &d2);
        OK(bd_emit_oci(&f->c[0], &x, err));
        check_loaded(f, at(f, "out"), -1, "docker.io/library/app:v1", &d1.digest);
        x.desc = &d2;
        x.names = &b;
        OK(bd_emit_oci(&f->c[0], &x, err)); /* beside the other */
        x.names = &a;
        OK(bd_emit_oci(&f->c[0], &x, err)); /* replaces it */
        get_file(at(f, "out/index.json"), &text);
        OK(img_index_decode(sb_text(&text), text.len, NULL, &ix, err));
        assert_int_equal(ix.manifests.n, 2);
        assert_true(digest_eq(&ix.manifests.v[0].digest, &d2.digest));
        assert_true(digest_eq(&ix.manifests.v[1].digest, &d2.digest));
        assert_int_equal(count_names(at(f, "out/blobs/sha256"), ".tmp"), 0);
        img_index_done(&ix);
        img_desc_done(&d1);
        img_desc_done(&d2);
}

static void layout_refuses(void **state)
{
        struct fix *f = *state;
        struct img_desc d;
        struct bd_export x = {.desc = &d, .dest = at(f, "out"), .out_fd = -1, .as_dir = true};
        struct bld_err e = BLD_ERR_INIT;

        make_image(&f->c[0], NULL, host_arch(), "a", &d);
        OK(path_mkdirs(AT_FDCWD, at(f, "out"), 0755, err));
        put_file(at(f, "out/index.json"), "{}", 2);
        assert_int_equal(bd_emit_oci(&f->c[0], &x, &e), BLD_E_INVALID);
        assert_non_null(strstr(e.msg, "is not an OCI image layout"));
        img_desc_done(&d);
}

/* A write that fails leaves neither the file nor its temporary. */
static void archive_fails(void **state)
{
        struct fix *f = *state;
        struct img_desc d;
        struct bd_image im;
        struct bd_export x = {.desc = &d, .dest = at(f, "x.tar"), .out_fd = -1};
        struct bld_err e = BLD_ERR_INIT;

        make_image(&f->c[0], NULL, host_arch(), "a", &d);
        OK(bd_image_load(&f->c[0], &d, NULL, &im, err));
        cancel_fire(&f->cancel, 1);
        assert_int_equal(bd_emit_oci(&f->c[0], &x, &e), BLD_E_CANCELLED);
        cancel_done(&f->cancel);
        OK(cancel_init(&f->cancel, err));
        err_clear(&e);
        OK(cas_blob_delete(f->cas[0], &im.manifest.layers.v[0].digest, err));
        assert_int_equal(bd_emit_oci(&f->c[0], &x, &e), BLD_E_NOT_FOUND);
        err_clear(&e);
        x.dest = "/dev/full";
        img_desc_done(&d);
        make_image(&f->c[0], NULL, host_arch(), "a", &d);
        assert_int_equal(bd_emit_oci(&f->c[0], &x, &e), BLD_E_SYS);
        assert_int_equal(e.sys, ENOSPC);
        assert_int_equal(count_names(f->dir, "x.tar"), 0);
        bd_image_done(&im);
        img_desc_done(&d);
}

/* ---- docker ---- */

static void docker_archive(void **state)
{
        struct fix *f = *state;
        AUTO_STRV struct strv names = one_name("docker.io/library/app:v1");
        AUTO_SB struct sb listed = SB_INIT(1u << 20);
        struct img_desc d;
        struct bd_export x = {.desc = &d, .names = &names, .dest = at(f, "x.tar"), .out_fd = -1};
        char prog[] = "tar", opt[] = "-xOf", path[400], member[] = "manifest.json";
        char *argv[] = {prog, opt, path, member, NULL};
        AUTO_JS struct js *j = NULL;
        int status;

        make_image(&f->c[0], NULL, host_arch(), "a", &d);
        OK(bd_emit_docker(&f->c[0], &x, err));
        check_loaded(f, at(f, "x.tar"), -1, "docker.io/library/app:v1", &d.digest);
        (void)str_copy(path, sizeof(path), at(f, "x.tar"));
        OK(proc_run("tar", argv, NULL, 0, &listed, NULL, 10000, NULL, &status, err));
        assert_int_equal(status, 0);
        OK(js_parse(sb_text(&listed), listed.len, &j, err));
        assert_string_equal(js_str(js_at(js_get(js_at(j, 0), "RepoTags"), 0)), "app:v1");
        assert_true(str_has_prefix(js_get_str(js_at(j, 0), "Config"), "blobs/sha256/"));
        assert_int_equal(js_len(js_get(js_at(j, 0), "Layers")), 1);
        img_desc_done(&d);
}

/* A docker archive of the old form, as containers/image writes it: layers are plain tars under the
 * diff ID, reached through symbolic links. */
static void legacy(struct fix *f, const char *layer_link, const char *diff_hex, struct sb *out)
{
        AUTO_SB struct sb layer = SB_INIT(1u << 20);
        struct sb conf = SB_INIT(4096), man = SB_INIT(4096);
        char hex[DIGEST_HEX_MAX], name[DIGEST_HEX_MAX + 8];
        struct digest diff;

        (void)f;
        make_tar(fix_files, ARRAY_LEN(fix_files), &layer);
        digest_of(sb_text(&layer), layer.len, &diff);
        digest_hex(&diff, hex);
        sb_fmt(&conf,
               "{\"architecture\":\"%s\",\"os\":\"linux\",\"config\":{},\"rootfs\":{\"type\":"
               "\"layers\",\"diff_ids\":[\"sha256:%s\"]}}",
               host_arch(), diff_hex ? diff_hex : hex);
        sb_fmt(&man, "[{\"Config\":\"c.json\",\"RepoTags\":[\"old:v1\"],\"Layers\":"
                     "[\"0123/layer.tar\"]}]");
        (void)snprintf(name, sizeof(name), "%s.tar", hex);

        /* content may hold NUL: the layer is added by hand */
        struct ly_sink sink = {.write = fix_to_sb, .user = out};
        struct ly_writer *w = NULL;
        char cname[] = "c.json", mname[] = "manifest.json", lname[] = "0123/layer.tar", link[200];
        struct ly_entry e = {.type = LY_FILE, .mode = 0644};

        OK(ly_writer_new(&sink, NULL, &w, err));
        e.path = name;
        e.size = layer.len;
        OK(ly_writer_entry(w, &e, err));
        OK(ly_writer_data(w, sb_text(&layer), layer.len, err));
        e.path = cname;
        e.size = conf.len;
        OK(ly_writer_entry(w, &e, err));
        OK(ly_writer_data(w, sb_text(&conf), conf.len, err));
        e.path = mname;
        e.size = man.len;
        OK(ly_writer_entry(w, &e, err));
        OK(ly_writer_data(w, sb_text(&man), man.len, err));
        if (layer_link)
                (void)str_copy(link, sizeof(link), layer_link);
        else
                (void)snprintf(link, sizeof(link), "../%s", name);
        e = (struct ly_entry){.path = lname, .type = LY_SYMLINK, .mode = 0777, .link = link};
        OK(ly_writer_entry(w, &e, err));
        OK(ly_writer_end(w, err));
        ly_writer_free(w);
        sb_done(&conf);
        sb_done(&man);
}

static void docker_legacy(void **state)
{
        struct fix *f = *state;
        AUTO_SB struct sb tar = SB_INIT(1u << 24);
        struct img_desc d;
        struct bd_image im;

        legacy(f, NULL, NULL, &tar);
        put_file(at(f, "old.tar"), sb_text(&tar), tar.len);
        check_loaded(f, at(f, "old.tar"), -1, "docker.io/library/old:v1", NULL);
        OK(bd_image_find(&f->c[1], "old:v1", &d, NULL, err));
        OK(bd_image_load(&f->c[1], &d, NULL, &im, err));
        assert_string_equal(im.manifest.layers.v[0].media_type, MT_OCI_LAYER_GZIP);
        bd_image_done(&im);
        img_desc_done(&d);
}

static void docker_hostile(void **state)
{
        static const struct {
                const char *name, *link, *diff, *says;
        } rows[] = {
                {"link out of the archive", "../../../../etc/passwd", NULL, "is missing"},
                {"absolute link", "/etc/passwd", NULL, "is missing"},
                {"link to itself", "layer.tar", NULL, "is missing"},
                {"another diff ID", NULL,
                 "0000000000000000000000000000000000000000000000000000000000000000",
                 "is not what its image says"},
        };
        struct fix *f = *state;

        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                AUTO_SB struct sb tar = SB_INIT(1u << 24);
                AUTO_STRV struct strv names = {.v = NULL};
                AUTO(img_descs_free) struct img_descs descs = {.v = NULL};
                AUTO(cas_refs_free) struct cas_refs refs = {.v = NULL};
                struct bld_err e = BLD_ERR_INIT;

                print_message("%s\n", rows[i].name);
                legacy(f, rows[i].link, rows[i].diff, &tar);
                put_file(at(f, "bad.tar"), sb_text(&tar), tar.len);
                assert_int_equal(bd_load(&f->c[1], at(f, "bad.tar"), -1, &names, &descs, &e),
                                 BLD_E_INVALID);
                if (!strstr(e.msg, rows[i].says))
                        fail_msg("%s", e.msg);
                OK(cas_ref_list(f->cas[1], &refs, err));
                assert_int_equal(refs.n, 0);
        }
}

/* Docker 25.0: the layout's manifest has no layers, manifest.json has them. */
static void docker_25(void **state)
{
        static const struct file none[] = {{"f", LY_FILE, "x", 0}};
        struct fix *f = *state;
        AUTO_SB struct sb layer = SB_INIT(1u << 20), conf = SB_INIT(4096), man = SB_INIT(4096);
        AUTO_SB struct sb index = SB_INIT(4096), tar = SB_INIT(1u << 20);
        char hex[DIGEST_HEX_MAX], cpath[16 + DIGEST_HEX_MAX], mpath[16 + DIGEST_HEX_MAX],
                text[DIGEST_STR_MAX];
        char file[32 + DIGEST_HEX_MAX];
        struct digest d;
        struct img_desc got;
        struct bd_image im;

        make_tar(none, 1, &layer);
        digest_of(sb_text(&layer), layer.len, &d);
        digest_format(&d, text);
        sb_fmt(&conf,
               "{\"architecture\":\"%s\",\"os\":\"linux\",\"config\":{},\"rootfs\":{\"type\":"
               "\"layers\",\"diff_ids\":[\"%s\"]}}",
               host_arch(), text);
        digest_of(sb_text(&conf), conf.len, &d);
        digest_hex(&d, hex);
        (void)snprintf(cpath, sizeof(cpath), "blobs/sha256/%s", hex);
        sb_fmt(&man,
               "{\"schemaVersion\":2,\"mediaType\":\"" MT_OCI_MANIFEST
               "\",\"config\":{\"mediaType\":\"" MT_OCI_CONFIG
               "\",\"digest\":\"sha256:%s\",\"size\":%zu},\"layers\":[]}",
               hex, conf.len);
        digest_of(sb_text(&man), man.len, &d);
        digest_hex(&d, hex);
        (void)snprintf(mpath, sizeof(mpath), "blobs/sha256/%s", hex);
        sb_fmt(&index,
               "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"" MT_OCI_MANIFEST
               "\",\"digest\":\"sha256:%s\",\"size\":%zu}]}",
               hex, man.len);
        OK(path_mkdirs(AT_FDCWD, at(f, "in/blobs/sha256"), 0755, err));
        put_file(at(f, "in/oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}", 30);
        put_file(at(f, "in/index.json"), sb_text(&index), index.len);
        (void)snprintf(file, sizeof(file), "in/%s", cpath);
        put_file(at(f, file), sb_text(&conf), conf.len);
        (void)snprintf(file, sizeof(file), "in/%s", mpath);
        put_file(at(f, file), sb_text(&man), man.len);
        put_file(at(f, "in/layer.tar"), sb_text(&layer), layer.len);
        sb_fmt(&tar, "[{\"Config\":\"%s\",\"RepoTags\":[\"d25:v1\"],\"Layers\":[\"layer.tar\"]}]",
               cpath);
        put_file(at(f, "in/manifest.json"), sb_text(&tar), tar.len);
        check_loaded(f, at(f, "in"), -1, "docker.io/library/d25:v1", NULL);
        OK(bd_image_find(&f->c[1], "d25:v1", &got, NULL, err));
        OK(bd_image_load(&f->c[1], &got, NULL, &im, err));
        assert_int_equal(im.manifest.layers.n, 1);
        bd_image_done(&im);
        img_desc_done(&got);
}

/* ---- load: other ways in ---- */

static void load_pipe_gzip(void **state)
{
        struct fix *f = *state;
        AUTO_SB struct sb tar = SB_INIT(1u << 24), gz = SB_INIT(1u << 24);
        struct ly_sink sink = {.write = fix_to_sb, .user = &gz};
        struct ly_pack_opts o = {.codec = LY_CODEC_GZIP};
        struct ly_pack *p = NULL;
        struct ly_packed packed;
        int fds[2];

        legacy(f, NULL, NULL, &tar);
        OK(ly_pack_new(&sink, &o, &p, err));
        OK(ly_pack_write(p, sb_text(&tar), tar.len, err));
        OK(ly_pack_end(p, &packed, NULL, err));
        ly_pack_free(p);
        assert_true(gz.len < 60000); /* fits the pipe */
        assert_int_equal(pipe(fds), 0);
        OK(fd_write_all(fds[1], sb_text(&gz), gz.len, err));
        close(fds[1]);
        check_loaded(f, "-", fds[0], "docker.io/library/old:v1", NULL);
        close(fds[0]);
}

/* index.json with one entry that names `digest`, and the manifest under `manifest_path`. */
static void bad_layout(struct sb *out, const char *layout, const char *index, const char *blob_path,
                       const char *blob)
{
        struct file v[4] = {
                {"oci-layout", LY_FILE, layout, 0},
                {"index.json", LY_FILE, index, 0},
                {blob_path, LY_FILE, blob, 0},
        };

        make_tar(v, blob_path ? 3 : 2, out);
}

static void load_bad(void **state)
{
        static const char one[] =
                "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"" MT_OCI_MANIFEST
                "\",\"digest\":\"sha256:"
                "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a\",\"size\":2}]}";
        static const char path[] =
                "blobs/sha256/44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
        static const char v1[] = "{\"imageLayoutVersion\":\"1.0.0\"}";
        static const struct {
                const char *name, *layout, *index, *blob_path, *blob, *says;
        } rows[] = {
                {"blob missing", v1, one, NULL, NULL, "is missing"},
                {"blob of another size", v1, one, path, "{} ", "promised"},
                {"blob of another content", v1, one, path, "[]", "sha256"},
                {"not a manifest", v1, one, path, "{}", ""},
                {"unknown layout", "{\"imageLayoutVersion\":\"2.0.0\"}", one, path, "{}",
                 "version"},
                {"index is no JSON", v1, "{", path, "{}", "index.json"},
                {"digest with a path", v1,
                 "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"" MT_OCI_MANIFEST
                 "\",\"digest\":\"sha256:../../../../../../etc/passwd\",\"size\":2}]}",
                 path, "{}", ""},
                {"nothing in it", v1, "{\"schemaVersion\":2,\"manifests\":[]}", path, "{}",
                 "holds no image"},
        };
        struct fix *f = *state;

        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                AUTO_SB struct sb tar = SB_INIT(1u << 24);
                AUTO_STRV struct strv names = {.v = NULL};
                AUTO(img_descs_free) struct img_descs descs = {.v = NULL};
                struct bld_err e = BLD_ERR_INIT;

                print_message("%s\n", rows[i].name);
                bad_layout(&tar, rows[i].layout, rows[i].index, rows[i].blob_path, rows[i].blob);
                put_file(at(f, "bad.tar"), sb_text(&tar), tar.len);
                assert_int_equal(bd_load(&f->c[1], at(f, "bad.tar"), -1, &names, &descs, &e),
                                 BLD_E_INVALID);
                if (!strstr(e.msg, rows[i].says) || !strstr(e.msg, "bad.tar"))
                        fail_msg("%s", e.msg);
        }
}

static void load_no_archive(void **state)
{
        struct fix *f = *state;
        AUTO_STRV struct strv names = {.v = NULL};
        AUTO(img_descs_free) struct img_descs descs = {.v = NULL};
        struct bld_err e = BLD_ERR_INIT;

        put_file(at(f, "text"), "hello, this is no archive at all\n", 33);
        assert_int_equal(bd_load(&f->c[1], at(f, "text"), -1, &names, &descs, &e), BLD_E_INVALID);
        err_clear(&e);
        assert_int_equal(bd_load(&f->c[1], at(f, "none"), -1, &names, &descs, &e), BLD_E_NOT_FOUND);
}

/* blobs/ that is a link out of the folder is not followed. */
static void load_folder_link(void **state)
{
        struct fix *f = *state;
        AUTO_STRV struct strv names = {.v = NULL};
        AUTO(img_descs_free) struct img_descs descs = {.v = NULL};
        struct img_desc d;
        struct bd_export x = {.desc = &d, .dest = at(f, "out"), .out_fd = -1, .as_dir = true};
        struct bld_err e = BLD_ERR_INIT;

        make_image(&f->c[0], NULL, host_arch(), "a", &d);
        OK(bd_emit_oci(&f->c[0], &x, err));
        assert_int_equal(rename(at(f, "out/blobs"), at(f, "elsewhere")), 0);
        assert_int_equal(symlink("../elsewhere", at(f, "out/blobs")), 0);
        assert_int_equal(bd_load(&f->c[1], at(f, "out"), -1, &names, &descs, &e), BLD_E_INVALID);
        assert_non_null(strstr(e.msg, "symbolic link"));
        img_desc_done(&d);
}

/* ---- trees ---- */

static const struct file upper[] = {
        {"bin", LY_DIR, NULL, 0},    {"bin/a", LY_WHITEOUT, NULL, 0},
        {"etc", LY_DIR, NULL, 0750}, {"etc/motd", LY_FILE, "changed\n", 0},
        {"new", LY_DIR, NULL, 0},    {"new/link", LY_SYMLINK, "/etc/motd", 0777},
};

static void two_layers(struct fix *f, struct img_desc *ret)
{
        AUTO(bd_layers_free) struct bd_layers layers = {.v = NULL};
        struct img_config cfg;

        add_layer(&f->c[0], fix_files, ARRAY_LEN(fix_files), LY_CODEC_GZIP, &layers);
        add_layer(&f->c[0], upper, ARRAY_LEN(upper), LY_CODEC_GZIP, &layers);
        base_config(&cfg, host_arch(), "t");
        OK(bd_assemble(&f->c[0], &cfg, &layers, BD_FORMAT_OCI, NULL, ret, NULL, err));
        img_config_done(&cfg);
}

static void flat_tar(void **state)
{
        static const char want[] = "bin/\netc/\nnew/\nbin/b\nbin/c\netc/motd\nnew/link\n";
        struct fix *f = *state;
        AUTO_SB struct sb list = SB_INIT(1u << 20);
        struct img_desc d;
        struct bd_export x = {.desc = &d, .dest = at(f, "x.tar"), .out_fd = -1};
        char prog[] = "tar", opt[] = "-tf", path[400];
        char *argv[] = {prog, opt, path, NULL};
        int status;

        two_layers(f, &d);
        OK(bd_emit_tar(&f->c[0], &x, err));
        (void)str_copy(path, sizeof(path), at(f, "x.tar"));
        OK(proc_run("tar", argv, NULL, 0, &list, NULL, 10000, NULL, &status, err));
        assert_int_equal(status, 0);
        assert_string_equal(sb_text(&list), want);
        img_desc_done(&d);
}

static void check_text(const char *path, const char *want)
{
        AUTO_SB struct sb b = SB_INIT(4096);

        get_file(path, &b);
        assert_string_equal(sb_text(&b), want);
}

static void local_new(void **state)
{
        struct fix *f = *state;
        struct img_desc d;
        struct stat a, b;
        struct bd_export x = {.desc = &d, .dest = at(f, "deep/out"), .out_fd = -1};

        two_layers(f, &d);
        OK(bd_emit_local(&f->c[0], &x, err));
        check_text(at(f, "deep/out/etc/motd"), "changed\n");
        check_text(at(f, "deep/out/bin/b"), "binary"); /* outlives the name it was linked to */
        assert_int_not_equal(access(at(f, "deep/out/bin/a"), F_OK), 0);
        assert_int_equal(stat(at(f, "deep/out/etc"), &a), 0);
        assert_int_equal(a.st_mode & 07777, 0750);
        assert_int_equal(count_names(at(f, "deep"), ".tmp"), 0);
        img_desc_done(&d);

        make_image(&f->c[0], NULL, host_arch(), "l", &d);
        x.dest = at(f, "out2");
        OK(bd_emit_local(&f->c[0], &x, err));
        assert_int_equal(stat(at(f, "out2/bin/a"), &a), 0);
        assert_int_equal(stat(at(f, "out2/bin/b"), &b), 0);
        assert_int_equal(a.st_ino, b.st_ino);
        assert_int_equal(a.st_mode & 07777, 0755);
        img_desc_done(&d);
}

/* Into a folder that has things: they stay; links there are replaced, never followed. */
static void local_merge(void **state)
{
        struct fix *f = *state;
        struct img_desc d;
        struct stat st;
        struct bd_export x = {.desc = &d, .dest = at(f, "out"), .out_fd = -1};

        two_layers(f, &d);
        OK(path_mkdirs(AT_FDCWD, at(f, "out/etc"), 0755, err));
        OK(path_mkdirs(AT_FDCWD, at(f, "victim"), 0755, err));
        put_file(at(f, "out/etc/mine"), "mine", 4);
        put_file(at(f, "out/etc/motd"), "old", 3);
        assert_int_equal(symlink("../victim", at(f, "out/bin")), 0);
        OK(bd_emit_local(&f->c[0], &x, err));
        check_text(at(f, "out/etc/mine"), "mine");
        check_text(at(f, "out/etc/motd"), "changed\n");
        assert_int_equal(lstat(at(f, "out/bin"), &st), 0);
        assert_true(S_ISDIR(st.st_mode));
        assert_int_equal(count_names(at(f, "victim"), "b"), 0);
        assert_int_equal(count_names(at(f, "out"), ".tmp"), 0);
        img_desc_done(&d);
}

/* What an export made, the next one can replace, read-only folders included. */
static void local_again(void **state)
{
        static const struct file ro[] = {
                {"ro", LY_DIR, NULL, 0555},
                {"ro/f", LY_FILE, "x", 0444},
                {"ro/sub", LY_DIR, NULL, 0500},
        };
        struct fix *f = *state;
        AUTO(bd_layers_free) struct bd_layers layers = {.v = NULL};
        struct img_config cfg;
        struct img_desc d;
        struct stat st;
        struct bd_export x = {.desc = &d, .dest = at(f, "out"), .out_fd = -1};

        add_layer(&f->c[0], ro, ARRAY_LEN(ro), LY_CODEC_GZIP, &layers);
        base_config(&cfg, host_arch(), "ro");
        OK(bd_assemble(&f->c[0], &cfg, &layers, BD_FORMAT_OCI, NULL, &d, NULL, err));
        OK(path_mkdirs(AT_FDCWD, at(f, "out"), 0755, err));
        for (int i = 0; i < 3; i++)
                OK(bd_emit_local(&f->c[0], &x, err));
        assert_int_equal(stat(at(f, "out/ro"), &st), 0);
        assert_int_equal(st.st_mode & 07777, 0555);
        assert_int_equal(stat(at(f, "out/ro/sub"), &st), 0);
        assert_int_equal(st.st_mode & 07777, 0500);
        assert_int_equal(count_names(at(f, "out"), ".tmp"), 0);
        img_config_done(&cfg);
        img_desc_done(&d);
}

static void local_refuses(void **state)
{
        struct fix *f = *state;
        struct img_desc d;
        struct bd_export x = {.desc = &d, .dest = at(f, "out"), .out_fd = -1};
        struct bld_err e = BLD_ERR_INIT;

        two_layers(f, &d);
        OK(path_mkdirs(AT_FDCWD, at(f, "out/etc/motd/full"), 0755, err));
        assert_int_equal(bd_emit_local(&f->c[0], &x, &e), BLD_E_EXISTS);
        assert_int_equal(count_names(at(f, "out"), ".tmp"), 0);
        put_file(at(f, "file"), "x", 1);
        x.dest = at(f, "file");
        err_clear(&e);
        assert_int_equal(bd_emit_local(&f->c[0], &x, &e), BLD_E_INVALID);
        img_desc_done(&d);
}

static void local_platforms(void **state)
{
        struct fix *f = *state;
        const char *archs[] = {"amd64", "arm64"};
        struct img_platform one;
        struct img_desc d;
        struct bd_export x = {.desc = &d, .dest = at(f, "out"), .out_fd = -1};

        make_index(&f->c[0], NULL, archs, 2, &d);
        OK(bd_emit_local(&f->c[0], &x, err));
        check_text(at(f, "out/linux_amd64/etc/motd"), "hello\n");
        check_text(at(f, "out/linux_arm64/etc/motd"), "hello\n");
        OK(img_platform_parse("linux/arm64", &one, err));
        x.platform = &one;
        x.dest = at(f, "one");
        OK(bd_emit_local(&f->c[0], &x, err));
        check_text(at(f, "one/etc/motd"), "hello\n");
        img_desc_done(&d);
}

/* A layer whose content is not what the config says gives nothing at all. */
static void tree_corrupt(void **state)
{
        struct fix *f = *state;
        AUTO(bd_layers_free) struct bd_layers layers = {.v = NULL};
        struct img_config cfg;
        struct img_desc d;
        struct bd_export x = {.desc = &d, .dest = at(f, "out"), .out_fd = -1};
        struct bld_err e = BLD_ERR_INIT;

        add_layer(&f->c[0], fix_files, ARRAY_LEN(fix_files), LY_CODEC_GZIP, &layers);
        digest_of("something else", 14, &layers.v[0].diff_id);
        base_config(&cfg, host_arch(), "t");
        OK(bd_assemble(&f->c[0], &cfg, &layers, BD_FORMAT_OCI, NULL, &d, NULL, err));
        assert_int_equal(bd_emit_local(&f->c[0], &x, &e), BLD_E_CORRUPT);
        assert_non_null(strstr(e.msg, "is not what its image says"));
        assert_int_not_equal(access(at(f, "out"), F_OK), 0);
        assert_int_equal(count_names(f->dir, ".tmp"), 0);
        img_config_done(&cfg);
        img_desc_done(&d);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, fix_up, fix_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                T(oci_archive),     T(untagged_archive), T(index_archive),  T(layout_folder),
                T(layout_refuses),  T(archive_fails),    T(docker_archive), T(docker_legacy),
                T(docker_hostile),  T(docker_25),        T(load_pipe_gzip), T(load_bad),
                T(load_no_archive), T(load_folder_link), T(flat_tar),       T(local_new),
                T(local_merge),     T(local_again),      T(local_refuses),  T(local_platforms),
                T(tree_corrupt),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
