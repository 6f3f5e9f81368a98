/* What all headers share: results, lists, callbacks; and the session. docs/library.md is the guide.
 *
 * Ownership: whatever a call returns through a pointer is freed by the function its comment names.
 * Structs that the caller allocates, for options and for results, begin with `size`, which it sets
 * to sizeof the struct: they grow at their end. Members a caller is too old to know are zero, which
 * always means "as before"; a member set that this library is too old to know is UNSUPPORTED; a
 * size that is not set is USAGE, a value of an enum that it does not know UNSUPPORTED. Options may
 * be NULL: all zero. What the library allocates grows at its end, too. struct bld_err, bld_list,
 * bld_place and bld_layer_xattr never change. Results (`ret` parameters) are set on success only,
 * unless a call says otherwise. Threads: one session may be used from several threads unless a call
 * says otherwise. The library installs no signal handler and prints nothing. */
#ifndef BLD_SESSION_H
#define BLD_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bld/err.h"

#ifdef __cplusplus
extern "C" {
#endif

#define BLD_API __attribute__((visibility("default")))

BLD_API const char *bld_version(void);

/* First call in main() of a program that builds: bld runs its own program again as the keeper of
 * sandboxes. Without bld's private argument it returns at once. */
BLD_API void bld_child_main(int argc, char **argv);

/* Room for the text of a digest, "sha256:...", and its NUL. */
#define BLD_DIGEST_SIZE 160

/* A growing list of strings given by the caller; not copied. */
struct bld_list {
        const char *const *v;
        size_t n;
};

/* Progress of a transfer; from any thread, one at a time for one call and for all that is read of
 * one image. Calls and images that share a struct bld_watch may tell it at once. */
typedef void (*bld_progress_fn)(void *user, const char *what, uint64_t done, uint64_t total);

/* What a long call tells while it works, and how it is told to end. May be NULL wherever one is
 * taken; borrowed for the call (or, by what is opened with it, until that is closed). */
struct bld_watch {
        size_t size;
        bld_progress_fn progress; /* what: a digest or a name; bytes, total 0 when not known */
        /* Asked often, from any thread, perhaps several at once: true ends the call with CANCELLED.
         */
        bool (*stop)(void *user);
        void *user;
};

/* Bytes from the caller and to it. */
struct bld_input {
        size_t size;
        int fd; /* read from its position on when read is NULL; a pipe will do; stays the caller's
                 */
        /* Up to n bytes into p: > 0 that many, 0 the end, negative an errno. */
        int64_t (*read)(void *user, void *p, size_t n);
        void *user;
};
struct bld_output {
        size_t size;
        int fd; /* written to when write is NULL; stays the caller's */
        /* All of it: 0, or an errno. In order, one call at a time; perhaps from a thread of the
         * library's. */
        int (*write)(void *user, const void *p, size_t n);
        void *user;
};

/* ---- session ---- */

struct bld_opts {
        size_t size;
        const char *root;         /* the store; NULL: $BLD_ROOT, else the default for this user */
        const char *helper;       /* installed bld to run as keeper; NULL: this very program */
        const char *authfile;     /* credentials; NULL: the usual places */
        const char *creds;        /* "user:password" */
        struct bld_list insecure; /* hosts allowed plain HTTP; loopback always is */
        struct bld_list cas;      /* "HOST=FILE" */
        bool no_tls_verify;
        bool offline;
        bool no_retry;
        unsigned retries;  /* 0: 4 */
        unsigned parallel; /* blob transfers per registry host; 0: 6 */
        int64_t retry_max_ms;
        /* One line for people: retries, warnings. From any thread, one at a time. */
        void (*note)(void *user, const char *text);
        void *user;
        struct bld_list client_certs; /* "HOST=CRT,KEY" */
        const char *cert_dir;         /* *.crt, *.cert and *.key for the registries; or NULL */
        struct bld_list credential_helpers; /* NAME of docker-credential-NAME; env, gitlab */
        /* "SRC=DST": pulls from SRC (HOST[/PATH]) ask DST ([SCHEME://]HOST[/PATH]) first. */
        struct bld_list mirrors;
        bool mirror_only;    /* SRC itself is not asked where it has a mirror */
        uint64_t limit_rate; /* bytes per second of blobs, all transfers together; 0: no limit */
        /* A store of this session's own, below $TMPDIR, gone with it: for programs that read images
         * and keep none. root is not looked at. */
        bool temporary;
};

struct bld;
BLD_API int bld_open(const struct bld_opts *o, struct bld **ret, struct bld_err *err);
BLD_API void bld_close(struct bld *b); /* NULL is fine */
/* Ask everything this session does to end: level 1 politely, 2 at once. Async-signal-unsafe; from
 * any thread. */
BLD_API void bld_cancel(struct bld *b, int level);
BLD_API const char *bld_root(const struct bld *b);

/* Result texts of the calls below: malloc'ed, NUL-terminated. */
BLD_API void bld_free(void *p);

#ifdef __cplusplus
}
#endif

#endif
