/* Syntax -> graph. A plan reads the Dockerfile, resolves bases, expands variables, and leaves
 * vertices and configs; it runs nothing. */
#ifndef BUILDER_PLAN_PRIV_H
#define BUILDER_PLAN_PRIV_H

#include "base/strv_index.h"
#include "builder/graph/graph_priv.h"
#include "builder/plan/lint_priv.h"
#include "builder/plan/outline_priv.h"
#include "parser/giturl.h"

struct build;

/* How a plan finds a base image; NULL result: the resolver must report why. */
typedef int (*plan_resolve_fn)(void *user, const char *name, const struct img_platform *platform,
                               struct bd_image *ret, struct bld_err *err);

/* What a named context stands for. */
enum plan_named {
        PLAN_NAMED_NONE,
        PLAN_NAMED_FOLDER, /* of this machine */
        PLAN_NAMED_IMAGE,  /* the resolver knows which */
        PLAN_NAMED_EMPTY,
        PLAN_NAMED_GIT,  /* a repository's URL */
        PLAN_NAMED_HTTP, /* a file's URL */
};

struct plan_opts {
        const struct df_file *file;
        const struct bld_list *targets;    /* stage names; none: the last */
        const struct bld_list *build_args; /* "K=V" */
        const char *epoch; /* value of ARG SOURCE_DATE_EPOCH whatever build_args say, or NULL */
        const struct bld_list *no_cache_filter;
        const struct bld_list *labels;
        const struct strv *host_names; /* --add-host: part of RUN keys */
        const struct strv *ulimits;    /* --ulimit: the same; NULL: none */
        const char *network;
        const char *from; /* the image of the first FROM, whatever it says; NULL: what it says */
        bool drop_labels, strict_args;
        bool no_cache;
        bool allow_insecure, allow_host_network, allow_device;
        bool have_context;
        struct img_platform platform, host;
        bool platform_given;
        plan_resolve_fn resolve;
        void *user;
        /* Bring a file from the web into the store; fills blob, len, mtime_sec and path of src. */
        int (*fetch)(void *user, const char *url, const struct digest *want,
                     struct copy_source *src, struct bld_err *err);
        /* Which commit a repository's URL stands for. */
        int (*git)(void *user, const struct giturl *u, struct vx_git *ret, struct bld_err *err);
        enum plan_named (*find_named)(const void *named, const char *name,
                                      const struct img_platform *pl, const char **ret_folder);
        const void *named;
        void (*warn)(void *user, unsigned line, const char *text);
        struct lint *lint;       /* NULL: no checks */
        struct outline *outline; /* NULL: nobody asks */
        bool all_stages;         /* without targets: every stage is wanted */
};

/* Layers of a stage. No engine takes more, and what records of results take grows with the square.
 */
#define PLAN_LAYERS_MAX 1000

/* Add the wanted targets, for one platform, to the graph. On failure *ret_pos says where. */
int plan_build(const struct plan_opts *o, struct graph *g, struct df_pos *ret_pos,
               struct bld_err *err) MUST_CHECK;

/* ---- inside the plan ---- */

struct stage {
        size_t index;
        const struct df_instr *from;
        size_t first, end; /* instructions in the file */
        char *name;        /* lower case, or NULL */
        char *title;       /* name or "stage-K" */
        char *base;        /* FROM's name, expanded */
        struct stage *base_stage;
        struct img_platform platform;
        bool platform_given;
        bool reachable, scanned, planned, no_cache;
        size_t users; /* stages that still are to begin with its state, and the target */
        unsigned fs_steps, fs_total; /* N and M of "N/M" */

        /* State while, and after, its instructions are dispatched. */
        struct img_config config;
        struct strv env;  /* build environment: ENV and ARG */
        struct strv args; /* declared ARG names, in order */
        struct strv_index env_at, config_env_at, args_at, volumes_at, ports_at;
        struct map labels_at; /* key -> position + 1 */
        size_t nlabels;       /* labels that are in it */
        struct plan_histories history;
        struct vertex *fs;
        unsigned line; /* of the instruction that is dispatched */
        bool cmd_seen;
        bool env_hidden; /* an ARG has the name of an ENV: they differ */
        struct lint_stage lint;
        struct strv from_args; /* variables its FROM line uses */
};

struct plan {
        const struct plan_opts *o;
        struct graph *g;
        struct stage *stages;
        size_t nstages;
        struct map names;    /* -> the stages of that name */
        size_t last_reached; /* 1 + index of the last stage that became reachable; 0: none */
        unsigned depth;      /* of stages that triggers ask for */
        struct strv global;  /* environment of FROM lines */
        struct strv_index global_at;
        struct strv trigger_args; /* what ARG triggers of base images declare */
        struct df_pos *pos;       /* where the failure stands */
};

/* Build argument given on the command line, or NULL. */
const char *plan_build_arg(const struct plan_opts *o, const char *name);
struct stage *plan_find_stage(struct plan *p, const char *name, size_t before);
/* Expand a word with the stage's environment. Caller frees. */
int plan_expand(struct plan *p, struct stage *s, const char *word, char **ret,
                struct bld_err *err) MUST_CHECK;
