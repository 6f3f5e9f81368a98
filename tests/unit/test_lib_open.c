/* Images opened from every place give the same; what is not asked for is not read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <sys/stat.h>

#include "bld/bld.h"
#include "lib_layout.h"
#include "mock_http.h"

static struct bld *session(void)
{
        const struct bld_opts o = {.size = sizeof(o), .temporary = true};
        struct bld_err err = BLD_ERR_INIT;
        struct bld *b = NULL;

        if (bld_open(&o, &b, &err) < 0)
                fail_msg("%s", err.msg);
        return b;
}

static struct bld_image *opened(struct bld *b, const char *ref)
{
        struct bld_err err = BLD_ERR_INIT;
        struct bld_image *im = NULL;

        if (bld_image_open(b, ref,
                           &(struct bld_image_open_opts){.size = sizeof(struct bld_image_open_opts),
                                                         .platform = "linux/amd64"},
                           &im, &err) < 0)
                fail_msg("%s: %s", ref, err.msg);
        assert_string_equal(bld_image_name(im), ref);
        return im;
}

/* Layer i, read to its end, is layer k of the layout. */
static void same_layer(struct bld_image *im, size_t i, const struct layout *l, size_t k)
{
        struct bld_layer_created got = {.size = sizeof(got)};
        struct bld_layer_stream *s = NULL;
        struct bld_err err = BLD_ERR_INIT;

        if (bld_image_stream(im, i, &s, &err) < 0 || bld_layer_stream_end(s, &got, &err) < 0)
                fail_msg("%s: %s", bld_image_name(im), err.msg);
        assert_string_equal(got.diff_id, l->made[k].diff_id);
        bld_layer_stream_close(s);
}

static void same_image(struct bld *b, const char *ref, const struct layout *l, bool documents)
{
        struct bld_image *im = opened(b, ref);
        size_t n;

        assert_int_equal(bld_image_layers(im), 2);
        assert_null(bld_image_layer(im, 2));
        for (size_t i = 0; i < 2; i++) {
                const struct bld_layer_info *info = bld_image_layer(im, i);

                assert_int_equal(info->number, i);
                assert_string_equal(info->diff_id, l->made[i].diff_id);
                assert_string_equal(info->created_by, i ? "two" : "one");
                if (documents) {
                        assert_string_equal(info->digest, l->layer[i].digest);
                        assert_string_equal(info->media_type, MT_LAYER);
                        assert_int_equal(info->blob_size, l->layer[i].text.len);
                }
                same_layer(im, i, l, i);
        }
        assert_string_equal(bld_image_config(im, &n), sb_text(&l->config.text));
        assert_int_equal(n, l->config.text.len);
        if (documents) {
                assert_string_equal(bld_image_digest(im), l->manifest.digest);
                assert_string_equal(bld_image_manifest(im, NULL), sb_text(&l->manifest.text));
        } else {
                assert_null(bld_image_digest(im));
                assert_null(bld_image_manifest(im, &n));
                assert_int_equal(n, 0);
        }
        bld_image_close(im);
}

/* The layout, its archive (also compressed), docker's archive of it (layers plain and packed), the
 * store. */
