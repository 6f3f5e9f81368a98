/* What operations on a repository's documents share: how one is named, lists in pages. */
#ifndef REGISTRY_TARGET_PRIV_H
#define REGISTRY_TARGET_PRIV_H

#include "registry/request_priv.h"

/* A manifest or blob of a repository, as it is asked for and as it is told. */
struct reg_target {
        struct reg_repo *repo;
        char name[DIGEST_STR_MAX + 128]; /* tag or digest */
        struct sb what, path, shown;     /* "pull of r.io/a:v1", "/v2/...", "r.io/a:v1" */
};
#define AUTO_TARGET AUTO(reg_target_done)
void reg_target_done(struct reg_target *t);
/* A manifest by the digest of ref, else its tag, else "latest". */
int reg_target_manifest(struct reg_target *t, struct reg_repo *repo, const struct img_ref *ref,
                        const char *verb, struct bld_err *err) MUST_CHECK;
/* A manifest by a tag that is no name of a user's. */
int reg_target_tag(struct reg_target *t, struct reg_repo *repo, const char *tag, const char *verb,
                   struct bld_err *err) MUST_CHECK;
int reg_target_blob(struct reg_target *t, struct reg_repo *repo, const struct digest *d,
                    const char *verb, struct bld_err *err) MUST_CHECK;

/* A request about it, with a scope on its repository. */
int reg_target_req(const struct reg_target *t, struct reg_client *c, struct req *rq,
                   const char *method, const char *actions, struct bld_err *err) MUST_CHECK;

/* Where a list goes on, by the Link headers of an answer: 1 with the URL, 0 at its end. Another
 * origin is refused: our token goes along. */
int reg_next_page(const struct req *rq, struct reg_url *ret, struct bld_err *err) MUST_CHECK;

/* "sha256-<hex>": where clients keep the referrers of a manifest for registries that do not. */
void reg_fallback_tag(const struct digest *d, char ret[static DIGEST_STR_MAX]);
/* Is the answer an OCI index by its type? */
bool reg_is_oci_index(const struct reg_res *res);
/* The manifest just stored names a subject the registry did not take note of: add it to the
 * index under the fallback tag. */
int reg_subject_add(struct reg_client *c, struct reg_repo *repo, const struct digest *subject,
                    const struct img_desc *self, struct bld_err *err) MUST_CHECK;

#endif
