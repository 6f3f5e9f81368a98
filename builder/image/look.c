/* One image read where it is: its documents, and where the bytes of its layers are. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/sys.h"
#include "builder/image/end_priv.h"
#include "layer/layer.h"

#define ARCHIVE_IMAGES_MAX 10000u

struct bd_look {
        struct bd_ctx *c;
        struct bd_end *end;     /* NULL: layers of the store */
        struct bd_layers chain; /* then */
        struct bd_image im;
        struct sb manifest, config;
        struct strv paths; /* of the layers in an archive of docker's */
};

/* ---- archives of docker's: a config and layers by name, no digests but diff IDs ---- */

static bool tag_is(const char *tag, const char *want)
{
        AUTO_REF struct img_ref a = {.domain = NULL}, b = {.domain = NULL};
        AUTO_FREE char *fa = NULL, *fb = NULL;

        if (str_eq(tag, want))
                return true;
        if (!tag || img_ref_parse(tag, &a, NULL) < 0 || img_ref_parse(want, &b, NULL) < 0)
                return false;
        fa = img_ref_format(&a, IMG_REF_DEFAULT_TAG);
        fb = img_ref_format(&b, IMG_REF_DEFAULT_TAG);
        return fa && str_eq(fa, fb);
}

/* Does the entry have that name, or a config whose digest begins with those digits? Configs are
 * named after their digests. */
static bool entry_is(const struct js *entry, const struct img_place *p)
{
        const struct js *tags = js_get(entry, "RepoTags");
        const char *config = js_get_str(entry, "Config"), *base;

        if (p->digits) {
                base = config ? strrchr(config, '/') : NULL;
                base = base ? base + 1 : config;
                return base && str_has_prefix(base, p->digits);
        }
        for (size_t i = 0; i < js_len(tags); i++)
                if (tag_is(js_str(js_at(tags, i)), p->name))
                        return true;
        return false;
}

static int choose_entry(const struct js *list, const struct img_place *p, const struct js **ret,
                        struct bld_err *err)
{
        size_t n = js_len(list);

        if (!js_is_arr(list) || n == 0 || n > ARCHIVE_IMAGES_MAX)
                return err_set(err, BLD_E_INVALID, "%s: manifest.json lists no image, or too many",
                               p->path);
        *ret = js_at(list, 0);
        if (!p->digits && !p->name && n > 1)
                return err_set(err, BLD_E_USAGE, "%s: several images; name one", p->path);
        for (size_t i = 0; i < n && (p->digits || p->name); i++)
                if (entry_is(js_at(list, i), p)) {
                        *ret = js_at(list, i);
                        return 0;
                }
        if (p->digits || p->name)
                return err_set(err, BLD_E_NOT_FOUND, "%s: there is no image \"%.200s\"", p->path,
                               p->digits ? p->digits : p->name);
        return 0;
}

static int docker_layer(struct bd_look *l, struct bd_input *in, const char *path,
                        struct bld_err *err)
{
        struct img_desc *d = img_descs_push(&l->im.manifest.layers);
        struct bd_part part = {.fd = -1};
        struct bd_part_source s = {.part = &part};
        unsigned char magic[8];
        ssize_t k;
        int r;

        if (!path)
                return err_set(err, BLD_E_INVALID, "manifest.json: a layer is not a path");
        if (!d || strv_add(&l->paths, path) < 0)
                return err_nomem(err, "layer");
        r = bd_input_find(in, path, &part, err);
        if (r == 0)
                return err_set(err, BLD_E_INVALID, "layer \"%.200s\" is missing", path);
        if (r < 0)
                return r;
        k = bd_part_read(&s, magic, sizeof(magic), err);
        d->size = part.size;
        bd_part_done(&part);
        if (k < 0)
                return (int)k;
        d->media_type = mem_strdup(ly_codec_media_type(ly_codec_sniff(magic, (size_t)k)));
        return d->media_type ? 0 : err_nomem(err, "layer");
}

static int docker_image(struct bd_look *l, struct bd_input *in, const struct js *entry,
                        struct bld_err *err)
{
        const struct js *layers = js_get(entry, "Layers");
        const char *path = js_get_str(entry, "Config");
        int r;

