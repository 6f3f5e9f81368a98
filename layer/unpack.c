/* A layer blob in, tar bytes out. The producer cuts the stream: members that bld wrote go to the
 * pipeline's threads whole, everything else it inflates itself, one thread being all a foreign
 * stream can use; the tar's digest and the consumer run beside it. */
#include "base/err.h"
#include "layer/gz_priv.h"
#include "layer/pipe_priv.h"
#include "layer/tar_priv.h"
#include "layer/unz_priv.h"

#define IN_BUF (256u << 10)

struct unpack {
        const struct ly_source *in;
        const struct ly_sink *out;
        struct ly_limits lim;
        enum ly_codec codec;
        struct lp *pipe;
        struct lp_job *job; /* of the foreign stream, being filled */
        struct unz *unz;
        struct gz_dec *dec[LP_THREADS_MAX];
        struct toc_builder *toc;
        bool want_seeks, want_diff_id, want_digest, content;
        const struct fpr_key *key; /* of content's sums; NULL: SHA-256 */
        struct hasher tar_hash, blob_hash;

        unsigned char *buf; /* bytes read and not yet used: [pos, len) */
        size_t pos, len;
        bool eof;
        uint64_t total_in, total_out; /* used of the source; made of tar */
        uint64_t last_seek;
};

/* ---- stages ---- */

static int stage_inflate(void *user, unsigned worker, struct lp_job *j, struct bld_err *err)
{
        struct unpack *u = user;
        int r = 0;

        if (!j->in_len)
                return 0; /* already tar */
        if (!u->dec[worker])
                r = gz_dec_new(&u->dec[worker], err);
        if (!r)
                r = gz_dec_member(u->dec[worker], j->in, j->in_len, j->out, LY_BLOCK, &j->out_len,
                                  err);
        return r;
}

static int stage_hash(void *user, struct lp_job *j, struct bld_err *err)
{
        struct unpack *u = user;

        (void)err;
        if (u->want_diff_id)
                hasher_add(&u->tar_hash, j->out, j->out_len);
        return 0;
}

static int stage_out(void *user, struct lp_job *j, struct bld_err *err)
{
        struct unpack *u = user;
        int r = toc_builder_feed(u->toc, j->out, j->out_len, err);

        if (!r && u->out && j->out_len)
                r = u->out->write(u->out->user, j->out, j->out_len, err);
        return r;
}

/* ---- the producer's input ---- */

/* At least `want` bytes in the buffer, or all there are. */
static int need(struct unpack *u, size_t want, struct bld_err *err)
{
        if (u->pos && u->len - u->pos < want) {
                memmove(u->buf, u->buf + u->pos, u->len - u->pos);
                u->len -= u->pos;
                u->pos = 0;
        }
        while (!u->eof && u->len - u->pos < want) {
                ssize_t n = u->in->read(u->in->user, u->buf + u->len, IN_BUF - u->len, err);

                if (n < 0)
                        return (int)n;
                u->eof = !n;
                if (u->want_digest)
                        hasher_add(&u->blob_hash, u->buf + u->len, (size_t)n);
                u->len += (size_t)n;
        }
        return 0;
}

/* Exactly n bytes into p. */
static int take(struct unpack *u, unsigned char *p, size_t n, struct bld_err *err)
{
        size_t have = MIN(n, u->len - u->pos);

        memcpy(p, u->buf + u->pos, have);
        u->pos += have;
        while (have < n) {
                ssize_t got = u->in->read(u->in->user, p + have, n - have, err);

                if (got < 0)
                        return (int)got;
                if (!got)
                        return err_set(err, BLD_E_CORRUPT, "gzip data ends early");
                if (u->want_digest)
                        hasher_add(&u->blob_hash, p + have, (size_t)got);
                have += (size_t)got;
        }
        u->total_in += n;
        return 0;
}

static int check_limits(struct unpack *u, struct bld_err *err)
{
        if (u->total_out > u->lim.bytes)
                return err_set(err, BLD_E_LIMIT, "layer unpacks to more than %llu bytes",
                               (unsigned long long)u->lim.bytes);
        return 0;
}

/* A reader may start anew here; a point per block of tar is enough. */
static int note_seek(struct unpack *u, struct bld_err *err)
{
        if (!u->want_seeks || u->codec == LY_CODEC_NONE ||
            (u->total_out && u->total_out - u->last_seek < LY_BLOCK))
                return 0;
        u->last_seek = u->total_out;
        return toc_builder_seek(u->toc, u->total_out, u->total_in, err);
}

/* ---- cutting ---- */

static void push_job(struct unpack *u)
{
        if (u->job)
                lp_push(u->pipe);
        u->job = NULL;
}

/* A whole member that bld wrote. Its length is in its head, the tar's share in its last bytes; both
 * are held against what comes out. */
static int push_member(struct unpack *u, size_t n, struct bld_err *err)
{
        struct lp_job *j;
        uint32_t size = 0;
        int r;

        push_job(u);
        r = lp_slot(u->pipe, &j, err);
        if (!r)
                r = take(u, j->in, n, err);
        if (r < 0)
                return r;
        j->in_len = n;
        for (unsigned i = 0; i < 4; i++)
                size |= (uint32_t)j->in[n - 4 + i] << 8 * i;
        if (size > LY_BLOCK)
                return err_set(err, BLD_E_CORRUPT, "damaged gzip member");
        u->total_out += size;
        lp_push(u->pipe);
        return check_limits(u, err);
}

