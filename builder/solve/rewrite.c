/* SOURCE_DATE_EPOCH reaches the files of new layers here, after the build: steps, their keys and
 * their snapshots know nothing of it, so another epoch costs a pass over the new layers and no
 * step. The bytes come from the engine that is the same on every machine. */
#include "base/err.h"
#include "base/fd.h"
#include "builder/solve/finish_priv.h"

static void rewrite_key(const struct build *b, const struct bd_layer *l, struct digest *ret)
{
        struct hasher h;

        hasher_init(&h, DIGEST_SHA256);
        hasher_field_str(&h, "bld-rewrite-v1");
        hasher_field(&h, l->diff_id.b, digest_len(l->diff_id.algo));
        hasher_field_u64(&h, (uint64_t)b->clamp_sec);
        hasher_field_u64(&h, b->codec);
        hasher_field_u64(&h, (uint64_t)(int64_t)b->level);
        hasher_end(&h, ret);
}

/* ---- blob -> tar -> clamped tar -> blob ---- */

struct rewrite {
        struct ly_reader *in;
        struct ly_writer *out;
};

static int copy_entries(struct build *b, struct rewrite *x, struct bld_err *err)
{
        char buf[65536];
        const struct ly_entry *e;
        int r;

        while ((r = ly_reader_next(x->in, &e, err)) == 1) {
                ssize_t n = 0;

                r = cancel_check(b->c->cancel, err);
                if (r == 0)
                        r = ly_writer_entry(x->out, e, err);
                while (r == 0 && e->type == LY_FILE &&
                       (n = ly_reader_data(x->in, buf, sizeof(buf), err)) > 0)
                        r = ly_writer_data(x->out, buf, (size_t)n, err);
                if (r < 0 || n < 0)
                        return r < 0 ? r : (int)n;
        }
        return r < 0 ? r : ly_writer_end(x->out, err);
}

static int rewrite_tar(struct build *b, int tar_fd, struct layer_out *out, struct bld_err *err)
{
        struct ly_writer_opts wo = {.clamp = true, .clamp_sec = b->clamp_sec};
        struct ly_source source = ly_source_fd(tar_fd);
        struct ly_sink tar = layer_out_tar(out);
        AUTO(ly_reader_free_p) struct ly_reader *in = NULL;
        AUTO(ly_writer_free_p) struct ly_writer *w = NULL;
        struct rewrite x;
        int r = ly_reader_new(&source, NULL, &in, err);

        if (r == 0)
                r = ly_writer_new(&tar, &wo, &w, err);
        x = (struct rewrite){in, w};
        return r == 0 ? copy_entries(b, &x, err) : r;
}

static int rewrite_layer(struct build *b, const struct bd_layer *l, struct bd_layers *ret,
                         struct bld_err *err)
{
        AUTO(layer_out_free_p) struct layer_out *out = NULL;
        AUTO_FD int tar = -1;
        int r = layer_plain(b, l, &tar, err);

        if (r == 0)
                r = layer_out_new(b, true, &out, err);
        if (r == 0)
                r = rewrite_tar(b, tar, out, err);
        return r == 0 ? layer_out_append(b, out, ret, err) : r;
}

static int rewritten(struct build *b, const struct bd_layer *l, struct bd_layers *ret,
                     struct bld_err *err)
{
        struct vx_result found = {0};
        struct bd_layers made = {0};
        struct digest key;
        int r;

        rewrite_key(b, l, &key);
        r = record_get(b->c, b->record, &key, &found, err);
        if (r == 1) {
                r = bd_layers_append(ret, &found.layers) < 0 ? err_nomem(err, "layers") : 0;
                result_done(&found);
                return r;
        }
        if (r == 0)
                r = rewrite_layer(b, l, &made, err);
        if (r == 0) {
                made.v[0].created_sec = l->created_sec;
                r = record_put_layers(b->c, &key, &made, "rewritten times", err);
        }
        if (r == 0 && bd_layers_append(ret, &made) < 0)
                r = err_nomem(err, "layers");
        bd_layers_free(&made);
        return r;
}

int rewrite_times(struct build *b, const struct vx_result *res, size_t nbase, struct vx_result *ret,
                  struct bld_err *err)
{
        const struct bd_layers base = {.v = res->layers.v, .n = MIN(nbase, res->layers.n)};
        int r = bd_layers_append(&ret->layers, &base) < 0 ? err_nomem(err, "layers") : 0;

        for (size_t i = nbase; i < res->layers.n && r == 0; i++) {
                bool reused = res->layers.v[i].reused;

                r = rewritten(b, &res->layers.v[i], &ret->layers, err);
                if (r == 0)
                        ret->layers.v[ret->layers.n - 1].reused = reused;
        }
        return r == 0 ? result_seal(ret, err) : r;
}
