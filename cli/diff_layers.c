/* --mode layers: which layers of two images are the same, by bytes first. What is not is paired by
 * place and read, to tell another order or other compression from other content. */
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "base/err.h"
#include "base/num.h"
#include "cli/diff.h"

#define ALIGN_MAX 2000u /* layers; beyond, pairs are by place alone */

const char *diff_layer_name(enum diff_layer_kind k)
{
        static const char *const names[] = {
                [DIFF_LAYER_SAME] = "same",           [DIFF_LAYER_RECOMPRESSED] = "recompressed",
                [DIFF_LAYER_REORDERED] = "reordered", [DIFF_LAYER_EQUIVALENT] = "equivalent",
                [DIFF_LAYER_CHANGED] = "changed",     [DIFF_LAYER_ADDED] = "added",
                [DIFF_LAYER_DELETED] = "deleted",
        };

        return names[k];
}

/* ---- what is in a layer, as one number ---- */

struct sum {
        unsigned char b[32];
};
VEC_DEFINE(sums, struct sum);

static int by_bytes(const void *a, const void *b)
{
        return memcmp(a, b, sizeof(struct sum));
}

struct xattr {
        const char *name;
        const void *value;
        size_t len;
};

static int by_name(const void *a, const void *b)
{
        return strcmp(((const struct xattr *)a)->name, ((const struct xattr *)b)->name);
}

static int add_xattrs(struct bld_layer_stream *s, size_t n, struct hasher *h, struct bld_err *err)
{
        AUTO_FREE struct xattr *v = mem_zalloc(n + 1, sizeof(*v));
        int r = v ? 0 : err_nomem(err, "attributes");

        for (size_t i = 0; i < n && r == 0; i++)
                r = bld_layer_stream_xattr(s, i, &v[i].name, &v[i].value, &v[i].len, err);
        if (r < 0)
                return r;
        qsort(v, n, sizeof(*v), by_name);
        for (size_t i = 0; i < n; i++) {
                hasher_field_str(h, v[i].name);
                hasher_field(h, v[i].value, v[i].len);
        }
        return 0;
}

static int add_data(struct bld_layer_stream *s, struct hasher *h, struct bld_err *err)
{
        char buf[65536];
        int64_t n;

        while ((n = bld_layer_stream_read(s, buf, sizeof(buf), err)) > 0)
                hasher_add(h, buf, (size_t)n);
        return (int)n;
}

static int sum_entry(struct bld_layer_stream *s, const struct bld_layer_entry *e, unsigned ignore,
                     struct sum *ret, struct bld_err *err)
{
        struct hasher h;
        struct digest d;
        int r = 0;

        hasher_init(&h, DIGEST_SHA256);
        hasher_field_str(&h, e->path);
        hasher_field_u64(&h, e->type);
        hasher_field_u64(&h, ignore & BLD_DIFF_MODE ? 0 : e->mode);
        hasher_field_u64(&h, ignore & BLD_DIFF_UID ? 0 : e->uid);
        hasher_field_u64(&h, ignore & BLD_DIFF_GID ? 0 : e->gid);
        hasher_field_u64(&h, ignore & BLD_DIFF_MTIME ? 0 : (uint64_t)(e->mtime_ns / 1000000000));
        hasher_field_str(&h, e->link);
        hasher_field_u64(&h, (uint64_t)e->dev_major << 32 | e->dev_minor);
        hasher_field_u64(&h, e->file_size);
        if (!(ignore & BLD_DIFF_XATTRS))
                r = add_xattrs(s, e->nxattrs, &h, err);
        if (r == 0 && e->type == BLD_LAYER_FILE)
                r = add_data(s, &h, err);
        hasher_end(&h, &d);
        memcpy(ret->b, d.b, sizeof(ret->b));
        return r;
}

/* ordered: of the entries as they come; sorted: in whatever order. */
static int sum_layer(struct bld_image *im, size_t i, unsigned ignore, struct digest *ret_ordered,
                     struct digest *ret_sorted, struct bld_err *err)
{
        AUTO(sums_done) struct sums v = {0};
        struct bld_layer_stream *s = NULL;
        const struct bld_layer_entry *e;
        int r = bld_image_stream(im, i, &s, err);

        while (r >= 0 && (r = bld_layer_stream_next(s, &e, err)) > 0) {
                struct sum *to = sums_push(&v);

                r = to ? sum_entry(s, e, ignore, to, err) : err_nomem(err, "sums of a layer");
        }
        r = r < 0 ? r : bld_layer_stream_end(s, NULL, err);
        bld_layer_stream_close(s);
        if (r < 0)
                return r;
        digest_of(v.n ? (const void *)v.v : "", v.n * sizeof(*v.v), ret_ordered);
        if (v.n)
                qsort(v.v, v.n, sizeof(*v.v), by_bytes);
        digest_of(v.n ? (const void *)v.v : "", v.n * sizeof(*v.v), ret_sorted);
        return 0;
}

/* ---- pairs ---- */

