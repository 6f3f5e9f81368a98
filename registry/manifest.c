/* Manifests and indexes: head, get, put; and the check for a blob. */
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "base/num.h"
#include "registry/target_priv.h"

/* Replicas may lag behind: so often what must be there is looked for. */
#define LAG_TRIES 3
/* Without it distribution answers 404 for OCI documents, and may convert Docker lists. */
#define ACCEPT MT_OCI_INDEX ", " MT_OCI_MANIFEST ", " MT_DOCKER_LIST ", " MT_DOCKER_MANIFEST

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

/* Some do not take a list of types, and say 406: one after the other. */
static int ask_by_type(struct req *rq, struct bld_err *err)
{
        static const char *const types[] = {ACCEPT, MT_OCI_INDEX, MT_OCI_MANIFEST, MT_DOCKER_LIST,
                                            MT_DOCKER_MANIFEST};
        int r = 0;

        for (size_t i = 0; r == 0 && i < ARRAY_LEN(types); i++) {
                strv_done(&rq->headers);
                r = req_header(rq, err, "Accept: %s", types[i]);
                if (i > 0)
                        req_again(rq);
                if (r == 0)
                        r = req_run(rq, err);
                if (rq->res.fault != REG_FAULT_NONE || rq->res.status != 406)
                        break;
        }
        return r;
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

static int check_manifest(const struct reg_target *t, const struct img_ref *ref,
                          const struct req *rq, struct img_desc *d, struct bld_err *err)
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
                struct bld_err bad = BLD_ERR_INIT;
                AUTO_JS struct js *doc = NULL;

                if (js_parse(sb_text(body), body->len, &doc, &bad) < 0)
                        reg_safe(&text, bad.msg, strlen(bad.msg), 300);
                sb_str(&text, text.len > 0 ? "; " : "");
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
        AUTO_TARGET struct reg_target t = {0};
        AUTO(img_desc_done) struct img_desc d = {0};
        AUTO_REQ struct req rq = {0};
        int r;

        r = reg_target_manifest(&t, repo, ref, "pull", err);
        if (r < 0)
                return r;
        r = reg_target_req(&t, c, &rq, "GET", "pull", err);
        rq.body_max = IMG_MANIFEST_MAX;
        rq.flags = flags;
        if (r == 0)
                r = ask_by_type(&rq, err);
        if (r == 0)
                r = once_more(&rq, err);
        if (r < 0)
                return r;
        if (rq.res.fault == REG_FAULT_NONE && rq.res.status == 404)
                return req_not_found(&rq, sb_text(&t.shown), err);
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
        int r = reg_places_get(c, ref, digest_is_set(&ref->digest), &p, err);

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
        AUTO_TARGET struct reg_target t = {0};
        AUTO_SB struct sb doc = SB_INIT(IMG_MANIFEST_MAX);
        struct bld_err why = BLD_ERR_INIT;
        AUTO_REQ struct req rq = {0};
        int r;

        r = reg_target_manifest(&t, repo, ref, "look-up", err);
        if (r < 0)
                return r;
        r = reg_target_req(&t, c, &rq, "HEAD", "pull", err);
        rq.flags = flags;
        if (r == 0)
                r = req_header(&rq, err, "Accept: " ACCEPT);
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
        int r = reg_places_get(c, ref, digest_is_set(&ref->digest), &p, err);

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

int reg_manifest_get_listed(struct reg_client *c, const struct img_ref *ref, struct sb *out,
                            struct img_desc *ret, struct bld_err *err)
{
        for (unsigned i = 0;; i++) {
                int r = reg_manifest_get(c, ref, out, ret, err);

                if (r != BLD_E_NOT_FOUND || i + 1 == LAG_TRIES || c->retries == 0)
                        return r;
                reg_note(c, "%.*s; its index lists it: once more", (int)strcspn(err->msg, "\n"),
                         err->msg);
                r = reg_sleep(c, c->timing.lag, err);
                if (r < 0)
                        return r;
                err_clear(err);
                sb_reset(out);
        }
}

/* A 2xx that is not the 201 of a registry may come from anything: look. What was just stored may
 * be a moment behind where it is read. */
static int verify_put(struct reg_client *c, const struct img_ref *ref, const struct reg_target *t,
                      const struct digest *ours, struct bld_err *err)
{
        for (unsigned i = 0; i < LAG_TRIES; i++) {
                AUTO(img_desc_done) struct img_desc d = {0};
                int r = i ? reg_sleep(c, c->timing.lag, err) : 0;

                if (r == 0)
                        r = head_from(c, t->repo, 0, ref, &d, err);
                if (r < 0)
                        return r;
                if (r == 1 && digest_eq(&d.digest, ours))
                        return 0;
        }
        return err_set(err, BLD_E_CORRUPT, "%s: accepted, but it is not there", sb_text(&t->what));
}

/* The digests a MANIFEST_BLOB_UNKNOWN names, as a member of `detail` or its whole. */
static int list_missing(const struct req *rq, struct strv *out, struct bld_err *err)
{
        AUTO_JS struct js *doc = NULL;
        const struct js *errors;

        if (rq->res.body.len == 0 ||
            js_parse(sb_text(&rq->res.body), rq->res.body.len, &doc, NULL) < 0)
                return 0;
        errors = js_get(doc, "errors");
        for (size_t i = 0; i < js_len(errors); i++) {
                const struct js *e = js_at(errors, i), *detail = js_get(e, "detail");
                const char *name = js_str(detail) ? js_str(detail) : js_get_str(detail, "digest");
                struct digest d;

                if (!str_eq(js_get_str(e, "code"), "MANIFEST_BLOB_UNKNOWN") || !name ||
                    digest_parse(name, &d, NULL) < 0)
                        continue;
                if (strv_add(out, name) < 0)
                        return err_nomem(err, "push");
        }
        return 0;
}

static int put_refused(const struct req *rq, const char *media_type, struct strv *missing,
                       struct bld_err *err)
{
        int status = rq->res.status, r = req_refused(rq, err);
        struct bld_err why = BLD_ERR_INIT;

        if (missing && list_missing(rq, missing, &why) < 0) {
                err_copy(err, &why);
                return why.code;
        }
        if ((status == 415 || (status == 400 && req_has_code(rq, "MANIFEST_INVALID"))) &&
            (str_eq(media_type, MT_OCI_MANIFEST) || str_eq(media_type, MT_OCI_INDEX)))
                err_try(err, r, "--format docker, if the registry is too old for OCI manifests");
        return r;
}

/* What is under ref's name now is what was sent. */
static int put_accepted(struct reg_client *c, const struct img_ref *ref, const struct reg_target *t,
                        const struct req *rq, const struct digest *ours, struct bld_err *err)
{
        struct digest said;

        if (digest_header(&rq->res, &said) && said.algo == ours->algo) {
                if (digest_eq(&said, ours))
                        return 0;
                return err_set(err, BLD_E_CORRUPT, "%s: %s stored other bytes than were sent",
                               sb_text(&t->what), rq->at.host);
        }
        if (rq->res.status == 201 && reg_res_header(&rq->res, "Location", 0))
                return 0;
        return verify_put(c, ref, t, ours, err);
}

/* A manifest with a subject has to be found from there. */
static int put_subject(struct reg_client *c, const struct reg_target *t, const struct req *rq,
                       const char *media_type, const void *p, size_t n, const struct digest *ours,
                       struct bld_err *err)
{
        AUTO(img_manifest_done) struct img_manifest m = {0};
        struct img_desc self = {.digest = *ours, .size = n};
        const char *said = reg_res_header(&rq->res, "OCI-Subject", 0);
        char want[DIGEST_STR_MAX];
        int r;

        if (!str_eq(media_type, MT_OCI_MANIFEST) || !memmem(p, n, "\"subject\"", 9))
                return 0;
        r = img_manifest_decode(p, n, media_type, &m, err);
        if (r < 0 || !m.has_subject)
                return r;
        digest_format(&m.subject.digest, want);
        if (said && strcmp(said, want) == 0)
                return 0;
        /* borrowed: m outlives it */
        self.media_type = m.media_type;
        self.artifact_type = m.artifact_type ? m.artifact_type : m.config.media_type;
        self.annotations = m.annotations;
        return reg_subject_add(c, t->repo, &m.subject.digest, &self, err);
}

int reg_manifest_put_missing(struct reg_client *c, const struct img_ref *ref,
                             const char *media_type, const void *p, size_t n, struct strv *missing,
                             struct bld_err *err)
{
        AUTO_TARGET struct reg_target t = {0};
        AUTO_REQ struct req rq = {0};
        struct reg_repo *repo = NULL;
        struct digest ours;
        struct hasher h;
        int r;

        if (n > IMG_MANIFEST_MAX)
                return err_set(err, BLD_E_LIMIT, "a manifest of %zu bytes: registries take 4 MiB",
                               n);
        r = reg_repo_get(c, ref, &repo, err);
        if (r == 0)
                r = reg_target_manifest(&t, repo, ref, "push", err);
        if (r == 0)
                r = reg_target_req(&t, c, &rq, "PUT", "pull,push", err);
        if (r == 0)
                r = req_header(&rq, err, "Content-Type: %s", media_type);
        if (r < 0)
                return r;
        rq.body = p;
        rq.body_len = n;
        /* Distribution's word for a blob whose link somebody else is just writing. */
        rq.passing = "DIGEST_INVALID";
        r = req_run(&rq, err);
        if (r < 0)
                return r;
        if (rq.res.status < 200 || rq.res.status > 299)
                return put_refused(&rq, media_type, missing, err);
        hasher_init(&h, digest_is_set(&ref->digest) ? ref->digest.algo : DIGEST_SHA256);
        hasher_add(&h, p, n);
        hasher_end(&h, &ours);
        r = put_accepted(c, ref, &t, &rq, &ours, err);
        return r < 0 ? r : put_subject(c, &t, &rq, media_type, p, n, &ours, err);
}

int reg_manifest_put(struct reg_client *c, const struct img_ref *ref, const char *media_type,
                     const void *p, size_t n, struct bld_err *err)
{
        return reg_manifest_put_missing(c, ref, media_type, p, n, NULL, err);
}

/* 1 with what it says of the size (UINT64_MAX: nothing), 0 not there. */
static int look_up(struct reg_client *c, const struct img_ref *ref, const struct digest *d,
                   uint64_t *ret_size, struct bld_err *err)
{
        AUTO_TARGET struct reg_target t = {0};
        AUTO_REQ struct req rq = {0};
        struct reg_repo *repo = NULL;
        const char *length;
        int r;

        r = reg_repo_get(c, ref, &repo, err);
        if (r == 0)
                r = reg_target_blob(&t, repo, d, "look-up", err);
        if (r == 0)
                r = reg_target_req(&t, c, &rq, "HEAD", "pull", err);
        if (r == 0)
                r = req_run(&rq, err);
        if (r < 0)
                return r;
        if (rq.res.fault == REG_FAULT_NONE && rq.res.status == 404)
                return 0;
        if (rq.res.fault != REG_FAULT_NONE || rq.res.status != 200)
                return req_refused(&rq, err);
        length = reg_res_header(&rq.res, "Content-Length", 0);
        if (!length || !parse_u64(length, 0, UINT64_MAX - 1, ret_size))
                *ret_size = UINT64_MAX;
        return 1;
}

int reg_blob_head(struct reg_client *c, const struct img_ref *ref, const struct img_desc *desc,
                  struct bld_err *err)
{
        uint64_t size;
        int r = look_up(c, ref, &desc->digest, &size, err);

        return r <= 0 ? r : size == UINT64_MAX || size == desc->size;
}

int reg_blob_size(struct reg_client *c, const struct img_ref *ref, const struct digest *d,
                  uint64_t *ret_size, struct bld_err *err)
{
        uint64_t size;
        int r = look_up(c, ref, d, &size, err);

        if (r <= 0)
                return r;
        if (size == UINT64_MAX)
                return err_set(err, BLD_E_CORRUPT, "%s does not say how large the blob is",
                               ref->domain);
        *ret_size = size;
        return 1;
}
