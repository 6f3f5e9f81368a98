/* Referrers where the registry keeps no list of them: an index under a tag made of the subject's
 * digest, kept by the clients. Two of them may write at once, so every write is looked at again. */
#include <string.h>

#include "base/err.h"
#include "registry/target_priv.h"

#define TRIES 3

struct fallback {
        struct reg_client *c;
        const struct reg_target *t;
        struct img_index ix;
        char *etag; /* of what was read; NULL: none was given */
        bool there;
};

void reg_fallback_tag(const struct digest *d, char ret[static DIGEST_STR_MAX])
{
        char text[DIGEST_STR_MAX];
        const char *colon;

        digest_format(d, text);
        colon = strchr(text, ':');
        (void)snprintf(ret, DIGEST_STR_MAX, "%.*s-%.64s", (int)MIN(colon - text, 32), text,
                       colon + 1);
        for (char *p = ret; *p; p++)
                if (strchr("+=", *p))
                        *p = '-';
}

bool reg_is_oci_index(const struct reg_res *res)
{
        const char *type = reg_res_header(res, "Content-Type", 0);
        size_t n = strlen(MT_OCI_INDEX);

        return type && strncmp(type, MT_OCI_INDEX, n) == 0 && (!type[n] || strchr("; \t", type[n]));
}

static void forget(struct fallback *f)
{
        img_index_done(&f->ix);
        f->ix = (struct img_index){0};
        free(f->etag);
        f->etag = NULL;
        f->there = false;
}

/* 1 read (empty where there is none), 0 something else is under the tag. */
static int read_index(struct fallback *f, struct bld_err *err)
{
        struct bld_err why = BLD_ERR_INIT;
        AUTO_REQ struct req rq = {0};
        const char *etag;
        int r = reg_target_req(f->t, f->c, &rq, "GET", "pull", err);

        forget(f);
        rq.body_max = IMG_MANIFEST_MAX;
        if (r == 0)
                r = req_header(&rq, err, "Accept: " MT_OCI_INDEX);
        if (r == 0)
                r = req_run(&rq, err);
        if (r < 0)
                return r;
        if (rq.res.status == 404)
                return 1;
        if (rq.res.status != 200)
                return req_refused(&rq, err);
        if (!reg_is_oci_index(&rq.res) || img_index_decode(sb_text(&rq.res.body), rq.res.body.len,
                                                           MT_OCI_INDEX, &f->ix, &why) < 0)
                return 0;
        f->there = true;
        etag = reg_res_header(&rq.res, "ETag", 0);
        if (etag && !(f->etag = mem_strdup(etag)))
                return err_nomem(err, "read referrers");
        return 1;
}

static bool listed(const struct fallback *f, const struct digest *d)
{
        for (size_t i = 0; i < f->ix.manifests.n; i++)
                if (digest_eq(&f->ix.manifests.v[i].digest, d))
                        return true;
        return false;
}

/* 1 written, 0 somebody else was faster. */
static int write_index(struct fallback *f, struct bld_err *err)
{
        AUTO_SB struct sb doc = SB_INIT(IMG_MANIFEST_MAX);
        AUTO_REQ struct req rq = {0};
        int r;

        if (!f->ix.media_type && !(f->ix.media_type = mem_strdup(MT_OCI_INDEX)))
                return err_nomem(err, "write referrers");
        r = img_index_encode(&f->ix, &doc, err);
        if (r == 0)
                r = reg_target_req(f->t, f->c, &rq, "PUT", "pull,push", err);
        if (r == 0)
                r = req_header(&rq, err, "Content-Type: " MT_OCI_INDEX);
        if (r == 0 && f->etag)
                r = req_header(&rq, err, "If-Match: %s", f->etag);
        else if (r == 0 && !f->there)
                r = req_header(&rq, err, "If-None-Match: *");
        if (r < 0)
                return r;
        rq.body = sb_text(&doc);
        rq.body_len = doc.len;
        r = req_run(&rq, err);
        if (r < 0)
                return r;
        if (rq.res.status == 412)
                return 0;
        return rq.res.status >= 200 && rq.res.status < 300 ? 1 : req_refused(&rq, err);
}

int reg_subject_add(struct reg_client *c, struct reg_repo *repo, const struct digest *subject,
                    const struct img_desc *self, struct bld_err *err)
{
        AUTO_TARGET struct reg_target t = {0};
        struct fallback f = {.c = c, .t = &t};
        char tag[DIGEST_STR_MAX];
        int r;

        reg_fallback_tag(subject, tag);
        r = reg_target_tag(&t, repo, tag, "update", err);
        for (unsigned i = 0; r == 0 && i <= TRIES; i++) {
                struct img_desc *slot;

                r = read_index(&f, err);
                if (r == 0) {
                        reg_note_once(c, "%s:%s is not an index of referrers and is left alone",
                                      repo->shown, tag);
                        r = 1;
                        break;
                }
                if (r < 0 || listed(&f, &self->digest))
                        break;
                if (i == TRIES) {
                        r = err_set(err, BLD_E_NETWORK,
                                    "%s: other writers were faster %d times in a row",
                                    sb_text(&t.what), TRIES);
                        break;
                }
                slot = img_descs_push(&f.ix.manifests);
                if (!slot || img_desc_copy(self, slot) < 0) {
                        f.ix.manifests.n -= slot != NULL;
                        r = err_nomem(err, "write referrers");
                        break;
                }
                r = write_index(&f, err);
                if (r >= 0)
                        r = i ? reg_sleep(c, retry_jitter(c->timing.backoff), err) : 0;
        }
        forget(&f);
        return MIN(r, 0);
}