/* Inflate what the buffer holds into the current job. */
static int run_foreign(struct unpack *u, struct bld_err *err)
{
        const unsigned char *in = u->buf + u->pos;
        size_t n_in = u->len - u->pos, n_out;
        unsigned char *out;
        int r = 0;

        if (!u->job)
                r = lp_slot(u->pipe, &u->job, err);
        if (r < 0)
                return r;
        out = u->job->out + u->job->out_len;
        n_out = LY_BLOCK - u->job->out_len;
        r = unz_run(u->unz, &in, &n_in, &out, &n_out, err);
        if (r < 0)
                return r;
        u->total_in += (size_t)(in - (u->buf + u->pos));
        u->total_out += (size_t)(out - (u->job->out + u->job->out_len));
        u->pos = u->len - n_in;
        u->job->out_len = LY_BLOCK - n_out;
        if (!n_out)
                push_job(u);
        return check_limits(u, err);
}

/* 1 while there is more. */
static int cut_some(struct unpack *u, struct bld_err *err)
{
        bool between = unz_between(u->unz);
        size_t own = 0;
        uint64_t before;
        int r = need(u, between ? GZ_HEAD : 1, err);

        if (r < 0)
                return r;
        if (between && u->pos == u->len && u->eof)
                return 0;
        if (between) {
                r = note_seek(u, err);
                if (r < 0)
                        return r;
        }
        if (between && u->codec == LY_CODEC_GZIP)
                own = gz_member_len(u->buf + u->pos, u->len - u->pos);
        if (own) {
                r = push_member(u, own, err);
                return r < 0 ? r : 1;
        }
        before = u->total_in + u->total_out;
        r = run_foreign(u, err);
        if (r < 0)
                return r;
        /* The input is used up, and the decoder has nothing left to give. */
        if (u->eof && u->pos == u->len && u->total_in + u->total_out == before &&
            !unz_between(u->unz))
                return err_set(err, BLD_E_CORRUPT, "compressed data ends early");
        return 1;
}

static int set_up(struct unpack *u, struct bld_err *err)
{
        struct lp_ops ops = {.in_cap = GZ_MEMBER_MAX,
                             .out_cap = LY_BLOCK,
                             .work = stage_inflate,
                             .serial = {stage_hash, stage_out},
                             .user = u};
        int r;

        hasher_init(&u->tar_hash, DIGEST_SHA256);
        hasher_init(&u->blob_hash, DIGEST_SHA256);
        u->buf = mem_alloc(IN_BUF);
        if (!u->buf)
                return err_nomem(err, "layer reader");
        r = need(u, 4, err);
        if (r < 0)
                return r;
        u->codec = ly_codec_sniff(u->buf, u->len);
        if (u->codec != LY_CODEC_GZIP)
                ops.in_cap = 0;
        r = unz_new(u->codec, &u->unz, err);
        if (!r)
                r = toc_builder_new(&u->lim, &u->toc, err);
        if (!r && u->content)
                r = toc_builder_sums(u->toc, u->key, err);
        return r < 0 ? r : lp_new(&ops, 0, &u->pipe, err);
}

static int run(struct unpack *u, struct bld_err *err)
{
        struct bld_err own = BLD_ERR_INIT;
        int r = set_up(u, err);

        if (r < 0)
                return r;
        while ((r = cut_some(u, &own)) == 1)
                ;
        if (!r) {
                push_job(u);
                r = lp_finish(u->pipe, &own);
        }
        if (r < 0 && err)
                *err = own;
        return r;
}

static void tear_down(struct unpack *u)
{
        lp_free(u->pipe);
        for (size_t i = 0; i < LP_THREADS_MAX; i++)
                gz_dec_free(u->dec[i]);
        unz_free(u->unz);
        toc_builder_free(u->toc);
        free(u->buf);
}

static int results(struct unpack *u, struct digest *ret_diff_id, uint64_t *ret_tar_size,
                   struct ly_toc **ret_toc, struct bld_err *err)
{
        int r = toc_builder_end(u->toc, ret_toc, err);

        if (r < 0)
                return r;
        if (ret_diff_id)
                hasher_end(&u->tar_hash, ret_diff_id);
        if (ret_tar_size)
                *ret_tar_size = u->total_out;
        if (ret_toc)
                (*ret_toc)->codec = u->codec;
        if (ret_toc && u->want_digest)
                hasher_end(&u->blob_hash, &(*ret_toc)->blob);
        return 0;
}

static int unpack(struct unpack *u, const struct ly_limits *lim, struct digest *ret_diff_id,
                  uint64_t *ret_tar_size, struct ly_toc **ret_toc, struct bld_err *err)
{
        int r;

        u->want_seeks = ret_toc != NULL;
        u->want_diff_id = ret_diff_id != NULL;
        if (lim)
                u->lim = *lim;
        if (!u->lim.bytes)
                u->lim.bytes = LY_LAYER_BYTES_MAX;
        r = run(u, err);
        if (!r)
                r = results(u, ret_diff_id, ret_tar_size, ret_toc, err);
        tear_down(u);
        return r;
}

int ly_unpack_stream(const struct ly_source *in, const struct ly_sink *out,
                     const struct ly_limits *lim, struct digest *ret_diff_id,
                     uint64_t *ret_tar_size, struct ly_toc **ret_toc, struct bld_err *err)
{
        struct unpack u = {.in = in, .out = out, .want_digest = ret_toc != NULL};

        return unpack(&u, lim, ret_diff_id, ret_tar_size, ret_toc, err);
}

int ly_scan(const struct ly_source *in, const struct ly_scan_opts *o, struct ly_toc **ret,
            struct digest *ret_diff_id, struct bld_err *err)
{
        struct unpack u = {
                .in = in, .want_digest = o->digest, .content = o->content, .key = o->key};

        return unpack(&u, &o->limits, ret_diff_id, NULL, ret, err);
}
