/* The databases in which dpkg, apk and rpm keep what is installed, read as data: bytes in, a list
 * out. No I/O, no locale, no state. Threads: MT-Object.
 *
 * The bytes come from an image, so anybody may have written them. Time and memory are bounded by a
 * multiple of their number; what contradicts itself is CORRUPT, what is beyond a limit LIMIT. */
#ifndef IMAGE_PACKAGES_PACKAGES_H
#define IMAGE_PACKAGES_PACKAGES_H

#include "base/base.h"

#define PKG_LIST_MAX 500000          /* packages */
#define PKG_FIELD_MAX 4096           /* bytes of one text */
#define PKG_BYTES_MAX (256ull << 20) /* of one database */

/* Texts are UTF-8 without control bytes and never empty. */
struct pkg {
        const char *manager; /* "dpkg", "apk", "rpm" */
        const char *name, *version;
        const char *arch, *source, *source_version; /* or NULL */
        uint64_t installed;                         /* bytes; 0: unknown */
        size_t index;                               /* in its list, once that is sorted */
};

/* Owns its packages; all zero is an empty list. */
struct pkg_list {
        struct pkg **v;
        size_t n, cap;
};
void pkg_list_done(struct pkg_list *l);
#define AUTO_PKG_LIST AUTO(pkg_list_done)
/* By manager, name, architecture, version, all by their bytes. */
void pkg_list_sort(struct pkg_list *l);

/* What differs between two sorted lists; before or after is NULL for what only one has. Packages of
 * one name and architecture pair, equal versions first (and are not told), the rest in order; what
 * is left of one name pairs across architectures: the package is the same, built for another.
 * Returns 0, or the first answer of the callback that is not 0. */
typedef int (*pkg_change_fn)(void *user, const struct pkg *before, const struct pkg *after);
int pkg_list_compare(const struct pkg_list *a, const struct pkg_list *b, pkg_change_fn each,
                     void *user);

/* Append what a database says is installed. After a failure the list holds a part of it. */

/* /var/lib/dpkg/status, or a file of status.d. A package counts when its files are unpacked, set up
 * or not; one without a Status field (status.d has none) is installed. */
int pkg_parse_dpkg(const char *p, size_t n, struct pkg_list *to, struct bld_err *err) MUST_CHECK;
/* /lib/apk/db/installed */
int pkg_parse_apk(const char *p, size_t n, struct pkg_list *to, struct bld_err *err) MUST_CHECK;
/* rpmdb.sqlite, Packages.db (ndb) or Packages (Berkeley DB hash), told by content. Keys that rpm
 * keeps as packages ("gpg-pubkey") are none. */
int pkg_parse_rpm(const void *p, size_t n, struct pkg_list *to, struct bld_err *err) MUST_CHECK;

/* Bring an SQLite database up to date with the write-ahead log that lies beside it, as far as that
 * was committed; a log that was never begun or does not verify changes nothing, as with SQLite.
 * *p is *n bytes of malloc'ed memory and is grown. */
int pkg_sqlite_replay(unsigned char **p, size_t *n, const void *wal, size_t nwal,
                      struct bld_err *err) MUST_CHECK;

#endif
