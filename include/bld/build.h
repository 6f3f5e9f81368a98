/* Building an image from a Dockerfile. */
#ifndef BLD_BUILD_H
#define BLD_BUILD_H

#include "bld/session.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- events: everything a view needs, in order, from one thread, under no lock ---- */

enum bld_event_type {
        BLD_EV_BUILD_START, /* text: build id */
        BLD_EV_STEP_PLAN,   /* one per step of the wanted targets, in order */
        BLD_EV_STEP_START,
        BLD_EV_STEP_CACHED, /* ends the step; text: where a shared result came from, or NULL */
        BLD_EV_STEP_STATUS, /* text; done/total bytes when total > 0 */
        BLD_EV_STEP_LOG,    /* data/len: output of the step, stream 1 or 2 */
        BLD_EV_STEP_DONE,
        BLD_EV_STEP_ERROR, /* text */
        BLD_EV_WARNING,    /* text, line when it has one */
        BLD_EV_TRANSFER,   /* text: what is pushed; done/total */
        BLD_EV_BUILD_END,
};

struct bld_event {
        enum bld_event_type type;
        const char *step; /* "deps 2/4", stable for the build; NULL when not about a step */
        const char *name; /* the instruction as people know it: "RUN make" */
        const char *file; /* Dockerfile as given */
        unsigned line;
        const char *text;
        const char *data;
        size_t len;
        int stream;
        uint64_t done, total;
        int64_t time_ns;           /* CLOCK_REALTIME */
        int64_t elapsed_ms;        /* since the step (or build) started */
        int exit_status;           /* STEP_DONE of a RUN: 0 */
        const char *digest;        /* the step's key, "sha256:..." */
        const char *const *inputs; /* keys of the steps it needs, NULL-terminated; PLAN only */
        unsigned steps_total;      /* BUILD_START is before planning: set from the first PLAN on */
};

/* ---- options ---- */

enum bld_pull { BLD_PULL_MISSING, BLD_PULL_ALWAYS, BLD_PULL_NEVER, BLD_PULL_NEWER };

struct bld_build_opts {
        size_t size;
        const char *context;    /* folder, or "-" (Dockerfile or tar from stdin_fd) */
        const char *dockerfile; /* NULL: look for it in the context; "-": from stdin_fd */
        int stdin_fd;
        const char *ignorefile;
        struct bld_list tags;           /* -t */
        struct bld_list targets;        /* --target; none: the last stage */
        struct bld_list build_args;     /* "K=V" */
        struct bld_list build_contexts; /* "NAME=SRC" */
        struct bld_list labels;         /* "K=V" */
        struct bld_list annotations;    /* "[LEVEL[PLATFORM]:]K=V" */
        struct bld_list platforms;
        struct bld_list secrets; /* CSV "id=ID[,src=F|env=V]" */
        struct bld_list ssh;
        struct bld_list allow;     /* entitlements */
        struct bld_list add_hosts; /* "HOST:IP" */
        struct bld_list outputs;   /* -o specs (CSV) */
        struct bld_list no_cache_filter;
        const char *network;     /* default, none, host; NULL: default */
        const char *isolation;   /* NULL: auto */
        const char *compression; /* gzip, zstd, none; NULL: gzip */
        int compression_level;   /* 0: default */
        bool docker_format;      /* --format docker */
        bool no_cache;
        bool push;
        bool reproducible;
        const char *source_date_epoch; /* seconds; NULL: $SOURCE_DATE_EPOCH when set */
        enum bld_pull pull;
        unsigned jobs; /* 0: CPUs */
        uint64_t shm_bytes;
        int64_t run_timeout_ms;
        /* Limits of the store, kept after every build in which something ran, oldest use first
         * (docs/store.md). Zero: none. */
        uint64_t cache_max_bytes, cache_min_free_bytes;
        uint64_t cache_floor_bytes; /* of the store, which min_free does not take */
        int64_t cache_keep_sec;     /* what was not used for so long goes in any case */
        bool cache_note;            /* say so when named images alone exceed the limits */
        struct bld_list ulimits;    /* "NAME=SOFT[:HARD]" */
        struct bld_list resources;  /* "memory=2g", "cpus=1.5", ...: limits of each RUN */
        const char *cgroup_parent;  /* where the steps' groups are made; NULL: below our own */
        int out_fd;                 /* where "-" outputs go */
        void (*event)(void *user, const struct bld_event *ev); /* may be NULL */
        void *user;
        struct bld_list cache_from, cache_to; /* CSV "type=registry,ref=...", or a reference */
        const char *cache_repo;               /* both, with mode=max; NULL: none */
        int64_t cache_ttl_ms;                 /* entries older than that are not used; 0: all are */
        bool force_compression;               /* base layers, too */
        bool keep_times;                      /* layers are not rewritten for an epoch */
        const char *from; /* instead of the first FROM's image; NULL: as it says */
        /* Edits of the image's config, after the Dockerfile had its say. */
        struct bld_list env, unset_env, unset_labels; /* "K=V", "K", "K" */
        struct bld_list os_features;
        const char *os_version;
        bool drop_labels; /* those of base images */
        bool squash_all;  /* the image, base included, as one layer */
        bool omit_history;
        const char *secret_scan; /* off, warn or error; NULL: warn */
        bool strict_args;        /* a build argument without an ARG is an error */
        struct bld_list dns, dns_search, dns_options; /* of RUN; none: the host's */
        bool no_hosts;                                /* RUN sees the image's own /etc/hosts */
        bool no_host_proxy;  /* RUN does not get this process' proxy variables */
        bool no_push_check;  /* do not ask for the permission to push before the first RUN */
        bool keep_immutable; /* a tag that the registry does not let move is no failure */
        /* "new": the layers above the base image as one; "all": as squash_all; NULL: as they are */
        const char *squash;
};

