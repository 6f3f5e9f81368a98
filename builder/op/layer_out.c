/* A layer on its way into the store: tar bytes -> digests, compression, TOC -> blob. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
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
        struct leak_scan *scan; /* NULL: nothing is looked for */
        unsigned line;          /* of the instruction; 0: unknown */
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
        /* What is packed anew at the end was searched when it was made. */
        if (!reproducible && b->scan != SCAN_OFF)
                r = leak_new(b->secrets, &lo->scan, err);
        if (r == 0)
                *ret = TAKE_PTR(&lo);
        return r;
}

static int to_both(void *user, const void *p, size_t n, struct bld_err *err)
{
        struct layer_out *lo = user;
        int r = leak_add(lo->scan, p, n, err);

        return r < 0 ? r : ly_pack_write(lo->pack, p, n, err);
}

struct ly_sink layer_out_tar(struct layer_out *lo)
{
        return lo->scan ? (struct ly_sink){to_both, lo} : ly_pack_sink(lo->pack);
}

/* The file that holds a byte of the stream, or whose header does. */
static const char *file_at(const struct ly_toc *toc, uint64_t off)
{
        const char *path = "";

        for (size_t i = 0; i < toc->n; i++) {
                const struct ly_toc_entry *t = &toc->v[i];

                if (t->e.type == LY_FILE && off < t->data_off + t->e.size)
                        return t->e.path;
                path = t->e.path;
        }
        return path;
}

int leak_report(struct build *b, const struct leak_hits *hits, const struct ly_toc *toc,
                const char *where, unsigned line, struct bld_err *err)
{
        for (size_t i = 0; i < hits->n; i++) {
                const struct leak_hit *h = &hits->v[i];
                char text[1200];
                int r;

                (void)snprintf(text, sizeof(text), "%s%.900s, %s", toc ? "/" : "",
                               toc ? file_at(toc, h->off) : where, h->form);
                if (b->scan == SCAN_ERROR) {
                        r = err_set(err, BLD_E_POLICY,
                                    "the value of secret \"%.100s\" is present in the image",
                                    h->id);
                        r = err_why(err, r, "found in %s", text);
                        return err_try(err, r,
                                       "remove the file in the same RUN, or let the command read "
                                       "the secret where it is mounted");
                } else {
                        AUTO_SB struct sb said = SB_INIT(4096);

                        sb_fmt(&said,
                               "the value of secret \"%.100s\" is present in the image: found in "
                               "%s",
                               h->id, text);
                        events_warning(b->events, line, sb_text(&said));
                }
        }
        return 0;
}

static int scan_layer(struct build *b, struct layer_out *lo, const struct ly_toc *toc,
                      struct bld_err *err)
{
        const struct leak_hits *hits = NULL;
        int r = lo->scan ? leak_end(lo->scan, &hits, err) : 0;

        return r < 0 || !hits ? r : leak_report(b, hits, toc, NULL, lo->line, err);
}

void layer_out_free(struct layer_out *lo)
{
        if (!lo)
                return;
        leak_free(lo->scan);
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
                r = scan_layer(b, lo, toc, err);
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

        lo->line = v->line;
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
