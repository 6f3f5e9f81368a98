/* Two images compared, path by path. */
#include "bld/diff.h"

#include "base/err.h"
#include "lib/layer_priv.h"
#include "lib/opts_priv.h"
#include "lib/tree_priv.h"
#include "parser/ignore.h"

/* The two enums name the same bits. */
_Static_assert((int)BLD_DIFF_TYPE == LY_WHAT_TYPE && (int)BLD_DIFF_CONTENT == LY_WHAT_CONTENT &&
                       (int)BLD_DIFF_SIZE == LY_WHAT_SIZE && (int)BLD_DIFF_LINK == LY_WHAT_LINK &&
                       (int)BLD_DIFF_DEVICE == LY_WHAT_DEVICE &&
                       (int)BLD_DIFF_MODE == LY_WHAT_MODE && (int)BLD_DIFF_UID == LY_WHAT_UID &&
                       (int)BLD_DIFF_GID == LY_WHAT_GID && (int)BLD_DIFF_MTIME == LY_WHAT_MTIME &&
                       (int)BLD_DIFF_XATTRS == LY_WHAT_XATTRS &&
                       (int)BLD_DIFF_LINKS == LY_WHAT_LINKS,
               "public and internal bits");

#define DIFF_BITS (BLD_DIFF_LINKS * 2u - 1)

struct bld_diff {
        struct fpr_key key;
        struct bld_tree *a, *b;
        struct bld_change *v;
        size_t n;
};

/* What is needed while comparing. */
struct diffing {
        struct bld_image *im[2];
        struct lib_scan **scans[2];
        size_t n[2]; /* of scans: layers, those left out not among them */
        size_t below;
        struct bld_diff_opts o;
        struct ignore *only, *exclude;
        struct ly_changes changes;
        struct bld_diff *d;
};

static void diffing_done(struct diffing *x)
{
        for (unsigned k = 0; k < 2; k++) {
                for (size_t i = 0; x->scans[k] && i < x->n[k]; i++)
                        lib_scan_unref(x->scans[k][i]);
                free(x->scans[k]);
        }
        ignore_free(x->only);
        ignore_free(x->exclude);
        ly_changes_done(&x->changes);
        bld_diff_free(x->d);
}

/* ---- which paths ---- */

/* A slash in front is the root's, as it is in what is printed. */
static int add_pattern(struct strv *v, const char *s, struct bld_err *err)
{
        AUTO_FREE char *own = NULL;
        bool except = *s == '!';

        s += except;
        while (s[0] == '/' && s[1])
                s++;
        if (asprintf(&own, "%s%s", except ? "!" : "", strcmp(s, "/") == 0 ? "**" : s) < 0)
                own = NULL;
        return own && strv_add(v, own) == 0 ? 0 : err_nomem(err, "list of patterns");
}

static int patterns(const struct bld_list *l, struct ignore **ret, struct bld_err *err)
{
        AUTO_STRV struct strv v = {NULL, 0, 0};

        if (!l->n)
                return 0;
        for (size_t i = 0; i < l->n; i++) {
                int r = add_pattern(&v, l->v[i], err);

                if (r < 0)
                        return r;
        }
        return ignore_from_patterns(&v, ret, err);
}

static bool is_wanted(void *user, const char *path)
{
        const struct diffing *x = user;

        return (!x->only || ignore_match(x->only, path, NULL)) &&
               (!x->exclude || !ignore_match(x->exclude, path, NULL));
}

/* ---- layers ---- */

/* A diff ID is the config's word, as it is for every engine, but for layers that were read when
 * they were opened. Who asks to read all does not take it. */
static bool same_layer(const struct diffing *d, const struct lib_layer_ref *x,
                       const struct lib_layer_ref *y)
{
        if (x->layer && x->layer == y->layer)
                return true;
        if (x->has_digest && y->has_digest && digest_eq(&x->digest, &y->digest))
                return true;
        if (d->o.shared == BLD_DIFF_SHARED_READ && !(x->layer && y->layer))
                return false;
        return x->has_diff_id && y->has_diff_id && digest_eq(&x->diff_id, &y->diff_id);
}

