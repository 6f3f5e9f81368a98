/* The distribution protocol, client side (OCI distribution-spec 1.1). One engine thread drives all
 * transfers through one curl multi handle as small state machines; the calls below block the
 * calling thread only. libcurl is opened at the first request. Hands out streams, knows no store.
 * Threads: MT-Safe. */
#ifndef REGISTRY_REGISTRY_H
#define REGISTRY_REGISTRY_H

#include <sys/types.h>

#include <stdatomic.h>

#include "base/base.h"
#include "base/cancel.h"
#include "base/digest.h"
#include "base/sb.h"
#include "base/vec.h"
#include "image/image.h"

struct reg_opts {
        const char *authfile;        /* NULL: the usual places */
        const char *creds;           /* "user:password" or NULL */
        const struct strv *insecure; /* hosts allowed plain HTTP; loopback always is */
        const struct strv *cas;      /* "HOST=FILE" trust anchors */
        bool no_tls_verify;
        bool offline;     /* every request fails at once, NETWORK */
        unsigned retries; /* after the first attempt; 4 when 0 and !no_retry */
        bool no_retry;
        unsigned retries_unanswered; /* of them where nobody answers at all; 0: as many */
        int64_t retry_max_ms;        /* 0: 10 minutes */
        unsigned parallel;           /* blob transfers per host; 0: 6 */
        const struct cancel *cancel; /* borrowed; aborts everything */
        /* One line per retry or warning, sanitised. From the engine thread. */
        void (*note)(void *user, const char *text);
        void *user;
        /* "SRC=DST": what is pulled from SRC (a host or host/path) is asked of DST first, which may
         * have a path prefix and a scheme. Pushes go to the origin. */
        const struct strv *mirrors;
        bool mirror_only;                /* where SRC has a mirror, it is not asked itself */
        const struct strv *client_certs; /* "HOST=CRT,KEY" */
        const char *cert_dir;       /* trust anchors and a client pair for registries, or NULL */
        const struct strv *helpers; /* asked for credentials before the environment and files */
        uint64_t limit_rate;        /* bytes of blobs per second in all; 0: no limit */
};

struct reg_client;
int reg_client_new(const struct reg_opts *o, struct reg_client **ret,
                   struct bld_err *err) MUST_CHECK;
void reg_client_free(struct reg_client *c); /* joins the engine thread */
DEFINE_AUTO_PTR(struct reg_client, reg_client_free);

/* Bytes of a blob as they arrive, in order, from the calling thread's point of view. A retry
 * resumes; when it must restart, `rewind` is called first (sink: forget everything so far). */
struct reg_sink {
        int (*write)(void *user, const void *p, size_t n, struct bld_err *err);
        int (*rewind)(void *user, struct bld_err *err);
        /* progress, may be NULL: bytes so far */
        void (*progress)(void *user, uint64_t done, uint64_t total);
        void *user;
        /* NULL, or what ends the download with CANCELLED, even one that gets no bytes; looked at
         * every few hundredths of a second. */
        const atomic_bool *stop;
};
/* A blob to send: readable from any offset, any number of times. */
struct reg_source {
        ssize_t (*pread)(void *user, void *p, size_t n, uint64_t off, struct bld_err *err);
        void (*progress)(void *user, uint64_t done, uint64_t total);
        void *user;
};

/* Only ref->domain and ref->path name the repository in the blob calls; tag or digest are used
 * where a manifest is named (digest wins). */

/* Resolve to a descriptor by HEAD (GET where HEAD is no good). 1 found, 0 not there. */
int reg_manifest_head(struct reg_client *c, const struct img_ref *ref, struct img_desc *ret,
                      struct bld_err *err);
/* Document, its type and digest; verified when ref has a digest. NOT_FOUND. */
int reg_manifest_get(struct reg_client *c, const struct img_ref *ref, struct sb *out,
                     struct img_desc *ret, struct bld_err *err) MUST_CHECK;
/* The same for an entry of an index just read: where it is missing, the registry's replicas may lag
 * behind, and it is asked for again. */
int reg_manifest_get_listed(struct reg_client *c, const struct img_ref *ref, struct sb *out,
                            struct img_desc *ret, struct bld_err *err) MUST_CHECK;
/* Exact bytes under tag or digest of ref. A manifest with a subject is entered among its referrers
 * where the registry does not do so. */
int reg_manifest_put(struct reg_client *c, const struct img_ref *ref, const char *media_type,
                     const void *p, size_t n, struct bld_err *err) MUST_CHECK;

/* The same; blobs the registry refuses it for, because it lacks them, are added to `missing`. */
int reg_manifest_put_missing(struct reg_client *c, const struct img_ref *ref,
                             const char *media_type, const void *p, size_t n, struct strv *missing,
                             struct bld_err *err) MUST_CHECK;

/* 1 there with that size, 0 not. */
int reg_blob_head(struct reg_client *c, const struct img_ref *ref, const struct img_desc *desc,
                  struct bld_err *err);
/* 1 there, *ret_size set; 0 not. */
int reg_blob_size(struct reg_client *c, const struct img_ref *ref, const struct digest *d,
                  uint64_t *ret_size, struct bld_err *err);
