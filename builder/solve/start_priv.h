/* Before solving: what the command line and the head of the Dockerfile decide. */
#ifndef BUILDER_START_PRIV_H
#define BUILDER_START_PRIV_H

#include "builder/op/op_priv.h"
#include "builder/source/source_priv.h"

/* SOURCE_DATE_EPOCH of the command line, else of a global ARG: seconds, an RFC 3339 time, or the
 * name of something whose age is taken (dockerfile.md, "Reproducible images"). Fills has_epoch,
 * clamp_sec, epoch and epoch_given of the build (epoch.c). */
int epoch_find(struct build *b, const char *given, const struct source *src, struct resolver *x,
               const struct df_file *f, struct bld_err *err) MUST_CHECK;

/* INVALID when the file, or build argument BUILDKIT_SYNTAX, asks for a frontend that is not built
 * in (frontend.c). *ret_pos says where, unless it was the argument. */
int frontend_check(const struct build *b, const struct sb *dockerfile, struct df_pos *ret_pos,
                   struct bld_err *err) MUST_CHECK;

#endif
