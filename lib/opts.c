#include "lib/opts_priv.h"

#include <stdint.h>
#include <string.h>

#include "base/base.h"

/* A size beyond that is no size but what happened to be in memory. */
#define SIZE_SANE ((size_t)64 << 10)

static int read_size(const void *theirs, const char *what, size_t *ret, struct bld_err *err)
{
        memcpy(ret, theirs, sizeof(*ret));
        if (*ret < sizeof(*ret) || *ret > SIZE_SANE)
                return err_set(err, BLD_E_USAGE, "%s: size of a struct is not set", what);
        return 0;
}

int lib_opts_copy(void *ours, size_t n, const void *theirs, const char *what, struct bld_err *err)
{
        const unsigned char *p = theirs;
        size_t size;
        int r;

        memset(ours, 0, n);
        if (!theirs)
                return 0;
        r = read_size(theirs, what, &size, err);
        if (r < 0)
                return r;
        /* What we would ignore may be what keeps the caller safe. */
        for (size_t i = n; i < size; i++)
                if (p[i])
                        return err_set(err, BLD_E_UNSUPPORTED,
                                       "%s: an option is set that this libbld, %s, does not know\n"
                                       "try: a libbld as new as the headers of the program",
                                       what, BLD_VERSION);
        memcpy(ours, theirs, MIN(size, n));
        return 0;
}

int lib_known(bool known, unsigned value, const char *what, struct bld_err *err)
{
        return known ? 0
                     : err_set(err, BLD_E_UNSUPPORTED,
                               "%s: this libbld, %s, does not know the value %u", what, BLD_VERSION,
                               value);
}

int lib_ret_check(const void *theirs, const char *what, struct bld_err *err)
{
        size_t size;

        return theirs ? read_size(theirs, what, &size, err) : 0;
}

void lib_ret_put(void *theirs, const void *ours, size_t n)
{
        size_t size;

        if (!theirs)
                return;
        memcpy(&size, theirs, sizeof(size));
        memset(theirs, 0, size);
        memcpy(theirs, ours, MIN(size, n));
        memcpy(theirs, &size, sizeof(size));
}
