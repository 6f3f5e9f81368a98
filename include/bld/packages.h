/* What package managers say is installed in an image: dpkg, apk, rpm. */
#ifndef BLD_PACKAGES_H
#define BLD_PACKAGES_H

#include "bld/open.h"
#include "bld/session.h"
#include "bld/tree.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Made by the library only. */
struct bld_package {
        const char *manager; /* "dpkg", "apk", "rpm" */
        const char *name, *version;
        const char *arch;   /* or NULL */
        const char *source; /* source package, or NULL */
        uint64_t installed; /* bytes, as the database has it; 0: unknown */
};
/* Sorted by manager, name, arch, version. */
struct bld_packages;
/* The databases of all three are looked for; none is no error, a damaged one is CORRUPT. */
BLD_API int bld_packages_read(struct bld_tree *t, struct bld_packages **ret, struct bld_err *err);
/* One database, from memory. manager: "dpkg" (status), "apk" (installed), "rpm" (rpmdb.sqlite,
 * Packages.db or Packages, told by content). */
BLD_API int bld_packages_parse(const char *manager, const void *p, size_t n,
                               struct bld_packages **ret, struct bld_err *err);
BLD_API size_t bld_packages_count(const struct bld_packages *p);
BLD_API const struct bld_package *bld_packages_at(const struct bld_packages *p, size_t i);
BLD_API void bld_packages_free(struct bld_packages *p); /* NULL is fine */

/* Before and after of each package whose versions differ; either may be NULL. 0 all told, 1 the
 * callback stopped. */
typedef int (*bld_package_change_fn)(void *user, const struct bld_package *before,
                                     const struct bld_package *after);
BLD_API int bld_packages_compare(const struct bld_packages *a, const struct bld_packages *b,
                                 bld_package_change_fn each, void *user);

#ifdef __cplusplus
}
#endif

#endif
