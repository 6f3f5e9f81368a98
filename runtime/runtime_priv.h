/* Private to runtime/: what the two sides say to each other, and the blocks a task is made of.
 * Files named child_*.c run in the keeper and its children only. docs/runtime.md has the map. */
#ifndef RUNTIME_RUNTIME_PRIV_H
#define RUNTIME_RUNTIME_PRIV_H

#include <limits.h>
#include <linux/filter.h>
#include <sys/mount.h>
#include <sys/types.h>
#include <sys/wait.h>

#include "base/base.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/sb.h"
#include "base/vec.h"
#include "runtime/runtime.h"

/* ---- the private argument and the orders ---- */

/* The number is the protocol's: a helper of another version ends at once instead of guessing. */
#define RT_ARG "--bld-keeper-2"
#define RT_CALL_MAX ((size_t)1 << 20)  /* args and answers of verbs */
#define RT_STEP_MAX ((size_t)64 << 20) /* a step with its secrets and scripts */
#define RT_FDS_MAX 128                 /* per call; SCM_RIGHTS takes 253 */
#define RT_IDS_WANTED 65536u           /* in a user namespace, for images' owners to be real */
#define RT_REMOVE_VERB "rt-remove"     /* built in: rt_remove_tree() */

enum rt_order_kind {
        ORDER_START = 1, /* fds: store. level: what to try; id: 1 to try all the others, too */
        ORDER_CALL,      /* fds: task socket, args, answer, the caller's */
        ORDER_STEP,      /* fds: task socket, args, answer, stdout, stderr */
        ORDER_KILL,      /* SIGKILL to the child of task id */
};
struct rt_order {
        uint32_t kind, level;
        uint64_t id;
};

enum rt_reply_kind { REPLY_NEED_MAPS = 1, REPLY_READY, REPLY_FAILED };
struct rt_reply {
        uint32_t kind;
        pid_t pid; /* whose maps are needed */
        struct rt_env env;
        struct rt_report reports[RT_REPORTS];
        struct bld_err err;
};
/* The engine's answer to REPLY_NEED_MAPS: they are written, or why not. */
struct rt_mapped {
        struct bld_err err;
};

/* On a task's own socket. From the keeper, once, when the child is reaped (an init is reaped after
 * its whole pid namespace is gone): */
struct rt_exit {
        int wait_status;
};
/* To init: pass a signal on. */
struct rt_signal {
        uint32_t signo; /* SIGTERM: the step's process group; SIGKILL: everything */
};

/* Head of the answer memfd. Its size is sealed before the child gets it, so a child gone wrong can
 * neither grow the engine's memory nor make a read of it fail. */
#define RT_ANSWER_MAGIC 0x626c6441u
enum rt_answer_state { ANSWER_NONE = 0, ANSWER_OK = 1, ANSWER_ERR = 2 };
struct rt_answer {
        uint32_t magic, state;
        uint64_t len; /* bytes after the head */
        struct bld_err err;
};

int rt_send(int sock, const void *p, size_t n, const int *fds, size_t nfds,
            struct bld_err *err) MUST_CHECK;
/* 1 a message of exactly n bytes, 0 end of the connection. fds are the caller's to close. */
int rt_recv(int sock, void *p, size_t n, int *fds, size_t max_fds, size_t *ret_nfds,
            struct bld_err *err);
int rt_memfd(const char *name, const void *p, size_t n, int *ret_fd,
             struct bld_err *err) MUST_CHECK;

/* A NULL after the last string, not counted: the vector as argv. */
int rt_strv_end(struct strv *a) MUST_CHECK;

/* ---- steps on the wire (wire.c) ---- */

int rt_step_encode(const struct rt_step *s, struct sb *out, struct bld_err *err) MUST_CHECK;
/* The strings point into p, which must outlive the step; the arrays are freed by done. */
int rt_step_decode(const void *p, size_t n, struct rt_step *ret, struct bld_err *err) MUST_CHECK;
void rt_step_done(struct rt_step *s);
int rt_result_encode(const struct rt_result *r, struct sb *out, struct bld_err *err) MUST_CHECK;
int rt_result_decode(const void *p, size_t n, struct rt_result *ret,
                     struct bld_err *err) MUST_CHECK;

/* ---- cgroups (cgroup.c) ---- */

