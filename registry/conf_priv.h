/* containers-registries.conf, version 2: where names are really pulled from. */
#ifndef REGISTRY_CONF_PRIV_H
#define REGISTRY_CONF_PRIV_H

#include "base/map.h"
#include "base/vec.h"

enum reg_conf_use { REG_CONF_ALL, REG_CONF_DIGESTS, REG_CONF_TAGS };
struct reg_conf_mirror {
        char *location; /* host[:port][/path] */
        bool insecure;
        enum reg_conf_use use; /* for what is named how */
};
VEC_DEFINE(reg_conf_mirrors, struct reg_conf_mirror);

struct reg_conf_entry {
        char *prefix;   /* host[:port][/path] or *.domain */
        char *location; /* what the prefix is replaced with; NULL: the prefix itself */
        bool insecure, blocked;
        struct reg_conf_mirrors mirrors;
};
VEC_DEFINE(reg_conf_entries, struct reg_conf_entry);

struct reg_conf {
        struct reg_conf_entries entries;
        struct map aliases; /* short name -> host/path; "" for a removed one */
};
void reg_conf_init(struct reg_conf *f);
void reg_conf_done(struct reg_conf *f);
/* Text of one file: entries replace those of the same prefix, aliases those of the same name.
 * INVALID. */
int reg_conf_add(struct reg_conf *f, const char *text, size_t len, struct bld_err *err) MUST_CHECK;
/* $CONTAINERS_REGISTRIES_CONF, else the user's file, else the system's; then the drop-ins of both.
 */
int reg_conf_load(struct reg_conf *f, struct bld_err *err) MUST_CHECK;
/* The longest prefix of "host/path"; NULL: none. *ret_rest is what is behind it. */
const struct reg_conf_entry *reg_conf_find(const struct reg_conf *f, const char *name,
                                           const char **ret_rest);

#endif
