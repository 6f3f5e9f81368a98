/* What package managers say is installed in an image: dpkg, apk, rpm. */
#ifndef BLD_PACKAGES_H
#define BLD_PACKAGES_H

#include "bld/open.h"
#include "bld/session.h"
#include "bld/tree.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Made by the library only, so it can grow at its end. Texts are UTF-8 without control bytes and
 * never empty; they live as long as their list. */
struct bld_package {
        const char *manager; /* "dpkg", "apk", "rpm" */
        const char *name;
        const char *version;        /* of rpm: [EPOCH:]VERSION-RELEASE */
        const char *arch;           /* or NULL */
        const char *source;         /* source package, of rpm its file name; or NULL */
        uint64_t installed;         /* bytes, as the database has it; 0: unknown */
        const char *source_version; /* of dpkg and apk; else NULL */
};
/* Sorted by manager, name, arch, version, by their bytes. */
struct bld_packages;
/* What is installed in a tree: the databases of all three are looked for where they may be
 * (docs/packages.md), their folders through symbolic links. None is no error, a damaged one is
 * CORRUPT, one beyond 256 MiB or half a million packages LIMIT. Reads each layer at most once. */
BLD_API int bld_packages_read(struct bld_tree *t, struct bld_packages **ret, struct bld_err *err);
/* One database, from memory. manager: "dpkg" (status, or a file of status.d), "apk" (installed),
 * "rpm" (rpmdb.sqlite, Packages.db or Packages, told by content; no write-ahead log is looked at).
 * USAGE for another manager. */
BLD_API int bld_packages_parse(const char *manager, const void *p, size_t n,
                               struct bld_packages **ret, struct bld_err *err);
BLD_API size_t bld_packages_count(const struct bld_packages *p);
BLD_API const struct bld_package *bld_packages_at(const struct bld_packages *p, size_t i);
BLD_API void bld_packages_free(struct bld_packages *p); /* NULL is fine */

/* Before and after of each package that differs, by manager and name; one of them is NULL for what
 * was added or removed. Of several versions of one name and architecture (kernels) the equal ones
 * are the same package and not told, the rest pair in order; what is then left of a name pairs with
 * its other architectures, so that images of two platforms compare. 0 all told, 1 the callback
 * stopped. */
typedef int (*bld_package_change_fn)(void *user, const struct bld_package *before,
                                     const struct bld_package *after);
BLD_API int bld_packages_compare(const struct bld_packages *a, const struct bld_packages *b,
                                 bld_package_change_fn each, void *user);

#ifdef __cplusplus
}
#endif

#endif
