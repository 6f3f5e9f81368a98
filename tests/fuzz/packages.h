/* What holds of every list of packages a database gave. */
#ifndef TESTS_FUZZ_PACKAGES_H
#define TESTS_FUZZ_PACKAGES_H

#include <stdlib.h>

#include "image/packages/packages.h"

static int packages_differ(void *user, const struct pkg *before, const struct pkg *after)
{
        (void)user;
        (void)before;
        (void)after;
        abort(); /* a list differs from itself */
}

static void packages_check(struct pkg_list *l)
{
        pkg_list_sort(l);
        if (pkg_list_compare(l, l, packages_differ, NULL))
                abort();
}

#endif