/* Are both at hand, in different bytes of which only configs say that they hold the same? Then that
 * is seen, not believed. */
static int is_mere_claim(const struct diffing *d, size_t i, size_t k, struct bld_err *err)
{
        const struct lib_layer_ref *x = lib_image_layer(d->im[0], i);
        const struct lib_layer_ref *y = lib_image_layer(d->im[1], k);
        int r;

        if (d->o.shared == BLD_DIFF_SHARED_SKIP || (x->layer && y->layer) ||
            (x->has_digest && y->has_digest && digest_eq(&x->digest, &y->digest)))
                return 0;
        r = lib_scan_has_blob(d->im[0], i, err);
        return r == 1 ? lib_scan_has_blob(d->im[1], k, err) : r;
}

/* Layers both begin with. */
static size_t shared_layers(const struct diffing *x)
{
        size_t na = lib_image_layers(x->im[0]), nb = lib_image_layers(x->im[1]), i = 0;

        while (i < na && i < nb &&
               same_layer(x, lib_image_layer(x->im[0], i), lib_image_layer(x->im[1], i)))
                i++;
        return i;
}

/* The first image's scan of what is layer k of the second; *ret NULL where it has none. */
static int find_same(const struct diffing *x, size_t k, struct lib_scan **ret, struct bld_err *err)
{
        const struct lib_layer_ref *l = lib_image_layer(x->im[1], k);

        for (size_t i = 0; i < x->n[0]; i++) {
                int r;

                if (!same_layer(x, lib_image_layer(x->im[0], i + x->below), l))
                        continue;
                r = is_mere_claim(x, i + x->below, k, err);
                if (r == 0)
                        *ret = x->scans[0][i];
                if (r <= 0)
                        return r;
        }
        return 0;
}

/* The other image has it, too: where are its bytes at hand? */
static int choose_place(struct lib_scan *s, struct bld_image *im, size_t i, struct bld_err *err)
{
        int r;

        if (s->im == im)
                return 0;
        r = lib_scan_has_blob(s->im, s->i, err);
        if (!r)
                r = lib_scan_has_blob(im, i, err) == 1 ? 2 : 0;
        if (r == 2) {
                s->im = im;
                s->i = i;
        }
        return MIN(r, 0);
}

static int make_scan(struct diffing *x, unsigned k, size_t i, struct lib_scan **ret,
                     struct bld_err *err)
{
        struct lib_scan *s = NULL;
        int r = k ? find_same(x, i, &s, err) : 0;

        if (r < 0)
                return r;
        if (s) {
                /* Read once, and hashed only where its files meet others. */
                s->want_sums = false;
                *ret = lib_scan_ref(s);
                return choose_place(s, x->im[1], i, err);
        }
        r = lib_scan_new(x->im[k], i, ret, err);
        if (r < 0)
                return r;
        (*ret)->want_toc = true;
        (*ret)->want_sums = !(x->o.ignore & BLD_DIFF_CONTENT);
        return 0;
}

static int make_scans(struct diffing *x, struct bld_err *err)
{
        for (unsigned k = 0; k < 2; k++) {
                size_t n = lib_image_layers(x->im[k]) - x->below;

                x->scans[k] = mem_zalloc(n, sizeof(struct lib_scan *));
                if (!x->scans[k])
                        return err_nomem(err, "list of layers");
                for (; x->n[k] < n; x->n[k]++) {
                        struct lib_scan *s = NULL;
                        int r = make_scan(x, k, x->n[k] + x->below, &s, err);

                        x->scans[k][x->n[k]] = s;
                        if (r < 0) {
                                x->n[k] += s != NULL;
                                return r;
                        }
                }
        }
        return 0;
}

