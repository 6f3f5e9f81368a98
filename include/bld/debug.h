/* Looking into bld itself: one stage of the pipeline as text, for tests and newcomers, and what
 * this machine allows. No stability promise. */
#ifndef BLD_DEBUG_H
#define BLD_DEBUG_H

#include "bld/session.h"

#ifdef __cplusplus
extern "C" {
#endif

/* what: ast, heredocs, expand, words, ignore, ref, giturl, graph, key, config. args: the command's
 * own arguments, options included. out: the text to print, caller bld_free. */
BLD_API int bld_debug(const char *what, int argc, char **argv, char **ret, struct bld_err *err);

/* What bld can do on this machine: {"isolation": {"chosen", "sharedProc", "why"}, "levels": [...],
 * "checks": [{"name", "ok", "detail", "fix"}]}. Starts a keeper from the calling thread and ends
 * it. registries: hosts to try. ret_json: caller bld_free. */
BLD_API int bld_doctor(struct bld *b, const struct bld_list *registries, char **ret_json,
                       struct bld_err *err);

#ifdef __cplusplus
}
#endif
#endif
