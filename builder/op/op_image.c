/* A base image somebody needs the files of: bring its layers here. */
#include "base/err.h"
#include "builder/op/op_priv.h"

int op_image(struct build *b, struct vertex *v, struct bld_err *err)
{
        const struct bd_layers *l = &v->result.layers;
        struct step_meter p = {b->events, v};
        bool all = true;
        int r = 0;

        for (size_t i = 0; i < l->n && r >= 0; i++) {
                r = cas_lease_blob(b->record, &l->v[i].desc.digest, err);
                all = all && r == 1;
        }
        if (r < 0)
                return r;
        if (all) {
                v->cached = true;
                events_post(b->events, BLD_EV_STEP_CACHED, v, NULL, 0, 0);
                return 0;
        }
        events_post(b->events, BLD_EV_STEP_START, v, NULL, 0, 0);
        r = bd_fetch_layers(b->c, &v->u.image, events_transfer, &p, err);
        for (size_t i = 0; i < l->n && r >= 0; i++)
                r = cas_lease_blob(b->record, &l->v[i].desc.digest, err);
        if (r < 0)
                return r;
        events_exit(b->events, v, 0);
        return 0;
}