static void places(void **state)
{
        static const struct {
                const char *before, *after;
                bool documents;
        } rows[] = {
                {"oci:", "", true},
                {"oci:", ":v1", true},
                {"", "", true},
                {"", ":v1", true},
                {"oci-archive:", ".x/o.tar", true},
                {"", ".x/o.tar", true},
                {"", ".x/o.tgz", true},
                {"docker-archive:", ".x/d.tar", false},
                {"", ".x/d.tar:app:v1", false},
                {"docker-archive:", ".x/z.tar", false},
                {"", ".x/z.tar", false},
        };
        struct bld_copy_opts co = {.size = sizeof(co), .in_fd = -1, .out_fd = -1};
        struct bld *b = session();
        struct layout l;
        struct sb hex = SB_INIT(300);
        char ref[400], *json = NULL;

        (void)state;
        lay_up(&l);
        sb_fmt(&hex, "%s %s %s", l.layer[0].digest + 7, l.layer[1].digest + 7, l.config.digest + 7);
        lf_sh("mkdir $1.x && tar -C $1 -cf $1.x/o.tar . && gzip -k1 <$1.x/o.tar >$1.x/o.tgz && "
              "mkdir $1.x/d $1.x/z && { read a b c || :; } && cd $1.x && cp $1/blobs/sha256/$a "
              "z/0.tar && "
              "cp $1/blobs/sha256/$b z/1.tar && for i in 0 1; do gzip -dc <z/$i.tar >d/$i.tar; "
              "done; "
              "for f in d z; do cp $1/blobs/sha256/$c $f/$c.json; printf "
              "'[{\"Config\":\"%s.json\",\"RepoTags\":[\"app:v1\"],\"Layers\":[\"0.tar\","
              "\"1.tar\"]}]' $c >$f/manifest.json; (cd $f && tar -cf ../$f.tar manifest.json "
              "$c.json "
              "0.tar 1.tar); done",
              l.dir, sb_text(&hex), hex.len, NULL);
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                (void)snprintf(ref, sizeof(ref), "%s%s%s", rows[i].before, l.dir, rows[i].after);
                same_image(b, ref, &l, rows[i].documents);
        }
        (void)snprintf(ref, sizeof(ref), "oci:%s:v1", l.dir);
        assert_int_equal(bld_copy(b, ref, "store:app:v1", &co, &json, NULL), 0);
        bld_free(json);
        same_image(b, "app:v1", &l, true);
        same_image(b, "store:app:v1", &l, true);
        same_image(b, l.manifest.digest, &l, true);
        lf_sh("rm -r $1.x", l.dir, NULL, 0, NULL);
        sb_done(&hex);
        lay_down(&l);
        bld_close(b);
}

static void numbers(void **state)
{
        static const struct {
                const char *suffix;
                int layer; /* -1: NOT_FOUND, -2: INVALID */
        } rows[] = {{"#0", 0},  {"#1", 1},   {"#-1", 1},  {"#-2", 0},
                    {"#2", -1}, {"#-3", -1}, {"#-0", -2}, {"#99999", -2}};
        struct bld *b = session();
        struct layout l;
        char ref[400];

        (void)state;
        lay_up(&l);
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                struct bld_image *im = NULL;
                int r;

                (void)snprintf(ref, sizeof(ref), "oci:%s:v1%s", l.dir, rows[i].suffix);
                r = bld_image_open(b, ref, NULL, &im, NULL);
                if (rows[i].layer < 0) {
                        assert_int_equal(r, rows[i].layer == -1 ? BLD_E_NOT_FOUND : BLD_E_INVALID);
                        continue;
                }
                assert_int_equal(r, 0);
                assert_int_equal(bld_image_layers(im), 1);
                assert_int_equal(bld_image_layer(im, 0)->number, rows[i].layer);
                assert_null(bld_image_config(im, NULL));
                assert_null(bld_image_manifest(im, NULL));
                assert_null(bld_image_digest(im));
                same_layer(im, 0, &l, (size_t)rows[i].layer);
                bld_image_close(im);
        }
        lay_down(&l);
        bld_close(b);
}

