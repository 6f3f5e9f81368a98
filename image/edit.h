/* Changes to manifests and configs as JSON documents: members that nobody here knows stay what and
 * where they are. The documents have been decoded before (image.h), so their known members have the
 * right types. No I/O. Threads: MT-Object. */
#ifndef IMAGE_EDIT_H
#define IMAGE_EDIT_H

#include "image/image.h"

/* Parse a document of at most max bytes whose top is an object; what: "config". CORRUPT. */
int img_edit_parse(const struct sb *text, size_t max, const char *what, struct js **ret,
                   struct bld_err *err) MUST_CHECK;

/* Strings of the caller's. */
struct img_words {
        const char *const *v;
        size_t n;
};

struct img_changes {
        struct img_words env, labels;             /* "KEY=VALUE" */
        struct img_words unset_env, unset_labels; /* "KEY" */
        struct img_words exposed;                 /* "80", "80/tcp", "8000-8010/udp" */
        const struct img_words *entrypoint, *cmd; /* NULL: as it is; empty: none */
        const char *user, *workdir, *created;     /* NULL: as it is */
        const struct img_platform *platform;      /* NULL: as it is */
};
/* An entrypoint without a command takes the old command away, as in a Dockerfile. USAGE for what is
 * no variable, label, port or folder. */
int img_edit_config(struct js *config, const struct img_changes *c, struct bld_err *err) MUST_CHECK;
/* "KEY=VALUE" into the annotations of a manifest. USAGE. */
int img_edit_annotations(struct js *manifest, const struct img_words *kv,
                         struct bld_err *err) MUST_CHECK;

/* What img_edit_top() makes of a history entry; NULL: a member is left out. */
struct img_step {
        const char *created, *created_by, *comment;
};
/* Keep the lowest `keep` of an image's n layers, and the history that belongs to them. */
int img_edit_cut(struct js *manifest, struct js *config, size_t n, size_t keep,
                 struct bld_err *err) MUST_CHECK;
/* One layer on top of n. */
int img_edit_top(struct js *manifest, struct js *config, size_t n, const struct img_desc *layer,
                 const struct digest *diff_id, const struct img_step *step,
                 struct bld_err *err) MUST_CHECK;

/* An image's config on another base. What it has from the old one (a member of `config`, one
 * variable, one label) becomes the new one's; what it set itself stays. */
struct img_bases {
        const struct js *old_config; /* NULL: the old base has no layers and says nothing */
        const struct js *new_config;
        const struct img_descs *new_layers; /* under the types the manifest has */
        size_t nold, nsrc;                  /* layers of the old base, of the image */
};
int img_edit_rebase(struct js *manifest, struct js *config, const struct img_bases *b,
                    struct bld_err *err) MUST_CHECK;

/* A descriptor leads to other bytes. */
int img_edit_target(struct js *desc, const struct digest *d, uint64_t size,
                    struct bld_err *err) MUST_CHECK;

#endif
