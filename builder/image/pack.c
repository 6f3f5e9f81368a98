/* A layer made in the store: tar bytes in; digests, compression and table of contents on the way.
 */
#include "builder/image/pack.h"

#include <string.h>

#include "base/err.h"
#include "builder/image/tree_priv.h"

struct bd_packer {
        struct bd_ctx *c;
        struct cas_writer *blob;
        struct ly_pack *pack;
};

int bd_codec_parse(const char *s, enum ly_codec *ret, struct bld_err *err)
{
        int r;

        if (strcmp(s, "gzip") == 0)
                *ret = LY_CODEC_GZIP;
        else if (strcmp(s, "zstd") == 0)
                *ret = LY_CODEC_ZSTD;
        else if (strcmp(s, "none") == 0)
                *ret = LY_CODEC_NONE;
        else {
                r = err_set(err, BLD_E_USAGE, "unknown compression \"%.50s\"", s);
                return err_try(err, r, "gzip, zstd or none");
        }
        return 0;
}

static int to_blob(void *user, const void *p, size_t n, struct bld_err *err)
{
        return cas_writer_add(user, p, n, err);
}

int bd_packer_new(struct bd_ctx *c, const struct ly_pack_opts *o, struct bd_packer **ret,
                  struct bld_err *err)
{
        AUTO(bd_packer_free_p) struct bd_packer *p = mem_zalloc(1, sizeof(*p));
        struct ly_sink sink;
        int r;

        if (!p)
                return err_nomem(err, "layer");
        p->c = c;
        r = cas_writer_open(c->cas, &p->blob, err);
        if (r < 0)
                return r;
        sink = (struct ly_sink){.write = to_blob, .user = p->blob};
        r = ly_pack_new(&sink, o, &p->pack, err);
        if (r == 0)
                *ret = TAKE_PTR(&p);
        return r;
}

void bd_packer_free(struct bd_packer *p)
{
        if (!p)
                return;
        ly_pack_free(p->pack);
        cas_writer_free(p->blob);
        free(p);
}

static int tar_write(void *user, const void *p, size_t n, struct bld_err *err)
{
        struct bd_packer *x = user;
        int r = cancel_check(x->c->cancel, err);

        return r < 0 ? r : ly_pack_write(x->pack, p, n, err);
}

struct ly_sink bd_packer_tar(struct bd_packer *p)
{
        return (struct ly_sink){.write = tar_write, .user = p};
}

int bd_packer_end(struct bd_packer *p, struct bd_layer *ret, struct bld_err *err)
{
        AUTO(ly_toc_free_p) struct ly_toc *toc = NULL;
        struct ly_packed packed;
        int r = ly_pack_end(p->pack, &packed, &toc, err);

        if (r == 0)
                r = cas_writer_commit(p->blob, &packed.digest, packed.size, &ret->desc.digest, err);
        if (r < 0)
                return r;
        /* a table that cannot be kept is made again by who needs it */
        toc->blob = packed.digest;
        (void)!bd_toc_put(p->c, &packed.diff_id, toc, NULL);
        ret->diff_id = packed.diff_id;
        ret->tar_size = packed.tar_size;
        ret->desc.size = packed.size;
        ret->desc.media_type = mem_strdup(packed.media_type);
        return ret->desc.media_type ? 0 : err_nomem(err, "layer");
}
