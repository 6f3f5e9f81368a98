/* RUN --mount=type=ssh: a socket of our own in the step; behind it the user's agent, or keys of
 * which we are the agent. A step may list keys and have things signed; adding, removing and locking
 * keys is refused, whatever the agent would say. */
#ifndef BUILDER_AGENT_PRIV_H
#define BUILDER_AGENT_PRIV_H

#include "base/base.h"

struct ssh_key;

/* What --ssh named. */
struct agent_source {
        char *path; /* socket of an agent; NULL: the keys */
        struct ssh_key **keys;
        size_t nkeys;
};

struct agent_proxy;
/* Listen at the name "agent" in the folder dirfd; every connection there is one to the source,
 * which must live on, until stopped. */
int agent_proxy_start(int dirfd, const struct agent_source *source, struct agent_proxy **ret,
                      struct bld_err *err) MUST_CHECK;
/* Ends all connections and waits for their threads. */
void agent_proxy_stop(struct agent_proxy *p);

#endif
