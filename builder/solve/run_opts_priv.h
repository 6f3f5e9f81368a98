/* What the command line says about every RUN. */
#ifndef BUILDER_SOLVE_RUN_OPTS_PRIV_H
#define BUILDER_SOLVE_RUN_OPTS_PRIV_H

#include "builder/op/op_priv.h"

struct run_allow {
        bool host_network, insecure, device, delete_local;
};

/* Entitlements, b->host_names and b->host_ips, b->limits and b->ulimits. USAGE, POLICY, NOMEM. */
int run_opts_parse(struct build *b, struct run_allow *ret, struct bld_err *err) MUST_CHECK;
void run_opts_done(struct build *b);

#endif
