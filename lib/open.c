/* An image opened for reading, wherever it is. */
#include "bld/open.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/num.h"
#include "lib/layer_priv.h"
#include "lib/open_state_priv.h"
#include "lib/session_priv.h"

/* ---- making and freeing ---- */

int lib_image_new(const char *name, size_t n, const struct bld_image_open_opts *o,
                  struct bld_image **ret, struct bld_err *err)
{
        struct bld_image *im;
        int r = lib_watch_known(o->watch, err);

        if (r < 0)
                return r;
        im = mem_zalloc(1, sizeof(*im));
        if (!im)
                return err_nomem(err, "image");
        im->file = -1;
        pthread_mutex_init(&im->watch_lock, NULL);
        im->watch = o->watch;
        im->limits = (struct ly_limits){.bytes = o->max_bytes, .entries = o->max_entries};
        im->n = n;
        im->name = mem_strdup(name);
        im->v = mem_zalloc(MAX(n, 1), sizeof(*im->v));
        im->texts = mem_zalloc(MAX(n, 1), sizeof(*im->texts));
        im->tocs = mem_zalloc(MAX(n, 1), sizeof(struct ly_toc *));
        if (!im->name || !im->v || !im->texts || !im->tocs) {
                bld_image_close(im);
                return err_nomem(err, "image");
        }
        for (size_t i = 0; i < n; i++)
                im->v[i].info.number = i;
        *ret = im;
        return 0;
}

void bld_image_close(struct bld_image *im)
{
        if (!im)
                return;
        for (size_t i = 0; im->tocs && i < im->n; i++)
                ly_toc_free(im->tocs[i]);
        free(im->tocs);
        free(im->v);
        free(im->texts);
        free(im->name);
        bd_look_free(im->look);
        bld_layer_close(im->own);
        fd_close(&im->file);
        pthread_mutex_destroy(&im->watch_lock);
        free(im);
}

static void set_digest(struct bld_image *im, size_t i, const struct digest *d)
{
        if (!digest_is_set(d))
                return;
        im->v[i].has_digest = true;
        im->v[i].digest = *d;
        digest_format(d, im->texts[i].digest);
        im->v[i].info.digest = im->texts[i].digest;
}

static void set_diff_id(struct bld_image *im, size_t i, const struct digest *d)
{
        im->v[i].has_diff_id = true;
        im->v[i].diff_id = *d;
        digest_format(d, im->texts[i].diff_id);
        im->v[i].info.diff_id = im->texts[i].diff_id;
}

/* ---- layers that are open, and folders ---- */

void lib_image_set_layer(struct bld_image *im, size_t i, struct bld_layer *l)
{
        struct digest d;

        im->v[i].layer = l;
        if (digest_parse(bld_layer_diff_id(l), &d, NULL) == 0)
                set_diff_id(im, i, &d);
        set_digest(im, i, &l->toc->blob);
        im->v[i].info.media_type = bld_layer_media_type(l);
        im->v[i].info.blob_size = l->file_size;
}

int bld_image_of_layers(struct bld_layer *const *v, size_t n, struct bld_image **ret,
                        struct bld_err *err)
{
        const struct bld_image_open_opts o = {.size = sizeof(o)};
        struct bld_image *im;
        int r = lib_image_new("layers", n, &o, &im, err);

        if (r < 0)
                return r;
        for (size_t i = 0; i < n; i++)
                lib_image_set_layer(im, i, v[i]);
        *ret = im;
        return 0;
}

int lib_image_open_dir(int dir_fd, const struct bld_image_open_opts *o, struct bld_image **ret,
                       struct bld_err *err)
{
        AUTO(bld_image_close_p) struct bld_image *im = NULL;
        int r = lib_image_new("folder", 1, o, &im, err);

        if (r == 0)
                r = lib_layer_open_dir(dir_fd, o->watch, &im->own, err);
        if (r < 0)
                return r;
        lib_image_set_layer(im, 0, im->own);
        /* nobody transfers it */
        im->v[0].has_digest = false;
        im->v[0].info.digest = im->v[0].info.media_type = NULL;
        *ret = TAKE_PTR(&im);
        return 0;
}

int bld_image_open_dir(int dir_fd, const struct bld_image_open_opts *o, struct bld_image **ret,
                       struct bld_err *err)
{
        struct bld_image_open_opts own;
        int r = lib_opts_copy(&own, sizeof(own), o, "bld_image_open_dir", err);

        return r == 0 ? lib_image_open_dir(dir_fd, &own, ret, err) : r;
}

/* ---- what has documents ---- */

/* The history's entries that made a layer, where there are as many of them as layers. */
static void pair_history(struct bld_image *im, const struct img_config *c)
{
        size_t full = 0, at = 0;

        for (size_t i = 0; i < c->history.n; i++)
                full += !c->history.v[i].empty_layer;
        if (full != im->n)
                return;
        for (size_t i = 0; i < c->history.n; i++)
                if (!c->history.v[i].empty_layer)
                        im->v[at++].info.created_by = c->history.v[i].created_by;
}

