/* What the files of the remote cache share among themselves. */
#ifndef BUILDER_RCACHE_PRIV_H
#define BUILDER_RCACHE_PRIV_H

#include <pthread.h>

#include "builder/cache/cache_priv.h"
#include "builder/image/load_priv.h"
#include "builder/image/move_priv.h"

/* ---- where entries are (place_registry.c, place_folder.c) ---- */

struct rc_place;
struct rc_place_ops {
        /* 1 and the manifest under a tag, 0 there is none. */
        int (*get)(struct rc_place *p, const char *tag, struct sb *out, struct bld_err *err);
        /* A small blob. NOT_FOUND. */
        int (*read)(struct rc_place *p, const struct img_desc *d, struct sb *out,
                    struct bld_err *err);
        /* A blob into our store, verified. NOT_FOUND. meter may be NULL. */
        int (*bring)(struct rc_place *p, const struct img_desc *d, struct bd_meter *meter,
                     struct bld_err *err);
        /* A blob of our store, or the bytes given, made present there. */
        int (*put)(struct rc_place *p, const struct img_desc *d, const struct sb *bytes,
                   struct bd_meter *meter, bool *ret_sent, struct bld_err *err);
        int (*name)(struct rc_place *p, const char *tag, const struct sb *manifest,
                    struct bld_err *err);
        void (*close)(struct rc_place *p);
};
extern const struct rc_place_ops rc_registry_ops, rc_folder_ops;

/* What is known of a key there. */
enum rc_known { RC_UNKNOWN, RC_ABSENT, RC_PRESENT, RC_BROKEN };

struct rc_inline;
struct rc_place {
        struct rcache *rc;
        const struct rc_spec *spec; /* where it is */
        const struct rc_spec *to;   /* how it is written to; NULL: it is not */
        bool from;                  /* it is asked */
        bool image;                 /* as is the inline cache of the image there */
        const struct rc_place_ops *ops;
        char *shown;              /* for people */
        pthread_mutex_t lock;     /* guards all below, but for what the ops keep */
        pthread_cond_t blob_done; /* a blob's state changed */
        struct map keys;          /* key -> enum rc_known */
        struct map blobs;         /* digest -> enum blob_state, of an export */
        bool deaf, mute;          /* it failed: not asked, not written to any more */
        unsigned failed;          /* results that were not stored */
        struct bld_err strict_err;
        /* images with an inline cache, looked at once */
        pthread_mutex_t inline_lock; /* held while they are fetched */
        bool inline_loaded;
        struct rc_inline *inl;
        /* folder: what index.json had when first asked; and the layout that is written to */
        pthread_mutex_t folder_lock; /* guards the three */
        struct bd_input *in;
        struct map tags; /* tag -> struct img_desc */
        struct cas *out;
        bool in_opened;
};

struct rc_queue;

struct rcache {
        struct bd_ctx in, out; /* the session's; they differ in what cancels them */
        int64_t ttl_ms;
        const struct img_platform *platforms;
        size_t nplatforms;
        void (*warn)(void *user, const char *text);
        bd_progress_fn transfer;
        void *user;
        struct rc_place *places;
        size_t nplaces;
        bool inline_wanted;
        pthread_mutex_t lock; /* guards hits and verified; serialises warn */
        struct rc_hit **hits;
        size_t nhits, cap_hits;
        struct map verified; /* blob and diff ID that belong together -> non-NULL */
        struct rc_queue *queue;
};

struct rc_hit {
        struct rc_place *place;
        struct rc_entry entry;
        size_t nbase;        /* layers at the bottom that are the build's own base */
        struct img_ref from; /* of an inline hit: the image; else domain NULL */
        struct digest key;
};

/* One warning, of which the user needs no second: "PLACE: first line of err". */
void rc_warn(struct rcache *rc, const char *what, const struct rc_place *p,
             const struct bld_err *err);
/* Is the failure about the place as a whole, not about one entry? */
bool rc_of_place(int r);
enum rc_known rc_known(struct rc_place *p, const struct digest *key);
void rc_learn(struct rc_place *p, const struct digest *key, enum rc_known known);
/* The entry of a key in one place. 1 and the entry, 0 not there (or not to be believed, which is
 * learnt, too); only CANCELLED and NOMEM are errors. What is expired counts as absent. */
int rc_place_find(struct rc_place *p, const struct digest *key, struct rc_entry *ret,
                  char ret_why[RC_WHY_MAX], struct bld_err *err);
/* The same, asked of the inline cache of the image the place names (inline.c). */
int rc_inline_find(struct rc_place *p, const struct digest *key, struct rc_hit *ret,
                   struct bld_err *err);
void rc_inline_free(struct rc_inline *x);

struct rc_queue *rc_queue_new(struct rcache *rc);
void rc_queue_free(struct rc_queue *q);
/* The blob is in that repository. */
void rc_blob_present(struct rc_place *p, const struct digest *d);

#endif
