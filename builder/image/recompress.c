/* An image whose layers are compressed in another way. The diff IDs, and with them the config,
 * stay; only the manifest is new. */
#include "builder/builder.h"

#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/num.h"
#include "base/sys.h"
#include "builder/image/move_priv.h"
#include "builder/image/pack.h"
#include "builder/image/tree_priv.h"

#define RECORD_KIND "rcmp"
#define RECORD_MAX 1024u

struct job {
        struct bd_ctx *c;
        const struct bd_recompress_opts *o;
        enum ly_codec codec;
};

/* ---- what was made before ---- */

static void record_key(const struct job *j, const struct digest *diff_id, struct digest *ret)
{
        struct hasher h;
        char text[DIGEST_STR_MAX];

        digest_format(diff_id, text);
        hasher_init(&h, DIGEST_SHA256);
        hasher_field_str(&h, "bld-recompress-v1");
        hasher_field_str(&h, text);
        hasher_field_u64(&h, (uint64_t)j->codec);
        hasher_field_u64(&h, (uint64_t)(int64_t)j->o->level);
        hasher_field_u64(&h, j->o->reproducible);
        hasher_end(&h, ret);
}

/* 1 there is a blob; ret has its digest and size. */
static int find_made(const struct job *j, const struct digest *key, struct img_desc *ret,
                     struct bld_err *err)
{
        AUTO_SB struct sb b = SB_INIT(RECORD_MAX);
        char *blank;
        struct digest d;
        uint64_t size;
        int r = cas_result_get(j->c->cas, key, RECORD_KIND, &b, err);

        if (r <= 0)
                return r;
        blank = b.buf ? strchr(b.buf, ' ') : NULL;
        if (!blank)
                return 0;
        *blank = '\0';
        if (digest_parse(b.buf, &d, NULL) < 0 || !parse_u64(blank + 1, 0, INT64_MAX, &size))
                return 0;
        r = bd_keep(j->c, &d, err);
        if (r > 0) {
                ret->digest = d;
                ret->size = size;
        }
        return r;
}

static int note_made(const struct job *j, const struct digest *key, const struct img_desc *d,
                     struct bld_err *err)
{
        char text[DIGEST_STR_MAX + 32];

        digest_format(&d->digest, text);
        (void)snprintf(text + strlen(text), 32, " %llu", (unsigned long long)d->size);
        return cas_result_put(j->c->cas, key, RECORD_KIND, text, strlen(text), &d->digest, 1, err);
}

/* ---- one layer ---- */

static int repack(const struct job *j, const struct bd_layer *l, struct img_desc *ret,
                  struct bld_err *err)
{
        AUTO(bd_packer_free_p) struct bd_packer *pack = NULL;
        AUTO(img_desc_done) struct img_desc made = {.media_type = NULL};
        AUTO_FD int fd = -1;
        struct bd_blob_source in = {.cancel = j->c->cancel};
        struct ly_source src = {.read = bd_blob_source_read, .user = &in};
        struct ly_pack_opts po = {
                .codec = j->codec, .level = j->o->level, .reproducible = j->o->reproducible};
        struct bd_layer layer = {.tar_size = 0};
        struct ly_sink tar;
        struct digest diff_id;
        int r = cas_blob_open(j->c->cas, &l->desc.digest, &fd, err);

        if (r == 0)
                r = bd_packer_new(j->c, &po, &pack, err);
        if (r < 0)
                return r;
        in.fd = fd;
        tar = bd_packer_tar(pack);
        r = ly_unpack_stream(&src, &tar, NULL, &diff_id, NULL, NULL, err);
        if (r == 0 && !digest_eq(&diff_id, &l->diff_id))
                r = err_set(err, BLD_E_CORRUPT, "a layer's content is not what its image says");
        if (r == 0)
                r = bd_packer_end(pack, &layer, err);
        made = layer.desc;
        if (r < 0)
                return r;
        ret->digest = made.digest;
        ret->size = made.size;
        return 0;
}

/* 1 the layer's bytes are in that codec already. Media types lie: the magic decides. */
static int has_codec(const struct job *j, const struct bd_layer *l, struct bld_err *err)
{
        AUTO_FD int fd = -1;
        unsigned char magic[8];
        ssize_t n;
        int r = cas_blob_open(j->c->cas, &l->desc.digest, &fd, err);

        if (r < 0)
                return r;
        n = sys_pread(fd, magic, sizeof(magic), 0);
        if (n < 0)
                return err_sys(err, errno, "read a layer");
        return ly_codec_sniff(magic, (size_t)n) == j->codec;
}

static int convert_layer(const struct job *j, const struct bd_layer *l, struct img_desc *ret,
                         enum bd_format format, struct bld_err *err)
{
        struct img_desc made = {.media_type = NULL};
        struct digest key;
        const char *type = NULL;
        int r = bd_fetch_blob(j->c, &l->source, &l->desc, NULL, NULL, err);

        if (r == 0 && !j->o->force)
                r = has_codec(j, l, err);
        if (r != 0)
                return MIN(r, 0);
        r = bd_layer_type(ly_codec_media_type(j->codec), format, &type, err);
        if (r < 0)
                return r;
        record_key(j, &l->diff_id, &key);
        r = find_made(j, &key, &made, err);
        if (r == 0) {
                r = repack(j, l, &made, err);
                if (r == 0)
                        r = note_made(j, &key, &made, err);
        }
        if (r < 0)
                return r;
        img_desc_done(ret); /* annotations were about the old bytes */
        memset(ret, 0, sizeof(*ret));
        ret->digest = made.digest;
        ret->size = made.size;
        ret->media_type = mem_strdup(type);
        return ret->media_type ? 0 : err_nomem(err, "manifest");
}

