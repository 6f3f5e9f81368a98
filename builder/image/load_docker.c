/* Archives of `docker save`, old and new, and of containers/image: manifest.json names a config and
 * layers by paths inside the archive. Layers have no digests there; the diff IDs of the config are
 * what they are checked against. */
#include "builder/image/load_priv.h"

#include <string.h>

#include "base/err.h"
#include "base/json.h"
#include "builder/image/move_priv.h"
#include "builder/image/tree_priv.h"

#define COPY_BYTES (256u << 10)
#define IMAGES_MAX 10000u

/* ---- one layer ---- */

static int writer_sink(void *user, const void *p, size_t n, struct bld_err *err)
{
        return cas_writer_add(user, p, n, err);
}

/* Sends what is read on to a writer: a compressed layer is stored as it came. */
struct tee {
        struct bd_part_source src;
        struct cas_writer *w;
};

static ssize_t tee_read(void *user, void *p, size_t n, struct bld_err *err)
{
        struct tee *t = user;
        ssize_t k = bd_part_read(&t->src, p, n, err);
        int r;

        if (k <= 0)
                return k;
        r = cas_writer_add(t->w, p, (size_t)k, err);
        return r < 0 ? r : k;
}

static int check_diff_id(const struct digest *have, const struct digest *want, const char *path,
                         struct bld_err *err)
{
        char a[DIGEST_STR_MAX], b[DIGEST_STR_MAX];
        int r;

        if (digest_eq(have, want))
                return 0;
        digest_format(have, a);
        digest_format(want, b);
        r = err_set(err, BLD_E_INVALID, "layer \"%.200s\" is not what its image says", path);
        return err_why(err, r, "its content hashes to %s, the config has %s", a, b);
}

static int keep_toc(struct bd_ctx *c, struct ly_toc *toc, const struct digest *diff_id,
                    const struct digest *blob, struct bld_err *err)
{
        if (!toc) /* without it the layer is read once more when somebody asks */
                return 0;
        toc->blob = *blob;
        return bd_toc_put(c, diff_id, toc, err);
}

static int pack_part(struct bd_input *in, const struct bd_part *part, const struct ly_sink *sink,
                     struct ly_packed *ret, struct ly_toc **ret_toc, struct bld_err *err)
{
        const struct ly_pack_opts o = {.codec = LY_CODEC_GZIP};
        struct bd_part_source s = {.part = part, .cancel = in->c->cancel};
        AUTO(ly_pack_free_p) struct ly_pack *pack = NULL;
        AUTO_FREE char *buf = mem_alloc(COPY_BYTES);
        ssize_t k;
        int r;

        if (!buf)
                return err_nomem(err, "layer");
        r = ly_pack_new(sink, &o, &pack, err);
        if (r < 0)
                return r;
        while ((k = bd_part_read(&s, buf, COPY_BYTES, err)) > 0) {
                r = ly_pack_write(pack, buf, (size_t)k, err);
                if (r < 0)
                        return r;
        }
        return k < 0 ? (int)k : ly_pack_end(pack, ret, ret_toc, err);
}

/* A plain tar is packed: nobody wants to store or push it uncompressed. */
static int pack_layer(struct bd_input *in, const struct bd_part *part, const char *path,
                      const struct digest *diff_id, struct img_desc *ret, struct bld_err *err)
{
        AUTO(cas_writer_free_p) struct cas_writer *w = NULL;
        AUTO(ly_toc_free_p) struct ly_toc *toc = NULL;
        struct ly_packed packed = {.tar_size = 0};
        struct ly_sink sink;
        int r = cas_writer_open(in->c->cas, &w, err);

        if (r < 0)
                return r;
        sink = (struct ly_sink){.write = writer_sink, .user = w};
        r = pack_part(in, part, &sink, &packed, &toc, err);
        if (r < 0)
                return r;
        r = check_diff_id(&packed.diff_id, diff_id, path, err);
        if (r == 0)
                r = cas_writer_commit(w, &packed.digest, packed.size, &ret->digest, err);
        if (r == 0)
                r = keep_toc(in->c, toc, diff_id, &packed.digest, err);
        if (r < 0)
                return r;
        ret->size = packed.size;
        ret->media_type = mem_strdup(packed.media_type);
        return ret->media_type ? 0 : err_nomem(err, "layer");
}

