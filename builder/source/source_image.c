/* What an image name means: a name in the store, what it resolved to before, or a registry. */
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/json.h"
#include "base/num.h"
#include "builder/source/source_priv.h"

#define IMAGE_KIND "imag"
#define STALE_SEC 86400

struct resolver {
        struct bd_ctx *c;
        const struct bld_build_opts *o;
        const struct named_contexts *named;
        struct map seen; /* "name platform" -> struct img_desc * of the manifest */
};

static void free_desc(void *p)
{
        if (p)
                img_desc_done(p);
        free(p);
}

int resolver_new(struct bd_ctx *c, const struct bld_build_opts *o,
                 const struct named_contexts *named, struct resolver **ret, struct bld_err *err)
{
        struct resolver *x = mem_zalloc(1, sizeof(*x));

        if (!x)
                return err_nomem(err, "base images");
        x->c = c;
        x->o = o;
        x->named = named;
        map_init(&x->seen, free_desc);
        *ret = x;
        return 0;
}

void resolver_free(struct resolver *x)
{
        if (!x)
                return;
        map_done(&x->seen);
        free(x);
}

static void record_key(const char *id, struct digest *ret)
{
        struct hasher h;

        hasher_init(&h, DIGEST_SHA256);
        hasher_field_str(&h, "bld-image-v1");
        hasher_field_str(&h, id);
        hasher_end(&h, ret);
}

static int remember(struct resolver *x, const char *id, const struct bd_image *im,
                    struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(65536);
        AUTO_JS struct js *j = js_obj();
        struct digest key;
        int r = js_set(j, "manifest", img_desc_encode(&im->desc));

        if (r < 0)
                return err_nomem(err, "image record");
        r = js_write(j, JS_COMPACT, &text, err);
        if (r < 0)
                return r;
        record_key(id, &key);
        return cas_result_put(x->c->cas, &key, IMAGE_KIND, sb_text(&text), text.len,
                              &im->desc.digest, 1, err);
}

static void note_age(struct resolver *x, const char *name, const struct digest *key)
{
        int64_t when = 0, now = time_now_ns() / 1000000000;
        char text[512];

        if (cas_result_time(x->c->cas, key, &when) != 1 || now - when < STALE_SEC)
                return;
        (void)snprintf(text, sizeof(text), "%s was resolved %lld days ago; --pull looks again",
                       name, (long long)((now - when) / STALE_SEC));
        if (x->c->note)
                x->c->note(x->c->user, text);
}

/* 1 when it was resolved before and its documents are still here. */
static int recall(struct resolver *x, const char *id, const char *name,
                  const struct img_platform *platform, struct bd_image *ret, struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(65536);
        AUTO_JS struct js *j = NULL;
        struct img_desc desc = {0};
        struct digest key;
        int r;

        record_key(id, &key);
        r = cas_result_get(x->c->cas, &key, IMAGE_KIND, &text, err);
        if (r <= 0)
                return r;
        if (js_parse(sb_text(&text), text.len, &j, NULL) < 0 ||
            img_desc_decode(js_get(j, "manifest"), &desc, NULL) < 0)
                return 0;
        r = bd_image_load(x->c, &desc, platform, ret, NULL) == 0;
        img_desc_done(&desc);
        if (r)
                note_age(x, name, &key);
        return r;
}

static int in_store(struct resolver *x, const char *full, const struct img_platform *platform,
                    struct bd_image *ret, struct bld_err *err)
{
        struct bld_err own = BLD_ERR_INIT;
        struct img_desc desc = {0};
        int r = cas_ref_get(x->c->cas, full, &desc, &own);

        if (r == BLD_E_NOT_FOUND)
                return 0;
        if (r == 0)
                r = bd_image_load(x->c, &desc, platform, ret, &own);
        img_desc_done(&desc);
        if (r == BLD_E_NOT_FOUND) /* pruned, or another platform's: a registry may have it */
                return 0;
        if (r < 0)
                err_copy(err, &own);
        return r < 0 ? r : 1;
}

/* Where this build found it is where its layers are asked for. */
static int set_source(const struct img_ref *ref, struct bd_image *im, struct bld_err *err)
{
        img_ref_done(&im->source);
        return img_ref_copy(ref, &im->source, err);
}

static int resolve(struct resolver *x, const struct img_ref *ref, const char *full, const char *id,
                   const struct img_platform *platform, struct bd_image *ret, struct bld_err *err)
{
        int r = 0;

        if (x->o->pull != BLD_PULL_ALWAYS && x->o->pull != BLD_PULL_NEWER) {
                r = in_store(x, full, platform, ret, err);
                if (r == 0) {
                        r = recall(x, id, full, platform, ret, err);
                        if (r == 1 && set_source(ref, ret, err) < 0)
                                return BLD_E_NOMEM;
                }
        }
        if (r != 0)
                return r < 0 ? r : 0;
        if (x->o->pull == BLD_PULL_NEVER)
                return err_try(err, err_set(err, BLD_E_NOT_FOUND, "%s is not in the store", full),
                               "leave --pull=never out, or: bld pull %s", full);
        r = bd_fetch_image(x->c, ref, platform, ret, NULL, err);
        return r < 0 ? r : remember(x, id, ret, err);
}

/* An image context stands in for the name; 0 when there is none. */
static int named_image(struct resolver *x, const char **name, const struct img_platform *platform,
                       struct bd_image *ret, struct bld_err *err)
{
        struct img_desc desc = {0};
        const char *value = NULL;
        int r;

        switch (named_find(x->named, *name, platform, &value)) {
        case NAMED_IMAGE:
        case NAMED_STORE:
                *name = value;
                return 0;
        case NAMED_LAYOUT:
                r = named_layout(x->c, value, &desc, err);
                if (r == 0)
                        r = bd_image_load(x->c, &desc, platform, ret, err);
                img_desc_done(&desc);
                return r < 0 ? err_wrap(err, r, "build context %s", *name) : 1;
        case NAMED_NONE:
        case NAMED_FOLDER:
        case NAMED_GIT:
        case NAMED_HTTP:
        case NAMED_EMPTY: /* the plan takes care of these */
                break;
        }
        return 0;
}

int resolver_image(void *resolver, const char *name, const struct img_platform *platform,
                   struct bd_image *ret, struct bld_err *err)
{
        struct resolver *x = resolver;
        AUTO(img_ref_done) struct img_ref ref = {0};
        AUTO_FREE char *full = NULL, *id = NULL;
        struct img_desc *seen;
        char text[128];
        int r = named_image(x, &name, platform, ret, err);

        if (r != 0)
                return r < 0 ? r : 0;
        r = img_ref_parse(name, &ref, err);
        if (r < 0)
                return err_wrap(err, r, "base image \"%s\"", name);
        img_platform_format(platform, text);
        full = img_ref_format(&ref, IMG_REF_DEFAULT_TAG);
        if (!full || asprintf(&id, "%s %s", full, text) < 0) {
                id = NULL;
                return err_nomem(err, "base image");
        }
        seen = map_get(&x->seen, id);
        if (seen) {
                r = bd_image_load(x->c, seen, platform, ret, err);
                return r == 0 ? set_source(&ref, ret, err) : r;
        }
        r = resolve(x, &ref, full, id, platform, ret, err);
        if (r < 0)
                return r;
        seen = mem_zalloc(1, sizeof(*seen));
        if (!seen || img_desc_copy(&ret->desc, seen) < 0 || map_set(&x->seen, id, seen) < 0) {
                free_desc(seen);
                return err_nomem(err, "base image");
        }
        return 0;
}
