#ifndef LIB_PACKAGES_PRIV_H
#define LIB_PACKAGES_PRIV_H

#include "bld/packages.h"
#include "image/packages/packages.h"

/* Sorts l; takes what is in it when it succeeds. */
int lib_packages_new(struct pkg_list *l, struct bld_packages **ret, struct bld_err *err) MUST_CHECK;

#endif
