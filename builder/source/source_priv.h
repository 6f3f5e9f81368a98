/* Where a build's inputs come from: the Dockerfile, its context, base images. */
#ifndef BUILDER_SOURCE_PRIV_H
#define BUILDER_SOURCE_PRIV_H

#include "builder/graph/events_priv.h"
#include "builder/graph/graph_priv.h"
#include "builder/source/fs_priv.h"
#include "builder/source/secrets_priv.h"
#include "parser/parser.h"

/* What opens doors elsewhere. Members may be NULL. */
struct remote_auth {
        const struct secrets *secrets;
        const struct ssh_agents *ssh;
};

/* The Dockerfile's text and what it is called; the context folder (NULL: none) and its ignore
 * file. */
struct source {
        char *dockerfile_name; /* as people know it */
        struct sb text;
        char *context_path; /* absolute */
        struct ignore *ignore;
        struct cas_tmp *tmp; /* a context that came as an archive */
};
int source_open(struct bd_ctx *c, const struct bld_build_opts *o, const struct remote_auth *auth,
                struct source *ret, struct bld_err *err) MUST_CHECK;
void source_done(struct source *s);
/* The context as an archive from fd, of which `head` was read already (source_archive.c): plain or
 * compressed tar, by content. */
int source_archive(struct bd_ctx *c, const struct sb *head, int fd, struct source *s,
                   struct bld_err *err) MUST_CHECK;
/* The same of a file that can be read twice; of a plain tar that is bld's own. */
int source_archive_file(struct bd_ctx *c, int file, struct source *s,
                        struct bld_err *err) MUST_CHECK;
int source_tar(struct bd_ctx *c, int tar, struct source *s, struct bld_err *err) MUST_CHECK;
/* An empty folder as the context. */
int source_folder(struct bd_ctx *c, struct source *s, struct bld_err *err) MUST_CHECK;
/* Is this the beginning of an archive? */
bool source_is_archive(const void *head, size_t n);

/* Contexts that are elsewhere (source_remote.c). auth may be NULL. */
struct giturl;
int source_git(struct bd_ctx *c, const struct bld_build_opts *o, const struct remote_auth *auth,
               struct giturl *u, struct source *s, struct bld_err *err) MUST_CHECK;
/* When the commit was made. */
int source_git_time(struct bd_ctx *c, const struct remote_auth *auth, const struct giturl *u,
                    int64_t *ret_sec, struct bld_err *err) MUST_CHECK;
int source_http(struct bd_ctx *c, const struct bld_build_opts *o, const struct remote_auth *auth,
                const char *url, struct source *s, struct bld_err *err) MUST_CHECK;
/* The Dockerfile alone, from a URL. */
int source_dockerfile(struct bd_ctx *c, const struct remote_auth *auth, const char *url,
                      struct source *s, struct bld_err *err) MUST_CHECK;

/* A file from the web, in the store as a blob (source_http.c). */
struct http_file {
        struct digest digest;
        uint64_t size;
        int64_t mtime_sec; /* Last-Modified, 0 without */
        char *name;        /* last element of the URL's path */
};
bool http_is_url(const char *s);
/* Fetch, or ask whether the copy at hand is still good. want: unset, or the digest it must have
 * (INVALID otherwise). */
int http_fetch(struct bd_ctx *c, const struct secrets *secrets, const char *url,
               const struct digest *want, struct http_file *ret, struct bld_err *err) MUST_CHECK;
void http_file_done(struct http_file *f);

/* --build-context NAME=SOURCE (source_named.c). */
enum named_kind {
        NAMED_NONE,
        NAMED_FOLDER,
        NAMED_IMAGE,
        NAMED_LAYOUT,
        NAMED_STORE,
        NAMED_EMPTY,
        NAMED_GIT,
        NAMED_HTTP
};
struct named_contexts;
int named_parse(const struct bld_list *specs, struct named_contexts **ret,
                struct bld_err *err) MUST_CHECK;
void named_free(struct named_contexts *x);
/* What a name stands for; *ret_value: absolute folder, reference, or PATH[:TAG][@DIGEST]. */
enum named_kind named_find(const struct named_contexts *x, const char *name,
                           const struct img_platform *platform, const char **ret_value);
const struct ignore *named_ignore(const struct named_contexts *x, const char *folder);
/* Load the image a layout context names into the store. */
int named_layout(struct bd_ctx *c, const char *value, struct img_desc *ret,
                 struct bld_err *err) MUST_CHECK;

/* FROM, COPY --from and mounts that name an image. Results are remembered for the build and, as
 * records, beyond it. */
struct resolver;
int resolver_new(struct bd_ctx *c, const struct bld_build_opts *o,
                 const struct named_contexts *named, struct resolver **ret,
                 struct bld_err *err) MUST_CHECK;
void resolver_free(struct resolver *x);
int resolver_image(void *resolver, const char *name, const struct img_platform *platform,
                   struct bd_image *ret, struct bld_err *err) MUST_CHECK;

#endif
