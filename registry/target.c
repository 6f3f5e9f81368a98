#include "registry/target_priv.h"

#include <string.h>

#include "base/err.h"
#include "registry/header_priv.h"

void reg_target_done(struct reg_target *t)
{
        sb_done(&t->what);
        sb_done(&t->path);
        sb_done(&t->shown);
}

static int fill(struct reg_target *t, struct reg_repo *repo, const char *kind, const char *mark,
                const char *verb, struct bld_err *err)
{
        int r;

        t->repo = repo;
        sb_init(&t->what, 4096);
        sb_init(&t->path, 4096);
        sb_init(&t->shown, 4096);
        sb_fmt(&t->shown, "%s%s%s", repo->shown, mark, t->name);
        sb_fmt(&t->what, "%s of %s", verb, sb_text(&t->shown));
        sb_fmt(&t->path, "/v2/%s/%s/%s", repo->path, kind, t->name);
        r = sb_check(&t->path, "build a request", err);
        return r < 0 ? r : sb_check(&t->what, "build a request", err);
}

int reg_target_manifest(struct reg_target *t, struct reg_repo *repo, const struct img_ref *ref,
                        const char *verb, struct bld_err *err)
{
        /* with both, the digest says what is meant; the tag is for people */
        if (!digest_is_set(&ref->digest))
                return reg_target_tag(t, repo, ref->tag ? ref->tag : "latest", verb, err);
        digest_format(&ref->digest, t->name);
        return fill(t, repo, "manifests", "@", verb, err);
}

int reg_target_tag(struct reg_target *t, struct reg_repo *repo, const char *tag, const char *verb,
                   struct bld_err *err)
{
        (void)str_copy(t->name, sizeof(t->name), tag);
        return fill(t, repo, "manifests", ":", verb, err);
}

int reg_target_blob(struct reg_target *t, struct reg_repo *repo, const struct digest *d,
                    const char *verb, struct bld_err *err)
{
        digest_format(d, t->name);
        return fill(t, repo, "blobs", "@", verb, err);
}

int reg_target_req(const struct reg_target *t, struct reg_client *c, struct req *rq,
                   const char *method, const char *actions, struct bld_err *err)
{
        req_init(rq, c, t->repo, sb_text(&t->what));
        rq->method = method;
        rq->path = sb_text(&t->path);
        return req_scope(rq, t->repo->path, actions, err);
}

int reg_next_page(const struct req *rq, struct reg_url *ret, struct bld_err *err)
{
        AUTO_FREE char *target = NULL;
        const char *line;
        int r = 0;

        for (size_t i = 0; r == 0 && (line = reg_res_header(&rq->res, "Link", i)); i++)
                r = reg_link_next(line, strlen(line), &target, err);
        if (r <= 0)
                return r;
        r = reg_url_resolve(&rq->at, target, ret, err);
        if (r < 0)
                return err_wrap(err, err_recode(err, BLD_E_CORRUPT), "%s: next page", rq->what);
        if (!reg_url_same_origin(ret, &rq->at))
                return err_set(err, BLD_E_CORRUPT,
                               "%s: the next page is said to be on another host (%s)", rq->what,
                               ret->host);
        return 1;
}
