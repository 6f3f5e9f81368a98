/* A commit somebody needs the files of: one layer, kept as the plain tar it came as. */
#include "builder/op/op_priv.h"
#include "builder/source/git_priv.h"

#include "base/err.h"
#include "base/num.h"

int op_git(struct build *b, struct vertex *v, struct bld_err *err)
{
        const struct remote_auth auth = {.secrets = b->secrets, .ssh = b->ssh};
        struct digest tar;
        uint64_t size = 0;
        struct bd_layer *l;
        int r = git_tar(b->c, &auth, &v->u.git, &tar, &size, err);

        if (r == 0)
                r = cas_lease_blob(b->record, &tar, err);
        if (r == 0)
                r = err_set(err, BLD_E_CORRUPT, "a checkout vanished right after it was stored");
        if (r < 0)
                return r;
        result_done(&v->result);
        l = bd_layers_push(&v->result.layers);
        if (!l)
                return err_nomem(err, "git");
        l->diff_id = tar;
        l->desc.digest = tar;
        l->desc.size = size;
        l->desc.media_type = mem_strdup(MT_OCI_LAYER);
        l->tar_size = size;
        l->created_sec = time_now_ns() / 1000000000;
        return l->desc.media_type ? result_seal(&v->result, err) : err_nomem(err, "git");
}
