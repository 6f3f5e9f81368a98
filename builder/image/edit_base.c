/* An image on another base. */
#include "builder/image/edit_priv.h"

#include <string.h>

#include "base/err.h"

#define ANN_BASE_NAME "org.opencontainers.image.base.name"
#define ANN_BASE_DIGEST "org.opencontainers.image.base.digest"

/* ---- bases ---- */

static void base_done(struct edit_base *b)
{
        free(b->text);
        free(b->name);
        bd_end_free(b->end);
        img_desc_done(&b->root);
}

void edit_bases_free(struct edit_bases *a)
{
        for (size_t i = 0; i < a->n; i++)
                base_done(&a->v[i]);
        edit_bases_done(a);
}

int edit_name_of(const struct img_place *p, char **ret, struct bld_err *err)
{
        AUTO_REF struct img_ref ref = {.domain = NULL};
        int r = 0;

        *ret = NULL;
        if (p->at == IMG_AT_REGISTRY)
                r = img_ref_copy(&p->ref, &ref, err);
        else if (p->at != IMG_AT_STORE || img_ref_parse(p->name, &ref, NULL) < 0)
                return 0;
        /* by its digest alone it has no name */
        if (r < 0 || (!ref.tag && digest_is_set(&ref.digest)))
                return r;
        *ret = img_ref_format(&ref, IMG_REF_DEFAULT_TAG | IMG_REF_NO_DIGEST);
        return *ret ? 0 : err_nomem(err, "name");
}

static int open_base(struct edit *x, const char *text, struct edit_base *b, struct bld_err *err)
{
        AUTO_PLACE struct img_place p = {.text = NULL};
        AUTO_REF struct img_ref own = {.domain = NULL};
        struct img_place at;
        int r = img_place_parse(text, &p, err);

        if (r == 0)
                r = bd_place_settle(x->c, &p, x->o->offline, &at, &own, err);
        if (r == 0)
                r = bd_end_open(x->c, &at, -1, &b->end, err);
        if (r == 0)
                r = bd_end_resolve(b->end, &b->root, err);
        if (r == 0)
                r = edit_name_of(&at, &b->name, err);
        b->text = mem_strdup(text);
        return r == 0 && !b->text ? err_nomem(err, "base image") : r;
}

/* Opened once for all images of an index. */
static int base_of(struct edit *x, const char *text, size_t *ret, struct bld_err *err)
{
        struct edit_base *b;
        int r;

        for (size_t i = 0; i < x->bases.n; i++) {
                if (strcmp(x->bases.v[i].text, text) == 0) {
                        *ret = i;
                        return 0;
                }
        }
        b = edit_bases_push(&x->bases);
        if (!b)
                return err_nomem(err, "base image");
        *ret = x->bases.n - 1;
        r = open_base(x, text, b, err);
        if (r < 0) {
                base_done(b);
                x->bases.n--;
        }
        return r;
}

/* ---- which ones ---- */

static int unknown_base(const char *which, const char *flag, struct bld_err *err)
{
        int r = err_set(err, BLD_E_USAGE, "the image does not say what its %s base is", which);

        r = err_why(err, r, "it has no annotations " ANN_BASE_NAME " and .digest");
        return err_try(err, r, "%s IMAGE", flag);
}

static int new_base_text(const struct edit *x, const struct edit_image *im, const char **ret,
                         struct bld_err *err)
{
        *ret = x->o->new_base ? x->o->new_base : img_kvs_get(&im->m.annotations, ANN_BASE_NAME);
        return *ret && **ret ? 0 : unknown_base("new", "--new_base", err);
}

/* The digest it noted, in the repository of the name it noted. */
static int old_base_text(const struct edit *x, const struct edit_image *im, char **ret,
                         struct bld_err *err)
{
        const char *name = img_kvs_get(&im->m.annotations, ANN_BASE_NAME);
        const char *digest = img_kvs_get(&im->m.annotations, ANN_BASE_DIGEST);
        AUTO_REF struct img_ref ref = {.domain = NULL};
        int r;

        if (x->o->old_base) {
                *ret = mem_strdup(x->o->old_base);
                return *ret ? 0 : err_nomem(err, "base image");
        }
        if (!digest || !*digest)
                return unknown_base("old", "--old_base", err);
        r = img_ref_parse(name && *name ? name : x->o->new_base ? x->o->new_base : "", &ref, err);
        if (r == 0)
                r = digest_parse(digest, &ref.digest, err);
        if (r < 0)
                return err_wrap(err, r, "annotation of the image");
        *ret = img_ref_format(&ref, IMG_REF_NO_TAG);
        return *ret ? 0 : err_nomem(err, "base image");
}

/* ---- one image ---- */

static int read_base(struct edit_base *b, const struct img_platform *want, struct edit_image *ret,
                     struct bld_err *err)
{
        AUTO(img_desc_done) struct img_desc d = {.media_type = NULL};
        struct bd_docs docs = bd_end_docs(b->end);
        int r = bd_choose(&docs, &b->root, want, &d, err);

        if (r == 0)
                r = edit_image_read(b->end, &d, ret, err);
        if (r == 0)
                r = err_set(err, BLD_E_INVALID, "it is no container image");
        return r < 0 ? err_wrap(err, r, "base %s", b->text) : 0;
}

