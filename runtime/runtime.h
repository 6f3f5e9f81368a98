/* The sandbox: isolation levels, the keeper process, steps. docs/runtime.md tells the whole story.
 *
 * One keeper per build: bld re-executed, single-threaded, holding the build's user namespace. It
 * forks a child per task. A task is a verb (given by the embedding program: unpack, pack, ...) or a
 * step (RUN). Everything below it dies with it, and it dies with the engine.
 * Threads: rt_task calls are MT-Safe on one keeper; the rest as said. */
#ifndef RUNTIME_RUNTIME_H
#define RUNTIME_RUNTIME_H

#include <sys/types.h>

#include "base/base.h"
#include "base/cancel.h"
#include "base/vec.h"

/* ---- levels ---- */

enum rt_level { RT_AUTO, RT_ROOT, RT_USERNS, RT_SOLO, RT_CHROOT, RT_VROOT, RT_NONE };
const char *rt_level_name(enum rt_level l);
int rt_level_parse(const char *s, enum rt_level *ret, struct bld_err *err) MUST_CHECK;

struct rt_env {
        enum rt_level level;
        bool shared_proc; /* the "p" variant */
        bool user_xattr;  /* overlay needs user.overlay.* (inside a user namespace) */
        bool native;      /* no overlay: a step changes the whole tree "<scratch>/fs" in place */
        bool bare; /* without the supervisor: in a chroot no /proc, in a namespace no device nodes
                    */
        char view[80]; /* name of the snapshots' view: "root", "map-<16 hex>", "solo-<uid>", "tree"
                        */
        char why[512]; /* one line: what was chosen and why not a stronger one */
};

/* What the probe of one level said, as data. */
struct rt_report {
        enum rt_level level;
        bool tried, ok, shared_proc;
        int sys;                            /* errno, or 0 */
        char failed[48];                    /* the primitive: "unshare(CLONE_NEWUSER)" */
        char what[160], why[200], fix[200]; /* sentences; fix: the smallest change that helps */
};
#define RT_REPORTS 4 /* root, userns, solo, chroot, in this order */

/* ---- the engine's side ---- */

struct rt_keeper_opts {
        int store_fd;        /* root folder of the store: the keeper's children work below it */
        enum rt_level level; /* wanted; RT_AUTO picks the strongest that works */
        const char *helper;  /* bld binary to execute; NULL: /proc/self/exe */
        const struct cancel *cancel;
        bool probe_all;        /* try every level, for the reports, whichever is taken */
        struct rt_report *ret; /* RT_REPORTS of them, also when the start fails; or NULL */
};
struct rt_keeper;
/* Start, probe, set the user namespace up. Must be called from the thread that outlives the build
 * (the keeper dies with the *thread* that made it). UNSUPPORTED with the messages of
 * docs/runtime.md when the level wanted does not work. */
int rt_keeper_start(const struct rt_keeper_opts *o, struct rt_keeper **ret,
                    struct bld_err *err) MUST_CHECK;
const struct rt_env *rt_keeper_env(const struct rt_keeper *k);
void rt_keeper_stop(struct rt_keeper *k); /* kills all below it, waits; NULL is fine */

/* Run one of the program's verbs in a forked child of the keeper. args: opaque bytes (at most
 * 1 MiB), fds are duplicated into the child as 3, 4, ... Blocks until done, the answer (at most
 * 1 MiB) appended to `out`. The child's error record comes back in err. Cancel kills it. */
struct sb;
int rt_call(struct rt_keeper *k, const char *verb, const void *args, size_t nargs, const int *fds,
            size_t nfds, const struct cancel *cancel, struct sb *out,
            struct bld_err *err) MUST_CHECK;

/* ---- verbs: the program's own code in the keeper's children ---- */

struct rt_verb_ctx {
        const void *args;
        size_t nargs;
        const int *fds;
        size_t nfds;
        int store_fd;
        const struct rt_env *env;
        struct sb *out; /* answer */
};
struct rt_verb {
        const char *name;
        int (*run)(struct rt_verb_ctx *ctx, struct bld_err *err);
};
/* First call in main(): returns at once without the private argument; with it, this process is a
 * keeper and the call never returns. */
void rt_child_main(int argc, char **argv, const struct rt_verb *verbs, size_t nverbs);

/* ---- steps ---- */

/* RT_SOLO: the table of base/owner.h that belongs to a tree, beside it ("fs", "upper"). */
#define RT_OWNERS "owners"