        if (!path)
                return err_set(err, BLD_E_INVALID, "manifest.json: an image has no Config");
        r = bd_input_read(in, path, IMG_CONFIG_MAX, &l->config, err);
        if (r == 0)
                r = err_set(err, BLD_E_INVALID, "config \"%.200s\" is missing", path);
        if (r < 0)
                return r;
        r = img_config_decode(sb_text(&l->config), l->config.len, &l->im.config, err);
        if (r < 0)
                return err_wrap(err, r, "%.200s", path);
        if (!js_is_null(layers) && !js_is_arr(layers))
                return err_set(err, BLD_E_INVALID, "manifest.json: Layers is not a list");
        if (js_len(layers) != l->im.config.ndiff_ids)
                return err_set(err, BLD_E_INVALID,
                               "manifest.json lists %zu layers, the image's config %zu",
                               js_len(layers), l->im.config.ndiff_ids);
        for (size_t i = 0; r == 0 && i < js_len(layers); i++)
                r = docker_layer(l, in, js_str(js_at(layers, i)), err);
        return r;
}

static int look_docker(struct bd_look *l, struct bd_input *in, const struct img_place *p,
                       struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(BD_LOAD_JSON_MAX);
        AUTO_JS struct js *list = NULL;
        struct bld_err own = BLD_ERR_INIT;
        const struct js *entry = NULL;
        int r = bd_input_read(in, "manifest.json", BD_LOAD_JSON_MAX, &text, err);

        if (r == 0) {
                r = err_set(err, BLD_E_INVALID, "%s: it holds no image", p->path);
                return err_why(err, r,
                               "there is neither index.json beside oci-layout nor manifest.json");
        }
        if (r < 0)
                return r;
        r = js_parse(sb_text(&text), text.len, &list, &own);
        if (r < 0) {
                err_copy(err, &own);
                return err_wrap(err, r, "%s: manifest.json", p->path);
        }
        r = choose_entry(list, p, &entry, err);
        if (r < 0)
                return r;
        r = docker_image(l, in, entry, &own);
        if (r < 0)
                err_copy(err, &own);
        return r < 0 ? err_wrap(err, r, "%s", p->path) : 0;
}

/* ---- all others ---- */

static int decode(struct bd_look *l, const struct bd_docs *docs, struct bld_err *err)
{
        struct bd_image *im = &l->im;
        char text[24];
        int r;

        bd_short(&im->desc.digest, text);
        r = docs->read(docs->user, &im->desc, IMG_MANIFEST_MAX, &l->manifest, err);
        if (r == 0)
                r = img_manifest_decode(sb_text(&l->manifest), l->manifest.len, im->desc.media_type,
                                        &im->manifest, err);
        if (r < 0)
                return err_wrap(err, r, "manifest %s", text);
        if (!img_mt_is_config(im->manifest.config.media_type))
                return err_set(err, BLD_E_INVALID,
                               "%s is not a container image: its config has the type \"%.100s\"",
                               text, im->manifest.config.media_type);
        r = docs->read(docs->user, &im->manifest.config, IMG_CONFIG_MAX, &l->config, err);
        if (r == 0)
                r = img_config_decode(sb_text(&l->config), l->config.len, &im->config, err);
        if (r < 0)
                return err_wrap(err, r, "config of %s", text);
        if (im->config.ndiff_ids != im->manifest.layers.n)
                return err_set(err, BLD_E_CORRUPT, "%s has %zu layers, but its config lists %zu",
                               text, im->manifest.layers.n, im->config.ndiff_ids);
        return 0;
}

static int look_end(struct bd_look *l, const struct bd_look_opts *o, struct bld_err *err)
{
        AUTO(img_desc_done) struct img_desc root = {.media_type = NULL};
        struct bd_docs docs = bd_end_docs(l->end);
        struct img_platform host;
        int r = bd_end_resolve(l->end, &root, err);

        img_platform_host(&host);
        if (r == 0)
                r = bd_choose(&docs, &root, o->platform ? o->platform : &host, &l->im.desc, err);
        return r == 0 ? decode(l, &docs, err) : r;
}

int bd_look_open(struct bd_ctx *c, const struct img_place *p, const struct bd_look_opts *o,
                 struct bd_look **ret, struct bld_err *err)
{
        AUTO(bd_look_free_p) struct bd_look *l = mem_zalloc(1, sizeof(*l));
        AUTO_REF struct img_ref own = {.domain = NULL};
        struct bd_input *docker;
        struct img_place at;
        int r;

        if (!l)
                return err_nomem(err, "image");
        l->c = c;
        sb_init(&l->manifest, IMG_MANIFEST_MAX + 1);
        sb_init(&l->config, IMG_CONFIG_MAX + 1);
        img_config_init(&l->im.config);
        r = bd_place_settle(c, p, o->offline, &at, &own, err);
        if (r == 0)
                r = bd_end_peek(c, &at, o->in_fd, &l->end, err);
        if (r < 0)
                return r;
        docker = bd_end_docker(l->end);
        r = docker ? look_docker(l, docker, &at, err) : look_end(l, o, err);
        if (r < 0)
                return img_at_is_file(at.at) ? bd_file_fault(r, err) : r;
        *ret = TAKE_PTR(&l);
        return 0;
}

