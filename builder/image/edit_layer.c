/* New layers: of a file, of a folder, of several layers at once. */
#include "builder/image/edit_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/input.h"
#include "base/sys.h"
#include "builder/image/pack.h"
#include "builder/image/tree_priv.h"

static int pack_opts(const struct edit *x, struct ly_pack_opts *ret, struct bld_err *err)
{
        *ret = (struct ly_pack_opts){.codec = LY_CODEC_GZIP, .reproducible = x->o->has_epoch};
        return x->o->codec ? bd_codec_parse(x->o->codec, &ret->codec, err) : 0;
}

/* ---- of a file ---- */

/* A file being read, its bytes going to a blob as well where they are the layer's. */
struct feed {
        int fd;
        struct cas_writer *blob; /* or NULL */
        const struct cancel *cancel;
};

static ssize_t feed_read(void *user, void *p, size_t n, struct bld_err *err)
{
        struct feed *f = user;
        ssize_t k = input_read(f->fd, p, n, f->cancel, err);
        int r;

        if (k < 0)
                return k;
        r = f->blob && k > 0 ? cas_writer_add(f->blob, p, (size_t)k, err) : 0;
        return r < 0 ? r : k;
}

/* Byte for byte: its digest is the file's. */
static int take_file(struct edit *x, int fd, enum ly_codec codec, struct bd_layer *ret,
                     struct bld_err *err)
{
        AUTO(cas_writer_free_p) struct cas_writer *blob = NULL;
        AUTO(ly_toc_free_p) struct ly_toc *toc = NULL;
        struct feed f = {.fd = fd, .cancel = x->c->cancel};
        struct ly_source in = {.read = feed_read, .user = &f};
        int r = cas_writer_open(x->c->cas, &blob, err);

        if (r < 0)
                return r;
        f.blob = blob;
        r = ly_unpack_stream(&in, NULL, NULL, &ret->diff_id, &ret->tar_size, &toc, err);
        if (r < 0)
                return r;
        ret->desc.size = cas_writer_size(blob);
        r = cas_writer_commit(blob, NULL, 0, &ret->desc.digest, err);
        if (r < 0)
                return r;
        toc->blob = ret->desc.digest;
        (void)!bd_toc_put(x->c, &ret->diff_id, toc, NULL); /* cache */
        ret->desc.media_type = mem_strdup(ly_codec_media_type(codec));
        return ret->desc.media_type ? 0 : err_nomem(err, "layer");
}

static int pack_file(struct edit *x, int fd, const struct ly_pack_opts *po, struct bd_layer *ret,
                     struct bld_err *err)
{
        AUTO(bd_packer_free_p) struct bd_packer *pack = NULL;
        struct feed f = {.fd = fd, .cancel = x->c->cancel};
        struct ly_source in = {.read = feed_read, .user = &f};
        struct digest diff_id;
        struct ly_sink tar;
        int r = bd_packer_new(x->c, po, &pack, err);

        if (r < 0)
                return r;
        tar = bd_packer_tar(pack);
        r = ly_unpack_stream(&in, &tar, NULL, &diff_id, NULL, NULL, err);
        return r == 0 ? bd_packer_end(pack, ret, err) : r;
}

static int file_layer(struct edit *x, int fd, struct bd_layer *ret, struct bld_err *err)
{
        struct ly_pack_opts po;
        unsigned char magic[8];
        ssize_t n = sys_pread(fd, magic, sizeof(magic), 0);
        enum ly_codec have;
        int r = n < 0 ? err_sys(err, errno, "read") : pack_opts(x, &po, err);

        if (r < 0)
                return r;
        if (n == 0)
                return err_set(err, BLD_E_MALFORMED, "the file is empty");
        have = ly_codec_sniff(magic, (size_t)n);
        if (x->o->codec ? have == po.codec : have != LY_CODEC_NONE)
                return take_file(x, fd, have, ret, err);
        return pack_file(x, fd, &po, ret, err);
}

/* ---- of a folder ---- */

