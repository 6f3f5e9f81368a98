/* Sizes that may be shares of the disk, and the limits a build keeps the store within. */
#ifndef CLI_SPACE_H
#define CLI_SPACE_H

#include "cli/cli.h"

/* "512m", "10g", "20%" of the disk the store is on. USAGE naming the flag; NULL leaves *ret alone.
 * After cli_open. */
int cli_space(struct cli *c, const char *flag, const char *s, uint64_t *ret,
              struct bld_err *err) MUST_CHECK;
/* Flags, else the environment, else the defaults (docs/store.md). After cli_open. */
int cli_space_limits(struct cli *c, const char *max_used, const char *min_free,
                     struct bld_build_opts *o, struct bld_err *err) MUST_CHECK;

#endif
