/* The remote cache: results of steps shared through registries and folders (docs/cache.md, "Shared
 * caches"). Every result is a manifest of its own under a tag made of its key, so writers have
 * nothing to race on. What comes from there is believed only after everything in it was held
 * against everything else; what fails that is a miss. Threads: a struct rcache is MT-Safe. */
#ifndef BUILDER_CACHE_PRIV_H
#define BUILDER_CACHE_PRIV_H

#include "builder/builder.h"
#include "builder/graph/graph_priv.h"

/* ---- what was asked for (spec.c) ---- */

enum rc_type { RC_REGISTRY, RC_LOCAL, RC_INLINE };
struct rc_spec {
        enum rc_type type;
        bool from, to;
        bool max;           /* export every step, not only those of the image */
        bool strict;        /* ignore-error=false */
        bool image;         /* the reference may name an image with an inline cache */
        struct img_ref ref; /* REGISTRY */
        char *dir;          /* LOCAL */
        char *tag;          /* what the tags of the entries begin with */
        char *codec;        /* compression of exported layers; NULL: as they are */
        int level;
        bool force;
        int64_t timeout_ms; /* at most this long is waited for at the end of the build; 0: no limit
                             */
};
VEC_DEFINE(rc_specs, struct rc_spec);
/* --cache-from, --cache-to, --cache-repo. USAGE. */
int rc_specs_parse(const struct bld_build_opts *o, struct rc_specs *ret,
                   struct bld_err *err) MUST_CHECK;
void rc_specs_free(struct rc_specs *s);

/* ---- one entry, as data (entry.c) ---- */

#define RC_MT_RECORD "application/vnd.bld.result.v1+json"
#define RC_RECORD_MAX (1u << 20)
#define RC_LAYERS_MAX 1000u
#define RC_TAG_MAX 63u /* '-' and 64 digits follow; a tag has at most 128 characters */

enum { RC_KEY_DEFINITION, RC_KEY_RESULT, RC_KEYS };
struct rc_entry {
        struct digest keys[RC_KEYS]; /* unset: not known */
        int64_t created_sec;
        /* The whole chain, bottom first. Layers of a base image that can be had elsewhere have only
         * a diff ID here (desc.digest unset). */
        struct bd_layers layers;
};
void rc_entry_done(struct rc_entry *e);
/* The record, which is the config blob. */
int rc_record_encode(const struct rc_entry *e, struct sb *out, struct bld_err *err) MUST_CHECK;
int rc_record_decode(const char *text, size_t len, struct rc_entry *ret,
                     struct bld_err *err) MUST_CHECK;
/* The manifest over a record; *ret_record is the record as a blob. */
int rc_manifest_encode(const struct rc_entry *e, const struct sb *record, struct sb *out,
                       struct img_desc *ret_record, struct bld_err *err) MUST_CHECK;
/* Is this the entry for that key, and do record and manifest name the same layers? CORRUPT. */
int rc_entry_check(const struct rc_entry *e, const struct img_manifest *m, const struct digest *key,
                   struct bld_err *err) MUST_CHECK;
void rc_tag(const char *prefix, const struct digest *key, char out[130]);

/* ---- looking up and bringing here (import.c) ---- */

struct rcache;
struct rcache_opts {
        struct bd_ctx *c;
        struct cancel *cancel; /* of the build: ends imports; the session's ends exports */
        const struct rc_specs *specs;
        int64_t ttl_ms;                       /* entries older than that are not seen; 0: all are */
        const struct img_platform *platforms; /* of the wanted images, for inline caches */
        size_t nplatforms;
        void (*warn)(void *user, const char *text);
        bd_progress_fn transfer; /* while the build waits for its exports */
        void *user;
};
int rcache_new(const struct rcache_opts *o, struct rcache **ret, struct bld_err *err) MUST_CHECK;
void rcache_free(struct rcache *rc); /* joins its threads; what is still queued is dropped */
bool rcache_imports(const struct rcache *rc); /* rc may be NULL */
bool rcache_exports(const struct rcache *rc);
bool rcache_exports_all(const struct rcache *rc); /* some place takes every step */
bool rcache_wants_inline(const struct rcache *rc);

/* An entry that was found; owned by the cache. */
struct rc_hit;
/* Ask the places in order; blocks on the network. Failures are warnings and misses. `base`: the
 * layers at the bottom of the step's chain, which the entry must stand on; NULL when only its top
 * layer counts. ret_why, if wanted, is "" or says what was wrong with an entry. */
#define RC_WHY_MAX 200
struct rc_hit *rcache_find(struct rcache *rc, const struct digest *key,
                           const struct bd_layers *base, char ret_why[RC_WHY_MAX]);
const char *rc_hit_place(const struct rc_hit *h);
/* All layers of it here and verified, diff IDs included. 1 and the chain, or 0 when something is
 * missing or wrong; only CANCELLED, NOMEM and failures of our own store are errors. With top_only
 * the chain is the top layer alone. */
int rcache_bring(struct rcache *rc, struct rc_hit *h, bool top_only, bd_progress_fn progress,
                 void *user, struct vx_result *ret, char ret_why[RC_WHY_MAX], struct bld_err *err);

/* ---- export (export.c) ---- */

struct rc_step {
        struct digest keys[RC_KEYS];
        const struct bd_layers *layers; /* copied; blobs are leased by the build */
        bool of_image;                  /* one of the image's own steps: mode=min has it, too */
};
/* Send a result on its way, in the background. */
void rcache_put(struct rcache *rc, const struct rc_step *s);
/* Wait for what is on its way. Fails only where ignore-error=false asks for it, or when cancelled.
 * ret_stored: results written by this build. */
int rcache_wait(struct rcache *rc, unsigned *ret_stored, struct bld_err *err) MUST_CHECK;

/* ---- inline (inline.c) ---- */

struct rc_inline_step {
        struct digest keys[RC_KEYS];
        size_t nlayers; /* its result is that many of the image's layers */
};
VEC_DEFINE(rc_inline_steps, struct rc_inline_step);
/* The text for img_config.cache. */
int rc_inline_encode(const struct rc_inline_steps *steps, struct sb *out,
                     struct bld_err *err) MUST_CHECK;
int rc_inline_decode(const char *text, size_t len, size_t nlayers, struct rc_inline_steps *ret,
                     struct bld_err *err) MUST_CHECK;

#endif