static int of_look(struct bld *b, const char *name, struct bd_look *look,
                   const struct bld_image_open_opts *o, struct bld_image **ret, struct bld_err *err)
{
        const struct bd_image *from = bd_look_image(look);
        const struct img_descs *layers = &from->manifest.layers;
        struct bld_image *im;
        int r = lib_image_new(name, layers->n, o, &im, err);

        if (r < 0) {
                bd_look_free(look);
                return r;
        }
        im->b = b;
        im->look = look;
        digest_format(&from->desc.digest, im->digest);
        for (size_t i = 0; i < im->n; i++) {
                /* of a tar that is not compressed both are the same, and archives tell one only */
                set_digest(im, i,
                           digest_is_set(&layers->v[i].digest) ||
                                           !str_eq(layers->v[i].media_type, MT_OCI_LAYER)
                                   ? &layers->v[i].digest
                                   : &from->config.diff_ids[i]);
                set_diff_id(im, i, &from->config.diff_ids[i]);
                im->v[i].info.media_type = layers->v[i].media_type;
                im->v[i].info.blob_size = layers->v[i].size;
        }
        pair_history(im, &from->config);
        *ret = im;
        return 0;
}

int lib_open_place(struct bld *b, const char *text, const struct bld_image_open_opts *o,
                   struct bld_image **ret, struct bld_err *err)
{
        AUTO_PLACE struct img_place p = {.text = NULL};
        struct img_platform platform;
        struct bd_look_opts lo = {
                .platform = &platform, .offline = b->o.offline, .in_fd = o->in_fd};
        struct bd_look *look = NULL;
        int r = lib_platform(o->platform, &platform, err);

        if (r == 0)
                r = img_place_parse(text, &p, err);
        if (r == 0)
                r = bd_look_open(&b->ctx, &p, &lo, &look, err);
        r = r == 0 ? of_look(b, text, look, o, ret, err) : r;
        if (r == 0)
                (*ret)->from_file = img_at_is_file(p.at);
        return r;
}

/* ---- names ---- */

/* "#N" at the end; 1 and the rest in *ret_rest, 0 when there is none. */
static int split_number(const char *ref, char **ret_rest, int64_t *ret_n, struct bld_err *err)
{
        const char *hash = strrchr(ref, '#'), *digits;
        uint64_t n;

        if (!hash || hash == ref)
                return 0;
        digits = hash + 1 + (hash[1] == '-');
        if (!*digits || digits[strspn(digits, "0123456789")])
                return 0;
        if (!parse_u64(digits, 0, IMG_LAYERS_MAX, &n))
                return err_set(err, BLD_E_INVALID, "\"%.200s\": no image has so many layers", ref);
        *ret_n = hash[1] == '-' ? -(int64_t)n : (int64_t)n;
        if (hash[1] == '-' && n == 0)
                return err_set(err, BLD_E_INVALID, "\"%.200s\": layers from the top begin with -1",
                               ref);
        *ret_rest = mem_strndup(ref, (size_t)(hash - ref));
        return *ret_rest ? 1 : err_nomem(err, "name of an image");
}

/* Of all layers only number n. */
static int keep_layer(struct bld_image *im, const char *ref, int64_t n, struct bld_err *err)
{
        size_t i = n < 0 ? im->n - (size_t)-n : (size_t)n;

        if (n < 0 ? (uint64_t)-n > im->n : (uint64_t)n >= im->n)
                return err_set(err, BLD_E_NOT_FOUND, "\"%.200s\": the image has %zu layer%s", ref,
                               im->n, im->n == 1 ? "" : "s");
        im->v[0] = im->v[i];
        im->texts[0] = im->texts[i];
        im->n = 1;
        if (im->v[0].info.digest)
                im->v[0].info.digest = im->texts[0].digest;
        if (im->v[0].info.diff_id)
                im->v[0].info.diff_id = im->texts[0].diff_id;
        im->one_of_many = true;
        return 0;
}

static int set_name(struct bld_image *im, const char *ref, struct bld_err *err)
{
        char *name = mem_strdup(ref);

        if (!name)
                return err_nomem(err, "name of an image");
        free(im->name);
        im->name = name;
        return 0;
}

/* "ID" of a build, or "ID:STEP". 1 opened, 0 it is no such thing. */
static int open_build(struct bld *b, const char *ref, const struct bld_image_open_opts *o,
                      struct bld_image **ret, struct bld_err *err)
{
        AUTO(bd_layers_free) struct bd_layers layers = {.v = NULL};
        struct bd_look *look = NULL;
        size_t n = strcspn(ref, ":");
        char digest[DIGEST_STR_MAX];
        int r;

