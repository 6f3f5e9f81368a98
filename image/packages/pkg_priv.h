/* Shared by the readers of the databases. */
#ifndef IMAGE_PACKAGES_PKG_PRIV_H
#define IMAGE_PACKAGES_PKG_PRIV_H

#include "image/packages/packages.h"

/* Bytes of the database; n 0: absent. */
struct pkg_text {
        const char *p;
        size_t n;
};

struct pkg_fields {
        const char *manager; /* a literal */
        struct pkg_text name, version, arch, source, source_version;
        uint64_t installed;
};
/* Copies. CORRUPT without a name or a version, for control bytes and texts too long. */
int pkg_list_add(struct pkg_list *l, const struct pkg_fields *f, struct bld_err *err) MUST_CHECK;

/* Without the blanks at both ends. */
struct pkg_text pkg_trim(const char *p, size_t n);
bool pkg_text_is(struct pkg_text t, const char *s);
/* Decimal digits only; false also where it does not fit. */
bool pkg_number(struct pkg_text t, uint64_t *ret);

/* The line at *at, without its end; false at the end of the text. */
bool pkg_line(const char *p, size_t n, size_t *at, struct pkg_text *ret);

#endif