static int folder_layer(struct edit *x, int fd, struct bd_layer *ret, struct bld_err *err)
{
        AUTO(bd_packer_free_p) struct bd_packer *pack = NULL;
        const struct ly_diff_opts o = {.form = LY_TREE_PLAIN,
                                       .all_xattrs = true,
                                       .clamp = x->o->has_epoch,
                                       .clamp_sec = x->o->epoch_sec};
        struct ly_pack_opts po;
        struct ly_sink tar;
        int r = pack_opts(x, &po, err);

        if (r == 0)
                r = bd_packer_new(x->c, &po, &pack, err);
        if (r < 0)
                return r;
        tar = bd_packer_tar(pack);
        r = ly_diff_upper(fd, &o, &tar, err);
        return r == 0 ? bd_packer_end(pack, ret, err) : r;
}

/* ---- of what the caller names ---- */

/* What can be read only once is copied to a file without a name. */
static int spool(struct edit *x, int from, int *ret, struct bld_err *err)
{
        AUTO_FD int fd = -1;
        struct feed f = {.fd = from, .cancel = x->c->cancel};
        struct ly_source in = {.read = feed_read, .user = &f};
        struct ly_sink out;
        int r = bd_scratch(x->c, &fd, err);

        if (r < 0)
                return r;
        out = ly_sink_fd(fd);
        r = ly_copy(&in, &out, NULL, err);
        if (r == 0 && lseek(fd, 0, SEEK_SET) < 0)
                r = err_sys(err, errno, "read a layer");
        if (r == 0)
                *ret = take_fd(&fd);
        return r;
}

static int named_layer(struct edit *x, const char *path, struct bd_layer *ret, struct bld_err *err)
{
        const bool stream = strcmp(path, "-") == 0;
        AUTO_FD int fd = -1, copy = -1;
        struct stat st;
        int r = 0;

        fd = stream ? fcntl(x->o->in_fd, F_DUPFD_CLOEXEC, 3) : input_open(path);
        if (fd < 0 || fstat(fd, &st) < 0)
                return err_set(err, BLD_E_INVALID, "%s", strerror(errno));
        if (S_ISDIR(st.st_mode))
                return folder_layer(x, fd, ret, err);
        if (stream || !S_ISREG(st.st_mode))
                r = spool(x, fd, &copy, err);
        return r == 0 ? file_layer(x, copy >= 0 ? copy : fd, ret, err) : r;
}

static const char *last_part(const char *path)
{
        const char *slash = strrchr(path, '/');

        return slash && slash[1] ? slash + 1 : path;
}

int edit_make_layers(struct edit *x, struct bld_err *err)
{
        for (size_t i = 0; i < x->o->append.n; i++) {
                const char *path = x->o->append.v[i];
                struct bd_layer *l = bd_layers_push(&x->added);
                int r = l ? named_layer(x, path, l, err) : err_nomem(err, "layer");

                if (r == BLD_E_CORRUPT || r == BLD_E_LIMIT) /* INVALID: a path that is wrong */
                        r = bd_file_fault(r, err);
                if (r < 0)
                        return err_wrap(err, r, "layer %s",
                                        strcmp(path, "-") == 0 ? "from standard input" : path);
                if (strv_addf(&x->added_by, "append %s", last_part(path)) < 0)
                        return err_nomem(err, "layer");
        }
        return 0;
}

/* ---- into an image ---- */

/* One new layer on top of n, under a type the image's documents have. */
static int put_on_top(struct edit *x, struct edit_image *im, size_t n, const struct bd_layer *l,
                      const char *created_by, const char *comment, struct bld_err *err)
{
        AUTO(img_desc_done) struct img_desc d = {.digest = l->desc.digest, .size = l->desc.size};
        struct img_step step = {.created = x->created[0] ? x->created : NULL,
                                .created_by = created_by,
                                .comment = comment};
        struct img_desc *made = img_descs_push(&x->made);
        const char *type = NULL;
        int r = made ? bd_layer_type(l->desc.media_type,
                                     im->docker ? BD_FORMAT_DOCKER : BD_FORMAT_OCI, &type, err)
                     : err_nomem(err, "layer");

        if (r < 0)
                return r;
        d.media_type = mem_strdup(type);
        if (!d.media_type || img_desc_copy(&d, made) < 0)
                return err_nomem(err, "layer");
        return img_edit_top(im->manifest, im->config, n, &d, &l->diff_id, &step, err);
}