/* Size and digest are enforced while streaming: the sink's bytes are good once this returns 0. */
int reg_blob_get(struct reg_client *c, const struct img_ref *ref, const struct img_desc *desc,
                 const struct reg_sink *sink, struct bld_err *err) MUST_CHECK;

/* The same from byte `from` on, unverified. Where that cannot be had, all of it comes from the
 * start, after a rewind, and is verified. */
int reg_blob_get_from(struct reg_client *c, const struct img_ref *ref, const struct img_desc *desc,
                      uint64_t from, const struct reg_sink *sink, struct bld_err *err) MUST_CHECK;

enum reg_put_how { REG_PUT_UPLOADED, REG_PUT_PRESENT, REG_PUT_MOUNTED };
/* Make the blob present: mount from `from` (a repository path on the same host, or NULL), else
 * check, else upload. */
int reg_blob_put(struct reg_client *c, const struct img_ref *ref, const struct img_desc *desc,
                 const struct reg_source *src, const char *from, enum reg_put_how *ret_how,
                 struct bld_err *err) MUST_CHECK;

/* Would the repository take a blob from us? An upload is opened and given up at once. DENIED. */
int reg_push_check(struct reg_client *c, const struct img_ref *ref, struct bld_err *err) MUST_CHECK;

/* Send it although the registry may say that it has it. */
int reg_blob_put_anew(struct reg_client *c, const struct img_ref *ref, const struct img_desc *desc,
                      const struct reg_source *src, struct bld_err *err) MUST_CHECK;

int reg_tags(struct reg_client *c, const struct img_ref *repo, struct strv *out,
             struct bld_err *err) MUST_CHECK;

/* Names of all repositories of a host ("host[:port]"); many services refuse. */
int reg_catalog(struct reg_client *c, const char *host, struct strv *out,
                struct bld_err *err) MUST_CHECK;

/* Delete the manifest under the tag or digest of ref. NOT_FOUND; UNSUPPORTED when the registry
 * does not delete, or not by tag. */
int reg_manifest_delete(struct reg_client *c, const struct img_ref *ref,
                        struct bld_err *err) MUST_CHECK;

/* Append the descriptors of manifests whose subject is ref's digest, by the referrers API or the
 * fallback tag; artifact_type NULL: of every type. */
int reg_referrers(struct reg_client *c, const struct img_ref *ref, const char *artifact_type,
                  struct img_descs *out, struct bld_err *err) MUST_CHECK;

/* What a name without a registry stands for by the aliases of registries.conf ("host/path"): 1, or
 * 0 where there is none. Caller frees. */
int reg_short_name(struct reg_client *c, const char *name, char **ret, struct bld_err *err);

/* Does the host accept the credentials found for it? 1 yes, 0 it asks for none; DENIED. */
int reg_login_check(struct reg_client *c, const char *host, struct bld_err *err);

/* Where credentials for a repository are looked for, in order, a line per place and what it says;
 * no secrets. Asks credential helpers. */
int reg_creds_explain(struct reg_client *c, const struct img_ref *ref, struct sb *out,
                      struct bld_err *err) MUST_CHECK;

/* Which credentials would be used for a repository (path "": the host): 1 and the user's name, 0
 * none. *ret_user is "" for a token; ret_source says where they are from. Never the secret. */
int reg_login_user(struct reg_client *c, const char *host, const char *path, char **ret_user,
                   char **ret_source, struct bld_err *err);
/* ---- the file that holds credentials (no client needed) ---- */

/* Which one login writes: this one, $REGISTRY_AUTH_FILE, $DOCKER_CONFIG/config.json or
 * ~/.docker/config.json. Malloc'ed. */
int reg_login_file(const char *authfile, char **ret, struct bld_err *err) MUST_CHECK;
/* Keep credentials of "host" or "host/path": with the helper the file names for the host, else in
 * the file (mode 0600, replaced as a whole, everything else in it kept). *ret_where: the helper or
 * the file, malloc'ed. */
int reg_login_save(const char *file, const char *key, const char *user, const char *pass,
                   const struct cancel *cancel, char **ret_where, struct bld_err *err) MUST_CHECK;
/* Forget them; key NULL: all of the file. Names of what was forgotten are appended. */
int reg_logout(const char *file, const char *key, const struct cancel *cancel, struct strv *out,
               struct bld_err *err) MUST_CHECK;

/* A plain download over http or https: no registry, no registry's credentials. */
struct reg_http {
        const char *url;
        const char *authorization;        /* whole header value for the URL's own origin, or NULL */
        const char *etag, *last_modified; /* of the copy at hand, or NULL */
        uint64_t max_bytes;
};
struct reg_http_res {
        bool not_modified; /* the copy at hand is still good; the sink got nothing */
        char *etag, *last_modified;
};
/* Follows redirects, retries, honours proxies. NOT_FOUND, NETWORK, LIMIT. */
int reg_http_get(struct reg_client *c, const struct reg_http *o, const struct reg_sink *sink,
                 struct reg_http_res *ret, struct bld_err *err) MUST_CHECK;
void reg_http_res_done(struct reg_http_res *r);

/* Number of HTTP requests sent so far, and whether curl was loaded at all. */
uint64_t reg_request_count(const struct reg_client *c);

#endif