int bd_recompress_layer(struct bd_ctx *c, const struct bd_layer *l,
                        const struct bd_recompress_opts *o, struct img_desc *ret,
                        struct bld_err *err)
{
        struct job j = {.c = c, .o = o};
        int r = bd_codec_parse(o->codec, &j.codec, err);

        return r == 0 ? convert_layer(&j, l, ret, BD_FORMAT_OCI, err) : r;
}

/* ---- documents ---- */

static int convert_image(const struct job *j, const struct img_desc *desc, struct img_desc *ret,
                         struct bld_err *err)
{
        AUTO(bd_image_done) struct bd_image im = {.source = {.domain = NULL}};
        AUTO(bd_layers_free) struct bd_layers layers = {.v = NULL};
        enum bd_format format = strcmp(desc->media_type, MT_DOCKER_MANIFEST) == 0 ? BD_FORMAT_DOCKER
                                                                                  : BD_FORMAT_OCI;
        bool changed = false;
        int r = bd_image_load(j->c, desc, NULL, &im, err);

        if (r == 0)
                r = bd_image_layers(&im, &layers, err);
        for (size_t i = 0; r == 0 && i < layers.n; i++) {
                struct img_desc *d = &im.manifest.layers.v[i];

                r = convert_layer(j, &layers.v[i], d, format, err);
                changed = changed || !digest_eq(&d->digest, &layers.v[i].desc.digest);
        }
        if (r == 0 && !changed) /* its very bytes, and so its digest */
                return img_desc_copy(desc, ret) < 0 ? err_nomem(err, "manifest") : 0;
        if (r == 0)
                r = bd_manifest_put(j->c, &im.manifest, ret, err);
        if (r < 0)
                return r;
        ret->has_platform = desc->has_platform;
        ret->platform = desc->platform;
        return 0;
}

/* Attestations speak of manifests by digest; of the new ones they would say nothing. */
int bd_drop_attestations(struct bd_ctx *c, struct img_index *ix, struct bld_err *err)
{
        struct img_descs kept = {.v = NULL};
        size_t n = 0;

        for (size_t i = 0; i < ix->manifests.n; i++) {
                const struct img_desc *d = &ix->manifests.v[i];
                struct img_desc *k;

                if (img_kvs_get(&d->annotations, "vnd.docker.reference.type")) {
                        n++;
                        continue;
                }
                k = img_descs_push(&kept);
                if (!k || img_desc_copy(d, k) < 0) {
                        img_descs_free(&kept);
                        return err_nomem(err, "index");
                }
        }
        if (n && c->note)
                c->note(c->user, "attestations were left out: they are about the image as it was");
        img_descs_free(&ix->manifests);
        ix->manifests = kept;
        return 0;
}

static int convert_index(const struct job *j, const struct img_desc *desc, struct img_desc *ret,
                         struct bld_err *err)
{
        AUTO(img_index_done) struct img_index ix = {.media_type = NULL};
        AUTO_SB struct sb doc = SB_INIT(IMG_MANIFEST_MAX), text = SB_INIT(IMG_MANIFEST_MAX);
        bool changed = false;
        int r = bd_doc_read(j->c, desc, IMG_MANIFEST_MAX, &doc, err);

        if (r == 0)
                r = img_index_decode(sb_text(&doc), doc.len, desc->media_type, &ix, err);
        for (size_t i = 0; r == 0 && i < ix.manifests.n; i++) {
                struct img_desc *d = &ix.manifests.v[i];
                AUTO(img_desc_done) struct img_desc made = {.media_type = NULL};

                if (!img_mt_is_manifest(d->media_type) ||
                    img_kvs_get(&d->annotations, "vnd.docker.reference.type"))
                        continue;
                r = convert_image(j, d, &made, err);
                if (r == 0) { /* platform and annotations of the entry stay */
                        changed = changed || !digest_eq(&d->digest, &made.digest);
                        d->digest = made.digest;
                        d->size = made.size;
                }
        }
        if (r == 0 && !changed)
                return img_desc_copy(desc, ret) < 0 ? err_nomem(err, "index") : 0;
        if (r == 0)
                r = bd_drop_attestations(j->c, &ix, err);
        if (r == 0)
                r = img_index_encode(&ix, &text, err);
        if (r == 0)
                r = bd_doc_put(j->c, sb_text(&text), text.len, NULL, &ret->digest, err);
        if (r < 0)
                return r;
        ret->size = text.len;
        ret->media_type = mem_strdup(ix.media_type ? ix.media_type : desc->media_type);
        return ret->media_type ? 0 : err_nomem(err, "index");
}

int bd_recompress(struct bd_ctx *c, const struct img_desc *desc, const struct bd_recompress_opts *o,
                  struct img_desc *ret, struct bld_err *err)
{
        struct job j = {.c = c, .o = o};
        struct img_desc d = {.media_type = NULL};
        int r = bd_codec_parse(o->codec, &j.codec, err);

        if (r == 0)
                r = img_mt_is_index(desc->media_type) ? convert_index(&j, desc, &d, err)
                                                      : convert_image(&j, desc, &d, err);
        if (r < 0) {
                img_desc_done(&d);
                return r;
        }
        *ret = d;
        return 0;
}
