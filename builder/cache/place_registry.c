/* A repository of a registry that holds entries. */
#include "builder/cache/rcache_priv.h"

#include <string.h>

#include "base/err.h"
#include "base/num.h"
#include "registry/registry.h"

static int tagged(const struct rc_place *p, const char *tag, struct img_ref *ret,
                  struct bld_err *err)
{
        int r = img_ref_copy(&p->spec->ref, ret, err);

        if (r < 0)
                return r;
        free(ret->tag);
        ret->tag = mem_strdup(tag);
        return ret->tag ? 0 : err_nomem(err, "tag");
}

static int reg_get(struct rc_place *p, const char *tag, struct sb *out, struct bld_err *err)
{
        AUTO_REF struct img_ref ref = {.domain = NULL};
        AUTO(img_desc_done) struct img_desc d = {.media_type = NULL};
        struct bd_ctx *c = &p->rc->in;
        struct bld_err own = BLD_ERR_INIT;
        struct reg_client *reg = NULL;
        int r = c->registry(c->user, &reg, err);

        if (r == 0)
                r = tagged(p, tag, &ref, err);
        if (r == 0)
                r = cancel_check(c->cancel, err);
        if (r < 0)
                return r;
        r = reg_manifest_get(reg, &ref, out, &d, &own);
        if (r == BLD_E_NOT_FOUND)
                return 0;
        if (r < 0) {
                err_copy(err, &own);
                return r;
        }
        if (!img_mt_is_manifest(d.media_type))
                return err_set(err, BLD_E_CORRUPT, "it is of type %.80s", d.media_type);
        return 1;
}

static int to_sb(void *user, const void *p, size_t n, struct bld_err *err)
{
        sb_add(user, p, n);
        return sb_check(user, "a small blob", err);
}

static int start_over(void *user, struct bld_err *err)
{
        (void)err;
        sb_reset(user);
        return 0;
}

static int reg_read(struct rc_place *p, const struct img_desc *d, struct sb *out,
                    struct bld_err *err)
{
        struct reg_sink sink = {.write = to_sb, .rewind = start_over, .user = out};
        struct bd_ctx *c = &p->rc->in;
        struct reg_client *reg = NULL;
        int r = c->registry(c->user, &reg, err);

        return r < 0 ? r : reg_blob_get(reg, &p->spec->ref, d, &sink, err);
}

static int reg_bring(struct rc_place *p, const struct img_desc *d, struct bd_meter *meter,
                     struct bld_err *err)
{
        return bd_fetch_blob_metered(&p->rc->in, &p->spec->ref, d, meter, NULL, err);
}

static ssize_t bytes_pread(void *user, void *p, size_t n, uint64_t off, struct bld_err *err)
{
        const struct sb *b = user;
        size_t k;

        (void)err;
        if (off >= b->len)
                return 0;
        k = MIN(n, b->len - (size_t)off);
        memcpy(p, b->buf + off, k);
        return (ssize_t)k;
}

static int reg_put(struct rc_place *p, const struct img_desc *d, const struct sb *bytes,
                   struct bd_meter *meter, bool *ret_sent, struct bld_err *err)
{
        struct sb view = bytes ? *bytes : SB_INIT(0); /* borrowed */
        struct reg_source src = {.pread = bytes_pread, .user = &view};
        struct bd_ctx *c = &p->rc->out;
        enum reg_put_how how = REG_PUT_UPLOADED;
        struct reg_client *reg = NULL;
        int r = c->registry(c->user, &reg, err);

        if (r < 0)
                return r;
        if (bytes)
                return reg_blob_put(reg, &p->spec->ref, d, &src, NULL, &how, err);
        r = bd_push_blob(c, reg, &p->spec->ref, NULL, d, false, meter, NULL, &how, err);
        if (r < 0)
                return r;
        *ret_sent = how == REG_PUT_UPLOADED;
        /* A push of the image to the same registry can mount it from here. */
        return bd_pushed_note(c, &d->digest, &p->spec->ref, err);
}

static int reg_name(struct rc_place *p, const char *tag, const struct sb *manifest,
                    struct bld_err *err)
{
        AUTO_REF struct img_ref ref = {.domain = NULL};
        struct bd_ctx *c = &p->rc->out;
        struct reg_client *reg = NULL;
        int r = c->registry(c->user, &reg, err);

        if (r == 0)
                r = tagged(p, tag, &ref, err);
        return r < 0 ? r
                     : reg_manifest_put(reg, &ref, MT_OCI_MANIFEST, sb_text(manifest),
                                        manifest->len, err);
}

static void reg_close(struct rc_place *p)
{
        (void)p;
}

const struct rc_place_ops rc_registry_ops = {
        .get = reg_get,
        .read = reg_read,
        .bring = reg_bring,
        .put = reg_put,
        .name = reg_name,
        .close = reg_close,
};
