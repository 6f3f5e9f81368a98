/* Layers as streams of entries: what is not asked for is not read. */
#include "base/err.h"
#include "lib/layer_priv.h"
#include "lib/open_priv.h"

struct bld_layer_stream {
        struct lib_input in;   /* of the caller, or */
        struct lib_blob *blob; /* of an image */
        const struct bld_image *im;
        struct ly_pull *pull;
        struct ly_reader *reader;
        const struct ly_entry *e; /* the current one, or NULL */
        struct bld_layer_entry shown;
        size_t count;
        bool ended;
        int failed; /* what ended it too early: every later call says so again */
        struct bld_err why;
        bool has_digest, has_diff_id;
        struct digest digest, diff_id;
};

static int fail(struct bld_layer_stream *s, int r, struct bld_err *err)
{
        if (!s->failed)
                s->failed = s->im ? lib_image_fault(s->im, r, &s->why) : r;
        err_copy(err, &s->why);
        return s->failed;
}

/* ---- opening ---- */

static void stream_close_p(struct bld_layer_stream **s)
{
        bld_layer_stream_close(*s);
}

static int start(struct bld_layer_stream *s, const struct ly_source *from,
                 const struct ly_limits *lim, struct bld_err *err)
{
        struct ly_source tar;
        int r = ly_pull_new(from, lim, &s->pull, err);

        if (r < 0)
                return r;
        tar = ly_pull_source(s->pull);
        return ly_reader_new(&tar, lim, &s->reader, err);
}

static int wanted(const char *text, struct digest *ret, bool *has, struct bld_err *err)
{
        *has = text != NULL;
        return text ? digest_parse(text, ret, err) : 0;
}

int bld_layer_stream_open(const struct bld_input *in, const struct bld_layer_stream_opts *o,
                          struct bld_layer_stream **ret, struct bld_err *err)
{
        AUTO(stream_close_p) struct bld_layer_stream *s = mem_zalloc(1, sizeof(*s));
        struct bld_layer_stream_opts own;
        struct ly_limits lim;
        struct ly_source from;
        int r = s ? lib_opts_copy(&own, sizeof(own), o, "bld_layer_stream_open", err)
                  : err_nomem(err, "layer stream");

        if (r == 0)
                r = wanted(own.digest, &s->digest, &s->has_digest, err);
        if (r == 0)
                r = wanted(own.diff_id, &s->diff_id, &s->has_diff_id, err);
        if (r == 0)
                r = lib_input_init(&s->in, in, own.watch, err);
        if (r < 0)
                return r;
        lim = (struct ly_limits){.bytes = own.max_bytes, .entries = own.max_entries};
        from = lib_input_source(&s->in);
        r = start(s, &from, &lim, err);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(&s);
        return 0;
}

int bld_image_stream(struct bld_image *im, size_t i, struct bld_layer_stream **ret,
                     struct bld_err *err)
{
        AUTO(stream_close_p) struct bld_layer_stream *s = mem_zalloc(1, sizeof(*s));
        const struct lib_layer_ref *l;
        struct ly_source from;
        int r = s ? lib_blob_open(im, i, &s->blob, err) : err_nomem(err, "layer stream");

        if (r < 0)
                return r;
        s->im = im;
        l = lib_image_layer(im, i);
        s->has_diff_id = l->has_diff_id; /* the blob sees to its digest */
        s->diff_id = l->diff_id;
        from = lib_blob_source(s->blob);
        r = start(s, &from, lib_image_limits(im), err);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(&s);
        return 0;
}

void bld_layer_stream_close(struct bld_layer_stream *s)
{
        if (!s)
                return;
        ly_reader_free(s->reader);
        ly_pull_free(s->pull);
        lib_blob_close(s->blob);
        free(s);
}

/* ---- reading ---- */

int bld_layer_stream_next(struct bld_layer_stream *s, const struct bld_layer_entry **ret,
                          struct bld_err *err)
{
        int r;

        if (s->failed)
                return fail(s, s->failed, err);
        s->e = NULL;
        if (s->ended)
                return 0;
        r = ly_reader_next(s->reader, &s->e, &s->why);
        if (r < 0)
                return fail(s, r, err);
        if (r == 0) {
                s->ended = true;
                s->e = NULL;
                return 0;
        }
        lib_entry(s->e, s->count++, &s->shown);
        *ret = &s->shown;
        return 1;
}

const struct ly_entry *lib_stream_entry(const struct bld_layer_stream *s)
{
        return s->e;
}

int64_t bld_layer_stream_read(struct bld_layer_stream *s, void *p, size_t n, struct bld_err *err)
{
        ssize_t k;

        if (s->failed)
                return fail(s, s->failed, err);
        if (!s->e || s->e->type != LY_FILE)
                return 0;
        k = ly_reader_data(s->reader, p, n, &s->why);
        return k < 0 ? fail(s, (int)k, err) : k;
}

int bld_layer_stream_xattr(const struct bld_layer_stream *s, size_t k, const char **ret_name,
                           const void **ret_value, size_t *ret_len, struct bld_err *err)
{
        const struct ly_xattr *x;

        if (!s->e || k >= s->e->nxattrs)
                return err_set(err, BLD_E_NOT_FOUND, "no such attribute");
        x = &s->e->xattrs[k];
        *ret_name = x->name;
        *ret_value = x->value;
        *ret_len = x->len;
        return 0;
}

int lib_check_digest(const struct digest *want, const struct digest *have, const char *what,
                     struct bld_err *err)
{
        char a[DIGEST_STR_MAX], b[DIGEST_STR_MAX];

        if (!want || digest_eq(want, have))
                return 0;
        digest_format(want, a);
        digest_format(have, b);
        if (want->algo != have->algo)
                return err_set(err, BLD_E_UNSUPPORTED,
                               "layer has %s %s, which cannot be held against %s", what, b, a);
        return err_set(err, BLD_E_CORRUPT, "layer has %s %s, not %s", what, b, a);
}

int bld_layer_stream_end(struct bld_layer_stream *s, struct bld_layer_created *ret,
                         struct bld_err *err)
{
        const struct bld_layer_entry *e;
        struct ly_packed p;
        int r = lib_ret_check(ret, "bld_layer_stream_end", err);

        if (r < 0)
                return r;
        while ((r = bld_layer_stream_next(s, &e, err)) > 0)
                ;
        if (r < 0)
                return r;
        r = ly_pull_end(s->pull, &p, &s->why);
        if (r == 0)
                r = lib_check_digest(s->has_digest ? &s->digest : NULL, &p.digest, "digest",
                                     &s->why);
        if (r == 0)
                r = lib_check_digest(s->has_diff_id ? &s->diff_id : NULL, &p.diff_id, "diff ID",
                                     &s->why);
        if (r < 0)
                return fail(s, r, err);
        lib_created_put(&p, ret);
        return 0;
}
