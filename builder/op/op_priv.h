/* What runs a vertex. Each op works in a thread of its own, blocks as it likes, and fills the
 * vertex' result. */
#ifndef BUILDER_OP_PRIV_H
#define BUILDER_OP_PRIV_H

#include <sys/resource.h>

#include <pthread.h>

#include "builder/cache/cache_priv.h"
#include "builder/graph/events_priv.h"
#include "builder/graph/graph_priv.h"
#include "builder/source/fs_priv.h"
#include "builder/op/leak_priv.h"
#include "builder/source/secrets_priv.h"
#include "runtime/runtime.h"

/* One build, as its ops see it. Everything here is set before the first op starts, but for what the
 * accessors below guard. */
struct build;

/* --resource (resources.c). What is parsed borrows from the options. */
int resources_parse(const struct bld_build_opts *o, struct rt_resources *ret,
                    struct bld_err *err) MUST_CHECK;
void resources_tell(const struct build *b); /* warn of what cannot be had here */

struct build {
        struct bd_ctx *c;
        const struct bld_build_opts *o;
        struct cancel cancel; /* this build's; the session's fires it, too */
        struct cas_build *record;
        struct events *events;

        const char *dockerfile; /* its name, as people know it */
        struct named_contexts *named;
        char *context_path; /* absolute; NULL: no context */
        struct ignore *ignore;
        struct stat_index *index; /* MT-Safe */
        struct fs *context_tree;  /* the main context as it was when keys were made; ops share it */

        enum ly_codec codec;
        int level;
        bool multi_platform; /* an index, however many platforms there are */
        bool has_epoch;
        bool keep_times;   /* rewrite-timestamp=false */
        int64_t clamp_sec; /* SOURCE_DATE_EPOCH */
        bool epoch_given;  /* on the command line: then the ARG of that name is `epoch` */
        char epoch[24];

        /* Started by the build's own thread before the first step that needs it. */
        struct rt_keeper *keeper;
        bool swept;     /* orphans of dead builds were looked for */
        bool made_room; /* the cache was cut because the disk was nearly full */
        enum rt_level isolation;

        struct secrets *secrets;
        enum scan_mode scan; /* --secret-scan */
        struct ssh_agents *ssh;
        struct strv host_names, host_ips;     /* --add-host */
        struct rt_limit limits[RLIM_NLIMITS]; /* --ulimit, by resource */
        size_t nlimits;
        struct strv ulimits; /* the same as text, for keys */
        struct rt_resources resources;

        char *resolv_conf;          /* --dns and the like; NULL: the host's */
        const struct strv *push_to; /* asked for before the first step that runs; NULL: nothing */

        struct rc_specs cache_specs;
        struct rcache *cache; /* shared caches; NULL: none are used */
};

/* The tree of a VX_LOCAL vertex, for the calling thread alone. */
int build_open_local(struct build *b, const struct vertex *v, struct fs **ret,
                     struct bld_err *err) MUST_CHECK;
/* The tree that an input stands for, folder or result; in NULL: scratch, an empty one. For the
 * calling thread alone. */
int op_open_input(struct build *b, const struct vertex *in, struct fs **ret,
                  struct bld_err *err) MUST_CHECK;

int op_git(struct build *b, struct vertex *v, struct bld_err *err) MUST_CHECK;
int op_image(struct build *b, struct vertex *v, struct bld_err *err) MUST_CHECK;
int op_copy(struct build *b, struct vertex *v, struct bld_err *err) MUST_CHECK;
int op_run(struct build *b, struct vertex *v, int *ret_status, struct bld_err *err) MUST_CHECK;
int op_mkdir(struct build *b, struct vertex *v, struct bld_err *err) MUST_CHECK;

/* What a copy's (or a bind mount's) sources pick from an input, as one digest: for content keys. */
int op_copy_content(struct vertex *v, size_t input, struct fs *f, struct digest *ret,
                    struct bld_err *err) MUST_CHECK;
int op_bind_content(struct build *b, struct vertex *v, const struct vx_mount *m, struct fs *f,
                    struct digest *ret, struct bld_err *err) MUST_CHECK;

/* ---- writing a layer (layer_out.c) ---- */

struct layer_out;
/* reproducible: by the engine whose bytes are the same on every machine. */
int layer_out_new(struct build *b, bool reproducible, struct layer_out **ret,
                  struct bld_err *err) MUST_CHECK;
struct ly_sink layer_out_tar(struct layer_out *lo); /* tar bytes go here */
/* Blob and TOC into the store; the layer is appended to the vertex' result (parent's chain plus
 * this one), sealed. */
