/* Codes of the library to exit statuses: the one table (docs/cli.md, "Exit status"). */
#ifndef CLI_EXIT_H
#define CLI_EXIT_H

#include "base/base.h"

enum exit_status {
        EXIT_OK = 0,
        EXIT_FAILED = 1,
        EXIT_USAGE = 2,
        EXIT_SOURCE = 3,
        EXIT_POLICY = 4,
        EXIT_AUTH = 5,
        EXIT_NOT_FOUND = 6,
        EXIT_NETWORK = 7,
        EXIT_RESOURCE = 8,
        EXIT_ENVIRONMENT = 9,
        EXIT_INTERNAL = 70,
        EXIT_SIGINT = 130,
        EXIT_SIGTERM = 143,
};

/* names_input: what was malformed came from the command line itself. signal: the one that was
 * caught, or 0. */
int exit_status_of(const struct bld_err *err, bool names_input, int signal);

#endif