enum rt_network { RT_NET_DEFAULT, RT_NET_NONE, RT_NET_HOST };
enum rt_mount_kind { RT_MOUNT_BIND, RT_MOUNT_CACHE, RT_MOUNT_TMPFS, RT_MOUNT_FILE };

struct rt_mount {
        enum rt_mount_kind kind;
        const char *target;   /* absolute, inside the root; resolved inside it */
        const char *source;   /* BIND, CACHE: folder relative to the store */
        const char *selector; /* path below source that is mounted, or NULL */
        bool readonly;
        uint64_t size_bytes; /* TMPFS, 0: no limit */
        const void *data;    /* FILE (secrets, heredoc scripts): content, on a private tmpfs */
        size_t data_len;
        unsigned mode;
        uint32_t uid, gid;
        bool is_dir; /* FILE: data is a single file `selector` in a folder mounted at target */
        /* BIND of a chain of snapshots instead of `source` (bottom first), for --mount=from=stage.
         * A BIND that is not readonly never writes to its source: what is written is thrown away.
         */
        const char *const *lowers;
        size_t nlowers;
};

struct rt_host {
        const char *name, *ip;
};

/* As setrlimit(2); RLIM_INFINITY: none. */
struct rt_limit {
        const char *name; /* for messages */
        int resource;
        uint64_t soft, hard;
};

/* What a cgroup bounds for each step; 0 and NULL: no limit. */
struct rt_resources {
        uint64_t memory_bytes;
        int64_t memory_swap_bytes; /* memory and swap together; -1: no limit */
        uint64_t cpu_shares, cpu_period_us, cpu_quota_us, pids;
        const char *cpuset_cpus, *cpuset_mems; /* "0-3,7" */
        const char *parent; /* group to make them in: absolute, or below our own */
};
/* Can all of them be had here? Otherwise what is missing, as text. */
bool rt_resources_check(const struct rt_resources *l, char *why, size_t size);

struct rt_step {
        const char *const *lowers; /* snapshot folders ("snapshots/v/id/fs"), bottom first */
        size_t nlowers;
        const char *scratch;     /* folder relative to the store; upper/ and work/ are made in it */
        const char *const *argv; /* NULL-terminated */
        const char *const *envp; /* NULL-terminated; PATH and HOME are added when missing */
        const char *cwd;         /* absolute; created when missing */
        const char *user;        /* USER as written, "" or NULL: root */
        const char *hostname;    /* NULL: "buildkitsandbox" */
        enum rt_network network;
        bool insecure; /* --security=insecure, already allowed by the caller */
        const struct rt_mount *mounts;
        size_t nmounts;
        const struct rt_host *hosts;
        size_t nhosts;
        const struct rt_limit *limits; /* of the step's processes, beside the usual ones */
        size_t nlimits;
        const char *resolv_conf;              /* content, or NULL: the host's */
        bool no_hosts;                        /* the image's own /etc/hosts */
        uint64_t shm_bytes;                   /* 0: 64 MiB */
        int64_t timeout_ms;                   /* 0: none */
        const struct rt_resources *resources; /* NULL: no limits; what cannot be had is left out */
};

/* A mount point bld made in the upper folder (layer/ drops it from the diff). */
struct rt_stub {
        char *path; /* relative to the root */
        uint64_t ino;
        bool is_dir, keep;
        int64_t parent_mtime_ns;
};
struct rt_result {
        int wait_status; /* of the step's main process, as wait(2) */
        bool oom, timed_out;
        uint64_t user_us, system_us, max_rss_bytes;
        uint64_t memory_peak_bytes, memory_limit_bytes; /* of its cgroup, 0: it had none */
        struct rt_stub *stubs;
        size_t nstubs;
};
void rt_result_done(struct rt_result *r);

/* Run a step to its end. out_fd/err_fd: where its stdout and stderr go (borrowed). Errors are
 * those of setting up (a failing step is a result, not an error): INVALID for a user or command
 * that does not exist is a result too where sh would say 126/127. First cancel level: SIGTERM, 10
 * s, SIGKILL; second: at once; then CANCELLED. */
int rt_step_run(struct rt_keeper *k, const struct rt_step *s, int out_fd, int err_fd,
                const struct cancel *cancel, struct rt_result *ret, struct bld_err *err) MUST_CHECK;

/* Remove trees whose files belong to mapped ids; relative to the store. */
int rt_remove_tree(struct rt_keeper *k, const char *relpath, struct bld_err *err) MUST_CHECK;

#endif
