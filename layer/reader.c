#include "layer/reader_priv.h"

#include "base/err.h"

#define READ_BUF (256u << 10)

struct ly_reader {
        struct ly_source in;
        void (*in_free)(void *user);
        struct tar_parser t;
        unsigned char *buf;
        size_t pos, len;
        const unsigned char *data; /* stored bytes at hand, inside buf */
        size_t data_len;
        bool have, ended; /* an entry was given; the trailer was seen */
        uint64_t logical; /* of a sparse file: handed out so far */
        size_t extent;    /* of a sparse file: the one being read */
};

int reader_new(const struct ly_source *in, void (*in_free)(void *user), enum tar_flavour flavour,
               const struct ly_limits *lim, struct ly_reader **ret, struct bld_err *err)
{
        AUTO(ly_reader_free_p) struct ly_reader *r = mem_zalloc(1, sizeof(*r));

        if (!r)
                return err_nomem(err, "tar reader");
        tar_parser_init(&r->t, flavour, lim);
        r->in = *in;
        r->buf = mem_alloc(READ_BUF);
        if (!r->buf)
                return err_nomem(err, "tar reader");
        r->in_free = in_free;
        *ret = TAKE_PTR(&r);
        return 0;
}

int ly_reader_new(const struct ly_source *in, const struct ly_limits *lim, struct ly_reader **ret,
                  struct bld_err *err)
{
        return reader_new(in, NULL, TAR_LAYER, lim, ret, err);
}

void ly_reader_free(struct ly_reader *r)
{
        if (!r)
                return;
        if (r->in_free)
                r->in_free(r->in.user);
        tar_parser_done(&r->t);
        free(r->buf);
        free(r);
}

/* 1 the next event, 0 the end of the source. */
static int next_event(struct ly_reader *r, enum tar_event *ret_ev, struct bld_err *err)
{
        for (;;) {
                size_t used;
                int e;

                if (r->pos == r->len) {
                        ssize_t n = r->in.read(r->in.user, r->buf, READ_BUF, err);

                        if (n < 0)
                                return (int)n;
                        if (!n)
                                return tar_eof(&r->t, err);
                        r->pos = 0;
                        r->len = (size_t)n;
                }
                e = tar_feed(&r->t, r->buf + r->pos, r->len - r->pos, &used, ret_ev, &r->data,
                             &r->data_len, err);
                if (e < 0)
                        return e;
                r->pos += used;
                if (*ret_ev == TAR_ENTRY || *ret_ev == TAR_DATA)
                        return 1;
        }
}

int ly_reader_next(struct ly_reader *r, const struct ly_entry **ret, struct bld_err *err)
{
        enum tar_event ev;
        int e;

        if (r->ended)
                return 0;
        r->data_len = 0;
        r->logical = 0;
        r->extent = 0;
        r->have = false;
        do {
                e = next_event(r, &ev, err);
                if (e < 0)
                        return e;
                if (!e) {
                        r->ended = true;
                        return 0;
                }
        } while (ev == TAR_DATA);
        r->data_len = 0;
        r->have = true;
        *ret = &r->t.e;
        return 1;
}

/* Stored bytes: what follows in the stream, no holes. */
static ssize_t read_stored(struct ly_reader *r, void *p, size_t n, struct bld_err *err)
{
        enum tar_event ev;
        size_t take;
        int e;

        if (!r->data_len) {
                if (!r->t.left || r->t.discard)
                        return 0;
                e = next_event(r, &ev, err);
                if (e < 0)
                        return e;
                if (!e || ev != TAR_DATA)
                        return err_set(err, BLD_E_BUG, "tar reader out of step");
        }
        take = MIN(n, r->data_len);
        if (take && p)
                memcpy(p, r->data, take);
        r->data += take;
        r->data_len -= take;
        return (ssize_t)take;
}

static ssize_t read_sparse(struct ly_reader *r, void *p, size_t n, struct bld_err *err)
{
        const struct ly_extents *a = &r->t.extents;
        uint64_t limit = r->t.e.size; /* end of the hole or extent we are in */
        ssize_t got;

        while (r->extent < a->n && r->logical >= a->v[r->extent].off + a->v[r->extent].len)
                r->extent++;
        if (r->extent < a->n && r->logical >= a->v[r->extent].off) {
                limit = a->v[r->extent].off + a->v[r->extent].len;
                n = (size_t)MIN((uint64_t)n, limit - r->logical);
                got = read_stored(r, p, n, err);
                if (!got)
                        return err_set(err, BLD_E_CORRUPT, "sparse file ends early in a tar");
        } else {
                if (r->extent < a->n)
                        limit = a->v[r->extent].off;
                n = (size_t)MIN((uint64_t)n, limit - r->logical);
                memset(p, 0, n);
                got = (ssize_t)n;
        }
        if (got > 0)
                r->logical += (uint64_t)got;
        return got;
}

ssize_t ly_reader_data(struct ly_reader *r, void *p, size_t n, struct bld_err *err)
{
        if (!r->have || !n)
                return 0;
        return r->t.sparse ? read_sparse(r, p, n, err) : read_stored(r, p, n, err);
}

/* Bytes in place: what ly_reader_data() would copy, borrowed until the next call. */
ssize_t reader_peek(struct ly_reader *r, const void **ret, struct bld_err *err)
{
        ssize_t n;

        if (!r->have)
                return 0;
        if (r->t.sparse)
                return err_set(err, BLD_E_BUG, "direct read of a sparse file");
        n = read_stored(r, NULL, 0, err);
        if (n < 0)
                return n;
        *ret = r->data;
        n = (ssize_t)r->data_len;
        r->data_len = 0;
        return n;
}

const struct ly_extents *reader_sparse(const struct ly_reader *r)
{
        return r->t.sparse ? &r->t.extents : NULL;
}

uint64_t ly_reader_data_offset(const struct ly_reader *r)
{
        return r->t.data_off;
}
