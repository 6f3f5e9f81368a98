/* The build graph: immutable vertices made by plan_*, solved by solve*. Inputs always come earlier
 * in the graph's list, so that list is a topological order. */
#ifndef BUILDER_GRAPH_PRIV_H
#define BUILDER_GRAPH_PRIV_H

#include "builder/builder.h"
#include "base/map.h"
#include "parser/parser.h"

enum vx_kind {
        VX_IMAGE, /* base: a chain of layers from a registry or the store */
        VX_LOCAL, /* the context or a named local folder; only ever a source */
        VX_COPY,  /* COPY and ADD */
        VX_RUN,
        VX_MKDIR, /* WORKDIR */
        VX_GIT,   /* a commit of a repository */
};

enum copy_source_kind {
        COPY_PATH,
        COPY_INLINE, /* heredoc */
        COPY_BLOB,   /* downloaded file */
        COPY_GIT,    /* all files of a VX_GIT input */
};
struct copy_source {
        enum copy_source_kind kind;
        char *path;  /* as written, expanded; INLINE, BLOB: file name; GIT: what times hang on */
        char *shown; /* BLOB, GIT: the URL */
        char *data;  /* INLINE */
        size_t len;  /* INLINE, BLOB */
        struct digest blob; /* BLOB */
        int64_t mtime_sec;  /* BLOB */
        size_t input;       /* GIT: index into the vertex' inputs */
        struct df_pos pos;
};

struct vx_copy {
        struct copy_source *src;
        size_t nsrc;
        char *dest;          /* absolute; a trailing '/' is significant */
        char *chown, *chmod; /* expanded, or NULL */
        struct strv excludes;
        bool link, parents, is_add;
        bool unpack_set, unpack; /* ADD --unpack */
};

enum mount_type { MT_BIND, MT_CACHE, MT_TMPFS, MT_SECRET, MT_SSH };
enum cache_sharing { SHARE_SHARED, SHARE_PRIVATE, SHARE_LOCKED };
struct vx_mount {
        enum mount_type type;
        char *target; /* absolute; secret with env only: NULL */
        char *source; /* path inside the input */
        char *id;
        char *env;
        int input; /* index into the vertex' inputs, -1: none (scratch) */
        bool readonly, required;
        enum cache_sharing sharing;
        uint64_t size_bytes;
        unsigned mode;
        bool mode_set;
        uint32_t uid, gid;
};

struct vx_run {
        struct strv argv;
        struct strv env;
        struct strv host_names; /* of --add-host: known by name, not by address */
        struct strv ulimits;    /* "nofile=1024:2048" */
        char *hostname;         /* NULL: the default */
        char *cwd, *user;
        char *network; /* default, none, host */
        bool insecure;
        struct vx_mount *mounts;
        size_t nmounts;
        char *script_name; /* heredoc beginning with #!: file in /dev/pipes */
        char *script;
        size_t script_len;
};

struct vx_mkdir {
        char *path;
        char *user;
};

/* A commit, with what of it is wanted. */
#define GIT_COMMIT_MAX 65
struct vx_git {
        char *remote;   /* for git, without a password */
        char *userinfo; /* what stood before '@' in an http URL, or "" */
        char *full_ref; /* what the remote calls it; NULL: a commit was asked for */
        char *subdir;   /* clean, relative; "": all */
        char commit[GIT_COMMIT_MAX];
        bool keep_git_dir, submodules, mtime_commit;
};
void vx_git_done(struct vx_git *g);
/* What the files depend on. */
void git_params(struct hasher *h, const struct vx_git *g);

enum vx_state { VX_IDLE, VX_NEEDED, VX_RUNNING, VX_DONE, VX_FAILED };

/* A result: the whole chain of layers up to this vertex, bottom first. */
struct vx_result {
        struct bd_layers layers;
        struct digest chain_id; /* unset for no layers */
};

