/* The session behind `struct bld`: the store, and what is made when it is first needed. */
#ifndef LIB_SESSION_PRIV_H
#define LIB_SESSION_PRIV_H

#include <pthread.h>

#include "base/base.h"
#include "base/cancel.h"
#include "base/json.h"
#include "base/sb.h"
#include "base/vec.h"
#include "bld/bld.h"
#include "builder/builder.h"
#include "cas/cas.h"
#include "lib/opts_priv.h"

struct reg_client;

#define LIB_JSON_MAX ((size_t)256 << 20)

struct bld {
        struct cas *cas;
        struct cancel cancel;
        struct bd_ctx ctx;
        char *helper, *authfile, *creds, *cert_dir;
        struct strv insecure, cas_files, client_certs, helpers, mirrors;
        char *tmp_path; /* of a temporary session: its store, locked */
        int tmp_fd;
        struct bld_opts o;        /* its pointers lead to the copies above */
        pthread_mutex_t reg_lock; /* guards the three */
        struct reg_client *reg, *cache_reg;
        struct reg_client *reg_src; /* reads, while reg writes: copies between registries */
        pthread_mutex_t note_lock;  /* serialises o.note */
};

/* ---- session_tmp.c ---- */

int lib_session_tmp(struct bld *b, struct bld_err *err) MUST_CHECK;
void lib_session_tmp_done(struct bld *b);

/* A registry client with the session's options; creds "user:password" instead of its own, or NULL.
 */
int lib_client_new(struct bld *b, const char *creds, struct reg_client **ret,
                   struct bld_err *err) MUST_CHECK;
/* The client at *at, made when it is first asked for; it ends when the token is fired. */
int lib_client_once(struct bld *b, const struct cancel *cancel, struct reg_client **at,
                    struct reg_client **ret, struct bld_err *err) MUST_CHECK;
/* user: the session. */
void lib_session_note(void *user, const char *text);
/* A document as the text a call returns. */
int lib_json_text(const struct js *j, char **ret, struct bld_err *err) MUST_CHECK;
/* NULL or "": this machine's. */
int lib_platform(const char *s, struct img_platform *ret, struct bld_err *err) MUST_CHECK;

/* A progress callback of the public form, one call at a time. */
struct lib_progress {
        bld_progress_fn fn;
        void *user;
};
void lib_progress_step(void *user, const char *what, uint64_t done, uint64_t total);

#endif
