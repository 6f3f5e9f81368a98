/* One end of a copy: a repository, the store, a layout or an archive, to be read from. What differs
 * between them ends here; copying, pushing, inspecting and exporting are written once. */
#ifndef BUILDER_END_PRIV_H
#define BUILDER_END_PRIV_H

#include "builder/image/load_priv.h"
#include "builder/image/move_priv.h"
#include "builder/transport.h"

struct bd_end;

/* in_fd: what "-" stands for. A place of kind ANY is the store's. */
int bd_end_open(struct bd_ctx *c, const struct img_place *p, int in_fd, struct bd_end **ret,
                struct bld_err *err) MUST_CHECK;
/* The same to read only: nothing is brought into the store. What an archive of docker's holds has
 * no digests then, and is not resolved: bd_end_docker(). */
int bd_end_peek(struct bd_ctx *c, const struct img_place *p, int in_fd, struct bd_end **ret,
                struct bld_err *err) MUST_CHECK;
/* Its members, or NULL where it is no such archive. */
struct bd_input *bd_end_docker(struct bd_end *e);
void bd_end_free(struct bd_end *e);
DEFINE_AUTO_PTR(struct bd_end, bd_end_free);

/* What the place names: a tag, a name, either kind of digest. NOT_FOUND. */
int bd_end_resolve(struct bd_end *e, struct img_desc *ret, struct bld_err *err) MUST_CHECK;
/* The same for another tag of the repository (or name of the layout). */
int bd_end_resolve_tag(struct bd_end *e, const char *tag, struct img_desc *ret,
                       struct bld_err *err) MUST_CHECK;
/* Tags of the repository; names of a layout. */
int bd_end_tags(struct bd_end *e, struct strv *out, struct bld_err *err) MUST_CHECK;
/* The images of a file, names in their annotations; borrowed. */
const struct img_descs *bd_end_entries(const struct bd_end *e);
/* Reader of its documents (and configs): nothing is written to the store. Borrows e. */
struct bd_docs bd_end_docs(struct bd_end *e);
/* 1 and where a blob's bytes are in a file; 0: it only comes as a stream, from *ret_repo (caller:
 * img_ref_done), or from nowhere (its domain is NULL). */
int bd_store_blob(struct bd_ctx *c, const struct img_desc *d, struct bd_part *ret,
                  struct img_ref *ret_repo, struct bld_err *err) MUST_CHECK;
int bd_end_blob(struct bd_end *e, const struct img_desc *d, struct bd_part *ret,
                struct img_ref *ret_repo, struct bld_err *err) MUST_CHECK;
/* What was made in the store out of images that are elsewhere: blobs it lacks are lent. */
struct bd_loan {
        struct digest digest;
        struct bd_end *from;
};
VEC_DEFINE(bd_loans, struct bd_loan);
/* loans and their ends are borrowed. */
int bd_end_made(struct bd_ctx *c, const struct img_desc *d, const struct bd_loans *loans,
                struct bd_end **ret, struct bld_err *err) MUST_CHECK;
/* A blob is lent by this very repository. */
bool bd_end_blob_is_in(const struct bd_end *e, const struct digest *d, const struct img_ref *repo);
struct bd_ctx *bd_end_ctx(const struct bd_end *e);
/* Its blobs are the store's. */
bool bd_end_is_store(const struct bd_end *e);
/* The repository this end is, or NULL. */
const struct img_ref *bd_end_repo(const struct bd_end *e);
/* Manifests whose subject is d, and cosign's tags for it as names ("sha256-<hex>.sig"). */
int bd_end_referrers(struct bd_end *e, const struct digest *d, struct img_descs *ret,
                     struct strv *ret_tags, struct bld_err *err) MUST_CHECK;

/* Bring an image into the store: all it reaches, or only the documents and configs. */
int bd_end_take(struct bd_end *e, const struct img_desc *d, bd_progress_fn progress, void *user,
                struct bld_err *err) MUST_CHECK;
/* Only the blobs that others lend. */
int bd_end_take_lent(struct bd_end *e, const struct img_desc *d, bd_progress_fn progress,
                     void *user, struct bld_err *err) MUST_CHECK;
int bd_end_take_docs(struct bd_end *e, const struct img_desc *d, struct bld_err *err) MUST_CHECK;

/* ---- open.c ---- */

/* A nameless file in the store's tmp/. */
int bd_scratch(struct bd_ctx *c, int *ret_fd, struct bld_err *err) MUST_CHECK;

/* What a place of kind ANY is: the store's, or where the name says its registry and the store does
 * not know it, that registry's. ret borrows from p, and its ref is *own then. */
int bd_place_settle(struct bd_ctx *c, const struct img_place *p, bool offline,
                    struct img_place *ret, struct img_ref *own, struct bld_err *err) MUST_CHECK;

/* ---- relay.c: a blob of a registry as something that can be read ---- */

/* Nothing is fetched before the first read. d is borrowed. */
int bd_relay_new(struct bd_ctx *c, const struct img_ref *repo, const struct img_desc *d,
                 struct bd_relay **ret, struct bld_err *err) MUST_CHECK;

/* ---- copy.c ---- */

/* Bring what d is in `from` to a place. ret gets one element. */
struct bd_copy_opts;
struct bd_copieds;
int bd_put(struct bd_end *from, const struct img_desc *d, const struct img_place *dst,
           const struct bd_copy_opts *o, struct bd_copieds *ret, struct bld_err *err) MUST_CHECK;

/* ---- push.c ---- */

/* Put all that root reaches into the repository of dst, root itself under its tag or digest
 * (neither: by its digest). What is there is not sent. */
struct bd_send_opts {
        const struct img_ref *mount_from; /* a repository to mount from, or NULL */
        bd_progress_fn progress;
        void *user;
};
int bd_send(struct bd_end *from, const struct img_desc *root, const struct img_ref *dst,
            const struct bd_send_opts *o, struct bd_push_stats *ret,
            struct bld_err *err) MUST_CHECK;

#endif
