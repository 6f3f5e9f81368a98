/* A layer on its way into the store: tar bytes -> digests, compression, TOC -> blob. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/num.h"
#include "base/sys.h"
#include "builder/op/op_priv.h"

struct layer_out {
        struct cas_writer *blob;
        struct ly_pack *pack;
};

static int to_blob(void *user, const void *p, size_t n, struct bld_err *err)
{
        return cas_writer_add(user, p, n, err);
}

int layer_out_new(struct build *b, bool reproducible, struct layer_out **ret, struct bld_err *err)
{
        AUTO(layer_out_free_p) struct layer_out *lo = mem_zalloc(1, sizeof(*lo));
        struct ly_pack_opts o = {
                .codec = b->codec, .level = b->level, .reproducible = reproducible};
        int r;

        if (!lo)
                return err_nomem(err, "layer");
        r = cas_writer_open(b->c->cas, &lo->blob, err);
        if (r < 0)
                return r;
        r = ly_pack_new(&(struct ly_sink){to_blob, lo->blob}, &o, &lo->pack, err);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(&lo);
        return 0;
}

struct ly_sink layer_out_tar(struct layer_out *lo)
{
        return ly_pack_sink(lo->pack);
}

void layer_out_free(struct layer_out *lo)
{
        if (!lo)
                return;
        ly_pack_free(lo->pack);
        cas_writer_free(lo->blob);
        free(lo);
}

int result_begin(struct vertex *v, struct bld_err *err)
{
        result_done(&v->result);
        if (v->ninputs && v->inputs[0] && result_copy(&v->inputs[0]->result, &v->result) < 0)
                return err_nomem(err, "chain of layers");
        return 0;
}

int layer_out_append(struct build *b, struct layer_out *lo, struct bd_layers *layers,
                     struct bld_err *err)
{
        AUTO(ly_toc_free_p) struct ly_toc *toc = NULL;
        struct ly_packed packed;
        struct bd_layer *l;
        struct digest got;
        int r;

        r = ly_pack_end(lo->pack, &packed, &toc, err);
        if (r == 0)
                r = cas_writer_commit(lo->blob, &packed.digest, packed.size, &got, err);
        if (r == 0)
                r = cas_lease_blob(b->record, &packed.digest, err);
        if (r == 0)
                r = err_set(err, BLD_E_CORRUPT, "a layer vanished right after it was stored");
        if (r > 0)
                r = bd_toc_put(b->c, &packed.diff_id, toc, err);
        if (r < 0)
                return r;
        l = bd_layers_push(layers);
        if (!l)
                return err_nomem(err, "chain of layers");
        l->diff_id = packed.diff_id;
        l->desc.digest = packed.digest;
        l->desc.size = packed.size;
        l->desc.media_type = mem_strdup(packed.media_type);
        l->tar_size = packed.tar_size;
        l->created_sec = time_now_ns() / 1000000000;
        return l->desc.media_type ? 0 : err_nomem(err, "chain of layers");
}

int layer_out_end(struct build *b, struct layer_out *lo, struct vertex *v, struct bld_err *err)
{
        int r = result_begin(v, err);

        if (r == 0)
                r = layer_out_append(b, lo, &v->result.layers, err);
        return r == 0 ? result_seal(&v->result, err) : r;
}

int layer_plain(struct build *b, const struct bd_layer *l, int *ret, struct bld_err *err)
{
        AUTO_FD int blob = -1, tar = -1;
        struct ly_source in;
        struct ly_sink out;
        struct digest diff_id;
        uint64_t size;
        int r = cas_blob_open(b->c->cas, &l->desc.digest, &blob, err);

        if (r < 0)
                return r;
        tar = sys_openat(cas_root_fd(b->c->cas), "tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        if (tar < 0)
                return err_sys(err, errno, "make room for a layer");
        in = ly_source_fd(blob);
        out = ly_sink_fd(tar);
        r = ly_unpack_stream(&in, &out, NULL, &diff_id, &size, NULL, err);
        if (r == 0 && !digest_eq(&diff_id, &l->diff_id))
                r = err_set(err, BLD_E_CORRUPT, "a layer in the store is damaged");
        if (r == 0 && lseek(tar, 0, SEEK_SET) < 0)
                r = err_sys(err, errno, "read a layer again");
        if (r == 0)
                *ret = take_fd(&tar);
        return r;
}
