/* May we push there? Asked before long work, so that a missing permission costs no build. */
#include "builder/builder.h"

#include "base/err.h"
#include "builder/image/move_priv.h"

static int check_one(struct reg_client *reg, const char *name, struct bld_err *err)
{
        AUTO_REF struct img_ref ref = {.domain = NULL};
        struct bld_err why = BLD_ERR_INIT;
        int r = img_ref_parse(name, &ref, err);

        if (r < 0)
                return r;
        r = reg_push_check(reg, &ref, &why);
        /* What does not answer now may do so when the image is there; a refusal is for good. */
        if (r != BLD_E_DENIED && r != BLD_E_CANCELLED && r != BLD_E_NOMEM)
                return 0;
        err_copy(err, &why);
        return r;
}

int bd_push_check(struct bd_ctx *c, const struct strv *names, struct bld_err *err)
{
        struct reg_client *reg = NULL;
        int r = names->n ? c->registry(c->user, &reg, err) : 0;

        for (size_t i = 0; i < names->n && r == 0; i++)
                r = check_one(reg, names->v[i], err);
        return r;
}
