/* A session as one call of it sees it: what the engine looks at may be stopped by the call's watch
 * without ending what else the session does. */
#ifndef LIB_CALL_PRIV_H
#define LIB_CALL_PRIV_H

#include <pthread.h>

#include "lib/session_priv.h"

struct lib_call {
        struct bd_ctx *ctx; /* for the engine */
        /* Only of a call that can be stopped: */
        bool asks;
        struct bld *b;
        const struct bld_watch *watch;
        struct bd_ctx own;
        struct cancel cancel;
        struct reg_client *reg, *reg_src; /* those of a session end with it only */
        pthread_t ticker;
        int ended_fd;
};

/* k stays where it is until lib_call_end(), which takes one that is all zero. watch: of any size
 * that sets stop, or NULL; borrowed. */
int lib_call_begin(struct bld *b, const struct bld_watch *watch, struct lib_call *k,
                   struct bld_err *err) MUST_CHECK;
void lib_call_end(struct lib_call *k);

#endif