int layer_out_end(struct build *b, struct layer_out *lo, struct vertex *v,
                  struct bld_err *err) MUST_CHECK;
/* The same, appended to a list. */
int layer_out_append(struct build *b, struct layer_out *lo, struct bd_layers *layers,
                     struct bld_err *err) MUST_CHECK;
void layer_out_free(struct layer_out *lo);
DEFINE_AUTO_PTR(struct layer_out, layer_out_free);
/* A stored layer's tar, uncompressed, in a nameless file, at its beginning; caller closes. */
int layer_plain(struct build *b, const struct bd_layer *l, int *ret,
                struct bld_err *err) MUST_CHECK;
/* Start a result with the chain of the input below. */
int result_begin(struct vertex *v, struct bld_err *err) MUST_CHECK;

/* What was found of secrets: warnings, or an error. toc: of the layer, to tell the file; NULL:
 * where says what was searched. */
int leak_report(struct build *b, const struct leak_hits *hits, const struct ly_toc *toc,
                const char *where, unsigned line, struct bld_err *err) MUST_CHECK;

/* ---- names and modes (owner.c) ---- */

/* "user[:group]", by number or by name looked up in the tree's /etc/passwd and /etc/group (NULL:
 * numbers only). Unknown names are INVALID. */
int owner_parse(struct bd_tree *tree, const char *text, uint32_t *ret_uid, uint32_t *ret_gid,
                struct bld_err *err) MUST_CHECK;

struct chmod_spec {
        bool octal;
        unsigned mode;
        const char *text; /* symbolic; borrowed */
};
int chmod_parse(const char *text, struct chmod_spec *ret, struct bld_err *err) MUST_CHECK;
unsigned chmod_apply(const struct chmod_spec *s, unsigned mode, bool is_dir);

/* ---- snapshots (snapshot.c) ---- */

/* Every layer of the chain unpacked in the keeper's view: paths relative to the store, bottom
 * first, appended to out. */
int snapshots_ready(struct build *b, const struct vertex *step, const struct bd_layers *layers,
                    struct strv *out, struct bld_err *err) MUST_CHECK;

/* A tar stream written by `produce` in the calling thread, unpacked below dest (relative to the
 * store, "fs" is made in it) by a child of the keeper. */
typedef int (*tar_producer)(void *user, const struct ly_sink *tar, struct bld_err *err);
int snapshot_unpack(struct build *b, const char *dest, enum ly_tree_form form, tar_producer produce,
                    void *user, struct ly_apply_stats *ret, struct bld_err *err) MUST_CHECK;
/* Without overlay: the whole tree of the chain as "<scratch>/fs", and what it is before the step in
 * "<scratch>/baseline" (tree.c). */
int tree_ready(struct build *b, const struct vertex *step, const struct bd_layers *layers,
               const char *scratch, struct bld_err *err) MUST_CHECK;
/* The name under which a chain's tree is kept. */
int tree_id(const struct bd_layers *layers, char out[DIGEST_HEX_MAX],
            struct bld_err *err) MUST_CHECK;
enum ly_tree_form snapshot_form(const struct build *b);
/* Remove a folder of tmp/ whose files may belong to mapped ids. What cannot be removed now is an
 * orphan the next keeper takes. */
void snapshot_discard(struct build *b, const char *path);

/* ---- mounts of a RUN (run_mounts.c) ---- */

/* Everything the mounts of a step need, made ready; freed after the step. */
struct run_mounts {
        struct rt_mount *v;
        size_t n, cap;
        struct strv env;       /* secrets as variables */
        struct strv owned;     /* texts the mounts point to */
        struct cas_tmp **tmps; /* copies of bind sources */
        size_t ntmps;
        struct strv caches; /* folder of each cache mount, by number of the mount */
        int *locks;         /* of cache mounts */
        size_t nlocks;
        struct agent_proxy **agents; /* of ssh mounts */
        size_t nagents, nssh;
};
int run_mounts_ready(struct build *b, struct vertex *v, struct run_mounts *m,
                     struct bld_err *err) MUST_CHECK;
void run_mounts_done(struct build *b, struct run_mounts *m);

/* ---- the keeper's verbs (verbs.c), as the engine calls them ---- */

#define VERB_UNPACK "unpack" /* {dest, form} fd 3: tar -> {entries, bytes} */
#define VERB_PACK "pack"     /* {upper, lowers, form, stubs, adopt} fd 3: tar out */
#define VERB_CACHE "cache"   /* {path, mode, uid, gid[, from]}: a cache mount's folder */
#define VERB_OWN "own"       /* {dir, name, mode, uid, gid}: of a file */
#define VERB_RECORD "record" /* what a whole tree is, before a step changes it */

#endif
