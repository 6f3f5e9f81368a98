#include "cli/exit.h"

#include <errno.h>

static const struct {
        int code, status;
} table[] = {
        {BLD_E_SYS, EXIT_FAILED},
        {BLD_E_NOT_FOUND, EXIT_NOT_FOUND},
        {BLD_E_EXISTS, EXIT_FAILED},
        {BLD_E_INVALID, EXIT_SOURCE},
        {BLD_E_UNSUPPORTED, EXIT_ENVIRONMENT},
        {BLD_E_DENIED, EXIT_AUTH},
        {BLD_E_CORRUPT, EXIT_NETWORK},
        {BLD_E_NETWORK, EXIT_NETWORK},
        {BLD_E_TIMEOUT, EXIT_NETWORK},
        {BLD_E_CANCELLED, EXIT_SIGINT},
        {BLD_E_LIMIT, EXIT_RESOURCE},
        {BLD_E_NOMEM, EXIT_RESOURCE},
        {BLD_E_CHILD, EXIT_FAILED},
        {BLD_E_USAGE, EXIT_USAGE},
        {BLD_E_POLICY, EXIT_POLICY},
        {BLD_E_BUG, EXIT_INTERNAL},
        {BLD_E_MALFORMED, EXIT_SOURCE},
};

int exit_status_of(const struct bld_err *err, bool names_input, int signal)
{
        if (signal)
                return 128 + signal;
        /* A full disk is one whatever the call was that met it, and so are used up descriptors. */
        if (err->sys == ENOSPC || err->sys == EDQUOT || err->sys == EMFILE || err->sys == ENFILE)
                if (err->code != BLD_E_CHILD)
                        return EXIT_RESOURCE;
        if (err->code == BLD_E_INVALID && names_input)
                return EXIT_USAGE;
        for (size_t i = 0; i < ARRAY_LEN(table); i++)
                if (table[i].code == err->code)
                        return table[i].status;
        return EXIT_INTERNAL;
}
