/* Manifests and indexes: head, get, put; and the check for a blob. */
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "base/num.h"
#include "registry/request_priv.h"

/* Without it distribution answers 404 for OCI documents, and may convert Docker lists. */
#define ACCEPT \
        "Accept: " MT_OCI_INDEX ", " MT_OCI_MANIFEST ", " MT_DOCKER_LIST ", " MT_DOCKER_MANIFEST

struct target {
        struct reg_repo *repo;
        char name[DIGEST_STR_MAX + 128]; /* tag or digest */
        struct sb what, path, shown;
};

static void target_done(struct target *t)
{
        sb_done(&t->what);
        sb_done(&t->path);
        sb_done(&t->shown);
}

static int target_init(struct target *t, struct reg_repo *repo, const struct img_ref *ref,
                       const char *verb, struct bld_err *err)
{
        int r;

        t->repo = repo;
        /* with both, the digest says what is fetched; the tag is for people */
        if (digest_is_set(&ref->digest))
                digest_format(&ref->digest, t->name);
        else
                (void)str_copy(t->name, sizeof(t->name), ref->tag ? ref->tag : "latest");
        sb_init(&t->what, 4096);
        sb_init(&t->path, 4096);
        sb_init(&t->shown, 4096);
        sb_fmt(&t->shown, "%s%s%s", t->repo->shown, digest_is_set(&ref->digest) ? "@" : ":",
               t->name);
        sb_fmt(&t->what, "%s of %s", verb, sb_text(&t->shown));
        sb_fmt(&t->path, "/v2/%s/manifests/%s", t->repo->path, t->name);
        r = sb_check(&t->path, "build a request", err);
        return r < 0 ? r : sb_check(&t->what, "build a request", err);
}

static int not_found(const struct target *t, const struct req *rq, struct bld_err *err)
{
        AUTO_SB struct sb text = SB_INIT(4096);

        req_answer_text(rq, &text);
        err_set(err, BLD_E_NOT_FOUND, "%s not found", sb_text(&t->shown));
        return err_why(err, BLD_E_NOT_FOUND, "%s", sb_text(&text));
}

/* Content-Type without parameters, when it says anything. */
static char *type_header(const struct reg_res *res)
{
        static const char *const vague[] = {"application/json", "application/octet-stream",
                                            "text/plain", ""};
        const char *v = reg_res_header(res, "Content-Type", 0);
        size_t n = v ? strcspn(v, "; \t") : 0;

        for (size_t i = 0; v && i < ARRAY_LEN(vague); i++)
                if (strlen(vague[i]) == n && strncasecmp(v, vague[i], n) == 0)
                        v = NULL;
        return v ? mem_strndup(v, n) : NULL;
}

static bool digest_header(const struct reg_res *res, struct digest *ret)
{
        const char *v = reg_res_header(res, "Docker-Content-Digest", 0);

        return v && digest_parse(v, ret, NULL) == 0;
}

/* A HEAD answer is enough only with type, digest and length. */
static bool head_complete(const struct reg_res *res, const struct img_ref *ref,
                          struct img_desc *ret)
{
        const char *length = reg_res_header(res, "Content-Length", 0);
        struct img_desc d = {0};

        if (!digest_header(res, &d.digest) || !length ||
            !parse_u64(length, 1, IMG_MANIFEST_MAX, &d.size))
                return false;
        if (digest_is_set(&ref->digest)) {
                if (d.digest.algo == ref->digest.algo && !digest_eq(&d.digest, &ref->digest))
                        return false;
                d.digest = ref->digest;
        }
        d.media_type = type_header(res);
        if (!d.media_type)
                return false;
        *ret = d;
        return true;
}

/* A captive portal or a broken proxy answers 200 with a page of its own; the next answer may be
 * the registry's. */
static int once_more(struct req *rq, struct bld_err *err)
{
        int r;

        if (rq->res.fault != REG_FAULT_NONE || rq->res.status != 200 || rq->c->retries == 0 ||
            (rq->flags & REQ_ONCE) ||
            img_guess_media_type(sb_text(&rq->res.body), rq->res.body.len))
                return 0;
        reg_note(rq->c, "%s: %s did not send a manifest; once more", rq->what, rq->at.host);
        r = reg_sleep(rq->c, rq->c->timing.resume, err);
        if (r < 0)
                return r;
        req_again(rq);
        return req_run(rq, err);
}

static int check_manifest(const struct target *t, const struct img_ref *ref, const struct req *rq,
                          struct img_desc *d, struct bld_err *err)
{
        const struct sb *body = &rq->res.body;
        char want[DIGEST_STR_MAX], have[DIGEST_STR_MAX];
        struct digest said = {0};
        struct hasher h;
        const char *guess;
        int r;

