/* Images wherever they are: copying between registries, the store, layouts and archives; opening
 * one from any of them. Places are parsed by image/ (img_place). */
#ifndef BUILDER_TRANSPORT_H
#define BUILDER_TRANSPORT_H

#include <sys/types.h>

#include <stdatomic.h>

#include "builder/builder.h"
#include "image/edit.h"

/* One image from anywhere: documents are in the store, layers perhaps not. A place of kind ANY is
 * looked for in the store, then, where the text names a registry, there. *ret_root: what the place
 * names, an index perhaps. layers: bring those, too. */
struct bd_open_opts {
        const struct img_platform *platform; /* NULL: this machine's */
        bool layers;
        bool offline;
        int in_fd; /* for "-" */
        bd_progress_fn progress;
        void *user;
};
int bd_open(struct bd_ctx *c, const struct img_place *p, const struct bd_open_opts *o,
            struct bd_image *ret, struct img_desc *ret_root, struct bld_err *err) MUST_CHECK;
/* The document a place names, as it is; nothing is written to the store. platform: of an index,
 * NULL for itself. out may be NULL. */
int bd_open_document(struct bd_ctx *c, const struct img_place *p, bool offline,
                     const struct img_platform *platform, struct sb *out, struct img_desc *ret,
                     struct bld_err *err) MUST_CHECK;

/* ---- a blob of a registry as something that can be read (relay.c) ---- */

struct bd_relay;
/* The last bytes are given out only when all of them verified. Going back starts the download
 * again. */
ssize_t bd_relay_pread(struct bd_relay *r, void *p, size_t n, uint64_t off, struct bld_err *err);
/* The next download starts there and not at the beginning; what it brings is not verified. */
void bd_relay_seek(struct bd_relay *r, uint64_t off);
/* Reads end with CANCELLED soon after this says true, which is asked by the reader, under no lock.
 */
void bd_relay_watch(struct bd_relay *r, bool (*stop)(void *user), void *user);
/* A download that is under way is broken off. */
void bd_relay_free(struct bd_relay *r);
DEFINE_AUTO_PTR(struct bd_relay, bd_relay_free);

/* ---- one image looked at where it is (look.c) ---- */

/* Nothing is written to the store, and no layer is read. Threads: one image's blobs may be read by
 * several threads. */
struct bd_look;
struct bd_look_opts {
        const struct img_platform *platform; /* of an index; NULL: this machine's */
        bool offline;
        int in_fd; /* for "-" */
};
/* Places of kind ANY as by bd_open(). */
int bd_look_open(struct bd_ctx *c, const struct img_place *p, const struct bd_look_opts *o,
                 struct bd_look **ret, struct bld_err *err) MUST_CHECK;
/* The same for layers of the store, which have no documents. */
int bd_look_layers(struct bd_ctx *c, const struct bd_layers *layers, struct bd_look **ret,
                   struct bld_err *err) MUST_CHECK;
void bd_look_free(struct bd_look *l);
DEFINE_AUTO_PTR(struct bd_look, bd_look_free);
/* An archive of docker's has no manifest: then the text is empty and neither the image nor its
 * layers have digests. */
const struct bd_image *bd_look_image(const struct bd_look *l);
const struct sb *bd_look_manifest(const struct bd_look *l);
const struct sb *bd_look_config(const struct bd_look *l);
/* Layer i: 1 and where its bytes are in a file, whose descriptor is the caller's to close; 0: they
 * must be downloaded. */
int bd_look_part(struct bd_look *l, size_t i, int *ret_fd, uint64_t *ret_off, uint64_t *ret_size,
                 struct bld_err *err);
/* Then: the download, which borrows l. */
int bd_look_relay(struct bd_look *l, size_t i, struct bd_relay **ret,
                  struct bld_err *err) MUST_CHECK;
/* fn(user, i) for every i below n on at most max threads, the caller's among them. After the first
 * failure nothing new starts, *stop turns true for what is running, and the first failure is the
 * result. */
typedef int (*bd_par_fn)(void *user, size_t i, const atomic_bool *stop, struct bld_err *err);
int bd_par_run(size_t n, size_t max, bd_par_fn fn, void *user, struct bld_err *err) MUST_CHECK;

/* The table of contents the store has of a layer: 1, 0 when it has none. Caller: ly_toc_free. */
struct ly_toc;
int bd_toc_find(struct bd_ctx *c, const struct digest *diff_id, struct ly_toc **ret,
                struct bld_err *err);
/* The sums of its files, into t: 1, 0 when it has none. */
int bd_sums_find(struct bd_ctx *c, const struct digest *diff_id, struct ly_toc *t,
                 struct bld_err *err);
/* Keep a table and its sums, if it has any, under a diff ID that was verified. */
int bd_scan_put(struct bd_ctx *c, const struct digest *diff_id, const struct ly_toc *t,
                struct bld_err *err) MUST_CHECK;

/* Tags of a repository, or names in a layout. */
int bd_place_tags(struct bd_ctx *c, const struct img_place *p, struct strv *out,
                  struct bld_err *err) MUST_CHECK;

