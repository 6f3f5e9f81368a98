#include "layer/sums_priv.h"

#include "base/err.h"

/* Stored bytes are bounded (LY_LAYER_BYTES_MAX) and somebody had to send them; holes are free to
 * claim and must be hashed as zeros. */
#define HOLES_FREE ((uint64_t)1 << 30)
#define HOLES_RATIO 1000

VEC_DEFINE(sum_list, struct ly_sum);

struct sums {
        struct sum_list v;
        struct fpr *fpr; /* NULL: SHA-256 */
        struct hasher h; /* of the current file */
        /* Of a sparse one: the extent that is being read, what is read of it, what the file has
         * up to there. */
        size_t extent;
        uint64_t in_extent, logical;
        uint64_t holes; /* of all files so far */
};

int sums_new(const struct fpr_key *key, struct sums **ret, struct bld_err *err)
{
        struct sums *s = mem_zalloc(1, sizeof(*s));
        int r = s ? 0 : err_nomem(err, "table of contents");

        if (!r && key)
                r = fpr_new(key, &s->fpr, err);
        if (r < 0) {
                free(s);
                return r;
        }
        *ret = s;
        return 0;
}

void sums_free(struct sums *s)
{
        if (!s)
                return;
        fpr_free(s->fpr);
        sum_list_done(&s->v);
        free(s);
}

void sums_take(struct sums *s, struct ly_toc *t)
{
        t->sums = TAKE_PTR(&s->v.v);
        t->keyed = s->fpr != NULL;
}

static void add(struct sums *s, const void *p, size_t n)
{
        if (s->fpr)
                fpr_add(s->fpr, p, n);
        else
                hasher_add(&s->h, p, n);
}

static void add_hole(struct sums *s, uint64_t n)
{
        static const unsigned char zeros[16384];

        for (; n; n -= MIN(n, sizeof(zeros)))
                add(s, zeros, (size_t)MIN(n, sizeof(zeros)));
}

/* Stored bytes in their place. */
static void add_sparse(struct sums *s, const struct ly_extents *v, const unsigned char *p, size_t n)
{
        while (n && s->extent < v->n) {
                const struct ly_extent *x = &v->v[s->extent];
                size_t take = (size_t)MIN((uint64_t)n, x->len - s->in_extent);

                add_hole(s, x->off + s->in_extent - s->logical);
                add(s, p, take);
                s->in_extent += take;
                s->logical = x->off + s->in_extent;
                p += take;
                n -= take;
                if (s->in_extent == x->len) {
                        s->extent++;
                        s->in_extent = 0;
                }
        }
}

static int end(struct sums *s, const struct tar_parser *t, struct bld_err *err)
{
        struct ly_sum *sum = sum_list_push(&s->v);
        struct digest d;

        if (!sum)
                return err_nomem(err, "table of contents");
        if (t->sparse)
                add_hole(s, t->e.size - s->logical);
        if (s->fpr) {
                fpr_end(s->fpr, sum->b);
        } else {
                hasher_end(&s->h, &d);
                memcpy(sum->b, d.b, sizeof(sum->b));
        }
        return 0;
}

/* The parser has checked that what is stored fits, and that all sizes together do. */
static int check_holes(struct sums *s, const struct tar_parser *t, struct bld_err *err)
{
        s->holes += t->e.size - t->left;
        if (s->holes <= HOLES_FREE || s->holes / HOLES_RATIO <= t->off + t->left)
                return 0;
        return err_set(
                err, BLD_E_LIMIT,
                "the layer's sparse files expand more than %d-fold (\"%.400s\"); their content "
                "is not read",
                HOLES_RATIO, t->e.path);
}

int sums_begin(struct sums *s, const struct tar_parser *t, struct bld_err *err)
{
        int r = t->e.type == LY_FILE && t->sparse ? check_holes(s, t, err) : 0;

        if (r < 0 || t->e.type != LY_FILE || !t->e.size)
                return r;
        if (!s->fpr)
                hasher_init(&s->h, DIGEST_SHA256);
        s->extent = 0;
        s->in_extent = s->logical = 0;
        return t->left ? 0 : end(s, t, err); /* all of it may be a hole */
}

int sums_data(struct sums *s, const struct tar_parser *t, const unsigned char *p, size_t n,
              struct bld_err *err)
{
        if (t->sparse)
                add_sparse(s, &t->extents, p, n);
        else
                add(s, p, n);
        return t->left ? 0 : end(s, t, err);
}