/* How many of the layers both begin with are not to be read? */
static int choose_below(struct diffing *x, struct bld_err *err)
{
        size_t shared = shared_layers(x);
        int r = 1;

        if (x->o.shared == BLD_DIFF_SHARED_SKIP)
                r = 0;
        for (size_t i = 0; r == 1 && x->o.shared == BLD_DIFF_SHARED_LOCAL && i < shared; i++) {
                r = lib_scan_has_toc(x->im[0], i, err);
                if (!r)
                        r = lib_scan_has_toc(x->im[1], i, err);
        }
        x->below = r ? 0 : shared;
        return MIN(r, 0);
}

/* SHA-256 for what the store keeps, and so for all that is compared with it; else what is faster.
 */
static int choose_sums(struct diffing *x, struct bld_err *err)
{
        int r = 0;

        for (unsigned k = 0; r == 0 && k < 2; k++)
                for (size_t i = 0; r == 0 && i < x->n[k]; i++)
                        r = lib_scan_is_stored(x->scans[k][i], err);
        if (r)
                return MIN(r, 0);
        r = fpr_key_make(&x->d->key, err);
        for (unsigned k = 0; k < 2; k++)
                for (size_t i = 0; i < x->n[k]; i++)
                        x->scans[k][i]->key = &x->d->key;
        return r;
}

static int run_scans(struct diffing *x, struct bld_err *err)
{
        size_t n = x->n[0] + x->n[1];
        AUTO_FREE struct lib_scan **v = mem_alloc(n * sizeof(struct lib_scan *));

        if (!v)
                return err_nomem(err, "list of layers");
        if (x->n[0])
                memcpy(v, x->scans[0], x->n[0] * sizeof(struct lib_scan *));
        if (x->n[1])
                memcpy(v + x->n[0], x->scans[1], x->n[1] * sizeof(struct lib_scan *));
        return lib_scan_run(v, n, x->o.watch, err);
}

/* ---- comparing ---- */

/* The sums that are missing are worth this layer's bytes: those of a shared one are not, where that
 * is a download nobody asked for. */
static int want_sums(struct diffing *x, struct lib_scan *s, struct bld_err *err)
{
        int r = 1;

        if (x->o.shared != BLD_DIFF_SHARED_READ && !s->want_sums)
                r = lib_scan_has_blob(s->im, s->i, err);
        if (r == 1)
                s->want_sums = true;
        return MIN(r, 0);
}

/* Sums of shared layers whose files meet others. */
static int settle(struct diffing *x, const struct ly_side *a, const struct ly_side *b,
                  const struct ly_compare_opts *o, struct bld_err *err)
{
        AUTO_FREE bool *need_a = mem_zalloc(x->n[0], sizeof(bool));
        AUTO_FREE bool *need_b = mem_zalloc(x->n[1], sizeof(bool));
        int r;

        if (!need_a || !need_b)
                return err_nomem(err, "list of layers");
        r = ly_compare_missing(a, b, &x->changes, !x->o.no_renames, need_a, need_b, err);
        for (size_t i = 0; !r && i < x->n[0]; i++)
                r = need_a[i] ? want_sums(x, x->scans[0][i], err) : 0;
        for (size_t i = 0; !r && i < x->n[1]; i++)
                r = need_b[i] ? want_sums(x, x->scans[1][i], err) : 0;
        if (!r)
                r = run_scans(x, err);
        if (!r)
                ly_compare_settle(a, b, o, &x->changes);
        return r;
}

static int compare(struct diffing *x, struct bld_err *err)
{
        const struct ly_side a = lib_tree_side(x->d->a), b = lib_tree_side(x->d->b);
        const struct ly_compare_opts o = {.ignore = x->o.ignore,
                                          .wanted = x->only || x->exclude ? is_wanted : NULL,
                                          .user = x};
        int r = ly_compare(&a, &b, &o, &x->changes, err);

        if (!r && x->below)
                r = ly_compare_unsure(&a, &b, &o, &x->changes, err);
        if (!r)
                r = settle(x, &a, &b, &o, err);
        if (!r && !x->o.no_renames)
                r = ly_compare_renames(&a, &b, &x->changes, err);
        return r;
}