/* Manifests whose subject is what the place names. */
int bd_place_referrers(struct bd_ctx *c, const struct img_place *p, const char *artifact_type,
                       struct img_descs *out, struct bld_err *err) MUST_CHECK;

/* A file that appears whole at commit, or not at all; devices and FIFOs are written as they are. */
struct bd_file_out;
int bd_file_out_open(struct bd_ctx *c, const char *path, struct bd_file_out **ret, int *ret_fd,
                     struct bld_err *err) MUST_CHECK;
int bd_file_out_commit(struct bd_file_out *f, struct bld_err *err) MUST_CHECK;
void bd_file_out_free(struct bd_file_out *f);

enum bd_convert { BD_KEEP, BD_TO_OCI, BD_TO_DOCKER };

struct bd_copy_opts {
        const struct img_platform *platform; /* NULL: all there is */
        bool all_tags;
        const char *tag_filter; /* glob, or /regular expression/; implies all_tags */
        bool referrers;         /* and what refers to the image: signatures, SBOMs */
        bool skip_existing;     /* a name that exists stays as it is */
        bool if_changed;        /* a name that is this image already costs one look */
        bool preserve_digests;  /* POLICY where a digest would change */
        bool dry_run;
        enum bd_convert convert;
        const char *codec; /* layers in "gzip", "zstd" or "none"; NULL: as they are */
        bool force_codec;
        int in_fd, out_fd; /* for "-" */
        bd_progress_fn progress;
        void *user;
};
enum bd_copy_how { BD_COPIED, BD_UNCHANGED, BD_SKIPPED };
struct bd_copied {
        char *name; /* where it is now */
        char *id;   /* a docker daemon's, as it told; NULL: none */
        struct digest digest;
        enum bd_copy_how how;
        struct bd_push_stats stats;
};
VEC_DEFINE(bd_copieds, struct bd_copied);
void bd_copieds_free(struct bd_copieds *a);
/* A layout, an archive or a daemon's image into the store under the name it has there. ret as of
 * bd_copy. */
int bd_pull_place(struct bd_ctx *c, const struct img_place *p, const struct bd_pull_opts *o,
                  struct bd_copieds *ret, struct bld_err *err) MUST_CHECK;
/* ret gets one element per name, also when a later one fails. */
int bd_copy(struct bd_ctx *c, const struct img_place *src, const struct img_place *dst,
            const struct bd_copy_opts *o, struct bd_copieds *ret, struct bld_err *err) MUST_CHECK;

/* ---- images made from images (edit.c) ---- */

struct bd_edit {
        const struct img_place *src; /* NULL: an image of no layers */
        const struct img_place *dst; /* NULL: where src is, under its digest alone */
        bool untagged;               /* dst is a repository */
        bool offline;
        const struct img_platform *platform; /* NULL: every image of an index */
        const char *codec;                   /* of new layers; NULL: gzip, and files as they are */
        int in_fd;                           /* for "-" */
        bool has_epoch;
        int64_t epoch_sec;
        bd_progress_fn progress;
        void *user;
        /* What is done, in this order; of the first three only one. */
        bool rebase;
        const char *old_base, *new_base; /* NULL: as annotations say */
        struct img_words append;
        bool base_annotations; /* src is noted as the base */
        bool flatten;
        size_t from;
        const struct img_changes *changes; /* or NULL */
        struct img_words annotations;
};
struct bd_edited {
        struct img_desc desc;  /* its documents are in the store */
        char *name;            /* or NULL */
        char *ref;             /* what it is found by */
        bool changed;          /* it is not src itself */
        struct img_descs made; /* layers that are new */
};
void bd_edited_done(struct bd_edited *e);
int bd_edit(struct bd_ctx *c, const struct bd_edit *e, struct bd_edited *ret,
            struct bld_err *err) MUST_CHECK;

/* ---- indexes put together (members.c) ---- */

struct bd_member_of {
        struct img_desc desc; /* with its platform, where one is known */
        char *place;          /* where its bytes are, as text */
        enum img_at at;
};
VEC_DEFINE(bd_members, struct bd_member_of);
void bd_members_free(struct bd_members *a);
/* A copy of m, unless its digest is there. */
int bd_members_add(struct bd_members *to, const struct bd_member_of *m,
                   struct bld_err *err) MUST_CHECK;
/* Entries of the index a place names, or the one image it is. */
int bd_members_of(struct bd_ctx *c, const struct img_place *p, bool offline, struct bd_members *to,
                  struct bld_err *err) MUST_CHECK;
int bd_member_read(struct bd_ctx *c, const struct bd_member_of *m, struct sb *out,
                   struct bld_err *err) MUST_CHECK;
/* Bring all members to where dst is, then put the document over them there. */
int bd_members_publish(struct bd_ctx *c, const struct bd_members *members, const struct sb *doc,
                       const struct img_place *dst, bd_progress_fn progress, void *user,
                       struct bld_err *err) MUST_CHECK;

/* What does not verify or decode in a file the user named is that file's fault: CORRUPT, LIMIT and
 * INVALID become MALFORMED. Returns the code. */
int bd_file_fault(int r, struct bld_err *err);

#endif