/* Folders and files that are layers. */
static void layers_alone(void **state)
{
        struct bld *b = session();
        struct bld_image *im;
        struct layout l;
        char ref[500];

        (void)state;
        lay_up(&l);
        (void)snprintf(ref, sizeof(ref), "%s/blobs/sha256/%.64s", l.dir, l.layer[1].digest + 7);
        im = opened(b, ref);
        assert_int_equal(bld_image_layers(im), 1);
        assert_null(bld_image_config(im, NULL));
        assert_string_equal(bld_image_layer(im, 0)->media_type, MT_LAYER);
        assert_int_equal(bld_image_layer(im, 0)->blob_size, l.layer[1].text.len);
        same_layer(im, 0, &l, 1);
        bld_image_close(im);
        (void)snprintf(ref, sizeof(ref), "dir:%s", l.dir); /* a layout, but as a tree */
        im = opened(b, ref);
        assert_int_equal(bld_image_layers(im), 1);
        assert_null(bld_image_layer(im, 0)->digest);
        bld_image_close(im);
        (void)snprintf(ref, sizeof(ref), "%s/blobs", l.dir);
        im = opened(b, ref);
        assert_null(bld_image_config(im, NULL));
        bld_image_close(im);
        (void)snprintf(ref, sizeof(ref), "%s/index.json", l.dir);
        assert_int_equal(bld_image_open(b, ref, NULL, &im, NULL), BLD_E_MALFORMED);
        (void)snprintf(ref, sizeof(ref), "dir:%s/index.json", l.dir);
        assert_int_equal(bld_image_open(b, ref, NULL, &im, NULL), BLD_E_INVALID);
        assert_int_equal(bld_image_open(b, "./nothing", NULL, &im, NULL), BLD_E_NOT_FOUND);
        assert_int_equal(bld_image_open(b, "/dev/null", NULL, &im, NULL), BLD_E_INVALID);
        assert_int_equal(bld_image_open(b, "nothing:here", NULL, &im, NULL), BLD_E_NOT_FOUND);
        lay_down(&l);
        bld_close(b);
}

static int swallow(void *user, const void *p, size_t n)
{
        (void)user;
        (void)p;
        (void)n;
        return 0;
}

/* A file that breaks after it was opened is the fault of the file, through a tree as well. */
static void cut_while_open(void **state)
{
        struct bld_tree_node n = {.size = sizeof(n)};
        struct bld *b = session();
        struct bld_tree *t = NULL;
        struct bld_image *im;
        struct layout l;
        char ref[500];
        size_t i = 0;

        (void)state;
        lay_up(&l);
        (void)snprintf(ref, sizeof(ref), "%s/blobs/sha256/%.64s", l.dir, l.layer[1].digest + 7);
        im = opened(b, ref);
        assert_int_equal(bld_tree_open(im, NULL, &t, NULL), 0);
        while (bld_tree_node(t, i, &n, NULL) == 0 && (n.type != BLD_LAYER_FILE || n.file_size == 0))
                i++;
        assert_int_equal(n.type, BLD_LAYER_FILE);
        assert_int_equal(bld_tree_read(t, i, swallow, NULL, NULL), 0);
        bld_tree_close(t);
        assert_int_equal(bld_tree_open(im, NULL, &t, NULL), 0);
        assert_int_equal(truncate(ref, 16), 0);
        assert_int_equal(bld_tree_read(t, i, swallow, NULL, NULL), BLD_E_MALFORMED);
        bld_tree_close(t);
        bld_image_close(im);
        lay_down(&l);
        bld_close(b);
}

/* A manifest that has 0 bytes for a digest of some. */
static void empty(void **state)
{
        struct bld *b = session();
        struct sb script = SB_INIT(4000);
        struct bld_err err = BLD_ERR_INIT;
        struct bld_layer_stream *s;
        struct bld_image *im;
        struct layout l;

        (void)state;
        lay_up(&l);
        sb_fmt(&script,
               "set -e; cd $1/blobs/sha256; m=%s l=%s; : >$l\n"
               "sed 's/\\('$l'\",\"size\":\\)[0-9]*/\\10/' $m >m\n"
               "n=$(sha256sum <m | cut -c 1-64); mv m $n\n"
               "sed -i \"s/$m/$n/;s/\\(size\\\":\\)[0-9]*/\\1$(wc -c <$n)/\" $1/index.json",
               l.manifest.digest + 7, l.layer[1].digest + 7);
        lf_sh(sb_text(&script), l.dir, NULL, 0, NULL);
        im = opened(b, l.dir);
        assert_int_equal(bld_image_layer(im, 1)->blob_size, 0);
        assert_int_equal(bld_image_stream(im, 1, &s, NULL), 0);
        assert_int_equal(bld_layer_stream_end(s, NULL, &err), BLD_E_MALFORMED);
        assert_non_null(strstr(err.msg, "holds other bytes"));
        bld_layer_stream_close(s);
        bld_image_close(im);
        sb_done(&script);
        lay_down(&l);
        bld_close(b);
}

