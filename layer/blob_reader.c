/* Ranges of tar bytes out of a stored blob. */
#include <errno.h>

#include "base/err.h"
#include "base/sys.h"
#include "layer/gz_priv.h"
#include "layer/unz_priv.h"

struct ly_blob_reader {
        struct ly_random from; /* when it has a callback; else */
        int fd;
        uint64_t base, len; /* of the blob in its file */
        const struct ly_toc *t;
        struct unz *unz;
        struct gz_dec *dec;
        uint64_t blob_pos; /* where the bytes in `in` end in the blob */
        unsigned char *in; /* GZ_MEMBER_MAX bytes: [in_pos, in_len) is unused */
        size_t in_pos, in_len;
        bool eof;
        unsigned char *out; /* LY_BLOCK bytes of tar, out_len of them, */
        uint64_t out_off;   /* from this offset on */
        size_t out_len;
};

int ly_blob_reader_new(int blob_fd, const struct ly_toc *t, struct ly_blob_reader **ret,
                       struct bld_err *err)
{
        return ly_blob_reader_new_part(blob_fd, 0, INT64_MAX, t, ret, err);
}

int ly_blob_reader_new_part(int blob_fd, uint64_t off, uint64_t len, const struct ly_toc *t,
                            struct ly_blob_reader **ret, struct bld_err *err)
{
        AUTO(ly_blob_reader_free_p) struct ly_blob_reader *r = mem_zalloc(1, sizeof(*r));

        if (!r)
                return err_nomem(err, "layer reader");
        r->fd = blob_fd;
        r->base = off;
        r->len = len;
        r->t = t;
        r->in = mem_alloc(GZ_MEMBER_MAX);
        r->out = mem_alloc(LY_BLOCK);
        if (!r->in || !r->out)
                return err_nomem(err, "layer reader");
        *ret = TAKE_PTR(&r);
        return 0;
}

int ly_blob_reader_new_random(const struct ly_random *in, const struct ly_toc *t,
                              struct ly_blob_reader **ret, struct bld_err *err)
{
        int r = ly_blob_reader_new_part(-1, 0, INT64_MAX, t, ret, err);

        if (r == 0)
                (*ret)->from = *in;
        return r;
}

void ly_blob_reader_free(struct ly_blob_reader *r)
{
        if (!r)
                return;
        unz_free(r->unz);
        gz_dec_free(r->dec);
        free(r->in);
        free(r->out);
        free(r);
}

static ssize_t read_blob(struct ly_blob_reader *r, void *p, size_t n, uint64_t at,
                         struct bld_err *err)
{
        ssize_t got;

        if (r->from.pread)
                return r->from.pread(r->from.user, p, n, at, err);
        n = (size_t)MIN((uint64_t)n, at < r->len ? r->len - at : 0);
        got = n ? sys_pread(r->fd, p, n, (int64_t)(r->base + at)) : 0;
        return got < 0 ? err_sys(err, errno, "read layer blob") : got;
}

/* At least `want` unused bytes, or all that are left. */
static int need(struct ly_blob_reader *r, size_t want, struct bld_err *err)
{
        if (r->in_pos && r->in_len - r->in_pos < want) {
                memmove(r->in, r->in + r->in_pos, r->in_len - r->in_pos);
                r->in_len -= r->in_pos;
                r->in_pos = 0;
        }
        while (!r->eof && r->in_len - r->in_pos < want) {
                size_t room = MIN(GZ_MEMBER_MAX - r->in_len, 256u << 10);
                ssize_t n = read_blob(r, r->in + r->in_len, room, r->blob_pos, err);

                if (n < 0)
                        return (int)n;
                r->eof = !n;
                r->blob_pos += (uint64_t)n;
                r->in_len += (size_t)n;
        }
        return 0;
}

static int restart(struct ly_blob_reader *r, const struct ly_seek *s, struct bld_err *err)
{
        unz_free(r->unz);
        r->unz = NULL;
        r->in_pos = r->in_len = 0;
        r->eof = false;
        r->blob_pos = s->blob_off;
        r->out_off = s->tar_off;
        r->out_len = 0;
        return unz_new(r->t->codec, &r->unz, err);
}

/* The last restart point at or before off; the beginning when there is none. */
static struct ly_seek find_seek(const struct ly_toc *t, uint64_t off)
{
        size_t lo = 0, hi = t->nseeks;

        while (lo < hi) {
                size_t mid = lo + (hi - lo) / 2;

                if (t->seeks[mid].tar_off <= off)
                        lo = mid + 1;
                else
                        hi = mid;
        }
        return lo ? t->seeks[lo - 1] : (struct ly_seek){0};
}

static int next_member(struct ly_blob_reader *r, size_t n, struct bld_err *err)
{
        int e = need(r, n, err);

        if (!e && !r->dec)
                e = gz_dec_new(&r->dec, err);
        if (e < 0)
                return e;
        if (r->in_len - r->in_pos < n)
                return err_set(err, BLD_E_CORRUPT, "layer blob ends early");
        e = gz_dec_member(r->dec, r->in + r->in_pos, n, r->out, LY_BLOCK, &r->out_len, err);
        r->in_pos += n;
        return e;
}

