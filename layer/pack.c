/* Tar bytes in, a layer blob out: the table of contents is made by the producer, the tar's digest,
 * the compression and the blob's digest by the pipeline, all from the same buffers. */

#include "base/err.h"
#include "layer/gz_priv.h"
#include "layer/pipe_priv.h"
#include "layer/tar_priv.h"
#include "layer/zstd_priv.h"

#define ZSTD_LEVEL 3
#define ZSTD_JOB (4 << 20)
#define ZSTD_WINDOW_MAX 23 /* 8 MiB: what readers must accept (RFC 8878) */

struct ly_pack {
        struct ly_sink out;
        enum ly_codec codec;
        struct lp *pipe;
        struct lp_job *job; /* being filled, or NULL */
        struct toc_builder *toc;
        struct ly_packed result;
        enum gz_engine engine;
        int level;
        struct gz_enc *enc[LP_THREADS_MAX];
        const struct zstd *z;
        ZSTD_CCtx *zstd;
        unsigned char *zbuf;
        size_t zcap;
        bool failed;
        /* Of the serial stages: one thread at a time each. */
        struct hasher tar_hash, blob_hash;
};

/* ---- stages ---- */

static int stage_hash(void *user, struct lp_job *j, struct bld_err *err)
{
        struct ly_pack *p = user;

        (void)err;
        hasher_add(&p->tar_hash, j->in, j->in_len);
        return 0;
}

static int stage_gzip(void *user, unsigned worker, struct lp_job *j, struct bld_err *err)
{
        struct ly_pack *p = user;
        int r = 0;

        if (!p->enc[worker])
                r = gz_enc_new(p->engine, p->level, &p->enc[worker], err);
        if (!r)
                r = gz_enc_member(p->enc[worker], j->in, j->in_len, j->out, &j->out_len, err);
        return r;
}

static int emit(struct ly_pack *p, const void *buf, size_t n, struct bld_err *err)
{
        if (!n)
                return 0;
        hasher_add(&p->blob_hash, buf, n);
        p->result.size += n;
        return p->out.write(p->out.user, buf, n, err);
}

static int out_gzip(void *user, struct lp_job *j, struct bld_err *err)
{
        struct ly_pack *p = user;
        int r = toc_builder_seek(p->toc, j->tag, p->result.size, err);

        return r < 0 ? r : emit(p, j->out, j->out_len, err);
}

static int out_plain(void *user, struct lp_job *j, struct bld_err *err)
{
        struct ly_pack *p = user;

        p->result.size += j->in_len;
        return p->out.write(p->out.user, j->in, j->in_len, err);
}

/* Always fed whole blocks with "continue", so that the frame does not depend on how the tar came in
 * pieces; zstd's own threads do the work. */
static int zstd_run(struct ly_pack *p, const void *buf, size_t n, ZSTD_EndDirective op,
                    struct bld_err *err)
{
        ZSTD_inBuffer in = {.src = buf, .size = n};
        size_t left;

        do {
                ZSTD_outBuffer out = {.dst = p->zbuf, .size = p->zcap};
                int r;

                left = p->z->compress(p->zstd, &out, &in, op);
                if (ZSTD_isError(left))
                        return err_set(err, BLD_E_BUG, "zstd: %s", ZSTD_getErrorName(left));
                r = emit(p, p->zbuf, out.pos, err);
                if (r < 0)
                        return r;
        } while (in.pos < in.size || (op == ZSTD_e_end && left));
        return 0;
}

static int out_zstd(void *user, struct lp_job *j, struct bld_err *err)
{
        return zstd_run(user, j->in, j->in_len, ZSTD_e_continue, err);
}

/* ---- set-up ---- */

static int set_zstd(struct ly_pack *p, unsigned threads, struct bld_err *err)
{
        const struct {
                ZSTD_cParameter name;
                int value;
        } params[] = {
                {ZSTD_c_compressionLevel, p->level},
                /* At least one worker: without any, zstd cuts its blocks elsewhere. */
                {ZSTD_c_nbWorkers, (int)threads},
                {ZSTD_c_jobSize, ZSTD_JOB},
                {ZSTD_c_checksumFlag, 1},
                {ZSTD_c_contentSizeFlag, 0},
                {ZSTD_c_dictIDFlag, 0},
                {ZSTD_c_windowLog, p->level > 19 ? ZSTD_WINDOW_MAX : 0},
        };

        p->zcap = ZSTD_CStreamOutSize();
        p->zbuf = mem_alloc(p->zcap);
        p->z = zstd_get(err);
        if (!p->z)
                return BLD_E_UNSUPPORTED;
        p->zstd = p->z->create();
        if (!p->zbuf || !p->zstd)
                return err_nomem(err, "zstd compressor");
        for (size_t i = 0; i < ARRAY_LEN(params); i++) {
                size_t r = p->z->set(p->zstd, params[i].name, params[i].value);

                if (ZSTD_isError(r))
                        return err_set(err, BLD_E_UNSUPPORTED, "zstd: %s", ZSTD_getErrorName(r));
        }
        return 0;
}

static int set_codec(struct ly_pack *p, const struct ly_pack_opts *o, struct lp_ops *ops,
                     struct bld_err *err)
{
        unsigned threads = o->threads ? MIN(o->threads, LP_THREADS_MAX) : ly_cpus();