/* The session ends what was opened through it, by a path as well. */
static void cancelled(void **state)
{
        char refs[3][500];
        struct layout l;

        (void)state;
        lay_up(&l);
        (void)snprintf(refs[0], sizeof(refs[0]), "oci:%s", l.dir);
        (void)snprintf(refs[1], sizeof(refs[1]), "dir:%s", l.dir);
        (void)snprintf(refs[2], sizeof(refs[2]), "%s/blobs/sha256/%.64s", l.dir,
                       l.layer[1].digest + 7);
        for (size_t i = 0; i < ARRAY_LEN(refs); i++) {
                struct bld *b = session();
                struct bld_layer_stream *s;
                struct bld_image *im;
                int r;

                im = opened(b, refs[i]);
                bld_cancel(b, 1);
                r = bld_image_stream(im, 0, &s, NULL);
                if (r == 0) {
                        r = bld_layer_stream_end(s, NULL, NULL);
                        bld_layer_stream_close(s);
                }
                assert_int_equal(r, BLD_E_CANCELLED);
                bld_image_close(im);
                bld_close(b);
        }
        lay_down(&l);
}

static bool at_once(void *user)
{
        ++*(unsigned *)user;
        return true;
}

/* A folder is read when it is opened: whoever watches is asked then. */
static void folder_stopped(void **state)
{
        unsigned asked = 0;
        const struct bld_watch w = {.size = sizeof(w), .stop = at_once, .user = &asked};
        const struct bld_image_open_opts o = {.size = sizeof(o), .watch = &w};
        struct bld_image *im = NULL;
        char *dir = lf_tmpdir();
        AUTO_FD int fd = lf_open_dir(dir);

        (void)state;
        lf_sh("echo text >$1/file", dir, NULL, 0, NULL);
        assert_int_equal(bld_image_open_dir(fd, &o, &im, NULL), BLD_E_CANCELLED);
        assert_null(im);
        assert_true(asked > 0);
        lf_rmdir(dir);
}

/* One byte of a blob turned, or its end missing: no stream and no tree of it passes. */
static void damaged(void **state)
{
        struct bld *b = session();
        struct bld_layer_stream *s;
        struct bld_image *im;
        struct layout l;
        char ref[400], *tree = lf_tmpdir();
        AUTO_FD int fd = lf_open_dir(tree);

        (void)state;
        lay_up(&l);
        (void)snprintf(ref, sizeof(ref), "oci:%s:v1", l.dir);
        for (size_t at = 9; at < l.layer[1].text.len; at += l.layer[1].text.len / 5) {
                l.layer[1].text.buf[at] ^= 1;
                lay_put(&l, &l.layer[1]);
                l.layer[1].text.buf[at] ^= 1;
                im = opened(b, ref);
                assert_int_equal(bld_image_stream(im, 1, &s, NULL), 0);
                assert_int_equal(bld_layer_stream_end(s, NULL, NULL), BLD_E_MALFORMED);
                bld_layer_stream_close(s);
                assert_int_equal(bld_image_apply(im, fd, NULL, NULL, NULL), BLD_E_MALFORMED);
                same_layer(im, 0, &l, 0);
                bld_image_close(im);
        }
        lf_sh("truncate -s 1000 $1/blobs/sha256/*", l.dir, NULL, 0, NULL);
        assert_int_equal(bld_image_open(b, ref, NULL, &im, NULL), BLD_E_MALFORMED);
        lay_down(&l);
        lf_rmdir(tree);
        bld_close(b);
}

/* A registry gives the documents, and of the layers the one that is read. The rest of that never
 * comes: who saw enough goes without it, and so does who is told to stop. */
static bool stop_soon(void *user)
{
        unsigned *left = user; /* of questions that are answered with no */

        return *left && --*left == 0;
}