static int keep_layer(struct bd_input *in, const struct bd_part *part, const char *path,
                      enum ly_codec codec, const struct digest *diff_id, struct img_desc *ret,
                      struct bld_err *err)
{
        AUTO(cas_writer_free_p) struct cas_writer *w = NULL;
        AUTO(ly_toc_free_p) struct ly_toc *toc = NULL;
        struct tee t = {.src = {.part = part, .cancel = in->c->cancel}};
        struct ly_source src = {.read = tee_read, .user = &t};
        struct digest have;
        int r = cas_writer_open(in->c->cas, &w, err);

        t.w = w;
        if (r == 0)
                r = ly_unpack_stream(&src, NULL, NULL, &have, NULL, &toc, err);
        if (r == 0)
                r = check_diff_id(&have, diff_id, path, err);
        if (r == 0)
                r = cas_writer_commit(w, NULL, 0, &ret->digest, err);
        if (r == 0)
                r = keep_toc(in->c, toc, diff_id, &ret->digest, err);
        if (r < 0)
                return r;
        ret->size = t.src.at;
        ret->media_type =
                mem_strdup(codec == LY_CODEC_ZSTD ? MT_OCI_LAYER_ZSTD : MT_OCI_LAYER_GZIP);
        return ret->media_type ? 0 : err_nomem(err, "layer");
}

static int load_part(struct bd_input *in, const struct bd_part *part, const char *path,
                     const struct digest *diff_id, struct img_desc *ret, struct bld_err *err)
{
        struct bd_part_source s = {.part = part, .cancel = in->c->cancel};
        unsigned char magic[8];
        ssize_t k = bd_part_read(&s, magic, sizeof(magic), err);
        enum ly_codec codec;

        if (k < 0)
                return (int)k;
        codec = ly_codec_sniff(magic, (size_t)k);
        return codec == LY_CODEC_NONE ? pack_layer(in, part, path, diff_id, ret, err)
                                      : keep_layer(in, part, path, codec, diff_id, ret, err);
}

/* Images of one archive share layers: each is read once. */
struct loaded {
        struct bd_input *in;
        struct map layers; /* diff ID as text -> struct img_desc */
};

static void free_desc(void *p)
{
        img_desc_done(p);
        free(p);
}

static int load_layer(struct loaded *l, const char *path, const struct digest *diff_id,
                      struct img_desc *ret, struct bld_err *err)
{
        struct bd_part part = {.fd = -1};
        char key[DIGEST_STR_MAX];
        const struct img_desc *known;
        struct img_desc *d;
        int r;

        digest_format(diff_id, key);
        known = map_get(&l->layers, key);
        if (known)
                return img_desc_copy(known, ret) < 0 ? err_nomem(err, "layer") : 0;
        r = bd_input_find(l->in, path, &part, err);
        if (r == 0)
                r = err_set(err, BLD_E_INVALID, "layer \"%.200s\" is missing", path);
        if (r < 0)
                return r;
        r = load_part(l->in, &part, path, diff_id, ret, err);
        bd_part_done(&part);
        if (r == BLD_E_CORRUPT)
                return err_wrap(err, r, "layer \"%.200s\"", path);
        if (r < 0)
                return r;
        d = mem_zalloc(1, sizeof(*d));
        if (!d || img_desc_copy(ret, d) < 0 || map_set(&l->layers, key, d) < 0) {
                if (d)
                        free_desc(d);
                return err_nomem(err, "layer");
        }
        return 0;
}

/* ---- one image ---- */

static int fill_manifest(struct loaded *l, const struct js *entry, const struct img_config *config,
                         struct img_manifest *m, struct bld_err *err)
{
        const struct js *layers = js_get(entry, "Layers");