        hasher_init(&h, digest_is_set(&ref->digest) ? ref->digest.algo : DIGEST_SHA256);
        hasher_add(&h, sb_text(body), body->len);
        hasher_end(&h, &d->digest);
        if (digest_is_set(&ref->digest))
                said = ref->digest;
        else if (!digest_header(&rq->res, &said) || said.algo != d->digest.algo)
                said = d->digest; /* nothing comparable was said */
        if (!digest_eq(&said, &d->digest)) {
                digest_format(&said, want);
                digest_format(&d->digest, have);
                r = err_set(err, BLD_E_CORRUPT, "%s: the manifest does not match its digest",
                            sb_text(&t->what));
                return err_why(err, r, "expected %s, %s sent %s", want, rq->at.host, have);
        }
        d->size = body->len;
        d->media_type = type_header(&rq->res);
        guess = img_guess_media_type(sb_text(body), body->len);
        if (!guess) {
                AUTO_SB struct sb text = SB_INIT(4096);

                req_answer_text(rq, &text);
                r = err_set(err, BLD_E_CORRUPT, "%s: %s did not send a manifest", sb_text(&t->what),
                            rq->at.host);
                return err_why(err, r, "%s", sb_text(&text));
        }
        if (!d->media_type)
                d->media_type = mem_strdup(guess);
        return d->media_type ? 0 : err_nomem(err, "read a manifest");
}

static int get_from(struct reg_client *c, struct reg_repo *repo, unsigned flags,
                    const struct img_ref *ref, struct sb *out, struct img_desc *ret,
                    struct bld_err *err)
{
        AUTO(target_done) struct target t = {0};
        AUTO(img_desc_done) struct img_desc d = {0};
        AUTO_REQ struct req rq = {0};
        int r;

        r = target_init(&t, repo, ref, "pull", err);
        if (r < 0)
                return r;
        req_init(&rq, c, repo, sb_text(&t.what));
        rq.path = sb_text(&t.path);
        rq.body_max = IMG_MANIFEST_MAX;
        rq.flags = flags;
        r = req_header(&rq, err, ACCEPT);
        if (r == 0)
                r = req_scope(&rq, repo->path, "pull", err);
        if (r == 0)
                r = req_run(&rq, err);
        if (r == 0)
                r = once_more(&rq, err);
        if (r < 0)
                return r;
        if (rq.res.fault == REG_FAULT_NONE && rq.res.status == 404)
                return not_found(&t, &rq, err);
        if (rq.res.fault != REG_FAULT_NONE || rq.res.status != 200)
                return req_refused(&rq, err);
        r = check_manifest(&t, ref, &rq, &d, err);
        if (r < 0)
                return r;
        sb_add(out, rq.res.body.buf, rq.res.body.len);
        r = sb_check(out, "read a manifest", err);
        if (r < 0)
                return r;
        *ret = d;
        d = (struct img_desc){0};
        return 0;
}

int reg_manifest_get(struct reg_client *c, const struct img_ref *ref, struct sb *out,
                     struct img_desc *ret, struct bld_err *err)
{
        struct reg_places p;
        int r = reg_places_get(c, ref, &p, err);

        if (r < 0)
                return r;
        for (size_t i = 0;; i++) {
                struct bld_err why = BLD_ERR_INIT;

                r = get_from(c, p.v[i], i + 1 == p.n ? 0 : REQ_ONCE | REQ_QUICK, ref, out, ret,
                             &why);
                if (r == 0)
                        return 0;
                if (!reg_places_next(c, &p, i, r, &why)) {
                        err_copy(err, &why);
                        return r;
                }
        }
}

/* Is the 404 of a HEAD to be believed? */
static bool head_works(struct reg_client *c, struct reg_host *h, bool learn)
{
        bool works;

        (void)pthread_mutex_lock(&c->lock);
        works = h->head_works |= learn;
        (void)pthread_mutex_unlock(&c->lock);
        return works;
}

static int head_from(struct reg_client *c, struct reg_repo *repo, unsigned flags,
                     const struct img_ref *ref, struct img_desc *ret, struct bld_err *err)
{
        AUTO(target_done) struct target t = {0};
        AUTO_SB struct sb doc = SB_INIT(IMG_MANIFEST_MAX);
        struct bld_err why = BLD_ERR_INIT;
        AUTO_REQ struct req rq = {0};
        int r;

        r = target_init(&t, repo, ref, "look-up", err);
        if (r < 0)
                return r;
        req_init(&rq, c, repo, sb_text(&t.what));
        rq.method = "HEAD";
        rq.path = sb_text(&t.path);
        rq.flags = flags;
        r = req_header(&rq, err, ACCEPT);
        if (r == 0)
                r = req_scope(&rq, repo->path, "pull", err);
        if (r == 0)
                r = req_run(&rq, err);
        if (r < 0)
                return r;
        if (rq.res.fault != REG_FAULT_NONE)
                return req_refused(&rq, err);
        if (rq.res.status == 200 && head_complete(&rq.res, ref, ret)) {
                (void)head_works(c, repo->host, true);
                return 1;
        }
        if (rq.res.status == 404 && head_works(c, repo->host, false))
                return 0;
        if (rq.res.status == 401 || rq.res.status == 429 || rq.res.status >= 500)
                return req_refused(&rq, err);
        /* HEAD is answered wrongly by several registries; GET decides */
        r = get_from(c, repo, flags, ref, &doc, ret, &why);
        if (r == BLD_E_NOT_FOUND)
                return 0;
        if (r < 0) {
                err_copy(err, &why);
                return r;
        }
        return 1;
}

