/* What else a repository knows about a manifest: its referrers; and deleting it. */
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "registry/target_priv.h"

#define PAGES_MAX 1000
#define INDEX_MAX IMG_MANIFEST_MAX

struct search {
        struct reg_client *c;
        struct reg_repo *repo;
        const char *what;
        const char *type; /* wanted, or NULL */
        struct img_descs *out;
};

static int take(struct search *s, const struct img_index *ix, struct bld_err *err)
{
        for (size_t i = 0; i < ix->manifests.n; i++) {
                const struct img_desc *d = &ix->manifests.v[i];
                struct img_desc *slot;

                /* whether the server filtered or not */
                if (s->type && !str_eq(d->artifact_type, s->type))
                        continue;
                slot = img_descs_push(s->out);
                if (!slot || img_desc_copy(d, slot) < 0) {
                        s->out->n -= slot != NULL;
                        return err_nomem(err, "read referrers");
                }
        }
        return 0;
}

static int decode(struct search *s, const struct req *rq, const char *media_type,
                  struct bld_err *err)
{
        struct img_index ix = {0};
        int r = img_index_decode(sb_text(&rq->res.body), rq->res.body.len, media_type, &ix, err);

        if (r < 0)
                return err_wrap(err, r, "%s", s->what);
        r = take(s, &ix, err);
        img_index_done(&ix);
        return r;
}

/* 1 answered, 0 this registry has no such API. */
static int by_api(struct search *s, const char *digest, struct bld_err *err)
{
        AUTO_SB struct sb path = SB_INIT(8192);
        AUTO_URL struct reg_url url = {0};
        AUTO_REQ struct req rq = {0};
        int r;

        req_init(&rq, s->c, s->repo, s->what);
        sb_fmt(&path, "/v2/%s/referrers/%s", s->repo->path, digest);
        if (s->type) {
                sb_str(&path, "?artifactType=");
                reg_url_encode(&path, s->type);
        }
        rq.path = sb_text(&path);
        rq.body_max = INDEX_MAX;
        r = req_header(&rq, err, "Accept: " MT_OCI_INDEX);
        if (r == 0)
                r = req_scope(&rq, s->repo->path, "pull", err);
        for (unsigned page = 0; r == 0 && page < PAGES_MAX; page++) {
                struct reg_url next = {0};

                r = req_run(&rq, err);
                if (r < 0)
                        return r;
                if (page == 0 && (rq.res.status == 404 || rq.res.status == 400 ||
                                  rq.res.status == 405 || rq.res.status == 501))
                        return 0;
                if (page == 0 && rq.res.status == 200 && !reg_is_oci_index(&rq.res))
                        return 0;
                if (rq.res.status != 200)
                        return req_refused(&rq, err);
                r = decode(s, &rq, MT_OCI_INDEX, err);
                if (r == 0)
                        r = reg_next_page(&rq, &next, err);
                reg_url_done(&url);
                url = next;
                if (r <= 0)
                        return r < 0 ? r : 1;
                req_again(&rq);
                rq.path = NULL;
                rq.url = &url;
                r = 0;
        }
        return r < 0 ? r : err_set(err, BLD_E_CORRUPT, "%s: too many pages", s->what);
}

/* The index that clients keep where the registry does not. */
static int by_tag(struct search *s, const struct digest *digest, struct bld_err *err)
{
        AUTO_TARGET struct reg_target t = {0};
        char tag[DIGEST_STR_MAX];
        AUTO_REQ struct req rq = {0};
        int r;

        reg_fallback_tag(digest, tag);
        r = reg_target_tag(&t, s->repo, tag, "look-up", err);
        if (r == 0)
                r = reg_target_req(&t, s->c, &rq, "GET", "pull", err);
        rq.what = s->what;
        rq.body_max = INDEX_MAX;
        if (r == 0)
                r = req_header(&rq, err, "Accept: " MT_OCI_INDEX);
        if (r == 0)
                r = req_run(&rq, err);
        if (r < 0)
                return r;
        if (rq.res.status == 404)
                return 0;
        if (rq.res.status != 200)
                return req_refused(&rq, err);
        return decode(s, &rq, NULL, err);
}

int reg_referrers(struct reg_client *c, const struct img_ref *ref, const char *artifact_type,
                  struct img_descs *out, struct bld_err *err)
{
        struct search s = {.c = c, .type = artifact_type, .out = out};
        AUTO_SB struct sb what = SB_INIT(4096);
        char digest[DIGEST_STR_MAX];
        int r;

        if (!digest_is_set(&ref->digest))
                return err_set(err, BLD_E_BUG, "referrers of a reference without a digest");
        r = reg_repo_get(c, ref, &s.repo, err);
        if (r < 0)
                return r;
        digest_format(&ref->digest, digest);
        sb_fmt(&what, "referrers of %s@%s", s.repo->shown, digest);
        s.what = sb_text(&what);
        r = by_api(&s, digest, err);
        if (r == 0)
                r = by_tag(&s, &ref->digest, err);
        return r < 0 ? r : 0;
}

int reg_manifest_delete(struct reg_client *c, const struct img_ref *ref, struct bld_err *err)
{
        AUTO_TARGET struct reg_target t = {0};
        struct reg_repo *repo = NULL;
        AUTO_REQ struct req rq = {0};
        int r = reg_repo_get(c, ref, &repo, err);

        if (r == 0)
                r = reg_target_manifest(&t, repo, ref, "delete", err);
        if (r == 0)
                r = reg_target_req(&t, c, &rq, "DELETE", "pull,push,delete", err);
        if (r == 0)
                r = req_run(&rq, err);
        if (r < 0)
                return r;
        if (rq.res.status == 202 || rq.res.status == 200 || rq.res.status == 204)
                return 0;
        r = req_refused(&rq, err);
        /* never by way of the digest: that would take all other tags of it along */
        if (rq.res.status == 405 || rq.res.status == 501 ||
            (rq.res.status == 400 && !digest_is_set(&ref->digest)))
                r = err_recode(err, BLD_E_UNSUPPORTED);
        return r;
}

int reg_login_check(struct reg_client *c, const char *host, struct bld_err *err)
{
        AUTO_SB struct sb what = SB_INIT(1024);
        struct reg_repo *repo = NULL;
        AUTO_REQ struct req rq = {0};
        const char *type;
        int r = reg_repo_of_host(c, host, &repo, err);

        if (r < 0)
                return r;
        sb_fmt(&what, "login to %s", repo->shown);
        req_init(&rq, c, repo, sb_text(&what));
        rq.path = "/v2/";
        r = req_run(&rq, err);
        if (r < 0)
                return r;
        if (rq.res.status != 200)
                return req_refused(&rq, err);
        type = reg_res_header(&rq.res, "Content-Type", 0);
        if (type && strncasecmp(type, "text/html", 9) == 0)
                return err_set(err, BLD_E_CORRUPT, "%s: a web page answers there, no registry",
                               sb_text(&what));
        return rq.sent_auth != NULL;
}
