/* A search for credentials, shared by the places it goes through (cred_sources.c) and by what runs
 * and remembers it (cred.c). */
#ifndef REGISTRY_CRED_PRIV_H
#define REGISTRY_CRED_PRIV_H

#include "registry/auth_priv.h"

struct reg_cred_search {
        struct reg_client *c;
        const struct reg_repo *repo;
        const char *source; /* place being looked at, for messages */
        struct sb *explain; /* one line per place, or NULL */
        bool renew;         /* helpers are asked again */
        bool peek;          /* helpers are not asked: only what they answered before counts */
        bool told;          /* `explain` has a line of this place already */
};

typedef int (*reg_cred_source)(struct reg_cred_search *s, struct reg_creds **ret,
                               struct bld_err *err);
extern const reg_cred_source reg_cred_sources[];
extern const size_t reg_n_cred_sources;

/* A line about the place being looked at. */
void reg_cred_explain(struct reg_cred_search *s, const char *what);
/* The same, and a warning to the user. */
void reg_cred_warn(void *search, const char *text);
/* reg_helper_fn over the helpers' answers of this run: each is asked once per server. */
int reg_cred_helper(void *search, const char *suffix, const char *server, struct reg_creds **ret,
                    struct bld_err *err);

#endif