/* What a memory cgroup says. */
struct rt_memory {
        uint64_t oom_kills, peak_bytes, limit_bytes;
        bool known;
};
void rt_oom_read(struct rt_memory *ret); /* of our own group, or of the machine */

/* The groups of one step: a folder per hierarchy (one for all of v2). */
#define CGROUPS_MAX 4
struct rt_cgroup {
        char name[48];
        size_t n;
        struct cgroup_dir {
                char *dir;
                int procs_fd; /* who writes "0" here is in */
                bool v2;
        } v[CGROUPS_MAX];
        const struct cgroup_dir *memory; /* NULL: none */
};
/* Make the groups that `l` wants and this machine has; none is fine. */
int rt_cgroup_enter(const struct rt_resources *l, struct rt_cgroup *ret,
                    struct bld_err *err) MUST_CHECK;
void rt_cgroup_leave(struct rt_cgroup *g); /* removes them */
void rt_cgroup_memory(const struct rt_cgroup *g, struct rt_memory *ret);
/* A bound on the number of processes below pid, where there can be one. */
void rt_cgroup_guard(pid_t pid, struct rt_cgroup *ret);

/* (cgroup_text.c) Is word one of a list's, between commas or blanks? */
bool rt_cgroup_word(const char *list, size_t n, const char *word);
/* Our group in the text of /proc/self/cgroup; controller NULL: v2. */
bool rt_cgroup_path(const char *text, const char *controller, char *out, size_t size);
/* Its folder, from the text of /proc/self/mountinfo; point: where the hierarchy is mounted. */
bool rt_cgroup_dir(const char *mountinfo, const char *self, const char *controller, bool v2,
                   char *out, size_t size, char point[PATH_MAX]);

/* ---- the engine's side ---- */

struct rt_keeper {
        pid_t pid;
        int sock;
        struct rt_env env;
        struct rt_cgroup guard;
        uint64_t next_id; /* __atomic */
        char exe[256];
};

/* A task under way, seen from the engine. */
struct rt_task {
        struct rt_keeper *k;
        uint64_t id;
        int sock, answer_fd;
};
#define RT_TASK_INIT            \
        {                       \
                NULL, 0, -1, -1 \
        }
int rt_task_start(struct rt_keeper *k, enum rt_order_kind kind, const void *args, size_t nargs,
                  const int *fds, size_t nfds, size_t answer_max, struct rt_task *ret,
                  struct bld_err *err) MUST_CHECK;
/* 1 the child is gone (*ret_status), 0 timeout or the cancel token's fd became readable. */
int rt_task_poll(struct rt_task *t, int cancel_fd, int64_t timeout_ms, int *ret_status,
                 struct bld_err *err);
void rt_task_kill(struct rt_task *t);
void rt_task_signal(struct rt_task *t, int signo);
/* The answer's bytes into out, or the child's error. */
int rt_task_answer(struct rt_task *t, int wait_status, struct sb *out,
                   struct bld_err *err) MUST_CHECK;
void rt_task_done(struct rt_task *t);

/* Write the maps of the keeper's new user namespace. UNSUPPORTED with the reason when there is no
 * range for this user or the helpers cannot gain privileges. */
int rt_idmap_write(pid_t pid, const struct cancel *cancel, struct bld_err *err) MUST_CHECK;
struct rt_range {
        uint32_t start, count;
};
VEC_DEFINE(rt_rangev, struct rt_range);
/* Ranges of a user in the text of /etc/subuid or /etc/subgid. */
int rt_subid_parse(const char *text, const char *name, uint32_t uid, struct rt_rangev *out,
                   struct bld_err *err) MUST_CHECK;

/* ---- the keeper's side ---- */

struct rt_verbs {
        const struct rt_verb *v;
        size_t n;
};

/* A seccomp program (child_seccomp.c). */
#define FILTER_MAX 4096 /* instructions, the kernel's limit */
enum filter_kind {
        FILTER_SHARED_NET,
        FILTER_OWN_NET,
        FILTER_NO_NET,
        FILTER_INSECURE,
        FILTER_KINDS
};
enum filter_kind filter_kind_of(const struct rt_env *env, const struct rt_step *s);
struct filter {
        struct sock_filter v[FILTER_MAX];
        size_t n;
};

