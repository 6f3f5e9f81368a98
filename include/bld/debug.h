/* One stage of the pipeline as text, for tests and newcomers. No stability promise. */
#ifndef BLD_DEBUG_H
#define BLD_DEBUG_H

#include "bld/bld.h"

#ifdef __cplusplus
extern "C" {
#endif

/* what: ast, heredocs, expand, words, ignore, ref, giturl, graph, key, config. args: the command's
 * own arguments, options included. out: the text to print, caller bld_free. */
BLD_API int bld_debug(const char *what, int argc, char **argv, char **ret, struct bld_err *err);

#ifdef __cplusplus
}
#endif
#endif
