/* A small image in a layout folder, made by the layer writer and by hand. */
#ifndef TESTS_UNIT_LIB_LAYOUT_H
#define TESTS_UNIT_LIB_LAYOUT_H

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/fd.h"
#include "base/sb.h"
#include "bld/layer.h"
#include "layer_fixture.h"

#define MT_LAYER "application/vnd.oci.image.layer.v1.tar+gzip"

struct lay_doc {
        struct sb text;
        char digest[DIGEST_STR_MAX];
};
struct layout {
        char *dir;
        struct lay_doc layer[2], config, manifest;
        struct bld_layer_created made[2];
};

static inline void lay_digest(struct lay_doc *d)
{
        struct digest x;

        digest_of(sb_text(&d->text), d->text.len, &x);
        digest_format(&x, d->digest);
}

static inline void lay_layer(struct layout *l, size_t i)
{
        AUTO_FD int fd = memfd_create("layer", MFD_CLOEXEC);
        const struct bld_output out = {.size = sizeof(out), .fd = fd};
        const struct bld_layer_entry dir = {
                .size = sizeof(dir), .path = "d", .type = BLD_LAYER_DIR, .mode = 0755};
        const struct bld_layer_entry file = {.size = sizeof(file),
                                             .path = i ? "d/upper" : "d/lower",
                                             .type = BLD_LAYER_FILE,
                                             .mode = 0644,
                                             .file_size = 200000};
        static unsigned char noise[200000];
        struct bld_layer_writer *w;

        lf_noise(noise, sizeof(noise), i);
        l->made[i].size = sizeof(l->made[i]);
        assert_int_equal(bld_layer_writer_open(&out, NULL, &w, NULL), 0);
        assert_int_equal(bld_layer_writer_entry(w, &dir, NULL, NULL), 0);
        assert_int_equal(bld_layer_writer_entry(w, &file, NULL, NULL), 0);
        assert_int_equal(bld_layer_writer_data(w, noise, sizeof(noise), NULL), 0);
        for (const char *c = i ? "xy" : ""; *c; c++) { /* two more names */
                const char path[] = {'d', '/', *c, 0};
                const struct bld_layer_entry link = {.size = sizeof(link),
                                                     .path = path,
                                                     .type = BLD_LAYER_HARDLINK,
                                                     .link = "d/upper"};

                assert_int_equal(bld_layer_writer_entry(w, &link, NULL, NULL), 0);
        }
        assert_int_equal(bld_layer_writer_end(w, &l->made[i], NULL), 0);
        bld_layer_writer_close(w);
        l->layer[i].text = SB_INIT(LF_MAX);
        assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
        assert_int_equal(fd_read_all(fd, &l->layer[i].text, "layer", NULL), 0);
        lay_digest(&l->layer[i]);
}

static inline void lay_put(const struct layout *l, const struct lay_doc *d)
{
        char path[300];
        AUTO_FD int fd = -1;

        (void)snprintf(path, sizeof(path), "%s/blobs/sha256/%s", l->dir, d->digest + 7);
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        assert_int_equal(fd_write_all(fd, sb_text(&d->text), d->text.len, NULL), 0);
}

static inline void lay_up(struct layout *l)
{
        struct sb index = SB_INIT(4096);

        *l = (struct layout){.dir = lf_tmpdir()};
        lf_sh("mkdir -p $1/blobs/sha256 && printf '{\"imageLayoutVersion\":\"1.0.0\"}' "
              ">$1/oci-layout",
              l->dir, NULL, 0, NULL);
        for (size_t i = 0; i < 2; i++) {
                lay_layer(l, i);
                lay_put(l, &l->layer[i]);
        }
        l->config.text = SB_INIT(4096);
        sb_fmt(&l->config.text,
               "{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{},\"rootfs\":{\"type\":"
               "\"layers\",\"diff_ids\":[\"%s\",\"%s\"]},\"history\":[{\"created_by\":\"one\"},"
               "{\"created_by\":\"none\",\"empty_layer\":true},{\"created_by\":\"two\"}]}",
               l->made[0].diff_id, l->made[1].diff_id);
        lay_digest(&l->config);
        lay_put(l, &l->config);
        l->manifest.text = SB_INIT(4096);
        sb_fmt(&l->manifest.text,
               "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\","
               "\"config\":{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",\"digest\":"
               "\"%s\",\"size\":%zu},\"layers\":[{\"mediaType\":\"" MT_LAYER
               "\",\"digest\":\"%s\",\"size\":%zu},{\"mediaType\":\"" MT_LAYER
               "\",\"digest\":\"%s\",\"size\":%zu}]}",
               l->config.digest, l->config.text.len, l->layer[0].digest, l->layer[0].text.len,
               l->layer[1].digest, l->layer[1].text.len);
        lay_digest(&l->manifest);
        lay_put(l, &l->manifest);
        sb_fmt(&index,
               "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"application/vnd.oci.image."
               "manifest.v1+json\",\"digest\":\"%s\",\"size\":%zu,\"annotations\":{\"org."
               "opencontainers.image.ref.name\":\"v1\"}}]}",
               l->manifest.digest, l->manifest.text.len);
        lf_sh("cat >$1/index.json", l->dir, sb_text(&index), index.len, NULL);
        sb_done(&index);
}

static inline void lay_down(struct layout *l)
{
        for (size_t i = 0; i < 2; i++)
                sb_done(&l->layer[i].text);
        sb_done(&l->config.text);
        sb_done(&l->manifest.text);
        lf_rmdir(l->dir);
}

#endif