static void registry(void **state)
{
        unsigned left = 0;
        const struct bld_watch watch = {.size = sizeof(watch), .stop = stop_soon, .user = &left};
        const struct bld_image_open_opts o = {
                .size = sizeof(o), .platform = "linux/amd64", .watch = &watch};
        struct mock *m = mock_start();
        struct bld *b = session();
        const struct bld_layer_entry *e;
        struct bld_layer_stream *s;
        struct bld_err err = BLD_ERR_INIT;
        struct bld_image *im = NULL;
        struct layout l;
        char ref[200], head[400], manifest[200], config[200], blob[2][200], *wrong;
        char content[] = "Content-Type: application/vnd.oci.image.manifest.v1+json\r\n";

        (void)state;
        (void)setenv("HOME", "/nonexistent", 1);
        lay_up(&l);
        (void)snprintf(ref, sizeof(ref), "docker://%s/a/b:v1", mock_host(m));
        (void)snprintf(head, sizeof(head), "Docker-Content-Digest: %s\r\nContent-Length: %zu\r\n%s",
                       l.manifest.digest, l.manifest.text.len, content);
        (void)snprintf(manifest, sizeof(manifest), "GET /v2/a/b/manifests/%s", l.manifest.digest);
        (void)snprintf(config, sizeof(config), "GET /v2/a/b/blobs/%s", l.config.digest);
        for (size_t i = 0; i < 2; i++)
                (void)snprintf(blob[i], sizeof(blob[i]), "GET /v2/a/b/blobs/%s", l.layer[i].digest);
        {
                const struct mock_step steps[] = {
                        {.request = "HEAD /v2/a/b/manifests/v1",
                         .status = 200,
                         .headers = head,
                         .no_length = true,
                         .times = 1,
                         .optional = true},
                        {.request = "GET /v2/a/b/manifests/*",
                         .status = 200,
                         .headers = content,
                         .body = sb_text(&l.manifest.text)},
                        {.request = config, .status = 200, .body = sb_text(&l.config.text)},
                        {.request = blob[1],
                         .status = 200,
                         .body = sb_text(&l.layer[1].text),
                         .body_len = l.layer[1].text.len,
                         .how = MOCK_STALL,
                         .cut = 100000,
                         .times = 2},
                        {.request = blob[1],
                         .status = 200,
                         .body = sb_text(&l.layer[1].text),
                         .body_len = l.layer[1].text.len},
                        {.request = NULL}};

                mock_script(m, steps);
        }
        if (bld_image_open(b, ref, &o, &im, &err) < 0)
                fail_msg("%s", err.msg);
        assert_string_equal(bld_image_digest(im), l.manifest.digest);
        assert_int_equal(bld_image_stream(im, 1, &s, NULL), 0);
        assert_int_equal(bld_layer_stream_next(s, &e, NULL), 1);
        assert_string_equal(e->path, "d");
        bld_layer_stream_close(s); /* nothing more ever comes, and nobody waits for it */
        assert_int_equal(bld_image_stream(im, 1, &s, NULL), 0);
        left = 6;
        assert_int_equal(bld_layer_stream_end(s, NULL, NULL), BLD_E_CANCELLED);
        bld_layer_stream_close(s);
        same_layer(im, 1, &l, 1);
        bld_image_close(im);
        wrong = mock_stop(m);
        if (wrong)
                fail_msg("%s", wrong);
        lay_down(&l);
        bld_close(b);
}

/* ---- files with several names ---- */

struct heard {
        size_t ends, bytes;
        size_t last; /* the node that comes */
        struct hasher h;
        struct digest d[3];
};

static int hear(void *user, size_t i, const void *p, size_t n)
{
        struct heard *x = user;

        if (x->bytes)
                assert_int_equal(i, x->last);
        else
                hasher_init(&x->h, DIGEST_SHA256);
        x->last = i;
        x->bytes += n;
        hasher_add(&x->h, p, n);
        if (n)
                return 0;
        assert_int_equal(x->bytes, 200000);
        x->bytes = 0;
        assert_true(x->ends < 3);
        hasher_end(&x->h, &x->d[x->ends++]);
        return 0;
}

