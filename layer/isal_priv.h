/* ISA-L's inflate and deflate, opened with dlopen at first use: bld starts without it. */
#ifndef LAYER_ISAL_PRIV_H
#define LAYER_ISAL_PRIV_H

#include "base/base.h"

/* -DLY_NO_ISAL: what other machines run, for tests. */
#if defined(__x86_64__) && !defined(LY_NO_ISAL)
#define LY_HAVE_ISAL 1
#include <isa-l/igzip_lib.h>

struct isal {
        void (*deflate_init)(struct isal_zstream *);
        int (*deflate)(struct isal_zstream *);
        void (*inflate_init)(struct inflate_state *);
        int (*inflate)(struct inflate_state *);
        int (*inflate_stateless)(struct inflate_state *);
};
/* NULL when the library is not installed. MT-Safe. */
const struct isal *isal_get(void);
/* On CPUs with SSE4.2 its level 2 gives the same bytes everywhere, so it is our default there. */
bool isal_expected(void);
#else
#define LY_HAVE_ISAL 0
#endif

#endif