/* Decode the piece that follows the one at hand. */
static int next_piece(struct ly_blob_reader *r, struct bld_err *err)
{
        size_t own, n_in, n_out;
        const unsigned char *in;
        unsigned char *out;
        int e;

        r->out_off += r->out_len;
        r->out_len = 0;
        while (!r->out_len) {
                e = need(r, unz_between(r->unz) ? GZ_HEAD : 1, err);
                if (e < 0)
                        return e;
                own = unz_between(r->unz) ? gz_member_len(r->in + r->in_pos, r->in_len - r->in_pos)
                                          : 0;
                if (own && r->t->codec == LY_CODEC_GZIP) {
                        e = next_member(r, own, err);
                        if (e < 0)
                                return e;
                        continue;
                }
                in = r->in + r->in_pos;
                n_in = r->in_len - r->in_pos;
                out = r->out;
                n_out = LY_BLOCK;
                e = unz_run(r->unz, &in, &n_in, &out, &n_out, err);
                if (e < 0)
                        return e;
                if (r->eof && n_in == r->in_len - r->in_pos && n_out == LY_BLOCK)
                        return err_set(err, BLD_E_CORRUPT, "layer blob ends early");
                r->in_pos = r->in_len - n_in;
                r->out_len = LY_BLOCK - n_out;
        }
        return 0;
}

static int go_to(struct ly_blob_reader *r, uint64_t off, struct bld_err *err)
{
        struct ly_seek s = find_seek(r->t, off);
        uint64_t have = r->out_off + r->out_len;
        int e = 0;

        if (!r->unz || off < r->out_off || (off >= have && s.tar_off > have))
                e = restart(r, &s, err);
        while (!e && off >= r->out_off + r->out_len)
                e = next_piece(r, err);
        if (e < 0) { /* where it stands is not known: what follows would pass for what failed */
                unz_free(r->unz);
                r->unz = NULL;
        }
        return e;
}

static int plain_range(struct ly_blob_reader *r, uint64_t off, uint64_t len,
                       const struct ly_sink *out, struct bld_err *err)
{
        while (len) {
                size_t want = (size_t)MIN(len, (uint64_t)LY_BLOCK);
                ssize_t n = read_blob(r, r->out, want, off, err);
                int e;

                if (n < 0)
                        return (int)n;
                if (!n)
                        return err_set(err, BLD_E_CORRUPT, "layer blob ends early");
                e = out->write(out->user, r->out, (size_t)n, err);
                if (e < 0)
                        return e;
                off += (uint64_t)n;
                len -= (uint64_t)n;
        }
        return 0;
}

int ly_blob_reader_range(struct ly_blob_reader *r, uint64_t off, uint64_t len,
                         const struct ly_sink *out, struct bld_err *err)
{
        uint64_t end;

        if (ADD_OVERFLOWS(off, len, &end) || end > r->t->tar_size)
                return err_set(err, BLD_E_CORRUPT, "range beyond the end of a layer");
        if (r->t->codec == LY_CODEC_NONE)
                return plain_range(r, off, len, out, err);
        while (len) {
                size_t skip, n;
                int e = go_to(r, off, err);

                if (e < 0)
                        return e;
                skip = (size_t)(off - r->out_off);
                n = (size_t)MIN(len, (uint64_t)(r->out_len - skip));
                e = out->write(out->user, r->out + skip, n, err);
                if (e < 0)
                        return e;
                off += n;
                len -= n;
        }
        return 0;
}

static int put_hole(const struct ly_sink *out, uint64_t n, struct bld_err *err)
{
        static const unsigned char zeros[16384];
        int e = 0;

        while (!e && n) {
                size_t k = (size_t)MIN(n, (uint64_t)sizeof(zeros));

                e = out->write(out->user, zeros, k, err);
                n -= k;
        }
        return e;
}

int ly_blob_reader_file(struct ly_blob_reader *r, const struct ly_toc_entry *t,
                        const struct ly_sink *out, struct bld_err *err)
{
        uint64_t at = t->data_off, pos = 0;
        int e = 0;

        if (t->e.type != LY_FILE)
                return err_set(err, BLD_E_BUG, "%.800s is not a file", t->e.path);
        if (!t->sparse)
                return ly_blob_reader_range(r, at, t->e.size, out, err);
        for (size_t i = 0; !e && i < t->nextents; i++) {
                const struct ly_extent *x = &t->extents[i];

                e = put_hole(out, x->off - pos, err);
                if (!e)
                        e = ly_blob_reader_range(r, at, x->len, out, err);
                at += x->len;
                pos = x->off + x->len;
        }
        return e < 0 ? e : put_hole(out, t->e.size - pos, err);
}
