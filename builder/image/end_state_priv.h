/* What an end is made of: opening and reading it is end.c's, its names are end_resolve.c's. */
#ifndef BUILDER_END_STATE_PRIV_H
#define BUILDER_END_STATE_PRIV_H

#include "builder/image/end_priv.h"

struct bd_end {
        struct bd_ctx *c;
        struct img_place place;
        enum img_at at;         /* REGISTRY, STORE, or OCI for what is read through `in` */
        struct reg_client *reg; /* borrowed */
        struct bd_input in;
        bool opened;              /* in is */
        bool loaded;              /* the entries' content is in the store */
        bool peek;                /* nothing is brought there; see bd_end_docker() */
        bool docker;              /* `in` is an archive of docker's that was not loaded */
        struct img_descs entries; /* of a file; names are in the annotations */
        struct map cache;         /* documents read: digest -> struct sb */
        size_t cached;
        const struct bd_loans *loans; /* blobs that are elsewhere; or NULL */
};

/* Keep a document for the next time it is read, while there is room. key: its digest. */
int bd_end_remember(struct bd_end *e, const char *key, const struct sb *doc,
                    struct bld_err *err) MUST_CHECK;

#endif