struct rt_child {
        const struct rt_verbs *verbs;
        struct rt_env env;
        struct rt_report reports[RT_REPORTS];
        int sock; /* orders */
        int store_fd;
        int sig_fd;  /* SIGCHLD */
        int self_fd; /* pidfd of the keeper: an init sees its end even where no signal tells */
        pid_t pid;   /* of the keeper */
        struct filter filters[FILTER_KINDS]; /* made for the first step that needs one */
};

/* How many descriptors an ORDER_STEP carries before those of cgroups. */
#define STEP_FDS 5
/* Order of fds in a child, after those of the call. */
_Noreturn void rt_verb_child(struct rt_child *c, int args_fd, int answer_fd, const int *fds,
                             size_t nfds);
/* fds: task socket, args, answer, stdout, stderr, then the cgroup.procs to enter. */
_Noreturn void rt_init_child(struct rt_child *c, const int *fds, size_t nfds);

/* fork(), but without the thread that ThreadSanitizer's runtime starts in every child: a process of
 * two threads may not make a user namespace. */
pid_t rt_fork(void);

/* Die with the parent. Again after every change of credentials, which clears it. */
void rt_tie_to_parent(void);
/* Move fds to base, base+1, ... and close everything above them. fds[] gets the new numbers. */
int rt_fds_arrange(int *fds, size_t n, int base);
int rt_answer_write(int fd, int r, const struct bld_err *err, const struct sb *out);
int rt_map_args(int fd, size_t max, const void **ret, size_t *ret_n,
                struct bld_err *err) MUST_CHECK;

void rt_child_reply(const struct rt_child *c, uint32_t kind, pid_t pid, const struct bld_err *why);
/* Set c->env to the level wanted (RT_AUTO: the strongest that works). all: try the others, too, for
 * the reports. */
int rt_level_choose(struct rt_child *c, enum rt_level want, bool all, struct rt_report *reports,
                    struct bld_err *err) MUST_CHECK;
/* SIGKILL everything below this process but `spare` and what is below those; reap it. For where no
 * pid namespace does it. proc_fd: a handle of /proc. */
void rt_kill_below(int proc_fd, const pid_t *spare, size_t nspare);

/* Probes: each in a forked child of its own, with real operations in the store. */
struct rt_probe {
        bool user_xattr, shared_proc;
        char failed[48]; /* the primitive */
};
/* Namespaces, mounts, overlay, /proc: as we are, or in a user namespace of one id. */
int rt_probe_root(const struct rt_child *c, struct rt_probe *ret, struct bld_err *err) MUST_CHECK;
int rt_probe_user(const struct rt_child *c, struct rt_probe *ret, struct bld_err *err) MUST_CHECK;
int rt_probe_chroot(const struct rt_child *c, struct rt_probe *ret, struct bld_err *err) MUST_CHECK;
/* Seccomp's user notifications: a filter, a round trip, a descriptor given, memory read. */
int rt_probe_notify(const struct rt_child *c, struct rt_probe *ret, struct bld_err *err) MUST_CHECK;
/* Maps of the caller's new user namespace: its one id as root. */
int rt_map_self(uint32_t uid, uint32_t gid, struct bld_err *err) MUST_CHECK;

/* ---- blocks (children only) ---- */

struct ovl_opts {
        const char *const *lowers; /* relative to the working folder, bottom first */
        size_t nlowers;
        const char *upper, *work; /* NULL: read-only */
        bool user_xattr;
};
/* A detached overlay mount, nodev. */
int ovl_mount(const struct ovl_opts *o, int *ret_fd, struct bld_err *err) MUST_CHECK;
/* The same with mount(2) on `target`, for kernels without lowerdir+ (before 6.5). */
int ovl_mount_old(const struct ovl_opts *o, int target_fd, struct bld_err *err) MUST_CHECK;

/* Mount at `target`, by whichever way this kernel knows. */
int ovl_attach(const struct ovl_opts *o, const char *target, struct bld_err *err) MUST_CHECK;

/* A new file system instance, detached. opts: "key=value" or "key", NULL-terminated. */
int mnt_new(const char *fstype, const char *const *opts, unsigned attrs, int *ret_fd,
            struct bld_err *err) MUST_CHECK;
/* A detached copy of what path (relative to dirfd, may be "") shows. */
int mnt_clone(int dirfd, const char *path, bool recursive, int *ret_fd,
              struct bld_err *err) MUST_CHECK;