        if (!js_is_null(layers) && !js_is_arr(layers))
                return err_set(err, BLD_E_INVALID, "manifest.json: Layers is not a list");
        if (js_len(layers) != config->ndiff_ids)
                return err_set(err, BLD_E_INVALID,
                               "manifest.json lists %zu layers, the image's config %zu",
                               js_len(layers), config->ndiff_ids);
        for (size_t i = 0; i < config->ndiff_ids; i++) {
                const char *path = js_str(js_at(layers, i));
                struct img_desc *d = img_descs_push(&m->layers);
                int r;

                if (!path)
                        return err_set(err, BLD_E_INVALID, "manifest.json: a layer is not a path");
                if (!d)
                        return err_nomem(err, "manifest");
                r = load_layer(l, path, &config->diff_ids[i], d, err);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* The config's bytes are kept as they are: their digest is the image's id. */
static int load_config(struct bd_input *in, const struct js *entry, struct img_config *config,
                       struct img_desc *ret, struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(IMG_CONFIG_MAX);
        const char *path = js_get_str(entry, "Config");
        int r;

        if (!path)
                return err_set(err, BLD_E_INVALID, "manifest.json: an image has no Config");
        r = bd_input_read(in, path, IMG_CONFIG_MAX, &text, err);
        if (r == 0)
                r = err_set(err, BLD_E_INVALID, "config \"%.200s\" is missing", path);
        if (r < 0)
                return r;
        r = img_config_decode(sb_text(&text), text.len, config, err);
        if (r < 0)
                return err_wrap(err, r, "%.200s", path);
        r = bd_doc_put(in->c, sb_text(&text), text.len, NULL, &ret->digest, err);
        if (r < 0)
                return r;
        ret->size = text.len;
        ret->media_type = mem_strdup(MT_OCI_CONFIG);
        return ret->media_type ? 0 : err_nomem(err, "config");
}

static int put_manifest(struct bd_ctx *c, struct img_manifest *m, const struct img_config *config,
                        struct img_desc *ret, struct bld_err *err)
{
        int r;

        m->media_type = mem_strdup(MT_OCI_MANIFEST);
        if (!m->media_type)
                return err_nomem(err, "manifest");
        r = bd_manifest_put(c, m, ret, err);
        if (r == 0 && config->platform.os[0] && config->platform.arch[0]) {
                ret->has_platform = true;
                ret->platform = config->platform;
        }
        return r;
}

static int name_image(struct bd_input *in, const struct js *entry, const struct img_desc *desc,
                      struct strv *names, struct img_descs *descs, struct bld_err *err)
{
        AUTO_STRV struct strv tags = {.v = NULL};
        int r = js_to_strv(js_get(entry, "RepoTags"), &tags, err);

        if (r < 0)
                return err_wrap(err, r, "manifest.json: RepoTags");
        if (tags.n == 0)
                return bd_load_named(in, NULL, desc, names, descs, err);
        for (size_t i = 0; r == 0 && i < tags.n; i++) {
                AUTO_REF struct img_ref ref = {.domain = NULL};

                r = img_ref_parse(tags.v[i], &ref, err);
                if (r == 0)
                        r = bd_load_named(in, tags.v[i], desc, names, descs, err);
        }
        return r;
}

static int load_image(struct loaded *l, const struct js *entry, struct strv *names,
                      struct img_descs *descs, struct bld_err *err)
{
        AUTO(img_manifest_done) struct img_manifest m = {.media_type = NULL};
        AUTO(img_desc_done) struct img_desc desc = {.media_type = NULL};
        AUTO(img_config_done) struct img_config config;
        int r;

        img_config_init(&config);
        if (!js_is_obj(entry))
                return err_set(err, BLD_E_INVALID, "manifest.json: an entry is not an object");
        r = load_config(l->in, entry, &config, &m.config, err);
        if (r == 0)
                r = fill_manifest(l, entry, &config, &m, err);
        if (r == 0)
                r = put_manifest(l->in->c, &m, &config, &desc, err);
        if (r == 0)
                r = name_image(l->in, entry, &desc, names, descs, err);
        return r;
}

int bd_load_docker(struct bd_input *in, const char *manifest_json, size_t len, struct strv *names,
                   struct img_descs *descs, struct bld_err *err)
{
        AUTO_JS struct js *list = NULL;
        struct loaded l = {.in = in};
        int r = js_parse(manifest_json, len, &list, err);

        if (r < 0)
                return err_wrap(err, r, "manifest.json");
        if (!js_is_arr(list) || js_len(list) == 0 || js_len(list) > IMAGES_MAX)
                return err_set(err, BLD_E_INVALID, "manifest.json lists no image, or too many");
        map_init(&l.layers, free_desc);
        for (size_t i = 0; r == 0 && i < js_len(list); i++)
                r = load_image(&l, js_at(list, i), names, descs, err);
        map_done(&l.layers);
        return r;
}