static int check_start(const struct edit_image *im, const struct edit_image *old, const char *name,
                       struct bld_err *err)
{
        const size_t n = old->conf.ndiff_ids;
        char have[DIGEST_STR_MAX], want[DIGEST_STR_MAX];
        int r;

        if (n > im->conf.ndiff_ids) {
                r = err_set(err, BLD_E_POLICY, "the image is not built on %s", name);
                return err_why(err, r, "the base has %zu layers, the image %zu", n,
                               im->conf.ndiff_ids);
        }
        for (size_t i = 0; i < n; i++) {
                if (digest_eq(&old->conf.diff_ids[i], &im->conf.diff_ids[i]))
                        continue;
                digest_format(&old->conf.diff_ids[i], want);
                digest_format(&im->conf.diff_ids[i], have);
                r = err_set(err, BLD_E_POLICY, "the image is not built on %s", name);
                return err_why(err, r, "layer %zu is %s, the base has %s", i, have, want);
        }
        return 0;
}

static int check_platform(const struct edit_image *im, const struct edit_image *nw,
                          const char *name, struct bld_err *err)
{
        char want[128], have[128];

        if (img_platform_score(&im->conf.platform, &nw->conf.platform) > 0)
                return 0;
        img_platform_format(&im->conf.platform, want);
        img_platform_format(&nw->conf.platform, have);
        return err_set(err, BLD_E_INVALID, "%s is for %s, the image for %s", name, have, want);
}

/* The new base's layers under types of the image's family; they stay where they are. */
static int base_layers(struct edit *x, const struct edit_image *im, const struct edit_image *nw,
                       struct bd_end *from, struct img_descs *ret, struct bld_err *err)
{
        for (size_t i = 0; i < nw->m.layers.n; i++) {
                struct img_desc *d = img_descs_push(ret);
                const char *type = NULL;
                int r;

                if (!d || img_desc_copy(&nw->m.layers.v[i], d) < 0)
                        return err_nomem(err, "layers");
                r = bd_layer_type(d->media_type, im->docker ? BD_FORMAT_DOCKER : BD_FORMAT_OCI,
                                  &type, err);
                if (r < 0)
                        return r;
                if (!str_eq(type, d->media_type)) {
                        free(d->media_type);
                        d->media_type = mem_strdup(type);
                        if (!d->media_type)
                                return err_nomem(err, "layers");
                }
                r = edit_lend(x, from, &d->digest, err);
                if (r < 0)
                        return r;
        }
        return 0;
}

int edit_note_base(struct edit *x, struct edit_image *im, const char *name, const struct digest *d,
                   struct bld_err *err)
{
        AUTO_SB struct sb by_name = SB_INIT(4096), by_digest = SB_INIT(4096);
        char text[DIGEST_STR_MAX];
        const char *v[2];
        struct img_words words = {.v = v, .n = 1};

        if (im->docker) {
                if (x->c->note)
                        x->c->note(x->c->user, "docker manifests have no annotations: the base "
                                               "image is not noted");
                return 0;
        }
        digest_format(d, text);
        sb_fmt(&by_digest, ANN_BASE_DIGEST "=%s", text);
        v[0] = sb_text(&by_digest);
        if (name) {
                sb_fmt(&by_name, ANN_BASE_NAME "=%s", name);
                v[words.n++] = sb_text(&by_name);
        } else if (js_is_obj(js_get(im->manifest, "annotations"))) {
                (void)js_del(js_get(im->manifest, "annotations"), ANN_BASE_NAME);
        }
        if (by_name.failed || by_digest.failed)
                return err_nomem(err, "annotations");
        return img_edit_annotations(im->manifest, &words, err);
}

int edit_rebase(struct edit *x, struct edit_image *im, struct bld_err *err)
{
        AUTO(edit_image_done) struct edit_image old = {.docker = false}, nw = {.docker = false};
        AUTO(img_descs_free) struct img_descs layers = {.v = NULL};
        AUTO_FREE char *old_text = NULL;
        const char *new_text = NULL;
        struct img_bases b = {.new_layers = &layers, .nsrc = im->m.layers.n};
        size_t ni = 0, oi = 0;
        int r = new_base_text(x, im, &new_text, err);

        if (r == 0)
                r = old_base_text(x, im, &old_text, err);
        if (r == 0)
                r = base_of(x, new_text, &ni, err);
        if (r == 0)
                r = read_base(&x->bases.v[ni], &im->conf.platform, &nw, err);
        if (r == 0 && strcmp(old_text, "scratch") != 0) {
                r = base_of(x, old_text, &oi, err);
                if (r == 0)
                        r = read_base(&x->bases.v[oi], &im->conf.platform, &old, err);
        }
        if (r == 0)
                r = check_start(im, &old, old_text, err);
        if (r == 0)
                r = check_platform(im, &nw, new_text, err);
        if (r == 0)
                r = base_layers(x, im, &nw, x->bases.v[ni].end, &layers, err);
        if (r < 0)
                return r;
        if (layers.n + b.nsrc - old.m.layers.n > IMG_LAYERS_MAX)
                return err_set(err, BLD_E_LIMIT, "an image of more than %d layers", IMG_LAYERS_MAX);
        b.old_config = old.config;
        b.new_config = nw.config;
        b.nold = old.m.layers.n;
        r = img_edit_rebase(im->manifest, im->config, &b, err);
        return r == 0 ? edit_note_base(x, im, x->bases.v[ni].name, &x->bases.v[ni].root.digest, err)
                      : r;
}