/* ---- the result ---- */

#define MODIFIES (BLD_DIFF_CONTENT | BLD_DIFF_SIZE | BLD_DIFF_LINK | BLD_DIFF_DEVICE)

static enum bld_change_kind kind_of(const struct ly_change *c)
{
        if (c->below)
                return c->below == LY_BELOW_GOES    ? BLD_CHANGE_DELETED
                       : c->below == LY_BELOW_COMES ? BLD_CHANGE_ADDED
                                                    : BLD_CHANGE_METADATA;
        if (c->a == LY_NONE)
                return BLD_CHANGE_ADDED;
        if (c->b == LY_NONE)
                return BLD_CHANGE_DELETED;
        if (c->what & BLD_DIFF_TYPE)
                return BLD_CHANGE_TYPE;
        return c->what & MODIFIES ? BLD_CHANGE_MODIFIED : BLD_CHANGE_METADATA;
}

static size_t index_of(uint32_t i)
{
        return i == LY_NONE ? BLD_NO_NODE : i;
}

static int publish(struct diffing *x, struct bld_err *err)
{
        struct bld_diff *d = x->d;

        d->v = mem_zalloc(x->changes.n, sizeof(*d->v));
        if (!d->v)
                return err_nomem(err, "list of changes");
        for (; d->n < x->changes.n; d->n++) {
                const struct ly_change *c = &x->changes.v[d->n];

                d->v[d->n] = (struct bld_change){.path = c->path,
                                                 .kind = kind_of(c),
                                                 .what = c->what,
                                                 .before = index_of(c->a),
                                                 .after = index_of(c->b),
                                                 .renamed = index_of(c->renamed),
                                                 .unsure = c->pending || c->unsure};
        }
        return 0;
}

static int run(struct diffing *x, struct bld_err *err)
{
        int r = patterns(&x->o.only, &x->only, err);

        if (!r)
                r = patterns(&x->o.exclude, &x->exclude, err);
        if (!r)
                r = choose_below(x, err);
        if (!r)
                r = make_scans(x, err);
        if (!r)
                r = choose_sums(x, err);
        if (!r)
                r = run_scans(x, err);
        if (!r)
                r = lib_tree_new(x->im[0], x->scans[0], x->n[0], x->below, &x->d->a, err);
        if (!r)
                r = lib_tree_new(x->im[1], x->scans[1], x->n[1], x->below, &x->d->b, err);
        if (!r)
                r = compare(x, err);
        return r < 0 ? r : publish(x, err);
}

int bld_diff(struct bld_image *a, struct bld_image *b, const struct bld_diff_opts *o,
             struct bld_diff **ret, struct bld_err *err)
{
        struct diffing x = {.im = {a, b}};
        int r = lib_opts_copy(&x.o, sizeof(x.o), o, "bld_diff", err);

        if (!r)
                r = lib_known(x.o.shared <= BLD_DIFF_SHARED_SKIP, x.o.shared, "shared layers", err);
        if (!r)
                r = lib_known(!(x.o.ignore & ~DIFF_BITS), x.o.ignore, "ignored differences", err);
        if (r < 0)
                return r;
        x.d = mem_zalloc(1, sizeof(*x.d));
        r = x.d ? run(&x, err) : err_nomem(err, "comparison");
        if (!r)
                *ret = TAKE_PTR(&x.d);
        diffing_done(&x);
        return r;
}

void bld_diff_free(struct bld_diff *d)
{
        if (!d)
                return;
        bld_tree_close(d->a);
        bld_tree_close(d->b);
        free(d->v);
        free(d);
}

size_t bld_diff_count(const struct bld_diff *d)
{
        return d->n;
}

const struct bld_change *bld_diff_change(const struct bld_diff *d, size_t i)
{
        return i < d->n ? &d->v[i] : NULL;
}

struct bld_tree *bld_diff_tree_a(struct bld_diff *d)
{
        return d->a;
}

struct bld_tree *bld_diff_tree_b(struct bld_diff *d)
{
        return d->b;
}