int bd_look_layers(struct bd_ctx *c, const struct bd_layers *layers, struct bd_look **ret,
                   struct bld_err *err)
{
        AUTO(bd_look_free_p) struct bd_look *l = mem_zalloc(1, sizeof(*l));
        struct img_desc *d;

        if (!l)
                return err_nomem(err, "image");
        l->c = c;
        img_config_init(&l->im.config);
        if (bd_layers_append(&l->chain, layers) < 0)
                return err_nomem(err, "layers");
        for (size_t i = 0; i < layers->n; i++) {
                d = img_descs_push(&l->im.manifest.layers);
                if (!d || img_desc_copy(&layers->v[i].desc, d) < 0 ||
                    img_config_add_diff_id(&l->im.config, &layers->v[i].diff_id) < 0)
                        return err_nomem(err, "layers");
        }
        *ret = TAKE_PTR(&l);
        return 0;
}

void bd_look_free(struct bd_look *l)
{
        if (!l)
                return;
        bd_image_done(&l->im);
        sb_done(&l->manifest);
        sb_done(&l->config);
        strv_done(&l->paths);
        bd_layers_free(&l->chain);
        bd_end_free(l->end);
        free(l);
}

const struct bd_image *bd_look_image(const struct bd_look *l)
{
        return &l->im;
}

const struct sb *bd_look_manifest(const struct bd_look *l)
{
        return &l->manifest;
}

const struct sb *bd_look_config(const struct bd_look *l)
{
        return &l->config;
}

/* ---- blobs ---- */

/* Where it is: 1 in a file, 0 in *ret_repo, or nowhere (its domain is NULL). */
static int find(struct bd_look *l, size_t i, struct bd_part *ret, struct img_ref *ret_repo,
                struct bld_err *err)
{
        const struct img_desc *d = &l->im.manifest.layers.v[i];
        struct bd_input *docker = l->end ? bd_end_docker(l->end) : NULL;
        int r;

        if (!l->end) {
                r = bd_store_blob(l->c, d, ret, ret_repo, err);
                if (r == 0 && !ret_repo->domain && l->chain.v[i].source.domain)
                        r = img_ref_copy(&l->chain.v[i].source, ret_repo, err);
                return r;
        }
        if (docker) {
                r = bd_input_find(docker, l->paths.v[i], ret, err);
                return r == 0 ? err_set(err, BLD_E_MALFORMED, "layer \"%.200s\" is missing",
                                        l->paths.v[i])
                              : r;
        }
        /* what was downloaded once is not downloaded again */
        if (bd_end_repo(l->end) && bd_has(l->c, &d->digest, NULL) > 0)
                return bd_store_blob(l->c, d, ret, ret_repo, err);
        r = bd_end_blob(l->end, d, ret, ret_repo, err);
        /* of a store's image that was pulled lazily */
        if (r == 0 && !ret_repo->domain)
                r = MIN(bd_source_find(l->c, &l->im.desc.digest, ret_repo, err), 0);
        return r;
}

int bd_look_part(struct bd_look *l, size_t i, int *ret_fd, uint64_t *ret_off, uint64_t *ret_size,
                 struct bld_err *err)
{
        AUTO_REF struct img_ref repo = {.domain = NULL};
        struct bd_part part = {.fd = -1};
        int r = find(l, i, &part, &repo, err);

        if (r <= 0)
                return r;
        *ret_fd = part.owned ? part.fd : fcntl(part.fd, F_DUPFD_CLOEXEC, 3);
        *ret_off = part.off;
        *ret_size = part.size;
        return *ret_fd < 0 ? err_sys(err, errno, "open a layer") : 1;
}

int bd_look_relay(struct bd_look *l, size_t i, struct bd_relay **ret, struct bld_err *err)
{
        const struct img_desc *d = &l->im.manifest.layers.v[i];
        AUTO_REF struct img_ref repo = {.domain = NULL};
        struct bd_part part = {.fd = -1};
        char text[24];
        int r = find(l, i, &part, &repo, err);

        bd_part_done(&part);
        if (r < 0)
                return r;
        bd_short(&d->digest, text);
        if (!repo.domain)
                return err_set(err, BLD_E_NOT_FOUND,
                               "layer %s is not here, and nobody knows where it is", text);
        return bd_relay_new(l->c, &repo, d, ret, err);
}
