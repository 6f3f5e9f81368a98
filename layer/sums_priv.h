/* Sums of the files of a tar, made as their bytes pass. */
#ifndef LAYER_SUMS_PRIV_H
#define LAYER_SUMS_PRIV_H

#include "layer/tar_priv.h"

struct sums;
int sums_new(const struct fpr_key *key, struct sums **ret, struct bld_err *err) MUST_CHECK;
void sums_free(struct sums *s);
/* At each entry, and at each piece of a file. */
int sums_begin(struct sums *s, const struct tar_parser *t, struct bld_err *err) MUST_CHECK;
int sums_data(struct sums *s, const struct tar_parser *t, const unsigned char *p, size_t n,
              struct bld_err *err) MUST_CHECK;
/* Give what was made to a table. */
void sums_take(struct sums *s, struct ly_toc *t);

#endif
