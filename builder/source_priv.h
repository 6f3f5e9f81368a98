/* Where a build's inputs come from: the Dockerfile, its context, base images. */
#ifndef BUILDER_SOURCE_PRIV_H
#define BUILDER_SOURCE_PRIV_H

#include "builder/op_priv.h"
#include "parser/parser.h"

/* The Dockerfile's text and what it is called; the context folder (NULL: none) and its ignore
 * file. */
struct source {
        char *dockerfile_name; /* as people know it */
        struct sb text;
        char *context_path; /* absolute */
        struct ignore *ignore;
        struct cas_tmp *tmp; /* a context that came as an archive */
};
int source_open(struct bd_ctx *c, const struct bld_build_opts *o, struct source *ret,
                struct bld_err *err) MUST_CHECK;
void source_done(struct source *s);

/* FROM, COPY --from and mounts that name an image. Results are remembered for the build and, as
 * records, beyond it. */
struct resolver;
int resolver_new(struct bd_ctx *c, const struct bld_build_opts *o, struct events *ev,
                 struct resolver **ret, struct bld_err *err) MUST_CHECK;
void resolver_free(struct resolver *x);
int resolver_image(void *resolver, const char *name, const struct img_platform *platform,
                   struct bd_image *ret, struct bld_err *err) MUST_CHECK;

#endif