/* The stage a --from names, by number or name, or that the from= of a mount does, by name only
 * (mount_target not NULL); *ret NULL when it is none: an image or a named context. INVALID for the
 * stage itself or a later one. */
int plan_from_stage(struct plan *p, const struct stage *s, const char *from,
                    const char *mount_target, struct stage **ret, struct bld_err *err) MUST_CHECK;
/* INVALID when the name is no stage but nearly one; 0 otherwise. */
int plan_near_stage(struct plan *p, struct stage *s, const char *what, const char *from,
                    struct bld_err *err) MUST_CHECK;
/* INVALID when a COPY --from would change under expansion, which it never gets. */
int plan_check_from(struct plan *p, const char *from, struct bld_err *err) MUST_CHECK;
int plan_input_image(struct plan *p, struct stage *s, const char *name, struct vertex **ret,
                     struct bld_err *err) MUST_CHECK;
/* A commit as a vertex; shown: what people know it as. */
int plan_git(struct plan *p, struct stage *s, const struct giturl *u, const char *shown,
             struct vertex **ret, struct bld_err *err) MUST_CHECK;
/* The main context as a vertex. */
int plan_context(struct plan *p, struct vertex **ret, struct bld_err *err) MUST_CHECK;
/* A vertex for this instruction, with what people see filled in; inputs has room for n. */
int plan_vertex(struct plan *p, struct stage *s, const struct df_instr *in, enum vx_kind kind,
                size_t ninputs, struct vertex **ret, struct bld_err *err) MUST_CHECK;
/* Put it on top of the stage and into its history (created_by is taken). */
int plan_push(struct plan *p, struct stage *s, struct vertex *v, char *created_by,
              struct bld_err *err) MUST_CHECK;
int plan_note(struct stage *s, char *created_by, struct bld_err *err) MUST_CHECK; /* empty layer */
int plan_fail(struct plan *p, const struct df_pos *pos, int r);

/* ---- stages (plan_stages.c) ---- */

void plan_names_free(void *p); /* for the values of plan.names */
int plan_fail_at(struct plan *p, const struct df_instr *in, int r);
/* ARG before the first FROM, and the automatic platform arguments. */
int plan_globals(struct plan *p, struct bld_err *err) MUST_CHECK;
int plan_list_stages(struct plan *p, struct bld_err *err) MUST_CHECK;
/* Read its FROM line. */
int plan_stage_from(struct plan *p, struct stage *s, struct bld_err *err) MUST_CHECK;
/* Its state, when no stage begins with it any more. */
void plan_stage_release(struct stage *s);
void plan_stage_done(struct stage *s);

/* ---- which are needed (plan_reach.c) ---- */

/* Mark what the targets need, and what that needs. */
int plan_reach(struct plan *p, size_t before, struct bld_err *err) MUST_CHECK;
/* The stages one instruction asks for. */
int plan_mark(struct plan *p, struct stage *s, const struct df_instr *in,
              struct bld_err *err) MUST_CHECK;
int plan_check_copies(struct plan *p, struct stage *s, struct bld_err *err) MUST_CHECK;

/* ---- what they stand on (plan_base.c) ---- */

int plan_start_stage(struct plan *p, struct stage *s, struct bld_err *err) MUST_CHECK;
int plan_default_path(struct stage *s, struct bld_err *err) MUST_CHECK;
/* Does the instruction make a vertex? */
bool plan_makes_step(const struct df_instr *in);

int plan_instr(struct plan *p, struct stage *s, const struct df_instr *in,
               struct bld_err *err) MUST_CHECK;
int plan_copy(struct plan *p, struct stage *s, const struct df_instr *in,
              struct bld_err *err) MUST_CHECK;
int plan_run(struct plan *p, struct stage *s, const struct df_instr *in,
             struct bld_err *err) MUST_CHECK;
int plan_config(struct plan *p, struct stage *s, const struct df_instr *in,
                struct bld_err *err) MUST_CHECK;
int plan_arg(struct plan *p, struct stage *s, const struct df_instr *in,
             struct bld_err *err) MUST_CHECK;

/* The words of a command: exec form as it is, shell form behind SHELL. Appended to out. */
int plan_words(const struct stage *s, const struct df_cmd *cmd, struct strv *out,
               struct bld_err *err) MUST_CHECK;

/* Parse one --mount value before stages are planned: only `from`, for reachability, and the target
 * as written, for messages. */
int plan_mount_from(const char *value, char **ret_from, char **ret_target,
                    struct bld_err *err) MUST_CHECK;
/* One --mount of a RUN, the next of v's, and its input. */
int plan_mount(struct plan *p, struct stage *s, const char *value, struct vertex *v,
               struct bld_err *err) MUST_CHECK;
/* The stage's working folder. */
const char *plan_cwd(const struct stage *s);

#endif