        if (!bd_build_is(&b->ctx, ref, n))
                return 0;
        if (!ref[n]) {
                r = bd_build_image(&b->ctx, ref, digest, err);
                if (r == 0)
                        r = lib_open_place(b, digest, o, ret, err);
                return r < 0 ? r : 1;
        }
        r = bd_build_layers(&b->ctx, ref, ref + n + 1, &layers, err);
        if (r == 0)
                r = bd_look_layers(&b->ctx, &layers, &look, err);
        if (r == 0)
                r = of_look(b, ref, look, o, ret, err);
        return r < 0 ? r : 1;
}

static int open_whole(struct bld *b, const char *ref, const struct bld_image_open_opts *o,
                      struct bld_image **ret, struct bld_err *err)
{
        int r = lib_is_path(ref) ? 0 : open_build(b, ref, o, ret, err);

        if (r != 0)
                return MIN(r, 0);
        if (lib_is_path(ref))
                return lib_open_path(b, ref, o, ret, err);
        r = lib_open_place(b, ref, o, ret, err);
        if (r == BLD_E_NOT_FOUND && access(ref, F_OK) == 0)
                return err_try(err, r, "./%s is what has that name here", ref);
        return r;
}

int bld_image_open(struct bld *b, const char *ref, const struct bld_image_open_opts *o,
                   struct bld_image **ret, struct bld_err *err)
{
        AUTO(bld_image_close_p) struct bld_image *im = NULL;
        AUTO_FREE char *rest = NULL;
        struct bld_image_open_opts own;
        int64_t n = 0;
        int numbered = 0, r = lib_opts_copy(&own, sizeof(own), o, "bld_image_open", err);

        if (r == 0)
                r = numbered = split_number(ref, &rest, &n, err);
        if (r >= 0)
                r = open_whole(b, rest ? rest : ref, &own, &im, err);
        if (r == 0)
                im->b = b;
        if (r == 0 && numbered)
                r = keep_layer(im, ref, n, err);
        if (r == 0)
                r = set_name(im, ref, err);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(&im);
        return 0;
}

/* ---- what it is ---- */

const char *bld_image_name(const struct bld_image *im)
{
        return im->name;
}

const char *bld_image_digest(const struct bld_image *im)
{
        return im->digest[0] && !im->one_of_many ? im->digest : NULL;
}

static const char *document(const struct bld_image *im, const struct sb *text, size_t *ret_len)
{
        bool has = text && text->len && !im->one_of_many;

        if (ret_len)
                *ret_len = has ? text->len : 0;
        return has ? sb_text(text) : NULL;
}

const char *bld_image_manifest(const struct bld_image *im, size_t *ret_len)
{
        return document(im, im->look ? bd_look_manifest(im->look) : NULL, ret_len);
}

const char *bld_image_config(const struct bld_image *im, size_t *ret_len)
{
        return document(im, im->look ? bd_look_config(im->look) : NULL, ret_len);
}

size_t bld_image_layers(const struct bld_image *im)
{
        return im->n;
}

const struct bld_layer_info *bld_image_layer(const struct bld_image *im, size_t i)
{
        return i < im->n ? &im->v[i].info : NULL;
}

/* ---- for the other files of the library ---- */

size_t lib_image_layers(const struct bld_image *im)
{
        return im->n;
}

const struct lib_layer_ref *lib_image_layer(const struct bld_image *im, size_t i)
{
        return &im->v[i];
}

struct bld *lib_image_session(const struct bld_image *im)
{
        return im->b;
}

int lib_image_check(const struct bld_image *im, struct bld_err *err)
{
        int r = lib_watch_check(im->watch, err);

        return r == 0 && im->b ? cancel_check(&im->b->cancel, err) : r;
}

int lib_image_fault(const struct bld_image *im, int r, struct bld_err *err)
{
        return im->from_file && r == BLD_E_CORRUPT ? bd_file_fault(r, err) : r;
}

const struct ly_limits *lib_image_limits(const struct bld_image *im)
{
        return &im->limits;
}

static enum ly_codec codec_of(const char *media_type)
{
        if (media_type && str_has_suffix(media_type, "gzip"))
                return LY_CODEC_GZIP;
        return media_type && str_has_suffix(media_type, "zstd") ? LY_CODEC_ZSTD : LY_CODEC_NONE;
}

int lib_image_toc(struct bld_image *im, size_t i, const struct ly_toc **ret, struct bld_err *err)
{
        struct lib_layer_ref *l = &im->v[i];
        struct ly_toc *t = im->tocs[i];
        int r;

        if (l->layer) {
                *ret = l->layer->toc;
                return 1;
        }
        if (!t) {
                if (!im->b || !l->has_diff_id)
                        return 0;
                r = bd_toc_find(&im->b->ctx, &l->diff_id, &im->tocs[i], err);
                if (r <= 0)
                        return r;
                t = im->tocs[i];
                /* offsets in a blob of another compression mean nothing here */
                if (!l->has_digest || !digest_eq(&t->blob, &l->digest)) {
                        t->nseeks = 0;
                        t->codec = codec_of(l->info.media_type);
                }
        }
        *ret = t;
        return 1;
}
