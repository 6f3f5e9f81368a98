/* What a Dockerfile becomes before anything runs, as JSON: for tests and newcomers. Needs neither
 * store nor network: what a base image holds is not known, so it counts as an image with one layer
 * and an empty config. Front header of show.c for lib/. */
#ifndef BUILDER_SHOW_H
#define BUILDER_SHOW_H

#include "base/sb.h"
#include "bld/build.h"

enum bd_show_what { BD_SHOW_GRAPH, BD_SHOW_KEY, BD_SHOW_CONFIG };

struct bd_show {
        enum bd_show_what what;
        struct bld_list build_args, targets; /* "K=V"; stages */
        const char *platform;                /* NULL: this machine's */
        const char *context;                 /* folder whose content counts in keys, or NULL */
        unsigned line;                       /* out: where a mistake stands, 0 for nowhere */
};
int bd_show(struct bd_show *x, const char *text, size_t len, struct sb *out,
            struct bld_err *err) MUST_CHECK;

#endif