int edit_append(struct edit *x, struct edit_image *im, struct bld_err *err)
{
        int r = 0;

        if (im->m.layers.n + x->added.n > IMG_LAYERS_MAX)
                return err_set(err, BLD_E_LIMIT, "an image of more than %d layers", IMG_LAYERS_MAX);
        for (size_t i = 0; r == 0 && i < x->added.n; i++)
                r = put_on_top(x, im, im->m.layers.n + i, &x->added.v[i], x->added_by.v[i], NULL,
                               err);
        return r;
}

/* The layers of an image as a chain that can be read. */
static int chain_of(struct edit *x, const struct edit_image *im, struct bd_layers *ret,
                    struct bld_err *err)
{
        const struct img_ref *repo = bd_end_repo(x->src);
        AUTO_REF struct img_ref seen = {.domain = NULL};
        int r = 0;

        if (!repo) { /* a file's layers are read in the store */
                r = bd_end_is_store(x->src)
                            ? bd_source_find(x->c, &im->desc.digest, &seen, err)
                            : bd_end_take(x->src, &im->desc, x->o->progress, x->o->user, err);
                repo = &seen;
        } else {
                r = bd_fetch_missing(x->c, &im->m.layers, repo, x->o->progress, x->o->user, err);
        }
        for (size_t i = 0; r >= 0 && i < im->m.layers.n; i++) {
                struct bd_layer *l = bd_layers_push(ret);

                if (!l || img_desc_copy(&im->m.layers.v[i], &l->desc) < 0)
                        return err_nomem(err, "layers");
                l->diff_id = im->conf.diff_ids[i];
                if (bd_source_copy(repo, &l->source, err) < 0)
                        return BLD_E_NOMEM;
        }
        return MIN(r, 0);
}

static int merge(struct edit *x, const struct bd_layers *chain, struct bd_layer *ret,
                 struct bld_err *err)
{
        AUTO(bd_packer_free_p) struct bd_packer *pack = NULL;
        struct ly_pack_opts po;
        struct ly_sink tar;
        int r = pack_opts(x, &po, err);

        if (r == 0)
                r = bd_packer_new(x->c, &po, &pack, err);
        if (r < 0)
                return r;
        tar = bd_packer_tar(pack);
        r = bd_flatten(x->c, chain, x->o->from, x->o->has_epoch, x->o->epoch_sec, &tar, err);
        return r == 0 ? bd_packer_end(pack, ret, err) : r;
}

int edit_flatten(struct edit *x, struct edit_image *im, struct bld_err *err)
{
        AUTO(bd_layers_free) struct bd_layers chain = {.v = NULL}, out = {.v = NULL};
        const size_t n = im->m.layers.n, from = x->o->from;
        char by[DIGEST_STR_MAX + 16], text[DIGEST_STR_MAX], comment[64];
        struct bd_layer *l;
        int r;

        if (from > n)
                return err_set(err, BLD_E_USAGE,
                               "there is no layer %zu to begin with: the image has %zu", from, n);
        if (n - from <= 1) /* that is what it is */
                return 0;
        r = chain_of(x, im, &chain, err);
        l = r == 0 ? bd_layers_push(&out) : NULL;
        if (r == 0)
                r = l ? merge(x, &chain, l, err) : err_nomem(err, "layer");
        if (r == 0)
                r = img_edit_cut(im->manifest, im->config, n, from, err);
        if (r < 0)
                return r;
        digest_format(&im->desc.digest, text);
        (void)snprintf(by, sizeof(by), "flatten %s", text);
        (void)snprintf(comment, sizeof(comment), "%zu layers as one", n - from);
        return put_on_top(x, im, from, l, by, comment, err);
}
