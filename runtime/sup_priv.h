/* The supervisor: system calls of a step that init answers in the kernel's place, through seccomp's
 * user notifications. Each sup_*.c is one emulation: a table of calls with their handlers.
 *
 * A handler sees arguments that live in the memory of a step, which may change them under its eyes.
 * So it copies what it reads, acts on handles it opened itself, and what it lets through
 * (SUP_CONTINUE) must be harmless whatever the arguments become. docs/runtime.md says for each
 * level what is a wall and what is only a likeness. */
#ifndef RUNTIME_SUP_PRIV_H
#define RUNTIME_SUP_PRIV_H

#include <linux/seccomp.h>

#include "base/owner.h"
#include "runtime/runtime_priv.h"

/* Beside values (>= 0) and -errno: let the kernel go on with the call; answered already. */
#define SUP_CONTINUE INT64_MIN
#define SUP_SENT (INT64_MIN + 1)

struct sup_req;
/* One system call. Places of arguments count from 1; 0: it has no such. */
struct sup_rule {
        const char *call; /* as libseccomp names it */
        unsigned module;
        int64_t (*handle)(struct sup *s, struct sup_req *q);
        uint8_t dir;    /* a descriptor: of a folder, or without `path` of what is meant itself */
        uint8_t path;   /* the name */
        uint8_t flags;  /* AT_* */
        uint8_t val;    /* the first of what the call is about: ids, mode, buffer */
        bool nofollow;  /* links, without being told so */
        bool short_ids; /* on 32-bit machines an old form: ids of 16 bits, another layout */
        uint8_t what, which; /* sup_cred.c: users or groups; which of their ids */
        /* Trapped only when this argument has a bit of `test` (or the next one has, `test_two`),
         * or has none of `pass`; 0: always. */
        uint8_t test_arg, pass_arg;
        bool test_two;
        uint32_t test, pass;
};
struct sup_rules {
        const struct sup_rule *v;
        size_t n;
};
extern const struct sup_rules sup_own_rules, sup_cred_rules, sup_create_rules, sup_stat_rules,
        sup_vproc_rules, sup_kill_rules, sup_beyond_rules;

/* A number of one architecture that is trapped. */
struct sup_trap {
        uint32_t arch, nr;
        const struct sup_rule *rule;
};
VEC_DEFINE(sup_traps, struct sup_trap);

struct sup_req {
        const struct sup *s;
        const struct sup_rule *rule;
        uint64_t id;
        pid_t tid;
        bool compat;   /* a 32-bit program */
        uint64_t a[7]; /* from 1 */
};

/* Ids of a task as the image knows them. */
struct sup_cred {
        uint32_t uid[4], gid[4]; /* real, effective, saved, file system's */
        uint32_t *groups;
        size_t ngroups;
};
enum sup_id { ID_REAL, ID_EFFECTIVE, ID_SAVED, ID_FS };
VEC_DEFINE(sup_creds, struct sup_cred);

struct sup {
        unsigned modules;
        uint32_t native; /* our architecture's token */
        int listener;
        bool shared;  /* others than the step's own have numbers in this pid namespace */
        int upper_fd; /* where what changes goes; or -1 */
        int proc_fd;  /* /proc of the step's pid namespace, whatever the step sees there */
        struct sup_traps traps;
        struct filter filter;
        struct owner_table owners; /* of the layers below and of this step */
        struct owner_table fresh;  /* of this step alone */
        struct sup_creds creds;    /* each set of ids once; the first is the step's own */
        const char *root_path;     /* chroot: where the step's root is in our eyes */
        const char *hostname;      /* chroot: what uname(2) tells */
        int place_fd;              /* chroot: /proc of the step's root, ours to fill; or -1 */
        char *views[256];          /* chroot: what the folders ".vN" in it stand for */
        size_t next_view;
        int sys_fd;                /* chroot: our /sys; or -1 */
        bool no_nodes;             /* chroot: /dev/null and its like are to be served */
        bool chrooted;             /* somebody may have another root than ours */
        struct seccomp_notif *req; /* of the size the kernel wants */
        struct seccomp_notif_resp *resp;
        size_t req_size, resp_size;
};

/* ---- sup.c ---- */

int sup_copy_in(const struct sup_req *q, uint64_t addr, void *p, size_t n);        /* 0, -errno */
int sup_copy_out(const struct sup_req *q, uint64_t addr, const void *p, size_t n); /* 0, -errno */
int sup_copy_str(const struct sup_req *q, uint64_t addr, char *p, size_t size);    /* 0, -errno */
/* Is the task still waiting for this answer? Only then is what was read of it its own. */
bool sup_valid(const struct sup *s, const struct sup_req *q);
/* Give the task a copy of fd as the call's value. */
int64_t sup_send_fd(struct sup *s, const struct sup_req *q, int fd, bool cloexec);
/* Open a file of /proc about the task. */
int sup_proc_open(const struct sup *s, pid_t tid, const char *name, int flags);

/* Ids of a task for files; false when it is gone. */
bool sup_ids(const struct sup *s, pid_t tid, uint32_t *ret_uid, uint32_t *ret_gid);
/* Is the process one of the step's? (sup_kill.c) */
bool sup_is_ours(const struct sup *s, pid_t pid);
/* st into the task's memory, in its layout. (sup_stat.c) */
int64_t sup_put_stat(const struct sup_req *q, uint64_t addr, const struct stat *st);

/* ---- sup_filter.c ---- */

int sup_compile(struct sup *s, struct bld_err *err) MUST_CHECK;

/* ---- sup_path.c: all give 0 and a handle (O_PATH), or -errno ---- */

#define SUP_MAGIC (-ELOOP) /* the name leads through a link like /proc/self/fd/1: to no file */
int sup_target(struct sup *s, const struct sup_req *q, int *ret_fd);
/* The folder of the name and its last part, which is "" where that is no name ("/", ".."). */
int sup_parent(struct sup *s, const struct sup_req *q, int *ret_fd, char leaf[256]);
int sup_at(struct sup *s, const struct sup_req *q, int dirfd, const char *path, bool nofollow,
           int *ret_fd);

/* ---- sup_own.c ---- */

/* Who a file is said to belong to. 1 noted, 0 not (then it is root's). */
int sup_owner(const struct sup *s, int fd, const struct stat *st, struct owner *ret);
int sup_note(struct sup *s, int fd, const struct owner *o);                     /* 0, -errno */
struct owner sup_new_node(const struct sup_req *q, uint32_t uid, uint32_t gid); /* of mknod(2) */

/* ---- sup_create.c ---- */

unsigned sup_umask(const struct sup *s, const struct sup_req *q);
int64_t sup_make_plain(struct sup *s, struct sup_req *q); /* mknod of what is no device */

/* ---- sup_cred.c ---- */

#define SUP_SLACK ((size_t)50000) /* timer slack of a task with the first set of ids, ns */

const struct sup_cred *sup_cred_of(struct sup *s, pid_t tid);
int sup_cred_first(struct sup *s, const struct ident *id) MUST_CHECK; /* 0 or NOMEM */

#endif