struct vertex {
        enum vx_kind kind;
        unsigned id;
        /* [0]: the file system below, or NULL (scratch); then sources. A copy's [1] is the tree its
         * paths are selected from (NULL: scratch, or it has no paths). */
        struct vertex **inputs;
        size_t ninputs;
        struct img_platform platform;
        union {
                struct bd_image image; /* VX_IMAGE */
                char *local;           /* VX_LOCAL: "" is the main context, else a folder */
                struct vx_copy copy;
                struct vx_run run;
                struct vx_mkdir mkdir;
                struct vx_git git;
        } u;

        /* For people. */
        char *stage;          /* "deps" or "stage-0" */
        char *step;           /* "deps 2/4" */
        char *name;           /* "COPY package.json ./" */
        unsigned line, index; /* index: N of "N/M" */
        size_t depth;         /* layers of the chain up to here, at most */
        struct df_pos pos;

        /* Keys. */
        struct digest params;     /* everything but the inputs */
        struct digest content;    /* selected content of local sources; unset: none */
        struct digest key;        /* definition key */
        struct digest result_key; /* unset until it is computed */

        /* Solving; owner thread only, except result, which the op's thread fills before posting. */
        enum vx_state state;
        bool no_cache, cached, planned;
        bool renewed; /* it or something it is made from is no_cache: a definition key says nothing
                       */
        bool unrepeatable; /* a source changed under the op: the result is no key's */
        bool tainted;      /* that, or made from one that is: no definition key is true of it */
        struct vx_result result;
        int64_t started_ns, ended_ns; /* monotonic */
        bool told;                    /* that it was cached */

        /* Shared caches. */
        struct rc_hit *remote; /* found there, its blobs still to be brought; borrowed */
        bool asked;
        char imported[120]; /* "hit from PLACE" once its blobs are here */
        char *remote_why;   /* what was wrong with the entry there */
};

VEC_DEFINE(vertices, struct vertex *);

/* One entry of the image history that this build adds. */
struct plan_history {
        char *created_by;
        struct vertex *v; /* NULL: empty layer */
        char *author;
        unsigned line; /* of the Dockerfile; what a base's ONBUILD left has that of FROM */
};
VEC_DEFINE(plan_histories, struct plan_history);

/* A wanted image. */
struct plan_target {
        char *name; /* stage name */
        struct img_platform platform;
        struct img_config config; /* without rootfs and the new history */
        struct plan_histories history;
        struct vertex *fs; /* NULL: empty */
        bool is_image;     /* comes out of the build; else it is only made */
};
VEC_DEFINE(plan_targets, struct plan_target);

struct graph {
        struct vertices v;
        struct plan_targets targets;
        struct map by_params; /* params + inputs -> vertex, for sharing */
};
void graph_init(struct graph *g);
void graph_done(struct graph *g);
void vertex_free(struct vertex *v);
/* Add v (owned by the graph from here on, also on failure) or return the equal one that is there.
 */
int graph_add(struct graph *g, struct vertex *v, struct vertex **ret,
              struct bld_err *err) MUST_CHECK;
void mount_done(struct vx_mount *m);
void plan_histories_free(struct plan_histories *a);

/* ---- keys (key.c) ---- */

/* Digest of kind, platform and parameters. */
void key_params(struct vertex *v);
/* Definition key: parameters, content of local sources, keys of inputs (which must have theirs). */
void key_definition(struct vertex *v);
/* Result key: parameters and what the inputs really yielded. contents: one digest per input beyond
 * the first, of the files selected there (unset: the chain ID counts). */
void key_result(const struct vertex *v, const struct digest *contents, struct digest *ret);

/* ---- records (record.c) ---- */

int record_get(struct bd_ctx *c, struct cas_build *build, const struct digest *key,
               struct vx_result *ret, struct bld_err *err);
int record_put(struct bd_ctx *c, const struct digest *key, const struct vertex *v,
               struct bld_err *err) MUST_CHECK;
/* name: of the step, for people who look at the store. */
int record_put_layers(struct bd_ctx *c, const struct digest *key, const struct bd_layers *layers,
                      const char *name, struct bld_err *err) MUST_CHECK;
void result_done(struct vx_result *r);
int result_copy(const struct vx_result *r, struct vx_result *ret) MUST_CHECK;
/* Recompute chain_id from layers. */
int result_seal(struct vx_result *r, struct bld_err *err) MUST_CHECK;

#endif
