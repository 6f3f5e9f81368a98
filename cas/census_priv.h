/* What is in the store, and what keeps what: the base of collection and of `du --verbose`. */
#ifndef CAS_CENSUS_PRIV_H
#define CAS_CENSUS_PRIV_H

#include "cas/cas_priv.h"

struct blob;
VEC_DEFINE(blob_ptrs, struct blob *);

struct blob {
        char *path;
        uint64_t bytes;
        int64_t mtime_ns;
        size_t refs; /* from items that stay */
        bool live;   /* reached by a name, or leased */
        bool dead;
        bool looked_into;      /* kids are known */
        struct blob_ptrs kids; /* what it lists, if it is a manifest or an index */
};

/* What can be given up alone. */
struct item {
        struct cas_item x; /* bytes: without the blobs */
        char *path;        /* relative to the root; x.id points into it */
        bool dead;
        struct digest digest; /* of an untagged image */
        struct blob_ptrs blobs;
};
VEC_DEFINE(items, struct item);

struct census {
        struct cas *c;
        bool no_mounts;   /* they are not looked at */
        bool recorded;    /* a snapshot's recorded size will do: nothing is walked */
        struct map blobs; /* "sha256:..." -> struct blob, owned */
        struct map sizes; /* path of a tree -> what was measured before the lock, owned */
        struct items items;
        struct cas_leases leases;
        uint64_t total;
};

void census_init(struct census *n, struct cas *c, bool recorded);
void census_done(struct census *n);
/* Measure the trees, which may take long: before the lock is taken, so that nobody waits for it. */
int census_sizes(struct census *n, struct bld_err *err) MUST_CHECK;
/* Call with the store's lock held. */
int census_take(struct census *n, struct bld_err *err) MUST_CHECK;

#endif
