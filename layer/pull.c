/* The tar of a layer, pulled out of its blob by the thread that reads it: nothing is read ahead but
 * one buffer, so that who stops early has read little. */
#include "base/err.h"
#include "layer/unz_priv.h"

#define IN_BUF (256u << 10)

struct ly_pull {
        struct ly_source in;
        uint64_t max;
        struct unz *unz; /* once the codec is known */
        enum ly_codec codec;
        struct hasher tar_hash, blob_hash;
        uint64_t tar_size, blob_size;
        unsigned char *buf; /* bytes read and not yet used: [pos, len) */
        size_t pos, len;
        bool eof;   /* of the blob */
        bool ended; /* of the tar */
        struct digest tar, blob;
};

static int fill(struct ly_pull *u, struct bld_err *err)
{
        ssize_t n;

        if (u->pos && u->pos == u->len)
                u->pos = u->len = 0;
        n = u->in.read(u->in.user, u->buf + u->len, IN_BUF - u->len, err);
        if (n < 0)
                return (int)n;
        u->eof = n == 0;
        hasher_add(&u->blob_hash, u->buf + u->len, (size_t)n);
        u->blob_size += (uint64_t)n;
        u->len += (size_t)n;
        return 0;
}

/* The codec shows in the first bytes. */
static int begin(struct ly_pull *u, struct bld_err *err)
{
        int r = 0;

        while (r == 0 && !u->eof && u->len < 4)
                r = fill(u, err);
        if (r < 0)
                return r;
        u->codec = ly_codec_sniff(u->buf, u->len);
        return unz_new(u->codec, &u->unz, err);
}

static int end(struct ly_pull *u)
{
        hasher_end(&u->tar_hash, &u->tar);
        hasher_end(&u->blob_hash, &u->blob);
        u->ended = true;
        return 0;
}

/* Some tar bytes into p: their number, 0 at the end. */
static ssize_t pull(struct ly_pull *u, unsigned char *p, size_t n, struct bld_err *err)
{
        bool stuck = false;
        int r;

        for (;;) {
                const unsigned char *in = u->buf + u->pos;
                size_t n_in = u->len - u->pos, left = n;
                unsigned char *out = p;

                if (n_in == 0 && !u->eof) {
                        r = fill(u, err);
                        if (r < 0)
                                return r;
                        continue;
                }
                if (n_in == 0 && unz_between(u->unz))
                        return end(u);
                if (stuck)
                        return err_set(err, BLD_E_CORRUPT, "compressed data ends early");
                r = unz_run(u->unz, &in, &n_in, &out, &left, err);
                if (r < 0)
                        return r;
                stuck = u->eof && left == n && n_in == u->len - u->pos;
                u->pos = u->len - n_in;
                if (left < n)
                        return (ssize_t)(n - left);
        }
}

static ssize_t pull_read(void *user, void *p, size_t n, struct bld_err *err)
{
        struct ly_pull *u = user;
        ssize_t got;
        int r = u->unz ? 0 : begin(u, err);

        if (r < 0 || u->ended || n == 0)
                return r;
        got = pull(u, p, n, err);
        if (got <= 0)
                return got;
        u->tar_size += (uint64_t)got;
        if (u->tar_size > u->max)
                return err_set(err, BLD_E_LIMIT, "layer unpacks to more than %llu bytes",
                               (unsigned long long)u->max);
        hasher_add(&u->tar_hash, p, (size_t)got);
        return got;
}

int ly_pull_new(const struct ly_source *in, const struct ly_limits *lim, struct ly_pull **ret,
                struct bld_err *err)
{
        AUTO(ly_pull_free_p) struct ly_pull *u = mem_zalloc(1, sizeof(*u));

        if (!u)
                return err_nomem(err, "layer reader");
        u->buf = mem_alloc(IN_BUF);
        if (!u->buf)
                return err_nomem(err, "layer reader");
        u->in = *in;
        u->max = lim && lim->bytes ? lim->bytes : LY_LAYER_BYTES_MAX;
        hasher_init(&u->tar_hash, DIGEST_SHA256);
        hasher_init(&u->blob_hash, DIGEST_SHA256);
        *ret = TAKE_PTR(&u);
        return 0;
}

struct ly_source ly_pull_source(struct ly_pull *u)
{
        return (struct ly_source){.read = pull_read, .user = u};
}

int ly_pull_end(struct ly_pull *u, struct ly_packed *ret, struct bld_err *err)
{
        if (!u->ended)
                return err_set(err, BLD_E_USAGE, "the layer was not read to its end");
        *ret = (struct ly_packed){.diff_id = u->tar,
                                  .digest = u->blob,
                                  .tar_size = u->tar_size,
                                  .size = u->blob_size,
                                  .media_type = ly_codec_media_type(u->codec)};
        return 0;
}

void ly_pull_free(struct ly_pull *u)
{
        if (!u)
                return;
        unz_free(u->unz);
        free(u->buf);
        free(u);
}