/* Two downloads: of the table, and of the content of all names. */
static void names(void **state)
{
        static const char *const paths[] = {"d/x", "d/upper", "d/y"};
        struct mock *m = mock_start();
        struct bld *b = session();
        struct bld_image *im;
        struct bld_tree *t = NULL;
        struct heard x = {.ends = 0};
        struct bld_err err = BLD_ERR_INIT;
        struct layout l;
        size_t v[3];
        char ref[200], head[400], config[200], blob[200], *wrong;
        char content[] = "Content-Type: application/vnd.oci.image.manifest.v1+json\r\n";

        (void)state;
        lay_up(&l);
        (void)snprintf(ref, sizeof(ref), "docker://%s/a/b:v1#1", mock_host(m));
        (void)snprintf(head, sizeof(head), "Docker-Content-Digest: %s\r\nContent-Length: %zu\r\n%s",
                       l.manifest.digest, l.manifest.text.len, content);
        (void)snprintf(config, sizeof(config), "GET /v2/a/b/blobs/%s", l.config.digest);
        (void)snprintf(blob, sizeof(blob), "GET /v2/a/b/blobs/%s", l.layer[1].digest);
        {
                const struct mock_step steps[] = {
                        {.request = "HEAD /v2/a/b/manifests/v1",
                         .status = 200,
                         .headers = head,
                         .no_length = true,
                         .optional = true},
                        {.request = "GET /v2/a/b/manifests/*",
                         .status = 200,
                         .headers = content,
                         .body = sb_text(&l.manifest.text)},
                        {.request = config, .status = 200, .body = sb_text(&l.config.text)},
                        {.request = blob,
                         .status = 200,
                         .body = sb_text(&l.layer[1].text),
                         .body_len = l.layer[1].text.len,
                         .times = 2},
                        {.request = NULL}};

                mock_script(m, steps);
        }
        im = opened(b, ref);
        if (bld_tree_open(im, NULL, &t, &err) < 0)
                fail_msg("%s", err.msg);
        for (size_t i = 0; i < 3; i++)
                assert_int_equal(bld_tree_find(t, paths[i], false, &v[i], NULL), 1);
        if (bld_tree_read_many(t, v, 3, hear, &x, NULL, &err) != 0)
                fail_msg("%s", err.msg);
        assert_int_equal(x.ends, 3);
        assert_true(digest_eq(&x.d[0], &x.d[1]) && digest_eq(&x.d[0], &x.d[2]));
        bld_tree_close(t);
        bld_image_close(im);
        wrong = mock_stop(m);
        if (wrong)
                fail_msg("%s", wrong);
        lay_down(&l);
        bld_close(b);
}

/* ---- what a config only claims ---- */

/* The layers the other way around, but not in the config; as they are, or compressed anew. */
static void lie(const struct layout *l, const char *pack)
{
        struct sb script = SB_INIT(4000);

        sb_fmt(&script,
               "set -e; cd $1/blobs/sha256; a=%s b=%s m=%s\n"
               "hash() { sha256sum <$1 | cut -c 1-64; }\n"
               "entry() { (%s) <$1 >$1.x; n=$(hash $1.x); mv $1.x $n; }\n"
               "entry $a; x=$n,$(wc -c <$n); entry $b; y=$n,$(wc -c <$n)\n"
               "sed -E "
               "\"s/$a(\\\",\\\"size\\\":)[0-9]+/A\\1A/;s/$b(\\\",\\\"size\\\":)[0-9]+/B\\1B/;"
               "s/A(.*:)A/${y%%,*}\\1${y#*,}/;s/B(.*:)B/${x%%,*}\\1${x#*,}/\" $m >m\n"
               "n=$(hash m); mv m $n; sed -i s/$m/$n/ $1/index.json",
               l->layer[0].digest + 7, l->layer[1].digest + 7, l->manifest.digest + 7, pack);
        lf_sh(sb_text(&script), l->dir, NULL, 0, NULL);
        sb_done(&script);
}

