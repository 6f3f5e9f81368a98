#include <stdarg.h>
#include <string.h>

#include "base/err.h"
#include "base/sb.h"
#include "image/packages/pkg_rpm_priv.h"

int pkg_rpm_damaged(struct bld_err *err, const char *fmt, ...)
{
        char what[200];
        va_list ap;

        va_start(ap, fmt);
        (void)vsnprintf(what, sizeof(what), fmt, ap);
        va_end(ap);
        return err_set(err, BLD_E_CORRUPT, "the rpm database is damaged: %s", what);
}

void pkg_scratch_done(struct pkg_scratch *s)
{
        free(s->p);
        *s = (struct pkg_scratch){0};
}

int pkg_scratch_start(struct pkg_scratch *s, size_t n, struct bld_err *err)
{
        s->n = 0;
        if (n <= s->cap && s->p)
                return 0;
        pkg_scratch_done(s);
        s->p = mem_alloc(n);
        if (!s->p)
                return err_nomem(err, "package of rpm");
        s->cap = n;
        return 0;
}

void pkg_scratch_add(struct pkg_scratch *s, const unsigned char *p, size_t n)
{
        memcpy(s->p + s->n, p, n);
        s->n += n;
}

int pkg_parse_rpm(const void *p, size_t n, struct pkg_list *to, struct bld_err *err)
{
        if (n > PKG_BYTES_MAX)
                return err_set(err, BLD_E_LIMIT, "the rpm database is larger than %llu MiB",
                               PKG_BYTES_MAX >> 20);
        if (n == 0)
                return 0;
        if (pkg_is_sqlite(p, n))
                return pkg_rpm_sqlite(p, n, to, err);
        if (pkg_is_ndb(p, n))
                return pkg_rpm_ndb(p, n, to, err);
        if (pkg_is_bdb(p, n))
                return pkg_rpm_bdb(p, n, to, err);
        return pkg_rpm_damaged(err, "it is none of the formats SQLite, ndb and Berkeley DB hash");
}
