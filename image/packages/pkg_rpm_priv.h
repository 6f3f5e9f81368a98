/* The three files rpm may keep its packages in, each a container of header images. A reader checks
 * that no byte of the file belongs to two of them: time is bounded by the size of the file. */
#ifndef IMAGE_PACKAGES_PKG_RPM_PRIV_H
#define IMAGE_PACKAGES_PKG_RPM_PRIV_H

#include "image/packages/pkg_priv.h"

/* One header image: append its package. */
int pkg_rpm_header(const unsigned char *p, size_t n, struct pkg_list *to,
                   struct bld_err *err) MUST_CHECK;

bool pkg_is_sqlite(const unsigned char *p, size_t n);
int pkg_rpm_sqlite(const unsigned char *p, size_t n, struct pkg_list *to,
                   struct bld_err *err) MUST_CHECK;
bool pkg_is_ndb(const unsigned char *p, size_t n);
int pkg_rpm_ndb(const unsigned char *p, size_t n, struct pkg_list *to,
                struct bld_err *err) MUST_CHECK;
bool pkg_is_bdb(const unsigned char *p, size_t n);
int pkg_rpm_bdb(const unsigned char *p, size_t n, struct pkg_list *to,
                struct bld_err *err) MUST_CHECK;

/* A value scattered over pages, put together. all zero is empty. */
struct pkg_scratch {
        unsigned char *p;
        size_t n, cap;
};
void pkg_scratch_done(struct pkg_scratch *s);
/* Empty, with room for n bytes. */
int pkg_scratch_start(struct pkg_scratch *s, size_t n, struct bld_err *err) MUST_CHECK;
/* Within that room. */
void pkg_scratch_add(struct pkg_scratch *s, const unsigned char *p, size_t n);

int pkg_rpm_damaged(struct bld_err *err, const char *fmt, ...) PRINTF(2, 3);

static inline uint32_t get_be16(const unsigned char *p)
{
        return (uint32_t)p[0] << 8 | p[1];
}

static inline uint32_t get_be32(const unsigned char *p)
{
        return get_be16(p) << 16 | get_be16(p + 2);
}

static inline uint32_t get_le16(const unsigned char *p)
{
        return (uint32_t)p[1] << 8 | p[0];
}

static inline uint32_t get_le32(const unsigned char *p)
{
        return get_le16(p + 2) << 16 | get_le16(p);
}

#endif