int reg_manifest_head(struct reg_client *c, const struct img_ref *ref, struct img_desc *ret,
                      struct bld_err *err)
{
        struct reg_places p;
        int r = reg_places_get(c, ref, &p, err);

        for (size_t i = 0; r == 0 && i < p.n; i++) {
                bool last = i + 1 == p.n;
                struct bld_err why = BLD_ERR_INIT;

                r = head_from(c, p.v[i], last ? 0 : REQ_ONCE | REQ_QUICK, ref, ret, &why);
                if (r == 1 || (r == 0 && last))
                        break;
                if (reg_places_next(c, &p, i, r, &why)) {
                        r = 0;
                        continue;
                }
                err_copy(err, &why);
        }
        return r;
}

/* A 2xx that is not the 201 of a registry may come from anything: look. */
static int verify_put(struct reg_client *c, const struct img_ref *ref, const struct target *t,
                      const struct digest *ours, struct bld_err *err)
{
        AUTO(img_desc_done) struct img_desc d = {0};
        int r = head_from(c, t->repo, 0, ref, &d, err);

        if (r < 0)
                return r;
        if (r == 0 || !digest_eq(&d.digest, ours))
                return err_set(err, BLD_E_CORRUPT, "%s: accepted, but it is not there",
                               sb_text(&t->what));
        return 0;
}

static int put_answer(struct reg_client *c, const struct img_ref *ref, const struct target *t,
                      const struct req *rq, const void *p, size_t n, struct bld_err *err)
{
        struct digest ours, said;
        struct hasher h;
        int r;

        if (rq->res.status < 200 || rq->res.status > 299) {
                r = req_refused(rq, err);
                if (rq->res.status == 400 && req_has_code(rq, "MANIFEST_INVALID"))
                        err_try(err, r, "an old registry may want --format docker");
                return r;
        }
        hasher_init(&h, digest_is_set(&ref->digest) ? ref->digest.algo : DIGEST_SHA256);
        hasher_add(&h, p, n);
        hasher_end(&h, &ours);
        if (digest_header(&rq->res, &said) && said.algo == ours.algo) {
                if (digest_eq(&said, &ours))
                        return 0;
                return err_set(err, BLD_E_CORRUPT, "%s: %s stored other bytes than were sent",
                               sb_text(&t->what), rq->at.host);
        }
        if (rq->res.status == 201 && reg_res_header(&rq->res, "Location", 0))
                return 0;
        return verify_put(c, ref, t, &ours, err);
}

int reg_manifest_put(struct reg_client *c, const struct img_ref *ref, const char *media_type,
                     const void *p, size_t n, struct bld_err *err)
{
        AUTO(target_done) struct target t = {0};
        AUTO_REQ struct req rq = {0};
        struct reg_repo *repo = NULL;
        int r;

        if (n > IMG_MANIFEST_MAX)
                return err_set(err, BLD_E_LIMIT, "a manifest of %zu bytes: registries take 4 MiB",
                               n);
        r = reg_repo_get(c, ref, &repo, err);
        if (r == 0)
                r = target_init(&t, repo, ref, "push", err);
        if (r < 0)
                return r;
        req_init(&rq, c, repo, sb_text(&t.what));
        rq.method = "PUT";
        rq.path = sb_text(&t.path);
        rq.body = p;
        rq.body_len = n;
        r = req_header(&rq, err, "Content-Type: %s", media_type);
        if (r == 0)
                r = req_scope(&rq, repo->path, "pull,push", err);
        if (r == 0)
                r = req_run(&rq, err);
        if (r < 0)
                return r;
        return put_answer(c, ref, &t, &rq, p, n, err);
}

int reg_blob_head(struct reg_client *c, const struct img_ref *ref, const struct img_desc *desc,
                  struct bld_err *err)
{
        AUTO_SB struct sb what = SB_INIT(4096), path = SB_INIT(4096);
        char name[DIGEST_STR_MAX];
        AUTO_REQ struct req rq = {0};
        struct reg_repo *repo = NULL;
        const char *length;
        uint64_t n;
        int r;

        r = reg_repo_get(c, ref, &repo, err);
        if (r < 0)
                return r;
        digest_format(&desc->digest, name);
        sb_fmt(&what, "look-up of %s, blob %.19s", repo->shown, name);
        sb_fmt(&path, "/v2/%s/blobs/%s", repo->path, name);
        req_init(&rq, c, repo, sb_text(&what));
        rq.method = "HEAD";
        rq.path = sb_text(&path);
        r = req_scope(&rq, repo->path, "pull", err);
        if (r == 0)
                r = req_run(&rq, err);
        if (r < 0)
                return r;
        if (rq.res.status == 404)
                return 0;
        if (rq.res.status != 200)
                return req_refused(&rq, err);
        length = reg_res_header(&rq.res, "Content-Length", 0);
        return !length || (parse_u64(length, 0, UINT64_MAX, &n) && n == desc->size);
}