int mnt_attr(int fd, bool recursive, uint64_t set, struct bld_err *err) MUST_CHECK;
int mnt_attach(int mnt_fd, int target_fd, const char *what, struct bld_err *err) MUST_CHECK;

VEC_DEFINE(stubv, struct rt_stub);

/* The root of a step while it is put together. */
struct root {
        int fd; /* of the mounted root, in init's mount namespace */
        int upper_fd;
        char base[4096]; /* where it is mounted, as /proc/self/fd shows it */
        uint64_t mnt_id;
        struct stubv stubs;
};
void root_done(struct root *r);
int root_open(struct root *r, const char *path, struct bld_err *err) MUST_CHECK;
enum root_flags {
        ROOT_DIR = 1,
        ROOT_FILE = 2,
        ROOT_KEEP = 4,   /* the stub stays in the layer */
        ROOT_NO_STUB = 8 /* what is made is the step's own doing: part of the layer */
};
/* O_PATH handle of path inside the root, following links inside it; created when missing, and
 * recorded as a stub when that was in the upper folder. */
int root_ensure(struct root *r, const char *path, unsigned flags, int *ret_fd,
                struct bld_err *err) MUST_CHECK;
/* The same without creating: 1 found, 0 not. */
int root_find(int root_fd, const char *path, int flags, int *ret_fd, struct bld_err *err);
int root_pivot(struct root *r, struct bld_err *err) MUST_CHECK;

/* Who a step runs as. */
struct ident {
        uint32_t uid, gid;
        uint32_t *groups; /* malloc'ed */
        size_t ngroups;
        char *home; /* malloc'ed */
};
void ident_done(struct ident *id);
/* USER as written against the text of the image's passwd and group files (NULL: absent). */
int ident_resolve(const char *user, const char *passwd, const char *group, struct ident *ret,
                  struct bld_err *err) MUST_CHECK;

/* chroot: something put into the root for the time of the step. */
struct placed {
        int dir;    /* the folder it is in */
        char *leaf; /* malloc'ed */
        uint64_t ino;
        bool is_dir, made;           /* made: an empty mount point, not put there */
        char saved[32];              /* in the scratch folder: what stood there */
        char *back;                  /* where it goes again, relative to the store; NULL: away */
        int64_t before_ns, after_ns; /* the folder's time */
};
VEC_DEFINE(placedv, struct placed);

/* The process that puts a step's world together and is its pid 1. */
struct init {
        struct rt_child *c;
        struct rt_step step;
        int task_fd, answer_fd, out_fd, err_fd;
        struct root root;
        int scratch_fd;
        int store_fd; /* chroot: where what was moved from there goes back to */
        int files_fd; /* the private tmpfs: hosts, resolv.conf, secrets, an empty folder */
        int null_fd;  /* our own /dev/null, whatever RUN --mount puts over its name later */
        int proc_fd;  /* the same of /proc */
        struct ident id;
        struct strv env;
        struct placedv places;    /* chroot: to be undone, last first */
        size_t nlent;             /* chroot: of these, that go back to the store */
        bool no_nodes;            /* chroot: device nodes could not be made */
        struct sup *sup;          /* NULL: the kernel can do it all */
        int sup_sock[2];          /* init's and the step's end: the listener's way */
        int owners_fd;            /* what files of the step belong to, for the packer; or -1 */
        pid_t pid;                /* of the step */
        struct bld_err *step_err; /* shared with it until its exec */
};
/* What /dev holds at every level. */
#define DEV_NODES 6
extern const struct dev_node {
        const char *name;
        unsigned maj, min;
} dev_nodes[DEV_NODES];
/* fd, stdin, stdout, stderr in the folder `dev`. */
int dev_links(int dev, struct bld_err *err) MUST_CHECK;

/* Mounts of every step (child_sysmounts.c) and those of RUN --mount (child_mounts.c). */
int sys_mounts(struct init *in, struct bld_err *err) MUST_CHECK;
int sys_masks(struct init *in, struct bld_err *err) MUST_CHECK;
int files_mount(struct init *in, struct bld_err *err) MUST_CHECK;
int file_binds(struct init *in, struct bld_err *err) MUST_CHECK;
int run_mounts(struct init *in, struct bld_err *err) MUST_CHECK;
/* The same for chroot (child_tree.c). */
int tree_open(struct init *in, struct bld_err *err) MUST_CHECK;
int tree_mounts(struct init *in, struct bld_err *err) MUST_CHECK;
int tree_mount(struct init *in, const struct rt_mount *m, int source_fd, size_t i,
               struct bld_err *err) MUST_CHECK;
