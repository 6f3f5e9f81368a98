/* The configurations of two images compared. */
#include "base/err.h"
#include "bld/diff.h"
#include "image/image.h"
#include "lib/opts_priv.h"

struct bld_config_diff {
        struct img_config_changes all; /* owns the texts */
        struct bld_config_change *v;
};

_Static_assert((int)BLD_CONFIG_HISTORY == (int)IMG_CONFIG_DIFF_HISTORY, "same bits");
_Static_assert((int)BLD_CONFIG_CREATED == (int)IMG_CONFIG_DIFF_CREATED, "same bits");
_Static_assert((int)BLD_CONFIG_LABELS == (int)IMG_CONFIG_DIFF_LABELS, "same bits");
_Static_assert((int)BLD_CONFIG_LAYERS == (int)IMG_CONFIG_DIFF_LAYERS, "same bits");

DEFINE_AUTO_PTR(struct bld_config_diff, bld_config_diff_free);

int bld_config_diff(struct bld_image *a, struct bld_image *b, unsigned ignore,
                    struct bld_config_diff **ret, struct bld_err *err)
{
        AUTO(bld_config_diff_free_p) struct bld_config_diff *d = mem_zalloc(1, sizeof(*d));
        size_t na, nb;
        const char *ta = bld_image_config(a, &na), *tb = bld_image_config(b, &nb);
        int r;

        if (!d)
                return err_nomem(err, "comparison of configs");
        r = lib_known(ignore < BLD_CONFIG_LAYERS * 2u, ignore, "ignored parts of configs", err);
        if (r < 0)
                return r;
        r = img_config_diff(ta, na, tb, nb, ignore, &d->all, err);
        if (r < 0)
                return err_wrap(err, r, "compare the configs of %.200s and %.200s",
                                bld_image_name(a), bld_image_name(b));
        d->v = mem_zalloc(MAX(d->all.n, 1), sizeof(*d->v));
        if (!d->v)
                return err_nomem(err, "comparison of configs");
        for (size_t i = 0; i < d->all.n; i++)
                d->v[i] = (struct bld_config_change){.field = d->all.v[i].field,
                                                     .key = d->all.v[i].key,
                                                     .before = d->all.v[i].before,
                                                     .after = d->all.v[i].after};
        *ret = TAKE_PTR(&d);
        return 0;
}

size_t bld_config_diff_count(const struct bld_config_diff *d)
{
        return d->all.n;
}

const struct bld_config_change *bld_config_diff_change(const struct bld_config_diff *d, size_t i)
{
        return i < d->all.n ? &d->v[i] : NULL;
}

void bld_config_diff_free(struct bld_config_diff *d)
{
        if (!d)
                return;
        img_config_changes_free(&d->all);
        free(d->v);
        free(d);
}
