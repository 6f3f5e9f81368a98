/* Git repositories as sources: the system's git as a subprocess, with a world of its own around it
 * (git_run.c), and what becomes of a repository (source_git.c). docs/dockerfile.md tells the rules.
 */
#ifndef BUILDER_GIT_PRIV_H
#define BUILDER_GIT_PRIV_H

#include "builder/source/source_priv.h"
#include "parser/giturl.h"

/* ---- running git (git_run.c) ---- */

/* One repository as git sees it. */
struct git_run {
        struct bd_ctx *c;
        const char *remote; /* without credentials; borrowed */
        char *home;         /* an empty folder */
        char *tree;         /* the work tree, or NULL */
        struct strv env;
        struct agent_proxy *agent; /* of keys given by --ssh; NULL: none needed */
};
/* home: absolute, exists. Secrets for the remote's host and the agent, where they were given, reach
 * git through its environment. */
int git_run_init(struct bd_ctx *c, const struct remote_auth *auth, const struct vx_git *g,
                 const char *home, const char *tree, struct git_run *ret,
                 struct bld_err *err) MUST_CHECK;
void git_run_done(struct git_run *x);
/* args: NULL-terminated, after "git". out may be NULL. DENIED, NETWORK, UNSUPPORTED (no git), else
 * INVALID, with what git said last. */
int git_run(struct git_run *x, const char *const *args, struct sb *out,
            struct bld_err *err) MUST_CHECK;

/* ---- sources (source_git.c) ---- */

/* Is this a repository (1), something else (0), or a URL that is wrong? With `context` the form
 * github.com/... counts, too, unless there is a folder of that name. */
int git_url(const char *s, bool context, struct giturl *ret, struct bld_err *err);
/* Which commit is meant; asks the remote unless the URL says it in full. */
int git_resolve(struct bd_ctx *c, const struct remote_auth *auth, const struct giturl *u,
                struct vx_git *ret, struct bld_err *err) MUST_CHECK;
/* The files of that commit as a plain tar in the store: made once. */
int git_tar(struct bd_ctx *c, const struct remote_auth *auth, const struct vx_git *g,
            struct digest *ret, uint64_t *ret_size, struct bld_err *err) MUST_CHECK;

#endif