/* The layer d/upper comes from. */
static int upper_layer(struct bld *b, const char *ref, bool content)
{
        const struct bld_tree_opts o = {.size = sizeof(o), .content = content};
        struct bld_tree_node n = {.size = sizeof(n)};
        struct bld_image *im = opened(b, ref);
        struct bld_tree *t = NULL;
        size_t i;
        int r = bld_tree_open(im, &o, &t, NULL);

        if (r == 0) {
                assert_int_equal(bld_tree_find(t, "d/upper", false, &i, NULL), 1);
                assert_int_equal(bld_tree_node(t, i, &n, NULL), 0);
                r = (int)n.layer;
        }
        bld_tree_close(t);
        bld_image_close(im);
        return r;
}

/* Whatever the store knows of the diff IDs: what is here is read, and what is the store's verified.
 */
static void claims(void **state)
{
        static const struct {
                const char *pack;
                int want;
        } rows[] = {{"gzip -dc | gzip -1n", 0}, {"cat", BLD_E_MALFORMED}};
        struct bld_copy_opts co = {.size = sizeof(co), .in_fd = -1, .out_fd = -1};
        struct bld *b = session();
        char ref[300], *json = NULL;
        struct layout l;

        (void)state;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
                lay_up(&l);
                (void)snprintf(ref, sizeof(ref), "oci:%s", l.dir);
                assert_int_equal(bld_copy(b, ref, "store:app:v1", &co, &json, NULL), 0);
                bld_free(json);
                assert_int_equal(upper_layer(b, "app:v1", true), 1);
                lie(&l, rows[i].pack);
                assert_int_equal(upper_layer(b, ref, false), rows[i].want);
                assert_int_equal(upper_layer(b, ref, true), rows[i].want);
                assert_int_equal(upper_layer(b, "app:v1", true), 1);
                lay_down(&l);
        }
        bld_close(b);
}

/* ---- temporary sessions ---- */

static size_t count_sessions(const char *tmp)
{
        struct sb out = SB_INIT(100);
        size_t n;

        lf_sh("ls -d $1/bld-session-* 2>/dev/null | wc -l", tmp, NULL, 0, &out);
        n = strtoul(sb_text(&out), NULL, 10);
        sb_done(&out);
        return n;
}

static void temporary(void **state)
{
        char *tmp = lf_tmpdir(), *old = getenv("TMPDIR") ? strdup(getenv("TMPDIR")) : NULL;
        struct bld *a, *b;
        struct stat st;

        (void)state;
        (void)setenv("TMPDIR", tmp, 1);
        lf_sh("mkdir -p $1/bld-session-dead00/blobs && echo x >$1/bld-session-dead00/blobs/x", tmp,
              NULL, 0, NULL);
        a = session();
        assert_int_equal(count_sessions(tmp), 1); /* the dead one's is gone */
        assert_int_equal(stat(bld_root(a), &st), 0);
        assert_int_equal(st.st_mode & 07777, 0700);
        b = session();
        assert_int_equal(count_sessions(tmp), 2);
        bld_close(a);
        assert_int_equal(count_sessions(tmp), 1);
        bld_close(b);
        assert_int_equal(count_sessions(tmp), 0);
        if (old)
                (void)setenv("TMPDIR", old, 1);
        else
                (void)unsetenv("TMPDIR");
        free(old);
        lf_rmdir(tmp);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(places),       cmocka_unit_test(numbers),
                cmocka_unit_test(layers_alone), cmocka_unit_test(cut_while_open),
                cmocka_unit_test(cancelled),    cmocka_unit_test(folder_stopped),
                cmocka_unit_test(empty),        cmocka_unit_test(damaged),
                cmocka_unit_test(registry),     cmocka_unit_test(claims),
                cmocka_unit_test(names),        cmocka_unit_test(temporary),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