/* Move `from` to target (made when missing); back: and back again at the end, else away. */
int tree_place(struct init *in, int from_dir, const char *from, const char *target, bool back,
               struct bld_err *err) MUST_CHECK;
int tree_undo(struct init *in, struct bld_err *err) MUST_CHECK;
int tree_enter(const struct init *in, struct bld_err *err) MUST_CHECK;
/* Put a file into the private tmpfs. */
int files_put(struct init *in, const char *name, const void *p, size_t n, unsigned mode,
              struct bld_err *err) MUST_CHECK;
/* Show a file or folder of the private tmpfs at target (made when missing). */
int files_bind(struct init *in, const char *name, const char *target, uint64_t attrs,
               struct bld_err *err) MUST_CHECK;

/* In the step's process: become the user, drop everything, exec. Errors before the exec go to
 * step_err. */
_Noreturn void step_exec(struct init *in);

/* ---- the supervisor (sup.c; sup_priv.h has its inside) ---- */

enum sup_module {
        SUP_OWN = 1,      /* owners, device nodes */
        SUP_CRED = 2,     /* ids of processes, set-uid programs */
        SUP_CREATE = 4,   /* new files of others than root */
        SUP_STAT = 8,     /* owners and devices shown */
        SUP_VPROC = 32,   /* /proc, /sys, /dev/fd in a chroot */
        SUP_KILL = 64,    /* signals only to the step's own processes */
        SUP_BEYOND = 128, /* owners and device nodes a user namespace cannot have */
        SUP_MOVE = 16,    /* links and pipes whose noted owner an overlay's copy-up would lose */
};

struct sup;
/* modules: of the above. shared: the pid namespace is not the step's own. /proc, the upper folder:
 * borrowed. id: who the step is. */
int sup_new(unsigned modules, bool shared, int proc_fd, int upper_fd, const struct ident *id,
            struct sup **ret, struct bld_err *err) MUST_CHECK;
/* chroot: where the root is, what the host is called, whether /dev lacks its nodes. All borrowed.
 */
int sup_in_chroot(struct sup *s, const char *root_path, const char *hostname, bool no_nodes,
                  struct bld_err *err) MUST_CHECK;
void sup_free(struct sup *s);
/* In the step, before it gives up what that takes: its calls are trapped from here on. */
int sup_install(const struct sup *s, int *ret_listener, struct bld_err *err) MUST_CHECK;
/* In init: what the step's sup_install() made; taken. Makes /proc the working folder. */
void sup_listen(struct sup *s, int listener);
void sup_serve(struct sup *s);                 /* one notification, which poll(2) has announced */
int sup_probe(struct bld_err *err) MUST_CHECK; /* does all that work here? */
struct owner_table;
struct owner_table *sup_owners(struct sup *s); /* to be filled before the step starts */
int sup_write_owners(const struct sup *s, int fd, struct bld_err *err) MUST_CHECK;

/* Capabilities. */
#define CAPS_STEP_COUNT 14
uint64_t caps_step(void); /* the default set as bits */
int caps_limit(uint64_t keep, bool bounding, struct bld_err *err) MUST_CHECK;
uint64_t caps_current(void); /* the effective set */

/* Landlock: nothing but the tree of root_fd. Does nothing where the kernel has no Landlock. */
int landlock_tree(int root_fd, struct bld_err *err) MUST_CHECK;
/* For a step in a chroot: nothing but the tree, and what landlock_scopes() does. */
int landlock_root(int root_fd, struct bld_err *err) MUST_CHECK;
bool landlock_there(void);
/* No abstract sockets, no signals to outside (since 6.12). fence: also no tracing of what is
 * outside, and /proc/PID/root and the like, which a domain of any kind gives (since 5.19). */
int landlock_scopes(bool fence, struct bld_err *err) MUST_CHECK;
bool landlock_fences(void);  /* can it keep steps of one pid namespace apart? */
bool landlock_signals(void); /* can it keep them from signalling each other? */

int filter_compile(enum filter_kind kind, struct filter *ret, struct bld_err *err) MUST_CHECK;
int filter_load(const struct filter *f, struct bld_err *err) MUST_CHECK;

#endif
