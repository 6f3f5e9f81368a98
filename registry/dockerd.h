/* A docker daemon on this machine, over the socket of DOCKER_HOST (unix:// only). Every call is one
 * connection. NETWORK: no daemon answers, or it failed; NOT_FOUND: it has no such image. */
#ifndef REGISTRY_DOCKERD_H
#define REGISTRY_DOCKERD_H

#include "base/cancel.h"
#include "registry/registry.h"

/* What `docker save NAME` writes. The sink is not rewound. */
int reg_dockerd_save(const struct cancel *cancel, const char *name, const struct reg_sink *sink,
                     struct bld_err *err) MUST_CHECK;
/* `docker load` of a file of `size` bytes. *ret_name: what the daemon calls what it loaded (name or
 * ID), NULL where it does not tell; malloc'ed. */
int reg_dockerd_load(const struct cancel *cancel, int fd, uint64_t size, char **ret_name,
                     struct bld_err *err) MUST_CHECK;
/* The ID it answers to: a config digest or a manifest's, as its store has it. Malloc'ed. */
int reg_dockerd_id(const struct cancel *cancel, const char *name, char **ret,
                   struct bld_err *err) MUST_CHECK;

#endif
