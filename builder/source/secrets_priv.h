/* What a build is trusted with: secrets and ssh agents given on the command line. Values live in
 * memory only and are wiped; they are in no key, record or message. */
#ifndef BUILDER_SECRETS_PRIV_H
#define BUILDER_SECRETS_PRIV_H

#include "base/base.h"
#include "bld/build.h"

/* A secret given on the command line. 1/0. */
struct secrets;
int secrets_new(const struct bld_list *specs, struct secrets **ret, struct bld_err *err) MUST_CHECK;
int secrets_get(const struct secrets *s, const char *id, const void **ret, size_t *ret_len);
/* All of them, by number, for those who look for values. */
size_t secrets_count(const struct secrets *s); /* NULL: 0 */
bool secrets_at(const struct secrets *s, size_t i, const void **ret, size_t *ret_len);
const char *secrets_id(const struct secrets *s, size_t i);
void secrets_free(struct secrets *s); /* wipes the values */

/* Agents given by --ssh (ssh.c). NULL when there is none of that id. */
struct ssh_agents;
int ssh_agents_new(const struct bld_list *specs, struct ssh_agents **ret,
                   struct bld_err *err) MUST_CHECK;
struct agent_source;
const struct agent_source *ssh_agents_get(const struct ssh_agents *a, const char *id);
void ssh_agents_free(struct ssh_agents *a);

#endif