/* ---- result ---- */

/* Where a failure stands in a file, for the caller's message. It is part of other structs and never
 * grows. */
struct bld_place {
        char file[1024];
        unsigned line, col, len; /* 1-based; 0: unknown */
        char source[512];        /* the source line, cut where it is long; NUL-terminated */
        unsigned source_from;    /* bytes of the line left out before that */
        char stage[128];         /* "deps", and the step: */
        char step[160];          /* "deps 4/4" */
        char label[160];         /* short text beside the marker */
        int run_status;          /* exit status of a failing RUN (128 + signal), else 0 */
        char log_path[1024];     /* complete output of the failing step, or "" */
        unsigned char reserved[64];
};

/* Filled by the call, whose caller sets size. */
struct bld_build_result {
        size_t size;
        char id[16];
        char digest[BLD_DIGEST_SIZE];        /* what a pull resolves: manifest, or index */
        char config_digest[BLD_DIGEST_SIZE]; /* single platform only */
        char media_type[96];
        uint64_t document_bytes; /* of what digest names */
        uint64_t image_bytes;    /* compressed layers */
        unsigned layers_new, layers_reused;
        unsigned steps, steps_cached;
        char first_miss[200];     /* "deps 4/4  Dockerfile:9", "" when nothing missed */
        char first_miss_why[300]; /* "src/main.rs changed" */
        char slowest[200];
        int64_t slowest_ms, push_ms, total_ms;
        uint64_t pushed_bytes, push_skipped_bytes;
        unsigned warnings;
        char isolation[600];     /* what was chosen and why, "" when no step ran */
        struct bld_place place;  /* on failure */
        unsigned steps_imported; /* of steps_cached: brought here from a shared cache */
        unsigned cache_stored;   /* results written to shared caches */
};

/* Build. On failure err says what, ret->place where. ret is filled either way as far as known;
 * it may be NULL. */
BLD_API int bld_build(struct bld *b, const struct bld_build_opts *o, struct bld_build_result *ret,
                      struct bld_err *err);

/* The --metadata-file document of a finished build, with bld's own members. Caller: bld_free. */
BLD_API int bld_build_metadata(struct bld *b, const struct bld_build_opts *o,
                               const struct bld_build_result *r, char **ret, struct bld_err *err);

#ifdef __cplusplus
}
#endif
#endif