static bool same_tar(const struct bld_layer_info *a, const struct bld_layer_info *b)
{
        return a->diff_id && b->diff_id && strcmp(a->diff_id, b->diff_id) == 0;
}

static bool same_blob(const struct bld_layer_info *a, const struct bld_layer_info *b)
{
        return a->digest && b->digest ? strcmp(a->digest, b->digest) == 0 : same_tar(a, b);
}

static int judge(const struct diff_ask *ask, struct bld_image *a, struct bld_image *b,
                 struct diff_layer *l, struct bld_err *err)
{
        struct digest ordered_a, ordered_b, sorted_a, sorted_b;
        int r;

        if (same_blob(l->before, l->after)) {
                l->kind = DIFF_LAYER_SAME;
                return 0;
        }
        if (same_tar(l->before, l->after)) {
                l->kind = DIFF_LAYER_RECOMPRESSED;
                l->differs = !ask->ignore_compression;
                return 0;
        }
        r = sum_layer(a, l->before->number, ask->ignore_files, &ordered_a, &sorted_a, err);
        r = r < 0 ? r
                  : sum_layer(b, l->after->number, ask->ignore_files, &ordered_b, &sorted_b, err);
        if (r < 0)
                return r;
        if (digest_eq(&ordered_a, &ordered_b)) {
                l->kind = DIFF_LAYER_EQUIVALENT;
                l->differs = !ask->ignore_files && !ask->ignore_order;
        } else if (digest_eq(&sorted_a, &sorted_b)) {
                l->kind = DIFF_LAYER_REORDERED;
                l->differs = !ask->ignore_order;
        } else {
                l->kind = DIFF_LAYER_CHANGED;
                l->differs = true;
        }
        return 0;
}

struct pairing {
        const struct diff_ask *ask;
        struct bld_image *a, *b;
        struct diff_layers *out;
};

static int pair(const struct pairing *p, const struct bld_layer_info *before,
                const struct bld_layer_info *after, struct bld_err *err)
{
        struct diff_layer *l = diff_layers_push(p->out);

        if (!l)
                return err_nomem(err, "list of layers");
        l->before = before;
        l->after = after;
        l->differs = true;
        l->kind = before ? DIFF_LAYER_DELETED : DIFF_LAYER_ADDED;
        if (!before || !after)
                return 0;
        l->differs = false;
        return judge(p->ask, p->a, p->b, l, err);
}

/* Layers a0..a1 of A and b0..b1 of B have nothing in common: by place. */
static int pair_gap(const struct pairing *p, size_t a0, size_t a1, size_t b0, size_t b1,
                    struct bld_err *err)
{
        int r = 0;

        while (r == 0 && (a0 < a1 || b0 < b1)) {
                const struct bld_layer_info *x = a0 < a1 ? bld_image_layer(p->a, a0) : NULL;
                const struct bld_layer_info *y = b0 < b1 ? bld_image_layer(p->b, b0) : NULL;

                r = pair(p, x, y, err);
                a0 += x != NULL;
                b0 += y != NULL;
        }
        return r;
}

/* Longest common subsequence, from the ends: t[i][j] of what is behind a[i] and b[j]. */
static int align(const struct pairing *p, size_t na, size_t nb, struct bld_err *err)
{
        size_t w = nb + 1, i = 0, j = 0, gap_a = 0, gap_b = 0;
        AUTO_FREE uint16_t *t = mem_zalloc((na + 1) * w, sizeof(*t));
        int r = 0;

        if (!t)
                return err_nomem(err, "list of layers");
#define SAME(x, y) same_blob(bld_image_layer(p->a, (x)), bld_image_layer(p->b, (y)))
        for (i = na; i-- > 0;)
                for (j = nb; j-- > 0;)
                        t[i * w + j] = SAME(i, j) ? (uint16_t)(t[(i + 1) * w + j + 1] + 1)
                                                  : MAX(t[(i + 1) * w + j], t[i * w + j + 1]);
        for (i = 0, j = 0; r == 0 && i < na && j < nb;) {
                if (SAME(i, j)) {
                        r = pair_gap(p, gap_a, i, gap_b, j, err);
                        r = r < 0 ? r
                                  : pair(p, bld_image_layer(p->a, i), bld_image_layer(p->b, j),
                                         err);
                        gap_a = ++i;
                        gap_b = ++j;
                } else if (t[(i + 1) * w + j] >= t[i * w + j + 1]) {
                        i++;
                } else {
                        j++;
                }
        }
#undef SAME
        return r < 0 ? r : pair_gap(p, gap_a, na, gap_b, nb, err);
}

int diff_layers_compare(const struct diff_ask *ask, struct bld_image *a, struct bld_image *b,
                        struct diff_layers *ret, struct bld_err *err)
{
        const struct pairing p = {ask, a, b, ret};
        size_t na = bld_image_layers(a), nb = bld_image_layers(b);

        return na > ALIGN_MAX || nb > ALIGN_MAX ? pair_gap(&p, 0, na, 0, nb, err)
                                                : align(&p, na, nb, err);
}