        p->result.media_type = ly_codec_media_type(o->codec);
        switch (o->codec) {
        case LY_CODEC_NONE:
                ops->serial[1] = out_plain;
                (void)str_copy(p->result.engine, sizeof(p->result.engine), "none");
                return 0;
        case LY_CODEC_GZIP:
                ops->work = stage_gzip;
                ops->out_cap = GZ_MEMBER_MAX;
                ops->serial[1] = out_gzip;
                return gz_choose(o, &p->engine, &p->level, p->result.engine, err);
        case LY_CODEC_ZSTD:
                ops->serial[1] = out_zstd;
                if (o->level < 0 || o->level > ZSTD_maxCLevel())
                        return err_set(err, BLD_E_INVALID, "zstd level %d: use 1 to %d, or 0",
                                       o->level, ZSTD_maxCLevel());
                p->level = o->level ? o->level : ZSTD_LEVEL;
                (void)snprintf(p->result.engine, sizeof(p->result.engine), "zstd-%d", p->level);
                return set_zstd(p, threads, err);
        }
        return err_set(err, BLD_E_BUG, "unknown codec");
}

int ly_pack_new(const struct ly_sink *out, const struct ly_pack_opts *o, struct ly_pack **ret,
                struct bld_err *err)
{
        /* What we make ourselves may be as big as it is. */
        const struct ly_limits unlimited = {.bytes = INT64_MAX, .entries = UINT64_MAX};
        AUTO(ly_pack_free_p) struct ly_pack *p = mem_zalloc(1, sizeof(*p));
        struct lp_ops ops = {
                .in_cap = LY_BLOCK, .serial = {stage_hash, NULL}, .early = true, .user = p};
        int r;

        if (!p)
                return err_nomem(err, "layer writer");
        p->out = *out;
        p->codec = o->codec;
        hasher_init(&p->tar_hash, DIGEST_SHA256);
        hasher_init(&p->blob_hash, DIGEST_SHA256);
        r = set_codec(p, o, &ops, err);
        if (!r)
                r = toc_builder_new(&unlimited, &p->toc, err);
        if (!r)
                r = lp_new(&ops, o->threads, &p->pipe, err);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(&p);
        return 0;
}

void ly_pack_free(struct ly_pack *p)
{
        if (!p)
                return;
        lp_free(p->pipe);
        for (size_t i = 0; i < LP_THREADS_MAX; i++)
                gz_enc_free(p->enc[i]);
        if (p->zstd)
                (void)p->z->free_ctx(p->zstd);
        free(p->zbuf);
        toc_builder_free(p->toc);
        free(p);
}

/* ---- the producer ---- */

static int pack_some(struct ly_pack *p, const unsigned char *buf, size_t n, size_t *ret_used,
                     struct bld_err *err)
{
        int r = 0;

        if (!p->job) {
                r = lp_slot(p->pipe, &p->job, err);
                if (r < 0)
                        return r;
                p->job->tag = p->result.tar_size;
        }
        n = MIN(n, LY_BLOCK - p->job->in_len);
        memcpy(p->job->in + p->job->in_len, buf, n);
        p->job->in_len += n;
        p->result.tar_size += n;
        if (p->job->in_len == LY_BLOCK) {
                p->job = NULL;
                lp_push(p->pipe);
        }
        *ret_used = n;
        return 0;
}

int ly_pack_write(struct ly_pack *p, const void *buf, size_t n, struct bld_err *err)
{
        const unsigned char *at = buf;
        int r;

        if (p->failed)
                return err_set(err, BLD_E_BUG, "layer writer used after it failed");
        r = toc_builder_feed(p->toc, buf, n, err);
        while (!r && n) {
                size_t used = 0;

                r = pack_some(p, at, n, &used, err);
                at += used;
                n -= used;
        }
        p->failed = r < 0;
        return r;
}

static int sink_write(void *user, const void *buf, size_t n, struct bld_err *err)
{
        return ly_pack_write(user, buf, n, err);
}

struct ly_sink ly_pack_sink(struct ly_pack *p)
{
        return (struct ly_sink){.write = sink_write, .user = p};
}

static int finish(struct ly_pack *p, struct bld_err *err)
{
        int r = 0;

        /* A stream of nothing is one empty member: gzip has no other way to say it. */
        if (!p->job && !p->result.tar_size)
                r = lp_slot(p->pipe, &p->job, err);
        if (r < 0)
                return r;
        if (p->job)
                lp_push(p->pipe);
        p->job = NULL;
        r = lp_finish(p->pipe, err);
        if (!r && p->codec == LY_CODEC_ZSTD)
                r = zstd_run(p, NULL, 0, ZSTD_e_end, err);
        return r;
}

int ly_pack_end(struct ly_pack *p, struct ly_packed *ret, struct ly_toc **ret_toc,
                struct bld_err *err)
{
        int r;

        if (p->failed)
                return err_set(err, BLD_E_BUG, "layer writer used after it failed");
        p->failed = true; /* used up, whatever comes */
        r = finish(p, err);
        if (r < 0)
                return r;
        hasher_end(&p->tar_hash, &p->result.diff_id);
        if (p->codec == LY_CODEC_NONE)
                p->result.digest = p->result.diff_id;
        else
                hasher_end(&p->blob_hash, &p->result.digest);
        r = toc_builder_end(p->toc, ret_toc, err);
        if (r < 0)
                return r;
        if (ret_toc) {
                (*ret_toc)->codec = p->codec;
                (*ret_toc)->blob = p->result.digest;
        }
        *ret = p->result;
        return 0;
}
